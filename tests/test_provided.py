"""Attributes that callers do not send: an unknown one is an error to every touch of it.

The law, for the engine and for one condition: with an attribute in error a request is
permitted only if it would be permitted whatever the attribute were, and then with no
obligation less; or if a value of it would make a condition spend its budget.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from pdp import provided as provided_module
from pdp.audit.entry import attributes_read
from pdp.authoring.checker import CONDITION_VARIABLES, Checker
from pdp.boundary import Admitted, InputLimits, admit
from pdp.cel.compile import CompiledExpression, compile_expression
from pdp.cel.limits import EvaluationLimits
from pdp.cel.partial import INCOMPLETE, Partial
from pdp.checked_expr import decode
from pdp.errors import ExpressionError, PolicyError
from pdp.explaining import explain
from pdp.fetched import Fetched, FetchOutcome
from pdp.model import (
    Action,
    Caller,
    Cause,
    Decision,
    Effect,
    Request,
    Resource,
    Subject,
    Verdict,
)
from pdp.policy import PolicyDocument, PolicySet, RuleDocument
from pdp.provided import Provided, ProviderDocument
from pdp.schema import ANYTHING, Kind, Property, Schema, SchemaDocument, Target
from pdp.values import Value
from tests.cel_generator import Generator
from tests.conftest import Ledger
from tests.simulators import rule_sets as rs

SEED = 20261126
LIMITS = EvaluationLimits()
CALLER = Caller("spiffe://demo.example.org/a")
TEXT, TRUTH = Schema(frozenset({Kind.STRING})), Schema(frozenset({Kind.BOOL}))
USER = SchemaDocument(
    Target.SUBJECT,
    "user",
    Schema(
        frozenset({Kind.MAP}),
        properties=(
            Property("grade", False, TEXT),
            Property("suspended", True, TRUTH),
            Property("team", False, TEXT),
        ),
    ),
)
HR = ProviderDocument("hr", Target.SUBJECT, "user", ("grade", "suspended"), 30)
FAILURES = [outcome for outcome in FetchOutcome if outcome is not FetchOutcome.FETCHED]
GOOD: dict[str, Value] = {"grade": "a", "suspended": False}


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child process for all tests of this file."""
    with Checker() as running:
        yield running


def rule(checker: Checker, name: str, effect: Effect, when: str) -> RuleDocument:
    """A rule about reading."""
    checked = checker.check(when, CONDITION_VARIABLES).checked_expr
    return RuleDocument(
        name, effect, ("read",), None, decode(checked, when), None, None, "test", ()
    )


def policies(*rules: RuleDocument, providers: tuple[ProviderDocument, ...] = (HR,)) -> PolicySet:
    """One policy about reports."""
    return PolicySet(
        [PolicyDocument("p", "report", "", (), (), (), rules)], LIMITS, [USER], providers
    )


def asked(action: str = "read", /, **properties: Any) -> Admitted:
    """May alice do this to report 1?"""
    subject = Subject("user", "alice", properties)
    request = Request(subject, Action(action), Resource("report", "1"))
    return admit(request, CALLER, InputLimits())


def said(outcome: FetchOutcome = FetchOutcome.FETCHED, /, **values: Any) -> Mapping[str, Fetched]:
    """What `hr` said."""
    return {"hr": Fetched("hr", outcome, values)}


def decide(policy_set: PolicySet, admitted: Admitted, answers: Mapping[str, Fetched]) -> Decision:
    """The decision, with what providers said."""
    assert policy_set.provided is not None
    return policy_set.decide(policy_set.provided.complete(admitted, answers), rs.NOW_NS)[0]


# -- one condition ---------------------------------------------------------------------------

