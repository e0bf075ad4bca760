"""The decoded cache: one decode a picture, whole files only, mixed sizes."""

import multiprocessing
import os
import pickle
import resource
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from autoseg.core.errors import DeviceError, InputError
from autoseg.data import cache, shards
from autoseg.data.dataset import Dataset, Sample
from autoseg.data.resize import resize_frame, resize_mask

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
    samples = tuple(
        Sample(stem=f"s{n}", group=f"s{n}", image=str(n), mask=str(n), hw=SIZES[n % 3])
        for n in range(7)
    )
    reader = partial(read, str(tmp_path / "log"))
    return Dataset(
        name="made",
        classes=("a", "b", "c"),
        splits={"train": samples, "test": ()},
        digest="d1",
        read=reader,
    )


def reads(tmp_path: Path) -> int:
    return len((tmp_path / "log").read_text().splitlines())


def check(
    dataset: Dataset, folder: Path, channels: int = 3, hw: tuple[int, int] = (32, 64)
) -> None:
    """Every pair is the one resize of what is read, in any order."""
    found = cache.arrays(dataset, "train", hw, channels, folder)
    samples = dataset.splits["train"]
    rows = list(range(len(samples)))[::-1]
    frames, masks = found.batch(rows)
    assert (frames.shape, masks.shape) == ((len(rows), *hw, channels), (len(rows), *hw))
    for row, frame, mask in zip(rows, frames, masks, strict=True):
        image, truth = dataset.read(samples[row])
        assert np.array_equal(frame, resize_frame(image, hw, channels))
        assert np.array_equal(mask, resize_mask(truth, hw))
    one_by_one = np.stack(list(found.frames()))
    assert np.array_equal(one_by_one, frames[::-1]) and len(list(found.frames(2))) == 2


def right_truths(dataset: Dataset, folder: Path) -> bool:
    truths = cache.truths(dataset, "train", folder)
    wanted = [dataset.read(sample)[1] for sample in dataset.splits["train"]]
    return all(np.array_equal(a, b) for a, b in zip(truths, wanted, strict=True))


def use_all(dataset: Dataset, hw: tuple[int, int], channels: int, folder: Path) -> None:
    cache.arrays(dataset, "train", hw, channels, folder).batch(range(7))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_PAIRS", 3)


@pytest.mark.usefixtures("small_shards")
def test_arrays_resize_each_file_once(dataset, tmp_path):
    folder = tmp_path / "cache"
    use_all(dataset, (32, 64), 3, folder)
    use_all(dataset, (32, 64), 1, folder)
    use_all(dataset, (64, 32), 3, folder)
    assert len(cache.truths(dataset, "train", folder)) == 7
    assert reads(tmp_path) == 7
    check(dataset, folder)
    check(dataset, folder, channels=1)
    check(dataset, folder, hw=(8, 16))
    assert right_truths(dataset, folder)
    assert not list(folder.rglob("*.draft"))


