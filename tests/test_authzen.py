"""The AuthZEN door: a real HTTP client with a certificate, a real server, hostile bytes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import socket
import sqlite3
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from pdp.authoring.checker import Checker
from pdp.authoring.compilation import compile_sources
from pdp.authoring.throwaway import ThrowawayAuthority
from pdp.cel.limits import EvaluationLimits
from pdp.config.settings import Address, Limits
from pdp.directory.documents import DirectoryFile
from pdp.directory.tables import SqliteDirectory
from pdp.identity.svid import SvidVerifier
from pdp.identity.trust import load_trust_bundle
from pdp.search import SearchDecisionPoint
from pdp.server.authzen import application, connection
from pdp.server.authzen.pages import Offer
from pdp.server.overload import Gate
from pdp.server.pace import Pace
from pdp.telemetry import Telemetry
from pdp.v1 import authorization_pb2 as pb
from pdp.values import NANOS
from tests.conftest import ROOT, Ledger
from tests.simulators.authzen import (
    BASE_URL,
    CALLERS,
    EVALUATION,
    EVALUATIONS,
    AuthzenServer,
    alice,
    asks,
    authzen_server,
    bob,
    record,
    records,
    searching,
)
from tests.simulators.certificates import BAD, PEP, TRUST_DOMAIN, Intermediate, forge
from tests.simulators.decision_points import PEP as CALLER
from tests.simulators.decision_points import (
    HandClock,
    HeldSnapshot,
    MemoryRecorder,
    make_snapshot,
    now_snapshot,
)
from tests.test_process import House, house, quick_tree

__all__ = ["house"]

HOUR_NS = 3_600 * NANOS
GOOD = asks(alice(), "read", record(1))
Scenario = Callable[[AuthzenServer], Awaitable[None]]


def run(folder: Path, scenario: Scenario, **options: Any) -> None:
    """Play a scenario against a server of its own, on the loop that `pdp serve` uses."""

    async def play() -> None:
        async with authzen_server(folder, **options) as server:
            await scenario(server)

    uvloop.run(play())


def refusal(response: httpx.Response) -> tuple[int, str]:
    """Status and message; the two statuses agree."""
    error = response.json()["error"]
    assert error["status"] == response.status_code
    assert isinstance(error["message"], str)
    return response.status_code, error["message"]


# -- the certification scenario: evaluation -------------------------------------------------------

DECISIONS = {
    "alice reads record-1": (asks(alice(), "read", record(1)), True),
    "alice writes record-1": (asks(alice(), "write", record(1)), True),
    "bob reads record-1": (asks(bob(), "read", record(1)), True),
    "bob does not write record-1": (asks(bob(), "write", record(1)), False),
    "alice does not write what is archived": (
        asks(alice(), "write", record(1, status="archived")),
        False,
    ),
    "an admin writes what is archived": (
        asks(alice(role="admin"), "write", record(1, status="archived")),
        True,
    ),
    "alice deletes softly": (asks(alice(), "delete", record(1), soft=True), True),
    "alice does not delete for good": (asks(alice(), "delete", record(1), soft=False), False),
}


def test_certification_every_decision_twice(tmp_path: Path) -> None:
    """Every row of the scenario, and the same answer when it is asked again."""

    async def scenario(server: AuthzenServer) -> None:
        async with server.client() as client:
            for name, (body, expected) in DECISIONS.items():
                for _ in range(2):
                    response = await client.post(EVALUATION, json=body)
                    assert response.status_code == 200, name
                    assert response.json()["decision"] is expected, name
        assert len(server.running.recorder.entries) == 2 * len(DECISIONS)

    run(tmp_path, scenario)


def without(path: str) -> dict[str, Any]:
    """The good question without this part."""
    found: dict[str, Any] = json.loads(json.dumps(GOOD))
    *parents, last = path.split(".")
    inner = found
    for parent in parents:
        inner = inner[parent]
    del inner[last]
    return found


def with_(path: str, value: Any) -> dict[str, Any]:
    """The good question with another part."""
    found: dict[str, Any] = json.loads(json.dumps(GOOD))
    *parents, last = path.split(".")
    inner = found
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return found


MALFORMED: dict[str, tuple[bytes, str]] = {
    **{
        f"no {path}": (json.dumps(without(path)).encode(), f"`{path}` is required")
        for path in (
            *("subject", "subject.type", "subject.id", "action", "action.name"),
            *("resource", "resource.type", "resource.id"),
        )
    },
    **{
        f"{path} is {value!r}": (json.dumps(with_(path, value)).encode(), f"`{path}` {says}")
        for path, value, says in (
            ("subject", "alice", "must be an object"),
            ("subject", None, "must be an object"),
            ("subject.id", 7, "must be a string"),
            ("subject.id", "", "is required"),
            ("subject.properties", [], "must be a map"),
            ("action", "read", "must be an object"),
            ("action.name", 7, "must be a string"),
            ("action.name", None, "must be a string"),
            ("resource", [], "must be an object"),
            ("resource.type", True, "must be a string"),
            ("context", "home", "must be a map"),
            ("context", None, "must be a map"),
            ("subject.id", "x" * 2_000, "is longer than 1024 bytes"),
        )
    },
    "nothing": (b"", "is not JSON"),
    "half an object": (b'{"subject":', "is not JSON"),
    "a list": (b"[]", "must be a JSON object"),
    "a number": (b"7", "must be a JSON object"),
    "two objects": (b"{}{}", "is not JSON"),
    "NaN": (b'{"context":{"x":NaN}}', "is not JSON"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "is not JSON"),
    "UTF-16": ("{}".encode("utf-16"), "UTF-8"),
    "a member twice": (b'{"context":{"a":1,"a":2}}', "has the key `a` twice"),
    "an entity twice": (b'{"subject":{},"subject":{}}', "has the key `subject` twice"),
    "half a character": (b'{"context":{"a":"\\ud800"}}', "is not valid Unicode"),
    "half a character as a key": (b'{"context":{"\\udfff":1}}', "is not valid Unicode"),
    "above int64": (b'{"context":{"a":9223372036854775808}}', "int64"),
    "below int64": (b'{"context":{"a":-9223372036854775809}}', "int64"),
    "a thousand digits": (b'{"context":{"a":' + b"9" * 9_999 + b"}}", "int64"),
    "above a double": (b'{"context":{"a":1e999}}', "double"),
    "31 levels": (
        json.dumps(GOOD)[:-1].encode() + b',"context":{"a":' + b"[" * 30 + b"]" * 30 + b"}}",
        "nested deeper",
    ),
    "100,000 levels": (b'{"context":' + b"[" * 100_000, "nested too deeply"),
    "100,000 objects": (b'{"a":' * 100_000, "nested too deeply"),
}


def test_certification_what_is_malformed_is_400_with_the_reason(tmp_path: Path) -> None:
    """Each bad document is refused with a message, leaves no record, and the next one is heard."""

    async def scenario(server: AuthzenServer) -> None:
        async with server.client() as client:
            for name, (body, says) in MALFORMED.items():
                response = await client.post(
                    EVALUATION, content=body, headers={"content-type": "application/json"}
                )
                status, message = refusal(response)
                assert (status, name) == (400, name)
                assert says in message, name
                assert len(response.content) < 4_000
            assert (await client.post(EVALUATION, json=GOOD)).json()["decision"] is True
        counters = server.running.telemetry.counters
        assert counters["refused", "invalid"] == len(MALFORMED)
        assert len(server.running.recorder.entries) == 1

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "text/json", "application/jsonp", "application/xml", "*/*"]
)
def test_certification_another_content_type_is_400(tmp_path: Path, kind: str | None) -> None:
    """Not 415: the certification says so."""

    async def scenario(server: AuthzenServer) -> None:
        response = await server.raw(json.dumps(GOOD).encode(), kind=kind)
        assert refusal(response) == (400, "`content-type` must be `application/json`")

    run(tmp_path, scenario)


def test_content_types_that_are_json(tmp_path: Path) -> None:
    """Parameters and upper case make no other type; an encoded body is no JSON."""

    async def scenario(server: AuthzenServer) -> None:
        data = json.dumps(GOOD).encode()
        for kind in ("application/json; charset=utf-8", "Application/JSON"):
            assert (await server.raw(data, kind=kind)).json()["decision"] is True
        async with server.client() as client:
            headers = {"content-type": "application/json", "content-encoding": "gzip"}
            response = await client.post(EVALUATION, content=data, headers=headers)
            assert refusal(response)[0] == 400

    run(tmp_path, scenario)


def test_unknown_members_are_passed_over(tmp_path: Path) -> None:
    """Members that AuthZEN does not know, at every level where it has some."""

    async def scenario(server: AuthzenServer) -> None:
        body = with_("x", {"y": [1]})
        for part in ("subject", "action", "resource"):
            body[part]["x"] = {"deep": True}
        assert (await server.post(EVALUATION, body)).json()["decision"] is True

    run(tmp_path, scenario)


def test_request_id_goes_back_as_it_came(tmp_path: Path) -> None:
    """With an answer, with a refusal, and not at all if there was none; it is in the record."""

    async def scenario(server: AuthzenServer) -> None:
        given = {"x-request-id": "bfe9eb29-ab87-4ca3-be83-a1d5d8305716"}
        for body, status in ((GOOD, 200), ({}, 400)):
            response = await server.post(EVALUATION, body, given)
            assert (response.status_code, response.headers["x-request-id"]) == (
                status,
                given["x-request-id"],
            )
        assert "x-request-id" not in (await server.post(EVALUATION, GOOD)).headers
        first, second = server.running.recorder.entries
        assert (first.request_id, second.request_id) == (given["x-request-id"], "")
        async with server.client() as client:
            twice = [*given.items(), ("x-request-id", "other")]
            response = await client.post(EVALUATION, json=GOOD, headers=twice)
            assert refusal(response) == (400, "`x-request-id` was sent twice")
        assert (
            await server.post(EVALUATION, GOOD, {"x-request-id": "x" * 2_000})
        ).status_code == 400

    run(tmp_path, scenario)


# -- evaluations ----------------------------------------------------------------------------------


def decisions(response: httpx.Response) -> list[bool]:
    """Of an answer to evaluations, which has no decision of its own."""
    found = response.json()
    assert response.status_code == 200
    assert list(found) == ["evaluations"]
    return [item["decision"] for item in found["evaluations"]]


def test_certification_every_decision_in_one_batch(tmp_path: Path) -> None:
    """All rows of the scenario as items, twice, in any order: as if each came alone."""

    async def scenario(server: AuthzenServer) -> None:
        rows = list(DECISIONS.values())
        for order in (rows, rows[::-1], rows + rows):
            body = {"evaluations": [asked for asked, _ in order]}
            for _ in range(2):
                found = decisions(await server.post(EVALUATIONS, body))
                assert found == [expected for _, expected in order]
        assert len(server.running.recorder.entries) == 6

    run(tmp_path, scenario)


def test_certification_defaults_are_replaced_whole(tmp_path: Path) -> None:
    """An item's entity has nothing of the default's: no property, no id."""

    async def scenario(server: AuthzenServer) -> None:
        body = {
            **asks(alice(), "write", record(1, status="archived")),
            "context": {"ip": "10.0.0.1"},
            "evaluations": [
                {},
                {"resource": record(1)},
                {"subject": bob()},
                {"action": {"name": "delete", "properties": {"soft": True}}, "context": {}},
                {"resource": {"type": "record"}},
                {"subject": bob(), "resource": record(2)},
            ],
        }
        found = await server.post(EVALUATIONS, body)
        assert decisions(found) == [False, True, True, True, False, False]
        error = found.json()["evaluations"][4]["context"]["error"]
        assert error == {"status": 400, "message": "`evaluations[4].resource.id` is required"}

    run(tmp_path, scenario)


def test_certification_semantics_end_with_the_item_that_decides(tmp_path: Path) -> None:
    """Up to and including the first denial, or the first permit; what is left has no answer."""
    yes, no = asks(alice(), "read", record(1)), asks(bob(), "write", record(1))
    cases = [
        ("execute_all", [yes, no, yes], [True, False, True], False),
        ("deny_on_first_deny", [yes, no, yes], [True, False], True),
        ("deny_on_first_deny", [yes, yes], [True, True], False),
        ("permit_on_first_permit", [no, yes, no], [False, True], True),
        ("permit_on_first_permit", [no, no], [False, False], False),
    ]

    async def scenario(server: AuthzenServer) -> None:
        async with server.client() as client:
            for semantic, items, expected, ended in cases:
                options = {"evaluations_semantic": semantic, "x": 1}
                body = {"evaluations": items, "options": options}
                response = await client.post(EVALUATIONS, json=body)
                assert decisions(response) == expected
                last = response.json()["evaluations"][-1]["context"]
                assert last.get("reason") == (semantic if ended else None)

    run(tmp_path, scenario)


def test_certification_without_items_it_is_a_single_question(tmp_path: Path) -> None:
    """No list, or an empty one: the answer is `decision`, and a bad question is 400."""

    async def scenario(server: AuthzenServer) -> None:
        for body in (GOOD, GOOD | {"evaluations": []}):
            response = await server.post(EVALUATIONS, body)
            assert response.json()["decision"] is True
        response = await server.post(EVALUATIONS, without("subject"))
        assert refusal(response) == (400, "`subject` is required")

    run(tmp_path, scenario)


def test_certification_a_bad_item_spoils_no_other(tmp_path: Path) -> None:
    """200, that item is denied as INVALID and says why; under `deny_on_first_deny` it ends it."""
    bad: list[Any] = [
        *(without(path) for path in ("subject", "action.name", "resource.id")),
        *(with_("subject", "alice"), with_("action.name", 7), with_("context", [])),
        *("alice", 7, None, []),
        with_("context", {"x": json.loads("[" * 300 + "]" * 300)}),
    ]

    async def scenario(server: AuthzenServer) -> None:
        body: dict[str, Any] = {"evaluations": [GOOD, *bad, GOOD]}
        response = await server.post(EVALUATIONS, body)
        assert decisions(response) == [True, *(False for _ in bad), True]
        for number, item in enumerate(response.json()["evaluations"][1:-1], 1):
            assert item["context"]["cause"] == "INVALID"
            assert item["context"]["error"]["status"] == 400
            assert f"evaluations[{number}]" in item["context"]["error"]["message"]
        body["options"] = {"evaluations_semantic": "deny_on_first_deny"}
        assert decisions(await server.post(EVALUATIONS, body)) == [True, False]

    run(tmp_path, scenario)


def test_a_batch_that_is_wrong_as_a_whole_is_400(tmp_path: Path) -> None:
    """No list, too many items, an unknown semantic, defaults that are written out too often."""
    one = [GOOD]
    cases = [
        ({"evaluations": {"0": GOOD}}, "`evaluations` must be a list"),
        ({"evaluations": None}, "`evaluations` must be a list"),
        ({"evaluations": one * 4}, "`evaluations` has more than 3 items"),
        ({"evaluations": one, "options": []}, "`options` must be an object"),
        (
            {"evaluations": one, "options": {"evaluations_semantic": "first"}},
            "`options.evaluations_semantic` must be one of `execute_all`",
        ),
        ({"evaluations": one, "options": {"evaluations_semantic": 1}}, "must be one of"),
        ({"evaluations": [{}] * 3, **GOOD, "context": {"x": "y" * 4_000}}, "defaults"),
    ]

    async def scenario(server: AuthzenServer) -> None:
        async with server.client() as client:
            for body, says in cases:
                status, message = refusal(await client.post(EVALUATIONS, json=body))
                assert (status, says in message) == (400, True), message
            long = {"x-request-id": "x" * 2_000}
            response = await client.post(EVALUATIONS, json={"evaluations": one}, headers=long)
            assert response.status_code == 400
        assert server.running.recorder.entries == []

    run(tmp_path, scenario, limits=Limits(batch_items_max=3, message_bytes_max=10_000))


def test_a_batch_is_one_record_at_one_moment(tmp_path: Path) -> None:
    """Every item names the same record; the batch has the request's id."""

    async def scenario(server: AuthzenServer) -> None:
        response = await server.post(
            EVALUATIONS, {"evaluations": [GOOD, GOOD]}, {"x-request-id": "b-1"}
        )
        items = response.json()["evaluations"]
        assert items[0]["context"]["record"] == items[1]["context"]["record"]
        assert items[0]["context"]["decision_id"] != items[1]["context"]["decision_id"]
        (entry,) = server.running.recorder.entries
        assert entry.request_id == "b-1"

    run(tmp_path, scenario)


