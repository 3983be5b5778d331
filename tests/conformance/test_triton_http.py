"""tritonclient over HTTP, blocking."""

import json

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
from conftest import label
from tritonclient.utils import InferenceServerException


@pytest.fixture
def client(address):
    with triton.InferenceServerClient(address) as client:
        yield client


def image_input(array, **kwargs):
    tensor = triton.InferInput("image", list(array.shape), "BYTES")
    tensor.set_data_from_numpy(array, **kwargs)
    return tensor


def assert_refused(status, text, call, *args, **kwargs):
    """Asserts that a call fails with an HTTP status and a message that contains `text`."""
    with pytest.raises(InferenceServerException) as caught:
        call(*args, **kwargs)
    assert caught.value.status() == str(status), caught.value
    assert text in caught.value.message(), caught.value


def test_metadata_and_health(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("digits") and client.is_model_ready("digits.infer")
    assert not client.is_model_ready("ghost")
    server = client.get_server_metadata()
    assert server["name"] == "plimsoll" and "binary_tensor_data" in server["extensions"]
    model = client.get_model_metadata("digits")
    assert model["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    version = model["versions"][0]
    assert client.is_model_ready("digits", version)
    assert client.get_model_metadata("digits", version) == model
    assert_refused(404, "no model `ghost`", client.get_model_metadata, "ghost")
    assert_refused(404, "no version `7`", client.get_model_metadata, "digits", "7")


def test_tensors_are_binary_in_both_directions_by_default(client, image):
    result = client.infer("digits", [image_input(image("7.jpg"))], request_id="mine")
    assert label(result.as_numpy("output")[0]) == "7"
    response = result.get_response()
    assert response["id"] == "mine" and response["model_name"] == "digits"
    assert response["outputs"][0]["parameters"]["content_type"] == "application/json"


def test_replies_are_in_the_order_of_the_images(client, image):
    names = ["4.png", "7.jpg", "1.png", "3.jpg"]
    result = client.infer("digits", [image_input(image(*names))])
    assert [label(reply) for reply in result.as_numpy("output")] == ["4", "7", "1", "3"]


def test_json_outputs(client, image):
    wanted = [triton.InferRequestedOutput("output", binary_data=False)]
    result = client.infer("digits", [image_input(image("7.jpg"))], outputs=wanted)
    assert label(result.as_numpy("output")[0]) == "7"
    assert "data" in result.get_response()["outputs"][0]


def test_json_inputs(client):
    tensor = triton.InferInput("image", [2], "BYTES")
    tensor.set_data_from_numpy(np.array(["any text", "is a body"], dtype=np.object_), binary_data=False)
    result = client.infer("p", [tensor], outputs=[triton.InferRequestedOutput("output", binary_data=False)])
    assert json.loads(result.as_numpy("output")[1])["tensors"][0]["name"] == "image"


@pytest.mark.parametrize("request_encoding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("response_encoding", [None, "gzip", "deflate"])
def test_compressed_requests_and_responses(client, image, request_encoding, response_encoding):
    result = client.infer(
        "digits",
        [image_input(image("7.jpg", "3.jpg"))],
        request_compression_algorithm=request_encoding,
        response_compression_algorithm=response_encoding,
    )
    assert [label(reply) for reply in result.as_numpy("output")] == ["7", "3"]


def test_raw_binary_request(client, address, digit):
    body = digit("7.jpg")
    response = client._post(
        request_uri="v2/models/digits/infer",
        request_body=body,
        headers={"Inference-Header-Content-Length": "0"},
        query_params=None,
    )
    assert response.status_code == 200
    header = int(response.get("Inference-Header-Content-Length"))
    result = triton.InferResult.from_response_body(response.read(), header_length=header)
    assert label(result.as_numpy("output")[0]) == "7"


def digits_tensor(client, datatype="FP32", shape=None):
    metadata = client.get_model_metadata("digits.infer")["inputs"][0]
    shape = shape or [max(size, 1) for size in metadata["shape"]]
    array = np.full(shape, 0.5, dtype={"FP32": np.float32, "FP64": np.float64}[datatype])
    tensor = triton.InferInput(metadata["name"], shape, datatype)
    return tensor, array


@pytest.mark.parametrize("binary", [True, False])
def test_the_infer_stage_takes_tensors(client, binary):
    tensor, array = digits_tensor(client)
    tensor.set_data_from_numpy(array, binary_data=binary)
    name = client.get_model_metadata("digits.infer")["outputs"][0]["name"]
    result = client.infer("digits.infer", [tensor], outputs=[triton.InferRequestedOutput(name, binary_data=binary)])
    assert result.as_numpy(name).shape[-1] == 10 and result.as_numpy(name).dtype == np.float32


def test_every_numpy_datatype_is_returned_unchanged(client):
    for datatype, dtype in [
        ("BOOL", np.bool_), ("UINT8", np.uint8), ("UINT16", np.uint16), ("UINT32", np.uint32), ("UINT64", np.uint64),
        ("INT8", np.int8), ("INT16", np.int16), ("INT32", np.int32), ("INT64", np.int64),
        ("FP16", np.float16), ("FP32", np.float32), ("FP64", np.float64),
    ]:
        array = np.array([[0, 1], [1, 0]], dtype=dtype)
        tensor = triton.InferInput("x", [2, 2], datatype)
        tensor.set_data_from_numpy(array)
        assert (client.infer("p.infer", [tensor]).as_numpy("x") == array).all(), datatype


def test_bf16_is_returned_unchanged(client):
    array = np.array([1.0, -2.5], dtype=ml_dtypes.bfloat16)
    tensor = triton.InferInput("x", [2], "BF16")
    tensor.set_data_from_numpy(array)
    assert (client.infer("p.infer", [tensor]).as_numpy("x") == array).all()


def test_errors(client, image):
    valid = image_input(image("7.jpg"))
    assert_refused(404, "no model `ghost`", client.infer, "ghost", [valid])
    assert_refused(404, "no version `7`", client.infer, "digits", [valid], model_version="7")
    assert_refused(415, "", client.infer, "digits", [image_input(np.array([b"no image"], dtype=np.object_))])
    tensor, array = digits_tensor(client, shape=[1, 1, 4, 16])
    tensor.set_data_from_numpy(array)
    assert_refused(400, "is expected", client.infer, "digits.infer", [tensor])
    tensor, array = digits_tensor(client, datatype="FP64")
    tensor.set_data_from_numpy(array)
    assert_refused(400, "fp32 is expected", client.infer, "digits.infer", [tensor])
    assert_refused(400, "`digits.infer` takes tensors", client.infer, "digits", [_uint8_image()])
    wanted = [triton.InferRequestedOutput("ghost")]
    assert_refused(400, "no output `ghost`", client.infer, "digits", [valid], outputs=wanted)


def _uint8_image():
    tensor = triton.InferInput("image", [4], "UINT8")
    tensor.set_data_from_numpy(np.zeros(4, dtype=np.uint8))
    return tensor


def test_parameters_and_deadlines(client, image):
    inputs = [image_input(np.array([b"x"], dtype=np.object_))]
    assert_refused(422, "requested by the test", client.infer, "p", inputs, parameters={"do": "invalid"})
    assert_refused(422, "requested by the test", client.infer, "p", inputs, query_params={"do": "invalid"})
    parameters = {"do": "sleep", "ms": 60000}
    assert_refused(504, "deadline", client.infer, "p", inputs, timeout=200_000, parameters=parameters)
    result = client.infer("digits", [image_input(image("7.jpg"))], parameters={"chip": "wasm"})
    assert label(result.as_numpy("output")[0]) == "7"


def test_partial_reports_the_errors_of_single_images(client, image):
    mixed = np.array([image("7.jpg")[0], b"no image"], dtype=np.object_)
    assert_refused(415, "image 2 of 2", client.infer, "digits", [image_input(mixed)])
    result = client.infer("digits", [image_input(mixed)], parameters={"partial": True})
    assert label(result.as_numpy("output")[0]) == "7" and result.as_numpy("output")[1] == b""
    assert json.loads(result.as_numpy("errors")[1])["code"] == "unsupported_media_type"


def test_async_infer(client, image):
    sent = [client.async_infer("digits", [image_input(image(name))]) for name in ["7.jpg", "3.jpg"]]
    assert [label(answer.get_result().as_numpy("output")[0]) for answer in sent] == ["7", "3"]


def test_repository_and_statistics(client, image, administrator):
    index = {entry["name"]: entry["state"] for entry in client.get_model_repository_index()}
    assert index["digits"] == "READY" and index["p.infer"] == "READY"
    client.unload_model("p", headers=administrator)
    assert not client.is_model_ready("p")
    index = {entry["name"]: entry["state"] for entry in client.get_model_repository_index()}
    assert index["p"] == "UNAVAILABLE"
    client.load_model("p", headers=administrator)
    assert client.is_model_ready("p")
    before = client.get_inference_statistics("digits")["model_stats"][0]["inference_count"]
    client.infer("digits", [image_input(image("7.jpg"))])
    after = client.get_inference_statistics("digits")["model_stats"][0]["inference_count"]
    assert after == before + 1
    assert_refused(400, "plimsoll.toml", client.load_model, "p", headers=administrator, config="{}")
