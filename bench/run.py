#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run one benchmark (make bench BENCH=name), or list them.

A benchmark is either a script bench/<name>.py, started once the program is built, or a Google
Benchmark program declared with takt_add_bench(<name> ...) in bench/CMakeLists.txt.
"""

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from _results import machine, shown, versions

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent


def scripts() -> dict[str, Path]:
    return {p.stem: p for p in sorted(BENCH.glob("*.py"))
            if p.stem != "run" and not p.stem.startswith("_")}


def programs() -> list[str]:
    declared = BENCH / "CMakeLists.txt"
    if not declared.exists():
        return []
    return re.findall(r"^takt_add_bench\((\S+)", declared.read_text(), re.MULTILINE)


def build(target: str, jobs: int) -> None:
    subprocess.run(["cmake", "--build", str(ROOT / "build"), "-j", str(jobs), "--target", target],
                   check=True, stdin=subprocess.DEVNULL)


def run_program(name: str, arguments: list[str]) -> int:
    """Runs it and keeps what it printed; a line of JSON as its result."""
    command = [str(ROOT / "build" / f"takt-bench-{name}"), *arguments]
    before = machine()
    lines = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            print(lines[-1], flush=True)
    results = [json.loads(line) for line in lines if line.startswith("{")]
    keep(name, {"command": shown(" ".join(command)), "machine": before, "versions": versions(),
                "results": results, "printed": [line for line in lines if line[:1] != "{"]})
    return process.returncode


def keep(name: str, run: dict) -> None:
    """Adds the run to those of today."""
    today = str(datetime.date.today())
    out = BENCH / "results" / f"{name}-{today}.json"
    runs = json.loads(out.read_text())["runs"] if out.exists() else []
    out.write_text(json.dumps({"date": today, "runs": [*runs, run]}, indent=1) + "\n")
    print(f"samples: {out.relative_to(ROOT)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments, passed_on = parser.parse_known_args()

    known = sorted({*scripts(), *programs()})
    if arguments.name not in known:
        if arguments.name:
            print(f"bench: no benchmark '{arguments.name}'", file=sys.stderr)
        print("benchmarks (make bench BENCH=name):", ", ".join(known) or "none")
        return 2 if arguments.name else 0

    try:
        if arguments.name in programs():
            build(f"takt-bench-{arguments.name}", arguments.jobs)
        if arguments.name not in scripts():
            return run_program(arguments.name, passed_on)
        build("takt", arguments.jobs)
    except subprocess.CalledProcessError as error:
        return error.returncode
    script = scripts()[arguments.name]
    return subprocess.run([sys.executable, script, *passed_on], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
