"""The same question gets the same answer through every door: one table, run through each."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from ruamel.yaml import YAML

from pdp import wire
from pdp.admission import Denials
from pdp.callers import CallerEntry
from pdp.config.settings import Address, AuthzenSettings
from pdp.decision_point import SystemClock
from pdp.fetched import Fetched, FetchOutcome
from pdp.fetching import Asked
from pdp.identity.spiffe_id import parse_spiffe_id
from pdp.model import Action, Caller, Decision, Request, Resource, Subject
from pdp.provided import ProviderDocument
from pdp.schema import Kind, Property, Schema, SchemaDocument, Target
from pdp.server.authzen.pages import load_offer
from pdp.v1 import authorization_pb2 as pb
from pdp.v1.ext_authz_pb2 import EnvoyCheckResponse
from pdp.value_codec import value_to_pb
from pdp.values import NANOS, Value
from tests.conftest import ROOT
from tests.simulators.authzen import BASE_URL, EVALUATION, EVALUATIONS, AuthzenServer
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.decision_points import (
    AUTHORIZE,
    RunningServer,
    make_snapshot,
    now_snapshot,
    policies,
    running_server,
)
from tests.simulators.envoy import CHECK, EVERY_QUESTION, mapping_of, told, with_body
from tests.simulators.token_issuer import ISSUER, TokenIssuer, verifier
from tests.test_batch import BATCH
from tests.test_stream import STREAM

CASES: list[dict[str, Any]] = YAML(typ="safe").load(
    (ROOT / "tests" / "cases" / "doors.yaml").read_text()
)
LONG = "2000 characters"


def _entry(name: str, actions: tuple[str, ...] = ("*",), subjects: str = "user") -> CallerEntry:
    return CallerEntry(
        id=f"spiffe://{TRUST_DOMAIN}/{name}",
        resources=("document",),
        actions=actions,
        asserts=(subjects,),
        may=frozenset({"batch", "explain", "search"}),
    )


_PROVING = CallerEntry(
    id=f"spiffe://{TRUST_DOMAIN}/proving",
    resources=("document",),
    actions=("*",),
    asserts=None,
    may=frozenset({"batch", "explain", "search"}),
)
CALLERS = (
    _entry("pep"), _entry("reader", ("read",)), _entry("machines", subjects="machine"), _PROVING
)  # fmt: skip
_ISSUER = TokenIssuer()


# Which roles a machine has, its registry says, and nobody else.
_ROLES = Schema(frozenset({Kind.LIST}), items=Schema(frozenset({Kind.STRING})))
ROBOTS = SchemaDocument(
    Target.SUBJECT,
    "machine",
    Schema(frozenset({Kind.MAP}), properties=(Property("roles", False, _ROLES),), open=True),
)
REGISTRY = ProviderDocument("registry", Target.SUBJECT, "machine", ("roles",), 0)


class RegistryOfMachines:
    """Knows `press`, which is a manager, and `drill`, which is none; is silent about `mute`."""

    async def fetch(self, asked: Collection[Asked], deadline: float) -> Mapping[Asked, Fetched]:
        """As `pdp.fetching.AttributeSource`."""
        return {each: self._said(each) for each in asked}

    @staticmethod
    def _said(asked: Asked) -> Fetched:
        roles: dict[str, list[Value]] = {"press": ["manager"], "drill": []}
        if asked.id in roles:
            return Fetched(asked.provider, FetchOutcome.FETCHED, {"roles": roles[asked.id]})
        silent = FetchOutcome.LATE if asked.id == "mute" else FetchOutcome.UNKNOWN
        return Fetched(asked.provider, silent)


def _token(words: dict[str, Any] | str) -> str:
    """A token by its words in the table: claims of the honest issuer, `header`, `cut`, or text."""
    if isinstance(words, str):
        return words
    now_s = time.time_ns() // NANOS
    claims = {"iat": now_s - 10, "exp": now_s + words.get("lives", 300)} | words.get("claims", {})
    text = _ISSUER.token(words.get("header"), **claims)
    return text[: len(text) - words.get("cut", 0)]


@dataclass(frozen=True)
class Answered:
    """What a door said, in the words of the table."""

    effect: str
    cause: str
    rules: tuple[str, ...] = ()
    obligations: tuple[str, ...] = ()


REFUSED = Answered("DENY", "INVALID")


@dataclass
class House:
    """A PDP, and who may ask it, with a channel for each caller."""

    running: RunningServer
    channels: dict[str, grpc.aio.Channel]
    http: AuthzenServer

    def channel(self, caller: str) -> grpc.aio.Channel:
        """A connection as this caller."""
        found = self.channels.get(caller)
        if found is None:
            svid = self.running.authority.issue(caller)
            found = self.channels[caller] = self.running.channel(svid)
        return found


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    """One PDP for all cases."""
    made = make_snapshot(
        callers=CALLERS,
        denials=Denials(
            subjects=frozenset({("user", "mallory")}), jtis=frozenset({(ISSUER, "withdrawn")})
        ),
    )
    mappings = {"default": mapping_of(EVERY_QUESTION)}
    snapshot = now_snapshot(
        callers=made.callers,
        denials=made.denials,
        mappings=mappings,
        policies={"default": policies([ROBOTS], [REGISTRY])},
    )
    offer = load_offer(AuthzenSettings(Address("127.0.0.1", 0), BASE_URL))
    # By the machine's clock, as the server; roles stand in a claim.
    tokens = verifier(folder, clock=SystemClock(), roles_claim=("roles",))
    async with running_server(
        folder,
        snapshot=snapshot,
        authzen=offer,
        tokens=tokens,
        attributes=RegistryOfMachines(),
        envoy=True,
    ) as running:
        assert running.server.authzen is not None
        url = f"https://localhost:{running.server.authzen.address.port}"
        opened = House(running, {}, AuthzenServer(running, url, folder))
        try:
            yield opened
        finally:
            for channel in opened.channels.values():
                await channel.close(None)


def question(case: dict[str, Any]) -> Request:
    """The question of a case; not judged yet."""
    subject = {"type": "user", "id": "alice", **case.get("subject", {})}
    resource = {"type": "document", "id": "1", **case.get("resource", {})}
    if resource["id"] == LONG:
        resource["id"] = "x" * 2_000
    return Request(
        Subject(subject["type"], subject["id"], subject.get("properties", {})),
        Action(case["action"]),
        Resource(resource["type"], resource["id"], resource.get("properties", {})),
        case.get("context", {}),
        tenant=case.get("tenant", ""),
        request_id="q-1",
        subject_token=_token(case["token"]) if "token" in case else "",
    )


def as_message(asked: Request) -> pb.AuthorizeRequest:
    """The question on the wire, also one that the client's own encoder would not send."""
    out = pb.AuthorizeRequest(request_id=asked.request_id, tenant=asked.tenant)
    out.subject_token = asked.subject_token
    out.subject.type, out.subject.id = asked.subject.type, asked.subject.id
    out.action.name = asked.action.name
    out.resource.type, out.resource.id = asked.resource.type, asked.resource.id
    for source, into in (
        (asked.subject.properties, out.subject.properties),
        (asked.resource.properties, out.resource.properties),
        (asked.context, out.context),
    ):
        for name, value in source.items():
            into[name].CopyFrom(value_to_pb(value))
    return out