def test_a_caller_that_may_not_ask_batches_is_denied(tmp_path: Path) -> None:
    """The caller policy's word, and a crowd is 503: no decision, and no permit."""
    _, callers = records()
    entry = dataclasses.replace(callers.entries[0], may=frozenset())
    snapshot = now_snapshot(
        policies={"default": records()[0]}, callers=dataclasses.replace(callers, entries=(entry,))
    )

    async def scenario(server: AuthzenServer) -> None:
        response = await server.post(EVALUATIONS, {"evaluations": [GOOD]})
        assert decisions(response) == [False]
        assert response.json()["evaluations"][0]["context"]["cause"] == "CALLER"
        gate = server.running.server._door.gate
        gate.enter(9)
        response = await server.post(EVALUATIONS, {"evaluations": [GOOD]})
        assert refusal(response)[0] == 503

    run(tmp_path, scenario, snapshot=snapshot, limits=Limits(requests_in_flight_max=1))


# -- answers --------------------------------------------------------------------------------------


def test_an_answer_says_what_the_other_door_says(tmp_path: Path) -> None:
    """Cause, rules, obligations, bundle, record and reasons, in the context."""

    async def scenario(server: AuthzenServer) -> None:
        body = asks(bob(), "write", record(2, status="archived"))
        found = (await server.post(EVALUATION, body)).json()
        context = found["context"]
        assert found["decision"] is True
        assert context["cause"] == "RULE"
        assert context["rules"] == ["records/archived-is-written-by-admins"]
        assert context["obligations"] == [
            {"id": "note", "type": "notification", "properties": {"to": "audit", "weight": 1.0}}
        ]
        assert context["bundle"]["revision"] == 7
        (entry,) = server.running.recorder.entries
        assert context["decision_id"] == entry.decision_id
        assert context["record"]["seq"] in server.running.recorder.durable
        assert entry.caller.spiffe_id == PEP
        assert entry.caller.peer.startswith("ipv4:127.0.0.1:")

    run(tmp_path, scenario)


