"""What goes wrong with a board: a run goes on, or stops with a message that says how to go on."""

import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from device.sshd import Sshd

from autoseg.core.errors import CandidateError, DeviceError, InputError
from autoseg.core.records import MeasurePlan
from autoseg.device import rpc, runner_connection
from autoseg.device.board import Board
from autoseg.device.rpc import RpcChannel
from autoseg.device.ssh import connection, ssh_device
from autoseg.device.ssh.channel import ChannelTransport
from autoseg.device.ssh.launcher import SshLauncher

pytestmark = pytest.mark.ssh

QUICK = MeasurePlan(phase="screen", statistic="p50", ceiling_ms=1000.0, warmup_s=0.01)
LONG = MeasurePlan(
    phase="confirm", min_runs=10_000_000, max_runs=10_000_000, max_s=1.0, warmup_s=0.01
)


@pytest.fixture
def board(sshd: Sshd) -> Iterator[Board]:
    made = ssh_device(sshd.profile())
    yield made
    made.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "PING_S", 0.1)
    monkeypatch.setattr(rpc, "HEARTBEAT_TIMEOUT_S", 1.0)
    monkeypatch.setattr(connection, "CONNECT_S", 0.5)
    monkeypatch.setattr(runner_connection, "RECONNECT_PAUSE_S", 0.1)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    """A board is given up soon."""
    monkeypatch.setattr(runner_connection, "RECONNECT_S", 1.0)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything that is asked of runners, by name."""
    words: list[str] = []
    stream = RpcChannel.stream

    def noted(self: RpcChannel, do: str, **facts: Any) -> Iterator[dict[str, Any]]:
        words.append(do)
        return stream(self, do, **facts)

    monkeypatch.setattr(RpcChannel, "stream", noted)
    return words


@pytest.fixture
def large(tmp_path: Path, segments: Path) -> Path:
    """A model of 8 MB that is as fast as a small one."""
    model = onnx.load(segments)
    noise = np.random.default_rng(0).random(2 << 20, dtype=np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(noise, "unused"))
    onnx.save(model, tmp_path / "large.onnx")
    return tmp_path / "large.onnx"


def at(monkeypatch: pytest.MonkeyPatch, word: str, number: int, act: Callable[[], object]) -> None:
    """Does something a moment after a runner was asked for the n-th time."""
    stream, count = RpcChannel.stream, iter(range(1, 1000))

    def watched(self: RpcChannel, do: str, **facts: Any) -> Iterator[dict[str, Any]]:
        if do == word and next(count) == number:
            threading.Timer(0.15, act).start()
        return stream(self, do, **facts)

    monkeypatch.setattr(RpcChannel, "stream", watched)


def kill_runner(sshd: Sshd) -> None:
    os.kill(min(sshd.runners()), 9)


def test_measure_uploads_each_model_once(
    sshd: Sshd, board: Board, segments: Path, asked: list[str]
) -> None:
    board.measure(segments, QUICK)
    assert asked.count("put") == 2, "the model and the reference"
    board.measure(segments, QUICK)
    board.close()
    board.measure(segments, QUICK)
    ssh_device(sshd.profile()).close()
    assert asked.count("put") == 2
    models = list((sshd.cache / "models").iterdir())
    assert len(models) == 2
    assert {path.stat().st_mode & 0o777 for path in models} == {0o600}
    assert (sshd.cache / "models").stat().st_mode & 0o777 == 0o700


def test_measure_sends_all_files_of_a_model_once(
    sshd: Sshd, board: Board, segments: Path, asked: list[str]
) -> None:
    model = onnx.load(segments)
    weight = onnx.numpy_helper.from_array(np.zeros((1, 24, 32, 3), np.uint8), "zero")
    model.graph.initializer.append(weight)
    model.graph.node.insert(0, onnx.helper.make_node("Add", ["frame", "zero"], ["sum"]))
    model.graph.node[1].input[0] = "sum"
    path = segments.with_name("export.onnx")
    onnx.save(model, path, save_as_external_data=True, location="sub.data", size_threshold=0)
    found = board.measure(path, QUICK)
    nodes = board.nodes(path, runs=1)
    assert {node.op for node in nodes} >= {"Add", "ArgMax"} and asked.count("put") == 2
    (folder,) = [each for each in (sshd.cache / "models").iterdir() if each.is_dir()]
    assert folder.name == f"{found.onnx_digest}.onnx"
    assert (folder / "sub.data").read_bytes() == bytes(1 * 24 * 32 * 3)
    frames = np.random.default_rng(0).integers(0, 256, (1, 24, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(board.predict(path, frames)[0], frames[0].argmax(axis=-1))
    (segments.parent / "sub.data").write_bytes(b"")
    with pytest.raises(InputError, match=r"sub\.data has 0 bytes"):
        board.measure(path, QUICK)


def test_measure_refuses_a_model_beyond_the_cache_of_a_board(
    board: Board, segments: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    board.describe()
    monkeypatch.setattr(runner_connection, "MAX_CACHE_BYTES", 100)
    with pytest.raises(InputError, match=r"segments\.onnx have 0 MiB, and a board keeps 0 MiB"):
        board.predict(segments, [])
    assert "put" not in asked


def test_measure_leaves_no_partial_model_after_a_broken_upload(
    sshd: Sshd, board: Board, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.describe()
    sent, send = [0], ChannelTransport.send

    def counting(self: ChannelTransport, data: bytes) -> None:
        send(self, data)
        before, sent[0] = sent[0], sent[0] + len(data)
        if before < 3_000_000 <= sent[0]:
            sshd.cut()

    monkeypatch.setattr(ChannelTransport, "send", counting)
    assert board.measure(large, QUICK).runs >= QUICK.min_runs
    assert sent[0] > 3_000_000 + large.stat().st_size
    files = [path for path in (sshd.cache / "models").iterdir() if path.suffix == ".onnx"]
    assert large.stat().st_size in {path.stat().st_size for path in files}
    assert len(list((sshd.cache / "models").iterdir())) == len(files)


@pytest.mark.parametrize("loss", [Sshd.cut, kill_runner])
def test_measure_continues_with_the_blocks_it_had_after_a_broken_connection(
    sshd: Sshd,
    board: Board,
    segments: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: list[str],
    loss: Callable[[Sshd], None],
) -> None:
    board.measure(segments, QUICK)
    asked.clear()
    at(monkeypatch, "time", 2, lambda: loss(sshd))
    began = time.monotonic()
    found = board.measure(segments, LONG)
    assert found.runs > 1000 and asked.count("open") == 2 and asked.count("warm") == 4
    assert time.monotonic() - began < 20


def test_measure_reconnects_after_a_connection_broke_between_measurements(
    sshd: Sshd, board: Board, segments: Path, asked: list[str]
) -> None:
    board.measure(segments, QUICK)
    sshd.cut()
    asked.clear()
    board.measure(segments, QUICK)
    assert "claim" in asked and "put" not in asked


@pytest.mark.parametrize("during", [False, True])
def test_measure_waits_for_a_board_that_reboots_without_its_cache(
    sshd: Sshd,
    board: Board,
    segments: Path,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    during: bool,
) -> None:
    def reboot() -> None:
        sshd.down()
        shutil.rmtree(sshd.cache)
        threading.Timer(1.2, sshd.up).start()

    board.measure(segments, QUICK)
    if during:
        at(monkeypatch, "time", 2, reboot)
    else:
        reboot()
    assert board.measure(segments, LONG).runs > 1000
    assert list(sshd.cache.glob("models/*.onnx")) and list(sshd.cache.glob("runner-*"))


def test_measure_on_a_board_that_stays_away_stops_the_run_resumable(
    sshd: Sshd, board: Board, segments: Path, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.measure(segments, QUICK)
    at(monkeypatch, "time", 1, sshd.down)
    with pytest.raises(DeviceError) as caught:
        board.measure(segments, LONG)
    message = str(caught.value)
    assert message.startswith(board.launcher.name) and f"port {sshd.port}" in message
    assert "sshd" in message


def test_measure_notices_a_frozen_board_and_continues_after_the_thaw(
    sshd: Sshd, board: Board, segments: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.measure(segments, QUICK)

    def freeze() -> None:
        sshd.freeze()
        threading.Timer(2.5, sshd.thaw).start()

    at(monkeypatch, "time", 2, freeze)
    assert board.measure(segments, LONG).runs > 1000


def test_measure_on_a_board_that_stays_frozen_stops_the_run(
    sshd: Sshd, board: Board, large: Path, brief: None
) -> None:
    board.describe()
    sshd.freeze()
    began = time.monotonic()
    with pytest.raises(DeviceError, match=f"{re.escape(board.launcher.name)} .*power"):
        board.measure(large, QUICK)
    assert time.monotonic() - began < 8
    sshd.thaw()
    assert board.measure(large, QUICK).runs


def test_measure_blames_a_model_that_kills_the_runner_twice(
    sshd: Sshd, board: Board, segments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.measure(segments, QUICK)
    stream = RpcChannel.stream

    def deadly(self: RpcChannel, do: str, **facts: Any) -> Iterator[dict[str, Any]]:
        if do == "time":
            kill_runner(sshd)
        return stream(self, do, **facts)

    with monkeypatch.context() as patch:
        patch.setattr(RpcChannel, "stream", deadly)
        with pytest.raises(CandidateError, match=r"\b2\b.*memory"):
            board.measure(segments, QUICK)
    assert board.measure(segments, QUICK).runs


def test_measure_blames_a_model_that_exhausts_memory_at_once(
    sshd: Sshd, board: Board, segments: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    board.measure(segments, QUICK)
    asked.clear()
    with monkeypatch.context() as patch:
        # As the kernel does: the child, whose oom_score_adj is the highest, goes first.
        at(patch, "time", 1, lambda: os.kill(max(sshd.runners(), key=oom_score_adj), 9))
        with pytest.raises(CandidateError, match=r"signal 9 .*memory"):
            board.measure(segments, LONG)
    assert board.measure(segments, QUICK).runs
    assert asked.count("open") == 2 and "hello" not in asked and "put" not in asked


def oom_score_adj(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_measure_reports_a_full_disk_and_leaves_nothing_partial(
    small: Sshd, large: Path, segments: Path
) -> None:
    device = ssh_device(small.profile())
    with pytest.raises(DeviceError) as caught:
        device.measure(large, QUICK)
    assert str(caught.value).startswith(device.launcher.name)
    assert str(small.cache / "models") in str(caught.value)
    assert sum(path.stat().st_size for path in (small.cache / "models").iterdir()) < 10_000
    assert device.measure(segments, QUICK).runs
    device.close()


def test_measure_of_a_second_run_waits_and_names_the_holder(
    sshd: Sshd, board: Board, segments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SshLauncher, "claim_wait_s", 0.3)
    board.measure(segments, QUICK)
    other = ssh_device(sshd.profile())
    with pytest.raises(DeviceError, match="process .* of "):
        other.measure(segments, QUICK)
    monkeypatch.setattr(SshLauncher, "claim_wait_s", 10.0)
    threading.Timer(0.3, board.close).start()
    assert other.measure(segments, QUICK).runs
    other.close()


def pretending(path: Path, runner: str) -> str:
    """A python that starts like one, and then is another program instead of the runner."""
    path.write_text(
        f'#!/bin/sh\ncase " $* " in *" -c "*) exec {sys.executable} "$@";; *) {runner};; esac\n'
    )
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("runner", "message"),
    [
        ("yes garbage", "garbage"),
        ("tr '\\0' x </dev/zero", "1 MiB: xxx"),
        ("echo '{\"bytes\": 99999999999}'; cat", "99999999999"),
        ('echo \'{"hello": {"python": 3}}\'; cat', "hello"),
        ("echo Traceback >&2; exit 1", "code 1: Traceback"),
    ],
)
def test_describe_quotes_endless_garbage_and_does_not_retry(
    sshd: Sshd, tmp_path: Path, brief: None, runner: str, message: str
) -> None:
    python = pretending(tmp_path / "python", runner)
    device = ssh_device(sshd.profile(python=python))
    began = time.monotonic()
    with pytest.raises(DeviceError) as caught:
        device.describe()
    device.close()
    assert message in str(caught.value) and len(str(caught.value)) < 600
    assert time.monotonic() - began < 5


def test_measure_without_onnxruntime_names_devices_setup(
    sshd: Sshd, tmp_path: Path, segments: Path
) -> None:
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    device = ssh_device(sshd.profile(python=str(bare)))
    for verb in (device.describe, lambda: device.measure(segments, QUICK)):
        with pytest.raises(DeviceError, match=r"onnxruntime.*autoseg devices setup board"):
            verb()
    device.close()


def test_measure_reports_an_old_onnxruntime(sshd: Sshd, tmp_path: Path, segments: Path) -> None:
    (tmp_path / "old" / "onnxruntime").mkdir(parents=True)
    (tmp_path / "old" / "onnxruntime" / "__init__.py").write_text(
        "__version__ = '1.10.0'\nget_available_providers = lambda: ['CPUExecutionProvider']\n"
    )
    sshd.down()
    sshd.environment = f"PYTHONPATH={tmp_path / 'old'}"
    sshd.up()
    device = ssh_device(sshd.profile())
    with pytest.raises(DeviceError, match=r"1\.10\.0 .*1\.16\b.*devices setup board"):
        device.measure(segments, QUICK)
    device.close()


def test_predict_returns_class_maps_of_the_board(sshd: Sshd, board: Board, segments: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3), dtype=np.uint8)
    maps = board.predict(segments, iter(frames))
    np.testing.assert_array_equal(np.stack(maps), frames.argmax(axis=-1))
    assert list(sshd.cache.glob("models/*.onnx"))
