# SPDX-License-Identifier: Apache-2.0
"""What every benchmark script says of its run, and how it judges and keeps the figures."""

import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def machine() -> dict:
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {"cpu": model[1] if model else platform.processor(),
            "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(),
            "load_at_start": os.getloadavg()[0]}


def versions() -> dict:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    import openvino
    return {"takt": git("rev-parse", "HEAD") or "unknown",
            "takt_changed_files": len(git("status", "--porcelain", "--untracked-files=no").splitlines()),
            "openvino": openvino.__version__}


def shown(word: str) -> str:
    """A word of a command without the place of the checkout or of temporary files."""
    word = word.replace(str(ROOT) + "/", "")
    return re.sub(re.escape(tempfile.gettempdir()) + r"/[^/ ]+", "TEMPORARY", word)


class Goals:
    """Figures beside their goals, printed as they are judged, and what was missed."""

    def __init__(self, bench: str):
        self.bench = bench
        self.machine = machine()
        self.missed: list[str] = []

    def judge(self, name: str, met: bool, text: str) -> None:
        print(f"  {'met   ' if met else 'MISSED'}  {text}")
        if not met:
            self.missed.append(name)

    def finish(self, body: dict) -> int:
        """Writes bench/results/BENCH-DATE.json; the exit code of the script."""
        today = str(datetime.date.today())
        out = ROOT / "bench" / "results" / f"{self.bench}-{today}.json"
        out.write_text(json.dumps({
            "date": today, "machine": self.machine, "versions": versions(),
            "command": " ".join([f"bench/{self.bench}.py", *sys.argv[1:]]), **body}) + "\n")
        print(f"samples: {out.relative_to(ROOT)}")
        print("goals met" if not self.missed else f"goals missed: {', '.join(self.missed)}")
        return 1 if self.missed else 0
