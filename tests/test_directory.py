"""Directories in files, in SQLite and in a real PostgreSQL: wrong, slow, hostile and gone."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from pdp.authoring.throwaway import ThrowawayAuthority
from pdp.directory import documents, tables
from pdp.directory.documents import DirectoryFile
from pdp.directory.faults import DirectoryError, Fault
from pdp.directory.opening import open_directory
from pdp.directory.reading import THREADS, Directory, DirectoryReader
from pdp.directory.records import PROPERTIES_BYTES_MAX, Entry, Kind, Place, entry
from pdp.directory.settings import DirectorySettings, Form, directory_settings
from pdp.directory.tables import SqliteDirectory, read_secret
from pdp.errors import ConfigurationError
from pdp.telemetry import Telemetry
from tests.simulators.postgres import PASSWORD, Postgres, binaries, postgres

USERS = Place(Kind.SUBJECT, "default", "user")
# Of these, bytes and letters have different orders, or a collation would hold two for one.
NAMES = [
    "Alice",
    "B",
    "alice",
    "alice ",
    "a" * 1_024,
    "é",
    "e\u0301",
    "漢字",
    "🂡",
    "'; DROP TABLE--",
]
ROWS = [
    *(("default", "user", name, json.dumps({"n": index})) for index, name in enumerate(NAMES)),
    ("default", "User", "folded", "{}"),
    ("acme", "user", "alice", '{"theirs": true}'),
    ("Default", "user", "folded", "{}"),
]
SQLITE = """
CREATE TABLE {kind} (tenant TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL,
  properties TEXT NOT NULL, PRIMARY KEY (tenant, type, id))
"""


def sqlite_file(
    path: Path, rows: list[tuple[str, str, str, str]] | None = None, schema: str = SQLITE
) -> SqliteDirectory:
    """A database with these subjects."""
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        for kind in Kind:
            connection.execute(schema.format(kind=kind.value))
        connection.executemany(
            "INSERT INTO subjects VALUES (?, ?, ?, ?)", ROWS if rows is None else rows
        )
    connection.close()
    return SqliteDirectory(path)


def json_file(path: Path, rows: list[tuple[str, str, str, str]] | None = None) -> DirectoryFile:
    """A file with these subjects."""
    subjects = [
        {"tenant": tenant, "type": type_, "id": name, "properties": json.loads(properties)}
        for tenant, type_, name, properties in (ROWS if rows is None else rows)
    ]
    path.write_text(json.dumps({"version": 1, "subjects": subjects}))
    return DirectoryFile(path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL, if this machine has one."""
    places = binaries()
    if places is None:
        pytest.skip("no PostgreSQL server is installed: `apt-get install postgresql`")
    with postgres(tmp_path_factory.mktemp("postgres"), places) as found:
        yield found


