"""Enforcement over HTTP: ASGI, FastAPI, Flask, Django, each in a real server, asked the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
import fastapi
import flask
import httpx
import pytest
import uvicorn
from django.conf import settings as django_settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from hypothesis import given
from hypothesis import strategies as st

from pdp.model import Cause, Decision, Effect, Reason, Resource, Subject
from pdp_client import ConfigurationError, Question
from pdp_client.enforcement import AsyncEnforcer, Enforcer, Guarded, Unguarded, asgi
from pdp_client.enforcement import django as in_django
from pdp_client.enforcement import fastapi as in_fastapi
from pdp_client.enforcement import flask as in_flask
from pdp_client.testing import AsyncDenyAll, AsyncUnsafePermitAll, DenyAll

TOKEN = "a.eyJzdWIiOiJhbmEifQ.c"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HEALTH = Unguarded("says only whether this process serves")


class Decides:
    """A client that decides by the resource's id, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Question] = []

    def decide(self, subject: Subject, action: Any, report: Resource, **named: Any) -> Decision:
        """`no…` is denied with a reason, `outage` is nobody's decision, the rest is permitted."""
        self.asked.append(Question(subject, action, report, subject_token=named["subject_token"]))
        if report.id.startswith("no"):
            reason = (Reason("p/r", "ask your <b>lead</b>"),)
            return Decision(Effect.DENY, Cause.RULE, ("p/r",), reason_user=reason)
        if report.id == "outage":
            return Decision(Effect.DENY, Cause.UNREACHABLE)
        return Decision(Effect.PERMIT, Cause.RULE, ("p/r",))


class Sync(DenyAll):
    """For threads."""

    def __init__(self) -> None:
        super().__init__()
        self.decides = Decides()

    def authorize(self, *arguments: Any, **named: Any) -> Decision:
        """As `Decides`."""
        return self.decides.decide(*arguments, **named)


class Async(AsyncDenyAll):
    """For asyncio."""

    def __init__(self) -> None:
        super().__init__()
        self.decides = Decides()

    async def authorize(self, *arguments: Any, **named: Any) -> Decision:
        """As `Decides`."""
        return self.decides.decide(*arguments, **named)


