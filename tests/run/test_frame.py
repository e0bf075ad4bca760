"""Whole frames: what is promised, what stands beside it, and that both are always known."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import autoseg
from autoseg.api.verify import verify
from autoseg.core.records import Measurement
from autoseg.device.fake import RESIZES_MS
from autoseg.report.console import result_lines
from autoseg.report.markdown import write_markdown
from autoseg.report.page import write_page
from autoseg.run.ledger import read_events

MODEL_MS, RESIZED_MS = 2.0, sum(RESIZES_MS)
FRAME = "640x480"


class OfTheModelAlone(autoseg.FakeDevice):
    """A device of somebody's own that times the model, whatever the plan promises."""

    def measure(self, onnx, plan):
        return super().measure(onnx, replace(plan, latency="model"))


class Blind(autoseg.FakeDevice):
    """A device that times no frames, like a board without Pillow."""

    def measure(self, onnx, plan):
        return super().measure(onnx, replace(plan, frame_hw=None))


@pytest.fixture(scope="module")
def framed(tiny, tmp_path_factory) -> autoseg.Result:
    """A finished run that promises whole frames, with a fake device."""
    return autoseg.optimize(
        **{**tiny.given, "trials": 2}, device=autoseg.FakeDevice(MODEL_MS, name="fake"),
        latency="frame", frame=FRAME, results=tmp_path_factory.mktemp("framed"), name="run",
    )  # fmt: skip


@pytest.fixture
def copied(framed, tmp_path) -> Path:
    return Path(shutil.copytree(framed.folder, tmp_path / "results" / "run"))


def screened(folder: Path) -> list[Measurement]:
    evaluations = autoseg.Result.from_run(folder).evaluations
    return [e.measurements[0] for e in evaluations if e.measurements]


def test_optimize_of_frames_screens_and_confirms_what_is_promised(framed):
    asked = framed.constraints
    assert (asked.latency, asked.frame_hw) == ("frame", (480, 640))
    assert framed.front
    for evaluation in framed.front:
        for measurement in evaluation.measurements:
            assert measurement.latency == "frame"
            assert measurement.p50_ms == pytest.approx(MODEL_MS + RESIZED_MS)
            assert measurement.beside.p50_ms == pytest.approx(MODEL_MS)
            assert measurement.frame.hw == (480, 640)


def test_optimize_of_frames_says_so_in_run_yaml_json_and_tables(framed):
    said = yaml.safe_load((framed.folder / "run.yaml").read_text())
    assert (said["latency"], said["frame"], said["frame_hw"]) == ("frame", FRAME, [480, 640])
    told = json.loads((framed.folder / "front.json").read_text())
    assert told["constraints"]["latency"] == "frame"
    assert told["constraints"]["frame_hw"] == [480, 640]
    assert f"100 ms a frame of {FRAME}" in framed.headline
    assert f"--latency frame --frame {FRAME}" in framed.declaration.command("run")
    lines = result_lines(framed)
    assert any(re.search("frame p90 ms +model p90 ms", line) for line in lines)
    assert any("frame p90" in line and line.startswith("fastest") for line in lines)
    assert any("of the 100 ms ceiling" in line for line in framed.verdict)
    table = framed.to_pandas()
    assert table["frame_p90_ms"][0] == table["latency_p90_ms"][0] > table["model_p90_ms"][0]
    assert tuple(table[["resize_ms", "resize_back_ms"]].iloc[0]) == RESIZES_MS


def test_report_and_card_of_frames_have_both_latencies_and_the_parts(framed, tmp_path):
    write_page(framed, tmp_path / "report.html")
    write_markdown(framed, tmp_path / "report.md")
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    for said in ("frame p90 ms", "model p90 ms"):
        assert said in page and said in text
    assert f"A frame of {FRAME}" in page and "| resize back | 0.100 ms |" in text
    card = (framed.bundle(framed.front[0].candidate.key) / "card.md").read_text()
    assert "| frame p90 |" in card and "| model p90 |" in card
    assert f"| a frame of {FRAME} | resize 0.2 ms, inference 2 ms, resize back 0.1 ms" in card


def test_verify_repeats_the_promised_frame_and_lists_the_model(framed):
    bundle = framed.bundle(framed.front[0].candidate.key)
    device = autoseg.FakeDevice(MODEL_MS)
    found = {check.name: check for check in verify(bundle, device).checks}
    assert found["frame p90"].holds is True and found["model p90"].holds is None
    assert found["frame p90"].found > found["model p90"].found
    slow = verify(bundle, autoseg.FakeDevice(99.9)).checks[0]
    assert slow.name == "frame p90" and slow.holds is False
    with pytest.raises(autoseg.DeviceError, match="latency"):
        verify(bundle, OfTheModelAlone(MODEL_MS))


