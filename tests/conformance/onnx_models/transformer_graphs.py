"""Parts of transformers as exporters write them: attention, normalisation and GELU made of single operators."""

import numpy as np

from builder import graph
from networks import reduce


def scalar(b, value):
    """A float constant of shape [] (most exporters), [1] or more ones."""
    return b.constant(np.full(b.pick([], [], [], [1], [1, 1], [1, 1, 1]), value, "float32"))


def swap(b, left, right):
    return [left, right] if b.chance(0.5) else [right, left]


def layer_norm(b, x, width, rank):
    axis = b.pick(-1, rank - 1) if b.opset >= 11 else rank - 1
    mean = reduce(b, "ReduceMean", x, [axis], **b.some(0.5, keepdims=1))
    centred = b.node("Sub", [x, mean])
    again = centred if b.chance(0.7) else b.node("Sub", [x, mean])
    square = b.node("Pow", [again, scalar(b, 2)]) if b.chance(0.7) else b.node("Mul", [again, again])
    variance = reduce(b, "ReduceMean", square, [axis], **b.some(0.5, keepdims=1))
    deviation = b.node("Sqrt", [b.node("Add", swap(b, variance, scalar(b, b.pick(1e-5, 1e-3, 0.5))))])
    result = b.node("Div", [centred, deviation])
    shape = b.pick([width], [width], [width], [1], [1, width], [1] * (rank - 1) + [width], [])
    result = b.node("Mul", swap(b, result, b.constant(b.values(shape, low=0.5, high=2))))
    if b.chance(0.7):
        shape = b.pick([width], [width], [1], [1, width], [])
        result = b.node("Add", swap(b, result, b.constant(b.values(shape))))
    return result


def rms_norm(b, x, width, rank):
    axis = -1 if b.opset >= 11 else rank - 1
    mean = reduce(b, "ReduceMean", b.node("Pow", [x, scalar(b, 2)]), [axis], keepdims=1)
    deviation = b.node("Sqrt", [b.node("Add", swap(b, mean, scalar(b, b.pick(1e-6, 1e-3, 0.5))))])
    if b.chance(0.6):
        inverse = b.node("Reciprocal", [deviation]) if b.chance(0.5) else b.node("Div", [scalar(b, 1), deviation])
        result = b.node("Mul", swap(b, x, inverse))
    else:
        result = b.node("Div", [x, deviation])
    scale = b.values(b.pick([width], [width], [1], [1, width], []), low=0.5, high=2)
    return b.node("Mul", swap(b, result, b.constant(scale)))


def gelu(b, x):
    if b.chance(0.5):
        root = float(np.sqrt(2))
        scaled = b.node("Div", [x, scalar(b, root)]) if b.chance(0.5) else \
            b.node("Mul", swap(b, x, scalar(b, 1 / root)))
        if b.opset < 9:
            return b.node("Tanh", [scaled])
        plus = b.node("Add", swap(b, b.node("Erf", [scaled]), scalar(b, 1)))
        if b.chance(0.5):
            half = scalar(b, b.pick(0.5, 0.5, 0.5, 0.25))
            return b.node("Mul", swap(b, b.node("Mul", swap(b, x, plus)), half))
        return b.node("Mul", swap(b, b.node("Mul", swap(b, x, scalar(b, 0.5))), plus))
    cube = b.node("Pow", [x, scalar(b, 3)])
    cube = b.node("Mul", swap(b, cube, scalar(b, b.pick(0.044715, 0.044715, 0.0448))))
    inner = b.node("Add", swap(b, x, cube))
    wave = b.node("Tanh", [b.node("Mul", swap(b, inner, scalar(b, np.sqrt(2 / np.pi))))])
    plus = b.node("Add", swap(b, wave, scalar(b, 1)))
    return b.node("Mul", swap(b, b.node("Mul", swap(b, x, scalar(b, 0.5))), plus))


def linear(b, x, width, depth):
    weights = (b.random.normal(size=[width, depth]) / np.sqrt(width)).astype("float32")
    if b.chance(0.3):
        product = b.node("MatMul", [x, b.node("Transpose", [b.constant(weights.T.copy())], perm=[1, 0])])
    else:
        product = b.node("MatMul", [x, b.constant(weights)])
    if b.chance(0.8):
        shape = [depth] if b.chance(0.9) else b.pick([1], [], [1, depth])
        bias = b.constant(b.values(shape, low=-1, high=1))
        product = b.node("Add", swap(b, product, bias))
    return product


def reshape_to(b, x, source, shape):
    """Reshape to `shape`, whose leading dimensions are read from `source` at run time: [batch, length, ...]."""
    if b.chance(0.4):
        return b.node("Reshape", [x, b.constant(np.array(shape))])
    parts = []
    for i, size in enumerate(shape):
        if i < 2 and size != -1:
            size = b.node("Gather", [b.node("Shape", [source]), b.constant(np.array(i))], axis=0)
            axes = b.constant(np.array([0]))
            parts.append(b.node("Unsqueeze", [size, axes]) if b.opset >= 13 else b.node("Unsqueeze", [size], axes=[0]))
        else:
            parts.append(b.constant(np.array([size])))
    return b.node("Reshape", [x, b.node("Concat", parts, axis=0)])


