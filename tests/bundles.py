"""A bundle made by hand: a model without training, and figures that nobody measured."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from factories import make_candidate, make_evaluation, make_measurement, make_score
from onnx import TensorProto, helper
from PIL import Image

from autoseg.bundle.write import BundleContext, write_bundle
from autoseg.core.records import Constraints, Cost, DeviceInfo, Evaluation
from autoseg.core.serialize import file_digest

HW = (96, 128)
ASKED = Constraints(max_latency_ms=33, min_iou=0.95)


def bright_pixels(path: Path, channels: int) -> Path:
    """A model in the shape of the shipped graph: class 1 where the channels' mean is over 127."""
    nodes = [
        helper.make_node("Cast", ["frame"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "half"], ["bright"]),
        helper.make_node("Cast", ["bright"], ["classes"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, *HW, channels])],
        [helper.make_tensor_value_info("classes", TensorProto.UINT8, [1, *HW])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [1], [3]),
            helper.make_tensor("half", TensorProto.FLOAT, [], [127.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


def measured() -> Evaluation:
    measurement = make_measurement(
        1.05, device="pi4", phase="confirm", runtime="onnxruntime 1.16", mean_ms=1.1,
        p50_ci_ms=(1.0, 1.1), p90_ms=1.2, p90_ci_ms=(1.1, 1.3), p95_ms=None, p99_ms=None,
        peak_rss_bytes=2**20 * 50, taken_at="2026-01-01T00:00:00Z",
    )  # fmt: skip
    scores = (
        make_score(iou, 9, split=split, source="onnx", class_iou=(0.99, iou), pixel_accuracy=0.99)
        for split, iou in (("val", 0.96), ("test", 0.955))
    )
    return make_evaluation(
        make_candidate(resolution="96x128"), "confirmed", None, *scores, onnx_bytes=4000,
        cost=Cost(params=1234567, macs=2, activation_bytes=3), measurements=(measurement,),
        p_feasible=0.97,
    )  # fmt: skip


SAID = {
    "data": "/somewhere/else/boxes", "data_digest": "d1", "seed": 3, "split_column": "split",
    "pictures": {"train": 20, "val": 5, "test": 5}, "versions": {"autoseg": "0.1.0"},
}  # fmt: skip
DEVICE = DeviceInfo(
    name="pi4", model="Cortex-A72", runtime="onnxruntime 1.16", threads=1, provider="CPU"
)


def of_file(evaluation: Evaluation, model: Path) -> Evaluation:
    """The evaluation as if this very file had been measured."""
    digest = file_digest(model)
    said = tuple(replace(m, onnx_digest=digest) for m in evaluation.measurements)
    return replace(evaluation, measurements=said)


def bundle(
    folder: Path,
    channels: int = 3,
    classes: tuple[str, ...] = ("background", "parcel"),
    *,
    evaluation: Evaluation | None = None,
    constraints: Constraints = ASKED,
    **context: Any,
) -> Path:
    model = bright_pixels(folder / "any.onnx", channels)
    return write_bundle(
        folder / "bundles" / "1-abc", onnx=model,
        evaluation=of_file(evaluation or measured(), model),
        classes=classes, constraints=constraints,
        context=BundleContext(**{"declaration": SAID, "device": DEVICE, **context}),
    )  # fmt: skip


def picture(path: Path, size: tuple[int, int] = (211, 157), **save) -> np.ndarray:
    """A smooth random picture of an odd size, as it reads after compression."""
    noise = np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path, **save)
    return np.asarray(Image.open(path).convert("RGB"))


def run_predict(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # -I: no PYTHONPATH and no working directory, so that nothing of autoseg's checkout helps.
    command = [sys.executable, "-I", str(folder / "predict.py"), *arguments]
    return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True)
