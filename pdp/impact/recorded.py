"""From a record to the question that was asked, or to why it cannot be asked again.

With `capture: full` a record holds the request. With `capture: attributes` it
holds what the candidate rules of the bundle that decided read: enough for
those rules, and for others only as far as they read no more. What was read and
was absent is not in the record, so an attribute that is not there was absent
only if the bundle that decided is known to have looked for it.

A question that has a gap where a rule would look is not asked: a guess in
its place would say "no difference" where there is one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pdp.audit.batch_entry import single_entries
from pdp.audit.log import Opened
from pdp.boundary import Admitted, InputLimits, admit
from pdp.errors import InvalidRequestError
from pdp.explaining import RULE_CAUSES, written
from pdp.impact.edition import Edition
from pdp.impact.question import Question
from pdp.model import Action, BundleRef, Caller, Cause, Effect, Request, Resource, Subject
from pdp.schema import ANY, Target
from pdp.v1 import audit_pb2
from pdp.v1 import authorization_pb2 as pb
from pdp.value_codec import map_from_pb
from pdp.values import Timestamp, Value
from pdp.wire import parse_request

Path = tuple[str, ...]
_BY_RULES = frozenset(cause.value for cause in RULE_CAUSES)

# Named in every record, or the same for every request.
_ALWAYS = frozenset(
    {"subject.type", "subject.id", "action.name", "resource.type", "resource.id", "caller"}
    | {"caller.id", "caller.trust_domain", "caller.path", "token", "now"}
)
_PARTS = ("subject.properties", "action.properties", "resource.properties", "context")
_PART_OF = {
    Target.SUBJECT: "subject.properties",
    Target.ACTION: "action.properties",
    Target.RESOURCE: "resource.properties",
    Target.CONTEXT: "context",
}
# Keys are written in full up to here; longer ones may look alike in a record (`pdp.errors.member`).
_STEP_CHARACTERS_MAX = 64
# Before a rule or a schema is looked at, nothing of a request is read but names.
_BEFORE_ATTRIBUTES = frozenset({Cause.CALLER, Cause.IDENTITY})


@dataclass(frozen=True, slots=True)
class Unplayable:
    """Why a record is not asked again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision that was recorded.

    Attributes:
        question: what was asked, with the attributes that are known.
        known: recorded attributes by path; None: all of the request is there.
        answer: effect, cause and rules as recorded.
        bundle: that decided.
    """

    question: Question
    known: Mapping[str, Value] | None
    answer: tuple[Effect, int, tuple[str, ...]]
    bundle: BundleRef


def read_record(record: Opened) -> list[Recorded | Unplayable]:
    """What a record says was asked: nothing, one question, or those of a batch."""
    if record.body == "suppressed_denials":
        return [Unplayable("denials that were counted, not recorded one by one")]
    if record.body != "decision":
        return []
    return [_read(entry, record.time_ns) for entry in single_entries(record.message.decision)]


def _read(entry: audit_pb2.DecisionRecord, time_ns: int) -> Recorded | Unplayable:
    answer = (
        Effect.PERMIT if entry.effect == pb.EFFECT_PERMIT else Effect.DENY,
        int(entry.cause),
        tuple(entry.rules),
    )
    bundle = BundleRef(entry.bundle.revision, entry.bundle.digest)
    caller = Caller(entry.caller.spiffe_id, entry.caller.serial, entry.caller.peer)
    if entry.cause == pb.CAUSE_INVALID:
        return Unplayable("the request was refused as malformed")
    if entry.HasField("http") and not entry.subject.type:
        return Unplayable("an HTTP request of which the bundle made no question")
    if entry.subject.issuer:
        # Asked again without it, the rules would look at other facts, and the caller policy too.
        return Unplayable("the subject was proved by a token, which records do not hold")
    if entry.providers:
        return Unplayable("providers said some of what was decided about")
    try:
        known = map_from_pb(entry.attributes, "attributes")
        now = known.get("now")
        now_ns = now.ns if isinstance(now, Timestamp) else time_ns
        if entry.request:
            return Recorded(_whole(entry, caller, now_ns), None, answer, bundle)
    except InvalidRequestError as error:
        return Unplayable(f"what was recorded cannot be read: {error}")
    if entry.truncated:
        return Unplayable("the record was too large, and keeps a digest of the attributes only")
    return Recorded(Question(_names(entry), caller, now_ns), known, answer, bundle)


def _whole(entry: audit_pb2.DecisionRecord, caller: Caller, now_ns: int) -> Question:
    if hashlib.sha256(entry.request).digest() != entry.request_digest:
        raise InvalidRequestError("request", "is not the one whose digest was recorded")
    return Question(parse_request(entry.request), caller, now_ns)


def _names(entry: audit_pb2.DecisionRecord) -> Request:
    """The request without its properties."""
    return Request(
        Subject(entry.subject.type, entry.subject.id),
        Action(entry.action),
        Resource(entry.resource_type, entry.resource_id),
        tenant=entry.tenant,
        request_id=entry.request_id,
    )


def fill(
    recorded: Recorded, editions: Iterable[Edition], deciding: Edition | None
) -> Question | Unplayable:
    """The question, if nothing that any of the editions would look at is unknown.

    Args:
        recorded: as read.
        editions: those that are going to be asked.
        deciding: the one among them that decided it, if one is known to have.
    """
    if recorded.known is None:
        return recorded.question
    question = recorded.question
    try:
        bare = admit(question.request, question.caller, InputLimits())
        searched: frozenset[Path] = frozenset()
        # What was denied before the rules has a record without attributes.
        if deciding is not None and recorded.answer[1] in _BY_RULES:
            searched = reads(deciding, bare, question)
        wanted = frozenset().union(*(reads(edition, bare, question) for edition in editions))
    except InvalidRequestError as error:
        return Unplayable(refusal(error, question))
    properties: dict[str, Any] = {}
    for path in sorted(wanted):
        if written(path) in _ALWAYS or path[0] in _ALWAYS:
            continue
        found = _known(path, recorded.known)
        if found is not None:
            _put(properties, found, recorded.known[written(found)])
        elif not any(path[:n] in searched for n in range(1, len(path) + 1)):
            return Unplayable(f"attribute `{written(path)}` was not recorded")
    return replace(question, request=_filled(question.request, properties))


def refusal(error: InvalidRequestError, question: Question) -> str:
    """Why a PDP with one of the editions would not answer."""
    if error.field == "tenant":
        return f"tenant `{question.request.tenant}` is not there, or not the caller's"
    return f"a PDP would refuse the request as invalid: {error}"


def reads(edition: Edition, bare: Admitted, question: Question) -> frozenset[Path]:
    """The attribute paths that an edition may look at for a request."""
    now_ns = question.now_ns or 0
    decision, _ = edition.decide(bare, question.caller, now_ns)
    if decision.cause in _BEFORE_ATTRIBUTES:
        return frozenset()
    request = bare.request
    names = {
        Target.SUBJECT: (request.subject.type,),
        Target.ACTION: (request.action.name,),
        Target.RESOURCE: (request.resource.type,),
        Target.CONTEXT: (request.resource.type, ANY),
    }
    # A schema looks at all of its part.
    found: set[Path] = {
        (_PART_OF[each.target],) for each in edition.schemas if each.name in names[each.target]
    }
    for rule in edition.policy_set.candidates(request.resource.type, request.action.name, now_ns):
        found |= rule.reads
    return frozenset(found)


def _known(path: Path, known: Mapping[str, Value]) -> Path | None:
    """The beginning of a path under which something was recorded."""
    for length in range(1, len(path) + 1):
        if len(path[length - 1]) > _STEP_CHARACTERS_MAX:
            return None
        if written(path[:length]) in known:
            return path[:length]
    return None


def _put(properties: dict[str, Any], path: Path, value: Value) -> None:
    """Put a value where the path says, unless something above it is there already."""
    steps = written(path[:1]), *path[1:]
    if steps[0] in {"subject", "action", "resource"}:
        # `subject` as a whole, or `subject["properties"]`.
        if len(steps) == 1:
            value = value.get("properties", {}) if isinstance(value, dict) else {}
        steps = (f"{steps[0]}.properties", *steps[2:])
    inner = properties
    for step in steps[:-1]:
        inner = inner.setdefault(step, {})
        if not isinstance(inner, dict):
            return
    inner.setdefault(steps[-1], value)


def _filled(request: Request, properties: Mapping[str, Any]) -> Request:
    subject, action, resource, context = (properties.get(part, {}) for part in _PARTS)
    return replace(
        request,
        subject=replace(request.subject, properties=subject),
        action=replace(request.action, properties=action),
        resource=replace(request.resource, properties=resource),
        context=context,
    )
