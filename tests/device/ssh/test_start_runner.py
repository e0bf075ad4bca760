"""The runner comes to a board: copied once, whole, and what its python may lack is told."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from device.sshd import Sshd

from autoseg.core.errors import DeviceError
from autoseg.device.rpc import RpcChannel
from autoseg.device.ssh import start_runner
from autoseg.device.ssh.launcher import SshLauncher

pytestmark = pytest.mark.ssh


def hello(sshd: Sshd, **profile: object) -> dict[str, object]:
    """What a runner says that was started on the board."""
    board = SshLauncher(sshd.profile(**profile))
    try:
        channel = RpcChannel(board.open())
        said: dict[str, object] = channel.ask("hello", limit_s=30)["hello"]
        channel.close()
        return said
    finally:
        board.close()


def refused(sshd: Sshd, **profile: object) -> str:
    with pytest.raises(DeviceError) as caught:
        hello(sshd, **profile)
    message = str(caught.value)
    assert message.startswith(sshd.profile().user or "")
    return message


def python(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def modes(folder: Path) -> set[tuple[bool, int]]:
    return {(path.is_dir(), path.stat().st_mode & 0o777) for path in folder.rglob("*")}


def test_bootstrap_copies_the_runner_once_and_for_the_user_alone(sshd: Sshd) -> None:
    assert hello(sshd)["cache"] == str(sshd.cache)
    (runner,) = sshd.cache.glob("runner-*.py")
    assert sshd.cache.stat().st_mode & 0o777 == 0o700
    assert modes(sshd.cache) == {(False, 0o600)}
    before = runner.stat()
    hello(sshd)
    assert list(sshd.cache.iterdir()) == [runner]
    assert (runner.stat().st_ino, runner.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_bootstrap_closes_a_cache_that_others_could_read(sshd: Sshd) -> None:
    sshd.cache.mkdir(parents=True, mode=0o777)
    sshd.cache.chmod(0o777)
    hello(sshd)
    assert sshd.cache.stat().st_mode & 0o777 == 0o700


def test_bootstrap_replaces_an_old_or_broken_runner(sshd: Sshd) -> None:
    hello(sshd)
    (runner,) = sshd.cache.glob("runner-*.py")
    whole = runner.read_bytes()
    runner.write_bytes(whole[:1000] + b"\0" * (len(whole) - 1000))
    (sshd.cache / f"runner-{'0' * 64}.py").write_text("print()")
    (sshd.cache / f"{runner.name}.4194304.part").write_text("half")
    (sshd.cache / "models").mkdir()
    hello(sshd)
    assert runner.read_bytes() == whole
    assert {path.name for path in sshd.cache.iterdir()} == {runner.name, "models"}


def test_bootstrap_leaves_nothing_running_when_the_connection_ends(sshd: Sshd) -> None:
    board = SshLauncher(sshd.profile())
    channel = RpcChannel(board.open())
    channel.ask("hello", limit_s=30)
    assert sshd.runners()
    sshd.cut()
    deadline = time.monotonic() + 5
    while bootstrap_processes(sshd) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not bootstrap_processes(sshd)
    channel.close()
    board.close()


def bootstrap_processes(sshd: Sshd) -> list[bytes]:
    """Runners of this board, also such that nobody owns any more."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            continue
    return [command for command in found if str(sshd.cache).encode() in command]


def test_bootstrap_ignores_output_of_the_login_shell(sshd: Sshd) -> None:
    sshd.down()
    sshd.more = "ForceCommand sh -c 'echo Welcome to the board; eval \"$SSH_ORIGINAL_COMMAND\"'"
    sshd.up()
    assert hello(sshd)["pid"]


def test_bootstrap_prefers_the_environment_of_setup(sshd: Sshd) -> None:
    (sshd.cache / "venv" / "bin").mkdir(parents=True)
    python(sshd.cache / "venv" / "bin" / "python", f'touch ~/used; exec {sys.executable} "$@"')
    hello(sshd, python=None)
    assert (sshd.home / "used").exists()
    (sshd.home / "used").unlink()
    (sshd.home / "my python").symlink_to(sys.executable)
    hello(sshd, python="~/my python")
    assert not (sshd.home / "used").exists()


def test_bootstrap_names_a_missing_python(sshd: Sshd, tmp_path: Path) -> None:
    message = refused(sshd, python="/no such/python; touch /tmp/x")
    assert "'/no such/python; touch /tmp/x'" in message
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to("/bin/sh")
    sshd.down()
    sshd.environment = f"PATH={tmp_path / 'bin'}"
    sshd.up()
    message = refused(sshd, python=None)
    assert "python3" in message


def test_bootstrap_names_an_old_python(sshd: Sshd, tmp_path: Path) -> None:
    code = "import sys;sys.version_info=(3,5,2);code=sys.argv[1];sys.argv[1:2]=[];exec(code)"
    old = python(tmp_path / "old", f"shift 2; exec {sys.executable} -c '{code}' \"$@\"")
    assert re.search(r"\b3\.5\b.*\b3\.8\b", refused(sshd, python=str(old)))


def test_bootstrap_reads_a_noisy_python_up_to_a_limit(sshd: Sshd, tmp_path: Path) -> None:
    loud = python(tmp_path / "loud", "yes 'garbage in, garbage out'")
    started = time.monotonic()
    message = refused(sshd, python=str(loud))
    assert "'garbage in, garbage out garbage" in message and len(message) < 400
    assert time.monotonic() - started < 5
    fails = python(tmp_path / "fails", "echo so long; echo I am broken >&2; exit 3")
    message = refused(sshd, python=str(fails))
    assert re.search("code 3: I am broken.*'so long'", message)


def test_bootstrap_quotes_wrong_answers(sshd: Sshd, tmp_path: Path) -> None:
    for number, answer in enumerate(("no json", "[1, 2]", '{"error": {"a": 1}}', '{"have": 1')):
        liar = python(tmp_path / f"liar{number}", f"echo 'autoseg:{answer}'; cat >/dev/null")
        assert answer[2:6] in refused(sshd, python=str(liar))


def test_bootstrap_gives_up_on_a_silent_python(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_runner, "BOOT_S", 0.5)
    mute = python(tmp_path / "mute", "exec sleep 60")
    assert "0.5 s" in refused(sshd, python=str(mute))


def test_bootstrap_reports_a_login_without_home(sshd: Sshd) -> None:
    sshd.home.rmdir()
    assert "home folder" in refused(sshd)


def test_bootstrap_reports_a_full_disk_and_leaves_it_unchanged(small: Sshd) -> None:
    (small.home / "photos").write_bytes(b"x" * (224 << 10))
    message = refused(small)
    assert "disk" in message and str(small.cache) in message
    assert not list(small.cache.iterdir())
    (small.home / "photos").unlink()
    assert hello(small)["pid"]


def test_bootstrap_reports_a_read_only_home(small: Sshd) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small.home)], check=True)
    message = refused(small)
    assert "Read-only file system" in message
