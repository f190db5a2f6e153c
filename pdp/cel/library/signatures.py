"""Libraries of our own, written as signatures: one text says what row and checker need.

(string) -> net.IP                      a function
net.CIDR.(net.IP) -> bool               a method of a block
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pdp.cel.library.rows import Declaration, Function, Library
from pdp.cel.values import KINDS_BY_NAME

_SIGNATURE = re.compile(r"(?:(?P<target>.+)\.)?\((?P<parameters>.*)\) -> (?P<result>.+)")
_COMMA = re.compile(r", (?![^(]*\))")


@dataclass(frozen=True, slots=True)
class Defined:
    """A function of ours: its row, and what the checker is told of it."""

    function: Function
    declarations: tuple[Declaration, ...]


def define(
    name: str,
    overloads: Mapping[str, str],
    call: Callable[..., Any],
    *,
    metered: bool = True,
    literal: Callable[[str], Any] | None = None,
    folds: bool = False,
) -> Defined:
    """One function.

    Args:
        name: CEL's name.
        overloads: signatures by overload id, all of one number of arguments.
        call: see `Function`, as for what follows.
        metered: whether `call` takes the meter.
        literal: reads a second argument that is written in the policy.
        folds: whether a call of literals is made at compile time.

    Raises:
        ValueError: not a signature, or signatures that do not go together.
    """
    declarations = tuple(_declared(name, *each) for each in overloads.items())
    arities = {len(each.parameters) for each in declarations}
    results = {each.result for each in declarations}
    if len(arities) != 1:
        message = f"`{name}`: overloads of one number of arguments make a row"
        raise ValueError(message)
    # A list's elements are looked at by whoever takes it; its kind is certain.
    kinds = {KINDS_BY_NAME.get(result.partition("(")[0]) for result in results}
    function = Function(
        name=name,
        overloads=frozenset(overloads),
        arity=arities.pop(),
        call=call,
        metered=metered,
        result=kinds.pop() if len(kinds) == 1 else None,
        literal=literal,
        folds=folds,
    )
    return Defined(function, declarations)


def _declared(name: str, overload: str, signature: str) -> Declaration:
    found = _SIGNATURE.fullmatch(signature)
    if found is None:
        message = f"`{signature}` is not a signature"
        raise ValueError(message)
    target, parameters = found["target"], _COMMA.split(found["parameters"])
    if not found["parameters"]:
        parameters = []
    if target:
        parameters = [target, *parameters]
    return Declaration(name, overload, tuple(parameters), found["result"], member=bool(target))


def make_library(name: str, *defined: Defined, types: tuple[str, ...] = ()) -> Library:
    """The library of these functions.

    Args:
        name: for people.
        defined: its functions.
        types: names of its opaque types.
    """
    return Library(
        name=name,
        functions=tuple(each.function for each in defined),
        declarations=tuple(part for each in defined for part in each.declarations),
        types=types,
    )
