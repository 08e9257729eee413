# SPDX-License-Identifier: Apache-2.0
"""tests/fuzz/run_fuzzers.py tries an input that took long again before it counts."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fuzz"))

import run_fuzzers  # noqa: E402  (tests/fuzz/run_fuzzers.py)

# Searching, it finds a slow input; given that input alone, it ends with the code in place of AGAIN.
PROGRAM = """#!/bin/bash
for argument; do case $argument in -artifact_prefix=*) found=${argument#*=};; esac; done
case "$*" in *-max_total_time*) ;; *) exit AGAIN;; esac
touch "${found}timeout-1"
echo "SUMMARY: libFuzzer: timeout"
exit 70
"""


@pytest.fixture
def slow_target(tmp_path, monkeypatch):
    monkeypatch.setattr(run_fuzzers, "BUILD", tmp_path)
    monkeypatch.setattr(run_fuzzers, "WORK", tmp_path / "fuzz")

    def make(again: int) -> Path:
        program = tmp_path / "takt-fuzz-slow"
        program.write_text(PROGRAM.replace("AGAIN", str(again)), encoding="utf-8")
        program.chmod(0o755)
        return tmp_path / "fuzz" / "found" / "slow" / "timeout-1"

    return make


def test_an_input_that_was_slow_once_is_no_finding(slow_target):
    found = slow_target(again=0)
    code, said = run_fuzzers.fuzz("slow")
    assert code == 0
    assert said.startswith("Done")
    assert not found.exists()


def test_an_input_that_is_slow_again_is_a_finding_with_its_reason(slow_target):
    found = slow_target(again=70)
    code, output = run_fuzzers.fuzz("slow")
    assert code == 70
    assert run_fuzzers.reason(code, output) == "libFuzzer: timeout"
    assert found.exists()
