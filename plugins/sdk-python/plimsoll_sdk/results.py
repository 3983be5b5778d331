"""The results of stages."""

import json

from wit_world.imports.types import Prepared, Reply


def prepared(tensors, context=b""):
    """The result of preprocessing: a dict (or pairs) of names and tensors, and bytes for postprocessing."""
    pairs = tensors.items() if hasattr(tensors, "items") else tensors
    return Prepared(list(pairs), context)


def reply(content_type, body):
    """The reply to the caller."""
    return Reply(content_type, bytes(body))


def json_reply(value):
    """A reply with `value` as JSON. NaN and infinity raise ValueError, because JSON cannot represent them."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Reply("application/json", text.encode())
