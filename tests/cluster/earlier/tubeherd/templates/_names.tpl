{{- define "tubeherd.labels" -}}
app.kubernetes.io/name: tubeherd
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "tubeherd.selector" -}}
app.kubernetes.io/name: tubeherd
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tubeherd.server" -}}
{{- if .Values.server -}}
{{ .Values.server }}
{{- else if .Values.beanstalkd.enabled -}}
{{ .Release.Name }}-beanstalkd.{{ .Release.Namespace }}.svc:11300
{{- end -}}
{{- end -}}

{{- define "tubeherd.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "tubeherd.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "tubeherd.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}
