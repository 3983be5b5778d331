"""Random graphs: elementwise operators, changes of layout, integer arithmetic on shapes, and shared tensors."""

import numpy as np

from builder import graph
from control_flow import sensitive


class Pool:
    """Tensors of a graph with their shapes, from which new nodes take their inputs."""

    def __init__(self, b, dtype, full, count):
        self.b, self.dtype, self.tensors = b, dtype, []
        for i in range(count):
            shape = full if i == 0 else [1 if b.chance(0.3) else n for n in full][b.integer(0, len(full)):]
            value = b.values(shape, dtype)
            self.tensors.append((b.input(value) if i == 0 else b.tensor(value), list(shape)))

    def pick(self):
        # Later tensors are likelier, so that chains get long.
        position = max(self.b.integer(0, len(self.tensors) - 1), self.b.integer(0, len(self.tensors) - 1))
        return self.tensors[position]

    def add(self, name, shape):
        self.tensors.append((name, list(shape)))


@graph("graph_elementwise", weight=14)
def elementwise_graph(b):
    b.is_conditioned = True
    pool = Pool(b, "float32", b.shape(1, 4, 4), b.integer(2, 4))
    for _ in range(b.integer(3, 10)):
        x, shape = pool.pick()
        if b.chance(0.45):
            name = b.pick("Relu", "Sigmoid", "Tanh", "Abs", "Neg", "Identity", "Softplus", "Clip", "Dropout",
                          "LeakyRelu", "sensitive", "Sqrt", "Erf", "Cast")
            if name == "sensitive" and shape:
                pool.add(sensitive(b, x, shape), shape)
            elif name == "Sqrt":
                pool.add(b.node(name, [b.node("Add", [b.node("Abs", [x]), b.constant(np.float32(0.5))])]), shape)
            elif name == "Clip" and b.opset >= 11:
                low, high = [b.constant(np.float32(v)) for v in b.pick((0, 6), (-1, 1), (-2, 3))]
                pool.add(b.node(name, b.pick([x, low, high], [x, low], [x, "", high])), shape)
            elif name == "Cast":
                pool.add(b.node(name, [x], to=1), shape)
            elif name == "sensitive" or (name == "Erf" and b.opset < 9):
                pool.add(b.node("Abs", [x]), shape)
            else:
                pool.add(b.node(name, [x]), shape)
        else:
            name = b.pick("Add", "Sub", "Mul", "Max", "Min", "Div", "Where", "Add", "Mul", "Sum", "Mean")
            y, other = pool.pick() if b.chance(0.85) else (x, shape)
            if b.chance(0.15):
                other = b.pick([], [1], [1, 1, 1, 1])
                y = b.constant(np.full(other, b.pick(0, 1, 0.5, 2, -1), "float32"))
            result = list(np.broadcast_shapes(tuple(shape), tuple(other)))
            if name == "Div":
                y = b.node("Add", [b.node("Abs", [y]), b.constant(np.float32(1))])
            if name == "Where":
                if b.opset < 9:
                    continue
                pool.add(b.node(name, [b.node("Greater", [x, b.constant(np.float32(0.03))]), x, y]), result)
            else:
                swapped = name != "Div" and b.chance(0.4)
                pool.add(b.node(name, [y, x] if swapped else [x, y]), result)
    finish(b, pool)


def finish(b, pool):
    """Marks outputs: always the last tensor; sometimes tensors on the way, inputs and constants."""
    b.output(pool.tensors[-1][0])
    for name, _ in pool.tensors:
        if b.chance(0.12):
            b.output(name)
    if b.chance(0.1):
        b.output(next(iter(b.inputs)))


@graph("graph_layout", weight=14)
def layout_graph(b):
    """Chains of operators that move elements, which optimisers merge and run in place."""
    x_shape = b.integers(1, 4, b.integer(2, 4))
    dtype = b.pick("float32", "float32", "int32", "int64")
    x = b.input(b.values(x_shape, dtype))
    shape, history = list(x_shape), [(x, list(x_shape))]
    for _ in range(b.integer(2, 7)):
        if b.chance(0.25):
            x, shape = history[b.integer(0, len(history) - 1)]
            shape = list(shape)
        x, shape = layout_step(b, x, shape, history)
        history.append((x, list(shape)))
    if dtype == "float32" and shape and b.chance(0.4):
        x = sensitive(b, x, shape)
    b.output(x)
    for name, _ in history:
        if b.chance(0.1):
            b.output(name)


