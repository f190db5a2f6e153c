"""Providers of attributes: asked over HTTPS, in SQL and in Python; slow, down, wrong or hostile."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.boundary import InputLimits
from pdp.clock import Clock
from pdp.errors import ConfigurationError
from pdp.fetched import Fetched, FetchOutcome
from pdp.fetching import Asked, Unconfigured
from pdp.providers.answers import Answers, Moment
from pdp.providers.asking import ProviderError
from pdp.providers.breaker import Breaker, Bulkhead
from pdp.providers.desk import Counter, ProviderDesk
from pdp.providers.in_python import PythonProvider
from pdp.providers.opening import open_providers
from pdp.providers.over_http import HttpProvider, answer_of
from pdp.providers.over_sql import SqlProvider
from pdp.providers.settings import (
    HttpSource,
    ProviderSettings,
    ProvidersSettings,
    PythonSource,
    SqlSource,
    check_sources,
)
from pdp.schema import Target
from pdp.telemetry import Telemetry
from pdp.values import NANOS, Timestamp, canonical
from tests.simulators.attribute_services import AttributeService, attribute_service, service_process
from tests.simulators.decision_points import HandClock, ShiftedClock

DIGEST = bytes(32)
ASKED = Asked("hr", "default", Target.SUBJECT, "user", "ana", ("grade", "suspended"), 30, 7, DIGEST)
SAID = {"grade": "a", "suspended": False}
# Far more than anything here takes, on a busy machine; what would take for ever takes longer.
LONG_S = 20.0


@pytest.fixture
def service(tmp_path: Path) -> Iterator[AttributeService]:
    """An honest service over HTTPS."""
    with attribute_service(tmp_path) as running:
        yield running


def failure(ask: Callable[[], object]) -> FetchOutcome:
    """What asking came to, which was no answer."""
    with pytest.raises(ProviderError) as caught:
        ask()
    return caught.value.outcome


# -- HTTPS -----------------------------------------------------------------------------------


def test_a_service_is_asked_over_https(service: AttributeService, tmp_path: Path) -> None:
    """One GET, with the id in its place and the token that is in the file now."""
    token = tmp_path / "token"
    token.write_text("abc.def\n")
    provider = HttpProvider(service.source("/{tenant}/{type}/{id}?of={id}", token_file=token))
    assert provider.ask(ASKED, LONG_S) == service.behaviour.says
    assert service.behaviour.seen == ["/default/user/ana?of=ana"]
    assert service.behaviour.headers["Authorization"] == "Bearer abc.def"
    token.write_text("new")
    provider.ask(ASKED, LONG_S)
    assert service.behaviour.headers["Authorization"] == "Bearer new"
    token.write_text("a\r\nHost: other")
    assert failure(lambda: provider.ask(ASKED, LONG_S)) is FetchOutcome.DOWN
    token.unlink()
    assert failure(lambda: provider.ask(ASKED, LONG_S)) is FetchOutcome.DOWN
    assert len(service.behaviour.seen) == 2


MODES = {
    "404": FetchOutcome.UNKNOWN,
    "500": FetchOutcome.DOWN,
    "503": FetchOutcome.DOWN,
    "429": FetchOutcome.DOWN,
    "401": FetchOutcome.DOWN,
    "403": FetchOutcome.DOWN,
    "204": FetchOutcome.WRONG,
    "400": FetchOutcome.WRONG,
    "redirects": FetchOutcome.WRONG,
    "cuts": FetchOutcome.DOWN,
    "huge": FetchOutcome.WRONG,
    "endless": FetchOutcome.WRONG,
    "compressed": FetchOutcome.WRONG,
    "text": FetchOutcome.WRONG,
}


@pytest.mark.parametrize("mode", MODES)
def test_a_service_that_does_not_answer_well_says_nothing(
    service: AttributeService, mode: str
) -> None:
    """Each way to fail has its outcome, and none is a value."""
    service.behaviour.mode = mode
    provider = HttpProvider(service.source())
    assert failure(lambda: provider.ask(ASKED, LONG_S)) is MODES[mode]


@pytest.mark.parametrize("mode", ["drips", "hangs"])
def test_a_service_that_drips_is_as_late_as_one_that_hangs(
    service: AttributeService, mode: str
) -> None:
    """The whole exchange has one deadline: bytes that come do not extend it."""
    service.behaviour.mode = mode
    service.behaviour.says = {"grade": "a" * 400}
    provider = HttpProvider(service.source())
    began = time.monotonic()
    assert failure(lambda: provider.ask(ASKED, 0.3)) is FetchOutcome.LATE
    # Dripping all of it would take 20 s; hanging, 10 s.
    assert time.monotonic() - began < 5


def test_a_redirect_to_another_host_is_not_followed(
    service: AttributeService, tmp_path: Path
) -> None:
    """Wherever a service points, nobody else hears of the question."""
    other_folder = tmp_path / "other"
    with attribute_service(other_folder) as other:
        service.behaviour.mode = "redirects"
        service.behaviour.elsewhere = f"https://localhost:{other.port}/users/ana"
        provider = HttpProvider(service.source())
        assert failure(lambda: provider.ask(ASKED, LONG_S)) is FetchOutcome.WRONG
        assert other.behaviour.seen == []


def test_a_service_that_cannot_prove_its_name_is_not_believed(
    service: AttributeService, tmp_path: Path
) -> None:
    """Another authority, or another name, is no answer."""
    with attribute_service(tmp_path / "other") as other:
        wrong = HttpProvider(service.source(ca_bundle=other.ca_bundle))
        assert failure(lambda: wrong.ask(ASKED, LONG_S)) is FetchOutcome.DOWN
    url = f"https://127.0.0.2:{service.port}/users/{{id}}"
    named = HttpProvider(HttpSource(url, service.ca_bundle))
    assert failure(lambda: named.ask(ASKED, LONG_S)) is FetchOutcome.DOWN
    assert service.behaviour.seen == []


BODIES = [
    b"", b"null", b"[]", b"1", b"{", b"{}x", b"\xff", b'{"a": NaN}', b'{"a": Infinity}',
    b'{"grade": "a", "grade": "b"}', b'{"grade": "\\ud800"}', b'{"a": ' + b"9" * 5_000 + b"}",
    b'{"a": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_an_answer_that_is_not_json_with_one_meaning_is_wrong(
    service: AttributeService, body: bytes
) -> None:
    """What two readers could read differently is no value."""
    service.behaviour.mode, service.behaviour.body = "raw", body
    provider = HttpProvider(service.source())
    assert failure(lambda: provider.ask(ASKED, LONG_S)) is FetchOutcome.WRONG


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40) | st.just(".."))
@settings(max_examples=300, deadline=None)
def test_no_id_leads_out_of_its_place_in_the_url(tmp_path_factory: Any, name: str) -> None:
    """Whatever an id is, it is one segment of the path, and the host is the operator's."""
    provider = _provider(tmp_path_factory)
    asked = replace(ASKED, id=name, tenant=name)
    if name in {".", ".."}:
        assert failure(lambda: provider._filled(asked)) is FetchOutcome.UNKNOWN
        return
    target = provider._filled(asked)
    assert target.isascii()
    assert target.isprintable()
    path, _, query = target.partition("?")
    assert path.split("/")[:3] == ["", "v1", "users"]
    assert unquote(path.split("/")[3]) == name
    assert len(path.split("/")) == 4
    key, _, value = query.partition("=")
    assert (key, unquote(value)) == ("t", name)
    assert not {"#", "&", " ", "?"} & set(value)


