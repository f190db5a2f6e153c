"""The promise, law by law (docs/ARCHITECTURE.md, section 1).

Each law is a test with its name, on generated rule sets and requests. The twin
of a law runs it against a weakened engine and must find a broken case. In the
normal run a law sees 5,000 requests; `make prove` shows it 100,000.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from tuf.api.metadata import Root, Targets

from pdp import admission, engine
from pdp.admission import Denials
from pdp.authoring.compilation import compile_directory
from pdp.batch import Batch, BatchDecisionPoint, Semantic
from pdp.bundle import BundleSettings
from pdp.call import Call, Moment
from pdp.callers import CallerEntry, CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.compiled import decode as decode_document
from pdp.decision_point import DecisionPoint
from pdp.errors import BundleError, ConfigurationError
from pdp.model import (
    Action,
    Cause,
    Decision,
    Effect,
    Obligation,
    RecordRef,
    Request,
    Resource,
    Subject,
    Verdict,
    distinct,
)
from pdp.policy import PolicyDocument, PolicySet
from pdp.snapshot import Snapshot
from pdp.v1 import authorization_pb2 as pb
from pdp.values import NANOS, Value
from tests.conftest import ROOT, Ledger
from tests.simulators import rule_sets as rs
from tests.simulators.bundle_reader import Reader
from tests.simulators.decision_points import (
    AUTHORIZE,
    NOW_NS,
    PEP,
    HandClock,
    HeldSnapshot,
    MemoryRecorder,
    ask,
    make_snapshot,
    message,
    running_server,
)
from tests.simulators.rule_sets import ALWAYS, BROKEN, NEVER, RuleSet
from tests.test_batch import BATCH
from tests.test_client_core import CAN_MEET, asked, concluded, ended, honest, may_permit

SEED = 20261123
REQUESTS_PER_SET = 10
NORMAL_SETS, PROVE_SETS = 500, 10_000

Decide = Callable[[RuleSet, Request], Decision]
# A law: yields what is wrong with the decisions on this rule set and request.
Law = Callable[[Decide, RuleSet, Request], Iterator[str]]


def hold(law: Law, sets: int) -> dict[str, object]:
    """Run a law on this many rule sets; figures for the ledger."""
    requests = 0
    permits = 0

    @seed(SEED)
    @settings(max_examples=sets, deadline=None, database=None)
    @given(st.integers(0, 2**64))
    def run(number: int) -> None:
        nonlocal requests, permits
        chance = random.Random(number)
        rule_set, decide = rs.rule_set(chance), memoised()
        for _ in range(REQUESTS_PER_SET):
            request = rs.request(chance)
            requests += 1
            permits += bool(decide(rule_set, request))
            assert list(law(decide, rule_set, request)) == []

    run()
    assert requests >= sets * REQUESTS_PER_SET
    assert requests // 10 < permits < requests, "hardly any case permits, or hardly any denies"
    return {"seed": SEED, "requests": requests, "permits": permits, "broken": 0}


def memoised() -> Decide:
    """`rs.decide`, compiling each rule set of one case once."""
    built: dict[str, PolicySet] = {}

    def decide(rule_set: RuleSet, request: Request) -> Decision:
        key = repr(rule_set)
        found = built.get(key)
        if found is None:
            found = built[key] = rs.build(rule_set)
        return found.decide(rs.admitted(request), rs.NOW_NS)[0]

    return decide


def caught(law: Law, weakened: Decide) -> bool:
    """Whether the law finds a broken case when the engine is weakened."""
    chance = random.Random(SEED)
    return any(
        True
        for _ in range(NORMAL_SETS * REQUESTS_PER_SET)
        for _ in law(weakened, rs.rule_set(chance), rs.request(chance))
    )


# -- laws ---------------------------------------------------------------------------------


def as_the_design_says(decide: Decide, rule_set: RuleSet, request: Request) -> Iterator[str]:
    """The decision is the reference's, to the last field."""
    found = decide(rule_set, request)
    expected = rs.reference_decision(rs.outcomes(rule_set, request))
    if found != expected:
        yield f"{found} instead of {expected}"


