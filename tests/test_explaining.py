"""Explanations: they say what the decision says, and what would have changed it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp import engine
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import Compilation, compile_sources
from pdp.authoring.policy_tests import read_tests
from pdp.authoring.sources import read_folder
from pdp.boundary import Admitted, InputLimits, admit
from pdp.cel.limits import EvaluationLimits
from pdp.explaining import ExplanationLimits, explain, flips, gap_in
from pdp.explanation import Explanation, Standing, as_plain, brief, cut
from pdp.model import (
    Action,
    Caller,
    Cause,
    Decision,
    Effect,
    Obligation,
    Properties,
    Reason,
    Request,
    Resource,
    Subject,
    Verdict,
)
from pdp.policy import PolicySet, Rule
from pdp.values import NANOS
from tests.conftest import ROOT

NOW_NS = 1_790_000_000 * NANOS
CALLER = Caller("spiffe://example.org/app")
POLICY = """
policy: notes
resource: note
static_roles: [reader, editor]
variables:
  is_open: resource.properties.status == "open"
roles:
  author:
    from: [editor]
    when: subject.id == resource.properties.author
rules:
  - id: reads
    effect: permit
    actions: [read]
    roles: [reader]
    when: is_open && resource.properties.level <= subject.properties.level
    justification: readers read
  - id: writes
    effect: permit
    actions: [write]
    roles: [author]
    justification: authors write
  - id: was
    effect: permit
    actions: [read]
    expires: 2020-01-01T00:00:00Z
    justification: it was once
  - id: will-be
    effect: permit
    actions: [read]
    starts: 2090-01-01T00:00:00Z
    justification: it will be once
  - id: tags
    effect: deny
    actions: ["*"]
    when: resource.properties.tags.exists(t, t == "secret")
"""
CALLERS = """
kind: callers
callers:
  - {id: "spiffe://example.org/*", resources: ["*"], actions: ["*"], subjects: {assert: ["*"]}}
