"""The network of the demo model `digits`, in numpy: its passes forward and backward, and its form in ONNX."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13  # old enough for every runtime the host may use


def init(rng):
    """He-initialised weights; the order is that of the forward pass."""

    def he(*shape):
        fan_in = int(np.prod(shape[1:]))
        return (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)

    def zero(n):
        return np.zeros(n, np.float32)

    return {
        "conv1.weight": he(16, 1, 3, 3), "conv1.bias": zero(16),
        "conv2.weight": he(32, 16, 3, 3), "conv2.bias": zero(32),
        "fc1.weight": he(32, 32 * 4 * 4), "fc1.bias": zero(32),
        "fc2.weight": he(10, 32), "fc2.bias": zero(10),
    }  # fmt: skip


def conv(x, weight, bias):
    """3x3 convolution, padding 1, as one matrix product; also returns its patches."""
    n, c, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * w, c * 9)
    y = patches @ weight.reshape(len(weight), -1).T + bias
    return y.reshape(n, h, w, -1).transpose(0, 3, 1, 2), patches


def conv_back(dy, patches, weight):
    """Gradients of `conv`: with respect to its input, its weight and its bias."""
    n, out, h, w = dy.shape
    dy = dy.transpose(0, 2, 3, 1).reshape(-1, out)
    dweight = (dy.T @ patches).reshape(weight.shape)
    dpatches = (dy @ weight.reshape(out, -1)).reshape(n, h, w, -1, 3, 3)
    dx = np.zeros((n, weight.shape[1], h + 2, w + 2), np.float32)
    for i in range(3):
        for j in range(3):
            dx[:, :, i : i + h, j : j + w] += dpatches[..., i, j].transpose(0, 3, 1, 2)
    return dx[:, :, 1:-1, 1:-1], dweight, dy.sum(0)


def forward(p, x):
    """Logits, and what the backward pass needs."""
    y1, patches1 = conv(x, p["conv1.weight"], p["conv1.bias"])
    a1 = np.maximum(y1, 0)
    y2, patches2 = conv(a1, p["conv2.weight"], p["conv2.bias"])
    a2 = np.maximum(y2, 0)
    n, c, h, w = a2.shape
    # The four members of each 2x2 pooling cell side by side on the last axis.
    cells = a2.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5)
    cells = cells.reshape(n, c, h // 2, w // 2, 4)
    winner = cells.argmax(-1)[..., None]
    flat = np.take_along_axis(cells, winner, -1).reshape(n, -1)
    a3 = np.maximum(flat @ p["fc1.weight"].T + p["fc1.bias"], 0)
    logits = a3 @ p["fc2.weight"].T + p["fc2.bias"]
    return logits, (patches1, a1, patches2, a2, cells.shape, winner, flat, a3)


def gradients(p, x, target):
    """Mean cross-entropy and its gradient with respect to every weight."""
    logits, (patches1, a1, patches2, a2, cells_shape, winner, flat, a3) = forward(p, x)
    n = len(x)
    prob = softmax(logits)
    loss = -np.log(prob[np.arange(n), target] + 1e-12).mean()
    g = {}
    d = prob
    d[np.arange(n), target] -= 1
    d /= n
    g["fc2.weight"], g["fc2.bias"] = d.T @ a3, d.sum(0)
    d = (d @ p["fc2.weight"]) * (a3 > 0)
    g["fc1.weight"], g["fc1.bias"] = d.T @ flat, d.sum(0)
    d = d @ p["fc1.weight"]
    # Through the pooling: only the winner of each cell gets the gradient.
    cells = np.zeros(cells_shape, np.float32)
    np.put_along_axis(cells, winner, d.reshape(winner.shape), -1)
    _, c, h, w, _ = cells_shape
    d = cells.reshape(n, c, h, w, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(a2.shape)
    d, g["conv2.weight"], g["conv2.bias"] = conv_back(d * (a2 > 0), patches2, p["conv2.weight"])
    _, g["conv1.weight"], g["conv1.bias"] = conv_back(d * (a1 > 0), patches1, p["conv1.weight"])
    return loss, g


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def to_onnx(p):
    node = helper.make_node
    three = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        node("Conv", ["image", "conv1.weight", "conv1.bias"], ["conv1"], "conv1", **three),
        node("Relu", ["conv1"], ["relu1"], "relu1"),
        node("Conv", ["relu1", "conv2.weight", "conv2.bias"], ["conv2"], "conv2", **three),
        node("Relu", ["conv2"], ["relu2"], "relu2"),
        node("MaxPool", ["relu2"], ["pool"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["pool"], ["flat"], "flat", axis=1),
        node("Gemm", ["flat", "fc1.weight", "fc1.bias"], ["fc1"], "fc1", transB=1),
        node("Relu", ["fc1"], ["relu3"], "relu3"),
        node("Gemm", ["relu3", "fc2.weight", "fc2.bias"], ["logits"], "fc2", transB=1),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "digits",
        [value("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [value("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(v, k) for k, v in p.items()],
    )
    # IR 7 is the version that came with opset 13; newer ones add nothing here.
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=7,
        producer_name="tests/train_digits.py",
    )
    onnx.checker.check_model(model, full_check=True)
    return model
