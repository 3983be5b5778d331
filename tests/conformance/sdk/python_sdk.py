"""The helpers of `plugins/sdk-python`, with the functions of the host replaced by these.

    python tests/conformance/sdk/python_sdk.py
"""

import array
import enum
import json
import struct
import sys
import types
from pathlib import Path

sys.dont_write_bytecode = True
CONFIG, ASSETS = {}, {}


class Err(Exception):
    def __init__(self, value):
        self.value = value


def module(name, **members):
    made = types.ModuleType(name)
    made.__dict__.update(members)
    sys.modules[name] = made
    return made


def read(name):
    if name not in ASSETS:
        raise Err(f"there is no asset `{name}`")
    return ASSETS[name]


def case(name):
    def init(self, value):
        self.value = value

    return type(name, (), {"__init__": init})


def record(name, *fields):
    def init(self, *values):
        self.__dict__.update(zip(fields, values, strict=True))

    return type(name, (), {"__init__": init})


class TensorType(enum.Enum):
    FP16, FP32, FP64, BF16, U8, I32, I64 = range(7)


class Tensor:
    def __init__(self, dimensions, ty, data):
        self.parts = dimensions, ty, data

    def dimensions(self):
        return self.parts[0]

    def ty(self):
        return self.parts[1]

    def data(self):
        return self.parts[2]


failures = {f"Failure_{name}": case(name) for name in ("Internal", "InvalidInput", "TooLarge", "UnsupportedMediaType")}
module("componentize_py_types", Err=Err)
module("wit_world")
module(
    "wit_world.imports",
    assets=module("wit_world.imports.assets", read=read),
    store=module("wit_world.imports.store", get=CONFIG.get, get_all=lambda: list(CONFIG.items())),
)
module("wit_world.imports.tensor", Tensor=Tensor, TensorType=TensorType)
module(
    "wit_world.imports.types",
    Prepared=record("Prepared", "tensors", "context"), Reply=record("Reply", "content_type", "body"), **failures,
)
sys.path.insert(0, str(Path(__file__).parents[3] / "plugins/sdk-python"))

from plimsoll_sdk import Internal, InvalidInput, assets, config, json_reply, prepared, reply, tensors  # noqa: E402


def refused(words, call, *arguments, kind="Internal", **options):
    try:
        found = call(*arguments, **options)
    except Err as error:
        assert type(error.value).__name__ == kind, error.value
        for word in [words] if isinstance(words, str) else words:
            assert word in error.value.value, f"{word!r} is missing in {error.value.value!r}"
    else:
        raise AssertionError(f"{found!r} instead of a failure with {words!r}")


def the_configuration():
    CONFIG.update({"name": "a b", "count": " 7 ", "part": "0.25", "on": "true", "off": "false", "mode": "fast", "list": "1, 2,3", "bad": "x", "nan": "nan", "inf": "inf"})
    assert config.text("name") == "a b" and config.text("none", "d") == "d" and config.text("none", None) is None
    refused("`none` is missing", config.text, "none")
    assert config.integer("count") == 7 and config.integer("none", 3, minimum=5) == 3
    refused(["`bad`", "'x' is not a whole number"], config.integer, "bad")
    refused("'0.25' is not a whole number", config.integer, "part")
    refused("7 is less than 8", config.integer, "count", minimum=8)
    refused("7 is greater than 6", config.integer, "count", maximum=6)
    assert config.number("part") == 0.25 and config.number("count", minimum=7, maximum=7) == 7.0
    for key in ("bad", "nan", "inf"):
        refused([f"`{key}`", "is not a number"], config.number, key)
    assert config.flag("on") is True and config.flag("off") is False and config.flag("none", True) is True
    refused("'x' is neither true nor false", config.flag, "bad")
    refused("`none` is missing", config.flag, "none")
    assert config.choice("mode", ["fast", "slow"]) == "fast" and config.choice("none", ["fast"], "slow") == "slow"
    refused("'x' is not one of fast, slow", config.choice, "bad", ["fast", "slow"])
    assert config.items("list") == ["1", "2", "3"] and config.items("list", item=int) == [1, 2, 3]
    assert config.items("none", ()) == ()
    refused("'x' is not an item of type int", config.items, "bad", item=int)
    config.only(*CONFIG)
    refused(["unknown configuration key `inf`", "known keys: name"], config.only, *[key for key in CONFIG if key != "inf"])


