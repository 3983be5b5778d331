#!/bin/sh
# Builds the program for systems with glibc 2.28 or later, on any newer system: portable.sh [FOLDER]. It prints the path of the
# program, which is also copied to FOLDER. Needs cargo, the target wasm32-wasip2 (rustup), and Python with `venv`.
#
# The linker is zig's: it knows the symbols of each version of glibc. It comes from PyPI. (Not musl: a static program cannot
# load ONNX Runtime, and the server returns memory with glibc's `malloc_trim`.)
set -eu
glibc=2.28
root=$(cd "$(dirname "$0")/../../.." && pwd)
cd "$root"
built=${CARGO_TARGET_DIR:-target}
tools=$root/target/portable-tools
if [ ! -x "$tools/bin/cargo-zigbuild" ]; then
    python3 -m venv "$tools" >&2
    "$tools/bin/pip" install --quiet --disable-pip-version-check ziglang==0.17.1 cargo-zigbuild==0.24.1 >&2
fi
target=$(uname -m)-unknown-linux-gnu
rustup target add "$target" >&2
PATH="$tools/bin:$PATH" cargo zigbuild --profile dist --locked --package plimsoll --target "$target.$glibc" >&2
program=$built/$target/dist/plimsoll

# The versions of the C library that the program names.
versions=$(LC_ALL=C grep -aoE 'GLIBC_2\.[0-9]+' "$program" | sed 's/GLIBC_//' | sort -uV)
newest=$(echo "$versions" | tail -n 1)
if [ -z "$newest" ] || [ "$(printf '%s\n' "$newest" "$glibc" | sort -V | tail -n 1)" != "$glibc" ]; then
    echo "$program needs glibc ${newest:-(none found)}, not at most $glibc" >&2
    exit 1
fi
"$program" --version >&2
if [ $# -gt 0 ]; then
    mkdir -p "$1"
    cp "$program" "$1/plimsoll"
    program=$1/plimsoll
fi
echo "$program"
