"""Writes the architectures of MobileNetV2 and ResNet-50 with seeded weights: `python3 models.py FOLDER [NAME]`.

Only the standard library is needed, so that the files need not travel to the machine with the GPU: ResNet-50 has 102 MB.
Weights are random (a fixed pool of normal numbers, scaled for each layer), so the classes are meaningless. A run takes as
long as with trained weights. The format is https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3.
"""

import array
import random
import sys
from pathlib import Path

# A prime, so that layers of common sizes do not repeat the pool at the same place.
POOL = 65_521
FLOAT, INT64 = 1, 7


def number(value: int) -> bytes:
    """A number in groups of seven bits, the lowest first."""
    out = bytearray()
    value &= (1 << 64) - 1
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(index: int, value: "int | str | bytes") -> bytes:
    """A field of a message: a number, or something with a length."""
    if isinstance(value, int):
        return number(index << 3) + number(value)
    value = value.encode() if isinstance(value, str) else value
    return number(index << 3 | 2) + number(len(value)) + value


def tensor(name: str, shape: list[int], data: bytes) -> bytes:
    return b"".join(field(1, size) for size in shape) + field(2, FLOAT) + field(8, name) + field(9, data)


def attribute(name: str, value: "int | list[int]") -> bytes:
    if isinstance(value, int):
        return field(1, name) + field(3, value) + field(20, 2)
    return field(1, name) + b"".join(field(8, one) for one in value) + field(20, 7)


def value_info(name: str, shape: list) -> bytes:
    sizes = b"".join(field(1, field(2, size) if isinstance(size, str) else field(1, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, sizes)))


class Graph:
    """Nodes and weights of a model, in the order of their creation."""

    def __init__(self, seed: int):
        source = random.Random(seed)
        self.pool = array.array("f", (source.gauss(0, 1) for _ in range(POOL)))
        self.scaled: dict[float, bytes] = {}
        self.at, self.nodes, self.weights = 0, [], []

    def weight(self, *shape: int, fan: int) -> str:
        """Normal numbers for a layer with so many inputs (He et al. 2015), from the next place of the pool on."""
        scale = (2 / fan) ** 0.5
        if scale not in self.scaled:
            self.scaled[scale] = array.array("f", (value * scale for value in self.pool)).tobytes()
        pool, count = self.scaled[scale], 4
        for size in shape:
            count *= size
        start = self.at * 4
        data = (pool[start:] + pool * (count // len(pool) + 1))[:count]
        self.at = (self.at + count // 4) % POOL
        name = f"w{len(self.weights)}"
        self.weights.append(tensor(name, list(shape), data))
        return name

    def constant(self, value: float) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(tensor(name, [], array.array("f", [value]).tobytes()))
        return name

    def node(self, kind: str, inputs: list[str], output: "str | None" = None, **attributes) -> str:
        output = output or f"n{len(self.nodes)}"
        parts = [field(1, name) for name in inputs] + [field(2, output), field(3, f"{kind}_{output}"), field(4, kind)]
        parts += [field(5, attribute(name, value)) for name, value in attributes.items()]
        self.nodes.append(b"".join(parts))
        return output

    def convolution(
        self, x: str, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, group: int = 1, small: int = 1
    ) -> str:
        fan = inputs // group * kernel * kernel * small
        weights = [self.weight(outputs, inputs // group, kernel, kernel, fan=fan), self.weight(outputs, fan=1000)]
        shape = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4, "group": group}
        return self.node("Conv", [x, *weights], **shape)

    def classes(self, x: str, inputs: int) -> None:
        flat = self.node("Flatten", [self.node("GlobalAveragePool", [x])])
        self.node("Gemm", [flat, self.weight(inputs, 1000, fan=inputs), self.weight(1000, fan=1000)], "logits")

    def save(self, path: Path) -> None:
        parts = [field(1, node) for node in self.nodes] + [field(2, path.stem)]
        parts += [field(5, weight) for weight in self.weights]
        parts += [field(11, value_info("image", ["batch", 3, 224, 224])), field(12, value_info("logits", ["batch", 1000]))]
        opset = field(8, field(1, "") + field(2, 17))
        path.write_bytes(field(1, 8) + field(7, b"".join(parts)) + opset)


def mobilenet(path: Path) -> None:
    """MobileNetV2 1.0 (https://arxiv.org/abs/1801.04381, table 2), batch norms folded into the convolutions."""
    graph = Graph(3)
    zero, six = graph.constant(0), graph.constant(6)

    def layer(x: str, *sizes: int) -> str:
        return graph.node("Clip", [graph.convolution(x, *sizes), zero, six])

    x, channels = layer("image", 3, 32, 3, 2), 32
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
                x = layer(x, channels, wide)
            x = graph.convolution(layer(x, wide, wide, 3, stride, wide), wide, outputs)
            if stride == 1 and channels == outputs:
                x = graph.node("Add", [x, before])
            channels = outputs
    graph.classes(layer(x, 320, 1280), 1280)
    graph.save(path)


def resnet(path: Path) -> None:
    """ResNet-50 (https://arxiv.org/abs/1512.03385, table 1), with the stride in the 3x3 convolution."""
    graph = Graph(4)

    def layer(x: str, *sizes: int) -> str:
        return graph.node("Relu", [graph.convolution(x, *sizes)])

    x, channels = layer("image", 3, 64, 7, 2), 64
    x = graph.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for width, repeats, first_stride in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]:
        for repeat in range(repeats):
            stride, before = (first_stride if repeat == 0 else 1), x
            x = layer(layer(x, channels, width), width, width, 3, stride)
            # Small, so that sums of sixteen blocks do not grow without bound.
            x = graph.convolution(x, width, width * 4, small=16)
            if repeat == 0:
                before = graph.convolution(before, channels, width * 4, 1, stride)
            channels = width * 4
            x = graph.node("Relu", [graph.node("Add", [x, before])])
    graph.classes(x, 2048)
    graph.save(path)


MODELS = {"mobilenet": mobilenet, "resnet50": resnet}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or MODELS:
        MODELS[name](folder / f"{name}.onnx")


if __name__ == "__main__":
    main()
