# SPDX-License-Identifier: Apache-2.0
"""Worker processes of a line: killed, orphaned, set up by takt.yaml."""

import os
import signal
from pathlib import Path

import pictures
import pytest
import takt_yaml
from program import stop, store_rows, summary, verdicts, wait_until, whole_lines


@pytest.fixture
def config(tmp_path, repository):
    pictures.write_boards(tmp_path / "in", 20)
    written = takt_yaml.write(tmp_path / "takt.yaml", repository,
                              takt_yaml.line(takt_yaml.folder_source("in")))
    written.write_text(written.read_text().replace("in\n", "in\n      repeat: 0\n", 1))
    return written


def workers(pid: int) -> list[int]:
    return [int(child) for child in
            Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] + [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid)
        for child in (task / "children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def started(takt, config, tmp_path):
    process = takt.start("serve", config, "--summary", tmp_path / "summary.json")
    wait_until(lambda: len(whole_lines(tmp_path / "verdicts.jsonl")) >= 20, "verdicts", process)
    return process


def test_every_task_has_a_process_of_its_own_and_none_stays(takt, tmp_path, config):
    process = started(takt, config, tmp_path)
    mine = workers(process.pid)
    assert len(mine) >= 1
    stop(process).ok()
    assert not [pid for pid in mine if alive(pid)]


def test_a_line_whose_workers_are_killed_judges_every_frame(takt, tmp_path, config):
    process = started(takt, config, tmp_path)
    struck = set()
    for _ in range(10):
        wait_until(lambda: set(workers(process.pid)) - struck, "another worker", process)
        for pid in workers(process.pid):
            os.kill(pid, signal.SIGKILL)
            struck.add(pid)
        seen = len(whole_lines(tmp_path / "verdicts.jsonl"))
        wait_until(lambda: len(whole_lines(tmp_path / "verdicts.jsonl")) >= seen + 10,
                   "verdicts after a kill", process)
    stop(process).ok()
    said = summary(tmp_path / "summary.json")
    records = verdicts(tmp_path / "verdicts.jsonl")
    assert len({record["seq"] for record in records}) == len(records)
    assert said["journal"]["accepted"] == said["journal"]["verdicts"] == len(records)
    assert len(store_rows(tmp_path / "data" / "takt.sqlite")) == len(records)
    # The last ones may not have been started again before the end.
    assert sum(worker["restarts"] for worker in said["workers"]) >= len(struck) - 1 >= 9
    assert said["engine"]["slots_in_use"] == 0


def test_the_end_and_the_return_of_a_worker_are_said_and_counted(takt, tmp_path, config):
    process = started(takt, config, tmp_path)
    before = workers(process.pid)
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: len(set(workers(process.pid)) - set(before)) == 1, "a new worker", process)
    seen = len(whole_lines(tmp_path / "verdicts.jsonl"))
    wait_until(lambda: len(whole_lines(tmp_path / "verdicts.jsonl")) >= seen + 20,
               "verdicts of the new worker", process)
    finished = stop(process)
    finished.ok()
    said = [line.split(" ", 3) for line in finished.err.splitlines()
            if " worker_lost " in line or " worker_back " in line]
    assert [line[2] for line in said] == ["worker_lost", "worker_back"], finished.err
    assert "killed by signal 9" in said[0][3]
    assert "serves again after" in said[1][3]
    assert "events: worker_lost 1, worker_back 1" in finished.out
    events = summary(tmp_path / "summary.json")["engine"]["events"]
    assert events["worker_lost"] == events["worker_back"] == 1


def test_a_killed_gateway_leaves_no_worker(takt, tmp_path, config):
    process = started(takt, config, tmp_path)
    mine = workers(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not [pid for pid in mine if alive(pid)], "the end of the workers")


def test_in_thread_isolation_there_is_no_worker(takt, tmp_path, config):
    config.write_text(config.read_text().replace("tasks:\n  defects:\n",
                                                 "tasks:\n  defects:\n    isolation: thread\n"))
    process = started(takt, config, tmp_path)
    assert "isolation: thread" in config.read_text()
    assert workers(process.pid) == []
    stop(process).ok()


def test_workers_are_set_up_by_the_configuration(takt, tmp_path, config):
    config.write_text(config.read_text() +
                      "workers: {sandbox: true, memory_max: 64GiB, spin: 20us, watchdog: 10s}\n")
    process = started(takt, config, tmp_path)
    for pid in workers(process.pid):
        assert "Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text()
    stop(process).ok()


@pytest.mark.parametrize("text, said", [
    ("workers: {watchdogs: 1s}", "did you mean 'watchdog'"),
    ("workers: {circuit_failures: 0}", "circuit_failures"),
    ("workers: {watchdog_min: 0s}", "watchdog_min"),
])
def test_a_wrong_key_is_named(takt, config, text, said):
    config.write_text(config.read_text() + text + "\n")
    takt.run("validate", config).refused(2, said)


@pytest.mark.parametrize("command", ["validate", "serve"])
def test_a_cgroup_that_is_none_is_refused_before_anything_starts(takt, tmp_path, config, command):
    config.write_text(config.read_text() +
                      f"workers: {{memory_max: 1GiB, cgroup: {tmp_path}}}\n")
    said = takt.run(command, config)
    assert said.code != 0
    said.refused(said.code, f"workers.cgroup: {tmp_path}: is no control group", "Delegate=yes")
    assert not (tmp_path / "verdicts.jsonl").exists()