def test_reasons_for_the_administrator_are_for_callers_that_may_explain(tmp_path: Path) -> None:
    """The user's text for everybody; the other one not for this caller, who may not explain."""

    async def scenario(server: AuthzenServer) -> None:
        body = asks(alice(), "shred", record(1))
        found = (await server.post(EVALUATION, body)).json()
        assert found["decision"] is False
        assert found["context"]["reason_user"] == {"records/nobody-shreds": "records are kept"}
        assert "reason_admin" not in found["context"]

    run(tmp_path, scenario)


def test_numbers_without_a_point_are_int64_and_others_double(tmp_path: Path) -> None:
    """As they come into a rule, so they are: the ends of int64, and 1.0 that is no int."""

    async def scenario(server: AuthzenServer) -> None:
        server.running.recorder.mode = "at_once"
        for text in ("9223372036854775807", "-9223372036854775808", "1.0", "1e3", "-0.0"):
            data = json.dumps(GOOD)[:-1] + f',"context":{{"n":{text}}}}}'
            assert (await server.raw(data.encode())).status_code == 200, text

    run(tmp_path, scenario)


def test_no_permit_without_a_record_through_this_door(tmp_path: Path) -> None:
    """A record that does not become durable makes `false`, and a stale bundle does."""

    async def scenario(server: AuthzenServer) -> None:
        server.running.recorder.mode = "fails"
        found = (await server.post(EVALUATION, GOOD)).json()
        assert (found["decision"], found["context"]["cause"]) == (False, "AUDIT")
        server.running.recorder.mode = "at_once"
        server.running.snapshots.snapshot = None
        found = (await server.post(EVALUATION, GOOD)).json()
        assert (found["decision"], found["context"]["cause"]) == (False, "NO_BUNDLE")

    run(tmp_path, scenario)


