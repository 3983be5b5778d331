"""Models as exporters write them: PyTorch (both exporters), scikit-learn, and quantisation to 4 and 8 bits.

    python tests/conformance/onnx_exports.py OUT [--seed S]

Writes the form of ONNX's node tests: OUT/NAME/model.onnx and OUT/NAME/test_data_set_0 with inputs, and the outputs that
onnxruntime computes without optimisations. The weights are random. The variable ONNX_EXPORTS names OUT for the tests
`exported_models` of `tests/it/onnx_conformance/exports.rs`.

The packages are large, so CI does not run this:

    pip install torch onnxscript scikit-learn skl2onnx onnx onnxruntime
"""

import argparse
import io
import math
import warnings
from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

warnings.filterwarnings("ignore")


class Net(nn.Module):
    """Layers, and a function of them."""

    def __init__(self, function, **layers):
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.function = function

    def forward(self, *inputs):
        return self.function(self.layers, *inputs)


def conv(i, o, k=3, s=1, g=1, act=nn.ReLU):
    """A convolution, a normalisation and an activation."""
    return nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o), act())


class Residual(nn.Module):
    """A block of a residual network, with squeeze and excitation."""

    def __init__(self, width, act):
        super().__init__()
        self.body = nn.Sequential(conv(width, width, act=act), nn.Conv2d(width, width, 3, padding=1))
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 4, 1), nn.ReLU(), nn.Conv2d(4, width, 1))
        self.act = act()

    def forward(self, x):
        y = self.body(x)
        return self.act(x + y * torch.sigmoid(self.squeeze(y)))


