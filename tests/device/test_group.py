"""Several boards as one device: shared screening, confirmed on all, and they must be alike."""

import re
import threading
import time
from dataclasses import dataclass, field, replace

import pytest

import autoseg
from autoseg.core.records import DeviceInfo, Measurement, MeasurePlan
from autoseg.core.serialize import from_json, to_json
from autoseg.device import resolve
from autoseg.device.group import Group
from autoseg.run.ledger import read_events

CONFIRM = MeasurePlan.confirm()
SCREEN = MeasurePlan(phase="screen")


@dataclass
class Counter:
    """How many boards time at this moment, at most so far, and whether one did two things."""

    expected: int = 1
    most: int = 0
    twice: bool = False
    busy: set = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)


class Board(autoseg.FakeDevice):
    """A fake that takes a moment, and confirms until another does where that is expected.

    Some facts about it may be given.
    """

    def __init__(self, name, latency=2.0, counter=None, **facts):
        super().__init__(latency, name=name)
        self.counter = counter or Counter()
        self.facts = facts

    def describe(self) -> DeviceInfo:
        return replace(super().describe(), **self.facts)

    def measure(self, onnx, plan):
        counter = self.counter
        with counter.changed:
            counter.twice |= self.name in counter.busy
            counter.busy.add(self.name)
            counter.most = max(counter.most, len(counter.busy))
            counter.changed.notify_all()
            wait_s = 10.0 if plan.phase == "confirm" else 0.0  # both boards, or one
            counter.changed.wait_for(lambda: counter.most >= counter.expected, wait_s)
        time.sleep(0.02)
        with counter.changed:
            counter.busy.discard(self.name)
        return super().measure(onnx, plan)


def test_group_describe_gives_the_common_facts():
    info = Group([Board("a"), Board("b", here=True)]).describe()
    assert (info.name, info.boards, info.here, info.model) == ("a+b", 2, True, "fake")


@pytest.mark.parametrize(
    ("fact", "other", "said"),
    [
        ("model", "Pi 5", "model .*'fake' on a and 'Pi 5' on b"),
        ("runtime", "fake 2.0", "runtime .*'fake 1.0' on a and 'fake 2.0' on b"),
        ("threads", 4, "threads .*1 on a and 4 on b"),
        ("affinity", (4,), r"affinity .*\(\) on a and \(4,\) on b"),
        ("provider", "XNNPACK", "provider .*'FakeExecutionProvider' on a and 'XNNPACK' on b"),
        ("channel_step", 8, "channel step .*1 on a and 8 on b"),
    ],
)
def test_group_refuses_unlike_boards_with_the_difference(fact, other, said):
    with pytest.raises(autoseg.InputError, match=said):
        Group([Board("a"), Board("b", **{fact: other})]).describe()


def test_group_measure_gives_the_slower_board_and_the_ratio(segments):
    alike = Group([Board("a", 2.0), Board("b", 2.06)]).measure(segments, CONFIRM)
    assert (alike.device, alike.p50_ms, alike.flags) == ("b", 2.06, ())
    assert alike.boards_ratio == pytest.approx(1.03)
    assert [(b.device, b.p50_ms) for b in alike.boards] == [("a", 2.0), ("b", 2.06)]
    assert from_json(Measurement, to_json(alike)) == alike
    apart = Group([Board("a", 2.4), Board("b", 2.0)]).measure(segments, CONFIRM)
    assert (apart.device, apart.p50_ms) == ("a", 2.4)
    (flag,) = apart.flags
    assert re.search(r"20 % \(p50: b 2 ms, a 2\.4 ms\)", flag)


def test_group_measure_keeps_the_flags_of_each_board_with_its_name(segments):
    class Hot(Board):
        def measure(self, onnx, plan):
            return replace(super().measure(onnx, plan), flags=("it was throttled",))

    found = Group([Hot("a", 2.0), Hot("b", 2.01)]).measure(segments, CONFIRM)
    assert found.flags == ("a: it was throttled", "b: it was throttled")


def test_resolve_refuses_one_board_twice_and_equal_names():
    for device in (["local", "local"], ["pi@10.0.0.7"] * 2, [Board("rpi"), Board("rpi")]):
        with pytest.raises(autoseg.InputError, match=r"\b2\b"):
            resolve(device).describe()


@pytest.mark.parametrize(("here", "together"), [(False, 2), (True, 1)])
def test_group_confirms_on_boards_in_parallel_unless_they_share_a_machine(
    here, together, segments
):
    counter = Counter(together)
    group = Group([Board(name, counter=counter, here=here) for name in "ab"])
    group.measure(segments, CONFIRM)
    assert (counter.most, counter.twice) == (together, False)


def test_group_boards_do_one_thing_at_a_time(segments):
    counter = Counter(2)
    group = Group([Board(name, counter=counter) for name in "ab"])
    plans = [SCREEN, CONFIRM, SCREEN, CONFIRM, SCREEN, SCREEN]
    askers = [threading.Thread(target=group.measure, args=(segments, plan)) for plan in plans]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert (counter.most, counter.twice) == (2, False)
    assert sum(len(member.measured) for member in group.members) == 8


def test_optimize_on_a_group_shares_boards_and_confirms_on_all(tiny, tmp_path):
    counter = Counter(2)
    boards = [Board(name, 2.0, counter) for name in "ab"]
    asked = {**tiny.given, "results": tmp_path, "name": "run", "trials": 2, "min_iou": 0.1}
    asked["recipe"] = {**asked["recipe"], "rungs": [6]}
    result = autoseg.optimize(**asked, device=boards)
    screened = [e.measurements[0].device for e in result.evaluations if e.measurements]
    assert set(screened) == {"a", "b"} and counter.most == 2 and not counter.twice
    assert result.front and all(e.measurement.boards_ratio == 1.0 for e in result.front)
    assert [board.closed for board in boards] == [True, True]


class Frail(Board):
    """A board that ends the run at its second timing, as `how` says."""

    def __init__(self, name, counter, how):
        super().__init__(name, 2.0, counter)
        self.how = how

    def measure(self, onnx, plan):
        if self.how and self.measured:
            raise self.how
        return super().measure(onnx, plan)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (autoseg.DeviceError("b was lost"), "b was lost.*autoseg optimize --resume"),
        (KeyboardInterrupt(), "interrupted.*autoseg optimize --resume"),
    ],
)
def test_optimize_on_a_group_that_loses_a_board_keeps_measurements_and_resumes(
    how, said, tiny, tmp_path
):
    asked = {**tiny.given, "results": tmp_path, "name": "run", "max_latency": "1ms"}
    counter = Counter()
    boards = [Board("a", 2.0, counter), Frail("b", counter, how)]
    with pytest.raises(autoseg.AutosegError, match=said):
        autoseg.optimize(**asked, device=boards)
    timed = [e for e in read_events(tmp_path / "run") if e["event"] == "measured"]
    assert "b" in {e["measurement"]["device"] for e in timed}
    assert not list((tmp_path / "run" / "artifacts").iterdir())
    again = [Board("a"), Frail("b", Counter(), None)]
    result = autoseg.optimize(results=tmp_path, name="run", resume=True, device=again)
    assert [e.state for e in result.evaluations] == ["too_slow"] * 4
    assert sum(len(board.measured) for board in again) == 4 - len(timed)


def test_group_close_closes_every_board():
    boards = [Board("a"), Board("b")]
    device = resolve(boards)
    device.close()
    device.close()
    assert all(board.closed for board in boards)
