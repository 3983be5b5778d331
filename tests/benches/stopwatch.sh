#!/usr/bin/env bash
# Measures how long a new user waits: from an ONNX file to the first answer of a server, and from `plugin new` to the first reply
# of the new plugin, for each language.
#
#     tests/benches/stopwatch.sh PLIMSOLL MODEL.onnx IMAGE [LANGUAGE …]
#
# PLIMSOLL is the binary, MODEL a model for images. Without LANGUAGE it measures rust, python, javascript, c and cpp. Everything is
# done in a new folder, with an empty cache of compiled code. `plugin build` installs the tools of Python and JavaScript into the
# folder of the plugin, from the cache of pip and npm or from the network. A language whose tools are missing is left out. The
# result is a table in Markdown, in seconds.
set -euo pipefail

[[ $# -ge 3 ]] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
plimsoll=$(realpath "$1") model=$(realpath "$2") image=$(realpath "$3")
shift 3
languages=("$@")
[[ ${#languages[@]} -gt 0 ]] || languages=(rust python javascript c cpp)

work=$(mktemp -d)
server=
finish() {
    [[ -z $server ]] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
cd "$work"
unset PLIMSOLL_CONFIG PLIMSOLL_DATA_DIR RUST_LOG

now() { date +%s%N; }
# The seconds since a time, with one digit.
since() { awk -v ns="$(($(now) - $1))" 'BEGIN { printf "%.1f", ns / 1e9 }'; }

serve() {
    "$plimsoll" serve --config "$1" --listen 127.0.0.1:0 2>"$work/log" &
    server=$!
    until address=$(grep -o 'http://127.0.0.1:[0-9]*' "$work/log" | head -1) && [[ -n $address ]]; do
        kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
        sleep 0.02
    done
}

echo "| from … to the first answer | init or new | build | start and answer | total |"
echo "| --- | --- | --- | --- | --- |"

start=$(now)
"$plimsoll" init "$model" --dir own </dev/null >"$work/out" 2>&1 || { cat "$work/out" >&2; exit 1; }
init=$(since "$start")
began=$(now)
serve own/plimsoll.toml
pipeline=$(sed -n 's/^\[pipelines\.\([^].]*\)\]$/\1/p' own/plimsoll.toml)
curl --silent --show-error --fail --output reply --data-binary "@$image" "$address/v1/pipelines/$pipeline/infer"
echo "| an ONNX file | $init | – | $(since "$began") | $(since "$start") |"
kill "$server"
wait "$server" || true
server=

for language in "${languages[@]}"; do
    name=new-$language
    start=$(now)
    "$plimsoll" plugin new "$name" --kind preprocess --language "$language" >"$work/out" 2>&1 ||
        { cat "$work/out" >&2; exit 1; }
    new=$(since "$start")
    began=$(now)
    if ! "$plimsoll" plugin build "$name" >"$work/out" 2>&1; then
        echo "$language is left out: $(tail -1 "$work/out")" >&2
        continue
    fi
    build=$(since "$began")
    began=$(now)
    "$plimsoll" infer demo "$name/samples/seven.raw" --config "$name/plimsoll.toml" >"$work/out" 2>&1 ||
        { cat "$work/out" >&2; exit 1; }
    echo "| \`plugin new --language $language\` | $new | $build | $(since "$began") | $(since "$start") |"
done
