# SPDX-License-Identifier: Apache-2.0
"""A takt that serves the models of Triton's own examples, for tests with Triton's clients."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import program as programs

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = np.arange(16, dtype=np.int32).reshape(1, 16)
ONES = np.ones((1, 16), dtype=np.int32)

CONFIG = """
models: {{repository: {repository}, cache: {cache}}}
devices: {{cpu: {{lanes: 2}}}}
server:
  name: triton
  isolation: {isolation}
  model_control: true
  http: {{port: 0}}
  grpc: {{port: 0}}
  metrics: {{port: 0, triton_names: true}}
"""


def write_models(folder, *options):
    subprocess.run([sys.executable, ROOT / "tests" / "models" / "make_triton_models.py", *options,
                    folder], check=True, stdout=subprocess.DEVNULL)
    return folder


@dataclass
class Server:
    process: subprocess.Popen
    places: dict[str, str]  # "http" -> "127.0.0.1:8000"
    log: Path
    repository: Path

    @property
    def http(self):
        return self.places["http"]

    @property
    def grpc(self):
        return self.places["grpc"]

    @property
    def metrics(self):
        return self.places["metrics"]


def add_simulated(repository, name, queue_size_max=0, **parameters):
    """`simple` under another name, computed by the simulated backend: base_us=1000 and the like."""
    shutil.copytree(repository / "simple", repository / name)
    config = repository / name / "config.pbtxt"
    text = config.read_text(encoding="utf-8").replace('name: "simple"', f'name: "{name}"')
    text = text.replace('platform: "onnxruntime_onnx"', 'backend: "simulated"')
    for key, value in parameters.items():
        text += f'parameters {{ key: "simulated.{key}" value {{ string_value: "{value}" }} }}\n'
    if queue_size_max:
        text += ("dynamic_batching { default_queue_policy { max_queue_size: %d } }\n"
                 % queue_size_max)
    config.write_text(text, encoding="utf-8")


def start(takt, folder, repository, isolation="thread", config_text=CONFIG,
          more=""):
    """Returns once it serves. The repository is copied, because tests change it; `more` is lines of
    `server:`."""
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / "repository"
    shutil.copytree(repository, own)
    config = folder / "takt.yaml"
    config.write_text(config_text.format(repository=own, cache=folder / "cache",
                                         isolation=isolation) + more, encoding="utf-8")
    log = folder / "serve.log"
    with log.open("w", encoding="utf-8") as out:
        process = takt.start("serve", config, stdout=out, stderr=subprocess.STDOUT)
    programs.wait_until(lambda: "serving;" in log.read_text(encoding="utf-8"), "serving", process)
    places = dict(re.findall(r"^takt: (http|grpc|metrics): (?:\w+://)?(\S+)$",
                             log.read_text(encoding="utf-8"), re.MULTILINE))
    return Server(process, places, log, own)


def expect_sums(result, first=NUMBERS, second=ONES):
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), first + second)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), first - second)
