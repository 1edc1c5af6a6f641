{{/* Azure Monitor's managed Prometheus drops samples unless the monitor sets these limits. */}}
{{- define "enforcer.limits" -}}
{{- if hasPrefix "azmonitoring." .apiVersion }}
labelLimit: 63
labelNameLengthLimit: 511
labelValueLengthLimit: 1023
{{- end }}
{{- end -}}

{{/* What a monitor scrapes: a dict of "interval" and "monitor". */}}
{{- define "enforcer.endpoint" -}}
port: metrics
path: /metrics
interval: {{ .interval }}
honorLabels: true
relabelings:
  - sourceLabels: [__meta_kubernetes_pod_node_name]
    targetLabel: node
  {{- with .monitor.relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .monitor.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The groups of the alerts, with the names and the labels of this installation. */}}
{{- define "enforcer.alerts" -}}
{{- $name := include "enforcer.fullname" . -}}
{{- $sets := list $name -}}
{{- range .Values.pools.list }}{{ $sets = append $sets (printf "%s-%s" $name .name) }}{{ end -}}
{{- $text := .Files.Get "files/alerts.yaml" -}}
{{- if or (ne $name "enforcer") (gt (len $sets) 1) -}}
{{- $text = $text
  | replace "{daemonset=\"enforcer\"}" (printf "{daemonset=~%q}" (join "|" $sets))
  | replace "{job=~\"(.*/)?enforcer(-metrics)?\"}" (printf "{job=~%q}" (printf "(.*/)?%s(-metrics)?" $name))
  | replace "daemonset/enforcer" (printf "daemonset/%s" $name) -}}
{{- end -}}
{{- $groups := (fromYaml $text).groups -}}
{{- $labels := .Values.metrics.prometheusRule.alertLabels -}}
{{- range $groups -}}
{{- range .rules -}}
{{- $_ := set . "labels" (merge (deepCopy $labels) .labels) -}}
{{- end -}}
{{- end -}}
{{- toYaml $groups -}}
{{- end -}}
