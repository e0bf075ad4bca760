"""The decoded cache: one decode a picture, whole files only, mixed sizes."""

import multiprocessing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from autoseg.data import cache
from autoseg.data.dataset import Dataset, Sample
from autoseg.data.resize import resize_frame, resize_mask
from autoseg.records import InputError

SIZES = ((40, 60), (31, 47), (64, 20))


def read(log: str, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    with Path(log).open("a") as file:
        file.write(sample.stem + "\n")
    number = int(sample.image)
    rng = np.random.default_rng(number)
    hw = SIZES[number % 3]
    return (
        rng.integers(0, 256, (*hw, 3), dtype=np.uint8),
        rng.integers(0, 3, hw, dtype=np.uint8),
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    samples = tuple(Sample(f"s{n}", f"s{n}", str(n), str(n)) for n in range(7))
    reader = partial(read, str(tmp_path / "log"))
    return Dataset("made", ("a", "b", "c"), {"train": samples, "test": ()}, "d1", reader)


def reads(tmp_path: Path) -> int:
    return len((tmp_path / "log").read_text().splitlines())


def check(dataset: Dataset, folder: Path, channels: int = 3) -> None:
    found = cache.arrays(dataset, "train", (32, 64), channels, folder)
    assert found.frames.shape == (7, 32, 64, channels)
    for place, sample in enumerate(dataset.splits["train"]):
        image, mask = dataset.read(sample)
        assert np.array_equal(found.frames[place], resize_frame(image, (32, 64), channels))
        assert np.array_equal(found.masks[place], resize_mask(mask, (32, 64)))


def test_arrays_are_the_one_resize_of_what_is_read_and_each_file_is_read_once(dataset, tmp_path):
    folder = tmp_path / "cache"
    cache.arrays(dataset, "train", (32, 64), 3, folder)
    cache.arrays(dataset, "train", (32, 64), 1, folder)
    cache.arrays(dataset, "train", (64, 32), 3, folder)
    cache.truths(dataset, "train", folder)
    assert reads(tmp_path) == 7
    check(dataset, folder)
    check(dataset, folder, channels=1)
    assert not list(folder.rglob(".*"))


def test_truths_keep_their_own_sizes(dataset, tmp_path):
    truths = cache.truths(dataset, "train", tmp_path / "cache")
    wanted = [dataset.read(sample)[1] for sample in dataset.splits["train"]]
    assert all(np.array_equal(a, b) for a, b in zip(truths, wanted, strict=True))


def test_many_or_large_pictures_are_decoded_again_instead_of_kept(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "MAX_ORIGINALS_BYTES", 20_000)
    check(dataset, tmp_path / "cache")
    kept = next((tmp_path / "cache").rglob("*original-frames.bin"))
    assert kept.stat().st_size == 0


@pytest.mark.parametrize("damage", ["short", "empty", "text", "shape"])
def test_a_damaged_file_is_built_again(dataset, tmp_path, damage):
    folder = tmp_path / "cache"
    check(dataset, folder)
    for path in folder.rglob("*.*"):
        whole = path.read_bytes()
        wrong = {"short": whole[:-9], "empty": b"", "text": b"no array" * 40, "shape": whole * 2}
        path.write_bytes(wrong[damage])
    check(dataset, folder)


def test_another_digest_is_another_cache(dataset, tmp_path):
    folder = tmp_path / "cache"
    check(dataset, folder)
    fewer = {"train": dataset.splits["train"][:2]}
    other = cache.arrays(replace(dataset, digest="d2", splits=fewer), "train", (32, 64), 3, folder)
    assert len(other.frames) == 2
    check(dataset, folder)


def test_processes_that_build_at_once_agree(dataset, tmp_path):
    folder = tmp_path / "cache"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=check, args=(dataset, folder)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    check(dataset, folder)


def test_an_empty_split_and_a_folder_that_cannot_be_are_the_users_to_mend(dataset, tmp_path):
    with pytest.raises(InputError, match="no pictures in the split 'test'"):
        cache.arrays(dataset, "test", (32, 32), 3, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        cache.truths(dataset, "train", tmp_path / "file" / "cache")
