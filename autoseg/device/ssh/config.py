"""The SSH hops to a board, from its profile and, for the rest, ~/.ssh/config."""

from __future__ import annotations

import getpass
import glob
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paramiko.ssh_exception import SSHException

from autoseg.core.errors import InputError
from autoseg.device.device_profile import Profile
from autoseg.device.ssh.bounded_paramiko import CommandlessConfig

SYSTEM_FOLDER = Path("/etc/ssh")
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
MAX_HOPS = 8
MAX_INCLUDES = 16
JUMP_HOST = re.compile(
    r"(?:ssh://)?(?:(?P<user>[^@\s]+)@)?(?P<host>\[[0-9A-Fa-f:.%]+\]|[^:@/\s]+)(?::(?P<port>\d+))?/?"
)


@dataclass(frozen=True, kw_only=True)
class Hop:
    """One sshd on the way to a board; the last hop is the board's own.

    `known_as` is its name in a known_hosts file. `key_files` are tried in order, and must exist
    where the profile names one (`key_is_named`); `only_these` excludes other keys of the agent.
    """

    name: str
    host: str
    port: int
    user: str
    known_as: str
    key_files: tuple[Path, ...]
    key_is_named: bool
    only_these: bool
    use_agent: bool
    known_hosts: tuple[Path, ...]
    known_hosts_of_all: tuple[Path, ...]
    hash_names: bool


def hops_of(profile: Profile) -> list[Hop]:
    """The hops to a board, jump hosts first. Raises InputError for an unusable config."""
    config = _Config()
    found = config.lookup(profile.host or "")
    last = _hop(found, profile)
    return [*_jumps(config, found, profile.use_agent, (last.name,)), last]


def _jumps(
    config: _Config, found: Mapping[str, Any], use_agent: bool, seen: tuple[str, ...]
) -> list[Hop]:
    """The jump hosts before one host; the first of them may have jump hosts of its own."""
    spec = str(found.get("proxyjump") or "none")
    if spec.lower() == "none":
        command = found.get("proxycommand")
        if command:
            raise InputError(
                f"the ssh config reaches {found['hostname']} by ProxyCommand, which autoseg does "
                "not run; use ProxyJump"
            )
        return []
    hops: list[Hop] = []
    for index, part in enumerate(spec.split(",")):
        match = JUMP_HOST.fullmatch(part.strip())
        fields: dict[str, Any] = match.groupdict() if match else {"host": ""}
        fields |= {"kind": "ssh", "host": fields["host"].strip("[]"), "use_agent": use_agent}
        try:
            jump = Profile.model_validate(fields)
        except ValueError as error:
            rule = "in the ssh config is no list of user@host:port"
            raise InputError(f"ProxyJump {spec!r} {rule}") from error
        own = config.lookup(fields["host"])
        hop = _hop(own, jump)
        if hop.name in seen or len(seen) > MAX_HOPS:
            raise InputError(f"ProxyJump in the ssh config is circular: {', '.join(seen)}")
        seen = (*seen, hop.name)
        # As ssh -J: explicitly named hosts are used in their order.
        hops += [*(_jumps(config, own, use_agent, seen) if index == 0 else []), hop]
    return hops


def _hop(found: Mapping[str, Any], profile: Profile) -> Hop:
    """One hop: what its profile leaves out is in the ssh config, `found`."""
    host, typed = str(found["hostname"]), profile.host or ""
    port = profile.port or _port(found.get("port", "22"))
    user = profile.user or found.get("user") or _login()
    files = [profile.key_file] if profile.key_file else _key_files(found)
    alias = found.get("hostkeyalias")
    ssh = Path.home() / ".ssh"
    shown = f"[{typed}]" if ":" in typed else typed
    return Hop(
        name=f"{user}@{shown}" + (f":{port}" if port != 22 else ""),
        host=host,
        port=port,
        user=str(user),
        known_as=(alias or (host if port == 22 else f"[{host}]:{port}")).lower(),
        key_files=tuple(path.expanduser() for path in files),
        key_is_named=profile.key_file is not None,
        only_these=_yes(found, "identitiesonly"),
        use_agent=profile.use_agent,
        known_hosts=_files(found, "userknownhostsfile", ssh, "known_hosts"),
        known_hosts_of_all=_files(found, "globalknownhostsfile", SYSTEM_FOLDER, "ssh_known_hosts"),
        hash_names=_yes(found, "hashknownhosts"),
    )


def _key_files(found: Mapping[str, Any]) -> list[Path]:
    if "identityfile" not in found:
        return [Path.home() / ".ssh" / name for name in DEFAULT_KEYS]
    return [Path(each) for each in found["identityfile"] if each.lower() != "none"]


def _files(found: Mapping[str, Any], key: str, folder: Path, default: str) -> tuple[Path, ...]:
    if key not in found:
        return folder / default, folder / f"{default}2"
    names = [name for name in shlex.split(found[key]) if name.lower() != "none"]
    return tuple(Path(name).expanduser() for name in names)


def _yes(found: Mapping[str, Any], key: str) -> bool:
    return str(found.get(key, "no")).lower() == "yes"


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise InputError(f"Port in the ssh config must be between 1 and 65535, got {text}")
    return int(text)


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise InputError("this login has no name; give the board's user: user@host") from error


class _Config:
    """The user's config, then the system's: the first value of a keyword counts."""

    def __init__(self) -> None:
        folder = Path.home() / ".ssh"
        self._where = folder / "config"
        lines = [*_lines(self._where, folder), "Host *"]
        lines += _lines(SYSTEM_FOLDER / "ssh_config", SYSTEM_FOLDER)
        try:
            self._config = CommandlessConfig.from_text("\n".join(lines))
        except (SSHException, ValueError) as error:
            raise InputError(f"{self._where} cannot be read: {error}") from error

    def lookup(self, host: str) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = self._config.lookup(host)
        except (SSHException, ValueError, KeyError, OSError) as error:
            raise InputError(f"{self._where} cannot be used for {host}: {error}") from error
        return found


def _check_safe(path: Path) -> None:
    """Refuses a config that others can write, as ssh does: it decides which keys are trusted."""
    try:
        status = path.stat()
    except OSError:
        return
    if status.st_mode & 0o022 or status.st_uid not in (0, os.getuid()):
        raise InputError(f"{path} can be written by others; chmod 600 it, and check its content")


def _lines(path: Path, folder: Path, depth: int = 0) -> Iterator[str]:
    """A file's lines with those of included files, which paramiko does not read."""
    _check_safe(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if depth > MAX_INCLUDES:
        raise InputError(f"{path}: the ssh config includes itself")
    block = "Host *"
    for line in text.splitlines():
        included = re.match(r"\s*include(?:\s*=\s*|\s+)(.+)", line, re.IGNORECASE)
        if included:
            for name in shlex.split(included[1]):
                pattern = folder / Path(name).expanduser()
                for each in sorted(glob.glob(str(pattern))):
                    yield from _lines(Path(each), folder, depth + 1)
            line = block
        elif re.match(r"\s*(host|match)\b", line, re.IGNORECASE):
            block = line
        yield line
