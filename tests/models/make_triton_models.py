#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write a repository with the models that the examples of Triton's clients ask for.

    .venv/bin/python tests/models/make_triton_models.py [--images] REPOSITORY_DIR

Names, tensors and batch sizes are those of Triton's own examples. Models of numbers run on any
backend, those of strings on `simulated`, which computes what their ONNX file says.

The examples of model control count what the repository holds: seven models for HTTP, which is what
this writes, and eight for gRPC, which is this with --images.
"""

import argparse
from pathlib import Path

import numpy as np
from make_models import constant, model, value
from onnx import TensorProto, helper

CONFIG_TYPES = {TensorProto.FLOAT: "TYPE_FP32", TensorProto.INT32: "TYPE_INT32",
                TensorProto.INT8: "TYPE_INT8", TensorProto.STRING: "TYPE_STRING"}


def sum_and_difference(dtype=TensorProto.INT32):
    """OUTPUT0 = INPUT0 + INPUT1 and OUTPUT1 = INPUT0 - INPUT1; strings are decimal integers."""
    shape = ["N", 16]
    names = ["INPUT0", "INPUT1"]
    results = ["OUTPUT0", "OUTPUT1"]
    numbers, sums, before, after = names, results, [], []
    if dtype == TensorProto.STRING:
        numbers, sums = ["a", "b"], ["sum", "difference"]
        before = [helper.make_node("Cast", [name], [number], to=TensorProto.INT64)
                  for name, number in zip(names, numbers)]
        after = [helper.make_node("Cast", [number], [name], to=TensorProto.STRING)
                 for number, name in zip(sums, results)]
    nodes = [*before, helper.make_node("Add", numbers, [sums[0]]),
             helper.make_node("Sub", numbers, [sums[1]]), *after]
    return model(nodes, [value(name, shape, dtype) for name in names],
                 [value(name, shape, dtype) for name in results])


def identity(shape, dtype):
    return model([helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])],
                 [value("INPUT0", shape, dtype)], [value("OUTPUT0", shape, dtype)])


def image_classifier():
    """[3, 224, 224] to [1000]: some sums of the mean colour, which no one has trained."""
    weights = np.random.default_rng(5).normal(size=(3, 1000)).astype(np.float32)
    nodes = [helper.make_node("ReduceMean", ["data_0"], ["mean"], axes=[1, 2], keepdims=0),
             helper.make_node("MatMul", ["mean", "weights"], ["fc6_1"])]
    return model(nodes, [value("data_0", [3, 224, 224])], [value("fc6_1", [1000])],
                 [constant("weights", weights)])


def tensors_text(side, tensors, batched, labels, formats):
    blocks = []
    for tensor in tensors:
        kind = tensor.type.tensor_type
        dims = [dim.dim_value or -1 for dim in kind.shape.dim][1 if batched else 0:]
        fields = [f'name: "{tensor.name}"', f"data_type: {CONFIG_TYPES[kind.elem_type]}",
                  f"dims: [ {', '.join(map(str, dims))} ]"]
        if tensor.name in formats:
            fields.append(f"format: {formats[tensor.name]}")
        if tensor.name in labels:
            fields.append(f'label_filename: "{labels[tensor.name]}"')
        blocks.append("  {\n" + "".join(f"    {field}\n" for field in fields) + "  }")
    return f"{side} [\n" + ",\n".join(blocks) + "\n]\n"


def write_model(root, name, made, batch, parameters, first='platform: "onnxruntime_onnx"',
                labels=None, formats=None):
    """A model with one version, and its config.pbtxt."""
    folder = root / name
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "1" / "model.onnx").write_bytes(made.SerializeToString(deterministic=True))
    hints = labels or {}, formats or {}
    text = f'name: "{name}"\n{first}\nmax_batch_size: {batch}\n'
    text += tensors_text("input", made.graph.input, batch > 0, *hints)
    text += tensors_text("output", made.graph.output, batch > 0, *hints)
    for key, content in parameters.items():
        text += f'parameters {{ key: "{key}" value {{ string_value: "{content}" }} }}\n'
    (folder / "config.pbtxt").write_text(text)


def write_labels(folder, name, count):
    (folder / name).write_text("".join(f"{folder.name} {i}\n" for i in range(count)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", type=Path)
    parser.add_argument("--images", action="store_true", help="densenet_onnx as well")
    options = parser.parse_args()
    root = options.repository
    add_sub = {"simulated.compute": "add_sub"}
    same = {"simulated.compute": "identity"}
    strings = 'backend: "simulated"'
    write_model(root, "simple", sum_and_difference(), 8, add_sub)
    write_model(root, "simple_int8", sum_and_difference(TensorProto.INT8), 8, add_sub)
    write_model(root, "simple_labels", sum_and_difference(), 8, add_sub,
                labels={"OUTPUT0": "output0_labels.txt"})
    write_labels(root / "simple_labels", "output0_labels.txt", 16)
    # 16 integers of up to 20 characters, each with four bytes of length.
    write_model(root, "simple_string", sum_and_difference(TensorProto.STRING), 8,
                add_sub | {"output_bytes_max": 16 * 24}, strings)
    write_model(root, "simple_identity", identity(["N", "M"], TensorProto.STRING), 8,
                same | {"output_bytes_max": 1 << 16}, strings)
    write_model(root, "custom_identity_int32", identity(["N", 16], TensorProto.INT32), 8, same)
    if options.images:
        write_model(root, "densenet_onnx", image_classifier(), 0, {},
                    labels={"fc6_1": "densenet_labels.txt"}, formats={"data_0": "FORMAT_NCHW"})
        write_labels(root / "densenet_onnx", "densenet_labels.txt", 1000)
    write_model(root, "identity_fp32", identity(["M"], TensorProto.FLOAT), 0, same)


if __name__ == "__main__":
    main()
