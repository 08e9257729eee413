# SPDX-License-Identifier: Apache-2.0
"""`takt inspect` judges a folder: what it writes, in which order, and how it says no."""

import json
import os
import pty

import numpy as np
import pytest
from PIL import Image

import pictures
import takt_yaml
import tiny_models
from program import by_frame, finish, summary, verdicts

THREE_TASKS = takt_yaml.defects() + takt_yaml.DIFFERENCE + takt_yaml.KINDS
DETECTION_KEYS = {"class", "score", "box"}


@pytest.fixture
def config(tmp_path, repository):
    line = takt_yaml.line(takt_yaml.folder_source("boards"), tasks="defects, difference, kinds")
    return takt_yaml.write(tmp_path / "takt.yaml", repository, line, THREE_TASKS)


def test_each_pair_gets_one_line_with_its_defect(takt, tmp_path, config):
    truth = pictures.write_boards(tmp_path / "in", 40)
    takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl").ok()
    records = verdicts(tmp_path / "out.jsonl")
    assert [record["frame"] for record in records] == sorted(truth), "the order of the names"
    for record in records:
        defect = truth[record["frame"]]
        found = [(d["class"], d["box"]) for d in record["detections"]]
        if defect is None:
            assert (record["verdict"], record["route"], found) == ("pass", "next-station", [])
        else:
            row, column, kind = defect
            assert (record["verdict"], record["route"]) == ("reject", "repair")
            assert found == [(kind, pictures.box_of(row, column))]
            assert record["detections"][0]["score"] == pytest.approx(1, abs=0.01)
            assert any("defect" in reason and kind in reason for reason in record["reasons"])


def test_a_line_holds_the_documented_keys(takt, tmp_path, config):
    pictures.write_boards(tmp_path / "in", 4)
    takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl").ok()
    for record in verdicts(tmp_path / "out.jsonl"):
        assert isinstance(record["frame"], str) and isinstance(record["route"], str)
        assert record["verdict"] in ("pass", "review", "reject")
        assert record["reasons"] or record["verdict"] == "pass"
        assert record["latency_us"] > 0
        assert {task["task"] for task in record["tasks"]} == {"defects", "difference", "kinds"}
        for detection in record["detections"]:
            assert DETECTION_KEYS <= set(detection)
            assert detection["class"] in tiny_models.CLASSES
            assert 0.01 <= detection["score"] <= 1 and len(detection["box"]) == 4


def test_weak_detections_are_listed_and_decide_nothing(takt, tmp_path, config):
    board = pictures.golden(1)
    weak = np.where(board > 0, board - 51, board)  # a fifth of the copper's brightness is missing
    pictures.write_pair(tmp_path / "in", "weak", weak.astype(np.uint8), board)
    takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl").ok()
    [record] = verdicts(tmp_path / "out.jsonl")
    assert record["verdict"] == "pass"
    assert len(record["detections"]) == (board > 0).sum() // 64
    assert all(d["score"] == pytest.approx(0.2, abs=0.01) for d in record["detections"])


def test_the_cascade_looks_at_every_detection_and_only_at_those(takt, tmp_path, config):
    truth = pictures.write_boards(tmp_path / "in", 12)
    counts = tmp_path / "summary.json"
    takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl", "--summary", counts).ok()
    tasks = summary(counts)["lines"]["pcb"]["tasks"]
    assert tasks["defects"]["requests"] == tasks["difference"]["requests"] == len(truth)
    assert tasks["kinds"]["requests"] == sum(defect is not None for defect in truth.values())


def test_png_jpeg_and_bmp_give_the_same_verdicts(takt, tmp_path, repository):
    config = tmp_path / "takt.yaml"
    for suffix in (".png", ".jpg", ".bmp"):
        source = takt_yaml.folder_source("boards").replace(".png", suffix)
        takt_yaml.write(config, repository, takt_yaml.line(source))
        folder = tmp_path / suffix[1:]
        board, kind = pictures.with_defect(pictures.golden(3), 2, 5)
        pictures.write_pair(folder, "a", board, pictures.golden(3), suffix)
        output = tmp_path / f"{suffix[1:]}.jsonl"
        takt.inspect(config, folder, output).ok()
        [record] = verdicts(output)
        strong = [d for d in record["detections"] if d["score"] > 0.5]
        assert [(d["class"], d["box"]) for d in strong] == [(kind, pictures.box_of(2, 5))], suffix


def test_a_simulated_line_inspects_pairs_named_as_in_the_data_set(takt, tmp_path, repository):
    line = takt_yaml.line(takt_yaml.simulator_source(rate="4/s"))
    config = takt_yaml.write(tmp_path / "takt.yaml", repository, line)
    truth = pictures.write_boards(tmp_path / "in", 3)
    takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl").ok()
    assert by_frame(verdicts(tmp_path / "out.jsonl")).keys() == truth.keys()


def test_single_images_need_no_golden(takt, tmp_path):
    repository = tmp_path / "repository"
    tiny_models.add(repository, "single", tiny_models.detector(channels=1))
    task = takt_yaml.defects("single").replace("[board, golden]", "[board]")
    line = takt_yaml.line("      type: folder\n      directory: .\n")
    config = takt_yaml.write(tmp_path / "takt.yaml", repository, line, task)
    (tmp_path / "in").mkdir()
    bright, _ = pictures.with_defect(np.zeros((64, 64), np.uint8), 1, 6)
    Image.fromarray(bright).save(tmp_path / "in" / "bright.png")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "in" / "dark.bmp")
    takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl").ok()
    records = by_frame(verdicts(tmp_path / "out.jsonl"))
    assert records["dark"]["verdict"] == "pass"
    assert records["bright"]["detections"][0]["box"] == pictures.box_of(1, 6)