def default_deny(decide: Decide, rule_set: RuleSet, request: Request) -> Iterator[str]:
    """No applicable permit rule: DENY."""
    found = rs.outcomes(rule_set, request)
    permits = [item for item in found if item.rule.effect is Effect.PERMIT]
    if not any(item.possible == {True} for item in permits) and decide(rule_set, request):
        yield "permitted without an applicable permit rule"


def deny_overrides_permit(decide: Decide, rule_set: RuleSet, request: Request) -> Iterator[str]:
    """An applicable deny rule: DENY, whatever else applies."""
    for item in rs.outcomes(rule_set, request):
        if (
            item.rule.effect is Effect.DENY
            and item.possible == {True}
            and decide(rule_set, request)
        ):
            yield f"permitted although {item.name} denies"


def errors_never_help(decide: Decide, rule_set: RuleSet, request: Request) -> Iterator[str]:
    """A condition in error is never milder than the same condition true, or false."""
    for p, policy in enumerate(rule_set):
        for r in range(len(policy.rules)):
            broken = decide(rs.with_rule(rule_set, p, r, when=BROKEN), request)
            for settled in (ALWAYS, NEVER):
                sound = decide(rs.with_rule(rule_set, p, r, when=settled), request)
                if broken and not sound:
                    yield f"an error in {policy.name}/{r} permits what {settled} denies"
                elif broken.effect is sound.effect and not _duties(sound) <= _duties(broken):
                    yield f"an error in {policy.name}/{r} sheds an obligation"


def _duties(decision: Decision) -> set[tuple[str, str, bytes]]:
    return {duty.key for duty in decision.obligations}


def order_and_duplicates_do_not_matter(
    decide: Decide, rule_set: RuleSet, request: Request
) -> Iterator[str]:
    """Policies, rules, roles and actions in any order, repeated or not."""
    first = decide(rule_set, request)
    shuffle = random.Random(SEED)
    for _ in range(2):
        if decide(_shuffled(rule_set, shuffle), _shuffled_roles(request, shuffle)) != first:
            yield "another order, another decision"


def _shuffled(rule_set: RuleSet, shuffle: random.Random) -> RuleSet:
    policies = []
    for policy in rule_set:
        rules = []
        for rule_id, rule in policy.rules:
            roles = rule.roles and tuple(shuffle.sample(rule.roles * 2, len(rule.roles) * 2))
            actions = rule.actions
            if actions != ("*",):
                actions = tuple(shuffle.sample(actions * 2, len(actions) * 2))
            duties = tuple(shuffle.sample(rule.obligations * 2, len(rule.obligations) * 2))
            advice = tuple(shuffle.sample(rule.advice * 2, len(rule.advice) * 2))
            other = replace(rule, roles=roles, actions=actions, obligations=duties, advice=advice)
            rules.append((rule_id, other))
        shuffle.shuffle(rules)
        sources = tuple(shuffle.sample(policy.sources * 2, len(policy.sources) * 2))
        policies.append(replace(policy, rules=tuple(rules), sources=sources))
    shuffle.shuffle(policies)
    return tuple(policies)


def _shuffled_roles(request: Request, shuffle: random.Random) -> Request:
    roles = request.subject.properties.get("roles")
    if not isinstance(roles, list):
        return request
    twice = shuffle.sample(roles * 2, len(roles) * 2)
    subject = replace(request.subject, properties={**request.subject.properties, "roles": twice})
    return replace(request, subject=subject)


def deleting_a_permit_or_adding_a_deny_never_permits(
    decide: Decide, rule_set: RuleSet, request: Request
) -> Iterator[str]:
    """Neither turns a denial into a permit.

    A permit that spent its budget is left out: it denies the request by
    BUDGET, so deleting it takes a denial away (docs/adr/0001).
    """
    if decide(rule_set, request):
        return
    spent = {item.name for item in rs.outcomes(rule_set, request) if item.spent}
    for p, policy in enumerate(rule_set):
        for r, (rule_id, rule) in enumerate(policy.rules):
            if rule.effect is not Effect.PERMIT or f"{policy.name}/{rule_id}" in spent:
                continue
            smaller = rs.without_rule(rule_set, p, r)
            if smaller and decide(smaller, request):
                yield f"permitted once {policy.name}/{rule_id} was deleted"
    for when in (None, NEVER, BROKEN):
        denial = rs.RuleSpec(Effect.DENY, ("*",), None, when, None, None, ())
        added = replace(rule_set[0], rules=(*rule_set[0].rules, ("added", denial)))
        if decide((added, *rule_set[1:]), request):
            yield f"permitted once a deny ({when}) was added"


