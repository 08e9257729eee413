# SPDX-License-Identifier: Apache-2.0
"""takt.yaml as text: a line with the shape of the example's, for tiny models."""

from pathlib import Path

DEFECTS = """\
  defects:
    model: {model}
    inputs: [board, golden]
    preprocess: {{color: gray, fit: letterbox, scale: 1/255}}
    postprocess:
      name: yolo
      classes: [open, short, mousebite, spur, copper, pin-hole]
      score_min: 0.01
    fallback: review
    backends: [{backend}]
"""

DIFFERENCE = """\
  difference:
    model: matcher
    inputs: {board: board, golden: golden}
    preprocess: {color: gray, scale: 1/255}
    postprocess: {name: distance_map, distance_max: 0.5}
"""

KINDS = """\
  kinds:
    model: classifier
    inputs: [board, golden]
    crop: {from: defects, context: 1.0, side_min_px: 8, score_min: 0.25, crops_max: 32}
    preprocess: {color: gray, fit: stretch, scale: 1/255}
    postprocess:
      name: softmax
      classes: [open, short, mousebite, spur, copper, pin-hole, false-alarm]
"""

RULES = """\
    decision:
      default: pass
      rules:
        - name: defect
          when: {detections: {task: defects, score_min: 0.5}}
          then: reject
      routes: {pass: next-station, review: inspection-table, reject: repair}
"""


def folder_source(directory, **options):
    lines = [f"      {key}: {value}\n" for key, value in options.items()]
    return (f"      type: folder\n      directory: {directory}\n"
            '      images: {board: "{id}_test.png", golden: "{id}_temp.png"}\n' + "".join(lines))


def simulator_source(**options):
    return "      type: board-simulator\n" + "".join(
        f"      {key}: {value}\n" for key, value in options.items())


def line(source, name="pcb", tasks="defects", deadline="30s", ring="block", more=""):
    # No verdict may skip the sinks here, however slow the machine is.
    return (f"  {name}:\n    source:\n{source}    recipe: tiny/1\n    tasks: [{tasks}]\n"
            f"    deadline: {deadline}\n    ring: {{capacity: 8, policy: {ring}}}\n"
            f"    sink_queue_max: 100000\n{more}{RULES}")


def defects(model="detector", backend="openvino"):
    return DEFECTS.format(model=model, backend=backend)


def write(file: Path, repository, lines, tasks=None, store="data", sinks=True, more=""):
    """Writes a takt.yaml; `store` and the JSON Lines file lie beside it."""
    text = (f"models: {{repository: {repository}, cache: none}}\n"
            f"devices:\n  cpu: {{lanes: 2, threads_per_lane: 1}}\n"
            f"tasks:\n{tasks or defects()}lines:\n{lines}")
    if store:
        text += f"store: {{directory: {store}}}\n"
    if sinks:
        text += "sinks:\n  - {type: jsonl, path: verdicts.jsonl}\n"
    file.write_text(text + more, encoding="utf-8")
    return file