# Each touches what is not known, and none may come to a truth value.
TOUCHES = (
    "has(subject.properties.suspended)",
    "!has(subject.properties.suspended)",
    "subject.properties.suspended == false",
    "subject.properties.suspended != null",
    "subject.properties.?suspended.orValue(false) || true == false",
    "!subject.properties.?suspended.hasValue()",
    "subject.properties[?'suspended'].orValue(true)",
    "subject.properties['suspended']",
    "subject['properties']['suspended']",
    "subject['properties'].?suspended.hasValue()",
    "subject[?'properties'].hasValue()",
    "subject.?properties.?suspended.hasValue()",
    "'suspended' in subject.properties",
    "!('suspended' in subject.properties)",
    "size(subject.properties) < 100",
    "subject.properties == {}",
    "subject.properties != {'team': 'red'}",
    "subject == subject",
    "{'a': subject.properties}.a.team == 'red'",
    "[subject.properties].size() == 1",
    "subject.properties in [{}]",
    "subject.properties.all(k, k == k)",
    "subject.properties.exists(k, k == 'nothing')",
    "subject.properties.map(k, k).size() >= 0",
    "subject.properties.filter(k, false).size() == 0",
    "subject.properties.all(k, v, true)",
    "subject.properties.transformMap(k, v, v).size() >= 0",
    "type(subject.properties) == map",
    "type(subject.properties.suspended) == bool",
    "dyn(subject.properties).team == 'red'",
    "dyn(subject).id == 'alice'",
    "cel.bind(p, subject.properties, p.team == 'red')",
    "cel.bind(s, subject.properties.suspended, s || !s)",
    "(subject.properties.suspended ? 1 : 2) > 0",
    "(true ? subject.properties : {}).team == 'red'",
    "optional.of(subject.properties).hasValue()",
    "optional.ofNonZeroValue(subject.properties.suspended).hasValue()",
    "string(subject.properties.suspended) != ''",
    "[1, 2].exists(i, subject.properties.suspended == (i == 1))",
    "[subject.properties.suspended].size() == 1",
    "{'k': subject.properties.suspended}.size() == 1",
)
# What is beside it is as ever; and what is decided without it is.
UNTOUCHED = {
    "subject.properties.team == 'red'": Verdict.TRUE,
    "has(subject.properties.team)": Verdict.TRUE,
    "has(subject.properties.other)": Verdict.FALSE,
    "'team' in subject.properties": Verdict.TRUE,
    "5 in {5: subject.properties.team}": Verdict.TRUE,
    "subject['properties']['team'] == 'red'": Verdict.TRUE,
    "subject['id'] == 'alice' && subject.id == 'alice'": Verdict.TRUE,
    "subject.properties.?other.orValue('x') == 'x'": Verdict.TRUE,
    "subject.properties[?'team'].orValue('x') == 'red'": Verdict.TRUE,
    "true || subject.properties.suspended": Verdict.TRUE,
    "subject.properties.suspended || subject.properties.team == 'red'": Verdict.TRUE,
    "subject.properties.suspended && false": Verdict.FALSE,
    "cel.bind(p, subject.properties, true)": Verdict.TRUE,
}


def compiled(checker: Checker, source: str) -> CompiledExpression:
    """A compiled condition."""
    checked = checker.check(source, CONDITION_VARIABLES).checked_expr
    return compile_expression(decode(checked, source), {}, LIMITS)


def unknown(**known: Any) -> Mapping[str, Any]:
    """Attributes with a `suspended` that nobody knows."""
    completed = Provided([HR], [USER]).complete(asked(**known), said(FetchOutcome.DOWN))
    return completed.attributes


@pytest.mark.parametrize("source", TOUCHES)
def test_every_touch_of_what_could_not_be_fetched_is_an_error(
    checker: Checker, source: str
) -> None:
    """No condition that looks at it, or at all of the map it is in, has a truth value."""
    condition = compiled(checker, source)
    assert condition.verdict(unknown(team="red")) is Verdict.DOUBT
    # The trace says why, and whose fault it is.
    assert "provider `hr` could not be asked" in condition.tracer().trace(unknown()).problem


