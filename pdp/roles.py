"""What conditions look at, and the roles that a subject holds. Law ring: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pdp import engine
from pdp.cel.compile import CompiledExpression
from pdp.cel.partial import known
from pdp.model import Verdict
from pdp.parts import Part
from pdp.subject_token import TOKEN_ROLES
from pdp.values import Value

ROLES_PATH = ("subject.properties", "roles")
_STRINGS = frozenset({str})
_NOBODYS: frozenset[str] = frozenset()
_TRUE, _FALSE, _DOUBT = Verdict.TRUE, Verdict.FALSE, Verdict.DOUBT


class Facts:
    """What conditions look at in one decision, and the roles already decided.

    Args:
        attributes: by name, `now` included.
        subject: the subject by itself, if others may share it.

    Attributes:
        attributes: as given.
        memo: roles already decided. It only saves work: a role's verdict is a
            function of the attributes.
        held: the static roles of the subject; None: a list is absent or
            malformed, so in doubt.
        surely: those that are held whatever a list that is in doubt would say.
    """

    __slots__ = ("attributes", "held", "memo", "surely")

    def __init__(self, attributes: Mapping[str, Value], subject: Part | None = None) -> None:
        self.attributes = attributes
        self.memo: dict[int, Verdict] = {}
        self.surely: frozenset[str] = _NOBODYS
        self.held: frozenset[str] | None
        if subject is not None and subject.roles:
            (self.held,) = subject.roles
        else:
            properties = attributes.get("subject.properties")
            if properties is None:
                # Not whole: if it is the roles that are not known, they are not in what is.
                properties = known(attributes)["subject.properties"]
            self.held = listed(properties.get("roles") if isinstance(properties, dict) else None)
            if subject is not None:
                subject.roles = (self.held,)
        if TOKEN_ROLES in attributes:
            self._join(listed(attributes[TOKEN_ROLES]))

    def _join(self, proved: frozenset[str] | None) -> None:
        """Held through either list: true OR doubt is true, false OR doubt is doubt."""
        self.surely = (self.held or frozenset()) | (proved or frozenset())
        self.held = None if self.held is None or proved is None else self.surely


def listed(roles: Value) -> frozenset[str] | None:
    """The strings of a list, if it is one of strings alone."""
    if type(roles) is not list or not {*map(type, roles)} <= _STRINGS:
        return None
    return frozenset(roles)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class StaticRole:
    """A role held through `subject.properties.roles`, a list of strings, or that of a token."""

    name: str

    def evaluate(self, facts: Facts) -> Verdict:
        """In doubt when a list is absent or malformed: never "not held"."""
        held = facts.held
        if held is None:
            return _TRUE if self.name in facts.surely else _DOUBT
        return _TRUE if self.name in held else _FALSE


@dataclass(frozen=True, slots=True, eq=False)
class DerivedRole:
    """A role computed from the request."""

    name: str
    sources: tuple[StaticRole, ...] | None
    when: When | None
    # Those of the sources.
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        names = frozenset(source.name for source in self.sources or ())
        object.__setattr__(self, "names", names)

    def evaluate(self, facts: Facts) -> Verdict:
        """(any of the sources) AND the condition; decided once per request."""
        verdict = facts.memo.get(id(self))
        if verdict is None:
            sources = self.sources
            if facts.held is not None and not self.names.isdisjoint(facts.held):
                # Surely held: the one look that it takes says TRUE.
                sources = None
            verdict = facts.memo[id(self)] = engine.conjunction(sources, self.when, facts)
        return verdict


@dataclass(frozen=True, slots=True, eq=False)
class When:
    """A condition: a compiled expression over the attributes."""

    expression: CompiledExpression

    def evaluate(self, facts: Facts) -> Verdict:
        """The expression's verdict on the attributes."""
        return self.expression.verdict(facts.attributes)


def reads(
    roles: tuple[StaticRole | DerivedRole, ...] | None, when: When | None
) -> frozenset[tuple[str, ...]]:
    """Attribute paths that any part of a rule looks at: its roles, and its condition."""
    found: set[tuple[str, ...]] = set()
    if when is not None:
        found |= when.expression.reads
    for role in roles or ():
        if isinstance(role, StaticRole):
            found.add(ROLES_PATH)
        else:
            found |= reads(role.sources, role.when)
    return frozenset(found)
