"""A bundle is whole, checks itself, and predicts with onnxruntime, numpy and Pillow alone."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from autoseg.data.resize import resize_back, resize_frame
from autoseg.records import (
    Candidate,
    Constraints,
    Cost,
    Evaluation,
    InputError,
    Measurement,
    Score,
    from_json,
)
from autoseg.report.bundle import predict_source, write_bundle

FILES = [
    "SHA256SUMS", "bundle.json", "card.md", "classes.json", "measurement.json", "model.onnx",
    "predict.py", "score.json",
]  # fmt: skip
HW = (96, 128)


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
    measurement = Measurement(
        "pi4", "confirm", "onnxruntime 1.16", 1, "CPU", 2000, 10, 1.0, 1.1, 0.1, 1.05, (1.0, 1.1),
        1.2, (1.1, 1.3), None, None, 5.0, 2**20 * 50, "d", "2026-01-01T00:00:00Z",
    )  # fmt: skip
    scores = tuple(
        Score(split, "onnx", iou, (iou - 0.01, iou + 0.01), (0.99, iou), 0.99, 9, 1.0, 0)
        for split, iou in (("val", 0.96), ("test", 0.955))
    )
    return Evaluation(
        Candidate.of("toy", {"resolution": "96x128"}), "confirmed", Cost(1234567, 2, 3), 4000,
        (measurement,), scores, 0.97,
    )  # fmt: skip


def bundle(folder: Path, channels: int = 3) -> Path:
    model = bright_pixels(folder / "any.onnx", channels)
    return write_bundle(
        folder / "bundles" / "1-abc", onnx=model, evaluation=measured(),
        classes=["background", "parcel"], constraints=Constraints(33, 0.95),
    )  # fmt: skip


def picture(path: Path, **save) -> np.ndarray:
    """A smooth random picture of an odd size, as it reads after compression."""
    noise = np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)
    Image.fromarray(noise).resize((211, 157), Image.Resampling.BICUBIC).save(path, **save)
    return np.asarray(Image.open(path).convert("RGB"))


def run_predict(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # -I: no PYTHONPATH and no working directory, so that nothing of autoseg's checkout helps.
    command = [sys.executable, "-I", str(folder / "predict.py"), *arguments]
    return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_predict_agrees_with_the_one_resize_to_the_pixel(tmp_path, channels):
    folder = bundle(tmp_path, channels)
    image = picture(tmp_path / "p.jpg")
    done = run_predict(folder, str(tmp_path / "p.jpg"), "-o", str(tmp_path / "mask.png"))
    assert done.returncode == 0, done.stderr
    frame = resize_frame(image, HW, channels)
    expected = resize_back((frame.mean(axis=2) > 127).astype(np.uint8), image.shape[:2])
    assert 0.1 < expected.mean() < 0.9
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "mask.png")), expected)


def test_a_turned_picture_gets_an_upright_mask_in_a_folder(tmp_path):
    folder = bundle(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "straight.png")
    picture(tmp_path / "turned.png", exif=exif)
    names = [str(tmp_path / f"{name}.png") for name in ("straight", "turned")]
    done = run_predict(folder, *names, "-o", str(tmp_path / "masks"))
    assert done.returncode == 0, done.stderr
    straight, turned = (
        Image.open(tmp_path / "masks" / f"{n}.png") for n in ("straight", "turned")
    )
    assert (straight.size, turned.size) == ((211, 157), (157, 211))


def test_predict_needs_no_autoseg():
    assert "import autoseg" not in predict_source()
    assert "from autoseg" not in predict_source()


def test_the_bundle_is_whole_and_its_files_read_back(tmp_path):
    folder = bundle(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["1-abc"]
    measurement = json.loads((folder / "measurement.json").read_text())
    assert from_json(Measurement, measurement) == measured().measurement
    scores = json.loads((folder / "score.json").read_text())
    assert from_json(Score, scores["test"]) == measured().score("test")
    assert json.loads((folder / "classes.json").read_text())["classes"] == ["background", "parcel"]
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(check, cwd=folder, capture_output=True).returncode == 0


def test_the_card_says_what_was_asked_and_what_holds(tmp_path):
    card = (bundle(tmp_path) / "card.md").read_text()
    for line in (
        "| latency p90 | 1.2 ms (ceiling 33 ms) | 1.1 to 1.3 ms |",
        "| IoU on val | 0.9600 (floor 0.95) | 0.9500 to 0.9700 |",
        "| IoU on test | 0.9550 | 0.9450 to 0.9650 |",
        "| parameters | 1,234,567 |",
    ):
        assert line in card.splitlines()


def test_a_bundle_that_was_there_is_replaced(tmp_path):
    folder = bundle(tmp_path)
    (folder / "stray").touch()
    assert sorted(path.name for path in bundle(tmp_path).iterdir()) == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["1-abc"]


def test_a_bundle_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(OSError):
        write_bundle(
            tmp_path / "bundles" / "1-abc", onnx=tmp_path / "gone.onnx", evaluation=measured(),
            classes=["a", "b"], constraints=Constraints(33, 0.95),
        )  # fmt: skip
    assert not list((tmp_path / "bundles").iterdir())


def test_an_unscored_model_cannot_be_bundled(tmp_path):
    bare = Evaluation(measured().candidate, "measured", measurements=measured().measurements)
    with pytest.raises(InputError, match="measured and scored"):
        write_bundle(
            tmp_path / "b", onnx=tmp_path / "m.onnx", evaluation=bare, classes=["a"],
            constraints=Constraints(33, 0.95),
        )  # fmt: skip