def _answered(decision: Decision) -> Answered:
    return Answered(
        decision.effect.name,
        decision.cause.name,
        decision.rules,
        tuple(duty.id for duty in decision.obligations),
    )


# A door: the answer to a question of this caller.
Door = Callable[[House, Request, str], Awaitable[Answered]]


async def in_process(place: House, asked: Request, caller: str) -> Answered:
    """Without a door."""
    spiffe_id = str(parse_spiffe_id(f"spiffe://{TRUST_DOMAIN}/{caller}"))
    point = place.running.server.decision_point
    return _answered(
        await point.authorize(asked, Caller(spiffe_id, "1f", ""), time.monotonic() + 5)
    )


async def grpc_unary(place: House, asked: Request, caller: str) -> Answered:
    """`Authorize`."""
    method = place.channel(caller).unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
    try:
        answer = await method(as_message(asked).SerializeToString(), timeout=5)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            raise
        return REFUSED
    return _answered(wire.decision_from_pb(answer))


async def grpc_batch(place: House, asked: Request, caller: str) -> Answered:
    """`AuthorizeBatch`, with the question between two others."""
    message, other = as_message(asked), pb.AuthorizeRequest(request_id="z")
    batch = pb.AuthorizeBatchRequest(
        request_id="b-1", semantic=pb.BATCH_SEMANTIC_EXECUTE_ALL, items=[other, message, message]
    )
    batch.items[2].request_id = "q-2"
    method = place.channel(caller).unary_unary(BATCH, bytes, pb.AuthorizeBatchResponse.FromString)
    answers = (await method(batch.SerializeToString(), timeout=5)).items
    assert [item.request_id for item in answers] == ["z", "q-1", "q-2"]
    first, second = (_answered(wire.decision_from_pb(item)) for item in answers[1:])
    assert first == second
    return first


