"""Creates the models and images of the benchmark from fixed seeds: `python models.py FOLDER`.

The packages in peers/requirements.txt must be installed.

| file | content |
| --- | --- |
| `tiny.onnx` | 3x32x32 -> 10 classes, one matrix, so nearly all of a request's cost is the server's |
| `mobilenet.onnx` | the architecture of MobileNetV2, 3x224x224 -> 1,000 classes, 14 MB |
| `big.onnx` | two matrices, 3x32x32 -> 10 classes, 101 MB: each run reads all weights, so batches are faster |
| `tiny.jpg`, `small.jpg`, `large.jpg` | 64x64, 640x480, 4000x3000, quality 85 |

Weights are random, so the classes are meaningless. A run takes as long as with trained weights.
"""

import sys
from pathlib import Path

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image


class Graph:
    """Nodes and weights of a model, in the order of their creation."""

    def __init__(self, seed: int):
        self.random = numpy.random.default_rng(seed)
        self.nodes, self.weights = [], []

    def weight(self, *shape: int, fan: int) -> str:
        name = f"w{len(self.weights)}"
        values = self.random.standard_normal(shape, numpy.float32) * numpy.float32((2 / fan) ** 0.5)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def constant(self, value: float) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(numpy.float32(value), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str | None = None, **attributes) -> str:
        output = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def dense(self, x: str, inputs: int, outputs: int, output: str | None = None) -> str:
        weights = [self.weight(inputs, outputs, fan=inputs), self.weight(outputs, fan=outputs)]
        return self.node("Gemm", [x, *weights], output)

    def save(self, path: Path, side: int, classes: int) -> None:
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, side, side])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])
        graph = helper.make_graph(self.nodes, path.stem, [image], [logits], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString())


def tiny(path: Path) -> None:
    graph = Graph(1)
    flat = graph.node("Flatten", ["image"])
    graph.dense(flat, 3 * 32 * 32, 10, "logits")
    graph.save(path, 32, 10)


def big(path: Path) -> None:
    graph = Graph(2)
    x = graph.node("Flatten", ["image"])
    x = graph.node("Relu", [graph.dense(x, 3072, 4096)])
    x = graph.node("Relu", [graph.dense(x, 4096, 3072)])
    graph.dense(x, 3072, 10, "logits")
    graph.save(path, 32, 10)


def mobilenet(path: Path) -> None:
    """MobileNetV2 1.0 (https://arxiv.org/abs/1801.04381, table 2), batch norms folded into the convolutions."""
    graph = Graph(3)
    zero, six = graph.constant(0), graph.constant(6)

    def convolution(x, inputs, outputs, kernel=1, stride=1, group=1, relu=True):
        fan = inputs // group * kernel * kernel
        weights = [graph.weight(outputs, inputs // group, kernel, kernel, fan=fan), graph.weight(outputs, fan=1000)]
        pad = kernel // 2
        x = graph.node(
            "Conv", [x, *weights], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, group=group
        )
        return graph.node("Clip", [x, zero, six]) if relu else x

    x, channels = convolution("image", 3, 32, 3, 2), 32
    for expansion, outputs, repeats, first_stride in [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]:
        for repeat in range(repeats):
            stride, before, wide = (first_stride if repeat == 0 else 1), x, channels * expansion
            if expansion > 1:
                x = convolution(x, channels, wide)
            x = convolution(x, wide, wide, 3, stride, wide)
            x = convolution(x, wide, outputs, relu=False)
            if stride == 1 and channels == outputs:
                x = graph.node("Add", [x, before])
            channels = outputs
    x = convolution(x, 320, 1280)
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x])])
    graph.dense(x, 1280, 1000, "logits")
    graph.save(path, 224, 1000)


def image(path: Path, width: int, height: int, seed: int) -> None:
    """Writes a synthetic photo: octaves of noise for light, hard edges for objects, and grain for the sensor."""
    random = numpy.random.default_rng(seed)
    canvas = numpy.zeros((height, width, 3), numpy.float32)
    cells, weight = 4, 64.0
    while cells <= max(width, height) // 4:
        noise = random.integers(0, 256, (max(2, cells * height // width), cells, 3), numpy.uint8)
        layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        canvas += (numpy.asarray(layer, numpy.float32) - 128) * (weight / 128)
        cells, weight = cells * 2, weight * 0.6
    canvas += 128
    for _ in range(24):
        x, y = int(random.integers(width)), int(random.integers(height))
        w, h = int(random.integers(2, max(3, width // 4))), int(random.integers(2, max(3, height // 4)))
        canvas[y : y + h, x : x + w] += random.uniform(-60, 60, 3).astype(numpy.float32)
    canvas += random.standard_normal(canvas.shape, numpy.float32) * 7
    Image.fromarray(canvas.clip(0, 255).astype(numpy.uint8)).save(path, quality=85)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    tiny(folder / "tiny.onnx")
    mobilenet(folder / "mobilenet.onnx")
    big(folder / "big.onnx")
    image(folder / "tiny.jpg", 64, 64, 11)
    image(folder / "small.jpg", 640, 480, 12)
    image(folder / "large.jpg", 4000, 3000, 13)


if __name__ == "__main__":
    main()
