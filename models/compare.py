#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares what `takt inspect` said of the same boards twice: on another device, in another precision.

    python models/compare.py FIRST.jsonl SECOND.jsonl [--truth DIR] [--json]

Frames are joined by their name. Of each frame: the verdict and its route must be the same; detections of the
first with a score of at least --score-min are looked for in the second, by class and the largest IoU above
--iou. With --truth the mAP of both is computed (evaluate.py) and must be within --map-difference points.
Exit code: 0 where verdicts and mAP are the same so far, otherwise 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import evaluate


def read(path: Path) -> dict[str, dict]:
    """The rows by their frame."""
    rows = {}
    for number, text in enumerate(path.read_text().splitlines(), 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
            rows[str(row["frame"])] = row
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise SystemExit(f"compare: {path}:{number}: not a frame's verdict: {error!r}") from error
    return rows


def matched(first: list[dict], second: list[dict], iou_min: float) -> list[tuple[dict, dict | None]]:
    """Each detection of the first with the nearest free one of its class in the second, highest scores first."""
    free = list(second)
    pairs: list[tuple[dict, dict | None]] = []
    for one in sorted(first, key=lambda d: -d["score"]):
        same = [d for d in free if d["class"] == one["class"]]
        boxes = np.array([d["box"] for d in same], float).reshape(-1, 4)
        iou = evaluate.box_iou(np.array([one["box"]], float), boxes)[0]
        best = same[int(iou.argmax())] if len(same) and iou.max() > iou_min else None
        if best is not None:
            free.remove(best)
        pairs.append((one, best))
    return pairs


def compare(first: dict[str, dict], second: dict[str, dict], score_min: float, iou_min: float) -> dict:
    """Everything that the command prints but mAP, as a dictionary."""
    common = sorted(first.keys() & second.keys())
    different = [
        name for name in common
        if any(first[name].get(key) != second[name].get(key) for key in ("verdict", "route"))
    ]
    detections = missing = 0
    score_difference = box_difference = distance_difference = 0.0
    for name in common:
        one, other = first[name], second[name]
        wanted = [d for d in one["detections"] if d["score"] >= score_min]
        for a, b in matched(wanted, other["detections"], iou_min):
            detections += 1
            if b is None:
                missing += 1
                continue
            score_difference = max(score_difference, abs(a["score"] - b["score"]))
            box_difference = max(box_difference, float(np.abs(np.subtract(a["box"], b["box"])).max()))
        if one.get("distance") is not None and other.get("distance") is not None:
            distance_difference = max(distance_difference, abs(one["distance"] - other["distance"]))
    return {
        "frames": len(common), "only_in_one": len(first.keys() ^ second.keys()), "different_verdicts": different,
        "detections": detections, "missing": missing, "score_difference": score_difference,
        "box_difference_px": box_difference, "distance_difference": distance_difference,
    }


def mean_ap(path: Path, truth: Path) -> float:
    """In percent, as evaluate.py computes it."""
    return evaluate.evaluate(evaluate.read_frames([path], truth), 0.5, 0.33, 0)["mAP"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--truth", type=Path, help="the DeepPCB folder")
    parser.add_argument("--score-min", type=float, default=0.25)
    parser.add_argument("--iou", type=float, default=0.7)
    parser.add_argument("--map-difference", type=float, default=0.1, help="points of mAP that may lie between them")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    result = compare(read(options.first), read(options.second), options.score_min, options.iou)
    same = result["frames"] > 0 and not result["different_verdicts"] and result["only_in_one"] == 0
    if options.truth:
        result["mAP"] = [mean_ap(path, options.truth) for path in (options.first, options.second)]
        same = same and abs(result["mAP"][0] - result["mAP"][1]) <= options.map_difference
    if options.json:
        print(json.dumps(result, indent=2))
        return 0 if same else 1
    print(f"{result['frames']} frames in both, {result['only_in_one']} in one only; "
          f"{len(result['different_verdicts'])} verdicts differ")
    for name in result["different_verdicts"][:20]:
        print(f"  {name}")
    print(f"{result['detections']} detections, {result['missing']} of them missing; largest differences: "
          f"score {result['score_difference']:.4f}, box {result['box_difference_px']:.2f} px, "
          f"distance {result['distance_difference']:.4f}")
    if "mAP" in result:
        print("mAP {:.2f} and {:.2f}".format(*result["mAP"]))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
