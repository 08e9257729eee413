# SPDX-License-Identifier: Apache-2.0
"""Every frame in, one verdict out: with damaged files and a backend that fails in every way, the
counts agree exactly in JSON Lines, journal, store and summary."""

import shutil
from collections import Counter

import pytest

import pictures
import takt_yaml
import tiny_models
from program import check_every_frame, store_rows, summary, verdicts

BOARDS = 500
DAMAGED = range(50, BOARDS, 100)  # 1 %

# The first batches warm the model up and must succeed: at most 201 for each of two batch sizes, and
# a few for the second instance.
WARM_UP_BATCHES = 410
KINDS = ["failure", "corrupt_output", "out_of_memory", "hang"]


def faults(count=600):
    """A fault every 17 batches, of each kind in turn."""
    plan = [f"{KINDS[i % len(KINDS)]}@{WARM_UP_BATCHES + 17 * i}" for i in range(count)]
    return "max_batch_size: 2\n" + tiny_models.simulated(
        faults=",".join(plan), hang_us=3000, base_us=20, jitter_us=400, seed=7)


DAMAGES = [lambda file: file.write_bytes(b""), pictures.truncated,
           lambda file: file.write_bytes(pictures.png_header(20_000, 20_000)),
           lambda file: file.write_text("no picture"), lambda file: file.unlink()]


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    """500 pairs, five of them damaged, each in another way."""
    folder = tmp_path_factory.mktemp("boards")
    pictures.write_boards(folder, BOARDS)
    for number, damage in zip(DAMAGED, DAMAGES, strict=True):
        # The test image makes the frame: the one that is removed is a golden image.
        kind = "temp" if number == DAMAGED[-1] else "test"
        damage(folder / f"{number:04}_{kind}.png")
    return folder


@pytest.fixture
def faulty(tmp_path, repository):
    """A detector on the simulated device with every fault that a process survives, beside a
    matcher and a classifier on the real one."""
    folder = tmp_path / "repository"
    shutil.copytree(repository, folder)
    tiny_models.add(folder, "faulty", tiny_models.detector(), config=faults())
    return folder


def run(takt, tmp_path, config, frames, hanging=0):
    takt.serve(config, tmp_path / "summary.json", timeout_s=280).ok()
    records, counts = verdicts(tmp_path / "verdicts.jsonl"), summary(tmp_path / "summary.json")
    sums = check_every_frame(records, store_rows(tmp_path / "data" / "takt.sqlite"), counts, frames)
    assert counts["engine"]["submitted"] == counts["engine"]["answered"]
    # A batch that hangs when the program ends still holds its memory; anything else is a leak.
    assert counts["engine"]["slots_in_use"] <= hanging
    return records, counts, sums


def check_damaged(records, repeat):
    """Exactly the frames of damaged files are reviewed for their damage, each time."""
    names = Counter(record["frame"] for record in records
                    if any(reason.startswith("damaged: ") for reason in record["reasons"]))
    assert names == {f"{number:04}_test": repeat for number in DAMAGED}
    for record in records:
        assert record["reasons"] or record["verdict"] == "pass"
        if any(reason.startswith("damaged: ") for reason in record["reasons"]):
            assert record["verdict"] == "review"


def faults_seen(records):
    """Kinds of the errors of tasks that ran; those of a damaged frame didn't."""
    return Counter(task["error_kind"] for record in records for task in record["tasks"]
                   if task["requests"] > 0 and "error_kind" in task)


def serve_faulty(takt, tmp_path, boards, faulty, repeat):
    source = takt_yaml.folder_source(boards, repeat=repeat)
    config = takt_yaml.write(tmp_path / "takt.yaml", faulty, takt_yaml.line(source),
                             takt_yaml.defects("faulty", "simulated"))
    frames = BOARDS * repeat
    records, counts, sums = run(takt, tmp_path, config, frames)
    check_damaged(records, repeat)
    line = counts["lines"]["pcb"]
    assert line["damaged"] == len(DAMAGED) * repeat and line["dropped"] == 0
    kinds = faults_seen(records)
    assert kinds["internal"] > 0 and kinds["corrupt_output"] > 0, kinds
    assert line["tasks"]["defects"]["failed"] == sum(kinds.values()) - kinds["deadline_exceeded"]
    for record in records:
        if record["tasks"] and "error_kind" in record["tasks"][0]:
            assert record["by_fallback"] and record["verdict"] == "review", record
    assert sums["review"] >= line["by_fallback"] > 0
    return counts


