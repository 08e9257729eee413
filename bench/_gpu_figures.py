# SPDX-License-Identifier: Apache-2.0
"""What the steps of bench/gpu.py measured: figures beside their goals, rooflines, and both as Markdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

ROOFLINE_BATCHES = (1, 32)
ROOFLINE_MODELS = ("resnet50", "yolov8n")


@dataclass(frozen=True)
class Figure:
    name: str
    unit: str
    goal: float
    at_most: bool  # otherwise at least
    takt: Callable[[dict], float]
    pytorch: Callable[[dict], float] | None = None  # of the same kind, where it was measured

    def judge(self, body: dict) -> dict:
        def value(of: Callable[[dict], float] | None) -> float | None:
            try:
                return None if of is None else round(of(body), 4)
            except (KeyError, IndexError, StopIteration, ValueError, ZeroDivisionError):
                return None  # not measured

        takt, pytorch = value(self.takt), value(self.pytorch)
        met = takt is not None and (takt <= self.goal if self.at_most else takt >= self.goal)
        entry = {"name": self.name, "unit": self.unit, "takt": takt, "goal": self.goal,
                 "bound": "at most" if self.at_most else "at least", "met": met}
        if takt and pytorch:
            entry |= {"pytorch": pytorch, "to_pytorch": round(takt / pytorch, 4)}
        return entry


def torch_figure(body: dict, model: str, batch: int, figure: str, field: str) -> float:
    return next(f[field] for f in body["pytorch"]["figures"]
                if (f["model"], f["batch"], f["figure"]) == (model, batch, figure) and "compiled" not in f)


def torch_us(model: str, batch: int, figure: str = "gpu_ms") -> Callable[[dict], float]:
    return lambda body: torch_figure(body, model, batch, figure, "median") * 1e3


def torch_rate(model: str, batch: int, figure: str = "gpu_ms") -> Callable[[dict], float]:
    return lambda body: torch_figure(body, model, batch, figure, "images_per_s")


def batch_of(body: dict, model: str, batch: int) -> dict:
    return next(b for b in body["models"][model]["batches"] if b["batch"] == batch)


def gpu_us(model: str, batch: int) -> Callable[[dict], float]:
    """As PyTorch's gpu_ms: one of many launches in a row."""
    return lambda body: batch_of(body, model, batch)["in_a_row_us"]


def gpu_rate(model: str, batch: int) -> Callable[[dict], float]:
    return lambda body: batch_of(body, model, batch)["images_per_second"]


def times_pytorch(model: str, batch: int) -> Callable[[dict], float]:
    return lambda body: torch_us(model, batch)(body) / gpu_us(model, batch)(body)


def run_us(model: str, inputs: str) -> Callable[[dict], float]:
    return lambda body: body["serving"][model]["inputs"][inputs]["run_us"]["p50"]


def best(model: str, inputs: str, batches: tuple[int, ...], field: str) -> Callable[[dict], float]:
    """Of all numbers of instances at these batch sizes."""
    return lambda body: max(i[field] for rate in body["serving"][model]["inputs"][inputs]["rates"]
                            if rate["batch"] in batches for i in rate["instances"])


def added_us(model: str, inputs: str, way: str) -> Callable[[dict], float]:
    return lambda body: body["serving"][model]["engine"][inputs]["added_us"][way]["p50"]


