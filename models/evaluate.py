#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Scores the detections of `takt inspect` against DeepPCB's ground truth.

    python models/evaluate.py --truth DIR OUT.jsonl [OUT.jsonl ...] [--threshold 0.5] [--json]

Each OUT.jsonl holds one JSON object a line with `frame` (a file stem such as
`00041000_test`, or the bare id) and `detections`, a list of `class`, `score`
and `box` [x1, y1, x2, y2]. Several files are pooled, as for the folds of a
leave-one-group-out validation; a frame may occur only once.

How it counts: the detections of a class are taken over all frames in the order
of their scores, highest first (ties keep the order of the files). Each is
matched greedily to the free ground-truth box of its class and frame with the
largest IoU; it is right when that IoU is above 0.33 (DeepPCB's rule), and the
box is then taken. The average precision is the area under the precision
envelope (for every recall the best precision at that recall or a higher one),
interpolated at all points. mAP is the mean over the classes that have ground
truth. Precision, recall and F at a threshold count all classes together. The
95 % intervals come from drawing frames with replacement.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

CLASSES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
SUFFIX = "_test"


@dataclass
class Frame:
    """Detections and ground truth of one frame; boxes float64 [k, 4], classes int [k]."""

    truth_boxes: np.ndarray
    truth_classes: np.ndarray
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    classes: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))


@dataclass
class Matched:
    """All detections in the order of their scores, with what they matched."""

    frame: np.ndarray  # index of the frame, int [d]
    classes: np.ndarray  # int [d]
    scores: np.ndarray  # float [d]
    right: np.ndarray  # bool [d]
    truth_count: np.ndarray  # ground-truth boxes by frame and class, int [f, 6]


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU [len(a), len(b)] of boxes as x1, y1, x2, y2."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(-1)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(-1), (b[:, 2:] - b[:, :2]).prod(-1)
    return inter / np.maximum(area_a[:, None] + area_b[None] - inter, 1e-9)


def match(frames: list[Frame], iou_min: float = 0.33) -> Matched:
    """Matches detections to ground truth greedily by score."""
    index, classes, scores, right = [], [], [], []
    count = np.zeros((len(frames), len(CLASSES)), int)
    for n, frame in enumerate(frames):
        count[n] = np.bincount(frame.truth_classes, minlength=len(CLASSES))
        free = np.ones(len(frame.truth_classes), bool)
        iou = box_iou(frame.boxes, frame.truth_boxes)
        for d in np.argsort(-frame.scores, kind="stable"):
            open_iou = np.where(free & (frame.truth_classes == frame.classes[d]), iou[d], 0.0)
            best = int(open_iou.argmax()) if len(open_iou) else -1
            hit = best >= 0 and open_iou[best] > iou_min
            if hit:
                free[best] = False
            index.append(n)
            classes.append(frame.classes[d])
            scores.append(frame.scores[d])
            right.append(hit)
    order = np.argsort(-np.array(scores, float), kind="stable")
    return Matched(
        np.array(index, int)[order],
        np.array(classes, int)[order],
        np.array(scores, float)[order],
        np.array(right, bool)[order],
        count,
    )


def average_precision(right: np.ndarray, truth_count: float, weight: np.ndarray | None = None) -> float:
    """Area under the precision envelope; `right` in the order of the scores."""
    if truth_count == 0:
        return float("nan")
    w = np.ones(len(right)) if weight is None else weight
    hits = np.cumsum(right * w)
    seen = np.maximum(np.cumsum(w), 1e-12)
    recall = np.concatenate([[0.0], hits / truth_count])
    envelope = np.maximum.accumulate((hits / seen)[::-1])[::-1]
    return float((np.diff(recall) * envelope).sum())


def mean_ap(m: Matched, frame_weight: np.ndarray | None = None) -> tuple[float, dict[str, float]]:
    """mAP and the AP of each class, in percent; frames weighted for the bootstrap."""
    weight = None if frame_weight is None else frame_weight[m.frame]
    total = m.truth_count.sum(0) if frame_weight is None else frame_weight @ m.truth_count
    per_class = {}
    for c, name in enumerate(CLASSES):
        of = m.classes == c
        per_class[name] = 100 * average_precision(m.right[of], float(total[c]), None if weight is None else weight[of])
    known = [v for v in per_class.values() if not np.isnan(v)]
    return (float(np.mean(known)) if known else float("nan")), per_class


def counts_at(m: Matched, threshold: float) -> tuple[int, int, int]:
    """True positives, false positives and misses of detections scored at or above the threshold."""
    kept = m.scores >= threshold
    tp = int(m.right[kept].sum())
    return tp, int(kept.sum()) - tp, int(m.truth_count.sum()) - tp


def precision_recall_f(tp: float, fp: float, missed: float) -> tuple[float, float, float]:
    """In percent; a ratio without a denominator is 0."""
    precision = 100 * tp / (tp + fp) if tp + fp else 0.0
    recall = 100 * tp / (tp + missed) if tp + missed else 0.0
    f = 200 * tp / (2 * tp + fp + missed) if tp + fp + missed else 0.0
    return precision, recall, f


