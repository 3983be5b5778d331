"""`segment-postprocess` for objects: `process_mask`, `process_mask_native` and `crop_mask` of Ultralytics
(`ultralytics/utils/ops.py`), and `non_max_suppression` (`ultralytics/utils/nms.py`), written again with numpy."""

import io
import json

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from common import REFUSED, geometry, spoil
from pose import back, kept
from segment import area, filled, palette

F32 = np.float32
LABELS = {"labels.txt": b"cat\ndog\nbird\n"}
VARIANTS = [
    {"config": {"layout": "yolo", "format": "rle"}},
    {"config": {"layout": "yolo", "format": "polygons", "labels": "labels.txt", "score_threshold": 0.1}, "assets": LABELS},
    {"config": {"layout": "yolo"}},
    {"config": {"layout": "yolo", "size": "model", "format": "rle", "nms": "class-agnostic", "iou_threshold": 0.45}},
    {"config": {"layout": "yolo", "size": "model", "coordinates": "fractions", "max_detections": 4}},
    {"config": {"layout": "yolo", "coordinates": "fractions", "format": "rle", "nms": "none", "output": "rows", "prototypes": "maps"}},
    {"config": {"layout": "end-to-end", "format": "rle", "labels": "labels.txt"}, "assets": LABELS},
    {"config": {"layout": "end-to-end", "size": "model", "format": "polygons", "nms": "per-class"}},
]
# Sums that are nearer to 0 than this part of their terms may have either sign, because f32 rounds.
ROUNDING = 1e-5
# Edges of boxes that are nearer to a whole number than this may be on either side of it.
EDGE = 2e-3


def line(pixels, places, inputs, scale, offset):
    """The two places and the weight of the second one for each pixel, as `interpolate` without `align_corners`; and
    whether the model has seen the pixel."""
    at = ((np.arange(pixels) + 0.5) * scale + offset) * places / inputs
    seen = (at >= 0) & (at < places)
    at = np.clip(at - 0.5, 0, places - 1)
    first = np.floor(at).astype(int)
    return first, np.minimum(first + 1, places - 1), at - first, seen


def interpolated(sums, context):
    """The sums at the centres of the pixels of the original, and whether each pixel was seen."""
    rows, columns = sums.shape
    left, right, part, seen = line(
        context["width"], columns, context["input_width"], context["scale_x"], context["offset_x"])
    above, below, down, seen_rows = line(
        context["height"], rows, context["input_height"], context["scale_y"], context["offset_y"])
    mixed = sums[above] * (1 - down)[:, None] + sums[below] * down[:, None]
    return mixed[:, left] * (1 - part) + mixed[:, right] * part, seen_rows[:, None] & seen


