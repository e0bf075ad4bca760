"""Models on a board whose connection breaks: who is to blame, and what goes on."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from autoseg.core.errors import DeviceError
from autoseg.core.records import MeasurePlan
from autoseg.device import runner
from autoseg.device.board import Board
from autoseg.device.local import Here
from autoseg.device.local_launcher import Pipe
from autoseg.device.profile import Profile
from autoseg.device.rpc import Lost

QUICK = MeasurePlan(phase="screen", statistic="p50", ceiling_ms=1000.0, warmup_s=0.01)


class Cable:
    """A Transport that breaks when the first of `cuts` is asked for."""

    def __init__(self, cuts: list[str]) -> None:
        self.pipe, self.cuts, self.broken = Pipe(), cuts, False

    def send(self, data: bytes) -> None:
        if self.cuts and f'"do": "{self.cuts[0]}"'.encode() in data:
            self.broken = bool(self.cuts.pop(0))
        self.pipe.send(data)

    def receive(self, timeout_s: float) -> bytes:
        if self.broken:
            raise Lost("ended with the connection")
        return self.pipe.receive(timeout_s)

    def close(self) -> None:
        self.pipe.close()


@dataclass
class Wired(Here):
    """This machine, as far away as a board."""

    name: str = "the board"
    shares_files: bool = False
    cuts: list[str] = field(default_factory=list)
    closed: int = 0

    def open(self) -> Cable:
        return Cable(self.cuts)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def wired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Board]:
    monkeypatch.setenv("HOME", str(tmp_path))
    return lambda *cuts: Board(Profile(name="x", kind="local"), Wired(cuts=list(cuts)))


def test_a_connection_that_breaks_now_and_then_is_nobodys_fault(
    wired: Callable[..., Board], segments: Path
) -> None:
    board = wired("put", "open", "warm", "time", "time")
    found = board.measure(segments, QUICK)
    assert found.runs >= QUICK.min_runs and found.peak_rss_bytes > 0
    assert isinstance(board.reach, Wired) and not board.reach.cuts
    board.close()


def test_a_connection_that_does_not_last_stops_the_run_and_blames_no_model(
    wired: Callable[..., Board], segments: Path
) -> None:
    board = wired(*["time"] * 9)
    told = "^the board was lost 4 times in a row while timing segments.onnx.*check its power"
    with pytest.raises(DeviceError, match=told):
        board.measure(segments, QUICK)
    board.close()


@pytest.mark.parametrize("path", ["/etc/passwd", 7, "/models\x1b[2J/{digest}.onnx", "x" * 9000])
def test_a_place_that_is_none_of_a_model_is_refused(
    wired: Callable[..., Board],
    segments: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: object,
) -> None:
    said = f"{path!r}.format(digest=digest)" if isinstance(path, str) else repr(path)
    main = 'if __name__ == "__main__":'
    lying = f"def find_model(digest):\n    return {said}\n{main}"
    (tmp_path / "runner.py").write_text(Path(runner.__file__).read_text().replace(main, lying))
    monkeypatch.setattr(runner, "__file__", str(tmp_path / "runner.py"))
    board = wired()
    with pytest.raises(DeviceError, match="the board: what answers is no runner") as caught:
        board.place(segments)
    assert len(str(caught.value)) < 400 and "\x1b" not in str(caught.value)
    board.close()


def test_closing_lets_go_of_a_reach_that_no_runner_was_started_on(
    wired: Callable[..., Board],
) -> None:
    board = wired()
    board.close()
    assert isinstance(board.reach, Wired) and board.reach.closed == 1
    board.hello()
    child = os.fork()
    if child == 0:
        board.close()
        os._exit(board.reach.closed)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1, "a fork closes nothing"
    assert board.hello().pid
    board.close()
    assert board.reach.closed == 2


def test_one_lucky_look_at_the_calm_machine_does_not_stay_the_measure_of_all(
    wired: Callable[..., Board],
) -> None:
    board = wired()
    assert board.calm_ms is None
    for calm_ms in (0.10, 0.07, 0.10, 0.10, 0.15):
        board.note_calm(calm_ms)
    assert board.calm_ms == 0.10