@pytest.mark.parametrize("source", TOUCHES)
def test_absent_in_place_of_unknown_would_be_noticed(checker: Checker, source: str) -> None:
    """Twin: an attribute that is left out is one that many a condition decides about."""
    verdicts = _without_guard(checker)
    assert any(verdict is not Verdict.DOUBT for verdict in verdicts.values())
    assert verdicts["!has(subject.properties.suspended)"] is Verdict.TRUE
    assert source in verdicts


def _without_guard(checker: Checker) -> dict[str, Verdict]:
    attributes = asked(team="red").attributes
    return {source: compiled(checker, source).verdict(attributes) for source in TOUCHES}


@pytest.mark.parametrize("source", UNTOUCHED)
def test_what_is_beside_an_unknown_attribute_is_decided_as_ever(
    checker: Checker, source: str
) -> None:
    """Only what looks at it is in doubt."""
    condition = compiled(checker, source)
    assert condition.verdict(unknown(team="red")) is UNTOUCHED[source]
    trace = condition.tracer().trace(unknown(team="red"))
    assert trace.verdict is UNTOUCHED[source]
    assert all(seen.count >= seen.trues + seen.falses + seen.errors for seen in trace.seen)


def test_a_variable_that_stands_for_a_map_is_looked_into_likewise(checker: Checker) -> None:
    """A policy variable is as if its expression were written there, used once or often."""
    variables = {}
    for name, source in (
        ("p", "subject.properties"),
        ("gone", "subject.properties.suspended"),
    ):
        variables[name] = decode(checker.check(source, CONDITION_VARIABLES).checked_expr, source)
    kinds = {**CONDITION_VARIABLES, "p": "map(string, dyn)", "gone": "dyn"}
    for source, verdict in {
        "p.team == 'red' && has(p.team)": Verdict.TRUE,
        "p.suspended": Verdict.DOUBT,
        "p.size() > 0 || p.size() == 0": Verdict.DOUBT,
        "gone || !gone": Verdict.DOUBT,
        "gone || p.team == 'red'": Verdict.TRUE,
    }.items():
        expression = decode(checker.check(source, kinds).checked_expr, source)
        condition = compile_expression(expression, variables, LIMITS)
        assert condition.verdict(unknown(team="red")) is verdict, source
        assert condition.tracer().trace(unknown(team="red")).verdict is verdict, source


def law_of_a_condition(checker: Checker, seed: int, conditions: int) -> Counter[str]:
    """Random conditions with one unknown key; fail where a value would have decided otherwise."""
    generator, counts = Generator(seed), Counter[str]()
    while counts["conditions"] < conditions:
        source = generator.expression()
        try:
            kinds = {**CONDITION_VARIABLES, "any": "dyn"}
            expression = decode(checker.check(source, kinds).checked_expr, source)
            condition = compile_expression(expression, {}, LIMITS)
        except ExpressionError:
            continue
        counts["conditions"] += 1
        for _ in range(4):
            key = generator.pick(("a", "b", "n", "s", "xs", "m"))
            attributes: dict[str, Any] = generator.attributes()
            properties = attributes.pop("subject.properties", None)
            if not isinstance(properties, dict):
                continue
            known = {k: v for k, v in properties.items() if k != key}
            partial = Partial("subject.properties", known, {key: "is not known"})
            found = condition.verdict(attributes | {INCOMPLETE: {"subject.properties": partial}})
            counts[found.name] += 1
            if found not in {Verdict.TRUE, Verdict.FALSE}:
                continue
            worlds: list[dict[str, Any]] = [known]
            for _ in range(6):
                other = generator.attributes().get("subject.properties")
                if isinstance(other, dict) and key in other:
                    worlds.append({**known, key: other[key]})
            for world in worlds:
                verdict = condition.verdict({**attributes, "subject.properties": world})
                assert verdict in {found, Verdict.SPENT}, (source, key, world, found, verdict)
                counts["worlds"] += 1
    return counts


