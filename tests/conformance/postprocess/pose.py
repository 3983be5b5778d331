"""`pose-postprocess`: `PosePredictor` and `non_max_suppression` of Ultralytics (`ultralytics/models/yolo/pose/predict.py`,
`ultralytics/utils/nms.py`, `scale_coords` of `ultralytics/utils/ops.py`), and `get_final_preds` of HRNet
(`lib/core/inference.py` in `leoxiaobin/deep-high-resolution-net.pytorch`), written again with numpy."""

import json

import numpy as np

from common import REFUSED, geometry, map_size, spoil

F32 = np.float32
NAMES = b"nose\nleft eye\nright eye\n"
VARIANTS = [
    {"config": {}},
    {"config": {"dimensions": 2, "score_threshold": 0.1, "max_detections": 5}},
    {"config": {"labels": "labels.txt", "nms": "class-agnostic", "iou_threshold": 0.45},
     "assets": {"labels.txt": b"cat\ndog\n"}},
    {"config": {"classes": 3, "coordinates": "fractions", "nms": "none"}},
    {"config": {"layout": "end-to-end"}},
    {"config": {"layout": "end-to-end", "keypoints": "names.txt", "dimensions": 2, "nms": "per-class"},
     "assets": {"names.txt": NAMES}},
    {"config": {"layout": "heatmaps"}},
    {"config": {"layout": "heatmaps", "keypoints": "names.txt"}, "assets": {"names.txt": NAMES}},
]


def overlap(a, b):
    """Intersection over union of a box with many."""
    sides = np.minimum(a[2:], b[:, 2:]) - np.maximum(a[:2], b[:, :2])
    shared = np.maximum(sides, 0).prod(1)
    union = (a[2:] - a[:2]).prod() + (b[:, 2:] - b[:, :2]).prod(1) - shared
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)


def kept(corners, scores, labels, config):
    """The indices of the boxes to report, best first; of equal scores the lower class, then the first box."""
    default = "none" if config.get("layout") == "end-to-end" else "per-class"
    nms, limit = config.get("nms", default), config.get("iou_threshold", 0.7)
    order = [index for index in np.lexsort((np.arange(len(scores)), labels, -scores))
             if scores[index] > config.get("score_threshold", 0.25)]
    chosen = []
    while order:
        index = order.pop(0)
        chosen.append(index)
        rest = np.array(order, int)
        drop = overlap(corners[index], corners[rest]) > limit
        if nms != "class-agnostic":
            drop &= labels[rest] == labels[index]
        order = order if nms == "none" else list(rest[~drop])
    return chosen[: config.get("max_detections", 100)]


def back(points, context):
    """Points of the input in pixels of the original."""
    offset = np.array([context["offset_x"], context["offset_y"]])
    return (points - offset) / [context["scale_x"], context["scale_y"]]


def people(random, config, context, refused):
    boxes, classes = int(random.integers(30, 120)), int(config.get("classes", 2 if "labels" in config else 1))
    boxes = 0 if random.random() < 0.04 and not refused else boxes
    keypoints = 3 if "keypoints" in config else int(random.integers(1, 18))
    size = np.array([context["input_width"], context["input_height"]])
    unit = size if config.get("coordinates") == "fractions" else np.ones(2)
    clusters = random.random((max(1, boxes // 6), 4)) * [*size, *(size / 2)]
    box = clusters[random.integers(0, len(clusters), boxes)] * random.normal(1, 0.08, (boxes, 4)).clip(0.5, 2)
    # Keypoints are in and around their box, and some of them outside of the input.
    points = box[:, None, :2] + random.normal(0, 0.4, (boxes, keypoints, 2)) * box[:, None, 2:]
    visible = random.random((boxes, keypoints, 1))
    dimensions = config.get("dimensions", 3)
    parts = np.concatenate([points / unit, visible], 2)[:, :, :dimensions].astype(F32)
    scores = random.random((boxes, classes)) ** random.choice([1, 3])
    if random.random() < 0.3:
        scores = np.round(scores * 8) / 8
    scores, box = scores.astype(F32), (box / np.tile(unit, 2)).astype(F32)
    if config.get("layout") == "end-to-end":
        labels = random.integers(0, 4, boxes)
        corners = np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], 1).astype(F32)
        best, output = scores[:, 0], np.concatenate([corners, scores, labels[:, None], parts.reshape(boxes, keypoints * dimensions)], 1)
    else:
        labels, best = scores.argmax(1), scores.max(1)
        output = np.concatenate([box, scores, parts.reshape(boxes, keypoints * dimensions)], 1).T
        box = box.astype(float)
        corners = np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], 1)
    output = np.ascontiguousarray(output).astype(F32)
    if refused:
        spoil(random, output)
        return output[None], REFUSED
    corners, parts, image = corners.astype(float), parts.astype(float), [context["width"], context["height"]]
    found = []
    for index in kept(corners, best.astype(float), labels, config):
        (x1, y1), (x2, y2) = np.clip(back(corners[index].reshape(2, 2) * unit, context), 0, image)
        if x1 < x2 and y1 < y2:
            places = np.clip(back(parts[index, :, :2] * unit, context), 0, image)
            shown = np.concatenate([places, parts[index, :, 2:]], 1)
            found.append((int(labels[index]), float(best[index]), [x1, y1, x2, y2], shown))
    return output[None], found


