"""The door for Envoy: what goes on is what was permitted, and every failure is a denial."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp import http_question
from pdp.audit.entry import Capture
from pdp.authoring.throwaway import ThrowawayAuthority
from pdp.config.settings import Limits, TlsSettings
from pdp.fetched import Fetched, FetchOutcome
from pdp.fetching import Asked
from pdp.http_mapping import DECISION_HEADER, OVERRIDES, UpstreamSource
from pdp.identity.server_svid import load_server_svid
from pdp.identity.token import TokenVerifier
from pdp.identity.trust import load_trust_bundle
from pdp.model import Cause, Decision, Effect, Obligation, deny
from pdp.server.envoy import answers, door, messages
from pdp.snapshot import Denials
from pdp.v1 import audit_pb2
from pdp.v1 import authorization_pb2 as wire_pb
from pdp.v1 import ext_authz_pb2 as pb
from pdp.values import NANOS
from tests.simulators.certificates import BAD, PEP, TRUST_DOMAIN, forge
from tests.simulators.decision_points import (
    HandClock,
    RunningServer,
    now_snapshot,
    running_server,
)
from tests.simulators.envoy import (
    CHECK,
    check_request,
    mapping_of,
    set_headers,
    told,
    with_body,
)
from tests.simulators.envoy_door import (
    AUTHORITY,
    ENTRY,
    HOUR_NS,
    LABEL,
    Bench,
    Call,
    with_certificate,
    workload,
)
from tests.simulators.token_issuer import TokenIssuer, file_keys
from tests.test_fetching import provided

ALLOWED = (200, "RULE")
WORKLOADS = dataclasses.replace(ENTRY, asserts=("user", "workload"))
PROVED = dataclasses.replace(ENTRY, asserts=None)


# -- permits and denials ---------------------------------------------------------


def test_a_permit_lets_the_request_go_on() -> None:
    """With the headers that the mapping sets, and without those that no client may send on."""
    bench = Bench()
    answer = bench.ask()
    assert told(answer) == ALLOWED
    assert set_headers(answer) == {"x-user-id": "alice", DECISION_HEADER: bench.record.decision_id}
    assert set(answer.ok_response.headers_to_remove) == {"x-role", *OVERRIDES}
    for each in answer.ok_response.headers:
        # In both ways that Envoy has: what the client sent under that name is replaced.
        assert each.HasField("append")
        assert each.append.value is False
        assert each.append_action == pb.EnvoyHeaderOption.APPEND_ACTION_OVERWRITE_IF_EXISTS_OR_ADD


def test_a_denial_is_a_denied_response_without_attributes() -> None:
    """403, the decision's id, the author's own words; no cause, no rule, nothing that was asked."""
    bench = Bench()
    answer = bench.ask(check_request("DELETE", "/documents/secret-7"))
    assert told(answer) == (403, "RULE")
    assert answer.status.code == 7
    body = json.loads(answer.denied_response.body)
    assert body == {
        "error": "forbidden",
        "decision_id": bench.record.decision_id,
        "reasons": ["Ask the archive."],
    }
    shown = str(answer.denied_response)
    for secret in ("alice", "secret-7", "nobody-destroys", "documents", "RULE"):
        assert secret not in shown


def test_there_is_no_way_to_say_that_the_service_failed() -> None:
    """`error_response` obeys `failure_mode_allow`: our message has no such field."""
    fields = {field.name: field.number for field in pb.EnvoyCheckResponse.DESCRIPTOR.fields}
    assert fields == {
        "status": 1, "denied_response": 2, "ok_response": 3, "dynamic_metadata": 4,
    }  # fmt: skip


def test_the_record_names_door_and_request_without_secrets() -> None:
    """Route, method, host and path; no query, no header, no body, with full capture too."""
    for capture in Capture:
        bench = Bench(capture=capture)
        check = check_request(
            path="/documents/7?token=s3cret",
            headers={"cookie": "s3cret", "authorization": "Bearer s3cret"},
        )
        assert bench.told(check) == ALLOWED
        record = bench.record
        assert record.door == "ext_authz"
        assert record.http == audit_pb2.HttpFacts(
            route="read", method="GET", host="docs.example.org", path="/documents/7"
        )
        assert (record.subject.id, record.action, record.resource_id) == ("alice", "read", "7")
        assert record.caller.spiffe_id == PEP
        assert record.request_id == "0b1c"
        assert record.request_digest == hashlib.sha256(check.SerializeToString()).digest()
        assert not record.request
        if capture is Capture.ATTRIBUTES:
            assert b"s3cret" not in record.SerializeToString()
        record.ClearField("attributes")
        # What the mapping puts into the context is the author's choice, and only that is kept.
        assert b"s3cret" not in record.SerializeToString()


def test_a_denied_request_that_asks_nothing_is_recorded() -> None:
    """Who sent what to a service is there for the investigator, bounded and readable."""
    bench = Bench()
    assert bench.told(check_request(path="/a/%2e%2e/" + "b" * 3_000)) == (403, "INVALID")
    assert bench.record.http.path.startswith("/a/%2e%2e/")
    assert len(bench.record.http.path) == 1_024
    assert bench.record.effect == wire_pb.EFFECT_DENY
    assert bench.told(check_request(path="/nowhere")) == (403, "DEFAULT")
    assert bench.record.http.route == ""


# -- what fails, denies --------------------------------------------------------------


def _failing() -> dict[str, Callable[[], tuple[int, str]]]:
    """Ways to fail: each gives status and cause."""

    def stale() -> tuple[int, str]:
        bench = Bench()
        bench.clock.wall += 2 * HOUR_NS
        # Our caller's certificate has run out as well: a new one.
        shown = forge(AUTHORITY, ends=timedelta(hours=9)).certificate_pem
        return told(bench.ask(call=Call(shown)))

    def without_bundle() -> tuple[int, str]:
        bench = Bench()
        bench.snapshots.snapshot = None
        return bench.told()

    def record(mode: str) -> Callable[[], tuple[int, str]]:
        def run() -> tuple[int, str]:
            bench = Bench()
            bench.recorder.mode = mode
            return bench.told()

        return run

    def broken(part: str) -> Callable[[], tuple[int, str]]:
        def run() -> tuple[int, str]:
            bench = Bench()

            def breaks(*_: object, **__: object) -> Any:
                raise ZeroDivisionError

            setattr(bench.door, part, breaks)
            return told(bench.ask())

        return run

    def overloaded() -> tuple[int, str]:
        bench = Bench(limits=Limits(requests_in_flight_max=1))
        bench.native.gate.enter(1)
        return bench.told()

    return {
        "no message": lambda: told(Bench().send(b"\xff\xff")),
        "an empty message": lambda: told(Bench().send(b"")),
        "too long a message": lambda: told(
            Bench(limits=Limits(message_bytes_max=100)).ask(check_request(path="/" + "a" * 200))
        ),
        "no mapping": lambda: Bench(unmapped=True).told(),
        "a stranger": lambda: told(
            Bench().ask(call=Call(BAD["two_identities"].make(AUTHORITY).certificate_pem))
        ),
        "another authority": lambda: told(
            Bench().ask(call=Call(forge(ThrowawayAuthority(TRUST_DOMAIN)).certificate_pem))
        ),
        "no time": lambda: told(Bench().ask(call=Call(remaining_s=0.0))),
        "stale": stale,
        "no bundle": without_bundle,
        "a full disk": record("fails"),
        "a recorder that breaks": record("breaks"),
        "a broken door": broken("_question"),
        "broken answers": broken("_answered"),
        "overload": overloaded,
        "a caller that is denied": lambda: Bench(denials=Denials(callers=frozenset({PEP}))).told(),
        "a subject that is denied": lambda: Bench(
            denials=Denials(subjects=frozenset({("user", "alice")}))
        ).told(),
        "an unknown tenant": lambda: Bench().told(_tenant("elsewhere")),
    }


def _tenant(name: str) -> pb.EnvoyCheckRequest:
    check = check_request()
    check.attributes.context_extensions["tenant"] = name
    return check


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("no message", "INVALID"),
        ("an empty message", "INVALID"),
        ("too long a message", ""),
        ("no mapping", "DEFAULT"),
        ("a stranger", ""),
        ("another authority", ""),
        ("no time", "DEADLINE"),
        ("stale", "STALE"),
        ("no bundle", "NO_BUNDLE"),
        ("a full disk", "AUDIT"),
        ("a recorder that breaks", "INTERNAL"),
        ("a broken door", ""),
        ("broken answers", ""),
        ("overload", "OVERLOADED"),
        ("a caller that is denied", "CALLER"),
        ("a subject that is denied", "IDENTITY"),
        ("an unknown tenant", "INVALID"),
    ],
)
def test_check_never_ends_with_an_error_status(name: str, cause: str) -> None:
    """Whatever fails, Envoy gets a `denied_response` that `failure_mode_allow` does not touch."""
    assert _failing()[name]() == (403, cause)


def test_check_never_ends_with_an_error_status_twin_without_guard() -> None:
    """The native door tells a stranger an error status, which Envoy may be told to ignore."""
    bench = Bench()

    async def as_native(message: bytes, context: Call) -> bytes:
        return await bench.native.guarded(bench.door._check(message, context), context)

    shown = BAD["two_identities"].make(AUTHORITY).certificate_pem
    with pytest.raises(AssertionError, match="UNAUTHENTICATED"):
        asyncio.run(as_native(check_request().SerializeToString(), Call(shown)))


def test_only_a_permit_with_a_record_goes_on() -> None:
    """The one function that says yes refuses every other decision."""
    permit = Decision(Effect.PERMIT, Cause.RULE, decision_id="d-1")
    values = dict.fromkeys(UpstreamSource, "x")
    mapping = mapping_of()
    assert answers.allowed(permit, mapping, values) is not None
    assert answers.allowed(deny(Cause.RULE), mapping, values) is None
    assert answers.allowed(dataclasses.replace(permit, decision_id=""), mapping, values) is None
    for cause in Cause:
        assert told(answers.denied(deny(cause)))[0] == 403
    # A permit that must not be said is a denial too.
    assert told(answers.denied(permit)) == (403, "RULE")


# -- obligations ---------------------------------------------------------------------


def test_an_obligation_that_envoy_cannot_meet_is_a_denial() -> None:
    """A watermark is nothing that a proxy does: UNUSABLE, as a client would say."""
    bench = Bench()
    assert bench.told(check_request("MARK")) == (403, "UNUSABLE")
    assert bench.telemetry.counters["refused", "unmet_obligation"] == 1


def test_an_obligation_that_envoy_cannot_meet_twin_without_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If obligations were not looked at, the request would go on without its watermark."""
    monkeypatch.setattr(answers, "obliged", lambda _: {})
    assert Bench().told(check_request("MARK")) == ALLOWED


