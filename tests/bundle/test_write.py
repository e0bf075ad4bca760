"""A bundle is whole, says what its run knows, and carries a predict.py of one source with ours."""

import ast
import json
import re
import subprocess

import pytest
from bundles import DEVICE, bright_pixels, bundle, measured, of_file
from PIL import Image

from autoseg.bundle.inline import inlined
from autoseg.bundle.write import predict_source, write_bundle
from autoseg.core.errors import InputError
from autoseg.core.records import Constraints, Evaluation, Measurement, Score
from autoseg.core.serialize import from_json, to_json
from autoseg.data.drawing.overlay import class_colours

FILES = [
    "SHA256SUMS", "bundle.json", "card.md", "classes.json", "measurement.json", "model.onnx",
    "predict.py", "score.json",
]  # fmt: skip


def test_bundle_predict_script_needs_no_autoseg_and_is_python_3_8():
    source = predict_source()
    assert "import autoseg" not in source and "from autoseg" not in source
    ast.parse(source, feature_version=(3, 8))


def test_inlined_refuses_a_name_with_two_definitions(tmp_path):
    (tmp_path / "both.py").write_text(
        "from autoseg.core.records import digest\n"
        "from autoseg.data.inspection import _digest as d\n"
        "from autoseg.data.synthetic.parcels import CLASSES\n"
        "from autoseg.export.graph import CLASSES\n"
    )
    with pytest.raises(RuntimeError, match="CLASSES"):
        inlined(tmp_path / "both.py")


def test_write_bundle_writes_all_files_and_they_read_back(tmp_path):
    folder = bundle(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["1-abc"]
    measurement = json.loads((folder / "measurement.json").read_text())
    assert (
        from_json(Measurement, measurement)
        == of_file(measured(), folder / "model.onnx").measurement
    )
    scores = json.loads((folder / "score.json").read_text())
    assert from_json(Score, scores["test"]) == measured().score("test")
    named = json.loads((folder / "classes.json").read_text())
    assert named["classes"] == ["background", "parcel"]
    assert named["colours"] == [None, list(class_colours(named["classes"])[1])]
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(check, cwd=folder, capture_output=True).returncode == 0


def test_write_bundle_manifest_names_the_run_without_its_path(tmp_path):
    text = (bundle(tmp_path) / "bundle.json").read_text()
    said = json.loads(text)
    assert said["data"] == {
        "name": "boxes", "digest": "d1", "pictures": {"train": 20, "val": 5, "test": 5},
        "licence": None, "reading": {"split_column": "split", "seed": 3}, "grey_range": None,
    }  # fmt: skip
    assert said["device"] == to_json(DEVICE) and said["knobs"] == {"resolution": "96x128"}
    assert "somewhere" not in text and str(tmp_path) not in text


def test_write_bundle_card_marks_unrecorded_facts(tmp_path):
    card = (bundle(tmp_path, declaration={}, device=None) / "card.md").read_text()
    assert all(
        re.search(rf"^\| {name} \| .*recorded", card, re.M) for name in ("data", "processor")
    )


def test_write_bundle_copies_the_contact_sheet(tmp_path):
    sheet = tmp_path / "sheet.jpg"
    Image.new("RGB", (8, 8)).save(sheet)
    folder = bundle(tmp_path, sheet=sheet)
    assert (folder / "examples.jpg").read_bytes() == sheet.read_bytes()
    assert "](examples.jpg)" in (folder / "card.md").read_text()
    assert "examples.jpg" in (folder / "SHA256SUMS").read_text()
    assert (
        "examples" not in (bundle(tmp_path, sheet=tmp_path / "none.jpg") / "card.md").read_text()
    )


def test_write_bundle_replaces_an_older_bundle(tmp_path):
    folder = bundle(tmp_path)
    (folder / "stray").touch()
    assert sorted(path.name for path in bundle(tmp_path).iterdir()) == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["1-abc"]


def test_write_bundle_leaves_nothing_when_it_fails(tmp_path):
    with pytest.raises(OSError):
        write_bundle(
            tmp_path / "bundles" / "1-abc", onnx=tmp_path / "gone.onnx", evaluation=measured(),
            classes=["a", "b"], constraints=Constraints(max_latency_ms=33, min_iou=0.95),
        )  # fmt: skip
    assert not list((tmp_path / "bundles").iterdir())


def test_write_bundle_refuses_a_file_that_was_not_measured(tmp_path):
    model = bright_pixels(tmp_path / "m.onnx", 3)
    with pytest.raises(InputError, match=r"m\.onnx .*--resume"):
        write_bundle(
            tmp_path / "bundles" / "1-abc", onnx=model, evaluation=measured(),
            classes=["a", "b"], constraints=Constraints(max_latency_ms=33, min_iou=0.95),
        )  # fmt: skip
    assert not list((tmp_path / "bundles").iterdir())


def test_write_bundle_refuses_an_unscored_model(tmp_path):
    bare = Evaluation(
        candidate=measured().candidate, state="measured", measurements=measured().measurements
    )
    with pytest.raises(InputError, match="scored.*resolution="):
        write_bundle(
            tmp_path / "b", onnx=tmp_path / "m.onnx", evaluation=bare, classes=["a"],
            constraints=Constraints(max_latency_ms=33, min_iou=0.95),
        )  # fmt: skip
