#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Three times the requests that a model can answer, for a minute, in several classes.

Starts `takt serve` with a simulated model of 500 requests/s and offers it, in an open loop over HTTP
and gRPC, light load, three times its capacity, and light load again. Writes
bench/results/overload-DATE.json. Only worth something on an idle machine.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from _results import ROOT, Goals

sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import oip  # noqa: E402
import open_loop  # noqa: E402
import program as programs  # noqa: E402
import triton_server  # noqa: E402
from open_loop import Flow, Plan  # noqa: E402

CAPACITY = 500  # a second: batches of 8 rows take 8 + 8 * 1 ms
MODEL = {"base_us": 8000, "row_us": 1000}
QUEUE = 64
DEADLINE_MS = 100  # of critical requests
GRPC_SHARE = 0.1
LIGHT = [Flow("light", 0.2 * CAPACITY, {"priority": 2})]
HEAVY = [Flow("critical", 0.2 * CAPACITY, {"priority": 1, "timeout": DEADLINE_MS * 1000}),
         Flow("normal", 1.2 * CAPACITY, {"priority": 2}),
         Flow("background", 1.6 * CAPACITY, {"priority": 3})]
WARM_UP_S = 2  # of the overload, until its queue is full
RECOVERY_S = 1

GOODPUT_MIN = 0.95
CRITICAL_LATE_MAX = 0.001
REFUSAL_P99_MS_MAX = 5
RSS_GROWTH_MIB_MAX = 4
LATENCY_AFTER_MAX = 1.25  # of that before

CONFIG = """
models: {{repository: {repository}, cache: {cache}}}
devices: {{cpu: {{lanes: 1}}}}
server:
  isolation: {isolation}
  models: [busy]
  priorities: [critical, normal, background]
  http: {{port: 0}}
  grpc: {{port: 0}}
  metrics: {{port: 0}}
"""


