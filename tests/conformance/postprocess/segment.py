"""`segment-postprocess`: `numpy.argmax`, then PNG read by Pillow, run lengths by pycocotools, polygons by the even-odd rule."""

import io
import json

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from common import REFUSED, geometry, map_size, spoil

VARIANTS = [
    {"config": {"size": "model"}},
    {"config": {"format": "rle"}},
    {"config": {"format": "polygons"}},
    {"config": {"layout": "nhwc"}},
    {"config": {"layout": "classes", "format": "rle", "background_class": -1}},
    {"config": {"threshold": 0.5, "format": "polygons", "size": "model"}},
    {"config": {"layout": "nhwc", "threshold": -1, "format": "rle", "background_class": 1}},
    {"config": {"layout": "classes", "format": "polygons", "size": "model", "labels": "labels.txt"},
     "assets": {"labels.txt": b"wall\nsky\ntree\ncar\n"}},
    {"config": {"layout": "classes"}},
]
NO_CLASS = -1


def blobs(random, classes, rows, columns):
    """Scores with areas of one class, thin lines, touching corners, and many equal scores."""
    scores = random.normal(0, 1, (classes, rows, columns))
    for _ in range(int(random.integers(0, 4))):
        scores = scores + np.roll(scores, 1, 1) + np.roll(scores, 1, 2) + np.roll(scores, -1, 1)
    scores = scores / max(np.abs(scores).max(), 1)
    return np.round(scores * 4) / 4 if random.random() < 0.4 else scores


def enlarged(classes, context):
    """The class in which the centre of each pixel of the original image lies."""
    rows, columns = classes.shape
    x = (np.arange(context["width"]) + 0.5) * context["scale_x"] + context["offset_x"]
    y = (np.arange(context["height"]) + 0.5) * context["scale_y"] + context["offset_y"]
    x = np.floor(x * columns / context["input_width"]).astype(int)
    y = np.floor(y * rows / context["input_height"]).astype(int)
    padded = np.full((rows + 2, columns + 2), NO_CLASS)
    padded[1:-1, 1:-1] = classes
    return padded[np.clip(y + 1, 0, rows + 1)[:, None], np.clip(x + 1, 0, columns + 1)[None]]


def make(random, variant):
    config = variant["config"]
    context = geometry(random, 160)
    layout, threshold = config.get("layout", "nchw"), config.get("threshold")
    # Scores must have the proportions of the input; classes are not checked.
    rows, columns = (int(size) for size in random.integers(1, 50, 2)) if layout == "classes" else map_size(random, context, 50)
    refused = False
    if layout == "classes":
        classes = blobs(random, 4, rows, columns).argmax(0).astype(random.choice(["u1", "i4", "i8", "f4"]))
        if random.random() < 0.1:
            refused = True
            wrong = {"u": [255], "i": [-1, 70000], "f": [0.5, -1, np.nan, 1e9]}[classes.dtype.kind]
            if classes.dtype.kind == "u" and "labels" not in config and config.get("format") == "rle":
                refused = False
            classes.reshape(-1)[random.integers(classes.size)] = random.choice(wrong)
        array = classes.reshape([(1, rows, columns), (1, 1, rows, columns), (1, rows, columns, 1)][
            0 if 1 in (rows, columns) else random.integers(3)])
    else:
        channels = 1 if threshold is not None else int(random.integers(2, 12))
        scores = blobs(random, channels, rows, columns).astype(random.choice([np.float32, np.float16]))
        if random.random() < 0.1:
            spoil(random, scores)
            refused = True
        classes = (scores[0] > threshold).astype(int) if threshold is not None else scores.argmax(0)
        array = np.ascontiguousarray((scores if layout == "nchw" else scores.transpose(1, 2, 0))[None])
    if refused:
        return [("output", array)], context, REFUSED
    classes = classes.astype(int)
    return [("output", array)], context, classes if config.get("size") == "model" else enlarged(classes, context)


def palette():
    """`VOClabelcolormap` of the development kit of PASCAL VOC."""
    colours = np.zeros((256, 3), np.uint8)
    for index in range(256):
        bits = index
        for shift in range(7, -1, -1):
            for channel in range(3):
                colours[index, channel] |= ((bits >> channel) & 1) << shift
            bits >>= 3
    return colours


def filled(rings, shape):
    """The pixels inside by the even-odd rule. Edges are horizontal and vertical."""
    mask = np.zeros(shape, bool)
    for ring in rings:
        points = np.array(ring).reshape(-1, 2)
        steps = np.roll(points, -1, 0) - points
        assert ((steps == 0).sum(1) == 1).all(), "an edge is neither horizontal nor vertical"
        assert (np.roll(steps[:, 0] == 0, 1) != (steps[:, 0] == 0)).all(), "two edges in one line"
        for (x, y), (_, down) in zip(points, steps):
            if down:
                mask[min(y, y + down):max(y, y + down), x:] ^= True
    return mask


def area(ring):
    """The signed area, positive if it is clockwise on a screen (shoelace formula)."""
    x, y = np.array(ring).reshape(-1, 2).T
    return (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2


def compare(reply, media_type, expected, variant):
    config = variant["config"]
    if config.get("format", "png") == "png":
        assert media_type == "image/png"
        image = Image.open(io.BytesIO(reply))
        assert image.mode == "P"
        found = np.array(image).astype(int)
        np.testing.assert_array_equal(found, np.where(expected == NO_CLASS, 255, expected))
        np.testing.assert_array_equal(np.array(image.convert("RGB")), palette()[found])
        return
    assert media_type == "application/json"
    answer = json.loads(reply)
    assert (answer["height"], answer["width"]) == expected.shape
    wanted = [int(index) for index in np.unique(expected)]
    wanted = [index for index in wanted if index not in (NO_CLASS, config.get("background_class", 0))]
    assert [segment["index"] for segment in answer["segments"]] == wanted
    labels = variant.get("assets", {}).get("labels.txt", b"").decode().split()
    for segment in answer["segments"]:
        mask = expected == segment["index"]
        assert segment["label"] == (labels[segment["index"]] if labels else str(segment["index"]))
        assert segment["area"] == mask.sum()
        y, x = np.nonzero(mask)
        assert segment["box"] == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        if config["format"] == "rle":
            assert set(segment) == {"index", "label", "area", "box", "rle"}
            np.testing.assert_array_equal(coco.decode(segment["rle"]), mask)
            encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
            assert segment["rle"]["counts"].encode() == encoded["counts"]
        else:
            assert set(segment) == {"index", "label", "area", "box", "polygons"}
            np.testing.assert_array_equal(filled(segment["polygons"], expected.shape), mask)
            assert sum(area(ring) for ring in segment["polygons"]) == mask.sum()
