# SPDX-License-Identifier: Apache-2.0
"""Runs the takt program and reads what it leaves behind. Every wait has an end."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

WAIT_S = 120  # a hang, not slowness: the machine may be shared


@dataclass
class Finished:
    code: int
    out: str
    err: str

    def ok(self):
        assert self.code == 0, f"exit code {self.code}\n{self.out}\n{self.err}"
        return self

    def refused(self, code, *words):
        """Ended as a program that says no: this exit code, every one of these words, no crash."""
        assert self.code == code, f"exit code {self.code}, expected {code}\n{self.err}"
        for word in words:
            assert word in self.err, f"no {word!r} in:\n{self.err}"
        assert "terminate called" not in self.err and "Sanitizer" not in self.err, self.err
        assert self.err.startswith("takt: ") or "\ntakt: " in self.err or "--" in self.err, self.err
        return self


@dataclass
class Program:
    path: Path
    environment: dict[str, str]
    running: list[subprocess.Popen] = field(default_factory=list)

    def run(self, *arguments, timeout_s=WAIT_S):
        done = subprocess.run([self.path, *map(str, arguments)], env=self.environment, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s)
        return Finished(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE):
        process = subprocess.Popen([self.path, *map(str, arguments)], env=self.environment,
                                   stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                                   text=True)
        self.running.append(process)
        return process

    def inspect(self, config, folder, output, *more, **options):
        return self.run("inspect", "--config", config, "--input", folder, "--output", output, *more,
                        **options)

    def serve(self, config, summary, **options):
        return self.run("serve", config, "--summary", summary, **options)

    def kill_all(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=WAIT_S)


def finish(process, timeout_s=WAIT_S):
    out, err = process.communicate(timeout=timeout_s)
    return Finished(process.returncode, out, err)


def stop(process, number=signal.SIGTERM):
    process.send_signal(number)
    return finish(process)


def wait_until(condition, what, process=None, timeout_s=WAIT_S):
    """Polls a condition that the program brings about; fails when the program ends before."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if condition():
            return
        if process is not None and process.poll() is not None and not condition():
            out, err = process.communicate()
            raise AssertionError(f"ended (code {process.returncode}) before {what}\n{out}\n{err}")
        time.sleep(0.01)
    raise AssertionError(f"no {what} within {timeout_s} s")


def whole_lines(file):
    """The complete lines of a JSON Lines file that may still be written."""
    text = Path(file).read_text(encoding="utf-8") if Path(file).exists() else ""
    return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]


def verdicts(file):
    """Every line of a finished file: no half line is left, no line is something else."""
    text = Path(file).read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n"), "a half line at the end"
    return [json.loads(line) for line in text.splitlines()]


def by_frame(records):
    named = {record["frame"]: record for record in records}
    assert len(named) == len(records), "a frame has more than one verdict"
    return named


def store_rows(database):
    # mode=ro works beside a running program; the WAL is read with it.
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute("SELECT * FROM verdicts ORDER BY line, seq").fetchall()
    return [dict(row) for row in rows]


def summary(file):
    return json.loads(Path(file).read_text(encoding="utf-8"))


def check_every_frame(records, rows, counts, frames):
    """One verdict a frame, and the same in JSON Lines, store, journal and summary."""
    lines = counts["lines"].values()
    assert len(records) == len(rows) == frames
    for name in ("accepted", "verdicts"):
        assert sum(line[name] for line in lines) == frames, name
        assert counts["journal"][name] == frames, name
    assert counts["journal"]["refused"] == 0
    assert counts["store"]["stored"] == frames and counts["store"]["left_to_journal"] == 0
    reported = {(record["line"], record["seq"]): record["verdict"] for record in records}
    stored = {(row["line"], row["seq"]): row["verdict"] for row in rows}
    assert len(reported) == frames, "a sequence number was given twice"
    assert reported == stored
    sums = Counter(reported.values())
    for verdict in ("pass", "review", "reject"):
        assert sum(line[verdict] for line in lines) == sums[verdict], verdict
    return sums


def environment(folder):
    """Nothing outside of `folder` is read or written by way of the environment."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "ASAN_OPTIONS",
                                                     "TAKT_CUDA_FOLDERS")
            if name in os.environ}
    return kept | {"HOME": str(folder), "TMPDIR": str(folder), "LC_ALL": "C.UTF-8"}