LAWS = [
    as_the_design_says,
    default_deny,
    deny_overrides_permit,
    errors_never_help,
    order_and_duplicates_do_not_matter,
    deleting_a_permit_or_adding_a_deny_never_permits,
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law: Law, ledger: Ledger) -> None:
    """The law holds on 5,000 generated requests."""
    ledger(law=law.__name__, **hold(law, NORMAL_SETS))


@pytest.mark.prove
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law_proved(law: Law, ledger: Ledger) -> None:
    """The law holds on 100,000 generated requests."""
    ledger(law=law.__name__, **hold(law, PROVE_SETS))


# -- twins: the engine without one of its guards ------------------------------------------


def _with_engine(monkeypatch: pytest.MonkeyPatch, name: str, replacement: object) -> Decide:
    monkeypatch.setattr(engine, name, replacement)
    return rs.decide


def _permit_on_default(monkeypatch: pytest.MonkeyPatch) -> Decide:
    """Permits when nothing applies."""

    def decide(rule_set: RuleSet, request: Request) -> Decision:
        found = rs.decide(rule_set, request)
        return Decision(Effect.PERMIT, Cause.RULE) if found.cause is Cause.DEFAULT else found

    return decide


def _doubtful_deny_permits(monkeypatch: pytest.MonkeyPatch) -> Decide:
    """Takes a deny in doubt for a permit."""

    def decide(rule_set: RuleSet, request: Request) -> Decision:
        found = rs.decide(rule_set, request)
        indeterminate = found.cause is Cause.INDETERMINATE
        return Decision(Effect.PERMIT, Cause.RULE) if indeterminate else found

    return decide


def _permit_overrides(monkeypatch: pytest.MonkeyPatch) -> Decide:
    """Drops denies when a permit applies."""
    original = engine.tally

    def tally(*arguments: Any) -> Any:
        denies, permits = original(*arguments)
        return ({} if Verdict.TRUE in permits else denies), permits

    return _with_engine(monkeypatch, "tally", tally)


def _doubt_is_false(monkeypatch: pytest.MonkeyPatch) -> Decide:
    """Skips rules in error, as Cedar and Cerbos do."""
    original = engine.conjunction

    def conjunction(*args: object) -> Verdict:
        found = original(*args)  # type: ignore[arg-type]
        return Verdict.FALSE if found is Verdict.DOUBT else found

    return _with_engine(monkeypatch, "conjunction", conjunction)


def _denials_shed_duties_in_doubt(monkeypatch: pytest.MonkeyPatch) -> Decide:
    """A denial owes the duties of the rules that apply only."""

    def duties(counted: Mapping[Verdict, list[engine.Rule[object]]]) -> tuple[Obligation, ...]:
        applies = counted.get(Verdict.TRUE, [])
        return distinct([duty for rule in applies for duty in rule.obligations])

    return _with_engine(monkeypatch, "duties", duties)


def _first_role_wins(monkeypatch: pytest.MonkeyPatch) -> Decide:
    """Looks at the first role only."""
    return _with_engine(monkeypatch, "any_of", lambda verdicts: next(iter(verdicts)))


def _spent_is_false(monkeypatch: pytest.MonkeyPatch) -> Decide:
    """Takes a spent budget for a condition that does not hold."""
    original = engine.conjunction

    def conjunction(*args: object) -> Verdict:
        found = original(*args)  # type: ignore[arg-type]
        return Verdict.FALSE if found is Verdict.SPENT else found

    return _with_engine(monkeypatch, "conjunction", conjunction)


