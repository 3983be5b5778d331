"""Parts of networks as exporters write them: convolutions, feature pyramids, detection heads, quantised layers."""

import numpy as np

from builder import graph


class Layers:
    """Adds layers to a graph and follows the shape (batch, channels, height, width) of the current tensor."""

    def __init__(self, b, channels=None, size=None):
        self.b = b
        self.shape = [b.integer(1, 2), channels or b.integer(1, 4), *(size or b.integers(4, 8, 2))]
        self.x = b.input(b.values(self.shape, low=-2, high=2))

    def weights(self, *shape):
        """Weights of the size that keeps activations near 1."""
        fan_in = max(1, int(np.prod(shape[1:])))
        return (self.b.random.normal(size=shape) / np.sqrt(fan_in)).astype("float32")

    def conv(self, filters, kernel=3, stride=1, group=1, bias=None):
        b = self.b
        inputs = [self.x, b.constant(self.weights(filters, self.shape[1] // group, kernel, kernel))]
        if b.chance(0.5) if bias is None else bias:
            inputs.append(b.constant(self.weights(filters)))
        pad = kernel // 2
        attributes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4, "dilations": [1, 1]}
        self.x = b.node("Conv", inputs, group=group, **attributes)
        space = [(n + 2 * pad - kernel) // stride + 1 for n in self.shape[2:]]
        self.shape = [self.shape[0], filters, *space]

    def batch_normalization(self):
        b, channels = self.b, self.shape[1]
        parts = [b.values([channels], low=0.5, high=2), b.values([channels], low=-1, high=1),
                 b.values([channels], low=-1, high=1), b.values([channels], low=0.5, high=3)]
        self.x = b.node("BatchNormalization", [self.x, *map(b.constant, parts)],
                        **b.some(0.5, epsilon=0.001, momentum=0.9))

    def activation(self):
        b, x = self.b, self.x
        kind = b.pick("Relu", "Relu", "Relu6", "SiLU", "HardSwish", "LeakyRelu", "none", "PRelu")
        if kind in ("Relu", "LeakyRelu"):
            self.x = b.node(kind, [x])
        elif kind == "Relu6":
            self.x = b.node("Clip", [x, b.constant(np.float32(0)), b.constant(np.float32(6))]) if b.opset >= 11 else \
                b.node("Clip", [x], min=0.0, max=6.0)
        elif kind == "SiLU":
            gate = b.node("Sigmoid", [x])
            self.x = b.node("Mul", [x, gate] if b.chance(0.7) else [gate, x])
        elif kind == "HardSwish":
            if b.opset >= 14 and b.chance(0.3):
                self.x = b.node("HardSwish", [x])
            else:
                self.x = b.node("Mul", [x, b.node("HardSigmoid", [x], **b.some(0.7, alpha=1 / 6, beta=0.5))])
        elif kind == "PRelu":
            self.x = b.node("PRelu", [x, b.constant(b.values([self.shape[1], 1, 1], low=-1, high=1))])

    def block(self, filters, kernel=3, stride=1, group=1):
        self.conv(filters, kernel, stride, group)
        if self.b.chance(0.7):
            self.batch_normalization()
        self.activation()

    def squeeze_and_excite(self):
        b, saved, shape = self.b, self.x, list(self.shape)
        if b.chance(0.5):
            self.x = b.node("GlobalAveragePool", [self.x])
        else:
            axes = [2, 3] if b.chance(0.5) else [-2, -1] if b.opset >= 11 else [2, 3]
            self.x = reduce(b, "ReduceMean", self.x, axes, keepdims=1)
        self.shape[2:] = [1, 1]
        self.conv(max(1, shape[1] // 2), 1)
        self.x = b.node("Relu", [self.x])
        self.conv(shape[1], 1)
        self.x = b.node(b.pick("Sigmoid", "HardSigmoid"), [self.x])
        self.x, self.shape = b.node("Mul", [saved, self.x]), shape

    def pool(self):
        b = self.b
        name = b.pick("MaxPool", "AveragePool")
        self.x = b.node(name, [self.x], kernel_shape=[2, 2], strides=[2, 2])
        self.shape[2:] = [n // 2 for n in self.shape[2:]]

    def classifier(self):
        b, (batch, channels) = self.b, self.shape[:2]
        self.x = b.node("GlobalAveragePool", [self.x])
        kind = b.pick("flatten", "reshape", "squeeze")
        if kind == "flatten":
            self.x = b.node("Flatten", [self.x], **b.some(axis=1))
        elif kind == "reshape":
            target = b.pick([0, -1], [-1, channels], [batch, channels])
            self.x = b.node("Reshape", [self.x, b.constant(np.array(target))])
        else:
            self.x = b.node("Squeeze", [self.x, b.constant(np.array([2, 3]))]) if b.opset >= 13 else \
                b.node("Squeeze", [self.x], axes=[2, 3])
        classes = b.integer(2, 5)
        if b.chance(0.6):
            self.x = b.node("Gemm", [self.x, b.constant(self.weights(classes, channels)),
                                     b.constant(self.weights(classes))], transB=1, **b.some(0.5, alpha=1.0, beta=1.0))
        else:
            self.x = b.node("MatMul", [self.x, b.constant(self.weights(channels, classes))])
            self.x = b.node("Add", [self.x, b.constant(self.weights(classes))])
        if b.chance(0.5):
            self.x = b.node("Softmax", [self.x], **b.some(0.5, axis=1))


def reduce(b, name, x, axes, **attributes):
    """A Reduce node whose axes are an attribute or an input, as the opset demands."""
    if b.opset >= (13 if name == "ReduceSum" else 18):
        return b.node(name, [x, b.constant(np.array(axes))], **attributes)
    return b.node(name, [x], axes=list(axes), **attributes)


@graph("graph_conv_net", weight=14)
def conv_net(b):
    b.is_conditioned = True
    net = Layers(b)
    for _ in range(b.integer(1, 3)):
        kind = b.pick("plain", "residual", "depthwise", "excite", "pool")
        if kind == "plain":
            net.block(b.integer(1, 4), b.pick(1, 3), b.integer(1, 2))
        elif kind == "residual":
            saved = net.x
            channels = net.shape[1]
            net.block(channels)
            net.conv(channels)
            net.x = b.node("Add", [net.x, saved] if b.chance(0.5) else [saved, net.x])
            net.activation()
        elif kind == "depthwise":
            net.block(net.shape[1], 3, 1, net.shape[1])
            net.block(b.integer(1, 4), 1)
        elif kind == "excite":
            net.squeeze_and_excite()
        elif min(net.shape[2:]) >= 2:
            net.pool()
        if b.chance(0.15):
            b.output(net.x)
    if b.chance(0.6):
        net.classifier()
    else:
        net.conv(b.integer(1, 3), 1)
    b.output(net.x)


@graph("graph_feature_pyramid", weight=5, since=10)
def feature_pyramid(b):
    b.is_conditioned = True
    net = Layers(b, size=b.pick([4, 4], [6, 4], [8, 6]))
    fine, fine_shape = net.x, list(net.shape)
    net.block(b.integer(1, 3), 3, 2)
    coarse_channels = net.shape[1]
    if b.opset == 10:
        up = b.node("Resize", [net.x, b.constant(np.array([1, 1, 2, 2], "float32"))], mode="nearest")
    else:
        nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        linear = {"mode": "linear", "coordinate_transformation_mode": b.pick("half_pixel", "pytorch_half_pixel",
                                                                              "align_corners")}
        attributes = nearest if b.chance(0.6) else linear
        roi = "" if b.opset >= 13 else b.constant(np.zeros([0], "float32"))
        if b.chance(0.5):
            up = b.node("Resize", [net.x, roi, b.constant(np.array([1, 1, 2, 2], "float32"))], **attributes)
        else:
            # The size is computed from the shape of the finer map, as PyTorch exports it.
            shape = b.node("Shape", [fine])
            zero, two, four = [b.constant(np.array([v])) for v in (0, 2, 4)]
            space = b.node("Slice", [shape, two, four, zero])
            first = b.node("Slice", [b.node("Shape", [net.x]), zero, two])
            sizes = b.node("Concat", [first, space], axis=0)
            empty = "" if b.opset >= 13 else b.constant(np.zeros([0], "float32"))
            up = b.node("Resize", [net.x, roi, empty, sizes], **attributes)
    net.x = b.node("Concat", [up, fine], axis=b.pick(1, -3) if b.opset >= 11 else 1)
    net.shape = [fine_shape[0], coarse_channels + fine_shape[1], *fine_shape[2:]]
    net.block(b.integer(1, 3))
    b.output(net.x)


@graph("graph_detection", weight=4, since=11)
def detection_head(b):
    b.is_conditioned = True
    net = Layers(b, size=[4, 4])
    classes, batch = b.integer(1, 3), net.shape[0]
    net.conv(4 + classes, 1, b.integer(1, 2))
    count = net.shape[2] * net.shape[3]
    rows = b.node("Reshape", [net.x, b.constant(np.array(b.pick([batch, 4 + classes, -1], [0, 0, -1])))])
    rows = b.node("Transpose", [rows], perm=[0, 2, 1])
    if b.chance(0.5):
        sizes = [b.constant(np.array([4, classes]))] if b.opset >= 13 else []
        attributes = {} if sizes else {"split": [4, classes]}
        boxes, scores = b.node("Split", [rows, *sizes], 2, axis=b.pick(2, -1), **attributes)
    else:
        axis = b.constant(np.array([2]))
        boxes = b.node("Slice", [rows, b.constant(np.array([0])), b.constant(np.array([4])), axis])
        scores = b.node("Slice", [rows, b.constant(np.array([4])), b.constant(np.array([2**63 - 1])), axis])
    boxes = b.node("Mul", [b.node("Sigmoid", [boxes]), b.constant(np.float32(8))])
    scores = b.node("Sigmoid", [b.node("Transpose", [scores], perm=[0, 2, 1])])
    limits = [b.constant(np.array([b.integer(1, count)])), b.constant(np.array([0.45], "float32")),
              b.constant(np.array([0.2], "float32"))]
    selected = b.node("NonMaxSuppression", [boxes, scores, *limits], center_point_box=b.integer(0, 1))
    if b.chance(0.5):
        positions = b.node("Gather", [selected, b.constant(np.array([0, 2]))], axis=1)
        b.output(b.node("GatherND", [boxes, positions]))
    b.output(selected)


@graph("graph_qdq", weight=8, since=10)
def quantize_dequantize(b):
    """Convolutions or matrix products between QuantizeLinear and DequantizeLinear."""
    b.is_conditioned = True
    kind = b.pick("uint8", "int8")
    zero = b.integer(100, 140) if kind == "uint8" else b.integer(-5, 5)

    def fake_quantize(x, scale):
        parameters = [b.constant(np.float32(scale)), b.constant(np.array(zero, kind))]
        return b.node("DequantizeLinear", [b.node("QuantizeLinear", [x, *parameters]), *parameters])

    def dequantized_weights(shape):
        weights = b.values(shape, "int8", -100, 100)
        if b.opset >= 13 and b.chance(0.5):
            scale = b.random.integers(1, 9, shape[0]) / np.float32(777)
            parts = [b.constant(scale.astype("float32")), b.constant(np.zeros(shape[0], "int8"))]
            return b.node("DequantizeLinear", [b.constant(weights), *parts], axis=0)
        return b.node("DequantizeLinear", [b.constant(weights), b.constant(np.float32(0.0037))])

    if b.chance(0.5):
        net = Layers(b, size=b.integers(3, 5, 2))
        x, channels = net.x, net.shape[1]
        for _ in range(b.integer(1, 2)):
            filters = b.integer(1, 3)
            inputs = [fake_quantize(x, 0.0173), dequantized_weights([filters, channels, 3, 3])]
            if b.chance(0.5):
                inputs.append(b.node("DequantizeLinear", [b.constant(b.values([filters], "int32", -500, 500)),
                                                          b.constant(np.float32(0.0011))]))
            x = b.node("Conv", inputs, pads=[1, 1, 1, 1])
            channels = filters
            if b.chance(0.5):
                x = b.node("Relu", [x])
    else:
        width, depth = b.integer(2, 5), b.integer(2, 5)
        x = b.input(b.values([b.integer(1, 4), width]))
        weights = dequantized_weights([depth, width])
        x = fake_quantize(x, 0.0173)
        if b.chance(0.5):
            x = b.node("Gemm", [x, weights, b.constant(b.values([depth]))], transB=1)
        else:
            x = b.node("MatMul", [x, b.node("Transpose", [weights], perm=[1, 0])])
    b.output(fake_quantize(x, 0.0391))


@graph("graph_dynamic_quantization", weight=4, since=11)
def dynamic_quantization(b):
    """MatMulInteger or ConvInteger of inputs that are quantised at run time, as onnxruntime's quantiser writes it."""
    b.is_conditioned = True
    is_conv = b.chance(0.4)
    shape = [1, 2, 4, 4] if is_conv else b.pick([3, 4], [2, 3, 4])
    x = b.input(b.random.normal(size=shape).astype("float32"))
    quantized, scale, zero = b.node("DynamicQuantizeLinear", [x], 3)
    kind = b.pick("int8", "uint8")
    # Within 60 of the middle, so that pairs of products fit 16 bits: processors without VNNI saturate there, and for
    # int8 so does onnxruntime.
    low, high = (-60, 60) if kind == "int8" else (0, 255) if b.chance(0.2) else (68, 188)
    weights = b.constant(b.values([3, 2, 3, 3] if is_conv else [4, 3], kind, low, high))
    weight_zero = b.constant(np.array(0 if kind == "int8" else 130, kind))
    total = b.node("ConvInteger" if is_conv else "MatMulInteger", [quantized, weights, zero, weight_zero])
    total = b.node("Cast", [total], to=1)
    weight_scale = b.pick(0.01, [0.01]) if is_conv else b.pick(0.01, [0.01], [0.01, 0.02, 0.03])
    weight_scale = b.constant(np.array(weight_scale, "float32"))
    both = b.node("Mul", [scale, weight_scale])
    result = b.node("Mul", [total, both])
    if b.chance(0.6) and not is_conv:
        result = b.node("Add", [result, b.constant(b.values([3]))])
    b.output(result)


@graph("graph_recurrent", weight=3)
def recurrent_net(b):
    """Transpose, LSTM or GRU, Squeeze or Reshape, last step, Gemm: as PyTorch exports batch_first layers."""
    b.is_conditioned = True
    batch, length, width, hidden = b.integer(1, 3), b.integer(1, 4), b.integer(1, 3), b.integer(1, 3)
    name, gates = b.pick(("LSTM", 4), ("GRU", 3))
    directions = b.integer(1, 2)
    x = b.node("Transpose", [b.input(b.values([batch, length, width]))], perm=[1, 0, 2])
    weights = [b.constant((b.values(s) / 4).astype("float32")) for s in (
        [directions, gates * hidden, width], [directions, gates * hidden, hidden], [directions, 2 * gates * hidden])]
    initial = b.constant(np.zeros([directions, batch, hidden], "float32"))
    inputs = [x, *weights, "", initial] + ([initial] if name == "LSTM" else [])
    attributes = {"linear_before_reset": 1} if name == "GRU" else {}
    outputs = b.node(name, inputs, 3 if name == "LSTM" else 2, hidden_size=hidden,
                     direction="bidirectional" if directions == 2 else "forward", **attributes)
    y = b.node("Transpose", [outputs[0]], perm=[0, 2, 1, 3])
    y = b.node("Reshape", [y, b.constant(np.array([0, 0, -1]))])
    y = b.node("Transpose", [y], perm=[1, 0, 2])
    last = b.node("Gather", [y, b.constant(np.array(-1 if b.opset >= 11 else length - 1))], axis=1)
    weights = [b.constant(b.values([directions * hidden, 2])), b.constant(b.values([2]))]
    b.output(b.node("Gemm", [last, *weights]), outputs[1])
