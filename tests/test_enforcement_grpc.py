"""Enforcement in gRPC servers, of threads and of asyncio: real servers, real mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from pdp.authoring.throwaway import ThrowawayAuthority
from pdp.model import Cause, Decision, Effect, Resource, Subject
from pdp_client import ConfigurationError, Question
from pdp_client.enforcement import (
    AsyncEnforcer,
    Enforcer,
    Guarded,
    Unguarded,
    _grpc_guards,
    grpc_server,
)
from pdp_client.enforcement.grpc_server import (
    AsyncGuardInterceptor,
    GuardInterceptor,
    bearer_subject,
    guarded,
    peer_subject,
)
from pdp_client.testing import AsyncUnsafePermitAll, DenyAll, UnsafePermitAll

SERVICE = "shop.v1.Orders"
DOMAIN = "example.org"
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


def resource(message: bytes, call: object) -> Resource:
    """The message is the order's id."""
    del call
    return Resource("order", message.decode())


def someone(message: object, call: object) -> Subject:
    """Who acts, where the test does not care."""
    del message, call
    return Subject("user", "ana")


TABLE = {f"/{SERVICE}/{kind}": Guarded("read", resource) for kind in KINDS}


class ByResource:
    """A client that permits every order but those whose id begins with `no`."""

    budget_s = 0.25

    def __init__(self) -> None:
        self.asked: list[Question] = []

    def decide(self, subject: Subject, action: Any, order: Resource, **named: Any) -> Decision:
        """By the resource's id."""
        self.asked.append(Question(subject, action, order, subject_token=named["subject_token"]))
        if order.id.startswith("no"):
            return Decision(Effect.DENY, Cause.RULE)
        if order.id == "outage":
            return Decision(Effect.DENY, Cause.UNREACHABLE)
        return Decision(Effect.PERMIT, Cause.RULE, ("p/r",))


class Sync(ByResource):
    """For threads."""

    authorize = ByResource.decide


class Async(ByResource):
    """For asyncio."""

    async def authorize(self, *arguments: Any, **named: Any) -> Decision:
        """As `decide`."""
        return self.decide(*arguments, **named)


@dataclass
class Shop:
    """Methods of all kinds, and what they were given."""

    seen: list[bytes] = field(default_factory=list)

    def unary_unary(self, message: bytes, call: object) -> bytes:
        """One, one."""
        self.seen.append(message)
        return b"done"

    def unary_stream(self, message: bytes, call: object) -> Iterator[bytes]:
        """One, two."""
        self.seen.append(message)
        yield b"done"
        yield b"done"

    def stream_unary(self, messages: Iterator[bytes], call: object) -> bytes:
        """Many, one."""
        self.seen.append(b"begun")
        self.seen.extend(messages)
        return b"done"

    def stream_stream(self, messages: Iterator[bytes], call: object) -> Iterator[bytes]:
        """Many, many."""
        self.seen.append(b"begun")
        for message in messages:
            self.seen.append(message)
            yield b"done"


