"""What conditions look at, and the roles that a subject holds by itself. Law ring: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pdp.cel.partial import known
from pdp.model import Verdict
from pdp.subject_token import TOKEN_ROLES
from pdp.values import Value

ROLES_PATH = ("subject.properties", "roles")
_STRINGS = frozenset({str})
_TRUE, _FALSE, _DOUBT = Verdict.TRUE, Verdict.FALSE, Verdict.DOUBT


@dataclass(slots=True)
class Facts:
    """What conditions look at in one decision, and the roles already decided.

    The memo only saves work: a role's verdict is a function of the attributes.
    """

    attributes: Mapping[str, Value]
    memo: dict[int, Verdict] = field(default_factory=dict)
    # The static roles of the subject; None: a list is absent or malformed, so in doubt.
    held: frozenset[str] | None = field(init=False)
    # Those that are held whatever a list that is in doubt would say.
    surely: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        properties = self.attributes.get("subject.properties")
        if properties is None:
            # Not whole: if it is the roles that are not known, they are not in what is.
            properties = known(self.attributes)["subject.properties"]
        self.held = listed(properties.get("roles") if isinstance(properties, dict) else None)
        if TOKEN_ROLES in self.attributes:
            self._join(listed(self.attributes[TOKEN_ROLES]))

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
