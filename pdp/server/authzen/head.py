"""What comes before the body: path and headers, as bytes.

Each thing that is believed is said in one place. The tenant is a part of the
path, which is in the request line, once, and which every intermediary routes
by; no header and no member of the body names it. The subject token is in
`authorization`. What is there twice is refused, not chosen from.
"""

from __future__ import annotations

import re
from collections.abc import Container, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from pdp.server.authzen.connection import HEADER_BYTES_MAX
from pdp.server.authzen.messages import JSON
from pdp.server.authzen.replies import bad, bad_body

Scope = MutableMapping[str, Any]

REQUEST_ID: Final = b"x-request-id"
# As `pdp.bundle` names tenants. Nothing is decoded, so nothing is decoded differently elsewhere.
_TENANT: Final = re.compile(rb"[a-z0-9][a-z0-9-]{0,62}")
# RFC 6750 section 2.1; that `Bearer` is written in any case is RFC 9110 section 11.1.
_BEARER: Final = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Head:
    """What a question says outside of its body.

    Attributes:
        request_id: for the record; empty: there is none.
        tenant: as the path says; empty: the one that is configured.
        subject_token: unverified; empty: there is none.
    """

    request_id: str = ""
    tenant: str = ""
    subject_token: str = ""


def split_path(path: bytes, prefix: bytes, known: Container[bytes]) -> tuple[str, bytes]:
    """The tenant that a path below `prefix` names, and the path without it.

    Args:
        path: as sent.
        prefix: what comes before: the path of the base URL, or of the metadata's place.
        known: the paths at which there is something.

    Returns:
        The tenant, or the empty string where none is named, and one of `known`; or two
        empty strings: there is nothing at this path.
    """
    rest = path.removeprefix(prefix)
    if not path.startswith(prefix):
        return "", b""
    if rest in known:
        return "", rest
    tenant, slash, below = rest[1:].partition(b"/")
    if rest[:1] == b"/" and slash + below in known and _TENANT.fullmatch(tenant):
        return tenant.decode(), slash + below
    return "", b""


def read_head(scope: Scope, tenant: str) -> Head:
    """The headers that a question may have.

    Raises:
        RefusedError: one is there twice, or says what nobody here reads.
    """
    return Head(_one(scope, REQUEST_ID), tenant, _token(scope))


def _one(scope: Scope, name: bytes) -> str:
    found = all_of(scope, name)
    if len(found) > 1:
        raise bad(f"`{name.decode()}` was sent twice")
    return found[0].decode("latin-1") if found else ""


def _token(scope: Scope) -> str:
    said = _one(scope, b"authorization").strip()
    if not said:
        return ""
    found = _BEARER.fullmatch(said.encode("latin-1"))
    if found is None:
        # Passed over, it would leave the caller in the belief that it counted.
        raise bad("`authorization` must be `Bearer` and a subject token, or left out")
    return found[1].decode()


def all_of(scope: Scope, name: bytes) -> list[bytes]:
    """Every value of a header."""
    return [value for known, value in scope["headers"] if known == name]


def check_size(scope: Scope) -> None:
    """Bound what comes before the body; h11 bounds only what has not come to its end.

    Raises:
        RefusedError: it is longer.
    """
    if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADER_BYTES_MAX:
        raise bad(f"the headers are longer than {HEADER_BYTES_MAX} bytes")


def declared(scope: Scope, bytes_max: int) -> int:
    """Bytes of the body, as it says, or as many as there may be.

    Raises:
        RefusedError: more than there may be, or not JSON as it is.
    """
    kinds = all_of(scope, b"content-type")
    kind = kinds[0].decode("latin-1").partition(";")[0].strip().lower() if len(kinds) == 1 else ""
    if kind != JSON:
        raise bad(f"`content-type` must be `{JSON}`")
    if all_of(scope, b"content-encoding"):
        # A question is small; what unpacks to much is never unpacked.
        raise bad("`content-encoding` is not supported")
    # h11 has checked that there is at most one and that it is a number.
    lengths = [int(value) for value in all_of(scope, b"content-length")]
    expected = lengths[0] if lengths else bytes_max
    if expected > bytes_max:
        raise bad_body(f"is longer than {bytes_max} bytes")
    return expected
