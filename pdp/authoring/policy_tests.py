"""Tests of policies as their author wrote them: `kind: tests` documents.

Each row is a question and the answer it should get. What `expect` leaves out
is not compared, but for the effect, which every row says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pdp.authoring.documents import read_document
from pdp.authoring.fields import NAME, PROSE, Fields, Text, value_of
from pdp.authoring.nodes import List, Map, Node, Scalar
from pdp.authoring.problems import Problems, closest, word
from pdp.authoring.times import EXAMPLE, parse_timestamp
from pdp.callers import check_caller_id
from pdp.errors import PolicyError, Position
from pdp.model import Action, Cause, Effect, Obligation, Request, Resource, Subject
from pdp.values import Value

# What rules, schemas and the caller policy can answer; others need a clock, disk or network.
CAUSES = tuple(
    cause.name
    for cause in (
        Cause.RULE,
        Cause.INDETERMINATE,
        Cause.DEFAULT,
        Cause.BUDGET,
        Cause.CALLER,
        Cause.IDENTITY,
        Cause.SCHEMA,
    )
)
_EFFECTS = tuple(effect.name for effect in Effect)
_ID = Text("a SPIFFE ID", 2_048)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a row expects. None is not compared."""

    effect: Effect
    cause: Cause | None
    rules: tuple[str, ...] | None
    obligations: tuple[Obligation, ...] | None
    advice: tuple[Obligation, ...] | None = None
    reason_user: tuple[str, ...] | None = None
    reason_admin: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class TestRow:
    """One question and what it should be answered."""

    __test__ = False

    name: str
    position: Position
    caller: str
    now_ns: int
    request: Request
    expect: Expectation


@dataclass(frozen=True, slots=True)
class TestDocuments:
    """All rows of a set of documents, in the order of paths and lines."""

    __test__ = False

    rows: tuple[TestRow, ...]
    problems: tuple[PolicyError, ...]
    sources: Mapping[str, bytes]


def read_tests(sources: Mapping[str, bytes]) -> TestDocuments:
    """Read documents of tests by path; a row with a problem is left out."""
    problems = Problems()
    rows: list[TestRow] = []
    for path in sorted(sources):
        root = read_document(path, sources[path], problems)
        if root is not None:
            rows += _Reader(root, problems).rows()
    return TestDocuments(tuple(rows), problems.sorted(), sources)


