{{- /* The beginning of all names. Without an override it is the release's name. */ -}}
{{- define "tubeherd.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if and .Values.nameOverride (not (contains .Values.nameOverride .Release.Name)) -}}
{{ .Release.Name }}-{{ .Values.nameOverride }}
{{- else -}}
{{ .Release.Name }}
{{- end -}}
{{- end -}}

{{- /* Takes the root, a suffix and the greatest length. A name that is cut has a digest, so that no two become the same. */ -}}
{{- define "tubeherd.cut" -}}
{{- $full := include "tubeherd.fullname" (index . 0) -}}
{{- $suffix := index . 1 -}}
{{- $limit := index . 2 -}}
{{- if gt (len (printf "%s-%s" $full $suffix)) $limit -}}
{{- $room := sub (sub $limit (len $suffix)) 8 | int -}}
{{ $full | trunc $room | trimAll "-." }}-{{ sha256sum $full | trunc 6 }}-{{ $suffix }}
{{- else -}}
{{ $full }}-{{ $suffix }}
{{- end -}}
{{- end -}}

{{- define "tubeherd.operator" -}}
{{- include "tubeherd.cut" (list . "operator" 63) -}}
{{- end -}}

{{- /* Kubernetes makes labels of a StatefulSet's name and eleven characters, and a label has at most 63. */ -}}
{{- define "tubeherd.beanstalkd" -}}
{{- include "tubeherd.cut" (list . "beanstalkd" 52) -}}
{{- end -}}

{{- define "tubeherd.test" -}}
{{- include "tubeherd.cut" (list . "test" 63) -}}
{{- end -}}

{{- /* Takes the root and a suffix, for objects of the whole cluster. */ -}}
{{- define "tubeherd.clusterName" -}}
{{- $root := index . 0 -}}
{{ $root.Release.Namespace }}-{{ include "tubeherd.fullname" $root }}-{{ index . 1 }}
{{- end -}}

{{- /* Takes the values of a part and the name that its service account has unless it is given another. */ -}}
{{- define "tubeherd.serviceAccount" -}}
{{- $account := (index . 0).serviceAccount | default dict -}}
{{ $account.name | default (ternary (index . 1) "default" ($account.create | default false)) }}
{{- end -}}

{{- /* These labels can never change: they are part of the selectors of live objects. */ -}}
{{- define "tubeherd.selector" -}}
app.kubernetes.io/name: tubeherd
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- /* Takes the root, a name, a component or "", and annotations; for objects of the whole cluster. */ -}}
{{- define "tubeherd.clusterMetadata" -}}
{{- $root := index . 0 -}}
{{- $own := include "tubeherd.selector" $root | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" $root.Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- with index . 2 }}{{ $_ := set $own "app.kubernetes.io/component" . }}{{ end -}}
name: {{ index . 1 | quote }}
labels: {{- mergeOverwrite (dict) ($root.Values.commonLabels | default dict) $own | toYaml | nindent 2 }}
{{- with mergeOverwrite (dict) ($root.Values.commonAnnotations | default dict) (index . 3 | default dict) }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* The same for objects of the release's namespace. */ -}}
{{- define "tubeherd.metadata" -}}
namespace: {{ (index . 0).Release.Namespace }}
{{ include "tubeherd.clusterMetadata" . }}
{{- end -}}

{{- define "tubeherd.server" -}}
{{- if .Values.server -}}
{{ .Values.server }}
{{- else if .Values.beanstalkd.enabled -}}
{{ include "tubeherd.beanstalkd" . }}.{{ .Release.Namespace }}.svc:11300
{{- end -}}
{{- end -}}

{{- /* The test makes a pool in the release's namespace, on the default server. */ -}}
{{- define "tubeherd.hasTest" -}}
{{- $isWatched := or (not .Values.watchNamespaces) (has .Release.Namespace (.Values.watchNamespaces | default list)) -}}
{{- and $isWatched (not (empty (include "tubeherd.server" .))) -}}
{{- end -}}

{{- /* Takes the root and the part that the image is of. */ -}}
{{- define "tubeherd.image" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- $image := (index $root.Values $part).image -}}
{{- if kindIs "string" $image -}}
{{- fail (printf "%s.image is written in parts now: instead of %q set imageRegistry or %s.image.registry, and %s.image.repository, %s.image.tag or %s.image.digest. With --reuse-values, helm misses the new values of this chart: use --reset-then-reuse-values" $part $image $part $part $part $part) -}}
{{- end -}}
{{- with $image.registry | default $root.Values.imageRegistry }}{{ . }}/{{ end -}}
{{ $image.repository -}}
{{ with $image.tag | default (ternary "" $root.Chart.AppVersion (not (empty $image.digest))) }}:{{ . }}{{ end -}}
{{ with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}