def test_a_condition_with_an_unknown_decides_only_what_every_value_decides(
    checker: Checker, ledger: Ledger
) -> None:
    """TRUE or FALSE without a value is TRUE or FALSE with each, or the budget is spent."""
    counts = law_of_a_condition(checker, SEED, 120)
    assert counts["worlds"] > 300
    assert counts["DOUBT"] > 50
    ledger(seed=SEED, **counts)


@pytest.mark.prove
def test_many_conditions_with_an_unknown_decide_only_what_every_value_decides(
    checker: Checker, ledger: Ledger
) -> None:
    """The same, for as many as there is time."""
    ledger(seed=SEED + 1, **law_of_a_condition(checker, SEED + 1, 5_000))


# -- whole policies --------------------------------------------------------------------------

OWNED = {
    Target.SUBJECT: ("level", "roles"),
    Target.RESOURCE: ("amount", "name", "owner", "tags"),
}
_ANY_MAP = Schema(frozenset({Kind.MAP}), open=True)


def _schemas_and_providers() -> tuple[list[SchemaDocument], list[ProviderDocument]]:
    """Every property of the random requests is owned, each by a provider of its own."""
    schemas, providers = [], []
    types = {Target.SUBJECT: ("user", "robot"), Target.RESOURCE: (*rs.TYPES, "unknown")}
    for target, names in OWNED.items():
        for kind in types[target]:
            declared = tuple(Property(name, False, ANYTHING) for name in names)
            schemas.append(SchemaDocument(target, kind, replace(_ANY_MAP, properties=declared)))
            providers += [
                ProviderDocument(f"{kind}-{name}", target, kind, (name,), 0) for name in names
            ]
    return schemas, providers


def _world(chance: random.Random, request: Request) -> dict[str, Fetched]:
    """What providers say if all of them answer: what another random request would have sent."""
    other = rs.request(chance)
    worlds = (
        (request.subject.type, OWNED[Target.SUBJECT], request.subject, other.subject),
        (request.resource.type, OWNED[Target.RESOURCE], request.resource, other.resource),
    )
    found = {}
    for kind, names, one, another in worlds:
        for name in names:
            source = one if chance.random() < 0.5 else another
            values = {name: source.properties[name]} if name in source.properties else {}
            provider = f"{kind}-{name}"
            found[provider] = Fetched(provider, FetchOutcome.FETCHED, values)
    return found


def _bare(request: Request) -> Request:
    return replace(
        request,
        subject=replace(request.subject, properties={}),
        resource=replace(request.resource, properties={}),
    )


def broken_cases(seed: int, sets: int, counts: Counter[str]) -> Iterator[str]:
    """Where an error in some attributes made an answer milder than their values would have."""
    chance = random.Random(seed)
    schemas, providers = _schemas_and_providers()
    for _ in range(sets):
        rule_set = rs.rule_set(chance)
        policy_set = rs.build(rule_set, schemas, providers)
        assert policy_set.provided is not None
        for _ in range(4):
            request = rs.request(chance)
            bare = rs.admitted(_bare(request))
            world = _world(chance, request)
            failed = {name for name in world if chance.random() < 0.4}
            broken = {
                name: Fetched(name, chance.choice(FAILURES)) if name in failed else item
                for name, item in world.items()
            }
            found = decide(policy_set, bare, broken)
            counts[f"{found.effect.name} {found.cause.name}"] += 1
            for _ in range(4):
                other = _world(chance, request)
                tried = {name: other[name] if name in failed else world[name] for name in world}
                with_values = decide(policy_set, bare, tried)
                counts["worlds"] += 1
                if found and not with_values and with_values.cause is not Cause.BUDGET:
                    yield f"{found} but {with_values} with {tried}"
                if found and with_values:
                    lost = {d.key for d in with_values.obligations}
                    if lost - {d.key for d in found.obligations}:
                        yield f"{found} sheds what {with_values} has"


