{{/* Labels of every object. */}}
{{- define "enforcer.labels" -}}
app.kubernetes.io/name: enforcer
app.kubernetes.io/part-of: enforcer
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{/* Selects the agent's pods. It can't be changed after the first installation. */}}
{{- define "enforcer.selector" -}}
app.kubernetes.io/name: enforcer
app.kubernetes.io/component: agent
{{- end -}}

{{- define "enforcer.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Whether metrics are served at the node's address, as a monitor requires. */}}
{{- define "enforcer.exposed" -}}
{{- if or .Values.metrics.expose .Values.metrics.podMonitor.enabled .Values.metrics.serviceMonitor.enabled -}}
true
{{- end -}}
{{- end -}}

{{/* The target of a probe, without its path. */}}
{{- define "enforcer.probe" -}}
{{- if not (include "enforcer.exposed" .) }}
host: 127.0.0.1
{{- end }}
port: {{ .Values.metrics.port }}
{{- end -}}
