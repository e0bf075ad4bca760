"""Inlines the autoseg code that a module uses, so that the file runs without autoseg."""

from __future__ import annotations

import ast
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def inlined(path: Path) -> str:
    """The source of a file with each `from autoseg.… import` replaced by the definitions.

    Raises RuntimeError where two modules have different definitions of one name.
    """
    lines, body = _read(path)
    ours = [n for n in body if isinstance(n, ast.ImportFrom) and _is_ours(n)]
    whole = _Inlined()
    for node in ours:
        for alias in node.names:
            whole.add(_file_of(node), alias.name)
    # Also what the file imports inside a block.
    nodes = [n for statement in body for n in ast.walk(statement)]
    here = {b for n in nodes if isinstance(n, ast.Import | ast.ImportFrom) for b in _bound(n)}
    imports = sorted(line for name, line in whole.imports.items() if name not in here)
    before, after = lines[: ours[0].lineno - 1], lines[ours[-1].end_lineno :]
    code = "\n\n\n".join(whole.sources)
    return "".join([*before, *(f"{line}\n" for line in imports), "\n\n", code, "\n\n", *after])


@dataclass
class _Inlined:
    """The collected import lines, and definitions by name in dependency order."""

    imports: dict[str, str] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)

    def add(self, path: Path, name: str) -> None:
        """Add a name of a file after the names that its definition uses."""
        lines, body = _read(path)
        for place, node in enumerate(body):
            if name not in _bound(node):
                continue
            if isinstance(node, ast.ImportFrom) and _is_ours(node):
                self.add(_file_of(node), name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                alone = copy(node)
                alone.names = [a for a in node.names if name in (a.asname, a.name)]
                self.imports[name] = ast.unparse(alone)
            else:
                # With the comments above it.
                before = body[place - 1].end_lineno or 0
                self._define(path, name, node, "".join(lines[before : node.end_lineno]).strip())

    def _define(self, path: Path, name: str, node: ast.stmt, source: str) -> None:
        if self.named.get(name, source) != source:
            raise RuntimeError(f"two definitions of {name} cannot be inlined into one file")
        known = source in self.named.values()
        self.named[name] = source
        if not known:
            # Annotations included.
            for used in dict.fromkeys(n.id for n in ast.walk(node) if isinstance(n, ast.Name)):
                self.add(path, used)
            self.sources.append(source)


@lru_cache
def _read(path: Path) -> tuple[list[str], list[ast.stmt]]:
    """The lines and the statements of a file."""
    text = path.read_text(encoding="utf-8")
    return text.splitlines(keepends=True), ast.parse(text).body


def _bound(node: ast.AST) -> list[str]:
    """The names that an import, a definition or an assignment binds."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]


def _is_ours(node: ast.ImportFrom) -> bool:
    return str(node.module).startswith("autoseg.")


def _file_of(node: ast.ImportFrom) -> Path:
    return _PACKAGE.joinpath(*str(node.module).split(".")[1:]).with_suffix(".py")