@pytest.fixture(params=["file", "sqlite", "postgresql"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Directory]:
    """The same subjects in each form."""
    found: Directory
    if request.param == "file":
        found = json_file(tmp_path / "d.json")
    elif request.param == "sqlite":
        found = sqlite_file(tmp_path / "d.db")
    else:
        running: Postgres = request.getfixturevalue("server")
        running.fill("subjects", ROWS)
        found = of_postgres(running)
    yield found
    found.close()


def of_postgres(server: Postgres, time_max_s: float = 5.0) -> Directory:
    """As a deployment has it: over TLS, with a password from a file."""
    url = server.url.replace("127.0.0.1", "localhost")
    return open_directory(
        directory_settings(url, Path(), server.password, server.authorities, time_max_s)
    )


def walk(directory: Directory, count: int, place: Place = USERS) -> list[Entry]:
    """All entries, so many at a time."""
    found: list[Entry] = []
    while True:
        page = directory.after(place, found[-1].id if found else "", count, 5.0)
        found += page
        if len(page) < count:
            return found


@pytest.mark.parametrize("count", [1, 3, 100])
def test_every_entry_is_listed_once_in_the_order_of_bytes(directory: Directory, count: int) -> None:
    """Whatever the collation of a column: no page skips one and none repeats one."""
    found = walk(directory, count)
    assert [item.id for item in found] == sorted(NAMES, key=str.encode)
    assert {item.id: dict(item.properties) for item in found} == {
        name: {"n": index} for index, name in enumerate(NAMES)
    }


def test_names_are_compared_byte_by_byte(directory: Directory) -> None:
    """No entry is found by another spelling of its name, type or tenant; none by a pattern."""
    for name in NAMES:
        found = directory.find(USERS, name, 5.0)
        assert found is not None
        assert found.id == name
    for other in ("ALICE", "alice  ", "al%", "%", "_", "E\u0301", "'", "", "alice\0", "\0", "b"):
        assert directory.find(USERS, other, 5.0) is None, other
    for place in (
        Place(Kind.SUBJECT, "default", "USER"),
        Place(Kind.SUBJECT, "DEFAULT", "user"),
        Place(Kind.SUBJECT, "", "user"),
        Place(Kind.SUBJECT, "default", "user\0"),
        Place(Kind.RESOURCE, "default", "user"),
    ):
        assert walk(directory, 3, place) == []


def test_another_tenants_entries_are_never_found(directory: Directory) -> None:
    """The same type and id are another entry for another tenant."""
    acme = Place(Kind.SUBJECT, "acme", "user")
    assert [dict(item.properties) for item in walk(directory, 3, acme)] == [{"theirs": True}]
    mine = directory.find(USERS, "alice", 5.0)
    assert mine is not None
    assert "theirs" not in mine.properties


@pytest.mark.parametrize(
    "hostile", ["' OR '1'='1", "x' UNION SELECT id, '{}' FROM subjects --", "\\"]
)
def test_a_name_is_never_a_part_of_a_query(directory: Directory, hostile: str) -> None:
    """Injected into each place where a caller's text goes, it finds nothing and breaks nothing."""
    assert directory.find(USERS, hostile, 5.0) is None
    assert walk(directory, 2, Place(Kind.SUBJECT, hostile, "user")) == []
    assert walk(directory, 2, Place(Kind.SUBJECT, "default", hostile)) == []
    after = [item.id for item in directory.after(USERS, hostile, 100, 5.0)]
    assert after == sorted(name for name in NAMES if name > hostile)


def test_injection_twin_with_names_in_the_text_of_a_query(tmp_path: Path) -> None:
    """A directory that writes names into its queries gives everything away."""

    class Careless(SqliteDirectory):
        def find(self, place: Place, name: str, time_s: float) -> Entry | None:
            with sqlite3.connect(self._path) as connection:
                query = f"SELECT id, properties FROM subjects WHERE id = '{name}'"  # noqa: S608
                row = connection.execute(query).fetchone()
            return None if row is None else entry(*row)

    sqlite_file(tmp_path / "d.db")
    assert Careless(tmp_path / "d.db").find(USERS, "' OR '1'='1", 5.0) is not None


def test_a_column_that_folds_case_is_compared_by_bytes_all_the_same(tmp_path: Path) -> None:
    """With `COLLATE NOCASE` on each column, `Alice` and `alice` stay two."""
    schema = """CREATE TABLE {kind} (tenant TEXT COLLATE NOCASE, type TEXT COLLATE NOCASE,
      id TEXT COLLATE NOCASE, properties TEXT)"""
    found = sqlite_file(tmp_path / "d.db", schema=schema)
    assert [item.id for item in walk(found, 2)] == sorted(NAMES)


def test_folding_twin_without_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the column's own collation, entries are lost between pages, or other tenants' found."""
    schema = """CREATE TABLE {kind} (tenant TEXT COLLATE NOCASE, type TEXT COLLATE NOCASE,
      id TEXT COLLATE NOCASE, properties TEXT)"""
    found = sqlite_file(tmp_path / "d.db", schema=schema)
    monkeypatch.setattr(tables.DirectoryTables, "_bytes", lambda self, column: column)
    assert [item.id for item in walk(found, 2)] != sorted(NAMES)


WRONG_ROWS = {
    "no JSON": ("default", "user", "x", "{"),
    "a list": ("default", "user", "x", "[]"),
    "a member twice": ("default", "user", "x", '{"a": 1, "a": 2}'),
    "out of range": ("default", "user", "x", '{"a": 9223372036854775808}'),
    "half a character": ("default", "user", "x", '{"a": "\\ud800"}'),
    "too long": ("default", "user", "x", json.dumps({"a": "x" * PROPERTIES_BYTES_MAX})),
    "too long a name": ("default", "user", "x" * 1_025, "{}"),
}


@pytest.mark.parametrize("name", WRONG_ROWS)
def test_an_entry_that_is_wrong_is_an_error_and_not_left_out(tmp_path: Path, name: str) -> None:
    """A list without it would look whole."""
    found = sqlite_file(tmp_path / "d.db", [*ROWS, WRONG_ROWS[name]])
    with pytest.raises(DirectoryError) as caught:
        walk(found, 3)
    assert caught.value.fault is Fault.WRONG
    assert WRONG_ROWS[name][2] not in str(caught.value).split()
    with pytest.raises(DirectoryError):
        found.find(USERS, WRONG_ROWS[name][2], 5.0)


WRONG_FILES = {
    "nothing": "",
    "no JSON": "{",
    "a list": "[]",
    "no version": "{}",
    "another version": '{"version": 2}',
    "true for 1": '{"version": true}',
    "an unknown member": '{"version": 1, "subject": []}',
    "a member twice": '{"version": 1, "version": 1}',
    "no list": '{"version": 1, "subjects": {}}',
    **{
        name: f'{{"version": 1, "subjects": [{entries}]}}'
        for name, entries in {
            "an entry that is none": "7",
            "no type": '{"id": "a"}',
            "no id": '{"type": "user"}',
            "an id that is none": '{"type": "user", "id": 7}',
            "properties that are none": '{"type": "u", "id": "a", "properties": []}',
            "a misspelt field": '{"type": "u", "id": "a", "propertys": {}}',
            "a tenant that is none": '{"type": "u", "id": "a", "tenant": ""}',
            "an entry twice": '{"type": "u", "id": "a"}, {"type": "u", "id": "a"}',
        }.items()
    },
    "nested without end": "[" * 100_000,
    "too long": " " * documents.FILE_BYTES_MAX + "{}",
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_file_that_is_wrong_is_an_error_as_a_whole(tmp_path: Path, name: str) -> None:
    """At the start it is refused, with what to mend; later it is no older file."""
    path = tmp_path / "d.json"
    path.write_text(WRONG_FILES[name])
    with pytest.raises(ConfigurationError, match=r"`search\.directory`"):
        open_directory(DirectorySettings(Form.DOCUMENT, path))
    found = json_file(path)
    assert found.find(USERS, "alice", 1.0) is not None
    path.write_text(WRONG_FILES[name])
    for _ in range(2):
        with pytest.raises(DirectoryError):
            found.find(USERS, "alice", 1.0)
    path.unlink()
    with pytest.raises(DirectoryError, match="no such file"):
        found.find(USERS, "alice", 1.0)


def test_a_file_that_was_exchanged_is_read_with_the_next_question(tmp_path: Path) -> None:
    """Renamed over the old one; the same for SQLite."""
    for make, name in ((json_file, "d.json"), (sqlite_file, "d.db")):
        found: Directory = make(tmp_path / name)
        assert found.find(USERS, "alice", 1.0) is not None
        make(tmp_path / "new", [("default", "user", "zoe", "{}")])
        (tmp_path / "new").rename(tmp_path / name)
        assert found.find(USERS, "alice", 1.0) is None
        assert [item.id for item in walk(found, 5)] == ["zoe"]


@given(st.binary(max_size=200) | st.text(max_size=80).map(str.encode))
def test_any_file_is_refused_or_read(data: bytes) -> None:
    """Never another error than ours."""
    with contextlib.suppress(DirectoryError):
        documents._places(data)


@given(st.text(max_size=30), st.text(max_size=60))
def test_any_entry_is_refused_or_read(name: str, properties: str) -> None:
    """Likewise, for rows of tables."""
    with contextlib.suppress(DirectoryError):
        assert entry(name, properties).id == name


# -- slow, gone, hostile --------------------------------------------------------------------------


ENDLESS = """
CREATE VIEW {kind} AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
SELECT 'default' AS tenant, 'user' AS type, 'a' AS id, '{{}}' AS properties FROM n WHERE i < 0
"""


def test_a_query_without_end_is_ended(tmp_path: Path) -> None:
    """A view that never comes to an end costs the time that it was given, and no more."""
    path = tmp_path / "d.db"
    with sqlite3.connect(path) as connection:
        for kind in Kind:
            connection.execute(ENDLESS.format(kind=kind.value))
    connection.close()
    began = time.monotonic()
    with pytest.raises(DirectoryError) as caught:
        SqliteDirectory(path).find(USERS, "a", 0.2)
    assert caught.value.fault is Fault.SLOW
    assert time.monotonic() - began < 20


def test_sqlite_is_opened_for_reading_only(tmp_path: Path) -> None:
    """A file that is not there is not made, and nothing can be written."""
    with pytest.raises(DirectoryError):
        SqliteDirectory(tmp_path / "none.db").find(USERS, "a", 1.0)
    assert not (tmp_path / "none.db").exists()
    found = sqlite_file(tmp_path / "d.db")
    with pytest.raises(sqlite3.OperationalError, match=r"readonly|read-only"):
        found._open().execute("DELETE FROM subjects")


class Hanging:
    """A directory whose threads wait until they are let go."""

    def __init__(self) -> None:
        self.gone = threading.Event()
        self.asked = 0

    def find(self, place: Place, name: str, time_s: float) -> Entry | None:
        """Waits."""
        self.asked += 1
        self.gone.wait(60)
        return None

    def after(self, place: Place, name: str, count: int, time_s: float) -> list[Entry]:
        """Nothing."""
        return []

    def check(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def test_a_directory_that_hangs_costs_its_threads_and_nothing_else() -> None:
    """Callers are answered in time, no more threads are made, and it recovers."""
    hanging = Hanging()
    telemetry = Telemetry(None, time.time_ns)

    async def scenario() -> None:
        reader = DirectoryReader(hanging, 0.1, telemetry)
        calls = [reader.find(USERS, "a", 5.0) for _ in range(3 * THREADS)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(one) for one in found} == {DirectoryError}
        assert hanging.asked == THREADS
        hanging.gone.set()
        patient = DirectoryReader(hanging, 30.0, telemetry)
        assert await patient.find(USERS, "a", 30.0) is None
        patient.close()
        reader.close()

    asyncio.run(scenario())
    assert telemetry.counters["directory", "slow"] == 3 * THREADS


class Bent(Hanging):
    """A directory that answers what it likes."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names

    def after(self, place: Place, name: str, count: int, time_s: float) -> list[Entry]:
        """What it likes."""
        if self.names == ("breaks",):
            raise ZeroDivisionError(PASSWORD)
        return [Entry(name) for name in self.names]


@pytest.mark.parametrize(
    "names", [("a", "a"), ("b", "a"), ("a",), ("m",), ("n", "o", "p", "q"), ("breaks",)]
)
def test_entries_out_of_order_are_an_error(names: tuple[str, ...]) -> None:
    """Else one could be listed twice, or a search never come to its end."""
    stream = io.StringIO()
    telemetry = Telemetry(stream, time.time_ns)

    async def scenario() -> None:
        reader = DirectoryReader(Bent(*names), 5.0, telemetry)
        with pytest.raises(DirectoryError):
            await reader.after(USERS, "m", 3, 5.0)
        reader.close()

    asyncio.run(scenario())
    telemetry.close()
    assert PASSWORD not in stream.getvalue()


def test_order_twin_without_guard() -> None:
    """A directory in no order is taken as it is by whoever does not look."""
    assert [item.id for item in Bent("b", "a").after(USERS, "m", 3, 5.0)] == ["b", "a"]


# -- PostgreSQL -----------------------------------------------------------------------------------


def fails(directory: Directory, *faults: Fault) -> str:
    """The words of the error that a question ends with."""
    with pytest.raises(DirectoryError) as caught:
        directory.find(USERS, "alice", 1.0)
    assert caught.value.fault in faults
    return str(caught.value)


def test_postgresql_that_stops_answering_is_slow(server: Postgres) -> None:
    """A stopped server, in the middle of a connection that is kept: an error within its time."""
    server.fill("subjects", ROWS)
    found = of_postgres(server, 1.0)
    assert found.find(USERS, "alice", 5.0) is not None
    children = (Path("/proc") / str(server.process.pid) / "task").glob("*/children")
    pids = [
        server.process.pid,
        *(int(pid) for path in children for pid in path.read_text().split()),
    ]

    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        fails(found, Fault.SLOW, Fault.UNREACHABLE)
        assert time.monotonic() - began < 30
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert found.find(USERS, "alice", 5.0) is not None
    found.close()


def test_a_long_statement_is_ended_by_the_server(server: Postgres) -> None:
    """A table that is locked by somebody else: the statement's own time limit ends it."""
    server.fill("subjects", ROWS)
    found = of_postgres(server, 20.0)
    locking = server.connect()
    locking.cursor().execute("LOCK TABLE subjects IN ACCESS EXCLUSIVE MODE")
    began = time.monotonic()
    with pytest.raises(DirectoryError) as caught:
        found.find(USERS, "alice", 0.3)
    assert caught.value.fault is Fault.SLOW
    assert time.monotonic() - began < 15
    locking.rollback()
    locking.close()
    assert found.find(USERS, "alice", 5.0) is not None
    found.close()


def test_postgresql_is_read_only(server: Postgres) -> None:
    """The transaction is, whatever its user may do."""
    server.run("GRANT ALL ON subjects TO pdp")
    found = of_postgres(server)
    assert isinstance(found, tables.PostgresDirectory)
    with (
        found._engine.connect() as connection,
        found._bounded(connection, 5.0),
        pytest.raises(sa.exc.SQLAlchemyError, match="read-only"),
    ):
        connection.execute(sa.text("DELETE FROM subjects"))
    found.close()


def test_secrets_are_in_no_error_and_no_setting(server: Postgres, tmp_path: Path) -> None:
    """A wrong password, and a right one that changed meanwhile: read with each connection."""
    password = tmp_path / "password"
    password.write_text("wrong and hunter2")
    url = server.url
    settings = directory_settings(url, tmp_path, password, None, 5.0)
    assert "hunter2" not in f"{settings} {settings!r}"
    found = open_directory(settings)
    assert "hunter2" not in fails(found, Fault.UNREACHABLE)
    password.write_bytes(server.password.read_bytes())
    server.fill("subjects", ROWS)
    assert found.find(USERS, "alice", 5.0) is not None
    assert read_secret(password) == PASSWORD
    found.close()
    password.unlink()
    assert "password" not in fails(open_directory(settings), Fault.UNREACHABLE)


def test_postgresql_with_another_authority_is_not_asked(server: Postgres, tmp_path: Path) -> None:
    """A server that shows a certificate of somebody else gets no password."""
    others = tmp_path / "others.pem"
    others.write_bytes(ThrowawayAuthority("example.com").bundle_pem)
    url = server.url.replace("127.0.0.1", "localhost")
    fails(
        open_directory(directory_settings(url, tmp_path, server.password, others, 5.0)),
        Fault.UNREACHABLE,
    )
    server.run("ALTER SYSTEM SET ssl = off", "SELECT pg_reload_conf()")
    try:
        # Without TLS there is no answer, and no fallback.
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = of_postgres(server)
            try:
                found.find(USERS, "alice", 5.0)
            except DirectoryError:
                break
            finally:
                found.close()
        else:
            pytest.fail("the directory was read without TLS")
    finally:
        server.run("ALTER SYSTEM RESET ssl", "SELECT pg_reload_conf()")


def test_postgresql_that_is_not_there_does_not_keep_a_pdp_from_starting(tmp_path: Path) -> None:
    """It is asked when somebody searches; until then there is nothing to wait for."""
    found = open_directory(
        directory_settings("postgresql://a@127.0.0.1:1/d", tmp_path, None, None, 1)
    )
    fails(found, Fault.UNREACHABLE)


# -- settings -------------------------------------------------------------------------------------

CA = Path("/ca.pem")
WRONG_SETTINGS: dict[str, tuple[str, Path | None, str]] = {
    "nothing": ("", None, "none that is known"),
    "another database": ("mysql://a@b/c", None, "none that is known"),
    "YAML": ("d.yaml", None, "none that is known"),
    "no path": ("sqlite:", None, "none that is known"),
    "a URL of SQLite": ("sqlite:///d.db", None, "none that is known"),
    "a short name": ("postgres://a@127.0.0.1/d", None, "none that is known"),
    "a password": ("postgresql://a:hunter2@127.0.0.1/d", None, "has a password in it"),
    "no user": ("postgresql://127.0.0.1/d", None, "lacks a user"),
    "no database": ("postgresql://a@127.0.0.1", None, "lacks a user"),
    "options": ("postgresql://a@127.0.0.1/d?sslmode=disable", None, "none that is known"),
    "no port": ("postgresql://a@127.0.0.1:x/d", None, "is no URL"),
    "elsewhere without TLS": ("postgresql://a@db.example.org/d", None, "over TLS only"),
    "a name without TLS": ("postgresql://a@localhost/d", None, "over TLS only"),
    "authorities of a file": ("d.json", CA, "for a PostgreSQL only"),
}


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_settings_that_are_wrong_say_what_to_write(name: str, tmp_path: Path) -> None:
    """And never show a password."""
    text, authorities, says = WRONG_SETTINGS[name]
    with pytest.raises(ConfigurationError, match=says) as caught:
        directory_settings(text, tmp_path, None, authorities, 1.0)
    assert "hunter2" not in str(caught.value)


def test_settings_that_are_right(tmp_path: Path) -> None:
    """Paths count from the folder of the configuration."""

    def make(text: str) -> DirectorySettings:
        authorities = CA if text.startswith("postgresql") else None
        return directory_settings(text, tmp_path, None, authorities, 1.0)

    assert make("d.json") == DirectorySettings(Form.DOCUMENT, tmp_path / "d.json", time_max_s=1.0)
    assert make("sqlite:d.db").path == tmp_path / "d.db"
    found = make("postgresql://a%40b@db.example.org:6432/d")
    assert (found.user, found.host, found.port, found.database) == (
        "a@b", "db.example.org", 6_432, "d",
    )  # fmt: skip