@pytest.mark.parametrize(
    ("law", "weaken"),
    [
        (default_deny, _permit_on_default),
        (deny_overrides_permit, _permit_overrides),
        (errors_never_help, _doubt_is_false),
        (errors_never_help, _denials_shed_duties_in_doubt),
        (order_and_duplicates_do_not_matter, _first_role_wins),
        (deleting_a_permit_or_adding_a_deny_never_permits, _doubtful_deny_permits),
        (as_the_design_says, _spent_is_false),
    ],
    ids=lambda item: item.__name__.strip("_"),
)
def test_law_twin_without_guard(
    law: Law,
    weaken: Callable[[pytest.MonkeyPatch], Decide],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the guard removed the law is broken, and the law notices."""
    assert caught(law, weaken(monkeypatch))


# -- tenants ------------------------------------------------------------------------------

Tenants = Mapping[str, PolicySet]
Answer = Callable[[Tenants, CallerPolicy, Request], Decision]


def _answered(tenants: Tenants, callers: CallerPolicy, request: Request) -> Decision:
    return admission.decide(
        tenants, callers, Denials(), rs.admitted(request), rs.CALLER, rs.NOW_NS, home="a"
    )[0]


def _entries(tenant: str, chance: random.Random) -> tuple[CallerEntry, ...]:
    """One or two entries about the caller, for one tenant only, as a bundle of several has them."""
    return tuple(
        CallerEntry(
            chance.choice((rs.CALLER.spiffe_id, "spiffe://laws.example.org/*")),
            chance.choice((("*",), rs.TYPES[:1])),
            chance.choice((("*",), rs.ACTIONS[:1])),
            chance.choice((("*",), ("user",), None)),
            tenants=(tenant,),
            may=frozenset(chance.sample(["explain", "batch"], chance.randint(0, 2))),
        )
        for _ in range(chance.randint(1, 2))
    )


def changed_by_another_tenant(answer: Answer, cases: int) -> tuple[int, int]:
    """(answers that tenant b changed, permits) among requests to tenant a."""
    chance, changed, permits = random.Random(SEED), 0, 0
    for _ in range(cases):
        mine, theirs = rs.build(rs.rule_set(chance)), rs.build(rs.rule_set(chance))
        own, other = _entries("a", chance), _entries("b", chance)
        for _ in range(REQUESTS_PER_SET):
            # Named, or by the operator's word.
            request = replace(rs.request(chance), tenant=chance.choice(("a", "")))
            alone = answer({"a": mine}, CallerPolicy(own), request)
            beside = answer({"a": mine, "b": theirs}, CallerPolicy((*own, *other)), request)
            changed += alone != beside
            permits += bool(alone)
    return changed, permits


def test_another_tenants_bundle_never_changes_an_answer(ledger: Ledger) -> None:
    """Whatever rules and callers tenant b has, also about the same caller: a's answers stay."""
    changed, permits = changed_by_another_tenant(_answered, 200)
    assert changed == 0
    assert permits >= 50
    ledger(seed=SEED, requests=200 * REQUESTS_PER_SET, permits=permits, changed=changed)


def _with_all_rules(tenants: Tenants, callers: CallerPolicy, request: Request) -> Decision:
    """As if rules were not kept apart: the last tenant's answer everybody."""
    return _answered(dict.fromkeys(tenants, list(tenants.values())[-1]), callers, request)


def _with_all_callers(tenants: Tenants, callers: CallerPolicy, request: Request) -> Decision:
    """As if entries were not kept apart: each is about every tenant."""
    entries = tuple(replace(entry, tenants=("*",)) for entry in callers.entries)
    return _answered(tenants, CallerPolicy(entries), request)


@pytest.mark.parametrize("answer", [_with_all_rules, _with_all_callers])
def test_another_tenant_twin_without_guard(answer: Answer) -> None:
    """Were rules, or callers, not kept apart by tenant, the law would notice."""
    assert changed_by_another_tenant(answer, 40)[0] > 0


# -- laws about bundles, freshness, records and clients -----------------------------------


ROLES = ("manager", "director", "employee", "contractor", "auditor")
ACTIONS = ("read", "list", "create", "update", "submit", "approve", "reject", "pay")


def _sample_requests(count: int) -> Iterator[Request]:
    """Requests about expense reports: the rows of the sample's own tests, then mutations."""
    chance = random.Random(SEED)
    names = ("ana", "ben", "cleo", "dora")
    for _ in range(count):
        pick = chance.choice
        amount = pick((1, 100_000, 100_001, 500_001, 2_500_000, "much", None))
        properties: dict[str, Value] = {
            "status": pick(("draft", "submitted", "approved", "paid", 3)),
            "author": pick(names),
            "submitted_by": pick(names),
            "department": pick(("sales", "board")),
            "amount_cents": amount,
            "lines": [
                {"category": pick(("travel", "entertainment"))} for _ in range(chance.randint(0, 3))
            ],
        }
        for name in chance.sample(sorted(properties), chance.randint(0, 2)):
            del properties[name]
        roles: list[Value] = list(
            chance.sample(("manager", "director", "employee", "contractor", "auditor"), 2)
        )
        yield Request(
            Subject(
                "user",
                pick(names),
                {"roles": roles, "department": pick(("sales", "board")), "grade": pick((3, 5, 7))},
            ),
            Action(
                pick(("read", "list", "create", "update", "submit", "approve", "reject", "pay"))
            ),
            Resource("expense_report", "r-1", properties),
            {"mfa": pick((True, False, "yes"))},
        )


def decisions_digest(documents: list[bytes], requests: int) -> str:
    """SHA-256 over the decisions of compiled documents on the same generated requests."""
    policies = [
        document for document in map(decode_document, documents)
        if isinstance(document, PolicyDocument)
    ]  # fmt: skip
    policy_set = PolicySet(policies, EvaluationLimits())
    digest = hashlib.sha256()
    for request in _sample_requests(requests):
        decision, _ = policy_set.decide(rs.admitted(request), rs.NOW_NS)
        duties = [(duty.id, duty.type, duty.key[2].hex()) for duty in decision.obligations]
        line = (decision.effect.name, decision.cause.name, decision.rules, duties)
        digest.update(json.dumps(line).encode())
    return digest.hexdigest()


def _sample_documents() -> list[bytes]:
    compilation = compile_directory(ROOT / "policies" / "expense-reports")
    assert not compilation.problems
    return [file.compiled for file in compilation.documents]


def test_same_bundle_same_decision(tmp_path: Path) -> None:
    """Fresh loads, other processes with other hash seeds, and threads decide the same."""
    documents, requests = _sample_documents(), 400
    expected = decisions_digest(documents, requests)
    assert decisions_digest(list(reversed(documents)), requests) == expected
    folder = tmp_path / "documents"
    folder.mkdir()
    for index, document in enumerate(documents):
        (folder / f"{index}.pb").write_bytes(document)
    program = (
        "import sys, pathlib; from tests.test_laws import decisions_digest; "
        "files = sorted(pathlib.Path(sys.argv[1]).iterdir()); "
        f"print(decisions_digest([file.read_bytes() for file in files], {requests}))"
    )
    for hash_seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(folder)],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        assert done.stdout.strip() == expected
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: decisions_digest(documents, requests), range(8)))
    assert found == {expected}


