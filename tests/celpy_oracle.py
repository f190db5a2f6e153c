"""cel-python as the third opinion: `celpy.InterpretedRunner`, and conditions it can take.

Never its CompiledRunner, which mixes up threads. It knows no extensions, and
answers mixed numeric types, null and `dyn` with errors, so what it is asked is
the core language with every type certain.
"""

from __future__ import annotations

import random
from typing import Any

import celpy
from celpy import celtypes

from pdp.cel.syntax import Type
from pdp.values import INT64_MAX, INT64_MIN, NANOS, UINT64_MAX, Duration, Timestamp, Uint

VARIABLES = {
    "n": "int",
    "k": "int",
    "u": "uint",
    "f": "double",
    "s": "string",
    "t": "string",
    "p": "bool",
    "q": "bool",
    "b": "bytes",
    "ns": "list(int)",
    "ss": "list(string)",
    "m": "map(string, int)",
    "now": "google.protobuf.Timestamp",
    "d": "google.protobuf.Duration",
}
NAMES = {
    "int": ("n", "k"),
    "uint": ("u",),
    "double": ("f",),
    "string": ("s", "t"),
    "bool": ("p", "q"),
    "bytes": ("b",),
    "time": ("now",),
    "span": ("d",),
}
INTS = (0, 1, 2, 3, -1, -7, 64, 2**53, INT64_MAX, INT64_MAX - 1, INT64_MIN + 1)
DOUBLES = (0.0, 1.0, 1.5, -2.5, 1e300, 0.25)
STRINGS = ("", "a", "b", "draft", "é🐱", "12", "true", "a\x00b", "long text " * 10)
MOMENTS = ("1970-01-01T00:00:00Z", "2026-02-28T23:59:59Z", "2024-02-29T12:00:00Z")
SPANS = ("0s", "1s", "90s", "1h30m", "8760h")
PATTERNS = ("a", "^a.*", "(a|b)+$", "[0-9]+")
ORDERED = ("int", "uint", "double", "string", "time", "span")


