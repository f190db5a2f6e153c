"""What the demo asks about expense reports, and what the answer must be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pdp_client import Cause, Effect, Resource, Subject


@dataclass(frozen=True, slots=True)
class Question:
    """One question, in words and as the client asks it, and the answer that is promised."""

    words: str
    subject: Subject
    action: str
    resource: Resource
    effect: Effect
    cause: Cause
    rule: str = ""
    context: dict[str, Any] = field(default_factory=dict)


def _person(name: str, *roles: str, grade: int = 3, **properties: Any) -> Subject:
    return Subject(
        "user",
        name,
        {"roles": list(roles), "department": "sales", "grade": grade, **properties},
    )


def _report(name: str, status: str, amount_cents: int, **properties: Any) -> Resource:
    return Resource(
        "expense_report",
        name,
        {
            "author": "alice",
            "submitted_by": "alice",
            "department": "sales",
            "status": status,
            "amount_cents": amount_cents,
            "year": 2026,
            "lines": [{"category": "travel", "amount_cents": amount_cents, "receipt": True}],
            "delegations": [],
            **properties,
        },
    )


ALICE = _person("alice", "employee")
MANAGER_BOB = _person("bob", "employee", "manager", grade=4)
DIRECTOR_DAN = _person("dan", "director", grade=6)
CLERK_CARLA = _person("carla", "finance-clerk")
AUDITOR_AMY = _person("amy", "auditor")
MALLORY = _person("mallory", "auditor")
CONTRACTOR_EVE = _person("eve", "contractor", contract_until="2026-06-30T00:00:00Z")

DRAFT = _report("report-7", "draft", 18_000)
SUBMITTED = _report("report-7", "submitted", 18_000)
LARGE = _report("report-8", "submitted", 1_800_000)
APPROVED = _report("report-7", "approved", 18_000, approver="bob")
ARCHIVED = _report("report-1", "archived", 4_200)

PERMIT, DENY = Effect.PERMIT, Effect.DENY

FIRST = Question(
    "Alice submits her draft", ALICE, "submit", DRAFT,
    PERMIT, Cause.RULE, "expense-submission/author-submits-with-receipts",
)  # fmt: skip

QUESTIONS = (
    FIRST,
    Question(
        "her manager Bob approves it", MANAGER_BOB, "approve", SUBMITTED,
        PERMIT, Cause.RULE, "expense-approval/approver-decides-within-limit",
    ),
    Question(
        "Alice approves it herself", ALICE, "approve", SUBMITTED,
        DENY, Cause.RULE, "expense-approval/nobody-approves-their-own",
    ),
    Question(
        "Bob approves 18,000.00, above his limit", MANAGER_BOB, "approve", LARGE,
        DENY, Cause.DEFAULT, context={"mfa": True},
    ),
    Question(
        "director Dan approves it, without a second factor", DIRECTOR_DAN, "approve", LARGE,
        DENY, Cause.RULE, "expense-approval/large-amounts-need-a-second-factor",
    ),
    Question(
        "and with one", DIRECTOR_DAN, "approve", LARGE,
        PERMIT, Cause.RULE, "expense-approval/approver-decides-within-limit",
        {"mfa": True},
    ),
    Question(
        "clerk Carla pays what Bob approved", CLERK_CARLA, "pay", APPROVED,
        PERMIT, Cause.RULE, "expense-payment/clerk-pays",
        # The waiver, so that the demo also works in the freeze at the end of a month.
        {"waiver": "FIN-1"},
    ),
    Question(
        "auditor Amy reads it, with a watermark", AUDITOR_AMY, "read", APPROVED,
        PERMIT, Cause.RULE, "expense-retention/auditor-reads-watermarked",
    ),
    Question(
        "Eve submits after her contract has ended", CONTRACTOR_EVE, "submit",
        _report("report-9", "draft", 900, author="eve"),
        DENY, Cause.RULE, "expense-submission/contract-has-ended",
    ),
    Question(
        "a report whose author nobody told us is approved", MANAGER_BOB, "approve",
        Resource("expense_report", "report-5", {
            key: value for key, value in SUBMITTED.properties.items() if key != "author"
        }),
        DENY, Cause.INDETERMINATE, "expense-approval/nobody-approves-their-own",
    ),
    Question(
        "Bob deletes an archived report", MANAGER_BOB, "delete", ARCHIVED,
        DENY, Cause.RULE, "expense-retention/archived-is-immutable",
    ),
    Question(
        "somebody reads the salaries, which no policy is about", ALICE, "read",
        Resource("payroll", "2026-11"),
        DENY, Cause.CALLER,
    ),
    Question(
        "Mallory, whom the emergency list of today denies, reads", MALLORY, "read", APPROVED,
        DENY, Cause.IDENTITY,
    ),
)  # fmt: skip

# (type, id) of what the enforcing program does when a permit obliges it to.
CAN_MEET = frozenset({
    ("notification", "notify-approver"),
    ("notification", "tell-department"),
    ("document", "watermark"),
})  # fmt: skip