@graph("graph_transformer", weight=12)
def transformer(b):
    b.is_conditioned = True
    batch, length, heads, head = b.integer(1, 2), b.integer(1, 4), b.integer(1, 3), b.integer(1, 4)
    width = heads * head
    x = b.input(b.values([batch, length, width], low=-2, high=2))
    start = x
    normalise = layer_norm if b.chance(0.6) else rms_norm
    if width > 1 and b.chance(0.7):
        x = normalise(b, x, width, 3)
    kind = b.pick("attention", "attention", "feed forward")
    if kind == "attention":
        x = self_attention(b, x, batch, length, heads, head)
    else:
        x = linear(b, gelu(b, linear(b, x, width, 2 * width)), 2 * width, width)
    if b.chance(0.7):
        x = b.node("Add", swap(b, x, start))
    if width > 1 and b.chance(0.4):
        x = normalise(b, x, width, 3)
    b.output(x)


def self_attention(b, x, batch, length, heads, head):
    width = heads * head
    parts = []
    if b.chance(0.3):
        joint = linear(b, x, width, 3 * width)
        if b.opset >= 18:
            parts = b.node("Split", [joint], 3, axis=-1, num_outputs=3)
        elif b.opset >= 13:
            parts = b.node("Split", [joint, b.constant(np.array([width] * 3))], 3, axis=-1)
        else:
            parts = b.node("Split", [joint], 3, axis=2, split=[width] * 3)
    else:
        parts = [linear(b, x, width, width) for _ in range(3)]
    parts = [reshape_to(b, part, x, [batch, length, heads, head]) for part in parts]
    query = b.node("Transpose", [parts[0]], perm=[0, 2, 1, 3])
    value = b.node("Transpose", [parts[2]], perm=[0, 2, 1, 3])
    if b.chance(0.5):
        key = b.node("Transpose", [parts[1]], perm=[0, 2, 3, 1])
    else:
        key = b.node("Transpose", [b.node("Transpose", [parts[1]], perm=[0, 2, 1, 3])], perm=[0, 1, 3, 2])
    factor = float(head) ** 0.5
    kind = b.pick("div", "mul", "both", "query")
    if kind == "both":
        root = scalar(b, factor ** -0.5)
        query, key = b.node("Mul", [query, root]), b.node("Mul", [key, root])
    elif kind == "query":
        query = b.node("Div", [query, scalar(b, factor)])
    scores = b.node("MatMul", [query, key])
    if kind == "div":
        scores = b.node("Div", [scores, scalar(b, factor)])
    elif kind == "mul":
        scores = b.node("Mul", swap(b, scores, scalar(b, 1 / factor)))
    if b.chance(0.6):
        shape = b.pick([length, length], [1, 1, length, length], [batch, 1, 1, length],
                       [batch, heads, length, length], [length])
        if b.chance(0.5):
            hidden = b.random.random(shape) < 0.3
            scores = b.node("Add", swap(b, scores, b.tensor(np.where(hidden, np.float32(-10000), np.float32(0)))))
        elif b.opset >= 9:
            hidden = b.tensor(b.random.random(shape) < 0.3)
            scores = b.node("Where", [hidden, scalar(b, -1e9), scores])
    weights = b.node("Softmax", [scores], axis=-1 if b.opset >= 11 else 3)
    if b.chance(0.2) and b.opset >= 9:
        weights = b.node("Where", [b.node("IsNaN", [weights]), scalar(b, 0), weights])
    mixed = b.node("Transpose", [b.node("MatMul", [weights, value])], perm=[0, 2, 1, 3])
    return linear(b, reshape_to(b, mixed, x, [batch, length, width]), width, width)


