{{- define "plimsoll.name" -}}
{{- if contains "plimsoll" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-plimsoll" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "plimsoll.selector" -}}
app.kubernetes.io/name: plimsoll
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "plimsoll.labels" -}}
{{ include "plimsoll.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "plimsoll.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "plimsoll.hasFiles" -}}
{{- if or .Values.config .Values.files }}yes{{ end }}
{{- end }}

{{/* A quarter of the memory limit in bytes; empty without a limit. A number in a file of values is a float64, which would
     be written with an exponent. */}}
{{- define "plimsoll.budget" -}}
{{- $given := dig "limits" "memory" "" (.Values.resources | default dict) }}
{{- $limit := ternary ($given | int64 | toString) ($given | toString) (kindIs "float64" $given) }}
{{- if $limit }}
{{- if not (regexMatch "^[0-9]+([.][0-9]+)?(k|[MGTPE]|[KMGTPE]i)?$" $limit) }}{{ fail (printf "resources.limits.memory: %q is not a size; write it as 1Gi" $limit) }}{{ end }}
{{- $number := regexFind "^[0-9.]+" $limit | float64 }}
{{- $unit := regexFind "[A-Za-z]*$" $limit }}
{{- $units := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 }}
{{- $quarter := divf (mulf $number (get $units $unit)) 4 | floor | int64 }}
{{- if lt $quarter 33554432 }}{{ fail (printf "resources.limits.memory: %q is too small: a quarter of it is for bodies, and must hold one of 32 MiB; use at least 128Mi, or set body_budget, reply_budget and max_body in config" $limit) }}{{ end }}
{{- $quarter }}
{{- end }}
{{- end }}
