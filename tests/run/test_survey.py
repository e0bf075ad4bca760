"""The survey: how many untrained networks are measured, and what is trained meanwhile."""

import threading
from dataclasses import replace

import pytest

import autoseg
from autoseg.run.ledger import read_events

SPACE = """\
network: fast_scnn
knobs:
  resolution: {choices: [128, 96, 64], baseline: 96, effort: entry}
  a: {choices: [0.25, 0.125], baseline: 0.25, effort: entry}
  t: {choices: [2], baseline: 2, effort: expert}
  r: {choices: [1], baseline: 1, effort: expert}
  pp: {choices: [0], baseline: 0, effort: expert}
"""
RECIPE = {"rungs": [2], "batch": 4, "warmup_steps": 2, "learning_rate": 0.05, "augment": False}


class Patient(autoseg.FakeDevice):
    """Its fourth measurement ends when something is trained: so only if both go on at a time."""

    def __init__(self, **facts):
        super().__init__(latency=1.0, **facts)
        self.trained = threading.Event()
        self.in_time = None

    def measure(self, onnx, plan):
        if len(self.measured) == 3:
            self.in_time = self.trained.wait(100)
        return super().measure(onnx, plan)

    def hear(self, event):
        if event["event"] == "scored":
            self.trained.set()


class Here(autoseg.FakeDevice):
    """This machine: training would disturb its measurements."""

    def describe(self):
        return replace(super().describe(), here=True)


@pytest.fixture
def asked(tiny, tmp_path) -> dict:
    (tmp_path / "six.yaml").write_text(SPACE)
    return {
        **tiny.given, "space": tmp_path / "six.yaml", "effort": "entry", "recipe": RECIPE,
        "trials": None, "budget": "10m", "results": tmp_path, "name": "run", "min_iou": 0.01,
    }  # fmt: skip


def test_survey_on_a_board_elsewhere_goes_on_while_training_begins(asked, tmp_path):
    """A lost board stops the run; it goes on where it was, and measures nothing again."""
    device = Patient(fail_on=5)
    with pytest.raises(autoseg.DeviceError, match="measurement 5.*--resume"):
        autoseg.optimize(**asked, device=device, on_event=device.hear)
    assert device.in_time
    (first,) = [e for e in read_events(tmp_path / "run") if e["event"] == "verdict"]
    assert first["surveying"] and "3 of 6" in first["lines"][-1]
    here = {"results": tmp_path, "name": "run", "resume": True}
    again = Patient()
    again.trained.set()
    result = autoseg.optimize(**here, device=again)
    events = read_events(tmp_path / "run")
    order = {
        kind: [e["key"] for e in events if e["event"] == kind] for kind in ("proposed", "measured")
    }
    assert sorted(order["measured"]) == sorted(order["proposed"]) and len(order["measured"]) == 6
    assert not [e for e in events if e["event"] == "verdict"][-1]["surveying"]
    assert "6 untrained networks" in result.verdict[0] and result.front


def test_survey_interrupted_while_it_goes_on_keeps_what_is_being_measured(asked, tmp_path):
    device = Patient()

    def stop(event):
        device.hear(event)
        return "stop" if event["event"] == "scored" else None

    with pytest.raises(autoseg.Interrupted):
        autoseg.optimize(**asked, device=device, on_event=stop)
    kinds = [e["event"] for e in read_events(tmp_path / "run")]
    assert kinds.count("measured") == 4 and kinds.count("verdict") == 1
    assert kinds.index("scored") < kinds.index("interrupted")


def test_survey_without_a_budget_comes_before_training(asked, tmp_path):
    """Nothing may depend on time there: the same seed repeats the journey."""
    result = autoseg.optimize(
        **{**asked, "budget": None, "trials": 6}, device=autoseg.FakeDevice(latency=1.0)
    )
    kinds = [e["event"] for e in read_events(result.folder)]
    assert kinds.count("verdict") == 1 and kinds.index("verdict") < kinds.index("scored")


def test_survey_on_this_machine_ends_when_training_is_worth_more(tiny, tmp_path):
    shipped = {**tiny.given, "space": "fast_scnn", "trials": None, "budget": "10h"}
    device = Here(latency=1.0)
    result = autoseg.optimize(**shipped, results=tmp_path, name="run", device=device, dry_run=True)
    assert 8 <= len(device.measured) < 28
    assert f"{len(device.measured)} of 28" in result.verdict[-1]
    assert "worth more" in result.verdict[-1]
