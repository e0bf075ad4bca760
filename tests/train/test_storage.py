"""Storages: what is kept, what is told apart, and what is waited for."""

import dataclasses
import errno
import pickle
import threading
import time

import fsspec
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations

from autoseg import data
from autoseg.core.errors import CandidateError, DeviceError, InputError
from autoseg.core.records import Job
from autoseg.networks.space_file import load_space
from autoseg.train import checkpoints, loop, storage
from autoseg.train.checkpoints import checkpoint_name, is_saved, resume, trained_network
from autoseg.train.loop import train_job
from autoseg.train.recipe import Recipe
from autoseg.train.storage import (
    FolderStorage,
    Storage,
    UrlStorage,
    patiently,
    require_usable,
    storage_at,
)
from autoseg.train.task import Task


class Shaky(MemoryFileSystem):
    """A file system in memory that can be told to fail."""

    protocol = "shaky"
    store, pseudo_dirs = {}, [""]
    fault: Exception | None = None
    failures = 0

    def _open(self, *given, **facts):
        self.may_fail()
        return super()._open(*given, **facts)

    def cat_file(self, *given, **facts):
        self.may_fail()
        return super().cat_file(*given, **facts)

    def ls(self, *given, **facts):
        self.may_fail()
        return super().ls(*given, **facts)

    def may_fail(self):
        if Shaky.failures:
            Shaky.failures -= 1
            raise Shaky.fault

    @classmethod
    def fail(cls, times: int, fault: Exception | None = None) -> None:
        cls.failures, cls.fault = times, fault or TimeoutError("no answer")


@pytest.fixture(autouse=True)
def shaky(monkeypatch):
    fsspec.register_implementation("shaky", Shaky, clobber=True)
    Shaky.store.clear()
    Shaky.pseudo_dirs[:] = [""]
    Shaky.fail(0)
    monkeypatch.setattr(storage, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(storage, "LONGEST_WAIT_S", 0.02)


@pytest.fixture(params=["folder", "file", "memory", "dir"])
def kept(request, tmp_path) -> Storage:
    made = {
        "folder": FolderStorage(tmp_path / "a" / "b"),
        "file": storage_at(f"file://{tmp_path}/a/b"),
        "memory": UrlStorage("shaky://bucket/b"),
        "dir": UrlStorage(f"local://{tmp_path}/b"),
    }
    return made[request.param].prepare()


def test_storage_gives_back_what_it_was_given(kept):
    kept = pickle.loads(pickle.dumps(kept))
    assert kept.names("") == [] and kept.read("one-1.pt") is None
    kept.write("one-1.pt", b"first")
    kept.write("one-1.pt", b"second" * 1000)
    kept.write("two-1.pt", b"")
    assert kept.read("one-1.pt") == b"second" * 1000 and kept.read("two-1.pt") == b""
    assert kept.names("one") == ["one-1.pt"] and kept.names("") == ["one-1.pt", "two-1.pt"]
    kept.remove("one-1.pt")
    kept.remove("one-1.pt")
    assert kept.read("one-1.pt") is None and kept.names("") == ["two-1.pt"]
    assert kept.prepare() == kept and kept.read("two-1.pt") == b""


@pytest.mark.parametrize(
    "use", [lambda s: s.read("x"), lambda s: s.names("")], ids=["read", "names"]
)
def test_storage_that_is_gone_does_not_say_that_a_file_is_missing(kept, use, tmp_path):
    for path in tmp_path.iterdir():
        path.rename(tmp_path.with_name(f"{tmp_path.name}-gone"))
    Shaky.store.clear()
    with pytest.raises(OSError):
        use(kept)


def test_a_write_that_fails_leaves_the_old_content(kept, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    kept.write("one-1.pt", b"old")
    monkeypatch.setattr(storage.os, "fsync", full)
    Shaky.fail(1)
    monkeypatch.setattr(LocalFileSystem, "mv", full)
    with pytest.raises(OSError):
        kept.write("one-1.pt", b"new")
    assert kept.read("one-1.pt") == b"old"


def test_url_storage_translates_what_its_driver_raises():
    kept = UrlStorage("shaky://bucket/b").prepare()
    Shaky.fail(1, RuntimeError("EndpointConnectionError"))
    with pytest.raises(OSError, match="RuntimeError: EndpointConnectionError"):
        kept.read("one-1.pt")


def test_patiently_waits_for_a_storage_and_tells_the_watchdog(caplog):
    kept, told = UrlStorage("shaky://bucket/b").prepare(), []
    kept.write("x", b"1")
    Shaky.fail(4)
    assert patiently(lambda: kept.read("x"), kept, lambda: told.append(1)) == b"1"
    assert len(told) == 4
    assert [r.levelname for r in caplog.records] == ["WARNING"]


@pytest.mark.parametrize(
    ("fault", "tries"), [(PermissionError("forbidden"), 1), (OSError("still gone"), 4)]
)
def test_patiently_gives_up_at_once_or_in_the_end(fault, tries, monkeypatch):
    monkeypatch.setattr(storage, "MAX_WAIT_S", 0.05)
    kept = UrlStorage("shaky://bucket/b").prepare()
    Shaky.fail(1000, fault)
    with pytest.raises(DeviceError, match=f"shaky://bucket/b .*{fault}.*then --resume"):
        patiently(lambda: kept.read("x"), kept)
    assert 1000 - Shaky.failures == tries


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("runs", "such as s3://.*for a folder, file:///"),
        ("/mnt/runs", "for a folder, file:///mnt/runs"),
        ("file://runs", "three slashes"),
        ("memory://runs", "lost with its process"),
        ("nonsense://runs", "Protocol not known: nonsense.*such as s3://"),
        ("absent://runs", r"pip install absentfs$"),
        ("simplecache::absent://runs", r"pip install absentfs$"),
    ],
)
def test_storage_at_refuses_what_it_cannot_open(url, told, monkeypatch):
    absent = {"class": "absentfs.FileSystem", "err": "not installed"}
    monkeypatch.setitem(known_implementations, "absent", absent)
    with pytest.raises(InputError, match=told):
        storage_at(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://me:sesame@bucket/x", "simplecache::sftp://me:sesame@host/x", "ftp://[me:sesame@",
        "webhdfs://host/x?token=sesame",
    ],
)  # fmt: skip
def test_storage_at_refuses_a_password_and_does_not_repeat_it(url):
    with pytest.raises(InputError, match="password") as caught:
        storage_at(url)
    assert "sesame" not in str(caught.value)


