"""HTTP mappings: the first route that matches makes the question, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from pdp import compiled, http_mapping, http_request
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import compile_sources
from pdp.cel.limits import EvaluationLimits
from pdp.errors import DocumentError, InvalidRequestError, PolicyError
from pdp.http_mapping import HttpMapping, NotMapped, UpstreamSource
from pdp.http_request import HttpFacts, HttpRequest, judge
from pdp.model import Action, Caller, Cause, Request, Resource, Subject, Verdict
from pdp.v1 import bundle_pb2 as pb
from tests.simulators.envoy import ANYTHING, AROUND, compilation_of, document_of, mapping_of

ENVOY = Caller("spiffe://demo.example.org/pep", "1f", "")
LIMITS = EvaluationLimits()
# A hundred query items cubed: over any budget.
_DEAR = 'http.query.all(a, http.query.all(b, http.query.all(c, a != "x")))'
GET = HttpRequest("GET", "/documents/7", "docs.example.org", headers=[("x-subject", "alice")])


def facts_of(request: HttpRequest = GET, mapping: HttpMapping | None = None) -> HttpFacts:
    """What expressions see."""
    return judge(request, ENVOY, 0, (mapping or mapping_of()).readable)


def asked(request: HttpRequest = GET, mapping: HttpMapping | None = None) -> Request | NotMapped:
    """The question of a request."""
    mapping = mapping or mapping_of()
    facts = facts_of(request, mapping)
    route = mapping.route(facts)
    return route if isinstance(route, NotMapped) else route.question(facts, None)


def cause_of(request: HttpRequest = GET, mapping: HttpMapping | None = None) -> tuple[Cause, str]:
    """Why there is no question, and the part at fault."""
    found = asked(request, mapping)
    assert isinstance(found, NotMapped)
    return found.cause, found.error.field


def one_route(**parts: str) -> HttpMapping:
    """A mapping with the route `a`, and behind it one that asks about everything."""
    said = {"action": "'\"read\"'", "id": "'\"1\"'", "subject": "'\"alice\"'", **parts}
    optional = "".join(f"    {k}: {said[k]}\n" for k in ("when", "context") if k in said)
    return mapping_of(
        f"""
kind: http_mapping
headers: [x-subject]
routes:
  - id: a
    subject: {{type: user, id: {said["subject"]}}}
    action: {said["action"]}
    resource: {{type: document, id: {said["id"]}}}
{optional}  - id: open-to-all
    subject: {{type: user, id: '"anyone"'}}
    action: '"read"'
    resource: {{type: document, id: '"public"'}}
"""
    )


def test_a_route_makes_the_question() -> None:
    """Subject, action, resource and context are what the expressions say."""
    request = replace(GET, method="PUT", target="/documents/7/?a=1&a=2")
    assert asked(request) == Request(
        Subject("user", "alice", {}),
        Action("write"),
        Resource("document", "7", {}),
        {"query": {"a": ["1", "2"]}},
    )


def test_the_first_route_that_matches_wins() -> None:
    """In the order in which they are written."""
    for when, expected in (("'true'", "1"), ("'false'", "public")):
        found = asked(mapping=one_route(when=when))
        assert isinstance(found, Request)
        assert found.resource.id == expected


def test_a_route_in_doubt_ends_the_search() -> None:
    """A later route, milder than the one in doubt, is not tried; nor after one that spent."""
    doubt = one_route(when='\'http.headers["x-subject"] == "root"\'')
    assert cause_of(replace(GET, headers=()), doubt) == (Cause.INDETERMINATE, "when")
    assert isinstance(asked(mapping=doubt), Request)
    spent = one_route(when=f"'{_DEAR}'")
    flood = "&".join(f"{number}=" for number in range(120))
    assert cause_of(replace(GET, target=f"/?{flood}"), spent) == (Cause.BUDGET, "when")


def test_a_route_in_doubt_ends_the_search_twin_without_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If doubt went on to the next route, that one would be asked."""
    mapping = one_route(when='\'http.headers["x-subject"] == "root"\'')

    def lenient(self: HttpMapping, facts: HttpFacts) -> http_mapping.Route | NotMapped:
        routes = self._routes
        return next(r for r in routes if r.matches(facts) is Verdict.TRUE)

    monkeypatch.setattr(HttpMapping, "route", lenient)
    found = asked(replace(GET, headers=()), mapping)
    assert isinstance(found, Request)
    assert found.resource.id == "public"


