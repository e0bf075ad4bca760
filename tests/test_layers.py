"""The shape of the code: imports go down the floors, and each heavy package stays in its rooms."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "autoseg"

# From the ground up; a file imports from lower lines, or from its own room. Where a floor has
# several lines, its rooms stand on each other: cli on optimize, optimize on result.
FLOORS = [
    "__version__ records stop",  # 0
    "shipped ledger metrics front runner networks exhibits",  # 1
    "space cost graph data device losses recipe store promise seams",  # 2
    "export feed optimizer compress breakdown",
    "train",
    "trip",
    "screening confirming",
    "exhibiting",
    "journey",  # 3
    "search pools",  # 4
    "declaration report.scene report.tables report.plot report.bundle report.predict "  # 5
    "report.bundled report.card report.inlined report.manifest report.markup report.targets",
    "relax telling",
    "misses",
    "result progress predict",
    "shipping verify",
    "report",
    "wiring",
    "optimize dashboard",
    "remeasure",
    "cli",
]
LEVELS = {room: level for level, rooms in enumerate(FLOORS) for room in rooms.split()}

ROOMS = {
    "torch": "networks cost graph export losses feed optimizer train compress pools search",
    "onnx": "graph export compress device",
    "onnxscript": "graph export",
    "onnxruntime": "export compress device runner report.predict",
    "cv2": "data",
    "PIL": "data predict report.page report.predict",
    "optuna": "search dashboard",
    "optuna_dashboard": "search dashboard",
    "plotly": "report",
    "pymoo": "front search",
    "scipy": "search",
    "sqlalchemy": "search",
    "pandas": "report",
    "matplotlib": "report",
    "jinja2": "report",
    "markupsafe": "report",
    "pydantic": "shipped space device report.bundled",
    "paramiko": "device.ssh",
    "yaml": "shipped store",
    "typer": "cli",
    "rich": "cli progress report",
}
LIGHT = sorted(set(ROOMS) - {"typer", "rich"})

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def dotted(path: Path) -> str:
    """A file's place below autoseg: `report.tables`, and `networks` for the package itself."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, *, for_types: bool) -> Iterator[tuple[int, str]]:
    """Every import of a file with its line, those inside functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = set() if for_types else set(type_only(tree))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            whole = node.module == "autoseg"
            for name in node.names if whole else node.names[:1]:
                yield node.lineno, f"autoseg.{name.name}" if whole else str(node.module)


def type_only(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from (inner for line in node.body for inner in ast.walk(line))


def within(place: str, room: str) -> bool:
    return place == room or place.startswith(f"{room}.")


def level(place: str) -> int:
    """The level of the most exact room that holds a place."""
    rooms = [room for room in LEVELS if within(place, room)]
    assert rooms, f"autoseg/{place} has no floor: put it into FLOORS"
    return LEVELS[max(rooms, key=len)]


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_a_file_imports_only_from_lower_floors(path):
    here = dotted(path)
    for line, name in imports(path, for_types=True):
        if not within(name, "autoseg"):
            continue
        there = name.removeprefix("autoseg").removeprefix(".")
        own_room = here.partition(".")[0] == there.partition(".")[0] and level(there) == level(
            here
        )
        assert own_room or level(there) < level(here), f"{path}:{line}: {here} imports {there}"


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_a_heavy_package_is_imported_only_in_its_rooms(path):
    here = dotted(path)
    for line, name in imports(path, for_types=False):
        rooms = ROOMS.get(name.partition(".")[0])
        if rooms is not None:
            assert any(within(here, room) for room in rooms.split()), f"{path}:{line}: {name}"


def test_the_runner_needs_nothing_of_autoseg():
    names = [name for _, name in imports(PACKAGE / "runner.py", for_types=True)]
    assert not [name for name in names if within(name, "autoseg")]


@pytest.mark.parametrize("module", ["autoseg", "autoseg.cli"])
def test_importing_the_front_door_imports_nothing_heavy(module):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(LIGHT) & set(done.stdout.split())
