#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measure a line against its goals: throughput, CPU time, overhead, parallel tasks, memory.

Runs build/takt-bench-line, build/takt and OpenVINO's benchmark_app in turns, takes the median of the
rounds, prints each figure beside its goal and writes every sample to bench/results/line-DATE.json.
bench/README.md says how each figure is measured.
"""

import argparse
import datetime
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _results import ROOT, machine, shown, versions

DETECTOR, MATCHER, CASCADE = "defects", "difference", "kinds"
MIB = 1 << 20

# Goals. Ratios and microseconds are compared with the median of the rounds.
THROUGHPUT_RATIO_MIN = 0.95
OUTSIDE_CPU_MS_MAX = 2.5
IDLE_P50_US_MAX = 150
IDLE_P99_US_MAX = 400
PARALLEL_RATIO_MIN = 0.95
HEAP_GROWTH_BYTES_MAX = 1 * MIB
DEMO_RSS_BYTES_MAX = 700_000_000

# Share of the CPU that other programs may take beside a sample.
OTHERS_MAX = 0.05

# Signatures for the heap run: small, so that 20,000 frames pass quickly; eight anchors, so that the
# cascade has crops.
SMALL_MODELS = {
    "pcb-detector": {"input.images": "FP32[2,64,64]", "output.output0": "FP32[10,8]"},
    "pcb-matcher": {"input.board": "FP32[1,64,64]", "input.golden": "FP32[1,64,64]",
                    "output.distance": "FP32[1,8,8]"},
    "pcb-classifier": {"input.crops": "FP32[2,16,16]", "output.logits": "FP32[7]"},
}


class Bench:
    """What every part needs: programs, models, the number of rounds, and where samples go."""

    def __init__(self, options: argparse.Namespace, scratch: Path):
        self.build = options.build.resolve()
        self.rounds = options.rounds
        self.seconds = options.seconds
        self.lanes = options.lanes
        self.wait_left_s = options.wait
        self.scratch = scratch
        self.commands: dict[str, list[str]] = {}
        self.samples: dict[str, list] = {}
        self.figures: dict[str, float] = {}
        self.missed: list[str] = []

    def measure(self, name: str, *arguments: str) -> dict:
        command = [str(self.build / "takt-bench-line"), *arguments]
        return self.sample(name, command, lambda out: json.loads(out.strip().splitlines()[-1]))

    def sample(self, name: str, command: list[str], read) -> dict:
        """Runs the command once the machine is quiet and keeps what `read` makes of its output."""
        self.wait_for_quiet()
        before = Cpu()
        output = run(command).stdout
        others = Cpu().others_since(before)
        self.commands[name] = [shown(word) for word in command]
        figures = read(output)
        self.samples.setdefault(name, []).append(figures | {"others_share": round(others, 4)})
        return figures

    def wait_for_quiet(self) -> None:
        while self.wait_left_s > 0:
            before = Cpu()
            time.sleep(1)
            if Cpu().others_since(before) <= OTHERS_MAX:
                return
            self.wait_left_s -= 1

    def others_max(self) -> float:
        return max(sample["others_share"] for each in self.samples.values() for sample in each)

    def median(self, name: str, *keys: str) -> float:
        values = []
        for sample in self.samples[name]:
            for key in keys:
                sample = sample[key]
            values.append(sample)
        return statistics.median(values)

    def goal(self, name: str, value: float, text: str, met: bool) -> None:
        self.figures[name] = value
        print(f"  {'met   ' if met else 'MISSED'}  {text}", flush=True)
        if not met:
            self.missed.append(name)


class Cpu:
    """CPU seconds so far: of the machine, stolen time included, and of this program's own runs."""

    def __init__(self) -> None:
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        idle = fields[3] + fields[4]
        self.busy_s = (sum(fields[:8]) - idle) / os.sysconf("SC_CLK_TCK")
        self.own_s = sum(sum(resource.getrusage(who)[:2])
                         for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        self.at_s = time.monotonic()

    def others_since(self, before: "Cpu") -> float:
        others_s = (self.busy_s - before.busy_s) - (self.own_s - before.own_s)
        return max(0.0, others_s / (self.at_s - before.at_s) / (os.cpu_count() or 1))


def run(command: list[str]) -> subprocess.CompletedProcess:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(command)} failed ({done.returncode}):\n"
                 f"{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done


def repository(bench: Bench, name: str, edit, references: bool = True) -> Path:
    """A copy of the models with another config.pbtxt."""
    copy = bench.scratch / name
    ignore = None if references else shutil.ignore_patterns("reference")
    for model in SMALL_MODELS:
        shutil.copytree(ROOT / "models/repository" / model, copy / model, ignore=ignore)
        config = copy / model / "config.pbtxt"
        config.write_text(edit(model, config.read_text()))
    return copy


def parameters(values: dict[str, str]) -> str:
    return "".join(f'parameters {{ key: "simulated.{key}" value {{ string_value: "{value}" }} }}\n'
                   for key, value in values.items())


