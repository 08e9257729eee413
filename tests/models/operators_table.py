#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write docs/operators.md from what takt-graph-node-tests and takt-gpu-node-tests found.

    build/takt-graph-node-tests --gtest_output=json:build/node-tests.json
    build/takt-gpu-node-tests --gtest_output=json:build/gpu-node-tests.json
    .venv/bin/python tests/models/operators_table.py build/node-tests.json \\
        build/gpu-node-tests.json docs/operators.md

The second program needs a GPU. Cases are ONNX's own node tests; each counts for every operator that its
model holds.
"""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

HEAD = """# ONNX operators

Generated; to write it again: `build/takt-graph-node-tests --gtest_output=json:build/node-tests.json`,
on a machine with a GPU `build/takt-gpu-node-tests --gtest_output=json:build/gpu-node-tests.json`, then
`.venv/bin/python tests/models/operators_table.py build/node-tests.json build/gpu-node-tests.json docs/operators.md`.

What `src/graph` reads, opset 11 to 21, by ONNX's own node tests of the onnx wheel. A case is one of
them: a model, mostly of one operator, that is imported, evaluated on the CPU and compared with what
ONNX expects. It counts for each operator in it. *Refused* cases are meant to be. Cases with an
operator that isn't supported count only below the table.

*On the GPU* are those of the cases that pass there too, in FP32 by takt's own kernels; recorded on an {device}.
"""


class Case(NamedTuple):
    operators: list
    outcome: str  # passed, failed, refused or unsupported
    reason: str


def outcome_of(case):
    for outcome in ("unsupported", "refused"):
        if outcome in case:
            return outcome, case[outcome]
    if "failures" in case:
        return "failed", ""
    return ("passed", "") if case["result"] == "COMPLETED" else ("skipped", "")


def results(suites):
    """The cases by their names."""
    return {case["name"].split("/")[-1]: Case(case.get("operators", "").split(), *outcome_of(case))
            for suite in suites for case in suite["testsuite"]}


def with_reasons(number, reasons):
    return "; ".join([str(number), *(f"{reason} ({count})"
                                     for reason, count in sorted(reasons.items()))])


def row(name, cases, device_cases):
    """Of an operator; `cases` are those that hold it."""
    counts = Counter(case.outcome for case in cases.values())
    refused = Counter(case.reason for case in cases.values() if case.outcome == "refused")
    on_device = [device_cases.get(n, Case([], "not run yet", ""))
                 for n, case in cases.items() if case.outcome == "passed"]
    passed = sum(case.outcome == "passed" for case in on_device)
    others = Counter(case.reason or f"**{case.outcome}**" for case in on_device
                     if case.outcome != "passed")
    failed = f", **{counts['failed']} failed**" if counts["failed"] else ""
    why = "; ".join(f"{reason} ({count})" for reason, count in sorted(refused.items()))
    return (f"| {name} | {counts['passed']}{failed} | {with_reasons(passed, others)} "
            f"| {counts['refused'] or ''} | {why} |")


def table(cases, device_cases, device):
    totals = Counter(case.outcome for case in cases.values())
    device_totals = Counter(case.outcome for case in device_cases.values())
    unsupported = Counter(c.reason for c in cases.values() if c.outcome == "unsupported")
    holding = defaultdict(dict)
    for name, case in cases.items():
        for operator in case.operators if case.outcome != "unsupported" else []:
            holding[operator][name] = case
    lines = [HEAD.format(device=device)]
    lines.append(f"{len(cases)} cases: {totals['passed']} passed, "
                 f"{totals['failed']} failed, {totals['refused']} refused, "
                 f"{totals['unsupported']} with an operator that isn't supported; "
                 f"on the GPU {device_totals['passed']} passed, {device_totals['failed']} failed.\n")
    lines += ["| operator | passed | on the GPU | refused | why refused |",
              "| --- | --- | --- | --- | --- |"]
    lines += [row(name, holding[name], device_cases) for name in sorted(holding)]
    lines.append("\n## Not supported\n")
    lines.append("A model with one of these runs on the openvino backend. In brackets: cases.\n")
    names = [f"{name} ({count})" for name, count in sorted(unsupported.items())]
    lines.append(", ".join(names) + ".")
    return "\n".join(lines) + "\n"


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    graph_suites, device_suites = (json.loads(Path(path).read_text())["testsuites"]
                                   for path in sys.argv[1:3])
    cases, device_cases = results(graph_suites), results(device_suites)
    device = next((suite["device"] for suite in device_suites if "device" in suite), None)
    if device is None:
        sys.exit(f"{sys.argv[2]} says no device: takt-gpu-node-tests found no GPU")
    Path(sys.argv[3]).write_text(table(cases, device_cases, device))


if __name__ == "__main__":
    main()
