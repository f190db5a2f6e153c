"""Comparing requests with schemas: `pdp.schema` compiled to closures. Law ring: pure.

On the way of every request, so a value that fits costs a comparison of types
and little else; paths are made only when something does not fit.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from pdp.cel.moments import parse_timestamp
from pdp.cel.text import compile_pattern
from pdp.cel.values import CelError
from pdp.errors import PolicyError, member
from pdp.parts import Parts
from pdp.schema import (
    ANY,
    ANYTHING,
    DEPTH_MAX,
    NODES_MAX,
    NUMBERS,
    TYPE_OF,
    Kind,
    Scalar,
    Schema,
    SchemaDocument,
    Target,
    described,
    kinds_named,
    scalar_key,
)
from pdp.values import Value

PATTERN_CHARACTERS_MAX = 500
# Instructions of the compiled pattern: RE2 takes time proportional to these times the text.
PATTERN_SIZE_MAX = 5_000
# Of a path in an answer and a record; keys in it are the sender's.
PATH_CHARACTERS_MAX = 1_000
# What is compared, and what its schema goes by; in this order.
_PARTS: Final = (
    (Target.SUBJECT, "subject.properties", "subject.type"),
    (Target.ACTION, "action.properties", "action.name"),
    (Target.RESOURCE, "resource.properties", "resource.type"),
)


class Schemas:
    """All schemas of a tenant, compiled."""

    def __init__(self, documents: Iterable[SchemaDocument] = ()) -> None:
        """Compile.

        Raises:
            PolicyError: two schemas are about the same, or one breaks a rule
                of `Schema`.
        """
        self._checks: dict[Target, dict[str, Check]] = {target: {} for target in Target}
        for document in documents:
            checks = self._checks[document.target]
            if document.name in checks:
                raise PolicyError(f"there are two schemas of {described(document)}")
            if not document.name or document.schema.kinds != {Kind.MAP}:
                raise PolicyError(f"the schema of {described(document)} is not one of an object")
            checks[document.name] = _Compiler().check(document.schema, 1)
        self._empty = not any(self._checks.values())
        contexts = self._checks[Target.CONTEXT]
        self._any_context = tuple(contexts[name] for name in (ANY,) if name in contexts)
        self._contexts = {
            name: (*self._any_context, check) for name, check in contexts.items() if name != ANY
        }
        # Stands for these schemas on parts that were compared with them, and keeps nothing alive.
        self._mark = object()
        self._fits = self._mark, ""

    @property
    def actions(self) -> frozenset[str]:
        """The actions whose properties have a schema."""
        return frozenset(self._checks[Target.ACTION])

    def violation(self, attributes: Mapping[str, Value], parts: Parts | None = None) -> str:
        """The first thing that does not fit, or the empty string.

        A function of the request's content alone, whatever the order of keys
        in its maps: subject, action, resource, context, and in each declared
        keys by name, then undeclared ones.

        Args:
            attributes: as `pdp.boundary.admit` made them.
            parts: what they were made of, if that is known. What these schemas said
                of one is noted on it, and not worked out again.

        Returns:
            `resource.properties.amount must be an integer`: a path, a blank
            and what is wrong. Never an attribute's value. Keys in paths are
            the sender's, quoted by `pdp.errors.member`.
        """
        if self._empty:
            return ""
        fits = self._fits
        if parts is None:
            if found := self._of_parts(attributes):
                return found
        else:
            subject, action, resource = parts
            # Most of the time all three were found to fit.
            known = subject.judged is fits and action.judged is fits and resource.judged is fits
            if not known and (found := self._noted(attributes, parts)):
                return found
        # Both hold: a narrower schema must not lift a wider one.
        resource_type: str = attributes["resource.type"]  # type: ignore[assignment]
        for check in self._contexts.get(resource_type, self._any_context):
            if (wrong := check(attributes["context"])) is not None:
                return _told("context", wrong)
        return ""

    def _of_parts(self, attributes: Mapping[str, Value]) -> str:
        for target, part, name in _PARTS:
            found = self._of(target, attributes[name], part, attributes)  # type: ignore[arg-type]
            if found:
                return found
        return ""

    def _noted(self, attributes: Mapping[str, Value], parts: Parts) -> str:
        """The same, of parts that others may share: what was found is noted on them."""
        for shared, (target, part, name) in zip(parts, _PARTS, strict=True):
            judged = shared.judged
            if judged is None or judged[0] is not self._mark:
                found = self._of(target, attributes[name], part, attributes)  # type: ignore[arg-type]
                # INVARIANT: one assignment, of the answer together with who gave it.
                judged = shared.judged = (self._mark, found) if found else self._fits
            if judged[1]:
                return judged[1]
        return ""

    def _of(self, target: Target, name: str, part: str, attributes: Mapping[str, Value]) -> str:
        check = self._checks[target].get(name)
        if check is None or (found := check(attributes[part])) is None:
            return ""
        return _told(part, found)


def _told(part: str, found: Violation) -> str:
    path = f"{part}{found[0]}"
    if len(path) > PATH_CHARACTERS_MAX:
        path = f"{path[:PATH_CHARACTERS_MAX]}…"
    return f"{path} {found[1]}"


# -- checking values -------------------------------------------------------------

# Path below the value, and what is wrong there; None when the value fits. Containers put
# their part before the path on the way out, so that a request that fits pays for no paths.
Violation: TypeAlias = tuple[str, str]
Check: TypeAlias = Callable[[Any], Violation | None]
_Test: TypeAlias = Callable[[Any], bool]
_MISSING: Final = object()


def check_of(schema: Schema) -> Check:
    """What one schema lets through, by itself.

    Raises:
        PolicyError: it is too large or too deep, or lets nothing through.
    """
    return _Compiler().check(schema, 1)


class _Compiler:
    """Turns one schema into closures, within limits."""

    def __init__(self) -> None:
        self.left = NODES_MAX

    def check(self, schema: Schema, level: int) -> Check:
        """What `schema` lets through.

        Raises:
            PolicyError: it is too large or too deep, or lets nothing through.
        """
        self.left -= 1
        if self.left < 0 or level > DEPTH_MAX:
            message = f"a schema has more than {NODES_MAX} parts or {DEPTH_MAX} levels"
            raise PolicyError(message, suggestion="split it, or leave parts open")
        if not schema.kinds or schema.values == ():
            raise PolicyError("a schema lets nothing through")
        tests = {
            TYPE_OF[kind]: self._tests(schema, kind)
            for kind in sorted(schema.kinds, key=operator.attrgetter("value"))
        }
        wanted = ("", f"must be {kinds_named(schema.kinds)}")
        if Kind.MAP in schema.kinds and not _is_free(schema, Kind.MAP):
            tests[dict] = (self._map(schema, level, wanted),)
        if Kind.LIST in schema.kinds and not _is_free(schema, Kind.LIST):
            tests[list] = (self._list(schema, level),)
        if schema.kinds == {Kind.MAP} and tests[dict]:
            return tests[dict][0]

        def check(value: Any) -> Violation | None:
            found = tests.get(type(value))
            if found is None:
                return wanted
            for test in found:
                if (violation := test(value)) is not None:
                    return violation
            return None

        return check

    def _tests(self, schema: Schema, kind: Kind) -> tuple[Check, ...]:
        """What a scalar of a kind must be besides."""
        tests: list[Check] = []
        if schema.values is not None and kind not in {Kind.MAP, Kind.LIST}:
            tests.append(_refusing(_listed(schema.values), "is none of the values of its schema"))
        if kind is Kind.STRING:
            tests += _string_tests(schema)
        if kind in NUMBERS or kind is Kind.UINT:
            tests += _number_tests(schema)
        return tuple(tests)

    def _map(self, schema: Schema, level: int, wanted: Violation) -> Check:
        names = [declared.name for declared in schema.properties]
        if names != sorted(set(names)):
            raise PolicyError("the properties of a schema are not sorted, or there twice")
        known = frozenset(names)
        # With the type that needs no further look, if there is one, and whether none does.
        declared = [
            (
                item.name,
                item.required,
                _free_type(item.schema),
                self.check(item.schema, level + 1),
                item.schema == ANYTHING,
            )
            for item in schema.properties
        ]
        rest = None if schema.additional is None else self.check(schema.additional, level + 1)
        is_open = schema.open

        def check(value: dict[str, Any]) -> Violation | None:
            if type(value) is not dict:
                return wanted
            seen = 0
            get = value.get
            for name, required, free, inner, anything in declared:
                item = get(name, _MISSING)
                if item is _MISSING:
                    if required:
                        return member(name), "is required"
                    continue
                seen += 1
                if anything:
                    continue
                if type(item) is not free and (found := inner(item)) is not None:
                    return member(name) + found[0], found[1]
            if is_open or seen == len(value):
                return None
            # In the order of names: maps of a message have none of their own.
            for name in sorted(value.keys() - known):
                if rest is None:
                    return member(name), "is not declared in its schema"
                if (found := rest(value[name])) is not None:
                    return member(name) + found[0], found[1]
            return None

        return check

    def _list(self, schema: Schema, level: int) -> Check:
        fewest, most = schema.count
        items = None if schema.items is None else self.check(schema.items, level + 1)
        free = None if schema.items is None else _free_type(schema.items)

        def check(value: list[Any]) -> Violation | None:
            if len(value) < fewest:
                return "", f"has fewer than {fewest} items"
            if most is not None and len(value) > most:
                return "", f"has more than {most} items"
            if items is not None:
                for index, item in enumerate(value):
                    if type(item) is not free and (found := items(item)) is not None:
                        return f"[{index}]{found[0]}", found[1]
            return None

        return check


def _is_free(schema: Schema, kind: Kind) -> bool:
    """Whether every value of this kind fits."""
    if schema.values is not None:
        return False
    match kind:
        case Kind.MAP:
            return schema.open and not schema.properties
        case Kind.LIST:
            return schema.items in {None, ANYTHING} and schema.count == (0, None)
        case Kind.STRING:
            return schema.length == (0, None) and not schema.pattern and not schema.date_time
        case Kind.INT | Kind.DOUBLE | Kind.UINT:
            return schema.minimum is None and schema.maximum is None
        case _:
            return True


def _free_type(schema: Schema) -> type | None:
    """A type whose every value fits, so that one comparison is enough; None if there is none."""
    for kind in (Kind.STRING, *sorted(schema.kinds, key=operator.attrgetter("value"))):
        if kind in schema.kinds and _is_free(schema, kind):
            return TYPE_OF[kind]
    return None


def _listed(values: tuple[Scalar, ...]) -> _Test:
    if all(type(value) is str for value in values):
        texts = frozenset(values)
        return lambda value: type(value) is str and value in texts
    keys = frozenset(map(scalar_key, values))
    return lambda value: scalar_key(value) in keys


def _refusing(test: _Test, reason: str) -> Check:
    violation = ("", reason)
    return lambda value: None if test(value) else violation


def _string_tests(schema: Schema) -> list[Check]:
    tests: list[Check] = []
    fewest, most = schema.length
    if fewest:
        tests.append(
            _refusing(lambda value: len(value) >= fewest, f"is shorter than {fewest} characters")
        )
    if most is not None:
        tests.append(
            _refusing(lambda value: len(value) <= most, f"is longer than {most} characters")
        )
    if schema.pattern:
        search = pattern_of(schema.pattern)
        tests.append(
            _refusing(
                lambda value: search(value) is not None, "does not match the pattern of its schema"
            )
        )
    if schema.date_time:
        tests.append(_refusing(_is_date_time, "must be an RFC 3339 timestamp"))
    return tests


def _is_date_time(text: str) -> bool:
    try:
        parse_timestamp(text)
    except CelError:
        return False
    return True


def _number_tests(schema: Schema) -> list[Check]:
    tests: list[Check] = []
    low, high = schema.minimum, schema.maximum
    if low is not None:
        above = operator.gt if low.exclusive else operator.ge
        least = low.value
        tests.append(_refusing(lambda value: above(value, least), "is below its minimum"))
    if high is not None:
        below = operator.lt if high.exclusive else operator.le
        greatest = high.value
        tests.append(_refusing(lambda value: below(value, greatest), "is above its maximum"))
    return tests


def pattern_of(pattern: str) -> Callable[[str], Any]:
    """The search of a pattern.

    Raises:
        PolicyError: RE2 does not take it, or it is too large.
    """
    try:
        compiled = compile_pattern(pattern)
    except CelError as error:
        raise PolicyError(str(error), suggestion="patterns are RE2") from None
    if len(pattern) > PATTERN_CHARACTERS_MAX or compiled.size > PATTERN_SIZE_MAX:
        message = "the pattern is too large"
        hint = f"at most {PATTERN_CHARACTERS_MAX} characters; and repeat less"
        raise PolicyError(message, suggestion=hint)
    return compiled.search
