# SPDX-License-Identifier: Apache-2.0
"""tests/run.py counts what ctest and pytest report, and never takes silence for success."""

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import run  # noqa: E402  (tests/run.py)

CTEST = """<testsuite name="(empty)">
<testcase name="core: A.Ok" classname="core: A.Ok" status="run"/>
<testcase name="core: A.Skip" classname="core: A.Skip" status="notrun">
  <skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>
  <system-out>[ RUN      ] A.Skip
src/core/a_test.cc:4: Skipped
no boards here
[  SKIPPED ] A.Skip (0 ms)</system-out></testcase>
<testcase name="core: A.Bad" classname="core: A.Bad" status="fail"><failure message=""/></testcase>
<testcase name="core: A.Off" classname="core: A.Off" status="disabled"/>
</testsuite>"""

PYTEST = """<testsuites><testsuite name="pytest">
<testcase classname="e2e.test_demo" name="test_ok"/>
<testcase classname="e2e.test_demo" name="test_bad"><failure message="assert"/></testcase>
<testcase classname="e2e.test_demo" name="test_setup"><error message="error&#10;at fixture"/></testcase>
<testcase classname="e2e.test_demo" name="test_skip"><skipped message="no boards"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "RESULTS", tmp_path)


def shell(script: str, limit_minutes: float = 1.0) -> run.Suite:
    return run.Suite("sample", "a sample", limit_minutes, command=("bash", "-c", script))


def reporting(xml: str, exit_code: int = 0) -> run.Suite:
    return shell(f"cat > {{report}} <<'END'\n{xml}\nEND\nexit {exit_code}")


def ends_within_10_s(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True  # dead, not yet collected
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def test_a_ctest_report_is_counted_with_the_reason_of_a_skip():
    outcome = run.run_suite(reporting(CTEST, 8), jobs=1)
    assert outcome.passed == 1
    assert outcome.failed == ["core: A.Bad"]
    assert outcome.skipped == ["core: A.Skip (no boards here)", "core: A.Off (not run)"]


def test_a_pytest_report_is_counted_with_errors_as_failures():
    outcome = run.run_suite(reporting(PYTEST, 1), jobs=1)
    assert outcome.passed == 1
    assert outcome.failed == ["e2e.test_demo: test_bad (assert)", "e2e.test_demo: test_setup (error)"]
    assert outcome.skipped == ["e2e.test_demo: test_skip (no boards)"]


def test_a_suite_without_a_report_fails():
    assert "no usable report" in run.run_suite(shell("exit 0"), jobs=1).failed[0]


def test_a_report_of_an_earlier_run_is_not_counted(tmp_path):
    (tmp_path / "sample.xml").write_text(PYTEST)
    outcome = run.run_suite(shell("exit 0"), jobs=1)
    assert outcome.passed == 0 and outcome.failed


def test_a_suite_that_ran_nothing_fails():
    outcome = run.run_suite(reporting("<testsuites/>"), jobs=1)
    assert outcome.failed == ["ran no test (exit code 0)"]


def test_a_suite_that_dies_after_its_last_test_fails():
    passing = '<testsuite><testcase name="a"/></testsuite>'
    assert run.run_suite(reporting(passing, 139), jobs=1).failed == ["exit code 139"]


def test_a_suite_over_its_limit_is_killed_with_its_children(tmp_path):
    start = time.monotonic()
    suite = shell(f"sleep 120 & echo $! > {tmp_path}/child; wait", limit_minutes=1 / 60)
    outcome = run.run_suite(suite, jobs=1)
    assert time.monotonic() - start < 60
    assert outcome.failed
    assert ends_within_10_s(int((tmp_path / "child").read_text()))


@pytest.mark.parametrize("xml, exit_code, last_line", [
    ('<s><testcase name="a"/></s>', 0, "1 passed, 0 failed, 0 skipped"),
    (PYTEST, 1, "1 passed, 2 failed, 1 skipped"),
    ('<s><testcase name="a"><skipped message="no"/></testcase></s>', 1,
     "0 passed, 0 failed, 1 skipped"),
])
def test_the_last_line_and_the_exit_code_tell_the_whole(monkeypatch, capsys, xml, exit_code,
                                                        last_line):
    monkeypatch.setattr(run, "SUITES", [reporting(xml)])
    monkeypatch.setattr(sys, "argv", ["run.py", "sample"])
    assert run.main() == exit_code
    assert capsys.readouterr().out.splitlines()[-1] == last_line
