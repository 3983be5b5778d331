"""Generates small models of the families that `plimsoll init` knows, with random weights, an image, and for some of them the
right answer.

    python tests/conformance/init_models OUT

OUT/index.json is a list: `model` (the file), `arguments` of `plimsoll init`, the `plugin` and the `settings` that it must
write, `image` and `expected` (the reply; null if it is not compared). The right answers are those of Pillow for the input,
onnxruntime for the model, and numpy for the outputs. `tests/it/init.rs` compares.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from PIL import Image

IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))
OUT = Path(sys.argv[1])


class Graph:
    """A model under construction. Its features are means over large cells, so that one step in a pixel changes little."""

    def __init__(self, name, shape, dtype=TensorProto.FLOAT, seed=0):
        self.name, self.nodes, self.constants, self.outputs = name, [], [], []
        self.random = np.random.default_rng([7, seed])
        self.input = helper.make_tensor_value_info("pixels", dtype, shape)
        self.count, self.metadata = 0, {}

    def node(self, operator, *inputs, **attributes):
        self.count += 1
        output = f"v{self.count}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, array):
        self.count += 1
        self.constants.append(numpy_helper.from_array(np.asarray(array), f"c{self.count}"))
        return f"c{self.count}"

    def cells(self, value, size):
        return self.node("AveragePool", value, kernel_shape=[size, size], strides=[size, size])

    def mix(self, value, channels, numbers, scale=3.0):
        """A convolution of 1x1 with random weights."""
        weights = self.random.normal(0, scale, (numbers, channels, 1, 1)).astype(np.float32)
        bias = self.random.normal(0, 1, numbers).astype(np.float32)
        return self.node("Conv", value, self.constant(weights), self.constant(bias))

    def reshape(self, value, *shape):
        return self.node("Reshape", value, self.constant(np.array(shape, np.int64)))

    def output(self, name, value, shape=None, dtype=TensorProto.FLOAT):
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def save(self, external=False):
        graph = helper.make_graph(self.nodes, self.name, [self.input], self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, self.metadata)
        path = OUT / f"{self.name}.onnx"
        options = {"save_as_external_data": True, "location": f"{self.name}.data", "size_threshold": 64} if external else {}
        onnx.save(model, path, **options)
        # The models of detectors declare no shapes of outputs. onnxruntime checks all models.
        InferenceSession(path)
        return path


def softmax(values):
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def photo(width, height, seed):
    """A smooth image."""
    small = np.random.default_rng([3, seed]).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    path = OUT / f"photo-{width}x{height}.png"
    Image.fromarray(small).resize((width, height), Image.BICUBIC).save(path)
    return path


def run(path, array):
    return InferenceSession(path).run(None, {"pixels": array})


def crop(image, shorter, side):
    """torchvision's Resize and CenterCrop."""
    width, height = image.size
    size = (shorter, int(shorter * height / width)) if width <= height else (int(shorter * width / height), shorter)
    image = image.resize(size, Image.BILINEAR)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return image.crop((left, top, left + side, top + side))


def nchw(image, mean, deviation):
    values = (np.asarray(image, np.float32) / 255 - mean) / deviation
    return values.astype(np.float32).transpose(2, 0, 1)[None]


def predictions(scores, labels, top=5):
    order = np.argsort(-scores, kind="stable")[:top]
    return {"predictions": [{"label": labels[i], "index": int(i), "probability": float(scores[i])} for i in order]}


INDEX = []


def add(path, plugin, settings, arguments=(), image=None, expected=None):
    INDEX.append({
        "model": path.name, "arguments": list(arguments), "plugin": plugin, "settings": settings,
        "image": image and image.name, "expected": expected,
    })


def features(graph, channels, size, numbers, nhwc=False):
    """[1, numbers] from an image."""
    value = graph.input.name
    if nhwc:
        value = graph.node("Transpose", value, perm=[0, 3, 1, 2])
    value = graph.node("GlobalAveragePool", graph.node("Tanh", graph.mix(graph.cells(value, size), channels, numbers)))
    return graph.reshape(value, -1, numbers)


