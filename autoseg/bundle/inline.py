"""Inlines the autoseg code that a module uses, so that the file runs without autoseg."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class _Module:
    """A Python file with its imports and definitions."""

    path: Path

    @cached_property
    def lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").splitlines(keepends=True)

    @cached_property
    def body(self) -> list[ast.stmt]:
        return ast.parse("".join(self.lines)).body

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]:
        """By name: its module, and a line that imports this name alone."""
        found = {}
        for node in (n for n in self.body if isinstance(n, (ast.Import, ast.ImportFrom))):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            for alias in node.names if module != "__future__" else ():
                one = ast.ImportFrom(module, [alias], 0) if module else ast.Import([alias])
                found[alias.asname or alias.name] = module or alias.name, ast.unparse(one)
        return found

    @cached_property
    def definitions(self) -> dict[str, tuple[int, ast.stmt]]:
        """Its functions, classes and constants by name, with their position in the file."""
        found = {}
        for place, node in enumerate(self.body):
            names = [node.name] if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else []
            if isinstance(node, ast.Assign):
                targets = [n for t in node.targets for n in ast.walk(t)]
                names = [n.id for n in targets if isinstance(n, ast.Name)]
            found.update(dict.fromkeys(names, (place, node)))
        return found

    def source(self, place: int) -> str:
        """The source of a definition, with the comments above it."""
        before = self.body[place - 1].end_lineno or 0
        return "".join(self.lines[before : self.body[place].end_lineno]).strip()


@dataclass
class _Inlined:
    """The collected import lines, and definitions by name in dependency order."""

    imports: dict[str, str] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)

    def add(self, module: _Module, name: str) -> None:
        """Add a name of a module after the names that its definition uses."""
        if name in module.imports:
            home, line = module.imports[name]
            if home.startswith("autoseg."):
                self.add(_module(home), name)
            else:
                self.imports[name] = line
        elif name in module.definitions:
            place, node = module.definitions[name]
            source = module.source(place)
            if self.named.get(name, source) != source:
                raise RuntimeError(f"two definitions of {name} cannot be inlined into one file")
            known = source in self.named.values()
            self.named[name] = source
            if not known:
                for used in _names(node):
                    self.add(module, used)
                self.sources.append(source)


def inlined(path: Path) -> str:
    """The source of a file with each `from autoseg.… import` replaced by the definitions.

    Raises RuntimeError where two modules have different definitions of one name.
    """
    module = _Module(path)
    every = [n for n in module.body if isinstance(n, ast.ImportFrom)]
    ours = [n for n in every if str(n.module).startswith("autoseg.")]
    whole = _Inlined()
    for node in ours:
        for alias in node.names:
            whole.add(_module(str(node.module)), alias.name)
    here = _bound(module.body)
    imports = sorted(line for name, line in whole.imports.items() if name not in here)
    before, after = module.lines[: ours[0].lineno - 1], module.lines[ours[-1].end_lineno :]
    code = "\n\n\n".join(whole.sources)
    return "".join([*before, *(f"{line}\n" for line in imports), "\n\n", code, "\n\n", *after])


def _module(name: str) -> _Module:
    return _Module(_PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py"))


def _names(node: ast.AST) -> Iterator[str]:
    """The names that a definition uses, once each, annotations included."""
    yield from dict.fromkeys(n.id for n in ast.walk(node) if isinstance(n, ast.Name))


def _bound(body: list[ast.stmt]) -> set[str]:
    """All names that a file imports, also inside functions."""
    nodes = [n for node in body for n in ast.walk(node)]
    imports = [n for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom))]
    return {a.asname or a.name for node in imports for a in node.names}
