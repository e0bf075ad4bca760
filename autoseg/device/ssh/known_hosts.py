"""Host keys as in ssh: known ones are accepted, unknown ones ask, changed ones are refused."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.core.errors import InputError
from autoseg.device.ssh.config import Hop

MAX_FILE_BYTES = 16 << 20
# PROTOCOL.krl of OpenSSH.
KEY_REVOCATION_LIST = b"SSHKRL\n\0"


@dataclass(frozen=True)
class HostKey:
    """The host key of one hop; `fingerprint` as ssh prints it, `known` where it is trusted."""

    hop: Hop
    kind: str
    blob: bytes
    known: bool = False

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.blob).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.kind} {self.fingerprint}"


class UnknownHostKey(InputError):
    """The host key is not in a known_hosts file; `key` is the key."""

    def __init__(self, key: HostKey, board: str) -> None:
        self.key = key
        file = f"/etc/ssh/ssh_host_{key.kind.removeprefix('ssh-').partition('-')[0]}_key.pub"
        super().__init__(
            f"{key.hop.name}: its host key is not known here: {key}. Compare it with what "
            f"`ssh-keygen -lf {file}` prints on it; if they are the same, accept it with "
            f"`autoseg devices trust {shlex.quote(board)}` or --accept-new-host-key"
        )


@dataclass(frozen=True)
class _Line:
    """One line of a known_hosts file."""

    where: str
    marker: str
    names: str
    kind: str
    blob: bytes


def check(hop: Hop, kind: str, blob: bytes) -> HostKey:
    """A hop's key, `known` where a known_hosts file has it.

    Raises InputError where the file has another key for the hop, or this one is revoked.
    """
    _check_revocations(HostKey(hop, kind, blob))
    lines = list(_lines_of(hop))
    for line in lines:
        if line.marker == "@revoked" and line.blob == blob:
            raise InputError(
                f"{hop.name}: its host key {HostKey(hop, kind, blob)} is revoked by {line.where}; "
                "do not use the board before you know why"
            )
    own = [line for line in lines if not line.marker]
    if own and all(line.blob != blob for line in own):
        raise _changed(HostKey(hop, kind, blob), own)
    return HostKey(hop, kind, blob, known=bool(own))


def _check_revocations(key: HostKey) -> None:
    """Refuses a key that RevokedHostKeys lists; every key where its file cannot be read."""
    path = key.hop.revoked
    if path is None:
        return
    named = f"{key.hop.name}: RevokedHostKeys names {path}, which"
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise InputError(f"{named} cannot be read: {error.strerror}") from error
    if text.startswith(KEY_REVOCATION_LIST):
        raise InputError(f"{named} is a binary list; autoseg reads public keys, one a line")
    if base64.b64encode(key.blob) in text.split():
        raise InputError(
            f"{named} revokes its host key {key}; do not use the board before you know why"
        )


def kinds_known(hop: Hop) -> list[str]:
    """The types of the keys known for a hop, which it must be asked for."""
    return list(dict.fromkeys(line.kind for line in _lines_of(hop) if not line.marker))


def add(key: HostKey) -> Path:
    """Appends a key to the user's known_hosts file, as ssh does, and returns the file.

    Raises InputError where it cannot be written.
    """
    if not key.hop.known_hosts:
        raise InputError(f"{key.hop.name}: UserKnownHostsFile is none, so no key can be accepted")
    path = key.hop.known_hosts[0]
    if path.exists() and not path.is_file():
        raise InputError(f"{key.hop.name}: UserKnownHostsFile {path} is not a file; name a file")
    name = _hashed(key.hop.known_as) if key.hop.hash_names else key.hop.known_as
    line = f"{name} {key.kind} {base64.b64encode(key.blob).decode()}\n".encode()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(descriptor, "r+b", buffering=0) as file:
            size = os.fstat(descriptor).st_size
            unfinished = size and os.pread(descriptor, 1, size - 1) != b"\n"
            file.write(b"\n" + line if unfinished else line)
    except OSError as error:
        raise InputError(f"the host key cannot be written to {path}: {error.strerror}") from error
    return path


def _changed(key: HostKey, lines: Sequence[_Line]) -> InputError:
    where = " and ".join(line.where for line in lines)
    file = lines[0].where.rpartition(":")[0]
    remove = shlex.join(["ssh-keygen", "-f", file, "-R", key.hop.known_as])
    return InputError(
        f"{key.hop.name}: ITS HOST KEY HAS CHANGED: it shows {key}, and {where} has another. "
        "Either the board was installed again, or an attacker is in between. No option accepts it "
        f"before you remove the old key: {remove}"
    )


def _lines_of(hop: Hop) -> Iterator[_Line]:
    """The lines about a hop."""
    for path in (*hop.known_hosts, *hop.known_hosts_of_all):
        for line in _parsed(path):
            if _matches(line.names, hop.known_as):
                yield line


def _parsed(path: Path) -> Iterator[_Line]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#"):
            continue
        try:
            blob = base64.b64decode(words[2], validate=True)
        except (binascii.Error, ValueError):
            continue
        yield _Line(f"{path}:{number}", marker, words[0], words[1], blob)


def _matches(names: str, known_as: str) -> bool:
    """Whether one of the comma-separated patterns matches a host, and none excludes it."""
    if names.startswith("|1|"):
        parts = names.split("|")
        return len(parts) == 4 and hmac.compare_digest(_hashed(known_as, parts[2]), names)
    found = False
    for pattern in names.lower().split(","):
        # The brackets around a host with a port are no character set.
        wanted = pattern.removeprefix("!").replace("[", "[[]")
        if fnmatch.fnmatchcase(known_as, wanted):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _hashed(known_as: str, salt: str | None = None) -> str:
    """A name as OpenSSH hashes it (HashKnownHosts): HMAC-SHA1, keyed with a salt."""
    try:
        key = base64.b64decode(salt) if salt else os.urandom(20)
    except binascii.Error:
        return ""
    digest = hmac.new(key, known_as.encode(), hashlib.sha1).digest()
    return "|1|" + "|".join(base64.b64encode(part).decode() for part in (key, digest))


def of_key(hop: Hop, shown: Any) -> HostKey:
    """`check` for a paramiko key."""
    return check(hop, shown.get_name(), shown.asbytes())
