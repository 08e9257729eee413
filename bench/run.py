#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run one benchmark (make bench BENCH=name), or list them.

A benchmark is either a script bench/<name>.py, started once the program is built, or a Google
Benchmark program declared with takt_add_bench(<name> ...) in bench/CMakeLists.txt.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

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
            return subprocess.run([ROOT / "build" / f"takt-bench-{arguments.name}", *passed_on],
                                  cwd=ROOT).returncode
        build("takt", arguments.jobs)
    except subprocess.CalledProcessError as error:
        return error.returncode
    script = scripts()[arguments.name]
    return subprocess.run([sys.executable, script, *passed_on], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