class _Reader:
    """Reads one document."""

    def __init__(self, root: Map, problems: Problems) -> None:
        self.problems = problems
        self.root = root
        kind = root.get("kind")
        if not isinstance(kind, Scalar) or kind.text != "tests":
            at = root.position if kind is None else kind.position
            hint = "begin with `kind: tests`, or name the file without `_test`"
            problems.add(at, "a file named `…_test` holds tests", hint)
        self.fields = Fields(
            root,
            "the document of tests",
            problems,
            required={"kind": "write `kind: tests`", "tests": "list at least one test"},
            optional=("now", "caller"),
        )

    def rows(self) -> list[TestRow]:
        """All rows that have no problem."""
        now, caller = _now(self.fields), _caller(self.fields)
        found: list[TestRow] = []
        seen: dict[str, Position] = {}
        for node in self.fields.items("tests", "list at least one test") or ():
            before = len(self.problems)
            row = self._row(node, now, caller)
            if row is None:
                continue
            if row.name in seen:
                hint = f"it is on line {seen[row.name].line} already"
                self.problems.add(row.position, f"test {word(row.name)} is there twice", hint)
            seen.setdefault(row.name, row.position)
            if len(self.problems) == before:
                found.append(row)
        return found

    def _row(self, node: Node, now: int | None, caller: str | None) -> TestRow | None:
        given = node.get("name") if isinstance(node, Map) else None
        what = f"test {word(given.text)}" if isinstance(given, Scalar) else "the test"
        required = {
            "name": "write what it shows, `name: nobody approves their own`",
            "subject": "write `subject: {type: user, id: ana}`",
            "action": "write `action: read`",
            "resource": "write `resource: {type: …, id: …}`",
            "expect": "write `expect: {effect: DENY}`",
        }
        # Needed in each row that the head of the document does not supply.
        if self.fields.node("now") is None:
            required["now"] = f"write `now: {EXAMPLE}` here, or above for all tests"
        if self.fields.node("caller") is None:
            required["caller"] = "write `caller: spiffe://domain/path` here, or above for all tests"
        optional = [key for key in ("context", "caller", "now") if key not in required]
        fields = Fields(node, what, self.problems, required=required, optional=optional)
        now = now if fields.node("now") is None else _now(fields)
        caller = caller if fields.node("caller") is None else _caller(fields)
        name = fields.text("name", PROSE)
        request = self._request(fields)
        expect = self._expect(fields)
        if None in (now, caller, name) or request is None or expect is None:
            return None
        return TestRow(name or "", fields.at("name"), caller or "", now or 0, request, expect)

    def _request(self, fields: Fields) -> Request | None:
        subject = self._entity(fields, "subject")
        resource = self._entity(fields, "resource")
        action = self._action(fields)
        context = _properties(fields, "context")
        if subject is None or resource is None or action is None:
            return None
        return Request(Subject(*subject), action, Resource(*resource), context)

    def _entity(self, fields: Fields, key: str) -> tuple[str, str, dict[str, Value]] | None:
        node = fields.node(key)
        if node is None:
            return None
        hint = {"type": f"write `{key}: {{type: …, id: …}}`", "id": "every one has an id"}
        inner = Fields(node, word(key), self.problems, required=hint, optional=("properties",))
        kind, name = inner.verbatim("type"), inner.verbatim("id")
        properties = _properties(inner, "properties")
        return None if kind is None or name is None else (kind, name, properties)

    def _action(self, fields: Fields) -> Action | None:
        node = fields.node("action")
        if isinstance(node, Map):
            required = {"name": "write `action: {name: read}` or `action: read`"}
            inner = Fields(
                node, "`action`", self.problems, required=required, optional=("properties",)
            )
            name = inner.verbatim("name")
            return None if name is None else Action(name, _properties(inner, "properties"))
        name = fields.verbatim("action")
        return None if name is None else Action(name)

    def _expect(self, fields: Fields) -> Expectation | None:
        node = fields.node("expect")
        if node is None:
            return None
        inner = Fields(
            node,
            "`expect`",
            self.problems,
            required={"effect": "write `effect: PERMIT` or `effect: DENY`"},
            optional=("cause", "rules", "obligations", "advice", "reasons"),
        )
        effect = inner.choice("effect", _EFFECTS)
        cause = inner.choice("cause", CAUSES)
        if effect == Effect.PERMIT.name and cause not in {None, Cause.RULE.name}:
            message = f"no permit has the cause {word(cause)}"
            self.problems.add(inner.at("cause"), message, "a permit has the cause `RULE`")
        rules = self._listed(inner, "rules")
        names = None
        if rules is not None:
            texts = [inner.checked(item, "an item of `rules`", NAME) for item in rules]
            names = tuple(text for text in texts if text is not None)
        obligations = self._duties(inner, "obligations")
        advice = self._duties(inner, "advice")
        user, admin = self._reasons(inner)
        if effect is None:
            return None
        found = Cause[cause] if cause else None
        return Expectation(Effect[effect], found, names, obligations, advice, user, admin)

    def _reasons(self, fields: Fields) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
        """Texts for the user and for the administrator; a key left out is not compared."""
        node = fields.node("reasons")
        if node is None:
            return None, None
        inner = Fields(node, "`reasons`", self.problems, required={}, optional=("user", "admin"))
        return self._said(inner, "user"), self._said(inner, "admin")

    def _said(self, fields: Fields, key: str) -> tuple[str, ...] | None:
        items = self._listed(fields, key)
        if items is None:
            return None
        texts = [fields.checked(item, f"an item of {word(key)}", PROSE) for item in items]
        return tuple(text for text in texts if text is not None)

    def _listed(self, fields: Fields, key: str) -> tuple[Node, ...] | None:
        """The items of a list, which may be empty: that expects none."""
        node = fields.node(key)
        if node is None:
            return None
        if not isinstance(node, List):
            self.problems.add(node.position, f"{word(key)} must be a list", "none is `[]`")
            return None
        return node.items

    def _duties(self, fields: Fields, key: str) -> tuple[Obligation, ...] | None:
        """Obligations or advice."""
        one = "obligation" if key == "obligations" else "advice"
        items = self._listed(fields, key)
        if items is None:
            return None
        found = []
        for node in items:
            required = dict.fromkeys(("id", "type"), "clients match on type and id")
            duty = Fields(
                node, f"the {one}", self.problems, required=required, optional=("properties",)
            )
            name, kind = duty.text("id", NAME), duty.text("type", NAME)
            if name is not None and kind is not None:
                found.append(Obligation(name, kind, _properties(duty, "properties")))
        return tuple(found)


def _properties(fields: Fields, key: str) -> dict[str, Value]:
    node = fields.node(key)
    if node is None:
        return {}
    value = value_of(node)
    if isinstance(value, dict):
        return value
    fields.problems.add(node.position, f"{word(key)} must be a map", "none is `{}`")
    return {}


def _now(fields: Fields) -> int | None:
    text = fields.text("now", NAME)
    if text is None:
        return None
    try:
        return parse_timestamp(text)
    except ValueError as error:
        message = f"`now` {word(text)} {error}"
        fields.problems.add(fields.at("now"), message, f"RFC 3339: `{EXAMPLE}`")
        return None


def _caller(fields: Fields) -> str | None:
    text = fields.text("caller", _ID)
    if text is None:
        return None
    try:
        check_caller_id(text)
    except PolicyError as error:
        fields.problems.add(fields.at("caller"), error.message, error.suggestion)
        return None
    if text.endswith("/*"):
        hint = "name one workload: a question comes from exactly one"
        fields.problems.add(fields.at("caller"), "the caller of a test is no pattern", hint)
        return None
    return text


def unknown_rules(rows: tuple[TestRow, ...], known: frozenset[str]) -> tuple[PolicyError, ...]:
    """Rules that rows expect and no policy has."""
    problems = Problems()
    for row in rows:
        for name in row.expect.rules or ():
            if name not in known:
                hint = closest(name, known) or "rules are named `policy/rule`"
                message = f"test {word(row.name)} expects {word(name)}, which no policy has"
                problems.add(row.position, message, hint)
    return problems.sorted()
