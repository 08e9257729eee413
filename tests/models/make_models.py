#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the small ONNX models (and broken files) that the unit tests load.

    .venv/bin/python tests/models/make_models.py OUTPUT_DIR

Every file is the same each time: weights come from fixed seeds.
"""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, checker, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

OPSET = 17
IR_VERSION = 8


def value(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def constant(name, array):
    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def model(nodes, inputs, outputs, initializers=(), domains=()):
    graph = helper.make_graph(list(nodes), "test", inputs, outputs, list(initializers))
    opsets = [helper.make_opsetid("", OPSET)] + [helper.make_opsetid(d, 1) for d in domains]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION,
                             producer_name="takt-test-models")
    if not domains:
        checker.check_model(made, full_check=True)
    return made


def identity(batch="N"):
    """out = x, [N, 3, 4]: shows which rows came back."""
    return model([helper.make_node("Identity", ["x"], ["out"])],
                 [value("x", [batch, 3, 4])], [value("out", [batch, 3, 4])])


def integers():
    """Two element types beside fp32: int64 out = x + 1, bool positive = x > 0."""
    return model([helper.make_node("Add", ["x", "one"], ["out"]),
                  helper.make_node("Greater", ["x", "zero"], ["positive"])],
                 [value("x", ["N", 5], TensorProto.INT64)],
                 [value("out", ["N", 5], TensorProto.INT64),
                  value("positive", ["N", 5], TensorProto.BOOL)],
                 [constant("one", np.array(1, np.int64)), constant("zero", np.array(0, np.int64))])


def conv_net(channels=2, size=16, batch="N", seed=7, nudge=0.0):
    """Three convolutions, [N, C, S, S] to a map [N, 4, S/2, S/2] and scores [N, 5].

    `nudge` is added to one weight: the model that a parity gate must tell from the others.
    """
    rng = np.random.default_rng(seed)
    def weight(name, out_channels, in_channels):
        scale = np.sqrt(2 / (9 * in_channels))
        array = rng.normal(0, scale, (out_channels, in_channels, 3, 3)).astype(np.float32)
        return constant(name, array)
    weights = [weight("w1", 8, channels), weight("w2", 8, 8), weight("w3", 4, 8),
               constant("w4", rng.normal(0, 1, (4, 5)).astype(np.float32))]
    if nudge:
        changed = numpy_helper.to_array(weights[1]).copy()
        changed[0, 0, 1, 1] += np.float32(nudge)
        weights[1] = constant("w2", changed)
    pads = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [helper.make_node("Conv", ["image", "w1"], ["c1"], **pads),
             helper.make_node("Relu", ["c1"], ["r1"]),
             helper.make_node("Conv", ["r1", "w2"], ["c2"], strides=[2, 2], **pads),
             helper.make_node("Relu", ["c2"], ["r2"]),
             helper.make_node("Conv", ["r2", "w3"], ["map"], **pads),
             helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
             helper.make_node("Flatten", ["pooled"], ["flat"]),
             helper.make_node("MatMul", ["flat", "w4"], ["scores"])]
    half = size // 2 if isinstance(size, int) else "S2"
    return model(nodes, [value("image", [batch, channels, size, size])],
                 [value("map", [batch, 4, half, half]), value("scores", [batch, 5])], weights)


def conv_net_channels_last():
    """A colour image as NHWC, [N, 12, 10, 3], to scores [N, 3]."""
    rng = np.random.default_rng(11)
    weights = [constant("w", rng.normal(0, 0.3, (3, 3, 3, 3)).astype(np.float32))]
    nodes = [helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
             helper.make_node("Conv", ["planes", "w"], ["c"], kernel_shape=[3, 3]),
             helper.make_node("GlobalAveragePool", ["c"], ["pooled"]),
             helper.make_node("Flatten", ["pooled"], ["scores"])]
    return model(nodes, [value("image", ["N", 12, 10, 3])], [value("scores", ["N", 3])], weights)


def distance():
    """Euclidean distance of two images' pixels, [N, 1, 8, 8] twice, to [N, 1]."""
    nodes = [helper.make_node("Sub", ["board", "golden"], ["difference"]),
             helper.make_node("Flatten", ["difference"], ["flat"]),
             helper.make_node("ReduceL2", ["flat"], ["distance"], axes=[1], keepdims=1)]
    return model(nodes, [value("board", ["N", 1, 8, 8]), value("golden", ["N", 1, 8, 8])],
                 [value("distance", ["N", 1])])


