"""The SSH hops to a board, from its profile and, for the rest, the ssh config."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.core.errors import InputError
from autoseg.device.device_profile import Profile
from autoseg.device.ssh.config_files import where
from autoseg.device.ssh.config_reader import Values
from autoseg.device.ssh.effective_config import effective_config
from autoseg.device.ssh.tokens import Target

MAX_HOPS = 8
USUAL_KEYS = ("id_rsa", "id_ecdsa", "id_ed25519")
JUMP_HOST = re.compile(
    r"(?:ssh://)?(?:(?P<user>[^\s/]+)@)?"
    r"(?:\[(?P<address>[^\]\s/@]+)\]|(?P<name>[^:@/\s]+))(?::(?P<port>\d+))?/?"
)


@dataclass(frozen=True, kw_only=True)
class Hop:
    """One sshd on the way to a board; the last hop is the board's own.

    `known_as` is its name in a known_hosts file. `key_files` are named by the profile or the
    config (`are_named`), else ssh's default ones; the profile's must exist (`is_required`).
    `only_these` excludes other keys of the agent, whose socket is `agent`.
    """

    name: str
    host: str
    port: int
    user: str
    known_as: str
    key_files: tuple[Path, ...]
    certificates: tuple[Path, ...]
    are_named: bool
    is_required: bool
    only_these: bool
    agent: Path | None
    known_hosts: tuple[Path, ...]
    known_hosts_of_all: tuple[Path, ...]
    revoked: Path | None
    hash_names: bool


def hops_of(profile: Profile) -> list[Hop]:
    """The hops to a board, jump hosts first. Raises InputError for an unusable config."""
    found = _config_of(profile)
    last = _hop(found, profile)
    return [*_jumps(found, profile, (last.name,)), last]


def _jumps(found: Values, profile: Profile, seen: tuple[str, ...]) -> list[Hop]:
    """The jump hosts before one host; the first of them may have jump hosts of its own."""
    spec = _one(found, "proxyjump", "none")
    if spec.lower() == "none":
        command = _one(found, "proxycommand", "none")
        if command.lower() != "none":
            raise InputError(
                f"{where('proxycommand', command)} reaches {profile.host} by ProxyCommand, which "
                "autoseg does not run; use ProxyJump"
            )
        return []
    hops: list[Hop] = []
    for index, part in enumerate(_target(found, profile).jumps(spec).split(",")):
        jump = _jump_host(part.strip(), spec, profile.use_agent)
        own = _config_of(jump)
        hop = _hop(own, jump)
        if hop.name in seen or len(seen) > MAX_HOPS:
            at = where("proxyjump", spec)
            raise InputError(f"{at}: ProxyJump is circular: {', '.join(seen)}")
        seen = (*seen, hop.name)
        # As ssh -J: explicitly named hosts are used in their order.
        hops += [*(_jumps(own, jump, seen) if index == 0 else []), hop]
    return hops


def _jump_host(part: str, spec: str, use_agent: bool) -> Profile:
    match = JUMP_HOST.fullmatch(part)
    fields: dict[str, Any] = match.groupdict() if match else {}
    address, name = fields.pop("address", None), fields.pop("name", None)
    try:
        return Profile(kind="ssh", host=address or name, use_agent=use_agent, **fields)
    except ValueError as error:
        rule = f"ProxyJump {spec!r} is no list of user@host:port"
        raise InputError(f"{where('proxyjump', spec)}: {rule}") from error


def _config_of(profile: Profile) -> Values:
    return effective_config(profile.host or "", profile.user, profile.port)


def _hop(found: Values, profile: Profile) -> Hop:
    """One hop; what its profile gives precedes the ssh config, `found`."""
    target, key_file = _target(found, profile), profile.key_file
    typed = f"[{target.typed}]" if ":" in target.typed else target.typed
    at = f":{target.port}" if target.port != 22 else ""
    named = f"[{target.host}]{at}" if at else target.host
    # `ssh -G` prints the default files where the config names none.
    are_defaults = {f"~/.ssh/{name}" for name in USUAL_KEYS} <= set(found["identityfile"])
    return Hop(
        name=f"{target.user}@{typed}{at}",
        host=target.host,
        port=target.port,
        user=target.user,
        known_as=(target.alias or named).lower(),
        key_files=(key_file,) if key_file else _paths(found, "identityfile", target),
        certificates=_paths(found, "certificatefile", target),
        are_named=key_file is not None or not are_defaults,
        is_required=key_file is not None,
        only_these=_yes(found, "identitiesonly"),
        agent=_agent(found, target) if profile.use_agent else None,
        known_hosts=_known_hosts(found, "userknownhostsfile"),
        known_hosts_of_all=_known_hosts(found, "globalknownhostsfile"),
        revoked=next(iter(_paths(found, "revokedhostkeys", target)), None),
        hash_names=_yes(found, "hashknownhosts"),
    )


def _target(found: Values, profile: Profile) -> Target:
    """A host, with the values that `ssh -G` leaves tokens in."""
    jump = _one(found, "proxyjump", "")
    return Target(
        typed=profile.host or "",
        host=found["hostname"][0],
        port=_port(_one(found, "port", "22")),
        user=found["user"][0],
        alias=_one(found, "hostkeyalias", ""),
        jump="" if jump.lower() == "none" else jump,
    )


def _paths(found: Values, keyword: str, target: Target) -> tuple[Path, ...]:
    named = [each for each in found.get(keyword, []) if each.lower() != "none"]
    return tuple(Path(target.path(keyword, each)) for each in named)


def _known_hosts(found: Values, keyword: str) -> tuple[Path, ...]:
    # Older versions of ssh print them with the `~`.
    names = [each for each in found.get(keyword, []) if each.lower() != "none"]
    return tuple(Path(each).expanduser() for each in names)


def _agent(found: Values, target: Target) -> Path | None:
    """The socket of the agent that IdentityAgent names, else that of the environment."""
    named = _one(found, "identityagent", "SSH_AUTH_SOCK")
    if named.lower() == "none":
        return None
    if named == "SSH_AUTH_SOCK" or re.fullmatch(r"\$\w+", named):
        socket = os.environ.get(named.removeprefix("$"))
        return Path(socket) if socket else None
    return Path(target.path("IdentityAgent", named))


def _one(found: Values, keyword: str, default: str) -> str:
    return found.get(keyword, [default])[0]


def _yes(found: Values, keyword: str) -> bool:
    return _one(found, keyword, "no").lower() in ("yes", "true")


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise InputError(f"a port in the ssh config must be between 1 and 65535, got {text}")
    return int(text)