def best_f(m: Matched) -> tuple[float, float]:
    """The best F in percent and the threshold that gives it (a score that occurs)."""
    if len(m.scores) == 0:
        return 0.0, 1.0
    tp = np.cumsum(m.right)
    f = 200 * tp / (np.arange(1, len(tp) + 1) + m.truth_count.sum())
    last_of_score = np.append(np.diff(m.scores) != 0, True)
    at = int(np.argmax(np.where(last_of_score, f, -1)))
    return float(f[at]), float(m.scores[at])


def bootstrap(m: Matched, threshold: float, draws: int, seed: int) -> dict[str, list[float]]:
    """95 % intervals of mAP and of F at the threshold, over frames drawn with replacement."""
    rng = np.random.default_rng(seed)
    n = len(m.truth_count)
    kept = m.scores >= threshold
    by_frame = np.zeros((n, 2))
    np.add.at(by_frame, (m.frame[kept], 1 - m.right[kept].astype(int)), 1)
    truth = m.truth_count.sum(1)
    maps, fs = [], []
    for _ in range(draws):
        weight = np.bincount(rng.integers(0, n, n), minlength=n).astype(float)
        maps.append(mean_ap(m, weight)[0])
        tp, fp = weight @ by_frame
        fs.append(precision_recall_f(tp, fp, weight @ truth - tp)[2])
    return {
        "mAP": [float(v) for v in np.nanpercentile(maps, [2.5, 97.5])],
        "f": [float(v) for v in np.percentile(fs, [2.5, 97.5])],
    }


def evaluate(frames: list[Frame], threshold: float, iou_min: float, draws: int, seed: int = 0) -> dict:
    """Everything that the command prints, as a dictionary."""
    m = match(frames, iou_min)
    overall, per_class = mean_ap(m)
    tp, fp, missed = counts_at(m, threshold)
    precision, recall, f = precision_recall_f(tp, fp, missed)
    top, at = best_f(m)
    result = {
        "frames": len(frames),
        "objects": int(m.truth_count.sum()),
        "iou": iou_min,
        "ap": per_class,
        "mAP": overall,
        "threshold": threshold,
        "true_positives": tp,
        "false_positives": fp,
        "missed": missed,
        "precision": precision,
        "recall": recall,
        "f": f,
        "best_f": top,
        "best_f_threshold": at,
    }
    if draws > 0 and frames:
        result["interval_95"] = bootstrap(m, threshold, draws, seed)
    return result


def read_truth(folder: Path, frame_id: str) -> Frame:
    """The ground truth of one frame."""
    path = folder / f"{frame_id}.txt"
    if not path.is_file():
        raise SystemExit(f"evaluate: {path}: no ground truth for frame `{frame_id}`; is --truth the right folder?")
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    values = np.array(rows, dtype=float).reshape(-1, 5)
    return Frame(values[:, :4], values[:, 4].astype(int) - 1)


def read_frames(files: list[Path], truth: Path) -> list[Frame]:
    """Joins the detections with their ground truth; stops with file and line at the first fault."""
    root = truth / "trainval" if (truth / "trainval").is_dir() else truth
    frames: dict[str, Frame] = {}
    for path in files:
        for number, text in enumerate(path.read_text().splitlines(), 1):
            if not text.strip():
                continue
            place = f"evaluate: {path}:{number}"
            try:
                row = json.loads(text)
                found = row["detections"]
                frame_id = str(row["frame"]).removesuffix(SUFFIX)
                boxes = np.array([d["box"] for d in found], float).reshape(-1, 4)
                scores = np.array([d["score"] for d in found], float)
                classes = np.array([CLASSES.index(d["class"]) for d in found], int)
            except (json.JSONDecodeError, KeyError, ValueError, TypeError) as error:
                raise SystemExit(f"{place}: not a frame's verdict with detections: {error!r}") from error
            if frame_id in frames:
                raise SystemExit(f"{place}: frame `{frame_id}` occurs twice; pool files of different groups")
            frame = read_truth(root, frame_id)
            frames[frame_id] = Frame(frame.truth_boxes, frame.truth_classes, boxes, classes, scores)
    return list(frames.values())


def print_table(result: dict) -> None:
    """The result for people."""
    print(f"{result['frames']} frames, {result['objects']} objects, IoU > {result['iou']}")
    for name, value in result["ap"].items():
        print(f"  AP {name:<10} {value:6.2f}")
    interval = result.get("interval_95", {})

    def span(key: str) -> str:
        return "  95 % [{:.2f}, {:.2f}]".format(*interval[key]) if key in interval else ""

    print(f"mAP {result['mAP']:.2f}{span('mAP')}")
    print(
        f"at {result['threshold']:g}: precision {result['precision']:.2f}  recall {result['recall']:.2f}  "
        f"F {result['f']:.2f}{span('f')}  (right {result['true_positives']}, "
        f"false {result['false_positives']}, missed {result['missed']})"
    )
    print(f"best F {result['best_f']:.2f} at {result['best_f_threshold']:.4f}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("outputs", nargs="+", type=Path, help="OUT.jsonl of takt inspect")
    parser.add_argument("--truth", required=True, type=Path, help="the DeepPCB folder")
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--iou", type=float, default=0.33, help="a match needs more than this IoU")
    parser.add_argument("--bootstrap", type=int, default=1000, help="draws for the intervals; 0: none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    frames = read_frames(options.outputs, options.truth)
    result = evaluate(frames, options.threshold, options.iou, options.bootstrap, options.seed)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print_table(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
