//go:build tools

// Helm itself, of the version in go.mod: the tests of the chart build and run it.
package tools

import _ "helm.sh/helm/v3/cmd/helm"
