#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Build and run the test suites, and say in the last line how many tests passed.

    .venv/bin/python tests/run.py test            what CI runs (make test)
    .venv/bin/python tests/run.py check           the inner loop (make check)
    .venv/bin/python tests/run.py unit e2e        single suites by name

Every suite runs, also after one has failed. A suite that can't be built, dies, exceeds its limit
or runs no test counts as a failed test. Reports and logs: build/test-results.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "test-results"
PRESET_FOLDER = {"release": "build", "asan": "build/asan", "tsan": "build/tsan"}


@dataclass(frozen=True)
class Suite:
    name: str
    title: str
    limit_minutes: float  # killed after this, which a slow machine stays below; CONTRIBUTING.md has
    # the minutes that it takes
    preset: str = ""  # built before the suite runs; empty: nothing to build
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def pytest(folder: str, *options: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "pytest", folder, "-c", "tests/pytest.ini",
            "--junitxml={report}", *options)


def ctest(preset: str) -> tuple[str, ...]:
    return ("ctest", "--test-dir", PRESET_FOLDER[preset], "--label-regex", "unit",
            "--output-junit", "{report}", "--output-on-failure", "--no-tests=error",
            "--test-output-size-passed", "4096", "--parallel", "{jobs}")


def fuzzers() -> tuple[str, ...]:
    return (sys.executable, "tests/fuzz/run_fuzzers.py", "--junitxml={report}", "--jobs={jobs}")


SUITES = [
    Suite("tidy", "format, layering and tidiness", 5, command=pytest("tests/tidy")),
    Suite("unit", "unit tests", 40, "release", ctest("release")),
    Suite("asan", "unit tests under the address and undefined-behaviour sanitizers", 35, "asan",
          ctest("asan")),
    Suite("fuzz-short", "the same as fuzz, 10 s a target, from one seed", 15, "asan", fuzzers(),
          {"TAKT_FUZZ_SECONDS": "10", "TAKT_FUZZ_SEED": "1"}),
    Suite("e2e", "end to end with the program", 20, "release",
          pytest("tests/e2e", "-m", "not long")),
    Suite("tsan", "unit tests under the thread sanitizer", 60, "tsan", ctest("tsan")),
    Suite("properties", "unit tests with 100 times as many random cases", 60, "release",
          ctest("release"), {"RC_PARAMS": "max_success=10000", "TAKT_LONG": "1"}),
    Suite("e2e-long", "end to end, the long ones", 120, "release",
          pytest("tests/e2e", "-m", "long")),
    Suite("fuzz", "libFuzzer on what clients, files and processes bring, TAKT_FUZZ_SECONDS a target",
          120, "asan", fuzzers()),
    Suite("lint", "clang-tidy over every source file", 60, "release",
          (sys.executable, "tests/tidy/lint.py", "--junitxml={report}", "--jobs={jobs}")),
]

GROUPS = {
    "check": ["tidy", "unit"],
    "test": ["tidy", "unit", "asan", "fuzz-short", "e2e"],
    "long": ["tsan", "properties", "e2e-long", "fuzz", "lint"],
}


@dataclass
class Outcome:
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    minutes: float = 0.0


def run_bounded(command: list[str], limit_s: float, environment: dict[str, str]) -> str:
    """Run a command to its end; returns "" or what went wrong. Its children die with it."""
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True,
                               env={**os.environ, **environment})
    try:
        code = process.wait(timeout=max(limit_s, 1))
        return "" if code == 0 else f"exit code {code}"
    except subprocess.TimeoutExpired:
        return "exceeded its limit"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def build_commands(preset: str, jobs: int) -> list[list[str]]:
    folder = PRESET_FOLDER[preset]
    commands = [["cmake", "--build", folder, "-j", str(jobs)]]
    if not (ROOT / folder / "build.ninja").exists():
        commands.insert(0, ["cmake", "--preset", preset])
    return commands


def skip_reason(case: ET.Element) -> str:
    # GoogleTest prints the reason after "file:line: Skipped"; pytest puts it into the element.
    printed = re.search(r": Skipped\n(.*)", case.findtext("system-out") or "")
    if printed and printed.group(1).strip():
        return printed.group(1).strip()
    element = case.find("skipped")
    return (element.get("message") or "") if element is not None else "not run"


def read_report(report: Path, outcome: Outcome) -> None:
    for case in ET.parse(report).iter("testcase"):
        # pytest's class name is the file; ctest repeats the name.
        place = case.get("classname", "")
        name = case.get("name", "?")
        full_name = name if place in ("", name) else f"{place}: {name}"
        problem = case.find("failure")
        if problem is None:
            problem = case.find("error")
        if problem is not None:
            # One line of why: of a long log often only the end is kept.
            why = (problem.get("message") or "").split("\n")[0][:200]
            outcome.failed.append(f"{full_name} ({why})" if why else full_name)
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            outcome.skipped.append(f"{full_name} ({skip_reason(case)})")
        else:
            outcome.passed += 1


def run_suite(suite: Suite, jobs: int) -> Outcome:
    print(f"\n== {suite.name}: {suite.title}", flush=True)
    outcome = Outcome()
    start = time.monotonic()
    deadline = start + suite.limit_minutes * 60
    report = RESULTS / f"{suite.name}.xml"
    report.unlink(missing_ok=True)
    command = [part.format(report=report, jobs=jobs) for part in suite.command]
    environment = {"TAKT_PROGRAM": str(ROOT / "build" / "takt"), **suite.environment}

    problem = ""
    for step in build_commands(suite.preset, jobs) if suite.preset else []:
        problem = run_bounded(step, deadline - time.monotonic(), environment)
        if problem:
            outcome.failed.append(f"build: {problem}")
            break
    if not problem:
        problem = run_bounded(command, deadline - time.monotonic(), environment)
        try:
            read_report(report, outcome)
        except (OSError, ET.ParseError) as error:
            outcome.failed.append(f"no usable report: {error}")
        if not outcome.failed and not outcome.passed and not outcome.skipped:
            problem = f"ran no test ({problem or 'exit code 0'})"
        if problem and not outcome.failed:
            outcome.failed.append(problem)
    outcome.minutes = (time.monotonic() - start) / 60
    return outcome


def print_summary(outcomes: dict[str, Outcome]) -> None:
    for kind in ("skipped", "failed"):
        names = [f"{suite}: {name}" for suite, o in outcomes.items() for name in getattr(o, kind)]
        if names:
            print(f"\n{kind}:")
            print("\n".join(f"  {name}" for name in names))
    print(f"\n{'suite':<12}{'passed':>8}{'failed':>8}{'skipped':>9}{'minutes':>9}")
    for suite, o in outcomes.items():
        print(f"{suite:<12}{o.passed:>8}{len(o.failed):>8}{len(o.skipped):>9}{o.minutes:>9.1f}")
    print()


def selected_suites(names: list[str]) -> list[Suite]:
    wanted = [suite for name in names for suite in GROUPS.get(name, [name])]
    return [suite for suite in SUITES if suite.name in wanted]


def main() -> int:
    choices = [*GROUPS, *(suite.name for suite in SUITES)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="+", choices=choices, metavar="|".join(choices))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()

    RESULTS.mkdir(parents=True, exist_ok=True)
    outcomes = {s.name: run_suite(s, arguments.jobs) for s in selected_suites(arguments.what)}
    print_summary(outcomes)
    passed = sum(o.passed for o in outcomes.values())
    failed = sum(len(o.failed) for o in outcomes.values())
    skipped = sum(len(o.skipped) for o in outcomes.values())
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
