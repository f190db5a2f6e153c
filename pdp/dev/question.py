"""What to ask first: a test's question that is permitted now, as a program in Python."""

from __future__ import annotations

import dataclasses
import pprint
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pdp.authoring import trial
from pdp.authoring.compilation import Compilation
from pdp.authoring.policy_tests import TestRow
from pdp.callers import ANY
from pdp.config.settings import Address
from pdp.dev.cast import Cast
from pdp.model import Action, Effect, Request, Resource, Subject
from pdp.policy import PolicySet

_WIDTH = 84


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and who asks it.

    Attributes:
        words: what it shows.
        path: of the caller's SPIFFE ID.
        can_meet: obligations that its permit comes with, by type and id.
    """

    words: str
    path: str
    request: Request
    can_meet: tuple[tuple[str, str], ...] = ()


def first_question(
    compilation: Compilation, policies: PolicySet, cast: Cast, rows: Sequence[TestRow], now_ns: int
) -> Question:
    """A permitted one from the tests, else one to be filled in.

    Tests have a time of their own, so each is tried at this one. Permits
    without obligations first: less to read.
    """
    found = None
    if compilation.callers is not None:
        at_now = [
            dataclasses.replace(row, now_ns=now_ns)
            for row in rows
            if row.expect.effect is Effect.PERMIT and cast.path_of(row.caller) is not None
        ]
        for outcome in trial.run(policies, compilation.callers, at_now):
            decision = outcome.decision
            if decision is None or decision.effect is not Effect.PERMIT:
                continue
            duties = tuple((duty.type, duty.id) for duty in decision.obligations)
            row = outcome.row
            question = Question(row.name, cast.path_of(row.caller) or "", row.request, duties)
            if not duties:
                return question
            found = found or question
    return found or _blank(compilation, cast)


def _blank(compilation: Compilation, cast: Cast) -> Question:
    """A question of the first caller that may say who asks; likely a denial."""
    roles = sorted(cast.roles, key=lambda role: (role.is_pattern, role.entry.asserts is None))
    entry = roles[0].entry
    policy = compilation.policies[0]
    resource = policy.resource_type if entry.resources == (ANY,) else entry.resources[0]
    named = [action for rule in policy.rules for action in rule.actions if action != ANY]
    action = (named or ["read"])[0] if entry.actions == (ANY,) else entry.actions[0]
    asserts = ("user",) if entry.asserts in {None, (ANY,)} else entry.asserts or ("user",)
    request = Request(Subject(asserts[0], "ana"), Action(action), Resource(resource, "1"))
    words = "no test's question is permitted now: fill this one in"
    return Question(words, roles[0].path, request)


def program(
    question: Question, address: Address, trust_bundle: Path, certificate: Path, key: Path
) -> str:
    """A whole program that asks it and prints the answer."""
    request = question.request
    action = repr(request.action.name)
    if request.action.properties:
        action = f"Action({action}, {_value(request.action.properties)})"
    names = ["Client", "Resource", "Subject"]
    lines = [
        f"# {' '.join(question.words.split())}",
        f"from pdp_client import {', '.join(['Action', *names] if '(' in action else names)}",
        "",
        "with Client(",
        f"    {str(address)!r},",
        f"    trust_bundle={str(trust_bundle)!r},",
        f"    certificate={str(certificate)!r},",
        f"    key={str(key)!r},",
        "    budget_s=2.0,  # the first call connects",
    ]
    if question.can_meet:
        lines.append(f"    can_meet={{{', '.join(map(repr, question.can_meet))}}},")
    lines += [
        ") as pdp:",
        "    decision = pdp.authorize(",
        f"        {_entity(request.subject)},",
        f"        {action},",
        f"        {_entity(request.resource)},",
    ]
    if request.context:
        lines.append(f"        {_value(request.context)},")
    lines += [
        "    )",
        "print(decision.effect.name, decision.cause.name, *decision.rules)",
    ]
    return "\n".join(lines) + "\n"


def _entity(entity: Subject | Resource) -> str:
    names = f"{entity.type!r}, {entity.id!r}"
    if entity.properties:
        names += f", {_value(entity.properties)}"
    return f"{type(entity).__name__}({names})"


def _value(value: object) -> str:
    """A value as Python writes it: `repr` escapes what could drive a terminal."""
    text = pprint.pformat(value, width=_WIDTH, sort_dicts=False)
    return text.replace("\n", "\n            ")
