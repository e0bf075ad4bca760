"""A finished run on other devices: their own fronts from the same weights, nothing trained."""

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import autoseg
from autoseg.core.feasibility import unusable
from autoseg.run.ledger import read_events
from autoseg.run.store import Run


class Contrary(autoseg.FakeDevice):
    """A board whose runtime sees objects where this machine's sees none."""

    def predict(self, onnx, images):
        return [1 - class_map for class_map in super().predict(onnx, images)]


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy of the finished run, to be measured and changed."""
    return Path(shutil.copytree(finished.folder, tmp_path / "results" / "run"))


def rewrite(folder: Path, events) -> None:
    (folder / "ledger.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))


def facts(folder: Path, on: str) -> list[tuple]:
    return [(e["event"], e.get("key")) for e in read_events(folder) if e.get("on") == on]


def test_remeasure_gives_a_front_of_the_same_files_and_trains_nothing(run):
    home, before = autoseg.Result.from_run(run), read_events(run)
    board = autoseg.FakeDevice(latency=7.0, name="board")
    result = autoseg.remeasure(run, device=board, max_latency="8ms")
    assert read_events(run)[: len(before)] == before
    assert {kind for kind, _ in facts(run, "board")} <= {
        "remeasure_requested", "measured", "verdict", "confirmed", "rejected", "finished",
    }  # fmt: skip
    assert {e.measurement.device for e in result.evaluations} == {"board"}
    assert result.front and result.constraints.max_latency_ms == 8
    for evaluation in result.front:
        key = evaluation.candidate.key
        bundle, there = result.bundle(key), home.bundle(key)
        assert bundle.parent == run / "devices" / "board" / "bundles"
        assert json.loads((bundle / "bundle.json").read_text())["device"]["name"] == "board"
        assert (bundle / "model.onnx").read_bytes() == (there / "model.onnx").read_bytes()
        at_home = next(e for e in home.front if e.candidate.key == key)
        assert (evaluation.iou, evaluation.score("test")) == (at_home.iou, at_home.score("test"))
    told = json.loads((run / "devices" / "board" / "front.json").read_text())
    assert [e["candidate"] for e in told["front"]] == result.to_json()["front"] or told["front"]
    page = (run / "devices" / "board" / "report.html").read_text(encoding="utf-8")
    assert result.headline in page and "not finished" not in page
    assert autoseg.Result.from_run(run) == home
    assert autoseg.Result.from_run(run, "board") == result


def test_remeasure_resumes_after_the_board_was_lost_and_measures_nothing_twice(run):
    with pytest.raises(autoseg.DeviceError, match="autoseg remeasure .*run --device Fake"):
        autoseg.remeasure(run, device=autoseg.FakeDevice(5.0, name="b", fail_on=3))
    lost = len(facts(run, "b"))
    autoseg.remeasure(run, device=autoseg.FakeDevice(5.0, name="b"))
    again = autoseg.FakeDevice(5.0, name="b")
    result = autoseg.remeasure(run, device=again)
    assert lost > 1 and not again.measured and result.front
    counted = Counter(fact for fact in facts(run, "b") if fact[1])
    assert set(counted.values()) == {1}


class Changed(autoseg.FakeDevice):
    """A board whose host key is another one when it is reached again."""

    def measure(self, onnx, plan):
        if len(self.measured) == 1:
            raise autoseg.InputError("the host key of b changed")
        return super().measure(onnx, plan)


def test_remeasure_failure_prints_the_resume_command_and_keeps_results(run):
    asked = {"run": run, "max_latency": "20ms"}
    said = "the host key of b changed.*autoseg remeasure .* --device Changed --max-latency 20ms"
    with pytest.raises(autoseg.DeviceError, match=said):
        autoseg.remeasure(**asked, device=Changed(5.0, name="b"))
    assert json.loads((run / "devices" / "b" / "front.json").read_text())["front"] == []
    assert autoseg.remeasure(run, device=autoseg.FakeDevice(5.0, name="b")).front


def test_remeasure_ctrl_c_before_any_measurement_is_an_interrupt(run):
    class Stopped(autoseg.FakeDevice):
        def measure(self, onnx, plan):
            raise KeyboardInterrupt

    with pytest.raises(autoseg.AutosegError, match="interrupted.*autoseg remeasure") as caught:
        autoseg.remeasure(run, device=Stopped(5.0, name="b"))
    assert type(caught.value).__name__ == "Interrupted"
    assert facts(run, "b") == [("remeasure_requested", None)]
    assert (run / "devices" / "b" / "front.csv").exists()


@pytest.mark.parametrize("at", ["remeasure_requested", "measured", "confirmed"])
def test_remeasure_on_event_gets_every_event_and_can_stop(run, at):
    heard = []

    def hear(event):
        heard.append((event["event"], event.get("key")))
        return "stop" if event["event"] == at else None

    with pytest.raises(autoseg.Interrupted, match="autoseg remeasure") as caught:
        autoseg.remeasure(run, device=autoseg.FakeDevice(5.0, name="b"), on_event=hear)
    assert heard == facts(run, "b") and heard[-1][0] == at
    assert len(caught.value.result.front) == (at == "confirmed")
    assert autoseg.remeasure(run, device=autoseg.FakeDevice(5.0, name="b")).front


def test_remeasure_accepts_the_same_ceiling_in_another_unit(run):
    autoseg.remeasure(run, device=autoseg.FakeDevice(5.0, name="b"), max_latency="20ms")
    again = autoseg.FakeDevice(5.0, name="b")
    autoseg.remeasure(run, device=again, max_latency="0.02s")
    assert not again.measured


def test_remeasure_on_a_full_disk_prints_the_resume_command(run):
    class Full(autoseg.FakeDevice):
        def measure(self, onnx, plan):
            if plan.phase == "confirm":
                raise OSError(28, "No space left on device", str(onnx))
            return super().measure(onnx, plan)

    with pytest.raises(autoseg.DeviceError, match=r"onnx: No space left.*autoseg remeasure"):
        autoseg.remeasure(run, device=Full(5.0, name="b"))


def test_remeasure_confirms_better_weights_found_since(run):
    done = ("confirmed", "rejected", "tested", "searched", "finished")
    whole, files = read_events(run), run / "artifacts"
    early = [
        e for e in whole if e["event"] not in done and not (e.get("score") or {}).get("decayed")
    ]
    rewrite(run, early)
    files.rename(run / "later")
    files.mkdir()
    first = autoseg.remeasure(run, device=autoseg.FakeDevice(5.0, name="b"))
    assert not any(e.promised.decayed for e in first.evaluations if e.promised)
    rewrite(run, [*whole, *(e for e in read_events(run) if e.get("on") == "b")])
    shutil.copytree(run / "later", files, dirs_exist_ok=True)
    board = autoseg.FakeDevice(5.0, name="b")
    result = autoseg.remeasure(run, device=board)
    assert board.measured and all(e.promised.decayed for e in result.front) and result.front
    assert all(e.score("test").decayed for e in result.front)
    again = autoseg.FakeDevice(5.0, name="b")
    assert autoseg.remeasure(run, device=again).front == result.front and not again.measured


def test_remeasure_warns_of_a_board_with_another_channel_step(run, caplog):
    autoseg.remeasure(run, device=autoseg.FakeDevice(5.0, name="b", channel_step=16))
    assert re.search(r"\bb\b.*16 channels", caplog.text)


def test_remeasure_with_another_ceiling_starts_again_and_confirms_nothing_too_slow(run):
    autoseg.remeasure(run, device=autoseg.FakeDevice(5.0, name="b"))
    result = autoseg.remeasure(run, device=autoseg.FakeDevice(5.0, name="b"), max_latency="2ms")
    assert {e.state for e in result.evaluations} == {"too_slow"}
    assert result.front == [] and "2 ms" in result.misses()[0]
    (way,) = result.explanation().relax
    assert str(way) == "--max-latency 5.7ms"
    assert way.command == f"autoseg remeasure {run} --device b --max-latency 5.7ms"
    assert f"IoU {max(e.iou for e in result.evaluations):.4f}" in way.gives
    assert not list((run / "devices" / "b" / "bundles").iterdir())
    assert autoseg.Result.from_run(run).front


def test_remeasure_of_an_unconfirmed_run_uses_its_weights(run):
    """Its artifacts are its own business: another device's files lie elsewhere."""
    done = ("confirmed", "rejected", "tested", "searched", "finished")
    kept = [
        e
        for e in read_events(run)
        if e["event"] not in done and not (e.get("score") or {}).get("decayed")
    ]
    rewrite(run, kept)
    shutil.rmtree(run / "artifacts")
    result = autoseg.remeasure(run, device=autoseg.FakeDevice(5.0, name="b"))
    promised = [e for e in result.evaluations if e.promised]
    assert promised and not any(e.promised.decayed for e in promised)
    assert all(e.score("test").epoch == e.promised.epoch for e in promised)
    assert not (run / "artifacts").exists()


