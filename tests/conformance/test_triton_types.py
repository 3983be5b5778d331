"""tritonclient, HTTP and gRPC, with a model of every datatype on ONNX Runtime.

`x` of shape [-1, 3] gives `y` = concatenate([x, x], 1) in its own type, and `f` = x in FP32. numpy and `ml_dtypes` are the
reference.
"""

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
import tritonclient.utils

TYPES = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP16": np.float16, "BF16": ml_dtypes.bfloat16, "FP32": np.float32, "FP64": np.float64,
}


def random_rows(datatype, rows=5):
    """Random bits are numbers of every size. NaN is left out, because it is not equal to itself."""
    random = np.random.default_rng(7)
    dtype = np.dtype(TYPES[datatype])
    if datatype == "BOOL":
        return random.integers(0, 2, (rows, 3)).astype(np.bool_)
    bits = random.integers(0, 256, (rows, 3 * dtype.itemsize), dtype=np.uint8)
    numbers = bits.view(dtype)
    if datatype in ("FP16", "BF16", "FP32", "FP64"):
        numbers = np.where(np.isfinite(numbers.astype(np.float64)), numbers, np.ones_like(numbers))
    return numbers


@pytest.mark.parametrize("datatype", TYPES)
@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_every_type_is_exact(address, transport, datatype):
    triton = {"http": tritonclient.http, "grpc": tritonclient.grpc}[transport]
    rows = random_rows(datatype)
    with triton.InferenceServerClient(address) as client:
        model = f"{datatype}.infer"
        metadata = client.get_model_metadata(model)
        tensors = metadata if transport == "http" else {
            part: [{"datatype": it.datatype} for it in getattr(metadata, part)] for part in ("inputs", "outputs")
        }
        assert tensors["inputs"][0]["datatype"] == datatype
        assert [it["datatype"] for it in tensors["outputs"]] == [datatype, "FP32"]
        binaries = [True, False] if transport == "http" and datatype not in ("FP16", "BF16") else [True]
        for binary in binaries:
            tensor = triton.InferInput("x", list(rows.shape), datatype)
            arguments = {"binary_data": binary} if transport == "http" else {}
            tensor.set_data_from_numpy(rows, **arguments)
            with np.errstate(over="ignore"):
                floats = rows.astype(np.float32)
            # JSON has no infinity, so an output that has one is refused there.
            has_infinity = not binary and not np.all(np.isfinite(floats))
            wanted = ("y",) if has_infinity else ("y", "f")
            outputs = [triton.InferRequestedOutput(name, **arguments) for name in wanted]
            result = client.infer(model, [tensor], outputs=outputs)
            y, f = result.as_numpy("y"), result.as_numpy("f")
            expected = np.concatenate([rows, rows], axis=1)
            assert y.dtype == expected.dtype and np.array_equal(y, expected), (binary, y, expected)
            if has_infinity:
                with pytest.raises(tritonclient.utils.InferenceServerException, match="has an infinity"):
                    client.infer(model, [tensor], outputs=[triton.InferRequestedOutput("f", **arguments)])
            if binary:
                assert np.array_equal(f, floats), (f, floats)
