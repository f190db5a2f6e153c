"""`emergency/denials.json`: who is denied at once. People write it in a hurry, so errors teach.

    {"version": 1,
     "callers":  ["spiffe://example.org/billing"],
     "serials":  [{"trust_domain": "example.org", "serial": "3f2a..."}],
     "subjects": [{"type": "user", "id": "mallory"}],
     "jtis":     [{"iss": "https://idp.example.org", "jti": "7d1c..."}]}

All five keys, nothing else: a misspelt key would be a denial that never
happens. For the same reason an entry that could match nothing is refused.
"""

from __future__ import annotations

import re
from typing import Any

from pdp.admission import Denials
from pdp.bundle.strict_json import StrictJsonError, check_keys, parse_object, render
from pdp.callers import TRUST_DOMAIN_BYTES_MAX, check_caller_id
from pdp.errors import BundleRefusedError, PolicyError

DENIALS_VERSION = 1
# 16,384 entries of 64 bytes. A longer list is a policy, not an emergency.
DENIALS_BYTES_MAX = 1024 * 1024
EMPTY_DENIALS = render(
    {"version": DENIALS_VERSION, "callers": [], "serials": [], "subjects": [], "jtis": []}
)

# SPIFFE-ID, section 2.1.
_TRUST_DOMAIN = re.compile(rf"[a-z0-9._-]{{1,{TRUST_DOMAIN_BYTES_MAX}}}", re.ASCII)
# RFC 5280, section 4.1.2.2: a serial number has at most 20 octets.
_SERIAL = re.compile(r"[0-9A-Fa-f]{1,40}", re.ASCII)
_TEXT_BYTES_MAX = 1024  # as the boundary's limit of a name: a longer one is never asked about


def parse_denials(data: bytes, name: str = "emergency/denials.json") -> Denials:
    """Parse the denials.

    Args:
        data: the file.
        name: how messages call it.

    Raises:
        BundleRefusedError: not exactly this form. If it raises anything else,
            that is a bug.
    """
    try:
        return _parse(parse_object(data, DENIALS_BYTES_MAX))
    except StrictJsonError as error:
        raise BundleRefusedError(f"`{name}` {error}") from None


def _parse(value: dict[str, Any]) -> Denials:
    check_keys(value, frozenset({"version", "callers", "serials", "subjects", "jtis"}))
    if value["version"] != DENIALS_VERSION or type(value["version"]) is not int:
        raise StrictJsonError(f"has another `version` than {DENIALS_VERSION}")
    return Denials(
        callers=frozenset(_caller(item, i) for i, item in enumerate(_list(value, "callers"))),
        serials=frozenset(_serial(item, i) for i, item in enumerate(_list(value, "serials"))),
        subjects=_pairs(value, "subjects", ("type", "id")),
        jtis=_pairs(value, "jtis", ("iss", "jti")),
    )


def _list(value: dict[str, Any], key: str) -> list[Any]:
    items = value[key]
    if type(items) is not list:
        raise StrictJsonError(f"has a `{key}` that is not a list")
    return items


def _caller(item: Any, index: int) -> str:
    where = f"callers[{index}]"
    if type(item) is not str:
        raise StrictJsonError(f"has a `{where}` that is not a string")
    if "*" in item:
        raise StrictJsonError(f"has a pattern in `{where}`: denials name each workload in full")
    try:
        return check_caller_id(item)
    except PolicyError as error:
        raise StrictJsonError(f"has {item[:80]!a} in `{where}`: {error}") from None


def _serial(item: Any, index: int) -> tuple[str, str]:
    where = f"serials[{index}]"
    trust_domain, serial = _pair(item, where, ("trust_domain", "serial"))
    if _TRUST_DOMAIN.fullmatch(trust_domain) is None:
        raise StrictJsonError(
            f"has {trust_domain[:80]!a} in `{where}`, which is no trust domain "
            "(like `example.org`, in lower case)"
        )
    if _SERIAL.fullmatch(serial) is None:
        raise StrictJsonError(
            f"has {serial[:80]!a} in `{where}`, which is no serial number: "
            "write hexadecimal digits without separators, as `openssl x509 -serial` does"
        )
    # `openssl` writes capitals and a leading zero; `Caller.serial` has neither.
    return trust_domain, f"{int(serial, 16):x}"


def _pairs(value: dict[str, Any], key: str, names: tuple[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(_pair(item, f"{key}[{i}]", names) for i, item in enumerate(_list(value, key)))


def _pair(item: Any, where: str, names: tuple[str, str]) -> tuple[str, str]:
    if type(item) is not dict:
        raise StrictJsonError(f"has a `{where}` that is not an object")
    check_keys(item, frozenset(names), f"`{where}`")
    for name in names:
        text = item[name]
        if type(text) is not str or not text or len(text.encode()) > _TEXT_BYTES_MAX:
            raise StrictJsonError(
                f"has a `{where}.{name}` that is not a string of 1 to {_TEXT_BYTES_MAX} bytes"
            )
    return item[names[0]], item[names[1]]
