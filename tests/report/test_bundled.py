"""A bundle from anywhere is read with suspicion: every change is named, and nothing leads out."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import onnx
import pytest
from bundles import HW, bundle, measured, of_file
from onnx import TensorProto, helper

from autoseg.bundle import read
from autoseg.bundle.read import open_bundle
from autoseg.core.errors import InputError
from autoseg.export.contract import require_shipped


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """A bundle of one's own, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "bundle"))


def opened(folder: Path):
    with open_bundle(folder) as found:
        return found


def resign(folder: Path, *names: str) -> None:
    """Make SHA256SUMS fit what is there, as whoever forges a bundle does."""
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    named = {line[66:]: line[:64] for line in lines}
    for name in names:
        named[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    text = "".join(f"{digest}  {name}\n" for name, digest in named.items())
    (folder / "SHA256SUMS").write_text(text)


def forge(folder: Path, name: str, **changed) -> None:
    facts = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**facts, **changed}))
    resign(folder, name)


def test_what_was_written_is_what_is_read(folder):
    found = opened(folder)
    assert found.measurement == of_file(measured(), folder / "model.onnx").measurement
    assert found.scores == {"val": measured().score("val"), "test": measured().score("test")}
    assert found.classes == ("background", "parcel") and found.colours[0] is None
    assert found.manifest.knobs == {"resolution": "96x128"} and found.files == 7
    assert not found.model.exists()  # its copy lives as long as it is open


