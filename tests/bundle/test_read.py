"""A bundle from anywhere is read with suspicion: every change is named, and nothing leads out."""

import hashlib
import json
import os
import re
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


def test_open_bundle_reads_what_was_written(folder):
    found = opened(folder)
    assert found.measurement == of_file(measured(), folder / "model.onnx").measurement
    assert found.scores == {"val": measured().score("val"), "test": measured().score("test")}
    assert found.classes == ("background", "parcel") and found.colours[0] is None
    assert found.manifest.knobs == {"resolution": "96x128"} and found.files == 7
    assert not found.model.exists()  # its copy lives as long as it is open


@pytest.mark.parametrize("name", ["model.onnx", "card.md", "predict.py", "score.json"])
def test_open_bundle_names_a_changed_file(folder, name):
    with (folder / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(InputError, match=re.escape(name)):
        opened(folder)


def test_open_bundle_names_a_pointer_of_git_lfs(folder):
    (folder / "model.onnx").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d\n"
    )
    with pytest.raises(InputError, match=r"model\.onnx is a pointer of Git LFS.*git lfs pull"):
        opened(folder)


def test_open_bundle_reports_all_faults_at_once(folder):
    (folder / "card.md").unlink()
    (folder / "predict.py").write_text("import os")
    with pytest.raises(InputError, match=r"card\.md .*predict\.py"):
        opened(folder)


def test_open_bundle_refuses_a_link(folder, tmp_path):
    secret = tmp_path / "secret"
    (folder / "card.md").rename(secret)
    (folder / "card.md").symlink_to(secret)
    with pytest.raises(InputError, match=r"card\.md .*link"):
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
def test_open_bundle_refuses_checksums_of_other_paths(folder, case):
    with (folder / "SHA256SUMS").open("a") as file:
        file.write(SUMS[case])
    with pytest.raises(InputError, match="SHA256SUMS .*checksum") as told:
        opened(folder)
    assert "\x1b" not in str(told.value)


def test_open_bundle_passes_errors_of_its_body_through(folder):
    with pytest.raises(OSError, match="the disk is full"), open_bundle(folder) as found:
        model = found.model
        raise OSError("the disk is full")
    assert not model.exists()


def test_open_bundle_refuses_a_folder_that_is_no_bundle(folder, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        opened(tmp_path / "nowhere")
    with pytest.raises(InputError, match="SHA256SUMS"):
        opened(tmp_path)
    lines = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    (folder / "SHA256SUMS").write_text(
        "".join(line for line in lines if "bundle.json" not in line)
    )
    with pytest.raises(InputError, match=r"bundle\.json"):
        opened(folder)


def test_open_bundle_lists_other_files_without_reading_them(folder):
    (folder / "mask.png").touch()
    os.mkfifo(folder / "a\x1bpipe")
    assert opened(folder).strays == ("a\\x1bpipe", "mask.png")


def test_open_bundle_refuses_a_file_that_is_too_large(folder, monkeypatch):
    monkeypatch.setitem(read.MAX_BYTES, ".onnx", 1000)
    with (folder / "model.onnx").open("ab") as file:
        file.truncate(1001)
    with pytest.raises(InputError, match=r"model\.onnx .*larger"):
        opened(folder)


NONSENSE = {
    "a deep nest": ("score.json", "[" * 100_000, "JSON"),
    "no JSON": ("classes.json", "hello", "JSON"),
    "not a number": ("measurement.json", '{"p50_ms": NaN}', "NaN"),
    "infinity": ("measurement.json", '{"p50_ms": 1e999}', "too large"),
    "a long number": ("measurement.json", f'{{"runs": {"9" * 5000}}}', "JSON"),
    "a list": ("bundle.json", "[]", "version"),
    "fields that lack": ("measurement.json", "{}", "measurement.json: .*required"),
    "no score": ("score.json", '{"val": null, "test": null}', "val"),
    "no bytes of text": ("bundle.json", "\udcff", "JSON"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_open_bundle_refuses_invalid_json(folder, case):
    name, text, words = NONSENSE[case]
    (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    resign(folder, name)
    with pytest.raises(InputError, match=words):
        opened(folder)


FORGED = {
    "another schema": ("bundle.json", {"schema": 99}, r"99\b.*\b1\b"),
    "another model": ("bundle.json", {"onnx_digest": "0" * 64}, r"model\.onnx"),
    "a ceiling below zero": (
        "bundle.json",
        {"constraints": {"max_latency_ms": -1, "min_iou": 0.9, "statistic": "p90"}},
        "ceiling",
    ),
    "another statistic": (
        "bundle.json",
        {"constraints": {"max_latency_ms": 1, "min_iou": 0.9, "statistic": "p42"}},
        "constraints.statistic",
    ),
    "a latency of zero": ("measurement.json", {"p50_ms": 0}, "latenc"),
    "a p90 of zero": ("measurement.json", {"p90_ms": 0.0}, "latenc"),
    "a p99 below zero": ("measurement.json", {"p99_ms": -1}, "latenc"),
    "a mean that is none": ("measurement.json", {"mean_ms": "nan"}, "latenc"),
    "a ceiling without end": (
        "bundle.json",
        {"constraints": {"max_latency_ms": "inf", "min_iou": 0.9, "statistic": "p90"}},
        "ceiling",
    ),
    "an interval upside down": ("measurement.json", {"p90_ci_ms": [2, 1]}, "interval"),
    "an interval without end": ("measurement.json", {"p50_ci_ms": [1, "inf"]}, "interval"),
    "too many classes": ("classes.json", {"classes": ["x"] * 256}, "2 to 255 classes"),
    "no colour": ("classes.json", {"colours": [None, [0, 0, 999]]}, "2 to 255 classes"),
    "a name that is no text": ("classes.json", {"classes": ["a", 1]}, "classes.1"),
}


@pytest.mark.parametrize("case", FORGED)
def test_open_bundle_refuses_implausible_facts(folder, case):
    name, changed, words = FORGED[case]
    forge(folder, name, **changed)
    with pytest.raises(InputError, match=words):
        opened(folder)


# ---- The model


def test_require_shipped_gives_the_frame_of_a_shipped_graph(folder):
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
    outside: "other files",
    outside_in_a_constant: "other files",
    foreign: "com.evil",
    nested: "graphs",
    huge: "million pixels",
    floats: "uint8",
    open_ended: "uint8",
}


@pytest.mark.parametrize("change", MODELS, ids=lambda change: change.__name__)
def test_require_shipped_refuses_foreign_models_before_loading(folder, change):
    model = onnx.load(folder / "model.onnx")
    change(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=f"model.onnx .*{MODELS[change]}"):
        require_shipped(folder / "model.onnx")


def test_require_shipped_refuses_a_file_that_is_no_onnx(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\x00hello" * 100)
    with pytest.raises(InputError, match="m.onnx"):
        require_shipped(tmp_path / "m.onnx")
