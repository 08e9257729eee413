# SPDX-License-Identifier: Apache-2.0
"""Writes the parity reference of a model version: synthetic boards and the outputs expected."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import numpy_helper

from pcb.boards import draw_pair
from pcb.crops import CONTEXT, CROP, SIDE_MIN

SEED = 20
DEFECTS = 9
DIGITS = 4  # of the expected outputs; keeps the files small and is far below the tolerance
# Detectors answer in pixels and scores at once: 0.02 px or 0.02 of a score.
TOLERANCE = {
    "pcb-detector": {"absolute": 0.02, "relative": 0.002},
    "pcb-detector-single": {"absolute": 0.02, "relative": 0.002},
    "pcb-classifier": {"absolute": 0.01, "relative": 0.002},
    "pcb-matcher": {"absolute": 0.01, "relative": 0.002},
}


def crop_by_hand(board: np.ndarray, golden: np.ndarray, box: np.ndarray) -> np.ndarray:
    """One crop [2, 64, 64] by the rule of pcb.crops, written once more without torch."""
    side = max(CONTEXT * float(max(box[2] - box[0], box[3] - box[1])), SIDE_MIN)
    step = (np.arange(CROP) + 0.5) * side / CROP - 0.5
    out = []
    for image in (board, golden):
        last = image.shape[0] - 1
        xs = np.clip((box[0] + box[2]) / 2 - side / 2 + step, 0, last)
        ys = np.clip((box[1] + box[3]) / 2 - side / 2 + step, 0, last)
        x0, y0 = np.floor(xs).astype(int), np.floor(ys).astype(int)
        x1, y1 = np.minimum(x0 + 1, last), np.minimum(y0 + 1, last)
        fx, fy = (xs - x0)[None], (ys - y0)[:, None]
        levels = image.astype(np.float64) * 255
        top = levels[y0][:, x0] * (1 - fx) + levels[y0][:, x1] * fx
        bottom = levels[y1][:, x0] * (1 - fx) + levels[y1][:, x1] * fx
        out.append(np.rint(top * (1 - fy) + bottom * fy) / 255)
    return np.stack(out).astype(np.float32)


def inputs_of(model: str, case: int) -> list[np.ndarray]:
    """The inputs of one case: images as uint8 zeros and ones, crops as float32."""
    board, golden, strokes = draw_pair(SEED + case, DEFECTS)
    if model == "pcb-detector":
        return [np.stack([board, golden])[None]]
    if model == "pcb-detector-single":
        return [board[None, None]]
    if model == "pcb-matcher":
        return [board[None, None], golden[None, None]]
    boxes = [s.box for s in strokes][: 1 if case == 0 else 2]
    boxes += [np.array([300, 300, 330, 340], np.float32)] * (case > 0)
    return [np.stack([crop_by_hand(board, golden, b) for b in boxes])]


def write_tensor(path: Path, values: np.ndarray) -> None:
    """An ONNX TensorProto, compressed; the same bytes on every run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as out:
        out.write(numpy_helper.from_array(np.ascontiguousarray(values)).SerializeToString())


def write_reference(model: str, version: Path) -> None:
    """Writes `reference/` beside model.onnx; the classifier gets a second case of three crops."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(version / "model.onnx", options, ["CPUExecutionProvider"])
    for case in range(2 if model == "pcb-classifier" else 1):
        inputs = inputs_of(model, case)
        feed = {i.name: v.astype(np.float32) for i, v in zip(session.get_inputs(), inputs, strict=True)}
        folder = version / "reference" / f"case_{case}"
        for n, values in enumerate(inputs):
            write_tensor(folder / f"input_{n}.pb.gz", values)
        for n, values in enumerate(session.run(None, feed)):
            write_tensor(folder / f"output_{n}.pb.gz", values.round(DIGITS).astype(np.float32))
    tolerance = version / "reference" / "tolerance.json"
    tolerance.write_text(json.dumps(TOLERANCE[model]) + "\n")