def test_remeasure_promises_frames_of_the_same_size(copied):
    result = autoseg.remeasure(copied, device=autoseg.FakeDevice(3.0, name="b"))
    assert result.constraints.frame_hw == (480, 640)
    (measurement, *_) = [e.measurement for e in result.front]
    assert measurement.latency == "frame" and measurement.p50_ms == pytest.approx(3 + RESIZED_MS)
    with pytest.raises(autoseg.DeviceError, match="--latency model"):
        autoseg.remeasure(copied, device=OfTheModelAlone(3.0, name="c"))


@pytest.mark.parametrize("changed", [{"latency": "model"}, {"frame": "1920x1080"}])
def test_optimize_resumed_keeps_what_is_promised(changed, copied):
    asked = {"results": copied.parent, "name": copied.name, "resume": True}
    with pytest.raises(autoseg.InputError, match="--resume cannot change"):
        autoseg.optimize(**asked, **changed)


def surveyed(tiny, results: Path, name: str, device: autoseg.FakeDevice, **changed) -> Path:
    """A run that only measures."""
    given = {**tiny.given, "results": results, "name": name, "dry_run": True, **changed}
    return autoseg.optimize(**given, device=device).folder


def test_screening_times_a_frame_of_each_input_size_once(tiny, tmp_path):
    # All are too slow, so that all four are measured and none is trained.
    given = {"max_latency": "1ms", "dry_run": False}
    folder = surveyed(tiny, tmp_path, "one", autoseg.FakeDevice(MODEL_MS), **given)
    evaluations = autoseg.Result.from_run(folder).evaluations
    sizes = [e.candidate.input_hw for e in evaluations if e.measurement]
    with_frames = [e.candidate.input_hw for e in evaluations if e.measurement.frame]
    assert len(sizes) > len(with_frames) and sorted(with_frames) == sorted(set(sizes))
    # The size of the data's own pictures.
    assert {m.frame.hw for m in screened(folder) if m.frame} == {(64, 96)}


def test_screening_reuses_a_measurement_only_for_the_same_promise(tiny, tmp_path):
    device = autoseg.FakeDevice(MODEL_MS)
    surveyed(tiny, tmp_path, "one", device)
    first = len(device.measured)
    surveyed(tiny, tmp_path, "again", device)
    assert len(device.measured) == first
    frames = surveyed(tiny, tmp_path, "frames", device, latency="frame")
    assert len(device.measured) == 2 * first
    assert {m.latency for m in screened(frames)} == {"frame"}
    surveyed(tiny, tmp_path, "larger", device, latency="frame", frame=FRAME)
    assert len(device.measured) == 3 * first


def test_optimize_refuses_a_device_that_times_something_else(tiny, tmp_path):
    with pytest.raises(autoseg.DeviceError, match="measured the model.*frame.*--latency model"):
        surveyed(tiny, tmp_path, "one", OfTheModelAlone(MODEL_MS), latency="frame")
    assert not screened(tmp_path / "one")


def test_verdict_warns_of_resizes_and_of_a_device_that_times_no_frames(tiny, tmp_path):
    def verdict(name: str, device: autoseg.FakeDevice) -> str:
        folder = surveyed(tiny, tmp_path, name, device, max_latency="2.5ms")
        return "\n".join(autoseg.Result.from_run(folder).verdict)

    warned = verdict("one", autoseg.FakeDevice(MODEL_MS))
    assert "takes 0.3 ms, 12 % of the 2.5 ms ceiling" in warned and "--latency frame" in warned
    assert "frame not timed" in verdict("blind", Blind(MODEL_MS, name="blind"))


def test_optimize_on_this_machine_promises_real_frames(tiny, tmp_path):
    result = autoseg.optimize(
        **{**tiny.given, "trials": 1}, latency="frame", results=tmp_path, name="run"
    )
    (evaluation,) = result.front
    found = evaluation.measurement
    assert found.latency == "frame" and found.frame.hw == (64, 96)
    assert 0 < found.beside.p50_ms and 0 < found.frame.resize_ms and found.frame.resize_back_ms > 0
    kinds = {e["event"] for e in read_events(result.folder)}
    assert "confirmed" in kinds


def test_optimize_records_whole_frames_beside_the_model_of_every_confirmed_one(finished):
    result = autoseg.Result.from_run(finished.folder)
    for evaluation in result.front:
        found = evaluation.measurement
        assert found.latency == "model" and found.frame.hw == (64, 96)
        assert found.beside.runs > 1 and found.frame.inference_ms > 0
    assert any(re.search("p90 ms +frame p90 ms", line) for line in result_lines(result))
