"""tritonclient over gRPC, blocking and in streams."""

import pathlib
import queue
import re

import numpy as np
import pytest
import tritonclient.grpc as triton
from conftest import label
from tritonclient.utils import InferenceServerException


@pytest.fixture
def client(address):
    with triton.InferenceServerClient(address) as client:
        yield client


def image_input(array):
    tensor = triton.InferInput("image", list(array.shape), "BYTES")
    tensor.set_data_from_numpy(array)
    return tensor


def refused(code, words, call, *args, **kwargs):
    with pytest.raises(InferenceServerException) as caught:
        call(*args, **kwargs)
    assert caught.value.status() == f"StatusCode.{code}", caught.value
    assert words in caught.value.message(), caught.value


def test_metadata_and_health(client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("digits.infer")
    assert "statistics" in client.get_server_metadata().extensions
    model = client.get_model_metadata("digits")
    assert model.inputs[0].datatype == "BYTES" and list(model.inputs[0].shape) == [1]
    assert client.is_model_ready("digits", model.versions[0])
    refused("NOT_FOUND", "no model `ghost`", client.get_model_metadata, "ghost")
    refused("NOT_FOUND", "no version `7`", client.is_model_ready, "digits", "7")


def test_images_in_order(client, image):
    result = client.infer("digits", [image_input(image("4.png", "7.jpg"))], request_id="mine")
    assert [label(reply) for reply in result.as_numpy("output")] == ["4", "7"]
    assert result.get_response().id == "mine"


def test_tensors_into_the_infer_stage(client):
    metadata = client.get_model_metadata("digits.infer")
    shape = [max(size, 1) for size in metadata.inputs[0].shape]
    tensor = triton.InferInput(metadata.inputs[0].name, shape, "FP32")
    tensor.set_data_from_numpy(np.full(shape, 0.5, dtype=np.float32))
    assert client.infer("digits.infer", [tensor]).as_numpy(metadata.outputs[0].name).shape[-1] == 10
    wrong = triton.InferInput(metadata.inputs[0].name, [1, 1, 4, 16], "FP32")
    wrong.set_data_from_numpy(np.zeros([1, 1, 4, 16], dtype=np.float32))
    refused("INVALID_ARGUMENT", "is expected", client.infer, "digits.infer", [wrong])


@pytest.mark.parametrize("dtype", ["BOOL", "UINT8", "INT16", "INT64", "UINT64", "FP16", "FP64"])
def test_datatypes(client, dtype):
    numpy = {"BOOL": np.bool_, "UINT8": np.uint8, "INT16": np.int16, "INT64": np.int64, "UINT64": np.uint64,
             "FP16": np.float16, "FP64": np.float64}[dtype]
    array = np.array([0, 1, 1], dtype=numpy)
    tensor = triton.InferInput("x", [3], dtype)
    tensor.set_data_from_numpy(array)
    assert (client.infer("p.infer", [tensor]).as_numpy("x") == array).all()


def test_errors_and_deadlines(client, image):
    picture = [image_input(np.array([b"x"], dtype=np.object_))]
    refused("NOT_FOUND", "no model `ghost`", client.infer, "ghost", picture)
    refused("NOT_FOUND", "no version `7`", client.infer, "digits", picture, model_version="7")
    refused("INVALID_ARGUMENT", "", client.infer, "digits", picture)
    refused("INVALID_ARGUMENT", "told to", client.infer, "p", picture, parameters={"do": "invalid"})
    refused("INTERNAL", "broke", client.infer, "p", picture, parameters={"do": "panic"})
    slow = {"do": "sleep", "ms": 60000}
    refused("DEADLINE_EXCEEDED", "deadline", client.infer, "p", picture, timeout=200_000, parameters=slow)
    refused("DEADLINE_EXCEEDED", "", client.infer, "p", picture, client_timeout=0.3, parameters=slow)


def test_async_infer(client, image):
    answers = queue.Queue()
    client.async_infer("digits", [image_input(image("7.jpg"))], callback=lambda result, error: answers.put((result, error)))
    result, error = answers.get(timeout=30)
    assert error is None and label(result.as_numpy("output")[0]) == "7"


def test_cancel(client):
    answers = queue.Queue()
    picture = [image_input(np.array([b"x"], dtype=np.object_))]
    call = client.async_infer("p", picture, lambda result, error: answers.put(error), parameters={"do": "loop"})
    call.cancel()
    assert answers.get(timeout=30) is not None


def test_stream_errors_do_not_end_the_stream(client, image):
    answers = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    none = np.array([b"no image"], dtype=np.object_)
    for name, array in [("a", image("7.jpg")), ("b", none), ("c", image("3.jpg"))]:
        client.async_stream_infer("digits", [image_input(array)], request_id=name)
    found = [answers.get(timeout=30) for _ in range(3)]
    client.stop_stream()
    assert [error is None for _, error in found] == [True, False, True]
    assert label(found[0][0].as_numpy("output")[0]) == "7"
    assert label(found[2][0].as_numpy("output")[0]) == "3"


def test_repository_and_statistics(client, image):
    states = {entry.name: entry.state for entry in client.get_model_repository_index().models}
    assert states["digits"] == "READY"
    client.unload_model("p")
    assert not client.is_model_ready("p")
    client.load_model("p")
    assert client.is_model_ready("p")
    client.infer("digits", [image_input(image("7.jpg"))])
    rows = client.get_inference_statistics("digits").model_stats
    assert rows[0].inference_stats.success.count >= 1


def test_the_messages_are_those_of_the_client(address):
    """Names and numbers of every field that both sides have are the same."""
    from google.protobuf import descriptor_pb2
    from tritonclient.grpc import service_pb2

    proto = pathlib.Path(__file__).parents[2] / "host" / "proto" / "open_inference.proto"
    text = re.sub(r"//.*", "", proto.read_text())
    theirs = descriptor_pb2.FileDescriptorProto()
    service_pb2.DESCRIPTOR.CopyToProto(theirs)
    known = {}

    def collect(message):
        known.setdefault(message.name, {}).update({field.name: field.number for field in message.field})
        for nested in message.nested_type:
            collect(nested)

    for message in theirs.message_type:
        collect(message)
    checked, blocks = 0, []
    for line in text.splitlines():
        if found := re.match(r"\s*(message|oneof|service|rpc) (\w+)", line):
            if "{}" not in line:
                # The fields of a `oneof` are its message's.
                blocks.append(found[2] if found[1] == "message" else blocks[-1] if found[1] == "oneof" else None)
        elif re.match(r"\s*}", line):
            blocks.pop()
        elif found := re.match(r"\s*(?:repeated )?[\w.<>, ]+ (\w+) = (\d+);", line):
            fields = known.get(blocks[-1], {})
            if found[1] in fields:
                assert fields[found[1]] == int(found[2]), f"{blocks[-1]}.{found[1]}"
                checked += 1
    assert checked > 60, checked
