# SPDX-License-Identifier: Apache-2.0
"""The classifier's crops: the rule that takt's C++ follows too, and the training samples.

The crop of a box is a square window around the box's centre with the side
max(1.5 * max(w, h), 48) pixels, resampled to 64x64 with bilinear weights and
half-pixel centres, x_src = x0 + (i + 0.5) * side / 64 - 0.5, coordinates
clamped to the image, the result rounded to whole grey levels (0..255).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pcb import CLASSES, IMAGE_SIZE
from pcb.augment import Batch, box_mask, uniform

CROP = 64
CONTEXT = 1.5
SIDE_MIN = 48.0
FALSE_ALARM_LABEL = len(CLASSES)


def crop(boards: Tensor, goldens: Tensor, boxes: Tensor) -> Tensor:
    """Crops [b * k, 2, 64, 64] for boxes [b, k, 4] on images [b, 1, 640, 640]."""
    b, k = boxes.shape[:2]
    side = ((boxes[..., 2:] - boxes[..., :2]).amax(-1) * CONTEXT).clamp(min=SIDE_MIN)
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    step = (torch.arange(CROP, device=boxes.device) + 0.5) / CROP - 0.5
    position = centre[:, :, None] + step[None, None, :, None] * side[:, :, None, None]  # [b, k, 64, 2]
    position = position / (IMAGE_SIZE / 2) - 1
    x = position[:, :, None, :, 0].expand(b, k, CROP, CROP)
    y = position[:, :, :, None, 1].expand(b, k, CROP, CROP)
    grid = torch.stack([x, y], -1).view(b, k * CROP, CROP, 2)
    both = torch.cat([boards, goldens], 1)
    out = F.grid_sample(both, grid, mode="bilinear", padding_mode="border", align_corners=False)
    out = (out * 255).round() / 255
    return out.view(b, 2, k, CROP, CROP).transpose(1, 2).reshape(b * k, 2, CROP, CROP)


def jitter(boxes: Tensor, shift: float, scale: float) -> Tensor:
    """Moves boxes by up to `shift` of their size and scales their sides by up to `scale`."""
    centre, size = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    centre = centre + size * uniform(-shift, shift, size.shape, boxes.device)
    grow = math.log(scale) * uniform(-1, 1, size.shape, boxes.device)
    half = size * grow.exp() / 2
    return torch.cat([centre - half, centre + half], -1)


def random_boxes(b: int, k: int, device: torch.device) -> Tensor:
    """Boxes of the size of defects, anywhere in the image."""
    size = 24 + 50 * torch.rand(b, k, 2, device=device).pow(2)
    centre = uniform(8, IMAGE_SIZE - 8, (b, k, 2), device)
    return torch.cat([centre - size / 2, centre + size / 2], -1)


def false_alarms(batch: Batch, k: int) -> tuple[Tensor, Tensor]:
    """Boxes [b, k, 4] where no defect is, most of them on edges, and whether each is usable."""
    boards, device = batch.boards, batch.boards.device
    b = len(boards)
    tries = random_boxes(b, 4 * k, device)
    differs = F.max_pool2d((boards - batch.goldens).abs(), 9, 1, 4)
    at = ((tries[..., :2] + tries[..., 2:]) / 2).long().clamp(0, IMAGE_SIZE - 1)
    flat = at[..., 1] * IMAGE_SIZE + at[..., 0]
    busy = differs.flatten(1).gather(1, flat) + torch.rand(b, 4 * k, device=device)
    # Half of the k are the busiest of four tries, half are any place.
    busy = busy.view(b, k, 4)
    pick = torch.where(torch.arange(k, device=device) % 2 == 0, busy.argmax(2), 0)
    boxes = tries.view(b, k, 4, 4).gather(2, pick[..., None, None].expand(b, k, 1, 4)).squeeze(2)
    occupied = box_mask(batch.truth, IMAGE_SIZE // 4, 4.0)
    centre = ((boxes[..., :2] + boxes[..., 2:]) / 2 / 4).long().clamp(0, IMAGE_SIZE // 4 - 1)
    grown = F.max_pool2d(occupied, 9, 1, 4).flatten(1)
    free = grown.gather(1, centre[..., 1] * (IMAGE_SIZE // 4) + centre[..., 0]) == 0
    return boxes, free


def sample_crops(batch: Batch, per_image: int) -> tuple[Tensor, Tensor]:
    """Crops and labels of one augmented batch: jittered defects and false alarms in equal parts.

    A near miss, the window of a defect moved away until it shows the defect
    at its rim at most, counts as a false alarm.
    """
    truth, device = batch.truth, batch.boards.device
    b, half = len(batch.boards), per_image // 2
    live = truth.labels >= 0
    ticket = torch.rand(live.shape, device=device).masked_fill(~live, -1.0)
    chosen = ticket.argsort(dim=1, descending=True)[:, :half]
    labels = truth.labels.gather(1, chosen)
    found = truth.boxes.gather(1, chosen[..., None].expand(-1, -1, 4))
    boxes = jitter(found, 0.18, 1.3)
    nothing, free = false_alarms(batch, half)
    # A sixth of the false alarms are near misses, one and a half windows away from a defect.
    side = (found[..., 2:] - found[..., :2]).amax(-1, keepdim=True).clamp(min=32.0) * CONTEXT
    angle = uniform(0, 2 * torch.pi, (b, half, 1), device)
    away = torch.cat([angle.cos(), angle.sin()], -1) * side * 0.9
    near = found + torch.cat([away, away], -1)
    use_near = (torch.rand(b, half, device=device) < 1 / 6) & (labels >= 0)
    nothing = torch.where(use_near[..., None], near, nothing)
    occupied = box_mask(truth, IMAGE_SIZE // 4, 4.0).flatten(1)
    at = ((nothing[..., :2] + nothing[..., 2:]) / 8).long()
    inside = ((at >= 0) & (at < IMAGE_SIZE // 4)).all(-1)
    at = at.clamp(0, IMAGE_SIZE // 4 - 1)
    hidden = occupied.gather(1, at[..., 1] * (IMAGE_SIZE // 4) + at[..., 0]) == 0
    usable = torch.where(use_near, hidden & inside, free)
    all_boxes = torch.cat([boxes, nothing], 1)
    all_labels = torch.cat([labels, torch.where(usable, FALSE_ALARM_LABEL, -1)], 1).flatten()
    crops = crop(batch.boards, batch.goldens, all_boxes)
    return crops, all_labels