@pytest.mark.parametrize("name", ["model.onnx", "card.md", "predict.py", "score.json"])
def test_a_changed_file_is_named(folder, name):
    with (folder / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(InputError, match=f"{name} is not as it was written"):
        opened(folder)


def test_all_faults_are_told_at_once(folder):
    (folder / "card.md").unlink()
    (folder / "predict.py").write_text("import os")
    with pytest.raises(InputError, match="card.md is missing; predict.py is not as it was"):
        opened(folder)


def test_a_link_is_no_file_of_a_bundle(folder, tmp_path):
    secret = tmp_path / "secret"
    (folder / "card.md").rename(secret)
    (folder / "card.md").symlink_to(secret)
    with pytest.raises(InputError, match="card.md is a link"):
        opened(folder)


SUMS = {
    "a path up": f"{'0' * 64}  ../../etc/passwd\n",
    "an absolute path": f"{'0' * 64}  /etc/passwd\n",
    "a folder": f"{'0' * 64}  ..\n",
    "a path below": f"{'0' * 64}  a/b\n",
    "no digest": "hello\n",
    "another digest": f"{'0' * 32}  card.md\n",
    "a control character": f"{'0' * 64}  \x1b[31m\n",
    "a name twice": f"{'0' * 64}  card.md\n",
}


@pytest.mark.parametrize("case", SUMS)
def test_a_line_of_checksums_that_leads_elsewhere_is_refused(folder, case):
    with (folder / "SHA256SUMS").open("a") as file:
        file.write(SUMS[case])
    with pytest.raises(InputError, match="no checksum of a file beside it") as told:
        opened(folder)
    assert "\x1b" not in str(told.value)


def test_what_fails_while_a_bundle_is_open_is_not_its_fault(folder):
    with pytest.raises(OSError, match="the disk is full"), open_bundle(folder) as found:
        model = found.model
        raise OSError("the disk is full")
    assert not model.exists()


def test_what_is_no_bundle_is_told(folder, tmp_path):
    with pytest.raises(InputError, match="there is no bundle at"):
        opened(tmp_path / "nowhere")
    with pytest.raises(InputError, match="it has no file SHA256SUMS"):
        opened(tmp_path)
    lines = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    (folder / "SHA256SUMS").write_text(
        "".join(line for line in lines if "bundle.json" not in line)
    )
    with pytest.raises(InputError, match="names no bundle.json: it is no bundle of this version"):
        opened(folder)


def test_files_beside_the_bundle_are_told_and_not_read(folder):
    (folder / "mask.png").touch()
    os.mkfifo(folder / "a\x1bpipe")
    assert opened(folder).strays == ("a\\x1bpipe", "mask.png")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(folder, monkeypatch):
    monkeypatch.setitem(read.MAX_BYTES, ".onnx", 1000)
    with (folder / "model.onnx").open("ab") as file:
        file.truncate(1001)
    with pytest.raises(InputError, match="model.onnx is larger than"):
        opened(folder)


NONSENSE = {
    "a deep nest": ("score.json", "[" * 100_000, "no JSON of a bundle"),
    "no JSON": ("classes.json", "hello", "no JSON of a bundle"),
    "not a number": ("measurement.json", '{"p50_ms": NaN}', "NaN is no number"),
    "infinity": ("measurement.json", '{"p50_ms": 1e999}', "a number is too large"),
    "a long number": ("measurement.json", f'{{"runs": {"9" * 5000}}}', "no JSON of a bundle"),
    "a list": ("bundle.json", "[]", "no bundle of this version"),
    "fields that lack": ("measurement.json", "{}", "measurement.json: .*Field required"),
    "no score": ("score.json", '{"val": null, "test": null}', "there is no score on val"),
    "no bytes of text": ("bundle.json", "\udcff", "no JSON of a bundle"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_facts_that_are_none_are_refused(folder, case):
    name, text, words = NONSENSE[case]
    (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    resign(folder, name)
    with pytest.raises(InputError, match=words):
        opened(folder)


FORGED = {
    "another schema": ("bundle.json", {"schema": 99}, "schema 99; this autoseg reads 1"),
    "another model": ("bundle.json", {"onnx_digest": "0" * 64}, "speaks of another model.onnx"),
    "a ceiling below zero": (
        "bundle.json",
        {"constraints": {"max_latency_ms": -1, "min_iou": 0.9, "statistic": "p90"}},
        "a ceiling is over zero",
    ),
    "another statistic": (
        "bundle.json",
        {"constraints": {"max_latency_ms": 1, "min_iou": 0.9, "statistic": "p42"}},
        "constraints.statistic",
    ),
    "a latency of zero": ("measurement.json", {"p50_ms": 0}, "latencies and runs are over zero"),
    "a p90 of zero": ("measurement.json", {"p90_ms": 0.0}, "latencies and runs are over zero"),
    "a p99 below zero": ("measurement.json", {"p99_ms": -1}, "latencies and runs are over zero"),
    "a mean that is none": ("measurement.json", {"mean_ms": "nan"}, "latencies and runs are over"),
    "a ceiling without end": (
        "bundle.json",
        {"constraints": {"max_latency_ms": "inf", "min_iou": 0.9, "statistic": "p90"}},
        "a ceiling is over zero",
    ),
    "an interval upside down": ("measurement.json", {"p90_ci_ms": [2, 1]}, "an interval goes"),
    "an interval without end": ("measurement.json", {"p50_ci_ms": [1, "inf"]}, "an interval goes"),
    "too many classes": ("classes.json", {"classes": ["x"] * 256}, "2 to 255 classes"),
    "no colour": ("classes.json", {"colours": [None, [0, 0, 999]]}, "2 to 255 classes"),
    "a name that is no text": ("classes.json", {"classes": ["a", 1]}, "classes.1"),
}


@pytest.mark.parametrize("case", FORGED)
def test_facts_that_make_no_sense_are_refused(folder, case):
    name, changed, words = FORGED[case]
    forge(folder, name, **changed)
    with pytest.raises(InputError, match=words):
        opened(folder)


# ---- The model


def test_a_shipped_graph_tells_its_frame(folder):
    assert require_shipped(folder / "model.onnx") == (*HW, 3)


def outside(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("int64_data")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def outside_in_a_constant(model):
    tensor = helper.make_tensor("c", TensorProto.FLOAT, [1], [1.0])
    tensor.data_location = TensorProto.EXTERNAL
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def foreign(model):
    model.graph.node.append(helper.make_node("Load", [], ["x"], domain="com.evil"))


def nested(model):
    body = helper.make_graph([], "body", [], [])
    loop = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    model.graph.node.append(loop)


def huge(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1 << 30


def floats(model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def open_ended(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].Clear()


MODELS = {
    outside: "read from other files",
    outside_in_a_constant: "read from other files",
    foreign: "operators that are not of ONNX .com.evil",
    nested: "graphs inside of graphs",
    huge: "million pixels",
    floats: "not a uint8 frame",
    open_ended: "not a uint8 frame",
}


@pytest.mark.parametrize("change", MODELS, ids=lambda change: change.__name__)
def test_a_model_as_autoseg_ships_none_is_refused_before_it_is_loaded(folder, change):
    model = onnx.load(folder / "model.onnx")
    change(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=f"model.onnx is no model as .*{MODELS[change]}"):
        require_shipped(folder / "model.onnx")


def test_what_is_no_onnx_is_told(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\x00hello" * 100)
    with pytest.raises(InputError, match="m.onnx is no"):
        require_shipped(tmp_path / "m.onnx")
