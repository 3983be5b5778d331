"""Writes a few small files for each fuzzing target: SEEDS FOLDER."""
import io, json, struct, sys
from pathlib import Path
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
out = Path(sys.argv[1])
def put(target, name, data):
    (out/target).mkdir(parents=True, exist_ok=True); (out/target/name).write_bytes(data)
im = Image.radial_gradient("L").resize((19, 13)); rgb = Image.merge("RGB", (im, im.rotate(90), im.rotate(180)))
def save(image, **kw):
    b = io.BytesIO(); image.save(b, **kw); return b.getvalue()
n = 0
def image(name, image_, **kw):
    put("images", name, bytes([n % 12]) + save(image_, **kw))
exif = Image.Exif(); exif[0x112] = 6
for q, sub in ((90, 0), (60, 2)):
    for prog in (False, True):
        image(f"jpeg-{sub}-{prog}", rgb, format="JPEG", quality=q, subsampling=sub, progressive=prog, exif=exif)
image("jpeg-restart", rgb, format="JPEG", restart_marker_blocks=1); image("jpeg-gray", im, format="JPEG"); image("jpeg-cmyk", rgb.convert("CMYK"), format="JPEG")
for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
    image(f"png-{mode.replace(';','')}", rgb.convert("RGBA").convert("RGB").convert(mode) if mode not in ("LA","RGBA","I;16") else (rgb.convert(mode) if mode!="I;16" else im.convert("I;16")), format="PNG", exif=exif)
image("webp-lossy", rgb, format="WEBP", exif=exif); image("webp-lossless", rgb.convert("RGBA"), format="WEBP", lossless=True); image("webp-animated", rgb, format="WEBP", save_all=True, append_images=[rgb.rotate(90)])
image("gif", rgb.convert("P"), format="GIF"); image("gif-animated", rgb.convert("P"), format="GIF", save_all=True, append_images=[rgb.rotate(90).convert("P")])
for mode in ("1", "L", "P", "RGB"): image(f"bmp-{mode}", rgb.convert(mode), format="BMP")
for c in (None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg"): image(f"tiff-{c}", rgb, format="TIFF", compression=c)
for c in ("group3", "group4", "tiff_ccitt"): image(f"tiff-{c}", rgb.convert("1"), format="TIFF", compression=c)
F, I = TensorProto.FLOAT, TensorProto.INT64
def model(name, nodes, inputs, outputs, constants=(), opset=21):
    values = lambda list_: [helper.make_tensor_value_info(n, t, s) for n, t, s in list_]
    graph = helper.make_graph(nodes, name, values(inputs), values(outputs), [numpy_helper.from_array(a, n) for n, a in constants])
    put("onnx", name, helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10).SerializeToString())
