"""What the ssh config says of a host: from `ssh -G`, else from our own reader."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from autoseg.core.errors import InputError
from autoseg.core.text import bounded
from autoseg.device.ssh import config_files
from autoseg.device.ssh.config_reader import KNOWN_HOSTS, Values, read_config

# For commands of `Match exec` and for names that are looked up.
LIMIT_S = 20.0
# Every version of `ssh -G` prints these; another program called ssh may not.
PRINTED = {"hostname", "port", "user", "identityfile"}
# Keywords whose `~` ssh expands before it prints them.
EXPANDED = ("userknownhostsfile", "identityagent")


def effective_config(typed: str, user: str | None = None, port: int | None = None) -> Values:
    """The values of each keyword in lower case for a host, as `ssh -G` prints them.

    `user` and `port` are those of the profile or of `ProxyJump`, None where the config decides.
    ssh runs the commands of `Match exec` as it always does. Where it refuses the config, or is not
    installed, the config is read here, the former with a warning. Raises InputError for a config
    that cannot be used.
    """
    if typed.startswith("-"):
        raise InputError(f"{typed!r} is no host's name, as it begins with a dash")
    program = shutil.which("ssh")
    if program:
        command = [program, "-T", "-G"]
        command += ["-l", user] if user else []
        command += ["-p", str(port)] if port else []
        with _own_files() as (options, names):
            found, problem = _asked([*command, *options, "--", typed])
        if found:
            return _with_own_defaults(found)
        for copy, original in names.items():
            problem = problem.replace(copy, original)
        # Without the host: a fault of the config is the same for each.
        config_files.warn_once(
            f"`ssh -G` fails ({bounded(problem)}); autoseg reads the ssh config itself"
        )
    return read_config(typed, user, port)


def _asked(command: list[str]) -> tuple[Values, str]:
    """What `ssh -G` prints, else the reason why it prints nothing."""
    # Files, as a command of `Match exec` may leave a process that keeps a pipe open.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            code = _ended(command, out, err)
        except subprocess.TimeoutExpired as error:
            raise InputError(
                f"`ssh -G {command[-1]}` did not end within {LIMIT_S:g} s; does a command of "
                "`Match exec` in your ssh config wait?"
            ) from error
        except OSError as error:
            return {}, str(error)
        out.seek(0)
        err.seek(0)
        values = _parsed(os.fsdecode(out.read())) if code == 0 else {}
        problem = "; ".join(os.fsdecode(err.read()).splitlines()[:2])
        return values if values.keys() >= PRINTED else {}, problem or f"exit code {code}"


def _ended(command: list[str], out: IO[bytes], err: IO[bytes]) -> int:
    """The exit code of a command. Raises TimeoutExpired once it and what it started were ended."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, process_group=0
    ) as process:
        try:
            return process.wait(LIMIT_S)
        except BaseException:  # Ctrl-C too, which does not reach the group
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise


def _parsed(text: str) -> Values:
    values: Values = {}
    for line in text.splitlines():
        keyword, _, value = line.partition(" ")
        # Unquoted: a space before the start of a path separates two of them.
        several = re.split(r" (?=[/~]|none$)", value) if keyword in KNOWN_HOSTS else [value]
        values.setdefault(keyword.lower(), []).extend(several)
    return values


@contextlib.contextmanager
def _own_files() -> Iterator[tuple[list[str], dict[str, str]]]:
    """Options by which ssh reads the config of $HOME, and the originals of the files they name.

    ssh takes the login's home from the password database. Where HOME names another one (a
    container, sudo), it gets copies of the config whose relative includes point there. `-F` also
    excludes the system's config, so the copies end with it.
    """
    if os.path.realpath(_home_of_login()) == os.path.realpath(Path.home()):
        yield [], {}
        return
    with tempfile.TemporaryDirectory(prefix="autoseg-ssh-") as folder:
        copies = _Copies(Path(folder))
        top = [copies.add(path, folder) for path, folder in config_files.config_files()]
        config = Path(folder) / "all"
        config.write_text(_include(top))
        yield ["-F", str(config)], copies.originals


class _Copies:
    """Copies of config files in which `Include` and the `~` of files mean $HOME."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.originals: dict[str, str] = {}

    def add(self, path: Path, folder: Path, depth: int = 0) -> Path:
        """The copy of a file whose relative includes lie in `folder`. Raises InputError."""
        copy = self._folder / f"{len(self.originals)}.conf"
        self.originals[str(copy)] = str(path)
        lines = [self._line(line, folder, depth) for line in config_files.lines_of(path, depth)]
        copy.write_bytes(os.fsencode("\n".join(lines)))
        copy.chmod(0o600)
        return copy

    def _line(self, line: config_files.Line, folder: Path, depth: int) -> str:
        if line.keyword == "include":
            named = config_files.included(line, folder)
            copies = [self.add(each, folder, depth + 1) for each in named]
            return _include(copies) if copies else ""
        if line.keyword in EXPANDED:
            paths = [Path(os.path.expanduser(word)) for word in line.words]
            return f"{line.keyword} {config_files.quoted(paths)}" if paths else line.text
        return line.text


def _include(copies: Sequence[Path]) -> str:
    # ssh takes a [ or * in the name of the temporary folder for a pattern.
    return f"Include {config_files.quoted([Path(glob.escape(str(copy))) for copy in copies])}"


def _with_own_defaults(found: Values) -> Values:
    """Values with the default known_hosts files of $HOME, where ssh names those of the login."""
    theirs = config_files.default_known_hosts(_home_of_login(), Path("/etc/ssh"))
    mine = config_files.default_known_hosts(Path.home(), config_files.SYSTEM_FOLDER)
    changed = {key: mine[key] for key, files in theirs.items() if found.get(key) == files}
    return {**found, **changed}


def _home_of_login() -> Path:
    """The home that ssh uses. ssh refuses to run for a login without an entry, so any will do."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path.home()
