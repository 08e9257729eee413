#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's perf_analyzer, unmodified, against `takt serve`: every protocol, shared memory, concurrency
and Poisson arrivals, with its view of the server's statistics and metrics.

Writes the command lines, their exit codes and figures to bench/results/perf_analyzer-DATE.json. The
goal is that each run ends well; figures are only worth something on an idle machine.
"""

import argparse
import csv
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from _results import ROOT, Goals, shown

sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import program as programs  # noqa: E402
import triton_server  # noqa: E402

LIMIT_S = 600  # of a run
SETUP = ROOT.parent / "shared/peers/perf_analyzer/get_perf_analyzer.sh"
SIMPLE = ["-m", "simple"]
LARGE = ["-m", "identity_fp32", "--shape", "INPUT0:150528"]  # 588 KiB each way
SYSTEM = ["--shared-memory", "system", "--output-shared-memory-size"]
SWEEP = ["--concurrency-range", "1:4"]
POISSON = ["--request-rate-range", "200:600:200", "--request-distribution", "poisson"]
STREAM = ["--streaming", "-a"]

# Name, protocol, what else perf_analyzer is told.
RUNS = [
    ("HTTP", "http", [*SIMPLE, *SWEEP]),
    ("HTTP, JSON", "http", [*SIMPLE, *SWEEP, "--input-tensor-format", "json",
                            "--output-tensor-format", "json"]),
    ("HTTP, asynchronous", "http", [*SIMPLE, *SWEEP, "-a"]),
    ("HTTP, batches of 8", "http", [*SIMPLE, *SWEEP, "-b", "8"]),
    ("HTTP, strings", "http", ["-m", "simple_string", *SWEEP, "--string-data", "7"]),
    ("HTTP, large", "http", [*LARGE, *SWEEP]),
    ("HTTP, shared memory", "http", [*SIMPLE, *SWEEP, *SYSTEM, "4096"]),
    ("HTTP, large, shared memory", "http", [*LARGE, *SWEEP, *SYSTEM, "602112"]),
    ("HTTP, Poisson", "http", [*SIMPLE, *POISSON]),
    ("gRPC", "grpc", [*SIMPLE, *SWEEP]),
    ("gRPC, asynchronous", "grpc", [*SIMPLE, *SWEEP, "-a"]),
    ("gRPC, compressed", "grpc", [*SIMPLE, *SWEEP, "--grpc-compression-algorithm", "gzip"]),
    ("gRPC, strings", "grpc", ["-m", "simple_string", *SWEEP, "--string-data", "7"]),
    ("gRPC, large", "grpc", [*LARGE, *SWEEP]),
    ("gRPC, shared memory", "grpc", [*SIMPLE, *SWEEP, *SYSTEM, "4096"]),
    ("gRPC, large, shared memory", "grpc", [*LARGE, *SWEEP, *SYSTEM, "602112"]),
    ("gRPC, Poisson", "grpc", [*SIMPLE, *POISSON]),
    ("gRPC stream", "grpc", [*SIMPLE, *SWEEP, *STREAM]),
    ("gRPC stream, shared memory", "grpc", [*SIMPLE, *SWEEP, *STREAM, *SYSTEM, "4096"]),
    ("gRPC stream, Poisson", "grpc", [*SIMPLE, *POISSON, *STREAM]),
]


@dataclass
class Run:
    name: str
    command: str
    code: int
    rows: list[dict]  # of perf_analyzer's report: times in us
    server_counts: list[int]  # inferences by the server's statistics, a row each
    last_lines: list[str]


def run(tool, server, name, protocol, options, folder, interval_ms):
    report = folder / "report.csv"
    report.unlink(missing_ok=True)
    command = [str(tool), "-i", protocol, "-u", server.places[protocol], *options,
               "-p", str(interval_ms), "-r", "5", "-s", "50",
               "--collect-metrics", "--metrics-url", f"{server.metrics}/metrics", "-f", str(report)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=LIMIT_S)
        code, out = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as late:
        code, out = -1, str(late)
    rows = list(csv.DictReader(report.read_text().splitlines())) if report.exists() else []
    counts = [int(count) for count in re.findall(r"Inference count: (\d+)", out)]
    text = re.sub(r":\d{4,5}\b", ":PORT", shown(" ".join(["perf_analyzer", *command[1:]])))
    return Run(name, text, code, rows, counts, [shown(line) for line in out.splitlines()[-5:]])


def show(one):
    print(f"{one.name}: rc {one.code}")
    for row in one.rows:
        load = row.get("Concurrency") or row.get("Request Rate")
        print(f"  {load:>8}  {float(row['Inferences/Second']):9.0f}/s  p50 {row['p50 latency']:>6} us"
              f"  p99 {row['p99 latency']:>6} us  queue {row['Server Queue']:>5} us  compute "
              f"{row['Server Compute Infer']:>5} us", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", type=Path, help="perf_analyzer; left out: as --setup gets it")
    parser.add_argument("--setup", type=Path, default=SETUP, help="a script that is given a folder")
    parser.add_argument("--program", type=Path, default=ROOT / "build" / "takt")
    parser.add_argument("--interval-ms", type=int, default=2000, help="of a measurement")
    parser.add_argument("--isolation", default="process")
    parser.add_argument("--runs", nargs="*", help='such as "gRPC stream"')
    options = parser.parse_args()
    tool = options.tool
    if tool is None:
        tool = Path(tempfile.gettempdir()) / "perf_analyzer" / "perf_analyzer"
        if not tool.exists():
            subprocess.run(["bash", options.setup, tool.parent], check=True,
                           stdin=subprocess.DEVNULL)
    goals = Goals("perf_analyzer")
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = triton_server.write_models(folder / "models")
        takt = programs.Program(options.program, programs.environment(folder))
        try:
            # As examples/triton/takt.yaml, on free ports.
            server = triton_server.start(takt, folder / "serve", models, options.isolation)
            for what, protocol, more in RUNS:
                if options.runs and what not in options.runs:
                    continue
                one = run(tool, server, what, protocol, more, folder, options.interval_ms)
                results.append(one)
                show(one)
                goals.judge(what, one.code == 0 and bool(one.rows) and all(one.server_counts),
                            f"{what}: ended with {one.code}, {len(one.rows)} rows")
            alive = programs.stop(server.process)
            goals.judge("takt", alive.code == 0, f"takt stopped with {alive.code}")
        finally:
            takt.kill_all()
    return goals.finish({"tool": "perf_analyzer of tritonclient 2.51.0",
                         "isolation": options.isolation, "runs": [vars(one) for one in results]})


if __name__ == "__main__":
    sys.exit(main())
