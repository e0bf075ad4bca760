"""The installed wheel brings its YAML with it: nothing of the checkout is needed."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: object, cwd: Path) -> str:
    environment = {name: v for name, v in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_wheel_installed_lists_spaces_and_devices_from_anywhere(tmp_path):
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=ROOT)
    (wheel,) = tmp_path.glob("autoseg-*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    # The dependencies come from here; a path line leaves an editable install there alone.
    site = run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path
    )
    (Path(site.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))

    where = run(python, "-c", "import autoseg; print(autoseg.__file__)", cwd=Path("/"))
    assert where.startswith(str(tmp_path))
    autoseg = python.with_name("autoseg")
    assert "fast_scnn" in run(autoseg, "spaces", cwd=Path("/"))
    assert "raspberry-pi-5" in run(autoseg, "devices", cwd=Path("/"))
    shown = run(autoseg, "spaces", "fast_scnn", cwd=Path("/"))
    assert "1260" in shown.replace(",", "")
