"""A real PostgreSQL in a folder of its own, on a free port of 127.0.0.1, with and without TLS."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pg8000.dbapi

from pdp.authoring.throwaway import ThrowawayAuthority

USER, PASSWORD, DATABASE = "pdp", "not to be seen", "directory"
SCHEMA = """
CREATE TABLE subjects (
  tenant text COLLATE "C" NOT NULL, type text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL,
  properties jsonb NOT NULL DEFAULT '{}', PRIMARY KEY (tenant, type, id));
CREATE TABLE resources (LIKE subjects INCLUDING ALL)
"""


def binaries() -> Path | None:
    """Where the server's programs are; None: there is none on this machine."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)


@dataclass
class Postgres:
    """A running server.

    Attributes:
        port: on 127.0.0.1 and localhost.
        authorities: file with who signed its certificate.
        password: file.
    """

    port: int
    folder: Path
    authorities: Path
    password: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """For `search.directory`."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{DATABASE}"

    def connect(self, database: str = DATABASE) -> Any:
        """A connection for the test itself, as the owner of everything."""
        return pg8000.dbapi.connect(
            user="owner", host="127.0.0.1", port=self.port, database=database, password=PASSWORD
        )

    def run(self, *statements: str) -> None:
        """Each by itself."""
        connection = self.connect()
        connection.autocommit = True
        for statement in statements:
            connection.cursor().execute(statement)
        connection.close()

    def fill(self, kind: str, rows: list[tuple[str, str, str, str]]) -> None:
        """Put rows in the place of those of a table."""
        connection = self.connect()
        cursor = connection.cursor()
        cursor.execute(f"DELETE FROM {kind}")  # noqa: S608 a name of ours
        cursor.executemany(
            f"INSERT INTO {kind} VALUES (%s, %s, %s, %s::jsonb)",  # noqa: S608 likewise
            rows,
        )
        connection.commit()
        connection.close()


def _as_postgres() -> dict[str, Any]:
    """The server refuses to be run by root."""
    if os.getuid():
        return {}
    owner = pwd.getpwnam("postgres")
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


@contextmanager
def postgres(folder: Path, places: Path) -> Iterator[Postgres]:
    """A server with the two tables, and a user that may read and no more."""
    as_postgres = _as_postgres()
    # Its own user has to come through all folders above.
    data = Path(os.path.realpath("/tmp")) / f"pdp-postgres-{os.getpid()}-{time.monotonic_ns()}"
    data.mkdir(mode=0o700)
    password = folder / "password"
    password.write_text(PASSWORD + "\n")
    given = data.with_suffix(".password")
    given.write_text(PASSWORD + "\n")
    if as_postgres:
        for path in (data, given):
            os.chown(path, as_postgres["user"], as_postgres["group"])
    options = {**as_postgres, "cwd": "/", "stdout": subprocess.DEVNULL}
    try:
        subprocess.run(
            [
                *(places / "initdb", "-D", data, "--username=owner", "--auth=scram-sha-256"),
                *("--encoding=UTF8", "--no-locale", f"--pwfile={given}", "--no-sync"),
            ],
            check=True,
            timeout=60,
            stderr=subprocess.PIPE,
            **options,
        )
        authority = ThrowawayAuthority("example.org")
        server = authority.issue("db", dns_names=["localhost"], addresses=["127.0.0.1"])
        for name, content in (("c.pem", server.certificate_pem), ("k.pem", server.key_pem)):
            (data / name).write_bytes(content)
            (data / name).chmod(0o600)
            if as_postgres:
                os.chown(data / name, as_postgres["user"], as_postgres["group"])
        authorities = folder / "db-ca.pem"
        authorities.write_bytes(authority.bundle_pem)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = {
            "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "",
            "fsync": "off", "ssl_cert_file": "c.pem", "ssl_key_file": "k.pem",
            "shared_buffers": "8MB", "max_connections": 20,
        }  # fmt: skip
        # In the file, so that a test can change it while the server runs.
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write("ssl = on\n")
        process = subprocess.Popen(
            [
                *(places / "postgres", "-D", data),
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            stderr=subprocess.DEVNULL,
            **options,
        )
        found = Postgres(port, data, authorities, password, process)
        try:
            _prepare(found)
            yield found
        finally:
            process.terminate()
            process.wait(30)
    finally:
        given.unlink(missing_ok=True)
        shutil.rmtree(data, ignore_errors=True)


def _first_connection(server: Postgres) -> Any:
    deadline = time.monotonic() + 60
    while True:
        try:
            return server.connect("postgres")
        except (pg8000.dbapi.Error, OSError):
            if time.monotonic() > deadline or server.process.poll() is not None:
                raise
            time.sleep(0.05)


def _prepare(server: Postgres) -> None:
    connection = _first_connection(server)
    connection.autocommit = True
    connection.cursor().execute(f"CREATE DATABASE {DATABASE}")
    connection.close()
    server.run(
        *SCHEMA.split(";"),
        f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'",
        f"GRANT SELECT ON subjects, resources TO {USER}",
    )
