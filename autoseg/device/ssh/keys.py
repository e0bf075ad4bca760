"""The keys offered to a board: named files, the agent's, default files. Never a password."""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.agent import Agent
from paramiko.pkey import PKey, UnknownKeyType
from paramiko.ssh_exception import PasswordRequiredException, SSHException

from autoseg.core.errors import InputError
from autoseg.device.ssh.config import Hop


class Identities:
    """Iterates over keys with their names; `skipped` says which could not be used, and why."""

    def __init__(self, hop: Hop) -> None:
        self.skipped: list[str] = []
        self._hop = hop

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yields name and key. Raises InputError for a named key that cannot be read."""
        named = self._hop.key_is_named
        if named:
            yield from self._files()
        if self._hop.use_agent:
            yield from self._agent()
        if not named:
            yield from self._files()

    def _files(self) -> Iterator[tuple[str, Any]]:
        for path in self._hop.key_files:
            key, problem = _read(path)
            if key is not None:
                yield str(path), key
            elif self._hop.key_is_named and not (self._hop.use_agent and _blob(path)):
                raise InputError(f"{self._hop.name}: the key file {path} {problem}")
            elif path.exists():
                self.skipped.append(f"{path} {problem}")

    def _agent(self) -> Iterator[tuple[str, Any]]:
        try:
            agent = Agent()
        except (SSHException, OSError) as error:
            self.skipped.append(f"the agent cannot be used ({error})")
            return
        wanted = {_blob(path) for path in self._hop.key_files}
        with contextlib.closing(agent):
            for key in agent.get_keys():
                if not self._hop.only_these or key.asbytes() in wanted:
                    yield f"the agent's {key.get_name()} {key.comment}".rstrip(), key


def _read(path: Path) -> tuple[Any, str]:
    """The key of a file, or None and the reason."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return None, f"cannot be read: {error.strerror}"
    if not path.is_file():
        return None, "is not a file"
    if mode & 0o077:
        return None, f"can be read by others; chmod 600 {path}"
    try:
        return PKey.from_path(path), ""
    # cryptography raises TypeError for a missing passphrase.
    except (TypeError, PasswordRequiredException):
        return None, f"needs its passphrase; add it to your agent: ssh-add {path}"
    except (UnknownKeyType, UnsupportedAlgorithm, SSHException, ValueError, OSError):
        return None, "is no private key of a supported type"


def _blob(path: Path) -> bytes | None:
    """The public key next to a key file, which identifies it among the agent's keys."""
    try:
        words = Path(f"{path}.pub").read_text(encoding="utf-8").split()
        return base64.b64decode(words[1], validate=True)
    except (OSError, UnicodeDecodeError, IndexError, binascii.Error):
        return None
