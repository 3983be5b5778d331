"""Sequences of tensors. The outputs of the graphs are tensors, so each graph reads its sequence."""

import numpy as np

from builder import operator


def read_sequence(b, sequence, count):
    """Adds operators that read the sequence, and marks their results as outputs."""
    kind = b.integer(0, 3)
    if kind == 0 or count == 0:
        b.output(b.node("SequenceLength", [sequence]))
    if kind in (1, 3) and count:
        b.output(b.node("SequenceAt", [sequence, b.parameter(b.integer(-count, count - 1), b.pick("int64", "int32"))]))
    if kind in (2, 3) and count:
        attributes = {"axis": b.integer(-1, 1)}
        if b.chance(0.4):
            attributes = {"axis": b.integer(-2, 2), "new_axis": 1}
        b.output(b.node("ConcatFromSequence", [sequence], **attributes))


def made_sequence(b, count):
    dtype = b.pick("float32", "float32", "int64", "int32")
    shape = b.integers(1, 3, 2)
    tensors = [b.tensor(b.values(shape, dtype)) for _ in range(count)]
    return b.node("SequenceConstruct", tensors), dtype, shape


@operator("SequenceConstruct", "SequenceAt", "ConcatFromSequence", "SequenceLength", weight=0.8)
def construct(b, name):
    count = b.integer(1, 4)
    sequence, _, _ = made_sequence(b, count)
    if name == "SequenceAt":
        b.output(b.node(name, [sequence, b.parameter(b.integer(-count, count - 1))]))
    elif name == "SequenceLength":
        b.output(b.node(name, [sequence]))
    else:
        read_sequence(b, sequence, count)


@operator("SequenceInsert", "SequenceErase", "SequenceEmpty", weight=0.8)
def change(b, name):
    count = b.integer(1, 3)
    sequence, dtype, shape = made_sequence(b, count)
    if name == "SequenceEmpty":
        sequence = b.node(name, [], **({} if dtype == "float32" else {"dtype": 7 if dtype == "int64" else 6}))
        count = 0
    if name == "SequenceErase":
        position = [b.parameter(b.integer(-count, count - 1))] if b.chance(0.6) else []
        read_sequence(b, b.node(name, [sequence, *position]), count - 1)
        return
    position = [b.parameter(b.integer(-count, count))] if b.chance(0.6) else []
    read_sequence(b, b.node("SequenceInsert", [sequence, b.tensor(b.values(shape, dtype)), *position]), count + 1)


@operator("SplitToSequence", weight=1.5)
def split_to_sequence(b, name):
    dtype = b.pick("float32", "int64", "int32")
    shape = b.integers(2, 5, 2)
    attributes = b.some(axis=b.axis(2))
    size = shape[attributes.get("axis", 0)]
    x = b.data(b.values(shape, dtype))
    kind = b.integer(0, 2)
    if kind == 0:
        attributes.update(b.some(keepdims=b.integer(0, 1)))
        sequence, count = b.node(name, [x], **attributes), size
        if attributes.get("keepdims") == 0:
            b.output(b.node("SequenceAt", [sequence, b.parameter(count - 1)]))
            return
    elif kind == 1:
        part = b.integer(1, size)
        sequence, count = b.node(name, [x, b.parameter(part)], **attributes), -(-size // part)
    else:
        part = b.integer(1, size - 1)
        sequence, count = b.node(name, [x, b.parameter([part, size - part])], **attributes), 2
    b.output(b.node("SequenceAt", [sequence, b.parameter(b.integer(-count, count - 1))]),
             b.node("SequenceLength", [sequence]))


@operator("SequenceMap", weight=0.5)
def sequence_map(b, name):
    sequence, dtype, shape = made_sequence(b, 3)
    body = b.body()
    body.output(body.node("Neg", [body.body_input(dtype, shape)]))
    read_sequence(b, b.node(name, [sequence], body=body.body_graph(dtype)), 3)
