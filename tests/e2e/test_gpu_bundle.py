# SPDX-License-Identifier: Apache-2.0
"""What a machine with a GPU gets: the configuration of its smoke run, and run.sh beside programs that are stood in
for."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BUNDLE = Path(__file__).resolve().parents[1] / "gpu_bundle"
sys.path.insert(0, str(BUNDLE))
import pack  # noqa: E402

PASSES = """\
[       OK ] GpuSteps.Quick (12 ms)
[       OK ] GpuSteps.Slow/fp16, where GetParam() = 1 (3400 ms)
[ RUN      ] GpuSteps.Absent
file.cc:7: Skipped
no GPU here

[  SKIPPED ] GpuSteps.Absent (0 ms)
"""
FAILS = "[  FAILED  ] GpuSteps.Wrong (5 ms)\n"
NO_GPU = "note     gpu driver     none\n                        install a driver\n"


@pytest.fixture
def bundle(tmp_path):
    """run.sh as it is unpacked, with programs that say what they are told."""
    folder = tmp_path / "takt-gpu"
    (folder / "bin").mkdir(parents=True)
    (folder / "onnx-node-tests").mkdir()
    shutil.copy(BUNDLE / "run.sh", folder)
    for program in ("takt-gpu-tests", "takt-gpu-node-tests"):
        says(folder, program, PASSES)
    says(folder, "takt", NO_GPU)
    return folder


def says(folder, program, text, code=0, result=True):
    write = "echo result >${1#--gtest_output=*:}" if result else ":"
    file = folder / "bin" / program
    file.write_text(f"#!/bin/bash\ncat <<'END'\n{text}END\n[ $# -gt 0 ] && [[ $1 == --gtest* ]] && {write}\nexit {code}\n")
    file.chmod(0o755)


def run(folder, *arguments):
    # Without compute-sanitizer, wherever this runs.
    return subprocess.run([folder / "run.sh", *arguments], env={"PATH": "/usr/bin:/bin"}, text=True, capture_output=True,
                          timeout=60)


def test_the_configuration_of_the_smoke_run_is_valid(takt, tmp_path):
    (tmp_path / "serve.yaml").write_text(pack.serve_yaml())
    said = takt.run("validate", tmp_path / "serve.yaml", "--no-models")
    assert said.code == 0 or "CUDA driver" in said.err, said
    assert f"boards: {pack.BOARDS}\n" in pack.serve_yaml() and "cpu:" not in pack.serve_yaml()


def test_a_run_counts_names_the_slowest_and_says_why_tests_are_skipped(bundle, tmp_path):
    done = run(bundle, "test", tmp_path / "results")
    assert done.returncode == 0, done
    assert done.stdout.count("2 passed, 0 failed, 1 skipped, 3.4 s") == 2
    assert "skipped, 1 times: no GPU here" in done.stdout
    assert done.stdout.index("3.4 s  GpuSteps.Slow/fp16\n") < done.stdout.index("0.0 s  GpuSteps.Quick\n")
    assert sorted(file.name for file in (tmp_path / "results").iterdir()) == [
        "gpu-node-tests.json", "gpu-node-tests.log", "gpu-tests.log", "gpu-tests.xml"]


def test_a_failed_test_fails_the_run_and_the_others_run_all_the_same(bundle, tmp_path):
    says(bundle, "takt-gpu-tests", PASSES + FAILS, code=1)
    done = run(bundle, "test", tmp_path / "results")
    assert done.returncode == 1 and "failed: GpuSteps.Wrong\n" in done.stdout
    assert "2 passed, 1 failed, 1 skipped" in done.stdout and "== gpu-node-tests: exit code 0" in done.stdout


def test_a_program_that_dies_fails_the_run_even_if_an_earlier_one_left_a_result(bundle, tmp_path):
    run(bundle, "test", tmp_path / "results")
    says(bundle, "takt-gpu-node-tests", "illegal memory access\n", result=False)
    done = run(bundle, "test", tmp_path / "results")
    assert done.returncode == 1 and "ended without a result" in done.stdout and "illegal memory access" in done.stdout


@pytest.mark.parametrize("arguments, words", [
    (["sanitize", "results"], "SKIPPED sanitize: compute-sanitizer is neither in PATH"),
    (["inspect", "/", "results"], "SKIPPED inspect: no GPU that takt can use:\nnote     gpu driver     none"),
    (["serve"], "SKIPPED serve: no GPU that takt can use:\nnote     gpu driver     none"),
], ids=["sanitize", "inspect", "serve"])
def test_what_can_not_run_here_is_skipped_and_says_why(bundle, tmp_path, arguments, words):
    if Path("/usr/local/cuda/bin/compute-sanitizer").exists() or shutil.which("compute-sanitizer", path="/usr/bin:/bin"):
        pytest.skip("this machine has compute-sanitizer")
    arguments = [str(tmp_path / word) if word == "results" else word for word in arguments]
    done = run(bundle, *arguments)
    assert done.returncode == 0 and words in done.stdout, done


@pytest.mark.parametrize("arguments", [[], ["tests"], ["test"], ["test", "a", "b"], ["inspect", "/"]], ids=" ".join)
def test_a_wrong_call_is_answered_with_the_usage(bundle, arguments):
    done = run(bundle, *arguments)
    assert done.returncode == 2 and "./run.sh test RESULTS" in done.stderr
    assert done.stdout == ""