def test_a_header_for_the_upstream_is_an_obligation_that_is_met() -> None:
    """The upstream gets it, whatever the client sent under that name."""
    answer = Bench().ask(check_request("LABEL", headers={"x-label": "public"}))
    assert told(answer) == ALLOWED
    assert set_headers(answer)["x-label"] == "internal"


@pytest.mark.parametrize(
    "duties",
    [
        [Obligation("a", "upstream_header", {"name": "x-a"})],
        [Obligation("a", "upstream_header", {"name": "x-a", "value": 1})],
        [Obligation("a", "upstream_header", {"name": "X-A", "value": "b"})],
        [Obligation("a", "upstream_header", {"name": "host", "value": "b"})],
        [Obligation("a", "upstream_header", {"name": "x-envoy-a", "value": "b"})],
        [Obligation("a", "upstream_header", {"name": DECISION_HEADER, "value": "b"})],
        [Obligation("a", "upstream_header", {"name": ":path", "value": "/"})],
        [Obligation("a", "upstream_header", {"name": "x-a", "value": "b\r\nx-role: root"})],
        [Obligation("a", "upstream_header", {"name": "x-a", "value": "é"})],
        [Obligation("a", "upstream_header", {"name": "x-a", "value": ""})],
        [Obligation("a", "upstream_header", {"name": "x-a", "value": "b", "more": 1})],
        [LABEL, dataclasses.replace(LABEL, properties={"name": "x-label", "value": "other"})],
        [LABEL, Obligation("a", "step-up")],
    ],
)
def test_an_obligation_that_is_no_header_is_not_met(duties: list[Obligation]) -> None:
    """Injection, framing, two values for one name, anything besides: nothing goes on."""
    assert answers.obliged(duties) is None
    permit = Decision(Effect.PERMIT, Cause.RULE, obligations=tuple(duties), decision_id="d-1")
    assert answers.allowed(permit, mapping_of(), {}) is None


