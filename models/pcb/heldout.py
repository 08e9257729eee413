# SPDX-License-Identifier: Apache-2.0
"""Runs trained networks on held-out pairs as they are, without augmentation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import evaluate
from pcb import CLASSES
from pcb.augment import Batch, DeviceData
from pcb.crops import FALSE_ALARM_LABEL, crop, false_alarms
from pcb.losses import Truth
from pcb.networks import DetectorExport

SCORE_MIN = 0.01
CANDIDATES_MAX = 400
NMS_IOU = 0.3


def nms(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou: float, agnostic: bool) -> np.ndarray:
    """Indices that survive greedy suppression, highest score first."""
    order = np.argsort(-scores, kind="stable")
    pair = evaluate.box_iou(boxes, boxes)
    if not agnostic:
        pair = pair * (classes[:, None] == classes[None])
    alive = np.ones(len(boxes), bool)
    kept = []
    for i in order:
        if alive[i]:
            kept.append(i)
            alive &= pair[i] <= iou
    return np.array(kept, int)


@torch.inference_mode()
def detect(network: nn.Module, data: DeviceData, index: np.ndarray, single: bool) -> list[np.ndarray]:
    """Candidates [k, 6] (x1, y1, x2, y2, score, class) of each pair before suppression."""
    export = DetectorExport(network).to(data.device).eval()
    found = []
    for part in np.array_split(index, max(1, len(index) // 32)):
        at = torch.as_tensor(part, device=data.device)
        boards, goldens = data.boards[at].float()[:, None], data.goldens[at].float()[:, None]
        out = export(boards if single else torch.cat([boards, goldens], 1)).float().cpu().numpy()
        for one in out:
            cell, label = np.nonzero(one[4:].T > SCORE_MIN)
            score = one[4 + label, cell]
            top = np.argsort(-score)[:CANDIDATES_MAX]
            cell, label, score = cell[top], label[top], score[top]
            centre, extent = one[:2, cell].T, one[2:4, cell].T
            found.append(np.concatenate([centre - extent / 2, centre + extent / 2, score[:, None], label[:, None]], 1))
    return found


def suppress(candidates: np.ndarray, iou: float = NMS_IOU, agnostic: bool = False) -> np.ndarray:
    """The candidates [k, 6] that survive suppression."""
    kept = nms(candidates[:, :4], candidates[:, 4], candidates[:, 5], iou, agnostic)
    return candidates[kept]


def write_jsonl(path: Path, ids: list[str], found: list[np.ndarray]) -> None:
    """Detections in the form of `takt inspect`, for evaluate.py."""
    with path.open("w") as out:
        for frame, rows in zip(ids, found, strict=True):
            detections = [
                {
                    "class": CLASSES[int(r[5])],
                    "score": round(float(r[4]), 5),
                    "box": [round(float(v), 2) for v in r[:4]],
                }
                for r in rows
            ]
            out.write(json.dumps({"frame": frame, "detections": detections}) + "\n")


def frames_of(found: list[np.ndarray], boxes: np.ndarray, labels: np.ndarray) -> list[evaluate.Frame]:
    """Detections and truth in evaluate.py's terms."""
    frames = []
    for rows, b, c in zip(found, boxes, labels, strict=True):
        live = c >= 0
        frames.append(evaluate.Frame(b[live].astype(float), c[live], rows[:, :4], rows[:, 5].astype(int), rows[:, 4]))
    return frames


@torch.inference_mode()
def classify_truth(network: nn.Module, data: DeviceData, index: np.ndarray) -> np.ndarray:
    """Confusion [7, 7] (truth, answer) on the true boxes and as many false alarms, two an image."""
    torch.manual_seed(0)
    confusion = np.zeros((len(CLASSES) + 1, len(CLASSES) + 1), int)
    for part in np.array_split(index, max(1, len(index) // 32)):
        at = torch.as_tensor(part, device=data.device)
        boards, goldens = data.boards[at].float()[:, None], data.goldens[at].float()[:, None]
        truth = Truth(data.boxes[at], data.labels[at])
        nothing, free = false_alarms(Batch(boards, goldens, truth, None), 6)
        boxes = torch.cat([truth.boxes, nothing], 1)
        labels = torch.cat([truth.labels, torch.where(free, FALSE_ALARM_LABEL, -1)], 1).flatten()
        answer = network(crop(boards, goldens, boxes)).argmax(1)
        used = labels >= 0
        np.add.at(confusion, (labels[used].cpu().numpy(), answer[used].cpu().numpy()), 1)
    return confusion


@torch.inference_mode()
def distances(network: nn.Module, data: DeviceData, index: np.ndarray, slip_px: int = 0) -> Tensor:
    """Distance maps [n, 80, 80]; the golden is moved by slip_px pixels right and down."""
    maps = []
    for part in np.array_split(index, max(1, len(index) // 32)):
        at = torch.as_tensor(part, device=data.device)
        golden = torch.roll(data.goldens[at].float()[:, None], (slip_px, slip_px), (2, 3))
        maps.append(network(data.boards[at].float()[:, None], golden)[:, 0].cpu())
    return torch.cat(maps)
