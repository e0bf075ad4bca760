"""The files of a model: the ONNX file, and those beside it that hold its weights.

A model of more than 2 GB, and any that torch.onnx.export writes, may keep its weights in other
files, which the graph names (https://onnx.ai/onnx/repo-docs/ExternalData.html). The names come
from the file, so they are not trusted: none may lead out of the model's folder.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.core.errors import InputError
from autoseg.core.files import lfs_pointer
from autoseg.core.serialize import file_digest
from autoseg.core.text import bounded

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

MAX_NAMED = 3
MAX_GRAPH_BYTES = 2 << 30  # the limit of protobuf


@dataclass(frozen=True)
class ModelFiles:
    """An ONNX file, and the files of its weights by their names in the graph, sorted."""

    onnx: Path
    weights: Mapping[str, Path] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in (self.onnx, *self.weights.values()))

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the file; with weights, that of the lines "DIGEST NAME" of all files.

        The graph's line is the first and has no name, so that a renamed model is the same.
        """
        own = file_digest(self.onnx)
        if not self.weights:
            return own
        lines = [f"{own} \n", *(f"{file_digest(p)} {name}\n" for name, p in self.weights.items())]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def files_of(path: Path) -> ModelFiles:
    """All files of a model, which are there and lie in its folder.

    A link is followed where it stays in that folder, or where the model is a link to the same
    place, as in the cache of Hugging Face; where the weights lie only beside the file that the
    model is a link to, that file is the model. A file that is no ONNX is left to onnxruntime,
    which reads other formats too. Raises InputError for missing, foreign and shortened files, and
    for pointers of Git LFS.
    """
    path = path.absolute()
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    _require_content(path)
    ends = _weight_ends(path)
    weights = {name: _weight_file(path, name) for name in sorted(ends)}
    if missing := [str(found) for found in weights.values() if not found.is_file()]:
        if path.is_symlink():
            return files_of(path.resolve())
        raise InputError(
            f"{path} keeps weights in other files, and {_listed(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing: copy all files of a model together"
        )
    for name, found in weights.items():
        _require_content(found)
        if (size := found.stat().st_size) < ends[name]:
            raise InputError(
                f"{found} has {size:,} bytes, but {path.name} reads {ends[name]:,} of it: it "
                "belongs to another model, or its copy is not complete"
            )
    return ModelFiles(path, weights)


def _require_content(path: Path) -> None:
    if fault := lfs_pointer(path):
        raise InputError(fault)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(bounded(name) for name in names[:MAX_NAMED]) + more


def _weight_file(model: Path, name: str) -> Path:
    """The place of a file that a model names. Raises InputError where it is another folder."""
    found, folders = model.parent / name, (model.parent.resolve(), model.resolve().parent)
    try:
        real = found.resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle, a zero byte
        real = Path("/")
    # Hidden ones too: a model that lies in the home folder may name a private key.
    leads_out = name.startswith("/") or any(part.startswith(".") for part in name.split("/"))
    if leads_out or not any(real.is_relative_to(folder) for folder in folders):
        raise InputError(
            f"{model} names {bounded(name)!r} for its weights, but weights must be in the model's "
            "own folder, not hidden: export it again with them beside it, if it comes from where "
            "you trust"
        )
    return found


def _weight_ends(path: Path) -> dict[str, int]:
    """The files that hold weights, each with the number of bytes that the model reads of it."""
    import onnx

    if path.stat().st_size > MAX_GRAPH_BYTES:
        return {}
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception:  # protobuf's exceptions differ by version
        return {}
    ends: dict[str, int] = {}
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        facts = {_text(entry.key): _text(entry.value) for entry in tensor.external_data}
        name = posixpath.normpath(facts.get("location", ""))
        end = sum(_count(facts.get(part, "")) for part in ("offset", "length"))
        ends[name] = max(ends.get(name, 0), end)
    return ends


def _text(value: str | bytes) -> str:
    """A string of protobuf, which gives bytes for what is not UTF-8."""
    return value if isinstance(value, str) else value.decode(errors="replace")


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    yield from _tensors_of_graph(model.graph)
    for function in model.functions:
        yield from _tensors_of_nodes(function.node)


def _tensors_of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield attribute.t
        yield from attribute.tensors
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for graph in (attribute.g, *attribute.graphs):
            yield from _tensors_of_graph(graph)
