#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Resolve requirements*.in for this platform and write requirements.lock with hashes.

Run it with the interpreter that the project uses (Debian 12: Python 3.11, x86_64):

    .venv/bin/python setup/lock.py

pip resolves (`--dry-run --report`), so no further tool is needed and the lock names exactly
the wheels that `pip install` would take. The lock is complete: setup.sh installs it with
`--no-deps`, because the wheels of requirements-headers.in come without what they depend on.
"""

import json
import platform
import subprocess
import sys
from pathlib import Path

SETUP = Path(__file__).resolve().parent


def resolve(requirements: Path, *options: str) -> list[dict]:
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
        "--only-binary", ":all:", *options, "--report", "-", "--requirement", str(requirements),
    ]
    report = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(report)["install"]


def merge(*lists: list[dict]) -> list[dict]:
    merged: dict[str, dict] = {}
    for entry in (entry for entries in lists for entry in entries):
        name, version = entry["metadata"]["name"], entry["metadata"]["version"]
        other = merged.setdefault(name.lower(), entry)["metadata"]["version"]
        if other != version:
            sys.exit(f"lock: {name} is wanted as {other} and as {version}; make the lists agree")
    return list(merged.values())


def lock_lines(entries: list[dict]) -> list[str]:
    lines = []
    for entry in sorted(entries, key=lambda e: e["metadata"]["name"].lower()):
        metadata = entry["metadata"]
        sha256 = entry["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{metadata['name'].lower()}=={metadata['version']} \\")
        lines.append(f"    --hash=sha256:{sha256}")
    return lines


def main() -> None:
    version = ".".join(platform.python_version_tuple()[:2])
    header = [
        "# Written by setup/lock.py from requirements.in and requirements-headers.in; do not edit by hand.",
        f"# Wheels for Python {version}, {platform.system()} {platform.machine()}.",
    ]
    entries = merge(resolve(SETUP / "requirements.in"),
                    resolve(SETUP / "requirements-headers.in", "--no-deps"))
    (SETUP / "requirements.lock").write_text("\n".join(header + lock_lines(entries)) + "\n")


if __name__ == "__main__":
    main()
