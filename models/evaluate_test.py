# SPDX-License-Identifier: Apache-2.0
"""Hand-computed cases for evaluate.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import evaluate
from evaluate import CLASSES, Frame

OPEN, SHORT = CLASSES.index("open"), CLASSES.index("short")


def frame(truth: list[tuple], found: list[tuple]) -> Frame:
    """truth: (box, class); found: (box, class, score)."""
    return Frame(
        np.array([t[0] for t in truth], float).reshape(-1, 4),
        np.array([t[1] for t in truth], int),
        np.array([f[0] for f in found], float).reshape(-1, 4),
        np.array([f[1] for f in found], int),
        np.array([f[2] for f in found], float),
    )


A, B = (0, 0, 10, 10), (100, 100, 110, 110)


def test_iou_of_half_overlapping_squares_is_one_third() -> None:
    iou = evaluate.box_iou(np.array([A], float), np.array([(5, 0, 15, 10)], float))
    assert iou[0, 0] == pytest.approx(50 / 150)


def test_a_detection_needs_more_than_the_iou_limit() -> None:
    # IoU is exactly 1/3 = 0.3333 > 0.33, and 0.25 after a shift of six pixels.
    near = evaluate.match([frame([(A, OPEN)], [((5, 0, 15, 10), OPEN, 0.9)])])
    far = evaluate.match([frame([(A, OPEN)], [((6, 0, 16, 10), OPEN, 0.9)])])
    exact = evaluate.match([frame([(A, OPEN)], [((5, 0, 15, 10), OPEN, 0.9)])], iou_min=50 / 150)
    assert near.right.tolist() == [True]
    assert far.right.tolist() == [False]
    assert exact.right.tolist() == [False]


def test_the_right_box_with_the_wrong_class_is_false_and_leaves_the_object_missed() -> None:
    m = evaluate.match([frame([(A, OPEN)], [(A, SHORT, 0.9)])])
    assert evaluate.counts_at(m, 0.5) == (0, 1, 1)


def test_the_second_detection_of_an_object_is_false() -> None:
    m = evaluate.match([frame([(A, OPEN)], [(A, OPEN, 0.6), ((1, 0, 11, 10), OPEN, 0.9)])])
    assert m.scores.tolist() == [0.9, 0.6]
    assert m.right.tolist() == [True, False]


def test_a_detection_matches_only_objects_of_its_own_frame() -> None:
    m = evaluate.match([frame([(A, OPEN)], []), frame([], [(A, OPEN, 0.9)])])
    assert evaluate.counts_at(m, 0.5) == (0, 1, 1)


def test_average_precision_is_the_area_under_the_envelope() -> None:
    # right, false, right of 2: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
    # Envelope: 1 up to recall 1/2, then 2/3. Area 1/2 + 1/3.
    right = np.array([True, False, True])
    assert evaluate.average_precision(right, 2) == pytest.approx(5 / 6)


def test_the_envelope_lifts_an_early_false_detection() -> None:
    # false, right, right of 2: precision 0, 1/2, 2/3; the envelope is 2/3 everywhere.
    assert evaluate.average_precision(np.array([False, True, True]), 2) == pytest.approx(2 / 3)


def test_missed_objects_cap_the_average_precision() -> None:
    assert evaluate.average_precision(np.array([True]), 4) == pytest.approx(0.25)


def test_map_is_the_mean_over_classes_with_ground_truth() -> None:
    frames = [frame([(A, OPEN), (B, SHORT)], [(A, OPEN, 0.9)])]
    mean, per_class = evaluate.mean_ap(evaluate.match(frames))
    assert mean == pytest.approx(50.0)
    assert per_class["open"] == pytest.approx(100.0)
    assert per_class["short"] == pytest.approx(0.0)
    assert np.isnan(per_class["spur"])


def test_weighting_a_frame_twice_equals_listing_it_twice() -> None:
    one = frame([(A, OPEN)], [(A, OPEN, 0.9), (B, OPEN, 0.95)])
    two = frame([(A, OPEN), (B, OPEN)], [(A, OPEN, 0.8)])
    weighted = evaluate.mean_ap(evaluate.match([one, two]), np.array([2.0, 1.0]))[0]
    listed = evaluate.mean_ap(evaluate.match([one, one, two]))[0]
    assert weighted == pytest.approx(listed)


def test_precision_recall_and_f_at_the_threshold_include_equal_scores() -> None:
    frames = [frame([(A, OPEN), (B, SHORT)], [(A, OPEN, 0.5), (B, OPEN, 0.6), (B, SHORT, 0.49)])]
    counts = evaluate.counts_at(evaluate.match(frames), 0.5)
    assert counts == (1, 1, 1)
    assert evaluate.precision_recall_f(*counts) == pytest.approx((50.0, 50.0, 50.0))


def test_best_f_names_the_threshold_that_gives_it() -> None:
    frames = [frame([(A, OPEN), (B, SHORT)], [(A, OPEN, 0.9), (B, SHORT, 0.4), (A, SHORT, 0.2)])]
    f, threshold = evaluate.best_f(evaluate.match(frames))
    assert (f, threshold) == (pytest.approx(100.0), pytest.approx(0.4))
    tp, fp, missed = evaluate.counts_at(evaluate.match(frames), threshold)
    assert evaluate.precision_recall_f(tp, fp, missed)[2] == pytest.approx(f)


def test_best_f_never_splits_equal_scores() -> None:
    frames = [frame([(A, OPEN)], [(A, OPEN, 0.7), (B, OPEN, 0.7)])]
    assert evaluate.best_f(evaluate.match(frames))[0] == pytest.approx(200 / 3)


def test_no_detections_and_no_objects_give_zero_not_an_error() -> None:
    assert evaluate.best_f(evaluate.match([frame([(A, OPEN)], [])])) == (0.0, 1.0)
    assert evaluate.precision_recall_f(0, 0, 0) == (0.0, 0.0, 0.0)


def test_the_interval_holds_the_value_and_is_a_point_for_perfect_frames() -> None:
    perfect = [frame([(A, c)], [(A, c, 0.9)]) for c in range(6) for _ in range(4)]
    result = evaluate.evaluate(perfect, 0.5, 0.33, draws=50)
    assert result["interval_95"]["f"] == [100.0, 100.0]
    mixed = perfect + [frame([(A, OPEN)], [])] * 8
    result = evaluate.evaluate(mixed, 0.5, 0.33, draws=200)
    low, high = result["interval_95"]["f"]
    assert low < result["f"] < high


def write_case(folder: Path, frame_name: str) -> Path:
    (folder / "00041000.txt").write_text("0 0 10 10 1\n100 100 110 110 6\n")
    row = {
        "frame": frame_name,
        "verdict": "reject",
        "detections": [
            {"class": "open", "score": 0.98, "box": [0, 0, 10, 10]},
            {"class": "pin-hole", "score": 0.75, "box": [100, 100, 110, 110]},
        ],
    }
    out = folder / "OUT.jsonl"
    out.write_text(json.dumps(row) + "\n")
    return out


@pytest.mark.parametrize("name", ["00041000_test", "00041000"])
def test_reads_the_output_of_inspect(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = write_case(tmp_path, name)
    assert evaluate.main([str(out), "--truth", str(tmp_path), "--json", "--bootstrap", "0"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["f"] == pytest.approx(100.0)
    assert result["objects"] == 2


def test_a_frame_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    out = write_case(tmp_path, "00041000_test")
    with pytest.raises(SystemExit, match="occurs twice"):
        evaluate.read_frames([out, out], tmp_path)


def test_a_broken_line_is_named_by_file_and_line(tmp_path: Path) -> None:
    out = write_case(tmp_path, "00041000_test")
    out.write_text(out.read_text() + "{\n")
    with pytest.raises(SystemExit, match=r"OUT\.jsonl:2"):
        evaluate.read_frames([out], tmp_path)


def test_a_frame_without_ground_truth_is_refused(tmp_path: Path) -> None:
    out = write_case(tmp_path, "99999999_test")
    with pytest.raises(SystemExit, match="no ground truth"):
        evaluate.read_frames([out], tmp_path)
