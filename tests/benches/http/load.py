"""Load on a server: runs of `h2load`, and how busy the rest of the machine is during a measurement."""

import os
import resource
import sys
import time
from pathlib import Path

from environment import WORK, run_command
from server import Server


def h2load(server: Server, image: str, concurrency: int, requests: int, path: str | None = None) -> dict:
    """Sends a fixed number of requests over persistent connections. Returns requests/s, quantiles in ms, and the
    server's CPU time for each request in ms."""
    log = WORK / f"h2load-{os.getpid()}.log"
    log.unlink(missing_ok=True)
    before = server.cpu_seconds()
    run_command(load_command(server, image, concurrency, path) + ["-n", requests, f"--log-file={log}"])
    cpu = server.cpu_seconds() - before
    # A row per request: start, status and duration. Times are in microseconds.
    rows = [tuple(map(int, line.split("\t")[:3])) for line in log.read_text().splitlines()]
    bad = [status for _, status, _ in rows if status != 200]
    if bad or len(rows) != requests:
        sys.exit(
            f"{server.name}: {len(rows)} replies to {requests} requests; statuses other than 200: {bad[:5]}\n"
            f"{server.log.read_text()}"
        )
    took = max(start + time for start, _, time in rows) - min(start for start, _, _ in rows)
    times = sorted(time / 1e3 for _, _, time in rows)
    return {
        "requests": requests,
        "rps": requests / took * 1e6,
        "p50_ms": quantile(times, 0.5),
        "p99_ms": quantile(times, 0.99),
        "cpu_ms": cpu / requests * 1e3,
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
        *(part for name, value in server.headers().items() for part in ["-H", f"{name}: {value}"]),
        url,
    ]


def quantile(ordered: list[float], part: float) -> float:
    """The value at `part` (0 to 1) of a list in ascending order."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def measure(server: Server, image: str, concurrency: int, seconds: float) -> dict:
    """Warms the server up, then measures about `seconds`. The warm-up determines the number of requests for that."""
    few = max(concurrency * 2, 8)
    rate = h2load(server, image, concurrency, few)["rps"]
    if rate * seconds / 4 > few:
        rate = h2load(server, image, concurrency, int(rate * seconds / 4))["rps"]
    requests = min(60_000, max(few * 2, int(rate * seconds)))
    return measure_undisturbed(server, lambda: h2load(server, image, concurrency, requests))


# A measurement starts when other processes use at most DISTURBANCE cores, or after PATIENCE seconds of waiting.
DISTURBANCE, PATIENCE = 0.1, 4


def measure_undisturbed(server: Server, measurement) -> dict:
    """Measures while nothing else runs, if the machine becomes idle in time. Adds the figure `others`: the number of
    cores that other processes used during the measurement."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and foreign_cores(server, lambda: time.sleep(0.5))[0] > DISTURBANCE:
        pass
    cores, figures = foreign_cores(server, measurement)
    return figures | {"others": cores}


def foreign_cores(server: Server, action) -> tuple[float, dict]:
    """Runs an action. Returns the number of cores that other processes used during it, and the result of the action.

    Other processes are all except the server, this process and its finished children."""
    before, started = foreign_seconds(server), time.monotonic()
    result = action()
    took = time.monotonic() - started
    return max(0.0, (foreign_seconds(server) - before) / took), result


def foreign_seconds(server: Server) -> float:
    """CPU seconds of other processes since the machine started."""
    tick = os.sysconf("SC_CLK_TCK")
    # The fields are user, nice, system, idle, iowait, irq, softirq and steal (time that the hypervisor took). Idle and
    # iowait are not work.
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
