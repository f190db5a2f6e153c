"""From settings to a directory."""

from __future__ import annotations

import sqlalchemy as sa

from pdp.directory.documents import DirectoryFile
from pdp.directory.faults import DirectoryError
from pdp.directory.reading import Directory
from pdp.directory.settings import DirectorySettings, Form
from pdp.directory.tables import PostgresDirectory, SqliteDirectory
from pdp.errors import ConfigurationError


def open_directory(settings: DirectorySettings) -> Directory:
    """The directory, looked at as far as it is on this machine.

    Raises:
        ConfigurationError: a file of it cannot be used.
    """
    found: Directory
    if settings.form is Form.POSTGRESQL:
        url = sa.URL.create(
            "postgresql+pg8000",
            username=settings.user,
            host=settings.host,
            port=settings.port,
            database=settings.database,
        )
        found = PostgresDirectory(url, settings.password, settings.ca_bundle, settings.time_max_s)
    elif settings.path is None:
        raise ConfigurationError("`search.directory` names no file")
    elif settings.form is Form.SQLITE:
        found = SqliteDirectory(settings.path)
    else:
        found = DirectoryFile(settings.path)
    try:
        found.check()
    except DirectoryError as error:
        raise ConfigurationError(f"`search.directory`: `{settings}`: {error.reason}") from None
    return found
