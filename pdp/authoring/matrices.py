"""Tables of tests: who may do what to which resource, a row of answers a line.

    matrices:
      - name: who does what with a draft
        context: office
        table: |
          action   resource  ana     bo            kim
          read     draft     PERMIT  PERMIT        DENY
          approve  draft     DENY    DENY/DEFAULT  -

The first line names the subjects. Each answer is a test of its own: an effect,
with `/CAUSE` if that is to be compared, too; `-` is not asked. A third column
`context` says it for each line.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from pdp.authoring.fields import Fields, Text
from pdp.authoring.fixtures import Fixtures
from pdp.authoring.nodes import Scalar
from pdp.authoring.problems import Problems, closest, one_of, word
from pdp.errors import Position
from pdp.model import Action, Cause, Effect, Request, Resource, Subject
from pdp.values import Value

# More than anybody reads; one document is at most a megabyte.
CELLS_MAX = 10_000
NOT_ASKED = "-"
_WORD = re.compile(r"\S+")
_COMMENT = "#"
_HEAD = ("action", "resource")
_HINT = "write a block, `table: |`, and below it `action resource` and the names of subjects"
_TABLE = Text("a table", 1 << 20, lines=True)


@dataclass(frozen=True, slots=True)
class Cell:
    """One answer of a table."""

    name: str
    position: Position
    request: Request
    effect: Effect
    cause: Cause | None


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a table: its words, each with its column."""

    position: Position
    words: tuple[tuple[int, str], ...]

    def at(self, index: int) -> Position:
        """Where a word is; behind the last one if there is none."""
        if index < len(self.words):
            column = self.words[index][0]
        else:
            start, text = self.words[-1]
            column = start + len(text)
        return Position(self.position.path, self.position.line, self.position.column + column)


def read_table(
    fields: Fields,
    name: str,
    context: dict[str, Value],
    fixtures: Fixtures,
    causes: Collection[str],
) -> Iterator[Cell]:
    """The answers of the `table` of one matrix.

    Args:
        fields: of the matrix.
        name: of the matrix; begins the names of its tests.
        context: for lines that do not say it.
        fixtures: what its words mean.
        causes: that a test may expect.
    """
    node = fields.node("table")
    if node is None:
        return
    scalar = fields.string(node, "`table`")
    if scalar is None:
        return
    if scalar.style != "literal":
        fields.problems.add(node.position, "`table` must be a block of lines", _HINT)
        return
    table = _Table(list(_lines(scalar)), name, context, fixtures, causes, fields.problems)
    yield from table.cells(node.position)


def _lines(scalar: Scalar) -> Iterator[_Line]:
    """The lines that are neither empty nor comments.

    In a literal block the lines of the text are those of the document, all
    indented alike; so one place gives all others.
    """
    first = re.search(r"\S", scalar.text)
    if first is None:
        return
    at = scalar.locate(first.start())
    before = scalar.text[: first.start()]
    indent = at.column - (first.start() - (before.rfind("\n") + 1))
    number = at.line - before.count("\n")
    for index, line in enumerate(scalar.text.split("\n")):
        words = tuple((match.start(), match[0]) for match in _WORD.finditer(line))
        if words and not words[0][1].startswith(_COMMENT):
            yield _Line(Position(at.path, number + index, indent), words)


class _Table:
    """One table."""

    def __init__(
        self,
        lines: list[_Line],
        name: str,
        context: dict[str, Value],
        fixtures: Fixtures,
        causes: Collection[str],
        problems: Problems,
    ) -> None:
        self.lines = lines
        self.name = name
        self.context = context
        self.fixtures = fixtures
        self.causes = causes
        self.problems = problems

    def cells(self, position: Position) -> Iterator[Cell]:
        """Every answer that is without a problem."""
        head = self.lines[0] if self.lines else None
        words = [text for _, text in head.words] if head else []
        if head is None or tuple(words[:2]) != _HEAD:
            at = position if head is None else head.at(0)
            self.problems.add(at, "a table begins with `action resource`", _HINT)
            return
        fixed = 3 if words[2:3] == ["context"] else 2
        if len(words) == fixed:
            self.problems.add(head.at(fixed), "the table names no subject", _HINT)
            return
        if (len(words) - fixed) * (len(self.lines) - 1) > CELLS_MAX:
            self.problems.add(
                head.at(0), f"the table has more than {CELLS_MAX} answers", "split it"
            )
            return
        self._subjects(head, fixed)
        if len(self.lines) == 1:
            self.problems.add(head.at(0), "the table has no line of answers", _HINT)
        seen: dict[tuple[str, ...], int] = {}
        for line in self.lines[1:]:
            key = tuple(text for _, text in line.words[:fixed])
            if first := seen.get(key):
                message = f"{word(' '.join(key))} is there twice"
                self.problems.add(line.at(0), message, f"it is on line {first} already")
                continue
            seen[key] = line.position.line
            yield from self._answers(line, words, fixed)

    def _subjects(self, head: _Line, fixed: int) -> None:
        seen: set[str] = set()
        for index, (_, name) in enumerate(head.words[fixed:], fixed):
            if name not in self.fixtures.subjects:
                self.fixtures.unknown(name, "subjects", head.at(index), self.problems)
            if name in seen:
                self.problems.add(head.at(index), f"{word(name)} is there twice", "remove one")
            seen.add(name)

    def _answers(self, line: _Line, head: list[str], fixed: int) -> Iterator[Cell]:
        words = [text for _, text in line.words]
        if len(words) != len(head):
            message = f"the line has {len(words)} words, and its head {len(head)}"
            hint = f"a pair that is not asked about is `{NOT_ASKED}`"
            self.problems.add(line.at(min(len(words), len(head))), message, hint)
            return
        resource = self.fixtures.resources.get(words[1])
        if resource is None:
            self.fixtures.unknown(words[1], "resources", line.at(1), self.problems)
        context: Mapping[str, Value] | None = self.context
        if fixed == len(_HEAD) + 1:
            context = self.fixtures.contexts.get(words[2])
            if context is None:
                self.fixtures.unknown(words[2], "contexts", line.at(2), self.problems)
        for index in range(fixed, len(words)):
            answer = self._answer(words[index], line.at(index))
            subject = self.fixtures.subjects.get(head[index])
            if answer is None or subject is None or resource is None or context is None:
                continue
            asked = " ".join([head[index], *words[:fixed]])
            request = Request(
                Subject(subject.type, subject.id, subject.properties),
                Action(words[0]),
                Resource(resource.type, resource.id, resource.properties),
                context,
            )
            yield Cell(f"{self.name}: {asked}", line.at(index), request, *answer)

    def _answer(self, text: str, at: Position) -> tuple[Effect, Cause | None] | None:
        """What a word expects; None is not asked, or a problem."""
        if text == NOT_ASKED:
            return None
        effects = [effect.name for effect in Effect]
        effect, slash, cause = text.partition("/")
        if effect not in effects:
            hint = closest(effect.upper(), effects) or f"write {one_of([*effects, NOT_ASKED])}"
            self.problems.add(at, f"answer {word(text)} is unknown", hint)
        elif slash and cause not in self.causes:
            hint = closest(cause.upper(), self.causes) or f"it may be {one_of(self.causes)}"
            self.problems.add(at, f"cause {word(cause)} is unknown", hint)
        elif effect == Effect.PERMIT.name and slash and cause != Cause.RULE.name:
            message = f"no permit has the cause {word(cause)}"
            self.problems.add(at, message, "a permit has the cause `RULE`")
        else:
            return Effect[effect], Cause[cause] if slash else None
        return None
