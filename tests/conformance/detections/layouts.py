"""Outputs of detectors with random numbers, and how the projects that define the layouts read them."""

import numpy as np

from suppress import select

F32 = np.float32


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def softmax(values):
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def corners_of(centres):
    """`xywh2xyxy` of YOLOv5, `center_to_corners_format` of transformers."""
    x, y, width, height = centres.T
    return np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1)


def probabilities(random, shape):
    """Scores; sometimes from a few values, so that many are equal."""
    scores = random.random(shape) ** random.choice([1, 3])
    if random.random() < 0.3:
        scores = np.round(scores * 8) / 8
    if random.random() < 0.3:
        # A quantised model may return a little more than 1.
        scores[scores > 0.9] = 1.005
    return scores.astype(F32)


def centres(random, count, width, height):
    """Clusters of boxes that overlap, a few without area, in an input of this size."""
    clusters = random.random((max(1, count // 6), 4)) * [width, height, width / 2, height / 2]
    boxes = clusters[random.integers(0, len(clusters), count)] * random.normal(1, 0.08, (count, 4)).clip(0.5, 2)
    boxes[random.random(count) < 0.03, 2:] = 0
    return boxes.astype(F32)


def counts(random, fewest=0):
    """The number of boxes, sometimes none, and of classes."""
    classes = int(random.integers(1, 9))
    boxes = 0 if random.random() < 0.04 and fewest == 0 else int(random.integers(max(classes, 1), 160))
    return boxes, classes


def per_class(scores, corners):
    """A box for each class."""
    rows = zip(scores.astype(np.float64), corners.astype(np.float64))
    return [(label, score, box) for row, box in rows for label, score in enumerate(row)]


def best_class(scores, corners):
    """A box for the best class of each row; of equal scores the first."""
    rows = zip(scores.astype(np.float64), corners.astype(np.float64))
    return [(int(row.argmax()), row.max(), box) for row, box in rows]


class Layout:
    suppresses = True
    coordinates = "pixels"

    def variants(self):
        """The configurations to try. `written` are the keys that differ from the defaults of the plugin."""
        base = {
            "nms": "per-class" if self.suppresses else "none", "score_threshold": self.threshold,
            "iou_threshold": self.iou, "soft_sigma": 0.5, "multi_label": False, "max_detections": 100,
            "coordinates": self.coordinates, "first_class": 0,
        } | self.more
        changes = [{}, {"score_threshold": 0.1, "max_detections": 7}, {"nms": "class-agnostic", "iou_threshold": 0.5}]
        changes += [{"nms": "soft", "soft_sigma": 0.3, "score_threshold": 0.2}, {"nms": "none"}]
        changes += [{"nms": "per-class", "max_per_class": 2}] + self.changes
        return [base | change | {"written": list(change) + self.always} for change in changes]

    more, changes, always, iou = {}, [], [], 0.5


class Decoded(Layout):
    """UltraFace (`vision/ssd/predictor.py`): per class, without the background, hard NMS."""
    name, coordinates, threshold, iou = "decoded", "fractions", 0.7, 0.3
    more = {"multi_label": True, "background_class": 0}
    changes = [{"background_class": -1}, {"coordinates": "pixels"}, {"multi_label": False, "background_class": -1}]

    def make(self, random, context, variant):
        boxes, classes = counts(random)
        unit = (context["input_width"], context["input_height"]) if variant["coordinates"] == "pixels" else (1, 1)
        scores = probabilities(random, (boxes, classes + 1))
        corners = corners_of(centres(random, boxes, *unit)).astype(F32)
        read = per_class if variant["multi_label"] else best_class
        found = [one for one in read(scores, corners) if one[0] != variant["background_class"]]
        return [("boxes", corners[None]), ("scores", scores[None])], select(found, variant)


class Yolov5(Layout):
    """YOLOv5, `non_max_suppression` of `utils/general.py`: rows whose objectness is over the threshold, then conf =
    objectness * class, then rows whose conf is over the threshold, then batched NMS."""
    name, threshold, iou = "yolov5", 0.25, 0.45
    changes = [{"multi_label": True}, {"coordinates": "fractions"}]

    def make(self, random, context, variant):
        boxes, classes = counts(random)
        unit = (context["input_width"], context["input_height"]) if variant["coordinates"] == "pixels" else (1, 1)
        box, scores = centres(random, boxes, *unit), probabilities(random, (boxes, classes + 1))
        output = np.concatenate([box, scores], 1)
        read = per_class if variant["multi_label"] else best_class
        candidates = scores[:, 0] > variant["score_threshold"]
        found = read(self.confidences(scores[candidates]), corners_of(box[candidates].astype(np.float64)))
        return [("output0", output[None])], select(found, variant)

    def confidences(self, scores):
        return scores[:, 1:] * scores[:, :1]


class Yolov7(Yolov5):
    """YOLOv7, `non_max_suppression` of `utils/general.py`: with one class, conf = objectness."""
    name = "yolov7"

    def confidences(self, scores):
        return scores[:, :1] if scores.shape[1] == 2 else super().confidences(scores)


class Yolov8(Yolov5):
    """Ultralytics, `non_max_suppression` of `ultralytics/utils/ops.py`: the output is transposed, without objectness."""
    name, iou = "yolov8", 0.7

    def make(self, random, context, variant):
        boxes, classes = counts(random)
        unit = (context["input_width"], context["input_height"]) if variant["coordinates"] == "pixels" else (1, 1)
        box, scores = centres(random, boxes, *unit), probabilities(random, (boxes, classes))
        output = np.ascontiguousarray(np.concatenate([box, scores], 1).T)
        read = per_class if variant["multi_label"] else best_class
        return [("output0", output[None])], select(read(scores, corners_of(box.astype(np.float64))), variant)


class Yolox(Layout):
    """YOLOX, `demo_postprocess` of `yolox/utils/demo_utils.py`, then `postprocess` of `yolox/utils/boxes.py`."""
    name, threshold, iou = "yolox", 0.3, 0.45
    changes = [{"multi_label": True}, {"strides": [8, 16, 32, 64]}]

    def make(self, random, context, variant):
        classes = int(random.integers(1, 4))
        grids, expanded = [], []
        for stride in variant.get("strides", [8, 16, 32]):
            rows, columns = context["input_height"] // stride, context["input_width"] // stride
            x, y = np.meshgrid(np.arange(columns), np.arange(rows))
            grids.append(np.stack((x, y), 2).reshape(-1, 2))
            expanded.append(np.full((rows * columns, 1), stride))
        grids, expanded = np.concatenate(grids), np.concatenate(expanded)
        raw = random.normal(0, 0.7, (len(grids), 4)).astype(F32)
        scores = probabilities(random, (len(grids), classes + 1))
        box = raw.astype(np.float64)
        box = np.concatenate([(box[:, :2] + grids) * expanded, np.exp(box[:, 2:]) * expanded], 1)
        read = per_class if variant["multi_label"] else best_class
        found = read(scores[:, 1:] * scores[:, :1], corners_of(box))
        return [("output", np.concatenate([raw, scores], 1)[None])], select(found, variant)


class EndToEnd(Layout):
    """YOLOv10 and later, `non_max_suppression` with `prediction.shape[-1] == 6`: only the threshold."""
    name, threshold, suppresses = "end-to-end", 0.25, False
    changes = [{"coordinates": "fractions"}, {"first_class": 1}]

    def make(self, random, context, variant):
        boxes, classes = counts(random)
        unit = (context["input_width"], context["input_height"]) if variant["coordinates"] == "pixels" else (1, 1)
        corners, scores = corners_of(centres(random, boxes, *unit)).astype(F32), probabilities(random, boxes)
        labels = random.integers(0, classes, boxes)
        output = np.concatenate([corners, scores[:, None], (labels + variant["first_class"])[:, None]], 1).astype(F32)
        return [("output0", output[None])], select(list(zip(labels, scores.astype(float), corners.astype(float))), variant)


class Ssd(Layout):
    """TensorFlow Object Detection API: `detection_boxes` as y1, x1, y2, x2, classes from 1, `num_detections` rows."""
    name, coordinates, threshold, suppresses = "ssd", "fractions", 0.5, False
    more = {"first_class": 1}
    changes = [{"first_class": 0}, {"count": ""}]

    def make(self, random, context, variant):
        boxes, classes = counts(random)
        corners, scores = corners_of(centres(random, boxes, 1, 1)).astype(F32), probabilities(random, boxes)
        labels = random.integers(0, classes, boxes)
        dtype = random.choice([np.float32, np.int32, np.int64])
        tensors = [
            ("detection_boxes", np.ascontiguousarray(corners[:, [1, 0, 3, 2]])[None]),
            ("detection_classes", (labels + variant["first_class"]).astype(dtype)[None]),
            ("detection_scores", scores[None]),
        ]
        valid = boxes
        if "count" not in variant:
            valid = int(random.integers(0, boxes + 1))
            tensors.append(("num_detections", np.array([valid], dtype)))
        found = list(zip(labels, scores.astype(float), corners.astype(float)))[:valid]
        return tensors, select(found, variant)


class Nms(Layout):
    """torchvision, `postprocess_detections`: `boxes` as x1, y1, x2, y2 in pixels, without a batch axis; or EfficientNMS."""
    name, coordinates, threshold, suppresses = "nms", "pixels", 0.25, False
    changes = [{"first_class": 1}, {"count": "num_dets"}, {"coordinates": "fractions"}]

    def make(self, random, context, variant):
        boxes, classes = counts(random)
        unit = (context["input_width"], context["input_height"]) if variant["coordinates"] == "pixels" else (1, 1)
        corners, scores = corners_of(centres(random, boxes, *unit)).astype(F32), probabilities(random, boxes)
        labels = random.integers(0, classes, boxes)
        dtype = random.choice([np.float32, np.int32, np.int64])
        tensors = [
            ("boxes", corners),
            ("labels", (labels + variant.get("first_class", 0)).astype(dtype)),
            ("scores", scores),
        ]
        valid = boxes
        if "count" in variant:
            tensors = [(name, tensor[None]) for name, tensor in tensors]
            valid = int(random.integers(0, boxes + 1))
            tensors.append(("num_dets", np.array([[valid]], dtype)))
        found = list(zip(labels, scores.astype(float), corners.astype(float)))[:valid]
        return tensors, select(found, variant)


class Detr(Layout):
    """transformers, `post_process_object_detection` of DETR: softmax, the last class is "no object"."""
    name, coordinates, threshold, suppresses = "detr", "fractions", 0.5, False

    def make(self, random, context, variant):
        boxes, classes = counts(random)
        logits, box = random.normal(0, 3, (boxes, classes + 1)).astype(F32), centres(random, boxes, 1, 1)
        scores = softmax(logits.astype(np.float64))[:, :-1] if boxes else np.zeros((0, classes))
        found = best_class(scores, corners_of(box.astype(np.float64)))
        return [("logits", logits[None]), ("pred_boxes", box[None])], select(found, variant)


class RtDetr(Layout):
    """transformers, `post_process_object_detection` of RT-DETR: sigmoid, the best of all boxes and classes."""
    name, coordinates, threshold, suppresses = "rt-detr", "fractions", 0.5, False

    def make(self, random, context, variant):
        boxes, classes = counts(random)
        logits, box = random.normal(-2, 2, (boxes, classes)).astype(F32), centres(random, boxes, 1, 1)
        found = per_class(sigmoid(logits.astype(np.float64)), corners_of(box.astype(np.float64)))
        return [("logits", logits[None]), ("pred_boxes", box[None])], select(found, variant)


class Retinanet(Layout):
    """torchvision, `AnchorGenerator.grid_anchors`, `BoxCoder.decode_single` and `RetinaNet.postprocess_detections`."""
    name, threshold, iou = "retinanet", 0.05, 0.5
    changes = [{"anchor_sizes": [20, 30.5, 48, 61, 90, 120.5], "anchor_ratios": [0.7, 1.6], "strides": [16, 40, 96]}]

    def anchors(self, context, variant):
        strides = variant.get("strides", [8, 16, 32, 64, 128])
        thirds = [(x, int(x * 2 ** (1.0 / 3)), int(x * 2 ** (2.0 / 3))) for x in [32, 64, 128, 256, 512]]
        sizes = np.array(variant.get("anchor_sizes", thirds), F32).reshape(len(strides), -1)
        all_anchors = []
        for stride, scales in zip(strides, sizes):
            rows, columns = -(-context["input_height"] // stride), -(-context["input_width"] // stride)
            h_ratios = np.sqrt(np.array(variant.get("anchor_ratios", [0.5, 1, 2]), F32))
            w_ratios = 1 / h_ratios
            ws, hs = (w_ratios[:, None] * scales[None, :]).ravel(), (h_ratios[:, None] * scales[None, :]).ravel()
            base = np.round(np.stack([-ws, -hs, ws, hs], 1) / 2)
            shifts_x = np.arange(columns) * (context["input_width"] // columns)
            shifts_y = np.arange(rows) * (context["input_height"] // rows)
            shift_y, shift_x = (shifts.ravel() for shifts in np.meshgrid(shifts_y, shifts_x, indexing="ij"))
            shifts = np.stack([shift_x, shift_y, shift_x, shift_y], 1)
            all_anchors.append((shifts[:, None] + base[None]).reshape(-1, 4))
        return np.concatenate(all_anchors).astype(np.float64)

    def make(self, random, context, variant):
        anchors, classes = self.anchors(context, variant), int(random.integers(1, 4))
        logits = random.normal(-6, 2, (len(anchors), classes)).astype(F32)
        codes = random.normal(0, 0.4, (len(anchors), 4)).astype(F32)
        codes[random.random(len(anchors)) < 0.01, 2] = 5
        widths, heights = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
        x, y = anchors[:, 0] + 0.5 * widths, anchors[:, 1] + 0.5 * heights
        dx, dy, dw, dh = codes.astype(np.float64).T
        dw, dh = np.minimum(dw, np.log(1000 / 16)), np.minimum(dh, np.log(1000 / 16))
        box = np.stack([dx * widths + x, dy * heights + y, np.exp(dw) * widths, np.exp(dh) * heights], 1)
        # A box that is far outside of the input is an error, which another test tries.
        far = (np.abs(corners_of(box)) > 8 * min(context["input_width"], context["input_height"])).any(1)
        logits[far] = -10
        # `clip_boxes_to_image`, before the suppression: the image is the part of the input that is no border.
        edges = []
        for size, side in [("width", "x"), ("height", "y")]:
            start, length = context[f"offset_{side}"], context[size] * context[f"scale_{side}"]
            edges.append((max(0, start), min(context[f"input_{size}"], start + length)))
        (left, right), (top, bottom) = edges
        corners = np.clip(corners_of(box), [left, top, left, top], [right, bottom, right, bottom])
        found = per_class(sigmoid(logits.astype(np.float64)), corners)
        return [("cls_logits", logits[None]), ("bbox_regression", codes[None])], select(found, variant)


class Fastestdet(Layout):
    """FastestDet, `handle_preds` of `utils/tool.py`, with the best class of each cell."""
    name, threshold, iou, coordinates = "fastestdet", 0.25, 0.45, "fractions"

    def make(self, random, context, variant):
        rows, columns, classes = (int(number) for number in random.integers(1, 12, 3))
        scores = probabilities(random, (1 + classes, rows, columns))
        reg = random.normal(0, 1, (4, rows, columns)).astype(F32)
        output = np.concatenate([scores[:1], reg, scores[1:]])
        gy, gx = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        wide = reg.astype(np.float64)
        x, y = (np.tanh(wide[0]) + gx) / columns, (np.tanh(wide[1]) + gy) / rows
        box = np.stack([x, y, sigmoid(wide[2]), sigmoid(wide[3])], -1).reshape(-1, 4)
        wide = scores.astype(np.float64)
        # Scores that are equal only in f32 are equal.
        confidences = (wide[0] ** 0.6 * wide[1:] ** 0.4).astype(F32)
        return [("output", output[None])], select(best_class(confidences.reshape(classes, -1).T, corners_of(box)), variant)


LAYOUTS = [
    Decoded(), Yolov5(), Yolov7(), Yolov8(), EndToEnd(), Yolox(), Ssd(), Nms(), Detr(), RtDetr(), Retinanet(), Fastestdet()
]
