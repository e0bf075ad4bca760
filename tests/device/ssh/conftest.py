"""A board whose disk is small."""

import os
import subprocess
from collections.abc import Iterator

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
