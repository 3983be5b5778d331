"""Measures the backend alone: prints the rows per second of a model at a batch size, on one thread in this process.

python backend.py MODEL SIDE ROWS
"""

import sys
import time

import numpy
import onnxruntime

SECONDS = 2


def main() -> None:
    model, side, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    batch = numpy.random.default_rng(0).standard_normal((rows, 3, side, side), numpy.float32)
    for _ in range(3):
        session.run(None, {"image": batch})
    runs, started = 0, time.perf_counter()
    while (took := time.perf_counter() - started) < SECONDS:
        session.run(None, {"image": batch})
        runs += 1
    print(rows * runs / took)


if __name__ == "__main__":
    main()
