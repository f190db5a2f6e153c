"""Where the directory is: `search.directory` and what belongs to it, judged."""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from pdp.errors import ConfigurationError

_FORMS: Final = (
    "write `name.json`, `sqlite:name.db`, or `postgresql://user@host/database` of a PostgreSQL"
)


class Form(enum.Enum):
    """What a directory is kept in."""

    DOCUMENT = "file"
    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """Where the directory is.

    Attributes:
        form: what it is kept in.
        path: of the file; of a PostgreSQL None.
        user, host, port, database: of a PostgreSQL.
        password: file with it.
        ca_bundle: file with the authorities of its server.
        time_max_s: how long one question to it may take.
    """

    form: Form
    path: Path | None = None
    user: str = ""
    host: str = ""
    port: int = 5432
    database: str = ""
    password: Path | None = None
    ca_bundle: Path | None = None
    time_max_s: float = 0.3

    def __str__(self) -> str:
        if self.form is Form.POSTGRESQL:
            host = f"[{self.host}]" if ":" in self.host else self.host
            return f"postgresql://{self.user}@{host}:{self.port}/{self.database}"
        return f"sqlite:{self.path}" if self.form is Form.SQLITE else str(self.path)


def directory_settings(
    text: str,
    folder: Path,
    password: Path | None,
    ca_bundle: Path | None,
    time_max_s: float,
) -> DirectorySettings:
    """Judge what is written.

    Args:
        text: of `search.directory`.
        folder: that relative paths count from.
        password: absolute path of the file with it, or None.
        ca_bundle: absolute path, or None.
        time_max_s: how long one question may take.

    Raises:
        ConfigurationError: what is wrong, after "`search`: ".
    """
    if text.startswith(("postgresql:", "postgres:")):
        return _postgresql(text, password, ca_bundle, time_max_s)
    for name, value in (("password_file", password), ("ca_bundle", ca_bundle)):
        if value is not None:
            raise ConfigurationError(f"`{name}` is for a PostgreSQL only: leave it out")
    if text.startswith("sqlite:") and "//" not in text and text != "sqlite:":
        path = folder / text.removeprefix("sqlite:")
        return DirectorySettings(Form.SQLITE, path, time_max_s=time_max_s)
    if text.endswith(".json") and "://" not in text:
        return DirectorySettings(Form.DOCUMENT, folder / text, time_max_s=time_max_s)
    raise ConfigurationError(f"`directory` is none that is known: {_FORMS}")


def _postgresql(
    text: str, password: Path | None, ca_bundle: Path | None, time_max_s: float
) -> DirectorySettings:
    # INVARIANT: no message shows the text: there may be a password in it, rightly or not.
    try:
        found = urlsplit(text)
        port = found.port or 5432
    except ValueError:
        raise ConfigurationError(f"`directory` is no URL: {_FORMS}") from None
    if found.password is not None:
        raise ConfigurationError(
            "`directory` has a password in it, which logs and process lists would show: put it "
            "into a file, and name that as `search.password_file`"
        )
    database = unquote(found.path.removeprefix("/"))
    if found.scheme != "postgresql" or found.query or found.fragment or "/" in database:
        raise ConfigurationError(f"`directory` is none that is known: {_FORMS}")
    if not (found.username and found.hostname and database):
        raise ConfigurationError(f"`directory` lacks a user, a host or a database: {_FORMS}")
    if ca_bundle is None and not _here(found.hostname):
        raise ConfigurationError(
            "`ca_bundle` is missing: a PostgreSQL on another machine is asked over TLS only; name "
            "a file with the certificates of its authorities"
        )
    return DirectorySettings(
        Form.POSTGRESQL,
        user=unquote(found.username),
        host=found.hostname,
        port=port,
        database=database,
        password=password,
        ca_bundle=ca_bundle,
        time_max_s=time_max_s,
    )


def _here(host: str) -> bool:
    """Whether it is this machine; a name could be anybody's."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