async def _post(
    place: House, path: str, body: dict[str, Any], asked: Request, caller: str
) -> httpx.Response:
    """With what AuthZEN has no words for: the tenant in the path, the token in a header."""
    headers = {"authorization": f"Bearer {asked.subject_token}"} if asked.subject_token else {}
    tenant = f"/{asked.tenant}" if asked.tenant else ""
    async with place.http.client(place.running.authority.issue(caller)) as client:
        return await client.post(tenant + path, json=body, headers=headers)


def as_json(asked: Request) -> dict[str, Any]:
    """The question in AuthZEN's words."""
    subject, action, resource = asked.subject, asked.action, asked.resource
    return {
        "subject": {"type": subject.type, "id": subject.id, "properties": subject.properties},
        "action": {"name": action.name},
        "resource": {"type": resource.type, "id": resource.id, "properties": resource.properties},
        "context": asked.context,
    }


def _from_json(found: dict[str, Any]) -> Answered:
    context = found["context"]
    return Answered(
        "PERMIT" if found["decision"] is True else "DENY",
        context["cause"],
        tuple(context.get("rules", ())),
        tuple(duty["id"] for duty in context.get("obligations", ())),
    )


async def authzen(place: House, asked: Request, caller: str) -> Answered:
    """AuthZEN's evaluation."""
    response = await _post(place, EVALUATION, as_json(asked), asked, caller)
    if response.status_code == 400:
        return REFUSED
    assert response.status_code == 200
    return _from_json(response.json())


async def authzen_evaluations(place: House, asked: Request, caller: str) -> Answered:
    """AuthZEN's evaluations, with one that is wrong before it; the second by the defaults."""
    body = {**as_json(asked), "evaluations": [{"subject": {}}, as_json(asked), {}]}
    response = await _post(place, EVALUATIONS, body, asked, caller)
    assert response.status_code == 200
    _, first, second = map(_from_json, response.json()["evaluations"])
    assert first == second
    return first


async def grpc_stream(place: House, asked: Request, caller: str) -> Answered:
    """`AuthorizeStream`, with other questions before and behind."""
    other = pb.AuthorizeRequest(request_id="z")
    method = place.channel(caller).stream_stream(
        STREAM, bytes, pb.AuthorizeStreamResponse.FromString
    )
    call = method(None, timeout=5)
    for message in (other, as_message(asked), other):
        await call.write(pb.AuthorizeStreamRequest(request=message).SerializeToString())
    await call.done_writing()
    answers = [response.answer async for response in call]
    (found,) = [answer for answer in answers if answer.request_id == asked.request_id]
    assert len(answers) == 3
    return _answered(wire.decision_from_pb(found))