def benchmark_app(bench: Bench) -> None:
    script = Path(sys.executable).parent / "benchmark_app"
    lanes = str(bench.lanes)
    command = [sys.executable, str(script), "-m", "models/repository/pcb-detector/1/model.onnx",
               "-d", "CPU", "-hint", "none", "-api", "async", "-nstreams", lanes, "-nthreads", lanes,
               "-shape", "[1,2,640,640]", "-ip", "u8", "-infer_precision", "f32",
               "-t", str(bench.seconds)]
    bench.sample("benchmark_app", command, read_throughput)


def read_throughput(output: str) -> dict:
    found = re.search(r"Throughput:\s*([\d.]+)\s*FPS", output)
    if not found:
        sys.exit("bench: benchmark_app printed no throughput")
    return {"frames_per_s": float(found[1])}


def ratios(bench: Bench, above: str, below: str) -> list[float]:
    return [a["frames_per_s"] / b["frames_per_s"]
            for a, b in zip(bench.samples[above], bench.samples[below])]


def spread(values: list[float]) -> str:
    return f"{min(values):.3f}..{max(values):.3f}"


def line_run(bench: Bench, name: str, *arguments: str) -> dict:
    return bench.measure(name, "run", "--lanes", str(bench.lanes), "--seconds", str(bench.seconds),
                         *arguments)


def throughput(bench: Bench) -> None:
    print("throughput from decoded frames, detector alone")
    single = repository(bench, "batch-1", lambda _, text: re.sub(
        r"max_batch_size: \d+", "max_batch_size: 1", text))
    for _ in range(bench.rounds):
        benchmark_app(bench)
        line_run(bench, "line", "--tasks", DETECTOR, "--repository", str(single))
    each = ratios(bench, "line", "benchmark_app")
    ratio = statistics.median(each)
    bench.goal("throughput_ratio", ratio,
               f"ratio {ratio:.3f} ({spread(each)}) line {bench.median('line', 'frames_per_s'):.2f}/s, "
               f"benchmark_app {bench.median('benchmark_app', 'frames_per_s'):.2f}/s; "
               f"goal {THROUGHPUT_RATIO_MIN}", ratio >= THROUGHPUT_RATIO_MIN)


def outside(bench: Bench) -> None:
    print("CPU time outside inference, three tasks from PNG pairs to JSON Lines")
    pairs = bench.scratch / "pairs"
    run([str(bench.build / "takt-bench-line"), "boards", str(pairs), "--pairs", "64"])
    for _ in range(bench.rounds):
        bench.measure("png", "run", "--lanes", str(bench.lanes), "--input", str(pairs), "--repeat",
                      "3", "--jsonl", str(bench.scratch / "out.jsonl"))
    value = bench.median("png", "outside_cpu_ms_per_frame")
    each = [sample["outside_cpu_ms_per_frame"] for sample in bench.samples["png"]]
    bench.goal("outside_cpu_ms", value,
               f"{value:.2f} ms a frame ({spread(each)}) of {bench.median('png', 'cpu_ms_per_frame'):.1f}"
               f" ms in all, {bench.median('png', 'crops_per_frame'):.1f} crops a frame; "
               f"goal {OUTSIDE_CPU_MS_MAX}", value <= OUTSIDE_CPU_MS_MAX)


def idle(bench: Bench) -> None:
    print("one request at a time, from submit to completion less the backend's own time")
    simulated = repository(bench, "simulated", lambda _, text: text + parameters(
        {"base_us": "1000"}), references=False)
    kinds = {
        "classifier": ["--task", CASCADE],
        "detector": ["--task", DETECTOR, "--requests", "150"],
        "simulated": ["--task", DETECTOR, "--backend", "simulated", "--repository", str(simulated)],
    }
    for _ in range(bench.rounds):
        for name, arguments in kinds.items():
            bench.measure(f"idle {name}", "idle", "--tasks", f"{DETECTOR},{CASCADE}", *arguments)
    for name in kinds:
        p50 = bench.median(f"idle {name}", "added_us", "p50")
        p99 = bench.median(f"idle {name}", "added_us", "p99")
        bench.goal(f"idle_{name}_us", p50,
                   f"{name}: p50 {p50:.0f} us, p99 {p99:.0f} us beside "
                   f"{bench.median(f'idle {name}', 'exec_us', 'p50'):.0f} us of its own; "
                   f"goals {IDLE_P50_US_MAX}, {IDLE_P99_US_MAX}",
                   p50 <= IDLE_P50_US_MAX and p99 <= IDLE_P99_US_MAX)
        bench.figures[f"idle_{name}_p99_us"] = p99


def predicted(bench: Bench, i: int) -> float:
    """Frames a second of round i if its single runs' CPU time were all that the three need."""
    crops = bench.samples["three tasks"][i]["crops_per_frame"]
    cpu_ms = (bench.samples["detector alone"][i]["cpu_ms_per_frame"]
              + bench.samples["matcher alone"][i]["cpu_ms_per_frame"]
              + bench.samples["classifier alone"][i]["cpu_ms_per_crop"] * crops)
    return 1000 * bench.lanes / cpu_ms


