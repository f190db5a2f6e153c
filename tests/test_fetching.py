"""The decision point and attributes that callers do not send: fetched first, decided after."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from pdp.audit.entry import Capture, Evidence, build_entry
from pdp.batch import Batch, BatchDecisionPoint, Semantic
from pdp.boundary import InputLimits, admit
from pdp.bundle.contents import refuse_unknown_providers
from pdp.callers import CallerEntry
from pdp.cel.limits import EvaluationLimits
from pdp.decision_point import DecisionPoint
from pdp.errors import BundleRefusedError
from pdp.fetched import Fetched, FetchOutcome
from pdp.fetching import Asked, AttributeSource
from pdp.model import (
    Action,
    BundleRef,
    Cause,
    Decision,
    Effect,
    Request,
    Resource,
    Subject,
    deny,
)
from pdp.policy import PolicyDocument, PolicySet
from pdp.provided import Provided, ProviderDocument
from pdp.schema import Kind, Property, Schema, SchemaDocument, Target
from pdp.v1 import audit_pb2
from pdp.values import NANOS, Value, canonical
from tests.simulators.attribute_services import service_process
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.decision_points import (
    PEP,
    HandClock,
    HeldSnapshot,
    MemoryRecorder,
    ask,
    make_snapshot,
    rule,
)
from tests.simulators.repository import POLICIES, archive, callers, policy
from tests.simulators.repository import rule as plain_rule
from tests.test_process import BUNDLE_PATH, House, house, quick_tree
from tests.test_process import QUESTION as PROCESS_QUESTION
from tests.test_providers import LONG_S, QUIET, Says, desk_of

__all__ = ["house"]

ROLES = Schema(frozenset({Kind.LIST}), items=Schema(frozenset({Kind.STRING})))
TEXT = Schema(frozenset({Kind.STRING}))
USER = SchemaDocument(
    Target.SUBJECT,
    "user",
    Schema(
        frozenset({Kind.MAP}),
        properties=(Property("roles", False, ROLES), Property("team", False, TEXT)),
        open=True,
    ),
)
GROUPS = ProviderDocument("hr", Target.SUBJECT, "user", ("roles",), 30)
MAY = CallerEntry(
    f"spiffe://{TRUST_DOMAIN}/*", ("document",), ("*",), ("user",),
    may=frozenset({"batch", "explain"}),
)  # fmt: skip


def provided(*providers: ProviderDocument) -> PolicySet:
    """Clerks read and nobody destroys; who is a clerk, `hr` says."""
    document = PolicyDocument(
        "documents",
        "document",
        "",
        ("clerk", "intern"),
        (),
        (),
        (
            rule("clerks-read", Effect.PERMIT, ("read",), ("clerk",)),
            rule("interns-do-not-write", Effect.DENY, ("write",), ("intern",)),
            rule("anyone-writes", Effect.PERMIT, ("write",)),
            rule("anyone-lists", Effect.PERMIT, ("list",)),
        ),
    )
    return PolicySet([document], EvaluationLimits(), [USER], providers or (GROUPS,))


class Bench:
    """A decision point with providers, everything in hand."""

    def __init__(
        self,
        attributes: AttributeSource | None,
        capture: Capture = Capture.ATTRIBUTES,
        policies: PolicySet | None = None,
    ) -> None:
        self.clock = HandClock()
        self.recorder = MemoryRecorder()
        snapshot = make_snapshot(callers=(MAY,), tenants={"default": policies or provided()})
        self.snapshots = HeldSnapshot(snapshot)
        self.point = BatchDecisionPoint(
            self.snapshots, self.recorder, capture=capture, clock=self.clock, attributes=attributes
        )

    def decide(self, request: Any, patience_s: float = LONG_S) -> str:
        """Effect and cause."""
        deadline = self.clock.seconds + patience_s
        self.decision = asyncio.run(self.point.authorize(request, PEP, deadline))
        return told(self.decision)

    def batch(self, *questions: Request, semantic: Semantic = Semantic.EXECUTE_ALL) -> list[str]:
        """Effects and causes."""
        asked = [
            dataclasses.replace(each, request_id=f"q{number}")
            for number, each in enumerate(questions)
        ]
        batch = Batch("b", semantic, asked)
        deadline = self.clock.seconds + LONG_S
        answers = asyncio.run(self.point.answer_batch(batch, PEP, deadline))
        return [told(answer.decision) for answer in answers]

    @property
    def entry(self) -> audit_pb2.DecisionRecord:
        """The last record."""
        return self.recorder.entries[-1]


def told(decision: Decision) -> str:
    """Effect and cause."""
    return f"{decision.effect.name}({decision.cause.name})"


class Source:
    """Says what it is told to say, by the id it is asked about; counts."""

    def __init__(self, **says: Any) -> None:
        self.says = says
        self.asked: list[list[Asked]] = []

    async def fetch(self, asked: Collection[Asked], deadline: float) -> Mapping[Asked, Fetched]:
        """As `AttributeSource`."""
        self.asked.append(list(asked))
        return {each: self._said(each) for each in asked}

    def _said(self, asked: Asked) -> Fetched:
        said = self.says.get(asked.id, FetchOutcome.UNKNOWN)
        if isinstance(said, FetchOutcome):
            return Fetched(asked.provider, said)
        return Fetched(asked.provider, FetchOutcome.FETCHED, said)


CLERK: dict[str, Value] = {"roles": ["clerk"]}
INTERN: dict[str, Value] = {"roles": ["intern"]}


def test_what_callers_do_not_send_is_fetched_before_the_decision() -> None:
    """A permit by a role that only the provider knows; the record says who said what."""
    bench = Bench(Source(alice=CLERK))
    assert bench.decide(ask("read")) == "PERMIT(RULE)"
    (answer,) = bench.entry.providers
    assert (answer.provider, answer.outcome, answer.cached) == (
        "hr", audit_pb2.ProviderAnswer.OUTCOME_FETCHED, False,
    )  # fmt: skip
    assert answer.values_digest == hashlib.sha256(canonical(CLERK)).digest()
    assert not bench.entry.fetched
    (role,) = bench.entry.attributes["subject.properties.roles"].list_value.values
    assert role.string_value == "clerk"


def test_a_full_record_keeps_what_was_fetched_apart_from_what_was_sent() -> None:
    """`capture: full`: values by path; the attributes are the caller's own."""
    bench = Bench(Source(alice=CLERK), Capture.FULL)
    bench.decide(ask("read", team="red"))
    assert set(bench.entry.fetched) == {"subject.properties.roles"}
    assert set(bench.entry.attributes["subject.properties"].map_value.entries) == {"team"}


