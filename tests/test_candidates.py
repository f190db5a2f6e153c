"""Finding rules by role: what is left out would have counted for nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from pdp import engine
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import compile_directory
from pdp.authoring.policy_tests import TestRow, read_tests
from pdp.authoring.sources import read_folder
from pdp.boundary import Admitted, InputLimits, admit
from pdp.candidates import Candidates, Kept
from pdp.cel.limits import EvaluationLimits
from pdp.model import Caller, Decision
from pdp.policy import PolicySet
from pdp.roles import Facts
from pdp.values import Timestamp
from tests.conftest import ROOT

BUNDLES = ("document-sharing", "expense-reports", "production-access")
# Lists that say which roles are held, and what says nothing of the kind.
ODD_ROLES: tuple[Any, ...] = (None, [], ["manager", 7], "manager", {"manager": True}, [["manager"]])
Case = tuple[PolicySet, TestRow]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """Every test of the sample bundles, with its policies."""
    found: list[Case] = []
    with Checker() as checker:
        for name in BUNDLES:
            folder = ROOT / "policies" / name
            # Without their schemas: those would refuse odd lists before any rule.
            documents = compile_directory(folder, checker).policies
            policies = PolicySet(documents, EvaluationLimits())
            found += [(policies, row) for row in read_tests(read_folder(folder).tests).rows]
    return found


def admitted(row: TestRow, roles: Any) -> Admitted:
    """The question, with these roles in the place of its own; Ellipsis keeps those."""
    subject = row.request.subject
    if roles is not ...:
        subject = dataclasses.replace(subject, properties={**subject.properties, "roles": roles})
    request = dataclasses.replace(row.request, subject=subject)
    return admit(request, Caller(row.caller), InputLimits())


def without_index(policies: PolicySet, question: Admitted, now_ns: int) -> Decision:
    """The law on all rules that name the type and the action."""
    request = question.request
    rules = policies.candidates(request.resource.type, request.action.name, now_ns)
    return engine.decide(rules, Facts({**question.attributes, "now": Timestamp(now_ns)}))


def differences(cases: list[Case]) -> Iterator[str]:
    """Questions that the index answers otherwise than a scan."""
    for policies, row in cases:
        for roles in (..., *ODD_ROLES):
            question = admitted(row, roles)
            found, _ = policies.decide(question, row.now_ns)
            if found != without_index(policies, question, row.now_ns):
                yield f"{row.name}: {roles}"


def test_what_roles_leave_out_counts_for_nothing(cases: list[Case]) -> None:
    """On every sample test, and with odd lists of roles, the answer is that of all rules."""
    assert len(cases) > 200
    assert list(differences(cases)) == []


def test_what_roles_leave_out_twin_without_guard(
    cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a malformed list were read as no roles, rules in doubt would be left out."""
    original = Candidates.possible

    def possible(self: Any, held: frozenset[str] | None, now_ns: int) -> Any:
        return original(self, held or frozenset(), now_ns)

    monkeypatch.setattr(Candidates, "possible", possible)
    assert any("None" in found for found in differences(cases))


class _Always:
    is_timed = False
    starts_ns: int | None = None
    expires_ns: int | None = None

    def is_current(self, now_ns: int) -> bool:
        """Always."""
        return now_ns >= 0


def test_no_scan_of_other_roles() -> None:
    """Of a thousand rules for a thousand roles, two roles find two."""
    rules = [_Always() for _ in range(1_000)]
    needs = {id(rule): frozenset({f"role-{at}"}) for at, rule in enumerate(rules)}
    made = Candidates(rules, lambda rule: needs[id(rule)])
    assert len(made.possible(frozenset({"role-7", "role-9", "none"}), 0)) == 2
    every = made.possible(None, 0), made.current(0), made
    assert all(list(found) == rules for found in every)


def test_what_is_kept_is_bounded() -> None:
    """Made-up types and actions that a `*` is about do not fill the memory."""
    kept: Kept[_Always] = Kept()
    found = Candidates([_Always()], lambda _rule: None)
    for at in range(30_000):
        kept.keep(f"type-{at}", "read", found)
        kept.keep("type", f"read:{at}", found)
    assert len(kept._by_type) <= 20_000
    assert sum(map(len, kept._by_type.values())) <= 20_000 + 256
    kept.keep("empty", "read", Candidates([], lambda _rule: None))
    assert kept.get("empty", "read") is None
