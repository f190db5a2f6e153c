"""cedarpy on a policy set equivalent to policies/expense-reports: what a decision costs there.

The policy set is parsed once and kept as a handle. Entities are built for each
call, from the same question: subject and resource with their attributes, the
context with the time. What Cedar cannot compute (loops over records, the
calendar) is computed here, as an application would have to.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cedarpy

from pdp.model import Request

POLICIES = Path(__file__).parent / "expense_reports.cedar"
_RECEIPT_CENTS = 2_500
_FREEZE = timedelta(hours=48)


def policy_set() -> cedarpy.PolicySet:
    """The parsed policies, a handle."""
    return cedarpy.PolicySet.from_str(POLICIES.read_text())


def _moment(text: str) -> dict[str, Any]:
    return {"__extn": {"fn": "datetime", "arg": text}}


def ask(policies: cedarpy.PolicySet, request: Request, now: datetime, caller: str) -> bool:
    """One question, its entities built, decided."""
    subject, resource = request.subject, request.resource
    about, thing = subject.properties, dict(resource.properties)
    who: dict[str, Any] = {**about, "id": subject.id}
    if "contract_until" in about:
        who["contract_until"] = _moment(str(about["contract_until"]))
    lines: Any = thing.pop("lines", [])
    delegations: Any = thing.pop("delegations", None)
    thing["has_entertainment"] = any(line.get("category") == "entertainment" for line in lines)
    thing["receipts_complete"] = all(
        line.get("amount_cents", 0) <= _RECEIPT_CENTS or line.get("receipt", False)
        for line in lines
    )
    if delegations is not None:
        thing["delegates"] = [
            item["to"]
            for item in delegations
            if datetime.fromisoformat(item["starts"]) <= now < datetime.fromisoformat(item["ends"])
        ]
    principal = {"type": subject.type.title(), "id": subject.id}
    target = {"type": "ExpenseReport", "id": resource.id}
    question = {
        "principal": principal,
        "action": {"type": "Action", "id": request.action.name},
        "resource": target,
        "context": {
            **request.context,
            "now": _moment(f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"),
            "month_ends": (now + _FREEZE).month != now.month,
            "caller": caller,
        },
    }
    entities: list[dict[Any, Any]] = [
        {"uid": principal, "attrs": who, "parents": []},
        {"uid": target, "attrs": thing, "parents": []},
    ]
    return cedarpy.is_authorized(question, policies, entities).decision is cedarpy.Decision.Allow
