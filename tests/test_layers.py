"""The shape of the code: imports go down the floors; heavy packages stay in their rooms."""

import subprocess
import sys
from pathlib import Path

import pytest
from structure import FILES, LEVELS, circle, imports, inner_imports, place_of, room_of

# Which rooms (or files) may import a heavy package.
ROOMS = {
    "ray": "pools.ray",
    "torch": "networks export train compress pools search",
    "onnx": "export compress device",
    "onnxscript": "export",
    "onnxruntime": "compress device bundle.predict_script",
    "cv2": "data",
    "albumentations": "data",
    "fsspec": "train.storage",
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
    "pydantic": "core.yaml_files networks.space_file device bundle.read",
    "paramiko": "device.ssh",
    "yaml": "core.yaml_files run.store",
    "typer": "cli",
    "rich": "cli report.console",
}
LIGHT = sorted(set(ROOMS) - {"typer", "rich"})


def within(place: str, room: str) -> bool:
    return place == room or place.startswith(f"{room}.")


def test_every_entry_of_the_package_is_a_room():
    assert {room_of(place_of(path)) for path in FILES} <= set(LEVELS)


@pytest.mark.parametrize("path", FILES, ids=place_of)
def test_imports_go_to_lower_floors_only(path):
    here = room_of(place_of(path))
    for line, place in inner_imports(path):
        there = room_of(place)
        assert there == here or LEVELS[there] < LEVELS[here], f"{path}:{line}: {place}"


def test_no_files_import_each_other_in_a_circle():
    """Imports for types count; so do lazy ones: a circle is a fault of structure, not of speed."""
    assert not circle()


@pytest.mark.parametrize("path", FILES, ids=place_of)
def test_imports_of_heavy_packages_are_in_their_rooms_only(path):
    here = place_of(path)
    for line, name, for_types in imports(path):
        rooms = ROOMS.get(name.partition(".")[0])
        if rooms is not None and not for_types:
            assert any(within(here, room) for room in rooms.split()), f"{path}:{line}: {name}"


def test_runner_imports_nothing_of_autoseg():
    (runner,) = (path for path in FILES if place_of(path) == "device.runner")
    assert not list(inner_imports(runner))


@pytest.mark.parametrize("module", ["autoseg", "autoseg.cli"])
def test_autoseg_import_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(LIGHT) & set(done.stdout.split())


def test_architecture_page_names_every_room():
    page = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert all(f"`{room}`" in page for room in LEVELS)
