"""Kinds of values beyond JSON that our own functions make: addresses, versions, identities.

Opaque: a condition takes them apart by functions only. Each is made by reading
a text, is immutable, and compares by what it means (`::FFFF` is `::ffff`). None
can come in with a request; what reads them is in `pdp.cel.library`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from types import MappingProxyType

IPV4_BITS, IPV6_BITS = 32, 128


@dataclass(frozen=True, slots=True)
class IP:
    """An address.

    Attributes:
        value: the address as a number.
        bits: how many it has, 32 or 128: which family it is of.
    """

    value: int
    bits: int

    def __str__(self) -> str:
        """Dotted, or as RFC 5952 has it."""
        make = ipaddress.IPv4Address if self.bits == IPV4_BITS else ipaddress.IPv6Address
        return str(make(self.value))


@dataclass(frozen=True, slots=True)
class CIDR:
    """A block of addresses. Host bits are kept: `10.0.0.1/8` is not `10.0.0.0/8`."""

    ip: IP
    prefix: int

    def __str__(self) -> str:
        return f"{self.ip}/{self.prefix}"


# The order of identifiers of a pre-release: numbers before texts (SemVer 2.0.0, item 11.4).
Identifier = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Semver:
    """A semantic version.

    Attributes:
        core: major, minor, patch.
        pre: sorts as the pre-release does: no pre-release comes after all of them.
        text: as it was written; the build is in it alone, for it does not count.
    """

    core: tuple[int, int, int]
    pre: tuple[int, tuple[Identifier, ...]]
    text: str = field(compare=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A place in a tree: the names from the root down."""

    segments: tuple[str, ...]
    separator: str = field(compare=False)

    def __str__(self) -> str:
        return self.separator.join(self.segments)


@dataclass(frozen=True, slots=True)
class SpiffeID:
    """A SPIFFE ID. `path` is empty, for a trust domain, or starts with a slash."""

    trust_domain: str
    path: str

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}{self.path}"


# The names that a condition knows the types by.
NAMES: MappingProxyType[type, str] = MappingProxyType(
    {
        IP: "net.IP",
        CIDR: "net.CIDR",
        Semver: "semver.Version",
        Hierarchy: "hierarchy.Path",
        SpiffeID: "spiffe.ID",
    }
)
