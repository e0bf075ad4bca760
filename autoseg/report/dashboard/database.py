"""The SQLite file under an Optuna study: written in few transactions, or read by someone else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from optuna.storages import RDBStorage
from sqlalchemy.pool import NullPool, StaticPool

WAIT_S = 30.0  # for the other side: a reader or a writer is done in milliseconds


class _Connection(sqlite3.Connection):
    """Keeps back what Optuna commits one by one, so that it can be written at once.

    Each of its reads ends with rolling back: what is kept must survive that.
    """

    held = False

    def commit(self) -> None:
        if not self.held:
            super().commit()

    def rollback(self) -> None:
        if not self.held:
            super().rollback()


class Database:
    """A new, empty storage at `path`, for one writer; what was there is removed.

    Nothing waits for the disk: after a power cut the file is built anew from the ledger.
    """

    def __init__(self, path: Path) -> None:
        for tail in ("-journal", ""):  # an old journal would be played back into the new file
            path.with_name(path.name + tail).unlink(missing_ok=True)
        self._connection = sqlite3.connect(
            path, timeout=WAIT_S, check_same_thread=False, factory=_Connection
        )
        self._connection.execute("PRAGMA synchronous = OFF")
        with self.at_once():
            self.storage = RDBStorage(
                "sqlite:///study.db",  # says the dialect; any path can be connected to
                engine_kwargs={
                    "creator": lambda: self._connection,
                    "poolclass": StaticPool,
                    "pool_reset_on_return": None,
                },
            )

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """One transaction: a reader sees all that is written in it, or nothing."""
        self._connection.held = True
        try:
            yield
            self._connection.held = False
            self._connection.commit()
        except BaseException:
            self._connection.held = False
            # An interrupt in the middle of a statement has SQLAlchemy close the connection, and
            # what is raised here must not stand in its place.
            with suppress(sqlite3.Error):
                self._connection.rollback()
            raise

    def close(self) -> None:
        """Have it all on the disk, and let go."""
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA user_version = 1")  # a write, which the disk is told of
        self._connection.commit()
        self.storage.remove_session()
        self.storage.engine.dispose()
        self._connection.close()


def read_only(path: Path) -> RDBStorage:
    """A study's storage for readers that must not write, whatever they are asked to."""
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    return RDBStorage(
        "sqlite:///study.db",
        engine_kwargs={
            "creator": lambda: sqlite3.connect(
                address, uri=True, timeout=WAIT_S, check_same_thread=False
            ),
            "poolclass": NullPool,  # by its path each time: a continued run makes a new file
        },
        skip_compatibility_check=True,
        skip_table_creation=True,
    )
