"""The figures of a scenario: printed as they are measured, then as a table, and written as JSON."""

import datetime
import json
import os
import platform
import statistics
import subprocess
from pathlib import Path

from environment import CORES, HERE, OUT, PEERS
from load import DISTURBANCE


class Results:
    """The figures of all rounds, by measurement (`what`) and server."""

    def __init__(self, scenario: str):
        self.scenario, self.rounds = scenario, {}

    def add(self, what: str, server: str, **figures: float) -> None:
        """Adds and prints the figures of one round."""
        self.rounds.setdefault((what, server), []).append(figures)
        print(f"  {what:<28} {server:<22}", *(f"{name} {value:,.2f}" for name, value in figures.items()), flush=True)

    def median(self, what: str, server: str, figure: str) -> float:
        return statistics.median(figures[figure] for figures in self.rounds[what, server])

    def finish(self, notes: dict | None = None) -> None:
        """Writes `target/bench-http/SCENARIO.json` and prints the table."""
        rows = []
        for (what, server), rounds in self.rounds.items():
            summary = {}
            for figure in rounds[0]:
                values = [figures[figure] for figures in rounds]
                summary[figure] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
            rows.append({"what": what, "server": server, "rounds": rounds, "summary": summary})
        result = {"scenario": self.scenario, "machine": machine(), "notes": notes or {}, "results": rows}
        (OUT / f"{self.scenario}.json").write_text(json.dumps(result, indent=1))
        self.print_table(rows)

    def print_table(self, rows: list[dict]) -> None:
        """Prints median (minimum–maximum) of each figure, and in a peer's cell the ratio of Plimsoll to the peer. A
        ratio above 1 means that Plimsoll is better."""
        disturbed = [
            round_["others"] for row in rows for round_ in row["rounds"] if round_.get("others", 0) > DISTURBANCE
        ]
        print(f"\n## {self.scenario}\n")
        if disturbed:
            most = max(disturbed)
            print(f"{len(disturbed)} measurements were disturbed: other processes used up to {most:.1f} cores.\n")
        # `dict.fromkeys` removes duplicates and keeps the order of first occurrence.
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
                if row["server"] in PEERS and (row["what"], "plimsoll") in self.rounds:
                    own = self.median(row["what"], "plimsoll", figure)
                    ratio = own / value["median"] if figure == "rps" else value["median"] / own
                    cell += f" **{ratio:.2f}×**"
                cells.append(cell)
            print(f"| {row['what']} | {row['server']} |", " | ".join(cells), "|")
        print(flush=True)


def short(value: float) -> str:
    """The value with fewer decimals the larger it is."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def machine() -> dict:
    """The machine, the commit and the time of a measurement."""
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
