"""Shared fixtures: the address of a real server, and images of digits.

`tests/it/oip_conformance.rs` starts the server. The server has the bundled demo `digits` and a pipeline `p` of the test
guests `tester`, `echo-infer` and `echo-postprocess`.
"""

import json
import os
import pathlib

import numpy as np
import pytest

DIGITS = pathlib.Path(__file__).parent.parent / "data" / "digits"


@pytest.fixture(scope="session")
def address():
    """`127.0.0.1:PORT` for HTTP and gRPC."""
    return os.environ["PLIMSOLL_ADDRESS"]


@pytest.fixture(scope="session")
def administrator():
    """The header of a client that may administrate."""
    return {"authorization": f"Bearer {os.environ['PLIMSOLL_ADMIN_TOKEN']}"}


@pytest.fixture(scope="session")
def digit():
    """A function that returns the bytes of an image file by its name."""
    return lambda name: (DIGITS / name).read_bytes()


@pytest.fixture(scope="session")
def image(digit):
    """A function that returns a BYTES array of image files, as users of the clients create it."""
    return lambda *names: np.array([digit(name) for name in names], dtype=np.object_)


def label(reply):
    """The first label in a reply of the demo."""
    return json.loads(reply)["predictions"][0]["label"]