FAILURES = [each for each in FetchOutcome if each is not FetchOutcome.FETCHED]


@pytest.mark.parametrize("outcome", FAILURES)
def test_a_provider_that_does_not_say_leaves_the_law_to_decide(outcome: FetchOutcome) -> None:
    """A permit by an unknown role does not come, a deny by one denies, the rest is as ever."""
    bench = Bench(Source(alice=outcome))
    assert bench.decide(ask("read")) == "DENY(DEFAULT)"
    (answer,) = bench.entry.providers
    assert answer.outcome == outcome.value
    assert list(answer.unusable) == ["subject.properties.roles"]
    assert bench.decide(ask("write")) == "DENY(INDETERMINATE)"
    assert bench.decide(ask("list")) == "PERMIT(RULE)"
    assert Bench(Source(alice=INTERN)).decide(ask("write")) == "DENY(RULE)"
    assert Bench(Source(alice=CLERK)).decide(ask("write")) == "PERMIT(RULE)"


def test_nobody_is_asked_where_no_rule_reads_what_is_owned() -> None:
    """Nor for whom the caller policy denies, nor for what does not fit its schema."""
    source = Source(alice=CLERK)
    bench = Bench(source)
    assert bench.decide(ask("list")) == "PERMIT(RULE)"
    assert bench.decide(ask("none")) == "DENY(DEFAULT)"
    assert bench.decide(ask("read", team=5)) == "DENY(SCHEMA)"
    stranger = dataclasses.replace(ask("read"), resource=Resource("secret", "1"))
    assert bench.decide(stranger) == "DENY(CALLER)"
    assert source.asked == []
    assert not bench.entry.providers


