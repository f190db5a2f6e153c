"""Random CEL: expressions in text, and attributes, often of the wrong kind."""

from __future__ import annotations

import random
from typing import Any

from pdp.values import INT64_MAX, INT64_MIN, NANOS, UINT64_MAX, Duration, Timestamp, Uint
from tests.cel_forms import FORMS

# How many of the expressions that could be an extension's are.
EXTENSIONS = 0.3
VARIABLES = {
    "subject.id": "string",
    "subject.properties": "map(string, dyn)",
    "context": "map(string, dyn)",
    "now": "google.protobuf.Timestamp",
    "any": "dyn",
}
KEYS = ("a", "b", "n", "s", "xs", "m")
# What is usually under a key; under `a` and `b` there may be anything.
KIND_OF_KEY = {"n": "int", "s": "string", "xs": "list", "m": "map", "a": "", "b": ""}
KINDS = ("bool", "int", "uint", "double", "string", "bytes", "list", "map", "time", "span")
# A long text costs units to compare, copy and search.
LONG = "long text " * 20
STRINGS = ("", "a", "b", "draft", "é🐱", "12", "-7", "1.5", "true", LONG, LONG[:-1] + "!")
INTS = (0, 1, 2, 3, -1, -7, 64, 2**53, 2**53 + 1, INT64_MAX, INT64_MIN)
DOUBLES = (0.0, -0.0, 1.0, 1.5, -2.5, 1e300, 9007199254740992.0, 9.3e18)
MOMENTS = ("1970-01-01T00:00:00Z", "2026-02-28T23:59:59Z", "9999-12-31T23:59:59Z")
SPANS = ("0s", "1s", "-90s", "1h30m", "8760h", "2000000h")
ZONES = ("", "UTC", "+02:00", "-11:30", "Europe/Zurich", "America/St_Johns", "Nowhere")
PATTERNS = ("", "a", "^a.*", "(a|b)+$", "[0-9]+")


