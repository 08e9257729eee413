# SPDX-License-Identifier: Apache-2.0
"""Triton's own Python client over HTTP, as its examples use it."""

import asyncio
import json
import urllib.error
import urllib.request

import numpy as np
import pytest
import tritonclient.http as client
import tritonclient.http.aio as aio
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException

from triton_server import NUMBERS, ONES, expect_sums


@pytest.fixture
def triton(server):
    with client.InferenceServerClient(server.http) as opened:
        yield opened


def simple_inputs(binary=True, first=NUMBERS, second=ONES):
    inputs = [client.InferInput("INPUT0", list(first.shape), "INT32"),
              client.InferInput("INPUT1", list(second.shape), "INT32")]
    inputs[0].set_data_from_numpy(first, binary_data=binary)
    inputs[1].set_data_from_numpy(second, binary_data=binary)
    return inputs


def outputs(binary=True, **more):
    return [client.InferRequestedOutput("OUTPUT0", binary_data=binary, **more),
            client.InferRequestedOutput("OUTPUT1", binary_data=binary, **more)]


def test_health_and_metadata(triton):
    assert triton.is_server_live() and triton.is_server_ready()
    assert triton.is_model_ready("simple") and triton.is_model_ready("simple", "1")
    assert not triton.is_model_ready("nobody")
    server = triton.get_server_metadata()
    assert server["name"] == "triton" and "binary_tensor_data" in server["extensions"]
    model = triton.get_model_metadata("simple")
    assert model["name"] == "simple" and model["versions"] == ["1"]
    assert model["inputs"][0] == {"name": "INPUT0", "datatype": "INT32", "shape": [-1, 16]}
    config = triton.get_model_config("simple")
    assert config["max_batch_size"] == 8
    assert config["input"][0]["data_type"] == "TYPE_INT32" and config["input"][0]["dims"] == [16]
    with pytest.raises(InferenceServerException, match="unknown model: 'wrong'"):
        triton.get_model_metadata("wrong")


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_infer(triton, binary_in, binary_out):
    result = triton.infer("simple", simple_inputs(binary_in), outputs=outputs(binary_out),
                          request_id="7")
    expect_sums(result)
    assert result.get_response()["id"] == "7"
    expect_sums(triton.infer("simple", simple_inputs(binary_in)))


def test_infer_a_batch_and_a_stated_version(triton):
    first = np.arange(5 * 16, dtype=np.int32).reshape(5, 16)
    second = np.full((5, 16), 3, dtype=np.int32)
    expect_sums(triton.infer("simple", simple_inputs(True, first, second), model_version="1"),
                first, second)
    with pytest.raises(InferenceServerException, match="version 9"):
        triton.infer("simple", simple_inputs(), model_version="9")


def test_infer_async(triton):
    asked = [triton.async_infer("simple", simple_inputs(), outputs=outputs()) for _ in range(8)]
    for one in asked:
        expect_sums(one.get_result())


def test_infer_aio(server):
    async def ask():
        async with aio.InferenceServerClient(server.http) as opened:
            return await asyncio.gather(*[opened.infer("simple", simple_inputs())
                                          for _ in range(20)])
    for result in asyncio.run(ask()):
        expect_sums(result)


def test_infer_objects_are_used_again(triton):
    inputs, wanted = simple_inputs(), outputs()
    for round_ in range(3):
        second = np.full((1, 16), round_, dtype=np.int32)
        inputs[1].set_data_from_numpy(second, binary_data=round_ % 2 == 0)
        expect_sums(triton.infer("simple", inputs, outputs=wanted), second=second)


@pytest.mark.parametrize("binary", [True, False])
def test_strings(triton, binary):
    first = np.array([[str(n).encode() for n in range(16)]], dtype=np.object_)
    second = np.array([[b"1"] * 16], dtype=np.object_)
    inputs = [client.InferInput("INPUT0", [1, 16], "BYTES"),
              client.InferInput("INPUT1", [1, 16], "BYTES")]
    inputs[0].set_data_from_numpy(first, binary_data=binary)
    inputs[1].set_data_from_numpy(second, binary_data=binary)
    result = triton.infer("simple_string", inputs, outputs=outputs(binary))
    assert [int(text) for text in result.as_numpy("OUTPUT0")[0]] == list(range(1, 17))
    assert [int(text) for text in result.as_numpy("OUTPUT1")[0]] == list(range(-1, 15))


