"""Random CEL of the extensions: what `tests.cel_generator` mixes into its expressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Source(Protocol):
    """What makes the parts of a form."""

    oracle: bool
    names: list[str]

    def of(self, kind: str, depth: int) -> str:
        """An expression that is of a kind, unless it is not."""
        ...

    def leaf(self, kind: str) -> str:
        """A literal, or a name of certain type."""
        ...

    def pick(self, options: Any) -> Any:
        """One of them."""
        ...

    def coin(self) -> bool:
        """True half of the time."""
        ...


KINDS = ("bool", "int", "uint", "double", "string", "bytes", "list", "map", "time", "span")
BASE64 = ("", "YQ==", "YQ", "ZHJhZnQ=", "+/+/", "a", "aa=", "?")
# cel-cpp skips blanks and full stops; we do not (docs/cel.md).
BASE64_LAX = ("Y Q==", "YQ.=", "YQ==\\n")
FORMATS = (
    ("%s-%s", ("string", "int")),
    ("%d %%", ("int",)),
    ("%x|%X", ("int", "string")),
    ("%b", ("bool",)),
    ("%b %o", ("int", "uint")),
    ("%.2f", ("double",)),
    ("%e", ("double",)),
    ("%.3e", ("int",)),
    ("%s", ("list",)),
    ("%d", ("string",)),
    ("%q", ("string",)),
    ("%s", ()),
)


def bool_forms(make: Source, depth: int) -> list[str]:
    """Of two variables, of optionals, of NaN and infinity."""
    return [
        f"{optional(make, depth)}.hasValue()",
        f"({optional(make, depth)} == {optional(make, depth)})",
        two_variables(make, make.pick(("all", "exists", "existsOne")), "bool", depth),
        two_variables(make, make.pick(("all", "exists", "existsOne")), "bool", depth),
        f"math.{make.pick(('isNaN', 'isInf', 'isFinite'))}({make.of('double', depth)})",
        bind(make, "bool", depth),
        f"{optional(make, depth)}.orValue({make.of('bool', depth)})",
    ]


def int_forms(make: Source, depth: int) -> list[str]:
    """Positions, bits, the largest and the smallest."""
    text, part = make.of("string", depth), make.of("string", 0)
    one, two = make.of("int", depth), make.of("int", depth)
    return [
        f"{text}.{make.pick(('indexOf', 'lastIndexOf'))}({part})",
        f"{text}.{make.pick(('indexOf', 'lastIndexOf'))}({part}, {make.pick((0, 1, 3, 200))})",
        f"math.{make.pick(('greatest', 'least'))}({one}, {two})",
        f"math.{make.pick(('greatest', 'least'))}({one}, {two}, {make.of('int', 0)})",
        f"math.{make.pick(('bitAnd', 'bitOr', 'bitXor'))}({one}, {two})",
        f"math.{make.pick(('bitShiftLeft', 'bitShiftRight'))}({one}, {make.pick((0, 1, 63, 64))})",
        f"math.{make.pick(('abs', 'sign', 'bitNot'))}({one})",
        f"{make.of('list', depth)}.{make.pick(('first', 'last'))}().orValue({one})",
        bind(make, "int", depth),
        f"{optional(make, depth)}.orValue({one})",
        f"{optional(make, depth)}.value()",
    ]


def uint_forms(make: Source, depth: int) -> list[str]:
    """Bits of unsigned numbers."""
    one, two = make.of("uint", depth), make.of("uint", depth)
    return [
        f"math.{make.pick(('bitAnd', 'bitOr', 'bitXor'))}({one}, {two})",
        f"math.bitNot({one})",
        f"math.bitShiftLeft({one}, {make.pick((0, 1, 63, 64))})",
        f"math.{make.pick(('greatest', 'least'))}({one}, {two})",
    ]


def double_forms(make: Source, depth: int) -> list[str]:
    """Rounding, roots, the largest."""
    one, two = make.of("double", depth), make.of("double", depth)
    return [
        f"math.{make.pick(('ceil', 'floor', 'round', 'trunc', 'abs', 'sign', 'sqrt'))}({one})",
        f"math.sqrt({make.of(make.pick(('int', 'uint')), 0)})",
        f"math.{make.pick(('greatest', 'least'))}({one}, {two})",
        f"math.{make.pick(('greatest', 'least'))}([{one}, {two}])",
    ]


def string_forms(make: Source, depth: int) -> list[str]:
    """Cutting, replacing, joining, formatting."""
    text, part = make.of("string", depth), make.of("string", 0)
    at = make.pick((0, 1, 2, 5, -1))
    limit = make.pick((-1, 0, 1, 2))
    return [
        f"{text}.charAt({at})",
        f"{text}.substring({at})",
        # cel-cpp refuses the very end (docs/cel.md), which a known text can avoid.
        f"{repr('draft') if make.oracle else text}.substring({at}, {make.pick((0, 1, 3, 9))})",
        f"{text}.replace({part}, {make.of('string', 0)})",
        f"{text}.replace({part}, {make.of('string', 0)}, {limit})",
        f"{text}.{make.pick(('lowerAscii', 'upperAscii', 'trim', 'reverse'))}()",
        f"{make.of('list', depth)}.join({part})",
        f"{text}.split({part}).join('+')",
        f"strings.quote({text})",
        f"base64.encode({make.of('bytes', depth)})",
        formatted(make, depth),
        formatted(make, depth),
        bind(make, "string", depth),
        f"{optional(make, depth)}.orValue({text})",
    ]


def formatted(make: Source, depth: int) -> str:
    """`format`, with arguments that may not fit."""
    pattern, kinds = make.pick(FORMATS)
    if make.oracle:
        # cel-cpp writes six digits of a double, three of a second (docs/cel.md).
        arguments = [f"dyn({make.leaf(kind)})" for kind in kinds]
    else:
        arguments = [f"dyn({make.of(make.pick((kind, kind, 'map')), depth)})" for kind in kinds]
    return f"'{pattern}'.format([{', '.join(arguments)}])"


def bytes_forms(make: Source, _depth: int) -> list[str]:
    """Decoding."""
    text = make.pick(BASE64 if make.oracle else BASE64 + BASE64_LAX)
    return [f"base64.decode('{text}')", f"base64.decode(base64.encode({make.leaf('bytes')}))"]


def list_forms(make: Source, depth: int) -> list[str]:
    """Slices, sorting, flattening, and loops of two variables."""
    items = make.of("list", depth)
    text = make.of("string", depth)
    plain = "['b', 'a', 'é']" if make.oracle else items
    return [
        f"{items}.slice({make.pick((0, 1))}, {make.pick((0, 1, 2, 9))})",
        f"[{items}, {items}].flatten({make.pick(('', '0', '1', '2', '9'))})",
        f"{items}.{make.pick(('distinct', 'reverse'))}()",
        f"{plain}.sort()",
        f"[3, {make.of('int', 0)}, 1].sort()",
        f"[{make.of('string', 0)}, 'b'].sortBy(x, x + 'a')",
        f"lists.range({make.pick((0, 1, 5))})",
        f"{text}.split({make.of('string', 0)}, {make.pick((-1, 0, 1, 2, 3))})",
        f"[?{optional(make, depth)}, {make.of(make.pick(KINDS), depth)}]",
        two_variables(make, "transformList", make.pick(KINDS), depth),
        bind(make, "list", depth),
        f"{optional(make, depth)}.orValue({items})",
    ]


def map_forms(make: Source, depth: int) -> list[str]:
    """Optional entries, and what cel-cpp compiles but cannot run: `transformMap`."""
    forms = [
        f"{{?'a': {optional(make, depth)}, 'b': {make.of('int', depth)}}}",
        f"{optional(make, depth)}.orValue({make.of('map', depth)})",
        bind(make, "map", depth),
    ]
    if not make.oracle:
        forms += [
            two_variables(make, "transformMap", make.pick(KINDS), depth),
            two_variables(make, "transformMapEntry", "map", depth),
        ]
    return forms


def optional(make: Source, depth: int) -> str:
    """Something that may be missing."""
    root = make.pick(("context", "subject.properties", "any", "context.m"))
    key = make.pick(("a", "b", "n", "s", "xs", "m"))
    forms = [
        f"{root}.?{key}",
        f"{root}.?m.?{key}",
        f"{root}[?'{key}']",
        "optional.none()",
        f"optional.of({make.leaf(make.pick(KINDS))})",
    ]
    if depth > 0:
        part = make.of(make.pick(KINDS), depth - 1)
        name = make.pick(("x", "y", "any"))
        first = optional(make, depth - 1)
        make.names.append(name)
        mapped = make.of(make.pick(KINDS), depth - 1)
        make.names.pop()
        forms += [
            f"optional.{make.pick(('of', 'ofNonZeroValue'))}({part})",
            f"{first}.or({optional(make, depth - 1)})",
            f"{first}.optMap({name}, {mapped})",
            f"{first}.optFlatMap({name}, optional.of({mapped}))",
            f"{make.of('list', depth - 1)}.{make.pick(('first', 'last'))}()",
        ]
        if not make.oracle:
            # cel-cpp takes the error of a look-up in an optional for its value.
            forms += [
                f"{first}.{key}",
                f"{first}['{key}']",
                f"{make.of('list', depth - 1)}[?{make.of('int', 0)}]",
                f"dyn({first})",
                f"({make.of('bool', depth - 1)} ? {first} : optional.none())",
            ]
    return str(make.pick(forms))


def bind(make: Source, kind: str, depth: int) -> str:
    """`cel.bind`, whose name may hide another and may not be used."""
    name = make.pick(("x", "y", "any", "b1"))
    value = make.of(make.pick(KINDS), depth)
    make.names.append(name)
    body = make.of(kind, depth)
    make.names.pop()
    return f"cel.bind({name}, {value}, {body})"


def two_variables(make: Source, macro: str, kind: str, depth: int) -> str:
    """A loop over indices and elements, or keys and values."""
    source = make.of("list" if make.oracle else make.pick(("list", "map")), depth)
    first, second = make.pick((("i", "x"), ("x", "y"), ("any", "i")))
    make.names.extend((first, second))
    body = make.of(kind, depth)
    test = f"{make.of('bool', depth)}, " if macro.startswith("transform") and make.coin() else ""
    del make.names[-2:]
    return f"{source}.{macro}({first}, {second}, {test}{body})"


FORMS: dict[str, Callable[[Source, int], list[str]]] = {
    "bool": bool_forms,
    "int": int_forms,
    "uint": uint_forms,
    "double": double_forms,
    "string": string_forms,
    "bytes": bytes_forms,
    "list": list_forms,
    "map": map_forms,
}
