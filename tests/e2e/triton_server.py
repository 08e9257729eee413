# SPDX-License-Identifier: Apache-2.0
"""A takt that serves the models of Triton's own examples, for tests with Triton's clients."""

import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import program as programs

ROOT = Path(__file__).resolve().parents[2]

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
{more}"""


def write_models(folder):
    subprocess.run([sys.executable, ROOT / "tests" / "models" / "make_triton_models.py", folder],
                   check=True, stdout=subprocess.DEVNULL)
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


def start(takt, folder, repository, isolation="thread", more="", keep_repository=False):
    """Returns once it serves. The repository is copied, because tests change it."""
    folder.mkdir(parents=True, exist_ok=True)
    own = repository
    if not keep_repository:
        own = folder / "repository"
        shutil.copytree(repository, own)
    config = folder / "takt.yaml"
    config.write_text(CONFIG.format(repository=own, cache=folder / "cache", isolation=isolation,
                                    more=more), encoding="utf-8")
    log = folder / "serve.log"
    with log.open("w", encoding="utf-8") as out:
        process = takt.start("serve", config, stdout=out, stderr=subprocess.STDOUT)
    programs.wait_until(lambda: "serving;" in log.read_text(encoding="utf-8"), "serving", process)
    places = dict(re.findall(r"^takt: (http|grpc|metrics): (?:\w+://)?(\S+)$",
                             log.read_text(encoding="utf-8"), re.MULTILINE))
    return Server(process, places, log, own)


def wait_for(condition, what, timeout_s=programs.WAIT_S):
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"no {what} within {timeout_s} s"
        time.sleep(0.01)
