"""A bundle's predict.py, as a program and as a module: alone, with whatever it is given."""

import os
import re
import runpy
import signal
import stat
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import HW, bundle, picture
from PIL import Image

import autoseg
from autoseg.data.drawing.overlay import class_colours
from autoseg.data.resize import resize_frame, resize_mask
from autoseg.train.metrics import confusion, iou

BOARD = "AUTOSEG_TEST_BOARD"
ALONE = ("onnxruntime", "numpy", "numpy.libs", "PIL", "pillow.libs")


def run(
    folder: Path, *arguments: object, cwd: Path | None = None, python: object = sys.executable
):
    # -I: no PYTHONPATH and no working directory, so that nothing of autoseg's checkout helps.
    command = [
        str(python or sys.executable),
        "-I",
        str(folder / "predict.py"),
        *map(str, arguments),
    ]
    return subprocess.run(command, cwd=cwd or folder.parent, capture_output=True, text=True)


@pytest.fixture
def script(capsys, monkeypatch):
    """The same in this process, which costs less."""

    def call(folder: Path, *arguments: object):
        monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(folder / "predict.py"), run_name="__main__")
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, stop.value.code or 0, out, err)

    return call


def refused(done, *said: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and done.stderr.startswith("predict.py: ")
    for words in said:
        assert words in done.stderr


@pytest.mark.parametrize(("channels", "size"), [(1, (211, 157)), (3, (211, 157)), (1, (701, 457))])
def test_predict_agrees_with_autoseg_resize_to_the_pixel(tmp_path, channels, size):
    folder = bundle(tmp_path, channels)
    image = picture(tmp_path / "p.jpg", size)
    done = run(folder, tmp_path / "p.jpg", "-o", tmp_path / "mask.png")
    assert done.returncode == 0, done.stderr
    frame = resize_frame(image, HW, channels)
    expected = resize_mask((frame.mean(axis=2) > 127).astype(np.uint8), image.shape[:2])
    assert 0.1 < expected.mean() < 0.9
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "mask.png")), expected)
    assert re.search(r"1 image.* per second.* resize .* inference .* resize", done.stderr)


def test_predict_writes_an_upright_mask_of_a_rotated_picture_into_a_folder(tmp_path):
    folder = bundle(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "straight.png")
    picture(tmp_path / "turned.png", exif=exif)
    names = [tmp_path / f"{name}.png" for name in ("straight", "turned")]
    done = run(folder, *names, "-o", tmp_path / "masks")
    assert done.returncode == 0, done.stderr
    straight, turned = (Image.open(tmp_path / "masks" / name.name) for name in names)
    assert (straight.size, turned.size) == ((211, 157), (157, 211))


def test_predict_reads_folders_recursively_and_overlays_have_the_preview_colours(tmp_path):
    folder = bundle(tmp_path)
    shots = tmp_path / "shots"
    for name in ("a.png", "deep/a.jpg", "deep/ö ä.png", ".hidden.png"):
        (shots / name).parent.mkdir(parents=True, exist_ok=True)
        picture(shots / name)
    (shots / "notes.txt").touch()
    for _ in range(2):  # the second time, masks of the first lie below the pictures
        done = run(folder, "shots", "-o", "shots/masks", "--overlay", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "shots/masks/a.png", "shots/masks/deep/a.png", "shots/masks/deep/ö ä.png",
    ]  # fmt: skip
    colour = class_colours(["background", "parcel"])[1]
    mask = Image.open(shots / "masks" / "a.png")
    shown = np.asarray(mask.convert("RGB"))[np.asarray(mask) == 1]
    assert (shown == colour).all()
    drawn = np.asarray(Image.open(shots / "masks" / "deep" / "a_overlay.jpg"))
    assert drawn.shape == (157, 211, 3)


def test_predict_can_be_imported_as_the_card_shows(tmp_path):
    folder = bundle(tmp_path)
    picture(folder / "picture.jpg")
    (snippet,) = re.findall(
        r"```python\n(from predict.*?)```", (folder / "card.md").read_text(), re.S
    )
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert Image.open(folder / "mask.png").size == (211, 157)


