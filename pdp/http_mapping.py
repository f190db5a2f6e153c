"""What an HTTP request asks, as the author of the policies says it. Law ring: pure.

Routes are tried in their order; the first that matches makes the question. A
route that is in doubt ends the search: what it would have matched, nobody
knows, and the next route might ask something milder. Nothing that goes wrong
here is a question; all of it is a denial.

Types of subjects and resources are names that the author wrote, never
computed: who sends a request does not choose which policies apply.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pdp.cel.compile import BudgetSpentError, CelError, CompiledExpression, compile_expression
from pdp.cel.limits import EvaluationLimits
from pdp.cel.syntax import Expression
from pdp.errors import ExpressionError, InvalidRequestError, PolicyError
from pdp.http_request import HEADER_NAME, HTTP_NAMES, SOURCE_NAMES, HttpFacts
from pdp.model import Action, Cause, Request, Resource, Subject, Verdict
from pdp.values import Value

ROUTES_MAX = 1_000
HEADERS_MAX = 64

# Headers that no expression may read: credentials, which have their own way here; and what a
# client can write to say who it is, whence it comes, or what it means instead of its target.
UNREADABLE = frozenset(
    {"authorization", "proxy-authorization", "cookie", "host", "forwarded",
     "x-forwarded-client-cert", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
     "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-uri", "x-real-ip",
     "x-original-url", "x-rewrite-url", "x-http-method", "x-http-method-override",
     "x-method-override"}
)  # fmt: skip
# With these a client asks for something else than it was authorized for: they never go on.
OVERRIDES = ("x-http-method", "x-http-method-override", "x-method-override", "x-original-url",
             "x-rewrite-url")  # fmt: skip
# Headers that frame a message or steer the proxy: not ours to change.
_FRAMING = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade",
     "keep-alive", "proxy-connection", "content-encoding", "content-type", "expect"}
)  # fmt: skip
# Ours, on every request that goes on.
DECISION_HEADER = "x-portcullis-decision-id"
_OWN_PREFIXES = ("x-portcullis-", "x-envoy-")


class UpstreamSource(enum.Enum):
    """What a header for the upstream says. Numbers are the wire's."""

    SUBJECT_TYPE = 1
    SUBJECT_ID = 2
    RESOURCE_ID = 3
    DECISION_ID = 4


@dataclass(frozen=True, slots=True)
class RouteDocument:
    """A route as written, its expressions checked.

    Attributes:
        id: its name.
        when: what it matches; None: everything.
        subject: type and id of one that nobody proves; None: a bearer token proves it.
        action, resource_id: text.
        resource_type: a name.
        subject_properties, resource_properties, context: maps; None: empty.
    """

    id: str
    when: Expression | None
    subject: tuple[str, Expression] | None
    action: Expression
    resource_type: str
    resource_id: Expression
    subject_properties: Expression | None = None
    resource_properties: Expression | None = None
    context: Expression | None = None


