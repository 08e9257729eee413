#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run the fuzz targets of the preset asan, each for TAKT_FUZZ_SECONDS (300); one test case each.

    .venv/bin/python tests/fuzz/run_fuzzers.py [--jobs N] [--junitxml FILE] [name ...]

Searches from the kept inputs (tests/fuzz/corpus) and from what earlier runs came to
(build/asan/fuzz/corpus). An input that breaks an invariant is written to build/asan/fuzz/found. With
TAKT_FUZZ_SEED the search is the same for the same program: in CI a failure belongs to the commit.
"""

import argparse
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "asan"
WORK = BUILD / "fuzz"
KEPT = Path(__file__).resolve().parent / "corpus"
WORDS = Path(__file__).resolve().parent / "dictionaries"
SECONDS = int(os.environ.get("TAKT_FUZZ_SECONDS", "300"))
SEED = int(os.environ.get("TAKT_FUZZ_SEED", "0"))  # 0: another one each time
# One input, in seconds and MiB: what takes longer or more is a finding too.
INPUT_SECONDS_MAX = 10
RSS_MIB_MAX = 2048
TIMEOUT_EXIT_CODE = 70  # libFuzzer's


def targets(wanted: list[str]) -> list[str]:
    names = sorted(folder.name for folder in KEPT.iterdir() if folder.is_dir())
    return [name for name in names if not wanted or name in wanted]


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(BUILD / f"takt-fuzz-{name}"), f"-timeout={INPUT_SECONDS_MAX}",
               f"-rss_limit_mb={RSS_MIB_MAX}", f"-artifact_prefix={WORK / 'found' / name}/", *arguments]
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")


def fuzz(name: str) -> tuple[int, str]:
    """Exit code and output of one target's run."""
    for folder in ("corpus", "found"):
        (WORK / folder / name).mkdir(parents=True, exist_ok=True)
    words = WORDS / f"{name}.dict"
    done = run(name, *([f"-dict={words}"] if words.exists() else []),
               f"-max_total_time={SECONDS}", f"-seed={SEED}", "-print_final_stats=1",
               str(WORK / "corpus" / name), str(KEPT / name))
    if done.returncode != TIMEOUT_EXIT_CODE:
        return done.returncode, done.stdout
    # libFuzzer's clock goes on while the machine is busy elsewhere: a slow input is slow again.
    slow = max((WORK / "found" / name).glob("timeout-*"), key=lambda file: file.stat().st_mtime)
    again = run(name, str(slow))
    if again.returncode == 0:
        slow.unlink()
        return 0, "Done, early: an input took long once, and not again"
    return again.returncode, done.stdout


def reason(code: int, output: str) -> str:
    """One line about a finding."""
    told = [line for line in output.splitlines() if line.startswith("SUMMARY: ")]
    return told[-1].removeprefix("SUMMARY: ") if told else f"exit code {code}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--junitxml", type=Path)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()

    names = targets(arguments.names)
    report = ET.Element("testsuite", name="fuzz", tests=str(len(names)))
    failures = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for name, (code, output) in zip(names, pool.map(fuzz, names)):
            stats = [line for line in output.splitlines() if line.startswith(("stat::", "Done"))]
            print(f"{name}: " + ("; ".join(stats) if code == 0 else f"exit code {code}"), flush=True)
            case = ET.SubElement(report, "testcase", classname="fuzz", name=name)
            if code != 0:
                failures += 1
                print(output[-8000:], flush=True)
                ET.SubElement(case, "failure", message=reason(code, output)).text = \
                    "".join(c for c in output[-8000:] if c.isprintable() or c == "\n")
    if arguments.junitxml:
        ET.ElementTree(report).write(arguments.junitxml)
    print(f"fuzz: {len(names)} targets, {failures} with findings (inputs: {WORK / 'found'})")
    return 1 if failures or not names else 0


if __name__ == "__main__":
    sys.exit(main())
