"""UltraFace finds faces, each is cut out with a margin, SqueezeNet classifies each."""

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

# As in the pipeline of `tests/it/chains.rs`.
MARGIN = 0.25
SCORE, OVERLAP = 0.7, 0.3
PREPARED = {}
# Pictures of faces for which the best classes of both chains were compared.
COMPARED = []


def session(models, name):
    if name not in PREPARED:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        PREPARED[name] = onnxruntime.InferenceSession(models / name / "model.onnx", options)
    return PREPARED[name]


def opened(path):
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def make(out, models):
    examples = models / "ultraface-rfb-320/examples"
    astronaut, hopper = opened(examples / "astronaut/astronaut.png"), opened(examples / "hopper/hopper.jpg")
    names = []

    def save(name, image, **options):
        image.save(out / name, **options)
        names.append(name)

    save("one.png", astronaut)
    save("none.png", opened(examples / "coffee/coffee.png"))
    save("small.jpg", hopper, quality=95)
    # The camera was turned, and the face is at the edge.
    exif = Image.Exif()
    exif[0x0112] = 6
    save("turned.jpg", astronaut.crop((190, 0, 512, 400)).transpose(Image.Transpose.ROTATE_90), quality=92, exif=exif)
    many = Image.new("RGB", (1024, 768), (90, 120, 100))
    face = astronaut.crop((140, 20, 310, 220))
    for at in range(12):
        size = (150 + 8 * at, 170 + 8 * at)
        place = (20 + at % 4 * 250, 10 + at // 4 * 250)
        one = face if at % 3 else hopper
        many.paste(one.resize(size, Image.Resampling.BICUBIC), place)
    save("many.png", many)
    return names


def overlap(a, b):
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    shared = sides.prod()
    area = lambda box: (box[2:] - box[:2]).prod()
    return shared / (area(a) + area(b) - shared)


def found(models, image):
    """The faces in pixels, best first, with their scores."""
    pixels = np.asarray(image.resize((320, 240), Image.Resampling.BILINEAR), np.float32)
    tensor = ((pixels - 127) / 128).transpose(2, 0, 1)[None]
    outputs = session(models, "ultraface-rfb-320").run(["scores", "boxes"], {"input": tensor})
    scores, boxes = outputs[0][0, :, 1], outputs[1][0]
    kept = []
    for at in np.argsort(-scores, kind="stable"):
        if scores[at] > SCORE and all(overlap(boxes[at], boxes[other]) <= OVERLAP for other in kept):
            kept.append(at)
    size = np.array([image.width, image.height] * 2)
    return [(float(scores[at]), np.clip(boxes[at] * size, 0, size)) for at in kept]


def classified(models, image, box):
    """The probabilities of the part of the picture around a box: a square with a margin, black beyond the edges."""
    centre, half = (box[:2] + box[2:]) / 2, max((box[2:] - box[:2]) * (1 + 2 * MARGIN)) / 2
    first, last = np.floor(centre - half + 0.5).astype(int), np.floor(centre + half + 0.5).astype(int)
    crop = image.crop((*first, *last)).resize((224, 224), Image.Resampling.BILINEAR)
    tensor = np.asarray(crop, np.float32)[:, :, ::-1].transpose(2, 0, 1)[None]
    return session(models, "squeezenet-1.0").run(None, {"data_0": np.ascontiguousarray(tensor)})[0].reshape(-1)


def check(out, models, name, reply):
    image = opened(out / name)
    labels = (models / "squeezenet-1.0/labels.txt").read_text().splitlines()
    assert (reply["width"], reply["height"]) == image.size, reply
    expected = found(models, image)
    least = {"one.png": 1, "none.png": 0, "small.jpg": 1, "turned.jpg": 1, "many.png": 8}[name]
    assert len(expected) >= least and (least or not expected), "the picture is not what it should be"
    assert len(reply["items"]) == len(expected), (len(reply["items"]), len(expected))
    worst = 0.0
    assert [item["score"] for item in reply["items"]] == sorted((item["score"] for item in reply["items"]), reverse=True)
    for item in reply["items"]:
        # The pixels of the detector's input are not rounded in the same way, so scores differ a little, and so does their order.
        at = max(range(len(expected)), key=lambda at: overlap(expected[at][1], np.array(item["box"])))
        score, box = expected.pop(at)
        assert abs(item["score"] - score) < 0.01 and item["label"] == "face" and item["index"] == 1, (item, score)
        np.testing.assert_allclose(item["box"], box, atol=0.01 * max(image.size))
        probabilities = classified(models, image, np.array(item["box"]))
        predictions = item["predictions"]
        for prediction in predictions:
            assert prediction["label"] == labels[prediction["index"]]
            difference = abs(prediction["probability"] - probabilities[prediction["index"]])
            worst = max(worst, difference)
            # Pillow rounds the pixels of a crop to whole levels, the plugin does not; small faces are enlarged by 6.
            assert difference < 0.03, (prediction, probabilities[prediction["index"]])
        # The class of the chain that is Python from end to end, unless two classes are as good as equal.
        whole = classified(models, image, box)
        second, best = np.sort(whole)[-2:]
        if best - second > 0.1:
            assert predictions[0]["index"] == int(whole.argmax()), (predictions, int(whole.argmax()))
            COMPARED.append(name)
    return f"{len(reply['items'])} faces, probabilities differ by up to {worst:.5f}"


def finish():
    """Best classes that are as good as equal are not compared, but most are not."""
    assert len(COMPARED) >= 8, COMPARED
    print(f"the best classes of {len(COMPARED)} faces are the same")
