# SPDX-License-Identifier: Apache-2.0
"""takt compile where there is no GPU: what it says of its command line, of models and of the plan's place is the
same as on a GPU, because it looks at all of them first."""

import re

import pytest
import tiny_models

OPTIONS = ["device", "precision", "batch", "workspace", "effort", "instances", "input", "dimension", "plan", "cache",
           "verbose", "json"]


@pytest.fixture
def model(tmp_path):
    return tiny_models.add(tmp_path / "models", "detector", tiny_models.detector()) / "model.onnx"


def made(tmp_path, onnx):
    return tiny_models.add(tmp_path / "models", "other", onnx) / "model.onnx"


def refused(done, code, *words):
    done.refused(code, *words)
    assert done.out == ""


def test_without_a_gpu_the_message_says_what_is_missing_and_what_to_do(takt, has_gpu, model):
    if has_gpu:
        pytest.skip("this machine has a GPU")
    refused(takt.run("compile", model), 1, "the CUDA driver (libcuda.so.1) can't be opened",
            "looked in the system's loader", "install NVIDIA's driver", "docker run --gpus all")


def test_libraries_of_other_folders_are_named_where_they_were_looked_for(takt, has_gpu, tmp_path, model):
    if has_gpu:
        pytest.skip("this machine has a GPU")
    takt.environment["TAKT_CUDA_FOLDERS"] = f"{tmp_path / 'cuda'}:{tmp_path / 'cudnn'}"
    refused(takt.run("compile", model), 1, f"looked in {tmp_path / 'cuda'}, {tmp_path / 'cudnn'}, the system's loader")


def test_help_shows_every_option_with_its_default_and_what_serve_does_with_a_plan(takt):
    said = takt.run("compile", "--help").ok().out
    for option in OPTIONS:
        assert re.search(rf"^  (-o,)?--{option}\b", said, re.MULTILINE), option
    for default in ("cuda:0", "fp16", "1", "1GiB", "normal", takt.environment["HOME"] + "/.cache/takt"):
        assert f"={default}" in said, default
    assert "cuda.precision" in said and "cuda.batches" in said and "Exit code" in said


def test_completion_knows_its_options_and_no_command_that_is_not_for_people(takt):
    said = takt.run("completion", "bash").ok().out
    words = re.search(r"^    compile\) words=\"(.*)\"", said, re.MULTILINE).group(1).split()
    assert sorted(words) == sorted(["--help", *(f"--{option}" for option in OPTIONS)])
    assert "worker" not in said


@pytest.mark.parametrize("arguments, words", [
    ([], ["model is required"]),
    (["MODEL", "--precison", "fp16"], ["--precison"]),
    (["MODEL", "MODEL"], ["not expected"]),
    (["MODEL", "--batch"], ["--batch"]),
    (["MODEL", "--batch", "1,x"], ["--batch", "1,x"]),
    (["MODEL", "--batch", "1,0"], ["compile: --batch: 0 is no batch size; expected 1 to 4096"]),
    (["MODEL", "--batch=-1"], ["compile: --batch: -1 is no batch size"]),
    (["MODEL", "--batch", "8,5000"], ["compile: --batch: 5000 is no batch size"]),
    (["MODEL", "--precision", "fp61"], ["compile: --precision: 'fp61'", "did you mean 'fp16'?"]),
    (["MODEL", "--precision", "integers"], ["compile: --precision: 'integers'", "expected one of fp32, tf32, fp16, bf16"]),
    (["MODEL", "--effort", "maxx"], ["compile: --effort: 'maxx'", "did you mean 'max'?"]),
    (["MODEL", "--device", "cpu"], ["compile: --device: 'cpu'", "expected cuda:N", "takt doctor"]),
    (["MODEL", "--workspace", "64"], ["compile: --workspace: '64' has no unit"]),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_a_wrong_command_line_is_refused(takt, model, arguments, words):
    refused(takt.run("compile", *(model if word == "MODEL" else word for word in arguments)), 2, *words)


def test_a_missing_model_is_named(takt, model):
    refused(takt.run("compile", model.with_name("modle.onnx")), 2, str(model.with_name("modle.onnx")))


@pytest.mark.parametrize("data", [b"", b"this is not a model\n",
                                  tiny_models.detector().SerializeToString()[:1000]],
                         ids=["empty", "text", "truncated"])
def test_a_file_that_is_no_model_is_named(takt, tmp_path, data):
    file = made(tmp_path, data)
    refused(takt.run("compile", file), 2, str(file))


def test_a_folder_is_no_model(takt, model):
    refused(takt.run("compile", model.parent), 2, str(model.parent))


@pytest.mark.parametrize("onnx, words", [
    (tiny_models.unsupported_operator, ["FancyAttention"]),
    (tiny_models.quantised_detector, ["QuantizeLinear"]),
    (tiny_models.boxes_labels_scores, ["Compress"]),
])
def test_an_operator_that_does_not_run_on_a_gpu_is_named(takt, tmp_path, onnx, words):
    file = made(tmp_path, onnx())
    refused(takt.run("compile", file), 2, str(file), *words)


def test_batch_sizes_that_the_model_does_not_take_are_refused(takt, tmp_path):
    file = made(tmp_path, tiny_models.yolov8_export(classes=2, size=64))
    refused(takt.run("compile", file, "--batch", "1,8"), 2, str(file), "batch size 8", "images [1,3,64,64]",
            "export it with an open first dimension")


def test_an_input_that_the_model_does_not_have_is_refused(takt, model):
    refused(takt.run("compile", model, "--input", "imags=1x2x64x64"), 2, str(model), "imags")


@pytest.mark.parametrize("option", ["-o", "--cache"])
def test_a_plan_that_can_not_be_written_is_told_before_anything_is_tuned(takt, tmp_path, model, option):
    (tmp_path / "file").write_text("")
    refused(takt.run("compile", model, option, tmp_path / "file" / "plan"), 1, str(tmp_path / "file" / "plan"),
            "can't be written", "name another folder")


def test_a_plan_that_is_a_folder_is_refused(takt, tmp_path, model):
    refused(takt.run("compile", model, "-o", tmp_path), 1, f"{tmp_path}: can't be written (Is a directory)")


def test_what_failed_leaves_no_file_where_the_plan_would_be(takt, has_gpu, tmp_path, model):
    if has_gpu:
        pytest.skip("this machine has a GPU, and makes the plan")
    takt.run("compile", model, "-o", tmp_path / "plans" / "a.taktplan").refused(1, "CUDA driver")
    assert list((tmp_path / "plans").iterdir()) == []
