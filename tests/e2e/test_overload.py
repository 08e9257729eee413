# SPDX-License-Identifier: Apache-2.0
"""Three times as many requests as a model can answer: the urgent ones are answered, the rest is refused
with a typed error, and nothing of it is left afterwards. Times are measured in bench/overload.py."""

import time
from collections import Counter

import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client

import oip
import open_loop
import program as programs
import triton_server
from open_loop import Flow, Plan

SECONDS = 6
QUEUE = 32
CAPACITY = 500  # a second: full batches of 8 take 16 ms
MODEL = {"base_us": 8000, "row_us": 1000}

CONFIG = """
models: {{repository: {repository}, cache: {cache}}}
devices: {{cpu: {{lanes: 1}}}}
server:
  isolation: {isolation}
  models: [busy, patient]
  priorities: [critical, normal, background]
  in_flight_max: 200
  http: {{port: 0}}
  grpc: {{port: 0}}
  metrics: {{port: 0}}
"""


def flows(share):
    """By class; critical ones have time enough for any machine."""
    return [Flow("critical", 0.2 * CAPACITY * share, {"priority": 1, "timeout": 20_000_000}),
            Flow("normal", 1.2 * CAPACITY * share, {"priority": 2}),
            Flow("background", 1.6 * CAPACITY * share, {"priority": 3})]


@pytest.fixture(params=["thread", "process"])
def busy(request, takt, tmp_path):
    models = triton_server.write_models(tmp_path / "models")
    triton_server.add_simulated(models, "busy", queue_size_max=QUEUE, **MODEL)
    triton_server.add_simulated(models, "patient", **MODEL)  # its queue is longer than in_flight_max
    return triton_server.start(takt, tmp_path / "serve", models, request.param, CONFIG)


def test_overload_is_refused_by_class_and_passes(busy):
    before = oip.held(busy)
    start = time.monotonic() + 1
    loads = [open_loop.start("http", busy.http, Plan("busy", flows(0.9), start, SECONDS, seed=1)),
             open_loop.start("grpc", busy.grpc, Plan("busy", flows(0.1), start, SECONDS, seed=2))]
    samples = [sample for load in loads for sample in open_loop.finish(load, programs.WAIT_S)]

    outcomes = Counter((sample.flow, sample.status) for sample in samples)
    assert {status for _, status in outcomes} == {200, 503}, outcomes
    assert not outcomes["critical", 503], "an urgent request gave way to others"

    def answered(flow):
        return outcomes[flow, 200] / (outcomes[flow, 200] + outcomes[flow, 503])
    assert answered("critical") > answered("normal") > answered("background"), outcomes
    # Every machine refuses what no machine could have answered.
    assert outcomes["normal", 503] + outcomes["background", 503] > CAPACITY * SECONDS

    counted = oip.metrics(busy)
    refused = sum(outcomes[flow, 503] for flow in ("normal", "background"))
    assert counted['takt_failures_total{model="busy",version="1",reason="overloaded"}'] == refused
    programs.wait_until(lambda: oip.held(busy) == before, f"return to {before}")
    light = Plan("busy", [Flow("normal", 50)], time.monotonic() + 0.5, 1)
    after = open_loop.finish(open_loop.start("http", busy.http, light), programs.WAIT_S)
    assert after and {sample.status for sample in after} == {200}


def test_the_queue_policy_is_told(busy):
    with http_client.InferenceServerClient(busy.http) as triton:
        batching = triton.get_model_config("busy")["dynamic_batching"]
        assert batching["default_queue_policy"] == {"max_queue_size": QUEUE}
        assert "dynamic_batching" not in triton.get_model_config("patient")
    with grpc_client.InferenceServerClient(busy.grpc) as triton:
        policy = triton.get_model_config("busy").config.dynamic_batching.default_queue_policy
        assert policy.max_queue_size == QUEUE


def test_requests_that_can_wait_leave_room_for_urgent_ones(busy):
    """They don't use up what may be answered at once, of all models."""
    start = time.monotonic() + 1
    flood = open_loop.start("http", busy.http, Plan("patient", [
        Flow("background", 3 * CAPACITY, {"priority": 3})], start, 2))
    urgent = open_loop.start("grpc", busy.grpc, Plan("busy", [
        Flow("critical", 50, {"priority": 1})], start, 2))
    assert {s.status for s in open_loop.finish(urgent, programs.WAIT_S)} == {200}
    assert {s.status for s in open_loop.finish(flood, programs.WAIT_S)} == {200, 503}
