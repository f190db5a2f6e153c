"""What comes with an explained answer: obligations, advice and the words for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pdp import value_json
from pdp.explaining import RULE_CAUSES
from pdp.model import Decision, Obligation, Reason

if TYPE_CHECKING:
    from pdp.boundary import Admitted
    from pdp.impact.edition import Edition


def reasons_withheld(
    edition: Edition, admitted: Admitted, now_ns: int, decision: Decision
) -> tuple[Reason, ...]:
    """Reasons for administrators that the rules give and this caller does not get.

    A PDP gives them to callers that may `explain`; whoever has the policies at hand may read them.
    """
    if decision.cause not in RULE_CAUSES or decision.reason_admin:
        return ()
    whole, _ = edition.policy_set.decide(admitted, now_ns)
    return whole.reason_admin


def with_the_answer(decision: Decision, withheld: Sequence[Reason]) -> Iterator[str]:
    """A line for each thing that comes with it."""
    for verb, duties in (("obliges to", decision.obligations), ("advises", decision.advice)):
        for duty in duties:
            properties = json.dumps(value_json.plain(duty.properties))
            yield f"{verb} {duty.type}:{duty.id} {properties}"
    for said in decision.reason_user:
        yield f"for the user: {said.text} [{said.rule}]"
    for said in decision.reason_admin:
        yield f"for the administrator: {said.text} [{said.rule}]"
    for said in withheld:
        yield (
            f"for the administrator: {said.text} [{said.rule}], not told to this caller: no entry "
            "has `may: [explain]` for it"
        )


def answer_as_json(decision: Decision, withheld: Sequence[Reason]) -> dict[str, Any]:
    """The decision and what comes with it; the names are those of `pdp authorize --json`."""
    return {
        "effect": decision.effect.name,
        "cause": decision.cause.name,
        "decided_by": list(decision.rules),
        "obligations": _duties(decision.obligations),
        "advice": _duties(decision.advice),
        "reason_user": _reasons(decision.reason_user),
        "reason_admin": _reasons(decision.reason_admin),
        "reason_admin_not_told": _reasons(withheld),
    }


def _duties(duties: Sequence[Obligation]) -> list[dict[str, Any]]:
    return [
        {"type": duty.type, "id": duty.id, "properties": value_json.plain(duty.properties)}
        for duty in duties
    ]


def _reasons(reasons: Sequence[Reason]) -> dict[str, str]:
    return {said.rule: said.text for said in reasons}
