# SPDX-License-Identifier: Apache-2.0
"""A wrong takt.yaml is refused with the place, what was expected and what to try."""

import re

import pytest

import pictures
import takt_yaml
from program import verdicts

# What is written in place of what, and what the message must say.
MISTAKES = {
    "unknown key": ("deadline: 30s", "deadlin: 30s", ["lines.pcb", "unknown key 'deadlin'", "did you mean 'deadline'?"]),
    "unknown key in a task": ("fallback: review", "falback: review",
                              ["tasks.defects", "unknown key 'falback'", "did you mean 'fallback'?"]),
    "unknown section": ("devices:", "device:", ["device", "did you mean 'devices'?"]),
    "no unit": ("deadline: 30s", "deadline: 500", ["lines.pcb.deadline", "'500' has no unit", "40ms"]),
    "wrong unit": ("deadline: 30s", "deadline: 30MiB", ["lines.pcb.deadline", "30MiB"]),
    "unknown unit": ("deadline: 30s", "deadline: 30 parsec", ["lines.pcb.deadline", "parsec"]),
    "mistyped task": ("tasks: [defects]", "tasks: [defcts]",
                      ["lines.pcb.tasks", "no task 'defcts'", "did you mean 'defects'?"]),
    "mistyped task in a rule": ("{task: defects,", "{task: defekts,", ["defekts", "'defects'"]),
    "mistyped post-processor": ("name: yolo", "name: yollo", ["'yollo'", "did you mean 'yolo'?"]),
    "mistyped colour": ("color: gray", "color: grey", ["tasks.defects.preprocess.color", "grey"]),
    "mistyped policy": ("policy: block", "policy: blok", ["lines.pcb.ring.policy", "blok"]),
    "mistyped verdict": ("then: reject", "then: rejct", ["rejct", "reject"]),
    "mistyped image": ("[board, golden]", "[board, goldn]", ["goldn", "'golden'"]),
    "mistyped source": ("type: folder", "type: foldr", ["'foldr'", "did you mean 'folder'?"]),
    "pattern without id": ("{id}_test.png", "a_test.png", ["{id}"]),
    "score out of range": ("score_min: 0.5", "score_min: 50", ["score_min", "50"]),
    "number that is none": ("capacity: 8", "capacity: many", ["ring.capacity", "many"]),
    "ring of nothing": ("capacity: 8", "capacity: 0", ["ring.capacity"]),
    "no source": ("    source:\n", "    sauce:\n", ["lines.pcb", "source"]),
    "not YAML": ("tasks: [defects]", "tasks: [defects", ["not YAML"]),
    "key twice": ("deadline: 30s", "deadline: 30s\n    deadline: 1s", ["deadline"]),
}


@pytest.fixture
def config(tmp_path, repository):
    return takt_yaml.write(tmp_path / "takt.yaml", repository,
                           takt_yaml.line(takt_yaml.folder_source("in")))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_line(takt, config, mistake):
    right, wrong, words = MISTAKES[mistake]
    text = config.read_text()
    assert right in text
    config.write_text(text.replace(right, wrong))
    for command in ("validate", "serve"):
        done = takt.run(command, config).refused(2, f"{config}:", *words)
        place = done.err.split(f"{config}:")[1]
        number = int(place.split(":")[0])
        assert 1 <= number <= text.count("\n") + 2, done.err


def test_every_mistake_of_a_file_is_told_at_once(takt, config):
    config.write_text(config.read_text().replace("deadline: 30s", "deadline: 30")
                      .replace("policy: block", "policy: blok").replace("name: yolo", "name: yollo"))
    takt.run("validate", config).refused(2, "deadline", "blok", "yollo")


def test_a_right_file_is_valid_and_its_models_too(takt, config):
    done = takt.run("validate", config).ok()
    assert "valid" in done.out and "1 tasks" in done.out


@pytest.mark.parametrize("content", [b"", b"- a\n- list\n", b"just words", bytes(range(256)),
                                     b"lines: {" * 2000, b"\xff\xfe\x00"],
                         ids=["empty", "list", "words", "bytes", "nested", "utf16"])
def test_a_file_that_is_something_else_is_refused(takt, tmp_path, content):
    (tmp_path / "takt.yaml").write_bytes(content)
    takt.run("validate", tmp_path / "takt.yaml").refused(2, str(tmp_path / "takt.yaml"))


@pytest.mark.parametrize("place", ["nowhere.yaml", ".", "/dev/null"])
def test_a_file_that_cannot_be_read_is_named(takt, tmp_path, place):
    takt.run("validate", tmp_path / place).refused(2, str(tmp_path / place).rstrip("/."))


@pytest.mark.parametrize("arguments", [[], ["serv"], ["serve"], ["inspect", "--confg", "x"],
                                       ["demo", "--seconds", "soon"], ["demo", "--load", "-1"]],
                         ids=" ".join)
def test_a_wrong_command_line_is_refused(takt, arguments):
    done = takt.run(*arguments)
    assert done.code == 2 and done.err.strip(), done


def test_help_and_version_need_no_configuration(takt):
    assert "inspect" in takt.run("--help").ok().out
    assert takt.run("version").ok().out.startswith("takt ")


def test_doctor_says_what_there_is_for_a_gpu_or_what_to_do(takt):
    said = takt.run("doctor").ok().out
    found = re.search(r"^(ok|note) +gpu driver +(.*)\n +(.*)$", said, re.MULTILINE)
    assert found, said
    level, driver, remedy = found.groups()
    if level == "ok":
        assert driver.startswith("CUDA 1") and "gpu 0" in said
    else:
        assert "models run on the CPU" in driver and "libcuda.so.1" in remedy


def test_a_missing_image_folder_names_the_line(takt, config):
    takt.run("serve", config).refused(2, "lines.pcb.source", "no such folder")


def test_a_line_without_store_warns_and_runs(takt, tmp_path, repository):
    pictures.write_boards(tmp_path / "in", 3)
    config = takt_yaml.write(tmp_path / "takt.yaml", repository,
                             takt_yaml.line(takt_yaml.folder_source("in")), store=None)
    done = takt.serve(config, tmp_path / "summary.json").ok()
    assert "warning: store" in done.err and len(verdicts(tmp_path / "verdicts.jsonl")) == 3
