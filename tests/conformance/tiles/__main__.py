"""Tiles of a picture, and their detections merged, as SAHI does both.

    python tests/conformance/tiles make OUT [--count N]
    python tests/conformance/tiles check OUT

`make` writes the detector OUT/model.onnx, pictures, and OUT/index.json: a list of `tiles` and `merge` (the configurations of
`crop-transform` and `detect-postprocess` in TOML) and `cases`: case NAME is the picture NAME.png. `tests/it/tiles.rs` posts
them and writes the replies to NAME.json. `check` compares them with the formulas of SAHI (`get_slice_bboxes` of
`sahi/slicing.py`, `nms` and `batched_nms` of `sahi/postprocess/combine.py`), written again with numpy.

The detector sees 32 x 32 pixels and returns a box for each cell of 8 x 8 of them in the layout `yolov8`. Its scores are means of
colours, and so are the sizes of its boxes: the reference computes them from the same pixels.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SIDE, CELL = 32, 8
# Sums of pixels at this scale are exact in f32, so boxes have equal scores here and there at the same places.
SCALE = 1 / 256
VARIANTS = [
    ({"overlap": 0.25}, {}),
    ({"overlap": 0.4}, {"merge_metric": "union", "merge_threshold": 0.3}),
    ({"overlap": 0.0}, {"nms": "class-agnostic", "merge_threshold": 0.2}),
    ({"overlap": 0.7}, {"max_per_class": 3}),
    ({"overlap": 0.5}, {"max_detections": 5, "score_threshold": 0.3}),
]


def model(path):
    cells = SIDE // CELL
    constants, nodes = [], []

    def constant(name, array):
        constants.append(numpy_helper.from_array(np.asarray(array), name))

    def node(operator, inputs, output, **attributes):
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))

    places = (np.arange(cells, dtype=np.float32) + 0.5) * CELL
    y, x = np.meshgrid(places, places, indexing="ij")
    constant("centres", np.stack([x.ravel(), y.ravel()])[None])
    constant("flat", np.array([1, 3, cells * cells]))
    constant("least", np.float32(8))
    constant("more", np.float32(16))
    for name, start in (("zero", 0), ("one", 1), ("two", 2), ("three", 3)):
        constant(name, np.array([start]))
    node("AveragePool", ["pixels"], "means", kernel_shape=[CELL, CELL], strides=[CELL, CELL])
    node("Reshape", ["means", "flat"], "colours")
    # Red and green are the scores of two classes, red and blue the sizes.
    node("Slice", ["colours", "zero", "two", "one"], "scores")
    node("Slice", ["colours", "zero", "one", "one"], "red")
    node("Slice", ["colours", "two", "three", "one"], "blue")
    node("Concat", ["red", "blue"], "parts", axis=1)
    node("Mul", ["parts", "more"], "wider")
    node("Add", ["wider", "least"], "sizes")
    node("Concat", ["centres", "sizes", "scores"], "output0", axis=1)
    image = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 6, cells * cells])
    graph = helper.make_graph(nodes, "cells", [image], [output], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def slices(width, height, overlap):
    """`get_slice_bboxes` with slices of the size of the detector's input."""
    found, y_max, y_min = [], 0, 0
    step = int(overlap * SIDE)
    while y_max < height:
        x_min = x_max = 0
        y_max = y_min + SIDE
        while x_max < width:
            x_max = x_min + SIDE
            right, below = min(width, x_max), min(height, y_max)
            found.append((max(0, right - SIDE), max(0, below - SIDE), right, below))
            x_min = x_max - step
        y_min = y_max - step
    return found


def shared(a, b):
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    areas = [(box[2:] - box[:2]).prod() for box in (a, b)]
    return np.maximum(sides, 0).prod(), areas


def union(a, b):
    common, (first, second) = shared(a, b)
    return common / (first + second - common) if common else 0


def smaller(a, b):
    common, areas = shared(a, b)
    return common / min(areas) if common else 0


