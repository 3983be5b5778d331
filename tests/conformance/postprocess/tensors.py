"""`tensors-postprocess`: the replies are read with `json`, `numpy.load` and the package `safetensors`."""

import io
import json

import numpy as np
import safetensors.numpy

from common import NO_CONTEXT, REFUSED, spoil

VARIANTS = [
    {"config": {}},
    {"config": {"format": "npz"}},
    {"config": {"format": "safetensors"}},
    {"config": {"format": "json", "outputs": ["second", "first"]}},
    {"config": {"format": "npz", "outputs": ["second"]}},
]
TYPES = [np.float16, np.float32, np.float64, np.uint8, np.int32, np.int64, "bf16"]
NAMES = ["first", "second", "a/b:0", "Ünïcode \"quoted\"", ""]
DATATYPES = {"float16": "FP16", "float32": "FP32", "float64": "FP64", "uint8": "UINT8", "int32": "INT32",
             "int64": "INT64", "bf16": "BF16"}


def widened(bits, shape):
    """The numbers of bf16, which are the upper halves of f32."""
    return (bits.astype(np.uint32) << 16).view(np.float32).reshape(shape)


def elements(random, kind, shape):
    """Any bits of the type, also the greatest and the smallest; for floats without NaN and infinity."""
    count = int(np.prod(shape))
    if kind == "bf16":
        bits = random.integers(0, 1 << 16, count, np.uint16)
        bits[(bits & 0x7F80) == 0x7F80] &= 0x807F
        return bits
    data = np.frombuffer(random.bytes(count * np.dtype(kind).itemsize), kind).reshape(shape).copy()
    if np.issubdtype(kind, np.floating):
        data[~np.isfinite(data)] = -0.0
    return data


def make(random, variant):
    tensors, expected = [], {}
    is_json = variant["config"].get("format", "json") == "json"
    refused = False
    for name in NAMES[: random.integers(2, 6)]:
        shape = tuple(int(size) for size in random.integers(0 if random.random() < 0.1 else 1, 6, random.integers(0, 5)))
        kind = TYPES[random.integers(len(TYPES))]
        data = elements(random, kind, shape)
        if kind not in ("bf16",) and np.issubdtype(kind, np.floating) and data.size and random.random() < 0.1:
            spoil(random, data)
            refused |= is_json and name in variant["config"].get("outputs", NAMES)
        if kind == "bf16":
            tensors.append((name, data, shape))
            expected[name] = ("bf16", widened(data, shape), data)
        else:
            tensors.append((name, data))
            expected[name] = (str(data.dtype), data, data)
    wanted = variant["config"].get("outputs", list(expected))
    return tensors, NO_CONTEXT, REFUSED if refused else {name: expected[name] for name in wanted}


def same(found, wanted):
    assert found.shape == wanted.shape and found.dtype == wanted.dtype, (found.dtype, found.shape, wanted.shape)
    assert found.tobytes() == wanted.tobytes(), "other bytes"


def compare(reply, media_type, expected, variant):
    kind = variant["config"].get("format", "json")
    if kind == "json":
        assert media_type == "application/json"
        found = json.loads(reply)["outputs"]
        assert [output["name"] for output in found] == list(expected)
        for output, (datatype, values, _) in zip(found, expected.values()):
            assert output["datatype"] == DATATYPES[datatype]
            assert set(output) == {"name", "datatype", "shape", "data"}
            # A double from the text, then the type: the way of most readers.
            same(np.array(output["data"], values.dtype).reshape(output["shape"]), values)
    elif kind == "npz":
        assert media_type == "application/zip"
        found = np.load(io.BytesIO(reply))
        assert sorted(found.files) == sorted(expected)
        for name, (_, values, _) in expected.items():
            same(found[name], values)
    else:
        assert media_type == "application/octet-stream"
        found = dict(safetensors.deserialize(reply))
        assert sorted(found) == sorted(expected)
        names = {"float16": "F16", "float32": "F32", "float64": "F64", "uint8": "U8", "int32": "I32", "int64": "I64"}
        for name, (datatype, values, raw) in expected.items():
            assert found[name]["dtype"] == names.get(datatype, "BF16")
            assert tuple(found[name]["shape"]) == values.shape
            assert bytes(found[name]["data"]) == raw.tobytes()
