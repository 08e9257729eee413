# SPDX-License-Identifier: Apache-2.0
"""Writes ONNX files: float32 inputs, compute and outputs; weights stored as fp16 where exact."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from pcb import IMAGE_SIZE
from pcb.crops import CROP
from pcb.networks import DetectorExport, build, fold_norms

OPSET = 18
SMALL = 64  # constants up to this many values stay as they are
CALIBRATION = Path(__file__).with_name("calibration.json")


def signature(model: str) -> tuple[list[str], list[tuple[int, ...]], str]:
    """Input names, their shapes without the batch, and the output's name."""
    plane = (1, IMAGE_SIZE, IMAGE_SIZE)
    return {
        "pcb-detector": (["images"], [(2, IMAGE_SIZE, IMAGE_SIZE)], "output0"),
        "pcb-detector-single": (["images"], [plane], "output0"),
        "pcb-classifier": (["crops"], [(2, CROP, CROP)], "logits"),
        "pcb-matcher": (["board", "golden"], [plane, plane], "distance"),
    }[model]


def read_calibration(model: str) -> dict[str, float]:
    """What makes 0.5 (scores) or 1.0 (distances) the best threshold on unseen boards."""
    return json.loads(CALIBRATION.read_text()).get(model, {}) if CALIBRATION.is_file() else {}


@torch.no_grad()
def calibrate(model: str, network: nn.Module) -> None:
    """Folds the calibration into the last layer, in place."""
    values = read_calibration(model)
    if "detector" in model:
        for head in network.heads:
            head.score[-1].weight.mul_(values.get("logit_scale", 1.0))
            head.score[-1].bias.mul_(values.get("logit_scale", 1.0)).add_(values.get("logit_bias", 0.0))
    elif model == "pcb-matcher":
        network.scale.fill_(values.get("distance_scale", 1.0))


def load_network(model: str, weights: Path) -> nn.Module:
    """A network with folded norms from the weights.pt of train.py."""
    network = build(model).eval()
    fold_norms(network)
    network.load_state_dict({k: v.float() for k, v in torch.load(weights, weights_only=True).items()})
    return network


def store_weights_as_fp16(model: onnx.ModelProto) -> None:
    """Replaces large float32 constants by fp16 ones and a cast.

    The weights were rounded to fp16 after training, so this loses nothing;
    constants that fp16 does not hold exactly stay float32.
    """
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size <= SMALL:
            continue
        half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [f"{name}.fp16"], [name], f"{name}.cast", to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(casts + nodes)


def strip_notes(model: onnx.ModelProto) -> None:
    """Drops the exporter's remarks (source lines and scopes), which hold paths and change from run to run."""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    model.doc_string = ""
    for value in [*model.graph.input, *model.graph.output, *model.graph.initializer]:
        value.doc_string = ""
        del value.metadata_props[:]


def replace_weights(template: Path, model: str, weights: Path, path: Path) -> None:
    """Writes the ONNX file `template` with other weights of the same network: seconds less than an export."""
    network = load_network(model, weights)
    calibrate(model, network)
    state = network.state_dict()
    proto = onnx.load(template)
    used = set()
    for tensor in proto.graph.initializer:
        name = tensor.name.removesuffix(".fp16").removeprefix("detector.")
        if name not in state:
            continue
        old = numpy_helper.to_array(tensor)
        new = state[name].numpy().astype(old.dtype)
        if old.shape != new.shape:
            raise ValueError(f"{template}: {tensor.name} has shape {old.shape}, the weights have {new.shape}")
        tensor.CopyFrom(numpy_helper.from_array(new, tensor.name))
        used.add(name)
    if used != set(state):
        raise ValueError(f"{template}: no place for {sorted(set(state) - used)}; is it a {model}?")
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(proto, path)


def export_network(model: str, network: nn.Module, path: Path, batch: int | None = None) -> None:
    """Writes the ONNX file of a trained network; `batch` None leaves the batch dynamic."""
    network = network.eval()
    calibrate(model, network)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.numel() > SMALL:
                parameter.copy_(parameter.half().float())
    whole = DetectorExport(network).eval() if "detector" in model else network
    names, shapes, output = signature(model)
    example = tuple(torch.rand(batch or 2, *shape) for shape in shapes)
    dynamic = None
    if batch is None:
        size = torch.export.Dim("batch", min=1, max=4096)
        dynamic = tuple({0: size} for _ in names)
    program = torch.onnx.export(
        whole,
        example,
        input_names=names,
        output_names=[output],
        opset_version=OPSET,
        dynamic_shapes=dynamic,
        dynamo=True,
        optimize=True,
        verbose=False,
    )
    proto = program.model_proto
    strip_notes(proto)
    store_weights_as_fp16(proto)
    for value in [*proto.graph.input, *proto.graph.output]:
        first = value.type.tensor_type.shape.dim[0]
        if batch is None:
            first.ClearField("dim_value")
            first.dim_param = "batch"
    proto.producer_name, proto.producer_version = "takt", ""
    onnx.checker.check_model(proto, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(proto, path)
