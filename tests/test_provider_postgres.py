"""A provider in a real PostgreSQL, where there is one to start: read only, ended in time."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pg8000.dbapi
import pytest

from pdp.fetched import FetchOutcome
from pdp.providers.over_sql import SqlProvider
from pdp.providers.settings import SqlSource
from tests.test_providers import ASKED, INJECTIONS, LONG_S, failure

BINARIES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
ASKED_ROW = replace(ASKED, attributes=("grade", "seen", "suspended"))


def _unprivileged() -> str | None:
    """Whom the server runs as: it refuses to be root."""
    if os.getuid() != 0:
        return ""
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return None


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server with a table, on a free port of this machine."""
    user = _unprivileged()
    if BINARIES is None or user is None:
        pytest.skip("there is no PostgreSQL here, or nobody to run it as")
    # Its own folder: those of pytest are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    found, data, who = _free_port(), folder / "data", user or None
    if who:
        shutil.chown(folder, who)
    subprocess.run(
        [BINARIES / "initdb", "-D", data, "-U", "pdp", "-A", "trust", "--no-sync"],
        check=True, capture_output=True, user=who, cwd="/",
    )  # fmt: skip
    server = subprocess.Popen(
        [
            BINARIES / "postgres", "-D", data, "-p", str(found), "-c", "listen_addresses=127.0.0.1",
            "-c", f"unix_socket_directories={folder}", "-c", "fsync=off",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=who, cwd="/",
    )  # fmt: skip
    try:
        _fill(found)
        yield found
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def _fill(port: int) -> None:
    connection = _connected(port)
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE users (id text, grade text, suspended boolean, seen timestamptz)")
    cursor.execute("INSERT INTO users VALUES ('ana', 'a', false, '2026-11-26T00:00:00Z')")
    connection.commit()
    connection.close()


def _connected(port: int) -> Any:
    for _ in range(300):
        try:
            return pg8000.dbapi.connect("pdp", "127.0.0.1", "postgres", port)
        except pg8000.dbapi.Error:
            time.sleep(0.1)
    raise TimeoutError("PostgreSQL does not answer")


def provider(port: int, statement: str) -> SqlProvider:
    """Asks the server."""
    url = f"postgresql+pg8000://pdp@127.0.0.1:{port}/postgres"
    return SqlProvider(SqlSource(url, statement), 2, 5.0)


@pytest.mark.prove
def test_a_row_of_postgresql_and_no_injection(port: int) -> None:
    """Types as they are; ids are values of a parameter."""
    found = provider(port, "SELECT grade, suspended, seen FROM users WHERE id = :id")
    said = found.ask(ASKED_ROW, LONG_S)
    assert (said["grade"], said["suspended"]) == ("a", False)
    assert said["seen"].ns == 1_795_651_200 * 10**9
    for name in INJECTIONS:
        if "\0" not in name:  # PostgreSQL has no such text
            asked = replace(ASKED_ROW, id=name)
            assert failure(lambda asked=asked: found.ask(asked, LONG_S)) is (  # type: ignore[misc]
                FetchOutcome.UNKNOWN
            )
    assert found.ask(ASKED_ROW, LONG_S)["grade"] == "a"
    found.close()


@pytest.mark.prove
def test_a_statement_that_writes_is_refused_by_postgresql(port: int) -> None:
    """A CTE may write, and begins like a query: the transaction is read-only."""
    writes = (
        "WITH gone AS (DELETE FROM users WHERE id = :id RETURNING grade) SELECT grade FROM gone"
    )
    bad = provider(port, writes)
    assert failure(lambda: bad.ask(ASKED_ROW, LONG_S)) is FetchOutcome.DOWN
    bad.close()
    good = provider(port, "SELECT grade FROM users WHERE id = :id")
    assert good.ask(ASKED_ROW, LONG_S)["grade"] == "a"
    good.close()


@pytest.mark.prove
def test_a_statement_that_runs_on_is_ended_by_postgresql(port: int) -> None:
    """Late, and the connection answers the next question."""
    slow = provider(port, "SELECT pg_sleep(30)::text AS grade FROM users WHERE id = :id")
    began = time.monotonic()
    for _ in range(2):
        assert failure(lambda: slow.ask(ASKED_ROW, 0.3)) is FetchOutcome.LATE
    assert time.monotonic() - began < 20
    slow.close()
