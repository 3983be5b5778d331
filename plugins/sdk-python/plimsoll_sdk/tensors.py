"""Makes and reads tensors. Elements are row-major."""

import array
import sys

from wit_world.imports.tensor import Tensor, TensorType

from .failures import Internal

# Element types with the type codes of `array`. `array` has no 16-bit floats; `raw` makes tensors of them.
_CODES = {"f32": "f", "f64": "d", "u8": "B", "i32": "i", "i64": "q"}
_TYPES = {
    "f16": TensorType.FP16,
    "bf16": TensorType.BF16,
    "f32": TensorType.FP32,
    "f64": TensorType.FP64,
    "u8": TensorType.U8,
    "i32": TensorType.I32,
    "i64": TensorType.I64,
}
_NAMES = {case: name for name, case in _TYPES.items()}
_SIZES = {"f16": 2, "bf16": 2, "f32": 4, "f64": 8, "u8": 1, "i32": 4, "i64": 8}

assert sys.byteorder == "little", "WebAssembly is little-endian, as the bytes of tensors are"


def tensor(shape, values, dtype="f32"):
    """A tensor of this shape.

    `values` are numbers (a list, an `array.array`, any iterable), or an array of a library that has `tobytes`, whose
    elements must already have the type `dtype`: f32, f64, u8, i32 or i64.
    """
    if dtype not in _CODES:
        raise Internal(f"a tensor of {dtype!r} cannot be made of numbers; the types are {', '.join(_CODES)}")
    if isinstance(values, (bytes, bytearray, memoryview)) and dtype == "u8":
        return raw(shape, bytes(values), dtype)
    if not isinstance(values, array.array) and hasattr(values, "tobytes") and hasattr(values, "dtype"):
        return raw(shape, values.tobytes(), dtype)
    if not (isinstance(values, array.array) and values.typecode == _CODES[dtype]):
        values = array.array(_CODES[dtype], values)
    return raw(shape, values.tobytes(), dtype)


def raw(shape, data, dtype):
    """A tensor of this shape with these bytes (little-endian). Any element type, also f16 and bf16."""
    shape = [int(size) for size in shape]
    needed = _SIZES[dtype]
    for size in shape:
        needed *= size
    if needed != len(data):
        raise Internal(f"a tensor of shape {shape} and type {dtype} has {needed} bytes, but {len(data)} were given")
    return Tensor(shape, _TYPES[dtype], data)


def shape(tensor) -> list:
    """The sizes of the tensor's dimensions."""
    return list(tensor.dimensions())


def dtype(tensor) -> str:
    """The type of the tensor's elements: f16, bf16, f32, f64, u8, i32 or i64."""
    return _NAMES[tensor.ty()]


def values(tensor):
    """The elements of the tensor as an `array.array`. Raises `Internal` for f16 and bf16, which `array` does not have."""
    name = dtype(tensor)
    if name not in _CODES:
        raise Internal(f"a tensor of {name} cannot be read as numbers: let the model return f32, or read `tensor.data()`")
    return array.array(_CODES[name], tensor.data())


def find(tensors, name=None):
    """The tensor with this name. Without a name the only tensor; if there are several, `Internal` names them."""
    named = dict(tensors)
    if name is None and len(tensors) == 1:
        return tensors[0][1]
    if name not in named:
        known = ", ".join(named) or "none"
        raise Internal(f"there is no tensor `{name}`; the tensors are: {known}" if name else f"name one of: {known}")
    return named[name]