"""


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


def compiled(checker: Checker, text: str = POLICY) -> Compilation:
    """A folder of one policy."""
    found = compile_sources({"p.yaml": text.encode(), "c.yaml": CALLERS.encode()}, checker)
    found.raise_if_failed()
    return found


@pytest.fixture(scope="module")
def policies(checker: Checker) -> PolicySet:
    """The policy above."""
    return compiled(checker).policy_set(EvaluationLimits())


def asked(
    action: str = "read", subject: Properties | None = None, resource: Properties | None = None
) -> Admitted:
    """A request past the boundary."""
    request = Request(
        Subject("user", "ana", {"roles": ["reader"], "level": 3} if subject is None else subject),
        Action(action),
        Resource(
            "note",
            "n1",
            {"status": "open", "level": 2, "tags": ["a"]} if resource is None else resource,
        ),
    )
    return admit(request, CALLER, InputLimits())


def explained(
    policies: PolicySet, admitted: Admitted, limits: ExplanationLimits | None = None
) -> tuple[Decision, Explanation]:
    """A decision and why."""
    decision, rules = policies.decide(admitted, NOW_NS)
    return decision, explain(policies, admitted, NOW_NS, decision, rules, limits)


@dataclass(frozen=True)
class Fixed:
    """A condition that is what it is."""

    verdict: Verdict

    def evaluate(self, _facts: object) -> Verdict:
        """It."""
        return self.verdict


@dataclass(frozen=True)
class Abstract:
    """A rule with nothing behind it."""

    name: str
    effect: Effect
    when: Fixed
    roles: None = None
    obligations: tuple[Obligation, ...] = ()
    advice: tuple[Obligation, ...] = ()
    reason_user: tuple[Reason, ...] = ()
    reason_admin: tuple[Reason, ...] = ()


def decided(verdicts: list[tuple[str, Effect, Verdict]]) -> Decision:
    """The law on verdicts."""
    return engine.decide([Abstract(n, e, Fixed(v)) for n, e, v in verdicts], None)


def test_an_explanation_says_what_the_decision_says(checker: Checker) -> None:
    """On every test row of the sample policies, the explained verdicts give the same answer."""
    count = 0
    for folder in sorted((ROOT / "policies").iterdir()):
        found = read_folder(folder)
        compilation = compile_sources(found.policies, checker)
        policies = compilation.policy_set(EvaluationLimits())
        # A part of them, from all files: half a second is enough for each folder.
        for row in read_tests(found.tests).rows[::4]:
            admitted = admit(row.request, Caller(row.caller), InputLimits())
            decision, rules = policies.decide(admitted, row.now_ns)
            told = explain(policies, admitted, row.now_ns, decision, rules)
            if decision.cause is Cause.SCHEMA:
                # Before the rules there is nothing to explain.
                assert told == Explanation()
                continue
            again = decided([(rule.name, rule.effect, rule.verdict) for rule in told.rules])
            assert (again.effect, again.cause, again.rules) == (
                decision.effect,
                decision.cause,
                decision.rules,
            ), row.name
            assert not told.truncated
            check_conditions(told)
            count += 1
    assert count > 50


def check_conditions(told: Explanation) -> None:
    """Roles and condition of each rule come to its verdict."""
    for rule in told.rules:
        held = Verdict.TRUE
        if rule.roles is not None:
            held = engine.any_of([told.roles[at].verdict for at in rule.roles])
        if rule.when is None or rule.when.verdict is None:
            assert rule.verdict is held
            continue
        assert rule.when.parts[0].parent == -1
        assert rule.when.parts[0].count == 1
        assert rule.verdict is engine.conjunction([Fixed(held)], Fixed(rule.when.verdict), None)


KINDS = list(itertools.product(Effect, Verdict))


def test_flips_are_exactly_the_single_changes_that_flip() -> None:
    """Exhaustively on sets of up to three rules: each flip flips, and no other change does."""
    count = 0
    for size in (1, 2, 3):
        for kinds in itertools.combinations_with_replacement(KINDS, size):
            verdicts = [(f"p/r{at}", *kind) for at, kind in enumerate(kinds)]
            effect = decided(verdicts).effect
            want = set()
            for at, (name, kind, verdict) in enumerate(verdicts):
                for other in (Verdict.TRUE, Verdict.FALSE, Verdict.DOUBT):
                    changed = [*verdicts[:at], (name, kind, other), *verdicts[at + 1 :]]
                    then = decided(changed)
                    if other is not verdict and then.effect is not effect:
                        want.add((name, other, then.effect, then.cause))
            got = {(f.rule, f.verdict, f.effect, f.cause) for f in flips(verdicts, effect)}
            assert got == want, verdicts
            count += len(want)
    assert count > 100


def test_a_missing_attribute_is_named(policies: PolicySet) -> None:
    """The path that is not there, up to the first step that is missing."""
    decision, told = explained(policies, asked(subject={"roles": ["reader"]}))
    assert decision.cause is Cause.DEFAULT
    assert told.missing == ("subject.properties.level",)
    reads = next(rule for rule in told.rules if rule.name == "notes/reads")
    assert reads.verdict is Verdict.DOUBT
    assert reads.when is not None
    assert "level" in reads.when.problem
    part = next(part for part in reads.when.parts if part.text == "subject.properties.level")
    assert (part.count, part.errors) == (1, 1)


def test_roles_that_nobody_asserted_are_named(policies: PolicySet) -> None:
    """Without a list of roles every static role is in doubt, and the explanation says why."""
    _, told = explained(policies, asked(subject={}))
    assert "subject.properties.roles" in told.missing
    assert "no such attribute" in told.roles[0].problem
    _, told = explained(policies, asked(subject={"roles": "reader"}))
    assert "not a list of strings" in told.roles[0].problem


def test_rules_that_were_no_candidates_say_why(policies: PolicySet) -> None:
    """Another action, not yet, not any more."""
    decision, told = explained(policies, asked())
    assert decision.effect is Effect.PERMIT
    assert {other.name: other.standing for other in told.others} == {
        "notes/writes": Standing.OTHER_ACTION,
        "notes/was": Standing.EXPIRED,
        "notes/will-be": Standing.NOT_YET,
    }
    assert [rule.name for rule in told.rules] == ["notes/reads", "notes/tags"]


def test_flips_of_a_permit_name_the_rules_it_hangs_on(policies: PolicySet) -> None:
    """A permit hangs on its permit, and on the denies that do not apply."""
    _, told = explained(policies, asked())
    assert {(flip.rule, flip.verdict, flip.cause) for flip in told.flips} == {
        ("notes/reads", Verdict.FALSE, Cause.DEFAULT),
        ("notes/reads", Verdict.DOUBT, Cause.DEFAULT),
        ("notes/tags", Verdict.TRUE, Cause.RULE),
        ("notes/tags", Verdict.DOUBT, Cause.INDETERMINATE),
    }


def test_what_roles_decide_leaves_the_condition_alone(policies: PolicySet) -> None:
    """A condition that the engine did not evaluate is not evaluated to explain it."""
    _, told = explained(policies, asked(subject={"roles": [], "level": 3}))
    reads = next(rule for rule in told.rules if rule.name == "notes/reads")
    assert reads.when is not None
    assert (reads.when.verdict, reads.when.parts) == (None, ())


@pytest.mark.parametrize(
    "limits",
    [
        ExplanationLimits(rules_max=1),
        ExplanationLimits(parts_max=3),
        ExplanationLimits(units_max=1),
        ExplanationLimits(bytes_max=300),
    ],
)
def test_an_explanation_keeps_its_limits_and_says_so(
    policies: PolicySet, limits: ExplanationLimits
) -> None:
    """Cut, marked as cut, and what it still says is true."""
    _, whole = explained(policies, asked())
    decision, told = explained(policies, asked(), limits)
    assert told.truncated
    assert not whole.truncated
    assert len(told.rules) <= limits.rules_max
    parts = sum(len(rule.when.parts) for rule in told.rules if rule.when)
    assert parts <= limits.parts_max
    by_name = {rule.name: rule.verdict for rule in whole.rules}
    assert all(by_name[rule.name] is rule.verdict for rule in told.rules)
    assert decision.effect is Effect.PERMIT


def test_an_answer_from_before_the_rules_has_no_explanation_of_rules(policies: PolicySet) -> None:
    """What was denied before a rule was looked at is not explained by rules."""
    denied = Decision(Effect.DENY, Cause.CALLER)
    assert explain(policies, asked(), NOW_NS, denied, []) == Explanation()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=30,
    ),
    st.integers(8, 60),
)
def test_what_is_shown_of_a_value_is_bounded_and_harmless(value: object, size: int) -> None:
    """Never longer than asked, one line, nothing that drives a terminal."""
    shown = brief(value, size)
    assert len(shown) <= size
    assert shown.isprintable()
    assert len(cut(str(value), size)) <= size


def test_a_large_value_is_not_walked_to_be_cut() -> None:
    """Ten megabytes of text and a million elements are shown in no time."""
    assert brief("x" * 10_000_000) == '"' + "x" * 78 + "…"
    assert brief([1] * 1_000_000).endswith("…")
    deep: list[object] = []
    for _ in range(500):
        deep = [deep]
    assert brief(deep) == "[" * 9 + "…" + "]" * 9


def test_gaps_are_gaps_only() -> None:
    """A value of the wrong kind is no gap, and neither is what is there."""
    attributes: dict[str, object] = {"context": {"a": 1, "b": {}}}
    assert gap_in(("context", "b", "c"), attributes) == "context.b.c"  # type: ignore[arg-type]
    assert gap_in(("context", "a", "c"), attributes) is None  # type: ignore[arg-type]
    assert gap_in(("context", "a"), attributes) is None  # type: ignore[arg-type]
    assert gap_in(("context", "x y"), attributes) == "context['x y']"  # type: ignore[arg-type]


def test_json_has_names_and_no_objects(policies: PolicySet) -> None:
    """What machines get is plain: maps, lists, text, numbers."""
    _, told = explained(policies, asked())
    plain = as_plain(told)
    assert plain["rules"][0]["verdict"] == "TRUE"
    assert plain["others"][0]["standing"] in Standing.__members__


def test_an_explanation_of_other_verdicts_would_be_noticed(
    policies: PolicySet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: verdicts that are not the engine's give another answer than the decision's."""
    decision, _ = explained(policies, asked())
    monkeypatch.setattr(engine, "conjunction", lambda *_: Verdict.TRUE)
    rules: list[Rule] = policies.candidates("note", "read", NOW_NS)
    told = explain(policies, asked(), NOW_NS, decision, rules)
    monkeypatch.undo()
    again = decided([(rule.name, rule.effect, rule.verdict) for rule in told.rules])
    assert again.effect is not decision.effect
