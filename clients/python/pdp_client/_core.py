"""The failure policy of the client: what is asked, how often, and what may be believed.

What this file may not know: sockets, gRPC, clocks, threads, event loops. Time
comes in as numbers; bytes and statuses come in as an `Outcome`. So the whole policy can be tested
by calling functions, and the two drivers (`sync.py`, `aio.py`) cannot differ
in anything that matters.

The promise: `authorize` returns a `Decision`, or the process or the task is
ending. It is a permit only if `conclude` below went through every one of its
steps. There is no option that makes a failure a permit.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from google.protobuf.message import DecodeError

from pdp.errors import AnswerError, InvalidRequestError
from pdp.model import Cause, Decision, Effect, Request, deny
from pdp.v1 import authorization_pb2 as pb
from pdp.wire import decision_from_pb, request_to_pb
from pdp_client._arguments import check_weight
from pdp_client._breaker import Evidence

# A call that was given less and ran out of it says nothing about the PDP: who
# has a slow client at the other end has short remainders, and must not be able
# to open the breaker for everybody else.
FAIR_BUDGET_S: Final = 0.1
REQUEST_BYTES_MAX: Final = 1_048_576
RESPONSE_BYTES_MAX: Final = 262_144  # names of rules and obligations; the rest is fixed size
REASON_CHARACTERS_MAX: Final = 300


class Status(enum.IntEnum):
    """The status codes of gRPC, by their numbers on the wire."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


# What an answer is parsed as.
Answer = TypeVar("Answer", pb.AuthorizeResponse, pb.AuthorizeBatchResponse)

# Which cause a failed call is denied for. A status that is not here, known to
# gRPC or not, is UNREACHABLE: nobody decided.
CAUSE_OF_STATUS: Final[Mapping[int, Cause]] = {
    Status.INVALID_ARGUMENT: Cause.INVALID,
    Status.UNAUTHENTICATED: Cause.CALLER,
    Status.PERMISSION_DENIED: Cause.CALLER,
    # Something answers at that address, but it is not a PDP of our protocol.
    Status.UNIMPLEMENTED: Cause.UNUSABLE,
}

# The denials that no PDP makes. All others are answers, whatever status they came with.
_OF_THE_CLIENT: Final = frozenset({Cause.UNREACHABLE, Cause.UNUSABLE})


class AccessDenied(Exception):  # noqa: N818 a denial is an answer, not an error
    """`enforce` met a denial.

    Not a `PdpError`: nothing went wrong. Not a `PermissionError` either: that is
    an `OSError`, and code that retries or ignores those must not meet it.

    Attributes:
        decision: the denial.
        reason: why, where the client itself denied; empty where the PDP did.
    """

    def __init__(self, decision: Decision, reason: str = "") -> None:
        self.decision = decision
        self.reason = reason
        rules = f" by {', '.join(decision.rules)}" if decision.rules else ""
        why = f": {reason}" if reason else ""
        super().__init__(f"access denied ({decision.cause.name}{rules}){why}")

    def __reduce__(self) -> tuple[type[AccessDenied], tuple[Decision, str]]:
        return type(self), (self.decision, self.reason)


