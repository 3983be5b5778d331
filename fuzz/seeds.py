"""Writes a few small files for each fuzzing target: SEEDS FOLDER."""
import hashlib, io, json, struct, sys
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
def line(value): return json.dumps(value, sort_keys=True, separators=(",", ":"))
def sha256(text): return hashlib.sha256(text.encode()).hexdigest()
# A state, a change that adds a plugin, one that removes it, and a part of a change.
journal = {"folders": {}, "format": 1, "plugins": {"p": plugin}}
digest = sha256(line(journal)); lines = [line({**journal, "sha256": digest})]
for change in ({"plugins": {"q": plugin}, "folders": {"/plugins": [1, 2]}}, {"plugins": {"q": None}}):
    digest = sha256(f"{digest} {line(change)}"); lines.append(f"{digest} {line(change)}")
put("journal", "changes", "\n".join(lines + ["0" * 64 + " {"]).encode())
# Core modules with a memory, a stack pointer, names and DWARF; bare, and in a component.
def leb(n):
    out = b""
    while n >= 128: out += bytes([n & 127 | 128]); n >>= 7
    return out + bytes([n])
def vec(items): return leb(len(items)) + b"".join(items)
def text(t): return leb(len(t)) + t.encode()
def section(n, data): return bytes([n]) + leb(len(data)) + data
def custom(name, data): return section(0, text(name) + data)
def component(core): return b"\0asm\x0d\0\x01\0" + section(1, core)
def core(names, *more, code=b"\0\x41\1\x40\0\x1a\x0f\x0b"):
    i32 = lambda n: b"\x41" + leb(n) + b"\x0b"
    named = lambda kind, list_: section(kind, vec([leb(i) + text(n) for i, n in enumerate(list_)]))
    data = vec([b"\0" + i32(16) + text("data of the guest")])
    return (b"\0asm\1\0\0\0" + section(1, vec([b"\x60\0\0"])) + section(3, vec([b"\0"] * len(names))) + section(5, vec([b"\0\1"]))
        + section(6, vec([b"\x7f\1" + i32(32), b"\x7f\0" + i32(48)])) + section(7, vec([text("run") + b"\0\0"]))
        + section(10, vec([leb(len(code)) + code] * len(names))) + section(11, data)
        + custom("name", named(1, names) + named(7, ["__stack_pointer", "__heap_base"])) + b"".join(more))
