"""The baseline: the conditions of `loadtests.conditions`, written by hand in Python.

No CEL semantics: no check of kinds, no cost, no errors as values. Constants
are parsed beforehand. Each takes the attributes as `pdp.boundary` hands them
on, `now` as a datetime.
"""

# ruff: noqa: PLR2004 the numbers are those of the conditions

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

_NETWORK = ip_network("10.0.0.0/8")
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_END = datetime(2027, 1, 1, tzinfo=UTC)
_WANTED = ("admin", "auditor", "sre")


def string_equality(a: dict[str, Any]) -> bool:
    """The subject's department owns the resource."""
    return a["subject.properties"]["department"] == a["resource.properties"]["owner_department"]  # type: ignore[no-any-return]


def membership(a: dict[str, Any]) -> bool:
    """An auditor reads or lists."""
    return a["action.name"] in ("read", "list") and "auditor" in a["subject.properties"]["roles"]


def numeric(a: dict[str, Any]) -> bool:
    """Two comparisons of integers."""
    return (  # type: ignore[no-any-return]
        a["resource.properties"]["amount"] < 10_000 and a["subject.properties"]["clearance"] >= 3
    )


def exists(a: dict[str, Any]) -> bool:
    """One of the roles is one of three."""
    return any(role in _WANTED for role in a["subject.properties"]["roles"])


def timestamps(a: dict[str, Any]) -> bool:
    """Within the year."""
    return a["now"] >= _BEGIN and a["now"] < _END  # type: ignore[no-any-return]


def network(a: dict[str, Any]) -> bool:
    """Asked from the inside."""
    return ip_address(a["context"]["ip"]) in _NETWORK


def all_six(a: dict[str, Any]) -> bool:
    """All of them."""
    return (
        a["subject.properties"]["department"] == a["resource.properties"]["owner_department"]
        and (a["action.name"] in ("read", "list") and "auditor" in a["subject.properties"]["roles"])
        and (
            a["resource.properties"]["amount"] < 10_000
            and a["subject.properties"]["clearance"] >= 3
        )
        and any(role in _WANTED for role in a["subject.properties"]["roles"])
        and (a["now"] >= _BEGIN and a["now"] < _END)
        and ip_address(a["context"]["ip"]) in _NETWORK
    )
