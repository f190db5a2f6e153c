"""AuthZEN's JSON <-> the model.

Unknown members are passed over, as the specification demands: they are no part
of the question, unlike a field of a protobuf message that we do not know. All
else is strict: a member twice, a number out of range and half a character are
errors, and what an entity lacks is never a default.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from pdp import value_json
from pdp.errors import InvalidRequestError
from pdp.model import Action, Decision, Effect, Obligation, Reason, Request, Resource, Subject

JSON: Final = "application/json"
# A message may quote what was sent: no amplifier.
_MESSAGE_CHARACTERS_MAX: Final = 500

Json = dict[str, Any]


def parse_body(data: bytes) -> Json:
    """The one JSON object that every body is.

    Raises:
        InvalidRequestError: about `body`.
    """
    try:
        found = value_json.parse(data.decode())
    except UnicodeDecodeError:
        raise InvalidRequestError("body", "is not valid UTF-8") from None
    except ValueError as error:
        raise InvalidRequestError("body", str(error)) from None
    if type(found) is not dict:
        raise InvalidRequestError("body", "must be a JSON object")
    return found


class Beside(Protocol):
    """What a question says outside of its body: `pdp.server.authzen.head.Head`."""

    @property
    def request_id(self) -> str:
        """For the record."""

    @property
    def tenant(self) -> str:
        """As the path says."""

    @property
    def subject_token(self) -> str:
        """Unverified."""


def question(message: Mapping[str, Any], head: Beside) -> Request:
    """One evaluation.

    The kinds of names and properties are judged by `pdp.boundary.admit`, after
    this; where one is missing, it finds it empty, which is an error too.

    Raises:
        InvalidRequestError: an entity is missing or is no object.
    """
    subject = entity(message, "subject")
    action = entity(message, "action")
    resource = entity(message, "resource")
    return Request(
        Subject(subject.get("type", ""), subject.get("id", ""), subject.get("properties", {})),
        Action(action.get("name", ""), action.get("properties", {})),
        Resource(resource.get("type", ""), resource.get("id", ""), resource.get("properties", {})),
        message.get("context", {}),
        tenant=head.tenant,
        request_id=head.request_id,
        subject_token=head.subject_token,
    )


def entity(message: Mapping[str, Any], name: str) -> Json:
    """A member that must be there and be an object.

    Raises:
        InvalidRequestError: it is not.
    """
    if name not in message:
        raise InvalidRequestError(name, "is required")
    found = message[name]
    if type(found) is not dict:
        raise InvalidRequestError(name, "must be an object")
    return found


def answer(decision: Decision) -> Json:
    """`{"decision": …, "context": …}`: what the gRPC door answers, in JSON.

    `obligations` has the form of AuthZEN's obligations profile; reasons are
    maps, from the name of the rule to its text.
    """
    context: Json = {
        "cause": decision.cause.name,
        "rules": list(decision.rules),
        "obligations": _duties(decision.obligations),
        "advice": _duties(decision.advice),
        "reason_user": _reasons(decision.reason_user),
        "reason_admin": _reasons(decision.reason_admin),
        "schema_violation": decision.schema_violation,
        "decision_id": decision.decision_id,
    }
    if decision.bundle is not None:
        context["bundle"] = {
            "revision": decision.bundle.revision,
            "digest": decision.bundle.digest.hex(),
        }
    if decision.record is not None:
        context["record"] = {
            "pdp_id": decision.record.pdp_id,
            "seq": decision.record.seq,
            "hash": decision.record.hash.hex(),
        }
    # INVARIANT: by identity. Nothing else in this package makes `"decision": true`.
    permitted = decision.effect is Effect.PERMIT
    return {"decision": permitted, "context": {k: v for k, v in context.items() if v}}


def _duties(duties: Iterable[Obligation]) -> list[Json]:
    return [
        {"id": duty.id, "type": duty.type, "properties": value_json.plain(duty.properties)}
        for duty in duties
    ]


def _reasons(reasons: Iterable[Reason]) -> dict[str, str]:
    return {reason.rule: reason.text for reason in reasons}


def failure(status: int, message: str) -> Json:
    """What is said where there is no decision."""
    shown = message[:_MESSAGE_CHARACTERS_MAX].encode("utf-8", "replace").decode()
    return {"error": {"status": status, "message": shown}}


def render(message: Json) -> bytes:
    """The bytes of an answer: ASCII.

    Raises:
        ValueError: an obligation has a number that JSON has not.
    """
    return json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