def test_require_usable_takes_a_new_place_and_no_place_of_others(kept):
    require_usable(kept, None)
    assert kept.names("") == []
    kept.write("one-1.pt", b"")
    with pytest.raises(InputError, match="one-1.pt: choose another --name"):
        require_usable(kept, None)
    require_usable(kept, {"one-1.pt", "two-1.pt"})
    with pytest.raises(InputError, match="1 checkpoint.* none is in .*--storage NEWPLACE"):
        require_usable(kept, {"two-1.pt"})


def test_require_usable_refuses_what_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for bad in (FolderStorage(tmp_path / "file" / "x"), UrlStorage("shaky://bucket/b")):
        Shaky.fail(1, PermissionError("forbidden"))
        with pytest.raises(InputError, match="cannot be kept in .*choose another --storage"):
            require_usable(bad, None)
        with pytest.raises(InputError, match=r"none is in .*\(.*bring it back"):
            require_usable(bad, {"one-1.pt"})


@pytest.fixture
def task(tiny, tmp_path) -> Task:
    torch.set_num_threads(1)
    recipe = {"rungs": (1, 2), "batch": 4, "warmup_steps": 2, "learning_rate": 0.01}
    return Task(
        space=load_space(tiny.space), dataset=data.load(tiny.data), recipe=Recipe(**recipe),
        seed=0, cache_dir=tmp_path / "pictures",
        checkpoints=FolderStorage(tmp_path / "calm").prepare(),
    )  # fmt: skip


@pytest.fixture
def job(task) -> Job:
    return Job(task.space.candidate(resolution=64, a=0.25), 0, 6)