def test_a_caller_may_not_send_what_a_provider_owns() -> None:
    """DENY(IDENTITY), recorded with the path; alone, in a batch, and from a door."""
    source = Source(alice=CLERK)
    bench = Bench(source)
    assert bench.decide(ask("read", roles=["clerk"])) == "DENY(IDENTITY)"
    path = "subject.properties.roles is what provider `hr` says, and nobody else"
    assert bench.decision.schema_violation == bench.entry.schema_violation == path
    assert bench.decide(admit(ask("read", roles=["clerk"]), PEP, InputLimits())) == (
        "DENY(IDENTITY)"
    )
    assert bench.batch(ask("read", roles=[]), ask("read")) == ["DENY(IDENTITY)", "PERMIT(RULE)"]
    assert len(source.asked) == 1


def test_what_somebody_else_fetched_is_nothing() -> None:
    """A question that comes completed is judged anew, like one that comes with a proof."""
    policies = provided()
    assert policies.provided is not None
    said = {"hr": Fetched("hr", FetchOutcome.FETCHED, CLERK)}
    forged = policies.provided.complete(admit(ask("read"), PEP, InputLimits()), said)
    assert Bench(Source(alice=INTERN)).decide(forged) == "DENY(DEFAULT)"


def test_a_batch_asks_for_each_input_once() -> None:
    """Ten questions about two subjects are two inputs, asked at the same time."""
    source = Source(alice=CLERK, bob=INTERN)
    bench = Bench(source)
    bob = dataclasses.replace(ask("read"), subject=Subject("user", "bob"))
    questions = [ask("read"), bob, ask("write"), dataclasses.replace(bob, action=Action("write"))]
    assert bench.batch(*questions, ask("list")) == [
        "PERMIT(RULE)", "DENY(DEFAULT)", "PERMIT(RULE)", "DENY(RULE)", "PERMIT(RULE)",
    ]  # fmt: skip
    assert [sorted(each.id for each in asked) for asked in source.asked] == [["alice", "bob"]]
    (entry,) = bench.recorder.entries
    assert [len(item.providers) for item in entry.batch.items] == [1, 1, 1, 1, 0]


def test_a_batch_is_n_singles_with_providers_too() -> None:
    """Each question of a batch gets what it would get alone, whatever providers say."""
    for said in (CLERK, INTERN, {"roles": "clerk"}, {}, FetchOutcome.LATE):
        questions = [ask(action) for action in ("read", "write", "list", "none")]
        alone = [Bench(Source(alice=said)).decide(question) for question in questions]
        assert Bench(Source(alice=said)).batch(*questions) == alone
        deny = Semantic.DENY_ON_FIRST_DENY
        assert (
            Bench(Source(alice=said)).batch(*questions, semantic=deny)
            == alone[: next(at for at, each in enumerate(alone, 1) if each.startswith("DENY"))]
        )


class Waits(Source):
    """Something happens while it is asked."""

    def __init__(self, happens: Any, **says: Any) -> None:
        super().__init__(**says)
        self.happens = happens

    async def fetch(self, asked: Collection[Asked], deadline: float) -> Mapping[Asked, Fetched]:
        """As `AttributeSource`."""
        self.happens()
        return await super().fetch(asked, deadline)


def test_a_bundle_that_expires_while_a_provider_is_asked_is_stale() -> None:
    """Freshness is looked at again after the waiting, with a new reading of the clock."""
    bench = Bench(None)

    def later() -> None:
        bench.clock.wall += 4_000 * NANOS

    bench.point._attributes = Waits(later, alice=CLERK)
    assert bench.decide(ask("read")) == "DENY(STALE)"


def test_a_provider_that_takes_all_the_time_is_a_deadline() -> None:
    """Nobody waits for the answer any more."""
    bench = Bench(None)

    def later() -> None:
        bench.clock.seconds += LONG_S

    bench.point._attributes = Waits(later, alice=CLERK)
    assert bench.decide(ask("read")) == "DENY(DEADLINE)"


def test_a_bundle_that_comes_while_a_provider_is_asked_changes_nothing() -> None:
    """One question sees one version, before the waiting and after."""
    bench = Bench(None)
    old = bench.snapshots.snapshot
    assert old is not None
    newer = dataclasses.replace(old, ref=BundleRef(8, bytes(32)))

    def exchanged() -> None:
        bench.snapshots.snapshot = newer

    source = bench.point._attributes = Waits(exchanged, alice=CLERK)
    assert bench.decide(ask("read")) == "PERMIT(RULE)"
    assert bench.decision.bundle == old.ref
    assert bench.decide(ask("read")) == "PERMIT(RULE)"
    assert bench.decision.bundle == newer.ref
    # Answers are kept by the bundle that they are for.
    assert [asked[0].revision for asked in source.asked] == [old.ref.revision, 8]


