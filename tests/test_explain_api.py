"""Explanations through the API: for callers that may, bounded, and never a word of the answer."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp import decision_point, wire
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import compile_sources
from pdp.boundary import InputLimits, admit
from pdp.callers import CallerEntry, CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.decision_point import DecisionPoint
from pdp.explaining import GENEROUS, ExplanationLimits, explain
from pdp.explanation import Explanation, Flip
from pdp.explanation_codec import BYTES_MAX, explanation_from_pb, explanation_to_pb
from pdp.model import Action, Cause, Decision, Effect, Request, Resource, Subject, Verdict
from pdp.policy import PolicySet
from pdp.snapshot import Snapshot
from pdp.telemetry import Telemetry
from pdp.v1 import authorization_pb2 as pb
from pdp_client import Client
from pdp_client._core import RESPONSE_BYTES_MAX
from pdp_client.testing import UnsafePermitAll
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.decision_points import (
    PEP,
    HandClock,
    HeldSnapshot,
    MemoryRecorder,
    RunningServer,
    make_snapshot,
    now_snapshot,
    running_server,
)
from tests.test_authorize_command import main
from tests.test_explaining import CALLERS, POLICY

SECRET = "nobody-logs-this"


@pytest.fixture(scope="module")
def policies() -> PolicySet:
    """The policy of test_explaining."""
    with Checker() as checker:
        found = compile_sources({"p.yaml": POLICY.encode(), "c.yaml": CALLERS.encode()}, checker)
    return found.policy_set(EvaluationLimits())


def entry(*may: str, name: str = "*", **changes: Any) -> CallerEntry:
    """A caller that may ask everything, and may besides."""
    whole = CallerEntry(f"spiffe://{TRUST_DOMAIN}/{name}", ("*",), ("*",), ("*",))
    return dataclasses.replace(whole, may=frozenset(may), **changes)


def question(action: str = "read", *, explain: bool = True, **subject: Any) -> Request:
    """May ana read the note?"""
    return Request(
        Subject("user", "ana", {"roles": ["reader"], "level": 3, "note": SECRET, **subject}),
        Action(action),
        Resource("note", "n1", {"status": "open", "level": 2, "tags": ["a", SECRET]}),
        request_id="q-1",
        explain=explain,
    )


class Bench:
    """A decision point whose callers may have explanations, or not."""

    def __init__(
        self, policies: PolicySet, *entries: CallerEntry, recorder: MemoryRecorder | None = None
    ) -> None:
        self.clock = HandClock()
        self.recorder = recorder or MemoryRecorder()
        self.log = io.StringIO()
        self.snapshot: Snapshot = make_snapshot(
            callers=entries or (entry("explain"),), tenants={"default": policies}
        )
        self.telemetry = Telemetry(self.log, self.clock.wall_ns, "debug")
        self.point = DecisionPoint(
            HeldSnapshot(self.snapshot), self.recorder, clock=self.clock, telemetry=self.telemetry
        )

    def logged(self) -> str:
        """All that was logged. The last thing that is asked of a bench."""
        self.telemetry.close()
        return self.log.getvalue()

    def decide(self, request: Request) -> Decision:
        """Ask and wait."""
        deadline = self.clock.seconds + 1.0
        return asyncio.run(self.point.authorize(request, PEP, deadline))


def plainly(decision: Decision) -> tuple[Any, ...]:
    """All of an answer but what differs between two askings."""
    return (decision.effect, decision.cause, decision.rules, decision.obligations, decision.bundle)


@pytest.mark.parametrize(
    "request_",
    [
        question(),
        question("write"),
        question(level="three"),
        question(roles=None),
        question("approve"),
    ],
)
def test_asking_why_changes_nothing_in_the_answer(policies: PolicySet, request_: Request) -> None:
    """Permit or denial: the same answer and the same record, with why beside it."""
    bench = Bench(policies)
    told = bench.decide(request_)
    plain = bench.decide(dataclasses.replace(request_, explain=False))
    assert plainly(told) == plainly(plain)
    assert plain.explanation is None
    assert told.explanation is not None
    assert told.explanation.rules
    asked, without = bench.recorder.entries
    for field in ("decision_id", "request_digest"):
        asked.ClearField(field)
        without.ClearField(field)
    assert asked == without


@pytest.mark.parametrize(
    "entries",
    [
        (entry(),),
        (entry("batch", "search"),),
        # Entries are not merged: one admits to the question, the other to explanations.
        (entry(), entry("explain", resources=("other",))),
        (entry(), entry("explain", actions=("write",))),
        (entry(), entry("explain", name="else")),
    ],
)
def test_who_may_not_ask_why_is_denied_and_told_nothing(
    policies: PolicySet, entries: tuple[CallerEntry, ...]
) -> None:
    """DENY(CALLER), recorded, without a word about rules; the same question without why is fine."""
    bench = Bench(policies, *entries)
    decision = bench.decide(question())
    assert (decision.effect, decision.cause) == (Effect.DENY, Cause.CALLER)
    assert (decision.explanation, decision.rules) == (None, ())
    assert len(bench.recorder.entries) == 1
    assert bench.decide(question(explain=False)).effect is Effect.PERMIT


def test_without_the_guard_anyone_would_be_told(
    policies: PolicySet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: with a caller policy that does not look at the wish, policies leak."""

    def covering(self: CallerPolicy, *_: object, **__: object) -> Any:
        return self.entries

    monkeypatch.setattr(CallerPolicy, "covering", covering)
    assert Bench(policies, entry()).decide(question()).explanation is not None


