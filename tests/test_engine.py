"""Combining, apart from evaluating: exhaustively, on abstract rules.

An abstract rule is effect x condition x role x obligation, where condition and
role are true, false or in doubt: 36 kinds. A decision depends on the multiset
of rules only, so all multisets up to a size are all rule sets up to that size.
The oracle knows nothing of Kleene: it completes every doubt in every way.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pytest

from pdp import engine
from pdp.model import Cause, Decision, Effect, Obligation, Verdict
from tests.conftest import Ledger

T, F, D, S = Verdict.TRUE, Verdict.FALSE, Verdict.DOUBT, Verdict.SPENT
PERMIT, DENY = Effect.PERMIT, Effect.DENY

Decide = Callable[[Iterable["AbstractRule"]], Decision]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A condition with a given verdict."""

    verdict: Verdict

    def evaluate(self, facts: None) -> Verdict:
        """The verdict."""
        return self.verdict


@dataclass(frozen=True, slots=True)
class AbstractRule:
    """A rule whose parts have given verdicts."""

    effect: Effect
    condition: Verdict
    role: Verdict | None
    obliges: bool
    name: str = ""

    @property
    def roles(self) -> tuple[Fixed, ...] | None:
        """One role, or anyone."""
        return None if self.role is None else (Fixed(self.role),)

    @property
    def when(self) -> Fixed:
        """The condition."""
        return Fixed(self.condition)

    @property
    def obligations(self) -> tuple[Obligation, ...]:
        """One obligation named after the rule, or none."""
        return (Obligation(self.name, "custom"),) if self.obliges else ()


KINDS = [
    AbstractRule(effect, condition, role, obliges)
    for effect in (PERMIT, DENY)
    for condition in (T, F, D)
    for role in (T, F, D)
    for obliges in (False, True)
]


def rule_sets(size_max: int) -> Iterator[tuple[AbstractRule, ...]]:
    """Every multiset of abstract rules of at most this size, with names."""
    for size in range(size_max + 1):
        for kinds in itertools.combinations_with_replacement(KINDS, size):
            yield tuple(
                AbstractRule(kind.effect, kind.condition, kind.role, kind.obliges, f"p/r{i}")
                for i, kind in enumerate(kinds)
            )


def decide(rules: Iterable[AbstractRule]) -> Decision:
    """The law under test."""
    return engine.decide(rules, None)


def possible(rule: AbstractRule) -> frozenset[bool]:
    """What the rule may come to when every doubt in it is settled in some way."""
    settle = {T: (True,), F: (False,), D: (True, False)}
    roles = settle[rule.role] if rule.role is not None else (True,)
    return frozenset(
        role and condition for role, condition in itertools.product(roles, settle[rule.condition])
    )


def completions(rules: tuple[AbstractRule, ...]) -> Iterator[tuple[bool, frozenset[str]]]:
    """(permits?, names of obligations) for every way to settle every doubt."""
    for settled in itertools.product(*(sorted(possible(rule)) for rule in rules)):
        applying = [rule for rule, applies in zip(rules, settled, strict=True) if applies]
        permits = any(r.effect is PERMIT for r in applying) and not any(
            r.effect is DENY for r in applying
        )
        duties = frozenset(r.name for r in applying if r.effect is PERMIT and r.obliges)
        yield permits, duties if permits else frozenset()


def broken_laws(decide: Decide, rules: tuple[AbstractRule, ...]) -> list[str]:
    """Names of the laws that this decision breaks on this rule set."""
    decision = decide(rules)
    worlds = list(completions(rules))
    duties = {obligation.id for obligation in decision.obligations}
    broken = []
    if decision and not all(permits for permits, _ in worlds):
        broken.append("too permissive: some way to settle the doubts denies")
    if not decision and all(permits for permits, _ in worlds):
        broken.append("needlessly strict: every way to settle the doubts permits")
    if decision and any(not needed <= duties for _, needed in worlds):
        broken.append("an obligation was shed")
    if not decision and decision.obligations:
        broken.append("a denial carries obligations")
    applies = {effect: any(possible(r) == {True} and r.effect is effect for r in rules)
               for effect in (PERMIT, DENY)}  # fmt: skip
    if not applies[PERMIT] and decision:
        broken.append("default_deny")
    if applies[DENY] and (decision or decision.cause is not Cause.RULE):
        broken.append("deny_overrides_permit")
    return broken


def skip_on_error(rules: Iterable[AbstractRule]) -> Decision:
    """The law as Cedar and Cerbos have it: a rule in doubt does not exist."""
    return decide([rule for rule in rules if possible(rule) in ({True}, {False})])


def shed_duties(rules: Iterable[AbstractRule]) -> Decision:
    """The law without the obligations of permits in doubt."""
    rules = list(rules)
    sure = {rule.name for rule in rules if possible(rule) == {True}}
    found = decide(rules)
    kept = tuple(item for item in found.obligations if item.id in sure)
    return Decision(found.effect, found.cause, found.rules, kept)


def doubt_grants(rules: Iterable[AbstractRule]) -> Decision:
    """The law with a permit in doubt taken for a permit."""
    return decide(
        [
            AbstractRule(r.effect, T, T, r.obliges, r.name)
            if r.effect is PERMIT and possible(r) != {False}
            else r
            for r in rules
        ]
    )


