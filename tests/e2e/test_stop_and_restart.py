# SPDX-License-Identifier: Apache-2.0
"""Signals in the middle drain; a killed process loses no verdict that it has reported."""

import fcntl
import shutil
import signal

import pytest

import journal
import pictures
import takt_yaml
import tiny_models
from program import (check_every_frame, finish, stop, store_rows, summary, verdicts, wait_until,
                     whole_lines)


@pytest.fixture
def slow(tmp_path, repository):
    """The detector's shape on a device that takes 10 ms for one or two frames: there is a middle to
    stop in."""
    folder = tmp_path / "repository"
    shutil.copytree(repository, folder)
    tiny_models.add(folder, "slow", tiny_models.detector(),
                    config="max_batch_size: 2\n" + tiny_models.simulated(base_us=10_000))
    return folder


@pytest.fixture
def endless(tmp_path, slow):
    """A line whose source never ends; some of its pictures are damaged."""
    pictures.write_boards(tmp_path / "in", 20)
    (tmp_path / "in" / "0007_test.png").write_bytes(b"")
    line = takt_yaml.line(takt_yaml.folder_source("in", repeat=0))
    return takt_yaml.write(tmp_path / "takt.yaml", slow, line,
                           takt_yaml.defects("slow", "simulated"))


def start_and_see(takt, tmp_path, config, more_lines):
    """Starts the program and waits until it has reported so many more verdicts."""
    before = len(whole_lines(tmp_path / "verdicts.jsonl"))
    process = takt.start("serve", config, "--summary", tmp_path / "summary.json")
    wait_until(lambda: len(whole_lines(tmp_path / "verdicts.jsonl")) >= before + more_lines,
               f"{more_lines} verdicts", process)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_every_accepted_frame_has_its_verdict(takt, tmp_path, endless, number):
    process = start_and_see(takt, tmp_path, endless, 100)
    done = stop(process, number).ok()
    assert "stopping" in done.err
    records, counts = verdicts(tmp_path / "verdicts.jsonl"), summary(tmp_path / "summary.json")
    frames = counts["lines"]["pcb"]["accepted"]
    assert frames >= 100
    check_every_frame(records, store_rows(tmp_path / "data" / "takt.sqlite"), counts, frames)
    assert counts["journal"]["unacknowledged"] == 0


def test_after_a_signal_the_next_run_goes_on_counting(takt, tmp_path, endless):
    for _ in range(2):
        stop(start_and_see(takt, tmp_path, endless, 60)).ok()
    records = verdicts(tmp_path / "verdicts.jsonl")
    seqs = [record["seq"] for record in records]
    assert len(seqs) == len(set(seqs)) and len(records) >= 120
    assert not any("restart" in record["reasons"] for record in records), "nothing was left over"
    assert {row["seq"] for row in store_rows(tmp_path / "data" / "takt.sqlite")} == set(seqs)


def test_a_signal_ends_an_inspection_with_what_is_done(takt, tmp_path, endless):
    endless.write_text(endless.read_text().replace("repeat: 0", "repeat: 100000"))
    process = takt.start("inspect", "--config", endless, "--output", tmp_path / "out.jsonl",
                         "--summary", tmp_path / "summary.json")
    wait_until(lambda: whole_lines(tmp_path / "out.jsonl"), "verdicts", process)
    stop(process).ok()
    line = summary(tmp_path / "summary.json")["lines"]["pcb"]
    assert line["accepted"] == line["verdicts"] == len(verdicts(tmp_path / "out.jsonl"))


def test_a_second_signal_ends_a_drain_at_once(takt, tmp_path, slow):
    """A device that hangs for ever and a line that waits an hour for it: nobody is held up."""
    tiny_models.add(slow, "hanging", tiny_models.detector(),
                    config="max_batch_size: 1\n" + tiny_models.simulated(faults="hang@220"))
    pictures.write_boards(tmp_path / "in", 20)
    line = takt_yaml.line(takt_yaml.folder_source("in", repeat=0), deadline="1h")
    config = takt_yaml.write(tmp_path / "takt.yaml", slow, line,
                             takt_yaml.defects("hanging", "simulated") + "    instances: 1\n")
    process = start_and_see(takt, tmp_path, config, 10)
    process.send_signal(signal.SIGINT)
    # The first one is announced; only then the second is the second.
    error = ""
    while "stopping" not in error:
        read = process.stderr.readline()
        assert read, error
        error += read
    process.send_signal(signal.SIGINT)
    assert finish(process).code in (0, 130)


