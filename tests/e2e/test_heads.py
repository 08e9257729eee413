# SPDX-License-Identifier: Apache-2.0
"""A user's own export works by naming its file and its classes."""

import numpy as np
import onnx
import pytest
from PIL import Image

import pictures
import takt_yaml
import tiny_models
from program import by_frame, verdicts

TASK = """\
  defects:
    model: mine
    inputs: [board]
    preprocess: {{color: {color}, fit: letterbox, scale: 1/255}}
    postprocess: {{name: {name}, classes: {classes}, score_min: {score}{more}}}
"""
SINGLE = "      type: folder\n      directory: in\n      format: {format}\n"


def serve(takt, tmp_path, made, task, pixel_format="gray8"):
    repository = tmp_path / "repository"
    tiny_models.add(repository, "mine", made)
    line = takt_yaml.line(SINGLE.format(format=pixel_format))
    config = takt_yaml.write(tmp_path / "takt.yaml", repository, line, task)
    takt.run("validate", config).ok()
    takt.inspect(config, tmp_path / "in", tmp_path / "out.jsonl").ok()
    return by_frame(verdicts(tmp_path / "out.jsonl"))


@pytest.fixture
def photo(tmp_path):
    """A colour picture as wide as the model's input and less high: it is padded, not scaled."""
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (360, 640, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in" / "photo.png")
    return pixels


def reference_detections(made, photo, score_min):
    """What the export itself says of the photo: [(class, score, left, top)], without suppression."""
    side, above = 640, 140
    board = np.full((side, side, 3), 114, np.float32)
    board[above:above + photo.shape[0]] = photo
    evaluator = onnx.reference.ReferenceEvaluator(made)
    [output] = evaluator.run(None, {"images": (board / 255).transpose(2, 0, 1)[None]})
    scores = output[0, 4:].max(axis=0)
    found = []
    for anchor in np.flatnonzero(scores >= score_min):
        x, y, width, height = output[0, :4, anchor]
        found.append((int(output[0, 4:, anchor].argmax()), float(scores[anchor]), x - width / 2,
                      max(y - height / 2 - above, 0)))
    return found


def test_an_export_of_yolov8s_shape_works_by_file_and_classes(takt, tmp_path, photo):
    made = tiny_models.yolov8_export()
    shape = [d.dim_value for d in made.graph.output[0].type.tensor_type.shape.dim]
    assert shape == [1, 84, 8400]
    names = [f"kind{i}" for i in range(80)]
    task = TASK.format(color="rgb", name="yolo", classes=names, score=0.9, more="")
    [record] = serve(takt, tmp_path, made, task, "rgb8").values()
    assert record["verdict"] == "reject" and record["detections"]

    # Each detection is one that the model makes: its class, its score, its place in the photo.
    expected = reference_detections(made, photo, 0.85)
    for detection in record["detections"]:
        x1, y1, x2, y2 = detection["box"]
        assert 0 <= x1 < x2 <= 640 and 0 <= y1 < y2 <= 360
        assert any(names[kind] == detection["class"] and (left, top) == (x1, y1) and
                   score == pytest.approx(detection["score"], abs=0.02)
                   for kind, score, left, top in expected), detection


def test_an_export_with_another_number_of_classes_says_so(takt, tmp_path, photo):
    repository = tmp_path / "repository"
    tiny_models.add(repository, "mine", tiny_models.yolov8_export())
    task = TASK.format(color="rgb", name="yolo", classes="[cat, dog]", score=0.5, more="")
    config = takt_yaml.write(tmp_path / "takt.yaml", repository,
                             takt_yaml.line(SINGLE.format(format="rgb8")), task)
    takt.run("validate", config).refused(2, "tasks.defects", "84", "8400", "2 classes")


def test_a_torchvision_shaped_export_works(takt, tmp_path):
    """Boxes, labels and scores whose number depends on the image; label 1 is the first class."""
    (tmp_path / "in").mkdir()
    two = np.zeros((64, 64), np.uint8)
    for row, column in ((2, 3), (6, 1)):
        two, _ = pictures.with_defect(two, row, column)
    Image.fromarray(two).save(tmp_path / "in" / "two.png")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "in" / "none.png")
    task = TASK.format(color="gray", name="boxes_labels_scores", classes="[scratch, dent]",
                       score=0.5, more=", layout: torchvision")
    records = serve(takt, tmp_path, tiny_models.boxes_labels_scores(), task)
    assert (records["none"]["verdict"], records["none"]["detections"]) == ("pass", [])
    found = {(d["class"], tuple(d["box"])) for d in records["two"]["detections"]}
    assert found == {("scratch", tuple(pictures.box_of(2, 3))),
                     ("scratch", tuple(pictures.box_of(6, 1)))}
    assert records["two"]["verdict"] == "reject"


@pytest.mark.long
def test_a_torchvision_faster_rcnn_works(takt, tmp_path):
    """The real export: weights are random, so torchvision's own answer is the reference."""
    torch = pytest.importorskip("torch", reason="the Faster R-CNN proof needs torch")
    torchvision = pytest.importorskip("torchvision", reason="it needs torchvision")
    torch.manual_seed(0)
    side = 320
    network = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=3, box_score_thresh=0.0,
        box_detections_per_img=20, min_size=side, max_size=side).eval()

    class Export(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network  # a part of the module, so that its weights are exported

        def forward(self, image):
            found = self.network([image[0]])[0]
            return found["boxes"], found["labels"], found["scores"]

    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in" / "a.png")
    image = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]
    file = tmp_path / "faster_rcnn.onnx"
    torch.onnx.export(Export().eval(), (image,), file, opset_version=17, input_names=["image"],
                      output_names=["boxes", "labels", "scores"], dynamo=False,
                      dynamic_axes={"boxes": {0: "M"}, "labels": {0: "M"}, "scores": {0: "M"}})
    task = TASK.format(color="rgb", name="boxes_labels_scores", classes="[scratch, dent]",
                       score=0, more=", layout: torchvision")
    [record] = serve(takt, tmp_path, file.read_bytes(), task, "rgb8").values()
    with torch.no_grad():
        boxes, labels, scores = Export()(image)
    best = int(scores.argmax())
    names = {1: "scratch", 2: "dent"}
    assert abs(len(record["detections"]) - len(scores)) <= 1
    assert any(d["class"] == names[int(labels[best])] and
               np.allclose(d["box"], boxes[best].numpy(), atol=1.0) and
               abs(d["score"] - float(scores[best])) < 0.01 for d in record["detections"])