names = ["_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "_RNvCs1234_7mycrate3foo", "_ZNSt3__16vectorIiNS_9allocatorIiEEE9push_backERKi", "malloc"]
u32, u64 = lambda n: struct.pack("<I", n), lambda n: struct.pack("<Q", n)
def dwarf(version=4):
    # Tag, children, and attributes with their forms: string 8, sec_offset 23, addr 1, data4 6, data1 11, exprloc 24, ref4 19, udata 15, data8 7, strp 14.
    kinds = [(0x11, 1, (3, 8), (16, 23), (17, 1), (18, 6)), (0x39, 1, (3, 14)), (0x34, 0, (3, 8), (2, 24), (73, 19)), (1, 1, (73, 19)),
        (0x21, 0, (47, 11)), (0x24, 0, (11, 11)), (0x2e, 1, (3, 8), (110, 14), (17, 1), (18, 6)), (0x1d, 0, (49, 19), (17, 1), (18, 6), (88, 11), (89, 15)), (0x2e, 0, (3, 8), (32, 11))]
    abbrev = b"".join(leb(i + 1) + leb(tag) + bytes([children]) + b"".join(leb(x) + leb(y) for x, y in attributes) + b"\0\0" for i, (tag, children, *attributes) in enumerate(kinds)) + b"\0"
    head = 12 if version == 5 else 11
    die = lambda kind, *parts: leb(kind) + b"".join(parts)
    first = die(1, b"a.rs\0", u32(0), u32(0), u32(20))
    inline = die(9, b"inlined\0", b"\1")
    base = die(6, b"\4")
    at = {}
    body = first; at["inline"] = head + len(body); body += inline; at["base"] = head + len(body); body += base
    at["array"] = head + len(body); body += die(4, u32(at["base"])) + die(5, b"\7") + die(5, b"\xff") + b"\0"
    body += die(2, u32(0)) + die(3, b"STATIC\0", b"\5\3" + u32(16), u32(at["array"])) + die(3, b"PIECES\0", leb(18) + b"\3" + u32(24) + b"\x93\4\3" + u32(40) + b"\x06\x9f\x93\4\x11\1", u32(at["base"])) + b"\0"
    body += die(7, b"run\0", u32(6), u32(0), u32(12)) + die(8, u32(at["inline"]), u32(2), u32(4), b"\1", b"\7") + b"\0\0"
    unit = struct.pack("<H", version) + (b"\1\4" + u32(0) if version == 5 else u32(0) + b"\4") + body
    program = b"\0\5\2" + u32(0) + b"\1\2\4\x14\3\2\1\5\3\x4b\2\x0c\0\1\1"
    header = bytes([1, 1, 1, 251, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1])
    header += b"\1\1\x08\1/src\0\2\1\x08\2\x0b\1a.rs\0\0" if version == 5 else b"/src\0\0a.rs\0\1\0\0\0"
    line = struct.pack("<H", version) + (b"\4\0" if version == 5 else b"") + u32(len(header)) + header + program
    return [custom(".debug_abbrev", abbrev), custom(".debug_info", u32(len(unit)) + unit), custom(".debug_line", u32(len(line)) + line), custom(".debug_str", b"space\0_ZN5space3runEv\0")]
put("module", "memory", component(b"\0asm\1\0\0\0" + section(5, b"\1\0\1")))
put("module", "names", component(core(names)))
put("module", "dwarf-4", component(core(names[:1], *dwarf(4))))
put("module", "dwarf-5", core(names[:1], *dwarf(5)))
# Symbols.
for n, name in enumerate(names[:3] + ["_Z1fIXdldldlEEvv", "_ZNK3FooIJiLi5EEE3barEPFvRA3_iE", "_ZThn8_N3FooD1Ev", "_ZZ4mainENKUlvE_clEv", "_Z3maxIiET_S0_S0_", "_ZN3FoocvbEv", "_Z3fooB5cxx11v.isra.0",
        "_RINvNtC3std3mem8align_ofNtNtC3std3mem12DiscriminantE", "_RNCNCNgCs6DXkGYLi8lr_2cc5spawn00B5_", "_RNvMC0TTTTTTTE1f", "_ZN71_$LT$Test$u20$$u2b$$u20$$u27$static$u20$as$u20$foo..Bar$LT$Test$GT$$GT$3barE"]): put("names", str(n), name.encode())
put("python", "unchanged", b"")
put("python", "changes", struct.pack("<HIHI", 512, 2048, 8192, 32776))
t = {"id": "1", "parameters": {"timeout": 5}, "inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2.5], [3e-1, -0.0]]}, {"name": "s", "shape": [1], "datatype": "BYTES", "data": ["a\u00e9"]}], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}
j = json.dumps(t).encode(); put("oip", "json", b"\xff\xff" + j)
t["inputs"] = [{"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}, {"name": "s", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": 9}}]
j = json.dumps(t).encode(); put("oip", "binary", struct.pack("<H", len(j)) + j + struct.pack("<2f", 1, 2) + struct.pack("<I", 1) + b"a" + struct.pack("<I", 0))
def field(n, data): return bytes([n << 3 | 2, len(data)]) + data
inp = field(1, b"x") + field(2, b"FP32") + field(3, bytes([1, 2]))
put("grpc", "raw", field(1, b"m") + field(3, b"id") + field(5, inp) + field(7, struct.pack("<2f", 1, 2)))
put("grpc", "contents", field(1, b"m") + field(5, inp + field(5, field(6, struct.pack("<2f", 1, 2)))) + field(4, field(1, b"k") + field(2, bytes([8, 1]))) + field(6, field(1, b"y")))
# The memory of `targets/memory.rs`: words at addresses. `heap_seeds.mjs` makes such files of real heaps.
def memory(pages, from_, words):
    out, end = bytes([pages - 1]) + struct.pack("<H", from_ // 8), 0
    for address, value in sorted(words.items()):
        out += struct.pack("<HB", (address - 4 - end) // 8, 2) + struct.pack("<II", words.get(address - 4, 0), value) if address % 8 == 4 else b""
        if address % 8 == 4: end = address + 4
    return out
page = 1 << 16
first = {1028: 48 | 3, 1076: 64 | 1, 1136: 64, 1140: 32 | 2}
put("heap", "one-segment", memory(1, 104, first | {1172: page - 1168 - 56 | 1, page - 52: 56}))
put("heap", "two-segments", memory(2, 0, first | {1172: 7, page + 12: 24 | 3, page + 36: page - 32 - 40 | 1, 2 * page - 36: 40}))
put("heap", "snapshot", memory(1, 0, {20 + 16 * n: 16 | 3 for n in range(80)} | {20 + 16 * 80: page - 16 - 16 * 80 - 56 | 1, page - 52: 56}))
