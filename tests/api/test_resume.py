"""A run may be killed anywhere: it goes on, repeats nothing, ends as if nothing had happened."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest

import autoseg
from autoseg.core.feasibility import unusable
from autoseg.core.records import Evaluation, Measurement
from autoseg.core.serialize import from_json
from autoseg.run.ledger import read_events

# The second rung is long enough to be killed in.
RECIPE = {
    "rungs": [1, 40], "batch": 2, "warmup_steps": 2, "learning_rate": 0.01, "augment": False,
}  # fmt: skip
FINAL = {
    "too_slow": "PRUNED", "stopped": "PRUNED", "failed": "FAIL", "confirmed": "COMPLETE",
    "rejected": "COMPLETE", "scored": "COMPLETE", "measured": "PRUNED",
}  # fmt: skip


class Command:
    """`autoseg` in a process of its own, in a folder of its own, with short timings."""

    def __init__(self, folder: Path, processes, arguments: list[str]) -> None:
        self.folder = folder
        self.processes = processes
        self.errors, self.output = folder / "stderr", folder / "stdout"
        with self.errors.open("w") as errors, self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, Path(__file__).parents[1] / "brief.py", *arguments], cwd=folder,
                stderr=errors, stdout=output, start_new_session=True,
            )  # fmt: skip

    def events(self, kind: str) -> int:
        run = self.folder / "results" / "run"
        return sum(e["event"] == kind for e in read_events(run))

    def until(self, what):
        def answer():
            assert self.process.poll() is None, self.errors.read_text()
            return what()

        return self.processes.wait_for(answer, within_s=180)

    def screens(self) -> bool:
        """Whether an untrained model is timed right now: its file is gone afterwards."""
        return any((self.folder / "results" / "run" / "artifacts").glob("*-untrained.onnx"))

    def confirms(self) -> bool:
        """Whether a trained model is exported that the ledger says nothing of yet."""
        run = self.folder / "results" / "run"
        settled = {e["key"] for e in read_events(run) if e["event"] in ("confirmed", "rejected")}
        trained = (p.stem for p in (run / "artifacts").glob("*.onnx") if "-" not in p.stem)
        return bool(set(trained) - settled)

    def trains(self) -> bool:
        """Whether a worker has been at one job for a while: far more than the first rung needs."""
        workers = self.processes.below(self.process.pid, named="autoseg.pools.worker")
        before, ticks = self.events("scored"), sum(map(self.processes.cpu_ticks, workers))
        if not before:
            return False
        # A busy machine gives them little time.
        while self.processes.alive(workers) == workers and self.events("scored") == before:
            if sum(map(self.processes.cpu_ticks, workers)) > ticks + 15:
                return True
            time.sleep(0.02)
        return False

    def end(self, number: signal.Signals) -> int:
        """Signal this process alone, and see that all that it started goes with it."""
        theirs = self.processes.below(self.process.pid)
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.processes.wait_for(lambda: not self.processes.alive(theirs), 10)
        return code


def in_training(command: Command) -> None:
    command.until(command.trains)


def in_screening(command: Command) -> None:
    command.until(command.screens)


def in_confirming(command: Command) -> None:
    command.until(command.confirms)


def nothing_twice(events) -> None:
    counted, useless = Counter(), set()
    for event in events:
        if event["event"] in ("proposed", "measured", "tested"):
            counted[event["event"], event["key"]] += 1
        if event["event"] in ("confirmed", "rejected"):
            # A figure that was disturbed until it was unusable is taken once again.
            if event["key"] in useless:
                useless.remove(event["key"])
                continue
            counted["confirmed", event["key"]] += 1
            if unusable(from_json(Measurement, event["measurement"]), "p90"):
                useless.add(event["key"])
        if event["event"] == "scored":
            score = event["score"]
            counted["scored", event["key"], score["epoch"], score["decayed"]] += 1
        if event["event"] == "reopened":  # what was found out on the way out does not count
            again = ("confirmed", "tested", "scored")
            for what in [w for w in counted if w[0] in again and w[1] == event["key"]]:
                del counted[what]
    assert not {what: times for what, times in counted.items() if times > 1}


def study_agrees(result: autoseg.Result) -> None:
    """The same candidates, states and values in Optuna's own words."""
    storage = f"sqlite:///{result.folder / 'study.db'}"
    (summary,) = optuna.get_all_study_summaries(storage)
    study = optuna.load_study(study_name=summary.study_name, storage=storage)
    trials = {trial.user_attrs["key"]: trial for trial in study.trials}
    assert len(trials) == len(study.trials)
    assert set(trials) == {e.candidate.key for e in result.evaluations}
    for evaluation in result.evaluations:
        trial = trials[evaluation.candidate.key]
        assert trial.state.name == FINAL[evaluation.state]
        assert trial.user_attrs["state"] == evaluation.state
        chosen = dict(evaluation.candidate.choices)
        assert trial.params == {name: chosen[name] for name in trial.params}
        if trial.state.name == "COMPLETE":
            latency_ms = evaluation.measurement.latency_ms("p90")
            assert trial.values == [latency_ms, evaluation.iou]


