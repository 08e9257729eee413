# SPDX-License-Identifier: Apache-2.0
"""`takt demo`: boards that are drawn as it goes, a live view on a terminal, a summary that adds up."""

import fcntl
import os
import pty
import re
import select
import shutil
import sqlite3
import struct
import termios
import time

import pytest

import tiny_models
from conftest import ROOT
from program import WAIT_S, check_every_frame, finish, stop, store_rows, summary, verdicts, wait_until

EXAMPLE = ROOT / "examples" / "pcb" / "takt.yaml"
RELEASED = ROOT / "models" / "repository"
TRAINED = [RELEASED / name / "1" / "model.onnx"
           for name in ("pcb-detector", "pcb-matcher", "pcb-classifier")]
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A copy of the example configuration over tiny models of the boards' size."""
    folder = tmp_path_factory.mktemp("example")
    (folder / "examples" / "pcb").mkdir(parents=True)
    config = folder / "examples" / "pcb" / "takt.yaml"
    shutil.copyfile(EXAMPLE, config)
    repository = folder / "models" / "repository"
    tiny_models.add(repository, "pcb-detector", tiny_models.detector(640))
    tiny_models.add(repository, "pcb-matcher", tiny_models.matcher(640))
    tiny_models.add(repository, "pcb-classifier", tiny_models.classifier(64))
    return config


def check_demo(tmp_path, seconds):
    said = summary(tmp_path / "summary.json")
    records = verdicts(tmp_path / "data" / "verdicts.jsonl")
    rows = store_rows(tmp_path / "data" / "takt.sqlite")
    sums = check_every_frame(records, rows, said, said["lines"]["pcb"]["accepted"])
    assert len(records) >= seconds, "at least one verdict a second"
    assert said["score"]["boards"] == len(records)
    assert said["score"]["boards_judged"] == sum(not record["by_fallback"] for record in records)
    drawn = sum(len(record["known_defects"]) for record in records if not record["by_fallback"])
    assert said["score"]["defects"] == drawn
    assert said["score"]["defects_found"] + said["score"]["defects_wrong_class"] <= drawn
    return said, records, sums


def test_the_example_runs_and_its_summary_adds_up(takt, tmp_path, example):
    done = takt.run("demo", "--config", example, "--seconds", 4, "--no-view", "--data",
                    tmp_path / "data", "--summary", tmp_path / "summary.json").ok()
    _, records, sums = check_demo(tmp_path, seconds=4)
    assert any(record["detections"] for record in records), "the tiny detector sees differences"
    assert "capacity" in done.err and "score against the simulator's own defects" in done.out
    assert f"pass {sums['pass']}" in done.out and "\x1b" not in done.out


def test_rejected_and_reviewed_boards_are_kept_as_pictures(takt, tmp_path, example):
    takt.run("demo", "--config", example, "--seconds", 2, "--no-view", "--load", 0.1, "--data",
             tmp_path / "data", "--summary", tmp_path / "summary.json").ok()
    with sqlite3.connect(f"file:{tmp_path / 'data' / 'takt.sqlite'}?mode=ro", uri=True) as store:
        kept = store.execute("SELECT v.verdict, p.role, p.width, p.height, substr(p.png, 1, 4) "
                             "FROM pictures p JOIN verdicts v ON v.id = p.verdict_id").fetchall()
    assert kept and {verdict for verdict, *_ in kept} <= {"reject", "review"}
    assert {tuple(rest) for _, *rest in kept} == {("board", 640, 640, b"\x89PNG"),
                                                 ("golden", 640, 640, b"\x89PNG")}


def test_without_a_data_folder_nothing_is_left(takt, tmp_path, example):
    takt.run("demo", "--config", example, "--seconds", 1, "--no-view").ok()
    assert not list((tmp_path / "home").glob("takt-*"))
    assert not (example.parents[2] / "takt-data").exists()


def run_on_terminal(takt, arguments, until=None):
    """The exit code and all that a terminal of 40 lines of 120 characters was sent."""
    screen, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = takt.start("demo", *arguments, stdout=end)
    os.close(end)
    sent, limit = b"", time.monotonic() + WAIT_S
    while time.monotonic() < limit:
        if select.select([screen], [], [], 0.1)[0]:
            try:
                data = os.read(screen, 1 << 16)
            except OSError:  # the program's end of the terminal is closed
                break
            if not data:
                break
            sent += data
        if until is not None and until in sent:
            process.terminate()
            until = None
    os.close(screen)
    return finish(process).code, sent.decode()


def test_on_a_terminal_the_view_is_drawn_and_the_cursor_comes_back(takt, example):
    code, sent = run_on_terminal(takt, ["--config", example, "--seconds", 3])
    assert code == 0
    assert sent.count(HIDE) == 1 and sent.count(SHOW) == 1
    assert sent.index(HIDE) < sent.index("takt demo: line pcb") < sent.index(SHOW)
    view = sent[sent.index(HIDE):sent.index(SHOW)]
    assert len(re.findall(r"\x1b\[\d+A", view)) >= 3, "drawn over what was drawn before"
    for word in ("boards", "latency p50", "defects", "difference", "kinds"):
        assert word in view, word
    assert "score against" in sent[sent.index(SHOW):], "the summary comes after the view"


def test_ctrl_c_ends_the_view_with_a_summary(takt, tmp_path, example):
    code, sent = run_on_terminal(
        takt, ["--config", example, "--seconds", 600, "--data", tmp_path / "data", "--summary",
               tmp_path / "summary.json"], until=b"latency p50")
    assert code == 0 and sent.count(HIDE) == sent.count(SHOW) == 1
    said = summary(tmp_path / "summary.json")
    assert said["lines"]["pcb"]["accepted"] == said["lines"]["pcb"]["verdicts"]


def test_serve_runs_the_example_until_a_signal(takt, tmp_path, example):
    data = example.parents[2] / "takt-data"
    process = takt.start("serve", example, "--summary", tmp_path / "summary.json")
    try:
        wait_until(lambda: data.exists() and (data / "verdicts.jsonl").exists() and
                   (data / "verdicts.jsonl").read_text().count("\n") >= 3, "verdicts", process)
        stop(process).ok()
        said = summary(tmp_path / "summary.json")
        check_every_frame(verdicts(data / "verdicts.jsonl"), store_rows(data / "takt.sqlite"), said,
                          said["lines"]["pcb"]["accepted"])
    finally:
        shutil.rmtree(data, ignore_errors=True)


def test_the_example_is_valid(takt):
    takt.run("validate", EXAMPLE, "--no-models").ok()


@pytest.mark.skipif(not all(file.is_file() for file in TRAINED),
                    reason="models/repository holds no trained models")
def test_the_trained_models_judge_simulated_boards(takt, tmp_path):
    # With half a minute a board, a slow machine judges fewer boards, but each by its models.
    text = EXAMPLE.read_text(encoding="utf-8")
    config = tmp_path / "takt.yaml"
    config.write_text(text.replace("deadline: 1s ", "deadline: 30s ").replace(
        "../../models/repository", str(RELEASED)), encoding="utf-8")
    takt.run("demo", "--config", config, "--seconds", 6, "--no-view", "--data", tmp_path / "data",
             "--summary", tmp_path / "summary.json", timeout_s=250).ok()
    said, records, _ = check_demo(tmp_path, seconds=1)
    assert said["score"]["boards_judged"] == len(records)
    assert said["score"]["defects_found"] >= 0.9 * said["score"]["defects"]
