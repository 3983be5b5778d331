"""Boxes and faces are cut out of a picture by `crop-transform` alone; the tensors of the detector are chosen here.

A box is compared with `crop` and `resize` of Pillow. A face is given by five points that fit the template of ArcFace only
nearly; the similarity is that of Umeyama (1991), as scikit-image computes it, and the pixels those of `transform` of Pillow.
"""

import json
import math
import struct

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 240, 180
# Those of the pipelines of `tests/it/chains.rs`.
BOX = (48, 32)
FACE = (112, 112)
# The eyes, the nose and the corners of the mouth in 112 x 112 pixels (ArcFace).
TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
# Larger than the crop, as large, smaller, wide, at the edges.
BOXES = [[10, 20, 150, 130], [60, 40, 108, 72], [200, 100, 220, 113], [0, 90, 240, 110], [0, 0, 30, 30], [190, 150, 240, 180]]
# The centre, the angle, and the number of pixels for one of the crop.
FACES = [((120, 90), 0.2, 1.0), ((110, 95), 2.9, 0.6), ((118, 92), -0.7, 1.15), ((90, 100), -1.6, 0.3)]


def picture():
    random = np.random.default_rng(5)
    coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    fine = random.normal(0, 6, (HEIGHT, WIDTH, 3))
    return np.clip(np.asarray(coarse, float) + fine, 0, 255).round().astype(np.uint8)


def body(tensors):
    """The body of the test guest `given-tensors`."""
    size = {"width": WIDTH, "height": HEIGHT, "input_width": WIDTH, "input_height": HEIGHT}
    context = size | {"scale_x": 1.0, "scale_y": 1.0, "offset_x": 0.0, "offset_y": 0.0}
    described = [{"name": name, "type": "fp32", "shape": array.shape} for name, array in tensors]
    described.append({"name": "picture", "type": "u8", "shape": [1, HEIGHT, WIDTH, 3]})
    head = json.dumps({"tensors": described, "context": context}).encode()
    data = [array.astype("<f4").tobytes() for _, array in tensors] + [picture().tobytes()]
    return struct.pack("<I", len(head)) + head + b"".join(data)


def points(case):
    """Five points near those of a face that is turned."""
    (x, y), angle, scale = FACES[case]
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    noise = np.random.default_rng(case).uniform(-4, 4, TEMPLATE.shape) * scale
    return ((TEMPLATE - [56, 56]) @ turn.T + [x, y] + noise).astype(np.float32)


def make(out, models):
    rows = [[*box, 0.9 - 0.1 * at, at] for at, box in enumerate(BOXES)]
    bodies = {"boxes0.body": body([("rows", np.array([rows]))])}
    for case in range(len(FACES)):
        bodies[f"faces{case}.body"] = body([("points", points(case).reshape(1, 1, 10))])
    for name, bytes_of in bodies.items():
        (out / name).write_bytes(bytes_of)
    return sorted(bodies)


def similarity(source, target):
    """The similarity from `source` to `target` with the least squares, as a matrix of 3 x 3."""
    from_mean, to_mean = source.mean(0), target.mean(0)
    centred, wanted = source - from_mean, target - to_mean
    u, singular, vt = np.linalg.svd(wanted.T @ centred / len(source))
    signs = np.array([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    turn = u @ np.diag(signs) @ vt
    scale = (singular * signs).sum() / centred.var(0).sum()
    matrix = np.eye(3)
    matrix[:2, :2] = scale * turn
    matrix[:2, 2] = to_mean - scale * turn @ from_mean
    return matrix


def face(case):
    inverse = np.linalg.inv(similarity(points(case).astype(float), TEMPLATE))
    # A part that is larger than the crop is first cut out larger, and then resized.
    larger = max(1, math.ceil(math.hypot(*inverse[:2, 0]) - 1e-6))
    data = inverse @ np.diag([1 / larger, 1 / larger, 1])
    size = tuple(side * larger for side in FACE)
    # In whole levels `transform` cuts off the fraction, in floating point it does not.
    bands = [Image.fromarray(band) for band in picture().astype(np.float32).transpose(2, 0, 1)]
    warped = [band.transform(size, Image.Transform.AFFINE, data[:2].flatten(), Image.Resampling.BILINEAR) for band in bands]
    crop = Image.fromarray(np.stack(warped, 2).round().astype(np.uint8))
    return crop.resize(FACE, Image.Resampling.BILINEAR)


def check(out, models, name, reply):
    if name.startswith("boxes"):
        whole = Image.fromarray(picture())
        expected = [whole.crop(box).resize(BOX, Image.Resampling.BILINEAR) for box in BOXES]
    else:
        expected = [face(int(name[5]))]
    assert len(reply["items"]) == len(expected), reply["context"]
    worst = (0, 0)
    for item, crop in zip(reply["items"], expected):
        tensor = item["tensors"]["image"]
        assert tensor["shape"] == [1, crop.height, crop.width, 3], tensor["shape"]
        found = np.array(tensor["data"], float).reshape(crop.height, crop.width, 3)
        difference = np.abs(found - np.asarray(crop, float))
        assert np.asarray(crop).std() > 20, "the crop shows something"
        worst = max(worst, (difference.mean(), difference.max()))
        # Pillow rounds between the directions of a resize, the plugin does not.
        assert difference.mean() < 0.25 and difference.max() <= 2, (item["context"], difference.mean(), difference.max())
    return f"{len(expected)} crops, differences of up to {worst[0]:.3f} in the mean, {worst[1]:.0f} at most"
