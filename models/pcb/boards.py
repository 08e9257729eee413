# SPDX-License-Identifier: Apache-2.0
"""Draws small circuit boards for the parity references: tracks, pads and vias, no real image."""

from __future__ import annotations

import numpy as np

from pcb import IMAGE_SIZE
from pcb.synthetic import PATCH, Stroke, draw_defects

GRID = 40  # tracks run on this raster, in pixels


def draw_golden(seed: int) -> np.ndarray:
    """A defect-free board, uint8 [640, 640], 0 copper and 1 base."""
    rng = np.random.default_rng(seed)
    board = np.ones((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]

    def disc(cx: int, cy: int, radius: float, colour: int) -> None:
        board[(x - cx) ** 2 + (y - cy) ** 2 <= radius * radius] = colour

    def segment(x0: int, y0: int, x1: int, y1: int, half: int) -> None:
        length = max(abs(x1 - x0), abs(y1 - y0), 1)
        for t in np.linspace(0, 1, length + 1):
            cx, cy = round(x0 + (x1 - x0) * t), round(y0 + (y1 - y0) * t)
            board[max(cy - half, 0) : cy + half, max(cx - half, 0) : cx + half] = 0

    for row in range(1, IMAGE_SIZE // GRID):
        if rng.random() < 0.3:
            continue
        at, half = 0 if rng.random() < 0.5 else GRID * int(rng.integers(1, 5)), int(rng.integers(4, 9))
        level = row * GRID
        while at < IMAGE_SIZE:
            ahead = at + GRID * int(rng.integers(2, 6))
            segment(at, level, ahead, level, half)
            if rng.random() < 0.35:
                break
            at = ahead
        for cx in (at, int(rng.integers(1, 15)) * GRID):
            if rng.random() < 0.8:
                disc(cx, level, half + 8, 0)
                disc(cx, level, 5, 1)
    for _ in range(4):
        px, py = (int(v) * GRID for v in rng.integers(1, 14, 2))
        board[py : py + int(rng.integers(30, 90)), px : px + int(rng.integers(30, 90))] = 0
    return board


def draw_pair(seed: int, defects: int) -> tuple[np.ndarray, np.ndarray, list[Stroke]]:
    """Board with defects, its golden, and the defects drawn."""
    golden = draw_golden(seed)
    board = golden.copy()
    strokes = draw_defects(golden, defects, seed)
    for s in strokes:
        board[s.y : s.y + PATCH, s.x : s.x + PATCH][s.mask] = s.colour
    return board, golden, strokes