def test_one_policy_set_decides_the_same_in_eight_threads() -> None:
    """Threads that share one policy set never mix up each other's requests."""
    policies = [
        d for d in map(decode_document, _sample_documents()) if isinstance(d, PolicyDocument)
    ]
    policy_set = PolicySet(policies, EvaluationLimits())
    requests = [rs.admitted(request) for request in _sample_requests(300)]
    expected = [policy_set.decide(request, rs.NOW_NS)[0] for request in requests]
    assert len({decision.effect for decision in expected}) == 2
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as threads:

            def run(number: int) -> bool:
                order = list(range(len(requests)))
                random.Random(number).shuffle(order)
                return all(
                    policy_set.decide(requests[i], rs.NOW_NS)[0] == expected[i] for i in order
                )

            assert all(threads.map(run, range(24)))
    finally:
        sys.setswitchinterval(interval)


def _reader(folder: Path) -> Reader:
    folder.mkdir()
    return Reader(folder)


def _evaluates_something(reader: Reader) -> bool:
    """Whether a PDP on this store comes to hold a snapshot."""
    try:
        reader.start()
    except (BundleError, ConfigurationError):
        return False
    finally:
        keeper = reader.keeper
    return keeper is not None and keeper.current() is not None


def _unsigned(data: bytes) -> bytes:
    """Metadata without its signatures."""
    metadata = json.loads(data)
    metadata["signatures"] = []
    return json.dumps(metadata).encode()


