"""Compares Plimsoll over HTTP with other inference servers: `python3 tests/benches/http/bench.py`.

README.md in this folder describes the scenarios. The benchmark itself needs only the standard library. The requirements
of the peers and of the models are installed from PyPI into target/bench-venv. `h2load` is in Debian's nghttp2-client.

| module | subject |
| --- | --- |
| `bench.py` | the command line |
| `environment.py` | paths, and the preparation of virtual environments, models and request bodies |
| `server.py` | a server process: requests and resident memory |
| `launch.py` | how Plimsoll and the peers are configured and started |
| `load.py` | `h2load`, and how busy the rest of the machine is |
| `results.py` | the figures, as a table and as JSON |
| `scenarios.py`, `pressure.py` | the scenarios |
| `models.py`, `backend.py` | separate programs for target/bench-venv: make models and images; measure the backend |
"""

import argparse
import signal
import sys
from pathlib import Path

# Importing the modules below must not create `__pycache__` in the source tree.
sys.dont_write_bytecode = True

from environment import CORES, GUESTS, TARGET, WORK, prepare
from scenarios import SCENARIOS


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help=f"scenarios to run (default: all of {', '.join(SCENARIOS)})"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each figure (default: 3)")
    parser.add_argument("--without-peers", action="store_true", help="measure only Plimsoll")
    parser.add_argument(
        "--binary",
        type=Path,
        default=TARGET / "release/plimsoll",
        help="path of the Plimsoll binary (default: the release build)",
    )
    parser.add_argument(
        "--sessions",
        type=int,
        default=CORES,
        help="ONNX Runtime sessions of Plimsoll; peers have one process per core instead (default: number of cores)",
    )
    parser.add_argument(
        "--prepare", action="store_true", help="only install the requirements and create models and images"
    )
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(SCENARIOS):
        parser.error(f"unknown scenario: {', '.join(unknown)}")
    return options


def main() -> None:
    options = parse_options()
    # `sys.exit` unwinds the stack, so SIGTERM also stops the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated by SIGTERM"))
    WORK.mkdir(parents=True, exist_ok=True)
    prepare(not options.without_peers)
    if options.prepare:
        return
    for needed in [options.binary, GUESTS / "noop_infer.wasm"]:
        if not needed.is_file():
            sys.exit(f"{needed} does not exist: run `cargo build --release`")
    for name in options.scenarios or SCENARIOS:
        print(f"{name}: {SCENARIOS[name].__doc__.splitlines()[0]}", flush=True)
        SCENARIOS[name](options)


if __name__ == "__main__":
    main()
