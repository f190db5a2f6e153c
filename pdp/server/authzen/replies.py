"""What is sent back, and how a call ends without an answer."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from pdp.errors import InvalidRequestError
from pdp.server.authzen.messages import failure, render


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back.

    Attributes:
        status: of HTTP.
        body: JSON.
        headers: beyond those that every reply has.
        close: whether the connection ends with it.
    """

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    close: bool = False


class RefusedError(Exception):
    """The call ends without a decision. Never leaves this package."""

    def __init__(
        self,
        status: HTTPStatus,
        label: str,
        message: str,
        header: tuple[bytes, bytes] | None = None,
        *,
        close: bool = False,
    ) -> None:
        self.label = label
        body = render(failure(status.value, message))
        self.reply = Reply(status.value, body, () if header is None else (header,), close)
        super().__init__(message)


class GoneError(Exception):
    """Whoever asked has hung up."""


def bad(message: str) -> RefusedError:
    """400, before the body was read: what is left of it is not, so the connection ends."""
    return RefusedError(HTTPStatus.BAD_REQUEST, "invalid", message, close=True)


def bad_body(reason: str) -> RefusedError:
    """The same, about the body."""
    return bad(str(InvalidRequestError("body", reason)))
