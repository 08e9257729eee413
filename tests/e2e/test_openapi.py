# SPDX-License-Identifier: Apache-2.0
"""Both descriptions hold: whatever schemathesis makes of them, takt answers as they say, and never
with a 5xx."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pictures
import program as programs
import pytest
import takt_yaml
import test_rest
import tiny_models
import triton_server

ROOT = Path(__file__).resolve().parents[2]
OWN = ROOT / "src" / "rest" / "openapi.json"
PROTOCOL = ROOT / "src" / "server" / "http" / "open_inference.json"
SERVED = {OWN: "/openapi.json", PROTOCOL: "/v2/openapi.json"}

SERVER = """\
server:
  models: all
  model_control: true
  http: {port: 0}
  grpc: {enabled: false}
  metrics: {enabled: false}
"""

# Names that are there are asked for more often than others. What is loaded and unloaded isn't asked.
# Operations in the list refuse more than a schema can say: which tensors, pictures or objects there
# must be, or that a box has an area. To a form, everything is text.
CONFIG = """\
request-timeout = 30.0
continue-on-failure = true
[cache]
enabled = false
[generation]
database = "none"
[dictionaries]
models = {values = ["simple", "simple_string", "identity_fp32", "detector"]}
changed = {values = ["spare", "simple_int8"]}
versions = {values = ["1"]}
regions = {values = ["a", "b"]}
lines = {values = ["station"]}
tasks = {values = ["defects", "difference", "kinds"]}
roles = {values = ["board", "golden"]}
ids = {values = [1, 2, 3, 4, 5, 6]}
[parameters]
"path.model" = {dictionary = "models", probability = 0.9}
"path.version" = {dictionary = "versions", probability = 0.9}
"path.region" = {dictionary = "regions", probability = 0.5}
"path.line" = {dictionary = "lines", probability = 0.9}
"path.task" = {dictionary = "tasks", probability = 0.9}
"path.role" = {dictionary = "roles", probability = 0.9}
"path.id" = {dictionary = "ids", probability = 0.9}
[[operations]]
include-operation-id = ["load_model", "unload_model"]
parameters = {"path.model" = {dictionary = "changed", probability = 0.9}}
[[operations]]
include-operation-id = ["decide", "infer", "infer_version", "inspect", "load_model",
                        "register_cuda_region", "register_system_region", "run_task"]
checks = {positive_data_acceptance = {enabled = false}}
[[operations]]
include-operation-id = "inspect"
checks = {positive_data_acceptance = {enabled = false}, negative_data_rejection = {enabled = false}}
"""


@pytest.fixture(scope="module")
def station(program_path, tmp_path_factory):
    """A line, tasks, reviews and Triton's models, all in one server."""
    folder = tmp_path_factory.mktemp("openapi")
    models = triton_server.write_models(folder / "models")
    triton_server.add_simulated(models, "spare")
    for name in ("detector", "matcher", "classifier"):
        tiny_models.add(models, name, getattr(tiny_models, name)())
    takt = programs.Program(program_path, programs.environment(folder))
    tasks = takt_yaml.defects() + takt_yaml.DIFFERENCE + takt_yaml.KINDS
    lines = takt_yaml.line(test_rest.REQUESTS, "station", tasks="defects, difference")
    process, rest = test_rest.start(takt, folder, models, lines, tasks, more=SERVER)
    rest.folder = folder
    rest.process = process
    test, golden, _ = test_rest.board_with(2, 5)
    for _ in range(3):
        assert rest.inspect(test, golden)[0] == 200
        assert rest.inspect(pictures.golden(1), golden)[0] == 200
    test_rest.reviewed(rest, "looked-at")
    yield rest
    takt.kill_all()


def references(node):
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        node = list(node.values())
    for value in node if isinstance(node, list) else []:
        yield from references(value)


@pytest.mark.parametrize("description", SERVED, ids=["own", "protocol"])
def test_a_description_is_served_and_whole(station, description):
    content = json.loads(description.read_text(encoding="utf-8"))
    assert station.get(SERVED[description]) == content
    for reference in references(content):
        node = content
        for key in reference.removeprefix("#/").split("/"):
            assert key in node, f"{description}: no {reference}"
            node = node[key]
    operations = [operation["operationId"] for path in content["paths"].values()
                  for operation in path.values()]
    assert len(operations) == len(set(operations))


def test_the_example_of_a_request_is_answered(station):
    paths = json.loads(PROTOCOL.read_text(encoding="utf-8"))["paths"]
    for path in ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer"):
        example = paths[path]["post"]["requestBody"]["content"]["application/json"]["example"]
        place = path.format(model="simple", version=1)
        status, answer = station.call("POST", place, json.dumps(example).encode())
        assert status == 200, answer
        assert answer["outputs"][0]["data"] == [i + 1 for i in range(16)]


def run(station, description, seconds, folder, *options):
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG, encoding="utf-8")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run",
               description, "--url", f"http://{station.place}", "--max-time", str(seconds),
               "--no-color", *options]
    if description == OWN:
        command += ["--exclude-path", "/v1/events"]  # it doesn't end
    # More than it may take: a request at the end has its own timeout, and a failure is shrunk.
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=2 * seconds + 120)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    status = station.get("/v1/status")
    assert status["ready"] and all(worker["state"] == "serving" for worker in status["workers"])
    assert station.process.poll() is None
    generated = re.search(r"(\d+) generated", output)
    assert generated and int(generated[1]) > 10 * seconds, output


@pytest.mark.parametrize("description", SERVED, ids=["own", "protocol"])
def test_answers_are_what_the_description_says(station, tmp_path, description):
    run(station, description, 30, tmp_path, "--seed", "1")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("description", SERVED, ids=["own", "protocol"])
def test_answers_are_what_the_description_says_for_long(station, tmp_path, description):
    run(station, description, 300, tmp_path)  # the seed is in its output
