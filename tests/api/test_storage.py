"""Checkpoints at a URL: kept, found again, waited for, and never another run's."""

import shutil
import threading
from pathlib import Path

import pytest
import yaml
from api.test_resume import nothing_twice

import autoseg
from autoseg.run.ledger import read_events


class Disk:
    """A folder that a storage's URL names; it can be moved away, and comes back."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.away = folder / "disk", folder / "away"
        self.folder.mkdir()
        self.back: threading.Timer | None = None

    @property
    def url(self) -> str:
        return f"file://{self.folder}"

    def leave(self, back_in_s: float) -> None:
        self.folder.rename(self.away)
        self.back = threading.Timer(back_in_s, self.come_back)
        self.back.start()

    def come_back(self) -> None:
        self.away.rename(self.folder)


@pytest.fixture
def disk(tmp_path) -> Disk:
    return Disk(tmp_path)


def scores(folder: Path) -> dict:
    events = [e for e in read_events(folder) if e["event"] == "scored"]
    return {(e["key"], e["score"]["epoch"]): e["score"]["iou"] for e in events}


def test_optimize_keeps_checkpoints_at_a_url_and_survives_its_absence(
    tiny, tmp_path, disk, finished
):
    def gone_once(event):
        if event["event"] == "scored" and disk.back is None:
            disk.leave(back_in_s=1.5)

    given = {**tiny.given, "trials": 2, "results": tmp_path / "results", "name": "demo"}
    result = autoseg.optimize(**given, storage=disk.url, on_event=gone_once)
    disk.back.join()
    assert scores(result.folder) == scores(finished.folder)
    nothing_twice(read_events(result.folder))
    assert not list((result.folder / "checkpoints").iterdir())
    kept = {path.name for path in (disk.folder / "demo").iterdir()}
    told = {e["checkpoint"] for e in read_events(result.folder) if e["event"] == "scored"}
    assert kept and kept <= told and not any("/" in name for name in told)
    raw = yaml.safe_load((result.folder / "run.yaml").read_text())
    assert (raw["storage"], raw["checkpoints"]) == (disk.url, f"{disk.url}/demo")
    with pytest.raises(autoseg.InputError, match="holds files already.*choose another --name"):
        autoseg.optimize(**{**given, "results": tmp_path / "other"}, storage=disk.url)
    assert not (tmp_path / "other" / "demo").exists()
    # Its weights are there for another device, whatever the run is called by now.
    moved = result.folder.rename(tmp_path / "results" / "renamed")
    shutil.rmtree(moved / "artifacts")
    device = autoseg.FakeDevice()
    assert autoseg.remeasure(moved, device=device).front


@pytest.mark.slow
def test_optimize_stopped_by_its_storage_goes_on_once_it_is_back(tiny, tmp_path, disk, finished):
    def gone_for_good(event):
        if event["event"] == "scored" and not disk.away.exists():
            disk.folder.rename(disk.away)
            disk.folder.write_text("in its place: waiting does not help")

    given = {**tiny.given, "trials": 2, "results": tmp_path / "results", "name": "demo"}
    with pytest.raises(autoseg.DeviceError, match="fix that, then --resume; to go on: autoseg"):
        autoseg.optimize(**given, storage=disk.url, on_event=gone_for_good)
    resume = {"resume": True, "name": "demo", "results": tmp_path / "results"}
    with pytest.raises(autoseg.InputError, match="none is in .*--storage NEWPLACE"):
        autoseg.optimize(**resume)
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(autoseg.InputError, match="none is in .*--storage NEWPLACE"):
        autoseg.optimize(**resume, storage=f"file://{elsewhere}")
    shutil.move(disk.away, elsewhere)
    result = autoseg.optimize(**resume, storage=f"file://{elsewhere}")
    assert scores(result.folder) == scores(finished.folder)
    nothing_twice(read_events(result.folder))
    raw = yaml.safe_load((result.folder / "run.yaml").read_text())
    assert raw["storage"] == f"file://{elsewhere}"


def test_optimize_refuses_a_storage_before_anything_is_written(tiny, tmp_path):
    given = {**tiny.given, "results": tmp_path / "results", "name": "demo"}
    (tmp_path / "file").write_text("")
    for url, told in (
        ("s3://me:sesame@bucket", "password"),
        (f"file://{tmp_path}/file/runs", "cannot be kept in"),
        ("nonsense://runs", "Protocol not known"),
    ):
        with pytest.raises(autoseg.InputError, match=told):
            autoseg.optimize(**given, storage=url)
    assert not (tmp_path / "results" / "demo").exists()
