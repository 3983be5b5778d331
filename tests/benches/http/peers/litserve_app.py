"""LitServe with one worker per core, as its documentation recommends for CPUs.

LitServe accepts JSON or forms but not plain bodies, so the image is sent as base64 in JSON, as in its examples.

    python litserve_app.py PORT
"""

import base64
import os
import sys

import litserve

import work


class Api(litserve.LitAPI):
    def setup(self, device):
        self.model = work.session()

    def decode_request(self, request):
        return work.prepare(base64.b64decode(request["image"]))

    def predict(self, tensor):
        return self.model.run(None, {"image": tensor})[0][0]

    def encode_response(self, output):
        return work.best(output)


if __name__ == "__main__":
    server = litserve.LitServer(
        Api(api_path="/infer"),
        accelerator="cpu",
        workers_per_device=os.cpu_count(),
        fast_queue=os.environ.get("BENCH_FAST_QUEUE") == "1",
    )
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
