"""A model of Triton's Python backend. The image is one BYTES element, and so is the answer, a JSON text."""

import json
import os
import sys

# The backend's Python ignores PYTHONPATH.
sys.path[:0] = os.environ["BENCH_PATH"].split(":")

import numpy
import triton_python_backend_utils as triton
import work


class TritonPythonModel:
    def initialize(self, args):
        self.model = work.session()

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        body = triton.get_input_tensor_by_name(request, "image").as_numpy()[0]
        text = json.dumps(work.answer(self.model, body)).encode()
        output = triton.Tensor("answer", numpy.array([text], dtype=object))
        return triton.InferenceResponse(output_tensors=[output])
