"""`%h`, `~` and `${VAR}` in values of an ssh config, as section TOKENS of ssh_config(5)."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import pwd
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autoseg.core.errors import InputError
from autoseg.device.ssh.config_files import where

_SPECIAL = re.compile(r"%(?P<token>.?)|\$\{(?P<variable>[^}]*)\}", re.DOTALL)


@dataclass(frozen=True)
class Target:
    """What tokens stand for: `typed` is the name before HostName applies."""

    typed: str
    host: str
    port: int
    user: str
    alias: str = ""
    jump: str = ""

    def path(self, keyword: str, text: str) -> str:
        """A file's name with its tokens, variables and `~` expanded. Raises InputError."""
        return os.path.expanduser(expand(keyword, text, self._tokens(), variables=True))

    def jumps(self, text: str) -> str:
        """A `ProxyJump`, in which few tokens count. Raises InputError."""
        some = {token: value for token, value in self._tokens().items() if token in "hnpr"}
        return expand("ProxyJump", text, some)

    def _tokens(self) -> dict[str, str]:
        local = socket.gethostname()
        hashed = f"{local}{self.host}{self.port}{self.user}{self.jump}"
        tokens = {
            "C": hashlib.sha1(hashed.encode()).hexdigest(),
            "L": local.partition(".")[0],
            "d": str(Path.home()),
            "h": self.host,
            "i": str(os.getuid()),
            "j": self.jump,
            "k": self.alias or self.typed,
            "l": local,
            "n": self.typed,
            "p": str(self.port),
            "r": self.user,
        }
        with contextlib.suppress(InputError):  # a container's login may have no name
            tokens["u"] = login()
        return tokens


def expand(keyword: str, text: str, tokens: Mapping[str, str], *, variables: bool = False) -> str:
    """A keyword's value with its tokens replaced, and its `${VAR}` where `variables` is set.

    Raises InputError for another token, and for a variable that is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match["variable"]
        if name is None:
            found = "%" if match["token"] == "%" else tokens.get(match["token"])
        else:
            found = os.environ.get(name) if variables else match[0]
        if found is None:
            kind = f"the variable {name} is not set" if name else f"{match[0]} is no token of it"
            raise InputError(f"{where(keyword, text)}: {keyword} is {text!r}, but {kind}")
        return found

    return _SPECIAL.sub(value, text)


def login() -> str:
    """The local user's name. Raises InputError for a login without one."""
    # As ssh, which asks the password database; getpass prefers the environment.
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise InputError("this login has no name; give the board's user: user@host") from error
