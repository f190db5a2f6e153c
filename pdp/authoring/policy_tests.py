"""Tests of policies as their author wrote them: `kind: tests` documents.

Each row is a question and the answer it should get, and so is each answer in
a table. What `expect` leaves out is not compared, but for the effect, which
every row says. Documents `kind: fixtures` hold what several of them name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from pdp.authoring.documents import read_document
from pdp.authoring.expectations import CAUSES, Expectation, read_expectation
from pdp.authoring.fetched_rows import Said, read_fetched
from pdp.authoring.fields import NAME, PROSE, Fields, Text
from pdp.authoring.fixtures import SECTIONS, Entity, Fixtures, properties
from pdp.authoring.http_rows import read_http
from pdp.authoring.matrices import read_table
from pdp.authoring.nodes import Map, Node, Scalar
from pdp.authoring.problems import Problems, closest, word
from pdp.authoring.times import EXAMPLE, parse_timestamp
from pdp.callers import check_caller_id
from pdp.errors import PolicyError, Position
from pdp.fetched import Fetched
from pdp.http_request import HttpRequest
from pdp.model import Action, Cause, Request, Resource, Subject
from pdp.values import Value

_ID = Text("a SPIFFE ID", 2_048)


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
    # Claims as if a token of the subject had been verified; None: it brings none.
    token: Mapping[str, Value] | None = None
    # What providers say, by name.
    fetched: Mapping[str, Fetched] = field(default_factory=dict)
    # An HTTP request in place of a question, which `pdp.authoring.http_translation` makes of it.
    http: HttpRequest | None = None
    # Why no question came of it.
    denied: Cause | None = None


@dataclass(frozen=True, slots=True)
class TestDocuments:
    """All rows of a set of documents, in the order of paths and lines."""

    __test__ = False

    rows: tuple[TestRow, ...]
    problems: tuple[PolicyError, ...]
    sources: Mapping[str, bytes]


def read_tests(sources: Mapping[str, bytes], only: Collection[str] | None = None) -> TestDocuments:
    """Read documents of tests by path; a row with a problem is left out.

    Args:
        sources: all documents of a folder that are named `…_test`.
        only: paths of those whose rows are wanted; None is all. Fixtures are
            read from all.
    """
    problems = Problems()
    fixtures, roots = Fixtures(), []
    for path in sorted(sources):
        own = Problems()
        root = read_document(path, sources[path], own)
        if root is not None and _kind(root) == "fixtures":
            fields = Fields(
                root, "the document of fixtures", own, required={"kind": ""}, optional=SECTIONS
            )
            fixtures.read(fields)
        elif only is not None and path not in only:
            continue
        elif root is not None and _is_other(root):
            hint = "name the file without `_test`"
            own.add(root.position, "a file named `…_test` holds tests, and this is a policy", hint)
        elif root is not None:
            roots.append(root)
        for problem in own.sorted():
            problems.note(problem)
    rows: list[TestRow] = []
    for root in roots:
        rows += _Reader(root, problems, fixtures.copy()).rows()
    return TestDocuments(tuple(rows), problems.sorted(), sources)


def _kind(root: Map) -> str:
    node = root.get("kind")
    return node.text if isinstance(node, Scalar) else ""


def _is_other(root: Map) -> bool:
    """Whether a document is plainly no test: then all that it lacks for one would be noise."""
    return root.get("policy") is not None and root.get("tests") is None


class _Reader:
    """Reads one document."""

    def __init__(self, root: Map, problems: Problems, fixtures: Fixtures) -> None:
        self.problems = problems
        self.root = root
        self.fixtures = fixtures
        if _kind(root) != "tests":
            kind = root.get("kind")
            at = root.position if kind is None else kind.position
            hint = "begin with `kind: tests`, or name the file without `_test`"
            problems.add(at, "a file named `…_test` holds tests", hint)
        required = {"kind": "write `kind: tests`", "tests": "list at least one test"}
        optional = ["now", "caller", "tenant", "fetched", "matrices", *SECTIONS]
        if root.get("matrices") is not None:
            del required["tests"]
            optional.append("tests")
        self.fields = Fields(
            root, "the document of tests", problems, required=required, optional=optional
        )
        self.seen: dict[str, Position] = {}
        self.tenant = ""

    def rows(self) -> list[TestRow]:
        """All rows that have no problem."""
        self.fixtures.read(self.fields)
        now, caller = _now(self.fields), _caller(self.fields)
        fetched = read_fetched(self.fields)
        self.tenant = self.fields.text("tenant", NAME) or ""
        found: list[TestRow] = []
        for node in self.fields.items("tests", "list at least one test") or ():
            before = len(self.problems)
            row = self._row(node, now, caller, fetched)
            if row is not None and self._is_new(row) and len(self.problems) == before:
                found.append(row)
        for node in self.fields.items("matrices", "list at least one, or leave it out") or ():
            before = len(self.problems)
            rows = self._matrix(node, now, caller, fetched)
            rows = [row for row in rows if self._is_new(row)]
            if len(self.problems) == before:
                found += rows
        return found

    def _is_new(self, row: TestRow) -> bool:
        first = self.seen.setdefault(row.name, row.position)
        if first != row.position:
            hint = f"it is on line {first.line} already"
            self.problems.add(row.position, f"test {word(row.name)} is there twice", hint)
        return first == row.position

    def _matrix(
        self, node: Node, now: int | None, caller: str | None, fetched: Said
    ) -> list[TestRow]:
        """The tests of one table."""
        given = node.get("name") if isinstance(node, Map) else None
        what = f"matrix {word(given.text)}" if isinstance(given, Scalar) else "the matrix"
        required = {
            "name": "write what it shows, `name: who reads drafts`",
            "table": "write `table: |`, and below it who may do what",
            **self._asked_here(),
        }
        asked = ("context", "tenant", "fetched", "caller", "now")
        optional = [key for key in asked if key not in required]
        fields = Fields(node, what, self.problems, required=required, optional=optional)
        fetched = {**fetched, **read_fetched(fields)}
        now = now if fields.node("now") is None else _now(fields)
        caller = caller if fields.node("caller") is None else _caller(fields)
        name = fields.text("name", PROSE)
        context = self.fixtures.context(fields.node("context"), self.problems)
        if name is None or context is None:
            return []
        tenant = self._tenant(fields)
        cells = list(read_table(fields, name, context, self.fixtures, CAUSES))
        if now is None or caller is None:
            return []
        return [
            TestRow(
                cell.name,
                cell.position,
                caller,
                now,
                replace(cell.request, tenant=tenant),
                Expectation(cell.effect, cell.cause, None, None),
                fetched=fetched,
            )
            for cell in cells
        ]

    def _asked_here(self) -> dict[str, str]:
        """What each row needs that the head of the document does not supply."""
        needed = {}
        if self.fields.node("now") is None:
            needed["now"] = f"write `now: {EXAMPLE}` here, or above for all tests"
        if self.fields.node("caller") is None:
            needed["caller"] = "write `caller: spiffe://domain/path` here, or above for all tests"
        return needed

    def _row(
        self, node: Node, now: int | None, caller: str | None, fetched: Said
    ) -> TestRow | None:
        given = node.get("name") if isinstance(node, Map) else None
        what = f"test {word(given.text)}" if isinstance(given, Scalar) else "the test"
        over_http = isinstance(node, Map) and node.get("http") is not None
        proved = isinstance(node, Map) and node.get("token") is not None
        required, asked = _keys(over_http=over_http, proved=proved)
        required |= self._asked_here()
        optional = [key for key in asked if key not in required]
        fields = Fields(node, what, self.problems, required=required, optional=optional)
        fetched = {**fetched, **read_fetched(fields)}
        now = now if fields.node("now") is None else _now(fields)
        caller = caller if fields.node("caller") is None else _caller(fields)
        name = fields.text("name", PROSE)
        request = self._whom(fields) if over_http else self._request(fields)
        shown = fields.node("http")
        http = None if shown is None else read_http(shown, self.problems, proved=proved)
        expect = read_expectation(fields, self.problems)
        if None in (now, caller, name) or request is None or expect is None:
            return None
        token = None if fields.node("token") is None else properties(fields, "token")
        at = fields.at("name")
        return TestRow(
            name or "", at, caller or "", now or 0, request, expect, token, fetched, http
        )

    def _whom(self, fields: Fields) -> Request | None:
        """Of a row that asks over HTTP: whom its token proves, and nothing else."""
        subject = self._entity(fields, "subject")
        if fields.node("subject") is not None and subject is None:
            return None
        whom = Subject("", "") if subject is None else Subject(subject.type, subject.id)
        return Request(whom, Action(""), Resource("", ""))

    def _request(self, fields: Fields) -> Request | None:
        subject = self._entity(fields, "subject")
        resource = self._entity(fields, "resource")
        action = self._action(fields)
        context = self.fixtures.context(fields.node("context"), self.problems)
        if subject is None or resource is None or action is None or context is None:
            return None
        return Request(
            Subject(subject.type, subject.id, subject.properties),
            action,
            Resource(resource.type, resource.id, resource.properties),
            context,
            tenant=self._tenant(fields),
        )

    def _tenant(self, fields: Fields) -> str:
        """Whose policies are asked, as in a request; empty: it does not say."""
        return fields.text("tenant", NAME) or self.tenant

    def _entity(self, fields: Fields, key: str) -> Entity | None:
        node = fields.node(key)
        if node is None:
            return None
        return self.fixtures.entity(node, f"{key}s", word(key), self.problems)

    def _action(self, fields: Fields) -> Action | None:
        node = fields.node("action")
        if isinstance(node, Map):
            required = {"name": "write `action: {name: read}` or `action: read`"}
            inner = Fields(
                node, "`action`", self.problems, required=required, optional=("properties",)
            )
            name = inner.verbatim("name")
            return None if name is None else Action(name, properties(inner, "properties"))
        name = fields.verbatim("action")
        return None if name is None else Action(name)


def _keys(*, over_http: bool, proved: bool) -> tuple[dict[str, str], tuple[str, ...]]:
    """What a row must say, with hints, and what else it may."""
    required = {
        "name": "write what it shows, `name: nobody approves their own`",
        "subject": "write `subject: {type: user, id: ana}`",
        "action": "write `action: read`",
        "resource": "write `resource: {type: …, id: …}`",
        "http": "write `http: {method: GET, path: /…}`",
        "expect": "write `expect: {effect: DENY}`",
    }
    if not over_http:
        del required["http"]
        return required, ("context", "tenant", "fetched", "token", "caller", "now")
    # The mapping says the rest; whom a token proves, only the row can say.
    for key in ("action", "resource") if proved else ("subject", "action", "resource"):
        del required[key]
    return required, ("fetched", "token", "caller", "now")


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


def unknown_names(
    rows: tuple[TestRow, ...], rules: frozenset[str], providers: Collection[str]
) -> tuple[PolicyError, ...]:
    """Rules that rows expect and no policy has; providers they speak of and no document names."""
    problems = Problems()
    for row in rows:
        for name in row.expect.rules or ():
            if name not in rules:
                hint = closest(name, rules) or "rules are named `policy/rule`"
                message = f"test {word(row.name)} expects {word(name)}, which no policy has"
                problems.add(row.position, message, hint)
        for name in row.fetched:
            if name not in providers:
                hint = closest(name, providers) or "write a document `kind: provider`"
                message = f"test {word(row.name)} speaks of {word(name)}, which is no provider here"
                problems.add(row.position, message, hint)
    return problems.sorted()
