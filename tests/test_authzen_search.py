"""AuthZEN's searches: the certification scenario, pages, records and attacks, over real TLS."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp import search
from pdp.admission import Denials
from pdp.audit.batch_entry import single_entries
from pdp.audit.entry import Capture
from pdp.audit.log import ENTRY_BYTES_MAX
from pdp.audit.reading import search_line
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import compile_sources
from pdp.boundary import InputLimits, admit
from pdp.callers import CallerEntry, CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.config.settings import Limits
from pdp.directory.documents import DirectoryFile
from pdp.directory.faults import DirectoryError, Fault
from pdp.directory.reading import Directory
from pdp.directory.records import Entry, Kind, Place
from pdp.directory.tables import SqliteDirectory
from pdp.errors import InvalidRequestError
from pdp.fetched import Fetched, FetchOutcome
from pdp.page_token import PageTokens
from pdp.search import SearchDecisionPoint
from pdp.search_query import UNSUPPLIED, SearchLimits, judged, name_of
from pdp.server.authzen import application
from pdp.server.authzen.head import Head
from pdp.server.authzen.searches import KINDS, query
from pdp.v1 import audit_pb2
from pdp.v1 import authorization_pb2 as pb
from pdp.values import NANOS
from tests.simulators.authzen import (
    CALLERS,
    DIRECTORY,
    EVALUATION,
    AuthzenServer,
    alice,
    asks,
    authzen_server,
    bob,
    record,
    records,
    searching,
)
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.decision_points import PEP as CALLER
from tests.simulators.decision_points import MemoryRecorder, now_snapshot
from tests.simulators.repository import BUNDLE_PATH, POLICIES, archive
from tests.simulators.token_issuer import ISSUER, TokenIssuer, verifier
from tests.test_process import DOCUMENTS, House, house, quick_tree

SUBJECT, RESOURCE, ACTION = (
    f"/access/v1/search/{name}" for name in ("subject", "resource", "action")
)
Scenario = Callable[[AuthzenServer], Awaitable[None]]
__all__ = ["house"]
# Patient: deadlines are not what these tests are about, and the machine is busy.
LIMITS = Limits(deadline_default_s=20.0, deadline_max_s=20.0)


class Memory:
    """A directory in memory, which also counts what it is asked, and fails when told to."""

    def __init__(self, entries: dict[Place, list[Entry]] | None = None) -> None:
        self.entries = entries or {}
        self.asked = 0
        self.began = threading.Event()
        self.fails: Exception | None = None
        self.fails_after = 0
        self.hangs: threading.Event | None = None

    def _ask(self) -> None:
        self.asked += 1
        self.began.set()
        if self.hangs is not None:
            self.hangs.wait(60)
        if self.fails is not None and self.asked > self.fails_after:
            raise self.fails

    def find(self, place: Place, name: str, time_s: float) -> Entry | None:
        """As `Directory.find`."""
        self._ask()
        return next((item for item in self.entries.get(place, []) if item.id == name), None)

    def after(self, place: Place, name: str, count: int, time_s: float) -> list[Entry]:
        """As `Directory.after`."""
        self._ask()
        later = [item for item in self.entries.get(place, []) if item.id > name]
        return sorted(later, key=lambda item: item.id)[:count]

    def check(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def many(users: int, *, tenant: str = "default") -> Memory:
    """One record, and so many users, of whom every third is an admin."""
    subjects = [
        Entry(f"user-{number:04}", {"role": "admin"} if number % 3 == 0 else {})
        for number in range(users)
    ]
    return Memory(
        {
            Place(Kind.SUBJECT, tenant, "user"): subjects,
            Place(Kind.RESOURCE, tenant, "record"): [
                Entry("record-1", {"status": "active"}),
                Entry("record-2", {"status": "archived"}),
            ],
        }
    )


def fixture(folder: Path) -> DirectoryFile:
    """The scenario's."""
    path = folder / "directory.json"
    path.write_text(json.dumps(DIRECTORY))
    return DirectoryFile(path)


def run(
    folder: Path,
    scenario: Scenario,
    directory: Directory | None = None,
    *,
    cost: SearchLimits | None = None,
    secret: bytes | None = None,
    **options: Any,
) -> None:
    """Play a scenario against a server that searches."""
    options = {"limits": LIMITS, **options}

    async def play() -> None:
        made = searching(directory or fixture(folder), cost, secret)
        async with authzen_server(folder, searching=made, **options) as server:
            await scenario(server)

    asyncio.run(play())


async def found(
    server: AuthzenServer, path: str, body: dict[str, Any], **page: Any
) -> dict[str, Any]:
    """A page, which there must be."""
    response = await server.post(path, body | ({"page": page} if page else {}))
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    assert told["page"]["count"] == len(told["results"])
    return told


def names(told: dict[str, Any]) -> list[str]:
    """Of what was found."""
    return [item.get("id", item.get("name")) for item in told["results"]]


async def walk(
    server: AuthzenServer, path: str, body: dict[str, Any], limit: int
) -> list[list[str]]:
    """All pages."""
    pages, token = [], None
    while token != "":
        page = {"limit": limit} if token is None else {"limit": limit, "token": token}
        told = await found(server, path, body, **page)
        pages.append(names(told))
        token = told["page"]["next_token"]
        assert len(pages) < 200
    return pages


USERS = {"subject": {"type": "user"}, "action": {"name": "read"}, "resource": record(1)}
WRITERS = {"subject": {"type": "user"}, "action": {"name": "write"}, "resource": record(2)}

# -- the certification scenario -------------------------------------------------------------------

ROWS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "S1 who can read record-1": (SUBJECT, USERS, ["alice", "bob"]),
    "S2 what alice can read": (
        RESOURCE,
        {"subject": alice(), "action": {"name": "read"}, "resource": {"type": "record"}},
        ["record-1"],
    ),
    "S3 what alice can do to record-1": (
        ACTION,
        {"subject": alice(), "resource": record(1)},
        ["read", "write"],
    ),
    "S4 who can write what is archived": (
        SUBJECT,
        WRITERS | {"resource": record(2, status="archived")},
        ["bob"],
    ),
    "S5 what an admin can write": (
        RESOURCE,
        {"subject": bob(), "action": {"name": "write"}, "resource": {"type": "record"}},
        ["record-2"],
    ),
    "S6 what an admin can do to what is archived": (
        ACTION,
        {"subject": bob(), "resource": record(2, status="archived")},
        ["write"],
    ),
}