def test_combining_is_exact_on_every_rule_set_up_to_three(ledger: Ledger) -> None:
    """On all 9,139 multisets of up to three abstract rules no law is broken."""
    count = 0
    for rules in rule_sets(3):
        assert broken_laws(decide, rules) == [], rules
        count += 1
    assert count == 9_139
    ledger(rule_sets=count, too_permissive=0, needlessly_strict=0)


@pytest.mark.prove
def test_combining_is_exact_on_every_rule_set_up_to_four(ledger: Ledger) -> None:
    """On all 91,390 multisets of up to four abstract rules no law is broken."""
    count = 0
    for rules in rule_sets(4):
        assert broken_laws(decide, rules) == [], rules
        count += 1
    assert count == 91_390
    ledger(rule_sets=count, too_permissive=0, needlessly_strict=0)


@pytest.mark.parametrize(
    ("weakened", "law"),
    [
        (skip_on_error, "too permissive"),
        (doubt_grants, "too permissive"),
        (shed_duties, "an obligation was shed"),
    ],
)
def test_combining_twin_without_guard(weakened: Decide, law: str) -> None:
    """Each weakened law is caught on rule sets of at most two."""
    found = [text for rules in rule_sets(2) for text in broken_laws(weakened, rules)]
    assert any(text.startswith(law) for text in found)


def test_skipping_rules_in_error_is_too_permissive_in_126_of_924(ledger: Ledger) -> None:
    """Skip-on-error permits wrongly in 126 of the 924 sets of up to six of six kinds."""
    kinds = [AbstractRule(e, c, None, obliges=False) for e in (PERMIT, DENY) for c in (T, F, D)]
    sets = [
        rules for size in range(7) for rules in itertools.combinations_with_replacement(kinds, size)
    ]
    wrong = {
        law: sum("too permissive" in " ".join(broken_laws(law, rules)) for rules in sets)
        for law in (skip_on_error, decide)
    }
    assert (len(sets), wrong[skip_on_error], wrong[decide]) == (924, 126, 0)
    ledger(rule_sets=len(sets), skip_on_error_too_permissive=126, ours_too_permissive=0)


def test_order_and_duplicates_do_not_matter() -> None:
    """Any order and any repetition of rules gives the same decision, to the last field."""
    for rules in rule_sets(2):
        first = decide(rules)
        for order in itertools.permutations(rules + rules[:1]):
            assert decide(order) == first


@pytest.mark.parametrize("effect", [PERMIT, DENY])
@pytest.mark.parametrize(("condition", "role"), [(S, None), (S, T), (S, D), (T, S), (F, S)])
def test_a_spent_budget_denies_whatever_else_applies(
    effect: Effect, condition: Verdict, role: Verdict | None
) -> None:
    """A rule that spent its budget denies, and only such rules are named."""
    spent = AbstractRule(effect, condition, role, obliges=True, name="p/spent")
    for other in KINDS:
        found = decide([other, spent])
        assert (found.effect, found.cause, found.rules) == (DENY, Cause.BUDGET, ("p/spent",))
        assert found.obligations == ()


def test_a_role_that_is_not_held_leaves_the_condition_alone() -> None:
    """False AND anything is false: such a condition is not even evaluated."""
    rule = AbstractRule(PERMIT, S, F, obliges=False, name="p/r")
    assert decide([rule]).cause is Cause.DEFAULT


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [((), F), ((F, F), F), ((F, D), D), ((D, T), T), ((T, F), T), ((T, S), S), ((D, S), S)],
)
def test_any_of_is_kleene_with_spent_on_top(
    verdicts: tuple[Verdict, ...], expected: Verdict
) -> None:
    """OR of verdicts in any order; nothing absorbs SPENT."""
    for order in itertools.permutations(verdicts):
        assert engine.any_of(order) is expected


def test_only_a_permit_is_true() -> None:
    """`bool(decision)` is true for a permit and for nothing else; a verdict has no truth."""
    for cause in Cause:
        assert not Decision(DENY, cause)
        assert Decision(PERMIT, cause)
    for verdict in Verdict:
        with pytest.raises(TypeError):
            bool(verdict)


def test_rules_named_are_those_that_made_the_answer() -> None:
    """`rules` holds the applicable rules of the winning effect, sorted, without duplicates."""
    permit_b = AbstractRule(PERMIT, T, None, obliges=False, name="p/b")
    permit_a = AbstractRule(PERMIT, T, T, obliges=True, name="p/a")
    doubt = AbstractRule(PERMIT, D, T, obliges=True, name="p/doubt")
    denial = AbstractRule(DENY, T, T, obliges=False, name="p/deny")
    unsure = AbstractRule(DENY, T, D, obliges=False, name="p/unsure")
    assert decide([permit_b, permit_a, permit_b, doubt]).rules == ("p/a", "p/b")
    assert [o.id for o in decide([permit_b, doubt, permit_a]).obligations] == ["p/a", "p/doubt"]
    assert decide([permit_a, unsure]) == Decision(DENY, Cause.INDETERMINATE, ("p/unsure",))
    assert decide([permit_a, unsure, denial]) == Decision(DENY, Cause.RULE, ("p/deny",))
    assert decide([doubt]) == Decision(DENY, Cause.DEFAULT)