def test_never_unsigned(tmp_path: Path) -> None:
    """No role may lose its signatures, and no setting makes up for them."""
    honest = _reader(tmp_path / "honest")
    honest.repository.release(1)
    honest.serve()
    assert _evaluates_something(honest)
    files = honest.repository.saved()
    refused = 0
    for path in _metadata_in_use(files):
        # The embedded root is the trust anchor: that of the store is read only when it is newer.
        if path.endswith("/1.root.json"):
            continue
        reader = _reader(tmp_path / str(refused))
        reader.root.write_bytes(honest.repository.trusted_root)
        reader.serve({**files, path: _unsigned(files[path])})
        assert not _evaluates_something(reader), path
        refused += 1
    # targets, policies/default, emergency, snapshot, timestamp
    assert refused == 5


def _metadata_in_use(files: Mapping[str, bytes]) -> list[str]:
    """The newest version of each role's metadata."""
    newest: dict[str, tuple[int, str]] = {}
    for path in files:
        if not path.startswith("metadata/"):
            continue
        version, _, role = path.removeprefix("metadata/").partition(".")
        number = int(version) if version.isdigit() else 0
        newest[role if number else path] = max(newest.get(role, (0, "")), (number, path))
    return sorted(path for _, path in newest.values())


def test_never_unsigned_has_no_switch() -> None:
    """No field of the bundle's settings is a truth value, and none is about checking."""
    for item in fields(BundleSettings):
        assert item.type not in {"bool", bool}, item.name
        words = set(item.name.split("_"))
        assert not words & {"verify", "check", "insecure", "unsafe", "skip", "allow", "trust"}


def test_never_unsigned_twin_without_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With signature verification taken out of the library, unsigned metadata is evaluated."""
    reader = _reader(tmp_path / "reader")
    reader.repository.release(1)
    files = reader.repository.saved()
    path = next(p for p in files if p.endswith("timestamp.json"))
    reader.serve({**files, path: _unsigned(files[path])})
    assert not _evaluates_something(reader)
    for delegator in (Root, Targets):
        monkeypatch.setattr(delegator, "verify_delegate", lambda *_: None)
    assert _evaluates_something(reader)


def _decide_at(clock_ns: int, snapshot: Snapshot, mode: str = "at_once") -> Decision:
    clock = HandClock(wall=clock_ns)
    point = DecisionPoint(HeldSnapshot(snapshot), MemoryRecorder(mode), clock=clock)
    return asyncio.run(point.authorize(ask(), PEP, clock.seconds + 0.05))


_offsets = st.integers(-7_200 * NANOS, 7_200 * NANOS)


@settings(max_examples=200, deadline=None)
@given(_offsets, _offsets, st.sampled_from(["read", "write", "destroy"]))
def test_never_stale(until: int, mark: int, action: str) -> None:
    """Past `fresh_until`, or with a clock behind its mark, the answer is DENY(STALE)."""
    snapshot = make_snapshot(fresh_until_ns=NOW_NS + until, clock_mark_ns=NOW_NS + mark)
    clock = HandClock()
    point = DecisionPoint(HeldSnapshot(snapshot), MemoryRecorder(), clock=clock)
    decision = asyncio.run(point.authorize(ask(action), PEP, clock.seconds + 1))
    stale = until <= 0 or mark > 60 * NANOS
    assert (decision.cause is Cause.STALE) == stale
    assert not (stale and decision)


def test_never_stale_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the look at freshness an expired bundle permits."""
    expired = make_snapshot(fresh_until_ns=NOW_NS)
    assert _decide_at(NOW_NS, expired).cause is Cause.STALE
    monkeypatch.setattr(Snapshot, "is_stale", lambda *_: False)
    assert _decide_at(NOW_NS, expired)