def test_certification_every_search_twice(tmp_path: Path) -> None:
    """Every row of the scenario, with a context and without, and the same when asked again."""

    async def scenario(server: AuthzenServer) -> None:
        for name, (path, body, expected) in ROWS.items():
            for more in ({}, {"context": {"ip": "10.0.0.1"}}, {"foo": "bar", "page": {}}):
                told = await found(server, path, body | more)
                assert names(told) == expected, name
                assert told["page"]["next_token"] == ""
                shape = {"name"} if path == ACTION else {"type", "id"}
                assert all(item.keys() - {"context"} == shape for item in told["results"])

    run(tmp_path, scenario)


def test_certification_core_decisions_by_names_alone(tmp_path: Path) -> None:
    """Rules 1 to 4 of the fixture, without properties."""

    async def scenario(server: AuthzenServer) -> None:
        for name, action, permitted in (
            ("alice", "read", True),
            ("alice", "write", True),
            ("bob", "read", True),
            ("bob", "write", False),
        ):
            body = asks({"type": "user", "id": name}, action, record(1))
            assert (await server.post(EVALUATION, body)).json()["decision"] is permitted

    run(tmp_path, scenario)


def test_certification_every_result_evaluates_to_a_permit(tmp_path: Path) -> None:
    """Asked one by one with the directory's attributes, each is permitted, and no other is."""
    path = SUBJECT

    async def scenario(server: AuthzenServer) -> None:
        for action, number in (("read", 1), ("write", 1), ("write", 2), ("shred", 1)):
            status = {1: "active", 2: "archived"}[number]
            body = {
                "subject": {"type": "user"},
                "action": {"name": action},
                "resource": record(number),
            }
            permitted = names(await found(server, path, body))
            for user in (alice(), bob()):
                one = asks(user, action, record(number, status=status))
                decision = (await server.post(EVALUATION, one)).json()["decision"]
                assert decision is (user["id"] in permitted)

    run(tmp_path, scenario)


def test_certification_what_is_searched_for_has_no_name(tmp_path: Path) -> None:
    """An id that is sent all the same is passed over, whatever it is; so is an action."""

    async def scenario(server: AuthzenServer) -> None:
        sent: Any
        for sent in ("bob", "", 7, None, {"x": []}):
            body = USERS | {"subject": {"type": "user", "id": sent}}
            assert names(await found(server, SUBJECT, body)) == ["alice", "bob"]
        body = ROWS["S2 what alice can read"][1] | {"resource": record(2)}
        assert names(await found(server, RESOURCE, body)) == ["record-1"]
        for action in ({"name": "shred"}, {}, 7, None):
            body = ROWS["S3 what alice can do to record-1"][1] | {"action": action}
            assert names(await found(server, ACTION, body)) == ["read", "write"]

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (ACTION, {"subject": {"type": "user", "id": "nonexistent-user"}, "resource": record(1)}),
        (ACTION, {"subject": alice(), "resource": record(9)}),
        (SUBJECT, USERS | {"subject": {"type": "spaceship"}}),
        (SUBJECT, USERS | {"resource": record(9)}),
        (RESOURCE, {"subject": alice(), "action": {"name": "read"}, "resource": {"type": "ship"}}),
        (RESOURCE, ROWS["S2 what alice can read"][1] | {"subject": {"type": "user", "id": "eve"}}),
        (SUBJECT, USERS | {"action": {"name": "paint"}}),
    ],
)
@pytest.mark.parametrize("anything", [False, True])
def test_certification_what_is_unknown_is_an_empty_page(
    tmp_path: Path, path: str, body: dict[str, Any], anything: bool
) -> None:
    """Id or type, and whether or not the caller may ask about it: 200, and nothing in it."""
    entry = CallerEntry(
        id=f"spiffe://{TRUST_DOMAIN}/pep",
        resources=("*",) if anything else ("record",),
        actions=("*",),
        asserts=("*",) if anything else ("user",),
        may=frozenset({"search"}),
    )
    snapshot = now_snapshot(policies={"default": records()[0]}, callers=CallerPolicy((entry,)))

    async def scenario(server: AuthzenServer) -> None:
        told = await found(server, path, body)
        assert (told["results"], told["page"]["next_token"]) == ([], "")
        assert len(server.running.recorder.entries) == 1

    run(tmp_path, scenario, snapshot=snapshot)


MALFORMED: dict[str, tuple[str, Any, str]] = {
    "no action": (SUBJECT, {"subject": {"type": "user"}, "resource": record(1)}, "`action` is req"),
    "no subject": (
        RESOURCE, {"action": {"name": "read"}, "resource": {"type": "record"}}, "`subject` is req",
    ),
    "no resource": (ACTION, {"subject": alice()}, "`resource` is required"),
    "no id of the resource": (
        SUBJECT, USERS | {"resource": {"type": "record"}}, "`resource.id` is required",
    ),
    "no id of the subject": (
        RESOURCE, USERS | {"resource": {"type": "record"}}, "`subject.id` is required",
    ),
    "no type of what is searched for": (SUBJECT, USERS | {"subject": {}}, "`subject.type` is req"),
    "no name of the action": (SUBJECT, USERS | {"action": {}}, "`action.name` is required"),
    "a subject that is none": (SUBJECT, USERS | {"subject": "user"}, "`subject` must be an obj"),
    "a type that is none": (SUBJECT, USERS | {"subject": {"type": 7}}, "`subject.type` must be"),
    "properties of what is searched for": (
        SUBJECT,
        USERS | {"subject": {"type": "user", "properties": {"role": "admin"}}},
        "`subject.properties` must be left out",
    ),
    "a page that is none": (SUBJECT, USERS | {"page": 7}, "`page` must be an object"),
    "a limit of text": (SUBJECT, USERS | {"page": {"limit": "7"}}, "`page.limit` must be"),
    "a limit of 0": (SUBJECT, USERS | {"page": {"limit": 0}}, "`page.limit` must be"),
    "a limit of true": (SUBJECT, USERS | {"page": {"limit": True}}, "`page.limit` must be"),
    "a limit of null": (SUBJECT, USERS | {"page": {"limit": None}}, "`page.limit` must be"),
    "a broken limit": (SUBJECT, USERS | {"page": {"limit": 1.5}}, "`page.limit` must be"),
    "a token that is none": (SUBJECT, USERS | {"page": {"token": 7}}, "`page.token` must be"),
    "a list": (SUBJECT, [], "must be a JSON object"),
}  # fmt: skip


