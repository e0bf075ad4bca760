"""Find YAML files by name or path, read them, and report all their faults at once, with lines.

yaml and pydantic are imported in the functions that use them: listing names must be fast.
"""

from __future__ import annotations

import difflib
import math
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from autoseg.core.errors import InputError
from autoseg.core.files import read_bounded
from autoseg.core.text import one_line

if TYPE_CHECKING:
    import yaml
    from pydantic import BaseModel

Kind = Literal["search_spaces", "devices"]
Loc = tuple[str | int, ...]
Fault = tuple[Loc, str]
Model = TypeVar("Model", bound="BaseModel")

_NOUNS: dict[Kind, str] = {"search_spaces": "search space", "devices": "device"}
MAX_FAULTS = 30  # of one file, in a message
_SUFFIXES = (".yaml", ".yml")
MAX_VALUES = 100_000
MAX_BYTES = 2**18  # files that people write are far smaller, and parsing one takes seconds


@dataclass(frozen=True)
class Document:
    """A YAML file as plain data, with the lines of its values."""

    path: Path
    data: Any
    root: yaml.Node | None

    def line(self, loc: Loc) -> int:
        """The 1-based line of a value; of its nearest written parent if it is not written."""
        return self._walk(loc)[0]

    def written(self, loc: Loc) -> Loc:
        """The parts of `loc` that are in the file: pydantic adds parts of its own for unions."""
        return self._walk(loc)[1]

    def _walk(self, loc: Loc) -> tuple[int, Loc]:
        node, line, written = self.root, 1, []
        for part in loc:
            found = _child(node, part)
            if found is not None:
                line, node = found
                written.append(part)
        return line, tuple(written)


def names(kind: Kind) -> list[str]:
    """The shipped names of a kind, sorted."""
    return sorted(path.stem for path in _folder(kind).glob("*.yaml"))


def find(kind: Kind, name_or_path: str | Path) -> Path:
    """The file of a shipped name (`fast_scnn`) or of a path (`my/space.yaml`).

    Raises InputError for other names, listing the known ones.
    """
    text = str(name_or_path)
    path = Path(text).expanduser()
    if isinstance(name_or_path, Path) or len(path.parts) > 1 or path.suffix in _SUFFIXES:
        if path.is_file():
            return path
        raise InputError(
            f"no {_NOUNS[kind]} file at {text!r}; give a YAML file or a name: {_known(kind)}"
        )
    if text in names(kind):
        return _folder(kind) / f"{text}.yaml"
    hint = did_you_mean(text, names(kind))
    raise InputError(
        f"unknown {_NOUNS[kind]} {text!r}{hint}; known: {_known(kind)}, or a YAML file"
    )


def read(path: Path) -> Document:
    """A YAML file as plain data with lines.

    Raises InputError for a file that cannot be read, is not YAML, or repeats a key.
    """
    document, repeated = _parse(path)
    if repeated:
        raise _report(document, repeated)
    return document


def load(
    path: Path, model: type[Model], rules: Callable[[Any], Iterable[Fault]] = lambda data: ()
) -> Model:
    """A YAML file checked against a pydantic model, and its data against further rules.

    Raises InputError with every fault, one a line: `file:line: field: rule, got value; fix`.
    """
    from pydantic import ValidationError

    document, found = _parse(path)
    found += rules(document.data)
    try:
        checked = model.model_validate(document.data)
    except ValidationError as error:
        raise _report(document, [*found, *_translate(document, model, error)]) from error
    if found:
        raise _report(document, found)
    return checked


