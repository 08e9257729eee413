# SPDX-License-Identifier: Apache-2.0
"""Small ONNX models whose answers can be told beforehand.

The detector looks at cells of 8x8 pixels: where the golden image is brighter than the board the
cell is an `open`, where the board is brighter a `short`, and the score is the mean difference.
"""

import gzip
import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

CELL = 8
CLASSES = ["open", "short", "mousebite", "spur", "copper", "pin-hole"]


def value(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def constant(name, array):
    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def model(nodes, inputs, outputs, initializers, domain=None):
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def cell_boxes(size):
    """Centre x, centre y, width, height of each cell, [1, 4, cells]."""
    centre = np.arange(size // CELL, dtype=np.float32) * CELL + CELL / 2
    y, x = np.meshgrid(centre, centre, indexing="ij")
    side = np.full(x.size, CELL, np.float32)
    return np.stack([x.ravel(), y.ravel(), side, side])[None]


def detector(size=64, channels=2, gain=1.0):
    """[N, C, S, S] to a YOLOv8 head [N, 10, cells]. With one channel bright cells are `short`."""
    weight = np.zeros((len(CLASSES), channels, CELL, CELL), np.float32)
    if channels == 2:
        weight[0, 0], weight[0, 1] = -gain / CELL**2, gain / CELL**2
    weight[1] = -weight[0] if channels == 2 else gain / CELL**2
    cells = (size // CELL)**2
    nodes = [helper.make_node("Conv", ["images", "weight"], ["sums"], kernel_shape=[CELL, CELL],
                              strides=[CELL, CELL]),
             helper.make_node("Clip", ["sums", "zero", "one"], ["clipped"]),
             helper.make_node("Reshape", ["clipped", "score_shape"], ["scores"]),
             helper.make_node("Slice", ["scores", "from", "to", "axis"], ["row"]),
             helper.make_node("Mul", ["row", "zero"], ["nothing"]),
             helper.make_node("Add", ["nothing", "cells"], ["boxes"]),
             helper.make_node("Concat", ["boxes", "scores"], ["output0"], axis=1)]
    constants = [constant("weight", weight), constant("cells", cell_boxes(size)),
                 constant("zero", np.float32(0)), constant("one", np.float32(1)),
                 constant("score_shape", np.array([0, len(CLASSES), cells], np.int64)),
                 constant("from", np.array([0], np.int64)), constant("to", np.array([1], np.int64)),
                 constant("axis", np.array([1], np.int64))]
    return model(nodes, [value("images", ["N", channels, size, size])],
                 [value("output0", ["N", 4 + len(CLASSES), cells])], constants)


def quantised_detector():
    """The detector with scores in steps of 1/255, by operators that a CPU runs and a GPU does not."""
    made = detector()
    [flatten] = [node for node in made.graph.node if node.output[0] == "scores"]
    flatten.input[0] = "rounded"
    at = list(made.graph.node).index(flatten)
    made.graph.node.insert(at, helper.make_node("DequantizeLinear", ["steps", "step", "none"], ["rounded"]))
    made.graph.node.insert(at, helper.make_node("QuantizeLinear", ["clipped", "step", "none"], ["steps"]))
    made.graph.initializer.extend([constant("step", np.float32(1 / 255)), constant("none", np.uint8(0))])
    return made


def matcher(size=64):
    """Board and golden, [N, 1, S, S] each, to the mean difference of each cell."""
    nodes = [helper.make_node("Sub", ["board", "golden"], ["difference"]),
             helper.make_node("Abs", ["difference"], ["absolute"]),
             helper.make_node("AveragePool", ["absolute"], ["distance"], kernel_shape=[CELL, CELL],
                              strides=[CELL, CELL])]
    side = size // CELL
    return model(nodes, [value("board", ["N", 1, size, size]), value("golden", ["N", 1, size, size])],
                 [value("distance", ["N", 1, side, side])], [])


def classifier(size=64, classes=7):
    """[N, 2, S, S] to logits: class 0 when the golden image is the brighter one, else class 1."""
    weight = np.zeros((2, classes), np.float32)
    weight[:, 0], weight[:, 1] = (-9, 9), (9, -9)
    nodes = [helper.make_node("GlobalAveragePool", ["crops"], ["pooled"]),
             helper.make_node("Flatten", ["pooled"], ["means"]),
             helper.make_node("MatMul", ["means", "weight"], ["logits"])]
    return model(nodes, [value("crops", ["N", 2, size, size])], [value("logits", ["N", classes])],
                 [constant("weight", weight)])


def yolov8_export(classes=80, size=640, seed=5):
    """The output shape of a YOLOv8 export, [1, 84, 8400], from random convolutions at strides of
    8, 16 and 32. Boxes are the anchors themselves; scores pass a sigmoid."""
    rng = np.random.default_rng(seed)
    nodes, constants, heads, anchors = [], [], [], []
    for stride in (8, 16, 32):
        cells = (size // stride)**2
        spread = 3 / (stride * 3**0.5)  # logits of the same size at each stride
        weight = rng.normal(0, spread, (classes, 3, stride, stride)).astype(np.float32)
        constants += [constant(f"w{stride}", weight),
                      constant(f"shape{stride}", np.array([1, classes, cells], np.int64))]
        nodes += [helper.make_node("Conv", ["images", f"w{stride}"], [f"c{stride}"],
                                   strides=[stride, stride]),
                  helper.make_node("Reshape", [f"c{stride}", f"shape{stride}"], [f"h{stride}"])]
        heads.append(f"h{stride}")
        centre = np.arange(size // stride, dtype=np.float32) * stride + stride / 2
        y, x = np.meshgrid(centre, centre, indexing="ij")
        side = np.full(x.size, stride, np.float32)
        anchors.append(np.stack([x.ravel(), y.ravel(), side, side]))
    constants.append(constant("boxes", np.concatenate(anchors, axis=1)[None]))
    nodes += [helper.make_node("Concat", heads, ["logits"], axis=2),
              helper.make_node("Sigmoid", ["logits"], ["scores"]),
              helper.make_node("Concat", ["boxes", "scores"], ["output0"], axis=1)]
    total = sum((size // stride)**2 for stride in (8, 16, 32))
    return model(nodes, [value("images", [1, 3, size, size])],
                 [value("output0", [1, 4 + classes, total])], constants)


def boxes_labels_scores(size=64):
    """As torchvision exports: one image without a batch, boxes [M, 4], labels, scores. The bright
    cells are the detections, so that their number depends on the image."""
    boxes = cell_boxes(size)[0].T
    corners = np.concatenate([boxes[:, :2] - CELL / 2, boxes[:, :2] + CELL / 2], axis=1)
    nodes = [helper.make_node("AveragePool", ["image"], ["cells"], kernel_shape=[CELL, CELL],
                              strides=[CELL, CELL]),
             helper.make_node("Reshape", ["cells", "flat"], ["means"]),
             helper.make_node("Greater", ["means", "half"], ["bright"]),
             helper.make_node("Compress", ["corners", "bright"], ["boxes"], axis=0),
             helper.make_node("Compress", ["ones", "bright"], ["labels"], axis=0),
             helper.make_node("Compress", ["means", "bright"], ["scores"], axis=0)]
    constants = [constant("flat", np.array([-1], np.int64)), constant("half", np.float32(0.5)),
                 constant("corners", corners), constant("ones", np.ones(len(corners), np.int64))]
    return model(nodes, [value("image", [1, 1, size, size])],
                 [value("boxes", ["M", 4]), value("labels", ["M"], TensorProto.INT64),
                  value("scores", ["M"])], constants)


def unsupported_operator():
    node = helper.make_node("FancyAttention", ["images"], ["output0"], domain="com.example",
                            name="attention_3")
    return model([node], [value("images", ["N", 2, 64, 64])], [value("output0", ["N", 10, 64])], [],
                 domain="com.example")


def add(repository, name, made, version=1, config=""):
    """Puts a model, or the bytes of a file that should be one, into a repository."""
    folder = repository / name / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    data = made if isinstance(made, bytes) else made.SerializeToString(deterministic=True)
    (folder / "model.onnx").write_bytes(data)
    if config:
        (repository / name / "config.pbtxt").write_text(config)
    return folder


def add_reference(folder, made, wrong_by=0.0):
    """A reference case for a version; with `wrong_by` the outputs expected are off by that."""
    case = folder / "reference" / "case_0"
    case.mkdir(parents=True)
    rng = np.random.default_rng(3)
    shapes = [[d.dim_value or 1 for d in i.type.tensor_type.shape.dim] for i in made.graph.input]
    inputs = {i.name: rng.random(shape, np.float32) for i, shape in zip(made.graph.input, shapes)}
    outputs = ReferenceEvaluator(made).run(None, inputs)
    for i, tensor in enumerate(inputs.values()):
        (case / f"input_{i}.pb").write_bytes(numpy_helper.from_array(tensor).SerializeToString())
    for i, tensor in enumerate(outputs):
        packed = numpy_helper.from_array(tensor + np.float32(wrong_by)).SerializeToString()
        (case / f"output_{i}.pb.gz").write_bytes(gzip.compress(packed))
    tolerance = {"absolute": 0.01, "relative": 0.001}
    (folder / "reference" / "tolerance.json").write_text(json.dumps(tolerance))


def simulated(**parameters):
    """The text of a config.pbtxt with parameters of the simulated backend."""
    return "".join(f'parameters {{ key: "simulated.{key.replace("__", ".")}" '
                   f'value {{ string_value: "{value}" }} }}\n' for key, value in parameters.items())
