"""The benchmark on a GPU: `python3 run.py [FOLDER]`, without a network. README.md says how the folder is prepared.

Prints a table for each model, and writes all figures to FOLDER/figures.json. Settings, all optional, are variables:
TARGET (`cuda`; `cpu` tries the parts of the benchmark on any machine), SECONDS of each measurement (5), MODELS (all),
CALLERS (`1 16 64`).
"""

import http.client
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else HERE).resolve()
TARGET = os.environ.get("TARGET", "cuda")
SECONDS = float(os.environ.get("SECONDS", "5"))
MODELS = os.environ.get("MODELS", "mobilenet resnet50").split()
CALLERS = [int(callers) for callers in os.environ.get("CALLERS", "1 16 64").split()]
# Seconds in which a server must become ready: every batch size is run once in every session.
START_TIMEOUT = 180
PORT = 18_080
# What the backend alone is measured with: rows of a run, and runs at once.
ALONE = [(1, 1), (1, 4), (8, 4), (16, 4), (32, 4)]
# The settings of Plimsoll: a title, the lines of the model, and the sessions.
SETTINGS = [
    ("no batching, 1 session", "", 1),
    ("no batching, 4 sessions", "", 4),
    ("max_batch = 16", "max_batch = 16\n", 2),
    ("max_batch = 64", "max_batch = 64\n", 2),
]


def library() -> Path:
    """The library in the wheel, whose parts are joined and unpacked at the first call."""
    unpacked = FOLDER / "wheel"
    if not unpacked.is_dir():
        parts = sorted((FOLDER / "parts").glob("wheel.*"))
        if not parts:
            sys.exit(f"{FOLDER}/parts has no parts of a wheel: run prepare.sh, and copy its folder here")
        sizes = json.loads((FOLDER / "parts/sizes.json").read_text())
        missing = [name for name, size in sizes.items() if (FOLDER / "parts" / name).stat().st_size != size]
        if missing or len(parts) != len(sizes):
            sys.exit(f"parts of the wheel are missing or incomplete: {missing or sorted(sizes)}; copy them again")
        joined = FOLDER / "onnxruntime.whl"
        with joined.open("wb") as out:
            for part in parts:
                out.write(part.read_bytes())
        with zipfile.ZipFile(joined) as wheel:
            wheel.extractall(unpacked, [name for name in wheel.namelist() if "/capi/lib" in name and ".so" in name])
        joined.unlink()
    return next((unpacked / "onnxruntime/capi").glob("libonnxruntime.so*"))


def tool(*arguments) -> str:
    completed = subprocess.run([FOLDER / "gpu-tool", *map(str, arguments)], check=False, capture_output=True, text=True)
    if completed.returncode != 0:
        sys.exit(f"gpu-tool {' '.join(map(str, arguments))}: {completed.stdout}{completed.stderr}")
    return completed.stdout


def get(path: str) -> "tuple[int, bytes] | None":
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