def test_null_characters_in_strings(triton):
    texts = np.array([["he\x00llo".encode(), b"\x00", "äöü".encode()]], dtype=np.object_)
    given = client.InferInput("INPUT0", [1, 3], "BYTES")
    given.set_data_from_numpy(texts)
    result = triton.infer("simple_identity", [given])
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), texts)


def test_a_large_tensor_comes_back(triton):
    values = np.random.default_rng(1).random(150528, dtype=np.float32)
    given = client.InferInput("INPUT0", [values.size], "FP32")
    given.set_data_from_numpy(values)
    result = triton.infer("identity_fp32", [given],
                          outputs=[client.InferRequestedOutput("OUTPUT0", binary_data=True)])
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), values)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compression_both_ways(triton, coding):
    first = np.arange(8 * 16, dtype=np.int32).reshape(8, 16)
    second = np.ones((8, 16), dtype=np.int32)
    for binary in (True, False):
        result = triton.infer("simple", simple_inputs(binary, first, second),
                              outputs=outputs(binary), request_compression_algorithm=coding,
                              response_compression_algorithm=coding)
        expect_sums(result, first, second)


def test_classification(triton):
    result = triton.infer("simple", simple_inputs(), outputs=[
        client.InferRequestedOutput("OUTPUT0", binary_data=True, class_count=3)])
    classes = result.as_numpy("OUTPUT0")
    assert classes.shape == (1, 3)
    assert [text.decode().split(":")[:2] for text in classes[0]] == [["16", "15"], ["15", "14"],
                                                                    ["14", "13"]]


def test_classes_have_the_names_of_the_models_label_file(triton):
    result = triton.infer("simple_labels", simple_inputs(), outputs=[
        client.InferRequestedOutput("OUTPUT0", binary_data=True, class_count=2)])
    assert [text.decode() for text in result.as_numpy("OUTPUT0")[0]] == [
        "16:15:simple_labels 15", "15:14:simple_labels 14"]
    config = triton.get_model_config("simple_labels")
    assert config["output"][0]["label_filename"] == "output0_labels.txt"


def test_statistics(triton):
    before = triton.get_inference_statistics("simple")["model_stats"][0]
    first = np.ones((4, 16), dtype=np.int32)
    triton.infer("simple", simple_inputs(True, first, first))
    after = triton.get_inference_statistics("simple", "1")["model_stats"][0]
    assert after["inference_count"] == before["inference_count"] + 4
    assert after["execution_count"] == before["execution_count"] + 1
    for part in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert after["inference_stats"][part]["count"] == \
            before["inference_stats"][part]["count"] + 1
    assert any(batch["batch_size"] == 4 for batch in after["batch_stats"])
    names = {entry["name"] for entry in triton.get_inference_statistics()["model_stats"]}
    assert {"simple", "simple_string", "simple_identity", "identity_fp32"} <= names


