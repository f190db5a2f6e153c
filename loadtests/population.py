"""A company's questions about expense reports: people and reports recur, questions do not.

What a service asks is about the same people and things again and again, in
ever new combinations and circumstances: 200 people, 300 reports, nine actions,
and in each question a context and an id that no other has. `newcomers` is the
opposite: nobody and nothing in it comes twice.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from pdp.model import Action, Request, Resource, Subject
from pdp.values import Value

PEOPLE, REPORTS, QUESTIONS = 200, 300, 2_000
_SEED: Final = 20_261_126
_DEPARTMENTS: Final = ("sales", "legal", "research", "support", "board")
_JOBS: Final = (
    ("employee",), ("employee",), ("employee",), ("employee", "manager"), ("director",),
    ("finance-clerk",), ("finance-lead",), ("auditor",), ("contractor",),
)  # fmt: skip
_STATES: Final = ("draft", "submitted", "submitted", "approved", "paid", "archived")
_CATEGORIES: Final = ("travel", "travel", "meals", "books", "entertainment")
_LARGE_CENTS: Final = 2_000_000
# As often as each is asked.
_ACTIONS: Final = {
    "read": 40, "list": 10, "approve": 18, "reject": 4, "submit": 8, "update": 8, "create": 2,
    "delete": 2, "pay": 8,
}  # fmt: skip


def _person(name: str, chance: random.Random) -> Subject:
    roles = chance.choice(_JOBS)
    properties: dict[str, Value] = {
        "roles": list(roles),
        "department": chance.choice(_DEPARTMENTS),
        "grade": chance.randint(1, 7),
    }
    if roles == ("contractor",):
        properties["contract_until"] = f"202{chance.randint(5, 8)}-06-30T00:00:00Z"
    return Subject("user", name, properties)


def _report(name: str, people: list[Subject], chance: random.Random) -> Resource:
    author = chance.choice(people)
    cents = [chance.randint(500, _LARGE_CENTS) // chance.choice((1, 20, 400)) for _ in range(3)]
    lines: list[Value] = [
        {"category": chance.choice(_CATEGORIES), "amount_cents": each, "receipt": each % 7 > 0}
        for each in cents[: chance.randint(1, 3)]
    ]
    properties: dict[str, Value] = {
        "author": author.id,
        "submitted_by": author.id,
        "approver": chance.choice(people).id,
        "department": author.properties["department"],
        "status": chance.choice(_STATES),
        "amount_cents": sum(cents[: len(lines)]),
        "year": 2026,
        "lines": lines,
        "delegations": [],
    }
    return Resource("expense_report", name, properties)


def _asked(number: int, subject: Subject, resource: Resource, chance: random.Random) -> Request:
    (action,) = chance.choices(list(_ACTIONS), list(_ACTIONS.values()))
    context: dict[str, Value] = {"waiver": f"FIN-{number}"}
    if chance.random() < 0.5:  # noqa: PLR2004 half of them
        context["mfa"] = True
    request_id = f"{chance.getrandbits(128):032x}"
    return Request(subject, Action(action), resource, context, request_id=request_id)


def regulars(questions: int = QUESTIONS) -> Iterator[Request]:
    """Questions of the company's day; each is new, the people and reports in them are not."""
    chance = random.Random(_SEED)  # noqa: S311 the same in each run
    people = [_person(f"person-{number:04}", chance) for number in range(PEOPLE)]
    reports = [_report(f"report-{number:05}", people, chance) for number in range(REPORTS)]
    for number in range(questions):
        subject, resource = chance.choice(people), chance.choice(reports)
        # Some questions are about what is one's own.
        if chance.random() < 0.25:  # noqa: PLR2004 one in four
            author = resource.properties["author"]
            subject = next(person for person in people if person.id == author)
        yield _asked(number, subject, resource, chance)


def newcomers(questions: int = QUESTIONS) -> Iterator[Request]:
    """As many questions, each about a person and a report that no other is about."""
    chance = random.Random(_SEED)  # noqa: S311 the same in each run
    for number in range(questions):
        person = _person(f"newcomer-{number:04}", chance)
        others = [_person(f"other-{number:04}-{each}", chance) for each in range(2)]
        report = _report(f"new-report-{number:05}", [person, *others], chance)
        yield _asked(number, person, report, chance)