def suppressed(found, metric, threshold, is_agnostic):
    """Boxes in the order of their scores, without those that overlap a kept one."""
    kept = []
    for one in sorted(found, key=lambda one: (-one[1], one[0])):
        others = [other for other in kept if is_agnostic or other[0] == one[0]]
        if all(metric(other[2], one[2]) <= threshold for other in others):
            kept.append(one)
    return kept


def limited(found, merge):
    counts, kept = {}, []
    for one in found:
        counts[one[0]] = counts.get(one[0], 0) + 1
        if counts[one[0]] <= merge.get("max_per_class", 1000):
            kept.append(one)
    return kept[: merge.get("max_detections", 100)]


def detections(picture, tiles, merge):
    height, width, _ = picture.shape
    is_agnostic = merge.get("nms") == "class-agnostic"
    everything = []
    for left, top, right, below in slices(width, height, tiles["overlap"]):
        tile = picture[top:below, left:right].astype(np.float64) * SCALE
        means = tile.reshape(SIDE // CELL, CELL, SIDE // CELL, CELL, 3).mean((1, 3))
        found = []
        for y in range(SIDE // CELL):
            for x in range(SIDE // CELL):
                red, green, blue = means[y, x]
                label = int(green > red)
                score = max(red, green)
                if score > merge.get("score_threshold", 0.25):
                    centre, size = (np.array([x, y]) + 0.5) * CELL, 8 + 16 * np.array([red, blue])
                    found.append((label, score, np.concatenate([centre - size / 2, centre + size / 2])))
        kept = limited(suppressed(found, union, 0.7, is_agnostic), merge)
        for label, score, box in kept:
            box = np.clip(box + [left, top, left, top], 0, [width, height, width, height])
            everything.append((label, score, box))
    metric = union if merge.get("merge_metric") == "union" else smaller
    return limited(suppressed(everything, metric, merge.get("merge_threshold", 0.5), is_agnostic), merge)


def picture(case):
    random = np.random.default_rng([17, case])
    width, height = (int(side) for side in random.integers(SIDE, 4 * SIDE, 2))
    small = random.integers(0, 256, (*random.integers(2, 20, 2), 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize((width, height), Image.BICUBIC)).astype(int)
    return np.clip(smooth + random.integers(-20, 21, smooth.shape), 0, 255).astype(np.uint8)


def toml(config):
    return ", ".join(f"{key} = {json.dumps(value)}" for key, value in config.items())


def make(out, count):
    model(out / "model.onnx")
    index = [{"tiles": toml(tiles | {"scale": SCALE}), "merge": toml(merge), "cases": []} for tiles, merge in VARIANTS]
    for case in range(count):
        Image.fromarray(picture(case)).save(out / f"{case}.png")
        index[case % len(VARIANTS)]["cases"].append(str(case))
    (out / "index.json").write_text(json.dumps(index))


def check(out):
    wrong, total = [], 0
    files = sorted(out.glob("[0-9]*.json"), key=lambda file: int(file.stem))
    for file in files:
        case = int(file.stem)
        tiles, merge = VARIANTS[case % len(VARIANTS)]
        image = picture(case)
        expected, found = detections(image, tiles, merge), json.loads(file.read_text())
        total += len(expected)
        try:
            assert (found["height"], found["width"]) == image.shape[:2] and "failed" not in found
            assert len(found["detections"]) == len(expected), f"{len(found['detections'])} instead of {len(expected)}"
            for one, (label, score, box) in zip(found["detections"], expected):
                assert one["index"] == label and abs(one["score"] - score) < 1e-5, (one, label, score)
                np.testing.assert_allclose(one["box"], box, atol=1e-3)
        except AssertionError as error:
            wrong.append(f"{case} ({tiles}, {merge}): {error}"[:400])
    print(f"{len(files)} replies, {len(wrong)} are wrong; {total} detections")
    print("\n".join(wrong[:20]))
    raise SystemExit(1 if wrong else 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["make", "check"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=200)
    arguments = parser.parse_args()
    make(arguments.out, arguments.count) if arguments.action == "make" else check(arguments.out)


if __name__ == "__main__":
    main()