node = helper.make_node
x = [("x", F, ["n", 3, 8, 8])]; y = [("y", F, None)]
w = np.ones((2, 3, 3, 3), np.float32)
model("conv-softmax", [node("Conv", ["x", "w"], ["c"], auto_pad="SAME_LOWER"), node("Flatten", ["c"], ["f"]), node("Softmax", ["f"], ["y"])], x, y, [("w", w)])
model("softmax-old", [node("Softmax", ["x"], ["y"], axis=1)], x, y, opset=11)
model("resize", [node("Resize", ["x", "", "s"], ["y"], mode="cubic")], x, y, [("s", np.array([1, 1, 2, 2], np.float32))])
model("pool-argmax", [node("MaxPool", ["x"], ["p"], kernel_shape=[2, 2]), node("ArgMax", ["p"], ["y"], select_last_index=1)], x, [("y", I, None)])
model("nms", [node("NonMaxSuppression", ["b", "s", "k"], ["y"])], [("b", F, [1, 6, 4]), ("s", F, [1, 2, 6])], [("y", I, None)], [("k", np.array([3], np.int64))])
model("shape-range", [node("Shape", ["x"], ["h"]), node("ReduceProd", ["h"], ["p"], keepdims=0), node("Range", ["z", "p", "o"], ["y"])], x, [("y", I, None)], [("z", np.array(0, np.int64)), ("o", np.array(1, np.int64))])
model("cast-div", [node("Div", ["x", "d"], ["q"]), node("Floor", ["q"], ["f"]), node("Cast", ["f"], ["y"], to=I)], x, [("y", I, None)], [("d", np.array(1.1, np.float32))])
model("quantize", [node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]), node("DequantizeLinear", ["q", "s", "z"], ["y"])], x, y)
body = helper.make_graph([node("Identity", ["c"], ["c2"]), node("Add", ["v", "v"], ["v2"])], "body", [helper.make_tensor_value_info("i", I, []), helper.make_tensor_value_info("c", TensorProto.BOOL, []), helper.make_tensor_value_info("v", F, None)], [helper.make_tensor_value_info("c2", TensorProto.BOOL, []), helper.make_tensor_value_info("v2", F, None)])
model("loop", [node("Loop", ["m", "", "x"], ["y"], body=body)], x, y, [("m", np.array(3, np.int64))])
branch = lambda name: helper.make_graph([node("Sign", ["x"], [name])], name, [], [helper.make_tensor_value_info(name, F, None)])
model("if", [node("If", ["b"], ["y"], then_branch=branch("t"), else_branch=branch("e"))], x + [("b", TensorProto.BOOL, [])], y)
model("layer-norm", [node("ReduceMean", ["x", "a"], ["m"]), node("Sub", ["x", "m"], ["d"]), node("Mul", ["d", "d"], ["q"]), node("ReduceMean", ["q", "a"], ["v"]), node("Add", ["v", "e"], ["ve"]), node("Sqrt", ["ve"], ["s"]), node("Div", ["d", "s"], ["y"])], x, y, [("a", np.array([-1], np.int64)), ("e", np.array(1e-5, np.float32))])
at = {"secs_since_epoch": 1_700_000_000, "nanos_since_epoch": 1}
version = {"version": "1.0.0", "digest": "0" * 64, "source": "/p.wasm", "manifest": "", "manifest_path": "", "at": at}
file = {"digest": "0" * 64, "fingerprint": {"component": [1, 2, 3, 4], "manifest": [0, 0, 0, 0], "changed": [[5, 6], [0, 0]]}}
plugin = {"serving": version, "candidate": None, "previous": [version], "seen": {"/p.wasm": file}, "withdrawn": ["1" * 64]}
put("journal", "state", json.dumps({"plugins": {"p": plugin}}).encode())
# A component with one core module, which has a memory of one page.
core = b"\0asm\x01\0\0\0" + bytes([5, 3, 1, 0, 1])
put("module", "memory", b"\0asm\x0d\0\x01\0" + bytes([1, len(core)]) + core)
t = {"id": "1", "parameters": {"timeout": 5}, "inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2.5], [3e-1, -0.0]]}, {"name": "s", "shape": [1], "datatype": "BYTES", "data": ["a\u00e9"]}], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}
j = json.dumps(t).encode(); put("oip", "json", b"\xff\xff" + j)
t["inputs"] = [{"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}, {"name": "s", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": 9}}]
j = json.dumps(t).encode(); put("oip", "binary", struct.pack("<H", len(j)) + j + struct.pack("<2f", 1, 2) + struct.pack("<I", 1) + b"a" + struct.pack("<I", 0))
def field(n, data): return bytes([n << 3 | 2, len(data)]) + data
inp = field(1, b"x") + field(2, b"FP32") + field(3, bytes([1, 2]))
put("grpc", "raw", field(1, b"m") + field(3, b"id") + field(5, inp) + field(7, struct.pack("<2f", 1, 2)))
put("grpc", "contents", field(1, b"m") + field(5, inp + field(5, field(6, struct.pack("<2f", 1, 2)))) + field(4, field(1, b"k") + field(2, bytes([8, 1]))) + field(6, field(1, b"y")))
mem = bytearray(256)
def word(a, v): mem[a:a+4] = struct.pack("<I", v)
word(20, 0x20 | 3); word(52, 0x28 | 3); word(92, 0x40 | 1)
put("heap", "two-blocks", struct.pack("<I", 16) + bytes(mem))
