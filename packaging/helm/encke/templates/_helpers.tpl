{{/* What the selectors and labels of all objects are. */}}
{{- define "encke.selector" -}}
app.kubernetes.io/name: encke
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}
{{- define "encke.labels" -}}
{{ include "encke.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{/* A value as text. Numbers of a file are floats for Helm, which writes a million as 1e+06. */}}
{{- define "encke.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}