def test_certification_what_is_malformed_is_400_with_the_reason(tmp_path: Path) -> None:
    """Each is refused with a message, and no look into the directory."""
    memory = many(3)

    async def scenario(server: AuthzenServer) -> None:
        for name, (path, body, says) in MALFORMED.items():
            response = await server.post(path, body)
            assert response.status_code == 400, name
            assert says in response.json()["error"]["message"], name
        response = await server.raw(b"{", SUBJECT)
        assert response.status_code == 400
        assert (await server.raw(b"{}", SUBJECT, kind="text/plain")).status_code == 400
        assert memory.asked == 0

    run(tmp_path, scenario, memory)


def test_request_id_goes_back_and_into_the_record(tmp_path: Path) -> None:
    """As with every question."""

    async def scenario(server: AuthzenServer) -> None:
        response = await server.post(SUBJECT, USERS, {"x-request-id": "s-1"})
        assert response.headers["x-request-id"] == "s-1"
        (entry,) = server.running.recorder.entries
        assert entry.request_id == "s-1"

    run(tmp_path, scenario)


def test_metadata_and_paths_are_there_exactly_where_there_is_a_directory(tmp_path: Path) -> None:
    """Without one: no endpoint is named, and nothing is at its path."""

    async def scenario(server: AuthzenServer) -> None:
        async with server.client() as client:
            told = (await client.get("/.well-known/authzen-configuration")).json()
            offered = {key: value for key, value in told.items() if key.startswith("search_")}
            base = told["policy_decision_point"]
            assert offered == {
                "search_subject_endpoint": base + SUBJECT,
                "search_resource_endpoint": base + RESOURCE,
                "search_action_endpoint": base + ACTION,
            }

    async def without() -> None:
        async with authzen_server(tmp_path) as server, server.client() as client:
            told = (await client.get("/.well-known/authzen-configuration")).json()
            assert not [key for key in told if key.startswith("search_")]
            document = (await client.get("/openapi.json")).json()
            assert not [path for path in document["paths"] if "search" in path]
            assert (await client.post(SUBJECT, json=USERS)).status_code == 404

    run(tmp_path, scenario)
    asyncio.run(without())


# -- attributes -----------------------------------------------------------------------------------


def test_what_the_query_says_of_a_thing_replaces_what_the_directory_says(tmp_path: Path) -> None:
    """Property by property; what it does not say is the directory's."""

    async def scenario(server: AuthzenServer) -> None:
        asked = {"subject": {"type": "user", "id": "bob"}, "resource": record(2)}
        # By the directory bob is an admin and record-2 archived.
        assert names(await found(server, ACTION, asked)) == ["write"]
        as_user = asked | {"subject": {"type": "user", "id": "bob", "properties": {"role": "user"}}}
        assert names(await found(server, ACTION, as_user)) == []
        other = asked | {"subject": {"type": "user", "id": "bob", "properties": {"team": "a"}}}
        assert names(await found(server, ACTION, other)) == ["write"]
        active = asked | {"resource": record(2, status="active")}
        assert names(await found(server, ACTION, active)) == ["read"]

    run(tmp_path, scenario)


def test_actions_are_those_of_policies_schemas_and_caller(tmp_path: Path) -> None:
    """A wildcard permits what nobody can list: the answer says so, unless the caller's ends it."""
    policy = """
policy: all
resource: record
owner: tests@example.org
rules:
  - {id: anything, effect: permit, actions: ["*"], justification: test}
  - {id: reports, effect: permit, actions: ["report:*"], justification: test}
  - {id: not-shred, effect: deny, actions: [shred]}
  - {id: not-purge, effect: deny, actions: ["purge:*"]}
"""
    every = """
policy: every
resource: "*"
owner: tests@example.org
rules:
  - {id: look, effect: permit, actions: [look], justification: test}
"""
    callers = """
kind: callers
callers:
  - id: spiffe://{domain}/pep
    resources: [record]
    actions: {actions}
    subjects: {{assert: [user]}}
    may: [search]
"""
    asked = {"subject": alice(), "resource": record(1)}
    for actions, listed, open_ended in (
        ('["*"]', ["look"], ["*", "report:*"]),
        ("[look, shred, edit, 'purge:all']", ["edit", "look"], None),
    ):
        with Checker() as checker:
            sources = {
                "p.yaml": policy.encode(),
                "e.yaml": every.encode(),
                "c.yaml": callers.format(domain=TRUST_DOMAIN, actions=actions).encode(),
            }
            made = compile_sources(sources, checker)
        snapshot = now_snapshot(
            policies={"default": made.policy_set(EvaluationLimits())}, callers=made.callers
        )

        async def scenario(
            server: AuthzenServer,
            listed: list[str] = listed,
            open_ended: list[str] | None = open_ended,
        ) -> None:
            told = await found(server, ACTION, asked)
            assert names(told) == listed
            assert told["context"].get("unlisted_actions") == open_ended

        run(tmp_path, scenario, snapshot=snapshot)


def test_duties_are_on_the_result_that_they_belong_to(tmp_path: Path) -> None:
    """Who cannot meet them leaves that result out."""

    async def scenario(server: AuthzenServer) -> None:
        told = await found(server, SUBJECT, WRITERS)
        (only,) = told["results"]
        assert only["context"]["obligations"] == [
            {"id": "note", "type": "notification", "properties": {"to": "audit", "weight": 1.0}}
        ]

    run(tmp_path, scenario)


# -- pages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 7, 60, 1_000])
def test_pages_together_are_all_results_once(tmp_path: Path, limit: int) -> None:
    """Whatever their size; the last says that it is the last, and no page is over its limit."""
    expected = [f"user-{number:04}" for number in range(0, 70, 3)]

    async def scenario(server: AuthzenServer) -> None:
        pages = await walk(server, SUBJECT, WRITERS, limit)
        assert [name for page in pages for name in page] == expected
        assert all(len(page) <= limit for page in pages)
        assert all(pages[:-1])

    run(tmp_path, scenario, many(70))


