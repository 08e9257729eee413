#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains and exports one of takt's sample models.

    python models/train.py detector --data DIR --out DIR [--leave-out GROUP ...] [--seed N]

Models: detector, detector-single, classifier, matcher. Without --leave-out the
release model is trained on all pairs; with it one model is trained for each
group named, on the other groups (`all`: every group), and judged on the
group left out. For each model OUT/<group or release>/<model>/ gets weights.pt
(norms folded, fp16), metrics.json and, unless --no-export, 1/model.onnx; of a
left-out group also its detections (heldout.jsonl, for evaluate.py) or maps.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch

import evaluate
from pcb import fit, heldout
from pcb.augment import DeviceData
from pcb.data import Pairs, read_pairs
from pcb.export import export_network
from pcb.synthetic import load_library, make_library, rescale, save_library

RELEASE = "release"
SLOTS = 28  # synthetic defects kept ready for each pair
DRAWN = 490  # rescaled boards
MAP_STEPS = 40  # the matcher's held-out maps are stored as bytes, this many steps to a distance of 1


def judge(model: str, network: torch.nn.Module, data: DeviceData, pairs: Pairs, index: np.ndarray, out: Path) -> dict:
    """Metrics on the pairs at `index`; writes what pooling over the groups needs."""
    ids = [pairs.ids[i] for i in index]
    if "detector" in model:
        candidates = heldout.detect(network, data, index, model.endswith("single"))
        count = np.array([len(c) for c in candidates])
        np.savez_compressed(
            out / "candidates.npz", ids=ids, count=count, rows=np.concatenate(candidates).astype(np.float32)
        )
        found = [heldout.suppress(c) for c in candidates]
        heldout.write_jsonl(out / "heldout.jsonl", ids, found)
        frames = heldout.frames_of(found, pairs.boxes[index], pairs.labels[index])
        return evaluate.evaluate(frames, 0.5, 0.33, 0)
    if model == "pcb-classifier":
        confusion = heldout.classify_truth(network, data, index)
        return {"confusion": confusion.tolist(), "accuracy": 100 * confusion.trace() / confusion.sum()}
    for slip in (0, 3):
        maps = (heldout.distances(network, data, index, slip) * MAP_STEPS).round().clamp(0, 255).byte().numpy()
        np.savez_compressed(out / f"distances-{slip}.npz", ids=ids, maps=maps)
    return {}


def prepare(options: argparse.Namespace, device: torch.device) -> tuple[Pairs, DeviceData]:
    """Pairs and synthetic defects, on the device."""
    pairs = read_pairs(options.data, options.limit)
    count = DRAWN if options.limit is None else options.limit // 2
    pairs = pairs.with_drawn(*rescale(pairs.goldens, pairs.groups, count, 1))
    cache = options.library
    if cache is not None and cache.is_file():
        library = load_library(cache)
    else:
        library = make_library(pairs.goldens, pairs.boxes, SLOTS, 1, os.cpu_count() or 1)
        if cache is not None:
            save_library(library, cache)
    if len(library.labels) != len(pairs):
        raise SystemExit(f"train: {cache} was drawn for other pairs; delete it")
    return pairs, DeviceData(pairs, library, device)


def train_one(
    options: argparse.Namespace, task: fit.Task, recipe: fit.Recipe, data: DeviceData, pairs: Pairs, left_out: str
) -> None:
    """Trains without one group (or on all), judges on it and writes what there is to write."""
    begun = time.monotonic()
    model, groups = task.model, pairs.groups
    held = np.flatnonzero((groups == left_out) & (np.arange(len(pairs)) < len(pairs) - pairs.drawn))
    if left_out != RELEASE and len(held) == 0:
        raise SystemExit(f"train: no group `{left_out}`; the data has {', '.join(sorted(set(groups)))}")
    out = options.out / left_out / model
    out.mkdir(parents=True, exist_ok=True)
    keep = np.flatnonzero(groups != left_out)
    start = torch.load(options.start, weights_only=True) if options.start else None
    network, steps = fit.fit(task, data, groups, keep, recipe, options.seed, options.seconds_max, start)
    weights = {k: v.half().cpu() for k, v in network.state_dict().items()}
    torch.save(weights, out / "weights.pt")
    metrics = judge(model, network, data, pairs, held, out) if len(held) else {}
    metrics |= {
        "model": model,
        "left_out": left_out,
        "seed": options.seed,
        "went_on_from": str(options.start) if options.start else None,
        "steps": steps,
        "rate": recipe.rate,
        "calm_from": recipe.calm_from,
        "batch": recipe.batch,
        "seconds": round(time.monotonic() - begun, 1),
        "torch": torch.__version__,
        "machine": torch.cuda.get_device_name() if task.device.type == "cuda" else platform.machine(),
    }
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1))
    short = {k: metrics[k] for k in ("mAP", "f", "best_f", "best_f_threshold", "accuracy") if k in metrics}
    print(f"{model} {left_out}: {short} in {metrics['seconds']} s", flush=True)
    if not options.no_export:
        export_network(model, network.cpu().float(), out / "1" / "model.onnx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=["detector", "detector-single", "classifier", "matcher"])
    parser.add_argument("--data", type=Path, required=True, help="the DeepPCB folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--leave-out", nargs="+", default=[RELEASE], metavar="GROUP")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--batch", type=int, help="instead of the recipe's")
    parser.add_argument("--rate", type=float, help="peak learning rate instead of the recipe's")
    parser.add_argument("--calm-from", type=float, help="share of the steps after which augmentation weakens")
    parser.add_argument("--library", type=Path, help="cache of the synthetic defects")
    parser.add_argument("--limit", type=int, help="use this many pairs only, for a trial")
    parser.add_argument("--start", type=Path, help="weights.pt to go on from; default: from scratch")
    parser.add_argument("--seconds-max", type=float, default=math.inf, help="for one training")
    parser.add_argument("--no-export", action="store_true", help="write no ONNX file")
    options = parser.parse_args()

    model = f"pcb-{options.model}"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False  # judge in the precision of the exported file
    started = time.monotonic()
    pairs, data = prepare(options, device)
    print(f"{model}: {len(pairs) - pairs.drawn} pairs ready after {time.monotonic() - started:.1f} s", flush=True)
    recipe = fit.default_recipe(model)
    recipe.steps = options.steps or recipe.steps
    recipe.batch = options.batch or recipe.batch
    recipe.rate = options.rate or recipe.rate
    recipe.calm_from = options.calm_from or recipe.calm_from
    task = fit.Task(model, device)
    every = options.leave_out == ["all"]
    for left_out in sorted(set(pairs.groups)) if every else options.leave_out:
        train_one(options, task, recipe, data, pairs, left_out)


if __name__ == "__main__":
    main()
