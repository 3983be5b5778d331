"""Postprocess stage for classifiers: converts the scores of one image into its most probable labels.

Reply: `{"predictions": [{"label": "7", "index": 7, "probability": 0.98}, …]}`, most probable first. If two classes
have the same probability, the lower index comes first.

Configuration:
- `top_k`: the number of predictions (default 5). A caller can override it with the query parameter `top_k`.
- `labels`: the asset with one label per line. Without it, the label is the class index as text.
- `output`: the name of the tensor with the scores (f32, one image). Optional if the model has one output.

All modules must be imported at the top of this file: the build runs the file once and stores the state of the
interpreter, and during a request there are no files to import from. This also applies to modules that Python
imports implicitly, such as codecs other than UTF-8.
"""

import json
import math
import struct

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import assets, store
from wit_world.imports.tensor import TensorType
from wit_world.imports.types import Failure_Internal, Failure_InvalidInput, Reply


class Postprocess(exports.Postprocess):
    def run(self, request, outputs, context):
        # An `Err` becomes the failure of the stage. Any other exception is a trap.
        top_k = requested_top_k(request.parameters) or configured_top_k()
        scores = read_scores(outputs, store.get("output"))
        labels = read_labels(store.get("labels"), len(scores))

        probabilities = softmax(scores)
        best = sorted(range(len(scores)), key=lambda index: -probabilities[index])[:top_k]
        predictions = [
            {"label": labels[index], "index": index, "probability": probabilities[index]} for index in best
        ]
        return Reply("application/json", json.dumps({"predictions": predictions}, ensure_ascii=False).encode())


def requested_top_k(parameters):
    """The query parameter `top_k`, or None. If it is repeated, the last value counts."""
    texts = [value for name, value in parameters if name == "top_k"]
    if not texts:
        return None
    top_k = whole_number(texts[-1])
    if top_k is None:
        raise Err(Failure_InvalidInput(f"query parameter `top_k`: {texts[-1]!r} is not a whole number of at least 1"))
    return top_k


def configured_top_k():
    """The configured `top_k`. A wrong value is a configuration error, so it is not the caller's fault."""
    text = store.get("top_k") or "5"
    top_k = whole_number(text)
    if top_k is None:
        raise Err(Failure_Internal(f"configuration key `top_k`: {text!r} is not a whole number of at least 1"))
    return top_k


def whole_number(text):
    """Parses a whole number of at least 1. None if the text is not one, or has more than 18 digits."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        return None
    return int(text) or None


def read_scores(outputs, name):
    """The elements of the tensor `name`, or of the only tensor if no name is configured."""
    named = dict(outputs)
    if name is None and len(outputs) == 1:
        name = outputs[0][0]
    if name not in named:
        raise Err(Failure_Internal(f"there is no tensor {name!r}; the tensors are {list(named)}"))
    tensor = named[name]
    if tensor.ty() != TensorType.FP32:
        raise Err(Failure_Internal(f"expected a tensor of f32, but {name!r} has elements of type {tensor.ty().name}"))
    data = tensor.data()
    # The bytes of a wasi:nn tensor are little-endian.
    scores = struct.unpack(f"<{len(data) // 4}f", data)
    if not scores:
        raise Err(Failure_Internal(f"the tensor {name!r} is empty"))
    return scores


def read_labels(name, count):
    """One label for each class: the lines of the asset `name`, or the class indices if no asset is configured."""
    if name is None:
        return [str(index) for index in range(count)]
    try:
        text = assets.read(name).decode()
    except Err as error:
        raise Err(Failure_Internal(error.value))
    except UnicodeDecodeError as error:
        raise Err(Failure_Internal(f"labels `{name}`: {error}"))
    labels = [line.strip() for line in text.removeprefix("\ufeff").rstrip().split("\n")]
    if len(labels) != count:
        raise Err(Failure_Internal(f"the model returned {count} scores, but `{name}` has {len(labels)} labels"))
    return labels


def softmax(scores):
    """The probabilities of the scores. A score of -inf (a masked class) has probability 0."""
    # The greatest score is subtracted first, so that no exponential overflows.
    greatest = max(scores)
    exponentials = [math.exp(score - greatest) for score in scores]
    total = sum(exponentials)
    # NaN or infinity means that the model or its preprocessing is wrong, so a ranking would be meaningless.
    if math.isnan(total):
        raise Err(Failure_Internal("a score of the model is not a finite number"))
    return [exponential / total for exponential in exponentials]
