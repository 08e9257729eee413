# SPDX-License-Identifier: Apache-2.0
"""A line on two devices, one CPU each: killed workers, equal results, memory, plans."""

import json
import os
import signal

import pictures
import pytest
import takt_yaml
import tiny_models
from program import by_frame, finish, stop, summary, verdicts, wait_until, whole_lines
from test_workers import workers

pytestmark = pytest.mark.skipif(sorted(os.sched_getaffinity(0))[:2] != [0, 1],
                                reason="needs CPUs 0 and 1")

ONE = "  cpu: {lanes: 2, threads_per_lane: 1}\n"


def two(left="", right=""):
    return (f"  left: {{lanes: 1, cpus: 0{left}}}\n"
            f"  right: {{lanes: 1, cpus: 1{right}}}\n")


def with_devices(config, devices):
    text = config.read_text()
    assert ONE in text
    config.write_text(text.replace(ONE, devices))
    return config


def simulated(tmp_path, source, base_us, **options):
    """A line of one task on the simulated backend, on two devices."""
    models = tmp_path / "models"
    tiny_models.add(models, "slow", tiny_models.detector(),
                    config="max_batch_size: 1\n" + tiny_models.simulated(base_us=base_us))
    return with_devices(
        takt_yaml.write(tmp_path / "takt.yaml", models, takt_yaml.line(source, **options),
                        takt_yaml.defects("slow", "simulated")), two())


def on_cpu(pid):
    try:
        return os.sched_getaffinity(pid)
    except ProcessLookupError:
        return set()


def kill_left(process, struck):
    """Ends the worker of the device left, if another one than before has begun to serve there."""
    found = [pid for pid in workers(process.pid) if pid not in struck and on_cpu(pid) == {0}]
    for pid in found:
        os.kill(pid, signal.SIGKILL)
        struck.add(pid)


def status_of(said, device):
    return [worker for worker in said["workers"] if worker["device"] == device][0]


def expect_judged_by_models(records, said, struck):
    assert not [record for record in records if record["by_fallback"]]
    assert said["journal"]["accepted"] == said["journal"]["verdicts"] == len(records)
    # The last one may not have been started again before the end.
    assert status_of(said, "left")["restarts"] >= len(struck) - 1
    assert status_of(said, "right")["restarts"] == 0
    assert said["engine"]["slots_in_use"] == 0


def test_a_line_judges_every_frame_while_the_workers_of_one_device_are_killed(takt, tmp_path):
    pictures.write_boards(tmp_path / "in", 20)
    config = simulated(tmp_path, takt_yaml.folder_source("in", repeat=0), base_us=2000)
    process = takt.start("serve", config, "--summary", tmp_path / "summary.json")
    struck = set()
    for kills in range(1, 11):
        # So many that what the last kill took along has been run again.
        seen = len(whole_lines(tmp_path / "verdicts.jsonl"))
        wait_until(lambda: len(whole_lines(tmp_path / "verdicts.jsonl")) >= seen + 40,
                   "verdicts", process)
        wait_until(lambda: kill_left(process, struck) or len(struck) >= kills,
                   "another worker on the left", process)
    finished = stop(process).ok()
    said = summary(tmp_path / "summary.json")
    expect_judged_by_models(verdicts(tmp_path / "verdicts.jsonl"), said, struck)
    assert "worker_lost defects on left: its worker ended: killed by signal 9" in finished.err
    assert "worker defects on left: restarted" in finished.out
    assert "defects runs on left, right" in finished.err


def test_an_inspection_judges_every_frame_while_the_workers_of_one_device_are_killed(takt, tmp_path):
    pictures.write_boards(tmp_path / "in", 300)
    config = simulated(tmp_path, takt_yaml.simulator_source(boards=1), base_us=10_000)
    output = tmp_path / "out.jsonl"
    process = takt.start("inspect", "--config", config, "--input", tmp_path / "in", "--output",
                         output, "--summary", tmp_path / "summary.json")
    struck = set()
    for kills in range(1, 5):
        wait_until(lambda: len(whole_lines(output)) >= 50 * kills, "verdicts", process)
        wait_until(lambda: kill_left(process, struck) or len(struck) >= kills,
                   "another worker on the left", process)
    finish(process).ok()
    records = verdicts(output)
    assert len(by_frame(records)) == 300
    expect_judged_by_models(records, summary(tmp_path / "summary.json"), struck)


def judged(record):
    return record["verdict"], record["reasons"], record["route"], [
        {key: task[key] for key in ("task", "model", "version", "result") if key in task}
        for task in record["tasks"]]


@pytest.mark.parametrize("isolation", ["process", "thread"])
def test_a_line_says_the_same_on_two_devices_as_on_one(takt, tmp_path, repository, isolation):
    pictures.write_boards(tmp_path / "in", 40)
    tasks = "".join(f"{task}    isolation: {isolation}\n" for task in
                    (takt_yaml.defects(), takt_yaml.DIFFERENCE, takt_yaml.KINDS))
    config = takt_yaml.write(
        tmp_path / "takt.yaml", repository,
        takt_yaml.line(takt_yaml.folder_source("in"), tasks="defects, difference, kinds"), tasks)
    said = []
    for devices in (ONE, two()):
        with_devices(config, devices)
        takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl").ok()
        said.append({frame: judged(record)
                     for frame, record in by_frame(verdicts(tmp_path / "out.jsonl")).items()})
    assert len(said[0]) == 40 and said[0] == said[1]


