{{/* The agent's arguments: a dict of "root" and, optionally, "pool". */}}
{{- define "enforcer.arguments" -}}
{{- $agent := .root.Values.agent -}}
{{- $metrics := .root.Values.metrics -}}
- run
- --log-format={{ $agent.logFormat }}
- --pins=/bpf/enforcer
- --metrics=$(METRICS_ADDRESS):{{ $metrics.port }}
- --nri={{ $agent.nri }}
{{- if ne $metrics.podMetrics "namespace" }}
- --pod-metrics={{ $metrics.podMetrics }}
{{- end }}
{{- if ne $agent.log "info" }}
- {{ printf "--log=%s" $agent.log | quote }}
{{- end }}
{{- if ne $agent.unknownPod "auto" }}
- --unknown-pod={{ $agent.unknownPod }}
{{- end }}
{{- if $agent.audit }}
- --audit
{{- end }}
{{- if ne $agent.denyWith "drop" }}
- --deny-with={{ $agent.denyWith }}
{{- end }}
{{- with $agent.page }}
- {{ printf "--page=%s" . | quote }}
{{- end }}
{{- if $agent.events }}
- --events
{{- end }}
{{- with $agent.removeTaint }}
- {{ printf "--remove-taint=%s" . | quote }}
{{- end }}
{{- range $agent.uplinks }}
- {{ printf "--uplink=%s" . | quote }}
{{- end }}
{{- with $agent.markMask }}
- {{ printf "--mark-mask=%s" . | quote }}
{{- end }}
{{- if $agent.flowTimeouts }}
{{- $timeouts := list }}
{{- range $stage, $seconds := $agent.flowTimeouts }}
{{- $timeouts = append $timeouts (printf "%s=%v" $stage $seconds) }}
{{- end }}
- {{ printf "--flow-timeouts=%s" (join "," $timeouts) | quote }}
{{- end }}
{{- with $agent.flows }}
- --flows={{ int64 . }}
{{- end }}
{{- if $agent.allowAnySource }}
- --allow-any-source
{{- end }}
{{- range concat .root.Values.extraArgs ((.pool | default dict).extraArgs | default list) }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* The agent's environment. */}}
{{- define "enforcer.environment" -}}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: METRICS_ADDRESS
  {{- if include "enforcer.exposed" . }}
  valueFrom:
    fieldRef:
      fieldPath: status.hostIP
  {{- else }}
  value: 127.0.0.1
  {{- end }}
{{- with .Values.kubernetesServiceHost }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ . | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ $.Values.kubernetesServicePort | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