@dataclass(frozen=True, slots=True)
class MappingDocument:
    """A mapping as written.

    Attributes:
        headers: those that expressions may read.
        json_body: whether they may read the body, as JSON.
        routes: in order.
        upstream: headers that the upstream gets, with what they say.
        remove: headers that do not reach it.
    """

    headers: tuple[str, ...]
    json_body: bool
    routes: tuple[RouteDocument, ...]
    upstream: tuple[tuple[str, UpstreamSource], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NotMapped:
    """There is no question, and why. The answer is a denial.

    Attributes:
        cause: which.
        error: what is wrong with the request; the words hold nothing of it.
        route: as far as one was found.
    """

    cause: Cause
    error: InvalidRequestError
    route: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A route, compiled.

    Attributes:
        id: its name.
        bearer: whether a token of the request proves the subject.
    """

    id: str
    bearer: bool
    subject_type: str
    resource_type: str
    _when: CompiledExpression | None
    _texts: Mapping[str, CompiledExpression]
    _maps: Mapping[str, CompiledExpression]

    def matches(self, facts: HttpFacts) -> Verdict:
        """Whether it is about this request."""
        return Verdict.TRUE if self._when is None else self._when.verdict(facts.attributes)

    def question(self, facts: HttpFacts, subject: tuple[str, str] | None) -> Request | NotMapped:
        """What is asked.

        Args:
            facts: of the request.
            subject: type and id that a token proves, for a route that wants one.
        """
        found: dict[str, Value] = {}
        for part, expression in (*self._texts.items(), *self._maps.items()):
            seen = facts.attributes
            if part.startswith("subject."):
                seen = {**facts.attributes, **facts.source}
            try:
                value = expression.value(seen)
            except BudgetSpentError:
                return self._failed(Cause.BUDGET, part, "costs more than its budget")
            except CelError:
                return self._failed(Cause.INVALID, part, "has no value for this request")
            if part in self._texts and type(value) is not str:
                return self._failed(Cause.INVALID, part, "is not a string for this request")
            if part in self._maps and type(value) is not dict:
                return self._failed(Cause.INVALID, part, "is not a map for this request")
            found[part] = value
        kind, name = subject or (self.subject_type, found.get("subject.id", ""))
        return Request(
            Subject(kind, name, found.get("subject.properties", {})),  # type: ignore[arg-type]
            Action(found["action"]),  # type: ignore[arg-type]
            Resource(
                self.resource_type,
                found["resource.id"],  # type: ignore[arg-type]
                found.get("resource.properties", {}),  # type: ignore[arg-type]
            ),
            found.get("context", {}),  # type: ignore[arg-type]
        )

    def _failed(self, cause: Cause, part: str, reason: str) -> NotMapped:
        return NotMapped(cause, InvalidRequestError(part, reason), self.id)


class HttpMapping:
    """All routes of a tenant, compiled.

    Attributes:
        readable: headers that expressions may read.
        json_body: whether they may read the body.
        upstream: headers that the upstream gets.
        remove: headers that do not reach it, the overrides among them.
        resource_types: that its routes ask about.
    """

    def __init__(self, document: MappingDocument, limits: EvaluationLimits) -> None:
        """Compile.

        Raises:
            PolicyError: no route, a duplicate name, a header that must not be read or
                set, an expression that does not compile or reads what it may not.
        """
        _check_headers(document)
        if not document.routes or len(document.routes) > ROUTES_MAX:
            raise PolicyError(f"a mapping has at least one route, and at most {ROUTES_MAX}")
        names = [route.id for route in document.routes]
        if len(set(names)) != len(names) or not all(names):
            raise PolicyError("a mapping has two routes with the same id, or one without")
        self.readable = frozenset(document.headers)
        self.json_body = document.json_body
        self.upstream = document.upstream
        self.remove = tuple(sorted({*document.remove, *OVERRIDES}))
        self.resource_types = frozenset(route.resource_type for route in document.routes)
        self._routes = [_compiled(route, document, limits) for route in document.routes]

    def route(self, facts: HttpFacts) -> Route | NotMapped:
        """The first route that matches."""
        for route in self._routes:
            verdict = route.matches(facts)
            if verdict is Verdict.TRUE:
                return route
            # INVARIANT: only a definite no goes on to the next.
            if verdict is not Verdict.FALSE:
                spent = verdict is Verdict.SPENT
                cause = Cause.BUDGET if spent else Cause.INDETERMINATE
                error = InvalidRequestError("when", "cannot be decided for this request")
                return NotMapped(cause, error, route.id)
        return NotMapped(Cause.DEFAULT, InvalidRequestError("http", "matches no route"))


def header_problem(name: str, *, written: bool) -> str:
    """What is wrong with a header that a mapping names; empty: nothing.

    Args:
        name: as it stands there.
        written: whether it is to be set or removed rather than read.
    """
    if not HEADER_NAME.fullmatch(name):
        return "is not the lower-case name of a header"
    if written:
        if name in _FRAMING or name.startswith(_OWN_PREFIXES):
            return "frames the message, or is the proxy's or ours: it cannot be set or removed"
        return ""
    if name in UNREADABLE or name.startswith(_OWN_PREFIXES):
        return "cannot be read: a client writes there who it is, or what it means instead"
    return ""


def _check_headers(document: MappingDocument) -> None:
    """As authoring checks with positions."""
    written = [name for name, _ in document.upstream]
    for names, is_written in ((document.headers, False), ([*written, *document.remove], True)):
        if len(names) > HEADERS_MAX or len(set(names)) != len(names):
            raise PolicyError("a mapping names a header twice, or too many")
        for name in names:
            if problem := header_problem(name, written=is_written):
                raise PolicyError(f"header `{name}` of the mapping {problem}")


def parts(route: RouteDocument) -> Iterable[tuple[str, Expression]]:
    """The expressions of a route, by what they make, in the order of a question."""
    if route.when is not None:
        yield "when", route.when
    if route.subject is not None:
        yield "subject.id", route.subject[1]
    yield "action", route.action
    yield "resource.id", route.resource_id
    for part, expression in (
        ("subject.properties", route.subject_properties),
        ("resource.properties", route.resource_properties),
        ("context", route.context),
    ):
        if expression is not None:
            yield part, expression


TEXTS = frozenset({"subject.id", "action", "resource.id"})


def names_of(part: str) -> Mapping[str, str]:
    """Names and types that an expression may read.

    INVARIANT: whom the proxy speaks with is for the subject alone, which the caller policy lets
    it assert, or not. Nothing else of a question can come from a certificate that it forwards.
    """
    return {**HTTP_NAMES, **SOURCE_NAMES} if part.startswith("subject.") else HTTP_NAMES


def _compiled(route: RouteDocument, document: MappingDocument, limits: EvaluationLimits) -> Route:
    if not route.resource_type or (route.subject is not None and not route.subject[0]):
        raise PolicyError(f"route `{route.id}` names no type of its subject or resource")
    made: dict[str, CompiledExpression] = {}
    for part, expression in parts(route):
        try:
            made[part] = compile_expression(expression, {}, limits)
        except ExpressionError as error:
            message = f"`{part}` of route `{route.id}`: {error.message}"
            raise ExpressionError(message, None, error.suggestion) from None
        if unknown := unreadable(made[part].reads, part, document):
            raise PolicyError(f"`{part}` of route `{route.id}` may not read `{unknown}`")
    return Route(
        route.id,
        route.subject is None,
        "" if route.subject is None else route.subject[0],
        route.resource_type,
        made.pop("when", None),
        {part: each for part, each in made.items() if part in TEXTS},
        {part: each for part, each in made.items() if part not in TEXTS},
    )


def unreadable(reads: Iterable[tuple[str, ...]], part: str, document: MappingDocument) -> str:
    """Something that an expression of this part reads and may not; empty: nothing."""
    known = names_of(part)
    for path in sorted(reads):
        if path[0] not in known or (path[0] == "http.body" and not document.json_body):
            return path[0]
        if path[0] == "http.headers" and len(path) > 1 and path[1] not in document.headers:
            return f'http.headers["{path[1]}"]'
    return ""