class Generator:
    """Makes conditions whose every part has one type, and attributes of these types."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.loops: list[tuple[str, str]] = []

    def pick(self, options: Any) -> Any:
        """One of them."""
        return self.random.choice(options)

    def expression(self) -> str:
        """Mostly a condition."""
        return self.of(self.pick(("bool", "bool", "bool", "int", "int", *ORDERED)), 4)

    def of(self, kind: str, depth: int) -> str:
        """An expression of exactly this type."""
        if depth <= 0 or self.random.random() < 0.2:
            return self._leaf(kind)
        if self.random.random() < 0.1:
            test, one, two = self.of("bool", depth - 1), *(self.of(kind, depth - 1) for _ in "ab")
            return f"({test} ? {one} : {two})"
        return str(self.pick(getattr(self, f"_{kind}")(depth - 1)))

    def _leaf(self, kind: str) -> str:
        known = [name for name, its in self.loops if its == kind]
        if known and self.random.random() < 0.6:
            return str(self.pick(known))
        if self.random.random() < 0.5:
            return str(self.pick(NAMES[kind]))
        literals = {
            "int": [str(value) for value in INTS],
            "uint": ["0u", "1u", "64u", f"{UINT64_MAX}u"],
            "double": ["0.0", "1.5", "-2.5", "1e300"],
            "string": ["''", "'a'", "'draft'", "'é'", "'12'"],
            "bool": ["true", "false"],
            "bytes": ["b''", "b'a'", "b'\\xff'"],
            "time": [f"timestamp('{each}')" for each in MOMENTS],
            "span": [f"duration('{each}')" for each in SPANS],
        }
        return str(self.pick(literals[kind]))

    def _list(self, kind: str, depth: int) -> str:
        name = {"int": "ns", "string": "ss"}[kind]
        parts = ", ".join(self.of(kind, depth - 1) for _ in range(self.random.randrange(1, 4)))
        return str(self.pick((name, name, f"[{parts}]", f"({name} + [{parts}])")))

    def _loop(self, macro: str, kind: str, body: str, depth: int) -> str:
        source = self._list(kind, depth)
        # A name of its own: cel-python lets an outer name win over a loop's.
        name = f"x{len(self.loops)}"
        self.loops.append((name, kind))
        made = self.of(body, depth)
        self.loops.pop()
        return f"{source}.{macro}({name}, {made})"

    def _bool(self, depth: int) -> list[str]:
        kind = self.pick(ORDERED)
        one, two = self.of(kind, depth), self.of(kind, depth)
        p, q, text = self.of("bool", depth), self.of("bool", depth), self.of("string", depth)
        item = self.pick(("int", "string"))
        return [
            f"({p} && {q})",
            f"({p} || {q})",
            f"!{p}",
            f"({one} == {two})",
            f"({one} != {two})",
            f"({one} {self.pick(('<', '<=', '>', '>='))} {two})",
            f"({self.of(item, depth)} in {self._list(item, depth)})",
            f"({text} in m)",
            f"has(m.{self.pick('abz')})",
            f"{text}.{self.pick(('contains', 'startsWith', 'endsWith'))}({self.of('string', 0)})",
            f"{text}.matches('{self.pick(PATTERNS)}')",
            self._loop(self.pick(("all", "exists", "exists_one")), item, "bool", depth),
        ]

    def _int(self, depth: int) -> list[str]:
        one, two = self.of("int", depth), self.of("int", depth)
        return [
            *[f"({one} {self.pick(operator)} {two})" for operator in ("+-", "*", "/%", "+")],
            f"size({self.of('string', depth)})",
            f"size({self._list('int', depth)})",
            f"{self._list('int', depth)}[{self.pick((0, 1, 5))}]",
            f"m.{self.pick('abz')}",
            f"int({self.of('uint', depth)})",
            f"{self.of('time', depth)}.{self.pick(('getHours', 'getDate', 'getFullYear'))}()",
            f"size({self._loop('filter', 'int', 'bool', depth)})",
            f"{self._loop('map', 'int', 'int', depth)}[0]",
        ]

    def _uint(self, depth: int) -> list[str]:
        one, two = self.of("uint", depth), self.of("uint", depth)
        return [f"({one} {self.pick('+-*/%')} {two})"]

    def _double(self, depth: int) -> list[str]:
        one, two = self.of("double", depth), self.of("double", depth)
        return [f"({one} {self.pick('+-*')} {two})", f"double({self.of('int', depth)})"]

    def _string(self, depth: int) -> list[str]:
        one, two = self.of("string", depth), self.of("string", depth)
        # `string()` around it: there, `+` gives a Python `str`, which has no methods of CEL.
        return [f"string({one} + {two})", f"string({self.of(self.pick(('int', 'uint')), depth)})"]

    def _time(self, depth: int) -> list[str]:
        return [f"({self.of('time', depth)} {self.pick('+-')} {self.of('span', 0)})"]

    def _span(self, depth: int) -> list[str]:
        return [f"({self.of('span', depth)} {self.pick('+-')} {self.of('span', depth)})"]

    def attributes(self) -> dict[str, Any]:
        """Attributes, each of its type."""
        return {
            "n": self.pick(INTS),
            "k": self.pick(INTS),
            "u": Uint(self.pick((0, 1, 64, UINT64_MAX))),
            "f": self.pick(DOUBLES),
            "s": self.pick(STRINGS),
            "t": self.pick(STRINGS),
            "p": self.pick((True, False)),
            "q": self.pick((True, False)),
            "b": self.pick((b"", b"a", b"\xff")),
            "ns": [self.pick(INTS) for _ in range(self.random.randrange(4))],
            "ss": [self.pick(STRINGS) for _ in range(self.random.randrange(4))],
            "m": {key: self.pick(INTS) for key in "ab" if self.random.random() < 0.8},
            "now": Timestamp(self.pick((0, 1_780_000_000)) * NANOS),
            "d": Duration(self.pick((0, 1, 5_400, -90)) * NANOS),
        }


def to_celpy(value: Any) -> Any:
    """A value as cel-python holds it."""
    kind = type(value)
    if kind is list:
        return celtypes.ListType([to_celpy(item) for item in value])
    if kind is dict:
        return celtypes.MapType({to_celpy(key): to_celpy(item) for key, item in value.items()})
    if kind is Timestamp:
        return celtypes.TimestampType.fromtimestamp(value.ns // NANOS, tz=_UTC)
    if kind is Duration:
        return celtypes.DurationType(seconds=value.ns // NANOS)
    makers: dict[type, Any] = {
        bool: celtypes.BoolType,
        int: celtypes.IntType,
        Uint: celtypes.UintType,
        float: celtypes.DoubleType,
        str: celtypes.StringType,
        bytes: celtypes.BytesType,
    }
    return makers[kind](value)


_UTC = celtypes.TimestampType("1970-01-01T00:00:00Z").tzinfo


def from_celpy(value: Any) -> Any:
    """Its answer in our values. Its operators lose their own types: a plain `str` is one."""
    match value:
        case bool() | celtypes.BoolType():
            return bool(value)
        case celtypes.UintType():
            return Uint(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case str():
            return str(value)
        case bytes():
            return bytes(value)
        case _:
            return Type(type(value).__name__)


class Evaluator:
    """Compiles and runs with cel-python's interpreter."""

    def __init__(self) -> None:
        self._environment = celpy.Environment(runner_class=celpy.InterpretedRunner)

    def answers(self, source: str, sets: list[dict[str, Any]]) -> list[list[Any]]:
        """`["value", value]` or `["error"]`, for each set of attributes."""
        program = self._environment.program(self._environment.compile(source))
        out: list[list[Any]] = []
        for attributes in sets:
            given = {name: to_celpy(value) for name, value in attributes.items()}
            try:
                out.append(["value", from_celpy(program.evaluate(given))])
            except Exception:  # noqa: BLE001 - it raises more than its own errors
                out.append(["error"])
        return out
