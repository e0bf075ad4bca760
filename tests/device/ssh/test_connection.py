"""Reaching a board: what lets us in, what keeps us out, and what the user is told."""

import contextlib
import getpass
import ipaddress
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from device.sshd import Sshd, make_key, public

from autoseg.core.errors import DeviceError, InputError
from autoseg.device import rpc
from autoseg.device.device_profile import Profile
from autoseg.device.ssh import add_host_key, connection, fetch_host_keys, launcher
from autoseg.device.ssh.launcher import SshLauncher

pytestmark = pytest.mark.ssh
ME = getpass.getuser()


def says_hello(profile: Profile, **options: bool) -> bool:
    board = SshLauncher(profile, **options)
    try:
        return board.run_command(["echo", "hello"]) == (0, b"hello\n", b"")
    finally:
        board.close()


def refused(profile: Profile, **options: bool) -> str:
    with pytest.raises((DeviceError, InputError)) as caught:
        says_hello(profile, **options)
    return str(caught.value)


def write_config(home: Path, text: str) -> None:
    (home / ".ssh").mkdir(mode=0o700, exist_ok=True)
    (home / ".ssh" / "config").write_text(text)


def test_connect_accepts_a_known_board_and_key(sshd: Sshd) -> None:
    assert says_hello(sshd.profile())


def test_run_command_passes_arguments_unchanged(sshd: Sshd) -> None:
    board = SshLauncher(sshd.profile())
    words = ["a b", "$HOME", "`id`", "'\"\\", "line\nend", "!!", "*", "", "~", "ü", "-n; exit 3"]
    code, out, _ = board.run_command(["printf", "%s|", *words])
    assert (code, out.decode()) == (0, "|".join(words) + "|")
    code, out, err = board.run_command(
        ["sh", "-c", "cat; echo bad >&2; exit 7"], stdin=b"x" * 500_000
    )
    assert (code, len(out), err) == (7, 500_000, b"bad\n")
    started = time.monotonic()
    with pytest.raises(DeviceError, match=r"0\.3 s"):
        board.run_command(["sleep", "60"], limit_s=0.3)
    assert time.monotonic() - started < 3
    board.close()


@pytest.mark.parametrize("shell", ["csh", "tcsh", "fish"])
def test_run_command_works_under_any_login_shell(shell: str) -> None:
    from autoseg.device.ssh.start_runner import COMMAND, quoted

    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    given = quoted(["printf", "%s|", "a b", "$HOME", "!x", "line\nend", "'"])
    done = subprocess.run([shell, "-c", COMMAND], input=given, text=True, capture_output=True)
    assert done.stdout == "a b|$HOME|!x|line\nend|'|"


def test_run_command_bounds_endless_output(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "MAX_OUTPUT_BYTES", 1000)
    board = SshLauncher(sshd.profile())
    code, out, err = board.run_command(["sh", "-c", "head -c 9999999 /dev/zero | tee /dev/stderr"])
    assert (code, len(out), len(err)) == (0, 1000, 64 << 10)
    board.close()


def test_connect_with_a_wrong_key_names_it_and_ssh_copy_id(sshd: Sshd, tmp_path: Path) -> None:
    wrong = make_key(tmp_path / "wrong")
    message = refused(sshd.profile(key_file=wrong))
    assert ME in message and str(wrong) in message
    assert f"ssh-copy-id -p {sshd.port} {ME}@127.0.0.1" in message
    assert "PRIVATE" not in message


def test_connect_without_a_key_names_ssh_copy_id(sshd: Sshd) -> None:
    message = refused(sshd.profile(key_file=None))
    assert "no key" in message and "ssh-copy-id" in message


def test_connect_finds_the_usual_key_files(sshd: Sshd, home: Path) -> None:
    shutil.copy(sshd.key, home / ".ssh" / "id_ed25519")
    assert says_hello(sshd.profile(key_file=None))
    (home / ".ssh" / "id_ed25519").chmod(0o644)
    assert "chmod 600" in refused(sshd.profile(key_file=None))


def test_connect_refuses_useless_key_files_with_the_reason(sshd: Sshd, tmp_path: Path) -> None:
    assert "No such file" in refused(sshd.profile(key_file=tmp_path / "gone"))
    locked = make_key(tmp_path / "locked", passphrase="secret")
    assert f"ssh-add {locked}" in refused(sshd.profile(key_file=locked))
    (tmp_path / "text").write_text("text")
    (tmp_path / "text").chmod(0o600)
    message = refused(sshd.profile(key_file=tmp_path / "text"))
    assert str(tmp_path / "text") in message and "private key" in message


