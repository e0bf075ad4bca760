"""The lines of the user's and the system's ssh config, and where each stands."""

from __future__ import annotations

import contextlib
import functools
import glob
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.core.errors import InputError

log = logging.getLogger(__name__)

SYSTEM_FOLDER = Path("/etc/ssh")
# As READCONF_MAX_DEPTH of OpenSSH.
MAX_INCLUDES = 16
MAX_FILE_BYTES = 1 << 20

_LINE = re.compile(r"\s*(?P<keyword>\w+)(?:\s*=\s*|\s+|$)(?P<rest>.*)")
# Quotes may stand within a word; a quote without its end is a part of its own.
_PART = r"""\\(?P<escaped>[\\"' ])|"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<plain>[^\s"'])"""
_WORD = re.compile(rf"""(?:{re.sub(r"[?]P<[a-z]+>", "", _PART)})+|["']""")


@dataclass(frozen=True)
class Line:
    """One line of a config; `where` is its file and number, `rest` all after the keyword.

    `keyword` is in lower case, and empty for a comment or an empty line; `text` is the whole line.
    """

    where: str
    text: str
    keyword: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The arguments without quotes and comment. Raises InputError for a quote without end."""
        found = []
        for word in _WORD.finditer(self.rest):
            if word[0] in ('"', "'"):
                raise InputError(f"{self.where}: {self.keyword} has a quote without its end")
            if word[0].startswith("#"):
                break
            found.append(
                "".join(part[part.lastgroup or 0] for part in re.finditer(_PART, word[0]))
            )
        return found

    @property
    def value(self) -> str:
        """The first argument. Raises InputError where there is none."""
        words = self.words
        if not words:
            raise InputError(f"{self.where}: {self.keyword} has no value")
        return words[0]


def config_files() -> list[tuple[Path, Path]]:
    """The user's config, then the system's, each with the folder of its relative includes."""
    own = Path.home() / ".ssh"
    return [(own / "config", own), (SYSTEM_FOLDER / "ssh_config", SYSTEM_FOLDER)]


def default_known_hosts(home: Path, system: Path) -> dict[str, list[str]]:
    """The files of known host keys where the config names none, by their keyword."""
    own, of_all = f"{home}/.ssh/known_hosts", f"{system}/ssh_known_hosts"
    return {
        "userknownhostsfile": [own, f"{own}2"],
        "globalknownhostsfile": [of_all, f"{of_all}2"],
    }


@functools.cache
def warn_once(text: str) -> None:
    """Logs a warning once a process, as the config is read again for each board and hop."""
    log.warning("%s", text)


def where(keyword: str, value: str) -> str:
    """File and number of the line that sets a keyword to a value, for messages."""
    with contextlib.suppress(InputError):
        for path, folder in config_files():
            for line in _all_lines(path, folder):
                if line.keyword == keyword.lower() and value in line.rest:
                    return line.where
    return "the ssh config"


def lines_of(path: Path, depth: int = 0) -> list[Line]:
    """The lines of a file; none of a file that does not exist.

    Raises InputError for a file that cannot be read or that others can write, and beyond
    `MAX_INCLUDES` of `depth`.
    """
    if depth > MAX_INCLUDES:
        raise InputError(f"{path}: the ssh config includes itself")
    _check_safe(path)
    try:
        with path.open("rb") as file:
            text = os.fsdecode(file.read(MAX_FILE_BYTES + 1))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if len(text) > MAX_FILE_BYTES:
        raise InputError(f"{path} has more than {MAX_FILE_BYTES >> 20} MiB: it is no ssh config")
    return [_line(f"{path}:{number}", line) for number, line in enumerate(text.split("\n"), 1)]


def included(line: Line, folder: Path) -> Iterator[Path]:
    """The files that an `Include` names; a relative one lies in `folder`."""
    for name in line.words:
        pattern = folder / os.path.expanduser(name)
        yield from map(Path, sorted(glob.glob(str(pattern))))


def _all_lines(path: Path, folder: Path, depth: int = 0) -> Iterator[Line]:
    for line in lines_of(path, depth):
        yield line
        if line.keyword == "include":
            for each in included(line, folder):
                yield from _all_lines(each, folder, depth + 1)


def quoted(paths: Sequence[Path]) -> str:
    """Paths as the arguments of a keyword."""
    return " ".join(f'"{path}"' for path in paths)


def _line(where: str, text: str) -> Line:
    if not text.strip() or text.lstrip().startswith("#"):
        return Line(where, text, "", "")
    match = _LINE.match(text)
    if not match:
        raise InputError(f"{where}: {text.strip()[:80]!r} is no keyword with a value")
    return Line(where, text, match["keyword"].lower(), match["rest"].rstrip())


def _check_safe(path: Path) -> None:
    """Refuses a config that others can write, as ssh does: it decides which keys are trusted."""
    try:
        status = path.stat()
    except OSError:
        return
    if status.st_uid not in (0, os.getuid()):
        raise InputError(
            f"{path} belongs to another login, and it decides which keys are trusted; run autoseg "
            "as its owner, or set HOME to your own home"
        )
    if status.st_mode & 0o022:
        raise InputError(f"{path} can be written by others; chmod 600 it, and check its content")