def _provider(factory: Any, known: list[HttpProvider] = []) -> HttpProvider:  # noqa: B006 made once
    if not known:
        folder = factory.mktemp("authority")
        with attribute_service(folder) as running:
            source = running.source("/v1/users/{id}?t={tenant}")
        known.append(HttpProvider(source))
    return known[0]


def test_without_encoding_an_id_would_choose_the_path(
    service: AttributeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: an id that is put into the URL as it is asks for something else."""
    monkeypatch.setattr("pdp.providers.over_http.quote", lambda text, safe="": text)
    HttpProvider(service.source("/users/{id}/hr")).ask(replace(ASKED, id="x/all?y="), LONG_S)
    assert service.behaviour.seen == ["/users/x/all?y=/hr"]


_JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(
    st.binary(max_size=200)
    | st.dictionaries(st.sampled_from(["grade", "suspended", "x"]), _JSONISH).map(
        lambda value: json.dumps(value).encode()
    )
)
@settings(max_examples=400, deadline=None)
def test_no_answer_is_anything_but_values_within_the_limits_or_a_failure(data: bytes) -> None:
    """Whatever the bytes: plain values of attributes that were asked for, or WRONG."""
    counter = Counter(
        ProviderSettings("hr", PythonSource("x")), Says(), InputLimits(), HandClock(), QUIET
    )
    try:
        found = counter._judged(ASKED, answer_of(data, 65_536))
    except ProviderError as error:
        wrong = error.outcome is FetchOutcome.WRONG
        assert wrong, error  # noqa: PT017 any other exception fails the test
        return
    assert found.keys() <= set(ASKED.attributes)
    canonical(found)


# -- SQL -------------------------------------------------------------------------------------

STATEMENT = "SELECT grade, suspended, roles FROM users WHERE tenant = :tenant AND id = :id"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A real SQLite file."""
    path = tmp_path / "hr.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (tenant, id, grade, suspended, roles, seen)")
        rows = [
            ("default", "ana", "a", 0, '["clerk", "chief"]', 1.5),
            ("default", "bo", "b", 1, "[]", 2.5),
            ("other", "ana", "z", 1, "[]", 3.5),
            ("default", "twin", "a", 0, "[]", 0.0),
            ("default", "twin", "b", 1, "[]", 0.0),
            ("default", "odd", "a", 2, "not json", 0.0),
            ("default", "tricky", "a", 0, '1, "other": 2', 0.0),
            ("default", "nil", None, None, None, None),
        ]
        connection.executemany("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.close()
    return path


def sql(path: Path, statement: str = STATEMENT, **changes: Any) -> SqlProvider:
    """A provider in it."""
    source = SqlSource(
        f"sqlite:///{path}", statement, booleans=("suspended",), json=("roles",), **changes
    )
    return SqlProvider(source, 4, 2.0)


ROW = replace(ASKED, attributes=("grade", "roles", "suspended"))


def test_a_row_is_what_a_database_says(database: Path) -> None:
    """Columns by name; 0 and 1 are truth values, and text is JSON, where the operator says so."""
    provider = sql(database)
    assert provider.ask(ROW, LONG_S) == {
        "grade": "a", "suspended": False, "roles": ["clerk", "chief"],
    }  # fmt: skip
    assert provider.ask(replace(ROW, tenant="other"), LONG_S)["grade"] == "z"
    assert provider.ask(replace(ROW, id="nil"), LONG_S) == dict.fromkeys(ROW.attributes)
    provider.close()


@pytest.mark.parametrize(
    ("who", "outcome"),
    [
        ("nobody", FetchOutcome.UNKNOWN),
        ("twin", FetchOutcome.WRONG),
        ("odd", FetchOutcome.WRONG),
        ("tricky", FetchOutcome.WRONG),
    ],
)
def test_no_row_two_rows_and_odd_rows_say_nothing(
    database: Path, who: str, outcome: FetchOutcome
) -> None:
    """Which of two rows is meant, nobody guesses; 2 is no truth value."""
    provider = sql(database)
    assert failure(lambda: provider.ask(replace(ROW, id=who), LONG_S)) is outcome
    provider.close()


INJECTIONS = [
    "ana' OR '1'='1", "' UNION SELECT 'a', 0, '[]' --", "ana'; DROP TABLE users; --", "%", "ana\0",
    '" OR ""="', ":id", "ana/*", "\\'; --", "ana) OR (1=1",
]  # fmt: skip


@pytest.mark.parametrize("name", INJECTIONS)
def test_an_id_is_never_part_of_the_statement(database: Path, name: str) -> None:
    """It is a value of a parameter: no such user, and the table is as it was."""
    provider = sql(database)
    assert failure(lambda: provider.ask(replace(ROW, id=name), LONG_S)) is FetchOutcome.UNKNOWN
    assert failure(lambda: provider.ask(replace(ROW, tenant=name), LONG_S)) is FetchOutcome.UNKNOWN
    assert provider.ask(ROW, LONG_S)["grade"] == "a"
    provider.close()


def test_an_id_in_the_text_of_a_statement_would_be_noticed(database: Path) -> None:
    """Twin: the same ids, written into the text, find somebody."""
    with sqlite3.connect(database) as connection:
        text = f"SELECT grade FROM users WHERE id = '{INJECTIONS[0]}'"  # noqa: S608 the attack
        assert len(connection.execute(text).fetchall()) > 1
    connection.close()


def test_a_provider_changes_nothing_in_a_database(database: Path) -> None:
    """The file is opened for reading, and told so once more."""
    provider = sql(database)
    with provider._engine.connect() as connection, pytest.raises(Exception, match=r"readonly"):
        connection.exec_driver_sql("DELETE FROM users")
    provider.close()
    with pytest.raises(ConfigurationError, match="there is no file"):
        sql(database.parent / "none.sqlite")
    assert not (database.parent / "none.sqlite").exists()


def test_a_query_that_runs_on_is_ended(database: Path) -> None:
    """A statement without end is late, and its connection answers the next question."""
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT max(i) AS grade FROM n WHERE :id = :id"
    )
    provider = SqlProvider(SqlSource(f"sqlite:///{database}", endless), 1, 2.0)
    began = time.monotonic()
    for _ in range(2):
        assert failure(lambda: provider.ask(ASKED, 0.2)) is FetchOutcome.LATE
    assert time.monotonic() - began < LONG_S
    provider.close()


