"""A whole search on a board over SSH, which goes away in its midst."""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from device.sshd import Sshd

import autoseg
from autoseg.device import runner_connection
from autoseg.device.rpc import RpcChannel
from autoseg.run.ledger import read_events

pytestmark = pytest.mark.ssh


def test_optimize_whose_board_disappears_is_finished_by_the_printed_command(
    tiny: Any,
    sshd: Sshd,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    autoseg_command: Callable[..., Any],
) -> None:
    monkeypatch.setattr(runner_connection, "RECONNECT_S", 1.0)
    profile = sshd.profile().model_dump(mode="json", exclude_defaults=True)
    (tmp_path / "board.yaml").write_text(yaml.safe_dump(profile))
    stream, opened = RpcChannel.stream, iter(range(100))

    def going(self: RpcChannel, do: str, **facts: Any) -> Iterator[dict[str, Any]]:
        # The first is the test of the board against itself, the second the first network.
        if do == "open" and next(opened) == 2:
            sshd.down()
        return stream(self, do, **facts)

    with monkeypatch.context() as patch:
        patch.setattr(RpcChannel, "stream", going)
        said = tiny.arguments(
            device=tmp_path / "board.yaml", trials=2, results=tmp_path / "results", name="run"
        )
        lost = autoseg_command(*said)
    assert lost.code and "Traceback" not in lost.stderr
    assert f"127.0.0.1:{sshd.port}" in lost.stderr
    before = read_events(tmp_path / "results" / "run")
    assert sum(event["event"] == "measured" for event in before) == 1
    again = lost.stderr[lost.stderr.index("autoseg optimize --resume") :].splitlines()[0]
    sshd.up()
    done = autoseg_command(*shlex.split(again)[1:])
    assert done.code == 0, done.stderr
    result = autoseg.Result.from_run(tmp_path / "results" / "run")
    assert result.front and len(result.evaluations) == 2
    assert {m.device for e in result.front for m in e.measurements} == {"board"}
    assert read_events(tmp_path / "results" / "run")[: len(before)] == before
