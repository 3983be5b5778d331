#!/usr/bin/env bash
# Builds the example plugins: build.sh [all|javascript|python] [OUT]
# Only installs the tools of the example in JavaScript: build.sh tools
#
# Writes js-preprocess.wasm and py-postprocess.wasm to OUT (default: target/examples in the repository). The tools are
# installed into target/examples/tools, in the versions of the lock files next to the sources. They are installed again
# only when a lock file changes. Exit code 2: wrong usage; 3: node or python3 is missing or too old.
set -euo pipefail

examples=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$examples/../.." && pwd)
tools=$repository/target/examples/tools
version=0.1.0

usage() {
    echo "usage: build.sh [all|javascript|python|tools] [OUT]" >&2
    exit 2
}

missing() {
    echo "build.sh: $1" >&2
    exit 3
}

need_node() {
    local needed="the JavaScript example needs node 20 or later and npm"
    command -v node >/dev/null || missing "node is missing: $needed"
    command -v npm >/dev/null || missing "npm is missing: $needed"
    node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' ||
        missing "node $(node --version) is too old: $needed"
}

need_python() {
    local needed="the Python example needs python3 3.10 or later with its module venv"
    command -v python3 >/dev/null || missing "python3 is missing: $needed"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || missing "$(python3 --version) is too old: $needed"
    python3 -c 'import venv, ensurepip' 2>/dev/null || missing "the module venv of python3 is missing: $needed"
}

# Takes a lock file and a folder. True if the tools in the folder were completely installed from this lock file.
installed() {
    cmp -s "$1" "$2/installed"
}

# Waits for other processes that install, until the end of this shell or subshell.
lock_tools() {
    mkdir -p "$tools"
    exec {lock}>"$tools/lock"
    flock "$lock"
}

install_node_tools() (
    local source=$examples/javascript folder=$tools/javascript
    lock_tools
    if installed "$source/package-lock.json" "$folder"; then return; fi
    mkdir -p "$folder"
    # Copied first, because npm installs into the folder of its package.json and the source folder must stay clean.
    cp "$source/package.json" "$source/package-lock.json" "$folder"
    npm ci --prefix "$folder" --no-audit --no-fund
    cp "$source/package-lock.json" "$folder/installed"
)

install_python_tools() (
    local source=$examples/python folder=$tools/python
    lock_tools
    if installed "$source/requirements.txt" "$folder"; then return; fi
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$source/requirements.txt"
    cp "$source/requirements.txt" "$folder/installed"
)

# Appends a custom section to a component. The format allows custom sections anywhere; the sizes here fit in one byte.
# Takes the file, the name of the section and its content, which may contain escape sequences of printf.
section() {
    local content size
    printf -v content '%b' "$3"
    size=$((1 + ${#2} + ${#content}))
    ((size < 128)) || { echo "build.sh: the section $2 is too long" >&2; exit 1; }
    printf "\\x00\\x$(printf %02x "$size")\\x$(printf %02x ${#2})%s%b" "$2" "$3" >>"$1"
}

# Writes version, description, authors and licence into the component; `plimsoll inspect` and the host's reports show
# the version. Takes the file and the description.
describe() {
    section "$1" version "$version"
    section "$1" description "$2"
    section "$1" authors "The Plimsoll developers"
    section "$1" licenses Apache-2.0
}

build_javascript() {
    need_node
    install_node_tools
    # Only the output streams of WASI are kept, so that `console.log` reaches the host's log. wasi:http must be disabled
    # because the host does not provide it.
    # Built from a copy, next to which the SDK is.
    cp "$examples"/javascript/*.js "$repository/plugins/sdk-javascript/plimsoll.js" "$work/"
    (cd "$work" && "$tools/javascript/node_modules/.bin/componentize-js" preprocess.js \
        --wit "$repository/wit" --world-name preprocessor \
        --disable http fetch-event random clocks --out "$work/js-preprocess.wasm")
    describe "$work/js-preprocess.wasm" "PGM and PPM scans to a grey tensor, in JavaScript"
    mv "$work/js-preprocess.wasm" "$out/"
    echo "built $out/js-preprocess.wasm"
}

build_python() {
    need_python
    install_python_tools
    # Built from a copy, because importing a module writes its bytecode next to it.
    cp -r "$examples/python/postprocess.py" "$repository/plugins/sdk-python/plimsoll_sdk" "$work/"
    # VIRTUAL_ENV excludes the packages of other environments.
    VIRTUAL_ENV="$tools/python" "$tools/python/bin/componentize-py" --quiet \
        --wit-path "$repository/wit" --world plimsoll:stage/postprocessor \
        componentize postprocess --python-path "$work" --output "$work/py-postprocess.wasm"
    describe "$work/py-postprocess.wasm" "Scores of a classifier to JSON, in Python"
    mv "$work/py-postprocess.wasm" "$out/"
    echo "built $out/py-postprocess.wasm"
}

what=${1:-all}
[[ $# -le 2 && $what =~ ^(all|javascript|python|tools)$ ]] || usage
# Checked before anything is built, so that a missing tool is reported immediately.
[[ $what == python ]] || need_node
[[ $what == javascript || $what == tools ]] || need_python
if [[ $what == tools ]]; then
    install_node_tools
    exit
fi

mkdir -p "${2:-$repository/target/examples}"
out=$(cd "${2:-$repository/target/examples}" && pwd)
# Only finished files are moved to OUT, so that an interrupted build leaves no incomplete file there.
work=$(mktemp -d "$out/build.XXXXXX")
trap 'rm -rf "$work"' EXIT

[[ $what == python ]] || build_javascript
[[ $what == javascript ]] || build_python
