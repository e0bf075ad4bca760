"""Models whose weights lie in other files: all are found, none outside the model's folder."""

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from autoseg.core.errors import InputError
from autoseg.core.records import MeasurePlan
from autoseg.core.serialize import file_digest
from autoseg.device.local import local_device
from autoseg.device.model_files import files_of

QUICK = MeasurePlan(phase="screen", statistic="p50", ceiling_ms=1000.0, warmup_s=0.01)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
WEIGHTS = np.arange(3 * 4 * 4, dtype=np.float32).tobytes()


def weight(name: str, location: str, **facts: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3, 4, 4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **facts}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def save(folder: Path, *locations: str, **facts: str) -> Path:
    """A model as torch.onnx.export writes it, with a weight in each of some files."""
    folder.mkdir(parents=True, exist_ok=True)
    named = [f"w{number}" for number in range(len(locations))]
    ends = zip(["x", *named[:-1]], named, strict=True)
    nodes = [helper.make_node("Add", [a if a == "x" else f"y{a}", w], [f"y{w}"]) for a, w in ends]
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 4, 4])
        for name in ("x", f"y{named[-1]}")
    ]
    weights = [weight(name, place, **facts) for name, place in zip(named, locations, strict=True)]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], weights)
    opset = [helper.make_opsetid("", 18)]
    (folder / "model.onnx").write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    )
    return folder / "model.onnx"


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    path = save(tmp_path / "export", "model.onnx.data")
    path.with_name("model.onnx.data").write_bytes(WEIGHTS)
    return path


def test_files_of_a_model_alone_is_the_file_with_its_digest(segments: Path) -> None:
    found = files_of(segments)
    assert found.weights == {} and found.digest == file_digest(segments)


def test_files_of_a_model_with_weights_beside_it_are_all_and_so_is_the_digest(
    exported: Path,
) -> None:
    found, beside = files_of(exported), exported.with_name("model.onnx.data")
    assert found.weights == {"model.onnx.data": beside}
    assert found.size_bytes == exported.stat().st_size + len(WEIGHTS)
    lines = f"{file_digest(exported)} \n{file_digest(beside)} model.onnx.data\n"
    assert found.digest == hashlib.sha256(lines.encode()).hexdigest()
    beside.write_bytes(bytes(len(WEIGHTS)))
    assert files_of(exported).digest != found.digest


def test_files_of_finds_weights_in_subfolders_of_nodes_and_of_inner_graphs(tmp_path: Path) -> None:
    path = save(tmp_path, "sub/a", "./sub/../sub/b")
    model = onnx.load(path, load_external_data=False)
    inner = helper.make_graph([], "inner", [], [], [weight("i", "sub/inner")])
    constant = helper.make_node("Constant", [], ["c"], value=weight("c", "sub/constant"))
    model.graph.node.append(constant)
    model.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=inner))
    path.write_bytes(model.SerializeToString())
    (tmp_path / "sub").mkdir()
    for name in ("a", "b", "constant", "inner"):
        (tmp_path / "sub" / name).write_bytes(WEIGHTS)
    assert [*files_of(path).weights] == ["sub/a", "sub/b", "sub/constant", "sub/inner"]


@pytest.mark.parametrize(
    "place",
    ["../../etc/passwd", "/etc/passwd", "a/../../x", "..", "link", "circle", "sub/link", ".key"],
)
def test_files_of_refuses_weights_outside_the_folder(tmp_path: Path, place: str) -> None:
    path = save(tmp_path / "model", place)
    (tmp_path / "x").write_bytes(WEIGHTS)
    (path.parent / ".key").write_bytes(WEIGHTS)
    (path.parent / "sub").mkdir()
    (path.parent / "link").symlink_to("../x")
    (path.parent / "sub/link").symlink_to(tmp_path / "x")
    (path.parent / "circle").symlink_to("circle")
    with pytest.raises(InputError, match=r"weights.*own folder"):
        files_of(path)


def test_files_of_follows_links_as_in_the_cache_of_hugging_face(
    tmp_path: Path, exported: Path
) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    for name in ("model.onnx", "model.onnx.data"):
        exported.with_name(name).rename(tmp_path / "blobs" / f"h{len(name)}")
        (tmp_path / "snapshot" / name).symlink_to(f"../blobs/h{len(name)}")
    device = local_device()
    assert device.measure(tmp_path / "snapshot/model.onnx", QUICK).runs
    device.close()


def test_files_of_a_link_finds_weights_beside_its_target(tmp_path: Path, exported: Path) -> None:
    (tmp_path / "here.onnx").symlink_to(exported)
    assert files_of(tmp_path / "here.onnx") == files_of(exported)


@pytest.mark.parametrize("what", ["missing", "folder", "pointer", "short"])
def test_files_of_names_weights_that_cannot_be_used(exported: Path, what: str) -> None:
    beside = exported.with_name("model.onnx.data")
    beside.unlink()
    told = {"missing": "model.onnx.data is missing", "folder": "is missing"}.get(what, "")
    if what == "folder":
        beside.mkdir()
    elif what == "pointer":
        beside.write_text(POINTER)
        told = r"model\.onnx\.data is a pointer of Git LFS.*git lfs pull"
    elif what == "short":
        save(exported.parent, "model.onnx.data", offset="64", length="192")
        beside.write_bytes(WEIGHTS)
        told = r"model\.onnx\.data has 192 bytes.*reads 256"
    with pytest.raises(InputError, match=told):
        files_of(exported)


def test_files_of_bounds_the_list_of_missing_files(tmp_path: Path) -> None:
    path = save(tmp_path, *[f"w{number:03}" for number in range(40)])
    with pytest.raises(InputError, match=r"w000, .*w002 and 37 more are missing") as caught:
        files_of(path)
    assert len(str(caught.value)) < 1000


def test_measure_reads_the_weights_of_all_files(exported: Path) -> None:
    device = local_device()
    found = device.measure(exported, QUICK)
    device.close()
    assert found.runs and found.onnx_digest == files_of(exported).digest


@pytest.mark.parametrize("command", ["measure", "evaluate", "predict"])
@pytest.mark.parametrize("fault", ["missing", "pointer"])
def test_commands_name_a_missing_file_and_a_pointer_of_git_lfs(
    autoseg_command: Callable[..., Any], exported: Path, command: str, fault: str
) -> None:
    if fault == "missing":
        exported.with_name("model.onnx.data").unlink()
    else:
        exported.write_text(POINTER)
    (exported.parent / "picture.png").touch()
    picture = [str(exported.parent / "picture.png")] if command == "predict" else []
    called = autoseg_command(command, str(exported), *picture)
    told = {"missing": "model.onnx.data is missing", "pointer": "git lfs pull"}[fault]
    assert called.code == 2 and told in called.stderr, called.stderr
    assert len(called.stderr.strip().splitlines()) == 1


def test_files_of_a_damaged_model_raises_input_error_or_nothing(exported: Path) -> None:
    whole, random = exported.read_bytes(), np.random.default_rng(0)
    for number in range(300):
        data = bytearray(whole[: int(random.integers(len(whole)))] if number % 3 == 0 else whole)
        for at in random.integers(0, max(1, len(data)), size=number % 7):
            data[at : at + 1] = random.bytes(1)
        exported.write_bytes(bytes(data))
        with contextlib.suppress(InputError):
            files_of(exported)
