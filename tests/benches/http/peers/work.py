"""The work of every peer for an image: decode, resize, normalise, run the model, return the best five classes.

It is the work of `image-preprocess`, `infer-native` and `classify-postprocess`, written with Pillow and numpy. Two
environment variables select the model: `BENCH_MODEL` is its file, `BENCH_SIDE` the width and height of its input in
pixels.
"""

import io
import os

import numpy
import onnxruntime
from PIL import Image

SIDE = int(os.environ["BENCH_SIDE"])
MEAN = numpy.array([123.675, 116.28, 103.53], numpy.float32)
SCALE = numpy.array([1 / 58.395, 1 / 57.12, 1 / 57.375], numpy.float32)


def session() -> onnxruntime.InferenceSession:
    """A session with one thread per run, as in Plimsoll. Other processes or requests use the other cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])


def prepare(body: bytes) -> numpy.ndarray:
    """Converts a request body to the model's input."""
    image = Image.open(io.BytesIO(body)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    pixels = (numpy.asarray(image, numpy.float32) - MEAN) * SCALE
    return numpy.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def best(logits: numpy.ndarray) -> dict:
    """The five most probable classes."""
    exponentials = numpy.exp(logits - logits.max())
    probabilities = exponentials / exponentials.sum()
    order = numpy.argsort(-probabilities)[:5]
    return {"predictions": [{"label": str(i), "index": int(i), "probability": float(probabilities[i])} for i in order]}


def answer(model: onnxruntime.InferenceSession, body: bytes) -> dict:
    """Runs all steps for a request body."""
    return best(model.run(None, {"image": prepare(body)})[0][0])
