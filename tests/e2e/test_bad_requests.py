# SPDX-License-Identifier: Apache-2.0
"""Requests that can't be answered: each gets a typed error that says what was expected, names no
path, leaves nothing held, and the next good request is answered."""

import json
import re

import numpy as np
import pytest
import tritonclient.http as client
import tritonclient.utils.shared_memory as shm

import oip
import program as programs
from oip import Tensor
from tritonclient.grpc import service_pb2 as messages

HUGE = 1 << 62
MOST = (1 << 64) - 1
REGION_BYTES = 128

INVALID = ("400", "INVALID_ARGUMENT")
NOT_FOUND = ("404", "NOT_FOUND")
TOO_LARGE = ("413", "RESOURCE_EXHAUSTED")
UNIMPLEMENTED = ("501", "UNIMPLEMENTED")

SENDERS = {"json": oip.send_json, "binary": oip.send_binary, "grpc": oip.send_grpc,
           "contents": oip.send_contents}
A_PATH = re.compile(r"/(tmp|home|root|work|usr|dev|proc|var|opt)\b|\.(cc|h|pbtxt)\b")


def check(server, answer, status, words):
    assert answer.status in status, f"{answer.status}: {answer.message}"
    assert re.search(words, answer.message), answer.message
    assert not A_PATH.search(answer.message), f"names a path: {answer.message}"
    assert str(server.repository) not in answer.message
    good = oip.send_json(server, oip.simple())
    assert good.status == "200", good.message


@pytest.fixture(scope="module", autouse=True)
def nothing_stays_held(server):
    before = oip.held(server)
    assert any("request_slots_in_use" in name for name in before), "the gauge has another name"
    yield
    programs.wait_until(lambda: oip.held(server) == before, f"return to {before}")


@pytest.fixture(scope="module")
def region(server):
    """Registered as "given", with 128 bytes."""
    memory = shm.create_shared_memory_region("given", "/takt_e2e_bad", REGION_BYTES)
    shm.set_shared_memory_region(memory, [np.arange(32, dtype=np.int32)])
    with client.InferenceServerClient(server.http) as triton:
        triton.register_system_shared_memory("given", "/takt_e2e_bad", REGION_BYTES)
        yield "given"
        triton.unregister_system_shared_memory("given")
    shm.destroy_shared_memory_region(memory)


def changed(make, **attributes):
    """A request whose first input is changed."""
    request = make()
    for name, value in attributes.items():
        setattr(request.inputs[0], name, value)
    return request


def with_inputs(make, change):
    request = make()
    request.inputs = change(request.inputs)
    return request


def asking(make, *outputs, **parameters):
    request = make()
    request.outputs = list(outputs)
    request.parameters = parameters
    return request


def named(model, version=""):
    request = oip.simple()
    request.model, request.version = model, version
    return request


def placed(name, size, offset=0, make=oip.simple):
    place = {"shared_memory_region": name, "shared_memory_byte_size": size}
    if offset:
        place["shared_memory_offset"] = offset
    return changed(make, region=place)


def delivered(name, size, offset=0):
    place = {"shared_memory_region": name, "shared_memory_byte_size": size}
    if offset:
        place["shared_memory_offset"] = offset
    return asking(oip.simple, ("OUTPUT0", place))


