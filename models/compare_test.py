# SPDX-License-Identifier: Apache-2.0
"""Hand-made cases for compare.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import compare


def row(frame: str, verdict: str, *found: tuple) -> dict:
    """found: (class, score, box)."""
    return {"frame": frame, "verdict": verdict, "route": verdict, "distance": 1.0,
            "detections": [{"class": c, "score": s, "box": list(b)} for c, s, b in found]}


def write(path: Path, *rows: dict) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


BOX, NEAR, FAR = (0, 0, 100, 100), (1, 0, 101, 100), (0, 50, 100, 150)


def test_the_same_is_the_same(tmp_path: Path) -> None:
    rows = [row("1_test", "reject", ("open", 0.9, BOX)), row("2_test", "pass")]
    assert compare.main([write(tmp_path / "a", *rows), write(tmp_path / "b", *reversed(rows))]) == 0


def test_detections_are_found_by_class_and_place(tmp_path: Path) -> None:
    first = {"1": row("1", "reject", ("open", 0.9, BOX), ("short", 0.8, BOX), ("spur", 0.7, BOX), ("spur", 0.1, BOX))}
    second = {"1": row("1", "reject", ("open", 0.89, NEAR), ("short", 0.8, FAR), ("open", 0.9, FAR))}
    said = compare.compare(first, second, 0.25, 0.7)
    assert (said["detections"], said["missing"]) == (3, 2)
    assert said["score_difference"] == pytest.approx(0.01)
    assert said["box_difference_px"] == 1


@pytest.mark.parametrize("second", [
    [row("1_test", "review"), row("2_test", "pass")],
    [row("1_test", "pass")],
    [],
], ids=["another verdict", "a frame less", "nothing"])
def test_another_verdict_or_frame_fails(tmp_path: Path, second: list[dict]) -> None:
    first = [row("1_test", "pass"), row("2_test", "pass")]
    assert compare.main([write(tmp_path / "a", *first), write(tmp_path / "b", *second)]) == 1


@pytest.mark.parametrize("score, code", [(0.9, 0), (0.05, 1)], ids=["as good", "worse"])
def test_the_mean_precision_counts_where_there_is_truth(tmp_path: Path, score: float, code: int) -> None:
    (tmp_path / "1.txt").write_text("0 0 100 100 1\n200 200 300 300 1\n")
    found = (("open", 0.95, BOX), ("open", 0.9, (200, 200, 300, 300)))
    wrong = ("open", 0.92 if code else 0.01, (400, 400, 500, 500))
    first = write(tmp_path / "a", row("1_test", "reject", *found))
    second = write(tmp_path / "b", row("1_test", "reject", found[0], ("open", score, found[1][2]), wrong))
    assert compare.main([first, second, "--truth", str(tmp_path)]) == code


def test_what_is_no_verdict_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("{}\n")
    with pytest.raises(SystemExit, match="a:1: not a frame's verdict"):
        compare.main([str(tmp_path / "a"), str(tmp_path / "a")])
