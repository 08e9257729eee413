#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check (or with --write, restore) the format of every C++ file with clang-format-19."""

import subprocess
import sys
from pathlib import Path

import rules

ROOT = Path(__file__).resolve().parents[2]
CLANG_FORMAT = "clang-format-19"


def cpp_files(root: Path) -> list[str]:
    suffixes = {".cc", ".h", ".cu", ".cuh"}
    return [str(f) for f in rules.files(root) if f.suffix in suffixes]


def format_findings(root: Path) -> list[str]:
    """Files that clang-format would change."""
    names = cpp_files(root)
    if not names:
        return []
    done = subprocess.run([CLANG_FORMAT, "--dry-run", "-Werror", *names], cwd=root,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode == 0:
        return []
    changed = {line.split(":")[0] for line in done.stderr.splitlines() if ": error: " in line}
    return [f"{name}: not formatted; run: make format" for name in sorted(changed)] or [done.stderr]


def main() -> int:
    if "--write" in sys.argv[1:]:
        return subprocess.run([CLANG_FORMAT, "-i", *cpp_files(ROOT)], cwd=ROOT).returncode
    findings = format_findings(ROOT)
    print("\n".join(findings))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
