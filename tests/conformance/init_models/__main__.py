"""Generates small models of the families that `plimsoll init` knows, with random weights, an image, and for some of them the
right answer.

    python tests/conformance/init_models OUT

OUT/index.json is a list: `model` (the file), `arguments` of `plimsoll init`, the `plugin` and the `settings` that it must
write, `image` and `expected` (the reply; null if it is not compared). The right answers are those of Pillow (without its
rounding to whole levels, except for a model that takes bytes) for the input, onnxruntime for the model, and numpy for the outputs. `tests/it/init.rs` compares.
"""

import json

import numpy as np
from detectors import detectors
from graph import INDEX, OUT, Graph, add, crop, features, nchw, photo, resized, run, softmax
from onnx import TensorProto
from PIL import Image

IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))


def predictions(scores, labels, top=5):
    order = np.argsort(-scores, kind="stable")[:top]
    return {"predictions": [{"label": labels[i], "index": int(i), "probability": float(scores[i])} for i in order]}


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
    right = run(path, (resized(pixels, (96, 96)) / 127.5 - 1)[None])[0][0]
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
