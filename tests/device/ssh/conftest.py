"""A board whose disk is small, and an agent."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from device.sshd import Sshd


@pytest.fixture
def small(sshd: Sshd) -> Iterator[Sshd]:
    """A board with a disk of 256 KiB for its home."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "none", str(sshd.home)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount here")
    yield sshd
    sshd.retire()
    subprocess.run(["umount", "-l", str(sshd.home)], check=True)


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """An agent; called with key files, it takes them in."""
    # Its socket's path is short, unlike pytest's folders.
    done = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True)
    socket, pid = re.findall(r"=([^;]+);", done.stdout)
    monkeypatch.setenv("SSH_AUTH_SOCK", socket)

    def add(*keys: Path) -> None:
        subprocess.run(["ssh-add", "-q", *map(str, keys)], check=True, stdin=subprocess.DEVNULL)

    yield add
    os.kill(int(pid), 15)
