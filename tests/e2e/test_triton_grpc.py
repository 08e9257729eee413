# SPDX-License-Identifier: Apache-2.0
"""Triton's own Python client over gRPC, as its examples use it."""

import asyncio
import queue

import numpy as np
import pytest
import tritonclient.grpc as client
import tritonclient.grpc.aio as aio
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException

import program as programs
from triton_server import NUMBERS, ONES, expect_sums


@pytest.fixture
def triton(server):
    with client.InferenceServerClient(server.grpc) as opened:
        yield opened


def simple_inputs(first=NUMBERS, second=ONES):
    inputs = [client.InferInput("INPUT0", list(first.shape), "INT32"),
              client.InferInput("INPUT1", list(second.shape), "INT32")]
    inputs[0].set_data_from_numpy(first)
    inputs[1].set_data_from_numpy(second)
    return inputs


def outputs():
    return [client.InferRequestedOutput("OUTPUT0"), client.InferRequestedOutput("OUTPUT1")]


def test_health_and_metadata(triton):
    assert triton.is_server_live() and triton.is_server_ready()
    assert triton.is_model_ready("simple") and not triton.is_model_ready("nobody")
    server = triton.get_server_metadata()
    assert server.name == "triton" and "statistics" in server.extensions
    model = triton.get_model_metadata("simple")
    assert model.name == "simple" and list(model.versions) == ["1"]
    assert list(model.inputs[0].shape) == [-1, 16] and model.inputs[0].datatype == "INT32"
    config = triton.get_model_config("simple").config
    assert config.max_batch_size == 8 and list(config.input[0].dims) == [16]
    with pytest.raises(InferenceServerException, match="unknown model: 'wrong'"):
        triton.get_model_metadata("wrong")


def test_infer(triton):
    result = triton.infer("simple", simple_inputs(), outputs=outputs(), request_id="7")
    expect_sums(result)
    assert result.get_response().id == "7"
    expect_sums(triton.infer("simple", simple_inputs()))
    for coding in ("gzip", "deflate"):
        expect_sums(triton.infer("simple", simple_inputs(), compression_algorithm=coding))


def test_infer_async_and_aio(triton, server):
    answers = queue.Queue()
    for _ in range(8):
        triton.async_infer("simple", simple_inputs(),
                           lambda result, error: answers.put((result, error)))
    for _ in range(8):
        result, error = answers.get(timeout=programs.WAIT_S)
        assert error is None
        expect_sums(result)

    async def ask():
        async with aio.InferenceServerClient(server.grpc) as opened:
            return await asyncio.gather(*[opened.infer("simple", simple_inputs())
                                          for _ in range(20)])
    for result in asyncio.run(ask()):
        expect_sums(result)


def test_stream_answers_in_order_and_outlives_an_error(triton):
    answers = queue.Queue()
    triton.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(20):
        name = "nobody" if number == 7 else "simple"
        triton.async_stream_infer(name, simple_inputs(), request_id=str(number))
    for number in range(20):
        result, error = answers.get(timeout=programs.WAIT_S)
        if number == 7:
            assert "unknown model" in str(error)
        else:
            assert error is None and result.get_response().id == str(number)
            expect_sums(result)
    triton.stop_stream()


def test_strings(triton):
    first = np.array([[str(n).encode() for n in range(16)]], dtype=np.object_)
    second = np.array([[b"1"] * 16], dtype=np.object_)
    inputs = [client.InferInput("INPUT0", [1, 16], "BYTES"),
              client.InferInput("INPUT1", [1, 16], "BYTES")]
    inputs[0].set_data_from_numpy(first)
    inputs[1].set_data_from_numpy(second)
    result = triton.infer("simple_string", inputs)
    assert [int(text) for text in result.as_numpy("OUTPUT0")[0]] == list(range(1, 17))


def test_a_large_tensor_comes_back(triton):
    values = np.random.default_rng(1).random(150528, dtype=np.float32)
    given = client.InferInput("INPUT0", [values.size], "FP32")
    given.set_data_from_numpy(values)
    np.testing.assert_array_equal(triton.infer("identity_fp32", [given]).as_numpy("OUTPUT0"), values)


def test_classification(triton):
    result = triton.infer("simple", simple_inputs(),
                          outputs=[client.InferRequestedOutput("OUTPUT0", class_count=2)])
    assert [text.decode().split(":")[:2] for text in result.as_numpy("OUTPUT0")[0]] == [
        ["16", "15"], ["15", "14"]]


def test_classes_have_the_names_of_the_models_label_file(triton):
    result = triton.infer("simple_labels", simple_inputs(),
                          outputs=[client.InferRequestedOutput("OUTPUT0", class_count=1)])
    assert result.as_numpy("OUTPUT0")[0][0].decode().endswith(":15:simple_labels 15")
    config = triton.get_model_config("simple_labels").config
    assert config.output[0].label_filename == "output0_labels.txt"


def test_statistics(triton):
    def counts():
        return triton.get_inference_statistics("simple").model_stats[0]
    before = counts()
    triton.infer("simple", simple_inputs())
    after = counts()
    assert after.inference_count == before.inference_count + 1
    assert after.inference_stats.success.count == before.inference_stats.success.count + 1


def test_system_shared_memory(triton):
    size = NUMBERS.nbytes
    given = shm.create_shared_memory_region("given", "/takt_e2e_grpc_given", 2 * size)
    taken = shm.create_shared_memory_region("taken", "/takt_e2e_grpc_taken", 2 * size)
    try:
        triton.unregister_system_shared_memory()
        shm.set_shared_memory_region(given, [NUMBERS, ONES])
        triton.register_system_shared_memory("given", "/takt_e2e_grpc_given", 2 * size)
        triton.register_system_shared_memory("taken", "/takt_e2e_grpc_taken", 2 * size)
        assert set(triton.get_system_shared_memory_status().regions) == {"given", "taken"}
        inputs = [client.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
        inputs[0].set_shared_memory("given", size)
        inputs[1].set_shared_memory("given", size, offset=size)
        wanted = outputs()
        wanted[0].set_shared_memory("taken", size)
        wanted[1].set_shared_memory("taken", size, offset=size)
        triton.infer("simple", inputs, outputs=wanted)
        np.testing.assert_array_equal(
            shm.get_contents_as_numpy(taken, np.int32, [1, 16]), NUMBERS + ONES)
        np.testing.assert_array_equal(
            shm.get_contents_as_numpy(taken, np.int32, [1, 16], offset=size), NUMBERS - ONES)
    finally:
        triton.unregister_system_shared_memory()
        shm.destroy_shared_memory_region(given)
        shm.destroy_shared_memory_region(taken)


def test_model_control(triton):
    triton.unload_model("simple_string")
    assert not triton.is_model_ready("simple_string")
    states = {entry.name: entry.state for entry in triton.get_model_repository_index().models}
    assert states["simple_string"] == "UNAVAILABLE" and states["simple"] == "READY"
    triton.load_model("simple_string")
    assert triton.is_model_ready("simple_string")
    with pytest.raises(InferenceServerException, match="failed to load 'nobody'"):
        triton.load_model("nobody")


def test_settings(triton):
    assert triton.get_trace_settings().settings["trace_level"].value[0] == "OFF"
    assert triton.get_log_settings().settings["log_info"].bool_param in (True, False)


def test_requests_that_do_not_fit(triton):
    inputs = simple_inputs()
    inputs.pop()
    with pytest.raises(InferenceServerException, match="expected 2 inputs but got 1") as refused:
        triton.infer("simple", inputs)
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"
    expect_sums(triton.infer("simple", simple_inputs()))
