"""The keys that a board is offered, and in which order."""

import getpass
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from device.sshd import Sshd, make_key, public

from autoseg.core.errors import DeviceError, InputError
from autoseg.device.device_profile import Profile
from autoseg.device.ssh.config import Hop, hops_of
from autoseg.device.ssh.keys import Identities
from autoseg.device.ssh.launcher import SshLauncher

pytestmark = pytest.mark.ssh


@pytest.fixture
def board(sshd: Sshd, home: Path) -> Sshd:
    """A board that allows six attempts, as by default, and is named by the config."""
    sshd.down()
    sshd.more = "MaxAuthTries 6"
    sshd.up()
    return sshd


def configure(home: Path, board: Sshd, lines: str = "") -> Profile:
    (home / ".ssh" / "config").write_text(
        f"Host board\n HostName 127.0.0.1\n Port {board.port}\n User {getpass.getuser()}\n{lines}"
    )
    return Profile(name="board", kind="ssh", host="board")


def enters(profile: Profile) -> bool:
    launcher = SshLauncher(profile)
    try:
        return launcher.run_command(["true"])[0] == 0
    finally:
        launcher.close()


def refused(profile: Profile) -> str:
    with pytest.raises((DeviceError, InputError)) as caught:
        enters(profile)
    return str(caught.value)


def offered(profile: Profile) -> list[str]:
    (hop,) = hops_of(profile)
    return [name.rpartition("/")[2].rpartition(" ")[2] for name, _ in Identities(hop)]


def others(tmp_path: Path, count: int = 7) -> list[Path]:
    made = [make_key(tmp_path / f"other{number}") for number in range(count)]
    for path in made:
        subprocess.run(["ssh-keygen", "-q", "-c", "-C", path.name, "-f", str(path)], check=True)
    return made


def test_identities_begin_with_the_file_that_the_config_names(
    board: Sshd, home: Path, tmp_path: Path, agent: Callable[..., None]
) -> None:
    agent(*others(tmp_path))
    profile = configure(home, board, f" IdentityFile {board.key}\n")
    assert offered(profile) == ["key", *(f"other{number}" for number in range(7))]
    assert enters(profile)
    # The same where the agent holds it as the last of its keys.
    agent(board.key)
    board.key.unlink()
    assert enters(profile)
    assert "too many" not in board.log.lower()


@pytest.mark.parametrize("named", ["{key}", "{key}.pub"])
def test_identities_are_named_by_a_public_key_whose_agent_holds_the_private_half(
    board: Sshd, home: Path, tmp_path: Path, agent: Callable[..., None], named: str
) -> None:
    agent(*others(tmp_path), board.key)
    board.key.unlink()
    lines = f" IdentityFile {named.format(key=board.key)}\n IdentitiesOnly yes\n"
    profile = configure(home, board, lines)
    (hop,) = hops_of(profile)
    assert len(list(Identities(hop))) == 1
    assert enters(profile)
    subprocess.run(["ssh-add", "-q", "-D"], check=True)
    assert f"{board.key}" in refused(profile) and "agent does not hold" in refused(profile)


def test_identities_take_a_locked_key_from_the_agent_without_its_pub_file(
    board: Sshd, home: Path, tmp_path: Path, agent: Callable[..., None]
) -> None:
    agent(*others(tmp_path), board.key)
    change = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(board.key)]
    subprocess.run(change, check=True)
    Path(f"{board.key}.pub").unlink()
    profile = configure(home, board, f" IdentityFile {board.key}\n")
    assert enters(profile)
    subprocess.run(["ssh-add", "-q", "-D"], check=True)
    assert f"ssh-add {board.key}" in refused(profile)


def test_identities_name_files_of_the_config_that_are_missing(
    board: Sshd, home: Path, tmp_path: Path
) -> None:
    lines = f" IdentityFile {tmp_path}/gone\n IdentityFile {tmp_path}\n"
    message = refused(configure(home, board, lines))
    assert f"{tmp_path}/gone cannot be read: No such file" in message
    assert f"{tmp_path} is not a file" in message
    assert enters(configure(home, board, f"{lines} IdentityFile {board.key}\n"))
    assert "id_rsa" not in refused(configure(home, board))