def cropped(shape, corners):
    """`crop_mask`, and the pixels on whose place rounding decides."""
    y, x = np.mgrid[:shape[0], :shape[1]]
    x1, y1, x2, y2 = corners
    inside = (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
    unsure = (abs(x - x1) < EDGE) | (abs(x - x2) < EDGE) | (abs(y - y1) < EDGE) | (abs(y - y2) < EDGE)
    return inside, unsure


def make(random, variant):
    config, context = variant["config"], geometry(random, 160)
    is_rows = config["layout"] == "end-to-end"
    masks = int(random.choice([1, 3, 8, 32]))
    classes = 3 if "labels" in config else int(random.integers(1, 6))
    count = 0 if random.random() < 0.04 else int(random.integers(classes + 1, 60))
    rows, columns = context["input_height"] // 4, context["input_width"] // 4
    size = np.array([context["input_width"], context["input_height"]])
    unit = size if config.get("coordinates") == "fractions" else np.ones(2)
    clusters = random.random((max(1, count // 5), 4)) * [*size, *(size / 2)]
    box = clusters[random.integers(0, len(clusters), count)] * random.normal(1, 0.08, (count, 4)).clip(0.5, 2)
    scores = random.random((count, classes)) ** random.choice([1, 3])
    if random.random() < 0.3:
        scores = np.round(scores * 8) / 8
    scores, box = scores.astype(F32), (box / np.tile(unit, 2)).astype(F32)
    coefficients = random.normal(0, 1, (count, masks)).astype(F32)
    prototypes = random.normal(0, 1, (masks, rows, columns))
    for _ in range(int(random.integers(0, 4))):
        prototypes = prototypes + np.roll(prototypes, 1, 1) + np.roll(prototypes, 1, 2)
    prototypes = prototypes.astype(F32)
    if is_rows:
        labels, best = random.integers(0, classes, count), scores[:, 0]
        corners = np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], 1).astype(F32)
        output = np.concatenate([corners, best[:, None], labels[:, None], coefficients], 1)
    else:
        labels, best = scores.argmax(1), scores.max(1)
        output = np.concatenate([box, scores, coefficients], 1).T
        box = box.astype(float)
        corners = np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], 1)
    output = np.ascontiguousarray(output).astype(F32)[None]
    names = [config.get("output", "output0"), config.get("prototypes", "output1")]
    tensors = [(names[0], output), (names[1], prototypes[None])]
    if random.random() < 0.1:
        spoil(random, output if output.size and random.random() < 0.5 else prototypes)
        return [(names[0], output), (names[1], prototypes[None])], context, REFUSED
    corners, found = corners.astype(float), []
    for index in kept(corners, best.astype(float), labels, config):
        shape = np.array([context["width"], context["height"]])
        (x1, y1), (x2, y2) = np.clip(back(corners[index].reshape(2, 2) * unit, context), 0, shape)
        if not (x1 < x2 and y1 < y2):
            continue
        wide = coefficients[index].astype(float)
        sums = np.tensordot(wide, prototypes.astype(float), 1)
        terms = np.tensordot(abs(wide), abs(prototypes.astype(float)), 1).max()
        if config.get("size") == "model":
            scale = np.array([columns, rows]) / size
            edges = np.clip(corners[index].reshape(2, 2) * unit * scale, 0, [columns, rows]).ravel()
            seen = np.ones(sums.shape, bool)
        else:
            edges = np.array([x1, y1, x2, y2])
            sums, seen = interpolated(sums, context)
        inside, unsure = cropped(sums.shape, edges)
        mask = inside & seen & (sums > 0)
        unsure = unsure | (abs(sums) < terms * ROUNDING)
        found.append((int(labels[index]), float(best[index]), edges, mask, unsure))
    shape = (rows, columns) if config.get("size") == "model" else (context["height"], context["width"])
    return tensors, context, (shape, found)


def compare(reply, media_type, expected, variant):
    config, (shape, objects) = variant["config"], expected
    if config.get("format", "png") == "png":
        assert media_type == "image/png"
        image = Image.open(io.BytesIO(reply))
        assert image.mode == "P"
        found, wanted, unsure = np.array(image).astype(int), np.full(shape, 255), np.zeros(shape, bool)
        for label, _, _, mask, doubt in reversed(objects):
            wanted[mask], unsure = label, unsure | doubt
        np.testing.assert_array_equal(np.where(unsure, 0, found), np.where(unsure, 0, wanted))
        np.testing.assert_array_equal(np.array(image.convert("RGB")), palette()[found])
        return
    assert media_type == "application/json"
    answer = json.loads(reply)
    assert (answer["height"], answer["width"]) == shape
    assert len(answer["segments"]) == len(objects)
    labels = variant.get("assets", {}).get("labels.txt", b"").decode().split()
    for segment, (label, score, edges, mask, unsure) in zip(answer["segments"], objects):
        assert segment["index"] == label
        assert segment["label"] == (labels[label] if labels else str(label))
        assert abs(segment["score"] - score) < 1e-6
        np.testing.assert_allclose(segment["box"], edges, rtol=1e-5, atol=1e-3)
        form = "rle" if config["format"] == "rle" else "polygons"
        assert set(segment) == {"index", "label", "score", "area", "box", form}
        if form == "rle":
            found = coco.decode(segment["rle"]).astype(bool)
            assert segment["rle"]["counts"].encode() == coco.encode(np.asfortranarray(found.astype(np.uint8)))["counts"]
        else:
            found = filled(segment["polygons"], shape)
            assert sum(area(ring) for ring in segment["polygons"]) == found.sum()
        assert found.shape == shape and segment["area"] == found.sum()
        np.testing.assert_array_equal(found & ~unsure, mask & ~unsure)