DETECTOR = "yolov8n-end2end"
FIGURES = (
    Figure("ResNet-50 batch 1, host to host", "us", 320, True, run_us("resnet50", "tensors"),
           torch_us("resnet50", 1, "end_to_end_ms")),
    Figure("ResNet-50 batch 1, GPU", "us", 290, True, gpu_us("resnet50", 1), torch_us("resnet50", 1)),
    Figure("ResNet-50 batch 128, GPU", "images/s", 34000, False, gpu_rate("resnet50", 128),
           torch_rate("resnet50", 128)),
    Figure("ResNet-50 batch 1, eight instances", "images/s", 9000, False,
           lambda body: body["beside"]["resnet50"]["instances"]["images_per_second"],
           torch_rate("resnet50", 1, "streams")),
    Figure("YOLOv8n batch 1 from u8 image to boxes", "us", 360, True, run_us(DETECTOR, "images")),
    Figure("YOLOv8n batch 64 from u8 images to boxes", "images/s", 17500, False,
           best(DETECTOR, "images", (64,), "images_per_second")),
    *(Figure(f"YOLOv8{size} batch {batch}, GPU", "times PyTorch", goal, False,
             times_pytorch(f"yolov8{size}", batch))
      for size in "sm" for batch, goal in ((1, 2.0), (32, 1.7))),
    Figure("copies beside computation, ResNet-50 batch 32, FP32", "of the device alone", 0.97, False,
           best("resnet50", "tensors", (32,), "of_device")),
    Figure("copies beside computation, ResNet-50 batch 32, u8", "of the device alone", 0.97, False,
           best("resnet50", "images", (32,), "of_device")),
    Figure("copies beside computation, YOLOv8n to boxes batch 32, u8", "of the device alone", 0.97, False,
           best(DETECTOR, "images", (32,), "of_device")),
    Figure("engine beside a bare graph, ResNet-50, on the caller's thread, p50", "us", 15, True,
           added_us("resnet50", "tensors", "engine_flush")),
    Figure("engine beside a bare graph, ResNet-50, on the instance's thread, p50", "us", 15, True,
           added_us("resnet50", "tensors", "engine_submit")),
)


@dataclass(frozen=True)
class Published:
    """What others say of TensorRT on a device of their own."""

    what: str
    on: str
    figure: str
    source: str


PUBLISHED = (
    Published("ResNet-50 v1, INT8, batch 1", "A100, TensorRT 8.4", "0.45 to 0.46 ms",
              "NVIDIA, docs.nvidia.com/deeplearning/tensorrt/tensorflow-quantization-toolkit, Model Zoo Results"),
    Published("ResNet-50 v1.5, FP16, batch 1 and 128", "A100 80GB, Triton, ONNX Runtime with TensorRT",
              "2.13 ms, 2,662 images/s",
              "NVIDIA, github.com/NVIDIA/DeepLearningExamples, PyTorch/Classification/ConvNets/triton/resnet50"),
    Published("YOLOv8n, s, m at 640 x 640, batch 1", "A100, TensorRT", "0.99, 1.20, 1.83 ms",
              "Ultralytics, docs.ultralytics.com/models/yolov8"),
    Published("YOLOv5n at 640 x 640, FP16, batch 1 and 8", "B200, TensorRT 11.4", "0.337, 0.952 ms",
              "NVIDIA, github.com/NVIDIA/TensorRT-Model-Connect, families/yolov5"),
)


def roofline(layers: list[dict], limits: dict) -> dict:
    """Each layer beside the time that its operations or its bytes take at least."""
    rows = []
    for layer in layers:
        by_flop = layer["flop"] / limits["flop_per_second"] * 1e6 if limits["flop_per_second"] else 0.0
        by_bytes = layer["bytes"] / limits["bytes_per_second"] * 1e6
        least = max(by_flop, by_bytes)
        rows.append({key: layer[key] for key in ("name", "output", "by", "flop", "bytes")}
                    | {"us": round(layer["us"], 3), "least_us": round(least, 3),
                       "bound": "FLOP" if by_flop > by_bytes else "bytes",
                       "share": round(least / layer["us"], 4) if layer["us"] else 0.0})
    us, least = sum(r["us"] for r in rows), sum(r["least_us"] for r in rows)
    return {"us": round(us, 3), "least_us": round(least, 3), "share": round(least / us, 4) if us else 0.0,
            "layers": rows}


def rooflines(models: dict, limits: dict) -> dict:
    return {name: {str(batch): roofline(models[name]["layers"][str(batch)], limits)
                   for batch in ROOFLINE_BATCHES if str(batch) in models[name].get("layers", {})}
            for name in ROOFLINE_MODELS if name in models}


