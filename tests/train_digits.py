#!/usr/bin/env python3
"""Train the bundled demo model `digits` and write its files.

    python -m venv .venv
    .venv/bin/pip install -r tests/requirements-train.txt
    .venv/bin/python tests/train_digits.py

Needs no arguments, no GPU and no download (scikit-learn carries the data).

Writes
    host/demo/digits.onnx          the network: `image` float32 [batch,1,8,8],
                                   white ink 1 on black 0, to `logits` float32 [batch,10]
    host/demo/digits-labels.txt    the ten labels, one a line
    tests/data/digits/N.png|jpg    one held-out picture of each digit, 64x64
    tests/data/digits/expected.json  {file: {label, probabilities}} for these

and prints the accuracies, measured with onnxruntime on the exported file.

Data: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits",
UCI Machine Learning Repository, 1998, doi:10.24432/C50P49; the copy of its
1797 test images in scikit-learn (BSD-3-Clause), sklearn.datasets.load_digits.

A fifth of the images is held out, by class. It takes no part in training, and
the length of training is fixed beforehand, so it does not choose the weights
either. The split is by image, not by writer (the data does not name them), so
hands of the same people are on both sides of it.

The network is a few lines of numpy rather than a framework (`digits_network.py`):
it is small enough to train in well under two minutes on one core.
"""

import io
import json
import os
from pathlib import Path

# One BLAS thread: sums are then always added in the same order, so a second run
# on the same machine with the same versions gives the same files.
for _name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
import onnx
import onnxruntime
from digits_network import forward, gradients, init, softmax, to_onnx
from onnx import helper
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "host" / "demo"
PICTURES = ROOT / "tests" / "data" / "digits"

SEED = 20240
EPOCHS = 80
BATCH = 64
RATE = 2e-3
WEIGHT_DECAY = 1e-3

# Which of the ten pictures are JPEG, and in which mode; the others are PNG, "L".
# The RGB one is there so that the conversion to grey is exercised as well.
JPEG_MODES = {3: "RGB", 7: "L"}


# --- training --------------------------------------------------------------


def augment(rng, images):
    """Shift, blur and dim or brighten each image by its own random amount.

    A picture that was enlarged and then shrunk to 8x8 again comes back softer
    than the original, and a user's picture is not centred as the data is;
    without this the network would only know crisp, centred digits.
    """
    n = len(images)
    eye, up, down = np.eye(8), np.eye(8, k=1), np.eye(8, k=-1)
    # Blurring at the border repeats the edge pixel, as picture resizing does.
    edge = np.zeros((8, 8))
    edge[0, 0] = edge[7, 7] = 1
    blur = np.where(rng.random(n) < 0.7, rng.uniform(0, 0.25, n), 0)[:, None, None]
    soften = (1 - 2 * blur) * eye + blur * (up + down + edge)

    def axis_operator():
        # Half of the images shift along this axis, by up to 1 pixel either way;
        # the fraction of a pixel is interpolated, and black comes in at the edge.
        by = np.where(rng.random(n) < 0.5, rng.uniform(-1, 1, n), 0)[:, None, None]
        shift = (1 - np.abs(by)) * eye + np.abs(by) * np.where(by > 0, down, up)
        return soften @ shift

    rows, columns = axis_operator(), axis_operator()
    out = rows @ images[:, 0] @ columns.transpose(0, 2, 1)
    out *= rng.uniform(0.7, 1.3, n)[:, None, None]
    out += rng.normal(0, 0.02, out.shape)  # of the size of JPEG artefacts
    return out.clip(0, 1).astype(np.float32)[:, None]


def train(images, labels):
    rng = np.random.default_rng(SEED)
    p = init(rng)
    m = {k: np.zeros_like(v) for k, v in p.items()}
    s = {k: np.zeros_like(v) for k, v in p.items()}
    steps_per_epoch = len(images) // BATCH
    total = EPOCHS * steps_per_epoch
    step = 0
    for epoch in range(EPOCHS):
        order = rng.permutation(len(images))
        losses = []
        for start in range(0, steps_per_epoch * BATCH, BATCH):
            pick = order[start : start + BATCH]
            loss, g = gradients(p, augment(rng, images[pick]), labels[pick])
            losses.append(loss)
            step += 1
            # Adam with decoupled weight decay; the rate falls to 0 along a cosine.
            rate = RATE * 0.5 * (1 + np.cos(np.pi * step / total))
            for k in p:
                m[k] = 0.9 * m[k] + 0.1 * g[k]
                s[k] = 0.999 * s[k] + 0.001 * g[k] ** 2
                change = (m[k] / (1 - 0.9**step)) / (np.sqrt(s[k] / (1 - 0.999**step)) + 1e-8)
                p[k] = (p[k] - rate * (change + WEIGHT_DECAY * p[k])).astype(np.float32)
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1:3d}/{EPOCHS}  training loss {np.mean(losses):.4f}", flush=True)
    return p


