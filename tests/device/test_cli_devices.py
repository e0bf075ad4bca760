"""`autoseg devices` and `measure --operators`, as a user runs them."""

import io
import json
import re
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from device.sshd import Sshd

import autoseg
from autoseg.core import yaml_files
from autoseg.device import setup
from autoseg.device.device_profile import load_profile, write_profile

Command = Callable[..., Any]


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoseg.device.check.WATCH_S", 0.05)


def test_devices_lists_the_known_devices(autoseg_command: Command) -> None:
    called = autoseg_command("devices")
    assert called.code == 0
    lines = called.stdout.splitlines()
    for name in yaml_files.names("devices"):
        assert any(line.split()[0] == name for line in lines[1:]), name
    assert "pi@raspberrypi.local" in called.stdout and "this machine" in called.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["check", "lokal"], "'local'"),
        (["check", "@"], "user@host"),
        (["check", "local", "--save", "x.yaml"], "--save .*--probe"),
        (
            ["check", "local", "--probe", "--save", "no/x.yaml"],
            r"--save no/x\.yaml: .*folder no\b",
        ),
        (["setup", "local"], "local .*onnxruntime"),
        (["trust", "local"], "local .*host key"),
        (["chek", "local"], "'chek'"),
    ],
)
def test_devices_refuses_contradictory_arguments(
    autoseg_command: Command, arguments: list[str], told: str
) -> None:
    called = autoseg_command("devices", *arguments)
    assert called.code == 2 and called.stdout == ""
    assert re.search(told, called.stderr, re.MULTILINE)


def test_devices_check_checks_this_machine(autoseg_command: Command) -> None:
    called = autoseg_command("devices", "check", "local", "--json")
    told = json.loads(called.stdout)
    assert told["facts"]["onnxruntime"] and told["facts"]["round trip"].endswith(" ms")
    assert told["trust"]["pairs"] >= 20 and told["probe"] is None
    severe = [finding for finding in told["findings"] if finding["severe"]]
    assert told["trustworthy"] == (not severe) and called.code == bool(severe)


