"""What both interceptors of gRPC servers have in common: mappings, subjects, and what is told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Mapping as Table
from typing import Any, Final, TypeVar

import grpc

from pdp.errors import ConfigurationError
from pdp.model import Subject
from pdp_client.enforcement._outcomes import Told
from pdp_client.enforcement._subjects import (
    MARK,
    Guarded,
    Mapping,
    NoSubjectError,
    Unguarded,
    Who,
    bearer_of,
    subject_of_token,
)

_log: Final = logging.getLogger("pdp_client")
STATUS: Final = {
    Told.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Told.DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Told.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}

# `grpc.RpcMethodHandler`, generic for type checkers alone.
Handler = Any
F = TypeVar("F", bound=Callable[..., Any])


def guarded(mapping: Mapping) -> Callable[[F], F]:
    """Map a servicer's method where it is written, in place of a row in the table."""
    known: object = mapping
    if not isinstance(known, Guarded | Unguarded):
        raise TypeError("a method is mapped by `Guarded(...)` or `Unguarded(...)`")

    def decorate(method: F) -> F:
        setattr(method, MARK, mapping)
        return method

    return decorate


def peer_subject(subject_type: str, trust_domain: str) -> Callable[..., Subject]:
    """The workload at the other end, by the SPIFFE ID of its certificate.

    gRPC has verified the certificate's chain in the handshake, and names an ID only if it is the
    only one: a DNS name that looks like one is none.

    Args:
        subject_type: of the subject.
        trust_domain: whose workloads may be subjects; the authorities that the server believes may
            have issued others.
    """
    prefix = f"spiffe://{trust_domain}/"

    def subject(_: object, call: Any) -> Subject:
        found = call.auth_context()
        transport = found.get("transport_security_type", ())
        names = found.get("peer_spiffe_id", ())
        if list(transport) not in ([b"ssl"], [b"tls"]) or len(names) != 1:
            raise NoSubjectError("the peer has no SPIFFE ID")
        name = names[0].decode("ascii")
        if not name.startswith(prefix):
            raise NoSubjectError("the peer is of another trust domain")
        return Subject(subject_type, name)

    return subject


def bearer_subject(subject_type: str, id_claim: str = "sub") -> Callable[..., Who]:
    """Whoever the JWT in the metadata `authorization` is about; the PDP verifies it."""

    def subject(_: object, call: Any) -> Who:
        values = [
            value
            for key, value in call.invocation_metadata() or ()
            if key == "authorization" and isinstance(value, str)
        ]
        return subject_of_token(bearer_of(values), subject_type, id_claim)

    return subject


class Guards:
    """The mapping of each method, and what to do with a message."""

    def __init__(self, table: Table[str, Mapping], subject: Callable[..., Who] | None) -> None:
        for method, mapping in table.items():
            known: object = mapping
            if not method.startswith("/") or method.count("/") != 2:  # noqa: PLR2004
                raise ConfigurationError(
                    f"`{method}` is no method: they look like `/package.Service/Method`"
                )
            if not isinstance(known, Guarded | Unguarded):
                raise TypeError(f"`{method}` must be mapped by `Guarded` or `Unguarded`")
        self._table = dict(table)
        self.subject = subject

    def of(self, method: str, handler: Handler) -> Mapping | None:
        """The method's mapping. None: it has none, or two, and is denied."""
        behaviours = (getattr(handler, kind, None) for kind in KINDS)
        own = [getattr(one, MARK, None) for one in behaviours if one is not None]
        decorated = next((one for one in own if one is not None), None)
        listed = self._table.get(method)
        if decorated is not None and listed is not None:
            _log.error("%s is mapped in the table and where it is written: denied", method)
            return None
        found = listed or decorated
        if found is None:
            _log.warning("%s has no mapping: denied", method)
        return found

    @staticmethod
    def log_synchronous(method: str) -> None:
        """Say that a method is denied because it is not asynchronous."""
        _log.error("%s is not asynchronous, and its server is: denied", method)


KINDS: Final = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


def kind_of(handler: Handler) -> str:
    """Which of gRPC's four kinds of method it is."""
    return KINDS[2 * bool(handler.request_streaming) + bool(handler.response_streaming)]


def rebuilt(handler: Handler, behaviour: Callable[..., Any]) -> Handler:
    """The same method with another behaviour."""
    make = getattr(grpc, f"{kind_of(handler)}_rpc_method_handler")
    found: Handler = make(
        behaviour,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
    return found