def test_the_summary_agrees_with_the_lines(takt, tmp_path, config):
    pictures.write_boards(tmp_path / "in", 21)
    counts = tmp_path / "summary.json"
    done = takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl", "--summary", counts).ok()
    said, records = summary(counts), verdicts(tmp_path / "out.jsonl")
    line = said["lines"]["pcb"]
    assert line["accepted"] == line["verdicts"] == len(records) == 21
    assert said["journal"]["accepted"] == said["journal"]["verdicts"] == 21
    for verdict in ("pass", "review", "reject"):
        assert line[verdict] == sum(record["verdict"] == verdict for record in records)
    assert line["sinks"]["jsonl"] == {"written": 21, "failures": 0}
    assert said["engine"]["submitted"] == said["engine"]["answered"]
    assert said["engine"]["slots_in_use"] == 0
    assert "21" in done.out and "verdicts" in done.out, "the table"


def test_progress_goes_to_standard_error(takt, tmp_path, config):
    pictures.write_boards(tmp_path / "in", 5)
    done = takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl").ok()
    assert "inspecting: 5 in" in done.err and "inspecting" not in done.out
    assert "\x1b" not in done.err, "no terminal control in a log"


def test_on_a_terminal_the_progress_is_drawn_in_place(takt, tmp_path, config):
    pictures.write_boards(tmp_path / "in", 5)
    screen, end = pty.openpty()
    process = takt.start("inspect", "--config", config, "--input", tmp_path / "in", "--output",
                         tmp_path / "out.jsonl", stderr=end)
    os.close(end)
    assert finish(process).code == 0
    assert "\r\x1b[2Kinspecting: 5 in" in os.read(screen, 1 << 16).decode()
    os.close(screen)


def test_a_second_run_replaces_the_output(takt, tmp_path, config):
    pictures.write_boards(tmp_path / "in", 4)
    for _ in range(2):
        takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl").ok()
    assert len(verdicts(tmp_path / "out.jsonl")) == 4


def test_inspect_leaves_the_lines_store_alone(takt, tmp_path, config):
    pictures.write_boards(tmp_path / "in", 2)
    takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl").ok()
    assert not (tmp_path / "data").exists() and not (tmp_path / "verdicts.jsonl").exists()
    assert not list((tmp_path / "home").glob("takt-*")), "a temporary folder was left"


def test_repository_option_takes_the_models_from_elsewhere(takt, tmp_path, repository):
    line = takt_yaml.line(takt_yaml.folder_source("boards"))
    config = takt_yaml.write(tmp_path / "takt.yaml", tmp_path / "nowhere", line)
    pictures.write_boards(tmp_path / "in", 2)
    takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl", "--repository", repository).ok()
    assert len(verdicts(tmp_path / "out.jsonl")) == 2


def test_a_missing_folder_is_named(takt, tmp_path, config):
    said = takt.inspect(config, tmp_path / "nowhere", tmp_path / "out.jsonl")
    said.refused(2, str(tmp_path / "nowhere"), "no such folder")
    assert "loading" not in said.err, "a GPU's models can take minutes"


def test_a_folder_without_a_match_names_the_pattern(takt, tmp_path, config):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "readme.txt").write_text("no image")
    takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl").refused(2, "{id}_test.png")


@pytest.mark.parametrize("output", ["/proc/out.jsonl", "in/0000_test.png/out.jsonl"])
def test_an_output_that_cannot_be_written_is_named(takt, tmp_path, config, output):
    pictures.write_boards(tmp_path / "in", 1)
    takt.inspect(config, tmp_path / "in", tmp_path / output).refused(
        1, str(tmp_path / output), "can't write")


def test_an_unwritable_summary_is_an_error_after_the_work(takt, tmp_path, config):
    pictures.write_boards(tmp_path / "in", 2)
    takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl", "--summary",
                 "/proc/summary.json").refused(1, "/proc/summary.json")
    assert len(verdicts(tmp_path / "out.jsonl")) == 2


def test_an_unknown_line_is_answered_with_the_nearest_name(takt, tmp_path, config):
    takt.inspect(config, tmp_path, tmp_path / "out.jsonl", "--line", "pbc").refused(
        2, "no line 'pbc'", "did you mean 'pcb'?")


def test_a_simulated_line_without_end_asks_for_a_folder(takt, tmp_path, repository):
    line = takt_yaml.line(takt_yaml.simulator_source(rate="4/s"))
    config = takt_yaml.write(tmp_path / "takt.yaml", repository, line)
    takt.run("inspect", "--config", config, "--output", tmp_path / "out.jsonl").refused(
        2, "lines.pcb.source", "--input")


def test_a_long_line_of_json_is_whole(takt, tmp_path, config):
    """Every cell differs: 64 detections in one object."""
    board = pictures.golden(2)
    pictures.write_pair(tmp_path / "in", "all", (255 - board).astype(np.uint8), board)
    takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl").ok()
    text = (tmp_path / "out.jsonl").read_text()
    assert text.count("\n") == 1 and len(json.loads(text)["detections"]) == 64