def test_errors_of_providers_never_help(ledger: Ledger) -> None:
    """A permit with attributes in error is a permit, with no more duties, whatever they are."""
    counts: Counter[str] = Counter()
    assert list(broken_cases(SEED, 300, counts)) == []
    assert counts["PERMIT RULE"] > 100
    ledger(seed=SEED, **counts)


@pytest.mark.prove
def test_errors_of_providers_never_help_in_many_cases(ledger: Ledger) -> None:
    """The same law on more cases."""
    counts: Counter[str] = Counter()
    assert list(broken_cases(SEED + 1, 10_000, counts)) == []
    ledger(seed=SEED + 1, **counts)


def test_absent_in_place_of_an_error_would_break_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: providers that are down are as if they had said nothing."""
    whole = provided_module._put

    def absent(found: Any, incomplete: Any, root: str, known: Any, _missing: Any) -> None:
        whole(found, incomplete, root, known, {})

    monkeypatch.setattr(provided_module, "_put", absent)
    # The pool has one condition that asks whether something is there; that it is about the
    # context does not help here, so this policy does.
    chance = random.Random(SEED)
    with Checker() as running:
        policy_set = policies(
            rule(running, "r", Effect.PERMIT, "!has(subject.properties.suspended)")
        )
    assert decide(policy_set, asked(), said(chance.choice(FAILURES)))


# -- what comes of it ------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", FAILURES)
def test_provider_down_and_not_has_does_not_permit(checker: Checker, outcome: FetchOutcome) -> None:
    """`!has(subject.properties.suspended)` permits for no outcome of asking."""
    policy_set = policies(
        rule(checker, "r", Effect.PERMIT, "!has(subject.properties.suspended)"),
        rule(checker, "s", Effect.PERMIT, "!subject.properties.?suspended.orValue(false)"),
    )
    found = decide(policy_set, asked(), said(outcome))
    assert (found.effect, found.cause) == (Effect.DENY, Cause.DEFAULT)
    assert decide(policy_set, asked(), said(**GOOD))
    assert not decide(policy_set, asked(), said(grade="a", suspended=True))


def test_a_deny_about_what_is_unknown_is_in_doubt(checker: Checker) -> None:
    """A deny rule on an unknown attribute denies: INDETERMINATE."""
    policy_set = policies(
        rule(checker, "anyone", Effect.PERMIT, "true"),
        rule(checker, "suspended", Effect.DENY, "subject.properties.suspended"),
    )
    found = decide(policy_set, asked(), said(FetchOutcome.LATE))
    assert (found.cause, found.rules) == (Cause.INDETERMINATE, ("p/suspended",))
    assert decide(policy_set, asked(), said(**GOOD))


def test_what_nobody_fetched_is_not_decided(checker: Checker) -> None:
    """Who decides without asking the providers gets a denial, whatever the rules say."""
    policy_set = policies(rule(checker, "r", Effect.PERMIT, "subject.properties.suspended || true"))
    found, rules = policy_set.decide(asked(), rs.NOW_NS)
    assert (found.effect, found.cause) == (Effect.DENY, Cause.INDETERMINATE)
    assert [each.name for each in rules] == ["p/r"]


def test_a_caller_may_not_send_what_a_provider_owns(checker: Checker) -> None:
    """DENY(IDENTITY), and the path is named; whatever it is, and even if it is right."""
    policy_set = policies(rule(checker, "r", Effect.PERMIT, "true"))
    values: tuple[Value, ...] = (False, True, None, "x", {}, [1])
    for value in values:
        found, rules = policy_set.decide(asked(suspended=value), rs.NOW_NS)
        assert (found.effect, found.cause, list(rules)) == (Effect.DENY, Cause.IDENTITY, [])
        assert found.schema_violation == (
            "subject.properties.suspended is what provider `hr` says, and nobody else"
        )
    assert policy_set.decide(asked(team="red"), rs.NOW_NS)[0]


def test_without_the_guard_a_caller_would_say_who_is_suspended(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: nobody looks at what callers send, and the answer is what the caller wants."""
    policy_set = policies(
        rule(checker, "r", Effect.PERMIT, "subject.properties.suspended == false")
    )
    monkeypatch.setattr(Provided, "violation", lambda *_: "")
    monkeypatch.setattr(Provided, "wanted", lambda *_: ())
    monkeypatch.setattr(Provided, "complete", lambda _, admitted, __: admitted)
    monkeypatch.setattr(policy_set._schemas, "_empty", True)
    assert policy_set.decide(asked(suspended=False), rs.NOW_NS)[0]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"grade": "a"}, "did not say it"),
        ({"suspended": "no"}, "must be a boolean"),
        ({"suspended": None}, "must be a boolean"),
        ({"suspended": 0}, "must be a boolean"),
    ],
)
def test_a_value_that_does_not_fit_its_schema_is_an_error_not_a_denial_of_the_request(
    checker: Checker, values: dict[str, Any], problem: str
) -> None:
    """The attribute is in doubt; a rule that does not look at it decides as ever."""
    policy_set = policies(
        rule(checker, "r", Effect.PERMIT, "!subject.properties.suspended"),
    )
    assert policy_set.provided is not None
    completed = policy_set.provided.complete(asked(), said(**values))
    found, _ = policy_set.decide(completed, rs.NOW_NS)
    assert (found.effect, found.cause) == (Effect.DENY, Cause.DEFAULT)
    assert completed.completion is not None
    assert problem in completed.completion.unusable["subject.properties.suspended"]
    beside = policies(rule(checker, "r", Effect.PERMIT, "subject.properties.grade != 'z'"))
    found = decide(beside, asked(), said(**({"grade": "a"} | values)))
    assert found


