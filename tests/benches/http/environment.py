"""Paths and constants of the benchmark, and its preparation: virtual environments, models and request bodies."""

import base64
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[2] / "target"
VENVS, MODELS, OUT = TARGET / "bench-venv", TARGET / "bench-models", TARGET / "bench-http"
# Logs, configurations and caches of the servers under test.
WORK = OUT / "work"
GUESTS = TARGET / "test-guests/wasm32-wasip2/release"
# Width and height of each model's input in pixels.
SIDES = {"tiny": 32, "big": 32, "mobilenet": 224}
PEERS = ["fastapi", "triton", "litserve", "mlserver"]
CORES = os.cpu_count()


# Length in bytes of the JSON head of each binary request to Triton.
TRITON_HEAD = 256


def triton_body(image: bytes) -> bytes:
    """A request in the binary form of the Open Inference Protocol: a JSON head, then the length and the bytes of the image."""
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(image) + 4}}
    return json.dumps({"inputs": [tensor]}).encode().ljust(TRITON_HEAD) + struct.pack("<I", len(image)) + image


def site_packages(venv: str) -> Path:
    """The folder of a virtual environment with its packages."""
    return VENVS / venv / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def prepare(peers: bool) -> None:
    """Creates the virtual environments, models and images that do not exist yet, and the peers' request bodies."""
    if not shutil.which("h2load"):
        sys.exit("h2load is not installed: run `apt-get install nghttp2-client`")
    create_venv("tools", HERE / "peers/requirements.txt")
    if peers:
        create_venv("mlserver", HERE / "peers/mlserver/requirements.txt")
        create_venv("triton", HERE / "peers/triton/requirements.txt")
        create_venv("openvino", HERE / "openvino.txt")
    if not (MODELS / "large.jpg").is_file():
        run_command([VENVS / "tools/bin/python", HERE / "models.py", MODELS])
    for name in ["tiny", "small", "large"]:
        image = (MODELS / f"{name}.jpg").read_bytes()
        (MODELS / f"{name}.triton.bin").write_bytes(triton_body(image))
        encoded = base64.b64encode(image).decode()
        (MODELS / f"{name}.litserve.json").write_text(json.dumps({"image": encoded}))
        tensor = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": [encoded]}
        (MODELS / f"{name}.mlserver.json").write_text(
            json.dumps({"inputs": [tensor | {"parameters": {"content_type": "base64"}}]})
        )


def create_venv(name: str, requirements: Path) -> None:
    """Creates a virtual environment with these requirements, unless it exists and they have not changed."""
    folder = VENVS / name
    installed = folder / "installed.txt"
    if installed.is_file() and installed.read_text() == requirements.read_text():
        return
    run_command([sys.executable, "-m", "venv", folder])
    run_command([folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements])
    installed.write_text(requirements.read_text())


def run_command(command: list) -> str:
    """Runs a command and returns its standard output. Exits with all of its output if the command fails."""
    completed = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True)
    if completed.returncode != 0:
        sys.exit(
            f"{' '.join(map(str, command))}: exit code {completed.returncode}\n{completed.stdout}\n{completed.stderr}"
        )
    return completed.stdout


def onnxruntime_library(venv: str = "tools") -> Path:
    """The library in the wheel that the peers use, so that Plimsoll and the peers run the same code. The virtual
    environment `openvino` has one that also carries OpenVINO."""
    return next((site_packages(venv) / "onnxruntime/capi").glob("libonnxruntime.so*"))
