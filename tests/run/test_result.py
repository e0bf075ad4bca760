"""What a reader is told of a run that is worked on, was stopped, or has finished."""

import json
import re
import shutil
from pathlib import Path

import pytest
from staged import staged

import autoseg
from autoseg.report.dashboard.texts import note
from autoseg.run.commands import Commands
from autoseg.run.ledger import read_events
from autoseg.run.store import Run, is_running

SETTLED = ("confirmed", "rejected", "tested", "finished")


def rewrite(folder: Path, events) -> None:
    (folder / "ledger.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))


@pytest.fixture
def waiting(finished, tmp_path) -> Path:
    """A run that has trained two models and confirmed none."""
    folder = Path(shutil.copytree(finished.folder, tmp_path / "results" / "run"))
    rewrite(folder, [e for e in read_events(folder) if e["event"] not in SETTLED])
    return folder


def test_front_of_a_live_run_says_that_the_final_check_is_pending(waiting, autoseg_command):
    run = Run.open(waiting)
    called = autoseg_command("front", str(waiting))
    told = json.loads(autoseg_command("front", str(waiting), "--json").stdout)
    page = autoseg_command("report", str(waiting)).stdout.strip()
    said = note(autoseg.Result.from_run(waiting))
    run.close()
    headline = "running: 2 models meet 100 ms and IoU 0.4 on local, final check pending"
    assert called.code == 3 and called.stdout.startswith(headline)
    for text in (called.stdout, Path(page).read_text(encoding="utf-8"), said):
        assert "no model" not in text and "--min-iou 0.3" not in text
        assert not re.search("what would help|to go on", text, re.IGNORECASE)
    assert headline in Path(page).read_text(encoding="utf-8") and headline[1:] in said
    assert (told["status"], told["resume"]) == ("running", None)
    assert len(told["waiting"]) == 2 and told["explanation"]["relax"] == []


def test_front_of_an_interrupted_run_names_the_command_that_goes_on(waiting, autoseg_command):
    called = autoseg_command("front", str(waiting))
    told = json.loads(autoseg_command("front", str(waiting), "--json").stdout)
    command = f"autoseg optimize --resume --name run --results {waiting.parent}"
    assert called.stdout.startswith("interrupted: 2 models meet 100 ms")
    assert called.stdout.count(command) == 1
    assert "--min-iou" not in called.stdout  # nothing is relaxed that is met
    assert (told["status"], told["resume"]) == ("interrupted", command)
    page = Path(autoseg_command("report", str(waiting)).stdout.strip())
    assert command in page.read_text(encoding="utf-8")
    assert command.split()[-1] in note(autoseg.Result.from_run(waiting))


def test_result_of_a_live_run_counts_what_it_has_before_any_score(tmp_path):
    folder = staged(tmp_path / "run", trials=9, front=2, diagnostics=False, finished=False)
    everything = read_events(folder)
    early = [e for e in everything if e["event"] in ("proposed", "measured")]
    run = Run.open(folder)

    def headline(events) -> str:
        rewrite(folder, events)
        return autoseg.Result.from_run(folder).headline

    assert headline([]) == "running: nothing is measured yet"
    assert headline(early) == "running: 9 measured, 8 fit 10 ms, nothing is trained yet"
    scored = [e for e in everything if e["event"] == "scored"]
    low = [{**e, "score": {**e["score"], "iou": 0.5}} for e in scored]
    trained = headline([*early, *low])
    assert re.match(
        r"running: \d trained towards 10 ms and IoU 0\.9 on local; the nearest", trained
    )
    assert re.match("running: 2 models meet 10 ms", headline(everything))
    run.close()


def test_status_is_that_of_the_device_that_is_worked_on(finished, tmp_path):
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    assert autoseg.Result.from_run(folder).status == "finished"
    run = Run.open(folder, "board")
    assert is_running(folder, "board") and not is_running(folder)
    assert autoseg.Result.from_run(folder).status == "finished"
    run.leave()
    assert not is_running(folder, "board")
    run.close()


def test_run_open_is_not_disturbed_by_readers(finished, tmp_path):
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    for _ in range(20):
        run = Run.open(folder)
        assert is_running(folder)
        run.close()
        assert not is_running(folder)


def test_front_pick_of_a_model_without_a_bundle_names_the_command(
    finished, tmp_path, autoseg_command
):
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    rewrite(folder, [e for e in read_events(folder) if e["event"] != "finished"])
    shutil.rmtree(folder / "bundles")
    called = autoseg_command("front", str(folder), "--pick", "fastest")
    assert called.code == 0
    assert f"autoseg bundle {folder} --pick fastest" in called.stdout.splitlines()[-1]
    told = json.loads(autoseg_command("front", str(folder), "--pick", "fastest", "--json").stdout)
    assert told["key"] and told["bundle"] is None
    out = tmp_path / "out"
    assert autoseg_command("bundle", str(folder), "--pick", "fastest", "-o", str(out)).code == 0


def test_commands_reach_the_files_of_a_run_from_any_folder(tmp_path, monkeypatch):
    asked = {"data": "pictures", "min_iou": 0.8, "places": {"working_folder": str(tmp_path)}}
    folder = Path("results/mine")
    (tmp_path / "results" / "mine-2").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    here = Commands.of(folder, asked)
    assert "--name mine-3 " in here.anew() and "--data pictures" in here.anew()
    assert here.resume(budget="1h") == "autoseg optimize --resume --name mine --budget 1h"
    same = Commands.of(folder, {**asked, "budget": "60s"}, budget="1m")
    assert same.resume() == "autoseg optimize --resume --name mine"
    monkeypatch.chdir(tmp_path / "results")
    there = Commands.of(Path("mine"), asked, budget="2h")
    assert f"--data {tmp_path / 'pictures'}" in there.anew(min_iou=0.7)
    assert "--min-iou 0.7" in there.anew(min_iou=0.7) and "--results ." in there.anew()
    # What the last session was given is not in run.yaml.
    assert there.resume() == "autoseg optimize --resume --name mine --budget 2h --results ."