class Attention(nn.Module):
    """Self-attention as libraries write it by hand, with a mask."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x, mask=None):
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / math.sqrt(width / self.heads)
        if mask is not None:
            scores = scores.masked_fill(mask[:, None, None, :] == 0, float("-inf"))
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width)
        return x + self.out(y)


def yolo(layers, x):
    """A detection head without anchors: boxes from distributions over distances, and scores."""
    out = []
    for stride, name in ((2, "small"), (4, "large")):
        x = layers[f"{name}_stem"](x)
        y = layers[f"{name}_head"](x)
        batch, _, height, width = y.shape
        y = y.flatten(2)
        boxes, scores = y.split((32, 5), 1)
        boxes = boxes.view(batch, 4, 8, -1).transpose(2, 1).softmax(1)
        distances = (boxes * torch.arange(8.0).view(1, 8, 1, 1)).sum(1)
        rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        centres = torch.stack([columns.flatten(), rows.flatten()])[None]
        low, high = centres - distances[:, :2], centres + distances[:, 2:]
        out.append(torch.cat([(low + high) / 2 * stride, (high - low) * stride, scores.sigmoid()], 1))
    return torch.cat(out, 2)


def top_boxes(layers, x):
    """A two-stage head: the best boxes, decoded and clipped, with their classes."""
    y = layers["stem"](x)
    scores = layers["score"](y).flatten(1).sigmoid()
    deltas = layers["box"](y).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4)
    best, places = scores.topk(6, 1)
    picked = deltas.gather(1, places.unsqueeze(-1).expand(-1, -1, 4))
    corners = torch.cat([picked[..., :2] - picked[..., 2:].exp().clamp(max=62), picked[..., :2] + picked[..., 2:].exp()], -1)
    return corners.clamp(-20, 20), best, places


def pyramid(layers, x):
    """A feature pyramid with upsampling by nearest and by bilinear interpolation."""
    fine = layers["fine"](x)
    coarse = layers["coarse"](fine)
    up = functional.interpolate(coarse, scale_factor=2, mode="nearest")
    whole = functional.interpolate(torch.cat([fine, up], 1), size=x.shape[-2:], mode="bilinear", align_corners=False)
    return layers["out"](whole)


def shuffle(layers, x):
    """Channel shuffle, slices and pixel shuffle."""
    y = layers["stem"](x)
    batch, channels, height, width = y.shape
    y = y.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)
    left, right = y.chunk(2, 1)
    return functional.pixel_shuffle(torch.cat([left * 2, functional.pad(right, (0, 0, 0, 0)).abs()], 1), 2)


def windows(layers, x):
    """Windows of a shifted-window transformer: roll, partition, attention, and back."""
    y = torch.roll(layers["patch"](x).permute(0, 2, 3, 1), (-1, -1), (1, 2))
    batch, height, width, channels = y.shape
    y = y.view(batch, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, channels)
    y = layers["attention"](y)
    y = y.view(batch, height // 2, width // 2, 2, 2, channels).permute(0, 1, 3, 2, 4, 5)
    return torch.roll(y.reshape(batch, height, width, channels), (1, 1), (1, 2)).mean((1, 2))


def text(layers, tokens, mask):
    """A text encoder: embeddings, attention with a mask, and the mean over the tokens that count."""
    x = layers["words"](tokens) + layers["places"](torch.arange(tokens.shape[1]))[None]
    x = layers["second"](layers["first"](x, mask), mask)
    weights = mask.unsqueeze(-1).to(x.dtype)
    return functional.normalize((x * weights).sum(1) / weights.sum(1).clamp(min=1e-9), dim=-1)


def rotary(layers, x):
    """Rotary embeddings, RMS norm and a gated network."""
    y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)
    angles = torch.outer(torch.arange(x.shape[1]).float(), 1.0 / 100 ** (torch.arange(0, 8, 2).float() / 8))
    cos, sin = torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()
    turned = torch.cat([-y[..., 4:], y[..., :4]], -1)
    y = y * cos + turned * sin
    causal = torch.ones(x.shape[1], x.shape[1]).tril().bool()
    y = functional.scaled_dot_product_attention(y[:, None], y[:, None], y[:, None], attn_mask=causal)[:, 0]
    return layers["down"](functional.silu(layers["gate"](y)) * layers["up"](y))


def nets():
    """Name, net, inputs, and the dynamic dimensions of each input."""
    image = torch.randn(2, 3, 16, 16)
    dynamic = {0: "batch"}
    sides = {0: "batch", 2: "height", 3: "width"}
    for name, act in (("relu", nn.ReLU), ("silu", nn.SiLU), ("gelu", nn.GELU), ("hardswish", nn.Hardswish),
                      ("mish", nn.Mish), ("elu", nn.ELU), ("leaky", nn.LeakyReLU), ("relu6", nn.ReLU6),
                      ("prelu", nn.PReLU), ("softplus", nn.Softplus)):
        yield f"residual_{name}", Net(
            lambda l, x: l["out"](l["pool"](l["body"](l["stem"](x))).flatten(1)).softmax(-1),
            stem=conv(3, 8, s=2, act=act), body=Residual(8, act), pool=nn.AdaptiveAvgPool2d(1), out=nn.Linear(8, 5),
        ), (image,), [dynamic]
    yield "mobile", Net(lambda l, x: l["out"](l["b"](l["a"](x)).mean((2, 3))), a=conv(3, 8, s=2, act=nn.ReLU6),
                        b=nn.Sequential(conv(8, 8, g=8, act=nn.ReLU6), nn.Conv2d(8, 16, 1)), out=nn.Linear(16, 4)), (image,), [sides]
    yield "pools", Net(lambda l, x: torch.cat([l["m"](x), l["a"](x), l["p"](x)], 1), m=nn.MaxPool2d(3, 2, 1),
                       a=nn.AvgPool2d(3, 2, 1, count_include_pad=False), p=nn.AvgPool2d(3, 2, 1)), (image,), [sides]
    yield "ceil_pools", Net(lambda l, x: l["m"](x) + l["a"](x), m=nn.MaxPool2d(3, 2, ceil_mode=True),
                            a=nn.AvgPool2d(3, 2, ceil_mode=True)), (image,), [dynamic]
    yield "transposed", Net(lambda l, x: l["b"](l["a"](x)).tanh(), a=nn.ConvTranspose2d(3, 6, 4, 2, 1),
                            b=nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1, groups=2, dilation=2)), (image,), [dynamic]
    yield "norms", Net(lambda l, x: l["g"](l["i"](l["c"](x))) + l["c2"](x), c=nn.Conv2d(3, 8, 3, padding=2, dilation=2),
                       i=nn.InstanceNorm2d(8, affine=True), g=nn.GroupNorm(4, 8), c2=nn.Conv2d(3, 8, 1)), (image,), [dynamic]
    yield "yolo", Net(yolo, small_stem=conv(3, 8, s=2, act=nn.SiLU), small_head=nn.Conv2d(8, 37, 1),
                      large_stem=conv(8, 8, s=2, act=nn.SiLU), large_head=nn.Conv2d(8, 37, 1)), (image,), [dynamic]
    yield "top_boxes", Net(top_boxes, stem=conv(3, 8, s=4), score=nn.Conv2d(8, 3, 1), box=nn.Conv2d(8, 12, 1)), (image,), [dynamic]
    yield "pyramid", Net(pyramid, fine=conv(3, 8, s=2), coarse=conv(8, 8, s=2), out=nn.Conv2d(16, 2, 1)), (image,), [sides]
    for mode, corners in (("nearest", None), ("bilinear", False), ("bilinear", True), ("bicubic", False)):
        yield f"resize_{mode}_{corners}", Net(
            lambda l, x, mode=mode, corners=corners: functional.interpolate(x, size=(23, 9), mode=mode, align_corners=corners)
        ), (image,), [dynamic]
    yield "shuffle", Net(shuffle, stem=conv(3, 8)), (image,), [dynamic]
    yield "windows", Net(windows, patch=nn.Conv2d(3, 8, 4, 4), attention=Attention(8, 2)), (image,), [dynamic]
    yield "vision", Net(
        lambda l, x: l["out"](l["encoder"](torch.cat([l["patch"](x).flatten(2).transpose(1, 2)[:, :1] * 0 + 1, l["patch"](x).flatten(2).transpose(1, 2)], 1))[:, 0]),
        patch=nn.Conv2d(3, 16, 4, 4), out=nn.Linear(16, 3),
        encoder=nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, 0.0, "gelu", batch_first=True, norm_first=True), 2),
    ), (image,), [dynamic]
    tokens, mask = torch.randint(0, 50, (2, 7)), torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    yield "text", Net(text, words=nn.Embedding(50, 12), places=nn.Embedding(16, 12), first=Attention(12, 3),
                      second=Attention(12, 2)), (tokens, mask), [{0: "batch", 1: "length"}] * 2
    yield "rotary", Net(rotary, gate=nn.Linear(8, 16), up=nn.Linear(8, 16), down=nn.Linear(16, 8)), (torch.randn(2, 5, 8),), [dynamic]
    yield "mha", Net(lambda l, x: l["a"](x, x, x)[0], a=nn.MultiheadAttention(8, 2, batch_first=True)), (torch.randn(2, 5, 8),), [{0: "batch", 1: "length"}]
    yield "decoder", Net(lambda l, x, y: l["d"](x, y), d=nn.TransformerDecoderLayer(8, 2, 16, 0.0, batch_first=True)), (
        torch.randn(2, 4, 8), torch.randn(2, 5, 8)), [dynamic, dynamic]
    series = torch.randn(2, 6, 5)
    for name, layer in (("lstm", nn.LSTM(5, 4, 2, batch_first=True, bidirectional=True)), ("gru", nn.GRU(5, 4, batch_first=True)),
                        ("rnn", nn.RNN(5, 4, batch_first=True)), ("lstm_1", nn.LSTM(5, 4, batch_first=True)),
                        ("lstm_proj", nn.LSTM(5, 4, batch_first=True, proj_size=3))):
        yield name, Net(lambda l, x: l["r"](x)[0], r=layer), (series,), [dynamic]
    yield "conv1d", Net(lambda l, x: l["b"](functional.glu(l["a"](x.transpose(1, 2)), 1)).logsumexp(-1), a=nn.Conv1d(5, 8, 3, padding=1),
                        b=nn.Conv1d(4, 3, 1)), (series,), [{0: "batch", 1: "length"}]
    yield "conv3d", Net(lambda l, x: l["p"](l["c"](x)).flatten(1), c=nn.Conv3d(2, 3, 3, 2, 1), p=nn.AdaptiveMaxPool3d(1)), (torch.randn(2, 2, 6, 6, 6),), [dynamic]
    yield "indices", Net(lambda l, x: (x[:, [2, 0]], x[:, :, 1:-1:2], x.flip(-1), x.cumsum(1), x.argmax(1), x.std(1), x.amax((1, 2)))), (series,), [dynamic]
    yield "choices", Net(lambda l, x: (torch.where(x > 0, x, x.exp() - 1), (x > 0.5).sum(-1), x.sort(-1, descending=True)[0], x.median(-1)[0],
                                       torch.einsum("bij,bkj->bik", x, x), x.norm(dim=-1), x.clamp(-0.5, 0.5).round())), (series,), [dynamic]
    yield "one_hot", Net(lambda l, t: (functional.one_hot(t, 50).float().mean(1), t * 3 // 2 % 7, (t / 3).floor())), (tokens,), [dynamic]
    yield "scatter", Net(lambda l, x, i: torch.zeros(2, 6, 5).scatter(1, i, x) + x.index_select(1, i[0, :, 0] * 0)), (
        series, torch.randint(0, 6, (2, 6, 5))), [{}, {}]
    yield "bags", Net(lambda l, t: l["e"](t), e=nn.EmbeddingBag(50, 6, mode="sum")), (tokens,), [{}]
    yield "norm_ops", Net(lambda l, x: (functional.log_softmax(x, 1), functional.layer_norm(x, (6, 5)), functional.normalize(x), functional.cosine_similarity(x[:, 1:], x[:, :-1], -1))), (series,), [dynamic]
    yield "grid", Net(lambda l, x: functional.grid_sample(x, functional.affine_grid(torch.eye(2, 3)[None].expand(2, 2, 3) * 0.9, (2, 3, 8, 8), False), align_corners=False)), (image,), [{}]
    yield "loop", torch.jit.script(Looped()), (series,), [dynamic]
    yield "branch", torch.jit.script(Branched()), (series,), [dynamic]


class Looped(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(x[:, 0])
        for step in range(x.shape[1]):
            total = total * 0.5 + x[:, step]
        return total


class Branched(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() > 0):
            return x * 2
        return x - 1


def exported(net, inputs, dynamic, dynamo, opset):
    """The model of one of the two exporters."""
    names = [f"in{index}" for index in range(len(inputs))]
    if dynamo:
        shapes = tuple({axis: torch.export.Dim.DYNAMIC for axis in axes} or None for axes in dynamic)
        program = torch.onnx.export(net, inputs, dynamo=True, opset_version=opset, input_names=names,
                                    dynamic_shapes={"inputs": shapes}, verbose=False, external_data=False)
        return program.model_proto
    file = io.BytesIO()
    axes = {name: axes for name, axes in zip(names, dynamic) if axes}
    torch.onnx.export(net, inputs, file, dynamo=False, opset_version=opset, input_names=names, dynamic_axes=axes)
    return onnx.load_from_string(file.getvalue())


def torch_models(seed):
    """Name, model and inputs. An exporter that cannot export a net is reported."""
    for dynamo, opset in ((False, 17), (False, 11), (True, 18), (True, 23)):
        torch.manual_seed(seed)
        for name, net, inputs, dynamic in nets():
            net.eval()
            for layer in net.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.running_mean.normal_()
                    layer.running_var.uniform_(0.5, 2)
            label = f"torch_{'dynamo' if dynamo else 'script'}_{opset}_{name}"
            try:
                with torch.no_grad():
                    model = exported(net, inputs, dynamic, dynamo, opset)
            except Exception as error:
                print(f"{label}: not exported: {str(error).strip().splitlines()[0][:100]}")
                continue
            yield label, model, [tensor.numpy() for tensor in inputs]


def sklearn_models(seed):
    """Estimators of scikit-learn, with probabilities as a tensor."""
    from skl2onnx import to_onnx
    from sklearn import (cluster, decomposition, discriminant_analysis, ensemble, gaussian_process, linear_model,
                         naive_bayes, neighbors, neural_network, pipeline, preprocessing, svm, tree)

    source = numpy.random.default_rng(seed)
    x = source.normal(size=(60, 4)).astype(numpy.float32)
    classes, values = (x[:, 0] + x[:, 1] ** 2 > 0.5).astype(int) + (x[:, 2] > 1), (x @ [1.0, -2, 0.5, 0]).astype(numpy.float32)
    for estimator in (
        linear_model.LogisticRegression(), linear_model.RidgeClassifier(), svm.LinearSVC(), svm.SVC(probability=True),
        tree.DecisionTreeClassifier(max_depth=4), ensemble.RandomForestClassifier(5, max_depth=3), ensemble.GradientBoostingClassifier(n_estimators=4),
        ensemble.HistGradientBoostingClassifier(max_iter=3), neighbors.KNeighborsClassifier(3), naive_bayes.GaussianNB(),
        neural_network.MLPClassifier((6,), max_iter=30), discriminant_analysis.LinearDiscriminantAnalysis(),
        pipeline.make_pipeline(preprocessing.StandardScaler(), preprocessing.PolynomialFeatures(2), linear_model.LogisticRegression()),
        linear_model.LinearRegression(), linear_model.Lasso(), svm.SVR(), tree.DecisionTreeRegressor(max_depth=4),
        ensemble.RandomForestRegressor(5, max_depth=3), neighbors.KNeighborsRegressor(3), neural_network.MLPRegressor((6,), max_iter=30),
        gaussian_process.GaussianProcessRegressor(), cluster.KMeans(3), decomposition.PCA(2), preprocessing.StandardScaler(),
        preprocessing.MinMaxScaler(), preprocessing.Normalizer(), preprocessing.KBinsDiscretizer(3, encode="ordinal"), preprocessing.Binarizer(),
        preprocessing.RobustScaler(), preprocessing.PowerTransformer(), ensemble.IsolationForest(n_estimators=4),
    ):
        name = getattr(estimator, "steps", None) and "pipeline" or type(estimator).__name__
        try:
            estimator.fit(x, values if "Regress" in name or name in ("Lasso", "SVR") else classes)
            options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
            model = to_onnx(estimator, x[:1], options=options)
        except Exception as error:
            print(f"sklearn_{name}: not exported: {str(error).strip().splitlines()[0][:100]}")
            continue
        yield f"sklearn_{name}", model, [x[:5]]


def quantised_models(seed):
    """Weights of 4 and 8 bits, as quantisation tools write them, optional types, and functions of the model."""
    source = numpy.random.default_rng(seed)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    values = source.normal(size=(3, 8)).astype(numpy.float32)

    def model(nodes, constants=(), opset=21, functions=(), extra=()):
        graph = helper.make_graph(nodes, "g", [x], [y], list(constants))
        sets = [helper.make_opsetid("", opset), *extra]
        return helper.make_model(graph, opset_imports=sets, functions=list(functions), ir_version=10)

    scale = numpy_helper.from_array(numpy.float32(0.1) * numpy.arange(1, 6, dtype=numpy.float32), "scale")
    for kind, low, high in ((TensorProto.INT4, -8, 8), (TensorProto.UINT4, 0, 16), (TensorProto.INT8, -128, 128), (TensorProto.UINT8, 0, 256)):
        weights = source.integers(low, high, (8, 5))
        name = TensorProto.DataType.Name(kind).lower()
        constants = [helper.make_tensor("w", kind, (8, 5), weights.flatten().tolist()), scale,
                     helper.make_tensor("zero", kind, (5,), [max(low, 0) + 3] * 5)]
        dequantised = helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["d"], axis=1)
        yield f"quantised_weights_{name}", model([dequantised, helper.make_node("MatMul", ["x", "d"], ["y"])], constants), [values]
        if kind in (TensorProto.INT8, TensorProto.UINT8):
            one = [numpy_helper.from_array(numpy.float32(0.05), "s"), helper.make_tensor("z", kind, (), [max(low, 0) + 4])]
            nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s", "z"], ["dx"]),
                     dequantised, helper.make_node("MatMul", ["dx", "d"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
            yield f"quantised_chain_{name}", model(nodes, [*constants, *one]), [values]
    blocks = [helper.make_tensor("w", TensorProto.INT4, (8, 5), source.integers(-8, 8, 40).tolist()),
              numpy_helper.from_array(source.uniform(0.1, 1, (2, 5)).astype(numpy.float32), "scale")]
    nodes = [helper.make_node("DequantizeLinear", ["w", "scale"], ["d"], axis=0, block_size=4), helper.make_node("MatMul", ["x", "d"], ["y"])]
    yield "quantised_blocks_int4", model(nodes, blocks), [values]
    four = [numpy_helper.from_array(numpy.float32(0.2), "s"), helper.make_tensor("z", TensorProto.INT4, (), [0])]
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    yield "quantised_activations_int4", model(nodes, four), [values]
    nodes = [helper.make_node("Cast", ["x"], ["q"], to=TensorProto.INT4), helper.make_node("Cast", ["q"], ["y"], to=TensorProto.FLOAT)]
    yield "cast_int4", model(nodes), [values]

    optional = helper.make_node("Optional", ["x"], ["o"])
    yield "optional_element", model([optional, helper.make_node("OptionalGetElement", ["o"], ["y"])]), [values]
    yield "optional_has", model([optional, helper.make_node("OptionalHasElement", ["o"], ["h"]), helper.make_node("Cast", ["h"], ["f"], to=1),
                                 helper.make_node("Mul", ["x", "f"], ["y"])]), [values]
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    empty = helper.make_node("Optional", [], ["o"], type=kind)
    yield "optional_empty", model([empty, helper.make_node("OptionalHasElement", ["o"], ["h"]), helper.make_node("Cast", ["h"], ["f"], to=1),
                                   helper.make_node("Add", ["x", "f"], ["y"])]), [values]

    def function(name, inputs, outputs, nodes, **options):
        return helper.make_function("own", name, inputs, outputs, nodes, [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)], **options)

    def call(name, inputs, outputs, **attributes):
        return helper.make_node(name, inputs, outputs, domain="own", **attributes)

    own = [helper.make_opsetid("own", 1)]
    double = function("Double", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])])
    yield "function", model([call("Double", ["x"], ["y"])], functions=[double], extra=own), [values]
    nested = function("Twice", ["a"], ["b"], [call("Double", ["a"], ["t"]), call("Double", ["t"], ["b"])])
    yield "function_nested", model([call("Twice", ["x"], ["t"]), call("Double", ["t"], ["y"])], functions=[double, nested], extra=own), [values]
    leaky = helper.make_node("LeakyRelu", ["a"], ["b"])
    leaky.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    yield "function_attribute", model([call("Leaky", ["x"], ["y"], slope=0.3)], functions=[function("Leaky", ["a"], ["b"], [leaky], attributes=["slope"])], extra=own), [values]
    joins = function("Joins", ["a"], ["b"], [helper.make_node("ReduceSum", ["a", "axes"], ["t"], keepdims=1), helper.make_node("Add", ["a", "t"], ["b"])])
    joins.node.insert(0, helper.make_node("Constant", [], ["axes"], value_ints=[0]))
    yield "function_joins_rows", model([call("Joins", ["x"], ["y"])], functions=[joins], extra=own), [values]


def write(out, name, model, inputs):
    """Writes one test. The reference is onnxruntime without optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        results = session.run(None, dict(zip((it.name for it in session.get_inputs()), inputs)))
    except Exception as error:
        print(f"{name}: no reference: {str(error).strip().splitlines()[0][:110]}")
        return False
    if not all(isinstance(result, numpy.ndarray) and result.dtype != object for result in results):
        print(f"{name}: an output is not a tensor of numbers")
        return False
    data = out / name / "test_data_set_0"
    data.mkdir(parents=True, exist_ok=True)
    onnx.save(model, out / name / "model.onnx")
    for label, tensors in (("input", inputs), ("output", results)):
        for index, tensor in enumerate(tensors):
            (data / f"{label}_{index}.pb").write_bytes(numpy_helper.from_array(tensor).SerializeToString())
    return True


def main():
    parser = argparse.ArgumentParser(prog="onnx_exports", description=__doc__.partition("\n\n")[0])
    parser.add_argument("out", type=Path, help="the folder to write to")
    parser.add_argument("--seed", type=int, default=1, help="the seed of weights and inputs (default %(default)s)")
    arguments = parser.parse_args()
    written = 0
    for models in (torch_models, sklearn_models, quantised_models):
        for name, model, inputs in models(arguments.seed):
            written += write(arguments.out, name, model, inputs)
    print(f"{written} models")


if __name__ == "__main__":
    main()