def test_required_of_the_caller_is_only_what_it_sends(checker: Checker) -> None:
    """`suspended` is required by the schema and owned: its absence in the request is no breach."""
    policy_set = policies(rule(checker, "r", Effect.PERMIT, "subject.properties.team == 'red'"))
    assert policy_set.decide(asked(team="red"), rs.NOW_NS)[0]
    found = policy_set.decide(asked(team=5), rs.NOW_NS)[0]
    assert (found.cause, found.schema_violation) == (
        Cause.SCHEMA,
        "subject.properties.team must be a string",
    )


WANTED = {
    "subject.properties.suspended": True,
    "has(subject.properties.grade)": True,
    "subject.properties.team == 'red'": False,
    "subject['properties']['suspended'] == true": True,
    "subject['properties']['team'] == 'red'": False,
    "subject['id'] == 'x'": False,
    "subject == {}": True,
    "subject.properties.exists(k, k == 'x')": True,
    "subject.properties[context.key] == 'x'": True,
    "resource.properties.suspended == true": False,
    "context.suspended == true": False,
}


@pytest.mark.parametrize("source", WANTED)
def test_only_what_a_candidate_rule_may_read_is_asked_for(checker: Checker, source: str) -> None:
    """Providers are asked for what rules of the action may look at, and for nothing else."""
    policy_set = policies(rule(checker, "r", Effect.PERMIT, source))
    provided = policy_set.provided
    assert provided is not None
    for action, wanted in (("read", WANTED[source]), ("write", False)):
        admitted = asked(action)
        rules = policy_set.candidates("report", action, rs.NOW_NS)
        assert bool(provided.wanted(admitted.attributes, rules)) is wanted
    other = replace(asked().request, subject=Subject("robot", "r2"))
    stranger = admit(other, CALLER, InputLimits())
    rules = policy_set.candidates("report", "read", rs.NOW_NS)
    assert provided.wanted(stranger.attributes, rules) == ()


