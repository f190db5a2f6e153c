"""Who acts: a subject that the enforcement point names, and the token that proves it.

Nothing here is believed for what it says. A subject that comes with a token is named by what
the token says of itself, unverified, so that there is something to ask about; the PDP verifies the
token and denies if it is about anybody else (docs/tokens.md).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pdp.model import Properties, Resource, Subject
from pdp_client._answers import Question

# RFC 6750, section 2.1: `b64token`. 16 KiB is the most that a PDP takes.
_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9\-._~+/]{1,16384}=*)")
_TOKEN_CHARS_MAX: Final = 16_384
# Where a method or view carries its mapping, for what looks for those that have none.
MARK: Final = "__pdp_mapping__"


class NoSubjectError(Exception):
    """Nobody is known to act: the denial that asks for credentials (401, UNAUTHENTICATED)."""


@dataclass(frozen=True, slots=True)
class Proved:
    """A subject and the token that proves it. The PDP verifies."""

    subject: Subject
    token: str = field(repr=False)


Who = Subject | Proved


@dataclass(frozen=True, slots=True)
class Guarded:
    """What to ask before a method runs.

    Attributes:
        action: its name.
        resource: makes the resource from what the enforcement point has: see there.
        subject: likewise; None: as the enforcement point's own `subject`.
        context: likewise; None: none.
        tenant: empty: the caller's only one.
    """

    action: str
    resource: Callable[..., Resource]
    subject: Callable[..., Who] | None = None
    context: Callable[..., Properties] | None = None
    tenant: str = ""

    def __post_init__(self) -> None:
        action: object = self.action
        if not isinstance(action, str) or not action:
            raise TypeError("the action of a guarded method is its name, a string")
        if not callable(self.resource):
            raise TypeError("the resource of a guarded method is made by a function")


@dataclass(frozen=True, slots=True)
class Unguarded:
    """A method that runs without a decision, and why that is right.

    Least privilege needs a word for what is open to all, so that it can be found: a health check,
    the page that asks for credentials.
    """

    justification: str

    def __post_init__(self) -> None:
        reason: object = self.justification
        if not isinstance(reason, str) or not reason.strip():
            raise TypeError("what needs no decision says why: `Unguarded('...')`")


Mapping = Guarded | Unguarded


def question_of(
    guarded: Guarded, subject: Callable[..., Who] | None, *arguments: Any, **named: Any
) -> Question:
    """The question that a mapping asks.

    Args:
        guarded: the mapping.
        subject: of the enforcement point, where the mapping has none.
        arguments: for each function of the mapping, in order.
        named: likewise, by name.

    Raises:
        NoSubjectError: nobody is known to act.
        TypeError: a function made something else than it should.
        Exception: whatever a function raises.
    """
    who_of = guarded.subject or subject
    if who_of is None:
        raise NoSubjectError("nothing says who acts")
    who: object = who_of(*arguments, **named)
    acting: object = who.subject if isinstance(who, Proved) else who
    if not isinstance(acting, Subject):
        raise NoSubjectError("nobody is known to act")
    resource = guarded.resource(*arguments, **named)
    context = None if guarded.context is None else guarded.context(*arguments, **named)
    return Question(
        acting,
        guarded.action,
        resource,
        context=context,
        tenant=guarded.tenant,
        subject_token=who.token if isinstance(who, Proved) else "",
    )


def bearer_of(values: Sequence[str]) -> str:
    """The token of the `Authorization` headers of a request.

    Args:
        values: of every such header. More than one is none: which of them another component
            looked at cannot be known.

    Raises:
        NoSubjectError: there is not exactly one bearer token.
    """
    if len(values) != 1:
        raise NoSubjectError("there is no bearer token, or more than one")
    found = _BEARER.fullmatch(values[0])
    if found is None:
        raise NoSubjectError("there is no bearer token")
    return found.group(1)


def subject_of_token(token: str, subject_type: str, id_claim: str = "sub") -> Proved:
    """The subject that a JWT says it is about, with the token that is to prove it.

    Args:
        token: a compact JWS.
        subject_type: what kind of subjects its issuer proves (docs/tokens.md).
        id_claim: the claim that is the subject's id.

    Raises:
        NoSubjectError: it is not such a token, or does not say.
    """
    parts = token.split(".")
    if len(parts) != 3 or len(token) > _TOKEN_CHARS_MAX:  # noqa: PLR2004 header, payload, signature
        raise NoSubjectError("the token is no JWT")
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise NoSubjectError("the token is no JWT") from None
    name = claims.get(id_claim) if isinstance(claims, dict) else None
    if not isinstance(name, str) or not name:
        raise NoSubjectError("the token does not say whom it is about")
    return Proved(Subject(subject_type, name), token)
