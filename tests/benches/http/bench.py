"""Plimsoll over HTTP, and the servers that one would use instead: `python3 tests/benches/http/bench.py`.

README.md beside this file says what each scenario measures. Only the standard library is needed here; what the peers
and the models need is installed from PyPI into target/bench-venv, and `h2load` comes from Debian's nghttp2-client.
"""

import argparse
import base64
import datetime
import http.client
import json
import mmap
import multiprocessing
import os
import platform
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[2] / "target"
VENVS, MODELS, OUT = TARGET / "bench-venv", TARGET / "bench-models", TARGET / "bench-http"
GUESTS = TARGET / "test-guests/wasm32-wasip2/release"
SIDES = {"tiny": 32, "big": 32, "mobilenet": 224}
PEERS = ["fastapi", "litserve", "mlserver"]
CORES = os.cpu_count()


# Preparation.


def prepare(peers: bool) -> None:
    """Environments, models and images, each made once."""
    if not shutil.which("h2load"):
        sys.exit("h2load is missing: apt-get install nghttp2-client")
    venv("tools", HERE / "peers/requirements.txt")
    if peers:
        venv("mlserver", HERE / "peers/mlserver/requirements.txt")
    if not (MODELS / "large.jpg").is_file():
        run([VENVS / "tools/bin/python", HERE / "models.py", MODELS])
    for name in ["tiny", "small", "large"]:
        encoded = base64.b64encode((MODELS / f"{name}.jpg").read_bytes()).decode()
        (MODELS / f"{name}.litserve.json").write_text(json.dumps({"image": encoded}))
        tensor = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": [encoded]}
        (MODELS / f"{name}.mlserver.json").write_text(
            json.dumps({"inputs": [tensor | {"parameters": {"content_type": "base64"}}]})
        )


def venv(name: str, requirements: Path) -> None:
    folder = VENVS / name
    done = folder / "installed.txt"
    if done.is_file() and done.read_text() == requirements.read_text():
        return
    run([sys.executable, "-m", "venv", folder])
    run([folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements])
    done.write_text(requirements.read_text())


def run(command: list) -> str:
    done = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def onnxruntime_library() -> Path:
    """The library that the peers' wheel carries, so that both sides run the same code."""
    folder = VENVS / "tools/lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return next((folder / "site-packages/onnxruntime/capi").glob("libonnxruntime.so*"))


# Servers.