@contextlib.contextmanager
def uvicorn_of(application: Any) -> Iterator[str]:
    """An ASGI application in its real server."""
    server = uvicorn.Server(
        uvicorn.Config(application, port=0, log_level="critical", lifespan="off", ws="wsproto")
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def wsgi_of(application: Any) -> Iterator[str]:
    """A WSGI application in a real server."""
    server = make_server("127.0.0.1", 0, application, handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Site:
    """A protected site: where it is, what it asked, and which of its views ran."""

    url: str
    client: Decides
    ran: list[str]


Build = Callable[[list[str]], contextlib.AbstractContextManager[tuple[str, Decides]]]


@contextlib.contextmanager
def asgi_site(ran: list[str]) -> Iterator[tuple[str, Decides]]:
    """A bare ASGI application behind the middleware."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        ran.append(scope["path"].rpartition("/")[2])
        assert scope["path"] == "/health" or scope[asgi.DECISION]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    client = Async()
    routes = [
        asgi.Route("GET", "/reports/{id}", Guarded("read", lambda call: report(call.path["id"]))),
        asgi.Route("GET", "/health", HEALTH),
    ]
    guarded = asgi.GuardMiddleware(
        application, AsyncEnforcer(client), routes, subject=asgi.bearer_subject("user")
    )
    with uvicorn_of(guarded) as url:
        yield url, client.decides


def report(name: str) -> Resource:
    """A report."""
    return Resource("report", name)


@contextlib.contextmanager
def fastapi_site(ran: list[str]) -> Iterator[tuple[str, Decides]]:
    """FastAPI, with dependencies."""
    client = Async()
    guard = in_fastapi.Guards(AsyncEnforcer(client), subject=in_fastapi.bearer_subject("user"))
    reads = guard(Guarded("read", lambda request: report(request.path_params["name"])))
    application = fastapi.FastAPI()

    @application.get("/reports/{name}", dependencies=[fastapi.Depends(reads)])
    async def read(name: str) -> str:
        ran.append(name)
        return "done"

    @application.get("/health", dependencies=[fastapi.Depends(guard(HEALTH))])
    async def health() -> str:
        ran.append("health")
        return "done"

    with uvicorn_of(application) as url:
        yield url, client.decides


@contextlib.contextmanager
def flask_site(ran: list[str]) -> Iterator[tuple[str, Decides]]:
    """Flask, with decorators."""
    client = Sync()
    guard = in_flask.Guards(Enforcer(client), subject=in_flask.bearer_subject("user"))
    application = flask.Flask("site")
    guard.protect(application)

    @application.get("/reports/<name>")
    @guard(Guarded("read", lambda request, name: report(name)))
    def read(name: str) -> str:
        assert flask.g.pdp_decision
        ran.append(name)
        return "done"

    @application.get("/health")
    @guard(HEALTH)
    def health() -> str:
        ran.append("health")
        return "done"

    @application.get("/forgotten/<name>")
    def forgotten(name: str) -> str:
        ran.append(name)
        return "done"

    with wsgi_of(application) as url:
        yield url, client.decides


class Urls:
    """A Django URL configuration: an object with `urlpatterns`."""

    urlpatterns: list[Any]


def _django_site(ran: list[str], guard: in_django.Guards, *, asynchronous: bool) -> None:
    if not django_settings.configured:
        django_settings.configure(
            ROOT_URLCONF=Urls,
            ALLOWED_HOSTS=["127.0.0.1"],
            MIDDLEWARE=["pdp_client.enforcement.django.DenyUnmapped"],
            SECRET_KEY="for tests alone",
        )
        django.setup()
    mapping = Guarded("read", lambda request, name: report(name))
    if asynchronous:

        async def read_async(request: Any, name: str) -> HttpResponse:
            assert request.pdp_decision
            ran.append(name)
            return HttpResponse("done")

        read: Any = guard(mapping)(read_async)
    else:

        def read_sync(request: Any, name: str) -> HttpResponse:
            assert request.pdp_decision
            ran.append(name)
            return HttpResponse("done")

        read = guard(mapping)(read_sync)

    def forgotten(request: Any, name: str) -> HttpResponse:
        del request
        ran.append(name)
        return HttpResponse("done")

    def health(request: Any) -> HttpResponse:
        del request
        ran.append("health")
        return HttpResponse("done")

    open_guard = in_django.Guards(Enforcer(DenyAll()))
    Urls.urlpatterns = [
        path("reports/<name>", read),
        path("forgotten/<name>", forgotten),
        path("health", open_guard(HEALTH)(health)),
    ]
    django.urls.clear_url_caches()


@contextlib.contextmanager
def django_site(ran: list[str]) -> Iterator[tuple[str, Decides]]:
    """Django over WSGI."""
    client = Sync()
    guard = in_django.Guards(Enforcer(client), subject=in_django.bearer_subject("user"))
    _django_site(ran, guard, asynchronous=False)
    with wsgi_of(get_wsgi_application()) as url:
        yield url, client.decides


@contextlib.contextmanager
def django_async_site(ran: list[str]) -> Iterator[tuple[str, Decides]]:
    """Django over ASGI, its view asynchronous."""
    client = Async()
    guard = in_django.Guards(AsyncEnforcer(client), subject=in_django.bearer_subject("user"))
    _django_site(ran, guard, asynchronous=True)
    with uvicorn_of(get_asgi_application()) as url:
        yield url, client.decides


SITES: dict[str, Build] = {
    "asgi": asgi_site,
    "fastapi": fastapi_site,
    "flask": flask_site,
    "django": django_site,
    "django-async": django_async_site,
}


@pytest.fixture(scope="module", params=list(SITES))
def served(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Each kind of site, served once."""
    ran: list[str] = []
    with SITES[request.param](ran) as (url, client):
        yield Site(url, client, ran)


@pytest.fixture
def site(served: Site) -> Site:
    """As if new."""
    served.ran.clear()
    served.client.asked.clear()
    return served


def test_a_view_runs_after_a_permit_to_its_very_resource(site: Site) -> None:
    """The subject is the token's, the token goes along, the resource is the URL's."""
    assert httpx.get(f"{site.url}/reports/r-1", headers=BEARER).status_code == 200
    assert site.ran == ["r-1"]
    (question,) = site.client.asked
    assert question.subject == Subject("user", "ana")
    assert question.subject_token == TOKEN
    assert (question.action, question.resource) == ("read", report("r-1"))


@pytest.mark.parametrize(("name", "status"), [("no-1", 403), ("outage", 503)])
def test_a_view_does_not_run_after_anything_else(site: Site, name: str, status: int) -> None:
    """A denial is 403 with the words that are for the person, an outage 503; neither is cached."""
    answer = httpx.get(f"{site.url}/reports/{name}", headers=BEARER)
    assert answer.status_code == status
    assert site.ran == []
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    if status == 403:
        assert "ask your <b>lead</b>" in answer.text.replace("\\u003c", "<").replace("\\u003e", ">")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "Basic YTpi")],
        [("Authorization", f"Bearer {TOKEN}"), ("Authorization", f"Bearer {TOKEN}")],
        [("Authorization", "Bearer nonsense")],
    ],
)
def test_nobody_is_asked_about_without_exactly_one_token(
    site: Site, headers: list[tuple[str, str]]
) -> None:
    """401, which asks for credentials; the PDP is not asked about nobody."""
    answer = httpx.get(f"{site.url}/reports/r-1", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert (site.ran, site.client.asked) == ([], [])


def test_what_says_why_it_needs_no_decision_is_open(site: Site) -> None:
    """A health check runs, and nobody is asked."""
    assert httpx.get(f"{site.url}/health").status_code == 200
    assert (site.ran, site.client.asked) == (["health"], [])


@pytest.mark.parametrize("kind", ["asgi", "flask", "django"])
def test_what_nobody_mapped_is_denied(kind: str) -> None:
    """A view that somebody added and nobody mapped is closed, with or without a token."""
    ran: list[str] = []
    with SITES[kind](ran) as (url, _):
        assert httpx.get(f"{url}/forgotten/r-1", headers=BEARER).status_code == 403
    assert ran == []


def test_what_nobody_mapped_twin_without_protection() -> None:
    """Without `protect`, what was forgotten runs."""
    ran: list[str] = []
    application = flask.Flask("site")

    @application.get("/forgotten")
    def forgotten() -> str:
        ran.append("forgotten")
        return "done"

    with wsgi_of(application) as url:
        assert httpx.get(f"{url}/forgotten").status_code == 200
    assert ran == ["forgotten"]


def test_routes_of_fastapi_without_a_guard_are_found() -> None:
    """Those of the documentation, of what is mounted, and of whoever forgot."""
    guard = in_fastapi.Guards(AsyncEnforcer(AsyncDenyAll()))
    application = fastapi.FastAPI(docs_url=None, redoc_url=None)
    reads = guard(Guarded("read", lambda request: report("r")))

    @application.get("/guarded", dependencies=[fastapi.Depends(reads)])
    async def guarded() -> None: ...

    @application.get("/open", dependencies=[fastapi.Depends(guard(HEALTH))])
    async def open_to_all() -> None: ...

    router = fastapi.APIRouter(dependencies=[fastapi.Depends(reads)])

    @router.get("/nested")
    async def nested() -> None: ...

    application.include_router(router, prefix="/api")
    assert in_fastapi.unguarded_routes(application) == ["/openapi.json"]

    @application.get("/forgotten")
    async def forgotten() -> None: ...

    application.mount("/other", fastapi.FastAPI())
    assert in_fastapi.unguarded_routes(application) == ["/forgotten", "/openapi.json", "/other"]


def test_guards_of_the_wrong_kind_are_refused_where_they_are_written() -> None:
    """A blocking guard on a coroutine function, a waiting one on a function; no mapping at all."""

    async def later(request: object) -> None: ...

    def now(request: object) -> None: ...

    mapping = Guarded("read", lambda request: report("r"))
    with pytest.raises(TypeError, match="asynchronous"):
        in_flask.Guards(Enforcer(DenyAll()))(mapping)(later)
    with pytest.raises(TypeError, match="use `AsyncEnforcer`"):
        in_django.Guards(Enforcer(DenyAll()))(mapping)(later)
    with pytest.raises(TypeError, match="use `Enforcer`"):
        in_django.Guards(AsyncEnforcer(AsyncDenyAll()))(mapping)(now)
    nothing: Any = None
    for guard in (
        in_flask.Guards(Enforcer(DenyAll())),
        in_django.Guards(Enforcer(DenyAll())),
        in_fastapi.Guards(AsyncEnforcer(AsyncDenyAll())),
    ):
        with pytest.raises(TypeError, match="mapped by"):
            guard(nothing)


# -- paths that can be read in two ways -------------------------------------------------

ROUTES = [
    asgi.Route("GET", "/", HEALTH),
    asgi.Route("GET", "/reports/{id}", Guarded("read", lambda call: report(call.path["id"]))),
    asgi.Route("GET", "/reports/mine", Guarded("list", lambda call: report("mine"))),
    asgi.Route("WEBSOCKET", "/feed", Guarded("follow", lambda call: report("feed"))),
]


async def _answer(scope: Any, client: Any = None) -> tuple[list[Any], bool]:
    """What the middleware sends, and whether the application ran."""
    sent: list[Any] = []
    ran: list[bool] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive, send
        ran.append(True)

    async def receive() -> dict[str, Any]:
        return {"type": f"{scope['type']}.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    middleware = asgi.GuardMiddleware(
        application,
        AsyncEnforcer(client or AsyncUnsafePermitAll()),
        ROUTES,
        subject=lambda call: Subject("user", "ana"),
    )
    await middleware(scope, receive, send)
    return sent, bool(ran)


def reached(raw: bytes, method: str = "GET") -> bool:
    """Whether a request of everybody's favourite is let through to the application."""
    decoded = httpx.URL(path="/").path
    scope = {"type": "http", "method": method, "path": decoded, "raw_path": raw, "headers": []}
    return asyncio.run(_answer(scope))[1]


@pytest.mark.parametrize(
    "raw",
    [
        b"/reports/a%2Fb",
        b"/reports/a%5cb",
        b"/reports//a",
        b"//reports/a",
        b"/reports/a/",
        b"/reports/.",
        b"/reports/..",
        b"/reports/%2e%2e",
        b"/reports/%252e",
        b"/reports/a%00",
        b"/reports/a%0d%0a",
        b"/reports/%ff",
        b"/reports/%e0%80%af",
        b"/reports/a%zz",
        b"/reports/a b",
        b"/reports/",
        b"/reports",
        b"/REPORTS/a",
        b"reports/a",
        b"*",
    ],
)
def test_a_path_that_can_be_read_in_two_ways_is_denied(raw: bytes) -> None:
    """A router behind the guard would find another resource than the one that was asked about."""
    assert reached(b"/reports/a")
    assert reached(b"/reports/a%20%C3%A9?x=/../..")
    assert not reached(raw)


def test_a_path_that_can_be_read_in_two_ways_twin_without_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Were segments split after decoding and no more, `..` would be the id of a report."""

    def lenient(raw: bytes) -> list[str]:
        return [httpx.URL(path=part.decode()).path for part in raw[1:].split(b"/")]

    monkeypatch.setattr(asgi, "_segments", lenient)
    assert reached(b"/reports/..")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST", "get", "PRI"])
def test_another_method_is_another_route(method: str) -> None:
    """HEAD is not GET here: what it reveals is what it was mapped for, or nothing."""
    assert not reached(b"/reports/a", method)


def test_a_literal_segment_goes_before_a_name() -> None:
    """In whatever order the routes were written."""
    client = Async()
    scope = {"type": "http", "method": "GET", "path": "/reports/mine", "headers": []}
    asyncio.run(_answer(scope, client))
    assert [one.action for one in client.decides.asked] == ["list"]


def test_a_websocket_is_accepted_after_a_permit_only() -> None:
    """Its handshake is a method of its own; denied, it is closed before it was accepted."""
    scope = {"type": "websocket", "path": "/feed", "headers": []}
    assert asyncio.run(_answer(dict(scope)))[1]
    sent, ran = asyncio.run(_answer(dict(scope), AsyncDenyAll()))
    assert not ran
    assert [(one["type"], one["code"]) for one in sent] == [("websocket.close", 1008)]


def test_a_connection_of_an_unknown_kind_is_not_served() -> None:
    """Nobody knows what its messages do."""
    with pytest.raises(RuntimeError, match="unknown kind"):
        asyncio.run(_answer({"type": "webtransport"}))


def test_a_decision_that_came_with_the_scope_is_not_believed() -> None:
    """Whatever stands before this in the server could have put one there."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [],
        asgi.DECISION: Decision(Effect.PERMIT, Cause.RULE, ("p/r",)),
    }
    asyncio.run(_answer(scope))
    assert asgi.DECISION not in scope