# What every protocol can say: what is wrong, the request, its answer, words of the message.
CASES = [
    ("an unknown model", named("nobody"), NOT_FOUND, "unknown model: 'nobody' is not found"),
    ("nearly a model", named("simpel"), NOT_FOUND, "did you mean 'simple'"),
    ("a model that leaves the repository", named("..%2F..%2Fetc"), NOT_FOUND, "unknown model"),
    ("an unknown version", named("simple", "9"), NOT_FOUND, "version 9 is not found"),
    ("a version that is none", named("simple", "new"), INVALID, "a version is a number from 1"),
    ("version 0", named("simple", "0"), INVALID, "a version is a number from 1"),
    ("a version beyond all numbers", named("simple", "9" * 30), INVALID, "number from 1"),
    ("a wrong input name", changed(oip.simple, name="WRONG"), INVALID,
     "unexpected inference input 'WRONG' for model 'simple'"),
    ("an empty input name", changed(oip.simple, name=""), INVALID, "unexpected inference input ''"),
    ("a missing input", with_inputs(oip.simple, lambda all_: all_[:1]), INVALID,
     r"expected 2 inputs but got 1.*missing required input\(s\) \['INPUT1'\]"),
    ("no input", with_inputs(oip.simple, lambda _: []), INVALID, "expected 2 inputs but got 0"),
    ("an input twice", with_inputs(oip.simple, lambda all_: [all_[0], all_[0]]), INVALID,
     "input 'INPUT0' already exists"),
    ("an input too many", with_inputs(
        oip.simple, lambda all_: [*all_, Tensor("MORE", "INT32", [1], [1])]), INVALID,
     "unexpected inference input 'MORE'"),
    ("1,025 inputs", with_inputs(oip.simple, lambda all_: all_[:1] * 1025), INVALID,
     "more than 1024"),
    ("a wrong shape", changed(oip.simple, shape=[1, 15], values=[0] * 15), INVALID,
     r"Expected \[-1,16\], got \[1,15\]"),
    ("a rank too low", changed(oip.simple, shape=[16]), INVALID, r"Expected \[-1,16\], got \[16\]"),
    ("a rank too high", changed(oip.simple, shape=[1, 1, 16]), INVALID, r"got \[1,1,16\]"),
    ("no dimension", changed(oip.simple, shape=[], values=[7]), INVALID, r"got \[\]"),
    ("100 dimensions", changed(oip.simple, shape=[1] * 99 + [16]), INVALID,
     "more than [0-9]+ dimensions"),
    ("a negative dimension", changed(oip.simple, shape=[-1, 16]), INVALID,
     "whole numbers of 0 or more|unexpected shape|negative dimension"),
    ("no row", with_inputs(oip.simple, lambda _: [Tensor("INPUT0", "INT32", [0, 16]),
                                                  Tensor("INPUT1", "INT32", [0, 16])]), INVALID,
     "batch-size must be 1 to 8 for 'simple', got 0"),
    ("an empty dimension", changed(oip.floats, shape=[0], values=[]), INVALID, "expected"),
    ("a product beyond all numbers", changed(oip.simple, shape=[HUGE, 8]), INVALID,
     r"2\^40 elements|fewer elements|unexpected shape"),
    ("a product that wraps to 0", changed(oip.floats, shape=[1 << 32, 1 << 32]), INVALID,
     r"2\^40 elements|fewer elements|unexpected shape"),
    ("a dimension beyond memory", changed(oip.floats, shape=[1 << 39]), INVALID,
     "fewer elements|byte size mismatch"),
    ("a batch too large", with_inputs(
        oip.simple, lambda _: [Tensor(name, "INT32", [9, 16], [1] * 144)
                               for name in ("INPUT0", "INPUT1")]), INVALID,
     "batch-size must be 1 to 8 for 'simple', got 9"),
    ("two batch sizes", with_inputs(
        oip.simple, lambda all_: [Tensor("INPUT0", "INT32", [2, 16], [1] * 32), all_[1]]), INVALID,
     "batch size does not match other inputs"),
    ("another datatype", changed(oip.simple, datatype="INT64"), INVALID,
     "data-type is 'INT64', but model 'simple' expects 'INT32'|belong in int64_contents"),
    ("an unknown datatype", changed(oip.simple, datatype="FP99"), INVALID, "FP99.*expected"),
    ("no datatype", changed(oip.simple, datatype=""), INVALID, "expected"),
    ("too few elements", changed(oip.simple, values=[1] * 15), INVALID,
     "asks for 16 elements, got 15|byte size mismatch.*Expected 64, got 60|fewer elements"),
    ("no elements", changed(oip.simple, values=[]), INVALID,
     "asks for 16 elements, got 0|byte size mismatch.*Expected 64, got 0|no data"),
    ("too many elements", changed(oip.simple, values=[1] * 17), INVALID,
     "more than the 16 elements|byte size mismatch.*Expected 64, got 68|more elements"),
    ("an unknown output", asking(oip.simple, "OUTPUT7"), INVALID,
     "unexpected inference output 'OUTPUT7' for model 'simple'"),
    ("an output twice", asking(oip.simple, "OUTPUT0", "OUTPUT0"), INVALID,
     "output 'OUTPUT0' already requested"),
    ("classes of strings", asking(oip.strings, ("OUTPUT0", {"classification": 2})), INVALID,
     "class result not available"),
    ("classes below 0", asking(oip.simple, ("OUTPUT0", {"classification": -1})), INVALID,
     "0 or more"),
    ("classes beyond all numbers", asking(oip.simple, ("OUTPUT0", {"classification": HUGE})),
     INVALID, "classes"),
    ("classes that are a word", asking(oip.simple, ("OUTPUT0", {"classification": "all"})), INVALID,
     "0 or more"),
    ("a sequence", asking(oip.simple, sequence_id=7, sequence_start=True), UNIMPLEMENTED,
     "sequences are not supported"),
    ("a sequence by name", asking(oip.simple, sequence_id="line 3"), UNIMPLEMENTED,
     "sequences are not supported"),
    ("a sequence's beginning", asking(oip.simple, sequence_start=True), UNIMPLEMENTED,
     "sequences are not supported"),
    ("a negative priority", asking(oip.simple, priority=-1), INVALID, "priority.*0 or more"),
    ("a priority in words", asking(oip.simple, priority="high"), INVALID, "priority.*0 or more"),
    ("a negative timeout", asking(oip.simple, timeout=-1), INVALID, "timeout.*0 or more"),
    ("an unknown region", placed("nobody", 64), INVALID,
     "Unable to find shared memory region: 'nobody'"),
    ("an output into an unknown region", delivered("nobody", 64), INVALID,
     "Unable to find shared memory region: 'nobody'"),
    ("an offset behind the region", placed("given", 64, REGION_BYTES), INVALID, "Invalid offset"),
    ("an offset that leaves too little", placed("given", 64, REGION_BYTES - 63), INVALID,
     "Invalid offset"),
    ("an offset that wraps", placed("given", 64, MOST - 31), INVALID, "Invalid offset"),
    ("a place larger than the region", placed("given", REGION_BYTES + 1, make=oip.strings), INVALID,
     "Invalid offset"),
    ("a size beyond memory", placed("given", MOST, make=oip.strings), TOO_LARGE,
     "server.request_bytes_max"),
    ("offset and size that wrap", placed("given", MOST, MOST, make=oip.strings), TOO_LARGE,
     "server.request_bytes_max"),
    ("a place of another size than the tensor", placed("given", 60), INVALID,
     "byte size mismatch.*Expected 64, got 60"),
    ("a negative offset", placed("given", 64, -4), INVALID, "0 or more"),
    ("a negative size", placed("given", -64), INVALID, "0 or more"),
    ("a place without a size", changed(oip.simple, region={"shared_memory_region": "given"}),
     INVALID, "shared_memory_byte_size"),
    ("an output's place that is too small", delivered("given", 63), INVALID,
     "should be at least 64 bytes"),
    ("an output's offset that wraps", delivered("given", 64, MOST - 31), INVALID, "Invalid offset"),
    ("an output's offset that leaves too little", delivered("given", 64, REGION_BYTES - 63), INVALID,
     "Invalid offset"),
    ("classes into shared memory", asking(oip.simple, ("OUTPUT0", {
        "classification": 2, "shared_memory_region": "given", "shared_memory_byte_size": 64})),
     INVALID, "shared memory can't be set for classification"),
]

