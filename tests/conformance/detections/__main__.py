"""Generates model outputs of all layouts of `detect-postprocess`, and the detections that a reference makes of them.

    python tests/conformance/detections OUT [--count N] [--seed S]

OUT/index.json is a list of pipelines: `layout`, `config` (TOML), `labels` and `cases`. A case is the name of the file with
the body for the test guest `given-tensors`, and the expected `detections`. There are N cases (200) for each layout.
`tests/it/detect_layouts.rs` posts them to the plugin in wasm and compares the replies. The reference is in `layouts.py`
and `suppress.py`: the formulas of the projects that they name, written again with numpy in float64.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parent.parent / "postprocess"))

from common import body, geometry
from layouts import LAYOUTS
from suppress import to_original


def make_case(layout, variant, random):
    """The tensors and the expected detections of one case."""
    context = geometry(random)
    tensors, found = layout.make(random, context, variant)
    unit = (context["input_width"], context["input_height"]) if variant["coordinates"] == "fractions" else (1, 1)
    detections = []
    for label, score, corners in found[: variant["max_detections"]]:
        corners = to_original(np.array(corners) * np.array(unit * 2), context)
        if corners is not None:
            label = int(label)
            detections.append({"index": label, "score": float(score), "box": corners})
    return body(tensors, context), detections


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(exist_ok=True)
    index = []
    for number, layout in enumerate(LAYOUTS):
        variants = layout.variants()
        pipelines = [{"layout": layout.name, "config": toml(layout, variant), "cases": []} for variant in variants]
        for case in range(arguments.count):
            random = np.random.default_rng([arguments.seed, number, case])
            which = case % len(variants)
            data, detections = make_case(layout, variants[which], random)
            name = f"{layout.name}-{case}.body"
            (arguments.out / name).write_bytes(data)
            pipelines[which]["cases"].append({"file": name, "detections": detections})
        index += pipelines
    (arguments.out / "index.json").write_text(json.dumps(index))


def toml(layout, variant):
    """The configuration of the plugin."""
    keys = {"layout": layout.name} | {key: value for key, value in variant.items() if key in variant["written"]}
    return ", ".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())


if __name__ == "__main__":
    main()
