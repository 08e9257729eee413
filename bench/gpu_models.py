#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Models for the GPU benchmark as ONNX files, and how fast PyTorch runs the same networks.

    python bench/gpu_models.py OUT_FOLDER [--skip-export] [--skip-timing] [--seconds 95]
    python bench/gpu_models.py OUT_FOLDER --compile [MODEL ...]

Writes resnet50.onnx, yolov8{n,s,m}.onnx and yolov8{n,s,m}-end2end.onnx with FP32 weights, and
pytorch.json. PyTorch runs as those who care for speed run it: FP16, channels_last, BatchNorm folded into
the convolutions, cuDNN's algorithms measured, a captured CUDA graph replayed. A figure is of one of:

- gpu_ms: one replay between two events, many replays queued after each other; input and outputs stay on
  the device in FP16;
- end_to_end_ms: on the host's clock, one request at a time from FP32 in pinned memory to FP32 outputs in
  pinned memory, with the conversions on the device;
- streams: images a second of eight graphs of batch 1, each on a stream of its own.

--seconds bounds the run: what no time is left for is listed as skipped, largest batches first. --compile writes
pytorch-compiled.json alone: torch.compile's max-autotune, ResNet-50 and YOLOv8n at batch 1 if no others are
named, which takes many minutes for each, as every layer's kernels are compiled and timed. What that finds is kept
where TORCHINDUCTOR_CACHE_DIR says, so that a run that was stopped goes on there. Needs torch with CUDA, torchvision
and onnx; without a GPU only files are written.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import logging
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import gpu_networks
import torch
from _results import machine, shown
from torch import Tensor, nn

BATCHES = (1, 8, 32, 64, 128)
STREAMS = 8
COMPILED = ("resnet50", "yolov8n")
WARM_UP = 3
# Of one figure: so many replays, fewer where they would take longer than this.
REPLAYS_MIN, REPLAYS_MAX, REPLAYS_SECONDS = 20, 500, 0.6
REQUESTS = 300
SEED = 1


@dataclass
class Model:
    name: str
    network: nn.Module  # FP32, where it was settled
    side: int
    outputs: tuple[str, ...]


def resnet50(device: str) -> Model:
    from torchvision import models

    torch.manual_seed(SEED)
    network = models.resnet50(weights=None).to(device)
    gpu_networks.enliven(network, SEED)
    gpu_networks.settle(network, gpu_networks.noise(16, 3, 224, 224, seed=SEED, device=device))
    return Model("resnet50", network, 224, ("output",))


def yolov8(size: str, device: str) -> Model:
    return Model(f"yolov8{size}", gpu_networks.detector(size, 640, device, SEED), 640, ("boxes", "scores"))


MODELS: dict[str, Callable[[str], Model]] = {
    "resnet50": resnet50,
    "yolov8n": lambda device: yolov8("n", device),
    "yolov8s": lambda device: yolov8("s", device),
    "yolov8m": lambda device: yolov8("m", device),
}


class Report:
    """What was measured, skipped or failed; on disk after each, so that an interrupted run leaves it."""

    def __init__(self, path: Path, deadline_s: float) -> None:
        self.path = path
        self.deadline_s = deadline_s
        self.body: dict = {"torch": torch.__version__, "files": [], "figures": [], "skipped": [], "failures": []}
        if torch.cuda.is_available():
            self.body |= {"device": torch.cuda.get_device_name(), "cuda": torch.version.cuda,
                          "cudnn": torch.backends.cudnn.version()}

    def add(self, kind: str, entry: object) -> None:
        self.body[kind].append(entry)
        self.path.write_text(json.dumps(self.body, indent=1) + "\n")
        print(f"{kind}: {json.dumps(entry)}", flush=True)

    def attempt(self, what: str, work: Callable[[], None], bounded: bool = True) -> None:
        if bounded and time.monotonic() > self.deadline_s:
            self.add("skipped", what)
            return
        try:
            work()
        except Exception as error:  # the others are still worth measuring
            self.add("failures", {"what": what, "error": f"{type(error).__name__}: {error}",
                                  "trace": traceback.format_exc(limit=-3)})
        if torch.cuda.is_available():
            gc.collect()  # a captured graph's memory
            torch.cuda.empty_cache()


