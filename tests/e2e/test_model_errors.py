# SPDX-License-Identifier: Apache-2.0
"""A model that can't be right is refused before a frame is judged, with the place and a remedy."""

import pytest

import pictures
import takt_yaml
import tiny_models


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "repository"
    tiny_models.add(folder, "detector", tiny_models.detector())
    return folder


@pytest.fixture
def config(tmp_path, models):
    pictures.write_boards(tmp_path / "in", 2)
    return takt_yaml.write(tmp_path / "takt.yaml", models,
                           takt_yaml.line(takt_yaml.folder_source("in")))


def refused(takt, config, *words):
    """validate and serve both say no, with the task and these words."""
    codes = set()
    for command in ("validate", "serve"):
        done = takt.run(command, config)
        codes.add(done.code)
        assert done.code in (1, 2), f"{command}: exit code {done.code}\n{done.err}"
        done.refused(done.code, "tasks.defects", *words)
    assert 0 not in codes
    assert not (config.parent / "verdicts.jsonl").read_text()


def whole():
    return tiny_models.detector().SerializeToString(deterministic=True)


@pytest.mark.parametrize("data", [b"", whole()[:len(whole()) // 2], bytes(range(256)) * 8,
                                  b"this is not a model\n",
                                  b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"],
                         ids=["empty", "truncated", "garbage", "text", "pointer"])
def test_a_file_that_is_no_model_is_named(takt, config, models, data):
    tiny_models.add(models, "detector", data)
    refused(takt, config, str(models / "detector" / "1" / "model.onnx"))


def test_a_missing_model_file_is_named(takt, config, models):
    (models / "detector" / "1" / "model.onnx").unlink()
    refused(takt, config, "detector", "model.onnx")


def test_a_missing_model_is_answered_with_the_nearest_name(takt, config):
    config.write_text(config.read_text().replace("model: detector", "model: detectr"))
    refused(takt, config, "'detectr'", "did you mean 'detector'?")


def test_a_missing_repository_is_named(takt, tmp_path, config, models):
    models.rename(tmp_path / "elsewhere")
    refused(takt, config, str(models))


def test_a_version_that_is_not_there_says_which_are(takt, config):
    config.write_text(config.read_text().replace("model: detector", "model: detector\n    version: 3"))
    refused(takt, config, "detector", "3", "1")


def test_an_unsupported_operator_is_named(takt, config, models):
    tiny_models.add(models, "detector", tiny_models.unsupported_operator())
    takt.run("serve", config).refused(2, "tasks.defects", "detector", "FancyAttention")


@pytest.mark.parametrize("right, wrong, words", [
    ("[open, short, mousebite, spur, copper, pin-hole]", "[open, short]", ["10", "64", "2 classes"]),
    ("inputs: [board, golden]", "inputs: [board]", ["'images'", "2 channels", "feeds 1 (board)"]),
    ("inputs: [board, golden]", "inputs: {board: board, golden: golden}", ["inputs", "images"]),
    ("inputs: [board, golden]", "inputs: {image: [board, golden]}", ["'image'", "'images'"]),
    ("name: yolo", "name: boxes_labels_scores", ["boxes"]),
    ("name: yolo", "name: detr", ["defects"]),
    ("color: gray", "color: rgb", ["channels"]),
    ("scale: 1/255}", "scale: 1/255, mean: [0.1, 0.2, 0.3]}", ["mean"]),
], ids=["classes", "one image", "two inputs", "input name", "boxes", "detr", "rgb", "mean"])
def test_a_task_that_does_not_fit_its_model_is_refused(takt, config, right, wrong, words):
    text = config.read_text()
    assert right in text
    config.write_text(text.replace(right, wrong))
    refused(takt, config, *words)


def test_a_configuration_that_contradicts_the_model_names_file_and_field(takt, config, models):
    (models / "detector" / "config.pbtxt").write_text(
        'max_batch_size: 4\ninput { name: "images" data_type: TYPE_FP32 dims: [ 3, 64, 64 ] }\n')
    refused(takt, config, str(models / "detector" / "config.pbtxt"), "images", "dims")


def test_a_configuration_with_an_unknown_field_names_the_line(takt, config, models):
    (models / "detector" / "config.pbtxt").write_text("max_batch_size: 4\nmax_batch: 3\n")
    refused(takt, config, f"{models / 'detector' / 'config.pbtxt'}:2", "max_batch")


def test_a_right_reference_is_passed(takt, tmp_path, config, models):
    folder = tiny_models.add(models, "detector", tiny_models.detector())
    tiny_models.add_reference(folder, tiny_models.detector())
    takt.serve(config, tmp_path / "summary.json").ok()


def test_the_parity_gate_refuses_a_model_that_answers_otherwise(takt, config, models):
    """Other weights under the old reference: the most common fault of an export."""
    folder = tiny_models.add(models, "detector", tiny_models.detector(gain=0.9))
    tiny_models.add_reference(folder, tiny_models.detector())
    takt.run("serve", config).refused(2, "detector", "version 1", "case_0", "'output0'", "expected", "judges differently", "export it again")


def test_a_damaged_reference_is_named(takt, config, models):
    folder = tiny_models.add(models, "detector", tiny_models.detector())
    tiny_models.add_reference(folder, tiny_models.detector())
    pictures.truncated(folder / "reference" / "case_0" / "output_0.pb.gz")
    takt.run("serve", config).refused(2, "output_0.pb.gz")


def test_a_bad_newer_version_does_not_run_in_silence(takt, config, models):
    """The policy serves the latest: a broken one is an error, not a reason to judge with the old."""
    tiny_models.add(models, "detector", whole()[:500], version=2)
    refused(takt, config, str(models / "detector" / "2" / "model.onnx"))


def test_an_unknown_backend_is_answered_with_those_there_are(takt, config):
    config.write_text(config.read_text().replace("[openvino]", "[openvinho]"))
    refused(takt, config, "openvinho", "openvino")


def test_the_next_backend_stands_in_and_says_so(takt, tmp_path, config, models):
    (models / "detector" / "config.pbtxt").write_text(
        "max_batch_size: 1\n" + tiny_models.simulated(faults="out_of_memory@1"))
    config.write_text(config.read_text().replace("[openvino]", "[simulated, openvino]"))
    done = takt.serve(config, tmp_path / "summary.json").ok()
    assert "warning: tasks.defects: simulated" in done.err and "next backend" in done.err
