"""Non-maximum suppression, and boxes back to the original image, in float64."""

import numpy as np


def overlap(a, b):
    """Intersection over union, as `torchvision.ops.box_iou`; 0 if both boxes have no area."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0


def hard(found, limit):
    """`torchvision.ops.nms`: boxes in the order of their scores, without those that overlap a kept one."""
    kept = []
    for one in found:
        if all(overlap(one[2], other[2]) <= limit for other in kept):
            kept.append(one)
    return kept


def soft(found, sigma, threshold):
    """The algorithm of figure 2 in "Soft-NMS" (Bodla et al., 2017) with the Gaussian penalty."""
    boxes, kept = [list(one) for one in found], []
    while boxes:
        best = max(range(len(boxes)), key=lambda index: boxes[index][1])
        one = boxes.pop(best)
        kept.append(tuple(one))
        for other in boxes:
            other[1] *= np.exp(-overlap(one[2], other[2]) ** 2 / sigma)
        boxes = [other for other in boxes if other[1] > threshold]
    return kept


def select(found, variant):
    """All boxes (class, score, corners) in the order of the model; returns those to report, best first."""
    found = [one for one in found if one[1] > variant["score_threshold"]]
    order = lambda one: (-one[1], one[0])
    found.sort(key=order)
    if variant["nms"] == "none":
        groups = [found]
    elif variant["nms"] == "class-agnostic":
        groups = [hard(found, variant["iou_threshold"])]
    else:
        groups = []
        for label in sorted({one[0] for one in found}):
            of_class = [one for one in found if one[0] == label]
            if variant["nms"] == "soft":
                groups.append(soft(of_class, variant["soft_sigma"], variant["score_threshold"]))
            else:
                groups.append(hard(of_class, variant["iou_threshold"]))
    kept = [one for group in groups for one in group]
    if "max_per_class" in variant["written"]:
        counts, some = {}, []
        for one in sorted(kept, key=order):
            counts[one[0]] = counts.get(one[0], 0) + 1
            if counts[one[0]] <= variant["max_per_class"]:
                some.append(one)
        kept = some
    return sorted(kept, key=order)


def to_original(corners, context):
    """Corners in pixels of the input as pixels of the original, inside of it; None if nothing is inside."""
    x = (corners[[0, 2]] - context["offset_x"]) / context["scale_x"]
    y = (corners[[1, 3]] - context["offset_y"]) / context["scale_y"]
    (x1, x2), (y1, y2) = np.clip(x, 0, context["width"]), np.clip(y, 0, context["height"])
    return [x1, y1, x2, y2] if x1 < x2 and y1 < y2 else None