def test_arrays_of_another_resize_are_not_read(dataset, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    check(dataset, folder)
    white = np.full((32, 64, 3), 255, np.uint8)
    monkeypatch.setattr(cache, "resize_frame", lambda *given: white)
    check(dataset, folder)  # kept
    monkeypatch.setattr(cache, "RESIZE_VERSION", 9)
    assert (cache.arrays(dataset, "train", (32, 64), 3, folder).batch([0])[0] == 255).all()


@pytest.mark.usefixtures("small_shards")
def test_arrays_of_a_subset_cost_only_the_subset(dataset, tmp_path):
    cache.arrays(dataset, "train", (32, 64), 3, tmp_path / "cache").batch([0, 2])
    assert reads(tmp_path) == 3


@pytest.mark.usefixtures("small_shards")
def test_arrays_decode_many_or_large_pictures_again_instead_of_keeping_them(
    dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(cache, "MAX_ORIGINALS_BYTES", 20_000)
    folder = tmp_path / "cache"
    check(dataset, folder)
    assert right_truths(dataset, folder)
    before = reads(tmp_path)
    list(cache.truths(dataset, "train", folder))
    list(cache.arrays(dataset, "train", (32, 64), 3, folder).frames())
    assert reads(tmp_path) == before
    assert not list(folder.rglob("train-original"))


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("damage", ["short", "empty", "text", "twice", "one bit"])
def test_arrays_rebuild_a_damaged_file(dataset, tmp_path, damage):
    folder = tmp_path / "cache"
    check(dataset, folder)
    for path in folder.rglob("*.bin"):
        whole = bytearray(path.read_bytes())
        flipped = whole.copy()
        flipped[len(whole) // 3] ^= 4
        path.write_bytes(
            {
                "short": whole[:-9], "empty": b"", "text": b"no array" * 40, "twice": whole * 2,
                "one bit": flipped,
            }[damage]
        )  # fmt: skip
    check(dataset, folder)


def test_arrays_of_another_digest_use_another_cache(dataset, tmp_path):
    folder = tmp_path / "cache"
    check(dataset, folder)
    check(replace(dataset, digest="d2", splits={"train": dataset.splits["train"][2:4]}), folder)
    check(dataset, folder)


@pytest.mark.usefixtures("small_shards")
def test_arrays_built_by_concurrent_processes_agree_and_are_decoded_once(dataset, tmp_path):
    folder = tmp_path / "cache"
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=use_all, args=(dataset, (32, 64), 3, folder)) for _ in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0] * 4
    assert reads(tmp_path) == 7
    check(dataset, folder)


def stuck(dataset: Dataset, folder: Path, sample: Sample) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_arrays_of_a_killed_builder_leave_nothing_that_looks_complete(dataset, tmp_path):
    folder = tmp_path / "cache"
    context = multiprocessing.get_context("fork")
    killed = replace(dataset, read=partial(stuck, dataset, folder))
    job = context.Process(target=use_all, args=(killed, (32, 64), 3, folder))
    job.start()
    job.join()
    assert job.exitcode == -signal.SIGKILL and not list(folder.rglob("*.bin"))
    check(dataset, folder)
    assert not list(folder.rglob("*.draft"))


@pytest.mark.usefixtures("small_shards")
def test_arrays_over_max_bytes_remove_the_oldest_or_decode_each_time(
    dataset, tmp_path, monkeypatch, caplog
):
    folder = tmp_path / "cache"
    use_all(dataset, (32, 64), 3, folder)
    size = sum(path.stat().st_size for path in folder.rglob("*.bin"))
    monkeypatch.setattr(shards, "MAX_CACHE_BYTES", size + 100)
    check(replace(dataset, digest="d2"), folder)
    assert "cache" in caplog.text and not list(folder.glob("d2-*/*/*.bin"))
    for old in folder.glob("d1-*/*"):
        os.utime(old, (0, 0))
    check(replace(dataset, digest="d2"), folder)
    assert list(folder.glob("d2-*/*/*.bin")) and not list(folder.glob("d1-*/*-64x*"))
    assert sum(path.stat().st_size for path in folder.rglob("*.bin")) <= size + 100


def test_arrays_on_a_full_disk_stop_the_run_and_leave_nothing_half_written(dataset, tmp_path):
    """A limit on the size of a file fails a write as a full disk does, with another errno."""
    folder = tmp_path / "cache"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(DeviceError, match=str(folder)):
            use_all(dataset, (32, 64), 3, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list(folder.rglob("*.bin")) and not list(folder.rglob("*.draft"))
    check(dataset, folder)


def test_arrays_refuse_an_empty_split_and_a_folder_that_cannot_be_made(dataset, tmp_path):
    with pytest.raises(InputError, match="'test'"):
        cache.arrays(dataset, "test", (32, 32), 3, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceError, match=str(tmp_path / "file" / "cache")):
        list(cache.truths(dataset, "train", tmp_path / "file" / "cache"))


def fetched(dataset: Dataset, folder: Path, asked: list) -> Callable:
    """What serves another machine: the arrays as they arrive there."""

    def fetch(key: cache.ShardKey):
        asked.append(key)
        sent = pickle.loads(pickle.dumps(cache.shard_arrays(dataset, folder, key)))
        assert [type(array) for array in sent] == [np.ndarray] * 2
        return sent

    return fetch


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("stored", ["all", "no originals", "nothing"])
def test_arrays_fetched_equal_those_of_the_disk_and_touch_no_file(
    stored, dataset, tmp_path, monkeypatch
):
    folder, asked = tmp_path / "cache", []
    if stored != "all":
        monkeypatch.setattr(cache, "MAX_ORIGINALS_BYTES", 20_000)
    if stored == "nothing":
        monkeypatch.setattr(shards, "MAX_CACHE_BYTES", 0)
    bare, nowhere = replace(dataset, read=None), Path("/dev/null/cache")
    fetch = fetched(dataset, folder, asked)
    for channels in (1, 3):
        here = cache.arrays(dataset, "train", (32, 64), channels, folder).batch(range(7))
        there = cache.arrays(bare, "train", (32, 64), channels, nowhere, fetch)
        found = there.batch(range(6, -1, -1))
        assert all(np.array_equal(a, b[::-1]) for a, b in zip(here, found, strict=True))
        assert len(there) == 7 and len(list(there.frames(2))) == 2
    truths = cache.truths(bare, "train", nowhere, fetch=fetch)
    wanted = [dataset.read(sample)[1] for sample in dataset.splits["train"]]
    assert all(np.array_equal(a, b) for a, b in zip(truths, wanted, strict=True))
    assert len(cache.truths(bare, "train", nowhere, 2, fetch)) == 2
    assert len(asked) == len(set(asked)) == 9  # each shard once: the keys are hashable
    assert cache.ShardKey("train", None, 0, 2) in asked


def test_arrays_fetched_are_used_as_they_come(dataset, tmp_path):
    shapes, pixels = cache.shard_arrays(
        dataset, tmp_path / "cache", cache.ShardKey("train", (32, 64), 3, 0)
    )
    pixels.flags.writeable = False
    found = cache.arrays(dataset, "train", (32, 64), 3, tmp_path, lambda _: (shapes, pixels))
    assert np.shares_memory(next(found.frames()), pixels)
    with pytest.raises(InputError, match="'test'"):
        cache.arrays(dataset, "test", (32, 64), 3, tmp_path, lambda _: (shapes, pixels))
