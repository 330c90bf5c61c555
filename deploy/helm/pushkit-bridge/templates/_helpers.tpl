{{- define "bridge.name" -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "bridge.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "bridge.labels" -}}
{{ include "bridge.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* What the pods of a bridge carry. Those of the Operator's Alertmanager carry its labels. */}}
{{- define "bridge.pods" -}}
{{- if eq .Values.shape "sidecar" -}}
alertmanager: {{ include "bridge.name" . }}
app.kubernetes.io/name: alertmanager
{{- else -}}
{{ include "bridge.selector" . }}
{{- end }}
{{- end }}

{{- define "bridge.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "bridge.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "bridge.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "bridge.externalUrl" -}}
{{- $phone := .Values.phone -}}
{{- $phone.externalUrl | default (ternary (printf "https://%s" $phone.ingress.host) "" $phone.ingress.enabled) }}
{{- end }}

{{- /* Names the secrets that stand in a configuration, each as the path to it. Takes dict "at" PATH "in" VALUE. */}}
{{- define "bridge.secretsIn" -}}
{{- $at := .at -}}
{{- if kindIs "map" .in -}}
{{- range $key, $value := .in -}}
{{- $path := trimPrefix "." (printf "%s.%s" $at $key) -}}
{{- $secret := has $key (list "key" "proxy" "password" "credentials" "voip_token" "alert_token" "ical_url") -}}
{{- if and (eq $key "url") (or (contains ".webhooks." $path) (regexMatch "://[^/@]*:[^/@]*@" (toString $value))) -}}
{{- $secret = true -}}
{{- end -}}
{{- if and $secret (not (kindIs "map" $value)) }} {{ $path }}{{ else }}{{ include "bridge.secretsIn" (dict "at" $path "in" $value) }}{{ end -}}
{{- end -}}
{{- else if kindIs "slice" .in -}}
{{- range $number, $value := .in -}}
{{- include "bridge.secretsIn" (dict "at" (printf "%s.%d" $at $number) "in" $value) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* What cannot be: said in a sentence, before anything is installed. */}}
{{- define "bridge.check" -}}
{{- $config := .Values.config -}}
{{- if and $config.inline $config.existingSecret -}}
{{- fail "give config.inline or config.existingSecret, not both" -}}
{{- end -}}
{{- if not (or $config.inline $config.existingSecret) -}}
{{- fail "give the bridge a configuration: config.inline, or the name of a Secret in config.existingSecret" -}}
{{- end -}}
{{- with include "bridge.secretsIn" (dict "at" "" "in" $config.inline) | trim -}}
{{- fail (printf "config.inline lands in a ConfigMap, and would show these secrets: %s. Use the key that ends in _file, and a Secret under `secrets`" .) -}}
{{- end -}}
{{- $url := dig "storage" "url" "" ($config.inline | default dict) -}}
{{- if and (eq .Values.shape "replicas") (hasPrefix "sqlite:" $url) -}}
{{- fail "shape replicas: several bridges cannot share an SQLite file; give storage.url a postgresql:// URL, or take shape single" -}}
{{- end -}}
{{- if and (ne .Values.shape "replicas") (hasPrefix "sqlite:" $url) (not (hasPrefix "sqlite:////var/lib/pushkit-bridge/" $url)) -}}
{{- fail "storage.url must lie below sqlite:////var/lib/pushkit-bridge/: nothing else in the pod can be written to, or outlives it" -}}
{{- end -}}
{{- if and (eq .Values.shape "sidecar") .Values.phone.ingress.enabled -}}
{{- fail "shape sidecar: the bridges share no enrolments, so phones have nothing to reach; set phone.ingress.enabled to false" -}}
{{- end -}}
{{- if and .Values.phone.ingress.enabled (not .Values.phone.ingress.host) -}}
{{- fail "phone.ingress needs a host" -}}
{{- end -}}
{{- end }}

{{- /* Changes with the configuration, so that the pods do. A Secret's content is known only to a real installation. */}}
{{- define "bridge.checksum" -}}
{{- $seen := list .Values.config.inline -}}
{{- range (append .Values.secrets (dict "name" .Values.config.existingSecret)) -}}
{{- if .name -}}
{{- $seen = append $seen (dig "data" dict (lookup "v1" "Secret" $.Release.Namespace .name)) -}}
{{- end -}}
{{- end -}}
{{- $seen | toJson | sha256sum -}}
{{- end }}

{{- /* config.yaml and what it names, in one folder. */}}
{{- define "bridge.configVolume" -}}
name: config
projected:
  defaultMode: 0440
  sources:
    {{- if .Values.config.existingSecret }}
    - secret: {name: {{ .Values.config.existingSecret }}, items: [{key: config.yaml, path: config.yaml}]}
    {{- else }}
    - configMap: {name: {{ include "bridge.name" . }}}
    {{- end }}
    {{- range .Values.secrets }}
    - secret:
        {{- toYaml . | nindent 8 }}
    {{- end }}
{{- end }}

{{- define "bridge.probe" -}}
httpGet: {path: {{ trimSuffix "/" .root.Values.web.routePrefix }}{{ .path }}, port: bridge, scheme: {{ .root.Values.web.scheme }}}
{{- end }}

{{- /* The container, in a pod of its own or beside an Alertmanager. */}}
{{- define "bridge.container" -}}
{{- $sidecar := eq .Values.shape "sidecar" -}}
name: pushkit-bridge
image: {{ include "bridge.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - serve
  - --config.file=/etc/pushkit-bridge/config.yaml
  - --web.listen-address=:9095
  {{- with .Values.web.configFile }}
  - --web.config.file=/etc/pushkit-bridge/{{ . }}
  {{- end }}
  {{- with .Values.web.routePrefix }}
  - --web.route-prefix={{ . }}
  {{- end }}
  - --phone.listen-address={{ ternary "127.0.0.1:9096" ":9096" $sidecar }}
  {{- if not $sidecar }}
  {{- with .Values.phone.configFile }}
  - --phone.config.file=/etc/pushkit-bridge/{{ . }}
  {{- end }}
  {{- with include "bridge.externalUrl" . }}
  - --phone.external-url={{ . }}
  {{- end }}
  {{- end }}
  {{- if .Values.heartbeat.secret }}
  - --heartbeat.url=$(HEARTBEAT_URL)
  {{- end }}
  - --log.level={{ .Values.log.level }}
  - --log.format={{ .Values.log.format }}
  {{- with .Values.extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
env:
  # What the commands ask that somebody runs in this container.
  - {name: PUSHKIT_BRIDGE_URL, value: "{{ lower .Values.web.scheme }}://127.0.0.1:9095{{ trimSuffix "/" .Values.web.routePrefix }}"}
  {{- if .Values.heartbeat.secret }}
  - name: HEARTBEAT_URL
    valueFrom: {secretKeyRef: {name: {{ .Values.heartbeat.secret }}, key: {{ .Values.heartbeat.key }}}}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - {name: bridge, containerPort: 9095, protocol: TCP}
  {{- if not $sidecar }}
  - {name: phones, containerPort: 9096, protocol: TCP}
  {{- end }}
# The first start after an upgrade may have a large ledger to migrate.
startupProbe:
  {{- include "bridge.probe" (dict "root" . "path" "/-/healthy") | nindent 2 }}
  periodSeconds: 2
  failureThreshold: 150
livenessProbe:
  {{- include "bridge.probe" (dict "root" . "path" "/-/healthy") | nindent 2 }}
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 4
{{- if not $sidecar }}
readinessProbe:
  {{- include "bridge.probe" (dict "root" . "path" "/-/ready") | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- else }}
# No readinessProbe: a ledger that does not work must not take the Alertmanager out of its Service too.
{{- end }}
{{- if eq .Values.shape "replicas" }}
# Services hear of the end first: no Alertmanager and no phone is sent to a listener that is gone.
lifecycle: {preStop: {exec: {command: [sleep, "5"]}}}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
volumeMounts:
  - {name: config, mountPath: /etc/pushkit-bridge, readOnly: true}
  {{- if $sidecar }}
  - {name: state, mountPath: /var/lib/pushkit-bridge, subPath: pushkit-bridge}
  {{- else if eq .Values.shape "single" }}
  - {name: state, mountPath: /var/lib/pushkit-bridge}
  {{- end }}
{{- end }}

{{- /* The volume of the shapes that have one. */}}
{{- define "bridge.claim" -}}
accessModes: [{{ .Values.persistence.accessMode }}]
{{- with .Values.persistence.storageClass }}
storageClassName: {{ . }}
{{- end }}
resources: {requests: {storage: {{ .Values.persistence.size }}}}
{{- end }}
