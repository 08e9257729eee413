# SPDX-License-Identifier: Apache-2.0
"""A thousand clients that misbehave, and two that don't: these are never refused and never get a wrong
answer, and when the others have gone nothing of them is left."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client

import bad_clients
import oip
import program as programs
import triton_server

RETURN_S = 30
# A thousand clients at a time use more slots and buffers than the hundred before them (forty half
# tensors alone touch 20 MiB of slots); those after them use the same ones.
RSS_GROWTH_BYTES_MAX = 48 << 20
RSS_GROWTH_LATER_BYTES_MAX = 24 << 20

CONFIG = """
models: {{repository: {repository}, cache: {cache}}}
devices: {{cpu: {{lanes: 2}}}}
server:
  isolation: {isolation}
  http: {{port: 0, header_timeout: 600ms, body_timeout: 800ms, idle_timeout: 2s, write_timeout: 1s}}
  grpc: {{port: 0}}
  metrics: {{port: 0}}
"""


@pytest.fixture(params=["thread", "process"])
def own_server(request, takt, tmp_path):
    models = triton_server.write_models(tmp_path / "models")
    triton_server.add_simulated(models, "slow", base_us=20_000)
    return triton_server.start(takt, tmp_path / "serve", models, request.param, CONFIG)


class GoodClient(threading.Thread):
    """Infers until it is told to end; what went wrong is in `failures`."""

    def __init__(self, module, place):
        super().__init__()
        self.module, self.place = module, place
        self.ending = threading.Event()
        self.answers = 0
        self.failures = []

    def run(self):
        inputs = [self.module.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
        with self.module.InferenceServerClient(self.place) as triton:
            while not self.ending.wait(0.005):
                first = np.arange(16, dtype=np.int32).reshape(1, 16) + self.answers
                second = np.full((1, 16), self.answers, dtype=np.int32)
                inputs[0].set_data_from_numpy(first)
                inputs[1].set_data_from_numpy(second)
                try:
                    triton_server.expect_sums(triton.infer("simple", inputs), first, second)
                    self.answers += 1
                except Exception as error:  # whatever it is, it is a failure
                    self.failures.append(f"{type(error).__name__}: {error}")

    def end(self):
        self.ending.set()
        self.join(programs.WAIT_S)
        assert not self.is_alive()
        assert not self.failures, self.failures[:3]
        assert self.answers > 10


# gRPC's own, which grow to a number that depends on the cores and stay.
GRPC_THREADS = ("default-executo", "resolver-execut", "event_engine", "grpc_global_tim",
                "timer_manager", "nexting_thread")
GRPC_THREADS_MAX = 8 + 2 * os.cpu_count()


def resident_bytes(server):
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["VmRSS"].split()[0]) << 10


def left(server):
    """What a client could leave behind, but for memory."""
    process = Path(f"/proc/{server.process.pid}")
    names = [(thread / "comm").read_text(encoding="utf-8").strip()
             for thread in (process / "task").iterdir()]
    values = oip.held(server) | {
        "connections": oip.metrics(server)["takt_http_connections"],
        "descriptors": len(list((process / "fd").iterdir())),
        "threads": sum(name not in GRPC_THREADS for name in names)}
    assert len(names) - values["threads"] <= GRPC_THREADS_MAX
    return {name: value for name, value in values.items() if value}


def left_at_rest(server):
    seen = [left(server)]

    def is_same():
        time.sleep(0.2)
        seen.append(left(server))
        return seen[-1] == seen[-2] and "connections" not in seen[-1]
    programs.wait_until(is_same, "rest", server.process)
    return seen[-1]


@pytest.mark.parametrize("hundreds", [10, pytest.param(100, marks=pytest.mark.long)])
def test_bad_clients_leave_nothing_and_disturb_nobody(own_server, hundreds):
    server = own_server
    for send in (oip.send_json, oip.send_grpc):
        assert send(server, oip.simple()).status in ("200", "OK")
    before = left_at_rest(server)
    bad_clients.all_kinds(server, 1)
    for kind, count in bad_clients.FEW:
        kind(server, count)
    resident = [resident_bytes(server)]

    good = [GoodClient(http_client, server.http), GoodClient(grpc_client, server.grpc)]
    for one in good:
        one.start()
    with bad_clients.silent_on_grpc(server, 20) as clients:
        for _ in range(hundreds // 10):
            clients += bad_clients.all_kinds(server, 10)
            for kind, count in bad_clients.FEW:
                kind(server, count)
                clients += count
            resident.append(resident_bytes(server))
    assert clients >= 100 * hundreds
    for one in good:
        one.end()

    until = time.monotonic() + RETURN_S
    while (now := left(server)) != before:
        assert time.monotonic() < until, f"{now} after {RETURN_S} s, was {before}"
        time.sleep(0.05)
    print(f"{clients} clients, resident MiB: {[size >> 20 for size in resident]}")
    assert resident[-1] - resident[0] <= RSS_GROWTH_BYTES_MAX
    assert resident[-1] - resident[1] <= RSS_GROWTH_LATER_BYTES_MAX
    log = server.log.read_text(encoding="utf-8")
    done = programs.stop(server.process, signal.SIGTERM)
    assert done.code == 0, server.log.read_text(encoding="utf-8")
    assert "terminate called" not in log and "Sanitizer" not in log