class Breaks:
    """Breaks its promise."""

    async def fetch(self, asked: Collection[Asked], deadline: float) -> Mapping[Asked, Fetched]:
        """As `AttributeSource`, if only."""
        raise ZeroDivisionError


class SaysNothing:
    """Leaves questions out."""

    async def fetch(self, asked: Collection[Asked], deadline: float) -> Mapping[Asked, Fetched]:
        """As `AttributeSource`, if only."""
        return {}


@pytest.mark.parametrize("source", [Breaks(), SaysNothing(), None])
def test_a_source_that_breaks_is_an_attribute_in_error(source: AttributeSource | None) -> None:
    """What does not depend on it is decided all the same; and without any source."""
    bench = Bench(source)
    assert bench.decide(ask("read")) == "DENY(DEFAULT)"
    assert bench.decide(ask("write")) == "DENY(INDETERMINATE)"
    assert bench.batch(ask("read"), ask("list")) == ["DENY(DEFAULT)", "PERMIT(RULE)"]


def test_a_decision_without_providers_asks_and_waits_for_nothing() -> None:
    """Where a bundle names none, nothing of this is on the way of a question."""
    source = Source()
    point = DecisionPoint(
        HeldSnapshot(make_snapshot()), MemoryRecorder(), clock=HandClock(), attributes=source
    )
    coroutine = point.authorize(ask("read"), PEP, 2_000.0)
    assert asyncio.run(coroutine)
    assert source.asked == []


def test_values_that_are_kept_are_recorded_as_kept_and_decide_likewise() -> None:
    """Through the desk: the second question is answered without asking."""
    says = Says(CLERK)
    bench = Bench(None)
    bench.point._attributes = desk_of(says, bench.clock)

    async def run() -> None:
        for cached in (False, True):
            decision = await bench.point.authorize(ask("read"), PEP, bench.clock.seconds + LONG_S)
            assert decision
            assert bench.entry.providers[0].cached is cached

    asyncio.run(run())
    assert len(says.asked) == 1


def test_a_slow_provider_leaves_time_for_the_decision_and_its_record() -> None:
    """The answer comes within the caller's time, and says what the law says without it."""

    async def run() -> None:
        says = Says(CLERK, hold=threading.Event())
        clock = desk_of(says)._clock
        snapshot = make_snapshot(
            callers=(MAY,),
            tenants={"default": provided()},
            fresh_until_ns=clock.wall_ns() + 3_600 * NANOS,
        )
        recorder = MemoryRecorder()
        point = DecisionPoint(
            HeldSnapshot(snapshot), recorder, clock=clock, attributes=desk_of(says), telemetry=QUIET
        )
        began = time.monotonic()
        decision = await point.authorize(ask("write"), PEP, clock.monotonic() + 1.0)
        assert time.monotonic() - began < 1.0
        assert told(decision) == "DENY(INDETERMINATE)"
        assert recorder.entries[0].providers[0].outcome == FetchOutcome.LATE.value
        assert says.hold is not None
        says.hold.set()

    asyncio.run(run())


def test_an_explanation_says_whose_word_a_role_was() -> None:
    """`explain`: the attribute that nobody knows is missing."""
    bench = Bench(Source(alice=FetchOutcome.DOWN))
    bench.decide(dataclasses.replace(ask("read"), explain=True))
    why = bench.decision.explanation
    assert why is not None
    assert why.missing == ("subject.properties.roles",)


