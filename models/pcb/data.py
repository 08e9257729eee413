# SPDX-License-Identifier: Apache-2.0
"""Reads the DeepPCB pairs into arrays that fit the GPU's memory as a whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from pcb import IMAGE_SIZE

GROUP_DIGITS = 5  # the id's prefix names the board that the pair was cut from
NO_LABEL = -1


@dataclass
class Pairs:
    """Board and golden images with the boxes of their defects.

    boards, goldens: uint8 [n, 640, 640], 1 where the image is white (no copper).
    boxes: float32 [n, m, 4] as x1, y1, x2, y2 in pixels, padded to the longest list.
    labels: int64 [n, m], index into `pcb.CLASSES`, -1 in the padding.
    drawn: how many at the end are no real pairs but defect-free boards for synthetic defects.
    """

    ids: list[str]
    boards: np.ndarray
    goldens: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    drawn: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def groups(self) -> np.ndarray:
        return np.array([i[:GROUP_DIGITS] for i in self.ids])

    def with_drawn(self, boards: np.ndarray, groups: np.ndarray) -> Pairs:
        """These pairs and defect-free boards after them, which count to the groups named."""
        extra = len(boards)
        return replace(
            self,
            ids=self.ids + [f"{name}-drawn-{n}" for n, name in enumerate(groups)],
            boards=np.concatenate([self.boards, boards]),
            goldens=np.concatenate([self.goldens, boards]),
            boxes=np.pad(self.boxes, ((0, extra), (0, 0), (0, 0))),
            labels=np.pad(self.labels, ((0, extra), (0, 0)), constant_values=NO_LABEL),
            drawn=self.drawn + extra,
        )


def read_binary_image(path: Path) -> np.ndarray:
    """One image as uint8 [640, 640] of zeros (copper) and ones."""
    pixels = np.asarray(Image.open(path).convert("L"))
    if pixels.shape != (IMAGE_SIZE, IMAGE_SIZE):
        raise ValueError(f"{path}: expected {IMAGE_SIZE}x{IMAGE_SIZE} pixels, got {pixels.shape}")
    return (pixels > 127).astype(np.uint8)


def read_boxes(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [k, 4] and class indices [k] of one ground-truth file."""
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    values = np.array(rows, dtype=np.float32).reshape(-1, 5)
    return values[:, :4], values[:, 4].astype(np.int64) - 1


def read_pairs(folder: Path, limit: int | None = None) -> Pairs:
    """Every pair of a DeepPCB folder (or of its `trainval` folder), in the order of the ids."""
    root = folder / "trainval" if (folder / "trainval").is_dir() else folder
    ids = sorted(p.stem for p in root.glob("*.txt"))
    if limit is not None:
        ids = ids[:: max(1, len(ids) // limit)][:limit]
    if not ids:
        raise FileNotFoundError(f"{root}: no ground-truth file `<id>.txt`; is this the DeepPCB folder?")
    with ThreadPoolExecutor() as pool:
        boards = list(pool.map(lambda i: read_binary_image(root / f"{i}_test.png"), ids))
        goldens = list(pool.map(lambda i: read_binary_image(root / f"{i}_temp.png"), ids))
    truth = [read_boxes(root / f"{i}.txt") for i in ids]
    longest = max(len(labels) for _, labels in truth)
    boxes = np.zeros((len(ids), longest, 4), np.float32)
    labels = np.full((len(ids), longest), NO_LABEL, np.int64)
    for n, (rows, classes) in enumerate(truth):
        boxes[n, : len(rows)] = rows
        labels[n, : len(rows)] = classes
    return Pairs(ids, np.stack(boards), np.stack(goldens), boxes, labels)