async def ext_authz(place: House, asked: Request, caller: str) -> Answered:
    """Envoy's `Check`, with the question in the body of the HTTP request.

    Envoy is told no rules and no obligations: those are in the record. A permit with an obligation
    that is none of Envoy's does not go on.
    """
    how = {"machine": "machine"}.get(asked.subject.type, "asserted")
    how = "bearer" if asked.subject_token else how
    body = {
        "subject": {"id": asked.subject.id, "properties": asked.subject.properties},
        "action": asked.action.name,
        "resource": {"id": asked.resource.id, "properties": asked.resource.properties},
        "context": asked.context,
    }
    check = with_body(
        json.dumps(body).encode(),
        path=f"/{asked.resource.type}/{how}",
        authorization=f"Bearer {asked.subject_token}",
    )
    if asked.tenant:
        check.attributes.context_extensions["tenant"] = asked.tenant
    method = place.channel(caller).unary_unary(CHECK, bytes, EnvoyCheckResponse.FromString)
    status, cause = told(await method(check.SerializeToString(), timeout=5))
    entry = place.running.recorder.entries[-1]
    found = Answered(
        pb.Effect.Name(entry.effect).removeprefix("EFFECT_"),
        pb.Cause.Name(entry.cause).removeprefix("CAUSE_"),
        tuple(entry.rules),
        tuple(duty.id for duty in entry.obligations),
    )
    plain = found.effect == "PERMIT" and not found.obligations
    assert (status == 200) is plain
    assert cause == ("UNUSABLE" if found.obligations else found.cause)
    return found


# INVARIANT: every door of the product is here.
DOORS: dict[str, Door] = {
    "in process": in_process,
    "gRPC": grpc_unary,
    "gRPC batch": grpc_batch,
    "AuthZEN": authzen,
    "AuthZEN evaluations": authzen_evaluations,
    "gRPC stream": grpc_stream,
    "ext_authz": ext_authz,
}


def _can_ask(door: Door, case: dict[str, Any]) -> bool:
    """Where a token proves the subject, Envoy names none besides: they cannot differ."""
    subject = {"type": "user", "id": "alice"} | case.get("subject", {})
    named = (subject["type"], subject["id"]) == ("user", "alice")
    return door is not ext_authz or "token" not in case or named


def _differences(folder: Path, door: Door) -> Iterator[str]:
    async def scenario() -> list[tuple[str, Answered, Answered]]:
        async with house(folder) as place:
            return [
                (case["case"], await door(place, question(case), case["caller"]), _expected(case))
                for case in CASES
                if _can_ask(door, case)
            ]

    for case, found, expected in asyncio.run(scenario()):
        if found != expected:
            yield f"{case}: {found} instead of {expected}"


def _expected(case: dict[str, Any]) -> Answered:
    expect = case["expect"]
    return Answered(
        expect["effect"],
        expect["cause"],
        tuple(expect.get("rules", ())),
        tuple(expect.get("obligations", ())),
    )


@pytest.mark.parametrize("name", DOORS)
def test_same_question_same_answer(name: str, tmp_path: Path) -> None:
    """Effect, cause, rules and obligations of each case, through this door."""
    assert list(_differences(tmp_path, DOORS[name])) == []


def test_same_question_twin_with_a_door_that_decides(tmp_path: Path) -> None:
    """A door that permits what it likes is seen."""

    async def bent(place: House, asked: Request, caller: str) -> Answered:
        found = await in_process(place, asked, caller)
        return Answered("PERMIT", "RULE") if asked.action.name == "paint" else found

    assert len(list(_differences(tmp_path, bent))) == 1


def test_the_table_has_each_kind_of_answer() -> None:
    """Permits, denials by rule and by default, and refusals of caller, subject and message."""
    assert {case["expect"]["cause"] for case in CASES} == {
        "RULE", "DEFAULT", "CALLER", "IDENTITY", "INVALID",
    }  # fmt: skip
    assert {case["expect"]["effect"] for case in CASES} == {"PERMIT", "DENY"}
    assert len({case["case"] for case in CASES}) == len(CASES)