def test_an_obligation_does_not_replace_what_the_mapping_sets() -> None:
    """One name, two authors: nobody knows which was meant."""
    duty = Obligation("a", "upstream_header", {"name": "x-user-id", "value": "root"})
    permit = Decision(Effect.PERMIT, Cause.RULE, obligations=(duty,), decision_id="d-1")
    values = dict.fromkeys(UpstreamSource, "x")
    assert answers.allowed(permit, mapping_of(), values) is None


# -- what a client may try --------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/documents/..%2f1", "/documents/%252e%252e", "/documents//1", "/documents/1;a", "/a\\1",
     "/documents/%c0%af", "/documents/1%00", "documents/1", "//documents/1", "/documents/%2e"],
)  # fmt: skip
def test_attack_path_confusion_is_denied(path: str) -> None:
    """Traversal, double encoding, separators, overlong forms: INVALID, before any rule."""
    assert Bench().told(check_request(path=path)) == (403, "INVALID")


@pytest.mark.parametrize(
    "headers",
    [
        {":path": "/documents/2"},
        {":method": "DELETE"},
        {":authority": "other.example.org"},
        {"host": "other.example.org"},
        {":scheme": "http"},
        {"X-Subject": "root"},
        {"bad name": "x"},
        {f"x-{number}": "" for number in range(300)},
        {"x-flood": "a" * 70_000},
    ],
)
def test_attack_headers_that_contradict_are_denied(headers: dict[str, str]) -> None:
    """A second path, a name in two spellings, floods: INVALID."""
    assert Bench().told(check_request(headers=headers)) == (403, "INVALID")


