"""Combining, apart from evaluating: exhaustively, on abstract rules.

An abstract rule is effect x condition x role x duties, where condition and role
are true, false or in doubt: 36 kinds; with budgets that are spent, 64. A decision
depends on the multiset of rules only, so all multisets up to a size are all rule
sets up to that size.
The oracle knows nothing of Kleene: it completes every doubt in every way.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import pytest

from pdp import engine
from pdp.model import Cause, Decision, Effect, Obligation, Reason, Verdict
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

    @property
    def advice(self) -> tuple[Obligation, ...]:
        """One piece of advice with every obligation."""
        return self.obligations

    @property
    def reason_user(self) -> tuple[Reason, ...]:
        """One text with every obligation."""
        return (Reason(self.name, "for the user"),) if self.obliges else ()

    @property
    def reason_admin(self) -> tuple[Reason, ...]:
        """One text with every obligation."""
        return (Reason(self.name, "for the administrator"),) if self.obliges else ()


def kinds_of(*verdicts: Verdict) -> list[AbstractRule]:
    """All kinds of rules whose parts come to these verdicts."""
    return [
        AbstractRule(effect, condition, role, obliges)
        for effect in (PERMIT, DENY)
        for condition in verdicts
        for role in verdicts
        for obliges in (False, True)
    ]


KINDS = kinds_of(T, F, D)


def rule_sets(
    size_max: int, every: list[AbstractRule] = KINDS
) -> Iterator[tuple[AbstractRule, ...]]:
    """Every multiset of abstract rules of at most this size, with names."""
    for size in range(size_max + 1):
        for kinds in itertools.combinations_with_replacement(every, size):
            yield tuple(
                AbstractRule(kind.effect, kind.condition, kind.role, kind.obliges, f"p/r{i}")
                for i, kind in enumerate(kinds)
            )


def decide(rules: Iterable[AbstractRule]) -> Decision:
    """The law under test."""
    return engine.decide(rules, None)


def has_spent(rule: AbstractRule) -> bool:
    """A condition is not looked at when the role is not held."""
    return rule.role is S or (rule.role is not F and rule.condition is S)


def possible(rule: AbstractRule) -> frozenset[bool]:
    """What the rule may come to when every doubt in it is settled in some way."""
    if has_spent(rule):
        return frozenset({True, False})
    settle = {T: (True,), F: (False,), D: (True, False), S: (True, False)}
    roles = settle[rule.role] if rule.role is not None else (True,)
    return frozenset(
        role and condition for role, condition in itertools.product(roles, settle[rule.condition])
    )


def completions(rules: tuple[AbstractRule, ...]) -> Iterator[tuple[bool, frozenset[str]]]:
    """(permits?, obligations of that effect) for every way to settle every doubt."""
    for settled in itertools.product(*(sorted(possible(rule)) for rule in rules)):
        applying = [rule for rule, applies in zip(rules, settled, strict=True) if applies]
        permits = any(r.effect is PERMIT for r in applying) and not any(
            r.effect is DENY for r in applying
        )
        effect = PERMIT if permits else DENY
        yield permits, frozenset(r.name for r in applying if r.effect is effect and r.obliges)


def broken_laws(decide: Decide, rules: tuple[AbstractRule, ...]) -> list[str]:
    """Names of the laws that this decision breaks on this rule set."""
    decision = decide(rules)
    worlds = list(completions(rules))
    duties = {obligation.id for obligation in decision.obligations}
    broken = []
    if decision and not all(permits for permits, _ in worlds):
        broken.append("too permissive: some way to settle the doubts denies")
    spent = any(map(has_spent, rules))
    if not decision and all(permits for permits, _ in worlds) and not spent:
        broken.append("needlessly strict: every way to settle the doubts permits")
    owed = {name for permits, needed in worlds if permits is bool(decision) for name in needed}
    if owed - duties:
        broken.append("an obligation was shed")
    if duties - owed:
        broken.append("an obligation came from nowhere")
    sure = {r.name for r in rules if possible(r) == {True} and r.effect is decision.effect}
    told = {r.name for r in rules if r.obliges and r.name in sure} if not spent else set()
    if (
        {item.id for item in decision.advice} != told
        or {reason.rule for reason in decision.reason_user} != told
        or {reason.rule for reason in decision.reason_admin} != told
    ):
        broken.append("advice or reasons are not those of the rules that made the answer")
    if not told <= set(decision.rules):
        broken.append("a reason is of a rule that the answer does not name")
    applies = {effect: any(possible(r) == {True} and r.effect is effect for r in rules)
               for effect in (PERMIT, DENY)}  # fmt: skip
    if not applies[PERMIT] and decision:
        broken.append("default_deny")
    if spent != (decision.cause is Cause.BUDGET):
        broken.append("a spent budget is not what it is")
    if applies[DENY] and not spent and (decision or decision.cause is not Cause.RULE):
        broken.append("deny_overrides_permit")
    return broken


def skip_on_error(rules: Iterable[AbstractRule]) -> Decision:
    """The law as Cedar and Cerbos have it: a rule in doubt does not exist."""
    return decide([rule for rule in rules if possible(rule) in ({True}, {False})])


def shed_duties(rules: Iterable[AbstractRule]) -> Decision:
    """The law without the obligations of rules in doubt."""
    rules = list(rules)
    sure = {rule.name for rule in rules if possible(rule) == {True}}
    found = decide(rules)
    kept = tuple(item for item in found.obligations if item.id in sure)
    return Decision(found.effect, found.cause, found.rules, kept)


def denials_owe_nothing(rules: Iterable[AbstractRule]) -> Decision:
    """The law without obligations on denials."""
    found = decide(rules)
    return found or replace(found, obligations=())


def every_duty(rules: Iterable[AbstractRule]) -> Decision:
    """The law with the obligations of every rule, whatever it comes to."""
    rules = list(rules)
    return replace(decide(rules), obligations=tuple(d for r in rules for d in r.obligations))


def advice_in_doubt(rules: Iterable[AbstractRule]) -> Decision:
    """The law with advice taken for what must not be shed."""
    found = decide(rules)
    return replace(found, advice=found.obligations)


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


def test_combining_is_exact_with_budgets_spent_on_every_rule_set_up_to_two(ledger: Ledger) -> None:
    """On all 2,145 multisets of up to two rules, budgets spent or not, no law is broken."""
    count = 0
    for rules in rule_sets(2, kinds_of(T, F, D, S)):
        assert broken_laws(decide, rules) == [], rules
        count += 1
    assert count == 2_145
    ledger(rule_sets=count, too_permissive=0, duties_shed=0)


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
        (denials_owe_nothing, "an obligation was shed"),
        (every_duty, "an obligation came from nowhere"),
        (advice_in_doubt, "advice or reasons"),
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
        assert (found.advice, found.reason_user, found.reason_admin) == ((), (), ())


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


def test_what_comes_with_each_answer() -> None:
    """The table of the combining law: obligations, advice and reasons, cause by cause."""
    permit = AbstractRule(PERMIT, T, None, obliges=True, name="p/permit")
    perhaps = AbstractRule(PERMIT, D, None, obliges=True, name="p/perhaps")
    denial = AbstractRule(DENY, T, None, obliges=True, name="p/deny")
    unsure = AbstractRule(DENY, D, None, obliges=True, name="p/unsure")
    spent = AbstractRule(DENY, S, None, obliges=True, name="p/spent")
    bomb = AbstractRule(PERMIT, S, None, obliges=True, name="p/bomb")
    for rules, cause, owed, told in (
        ([permit, perhaps], Cause.RULE, ["p/perhaps", "p/permit"], ["p/permit"]),
        ([permit, unsure, denial], Cause.RULE, ["p/deny", "p/unsure"], ["p/deny"]),
        ([permit, unsure], Cause.INDETERMINATE, ["p/unsure"], []),
        ([perhaps], Cause.DEFAULT, [], []),
        ([permit, denial, unsure, bomb], Cause.BUDGET, ["p/deny", "p/unsure"], []),
        ([permit, denial, spent], Cause.BUDGET, ["p/deny", "p/spent"], []),
    ):
        found = decide(rules)
        assert found.cause is cause
        assert [duty.id for duty in found.obligations] == owed
        assert [item.id for item in found.advice] == told
        assert found.reason_user == tuple(Reason(name, "for the user") for name in told)
        assert found.reason_admin == tuple(Reason(name, "for the administrator") for name in told)


def test_a_budget_that_is_spent_sheds_no_alarm() -> None:
    """Who can exhaust one rule's budget does not lose the duty of another rule's denial."""
    alarm = AbstractRule(DENY, T, None, obliges=True, name="p/alarm")
    for other in kinds_of(S, D):
        before = {duty.key for duty in decide([alarm]).obligations}
        assert before <= {duty.key for duty in decide([alarm, other]).obligations}