@pytest.mark.parametrize(
    "paths",
    [["reports"], ["/a//b"], ["/a/{B}"], ["/{a}/{a}"], ["/a/.."], ["/a/{x}", "/a/{y}"], ["/a?b"]],
)
def test_routes_that_contradict_or_never_match_are_refused(paths: list[str]) -> None:
    """A table that cannot mean what it says does not serve."""

    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    routes = [asgi.Route("GET", one, HEALTH) for one in paths]
    with pytest.raises(ConfigurationError):
        asgi.GuardMiddleware(application, AsyncEnforcer(AsyncDenyAll()), routes)


@given(
    raw=st.one_of(st.binary(max_size=60), st.text("/.%2Fef5cCaA0\\ é", max_size=30).map(str.encode))
)
def test_any_path_is_matched_or_denied_and_names_one_segment(raw: bytes) -> None:
    """What is let through names segments that no router splits again, or takes for a dot."""
    found = asgi._segments(raw)
    if found is not None:
        assert all(part and "/" not in part and part not in {".", ".."} for part in found)
        assert raw.count(b"/") == max(1, len(found))


def test_bodies_of_denials_are_json_and_name_no_resource(site: Site) -> None:
    """The class of the denial and the words for the person: nothing of what was asked about."""
    answer = httpx.get(f"{site.url}/reports/no-secret-7", headers=BEARER)
    body = json.loads(answer.text)
    body = body.get("detail", body)
    assert body == {"error": "access denied", "reasons": ["ask your <b>lead</b>"]}
    assert "secret" not in answer.text
