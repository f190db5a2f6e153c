"""What HTTP requests ask, as the author wrote it: the `kind: http_mapping` document.

Read first, then checked with the official checker: each expression sees the
request, and those of the subject see besides whom the proxy speaks with.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pdp import checked_expr
from pdp.authoring.checker import Checker
from pdp.authoring.conditions import located
from pdp.authoring.definitions import CONDITION_CHARACTERS_MAX
from pdp.authoring.fields import IDENTIFIER, NAME, Fields, Text
from pdp.authoring.nodes import Map, Node, Scalar
from pdp.authoring.problems import Problems, closest, one_of, word
from pdp.cel.compile import compile_expression
from pdp.cel.limits import EvaluationLimits
from pdp.cel.syntax import Expression
from pdp.compiled import CheckedCondition
from pdp.errors import ExpressionError, Position
from pdp.http_mapping import (
    TEXTS,
    MappingDocument,
    RouteDocument,
    UpstreamSource,
    header_problem,
    names_of,
    unreadable,
)
from pdp.policy import EVERY_RESOURCE

SOURCES: Mapping[str, UpstreamSource] = {
    "subject.type": UpstreamSource.SUBJECT_TYPE,
    "subject.id": UpstreamSource.SUBJECT_ID,
    "resource.id": UpstreamSource.RESOURCE_ID,
    "decision.id": UpstreamSource.DECISION_ID,
}
_HEADER = Text("the lower-case name of a header", 128)
_SUBJECT = "write `subject: {token: bearer}`, or `subject: {type: user, id: …}` with CEL for the id"
_RESOURCE = "write `resource: {type: document, id: …}` with CEL for the id"
_WHO = "`subject` of the route"
_ACTION = "write CEL, `action: http.method`"


@dataclass(frozen=True, slots=True)
class RouteDraft:
    """A route with its expressions as text, by what they make."""

    id: str
    position: Position
    subject_type: str
    bearer: bool
    resource_type: str
    resource_position: Position
    texts: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class MappingDraft:
    """A mapping whose expressions are not checked."""

    headers: tuple[str, ...]
    json_body: bool
    routes: tuple[RouteDraft, ...]
    upstream: tuple[tuple[str, UpstreamSource], ...]
    remove: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckedMapping:
    """A mapping with its expressions checked, in both forms."""

    document: MappingDocument
    expressions: dict[tuple[str, str], CheckedCondition] = field(default_factory=dict)


def read_mapping(root: Map, problems: Problems) -> MappingDraft:
    """Read a mapping. After a problem, what is returned is incomplete."""
    hint = "list at least one route: what matches none is denied"
    fields = Fields(
        root,
        "the HTTP mapping",
        problems,
        required={"kind": "write `kind: http_mapping`", "routes": hint},
        optional=("headers", "body", "upstream"),
    )
    headers = _headers(fields, "headers", written=False)
    json_body = fields.choice("body", ("json",)) is not None
    upstream, remove = _upstream(fields)
    routes: list[RouteDraft] = []
    seen: dict[str, Position] = {}
    for node in fields.items("routes", hint) or ():
        route = _route(node, problems)
        if route is None:
            continue
        first = seen.setdefault(route.id, route.position)
        if first != route.position:
            hint = f"the other one is on line {first.line}"
            problems.add(route.position, f"route {word(route.id)} is defined twice", hint)
        routes.append(route)
    return MappingDraft(headers, json_body, tuple(routes), upstream, remove)


def _headers(fields: Fields, key: str, *, written: bool) -> tuple[str, ...]:
    items = fields.texts(key, _HEADER, "leave it out to mean none") or ()
    for item in items:
        if problem := header_problem(item.text, written=written):
            fields.problems.add(item.position, f"header {word(item.text)} {problem}", "remove it")
    return tuple(item.text for item in items)


def _upstream(
    fields: Fields,
) -> tuple[tuple[tuple[str, UpstreamSource], ...], tuple[str, ...]]:
    node = fields.node("upstream")
    if node is None:
        return (), ()
    inner = Fields(node, "`upstream`", fields.problems, required={}, optional=("set", "remove"))
    remove = _headers(inner, "remove", written=True)
    given = inner.node("set")
    if given is None:
        return (), remove
    if not isinstance(given, Map) or not given.entries:
        inner.problems.add(given.position, "`set` names no header", "write `x-user: subject.id`")
        return (), remove
    found = []
    for key, value in given.entries:
        if problem := header_problem(key.text, written=True):
            inner.problems.add(key.position, f"header {word(key.text)} {problem}", "remove it")
        elif key.text in remove:
            message = f"header {word(key.text)} is set and removed"
            inner.problems.add(key.position, message, "what is set replaces what a client sent")
        text = inner.checked(value, word(key.text), NAME)
        if text is not None and text not in SOURCES:
            message = f"header {word(key.text)} cannot say {word(text)}"
            inner.problems.add(value.position, message, f"it may say {one_of(tuple(SOURCES))}")
        elif text is not None:
            found.append((key.text, SOURCES[text]))
    return tuple(found), remove


def _route(node: Node, problems: Problems) -> RouteDraft | None:
    given = node.get("id") if isinstance(node, Map) else None
    what = f"route {word(given.text)}" if isinstance(given, Scalar) else "the route"
    required = {
        "id": "give it a name, `id: read-document`",
        "subject": _SUBJECT,
        "action": _ACTION,
        "resource": _RESOURCE,
    }
    fields = Fields(node, what, problems, required=required, optional=("when", "context"))
    name = fields.text("id", IDENTIFIER)
    texts: dict[str, Scalar] = {}
    for part in ("when", "action", "context"):
        _take(fields, part, part, texts)
    kind, bearer = _subject(fields, texts)
    resource = fields.node("resource")
    if name is None or resource is None:
        return None
    inner = _inner(
        resource, "`resource` of the route", problems, {"type": _RESOURCE, "id": _RESOURCE}
    )
    for key in ("id", "properties"):
        _take(inner, key, f"resource.{key}", texts)
    about = inner.text("type", NAME)
    at = inner.at("type")
    return RouteDraft(name, fields.at("id"), kind, bearer, about or "", at, texts)


def _inner(node: Node, what: str, problems: Problems, required: Mapping[str, str]) -> Fields:
    return Fields(node, what, problems, required=required, optional=("properties",))


def _subject(fields: Fields, texts: dict[str, Scalar]) -> tuple[str, bool]:
    """Its type, or that a token proves it."""
    node = fields.node("subject")
    if node is None:
        return "", False
    if isinstance(node, Map) and node.get("token") is not None:
        inner = _inner(node, _WHO, fields.problems, {"token": _SUBJECT})
        inner.choice("token", ("bearer",))
        _take(inner, "properties", "subject.properties", texts)
        return "", True
    inner = _inner(node, _WHO, fields.problems, {"type": _SUBJECT, "id": _SUBJECT})
    for key in ("id", "properties"):
        _take(inner, key, f"subject.{key}", texts)
    return inner.text("type", NAME) or "", False


def _take(fields: Fields, key: str, part: str, texts: dict[str, Scalar]) -> None:
    """The text of an expression, if it is given."""
    node = fields.node(key)
    scalar = None if node is None else fields.string(node, word(key))
    if scalar is None:
        return
    if not scalar.text.strip() or len(scalar.text) > CONDITION_CHARACTERS_MAX:
        message = f"{word(key)} is no expression of at most {CONDITION_CHARACTERS_MAX} characters"
        fields.problems.add(scalar.position, message, "write CEL")
    elif any(ord(each) < 0x20 and each not in "\t\n" for each in scalar.text):  # noqa: PLR2004
        message = f"{word(key)} has a control character"
        fields.problems.add(scalar.position, message, "in a CEL string it is written as an escape")
    else:
        texts[part] = scalar


def check_resource_types(draft: MappingDraft, known: Collection[str], problems: Problems) -> None:
    """A route about a type that no policy governs denies everything it matches.

    Args:
        draft: as read.
        known: resource types of policies.
        problems: gets what is wrong.
    """
    for route in () if EVERY_RESOURCE in known else draft.routes:
        if route.resource_type and route.resource_type not in known:
            message = f"no policy is about resource type {word(route.resource_type)}"
            hint = closest(route.resource_type, known) or "this route would deny all it matches"
            problems.add(route.resource_position, message, hint)


def check_mapping(
    draft: MappingDraft, checker: Checker, limits: EvaluationLimits, problems: Problems
) -> CheckedMapping | None:
    """Check every expression of a mapping.

    Returns:
        The mapping, or None when an expression has a problem.

    Raises:
        ConfigurationError: the checker cannot be run.
    """
    before = len(problems)
    work = _Work(draft, checker, limits, problems)
    checked = [(route, work.route(route)) for route in draft.routes]
    if len(problems) > before or not all(_is_whole(route, found) for route, found in checked):
        return None
    routes = tuple(
        RouteDocument(
            id=route.id,
            when=found.get("when"),
            subject=None if route.bearer else (route.subject_type, found["subject.id"]),
            action=found["action"],
            resource_type=route.resource_type,
            resource_id=found["resource.id"],
            subject_properties=found.get("subject.properties"),
            resource_properties=found.get("resource.properties"),
            context=found.get("context"),
        )
        for route, found in checked
    )
    document = MappingDocument(draft.headers, draft.json_body, routes, draft.upstream, draft.remove)
    return CheckedMapping(document, work.expressions)


def _is_whole(route: RouteDraft, found: Mapping[str, Expression]) -> bool:
    """Whether nothing is missing; what is has its problem noted already."""
    needed = {"action", "resource.id"} | (set() if route.bearer else {"subject.id"})
    return needed <= found.keys()


class _Work:
    """The check of one mapping."""

    def __init__(
        self, draft: MappingDraft, checker: Checker, limits: EvaluationLimits, problems: Problems
    ) -> None:
        self.checker = checker
        self.limits = limits
        self.problems = problems
        # For what may be read: headers and body.
        self.document = MappingDocument(draft.headers, draft.json_body, ())
        self.expressions: dict[tuple[str, str], CheckedCondition] = {}

    def route(self, route: RouteDraft) -> dict[str, Expression]:
        """The checked expressions of a route, by part; those with a problem are missing."""
        found = {}
        for part, scalar in route.texts.items():
            try:
                found[part] = self._checked(route.id, part, scalar)
            except ExpressionError as error:
                self.problems.note(located(error, scalar))
        return found

    def _checked(self, route: str, part: str, scalar: Scalar) -> Expression:
        names = dict(names_of(part))
        try:
            checked = self.checker.check(scalar.text, names)
        except ExpressionError as error:
            raise _explained(error, scalar) from None
        expression = checked_expr.decode(
            checked.checked_expr, scalar.text, require_bool=part == "when"
        )
        _check_type(part, checked.type)
        compiled = compile_expression(expression, {}, self.limits)
        if unknown := unreadable(compiled.reads, part, self.document):
            hint = "list the header under `headers`"
            hint = "write `body: json` at the top" if unknown == "http.body" else hint
            raise ExpressionError(f"{word(part)} may not read `{unknown}`", None, hint)
        start = scalar.content_position
        self.expressions[route, part] = CheckedCondition(
            scalar.text, checked.checked_expr, start.line, start.column
        )
        return expression


def _explained(error: ExpressionError, scalar: Scalar) -> ExpressionError:
    """With a hint where the author meant a fixed text, or what only the subject may read."""
    text = scalar.text.strip()
    if text.isidentifier() or "source." in text:
        hint = f"a fixed text is written in quotes of its own: `'\"{text}\"'`"
        if "source." in text:
            hint = "whom the proxy speaks with is for the subject alone"
        return ExpressionError(error.message, error.position, hint)
    return error


def _check_type(part: str, found: str) -> None:
    """What an expression makes must be able to be what it is for.

    Raises:
        ExpressionError: it never is.
    """
    if part == "when" or found == "dyn":
        return
    if part in TEXTS and found != "string":
        hint = "convert it: `string(…)`"
        raise ExpressionError(f"{word(part)} must be a string, this is `{found}`", None, hint)
    if part not in TEXTS and not found.startswith(("map(string,", "map(dyn,")):
        hint = 'write a map with strings as keys: `{"method": http.method}`'
        raise ExpressionError(f"{word(part)} must be a map, this is `{found}`", None, hint)
