"""The keys offered to a board: of named files, of the agent, of default files. No password."""

from __future__ import annotations

import base64
import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.pkey import PKey, PublicBlob, UnknownKeyType
from paramiko.ssh_exception import PasswordRequiredException, SSHException

from autoseg.core.errors import InputError
from autoseg.device.ssh.bounded_paramiko import AgentAt
from autoseg.device.ssh.config import Hop

MAX_FILE_BYTES = 1 << 20
PRIVATE_KEY = b"openssh-key-v1\0"
EMPTY = b"\0\0\0\0"
CERTIFICATE_SUFFIX = b"-cert-v01@openssh.com"


class Identities:
    """Iterates over keys with their names; `skipped` says which could not be used, and why.

    Keys of named files come first, from the agent where it holds the private half of their public
    key; then the agent's other keys unless IdentitiesOnly; then ssh's default files. (ssh itself
    shows a named file that is not in the agent after the agent's other keys, and so gives up
    before it where a board allows few attempts.)
    """

    def __init__(self, hop: Hop) -> None:
        self.skipped: list[str] = []
        self._hop = hop

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yields name and key. Raises InputError for a required key that cannot be used."""
        files = self._hop.key_files
        with contextlib.closing(_Agent(self._hop, self.skipped)) as agent:
            found = {path: agent.keys.pop(public_of(path), None) for path in files}
            held = {path: key for path, key in found.items() if key}
            for path in files if self._hop.are_named else held:
                yield from self._of_agent(held[path]) if path in held else self._of_file(path)
            for key in () if self._hop.only_these else agent.keys.values():
                yield from self._of_agent(key)
            for path in () if self._hop.are_named else files:
                if path not in held and path.exists():
                    yield from self._of_file(path)

    def _of_agent(self, key: Any) -> Iterator[tuple[str, Any]]:
        name = f"the agent's {key.get_name()} {key.comment}".rstrip()
        yield from self._certified(name, key, key.blob)

    def _of_file(self, path: Path) -> Iterator[tuple[str, Any]]:
        key, problem = _read(path)
        if key is not None:
            yield from self._certified(str(path), key, public_of(path) or key.asbytes())
        elif self._hop.is_required:
            raise InputError(f"{self._hop.name}: the key file {path} {problem}")
        else:
            self.skipped.append(f"{path} {problem}")

    def _certified(self, name: str, key: Any, public: bytes) -> Iterator[tuple[str, Any]]:
        """A key with each of its certificates, then alone."""
        beside = (Path(f"{path}-cert.pub") for path in self._hop.key_files)
        for path in dict.fromkeys((*self._hop.certificates, *beside)):
            certificate = _public_in(path)
            if certificate and _certifies(certificate, public):
                key.public_blob = PublicBlob(_string(certificate)[0].decode(), certificate)
                yield f"{name} with {path}", key
        key.public_blob = None
        yield name, key


class _Agent:
    """The keys of a hop's agent by their public half; none where there is no agent."""

    def __init__(self, hop: Hop, skipped: list[str]) -> None:
        self.keys: dict[bytes | None, Any] = {}
        self._agent = None
        if hop.agent is None:
            return
        try:
            self._agent = AgentAt(hop.agent)
            self.keys = {key.blob: key for key in self._agent.get_keys()}
        except (SSHException, OSError, ValueError) as error:
            skipped.append(f"the agent at {hop.agent} cannot be used ({error})")

    def close(self) -> None:
        if self._agent:
            self._agent.close()


def public_of(path: Path) -> bytes | None:
    """The public half of a key file: its own text, the file beside it, or a part of it.

    The last as in PROTOCOL.key of OpenSSH, whose private keys hold it unencrypted.
    """
    return _public_in(path) or _public_in(Path(f"{path}.pub")) or _public_in_private(path)


def _public_in(path: Path) -> bytes | None:
    words = _content(path).split(maxsplit=2)
    try:
        blob = base64.b64decode(words[1], validate=True)
        return blob if _string(blob)[0] == words[0] else None
    except (IndexError, ValueError, struct.error):
        return None


def _public_in_private(path: Path) -> bytes | None:
    head, _, rest = _content(path).partition(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    try:
        data = base64.b64decode(b"".join(rest.partition(b"-----END")[0].split()), validate=True)
        if not data.startswith(PRIVATE_KEY):
            return None
        rest = data[len(PRIVATE_KEY) :]
        for _ in ("cipher", "kdf", "options of kdf"):
            rest = _string(rest)[1]
        return _string(rest[4:])[0]
    except (ValueError, struct.error):
        return None


def _content(path: Path) -> bytes:
    if not path.is_file():  # a pipe would be waited for
        return b""
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except OSError:
        return b""


def _string(data: bytes) -> tuple[bytes, bytes]:
    """The first string of SSH's wire format (RFC 4251, section 5), and what follows it."""
    (size,) = struct.unpack_from(">I", data)
    return data[4 : 4 + size], data[4 + size :]


def _certifies(certificate: bytes, public: bytes) -> bool:
    """Whether a certificate is one of a key: after a nonce it repeats the key's numbers."""
    try:
        kind, rest = _string(certificate)
        numbers = _string(public)[1]
        return kind.endswith(CERTIFICATE_SUFFIX) and _string(rest)[1].startswith(numbers)
    except struct.error:
        return False


def _read(path: Path) -> tuple[Any, str]:
    """The key of a file, or None and the reason."""
    beside = Path(f"{path}.pub")
    try:
        status = path.stat()
    except OSError as error:
        lacks = f", and the agent does not hold the key of {beside}" if beside.exists() else ""
        return None, f"cannot be read: {error.strerror}{lacks}"
    if not path.is_file():
        return None, "is not a file"
    if _public_in(path):
        return None, "is a public key, and the agent does not hold its private half"
    # As ssh, which leaves the files of other owners to them.
    if status.st_mode & 0o077 and status.st_uid == os.getuid():
        return None, f"can be read by others; chmod 600 {path}"
    try:
        return PKey.from_path(path), ""
    # cryptography raises TypeError for a missing passphrase.
    except (TypeError, PasswordRequiredException):
        return None, f"needs its passphrase; add it to your agent: ssh-add {path}"
    except (UnknownKeyType, UnsupportedAlgorithm, SSHException, ValueError, OSError):
        if _string(public_of(path) or EMPTY)[0].startswith(b"sk-"):
            return None, f"needs its security key; add it to your agent: ssh-add {path}"
        return None, "is no private key of a supported type"
