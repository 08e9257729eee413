# SPDX-License-Identifier: Apache-2.0
"""The gateway maps no library that reads or runs models; its workers do."""

import re
import shutil
from pathlib import Path

import pytest
import takt_yaml
from program import Program, stop, wait_until, whole_lines
from test_workers import config, started, workers  # noqa: F401 (config is a fixture)

# OpenVINO with its readers and plugins, its threads, and the backend around it.
MODEL_LIBRARY = re.compile(r"/(libopenvino|libtbb|takt-openvino)[^/]*$")


def model_libraries(pid: int) -> set[str]:
    files = {line.split(maxsplit=5)[5].strip()
             for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
             if len(line.split(maxsplit=5)) == 6}
    return {Path(file).name for file in files if MODEL_LIBRARY.search(file)}


def test_the_gateway_maps_no_model_library_and_its_workers_do(takt, tmp_path, config):  # noqa: F811
    process = started(takt, config, tmp_path)
    assert model_libraries(process.pid) == set()
    mine = workers(process.pid)
    assert mine
    for pid in mine:
        found = model_libraries(pid)
        assert "takt-openvino.so" in found
        assert any(name.startswith("libopenvino.so") for name in found), found
        # It would lift the lane's CPU around every inference.
        assert not any("tbbbind" in name for name in found), found
    stop(process).ok()


def test_in_thread_isolation_the_gateway_opens_the_backend(takt, tmp_path, config):  # noqa: F811
    config.write_text(config.read_text().replace("tasks:\n  defects:\n",
                                                 "tasks:\n  defects:\n    isolation: thread\n"))
    process = started(takt, config, tmp_path)
    assert "takt-openvino.so" in model_libraries(process.pid)
    stop(process).ok()


@pytest.fixture
def alone(takt, tmp_path):
    """The program without the files that belong beside it."""
    folder = tmp_path / "alone"
    folder.mkdir()
    shutil.copy(takt.path, folder / "takt")
    return Program(folder / "takt", takt.environment)


def test_a_missing_module_is_reported_by_doctor(alone):
    said = alone.run("doctor")
    assert said.code == 1
    assert re.search(r"PROBLEM +openvino +\S+/alone/takt-openvino\.so: the file is missing",
                     said.out), said.out


def test_a_missing_module_refuses_the_start_with_the_remedy(alone, config):  # noqa: F811
    alone.run("serve", config).refused(1, "alone/takt-openvino.so", "missing", "make build")


def test_without_the_module_other_backends_still_run(alone, tmp_path, repository):
    written = takt_yaml.write(
        tmp_path / "other.yaml", repository,
        takt_yaml.line(takt_yaml.simulator_source(rate="100/s")),
        tasks=takt_yaml.defects().replace("backends: [openvino]", "backends: [openvino, simulated]"))
    process = alone.start("serve", written)
    wait_until(lambda: len(whole_lines(tmp_path / "verdicts.jsonl")) >= 5, "verdicts", process)
    said = stop(process).ok()
    assert "warning: tasks.defects: openvino: " in said.err
