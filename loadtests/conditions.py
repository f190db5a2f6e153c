"""Single conditions: ours, the two other CEL engines for Python, and Python by hand.

The six conditions of the published comparison, and all six joined. Each engine
gets the same texts and the same eighteen attributes:

ours             `CompiledExpression.verdict` on the admitted request
by hand          the function of `loadtests.by_hand` on the same
cel-expr-python  one compiled expression on a dict: its conversion is inside,
                 of the variables that the expression names
cel-python       its interpreter, `json_to_cel` of all attributes inside

Engines without a network library get a Python function, registered their way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

import celpy
import celpy.adapter
from cel_expr_python import cel

from loadtests import by_hand
from loadtests.rounds import Target, measure
from pdp.authoring.checker import CONDITION_VARIABLES, Checker
from pdp.cel.compile import compile_expression
from pdp.cel.limits import EvaluationLimits
from pdp.checked_expr import decode
from pdp.model import Verdict
from pdp.values import NANOS, Timestamp

SOURCES: Mapping[str, str] = {
    "string equality": "subject.properties.department == resource.properties.owner_department",
    "membership": 'action.name in ["read", "list"] && "auditor" in subject.properties.roles',
    "numeric": "resource.properties.amount < 10000 && subject.properties.clearance >= 3",
    "exists": 'subject.properties.roles.exists(r, r in ["admin", "auditor", "sre"])',
    "timestamps": (
        'now >= timestamp("2026-01-01T00:00:00Z") && now < timestamp("2027-01-01T00:00:00Z")'
    ),
    "CIDR": 'cidr("10.0.0.0/8").containsIP(ip(context.ip))',
}
JOINED = "all six"
_OURS, _HAND, _CPP, _CELPY = "ours", "by hand", "cel-expr-python", "cel-python"
BY_HAND: Mapping[str, Callable[[dict[str, Any]], bool]] = {
    "string equality": by_hand.string_equality,
    "membership": by_hand.membership,
    "numeric": by_hand.numeric,
    "exists": by_hand.exists,
    "timestamps": by_hand.timestamps,
    "CIDR": by_hand.network,
    JOINED: by_hand.all_six,
}
_FUNCTION = 'in_cidr(context.ip, "10.0.0.0/8")'
_NOW = datetime(2026, 9, 15, 10, tzinfo=UTC)
# By hand, at most so many times; against the others, at least.
_HAND_MAX = {"timestamps": 12.0, JOINED: 2.0}
_CPP_MIN = {"exists": 4.0, "timestamps": 4.0}
_HAND_DEFAULT, _CPP_DEFAULT, _CELPY_MIN = 8.0, 5.0, 200.0


def attributes(now: object) -> dict[str, Any]:
    """Eighteen attributes in five variables."""
    return {
        "subject.properties": {
            "department": "sales",
            "roles": ["viewer", "employee", "auditor"],
            "clearance": 4,
            "grade": 5,
            "manager": "dan",
            "location": "zurich",
            "employed": True,
        },
        "resource.properties": {
            "owner_department": "sales",
            "amount": 500,
            "status": "submitted",
            "classification": "internal",
            "year": 2026,
        },
        "action.name": "read",
        "context": {"ip": "10.20.30.40", "mfa": True, "channel": "web", "risk": 0.25},
        "now": now,
    }


@functools.lru_cache(maxsize=16)
def _parsed(network: str) -> Any:
    return ip_network(network)


def in_cidr(address: str, network: str) -> Any:
    """What engines without a network library are given. The network is parsed once."""
    return ip_address(address) in _parsed(network)


def texts(*, native: bool) -> dict[str, str]:
    """The conditions, with a network library or with the function in its place."""
    texts = {**SOURCES, "CIDR": SOURCES["CIDR"] if native else _FUNCTION}
    return {**texts, JOINED: " && ".join(texts.values())}


def _ours() -> dict[str, Callable[[], object]]:
    given = attributes(Timestamp(int(_NOW.timestamp()) * NANOS))
    steps: dict[str, Callable[[], object]] = {}
    with Checker() as checker:
        for name, text in texts(native=True).items():
            checked = checker.check(text, CONDITION_VARIABLES).checked_expr
            made = compile_expression(decode(checked, text), {}, EvaluationLimits())
            _must(made.verdict(given) is Verdict.TRUE, _OURS, name)
            steps[name] = functools.partial(made.verdict, given)
    return steps


def _by_hand() -> dict[str, Callable[[], object]]:
    given = attributes(_NOW)
    for name, function in BY_HAND.items():
        _must(function(given), _HAND, name)
    return {name: functools.partial(function, given) for name, function in BY_HAND.items()}


def _cel_expr_python() -> dict[str, Callable[[], object]]:
    given = attributes(_NOW)
    kinds = {
        "string": cel.Type.STRING,
        "map(string, dyn)": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
        "map(string, string)": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
        "google.protobuf.Timestamp": cel.Type.TIMESTAMP,
    }
    two = [cel.Type.STRING, cel.Type.STRING]
    overload = cel.Overload("in_cidr_two", cel.Type.BOOL, two, impl=in_cidr)
    environment = cel.NewEnv(
        variables={name: kinds[CONDITION_VARIABLES[name]] for name in given},
        functions=[cel.FunctionDecl("in_cidr", [overload])],
    )
    steps: dict[str, Callable[[], object]] = {}
    for name, text in texts(native=False).items():
        made = environment.compile(text)
        _must(made.eval(data=given).value() is True, _CPP, name)
        steps[name] = functools.partial(made.eval, data=given)
    return steps


def _cel_python() -> dict[str, Callable[[], object]]:
    flat = attributes(_NOW)
    # It knows no names with dots: the same attributes in maps.
    given = {
        "subject": {"properties": flat["subject.properties"]},
        "resource": {"properties": flat["resource.properties"]},
        "action": {"name": flat["action.name"]},
        "context": flat["context"],
        "now": flat["now"],
    }
    environment = celpy.Environment(runner_class=celpy.InterpretedRunner)
    convert = celpy.adapter.json_to_cel
    steps: dict[str, Callable[[], object]] = {}
    for name, text in texts(native=False).items():
        made = environment.program(environment.compile(text), functions={"in_cidr": in_cidr})

        def step(made: Any = made) -> object:
            return made.evaluate({key: convert(value) for key, value in given.items()})

        _must(bool(step()), _CELPY, name)
        steps[name] = step
    return steps


def _must(ok: object, engine: str, name: str) -> None:
    if not ok:
        raise SystemExit(f"bench: {engine} does not say true to `{name}`")


def targets() -> list[Target]:
    """Every condition, measured."""
    engines = {
        _OURS: _ours(),
        _HAND: _by_hand(),
        _CPP: _cel_expr_python(),
        _CELPY: _cel_python(),
    }
    found: list[Target] = []
    for name in BY_HAND:
        taken = measure({engine: steps[name] for engine, steps in engines.items()})
        ours = taken[_OURS]
        detail = ", ".join(f"{engine} {timing.median:.2f}" for engine, timing in taken.items())
        found.append(
            Target(
                f"{name}: {_OURS} / {_HAND}",
                ours.times(taken[_HAND]),
                at_most=_HAND_MAX.get(name, _HAND_DEFAULT),
                detail=f"µs: {detail}",
            )
        )
        if name == JOINED:
            continue
        for other, limit in ((_CPP, _CPP_MIN.get(name, _CPP_DEFAULT)), (_CELPY, _CELPY_MIN)):
            words = f"{name}: {other} / {_OURS}"
            found.append(Target(words, taken[other].times(ours), at_least=limit))
    return found
