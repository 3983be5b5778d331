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


def assert_refused(code, text, call, *args, **kwargs):
    """Asserts that a call fails with a status code and a message that contains `text`."""
    with pytest.raises(InferenceServerException) as caught:
        call(*args, **kwargs)
    assert caught.value.status() == f"StatusCode.{code}", caught.value
    assert text in caught.value.message(), caught.value


def test_metadata_and_health(client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("digits.infer")
    assert "statistics" in client.get_server_metadata().extensions
    model = client.get_model_metadata("digits")
    assert model.inputs[0].datatype == "BYTES" and list(model.inputs[0].shape) == [-1]
    assert client.is_model_ready("digits", model.versions[0])
    assert_refused("NOT_FOUND", "no model `ghost`", client.get_model_metadata, "ghost")
    assert not client.is_model_ready("digits", "7") and not client.is_model_ready("ghost")


def test_replies_are_in_the_order_of_the_images(client, image):
    result = client.infer("digits", [image_input(image("4.png", "7.jpg"))], request_id="mine")
    assert [label(reply) for reply in result.as_numpy("output")] == ["4", "7"]
    assert result.get_response().id == "mine"


def test_the_infer_stage_takes_tensors(client):
    metadata = client.get_model_metadata("digits.infer")
    shape = [max(size, 1) for size in metadata.inputs[0].shape]
    tensor = triton.InferInput(metadata.inputs[0].name, shape, "FP32")
    tensor.set_data_from_numpy(np.full(shape, 0.5, dtype=np.float32))
    assert client.infer("digits.infer", [tensor]).as_numpy(metadata.outputs[0].name).shape[-1] == 10
    wrong = triton.InferInput(metadata.inputs[0].name, [1, 1, 4, 16], "FP32")
    wrong.set_data_from_numpy(np.zeros([1, 1, 4, 16], dtype=np.float32))
    assert_refused("INVALID_ARGUMENT", "is expected", client.infer, "digits.infer", [wrong])


@pytest.mark.parametrize("dtype", ["BOOL", "UINT8", "INT16", "INT64", "UINT64", "FP16", "FP64"])
def test_every_datatype_is_returned_unchanged(client, dtype):
    numpy = {"BOOL": np.bool_, "UINT8": np.uint8, "INT16": np.int16, "INT64": np.int64, "UINT64": np.uint64,
             "FP16": np.float16, "FP64": np.float64}[dtype]
    array = np.array([0, 1, 1], dtype=numpy)
    tensor = triton.InferInput("x", [3], dtype)
    tensor.set_data_from_numpy(array)
    assert (client.infer("p.infer", [tensor]).as_numpy("x") == array).all()


def test_errors_and_deadlines(client, image):
    inputs = [image_input(np.array([b"x"], dtype=np.object_))]
    assert_refused("NOT_FOUND", "no model `ghost`", client.infer, "ghost", inputs)
    assert_refused("NOT_FOUND", "no version `7`", client.infer, "digits", inputs, model_version="7")
    assert_refused("INVALID_ARGUMENT", "", client.infer, "digits", inputs)
    assert_refused("INVALID_ARGUMENT", "requested by the test", client.infer, "p", inputs, parameters={"do": "invalid"})
    assert_refused("INTERNAL", "crashed", client.infer, "p", inputs, parameters={"do": "panic"})
    slow = {"do": "sleep", "ms": 60000}
    assert_refused("DEADLINE_EXCEEDED", "deadline", client.infer, "p", inputs, timeout=200_000, parameters=slow)
    assert_refused("DEADLINE_EXCEEDED", "", client.infer, "p", inputs, client_timeout=0.3, parameters=slow)


def test_async_infer(client, image):
    answers = queue.Queue()
    inputs = [image_input(image("7.jpg"))]
    client.async_infer("digits", inputs, callback=lambda result, error: answers.put((result, error)))
    result, error = answers.get(timeout=30)
    assert error is None and label(result.as_numpy("output")[0]) == "7"


def test_a_cancelled_call_reports_an_error(client):
    answers = queue.Queue()
    inputs = [image_input(np.array([b"x"], dtype=np.object_))]
    call = client.async_infer("p", inputs, lambda result, error: answers.put(error), parameters={"do": "loop"})
    call.cancel()
    assert answers.get(timeout=30) is not None


def test_stream_errors_do_not_end_the_stream(client, image):
    answers = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    no_image = np.array([b"no image"], dtype=np.object_)
    for name, array in [("a", image("7.jpg")), ("b", no_image), ("c", image("3.jpg"))]:
        client.async_stream_infer(
            "digits", [image_input(array)], request_id=name, enable_empty_final_response=True
        )
    found = [answers.get(timeout=30) for _ in range(3)]
    client.stop_stream()
    assert [error is None for _, error in found] == [True, False, True]
    assert found[0][0].get_response().parameters["triton_final_response"].bool_param
    assert label(found[0][0].as_numpy("output")[0]) == "7"
    assert label(found[2][0].as_numpy("output")[0]) == "3"


def test_repository_and_statistics(client, image, administrator):
    states = {entry.name: entry.state for entry in client.get_model_repository_index().models}
    assert states["digits"] == "READY"
    client.unload_model("p", headers=administrator)
    assert not client.is_model_ready("p")
    client.load_model("p", headers=administrator)
    assert client.is_model_ready("p")
    client.infer("digits", [image_input(image("7.jpg"))])
    rows = client.get_inference_statistics("digits").model_stats
    assert rows[0].inference_stats.success.count >= 1


def test_protocol_fields_have_the_numbers_of_the_client(address):
    """Every field that both the host and the client define has the same number."""
    from google.protobuf import descriptor_pb2
    from tritonclient.grpc import service_pb2

    proto = pathlib.Path(__file__).parents[2] / "host" / "proto" / "open_inference.proto"
    text = re.sub(r"//.*", "", proto.read_text())
    client_file = descriptor_pb2.FileDescriptorProto()
    service_pb2.DESCRIPTOR.CopyToProto(client_file)
    client_fields = {}

    def collect(message):
        client_fields.setdefault(message.name, {}).update({field.name: field.number for field in message.field})
        for nested in message.nested_type:
            collect(nested)

    for message in client_file.message_type:
        collect(message)
    checked, blocks = 0, []
    for line in text.splitlines():
        if found := re.match(r"\s*(message|oneof|service|rpc) (\w+)", line):
            if "{}" not in line:
                # The fields of a `oneof` belong to the message that contains it.
                blocks.append(found[2] if found[1] == "message" else blocks[-1] if found[1] == "oneof" else None)
        elif re.match(r"\s*}", line):
            blocks.pop()
        elif found := re.match(r"\s*(?:repeated )?[\w.<>, ]+ (\w+) = (\d+);", line):
            fields = client_fields.get(blocks[-1], {})
            if found[1] in fields:
                assert fields[found[1]] == int(found[2]), f"{blocks[-1]}.{found[1]}"
                checked += 1
    assert checked > 60, checked