class Memory(threading.Thread):
    """Resident bytes of the gateway, ten times a second."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.status = Path(f"/proc/{pid}/status")
        self.samples = []  # (CLOCK_MONOTONIC, bytes)
        self.ending = threading.Event()

    def run(self):
        while not self.ending.wait(0.1):
            line = next(l for l in self.status.read_text().splitlines() if l.startswith("VmRSS"))
            self.samples.append((time.monotonic(), int(line.split()[1]) << 10))

    def mib(self, pick, begin, end):
        return pick(size for at, size in self.samples if begin <= at < end) / 2**20


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def scaled(flows, share):
    return [Flow(flow.name, flow.per_second * share, flow.parameters) for flow in flows]


def offer(server, phases):
    """Each phase at its time, its load over both protocols; all samples, with their protocol."""
    running = []
    for number, (flows, start, seconds) in enumerate(phases):
        for protocol, share in (("http", 1 - GRPC_SHARE), ("grpc", GRPC_SHARE)):
            plan = Plan("busy", scaled(flows, share), start, seconds, seed=2 * number + (share > .5))
            running.append((protocol, open_loop.start(protocol, getattr(server, protocol), plan)))
    limit = phases[-1][1] + phases[-1][2] - time.monotonic() + 60
    return [(protocol, sample) for protocol, process in running
            for sample in open_loop.finish(process, limit)]


def measure(options, folder, isolation):
    models = triton_server.write_models(folder / "models")
    triton_server.add_simulated(models, "busy", queue_size_max=QUEUE, **MODEL)
    takt = programs.Program(options.program, programs.environment(folder))
    server = triton_server.start(takt, folder / "serve", models, isolation, CONFIG)
    try:
        memory = Memory(server.process.pid)
        memory.start()
        heavy = time.monotonic() + 2 + options.light_seconds
        end = heavy + options.seconds
        samples = offer(server, [(LIGHT, heavy - options.light_seconds, options.light_seconds),
                                 (HEAVY, heavy, options.seconds),
                                 (LIGHT, end, options.light_seconds)])
        memory.ending.set()
        held = oip.held(server)
        done = programs.stop(server.process)
    finally:
        takt.kill_all()
    return samples, memory, heavy, end, held, done.code


def figures(samples, memory, heavy, end):
    full = heavy + WARM_UP_S

    def of(flow, *statuses):
        return [s for _, s in samples if s.flow == flow and (not statuses or s.status in statuses)]
    critical = of("critical")
    others = of("normal") + of("background")
    refusals = [s for s in others if s.status in (503, -503)]
    light = of("light")
    before = [s.took for s in light if s.due < heavy and s.status == 200]
    after = [s for s in light if s.due >= end + RECOVERY_S]
    spell = {name: dict(Counter(str(s.status) for s in of(name)))
             for name in ("critical", "normal", "background")}
    return {
        "outcomes": spell,
        "goodput_per_second": sum(full <= s.done < end for _, s in samples if s.status == 200)
        / (end - full),
        "critical_late": sum(s.status != 200 or s.done - s.due > DEADLINE_MS / 1000
                             for s in critical) / len(critical),
        "critical_p99_ms": 1000 * percentile([s.took for s in critical], 0.99),
        "refusal_p50_ms": 1000 * percentile([s.took for s in refusals], 0.5),
        "refusal_p99_ms": 1000 * percentile([s.took for s in refusals], 0.99),
        "refusal_p99_ms_by_protocol": {
            wanted: 1000 * percentile([s.took for protocol, s in samples if protocol == wanted
                                       and s.status in (503, -503)], 0.99)
            for wanted in ("http", "grpc")},
        "gave_way": sum(s.shed for s in refusals),
        "gave_way_p99_ms": 1000 * percentile([s.took for s in refusals if s.shed], 0.99),
        "not_accepted_p99_ms": 1000 * percentile([s.took for s in refusals if not s.shed], 0.99),
        "other_statuses": sorted({s.status for s in others} - {200, 503}),
        "light_before_p50_ms": 1000 * statistics.median(before),
        "light_after_p50_ms": 1000 * statistics.median([s.took for s in after]),
        "light_after_refused": sum(s.status != 200 for s in after),
        "recovered_after_s": max([s.done - end for s in light if s.due >= end
                                  and s.status != 200], default=0.0),
        "sent_behind_p99_ms": 1000 * percentile([s.sent - s.due for _, s in samples], 0.99),
        "rss_mib": {"before": memory.mib(min, 0, heavy), "full": memory.mib(max, full, full + 1),
                    "most": memory.mib(max, 0, end), "after": memory.mib(max, end, end + 99)},
    }


def judge(goals, name, got, held, code):
    goodput = got["goodput_per_second"] / CAPACITY
    goals.judge(f"{name} goodput", goodput >= GOODPUT_MIN,
                f"{name}: {got['goodput_per_second']:.0f} answers/s of {CAPACITY}; "
                f"goal {GOODPUT_MIN:.0%}")
    goals.judge(f"{name} critical", got["critical_late"] <= CRITICAL_LATE_MAX,
                f"{name}: {got['critical_late']:.2%} of critical requests late or refused, p99 "
                f"{got['critical_p99_ms']:.0f} of {DEADLINE_MS} ms; goal {CRITICAL_LATE_MAX:.1%}")
    goals.judge(f"{name} refusals", not got["other_statuses"]
                and got["refusal_p99_ms"] <= REFUSAL_P99_MS_MAX,
                f"{name}: refused in p50 {got['refusal_p50_ms']:.2f} ms, p99 "
                f"{got['refusal_p99_ms']:.2f} ms; goal {REFUSAL_P99_MS_MAX} ms, all of them 503 with "
                f"Retry-After or RESOURCE_EXHAUSTED (else: {got['other_statuses']}); p99 of those "
                f"not accepted {got['not_accepted_p99_ms']:.2f} ms, of the {got['gave_way']} that "
                f"gave way {got['gave_way_p99_ms']:.2f} ms")
    rss = got["rss_mib"]
    growth = rss["most"] - rss["full"]
    goals.judge(f"{name} memory", growth <= RSS_GROWTH_MIB_MAX,
                f"{name}: resident {rss['before']:.1f} MiB before, {rss['full']:.1f} once the queue "
                f"was full, {rss['most']:.1f} at most, {rss['after']:.1f} after; goal "
                f"{RSS_GROWTH_MIB_MAX} MiB more")
    after = got["light_after_p50_ms"] / got["light_before_p50_ms"]
    goals.judge(f"{name} recovery", got["light_after_refused"] == 0 and after <= LATENCY_AFTER_MAX,
                f"{name}: {RECOVERY_S} s after it, {got['light_after_refused']} refused and a median "
                f"of {got['light_after_p50_ms']:.1f} ms, {got['light_before_p50_ms']:.1f} before; "
                f"goal none and {LATENCY_AFTER_MAX}")
    goals.judge(f"{name} end", code == 0 and not any(held.values()),
                f"{name}: nothing held, and it stopped with code {code}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="of overload")
    parser.add_argument("--light-seconds", type=float, default=10, help="before and after it")
    parser.add_argument("--isolation", nargs="*", default=["thread", "process"])
    parser.add_argument("--program", type=Path, default=ROOT / "build" / "takt")
    options = parser.parse_args()
    goals = Goals("overload")
    results = {}
    for isolation in options.isolation:
        with tempfile.TemporaryDirectory() as folder:
            samples, memory, heavy, end, held, code = measure(options, Path(folder), isolation)
        results[isolation] = figures(samples, memory, heavy, end)
        for flow, outcomes in results[isolation]["outcomes"].items():
            print(f"{isolation}, {flow}: " + ", ".join(
                f"{count} x {status}" for status, count in sorted(outcomes.items())))
        judge(goals, isolation, results[isolation], held, code)
    return goals.finish({"capacity_per_second": CAPACITY, "offered_per_second": 3 * CAPACITY,
                         "seconds": options.seconds, "isolation": results})


if __name__ == "__main__":
    sys.exit(main())
