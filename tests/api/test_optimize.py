"""`autoseg.optimize` from Python: in a script, in a pipeline, on a device that fails."""

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import autoseg
from autoseg import data
from autoseg.api.predict import predict_files
from autoseg.api.session import write_report
from autoseg.report.console import result_lines
from autoseg.run.ledger import read_events
from autoseg.run.store import read_declaration

SCRIPT = """\
import json, sys
import autoseg

given = json.loads(sys.argv[1])
result = autoseg.optimize(**given, device=autoseg.FakeDevice(channel_step=8), name="run")
assert autoseg.Result.from_run(result.folder) == result
assert callable(autoseg.optimize) and callable(autoseg.cost)  # and not the modules, loaded by now
print(json.dumps([e.candidate.key for e in result.front]))
"""


def given(tiny, results: Path, **changed):
    return {**tiny.given, "results": results, "name": "run", **changed}


def trained(folder: Path) -> dict[tuple, float]:
    """The IoU of each candidate at each epoch that it was scored at."""
    events = [e for e in read_events(folder) if e["event"] == "scored"]
    return {
        (e["key"], e["score"]["epoch"], e["score"]["decayed"]): e["score"]["iou"] for e in events
    }


def test_optimize_in_a_plain_script_repeats_the_command_line_run(tiny, finished, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    said = json.dumps({**tiny.given, "results": "results", "trials": 1}, default=str)
    done = subprocess.run(
        [sys.executable, "script.py", said], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    keys = json.loads(done.stdout)
    result = autoseg.Result.from_run(tmp_path / "results" / "run")
    assert [e.candidate.key for e in result.front] == keys and keys
    for rank, key in enumerate(keys, start=1):
        assert result.bundle(key) == result.folder / "bundles" / f"{rank}-{key}"
        assert (result.bundle(key) / "model.onnx").is_file()
    # That device says other latencies than this machine does, so others may be trained further.
    here, there = trained(result.folder), trained(finished.folder)
    common = here.keys() & there.keys()
    assert common and all(here[what] == there[what] for what in common)
    with pytest.raises(autoseg.InputError, match="'abc'.*" + keys[0]):
        result.bundle("abc")


def test_result_from_run_answers_from_the_folder_alone(finished):
    result = autoseg.Result.from_run(finished.folder)
    front = result.front
    latencies = [e.measurement.p90_ms for e in front]
    assert latencies == sorted(latencies) and front
    assert result.pick("fastest") == front[0]
    assert result.pick("accurate") == front[-1]
    assert result.pick() == front[-1]
    assert result.misses() == []
    assert "1 untrained network" in result.verdict[0]
    assert result.baseline is not None and result.baseline.candidate["resolution"] == 96
    table = result.to_pandas()
    assert list(table["key"][: len(front)]) == [e.candidate.key for e in front]
    assert len(table) == len(result.evaluations) == 2
    with pytest.raises(autoseg.InputError, match="gone"):
        autoseg.Result.from_run(finished.folder / "gone")


def test_optimize_confirms_the_trained_file_and_reads_test_once(finished):
    for evaluation in autoseg.Result.from_run(finished.folder).front:
        first, *others = [m.phase for m in evaluation.measurements]
        # On a busy machine a figure may be unusable: it is taken once again.
        assert first == "screen" and others in (["confirm"], ["confirm", "confirm"])
        assert evaluation.measurement.runs >= 1024
        assert evaluation.p_feasible >= 0.9
        assert evaluation.score("val").source == "onnx" and evaluation.score("val").decayed
        assert sum(score.split == "test" for score in evaluation.scores) == 1


class Lines(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture(scope="module")
def watched(tiny, tmp_path_factory):
    """A run in which nothing fits, followed in every way; what is called fails each time."""
    folder, log = tmp_path_factory.mktemp("watched"), logging.getLogger("autoseg.progress")
    device, lines, heard, seen = autoseg.FakeDevice(latency=5.0), Lines(), [], []

    def start(run, declaration):
        assert declaration.max_latency == "2ms"
        run.listeners.append(lambda event: heard.append(event["event"]))

    def look(event):
        live = autoseg.Result.from_run(folder / "run")
        seen.append((live.headline, len(live.to_pandas()), json.dumps(live.to_json())))
        return 1 / 0

    level = log.level
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    asked = given(tiny, folder, max_latency="2ms")
    result = autoseg.optimize(**asked, device=device, on_start=start, on_event=look)
    log.removeHandler(lines)
    log.setLevel(level)
    return SimpleNamespace(
        result=result, device=device, heard=heard, seen=seen, records=lines.records
    )


def test_optimize_trains_nothing_over_the_ceiling_and_names_the_nearest(watched):
    result, device = watched.result, watched.device
    assert result.front == [] and result.pick() is None
    assert {e.state for e in result.evaluations} == {"too_slow"}
    assert re.search(r"2 ms.* 4 measured .*5\.1 ms \(p90\)", result.misses()[0])
    assert result.explanation().binds == "ceiling"
    (way,) = result.explanation().relax
    assert str(way) == "--max-latency 5.7ms" and "untrained" in way.gives
    assert device.closed and not device.predicted
    assert not list((result.folder / "checkpoints").iterdir())
    facts = [kind for kind in watched.heard if kind != "activity"]  # not written down
    assert facts == [event["event"] for event in read_events(result.folder)]


def test_result_from_run_reads_a_live_run_at_any_moment(watched):
    (first, none), (last, four) = watched.seen[0][:2], watched.seen[-1][:2]
    assert (none, four) == (0, 4)
    assert first == "running: nothing is measured yet"
    assert re.search(r"^no model .*2 ms .*IoU 0\.4 on fake.*5\.1 ms", last)
    assert watched.result.headline == watched.seen[-1][0]


def test_optimize_survives_a_failing_callback_and_logs_a_line_per_event(watched):
    result = watched.result
    lines = [r.getMessage() for r in watched.records if r.levelno == logging.INFO]
    assert re.search(f"^run {result.folder}: intermediate .*seed 0$", lines[0])
    assert lines[1] == "1 slot on the CPU's cores"
    key = result.evaluations[0].candidate.key
    assert any(line.startswith(f"{key} ") and "over 2 ms" in line for line in lines)
    failures = [r for r in watched.records if r.levelno == logging.WARNING]
    assert len(failures) == len(read_events(result.folder))
    facts = "on_event .*'pool' .*ZeroDivisionError: division by zero"
    assert re.search(facts, failures[0].getMessage())
    assert failures[0].exc_info and not failures[1].exc_info


def test_optimize_stops_when_the_device_is_lost_and_resume_needs_the_same_data(
    tiny, tmp_path, caplog
):
    pictures = Path(shutil.copytree(tiny.data, tmp_path / "pictures"))
    asked = given(tiny, tmp_path, data=pictures, max_latency="2ms")
    with pytest.raises(autoseg.DeviceError, match="measurement 3") as caught:
        autoseg.optimize(**asked, device=autoseg.FakeDevice(latency=5.0, fail_on=3))
    again = f"autoseg optimize --resume --name run --results {tmp_path}"
    assert str(caught.value).endswith(again)
    before = read_events(tmp_path / "run")
    here = {"results": tmp_path, "name": "run", "resume": True}
    with pytest.raises(autoseg.DeviceError, match=r"--name run --budget 1h --results "):
        autoseg.optimize(**here, budget="1h", device=autoseg.FakeDevice(latency=5.0, fail_on=1))
    again = autoseg.FakeDevice(latency=5.0)
    result = autoseg.optimize(**here, device=again)
    assert len(again.measured) == 2
    assert read_events(tmp_path / "run")[: len(before)] == before
    assert len(result.evaluations) == 4
    (pictures / "classes.txt").write_text("belt\nparcel\n")
    with pytest.raises(autoseg.InputError, match="data .*changed"):
        autoseg.optimize(**asked, resume=True, device=autoseg.FakeDevice(latency=5.0))
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_optimize_keeps_the_channel_step_of_the_run(tiny, tmp_path):
    params = {}
    for step in (1, 16):
        asked = given(tiny, tmp_path / str(step), max_latency="2ms", trials=1)
        device = autoseg.FakeDevice(latency=5.0, channel_step=step)
        result = autoseg.optimize(**asked, device=device)
        params[step] = {e.candidate.key: e.cost.params for e in result.evaluations if e.cost}
    assert params[1].keys() == params[16].keys()
    assert all(params[1][key] < params[16][key] for key in params[1])
    with pytest.raises(autoseg.InputError, match="channel step"):
        autoseg.optimize(**asked, resume=True, device=autoseg.FakeDevice(5.0, channel_step=8))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"max_latency": 33}, "--max-latency .*unit, got '33'.*33ms"),
        ({"budget": 8}, "--budget .*unit, got '8'"),
        ({"min_iou": "0.95"}, "--min-iou .*number, got '0.95'"),
        ({"min_iou": float("nan")}, "--min-iou .*0 and 1, got nan"),
        ({"trials": 2.5}, "--trials .*whole number, got 2.5"),
        ({"workers": True}, "--workers .*whole number, got True"),
        ({"gpus": -1}, "--gpus must be at least 0, got -1"),
        ({"gpus_per_trial": 2}, "--gpus-per-trial .*at most 1, got 2"),
        ({"gpus_per_trial": "half"}, "--gpus-per-trial must be a number, got 'half'"),
        ({"seed": "1"}, "--seed .*whole number, got '1'"),
        ({"recipe": {"batch": 0}}, "recipe .*batch=0"),
    ],
)
def test_optimize_refuses_wrong_python_values_with_option_and_value(changed, said, tiny, tmp_path):
    with pytest.raises(autoseg.InputError) as caught:
        autoseg.optimize(**given(tiny, tmp_path / "results", **changed))
    assert re.search(said, str(caught.value))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"gpus": 999}, "--gpus 999 asks for more GPUs than torch finds here"),
        ({"gpus": 0, "gpus_per_trial": 0.5}, "--gpus-per-trial 0.5 .*with --gpus 0"),
    ],
)
def test_optimize_refuses_gpus_that_are_not_there_before_a_run_is_begun(
    changed, said, tiny, tmp_path
):
    with pytest.raises(autoseg.InputError, match=said):
        autoseg.optimize(**given(tiny, tmp_path, **changed))
    assert {path.name for path in tmp_path.iterdir()} <= {".cache"}


