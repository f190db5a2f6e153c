"""What a library is: rows of functions, and how they are declared to the checker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """One row. It answers for all overloads of its name and number of arguments.

    It decides by the kinds it meets, because an argument of type `dyn` may turn
    out to be any of them: the checker then names several overloads at once.

    Attributes:
        name: CEL's name, `_+_` for operators.
        overloads: ids of the checker.
        arity: arguments, the receiver of a method included.
        call: takes evaluated arguments, then the meter if `metered`.
        metered: whether the call itself charges units.
        result: the Python type of every result, or None if it varies.
        literal: reads the second of two arguments, if that is a text written in the
            policy, into what `call` takes in its stead: once, when the condition is
            compiled. Its `CelError` is a refusal of the policy.
        folds: a call whose arguments are all literals is made when the condition is
            compiled, too. For functions of one text, whose work is worth it.
    """

    name: str
    overloads: frozenset[str]
    arity: int
    call: Callable[..., Any]
    metered: bool = False
    result: type | None = None
    literal: Callable[[str], Any] | None = None
    folds: bool = False

    def knowing(self, value: Any) -> Function:
        """This function for a second argument that was read already: `value`."""
        call = self.call
        if self.metered:
            return replace(self, call=lambda one, _text, meter: call(one, value, meter))
        return replace(self, call=lambda one, _text: call(one, value))


@dataclass(frozen=True, slots=True)
class Declaration:
    """An overload that the checker does not bring and has to be told of.

    Attributes:
        function: the name it is called by.
        overload: its id; a `Function` of the same library answers for it.
        parameters: type signatures, `map(string, dyn)`, the receiver of a method first. A
            name of one capital letter is a type parameter.
        result: the type signature of its value.
        member: whether it is called as a method of its first parameter.
    """

    function: str
    overload: str
    parameters: tuple[str, ...]
    result: str
    member: bool = False


@dataclass(frozen=True, slots=True)
class Library:
    """Functions that belong together.

    Attributes:
        name: for people.
        functions: its rows.
        extension: the extension of the official checker that declares its
            overloads and macros; empty if it needs none.
        declarations: overloads that no extension declares.
        types: names of its opaque types.
    """

    name: str
    functions: tuple[Function, ...]
    extension: str = ""
    declarations: tuple[Declaration, ...] = ()
    types: tuple[str, ...] = ()


def words(ids: str) -> frozenset[str]:
    """Overload ids, written with blanks between."""
    return frozenset(ids.split())


def prefixed(prefix: str, suffixes: str) -> frozenset[str]:
    """Overload ids of one prefix: `add_int64`, `add_double`."""
    return frozenset(f"{prefix}_{suffix}" for suffix in suffixes.split())
