"""What is kept of an inspection: nothing is decoded twice, nothing stale or damaged is used."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoseg import data
from autoseg.data import inspection_cache, parallel
from autoseg.data.inspection import Inspection, inspect
from autoseg.data.pairs import examine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        for number in range(count):
            for kind, array in (
                ("images", rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)),
                ("masks", rng.integers(0, 2, (20, 24), dtype=np.uint8)),
            ):
                path = tmp_path / "set" / kind / split / f"{split}{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
    return tmp_path / "set"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(inspection_cache, "YOUNG_S", -1.0)  # pictures of tests are young
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pictures that are decoded from here on."""
    names: list[str] = []

    def noted(sample, root, read_mask):
        names.append(sample.stem)
        return examine(sample, root, read_mask)

    monkeypatch.setattr(inspection_cache, "examine", noted)
    return names


def facts(seen: Inspection) -> tuple[object, ...]:
    return seen.digest, seen.splits, seen.class_share, seen.sizes, seen.warnings, seen.faults


def test_inspect_does_not_decode_unchanged_files_again(folder, cache, decoded):
    first = inspect(folder, cache_dir=cache)
    assert len(decoded) == 8
    again = inspect(folder, cache_dir=cache)
    assert len(decoded) == 8
    assert facts(again) == facts(first) == facts(inspect(folder))


def test_inspect_decodes_a_picture_again_if_the_mask_of_one_object_changed(
    tmp_path, cache, decoded
):
    for name in ("a1", "b2", "c3", "d4", "e5", "f6"):
        for path in (f"{name}/images/{name}.png", f"{name}/masks/1.png", f"{name}/masks/2.png"):
            (tmp_path / "set" / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.eye(20, 24, dtype=np.uint8) * 255).save(tmp_path / "set" / path)
    first = inspect(tmp_path / "set", cache_dir=cache)
    assert first.faults == () and facts(inspect(tmp_path / "set", cache_dir=cache)) == facts(first)
    assert len(decoded) == 6
    (tmp_path / "set/c3/masks/2.png").unlink()
    inspect(tmp_path / "set", cache_dir=cache)
    assert decoded[6:] == ["c3"]


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_inspect_decodes_a_changed_file_again_even_with_its_old_time(folder, cache, decoded, kind):
    before = inspect(folder, cache_dir=cache)
    path = folder / kind / "val" / "val1.png"
    about = path.stat()
    path.write_bytes((folder / kind / "val" / "val0.png").read_bytes())
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    decoded.clear()
    after = inspect(folder, cache_dir=cache)
    assert decoded == ["val1"]
    assert after.digest != before.digest and facts(after) == facts(inspect(folder))


def test_inspect_notices_new_lost_and_renamed_pictures(folder, cache, decoded):
    inspect(folder, cache_dir=cache)
    decoded.clear()
    for kind in ("images", "masks"):
        (folder / kind / "train" / "train0.png").unlink()
        (folder / kind / "train" / "train1.png").rename(folder / kind / "train" / "new.png")
    seen = inspect(folder, cache_dir=cache)
    assert decoded == ["new"]
    assert seen.pairs == {"train": 3, "val": 2, "test": 2}


def test_inspect_decodes_a_moved_folder_again(folder, cache, decoded):
    digest = inspect(folder, cache_dir=cache).digest
    moved = folder.rename(folder.with_name("moved"))
    assert inspect(moved, cache_dir=cache).digest == digest
    assert len(decoded) == 16


def test_inspect_reports_a_fault_until_it_is_fixed(folder, cache):
    picture = folder / "images" / "val" / "val0.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:100])
    first, again = inspect(folder, cache_dir=cache), inspect(folder, cache_dir=cache)
    assert first.faults == again.faults and "val0.png" in first.faults[0]
    picture.write_bytes(whole)
    assert inspect(folder, cache_dir=cache).faults == ()


def test_inspect_caches_refused_data_only_if_it_took_long(folder, cache, decoded, monkeypatch):
    (folder / "masks" / "val" / "val0.png").write_bytes(b"no picture")
    inspect(folder, cache_dir=cache)
    assert not cache.exists()
    monkeypatch.setattr(parallel, "PROGRESS_S", 0.0)
    inspect(folder, cache_dir=cache)
    decoded.clear()
    inspect(folder, cache_dir=cache)
    assert decoded == ["val0"]


