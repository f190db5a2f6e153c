"""What a record says about a decision: built here, always small enough to be kept.

A record names who asked what, the attributes that any candidate rule looked
at, and the answer. What does not fit into an entry of the log leaves a digest
behind; who asked what and the answer always fit.
"""

from __future__ import annotations

import enum
import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from pdp.audit.encoded import EncodedAttributes
from pdp.audit.log import ENTRY_BYTES_MAX
from pdp.boundary import Admitted
from pdp.cel.partial import known
from pdp.errors import member
from pdp.fetched import Completion, FetchOutcome
from pdp.model import BundleRef, Caller, Decision, Effect, Request
from pdp.policy import Rule
from pdp.roles import ROLES_PATH
from pdp.subject_token import TOKEN_ROLES, SubjectToken
from pdp.v1 import audit_pb2
from pdp.v1 import authorization_pb2 as pb
from pdp.value_codec import bundle_to_pb, map_to_pb, obligation_to_pb
from pdp.values import Timestamp, Value, canonical

# A request that the boundary refused is recorded too: of any text of it, so much.
_TEXT_CHARACTERS_MAX: Final = 1_024
# The longest text that is believed without looking: SPIFFE IDs are the longest names.
_NAME_BYTES_MAX: Final = 2_048

# The door through which HTTP requests come.
EXT_AUTHZ: Final = "ext_authz"
# Of a provider, so many attributes that it owns and that had no value are named.
_UNUSABLE_MAX: Final = 8

_NOW: Final = "now"
# All of a request, for `capture: full` where there is no message to keep.
_EVERYTHING: Final = frozenset(
    {
        ("subject.properties",),
        ("action.properties",),
        ("resource.properties",),
        ("context",),
    }
)

Path = tuple[str, ...]


class Capture(enum.Enum):
    """How much of a request a record keeps."""

    ATTRIBUTES = "attributes"  # what candidate rules read, and a digest of everything
    FULL = "full"  # the whole request besides, for replay


