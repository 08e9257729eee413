# SPDX-License-Identifier: Apache-2.0
"""Each rule finds the fault that it is there for, in a tree where only that fault is planted."""

from pathlib import Path

import pytest

import cpp_format
import rules

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
OPENING = SPDX + "// What it is.\n// Thread-safe: yes.\n// Owns: nothing.\n#pragma once\n"
LAYERS = {"low": set(), "mid": {"low"}, "top": {"low", "mid/door.h"}}
TESTS_USE = {"mid": {"top/fake.h"}}
MINUTES = "# Minutes per suite\n\n| suite | what | minutes |\n|---|---|---|\n"


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def tree(tmp_path):
    """A tree in which every rule holds."""
    for layer in LAYERS:
        write(tmp_path, f"src/{layer}/README.md", f"# {layer}\n")
    write(tmp_path, "src/low/a.h", OPENING + "#include <string>\n")
    write(tmp_path, "src/low/a.cc", SPDX + '#include "low/a.h"\n\n#include <sqlite3.h>\n')
    write(tmp_path, "src/mid/door.h", OPENING + '#include "low/a.h"\n')
    write(tmp_path, "src/mid/door_test.cc", SPDX + '#include "mid/door.h"\n\n#include "top/fake.h"\n')
    write(tmp_path, "src/top/fake.h", OPENING + '#include "mid/door.h"\n')
    write(tmp_path, "CONTRIBUTING.md", MINUTES + "| unit | all | 10.5 |\n| total | | 10.5 |\n")
    return tmp_path


def only(findings: list[str]) -> str:
    assert len(findings) == 1, findings
    return findings[0]


def test_a_tidy_tree_has_no_findings(tree):
    assert rules.layering(tree, LAYERS, TESTS_USE) == []
    assert rules.layer_table(LAYERS) == []
    assert rules.ci_minutes(tree, ["unit"]) == []
    for rule in (rules.include_cycles, rules.vendor_headers, rules.header_opening,
                 rules.file_length, rules.licence_line, rules.open_ends, rules.layer_readmes):
        assert rule(tree) == [], rule.__name__


def test_load_layers_reads_the_table_of_the_architecture():
    text = """| folder | responsibility | may include |
| --- | --- | --- |
| src/core | words | the standard library |
| src/line | lines | core, engine/door.h |
| src/config | files | all but app |
| src/app | the program | all |
"""
    assert rules.load_layers(text) == {
        "core": set(),
        "line": {"core", "engine/door.h"},
        "config": {"core", "line"},
        "app": {"core", "line", "config"},
    }


def test_layering_finds_an_include_from_a_higher_layer(tree):
    write(tree, "src/low/b.cc", SPDX + '#include "top/fake.h"\n')
    assert only(rules.layering(tree, LAYERS, TESTS_USE)).startswith("src/low/b.cc:2: layer 'low' may not")


def test_layering_allows_one_header_of_a_layer_without_allowing_the_others(tree):
    write(tree, "src/mid/other.h", OPENING)
    write(tree, "src/top/b.cc", SPDX + '#include "mid/door.h"\n#include "mid/other.h"\n')
    assert only(rules.layering(tree, LAYERS, TESTS_USE)).startswith("src/top/b.cc:3:")


def test_layering_gives_the_exceptions_of_tests_to_tests_alone(tree):
    write(tree, "src/mid/b.cc", SPDX + '#include "top/fake.h"\n')
    assert only(rules.layering(tree, LAYERS, TESTS_USE)).startswith("src/mid/b.cc:2:")


def test_layering_finds_an_include_that_is_not_written_from_src(tree):
    write(tree, "src/low/b.cc", SPDX + '#include "a.h"\n')
    assert "is not a file below src/" in only(rules.layering(tree, LAYERS, TESTS_USE))


def test_layering_finds_a_layer_that_the_table_does_not_know(tree):
    write(tree, "src/extra/b.cc", SPDX)
    assert "layer 'extra' has no row in" in only(rules.layering(tree, LAYERS, TESTS_USE))


def test_layer_table_finds_a_cycle_through_a_single_header():
    table = {"a": {"b/x.h"}, "b": {"a"}}
    assert rules.layer_table(table) == ["ARCHITECTURE.md: cycle a -> b -> a"]


def test_layer_table_finds_an_unknown_layer():
    assert "unknown layer 'x'" in only(rules.layer_table({"a": {"x"}}))


def test_include_cycles_finds_a_cycle_over_three_headers(tree):
    for name, other in (("x", "y"), ("y", "z"), ("z", "x")):
        write(tree, f"src/low/{name}.h", OPENING + f'#include "low/{other}.h"\n')
    expected = "cyclic include: low/x.h -> low/y.h -> low/z.h -> low/x.h"
    assert only(rules.include_cycles(tree)) == expected