def summary(milliseconds: list[float]) -> dict:
    ordered = sorted(milliseconds)
    return {"median": round(statistics.median(ordered), 5), "samples": len(ordered),
            "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 5)}


def fast(model: Model) -> nn.Module:
    """As it is timed: FP16, channels_last, without BatchNorm."""
    from torch.fx.experimental import optimization

    fused = optimization.fuse(model.network.eval())
    return fused.cuda().half().to(memory_format=torch.channels_last)


def input_of(model: Model, batch: int) -> Tensor:
    images = torch.rand(batch, 3, model.side, model.side, device="cuda", dtype=torch.float16)
    return images.to(memory_format=torch.channels_last)


def warm_up(run: Callable[[], object], stream: torch.cuda.Stream) -> None:
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            run()
    stream.synchronize()


def capture(run: Callable[[], object], stream: torch.cuda.Stream) -> tuple[torch.cuda.CUDAGraph, object]:
    """The graph of `run`, and the outputs that each replay writes."""
    warm_up(run, stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        outputs = run()
    return graph, outputs


def gpu_milliseconds(run: Callable[[], object]) -> list[float]:
    """Of each call: from the end of the one before to its own end, while the queue never runs dry."""
    run()
    torch.cuda.synchronize()
    start_s = time.perf_counter()
    run()
    torch.cuda.synchronize()
    calls = int(REPLAYS_SECONDS / max(time.perf_counter() - start_s, 1e-6))
    calls = min(max(calls, REPLAYS_MIN), REPLAYS_MAX)
    events = [torch.cuda.Event(enable_timing=True) for _ in range(calls + 1)]
    run()  # the first event is reached while others are already queued
    for event in events[:-1]:
        event.record()
        run()
    events[-1].record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) for a, b in zip(events, events[1:], strict=False)]


def request_milliseconds(request: Callable[[], None]) -> list[float]:
    """Of each call, which waits for its results, on the host's clock."""
    times = []
    for number in range(REQUESTS + WARM_UP):
        start_s = time.perf_counter()
        request()
        if number >= WARM_UP:
            times.append((time.perf_counter() - start_s) * 1e3)
    return times


def tensors(outputs: object) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def time_batch(report: Report, model: Model, network: nn.Module, batch: int) -> None:
    images = input_of(model, batch)
    graph, outputs = capture(lambda: network(images), torch.cuda.Stream())
    times = summary(gpu_milliseconds(graph.replay))
    if not all(x.isfinite().all() for x in tensors(outputs)):
        raise ValueError("outputs are not finite in FP16")
    report.add("figures", {"model": model.name, "batch": batch, "figure": "gpu_ms", **times,
                           "images_per_s": round(batch / times["median"] * 1e3, 1)})


def requests_on(images: Tensor, run: Callable[[], object]) -> Callable[[], None]:
    """One request: FP32 into `images`, `run`, and its FP32 outputs back."""
    host = torch.rand(images.shape).pin_memory()
    results = [torch.empty_like(x, device="cpu", pin_memory=True) for x in tensors(run())]

    def request() -> None:
        images.copy_(host, non_blocking=True)
        for result, output in zip(results, tensors(run()), strict=True):
            result.copy_(output, non_blocking=True)
        torch.cuda.current_stream().synchronize()

    return request


def converted(network: Callable[[Tensor], object], images: Tensor) -> Callable[[], tuple[Tensor, ...]]:
    """The network of FP16 with input and outputs of FP32."""
    def run() -> tuple[Tensor, ...]:
        outputs = network(images.to(torch.float16, memory_format=torch.channels_last))
        return tuple(x.float() for x in tensors(outputs))

    return run


def time_requests(report: Report, model: Model, network: nn.Module) -> None:
    images = torch.zeros(1, 3, model.side, model.side, device="cuda")
    graph, outputs = capture(converted(network, images), torch.cuda.Stream())

    def replay() -> object:
        graph.replay()
        return outputs

    report.add("figures", {"model": model.name, "batch": 1, "figure": "end_to_end_ms",
                           **summary(request_milliseconds(requests_on(images, replay)))})


def time_streams(report: Report, model: Model, network: nn.Module, rounds: int = 200, repeats: int = 5) -> None:
    streams = [torch.cuda.Stream() for _ in range(STREAMS)]
    inputs = [input_of(model, 1) for _ in streams]
    captured = [capture(lambda x=x: network(x), s) for x, s in zip(inputs, streams, strict=True)]

    def images_per_s() -> float:
        torch.cuda.synchronize()
        start_s = time.perf_counter()
        for _ in range(rounds):
            for (graph, _), stream in zip(captured, streams, strict=True):
                with torch.cuda.stream(stream):
                    graph.replay()
        torch.cuda.synchronize()
        return rounds * STREAMS / (time.perf_counter() - start_s)

    images_per_s()
    rates = [images_per_s() for _ in range(repeats)]
    report.add("figures", {"model": model.name, "batch": 1, "figure": "streams", "streams": STREAMS,
                           "images_per_s": round(statistics.median(rates), 1),
                           "repeats": [round(rate, 1) for rate in rates]})


