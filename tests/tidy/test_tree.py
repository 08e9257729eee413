# SPDX-License-Identifier: Apache-2.0
"""The rules hold for this tree."""

import sys
from pathlib import Path

import pytest

import cpp_format
import rules

ROOT = Path(__file__).resolve().parents[2]
LAYERS = rules.load_layers((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
# What the tests of a layer may include beyond what its code may.
TESTS_USE: dict[str, set[str]] = {}
sys.path.insert(0, str(ROOT / "tests"))

import run  # noqa: E402  (tests/run.py: which suites CI runs)

RULES = {
    "every C++ file is formatted": cpp_format.format_findings,
    "layers include only what is below them": lambda root: rules.layering(root, LAYERS, TESTS_USE),
    "the table of layers has no cycle": lambda root: rules.layer_table(LAYERS),
    "no include is cyclic": rules.include_cycles,
    "public headers include no vendor header": rules.vendor_headers,
    "headers open with what, who may call, what it owns": rules.header_opening,
    "no file is too long": rules.file_length,
    "every source names its licence": rules.licence_line,
    "open ends carry a reason": rules.open_ends,
    "every layer has a README": rules.layer_readmes,
    "the suites of CI fit into its minutes": lambda root: rules.ci_minutes(root, run.GROUPS["test"]),
}


@pytest.mark.parametrize("name", RULES)
def test_tree(name):
    findings = RULES[name](ROOT)
    assert not findings, f"{name}:\n" + "\n".join(findings)