@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("what, request_, status, words", CASES, ids=[case[0] for case in CASES])
def test_a_request_that_fits_no_model(server, region, sender, what, request_, status, words):
    check(server, SENDERS[sender](server, request_), status, words)


def binary_strings(*lengths, content=b"taktok"):
    parts = b"".join(length.to_bytes(4, "little") + content[:3] for length in lengths)
    return changed(oip.strings, raw=parts)


@pytest.mark.parametrize("sender", ["binary", "grpc"])
@pytest.mark.parametrize("request_", [
    binary_strings(3, 0xffffffff), binary_strings(0xffffffff, 3), binary_strings(3, 4),
    binary_strings(3), binary_strings(3, 3, 3), changed(oip.strings, raw=b"\1\0\0"),
    changed(oip.strings, raw=b""), changed(oip.strings, raw=b"\0" * 9)],
    ids=["a length that wraps", "the first wraps", "a byte too long", "too few", "too many",
         "half a length", "none", "a byte behind"])
def test_strings_whose_lengths_lie(server, sender, request_):
    check(server, SENDERS[sender](server, request_), INVALID, "string|BYTES|data")


def test_strings_whose_lengths_lie_in_shared_memory(server, region):
    request = placed(region, REGION_BYTES, make=oip.strings)
    for sender in ("json", "grpc"):
        check(server, SENDERS[sender](server, request), INVALID, "string|BYTES")