def leaving(tiny, results: Path, *signals: int, on: str = "scored", **changed):
    """A run that is sent signals, one at each event of a kind; its error, and what it said."""
    waiting, said = list(signals), []

    def hear(event):
        said.append(event["text"] if event["event"] == "notice" else event["event"])
        if event["event"] == on and waiting:
            os.kill(os.getpid(), waiting.pop(0))

    # The last rung takes far longer than anybody waits.
    asked = given(tiny, results, recipe={**tiny.given["recipe"], "rungs": [4, 90_000]}, **changed)
    with pytest.raises(autoseg.AutosegError) as caught:
        autoseg.optimize(
            **asked, device=autoseg.FakeDevice(2.0),
            on_start=lambda run, declaration: run.listeners.append(hear),
        )  # fmt: skip
    assert re.match("interrupted.*autoseg optimize --resume", str(caught.value))
    return caught.value, said


def test_optimize_interrupted_once_gives_confirmed_models(tiny, tmp_path):
    error, said = leaving(tiny, tmp_path, signal.SIGTERM, min_iou=0.05)
    assert any(re.match("interrupted.*Ctrl-C", line) for line in said)
    assert any(re.search(r"\d model.* 0:\d\d.*Ctrl-C", line) for line in said)
    assert "interrupted" in said and "searched" not in said and "finished" not in said
    assert error.result.front and error.result == autoseg.Result.from_run(tmp_path / "run")
    for evaluation in error.result.front:
        assert (error.result.bundle(evaluation.candidate.key) / "model.onnx").is_file()
        assert evaluation.score("test") is not None
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert error.result.headline in page and "not finished" in page
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_optimize_interrupted_twice_or_before_training_stops_at_once(tiny, tmp_path):
    error, said = leaving(tiny, tmp_path, signal.SIGINT, on="measured")
    assert error.result is None and said[-1] == "measured"
    error, said = leaving(tiny, tmp_path, signal.SIGINT, signal.SIGINT, resume=True, on="scored")
    assert error.result is None and "confirmed" not in said
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_optimize_interrupted_when_only_test_is_left_finishes_the_run(finished, tmp_path):
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    events = [e for e in read_events(folder) if e["event"] not in ("tested", "finished")]
    (folder / "ledger.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    waiting = [signal.SIGTERM]

    def hear(event):
        if event["event"] == "tested" and waiting:
            os.kill(os.getpid(), waiting.pop())

    result = autoseg.optimize(
        results=tmp_path, name="run", resume=True,
        on_start=lambda run, declaration: run.listeners.append(hear),
    )  # fmt: skip
    assert not waiting and read_events(folder)[-1]["event"] == "finished"
    assert all(e.score("test") for e in result.evaluations if e.promised)


def test_optimize_on_event_gets_every_event_with_its_evaluation_and_can_stop_the_run(
    tiny, tmp_path
):
    heard = []

    def hear(event):
        heard.append(event)
        return "stop" if event["event"] == "scored" else None

    asked = given(tiny, tmp_path, min_iou=0.05, recipe={**tiny.given["recipe"], "rungs": [4, 999]})
    with pytest.raises(autoseg.Interrupted, match="autoseg optimize --resume") as caught:
        autoseg.optimize(**asked, device=autoseg.FakeDevice(2.0), on_event=hear)
    assert caught.value.result.front and caught.value.result.searched is False
    told = read_events(tmp_path / "run")
    assert [{k: v for k, v in e.items() if k != "evaluation"} for e in heard] == told
    (confirmed, *_) = [e for e in heard if e["event"] == "confirmed"]
    assert confirmed["evaluation"].iou == confirmed["score"]["iou"]
    assert confirmed["evaluation"].candidate.key == confirmed["key"]
    assert next(e for e in heard if e["event"] == "verdict")["evaluation"] is None


def test_optimize_dry_run_returns_a_plan_and_keeps_its_measurements(tiny, tmp_path, monkeypatch):
    device = autoseg.FakeDevice(2.0)
    asked = given(tiny, tmp_path, trials=None, budget="10m")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    result = autoseg.optimize(**asked, device=device, dry_run=True)
    assert read_declaration(result.folder)["machine"]["cpus"] == 1  # what it may use
    assert result.front == [] and len(device.measured) == 4
    assert not list((result.folder / "checkpoints").iterdir())
    assert re.search(r"4 untrained networks.* 4 .*100 ms", result.verdict[0])
    assert re.search(r"4 candidates .*intermediate.* 4 measured \(4 fit\)", result.plan[0])
    assert any(re.search(r"\b9:\d\d .*\b\d:\d\d ", line) for line in result.plan)
    assert any("(4 epochs)" in line for line in result.plan)
    again = autoseg.FakeDevice(2.0)
    more = {"results": tmp_path, "name": "run", "resume": True, "budget": "10ms", "dry_run": True}
    result = autoseg.optimize(**more, device=again)
    assert not again.measured
    assert "--budget" in result.plan[-1]


def test_optimize_more_goes_on_beyond_what_was_spent(tiny, tmp_path):
    asked = given(tiny, tmp_path, trials=None, budget="1s")
    first = autoseg.optimize(**asked, device=autoseg.FakeDevice(2.0), dry_run=True)
    here = {"results": tmp_path, "name": "run", "resume": True, "dry_run": True}
    again = autoseg.optimize(**here, more="20m", device=autoseg.FakeDevice(2.0))
    assert again.plan != first.plan
    assert re.search(
        r"budget of 2\d:\d\d is the total .* are spent, (20:00|1\d:\d\d) are left",
        again.plan[0],
    )
    with pytest.raises(autoseg.InputError, match="--more .*without --budget"):
        autoseg.optimize(**here, more="20m", budget="1h", device=autoseg.FakeDevice(2.0))
    with pytest.raises(autoseg.InputError, match="--more .*--resume"):
        autoseg.optimize(**{**asked, "name": "new", "budget": None}, more="20m")
    with pytest.raises(autoseg.InputError, match="--more .*unit"):
        autoseg.optimize(**here, more="20")


def test_optimize_zip_is_searched_and_resumed_as_the_folder_in_it(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = shutil.make_archive(str(tmp_path / "boxes"), "zip", tiny.data)
    asked = given(tiny, tmp_path, data=path, trials=None, budget="10m")
    first = autoseg.optimize(**asked, device=autoseg.FakeDevice(2.0), dry_run=True)
    assert read_declaration(first.folder)["data_digest"] == data.load(tiny.data).digest
    again = autoseg.FakeDevice(2.0)
    more = {"results": tmp_path, "name": "run", "resume": True, "dry_run": True}
    autoseg.optimize(**more, device=again)
    assert not again.measured


WIDE = """\
network: fast_scnn
knobs:
  resolution: {choices: [128, 96, 64], baseline: 128, effort: entry}
  a: {choices: [0.5, 0.25, 0.125], baseline: 0.5, effort: intermediate}
  t: {choices: [4, 2, 1], baseline: 4, effort: expert}
  r: {choices: [2, 1], baseline: 2, effort: expert}
  pp: {choices: [1, 0], baseline: 0, effort: expert}
"""


@pytest.mark.slow
def test_optimize_with_the_same_seed_proposes_the_same_candidates_in_the_same_order(
    tiny, tmp_path
):
    """More trials than are surveyed, so that the sampler proposes the last of them."""
    space = tmp_path / "wide.yaml"
    space.write_text(WIDE)
    stories = []
    for name in ("one", "two"):
        recipe = {"rungs": [1, 2], "batch": 8, "augment": False}
        asked = given(tiny, tmp_path / name, space=space, trials=32, recipe=recipe)
        asked |= {"effort": "expert", "max_latency": "1ms", "min_iou": 0.1}
        result = autoseg.optimize(**asked, device=autoseg.FakeDevice())
        assert len(result.evaluations) > 28
        stories.append(
            [
                (e.candidate, e.state, [(s.epoch, s.iou) for s in e.scores])
                for e in result.evaluations
            ]
        )
    assert stories[0] == stories[1]


def test_report_of_a_run_is_marked_unfinished_until_it_is_finished(finished, tmp_path):
    unfinished = "not finished"
    own = finished.folder / "report.html"
    assert unfinished not in own.read_text(encoding="utf-8")
    assert "(report.html front.csv" in result_lines(autoseg.Result.from_run(finished.folder))[-1]
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    # As of a second session, stopped when only test was left to read.
    events = read_events(folder)
    again = [*events, *(e for e in events if e["event"] == "tested")]
    (folder / "ledger.jsonl").write_text("".join(json.dumps(e) + "\n" for e in again))
    write_report(autoseg.Result.from_run(folder))
    assert unfinished in (folder / "report.html").read_text(encoding="utf-8")
    autoseg.optimize(results=tmp_path, name="run", resume=True)
    assert unfinished not in (folder / "report.html").read_text(encoding="utf-8")


def test_optimize_takes_16_bits_and_names_that_are_no_utf_8_through_to_the_bundle(
    tiny, tmp_path, monkeypatch
):
    root = tmp_path / os.fsdecode(b"K\xf6ln")
    for path in sorted(tiny.data.rglob("*.png")):
        name = os.fsdecode(b"M\xfcnchen ") + path.name
        copy = root / path.relative_to(tiny.data).with_name(name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        values = np.asarray(Image.open(path))
        deep = values if "masks" in str(path) else 51300 + values[..., 0].astype(np.uint16)
        Image.fromarray(deep).save(copy)
    monkeypatch.chdir(tmp_path)
    asked = given(tiny, tmp_path, data=root, trials=1, min_iou=0.1)
    result = autoseg.optimize(**asked, device=autoseg.FakeDevice(2.0))
    low, high = data.load(root).grey_range
    assert 51300 <= low < high < 51600
    bundle = result.bundle(result.front[0].candidate.key)
    assert f"values {low} to {high} become 0 to 255" in (bundle / "card.md").read_text()
    picture = next((root / "images/val").iterdir())
    command = [sys.executable, bundle / "predict.py", picture, "-o", tmp_path / "masks"]
    subprocess.run(command, check=True, capture_output=True)
    (ours,) = predict_files(bundle, [picture], tmp_path / "ours.png")
    theirs = np.asarray(Image.open(tmp_path / "masks" / picture.name))
    assert np.array_equal(np.asarray(Image.open(ours.task.mask)), theirs) and theirs.any()
    again = autoseg.optimize(
        results=tmp_path, name="run", resume=True, data=root, device=autoseg.FakeDevice(2.0)
    )
    assert [e.candidate.key for e in again.front] == [e.candidate.key for e in result.front]
