#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns trained weights into an ONNX file, and a release into an entry of the model repository.

    python models/export.py detector --weights weights.pt --onnx model.onnx [--batch 1]
    python models/export.py detector --weights weights.pt --onnx model.onnx --like other.onnx
    python models/export.py detector --weights weights.pt --repository models/repository

Models: detector, detector-single, classifier, matcher. The batch is dynamic
unless --batch fixes it. With --repository the entry's version 1 gets the file
and its parity reference: synthetic inputs and what onnxruntime's CPU provider
answers in float32.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pcb.export import export_network, load_network, replace_weights
from pcb.reference import write_reference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=["detector", "detector-single", "classifier", "matcher"])
    parser.add_argument("--weights", type=Path, required=True, help="weights.pt of train.py")
    parser.add_argument("--onnx", type=Path, help="write this file only")
    parser.add_argument("--repository", type=Path, help="write NAME/1 of this model repository")
    parser.add_argument("--batch", type=int, help="a fixed batch instead of a dynamic one")
    parser.add_argument("--like", type=Path, help="take the graph from this exported file (quick)")
    options = parser.parse_args()
    if (options.onnx is None) == (options.repository is None):
        parser.error("name either --onnx or --repository")
    model = f"pcb-{options.model}"
    if options.like is not None:
        if options.onnx is None or options.batch is not None:
            parser.error("--like goes with --onnx and the batch of the file named")
        replace_weights(options.like, model, options.weights, options.onnx)
        return
    network = load_network(model, options.weights)
    if options.onnx is not None:
        export_network(model, network, options.onnx, options.batch)
        return
    version = options.repository / model / "1"
    export_network(model, network, version / "model.onnx", options.batch)
    write_reference(model, version)


if __name__ == "__main__":
    main()
