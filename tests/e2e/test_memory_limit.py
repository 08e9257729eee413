# SPDX-License-Identifier: Apache-2.0
"""A worker with a limit on its memory: what doesn't fit is refused with the reason, and the worker
serves on. The program's own allocator must fail as C++ expects, in place of ending the process."""

import numpy as np
import pytest
import tritonclient.http as http_client
from tritonclient.utils import InferenceServerException

import oip
import triton_server

LARGE = 10_000_000  # FP32: 40 MB, and as much for the answer


def test_what_does_not_fit_into_a_workers_memory_is_refused(takt, tmp_path):
    models = triton_server.write_models(tmp_path / "models")
    server = triton_server.start(takt, tmp_path / "serve", models, "process",
                                 triton_server.CONFIG + "workers: {{memory_max: 80MiB}}\n")
    client = http_client.InferenceServerClient(server.http, network_timeout=60,
                                               connection_timeout=60)

    def ask(count):
        sent = np.arange(count, dtype=np.float32)
        tensor = http_client.InferInput("INPUT0", [count], "FP32")
        tensor.set_data_from_numpy(sent)
        np.testing.assert_array_equal(client.infer("identity_fp32", [tensor]).as_numpy("OUTPUT0"),
                                      sent)

    ask(1000)
    for _ in range(3):
        with pytest.raises(InferenceServerException, match="identity_fp32 1: .*memory"):
            ask(LARGE)
        ask(1000)
    restarts = {name: value for name, value in oip.metrics(server).items()
                if name.startswith("takt_worker_restarts_total")}
    assert restarts and not any(restarts.values()), restarts
