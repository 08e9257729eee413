# SPDX-License-Identifier: Apache-2.0
"""Draws defects of the six types on a defect-free board.

A defect is a stroke in the colour of copper or of the base material, like the
hand-drawn defects of DeepPCB. Its type is not chosen but read off the topology
of what it changes: a copper stroke that touches no conductor is spurious
copper, one that touches a conductor along one arc is a spur, and one that
touches at two or more arcs is a short. A stroke of base material is a
pin-hole, a mousebite or an open by the same count with the colours swapped.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from pcb import CLASSES, IMAGE_SIZE

PATCH = 96  # side of the square that holds one stroke, in pixels
BOX_MARGIN = 10  # DeepPCB's boxes stand about 10 px off the changed pixels
PIXELS_MIN = 11  # smaller changes are the scanner's noise
BITE_EXTENT_MAX = 34  # longer mousebites and spurs are rare in DeepPCB
RESCALE_MIN, RESCALE_MAX = 0.65, 1.9  # steps in the golden for one of the rescaled board
MERGE_REACH = 6  # contacts this near to each other along one conductor count as one
EIGHT = np.ones((3, 3), bool)
BY_CONTACTS = {  # colour of the stroke (0 copper, 1 base) -> type for 0, 1, 2+ contacts
    0: ("copper", "spur", "short"),
    1: ("pin-hole", "mousebite", "open"),
}


@dataclass
class Stroke:
    """One defect: `mask` [PATCH, PATCH] is painted in `colour` with its corner at (x, y)."""

    mask: np.ndarray
    x: int
    y: int
    colour: int
    label: int
    box: np.ndarray


def paint(points: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """A polyline of varying radius, as a mask of PATCH x PATCH pixels around its origin."""
    line = np.arange(PATCH, dtype=np.float32) - PATCH / 2 + 0.5
    mask = np.zeros((PATCH, PATCH), bool)
    for a, b, r in zip(points[:-1], points[1:], radius, strict=False):
        x, y = line[None] - np.float32(a[0]), line[:, None] - np.float32(a[1])
        dx, dy = np.float32(b[0] - a[0]), np.float32(b[1] - a[1])
        t = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-6), 0, 1)
        mask |= (x - t * dx) ** 2 + (y - t * dy) ** 2 <= r * r
    return mask


def blob(rng: np.random.Generator) -> np.ndarray:
    """A dot or a short thick stroke."""
    n = rng.integers(2, 5)
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.7, n))
    step = rng.uniform(0.5, 6.0)
    points = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], -1) * step, 0)
    return paint(points - points.mean(0), rng.uniform(1.3, 5.0) * rng.uniform(0.7, 1.3, n))


def line(rng: np.random.Generator, length: float, heading: float) -> np.ndarray:
    """A stroke of the given length; sometimes several thin ones side by side."""
    n = 5
    along = np.array([np.cos(heading), np.sin(heading)])
    across = np.array([-along[1], along[0]])
    strands = 1 if rng.random() < 0.7 else rng.integers(2, 5)
    mask = np.zeros((PATCH, PATCH), bool)
    for s in range(strands):
        t = np.linspace(-0.5, 0.5, n)[:, None] * length * (1 if s == 0 else rng.uniform(0.5, 1.1))
        wobble = rng.normal(0, 1.2, (n, 1)) + (s - (strands - 1) / 2) * rng.uniform(3, 6)
        radius = rng.uniform(1.2, 4.5) if strands == 1 else rng.uniform(0.8, 1.8)
        mask |= paint(t * along + wobble * across, np.full(n, radius))
    return mask


def scribble(rng: np.random.Generator, length: float, heading: float) -> np.ndarray:
    """A thin stroke to and fro: hatching, crossings and loops."""
    n = int(rng.integers(4, 11))
    along = np.array([np.cos(heading), np.sin(heading)])
    across = np.array([-along[1], along[0]])
    t = (np.linspace(-0.5, 0.5, n) + rng.normal(0, 0.12, n))[:, None] * length
    side = np.where(np.arange(n) % 2 == 0, 1.0, -1.0) if rng.random() < 0.5 else rng.normal(0, 1, n)
    swing = (side * rng.uniform(1.5, 7.0) + rng.normal(0, 1, n))[:, None]
    return paint(t * along + swing * across, np.full(n, rng.uniform(0.8, 1.8)))


def classify(board: np.ndarray, stroke: np.ndarray, colour: int) -> tuple[str, np.ndarray] | None:
    """The type of a stroke on a window of the board and the pixels that it changes.

    None when it changes too little or when it almost touches a conductor, so
    that even a person could not name its type.
    """
    changed = stroke & (board != colour)
    if changed.sum() < PIXELS_MIN:
        return None
    around = ndimage.find_objects(changed.astype(np.uint8))[0]
    around = tuple(slice(max(a.start - 10, 0), a.stop + 10) for a in around)
    whole, changed, same = changed, changed[around], (board == colour)[around]
    ring = ndimage.binary_dilation(changed, EIGHT) & ~changed & same
    parts, count = ndimage.label(changed, EIGHT)
    contacts = 0
    for part in range(1, min(count, 6) + 1):
        near = ndimage.binary_dilation(parts == part, EIGHT) & ring
        near = ndimage.binary_dilation(near, EIGHT, iterations=MERGE_REACH, mask=same)
        contacts = max(contacts, ndimage.label(near, EIGHT)[1])
    if contacts == 0 and (ndimage.binary_dilation(changed, EIGHT, iterations=3) & same).any():
        return None
    return BY_CONTACTS[colour][min(contacts, 2)], whole


def good_places(board: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The distance of each pixel to the other colour, and where a defect of each type is likely to come off."""
    distance = np.where(board, ndimage.distance_transform_edt(board), ndimage.distance_transform_edt(1 - board))
    middle = (distance > 1.5) & (distance < 32) & (distance >= 0.6 * ndimage.maximum_filter(distance, 15))
    places = {"bridge": middle, "edge": distance <= 4, "inside": distance > 8}
    kind = {"open": "bridge", "short": "bridge", "spur": "edge", "mousebite": "edge"}
    return distance, {
        name: places[kind.get(name, "inside")] & (board != colour)
        for colour, names in BY_CONTACTS.items()
        for name in names
    }


