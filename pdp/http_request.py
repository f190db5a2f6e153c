"""An HTTP request as a proxy describes it, and what expressions see of it. Law ring: pure.

What the proxy says is judged here, once: sizes, contradictions, names. Nothing
of it is believed for being well formed; who may say what, the caller policy
decides later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pdp.errors import InvalidRequestError
from pdp.http_target import read_host, read_target
from pdp.model import Caller
from pdp.values import Timestamp, Value

HEADERS_MAX: Final = 256  # Envoy takes 100 by default
HEADER_BYTES_MAX: Final = 65_536  # of all names and values; Envoy takes 60 KiB by default
EXTENSIONS_MAX: Final = 64
EXTENSION_BYTES_MAX: Final = 4_096  # of all names and values

# RFC 9110 section 5.1, lower-case as in HTTP/2.
HEADER_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}")
# RFC 9110 section 5.5 without what only old servers send, `obs-text`.
HEADER_VALUE: Final = re.compile(r"[!-~](?:[ \t!-~]*[!-~])?")
_METHOD: Final = re.compile(r"[A-Z][A-Z_-]{0,31}")
_SCHEMES: Final = frozenset({"http", "https"})
_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9._~+/=-]+)")

AUTHORIZATION: Final = "authorization"

# Names and types of what every expression of a route may read.
HTTP_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "http.method": "string",
        "http.path": "string",
        "http.segments": "list(string)",
        "http.query": "map(string, list(string))",
        "http.headers": "map(string, string)",
        "http.host": "string",
        "http.scheme": "string",
        "http.protocol": "string",
        "http.sni": "string",
        "http.extensions": "map(string, string)",
        "http.body": "dyn",
        "caller": "map(string, string)",
        "caller.id": "string",
        "caller.trust_domain": "string",
        "caller.path": "string",
        "now": "google.protobuf.Timestamp",
    }
)
# What only those of the subject may read: whom the proxy says it speaks with.
SOURCE_NAMES: Mapping[str, str] = MappingProxyType(
    {"source.principal": "string", "source.spiffe_id": "string"}
)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What a proxy says about a request; trusted in nothing.

    Attributes:
        method, target, host, scheme, protocol: of HTTP; the target has the query.
        headers: names, in lower case or not, with values, in the order they came.
        body: the whole of it, byte by byte; None: nobody knows the whole of it.
        principal: of the peer of the proxy, as the proxy says.
        spiffe_id: of a certificate that the proxy forwards, and that one of our
            authorities signed; empty: it forwards none.
        serial: of that certificate, lower-case hexadecimal.
        sni: of the connection to the proxy.
        extensions: what the configuration of the proxy says about the route.
    """

    method: str
    target: str
    host: str
    scheme: str = ""
    headers: Sequence[tuple[str, str]] = ()
    protocol: str = ""
    body: bytes | None = None
    principal: str = ""
    spiffe_id: str = ""
    serial: str = ""
    sni: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The target up to the query, as it came."""
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True)
class HttpFacts:
    """A request that was judged.

    Attributes:
        attributes: what every expression sees; what cannot be read in one way is missing,
            so that reading it is an error.
        source: what expressions of the subject see besides.
        headers: values by name.
    """

    attributes: Mapping[str, Value]
    source: Mapping[str, Value]
    headers: Mapping[str, str]

    @property
    def bearer(self) -> str:
        """The token of the `authorization` header; empty: there is not exactly one."""
        found = _BEARER.fullmatch(self.headers.get(AUTHORIZATION, ""))
        return "" if found is None else found[1]


def judge(request: HttpRequest, caller: Caller, now_ns: int, readable: frozenset[str]) -> HttpFacts:
    """What expressions see of a request, but for its body, which is JSON and none of the law's.

    Args:
        request: as the proxy says.
        caller: the proxy.
        now_ns: nanoseconds since the epoch.
        readable: the headers that expressions may read.

    Raises:
        InvalidRequestError: it contradicts itself, is too large, or has two readings.
    """
    if not _METHOD.fullmatch(request.method):
        raise InvalidRequestError("http.method", "is not a method")
    target, host = read_target(request.target), read_host(request.host)
    scheme = request.scheme.lower()
    if scheme and scheme not in _SCHEMES:
        raise InvalidRequestError("http.scheme", "is not http and not https")
    headers = _headers(request)
    attributes: dict[str, Value] = {
        "http.method": request.method,
        "http.path": target.path,
        "http.segments": list(target.segments),
        "http.host": host,
        "http.scheme": scheme,
        "http.protocol": request.protocol,
        "http.sni": request.sni,
        "http.extensions": _extensions(request.extensions),
        "caller": {
            "id": caller.spiffe_id,
            "trust_domain": caller.trust_domain,
            "path": caller.path,
        },
        "caller.id": caller.spiffe_id,
        "caller.trust_domain": caller.trust_domain,
        "caller.path": caller.path,
        "now": Timestamp(now_ns),
    }
    if target.query is not None:
        attributes["http.query"] = {name: list(values) for name, values in target.query.items()}
    shown = {name: value for name, value in headers.items() if name in readable}
    # INVARIANT: one that cannot be read makes all of them unreadable. Left out, it would look as
    # if it had not been sent.
    if all(not value or HEADER_VALUE.fullmatch(value) for value in shown.values()):
        attributes["http.headers"] = dict(shown)
    source: dict[str, Value] = {
        "source.principal": request.principal,
        "source.spiffe_id": request.spiffe_id,
    }
    return HttpFacts(attributes, source, headers)


def _headers(request: HttpRequest) -> dict[str, str]:
    """Values by name in lower case; those of one name joined by a comma, as HTTP joins them."""
    if len(request.headers) > HEADERS_MAX:
        raise InvalidRequestError("http.headers", f"are more than {HEADERS_MAX}")
    size = sum(len(name) + len(value) for name, value in request.headers)
    if size > HEADER_BYTES_MAX:
        raise InvalidRequestError("http.headers", f"are longer than {HEADER_BYTES_MAX} bytes")
    said = {
        ":method": request.method,
        ":path": request.target,
        ":authority": request.host,
        ":scheme": request.scheme,
        "host": request.host,
    }
    found: dict[str, str] = {}
    for given, value in request.headers:
        name = given.lower()
        if name.startswith(":") or name == "host":
            # INVARIANT: what is authorized is what is done: there is no second path.
            if name in said and said[name] != value:
                raise InvalidRequestError("http.headers", f"contradict the request in `{name}`")
            continue
        if not HEADER_NAME.fullmatch(name):
            raise InvalidRequestError("http.headers", "have a name that is none")
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _extensions(given: Mapping[str, str]) -> dict[str, Value]:
    size = sum(len(name) + len(value) for name, value in given.items())
    if len(given) > EXTENSIONS_MAX or size > EXTENSION_BYTES_MAX:
        raise InvalidRequestError("http.extensions", "are too many or too long")
    return dict(given)
