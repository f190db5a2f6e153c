"""Mutation testing: would the tests of policies notice a small mistake?

Each mutant is tried with the rows that it can concern, those that its rules
decide first, until a row notices it. A mutant that no row notices survives,
unless it provably answers like the original.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from pdp.authoring import trial
from pdp.authoring.compilation import Compilation
from pdp.authoring.document_mutants import Mutant, definition_mutants, mutants
from pdp.authoring.equivalence import always_denied, behaviour
from pdp.authoring.imports import is_shared
from pdp.authoring.nodes import Scalar
from pdp.authoring.places import by_policy
from pdp.authoring.policy_tests import TestRow
from pdp.callers import CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.errors import PolicyError
from pdp.policy import PolicySet

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
    """Every mutant of policies and shared definitions, in the order of paths and lines."""
    policies = {policy.name: policy for policy in compilation.policies}
    actions: dict[str, set[str]] = {}
    for document in compilation.policies:
        named = {action for rule in document.rules for action in rule.actions}
        actions.setdefault(document.resource_type, set()).update(named)
    places = by_policy(compilation.roots.values())
    for file in compilation.documents:
        root = compilation.roots[file.source_path]
        shared = is_shared(root)
        name = root.get("name" if shared else "policy")
        if not isinstance(name, Scalar):
            continue
        if shared:
            seeing = [p for p in compilation.policies if root in places[p.name].imported]
            yield from definition_mutants(seeing, root, name.text)
        elif name.text in policies:
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
        changed, patches = self.policies, []
        try:
            for kind, names in self._by_type(mutant).items():
                coming = [each for each in mutant.documents if each.resource_type == kind]
                patch = PolicySet(coming, self.limits) if coming else None
                changed = changed.exchanged(kind, names, patch)
                patches += [] if patch is None else [patch]
        except PolicyError:
            return Tried(mutant, Fate.INVALID)
        for row in self._concerned(mutant, patches):
            (outcome,) = trial.run(changed, self.callers, (row,))
            if not outcome.passed:
                return Tried(mutant, Fate.KILLED, row.name)
        return Tried(mutant, Fate.EQUIVALENT if self._is_equivalent(mutant) else Fate.SURVIVED)

    def _by_type(self, mutant: Mutant) -> Mapping[str, frozenset[str]]:
        """The rules of a mutant, by the resource type that they are of."""
        found: dict[str, set[str]] = {}
        for name in mutant.rules:
            kind = self.documents[name.partition("/")[0]].resource_type
            found.setdefault(kind, set()).add(name)
        return {kind: frozenset(names) for kind, names in sorted(found.items())}

    def _concerned(self, mutant: Mutant, patches: Iterable[PolicySet]) -> list[TestRow]:
        """Rows that a mutant's rules can have part in; first those that they decide."""
        found = []
        for row, looked_at, named in self.rows:
            if mutant.rules & looked_at or any(self._candidates(each, row) for each in patches):
                found.append((mutant.rules.isdisjoint(named), row))
        return [row for _, row in sorted(found, key=lambda item: item[0])]

    def _is_equivalent(self, mutant: Mutant) -> bool:
        after = {document.name: document for document in mutant.documents}
        for name in {rule.partition("/")[0] for rule in mutant.rules}:
            document = self.documents[name]
            denied = self.denied[document.resource_type]
            rules = tuple(r for r in document.rules if f"{name}/{r.id}" in mutant.rules)
            before = behaviour(replace(document, rules=rules), denied, self.limits)
            if before != behaviour(after.get(name), denied, self.limits):
                return False
        return True
