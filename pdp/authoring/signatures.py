"""What functions take, kind by kind: the official checker's overloads, for arguments of a shape.

The checker resolves an argument of type `dyn` to whatever overload there is;
a schema may know better. A function that is not here is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from types import MappingProxyType
from typing import Final

from pdp.authoring.shapes import NUMBERS, Shape
from pdp.cel.functions import LIBRARIES

_TIMESTAMP, _DURATION = "google.protobuf.Timestamp", "google.protobuf.Duration"
ANY: Final = "dyn"
# Kinds of the arguments, then the kind of the result.
Signature = tuple[str, ...]
ARITHMETIC: Final = frozenset({"_+_", "_-_", "_*_", "_/_", "_%_", "-_"})
ORDER: Final = frozenset({"_<_", "_<=_", "_>_", "_>=_"})
_ORDERED: Final = ("bool", "string", "bytes", _TIMESTAMP, _DURATION)


def _arithmetic() -> Iterator[tuple[str, Signature]]:
    for name in ("_+_", "_-_", "_*_", "_/_", "_%_"):
        for kind in ("int", "uint", "double") if name != "_%_" else ("int", "uint"):
            yield name, (kind, kind, kind)
    yield from (("-_", (kind, kind)) for kind in ("int", "double"))
    yield from (("_+_", (kind, kind, kind)) for kind in ("string", "bytes", "list"))
    for name in ("_+_", "_-_"):
        yield name, (_DURATION, _DURATION, _DURATION)
        yield name, (_TIMESTAMP, _DURATION, _TIMESTAMP)
    yield "_+_", (_DURATION, _TIMESTAMP, _TIMESTAMP)
    yield "_-_", (_TIMESTAMP, _TIMESTAMP, _DURATION)


def _texts() -> Iterator[tuple[str, Signature]]:
    for name in ("contains", "startsWith", "endsWith", "matches"):
        yield name, ("string", "string", "bool")
    yield from (("size", (kind, "int")) for kind in ("string", "bytes", "list", "map"))
    yield from (("@in", (ANY, kind, "bool")) for kind in ("list", "map"))


def _conversions() -> Iterator[tuple[str, Signature]]:
    numbers = ("int", "uint", "double", "string")
    for target, sources in (
        ("int", (*numbers, _TIMESTAMP, _DURATION)),
        ("uint", numbers),
        ("double", numbers),
        ("string", (*numbers, "bytes", "bool", _TIMESTAMP, _DURATION)),
        ("bytes", ("bytes", "string")),
        ("bool", ("bool", "string")),
        ("timestamp", (_TIMESTAMP, "string", "int")),
        ("duration", (_DURATION, "string", "int")),
    ):
        result = {"timestamp": _TIMESTAMP, "duration": _DURATION}.get(target, target)
        yield from ((target, (source, result)) for source in sources)


def _accessors() -> Iterator[tuple[str, Signature]]:
    for name in (
        "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfYear", "getDayOfWeek",
        "getHours", "getMinutes", "getSeconds", "getMilliseconds",
    ):  # fmt: skip
        yield from ((name, (kind, "int")) for kind in (_TIMESTAMP, _DURATION))
        yield name, (_TIMESTAMP, "string", "int")


def _declared() -> Iterator[tuple[str, Signature]]:
    """Those of our own libraries."""
    for library in LIBRARIES:
        for each in library.declarations:
            kinds = (_base(signature) for signature in (*each.parameters, each.result))
            yield each.function, tuple(kinds)


def _base(signature: str) -> str:
    name = signature.partition("(")[0].strip()
    return ANY if len(name) == 1 else name


def _table() -> dict[str, tuple[Signature, ...]]:
    found: dict[str, list[Signature]] = {}
    for source in (_arithmetic(), _texts(), _conversions(), _accessors(), _declared()):
        for name, signature in source:
            found.setdefault(name, []).append(signature)
    return {name: tuple(signatures) for name, signatures in found.items()}


SIGNATURES: Final = MappingProxyType(_table())


def fitting(name: str, shapes: Sequence[Shape]) -> tuple[Signature, ...] | None:
    """The signatures that arguments of these shapes may fit; None: the function is not known."""
    known = [each for each in SIGNATURES.get(name, ()) if len(each) == len(shapes) + 1]
    if not known:
        return None
    return tuple(
        each
        for each in known
        if all(
            not shape.is_known or kind == ANY or kind in shape.kinds
            for kind, shape in zip(each, shapes, strict=False)
        )
    )


def depends_on_luck(name: str, shapes: Sequence[Shape]) -> bool:
    """Whether numbers that may be int or double fit for some kinds of them and not for others."""
    if name not in ARITHMETIC or not any(len(shape.kinds & NUMBERS) > 1 for shape in shapes):
        return False
    kinds = [shape.kinds & NUMBERS for shape in shapes]
    return all(kinds) and not all(
        any(each[:-1] == choice for each in SIGNATURES[name]) for choice in product(*kinds)
    )


def may_be_ordered(one: Shape, other: Shape) -> bool:
    """Whether `<` can be answered: numbers of any kind among themselves, else of one kind."""
    if not one.is_known or not other.is_known:
        return True
    both = one.kinds & other.kinds
    return bool(both & set(_ORDERED)) or bool(one.kinds & NUMBERS and other.kinds & NUMBERS)


def may_be_equal(one: Shape, other: Shape) -> bool:
    """Whether `==` can be true, by kinds alone."""
    if not one.is_known or not other.is_known:
        return True
    return bool(one.kinds & other.kinds) or bool(one.kinds & NUMBERS and other.kinds & NUMBERS)
