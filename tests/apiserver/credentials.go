package main

// Keys, certificates, tokens and kubeconfigs of one server, all in its state directory.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ensurePKI makes, once per directory, a CA, a serving certificate signed by it, and the key that signs
// ServiceAccount tokens. A CA of its own, not the API server's self-signed pair, because rustls refuses a CA
// certificate as an end-entity one.
func ensurePKI(dir, host string) []byte {
	caFile := filepath.Join(dir, "ca.crt")
	if b, err := os.ReadFile(caFile); err == nil {
		return b
	}
	caKey, caTmpl := newKey(), template("apiserver-ca")
	caTmpl.IsCA, caTmpl.BasicConstraintsValid = true, true
	caTmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	caDER, err := x509.CreateCertificate(rand.Reader, caTmpl, caTmpl, &caKey.PublicKey, caKey)
	must(err)
	ca, err := x509.ParseCertificate(caDER)
	must(err)

	key, tmpl := newKey(), template("kube-apiserver")
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	tmpl.DNSNames = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	tmpl.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, net.IPv4(10, 0, 0, 1)}
	if ip := net.ParseIP(host); ip != nil {
		tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
	} else {
		tmpl.DNSNames = append(tmpl.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca, &key.PublicKey, caKey)
	must(err)

	writePEM(filepath.Join(dir, "apiserver.crt"), "CERTIFICATE", der)
	writeKey(filepath.Join(dir, "apiserver.key"), key)
	writeKey(filepath.Join(dir, "ca.key"), caKey)
	writeKey(filepath.Join(dir, "sa.key"), newKey())
	writePEM(caFile, "CERTIFICATE", caDER) // last: its presence says the rest is there
	b, err := os.ReadFile(caFile)
	must(err)
	return b
}

func newKey() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return k
}

func template(cn string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	must(err)
	// A day either way: clock-skew tests (libfaketime) must not trip over the certificates.
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: cn},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour)}
}

func writeKey(file string, k *ecdsa.PrivateKey) {
	der, err := x509.MarshalECPrivateKey(k)
	must(err)
	writePEM(file, "EC PRIVATE KEY", der)
}

func writePEM(file, kind string, der []byte) {
	must(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// ensureTokens reads or makes DIR/tokens.csv (token,user,uid,"groups") and returns token by user.
func ensureTokens(dir string, names []string) map[string]string {
	file := filepath.Join(dir, "tokens.csv")
	tokens := map[string]string{}
	if b, err := os.ReadFile(file); err == nil {
		for _, line := range strings.Split(string(b), "\n") {
			if f := strings.Split(line, ","); len(f) >= 3 {
				tokens[f[1]] = f[0]
			}
		}
	}
	var out strings.Builder
	for _, name := range names {
		if tokens[name] == "" {
			raw := make([]byte, 24)
			_, err := rand.Read(raw)
			must(err)
			tokens[name] = hex.EncodeToString(raw)
		}
	}
	for name, token := range tokens {
		fmt.Fprintf(&out, "%s,%s,uid-%s", token, name, name)
		if name == "admin" {
			out.WriteString(`,"system:masters"`)
		}
		out.WriteByte('\n')
	}
	must(os.WriteFile(file, []byte(out.String()), 0o600))
	return tokens
}

// writeKubeconfig writes JSON, which is YAML.
func writeKubeconfig(file, server string, caPEM []byte, user, token string) {
	type m = map[string]any
	b, err := json.MarshalIndent(m{
		"apiVersion": "v1", "kind": "Config", "current-context": "apiserver",
		"clusters": []m{{"name": "apiserver", "cluster": m{"server": server, "certificate-authority-data": caPEM}}},
		"users":    []m{{"name": user, "user": m{"token": token}}},
		"contexts": []m{{"name": "apiserver", "context": m{"cluster": "apiserver", "user": user, "namespace": "default"}}},
	}, "", " ")
	must(err)
	must(os.WriteFile(file, b, 0o600))
}