def test_a_record_of_many_providers_fits() -> None:
    """As many providers as a bundle may name, each with all it may own, none of them well."""
    names = [f"attribute-{number:04}-{'x' * 100}" for number in range(32 * 64)]
    schema = dataclasses.replace(
        USER,
        schema=Schema(
            frozenset({Kind.MAP}), properties=tuple(Property(name, False, TEXT) for name in names)
        ),
    )
    providers = [
        ProviderDocument(
            f"p{at:02}-{'x' * 60}", Target.SUBJECT, "user", tuple(names[at * 64 : at * 64 + 64]), 0
        )
        for at in range(32)
    ]
    owners = Provided(providers, [schema])
    said = {each.name: Fetched(each.name, FetchOutcome.WRONG) for each in providers}
    completed = owners.complete(admit(ask("read"), PEP, InputLimits()), said)
    assert completed.completion is not None
    assert len(completed.completion.unusable) == 32 * 64

    evidence = Evidence(
        ask("read"), PEP, {}, b"", admitted=True, completion=completed.completion, full=True
    )
    entry = build_entry(deny(Cause.INDETERMINATE), evidence, 30_000)
    assert entry.ByteSize() <= 30_000
    whole = build_entry(deny(Cause.INDETERMINATE), evidence, 1 << 20)
    assert len(whole.providers) == 32
    assert max(len(each.unusable) for each in whole.providers) == 8


# -- bundles that name providers -------------------------------------------------------------


def test_a_bundle_that_names_an_unconfigured_provider_is_refused() -> None:
    """For its own tenant; a provider of another is none."""
    policies = provided()
    refuse_unknown_providers("default", policies, frozenset({("default", "hr")}))
    refuse_unknown_providers("default", policies, None)
    for known in (frozenset(), frozenset({("other", "hr")}), frozenset({("default", "crm")})):
        with pytest.raises(BundleRefusedError, match="names the provider `hr`"):
            refuse_unknown_providers("default", policies, known)


def roles_bundle(house_: House, revision: int, name: str = "hr") -> None:
    """Publish a bundle in which clerks read, and a provider says who is one."""
    clerks = dataclasses.replace(plain_rule("clerks-read"), roles=("clerk",))
    documents = (
        dataclasses.replace(policy("documents", clerks), static_roles=("clerk",)),
        callers(f"spiffe://{TRUST_DOMAIN}/pep"),
        USER,
        dataclasses.replace(GROUPS, name=name, max_age_s=0),
    )
    house_.repository.put(BUNDLE_PATH, archive(revision, house_.repository.now_s, documents))
    house_.repository.publish_targets(POLICIES)
    house_.publish()


def test_serve_does_not_start_with_a_bundle_that_names_an_unknown_provider(house: House) -> None:
    """Exit code 1 and a line that says what to write."""
    roles_bundle(house, 3)
    process = house.start(listening=False)
    assert process.process.wait(60) != 0
    assert "names the provider `hr`, which is not configured for tenant `default`" in (
        process.rest() + json.dumps(process.events)
    )


def test_a_provider_that_dies_under_a_real_process_takes_permits_with_it(
    house: House, tmp_path: Path
) -> None:
    """A permit by what a service says; none after SIGSTOP or SIGKILL; a bad bundle changes none."""
    folder = tmp_path / "attributes"
    with service_process(folder) as running:
        tree = quick_tree()
        tree["providers"] = {
            "failure_s": 0.0,
            "sources": [
                {
                    "name": "hr",
                    "timeout_s": 1.0,
                    "failures_max": 1000,
                    "http": {
                        "url": f"https://localhost:{running.service.port}/roles/{{id}}",
                        "ca_bundle": str(running.service.ca_bundle),
                    },
                }
            ],
        }
        house.configure(tree)
        roles_bundle(house, 3)
        pdp = house.start()
        assert pdp.until(bool)
        running.stop()
        assert pdp.until(lambda decision: told(decision) == "DENY(DEFAULT)").effect is Effect.DENY
        running.go_on()
        assert pdp.until(bool)
        # A bundle that names somebody else is not taken; the old one goes on.
        roles_bundle(house, 4, "nobody")
        pdp.wait_for("bundle_refused")
        assert pdp.ask()
        forged = dataclasses.replace(
            PROCESS_QUESTION, subject=Subject("user", "alice", {"roles": ["clerk"]})
        )
        assert told(pdp.ask(question=forged)) == "DENY(IDENTITY)"
        running.kill()
        assert pdp.until(lambda decision: not decision).effect is Effect.DENY
        assert [told(pdp.ask()) for _ in range(5)] == ["DENY(DEFAULT)"] * 5
        pdp.wait_for("provider_failing", provider="hr")
        assert pdp.stop() == 0
