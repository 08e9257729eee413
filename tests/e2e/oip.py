# SPDX-License-Identifier: Apache-2.0
"""Requests of the Open Inference Protocol, written so that they can be wrong: as JSON, as JSON with
binary data, and as gRPC messages. Triton's client refuses to send most of them."""

import http.client
import json
import re
import struct
import urllib.request
from dataclasses import dataclass, field

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc as services

WAIT_S = 60
TYPES = {"BOOL": np.bool_, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32,
         "INT64": np.int64, "UINT8": np.uint8, "UINT16": np.uint16, "FP32": np.float32,
         "FP64": np.float64}


@dataclass
class Tensor:
    name: str
    datatype: str
    shape: list
    values: list = field(default_factory=list)
    raw: bytes | None = None  # None: the values; what goes over the wire where that is binary
    region: dict | None = None  # parameters of shared memory, in place of data

    def bytes(self):
        if self.raw is not None:
            return self.raw
        if self.datatype == "BYTES":
            return b"".join(struct.pack("<I", len(v)) + v.encode() for v in self.values)
        return np.array(self.values, dtype=TYPES.get(self.datatype, np.int32)).tobytes()


@dataclass
class Request:
    """A good one, until somebody changes it."""
    model: str
    inputs: list
    version: str = ""
    outputs: list = field(default_factory=list)  # name, or (name, parameters)
    parameters: dict = field(default_factory=dict)


def simple():
    return Request("simple", [Tensor("INPUT0", "INT32", [1, 16], list(range(16))),
                              Tensor("INPUT1", "INT32", [1, 16], [1] * 16)])


def strings():
    return Request("simple_identity", [Tensor("INPUT0", "BYTES", [1, 2], ["takt", "ok"])])


def floats():
    return Request("identity_fp32", [Tensor("INPUT0", "FP32", [4], [1.0, 2.0, 3.0, 4.0])])


def int8():
    return Request("simple_int8", [Tensor("INPUT0", "INT8", [1, 16], list(range(16))),
                                   Tensor("INPUT1", "INT8", [1, 16], [1] * 16)])


@dataclass
class Answer:
    status: str  # "400", "INVALID_ARGUMENT", ...
    message: str
    body: bytes = b""
    headers: dict = field(default_factory=dict)


def http_request(place, method, path, body=b"", headers=None):
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(place, timeout=WAIT_S)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        message = ""
        if response.status >= 400:
            message = json.loads(content)["error"] if content else ""
        return Answer(str(response.status), message, content, dict(response.getheaders()))
    finally:
        connection.close()


def infer_path(request):
    version = f"/versions/{request.version}" if request.version else ""
    return f"/v2/models/{request.model}{version}/infer"


def _outputs(request):
    pairs = [(o, {}) if isinstance(o, str) else o for o in request.outputs]
    return [{"name": name, "parameters": parameters} for name, parameters in pairs]


def json_body(request):
    inputs = []
    for tensor in request.inputs:
        entry = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        inputs.append(entry | ({"parameters": tensor.region} if tensor.region is not None
                               else {"data": tensor.values}))
    body = {"inputs": inputs, "parameters": request.parameters}
    return body | ({"outputs": _outputs(request)} if request.outputs else {})


def binary_body(request):
    """The JSON, and what follows it."""
    inputs, parts = [], []
    for tensor in request.inputs:
        parameters = tensor.region
        if parameters is None:
            parts.append(tensor.bytes())
            parameters = {"binary_data_size": len(parts[-1])}
        inputs.append({"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape,
                       "parameters": parameters})
    body = {"inputs": inputs, "parameters": request.parameters}
    return body | ({"outputs": _outputs(request)} if request.outputs else {}), b"".join(parts)


def send_json(server, request):
    return http_request(server.http, "POST", infer_path(request), json.dumps(json_body(request)))


def send_binary(server, request):
    body, rest = binary_body(request)
    text = json.dumps(body).encode()
    return http_request(server.http, "POST", infer_path(request), text + rest,
                        {"Inference-Header-Content-Length": str(len(text))})


def _parameter(value):
    if isinstance(value, bool):
        return messages.InferParameter(bool_param=value)
    if isinstance(value, int):
        if value >= 1 << 63:
            return messages.InferParameter(uint64_param=value)
        return messages.InferParameter(int64_param=value)
    return messages.InferParameter(string_param=str(value))


def _fill(parameters, values):
    for key, value in values.items():
        parameters[key].CopyFrom(_parameter(value))


def grpc_message(request, raw=True):
    message = messages.ModelInferRequest(model_name=request.model, model_version=request.version)
    _fill(message.parameters, request.parameters)
    for tensor in request.inputs:
        entry = message.inputs.add(name=tensor.name, datatype=tensor.datatype)
        entry.shape.extend(tensor.shape)
        if tensor.region is not None:
            _fill(entry.parameters, tensor.region)
        elif raw:
            message.raw_input_contents.append(tensor.bytes())
        elif tensor.datatype == "BYTES":
            entry.contents.bytes_contents.extend(v.encode() for v in tensor.values)
        elif tensor.datatype in ("FP32", "FP64"):
            getattr(entry.contents, tensor.datatype.lower() + "_contents").extend(tensor.values)
        else:
            entry.contents.int_contents.extend(tensor.values)
    for output in _outputs(request):
        _fill(message.outputs.add(name=output["name"]).parameters, output["parameters"])
    return message


def call(server, message):
    with grpc.insecure_channel(server.grpc) as channel:
        try:
            answer = services.GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=WAIT_S)
            return Answer("OK", "", answer.SerializeToString())
        except grpc.RpcError as error:
            return Answer(error.code().name, error.details())


def call_bytes(server, method, content):
    """A message that may be none."""
    with grpc.insecure_channel(server.grpc) as channel:
        try:
            return Answer("OK", "", channel.unary_unary(method)(content, timeout=WAIT_S))
        except grpc.RpcError as error:
            return Answer(error.code().name, error.details())


def send_grpc(server, request):
    return call(server, grpc_message(request))


def send_contents(server, request):
    return call(server, grpc_message(request, raw=False))


def metrics(server):
    """Of the metrics page: name with labels -> value."""
    text = urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=WAIT_S).read().decode()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


# What requests hold while they are answered.
HELD = re.compile(r"takt_(request_slots_in_use|output_slots_in_use|requests_in_flight|"
                  r"queue_requests|batches_running)\b")


def held(server):
    return {name: value for name, value in metrics(server).items() if HELD.match(name)}
