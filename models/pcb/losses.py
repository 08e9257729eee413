# SPDX-License-Identifier: Apache-2.0
"""Training targets and losses.

Detector: task-aligned assignment (Feng et al., arXiv 2108.07755), complete-IoU
loss (Zheng et al., arXiv 1911.08287) and distribution focal loss (Li et al.,
arXiv 2006.04388). Matcher: contrastive loss with margins on both sides of 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pcb import CLASSES
from pcb.networks import BINS, anchor_points, side_distances

TOP = 10  # anchors that may answer for an object


@dataclass
class Truth:
    """Ground truth of a batch: boxes [b, m, 4] as x1, y1, x2, y2 in pixels; labels [b, m], -1 pads."""

    boxes: Tensor
    labels: Tensor


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes (..., 4) that broadcast against each other."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    across, down = (high - low).clamp(min=0).unbind(-1)
    inter = across * down  # not prod(): its gradient asks the GPU for zeros and waits
    area_a, area_b = ((box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]) for box in (a, b))
    return inter / (area_a + area_b - inter).clamp(min=1e-6)


def complete_iou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU of boxes (..., 4) that broadcast against each other."""
    aw, ah = a[..., 2] - a[..., 0], a[..., 3] - a[..., 1]
    bw, bh = b[..., 2] - b[..., 0], b[..., 3] - b[..., 1]
    iou = box_iou(a, b)
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    diagonal = hull.square().sum(-1).clamp(min=1e-6)
    offset = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]).square().sum(-1) / 4
    shape = torch.atan(bw / bh.clamp(min=1e-6)) - torch.atan(aw / ah.clamp(min=1e-6))
    v = (4 / math.pi**2) * shape.square()
    with torch.no_grad():
        weight = v / (v - iou + 1 + 1e-6)
    return iou - offset / diagonal - weight * v


