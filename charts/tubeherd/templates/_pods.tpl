{{- /* Takes the root, a component and the values of the part: labels and annotations of its pods. There is no version
       among the labels: an upgrade of the operator must not restart beanstalkd. */ -}}
{{- define "tubeherd.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $part := index . 2 -}}
{{- $own := include "tubeherd.selector" $root | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/component" (index . 1) -}}
labels: {{- mergeOverwrite (dict) ($root.Values.commonLabels | default dict) ($part.podLabels | default dict) $own | toYaml | nindent 2 }}
{{- with mergeOverwrite (dict) ($root.Values.commonAnnotations | default dict) ($part.podAnnotations | default dict) }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Takes the root and the values of the part: where its pod runs, and as whom. */ -}}
{{- define "tubeherd.podSpec" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- $security := dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- if $root.Values.fixedUser -}}
{{- $security = merge $security (dict "runAsUser" 65532 "runAsGroup" 65532 "fsGroup" 65532) -}}
{{- end -}}
enableServiceLinks: false
securityContext: {{- mergeOverwrite $security ($part.podSecurityContext | default dict) | toYaml | nindent 2 }}
{{- with include "tubeherd.pullSecrets" $root }}
imagePullSecrets: {{- . | nindent 2 }}
{{- end }}
{{- with $part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" }}
{{- with index $part $field }}
{{ $field }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* Takes the values of the part. */ -}}
{{- define "tubeherd.containerSecurity" -}}
{{- $security := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "capabilities" (dict "drop" (list "ALL")) -}}
{{- mergeOverwrite $security (.containerSecurityContext | default dict) | toYaml -}}
{{- end -}}

{{- define "tubeherd.pullSecrets" -}}
{{- range .Values.imagePullSecrets -}}
{{- if kindIs "string" . -}}
{{- fail (printf "imagePullSecrets is written as in a pod now: instead of %q write {name: %s}, or --set imagePullSecrets[0].name=%s" . . .) -}}
{{- end -}}
{{- end -}}
{{- with .Values.imagePullSecrets }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- /* Takes the root, a component, its name and the values of the part. There is none without one of the two numbers.
       Helm merges a user's values into the defaults, so that minAvailable has to win over a default maxUnavailable. */ -}}
{{- define "tubeherd.podDisruptionBudget" -}}
{{- $root := index . 0 -}}
{{- $budget := (index . 3).podDisruptionBudget | default dict -}}
{{- range $number := list "maxUnavailable" "minAvailable" -}}
{{- if kindIs "invalid" (get $budget $number) -}}{{- $budget = omit $budget $number -}}{{- end -}}
{{- end -}}
{{- if hasKey $budget "minAvailable" -}}{{- $budget = omit $budget "maxUnavailable" -}}{{- end -}}
{{- if or (hasKey $budget "minAvailable") (hasKey $budget "maxUnavailable") }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{- include "tubeherd.metadata" (list $root (index $ 2) (index $ 1) dict) | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "tubeherd.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ index $ 1 }}
  {{- toYaml $budget | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Takes the root, a component, its name and the values of the part. */ -}}
{{- define "tubeherd.ownServiceAccount" -}}
{{- $account := (index . 3).serviceAccount | default dict -}}
{{- if $account.create }}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{- include "tubeherd.metadata" (list (index . 0) (include "tubeherd.serviceAccount" (list (index . 3) (index . 2))) (index . 1) $account.annotations) | nindent 2 }}
{{- end }}
{{- end -}}