def layout_step(b, x, shape, history):
    rank = len(shape)
    kind = b.pick("transpose", "transpose", "reshape", "unsqueeze", "squeeze", "slice", "concat", "split", "expand",
                  "tile", "flatten", "gather", "identity", "add")
    size = int(np.prod(shape))
    if kind == "transpose":
        perm = [int(a) for a in b.random.permutation(rank)]
        if b.chance(0.3):
            return b.node("Transpose", [x]), shape[::-1]
        return b.node("Transpose", [x], perm=perm), [shape[a] for a in perm]
    if kind == "reshape" and size:
        divisors = [d for d in range(1, size + 1) if size % d == 0]
        first = divisors[b.integer(0, len(divisors) - 1)]
        target = b.pick([size], [first, size // first], [1, first, size // first])
        written = list(target)
        if b.chance(0.5):
            written[b.integer(0, len(written) - 1)] = -1
        return b.node("Reshape", [x, b.constant(np.array(written))]), target
    if kind == "unsqueeze" and rank < 5:
        axis = b.integer(0, rank)
        new = shape[:axis] + [1] + shape[axis:]
        if b.opset >= 13:
            return b.node("Unsqueeze", [x, b.constant(np.array([axis]))]), new
        return b.node("Unsqueeze", [x], axes=[axis]), new
    if kind == "squeeze":
        return b.node("Squeeze", [x]), [n for n in shape if n != 1]
    if kind == "slice" and rank and b.opset >= 10:
        axis = b.integer(0, rank - 1)
        step = b.pick(1, 1, 2, -1)
        start, end = (0, b.integer(1, shape[axis]) if shape[axis] else 1) if step > 0 else (-1, -2**63)
        parts = [b.constant(np.array([v])) for v in (start, end, axis, step)]
        kept = len(range(shape[axis])[slice(start, None if step < 0 else end, step)])
        return b.node("Slice", [x, *parts]), [kept if i == axis else n for i, n in enumerate(shape)]
    if kind == "concat" and rank:
        axis = b.integer(0, rank - 1)
        count = b.integer(1, 3)
        return b.node("Concat", [x] * count, axis=axis), [n * count if i == axis else n for i, n in enumerate(shape)]
    if kind == "split" and rank and shape[rank - 1] >= 2:
        sizes = [1, shape[-1] - 1]
        parts = b.node("Split", [x, b.constant(np.array(sizes))], 2, axis=rank - 1) if b.opset >= 13 else \
            b.node("Split", [x], 2, axis=rank - 1, split=sizes)
        history.append((parts[0], shape[:-1] + [1]))
        return parts[1], shape[:-1] + [sizes[1]]
    if kind == "expand" and b.opset >= 8 and rank < 5 and size < 200:
        target = [b.integer(1, 3)] + [1] * rank if b.chance(0.4) else [b.integer(2, 3) if n == 1 else n for n in shape]
        new = list(np.broadcast_shapes(tuple(shape), tuple(target)))
        return b.node("Expand", [x, b.constant(np.array(target, "int64"))]), new
    if kind == "tile" and rank and size < 100:
        repeats = b.integers(1, 2, rank)
        return b.node("Tile", [x, b.constant(np.array(repeats))]), [n * r for n, r in zip(shape, repeats)]
    if kind == "flatten" and rank:
        axis = b.integer(0, rank)
        return b.node("Flatten", [x], axis=axis), [int(np.prod(shape[:axis])), int(np.prod(shape[axis:]))]
    if kind == "gather" and rank and shape[0]:
        if b.chance(0.5):
            return b.node("Gather", [x, b.constant(np.array(b.integer(0, shape[0] - 1)))], axis=0), shape[1:]
        which = b.integers(0, shape[0] - 1, 2)
        return b.node("Gather", [x, b.constant(np.array(which))], axis=0), [2] + shape[1:]
    if kind == "add":
        return b.node("Add", [x, x]), shape
    return b.node("Identity", [x]), shape


@graph("graph_integers", weight=8, since=9)
def integer_graph(b):
    """Integer arithmetic on shapes and positions, as exporters write it, and with numbers beyond 32 bits."""
    kind = b.pick("int64", "int64", "int32")
    shape = b.shape(1, 3, 5)
    x = b.input(b.values(shape))
    sizes = b.node("Shape", [x])
    one = b.node("Gather", [sizes, b.constant(np.array(b.integer(0, len(shape) - 1)))], axis=0)
    pool = [(sizes, [len(shape)]), (one, []), (b.tensor(b.values([len(shape)], "int64", -50, 50)), [len(shape)])]
    if kind == "int32":
        pool = [(b.node("Cast", [name], to=6), s) for name, s in pool]
    large = b.chance(0.35)
    for _ in range(b.integer(2, 6)):
        (left, a), (right, c) = pool[b.integer(0, len(pool) - 1)], pool[b.integer(0, len(pool) - 1)]
        name = b.pick("Add", "Sub", "Mul", "Div", "Mod", "Constant", "Cast", "Equal", "ReduceSum", "Where", "Max")
        result = list(np.broadcast_shapes(tuple(a), tuple(c)))
        if name == "Mod" and b.opset < 10 or name == "Max" and b.opset < 12:
            name = "Add"
        if name in ("Div", "Mod"):
            right = b.constant(np.array(b.pick(2, 3, -2, 7), kind))
            pool.append((b.node(name, [left, right]), a))
        elif name == "Constant":
            value = b.pick(100_000, 2**31 - 1, 3 * 10**9 if kind == "int64" else 5) if large else b.integer(1, 9)
            pool.append((b.node(b.pick("Mul", "Add"), [left, b.constant(np.array(value, kind))]), a))
        elif name == "Cast":
            as_float = b.node("Cast", [left], to=1)
            as_float = b.node("Mul", [as_float, b.constant(np.float32(b.pick(0.5, 2, 1)))])
            pool.append((b.node("Cast", [b.node("Floor", [as_float])], to=7 if kind == "int64" else 6), a))
        elif name == "Equal":
            same = b.node(b.pick("Equal", "Less", "Greater"), [left, right])
            pool.append((b.node("Cast", [b.node("Not", [same])], to=7 if kind == "int64" else 6), result))
        elif name == "ReduceSum" and a:
            pool.append((b.node(name, [left], keepdims=0), []))
        elif name == "Where":
            pool.append((b.node(name, [b.node("Greater", [left, right]), left, right]), result))
        elif name not in ("ReduceSum",):
            pool.append((b.node(name, [left, right]), result))
    b.output(pool[-1][0], pool[-2][0])
    if b.chance(0.3):
        b.output(b.node("Cast", [pool[-1][0]], to=b.pick(1, 9, 6)))


@graph("graph_sharing", weight=5)
def sharing_graph(b):
    """Outputs that are inputs or constants, unused nodes and inputs, one tensor used twice, repeated subgraphs."""
    shape = b.shape(1, 3)
    x, y = b.input(b.values(shape)), b.tensor(b.values(shape))
    if b.chance(0.5):
        b.input(b.values(b.shape()))  # unused
    total = b.node("Add", [x, x])
    product = b.node("Mul", [total, total])
    same = b.node("Mul", [b.node("Add", [x, x]), y])
    if b.chance(0.5):
        b.node("Exp", [same])  # unused
    diamond = b.node("Add", [b.node("Relu", [product]), b.node("Neg", [product])])
    in_place = b.node("Sub", [same, b.node("Relu", [same])])
    candidates = [x, y, total, product, same, diamond, in_place, b.constant(b.values(shape)), b.node("Identity", [x])]
    b.output(diamond if b.chance(0.5) else in_place)
    b.output(*[name for name in candidates if b.chance(0.35)])