def number(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def figures_table(figures: list[dict]) -> list[str]:
    lines = ["| figure | takt | goal | PyTorch | takt/PyTorch |", "| --- | --- | --- | --- | --- |"]
    for f in figures:
        torch = [number(f["pytorch"]), number(f["to_pytorch"])] if "pytorch" in f else ["", ""]
        mark = "" if f["met"] else ", missed"
        lines.append(f"| {cell(f['name'])} ({f['unit']}) | {number(f['takt'])} | {f['bound']} "
                     f"{number(f['goal'])}{mark} | {torch[0]} | {torch[1]} |")
    return lines


def published_table() -> list[str]:
    lines = ["| TensorRT | on | figure | published by |", "| --- | --- | --- | --- |"]
    return lines + [f"| {p.what} | {p.on} | {p.figure} | {p.source} |" for p in PUBLISHED]


def compiled_table(compiled: dict) -> list[str]:
    """torch.compile's figures, a line a model."""
    models: dict[str, dict] = {}
    for f in compiled["figures"]:
        models.setdefault(f["model"], {"compile_s": f["compile_s"]})[f["figure"]] = f["median"] * 1e3
    lines = ["| torch.compile, max-autotune, batch 1 | GPU (us) | host to host (us) | compiling (s) |",
             "| --- | --- | --- | --- |"]
    return lines + [f"| {model} | {number(m.get('gpu_ms'))} | {number(m.get('end_to_end_ms'))} | "
                    f"{m['compile_s']:.0f} |" for model, m in models.items()]


def roofline_table(roof: dict) -> list[str]:
    lines = ["| step | output | computed by | GFLOP | MB | us | at least us | bound by | share |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for r in roof["layers"]:
        lines.append(f"| {cell(r['name'])} | {cell(r['output'])} | {cell(r['by'])} | {r['flop'] / 1e9:.3f} | "
                     f"{r['bytes'] / 1e6:.2f} | {r['us']:.2f} | {r['least_us']:.2f} | {r['bound']} | "
                     f"{r['share']:.0%} |")
    lines.append(f"| all | | | | | {roof['us']:.1f} | {roof['least_us']:.1f} | | {roof['share']:.0%} |")
    return lines


def markdown(body: dict, source: str, compiled: dict | None = None, compiled_source: str = "") -> str:
    """Of what bench/gpu.py measured, and where it is given of what torch.compile did in a call of its own."""
    limits = body.get("limits")
    lines = ["# Models on the GPU", "",
             f"Written by `bench/gpu.py --tables{' --compiled' if compiled else ''}` from `{source}` ({body['date']}, "
             f"{body.get('device', 'no GPU')}); "
             "bench/README.md, section `gpu`, says how it is measured.", "",
             *([body["note"], ""] if "note" in body else []), *figures_table(body["figures"])]
    if compiled:
        lines += ["", "## torch.compile", "",
                  f"From `{compiled_source}` ({compiled['date']}, {compiled['device']}): a run of its own, for it takes "
                  "minutes.", "", *compiled_table(compiled)]
    lines += ["", "## Published figures of TensorRT", "",
              "Of other devices, measured by others, each in its own way; TensorRT was not run here.", "",
              *published_table()]
    if limits:
        lines += ["", "## Rooflines", "",
                  f"At most {limits['flop_per_second'] / 1e12:.0f} TFLOP/s (a product of FP16 matrices by cuDNN) "
                  f"and {limits['bytes_per_second'] / 1e12:.2f} TB/s (a copy of 1 GiB), measured in the same run. "
                  "Each step was run by itself, ten times in a row: what stays in the L2 cache can be above "
                  "100 %, and the sum is not the model's time."]
    for model, batches in body.get("roofline", {}).items():
        for batch, roof in batches.items():
            lines += ["", f"### {model}, batch {batch}", "", *roofline_table(roof)]
    return "\n".join(lines) + "\n"