def test_system_shared_memory(triton):
    size = NUMBERS.nbytes
    given = shm.create_shared_memory_region("given", "/takt_e2e_given", 2 * size)
    taken = shm.create_shared_memory_region("taken", "/takt_e2e_taken", 2 * size)
    try:
        triton.unregister_system_shared_memory()
        shm.set_shared_memory_region(given, [NUMBERS, ONES])
        triton.register_system_shared_memory("given", "/takt_e2e_given", 2 * size)
        triton.register_system_shared_memory("taken", "/takt_e2e_taken", 2 * size)
        assert len(triton.get_system_shared_memory_status()) == 2
        inputs = [client.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
        inputs[0].set_shared_memory("given", size)
        inputs[1].set_shared_memory("given", size, offset=size)
        wanted = outputs()
        wanted[0].set_shared_memory("taken", size)
        wanted[1].set_shared_memory("taken", size, offset=size)
        result = triton.infer("simple", inputs, outputs=wanted)
        assert result.get_output("OUTPUT0") == {"name": "OUTPUT0", "datatype": "INT32",
                                                "shape": [1, 16]}
        np.testing.assert_array_equal(
            shm.get_contents_as_numpy(taken, np.int32, [1, 16]), NUMBERS + ONES)
        np.testing.assert_array_equal(
            shm.get_contents_as_numpy(taken, np.int32, [1, 16], offset=size), NUMBERS - ONES)
        inputs[0].set_shared_memory("given", size, offset=2 * size)
        with pytest.raises(InferenceServerException, match="Invalid offset"):
            triton.infer("simple", inputs)
    finally:
        triton.unregister_system_shared_memory()
        shm.destroy_shared_memory_region(given)
        shm.destroy_shared_memory_region(taken)
    assert triton.get_system_shared_memory_status() == []


def test_cuda_shared_memory_is_refused(triton):
    assert triton.get_cuda_shared_memory_status() == []
    with pytest.raises(InferenceServerException, match="no GPU"):
        triton.register_cuda_shared_memory("gpu", b"handle", 0, 64)


def test_model_control(triton):
    names = {entry["name"] for entry in triton.get_model_repository_index()}
    assert {"simple", "simple_string", "simple_identity", "identity_fp32"} <= names
    triton.unload_model("simple_string")
    assert not triton.is_model_ready("simple_string")
    states = {entry["name"]: entry["state"] for entry in triton.get_model_repository_index()}
    assert states["simple_string"] == "UNAVAILABLE" and states["simple"] == "READY"
    with pytest.raises(InferenceServerException, match="unknown model"):
        triton.infer("simple_string", simple_inputs())
    triton.load_model("simple_string")
    assert triton.is_model_ready("simple_string")
    with pytest.raises(InferenceServerException, match="failed to load 'nobody'"):
        triton.load_model("nobody")


def test_load_with_another_configuration(triton, server):
    config = {"max_batch_size": 2}
    triton.load_model("simple", config=json.dumps(config))
    try:
        assert triton.get_model_config("simple")["max_batch_size"] == 2
        first = np.ones((3, 16), dtype=np.int32)
        with pytest.raises(InferenceServerException, match="1 to 2"):
            triton.infer("simple", simple_inputs(True, first, first))
        model = (server.repository / "simple" / "1" / "model.onnx").read_bytes()
        triton.load_model("simple", config=json.dumps({"max_batch_size": 4}),
                          files={"file:1/model.onnx": model})
        expect_sums(triton.infer("simple", simple_inputs()))
    finally:
        triton.load_model("simple")
    assert triton.get_model_config("simple")["max_batch_size"] == 8


@pytest.mark.parametrize("change, words", [
    (lambda inputs: inputs[0]._name and setattr(inputs[0], "_name", "WRONG"), "unexpected"),
    (lambda inputs: inputs.pop(), "expected 2 inputs but got 1"),
    (lambda inputs: setattr(inputs[0], "_datatype", "FP32"), "data-type is 'FP32'"),
    (lambda inputs: inputs[0].set_shape([1, 15]), "unexpected shape|byte size"),
    (lambda inputs: inputs[0].set_shape([1, 17]), "unexpected shape|byte size"),
])
def test_requests_that_do_not_fit(triton, change, words):
    inputs = simple_inputs()
    change(inputs)
    with pytest.raises(InferenceServerException, match=words) as refused:
        triton.infer("simple", inputs)
    assert refused.value.status() == "400"
    expect_sums(triton.infer("simple", simple_inputs()))


def test_metrics(triton, server):
    triton.infer("simple", simple_inputs())
    text = urllib.request.urlopen(f"http://{server.metrics}/metrics").read().decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    counts = dict(line.rsplit(" ", 1) for line in lines)
    assert float(counts['nv_inference_count{model="simple",version="1"}']) >= 1
    assert float(counts['takt_request_duration_seconds_count{model="simple",version="1"}']) >= 1
    for path, body in (("/v2/health/live", None), ("/v2/models/simple/infer", b"{}")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{server.metrics}{path}", data=body)
        assert refused.value.code == 404, "the metrics' port serves metrics alone"