def test_attack_a_smuggled_client_certificate_header_is_nobody() -> None:
    """`x-forwarded-client-cert` from a client feeds nothing: it is no readable header at all."""
    bench = Bench(callers=(WORKLOADS,))
    said = {"x-forwarded-client-cert": f"URI=spiffe://{TRUST_DOMAIN}/backup"}
    assert bench.told(check_request(path="/workload", headers=said)) == (403, "INVALID")
    assert bench.record.subject.id == ""


def test_attack_a_fragment_a_second_query_or_no_request_is_denied() -> None:
    """What no client sends, and what says one thing in two ways."""
    bench = Bench()
    assert bench.told(check_request(fragment="x")) == (403, "INVALID")
    assert bench.told(check_request(path="/documents/1?a=1", query="a=2")) == (403, "INVALID")
    assert bench.told(check_request(path="/documents/1?a=1", query="a=1")) == ALLOWED
    assert bench.told(pb.EnvoyCheckRequest(attributes={})) == (403, "INVALID")
    both = check_request()
    both.attributes.request.http.header_map.headers.add(key="x-subject", value="bob")
    assert bench.told(both) == (403, "INVALID")


def test_raw_headers_are_read_like_others() -> None:
    """With `encode_raw_headers` they come as a list: joined by name, bytes kept."""
    bench = Bench()
    check = check_request()
    http = check.attributes.request.http
    http.ClearField("headers")
    http.header_map.headers.add(key="X-Subject", raw_value=b"alice")
    http.header_map.headers.add(key="x-request-id", value="0b1c")
    assert bench.told(check) == ALLOWED
    assert bench.record.subject.id == "alice"
    assert bench.record.request_id == "0b1c"
    http.header_map.headers.add(key="x-subject", raw_value=b"root")
    assert bench.told(check) == ALLOWED
    assert bench.record.subject.id == "alice,root"
    http.header_map.headers.add(key="x-subject", raw_value=b"\xff")
    assert bench.told(check) == (403, "INVALID")
    http.header_map.headers.add(key="x-a", value="b", raw_value=b"c")
    assert bench.told(check) == (403, "INVALID")


def test_a_subject_that_cannot_be_a_header_is_denied_before_it_is_decided() -> None:
    """The mapping sets a header from it: no line break, nothing beyond ASCII, not empty."""
    body = {"subject": {"id": "al\nice", "properties": {}}, "action": "read",
            "resource": {"id": "1", "properties": {}}, "context": {}}  # fmt: skip
    bench = Bench()
    assert bench.told(with_body(json.dumps(body).encode())) == (403, "INVALID")
    assert bench.record.effect == wire_pb.EFFECT_DENY


# -- the body -----------------------------------------------------------------------------

_BODY = json.dumps(
    {
        "subject": {"id": "alice", "properties": {"roles": ["manager"]}},
        "action": "write",
        "resource": {"id": "1", "properties": {}},
        "context": {},
    }
).encode()