class Server:
    """A process in a group of its own, ready when the constructor returns."""

    def __init__(self, name: str, command: list, port: int, path: str, ready: str, suffix: str, env: dict, cwd: Path):
        self.name, self.port, self.path, self.suffix = name, port, path, suffix
        self.log = OUT / "work" / f"{name}.log"
        started = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), stdout=log, stderr=log, cwd=cwd, env=os.environ | env, start_new_session=True
            )
        while not self.answers(ready):
            if self.process.poll() is not None or time.monotonic() - started > 120:
                self.stop()
                sys.exit(f"{name} does not start:\n{self.log.read_text()}")
            time.sleep(0.001)
        self.started_in = time.monotonic() - started

    def answers(self, path: str) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def ask(self, image: str) -> dict:
        """One request; its answer."""
        status, text = self.post(self.path, self.body(image).read_bytes())
        if status != 200:
            sys.exit(f"{self.name}: {status} {text!r}")
        return json.loads(text)

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """One request; status and body of its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", path, body, {"content-type": self.content_type()})
        reply = connection.getresponse()
        text = reply.read()
        connection.close()
        return reply.status, text

    def body(self, image: str) -> Path:
        return MODELS / f"{image}{self.suffix}"

    def content_type(self) -> str:
        return "image/jpeg" if self.suffix == ".jpg" else "application/json"

    def processes(self) -> list[int]:
        """All processes of the group."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                # After the name, which may hold anything: state, parent, group.
                if (
                    entry.name.isdigit()
                    and int((entry / "stat").read_text().rpartition(")")[2].split()[2]) == self.process.pid
                ):
                    found.append(int(entry.name))
            except OSError:
                pass
        return found

    def memory(self) -> float:
        """MiB of resident memory; what processes share is counted once."""
        processes, total = self.processes(), 0
        if len(processes) == 1:
            # The kernel walks all of a pool's address space for the figures of `smaps`, and the process waits for it.
            pages = int(Path(f"/proc/{processes[0]}/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
        for process in processes:
            try:
                lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            except (OSError, StopIteration):
                pass
        return total / 1024

    def stop(self) -> None:
        for number, patience in [(signal.SIGTERM, 5), (signal.SIGKILL, 5)]:
            if not self.processes():
                break
            os.killpg(self.process.pid, number)
            until = time.monotonic() + patience
            while self.processes() and time.monotonic() < until:
                self.process.poll()
                time.sleep(0.02)
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def plimsoll(config: str | None, pipeline: str = "bench", log: str = "warn", folder: Path | None = None) -> Server:
    """The release binary; without a configuration the bundled demo."""
    if folder is None:
        # What was deployed before is forgotten; compiled code is kept, so only the first start compiles.
        folder = OUT / "work/plimsoll"
        shutil.rmtree(folder, ignore_errors=True)
        config = f'cache_dir = "{OUT}/work/cache"\n{config}'
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [ARGUMENTS.binary, "serve", "--listen", f"127.0.0.1:{port}"]
    if config is not None:
        (folder / "plimsoll.toml").write_text(config)
        command += ["--config", folder / "plimsoll.toml"]
    path = f"/v1/pipelines/{pipeline}/infer"
    return Server("plimsoll", command, port, path, "/v2/health/ready", ".jpg", {"RUST_LOG": log}, folder)


def peer(name: str, model: str) -> Server:
    port, side = free_port(), str(SIDES[model])
    # OpenBLAS is numpy's only; none of the work here reaches it.
    env = {"BENCH_MODEL": str(MODELS / f"{model}.onnx"), "BENCH_SIDE": side, "PYTHONDONTWRITEBYTECODE": "1"}
    folder = HERE / "peers"
    if name == "fastapi":
        worker = ["-w", CORES, "-k", "uvicorn_worker.UvicornWorker"]
        command = [VENVS / "tools/bin/gunicorn", *worker, "-b", f"127.0.0.1:{port}", "--log-level", "warning"]
        return Server(name, [*command, "fastapi_app:app"], port, "/infer", "/ready", ".jpg", env, folder)
    if name == "litserve":
        command = [VENVS / "tools/bin/python", folder / "litserve_app.py", port]
        return Server(name, command, port, "/infer", "/health", ".litserve.json", env, OUT / "work")
    folder = OUT / "work/mlserver"
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


# Configurations of Plimsoll.


def noop_config(preprocess: str = "noop-preprocess") -> str:
    files = "".join(
        f'[plugins.{plugin}]\nfile = "{GUESTS}/{plugin.replace("-", "_")}.wasm"\n'
        for plugin in [preprocess, "noop-infer", "noop-postprocess"]
    )
    return (
        f'{files}[pipelines.bench.preprocess]\nplugin = "{preprocess}"\n[pipelines.bench.chips.none]\n'
        'plugin = "noop-infer"\n[pipelines.bench.postprocess]\nplugin = "noop-postprocess"\n'
    )


def model_config(model: str, rules: str = "", pipeline: str = "bench") -> str:
    side = SIDES[model]
    return (
        f'[models.{model}]\nfile = "{MODELS}/{model}.onnx"\nbackend = "onnxruntime"\n{rules}\n'
        f'[pipelines.{pipeline}]\nmodel = "{model}"\n[pipelines.{pipeline}.preprocess]\nplugin = "image-preprocess"\n'
        f"config = {{ width = {side}, height = {side}, mean = [123.675, 116.28, 103.53], "
        "scale = [0.01712475, 0.017507, 0.01742919] }\n"
        f'[pipelines.{pipeline}.chips.cpu]\nplugin = "infer-native"\n'
        f'[pipelines.{pipeline}.postprocess]\nplugin = "classify-postprocess"\n'
    )


def backend_config(sessions: int | None = None) -> str:
    sessions = sessions or ARGUMENTS.sessions
    return f'[backends.onnxruntime]\nlibrary = "{onnxruntime_library()}"\nsessions = {sessions}\n'


# Load.


def h2load(server: Server, image: str, concurrency: int, requests: int, path: str | None = None) -> dict:
    """A bounded number of requests over kept connections: requests/s, and quantiles in milliseconds."""
    log = OUT / "work" / f"h2load-{os.getpid()}.log"
    log.unlink(missing_ok=True)
    run(load_command(server, image, concurrency, path) + ["-n", requests, f"--log-file={log}"])
    rows = [tuple(map(int, line.split("\t")[:3])) for line in log.read_text().splitlines()]
    bad = [status for _, status, _ in rows if status != 200]
    if bad or len(rows) != requests:
        sys.exit(
            f"{server.name}: {len(rows)} answers to {requests} requests; not 200: {bad[:5]}\n{server.log.read_text()}"
        )
    took = max(start + time for start, _, time in rows) - min(start for start, _, _ in rows)
    times = sorted(time / 1e3 for _, _, time in rows)
    return {
        "requests": requests,
        "rps": requests / took * 1e6,
        "p50_ms": quantile(times, 0.5),
        "p99_ms": quantile(times, 0.99),
    }


def load_command(server: Server, image: str, concurrency: int, path: str | None) -> list:
    url = f"http://127.0.0.1:{server.port}{path or server.path}"
    return [
        "h2load",
        "--h1",
        "-c",
        str(concurrency),
        "-d",
        server.body(image),
        "-H",
        f"content-type: {server.content_type()}",
        url,
    ]


def quantile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def measure(server: Server, image: str, concurrency: int, seconds: float) -> dict:
    """A warm-up, which also says how many requests take so long; then those."""
    few = max(concurrency * 2, 8)
    rate = h2load(server, image, concurrency, few)["rps"]
    if rate * seconds / 4 > few:
        rate = h2load(server, image, concurrency, int(rate * seconds / 4))["rps"]
    requests = min(60_000, max(few * 2, int(rate * seconds)))
    return undisturbed(server, lambda: h2load(server, image, concurrency, requests))


# What other processes of the machine may take of a core before something is measured, and seconds to wait for that.
DISTURBANCE, PATIENCE = 0.1, 4


def undisturbed(server: Server, measurement) -> dict:
    """Figures, where possible of a moment in which nothing else runs; `others` says how many cores the rest of the
    machine had."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and others(server, lambda: time.sleep(0.5))[0] > DISTURBANCE:
        pass
    cores, figures = others(server, measurement)
    return figures | {"others": cores}


def others(server: Server, action) -> tuple[float, dict]:
    """Cores that neither the server nor what was started here used meanwhile."""
    before, started = foreign_seconds(server), time.monotonic()
    result = action()
    took = time.monotonic() - started
    return max(0.0, (foreign_seconds(server) - before) / took), result


def foreign_seconds(server: Server) -> float:
    tick = os.sysconf("SC_CLK_TCK")
    # user, nice, system; then idle and waiting, which are no work; then interrupts, and what the hypervisor took.
    fields = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    busy = (sum(fields) - fields[3] - fields[4]) / tick
    own = 0
    for process in server.processes():
        try:
            own += sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13])) / tick
        except OSError:
            pass
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return busy - own - children.ru_utime - children.ru_stime - time.process_time()


class Results:
    """Figures of the rounds, by what was measured."""

    def __init__(self, scenario: str):
        self.scenario, self.rounds = scenario, {}

    def add(self, what: str, server: str, **figures: float) -> None:
        self.rounds.setdefault((what, server), []).append(figures)
        print(f"  {what:<28} {server:<22}", *(f"{name} {value:,.2f}" for name, value in figures.items()), flush=True)

    def median(self, what: str, server: str, figure: str) -> float:
        return statistics.median(figures[figure] for figures in self.rounds[what, server])

    def finish(self, notes: dict | None = None) -> None:
        rows = []
        for (what, server), rounds in self.rounds.items():
            summary = {}
            for figure in rounds[0]:
                values = [figures[figure] for figures in rounds]
                summary[figure] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
            rows.append({"what": what, "server": server, "rounds": rounds, "summary": summary})
        result = {"scenario": self.scenario, "machine": machine(), "notes": notes or {}, "results": rows}
        (OUT / f"{self.scenario}.json").write_text(json.dumps(result, indent=1))
        self.print(rows)

    def print(self, rows: list[dict]) -> None:
        """Median, (least to most), and how Plimsoll stands to the row: more than 1 is better."""
        disturbed = [
            round_["others"] for row in rows for round_ in row["rounds"] if round_.get("others", 0) > DISTURBANCE
        ]
        print(f"\n## {self.scenario}\n")
        if disturbed:
            print(
                f"{len(disturbed)} measurements were disturbed: other processes had up to {max(disturbed):.1f} cores.\n"
            )
        # In the order of their first mention.
        figures = list(
            dict.fromkeys(figure for row in rows for figure in row["summary"] if figure not in ("requests", "others"))
        )
        print("| what | server |", " | ".join(figures), "|")
        print("| --- | --- |", " | ".join("---:" for _ in figures), "|")
        for row in rows:
            cells = []
            for figure in figures:
                if figure not in row["summary"]:
                    cells.append("")
                    continue
                value = row["summary"][figure]
                cell = f"{short(value['median'])} ({short(value['min'])}–{short(value['max'])})"
                if row["server"] in PEERS:
                    own = self.median(row["what"], "plimsoll", figure)
                    ratio = own / value["median"] if figure == "rps" else value["median"] / own
                    cell += f" **{ratio:.2f}×**"
                cells.append(cell)
            print(f"| {row['what']} | {row['server']} |", " | ".join(cells), "|")
        print(flush=True)


def short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def machine() -> dict:
    model = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    )
    return {
        "cores": CORES,
        "processor": model.partition(":")[2].strip(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        "load_average": os.getloadavg(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


# Scenarios.


def noop() -> None:
    """Three stages that do nothing, with the log at `warn` and as it is by default."""
    results = Results("noop")
    for turn in range(ARGUMENTS.rounds):
        for log in in_turn(["warn", "info"], turn):
            with plimsoll(noop_config(), log=log) as server:
                for concurrency in [1, 16]:
                    name = "plimsoll" if log == "warn" else "plimsoll, default log"
                    results.add(f"concurrency {concurrency}", name, **measure(server, "tiny", concurrency, 3))
    results.finish()


def in_turn(items: list, turn: int) -> list:
    """Each round begins with another, so that no place in the order is always the same one's."""
    turn %= len(items)
    return items[turn:] + items[:turn]


def servers() -> list[str]:
    return ["plimsoll"] + ([] if ARGUMENTS.without_peers else PEERS)


def start(name: str, model: str) -> Server:
    return plimsoll(backend_config() + model_config(model)) if name == "plimsoll" else peer(name, model)


def tiny() -> None:
    """A model that costs nothing, so that the servers are compared."""
    compare("tiny", "tiny", [("tiny", 1, 2), ("tiny", 16, 3)])


def mobilenet() -> None:
    """What an image classifier does: a photo of 0.3 megapixels, and one of 12."""
    compare(
        "mobilenet", "mobilenet", [(image, concurrency, 4) for image in ["small", "large"] for concurrency in [1, 16]]
    )


def compare(scenario: str, model: str, loads: list[tuple[str, int, float]]) -> None:
    results, answers = Results(scenario), {}
    for turn in range(ARGUMENTS.rounds):
        for name in in_turn(servers(), turn):
            with start(name, model) as server:
                for image, concurrency, seconds in loads:
                    answers.setdefault(image, {})[name] = best(server.ask(image))
                    results.add(
                        f"{image}, concurrency {concurrency}", name, **measure(server, image, concurrency, seconds)
                    )
                results.add("after the load", name, resident_mib=server.memory())
    # The resizers differ slightly, so probabilities do; the best class must not.
    for image, given in answers.items():
        if len({index for index, _ in given.values()}) > 1:
            sys.exit(f"the servers do not agree on {image}: {given}")
    results.finish({"answers": answers})


def best(answer: dict) -> tuple[int, float]:
    if "outputs" in answer:
        answer = json.loads(answer["outputs"][0]["data"][0])
    first = answer["predictions"][0]
    return first["index"], first["probability"]


def batching() -> None:
    """16 callers of a model, one by one and in batches, against the backend alone with a batch of that size."""
    results = Results("batching")
    rules = {
        "plimsoll, unbatched": "",
        "plimsoll, max_batch 8": "max_batch = 8",
        "plimsoll, max_batch 16": "max_batch = 16",
    }
    for turn in range(ARGUMENTS.rounds):
        for model, image in [("big", "tiny"), ("mobilenet", "small")]:
            for name in in_turn(list(rules), turn):
                with plimsoll(backend_config() + model_config(model, rules[name])) as server:
                    results.add(model, name, **measure(server, image, 16, 3))
            for rows in [1, 8, 16]:
                command = [
                    VENVS / "tools/bin/python",
                    HERE / "backend.py",
                    MODELS / f"{model}.onnx",
                    SIDES[model],
                    rows,
                ]
                rate = float(run(command))
                results.add(model, f"the backend alone, {rows} rows", rps=rate)
    results.finish()


def isolation() -> None:
    """A fast pipeline, alone and while 16 callers of a slow one take all of the machine."""
    results = Results("isolation")
    pipelines = model_config("tiny", pipeline="fast") + model_config("mobilenet", pipeline="slow")
    for turn in range(ARGUMENTS.rounds):
        for sessions in in_turn([1, CORES], turn):
            name = f"plimsoll, sessions = {sessions}"
            with plimsoll(backend_config(sessions) + pipelines, "fast") as server:
                results.add("before any load", name, resident_mib=server.memory())
                measure(server, "tiny", 1, 1)
                results.add("fast alone", name, **h2load(server, "tiny", 1, 2_000))
                for image, requests in [("small", 200), ("large", 100)]:
                    # Bounded, but longer than the fast requests take; its last ones are cut off.
                    command = [*load_command(server, image, 16, "/v1/pipelines/slow/infer"), "-D", "25"]
                    slow = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
                    time.sleep(1.5)
                    figures = h2load(server, "tiny", 1, requests)
                    peak = max(sample(server) for _ in range(20))
                    if slow.poll() is not None:
                        sys.exit("the slow load ended before the fast one")
                    slow.terminate()
                    slow.wait()
                    results.add(f"fast beside slow, {image} image", name, **figures)
                    results.add(f"beside slow, {image} image", name, resident_mib=peak)
    models = {name: (MODELS / f"{name}.onnx").stat().st_size / 2**20 for name in ["tiny", "mobilenet"]}
    results.finish({"models_mib": models})


def sample(server: Server) -> float:
    time.sleep(0.05)
    return server.memory()


def starting() -> None:
    """From the start of the process to the first 200 of /v2/health/ready, compiled cache empty and full."""
    results = Results("starting")
    configs = {
        "the demo": None,
        "a model of 101 MB": backend_config() + model_config("big"),
        "a model of 101 MB, rten": model_config("big").replace('"onnxruntime"', '"rten"'),
    }
    for _ in range(ARGUMENTS.rounds):
        for name, config in configs.items():
            folder = OUT / "work/starting"
            shutil.rmtree(folder, ignore_errors=True)
            for what in ["cold", "warm"]:
                with plimsoll(config, folder=folder) as server:
                    results.add(f"{name}, {what}", "plimsoll", ms=server.started_in * 1e3, resident_mib=server.memory())
    results.finish()


def pressure() -> None:
    """One slot, filled and searched in turn while the kernel moves pages to make room: nothing may be found."""
    if not os.access(COMPACT, os.W_OK):
        sys.exit(f"{COMPACT} cannot be written: only root can tell the kernel to move pages")
    results = Results("pressure")
    what = "6 MiB, filled and searched"
    for _ in range(ARGUMENTS.rounds):
        moving = multiprocessing.Process(target=move_pages, daemon=True)
        moving.start()
        moved, found, searches = moved_pages(), 0, 0
        # Pages that were moved once lie where they stay, so the process is started again and again.
        for _ in range(20):
            with plimsoll("[server]\nmax_concurrency = 1\n" + noop_config("tester")) as server:
                for _ in range(100):
                    if server.post(f"{server.path}?do=fill&bytes={6 << 20}", b"")[0] != 200:
                        sys.exit("the tester cannot fill its memory")
                    found += server.post(f"{server.path}?do=search&bytes={6 << 20}", b"")[0] != 200
                    searches += 1
        moving.terminate()
        moving.join()
        results.add(what, "plimsoll", searches=searches, found=found, pages_moved=moved_pages() - moved)
    results.finish()
    if any(round_["found"] for round_ in results.rounds[what, "plimsoll"]):
        sys.exit("a request found what the one before it had written")


COMPACT = Path("/proc/sys/vm/compact_memory")


def move_pages() -> None:
    """Compacts memory again and again, and makes holes in it, without which there is nothing to compact."""
    size = 1 << 30
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as holes:
            holes.madvise(mmap.MADV_NOHUGEPAGE)
            for at in range(0, size, mmap.PAGESIZE):
                holes[at] = 1
            for at in range(0, size, 2 * mmap.PAGESIZE):
                holes.madvise(mmap.MADV_DONTNEED, at, mmap.PAGESIZE)
            for _ in range(16):
                COMPACT.write_text("1")


def moved_pages() -> int:
    lines = Path("/proc/vmstat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("pgmigrate_success"))


SCENARIOS = {
    function.__name__: function for function in [noop, tiny, mobilenet, batching, isolation, starting, pressure]
}


def main() -> None:
    global ARGUMENTS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"default all of {', '.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, default=3, help="of each figure (default 3)")
    parser.add_argument("--without-peers", action="store_true", help="only Plimsoll")
    parser.add_argument("--binary", type=Path, default=TARGET / "release/plimsoll", help="default the release build")
    parser.add_argument(
        "--sessions", type=int, default=CORES, help="Plimsoll's, where peers have processes (default the cores)"
    )
    parser.add_argument("--prepare", action="store_true", help="only install, and make models and images")
    ARGUMENTS = parser.parse_args()
    if unknown := set(ARGUMENTS.scenarios) - set(SCENARIOS):
        parser.error(f"there is no scenario {', '.join(unknown)}")
    # So that servers are stopped, too, when this is ended from outside.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    (OUT / "work").mkdir(parents=True, exist_ok=True)
    prepare(not ARGUMENTS.without_peers)
    if ARGUMENTS.prepare:
        return
    for needed in [ARGUMENTS.binary, GUESTS / "noop_infer.wasm"]:
        if not needed.is_file():
            sys.exit(f"{needed} is missing: cargo build --release")
    for name in ARGUMENTS.scenarios or SCENARIOS:
        print(f"{name}: {SCENARIOS[name].__doc__.splitlines()[0]}", flush=True)
        SCENARIOS[name]()


if __name__ == "__main__":
    main()