@dataclass
class AsyncShop:
    """The same for asyncio; the streams are read in both ways that gRPC knows."""

    seen: list[bytes] = field(default_factory=list)

    async def unary_unary(self, message: bytes, call: object) -> bytes:
        """One, one."""
        self.seen.append(message)
        return b"done"

    async def unary_stream(self, message: bytes, call: object) -> AsyncIterator[bytes]:
        """One, two."""
        self.seen.append(message)
        yield b"done"
        yield b"done"

    async def stream_unary(self, messages: object, call: Any) -> bytes:
        """Many, one, through the context."""
        self.seen.append(b"begun")
        while (message := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            self.seen.append(message)
        return b"done"

    async def stream_stream(self, messages: AsyncIterator[bytes], call: Any) -> None:
        """Many, many, through the iterator and `write`."""
        self.seen.append(b"begun")
        async for message in messages:
            self.seen.append(message)
            await call.write(b"done")


def handlers(shop: Any) -> grpc.GenericRpcHandler[Any, Any]:
    """All four methods."""
    made = {
        kind: getattr(grpc, f"{kind}_rpc_method_handler")(getattr(shop, kind)) for kind in KINDS
    }
    return grpc.method_handlers_generic_handler(SERVICE, made)


@dataclass(frozen=True)
class Certificates:
    """Of a server, a caller of its trust domain, and a caller of another that it believes, too."""

    server: grpc.ServerCredentials
    caller: grpc.ChannelCredentials
    foreign: grpc.ChannelCredentials


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    """Made once."""
    home, abroad = ThrowawayAuthority(DOMAIN), ThrowawayAuthority("elsewhere.example.net")
    server = home.issue("shop", dns_names=["localhost"])
    roots = home.bundle_pem + abroad.bundle_pem

    def channel(svid: Any) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(home.bundle_pem, svid.key_pem, svid.certificate_pem)

    return Certificates(
        grpc.ssl_server_credentials(
            [(server.key_pem, server.certificate_pem)], roots, require_client_auth=True
        ),
        channel(home.issue("caller")),
        channel(abroad.issue("caller")),
    )


@contextlib.contextmanager
def serving(shop: Any, interceptor: Any, certificates: Certificates) -> Iterator[int]:
    """A server of threads."""
    server = grpc.server(ThreadPoolExecutor(4), interceptors=[interceptor])
    server.add_generic_rpc_handlers((handlers(shop),))
    port = server.add_secure_port("localhost:0", certificates.server)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def serving_async(shop: Any, interceptor: Any, certificates: Certificates) -> Iterator[int]:
    """A server of asyncio, on an event loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> tuple[Any, int]:
        server = grpc.aio.server(interceptors=[interceptor])
        server.add_generic_rpc_handlers((handlers(shop),))
        port = server.add_secure_port("localhost:0", certificates.server)
        await server.start()
        return server, port

    try:
        server, port = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
        try:
            yield port
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(None), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


Place = Callable[[Any, Any, Certificates], contextlib.AbstractContextManager[int]]


@dataclass(frozen=True)
class Flavour:
    """One of both kinds of server, with what belongs to it."""

    place: Place
    shop: Callable[[], Any]
    client: Callable[[], ByResource]
    interceptor: Callable[..., Any]


def blocking(client: Any, *arguments: Any, **named: Any) -> GuardInterceptor:
    """The interceptor for threads."""
    return GuardInterceptor(Enforcer(client), *arguments, **named)


def waiting(client: Any, *arguments: Any, **named: Any) -> AsyncGuardInterceptor:
    """The interceptor for asyncio."""
    return AsyncGuardInterceptor(AsyncEnforcer(client), *arguments, **named)


FLAVOURS = {
    "threads": Flavour(serving, Shop, Sync, blocking),
    "asyncio": Flavour(serving_async, AsyncShop, Async, waiting),
}


@pytest.fixture(params=list(FLAVOURS))
def flavour(request: pytest.FixtureRequest) -> Flavour:
    """Every test is for both."""
    return FLAVOURS[request.param]


def call(
    port: int,
    credentials: grpc.ChannelCredentials,
    kind: str,
    messages: list[bytes],
    metadata: list[tuple[str, str]] | None = None,
) -> grpc.StatusCode:
    """Call a method; what came of it."""
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        method = getattr(channel, kind)(f"/{SERVICE}/{kind}")
        asked = iter(messages) if kind.startswith("stream") else messages[0]
        try:
            answer = method(asked, timeout=20, metadata=metadata)
            list(answer) if kind.endswith("_stream") else None
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_method_runs_after_a_permit_and_not_without(
    flavour: Flavour, certificates: Certificates, kind: str
) -> None:
    """What is denied, or cannot be decided, never reaches the method; statuses tell them apart."""
    shop = flavour.shop()
    interceptor = flavour.interceptor(flavour.client(), TABLE, subject=someone)
    with flavour.place(shop, interceptor, certificates) as port:
        for message, status in (
            (b"o-1", grpc.StatusCode.OK),
            (b"no-1", grpc.StatusCode.PERMISSION_DENIED),
            (b"outage", grpc.StatusCode.UNAVAILABLE),
        ):
            assert call(port, certificates.caller, kind, [message]) == status
    assert [one for one in shop.seen if one != b"begun"] == [b"o-1"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_method_without_a_mapping_is_denied(
    flavour: Flavour, certificates: Certificates, kind: str
) -> None:
    """A method that somebody added and nobody mapped is closed, whoever would be permitted what."""
    shop, client = flavour.shop(), flavour.client()
    with flavour.place(
        shop, flavour.interceptor(client, {}, subject=someone), certificates
    ) as port:
        assert call(port, certificates.caller, kind, [b"o-1"]) == grpc.StatusCode.PERMISSION_DENIED
    assert shop.seen == []
    assert client.asked == []


def test_a_method_without_a_mapping_twin_without_guard(
    flavour: Flavour, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were no mapping taken for no guard, it would run."""
    monkeypatch.setattr(_grpc_guards.Guards, "of", lambda *_: Unguarded("nobody said otherwise"))
    shop = flavour.shop()
    interceptor = flavour.interceptor(flavour.client(), {}, subject=someone)
    with flavour.place(shop, interceptor, certificates) as port:
        assert call(port, certificates.caller, "unary_unary", [b"o-1"]) == grpc.StatusCode.OK
    assert shop.seen == [b"o-1"]


@pytest.mark.parametrize("kind", ["stream_unary", "stream_stream"])
def test_every_message_of_a_stream_is_asked_about(
    flavour: Flavour, certificates: Certificates, kind: str
) -> None:
    """A permit of the first is none of the next: what is denied does not arrive, nor the rest."""
    shop, client = flavour.shop(), flavour.client()
    interceptor = flavour.interceptor(client, TABLE, subject=someone)
    with flavour.place(shop, interceptor, certificates) as port:
        status = call(port, certificates.caller, kind, [b"o-1", b"o-2", b"no-3", b"o-4"])
    assert status == grpc.StatusCode.PERMISSION_DENIED
    assert shop.seen == [b"begun", b"o-1", b"o-2"]
    assert [one.resource.id for one in client.asked] == ["o-1", "o-2", "no-3"]


def test_every_message_of_a_stream_twin_by_the_first(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were only the first asked about, a denied one would arrive."""

    def first_only(behaviour: Any, check: Any) -> Any:
        def run(messages: Iterator[bytes], call: Any) -> Any:
            first = next(messages)
            check(first, call)
            return behaviour(iter([first, *messages]), call)

        return run

    monkeypatch.setattr(grpc_server, "_with_messages", first_only)
    shop = Shop()
    with serving(shop, blocking(Sync(), TABLE, subject=someone), certificates) as port:
        call(port, certificates.caller, "stream_unary", [b"o-1", b"no-2"])
    assert b"no-2" in shop.seen


@pytest.mark.parametrize("kind", ["stream_unary", "stream_stream"])
def test_a_stream_without_messages_does_not_begin(
    flavour: Flavour, certificates: Certificates, kind: str
) -> None:
    """With no message there is no question, and so no permit."""
    shop = flavour.shop()
    interceptor = flavour.interceptor(flavour.client(), TABLE, subject=someone)
    with flavour.place(shop, interceptor, certificates) as port:
        assert call(port, certificates.caller, kind, []) == grpc.StatusCode.PERMISSION_DENIED
    assert shop.seen == []


def test_a_function_that_fails_is_a_denial(flavour: Flavour, certificates: Certificates) -> None:
    """An id that is no text cannot be asked about; nothing of the error goes to the caller."""
    shop = flavour.shop()
    interceptor = flavour.interceptor(flavour.client(), TABLE, subject=someone)
    with flavour.place(shop, interceptor, certificates) as port:
        status = call(port, certificates.caller, "unary_unary", [b"\xff\xfe"])
    assert status == grpc.StatusCode.PERMISSION_DENIED
    assert shop.seen == []


def test_the_subject_is_the_peer_that_the_handshake_proved(
    flavour: Flavour, certificates: Certificates
) -> None:
    """Its SPIFFE ID; a workload of another trust domain that the server believes too is nobody."""
    client = flavour.client()
    interceptor = flavour.interceptor(client, TABLE, subject=peer_subject("workload", DOMAIN))
    with flavour.place(flavour.shop(), interceptor, certificates) as port:
        assert call(port, certificates.caller, "unary_unary", [b"o-1"]) == grpc.StatusCode.OK
        status = call(port, certificates.foreign, "unary_unary", [b"o-1"])
    assert status == grpc.StatusCode.UNAUTHENTICATED
    assert [one.subject for one in client.asked] == [
        Subject("workload", f"spiffe://{DOMAIN}/caller")
    ]


def test_the_subject_is_whoever_the_token_is_about_and_the_token_goes_along(
    flavour: Flavour, certificates: Certificates
) -> None:
    """One token proves one subject to the PDP; none, or two, are nobody."""
    client = flavour.client()
    token = "a.eyJzdWIiOiJhbmEifQ.c"
    interceptor = flavour.interceptor(client, TABLE, subject=bearer_subject("user"))
    with flavour.place(flavour.shop(), interceptor, certificates) as port:
        for metadata, status in (
            ([("authorization", f"Bearer {token}")], grpc.StatusCode.OK),
            ([("authorization", f"Bearer {token}")] * 2, grpc.StatusCode.UNAUTHENTICATED),
            ([], grpc.StatusCode.UNAUTHENTICATED),
        ):
            assert call(port, certificates.caller, "unary_unary", [b"o-1"], metadata) == status
    assert [(one.subject, one.subject_token) for one in client.asked] == [
        (Subject("user", "ana"), token)
    ]


def test_a_decorated_method_is_mapped_and_one_mapped_twice_is_denied(
    flavour: Flavour, certificates: Certificates
) -> None:
    """The decorator is a row of the table, written elsewhere; two rows are a contradiction."""
    kind = flavour.shop

    class Decorated(kind):  # type: ignore[misc, valid-type]
        """One method with a mapping of its own, one that is open and says why."""

        unary_unary = guarded(Guarded("read", resource))(kind.unary_unary)  # type: ignore[attr-defined]
        unary_stream = guarded(Unguarded("a list of what is for sale"))(kind.unary_stream)  # type: ignore[attr-defined]

    for table, status in (({}, grpc.StatusCode.OK), (TABLE, grpc.StatusCode.PERMISSION_DENIED)):
        interceptor = flavour.interceptor(flavour.client(), table, subject=someone)
        with flavour.place(Decorated(), interceptor, certificates) as port:
            assert call(port, certificates.caller, "unary_unary", [b"o-1"]) == status
            assert call(port, certificates.caller, "unary_stream", [b"no-1"]) == status
    for method in (kind.unary_unary, kind.unary_stream):  # type: ignore[attr-defined]
        delattr(method, "__pdp_mapping__")


def test_a_blocking_method_of_an_asyncio_server_is_denied(certificates: Certificates) -> None:
    """It would run where the context means something else; it is said, and does not run."""
    shop = Shop()
    interceptor = AsyncGuardInterceptor(
        AsyncEnforcer(AsyncUnsafePermitAll()), TABLE, subject=someone
    )
    with serving_async(shop, interceptor, certificates) as port:
        status = call(port, certificates.caller, "unary_unary", [b"o-1"])
    assert status == grpc.StatusCode.PERMISSION_DENIED
    assert shop.seen == []


@pytest.mark.parametrize("method", ["Get", "/Get", "shop.v1.Orders/Get", "/a/b/c"])
def test_a_row_that_could_never_match_is_refused(method: str) -> None:
    """A misspelt method would be one without a mapping: denied, but nobody would know why."""
    with pytest.raises(ConfigurationError, match="is no method"):
        GuardInterceptor(Enforcer(DenyAll()), {method: Guarded("read", resource)})


def test_a_question_has_no_more_time_than_its_call() -> None:
    """And never more than the client's own budget, however long the caller would wait."""
    enforcer = Enforcer(UnsafePermitAll())
    assert enforcer.within(None) is None
    assert enforcer.within(0.1) == 0.1
    assert enforcer.within(60.0) == 0.25
    assert enforcer.within(-1.0) == -1.0
