"""The scenarios of the benchmark. Each one is a function of the command line's options; README.md describes them."""

import json
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

from environment import CORES, HERE, MODELS, PEERS, SIDES, TARGET, VENVS, WORK, onnxruntime_library, run_command
from launch import backend_config, model_config, noop_config, openvino_config, start_peer, start_plimsoll
from load import h2load, load_command, measure
from pressure import pressure
from results import Results
from server import Server


def noop(options: Namespace) -> None:
    """Three stages that do nothing, with the log at `warn` and at its default level."""
    results = Results("noop")
    for round_number in range(options.rounds):
        for log in rotate(["warn", "info"], round_number):
            with start_plimsoll(options.binary, noop_config(), log=log) as server:
                for concurrency in [1, 16]:
                    name = "plimsoll" if log == "warn" else "plimsoll, default log"
                    results.add(f"concurrency {concurrency}", name, **measure(server, "tiny", concurrency, 3))
    results.finish()


def rotate(items: list, round_number: int) -> list:
    """The items in the order of a round. Each round begins with a different item, so that no item always has the same
    place in the order."""
    first = round_number % len(items)
    return items[first:] + items[:first]


def tiny(options: Namespace) -> None:
    """A model that costs almost nothing, so that the servers themselves are compared."""
    compare(options, "tiny", "tiny", [("tiny", 1, 2), ("tiny", 16, 3)])


def mobilenet(options: Namespace) -> None:
    """The work of an image classifier: a photo of 0.3 megapixels, and one of 12."""
    loads = [(image, concurrency, 4) for image in ["small", "large"] for concurrency in [1, 16]]
    compare(options, "mobilenet", "mobilenet", loads)


def photos(options: Namespace) -> None:
    """Photos of 640x480: Plimsoll with ONNX Runtime and with OpenVINO, Triton, and the limit of each engine: preprocessing
    and the model alone, natively, without HTTP."""
    results = Results("photos")
    engines = {
        "onnxruntime": (backend_config(options.sessions) + model_config("mobilenet"), "tools", "cpu"),
        "openvino": (
            openvino_config(options.sessions) + model_config("mobilenet", 'target = "ov"'),
            "openvino",
            "openvino",
        ),
    }
    names = [*engines, *(["triton"] if not options.without_peers else [])]
    for round_number in range(options.rounds):
        for name in rotate(names, round_number):
            if name in engines:
                config, venv, provider = engines[name]
                limit = native_limit(onnxruntime_library(venv), provider)
                results.add(f"{CORES} threads, native", f"{name}, the limit", **limit)
                server = start_plimsoll(options.binary, config)
            else:
                server = start_peer(name, "mobilenet")
            with server:
                for concurrency in [1, 16]:
                    callers = "1 caller" if concurrency == 1 else f"{concurrency} callers"
                    # The ratios in the table compare with ONNX Runtime.
                    label = {"onnxruntime": "plimsoll", "openvino": "plimsoll, openvino"}.get(name, name)
                    results.add(callers, label, **measure(server, "small", concurrency, 6))
    results.finish()


def settings(options: Namespace) -> None:
    """The photos of `photos` with 16 callers and other settings: sessions, batches, and options of OpenVINO."""
    results = Results("settings")
    hint = "options = { load_config = '{\"CPU\":{\"%s\":\"%s\"}}' }"
    openvino = {
        "openvino": "",
        "openvino, 2 threads": 'options = { num_of_threads = "2" }',
        "openvino, 2 streams": 'options = { num_streams = "2" }',
        "openvino, throughput": hint % ("PERFORMANCE_HINT", "THROUGHPUT"),
        "openvino, bf16": hint % ("INFERENCE_PRECISION_HINT", "bf16"),
    }
    configs = {f"sessions = {count}": backend_config(count) + model_config("mobilenet") for count in [1, 2, 3, 4]}
    configs |= {
        f"max_batch = {rows}": backend_config(CORES) + model_config("mobilenet", f"max_batch = {rows}") for rows in [4, 8]
    }
    configs |= {
        name: openvino_config(CORES) + model_config("mobilenet", f'target = "ov"\n{rules}')
        for name, rules in openvino.items()
    }
    for round_number in range(options.rounds):
        for name in rotate(list(configs), round_number):
            with start_plimsoll(options.binary, configs[name]) as server:
                results.add("16 callers", name, **measure(server, "small", 16, 6))
    results.finish()


def native_limit(library: Path, provider: str) -> dict:
    """Requests/s of `cargo bench --bench limit`, with as many threads as cores."""
    model, image = MODELS / "mobilenet.onnx", MODELS / "small.jpg"
    command = ["cargo", "bench", "--quiet", "--manifest-path", TARGET.parent / "Cargo.toml"]
    command += ["--bench", "limit", "--", model, image, library, SIDES["mobilenet"], provider, 6]
    return json.loads(run_command(command).strip().splitlines()[-1])


