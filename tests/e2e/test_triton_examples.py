# SPDX-License-Identifier: Apache-2.0
"""What Triton's own client examples do, where no other test does it: model control, which counts what
the repository holds, strings in shared memory, typed contents, options of a channel."""

import re
from contextlib import closing

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
import tritonclient.utils as utils
import tritonclient.utils.shared_memory as shm
from tritonclient.grpc import service_pb2 as messages
from tritonclient.utils import InferenceServerException

import oip
import triton_server
from triton_server import NUMBERS, ONES, ROOT, expect_sums

CLIENTS = {"http": http_client, "grpc": grpc_client}
EXAMPLES = ROOT / "examples" / "triton"


@pytest.fixture(params=CLIENTS)
def protocol(request):
    return request.param


def config_of(example):
    """The example's configuration, on free ports and with a repository of the test's own."""
    text = (EXAMPLES / example).read_text(encoding="utf-8").replace("{", "{{").replace("}", "}}")
    text = re.sub(r"port: \d+", "port: 0", text)
    text = re.sub(r"repository: \S+", "repository: {repository}", text)
    return re.sub(r"cache: \S+", "cache: {cache}", text)


def repository_names(index):
    entries = index if isinstance(index, list) else index.models
    names = [entry["name"] if isinstance(entry, dict) else entry.name for entry in entries]
    assert len(names) == len(set(names))
    return names


def batch_max(config):
    return config["max_batch_size"] if isinstance(config, dict) else config.config.max_batch_size


def test_model_control(takt, tmp_path, protocol):
    options, count = {"http": ([], 7), "grpc": (["--images"], 8)}[protocol]
    models = triton_server.write_models(tmp_path / "models", *options)
    server = triton_server.start(takt, tmp_path / "serve", models,
                                 config_text=config_of(f"{protocol}-control.yaml"))
    with CLIENTS[protocol].InferenceServerClient(server.places[protocol]) as triton:
        assert len(repository_names(triton.get_model_repository_index())) == count
        assert not triton.is_model_ready("simple")
        triton.load_model("simple")
        assert triton.is_model_ready("simple")
        with pytest.raises(InferenceServerException, match="failed to load"):
            triton.load_model("simple", config='"parameters": {"config": {{"max_batch_size": "16"}}}')
        triton.load_model("simple", config='{"max_batch_size":"16"}')
        assert batch_max(triton.get_model_config("simple")) == 16
        triton.unload_model("simple")
        assert not triton.is_model_ready("simple")
        with pytest.raises(InferenceServerException,
                           match="failed to poll from model repository") as refused:
            triton.load_model("simple", config="{}", files={"file:" + "A" * 256: b"a"})
        assert refused.value.status() in ("500", "StatusCode.INTERNAL")
        assert triton.is_server_live()
        with pytest.raises(InferenceServerException, match="failed to load"):
            triton.load_model("wrong_model_name")
        assert len(repository_names(triton.get_model_repository_index())) == count


def test_the_images_model_takes_raw_bytes(takt, tmp_path):
    models = triton_server.write_models(tmp_path / "models", "--images")
    server = triton_server.start(takt, tmp_path / "serve", models)
    message = messages.ModelInferRequest(model_name="densenet_onnx", id="my request id")
    message.inputs.add(name="data_0", datatype="FP32", shape=[3, 224, 224])
    message.outputs.add(name="fc6_1")
    message.raw_input_contents.append(b"a" * 602112)
    answer = oip.call(server, message)
    assert answer.status == "OK", answer.message
    response = messages.ModelInferResponse.FromString(answer.body)
    assert response.id == "my request id" and list(response.outputs[0].shape) == [1000]
    assert len(response.raw_output_contents[0]) == 4000


def strings(values):
    return np.array([str(value).encode() for value in values], dtype=object)