# JSON --------------------------------------------------------------------------------------------

def tensor_json(model="identity_fp32", **changes):
    tensors = {"identity_fp32": ("FP32", [2], [1, 2]), "simple_identity": ("BYTES", [1, 1], ["a"])}
    datatype, shape, data = tensors[model]
    entry = {"name": "INPUT0", "datatype": datatype, "shape": shape, "data": data} | changes
    return {"inputs": [{key: value for key, value in entry.items() if value is not None}]}


def number_json(text, datatype="FP32"):
    return ('{"inputs":[{"name":"INPUT0","datatype":"%s","shape":[2],"data":[1,%s]}]}'
            % (datatype, text))


JSON_CASES = [
    ("nothing", "", "failed to parse"),
    ("no JSON", "hello", "failed to parse"),
    ("half of it", '{"inputs":[{"name":"INPUT0"', "failed to parse|unable to find"),
    ("no object", "[1,2]", "expected an object"),
    ("a number", "7", "expected an object"),
    ("two objects", json.dumps(tensor_json()) + "{}", "text behind its end"),
    ("a comma too many", json.dumps(tensor_json())[:-1] + ",}", "failed to parse"),
    ("a zero byte", '{"inputs"\0:[]}', "failed to parse"),
    ("bytes that are no UTF-8", b'{"inputs":[{"name":"\xff\xfe"}]}', "failed to parse"),
    ("a lone surrogate", '{"inputs":[{"name":"\\ud800","shape":[1],"datatype":"FP32"}]}',
     "failed to parse|expected a string"),
    ("no inputs", "{}", "unable to find 'inputs'"),
    ("inputs that are no list", '{"inputs":{}}', "inputs: expected an array"),
    ("an input that is no object", '{"inputs":[7]}', r"inputs\[0\]: expected an object"),
    ("inputs twice", '{"inputs":[],"inputs":[]}', "inputs: comes twice"),
    ("outputs twice", json.dumps(tensor_json())[:-1] + ',"outputs":[],"outputs":[]}',
     "outputs: comes twice"),
    ("parameters twice", json.dumps(tensor_json())[:-1] + ',"parameters":{},"parameters":{}}',
     "parameters: comes twice"),
    ("10,000 arrays deep", "[" * 10_000, "failed to parse"),
    ("10,000 objects deep", '{"a":' * 10_000, "failed to parse"),
    ("data 1,000 arrays deep", number_json("[" * 1000 + "2" + "]" * 1000), "failed to parse|nested"),
    ("data 17 arrays deep", number_json("[" * 17 + "2" + "]" * 17), "nested less deeply"),
    ("an id that is a list", json.dumps(tensor_json() | {"id": [1]}), "id: expected a string"),
    ("a name that is a number", json.dumps(tensor_json(name=7)), "name: expected a string"),
    ("no name", json.dumps(tensor_json(name=None)), "unable to find 'name'"),
    ("no shape", json.dumps(tensor_json(shape=None)), "shape: expected an array of dimensions"),
    ("no datatype", json.dumps(tensor_json(datatype=None)), "unable to find 'datatype'"),
    ("no data", json.dumps(tensor_json(data=None)), "must have 'data'"),
    ("a shape of text", json.dumps(tensor_json(shape=["2"])), "whole numbers of 0 or more"),
    ("a shape of fractions", json.dumps(tensor_json(shape=[2.5])), "whole numbers of 0 or more"),
    ("a dimension beyond 64 bits", json.dumps(tensor_json(shape=[1 << 64])), "0 or more"),
    ("data that are a number", json.dumps(tensor_json(data=7)), "data: expected an array"),
    ("data that are text", json.dumps(tensor_json(data="1,2")), "data: expected an array"),
    ("not a number", number_json("NaN"), "element 1 is not a number|failed to parse"),
    ("infinity", number_json("Infinity"), "element 1 is not a number|failed to parse"),
    ("minus infinity", number_json("-Infinity"), "element 1 is not a number|failed to parse"),
    ("too large for FP32", number_json("1e39"), "a number that the datatype can hold"),
    ("too large for anything", number_json("1e999"), "not a number|can hold"),
    ("a number with a zero in front", number_json("01"), "not a number|failed to parse"),
    ("text among numbers", number_json('"2"'), "element 1 is not a number"),
    ("a truth among numbers", number_json("true"), "element 1 is not a number"),
    ("null among numbers", number_json("null"), "element 1 is not a number"),
    ("an object among numbers", number_json("{}"), "element 1 is not a number"),
    ("a number among strings", json.dumps(tensor_json("simple_identity", data=[7])),
     "element 0 is not a string"),
    ("halves in JSON", number_json("2", "FP16"), "send this input as binary data"),
    ("a truth in numbers", number_json("2", "BOOL"), "is not true or false"),
    ("data and a region", json.dumps(tensor_json(parameters={
        "shared_memory_region": "given", "shared_memory_byte_size": 8})), "got two of them"),
    ("data and binary data", json.dumps(tensor_json(parameters={"binary_data_size": 0})),
     "got two of them"),
    ("an output without a name", json.dumps(tensor_json() | {"outputs": [{}]}),
     "unable to find 'name'"),
    ("parameters that are a list", json.dumps(tensor_json(parameters=[])), "expected an object"),
    ("a size that is text", json.dumps(tensor_json(data=None, parameters={
        "binary_data_size": "8"})), "binary_data_size: expected a number"),
]


