#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write ONNX's own node tests as folders of files, for the opsets that takt's importer takes.

    .venv/bin/python tests/models/make_onnx_node_tests.py OUTPUT_DIR

OUTPUT_DIR/NAME holds model.onnx, input_0.pb... and output_0.pb...; OUTPUT_DIR/list.json says of
each its name, operators and opset. The cases come from the onnx wheel. One whose model asks for a newer
opset is written with opset 21 where 21 has all of its operators with these attributes and types.
"""

import json
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, checker, defs, numpy_helper, shape_inference
from onnx.backend.test.case import node as node_cases

OPSET_MIN, OPSET_MAX = 11, 21
# What opset 21 was published with.
IR_VERSION_MAX = 10
# Fewer than these, and something above drops cases that it should not (onnx 1.23 gives 1,552).
CASES_MIN = 1500
# Of one input or output; what is larger tests nothing more.
TENSOR_BYTES_MAX = 1 << 22


def opset_of(model):
    """The default domain's version; None where the model asks for other domains too."""
    versions = {o.domain or "ai.onnx": o.version for o in model.opset_import}
    return versions.get("ai.onnx") if set(versions) == {"ai.onnx"} else None


def operators_of(graph):
    """The names of a graph's operators, those in the bodies of others too."""
    names = set()
    for node in graph.node:
        names.add(node.op_type)
        for attribute in node.attribute:
            for body in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                names |= operators_of(body)
    return names


def with_opset(model, version):
    """The same model asking for `version`, or None where that doesn't have it."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for opset in made.opset_import:
        opset.version = version
    made.ir_version = min(made.ir_version, IR_VERSION_MAX)
    # Types are inferred without the outputs' shapes: opset 22 only made clear what pools with
    # ceil_mode had always meant, and 21's inference has the other size.
    typed = onnx.ModelProto()
    typed.CopyFrom(made)
    for output in typed.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    try:
        checker.check_model(made)
        shape_inference.infer_shapes(typed, check_type=True, strict_mode=True, data_prop=True)
    except (checker.ValidationError, shape_inference.InferenceError, defs.SchemaError):
        return None
    return made


def fit(model):
    """The model at an opset within bounds, or None."""
    opset = opset_of(model)
    if opset is None:
        return None
    if opset > OPSET_MAX:
        return with_opset(model, OPSET_MAX)
    # Operators that haven't changed since before opset 11 are the same in it.
    return with_opset(model, OPSET_MIN) if opset < OPSET_MIN else model


def tensors_of(values, infos):
    """As TensorProtos; None where one is no tensor or too large."""
    tensors = []
    for value, info in zip(values, infos, strict=True):
        if not info.type.HasField("tensor_type"):
            return None
        if not isinstance(value, TensorProto):
            value = numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)))
        made = TensorProto()
        made.CopyFrom(value)
        made.name = info.name
        if made.ByteSize() > TENSOR_BYTES_MAX:
            return None
        tensors.append(made)
    return tensors


def write_case(folder, case):
    """The case's entry for the list, or None where it doesn't fit."""
    model = fit(case.model)
    if model is None:
        return None
    inputs, outputs = case.data_sets[0]
    inputs = tensors_of(inputs, model.graph.input)
    outputs = tensors_of(outputs, model.graph.output)
    if inputs is None or outputs is None:
        return None
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for i, tensor in enumerate(tensors):
            (folder / f"{kind}_{i}.pb").write_bytes(tensor.SerializeToString(deterministic=True))
    return {"name": case.name, "operators": sorted(operators_of(model.graph)),
            "opset": opset_of(model)}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = Path(sys.argv[1])
    if root.exists():
        shutil.rmtree(root)
    root.mkdir(parents=True)
    warnings.simplefilter("ignore")
    np.random.seed(0)
    with np.errstate(all="ignore"):
        cases = [c for c in node_cases.collect_testcases() if c.kind == "node"]
    entries = [write_case(root / case.name, case) for case in cases]
    entries = sorted((e for e in entries if e), key=lambda e: e["name"])
    if len(entries) < CASES_MIN:
        sys.exit(f"only {len(entries)} of {len(cases)} cases fit; expected at least {CASES_MIN}")
    (root / "list.json").write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
