"""SPIFFE IDs: `spiffe://trust_domain/path`, the names of workloads. Nothing is normalised."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pdp.errors import IdentityError

SPIFFE_ID_BYTES_MAX: Final = 2_048  # SPIFFE-ID section 2.3
TRUST_DOMAIN_BYTES_MAX: Final = 255  # SPIFFE-ID section 2.3

# SPIFFE-ID section 2.1 and 2.2. Upper case in a trust domain, percent-encoding,
# ports, queries and fragments are all outside these sets.
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]+", re.ASCII)
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_SCHEME: Final = "spiffe://"


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """A checked `spiffe://trust_domain/path`; `path` starts with a slash and is not empty."""

    trust_domain: str
    path: str

    def __str__(self) -> str:
        return f"{_SCHEME}{self.trust_domain}{self.path}"


def check_trust_domain(text: str) -> str:
    """A trust domain name, unchanged.

    Raises:
        IdentityError: it breaks a rule of SPIFFE-ID section 2.1.
    """
    if len(text) > TRUST_DOMAIN_BYTES_MAX or not _TRUST_DOMAIN.fullmatch(text):
        message = (
            f"{text[:80]!a} is not a trust domain: lower-case letters, digits, dots, dashes and "
            "underscores"
        )
        raise IdentityError(message)
    return text


def parse_spiffe_id(text: str) -> SpiffeId:
    """Read the identity of a workload. Nothing is normalised: equality is byte by byte.

    Raises:
        IdentityError: it breaks a rule of SPIFFE-ID section 2, or has no path
            (then it names a trust domain, not a workload).
    """
    if len(text) > SPIFFE_ID_BYTES_MAX:
        message = f"a SPIFFE ID is at most {SPIFFE_ID_BYTES_MAX} bytes long"
        raise IdentityError(message)
    if not text.startswith(_SCHEME):
        message = f"{text[:80]!a} is not a SPIFFE ID: it does not start with `{_SCHEME}`"
        raise IdentityError(message)
    trust_domain, slash, rest = text.removeprefix(_SCHEME).partition("/")
    check_trust_domain(trust_domain)
    segments = rest.split("/")
    if not slash or not all(map(_is_segment, segments)):
        message = f"{text[:80]!a} is not the SPIFFE ID of a workload: its path is empty or wrong"
        raise IdentityError(message)
    return SpiffeId(trust_domain, f"/{rest}")


def _is_segment(segment: str) -> bool:
    return segment not in {".", ".."} and _SEGMENT.fullmatch(segment) is not None