# -- metadata -------------------------------------------------------------------------------------


def test_metadata_names_the_configured_address_whatever_the_host(tmp_path: Path) -> None:
    """A client that chooses `Host` does not choose where others send their questions."""

    async def scenario(server: AuthzenServer) -> None:
        async with server.client() as client:
            for host in ("evil.example.com", "pdp.example.org"):
                response = await client.get(
                    "/.well-known/authzen-configuration",
                    headers={"host": host, "x-forwarded-host": host},
                )
                assert response.headers["content-type"] == "application/json"
                found = response.json()
                assert found["policy_decision_point"] == BASE_URL
                assert found["access_evaluation_endpoint"] == BASE_URL + EVALUATION
                assert found["access_evaluations_endpoint"] == f"{BASE_URL}{EVALUATION}s"
                assert "evil" not in response.text
                # What is not offered is not named.
                assert "access_request_endpoint" not in found

    run(tmp_path, scenario)


def test_a_base_url_with_a_path_has_its_paths_below_it(tmp_path: Path) -> None:
    """`https://host/pdp`: metadata at the well-known place with the path behind, as in RFC 8414."""

    async def scenario(server: AuthzenServer) -> None:
        async with server.client() as client:
            found = (await client.get("/.well-known/authzen-configuration/pdp")).json()
            assert found["access_evaluation_endpoint"] == f"{BASE_URL}/pdp{EVALUATION}"
            assert (await client.post(f"/pdp{EVALUATION}", json=GOOD)).json()["decision"] is True
            assert (await client.post(EVALUATION, json=GOOD)).status_code == 404

    run(tmp_path, scenario, base_url=f"{BASE_URL}/pdp")