def test_a_whole_body_can_be_read() -> None:
    """As JSON, where Envoy says that it sent all of it."""
    bench = Bench()
    assert bench.told(with_body(_BODY)) == ALLOWED
    assert bench.told(with_body(_BODY, content_length=str(len(_BODY)))) == ALLOWED


@pytest.mark.parametrize(
    "check",
    [
        with_body(_BODY, "true"),
        with_body(_BODY, ""),
        with_body(_BODY, "False"),
        with_body(_BODY, content_length=str(len(_BODY) + 1)),
        with_body(_BODY, content_length="0"),
        with_body(_BODY, content_encoding="gzip"),
        with_body(_BODY, content_type="text/plain"),
        with_body(_BODY[:-1]),
        with_body(_BODY + b"{}"),
        with_body(_BODY.replace(b'"action"', b'"action": "read", "action"')),
        with_body(b"\xff" + _BODY),
        with_body(b""),
        check_request("POST", "/ask", {"content-type": "application/json"}, body=_BODY.decode()),
    ],
)
def test_attack_a_body_that_is_not_wholly_known_is_unknown(check: pb.EnvoyCheckRequest) -> None:
    """Partial, cut, longer than it says, packed, said twice, not bytes: reading it is an error."""
    assert Bench().told(check) == (403, "INVALID")


def test_a_body_that_is_not_wholly_known_twin_without_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If Envoy's word were not asked for, the part of a body would be taken for all of it."""
    monkeypatch.setattr(messages, "_body", lambda http, _: http.raw_body)
    assert Bench().told(with_body(_BODY, "true")) == ALLOWED


def test_a_body_in_two_forms_is_refused() -> None:
    """Text and bytes at once."""
    check = with_body(_BODY)
    check.attributes.request.http.body = "{}"
    assert Bench().told(check) == (403, "INVALID")


# -- who the subject is ----------------------------------------------------------------------


def test_a_forwarded_certificate_is_a_subject_only_with_a_grant() -> None:
    """The caller policy lets Envoy assert workloads, or not; nothing else makes it so."""
    check = with_certificate(check_request(path="/workload"), workload())
    granted, plain = Bench(callers=(WORKLOADS,)), Bench()
    assert granted.told(check) == ALLOWED
    assert granted.record.subject.type == "workload"
    assert granted.record.subject.id == f"spiffe://{TRUST_DOMAIN}/backup"
    assert granted.record.caller.spiffe_id == PEP
    assert plain.told(check) == (403, "CALLER")
    proved = Bench(callers=(PROVED,))
    assert proved.told(check) == (403, "IDENTITY")


@pytest.mark.parametrize(
    "forwarded",
    [
        with_certificate(
            check_request(path="/workload"), workload(ThrowawayAuthority(TRUST_DOMAIN))
        ),
        with_certificate(check_request(path="/workload"), workload(), f"spiffe://{TRUST_DOMAIN}/a"),
        with_certificate(
            check_request(path="/workload"),
            forge(AUTHORITY, starts=timedelta(days=-2), ends=timedelta(days=-1)),
        ),
        with_certificate(check_request(path="/workload"), BAD["leaf_is_authority"].make(AUTHORITY)),
        check_request(path="/workload"),
    ],
)
def test_attack_a_forwarded_certificate_that_proves_nothing(
    forwarded: pb.EnvoyCheckRequest,
) -> None:
    """Of another authority, of somebody else, expired, of an authority, or none: INVALID."""
    assert Bench(callers=(WORKLOADS,)).told(forwarded) == (403, "INVALID")


def test_attack_a_forwarded_certificate_twin_without_guard() -> None:
    """If the certificate were not verified, one of another authority would be a subject."""
    bench = Bench(callers=(WORKLOADS,))
    bench.verifier.use(
        load_trust_bundle(TRUST_DOMAIN, (other := ThrowawayAuthority(TRUST_DOMAIN)).bundle_pem)
    )
    check = with_certificate(check_request(path="/workload"), workload(other))
    shown = forge(other).certificate_pem
    assert told(bench.ask(check, Call(shown))) == ALLOWED


