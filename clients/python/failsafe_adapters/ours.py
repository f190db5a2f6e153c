"""Adapters of `pdp failsafe` for our clients and enforcement points.

    pdp failsafe -- python clients/python/failsafe_adapters/ours.py threads

For an enforcement point it is not the decision that counts, but whether the protected code ran.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from protocol import Connection, Where, serve

from pdp_client import (
    AccessDenied,
    AsyncBalancedClient,
    AsyncClient,
    BalancedClient,
    Client,
    Question,
    Resource,
    Subject,
)
from pdp_client.enforcement import AsyncEnforcer, Duties, Enforcer, Guarded

ALICE = Subject("user", "alice")
ACTION = "scripted"
DUTIES = Duties()
DUTIES.meets("custom", "watermark")(lambda obligation, question: None)


def document(fault: str) -> Resource:
    """The resource, whose id tells the PDP how to misbehave."""
    return Resource("document", fault)


def batch_of(fault: str) -> list[Question]:
    """Three questions, the last of which tells the PDP how to misbehave."""
    return [Question(ALICE, ACTION, document(name)) for name in ("permit", "permit", fault)]


def client_of(where: Where) -> Client:
    """A client of threads."""
    return Client(
        where.target,
        trust_bundle=where.trust_bundle,
        certificate=where.certificate,
        key=where.key,
        budget_s=where.budget_s,
        can_meet=DUTIES.declared,
    )


def async_client_of(where: Where) -> AsyncClient:
    """A client of asyncio."""
    return AsyncClient(
        where.target,
        trust_bundle=where.trust_bundle,
        certificate=where.certificate,
        key=where.key,
        budget_s=where.budget_s,
        can_meet=DUTIES.declared,
    )


class Threads:
    """`Client`."""

    def __init__(self, where: Where) -> None:
        self.client: Any = client_of(where)

    def ask(self, fault: str, budget_s: float) -> bool:
        """`authorize`."""
        return bool(self.client.authorize(ALICE, ACTION, document(fault), timeout=budget_s))

    def ask_batch(self, fault: str, budget_s: float) -> bool:
        """`authorize_batch`."""
        return bool(self.client.authorize_batch(batch_of(fault), timeout=budget_s).any_permitted)

    def close(self) -> None:
        """Close the client."""
        self.client.close()


class Balanced(Threads):
    """`BalancedClient`, with hedging."""

    def __init__(self, where: Where) -> None:
        self.client: Any = BalancedClient(
            [where.target],
            trust_bundle=where.trust_bundle,
            certificate=where.certificate,
            key=where.key,
            budget_s=where.budget_s,
            can_meet=DUTIES.declared,
            hedge=True,
        )


class Enforced(Threads):
    """A guarded function."""

    def ask(self, fault: str, budget_s: float) -> bool:
        """Whether the function ran."""
        ran: list[str] = []
        enforcer = Enforcer(self.client, DUTIES)

        @enforcer.guard(lambda: Question(ALICE, ACTION, document(fault)), timeout=budget_s)
        def act() -> None:
            ran.append(fault)

        with contextlib.suppress(AccessDenied):
            act()
        return bool(ran)


class Filter(Threads):
    """A list that is filtered."""

    def ask(self, fault: str, budget_s: float) -> bool:
        """Whether the one item is left."""
        enforcer = Enforcer(self.client, DUTIES)
        return bool(enforcer.permitted([fault], asked, timeout=budget_s))

    def ask_batch(self, fault: str, budget_s: float) -> bool:
        """Whether any of three items is left."""
        enforcer = Enforcer(self.client, DUTIES)
        return bool(enforcer.permitted(["permit", "permit", fault], asked, timeout=budget_s))


def asked(fault: str) -> Question:
    """What is asked about an item."""
    return Question(ALICE, ACTION, document(fault))


class OnLoop:
    """An event loop of its own, and a client of asyncio on it."""

    def __init__(self, where: Where) -> None:
        self.runner = asyncio.Runner()
        self.client: Any = async_client_of(where)

    def ask(self, fault: str, budget_s: float) -> bool:
        """On the loop."""
        return self.runner.run(self.asked(fault, budget_s))

    async def asked(self, fault: str, budget_s: float) -> bool:
        """`authorize`."""
        return bool(await self.client.authorize(ALICE, ACTION, document(fault), timeout=budget_s))

    def ask_batch(self, fault: str, budget_s: float) -> bool:
        """`authorize_batch`."""
        asking = self.client.authorize_batch(batch_of(fault), timeout=budget_s)
        return bool(self.runner.run(asking).any_permitted)

    def close(self) -> None:
        """Close client and loop."""
        self.runner.run(self.client.close())
        self.runner.close()


class BalancedOnLoop(OnLoop):
    """`AsyncBalancedClient`, with hedging."""

    def __init__(self, where: Where) -> None:
        self.runner = asyncio.Runner()
        self.client: Any = AsyncBalancedClient(
            [where.target],
            trust_bundle=where.trust_bundle,
            certificate=where.certificate,
            key=where.key,
            budget_s=where.budget_s,
            can_meet=DUTIES.declared,
            hedge=True,
        )


class BudgetAsync:
    """An asynchronous client whose calls have the budget of the question."""

    def __init__(self, client: AsyncClient, budget_s: float) -> None:
        self.client = client
        self.budget_s = budget_s

    async def authorize(self, *arguments: Any, **named: Any) -> Any:
        """With the budget."""
        return await self.client.authorize(*arguments, **{**named, "timeout": self.budget_s})

    async def authorize_batch(self, *arguments: Any, **named: Any) -> Any:
        """As the client."""
        return await self.client.authorize_batch(*arguments, **named)


class Budget:
    """A client whose calls have the budget of the question."""

    def __init__(self, client: Client, budget_s: float) -> None:
        self.client = client
        self.budget_s = budget_s

    def authorize(self, *arguments: Any, **named: Any) -> Any:
        """With the budget."""
        return self.client.authorize(*arguments, **{**named, "timeout": self.budget_s})

    def authorize_batch(self, *arguments: Any, **named: Any) -> Any:
        """As the client."""
        return self.client.authorize_batch(*arguments, **named)


class Asgi(OnLoop):
    """The ASGI middleware."""

    async def asked(self, fault: str, budget_s: float) -> bool:
        """Whether the application ran."""
        import httpx

        from pdp_client.enforcement.asgi import GuardMiddleware, Route

        ran: list[str] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            ran.append(fault)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        mapping = Guarded(ACTION, lambda call: document(call.path["id"].replace(" ", ":")))
        guarded: Any = GuardMiddleware(
            application,
            AsyncEnforcer(BudgetAsync(self.client, budget_s), DUTIES),
            [Route("GET", "/documents/{id}", mapping)],
            subject=lambda call: ALICE,
        )
        transport = httpx.ASGITransport(guarded)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as web:
            answer = await web.get(f"/documents/{fault.replace(':', ' ')}")
        return went_on(answer.status_code, ran)


class FastApi(OnLoop):
    """The FastAPI dependency."""

    async def asked(self, fault: str, budget_s: float) -> bool:
        """Whether the route ran."""
        import fastapi
        import httpx

        from pdp_client.enforcement.fastapi import Guards

        ran: list[str] = []
        guard = Guards(
            AsyncEnforcer(BudgetAsync(self.client, budget_s), DUTIES),
            subject=lambda request: ALICE,
        )
        reads = guard(Guarded(ACTION, lambda request: document(request.path_params["id"])))
        app = fastapi.FastAPI()

        @app.get("/documents/{id}", dependencies=[fastapi.Depends(reads)])
        async def read(id: str) -> None:
            ran.append(id)

        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as web:
            answer = await web.get(f"/documents/{fault}")
        return went_on(answer.status_code, ran)


class Flask(Threads):
    """The Flask decorator."""

    def ask(self, fault: str, budget_s: float) -> bool:
        """Whether the view ran."""
        import flask

        from pdp_client.enforcement.flask import Guards

        ran: list[str] = []
        app = flask.Flask("service")
        guard = Guards(
            Enforcer(Budget(self.client, budget_s), DUTIES), subject=lambda request, **_: ALICE
        )
        guard.protect(app)

        @app.get("/documents/<name>")
        @guard(Guarded(ACTION, lambda request, name: document(name)))
        def read(name: str) -> str:
            ran.append(name)
            return ""

        return went_on(app.test_client().get(f"/documents/{fault}").status_code, ran)


class Django(Threads):
    """The Django decorator."""

    def ask(self, fault: str, budget_s: float) -> bool:
        """Whether the view ran."""
        import django
        from django.conf import settings
        from django.http import HttpResponse
        from django.test import RequestFactory

        from pdp_client.enforcement.django import Guards

        if not settings.configured:
            settings.configure(ALLOWED_HOSTS=["testserver"], SECRET_KEY="for the kit alone")
            django.setup()
        ran: list[str] = []
        guard = Guards(
            Enforcer(Budget(self.client, budget_s), DUTIES), subject=lambda request, **_: ALICE
        )

        @guard(Guarded(ACTION, lambda request, name: document(name)))
        def read(request: Any, name: str) -> HttpResponse:
            ran.append(name)
            return HttpResponse("")

        answer = read(RequestFactory().get("/"), name=fault)
        return went_on(answer.status_code, ran)


def went_on(status: int, ran: list[str]) -> bool:
    """Whether the protected code ran; a status that says otherwise would be a lie."""
    if bool(ran) != (status == 200):  # noqa: PLR2004 OK
        raise RuntimeError(f"status {status}, and the protected code ran {len(ran)} times")
    return bool(ran)


METHOD = "/shop.v1.Documents/Read"


class GrpcServer(Threads):
    """The interceptor of a server of threads."""

    def ask(self, fault: str, budget_s: float) -> bool:
        """Whether the method ran."""
        from pdp_client.enforcement.grpc_server import GuardInterceptor

        ran: list[str] = []

        def read(message: bytes, call: object) -> bytes:
            ran.append(message.decode())
            return b""

        mapping = Guarded(ACTION, lambda message, call: document(message.decode()))
        interceptor = GuardInterceptor(
            Enforcer(Budget(self.client, budget_s), DUTIES),
            {METHOD: mapping},
            subject=lambda message, call: ALICE,
        )
        server = grpc.server(ThreadPoolExecutor(1), interceptors=[interceptor])
        handlers = {"Read": grpc.unary_unary_rpc_method_handler(read)}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("shop.v1.Documents", handlers),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                return called(channel.unary_unary(METHOD, None, None), fault, ran)
        finally:
            server.stop(None).wait()


def called(method: Any, fault: str, ran: list[str]) -> bool:
    """Call, and look whether it ran."""
    try:
        method(fault.encode())
    except grpc.RpcError:
        return went_on(403, ran)
    return went_on(200, ran)


class GrpcAio(OnLoop):
    """The interceptor of a server of asyncio."""

    async def asked(self, fault: str, budget_s: float) -> bool:
        """Whether the method ran."""
        from pdp_client.enforcement.grpc_server import AsyncGuardInterceptor

        ran: list[str] = []

        async def read(message: bytes, call: object) -> bytes:
            ran.append(message.decode())
            return b""

        mapping = Guarded(ACTION, lambda message, call: document(message.decode()))
        interceptor = AsyncGuardInterceptor(
            AsyncEnforcer(BudgetAsync(self.client, budget_s), DUTIES),
            {METHOD: mapping},
            subject=lambda message, call: ALICE,
        )
        server = grpc.aio.server(interceptors=[interceptor])
        handlers = {"Read": grpc.unary_unary_rpc_method_handler(read)}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("shop.v1.Documents", handlers),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                try:
                    await channel.unary_unary(METHOD, None, None)(fault.encode())
                except grpc.RpcError:
                    return went_on(403, ran)
                return went_on(200, ran)
        finally:
            await server.stop(None)


FLAVOURS: dict[str, Callable[[Where], Connection]] = {
    "threads": Threads,
    "asyncio": OnLoop,
    "balanced": Balanced,
    "balanced-asyncio": BalancedOnLoop,
    "function": Enforced,
    "filter": Filter,
    "grpc": GrpcServer,
    "grpc-aio": GrpcAio,
    "asgi": Asgi,
    "fastapi": FastApi,
    "flask": Flask,
    "django": Django,
}
# What other enforcement points ask in batches is the clients' own.
BATCHING = {"threads", "asyncio", "balanced", "balanced-asyncio", "filter"}


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in FLAVOURS:  # noqa: PLR2004 the program and one word
        sys.exit(f"say which: {', '.join(FLAVOURS)}")
    batching = sys.argv[1] in BATCHING
    serve(sys.argv[1], FLAVOURS[sys.argv[1]], batch=batching)