def test_predict_refuses_an_array_of_another_type(tmp_path):
    from autoseg.bundle.predict_script import InputError, load, predict

    model = load(bundle(tmp_path) / "model.onnx")
    for wrong in (np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32)):
        with pytest.raises(InputError, match="uint8 .H, W, 3. .*RGB.* got"):
            predict(model, wrong)


FAULTS = {
    "no picture": (["gone.png"], "gone.png"),
    "nothing in a folder": (["empty"], "empty"),
    "a mask as JPEG": (["a.png", "-o", "m.jpg"], "PNG"),
    "one mask for two": (["a.png", "b.jpg", "-o", "m.png"], "for 2 pictures"),
    "over itself": (["a.png", "-o", "."], "a.png"),
    "two of one name": (["b.jpg", "empty/../b.jpg"], "several pictures"),
    "its own folder": ([".", "-o", "."], "folder"),
    "a file in the way": (["a.png", "-o", "b.jpg/masks"], "b.jpg/masks"),
    "no model": (["a.png", "--model", "gone.onnx"], "gone.onnx"),
    "no model at all": (["a.png", "--model", "b.jpg"], "b.jpg"),
    "another model": (["a.png", "--model", "other.onnx"], "uint8"),
    "no threads": (["a.png", "--threads", "0"], "--threads"),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A bundle, two pictures, an empty folder, and a model that is none of ours."""
    root = tmp_path_factory.mktemp("place")
    bundle(root)
    picture(root / "a.png")
    picture(root / "b.jpg")
    (root / "empty").mkdir()
    other = onnx.load(root / "any.onnx")
    other.graph.input[0].type.tensor_type.shape.dim[1].ClearField("dim_value")
    onnx.save(other, root / "other.onnx")
    return root


@pytest.mark.parametrize("case", FAULTS)
def test_predict_reports_user_errors_in_one_line(case, place, script, monkeypatch):
    arguments, words = FAULTS[case]
    monkeypatch.chdir(place)
    refused(script(place / "bundles" / "1-abc", *arguments), words)


def test_predict_reports_a_broken_picture_and_continues(tmp_path, script):
    folder = bundle(tmp_path)
    picture(tmp_path / "good.png")
    picture(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:900])
    (tmp_path / "text.png").write_text("no picture")
    names = [tmp_path / name for name in ("cut.jpg", "text.png", "good.png")]
    done = script(folder, *names, "-o", tmp_path / "masks")
    refused(done, "cut.jpg: ", "text.png: ", "1 image")
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["good.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_predict_reports_an_unwritable_folder(tmp_path):
    folder = bundle(tmp_path)
    picture(tmp_path / "a.png")
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut").chmod(stat.S_IRUSR | stat.S_IXUSR)
    refused(run(folder, tmp_path / "a.png", "-o", tmp_path / "shut"), str(tmp_path / "shut"))


SPOILED = ("{", '{"colours": [[1, 2, 999], null]}', '{"colours": {}}', "[" * 10_000)


@pytest.mark.parametrize("spoiled", SPOILED, ids=range(len(SPOILED)))
def test_predict_refuses_invalid_colours(tmp_path, script, spoiled):
    folder = bundle(tmp_path)
    picture(tmp_path / "a.png")
    (folder / "classes.json").write_text(spoiled)
    refused(script(folder, tmp_path / "a.png"), "classes.json")


def test_predict_without_colours_writes_masks_and_no_overlays(tmp_path, script):
    folder = bundle(tmp_path)
    picture(tmp_path / "a.png")
    (folder / "classes.json").unlink()
    assert script(folder, tmp_path / "a.png", "-o", tmp_path / "m").returncode == 0
    refused(script(folder, tmp_path / "a.png", "--overlay"), "--overlay")


def only(root: Path, *packages: str) -> Path:
    """The Python of an empty virtual environment with these packages of ours, and no other."""
    venv.create(root, symlinks=True)
    (site,) = root.glob("lib/python*/site-packages")
    ours = Path(np.__file__).parents[1]
    for name in packages:
        if (ours / name).exists():
            (site / name).symlink_to(ours / name)
    return root / "bin" / "python"


@pytest.mark.parametrize("lacking", ["onnxruntime", "numpy", "PIL"])
def test_predict_names_the_install_command_of_a_missing_package(tmp_path, lacking):
    folder = bundle(tmp_path)
    python = only(tmp_path / "venv", *[name for name in ALONE if name != lacking])
    done = run(folder, "a.png", python=python)
    refused(done, f"'{lacking}'", f"{python} -m pip install onnxruntime numpy pillow")


def test_predict_shows_where_a_package_for_another_processor_ends_it(tmp_path):
    folder = bundle(tmp_path)
    (folder / "onnxruntime.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGILL)"
    )
    words = [sys.executable, str(folder / "predict.py"), "a.png"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == -signal.SIGILL
    assert re.search(r"Illegal instruction[^$]*onnxruntime\.py", done.stderr)
    assert re.search(r"another processor.*\n.*-m pip install onnxruntime==", done.stderr)


def truth_iou(masks: Path, data: Path) -> float:
    total = np.zeros((2, 2), np.int64)
    for path in sorted((data / "masks" / "test").iterdir()):
        truth, found = (np.asarray(Image.open(p)) for p in (path, masks / path.name))
        total += confusion(found, truth, 2)
    return iou(total, (1,))


def shipped(finished) -> tuple[Path, float]:
    """The bundle of a real run, and the IoU on test that its card promises."""
    result = autoseg.Result.from_run(finished.folder)
    key = result.front[0].candidate.key
    folder = result.bundle(key)
    told = re.search(r"\| IoU on test \| ([\d.]+)", (folder / "card.md").read_text())
    return folder, float(told[1])


def test_predict_in_an_empty_environment_has_the_iou_of_its_card(finished, tiny, tmp_path):
    folder, promised = shipped(finished)
    python = only(tmp_path / "venv", *ALONE)
    others = "('autoseg', 'torch', 'cv2', 'onnx', 'pydantic', 'pip')"
    code = f"import importlib.util as u; print([n for n in {others} if u.find_spec(n)])"
    there = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True)
    assert there.stdout.strip() == "[]"
    done = run(folder, tiny.data / "images" / "test", "-o", tmp_path / "masks", python=python)
    assert done.returncode == 0, done.stderr
    assert abs(truth_iou(tmp_path / "masks", tiny.data) - promised) <= 0.001


@pytest.mark.ssh
def test_predict_on_a_board_has_the_iou_of_its_card(finished, tiny, tmp_path):
    """$AUTOSEG_TEST_BOARD is a command that runs another on a board whose python3 has onnxruntime,
    numpy and Pillow, such as `ssh pi@10.0.0.7`.
    """
    if BOARD not in os.environ:
        pytest.skip(f"there is no board: set {BOARD}, such as to 'ssh pi@10.0.0.7'")
    board = os.environ[BOARD].split()
    folder, promised = shipped(finished)
    pack = subprocess.run(
        ["tar", "c", "-C", folder.parent, folder.name, "-C", tiny.data / "images", "test"],
        capture_output=True, check=True,
    )  # fmt: skip
    work = (
        f"rm -rf autoseg-test && mkdir autoseg-test && cd autoseg-test && tar x && "
        f"python3 {folder.name}/predict.py test -o masks >&2 && tar c masks && "
        "cd .. && rm -rf autoseg-test"
    )
    done = subprocess.run([*board, work], input=pack.stdout, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    subprocess.run(["tar", "x", "-C", tmp_path], input=done.stdout, check=True)
    assert abs(truth_iou(tmp_path / "masks", tiny.data) - promised) <= 0.001
