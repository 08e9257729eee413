# SPDX-License-Identifier: Apache-2.0
"""takt on a GPU: plans, verdicts beside those of the CPU, killed workers, models that stay on the CPU. Skipped where
takt finds no GPU."""

import hashlib
import json
import os
import re
import signal
from pathlib import Path

import pictures
import pytest
import takt_yaml
import tiny_models
from program import by_frame, stop, summary, verdicts, wait_until, whole_lines
from test_devices import ONE, with_devices
from test_workers import workers

GPU = "  gpu: {kind: cuda, index: 0}\n"
CONFIG = 'max_batch_size: 4\nparameters { key: "cuda.effort" value { string_value: "fast" } }\n'
PCB = Path(__file__).resolve().parents[2] / "models" / "repository"
TUNING_S = 280  # of tiny models; below pytest's own limit


@pytest.fixture(autouse=True)
def gpu(has_gpu):
    if not has_gpu:
        pytest.skip("no GPU that takt can use; takt doctor says why")


@pytest.fixture
def models(tmp_path):
    """The tiny models, tuned little."""
    folder = tmp_path / "models"
    for name, made in (("detector", tiny_models.detector()), ("matcher", tiny_models.matcher()),
                       ("classifier", tiny_models.classifier())):
        tiny_models.add(folder, name, made, config=CONFIG)
    return folder


def compiled(takt, plan, *options):
    """The matcher of the pcb line, compiled; its report."""
    model = PCB / "pcb-matcher" / "1" / "model.onnx"
    done = takt.run("compile", model, "-o", plan, "--precision", "fp32", "--effort", "fast", *options,
                    timeout_s=TUNING_S).ok()
    return done.out


def with_plans(config):
    """A worker that comes back finds the plan of the one before."""
    config.write_text(config.read_text().replace("cache: none", "cache: cache"))
    return config


def test_a_model_of_the_pcb_line_is_compiled_once_and_its_layers_are_shown(takt, tmp_path):
    plan = tmp_path / "plans" / "matcher.taktplan"
    said = compiled(takt, plan, "--batch", "1,4", "--verbose")
    for batch in (1, 4):
        assert re.search(rf"^batch {batch}$", said, re.MULTILINE), said
    assert len(re.findall(r"^  layer +shapes +precision +implementation +time +share", said, re.MULTILINE)) == 2
    tuned = re.search(rf"^plan: {re.escape(str(plan))} \((\d+) steps tuned, (\d+) reused", said, re.MULTILINE)
    assert tuned and int(tuned.group(1)) > 0, said
    again = json.loads(compiled(takt, plan, "--batch", "1,4", "--json"))
    assert again["tuned_steps"] == 0 and again["reused_steps"] > 0 and again["remade"] == ""
    assert [batch["batch"] for batch in again["batches"]] == [1, 4]
    assert all(batch["latency_p50_us"] > 0 and batch["layers"] for batch in again["batches"])


def test_a_plan_from_elsewhere_is_made_again_and_says_why(takt, tmp_path):
    plan = tmp_path / "matcher.taktplan"
    compiled(takt, plan)
    whole = plan.read_bytes()[:-32]
    name = json.loads(compiled(takt, plan, "--json"))["device"].encode()
    other = b"X" * len(name)  # the lengths in the file stay right
    assert name in whole
    moved = whole.replace(name, other, 1)
    plan.write_bytes(moved + hashlib.sha256(moved).digest())
    said = compiled(takt, plan)
    assert "the plan that was there wasn't used" in said and other.decode() in said
    assert " 0 steps tuned" not in said and "(0 steps tuned" not in said
    assert "wasn't used" not in compiled(takt, plan)


def judged(record):
    """Verdict, and what was found; scores of a GPU differ from those of a CPU by rounding."""
    return record["verdict"], record["reasons"], record["by_fallback"], [
        (found["task"], found["class"], found["box"], round(found["score"], 2)) for found in record["detections"]]


