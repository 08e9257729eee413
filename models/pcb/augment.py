# SPDX-License-Identifier: Apache-2.0
"""Makes training batches on the GPU, where the whole data set lies.

Order: choose pairs; some become a defect-free golden with rough edges instead
of the real board; paint decoys on both images and synthetic defects on the
board; swap the colours of some; flip, rotate, scale and shift; move the golden
against the board (registration error); threshold again (thicker or thinner
copper); thicken or thin by a pixel; specks; contrast. All shapes are static and
nothing is sent to the GPU or waited for (so masked_fill, not torch.where with a
number), so that a training step can be recorded as a CUDA graph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pcb import CLASSES, IMAGE_SIZE
from pcb.data import Pairs
from pcb.losses import Truth
from pcb.synthetic import PATCH, Library

# With copper and base swapped an open becomes a short, a mousebite a spur, copper a pin-hole.
SWAPPED = [CLASSES.index(n) for n in ("short", "open", "spur", "mousebite", "pin-hole", "copper")]
OBJECTS_MAX = 32  # boxes of one augmented image; DeepPCB has 15 at most
PAINTED_MAX = 16  # synthetic defects on one image
VISIBLE_MIN = 0.5  # a box cut by the border below this share of its area is dropped


@dataclass
class Strength:
    """How much of each augmentation."""

    golden_as_board: float = 0.2  # share of boards replaced by their golden
    drawn: float = 0.0  # share of images that are rescaled boards with synthetic defects alone
    painted: float = 0.6  # share of real boards with synthetic defects
    painted_mean: float = 4.0  # synthetic defects on such a board
    affine: float = 0.6  # share scaled and shifted
    scale_max: float = 1.25
    shift_max_px: float = 80.0
    misregistered: float = 0.6  # share with extra registration error
    offset_sigma_px: float = 1.5
    far: float = 0.35  # share of those that are off by up to far_max_px; one real tile in 30 is
    far_max_px: float = 14.0
    decoys: float = 0.3  # share with strokes painted on board and golden alike: no defects
    inverted: float = 0.25  # share with colours swapped, and the classes with them
    thickness: float = 0.15  # share thickened or thinned by a pixel, per image
    specks: float = 0.1
    contrast: float = 0.1

    def calm(self) -> Strength:
        """For the last epochs: near the real images."""
        return replace(
            self,
            golden_as_board=0.05,
            drawn=self.drawn / 3,
            painted=0.25,
            affine=0.3,
            scale_max=1.1,
            thickness=0.05,
            misregistered=min(self.misregistered, 0.4),
            inverted=0.1,
            decoys=self.decoys / 2,
            specks=0.03,
            contrast=0.03,
        )


@dataclass
class Batch:
    """boards, goldens: float [b, 1, 640, 640]; changed: what defects changed, or None."""

    boards: Tensor
    goldens: Tensor
    truth: Truth
    changed: Tensor | None


class DeviceData:
    """The pairs and their synthetic defects in GPU memory."""

    def __init__(self, pairs: Pairs, library: Library, device: torch.device) -> None:
        def put(array: object) -> Tensor:
            return torch.as_tensor(array).to(device)

        self.boards, self.goldens = put(pairs.boards), put(pairs.goldens)
        self.boxes, self.labels = put(pairs.boxes), put(pairs.labels)
        self.masks, self.corners = put(library.masks), put(library.corners)
        self.colours, self.kinds = put(library.colours), put(library.labels)
        self.painted_boxes, self.clear = put(library.boxes), put(library.clear)
        self.drawn = put(np.arange(len(pairs)) >= len(pairs) - pairs.drawn)
        self.swapped = put(SWAPPED)
        self.device = device


def chance(p: float, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.rand(shape, device=device) < p


def uniform(low: float, high: float, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.rand(shape, device=device) * (high - low) + low


def roughen(image: Tensor) -> Tensor:
    """Moves the edges of binary images by up to a pixel, unevenly, as a second scan does."""
    b, device = image.shape[0], image.device
    soft = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
    coarse = torch.randn(b, 1, IMAGE_SIZE // 8, IMAGE_SIZE // 8, device=device)
    wave = F.interpolate(coarse, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear")
    noise = torch.randn_like(image) * 0.12 + wave * uniform(0.0, 0.25, (b, 1, 1, 1), device)
    return (soft + noise.clamp(-0.49, 0.49) > 0.5).float()


def real_change(boards: Tensor, goldens: Tensor, truth: Truth) -> Tensor:
    """Pixels that the real defects changed: board differs from golden inside a box, slivers removed."""
    differs = (boards != goldens).float()
    opened = F.max_pool2d(-F.max_pool2d(-differs, 3, 1, 1), 3, 1, 1)
    return opened * box_mask(truth, IMAGE_SIZE, 1.0)


def box_mask(truth: Truth, size: int, stride: float) -> Tensor:
    """[b, 1, size, size], 1 where a cell of `stride` pixels touches a box."""
    line = torch.arange(size, device=truth.boxes.device) * stride
    low, high = truth.boxes[..., :2], truth.boxes[..., 2:]
    live = (truth.labels >= 0)[..., None]
    across = (line + stride > low[..., :1]) & (line < high[..., :1]) & live  # [b, m, size]
    down = (line + stride > low[..., 1:]) & (line < high[..., 1:]) & live
    return (torch.einsum("bmy,bmx->byx", down.float(), across.float()) > 0).float()[:, None]


def at_most(chosen: Tensor, count: int) -> Tensor:
    """The first `count` of the slots chosen in each row [b, slots]."""
    return chosen & (chosen.cumsum(1) <= count)


def paint_defects(
    data: DeviceData, index: Tensor, images: list[Tensor], chosen: Tensor, changed: Tensor | None
) -> tuple[list[Tensor], Tensor | None]:
    """Paints the chosen slots [b, slots] of the library, PAINTED_MAX in a row at most, onto each of the images.

    `changed` gets a one where a pixel of the first image took another colour.
    """
    b, pixels = len(index), IMAGE_SIZE * IMAGE_SIZE
    slot = chosen.int().argsort(dim=1, descending=True, stable=True)[:, :PAINTED_MAX]
    at = (index[:, None], slot)
    window = torch.arange(PATCH, device=data.device)
    corner = data.corners[at]
    rows, cols = corner[..., 1, None, None] + window[:, None], corner[..., 0, None, None] + window
    stroke = data.masks[at].bool() & chosen.gather(1, slot)[..., None, None]
    # What no stroke covers is written to a spare pixel past the end, cut off below.
    where = (rows * IMAGE_SIZE + cols).masked_fill(~stroke, pixels).flatten(1)
    colour = data.colours[at].float()[..., None, None].expand(stroke.shape).flatten(1)

    def write(image: Tensor, places: Tensor, values: Tensor) -> Tensor:
        return F.pad(image.flatten(1), (0, 1)).scatter(1, places, values)[:, :pixels].view(b, 1, IMAGE_SIZE, IMAGE_SIZE)

    if changed is not None:
        old = F.pad(images[0].flatten(1), (0, 1)).gather(1, where)
        changed = write(changed, where.masked_fill(old == colour, pixels), torch.ones_like(colour))
    return [write(image, where, colour) for image in images], changed


def join_truth(data: DeviceData, index: Tensor, real: Tensor, chosen: Tensor) -> Truth:
    """Real boxes (where the real board is kept) and painted ones, packed to OBJECTS_MAX."""
    boxes = torch.cat([data.boxes[index], data.painted_boxes[index]], 1)
    labels = torch.cat(
        [
            data.labels[index].masked_fill(~real[:, None], -1),
            data.kinds[index].masked_fill(~chosen, -1),
        ],
        1,
    )
    return pack(Truth(boxes, labels))


def pack(truth: Truth) -> Truth:
    """Moves the live boxes to the front and cuts to OBJECTS_MAX."""
    order = (truth.labels < 0).int().argsort(dim=1, stable=True)[:, :OBJECTS_MAX]
    return Truth(truth.boxes.gather(1, order[..., None].expand(-1, -1, 4)), truth.labels.gather(1, order))


def random_affine(b: int, how: Strength, device: torch.device) -> tuple[Tensor, Tensor]:
    """Output-to-input maps: matrices [b, 2, 2] and offsets [b, 2], in pixels from the centre."""
    turn = torch.randint(0, 4, (b,), device=device) * (torch.pi / 2)
    cos, sin = turn.cos().round(), turn.sin().round()
    flip = 1.0 - 2.0 * chance(0.5, (b,), device).float()
    matrix = torch.stack([cos * flip, -sin, sin * flip, cos], -1).view(b, 2, 2)
    moved = chance(how.affine, (b, 1), device).float()
    log_scale = math.log(how.scale_max) * uniform(-1, 1, (b, 1), device)
    aspect = uniform(-0.06, 0.06, (b, 2), device)
    scale = ((log_scale + aspect) * moved).exp()
    offset = uniform(-how.shift_max_px, how.shift_max_px, (b, 2), device) * moved
    return matrix * scale[:, :, None], offset


def warp(image: Tensor, matrix: Tensor, offset: Tensor, fill: Tensor) -> Tensor:
    """Samples [b, c, s, s] images at matrix * output + offset; `fill` [b] stands outside."""
    at = (torch.arange(IMAGE_SIZE, device=image.device) + 0.5) / (IMAGE_SIZE / 2) - 1
    columns, rows = matrix[:, None, None, :, 0] * at[:, None], matrix[:, None, None, :, 1] * at[:, None, None]
    grid = columns + rows + offset[:, None, None] / (IMAGE_SIZE / 2)
    fill = fill[:, None, None, None]
    return F.grid_sample(image - fill, grid, mode="bilinear", align_corners=False) + fill


def warp_truth(truth: Truth, matrix: Tensor, offset: Tensor) -> Truth:
    """The boxes after `warp`; boxes mostly cut off are dropped."""
    half = IMAGE_SIZE / 2
    (p, q), (r, s) = matrix[:, 0].unbind(1), matrix[:, 1].unbind(1)
    inverse = torch.stack([s, -q, -r, p], -1).view(-1, 2, 2) / (p * s - q * r)[:, None, None]
    ends = truth.boxes.view(*truth.boxes.shape[:2], 2, 2) - half - offset[:, None, None]
    ends = torch.einsum("bij,bmkj->bmki", inverse, ends) + half
    whole = torch.cat([ends.amin(2), ends.amax(2)], -1)
    cut = whole.clamp(0, IMAGE_SIZE)

    def area(boxes: Tensor) -> Tensor:
        return (boxes[..., 2:] - boxes[..., :2]).prod(-1)

    seen = area(cut) / area(whole).clamp(min=1.0) >= VISIBLE_MIN
    return Truth(cut, truth.labels.masked_fill(~seen, -1))


def change_thickness(image: Tensor, share: float) -> Tensor:
    """Thickens or thins the copper of some images by a pixel."""
    b, device = image.shape[0], image.device
    dice = torch.rand(b, 1, 1, 1, device=device)
    thin = F.max_pool2d(image, 3, 1, 1)
    thick = -F.max_pool2d(-image, 3, 1, 1)
    return torch.where(dice < share / 2, thin, torch.where(dice > 1 - share / 2, thick, image))


def add_specks(image: Tensor, share: float) -> Tensor:
    """Single pixels and pixel pairs of the wrong colour, as dust leaves them."""
    b, device = image.shape[0], image.device
    rate = 1.5e-4 * chance(share, (b, 1, 1, 1), device).float()
    hit = (torch.rand_like(image) < rate).float()
    hit = torch.maximum(hit, F.pad(hit, (1, 0, 0, 0))[..., :IMAGE_SIZE])
    return torch.where(hit > 0, 1 - image, image)


def retouch(image: Tensor, how: Strength) -> Tensor:
    """What differs from scan to scan: threshold, thickness, contrast."""
    b, device = image.shape[0], image.device
    level = uniform(0.35, 0.65, (b, 1, 1, 1), device)
    binary = torch.where(chance(0.85, (b, 1, 1, 1), device), (image > level).float(), image)
    binary = change_thickness(binary, how.thickness)
    gain = uniform(0.7, 1.0, (b, 1, 1, 1), device)
    base = torch.rand(b, 1, 1, 1, device=device) * (1 - gain)
    return torch.where(chance(how.contrast, (b, 1, 1, 1), device), binary * gain + base, binary)


def registration_error(b: int, how: Strength, device: torch.device) -> tuple[Tensor, Tensor]:
    """How far the golden is off: a small turn as matrices [b, 2, 2] and shifts [b, 2] in pixels."""
    wrong = chance(how.misregistered, (b, 1), device)
    near = torch.randn(b, 2, device=device).clamp(-2.5, 2.5) * how.offset_sigma_px
    far = uniform(-how.far_max_px, how.far_max_px, (b, 2), device)
    shift = torch.where(chance(how.far, (b, 1), device), far, near) * wrong
    angle = torch.randn(b, device=device).clamp(-2, 2) * 0.002 * wrong[:, 0]
    one = torch.ones_like(angle)
    return torch.stack([one, -angle, angle, one], -1).view(b, 2, 2), shift


def invert(
    data: DeviceData, boards: Tensor, goldens: Tensor, truth: Truth, share: float
) -> tuple[Tensor, Tensor, Truth]:
    """Swaps the colours of some pairs, and the classes with them."""
    flip = chance(share, (len(boards),), boards.device)
    swapped = data.swapped[truth.labels.clamp(min=0)]
    labels = torch.where(flip[:, None] & (truth.labels >= 0), swapped, truth.labels)
    where = flip[:, None, None, None]
    return (
        torch.where(where, 1 - boards, boards),
        torch.where(where, 1 - goldens, goldens),
        Truth(truth.boxes, labels),
    )


@torch.no_grad()
def make_batch(data: DeviceData, index: Tensor, how: Strength, with_change: bool = False) -> Batch:
    """An augmented batch of the pairs at `index` [b]."""
    b, device = len(index), data.device
    goldens = data.goldens[index].float()[:, None]
    boards = data.boards[index].float()[:, None]
    real = ~chance(how.golden_as_board, (b,), device) & ~data.drawn[index]
    changed = None
    if with_change:
        own = Truth(data.boxes[index], data.labels[index])
        changed = real_change(boards, goldens, own) * real[:, None, None, None]
    slots = data.kinds.shape[1]
    allowed = (data.kinds[index] >= 0) & (data.clear[index] | ~real[:, None])
    boards = torch.where(real[:, None, None, None], boards, roughen(goldens))
    decoys = (torch.rand(b, slots, device=device) < 2.5 / slots) & allowed & chance(how.decoys, (b, 1), device)
    (boards, goldens), _ = paint_defects(data, index, [boards, goldens], at_most(decoys, PAINTED_MAX), None)

    mean = how.painted_mean / slots * torch.where(real, chance(how.painted, (b,), device).float(), 2.0 * ~real)
    chosen = (torch.rand(b, slots, device=device) < mean[:, None]) & allowed & ~decoys
    chosen = at_most(chosen, PAINTED_MAX)
    (boards,), changed = paint_defects(data, index, [boards], chosen, changed)
    truth = join_truth(data, index, real, chosen)
    boards, goldens, truth = invert(data, boards, goldens, truth, how.inverted)

    matrix, offset = random_affine(b, how, device)
    fill = chance(0.7, (b,), device).float()
    twist, slip = registration_error(b, how, device)
    boards = warp(boards, matrix, offset, fill)
    if changed is not None:
        changed = warp(changed, matrix, offset, torch.zeros_like(fill))
    goldens = warp(goldens, twist @ matrix, offset + slip, fill)
    truth = pack(warp_truth(truth, matrix, offset))
    boards = add_specks(retouch(boards, how), how.specks)
    return Batch(boards, retouch(goldens, how), truth, changed)
