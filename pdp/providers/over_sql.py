"""A provider in a database: one query, one row, read only.

The statement is the operator's. What is asked is bound to its parameters and is never part
of its text. A row too many is as wrong as none is unknown; a query that runs on is
ended by the database itself, and read-only is asked of it for each question.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import sqlalchemy
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pdp.bundle.strict_json import StrictJsonError, parse_object
from pdp.errors import ConfigurationError
from pdp.fetched import FetchOutcome
from pdp.fetching import Asked
from pdp.providers.asking import ProviderError
from pdp.providers.settings import PLACES, SqlSource
from pdp.values import Timestamp

_JSON_BYTES_MAX: Final = 65_536
_PASSWORD_BYTES_MAX: Final = 4_096
# SQLite looks at the time after so many steps of its machine: some ten microseconds.
_STEPS: Final = 10_000
_MILLISECONDS: Final = 1_000
_MICROSECOND_NS: Final = 1_000
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class SqlProvider:
    """Asks one database.

    Args:
        settings: judged.
        connections_max: at the same time.
        timeout_s: of connecting, of waiting for a lock, of the network.

    Raises:
        ConfigurationError: the URL, the password or the statement cannot be used.
    """

    def __init__(self, settings: SqlSource, connections_max: int, timeout_s: float) -> None:
        self._settings = settings
        try:
            url = make_url(settings.url)
            self._sqlite = url.get_backend_name() == "sqlite"
            self._statement = sqlalchemy.text(settings.statement)
            self._places = frozenset(self._statement.compile().params)
            how = (
                {"creator": _opener(url, timeout_s)}
                if self._sqlite
                else {"connect_args": _network(settings, timeout_s)}
            )
            self._engine = sqlalchemy.create_engine(
                _with_password(url, settings),
                hide_parameters=True,
                poolclass=sqlalchemy.QueuePool,
                pool_size=connections_max,
                max_overflow=0,
                pool_timeout=timeout_s,
                pool_pre_ping=not self._sqlite,
                **how,
            )
        except (ArgumentError, ImportError) as error:
            # Never its words: they repeat the URL, and with it a password.
            raise ConfigurationError(
                f"`url` or `statement` cannot be used ({type(error).__name__})"
            ) from None
        if not self._places <= PLACES or "id" not in self._places:
            found = ", ".join(f"`:{name}`" for name in sorted(self._places)) or "none"
            raise ConfigurationError(
                f"`statement` has the parameters {found}: it has `:id`, and may have `:type` and "
                "`:tenant`"
            )

    def ask(self, asked: Asked, seconds: float) -> Mapping[str, Any]:
        """As `pdp.providers.asking.Answering`."""
        end = time.monotonic() + seconds
        every = {"id": asked.id, "type": asked.type, "tenant": asked.tenant}
        values = {name: every[name] for name in self._places}
        try:
            with self._engine.connect() as connection:
                self._bound(connection, end)
                try:
                    rows = connection.execute(self._statement, values).mappings().fetchmany(2)
                finally:
                    connection.rollback()
                    self._free(connection)
        except SQLAlchemyError as error:
            late = time.monotonic() >= end
            kind = type(getattr(error, "orig", None) or error).__name__
            outcome = FetchOutcome.LATE if late else FetchOutcome.DOWN
            raise ProviderError(outcome, f"the database failed ({kind})") from None
        if time.monotonic() >= end:
            raise ProviderError(FetchOutcome.LATE, "no row in time")
        if not rows:
            raise ProviderError(FetchOutcome.UNKNOWN, "no row")
        if len(rows) > 1:
            raise ProviderError(FetchOutcome.WRONG, "more than one row")
        found = dict(rows[0])
        return {name: self._value(name, found[name]) for name in asked.attributes if name in found}

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _bound(self, connection: Connection, end: float) -> None:
        """Let the database end what takes too long, and change nothing."""
        if self._sqlite:
            raw: Any = connection.connection.driver_connection
            raw.set_progress_handler(lambda: time.monotonic() >= end, _STEPS)
            return
        left_ms = max(1, int((end - time.monotonic()) * _MILLISECONDS))
        connection.execute(sqlalchemy.text("SET TRANSACTION READ ONLY"))
        connection.execute(
            sqlalchemy.text("SELECT set_config('statement_timeout', :ms, true)"),
            {"ms": str(left_ms)},
        )

    def _free(self, connection: Connection) -> None:
        """The next question has its own time."""
        if self._sqlite:
            raw: Any = connection.connection.driver_connection
            raw.set_progress_handler(None, 0)

    def _value(self, name: str, value: Any) -> Any:
        """A value as conditions know it; what is none, the boundary refuses."""
        if name in self._settings.booleans:
            if type(value) is int and value in {0, 1}:
                return value == 1
            if type(value) is bool or value is None:
                return value
            raise ProviderError(FetchOutcome.WRONG, f"column `{name}` is neither 0 nor 1")
        if name in self._settings.json and value is not None:
            return _parsed(name, value)
        if isinstance(value, dt.datetime):
            if value.tzinfo is None:
                raise ProviderError(FetchOutcome.WRONG, f"column `{name}` is a time without a zone")
            return Timestamp((value - _EPOCH) // dt.timedelta(microseconds=1) * _MICROSECOND_NS)
        return bytes(value) if isinstance(value, memoryview | bytearray) else value


def _opener(url: URL, timeout_s: float) -> Callable[[], sqlite3.Connection]:
    """How a file is opened: for reading, and never made."""
    path = Path(url.database or "")
    if not path.is_absolute() or url.query:
        raise ConfigurationError("`url` is no `sqlite:////absolute/path`")
    if not path.is_file():
        raise ConfigurationError(f"`url`: there is no file `{path}`")
    address = f"{path.as_uri()}?mode=ro"

    def opened() -> sqlite3.Connection:
        made = sqlite3.connect(address, timeout_s, check_same_thread=False, uri=True)
        made.execute("PRAGMA query_only = ON")
        return made

    return opened


def _network(settings: SqlSource, timeout_s: float) -> dict[str, Any]:
    found: dict[str, Any] = {"timeout": timeout_s}
    if settings.ca_bundle is not None:
        try:
            found["ssl_context"] = ssl.create_default_context(cafile=str(settings.ca_bundle))
        except OSError as error:
            raise ConfigurationError(f"`ca_bundle` cannot be used: {error.strerror}") from None
    return found


def _parsed(name: str, value: Any) -> Any:
    """JSON in a text; a list or a scalar, too, so it is read as the member of an object."""
    if not isinstance(value, str):
        raise ProviderError(FetchOutcome.WRONG, f"column `{name}` is no text")
    text = f'{{"value": {value}}}'.encode("utf-8", "replace")
    try:
        ((_, found),) = parse_object(text, _JSON_BYTES_MAX, fractions=True).items()
    except (StrictJsonError, ValueError):
        raise ProviderError(FetchOutcome.WRONG, f"column `{name}` is no JSON") from None
    return found


def _with_password(url: URL, settings: SqlSource) -> URL:
    if settings.password_file is None:
        return url
    try:
        with settings.password_file.open("rb") as file:
            text = file.read(_PASSWORD_BYTES_MAX).decode().strip("\n")
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError("`password_file` cannot be read") from None
    return url.set(password=text)
