#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write well-known networks as ONNX files, each with an input and what ONNX Runtime's CPU answers in FP32.

    python tests/models/export_zoo.py OUT_FOLDER [--only NAME,...]

Needs torch, torchvision, timm, onnx and onnxruntime, and no GPU. Weights are random, of a fixed seed. Of
each network OUT_FOLDER gets NAME.onnx, whose batch is dynamic, and NAME.json:

    {"name", "opset", "ordered_by_score", "inputs": [{"name", "type", "shape", "file"}, ...],
     "outputs": [the same, "half_difference"]}

half_difference is how far torch's own FP16 is from the reference, the largest difference over the largest
magnitude: another FP16 backend can't be asked for much less. null: not known. Files hold the elements row
by row, little-endian. OUT_FOLDER/zoo.json lists all networks, those that could not be written with the
reason; the exit code is 1 where there are any.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import gpu_networks  # noqa: E402

SEED = 7
BATCH = 2  # of the reference; the files are traced with another, so that a fixed batch is found out
TRACED_BATCH = 3
TYPES = {"float32": "FP32", "int64": "INT64", "int32": "INT32", "bool": "BOOL", "uint8": "UINT8"}
# Of an output over its elements: below this the comparison with another backend says nothing.
DEVIATION_MIN = 1e-4


class UNet(nn.Module):
    """Four levels; [N,3,H,W] to the logits of four classes [N,4,H,W]."""

    WIDTHS = (16, 32, 64, 128)

    def __init__(self) -> None:
        super().__init__()
        inputs = (3, *self.WIDTHS[:-1])
        self.down = nn.ModuleList(self.block(i, o) for i, o in zip(inputs, self.WIDTHS, strict=True))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in self.WIDTHS[-2::-1])
        self.up = nn.ModuleList(self.block(2 * w, w) for w in self.WIDTHS[-2::-1])
        self.classes = nn.Conv2d(self.WIDTHS[0], 4, 1)

    @staticmethod
    def block(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        maps = [self.down[0](images)]
        for block in self.down[1:]:
            maps.append(block(F.max_pool2d(maps[-1], 2)))
        x = maps.pop()
        for grow, block in zip(self.grow, self.up, strict=True):
            x = block(torch.cat([grow(x), maps.pop()], 1))
        return self.classes(x)


class Siamese(nn.Module):
    """Compares a board with its template: the distance of their features at each place, and the largest."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128)
        self.encoder = nn.Sequential(*(
            nn.Sequential(nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.LeakyReLU(0.1))
            for i, o in zip(widths, widths[1:], strict=False)))
        self.judge = nn.Sequential(nn.Conv2d(128, 32, 1), nn.ReLU(), nn.Conv2d(32, 1, 1))

    def forward(self, image: Tensor, template: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        difference = self.encoder(image) - self.encoder(template)
        distance = (difference.square().sum(1, keepdim=True) + 1e-6).sqrt()
        distance = F.interpolate(distance, scale_factor=8, mode="bilinear", align_corners=False)
        return distance, torch.sigmoid(self.judge(difference.abs())), distance.amax((1, 2, 3))


class Tensors(nn.Module):
    """A segmentation network of torchvision without the dictionary around its output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)["out"]


@dataclass(frozen=True)
class Entry:
    build: Callable[[], nn.Module]
    side: int = 224
    inputs: tuple[str, ...] = ("images",)
    outputs: tuple[str, ...] = ("output",)
    opset: int = gpu_networks.OPSET
    suppression: bool = False