def test_remeasure_on_a_board_with_other_class_maps_uses_them_and_flags_it(run):
    result = autoseg.remeasure(run, device=Contrary(5.0, name="b"))
    evaluation = next(e for e in result.evaluations if e.promised)
    assert (evaluation.state, evaluation.agreement) == ("rejected", 0.0) and result.front == []
    assert evaluation.promised.source == evaluation.score("test").source == "board"
    (flag,) = evaluation.measurement.flags
    assert re.search(r"class maps .*1e\+02 %.*\(fake 1\.0 .*onnxruntime ", flag)
    assert evaluation.iou < 0.4
    explained = result.explanation()
    assert explained.binds == "floor" and explained.relax


def test_remeasure_refuses_class_maps_of_other_size_or_unknown_classes(run):
    class Odd(autoseg.FakeDevice):
        def predict(self, onnx, images):
            return [np.full((2, 2), 200, np.uint8) for _ in super().predict(onnx, images)]

    said = r"\bb\b.* 8 class maps .*8 pictures .*200"
    with pytest.raises(autoseg.DeviceError, match=said):
        autoseg.remeasure(run, device=Odd(5.0, name="b"))


def test_remeasure_refuses_a_live_run_its_own_device_and_no_device(run, autoseg_command):
    with pytest.raises(autoseg.InputError, match="'run' .*local"):
        autoseg.remeasure(run, device=autoseg.FakeDevice(name="local"))
    live = Run.open(run)
    with pytest.raises(autoseg.InputError, match="another autoseg .*run"):
        autoseg.remeasure(run, device=autoseg.FakeDevice(name="b"))
    live.close()
    called = autoseg_command("remeasure", str(run))
    assert (called.code, called.stdout) == (2, "") and "--device" in called.stderr
    called = autoseg_command("front", str(run), "--device", "b")
    assert called.code == 2
    assert re.search("'b'.*local.*autoseg remeasure", called.stderr)


