"""`bundle` takes one model of a run home: whole, under a name of its own, over nothing else."""

import json
import re
import shutil
from pathlib import Path

import pytest

import autoseg
from autoseg.bundle.read import open_bundle


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def live(finished, tmp_path) -> Path:
    """The same run before its files were written, under a name of any kind."""
    folder = tmp_path / "runs" / "it's <my> run ö"
    shutil.copytree(finished.folder, folder)
    shutil.rmtree(folder / "bundles")
    (folder / "bundles").mkdir()
    return folder


def test_bundle_copies_the_most_accurate_model_with_its_reason(finished, home, autoseg_command):
    called = autoseg_command("bundle", str(finished.folder))
    assert called.code == 0, called.stderr
    place, why = called.stdout.splitlines()
    result = autoseg.Result.from_run(finished.folder)
    key = result.pick("accurate").candidate.key
    assert place == f"{finished.folder.name}-{key}"
    assert why == f"{key}: {result.reason('accurate')}"
    assert [path.name for path in home.iterdir()] == [place]
    with open_bundle(home / place) as found:
        assert found.manifest.key == key and found.strays == ()
        assert found.manifest.data.name == "boxes" and found.manifest.data.pictures["test"] == 2


def test_bundle_pick_by_key_takes_any_front_model_and_json_agrees(finished, home, autoseg_command):
    for evaluation in autoseg.Result.from_run(finished.folder).front:
        key = evaluation.candidate.key
        called = autoseg_command(
            "bundle", str(finished.folder), "--pick", key, "-o", f"a/b/{key}", "--json"
        )
        assert called.code == 0, called.stderr
        said = json.loads(called.stdout)
        assert said == {
            "schema": 1, "key": key, "folder": f"a/b/{key}", "reason": said["reason"],
            "new": True, "explanation": None,
        }  # fmt: skip


def test_bundle_repeated_leaves_the_folder_unchanged(finished, home, autoseg_command):
    first = autoseg_command("bundle", str(finished.folder), "-o", "mine")
    before = (home / "mine" / "card.md").stat().st_mtime_ns
    again = autoseg_command("bundle", str(finished.folder), "-o", "mine")
    assert (first.code, again.code) == (0, 0)
    assert "already" in again.stdout and "already" not in first.stdout
    assert (home / "mine" / "card.md").stat().st_mtime_ns == before


def test_bundle_overwrites_nothing_else(finished, home, autoseg_command):
    (home / "full").mkdir()
    (home / "full" / "mine.txt").write_text("expensive")
    (home / "file").write_text("expensive")
    (home / "link").symlink_to(home / "full")
    for name in ("full", "file", "link", "file/below"):
        called = autoseg_command("bundle", str(finished.folder), "-o", name)
        assert called.code == 2 and called.stdout == "", name
        assert "-o" in called.stderr and "Traceback" not in called.stderr
    assert sorted(path.name for path in home.iterdir()) == ["file", "full", "link"]
    assert [path.name for path in (home / "full").iterdir()] == ["mine.txt"]


def test_bundle_with_an_unknown_key_lists_those_of_the_front(finished, home, autoseg_command):
    called = autoseg_command("bundle", str(finished.folder), "--pick", "fastes")
    key = autoseg.Result.from_run(finished.folder).front[0].candidate.key
    assert called.code == 2 and "got 'fastes'" in called.stderr and key in called.stderr


def test_bundle_of_a_live_run_gives_a_confirmed_model(live, home, autoseg_command):
    called = autoseg_command("bundle", str(live))
    assert called.code == 0, called.stderr
    place = called.stdout.splitlines()[0]
    assert place.startswith("it_s_my_run_ö-")
    with open_bundle(Path(place)) as found:
        assert found.measurement.phase == "confirm"


def test_bundle_rebuilds_an_outdated_bundle(finished, live, home, autoseg_command):
    shutil.copytree(finished.folder / "bundles", live / "bundles", dirs_exist_ok=True)
    ledger = live / "ledger.jsonl"
    events = [json.loads(line) for line in ledger.read_text().splitlines()]
    for event in events:
        if event["event"] == "confirmed":
            event["measurement"]["p50_ms"] += 1e-6
    ledger.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    called = autoseg_command("bundle", str(live), "-o", "mine")
    assert called.code == 0, called.stderr
    with open_bundle(home / "mine") as found:
        now = autoseg.Result.from_run(live).pick().measurement
        assert found.measurement == now
    shutil.rmtree(live / "artifacts")
    called = autoseg_command("bundle", str(live), "-o", "again")
    assert called.code == 2 and re.search("[0-9a-f]{12} .*artifacts/", called.stderr)


def test_bundle_without_the_model_file_is_refused(live, home, autoseg_command):
    shutil.rmtree(live / "artifacts")
    called = autoseg_command("bundle", str(live), "-o", "mine")
    assert called.code == 2 and re.search("[0-9a-f]{12} .*artifacts/", called.stderr)
    assert not (home / "mine").exists()


def test_bundle_without_a_front_is_refused(live, home, autoseg_command):
    ledger = live / "ledger.jsonl"
    kept = [line for line in ledger.read_text().splitlines() if '"confirmed"' not in line]
    ledger.write_text("".join(f"{line}\n" for line in kept))
    called = autoseg_command("bundle", str(live), "-o", "mine")
    assert called.code == 3 and called.stdout == "" and called.stderr
    assert not (home / "mine").exists()