def test_connect_tries_keys_of_the_agent_unless_disabled(
    sshd: Sshd, home: Path, tmp_path: Path, agent: Callable[..., None]
) -> None:
    others = [make_key(tmp_path / f"other{number}") for number in range(3)]
    agent(*others, sshd.key)
    assert says_hello(sshd.profile(key_file=None, use_agent=True))
    assert "no key" in refused(sshd.profile(key_file=None, use_agent=False))
    write_config(home, f"IdentitiesOnly yes\nIdentityFile {others[0]}\n")
    message = refused(sshd.profile(key_file=None, use_agent=True))
    assert str(others[0]) in message and message.count("the agent's") == 1
    write_config(home, f"IdentitiesOnly yes\nIdentityFile {sshd.key}\n")
    assert says_hello(sshd.profile(key_file=None, use_agent=True))


def test_connect_uses_a_locked_key_from_the_agent(
    sshd: Sshd, tmp_path: Path, agent: Callable[..., None]
) -> None:
    locked = make_key(tmp_path / "locked", passphrase="secret")
    sshd.authorized.write_text(public(locked))
    ask = tmp_path / "ask"
    ask.write_text("#!/bin/sh\necho secret\n")
    ask.chmod(0o700)
    environment = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(["ssh-add", "-q", str(locked)], check=True, env=environment)
    assert says_hello(sshd.profile(key_file=locked, use_agent=True))


def test_connect_never_sends_a_password(tmp_path: Path, home: Path) -> None:
    board = Sshd(
        tmp_path / "b",
        make_key(tmp_path / "key"),
        passwords="yes",
        more="AuthenticationMethods password\nPubkeyAuthentication no",
    ).up()
    board.trusted_by(home)
    try:
        message = refused(board.profile())
    finally:
        board.down()
    assert "password" in message
    assert "password for" not in board.log


def test_connect_reports_a_second_factor(sshd: Sshd) -> None:
    sshd.down()
    sshd.passwords, sshd.more = "yes", "AuthenticationMethods publickey,password"
    sshd.up()
    assert "password" in refused(sshd.profile())


def test_connect_reports_a_board_that_closes_after_some_keys(
    sshd: Sshd, home: Path, tmp_path: Path
) -> None:
    sshd.down()
    sshd.more = "MaxAuthTries 2"
    sshd.up()
    keys = [make_key(tmp_path / f"wrong{number}") for number in range(4)]
    write_config(home, "".join(f"IdentityFile {key}\n" for key in keys))
    message = refused(sshd.profile(key_file=None))
    assert "key_file" in message
    assert str(keys[0]) in message and str(keys[3]) not in message


