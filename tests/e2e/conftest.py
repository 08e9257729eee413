# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests: the program, tiny models, a workspace of its own a test."""

import os
import re
from pathlib import Path

import pytest

import program as programs
import tiny_models
import triton_server

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def program_path():
    path = Path(os.environ.get("TAKT_PROGRAM", ROOT / "build" / "takt")).resolve()
    assert path.is_file(), f"{path}: no program; build it (make build) or set TAKT_PROGRAM"
    return path


@pytest.fixture
def takt(program_path, tmp_path):
    """The program with HOME and TMPDIR in the test's folder; what it started ends with the test."""
    home = tmp_path / "home"
    home.mkdir()
    program = programs.Program(program_path, programs.environment(home))
    yield program
    program.kill_all()


@pytest.fixture
def has_gpu(takt):
    """Whether takt finds a GPU that it can use, and all libraries that it needs for it."""
    return re.search(r"^ok +cuda ", takt.run("doctor").out, re.MULTILINE) is not None


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    """Tiny models under the names that takt_yaml.py uses. Not to be changed by a test."""
    folder = tmp_path_factory.mktemp("repository")
    tiny_models.add(folder, "detector", tiny_models.detector())
    tiny_models.add(folder, "matcher", tiny_models.matcher())
    tiny_models.add(folder, "classifier", tiny_models.classifier())
    return folder


@pytest.fixture(scope="module", params=["thread", "process"])
def server(request, program_path, tmp_path_factory):
    """A takt with the models of Triton's examples, shared by the tests of a file."""
    folder = tmp_path_factory.mktemp("triton")
    models = triton_server.write_models(folder / "models")
    takt = programs.Program(program_path, programs.environment(folder))
    yield triton_server.start(takt, folder / "serve", models, isolation=request.param)
    takt.kill_all()
