"""How Plimsoll and each peer are configured and started."""

import json
import shutil
import sys
from pathlib import Path

from environment import CORES, GUESTS, HERE, MODELS, SIDES, VENVS, WORK, onnxruntime_library, site_packages
from server import Server, free_port


def start_plimsoll(
    binary: Path, config: str | None, pipeline: str = "bench", log: str = "warn", folder: Path | None = None
) -> Server:
    """Starts the binary. Without a configuration, it serves the bundled demo.

    A folder that the caller names is used as it is, with the compiled cache in it.
    """
    env = {"RUST_LOG": log}
    if folder is None:
        # The journal of earlier runs is deleted. The compiled cache is kept, so only the first start compiles; optimised code
        # is measured.
        env["PLIMSOLL_DEPLOY__QUICK_START"] = "false"
        folder = WORK / "plimsoll"
        shutil.rmtree(folder, ignore_errors=True)
        config = f'cache_dir = "{WORK}/cache"\n{config}'
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [binary, "serve", "--listen", f"127.0.0.1:{port}"]
    if config is not None:
        (folder / "plimsoll.toml").write_text(config)
        command += ["--config", folder / "plimsoll.toml"]
    path = f"/v1/pipelines/{pipeline}/infer"
    return Server("plimsoll", command, port, path, "/v2/health/ready", ".jpg", env, folder)


def start_peer(name: str, model: str) -> Server:
    """Starts one of the peers with a model."""
    port, side = free_port(), str(SIDES[model])
    # The threads of OpenBLAS are not limited: only numpy uses it, and no operation measured here calls it.
    env = {"BENCH_MODEL": str(MODELS / f"{model}.onnx"), "BENCH_SIDE": side, "PYTHONDONTWRITEBYTECODE": "1"}
    folder = HERE / "peers"
    if name == "fastapi":
        worker = ["-w", CORES, "-k", "uvicorn_worker.UvicornWorker"]
        command = [VENVS / "tools/bin/gunicorn", *worker, "-b", f"127.0.0.1:{port}", "--log-level", "warning"]
        return Server(name, [*command, "fastapi_app:app"], port, "/infer", "/ready", ".jpg", env, folder)
    if name == "litserve":
        command = [VENVS / "tools/bin/python", folder / "litserve_app.py", port]
        return Server(name, command, port, "/infer", "/health", ".litserve.json", env, WORK)
    if name == "triton":
        return start_triton(port, env)
    folder = WORK / "mlserver"
    shutil.copytree(HERE / "peers/mlserver", folder, dirs_exist_ok=True)
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": CORES,
        "debug": False,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    env["PYTHONPATH"] = f"{folder}:{HERE / 'peers'}"
    command = [VENVS / "mlserver/bin/mlserver", "start", folder]
    return Server(
        name, command, port, "/v2/models/bench/infer", "/v2/models/bench/ready", ".mlserver.json", env, folder
    )


def start_triton(port: int, env: dict) -> Server:
    """Starts Triton with its Python backend, one process of the model for each core. `nvidia-pytriton` copies the stub for
    the version of Python next to the backend, too."""
    packages, folder = site_packages("triton"), WORK / "triton"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "peers/triton/bench", folder / "models/bench")
    rules = folder / "models/bench/config.pbtxt"
    rules.write_text(rules.read_text().replace("CORES", str(CORES)))
    shutil.copytree(packages / "pytriton/tritonserver/backends", folder / "backends")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    stub = packages / "pytriton/tritonserver/python_backend_stubs" / version / "triton_python_backend_stub"
    for program in [shutil.copy(stub, folder / "backends/python"), packages / "pytriton/tritonserver/bin/tritonserver"]:
        Path(program).chmod(0o755)
    env |= {
        "BENCH_PATH": f"{HERE / 'peers'}:{packages}",
        "LD_LIBRARY_PATH": str(packages / "nvidia_pytriton.libs"),
    }
    command = [
        *[packages / "pytriton/tritonserver/bin/tritonserver", f"--http-port={port}", "--http-address=127.0.0.1"],
        *[f"--model-repository={folder}/models", f"--backend-directory={folder}/backends"],
        *["--allow-grpc=false", "--allow-metrics=false", "--log-info=false"],
    ]
    path, ready = "/v2/models/bench/infer", "/v2/health/ready"
    return Server("triton", command, port, path, ready, ".triton.bin", env, folder)


# Configurations of Plimsoll.


def noop_config(preprocess: str = "noop-preprocess") -> str:
    """A pipeline `bench` of test guests. Infer and postprocess do nothing."""
    files = "".join(
        f'[plugins.{plugin}]\nfile = "{GUESTS}/{plugin.replace("-", "_")}.wasm"\n'
        for plugin in [preprocess, "noop-infer", "noop-postprocess"]
    )
    return (
        f'{files}[pipelines.bench.preprocess]\nplugin = "{preprocess}"\n[pipelines.bench.chips.none]\n'
        'plugin = "noop-infer"\n[pipelines.bench.postprocess]\nplugin = "noop-postprocess"\n'
    )


def openvino_config(sessions: int) -> str:
    """OpenVINO as a chip `ov`, in the library of ONNX Runtime that carries it."""
    library = onnxruntime_library("openvino")
    return (
        f'[backends.onnxruntime]\nlibrary = "{library}"\nsessions = {sessions}\n'
        '[chips.ov]\nprovider = "openvino"\ndevice = "CPU"\n'
    )


def model_config(model: str, rules: str = "", pipeline: str = "bench") -> str:
    """A model on onnxruntime, with further lines `rules` in its table, and a pipeline of shipped plugins for it."""
    side = SIDES[model]
    return (
        f'[models.{model}]\nfile = "{MODELS}/{model}.onnx"\nbackend = "onnxruntime"\n{rules}\n'
        f'[pipelines.{pipeline}]\nmodel = "{model}"\n[pipelines.{pipeline}.preprocess]\nplugin = "image-preprocess"\n'
        f"config = {{ width = {side}, height = {side}, mean = [123.675, 116.28, 103.53], "
        "scale = [0.01712475, 0.017507, 0.01742919] }\n"
        f'[pipelines.{pipeline}.chips.cpu]\nplugin = "infer-native"\n'
        f'[pipelines.{pipeline}.postprocess]\nplugin = "classify-postprocess"\n'
    )


def backend_config(sessions: int) -> str:
    return f'[backends.onnxruntime]\nlibrary = "{onnxruntime_library()}"\nsessions = {sessions}\n'