def story(evaluations: tuple[Evaluation, ...]) -> list:
    """What must be the same for the same seed: order and every score of the search.

    Who is finished depends on confirming latencies, which are measured anew each time.
    """
    return [
        (str(e.candidate), [(s.epoch, s.iou) for s in e.scores if not s.decayed])
        for e in evaluations
    ]


def complete(folder: Path, called) -> autoseg.Result:
    assert called.code in (0, 3), called.stderr
    told = json.loads(called.stdout)
    assert bool(told["front"]) != bool(told["misses"])
    events = read_events(folder)
    assert events[-1]["event"] == "finished"
    nothing_twice(events)
    result = autoseg.Result.from_run(folder)
    study_agrees(result)
    return result


ASKED = {"recipe": RECIPE, "min_iou": 0.4, "trials": 3, "name": "run"}
RESUME = ["optimize", "--resume", "--name", "run"]


def test_killed_while_it_trains_it_goes_on_to_its_end(tiny, tmp_path, processes, autoseg_command):
    command = Command(tmp_path, processes, tiny.arguments(**{**ASKED, "trials": 1}))
    in_training(command)
    scored = command.events("scored")
    assert command.end(signal.SIGKILL) == -signal.SIGKILL
    assert command.events("scored") == scored

    results = tmp_path / "results"
    complete(results / "run", autoseg_command(*RESUME, "--results", str(results), "--json"))


@pytest.mark.slow
def test_killed_and_interrupted_it_goes_on_to_its_end(tiny, tmp_path, processes, autoseg_command):
    command = Command(tmp_path, processes, tiny.arguments(**ASKED))
    in_training(command)
    assert command.end(signal.SIGKILL) == -signal.SIGKILL

    command = Command(tmp_path, processes, RESUME)
    in_training(command)
    assert command.end(signal.SIGINT) == 130
    said = command.errors.read_text()
    assert "to go on: autoseg optimize --resume --name run" in said and "Traceback" not in said
    assert "finishing: " in said and not command.events("searched")
    assert re.match(r"interrupted: \d+ models? meets? 100 ms", command.output.read_text())

    results = tmp_path / "results"
    complete(results / "run", autoseg_command(*RESUME, "--results", str(results), "--json"))


