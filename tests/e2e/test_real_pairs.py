# SPDX-License-Identifier: Apache-2.0
"""The trained models on real boards, where the data set is: training is not repeated here, so
this shows that the program judges as the models were trained, not how well they generalise."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from program import verdicts

DATA = Path(os.environ.get("TAKT_DEEPPCB", ROOT.parent / "shared" / "data" / "deeppcb"))
PAIRS = DATA / "trainval" if (DATA / "trainval").is_dir() else DATA
COUNT = 20

pytestmark = [
    pytest.mark.skipif(not any(PAIRS.glob("*_test.png")) if PAIRS.is_dir() else True,
                       reason=f"no DeepPCB pairs in {DATA}; TAKT_DEEPPCB names a copy"),
    pytest.mark.skipif(not (ROOT / "models/repository/pcb-detector/1/model.onnx").is_file(),
                       reason="models/repository holds no trained models"),
]


def test_real_pairs_are_judged_as_in_training(takt, tmp_path):
    tests = sorted(PAIRS.glob("*_test.png"))
    chosen = tests[::max(1, len(tests) // COUNT)][:COUNT]
    folder = tmp_path / "pairs"
    folder.mkdir()
    for test in chosen:
        stem = test.name.removesuffix("_test.png")
        for name in (f"{stem}_test.png", f"{stem}_temp.png", f"{stem}.txt"):
            (folder / name).symlink_to(PAIRS / name)
    takt.inspect(ROOT / "examples/pcb/takt.yaml", folder, tmp_path / "out.jsonl",
                 timeout_s=250).ok()
    assert len(verdicts(tmp_path / "out.jsonl")) == COUNT
    done = subprocess.run([sys.executable, ROOT / "models/evaluate.py", "--truth", folder, "--json",
                           "--bootstrap", "0", tmp_path / "out.jsonl"], capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert scores["mAP"] > 95 and scores["f"] > 95, scores