class Server:
    """A running server. It is ready when the constructor returns."""

    def __init__(self, model: str, rules: str, sessions: int):
        work = FOLDER / "work"
        work.mkdir(exist_ok=True)
        (work / "plimsoll.toml").write_text(
            f'cache_dir = "{work}/cache"\n[backends.onnxruntime]\nlibrary = "{library()}"\nsessions = {sessions}\n'
            f'[models.m]\nfile = "{FOLDER}/models/{model}.onnx"\nbackend = "onnxruntime"\ntarget = "{TARGET}"\n{rules}'
            '[pipelines.p]\nmodel = "m"\n[pipelines.p.preprocess]\nplugin = "image-preprocess"\n'
            "config = { width = 224, height = 224, mean = [123.675, 116.28, 103.53], "
            "scale = [0.01712475, 0.017507, 0.01742919] }\n"
            '[pipelines.p.chips.c]\nplugin = "infer-native"\n'
            '[pipelines.p.postprocess]\nplugin = "classify-postprocess"\n'
        )
        command = [FOLDER / "plimsoll", "serve", "--listen", f"127.0.0.1:{PORT}", "--config", work / "plimsoll.toml"]
        self.log, started = work / "log", time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=work, env=os.environ | {"RUST_LOG": "info"})
        while (reply := get("/v2/health/ready")) is None or reply[0] != 200:
            if self.process.poll() is not None or time.monotonic() - started > START_TIMEOUT:
                self.process.kill()
                sys.exit(f"the server did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.05)
        self.seconds = time.monotonic() - started

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def load(self, callers: int, seconds: float) -> dict:
        path = "/v1/pipelines/p/infer"
        return json.loads(tool("load", f"127.0.0.1:{PORT}", path, FOLDER / "picture.jpg", callers, seconds))


def memory_of(models: bytes) -> str:
    memory = json.loads(models)["models"][0].get("memory") or {}
    return f"{memory.get('bytes', 0) >> 20} MiB ({memory.get('source', 'not known')})"


def measure(model: str) -> dict:
    """All figures of a model."""
    alone = []
    for rows, threads in ALONE:
        found = json.loads(tool("alone", library(), FOLDER / f"models/{model}.onnx", TARGET, rows, threads, SECONDS))
        alone.append({"rows": rows, "threads": threads, **found})
    best = max(found["rows_per_second"] for found in alone)
    served = []
    for title, rules, sessions in SETTINGS:
        with Server(model, rules, sessions) as server:
            # The first requests make the pools and caches of the host.
            server.load(min(CALLERS), min(1.0, SECONDS))
            for callers in CALLERS:
                found = server.load(callers, SECONDS)
                served.append({"settings": title, "callers": callers, **found, "share": found["rps"] / best})
            memory = memory_of(get("/v1/models")[1])
            served[-1] |= {"memory": memory, "ready_seconds": server.seconds}
            failures = get("/metrics")[1].decode()
            lines = [line for line in failures.splitlines() if line.startswith("plimsoll_model_device_failures_total{")]
            served[-1]["device_failures"] = lines[0].rsplit(" ", 1)[1] if lines else "0"
    return {"alone": alone, "best_rows_per_second": best, "served": served}


def print_table(model: str, figures: dict) -> None:
    print(f"\n{model} on {TARGET}\n")
    print(f"{'the backend alone':<28}{'rows/s':>10}{'ms a run':>10}")
    for row in figures["alone"]:
        title = f"batch {row['rows']}, {row['threads']} at once"
        print(f"{title:<28}{row['rows_per_second']:>10.0f}{row['run_ms']:>10.2f}")
    print(f"\n{'Plimsoll':<28}{'callers':>8}{'requests/s':>12}{'of best':>9}{'p50 ms':>9}{'p99 ms':>9}{'failed':>8}")
    for row in figures["served"]:
        print(
            f"{row['settings']:<28}{row['callers']:>8}{row['rps']:>12.0f}{row['share']:>9.2f}"
            f"{row['p50_ms']:>9.2f}{row['p99_ms']:>9.2f}{row['failures']:>8}"
        )
        if "memory" in row:
            print(f"  ready after {row['ready_seconds']:.1f} s; the model holds {row['memory']}")


def main() -> None:
    models = FOLDER / "models"
    missing = [name for name in MODELS if not (models / f"{name}.onnx").is_file()]
    if missing:
        subprocess.run([sys.executable, HERE / "models.py", models, *missing], check=True)
    if not (FOLDER / "picture.jpg").is_file():
        tool("picture", FOLDER / "picture.jpg")
    all_figures = {}
    for model in MODELS:
        all_figures[model] = measure(model)
        print_table(model, all_figures[model])
        # After each model, so that a run that is cut off loses only the model that it measures.
        (FOLDER / "figures.json").write_text(json.dumps(all_figures, indent=1))


if __name__ == "__main__":
    main()