@pytest.mark.parametrize("what, body, words", JSON_CASES, ids=[case[0] for case in JSON_CASES])
def test_json_that_is_wrong(server, what, body, words):
    model = "simple_identity" if "BYTES" in str(body) else "identity_fp32"
    check(server, oip.http_request(server.http, "POST", f"/v2/models/{model}/infer", body),
          ("400",), words)


def test_what_nobody_reads_may_be_deep(server):
    deep = json.dumps(tensor_json())[:-1] + ',"parameters":{"a":' + '{"b":' * 9999 + "1" + "}" * 10_001
    answer = oip.http_request(server.http, "POST", "/v2/models/identity_fp32/infer", deep)
    assert answer.status == "200", answer.message


@pytest.mark.parametrize("value", ["128", "-129", "300000000000000000000", "1.5", '"1"', "true"])
def test_json_out_of_the_datatypes_range(server, value):
    body = oip.json_body(oip.int8())
    body["inputs"][0]["data"] = ["here", *([0] * 15)]
    text = json.dumps(body).replace('"here"', value)
    check(server, oip.http_request(server.http, "POST", "/v2/models/simple_int8/infer", text),
          ("400",), "element 0 is not a whole number that the datatype can hold")


@pytest.mark.parametrize("value", [128, -129, 2**31 - 1])
def test_contents_out_of_the_datatypes_range(server, value):
    check(server, oip.send_contents(server, changed(oip.int8, values=[value] + [0] * 15)), INVALID,
          f"{value} is no INT8; expected -128 to 127")