class Received:
    """A request message as a door received it.

    Attributes:
        message: the bytes.
    """

    __slots__ = ("_digest", "message")

    def __init__(self, message: bytes) -> None:
        self.message = message
        self._digest = b""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the message, which the answer and the record name."""
        if not self._digest:
            self._digest = hashlib.sha256(self.message).digest()
        return self._digest


# Not frozen: one is made for each answer, and a frozen one takes twice as long to make.
@dataclass(slots=True)
class Evidence:
    """What a record says besides the answer. Nobody changes one.

    Attributes:
        request: as asked; trusted in nothing if it was not admitted.
        caller: who asked.
        attributes: by path, what candidate rules read.
        digest: of the whole request; empty if it has no canonical form.
        message: the request message, or empty.
        admitted: whether the boundary admitted the request: its texts are short
            and valid Unicode, as are its caller's.
        token: what was verified; named in the record if it proves the subject.
        http: the HTTP request that a proxy asked about, if it came as one.
        completion: what providers said, if they were asked.
        full: whether all that they said is kept, or a digest of it.
        written: the attributes as fields of a record, in the place of `attributes`.
    """

    request: Request
    caller: Caller
    attributes: Mapping[str, Value]
    digest: bytes
    message: bytes = b""
    admitted: bool = False
    token: SubjectToken | None = None
    http: audit_pb2.HttpFacts | None = None
    completion: Completion | None = None
    full: bool = False
    written: bytes | None = None

    @property
    def is_plain(self) -> bool:
        """Whether a record of it has no more than most have."""
        return (
            self.admitted
            and self.token is None
            and self.http is None
            and self.completion is None
            and not self.message
        )


@dataclass(frozen=True, slots=True)
class BatchEvidence:
    """What is recorded of a batch once, and not for each item.

    Attributes:
        decision_id: of the batch; all its parts have it.
        request_id: of the batch.
        semantic: as on the wire.
        questions: how many there were.
        caller: who asked.
        bundle: what decided the first of them.
        digest: of the whole message; empty if there was none.
    """

    decision_id: str
    request_id: str
    semantic: int
    questions: int
    caller: Caller
    bundle: BundleRef | None
    digest: bytes


def canonical_digest(admitted: Admitted) -> bytes:
    """SHA-256 of the canonical form of a request that came without a door."""
    request, attributes = admitted.request, admitted.sent
    whole: dict[str, Value] = {
        "subject": attributes["subject"],
        "action": attributes["action"],
        "resource": attributes["resource"],
        "context": attributes["context"],
        "tenant": request.tenant,
        "request_id": request.request_id,
        "subject_token": request.subject_token,
    }
    if request.explain:
        whole["explain"] = True
    return hashlib.sha256(canonical(whole)).digest()


def attributes_read(
    rules: Iterable[Rule], attributes: Mapping[str, Value], now_ns: int
) -> dict[str, Value]:
    """The attributes that any of the rules reads, by path; what is absent is left out.

    Where a path ends early, at something that has no members, that is kept: it
    is what the rule met.
    """
    reads = tuple(rule.reads for rule in rules)
    found = attributes_at(_paths(reads), known(attributes), now_ns)
    # Roles are held through the token too; where in it, the policy does not know.
    if TOKEN_ROLES in attributes and any(ROLES_PATH in paths for paths in reads):
        found[TOKEN_ROLES] = attributes[TOKEN_ROLES]
    return found


def all_attributes(attributes: Mapping[str, Value], now_ns: int) -> dict[str, Value]:
    """Every property and the context."""
    return attributes_at(_paths((_EVERYTHING,)), known(attributes), now_ns)


def paths_read(rules: Iterable[Rule]) -> tuple[tuple[Path, str], ...]:
    """What `attributes_read` looks at, where there is no token: paths, and how they are written."""
    return _paths(tuple(rule.reads for rule in rules))


@functools.lru_cache(maxsize=1_024)
def _paths(reads: tuple[frozenset[Path], ...]) -> tuple[tuple[Path, str], ...]:
    """All paths, sorted, without those below another one; each as it is written in a record.

    Kept, because a policy asks for the same few combinations again and again.
    """
    every = frozenset().union(*reads)
    return tuple(
        (path, _written(path))
        for path in sorted(every)
        if not any(path[:n] in every for n in range(1, len(path)))
    )


def attributes_at(
    paths: Iterable[tuple[Path, str]], attributes: Mapping[str, Value], now_ns: int
) -> dict[str, Value]:
    """The attributes at these paths, of `attributes` that are whole."""
    found: dict[str, Value] = {}
    for path, name in paths:
        if name == _NOW:
            found[_NOW] = _moment(now_ns)
            continue
        value: object = attributes
        for length, step in enumerate(path):
            if type(value) is not dict:
                # What the rule met is not what it looked for: kept, under its own path.
                found[_written(path[:length])] = value  # type: ignore[assignment]
                break
            if step not in value:
                break
            value = value[step]
        else:
            found[name] = value  # type: ignore[assignment]
    return found


@functools.lru_cache(maxsize=4)
def _moment(now_ns: int) -> Timestamp:
    """One for all questions of a batch."""
    return Timestamp(now_ns)


def _written(path: Path) -> str:
    return path[0] + "".join(map(member, path[1:]))


def build_entry(
    decision: Decision,
    evidence: Evidence,
    bytes_max: int = ENTRY_BYTES_MAX,
    encoded: EncodedAttributes | None = None,
    batch: BatchEvidence | None = None,
) -> audit_pb2.DecisionRecord:
    """The record of a decision, at most `bytes_max` bytes, of which half of the default will do.

    Args:
        decision: the answer.
        evidence: what it was made from.
        bytes_max: as said.
        encoded: attributes that were written before.
        batch: what it is part of, if it is: then the caller is left out, and its bundle.

    Raises:
        InvalidRequestError: an attribute or obligation has no encoding; what
            the boundary admitted, or a bundle was loaded with, always has one.
    """
    request = evidence.request
    text = _same if evidence.admitted else _text
    bundle = decision.bundle
    if batch is not None and bundle == batch.bundle:
        bundle = None
    entry = audit_pb2.DecisionRecord(
        decision_id=decision.decision_id,
        request_id=text(request.request_id),
        tenant=text(request.tenant),
        caller=None if batch else caller_ref(evidence.caller),
        subject={"type": text(request.subject.type), "id": text(request.subject.id)},
        action=text(request.action.name),
        resource_type=text(request.resource.type),
        resource_id=text(request.resource.id),
        request_digest=evidence.digest,
        request=evidence.message,
        effect=pb.EFFECT_PERMIT if decision.effect is Effect.PERMIT else pb.EFFECT_DENY,
        # The model's numbers are the wire's.
        cause=cast("pb.Cause", decision.cause.value),
        rules=decision.rules,
        bundle=None if bundle is None else bundle_to_pb(bundle),
        # Bounded by `pdp.schema_check`.
        schema_violation=decision.schema_violation,
    )
    token = evidence.token
    if token is not None and token.proves(request.subject):
        # Which credential, never the credential.
        entry.subject.issuer, entry.subject.jti = token.issuer, token.jti
    if evidence.http is not None:
        entry.door = EXT_AUTHZ
        entry.http.CopyFrom(evidence.http)
    if evidence.written is not None:
        entry.MergeFromString(evidence.written)
    elif encoded is None:
        map_to_pb(evidence.attributes, entry.attributes, "attributes")
    else:
        encoded.write(evidence.attributes, entry)
    if evidence.completion is not None:
        _say_fetched(evidence.completion, entry, full=evidence.full)
    for obligation in decision.obligations:
        obligation_to_pb(obligation, entry.obligations.add())
    # Reasons are not written down: rule and bundle say what they were.
    for item in decision.advice:
        obligation_to_pb(item, entry.advice.add())
    if decision.lease is not None:
        entry.lease_until.FromNanoseconds(decision.lease.until_ns)
    if entry.ByteSize() > bytes_max:
        _shorten(entry, bytes_max)
    return entry


def _say_fetched(completion: Completion, entry: audit_pb2.DecisionRecord, *, full: bool) -> None:
    """Which providers were asked, what came of it, and how what they said can be compared."""
    for fetched in completion.fetched:
        answer = entry.providers.add(
            provider=fetched.provider,
            outcome=cast("audit_pb2.ProviderAnswer.Outcome", fetched.outcome.value),
            cached=fetched.cached,
        )
        if fetched.outcome is FetchOutcome.FETCHED:
            answer.values_digest = hashlib.sha256(canonical(dict(fetched.values))).digest()
    answers = {answer.provider: answer for answer in entry.providers}
    for path, name in sorted(completion.owners.items()):
        if path in completion.unusable and name in answers:
            paths = answers[name].unusable
            if len(paths) < _UNUSABLE_MAX:
                paths.append(path)
    if full:
        map_to_pb(completion.values, entry.fetched, "fetched")


@functools.lru_cache(maxsize=1_024)
def caller_ref(caller: Caller) -> audit_pb2.CallerRef:
    """The same few ask again and again. INVARIANT: nobody changes it; messages copy it."""
    return audit_pb2.CallerRef(
        spiffe_id=_text(caller.spiffe_id), serial=_text(caller.serial), peer=_text(caller.peer)
    )


def _shorten(entry: audit_pb2.DecisionRecord, bytes_max: int) -> None:
    """Leave out the largest parts first, until it fits; a digest of them stays.

    The order is by what an investigator misses least: the message has a digest of its
    own, then attributes, obligations and advice, then the names of rules, then what
    providers were asked. The rest is a dozen names of at most 2 KiB, which fits.
    """
    left_out = audit_pb2.DecisionRecord()
    entry.truncated = True
    for fields in (
        ("request",),
        ("attributes", "obligations", "advice", "fetched"),
        ("rules",),
        ("providers",),
    ):
        for field in fields:
            part = audit_pb2.DecisionRecord()
            part.CopyFrom(entry)
            for descriptor, _ in part.ListFields():
                if descriptor.name != field:
                    part.ClearField(descriptor.name)
            left_out.MergeFrom(part)
            entry.ClearField(field)
        entry.attributes_digest = hashlib.sha256(
            left_out.SerializeToString(deterministic=True)
        ).digest()
        if entry.ByteSize() <= bytes_max:
            return


def _same(value: str) -> str:
    """Text of a request that the boundary admitted."""
    return value


def _text(value: str) -> str:
    """Text for a record, also of a request that the boundary refused."""
    if type(value) is str and value.isascii() and len(value) <= _NAME_BYTES_MAX:
        return value
    if not isinstance(value, str):
        return ""
    # Half a character of UTF-16 has no encoding; U+FFFD marks where it was.
    return value[:_TEXT_CHARACTERS_MAX].encode("utf-8", "replace").decode()
