"""A directory in two tables, `subjects` and `resources`: SQLite or PostgreSQL, by the same code.

    tenant text, type text, id text, properties text (a JSON object; jsonb will do)

Names are bound as parameters and never a part of the text of a query. They are
compared and put in order byte by byte, whatever collation a column was given: to
a collation that folds case, `Admin` and `admin` are one, and to a page they are two.
"""

from __future__ import annotations

import sqlite3
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from pdp.directory.faults import DirectoryError, Fault
from pdp.directory.reading import THREADS
from pdp.directory.records import PROPERTIES_BYTES_MAX, Entry, Kind, Place, entry
from pdp.errors import ConfigurationError

# Instructions of SQLite's machine between two looks at the clock: a fraction of a millisecond.
_STEPS: Final = 10_000
# After so long a connection is made anew: a database that moved is found again.
_RECYCLE_S: Final = 300
_SECRET_BYTES_MAX: Final = 4_096

_METADATA: Final = sa.MetaData()
_TABLES: Final = {
    kind: sa.Table(
        kind.value,
        _METADATA,
        *(sa.Column(name, sa.Text) for name in ("tenant", "type", "id", "properties")),
    )
    for kind in Kind
}


class DirectoryTables:
    """The tables, of either database.

    Args:
        engine: makes connections.
        collation: the one that compares bytes, by its name in this database.
    """

    def __init__(self, engine: sa.Engine, collation: str) -> None:
        self._engine = engine
        self._collation = collation

    def find(self, place: Place, name: str, time_s: float) -> Entry | None:
        """As `Directory.find`."""
        query = self._listed(place).where(self._bytes(_TABLES[place.kind].c.id) == name)
        found = self._rows(query.limit(2), time_s)
        if len(found) > 1:
            raise DirectoryError(Fault.WRONG, "an entry is there twice: the table has no key")
        return entry(found[0].id, found[0].text) if found else None

    def after(self, place: Place, name: str, count: int, time_s: float) -> list[Entry]:
        """As `Directory.after`."""
        key = self._bytes(_TABLES[place.kind].c.id)
        query = self._listed(place).where(key > name).order_by(key).limit(count)
        return [entry(row.id, row.text) for row in self._rows(query, time_s)]

    def check(self) -> None:
        """As `Directory.check`: a database elsewhere is not asked."""

    def close(self) -> None:
        """Let go of connections."""
        self._engine.dispose()

    def _bytes(self, column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
        return sa.collate(column, self._collation)

    def _listed(self, place: Place) -> sa.Select[Any]:
        table = _TABLES[place.kind]
        # One character more than there may be, so that a long text is refused and not fetched.
        text = sa.func.substr(sa.cast(table.c.properties, sa.Text), 1, PROPERTIES_BYTES_MAX + 1)
        return (
            sa.select(table.c.id, text.label("text"))
            .where(self._bytes(table.c.tenant) == place.tenant)
            .where(self._bytes(table.c.type) == place.type)
        )

    def _rows(self, query: sa.Select[Any], time_s: float) -> Sequence[sa.Row[Any]]:
        until = time.monotonic() + time_s
        try:
            with self._engine.connect() as connection, self._bounded(connection, time_s):
                return connection.execute(query).all()
        except sa.exc.SQLAlchemyError as error:
            # Its words hold the query's parameters, or the address of the database.
            slow = time.monotonic() >= until or isinstance(error, sa.exc.TimeoutError)
            fault = Fault.SLOW if slow else Fault.UNREACHABLE
            raise DirectoryError(fault, f"{type(error).__name__} of the database") from None
        except (OSError, UnicodeError) as error:
            raise DirectoryError(Fault.UNREACHABLE, type(error).__name__) from None

    @contextmanager
    def _bounded(self, connection: sa.Connection, time_s: float) -> Iterator[None]:
        raise NotImplementedError


class SqliteDirectory(DirectoryTables):
    """A file of SQLite, opened for reading with each question, so that a new one is seen at once.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        engine = sa.create_engine(
            "sqlite://", creator=self._open, poolclass=NullPool, hide_parameters=True
        )
        super().__init__(engine, "BINARY")

    def _open(self) -> sqlite3.Connection:
        # As a URI, which cannot make a file that is not there.
        connection = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)
        for pragma in ("query_only = ON", "trusted_schema = OFF", "mmap_size = 0"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    @contextmanager
    def _bounded(self, connection: sa.Connection, time_s: float) -> Iterator[None]:
        until = time.monotonic() + time_s
        driver: Any = connection.connection.driver_connection
        driver.execute(f"PRAGMA busy_timeout = {max(1, int(time_s * 1_000))}")
        driver.set_progress_handler(lambda: time.monotonic() >= until, _STEPS)
        yield

    def check(self) -> None:
        """As `Directory.check`: the tables are there."""
        for kind in Kind:
            self.find(Place(kind, "", ""), "", 1.0)


class PostgresDirectory(DirectoryTables):
    """A database of PostgreSQL, read only, through a few connections that are kept.

    Args:
        url: without a password.
        password: file with it; None: none is needed.
        authorities: file with the certificates of who may have signed the server's; None: without
            TLS, which `pdp.directory.settings` lets pass on this machine only.
        time_max_s: how long a connection may be silent.
    """

    def __init__(
        self, url: sa.URL, password: Path | None, authorities: Path | None, time_max_s: float
    ) -> None:
        self._password = password
        options: dict[str, Any] = {"timeout": time_max_s, "application_name": "portcullis"}
        if authorities is not None:
            # Name and certificate are checked; a server without TLS is an error, not a fallback.
            options["ssl_context"] = _trusting(authorities)
        engine = sa.create_engine(
            url,
            connect_args=options,
            pool_size=THREADS,
            max_overflow=0,
            pool_timeout=time_max_s,
            pool_recycle=_RECYCLE_S,
            pool_pre_ping=True,
            hide_parameters=True,
            isolation_level="REPEATABLE READ",
        )
        # Read with each new connection: passwords are changed while we run.
        sa.event.listen(engine, "do_connect", self._with_password)
        super().__init__(engine, "C")

    def _with_password(self, _dialect: Any, _record: Any, _args: Any, options: Any) -> None:
        if self._password is not None:
            options["password"] = read_secret(self._password)

    def find(self, place: Place, name: str, time_s: float) -> Entry | None:
        """As `Directory.find`. No text of PostgreSQL has a NUL, so nothing is called that."""
        if "\0" in f"{place.tenant}{place.type}{name}":
            return None
        return super().find(place, name, time_s)

    def after(self, place: Place, name: str, count: int, time_s: float) -> list[Entry]:
        """As `Directory.after`; likewise."""
        if "\0" in f"{place.tenant}{place.type}{name}":
            return []
        return super().after(place, name, count, time_s)

    @contextmanager
    def _bounded(self, connection: sa.Connection, time_s: float) -> Iterator[None]:
        connection.execution_options(postgresql_readonly=True)
        limit = sa.func.set_config("statement_timeout", str(max(1, int(time_s * 1_000))), True)  # noqa: FBT003 PostgreSQL's
        connection.execute(sa.select(limit))
        yield


def read_secret(path: Path) -> str:
    """The first line of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(_SECRET_BYTES_MAX).split(b"\n")[0].strip(b"\r").decode()


def _trusting(authorities: Path) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=authorities)
    except (OSError, ssl.SSLError):
        raise ConfigurationError(
            f"`search.ca_bundle`: `{authorities}` holds no certificates in PEM"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
