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
RECORD_AFTER = 8  # steps, in which cuDNN chooses its algorithms
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
        "pcb-detector": Recipe(5750, 32, 2e-3, 0.03, averaging=0.999, calm_from=0.65, strength=Strength(drawn=0.12)),
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
    """Exponential moving average of a network's weights and statistics, ramped up at the start."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.mine = [t for t in self.network.state_dict().values() if t.is_floating_point()]
        self.theirs = [t for t in network.state_dict().values() if t.is_floating_point()]
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        keep = self.decay * (1 - math.exp(-self.updates / 300))
        torch._foreach_lerp_(self.mine, self.theirs, 1 - keep)


def learning_rate(progress: float) -> float:
    """Factor of the rate: linear warm-up, then a cosine down to 1 %."""
    if progress < WARM_UP:
        return max(progress / WARM_UP, 0.01)
    done = (progress - WARM_UP) / (1 - WARM_UP)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def sampler(
    groups: np.ndarray, keep: np.ndarray, drawn: np.ndarray, seed: int, device: torch.device
) -> Callable[[int, float], Tensor]:
    """Draws batches of indices among `keep`, small groups more often than their share.

    The second argument is the share of the rescaled boards, those at `drawn`.
    """
    pairs = np.setdiff1d(keep, drawn)
    names, count = np.unique(groups[pairs], return_counts=True)
    weight = {n: c ** (GROUP_POWER - 1) for n, c in zip(names, count, strict=True)}
    p = torch.tensor([weight[g] for g in groups[pairs]], device=device)
    where = torch.as_tensor(pairs, device=device)
    others = torch.as_tensor(np.intersect1d(keep, drawn), device=device)
    generator = torch.Generator(device).manual_seed(seed)

    def draw(b: int, share: float) -> Tensor:
        index = where[torch.multinomial(p, b, replacement=b > len(pairs), generator=generator)]
        if share == 0:
            return index
        other = others[torch.randint(len(others), (b,), device=device, generator=generator)]
        return torch.where(torch.rand(b, device=device, generator=generator) < share, other, index)

    return draw


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
        # Without the cache of casts, a recorded step owes nothing to the step before it.
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
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


class Step:
    """One step of training, from the indices of the pairs to the new weights.

    On a GPU a detector's step is recorded as a CUDA graph, once for each strength
    of the augmentation, and replayed: launching its kernels one by one took the
    host 59 ms, and they run in 26 ms on an H100.
    """

    def __init__(self, task: Task, data: DeviceData, recipe: Recipe) -> None:
        on_gpu = task.device.type == "cuda"
        self.task, self.data, self.recipe = task, data, recipe
        self.index = torch.zeros(recipe.batch, dtype=torch.int64, device=task.device)
        self.rate = torch.tensor(recipe.rate, device=task.device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(task.network, recipe.decay), lr=self.rate, fused=on_gpu, capturable=on_gpu
        )
        self.loss = torch.zeros((), device=task.device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.graph_strength: Strength | None = None
        self.by_hand = RECORD_AFTER if on_gpu and "detector" in task.model else math.inf  # steps left unrecorded
        self.side = torch.cuda.Stream() if on_gpu else None

    def make(self, how: Strength) -> None:
        """The work itself; no shape depends on the data, and nothing waits for the GPU."""
        batch = make_batch(self.data, self.index, how, self.task.model == "pcb-matcher")
        loss = self.task.loss(batch, self.recipe)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.task.network.parameters(), 10.0, foreach=True)
        self.optimizer.step()
        self.loss = loss.detach()

    def __call__(self, index: Tensor, rate: float, how: Strength) -> None:
        self.index.copy_(index)
        self.rate.fill_(rate)
        if self.by_hand == math.inf:
            self.make(how)
        elif self.by_hand > 0:  # on a stream of its own, as graphs want their warm-up
            self.by_hand -= 1
            self.side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.side):
                self.make(how)
            torch.cuda.current_stream().wait_stream(self.side)
        else:
            if self.graph_strength is not how:
                self.record(how)
            self.graph.replay()

    def record(self, how: Strength) -> None:
        """Records the work at one strength, in place of what was recorded before."""
        torch.cuda.synchronize()
        self.optimizer.zero_grad(set_to_none=True)
        self.graph_strength, self.graph = how, torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.make(how)


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
    draw = sampler(groups, keep, np.flatnonzero(data.drawn.cpu().numpy()), seed, task.device)
    if start is not None:
        first = make_batch(data, draw(recipe.batch, 0.0), Strength())
        unfold_norms(task.network, start, task.example(first, recipe))
    average = Average(task.network, recipe.averaging)
    strong = recipe.strength or Strength()
    calm = strong.calm()
    make_step = Step(task, data, recipe)
    started = time.monotonic()
    step = 0
    while (progress := max(step / recipe.steps, (time.monotonic() - started) / seconds_max)) < 1:
        how = strong if progress < recipe.calm_from else calm
        make_step(draw(recipe.batch, how.drawn), recipe.rate * learning_rate(progress), how)
        average.update()
        if step % max(1, recipe.steps // 8) == 0:
            loss, seconds = make_step.loss.item(), time.monotonic() - started
            print(f"  step {step} loss {loss:.3f} after {seconds:.1f} s", flush=True)
        if step % 16 == 0 and task.device.type == "cuda":
            torch.cuda.synchronize()  # so that the clock tells of steps made, not of steps asked for
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