def test_no_route_is_a_denial() -> None:
    """DEFAULT, as where no rule applies."""
    assert cause_of(replace(GET, target="/elsewhere")) == (Cause.DEFAULT, "http")


@pytest.mark.parametrize(
    ("parts", "field", "cause"),
    [
        ({"id": "'http.segments[7]'"}, "resource.id", Cause.INVALID),
        ({"id": "'http.query[\"id\"][0]'"}, "resource.id", Cause.INVALID),
        ({"action": "'dyn(1)'"}, "action", Cause.INVALID),
        ({"subject": "'http.headers[\"x-subject\"]'"}, "subject.id", Cause.INVALID),
        ({"context": "'dyn([1])'"}, "context", Cause.INVALID),
        (
            {"context": f"'{{\"a\": {_DEAR}}}'"},
            "context",
            Cause.BUDGET,
        ),
    ],
)
def test_errors_are_no_question(parts: dict[str, str], field: str, cause: Cause) -> None:
    """An expression without a value, of another kind, or too dear: never a default."""
    flood = "&".join(f"{number}=" for number in range(120))
    request = replace(GET, target=f"/?{flood}", headers=())
    assert cause_of(request, one_route(**parts)) == (cause, field)


def test_only_listed_headers_are_seen() -> None:
    """Others are not there, whatever they are named."""
    facts = facts_of(replace(GET, headers=[*GET.headers, ("x-secret", "s"), ("cookie", "c")]))
    assert facts.attributes["http.headers"] == {"x-subject": "alice"}


def test_headers_of_one_name_are_joined() -> None:
    """In order, by a comma, whatever the case of the name: a second one never replaces."""
    facts = facts_of(replace(GET, headers=[("X-Subject", "alice"), ("x-subject", "root")]))
    assert facts.attributes["http.headers"] == {"x-subject": "alice,root"}


def test_a_header_that_cannot_be_read_makes_all_unreadable() -> None:
    """Bytes beyond ASCII, or control characters: not absent, but an error to whoever reads."""
    for value in ("al\xefce", "a\x00b", "a\rb", " a", "a\t"):
        facts = facts_of(replace(GET, headers=[("x-subject", value)]))
        assert "http.headers" not in facts.attributes
    assert cause_of(replace(GET, headers=[("x-subject", "al\xefce")])) == (
        Cause.INVALID,
        "subject.id",
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"method": ""}, "http.method"),
        ({"method": "get"}, "http.method"),
        ({"method": "GET /x"}, "http.method"),
        ({"scheme": "ftp"}, "http.scheme"),
        ({"host": "a/b"}, "http.host"),
        ({"target": "/a/../b"}, "http.path"),
        ({"headers": [("a b", "c")]}, "http.headers"),
        ({"headers": [("", "c")]}, "http.headers"),
        ({"headers": [(":path", "/other")]}, "http.headers"),
        ({"headers": [("Host", "other.example.org")]}, "http.headers"),
        ({"headers": [(":method", "DELETE")]}, "http.headers"),
        ({"headers": [("x", "y")] * 257}, "http.headers"),
        ({"headers": [("x", "y" * 70_000)]}, "http.headers"),
        ({"extensions": {str(n): "" for n in range(65)}}, "http.extensions"),
        ({"extensions": {"a": "b" * 5_000}}, "http.extensions"),
    ],
)
def test_attack_a_request_that_contradicts_itself_is_refused(
    change: dict[str, object], field: str
) -> None:
    """A second path, host or method in a header; floods; what is no method, scheme or name."""
    with pytest.raises(InvalidRequestError) as refused:
        facts_of(replace(GET, **change))  # type: ignore[arg-type]
    assert refused.value.field == field