RECORDER_MODES = (
    "at_once", "later", "never", "fails", "fails_later", "suppressed", "breaks", "refuses",
    "cancels",
)  # fmt: skip


@pytest.mark.parametrize("mode", RECORDER_MODES)
@pytest.mark.parametrize("action", ["read", "write"])
def test_no_permit_without_a_record(mode: str, action: str) -> None:
    """Whatever the recorder does, a permit names a record that is durable by then."""
    clock, recorder = HandClock(), MemoryRecorder(mode)
    point = DecisionPoint(HeldSnapshot(make_snapshot()), recorder, clock=clock)

    async def run() -> None:
        decision = await point.authorize(ask(action), PEP, clock.seconds + 0.05)
        durable = decision.record is not None and decision.record.seq in recorder.durable
        assert durable or not decision
        if action == "read" and mode in {"at_once", "later", "suppressed"}:
            assert decision
        elif action == "read":
            assert decision.cause in {Cause.AUDIT, Cause.INTERNAL}

    asyncio.run(run())


def test_no_permit_without_a_record_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """When failures of the recorder are taken for records, a permit leaves unrecorded."""
    assert not _decide_at(NOW_NS, make_snapshot(), "fails")

    async def pretend(*_: object) -> RecordRef:
        return RecordRef("pdp/0/1", 1, bytes(32))

    monkeypatch.setattr(DecisionPoint, "_record", pretend)
    assert _decide_at(NOW_NS, make_snapshot(), "fails")


@settings(max_examples=500, deadline=None)
@given(st.data(), st.integers(0, 20), st.floats(allow_nan=True))
def test_client_denies(data: st.DataObject, status: int, at: float) -> None:
    """A flipped, cut or extended answer is a permit only if nothing that matters changed."""
    call = asked()
    message = bytearray(honest(call).SerializeToString())
    position = data.draw(st.integers(0, len(message) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "insert", "none"])):
        case "flip":
            message[position] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del message[position:]
        case "insert":
            message[position:position] = data.draw(st.binary(max_size=4))
    outcome = ended(bytes(message), status, at)
    decision = concluded(call, outcome).decision
    assert not decision or may_permit(call, outcome, CAN_MEET)


# -- a batch is as many questions as it has -------------------------------------------------

BATCH_SETS, BATCH_SETS_PROVED, BATCH_SETS_GRPC = 120, 4_000, 25


def _questions(chance: random.Random) -> list[Request]:
    """Questions about few names: equal ones, and ones that differ in properties only; any order."""
    drawn = [rs.request(chance) for _ in range(chance.randint(1, 8))]
    drawn += chance.choices(drawn, k=chance.randint(0, 4))
    first = drawn[0]
    drawn += [
        replace(other, subject=replace(other.subject, type=first.subject.type, id=first.subject.id))
        for other in drawn[1:3]
    ]
    if chance.random() < 0.3:
        drawn.append(replace(first, context={"x": float("nan")}))
    if chance.random() < 0.2:
        drawn.append(replace(first, tenant="else"))
    chance.shuffle(drawn)
    return [replace(one, request_id=f"q{index}") for index, one in enumerate(drawn)]


def _said(decision: Decision) -> Decision:
    """Without what each answer has of its own."""
    return replace(decision, decision_id="", record=None)


def _batch_snapshot(rule_set: RuleSet, **changes: object) -> Snapshot:
    entry = CallerEntry(
        id=PEP.spiffe_id,
        resources=("*",),
        actions=("*",),
        asserts=("user",),
        may=frozenset({"batch"}),
    )
    snapshot = make_snapshot(callers=(entry,), tenants={"default": rs.build(rule_set)})
    return replace(snapshot, **changes)  # type: ignore[arg-type]