class Refusal(Exception):  # noqa: N818 never leaves the client: becomes a denial
    """A step of the policy said no.

    Attributes:
        cause: what the denial is for.
        reason: why, in words.
        evidence: what it says about the PDP, for the breaker.
    """

    def __init__(self, cause: Cause, reason: str, evidence: Evidence = Evidence.NEITHER) -> None:
        self.cause = cause
        self.reason = reason
        self.evidence = evidence
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Call:
    """One question on its way. All attempts send these same bytes.

    Attributes:
        message: the serialised request: what is sent is what was hashed.
        digest: SHA-256 of `message`.
        request_id: to be found in the answer.
        deadline: seconds on the driver's monotonic clock, for all attempts together.
        fair: whether a PDP that works can be expected to answer in the time given.
    """

    message: bytes
    digest: bytes
    request_id: str
    deadline: float
    fair: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt ended.

    Attributes:
        status: a gRPC status code.
        message: the bytes of the answer; None if there were none.
        detail: the peer's words. Trusted in nothing, bounded before it is shown.
        at: when it ended, seconds on the driver's monotonic clock.
        pushback: the values of the header `grpc-retry-pushback-ms`, as they came.
        said: another call ended by the same event, and has said what it says about the PDP.
    """

    status: int
    message: bytes | None
    detail: str
    at: float
    pushback: tuple[str, ...] = ()
    said: bool = False


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A decision, and why if it was the client that denied.

    Attributes:
        decision: the answer.
        reason: empty where the PDP decided.
        unexpected: what no step of the policy raises: a bug, here or in a
            mapping of the calling program. Kept so that it can be logged.
        evidence: what the call says about the PDP, for the breaker.
    """

    decision: Decision
    reason: str = ""
    unexpected: Exception | None = None
    evidence: Evidence = Evidence.ANSWERED


def begin(request: Request, started: float, budget_s: float) -> Call:
    """Encode a question.

    Raises:
        Refusal, InvalidRequestError: it cannot be asked. Whatever else a
            hostile mapping raises while it is read is a denial as well (`denial`).
    """
    check_budget(budget_s)
    return call_of(encoded(request), request.request_id, started, budget_s)


def check_budget(budget_s: float) -> None:
    """Refuse to ask in no time."""
    if not budget_s > 0:
        raise Refusal(Cause.UNREACHABLE, "no time was left to ask")


def encoded(request: Request) -> bytes:
    """The message of one question.

    Raises:
        InvalidRequestError: it cannot be asked; or as `begin`.
    """
    check_weight(request)
    message = request_to_pb(request).SerializeToString()
    if len(message) > REQUEST_BYTES_MAX:
        raise InvalidRequestError("request", f"is larger than {REQUEST_BYTES_MAX} bytes")
    return message


def call_of(message: bytes, request_id: str, started: float, budget_s: float) -> Call:
    """A call that sends these bytes."""
    return Call(
        message=message,
        digest=hashlib.sha256(message).digest(),
        request_id=request_id,
        deadline=started + budget_s,
        fair=budget_s >= FAIR_BUDGET_S,
    )


def conclude(call: Call, outcome: Outcome, can_meet: Collection[tuple[str, str]]) -> Decision:
    """The decision that this outcome is: the PDP's, or an exception that means DENY.

    The steps, each able to refuse and none to repair:

    (1) the call ended with status OK;
    (2) within the budget: a permit for a moment that has passed is none;
    (3) with a message, of bounded size, of our protocol;
    (4) that answers this request id: answers may be mixed up;
    (5) and these very bytes: on the way the question may have been changed;
    (6) with an effect, a cause and obligations that we know, and if it
        permits, for a rule, from a bundle, with a record (`pdp.wire`);
    (7) and obligations that the calling program has declared it can meet.

    Left out on purpose: the PDP's signature on the answer (TLS protects it),
    and the bundle's revision (any bundle that the PDP holds fresh is good).

    Raises:
        Refusal, AnswerError: a step said no.
    """
    answer = matched(call, outcome, pb.AuthorizeResponse, RESPONSE_BYTES_MAX)  # (1) to (5)
    decision = decision_from_pb(answer)  # (6)
    check_obligations(decision, can_meet)  # (7)
    return decision


def matched(call: Call, outcome: Outcome, kind: type[Answer], bytes_max: int) -> Answer:
    """Steps 1 to 5 of `conclude`: a message that came in time, to this very question.

    Raises:
        Refusal: a step said no.
    """
    _check_status(call, outcome)  # (1)
    _check_in_time(call, outcome)  # (2)
    answer = _parse(outcome.message, kind, bytes_max)  # (3)
    _check_request_id(call, answer)  # (4)
    _check_request_digest(call, answer)  # (5)
    return answer