def test_strings_in_shared_memory(server, protocol):
    library = CLIENTS[protocol]
    serialized = [utils.serialize_byte_tensor(strings(array.ravel())) for array in (NUMBERS, ONES)]
    sizes = [utils.serialized_byte_size(one) for one in serialized]
    room = 512
    given = shm.create_shared_memory_region("given", f"/takt_e2e_text_given_{protocol}", sum(sizes))
    taken = shm.create_shared_memory_region("taken", f"/takt_e2e_text_taken_{protocol}", 2 * room)
    with library.InferenceServerClient(server.places[protocol]) as triton:
        try:
            shm.set_shared_memory_region(given, [serialized[0]])
            shm.set_shared_memory_region(given, [serialized[1]], offset=sizes[0])
            for name, size in (("given", sum(sizes)), ("taken", 2 * room)):
                triton.register_system_shared_memory(
                    name, f"/takt_e2e_text_{name}_{protocol}", size)
            inputs = [library.InferInput(name, [1, 16], "BYTES") for name in ("INPUT0", "INPUT1")]
            inputs[0].set_shared_memory("given", sizes[0])
            inputs[1].set_shared_memory("given", sizes[1], offset=sizes[0])
            outputs = [library.InferRequestedOutput(name) for name in ("OUTPUT0", "OUTPUT1")]
            outputs[0].set_shared_memory("taken", room)
            outputs[1].set_shared_memory("taken", room, offset=room)
            triton.infer("simple_string", inputs, outputs=outputs)
            sums = shm.get_contents_as_numpy(taken, np.object_, [1, 16])
            differences = shm.get_contents_as_numpy(taken, np.object_, [1, 16], offset=room)
            assert [int(text) for text in sums[0]] == list(range(1, 17))
            assert [int(text) for text in differences[0]] == list(range(-1, 15))
        finally:
            triton.unregister_system_shared_memory("given")
            triton.unregister_system_shared_memory("taken")
            shm.destroy_shared_memory_region(given)
            shm.destroy_shared_memory_region(taken)


@pytest.mark.parametrize("model, datatype, field", [
    ("simple", "INT32", "int_contents"), ("simple_int8", "INT8", "int_contents"),
    ("simple_string", "BYTES", "bytes_contents")])
def test_typed_contents(server, model, datatype, field):
    message = messages.ModelInferRequest(model_name=model)
    for name, values in (("INPUT0", range(16)), ("INPUT1", [1] * 16)):
        entry = message.inputs.add(name=name, datatype=datatype, shape=[1, 16])
        texts = [str(value).encode() for value in values]
        getattr(entry.contents, field).extend(texts if datatype == "BYTES" else values)
    answer = oip.call(server, message)
    assert answer.status == "OK", answer.message
    raw = messages.ModelInferResponse.FromString(answer.body).raw_output_contents
    for content, expected in zip(raw, (range(1, 17), range(-1, 15))):
        if datatype == "BYTES":
            values = [int(text) for text in utils.deserialize_bytes_tensor(content)]
        else:
            values = np.frombuffer(content, np.int8 if datatype == "INT8" else np.int32).tolist()
        assert values == list(expected)


@pytest.mark.parametrize("options", [
    {"keepalive_options": grpc_client.KeepAliveOptions(keepalive_time_ms=100,
                                                       keepalive_timeout_ms=2000,
                                                       keepalive_permit_without_calls=True,
                                                       http2_max_pings_without_data=0)},
    {"channel_args": [("grpc.primary_user_agent", "takt"), ("grpc.max_receive_message_length", -1)]},
], ids=["keepalive", "arguments"])
def test_options_of_a_channel(server, options):
    with grpc_client.InferenceServerClient(server.grpc, **options) as triton:
        inputs = [grpc_client.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
        for given, values in zip(inputs, (NUMBERS, ONES)):
            given.set_data_from_numpy(values)
        for _ in range(3):
            expect_sums(triton.infer("simple", inputs, headers={"test": "1"}))


def test_a_client_for_each_request(server, protocol):
    library = CLIENTS[protocol]
    for _ in range(20):
        with closing(library.InferenceServerClient(server.places[protocol])) as triton:
            given = library.InferInput("INPUT0", [1, 16], "INT32")
            given.set_data_from_numpy(NUMBERS)
            result = triton.infer("custom_identity_int32", [given])
            np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), NUMBERS)


@pytest.mark.parametrize("parameters", [{"sequence_id": 42, "sequence_start": True},
                                        {"sequence_id": "line 3", "sequence_end": True}])
def test_sequences_are_refused(server, protocol, parameters):
    library = CLIENTS[protocol]
    with library.InferenceServerClient(server.places[protocol]) as triton:
        given = library.InferInput("INPUT0", [1, 16], "INT32")
        given.set_data_from_numpy(NUMBERS)
        with pytest.raises(InferenceServerException, match="sequences are not supported"):
            triton.infer("custom_identity_int32", [given], **parameters)


def test_every_example_configuration_is_valid(takt, tmp_path):
    for example in sorted(EXAMPLES.glob("*.yaml")):
        own = tmp_path / example.name
        own.write_text(config_of(example.name).format(repository=tmp_path, cache=tmp_path),
                       encoding="utf-8")
        checked = takt.run("validate", own)
        assert checked.code == 0, f"{example.name}: {checked.err}"
