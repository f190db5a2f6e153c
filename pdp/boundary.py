"""The trust boundary of input: the one place where a request's values are judged.

Before this, nothing has been looked at; after this, every value is a plain
`Value` within depth, size, integer range, finite and valid Unicode. Law ring:
pure. The limits' precedents: JSON parsers stop at depths of 32 to 512
(cel-cpp's own parser at 32); Zanzibar and Cerbos requests are a few KiB; gRPC
refuses messages over 4 MiB by default, and an authorization question is not a
document.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pdp.errors import ConfigurationError, InvalidRequestError, member
from pdp.fetched import Completion
from pdp.model import Caller, Request
from pdp.parts import Parts, names_of
from pdp.subject_token import TOKEN, TOKEN_ROLES, SubjectToken
from pdp.values import (
    DURATION_SECONDS_MAX,
    INT64_MAX,
    INT64_MIN,
    NANOS,
    TIMESTAMP_SECONDS_MAX,
    TIMESTAMP_SECONDS_MIN,
    UINT64_MAX,
    Duration,
    Timestamp,
    Uint,
    Value,
)

# Levels of lists and maps, `properties` or `context` being the first. Protobuf's
# parsers stop at 100 levels of messages and a map in a map takes three: 33 in
# all (`pdp.value_codec`). A record may hold the whole subject, which adds two,
# and a batch of records another message; so that nothing is admitted that
# could not be recorded and read back, 30.
DEPTH_MAX = 30
# Of a value in a list or a map: its tag and its length. What is in it comes on top.
_ENCODED_VALUE_BYTES_MIN = 2
_CHARACTER_BYTES_MAX = 4  # UTF-8


@dataclass(frozen=True, slots=True)
class InputLimits:
    """What a request may be at most. Units are in the names."""

    depth_max: int = DEPTH_MAX  # levels of lists and maps, `properties` or `context` included
    values_max: int = 10_000  # values in one request, containers included
    text_bytes_max: int = 262_144  # all strings and bytes of one request together
    name_bytes_max: int = 1_024  # a type, id, action name, tenant or request id
    token_bytes_max: int = 16_384  # references: JWT size limit

    def __post_init__(self) -> None:
        """Judge.

        Raises:
            ConfigurationError: a limit that admits nothing, or more than can be recorded.
        """
        for limit in fields(self):
            if getattr(self, limit.name) < 1:
                raise ConfigurationError(f"`{limit.name}` must be at least 1")
        if self.depth_max > DEPTH_MAX:
            raise ConfigurationError(f"`depth_max` is at most {DEPTH_MAX}: see `pdp.boundary`")


@dataclass(frozen=True)
class Admitted:
    """A request that passed the boundary, and the names a condition sees.

    INVARIANT: made by `admit` only, and from another by `with_token` and by
    `pdp.provided`. Nothing behind the boundary looks at a bare `Request`.

    Attributes:
        request: what was asked.
        attributes: what conditions see.
        token: what the request's subject token proves, verified; None: there
            is none, or it proves nothing.
        completion: how `attributes` were completed by what providers said; None:
            they are the caller's own.
        parts: what the caller's own were made of, where others may share it.
    """

    request: Request
    attributes: Mapping[str, Value]
    token: SubjectToken | None = None
    completion: Completion | None = None
    parts: Parts | None = field(default=None, compare=False, repr=False)

    # As `Decision`, and for the same reason. INVARIANT: sets every field.
    def __init__(
        self,
        request: Request,
        attributes: Mapping[str, Value],
        token: SubjectToken | None = None,
        completion: Completion | None = None,
        parts: Parts | None = None,
    ) -> None:
        made = self.__dict__
        made["request"] = request
        made["attributes"] = attributes
        made["token"] = token
        made["completion"] = completion
        made["parts"] = parts

    @property
    def sent(self) -> Mapping[str, Value]:
        """The attributes as the caller sent them."""
        return self.attributes if self.completion is None else self.completion.sent


def with_token(admitted: Admitted, token: SubjectToken) -> Admitted:
    """The same request beside what its token proves: the claims are `token`, and list roles.

    INVARIANT: only what was verified gets here. Whether it is about the subject
    of the request is not looked at here, but by `pdp.admission`.
    """
    found = {**admitted.attributes, TOKEN: dict(token.claims)}
    if token.roles is not None:
        found[TOKEN_ROLES] = token.listed_roles()
    return Admitted(admitted.request, found, token, admitted.completion, admitted.parts)


class _Intake:
    """Judges values and keeps the sums of one request."""

    __slots__ = ("depth_max", "text_left", "values_left")

    def __init__(self, limits: InputLimits) -> None:
        self.depth_max = limits.depth_max
        self.values_left = limits.values_max
        self.text_left = limits.text_bytes_max

    def text(self, value: object, path: str) -> str:
        """A `str` of valid Unicode. NUL is a character like any other."""
        if type(value) is not str:
            raise InvalidRequestError(path, "must be a string")
        # Ascii is checked at C speed; only other text is encoded to be judged.
        if value.isascii():
            size = len(value)
        else:
            try:
                size = len(value.encode())
            except UnicodeEncodeError:
                raise InvalidRequestError(path, "is not valid Unicode") from None
        self.text_left -= size
        if self.text_left < 0:
            raise InvalidRequestError(path, "takes the request over its limit of text")
        return value

    def name(self, value: object, path: str, bytes_max: int, *, required: bool = True) -> str:
        """A short, possibly required string."""
        text = self.text(value, path)
        if required and not text:
            raise InvalidRequestError(path, "is required")
        if len(text if text.isascii() else text.encode()) > bytes_max:
            raise InvalidRequestError(path, f"is longer than {bytes_max} bytes")
        return text

    def properties(self, value: object, path: str) -> dict[str, Value]:
        """A map with string keys, in a plain copy."""
        try:
            return self._mapping(value, 0)
        except InvalidRequestError as error:
            raise error.below(path) from None

    # Below, errors carry no path: each container puts its part before it on
    # the way out, so that a request without errors pays nothing for paths.

    def _value(self, value: Any, depth: int) -> Value:
        """A copy of the value, within all limits."""
        self.values_left -= 1
        if self.values_left < 0:
            raise InvalidRequestError("", "takes the request over its limit of values")
        kind = type(value)
        if kind is str:
            return self.text(value, "")
        if value is None or kind is bool:
            return value  # type: ignore[no-any-return]
        if kind is dict:
            return self._mapping(value, depth)
        if kind is list:
            return self._sequence(value, depth)
        return self._scalar(value)

    def _sequence(self, value: list[Any], depth: int) -> list[Value]:
        if depth >= self.depth_max:
            raise InvalidRequestError("", f"is nested deeper than {self.depth_max} levels")
        out: list[Value] = []
        for item in value:
            try:
                out.append(self._value(item, depth + 1))
            except InvalidRequestError as error:
                raise error.below(f"[{len(out)}]") from None
        return out

    def _mapping(self, value: object, depth: int) -> dict[str, Value]:
        if type(value) is not dict:
            raise InvalidRequestError("", "must be a map")
        if depth >= self.depth_max:
            raise InvalidRequestError("", f"is nested deeper than {self.depth_max} levels")
        out: dict[str, Value] = {}
        for key, item in value.items():
            name = self.text(key, " key")
            try:
                out[name] = self._value(item, depth + 1)
            except InvalidRequestError as error:
                raise error.below(member(name)) from None
        return out

    def _scalar(self, value: Any) -> Value:
        kind = type(value)
        if kind is int:
            if not INT64_MIN <= value <= INT64_MAX:
                raise InvalidRequestError("", "is out of the range of int64")
        elif kind is float:
            if not math.isfinite(value):
                raise InvalidRequestError("", "is not a finite number")
        elif kind is Uint:
            if not 0 <= value <= UINT64_MAX:
                raise InvalidRequestError("", "is out of the range of uint64")
        elif kind is bytes:
            self.text_left -= len(value)
            if self.text_left < 0:
                raise InvalidRequestError("", "takes the request over its limit of text")
        elif kind is Timestamp:
            if not TIMESTAMP_SECONDS_MIN <= value.ns // NANOS <= TIMESTAMP_SECONDS_MAX:
                raise InvalidRequestError("", "is outside the years 1 to 9999")
        elif kind is Duration:
            if abs(value.ns) > DURATION_SECONDS_MAX * NANOS:
                raise InvalidRequestError("", "is longer than 10,000 years")
        else:
            raise InvalidRequestError("", "is of a kind that is not supported")
        return value  # type: ignore[no-any-return]


def admit(request: Request, caller: Caller, limits: InputLimits) -> Admitted:
    """Judge a request and build what conditions see of it.

    Args:
        request: as a door or an in-process user made it; trusted in nothing.
        caller: already verified.
        limits: what it may be at most.

    Returns:
        The request and the attributes `subject`, `subject.id`, ... in plain
        copies: later changes to the caller's objects reach nothing.

    Raises:
        InvalidRequestError: with the path of the first offending field.
    """
    intake = _Intake(limits)
    size = limits.name_bytes_max
    subject, action, resource = request.subject, request.action, request.resource
    intake.name(subject.type, "subject.type", size)
    intake.name(subject.id, "subject.id", size)
    subject_properties = intake.properties(subject.properties, "subject.properties")
    intake.name(action.name, "action.name", size)
    action_properties = intake.properties(action.properties, "action.properties")
    intake.name(resource.type, "resource.type", size)
    intake.name(resource.id, "resource.id", size)
    resource_properties = intake.properties(resource.properties, "resource.properties")
    context = intake.properties(request.context, "context")
    intake.name(request.tenant, "tenant", size, required=False)
    intake.name(request.request_id, "request_id", size, required=False)
    intake.name(request.subject_token, "subject_token", limits.token_bytes_max, required=False)
    copies = (subject_properties, action_properties, resource_properties, context)
    return _assemble(request, caller, copies)


def admit_claims(claims: object, limits: InputLimits) -> dict[str, Value]:
    """Judge the claims of a token like any other input; a signature makes none of them small.

    Returns:
        A plain copy.

    Raises:
        InvalidRequestError: a claim is out of range, nested too deep, or no text.
    """
    return _Intake(limits).properties(claims, "token")


def admit_values(values: object, limits: InputLimits) -> dict[str, Value]:
    """Judge what a provider said of a subject or a resource like any other input.

    Returns:
        A plain copy.

    Raises:
        InvalidRequestError: something is out of range, nested too deep, or no value.
    """
    return _Intake(limits).properties(values, "values")


def fitting_bytes(limits: InputLimits) -> int:
    """How long a message may be that can exceed no limit on sums.

    Its texts together are no longer than the message, and each value takes
    two bytes of it at least, a tag and a length. Then nothing needs counting.
    """
    values_bytes = limits.values_max * _ENCODED_VALUE_BYTES_MIN
    return min(limits.text_bytes_max, values_bytes, limits.token_bytes_max)


def fits(message_bytes: int, limits: InputLimits) -> bool:
    """Whether a message of so many bytes can exceed no limit on sums."""
    return message_bytes <= fitting_bytes(limits)


def admit_decoded(
    request: Request, caller: Caller, message_bytes: int, limits: InputLimits
) -> Admitted:
    """A request whose values were judged while they were decoded.

    INVARIANT: for `pdp.wire.admit_message` only. The values are plain, nobody
    else's, finite and within depth; the message `fits`; what is required is
    there. Whoever else has a request calls `admit`.

    Raises:
        InvalidRequestError: a name may be too long: `admit` says which.
    """
    subject, resource = request.subject, request.resource
    names = (subject.type, subject.id, request.action.name, resource.type, resource.id)
    check_names((*names, request.tenant, request.request_id), message_bytes, limits)
    copies = (
        subject.properties,
        request.action.properties,
        resource.properties,
        request.context,
    )
    return _assemble(request, caller, copies)  # type: ignore[arg-type]


def check_names(names: Iterable[str], bytes_max: int, limits: InputLimits) -> None:
    """Whether none of these is too long, being together no longer than so many bytes.

    Raises:
        InvalidRequestError: one may be: `admit` says which.
    """
    if bytes_max > limits.name_bytes_max:
        for name in names:
            if len(name) * _CHARACTER_BYTES_MAX > limits.name_bytes_max:
                raise InvalidRequestError("request", "may have too long a name")


def admit_parts(
    request: Request, caller: Caller, parts: Parts, context: dict[str, Value]
) -> Admitted:
    """A request made of parts that were judged, each by itself.

    INVARIANT: for `pdp.interning` only, under the conditions of `admit_decoded`.
    """
    subject, action, resource = parts
    attributes = {
        **_caller_names(caller.spiffe_id),
        **subject.names,
        **action.names,
        **resource.names,
        "context": context,
    }
    return Admitted(request, attributes, parts=parts)


def _assemble(
    request: Request,
    caller: Caller,
    copies: tuple[dict[str, Value], dict[str, Value], dict[str, Value], dict[str, Value]],
) -> Admitted:
    """The names a condition sees."""
    subject, action, resource = request.subject, request.action, request.resource
    mine, how, its, context = copies
    attributes = {
        **_caller_names(caller.spiffe_id),
        **names_of("subject", {"type": subject.type, "id": subject.id, "properties": mine}),
        **names_of("action", {"name": action.name, "properties": how}),
        **names_of("resource", {"type": resource.type, "id": resource.id, "properties": its}),
        "context": context,
    }
    return Admitted(request, attributes)


@functools.lru_cache(maxsize=1_024)
def _caller_names(spiffe_id: str) -> dict[str, Value]:
    """What conditions see of a caller. INVARIANT: nobody changes it; the same few ask again."""
    caller = Caller(spiffe_id)
    trust_domain, path = caller.trust_domain, caller.path
    return {
        "caller": {"id": spiffe_id, "trust_domain": trust_domain, "path": path},
        "caller.id": spiffe_id,
        "caller.trust_domain": trust_domain,
        "caller.path": path,
        # Without a verified token; with one, `with_token`.
        "token": {},
    }
