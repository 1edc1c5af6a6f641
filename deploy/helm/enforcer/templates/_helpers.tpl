{{/* The name of all objects. A cluster has one installation, so it does not contain the release's name. */}}
{{- define "enforcer.fullname" -}}
{{- .Values.fullnameOverride | default (include "enforcer.name" .) | trunc 54 | trimSuffix "-" -}}
{{- end -}}

{{/* The label app.kubernetes.io/name. */}}
{{- define "enforcer.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 54 | trimSuffix "-" -}}
{{- end -}}

{{- define "enforcer.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "enforcer.fullname" .) -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "enforcer.labels" -}}
{{- $own := dict
  "app.kubernetes.io/name" (include "enforcer.name" .)
  "app.kubernetes.io/part-of" "enforcer"
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version) -}}
{{- merge $own .Values.additionalLabels | toYaml -}}
{{- end -}}

{{/* Labels of an object with labels of its own: a dict of "root" and "labels". */}}
{{- define "enforcer.labelsWith" -}}
{{- merge (include "enforcer.labels" .root | fromYaml) .labels | toYaml -}}
{{- end -}}

{{/* Selects the agent's pods. It can't be changed after the first installation. */}}
{{- define "enforcer.selector" -}}
app.kubernetes.io/name: {{ include "enforcer.name" . }}
app.kubernetes.io/component: agent
{{- end -}}

{{/* The label that tells the pods of a pool's DaemonSet from the others. */}}
{{- define "enforcer.poolLabel" -}}
enforcer.io/pool
{{- end -}}

{{/* The image: a dict of "root" and, optionally, "pool". */}}
{{- define "enforcer.image" -}}
{{- $own := (.pool | default dict).image | default dict -}}
{{- $repository := $own.repository | default .root.Values.image.repository -}}
{{- if not (or $own.tag $own.digest) -}}{{- $own = .root.Values.image -}}{{- end -}}
{{- $repository = required (include "enforcer.noImage" .root) $repository -}}
{{- if $own.digest -}}
{{ $repository }}@{{ $own.digest }}
{{- else -}}
{{ $repository }}:{{ $own.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "enforcer.noImage" -}}
image.repository is not set, and no public registry has the image. Build it and push it to a registry
that the nodes can pull from:
  cargo xtask image --push --tag example.azurecr.io/enforcer:{{ .Chart.AppVersion }}
Then add: --set image.repository=example.azurecr.io/enforcer
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

{{/* Privileges of the containers that work on the node, and the capabilities that "." lists besides. */}}
{{- define "enforcer.securityContext" -}}
runAsUser: 0
runAsGroup: 0
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
  add: [{{ concat (list "BPF" "NET_ADMIN" "NET_BROADCAST" "PERFMON") . | join ", " }}]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Privileges of the containers that don't. */}}
{{- define "enforcer.noPrivileges" -}}
runAsUser: 65535
runAsGroup: 65535
runAsNonRoot: true
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* No kernel to load programs into: virtual nodes (Azure Container Instances). */}}
{{- define "enforcer.notVirtual" -}}
key: type
operator: NotIn
values: [virtual-kubelet]
{{- end -}}

{{/*
The affinity of a DaemonSet: the user's, and in each of its node terms what the chart requires. A dict of
"root", "pool" (optional) and "expressions" (a list that may be empty).
*/}}
{{- define "enforcer.affinity" -}}
{{- $values := .root.Values -}}
{{- $expressions := .expressions -}}
{{- if $values.pools.list -}}
  {{- $taken := list -}}
  {{- range $values.pools.list -}}{{- $taken = concat $taken .nodes -}}{{- end -}}
  {{- $operator := ternary "In" "NotIn" (not (empty .pool)) -}}
  {{- $nodes := ternary (.pool | default dict).nodes $taken (not (empty .pool)) -}}
  {{- $expressions = append $expressions (dict "key" $values.pools.label "operator" $operator "values" $nodes) -}}
{{- end -}}
{{- $affinity := deepCopy $values.affinity -}}
{{- if $expressions -}}
  {{- $node := $affinity.nodeAffinity | default dict -}}
  {{- $required := $node.requiredDuringSchedulingIgnoredDuringExecution | default dict -}}
  {{- $terms := list -}}
  {{- range $required.nodeSelectorTerms | default (list dict) -}}
    {{- $own := .matchExpressions | default list -}}
    {{- $terms = append $terms (merge (dict "matchExpressions" (concat $own $expressions)) .) -}}
  {{- end -}}
  {{- $_ := set $node "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms) -}}
  {{- $_ := set $affinity "nodeAffinity" $node -}}
{{- end -}}
{{- if $values.pools.list -}}
  {{- /* A node that changes its pool gets the other agent when the first one has ended. */ -}}
  {{- $apart := $affinity.podAntiAffinity | default dict -}}
  {{- $selector := dict "matchLabels" (include "enforcer.selector" .root | fromYaml) -}}
  {{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" $selector -}}
  {{- $terms := append ($apart.requiredDuringSchedulingIgnoredDuringExecution | default list) $term -}}
  {{- $_ := set $apart "requiredDuringSchedulingIgnoredDuringExecution" $terms -}}
  {{- $_ := set $affinity "podAntiAffinity" $apart -}}
{{- end -}}
{{- if $affinity -}}{{- toYaml $affinity -}}{{- end -}}
{{- end -}}

{{/* Where pods run, and with which rights to pull: common to the agent and the clean-up. */}}
{{- define "enforcer.placement" -}}
hostNetwork: true
dnsPolicy: Default
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector:
  {{- merge (dict "kubernetes.io/os" "linux") .Values.nodeSelector | toYaml | nindent 2 }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Annotations of the objects of `helm test`. */}}
{{- define "enforcer.testHook" -}}
helm.sh/hook: test
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
