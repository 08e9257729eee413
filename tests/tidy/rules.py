# SPDX-License-Identifier: Apache-2.0
"""The rules that keep the tree tidy. Each takes the root of a tree and returns its findings, one
string each ("path:line: what is wrong"); an empty list means that the rule holds."""

import os
import re
from pathlib import Path

LINES_MAX = 800
CI_MINUTES_MAX = 40

SKIPPED_FOLDERS = {"build", "node_modules", "__pycache__"}
CODE_SUFFIXES = {".cc", ".h", ".cu", ".cuh", ".py", ".sh", ".cmake", ".ts", ".tsx", ".proto"}
CODE_NAMES = {"CMakeLists.txt", "Makefile"}

# Libraries whose headers stay inside the layer that uses them.
VENDOR_HEADERS = re.compile(
    r"^(openvino/|SQLiteCpp/|sqlite3|yaml-cpp/|onnx/|google/protobuf/|spng\.h|turbojpeg\.h|jpeglib"
    r"|stb/|CLI/|hwloc|prometheus/|grpc/|grpcpp/|cuda\.h|nvrtc|cudnn|nvml)|\.pb\.h$")

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')
# Split, so that the rule doesn't find itself.
OPEN_END = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b(?!\([^)]{3,}\))")


def files(root: Path, top: str = ".") -> list[Path]:
    """Files below root/top, relative to root, without hidden folders and build results."""
    found = []
    for folder, folders, names in os.walk(root / top):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS and f[0] != ".")
        found += [(Path(folder) / name).relative_to(root) for name in sorted(names)]
    return found


def code_files(root: Path) -> list[Path]:
    return [f for f in files(root) if f.suffix in CODE_SUFFIXES or f.name in CODE_NAMES]


def source_files(root: Path) -> list[Path]:
    return [f for f in files(root, "src") if f.suffix in {".cc", ".h", ".cu", ".cuh"}]


def lines(root: Path, file: Path) -> list[str]:
    return (root / file).read_text(encoding="utf-8").splitlines()


def includes(root: Path, file: Path) -> list[tuple[int, str, str]]:
    """(line number, quote or angle bracket, path) of each #include."""
    found = []
    for number, line in enumerate(lines(root, file), start=1):
        if match := INCLUDE.match(line):
            found.append((number, match.group(1), match.group(2)))
    return found


def layer_of(file: Path) -> str:
    return file.parts[1]  # src/<layer>/...


def is_test(file: Path) -> bool:
    return file.stem.endswith(("_test", "_fixture"))


def load_layers(architecture: str) -> dict[str, set[str]]:
    """What each layer may include, from the table of ARCHITECTURE.md: rows
    "| src/task | responsibility | core image |" name layers, or single headers of a layer."""
    rows = re.findall(r"^\| src/(\w+) \|.*\| ([^|]*) \|\s*$", architecture, re.MULTILINE)
    layers = [name for name, _ in rows]
    table = {}
    for name, text in rows:
        words = set(re.split(r"[\s,]+", text.strip()))
        if text.strip() == "the standard library":
            words = set()
        elif words & {"all"}:  # "all" or "all but app"
            words = set(layers) - words - {name}
        table[name] = words
    return table


def layering(root: Path, table: dict, tests_use: dict) -> list[str]:
    """Layers include only what the table allows, their tests (*_test.*, *_fixture.*) also what
    tests_use allows, and every include is written from src/."""
    findings = []
    for file in source_files(root):
        layer = layer_of(file)
        if layer not in table:
            findings.append(f"{file}:1: layer '{layer}' has no row in ARCHITECTURE.md")
            continue
        allowed = {layer, *table[layer], *(tests_use.get(layer, ()) if is_test(file) else ())}
        for number, quote, path in includes(root, file):
            if quote != '"':
                continue
            if not (root / "src" / path).exists() and not path.endswith(".pb.h"):
                findings.append(f"{file}:{number}: \"{path}\" is not a file below src/; write the "
                                "path from src/, and <...> for a library")
            elif path.split("/")[0] in table and not {path, path.split("/")[0]} & allowed:
                findings.append(f"{file}:{number}: layer '{layer}' may not include \"{path}\"; it "
                                f"may use: {', '.join(sorted(allowed - {layer})) or 'nothing'}")
    return findings


def layer_table(table: dict) -> list[str]:
    """The table itself has no cycle (a single header of a layer counts as the layer)."""
    findings = []
    above: dict[str, set[str]] = {}

    def reach(layer: str, path: tuple[str, ...]) -> set[str]:
        if layer in path:
            findings.append(f"ARCHITECTURE.md: cycle {' -> '.join((*path[path.index(layer):], layer))}")
            return set()
        if layer not in above:
            if layer not in table:
                findings.append(f"ARCHITECTURE.md: unknown layer '{layer}' used by {path[-1]}")
                return set()
            used = {name.split("/")[0] for name in table[layer]}
            above[layer] = used.union(*(reach(name, (*path, layer)) for name in used))
        return above[layer]

    for layer in table:
        reach(layer, ())
    return sorted(set(findings))