def test_other_paths_and_methods_are_told_so(tmp_path: Path) -> None:
    """404 and 405 with `allow`; a path is compared byte by byte, nothing is decoded or cleaned."""

    async def scenario(server: AuthzenServer) -> None:
        async with server.client() as client:
            for path in ("/", "/access/v1", f"{EVALUATION}/", "/access/v1/%65valuation"):
                assert (await client.post(path, json=GOOD)).status_code == 404
            response = await client.get(EVALUATION)
            assert (response.status_code, response.headers["allow"]) == (405, "POST")
            response = await client.post("/.well-known/authzen-configuration", json={})
            assert (response.status_code, response.headers["allow"]) == (405, "GET")

    run(tmp_path, scenario)


# -- who is asking --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD)
def test_bad_certificates_get_no_decision(tmp_path: Path, name: str) -> None:
    """The attacks of test_svid: TLS refuses, or 401 with the rule that is broken."""
    attack = BAD[name]

    async def scenario(server: AuthzenServer) -> None:
        async with server.client(attack.make(server.running.authority)) as client:
            try:
                response = await client.post(EVALUATION, json=GOOD)
            except httpx.TransportError:
                assert not attack.passes_handshake
                return
            assert refusal(response)[0] == 401
            assert response.headers["www-authenticate"] == "X509-SVID"
        assert server.running.recorder.entries == []
        assert server.running.telemetry.counters["refused", "unauthenticated"] == 1

    run(tmp_path, scenario)


def test_there_is_no_door_without_a_certificate(tmp_path: Path) -> None:
    """Neither without TLS, nor with TLS and no certificate, nor with one in a header."""

    async def scenario(server: AuthzenServer) -> None:
        bare = ssl.create_default_context(cadata=server.running.authority.bundle_pem.decode())
        pem = server.running.pep.certificate_pem.decode().replace("\n", "")
        headers = {"x-client-cert": pem, "x-forwarded-client-cert": f"Cert={pem}", "x-spiffe": PEP}
        async with httpx.AsyncClient(verify=bare, trust_env=False) as client:
            with pytest.raises(httpx.TransportError):
                await client.post(server.url + EVALUATION, json=GOOD, headers=headers)
        async with httpx.AsyncClient(trust_env=False) as client:
            with pytest.raises(httpx.TransportError):
                await client.post(server.url.replace("https", "http") + EVALUATION, json=GOOD)
        nobody = forge(server.running.authority, ())
        async with server.client(nobody) as client:
            response = await client.post(EVALUATION, json=GOOD, headers=headers)
            assert response.status_code == 401
        assert server.running.recorder.entries == []

    run(tmp_path, scenario)


def test_a_header_is_no_identity_twin_without_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what TLS has shown exchanged for somebody else's, somebody else would be believed."""

    async def scenario(server: AuthzenServer) -> None:
        context = {
            "peer_spiffe_id": [PEP.encode()],
            "x509_pem_cert": [server.running.pep.certificate_pem],
        }
        monkeypatch.setattr(connection, "_shown", lambda transport: context)
        async with server.client(forge(server.running.authority, ())) as client:
            assert (await client.post(EVALUATION, json=GOOD)).json()["decision"] is True

    run(tmp_path, scenario)


def test_a_caller_with_an_intermediate_is_known(tmp_path: Path) -> None:
    """The certificates between a leaf and its authority are handed over, too."""

    async def scenario(server: AuthzenServer) -> None:
        between = Intermediate(server.running.authority)
        async with server.client(between.chained(forge(between))) as client:
            assert (await client.post(EVALUATION, json=GOOD)).json()["decision"] is True

    run(tmp_path, scenario)


def test_another_workload_is_denied_and_recorded(tmp_path: Path) -> None:
    """Known, but not in the caller policy: a decision, as through the other door."""

    async def scenario(server: AuthzenServer) -> None:
        async with server.client(server.running.authority.issue("stranger")) as client:
            found = (await client.post(EVALUATION, json=GOOD)).json()
            assert (found["decision"], found["context"]["cause"]) == (False, "CALLER")
        (entry,) = server.running.recorder.entries
        assert entry.cause == pb.CAUSE_CALLER

    run(tmp_path, scenario)


def test_expiry_and_a_removed_authority_hold_on_an_open_connection(tmp_path: Path) -> None:
    """What was shown at the handshake is judged again with every request."""

    async def scenario(server: AuthzenServer) -> None:
        async with server.client() as client:
            assert (await client.post(EVALUATION, json=GOOD)).status_code == 200
            server.running.clock.shift_ns = 2 * HOUR_NS
            assert (await client.post(EVALUATION, json=GOOD)).status_code == 401
            server.running.clock.shift_ns = 0
            assert (await client.post(EVALUATION, json=GOOD)).status_code == 200

    run(tmp_path, scenario)


# -- load, size and time --------------------------------------------------------------------------


def test_oversized_bodies_are_refused_before_they_are_read(tmp_path: Path) -> None:
    """By what they say, and by what they are when they do not say."""

    async def scenario(server: AuthzenServer) -> None:
        data = json.dumps(with_("context", {"x": "y" * 10_000})).encode()
        assert refusal(await server.raw(data)) == (400, "`body` is longer than 10000 bytes")

        async def chunks() -> Any:
            for start in range(0, len(data), 1_000):
                yield data[start : start + 1_000]

        async with server.client() as client:
            response = await client.post(
                EVALUATION, content=chunks(), headers={"content-type": "application/json"}
            )
            assert refusal(response) == (400, "`body` is longer than 10000 bytes")
            assert (await client.post(EVALUATION, json=GOOD)).json()["decision"] is True

    run(tmp_path, scenario, limits=Limits(message_bytes_max=10_000))


def test_oversized_twin_without_guard(tmp_path: Path) -> None:
    """The same body passes where the limit is wide."""

    async def scenario(server: AuthzenServer) -> None:
        data = json.dumps(with_("context", {"x": "y" * 10_000})).encode()
        assert (await server.raw(data)).json()["decision"] is True

    run(tmp_path, scenario)


