"""`bundle` takes one model of a run home: whole, under a name of its own, over nothing else."""

import json
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


def test_it_gives_the_balanced_model_and_the_reason(finished, home, autoseg_command):
    called = autoseg_command("bundle", str(finished.folder))
    assert called.code == 0, called.stderr
    place, why = called.stdout.splitlines()
    result = autoseg.Result.from_run(finished.folder)
    key = result.pick("balanced").candidate.key
    assert place == f"run-{key}" and why == f"{key}: {result.reason('balanced')}"
    assert [path.name for path in home.iterdir()] == [place]
    with open_bundle(home / place) as found:
        assert found.manifest.key == key and found.strays == ()
        assert found.manifest.data.name == "boxes" and found.manifest.data.pictures["test"] == 2


def test_a_key_names_any_model_of_the_front_and_json_says_the_same(
    finished, home, autoseg_command
):
    for evaluation in autoseg.Result.from_run(finished.folder).front:
        key = evaluation.candidate.key
        called = autoseg_command(
            "bundle", str(finished.folder), "--pick", key, "-o", f"a/b/{key}", "--json"
        )
        assert called.code == 0, called.stderr
        said = json.loads(called.stdout)
        assert said == {
            "schema": 1, "key": key, "folder": f"a/b/{key}", "reason": "asked for by its key",
            "new": True, "explanation": None,
        }  # fmt: skip


def test_the_same_again_is_left_as_it_is(finished, home, autoseg_command):
    first = autoseg_command("bundle", str(finished.folder), "-o", "mine")
    before = (home / "mine" / "card.md").stat().st_mtime_ns
    again = autoseg_command("bundle", str(finished.folder), "-o", "mine")
    assert (first.code, again.code) == (0, 0)
    assert "there already" in again.stdout and "there already" not in first.stdout
    assert (home / "mine" / "card.md").stat().st_mtime_ns == before


def test_nothing_else_is_ever_written_over(finished, home, autoseg_command):
    (home / "full").mkdir()
    (home / "full" / "mine.txt").write_text("expensive")
    (home / "file").write_text("expensive")
    (home / "link").symlink_to(home / "full")
    for name in ("full", "file", "link", "file/below"):
        called = autoseg_command("bundle", str(finished.folder), "-o", name)
        assert called.code == 2 and called.stdout == "", name
        assert "another folder with -o" in called.stderr and "Traceback" not in called.stderr
    assert sorted(path.name for path in home.iterdir()) == ["file", "full", "link"]
    assert [path.name for path in (home / "full").iterdir()] == ["mine.txt"]


def test_an_unknown_key_is_told_with_those_of_the_front(finished, home, autoseg_command):
    called = autoseg_command("bundle", str(finished.folder), "--pick", "fastes")
    key = autoseg.Result.from_run(finished.folder).front[0].candidate.key
    assert called.code == 2 and "got 'fastes'" in called.stderr and key in called.stderr


def test_a_run_that_is_still_going_gives_what_is_confirmed(live, home, autoseg_command):
    called = autoseg_command("bundle", str(live))
    assert called.code == 0, called.stderr
    place = called.stdout.splitlines()[0]
    assert place.startswith("it_s_my_run_ö-")
    with open_bundle(Path(place)) as found:
        assert found.measurement.phase == "confirm"


def test_a_bundle_from_before_the_model_was_confirmed_anew_is_not_taken(
    finished, live, home, autoseg_command
):
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
        now = autoseg.Result.from_run(live).pick("balanced").measurement
        assert found.measurement == now
    shutil.rmtree(live / "artifacts")
    called = autoseg_command("bundle", str(live), "-o", "again")
    assert called.code == 2 and "has no file of" in called.stderr


def test_a_run_without_the_models_file_says_so(live, home, autoseg_command):
    shutil.rmtree(live / "artifacts")
    called = autoseg_command("bundle", str(live), "-o", "mine")
    assert called.code == 2 and "has no file of" in called.stderr
    assert not (home / "mine").exists()


def test_without_a_front_there_is_nothing_to_take(live, home, autoseg_command):
    ledger = live / "ledger.jsonl"
    kept = [line for line in ledger.read_text().splitlines() if '"confirmed"' not in line]
    ledger.write_text("".join(f"{line}\n" for line in kept))
    called = autoseg_command("bundle", str(live), "-o", "mine")
    assert called.code == 3 and called.stdout == "" and called.stderr
    assert not (home / "mine").exists()
