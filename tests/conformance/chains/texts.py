"""A detector returns the four corners of each text, a recogniser reads each with CTC. Both models are made here, without training.

The corners of a text are marked with single pixels, each in a colour of its own, which the detector finds (Abs, ReduceSum,
ArgMax). The recogniser compares cells of 16 x 32 pixels with the letters of a font (Conv) and returns the distance to each as a
logit; the empty cell is the blank.
"""

import json
import math
import string

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 480, 360
TEXTS = 3
CELL = (16, 32)
CELLS = 10
LETTERS = string.ascii_uppercase[:12] + "0123"
SHADE = 90


def glyph(letter):
    """A cell with a letter, dark on white."""
    cell = Image.new("L", CELL, 255)
    font = ImageFont.load_default_imagefont()
    small = Image.new("L", (8, 12), 255)
    ImageDraw.Draw(small).text((1, 0), letter, fill=0, font=font)
    cell.paste(small.resize((16, 24), Image.Resampling.BICUBIC), (0, 4))
    return np.asarray(cell, np.float32)


def marker(text, corner):
    """The colour of a corner."""
    return np.array([255, 20 * (4 * text + corner), 0], np.float32)


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def save(path, name, nodes, constants, inputs, outputs):
    value = lambda pair: helper.make_tensor_value_info(pair[0], TensorProto.FLOAT, pair[1])
    graph = helper.make_graph(nodes, name, [value(pair) for pair in inputs], [value(pair) for pair in outputs], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def detector(path):
    """For each corner the pixel that is nearest to its colour; a text whose colours are missing has the score 0."""
    nodes, corners, scores, constants = [], [], [], []
    constants += [constant("plane", np.array([1, WIDTH * HEIGHT], np.int64)), constant("axis", np.array([1], np.int64))]
    constants += [constant("width", np.array(WIDTH, np.int64)), constant("half", np.array(0.5, np.float32))]
    constants += [constant("limit", np.array(-6, np.float32)), constant("steep", np.array(4, np.float32))]
    node = lambda *arguments, **attributes: nodes.append(helper.make_node(*arguments, **attributes))
    for text in range(TEXTS):
        for corner in range(4):
            key = f"{text}_{corner}"
            constants.append(constant(f"colour{key}", marker(text, corner).reshape(1, 3, 1, 1)))
            node("Sub", ["image", f"colour{key}"], [f"difference{key}"])
            node("Abs", [f"difference{key}"], [f"distance{key}"])
            node("ReduceSum", [f"distance{key}", "axis"], [f"sum{key}"], keepdims=0)
            node("Neg", [f"sum{key}"], [f"near{key}"])
            node("Reshape", [f"near{key}", "plane"], [f"flat{key}"])
            node("ArgMax", [f"flat{key}"], [f"place{key}"], axis=1, keepdims=1)
            node("ReduceMax", [f"flat{key}"], [f"best{key}"], axes=[1], keepdims=1)
            node("Div", [f"place{key}", "width"], [f"row{key}"])
            node("Mul", [f"row{key}", "width"], [f"start{key}"])
            node("Sub", [f"place{key}", f"start{key}"], [f"column{key}"])
            for axis in ["column", "row"]:
                node("Cast", [f"{axis}{key}"], [f"{axis}f{key}"], to=TensorProto.FLOAT)
                node("Add", [f"{axis}f{key}", "half"], [f"{axis}c{key}"])
                corners.append(f"{axis}c{key}")
        node("Min", [f"best{text}_{corner}" for corner in range(4)], [f"worst{text}"])
        node("Sub", [f"worst{text}", "limit"], [f"over{text}"])
        node("Mul", [f"over{text}", "steep"], [f"logit{text}"])
        node("Sigmoid", [f"logit{text}"], [f"score{text}"])
        scores.append(f"score{text}")
    constants.append(constant("shape", np.array([1, TEXTS, 8], np.int64)))
    node("Concat", corners, ["all"], axis=1)
    node("Reshape", ["all", "shape"], ["corners"])
    node("Concat", scores, ["scores"], axis=1)
    outputs = [("scores", [1, TEXTS]), ("corners", [1, TEXTS, 8])]
    save(path, "detector", nodes, constants, [("image", [1, 3, HEIGHT, WIDTH])], outputs)


def recogniser(path):
    templates = np.stack([np.full(CELL[::-1], 255, np.float32)] + [glyph(letter) for letter in LETTERS]) / 255
    bias = -(templates**2).sum((1, 2)) / 2
    nodes = [
        helper.make_node("Conv", ["image", "templates", "bias"], ["near"], strides=[CELL[1], CELL[0]]),
        helper.make_node("Squeeze", ["near", "axis"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["logits"], perm=[0, 2, 1]),
    ]
    constants = [constant("templates", templates[:, None]), constant("bias", bias), constant("axis", np.array([2], np.int64))]
    outputs = [("logits", ["batch", CELLS, len(LETTERS) + 1])]
    save(path, "recogniser", nodes, constants, [("image", ["batch", 1, CELL[1], CELL[0] * CELLS])], outputs)


def strip(text):
    """A text in cells; between equal letters, and at random elsewhere, is an empty one."""
    cells = []
    for letter in text:
        if cells and cells[-1] == letter:
            cells.append(None)
        cells.append(letter)
    assert len(cells) <= CELLS
    cells += [None] * (CELLS - len(cells))
    blank = np.full(CELL[::-1], 255, np.float32)
    pixels = np.concatenate([blank if cell is None else glyph(cell) for cell in cells], 1)
    return Image.fromarray(pixels.astype(np.uint8)).convert("RGB")


def coefficients(source, target):
    """The coefficients of Pillow's PERSPECTIVE: from the points `target` to the points `source`."""
    rows, right = [], []
    for (x, y), (u, v) in zip(target, source):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        right += [u, v]
    return np.linalg.solve(np.array(rows, float), np.array(right, float))


def make(out, models):
    detector(out / "detector.onnx")
    recogniser(out / "recogniser.onnx")
    (out / "letters.txt").write_text("\n".join(LETTERS))
    random = np.random.default_rng(19)
    expected = {}
    for case in range(8):
        picture = Image.new("RGB", (WIDTH, HEIGHT), (SHADE, SHADE, 140))
        texts, marks = [], []
        for text in range([3, 3, 3, 2, 1, 0, 3, 3][case]):
            word = "".join(random.choice(list(LETTERS), random.integers(3, 7)))
            centre = np.array([WIDTH / 2, 65 + 115 * text]) + random.uniform(-15, 15, 2)
            # Larger than the crop, as large, and smaller.
            width = random.choice([150, 220, 320])
            half = np.array([width, width * CELL[1] / (CELL[0] * CELLS)]) / 2
            angle = math.radians(random.uniform(-8, 8) + (180 if case == 6 else 0))
            turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
            corners = (turn @ square.T).T + centre + random.uniform(-4, 4, (4, 2))
            # The detector returns the centres of pixels.
            corners = np.floor(corners) + 0.5
            source = strip(word)
            large = source.resize((source.width * 4, source.height * 4), Image.Resampling.BICUBIC)
            full = [(0, 0), (large.width, 0), (large.width, large.height), (0, large.height)]
            data = coefficients(full, corners)
            warped = large.transform(picture.size, Image.Transform.PERSPECTIVE, data, Image.Resampling.BILINEAR)
            mask = Image.new("L", large.size, 255)
            mask = mask.transform(picture.size, Image.Transform.PERSPECTIVE, data, Image.Resampling.NEAREST)
            picture.paste(warped, (0, 0), mask)
            texts.append(word)
            marks += [(corners[corner], marker(text, corner)) for corner in range(4)]
        for corner, colour in marks:
            picture.putpixel(tuple(int(side) for side in np.floor(corner)), tuple(int(one) for one in colour))
        name = f"texts{case}.png"
        picture.save(out / name)
        expected[name] = texts
    (out / "texts.json").write_text(json.dumps(expected))
    return sorted(expected)


def decoded(logits):
    letters, last = [], None
    for best in logits.argmax(1):
        if best != last and best > 0:
            letters.append(LETTERS[best - 1])
        last = best
    return "".join(letters)


def check(out, models, name, reply):
    image = Image.open(out / name).convert("RGB")
    pixels = np.asarray(image, np.float32).transpose(2, 0, 1)[None]
    scores, corners = onnxruntime.InferenceSession(out / "detector.onnx").run(None, {"image": pixels})
    reader = onnxruntime.InferenceSession(out / "recogniser.onnx")
    order = [at for at in np.argsort(-scores[0], kind="stable") if scores[0, at] > 0.5]
    written = json.loads((out / "texts.json").read_text())[name]
    assert len(order) == len(written) == len(reply["items"]), (len(order), len(written), reply)
    size = (CELL[0] * CELLS, CELL[1])
    read = []
    for at, item in zip(order, reply["items"], strict=True):
        points = corners[0, at].reshape(4, 2)
        np.testing.assert_allclose(item["points"], points, atol=1e-3)
        # A part that is larger than the crop is first cut out larger, and then resized.
        length = lambda a, b: np.hypot(*(points[a] - points[b]))
        larger = [
            max(1, math.ceil(max(length(0, 1), length(3, 2)) / size[0] - 1e-6)),
            max(1, math.ceil(max(length(0, 3), length(1, 2)) / size[1] - 1e-6)),
        ]
        wide = (size[0] * larger[0], size[1] * larger[1])
        data = coefficients(points, [(0, 0), (wide[0], 0), wide, (0, wide[1])])
        crop = image.transform(wide, Image.Transform.PERSPECTIVE, data, Image.Resampling.BILINEAR)
        crop = crop.resize(size, Image.Resampling.BILINEAR).convert("L")
        logits = reader.run(None, {"image": np.asarray(crop, np.float32)[None, None] / 255})[0][0]
        text = decoded(logits)
        read.append(text)
        assert text == written[at], f"the reference reads {text!r} instead of {written[at]!r}"
        assert item["text"] == text, (item["text"], text)
        wide = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
        best = (wide / wide.sum(1, keepdims=True)).max(1)
        found = {one["step"]: one["confidence"] for one in item["characters"]}
        for step, confidence in found.items():
            assert abs(confidence - best[step]) < 0.05, (step, confidence, best[step])
    return f"{read}"