def test_identities_honour_identities_only_with_the_default_files(
    board: Sshd, home: Path, tmp_path: Path, agent: Callable[..., None]
) -> None:
    mine = home / ".ssh" / "id_ed25519"
    shutil.copy(board.key, mine)
    shutil.copy(f"{board.key}.pub", f"{mine}.pub")
    agent(*others(tmp_path), mine)
    profile = configure(home, board, " IdentitiesOnly yes\n")
    (hop,) = hops_of(profile)
    assert len(list(Identities(hop))) == 1 and enters(profile)
    # As ssh: the agent's key of a default file comes before its others.
    profile = configure(home, board)
    assert offered(profile)[1:] == [f"other{number}" for number in range(7)] and enters(profile)


def test_identities_come_from_the_agent_that_the_config_names(
    board: Sshd,
    home: Path,
    tmp_path: Path,
    agent: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent(board.key)
    socket = os.environ["SSH_AUTH_SOCK"]
    monkeypatch.setenv("SSH_AUTH_SOCK", f"{tmp_path}/gone")
    assert f"the agent at {tmp_path}/gone cannot be used" in refused(configure(home, board))
    assert enters(configure(home, board, f" IdentityAgent {socket}\n"))
    monkeypatch.setenv("KEYS_AT", socket)
    assert enters(configure(home, board, " IdentityAgent $KEYS_AT\n"))
    assert "no key" in refused(configure(home, board, " IdentityAgent none\n"))


@pytest.mark.parametrize("where", ["beside", "named"])
@pytest.mark.parametrize("held", [False, True])
def test_identities_show_certificates(
    board: Sshd,
    home: Path,
    tmp_path: Path,
    agent: Callable[..., None],
    where: str,
    held: bool,
) -> None:
    authority = make_key(tmp_path / "authority")
    board.down()
    board.more = f"TrustedUserCAKeys {authority}.pub"
    board.authorized.write_text("")
    board.up()
    if held:
        agent(board.key)
    command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", getpass.getuser()]
    assert "accepts none" in refused(configure(home, board, f" IdentityFile {board.key}\n"))
    subprocess.run([*command, f"{board.key}.pub"], check=True)
    lines = f" IdentityFile {board.key}\n"
    if where == "named":
        Path(f"{board.key}-cert.pub").rename(tmp_path / "certificate")
        lines += f" CertificateFile {tmp_path}/%n\n CertificateFile {tmp_path}/certificate\n"
    assert enters(configure(home, board, lines))
    assert "ED25519-CERT" in board.log


def test_identities_of_the_profile_come_first_and_must_be_usable(
    board: Sshd, home: Path, tmp_path: Path, agent: Callable[..., None]
) -> None:
    agent(*others(tmp_path))
    profile = configure(home, board, f" IdentityFile {tmp_path}/gone\n")
    assert enters(profile.model_copy(update={"key_file": board.key}))
    message = refused(profile.model_copy(update={"key_file": tmp_path / "none"}))
    assert f"the key file {tmp_path}/none cannot be read" in message
    text = tmp_path / "text"
    text.write_text(f"{public(board.key)}\n")
    message = refused(profile.model_copy(update={"key_file": text}))
    assert "is a public key, and the agent does not hold" in message


def test_identities_use_a_readable_key_of_another_owner(
    board: Sshd, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ssh: a key that a group shares is its owner's concern."""
    (hop,) = hops_of(configure(home, board, f" IdentityFile {board.key}\n"))
    board.key.chmod(0o640)
    assert "chmod 600" in _skipped(hop)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert not _skipped(hop)


def test_identities_do_not_wait_for_a_pipe(board: Sshd, home: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (hop,) = hops_of(configure(home, board, f" IdentityFile {tmp_path / 'pipe'}\n"))
    assert "is not a file" in _skipped(hop)


def _skipped(hop: Hop) -> str:
    identities = Identities(hop)
    list(identities)
    return " ".join(identities.skipped)
