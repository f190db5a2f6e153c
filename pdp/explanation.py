"""What an explanation says: why a decision is what it is. Nouns only; made by `pdp.explaining`.

Everything in it is text or a number and bounded, so that it can be shown,
sent and kept apart from the values it speaks of. Law ring, and light: the
client reads it too.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pdp.model import Cause, Effect, Verdict

# What a value is cut to when nobody says otherwise, in characters.
BRIEF_CHARACTERS = 80
_ELLIPSIS = "…"


class Standing(enum.Enum):
    """Why a rule of the resource type was considered, or was not."""

    CANDIDATE = 1
    OTHER_ACTION = 2
    NOT_YET = 3
    EXPIRED = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """One evaluation of a part: a value, or a problem.

    Attributes:
        value: as CEL would write it, cut short; empty when there was a problem.
        problem: the error. It names kinds, not values.
        bindings: `x = "a", y = 2` for a part inside a loop.
    """

    value: str = ""
    problem: str = ""
    bindings: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a condition. Not evaluated when `count` is 0.

    Attributes:
        parent: index of the part it belongs to, in the same tuple; -1 for the whole.
        kind: see `pdp.cel.trace.Site`.
        variable: the policy variable in whose text it stands; empty for the condition's own.
        start: where it begins in that text, in characters.
        text: what stands there, cut short.
        count: how often it was evaluated.
        trues, falses, errors: how often it was `true`, `false`, an error.
        samples: the first evaluations; one, unless it is in a loop.
    """

    parent: int
    kind: str
    variable: str
    start: int
    text: str
    count: int
    trues: int
    falses: int
    errors: int
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class ExplainedCondition:
    """A condition.

    Attributes:
        text: as written, cut short.
        verdict: None: not evaluated, since the rule or role was decided without it.
        problem: why there is no value, or why it is no truth value.
        units: what it cost.
        parts: the whole first.
    """

    text: str
    verdict: Verdict | None
    problem: str = ""
    units: int = 0
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class ExplainedRole:
    """A role that some rule asks for.

    Attributes:
        name: of the role.
        verdict: whether the subject has it.
        sources: the static roles it is drawn from, with their verdicts; empty is anyone.
        when: its condition, if it has one.
        problem: why a static role is in doubt.
    """

    name: str
    verdict: Verdict
    sources: tuple[tuple[str, Verdict], ...] = ()
    when: ExplainedCondition | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ExplainedRule:
    """A candidate.

    Attributes:
        name: `policy/rule`.
        effect: what it does when it applies.
        verdict: whether it applies.
        roles: indices into `Explanation.roles`; None is anyone.
        when: its condition, if it has one.
    """

    name: str
    effect: Effect
    verdict: Verdict
    roles: tuple[int, ...] | None
    when: ExplainedCondition | None


@dataclass(frozen=True, slots=True)
class OtherRule:
    """A rule of the resource type that was not considered, and why."""

    name: str
    effect: Effect
    standing: Standing


@dataclass(frozen=True, slots=True)
class Flip:
    """What the answer would be if one rule had come out otherwise.

    Attributes:
        rule: its name.
        verdict: what it would be instead.
        effect, cause: of the answer then. `effect` is another than it is now.
    """

    rule: str
    verdict: Verdict
    effect: Effect
    cause: Cause


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why.

    Attributes:
        rules: the candidates; those that made the answer first.
        roles: every role that a candidate asks for, once.
        others: rules of the resource type that were no candidates.
        missing: paths of attributes that a condition looked for and did not find.
        flips: single changes that would turn PERMIT into DENY or back.
        truncated: it was cut to its limits; what is missing was not judged unimportant.
    """

    rules: tuple[ExplainedRule, ...] = ()
    roles: tuple[ExplainedRole, ...] = ()
    others: tuple[OtherRule, ...] = ()
    missing: tuple[str, ...] = ()
    flips: tuple[Flip, ...] = ()
    truncated: bool = False


def as_plain(explanation: Explanation) -> dict[str, Any]:
    """For JSON: names of effects and verdicts in place of the objects."""
    found: dict[str, Any] = _plain(explanation)
    return found


def _plain(item: Any) -> Any:
    if isinstance(item, enum.Enum):
        return item.name
    if dataclasses.is_dataclass(item):
        return {field.name: _plain(getattr(item, field.name)) for field in dataclasses.fields(item)}
    if isinstance(item, tuple):
        return [_plain(each) for each in item]
    return item


def cut(text: str, characters: int = BRIEF_CHARACTERS) -> str:
    """The text on one line, or its beginning."""
    # Looked at no further than is shown: the text may be all of a request.
    line = " ".join(text[: characters * 4].split())
    if len(line) <= characters and len(text) <= characters * 4:
        return line
    return line[: characters - 1] + _ELLIPSIS


def quoted(text: str) -> str:
    """A string literal of CEL in which nothing can drive a terminal or turn what is beside it."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in {'"', "\\"}:
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= _BMP_MAX else f"\\U{code:08x}"


def brief(value: Any, characters: int = BRIEF_CHARACTERS) -> str:
    """A value as CEL would write it, or its beginning; work and result are bounded.

    Args:
        value: of a condition; anything.
        characters: what it is cut to.
    """
    writer = _Writer(characters)
    writer.write(value, 0)
    return writer.text()


_WORDS: Mapping[Any, str] = MappingProxyType({None: "null", True: "true", False: "false"})
_DEPTH_MAX = 8
_BMP_MAX = 0xFFFF


class _Writer:
    """Writes until it is full."""

    def __init__(self, characters: int) -> None:
        self.left = characters
        self.characters = characters
        self.pieces: list[str] = []

    def put(self, text: str) -> None:
        self.pieces.append(text[: max(self.left + 1, 0)])
        self.left -= len(text)

    def text(self) -> str:
        whole = "".join(self.pieces)
        return whole if self.left >= 0 else whole[: self.characters - 1] + _ELLIPSIS

    def write(self, value: Any, depth: int) -> None:
        if self.left < 0:
            return
        if isinstance(value, str):
            self.put(quoted(value[: self.left + 1]))
            self.left -= max(len(value) - self.left - 1, 0)
        elif isinstance(value, bytes):
            self.put(repr(value[: self.left + 1]))
        elif value is None or isinstance(value, bool):
            self.put(_WORDS[value])
        elif isinstance(value, list | dict):
            self.container(value, depth)
        elif isinstance(value, int | float):
            self.put(repr(value))
        else:
            self.put(str(value))

    def container(self, value: list[Any] | dict[Any, Any], depth: int) -> None:
        opener, closer = "[]" if isinstance(value, list) else "{}"
        self.put(opener)
        if depth >= _DEPTH_MAX and value:
            self.put(_ELLIPSIS)
        else:
            for at, item in enumerate(value):
                if self.left < 0:
                    return
                self.put(", " if at else "")
                # A bool as a key is wrapped (`pdp.cel.values.BoolKey`).
                self.write(item.value if isinstance(item, enum.Enum) else item, depth + 1)
                if isinstance(value, dict):
                    self.put(": ")
                    self.write(value[item], depth + 1)
        self.put(closer)
