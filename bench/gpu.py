#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measure models on a GPU, takt beside PyTorch, and write all of it to one file.

    bench/gpu.py --python path/to/python
    bench/gpu.py --tables bench/results/gpu-models-DATE.json --compiled bench/results/gpu-compiled-DATE.json

On a machine with an NVIDIA GPU: exports the models and measures PyTorch (bench/gpu_models.py), runs
takt-bench-models and takt-bench-gpu-serving, prints each figure beside its goal and writes everything to
bench/results/gpu-models-DATE.json, after each step anew. Steps for which no time is left are skipped. Plans
are kept in --folder, where a second run finds models and plans. With --tables it only writes docs/gpu-figures.md from
such a file, and with --compiled from what gpu_models.py --compile wrote as well. Needs nothing but Python itself;
bench/README.md says how programs get to another machine.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import _gpu_figures
from _results import ROOT, Goals, shown

PARTS = ("pytorch", "resnet50", "yolov8n", "yolov8s", "yolov8m")


@dataclass
class Step:
    part: str
    group: str  # of the result: "models", "beside" (tuned for instances beside each other) or "serving"
    model: str
    arguments: list[str]
    seconds_max: float

    @property
    def program(self) -> str:
        return "takt-bench-gpu-serving" if self.group == "serving" else "takt-bench-models"


STEPS = (
    Step("resnet50", "models", "resnet50", ["--batch", "1,32,128", "--layers", "--limits"], 100),
    Step("resnet50", "beside", "resnet50", ["--batch", "1", "--instances", "8", "--concurrent", "8"], 60),
    Step("resnet50", "serving", "resnet50",
         ["--inputs", "tensors,images", "--batch", "32,128", "--instances", "2,3,4", "--engine"], 70),
    Step("yolov8n", "models", "yolov8n", ["--batch", "1,32,64", "--layers"], 150),
    Step("yolov8n", "serving", "yolov8n-end2end", ["--batch", "32,64", "--instances", "2,3,4", "--engine"], 120),
    Step("yolov8s", "models", "yolov8s", ["--batch", "1,32"], 90),
    Step("yolov8m", "models", "yolov8m", ["--batch", "1,32"], 120),
)


class Watch:
    """The device's clock and power while something runs, by nvidia-smi; nothing where it doesn't work."""

    FIELDS = ("clocks.sm", "power.draw")

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.printed = ""

    def __enter__(self) -> Watch:
        words = ["nvidia-smi", "-i", "0", f"--query-gpu={','.join(self.FIELDS)}", "--format=csv,noheader,nounits",
                 "-lms", "100"]
        with contextlib.suppress(OSError):
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=subprocess.DEVNULL, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.printed = self.process.communicate(timeout=5)[0]
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def summary(self) -> dict:
        rows = []
        for line in self.printed.rpartition("\n")[0].splitlines():
            try:
                rows.append([float(word) for word in line.split(",")])
            except ValueError:  # "[N/A]"
                continue
        rows = [row for row in rows if len(row) == len(self.FIELDS)]
        return {field: {"min": min(column), "median": statistics.median(column), "max": max(column)}
                for field, column in zip(self.FIELDS, zip(*rows))}


@dataclass
class Run:
    options: argparse.Namespace
    goals: Goals
    out: Path
    start_s: float = field(default_factory=time.monotonic)
    body: dict = field(default_factory=dict)

    def left_s(self) -> float:
        return self.options.seconds - (time.monotonic() - self.start_s)

    def write(self) -> None:
        self.body["seconds"] = round(time.monotonic() - self.start_s, 1)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(self.body, indent=1) + "\n")

    def command(self, name: str, words: list[str], seconds_max: float,
                environment: dict[str, str] | None = None) -> str | None:
        """What it printed; None where it failed or no time was left, which the result says."""
        limit = min(seconds_max, self.left_s())
        entry: dict = {"step": name, "command": shown(" ".join(words))}
        self.body["steps"].append(entry)
        start_s = time.monotonic()
        printed = None
        if limit < 5:
            entry["error"] = "skipped: no time was left"
        else:
            watch = Watch()
            try:
                with watch:
                    done = subprocess.run(words, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                                          capture_output=True, text=True, timeout=limit)
                printed = done.stdout if done.returncode == 0 else None
                if done.returncode != 0:
                    entry["error"] = f"exit code {done.returncode}: {(done.stderr or done.stdout)[-2000:]}"
            except subprocess.TimeoutExpired:
                entry["error"] = f"stopped after {limit:.0f} s"
            except OSError as error:
                entry["error"] = f"not started: {error}"
            entry["device"] = watch.summary()
        entry["seconds"] = round(time.monotonic() - start_s, 1)
        print(f"{name}: {entry.get('error', 'done')} ({entry['seconds']} s)", flush=True)
        return printed


def versions() -> dict:
    """Without openvino, which a machine that only measures lacks."""
    def git(*words: str) -> str:
        if shutil.which("git") is None:
            return ""
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    return {"takt": git("rev-parse", "HEAD") or "unknown",
            "takt_changed_files": len(git("status", "--porcelain", "--untracked-files=no").splitlines())}