def test_a_forwarded_certificate_that_is_denied_gets_nothing() -> None:
    """By its serial or its identity, also where the subject comes from elsewhere."""
    svid = workload()
    name = f"spiffe://{TRUST_DOMAIN}/backup"
    serials = frozenset({(TRUST_DOMAIN, f"{svid.leaf.serial_number:x}")})
    for denials in (Denials(serials=serials), Denials(callers=frozenset({name}))):
        bench = Bench(callers=(WORKLOADS,), denials=denials)
        for path in ("/workload", "/documents/1"):
            check = with_certificate(check_request(path=path), svid)
            assert bench.told(check) == (403, "IDENTITY")
            # The twin: another certificate, of another workload, is answered.
            other = with_certificate(check_request(path=path), workload(name="other"))
            assert bench.told(other) == ALLOWED


def test_an_envoy_without_a_grant_asks_nothing() -> None:
    """Another resource type, another action, or no entry: CALLER, recorded."""
    for entry in (
        dataclasses.replace(ENTRY, resources=("invoice",)),
        dataclasses.replace(ENTRY, actions=("write",)),
        dataclasses.replace(ENTRY, asserts=("machine",)),
        dataclasses.replace(ENTRY, id=f"spiffe://{TRUST_DOMAIN}/other"),
    ):
        bench = Bench(callers=(entry,))
        assert bench.told() == (403, "CALLER")
        assert bench.record.cause == wire_pb.CAUSE_CALLER


class Tokens:
    """A door that verifies tokens, and an honest issuer."""

    def __init__(self, folder: Path) -> None:
        clock = HandClock(wall=time.time_ns())
        self.now_s = clock.wall // NANOS
        self.bench = Bench(
            callers=(PROVED,),
            tokens=TokenVerifier([file_keys(folder, clock=clock)]),
            clock=clock,
        )

    def token(self, **claims: object) -> str:
        """A good token, but for these claims."""
        times = {"iat": self.now_s - 10, "exp": self.now_s + 300}
        return TokenIssuer().token(**times | claims)

    def told(self, *values: str) -> tuple[int, str]:
        """With these `authorization` headers."""
        return told(self.answer(*values))

    def answer(self, *values: str, path: str = "/token") -> pb.EnvoyCheckResponse:
        """The whole answer."""
        headers = {"authorization": ",".join(values)} if values else {}
        return self.bench.ask(check_request(path=path, headers=headers))


def test_a_bearer_token_proves_the_subject(tmp_path: Path) -> None:
    """Type and id are the token's; the record names issuer and jti, never the token."""
    desk = Tokens(tmp_path)
    token = desk.token()
    assert desk.told(f"Bearer {token}") == ALLOWED
    assert desk.told(f"bearer {token}") == ALLOWED
    record = desk.bench.record
    assert (record.subject.type, record.subject.id, record.subject.jti) == ("user", "alice", "t-1")
    assert token.encode() not in record.SerializeToString()
    assert desk.bench.telemetry.counters["tokens", "verified"] == 2


def test_no_token_or_a_bad_one_is_401(tmp_path: Path) -> None:
    """Missing, expired, two at once, another scheme: IDENTITY, and told what to bring."""
    desk = Tokens(tmp_path)
    good = f"Bearer {desk.token()}"
    for values in (
        (),
        ("Bearer",),
        ("Bearer  x.y.z",),
        ("Basic YTpi",),
        (f"Bearer {desk.token(exp=desk.now_s - 1)}",),
        (f"Bearer {desk.token(aud='elsewhere')}",),
        (good, good),
        (f"{good} ",),
    ):
        answer = desk.answer(*values)
        assert told(answer) == (401, "IDENTITY"), values
        headers = {each.header.key: each.header.value for each in answer.denied_response.headers}
        assert headers["www-authenticate"] == "Bearer"
        assert desk.bench.record.cause == wire_pb.CAUSE_IDENTITY


def test_a_route_that_asserts_does_not_pass_where_a_token_is_required(tmp_path: Path) -> None:
    """The caller policy wants proof: a header that names alice is none, whatever comes with it."""
    desk = Tokens(tmp_path)
    headers = f"Bearer {desk.token()}"
    assert told(desk.answer(headers, path="/documents/1")) == (403, "IDENTITY")
    assert told(desk.answer(path="/documents/1")) == (403, "IDENTITY")