def time_compiled(report: Report, model: Model) -> None:
    """torch.compile captures its own graphs in this mode."""
    network = model.network.cuda().half().to(memory_format=torch.channels_last)
    start_s = time.monotonic()
    compiled = torch.compile(network, mode="max-autotune")
    images = input_of(model, 1)
    for _ in range(WARM_UP):
        compiled(images)
    torch.cuda.synchronize()
    figure = {"model": model.name, "batch": 1, "compiled": "max-autotune",
              "compile_s": round(time.monotonic() - start_s, 1)}
    report.add("figures", {**figure, "figure": "gpu_ms", **summary(gpu_milliseconds(lambda: compiled(images)))})
    floats = torch.zeros(1, 3, model.side, model.side, device="cuda")
    request = requests_on(floats, converted(compiled, floats))
    report.add("figures", {**figure, "figure": "end_to_end_ms", **summary(request_milliseconds(request))})


def export(report: Report, model: Model, folder: Path) -> None:
    path = folder / f"{model.name}.onnx"
    images = torch.zeros(1, 3, model.side, model.side)
    gpu_networks.export_onnx(model.network, (images,), path, output_names=model.outputs)
    report.add("files", path.name)
    if "boxes" in model.outputs:
        suppressed = folder / f"{model.name}-end2end.onnx"
        gpu_networks.append_suppression(path, suppressed)
        report.add("files", suppressed.name)


def time_all(report: Report, models: list[Model]) -> None:
    """Small batches of all models before the larger ones, which are skipped when time runs out."""
    torch.backends.cudnn.benchmark = True
    networks: list[tuple[Model, nn.Module]] = []
    for model in models:
        report.attempt(f"{model.name} to FP16", lambda m=model: networks.append((m, fast(m))))
    for model, network in networks:
        report.attempt(f"{model.name} requests", lambda m=model, n=network: time_requests(report, m, n))
        if model.name == "resnet50":
            report.attempt("resnet50 streams", lambda m=model, n=network: time_streams(report, m, n))
    for batch in BATCHES:
        for model, network in networks:
            report.attempt(f"{model.name} batch {batch}",
                           lambda m=model, n=network, b=batch: time_batch(report, m, n, b))


def compile_only(folder: Path, names: Iterable[str]) -> int:
    report = Report(folder / "pytorch-compiled.json", float("inf"))
    report.body |= {"date": str(datetime.date.today()), "machine": machine(),
                    "command": shown(" ".join(["bench/gpu_models.py", *sys.argv[1:]]))}
    torch.backends.cudnn.benchmark = True
    with torch.no_grad():
        for name in names:
            report.attempt(f"{name} compiled", lambda n=name: time_compiled(report, MODELS[n]("cuda")))
    return 1 if report.body["failures"] else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="OUT_FOLDER")
    parser.add_argument("--compile", nargs="*", choices=MODELS, metavar="MODEL",
                        help="only torch.compile at batch 1, of these models; takes minutes")
    parser.add_argument("--skip-export", action="store_true")
    parser.add_argument("--skip-timing", action="store_true")
    parser.add_argument("--seconds", type=float, default=95)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)

    # The largest batches take about five seconds each, most of it cuDNN's measuring.
    report = Report(options.folder / "pytorch.json", time.monotonic() + options.seconds - 5)
    gpu = torch.cuda.is_available()
    if options.compile is not None:
        if not gpu:
            parser.error("--compile needs a GPU")
        return compile_only(options.folder, options.compile or COMPILED)
    models: list[Model] = []
    for name, make in MODELS.items():
        report.attempt(name, lambda make=make: models.append(make("cuda" if gpu else "cpu")), bounded=False)
    if not options.skip_export:
        for model in models:
            report.attempt(f"{model.name}.onnx", lambda m=model: export(report, m, options.folder), bounded=False)
    if gpu and not options.skip_timing:
        with torch.no_grad():
            time_all(report, models)
    print(f"{len(report.body['figures'])} figures, {len(report.body['skipped'])} skipped, "
          f"{len(report.body['failures'])} failed")
    return 1 if report.body["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
