"""`embed-postprocess`: vectors as `numpy.linalg.norm` divides them."""

import base64
import io
import json

import numpy as np

from common import NO_CONTEXT, REFUSED, spoil

VARIANTS = [
    {"config": {}},
    {"config": {"format": "npy"}},
    {"config": {"format": "base64", "output": "second"}},
    {"config": {"norm": "none"}},
    {"config": {"pooling": "mean", "format": "npy"}},
    {"config": {"pooling": "first", "norm": "none", "format": "base64"}},
    {"config": {"pooling": "mean", "norm": "none"}},
]


def make(random, variant):
    size, pooling = int(random.integers(1, 700)), variant["config"].get("pooling", "none")
    tokens = int(random.integers(1, 40)) if pooling != "none" else 1
    # From numbers whose squares vanish in f32 to those whose squares overflow.
    factor = random.choice([1e-30, 1e-3, 1.0, 50.0, 1e30])
    values = (random.normal(0, 1, (tokens, size)) * factor).astype(random.choice([np.float32, np.float16]))
    values[~np.isfinite(values)] = 1
    refused = False
    if random.random() < 0.1:
        spoil(random, values)
        refused = True
    elif random.random() < 0.1:
        values[:] = 0
    shapes = [(size,), (1, size), (1, size, 1, 1), (1, 1, size)] if pooling == "none" else [(1, tokens, size)]
    tensors = [("first", values.reshape(shapes[random.integers(len(shapes))]))]
    if variant["config"].get("output") == "second":
        tensors = [("first", random.normal(0, 1, 3).astype(np.float32)), ("second", tensors[0][1])]
    wide = values.astype(np.float64)
    vector = wide.mean(0) if pooling == "mean" else wide[0]
    if variant["config"].get("norm") != "none":
        length = np.linalg.norm(vector)
        refused |= length == 0
        vector = vector / length if length else vector
    return tensors, NO_CONTEXT, REFUSED if refused else vector


def compare(reply, media_type, expected, variant):
    kind = variant["config"].get("format", "json")
    assert media_type == ("application/octet-stream" if kind == "npy" else "application/json")
    if kind == "npy":
        found = np.load(io.BytesIO(reply))
        assert found.dtype == np.float32
    else:
        answer = json.loads(reply)
        assert set(answer) == {"dimensions", "embedding"} and answer["dimensions"] == expected.size
        found = answer["embedding"]
        found = np.frombuffer(base64.b64decode(found), "<f4") if kind == "base64" else np.array(found)
    assert found.shape == expected.shape
    # The result is rounded to f32; sums may be in another order.
    np.testing.assert_allclose(found, expected.astype(np.float32), rtol=2e-7, atol=1e-44)
    if variant["config"].get("norm") != "none":
        assert abs(np.linalg.norm(found.astype(np.float64)) - 1) < 1e-6
