#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Five million requests through worker processes that fail and are killed.

Builds and runs build/takt-soak-tests, which asserts that every request is answered once and that no
process, descriptor, slot or shared memory is left; here its samples are held against the goals. Writes
them to bench/results/soak-DATE.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _results import ROOT, Goals

# Of the gateway, from the end of the warm-up to the end of the run: a leak of one byte a request
# would be 5 MB, one descriptor a restart hundreds.
RSS_GROWTH_MIB_MAX = 4
DESCRIPTORS_GROWTH_MAX = 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=5_000_000)
    parser.add_argument("--limit-minutes", type=float, default=30)
    options = parser.parse_args()
    target = "takt-soak-tests"
    subprocess.run(["cmake", "--build", str(ROOT / "build"), "--target", target], check=True,
                   stdin=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run(
            [ROOT / "build" / target, "--gtest_filter=Soak.*"], cwd=ROOT, stdin=subprocess.DEVNULL,
            timeout=options.limit_minutes * 60,
            env={**os.environ, "TAKT_SOAK_REQUESTS": str(options.requests),
                 "TAKT_SOAK_REPORT": str(report)})
        if not report.exists():
            sys.exit(f"soak: the run ended without a report (exit code {done.returncode})")
        result = json.loads(report.read_text())

    goals = Goals("soak")
    restarts = sum(worker["restarts"] for worker in result["workers"])
    hangs = sum(worker["hangs"] for worker in result["workers"])
    print(f"{result['requests']} requests in {result['seconds']:.0f} s: "
          f"{result['requests_per_second']:.0f} requests/s, {result['rows_per_batch']:.1f} a batch")
    print(f"{result['signals']} signals, {restarts} restarts, {hangs} hangs; answers: "
          + ", ".join(f"{kind} {count}" for kind, count in result["answers"].items()))
    rss = [sample[1] / 2**20 for sample in result["samples"]]
    print(f"resident: {rss[0]:.1f} MiB at the start, {max(rss):.1f} at most, {rss[-1]:.1f} at the end")
    goals.judge("counts", done.returncode == 0, "every request answered once, nothing left behind")
    growth = result["rss_growth_bytes"] / 2**20
    goals.judge("memory", growth <= RSS_GROWTH_MIB_MAX,
         f"resident memory grew by {growth:.2f} MiB; goal {RSS_GROWTH_MIB_MAX}")
    descriptors = result["descriptors_growth"]
    goals.judge("descriptors", descriptors <= DESCRIPTORS_GROWTH_MAX,
         f"open descriptors grew by {descriptors:.2f}; goal {DESCRIPTORS_GROWTH_MAX}")

    return goals.finish({
        "samples_are": ["seconds", "rss_bytes", "descriptors", "memfds", "answered"], **result})


if __name__ == "__main__":
    sys.exit(main())