def include_cycles(root: Path) -> list[str]:
    """No header includes itself by any way round."""
    graph = {}
    for file in source_files(root):
        graph[str(file.relative_to("src"))] = [p for _, q, p in includes(root, file) if q == '"']
    findings, finished, way = [], set(), []

    def visit(name: str) -> None:
        if name in way:
            findings.append("cyclic include: " + " -> ".join([*way[way.index(name):], name]))
            return
        if name in finished or name not in graph:
            return
        way.append(name)
        for included in graph[name]:
            visit(included)
        way.pop()
        finished.add(name)

    for name in sorted(graph):
        visit(name)
    return findings


def public_headers(root: Path) -> list[Path]:
    """The headers that another layer includes."""
    found = set()
    for file in source_files(root):
        for _, _, path in includes(root, file):
            header = Path("src", path)
            if (root / header).is_file() and layer_of(header) != layer_of(file):
                found.add(header)
    return sorted(found)


def vendor_headers(root: Path) -> list[str]:
    """What another layer includes brings no library's header with it, by no way round."""
    findings = {}  # one for each place, however many ways lead to it
    for public in public_headers(root):
        waiting, seen = [public], set()
        while waiting:
            file = waiting.pop()
            seen.add(file)
            for number, _, path in includes(root, file):
                if VENDOR_HEADERS.search(path):
                    findings.setdefault(
                        (file, number),
                        f"{file}:{number}: {public}, which other layers include, brings <{path}> "
                        "with it; keep that in the layer's own files")
                elif (root / "src" / path).is_file() and Path("src", path) not in seen:
                    waiting.append(Path("src", path))
    return list(findings.values())


def header_opening(root: Path) -> list[str]:
    """A header that other layers include opens with its licence and three lines: what it is,
    which thread may call it, what it owns."""
    findings = []
    for file in public_headers(root):
        comment = []
        for line in lines(root, file)[1:]:
            if not line.startswith("// "):
                break
            comment.append(line)
        if len(comment) < 3:
            findings.append(f"{file}:2: the opening comment has {len(comment)} lines; expected: "
                            "what it is, which thread may call it, what it owns")
    return findings


def file_length(root: Path) -> list[str]:
    findings = []
    for file in code_files(root):
        count = len(lines(root, file))
        if count > LINES_MAX:
            findings.append(f"{file}:{count}: {count} lines; at most {LINES_MAX}")
    return findings


def licence_line(root: Path) -> list[str]:
    """The first two lines name the licence (two, because of #!)."""
    return [f"{file}:1: no 'SPDX-License-Identifier: Apache-2.0' in the first two lines"
            for file in code_files(root)
            if not any("SPDX-License-Identifier: Apache-2.0" in line
                       for line in lines(root, file)[:2])]


def open_ends(root: Path) -> list[str]:
    """A note of open work carries its reason in parentheses."""
    return [f"{file}:{number}: open end without a reason in parentheses: {line.strip()}"
            for file in code_files(root)
            for number, line in enumerate(lines(root, file), start=1) if OPEN_END.search(line)]


def layer_readmes(root: Path) -> list[str]:
    folders = [f for f in sorted((root / "src").iterdir()) if f.is_dir()]
    return [f"src/{f.name}: README.md is missing (purpose, main types, what it may include, its "
            "invariants, how to test it)" for f in folders if not (f / "README.md").exists()]


def minute_rows(text: str) -> dict[str, float]:
    """Rows "| suite | ... | minutes |" below the heading that speaks of minutes."""
    section = re.search(r"^#+ .*\bminutes\b.*?$(.*?)(?=^#|\Z)", text,
                        re.MULTILINE | re.DOTALL | re.IGNORECASE)
    rows = re.findall(r"^\|\s*`?([\w-]+)`?\s*\|.*\|\s*([\d.]+)\s*\|\s*$",
                      section.group(1) if section else "", re.MULTILINE)
    return {name: float(minutes) for name, minutes in rows}


def ci_minutes(root: Path, suites: list[str]) -> list[str]:
    """CONTRIBUTING.md gives the minutes of each suite that CI runs, and they fit."""
    rows = minute_rows((root / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    total = rows.pop("total", None)
    findings = [f"CONTRIBUTING.md: no minutes for suite '{s}'" for s in suites if s not in rows]
    findings += [f"CONTRIBUTING.md: no suite '{r}' in CI" for r in rows if r not in (*suites, "setup")]
    if sum(rows.values()) >= CI_MINUTES_MAX:
        findings.append(f"CONTRIBUTING.md: the suites take {sum(rows.values()):g} minutes; they "
                        f"must stay under {CI_MINUTES_MAX}")
    if total is not None and abs(total - sum(rows.values())) > 0.05:
        findings.append(f"CONTRIBUTING.md: the total says {total:g}, the rows sum to "
                        f"{sum(rows.values()):g}")
    return findings