def measure_pytorch(run: Run) -> None:
    options = run.options
    words = [options.python, str(ROOT / "bench" / "gpu_models.py"), str(options.folder), "--seconds",
             str(options.pytorch_seconds)]
    missing = [s.model for s in STEPS if not (options.folder / f"{s.model}.onnx").exists()]
    if not missing:
        words.append("--skip-export")
    # Its exit code only says that something failed; what was measured lies in the file.
    run.command("pytorch", words, options.pytorch_seconds + 90)


def read_pytorch(run: Run) -> None:
    """Of this run, or of an earlier one in the same folder."""
    file = run.options.folder / "pytorch.json"
    if file.exists():
        run.body["pytorch"] = json.loads(file.read_text())
        run.body["versions"] |= {key: run.body["pytorch"].get(key) for key in ("torch", "cuda", "cudnn")}


def measure_takt(run: Run, step: Step) -> None:
    options = run.options
    environment = dict(os.environ)
    if options.libraries:
        environment["LD_LIBRARY_PATH"] = str(options.libraries)
    words = [str(options.programs / step.program), str(options.folder / f"{step.model}.onnx"),
             *step.arguments, "--effort", options.effort,
             *([] if "--concurrent" in step.arguments else ["--concurrent", str(options.concurrent)]),
             "--plan", str(options.folder / f"fp16-{options.effort}.taktplan")]
    printed = run.command(f"{step.group} {step.model}", words, step.seconds_max, environment)
    if printed is None:
        return
    measured = json.loads(printed)
    run.body.setdefault("device", measured["device"])
    if "limits" in measured:
        run.body["limits"] = measured.pop("limits")
    run.body[step.group][step.model] = measured


def conclude(run: Run) -> int:
    body = run.body
    if "limits" in body:
        body["roofline"] = _gpu_figures.rooflines(body["models"], body["limits"])
    for measured in body["models"].values():
        measured.pop("layers", None)  # the rooflines have them
    body["figures"] = [figure.judge(body) for figure in _gpu_figures.FIGURES]
    for f in body["figures"]:
        beside = f"; PyTorch {_gpu_figures.number(f['pytorch'])}" if "pytorch" in f else ""
        run.goals.judge(f["name"], f["met"], f"{f['name']}: {_gpu_figures.number(f['takt'])} {f['unit']}, goal "
                                             f"{f['bound']} {_gpu_figures.number(f['goal'])}{beside}")
    run.write()
    print(f"written: {run.out}")
    print("goals met" if not run.goals.missed else f"goals missed: {', '.join(run.goals.missed)}")
    return 1 if run.goals.missed else 0


def write_tables(result: Path, compiled: Path | None) -> int:
    def place(file: Path) -> str:
        return str(file.resolve()).replace(str(ROOT) + "/", "")

    words = (json.loads(compiled.read_text()), place(compiled)) if compiled else ()
    text = _gpu_figures.markdown(json.loads(result.read_text()), place(result), *words)
    (ROOT / "docs" / "gpu-figures.md").write_text(text)
    print("written: docs/gpu-figures.md")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "gpu-models", help="of models and plans")
    parser.add_argument("--programs", type=Path, default=ROOT / "build", help="folder of takt-bench-*")
    parser.add_argument("--libraries", type=Path, help="folder of libraries that only takt's programs get")
    parser.add_argument("--python", default=sys.executable, help="one that has torch, torchvision and onnx")
    parser.add_argument("--effort", choices=("fast", "normal", "max"), default="normal")
    parser.add_argument("--concurrent", type=int, default=1,
                        help="instances beside each other that models are tuned for")
    parser.add_argument("--seconds", type=float, default=500, help="for everything")
    parser.add_argument("--pytorch-seconds", type=float, default=80, help="for measuring PyTorch")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {','.join(PARTS)}")
    parser.add_argument("--out", type=Path, help="default: bench/results/gpu-models-DATE.json")
    parser.add_argument("--tables", type=Path, metavar="RESULT", help="only write docs/gpu-figures.md from this file")
    parser.add_argument("--compiled", type=Path, metavar="RESULT", help="with --tables: of torch.compile")
    options = parser.parse_args()
    unknown = set(options.parts.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if options.compiled and not options.tables:
        parser.error("--compiled needs --tables")
    return options


def main() -> int:
    options = parse_arguments()
    if options.tables:
        return write_tables(options.tables, options.compiled)
    today = str(datetime.date.today())
    run = Run(options, Goals("gpu"), options.out or ROOT / "bench" / "results" / f"gpu-models-{today}.json")
    run.body = {"date": today, "machine": run.goals.machine, "versions": versions(),
                "command": shown(" ".join(["bench/gpu.py", *sys.argv[1:]])), "effort": options.effort,
                "concurrent": options.concurrent,
                "steps": [], "models": {}, "beside": {}, "serving": {}}
    options.folder.mkdir(parents=True, exist_ok=True)
    parts = options.parts.split(",")
    if "pytorch" in parts:
        measure_pytorch(run)
    read_pytorch(run)
    for step in STEPS:
        if step.part in parts:
            measure_takt(run, step)
            run.write()
    return conclude(run)


if __name__ == "__main__":
    sys.exit(main())