async def dialogue(server: AuthzenServer, sent: bytes, wait_s: float = 5.0) -> bytes:
    """All that comes back for these bytes until the other side closes."""
    port = int(server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("localhost", port, ssl=server.tls())
    try:
        writer.write(sent)
        return await asyncio.wait_for(reader.read(), wait_s)
    finally:
        writer.close()
        with contextlib.suppress(Exception):
            await writer.wait_closed()


HEAD = b"POST /access/v1/evaluation HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def test_what_is_no_http_is_400_and_ends_the_connection(tmp_path: Path) -> None:
    """Smuggling, endless headers and noise: one answer or none, never a decision."""
    cases = [
        b"\x16\x03\x01\x00 nonsense\r\n\r\n",
        b"GET / HTTP/1.1 more\r\n\r\n",
        HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"transfer-encoding: gzip\r\n\r\n",
        HEAD + b"x: " + b"y" * 40_000 + b"\r\n\r\n",
        HEAD + b"bad header\r\n\r\n",
        HEAD.replace(b"evaluation", b"eval\xffation") + b"connection: close\r\n\r\n",
    ]

    async def scenario(server: AuthzenServer) -> None:
        for sent in cases:
            answer = await dialogue(server, sent)
            assert b"decision" not in answer, sent[:80]
            assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501")) or not answer, answer[:80]
        assert (await server.post(EVALUATION, GOOD)).json()["decision"] is True

    run(tmp_path, scenario)


def test_slow_bodies_and_slow_heads_come_to_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then holds a connection no longer than nothing does."""
    monkeypatch.setattr("pdp.server.authzen.listener.IDLE_S", 1.0)

    async def scenario(server: AuthzenServer) -> None:
        started = time.monotonic()
        answer = await dialogue(server, HEAD + b"content-length: 9\r\n\r\n{")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"took longer than" in answer
        assert await dialogue(server, HEAD) == b""
        assert time.monotonic() - started < 8

    run(tmp_path, scenario, limits=Limits(deadline_max_s=1.0, deadline_default_s=0.5))


def test_old_connections_end_and_calls_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection is closed at its age, between two calls; the client opens another one."""
    monkeypatch.setattr("pdp.server.listener.connection_age_s", lambda *_: 0.3)

    async def scenario(server: AuthzenServer) -> None:
        async with server.client() as client:
            for _ in range(10):
                try:
                    answer = await client.post(EVALUATION, json=GOOD)
                except httpx.RemoteProtocolError:
                    # It was sent while the connection was being closed: nothing was answered, and
                    # RFC 9112, section 9.3.1, has the client ask again.
                    answer = await client.post(EVALUATION, json=GOOD)
                assert answer.json()["decision"] is True
                await asyncio.sleep(0.1)
            peers = {entry.caller.peer for entry in server.running.recorder.entries}
        assert len(peers) >= 2

    run(tmp_path, scenario)


def test_no_more_connections_than_allowed(tmp_path: Path) -> None:
    """One more than there may be is closed; once there is room again, it is let in."""

    async def scenario(server: AuthzenServer) -> None:
        async with server.client() as one, server.client() as two:
            for client in (one, two):
                assert (await client.post(EVALUATION, json=GOOD)).status_code == 200
            with pytest.raises(httpx.TransportError):
                await server.post(EVALUATION, GOOD)
        await asyncio.sleep(0.1)
        assert (await server.post(EVALUATION, GOOD)).status_code == 200

    run(tmp_path, scenario, limits=Limits(connections_max=2))


def test_overload_is_a_denial_through_this_door_too(tmp_path: Path) -> None:
    """The gate is that of all doors: what gRPC has taken on counts here."""

    async def scenario(server: AuthzenServer) -> None:
        gate = server.running.server._door.gate
        gate.enter(9)
        found = (await server.post(EVALUATION, GOOD)).json()
        assert found == {"decision": False, "context": {"cause": "OVERLOADED"}}
        assert server.running.telemetry.counters["overloaded", "in_flight"] == 1
        gate.leave(0.0, 9, in_time=True)
        assert (await server.post(EVALUATION, GOOD)).json()["decision"] is True
        assert gate.in_flight == 0

    run(tmp_path, scenario, limits=Limits(requests_in_flight_max=1))


def test_a_broken_door_is_a_status_and_no_permit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error: 500 without its words."""

    def broken(*arguments: object) -> None:
        raise RuntimeError("secret-word")

    monkeypatch.setattr(application, "question", broken)

    async def scenario(server: AuthzenServer) -> None:
        response = await server.post(EVALUATION, GOOD)
        assert refusal(response) == (500, "the server failed")
        assert "secret-word" not in response.text
        assert server.running.telemetry.counters["refused", "internal"] == 1

    run(tmp_path, scenario)


def test_many_calls_at_once_each_get_their_own_answer(tmp_path: Path) -> None:
    """Answers do not change places, over several connections."""

    async def scenario(server: AuthzenServer) -> None:
        async with server.client() as client:

            async def one(number: int) -> bool:
                body = GOOD if number % 2 else asks(bob(), "write", record(1))
                response = await client.post(
                    EVALUATION, json=body, headers={"x-request-id": str(number)}
                )
                assert response.headers["x-request-id"] == str(number)
                found: bool = response.json()["decision"]
                return found

            found = await asyncio.gather(*map(one, range(60)))
        assert found == [bool(number % 2) for number in range(60)]

    run(tmp_path, scenario)


# -- certificates of our own, the end --------------------------------------------------------------


def test_a_new_certificate_is_shown_from_the_next_handshake_on(tmp_path: Path) -> None:
    """No call is lost, and an authority that is gone is believed nowhere."""

    async def scenario(server: AuthzenServer) -> None:
        running = server.running
        other = ThrowawayAuthority(TRUST_DOMAIN)
        async with server.client() as client:
            assert (await client.post(EVALUATION, json=GOOD)).status_code == 200
            running.server.use(own_identity(tmp_path, other))
            assert (await client.post(EVALUATION, json=GOOD)).status_code == 401
        with pytest.raises(httpx.TransportError):
            await server.post(EVALUATION, GOOD)
        tls = server.tls(other.issue("pep"), authority=other)
        async with httpx.AsyncClient(verify=tls, trust_env=False) as client:
            response = await client.post(server.url + EVALUATION, json=GOOD)
            assert response.json()["decision"] is True

    run(tmp_path, scenario)


def own_identity(
    folder: Path, authority: ThrowawayAuthority, trust_pem: bytes | None = None
) -> Any:
    """What a server of this authority shows, who believes it alone unless told otherwise."""
    from pdp.config.settings import TlsSettings
    from pdp.identity.server_svid import load_server_svid

    shown = authority.issue("pdp", dns_names=["localhost"])
    certificate, key = shown.write(folder, "next")
    trust = folder / "next-trust.pem"
    trust.write_bytes(trust_pem or authority.bundle_pem)
    return load_server_svid(TlsSettings(TRUST_DOMAIN, certificate, key, trust), time.time_ns())


def rotate_under_load(folder: Path, rotations: int) -> int:
    """Exchange the server's certificate so many times, its authority too, while clients ask.

    Two clients open a connection for every second call. Returns how many calls were made; each of
    them got its permit.
    """
    made = 0

    async def scenario(server: AuthzenServer) -> None:
        nonlocal made
        running, other = server.running, ThrowawayAuthority(TRUST_DOMAIN)
        both = running.authority.bundle_pem + other.bundle_pem
        ended = asyncio.Event()
        tls = server.tls()
        tls.load_verify_locations(cadata=other.bundle_pem.decode())

        async def ask() -> int:
            calls = 0
            while not ended.is_set():
                async with httpx.AsyncClient(verify=tls, trust_env=False) as client:
                    for _ in range(2):
                        response = await client.post(server.url + EVALUATION, json=GOOD)
                        assert (response.status_code, response.json()["decision"]) == (200, True)
                        calls += 1
            return calls

        asking = [asyncio.create_task(ask()) for _ in range(2)]
        shown = [own_identity(folder, authority, both) for authority in (other, running.authority)]
        for number in range(rotations):
            running.server.use(shown[number % 2])
            await asyncio.sleep(0.01)
        ended.set()
        made = sum(await asyncio.gather(*asking))

    run(folder, scenario)
    return made


def test_rotation_under_load_loses_no_call(tmp_path: Path) -> None:
    """Handshakes that fall between two certificates are made with one of them, whole."""
    assert rotate_under_load(tmp_path, 50) > 4


@pytest.mark.prove
def test_a_thousand_rotations_lose_no_call(tmp_path: Path, ledger: Ledger) -> None:
    """The same, a thousand times."""
    ledger(rotations=1_000, calls=rotate_under_load(tmp_path, 1_000), failed=0)


def test_sessions_are_never_resumed(tmp_path: Path) -> None:
    """A resumed session would show no certificates, and outlive what it was made from."""

    async def scenario(server: AuthzenServer) -> None:
        host, port = "localhost", int(server.url.rpartition(":")[2])
        context = server.tls()

        def connect(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool]:
            with (
                socket.create_connection((host, port)) as raw,
                context.wrap_socket(raw, server_hostname=host, session=session) as tls,
            ):
                tls.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                tls.recv(4_000)
                return tls.session, bool(tls.session_reused)

        session, _ = await asyncio.to_thread(connect, None)
        assert session is None or not session.has_ticket
        assert await asyncio.to_thread(connect, session) == (session, False) or not session

    run(tmp_path, scenario)


def test_the_end_lets_calls_in_flight_finish(tmp_path: Path) -> None:
    """Told to come back elsewhere while it drains; what is under way is answered, then closed."""

    async def scenario(server: AuthzenServer) -> None:
        running = server.running
        async with server.client() as client:
            await running.server.not_serving()
            response = await client.post(EVALUATION, json=GOOD)
            assert response.headers["connection"] == "close"
            running.recorder.mode, running.recorder.delay_s = "later", 0.3
            asking = asyncio.create_task(client.post(EVALUATION, json=GOOD))
            await asyncio.sleep(0.15)
            await running.server.stop(5.0)
            assert (await asking).json()["decision"] is True
            with pytest.raises(httpx.TransportError):
                await client.post(EVALUATION, json=GOOD)

    run(tmp_path, scenario)


# -- any bytes -------------------------------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=12,
)
_PATHS = ("subject", "subject.id", "subject.properties", "action", "resource.type", "context", "x")


def exchange(
    door: application.AuthzenDoor, body: bytes, path: str = EVALUATION
) -> tuple[int, dict[str, Any]]:
    """One request without a network; the caller is one of the callers."""

    async def play() -> tuple[int, dict[str, Any]]:
        sent: list[Any] = []
        scope = {
            "type": "http",
            "method": "POST",
            "raw_path": path.encode(),
            "headers": [(b"content-type", b"application/json")],
            "state": {},
        }

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await door(scope, receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])

    return asyncio.run(play())


@pytest.fixture(scope="module")
def bench() -> application.AuthzenDoor:
    """The door with the records of the scenario, and no listener."""
    policies, callers = records()
    snapshot = make_snapshot(callers=callers.entries, tenants={"default": policies})
    clock = HandClock()
    telemetry = Telemetry(None, clock.wall_ns)
    point = SearchDecisionPoint(
        HeldSnapshot(snapshot), MemoryRecorder(), clock=clock, telemetry=telemetry
    )
    offer = Offer(Address("127.0.0.1", 0), "", {})
    limits = Limits()
    door = application.AuthzenDoor(
        point,
        SvidVerifier(load_trust_bundle(TRUST_DOMAIN, ThrowawayAuthority(TRUST_DOMAIN).bundle_pem)),
        Gate(limits, clock),
        Pace(),
        limits=limits,
        clock=clock,
        telemetry=telemetry,
        offer=offer,
    )
    door._caller = lambda scope: CALLER  # type: ignore[method-assign]
    return door


@given(
    st.binary(max_size=60)
    | _JSON.map(lambda value: json.dumps(value).encode())
    | st.builds(
        lambda path, value: json.dumps(with_(path, value)).encode(), st.sampled_from(_PATHS), _JSON
    )
)
def test_any_body_is_refused_or_decided(bench: application.AuthzenDoor, body: bytes) -> None:
    """Never another status than 200 and 400, never a permit but to the question that has one."""
    status, found = exchange(bench, body)
    if status == 200:
        assert found["decision"] is (found["context"]["cause"] == "RULE")
    else:
        assert (status, found["error"]["status"]) == (400, 400)


# -- the process, the page -------------------------------------------------------------------------


def test_pdp_serve_opens_both_doors_and_closes_both(house: House) -> None:
    """One process, one record: a question over HTTP, SIGTERM, and the exit code is 0."""
    tree = quick_tree()
    tree["authzen"] = {"listen": "127.0.0.1:0", "base_url": BASE_URL}
    house.configure(tree)
    process = house.start()
    port = process.wait_for("authzen_listening")["port"]
    first = process.ask().record
    assert first is not None
    tls = ssl.create_default_context(cadata=house.authority.bundle_pem.decode())
    shown = house.folder / "shown.pem"
    shown.write_bytes(house.pep.key_pem + house.pep.certificate_pem)
    tls.load_cert_chain(shown)
    with httpx.Client(base_url=f"https://localhost:{port}", verify=tls, trust_env=False) as client:
        body = {
            "subject": {"type": "user", "id": "alice"},
            "action": {"name": "read"},
            "resource": {"type": "document", "id": "1"},
        }
        found = client.post(EVALUATION, json=body).json()
        assert found["decision"] is True
        assert found["context"]["record"]["seq"] == first.seq + 1
        assert process.stop() == 0


def test_the_page_shows_what_is_so(tmp_path: Path) -> None:
    """The programs of docs/authzen.md print what the page says."""
    page = (ROOT / "docs" / "authzen.md").read_text()
    programs = re.findall(r"(?ms)^```python\n(.*?)^```$", page)
    printed = re.findall(r"(?ms)^```text\n(.*?)^```$", page)
    (policy,) = re.findall(r"(?ms)^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text())
    with Checker() as checker:
        sources = {
            "p.yaml": policy.encode(),
            "c.yaml": CALLERS.replace("record", "report").encode(),
        }
        found = compile_sources(sources, checker)
    policies = {"default": found.policy_set(EvaluationLimits())}
    snapshot = now_snapshot(policies=policies, callers=found.callers)
    (listed,) = re.findall(r"(?ms)^```json\n(.*?)^```$", page)
    (tables,) = re.findall(r"(?ms)^```sql\n(.*?)^```$", page)
    (tmp_path / "directory.json").write_text(listed)
    with sqlite3.connect(tmp_path / "directory.db") as connection:
        connection.executescript(tables)
        for kind in ("subjects", "resources"):
            connection.executemany(
                f"INSERT INTO {kind} VALUES ('default', ?, ?, ?)",  # noqa: S608 ours
                [
                    (item["type"], item["id"], json.dumps(item.get("properties", {})))
                    for item in json.loads(listed)[kind]
                ],
            )
    connection.close()

    async def scenario(server: AuthzenServer) -> None:
        server.running.pep.write(tmp_path, "me")
        (tmp_path / "ca.pem").write_bytes(server.running.authority.bundle_pem)
        for program, shown in zip(programs, printed, strict=True):
            assert BASE_URL in program
            ran = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", program.replace(BASE_URL, server.url)),
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await ran.communicate()
            assert out.decode() == shown

    for directory in (
        DirectoryFile(tmp_path / "directory.json"),
        SqliteDirectory(tmp_path / "directory.db"),
    ):
        limits = Limits(deadline_default_s=20.0, deadline_max_s=20.0)
        run(tmp_path, scenario, snapshot=snapshot, searching=searching(directory), limits=limits)


@given(
    st.lists(_JSON | st.builds(with_, st.sampled_from(_PATHS), _JSON), min_size=1, max_size=4),
    st.dictionaries(st.sampled_from(("subject", "action", "context", "options")), _JSON),
)
def test_any_batch_is_refused_or_decided(
    bench: application.AuthzenDoor, items: list[Any], rest: dict[str, Any]
) -> None:
    """As for one: 400, or an answer for each item, true only where a rule says so."""
    body = json.dumps({"evaluations": items, **rest}).encode()
    status, found = exchange(bench, body, EVALUATIONS)
    if status == 200:
        assert len(found["evaluations"]) == len(items)
        for item in found["evaluations"]:
            assert item["decision"] is (item["context"]["cause"] == "RULE")
    else:
        assert (status, found["error"]["status"]) == (400, 400)