def test_inspect_does_not_trust_a_file_that_just_changed(folder, tmp_path, decoded):
    for _ in range(2):
        inspect(folder, cache_dir=tmp_path / "cache")
    assert len(decoded) == 16


@pytest.mark.parametrize("harm", ["flipped", "cut", "emptied", "no text"])
def test_inspect_decodes_again_where_the_cache_file_is_damaged(
    folder, cache, decoded, harm, caplog
):
    first = inspect(folder, cache_dir=cache)
    kept = next(cache.iterdir())
    content = bytearray(kept.read_bytes())
    if harm == "flipped":
        content[len(content) // 2 - 20] ^= 1
    changed = {
        "cut": content[: len(content) // 2 - 20],
        "emptied": b"",
        "no text": os.urandom(999),
    }
    kept.write_bytes(changed.get(harm, content))
    decoded.clear()
    assert facts(inspect(folder, cache_dir=cache)) == facts(first)
    assert decoded
    assert harm == "emptied" or "damaged" in caplog.text
    decoded.clear()
    inspect(folder, cache_dir=cache)
    assert not decoded


def test_inspect_continues_where_the_cache_folder_cannot_be_written(folder, cache, caplog):
    cache.write_text("a file where the folder should be")
    assert inspect(folder, cache_dir=cache).faults == ()
    assert str(cache) in caplog.text


def test_inspect_in_concurrent_processes_agrees(folder, cache, decoded):
    code = (
        "import sys; from pathlib import Path\n"
        "from autoseg.data import parallel, inspection, inspection_cache\n"
        "inspection_cache.YOUNG_S = -1.0; parallel.BATCH_ITEMS = 1;"
        "[inspection.inspect(sys.argv[1], cache_dir=Path(sys.argv[2])) for _ in range(3)]"
    )
    command = [sys.executable, "-c", code, str(folder), str(cache)]
    others = [subprocess.Popen(command) for _ in range(2)]
    assert [other.wait() for other in others] == [0, 0]
    assert facts(inspect(folder, cache_dir=cache)) == facts(inspect(folder))
    assert len(decoded) == 8  # those without a cache folder


def test_inspect_cache_file_stays_bounded(folder, cache, monkeypatch):
    monkeypatch.setattr(inspection_cache, "_MAX_UNUSED_LINES", 4)
    for number in range(12):
        for split in ("train", "val"):
            path = folder / "images" / split / f"{split}0.png"
            Image.fromarray(np.full((20, 24, 3), number, np.uint8)).save(path)
        inspect(folder, cache_dir=cache)
    (kept,) = cache.iterdir()
    assert len(kept.read_bytes().splitlines()) <= 2 * 8 + 4


def test_load_uses_the_cache_folder(folder, cache, decoded):
    first = data.load(folder, cache_dir=cache)
    again = data.load(folder, cache_dir=cache)
    assert again.digest == first.digest and len(decoded) == 8


def test_inspect_logs_its_progress(folder, monkeypatch, caplog):
    monkeypatch.setattr(parallel, "PROGRESS_S", 0.0)
    monkeypatch.setattr(parallel, "BATCH_ITEMS", 3)
    caplog.set_level("INFO")
    inspect(folder)
    assert "3 of 8" in caplog.text


def test_inspect_reads_masks_in_an_annotation_file_again_when_it_changes(tmp_path, cache, decoded):
    root = tmp_path / "coco"
    (root / "images").mkdir(parents=True)
    images, areas = [], []
    for number in range(1, 9):
        picture = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(picture).save(root / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 20, "width": 24})
        box = [2, 2, 12, 2, 12, 12, 2, 12]
        area = {"segmentation": [box], "area": 100, "bbox": [2, 2, 10, 10], "iscrowd": 0}
        areas.append({"id": number, "image_id": number, "category_id": 1, **area})
    content = {"images": images, "annotations": areas, "categories": [{"id": 1, "name": "box"}]}
    (root / "annotations.json").write_text(json.dumps(content))
    first = inspect(root, cache_dir=cache)
    assert first.format == "coco" and not first.faults and len(decoded) == 8
    assert facts(inspect(root, cache_dir=cache)) == facts(first) and len(decoded) == 8
    areas[0]["segmentation"] = [[2, 2, 20, 2, 20, 12, 2, 12]]
    (root / "annotations.json").write_text(json.dumps(content))
    assert inspect(root, cache_dir=cache).digest != first.digest and len(decoded) == 16