def faults(path: Path, found: Iterable[Fault]) -> InputError:
    """The error that reports faults found after parsing, each with its file and line."""
    return _report(_parse(path)[0], found)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` if a known name is close, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""


def _folder(kind: Kind) -> Path:
    package = Path(__file__).parents[1]
    # A wheel has its own copy; there, a folder beside the package is not of autoseg.
    installed = package / "_shipped" / kind
    return installed if installed.is_dir() else package.parent / kind


def _known(kind: Kind) -> str:
    return ", ".join(names(kind)) or "none is shipped"


def _parse(path: Path) -> tuple[Document, list[Fault]]:
    import yaml

    try:
        text = read_bounded(path, MAX_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: must be a readable UTF-8 text file: {error}") from error
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if _values(root, {}) > MAX_VALUES:
            raise InputError(f"{path}: must have up to {MAX_VALUES:,} values, aliases written out")
        data = loader.construct_document(root) if root is not None else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{path}:{mark.line + 1}" if mark else f"{path}"
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise InputError(f"{at}: must be valid YAML: {problem}") from error
    return Document(path, data, root), _repeated(root, (), set())


def _values(node: yaml.Node | None, known: dict[int, float]) -> float:
    """The number of values below a node with all aliases written out, which a few lines of them
    make billions; infinite where one holds itself.
    """
    import yaml

    if id(node) not in known:
        known[id(node)] = math.inf  # while those below are counted
        below: list[Any] = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            below = [one for pair in below for one in pair]
        known[id(node)] = 1 + sum(_values(one, known) for one in below)
    return known[id(node)]


def _repeated(node: yaml.Node | None, loc: Loc, seen: set[int]) -> list[Fault]:
    import yaml

    if node is None or id(node) in seen:
        return []
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        inner = [_repeated(item, (*loc, index), seen) for index, item in enumerate(node.value)]
        return [fault for faults_ in inner for fault in faults_]
    found: list[Fault] = []
    if isinstance(node, yaml.MappingNode):
        first: dict[Loc, int] = {}
        for key, value in node.value:
            here: Loc = (*loc, str(key.value))
            if here in first:
                rule = f"a key may stand once, it is already on line {first[here]}; remove one"
                found.append((here, rule))
            first.setdefault(here, key.start_mark.line + 1)
            found += _repeated(value, here, seen)
    return found


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    import yaml

    if isinstance(node, yaml.MappingNode):
        # Of repeated keys the last one has the value that counts: faults name its line.
        for key, value in reversed(node.value):
            if key.value == str(part):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line + 1, node.value[part]
    return None


def _translate(document: Document, model: type[BaseModel], error: Any) -> list[Fault]:
    rules: dict[Loc, list[str]] = {}
    for fault in error.errors(include_url=False):
        loc = document.written(fault["loc"])
        if fault["type"] == "missing":
            loc = (*loc, fault["loc"][-1])
        rule = _rule(fault, _fields(model, loc[:-1]))
        found = rules.setdefault(loc, [])
        if rule not in found:
            found.append(rule)
    return [(loc, " or ".join(found)) for loc, found in rules.items()]


def _rule(fault: Mapping[str, Any], known: Sequence[str]) -> str:
    match fault["type"]:
        case "missing":
            return "is required; add it"
        case "extra_forbidden":
            hint = did_you_mean(str(fault["loc"][-1]), known)
            return f"unknown field{hint}; known: {', '.join(known)}"
        case "value_error" | "assertion_error":
            return str(fault["ctx"]["error"])
        case "model_type" | "dict_type":
            rule = "must be a mapping (`name: value` lines)"
        case _:
            rule = fault["msg"].replace("Input should", "must", 1)
    shown = repr(fault["input"])
    return f"{rule}, got {shown if len(shown) <= 60 else shown[:57] + '...'}"


def _fields(model: Any, loc: Loc) -> list[str]:
    """The fields of a model at a place, as candidates for a misspelled one."""
    for part in loc:
        fields = getattr(model, "model_fields", {})
        inner = typing.get_args(model)  # of a mapping or a list: the last is its values' type
        model = fields[part].annotation if part in fields else inner[-1] if inner else None
    return [*getattr(model, "model_fields", {})]


def _report(document: Document, found: Iterable[Fault]) -> InputError:
    lines = []
    for loc, message in found:
        field = ".".join(map(str, loc))
        lines.append((document.line(loc), f"{field}: {message}" if field else message))
    told = [f"{document.path}:{line}: {one_line(text)}" for line, text in sorted(lines)]
    if len(told) > MAX_FAULTS:
        told[MAX_FAULTS:] = [f"and {len(told) - MAX_FAULTS} more faults"]
    return InputError("\n".join(told))
