"""What conditions look at, and the roles that a subject holds by itself. Law ring: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pdp.model import Verdict
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
    # The static roles of the subject; None: absent or malformed, so in doubt.
    held: frozenset[str] | None = field(init=False)

    def __post_init__(self) -> None:
        self.held = _held(self.attributes["subject.properties"])


def _held(properties: Value) -> frozenset[str] | None:
    """The strings of the list `roles`, if it is one of strings alone."""
    roles = properties.get("roles") if isinstance(properties, dict) else None
    if type(roles) is not list or not {*map(type, roles)} <= _STRINGS:
        return None
    return frozenset(roles)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class StaticRole:
    """A role held through `subject.properties.roles`, a list of strings."""

    name: str

    def evaluate(self, facts: Facts) -> Verdict:
        """In doubt when the list is absent or malformed: never "not held"."""
        held = facts.held
        if held is None:
            return _DOUBT
        return _TRUE if self.name in held else _FALSE
