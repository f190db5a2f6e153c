"""What `pdp check` can find, each kind with an id that stays.

An id is never used again for something else: it stands in `accept:` of
policies, in reports of code review, and in filters that people wrote.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from pdp.errors import ExpressionError, PolicyError, Position


class Severity(enum.Enum):
    """How bad: SARIF's words."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of finding.

    Attributes:
        id: `PC301`.
        name: in words without blanks, for reports.
        severity: of its findings.
        summary: what is found, one line.
        help: why it matters and what to do.
    """

    id: str
    name: str
    severity: Severity
    summary: str
    help: str


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

# 0xx errors, 1xx rules that do nothing, 2xx what nobody uses, 3xx what permits too much,
# 9xx about `accept` itself.
KINDS = MappingProxyType(
    {
        kind.id: kind
        for kind in (
            Kind(
                "PC001",
                "document",
                _E,
                "a document breaks a rule of its kind",
                "No bundle can be built. The message says what to write.",
            ),
            Kind(
                "PC002",
                "expression",
                _E,
                "a condition does not check",
                "No bundle can be built. The message says what is wrong, and where.",
            ),
            Kind(
                "PC101",
                "rule-never-applies",
                _W,
                "a rule can never apply",
                "Its condition can never be true, or none of its roles can be held. A permit is "
                "dead text; a deny protects nothing.",
            ),
            Kind(
                "PC102",
                "condition-always-true",
                _W,
                "a condition is always true",
                "It reads like a restriction and is none. Leave `when` out, or write what was "
                "meant.",
            ),
            Kind(
                "PC103",
                "constant-part",
                _N,
                "a part of a condition always comes to the same",
                "The rest decides alone. Remove the part, or write what was meant.",
            ),
            Kind(
                "PC104",
                "shadowed-by-deny",
                _W,
                "a rule never decides, because an unconditional deny always applies with it",
                "A deny beats every permit. Remove the permit, or give the deny a condition.",
            ),
            Kind(
                "PC105",
                "nobody-may-ask",
                _W,
                "no caller may ask what a rule answers",
                "The caller policy denies such questions before the rules are looked at. Let a "
                "caller ask, or correct the names of the actions.",
            ),
            Kind(
                "PC106",
                "expired",
                _W,
                "a permit has expired",
                "It grants nothing any more. Remove it, or renew it with a new justification.",
            ),
            Kind(
                "PC107",
                "expires-soon",
                _W,
                "a permit expires soon",
                "Who relies on it will be denied. Renew it, or tell them.",
            ),
            Kind(
                "PC108",
                "role-nobody-can-hold",
                _W,
                "a derived role that nobody can hold",
                "Its condition can never be true, so that rules which ask for it never apply.",
            ),
            Kind(
                "PC109",
                "always-in-doubt",
                _W,
                "a condition is always in doubt",
                "It is an error for every request: a permit never permits, and a deny denies all.",
            ),
            Kind(
                "PC201",
                "unused-variable",
                _W,
                "a variable that no condition uses",
                "Somebody may believe that it restricts something. Use it, or remove it.",
            ),
            Kind(
                "PC202",
                "unused-role",
                _W,
                "a derived role that no rule asks for",
                "Use it, or remove it.",
            ),
            Kind(
                "PC203",
                "unused-static-role",
                _W,
                "a static role that no rule and no derived role asks for",
                "Use it, or remove it.",
            ),
            Kind(
                "PC204",
                "unused-shared-definition",
                _W,
                "a shared definition that no policy uses, or a document of them that none imports",
                "It is still read, and reviewed, as if it meant something. Use it, or remove it.",
            ),
            Kind(
                "PC205",
                "unused-schema",
                _W,
                "a schema of what no policy and no caller knows",
                "A misspelt name would leave the requests that were meant without a schema.",
            ),
            Kind(
                "PC206",
                "unused-provider",
                _W,
                "an attribute that a provider owns and no rule reads",
                "Callers may not send it, and nobody asks for it. Use it, or give it up.",
            ),
            Kind(
                "PC301",
                "permits-everything-to-anyone",
                _W,
                "a permit of all actions, without roles and without a condition",
                "Every subject may do everything, also what is invented tomorrow.",
            ),
            Kind(
                "PC302",
                "permits-to-anyone",
                _W,
                "a permit without roles and without a condition",
                "Every subject may do this to every resource of the type.",
            ),
            Kind(
                "PC303",
                "permits-every-action",
                _W,
                "a permit of all actions, without a condition",
                "Who holds the role may also do what is invented tomorrow. List the actions.",
            ),
            Kind(
                "PC901",
                "accepted-for-nothing",
                _W,
                "`accept` names a finding that is not there",
                "What was accepted is gone; left there, it would silence the next one.",
            ),
        )
    }
)
# Come and go with time: accepting one ahead of it is no mistake.
TIMED = frozenset({"PC106", "PC107"})
# What `accept` may name: an error cannot be accepted, nor `accept` itself.
ACCEPTABLE = frozenset(
    kind.id for kind in KINDS.values() if kind.severity is not _E and kind.id != "PC901"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        kind: what it is.
        message: about this one.
        position: where.
        suggestion: what to do, or empty.
        subject: what it is about, `policy/rule` for a rule; stays when lines move.
        accepted: why its author accepts it, or empty.
        severity: the kind's, unless it is milder here.
    """

    kind: Kind
    message: str
    position: Position
    suggestion: str = ""
    subject: str = ""
    accepted: str = ""
    milder: bool = False

    @property
    def severity(self) -> Severity:
        """The kind's, or a note."""
        return Severity.NOTE if self.milder else self.kind.severity


def of_problem(problem: PolicyError) -> Finding:
    """An error as a finding."""
    kind = KINDS["PC002" if isinstance(problem, ExpressionError) else "PC001"]
    return Finding(
        kind, problem.message, problem.position or Position(""), problem.suggestion, kind.name
    )


def fail(findings: Iterable[Finding], *, strict: bool) -> bool:
    """Whether these findings fail a check: errors do, with `strict` also warnings."""
    failing = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
    return any(found.severity in failing and not found.accepted for found in findings)
