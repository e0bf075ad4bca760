"""The SQLite file of an Optuna study: one writer with few transactions, and read-only readers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from optuna.storages import RDBStorage
from sqlalchemy.pool import NullPool, StaticPool

WAIT_S = 30.0  # for a lock; readers and the writer hold it for milliseconds


class _Connection(sqlite3.Connection):
    """Defers Optuna's single commits, so that several are one transaction.

    Optuna's reads end with a rollback, which must not discard the deferred writes.
    """

    deferred = False

    def commit(self) -> None:
        if not self.deferred:
            super().commit()

    def rollback(self) -> None:
        if not self.deferred:
            super().rollback()


class Database:
    """A new, empty storage at `path` for one writer; an existing file is removed.

    Writes are not synced to the disk: after a power cut the file is rebuilt from the ledger.
    """

    def __init__(self, path: Path) -> None:
        for tail in ("-journal", ""):  # SQLite would apply an old journal to the new file
            path.with_name(path.name + tail).unlink(missing_ok=True)
        self._connection = sqlite3.connect(
            path, timeout=WAIT_S, check_same_thread=False, factory=_Connection
        )
        self._connection.execute("PRAGMA synchronous = OFF")
        with self.transaction():
            self.storage = RDBStorage(
                "sqlite:///study.db",  # sets the dialect; `creator` sets the path
                engine_kwargs={
                    "creator": lambda: self._connection,
                    "poolclass": StaticPool,
                    "pool_reset_on_return": None,
                },
            )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction: readers see all of its writes or none."""
        self._connection.deferred = True
        try:
            yield
            self._connection.deferred = False
            self._connection.commit()
        except BaseException:
            self._connection.deferred = False
            # An interrupt within a statement makes SQLAlchemy close the connection; the error of
            # this rollback must not replace the interrupt.
            with suppress(sqlite3.Error):
                self._connection.rollback()
            raise

    def close(self) -> None:
        """Sync all writes to the disk and close the file."""
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA user_version = 1")  # a write, which triggers the sync
        self._connection.commit()
        self.storage.remove_session()
        self.storage.engine.dispose()
        self._connection.close()


def read_only(path: Path) -> RDBStorage:
    """A storage that SQLite opens read-only."""
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    return RDBStorage(
        "sqlite:///study.db",
        engine_kwargs={
            "creator": lambda: sqlite3.connect(
                address, uri=True, timeout=WAIT_S, check_same_thread=False
            ),
            "poolclass": NullPool,  # opens the path each time: a resumed run makes a new file
        },
        skip_compatibility_check=True,
        skip_table_creation=True,
    )
