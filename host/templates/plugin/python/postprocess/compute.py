"""The computation of the stage, without calls to the host, so that its tests run on the development machine."""

import math


class NotFinite(ValueError):
    """A value is NaN or infinite, which JSON cannot represent."""


def answer(outputs):
    """The reply for outputs, each a name, a shape and its values in row-major order."""
    return {"outputs": [_output(name, shape, values) for name, shape, values in outputs]}


def _output(name, shape, values):
    for index, value in enumerate(values):
        if not math.isfinite(value):
            raise NotFinite(f"value {index} of output `{name}` is not a finite number")
    return {"name": name, "shape": list(shape), "values": list(values)}