def weights(task: Task, job: Job) -> list[torch.Tensor]:
    return list(trained_network(task, job).state_dict().values())


def same_weights(one: Task, other: Task, job: Job) -> bool:
    pairs = zip(weights(one, job), weights(other, job), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def test_train_job_goes_on_without_its_storage_and_waits_for_it_at_the_end(
    task, job, monkeypatch, caplog
):
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)
    calm, told = [], []
    train_job(task, job, "cpu", alive=lambda: calm.append(1))
    shaky = dataclasses.replace(task, checkpoints=UrlStorage("shaky://b/x").prepare())
    resumed = loop.resume

    def then_gone(*given):
        training = resumed(*given)
        Shaky.fail(9)  # six partial checkpoints, and three tries to write the whole one
        return training

    monkeypatch.setattr(checkpoints, "TRAIN_ON_TIMES", 0)
    monkeypatch.setattr(loop, "resume", then_gone)
    train_job(shaky, job, "cpu", alive=lambda: told.append(1))
    assert Shaky.failures == 0 and len(told) == len(calm) + 3
    assert same_weights(task, shaky, job)
    assert shaky.checkpoints.names("") == [checkpoint_name(job)]
    assert caplog.text.count("trains on") == 1 and caplog.text.count("waiting for") == 1


def test_train_job_survives_a_folder_that_is_moved_away_for_a_while(task, job, tmp_path):
    second = dataclasses.replace(job, from_epoch=6, to_epoch=8)
    for each in (job, second):
        train_job(task, each, "cpu")
    disk, away = tmp_path / "disk", tmp_path / "away"
    moved = dataclasses.replace(task, checkpoints=storage_at(f"file://{disk}/run").prepare())
    train_job(moved, job, "cpu")
    disk.rename(away)
    back = threading.Timer(0.3, lambda: away.rename(disk))
    back.start()
    train_job(moved, second, "cpu")  # it starts from what is away
    back.join()
    assert same_weights(task, moved, second)
    assert not away.exists()


def test_train_job_ends_where_its_storage_stays_away_and_then_goes_on(task, job, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)
    train_job(task, job, "cpu")
    shaky = dataclasses.replace(task, checkpoints=UrlStorage("shaky://b/x").prepare())
    monkeypatch.setattr(storage, "MAX_WAIT_S", 0.05)
    saved = loop.save

    def gone_at_the_end(*given, partial=False, **more):
        if not partial:
            Shaky.fail(1000)
        saved(*given, partial=partial, **more)

    monkeypatch.setattr(loop, "save", gone_at_the_end)
    with pytest.raises(DeviceError, match="then --resume"):
        train_job(shaky, job, "cpu")
    Shaky.fail(0)
    assert not is_saved(shaky, job)
    assert (
        resume(shaky, job, torch.device("cpu")).epoch == job.to_epoch
    )  # nothing is trained twice
    monkeypatch.setattr(loop, "save", saved)
    train_job(shaky, job, "cpu")
    assert same_weights(task, shaky, job)


def test_train_job_spends_little_time_on_a_storage_that_answers_late(task, job, monkeypatch):
    class Slow(FolderStorage):
        tries = 0

        def write(self, name, content):
            if "partial" in name:
                Slow.tries += 1
                time.sleep(0.2)
                raise TimeoutError("no answer")
            super().write(name, content)

    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(checkpoints, "TRAIN_ON_TIMES", 10_000)
    slow = Slow(task.checkpoints.folder)
    train_job(dataclasses.replace(task, checkpoints=slow), job, "cpu")
    assert Slow.tries == 1


def test_train_job_leaves_no_draft_of_a_training_that_was_killed(task, job):
    draft = f"{checkpoint_name(job, partial=True)}.0123.tmp"
    task.checkpoints.write(draft, b"half of one")
    train_job(task, job, "cpu")
    assert task.checkpoints.names("") == [checkpoint_name(job)]


def test_trained_network_that_is_gone_is_the_candidates_fault_alone(task, job):
    with pytest.raises(CandidateError, match="epoch 6 is gone"):
        trained_network(task, job)
