#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pack what a machine with a GPU needs to test, measure and try takt, without a checkout and a compiler there.

    make gpu-bundle                     builds the programs, then packs build/gpu-bundle.tar.xz
    tests/gpu_bundle/pack.py            packs what is built

Inside: bin (programs without debug information, and takt's backend for GPUs beside them, where takt looks for
it), lib (shared libraries but those of glibc, so the machine needs glibc 2.36 or newer), the models of tests, of
the pcb line and of ONNX's node tests, bench/gpu.py, and run.sh. No library of NVIDIA is in it, and not the
backend for CPUs: its library alone is as large as everything else.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAME = "takt-gpu"  # the folder that the archive unpacks to
BYTES_MAX = 48_000_000  # packed
PROGRAMS = ("takt", "takt-gpu-tests", "takt-gpu-node-tests", "takt-bench-models", "takt-bench-gpu-serving",
            "takt-bench-gpu")
MODULES = ("takt-cuda.so",)
# Of glibc, which has to be the machine's own.
GLIBC = re.compile(r"(ld-linux.*|lib(c|m|dl|pthread|rt|resolv|util))\.so\.\d+")
BENCH = ("gpu.py", "gpu_models.py", "gpu_networks.py", "_gpu_figures.py", "_results.py")
MODELS = ("pcb-detector", "pcb-matcher", "pcb-classifier")
# A smoke run, not a figure: little is tuned.
PARAMETERS = {"cuda.effort": "fast", "cuda.precision": "fp16", "cuda.batches": "1,{batch_max}"}
BOARDS = 40


def libraries_of(programs: list[Path]) -> dict[str, Path]:
    """Of all programs, by the name that they are asked for with."""
    found = {}
    for program in programs:
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        if missing := re.findall(r"(\S+) => not found", listed):
            sys.exit(f"{program}: needs {', '.join(missing)}; build it anew (make gpu-bundle)")
        for name, path in re.findall(r"(\S+) => (/\S+)", listed):
            if not GLIBC.fullmatch(name):
                found[name] = Path(path)
    return found


def glibc_of(files: list[Path]) -> str:
    """The newest version that one of them asks for."""
    versions = set()
    for file in files:
        said = subprocess.run(["objdump", "-T", file], capture_output=True, text=True, check=True).stdout
        versions |= {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([\d.]+)", said)}
    return ".".join(map(str, max(versions)))


def copy_programs(build: Path, folder: Path) -> str:
    """Programs, modules and their libraries; returns the version of glibc that they need."""
    built = [build / name for name in (*PROGRAMS, *MODULES)]
    for file in built:
        if not file.is_file():
            sys.exit(f"{file}: not there; build it first (make gpu-bundle)")
    (folder / "bin").mkdir()
    (folder / "lib").mkdir()
    for file in built:
        subprocess.run(["strip", "-o", folder / "bin" / file.name, file], check=True)
    for name, path in sorted(libraries_of(built).items()):
        shutil.copyfile(path, folder / "lib" / name)
    return glibc_of([*(folder / "bin").iterdir(), *(folder / "lib").iterdir()])


def replaced(text: str, pattern: str, by: str) -> str:
    changed, count = re.subn(pattern, by, text, flags=re.MULTILINE)
    if count != 1:
        sys.exit(f"examples/pcb/takt.yaml: {pattern!r} stands there {count} times, not once; mend {__file__}")
    return changed


def serve_yaml() -> str:
    """The line of the example with all tasks on the GPU and so many boards; what it leaves lies in the folder serve."""
    text = (ROOT / "examples" / "pcb" / "takt.yaml").read_text(encoding="utf-8")
    text = text[text.index("\nmodels:") + 1:]
    text = replaced(text, r"^  repository: \S+", "  repository: models/repository")
    text = replaced(text, r"^  cache: \S+", "  cache: serve/cache")
    text = replaced(text, r"^  cpu:\n(?:    .*\n)+", "  gpu: {kind: cuda, index: 0}\n")
    text = replaced(text, r"^      rate: 4/s$", f"      rate: 4/s\n      boards: {BOARDS}")
    text = replaced(text, r"^  directory: \S+", "  directory: serve/store")
    return replaced(text, r"path: \S+/verdicts\.jsonl", "path: serve/verdicts.jsonl")


def copy_models(build: Path, folder: Path) -> None:
    for name in MODELS:
        to = folder / "models" / "repository" / name
        shutil.copytree(ROOT / "models" / "repository" / name, to)
        config = to / "config.pbtxt"
        text = config.read_text(encoding="utf-8")
        batch_max = re.search(r"^max_batch_size: (\d+)$", text, re.MULTILINE)[1]
        for key, value in PARAMETERS.items():
            value = value.format(batch_max=batch_max)
            text += f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'
        config.write_text(text, encoding="utf-8")
    (folder / "test-models").mkdir()
    for file in build.glob("test-models/*.onnx"):
        shutil.copy(file, folder / "test-models")
    # Packed, as it has thousands of files; run.sh unpacks it where they are needed.
    with tarfile.open(folder / "onnx-node-tests.tar", "w") as archive:
        archive.add(build / "onnx-node-tests", "onnx-node-tests")


def made_of() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    changed = len(git("status", "--porcelain", "--untracked-files=no").splitlines())
    return f"commit {git('rev-parse', 'HEAD') or 'unknown'}, {changed} files changed since"


def print_sizes(folder: Path) -> None:
    for entry in sorted(folder.iterdir()):
        files = [entry] if entry.is_file() else [f for f in entry.rglob("*") if f.is_file()]
        print(f"  {entry.name:<22}{sum(f.stat().st_size for f in files) / 1e6:8.1f} MB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="folder of the programs")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu-bundle.tar.xz")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="takt-gpu-bundle-") as temporary:
        folder = Path(temporary) / NAME
        (folder / "bench").mkdir(parents=True)
        glibc = copy_programs(options.build, folder)
        copy_models(options.build, folder)
        for name in BENCH:
            shutil.copy(ROOT / "bench" / name, folder / "bench")
        (folder / "serve.yaml").write_text(serve_yaml(), encoding="utf-8")
        (folder / "made-of.txt").write_text(f"{made_of()}; needs glibc {glibc} or newer\n", encoding="utf-8")
        shutil.copy(Path(__file__).with_name("run.sh"), folder)
        print_sizes(folder)
        with tarfile.open(options.out, "w:xz", preset=6) as archive:
            archive.add(folder, NAME)
    size = options.out.stat().st_size
    print(f"{options.out}: {size / 1e6:.1f} MB; needs glibc {glibc} or newer")
    if size > BYTES_MAX:
        print(f"larger than {BYTES_MAX / 1e6:.0f} MB: leave something out", file=sys.stderr)
    return 1 if size > BYTES_MAX else 0


if __name__ == "__main__":
    sys.exit(main())