# --- pictures --------------------------------------------------------------


def encode(image, kind="JPEG", mode="L"):
    """An 8x8 image as a user would send it: a 64x64 picture file, as bytes."""
    grey = Image.fromarray((image[0] * 255).round().astype(np.uint8))
    picture = grey.resize((64, 64), Image.Resampling.BILINEAR).convert(mode)
    out = io.BytesIO()
    picture.save(out, kind, **({"quality": 90} if kind == "JPEG" else {"optimize": True}))
    return out.getvalue()


def decode(data):
    """What a server does with a picture file. Pillow's BILINEAR is antialiased."""
    grey = Image.open(io.BytesIO(data)).convert("L")
    small = grey.resize((8, 8), Image.Resampling.BILINEAR)
    return np.asarray(small, np.float32)[None] / np.float32(255)


def main():
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    images, held_images, labels, held_labels = train_test_split(
        images, labels, test_size=0.2, random_state=SEED, stratify=labels
    )
    print(f"{len(images)} images to train on, {len(held_images)} held out")

    p = train(images, labels)
    model = to_onnx(p)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )

    def run(x):
        return session.run(["logits"], {"image": x})[0]

    # The exported file must compute what was trained, for any batch size.
    reference = forward(p, held_images)[0]
    for n in (1, 7, len(held_images)):
        np.testing.assert_allclose(run(held_images[:n]), reference[:n], rtol=1e-4, atol=1e-4)
    gap = np.abs(run(held_images) - reference).max()
    print(f"export checked: largest difference of a logit {gap:.1e}")

    def accuracy(x, y):
        right = int((run(x).argmax(-1) == y).sum())
        return f"{100 * right / len(y):.2f} % ({right} of {len(y)})"

    through_jpeg = np.stack([decode(encode(i)) for i in held_images])
    plain, pictured = accuracy(held_images, held_labels), accuracy(through_jpeg, held_labels)
    print(f"training images:                     {accuracy(images, labels)}")
    print(f"held out, as they are:               {plain}")
    print(f"held out, as 64x64 JPEG q90 pictures: {pictured}")

    helper.set_model_props(
        model,
        {
            "dataset": "Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak, UCI "
            "1998, doi:10.24432/C50P49), test part, from sklearn.datasets.load_digits",
            "split": f"stratified by class, seed {SEED}: {len(images)} to train, "
            f"{len(held_images)} held out",
            "accuracy": f"{plain} on the held-out images",
            "accuracy_pictures": f"{pictured} on the same as 64x64 JPEG quality 90",
            "input": "8x8 grey, 0..1, white ink on black",
        },
    )
    DEMO.mkdir(parents=True, exist_ok=True)
    PICTURES.mkdir(parents=True, exist_ok=True)
    onnx.save(model, DEMO / "digits.onnx")
    (DEMO / "digits-labels.txt").write_text("".join(f"{d}\n" for d in range(10)))

    # One picture of each class: the first held-out image that is recognised with
    # a clear margin, so that rounding in another decoder or resizer cannot
    # change the answer. They are selected, so they say nothing about accuracy.
    expected = {}
    for digit in range(10):
        kind, mode = ("JPEG", JPEG_MODES[digit]) if digit in JPEG_MODES else ("PNG", "L")
        for image in held_images[held_labels == digit]:
            data = encode(image, kind, mode)
            prob = softmax(run(decode(data)[None])[0].astype(np.float64))
            if prob.argmax() == digit and prob.max() > 0.95:
                break
        else:
            raise SystemExit(f"no held-out {digit} is recognised clearly")
        name = f"{digit}.{'jpg' if kind == 'JPEG' else 'png'}"
        (PICTURES / name).write_bytes(data)
        expected[name] = {"label": str(digit), "probabilities": [round(float(v), 6) for v in prob]}
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in expected.items())
    (PICTURES / "expected.json").write_text("{\n" + lines + "\n}\n")

    for path in sorted([*DEMO.glob("digits*"), *PICTURES.iterdir()]):
        print(f"{path.stat().st_size:7d}  {path.relative_to(ROOT).as_posix()}")


if __name__ == "__main__":
    main()