def test_a_page_costs_no_more_than_it_may(tmp_path: Path) -> None:
    """Where few of many are permitted, a page ends before it is full, and says so."""
    cost = SearchLimits(page_items_default=5, page_items_max=6, candidates_max=10)
    expected = [f"user-{number:04}" for number in range(0, 40, 3)]

    async def scenario(server: AuthzenServer) -> None:
        told = await found(server, SUBJECT, WRITERS)
        assert names(told) == expected[:4]
        assert told["page"]["next_token"]
        pages = await walk(server, SUBJECT, WRITERS, 1_000)
        assert [name for page in pages for name in page] == expected
        assert len((await found(server, SUBJECT, USERS | {"page": {"limit": 99}}))["results"]) == 6
        assert len((await found(server, SUBJECT, USERS))["results"]) == 5
        for entry in server.running.recorder.entries:
            assert entry.search.decided <= 10

    run(tmp_path, scenario, many(40), cost=cost)


def test_the_end_is_told_only_at_the_end(tmp_path: Path) -> None:
    """As many as fit exactly: no token. One more: a token, and it brings that one."""

    async def scenario(server: AuthzenServer) -> None:
        assert len(await walk(server, SUBJECT, USERS, 64)) == 1
        assert [len(page) for page in await walk(server, SUBJECT, USERS, 63)] == [63, 1]

    run(tmp_path, scenario, many(64))


def test_a_page_ends_where_its_record_is_full(tmp_path: Path) -> None:
    """What was returned is written down whole, so long names make short pages, and lose nothing."""
    long = [Entry(f"{number:03}" + "x" * 1_000) for number in range(150)]
    memory = many(0)
    memory.entries[Place(Kind.SUBJECT, "default", "user")] = long

    async def scenario(server: AuthzenServer) -> None:
        pages = await walk(server, SUBJECT, USERS, 200)
        assert [name for page in pages for name in page] == [entry.id for entry in long]
        assert len(pages) > 2
        for entry in server.running.recorder.entries:
            assert entry.ByteSize() <= ENTRY_BYTES_MAX
            assert not any(item.truncated for item in entry.search.items)

    run(tmp_path, scenario, memory)


def test_a_page_token_is_of_no_use_to_anybody_else_or_for_anything_else(tmp_path: Path) -> None:
    """Another caller, query or search, a bent one, one of another process: all 400, alike."""
    callers = CallerPolicy(
        tuple(
            CallerEntry(
                id=f"spiffe://{TRUST_DOMAIN}/{name}",
                resources=("record",),
                actions=("*",),
                asserts=("user",),
                may=frozenset({"search"}),
            )
            for name in ("pep", "other")
        )
    )
    snapshot = now_snapshot(policies={"default": records()[0]}, callers=callers)

    async def scenario(server: AuthzenServer) -> None:
        told = await found(server, SUBJECT, USERS, limit=3)
        token = told["page"]["next_token"]
        good = USERS | {"page": {"token": token}}
        assert (await server.post(SUBJECT, good)).status_code == 200
        assert (await server.post(SUBJECT, USERS | {"page": {"token": token, "limit": 2}})).json()[
            "results"
        ][0]["id"] == "user-0003"
        stranger = PageTokens(None, 600.0).seal("user-0000", b"", 0)
        bodies: list[tuple[str, dict[str, Any]]] = [
            (SUBJECT, good | {"action": {"name": "write"}}),
            (SUBJECT, good | {"resource": record(2)}),
            (SUBJECT, good | {"resource": record(1, status="active")}),
            (SUBJECT, good | {"context": {"a": 1}}),
            (SUBJECT, good | {"subject": {"type": "User"}}),
            (RESOURCE, good | {"subject": alice(), "resource": {"type": "record"}}),
            (ACTION, {"subject": alice(), "resource": record(1), "page": {"token": token}}),
            *(
                (SUBJECT, USERS | {"page": {"token": bent}})
                for bent in (
                    token[:-4], token + "AAAA", "A" + token[1:], token.swapcase(), stranger,
                    "x", "é", "=", "A" * 2_049, token + "\n", " " + token,
                )
            ),
        ]  # fmt: skip
        messages = set()
        for path, body in bodies:
            response = await server.post(path, body)
            if response.status_code == 200:
                # The caller may not ask about users of that type; nothing was opened.
                assert response.json()["context"]["cause"] == "CALLER"
                continue
            assert response.status_code == 400, body
            messages.add(response.json()["error"]["message"])
        assert len(messages) == 1
        async with server.client(server.running.authority.issue("other")) as client:
            response = await client.post(SUBJECT, json=good)
            assert (response.status_code, response.json()["error"]["message"]) == (400, *messages)

    run(tmp_path, scenario, many(9), snapshot=snapshot)


def test_a_page_token_twin_without_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is not bound to its question opens another one's pages."""
    monkeypatch.setattr(search, "_purpose", lambda run: b"")

    async def scenario(server: AuthzenServer) -> None:
        token = (await found(server, SUBJECT, USERS, limit=3))["page"]["next_token"]
        assert await found(server, SUBJECT, WRITERS, token=token)

    run(tmp_path, scenario, many(9))


def test_a_page_token_tells_nothing_and_ends() -> None:
    """Names of all lengths up to 100 bytes make tokens of one length; none shows its name."""
    tokens = PageTokens(b"k" * 32, 60.0)
    made = [tokens.seal("n" * length, b"q", 1) for length in range(1, 100)]
    assert len({len(token) for token in made}) == 1
    assert len(set(made)) == len(made)
    assert tokens.open(made[4], b"q", 60 * NANOS) == "nnnnn"
    assert len(tokens.seal("\U0001f0a1" * 256, b"q", 1)) <= 2_048
    with pytest.raises(InvalidRequestError, match="has ended"):
        tokens.open(made[4], b"q", 60 * NANOS + 1)
    # The same secret, another process.
    assert PageTokens(b"k" * 32, 60.0).open(made[4], b"q", 1) == "nnnnn"


@given(st.text(max_size=60), st.binary(max_size=9))
def test_any_text_is_no_page_token(text: str, purpose: bytes) -> None:
    """It does not open, and never raises anything else."""
    with pytest.raises(InvalidRequestError):
        PageTokens(b"k" * 32, 60.0).open(text, purpose, 1)