def draw_defect(
    board: np.ndarray, distance: np.ndarray, candidates: np.ndarray, want: str, rng: np.random.Generator
) -> Stroke | None:
    """Tries once to draw a defect of the wanted type around one of the candidate pixels.

    distance: for each pixel the distance to the nearest pixel of the other
    colour. The result may be of another type, or None.
    """
    size = board.shape[0]
    colour = 0 if want in ("short", "spur", "copper") else 1
    places = np.flatnonzero(candidates)
    if len(places) == 0:
        return None
    cy, cx = divmod(int(rng.choice(places)), size)
    heading = rng.uniform(0, 2 * np.pi)
    if want in ("open", "short"):
        gy, gx = np.gradient(distance[max(cy - 2, 0) : cy + 3, max(cx - 2, 0) : cx + 3])
        if rng.random() < 0.8 and (abs(gx.mean()) + abs(gy.mean())) > 1e-3:
            heading = float(np.arctan2(gy.mean(), gx.mean())) + rng.normal(0, 0.25)
        length = min(2.6 * distance[cy, cx] + rng.uniform(5, 22), PATCH - 10)
        mask = line(rng, length, heading) if rng.random() < 0.8 else scribble(rng, length, heading)
    elif (dice := rng.random()) < 0.55:
        mask = blob(rng)
    elif dice < 0.85:
        mask = line(rng, rng.uniform(5, 32), heading)
    else:
        mask = scribble(rng, rng.uniform(5, 24), heading)
    x, y = cx - PATCH // 2, cy - PATCH // 2
    if x < 0 or y < 0 or x + PATCH > size or y + PATCH > size:
        return None
    named = classify(board[y : y + PATCH, x : x + PATCH], mask, colour)
    if named is None:
        return None
    rows, cols = np.flatnonzero(named[1].any(1)), np.flatnonzero(named[1].any(0))
    extent = max(rows[-1] - rows[0], cols[-1] - cols[0])
    if named[0] in ("spur", "mousebite") and extent > BITE_EXTENT_MAX:
        return None
    box = np.array([x + cols[0], y + rows[0], x + cols[-1] + 1, y + rows[-1] + 1], np.float32)
    margin = BOX_MARGIN + rng.normal(0, 1.5, 4)
    box = np.clip(box + margin * np.array([-1, -1, 1, 1]), 0, size).astype(np.float32)
    return Stroke(named[1], x, y, colour, CLASSES.index(named[0]), box)


def overlaps(box: np.ndarray, others: np.ndarray) -> bool:
    """Whether the box touches any of the others [k, 4]."""
    if len(others) == 0:
        return False
    return bool(
        ((box[0] < others[:, 2]) & (box[2] > others[:, 0]) & (box[1] < others[:, 3]) & (box[3] > others[:, 1])).any()
    )


