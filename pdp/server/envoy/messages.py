"""What Envoy asks, as an `HttpRequest`. Nothing is looked up, nothing decided.

Fields that this version does not know are skipped: Envoy's messages have many
that say nothing of the request. What is read, is read in one way: a message
that says one thing in two places is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote_to_bytes

from google.protobuf.message import DecodeError

from pdp.errors import IdentityError, InvalidRequestError
from pdp.http_request import HttpRequest
from pdp.v1 import ext_authz_pb2 as pb

# Of the configuration of a route in Envoy: whose bundle decides.
TENANT_EXTENSION: Final = "tenant"
# Envoy says so in a header of its own, and drops one that a client sent.
_PARTIAL: Final = "x-envoy-auth-partial-body"
_CERTIFICATE_CHARACTERS_MAX: Final = 32_768
_SPIFFE: Final = re.compile(r"spiffe://[a-z0-9._-]+/[A-Za-z0-9._/-]+")

# PEM of a forwarded certificate to the SPIFFE ID that an authority of ours signed, and its serial.
Identify = Callable[[bytes], tuple[str, str]]


def parse_check(message: bytes) -> pb.EnvoyCheckRequest:
    """The message.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        return pb.EnvoyCheckRequest.FromString(message)
    except DecodeError:
        raise InvalidRequestError("request", "is no CheckRequest") from None


def tenant_of(check: pb.EnvoyCheckRequest) -> str:
    """As Envoy's configuration says; empty: its only one."""
    return check.attributes.context_extensions.get(TENANT_EXTENSION, "")


def http_request(check: pb.EnvoyCheckRequest, identify: Identify) -> HttpRequest:
    """The request that it is about.

    Args:
        check: as it came.
        identify: raises IdentityError for a certificate that proves nothing.

    Raises:
        InvalidRequestError: there is none, or it contradicts itself.
    """
    attributes = check.attributes
    if not attributes.request.HasField("http"):
        raise InvalidRequestError("attributes.request.http", "is required")
    http = attributes.request.http
    if http.fragment:
        # No client sends one, and whoever cuts it off reads another path.
        raise InvalidRequestError("http.fragment", "must be empty")
    if http.query and http.query != http.path.partition("?")[2]:
        raise InvalidRequestError("http.query", "is not that of the path")
    headers, partial = _headers(http)
    spiffe_id, serial = _forwarded(attributes.source, identify)
    extensions = dict(attributes.context_extensions)
    extensions.pop(TENANT_EXTENSION, None)
    return HttpRequest(
        method=http.method,
        target=http.path,
        host=http.host,
        scheme=http.scheme,
        headers=headers,
        protocol=http.protocol,
        body=_body(http, partial),
        principal=attributes.source.principal,
        spiffe_id=spiffe_id,
        serial=serial,
        sni=attributes.tls_session.sni,
        extensions=extensions,
    )


def _headers(http: pb.EnvoyHttpRequest) -> tuple[list[tuple[str, str]], str]:
    """Headers but Envoy's own word about the body, and that word."""
    if http.headers and http.header_map.headers:
        raise InvalidRequestError("http.headers", "come in two forms")
    found: list[tuple[str, str]] = []
    partial: list[str] = []
    seen: set[str] = set()
    for name, value in http.headers.items():
        # As a map it has joined those of one name; two keys that differ in case are nobody's.
        if name.lower() in seen:
            raise InvalidRequestError("http.headers", "have one name in two spellings")
        seen.add(name.lower())
        found.append((name, value))
    found += [(header.key, _value(header)) for header in http.header_map.headers]
    rest = []
    for name, value in found:
        if name.lower() == _PARTIAL:
            partial.append(value)
        else:
            rest.append((name, value))
    return rest, partial[0] if len(partial) == 1 else ""


def _value(header: pb.EnvoyHeader) -> str:
    """The value of a header of `header_map`. Bytes are Latin-1, as HTTP has it: nothing is lost."""
    if header.value and header.raw_value:
        raise InvalidRequestError("http.header_map", "has a header with two values")
    return header.value or header.raw_value.decode("latin-1")


def _body(http: pb.EnvoyHttpRequest, partial: str) -> bytes | None:
    """All of the body, or None.

    INVARIANT: a body is known only if Envoy says that it sent all of it, as bytes. In the
    field `body` it replaces what is not UTF-8, so that the upstream may read something else.
    """
    if http.body and http.raw_body:
        raise InvalidRequestError("http.body", "comes in two forms")
    if partial != "false" or http.body:
        return None
    return http.raw_body


def _forwarded(source: pb.EnvoyPeer, identify: Identify) -> tuple[str, str]:
    """SPIFFE ID and serial of a certificate that Envoy forwards; empty: it forwards none.

    Raises:
        InvalidRequestError: it is not one of ours, or Envoy names another identity.
    """
    if not source.certificate:
        return "", ""
    if len(source.certificate) > _CERTIFICATE_CHARACTERS_MAX:
        raise InvalidRequestError("source.certificate", "is too long")
    try:
        found, serial = identify(unquote_to_bytes(source.certificate))
    except IdentityError:
        raise InvalidRequestError("source.certificate", "is no certificate of ours") from None
    if source.principal and _SPIFFE.fullmatch(source.principal) and source.principal != found:
        raise InvalidRequestError("source.certificate", "is not that of the principal")
    return found, serial
