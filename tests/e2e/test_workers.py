# SPDX-License-Identifier: Apache-2.0
"""Worker processes of a line: killed, orphaned, set up by takt.yaml."""

import os
import signal
from pathlib import Path

import pictures
import pytest
import takt_yaml
import tiny_models
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


FALLBACK_TASK = takt_yaml.defects("detector-small").replace("  defects:", "  defects-small:")


def test_while_a_worker_cannot_run_its_fallback_judges_every_frame(takt, tmp_path):
    repository = tmp_path / "repository"
    tiny_models.add(repository, "detector", tiny_models.detector())
    tiny_models.add(repository, "detector-small", tiny_models.detector())
    pictures.write_boards(tmp_path / "in", 20)
    task = takt_yaml.defects().replace("fallback: review", "fallback: {task: defects-small}")
    config = takt_yaml.write(
        tmp_path / "takt.yaml", repository,
        takt_yaml.line(takt_yaml.folder_source("in", repeat=0)), task + FALLBACK_TASK,
        more="workers: {circuit_failures: 2, delay_min: 10ms, probe_interval: 100ms}\n")
    process = started(takt, config, tmp_path)

    def judged_by(model, since):
        return lambda: len([record for record in whole_lines(tmp_path / "verdicts.jsonl")[since:]
                            if model_of(record) == model]) >= 50

    # The task's own worker was started first. It loses its model, and is tried in vain.
    model = repository / "detector" / "1" / "model.onnx"
    model.rename(tmp_path / "away")
    os.kill(min(workers(process.pid)), signal.SIGKILL)
    wait_until(judged_by("detector-small", 0), "verdicts by the fallback", process)
    (tmp_path / "away").rename(model)
    seen = len(whole_lines(tmp_path / "verdicts.jsonl"))
    wait_until(judged_by("detector", seen), "verdicts by the task's own model", process)
    stop(process).ok()

    records = verdicts(tmp_path / "verdicts.jsonl")
    said = summary(tmp_path / "summary.json")
    assert not [record for record in records if record["by_fallback"]], "models have judged all"
    assert len({(record["frame"], record["verdict"]) for record in records}) == 20
    by_small = [record for record in records if model_of(record) == "detector-small"]
    for record in by_small:
        cause = record["tasks"][0]["fallback"]["cause_kind"]
        assert record["reasons"][-1] == \
            f"task:defects answered by its fallback detector-small: {cause}"
    counts = said["lines"]["pcb"]["tasks"]["defects"]
    assert counts["fallback_asked"] == counts["fallback_answered"] == len(by_small)
    assert [worker["circuits_opened"] for worker in said["workers"]] == [1, 0]
    assert said["journal"]["accepted"] == said["journal"]["verdicts"] == len(records)
    assert said["engine"]["slots_in_use"] == 0


def model_of(record):
    task = record["tasks"][0]
    return task.get("fallback", task)["model"]


def test_another_model_for_the_same_task_is_its_fallback(takt, tmp_path):
    """The task's own model answers the first frames and fails at all that follow."""
    repository = tmp_path / "repository"
    # With batches of one row the warm-up takes 201 at most.
    failing = "max_batch_size: 1\n" + tiny_models.simulated(probability__failure=1,
                                                            faults_after=230)
    tiny_models.add(repository, "failing", tiny_models.detector(), config=failing)
    tiny_models.add(repository, "detector", tiny_models.detector())
    pictures.write_boards(tmp_path / "in", 20)
    config = takt_yaml.write(
        tmp_path / "takt.yaml", repository, takt_yaml.line(takt_yaml.folder_source("in", repeat=50)),
        takt_yaml.defects("failing", "simulated").replace(
            "fallback: review", "fallback: {model: detector, else: reject}"))
    takt.run("validate", config).ok()
    takt.serve(config, tmp_path / "summary.json").ok()
    records = verdicts(tmp_path / "verdicts.jsonl")
    assert len(records) == 1000
    assert not [record for record in records if record["by_fallback"]], "models have judged all"
    by_other = [record for record in records if model_of(record) == "detector"]
    assert len(by_other) >= 500
    assert all(record["tasks"][0]["fallback"]["task"] == "defects.fallback" and
               record["tasks"][0]["fallback"]["cause_kind"] == "internal" for record in by_other)


def test_a_fallback_that_cannot_stand_in_is_refused_with_its_place(takt, config):
    text = config.read_text().replace("fallback: review", "fallback: {model: detector}")
    config.write_text(text)
    takt.run("validate", config).refused(2, "tasks.defects.fallback", "same model 'detector'")
