"""Finds the operators with which onnxruntime ends the process, or does not end, for values without elements.

Runs ONNX's node tests with sizes of 0 and with integers of 0 and -1, each model in a process of its own, and prints the
name of the test, its operators, the input and the shapes for each run that ends the process. `host/onnx` guards these
operators (`onnxruntime/sizes.rs`), so the list shows what onnxruntime does without Plimsoll.

    onnx_empty.py $ONNX_NODE_TESTS
"""

import itertools
import os
import pathlib
import random
import signal
import sys
import time

import numpy
import onnx
import onnxruntime
from onnx import numpy_helper

# Most inputs of one test that are tried, and most of its runs that may end the process.
MOST_CASES = 160
MOST_DEATHS = 4
# A run of a node test takes milliseconds.
LONGEST_RUN_SECONDS = 8


def load(folder):
    """The model of a node test with open sizes, and its inputs; None for a test with other inputs than tensors."""
    model = onnx.load(str(folder / "model.onnx"))
    sets = sorted(path for path in folder.iterdir() if path.name.startswith("test_data_set"))
    inputs = {}
    for index, value in enumerate(model.graph.input):
        if not sets or not value.type.HasField("tensor_type"):
            return None
        tensor = onnx.TensorProto()
        tensor.ParseFromString((sets[0] / f"input_{index}.pb").read_bytes())
        inputs[value.name] = numpy_helper.to_array(tensor)
        for size in value.type.tensor_type.shape.dim:
            size.Clear()
    for value in model.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    return model, inputs


def cases(inputs):
    """Inputs with sizes of 0, or with integers of 0 and -1, and what they are."""
    found = {}

    def add(what, changed):
        key = tuple((array.shape, array.tobytes() if array.dtype.kind in "iu" else b"") for array in changed.values())
        found.setdefault(key, (what, changed))

    def without(is_gone):
        return {
            name: numpy.zeros([0 if is_gone(name, axis, size) else size for axis, size in enumerate(array.shape)], array.dtype)
            if any(is_gone(name, axis, size) for axis, size in enumerate(array.shape))
            else array
            for name, array in inputs.items()
        }

    places = [(name, axis, size) for name, array in inputs.items() for axis, size in enumerate(array.shape)]
    for place in places:
        add(f"{place[0]}[{place[1]}]", without(lambda *other, place=place: other == place))
    for one, two in itertools.combinations(places, 2):
        if one[2] == two[2]:
            add(f"{one} and {two}", without(lambda *other, both=(one, two): other in both))
    sizes = sorted({size for _, _, size in places})
    for gone in [{size} for size in sizes] + [set(pair) for pair in itertools.combinations(sizes, 2)]:
        add(f"all of {gone}", without(lambda _name, _axis, size, gone=gone: size in gone))
    for axis in range(4):
        add(f"axis {axis} of all", without(lambda _name, other, _size, axis=axis: other == axis))
    for name, array in inputs.items():
        if array.dtype.kind == "i" and 0 < array.size < 9:
            for number in (0, -1):
                add(f"{name} of {number}", {**inputs, name: numpy.full_like(array, number)})
            for index in range(array.size):
                changed = array.copy().reshape(-1)
                changed[index] = 0
                add(f"{name} with a 0", {**inputs, name: changed.reshape(array.shape)})
    listed = list(found.values())
    random.Random(1).shuffle(listed)
    return listed[:MOST_CASES]


def run(model, listed, start, progress):
    """Runs in a process of its own. `progress` is a file with the number of the run."""
    silent = os.open("/dev/null", os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for index in range(start, len(listed)):
            os.pwrite(progress, b"%8d" % index, 0)
            try:
                session.run(None, listed[index][1])
            except Exception:  # A refusal is right.
                pass
    except Exception:  # So is one of the model.
        pass
    os._exit(0)


def ended(child, progress):
    """How a process ended: the signal, `hangs`, or None."""
    at, since = None, time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None
        now = os.pread(progress, 8, 0)
        if now != at:
            at, since = now, time.monotonic()
        if time.monotonic() - since > LONGEST_RUN_SECONDS:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hangs"
        time.sleep(0.004)


def main(folder):
    onnxruntime.set_default_logger_severity(4)
    progress = os.memfd_create("progress")
    tests = sorted(path.parent for path in pathlib.Path(folder).glob("*/model.onnx"))
    for test in tests:
        try:
            loaded = load(test)
        except Exception as error:  # Types that numpy does not have, sequences.
            print(test.name, "not read:", error, file=sys.stderr)
            continue
        if not loaded or not loaded[1]:
            continue
        model, listed = loaded[0], cases(loaded[1])
        start = deaths = 0
        while start < len(listed) and deaths < MOST_DEATHS:
            os.pwrite(progress, b"%8d" % start, 0)
            child = os.fork()
            if child == 0:
                run(model, listed, start, progress)
            how = ended(child, progress)
            if how is None:
                break
            at = int(os.pread(progress, 8, 0))
            operators = ",".join(sorted({node.op_type for node in model.graph.node}))
            shapes = {name: list(array.shape) for name, array in listed[at][1].items()}
            print(test.name, operators, how, listed[at][0], shapes, sep="\t", flush=True)
            start, deaths = at + 1, deaths + 1
    print(f"{len(tests)} tests", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1])
