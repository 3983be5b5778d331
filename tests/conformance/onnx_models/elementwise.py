"""Operators with one input that compute each element alone: mathematics, rounding and activations."""

from builder import operator

# Input ranges in which the function is defined and float32 is accurate.
RANGES = {
    "Acos": (-1, 1), "Asin": (-1, 1), "Atanh": (-0.9, 0.9), "Acosh": (1, 8), "Log": (0, 8), "Sqrt": (0, 8),
    "Tan": (-1.5, 1.5), "Exp": (-4, 4), "Reciprocal": (0.25, 4),
}


@operator("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Floor",
          "HardSwish", "Log", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Sinh",
          "Softplus", "Softsign", "Sqrt", "Tan", "Tanh", weight=0.7)
def unary(b, name):
    dtype = b.pick_type(name)
    shape = b.pick([], [0, 3], b.shape()) if b.chance(0.2) else b.shape()
    if b.chance(0.25):
        x = b.special_values(shape, dtype)
    elif dtype.startswith("float"):
        x = b.values(shape, dtype, *RANGES.get(name, (None, None)))
    else:
        x = b.values(shape, dtype)
    b.single(name, [b.data(x)])


@operator("Not", weight=0.4)
def logical_not(b, name):
    b.single(name, [b.data(b.values(b.shape(0), "bool"))])


@operator("BitwiseNot", weight=0.5)
def bitwise_not(b, name):
    dtype = b.pick_type(name)
    b.single(name, [b.data(b.special_values(b.shape(0), dtype))])


@operator("IsNaN", "IsInf", weight=0.8)
def classify(b, name):
    dtype = b.pick_type(name)
    flags = b.some(0.5, detect_negative=b.integer(0, 1), detect_positive=b.integer(0, 1)) if name == "IsInf" else {}
    b.single(name, [b.data(b.special_values(b.shape(0), dtype))], **flags)


@operator("HardSigmoid", "Elu", "Selu", "Celu", "LeakyRelu", "ThresholdedRelu", "Shrink", "Gelu", "Swish", weight=1.0)
def activation(b, name):
    alpha = b.pick(0.125, 0.5, 1.5, 2.0)
    attributes = {
        "HardSigmoid": lambda: b.some(alpha=alpha, beta=b.pick(0.0, 0.25, 0.75)),
        "Elu": lambda: b.some(alpha=alpha),
        "Selu": lambda: b.some(alpha=alpha, gamma=b.pick(0.5, 1.25)),
        "Celu": lambda: b.some(alpha=alpha),
        "LeakyRelu": lambda: b.some(alpha=b.pick(0.0, alpha, -0.5)),
        "ThresholdedRelu": lambda: b.some(alpha=b.pick(0.0, alpha)),
        "Shrink": lambda: b.some(bias=b.pick(0.0, 0.25, 1.5), lambd=b.pick(0.25, 1.0)),
        "Gelu": lambda: b.some(approximate=b.pick("none", "tanh")),
        "Swish": lambda: b.some(alpha=alpha),
    }[name]()
    dtype = b.pick_type(name)
    make = b.special_values if b.chance(0.2) else b.values
    b.single(name, [b.data(make(b.shape(0), dtype))], **attributes)
