#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write docs/operators.md from what takt-graph-node-tests found.

    build/takt-graph-node-tests --gtest_output=json:build/node-tests.json
    .venv/bin/python tests/models/operators_table.py build/node-tests.json docs/operators.md

Cases are ONNX's own node tests; each counts for every operator that its model holds.
"""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

HEAD = """# ONNX operators

Generated; to write it again: `build/takt-graph-node-tests --gtest_output=json:build/node-tests.json`,
then `.venv/bin/python tests/models/operators_table.py build/node-tests.json docs/operators.md`.

What `src/graph` reads, opset 11 to 21, by ONNX's own node tests of the onnx wheel. A case is one of
them: a model, mostly of one operator, that is imported, evaluated on the CPU and compared with what
ONNX expects. It counts for each operator in it. *Refused* cases are meant to be. Cases with an
operator that isn't supported count only below the table.
"""


def results(path):
    """Of each case: its operators, passed, failed, refused or unsupported, and the reason."""
    for suite in json.loads(Path(path).read_text())["testsuites"]:
        for case in suite["testsuite"]:
            operators = case.get("operators", "").split()
            if "unsupported" in case:
                yield operators, "unsupported", case["unsupported"]
            elif "refused" in case:
                yield operators, "refused", case["refused"]
            else:
                yield operators, "failed" if "failures" in case else "passed", ""


def row(name, counts, reasons):
    why = "; ".join(f"{reason} ({count})" for reason, count in sorted(reasons.items()))
    failed = f", **{counts['failed']} failed**" if counts["failed"] else ""
    return f"| {name} | {counts['passed']}{failed} | {counts['refused'] or ''} | {why} |"


def table(cases):
    totals, unsupported = Counter(), Counter()
    counts, reasons = defaultdict(Counter), defaultdict(Counter)
    for operators, outcome, reason in cases:
        totals[outcome] += 1
        if outcome == "unsupported":
            unsupported[reason] += 1
            continue
        for operator in operators:
            counts[operator][outcome] += 1
            if outcome == "refused":
                reasons[operator][reason] += 1
    lines = [HEAD]
    lines.append(f"{sum(totals.values())} cases: {totals['passed']} passed, "
                 f"{totals['failed']} failed, {totals['refused']} refused, "
                 f"{totals['unsupported']} with an operator that isn't supported.\n")
    lines += ["| operator | passed | refused | why refused |", "| --- | --- | --- | --- |"]
    lines += [row(name, counts[name], reasons[name]) for name in sorted(counts)]
    lines.append("\n## Not supported\n")
    lines.append("A model with one of these runs on the openvino backend. In brackets: cases.\n")
    names = [f"{name} ({count})" for name, count in sorted(unsupported.items())]
    lines.append(", ".join(names) + ".")
    return "\n".join(lines) + "\n"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    Path(sys.argv[2]).write_text(table(results(sys.argv[1])))


if __name__ == "__main__":
    main()