@pytest.mark.slow
def test_a_finished_run_that_is_continued_and_killed_keeps_its_front_and_bundles(
    tiny, tmp_path, processes, autoseg_command
):
    """More trials, a kill in the middle, then Ctrl-C: never less than before."""
    folder = tmp_path / "results" / "run"
    called = autoseg_command(*tiny.arguments(**{**ASKED, "trials": 1}, results=folder.parent))
    assert called.code == 0, called.stderr

    def shown() -> tuple[set[str], float, str]:
        told = json.loads(autoseg_command("front", str(folder), "--json").stdout)
        result = autoseg.Result.from_run(folder)
        keys = {e.candidate.key for e in result.front}
        assert keys and all((result.bundle(key) / "card.md").is_file() for key in keys)
        return keys, told["hypervolume"], told["status"]

    keys, volume, status = shown()
    assert status == "finished"
    for number in (signal.SIGKILL, signal.SIGINT):
        command = Command(tmp_path, processes, [*RESUME, "--trials", "4"])
        in_training(command)
        assert shown()[0] >= keys and shown()[2] == "running"
        command.end(number)
        now, more, status = shown()
        assert more >= volume and status == "interrupted"
        keys, volume = now, more


@pytest.mark.slow
def test_a_killed_run_proposes_and_scores_what_a_calm_one_does(
    tiny, tmp_path, processes, autoseg_command
):
    """With one worker, the same seed and the first one's measurements."""
    arguments = tiny.arguments(**ASKED)
    for moment in (in_screening, in_training):
        command = Command(tmp_path, processes, arguments)
        moment(command)
        assert command.end(signal.SIGKILL) == -signal.SIGKILL
        arguments = RESUME
    results, calm = tmp_path / "results", tmp_path / "calm" / "results"
    called = autoseg_command(*RESUME, "--results", str(results), "--json")
    torn = complete(results / "run", called)
    shutil.copytree(results / ".cache", calm / ".cache")
    called = autoseg_command(*tiny.arguments(**ASKED, results=calm), "--json")
    whole = complete(calm / "run", called)
    assert story(torn.evaluations) == story(whole.evaluations)


@pytest.mark.slow
def test_killed_while_it_confirms_with_two_workers_it_goes_on(
    tiny, tmp_path, processes, autoseg_command
):
    arguments = tiny.arguments(workers=2, name="run")
    for _ in range(2):
        command = Command(tmp_path, processes, arguments)
        in_confirming(command)
        confirmed = command.events("confirmed")
        assert command.end(signal.SIGKILL) == -signal.SIGKILL
        assert command.events("confirmed") == confirmed
        arguments = RESUME
    results = tmp_path / "results"
    called = autoseg_command(*RESUME, "--results", str(results), "--json")
    assert called.code == 0, called.stderr
    nothing_twice(read_events(results / "run"))
    study_agrees(autoseg.Result.from_run(results / "run"))


@pytest.mark.slow
def test_a_remeasuring_that_is_killed_and_interrupted_goes_on(
    finished, tmp_path, processes, autoseg_command
):
    folder = Path(shutil.copytree(finished.folder, tmp_path / "results" / "run"))
    (tmp_path / "b.yaml").write_text("{name: b, kind: local}")
    asked = ["remeasure", "run", "--device", "b.yaml"]

    def there(*kinds: str) -> list:
        return [e for e in read_events(folder) if e.get("on") == "b" and e["event"] in kinds]

    command = Command(tmp_path, processes, asked)
    command.until(lambda: there("measured"))
    assert command.end(signal.SIGKILL) == -signal.SIGKILL

    before = there("measured")
    command = Command(tmp_path, processes, asked)
    command.until(lambda: [*(folder / "devices" / "b" / "artifacts").glob("*[!d].onnx")])
    assert not there("confirmed", "rejected")
    assert command.end(signal.SIGINT) == 130
    said = command.errors.read_text()
    assert f"to go on: autoseg {' '.join(asked[:1])} results/run --device b.yaml" in said
    assert "Traceback" not in said and (folder / "devices" / "b" / "front.csv").exists()

    again = autoseg_command(*asked[:1], str(folder), "--device", str(tmp_path / "b.yaml"))
    assert again.code in (0, 3), again.stderr
    assert there("measured")[: len(before)] == before and there("finished")
    nothing_twice([e for e in read_events(folder) if e.get("on") == "b"])