def the_assets():
    ASSETS.update({"labels": b"\xef\xbb\xbfcat\r\n\r\ndog \r\n\r\n", "empty": b"\n", "bytes": b"\xff"})
    assert assets.read("bytes") == b"\xff"
    assert assets.labels("labels") == ["cat", "", "dog"], assets.labels("labels")
    refused("there is no asset `none`", assets.read, "none")
    refused("`empty`: the file contains no label", assets.labels, "empty")
    refused("`bytes`", assets.labels, "bytes")


def the_tensors():
    made = tensors.tensor([2, 2], [1, 2.5, -3, 0])
    assert made.parts == ([2, 2], TensorType.FP32, struct.pack("<4f", 1, 2.5, -3, 0))
    assert list(tensors.values(made)) == [1, 2.5, -3, 0] and tensors.shape(made) == [2, 2] and tensors.dtype(made) == "f32"
    for dtype, code, values in [("f64", "d", [0.1]), ("u8", "B", [255]), ("i32", "i", [-5]), ("i64", "q", [2**40])]:
        for given in (values, array.array(code, values), tuple(values)):
            made = tensors.tensor([1], given, dtype)
            assert tensors.dtype(made) == dtype and list(tensors.values(made)) == values
    assert tensors.tensor([3], b"abc", "u8").data() == b"abc"
    # An array of another type is converted, and one of a library is taken as it is.
    assert list(tensors.values(tensors.tensor([1], array.array("i", [3]), "f32"))) == [3.0]
    library = types.SimpleNamespace(tobytes=lambda: struct.pack("<2f", 5, 6), dtype="float32")
    assert list(tensors.values(tensors.tensor([2], library))) == [5.0, 6.0]
    half = tensors.raw([2], b"\0\x3c\0\0", "f16")
    assert half.ty() == TensorType.FP16 and tensors.dtype(half) == "f16"
    refused("a tensor of f16 cannot be read as numbers", tensors.values, half)
    refused("a tensor of 'f16' cannot be made of numbers", tensors.tensor, [1], [1.0], "f16")
    refused("shape [3] and type f32 has 12 bytes, but 8 were given", tensors.tensor, [3], [1, 2])
    refused("has 4 bytes, but 3 were given", tensors.raw, [2], b"abc", "bf16")
    pairs = [("a", made), ("b", half)]
    assert tensors.find(pairs, "b") is half and tensors.find(pairs[:1]) is made
    refused("there is no tensor `c`; the tensors are: a, b", tensors.find, pairs, "c")
    refused("name one of: a, b", tensors.find, pairs)


def the_results():
    made = prepared({"x": 1}, b"c")
    assert (made.tensors, made.context) == ([("x", 1)], b"c") and prepared([("y", 2)]).tensors == [("y", 2)]
    answer = reply("image/png", bytearray(b"p"))
    assert (answer.content_type, answer.body) == ("image/png", b"p") and type(answer.body) is bytes
    answer = json_reply({"ä": [1, 0.5]})
    assert answer.content_type == "application/json" and json.loads(answer.body) == {"ä": [1, 0.5]}
    try:
        json_reply(float("nan"))
    except ValueError:
        pass
    else:
        raise AssertionError("NaN is no JSON")

    def fail():
        raise InvalidInput("the body is empty")

    refused("the body is empty", fail, kind="InvalidInput")
    assert isinstance(Internal("x"), Err)


for check in (the_configuration, the_assets, the_tensors, the_results):
    check()
print("the helpers of the SDK for Python are right")
