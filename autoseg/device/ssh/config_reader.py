"""The ssh config read without `ssh`, by the rules of OpenSSH's readconf.c and ssh_config(5).

For machines without OpenSSH's client, and for configs that it refuses. Runs no command.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from autoseg.core.errors import InputError
from autoseg.device.ssh import config_files
from autoseg.device.ssh.config_files import Line
from autoseg.device.ssh.tokens import Target, expand, login

# What `ssh -G` prints: the values of each keyword in lower case.
Values = dict[str, list[str]]

KNOWN_HOSTS = ("userknownhostsfile", "globalknownhostsfile")
LISTS = (*KNOWN_HOSTS, "canonicaldomains")
NUMBERS = {"port": (1, 65535), "canonicalizemaxdots": (0, 255)}
COLLECTED = ("identityfile", "certificatefile")
PROXIES = ("proxyjump", "proxycommand")
READ = (
    *LISTS,
    *COLLECTED,
    *PROXIES,
    *("hostname", "port", "user", "identitiesonly", "identityagent"),
    *("hostkeyalias", "hashknownhosts", "revokedhostkeys"),
    *("canonicalizehostname", "canonicalizemaxdots", "canonicalizefallbacklocal"),
)
DEFAULT_KEYS = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")
# Of these, `exec` runs a command, and the others depend on more than the host's name.
UNDECIDED = ("exec", "localnetwork", "tagged", "command", "version", "sessiontype")


def read_config(typed: str, user: str | None = None, port: int | None = None) -> Values:
    """What the config says of a host, in the form of `ssh -G`, which it replaces.

    `user` and `port` are given by the profile, and precede the config. A block with a criterion
    that is not understood is not applied, with a warning where it could matter. Raises InputError,
    with file and line, for a config that cannot be used, and where `Match exec` would decide.
    """
    reader = _Reader(typed, {})
    if user:
        reader.values["user"] = [user]
    if port:
        reader.values["port"] = [str(port)]
    reader.read_all()
    host = _lower(reader.host_named)
    wanted = reader.first("canonicalizehostname", "no") in ("yes", "true", "always")
    if wanted:
        host = _canonical(host, reader)
    if wanted or reader.has_final:
        reader.values["hostname"] = [host]
        reader.host, reader.is_final = host, True
        reader.read_all()
    return _completed(reader.values, typed, host)


@dataclass
class _Reader:
    """Collects values for one host; the first value of a keyword counts.

    `host` is what `Host` compares: in the final pass, the address that the first one found.
    """

    typed: str
    values: Values
    host: str = ""
    is_final: bool = False
    has_final: bool = False

    def first(self, keyword: str, default: str) -> str:
        return self.values.get(keyword, [default])[0]

    @property
    def host_named(self) -> str:
        """The host that HostName names."""
        if self.is_final or "hostname" not in self.values:
            return self.host or self.typed
        return expand("HostName", self.values["hostname"][0], {"h": self.typed})

    def read_all(self) -> None:
        for path, folder in config_files.config_files():
            self._read(path, folder)

    def _read(self, path: Path, folder: Path, outer: bool = True, depth: int = 0) -> None:
        """Reads one file; in a block that does not apply, `outer` is False."""
        applies, doubt = outer, ""
        for line in config_files.lines_of(path, depth):
            if line.keyword == "host":
                applies, doubt = outer and _matches_host(line, self.host or self.typed), ""
            elif line.keyword == "match":
                met, doubt = self._met(line)
                applies, doubt = outer and met, doubt if outer else ""
            elif doubt and self._would_count(line.keyword):
                self._leave_out(doubt, line)
            elif line.keyword == "include":
                for each in config_files.included(line, folder):
                    self._read(each, folder, applies, depth + 1)
            elif applies and line.keyword in READ:
                self._take(line)

    def _would_count(self, keyword: str) -> bool:
        # The two exclude each other, but a ProxyJump of `none` does not.
        if keyword == "proxycommand" and self.first("proxyjump", "none").lower() != "none":
            return False
        if keyword == "proxyjump" and "proxycommand" in self.values:
            return False
        is_new = keyword not in self.values or keyword in COLLECTED
        return keyword == "include" or (keyword in READ and is_new)

    def _take(self, line: Line) -> None:
        keyword, value = line.keyword, line.value
        if keyword in COLLECTED:
            kept = self.values.setdefault(keyword, [])
            if value not in kept:
                kept.append(value)
        elif self._would_count(keyword):
            if keyword in NUMBERS:
                _check_number(line)
            several = line.words if keyword in LISTS else [value]
            self.values[keyword] = [line.rest] if keyword == "proxycommand" else several

    def _met(self, line: Line) -> tuple[bool, str]:
        """Whether a `Match` is met, and what it leaves open: where it stands, and a criterion."""
        doubt, met = "", True
        # To the end: `final` asks for its pass also where another criterion is not met.
        for negated, criterion, argument in _criteria(line):
            holds = self._holds(criterion, argument)
            if holds is None:
                doubt = doubt or f"{line.where}: Match {criterion}"
            elif holds == negated:
                met = False
        return met and not doubt, doubt if met else ""

    def _holds(self, criterion: str, argument: str) -> bool | None:
        """Whether a criterion holds; None where that is not known here."""
        if criterion == "final":
            self.has_final = True
        if criterion in ("final", "canonical"):
            return self.is_final
        if criterion == "host":
            return _matches(argument.lower(), self.host_named.lower())
        if criterion == "originalhost":
            return _matches(argument.lower(), self.typed.lower())
        if criterion == "user":
            return _matches(argument, self.first("user", "") or login())
        if criterion == "localuser":
            return _matches(argument, login())
        return True if criterion == "all" else None

    def _leave_out(self, doubt: str, line: Line) -> None:
        if doubt.endswith(" exec"):
            raise InputError(
                f"{doubt} decides on {line.keyword} of {self.typed}, and only ssh runs that "
                "command; install an OpenSSH client that reads this config, use Host, or exclude "
                f"this board: Match !originalhost {self.typed} exec ..."
            )
        config_files.warn_once(
            f"{doubt} is a criterion that autoseg does not know, so its block is not applied to "
            f"{self.typed}"
        )


def _criteria(line: Line) -> list[tuple[bool, str, str]]:
    """The criteria of a `Match`: whether negated, name, argument."""
    words, found = line.words, []
    while words:
        name, _, argument = words.pop(0).partition("=")
        negated, name = name.startswith("!"), name.removeprefix("!").lower()
        if name in ("host", "originalhost", "user", "localuser", *UNDECIDED):
            if not argument and not words:
                raise InputError(f"{line.where}: Match {name} has no value")
            argument = argument or words.pop(0)
        elif name not in ("all", "final", "canonical"):
            # Whether the next word is its argument is not known.
            words = []
        found.append((negated, name, argument))
    names = [name for _, name, _ in found]
    if not names or ("all" in names and set(names[:-1]) - {"final", "canonical"}):
        raise InputError(
            f"{line.where}: Match needs criteria, or `all`, alone or after `final` or `canonical`"
        )
    return found


def _matches_host(line: Line, host: str) -> bool:
    """Whether a `Host` line names a host; one negated pattern that matches excludes it."""
    if not line.words:
        raise InputError(f"{line.where}: Host has no value")
    return _matches(",".join(line.words), host)


def _matches(patterns: str, text: str) -> bool:
    found = False
    for pattern in patterns.split(","):
        wanted = re.escape(pattern.removeprefix("!")).replace(r"\*", ".*").replace(r"\?", ".")
        if re.fullmatch(wanted, text, re.DOTALL):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _check_number(line: Line) -> None:
    lowest, highest = NUMBERS[line.keyword]
    text = line.value
    if not re.fullmatch("[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
        raise InputError(
            f"{line.where}: {line.keyword} must be between {lowest} and {highest}, got {text}"
        )


def _canonical(host: str, reader: _Reader) -> str:
    """A host's name with its domain, as CanonicalizeHostname asks for."""
    is_proxied = any(reader.first(each, "none").lower() != "none" for each in PROXIES)
    if is_proxied and reader.first("canonicalizehostname", "no") != "always":
        return host
    if _is_address(host) or host.count(".") > int(reader.first("canonicalizemaxdots", "1")):
        return host
    for domain in reader.values.get("canonicaldomains", []):
        if _resolves(f"{host}.{domain}"):
            return f"{host}.{domain}".lower()
    if reader.first("canonicalizefallbacklocal", "yes") == "no":
        raise InputError(f"the ssh config finds {host} in none of its CanonicalDomains")
    return host


def _lower(host: str) -> str:
    # The zone of an IPv6 address is an interface's name, whose case counts.
    return host if _is_address(host) else host.lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _resolves(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except (OSError, UnicodeError):
        return False


def _completed(values: Values, typed: str, host: str) -> Values:
    """Values with ssh's defaults, and what `ssh -G` expands expanded."""
    values["hostname"] = [host]
    values.setdefault("port", ["22"])
    if "user" not in values:
        values["user"] = [login()]
    values.setdefault("identityfile", [f"~/.ssh/{name}" for name in DEFAULT_KEYS])
    defaults = config_files.default_known_hosts(Path.home(), config_files.SYSTEM_FOLDER)
    for keyword, files in defaults.items():
        values.setdefault(keyword, files)
    port, user = int(values["port"][0]), values["user"][0]
    target = Target(typed, host, port, user, values.get("hostkeyalias", [""])[0])
    known = values["userknownhostsfile"]
    values["userknownhostsfile"] = [target.path("UserKnownHostsFile", each) for each in known]
    return values