def test_devices_check_probe_saves_its_result_in_a_profile(
    autoseg_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autoseg.device import channel_step

    monkeypatch.setattr("autoseg.device.aa_comparison.MAX_DIFFERENCE", 100.0)
    monkeypatch.setattr(channel_step, "ROUNDS", 2)
    monkeypatch.setattr(channel_step, "BLOCK_RUNS", 2)
    save = tmp_path / "mine.yaml"
    called = autoseg_command("devices", "check", "local", "--probe", "--save", str(save))
    (line,) = [line for line in called.stdout.splitlines() if line.startswith("channel_step: ")]
    assert load_profile(save).channel_step == int(line.split()[1])
    assert f"--device {save}" in called.stderr
    assert called.stdout.splitlines()[-1].startswith("local can")
    again = autoseg_command("devices", "check", "local", "--probe", "--save", str(save))
    assert again.code == 2 and "exists already" in again.stderr


@pytest.mark.parametrize("broken", ["trust", "probe"])
def test_devices_check_probe_without_a_trustworthy_result_saves_nothing(
    autoseg_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    # Nothing is alike enough; or the machine cannot load what is no model.
    monkeypatch.setattr(
        "autoseg.device.aa_comparison.MAX_DIFFERENCE", 0.0 if broken == "trust" else 100.0
    )
    if broken == "probe":
        monkeypatch.setattr("autoseg.device.channel_step.conv_chain", lambda *shape: b"no model")
    save = tmp_path / "mine.yaml"
    called = autoseg_command("devices", "check", "local", "--probe", "--save", str(save))
    assert called.code == 1 and "local" in called.stdout and "round trip" in called.stdout
    assert str(save) in called.stderr and not save.exists()
    assert ("timing convolutions" in called.stderr) == (broken == "probe")


def test_measure_operators_shows_their_time(autoseg_command: Command, segments: Path) -> None:
    called = autoseg_command("measure", str(segments), "--operators")
    assert called.code == 0
    assert "ArgMax" in called.stdout and "1x24x32" in called.stdout
    assert called.stdout.split("by operator")[1].split("all")[1].split()[-2:] == ["100", "%"]


def test_measure_against_shows_two_models_side_by_side(
    autoseg_command: Command, segments: Path, dynamic: Path
) -> None:
    called = autoseg_command("measure", str(segments), "--against", str(dynamic))
    assert called.code == 0
    rows = called.stdout.split("side by side")[1].splitlines()[1:]
    assert rows[0].split()[:2] == ["operator", "segments:"] and "dynamic: nodes" in rows[0]
    assert {row.split()[0] for row in rows[1:]} >= {"ArgMax", "Relu", "all"}
    as_json = autoseg_command("measure", str(segments), "--operators", "--json")
    (nodes,) = json.loads(as_json.stdout)["models"].values()
    assert {node["op"] for node in nodes} >= {"ArgMax", "Cast"}


def test_measure_shape_fills_open_sizes_and_the_table_says_so(
    autoseg_command: Command, dynamic: Path
) -> None:
    measure = ("measure", str(dynamic), "--max-time", "0.1s")
    called = autoseg_command(*measure, "--shape", "2x3x16x8")
    (row,) = [line for line in called.stdout.splitlines() if line.split()[:1] == ["inputs"]]
    assert "x: float32 2x3x16x8" in row and "Nx3xheightxwidth" in called.stdout
    (fed,) = json.loads(autoseg_command(*measure, "--json").stdout)["inputs"]
    assert fed == {
        "name": "x", "dtype": "float32",
        "shape": [1, 3, 224, 224], "declared": ["N", 3, "height", "width"],
    }  # fmt: skip
    named = ("measure", str(dynamic), "--operators", "--shape", "x=1x3x16x8")
    assert "1x3x16x8" in autoseg_command(*named).stdout


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        (["1x3"], r"\[1, 3\] does not fit"),
        (["y=1x3x8x8"], "'y'.*'x'"),
        (["1x3x0x8"], "'1x3x0x8'"),
        (["1,3,8,8"], "'1,3,8,8'"),
        (["x=1x3x8x8", "x=1x3x8x9"], "once each"),
    ],
)
def test_measure_refuses_a_shape_that_does_not_fit(
    autoseg_command: Command, dynamic: Path, shapes: list[str], told: str
) -> None:
    options = [word for shape in shapes for word in ("--shape", shape)]
    for more in ([], ["--operators"]):
        called = autoseg_command("measure", str(dynamic), *options, *more)
        assert called.code == 2 and re.search(told, called.stderr)


def test_measure_against_requires_an_existing_model(
    autoseg_command: Command, segments: Path
) -> None:
    called = autoseg_command("measure", str(segments), "--against", "gone.onnx")
    assert called.code == 2 and "gone.onnx" in called.stderr


def test_measure_candidate_without_a_file_exports_it_untrained(
    autoseg_command: Command, finished: Any, segments: Path
) -> None:
    # Its models may be timed beside other tests: only their operators are looked at.
    result = autoseg.Result.from_run(finished.folder)
    key = result.evaluations[-1].candidate.key
    measure = ("measure", str(finished.folder), "--candidate", key)
    before = sorted(finished.folder.rglob("*"))
    called = autoseg_command(*measure, "--against", str(segments))
    assert called.code == 0 and f"{key} (untrained)" in called.stdout
    rows = called.stdout.split("side by side")[1]
    assert key in rows and "segments" in rows and "Conv" in rows
    told = json.loads(autoseg_command(*measure, "--max-time", "0.1s", "--json").stdout)
    assert told["phase"] == "confirm" and told["p50_ms"] > 0
    assert sorted(finished.folder.rglob("*")) == before


def test_measure_candidate_that_does_not_exist_is_refused(
    autoseg_command: Command, finished: Any, tmp_path: Path
) -> None:
    def refusal(*arguments: str) -> str:
        called = autoseg_command("measure", *arguments)
        assert called.code == 2
        return str(called.stderr)

    assert "'x'" in refusal(str(finished.folder), "--candidate", "x")
    assert str(tmp_path / "gone") in refusal(str(tmp_path / "gone"), "--candidate", "x")
    assert "--candidate KEY" in refusal(str(finished.folder))


