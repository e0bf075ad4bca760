"""What ssh says of a host, and what is done where it says nothing."""

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from autoseg.core.errors import InputError
from autoseg.device.ssh import effective_config as module
from autoseg.device.ssh.config_reader import read_config
from autoseg.device.ssh.effective_config import effective_config

pytestmark = pytest.mark.skipif(not shutil.which("ssh"), reason="no ssh here")


def configure(home: Path, text: str) -> Path:
    (home / ".ssh").mkdir(mode=0o700, exist_ok=True)
    config = home / ".ssh" / "config"
    config.write_text(text)
    config.chmod(0o600)
    return config


def answer(path: Path, script: str) -> None:
    """An `ssh` of another kind or age."""
    path.mkdir()
    (path / "ssh").write_text(f"#!/bin/sh\n{script}\n")
    (path / "ssh").chmod(0o755)


def test_effective_config_is_that_of_ssh_in_the_home_of_the_login(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", pwd.getpwuid(os.getuid()).pw_dir)
    shown = subprocess.run(["ssh", "-T", "-G", "-p", "7", "192.0.2.1"], capture_output=True)
    found = effective_config("192.0.2.1", port=7)
    lines = [f"{keyword} {' '.join(value)}" for keyword, value in found.items() if len(value) == 1]
    lines.append(f"userknownhostsfile {' '.join(found['userknownhostsfile'])}")
    assert set(map(str.lower, lines)) <= set(shown.stdout.decode().lower().splitlines())
    assert found["port"] == ["7"]


def test_effective_config_is_read_through_a_temporary_folder_of_any_name(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    configure(home, "Include more\n")
    (home / ".ssh" / "more").write_text("Port 7\n")
    (tmp_path / "a [b]* c").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "a [b]* c"))
    assert effective_config("pi")["port"] == ["7"] and not caplog.records
    assert not list((tmp_path / "a [b]* c").iterdir())


def test_effective_config_refuses_a_host_that_is_an_option() -> None:
    with pytest.raises(InputError, match="dash"):
        effective_config("-oProxyCommand=touch x")


def test_effective_config_warns_once_of_what_is_read_for_each_hop(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configure(home, "BrandNewKeyword yes\nMatch not-yet-known 7\n Port 1\n")
    for host in ("pi", "pi", "door"):
        effective_config(host)
    refused, *left_out = (record.getMessage() for record in caplog.records)
    assert "brandnewkeyword" in refused.lower() and len(left_out) == 2


def test_effective_config_of_a_config_that_ssh_refuses_is_read_here_with_a_warning(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure(home, "Include more\nMatch not-yet-known 7\n Port 1\nMatch all\n Port 7\n")
    (home / ".ssh" / "more").write_text("BrandNewKeyword yes\nUser me\n")
    found = effective_config("pi")
    assert (found["port"], found["user"]) == (["7"], ["me"])
    assert found == read_config("pi")
    refused, left_out = (record.getMessage() for record in caplog.records)
    assert refused.startswith("`ssh -G` fails")
    assert str(home / ".ssh" / "more") in refused and "brandnewkeyword" in refused.lower()
    assert left_out.startswith(f"{config}:2: Match not-yet-known")


@pytest.mark.parametrize(
    "script",
    [
        "echo 'unknown option -- G' >&2; exit 255",
        "echo hello",
        "echo hostname pi",
        "kill -9 $$",
    ],
)
def test_effective_config_does_without_an_ssh_that_is_too_old(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    script: str,
) -> None:
    answer(tmp_path / "bin", script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    configure(home, "Port 7\n")
    assert effective_config("pi")["port"] == ["7"]
    assert "`ssh -G` fails" in caplog.text


def test_effective_config_takes_the_files_of_an_old_ssh(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(
        tmp_path / "bin",
        "printf 'hostname pi\\nport 22\\nuser me\\nidentityfile ~/.ssh/id_rsa\\n'; "
        "echo 'userknownhostsfile /a b/c ~/d none'",
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert effective_config("pi")["userknownhostsfile"] == ["/a b/c", "~/d", "none"]


def test_effective_config_waits_for_no_command_without_end(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: Any
) -> None:
    told = tmp_path / "pid"
    configure(home, f'Match exec "echo $$ > {told}; sleep 60; true"\n Port 7\n')
    started = time.monotonic()
    for limit_s in (0.3, 3.0, 10.0):  # the machine may be busy
        monkeypatch.setattr(module, "LIMIT_S", limit_s)
        with pytest.raises(InputError, match=rf"within {limit_s:g} s.*Match exec"):
            effective_config("pi")
        if told.exists() and told.read_text():
            break
    pid = int(told.read_text())
    processes.wait_for(lambda: not processes.alive([pid]))
    # As gpg-agent, which a command starts and which keeps its stderr.
    configure(home, 'Match exec "sleep 60 & true"\n Port 7\n')
    monkeypatch.setattr(module, "LIMIT_S", 10.0)
    assert effective_config("pi")["port"] == ["7"]
    assert time.monotonic() - started < 50