def test_connect_refuses_an_unknown_board_with_both_ways_to_accept(sshd: Sshd, home: Path) -> None:
    (home / ".ssh" / "known_hosts").unlink()
    message = refused(sshd.profile())
    shown = subprocess.run(
        ["ssh-keygen", "-lf", f"{sshd.host_key}.pub"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.split()[1] in message
    assert (
        f"autoseg devices trust {ME}@127.0.0.1:{sshd.port}`" in message
        and "--accept-new-host-key" in message
    )
    assert not (home / ".ssh" / "known_hosts").exists()
    assert "Accepted publickey" not in sshd.log


def test_connect_knows_an_accepted_board_from_then_on(sshd: Sshd, home: Path) -> None:
    (home / ".ssh" / "known_hosts").unlink()
    assert says_hello(sshd.profile(), accept_new_host_key=True)
    assert says_hello(sshd.profile())


def test_fetch_host_keys_shows_a_key_before_it_is_trusted(sshd: Sshd, home: Path) -> None:
    (home / ".ssh" / "known_hosts").unlink()
    keys = fetch_host_keys(sshd.profile())
    key = next(keys)
    assert not key.known and key.kind == "ssh-ed25519"
    assert add_host_key(key) == home / ".ssh" / "known_hosts"
    assert [each.known for each in keys] == [True]
    assert says_hello(sshd.profile())


@pytest.mark.parametrize("accept", [False, True])
def test_connect_always_refuses_a_changed_key(sshd: Sshd, tmp_path: Path, accept: bool) -> None:
    sshd.down()
    sshd.host_key = make_key(tmp_path / "new_host_key")
    sshd.up()
    message = refused(sshd.profile(), accept_new_host_key=accept)
    assert "ssh-keygen -f" in message
    with pytest.raises(InputError, match="ssh-keygen -f"):
        next(fetch_host_keys(sshd.profile()))
    assert "Accepted publickey" not in sshd.log


@pytest.mark.parametrize(
    "files", ["", "UserKnownHostsFile /dev/null\n", "UserKnownHostsFile none\n"]
)
def test_connect_checks_host_keys_whatever_the_config_says(
    sshd: Sshd, home: Path, tmp_path: Path, files: str
) -> None:
    lines = "StrictHostKeyChecking no\nNoHostAuthenticationForLocalhost yes\nCheckHostIP no\n"
    known = f"[127.0.0.1]:{sshd.port} {public(make_key(tmp_path / 'another'))}\n"
    for text, message in (("", "is not known"), (known, "HAS CHANGED")):
        (home / ".ssh" / "known_hosts").write_text(text)
        write_config(home, lines + files)
        assert ("is not known" if files else message) in refused(sshd.profile())
    assert "Accepted publickey" not in sshd.log


def link_local() -> str:
    """An address of this machine that needs its zone."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            digits, *_, interface = line.split()
            if digits.startswith("fe80"):
                return f"{ipaddress.IPv6Address(int(digits, 16))}%{interface}"
    pytest.skip("no interface here has a link-local address")


def test_connect_reaches_an_address_with_a_zone(sshd: Sshd, home: Path) -> None:
    address = link_local()
    sshd.down()
    sshd.more = f"ListenAddress {address}"
    sshd.up()
    with (home / ".ssh" / "known_hosts").open("a") as file:
        file.write(f"[{address}]:{sshd.port} {public(sshd.host_key)}\n")
    write_config(home, f"Host gadget\n HostName {address.replace('%', '%%')}\n")
    for host in ("gadget", address):
        assert says_hello(sshd.profile(host=host))
        assert SshLauncher(sshd.profile(host=host)).here


def test_connect_requests_the_key_type_that_is_known(
    sshd: Sshd, home: Path, tmp_path: Path
) -> None:
    rsa = make_key(tmp_path / "rsa_host_key", "rsa")
    sshd.down()
    sshd.more = f"HostKey {rsa}"
    sshd.up()
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {public(rsa)}\n")
    assert says_hello(sshd.profile())


def test_run_command_accepts_a_slow_command_up_to_its_limit(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "HEARTBEAT_TIMEOUT_S", 0.4)
    board = SshLauncher(sshd.profile())
    slow = "while [ $(head -c 100000 | wc -c) -gt 0 ]; do sleep 0.03; done"
    began = time.monotonic()
    assert board.run_command(["sh", "-c", slow], stdin=bytes(5_000_000))[0] == 0
    assert time.monotonic() - began > 1.0
    with pytest.raises(DeviceError, match=r"0\.2 s"):
        board.run_command(["sh", "-c", slow], stdin=bytes(5_000_000), limit_s=0.2)
    board.close()


def test_connect_reports_a_closed_port(sshd: Sshd) -> None:
    sshd.down()
    started = time.monotonic()
    message = refused(sshd.profile())
    assert f"port {sshd.port} of 127.0.0.1" in message
    assert time.monotonic() - started < 2


def test_connect_reports_a_board_that_does_not_answer(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        # Once its queue is full, the kernel drops what comes, as a board without power does.
        queued = [socket.create_connection(("127.0.0.1", port)) for _ in range(1)]
        message = refused(Profile(name="board", kind="ssh", host="127.0.0.1", port=port))
        for each in queued:
            each.close()
    assert f"port {port} of 127.0.0.1" in message and "0.3 s" in message


def test_connect_reports_an_unresolvable_name(home: Path) -> None:
    for host in ("no-such-board.invalid", "a..b", "x" * 70):
        message = refused(Profile(name="board", kind="ssh", host=host))
        assert repr(host) in message


def babbling(answer: bytes) -> tuple[socket.socket, int]:
    """A port that says something to whoever connects."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            while True:
                found, _ = server.accept()
                while answer:
                    found.sendall(answer)
        except OSError:
            pass

    threading.Thread(target=serve, daemon=True).start()
    return server, server.getsockname()[1]


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n", b"no line end", b"SSH-2.0-x\r\n\xff\xff"]
)
def test_connect_reports_a_server_that_is_not_ssh(
    home: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(connection, "CONNECT_S", 0.3)
    server, port = babbling(answer)
    started = time.monotonic()
    message = refused(Profile(name="board", kind="ssh", host="127.0.0.1", port=port))
    server.close()
    assert f"port {port} of 127.0.0.1" in message and "SSH" in message
    assert time.monotonic() - started < 4


def test_connect_failure_lets_the_program_exit_at_once(home: Path) -> None:
    server, port = babbling(b"SSH-2.0-x\r\n" + b"\0" * 16)
    code = (
        "from autoseg.device import resolve\n"
        f"try: resolve('me@127.0.0.1:{port}').describe()\n"
        "except Exception as error: print(error)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    server.close()
    assert "SSH" in done.stdout and not done.stderr
    assert time.monotonic() - started < 10


def test_connect_is_unaffected_by_a_forked_process(sshd: Sshd) -> None:
    board = SshLauncher(sshd.profile())
    board.run_command(["true"])
    child = os.fork()
    if not child:
        # What the end of a program does.
        board.close()
        os._exit(0)
    os.waitpid(child, 0)
    before = sshd.log.count("Accepted publickey")
    assert board.run_command(["echo", "still"])[1] == b"still\n"
    assert sshd.log.count("Accepted publickey") == before
    board.close()


def test_connect_reports_no_common_algorithm(sshd: Sshd) -> None:
    sshd.down()
    sshd.more = "Ciphers aes128-cbc"
    sshd.up()
    message = refused(sshd.profile())
    assert "algorithm" in message


@pytest.fixture
def behind(sshd: Sshd, home: Path, tmp_path: Path) -> Iterator[Profile]:
    """A board behind the other, which only the jump host's key file opens first."""
    far = Sshd(tmp_path / "far", make_key(tmp_path / "far_key")).up()
    write_config(
        home,
        f"Host door\n  HostName 127.0.0.1\n  Port {sshd.port}\n  IdentityFile {sshd.key}\n"
        f"Host far\n  HostName localhost\n  Port {far.port}\n  ProxyJump door\n",
    )
    with (home / ".ssh" / "known_hosts").open("a") as file:
        file.write(f"[localhost]:{far.port} {public(far.host_key)}\n")
    yield far.profile(host="far", port=None)
    far.down()


def test_connect_reaches_a_board_through_a_jump_host(sshd: Sshd, behind: Profile) -> None:
    assert says_hello(behind)
    assert "Accepted publickey" in sshd.log
    assert SshLauncher(behind).here


def test_connect_failure_leaves_no_connection_to_the_jump_host(
    sshd: Sshd, behind: Profile
) -> None:
    board = SshLauncher(behind)
    board.run_command(["true"])
    before = set(sshd.family())
    with pytest.raises(DeviceError):
        board.run_command(["sh", "-c", "kill -9 $PPID"])
    # That it is gone may be noticed only now.
    with contextlib.suppress(DeviceError):
        board.run_command(["true"])
    assert board.run_command(["echo", "again"])[1] == b"again\n"
    end = time.monotonic() + 3
    while before & set(sshd.family()) and time.monotonic() < end:
        time.sleep(0.01)
    assert before and not before & set(sshd.family())
    board.close()


def test_bound_keeps_early_bytes_of_a_jump_host_up_to_a_limit() -> None:
    from paramiko.channel import Channel
    from paramiko.ssh_exception import SSHException

    from autoseg.device.ssh.bounded_paramiko import MAX_WAITING_BYTES, bound

    channel = Channel(1)
    channel.in_buffer.feed(b"SSH-2.0")
    bound(channel)
    with pytest.raises(SSHException, match="bytes"):
        channel.in_buffer.feed(bytes(MAX_WAITING_BYTES))
    assert channel.recv(100) == b"SSH-2.0"


@pytest.mark.parametrize("unknown", ["127.0.0.1", "localhost"])
def test_connect_requires_every_hop_to_be_known(home: Path, behind: Profile, unknown: str) -> None:
    known = home / ".ssh" / "known_hosts"
    lines = known.read_text().splitlines(keepends=True)
    known.write_text("".join(line for line in lines if unknown not in line))
    who = f"{ME}@{'door' if unknown == '127.0.0.1' else 'far'}"
    assert f"{who}:" in refused(behind).partition("host key")[0]
    key = next(fetch_host_keys(behind))
    assert not key.known and unknown in key.hop.known_as
    add_host_key(key)
    assert says_hello(behind)


def test_connect_reports_a_jump_host_that_cannot_connect(
    sshd: Sshd, home: Path, behind: Profile
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()[1]
    message = refused(behind.model_copy(update={"port": closed}))
    assert re.search(rf"{ME}@door:{sshd.port} .*port {closed}", message)


def test_connect_shows_nothing_of_paramiko_to_the_user(
    sshd: Sshd, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    board = SshLauncher(sshd.profile())
    board.run_command(["true"])
    sshd.cut()
    with pytest.raises(DeviceError):
        board.run_command(["true"])
        board.run_command(["true"])
    sshd.down()
    refused(sshd.profile())
    assert not [record for record in caplog.records if record.name.startswith("paramiko")]
    assert capfd.readouterr() == ("", "")