@torch.no_grad()
def assign(
    scores: Tensor, boxes: Tensor, points: Tensor, truth: Truth, top: int, alpha: float, beta: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Chooses the anchors that answer for each object.

    scores [b, a, 6] after sigmoid, boxes [b, a, 4] predicted, points [a, 2].
    Returns for each anchor the index of its object [b, a], whether it has one
    [b, a], and the target score [b, a].
    """
    valid = truth.labels >= 0
    labels = truth.labels.clamp(min=0)
    x1, y1, x2, y2 = truth.boxes[..., None].unbind(2)  # [b, m, 1]
    x, y = points.unbind(1)
    inside = (x > x1) & (x < x2) & (y > y1) & (y < y2) & valid[..., None]  # [b, m, a]
    iou = box_iou(truth.boxes[:, :, None], boxes[:, None]) * inside
    of_class = (labels[..., None] == torch.arange(len(CLASSES), device=labels.device)).float()
    score = of_class @ scores.transpose(1, 2)
    align = score.pow(alpha) * iou.pow(beta) * inside
    best, where = align.topk(top, dim=2)
    chosen = torch.zeros_like(align, dtype=torch.bool).scatter_(2, where, best > 1e-12)
    # An anchor wanted by several objects goes to the one that it overlaps most.
    claims = torch.where(chosen, iou + 1e-6, torch.zeros_like(iou))
    owner = claims.argmax(1)  # [b, a]
    positive = chosen.any(1)
    objects = torch.arange(align.shape[1], device=owner.device)
    mine = (owner[:, None] == objects[:, None]) & chosen
    align = align * mine
    peak = align.amax(2, keepdim=True).clamp(min=1e-12)
    quality = (iou * mine).amax(2, keepdim=True).sqrt()
    target = (align / peak * quality).amax(1)
    return owner, positive, target


def decode(box_logits: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Boxes [b, a, 4] of the box logits [b, 64, a] at anchors with points (..., a, 2) and strides (..., a)."""
    sides = side_distances(box_logits).transpose(1, 2) * strides[..., None]
    return torch.cat([points - sides[..., :2], points + sides[..., 2:]], -1)


def detector_loss(
    box_logits: Tensor, class_logits: Tensor, truth: Truth, points: Tensor, strides: Tensor
) -> tuple[Tensor, Tensor]:
    """Total loss and its three parts (class, box, distribution), per image."""
    class_logits = class_logits.float().transpose(1, 2)
    with torch.no_grad():
        boxes = decode(box_logits.float(), points, strides)
    owner, positive, target = assign(class_logits.sigmoid(), boxes, points, truth, TOP, 0.5, 6.0)
    weight = target * positive
    label = truth.labels.gather(1, owner).clamp(min=0)
    wanted = torch.zeros_like(class_logits).scatter_(2, label[..., None], weight[..., None])
    total = wanted.sum().clamp(min=1.0)
    class_loss = F.binary_cross_entropy_with_logits(class_logits, wanted, reduction="sum") / total

    # The positive anchors alone, and as many as there can be, so that the shapes stay static.
    weight, chosen = weight.topk(TOP * truth.labels.shape[1], dim=1)
    owner, points, strides = owner.gather(1, chosen), points[chosen], strides[chosen]
    logits = box_logits.gather(2, chosen[:, None].expand(-1, box_logits.shape[1], -1)).float()
    goal = truth.boxes.gather(1, owner[..., None].expand(-1, -1, 4))
    goal = torch.where((weight > 0)[..., None], goal, torch.cat([points - 8, points + 8], -1))
    box_loss = ((1 - complete_iou(decode(logits, points, strides), goal)) * weight).sum() / total
    distances = torch.cat([points - goal[..., :2], goal[..., 2:] - points], -1) / strides[..., None]
    distances = distances.clamp(0, BINS - 1 - 0.01)
    low = distances.floor()
    log_share = logits.view(len(owner), 4, BINS, -1).permute(0, 3, 1, 2).log_softmax(-1)
    below = log_share.gather(-1, low.long()[..., None]).squeeze(-1) * (low + 1 - distances)
    above = log_share.gather(-1, low.long()[..., None] + 1).squeeze(-1) * (distances - low)
    spread_loss = (-(below + above).mean(-1) * weight).sum() / total
    parts = torch.stack([class_loss, box_loss, spread_loss])
    return class_loss + 5.0 * box_loss + 1.0 * spread_loss, parts.detach()


class DetectorLoss:
    """`detector_loss` with its anchors on the device."""

    def __init__(self, device: torch.device) -> None:
        points, strides = anchor_points()
        self.points = points.T.contiguous().to(device)
        self.strides = strides.to(device)

    def __call__(self, outputs: tuple[Tensor, Tensor], truth: Truth) -> tuple[Tensor, Tensor]:
        return detector_loss(*outputs, truth, self.points, self.strides)


def classifier_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy with a little label smoothing; labels [n], len(CLASSES) = false alarm, -1 = unused."""
    assert logits.shape[1] == len(CLASSES) + 1
    used = labels >= 0
    each = F.cross_entropy(logits.float(), labels.clamp(min=0), label_smoothing=0.05, reduction="none")
    return (each * used).sum() / used.sum().clamp(min=1)


MARGIN_NEAR = 0.6  # same places should be nearer than this
MARGIN_FAR = 1.6  # changed places should be farther than this


def matcher_loss(distance: Tensor, changed: Tensor, boxed: Tensor) -> Tensor:
    """Contrastive loss over the cells of the distance map.

    changed [b, 1, 80, 80]: share of each cell's pixels that a defect changed;
    boxed [b, 1, 80, 80]: 1 where a cell touches a defect's box. Cells inside a
    box that the defect did not change belong to neither side.
    """
    far = changed >= 0.08
    near = boxed == 0
    pull = (distance - MARGIN_NEAR).clamp(min=0).square()
    push = (MARGIN_FAR - distance).clamp(min=0).square()
    pull_all = (pull * near).sum() / near.sum().clamp(min=1)
    hardest = (pull * near).flatten(1).topk(24, dim=1).values.mean()
    push_all = (push * far).sum() / far.sum().clamp(min=1)
    return push_all + 2.0 * pull_all + hardest