def test_a_failure_to_explain_leaves_the_answer(
    policies: PolicySet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever breaks while explaining: the answer and its record stand, and it is counted."""

    def broken(*_: Any) -> Explanation:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(decision_point, "explain", broken)
    bench = Bench(policies)
    decision = bench.decide(question())
    assert (decision.effect, decision.explanation) == (Effect.PERMIT, None)
    assert decision.record is not None
    logged = bench.logged()
    assert "ZeroDivisionError" in logged
    assert SECRET not in logged


def test_nothing_of_an_explanation_is_logged(policies: PolicySet) -> None:
    """Values are the caller's own, and go to the caller only."""
    bench = Bench(policies)
    told = bench.decide(question()).explanation
    assert SECRET in repr(told)
    assert SECRET not in bench.logged()


def test_nobody_is_kept_waiting_for_an_explanation(policies: PolicySet) -> None:
    """With the deadline gone after the record, the answer leaves unexplained, and says so."""
    bench = Bench(policies)

    def late() -> None:
        bench.clock.seconds += 10

    bench.recorder.on_append = late
    decision = bench.decide(question("approve"))
    assert (decision.effect, decision.cause) == (Effect.DENY, Cause.DEFAULT)
    assert decision.explanation == Explanation(truncated=True)


@pytest.mark.parametrize("mode", ["fails", "refuses"])
def test_an_unrecorded_permit_is_not_explained(policies: PolicySet, mode: str) -> None:
    """DENY(AUDIT) carries no explanation of the permit that it was not."""
    decision = Bench(policies, recorder=MemoryRecorder(mode)).decide(question())
    assert (decision.cause, decision.explanation) == (Cause.AUDIT, None)


# -- the wire -------------------------------------------------------------------------------------


def explained(policies: PolicySet, limits: ExplanationLimits | None = None) -> Explanation:
    """A real one."""
    bench = Bench(policies)
    admitted = admit(question(), PEP, InputLimits())
    decision, rules = policies.decide(admitted, bench.clock.wall)
    return explain(policies, admitted, bench.clock.wall, decision, rules, limits)


def test_an_explanation_survives_the_wire(policies: PolicySet) -> None:
    """What was said is what is read."""
    whole = explained(policies)
    message = pb.Explanation()
    explanation_to_pb(whole, message)
    assert explanation_from_pb(pb.Explanation.FromString(message.SerializeToString())) == whole


@given(st.binary(max_size=300))
def test_no_bytes_of_an_explanation_break_a_client(data: bytes) -> None:
    """Any message that parses is read or left out; a decision that carries it is unharmed."""
    message = pb.Explanation()
    try:
        message.ParseFromString(data)
    except Exception:  # noqa: BLE001 not a message at all
        return
    read = explanation_from_pb(message)
    assert read is None or isinstance(read, Explanation)
    answer = wire.decision_to_pb(Decision(Effect.DENY, Cause.DEFAULT), "q", bytes(32))
    answer.explanation.CopyFrom(message)
    assert wire.decision_from_pb(answer).cause is Cause.DEFAULT


def spoil_parent(message: pb.Explanation) -> None:
    """A part that belongs to a later one."""
    message.rules[0].when.parts[0].parent = 5


def spoil_role(message: pb.Explanation) -> None:
    """A role that is not there."""
    message.rules[0].roles.append(99)


def spoil_outcome(message: pb.Explanation) -> None:
    """A rule without a verdict."""
    message.rules[0].outcome = pb.OUTCOME_UNSPECIFIED


def spoil_effect(message: pb.Explanation) -> None:
    """A flip to no effect."""
    message.flips.add(rule="x", outcome=pb.OUTCOME_TRUE)


@pytest.mark.parametrize("spoil", [spoil_parent, spoil_role, spoil_outcome, spoil_effect])
def test_a_spoilt_explanation_is_left_out(
    policies: PolicySet, spoil: Callable[[pb.Explanation], None]
) -> None:
    """What does not fit together is not shown as if it did."""
    message = pb.Explanation()
    explanation_to_pb(explained(policies), message)
    assert explanation_from_pb(message) is not None
    spoil(message)
    assert explanation_from_pb(message) is None


def test_an_explanation_fits_into_an_answer() -> None:
    """One that is too large becomes one that says so; a client takes what is left."""
    flip = Flip("p/" + "r" * 1_000, Verdict.TRUE, Effect.DENY, Cause.RULE)
    message = pb.Explanation()
    explanation_to_pb(Explanation(flips=(flip,) * 1_000), message)
    assert explanation_from_pb(message) == Explanation(truncated=True)
    assert BYTES_MAX < RESPONSE_BYTES_MAX


def test_hostile_values_keep_an_explanation_within_its_bounds() -> None:
    """Large values, wide rules: an explanation with default limits fits without being dropped."""
    rules = "\n".join(
        f"  - {{id: r{at}, effect: deny, actions: [read], "
        f"when: 'context.x{at} in context.xs && context.xs.exists(x, x == context.x{at})'}}"
        for at in range(60)
    )
    text = f"policy: wide\nresource: note\nrules:\n{rules}\n"
    with Checker() as checker:
        sources = {"p.yaml": text.encode(), "c.yaml": CALLERS.encode()}
        wide = compile_sources(sources, checker).policy_set(EvaluationLimits())
    big = {f"x{at}": "🐱" * 900 for at in range(60)}
    context: dict[str, Any] = {**big, "xs": ["🐱" * 900, "\n" * 100, *["y" * 99] * 20]}
    bench = Bench(wide)
    started = time.perf_counter()
    decision = bench.decide(dataclasses.replace(question(), context=context))
    spent = time.perf_counter() - started
    assert decision.explanation is not None
    assert decision.explanation.truncated
    message = pb.Explanation()
    explanation_to_pb(decision.explanation, message)
    assert 10_000 < message.ByteSize() <= BYTES_MAX
    assert spent < 5


def test_generous_limits_would_not_fit_into_an_answer() -> None:
    """Twin: the limits of a terminal are not those of the wire."""
    assert GENEROUS.bytes_max > RESPONSE_BYTES_MAX > ExplanationLimits().bytes_max
    assert ExplanationLimits().bytes_max < BYTES_MAX < RESPONSE_BYTES_MAX


# -- from end to end ------------------------------------------------------------------------------


def test_client_and_command_get_explanations_over_mutual_tls(
    policies: PolicySet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`authorize(..., explain=True)` and `pdp authorize --explain`, through a real server."""
    snapshot = now_snapshot(
        callers=CallerPolicy((entry("explain", name="pep"), entry(name="other"))),
        policies={"default": policies},
    )

    async def scenario() -> None:
        async with running_server(tmp_path, snapshot=snapshot) as running:
            await asyncio.to_thread(_ask_as, running, tmp_path, capsys)

    asyncio.run(scenario())


def _ask_as(running: RunningServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trust = folder / "authorities.pem"
    trust.write_bytes(running.authority.bundle_pem)
    target = f"localhost:{running.address.port}"
    asked = question()
    whole = (asked.subject, asked.action, asked.resource)
    for name, cause in (("pep", Cause.RULE), ("other", Cause.CALLER)):
        certificate, key = running.authority.issue(name).write(folder, name)
        options: dict[str, Any] = {"trust_bundle": trust, "certificate": certificate, "key": key}
        with Client(target, **options, budget_s=5) as client:
            told = client.authorize(*whole, explain=True)
            assert (told.cause, told.explanation is not None) == (cause, name == "pep")
            assert client.authorize(*whole).explanation is None
    command = [
        *("--target", target, "--trust-bundle", str(trust), "--timeout-ms", "5000"),
        *("--certificate", str(folder / "pep.pem"), "--key", str(folder / "pep.key")),
        *("--subject", "user:ana", "--action", "read", "--resource", "note:n1"),
        *("-p", 'subject.roles=["reader"]', "-p", "resource.status=open", "--explain"),
    ]
    capsys.readouterr()
    assert main(command) == 1
    shown = capsys.readouterr().out
    assert "permit notes/reads: in doubt" in shown
    assert "resource.properties.level" in shown
    assert main([*command, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)["explanation"]
    assert told["rules"][0]["name"] == "notes/tags"
    assert "resource.properties.level" in told["missing"]


def test_stand_ins_take_the_wish() -> None:
    """What stands in for a client in tests has the same arguments."""
    stand_in = UnsafePermitAll()
    asked = question()
    assert stand_in.authorize(asked.subject, asked.action, asked.resource, explain=True)
    assert stand_in.asked[0].explain
