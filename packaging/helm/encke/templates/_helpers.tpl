{{/* What the selectors and labels of all objects are. */}}
{{- define "encke.selector" -}}
app.kubernetes.io/name: encke
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "encke.labels" -}}
{{ include "encke.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
