"""Many threads of tritonclient, each with small compressed images: the server refuses none of them."""

import collections
import threading

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

THREADS = 32
REQUESTS = 20


@pytest.mark.parametrize("compression", ["gzip", "deflate", None])
def test_no_request_of_many_threads_is_refused(address, digit, compression):
    picture = digit("7.jpg")
    assert 1_000 <= len(picture) <= 1_100
    outcomes = collections.Counter()

    def send():
        with triton.InferenceServerClient(address, concurrency=1) as client:
            for _ in range(REQUESTS):
                image = triton.InferInput("image", [1], "BYTES")
                image.set_data_from_numpy(np.array([picture], dtype=np.object_))
                try:
                    client.infer("digits", [image], request_compression_algorithm=compression)
                    outcomes["ok"] += 1
                except InferenceServerException as error:
                    outcomes[str(error)] += 1

    threads = [threading.Thread(target=send) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {"ok": THREADS * REQUESTS}
