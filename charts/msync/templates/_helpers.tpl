{{/* Labels of everything. */}}
{{- define "msync.labels" -}}
app.kubernetes.io/name: msync
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A name that two releases of one namespace do not share. */}}
{{- define "msync.fullname" -}}
{{- if contains "msync" .Release.Name }}{{ .Release.Name | trunc 48 | trimSuffix "-" }}{{ else }}{{ printf "%s-msync" .Release.Name | trunc 48 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* What locks stand in, as a rule of RBAC begins. */}}
{{- define "msync.resource" -}}
{{- if eq .Values.store "leases" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
{{- else -}}
- apiGroups: [metaparticle.io]
  resources: [locks]
{{- end }}
{{- end }}

{{- define "msync.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* What a pod of this chart may do to its node: nothing. */}}
{{- define "msync.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "msync.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
