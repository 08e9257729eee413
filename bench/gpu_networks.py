#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Networks with random weights that behave like trained ones, and how they become ONNX files.

    python bench/gpu_networks.py

compares parameters and operations of the detectors with the published ones of YOLOv8 n, s and m.
The detectors have that architecture's layers and sizes; the weights come from a seed. A random network
says nothing about images, but with BatchNorm statistics of real passes its numbers stay in the range
that FP16 has, and time and agreement of two backends can be measured with it.
"""

from __future__ import annotations

import copy
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

CLASSES = 80
BINS = 16  # of the distribution over each distance from a cell to a side of its box
STRIDES = (8, 16, 32)
SCORE_MIN, IOU_MAX, CANDIDATES_MAX, SUPPRESSION_IMAGE = 0.25, 0.45, 300, 640
# Of an image of uniform noise before NonMaxSuppression, which leaves most of them; plain images give more.
CANDIDATES_PER_IMAGE = 50
# What GatherND needs; also the most common opset of deployed files.
OPSET = 17
# Of BatchNorm, so that most activations pass ReLU: around 0 random networks are chaotic, and ResNet-50
# amplifies FP16's rounding to 3 % of its output instead of 0.2 %.
BIAS = (0.0, 1.0)


@dataclass(frozen=True)
class Size:
    depth: float
    width: float
    channels_max: int
    parameters_m: float  # published, in millions
    gflop: float  # published, of one image of 640 x 640; two operations a multiplication and addition

    def channels(self, count: int) -> int:
        return -(-int(min(count, self.channels_max) * self.width) // 8) * 8

    def repeats(self, count: int) -> int:
        return max(round(count * self.depth), 1)


SIZES = {
    "n": Size(0.33, 0.25, 1024, 3.2, 8.7),
    "s": Size(0.33, 0.50, 1024, 11.2, 28.6),
    "m": Size(0.67, 0.75, 768, 25.9, 78.9),
}


class ConvUnit(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
                         nn.BatchNorm2d(outputs, eps=1e-3), nn.SiLU(inplace=True))


class Bottleneck(nn.Module):
    def __init__(self, channels: int, residual: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvUnit(channels, channels, 3), ConvUnit(channels, channels, 3))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


class C2f(nn.Module):
    """Half of the channels pass a chain of bottlenecks, and each of them is kept for the end."""

    def __init__(self, inputs: int, outputs: int, repeats: int, residual: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.enter = ConvUnit(inputs, 2 * half)
        self.blocks = nn.ModuleList(Bottleneck(half, residual) for _ in range(repeats))
        self.leave = ConvUnit((2 + repeats) * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        kept, passed = self.enter(x).chunk(2, 1)
        parts = [kept, passed]
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Sppf(nn.Module):
    """Pools of 5 x 5 one after the other: windows of 5, 9 and 13 beside the map itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = ConvUnit(channels, channels // 2)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.leave = ConvUnit(channels * 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Head(nn.Module):
    """For each level two branches: distributions of the four distances, and scores of the classes."""

    def __init__(self, channels: list[int], image: int) -> None:
        super().__init__()
        box = max(16, channels[0] // 4, 4 * BINS)
        score = max(channels[0], min(CLASSES, 100))
        self.boxes = nn.ModuleList(self.branch(c, box, 4 * BINS) for c in channels)
        self.scores = nn.ModuleList(self.branch(c, score, CLASSES) for c in channels)
        self.cells = [(image // stride) ** 2 for stride in STRIDES]
        self.register_buffer("bins", torch.arange(BINS, dtype=torch.float32).view(1, BINS, 1, 1))
        centers = [cell_centers(image // stride) for stride in STRIDES]
        strides = [torch.full((1, c), float(s)) for c, s in zip(self.cells, STRIDES, strict=True)]
        self.register_buffer("centers", torch.cat(centers, 1)[None])
        self.register_buffer("strides", torch.cat(strides, 1)[None])

    @staticmethod
    def branch(inputs: int, middle: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(ConvUnit(inputs, middle, 3), ConvUnit(middle, middle, 3),
                             nn.Conv2d(middle, outputs, 1))

    def rows(self, branches: nn.ModuleList, levels: list[Tensor]) -> Tensor:
        # Numbers of Python's: asked of the maps, sizes would become nodes of the exported graph.
        channels = branches[0][-1].out_channels
        return torch.cat([branch(x).reshape(-1, channels, cells)
                          for branch, x, cells in zip(branches, levels, self.cells, strict=True)], 2)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        distances = self.rows(self.boxes, levels).reshape(-1, 4, BINS, sum(self.cells)).transpose(1, 2)
        expected = F.conv2d(distances.softmax(1), self.bins).reshape(-1, 4, sum(self.cells))
        before, behind = expected.chunk(2, 1)
        first, last = self.centers - before, self.centers + behind
        boxes = torch.cat([(first + last) / 2, last - first], 1) * self.strides
        return boxes, self.rows(self.scores, levels).sigmoid()


def cell_centers(side: int) -> Tensor:
    """[2, side * side]: x and y of each cell's center, in cells."""
    ticks = torch.arange(side, dtype=torch.float32) + 0.5
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack([x.reshape(-1), y.reshape(-1)])


class Detector(nn.Module):
    """YOLOv8-shaped. Takes [N,3,image,image], gives boxes [N,4,cells] (center x, center y, width, height
    in pixels) and scores [N,80,cells]; 8,400 cells for 640."""

    def __init__(self, size: Size, image: int = 640) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = (size.channels(c) for c in (64, 128, 256, 512, 1024))
        short, long = size.repeats(3), size.repeats(6)
        self.stem = nn.Sequential(ConvUnit(3, c1, 3, 2), ConvUnit(c1, c2, 3, 2), C2f(c2, c2, short, True))
        self.stage3 = nn.Sequential(ConvUnit(c2, c3, 3, 2), C2f(c3, c3, long, True))
        self.stage4 = nn.Sequential(ConvUnit(c3, c4, 3, 2), C2f(c4, c4, long, True))
        self.stage5 = nn.Sequential(ConvUnit(c4, c5, 3, 2), C2f(c5, c5, short, True), Sppf(c5))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.top_down4 = C2f(c5 + c4, c4, short, False)
        self.top_down3 = C2f(c4 + c3, c3, short, False)
        self.down3 = ConvUnit(c3, c3, 3, 2)
        self.bottom_up4 = C2f(c3 + c4, c4, short, False)
        self.down4 = ConvUnit(c4, c4, 3, 2)
        self.bottom_up5 = C2f(c4 + c5, c5, short, False)
        self.head = Head([c3, c4, c5], image)

    def levels(self, images: Tensor) -> list[Tensor]:
        p3 = self.stage3(self.stem(images))
        p4 = self.stage4(p3)
        p5 = self.stage5(p4)
        mixed4 = self.top_down4(torch.cat([self.up(p5), p4], 1))
        out3 = self.top_down3(torch.cat([self.up(mixed4), p3], 1))
        out4 = self.bottom_up4(torch.cat([self.down3(out3), mixed4], 1))
        out5 = self.bottom_up5(torch.cat([self.down4(out4), p5], 1))
        return [out3, out4, out5]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(self.levels(images))


def noise(*shape: int, seed: int, device: str = "cpu") -> Tensor:
    """Uniform from 0 to 1, the same on every device."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(device)


def enliven(network: nn.Module, seed: int = 1) -> None:
    """Replaces what was set to a constant to make training start well (a head of zeros, a scale of 1e-6),
    since it hides what the layers before it compute."""
    generator = torch.Generator().manual_seed(seed)

    def fill(parameter: nn.Parameter, low: float, high: float) -> None:
        drawn = torch.rand(parameter.shape, generator=generator) * (high - low) + low
        parameter.data.copy_(drawn)

    for module in network.modules():
        batch_norm = isinstance(module, _BatchNorm)
        norm = batch_norm or isinstance(module, (nn.LayerNorm, nn.GroupNorm))
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.numel() == 0 or parameter.min() != parameter.max():
                continue
            if norm and name == "weight":
                fill(parameter, 0.7, 1.3)
            elif batch_norm:
                fill(parameter, *BIAS)
            elif norm or parameter.flatten()[0] == 0:
                fill(parameter, -0.05, 0.05)
            else:
                fill(parameter, 0.2, 0.4)


@torch.no_grad()
def settle(network: nn.Module, *inputs: Tensor) -> nn.Module:
    """In evaluation mode, with BatchNorm's statistics of these inputs. One pass, because statistics that are
    averaged over several fit none of them, and deep networks amplify what is left over."""
    network.eval()
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    if norms:
        network(*inputs)
    return network.eval()


@torch.no_grad()
def detector(name: str, image: int = 640, device: str = "cpu", seed: int = 1) -> Detector:
    """The detector n, s or m on `device`; a few dozen scores of an image of noise pass the threshold."""
    torch.manual_seed(seed)
    network = Detector(SIZES[name], image).to(device)
    enliven(network, seed)
    images = noise(4, 3, image, image, seed=seed, device=device)
    settle(network, images)
    levels, branches = network.levels(images), network.head.scores
    for branch, level in zip(branches, levels, strict=True):
        branch[-1].weight /= branch(level).std()
    logits = network.head.rows(branches, levels).flatten(1)
    passing = logits.topk(CANDIDATES_PER_IMAGE).values[:, -1].mean()
    for branch in branches:
        branch[-1].bias += torch.logit(torch.tensor(SCORE_MIN)).to(device) - passing
    return network


def export_onnx(network: nn.Module, inputs: tuple[Tensor, ...], path: Path, opset: int = OPSET,
                input_names: tuple[str, ...] = ("images",),
                output_names: tuple[str, ...] = ("output",)) -> None:
    """FP32 weights; the first dimension of every input and output is `batch`."""
    axes = {name: {0: "batch"} for name in (*input_names, *output_names)}
    # The tracing exporter: its files look like those that are deployed, and it needs no onnxscript.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(copy.deepcopy(network).cpu().float().eval(), tuple(x.cpu() for x in inputs),
                          str(path), opset_version=opset, input_names=list(input_names),
                          output_names=list(output_names), dynamic_axes=axes, dynamo=False)


def export_detector(network: Detector, path: Path, image: int = 640) -> None:
    export_onnx(network, (torch.zeros(1, 3, image, image),), path, output_names=("boxes", "scores"))


def append_suppression(plain: Path, path: Path) -> None:
    """A detector's file with the choice of boxes behind it, as deployed detectors have it: the best class of each cell, the
    CANDIDATES_MAX best cells, and NonMaxSuppression among those of the same class, which are moved away from the
    others. Outputs: candidate_boxes [N,300,4], candidate_scores and candidate_classes [N,300], and selected, a row (image, 0,
    candidate) for each box that stays."""
    model = onnx.load(plain)
    graph = model.graph

    def constant(name: str, kind: int, shape: list[int], values: list) -> str:
        graph.initializer.append(helper.make_tensor(name, kind, shape, values))
        return name

    def integers(name: str, values: list[int]) -> str:
        return constant(name, TensorProto.INT64, [len(values)], values)

    def number(name: str, value: float) -> str:
        return constant(name, TensorProto.FLOAT, [1], [value])

    def node(op: str, inputs: list[str], *outputs: str, **attributes: object) -> str:
        graph.node.append(helper.make_node(op, inputs, list(outputs), name=f"suppression/{outputs[0]}", **attributes))
        return outputs[0]

    classes = node("ArgMax", ["scores"], "classes", axis=1, keepdims=0)
    node("TopK", [node("ReduceMax", ["scores"], "best", axes=[1], keepdims=0), integers("count", [CANDIDATES_MAX])],
         "candidate_scores", "cells", axis=1)
    node("GatherElements", [classes, "cells"], "candidate_classes", axis=1)
    places = node("Expand", [node("Unsqueeze", ["cells", integers("last", [2])], "column"), integers("wide", [1, 1, 4])],
                  "places")
    node("GatherElements", [node("Transpose", ["boxes"], "box_rows", perm=[0, 2, 1]), places], "candidate_boxes", axis=1)
    # Centres of another class lie beyond the image.
    shift = node("Mul", [node("Cast", ["candidate_classes"], "class_numbers", to=TensorProto.FLOAT),
                         number("image", 2.0 * SUPPRESSION_IMAGE)], "shift")
    apart = node("Add", ["candidate_boxes", node("Mul", [
        node("Unsqueeze", [shift, "last"], "shift_column"),
        constant("centre", TensorProto.FLOAT, [1, 1, 4], [1, 1, 0, 0])], "shifts")], "boxes_apart")
    node("NonMaxSuppression", [
        apart, node("Unsqueeze", ["candidate_scores", integers("middle", [1])], "scores_row"),
        integers("boxes_max", [CANDIDATES_MAX]), number("iou_max", IOU_MAX), number("score_min", SCORE_MIN)],
        "selected", center_point_box=1)

    rows = ["batch", CANDIDATES_MAX]
    del graph.output[:]
    graph.output.extend([
        helper.make_tensor_value_info("candidate_boxes", TensorProto.FLOAT, [*rows, 4]),
        helper.make_tensor_value_info("candidate_scores", TensorProto.FLOAT, rows),
        helper.make_tensor_value_info("candidate_classes", TensorProto.INT64, rows),
        helper.make_tensor_value_info("selected", TensorProto.INT64, ["detections", 3])])
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main() -> int:
    from torch.utils.flop_counter import FlopCounterMode

    wrong = 0
    for name, size in SIZES.items():
        network = Detector(size).eval()
        parameters_m = sum(p.numel() for p in network.parameters()) / 1e6
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 3, 640, 640))
        gflop = counter.get_total_flops() / 1e9
        close = abs(parameters_m / size.parameters_m - 1) < 0.02 and abs(gflop / size.gflop - 1) < 0.02
        wrong += not close
        print(f"{name}: {parameters_m:.2f} M parameters (published {size.parameters_m}), {gflop:.1f} GFLOP "
              f"(published {size.gflop}){'' if close else ': NOT THE PUBLISHED SIZE'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
