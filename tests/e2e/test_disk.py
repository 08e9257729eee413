# SPDX-License-Identifier: Apache-2.0
"""Stores and files that can't be written: refused at the start, survived in the middle."""

import ctypes
import os
import sqlite3
import subprocess

import pytest

import pictures
import takt_yaml
from program import stop, store_rows, summary, verdicts, wait_until, whole_lines

MS_RDONLY = 1


@pytest.fixture
def config(tmp_path, repository):
    pictures.write_boards(tmp_path / "in", 20)
    return takt_yaml.write(tmp_path / "takt.yaml", repository,
                           takt_yaml.line(takt_yaml.folder_source("in")))


def mount(folder, size, flags=0):
    """A small file system of its own, or the reason why there is none."""
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, f"size={size}".encode()) != 0:
        pytest.skip(f"can't mount a tmpfs: {os.strerror(ctypes.get_errno())}; run as root to test "
                    "full and read-only disks")
    return lambda: libc.umount2(os.fsencode(folder), 2)


@pytest.fixture
def small_disk(tmp_path):
    unmount = mount(tmp_path / "disk", "4m")
    yield tmp_path / "disk"
    unmount()


def set_store(config, directory):
    config.write_text(config.read_text().replace("store: {directory: data}",
                                                 f"store: {{directory: {directory}}}"))


def test_a_store_below_a_file_is_refused(takt, tmp_path, config):
    (tmp_path / "file").write_text("in the way")
    set_store(config, tmp_path / "file" / "data")
    takt.run("serve", config).refused(1, str(tmp_path / "file" / "data"), "store.directory")


def test_a_store_where_nothing_can_be_made_is_refused(takt, config):
    set_store(config, "/proc/takt-data")
    takt.run("serve", config).refused(1, "/proc/takt-data", "store.directory")


def test_a_read_only_disk_is_refused(takt, tmp_path, config):
    unmount = mount(tmp_path / "readonly", "1m", MS_RDONLY)
    try:
        set_store(config, tmp_path / "readonly" / "data")
        takt.run("serve", config).refused(1, str(tmp_path / "readonly"), "store.directory")
    finally:
        unmount()


def test_a_disk_without_room_for_the_journal_is_refused_at_the_start(takt, config, small_disk):
    """The journal takes its room beforehand, so that it can't run out in the middle."""
    set_store(config, small_disk / "data")
    takt.run("serve", config).refused(1, str(small_disk), "No space left", "free space")


def test_a_store_file_that_is_no_database_is_refused(takt, tmp_path, config):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "takt.sqlite").write_bytes(b"this is no database, " * 500)
    takt.run("serve", config).refused(2, str(tmp_path / "data" / "takt.sqlite"))


def test_a_store_of_a_newer_version_is_refused(takt, tmp_path, config):
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data" / "takt.sqlite") as connection:
        connection.execute("PRAGMA user_version = 999")
    takt.run("serve", config).refused(2, "takt.sqlite", "newer")


def test_a_damaged_journal_is_named(takt, tmp_path, config):
    takt.serve(config, tmp_path / "summary.json").ok()
    segment = tmp_path / "data" / "journal" / "segment-000000999999.journal"
    segment.write_bytes(b"no journal" * 100)
    takt.run("serve", config).refused(2, str(segment))


def test_json_lines_on_a_full_device_are_counted_and_the_verdicts_kept(takt, tmp_path, config):
    """/dev/full takes nothing: the line goes on, store and journal have every verdict."""
    config.write_text(config.read_text().replace("path: verdicts.jsonl", "path: /dev/full"))
    takt.serve(config, tmp_path / "summary.json").ok()
    said = summary(tmp_path / "summary.json")
    assert said["lines"]["pcb"]["verdicts"] == said["journal"]["verdicts"] == 20
    assert said["lines"]["pcb"]["sinks"]["jsonl"]["failures"] > 0
    assert len(store_rows(tmp_path / "data" / "takt.sqlite")) == 20


def test_inspect_to_a_full_device_fails(takt, tmp_path, config):
    """The output is what inspect is for: without it the exit code says so."""
    takt.inspect(config, tmp_path / "in", "/dev/full").refused(1, "/dev/full", "No space left")


def test_a_store_whose_disk_fills_up_loses_no_verdict(takt, tmp_path, config, small_disk):
    """Pictures fill the disk; with room again, the next start brings the rest from the journal."""
    set_store(config, small_disk / "data")
    # The journal fits; the store then has some 2 MiB, which pictures of every board use up.
    config.write_text(config.read_text().replace("in\n", "in\n      repeat: 0\n", 1).replace(
        "data}", "data, pictures: [pass, reject], journal: {segment_bytes: 512KiB, "
        "bytes_max: 1MiB}}"))
    process = takt.start("serve", config, "--summary", tmp_path / "summary.json")
    wait_until(lambda: len(whole_lines(tmp_path / "verdicts.jsonl")) >= 200, "verdicts", process)
    with open(small_disk / "ballast", "wb", buffering=0) as ballast:
        try:
            while ballast.write(b"\0" * 4096):
                pass
        except OSError:
            pass
    seen = len(whole_lines(tmp_path / "verdicts.jsonl"))
    wait_until(lambda: len(whole_lines(tmp_path / "verdicts.jsonl")) >= seen + 200, "more verdicts",
               process)
    stop(process).ok()
    assert summary(tmp_path / "summary.json")["store"]["failures"] > 0, "the disk was not full"
    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)

    config.write_text(config.read_text().replace("repeat: 0", "repeat: 1"))
    takt.serve(config, tmp_path / "summary.json").ok()
    records = verdicts(tmp_path / "verdicts.jsonl")
    final = {record["seq"]: record for record in records}
    stored = {row["seq"]: row["verdict"] for row in store_rows(small_disk / "data" / "takt.sqlite")}
    # A full journal refuses frames, and their verdicts say so; whatever it took is judged once and
    # ends in the store.
    refused = {record["seq"] for record in records if "journal" in record["reasons"]}
    assert len(records) == len(final) >= 400
    assert not any("restart" in record["reasons"] for record in records)
    assert final.keys() - stored.keys() <= refused
    assert all(final[seq]["verdict"] == verdict for seq, verdict in stored.items())