def parallel(bench: Bench) -> None:
    print("three tasks in parallel against what the single runs' CPU time allows")
    for _ in range(bench.rounds):
        line_run(bench, "detector alone", "--tasks", DETECTOR)
        line_run(bench, "three tasks")
        line_run(bench, "matcher alone", "--tasks", MATCHER)
        bench.measure("classifier alone", "crops", "--lanes", str(bench.lanes), "--task", CASCADE,
                      "--tasks", f"{DETECTOR},{CASCADE}", "--seconds", str(bench.seconds))
    bounds = [predicted(bench, i) for i in range(bench.rounds)]
    each = [sample["frames_per_s"] / bound
            for sample, bound in zip(bench.samples["three tasks"], bounds)]
    ratio = statistics.median(each)
    bench.goal("parallel_ratio", ratio,
               f"ratio {ratio:.3f} ({spread(each)}) {bench.median('three tasks', 'frames_per_s'):.2f}/s "
               f"of {statistics.median(bounds):.2f}/s; CPU ms: detector "
               f"{bench.median('detector alone', 'cpu_ms_per_frame'):.1f}, matcher "
               f"{bench.median('matcher alone', 'cpu_ms_per_frame'):.1f}, crop "
               f"{bench.median('classifier alone', 'cpu_ms_per_crop'):.2f}, all three "
               f"{bench.median('three tasks', 'cpu_ms_per_frame'):.1f} with "
               f"{bench.median('three tasks', 'crops_per_frame'):.1f} crops; "
               f"goal {PARALLEL_RATIO_MIN}", ratio >= PARALLEL_RATIO_MIN)


def memory(bench: Bench) -> None:
    print("memory")
    small = repository(bench, "small", lambda model, text: text + parameters(SMALL_MODELS[model]),
                       references=False)
    # Small segments: how many of them are mapped at a mark is not growth.
    grown = bench.measure("heap", "heap", "--backend", "simulated", "--repository", str(small),
                          "--journal-segment-bytes", str(MIB // 4))
    first, last = grown["marks"][0], grown["marks"][-1]
    for key, name in (("heap_in_use_bytes", "heap in use"), ("rss_bytes", "resident")):
        growth = grown["growth"][key]
        bench.goal(f"growth_{key}", growth,
                   f"{name} grew by {growth / 1024:.0f} KiB to {last[key] / MIB:.1f} MiB from frame "
                   f"{first['frames']} to {last['frames']}; goal 1024 KiB",
                   growth < HEAP_GROWTH_BYTES_MAX)
    summary = bench.scratch / "demo.json"
    command = [str(bench.build / "takt"), "demo", "--seconds", "10", "--no-view", "--summary",
               str(summary)]
    demo = bench.sample("demo", command, lambda _: json.loads(summary.read_text()))
    peak = demo["peak_rss_bytes"]
    bench.goal("demo_peak_rss_bytes", peak,
               f"the demo's peak is {peak / 1e6:.0f} MB; goal {DEMO_RSS_BYTES_MAX / 1e6:.0f} MB",
               peak < DEMO_RSS_BYTES_MAX)


PARTS = {"throughput": throughput, "outside": outside, "idle": idle, "parallel": parallel,
         "memory": memory}


def write_results(bench: Bench, path: Path, head: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    body = head | {"lanes": bench.lanes, "rounds": bench.rounds, "seconds": bench.seconds,
                   "figures": bench.figures, "missed": bench.missed,
                   "others_share_max": bench.others_max(), "commands": bench.commands,
                   "samples": bench.samples}
    path.write_text(json.dumps(body, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="where the programs are")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, separated by commas")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each comparison")
    parser.add_argument("--seconds", type=int, default=10, help="of each run in a turn")
    parser.add_argument("--lanes", type=int, default=len(os.sched_getaffinity(0)),
                        help="batches at once, one thread each")
    parser.add_argument("--wait", type=int, default=300,
                        help="seconds in all to wait for other programs to leave the CPU")
    parser.add_argument("--results", type=Path, help="default: bench/results/line-DATE.json")
    options = parser.parse_args()
    parts = options.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no part {sorted(unknown)}; there are {', '.join(PARTS)}")

    head = {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "command": ["bench/line.py", *map(shown, sys.argv[1:])],
            "machine": machine(), "versions": versions()}
    print(f"{head['machine']['cpu']}, {head['machine']['cores']} cores, "
          f"load {head['machine']['load_at_start']:.2f}; takt {head['versions']['takt'][:12]}, "
          f"OpenVINO {head['versions']['openvino']}", flush=True)
    with tempfile.TemporaryDirectory(prefix="takt-bench-") as scratch:
        bench = Bench(options, Path(scratch))
        for part in parts:
            PARTS[part](bench)
        results = options.results or ROOT / f"bench/results/line-{head['date'][:10]}.json"
        write_results(bench, results, head)
    busiest = bench.others_max()
    print(f"other programs took at most {100 * busiest:.0f} % of the CPU beside a sample"
          + ("" if busiest <= OTHERS_MAX else ": run it again on a quiet machine"))
    print(f"samples: {shown(str(results.resolve()))}")
    print("goals met" if not bench.missed else "goals missed: " + ", ".join(bench.missed))
    return 1 if bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