def test_unread_attributes_are_errors_too_should_somebody_read_them(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the analysis of what rules read were wrong, an attribute would be in doubt, not absent."""
    policy_set = policies(rule(checker, "r", Effect.PERMIT, "!has(subject.properties.suspended)"))
    monkeypatch.setattr(Provided, "wanted", lambda *_: ())
    assert policy_set.decide(asked(), rs.NOW_NS)[0].cause is Cause.DEFAULT


def test_roles_of_a_provider_are_in_doubt_while_it_is_down(checker: Checker) -> None:
    """Static roles may be a provider's: unknown ones are neither held nor not held."""
    roles = Property("roles", False, Schema(frozenset({Kind.LIST}), items=TEXT))
    schema = replace(USER, schema=replace(USER.schema, properties=(roles,)))
    owner = ProviderDocument("groups", Target.SUBJECT, "user", ("roles",), 0)
    documents = [
        PolicyDocument(
            "p",
            "report",
            "",
            ("clerk",),
            (),
            (),
            (
                replace(rule(checker, "clerks", Effect.PERMIT, "true"), roles=("clerk",)),
                replace(rule(checker, "no", Effect.DENY, "true"), roles=("clerk",), actions=("x",)),
            ),
        )
    ]
    policy_set = PolicySet(documents, LIMITS, [schema], [owner])
    for outcome, held, cause in (
        (FetchOutcome.FETCHED, ["clerk"], Cause.RULE),
        (FetchOutcome.FETCHED, ["other"], Cause.DEFAULT),
        (FetchOutcome.DOWN, None, Cause.DEFAULT),
    ):
        values: dict[str, Value] = {} if held is None else {"roles": held}  # type: ignore[dict-item]
        answers = {"groups": Fetched("groups", outcome, values)}
        found = decide(policy_set, asked(), answers)
        assert (bool(found), found.cause) == (held == ["clerk"], cause)
        if outcome is FetchOutcome.DOWN:
            assert decide(policy_set, asked("x"), answers).cause is Cause.INDETERMINATE


def test_a_record_and_an_explanation_say_what_was_known(checker: Checker) -> None:
    """What is known is recorded, what is not is missing, and the explanation says whose fault."""
    source = "subject.properties.team == 'red' && !subject.properties.suspended"
    policy_set = policies(rule(checker, "r", Effect.PERMIT, source))
    assert policy_set.provided is not None
    completed = policy_set.provided.complete(asked(team="red"), said(FetchOutcome.LATE))
    decision, rules = policy_set.decide(completed, rs.NOW_NS)
    assert attributes_read(rules, completed.attributes, rs.NOW_NS) == {
        "subject.properties.team": "red"
    }
    why = explain(policy_set, completed, rs.NOW_NS, decision, rules)
    assert why.missing == ("subject.properties.suspended",)
    condition = why.rules[0].when
    assert condition is not None
    assert condition.problem == (
        "`subject.properties.suspended` is not available: provider `hr` did not answer in time"
    )


BAD_DOCUMENTS = {
    "twice": (HR, HR),
    "two owners": (HR, replace(HR, name="crm", attributes=("grade",))),
    "undeclared": (replace(HR, attributes=("color",)),),
    "no schema": (replace(HR, type="robot"),),
    "pattern": (replace(HR, type="*"),),
    "action": (replace(HR, target=Target.ACTION),),
    "nothing": (replace(HR, attributes=()),),
    "unsorted": (replace(HR, attributes=("suspended", "grade")),),
    "empty name": (replace(HR, attributes=("",)),),
    "unnamed": (replace(HR, name=""),),
    "too old": (replace(HR, max_age_s=3_601),),
    "negative age": (replace(HR, max_age_s=-1),),
}


@pytest.mark.parametrize("name", BAD_DOCUMENTS)
def test_providers_that_break_a_rule_are_refused(checker: Checker, name: str) -> None:
    """A bundle is checked, not believed."""
    with pytest.raises(PolicyError):
        policies(rule(checker, "r", Effect.PERMIT, "true"), providers=BAD_DOCUMENTS[name])