def test_a_task_runs_on_the_devices_that_it_names(takt, tmp_path, repository):
    tasks = takt_yaml.defects() + "    devices: right\n" + takt_yaml.DIFFERENCE
    config = with_devices(takt_yaml.write(
        tmp_path / "takt.yaml", repository,
        takt_yaml.line(takt_yaml.simulator_source(boards=20), tasks="defects, difference"),
        tasks), two())
    finished = takt.serve(config, tmp_path / "summary.json").ok()
    placed = sorted((worker["name"], worker["device"])
                    for worker in summary(tmp_path / "summary.json")["workers"])
    assert placed == [("defects", "right"), ("difference", "left"), ("difference", "right")]
    assert "defects runs on right\n" in finished.err


def test_tasks_that_share_a_model_share_its_devices(takt, tmp_path, repository):
    tasks = (takt_yaml.defects() + "    devices: left\n" +
             takt_yaml.defects().replace("  defects:", "  again:") + "    devices: right\n")
    config = with_devices(takt_yaml.write(
        tmp_path / "takt.yaml", repository,
        takt_yaml.line(takt_yaml.simulator_source(boards=20), tasks="defects, again"), tasks), two())
    takt.serve(config, tmp_path / "summary.json").refused(
        2, "tasks.again: another task runs model 'detector' with different devices",
        "under another name")


def test_where_memory_does_not_suffice_a_task_has_fewer_replicas(takt, tmp_path, repository):
    config = with_devices(takt_yaml.write(
        tmp_path / "takt.yaml", repository, takt_yaml.line(takt_yaml.simulator_source(boards=20))),
        two(right=", memory: 1B"))
    finished = takt.serve(config, tmp_path / "summary.json").ok()
    assert [worker["device"] for worker in summary(tmp_path / "summary.json")["workers"]] == ["left"]
    assert "defects runs on left; not on right: it takes " in finished.err
    assert "and 1 bytes of 1 bytes are left" in finished.err


def test_a_task_that_fits_nowhere_is_refused(takt, tmp_path, repository):
    config = with_devices(takt_yaml.write(
        tmp_path / "takt.yaml", repository, takt_yaml.line(takt_yaml.simulator_source(boards=20))),
        two(left=", memory: 10B", right=", memory: 1B"))
    takt.serve(config, tmp_path / "summary.json").refused(
        1, "tasks.defects: takes ", "on device 'left', where 10 bytes of 10 bytes are left",
        "raise devices.left.memory, or lower what the task needs")


def test_each_device_is_measured_learned_and_planned(takt, tmp_path):
    config = simulated(tmp_path, takt_yaml.simulator_source(rate="60/s", boards=300), base_us=20_000,
                       deadline="2s")
    config.write_text(config.read_text().replace("cache: none", "cache: cache"))
    takt.run("plan", config).refused(1, "has no profile on device 'left'", "takt plan --measure")
    takt.run("plan", config, "--measure", "--measure-seconds", "0.5").ok()
    stored = {json.loads(file.read_text())["key"]["conditions"]["device"]: file
              for file in (tmp_path / "cache" / "profiles").glob("*.json")}
    assert sorted(stored) == ["left", "right"]
    said = json.loads(takt.run("plan", config, "--json").ok().out)
    assert said["holds"] and said["devices"] == said["devices_needed"] == 2
    assert said["device_names"] == ["left", "right"]
    one = json.loads(takt.run("plan", config, "--json", "--devices", "1").out)
    assert not one["holds"] and one["device_names"] == ["left"]
    takt.serve(config, tmp_path / "summary.json").ok()
    for file in stored.values():
        assert sum(point["executions"] for point in json.loads(file.read_text())["learned"]) > 50


def test_a_plan_measures_only_on_cpus_that_there_are(takt, tmp_path):
    config = simulated(tmp_path, takt_yaml.simulator_source(boards=20), base_us=1000)
    config.write_text(config.read_text().replace("cache: none", "cache: cache")
                      .replace("cpus: 1", "cpus: 4000"))
    takt.run("plan", config, "--measure", "--measure-seconds", "0.1").refused(
        2, "devices.right.cpus: 4000 is none of the CPUs that takt may use")


@pytest.mark.parametrize("devices, task, words", [
    ("  left: {cpus: 0}\n  right: {cpus: 0-1}\n", "",
     ["devices.right.cpus: CPU 0 belongs to device 'left' already"]),
    ("  left: {cpus: 0}\n  right: {}\n", "", ["devices.right: doesn't say which CPUs it owns"]),
    ("  left: {cpus: 0}\n  right: {cpus: 4000}\n", "",
     ["devices.right.cpus: 4000 is none of the CPUs that takt may use"]),
    (two(), "    devices: lefd\n", ["tasks.defects.devices: no device 'lefd'",
                                    "did you mean 'left'?"]),
    (two(), "    cpus: 0\n", ["tasks.defects.cpus: with several devices"]),
])
def test_devices_that_make_no_sense_are_named(takt, tmp_path, repository, devices, task, words):
    config = with_devices(takt_yaml.write(
        tmp_path / "takt.yaml", repository, takt_yaml.line(takt_yaml.simulator_source(boards=20)),
        takt_yaml.defects() + task), devices)
    takt.run("validate", config).refused(2, *words)


def test_valid_devices_are_counted(takt, tmp_path, repository):
    config = with_devices(takt_yaml.write(
        tmp_path / "takt.yaml", repository, takt_yaml.line(takt_yaml.simulator_source(boards=20))),
        two())
    assert "valid; 2 devices, 1 tasks, 1 lines" in takt.run("validate", config).ok().out