def test_a_second_path_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """If headers were not compared with the request, a second path would pass."""
    monkeypatch.setattr(http_request, "_headers", lambda request: dict(request.headers))
    assert facts_of(replace(GET, headers=[(":path", "/other")])).attributes["http.segments"] == [
        "documents",
        "7",
    ]


def test_whom_the_proxy_speaks_with_is_for_the_subject_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a bundle made by hand too: no other part of a question can come from a certificate."""
    document = document_of(ANYTHING)
    route = next(each for each in document.routes if each.id == "of-a-workload")
    assert route.subject is not None
    stolen = replace(route, resource_id=route.subject[1])
    bent = replace(document, routes=(stolen,))
    with pytest.raises(PolicyError, match=r"`resource.id` of route `of-a-workload` may not read"):
        HttpMapping(bent, LIMITS)
    # The twin: with the same names for every part, it would be taken.
    every = {**http_request.HTTP_NAMES, **http_request.SOURCE_NAMES}
    monkeypatch.setattr(http_mapping, "names_of", lambda _: every)
    HttpMapping(bent, LIMITS)


def test_a_mapping_from_a_bundle_is_checked_again() -> None:
    """What authoring refuses with a place, the PDP refuses too: a bundle is not believed."""
    good = document_of(ANYTHING)
    read = good.routes[-1]
    for bent, says in (
        (replace(good, routes=()), "at least one route"),
        (replace(good, routes=(read, read)), "same id"),
        (replace(good, routes=(replace(read, id=""),)), "without"),
        (replace(good, routes=(replace(read, resource_type=""),)), "no type"),
        (replace(good, headers=()), r"may not read `http.headers\[\"x-subject\"\]`"),
        (replace(good, headers=("authorization",)), "cannot be read"),
        (replace(good, headers=("x-subject", "x-subject")), "twice"),
        (replace(good, json_body=False), "may not read `http.body`"),
        (replace(good, remove=("host",)), "cannot be set or removed"),
        (replace(good, upstream=(("x-envoy-x", UpstreamSource.SUBJECT_ID),)), "cannot be set"),
    ):
        with pytest.raises(PolicyError, match=says):
            HttpMapping(bent, LIMITS)


def test_a_mapping_survives_its_encoding() -> None:
    """Compiled and decoded, it says the same; compiled again, the bytes are the same."""
    first, again = compilation_of(ANYTHING), compilation_of(ANYTHING)
    assert first.problems == ()
    assert first.documents == again.documents
    mapping = document_of(ANYTHING)
    assert [route.id for route in mapping.routes] == [
        "from-the-body", "of-a-workload", "of-a-token", "read",
    ]  # fmt: skip
    assert mapping.upstream == (("x-user-id", UpstreamSource.SUBJECT_ID),)
    assert set(mapping_of().remove) == {"x-role", *http_mapping.OVERRIDES}
    assert (1, "HTTP mapping") in first.counts


def test_nothing_absent_in_a_compiled_mapping_is_milder() -> None:
    """A route without subject, without action or with an empty condition does not load."""
    (document,) = (
        each for each in compilation_of(ANYTHING).documents if each.source_path == "http.yaml"
    )
    message = pb.CompiledDocument.FromString(document.compiled)
    bends: tuple[Callable[[pb.CompiledRoute], None], ...] = (
        lambda route: route.ClearField("subject"),
        lambda route: route.ClearField("action"),
        lambda route: route.ClearField("resource_id"),
        lambda route: route.when.ClearField("checked_expr"),
        lambda route: route.asserted.ClearField("id"),
    )
    for bend in bends:
        copy = pb.CompiledDocument()
        copy.CopyFrom(message)
        bend(copy.mapping.routes[0])
        with pytest.raises(DocumentError):
            compiled.decode(copy.SerializeToString())
    copy = pb.CompiledDocument.FromString(document.compiled)
    copy.mapping.set[0].source = 9  # type: ignore[assignment]
    with pytest.raises(DocumentError, match="says nothing that is known"):
        compiled.decode(copy.SerializeToString())


_ROUTE = """
  - id: a
    subject: {type: user, id: '"x"'}
    action: '"read"'
    resource: {type: document, id: '"1"'}