def test_a_token_is_verified_by_the_decision_point_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proof that a door made up is verified anew; the twin shows that the question would pass."""
    desk = Tokens(tmp_path)
    assert desk.told("Bearer a.b.c") == (401, "IDENTITY")
    token = desk.token()
    verify = http_question.HttpQuestion.translate

    def fooled(self: Any, snapshot: Any, home: str, now_ns: int, _: Any) -> Any:
        found = desk.bench.point._tokens
        assert found is not None
        return verify(self, snapshot, home, now_ns, lambda _text: found.verify(token, now_ns))

    monkeypatch.setattr(http_question.HttpQuestion, "translate", fooled)
    assert desk.told("Bearer a.b.c") == ALLOWED


# -- several tenants -----------------------------------------------------------------------


def test_a_tenants_mapping_asks_that_tenants_policies() -> None:
    """The route's configuration in Envoy says whose; one without a mapping has nobody let in."""
    entry = dataclasses.replace(ENTRY, tenants=("default", "north", "south"))
    bench = Bench(callers=(entry,))
    south = """
kind: http_mapping
routes:
  - id: everything-is-destroyed
    subject: {type: user, id: '"anyone"'}
    action: '"destroy"'
    resource: {type: document, id: http.path}
"""
    policies = dict.fromkeys(("default", "north", "south"), bench.snapshot.policies["default"])
    bench.snapshots.snapshot = dataclasses.replace(
        bench.snapshot,
        policies=policies,
        mappings={"default": mapping_of(), "south": mapping_of(south)},
    )
    assert bench.told(_tenant("default")) == ALLOWED
    assert bench.record.tenant == "default"
    assert bench.told(_tenant("south")) == (403, "RULE")
    assert (bench.record.tenant, bench.record.http.route) == ("south", "everything-is-destroyed")
    assert bench.told(_tenant("north")) == (403, "DEFAULT")
    # None is named, and the operator has not said whose it is.
    assert bench.told(check_request()) == (403, "INVALID")


# -- attributes that nobody sends ----------------------------------------------------------


class Directory:
    """Says who is a clerk; remembers whom it was asked about."""

    def __init__(self, clerks: frozenset[str]) -> None:
        self.clerks = clerks
        self.asked: list[tuple[str, str]] = []

    async def fetch(self, asked: Collection[Asked], deadline: float) -> Mapping[Asked, Fetched]:
        """As `AttributeSource`."""
        assert deadline
        self.asked += [(each.type, each.id) for each in asked]
        return {
            each: Fetched(
                each.provider,
                FetchOutcome.FETCHED,
                {"roles": ["clerk"] if each.id in self.clerks else []},
            )
            for each in asked
        }


def test_providers_are_asked_about_the_subject_of_the_mapping() -> None:
    """What they say decides; a body that says it too is denied, as through every door."""
    directory = Directory(frozenset({"alice"}))
    bench = Bench(policies=provided(), attributes=directory)
    assert bench.told() == ALLOWED
    assert bench.told(check_request(headers={"x-subject": "bob"})) == (403, "DEFAULT")
    assert directory.asked == [("user", "alice"), ("user", "bob")]
    body = json.loads(_BODY) | {"action": "read"}
    body["subject"] = {"id": "bob", "properties": {"roles": ["clerk"]}}
    assert bench.told(with_body(json.dumps(body).encode()))[0] == 403
    assert Bench(policies=provided()).told()[0] == 403


# -- over the wire ------------------------------------------------------------------------------


async def ask_over(
    running: RunningServer, check: pb.EnvoyCheckRequest | None = None
) -> pb.EnvoyCheckResponse:
    """One call over mutual TLS."""
    async with running.channel() as channel:
        method = channel.unary_unary(CHECK, bytes, pb.EnvoyCheckResponse.FromString)
        found: pb.EnvoyCheckResponse = await method(
            (check or check_request()).SerializeToString(), timeout=5
        )
        return found


async def health_of(running: RunningServer, service: str) -> int:
    """What health says of a service."""
    async with running.channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        found = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        return int(found.status)


def mapped(**changes: Any) -> Any:
    """A fresh snapshot with a mapping."""
    return dataclasses.replace(now_snapshot(**changes), mappings={"default": mapping_of()})


def test_the_door_is_off_unless_it_is_switched_on(tmp_path: Path) -> None:
    """Without the setting there is no such service."""

    async def scenario() -> None:
        async with running_server(tmp_path, snapshot=mapped()) as running:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ask_over(running)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(scenario())


