# SPDX-License-Identifier: Apache-2.0
"""A picture that can't be judged gives `review` with the reason, and the line goes on."""

import os
import shutil
import struct

import numpy as np
import pytest
from PIL import Image

import pictures
import takt_yaml
from program import by_frame, summary, verdicts

GOOD = 6  # boards around the damaged one


def empty(folder):
    (folder / "0003_test.png").write_bytes(b"")


def truncated(folder):
    pictures.truncated(folder / "0003_test.png")


def flipped_bytes(folder):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(noise).save(folder / "0003_test.png")
    pictures.flip_bytes(folder / "0003_test.png")


def text(folder):
    (folder / "0003_test.png").write_text("this is no picture\n" * 20)


def unreadable(folder):
    """A folder in the picture's place: permissions don't stop root."""
    (folder / "0003_test.png").unlink()
    (folder / "0003_test.png").mkdir()


def named_pipe(folder):
    (folder / "0003_test.png").unlink()
    os.mkfifo(folder / "0003_test.png")


def dangling_link(folder):
    (folder / "0003_test.png").unlink()
    (folder / "0003_test.png").symlink_to(folder / "gone.png")


def huge_header(folder):
    (folder / "0003_test.png").write_bytes(pictures.png_header(20_000, 20_000))


def no_pixels(folder):
    (folder / "0003_test.png").write_bytes(pictures.png_header(0, 64))


def truncated_jpeg(folder):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(noise).save(folder / "0003_test.png", format="JPEG")
    pictures.truncated(folder / "0003_test.png")


def truncated_bmp(folder):
    Image.fromarray(pictures.golden(3)).save(folder / "0003_test.png", format="BMP")
    pictures.truncated(folder / "0003_test.png")


def bmp_that_lies(folder):
    """The header promises 16,000 x 4,000 pixels that aren't there."""
    Image.fromarray(pictures.golden(3)).save(folder / "0003_test.png", format="BMP")
    data = bytearray((folder / "0003_test.png").read_bytes())
    data[18:26] = struct.pack("<ii", 16_000, 4_000)
    (folder / "0003_test.png").write_bytes(bytes(data))


def golden_missing(folder):
    (folder / "0003_temp.png").unlink()


def golden_damaged(folder):
    pictures.truncated(folder / "0003_temp.png")


def sizes_differ(folder):
    Image.fromarray(np.zeros((32, 64), np.uint8)).save(folder / "0003_temp.png")


DAMAGE = {
    empty: "empty",
    truncated: "truncated",
    flipped_bytes: "0003_test.png",
    text: "not a PNG, JPEG or BMP",
    unreadable: "not a regular file",
    named_pipe: "not a regular file",
    dangling_link: "no such file",
    huge_header: "20000x20000",
    no_pixels: "0003_test.png",
    truncated_jpeg: "JPEG",
    truncated_bmp: "BMP",
    bmp_that_lies: "BMP",
    golden_missing: "golden 0003_temp.png: no such file",
    golden_damaged: "golden 0003_temp.png",
    sizes_differ: "64x32 pixels, but board 0003_test.png has 64x64",
}


@pytest.fixture
def config(tmp_path, repository):
    line = takt_yaml.line(takt_yaml.folder_source("in"))
    return takt_yaml.write(tmp_path / "takt.yaml", repository, line)


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_the_frame_is_reviewed_and_the_others_are_judged(takt, tmp_path, config, damage):
    folder = tmp_path / "in"
    truth = pictures.write_boards(folder, GOOD)
    damage(folder)
    counts = tmp_path / "summary.json"
    takt.inspect(config, folder, tmp_path / "out.jsonl", "--summary", counts).ok()
    records = by_frame(verdicts(tmp_path / "out.jsonl"))
    damaged = records.pop("0003_test")
    assert (damaged["verdict"], damaged["route"]) == ("review", "inspection-table")
    assert damaged["by_fallback"] and damaged["detections"] == []
    assert damaged["reasons"][0].startswith("damaged: ")
    assert DAMAGE[damage] in damaged["reasons"][0] and "0003_te" in damaged["reasons"][0]
    for frame, record in records.items():
        assert record["verdict"] == ("reject" if truth[frame] else "pass"), frame
    assert len(records) == GOOD - 1
    assert summary(counts)["lines"]["pcb"]["damaged"] == 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1", "I;16"])
def test_other_channels_and_depths_are_read_as_gray(takt, tmp_path, config, mode):
    """A pair whose files have another format than the line wants is converted, not misread."""
    folder = tmp_path / "in"
    board, kind = pictures.with_defect(pictures.golden(4), 3, 3)
    pictures.write_pair(folder, "a", board, pictures.golden(4))
    file = folder / "a_test.png"
    if mode == "I;16":
        Image.fromarray(board.astype(np.uint16) * 257).save(file)
    else:
        Image.open(file).convert(mode).save(file)
    takt.inspect(config, folder, tmp_path / "out.jsonl").ok()
    [record] = verdicts(tmp_path / "out.jsonl")
    strong = [(d["class"], d["box"]) for d in record["detections"] if d["score"] > 0.5]
    assert strong == [(kind, pictures.box_of(3, 3))]


def test_a_folder_of_nothing_but_damage_comes_to_its_end(takt, tmp_path, config):
    truth = pictures.write_boards(tmp_path / "in", 12)
    for frame in truth:
        (tmp_path / "in" / f"{frame}.png").write_bytes(b"")
    takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl").ok()
    assert {record["verdict"] for record in verdicts(tmp_path / "out.jsonl")} == {"review"}


def test_a_rule_may_reject_what_is_damaged(takt, tmp_path, config):
    config.write_text(config.read_text().replace(
        "      rules:\n", "      rules:\n        - {name: broken, when: {damaged: true}, "
        "then: reject, route: scrap}\n"))
    pictures.write_boards(tmp_path / "in", 2, lambda i: False)
    empty_file = tmp_path / "in" / "0001_test.png"
    empty_file.write_bytes(b"")
    takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl").ok()
    record = by_frame(verdicts(tmp_path / "out.jsonl"))["0001_test"]
    assert (record["verdict"], record["route"]) == ("reject", "scrap")


def test_names_with_spaces_umlauts_and_invalid_utf8_stay_valid_json(takt, tmp_path, config):
    folder = tmp_path / "in"
    pictures.write_pair(folder, "plain", pictures.golden(0), pictures.golden(0))
    for name in ("Prüfling 7 \"x\"".encode(), b"bad\xff\xfe"):
        for part in (b"_test.png", b"_temp.png"):
            target = os.fsencode(folder) + b"/" + name + part
            shutil.copyfile(os.fsencode(folder) + b"/plain" + part, target)
    takt.inspect(config, folder, tmp_path / "out.jsonl").ok()
    records = verdicts(tmp_path / "out.jsonl")
    assert len(records) == 3 and 'Prüfling 7 "x"_test' in by_frame(records)