def maps(random, config, context, refused):
    count = 3 if "keypoints" in config else int(random.integers(1, 18))
    height, width = map_size(random, context, 30)
    heatmaps = random.normal(0, 0.1, (count, height, width))
    for one in heatmaps:
        x, y = random.integers(0, width), random.integers(0, height)
        gy, gx = np.mgrid[:height, :width]
        one += np.exp(-((gx - x - random.normal(0, 0.3)) ** 2 + (gy - y - random.normal(0, 0.3)) ** 2) / 4)
    heatmaps[random.random(count) < 0.05] *= -1
    if random.random() < 0.3:
        heatmaps = np.round(heatmaps * 4) / 4
    heatmaps = heatmaps.astype(F32)
    if refused:
        spoil(random, heatmaps)
        return heatmaps[None], REFUSED
    index, greatest = heatmaps.reshape(count, -1).argmax(1), heatmaps.reshape(count, -1).max(1)
    coords = np.stack([index % width, np.floor(index / width)], 1) * (greatest > 0)[:, None]
    for one, hm in zip(coords, heatmaps):
        px, py = int(one[0] + 0.5), int(one[1] + 0.5)
        if 1 < px < width - 1 and 1 < py < height - 1:
            one += np.sign([hm[py, px + 1] - hm[py, px - 1], hm[py + 1, px] - hm[py - 1, px]]) * 0.25
    places = back(coords * [context["input_width"] / width, context["input_height"] / height], context)
    return heatmaps[None], [(None, None, None, np.concatenate([places, greatest[:, None]], 1))]


def make(random, variant):
    config, context, refused = variant["config"], geometry(random), random.random() < 0.07
    read = maps if config.get("layout") == "heatmaps" else people
    array, expected = read(random, config, context, refused)
    return [("output", array)], context, expected if expected is REFUSED else (expected, context)


def compare(reply, media_type, expected, variant):
    (people_expected, context), config = expected, variant["config"]
    assert media_type == "application/json"
    answer = json.loads(reply)
    assert set(answer) == {"width", "height", "poses"}
    assert (answer["width"], answer["height"]) == (context["width"], context["height"])
    assert len(answer["poses"]) == len(people_expected), f"{len(answer['poses'])} instead of {len(people_expected)}"
    labels = ["cat", "dog"] if "labels" in config else [str(index) for index in range(9)]
    names = NAMES.decode().splitlines() if "keypoints" in config else [str(index) for index in range(99)]
    for pose, (label, score, corners, keypoints) in zip(answer["poses"], people_expected):
        if label is None:
            assert set(pose) == {"keypoints"}
        else:
            assert (pose["index"], pose["label"]) == (label, labels[label])
            assert abs(pose["score"] - score) < 1e-6
            np.testing.assert_allclose(pose["box"], corners, rtol=1e-4, atol=1e-3)
        assert [one["label"] for one in pose["keypoints"]] == names[: len(keypoints)]
        keys = ["x", "y", "score"][: keypoints.shape[1]]
        assert all(set(one) == {"label", *keys} for one in pose["keypoints"])
        found = np.array([[one[key] for key in keys] for one in pose["keypoints"]])
        np.testing.assert_allclose(found, keypoints, rtol=1e-4, atol=1e-3)