def test_a_line_says_the_same_on_a_gpu_as_on_the_cpu(takt, tmp_path, models):
    pictures.write_boards(tmp_path / "in", 40)
    line = takt_yaml.line(takt_yaml.folder_source("in"), tasks="defects, difference, kinds")
    said = []
    for devices, backend in ((ONE, "openvino"), (GPU, "cuda")):
        tasks = takt_yaml.defects(backend=backend) + takt_yaml.DIFFERENCE + takt_yaml.KINDS
        config = with_devices(takt_yaml.write(tmp_path / "takt.yaml", models, line, tasks), devices)
        takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl", timeout_s=TUNING_S).ok()
        said.append({frame: judged(record)
                     for frame, record in by_frame(verdicts(tmp_path / "out.jsonl")).items()})
    assert len(said[0]) == 40 and said[0] == said[1]
    assert any(found for *_, found in said[0].values())


def test_a_worker_on_a_gpu_that_is_killed_is_replaced_and_every_board_judged(takt, tmp_path, models):
    pictures.write_boards(tmp_path / "in", 20)
    config = with_plans(with_devices(takt_yaml.write(
        tmp_path / "takt.yaml", models, takt_yaml.line(takt_yaml.folder_source("in", repeat=0)),
        takt_yaml.defects(backend="cuda")), GPU))
    process = takt.start("serve", config, "--summary", tmp_path / "summary.json")
    seen = 0
    for _ in range(2):
        wait_until(lambda: len(whole_lines(tmp_path / "verdicts.jsonl")) >= seen + 20, "verdicts", process, TUNING_S / 2)
        struck = workers(process.pid)
        assert struck
        for pid in struck:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: set(workers(process.pid)) - set(struck), "another worker", process)
        seen = len(whole_lines(tmp_path / "verdicts.jsonl"))
    wait_until(lambda: len(whole_lines(tmp_path / "verdicts.jsonl")) >= seen + 20, "verdicts", process, TUNING_S / 2)
    finished = stop(process).ok()
    said = summary(tmp_path / "summary.json")
    assert "worker_lost defects on gpu: its worker ended: killed by signal 9" in finished.err
    assert said["journal"]["accepted"] == said["journal"]["verdicts"]
    assert [worker["device"] for worker in said["workers"]] == ["gpu"] and said["workers"][0]["restarts"] >= 2
    assert said["engine"]["slots_in_use"] == 0


def test_a_model_that_a_gpu_does_not_run_runs_on_the_cpu_and_says_why(takt, tmp_path, models):
    tiny_models.add(models, "detector", tiny_models.quantised_detector(), config=CONFIG)
    pictures.write_boards(tmp_path / "in", 6)
    config = with_devices(takt_yaml.write(
        tmp_path / "takt.yaml", models, takt_yaml.line(takt_yaml.folder_source("in")),
        takt_yaml.defects(backend="cuda, openvino")), GPU)
    finished = takt.serve(config, tmp_path / "summary.json", timeout_s=TUNING_S).ok()
    assert "warning: tasks.defects" in finished.err and "QuantizeLinear" in finished.err
    assert [worker["device"] for worker in summary(tmp_path / "summary.json")["workers"]] == ["cpu"]
    records = verdicts(tmp_path / "verdicts.jsonl")
    assert len(records) == 6 and not [record for record in records if record["by_fallback"]]


def test_without_another_backend_such_a_model_is_refused(takt, tmp_path, models):
    tiny_models.add(models, "detector", tiny_models.quantised_detector(), config=CONFIG)
    config = with_devices(takt_yaml.write(
        tmp_path / "takt.yaml", models, takt_yaml.line(takt_yaml.simulator_source(boards=2)),
        takt_yaml.defects(backend="cuda")), GPU)
    takt.serve(config, tmp_path / "summary.json").refused(2, "tasks.defects", "QuantizeLinear")
