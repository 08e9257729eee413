#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run the demo's line while its workers are killed, and count what that costs.

Three runs of build/takt demo, each for --seconds: without kills, for the lateness of verdicts on an idle
machine; with a kill -9 of one worker after the other, one every --every seconds, for the time until it
serves again; and with a kill -9 of each worker every --every seconds. The last leaves workers little
time to serve between two kills: a worker that is killed three times without a good batch rests
(workers.circuit_failures), and what it would have answered is answered by its fallback. Prints each
figure beside its goal and writes the summaries to bench/results/recovery-DATE.json.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _results import ROOT, Goals

RECOVERY_MS_MAX = 2000
LATENESS_P999_MS_MAX = 2
LATENESS_MAX_MS_MAX = 20


def workers(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += [int(child) for child in (task / "children").read_text().split()]
        except FileNotFoundError:  # a thread that has just ended
            pass
    return found


def started(pid: int) -> int:
    """When, in ticks since the machine started; of one that has ended: never."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    except FileNotFoundError:
        return sys.maxsize


def run(seconds: float, load: float, folder: Path, every: float | None = None,
        at_once: bool = False) -> dict:
    summary = folder / "summary.json"
    command = [str(ROOT / "build" / "takt"), "demo", "--no-view", f"--seconds={seconds}",
               f"--load={load}", "--summary", str(summary)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "the camera runs" in line:
                break
        kills = 0
        if every is not None:
            end = time.monotonic() + seconds
            while time.monotonic() < end and process.poll() is None:
                time.sleep(every)
                # The oldest first: the one that was not killed for longest.
                for pid in sorted(workers(process.pid), key=started)[:None if at_once else 1]:
                    try:
                        os.kill(pid, signal.SIGKILL)
                        kills += 1
                    except ProcessLookupError:
                        pass
        process.stderr.read()
        code = process.wait()
    return {"exit_code": code, "kills": kills, **json.loads(summary.read_text())}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--load", type=float, default=0.3, help="share of the capacity")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two kills")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        calm = run(options.seconds, options.load, Path(folder))
        killed = run(options.seconds, options.load, Path(folder), options.every)
        each = run(options.seconds, options.load, Path(folder), options.every, at_once=True)

    goals = Goals("recovery")
    for title, result in (("without kills", calm), ("one after the other", killed),
                          ("each at once", each)):
        line = next(iter(result["lines"].values()))
        restarts = sum(worker["restarts"] for worker in result["workers"])
        print(f"{title}: {line['accepted']} frames, {line['verdicts']} verdicts, "
              f"{line['by_fallback']} by fallback; {result['kills']} kills, {restarts} restarts")
        goals.judge(f"{title}: verdicts", line["accepted"] == line["verdicts"] and not result["exit_code"],
             f"a verdict for every frame, exit code {result['exit_code']}")
        lateness = line["lateness"]
        goals.judge(f"{title}: lateness",
             lateness["p999_us"] <= 1000 * LATENESS_P999_MS_MAX
             and lateness["max_us"] <= 1000 * LATENESS_MAX_MS_MAX,
             f"verdicts behind their deadline: p99.9 {lateness['p999_us'] / 1000:.2f} ms, max "
             f"{lateness['max_us'] / 1000:.2f} ms; goals {LATENESS_P999_MS_MAX}, {LATENESS_MAX_MS_MAX}")
    recovery = max(worker["recovery_max_ms"] for worker in killed["workers"])
    goals.judge("recovery", recovery <= RECOVERY_MS_MAX,
         f"back to full service after {recovery:.0f} ms at most; goal {RECOVERY_MS_MAX}")

    return goals.finish({"calm": calm, "killed": killed, "killed_each": each})


if __name__ == "__main__":
    sys.exit(main())