def classifiers():
    image = photo(320, 240, 1)
    pixels = Image.open(image)
    labels = [f"class {index}" for index in range(10)]
    (OUT / "labels.txt").write_text("\n".join(labels) + "\n")
    named = ["--labels", str(OUT / "labels.txt")]

    graph = Graph("classifier", [1, 3, 224, 224], seed=1)
    graph.output("logits", features(graph, 3, 16, 10), [1, 10])
    path = graph.save()
    right = softmax(run(path, nchw(crop(pixels, 256, 224), *IMAGENET))[0][0].astype(np.float64))
    settings = {"scores": "softmax", "width": 224, "resize": "crop", "resize_shorter": 256, "labels": "labels.txt"}
    add(path, "classify-postprocess", settings, named, image, predictions(right, labels))

    graph = Graph("keras", ["N", 96, 96, 3], seed=2)
    graph.output("probabilities", graph.node("Softmax", features(graph, 3, 8, 10, nhwc=True)), ["N", 10])
    path = graph.save()
    resized = np.asarray(pixels.resize((96, 96), Image.BILINEAR), np.float32)
    right = run(path, (resized / 127.5 - 1)[None])[0][0]
    add(path, "classify-postprocess", {"scores": "ready", "layout": "nhwc"}, named, image, predictions(right, labels))

    graph = Graph("gray", ["N", 1, 28, 28], seed=3)
    graph.output("scores", features(graph, 1, 7, 10), ["N", 10])
    add(graph.save(), "classify-postprocess", {"channels": "gray", "width": 28})

    graph = Graph("bytes", [1, 64, 64, 3], TensorProto.UINT8, seed=4)
    value = graph.node("Cast", "pixels", to=TensorProto.FLOAT)
    value = graph.node("Transpose", value, perm=[0, 3, 1, 2])
    value = graph.reshape(graph.node("GlobalAveragePool", graph.mix(graph.cells(value, 8), 3, 10, 0.01)), 1, 10)
    graph.output("scores", value, [1, 10])
    path = graph.save()
    right = softmax(run(path, np.asarray(pixels.resize((64, 64), Image.BILINEAR))[None])[0][0].astype(np.float64))
    settings = {"dtype": "u8", "layout": "nhwc"}
    add(path, "classify-postprocess", settings, named, image, predictions(right, labels))

    graph = Graph("any-size", ["N", 3, "H", "W"], seed=5)
    value = graph.node("GlobalAveragePool", graph.mix("pixels", 3, 10))
    graph.output("scores", graph.node("Flatten", value), None)
    add(graph.save(), "classify-postprocess", {"width": 224, "height": 224})

    graph = Graph("weights-outside", [1, 3, 64, 64], seed=6)
    graph.output("scores", features(graph, 3, 8, 10), [1, 10])
    add(graph.save(external=True), "classify-postprocess", {"width": 64})


def embeddings():
    image = photo(300, 300, 2)
    graph = Graph("embedder", [1, 3, 112, 112], seed=7)
    graph.output("embedding", features(graph, 3, 14, 64), [1, 64])
    path = graph.save()
    values = run(path, nchw(crop(Image.open(image), 128, 112), *IMAGENET))[0][0].astype(np.float64)
    right = {"dimensions": 64, "embedding": list(values / np.linalg.norm(values))}
    add(path, "embed-postprocess", {"resize": "crop"}, (), image, right)