def dynamic_output():
    """The positions of non-zero elements, [2, M]: the size of the output depends on the data."""
    return model([helper.make_node("NonZero", ["x"], ["positions"])],
                 [value("x", [4, 6])], [value("positions", [2, "M"], TensorProto.INT64)])


def hard_coded_batch():
    """A fixed batch of 1 that a Reshape holds on to: its batch can't be made free."""
    return model([helper.make_node("Reshape", ["x", "shape"], ["out"])],
                 [value("x", [1, 2, 6])], [value("out", [1, 12])],
                 [constant("shape", np.array([1, 12], np.int64))])


def custom_operator():
    return model([helper.make_node("FancyAttention", ["x"], ["out"], domain="com.example",
                                   name="attention_3")],
                 [value("x", ["N", 4])], [value("out", ["N", 4])], domains=["com.example"])


def wrong_shapes():
    """A MatMul whose sides don't fit; only a shape inference finds it."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["out"], name="head_matmul")], "test",
        [value("x", ["N", 4])], [value("out", ["N", 5])],
        [constant("w", np.zeros((3, 5), np.float32))])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)],
                             ir_version=IR_VERSION)


def write_version(folder, made, reference_of, rows, tolerance, as_bytes=False):
    """A version with a reference case: inputs, and the outputs that `reference_of` gives."""
    case = folder / "reference" / "case_0"
    case.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(made.SerializeToString(deterministic=True))
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (rows, 2, 16, 16), dtype=np.uint8)
    inputs = {"image": image.astype(np.float32)}
    stored = image if as_bytes else inputs["image"]
    outputs = ReferenceEvaluator(reference_of).run(None, inputs)
    (case / "input_0.pb").write_bytes(numpy_helper.from_array(stored).SerializeToString())
    for i, output in enumerate(outputs):
        packed = gzip.compress(numpy_helper.from_array(output).SerializeToString(), mtime=0)
        (case / f"output_{i}.pb.gz").write_bytes(packed)
    (folder / "reference" / "tolerance.json").write_text(json.dumps(tolerance))


def write_repository(root):
    """good/1 gives its reference, good/2 too (stored as bytes), changed/1 has one other weight."""
    tolerance = {"absolute": 0.01, "relative": 0.001}
    good, changed = conv_net(), conv_net(nudge=0.05)
    write_version(root / "good" / "1", good, good, 1, tolerance)
    write_version(root / "good" / "2", good, good, 2, tolerance, as_bytes=True)
    write_version(root / "changed" / "1", changed, good, 1, tolerance)
    dynamic = root / "dynamic"
    (dynamic / "1").mkdir(parents=True, exist_ok=True)
    (dynamic / "1" / "model.onnx").write_bytes(
        dynamic_output().SerializeToString(deterministic=True))
    (dynamic / "config.pbtxt").write_text(
        'parameters { key: "output_bytes_max" value { string_value: "4096" } }\n')


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    models = {
        "identity": identity(),
        "identity_batch1": identity(batch=1),
        "integers": integers(),
        "conv_net": conv_net(),
        "conv_net_nudged": conv_net(nudge=0.05),
        "conv_net_batch1": conv_net(batch=1),
        "conv_net_any_size": conv_net(size="S"),
        "conv_net_color": conv_net(channels=3),
        "conv_net_two_colors": conv_net(channels=6),
        "conv_net_channels_last": conv_net_channels_last(),
        "distance": distance(),
        "dynamic_output": dynamic_output(),
        "hard_coded_batch": hard_coded_batch(),
        "custom_operator": custom_operator(),
        "wrong_shapes": wrong_shapes(),
    }
    for name, made in models.items():
        (folder / f"{name}.onnx").write_bytes(made.SerializeToString(deterministic=True))
    write_repository(folder / "repository")
    whole = (folder / "conv_net.onnx").read_bytes()
    (folder / "truncated.onnx").write_bytes(whole[:len(whole) // 2])
    (folder / "garbage.onnx").write_bytes(bytes(range(256)) * 8)
    (folder / "text.onnx").write_text("this is not a model\n")
    (folder / "empty.onnx").write_bytes(b"")


if __name__ == "__main__":
    main()