def test_include_cycles_allows_two_ways_to_one_header(tree):
    write(tree, "src/top/b.h", OPENING + '#include "low/a.h"\n#include "mid/door.h"\n')
    assert rules.include_cycles(tree) == []


@pytest.mark.parametrize("header", ["openvino/openvino.hpp", "SQLiteCpp/Database.h",
                                    "yaml-cpp/yaml.h", "onnx/onnx.pb.h"])
def test_vendor_headers_finds_a_library_in_a_header_that_other_layers_include(tree, header):
    write(tree, "src/low/a.h", OPENING + f"#include <{header}>\n")
    assert only(rules.vendor_headers(tree)).startswith("src/low/a.h:6: src/low/a.h, which")


def test_vendor_headers_finds_a_library_behind_a_second_header(tree):
    write(tree, "src/low/detail.h", OPENING + "#include <sqlite3.h>\n")
    write(tree, "src/low/a.h", OPENING + '#include "low/detail.h"\n')
    assert only(rules.vendor_headers(tree)).startswith("src/low/detail.h:6: src/low/a.h, which")


def test_vendor_headers_allows_headers_that_stay_in_their_layer(tree):
    write(tree, "src/low/detail.h", OPENING + "#include <sqlite3.h>\n")
    write(tree, "src/low/a.cc", SPDX + '#include "low/detail.h"\n')
    assert rules.vendor_headers(tree) == []


def test_header_opening_finds_a_public_header_without_its_three_lines(tree):
    write(tree, "src/low/detail.h", SPDX + "#pragma once\n")
    assert rules.header_opening(tree) == []
    write(tree, "src/low/a.h", SPDX + "// What it is.\n#pragma once\n")
    assert only(rules.header_opening(tree)).startswith("src/low/a.h:2:")


def test_file_length_finds_one_line_too_many(tree):
    write(tree, "src/low/long.cc", SPDX + "\n" * (rules.LINES_MAX - 1))
    assert rules.file_length(tree) == []
    write(tree, "src/low/long.cc", SPDX + "\n" * rules.LINES_MAX)
    assert only(rules.file_length(tree)).startswith("src/low/long.cc:801:")


@pytest.mark.parametrize("name", ["src/low/b.cc", "tests/x.py", "setup/x.sh", "CMakeLists.txt"])
def test_licence_line_finds_a_source_without_it(tree, name):
    write(tree, name, "\n\n# SPDX-License-Identifier: Apache-2.0\n")
    assert only(rules.licence_line(tree)).startswith(f"{name}:1:")


@pytest.mark.parametrize("word", ["TO" + "DO", "FIX" + "ME"])
def test_open_ends_finds_a_note_without_a_reason(tree, word):
    write(tree, "src/low/b.cc", SPDX + f"// {word}: later\n// {word}(GCC 13 has std::print)\n")
    assert only(rules.open_ends(tree)).startswith("src/low/b.cc:2:")


def test_layer_readmes_finds_a_layer_without_one(tree):
    (tree / "src/mid/README.md").unlink()
    assert only(rules.layer_readmes(tree)).startswith("src/mid:")


def test_ci_minutes_finds_a_sum_that_does_not_fit(tree):
    write(tree, "CONTRIBUTING.md", MINUTES + "| unit | all | 30 |\n| e2e | all | 10 |\n")
    assert "take 40 minutes" in only(rules.ci_minutes(tree, ["unit", "e2e"]))


def test_ci_minutes_finds_a_suite_without_minutes_and_a_row_without_suite(tree):
    findings = rules.ci_minutes(tree, ["asan"])
    assert findings == ["CONTRIBUTING.md: no minutes for suite 'asan'",
                        "CONTRIBUTING.md: no suite 'unit' in CI"]


def test_ci_minutes_finds_a_wrong_total(tree):
    write(tree, "CONTRIBUTING.md", MINUTES + "| unit | all | 3 |\n| total | | 4 |\n")
    assert "the total says 4" in only(rules.ci_minutes(tree, ["unit"]))


def test_format_finds_a_file_that_clang_format_would_change(tree):
    write(tree, ".clang-format", "BasedOnStyle: Google\n")
    write(tree, "src/low/a.cc", SPDX + "int x  =  1;\n")
    findings = cpp_format.format_findings(tree)
    assert only(findings) == "src/low/a.cc: not formatted; run: make format"
    write(tree, "src/low/a.cc", SPDX + "int x = 1;\n")
    assert cpp_format.format_findings(tree) == []