class Generator:
    """Makes expressions and attributes.

    Args:
        seed: same seed, same sequence.
        oracle: leave out what cel-cpp is known to do differently.
    """

    def __init__(self, seed: int, *, oracle: bool = False) -> None:
        self.random = random.Random(seed)
        self.oracle = oracle
        self.loops = 0
        self.names: list[str] = []
        self.policy_variables: list[str] = []

    # -- expressions -------------------------------------------------------------

    def expression(self, depth: int = 4) -> str:
        """A condition: mostly a bool."""
        kind = "bool" if self.random.random() < 0.9 else self.pick(KINDS)
        return self.of(kind, depth)

    def pick(self, options: Any) -> Any:
        """One of them."""
        return self.random.choice(options)

    def of(self, kind: str, depth: int) -> str:
        """An expression that is of a kind, unless it is not."""
        roll = self.random.random()
        if roll < 0.08:
            return f"dyn({self.of(self.pick(KINDS), depth - 1)})" if depth > 0 else self.leaf(kind)
        if roll < 0.30 or depth <= 0:
            return self.attribute(kind) if roll < 0.2 else self.leaf(kind)
        if roll < 0.36:
            test, then, other = self.of("bool", depth - 1), kind, kind
            return f"({test} ? {self.of(then, depth - 1)} : {self.of(other, depth - 1)})"
        if kind in FORMS and self.random.random() < EXTENSIONS:
            return str(self.pick(FORMS[kind](self, depth - 1)))
        make = getattr(self, f"_{kind}")
        text: str = make(depth - 1)
        return text

    def attribute(self, kind: str) -> str:
        """Something of type dyn that may well be of the kind, or a loop variable."""
        if self.names and self.random.random() < 0.6:
            return str(self.pick(self.names))
        if self.policy_variables and self.random.random() < 0.4:
            return str(self.pick(self.policy_variables))
        root = self.pick(("context", "subject.properties", "any"))
        form = self.pick(("{}.{}", "{}.{}", "{}['{}']", "{}.m.{}"))
        fitting = [key for key in KEYS if KIND_OF_KEY[key] in {kind, ""}]
        return str(form.format(root, self.pick(fitting if self.random.random() < 0.8 else KEYS)))

    def leaf(self, kind: str) -> str:
        """A literal, or a name of certain type."""
        match kind:
            case "bool":
                return str(self.pick(("true", "false")))
            case "int":
                return str(self.pick(INTS))
            case "uint":
                return f"{self.pick((0, 1, 2, 64, 2**53 + 1, UINT64_MAX))}u"
            case "double":
                return f"double('{self.pick(DOUBLES)!r}')"
            case "string":
                return str(self.pick(("subject.id", *map(repr, STRINGS)))).replace('"', "'")
            case "bytes":
                return str(self.pick(("b''", "b'a'", "b'\\xff'", "b'draft'")))
            case "list":
                return str(self.pick(("[]", "[1, 2]", "['a', 'b']", "[dyn(1), 'a', true]")))
            case "map":
                return str(self.pick(("{}", "{'a': 1}", "{'a': dyn(1), 'b': 'x'}", "{1: 2, 3: 4}")))
            case "time":
                return f"timestamp('{self.pick(MOMENTS)}')" if self.random.random() < 0.7 else "now"
            case _:
                return f"duration('{self.pick(SPANS)}')"

    def _bool(self, depth: int) -> str:
        kind = self.pick(KINDS)
        one, two = self.of(kind, depth), self.of(kind, depth)
        text = self.of("string", depth)
        forms = [
            f"({self.of('bool', depth)} && {self.of('bool', depth)})",
            f"({self.of('bool', depth)} || {self.of('bool', depth)})",
            f"({self.of('bool', depth)} && {self.of('bool', depth)} && {self.of('bool', depth)})",
            f"!{self.of('bool', depth)}",
            f"({one} == {two})",
            f"({one} != {two})",
            f"({one} {self.pick(('<', '<=', '>', '>='))} {two})",
            f"({one} in {self.of('list', depth)})",
            f"({self.of('string', depth)} in {self.of('map', depth)})",
            f"has({self.pick(('context', 'any', 'subject.properties'))}.{self.pick(KEYS)})",
            f"has(context.m.{self.pick(KEYS)})",
            f"{text}.{self.pick(('contains', 'startsWith', 'endsWith'))}({self.of('string', 0)})",
            f"{text}.matches('{self.pick(PATTERNS)}')",
            self._quantifier(depth),
            self._quantifier(depth),
            f"(type({one}) == {self.pick(('int', 'string', 'bool', 'type', 'list'))})",
        ]
        return str(self.pick(forms))

    def _quantifier(self, depth: int) -> str:
        return self._macro(self.pick(("all", "exists", "exists_one")), "bool", depth)

    def _macro(self, name: str, kind: str, depth: int, before: str = "") -> str:
        source = self.of("list" if self.oracle else self.pick(("list", "list", "map")), depth)
        self.loops += 1
        # Names repeat, so that loops shadow loops, and attributes.
        variable = self.pick(("x", "y", "any", f"z{self.loops}"))
        self.names.append(variable)
        body = self.of(kind, depth)
        first = f"{self.of('bool', depth)}, " if before else ""
        self.names.pop()
        return f"{source}.{name}({variable}, {first}{body})"

    def _int(self, depth: int) -> str:
        return (
            self._arithmetic("int", ("+", "-", "*", "/", "%"), depth)
            if self.coin()
            else str(
                self.pick(
                    (
                        f"size({self.of(self.pick(('string', 'bytes', 'list', 'map')), depth)})",
                        f"int({self.leaf(self.pick(('int', 'uint', 'double', 'string', 'time')))})",
                        f"{self.of('list', depth)}[{self.pick((0, 1, 5))}]",
                        f"{self.of('time', depth)}.{self.pick(('getHours', 'getDate'))}()",
                        f"now.getDayOfYear('{self.pick(ZONES)}')",
                        f"{self.of('span', depth)}.{self.pick(('getHours', 'getSeconds'))}()",
                        f"-{self.of('int', depth)}",
                    )
                )
            )
        )

    def coin(self) -> bool:
        """True half of the time."""
        return self.random.random() < 0.5

    def _arithmetic(self, kind: str, operators: tuple[str, ...], depth: int) -> str:
        return f"({self.of(kind, depth)} {self.pick(operators)} {self.of(kind, depth)})"

    def _uint(self, depth: int) -> str:
        if self.coin():
            return self._arithmetic("uint", ("+", "-", "*", "/", "%"), depth)
        return f"uint({self.leaf(self.pick(('int', 'uint', 'double', 'string')))})"

    def _double(self, depth: int) -> str:
        if self.coin():
            return self._arithmetic("double", ("+", "-", "*", "/"), depth)
        return f"double({self.leaf(self.pick(('int', 'uint', 'double')))})"

    def _string(self, depth: int) -> str:
        if self.coin():
            return self._arithmetic("string", ("+",), depth)
        return f"string({self.of(self.pick(('bool', 'int', 'uint', 'string', 'bytes')), depth)})"

    def _bytes(self, depth: int) -> str:
        return self._arithmetic("bytes", ("+",), depth) if self.coin() else self.leaf("bytes")

    def _list(self, depth: int) -> str:
        kind = self.pick(KINDS)
        forms = [
            f"[{self.of(kind, depth)}, {self.of(kind, depth)}]",
            f"[dyn({self.of(kind, depth)}), {self.of('int', depth)}]",
            self._arithmetic("list", ("+",), depth),
            self._macro("filter", "bool", depth),
            self._macro("map", self.pick(KINDS), depth),
            self._macro("map", self.pick(KINDS), depth, before="test"),
        ]
        return str(self.pick(forms))

    def _map(self, depth: int) -> str:
        value = f"dyn({self.of(self.pick(KINDS), depth)})"
        key = self.pick(("'a'", "'b'", "1", "1u", "true", "dyn('n')", self.of("string", 0)))
        return f"{{{key}: {value}, {self.pick(KEYS)!r}: {self.of('int', depth)}}}"

    def _time(self, depth: int) -> str:
        return f"({self.of('time', depth)} {self.pick('+-')} {self.of('span', depth)})"

    def _span(self, depth: int) -> str:
        if self.coin():
            return f"({self.of('time', depth)} - {self.of('time', depth)})"
        return self._arithmetic("span", ("+", "-"), depth)

    # -- attributes --------------------------------------------------------------

    def attributes(self) -> dict[str, Any]:
        """Attributes; names are missing and kinds are wrong now and then."""
        found: dict[str, Any] = {
            "subject.id": self.pick(STRINGS),
            "subject.properties": self._mapping(2),
            "context": self._mapping(2),
            "now": Timestamp(self.pick((0, 1_780_000_000 * NANOS))),
            "any": self._mapping(2) if self.random.random() < 0.7 else self.value(2),
        }
        if not self.oracle and self.random.random() < 0.1:
            found[self.pick(tuple(found))] = self.value(1)
        if not self.oracle and self.random.random() < 0.03:
            del found[self.pick(tuple(found))]
        return found

    def _mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, kind in KIND_OF_KEY.items():
            roll = self.random.random()
            if roll < 0.75 and kind:
                found[key] = self._usual(kind, depth)
            elif roll < 0.95:
                found[key] = self.value(depth)
        return found

    def _usual(self, kind: str, depth: int) -> Any:
        match kind:
            case "int":
                return self.pick(INTS)
            case "string":
                return self.pick(STRINGS)
            case "list":
                return [self.pick(STRINGS) for _ in range(self.random.randrange(5))]
            case _:
                return self._mapping(depth - 1) if depth > 0 else {}

    def value(self, depth: int) -> Any:
        """Any value."""
        plain = [
            lambda: None,
            self.coin,
            lambda: self.pick(INTS),
            lambda: self.pick(INTS),
            lambda: self.pick(DOUBLES),
            lambda: self.pick(STRINGS),
            lambda: self.pick(STRINGS),
        ]
        if not self.oracle:
            plain += [
                lambda: Uint(self.pick((0, 1, 2**53 + 1, UINT64_MAX))),
                lambda: self.pick((b"", b"a", LONG.encode())),
                lambda: Timestamp(self.pick((0, 1, -NANOS))),
                lambda: Duration(self.pick((0, NANOS, -1))),
                lambda: float("nan"),
            ]
        if depth > 0:
            plain += [
                lambda: [self.value(depth - 1) for _ in range(self.random.randrange(4))],
                lambda: [self.pick(("a", "b", "draft")) for _ in range(3)],
                lambda: self._mapping(depth - 1),
            ]
        return self.pick(plain)()