def draw_defects(
    board: np.ndarray, count: int, seed: int, attempts: int = 800, keep_clear: np.ndarray | None = None
) -> list[Stroke]:
    """Up to `count` defects that don't touch each other, the six types in equal parts."""
    rng = np.random.default_rng(seed)
    distance, places = good_places(board)
    free = np.ones(board.shape, bool)
    made: list[Stroke] = []
    per_type = np.zeros(len(CLASSES), int)
    taken = np.zeros((0, 4), np.float32) if keep_clear is None else keep_clear
    for attempt in range(attempts):
        if len(made) == count:
            break
        wanted = int(np.argmin(per_type + rng.uniform(0, 0.9, len(CLASSES))))
        if attempt % 3 == 2:
            wanted = int(rng.integers(len(CLASSES)))
        stroke = draw_defect(board, distance, places[CLASSES[wanted]] & free, CLASSES[wanted], rng)
        if stroke is None or per_type[stroke.label] >= count / 5 or overlaps(stroke.box, taken):
            continue
        made.append(stroke)
        per_type[stroke.label] += 1
        taken = np.concatenate([taken, stroke.box[None]])
        x1, y1, x2, y2 = stroke.box.astype(int)
        free[y1:y2, x1:x2] = False
    return made


def rescale(goldens: np.ndarray, groups: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Boards with tracks of other widths: goldens of one group side by side, cut out at another scale.

    Returns uint8 [count, 640, 640] and the group of each; every group is drawn equally often.
    """
    rng = np.random.default_rng(seed)
    names = rng.permutation(np.resize(np.unique(groups), count))
    images = np.zeros((count, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    for image, name in zip(images, names, strict=True):
        a, b, c, d = goldens[rng.choice(np.flatnonzero(groups == name), 4)]
        canvas = np.block([[a, b], [c, d]]).astype(np.float32)
        scale = np.exp(rng.uniform(np.log(RESCALE_MIN), np.log(RESCALE_MAX)))
        for _ in range(2):
            at = rng.uniform(0, len(a) * (2 - scale)) + (np.arange(IMAGE_SIZE) + 0.5) * scale - 0.5
            low = np.clip(at.astype(int), 0, 2 * len(a) - 2)
            share = np.clip(at - low, 0, 1).astype(np.float32)[:, None]
            # The second turn samples the other axis, and turns the image back.
            canvas = (canvas[low] * (1 - share) + canvas[low + 1] * share).T
        image[:] = canvas > 0.5
    return images, names


@dataclass
class Library:
    """`slots` synthetic defects for each golden image, as arrays (see Stroke).

    masks: uint8 [n, slots, PATCH, PATCH]; corners: int64 [n, slots, 2] as x, y;
    colours, labels: int64 [n, slots], label -1 for an empty slot; boxes: float32 [n, slots, 4];
    clear: bool [n, slots], whether the box is clear of the pair's real defects.
    """

    masks: np.ndarray
    corners: np.ndarray
    colours: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    clear: np.ndarray


def _draw(job: tuple[np.ndarray, int, int]) -> list[Stroke]:
    return draw_defects(job[0], job[1], job[2])


def save_library(library: Library, path: Path) -> None:
    """Writes the library, masks as bits."""
    arrays = {**vars(library), "masks": np.packbits(library.masks, axis=-1)}
    np.savez_compressed(path, **arrays)


def load_library(path: Path) -> Library:
    """Reads what `save_library` wrote."""
    arrays = dict(np.load(path))
    arrays["masks"] = np.unpackbits(arrays["masks"], axis=-1)
    return Library(**arrays)


def make_library(goldens: np.ndarray, truth: np.ndarray, slots: int, seed: int, workers: int) -> Library:
    """Draws the library; truth [n, m, 4] are the real boxes (zeros in the padding)."""
    jobs = [(g, slots, seed * 1_000_003 + n) for n, g in enumerate(goldens)]
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        drawn = pool.map(_draw, jobs, chunksize=4)
    n = len(goldens)
    library = Library(
        np.zeros((n, slots, PATCH, PATCH), np.uint8),
        np.zeros((n, slots, 2), np.int64),
        np.zeros((n, slots), np.int64),
        np.full((n, slots), -1, np.int64),
        np.zeros((n, slots, 4), np.float32),
        np.zeros((n, slots), bool),
    )
    for i, strokes in enumerate(drawn):
        real = truth[i][truth[i][:, 2] > 0]
        for k, s in enumerate(strokes):
            library.masks[i, k] = s.mask
            library.corners[i, k] = s.x, s.y
            library.colours[i, k] = s.colour
            library.labels[i, k] = s.label
            library.boxes[i, k] = s.box
            library.clear[i, k] = not overlaps(s.box, real)
    return library
