#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare well-known networks on a GPU with ONNX Runtime on the CPU, and write every comparison to one file.

    python tests/models/export_zoo.py FOLDER
    bench/gpu_zoo.py FOLDER

FOLDER holds what export_zoo.py writes: NAME.onnx, and NAME.json with an input and the reference's outputs in
FP32. Each network is compiled and run by takt-bench-models, several beside each other, so that times say nothing.
An output passes with a cosine of at least 0.99999 in FP32 and 0.999 in FP16. Networks whose outputs are ordered by
scores are compared in FP32 alone: scores that are nearly the same change places in FP16. Exit code: 0 where all pass.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _results import ROOT, machine, shown

BATCH = 2  # of the references
COSINE_MIN = {"fp32": 0.99999, "tf32": 0.999, "fp16": 0.999, "bf16": 0.99}
SECONDS_MAX = 300  # for one network


def is_ordered(folder: Path, name: str) -> bool:
    return json.loads((folder / f"{name}.json").read_text()).get("ordered_by_score", False)


def compare(options: argparse.Namespace, start_s: float, name: str, precision: str) -> dict:
    entry: dict = {"model": name, "precision": precision}
    left_s = min(SECONDS_MAX, options.seconds - (time.monotonic() - start_s))
    if left_s < 5:
        return entry | {"error": "skipped: no time was left"}
    environment = dict(os.environ)
    if options.libraries:
        environment["LD_LIBRARY_PATH"] = str(options.libraries)
    words = [str(options.programs / "takt-bench-models"), str(options.folder / f"{name}.onnx"), "--precision", precision,
             "--batch", str(BATCH), "--effort", "fast", "--lanes", "1", "--repeats", "0",
             "--check", str(options.folder / f"{name}.json")]
    try:
        done = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=left_s)
    except subprocess.TimeoutExpired:
        return entry | {"error": f"stopped after {left_s:.0f} s"}
    if done.returncode != 0:
        return entry | {"error": f"exit code {done.returncode}: {(done.stderr or done.stdout)[-1500:]}"}
    measured = json.loads(done.stdout)
    kept = ("device", "build_seconds", "planning_seconds", "trying_seconds", "check")
    return entry | {key: measured[key] for key in kept if key in measured}


def cosines(entry: dict) -> list[float]:
    return [output["cosine"] for output in entry.get("check", []) if "cosine" in output]


def passes(entry: dict) -> bool:
    found = cosines(entry)
    return bool(found) and all(output.get("same_size") for output in entry["check"]) and \
        min(found) >= COSINE_MIN[entry["precision"]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of networks and references")
    parser.add_argument("--programs", type=Path, default=ROOT / "build", help="folder of takt-bench-models")
    parser.add_argument("--libraries", type=Path, help="folder of libraries for it")
    parser.add_argument("--precisions", default="fp16,fp32", help=f"of {','.join(COSINE_MIN)}")
    parser.add_argument("--only", help="names, separated by commas")
    parser.add_argument("--jobs", type=int, default=4, help="networks beside each other")
    parser.add_argument("--seconds", type=float, default=1800, help="for everything")
    parser.add_argument("--out", type=Path, help="default: bench/results/gpu-zoo-DATE.json")
    options = parser.parse_args()
    precisions = options.precisions.split(",")
    if unknown := set(precisions) - set(COSINE_MIN):
        parser.error(f"no precision {', '.join(sorted(unknown))}; there are {', '.join(COSINE_MIN)}")
    names = sorted(path.stem for path in options.folder.glob("*.json") if path.with_suffix(".onnx").exists())
    if options.only:
        names = [name for name in names if name in options.only.split(",")]
    if not names:
        parser.error(f"{options.folder}: no network with its reference; tests/models/export_zoo.py writes them")

    compared = [(precision, name) for precision in precisions for name in names
                if precision == "fp32" or not is_ordered(options.folder, name)]
    if not compared:
        parser.error("these networks are ordered by scores and compared in FP32 alone: --precisions fp32")
    today = str(datetime.date.today())
    body = {"date": today, "machine": machine(), "command": shown(" ".join(["bench/gpu_zoo.py", *sys.argv[1:]])),
            "reference": "ONNX Runtime on the CPU, FP32, models of tests/models/export_zoo.py",
            "cosine_min": {p: COSINE_MIN[p] for p in precisions}, "models": []}
    start_s = time.monotonic()
    failed = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = [pool.submit(compare, options, start_s, name, precision) for precision, name in compared]
        for run in runs:
            entry = run.result()
            entry["passed"] = passes(entry)
            failed += not entry["passed"]
            body["models"].append(entry)
            said = entry.get("error") or f"cosine {min(cosines(entry), default=0.0):.7f}"
            print(f"{'passed' if entry['passed'] else 'FAILED'}  {entry['model']} {entry['precision']}: {said}", flush=True)
    body["seconds"] = round(time.monotonic() - start_s, 1)
    out = options.out or ROOT / "bench" / "results" / f"gpu-zoo-{today}.json"
    out.write_text(json.dumps(body, indent=1) + "\n")
    print(f"{len(body['models']) - failed} passed, {failed} failed; written: {shown(str(out))}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
