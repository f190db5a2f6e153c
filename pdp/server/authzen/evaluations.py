"""AuthZEN's evaluations: many questions in one body, with defaults, answered in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pdp import boundary
from pdp.batch import Semantic
from pdp.boundary import Admitted, InputLimits
from pdp.call import Answer, Refused
from pdp.errors import InvalidRequestError
from pdp.model import Action, Caller, Request, Resource, Subject
from pdp.server.authzen.head import Head
from pdp.server.authzen.messages import Json, answer, failure, question, render

SEMANTICS: Final = {
    "execute_all": Semantic.EXECUTE_ALL,
    "deny_on_first_deny": Semantic.DENY_ON_FIRST_DENY,
    "permit_on_first_permit": Semantic.PERMIT_ON_FIRST_PERMIT,
}
_NAMES: Final = {semantic: name for name, semantic in SEMANTICS.items()}
# What an item may leave to the defaults: each whole, or not at all.
_PARTS: Final = ("subject", "action", "resource", "context")


@dataclass(frozen=True, slots=True)
class Evaluations:
    """A body with items. INVARIANT: there is one at least.

    Attributes:
        items: each with the defaults filled in; None: it is no object.
        semantic: which of them are decided.
    """

    items: Sequence[Json | None]
    semantic: Semantic


def evaluations(message: Json, size: int, items_max: int, bytes_max: int) -> Evaluations | None:
    """The items, or None: there are none, and the body is a single question.

    Args:
        message: the body.
        size: its bytes.
        items_max: how many there may be.
        bytes_max: how long the body may be with the defaults written into each item.

    Raises:
        InvalidRequestError: the batch as a whole is wrong.
    """
    found = message.get("evaluations", [])
    if type(found) is not list:
        raise InvalidRequestError("evaluations", "must be a list")
    if not found:
        return None
    if len(found) > items_max:
        raise InvalidRequestError("evaluations", f"has more than {items_max} items")
    defaults: Json = {name: message[name] for name in _PARTS if name in message}
    # A small body must not become a large batch.
    if size + len(render(defaults)) * (len(found) - 1) > bytes_max:
        raise InvalidRequestError(
            "evaluations", f"with the defaults in each item are longer than {bytes_max} bytes"
        )
    items = [{**defaults, **item} if type(item) is dict else None for item in found]
    return Evaluations(items, _semantic(message.get("options", {})))


def _semantic(options: Any) -> Semantic:
    if type(options) is not dict:
        raise InvalidRequestError("options", "must be an object")
    name = options.get("evaluations_semantic", "execute_all")
    if type(name) is not str or name not in SEMANTICS:
        raise InvalidRequestError(
            "options.evaluations_semantic", f"must be one of `{'`, `'.join(SEMANTICS)}`"
        )
    return SEMANTICS[name]


def check_request_id(request_id: str, limits: InputLimits) -> None:
    """Of a batch; that of a single question is judged with it.

    Raises:
        InvalidRequestError: it is longer than a name may be.
    """
    if len(request_id.encode()) > limits.name_bytes_max:
        raise InvalidRequestError("request_id", f"is longer than {limits.name_bytes_max} bytes")


def admit_item(
    item: Mapping[str, Any] | None, number: int, head: Head, caller: Caller, limits: InputLimits
) -> Admitted | Refused:
    """One item, as if it came alone; one that is wrong does not spoil the others.

    The tenant and the token, which come before the body, are those of each item.
    """
    own = replace(head, request_id=str(number))
    try:
        if item is None:
            raise InvalidRequestError("", "must be an object")  # noqa: TRY301 with the others
        return boundary.admit(question(item, own), caller, limits)
    except InvalidRequestError as error:
        nobody = Request(
            Subject("", ""),
            Action(""),
            Resource("", ""),
            tenant=head.tenant,
            request_id=own.request_id,
        )
        place = f"evaluations[{number}]" + ("." if error.field else "")
        return Refused(nobody, error.below(place))


def answers(found: Sequence[Answer], semantic: Semantic) -> Json:
    """`{"evaluations": […]}`: up to and including the item that ended it, where one did."""
    told = [_told(one) for one in found]
    if found and semantic.ends(found[-1].decision):
        told[-1]["context"]["reason"] = _NAMES[semantic]
    return {"evaluations": told}


def _told(one: Answer) -> Json:
    told = answer(one.decision)
    if one.invalid is not None:
        told["context"] |= failure(400, str(one.invalid))
    return told
