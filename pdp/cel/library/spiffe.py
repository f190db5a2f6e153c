"""SPIFFE IDs: who a workload is, in parts. Source of the rules: SPIFFE-ID, section 2.

Nothing is normalised: an upper-case trust domain, a port, a query, `%`, an
empty segment, `.` and `..` are errors, as they are where identities come in.
"""

from __future__ import annotations

import re

from pdp.cel.cost import COPIED_PER_UNIT, Meter, charge
from pdp.cel.library.reading import can_be_read, part_of
from pdp.cel.library.signatures import define, make_library
from pdp.cel.opaque import NAMES, SpiffeID
from pdp.cel.values import CelError, Datum, no_overload

_BYTES_MAX = 2_048
_TRUST_DOMAIN_BYTES_MAX = 255
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}", re.ASCII)
_PATH = re.compile(r"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9._-]+)*", re.ASCII)
_SCHEME = "spiffe://"
_READ_UNITS = 10


def read_trust_domain(text: str) -> str:
    """`example.org`.

    Raises:
        CelError: not the name of a trust domain.
    """
    if len(text) > _TRUST_DOMAIN_BYTES_MAX or not _TRUST_DOMAIN.fullmatch(text):
        message = "not a trust domain: want `example.org`"
        raise CelError(message)
    return text


def read_spiffe_id(text: str) -> SpiffeID:
    """`spiffe://example.org/ns/prod`, or `spiffe://example.org`, which names the trust domain.

    Raises:
        CelError: not a SPIFFE ID.
    """
    if len(text) <= _BYTES_MAX and text.startswith(_SCHEME):
        domain, slash, rest = text.removeprefix(_SCHEME).partition("/")
        if _TRUST_DOMAIN.fullmatch(domain) and _PATH.fullmatch(slash + rest):
            return SpiffeID(domain, slash + rest)
    message = "not a SPIFFE ID: want `spiffe://example.org/path`"
    raise CelError(message)


def spiffe_id(text: Datum, meter: Meter) -> SpiffeID:
    """`spiffeID(text)`."""
    if type(text) is not str:
        raise no_overload("spiffeID", text)
    charge(meter, _READ_UNITS + len(text) // COPIED_PER_UNIT)
    return read_spiffe_id(text)


def is_under(one: Datum, other: Datum, meter: Meter) -> bool:
    """`id.isUnder(other)`: in the same trust domain, one or more whole segments below."""
    if type(one) is not SpiffeID:
        raise no_overload("isUnder", one, other)
    if type(other) is str:
        charge(meter, _READ_UNITS + len(other) // COPIED_PER_UNIT)
        other = read_spiffe_id(other)
    elif type(other) is not SpiffeID:
        raise no_overload("isUnder", one, other)
    charge(meter, len(other.path) // COPIED_PER_UNIT)
    return one.trust_domain == other.trust_domain and one.path.startswith(f"{other.path}/")


def in_trust_domain(one: Datum, domain: Datum, meter: Meter) -> bool:
    """`id.inTrustDomain(name)`."""
    if type(one) is not SpiffeID or type(domain) is not str:
        raise no_overload("inTrustDomain", one, domain)
    charge(meter, 1 + len(domain) // COPIED_PER_UNIT)
    return one.trust_domain == read_trust_domain(domain)


_NAME = NAMES[SpiffeID]

LIBRARY = make_library(
    "spiffe",
    define("spiffeID", {"string_to_spiffe_id": f"(string) -> {_NAME}"}, spiffe_id, folds=True),
    define(
        "isSpiffeID",
        {"is_spiffe_id": "(string) -> bool"},
        can_be_read(read_spiffe_id, "isSpiffeID", _READ_UNITS),
    ),
    define(
        "trustDomain",
        {"spiffe_id_trust_domain": f"{_NAME}.() -> string"},
        part_of(SpiffeID, "trustDomain", lambda one: one.trust_domain),
        metered=False,
    ),
    define(
        "path",
        {"spiffe_id_path": f"{_NAME}.() -> string"},
        part_of(SpiffeID, "path", lambda one: one.path),
        metered=False,
    ),
    define(
        "isUnder",
        {
            "spiffe_id_is_under": f"{_NAME}.({_NAME}) -> bool",
            "spiffe_id_is_under_string": f"{_NAME}.(string) -> bool",
        },
        is_under,
        literal=read_spiffe_id,
    ),
    define(
        "inTrustDomain",
        {"spiffe_id_in_trust_domain": f"{_NAME}.(string) -> bool"},
        in_trust_domain,
        literal=read_trust_domain,
    ),
    types=(_NAME,),
)
