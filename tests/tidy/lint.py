#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy-19 over every source file of the release build; one test case a file.

    .venv/bin/python tests/tidy/lint.py [--jobs N] [--junitxml FILE] [path part ...]
"""

import argparse
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"


def compiled_sources(parts: list[str]) -> list[str]:
    entries = json.loads((BUILD / "compile_commands.json").read_text())
    names = {Path(e["file"]).relative_to(ROOT).as_posix() for e in entries}
    return sorted(n for n in names if not n.startswith("build/")
                  and (not parts or any(part in n for part in parts)))


def lint(name: str) -> str:
    """What clang-tidy says about a file; empty when it has nothing to say."""
    done = subprocess.run(["clang-tidy-19", "--quiet", "-p", str(BUILD), name], cwd=ROOT,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout or done.stderr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--junitxml", type=Path)
    parser.add_argument("parts", nargs="*")
    arguments = parser.parse_args()

    names = compiled_sources(arguments.parts)
    report = ET.Element("testsuite", name="lint", tests=str(len(names)))
    failures = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for number, (name, said) in enumerate(zip(names, pool.map(lint, names)), start=1):
            print(f"[{number}/{len(names)}] {name}", flush=True)
            case = ET.SubElement(report, "testcase", classname="clang-tidy", name=name)
            if said:
                failures += 1
                print(said, flush=True)
                ET.SubElement(case, "failure", message="clang-tidy").text = said
    if arguments.junitxml:
        ET.ElementTree(report).write(arguments.junitxml)
    print(f"clang-tidy: {len(names)} files, {failures} with findings")
    return 1 if failures or not names else 0


if __name__ == "__main__":
    sys.exit(main())