"""


_ROUTES = f"\nroutes:{_ROUTE}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: http_mapping", "3:1: the HTTP mapping has no `routes`"),
        ("kind: http_mapping\nroutes: []", "`routes` of the HTTP mapping is empty"),
        (f"kind: http_mapping\nheader: [a]\nroutes:{_ROUTE}", "(did you mean `headers`?)"),
        (f"kind: http_mapping\nheaders: [X-A]\nroutes:{_ROUTE}", "is not the lower-case name"),
        (f"kind: http_mapping\nheaders: [cookie]\nroutes:{_ROUTE}", "cannot be read: a client"),
        (f"kind: http_mapping\nheaders: [x-forwarded-client-cert]\nroutes:{_ROUTE}", "cannot be"),
        (f"kind: http_mapping\nbody: xml\nroutes:{_ROUTE}", "`body` `xml` is unknown"),
        (f"kind: http_mapping\nroutes:{_ROUTE}{_ROUTE}", "route `a` is defined twice"),
        (f"kind: http_mapping\nupstream: {{set: {{x: cookie}}}}\nroutes:{_ROUTE}", "cannot say `c"),
        (
            f"kind: http_mapping\nupstream: {{set: {{te: subject.id}}}}\nroutes:{_ROUTE}",
            "header `te`",
        ),
        (f"kind: http_mapping\nupstream: {{remove: [host]}}\nroutes:{_ROUTE}", "header `host`"),
        (
            f"kind: http_mapping\nupstream: {{set: {{x: subject.id}}, remove: [x]}}{_ROUTES}",
            "header `x` is set and removed",
        ),
        (_ROUTE.replace("user, ", "user, idd: 1, "), "an unknown key `idd`"),
        (_ROUTE.replace("id: '\"x\"'", "token: bearer"), "has an unknown key `type`"),
        (_ROUTE.replace("    action: '\"read\"'\n", ""), "route `a` has no `action`"),
        (_ROUTE.replace("'\"read\"'", "read"), "written in quotes of its own: `'\"read\"'`"),
        (_ROUTE.replace("'\"read\"'", "''"), "`action` is no expression"),
        (_ROUTE.replace("'\"read\"'", "'1 + 1'"), "`action` must be a string, this is `int`"),
        (_ROUTE.replace("'\"1\"'", "source.principal"), "for the subject alone"),
        (_ROUTE.replace("'\"1\"'", "http.body.id"), "write `body: json` at the top"),
        (_ROUTE.replace("'\"1\"'", "'http.headers[\"x-a\"]'"), "list the header under `headers`"),
        (_ROUTE.replace("document,", "documnt,"), "no policy is about resource type `documnt`"),
        (_ROUTE + "    when: '1'\n", "a condition must be a bool"),
        (_ROUTE + "    when: http.methd == ''\n", "did you mean `http.method`?"),
        (_ROUTE + "    context: '[1]'\n", "`context` must be a map, this is `list(int)`"),
    ],
)
def test_what_authors_get_wrong_has_a_place_and_a_hint(
    text: str, says: str, checker: Checker
) -> None:
    """Each mistake is one problem, at its line and column."""
    if not text.startswith("kind"):
        text = f"kind: http_mapping\nroutes:{text}"
    found = compilation_of(f"\n\n{text}\n", checker)
    assert len(found.problems) == 1, found.problems
    assert says in str(found.problems[0])
    assert found.problems[0].position is not None
    assert found.problems[0].position.line > 2
    assert found.mapping is None or "documnt" in text


def test_there_is_one_mapping(checker: Checker) -> None:
    """A second one is a problem: which routes come first, nobody would have written."""
    text = f"kind: http_mapping\nroutes:{_ROUTE}".encode()
    found = compile_sources({**AROUND, "a.yaml": text, "b.yaml": text}, checker)
    assert [each.message for each in found.problems] == ["there is a second HTTP mapping"]


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One for all rows."""
    with Checker() as found:
        yield found