def _broken_batches(sets: int) -> Iterator[str]:
    """Batches whose answers are not those of their questions alone; the last line counts."""
    chance = random.Random(SEED)
    clock = HandClock()
    held = HeldSnapshot(None)
    point = BatchDecisionPoint(held, MemoryRecorder(), clock=clock)

    async def both(questions: list[Request]) -> tuple[list[Decision], list[Decision]]:
        batch = Batch("b", Semantic.EXECUTE_ALL, questions)
        together = await point.answer_batch(batch, PEP, clock.seconds + 1)
        alone = [await point.authorize(one, PEP, clock.seconds + 1) for one in questions]
        return [_said(answer.decision) for answer in together], [_said(one) for one in alone]

    for _ in range(sets):
        held.snapshot = _batch_snapshot(rs.rule_set(chance))
        together, alone = asyncio.run(both(_questions(chance)))
        if together != alone:
            yield f"{together} instead of {alone}"


def test_batch_is_n_singles(ledger: Ledger) -> None:
    """Each question of a batch gets what it would get alone, to the last field."""
    assert list(_broken_batches(BATCH_SETS)) == []
    ledger(law="batch_is_n_singles", seed=SEED, batches=BATCH_SETS, broken=0)


@pytest.mark.prove
def test_batch_is_n_singles_proved(ledger: Ledger) -> None:
    """The same for thousands of batches."""
    assert list(_broken_batches(BATCH_SETS_PROVED)) == []
    ledger(law="batch_is_n_singles", seed=SEED, batches=BATCH_SETS_PROVED, broken=0)


def test_batch_is_n_singles_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision point that answers equal names alike, as a careless cache would, is caught."""
    known: dict[tuple[str, str, str, str], Decision] = {}
    whole = BatchDecisionPoint._decided

    def careless(self: BatchDecisionPoint, call: Call, moment: Moment) -> Decision:
        asked = call.request
        names = (asked.subject.type, asked.subject.id, asked.action.name, asked.resource.type)
        return known.setdefault((*names[:3], names[3]), whole(self, call, moment))

    monkeypatch.setattr(BatchDecisionPoint, "_decided", careless)
    assert next(_broken_batches(BATCH_SETS), "")


def test_batch_is_n_singles_through_grpc(tmp_path: Path, ledger: Ledger) -> None:
    """The same over mutual TLS; what alone is INVALID_ARGUMENT is DENY(INVALID) in the batch."""
    chance = random.Random(SEED)
    compared = 0

    async def scenario() -> None:
        nonlocal compared
        async with running_server(tmp_path) as running, running.channel() as channel:
            one = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
            many = channel.unary_unary(BATCH, bytes, pb.AuthorizeBatchResponse.FromString)

            async def alone(data: bytes) -> str:
                try:
                    return said(await one(data, timeout=5))
                except grpc.aio.AioRpcError as error:
                    code = error.code().name
                    return "INVALID" if code == "INVALID_ARGUMENT" else code

            def said(answer: pb.AuthorizeResponse) -> str:
                if answer.cause == pb.CAUSE_INVALID:
                    assert (answer.effect, bool(answer.invalid)) == (pb.EFFECT_DENY, True)
                    return "INVALID"
                answer.ClearField("decision_id")
                answer.ClearField("record")
                return str(answer)

            for _ in range(BATCH_SETS_GRPC):
                fresh = {
                    "fresh_until_ns": time.time_ns() + 3_600 * NANOS,
                    "clock_mark_ns": time.time_ns() - NANOS,
                }
                running.snapshots.snapshot = _batch_snapshot(rs.rule_set(chance), **fresh)
                questions = [
                    message(question)
                    for question in _questions(chance)
                    if question.context.get("x") is None
                ]
                batch = pb.AuthorizeBatchRequest(
                    request_id="b",
                    semantic=pb.BATCH_SEMANTIC_EXECUTE_ALL,
                    items=[pb.AuthorizeRequest.FromString(data) for data in questions],
                )
                together = await many(batch.SerializeToString(), timeout=5)
                assert [said(item) for item in together.items] == [
                    await alone(data) for data in questions
                ]
                compared += len(questions)

    asyncio.run(scenario())
    ledger(law="batch_is_n_singles", seed=SEED, door="grpc", questions=compared, broken=0)
