# SPDX-License-Identifier: Apache-2.0
"""takt plan: profiles that are measured or learned, and what is predicted from them."""

import json

import pictures
import pytest
import takt_yaml
import tiny_models

TASK = takt_yaml.defects("slow", "simulated")


@pytest.fixture
def config(tmp_path):
    """A line of 20 frames a second whose only model takes 20 ms and a little."""
    models = tmp_path / "models"
    tiny_models.add(models, "slow", tiny_models.detector(),
                    config="max_batch_size: 1\n" + tiny_models.simulated(base_us=20_000))
    written = takt_yaml.write(tmp_path / "takt.yaml", models,
                              takt_yaml.line(takt_yaml.simulator_source(rate="20/s"),
                                             deadline="2s"),
                              TASK)
    written.write_text(written.read_text().replace("cache: none", "cache: cache"))
    return written


def profiles(tmp_path):
    return sorted((tmp_path / "cache" / "profiles").glob("*.json"))


@pytest.fixture
def measured(takt, config, tmp_path):
    takt.run("plan", config, "--measure", "--measure-seconds", "0.5").ok()
    assert len(profiles(tmp_path)) == 1
    return config


def plan(takt, *arguments, code=0):
    done = takt.run("plan", *arguments, "--json")
    assert done.code == code, f"{done.out}\n{done.err}"
    return json.loads(done.out)


def test_without_a_profile_it_says_how_to_get_one(takt, config):
    takt.run("plan", config).refused(1, "tasks.defects: model 'slow' version 1 has no profile",
                                     "takt plan --measure")


def test_a_measured_line_is_planned(takt, measured):
    said = plan(takt, measured)
    assert said["holds"] and said["devices"] == said["devices_needed"] == 1
    task = said["tasks"]["defects"]
    assert task["missed"] == 0 and 20_000 <= task["p50_us"] <= task["p99_us"] <= task["p999_us"]
    assert said["lines"]["pcb"]["frames"] == task["requests"]
    table = takt.run("plan", measured).ok().out
    assert "1 device holds the deadlines" in table and "% busy" in table


def test_more_load_needs_more_devices(takt, measured):
    said = plan(takt, measured, "--load", "2.5", "--arrivals", "poisson", code=1)
    assert not said["holds"] and said["devices"] == 1
    assert said["devices_needed"] >= 3
    assert "devices_needed" not in plan(takt, measured, "--load", "2.5", "--devices", "8")


def test_a_deadline_that_no_device_can_hold(takt, measured):
    measured.write_text(measured.read_text().replace("deadline: 2s", "deadline: 10ms"))
    said = plan(takt, measured, "--devices-max", "3", code=1)
    assert said["devices_needed"] is None


def test_recorded_arrivals_are_planned(takt, measured, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("seconds,task\n" + "".join(f"{i * 0.05:.3f},defects\n" for i in range(200)))
    said = plan(takt, measured, "--arrivals", log)
    assert said["tasks"]["defects"]["requests"] == 200 and said["lines"] == {}


@pytest.mark.parametrize("text, words", [
    ("0,defects\nsoon,defects\n", ["log.csv:2: 'soon' is no time"]),
    ("0,defcts\n", ["log.csv:1: no task 'defcts'", "did you mean 'defects'"]),
    ("", ["no arrivals"]),
])
def test_bad_arrivals_are_named(takt, config, tmp_path, text, words):
    log = tmp_path / "log.csv"
    log.write_text(text)
    takt.run("plan", config, "--arrivals", log).refused(2, *words)


def test_bad_usage(takt, config, tmp_path):
    takt.run("plan", config, "--arrivals", "nowhere.csv").refused(2, "nowhere.csv", "poisson")
    assert takt.run("plan", config, "--devices", "0").code == 2
    assert takt.run("plan", tmp_path / "no.yaml").code == 2
    config.write_text(config.read_text().replace("cache: cache", "cache: none"))
    takt.run("plan", config, "--measure").refused(2, "models.cache")


def test_a_line_without_a_rate_asks_for_one(takt, measured):
    measured.write_text(measured.read_text().replace("      rate: 20/s\n", ""))
    takt.run("plan", measured).refused(2, "lines.pcb.source: has no rate", "--load")
    plan(takt, measured, "--load", "0.5")


def test_what_serving_learns_is_kept_and_planned_with(takt, tmp_path, config):
    pictures.write_boards(tmp_path / "in", 10)
    source = takt_yaml.folder_source("in", repeat=40)
    text = config.read_text()
    simulated = takt_yaml.simulator_source(rate="20/s")
    config.write_text(text.replace(simulated, source))
    takt.serve(config, tmp_path / "summary.json").ok()
    kept = profiles(tmp_path)
    assert len(kept) == 1
    learned = json.loads(kept[0].read_text())["learned"]
    assert sum(point["executions"] for point in learned) == 400
    takt.serve(config, tmp_path / "summary.json").ok()
    learned = json.loads(kept[0].read_text())["learned"]
    assert sum(point["executions"] for point in learned) == 800, "it counts on"
    config.write_text(text)
    said = plan(takt, config)
    assert said["tasks"]["defects"]["p50_us"] >= 20_000
    assert any("learned while serving" in note for note in said["notes"])


def test_a_damaged_profile_is_a_warning_and_measured_anew(takt, measured, tmp_path):
    file = profiles(tmp_path)[0]
    file.write_text(file.read_text()[:100])
    done = takt.run("plan", measured, "--measure", "--measure-seconds", "0.5").ok()
    assert "warning" in done.err and "damaged" in done.err
    assert json.loads(file.read_text())["measured"]["points"]


def test_another_model_file_is_another_profile(takt, measured, tmp_path):
    config = tmp_path / "models" / "slow" / "config.pbtxt"
    config.write_text(config.read_text() + "# changed\n")
    takt.run("plan", measured).refused(1, "has no profile")
