"""The computation of the stage, without calls to the host, so that its tests run on the development machine."""

import array
import math


class TooShort(ValueError):
    """The body has too few bytes."""


class TooLong(ValueError):
    """The body has too many bytes."""


def check(shape, length):
    """Checks that a body of `length` bytes has one byte for each element of the shape."""
    if length == 0:
        raise TooShort("the body is empty")
    needed = math.prod(shape)
    message = f"the body has {length} bytes, but a tensor of shape {shape} needs {needed}"
    if length < needed:
        raise TooShort(message)
    if length > needed:
        raise TooLong(message)


def scaled(body):
    """Converts bytes to numbers from 0 to 1."""
    return array.array("f", map(_SCALED.__getitem__, body))


_SCALED = [byte / 255 for byte in range(256)]
