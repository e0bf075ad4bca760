"""Serves Optuna's dashboard for a run's study, live or finished, read-only."""

from __future__ import annotations

import errno
import io
import ipaddress
import json
import logging
import re
import socket
import sqlite3
from collections.abc import Callable, Iterable, Sequence, Set
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, TextIO, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import optuna_dashboard._app
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna_dashboard._pareto_front import get_pareto_front_trials

from autoseg.core.errors import InputError
from autoseg.report.dashboard.database import read_only
from autoseg.report.dashboard.study import artifacts_folder
from autoseg.run.store import read_declaration

log = logging.getLogger(__name__)

PORT = 8080
READ_ONLY = "this study is a copy of a run's ledger; it cannot be changed here"
LOCAL_ONLY = "this is served to this machine only: open it as 127.0.0.1 or localhost"

Start = Callable[..., Any]
App = Callable[[dict[str, Any], Start], Iterable[bytes]]


class Dashboard(ThreadingMixIn, WSGIServer):
    """Serves the dashboard of the run in `folder` at `address` until it is closed.

    `private` is True if only this machine can reach it: there is no password. Port 0 takes any
    free port. Raises InputError for a run without a readable study, and for a host or port that
    is not available.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path, host: str = "127.0.0.1", port: int = PORT) -> None:
        self._host, study = host, _study(folder)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise InputError(_bind_error(host, port, error)) from error
        # optuna-dashboard 0.21 ignores constraints in its list of best trials.
        optuna_dashboard._app.get_pareto_front_trials = _feasible_front
        files = FileSystemArtifactStore(artifacts_folder(folder))
        app = optuna_dashboard.wsgi(study, artifact_store=files)
        self.private = ipaddress.ip_address(str(self.server_address[0])).is_loopback
        ours = {"127.0.0.1", "localhost", "[::1]", _host_name(host).lower()}
        self.set_app(_read_only_app(app, ours if self.private else None))
        number = study.get_all_studies()[0]._study_id
        self.address = f"http://{_host_name(host)}:{self.server_port}/dashboard/studies/{number}"

    def server_bind(self) -> None:
        """As the base class, without a DNS lookup of this machine's name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self._host, self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log closed connections for debugging only."""
        log.debug("connection from %s failed", client_address, exc_info=True)


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)

    def get_stderr(self) -> TextIO:
        return cast(TextIO, _Log())


class _Log(io.TextIOBase):
    def write(self, text: str) -> int:
        log.debug("%s", text)
        return len(text)


def _study(folder: Path) -> RDBStorage:
    """The run's study. Raises InputError without a study that this Optuna can read."""
    read_declaration(folder)
    path, name = folder / "study.db", folder.resolve().name
    again = f"autoseg optimize --resume --name {name} rebuilds it"
    if not path.exists():
        raise InputError(f"the run {name!r} has no study.db; {again}")
    try:
        # Opened for writing once: SQLite rolls back the unfinished transaction of a killed writer.
        with sqlite3.connect(path, timeout=30.0) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        database.close()
        study = read_only(path)
        known = study.get_current_version() == study.get_head_version()
        begun = bool(study.get_all_studies())
    except Exception as error:  # any error of SQLite, SQLAlchemy or Optuna for a damaged file
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path} cannot be read ({reason}); {again}") from error
    if not begun:
        raise InputError(f"{path} holds no study; {again}")
    if not known:
        raise InputError(f"{path} was written by another version of Optuna; {again}")
    return study


def _bind_error(host: str, port: int, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken: choose another with --port, or --port 0 for any"
    if isinstance(error, PermissionError):
        return f"port {port} may not be listened on: choose one over 1023 with --port"
    return f"cannot listen on {host}, port {port} ({error}): choose --host and --port"


def _host_name(host: str) -> str:
    """The host in an address for a browser on this machine."""
    if ":" in host:
        return f"[{host}]"
    return "127.0.0.1" if host in ("", "0.0.0.0") else host


def _read_only_app(app: App, hosts: Set[str] | None) -> App:
    """Refuse requests that would change the study: the next event of the run would not fit it.

    Refuse also requests for other host names than `hosts`: by DNS rebinding, a foreign web page
    could otherwise read the run through the user's browser.
    """

    def served(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        host = re.sub(r":\d*$", "", environ.get("HTTP_HOST", "")).lower()
        if hosts is not None and host not in hosts:
            reason = LOCAL_ONLY
        elif environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            reason = READ_ONLY
        else:
            return app(environ, start)
        start("403 Forbidden", [("Content-Type", "application/json")])
        return [json.dumps({"reason": reason}).encode()]

    return served


def _feasible_front(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]
) -> list[FrozenTrial]:
    met = [t for t in trials if all(c <= 0 for c in t.system_attrs.get("constraints", ()))]
    return cast(list[FrozenTrial], get_pareto_front_trials(met, directions))
