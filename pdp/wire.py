"""`pdp.v1` messages <-> the model: the only place where the two meet.

What holds here: a missing required field is an error, never a default; a field
or an enum value that this version does not know is an error, never skipped (a
question with a part we do not understand is not the question we would answer);
reading an answer is stricter still, for a client grants by it. Sizes and
depths are judged by `pdp.boundary`, after this. Light: the client uses it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast

from google.protobuf.message import DecodeError

from pdp import boundary
from pdp.boundary import Admitted, InputLimits
from pdp.errors import AnswerError, InvalidRequestError
from pdp.explanation_codec import explanation_from_pb, explanation_to_pb
from pdp.model import (
    Action,
    BundleRef,
    Caller,
    Cause,
    Decision,
    Effect,
    Lease,
    Obligation,
    Reason,
    RecordRef,
    Request,
    Resource,
    Subject,
)
from pdp.v1 import authorization_pb2 as pb
from pdp.value_codec import (
    LEVELS_MAX,
    bundle_to_pb,
    map_from_pb,
    map_to_pb,
    obligation_to_pb,
    text_bytes,
    value_from_pb,
    value_to_pb,
)
from pdp.values import NANOS

__all__ = [
    "DIGEST_BYTES",
    "admit_message",
    "decision_from_pb",
    "decision_to_pb",
    "obligation_to_pb",
    "parse_request",
    "request_from_pb",
    "request_to_pb",
    "value_from_pb",
    "value_to_pb",
]

DIGEST_BYTES: Final = 32  # SHA-256

# INVARIANT: closed tables. UNSPECIFIED is in neither, and the causes that only
# a client says (100 and up) never cross the wire.
_EFFECTS: Final = {
    pb.EFFECT_DENY: Effect.DENY,
    pb.EFFECT_PERMIT: Effect.PERMIT,
}
_CAUSES: Final = {
    number: Cause(number) for number in pb.Cause.values() if number != pb.CAUSE_UNSPECIFIED
}
# At run time an enum value is a plain int; the stubs want it dressed.
_CAUSE_NUMBERS: Final = {cause: cast("pb.Cause", number) for number, cause in _CAUSES.items()}
# The only cause that a permit can have.
_PERMITTING: Final = Cause.RULE


def request_to_pb(request: Request) -> pb.AuthorizeRequest:
    """Encode a question.

    Raises:
        InvalidRequestError: a required field is empty, or a value cannot be
            encoded (see `value_to_pb`).
    """
    out = pb.AuthorizeRequest(
        request_id=_encoded("request_id", request.request_id),
        tenant=_encoded("tenant", request.tenant, required=False),
        subject_token=_encoded("subject_token", request.subject_token, required=False),
        explain=request.explain,
    )
    subject, action, resource = request.subject, request.action, request.resource
    out.subject.type = _encoded("subject.type", subject.type)
    out.subject.id = _encoded("subject.id", subject.id)
    map_to_pb(subject.properties, out.subject.properties, "subject.properties")
    out.action.name = _encoded("action.name", action.name)
    map_to_pb(action.properties, out.action.properties, "action.properties")
    out.resource.type = _encoded("resource.type", resource.type)
    out.resource.id = _encoded("resource.id", resource.id)
    map_to_pb(resource.properties, out.resource.properties, "resource.properties")
    map_to_pb(request.context, out.context, "context")
    return out


def parse_request(message: bytes) -> Request:
    """Decode a question from the bytes as received.

    Fields that this version does not know are refused. Skipping them, as
    protobuf does by itself, would answer another question than the caller
    asked: a part that narrows it would be dropped.

    Raises:
        InvalidRequestError: not an `AuthorizeRequest`, unknown fields, or as
            `request_from_pb`.
    """
    return request_from_pb(_parsed(message))


def _parsed(message: bytes) -> pb.AuthorizeRequest:
    """The message, every field of it known."""
    try:
        parsed = pb.AuthorizeRequest.FromString(message)
    except (DecodeError, UnicodeDecodeError):
        # The parser's own words tell nothing that a caller could act on.
        raise InvalidRequestError("request", "is not a `pdp.v1.AuthorizeRequest` message") from None
    # ByteSize counts unknown fields; this way the search runs at C speed.
    size = parsed.ByteSize()
    parsed.DiscardUnknownFields()
    if parsed.ByteSize() != size:
        raise InvalidRequestError(
            "request", "has fields that this version of the decision point does not know"
        )
    return parsed


def admit_message(message: bytes, caller: Caller, limits: InputLimits) -> Admitted:
    """What `boundary.admit(parse_request(message), caller, limits)` makes, in one pass.

    A message that is short enough can exceed no limit on sums, and what came
    out of the decoder is plain and nobody else's; so values are judged while
    they are decoded, and copied once. Whatever is out of the ordinary goes the
    long way, which says what is wrong.

    Args:
        message: as received; trusted in nothing.
        caller: already verified.
        limits: what it may be at most.

    Raises:
        InvalidRequestError: as `parse_request` and `boundary.admit`.
    """
    if boundary.fits(len(message), limits):
        try:
            request = _request(_parsed(message), limits.depth_max, finite=True)
            return boundary.admit_decoded(request, caller, len(message), limits)
        except InvalidRequestError:
            pass
    return boundary.admit(parse_request(message), caller, limits)


def request_from_pb(message: pb.AuthorizeRequest) -> Request:
    """Decode a question: structure and required fields. It does not replace `boundary.admit`.

    Raises:
        InvalidRequestError: with the path of the first offending field.
    """
    return _request(message, LEVELS_MAX, finite=False)


def _request(message: pb.AuthorizeRequest, levels: int, *, finite: bool) -> Request:
    subject, action, resource = message.subject, message.action, message.resource
    return Request(
        subject=Subject(
            _required("subject.type", subject.type),
            _required("subject.id", subject.id),
            map_from_pb(subject.properties, "subject.properties", levels, finite=finite),
        ),
        action=Action(
            _required("action.name", action.name),
            map_from_pb(action.properties, "action.properties", levels, finite=finite),
        ),
        resource=Resource(
            _required("resource.type", resource.type),
            _required("resource.id", resource.id),
            map_from_pb(resource.properties, "resource.properties", levels, finite=finite),
        ),
        context=map_from_pb(message.context, "context", levels, finite=finite),
        tenant=message.tenant,
        request_id=_required("request_id", message.request_id),
        subject_token=message.subject_token,
        explain=message.explain,
    )


def decision_to_pb(
    decision: Decision, request_id: str, request_digest: bytes, invalid: str = ""
) -> pb.AuthorizeResponse:
    """Encode an answer.

    Args:
        decision: what the decision point answered.
        request_id: as the request had it.
        request_digest: SHA-256 of the request message as received.
        invalid: what was wrong with the request, where it was one of several.

    Raises:
        InvalidRequestError: an obligation cannot be encoded; a bundle that was
            loaded has none of that kind.
        KeyError: a client's cause, which does not cross the wire.
    """
    bundle, record = decision.bundle, decision.record
    out = pb.AuthorizeResponse(
        request_id=request_id,
        request_digest=request_digest,
        effect=pb.EFFECT_PERMIT if decision.effect is Effect.PERMIT else pb.EFFECT_DENY,
        cause=_CAUSE_NUMBERS[decision.cause],
        decision_id=decision.decision_id,
        rules=decision.rules,
        bundle=None if bundle is None else bundle_to_pb(bundle),
        record=None
        if record is None
        else {"pdp_id": record.pdp_id, "seq": record.seq, "hash": record.hash},
        schema_violation=decision.schema_violation,
        invalid=invalid,
    )
    for obligation in decision.obligations:
        obligation_to_pb(obligation, out.obligations.add())
    for item in decision.advice:
        obligation_to_pb(item, out.advice.add())
    for reason in decision.reason_user:
        out.reason_user.add(rule=reason.rule, text=reason.text)
    for reason in decision.reason_admin:
        out.reason_admin.add(rule=reason.rule, text=reason.text)
    if decision.explanation is not None:
        explanation_to_pb(decision.explanation, out.explanation)
    if decision.lease is not None:
        out.lease_until.FromNanoseconds(decision.lease.until_ns)
        out.decided_at.FromNanoseconds(decision.lease.decided_ns)
    return out


def decision_from_pb(message: pb.AuthorizeResponse) -> Decision:
    """Decode an answer, strictly. That it answers *this* request is the client's to check.

    An unknown effect or cause, an obligation or advice without id or type or with
    a value that has no meaning here, a reason that is no rule's, a permit for
    another cause than RULE, a permit without record, bundle, rule or decision id:
    none is believed.
    Unknown fields are skipped: what a client must understand comes as an
    obligation, so that a newer decision point may say more. An explanation
    that cannot be read is left out, since it decides nothing.

    Raises:
        AnswerError: with the path of the first offending field.
    """
    effect = _EFFECTS.get(message.effect)
    if effect is None:
        raise AnswerError("effect", f"is unknown: {message.effect}")
    cause = _CAUSES.get(message.cause)
    if cause is None:
        raise AnswerError("cause", f"is unknown: {message.cause}")
    decision = Decision(
        effect=effect,
        cause=cause,
        rules=tuple(message.rules),
        obligations=tuple(
            _obligation_from_pb(item, f"obligations[{index}]")
            for index, item in enumerate(message.obligations)
        ),
        decision_id=message.decision_id,
        bundle=_bundle_from_pb(message),
        record=_record_from_pb(message),
        advice=tuple(
            _obligation_from_pb(item, f"advice[{index}]")
            for index, item in enumerate(message.advice)
        ),
        reason_user=_reasons_from_pb(message.reason_user, "reason_user"),
        reason_admin=_reasons_from_pb(message.reason_admin, "reason_admin"),
        schema_violation=message.schema_violation,
        explanation=(
            explanation_from_pb(message.explanation) if message.HasField("explanation") else None
        ),
        lease=_lease_from_pb(message) if effect is Effect.PERMIT else None,
    )
    if effect is Effect.PERMIT:
        _check_permit(decision)
    return decision


def _lease_from_pb(message: pb.AuthorizeResponse) -> Lease | None:
    """None, too, where it makes no sense: who has no lease asks again."""
    if not message.HasField("lease_until") or not message.HasField("decided_at"):
        return None
    until, decided = message.lease_until, message.decided_at
    if max(until.nanos, decided.nanos) >= NANOS or min(until.nanos, decided.nanos) < 0:
        return None
    lease = Lease(until.seconds * NANOS + until.nanos, decided.seconds * NANOS + decided.nanos)
    return lease if lease.until_ns > lease.decided_ns else None


def _check_permit(decision: Decision) -> None:
    """What every permit carries: the decision point cannot make one without."""
    if decision.cause is not _PERMITTING:
        raise AnswerError("cause", f"cannot permit: {decision.cause.name}")
    for field in ("rules", "decision_id", "bundle", "record"):
        if not getattr(decision, field):
            raise AnswerError(field, "is missing from a permit")


def _obligation_from_pb(message: pb.Obligation, path: str) -> Obligation:
    for field in ("id", "type"):
        if not getattr(message, field):
            raise AnswerError(f"{path}.{field}", "is required")
    try:
        properties = map_from_pb(message.properties, f"{path}.properties")
    except InvalidRequestError as error:
        raise AnswerError(error.field, error.reason) from None
    return Obligation(message.id, message.type, properties)


def _reasons_from_pb(reasons: Iterable[pb.Reason], path: str) -> tuple[Reason, ...]:
    found = tuple(Reason(item.rule, item.text) for item in reasons)
    for index, reason in enumerate(found):
        if not reason.rule or not reason.text:
            raise AnswerError(f"{path}[{index}]", "names no rule, or says nothing")
    return found


def _bundle_from_pb(message: pb.AuthorizeResponse) -> BundleRef | None:
    if not message.HasField("bundle"):
        return None
    _check_digest("bundle.digest", message.bundle.digest)
    return BundleRef(message.bundle.revision, message.bundle.digest)


def _record_from_pb(message: pb.AuthorizeResponse) -> RecordRef | None:
    if not message.HasField("record"):
        return None
    record = message.record
    if not record.pdp_id or not record.seq:
        raise AnswerError("record", "names no record: pdp_id and seq are required")
    _check_digest("record.hash", record.hash)
    return RecordRef(record.pdp_id, record.seq, record.hash)


def _check_digest(field: str, digest: bytes) -> None:
    if len(digest) != DIGEST_BYTES:
        raise AnswerError(field, f"is not {DIGEST_BYTES} bytes long")


def _required(path: str, text: str) -> str:
    if not text:
        raise InvalidRequestError(path, "is required")
    return text


def _encoded(path: str, text: object, *, required: bool = True) -> str:
    try:
        found = text_bytes(text)
    except InvalidRequestError as error:
        raise error.below(path) from None
    return _required(path, found) if required else found
