"""The shape of the code: imports go down the floors; heavy packages stay in their rooms."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "autoseg"

# From the ground up: a file imports from lower floors, or from its own room.
FLOORS = [
    "core",
    "networks data",
    "device",
    "train export",
    "compress supernets",
    "search pools",
    "run",
    "report",
    "bundle",
    "api",
    "cli",
]
LEVELS = {room: level for level, rooms in enumerate(FLOORS) for room in rooms.split()}

# Which rooms (or files) may import a heavy package.
ROOMS = {
    "torch": "networks export train compress pools search",
    "onnx": "export compress device",
    "onnxscript": "export",
    "onnxruntime": "compress device bundle.predict_script",
    "cv2": "data",
    "albumentations": "data",
    "fvcore": "networks",
    "PIL": "data train.contact_sheet report.page bundle.predict_script api.predict",
    "optuna": "search report.dashboard",
    "optuna_dashboard": "report.dashboard",
    "plotly": "report",
    "pymoo": "core.pareto search",
    "scipy": "search",
    "sqlalchemy": "report.dashboard",
    "pandas": "run.rows report",
    "matplotlib": "report",
    "jinja2": "report",
    "markupsafe": "report",
    "pydantic": "core.yaml_files networks.space device bundle.read",
    "paramiko": "device.ssh",
    "yaml": "core.yaml_files run.store",
    "typer": "cli",
    "rich": "cli report.console",
}
LIGHT = sorted(set(ROOMS) - {"typer", "rich"})

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")

STILL_FLAT: dict[str, str] = {}


def dotted(path: Path) -> str:
    """A file's place below autoseg: `report.rows`, and `networks` for the package itself."""
    place = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    return STILL_FLAT.get(place, place)


@cache
def imports(path: Path) -> tuple[tuple[int, str, bool], ...]:
    """Line, name, and whether it is for types alone: every import, those in functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = set(type_only(tree))
    found = []
    for node in ast.walk(tree):
        typed = node in for_types
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, typed) for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            found += [(node.lineno, target(node, alias.name), typed) for alias in node.names]
    return tuple(found)


def target(node: ast.ImportFrom, name: str) -> str:
    """The module that `from node.module import name` takes from."""
    whole = f"{node.module}.{name}"
    below = PACKAGE.parent / whole.replace(".", "/")
    return whole if below.is_dir() or below.with_suffix(".py").exists() else str(node.module)


def type_only(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from (inner for line in node.body for inner in ast.walk(line))


def ours(path: Path) -> Iterator[tuple[int, str]]:
    """Lines and places below autoseg that a file imports."""
    for line, name, _ in imports(path):
        place = name.removeprefix("autoseg.")
        if place != name:
            yield line, STILL_FLAT.get(place, place)


def within(place: str, room: str) -> bool:
    return place == room or place.startswith(f"{room}.")


def room_of(place: str) -> str:
    return place.partition(".")[0]


def test_every_entry_of_the_package_is_a_room():
    assert {room_of(dotted(path)) for path in FILES} <= set(LEVELS)


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_imports_go_to_lower_floors_only(path):
    here = room_of(dotted(path))
    for line, place in ours(path):
        there = room_of(place)
        assert there == here or LEVELS[there] < LEVELS[here], f"{path}:{line}: {place}"


def test_no_files_import_each_other_in_a_circle():
    """Imports for types count; so do lazy ones: a circle is a fault of structure, not of speed."""
    arrows = {dotted(path): {place for _, place in ours(path)} for path in FILES}
    while free := [place for place, to in arrows.items() if not to & set(arrows)]:
        for place in free:
            del arrows[place]
    circle = {place: sorted(to & set(arrows)) for place, to in arrows.items()}
    assert not circle, f"in a circle, or above one: {circle}"


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_imports_of_heavy_packages_are_in_their_rooms_only(path):
    here = dotted(path)
    for line, name, for_types in imports(path):
        rooms = ROOMS.get(name.partition(".")[0])
        if rooms is not None and not for_types:
            assert any(within(here, room) for room in rooms.split()), f"{path}:{line}: {name}"


def test_runner_imports_nothing_of_autoseg():
    (runner,) = (path for path in FILES if dotted(path) == "device.runner")
    assert not list(ours(runner))


@pytest.mark.parametrize("module", ["autoseg", "autoseg.cli"])
def test_autoseg_import_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(LIGHT) & set(done.stdout.split())
