# SPDX-License-Identifier: Apache-2.0
"""Lanes that are tied to cores: which CPUs the threads that run models may use."""

import os
from pathlib import Path

import pytest
import takt_yaml
from program import stop, wait_until, whole_lines
from test_workers import workers

CPUS = sorted(os.sched_getaffinity(0))
pytestmark = pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
ALL = set(CPUS)
LAST_TWO = [{CPUS[-2]}, {CPUS[-1]}]


def threads(pid, name):
    """The CPUs of the process's threads whose name begins so, in the order of their names."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        thread = (task / "comm").read_text().strip()
        if thread.startswith(name):
            found[thread] = os.sched_getaffinity(int(task.name))
    return [found[thread] for thread in sorted(found)]


def serving(takt, tmp_path, repository, device, task=""):
    tasks = takt_yaml.defects().replace("    backends", f"{task}    backends")
    config = takt_yaml.write(
        tmp_path / "takt.yaml", repository,
        takt_yaml.line(takt_yaml.simulator_source(rate="20/s"), tasks="defects"), tasks=tasks)
    config.write_text(config.read_text().replace("{lanes: 2, threads_per_lane: 1}", device))
    process = takt.start("serve", config)
    wait_until(lambda: len(whole_lines(tmp_path / "verdicts.jsonl")) >= 3, "verdicts", process)
    return process


@pytest.mark.parametrize("device, task, expected", [
    ("{lanes: 2}", "", LAST_TWO),
    ("{lanes: 2}", "    instances: 4\n", LAST_TWO * 2),
    ("{lanes: 2, pin: false}", "", [ALL, ALL]),
    ("{lanes: 2}", "    instances: 1\n", [ALL]),
    ("{lanes: 2, threads_per_lane: 2}", "", [ALL, ALL]),
])
def test_instances_keep_to_the_core_of_their_lane(takt, tmp_path, repository, device, task,
                                                  expected):
    process = serving(takt, tmp_path, repository, device, task)
    worker, = workers(process.pid)
    assert threads(worker, "takt-batch") == expected
    assert stop(process).ok()


def test_threads_of_the_gateway_keep_to_them_too(takt, tmp_path, repository):
    process = serving(takt, tmp_path, repository, "{lanes: 2}", "    isolation: thread\n")
    assert threads(process.pid, "takt-infer") == LAST_TWO
    assert stop(process).ok()


def test_the_gateway_keeps_off_the_cores_of_lanes(takt, tmp_path, repository):
    process = serving(takt, tmp_path, repository, "{lanes: 1}")
    worker, = workers(process.pid)
    assert threads(worker, "takt-batch") == [{CPUS[-1]}]
    assert all(cpus == set(CPUS[:-1]) for cpus in threads(process.pid, "takt"))
    assert threads(process.pid, "takt-dispatch"), "the gateway's threads have such names"
    os.kill(worker, 9)
    wait_until(lambda: [w for w in workers(process.pid) if w != worker
                        and threads(w, "takt-batch") == [{CPUS[-1]}]],
               "the next worker on the lane's core", process)
    assert stop(process).ok()
