"""What the calling program passes in: its classes, its budgets, and how much it weighs.

Pure, as the core is. A wrong class is a bug in the calling program and is
raised; what is in those classes may be anybody's data, and becomes a denial.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Final

from pdp.boundary import InputLimits
from pdp.errors import InvalidRequestError
from pdp.model import Action, Properties, Request, Resource, Subject

BUDGET_S_DEFAULT: Final = 0.25  # Envoy's ext_authz gives its PDP 0.2 s
BUDGET_S_MAX: Final = 5.0

# The PDP's own limits (`pdp.boundary`): what is beyond them would be refused
# there, so it is not worth the budget to encode it here.
_LIMITS: Final = InputLimits()
# Kinds that hold nothing, looked for before it is asked what a rarer one may be.
_WEIGHTLESS: Final = frozenset({int, bool, float, type(None)})


def question(
    subject: Subject,
    action: Action | str,
    resource: Resource,
    context: Properties | None,
    tenant: str,
    request_id: str,
    *,
    explain: bool = False,
    subject_token: str = "",
) -> Request:
    """The request.

    Only the classes are looked at here, since a wrong one is a bug in the
    calling program. What is in them may be anybody's data, and data that
    cannot be asked about is a denial (`begin`), not an exception.

    Raises:
        TypeError: not the classes of the signature.
    """
    if isinstance(action, str):
        action = Action(action)
    if not isinstance(subject, Subject):
        raise TypeError(f"subject must be a pdp_client.Subject, not {type(subject).__name__}")
    if not isinstance(action, Action):
        raise TypeError(f"action must be a str or a pdp_client.Action, not {type(action).__name__}")
    if not isinstance(resource, Resource):
        raise TypeError(f"resource must be a pdp_client.Resource, not {type(resource).__name__}")
    if not isinstance(subject_token, str):
        raise TypeError(f"subject_token must be a str, not {type(subject_token).__name__}")
    return Request(
        subject=subject,
        action=action,
        resource=resource,
        context={} if context is None else context,
        tenant=tenant,
        request_id=request_id,
        # Only what is exactly true asks: the wire has no other.
        explain=explain is True,
        subject_token=subject_token,
    )


def budget(timeout: float | None, default: float) -> float:
    """Seconds that a call may take.

    Args:
        timeout: what the calling program has left; None means `default`. More
            than 5 s is 5 s. Zero, less, and not-a-number leave no time at all:
            a remainder that was used up is no bug, and is denied.
        default: the client's own.

    Raises:
        TypeError: `timeout` is not a number. A bool is none here.
    """
    if timeout is None:
        return default
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be seconds or None, not {type(timeout).__name__}")
    if timeout >= BUDGET_S_MAX:
        return BUDGET_S_MAX
    return float(timeout) if timeout > 0 else 0.0


def check_weight(request: Request) -> None:
    """Refuse what is too big, in bounded time, before it is encoded.

    A list that contains itself ends here too: it weighs more than any limit.
    """
    values_left = _LIMITS.values_max
    text_left = _LIMITS.text_bytes_max
    subject, action, resource = request.subject, request.action, request.resource
    heap: list[object] = [
        *(subject.type, subject.id, action.name, resource.type, resource.id, request.tenant),
        *(subject.properties, action.properties, resource.properties, request.context),
    ]
    while heap:
        item = heap.pop()
        kind = type(item)
        if kind is str or kind is bytes:
            text_left -= len(item)  # type: ignore[arg-type]
            if text_left < 0:
                raise InvalidRequestError("request", "has too much text")
        elif kind in _WEIGHTLESS:
            continue
        elif kind is dict or isinstance(item, Mapping | list | tuple):
            # Length first: a container is not walked before it is paid for.
            size = len(item)  # type: ignore[arg-type]
            if not size:
                continue
            values_left -= size
            if values_left < 0:
                raise InvalidRequestError("request", "has too many values")
            heap.extend(item)  # type: ignore[arg-type]
            if kind is dict or isinstance(item, Mapping):
                heap.extend(item.values())  # type: ignore[attr-defined]


def check_can_meet(declared: Collection[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """Obligations by (type, id), as a frozen set.

    Raises:
        TypeError: not pairs of strings. `("custom", "watermark")` instead of
            `{("custom", "watermark")}` is what people write.
    """
    pairs: list[object] = list(declared)
    found: set[tuple[str, str]] = set()
    for pair in pairs:
        match pair:
            case (str(kind), str(name)) if isinstance(pair, tuple):
                found.add((kind, name))
            case _:
                raise TypeError(
                    "can_meet must hold pairs of type and id, such as {('custom', 'watermark')}"
                )
    return frozenset(found)


def check_budget_s(budget_s: float) -> float:
    """A client's default budget, in seconds.

    Raises:
        ValueError: not above 0 and at most 5.
        TypeError: not a number.
    """
    if isinstance(budget_s, bool) or not isinstance(budget_s, int | float):
        raise TypeError(f"budget_s must be seconds, not {type(budget_s).__name__}")
    if not math.isfinite(budget_s) or not 0 < budget_s <= BUDGET_S_MAX:
        raise ValueError(f"budget_s must be above 0 and at most {BUDGET_S_MAX:g} seconds")
    return float(budget_s)
