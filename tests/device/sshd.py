"""A board for tests: a real sshd on a free loopback port, for the present user, with own keys."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoseg.device.device_profile import Profile

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {host_key}
AuthorizedKeysFile {authorized}
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication {passwords}
KbdInteractiveAuthentication no
MaxStartups 100
SetEnv HOME={home} {environment}
LogLevel VERBOSE
{more}
"""


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def public(key: Path) -> str:
    """Type and base64 of a key file's public half."""
    return " ".join(Path(f"{key}.pub").read_text().split()[:2])


def descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        parents.setdefault(parent, []).append(int(stat.parent.name))
    found, new = [], [pid]
    while new:
        new = [child for each in new for child in parents.get(each, [])]
        found += new
    return found


@dataclass
class Sshd:
    """One board. `home` is the login's home there, `key` the user's, which it lets in."""

    folder: Path
    key: Path
    environment: str = ""
    more: str = ""
    passwords: str = "no"
    port: int = 0
    retired: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.host_key = make_key(self.folder / "host_key")
        self.authorized = self.folder / "authorized_keys"
        self.authorized.write_text(public(self.key) + "\n")

    def up(self) -> Sshd:
        if self.retired:
            # A timer of a test that has failed meanwhile.
            return self
        assert SSHD, "these tests need sshd: apt install openssh-server"
        if not self.port:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                self.port = probe.getsockname()[1]
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.folder / "sshd_config"
        config.write_text(CONFIG.format(**vars(self)))
        deadline = time.monotonic() + 20
        while not self._listens(config):
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)
        return self

    def _listens(self, config: Path) -> bool:
        """Starts sshd; it ends where another program has its port, maybe for a moment."""
        with (self.folder / "log").open("ab") as log:
            before = log.tell()
            self.process = started = subprocess.Popen(
                [str(SSHD), "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stderr=log
            )
        while started.poll() is None:
            # Not by connecting, which that program would answer.
            if b"Server listening" in (self.folder / "log").read_bytes()[before:]:
                return True
            time.sleep(0.01)
        return False

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def cache(self) -> Path:
        return self.home / ".cache" / "autoseg"

    def family(self) -> list[int]:
        """The processes of its sessions."""
        return descendants(self.process.pid) if self.process else []

    def runners(self) -> list[int]:
        """The runners that sessions started, and their children."""
        return [pid for pid in self.family() if b"/runner-" in command_of(pid)]

    def freeze(self) -> None:
        """A board that hangs: it takes connections, as its kernel does, and says nothing."""
        for pid in [self.process.pid, *self.family()] if self.process else []:
            signal_to(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in [self.process.pid, *self.family()] if self.process else []:
            signal_to(pid, signal.SIGCONT)

    def cut(self) -> None:
        """Cuts its connections; what runs there is left, and must end by itself."""
        for pid in self.family():
            if command_of(pid).startswith(b"sshd"):
                signal_to(pid, signal.SIGKILL)

    def down(self) -> None:
        """Power off."""
        if self.process:
            everyone = [self.process.pid, *self.family()]
            for pid in everyone:
                signal_to(pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def retire(self) -> None:
        """Power off for good."""
        self.retired = True
        self.down()

    def profile(self, **changes: Any) -> Profile:
        own: dict[str, Any] = {
            "name": "board",
            "kind": "ssh",
            "host": "127.0.0.1",
            "port": self.port,
            "user": getpass.getuser(),
            "key_file": self.key,
            "use_agent": False,
            "python": sys.executable,
        }
        return Profile(**{**own, **changes})

    def trusted_by(self, home: Path) -> None:
        """Lets a client know the host key already."""
        known = home / ".ssh" / "known_hosts"
        known.parent.mkdir(mode=0o700, exist_ok=True)
        with known.open("a") as file:
            file.write(f"[127.0.0.1]:{self.port} {public(self.host_key)}\n")


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def signal_to(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
