"""Postprocess stage for classifiers: converts the scores of one image into its most probable labels.

Reply: `{"predictions": [{"label": "7", "index": 7, "probability": 0.98}, …]}`, most probable first. If two classes
have the same probability, the lower index comes first.

Configuration:
- `top_k`: the number of predictions (default 5). A caller can override it with the query parameter `top_k`.
- `labels`: the asset with one label per line. Without it, the label is the class index as text.
- `output`: the name of the tensor with the scores (one image). Optional if the model has one output.

All modules must be imported at the top of this file: the build runs the file once and stores the state of the
interpreter, and during a request there are no files to import from. This also applies to modules that Python
imports implicitly, such as codecs other than UTF-8.
"""

import math

from plimsoll_sdk import Internal, InvalidInput, assets, config, json_reply, tensors


class Postprocess:
    def run(self, request, outputs, context):
        top_k = requested_top_k(request.parameters) or config.integer("top_k", 5, minimum=1)
        scores = tensors.values(tensors.find(outputs, config.text("output", None)))
        labels = read_labels(config.text("labels", None), len(scores))
        probabilities = softmax(scores)
        best = sorted(range(len(scores)), key=lambda index: -probabilities[index])[:top_k]
        return json_reply({"predictions": [
            {"label": labels[index], "index": index, "probability": probabilities[index]} for index in best
        ]})


def requested_top_k(parameters):
    """The query parameter `top_k`, or None. If it is repeated, the last value counts."""
    texts = [value for name, value in parameters if name == "top_k"]
    if not texts:
        return None
    text = texts[-1]
    if not (text.isascii() and text.isdecimal() and len(text) <= 18 and int(text)):
        raise InvalidInput(f"query parameter `top_k`: {text!r} is not a whole number of at least 1")
    return int(text)


def read_labels(name, count):
    """One label for each class: the lines of the asset `name`, or the class indices if no asset is configured."""
    if name is None:
        return [str(index) for index in range(count)]
    labels = assets.labels(name)
    if len(labels) != count:
        raise Internal(f"the model returned {count} scores, but `{name}` has {len(labels)} labels")
    return labels


def softmax(scores):
    """The probabilities of the scores. A score of -inf (a masked class) has probability 0."""
    if not scores:
        raise Internal("the tensor of the scores is empty")
    # The greatest score is subtracted first, so that no exponential overflows.
    greatest = max(scores)
    exponentials = [math.exp(score - greatest) for score in scores]
    total = sum(exponentials)
    # NaN or infinity means that the model or its preprocessing is wrong, so a ranking would be meaningless.
    if math.isnan(total):
        raise Internal("a score of the model is not a finite number")
    return [exponential / total for exponential in exponentials]