def torchvision_network(name: str, **settings: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from torchvision import models

        return models.get_model(name, weights=None, **settings)

    return build


def segmentation(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        return Tensors(torchvision_network(name, weights_backbone=None, num_classes=21)())

    return build


def timm_network(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, exportable=True)

    return build


def shallow_convmixer() -> nn.Module:
    """Eight layers of the 32: random weights would amplify FP16's rounding to a tenth of the output."""
    from timm.models.convmixer import ConvMixer

    return ConvMixer(dim=768, depth=8, kernel_size=7, patch_size=7, act_layer=nn.ReLU)


def detector(name: str, suppression: bool = False) -> Entry:
    return Entry(lambda: gpu_networks.detector(name), 640, outputs=("boxes", "scores"), suppression=suppression)


# Their own initialisation draws from a truncated normal distribution of scipy, which takes a minute.
QUICK = {"init_weights": False}
ZOO = {
    "resnet18": Entry(torchvision_network("resnet18")),
    "resnet18-opset11": Entry(torchvision_network("resnet18"), opset=11),
    "resnet18-opset13": Entry(torchvision_network("resnet18"), opset=13),
    "resnet50": Entry(torchvision_network("resnet50")),
    "mobilenet_v2": Entry(torchvision_network("mobilenet_v2")),
    "mobilenet_v3_large": Entry(torchvision_network("mobilenet_v3_large")),
    "mobilenet_v3_large-opset11": Entry(torchvision_network("mobilenet_v3_large"), opset=11),
    "mobilenet_v3_large-opset13": Entry(torchvision_network("mobilenet_v3_large"), opset=13),
    "efficientnet_b0": Entry(torchvision_network("efficientnet_b0")),
    "convnext_tiny": Entry(torchvision_network("convnext_tiny")),
    "regnet_y_400mf": Entry(torchvision_network("regnet_y_400mf")),
    "densenet121": Entry(torchvision_network("densenet121")),
    "shufflenet_v2_x1_0": Entry(torchvision_network("shufflenet_v2_x1_0")),
    "squeezenet1_1": Entry(torchvision_network("squeezenet1_1")),
    "googlenet": Entry(torchvision_network("googlenet", aux_logits=False, **QUICK)),
    "inception_v3": Entry(torchvision_network("inception_v3", aux_logits=False, **QUICK), 299),
    "vit_b_16": Entry(torchvision_network("vit_b_16")),
    "swin_t": Entry(torchvision_network("swin_t")),
    "vit_tiny": Entry(timm_network("vit_tiny_patch16_224")),
    "deit_tiny_distilled": Entry(timm_network("deit_tiny_distilled_patch16_224")),
    "resnext50": Entry(timm_network("resnext50_32x4d")),
    "seresnet50": Entry(timm_network("seresnet50")),
    "hrnet_w18_small": Entry(timm_network("hrnet_w18_small")),
    "convmixer_768_8": Entry(shallow_convmixer),
    "mobilevit_s": Entry(timm_network("mobilevit_s"), 256),
    "efficientformer_l1": Entry(timm_network("efficientformer_l1")),
    "unet": Entry(UNet, 256),
    "deeplabv3_resnet50": Entry(segmentation("deeplabv3_resnet50"), 256),
    "lraspp_mobilenet_v3_large": Entry(segmentation("lraspp_mobilenet_v3_large"), 256),
    "siamese": Entry(Siamese, 256, ("image", "template"), ("distance", "judgement", "distance_max")),
    "yolov8n": detector("n"),
    "yolov8s": detector("s"),
    "yolov8n-end2end": detector("n", suppression=True),
}


def example(entry: Entry, batch: int, seed: int) -> tuple[Tensor, ...]:
    """As images are after the usual normalisation; detectors take them from 0 to 1."""
    scale, mean = (1.0, 0.0) if "boxes" in entry.outputs else (3.5, -1.75)
    return tuple(gpu_networks.noise(batch, 3, entry.side, entry.side, seed=seed + i) * scale + mean
                 for i in range(len(entry.inputs)))


def build(entry: Entry) -> nn.Module:
    torch.manual_seed(SEED)
    network = entry.build()
    if "boxes" in entry.outputs:
        return network.eval()  # settled already, and its scores set by that
    gpu_networks.enliven(network, SEED)
    return gpu_networks.settle(network, *example(entry, 8, SEED + 100))


@torch.no_grad()
def run_torch(network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[list[np.ndarray], float]:
    """The outputs, and the largest magnitude that any layer gives: FP16 has up to 65,504."""
    largest = [0.0]

    def look(_module: nn.Module, _inputs: tuple, output: object) -> None:
        if isinstance(output, Tensor) and output.is_floating_point():
            largest[0] = max(largest[0], output.abs().max().item())

    hooks = [module.register_forward_hook(look) for module in network.modules()]
    outputs = network(*inputs)
    for hook in hooks:
        hook.remove()
    return [x.numpy() for x in (outputs if isinstance(outputs, tuple) else (outputs,))], largest[0]


def run_onnx(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def write_tensors(folder: Path, stem: str, tensors: dict[str, np.ndarray]) -> list[dict]:
    listed = []
    for number, (name, array) in enumerate(tensors.items()):
        file = f"{stem}{number}.bin"
        (folder / file).write_bytes(array.astype(array.dtype.newbyteorder("<")).tobytes())
        listed.append({"name": name, "type": TYPES[array.dtype.name], "shape": list(array.shape), "file": file})
    return listed


def run_half(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[np.ndarray] | None:
    """The outputs of FP16 on the CPU, which lacks it for some layers."""
    half = copy.deepcopy(network).half()
    try:
        return [x.astype(np.float32) for x in run_torch(half, tuple(x.half() for x in inputs))[0]]
    except RuntimeError:
        return None


def check_telling(outputs: dict[str, np.ndarray]) -> None:
    for name, array in outputs.items():
        if not np.isfinite(array).all():
            raise ValueError(f"output {name} has values that are not finite")
        if array.size == 0 or (array.size > BATCH and array.std() < DEVIATION_MIN):
            raise ValueError(f"output {name} {list(array.shape)} says nothing: it is empty or the same everywhere")


def differences(outputs: dict[str, np.ndarray], others: list[np.ndarray] | None) -> list[float | None]:
    """Of each output: the largest over its largest magnitude."""
    if others is None:
        return [None] * len(outputs)
    return [float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(outputs.values(), others, strict=True)]


def write(folder: Path, name: str, entry: Entry) -> dict:
    network = build(entry)
    path = folder / f"{name}.onnx"
    traced = folder / f"{name}.plain.onnx" if entry.suppression else path
    gpu_networks.export_onnx(network, example(entry, TRACED_BATCH, SEED), traced, entry.opset, entry.inputs,
                             entry.outputs)
    if entry.suppression:
        gpu_networks.append_suppression(traced, path)
        traced.unlink()
    tensors = example(entry, BATCH, SEED + 200)
    inputs = {n: t.numpy() for n, t in zip(entry.inputs, tensors, strict=True)}
    outputs = run_onnx(path, inputs)
    check_telling(outputs)
    expected, activation_max = run_torch(network, tensors)
    # What NonMaxSuppression gives has no counterpart in the network.
    known = not entry.suppression
    listed = write_tensors(folder, f"{name}.output", outputs)
    for tensor, difference in zip(listed, differences(outputs, run_half(network, tensors) if known else None),
                                  strict=True):
        tensor["half_difference"] = difference
    (folder / f"{name}.json").write_text(json.dumps({
        "name": name, "opset": entry.opset, "ordered_by_score": entry.suppression,
        "inputs": write_tensors(folder, f"{name}.input", inputs), "outputs": listed}, indent=1) + "\n")
    return {"name": name, "opset": entry.opset, "bytes": path.stat().st_size,
            "parameters": sum(p.numel() for p in network.parameters()),
            "output_shapes": [list(array.shape) for array in outputs.values()],
            "torch_differences": differences(outputs, expected if known else None),
            "half_differences": [tensor["half_difference"] for tensor in listed],
            "activation_max": activation_max}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="OUT_FOLDER")
    parser.add_argument("--only", help="names, separated by commas")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(ZOO)
    if unknown := [name for name in names if name not in ZOO]:
        parser.error(f"no network {', '.join(unknown)}; there are {', '.join(ZOO)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    # The fused encoder layer of inference has no ONNX operators.
    torch.backends.mha.set_fastpath_enabled(False)

    written, failures = [], []
    for name in names:
        start_s = time.monotonic()
        try:
            written.append(write(options.folder, name, ZOO[name]))
            print(f"{name}: {time.monotonic() - start_s:.1f} s {json.dumps(written[-1])}", flush=True)
        except Exception as error:  # one network's failure is reported beside the others
            failures.append({"name": name, "error": f"{type(error).__name__}: {error}",
                             "trace": traceback.format_exc(limit=-3)})
            print(f"{name}: FAILED {failures[-1]['error']}", flush=True)
        (options.folder / "zoo.json").write_text(json.dumps({
            "torch": torch.__version__, "onnxruntime": onnxruntime.__version__, "seed": SEED, "batch": BATCH,
            "written": written, "failures": failures}, indent=1) + "\n")
    print(f"{len(written)} networks written, {len(failures)} failed")
    return 1 if failures or not written else 0


if __name__ == "__main__":
    sys.exit(main())
