{{/* The agent's DaemonSet, or that of a pool: a dict of "root" and, optionally, "pool". */}}
{{- define "enforcer.daemonSet" -}}
{{- $root := .root -}}
{{- $pool := .pool | default dict -}}
{{- $selector := include "enforcer.selector" $root | fromYaml -}}
{{- with $pool.name }}{{ $_ := set $selector (include "enforcer.poolLabel" $root) . }}{{ end -}}
{{- $labels := merge (dict "app.kubernetes.io/part-of" "enforcer") $selector $root.Values.podLabels $root.Values.additionalLabels -}}
{{- $strategy := $pool.updateStrategy | default $root.Values.updateStrategy -}}
{{- $aks := $root.Values.aks -}}
{{- $expressions := list -}}
{{- if $aks }}{{ $expressions = list (include "enforcer.notVirtual" $root | fromYaml) }}{{ end -}}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {{ include "enforcer.fullname" $root }}{{ with $pool.name }}-{{ . }}{{ end }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "enforcer.labels" $root | nindent 4 }}
    app.kubernetes.io/component: agent
spec:
  selector:
    matchLabels:
      {{- toYaml $selector | nindent 6 }}
  updateStrategy:
    type: {{ $strategy.type | default "RollingUpdate" }}
    {{- if ne ($strategy.type | default "RollingUpdate") "OnDelete" }}
    rollingUpdate:
      maxUnavailable: {{ ($strategy.rollingUpdate | default dict).maxUnavailable | default "10%" }}
      maxSurge: 0
    {{- end }}
  minReadySeconds: 10
  revisionHistoryLimit: 5
  template:
    metadata:
      labels:
        {{- toYaml $labels | nindent 8 }}
      {{- if or $aks $root.Values.podAnnotations }}
      annotations:
        {{- if $aks }}
        kubernetes.azure.com/set-kube-service-host-fqdn: "true"
        cluster-autoscaler.kubernetes.io/enable-ds-eviction: "false"
        {{- end }}
        {{- with $root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "enforcer.serviceAccountName" $root }}
      automountServiceAccountToken: true
      terminationGracePeriodSeconds: 10
      {{- include "enforcer.placement" $root | nindent 6 }}
      {{- with include "enforcer.affinity" (dict "root" $root "pool" $pool "expressions" $expressions) }}
      affinity:
        {{- . | nindent 8 }}
      {{- end }}
      containers:
        - name: agent
          image: {{ include "enforcer.image" . | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args:
            {{- include "enforcer.arguments" . | nindent 12 }}
          env:
            {{- include "enforcer.environment" $root | nindent 12 }}
          {{- if include "enforcer.exposed" $root }}
          ports:
            - name: metrics
              containerPort: {{ $root.Values.metrics.port }}
              protocol: TCP
          {{- end }}
          startupProbe:
            httpGet:
              {{- include "enforcer.probe" $root | trim | nindent 14 }}
              path: /healthz
            periodSeconds: 2
            failureThreshold: 30
          livenessProbe:
            httpGet:
              {{- include "enforcer.probe" $root | trim | nindent 14 }}
              path: /healthz
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet:
              {{- include "enforcer.probe" $root | trim | nindent 14 }}
              path: /readyz
            periodSeconds: 5
            timeoutSeconds: 5
          resources:
            {{- $pool.resources | default $root.Values.resources | toYaml | nindent 12 }}
          securityContext:
            {{- $agent := $root.Values.agent }}
            {{- $raw := or (ne $agent.denyWith "drop") $agent.denyWithAnnotation }}
            {{- include "enforcer.securityContext" (ternary (list "NET_RAW") (list) $raw) | nindent 12 }}
          volumeMounts:
            - name: bpffs
              mountPath: /bpf
              mountPropagation: HostToContainer
            - name: cni-results
              mountPath: /var/lib/cni/results
              readOnly: true
            {{- if ne $root.Values.agent.nri "off" }}
            - name: nri
              mountPath: /var/run/nri
            - name: netns
              mountPath: /var/run/netns
              mountPropagation: HostToContainer
            {{- end }}
      volumes:
        - name: bpffs
          hostPath:
            path: /sys/fs/bpf
            type: Directory
        - name: cni-results
          hostPath:
            path: /var/lib/cni/results
            type: DirectoryOrCreate
        {{- if ne $root.Values.agent.nri "off" }}
        - name: nri
          hostPath:
            path: /var/run/nri
            type: DirectoryOrCreate
        - name: netns
          hostPath:
            path: /var/run/netns
            type: DirectoryOrCreate
        {{- end }}
{{- end -}}