def test_a_locked_database_is_down_or_late(database: Path) -> None:
    """A writer that holds the file makes no value."""
    holder = sqlite3.connect(database, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    provider = SqlProvider(SqlSource(f"sqlite:///{database}", STATEMENT), 1, 0.05)
    assert failure(lambda: provider.ask(ROW, 0.05)) in {FetchOutcome.DOWN, FetchOutcome.LATE}
    holder.rollback()
    holder.close()
    provider.close()


@pytest.mark.parametrize(
    ("url", "statement"),
    [
        ("sqlite:///{}", "SELECT grade FROM users WHERE id = 'ana'"),
        ("sqlite:///{}", "SELECT grade FROM users WHERE id = :id AND grade = :grade"),
        ("sqlite:///{}", "DELETE FROM users WHERE id = :id"),
        ("sqlite:///{}", "PRAGMA table_info(users)"),
        ("sqlite:///relative.sqlite", STATEMENT),
        ("sqlite://", STATEMENT),
        ("sqlite:///{}?mode=rwc", STATEMENT),
        ("mysql://hunter2@host/db", STATEMENT),
        ("postgresql+pg8000://pdp:hunter2@db.example.org/hr", STATEMENT),
        ("hunter2", STATEMENT),
    ],
)
def test_a_database_that_is_half_configured_is_refused(
    database: Path, url: str, statement: str
) -> None:
    """A statement about nobody, one that writes, a file that could be made, a plain network."""
    with pytest.raises(ConfigurationError) as caught:
        SqlProvider(SqlSource(url.format(database), statement), 1, 1.0)
    assert "hunter2" not in str(caught.value)


def test_times_of_a_database_have_a_zone(database: Path) -> None:
    """A moment is one; a time without a zone is wrong, and so is what is no value at all."""
    import datetime as dt
    import decimal

    provider = sql(database)
    moment = dt.datetime(2026, 11, 26, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    found = provider._value("grade", moment)
    assert found == Timestamp(1_795_651_200 * NANOS)
    assert failure(lambda: provider._value("grade", dt.datetime(2026, 11, 26))) is (  # noqa: DTZ001
        FetchOutcome.WRONG
    )
    counter = Counter(
        ProviderSettings("hr", PythonSource("x")), Says(), InputLimits(), HandClock(), QUIET
    )
    for odd in (decimal.Decimal(1), dt.date(2026, 1, 1), object(), float("nan"), 2**64):
        assert failure(lambda odd=odd: counter._judged(ASKED, {"grade": odd})) is (  # type: ignore[misc]
            FetchOutcome.WRONG
        )
    provider.close()


# -- Python ----------------------------------------------------------------------------------

PACKAGE = """
import time
def look_up(asked, seconds):
    return {"ana": {"grade": asked.type}, "bo": None, "cy": [1]}[asked.id]
def slow(asked, seconds):
    raise TimeoutError
NOT_A_FUNCTION = 5
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed distribution with entry points."""
    (tmp_path / "directory_of_tests.py").write_text(PACKAGE)
    info = tmp_path / "directory_of_tests-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: directory-of-tests\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[portcullis.providers]\n"
        "directory = directory_of_tests:look_up\n"
        "slow = directory_of_tests:slow\n"
        "number = directory_of_tests:NOT_A_FUNCTION\n"
        "gone = directory_of_tests:gone\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("directory_of_tests", None)


@pytest.mark.usefixtures("package")
def test_a_function_of_an_installed_package_is_asked() -> None:
    """By its entry point; None is nobody, an exception is a failure."""
    provider = PythonProvider(PythonSource("directory"))
    assert provider.ask(ASKED, 1.0) == {"grade": "user"}
    for who, outcome in (
        ("bo", FetchOutcome.UNKNOWN),
        ("cy", FetchOutcome.WRONG),
        ("dan", FetchOutcome.DOWN),
    ):
        asked = replace(ASKED, id=who)
        assert failure(lambda asked=asked: provider.ask(asked, 1.0)) is outcome  # type: ignore[misc]
    slow = PythonProvider(PythonSource("slow"))
    assert failure(lambda: slow.ask(ASKED, 1.0)) is FetchOutcome.LATE


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("name", ["none", "number", "gone"])
def test_an_entry_point_that_is_none_is_refused_at_the_start(name: str) -> None:
    """A PDP that could not ask does not start."""
    with pytest.raises(ConfigurationError):
        PythonProvider(PythonSource(name))


# -- settings --------------------------------------------------------------------------------

URLS = [
    "http://hr/{id}", "https://hr/users", "https:///{id}", "https://{id}.hr/x", "https://hr/{name}",
    "https://u:hunter2@hr/{id}", "https://hr/{id}#x", "https://hr/{id", "https://hr/{{id}}",
    "https://hr/ {id}", "https://hr:x/{id}", "ftp://hr/{id}", "{id}", "https://hr/{id}\n",
]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_a_url_that_could_lead_elsewhere_is_refused(url: str) -> None:
    """TLS, a fixed host, and an id in its place."""
    with pytest.raises(ConfigurationError) as caught:
        HttpSource(url, Path("ca.pem"))
    assert "hunter2" not in str(caught.value) or "user" in str(caught.value)


def test_providers_have_names_tenants_and_files_that_can_be_used(
    tmp_path: Path, database: Path
) -> None:
    """Each is refused by itself, all are named by the provider."""
    source = SqlSource(f"sqlite:///{database}", STATEMENT)
    for bad in ({"name": "HR"}, {"name": ""}, {"tenants": ()}, {"tenants": ("a", "a")}):
        with pytest.raises(ConfigurationError):
            ProviderSettings(**{"name": "hr", "source": source, **bad})  # type: ignore[arg-type]
    one = ProviderSettings("hr", source, ("a", "b"))
    with pytest.raises(ConfigurationError, match="two providers `hr` of `b`"):
        check_sources([one, replace(one, tenants=("b",))])
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    broken = ProviderSettings("hr", HttpSource("https://hr/{id}", empty))
    clock = ShiftedClock()
    with pytest.raises(ConfigurationError, match="provider `hr`: `ca_bundle`"):
        open_providers(ProvidersSettings((broken,)), InputLimits(), clock, QUIET)
    assert open_providers(ProvidersSettings(), InputLimits(), clock, QUIET) is None
    desk = open_providers(ProvidersSettings((one,)), InputLimits(), clock, QUIET)
    assert desk is not None
    desk.close()


# -- asking in time --------------------------------------------------------------------------

QUIET = Telemetry(None, lambda: 0)


@dataclass
class Says:
    """Something to ask that counts, and can be held."""

    says: Mapping[str, Any] = field(default_factory=lambda: dict(SAID))
    problem: Exception | None = None
    hold: threading.Event | None = None
    asked: list[Asked] = field(default_factory=list)
    closed: int = 0

    def ask(self, asked: Asked, seconds: float) -> Mapping[str, Any]:
        """As `Answering`."""
        self.asked.append(asked)
        if self.hold is not None:
            self.hold.wait(LONG_S)
        if self.problem is not None:
            raise self.problem
        return self.says

    def close(self) -> None:
        """As `Answering`."""
        self.closed += 1


def desk_of(
    says: Says,
    clock: Clock | None = None,
    *,
    telemetry: Telemetry | None = None,
    failure_s: float = 0.5,
    **changes: Any,
) -> ProviderDesk:
    """A desk with `hr` for two tenants."""
    clock = clock or ShiftedClock()
    how = ProviderSettings(
        **{"name": "hr", "source": PythonSource("x"), "timeout_s": LONG_S, **changes}
    )
    counter = Counter(how, says, InputLimits(), clock, telemetry or QUIET)
    answers = Answers(1 << 20, failure_s, clock.monotonic)
    names = {("default", "hr"): counter, ("other", "hr"): counter}
    return ProviderDesk(names, answers, 0.05, clock, telemetry or QUIET)


async def one(desk: ProviderDesk, asked: Asked = ASKED, seconds: float = LONG_S) -> Fetched:
    """What one question comes to."""
    clock = desk._clock
    return (await desk.fetch([asked], clock.monotonic() + seconds))[asked]


async def until(ready: Callable[[], object]) -> None:
    """Until something has happened in a thread."""
    while not ready():  # noqa: ASYNC110 threads set no event of this loop
        await asyncio.sleep(0.001)


async def answers(desk: ProviderDesk, ids: Iterator[Asked]) -> None:
    """Until a provider answers."""
    for asked in ids:
        if (await one(desk, asked)).outcome is FetchOutcome.FETCHED:
            return
        await asyncio.sleep(0.05)


def test_a_herd_asks_once() -> None:
    """Two hundred callers who ask the same wait for one question."""

    async def run() -> None:
        says = Says(hold=threading.Event())
        desk = desk_of(says)
        herd = [asyncio.create_task(one(desk)) for _ in range(200)]
        await until(lambda: says.asked)
        assert says.hold is not None
        says.hold.set()
        found = await asyncio.gather(*herd)
        assert {each.outcome for each in found} == {FetchOutcome.FETCHED}
        assert len(says.asked) == 1
        assert (await one(desk)).cached
        assert len(says.asked) == 1

    asyncio.run(run())


def test_without_sharing_a_herd_would_ask_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: a flight for each question."""

    async def run() -> None:
        says = Says(hold=threading.Event())
        desk = desk_of(says, concurrent_max=256)

        def alone(self: ProviderDesk, asked: Asked, counter: Counter, now: Any) -> Any:
            return asyncio.get_running_loop().create_task(self._fly(asked, counter, now))

        monkeypatch.setattr(ProviderDesk, "_flight", alone)
        herd = [asyncio.create_task(one(desk)) for _ in range(20)]
        await until(lambda: len(says.asked) == 20)
        assert says.hold is not None
        says.hold.set()
        await asyncio.gather(*herd)

    asyncio.run(run())


OTHERS = {
    "tenant": replace(ASKED, tenant="other"),
    "revision": replace(ASKED, revision=8),
    "digest": replace(ASKED, digest=bytes(31) + b"1"),
    "id": replace(ASKED, id="bo"),
    "type": replace(ASKED, type="robot"),
    "target": replace(ASKED, target=Target.RESOURCE),
    "attributes": replace(ASKED, attributes=("grade",)),
}


@pytest.mark.parametrize("what", OTHERS)
def test_an_answer_is_kept_for_the_same_question_only(what: str) -> None:
    """Tenants, bundles, types and ids do not share answers: one cannot poison another's."""

    async def run() -> None:
        says = Says()
        desk = desk_of(says)
        await one(desk)
        says.says = {"grade": "z", "suspended": True}
        found = await one(desk, OTHERS[what])
        assert not found.cached
        assert found.values["grade"] == "z"
        assert (await one(desk)).values["grade"] == "a"
        assert len(says.asked) == 2

    asyncio.run(run())


def test_an_answer_kept_by_less_than_the_whole_question_would_be_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twin: kept by the id alone, one tenant's answer is another's."""

    async def run() -> None:
        says = Says()
        desk = desk_of(says)
        monkeypatch.setattr(Asked, "__hash__", lambda self: hash(self.id))
        monkeypatch.setattr(Asked, "__eq__", lambda self, other: self.id == other.id)
        await one(desk)
        assert (await one(desk, OTHERS["tenant"])).cached

    asyncio.run(run())


def test_an_answer_is_too_old_by_either_clock() -> None:
    """Kept for as long as the bundle says, from when it was asked; no clock extends that."""

    async def run() -> None:
        clock, says = HandClock(), Says()
        desk = desk_of(says, clock)
        await one(desk)
        clock.seconds, clock.wall = clock.seconds + 29, clock.wall + 29 * NANOS
        assert (await one(desk)).cached
        clock.seconds += 1
        assert not (await one(desk)).cached
        # The machine slept: one clock stood still.
        clock.wall += 31 * NANOS
        assert not (await one(desk)).cached
        # The other was set back.
        clock.wall -= 3_600 * NANOS
        assert not (await one(desk)).cached
        assert len(says.asked) == 4

    asyncio.run(run())


def test_what_may_not_be_kept_is_asked_anew_and_once_for_all_of_a_batch() -> None:
    """`max_age_s: 0`."""

    async def run() -> None:
        says = Says()
        desk = desk_of(says)
        asked = replace(ASKED, max_age_s=0)
        for number in (1, 2, 3):
            assert not (await one(desk, asked)).cached
            assert len(says.asked) == number
        await desk.fetch([asked, asked], desk._clock.monotonic() + LONG_S)
        assert len(says.asked) <= 5

    asyncio.run(run())


@pytest.mark.parametrize(
    "problem",
    [
        ProviderError(FetchOutcome.UNKNOWN, "no row"),
        ProviderError(FetchOutcome.DOWN, "x"),
        ProviderError(FetchOutcome.WRONG, "x"),
        ProviderError(FetchOutcome.LATE, "x"),
        ZeroDivisionError(),
    ],
)
def test_a_failure_is_kept_for_a_moment_and_stays_a_failure(problem: Exception) -> None:
    """It protects the provider; nobody becomes unknown or absent by it, and it ends."""

    async def run() -> None:
        clock, says = HandClock(), Says(problem=problem)
        desk = desk_of(says, clock)
        first = await one(desk)
        again = await one(desk)
        assert first.outcome is again.outcome is not FetchOutcome.FETCHED
        assert again.cached
        assert dict(again.values) == {}
        says.problem = None
        clock.seconds += 0.5
        assert (await one(desk)).outcome is FetchOutcome.FETCHED
        assert len(says.asked) == 2

    asyncio.run(run())


def test_a_provider_that_is_slow_is_late_within_the_time_that_is_left() -> None:
    """The caller's time, less what is kept back for the decision, ends the waiting."""

    async def run() -> None:
        says = Says(hold=threading.Event())
        desk = desk_of(says)
        began = time.monotonic()
        assert (await one(desk, seconds=0.3)).outcome is FetchOutcome.LATE
        assert time.monotonic() - began < 0.3
        assert (await one(desk, replace(ASKED, id="bo"), 0.05)).outcome is FetchOutcome.LATE
        assert len(says.asked) == 1
        # The flight goes on, and serves whoever has more time.
        waiting = asyncio.create_task(one(desk))
        await asyncio.sleep(0)
        assert says.hold is not None
        says.hold.set()
        assert (await waiting).outcome is FetchOutcome.FETCHED
        assert len(says.asked) == 1

    asyncio.run(run())


def test_a_caller_who_gives_up_does_not_take_the_answer_from_others() -> None:
    """Cancellation ends the waiting, not the flight."""

    async def run() -> None:
        says = Says(hold=threading.Event())
        desk = desk_of(says)
        first, second = asyncio.create_task(one(desk)), asyncio.create_task(one(desk))
        await until(lambda: says.asked)
        first.cancel()
        assert says.hold is not None
        says.hold.set()
        assert (await second).outcome is FetchOutcome.FETCHED

    asyncio.run(run())


def test_a_provider_has_so_many_questions_at_once_and_no_more() -> None:
    """A thread that does not come back keeps its place; the others are not asked, at once."""

    async def run() -> None:
        says = Says(hold=threading.Event())
        desk = desk_of(says, concurrent_max=3, timeout_s=0.1, failures_max=100)
        asked = [replace(ASKED, id=str(number)) for number in range(5)]
        found = await desk.fetch(asked, desk._clock.monotonic() + LONG_S)
        outcomes = [found[each].outcome for each in asked]
        assert outcomes.count(FetchOutcome.LATE) == 3
        assert outcomes.count(FetchOutcome.BUSY) == 2
        assert (await one(desk, replace(ASKED, id="next"))).outcome is FetchOutcome.BUSY
        assert len(says.asked) == 3
        assert says.hold is not None
        says.hold.set()
        late = replace(ASKED, id="later")
        await until(lambda: desk._counters["default", "hr"]._bulkhead._left == 3)
        assert (await one(desk, late)).outcome is FetchOutcome.FETCHED

    asyncio.run(run())


def test_without_a_bulkhead_threads_would_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: everybody waits in a thread of a provider that is stuck."""

    async def run() -> None:
        says = Says(hold=threading.Event())
        desk = desk_of(says, concurrent_max=1, timeout_s=0.1, failures_max=100)
        monkeypatch.setattr(Bulkhead, "enter", lambda _: True)
        asked = [replace(ASKED, id=str(number)) for number in range(8)]
        await desk.fetch(asked, desk._clock.monotonic() + LONG_S)
        assert len(says.asked) == 8
        assert says.hold is not None
        says.hold.set()

    asyncio.run(run())


def test_a_provider_that_fails_is_left_alone_and_then_tried_once() -> None:
    """After failures in a row nobody waits for it; one question finds out whether it is back."""

    async def run() -> None:
        clock, says = HandClock(), Says(problem=ProviderError(FetchOutcome.DOWN, "x"))
        telemetry = Telemetry(None, clock.wall_ns)
        desk = desk_of(says, clock, telemetry=telemetry, failures_max=3, rest_s=2.0, failure_s=0)
        for _ in range(3):
            assert (await one(desk)).outcome is FetchOutcome.DOWN
        for _ in range(5):
            assert (await one(desk)).outcome is FetchOutcome.BUSY
        assert len(says.asked) == 3
        clock.seconds += 2
        assert (await one(desk)).outcome is FetchOutcome.DOWN
        assert (await one(desk)).outcome is FetchOutcome.BUSY
        clock.seconds += 2
        says.problem = None
        assert (await one(desk)).outcome is FetchOutcome.FETCHED
        assert (await one(desk, OTHERS["id"])).outcome is FetchOutcome.FETCHED
        assert telemetry.counters["providers", "DOWN"] == 4
        assert telemetry.counters["providers", "BUSY"] == 6

    asyncio.run(run())


def test_while_one_question_tries_a_provider_no_other_does() -> None:
    """A herd that waited for it to rest does not run into it."""
    clock = HandClock()
    breaker = Breaker(1, 2.0, clock.monotonic)
    assert breaker.admits()
    breaker.note(answered=False)
    assert not breaker.admits()
    clock.seconds += 2
    assert [breaker.admits() for _ in range(3)] == [True, False, False]
    breaker.note(answered=True)
    assert [breaker.admits() for _ in range(3)] == [True, True, True]


@pytest.mark.parametrize("outcome", [FetchOutcome.UNKNOWN, FetchOutcome.WRONG])
def test_asking_about_one_broken_subject_does_not_cut_off_the_others(
    outcome: FetchOutcome,
) -> None:
    """What is unknown or wrong about one says nothing of the provider."""

    async def run() -> None:
        says = Says(problem=ProviderError(outcome, "x"))
        desk = desk_of(says, failures_max=2)
        for number in range(10):
            asked = replace(ASKED, id=str(number))
            assert (await one(desk, asked)).outcome is outcome
        says.problem = None
        assert (await one(desk)).outcome is FetchOutcome.FETCHED

    asyncio.run(run())


@pytest.mark.parametrize(
    "says",
    [
        {"grade": "x" * 300_000},
        {"grade": ["x"] * 20_000},
        {"grade": 2**70},
        {"grade": float("inf")},
        {"grade": {"a": {1: 2}}},
        {"grade": b"\xff".decode("latin-1") + "\ud800"},
        {"grade": object()},
    ],
    ids=range(7),
)
def test_what_a_provider_says_is_judged_like_any_other_input(says: Mapping[str, Any]) -> None:
    """Size, range, depth and kinds: a provider is believed no more than a caller."""

    async def run() -> None:
        assert (await one(desk_of(Says(says)))).outcome is FetchOutcome.WRONG

    asyncio.run(run())


def test_a_value_nested_too_deep_is_wrong() -> None:
    """As in a request: 30 levels."""

    async def run() -> None:
        value: Any = "x"
        for _ in range(40):
            value = [value]
        assert (await one(desk_of(Says({"grade": value})))).outcome is FetchOutcome.WRONG

    asyncio.run(run())


def test_only_what_a_provider_owns_is_taken_from_what_it_says() -> None:
    """More in an answer is nothing to anybody, and need not even be a value."""

    async def run() -> None:
        found = await one(desk_of(Says({**SAID, "shoe_size": object(), "roles": ["root"]})))
        assert dict(found.values) == SAID

    asyncio.run(run())


def test_a_tenant_asks_its_own_providers_only() -> None:
    """A bundle cannot name another tenant's provider into its own decisions."""

    async def run() -> None:
        says = Says()
        stranger = replace(ASKED, tenant="stranger")
        assert (await one(desk_of(says), stranger)).outcome is FetchOutcome.UNCONFIGURED
        found = await Unconfigured().fetch([ASKED], 0.0)
        assert found[ASKED].outcome is FetchOutcome.UNCONFIGURED
        assert says.asked == []

    asyncio.run(run())


def test_what_is_kept_is_bounded_in_bytes() -> None:
    """However many ask about however many, the cache keeps to its limit."""
    clock = HandClock()
    answers = Answers(64 << 10, 0.5, clock.monotonic)
    now = Moment(clock.seconds, clock.wall)
    for number in range(1_000):
        fetched = Fetched("hr", FetchOutcome.FETCHED, {"grade": "x" * 100})
        answers.keep(replace(ASKED, id=str(number)), fetched, now)
    assert answers._kept.currsize <= 64 << 10
    assert 10 < len(answers._kept) < 100
    huge = Fetched("hr", FetchOutcome.FETCHED, {"grade": "x" * 100_000})
    answers.keep(ASKED, huge, now)
    assert answers.get(ASKED, now) is None


# -- processes that stop and die -------------------------------------------------------------


def test_a_service_that_is_stopped_killed_or_gone_makes_no_value(tmp_path: Path) -> None:
    """SIGSTOP is late, SIGCONT answers again, SIGKILL is down: in a real process."""

    async def run() -> None:
        with service_process(tmp_path) as running:
            how = running.service.settings(timeout_s=1.0, failures_max=100)
            settings_ = ProvidersSettings((how,), failure_s=0.0)
            desk = open_providers(settings_, InputLimits(), ShiftedClock(), QUIET)
            assert desk is not None
            ids = (replace(ASKED, id=str(number)) for number in range(100))
            await answers(desk, ids)
            running.stop()
            assert (await one(desk, next(ids))).outcome is FetchOutcome.LATE
            running.go_on()
            await answers(desk, ids)
            running.kill()
            assert (await one(desk, next(ids))).outcome is FetchOutcome.DOWN
            desk.close()

    asyncio.run(run())
