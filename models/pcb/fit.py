# SPDX-License-Identifier: Apache-2.0
"""The training loop, the same for the three networks: AdamW, one cosine, weight averaging."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pcb.augment import Batch, DeviceData, Strength, box_mask, make_batch
from pcb.crops import sample_crops
from pcb.losses import DetectorLoss, classifier_loss, matcher_loss
from pcb.networks import build, fold_norms, unfold_norms

WARM_UP = 0.05  # share of the steps
GROUP_POWER = 0.7  # a group of n pairs is drawn n^0.7 times as often, so that small groups count
CELL = 8  # pixels a side of the matcher's cells


@dataclass
class Recipe:
    """What is tuned for each network."""

    steps: int
    batch: int
    rate: float
    decay: float
    averaging: float = 0.998
    calm_from: float = 0.85  # from this share of the steps on the augmentation is weak
    strength: Strength | None = None
    crops: int = 16  # an image, classifier only


def default_recipe(model: str) -> Recipe:
    recipes = {
        "pcb-detector": Recipe(3600, 32, 2e-3, 0.03),
        "pcb-detector-single": Recipe(
            2000, 32, 2e-3, 0.03, strength=Strength(misregistered=0.0, decoys=0.0, inverted=0.15)
        ),
        "pcb-classifier": Recipe(500, 32, 2e-3, 0.05, strength=Strength(misregistered=0.7), crops=20),
        "pcb-matcher": Recipe(
            450,
            16,
            2e-3,
            0.03,
            strength=Strength(misregistered=0.8, offset_sigma_px=2.2, far=0.15, far_max_px=8.0),
        ),
    }
    return recipes[model]


class Average:
    """Exponential moving average of weights and statistics, ramped up at the start."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        self.updates += 1
        keep = self.decay * (1 - math.exp(-self.updates / 300))
        mine = [t for t in self.network.state_dict().values() if t.is_floating_point()]
        theirs = [t for t in network.state_dict().values() if t.is_floating_point()]
        torch._foreach_lerp_(mine, theirs, 1 - keep)


def learning_rate(progress: float) -> float:
    """Factor of the rate: linear warm-up, then a cosine down to 1 %."""
    if progress < WARM_UP:
        return max(progress / WARM_UP, 0.01)
    done = (progress - WARM_UP) / (1 - WARM_UP)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def sampler(groups: np.ndarray, keep: np.ndarray, seed: int, device: torch.device) -> Callable[[int], Tensor]:
    """Draws batches of pair indices among `keep`, small groups more often than their share."""
    names, count = np.unique(groups[keep], return_counts=True)
    weight = {n: c ** (GROUP_POWER - 1) for n, c in zip(names, count, strict=True)}
    p = torch.tensor([weight[g] for g in groups[keep]], device=device)
    where = torch.as_tensor(keep, device=device)
    generator = torch.Generator(device).manual_seed(seed)
    return lambda b: where[torch.multinomial(p, b, replacement=b > len(keep), generator=generator)]


class Task:
    """Network, loss and how a batch goes through them; reused from fold to fold."""

    def __init__(self, model: str, device: torch.device) -> None:
        self.model = model
        self.device = device
        self.network = build(model).to(device, memory_format=torch.channels_last)
        self.detector_loss = DetectorLoss(device) if "detector" in model else None

    def restart(self, seed: int) -> None:
        """Fresh weights in the same module."""
        torch.manual_seed(seed)
        self.network.load_state_dict(build(self.model).state_dict())
        self.network.train()

    def inputs(self, batch: Batch) -> Tensor:
        images = batch.boards if self.model.endswith("single") else torch.cat([batch.boards, batch.goldens], 1)
        return images.contiguous(memory_format=torch.channels_last)

    def example(self, batch: Batch, recipe: Recipe) -> tuple[Tensor, ...]:
        """What the network takes, made from a batch."""
        if self.model == "pcb-classifier":
            return (sample_crops(batch, recipe.crops)[0],)
        if self.model == "pcb-matcher":
            return batch.boards, batch.goldens
        return (self.inputs(batch),)

    def loss(self, batch: Batch, recipe: Recipe) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16):
            if self.model == "pcb-classifier":
                crops, labels = sample_crops(batch, recipe.crops)
                logits = self.network(crops.contiguous(memory_format=torch.channels_last))
            elif self.model == "pcb-matcher":
                distance = self.network(batch.boards, batch.goldens)
            else:
                outputs = self.network(self.inputs(batch))
        if self.model == "pcb-classifier":
            return classifier_loss(logits, labels)
        if self.model == "pcb-matcher":
            changed = nn.functional.avg_pool2d(batch.changed, CELL)
            boxed = box_mask(batch.truth, distance.shape[2], float(CELL))
            return matcher_loss(distance.float(), changed, boxed)
        return self.detector_loss(outputs, batch.truth)[0]


def parameter_groups(network: nn.Module, decay: float) -> list[dict]:
    """Weight decay for convolutions and matrices only."""
    live = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in live if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in live if p.dim() <= 1], "weight_decay": 0.0},
    ]


def fit(
    task: Task,
    data: DeviceData,
    groups: np.ndarray,
    keep: np.ndarray,
    recipe: Recipe,
    seed: int,
    seconds_max: float = math.inf,
    start: dict[str, Tensor] | None = None,
) -> tuple[nn.Module, int]:
    """Trains on the pairs at `keep` for the recipe's steps, or fewer when seconds_max is too short.

    The schedule follows whichever of the two budgets is further used up, so it
    always runs to its end. `start` are folded weights to go on from. Returns the averaged network with folded norms and
    weights as fp16 holds them, and the number of steps made.
    """
    task.restart(seed)
    draw = sampler(groups, keep, seed, task.device)
    if start is not None:
        first = make_batch(data, draw(recipe.batch), Strength())
        unfold_norms(task.network, start, task.example(first, recipe))
    average = Average(task.network, recipe.averaging)
    fused = task.device.type == "cuda"
    optimizer = torch.optim.AdamW(parameter_groups(task.network, recipe.decay), lr=recipe.rate, fused=fused)
    strong = recipe.strength or Strength()
    started = time.monotonic()
    step = 0
    while (progress := max(step / recipe.steps, (time.monotonic() - started) / seconds_max)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * learning_rate(progress)
        how = strong if progress < recipe.calm_from else strong.calm()
        batch = make_batch(data, draw(recipe.batch), how, task.model == "pcb-matcher")
        loss = task.loss(batch, recipe)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(task.network.parameters(), 10.0, foreach=True)
        optimizer.step()
        average.update(task.network)
        if step % max(1, recipe.steps // 8) == 0:
            print(f"  step {step} loss {loss.item():.3f} after {time.monotonic() - started:.1f} s", flush=True)
        step += 1
    return finish(average.network), step


def finish(network: nn.Module) -> nn.Module:
    """Folds the norms and rounds the weights to what fp16 storage will hold."""
    network = copy.deepcopy(network).eval()
    fold_norms(network)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(p.half().float())
    return network