@pytest.fixture
def board(sshd: Sshd, tmp_path: Path) -> Path:
    """The profile of a board that can be reached."""
    path = tmp_path / "board.yaml"
    write_profile(sshd.profile(), path)
    return path


@pytest.mark.ssh
def test_devices_check_names_an_onnxruntime_that_ends_the_interpreter(
    autoseg_command: Command, sshd: Sshd, board: Path, tmp_path: Path
) -> None:
    (tmp_path / "site" / "onnxruntime").mkdir(parents=True)
    dies = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"
    (tmp_path / "site" / "onnxruntime" / "__init__.py").write_text(dies)
    sshd.down()
    sshd.environment = f"PYTHONPATH={tmp_path / 'site'}"
    sshd.up()
    called = autoseg_command("devices", "check", str(board), "--json")
    first = json.loads(called.stdout)["findings"][0]
    assert called.code == 1 and "illegal instruction" in first["text"]
    assert f"devices setup {board}" in first["fix"] and "tested with: 1." in first["fix"]


@pytest.mark.ssh
def test_devices_check_checks_a_board(autoseg_command: Command, board: Path) -> None:
    called = autoseg_command("devices", "check", str(board), "--json")
    told = json.loads(called.stdout)
    assert told["facts"]["python"] and told["trust"]["pairs"] >= 20
    assert called.code == (0 if told["trustworthy"] else 1)


@pytest.mark.ssh
def test_devices_check_without_onnxruntime_names_devices_setup(
    autoseg_command: Command, sshd: Sshd, tmp_path: Path
) -> None:
    venv.create(tmp_path / "bare")
    path = tmp_path / "my board.yaml"
    write_profile(sshd.profile(python=str(tmp_path / "bare" / "bin" / "python")), path)
    called = autoseg_command("devices", "check", str(path))
    assert called.code == 1
    assert f"`autoseg devices setup '{path}'`" in called.stdout
    refused = autoseg_command("devices", "setup", str(path))
    assert refused.code == 2 and "`python`" in refused.stderr


@pytest.mark.ssh
def test_devices_setup_asks_before_it_changes_a_board(
    autoseg_command: Command, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv.create(tmp_path / "bare")
    monkeypatch.setattr(setup, "PYTHON", str(tmp_path / "bare" / "bin" / "python"))
    path = tmp_path / "board.yaml"
    write_profile(sshd.profile(python=None), path)
    with open("/dev/null") as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        called = autoseg_command("devices", "setup", str(path))
    assert called.code == 2 and "--yes" in called.stderr
    assert "virtual environment" in called.stdout
    assert not (sshd.cache / "venv").exists()
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    refused = autoseg_command("devices", "setup", str(path))
    assert refused.code == 1
    assert not (sshd.cache / "venv").exists()


@pytest.mark.ssh
def test_devices_setup_does_nothing_on_a_board_that_can_measure(
    autoseg_command: Command, board: Path
) -> None:
    called = autoseg_command("devices", "setup", str(board))
    assert called.code == 0 and "onnxruntime" in called.stdout


@pytest.mark.ssh
def test_devices_trust_shows_a_host_key_and_stores_it_after_consent(
    autoseg_command: Command, board: Path, home: Path
) -> None:
    known = home / ".ssh" / "known_hosts"
    known.unlink()
    unknown = autoseg_command("devices", "check", str(board))
    assert unknown.code == 2 and "--accept-new-host-key" in unknown.stderr
    with open("/dev/null") as nobody, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", nobody)
        asked = autoseg_command("devices", "trust", str(board))
    assert asked.code == 2 and "SHA256:" in asked.stdout and not known.exists()
    told = autoseg_command("devices", "trust", str(board), "--yes")
    assert told.code == 0 and "ssh-ed25519 SHA256:" in told.stdout
    assert autoseg_command("devices", "trust", str(board)).code == 0
    assert autoseg_command("devices", "setup", str(board)).code == 0