@graph("graph_normalization", weight=8)
def normalization(b):
    """Normalisations and activations of single operators, whose constants differ from the usual ones."""
    b.is_conditioned = True
    rank = b.integer(2, 4)
    shape = b.integers(2, 5, rank)
    x = b.input(b.values(shape))
    for _ in range(b.integer(1, 2)):
        kind = b.pick("layer norm", "layer norm", "rms norm", "gelu", "swish", "channel affine", "inverse", "nothing")
        if kind == "layer norm":
            x = layer_norm(b, x, shape[-1], rank)
        elif kind == "rms norm":
            x = rms_norm(b, x, shape[-1], rank)
        elif kind == "gelu":
            x = gelu(b, x)
        elif kind == "swish":
            scaled = b.node("Mul", swap(b, x, scalar(b, b.pick(1.0, 1.702, 0.5))))
            x = b.node("Mul", swap(b, x, b.node("Sigmoid", [scaled])))
        elif kind == "channel affine":
            channels = [1, shape[1]] + [1] * (rank - 2)
            other = b.pick(channels, channels, channels[1:], [1] * rank, [shape[-1]])
            x = b.node("Mul", [x, b.constant(b.values(channels, low=0.5, high=2))])
            x = b.node("Add", [x, b.constant(b.values(other))])
        elif kind == "inverse":
            x = b.node("Div", [scalar(b, b.pick(1, 1, 2)), b.node("Add", [b.node("Abs", [x]), scalar(b, 1)])])
        else:
            name, neutral = b.pick(("Add", 0), ("Sub", 0), ("Mul", 1), ("Div", 1))
            x = b.node(name, [x, b.constant(np.full(b.pick([], [1], [1] * (rank + 1), shape), neutral, "float32"))])
            if b.chance(0.3):
                x = b.node("Identity", [x])
        if b.chance(0.2):
            b.output(x)
    b.output(x)


@graph("graph_softmax", weight=4)
def masked_softmax(b):
    """Softmax of a sum: the mask may be larger than the scores."""
    rank = b.integer(1, 4)
    full = b.integers(1, 4, rank)
    shapes = [[1 if b.chance(0.3) else n for n in full] for _ in range(2)]
    if b.chance(0.4):
        shapes[b.integer(0, 1)] = full[b.integer(0, rank - 1):]
    names = [b.input(b.values(shapes[0])), b.tensor(b.values(shapes[1]))]
    result_rank = max(map(len, shapes))
    axis = b.pick(-1, result_rank - 1) if b.opset >= 11 else result_rank - 1
    weights = b.node("Softmax", [b.node("Add", names)], **({"axis": axis} if b.chance(0.8) else {}))
    if b.chance(0.3) and b.opset >= 9:
        weights = b.node("Where", [b.node("IsNaN", [weights]), scalar(b, 0), weights])
    b.output(weights)


@graph("graph_matmul", weight=8)
def matmul_patterns(b):
    """Scaled, transposed and biased products of matrices."""
    m, k, n = b.integers(1, 4, 3)
    batch = b.shape(0, 2, 3)
    dtype = b.pick("float32", "float32", "float32", "float32", "int32") if b.opset >= 9 else "float32"

    def operand(rows, columns, batch):
        shape = [*batch, rows, columns]
        if b.chance(0.4):
            rank = len(shape)
            perm = [int(a) for a in b.random.permutation(rank)] if b.chance(0.5) else None
            order = perm or list(range(rank))[::-1]
            source = [0] * rank
            for position, axis in enumerate(order):
                source[axis] = shape[position]
            return b.node("Transpose", [b.input(b.values(source, dtype))], **({"perm": perm} if perm else {}))
        name = b.input(b.values(shape, dtype))
        if b.chance(0.3) and dtype == "float32":
            return b.node(b.pick("Mul", "Div"), [name, scalar(b, b.pick(0.5, 2.0))])
        return name

    left, right = operand(m, k, batch), operand(k, n, batch if b.chance(0.5) else [])
    if b.chance(0.1):
        right = b.input(b.values([k], dtype))
    result = b.node("MatMul", [left, right])
    if b.chance(0.4) and dtype == "float32":
        result = b.node("Mul", swap(b, result, scalar(b, b.pick(0.25, 4.0))))
    if b.chance(0.5):
        shape = b.pick([n], [n], [1], [m, n], [1, n], [m, 1], [])
        if len(b.inputs) and right in b.inputs and b.inputs[right].ndim == 1:
            shape = [1]
        result = b.node("Add", swap(b, result, b.constant(b.values(shape, dtype))))
    if b.chance(0.3):
        result = b.node("Relu", [result]) if dtype == "float32" else result
    b.output(result)
    if b.chance(0.15):
        b.output(left)


@graph("graph_repeat_heads", weight=3, since=13)
def repeat_heads(b):
    """Grouped-query attention: Unsqueeze, Expand and Reshape repeat the key heads."""
    batch, heads = b.integers(1, 2, 2)
    repeats, length, width = b.integers(1, 3, 3)
    keys = b.input(b.values([batch, heads, length, width]))
    axis = b.pick(2, 2, 1, 3)
    expanded_shape = [batch, heads, length, width]
    expanded_shape.insert(axis, repeats)
    t = b.node("Unsqueeze", [keys, b.constant(np.array([axis]))])
    t = b.node("Expand", [t, b.constant(np.array(expanded_shape))])
    t = b.node("Reshape", [t, b.constant(np.array([batch, heads * repeats, length, width]))])
    if b.chance(0.6):
        query = b.input(b.values([batch, heads * repeats, b.integer(1, 3), width]))
        if b.chance(0.5):
            query = b.node("Mul", [query, scalar(b, 0.5)])
        t = b.node("MatMul", [query, b.node("Transpose", [t], perm=[0, 1, 3, 2])])
    b.output(t)
