"""Detectors: boxes in the layouts of their families, and the right boxes of some of them."""

import numpy as np
from graph import Graph, add, features, nchw, photo, resized, run, softmax
from onnx import TensorProto
from PIL import Image


def grid_boxes(graph, value, size, numbers, side, points=0):
    """The numbers of each cell as [1, numbers, cells]; the first four are a box in pixels, the others probabilities, except for
    x and y of so many points at the end, which are in pixels."""
    value = graph.node("Sigmoid", graph.mix(graph.cells(value, size), 3, numbers))
    scale = [side, side, side / 4, side / 4] + [1] * (numbers - 4 - 3 * points) + [side, side, 1] * points
    scale = np.array(scale, np.float32).reshape(1, numbers, 1, 1)
    return graph.reshape(graph.node("Mul", value, graph.constant(scale)), 1, numbers, (side // size) ** 2)


def certain(found):
    """As many detections, best first, as have an order that does not depend on how pixels are rounded."""
    scores = [detection["score"] for detection in found]
    return found[:next((at for at in range(len(found) - 1) if scores[at] - scores[at + 1] < 0.004), len(found))]


def overlap(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0


def detections(centres, scores, labels, threshold, iou, size, scale, offset):
    """`non_max_suppression` of YOLOv8 for the best class of each box, and the boxes in the original image."""
    x, y, width, height = centres.T.astype(np.float64)
    corners = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 1)
    best, label = scores.max(1), scores.argmax(1)
    kept = []
    for index in sorted(np.flatnonzero(best > threshold), key=lambda index: (-best[index], label[index], index)):
        if all(label[index] != label[other] or overlap(corners[index], corners[other]) <= iou for other in kept):
            kept.append(index)
    found = []
    for index in kept[:10]:
        box = (corners[index] - [*offset, *offset]) / scale
        box = box.clip(0, [*size, *size])
        if box[2] > box[0] and box[3] > box[1]:
            found.append({"label": labels[label[index]], "index": int(label[index]), "score": float(best[index]), "box": list(box)})
    found = certain(found)
    assert len(found) > 1, "there is nothing to compare"
    return {"width": size[0], "height": size[1], "detections": found}


def of_queries(scores, boxes, width, height):
    """`post_process_object_detection` of DETR: the best class of each query, without suppression."""
    x, y, across, down = boxes.T
    corners = np.stack([x - across / 2, y - down / 2, x + across / 2, y + down / 2], 1).clip(0, 1) * [width, height, width, height]
    best, label = scores.max(1), scores.argmax(1)
    order = sorted(np.flatnonzero(best > 0.5), key=lambda index: (-best[index], label[index], index))
    found = [{"label": str(label[i]), "index": int(label[i]), "score": float(best[i]), "box": list(corners[i])} for i in order]
    found = certain(found)
    assert found, "there is nothing to compare"
    return {"width": width, "height": height, "detections": found}


def letterboxed(image, side, pad):
    """An image of twice the width and half the height of the input: no size is rounded."""
    result = np.full((side, side, 3), pad, np.float32)
    result[side // 4 : side * 3 // 4] = resized(image, (side, side // 2))
    return result


def detectors():
    image = photo(256, 128, 3)
    pixels = Image.open(image)
    names = ["cat", "dog's tail", "car"]

    graph = Graph("yolo11", [1, 3, 128, 128], seed=51)
    graph.output("output0", graph.node("Concat", *[grid_boxes(graph, "pixels", s, 7, 128) for s in (8, 16, 32)], axis=2))
    graph.metadata = {"names": str(dict(enumerate(names))), "task": "detect", "imgsz": "[128, 128]", "author": "Ultralytics"}
    path = graph.save()
    output = run(path, (letterboxed(pixels, 128, 114) / 255).transpose(2, 0, 1)[None])[0][0].T
    right = detections(output[:, :4], output[:, 4:], names, 0.25, 0.7, (256, 128), 0.5, (0, 32))
    settings = {"layout": "yolov8", "resize": "letterbox", "pad": 114, "labels": "labels.txt"}
    add(path, "detect-postprocess", settings, (), image, right)

    graph = Graph("yolo11-pose", [1, 3, 128, 128], seed=20)
    graph.output("output0", graph.node("Concat", *[grid_boxes(graph, "pixels", s, 5 + 4 * 3, 128, 4) for s in (8, 16, 32)], axis=2))
    graph.metadata = {"names": "{0: 'person'}", "task": "pose", "kpt_shape": "[4, 3]", "author": "Ultralytics"}
    settings = {"layout": "yolo", "dimensions": 3, "classes": 1, "resize": "letterbox", "labels": "labels.txt"}
    add(graph.save(), "pose-postprocess", settings)

    graph = Graph("yolo11-seg", [1, 3, 128, 128], seed=21)
    graph.output("output0", graph.node("Concat", *[grid_boxes(graph, "pixels", s, 7 + 8, 128) for s in (8, 16, 32)], axis=2))
    graph.output("output1", graph.mix(graph.cells("pixels", 4), 3, 8))
    graph.metadata = {"names": str(dict(enumerate(names))), "task": "segment", "author": "Ultralytics"}
    settings = {"layout": "yolo", "prototypes": "output1", "resize": "letterbox", "format": "rle", "labels": "labels.txt"}
    add(graph.save(), "segment-postprocess", settings)

    graph = Graph("yolov5", [1, 3, 96, 96], seed=9)
    boxes = [grid_boxes(graph, "pixels", s, 8, 96) for s in (8, 8, 8, 16, 16, 16, 32, 32, 32)]
    graph.output("output", graph.node("Transpose", graph.node("Concat", *boxes, axis=2), perm=[0, 2, 1]))
    path = graph.save()
    rows = run(path, (letterboxed(pixels, 96, 114) / 255).transpose(2, 0, 1)[None])[0][0]
    # `non_max_suppression` of YOLOv5: the confidence is the objectness times the probability of the class.
    right = detections(rows[:, :4], rows[:, 4:5] * rows[:, 5:], ["0", "1", "2"], 0.25, 0.45, (256, 128), 0.375, (0, 24))
    add(path, "detect-postprocess", {"layout": "yolov5"}, (), image, right)

    graph = Graph("end-to-end", [1, 3, 96, 96], seed=10)
    corners = graph.node("Mul", features(graph, 3, 8, 50 * 2), graph.constant(np.float32(0)))
    ones = np.tile(np.array([[8, 8, 40, 40, 0.5, 1]], np.float32), (50, 1))
    value = graph.node("Add", graph.reshape(corners, 1, 50, 2), graph.constant(ones[:, :2]))
    value = graph.node("Concat", value, graph.constant(ones[None, :, 2:]), axis=2)
    graph.output("output0", value)
    # The input has 0.375 of the size of the image, and a border of 24 rows. There is no suppression.
    box = {"label": "1", "index": 1, "score": 0.5, "box": [8 / 0.375, 0, 40 / 0.375, (40 - 24) / 0.375]}
    right = {"width": 256, "height": 128, "detections": [box] * 50}
    add(graph.save(), "detect-postprocess", {"layout": "end-to-end"}, (), image, right)

    graph = Graph("yolox", [1, 3, 96, 96], seed=11)
    boxes = [graph.reshape(graph.node("Sigmoid", graph.mix(graph.cells("pixels", s), 3, 8, 0.01)), 1, 8, (96 // s) ** 2) for s in (8, 16, 32)]
    graph.output("output", graph.node("Transpose", graph.node("Concat", *boxes, axis=2), perm=[0, 2, 1]))
    add(graph.save(), "detect-postprocess", {"layout": "yolox", "channels": "bgr", "scale": 1.0})

    for name, queries, classes, layout in (("detr", 100, 6, "detr"), ("rt-detr", 300, 5, "rt-detr")):
        graph = Graph(name, [1, 3, 96, 96], seed=12)
        # Two queries are much surer than the others.
        surer = np.zeros((1, queries, classes), np.float32)
        surer[0, 7, 2], surer[0, 3, 1] = 6, 4
        logits = graph.node("Add", graph.reshape(features(graph, 3, 8, queries * classes), 1, queries, classes), graph.constant(surer))
        graph.output("logits", logits)
        graph.output("pred_boxes", graph.node("Sigmoid", graph.reshape(features(graph, 3, 8, queries * 4), 1, queries, 4)))
        path = graph.save()
        right = None
        if layout == "detr":
            array = nchw(resized(pixels, (96, 96)), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
            logits, boxes = (output[0].astype(np.float64) for output in run(path, array))
            right = of_queries(softmax(logits)[:, :-1], boxes, 256, 128)
        settings = {"layout": layout, "scores": "logits", "boxes": "pred_boxes"}
        add(path, "detect-postprocess", settings, (), right and image, right)

    graph = Graph("ssd", [1, 96, 96, 3], TensorProto.UINT8, seed=13)
    mean = graph.node("ReduceMean", graph.node("Cast", "pixels", to=TensorProto.FLOAT), axes=[1, 2, 3], keepdims=1)
    zero = graph.reshape(graph.node("Mul", mean, graph.constant(np.float32(0))), 1)
    plus = lambda array: graph.node("Add", graph.constant(np.array(array, np.float32)), zero)
    graph.output("detection_boxes", plus([[[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1]]]))
    graph.output("detection_classes", plus([[2, 1]]))
    graph.output("detection_scores", plus([[0.9, 0.3]]))
    graph.output("num_detections", plus([2]))
    right = {"width": 256, "height": 128, "detections": [{"label": "1", "index": 1, "score": 0.9, "box": [51.2, 12.8, 153.6, 64]}]}
    settings = {"layout": "ssd", "dtype": "u8", "count": "num_detections"}
    add(graph.save(), "detect-postprocess", settings, (), image, right)

    graph = Graph("retinanet", [1, 3, 128, 128], seed=14)
    cells = 9 * sum((128 // s) ** 2 for s in (8, 16, 32, 64, 128))
    for output, numbers in (("cls_logits", 5), ("bbox_regression", 4)):
        value = graph.node("Mul", features(graph, 3, 8, numbers), graph.constant(np.float32(0.1)))
        value = graph.node("Expand", graph.reshape(value, 1, 1, numbers), graph.constant(np.array([1, cells, numbers])))
        graph.output(output, value)
    add(graph.save(), "detect-postprocess", {"layout": "retinanet", "scores": "cls_logits"})

    graph = Graph("fastestdet", [1, 3, 96, 96], seed=15)
    value = graph.cells("pixels", 16)
    parts = [graph.node("Sigmoid", graph.mix(value, 3, 1)), graph.node("Tanh", graph.mix(value, 3, 4))]
    graph.output("output", graph.node("Concat", *parts, graph.node("Softmax", graph.mix(value, 3, 4), axis=1), axis=1))
    add(graph.save(), "detect-postprocess", {"layout": "fastestdet", "channels": "bgr"})

    graph = Graph("ultraface", [1, 3, 96, 128], seed=16)
    graph.output("scores", graph.node("Softmax", graph.reshape(features(graph, 3, 8, 400), 1, 200, 2), axis=2))
    boxes = np.tile(np.array([0.1, 0.1, 0.4, 0.4], np.float32), (1, 200, 1))
    zero = graph.node("Mul", graph.reshape(features(graph, 3, 8, 800), 1, 200, 4), graph.constant(np.float32(0)))
    graph.output("boxes", graph.node("Add", zero, graph.constant(boxes)))
    path = graph.save()
    array = nchw(resized(pixels, (128, 96)), [0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
    best = float(run(path, array)[0][0, :, 1].max())
    # All boxes are the same, so the best one suppresses the others.
    box = {"label": "1", "index": 1, "score": best, "box": [25.6, 12.8, 102.4, 51.2]}
    assert best > 0.75
    right = {"width": 256, "height": 128, "detections": [box]}
    settings = {"layout": "decoded", "width": 128, "height": 96, "background_class": 0}
    add(path, "detect-postprocess", settings, (), image, right)