def grid_boxes(graph, value, size, numbers, side):
    """The numbers of each cell as [1, numbers, cells]; the first four are a box in pixels, the others probabilities."""
    value = graph.node("Sigmoid", graph.mix(graph.cells(value, size), 3, numbers))
    scale = np.array([side, side, side / 4, side / 4] + [1] * (numbers - 4), np.float32).reshape(1, numbers, 1, 1)
    return graph.reshape(graph.node("Mul", value, graph.constant(scale)), 1, numbers, (side // size) ** 2)


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
    return {"width": size[0], "height": size[1], "detections": found}


def letterboxed(image, side, pad):
    """An image of twice the width and half the height of the input: no rounding is needed."""
    result = Image.new("RGB", (side, side), (pad, pad, pad))
    result.paste(image.resize((side, side // 2), Image.BILINEAR), (0, side // 4))
    return np.asarray(result, np.float32)


def detectors():
    image = photo(256, 128, 3)
    pixels = Image.open(image)
    names = ["cat", "dog's tail", "car"]

    graph = Graph("yolo11", [1, 3, 128, 128], seed=8)
    graph.output("output0", graph.node("Concat", *[grid_boxes(graph, "pixels", s, 7, 128) for s in (8, 16, 32)], axis=2))
    graph.metadata = {"names": str(dict(enumerate(names))), "task": "detect", "imgsz": "[128, 128]", "author": "Ultralytics"}
    path = graph.save()
    output = run(path, (letterboxed(pixels, 128, 114) / 255).transpose(2, 0, 1)[None])[0][0].T
    right = detections(output[:, :4], output[:, 4:], names, 0.25, 0.7, (256, 128), 0.5, (0, 32))
    settings = {"layout": "yolov8", "resize": "letterbox", "pad": 114, "labels": "labels.txt"}
    add(path, "detect-postprocess", settings, (), image, right)

    graph = Graph("yolo11-pose", [1, 3, 128, 128], seed=20)
    graph.output("output0", graph.node("Concat", *[grid_boxes(graph, "pixels", s, 5 + 4 * 3, 128) for s in (8, 16, 32)], axis=2))
    graph.metadata = {"names": "{0: 'person'}", "task": "pose", "kpt_shape": "[4, 3]", "author": "Ultralytics"}
    settings = {"layout": "yolo", "dimensions": 3, "classes": 1, "resize": "letterbox", "labels": "labels.txt"}
    add(graph.save(), "pose-postprocess", settings)

    graph = Graph("yolov5", [1, 3, 96, 96], seed=9)
    boxes = [grid_boxes(graph, "pixels", s, 8, 96) for s in (8, 8, 8, 16, 16, 16, 32, 32, 32)]
    graph.output("output", graph.node("Transpose", graph.node("Concat", *boxes, axis=2), perm=[0, 2, 1]))
    add(graph.save(), "detect-postprocess", {"layout": "yolov5"})

    graph = Graph("end-to-end", [1, 3, 96, 96], seed=10)
    corners = graph.node("Mul", features(graph, 3, 8, 50 * 2), graph.constant(np.float32(0)))
    ones = np.tile(np.array([[8, 8, 40, 40, 0.5, 1]], np.float32), (50, 1))
    value = graph.node("Add", graph.reshape(corners, 1, 50, 2), graph.constant(ones[:, :2]))
    value = graph.node("Concat", value, graph.constant(ones[None, :, 2:]), axis=2)
    graph.output("output0", value)
    add(graph.save(), "detect-postprocess", {"layout": "end-to-end"})

    graph = Graph("yolox", [1, 3, 96, 96], seed=11)
    boxes = [graph.reshape(graph.node("Sigmoid", graph.mix(graph.cells("pixels", s), 3, 8, 0.01)), 1, 8, (96 // s) ** 2) for s in (8, 16, 32)]
    graph.output("output", graph.node("Transpose", graph.node("Concat", *boxes, axis=2), perm=[0, 2, 1]))
    add(graph.save(), "detect-postprocess", {"layout": "yolox", "channels": "bgr", "scale": 1.0})

    for name, queries, classes, layout in (("detr", 100, 6, "detr"), ("rt-detr", 300, 5, "rt-detr")):
        graph = Graph(name, [1, 3, 96, 96], seed=12)
        graph.output("logits", graph.reshape(features(graph, 3, 8, queries * classes), 1, queries, classes))
        graph.output("pred_boxes", graph.node("Sigmoid", graph.reshape(features(graph, 3, 8, queries * 4), 1, queries, 4)))
        add(graph.save(), "detect-postprocess", {"layout": layout, "scores": "logits", "boxes": "pred_boxes"})

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
    add(graph.save(), "detect-postprocess", {"layout": "decoded", "width": 128, "height": 96, "background_class": 0})


def others():
    image = photo(128, 96, 4)
    graph = Graph("segmenter", [1, 3, 96, 128], seed=17)
    graph.output("out", graph.node("Resize", graph.mix(graph.cells("pixels", 8), 3, 5), "", graph.constant(np.array([1, 1, 2, 2], np.float32)), mode="nearest"))
    add(graph.save(), "segment-postprocess", {"layout": "nchw"}, (), image)

    graph = Graph("image-to-image", [1, 3, 64, 64], seed=18)
    graph.output("restored", graph.mix("pixels", 3, 3))
    add(graph.save(), "tensors-postprocess", {})

    graph = Graph("recogniser", [1, 3, 32, 96], seed=19)
    (OUT / "dictionary.txt").write_text("\n".join("abcdef") + "\n")
    value = graph.node("AveragePool", "pixels", kernel_shape=[32, 8], strides=[32, 8])
    value = graph.node("Transpose", graph.reshape(graph.mix(value, 3, 7), 1, 7, 12), perm=[0, 2, 1])
    graph.output("text", graph.node("Softmax", value, axis=2))
    add(graph.save(), "text-postprocess", {"dictionary": "labels.txt", "scores": "ready"}, ["--labels", str(OUT / "dictionary.txt")])


OUT.mkdir(exist_ok=True)
classifiers()
embeddings()
detectors()
others()
(OUT / "index.json").write_text(json.dumps(INDEX))
print(f"{len(INDEX)} models")