# Binary data over HTTP ---------------------------------------------------------------------------

@pytest.mark.parametrize("stated, words", [
    ("1000000", "is 1000000, but the body has"), ("-1", "whole number of 0 or more"),
    ("all", "whole number of 0 or more"), (str(MOST + 1), "whole number of 0 or more"),
    (str(MOST), "but the body has"), ("0", "a raw request is for a model with one input"),
    ("10", "failed to parse|unable to find")])
def test_a_header_length_that_lies(server, stated, words):
    body, rest = oip.binary_body(oip.simple())
    answer = oip.http_request(server.http, "POST", "/v2/models/simple/infer",
                              json.dumps(body).encode() + rest,
                              {"Inference-Header-Content-Length": stated})
    check(server, answer, ("400",), words)


@pytest.mark.parametrize("sizes, follow, words", [
    ((64, 64), 127, "64 bytes of binary data, but 63 are left"),
    ((64, 64), 129, "state 128 bytes of binary data, but 129 follow"),
    ((64, 64), 0, "64 bytes of binary data, but 0 are left"),
    ((60, 68), 128, "byte size mismatch.*Expected 64, got 60"),
    ((0, 128), 128, "byte size mismatch.*Expected 64, got 0"),
    ((HUGE, 64), 128, "bytes of binary data, but 128 are left"),
    ((MOST, 1), 128, "bytes of binary data, but 128 are left"),
    ((64, -1), 128, "binary_data_size: expected a number of 0 or more"),
])
def test_a_binary_size_that_lies(server, sizes, follow, words):
    body, _ = oip.binary_body(oip.simple())
    for entry, size in zip(body["inputs"], sizes):
        entry["parameters"]["binary_data_size"] = size
    text = json.dumps(body).encode()
    answer = oip.http_request(server.http, "POST", "/v2/models/simple/infer", text + b"\0" * follow,
                              {"Inference-Header-Content-Length": str(len(text))})
    check(server, answer, ("400",), words)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_body_that_is_not_packed(server, coding):
    answer = oip.http_request(server.http, "POST", "/v2/models/simple/infer",
                              json.dumps(oip.json_body(oip.simple())), {"Content-Encoding": coding})
    check(server, answer, ("400",), "not of its Content-Encoding")


def test_a_body_of_an_unknown_coding(server):
    answer = oip.http_request(server.http, "POST", "/v2/models/simple/infer", "{}",
                              {"Content-Encoding": "br"})
    check(server, answer, ("400",), "expected gzip, deflate or none")


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/v2/models/simple/infer", "405"), ("DELETE", "/v2/models/simple", "405"),
    ("POST", "/v2/models/simple/generate", "405"), ("GET", "/v3", "404"), ("GET", "/", "404"),
    ("POST", "/v2/models/simple/versions/infer", "404"), ("GET", "/v2/models/%00", "400"),
    ("GET", "/v2/models/%zz", "400"), ("POST", "/v2/models//infer", "404"),
    ("GET", "/v2/models/../../etc/passwd", "404")])
def test_a_path_that_leads_nowhere(server, method, path, status):
    check(server, oip.http_request(server.http, method, path), (status,), ".")


# gRPC --------------------------------------------------------------------------------------------

def raw_contents(contents):
    message = oip.grpc_message(oip.simple())
    del message.raw_input_contents[:]
    message.raw_input_contents.extend(contents)
    return message


def wrong_field(**contents):
    message = oip.grpc_message(oip.simple(), raw=False)
    message.inputs[0].contents.CopyFrom(messages.InferTensorContents(**contents))
    return message


def both_forms():
    message = oip.grpc_message(oip.simple())
    message.inputs[0].contents.int_contents.extend([1] * 16)
    return message


