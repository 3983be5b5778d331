"""Models with random weights, images for them, and the list of both."""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from PIL import Image

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


def resized(image, size):
    """Pillow's BILINEAR of each channel as 32-bit floating point numbers. Of bytes, Pillow rounds the result to whole levels,
    twice; `image-preprocess` does not round what a model takes as floating point numbers."""
    return np.stack([np.asarray(channel.convert("F").resize(size, Image.BILINEAR)) for channel in image.split()], 2)


def crop(image, shorter, side):
    """torchvision's Resize and CenterCrop, without rounding."""
    width, height = image.size
    size = (shorter, int(shorter * height / width)) if width <= height else (int(shorter * width / height), shorter)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return resized(image, size)[top : top + side, left : left + side]


def nchw(values, mean, deviation):
    values = (values / 255 - mean) / deviation
    return values.astype(np.float32).transpose(2, 0, 1)[None]


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