def test_kill_and_restart_lose_no_reported_verdict(takt, tmp_path, endless):
    reported, numbers_seen, left_over = {}, set(), set()
    for _ in range(2):
        process = start_and_see(takt, tmp_path, endless, 80)
        process.kill()
        finish(process)
        for record in whole_lines(tmp_path / "verdicts.jsonl"):
            assert reported.setdefault(record["seq"], record["verdict"]) == record["verdict"]
        accepted, answered = journal.frames(tmp_path / "data")
        assert accepted, "the journal was not read"
        numbers_seen |= accepted
        left_over |= accepted - answered.keys()
        reported |= answered

    stop(start_and_see(takt, tmp_path, endless, 20)).ok()
    records = verdicts(tmp_path / "verdicts.jsonl")
    rows = {row["seq"]: row for row in store_rows(tmp_path / "data" / "takt.sqlite")}
    by_seq = {record["seq"]: record for record in records}
    assert len(by_seq) == len(records), "a sequence number was given twice"
    for seq, verdict in reported.items():
        assert seq in by_seq and seq in rows, f"frame {seq} was reported and is lost"
        assert verdict == by_seq[seq]["verdict"] == rows[seq]["verdict"]
    assert numbers_seen <= by_seq.keys() and numbers_seen <= rows.keys(), "accepted, no verdict"
    assert by_seq.keys() == rows.keys()
    restarted = [record for record in records if record["reasons"] == ["restart"]]
    assert all(record["verdict"] == "review" and record["by_fallback"] for record in restarted)
    assert {record["seq"] for record in restarted} == left_over
    assert sorted(by_seq) == list(range(min(by_seq), min(by_seq) + len(by_seq))), "no gap"


def test_frames_in_flight_at_the_kill_come_as_review(takt, tmp_path, slow):
    """A device that hangs: at the kill there are accepted frames without a verdict for certain."""
    tiny_models.add(slow, "hanging", tiny_models.detector(),
                    config="max_batch_size: 1\n" + tiny_models.simulated(faults="hang@220"))
    pictures.write_boards(tmp_path / "in", 20)
    line = takt_yaml.line(takt_yaml.folder_source("in", repeat=0), deadline="1h")
    tasks = takt_yaml.defects("hanging", "simulated") + "    instances: 1\n"
    config = takt_yaml.write(tmp_path / "takt.yaml", slow, line, tasks)
    process = takt.start("serve", config)

    looks = []

    def hanging():  # the same frames at twenty looks: none gets its verdict before the kill
        accepted, answered = journal.frames(tmp_path / "data")
        looks.append(accepted - answered.keys())
        return len(looks[-1]) == 8 and looks[-20:].count(looks[-1]) == 20

    wait_until(hanging, "frames in flight", process)
    process.kill()
    finish(process)
    accepted, answered = journal.frames(tmp_path / "data")
    left = accepted - answered.keys()
    assert len(left) == 8, "frames_in_flight_max"

    config.write_text(config.read_text().replace("model: hanging", "model: slow"))
    done = stop(start_and_see(takt, tmp_path, config, len(left))).ok()
    records = verdicts(tmp_path / "verdicts.jsonl")
    restarted = [record for record in records if record["reasons"] == ["restart"]]
    assert {record["seq"] for record in restarted} == left
    assert {record["verdict"] for record in restarted} == {"review"}
    assert all(record["route"] == "inspection-table" for record in restarted)
    assert summary(tmp_path / "summary.json")["lines"]["pcb"]["restarted"] == len(left)
    assert "restart" in done.out


def test_half_a_line_left_by_a_crash_is_cut_off(takt, tmp_path, endless):
    stop(start_and_see(takt, tmp_path, endless, 20)).ok()
    whole = (tmp_path / "verdicts.jsonl").read_text()
    with open(tmp_path / "verdicts.jsonl", "a", encoding="utf-8") as file:
        file.write('{"line": "pcb", "seq": 99')
    stop(start_and_see(takt, tmp_path, endless, 20)).ok()
    assert (tmp_path / "verdicts.jsonl").read_text().startswith(whole)
    verdicts(tmp_path / "verdicts.jsonl")


def test_a_lost_store_is_filled_from_what_the_journal_still_has(takt, tmp_path, endless):
    """The journal keeps a verdict until the store has it: kill, and both agree after the repair."""
    process = start_and_see(takt, tmp_path, endless, 50)
    process.kill()
    finish(process)
    (tmp_path / "verdicts.jsonl").unlink()
    _, answered = journal.frames(tmp_path / "data")
    stop(start_and_see(takt, tmp_path, endless, 20)).ok()
    written = {record["seq"] for record in verdicts(tmp_path / "verdicts.jsonl")}
    stored = {row["seq"] for row in store_rows(tmp_path / "data" / "takt.sqlite")}
    assert answered and answered.keys() <= stored and answered.keys() <= written


def test_without_its_journal_the_next_run_goes_on_counting_all_the_same(takt, tmp_path, endless):
    """Otherwise the store would take new verdicts for known ones and drop them."""
    stop(start_and_see(takt, tmp_path, endless, 40)).ok()
    shutil.rmtree(tmp_path / "data" / "journal")
    stop(start_and_see(takt, tmp_path, endless, 40)).ok()
    seqs = [record["seq"] for record in verdicts(tmp_path / "verdicts.jsonl")]
    assert len(set(seqs)) == len(seqs) == len(store_rows(tmp_path / "data" / "takt.sqlite"))


def test_a_second_process_on_the_same_store_is_refused(takt, tmp_path, endless):
    process = start_and_see(takt, tmp_path, endless, 10)
    takt.run("serve", endless).refused(1, str(tmp_path / "data"), "another takt process",
                                       "store.directory")
    stop(process).ok()
    verdicts(tmp_path / "verdicts.jsonl")


def test_a_json_lines_file_in_use_is_refused(takt, tmp_path, endless):
    with open(tmp_path / "verdicts.jsonl", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        takt.run("serve", endless).refused(1, str(tmp_path / "verdicts.jsonl"), "another process")
