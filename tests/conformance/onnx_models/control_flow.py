"""If, Loop and Scan. Their bodies contain operators whose meaning depends on the opset, and captured values."""

import numpy as np

from builder import operator


def sensitive(b, x, shape):
    """Adds an operator that keeps the shape and whose defaults or form depend on the opset. `x` is a float tensor."""
    rank = len(shape)
    kind = b.integer(0, 8)
    if kind <= 2:
        operator_name = b.pick("Softmax", "LogSoftmax", "Softmax", "Hardmax" if b.chance(0.3) else "Softmax")
        return b.node(operator_name, [x], **b.some(0.5, axis=b.integer(0, rank - 1)))
    if kind == 3:
        axis = b.integer(0, rank)
        if b.opset >= 13:
            axes = b.constant(np.array([axis]))
            return b.node("Squeeze", [b.node("Unsqueeze", [x, axes]), axes])
        return b.node("Squeeze", [b.node("Unsqueeze", [x], axes=[axis])], axes=[axis])
    if kind == 4:
        if b.opset >= 11:
            return b.node("Clip", [x, b.constant(np.float32(-1)), b.constant(np.float32(2))])
        return b.node("Clip", [x], min=-1.0, max=2.0)
    if kind == 5:
        total = b.node("ReduceSum", [x, b.constant(np.array([rank - 1]))] if b.opset >= 13 else [x],
                       **({} if b.opset >= 13 else {"axes": [rank - 1]}))
        return b.node("Add", [x, total])
    if kind == 6:
        return b.node("Dropout", [x])
    if kind == 7:
        mean = b.node("ReduceMean", [x, b.constant(np.array([0]))] if b.opset >= 18 else [x],
                      **({} if b.opset >= 18 else {"axes": [0]}))
        return b.node("Sub", [x, mean])
    return b.node(b.pick("Relu", "Tanh", "Neg", "Sigmoid"), [x])


def chain(b, x, shape, captured=()):
    """A few operators in a row; some add a captured tensor of the outer graph."""
    for _ in range(b.integer(1, 3)):
        x = sensitive(b, x, shape)
        if captured and b.chance(0.5):
            x = b.node(b.pick("Add", "Mul"), [x, b.pick(*captured)])
    return x


@operator("If", weight=5)
def if_(b, name):
    shape = b.integers(1, 4, b.integer(2, 3))
    x = b.input(b.values(shape))
    captured = [x, b.node("Neg", [x]), b.tensor(b.values(shape))]
    if b.chance(0.6):
        condition = b.input(np.array(b.chance(0.5)))
    else:
        condition = b.node("Greater", [b.tensor(b.values([])), b.constant(np.float32(0))])
        if b.opset < 9 and b.chance(0.5):
            condition = b.node("Not", [condition])
    branches, has_second_output = [], b.chance(0.5)
    for _ in range(2):
        body = b.body()
        body.output(chain(body, b.pick(*captured), shape, captured))
        if has_second_output:
            body.output(body.node("Abs", [b.pick(*captured)]))
        branches.append(body)
    outputs = b.node(name, [condition], len(branches[0].outputs), then_branch=branches[0].body_graph(),
                     else_branch=branches[1].body_graph())
    outputs = [outputs] if isinstance(outputs, str) else outputs
    if b.chance(0.5):
        outputs[0] = sensitive(b, outputs[0], shape)
    b.output(*outputs)


@operator("Loop", weight=5)
def loop(b, name):
    shape = b.integers(1, 3, 2)
    x = b.input(b.values(shape))
    captured = [b.tensor(b.values(shape)), b.node("Abs", [x])]
    body = b.body()
    iteration = body.body_input("int64", [])
    condition = body.body_input("bool", [])
    carried = body.body_input("float32", shape)
    value = chain(body, carried, shape, captured)
    if b.chance(0.5):
        value = body.node("Add", [value, body.node("Cast", [iteration], to=1)])
    counts_total = b.chance(0.4)
    total = body.body_input("int64", []) if counts_total else None
    ends_early = b.chance(0.3)
    if ends_early:
        limit = body.constant(np.array(b.integer(0, 3)))
        as_float = [body.node("Cast", [n], to=1) for n in (iteration, limit)]
        going_on = body.node("Less", as_float)
    else:
        going_on = body.node("Identity", [condition])
    body.output(going_on, value)
    if counts_total:
        factor = body.constant(np.array(10**b.pick(1, 10)))  # 10 to the 10th: the sum exceeds 32 bits
        body.output(body.node("Add", [total, body.node("Mul", [iteration, factor])]))
    if b.chance(0.5):
        body.output(body.node("Tanh", [value]))  # collected from all iterations
    # Without a number of iterations the loop needs a condition that ends it.
    count = "" if ends_early and b.chance(0.3) else b.parameter(b.integer(0 if b.chance(0.1) else 1, 4))
    start = "" if b.chance(0.3) else b.tensor(np.array(True))
    initial = [x] + ([b.tensor(np.array(b.integer(0, 5)))] if counts_total else [])
    outputs = b.node(name, [count, start, *initial], len(body.outputs) - 1, body=body.body_graph())
    b.output(*([outputs] if isinstance(outputs, str) else outputs))


@operator("Scan", weight=3, since=9)
def scan(b, name):
    length, width = b.integer(1, 4), b.integer(1, 3)
    shape = [length, 2, width]
    attributes = {}
    axis = 0
    if b.chance(0.3):
        axis = b.integer(0, 2)
        attributes["scan_input_axes"] = [axis]
    attributes.update(b.some(0.4, scan_input_directions=[b.integer(0, 1)], scan_output_directions=[b.integer(0, 1)]))
    if b.chance(0.3):
        attributes["scan_output_axes"] = [b.integer(0, 2)]
    each = [n for i, n in enumerate(shape) if i != axis]
    body = b.body()
    state, part = body.body_input("float32", each), body.body_input("float32", each)
    captured = [b.tensor(b.values(each))]
    total = body.node("Add", [state, chain(body, part, each, captured)])
    body.output(total, sensitive(body, total, each))
    b.single(name, [b.tensor(b.values(each)), b.data(b.values(shape))], 2, body=body.body_graph(), num_scan_inputs=1,
             **attributes)
