"""Prints the floors, rooms, sizes and imports of autoseg, as docs/architecture.md shows them.

    python scripts/structure.py

tests/test_layers.py requires the floors below. All imports count: those inside functions and
those for types alone.
"""

from __future__ import annotations

import ast
import statistics
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "autoseg"

# From the lowest floor up: a file imports from lower floors, or from its own room.
FLOORS = (
    ("core",),
    ("networks", "data"),
    ("device",),
    ("train", "export"),
    ("compress", "supernets"),
    ("search", "pools"),
    ("run",),
    ("report",),
    ("bundle",),
    ("api",),
    ("cli",),
)
LEVELS = {room: level for level, rooms in enumerate(FLOORS, start=1) for room in rooms}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def place_of(path: Path) -> str:
    """A file's place below autoseg: `report.rows`, and `networks` for the package itself."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def room_of(place: str) -> str:
    return place.partition(".")[0]


@cache
def imports(path: Path) -> tuple[tuple[int, str, bool], ...]:
    """Line, module, and whether it is for types alone, of every import of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = set(_type_only(tree))
    found = []
    for node in ast.walk(tree):
        typed = node in for_types
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, typed) for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            found += [(node.lineno, _module(node, alias.name), typed) for alias in node.names]
    return tuple(found)


def _module(node: ast.ImportFrom, name: str) -> str:
    """The module that `from node.module import name` takes from. Raises ValueError for `.`."""
    if node.level:
        raise ValueError(f"line {node.lineno}: write the import with its absolute name")
    whole = f"{node.module}.{name}"
    below = PACKAGE.parent / whole.replace(".", "/")
    is_module = below.is_dir() or below.with_suffix(".py").exists()
    return whole if is_module else str(node.module)


def _type_only(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from (inner for line in node.body for inner in ast.walk(line))


def inner_imports(path: Path) -> Iterator[tuple[int, str]]:
    """Lines and places below autoseg that a file imports."""
    for line, name, _ in imports(path):
        if name.startswith("autoseg."):
            yield line, name.removeprefix("autoseg.")


def circle() -> dict[str, list[str]]:
    """The files that import each other in a circle, and those that import from one."""
    arrows = {place_of(path): {place for _, place in inner_imports(path)} for path in FILES}
    while free := [place for place, to in arrows.items() if not to & set(arrows)]:
        for place in free:
            del arrows[place]
    return {place: sorted(to & set(arrows)) for place, to in arrows.items()}


def room_arrows() -> Counter[tuple[str, str]]:
    """The number of files of one room that import from another, by pair of rooms."""
    pairs = Counter[tuple[str, str]]()
    for path in FILES:
        here = room_of(place_of(path))
        pairs.update({(here, room_of(place)) for _, place in inner_imports(path)} - {(here, here)})
    return pairs


def function_lines() -> list[int]:
    """The length of every function and method."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in FILES)
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, functions)
    ]


def table_row(room: str, arrows: Counter[tuple[str, str]]) -> str:
    files = [path for path in FILES if room_of(place_of(path)) == room]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    below = [f"{to} ({count})" for (at, to), count in sorted(arrows.items()) if at == room]
    cells = [LEVELS[room], f"`{room}`", len(files), f"{lines:,}", ", ".join(below) or "-"]
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    arrows = room_arrows()
    print("| floor | room | files | lines | imports from (files) |")
    print("|---|---|---|---|---|")
    for room in sorted(LEVELS, key=lambda room: -LEVELS[room]):
        print(table_row(room, arrows))
    upward = sum(LEVELS[to] >= LEVELS[at] for at, to in arrows)
    lengths = function_lines()
    print(
        f"\nArrows between rooms: {len(arrows)}; upward: {upward}; circles: {len(circle())}. "
        f"Functions: {len(lengths):,}, median {statistics.median(lengths):g} lines, "
        f"{sum(length > 40 for length in lengths)} over 40."
    )


if __name__ == "__main__":
    main()