def test_health_says_whether_there_is_a_mapping(tmp_path: Path) -> None:
    """Without one every request is denied, the log says so, and the PDP itself is well."""

    async def scenario() -> None:
        async with running_server(tmp_path, snapshot=now_snapshot(), envoy=True) as running:
            assert await health_of(running, door.SERVICE) == 2
            assert await health_of(running, "") == 1
            assert told(await ask_over(running)) == (403, "DEFAULT")
            running.snapshots.snapshot = mapped()
            await running.server.look()
            assert await health_of(running, door.SERVICE) == 1
            # Its obligation is none of ours.
            assert told(await ask_over(running)) == (403, "UNUSABLE")
            assert told(await ask_over(running, check_request("DELETE"))) == (403, "RULE")
            running.snapshots.snapshot = None
            await running.server.look()
            assert await health_of(running, door.SERVICE) == 2

    asyncio.run(scenario())


def test_an_authority_that_is_gone_denies_on_an_open_connection(tmp_path: Path) -> None:
    """Rotation: the next call of an Envoy whose authority is believed no more is denied."""

    async def scenario() -> None:
        async with (
            running_server(tmp_path, snapshot=mapped(), envoy=True) as running,
            running.channel() as channel,
        ):
            method = channel.unary_unary(CHECK, bytes, pb.EnvoyCheckResponse.FromString)
            message = check_request("DELETE").SerializeToString()
            assert told(await method(message, timeout=5)) == (403, "RULE")
            other = ThrowawayAuthority(TRUST_DOMAIN)
            certificate, key = other.issue("pdp", dns_names=["localhost"]).write(tmp_path, "next")
            (tmp_path / "next-trust.pem").write_bytes(other.bundle_pem)
            tls = TlsSettings(TRUST_DOMAIN, certificate, key, tmp_path / "next-trust.pem")
            running.server.use(load_server_svid(tls, running.clock.wall_ns()))
            assert told(await method(message, timeout=5)) == (403, "")

    asyncio.run(scenario())


def test_a_compressed_or_giant_message_is_not_read(tmp_path: Path) -> None:
    """GRPC itself stops what is far above the limit; nothing is permitted by it."""

    async def scenario() -> None:
        async with running_server(tmp_path, snapshot=mapped(), envoy=True) as running:
            check = check_request(headers={"x-flood": "a" * 600_000})
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ask_over(running, check)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    asyncio.run(scenario())


# -- fuzz ----------------------------------------------------------------------------------

_TEXT = st.text(max_size=30) | st.sampled_from(
    [
        "",
        "/",
        "/documents/1",
        "/documents/%2e",
        "GET",
        "DELETE",
        "alice",
        "docs.example.org",
        "false",
    ]
)


@st.composite
def check_requests(draw: st.DrawFn) -> bytes:
    """Bytes that are, or nearly are, what Envoy sends."""
    check = check_request(
        draw(st.sampled_from(["GET", "PUT", "DELETE", "POST", "x"])), "/documents/1"
    )
    http = check.attributes.request.http
    for name in draw(
        st.lists(
            st.sampled_from(["path", "host", "scheme", "query", "fragment", "body", "protocol"])
        )
    ):
        setattr(http, name, draw(_TEXT))
    http.raw_body = draw(st.binary(max_size=20))
    for key, value in draw(st.dictionaries(_TEXT, _TEXT, max_size=4)).items():
        http.headers[key] = value
    if draw(st.booleans()):
        check.attributes.source.certificate = draw(_TEXT)
        check.attributes.source.principal = draw(_TEXT)
    data = bytearray(check.SerializeToString())
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


_NOTHING = Bench(callers=(dataclasses.replace(ENTRY, actions=("destroy",)),))


@given(st.lists(st.binary(max_size=200) | check_requests(), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_hostile_check_requests_never_permit_and_never_crash(batch: list[bytes]) -> None:
    """Whatever arrives from an Envoy that may only ask what is denied: a denial, and no failure."""
    for message in batch:
        status, _ = told(_NOTHING.send(message))
        assert status in {401, 403}
    assert _NOTHING.telemetry.counters["failures", "decision_point"] == 0
    assert _NOTHING.telemetry.counters["refused", "internal"] == 0


def test_hostile_check_requests_twin_with_a_permit() -> None:
    """With a caller that may read, the same requests are not all denied: the test would see it."""
    assert Bench().told() == ALLOWED
    assert _NOTHING.told()[0] == 403
