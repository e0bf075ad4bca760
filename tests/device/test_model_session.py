"""Models on a board whose connection breaks: who is to blame, and what goes on."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from autoseg.core.errors import DeviceError
from autoseg.core.records import MeasurePlan
from autoseg.device import runner
from autoseg.device.board import Board
from autoseg.device.device_profile import Profile
from autoseg.device.local import LocalLauncher, PipeTransport
from autoseg.device.rpc_schema import ConnectionLost

QUICK = MeasurePlan(phase="screen", statistic="p50", ceiling_ms=1000.0, warmup_s=0.01)


class Cable:
    """A Transport that breaks when the first of `cuts` is asked for."""

    def __init__(self, cuts: list[str]) -> None:
        self.pipe, self.cuts, self.broken = PipeTransport(), cuts, False

    def send(self, data: bytes) -> None:
        if self.cuts and f'"do": "{self.cuts[0]}"'.encode() in data:
            self.broken = bool(self.cuts.pop(0))
        self.pipe.send(data)

    def receive(self, timeout_s: float) -> bytes:
        if self.broken:
            raise ConnectionLost("ended with the connection")
        return self.pipe.receive(timeout_s)

    def close(self) -> None:
        self.pipe.close()


@dataclass
class Wired(LocalLauncher):
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


def test_measure_survives_connections_that_break_now_and_then(
    wired: Callable[..., Board], segments: Path
) -> None:
    board = wired("put", "open", "warm", "time", "time")
    plan = replace(QUICK, max_s=60.0)  # where others keep the machine busy
    found = board.measure(segments, plan)
    assert found.runs >= plan.min_runs and found.peak_rss_bytes > 0
    assert isinstance(board.launcher, Wired) and not board.launcher.cuts
    board.close()


def test_measure_over_a_connection_that_keeps_breaking_stops_the_run(
    wired: Callable[..., Board], segments: Path
) -> None:
    board = wired(*["time"] * 9)
    told = r"^the board .*\b4\b.*timing segments\.onnx.*power"
    with pytest.raises(DeviceError, match=told):
        board.measure(segments, QUICK)
    board.close()


@pytest.mark.parametrize("path", ["/etc/passwd", 7, "/models\x1b[2J/{digest}.onnx", "x" * 9000])
def test_nodes_refuses_a_path_that_is_no_model(
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
    with pytest.raises(DeviceError, match="the board: .*runner") as caught:
        board.nodes(segments)
    assert len(str(caught.value)) < 400 and "\x1b" not in str(caught.value)
    board.close()


def test_close_releases_a_connection_without_a_runner(
    wired: Callable[..., Board],
) -> None:
    board = wired()
    board.close()
    assert isinstance(board.launcher, Wired) and board.launcher.closed == 1
    board.hello()
    child = os.fork()
    if child == 0:
        board.close()
        os._exit(board.launcher.closed)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1, "a fork closes nothing"
    assert board.hello().pid
    board.close()
    assert board.launcher.closed == 2


def test_measure_replaces_a_lucky_first_look_at_the_calm_machine(
    wired: Callable[..., Board],
) -> None:
    board = wired()
    assert board.calm_ms is None
    for calm_ms in (0.10, 0.07, 0.10, 0.10, 0.15):
        board.note_calm(calm_ms)
    assert board.calm_ms == 0.10
