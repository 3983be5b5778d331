#!/usr/bin/env python3
"""What the throughput of `cargo bench --bench scaling` would be on more cores: `python3 tests/benches/scaling_model.py`.

Run the benchmark before; this reads target/bench/scaling.json. The model: a thread computes alone for as long as a run takes
with one thread. With more threads, places in memory that they share (locks, counters, counts of references) move from one
core's cache to the next, one after the other. How long a run waits for that is known from the run with the most threads
measured. It is unknown over how many places the time is spread, so there is a column for each number: with one place, threads
queue behind each other, with many they hardly do. The figures are the throughput as a part of ideal, by mean value analysis
of a closed network (Reiser and Lavenberg, 1980).
"""

import json
from pathlib import Path

PLACES = [1, 2, 4, 8, 16, 32]
THREADS = [2, 4, 8, 16, 32]
RESULTS = Path(__file__).resolve().parents[2] / "target/bench/scaling.json"


def time_of_run(alone: float, shared: float, places: int, threads: int) -> float:
    """The time of one run if `threads` threads each compute for `alone`, and need `shared` in `places` places."""
    # The last thread at a place was this one in one of so many cases; then the place is in this core's cache.
    demand, waiting, time = shared / places * (threads - 1) / threads, 0.0, 0.0
    for count in range(1, threads + 1):
        # A thread that comes finds as many others as there would be without it.
        at_place = demand * (1 + waiting)
        time = alone + places * at_place
        waiting = count * at_place / time
    return time


def shared_time(alone: float, measured: float, places: int, threads: int) -> float:
    """The time in shared places with which the model has the measured time, by bisection."""
    low, high = 0.0, 2 * measured
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if time_of_run(alone, middle, places, threads) < measured else (low, middle)
    return low


def main() -> None:
    works: dict[str, dict[int, float]] = {}
    for row in json.loads(RESULTS.read_text())["rows"]:
        works.setdefault(row["work"], {})[int(row["threads"])] = 1e6 * int(row["threads"]) / row["per_second"]
    for work, times in works.items():
        most = max(times)
        if 1 not in times or most == 1:
            print(f"{work}: the benchmark has to be run with one thread and with several")
            continue
        print(f"{work}: {times[1]:.1f} µs alone, {times[most]:.1f} µs with {most} threads")
        print("  threads" + "".join(f"{f'{places} places':>12}" for places in PLACES))
        for threads in THREADS:
            shared = [shared_time(times[1], times[most], places, most) for places in PLACES]
            parts = [times[1] / time_of_run(times[1], part, places, threads) for part, places in zip(shared, PLACES)]
            print(f"  {threads:>7}" + "".join(f"{part:>12.2f}" for part in parts))


if __name__ == "__main__":
    main()
