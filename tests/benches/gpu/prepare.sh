#!/usr/bin/env bash
# Prepares the benchmark on a GPU, on a machine with a network: tests/benches/gpu/prepare.sh [FOLDER]. README.md says the
# rest. WHEEL names another package of ONNX Runtime, for example `onnxruntime==1.32.0` for TARGET=cpu. PLIMSOLL and TOOL
# are a binary and a tool that are already built.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
folder=${1:-"$root/target/bench-gpu"}
mkdir -p "$folder/parts"

if [[ -z ${PLIMSOLL:-} ]]; then
    cargo build --release --locked --manifest-path "$root/Cargo.toml" --bin plimsoll
    PLIMSOLL="$root/target/release/plimsoll"
fi
if [[ -z ${TOOL:-} ]]; then
    TOOL=$(cargo bench --locked --manifest-path "$root/Cargo.toml" --bench gpu --no-run --message-format=json |
        python3 -c 'import json, sys
found = [json.loads(line) for line in sys.stdin]
print([one["executable"] for one in found if one.get("executable") and one["target"]["name"] == "gpu"][-1])')
fi
# Without debug information, which is most of their bytes.
strip -o "$folder/plimsoll" "$PLIMSOLL"
strip -o "$folder/gpu-tool" "$TOOL"
cp "$here/run.py" "$here/models.py" "$folder"

# In parts, because some ways to a machine take only so many bytes at once.
rm -rf "$folder/wheel" "$folder/parts"/wheel.*
download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$download" \
    "${WHEEL:-onnxruntime-gpu}"
split --bytes=56m --numeric-suffixes --suffix-length=2 "$download"/*.whl "$folder/parts/wheel."
python3 - "$folder/parts" <<'PYTHON'
import json
import sys
from pathlib import Path

folder = Path(sys.argv[1])
sizes = {part.name: part.stat().st_size for part in sorted(folder.glob("wheel.*"))}
(folder / "sizes.json").write_text(json.dumps(sizes, indent=1) + "\n")
PYTHON
du --summarize --human-readable "$folder"