@given(st.text(min_size=1, max_size=200).filter(lambda text: text < "\ud800" or True), st.binary())
def test_a_page_token_opens_to_what_was_sealed(name: str, purpose: bytes) -> None:
    """Every name, for its purpose and no other."""
    tokens = PageTokens(b"k" * 32, 60.0)
    if len(name.encode()) <= 1_024:
        token = tokens.seal(name, purpose, 1)
        assert tokens.open(token, purpose, 1) == name
        with pytest.raises(InvalidRequestError):
            tokens.open(token, purpose + b"x", 1)


# -- who may search -------------------------------------------------------------------------------


def entry(**changes: Any) -> CallerEntry:
    """A caller that may search among records for users."""
    given_: dict[str, Any] = {
        "id": f"spiffe://{TRUST_DOMAIN}/pep",
        "resources": ("record",),
        "actions": ("*",),
        "asserts": ("user",),
        "may": frozenset({"search"}),
    }
    return CallerEntry(**given_ | changes)


@pytest.mark.parametrize(
    "changes", [{"may": frozenset({"batch", "explain"})}, {"id": f"spiffe://{TRUST_DOMAIN}/x"}]
)
def test_who_may_not_search_gets_403_and_no_look_into_the_directory(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Recorded; whatever is asked, and whether it is there or not."""
    memory = many(3)
    snapshot = now_snapshot(
        policies={"default": records()[0]}, callers=CallerPolicy((entry(**changes),))
    )

    async def scenario(server: AuthzenServer) -> None:
        answers = [
            await server.post(path, body)
            for path, body in (
                (SUBJECT, USERS),
                (SUBJECT, USERS | {"subject": {"type": "spaceship"}}),
                *((path, body) for path, body, _ in ROWS.values()),
            )
        ]
        assert {answer.status_code for answer in answers} == {403}
        assert len({answer.content for answer in answers}) == 1
        told = server.running.recorder.entries
        assert {entry.cause for entry in told} == {pb.CAUSE_CALLER}
        assert len(told) == len(answers)
        assert memory.asked == 0

    run(tmp_path, scenario, memory, snapshot=snapshot)


def test_who_may_search_twin_without_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the word in the caller policy, whoever may ask could list."""
    monkeypatch.setattr("pdp.callers.SEARCH", "batch")
    monkeypatch.setattr("pdp.search.SEARCH", "batch")
    snapshot = now_snapshot(
        policies={"default": records()[0]},
        callers=CallerPolicy((entry(may=frozenset({"batch"})),)),
    )

    async def scenario(server: AuthzenServer) -> None:
        assert names(await found(server, SUBJECT, USERS)) == ["alice", "bob"]

    run(tmp_path, scenario, snapshot=snapshot)


def test_a_search_lists_only_what_the_caller_may_ask_about(tmp_path: Path) -> None:
    """Actions, resource types and subject types of its entry; an empty page says which cause."""
    snapshot = now_snapshot(
        policies={"default": records()[0]},
        callers=CallerPolicy((entry(actions=("read",)), entry(resources=("*",), may=frozenset()))),
    )
    memory = many(3)

    async def scenario(server: AuthzenServer) -> None:
        asked = {"subject": {"type": "user", "id": "user-0001"}, "resource": record(1)}
        assert names(await found(server, ACTION, asked)) == ["read"]
        looked = memory.asked
        for path, body in (
            (SUBJECT, WRITERS),
            (SUBJECT, USERS | {"subject": {"type": "machine"}}),
            (SUBJECT, USERS | {"resource": {"type": "invoice", "id": "1"}}),
        ):
            told = await found(server, path, body)
            assert (told["results"], told["context"]["cause"]) == ([], "CALLER")
        assert memory.asked == looked

    run(tmp_path, scenario, memory, snapshot=snapshot)


def test_who_is_denied_at_once_is_in_no_page(tmp_path: Path) -> None:
    """The emergency list holds for what is listed as for what is asked."""
    snapshot = now_snapshot(
        policies={"default": records()[0]},
        callers=CallerPolicy((entry(),)),
        denials=Denials(subjects=frozenset({("user", "alice")})),
    )

    async def scenario(server: AuthzenServer) -> None:
        assert names(await found(server, SUBJECT, USERS)) == ["bob"]
        told = await found(server, ACTION, {"subject": alice(), "resource": record(1)})
        assert (told["results"], told["context"]["cause"]) == ([], "IDENTITY")

    run(tmp_path, scenario, snapshot=snapshot)


def test_a_subject_that_must_be_proved_is_proved(tmp_path: Path) -> None:
    """A token opens searches about its subject, and a search for subjects finds nobody else."""
    now = time.time_ns() // NANOS
    times = {"iat": now - 10, "exp": now + 300}
    good, foreign = TokenIssuer().token(**times), TokenIssuer().token(sub="bob", **times)
    revoked = TokenIssuer().token(jti="gone", **times)
    snapshot = now_snapshot(
        policies={"default": records()[0]},
        callers=CallerPolicy((entry(asserts=None),)),
        denials=Denials(jtis=frozenset({(ISSUER, "gone")})),
    )

    async def scenario(server: AuthzenServer) -> None:
        asked = {"subject": alice(), "resource": record(1)}
        for token, listed in ((good, ["read", "write"]), (foreign, []), (revoked, []), (None, [])):
            headers = {} if token is None else {"authorization": f"Bearer {token}"}
            told = (await server.post(ACTION, asked, headers)).json()
            assert names(told) == listed
            assert told["context"]["cause"] == ("RULE" if listed else "IDENTITY")
        told = (await server.post(SUBJECT, USERS, {"authorization": f"Bearer {good}"})).json()
        assert names(told) == ["alice"]
        entry_ = server.running.recorder.entries[0]
        assert (entry_.subject.issuer, entry_.subject.jti) == (ISSUER, "t-1")

    run(tmp_path, scenario, snapshot=snapshot, tokens=verifier(tmp_path))


def test_a_search_sees_one_tenant_only(tmp_path: Path) -> None:
    """The entries of the tenant that is asked about, and no other's."""
    memory = many(2)
    memory.entries |= many(4, tenant="acme").entries
    snapshot = now_snapshot(
        policies={"default": records()[0], "acme": records()[0]},
        callers=CallerPolicy((entry(tenants=("default", "acme")),)),
    )

    async def scenario(server: AuthzenServer) -> None:
        for tenant, count in (("default", 2), ("acme", 4)):
            told = await found(server, f"/{tenant}{SUBJECT}", USERS)
            assert len(told["results"]) == count
        token = (await found(server, f"/default{SUBJECT}", USERS, limit=1))["page"]["next_token"]
        body = USERS | {"page": {"token": token}}
        assert (await server.post(f"/acme{SUBJECT}", body)).status_code == 400
        assert (await server.post(f"/other{SUBJECT}", USERS)).status_code == 400
        assert (await server.post(SUBJECT, USERS)).status_code == 400

    run(tmp_path, scenario, memory, snapshot=snapshot)


# -- a page that looks whole is whole -------------------------------------------------------------


FAILURES = {
    "unreachable": DirectoryError(Fault.UNREACHABLE, "secret"),
    "slow": DirectoryError(Fault.SLOW, "secret"),
    "wrong": DirectoryError(Fault.WRONG, "secret"),
    "broken": ZeroDivisionError("secret"),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_directory_that_fails_is_an_error_and_no_page(
    tmp_path: Path, name: str, after: int
) -> None:
    """With the first look, or in the middle of a page; recorded, with nothing returned."""
    memory = many(200)
    memory.fails, memory.fails_after = FAILURES[name], after

    async def scenario(server: AuthzenServer) -> None:
        response = await server.post(SUBJECT, USERS | {"page": {"limit": 150}})
        assert response.status_code == 503
        assert (
            response.json()["error"]["message"] == f"nothing was searched: the directory is {name}"
        )
        assert "results" not in response.json()
        (told,) = server.running.recorder.entries
        assert (told.effect, told.search.failure) == (pb.EFFECT_DENY, f"the directory is {name}")
        assert not told.search.items
        memory.fails = None
        assert len((await found(server, SUBJECT, USERS))["results"]) == 50

    run(tmp_path, scenario, memory)


def test_a_directory_that_fails_twin_without_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that takes a failure for the end returns a part that looks whole."""
    memory = many(200)
    memory.fails, memory.fails_after = FAILURES["unreachable"], 2
    real = SearchDecisionPoint._collect

    async def careless(self: Any, run_: Any, searching_: Any) -> None:
        try:
            await real(self, run_, searching_)
        except DirectoryError:
            return

    monkeypatch.setattr(SearchDecisionPoint, "_collect", careless)

    async def scenario(server: AuthzenServer) -> None:
        told = await found(server, SUBJECT, USERS, limit=150)
        assert (len(told["results"]), told["page"]["next_token"]) == (64, "")

    run(tmp_path, scenario, memory)


def test_an_entry_that_no_request_can_hold_is_an_error(tmp_path: Path) -> None:
    """Left out, nobody would hear of it; taken, it would be a way around the limits."""
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    memory = many(3)
    memory.entries[Place(Kind.SUBJECT, "default", "user")].append(Entry("zz", {"deep": deep}))

    async def scenario(server: AuthzenServer) -> None:
        response = await server.post(SUBJECT, USERS)
        assert response.status_code == 503
        assert "wrong" in response.json()["error"]["message"]

    run(tmp_path, scenario, memory)


def test_no_page_without_a_record(tmp_path: Path) -> None:
    """One that cannot become durable, or not in time: 503, for empty pages too."""
    for mode in ("fails", "fails_later", "never", "refuses", "breaks", "suppressed"):
        recorder = MemoryRecorder(mode=mode)
        limits = Limits(deadline_default_s=1.0) if mode == "never" else LIMITS

        async def scenario(server: AuthzenServer, mode: str = mode) -> None:
            for action in ("read", "paint"):
                response = await server.post(SUBJECT, USERS | {"action": {"name": action}})
                whole = mode == "suppressed" and action == "read"
                assert (response.status_code == 200) is whole, (mode, action)
                assert ("results" in response.json()) is whole

        run(tmp_path, scenario, recorder=recorder, limits=limits)


def test_no_page_without_a_record_twin_without_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the record not waited for, results would leave without one."""
    recorder = MemoryRecorder(mode="never")
    ref = pb.RecordRef(pdp_id="x")

    async def at_once(self: Any, entry_: Any, clock_ns: int, deadline: float) -> Any:
        self._recorder.append(entry_, clock_ns)
        return ref

    monkeypatch.setattr(SearchDecisionPoint, "_record", at_once)

    async def scenario(server: AuthzenServer) -> None:
        assert (await found(server, SUBJECT, USERS))["results"]
        assert not recorder.durable

    run(tmp_path, scenario, recorder=recorder)


def test_a_page_never_leaves_stale(tmp_path: Path) -> None:
    """Expired before, or while the record was made durable; nor without a bundle."""
    recorder = MemoryRecorder()

    async def scenario(server: AuthzenServer) -> None:
        recorder.on_append = lambda: setattr(server.running.clock, "shift_ns", 7_200 * NANOS)
        for _ in range(2):
            response = await server.post(SUBJECT, USERS)
            assert response.status_code in {401, 503}
            server.running.clock.shift_ns = 0
        causes = [entry_.cause for entry_ in recorder.entries]
        assert pb.CAUSE_STALE in causes

    run(tmp_path, scenario, recorder=recorder)

    async def nothing(server: AuthzenServer) -> None:
        response = await server.post(SUBJECT, USERS)
        assert (response.status_code, "NO_BUNDLE" in response.text) == (503, True)

    run(tmp_path, nothing, without_bundle=True)


def test_a_question_that_cannot_be_decided_is_no_denial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One candidate whose decision breaks: an error, not a page without it."""
    real = SearchDecisionPoint._decide

    def breaking(self: Any, call: Any, moment: Any = None) -> Any:
        if call.request.subject.id == "user-0002":
            raise ZeroDivisionError
        return real(self, call, moment)

    monkeypatch.setattr(SearchDecisionPoint, "_decide", breaking)

    async def scenario(server: AuthzenServer) -> None:
        response = await server.post(SUBJECT, USERS)
        assert response.status_code == 500
        assert "results" not in response.json()

    run(tmp_path, scenario, many(5))


def test_a_directory_that_hangs_ends_with_the_deadline_and_holds_nobody_up(tmp_path: Path) -> None:
    """Single questions are answered meanwhile; searches beyond the bound are told so."""
    memory = many(5)
    memory.hangs = threading.Event()

    async def scenario(server: AuthzenServer) -> None:
        async with server.client() as client:
            asking = [
                asyncio.create_task(client.post(SUBJECT, json=USERS))
                for _ in range(application.SEARCHES_AT_ONCE + 3)
            ]
            await asyncio.to_thread(memory.began.wait, 30)
            good = await client.post(EVALUATION, json=asks(alice(), "read", record(1)))
            assert good.json()["decision"] is True
            assert {response.status_code for response in await asyncio.gather(*asking)} == {503}
        assert memory.hangs is not None
        memory.hangs.set()

    run(tmp_path, scenario, memory, limits=Limits(deadline_default_s=2.0))


def test_overload_is_no_page(tmp_path: Path) -> None:
    """Refused before any work is done: a search weighs as much as the largest batch."""
    limits = Limits(bytes_in_flight_max=10_000, message_bytes_max=10_000, deadline_default_s=5.0)

    async def scenario(server: AuthzenServer) -> None:
        assert (await server.post(SUBJECT, USERS)).status_code == 503
        assert server.running.recorder.entries == []

    run(tmp_path, scenario, limits=limits)


# -- the record -----------------------------------------------------------------------------------


def test_one_record_per_page_says_what_was_asked_and_all_that_was_returned(tmp_path: Path) -> None:
    """Durable before the answer leaves; the same digest for all pages of a search."""

    async def scenario(server: AuthzenServer) -> None:
        first = await found(server, SUBJECT, WRITERS, limit=2)
        token = first["page"]["next_token"]
        second = await found(server, SUBJECT, WRITERS, token=token)
        told = server.running.recorder.entries
        assert server.running.recorder.durable == {1, 2}
        for number, (entry_, page) in enumerate(zip(told, (first, second), strict=True)):
            assert entry_.caller.spiffe_id == f"spiffe://{TRUST_DOMAIN}/pep"
            assert (entry_.subject.type, entry_.subject.id) == ("user", "")
            assert (entry_.action, entry_.resource_id) == ("write", "record-2")
            assert (entry_.effect, entry_.cause) == (pb.EFFECT_PERMIT, pb.CAUSE_RULE)
            assert entry_.search.kind == audit_pb2.SearchRecord.KIND_SUBJECT
            assert entry_.search.continued is bool(number)
            assert entry_.search.more is (not number)
            assert [item.subject.id for item in entry_.search.items] == names(page)
            for item in entry_.search.items:
                assert item.effect == pb.EFFECT_PERMIT
                assert list(item.rules) == ["records/archived-is-written-by-admins"]
                assert item.attributes["subject.properties.role"].string_value == "admin"
                assert [duty.id for duty in item.obligations] == ["note"]
            assert page["context"]["decision_id"] == entry_.decision_id
            assert page["context"]["record"]["seq"] == number + 1
        assert told[0].request_digest == told[1].request_digest

    run(tmp_path, scenario, many(12))


def test_with_full_capture_the_record_holds_all_attributes(tmp_path: Path) -> None:
    """Of the query, and of each result as it was decided; without it, what rules read."""
    body = WRITERS | {"context": {"ip": "10.0.0.1"}}

    async def scenario(server: AuthzenServer) -> None:
        await found(server, SUBJECT, body)
        (told,) = server.running.recorder.entries
        assert told.attributes["context"].map_value.entries["ip"].string_value == "10.0.0.1"
        item = told.search.items[0]
        properties = item.attributes["subject.properties"].map_value.entries
        assert properties["role"].string_value == "admin"
        assert item.request_digest != told.request_digest

    run(tmp_path, scenario, many(3), capture=Capture.FULL)


def test_a_search_is_read_back_as_a_line_and_as_questions(tmp_path: Path) -> None:
    """What `pdp audit show` prints, and what `pdp diff` asks again."""

    async def scenario(server: AuthzenServer) -> None:
        await found(server, SUBJECT, USERS)
        await found(server, SUBJECT, USERS | {"action": {"name": "paint"}})
        full, empty = server.running.recorder.entries
        assert search_line(full) == (
            f"search for subject user: 2 permitted of 2, read record:record-1 "
            f"by spiffe://{TRUST_DOMAIN}/pep ({full.decision_id})"
        )
        assert "0 permitted of 2" in search_line(empty)
        singles = single_entries(full)
        assert [single.subject.id for single in singles] == ["alice", "bob"]
        assert {single.caller.spiffe_id for single in singles} == {full.caller.spiffe_id}
        assert single_entries(empty) == []

    run(tmp_path, scenario)


# -- hostile directories --------------------------------------------------------------------------


def test_a_poisoned_directory_grants_nothing_that_the_rules_do_not(tmp_path: Path) -> None:
    """Properties that look like rules, callers, tokens or ids are properties, and nothing else."""
    memory = many(0)
    memory.entries[Place(Kind.SUBJECT, "default", "user")] = [
        Entry("mallory", {"id": "alice", "type": "admin", "decision": True, "caller": {"id": "x"}}),
        Entry("mallory2", {"roles": ["*"], "token": {"sub": "alice"}, "permit": "*"}),
    ]

    async def scenario(server: AuthzenServer) -> None:
        told = await found(server, SUBJECT, USERS | {"action": {"name": "shred"}})
        assert told["results"] == []
        assert names(await found(server, SUBJECT, WRITERS)) == []
        assert names(await found(server, SUBJECT, USERS)) == ["mallory", "mallory2"]

    run(tmp_path, scenario, memory)


def test_searches_in_sqlite(tmp_path: Path) -> None:
    """The embedded default, through the door."""
    path = tmp_path / "d.db"
    with sqlite3.connect(path) as connection:
        for kind in ("subjects", "resources"):
            connection.execute(
                f"CREATE TABLE {kind} (tenant TEXT, type TEXT, id TEXT, properties TEXT)"
            )
            connection.executemany(
                f"INSERT INTO {kind} VALUES ('default', ?, ?, ?)",  # noqa: S608 ours
                [
                    (item["type"], item["id"], json.dumps(item.get("properties", {})))
                    for item in DIRECTORY[kind]
                ],
            )
    connection.close()

    async def scenario(server: AuthzenServer) -> None:
        for name, (where, body, expected) in ROWS.items():
            assert names(await found(server, where, body)) == expected, name
        hostile = USERS | {"resource": {"type": "record", "id": "' OR '1'='1"}}
        assert names(await found(server, SUBJECT, hostile)) == []

    run(tmp_path, scenario, SqliteDirectory(path))


# -- providers of attributes ----------------------------------------------------------------------


class Provider:
    """Answers for everybody alike, after so many questions; counts how often it is asked."""

    def __init__(self, outcome: FetchOutcome) -> None:
        self.outcome = outcome
        self.asked: list[int] = []

    async def fetch(self, asked: Any, deadline: float) -> dict[Any, Fetched]:
        """As `AttributeSource`."""
        self.asked.append(len(asked))
        values = {"grade": 3} if self.outcome is FetchOutcome.FETCHED else {}
        return {each: Fetched(each.provider, self.outcome, values) for each in asked}


GRADED = """
policy: graded
resource: record
owner: tests@example.org
rules:
  - id: high-grades-read
    effect: permit
    actions: [read]
    when: subject.properties.grade > 2
    justification: test
  - {id: nobody-shreds, effect: deny, actions: [shred]}
"""

OF_USERS = """
kind: schema
subject: user
schema:
  type: object
  properties: {grade: {type: integer}, role: {type: string}}
"""
PEOPLE = """
kind: provider
name: people
subject: user
attributes: [grade]
max_age_s: 0
"""


@pytest.mark.parametrize("outcome", FetchOutcome)
def test_what_a_provider_owns_is_fetched_for_each_candidate(
    tmp_path: Path, outcome: FetchOutcome
) -> None:
    """A row at a time. Where it gives no answer, there might have been a permit: no page."""
    with Checker() as checker:
        sources = {
            "p.yaml": GRADED.encode(),
            "s.yaml": OF_USERS.encode(),
            "h.yaml": PEOPLE.encode(),
            "c.yaml": CALLERS.encode(),
        }
        made = compile_sources(sources, checker)
    policies = made.policy_set(EvaluationLimits())
    snapshot = now_snapshot(policies={"default": policies}, callers=made.callers)
    source = Provider(outcome)

    async def scenario(server: AuthzenServer) -> None:
        server.running.server.decision_point._attributes = source
        response = await server.post(SUBJECT, USERS | {"page": {"limit": 100}})
        if outcome is FetchOutcome.FETCHED:
            assert len(response.json()["results"]) == 40
            assert source.asked == [32, 8]
            item = server.running.recorder.entries[0].search.items[0]
            assert item.attributes["subject.properties.grade"].int64_value == 3
        elif outcome is FetchOutcome.UNKNOWN:
            # An answer: there is no such attribute of anybody.
            assert response.json()["results"] == []
        else:
            assert response.status_code == 503
            assert UNSUPPLIED in response.json()["error"]["message"]
        # A rule that denies needs nobody's attributes.
        told = await found(server, SUBJECT, USERS | {"action": {"name": "shred"}})
        assert told["results"] == []

    run(tmp_path, scenario, many(40), snapshot=snapshot)


# -- any bytes, and the process -------------------------------------------------------------------

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    st.sampled_from(list(ROWS.values())),
    st.dictionaries(
        st.sampled_from(("subject", "action", "resource", "context", "page", "x")), _VALUES
    ),
)
def test_any_query_is_refused_or_read(row: Any, changes: dict[str, Any]) -> None:
    """Never another error than the one that says what is wrong and where."""
    path, body, _ = row
    try:
        asked = query(KINDS[path], body | changes, Head("q-1", "", ""))
        admit(judged(asked), CALLER, InputLimits())
    except InvalidRequestError as error:
        assert str(error).startswith("`")  # noqa: PT017 either is right
    else:
        assert asked.limit is None or asked.limit > 0
        assert name_of(asked.request, asked.kind) == ""


def test_pdp_serve_searches(house: House) -> None:
    """A real process, SQLite, a page of one, and records that verify."""
    path = house.folder / "directory.db"
    with sqlite3.connect(path) as connection:
        for kind in ("subjects", "resources"):
            connection.execute(
                f"CREATE TABLE {kind} (tenant TEXT, type TEXT, id TEXT, properties TEXT)"
            )
        connection.executemany(
            "INSERT INTO subjects VALUES ('default', 'user', ?, '{}')", [("alice",), ("bob",)]
        )
        connection.execute("INSERT INTO resources VALUES ('default', 'document', '1', '{}')")
    connection.close()
    searching_caller = CallerEntry(
        id=f"spiffe://{TRUST_DOMAIN}/pep",
        resources=("*",),
        actions=("*",),
        asserts=("user",),
        may=frozenset({"search"}),
    )
    house.repository.put(
        BUNDLE_PATH,
        archive(3, house.repository.now_s, (DOCUMENTS[0], CallerPolicy((searching_caller,)))),
    )
    house.repository.publish_targets(POLICIES)
    house.publish()
    tree = quick_tree()
    tree["authzen"] = {"listen": "127.0.0.1:0", "base_url": "https://pdp.example.org"}
    tree["search"] = {"directory": "sqlite:directory.db"}
    tree["limits"] |= {"deadline_default_s": 5.0}
    house.configure(tree)
    process = house.start()
    port = process.wait_for("authzen_listening")["port"]
    tls = ssl.create_default_context(cadata=house.authority.bundle_pem.decode())
    shown = house.folder / "shown.pem"
    shown.write_bytes(house.pep.key_pem + house.pep.certificate_pem)
    tls.load_cert_chain(shown)
    body: dict[str, Any] = {
        "subject": {"type": "user"},
        "action": {"name": "read"},
        "resource": {"type": "document", "id": "1"},
        "page": {"limit": 1},
    }
    with httpx.Client(base_url=f"https://localhost:{port}", verify=tls, trust_env=False) as client:
        first = client.post(SUBJECT, json=body).json()
        assert names(first) == ["alice"]
        body["page"] = {"token": first["page"]["next_token"]}
        second = client.post(SUBJECT, json=body).json()
        assert (names(second), second["page"]["next_token"]) == (["bob"], "")
        assert second["context"]["record"]["seq"] == first["context"]["record"]["seq"] + 1
        assert process.stop() == 0