def test_optimize_resumed_is_unaffected_by_remeasure(run):
    spent_s = autoseg.Result.from_run(run).spent_s
    autoseg.remeasure(run, device=autoseg.FakeDevice(500.0, name="b"))
    before = autoseg.Result.from_run(run).evaluations
    live = Run.open(run)
    assert live.spent_s < spent_s + 1 and tuple(live.evaluations.values()) == before
    assert "too_slow" not in {e.state for e in before}
    assert live.first("verdict") in read_events(run)
    live.close()


def test_front_device_shows_the_front_of_that_device(run, autoseg_command):
    autoseg.remeasure(run, device=autoseg.FakeDevice(5.0, name="b"))
    called = autoseg_command("front", str(run), "--device", "b")
    assert called.code == 0 and " on b; " in called.stdout.splitlines()[0]
    assert f"files: {run}/devices/b/" in called.stdout
    called = autoseg_command("front", str(run), "--device", "b", "--pick", "fastest")
    assert str(run / "devices" / "b" / "bundles" / "1-") in called.stdout


class Unsteady(autoseg.FakeDevice):
    """A board on which the first confirming measurement of each file is disturbed."""

    def measure(self, onnx, plan):
        found = super().measure(onnx, plan)
        first = onnx not in self.measured[:-1]
        if plan.phase == "screen" or (not first and self.measured.count(onnx) > self.calm_from):
            return found
        return replace(found, p90_ci_ms=(0.4 * found.p90_ms, 3.0 * found.p90_ms))


@pytest.mark.parametrize("calm_from, usable", [(1, True), (99, False)])
def test_remeasure_takes_an_unusable_figure_again_after_all_others(run, calm_from, usable):
    board = Unsteady(latency=7.0, name="board")
    board.calm_from = calm_from
    result = autoseg.remeasure(run, device=board, max_latency="100ms")
    (kind,) = {e.state for e in result.front}
    judged = [key for kind, key in facts(run, "board") if kind in ("confirmed", "rejected")]
    once = list(dict.fromkeys(judged))
    assert kind == "confirmed" and judged == [*once, *once]
    assert {unusable(e.measurement, "p90") for e in result.front} == {not usable}
