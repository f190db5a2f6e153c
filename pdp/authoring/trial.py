"""Running the tests of policies: each row through the same law as a request.

`pdp.boundary.admit` judges the row's question and `pdp.admission.decide`
answers it, as in the PDP; there is no second way to decide.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pdp import admission
from pdp.admission import Denials
from pdp.authoring.expectations import Expectation
from pdp.authoring.fetched_rows import completed
from pdp.authoring.policy_tests import TestRow
from pdp.boundary import Admitted, InputLimits, admit, admit_claims, with_token
from pdp.callers import ANY, CallerPolicy
from pdp.errors import InvalidRequestError
from pdp.model import Caller, Decision, Obligation, Subject, deny, distinct
from pdp.policy import PolicySet, Rule
from pdp.subject_token import SubjectToken
from pdp.values import INT64_MAX, Value

# Policies of one folder are those of one tenant; this is its name where callers name none.
TENANT = "default"
# Of a token in a row: it has been verified, and does not end while the row is asked.
_NEVER_NS = INT64_MAX
_ROLES = "roles"


@dataclass(frozen=True, slots=True)
class Difference:
    """One key of `expect` that is not what came."""

    key: str
    expected: str
    actual: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one row came to.

    Attributes:
        row: the row.
        decision: the answer; None when the request would be refused as invalid.
        refused: why it would be, or empty.
        differences: empty when the row passed.
    """

    row: TestRow
    decision: Decision | None
    refused: str
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        """Whether the answer is what was expected."""
        return self.decision is not None and not self.differences


class Watch(Protocol):
    """Is told of each decision that was made, and of what it was made from."""

    def __call__(
        self, admitted: Admitted, now_ns: int, decision: Decision, candidates: Sequence[Rule], /
    ) -> None:
        """One decision; no candidates when it was made before the rules."""


def run(
    policies: PolicySet,
    callers: CallerPolicy,
    rows: Iterable[TestRow],
    watch: Watch | None = None,
) -> tuple[Outcome, ...]:
    """Ask every row's question and compare.

    The folder's policies stand for every tenant that its callers name.

    Args:
        policies: that answer.
        callers: who may ask.
        rows: the questions.
        watch: is told of each decision, after it was made.
    """
    named = {tenant for entry in callers.entries for tenant in entry.tenants} - {ANY}
    tenants = dict.fromkeys(sorted(named) or [TENANT], policies)
    return tuple(_ask(tenants, callers, row, watch) for row in rows)


def _ask(
    tenants: Mapping[str, PolicySet], callers: CallerPolicy, row: TestRow, watch: Watch | None
) -> Outcome:
    caller = Caller(row.caller)
    if row.denied is not None:
        # An HTTP request of which the mapping makes no question: nothing was decided by rules.
        decision = deny(row.denied)
        return Outcome(row, decision, "", tuple(_differences(row.expect, decision)))
    try:
        admitted = admit(row.request, caller, InputLimits())
        if row.token is not None:
            admitted = with_token(admitted, as_verified(row.token, row.request.subject))
        # The folder's policies stand for every tenant.
        (policies,) = set(tenants.values())
        admitted = completed(policies.provided, admitted, row.fetched)
        decision, candidates = admission.decide(
            tenants, callers, Denials(), admitted, caller, row.now_ns
        )
    except InvalidRequestError as error:
        return Outcome(row, None, str(error), ())
    if watch is not None:
        watch(admitted, row.now_ns, decision, candidates)
    return Outcome(row, decision, "", tuple(_differences(row.expect, decision)))


def as_verified(claims: Mapping[str, Value], subject: Subject) -> SubjectToken:
    """What a token about this subject would prove, for trying policies; no door makes one.

    Static roles are those of the claim `roles`, if there is one.

    Args:
        claims: of the token, as if an issuer had signed them.
        subject: of the question: whom a token is about, only the verifier looks at.

    Raises:
        InvalidRequestError: a claim is over a limit of input.
    """
    judged = admit_claims(dict(claims), InputLimits())
    roles = (_ROLES,) if _ROLES in judged else None
    return SubjectToken("", "", subject.type, subject.id, _NEVER_NS, judged, roles)


def _differences(expect: Expectation, decision: Decision) -> Iterable[Difference]:
    if expect.effect is not decision.effect:
        yield Difference("effect", expect.effect.name, decision.effect.name)
    if expect.cause is not None and expect.cause is not decision.cause:
        yield Difference("cause", expect.cause.name, decision.cause.name)
    if expect.rules is not None and set(expect.rules) != set(decision.rules):
        yield Difference("rules", _names(expect.rules), _names(decision.rules))
    for key, expected, actual in (
        ("obligations", expect.obligations, decision.obligations),
        ("advice", expect.advice, decision.advice),
    ):
        # INVARIANT: compared by the injective key, so that 1, 1.0 and true differ.
        if expected is not None and {d.key for d in expected} != {d.key for d in actual}:
            yield Difference(key, _duties(expected), _duties(actual))
    for key, texts, reasons in (
        ("reasons.user", expect.reason_user, decision.reason_user),
        ("reasons.admin", expect.reason_admin, decision.reason_admin),
    ):
        if texts is not None and set(texts) != {reason.text for reason in reasons}:
            yield Difference(key, _texts(texts), _texts(reason.text for reason in reasons))
    if expect.violation is not None and not _said_so(expect.violation, decision.schema_violation):
        yield Difference("violation", expect.violation, decision.schema_violation or "none")


def _said_so(expected: str, actual: str) -> bool:
    """Whether a violation is this one: its path, or its path and what is wrong there."""
    return actual == expected or actual.startswith(f"{expected} ")


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _texts(texts: Iterable[str]) -> str:
    return "; ".join(sorted(set(texts))) or "none"


def _duties(duties: Iterable[Obligation]) -> str:
    shown = []
    for duty in distinct(tuple(duties)):
        properties = f" {render(dict(duty.properties))}" if duty.properties else ""
        shown.append(f"{duty.type}/{duty.id}{properties}")
    return ", ".join(shown) or "none"


def render(value: Value) -> str:
    """A value as an author would write it in YAML's flow style."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case dict():
            return "{" + ", ".join(f"{key}: {render(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(render, value)) + "]"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return repr(value)
