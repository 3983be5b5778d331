"""`text-postprocess`: `CTCLabelDecode` of PaddleOCR (`ppocr/postprocess/rec_postprocess.py`), written again with numpy."""

import json
import re

import numpy as np

from common import NO_CONTEXT, REFUSED, spoil

LETTERS = "abcdefg ÄÖ語\U0001f600\"\\"
FILE = "\n".join(LETTERS).encode()
VARIANTS = [
    {"config": {"dictionary": "d.txt"}, "assets": {"d.txt": FILE}},
    {"config": {"dictionary": "d.txt", "scores": "ready"}, "assets": {"d.txt": FILE + b"\n"}},
    {"config": {"dictionary": "d.txt", "blank": "last", "layout": "tbc"}, "assets": {"d.txt": b"a\r\nb\r\nch\r\n"}},
    {"config": {"dictionary": "d.txt", "space": True, "scores": "ready", "blank": "last"},
     "assets": {"d.txt": b"\xef\xbb\xbfx\ny"}},
    {"config": {"dictionary": "d.txt", "right_to_left": True, "space": True},
     "assets": {"d.txt": "\n".join("\u0627\u0628\u062a\u0660ab1:-%_\u00e9").encode()}},
]


def entries(variant):
    lines = variant["assets"]["d.txt"].decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n").split("\n")
    return lines + [" "] if variant["config"].get("space") else lines


def softmax(values):
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def pred_reverse(text):
    """A character of the first kind is a part, and so is a run of others; the order of the parts is reversed."""
    return "".join(re.findall(r"[^a-zA-Z0-9 :*./%+-]|[a-zA-Z0-9 :*./%+-]+", text, re.S)[::-1])


def make(random, variant):
    config = variant["config"]
    characters, ready = entries(variant), config.get("scores") == "ready"
    blank = len(characters) if config.get("blank") == "last" else 0
    steps, classes = int(random.integers(1, 60)), len(characters) + 1
    # The best class is often the one of the step before, or the blank.
    best = random.integers(0, classes, steps)
    for step in range(1, steps):
        best[step] = random.choice([best[step - 1], best[step], blank])
    if random.random() < 0.1:
        best[:] = blank
    scores = random.normal(0, 1, (steps, classes))
    scores[np.arange(steps), best] += random.choice([0, 4])
    if ready:
        scores = softmax(scores)
    if random.random() < 0.3:
        scores = np.round(scores * 4) / 4
    scores = scores.astype(np.float32)
    refused = random.random()
    if refused < 0.05:
        spoil(random, scores)
    elif refused < 0.1 and ready:
        scores[random.integers(steps), random.integers(classes)] = random.choice([1.5, -0.5])
    elif refused < 0.1:
        scores = softmax(scores.astype(np.float64)).astype(np.float32)
    distributions = (scores >= 0).all(1) & (np.abs(scores.sum(1, dtype=np.float64) - 1) < 5e-3)
    like_probabilities = classes >= 3 and scores.min() >= -0.01 and scores.max() <= 1.01
    if not ready and refused >= 0.1 and (2 * distributions.sum() > steps or like_probabilities):
        refused = 0
    array = scores[:, None] if config.get("layout") == "tbc" else scores[None]
    if refused < 0.1:
        return [("output", array)], NO_CONTEXT, REFUSED
    wide = scores.astype(np.float64) if ready else softmax(scores.astype(np.float64))
    index, probability = scores.argmax(1), wide.max(1)
    selection = np.ones(steps, bool)
    selection[1:] = index[1:] != index[:-1]
    selection &= index != blank
    dictionary = characters + ["blank"] if blank else ["blank"] + characters
    found = [(dictionary[index[step]], probability[step], step) for step in np.flatnonzero(selection)]
    return [("output", array)], NO_CONTEXT, found


def compare(reply, media_type, expected, variant):
    assert media_type == "application/json"
    answer = json.loads(reply)
    assert set(answer) == {"text", "confidence", "characters"}
    text = "".join(text for text, _, _ in expected)
    assert answer["text"] == (pred_reverse(text) if variant["config"].get("right_to_left") else text)
    assert abs(answer["confidence"] - np.mean([one for _, one, _ in expected] or [0])) < 1e-6
    found = answer["characters"]
    assert [(one["text"], one["step"]) for one in found] == [(text, step) for text, _, step in expected]
    np.testing.assert_allclose([one["confidence"] for one in found], [one for _, one, _ in expected], rtol=1e-5)