def compare(options: Namespace, scenario: str, model: str, loads: list[tuple[str, int, float]]) -> None:
    """Measures Plimsoll and the peers with a model. Each load is an image, a concurrency and a number of seconds."""
    results, answers = Results(scenario), {}
    names = ["plimsoll"] + ([] if options.without_peers else PEERS)
    for round_number in range(options.rounds):
        for name in rotate(names, round_number):
            with start(options, name, model) as server:
                for image, concurrency, seconds in loads:
                    answers.setdefault(image, {})[name] = best_class(server.infer(image))
                    results.add(
                        f"{image}, concurrency {concurrency}", name, **measure(server, image, concurrency, seconds)
                    )
                results.add("after the load", name, resident_mib=server.resident_mib())
    # The servers resize images slightly differently, so the probabilities differ. The best class must be the same.
    for image, given in answers.items():
        if len({index for index, _ in given.values()}) > 1:
            sys.exit(f"the servers return different best classes for {image}: {given}")
    results.finish({"answers": answers})


def start(options: Namespace, name: str, model: str) -> Server:
    """Starts Plimsoll or a peer with a model."""
    if name != "plimsoll":
        return start_peer(name, model)
    return start_plimsoll(options.binary, backend_config(options.sessions) + model_config(model))


def best_class(reply: dict) -> tuple[int, float]:
    """Index and probability of the first prediction in a reply."""
    if "outputs" in reply:
        reply = json.loads(reply["outputs"][0]["data"][0])
    first = reply["predictions"][0]
    return first["index"], first["probability"]


def batching(options: Namespace) -> None:
    """16 callers of a model, unbatched and batched, compared with the backend alone at the same batch size."""
    results = Results("batching")
    rules = {
        "plimsoll, unbatched": "",
        "plimsoll, max_batch 8": "max_batch = 8",
        "plimsoll, max_batch 16": "max_batch = 16",
    }
    backend = backend_config(options.sessions)
    for round_number in range(options.rounds):
        for model, image in [("big", "tiny"), ("mobilenet", "small")]:
            for name in rotate(list(rules), round_number):
                with start_plimsoll(options.binary, backend + model_config(model, rules[name])) as server:
                    results.add(model, name, **measure(server, image, 16, 3))
            for rows in [1, 8, 16]:
                command = [
                    VENVS / "tools/bin/python",
                    HERE / "backend.py",
                    MODELS / f"{model}.onnx",
                    SIDES[model],
                    rows,
                ]
                rate = float(run_command(command))
                results.add(model, f"the backend alone, {rows} rows", rps=rate)
    results.finish()


def isolation(options: Namespace) -> None:
    """A fast pipeline, alone and while 16 callers of a slow pipeline use the whole machine."""
    results = Results("isolation")
    pipelines = model_config("tiny", pipeline="fast") + model_config("mobilenet", pipeline="slow")
    for round_number in range(options.rounds):
        for sessions in rotate([1, CORES], round_number):
            name = f"plimsoll, sessions = {sessions}"
            with start_plimsoll(options.binary, backend_config(sessions) + pipelines, "fast") as server:
                results.add("before any load", name, resident_mib=server.resident_mib())
                measure(server, "tiny", 1, 1)
                results.add("fast alone", name, **h2load(server, "tiny", 1, 2_000))
                for image, requests in [("small", 200), ("large", 100)]:
                    # 25 s is longer than the fast requests take. The slow load is terminated after them.
                    command = [*load_command(server, image, 16, "/v1/pipelines/slow/infer"), "-D", "25"]
                    slow = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
                    time.sleep(1.5)
                    figures = h2load(server, "tiny", 1, requests)
                    peak = max(sample_memory(server) for _ in range(20))
                    if slow.poll() is not None:
                        sys.exit("the slow load ended before the fast one")
                    slow.terminate()
                    slow.wait()
                    results.add(f"fast beside slow, {image} image", name, **figures)
                    results.add(f"beside slow, {image} image", name, resident_mib=peak)
    models = {name: (MODELS / f"{name}.onnx").stat().st_size / 2**20 for name in ["tiny", "mobilenet"]}
    results.finish({"models_mib": models})


def sample_memory(server: Server) -> float:
    """Resident memory in MiB, after a pause of 50 ms."""
    time.sleep(0.05)
    return server.resident_mib()


def starting(options: Namespace) -> None:
    """From the start of the process to the first 200 of /v2/health/ready, compiled cache empty and full. With an empty one,
    also until optimised code has replaced the quickly compiled code."""
    results = Results("starting")
    configs = {
        "the demo": None,
        "a model of 101 MB": backend_config(options.sessions) + model_config("big"),
        "a model of 101 MB, rten": model_config("big").replace('"onnxruntime"', '"rten"'),
    }
    for _ in range(options.rounds):
        for name, config in configs.items():
            folder = WORK / "starting"
            shutil.rmtree(folder, ignore_errors=True)
            for what in ["cold", "warm"]:
                with start_plimsoll(options.binary, config, log="info", folder=folder) as server:
                    figures = {"ms": server.startup_seconds * 1e3, "resident_mib": server.resident_mib()}
                    if what == "cold":
                        figures["optimised_ms"] = server.wait_for_log("optimised code serves now") * 1e3
                        figures["resident_optimised_mib"] = server.resident_mib()
                    results.add(f"{name}, {what}", "plimsoll", **figures)
    results.finish()


SCENARIOS = {
    function.__name__: function
    for function in [noop, tiny, mobilenet, photos, settings, batching, isolation, starting, pressure]
}