def _check_status(call: Call, outcome: Outcome) -> None:
    if outcome.status == Status.OK:
        return
    try:
        name = Status(outcome.status).name
    except ValueError:
        name = "an unknown status"
    detail = f": {outcome.detail}" if outcome.detail else ""
    cause = CAUSE_OF_STATUS.get(outcome.status, Cause.UNREACHABLE)
    if cause not in _OF_THE_CLIENT:
        evidence = Evidence.ANSWERED
    elif outcome.status == Status.DEADLINE_EXCEEDED:
        evidence = _out_of_time(call)
    else:
        evidence = Evidence.FAILED
    raise Refusal(cause, f"the call ended with {name}{detail}", evidence)


def _out_of_time(call: Call) -> Evidence:
    return Evidence.FAILED if call.fair else Evidence.NEITHER


def _check_in_time(call: Call, outcome: Outcome) -> None:
    # Written so that a clock that is not a number is late.
    if not outcome.at <= call.deadline:
        raise Refusal(
            Cause.UNREACHABLE, "the answer came after the budget was spent", _out_of_time(call)
        )


def _parse(message: bytes | None, kind: type[Answer], bytes_max: int) -> Answer:
    if message is None:
        raise unusable("the call ended well but brought no answer")
    if len(message) > bytes_max:
        raise unusable(f"the answer is larger than {bytes_max} bytes")
    try:
        return kind.FromString(message)
    except (DecodeError, UnicodeDecodeError):
        raise unusable("the answer is not a message of this protocol") from None


def unusable(reason: str) -> Refusal:
    """The answer cannot be used."""
    return Refusal(Cause.UNUSABLE, reason, Evidence.FAILED)


def _check_request_id(call: Call, answer: Answer) -> None:
    if answer.request_id != call.request_id:
        raise unusable("the answer is to another request id")


def _check_request_digest(call: Call, answer: Answer) -> None:
    if answer.request_digest != call.digest:
        raise unusable("the answer is to other bytes than were sent")


def check_obligations(decision: Decision, can_meet: Collection[tuple[str, str]]) -> None:
    """Refuse a permit with a duty that the calling program has not declared.

    Raises:
        Refusal: there is one.
    """
    if decision.effect is not Effect.PERMIT:
        return
    for obligation in decision.obligations:
        if (obligation.type, obligation.id) not in can_meet:
            raise Refusal(
                Cause.UNUSABLE,
                f"the permit obliges to `{obligation.type}` `{obligation.id}`, which this client"
                " has not declared in `can_meet`",
                Evidence.ANSWERED,
            )


def denial(error: Exception, *, asked: bool) -> Conclusion:
    """The denial that an exception is.

    Args:
        error: anything.
        asked: whether the question had been encoded. Before that, what went
            wrong is in the question; after it, in the answer.
    """
    if isinstance(error, Refusal):
        return Conclusion(deny(error.cause), shown(error.reason), evidence=error.evidence)
    if isinstance(error, InvalidRequestError):
        reason = shown(f"the request cannot be asked: {error}")
        return Conclusion(deny(Cause.INVALID), reason, evidence=Evidence.NEITHER)
    if isinstance(error, AnswerError):
        reason = shown(f"the answer cannot be used: {error}")
        return Conclusion(deny(Cause.UNUSABLE), reason, evidence=Evidence.FAILED)
    cause = Cause.UNUSABLE if asked else Cause.INVALID
    evidence = Evidence.FAILED if asked else Evidence.NEITHER
    # Not its words: they may hold attributes, and asking for them may raise.
    return Conclusion(deny(cause), f"unexpected {type(error).__name__}", error, evidence)


def shown(text: str) -> str:
    """Text of a peer, safe for a log line: printable, one line, bounded."""
    cut = text[:REASON_CHARACTERS_MAX]
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
