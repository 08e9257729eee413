# SPDX-License-Identifier: Apache-2.0
"""The three networks: one-stage detector, crop classifier, Siamese matcher.

The detector follows the published architecture of the YOLOv8 family: a CSP
backbone whose stages concatenate every bottleneck's output, spatial pyramid
pooling, a path-aggregation neck (Liu et al., arXiv 1803.01534) and a decoupled,
anchor-free head whose box sides are distributions (Li et al., arXiv
2006.04388). The classifier is a small ResNet (He et al., arXiv 1512.03385).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcb import CLASSES, IMAGE_SIZE

STRIDES = (8, 16, 32)
BINS = 16  # of the distribution of each box side, in units of the stride


class Conv(nn.Module):
    """Convolution, batch normalisation, activation (SiLU unless told)."""

    def __init__(self, cin: int, cout: int, kernel: int = 3, stride: int = 1, act: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(cout, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU() if act is None else act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Bottleneck(nn.Module):
    """Two 3x3 convolutions with an optional residual."""

    def __init__(self, width: int, residual: bool) -> None:
        super().__init__()
        self.first = Conv(width, width)
        self.second = Conv(width, width)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return x + y if self.residual else y


class CspStage(nn.Module):
    """Cross-stage partial block that concatenates the output of every bottleneck."""

    def __init__(self, cin: int, cout: int, depth: int, residual: bool) -> None:
        super().__init__()
        self.half = cout // 2
        self.enter = Conv(cin, 2 * self.half, 1)
        self.blocks = nn.ModuleList(Bottleneck(self.half, residual) for _ in range(depth))
        self.leave = Conv((2 + depth) * self.half, cout, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.enter(x).split(self.half, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class PyramidPooling(nn.Module):
    """Three 5x5 max poolings in a row, concatenated (SPPF)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = Conv(width, width // 2, 1)
        self.leave = Conv(width * 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
        return self.leave(torch.cat(parts, 1))


class Head(nn.Module):
    """Decoupled prediction for one level: box-side distributions and class logits."""

    def __init__(self, width: int, box_width: int, class_width: int, stride: int) -> None:
        super().__init__()
        self.box = nn.Sequential(Conv(width, box_width), Conv(box_width, box_width), nn.Conv2d(box_width, 4 * BINS, 1))
        self.score = nn.Sequential(
            Conv(width, class_width), Conv(class_width, class_width), nn.Conv2d(class_width, len(CLASSES), 1)
        )
        nn.init.constant_(self.box[-1].bias, 1.0)
        prior = 6 / (IMAGE_SIZE / stride) ** 2  # about six objects an image, spread over the cells
        nn.init.constant_(self.score[-1].bias, math.log(prior))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.box(x).flatten(2), self.score(x).flatten(2)


class Detector(nn.Module):
    """[n, channels, 640, 640] -> box logits [n, 64, 8400] and class logits [n, 6, 8400]."""

    def __init__(self, channels: int, widths: tuple[int, ...] = (16, 32, 64, 128, 224)) -> None:
        super().__init__()
        self.channels = channels
        w0, w1, w2, w3, w4 = widths
        self.stem = nn.Sequential(Conv(channels, w0, 3, 2), Conv(w0, w1, 3, 2), CspStage(w1, w1, 1, True))
        self.stage3 = nn.Sequential(Conv(w1, w2, 3, 2), CspStage(w2, w2, 2, True))
        self.stage4 = nn.Sequential(Conv(w2, w3, 3, 2), CspStage(w3, w3, 2, True))
        self.stage5 = nn.Sequential(Conv(w3, w4, 3, 2), CspStage(w4, w4, 1, True), PyramidPooling(w4))
        self.top4 = CspStage(w4 + w3, w3, 1, False)
        self.top3 = CspStage(w3 + w2, w2, 1, False)
        self.down3 = Conv(w2, w2, 3, 2)
        self.out4 = CspStage(w2 + w3, w3, 1, False)
        self.down4 = Conv(w3, w3, 3, 2)
        self.out5 = CspStage(w3 + w4, w4, 1, False)
        self.heads = nn.ModuleList(Head(w, 64, 64, s) for w, s in zip((w2, w3, w4), STRIDES, strict=True))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        p3 = self.stage3(self.stem(x))
        p4 = self.stage4(p3)
        p5 = self.stage5(p4)
        t4 = self.top4(torch.cat([F.interpolate(p5, scale_factor=2.0, mode="nearest"), p4], 1))
        t3 = self.top3(torch.cat([F.interpolate(t4, scale_factor=2.0, mode="nearest"), p3], 1))
        o4 = self.out4(torch.cat([self.down3(t3), t4], 1))
        o5 = self.out5(torch.cat([self.down4(o4), p5], 1))
        levels = [head(o) for head, o in zip(self.heads, (t3, o4, o5), strict=True)]
        return torch.cat([b for b, _ in levels], 2), torch.cat([s for _, s in levels], 2)


def anchor_points(size: int = IMAGE_SIZE) -> tuple[Tensor, Tensor]:
    """Centres [2, 8400] of all cells in pixels, and the stride [8400] of each."""
    points, strides = [], []
    for stride in STRIDES:
        line = (torch.arange(size // stride) + 0.5) * stride
        y, x = torch.meshgrid(line, line, indexing="ij")
        points.append(torch.stack([x.flatten(), y.flatten()]))
        strides.append(torch.full((x.numel(),), float(stride)))
    return torch.cat(points, 1), torch.cat(strides)


def side_distances(box_logits: Tensor) -> Tensor:
    """Expected distances [n, 4, a] (left, top, right, bottom) in strides."""
    n, _, a = box_logits.shape
    bins = torch.arange(BINS, dtype=box_logits.dtype, device=box_logits.device)
    return (box_logits.view(n, 4, BINS, a).softmax(2) * bins.view(1, 1, BINS, 1)).sum(2)


class DetectorExport(nn.Module):
    """The detector with its decoding: [n, 4 + 6, 8400], boxes as cx, cy, w, h in pixels."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        points, strides = anchor_points()
        self.register_buffer("points", points[None], persistent=False)
        self.register_buffer("strides", strides[None, None], persistent=False)
        bins = torch.arange(BINS, dtype=torch.float32).view(1, BINS, 1, 1)
        self.register_buffer("bins", bins, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        box_logits, scores = self.detector(images)
        # A 1x1 convolution takes the expectation: runtimes have a fast kernel for it.
        shares = box_logits.view(-1, 4, BINS, box_logits.shape[2]).transpose(1, 2).softmax(1)
        sides = F.conv2d(shares, self.bins.view(1, BINS, 1, 1)).squeeze(1)
        before, after = sides.split(2, 1)
        centre = self.points + (after - before) * (0.5 * self.strides)
        extent = (before + after) * self.strides
        return torch.cat([centre, extent, scores.sigmoid()], 1)


class ResidualBlock(nn.Module):
    """Basic ResNet block with ReLU; the first of a stage halves the resolution."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.first = Conv(cin, cout, 3, stride, nn.ReLU())
        self.second = Conv(cout, cout, 3, 1, nn.Identity())
        same = cin == cout and stride == 1
        self.skip: nn.Module = nn.Identity() if same else Conv(cin, cout, 1, stride, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + self.skip(x))


class Classifier(nn.Module):
    """Crops [n, 2, 64, 64] of board and golden -> logits [n, 7], the last for `false-alarm`."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = [Conv(2, widths[0], 5, 2, nn.ReLU())]
        cin = widths[0]
        for stage, width in enumerate(widths):
            layers += [ResidualBlock(cin, width, 1 if stage == 0 else 2), ResidualBlock(width, width, 1)]
            cin = width
        self.body = nn.Sequential(*layers)
        self.drop = nn.Dropout(0.1)
        self.logits = nn.Linear(cin, len(CLASSES) + 1)

    def forward(self, crops: Tensor) -> Tensor:
        return self.logits(self.drop(self.body(crops).mean((2, 3))))


class Encoder(nn.Module):
    """[n, 1, 640, 640] -> features [n, features, 80, 80] that see about 100 pixels around."""

    def __init__(self, features: int) -> None:
        super().__init__()
        relu = nn.ReLU()
        self.fine = nn.Sequential(
            Conv(1, 8, 3, 2, relu),
            Conv(8, 20, 3, 2, relu),
            CspStage(20, 20, 1, True),
            Conv(20, 40, 3, 2, relu),
            CspStage(40, 40, 2, True),
        )
        self.coarse = nn.Sequential(Conv(40, 80, 3, 2, relu), CspStage(80, 80, 2, True))
        self.merge = CspStage(40 + 80, 64, 1, False)
        self.project = nn.Conv2d(64, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        coarse = F.interpolate(self.coarse(fine), scale_factor=2.0, mode="nearest")
        return self.project(self.merge(torch.cat([fine, coarse], 1)))


class Matcher(nn.Module):
    """Distance map [n, 1, 80, 80] between two images [n, 1, 640, 640]; 1.0 is the threshold.

    Each cell is compared with the golden's cell at the same place and its eight
    neighbours, and the best match counts; likewise from golden to board, and
    the larger of the two stands. So an offset of a few pixels costs little.
    """

    def __init__(self, features: int = 32) -> None:
        super().__init__()
        self.encoder = Encoder(features)
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)

    @staticmethod
    def best_match(of: Tensor, among: Tensor) -> Tensor:
        padded = F.pad(among, (1, 1, 1, 1), mode="replicate")
        rows, cols = of.shape[2:]
        best = None
        for dy in range(3):
            for dx in range(3):
                other = padded[:, :, dy : dy + rows, dx : dx + cols]
                squared = (of - other).square().sum(1, keepdim=True)
                best = squared if best is None else torch.minimum(best, squared)
        return best

    def forward(self, board: Tensor, golden: Tensor) -> Tensor:
        b, g = self.encoder(board), self.encoder(golden)
        squared = torch.maximum(self.best_match(b.float(), g.float()), self.best_match(g.float(), b.float()))
        return (squared + 1e-6).sqrt() * self.scale


def fold_norms(module: nn.Module) -> None:
    """Folds every batch normalisation into its convolution, in place (for inference only)."""
    for part in module.modules():
        if isinstance(part, Conv) and isinstance(part.norm, nn.BatchNorm2d):
            part.conv = nn.utils.fusion.fuse_conv_bn_eval(part.conv.eval(), part.norm.eval())
            part.norm = nn.Identity()


@torch.no_grad()
def unfold_norms(network: nn.Module, folded: dict[str, Tensor], example: tuple[Tensor, ...]) -> None:
    """Loads weights with folded norms into a network with norms, so that training can go on.

    Each norm is given the statistics that its input has on the example, and
    the scale and shift that undo them, so the network computes what the folded
    one did. A first layer with fewer input channels takes the first channels.
    """
    state = network.state_dict()
    for name, value in folded.items():
        if name in state:
            state[name] = value[:, : state[name].shape[1]] if value.dim() == 4 else value
    network.load_state_dict(state)
    biases = {name: folded[f"{name}.conv.bias"] for name, part in network.named_modules() if isinstance(part, Conv)}
    hooks = []
    for name, part in network.named_modules():
        if not isinstance(part, Conv):
            continue

        def settle(norm: nn.Module, inputs: tuple[Tensor, ...], bias: Tensor = biases[name]) -> None:
            variance, mean = torch.var_mean(inputs[0].float(), (0, 2, 3), correction=0)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            norm.weight.copy_((variance + norm.eps).sqrt())
            norm.bias.copy_(mean + bias.to(mean))

        hooks.append(part.norm.register_forward_pre_hook(settle))
    training = network.training
    network.eval()
    network(*example)
    network.train(training)
    for hook in hooks:
        hook.remove()


def build(model: str) -> nn.Module:
    """A fresh network by the name of its model."""
    makers = {
        "pcb-detector": lambda: Detector(2),
        "pcb-detector-single": lambda: Detector(1),
        "pcb-classifier": Classifier,
        "pcb-matcher": Matcher,
    }
    return makers[model]()
