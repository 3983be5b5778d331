"""What the suite has in common: the address of a real server, and pictures of digits.

The server serves the bundled demo `digits` and a pipeline `p` of the test guests `tester`, `echo-infer` and
`echo-postprocess`; `tests/it/oip_conformance.rs` starts it.
"""

import json
import os
import pathlib

import numpy as np
import pytest

DIGITS = pathlib.Path(__file__).parent.parent / "data" / "digits"


@pytest.fixture(scope="session")
def address():
    """`127.0.0.1:PORT` of HTTP and gRPC."""
    return os.environ["PLIMSOLL_ADDRESS"]


@pytest.fixture(scope="session")
def digit():
    """The bytes of a picture by its file's name."""
    return lambda name: (DIGITS / name).read_bytes()


@pytest.fixture(scope="session")
def image(digit):
    """A BYTES array of pictures, as users make it."""
    return lambda *names: np.array([digit(name) for name in names], dtype=np.object_)


def label(reply):
    """The first label of a reply of the demo."""
    return json.loads(reply)["predictions"][0]["label"]