@pytest.mark.parametrize("message, words", [
    (raw_contents([b"\0" * 64]), "expected 2 raw input contents.* got 1"),
    (raw_contents([b"\0" * 64] * 3), "expected 2 raw input contents.* got 3"),
    (raw_contents([b"\0" * 63, b"\0" * 65]), "byte size mismatch.*Expected 64, got 63"),
    (raw_contents([b"", b""]), "byte size mismatch.*Expected 64, got 0"),
    (raw_contents([]), "no data"),
    (wrong_field(fp32_contents=[1.0] * 16), "elements of INT32 belong in int_contents, not in fp32"),
    (wrong_field(bytes_contents=[b"1"] * 16), "elements of INT32 belong in int_contents"),
    (both_forms(), "contents must not be set beside raw_input_contents"),
    (messages.ModelInferRequest(), "unknown model"),
], ids=["one raw too few", "one raw too many", "raw of other sizes", "empty raw", "no raw",
        "another field", "strings", "both forms", "nothing"])
def test_a_grpc_request_that_is_wrong(server, message, words):
    check(server, oip.call(server, message), ("INVALID_ARGUMENT", "NOT_FOUND"), words)


INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.mark.parametrize("method, content, status, words", [
    (INFER, b"\xff" * 40, "INVALID_ARGUMENT", "the bytes are no ModelInferRequest"),
    (INFER, oip.grpc_message(oip.simple()).SerializeToString()[:-1], "INVALID_ARGUMENT",
     "the bytes are no ModelInferRequest"),
    (INFER, b"\x2a\xff\xff\xff\xff\x0f", "INVALID_ARGUMENT", "the bytes are no ModelInferRequest"),
    (INFER, b"\x0a\x02\xff\xfe", "INVALID_ARGUMENT", "not UTF-8"),
    (INFER.replace("ModelInfer", "ModelMetadata"), b"\xff", "INVALID_ARGUMENT", "."),
    (INFER.replace("ModelInfer", "ModelConfig"), b"\x0a\xff\xff", "INVALID_ARGUMENT", "."),
    ("/inference.GRPCInferenceService/Nothing", b"", "UNIMPLEMENTED", "no method"),
    ("/nobody/ModelInfer", b"", "UNIMPLEMENTED", "no method"),
], ids=["noise", "cut off", "a length that lies", "no UTF-8", "noise for metadata",
        "noise for configuration", "an unknown method", "an unknown service"])
def test_bytes_that_are_no_message(server, method, content, status, words):
    check(server, oip.call_bytes(server, method, content), (status,), words)


# Shared memory -----------------------------------------------------------------------------------

@pytest.mark.parametrize("key, offset, size, status, words", [
    ("/takt_e2e_nobody", 0, 64, "400", "unable to open shared memory region"),
    ("/takt_e2e_bad", 0, REGION_BYTES + 1, "400", "don't hold"),
    ("/takt_e2e_bad", MOST, 64, "400", "don't hold"),
    ("/takt_e2e_bad", MOST, MOST, "400", "don't hold"),
    ("/takt_e2e_bad", 0, 0, "400", "don't hold"),
    ("/takt_e2e_bad", -1, 64, "400", "'offset' must be a whole number of 0 or more"),
    ("/takt_e2e_bad", 0, "64", "400", "'byte_size' must be a whole number of 0 or more"),
    ("../etc/passwd", 0, 64, "400", "without further slashes"),
    ("", 0, 64, "400", "expected a name, and a key"),
    (7, 0, 64, "400", "'key' must be a string"),
])
def test_a_region_that_can_not_be_registered(server, region, key, offset, size, status, words):
    body = json.dumps({"key": key, "offset": offset, "byte_size": size})
    answer = oip.http_request(server.http, "POST", "/v2/systemsharedmemory/region/bad/register", body)
    check(server, answer, (status,), words)


def test_a_region_that_is_registered_twice(server, region):
    body = json.dumps({"key": "/takt_e2e_bad", "offset": 0, "byte_size": REGION_BYTES})
    answer = oip.http_request(server.http, "POST", f"/v2/systemsharedmemory/region/{region}/register",
                              body)
    check(server, answer, ("409",), "already")
