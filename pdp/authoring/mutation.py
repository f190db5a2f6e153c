"""Mutation testing: would the tests of policies notice a small mistake?

Each mutant is tried with the rows that it can concern, those that its rules
decide first, until a row notices it. A mutant that no row notices survives,
unless it provably answers like the original.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from pdp.authoring import trial
from pdp.authoring.compilation import Compilation
from pdp.authoring.document_mutants import Mutant, mutants
from pdp.authoring.documents import read_document
from pdp.authoring.equivalence import always_denied, behaviour
from pdp.authoring.nodes import Map, Scalar
from pdp.authoring.policy_tests import TestRow
from pdp.authoring.problems import Problems
from pdp.callers import CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.errors import PolicyError
from pdp.policy import PolicyDocument, PolicySet

# A bundle of some thousand rules; of more mutants every second, third and so on is tried.
MUTANTS_MAX = 10_000


class Fate(enum.Enum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    EQUIVALENT = "equivalent"
    INVALID = "invalid"  # it does not compile: nobody could make this mistake


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """One mutant and what became of it.

    Attributes:
        mutant: it.
        fate: what became of it.
        noticed_by: the test that failed, of a killed one.
    """

    mutant: Mutant
    fate: Fate
    noticed_by: str = ""


@dataclass(frozen=True, slots=True)
class Mutation:
    """What trying mutants came to.

    Attributes:
        tried: all that were tried, in the order of the documents.
        skipped: how many were not, because there are too many.
    """

    tried: tuple[Tried, ...]
    skipped: int

    def count(self, fate: Fate) -> int:
        """How many came to this."""
        return Counter(item.fate for item in self.tried)[fate]

    @property
    def survivors(self) -> tuple[Mutant, ...]:
        """Those that no test noticed."""
        return tuple(item.mutant for item in self.tried if item.fate is Fate.SURVIVED)

    @property
    def score(self) -> float:
        """Per cent of the mutants that can be noticed; 100 where there is none."""
        killed, survived = self.count(Fate.KILLED), self.count(Fate.SURVIVED)
        return 100.0 * killed / (killed + survived) if killed + survived else 100.0


def all_mutants(compilation: Compilation) -> Iterator[Mutant]:
    """Every mutant of the policies, in the order of paths and lines."""
    policies = {policy.name: policy for policy in compilation.policies}
    actions: dict[str, set[str]] = {}
    for policy in compilation.policies:
        named = {action for rule in policy.rules for action in rule.actions}
        actions.setdefault(policy.resource_type, set()).update(named)
    for file in compilation.documents:
        root = read_document(file.source_path, file.source, Problems())
        name = root.get("policy") if isinstance(root, Map) else None
        if root is None or not isinstance(name, Scalar) or name.text not in policies:
            continue
        policy = policies[name.text]
        yield from mutants(policy, root, actions[policy.resource_type])


def run(
    compilation: Compilation,
    callers: CallerPolicy,
    rows: Iterable[TestRow],
    *,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    mutants_max: int = MUTANTS_MAX,
) -> Mutation:
    """Try every mutant. The rows must pass without any.

    Args:
        compilation: of policies without problems.
        callers: its caller policy.
        rows: the tests; one that fails as it is notices nothing and is left out.
        progress: told after each how many are done, of how many.
        mutants_max: of more, every second, third and so on is tried.

    Raises:
        PolicyError: the policies have problems.
    """
    found = list(all_mutants(compilation))
    step = max(1, -(-len(found) // mutants_max))
    chosen = found[::step]
    trying = _Trying(compilation, callers, rows)
    tried = []
    for number, mutant in enumerate(chosen):
        tried.append(trying.one(mutant))
        progress(number + 1, len(chosen))
    return Mutation(tuple(tried), len(found) - len(chosen))


class _Trying:
    """The rows, and what they come to without any mistake."""

    def __init__(
        self, compilation: Compilation, callers: CallerPolicy, rows: Iterable[TestRow]
    ) -> None:
        self.documents = {policy.name: policy for policy in compilation.policies}
        self.limits = EvaluationLimits()
        self.policies = compilation.policy_set(self.limits)
        self.callers = callers
        outcomes = trial.run(self.policies, callers, rows)
        # (row, rules that are looked at for it, rules in its answer)
        self.rows = [
            (outcome.row, self._candidates(self.policies, outcome.row), outcome.decision.rules)
            for outcome in outcomes
            if outcome.passed and outcome.decision is not None
        ]
        self.denied = {
            policy.resource_type: always_denied(compilation.policies, policy.resource_type)
            for policy in compilation.policies
        }

    @staticmethod
    def _candidates(policies: PolicySet, row: TestRow) -> frozenset[str]:
        asked = row.request
        rules = policies.candidates(asked.resource.type, asked.action.name, row.now_ns)
        return frozenset(rule.name for rule in rules)

    def one(self, mutant: Mutant) -> Tried:
        """Try one."""
        if not mutant.rules:
            return Tried(mutant, Fate.EQUIVALENT)
        name = next(iter(mutant.rules)).partition("/")[0]
        document = self.documents[name]
        try:
            patch = None if mutant.document is None else PolicySet([mutant.document], self.limits)
        except PolicyError:
            return Tried(mutant, Fate.INVALID)
        changed = self.policies.exchanged(document.resource_type, mutant.rules, patch)
        for row in self._concerned(mutant, patch):
            (outcome,) = trial.run(changed, self.callers, (row,))
            if not outcome.passed:
                return Tried(mutant, Fate.KILLED, row.name)
        fate = Fate.EQUIVALENT if self._is_equivalent(mutant, document) else Fate.SURVIVED
        return Tried(mutant, fate)

    def _concerned(self, mutant: Mutant, patch: PolicySet | None) -> list[TestRow]:
        """Rows that a mutant's rules can have part in; first those that they decide."""
        found = []
        for row, looked_at, named in self.rows:
            if mutant.rules & looked_at or (patch is not None and self._candidates(patch, row)):
                found.append((mutant.rules.isdisjoint(named), row))
        return [row for _, row in sorted(found, key=lambda item: item[0])]

    def _is_equivalent(self, mutant: Mutant, document: PolicyDocument) -> bool:
        denied = self.denied[document.resource_type]
        before = tuple(r for r in document.rules if f"{document.name}/{r.id}" in mutant.rules)
        original = behaviour(replace(document, rules=before), denied, self.limits)
        return original == behaviour(mutant.document, denied, self.limits)