def test_10000_frames_with_damage_and_faults(takt, tmp_path, boards, faulty):
    serve_faulty(takt, tmp_path, boards, faulty, repeat=20)


@pytest.mark.long
def test_100000_frames_with_damage_and_faults(takt, tmp_path, boards, faulty):
    serve_faulty(takt, tmp_path, boards, faulty, repeat=200)


def test_three_real_tasks_with_a_cascade(takt, tmp_path, boards, repository):
    tasks = takt_yaml.defects() + takt_yaml.DIFFERENCE + takt_yaml.KINDS
    line = takt_yaml.line(takt_yaml.folder_source(boards), tasks="defects, difference, kinds")
    config = takt_yaml.write(tmp_path / "takt.yaml", repository, line, tasks)
    records, counts, sums = run(takt, tmp_path, config, BOARDS)
    check_damaged(records, 1)
    assert not faults_seen(records)
    assert sums["review"] == len(DAMAGED), "nothing but damage is reviewed"
    tasks = counts["lines"]["pcb"]["tasks"]
    assert all(task["answered"] == BOARDS - len(DAMAGED) for task in tasks.values())


def test_frames_that_give_way_get_their_verdict_too(takt, tmp_path, boards, faulty):
    """A slow device, a ring that drops the oldest, a source that doesn't wait: most are dropped."""
    tiny_models.add(faulty, "slow", tiny_models.detector(),
                    config="max_batch_size: 1\n" + tiny_models.simulated(base_us=4000))
    line = takt_yaml.line(takt_yaml.folder_source(boards), ring="drop_oldest")
    config = takt_yaml.write(tmp_path / "takt.yaml", faulty, line,
                             takt_yaml.defects("slow", "simulated"))
    records, counts, _ = run(takt, tmp_path, config, BOARDS)
    dropped = [record for record in records if "dropped" in record["reasons"]]
    assert len(dropped) == counts["lines"]["pcb"]["dropped"] > 0
    assert all(record["verdict"] == "review" and record["by_fallback"] for record in dropped)


def test_a_hanging_device_makes_frames_late_not_lost(takt, tmp_path, repository):
    frames = 260
    pictures.write_boards(tmp_path / "in", frames)
    folder = tmp_path / "repository"
    # With batches of one row the warm-up takes 201 at most. The hang lasts until the program ends.
    hang = "max_batch_size: 1\n" + tiny_models.simulated(faults="hang@220", base_us=100)
    tiny_models.add(folder, "hanging", tiny_models.detector(), config=hang)
    line = takt_yaml.line(takt_yaml.folder_source("in"), deadline="200ms")
    config = takt_yaml.write(tmp_path / "takt.yaml", folder, line,
                             takt_yaml.defects("hanging", "simulated") + "    instances: 1\n")
    records, counts, _ = run(takt, tmp_path, config, frames, hanging=1)
    late = [record for record in records if record["by_fallback"]]
    assert late and all(record["verdict"] == "review" for record in late)
    assert all(record["reasons"][0].startswith("task:defects late") for record in late)
    assert counts["lines"]["pcb"]["tasks"]["defects"]["late"] == len(late)


def test_two_lines_share_a_store_and_count_for_themselves(takt, tmp_path, boards, faulty):
    lines = (takt_yaml.line(takt_yaml.folder_source(boards), name="left") +
             takt_yaml.line(takt_yaml.simulator_source(boards=40), name="right", tasks="large"))
    tasks = takt_yaml.defects("faulty", "simulated") + takt_yaml.defects("large").replace(
        "  defects:", "  large:")
    tiny_models.add(faulty, "large", tiny_models.detector(640))
    config = takt_yaml.write(tmp_path / "takt.yaml", faulty, lines, tasks)
    text = config.read_text()
    head, right = text.split("  right:\n")
    config.write_text(head + "  right:\n" + right.replace("{task: defects,", "{task: large,"))
    records, counts, _ = run(takt, tmp_path, config, BOARDS + 40)
    per_line = Counter(record["line"] for record in records)
    assert per_line == {"left": BOARDS, "right": 40}
    for name, count in per_line.items():
        seqs = sorted(record["seq"] for record in records if record["line"] == name)
        assert len(set(seqs)) == count and seqs[-1] - seqs[0] == count - 1, "no gap, none twice"
        assert counts["lines"][name]["verdicts"] == count
