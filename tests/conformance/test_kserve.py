"""The KServe client, over REST and gRPC."""

import asyncio

import numpy as np
import pytest
from conftest import label
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig


def request(array):
    tensor = InferInput(name="image", shape=list(array.shape), datatype="BYTES")
    tensor.set_data_from_numpy(array, binary_data=True)
    return InferRequest(model_name="digits", infer_inputs=[tensor])


@pytest.mark.parametrize("protocol", ["v2"])
def test_rest(address, image, protocol):
    async def run():
        client = InferenceRESTClient(RESTConfig(protocol=protocol))
        base = f"http://{address}"
        assert await client.is_server_live(base) and await client.is_server_ready(base)
        assert await client.is_model_ready(base, "digits")
        return await client.infer(base, request(image("7.jpg")), model_name="digits")

    response = asyncio.run(run())
    output = response.outputs[0]
    assert response.model_name == "digits" and output.name == "output"
    assert label(output.as_numpy()[0]) == "7"


def test_rest_tensors(address):
    async def run():
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        tensor = InferInput(name="x", shape=[2, 2], datatype="FP32")
        tensor.set_data_from_numpy(np.array([[1, 2], [3, 4]], dtype=np.float32), binary_data=False)
        return await client.infer(f"http://{address}", InferRequest("p.infer", [tensor]), model_name="p.infer")

    assert asyncio.run(run()).outputs[0].as_numpy().tolist() == [[1, 2], [3, 4]]


def test_grpc(address, image):
    async def run():
        client = InferenceGRPCClient(address)
        assert await client.is_server_live() and await client.is_server_ready()
        assert await client.is_model_ready("digits")
        tensor = InferInput(name="image", shape=[1], datatype="BYTES", data=list(image("7.jpg")))
        return await client.infer(InferRequest(model_name="digits", infer_inputs=[tensor]))

    assert label(asyncio.run(run()).outputs[0].as_numpy()[0]) == "7"
