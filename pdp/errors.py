"""The whole exception tree, split by whose fault it is.

    PdpError
    ├── PolicyError              the policy author's
    │   ├── DocumentError        a document does not follow the rules; has a position
    │   └── ExpressionError      a CEL expression is wrong or not supported; has a position
    ├── BundleError              the bundle supplier's
    │   ├── BundleRefusedError   what was fetched fails verification
    │   ├── BundleUnreachableError  nothing could be fetched
    │   └── StateFileError       the PDP's memory of what it has seen is damaged
    ├── RequestError             the caller's
    │   └── InvalidRequestError  malformed, oversized or out of range; has a field path
    ├── AnswerError              the PDP's: what it sent back cannot be used
    ├── IdentityError            the peer's: its certificate breaks a rule
    │   ├── TokenRefusedError    a subject token proves nothing (`pdp.identity.token`)
    │   └── OwnIdentityError     ours: our own certificate has expired
    ├── DirectoryError           the directory's: searches get no answer (`pdp.directory.faults`)
    ├── KeySetError              the token issuer's: its keys cannot be used
    ├── ConfigurationError       the operator's
    ├── CrewError                the machine's: a process of this PDP does not stay alive
    └── SpoolError               the disk's: a record is not durable
        └── SpoolSuppressedError a denial was counted in place of being recorded

A denial is a value (`Decision`), never one of these. Messages: no capital, no
full stop, the user's words in backticks, one line, no type names; then what to
do about it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self


class PdpError(Exception):
    """Root of the tree. Raise a leaf."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a source document; line and column count from 1."""

    path: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.path
        return f"{self.path}:{self.line}:{self.column}"


class PolicyError(PdpError):
    """Something an author wrote.

    Attributes:
        message: what is wrong.
        position: where, if known.
        suggestion: what to do, or empty.
    """

    def __init__(
        self, message: str, position: Position | None = None, suggestion: str = ""
    ) -> None:
        self.message = message
        self.position = position
        self.suggestion = suggestion
        super().__init__(str(self))

    def below(self, folder: str) -> Self:
        """The same, of a document whose path is from this folder on."""
        if self.position is None:
            return self
        path = f"{folder.rstrip('/')}/{self.position.path}"
        return type(self)(self.message, replace(self.position, path=path), self.suggestion)

    def __str__(self) -> str:
        where = f"{self.position}: " if self.position else ""
        hint = f" ({self.suggestion})" if self.suggestion else ""
        return f"{where}{self.message}{hint}"


class DocumentError(PolicyError):
    """A document breaks a rule of its kind."""


class ExpressionError(PolicyError):
    """A CEL expression does not check, or uses what is not supported."""


class BundleError(PdpError):
    """Something about the policy bundle."""


class BundleRefusedError(BundleError):
    """What was fetched or found fails verification. Never retried as is."""


class BundleUnreachableError(BundleError):
    """The store did not answer. Says nothing about what it holds."""


class StateFileError(BundleError):
    """The state file is damaged or absent. Starting without it would forget rollbacks."""


class RequestError(PdpError):
    """Something a caller sent."""


class InvalidRequestError(RequestError):
    """A field is missing, oversized or out of range.

    Attributes:
        field: path of the field, `subject.properties.roles[3]`.
        reason: what is wrong with it.
    """

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(f"`{field}` {reason}")

    def below(self, parent: str) -> InvalidRequestError:
        """The same error seen from further up: `parent` is put before the path.

        Paths are built only when something is wrong, on the way out.
        """
        return InvalidRequestError(parent + self.field, self.reason)


# Of a hostile key, this much is shown.
_KEY_SHOWN_CHARACTERS = 64


def member(key: str) -> str:
    """How a map entry is written in a field path: `.key`, or `['any thing']`.

    A key is the sender's: what is not a plain word is quoted and escaped, so
    that a path can go into a log line or a status message.
    """
    shown = key[:_KEY_SHOWN_CHARACTERS]
    return f".{shown}" if shown.isascii() and shown.isidentifier() else f"[{shown!a}]"


class AnswerError(PdpError):
    """An answer that a client cannot use. Whoever catches it denies.

    Attributes:
        field: path of the field.
        reason: what is wrong with it.
    """

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(f"`{field}` {reason}")


class IdentityError(PdpError):
    """A peer's certificate breaks an SVID rule."""


class OwnIdentityError(IdentityError):
    """Our own certificate has expired: nobody is believed on the strength of it."""


class KeySetError(PdpError):
    """The key set of an issuer of tokens cannot be read or used. Completes "`issuer`: ..."."""


class ConfigurationError(PdpError):
    """The operator's configuration cannot be run with."""


class CrewError(PdpError):
    """A process of a PDP of several processes does not start, or ends again and again."""


class SpoolError(PdpError):
    """A record could not be made durable."""


class SpoolSuppressedError(SpoolError):
    """A denial was counted in place of being recorded: denials have used their share.

    The denial leaves with its own cause and without `record`. Never raised
    for a PERMIT.
    """
