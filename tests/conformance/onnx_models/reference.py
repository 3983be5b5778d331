"""Computes the right outputs of a model with onnxruntime and writes models in the layout of ONNX's node tests."""

import shutil

import numpy as np
import onnxruntime
from onnx import numpy_helper

OPTIONS = onnxruntime.SessionOptions()
OPTIONS.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
OPTIONS.intra_op_num_threads = 1
OPTIONS.inter_op_num_threads = 1
OPTIONS.log_severity_level = 4

MAX_BYTES = 100_000


class Rejected(Exception):
    """The model is not used as a test."""


def finish(builder):
    """The model and its outputs. Raises `Rejected` if onnxruntime refuses the model or the test is of no use."""
    try:
        session = onnxruntime.InferenceSession(
            builder.model().SerializeToString(), OPTIONS, providers=["CPUExecutionProvider"])
        results = run(session, builder.inputs)
        again = run(session, builder.inputs)
    except Exception as error:  # onnxruntime and its bindings raise many unrelated types
        raise Rejected(f"onnxruntime: {error}") from error
    # Different results of the same computation come from memory that onnxruntime did not initialise.
    if not all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(results, again)):
        raise Rejected("the outputs change from run to run")
    if builder.is_conditioned and not is_well_conditioned(session, builder.inputs, results):
        raise Rejected("a small change of the inputs changes the outputs a lot")
    model = builder.model(results)
    size = model.ByteSize() + sum(value.nbytes for value in [*builder.inputs.values(), *results])
    if size > MAX_BYTES:
        raise Rejected(f"{size} bytes are too many")
    return model, results


def run(session, inputs):
    results = session.run(None, inputs)
    if not all(isinstance(result, np.ndarray) for result in results):
        raise Rejected("an output is not a tensor")
    return results


def is_well_conditioned(session, inputs, results):
    """True if inputs that differ by a few rounding errors give nearly the same outputs."""
    for factor in (1 + 4e-7, 1 - 4e-7):
        changed = {name: np.asarray(v * factor, v.dtype) if v.dtype == np.float32 else v for name, v in inputs.items()}
        for a, b in zip(results, session.run(None, changed)):
            if a.shape != b.shape:
                return False
            if a.dtype.kind != "f":
                if not np.array_equal(a, b):
                    return False
            elif not np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True):
                return False
    return True


def write(folder, model, builder, results):
    shutil.rmtree(folder, ignore_errors=True)
    data = folder / "test_data_set_0"
    data.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    values = [("input", i, name, value) for i, (name, value) in enumerate(builder.inputs.items())]
    values += [("output", i, name, value) for i, (name, value) in enumerate(zip(builder.outputs, results))]
    for kind, index, name, value in values:
        (data / f"{kind}_{index}.pb").write_bytes(numpy_helper.from_array(value, name).SerializeToString())
