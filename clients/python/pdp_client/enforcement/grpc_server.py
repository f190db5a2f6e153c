"""Enforcement in a gRPC server: interceptors for `grpc.server` and `grpc.aio.server`.

```python
interceptor = GuardInterceptor(
    Enforcer(client),
    {
        "/shop.v1.Orders/Get": Guarded("read", lambda order, call: Resource("order", order.id)),
        "/grpc.health.v1.Health/Check": Unguarded("says only whether this server serves"),
    },
    subject=peer_subject("workload", trust_domain="example.org"),
)
server = grpc.server(pool, interceptors=[interceptor])
```

Functions of a mapping take the request message and the servicer context. A method that is in no
table, and is not decorated with `guarded`, is denied. Of a method that takes a stream every message
is asked about before the method sees it, and the method does not begin before the first.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from collections.abc import Mapping as Table
from typing import Any, NoReturn

import grpc

from pdp_client.enforcement._enforcer import AsyncEnforcer, Enforcer, permits
from pdp_client.enforcement._grpc_guards import (
    STATUS,
    Guards,
    Handler,
    bearer_subject,
    guarded,
    kind_of,
    peer_subject,
    rebuilt,
)
from pdp_client.enforcement._outcomes import Told, refusal, told
from pdp_client.enforcement._subjects import Guarded, Mapping, Unguarded, Who, question_of

__all__ = [
    "AsyncGuardInterceptor",
    "GuardInterceptor",
    "bearer_subject",
    "guarded",
    "peer_subject",
]

# What `read` returns at the end of a stream; the type stubs do not know it.
_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]
Behaviour = Callable[[Any, Any], Any]


class GuardInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]  # generic for checkers alone
    """For `grpc.server`.

    Args:
        enforcer: decides.
        table: mappings by method, `/package.Service/Method`.
        subject: who acts, where a mapping does not say.

    Raises:
        ConfigurationError, TypeError: a row of the table is none.
    """

    def __init__(
        self,
        enforcer: Enforcer,
        table: Table[str, Mapping] | None = None,
        *,
        subject: Callable[..., Who] | None = None,
    ) -> None:
        self._enforcer = enforcer
        self._guards = Guards(table or {}, subject)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """gRPC's: the handler of this method, behind its guard."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        mapping = self._guards.of(handler_call_details.method, handler)
        if isinstance(mapping, Unguarded):
            return handler
        check = functools.partial(self._check, mapping)
        behaviour = getattr(handler, kind_of(handler))
        wrap = _with_messages if handler.request_streaming else _with_message
        return rebuilt(handler, wrap(behaviour, check))

    def _check(self, mapping: Guarded | None, message: object, call: Any) -> None:
        """Return if the act is permitted; else the call is over."""
        if mapping is None:
            _abort(call, Told.DENIED)
        try:
            question = question_of(mapping, self._guards.subject, message, call)
        except Exception as error:  # noqa: BLE001 what cannot be asked is denied
            _abort(call, refusal(error))
        decision = self._enforcer.decide(question, self._enforcer.within(call.time_remaining()))
        if not permits(decision):
            _abort(call, told(decision))


Check = Callable[[object, Any], None]


def _abort(call: Any, outcome: Told) -> NoReturn:
    call.abort(STATUS[outcome], outcome.value)
    raise RuntimeError("a call that was aborted went on")


def _with_message(behaviour: Behaviour, check: Check) -> Behaviour:
    @functools.wraps(behaviour)
    def run(message: object, call: Any) -> Any:
        check(message, call)
        return behaviour(message, call)

    return run


def _with_messages(behaviour: Behaviour, check: Check) -> Behaviour:
    def checked(first: object, rest: Iterator[object], call: Any) -> Iterator[object]:
        yield first
        for message in rest:
            check(message, call)
            yield message

    @functools.wraps(behaviour)
    def run(messages: Iterator[object], call: Any) -> Any:
        # A method that got no message at all would have run without a question.
        for first in messages:
            check(first, call)
            return behaviour(checked(first, messages, call), call)
        _abort(call, Told.DENIED)

    return run


class AsyncGuardInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """For `grpc.aio.server`, whose methods have to be asynchronous: others are denied.

    Args:
        enforcer: decides.
        table: mappings by method, `/package.Service/Method`.
        subject: who acts, where a mapping does not say.

    Raises:
        ConfigurationError, TypeError: a row of the table is none.
    """

    def __init__(
        self,
        enforcer: AsyncEnforcer,
        table: Table[str, Mapping] | None = None,
        *,
        subject: Callable[..., Who] | None = None,
    ) -> None:
        self._enforcer = enforcer
        self._guards = Guards(table or {}, subject)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """gRPC's: the handler of this method, behind its guard."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        mapping = self._guards.of(handler_call_details.method, handler)
        if isinstance(mapping, Unguarded):
            return handler
        behaviour = getattr(handler, kind_of(handler))
        generates = inspect.isasyncgenfunction(behaviour)
        if not generates and not inspect.iscoroutinefunction(behaviour):
            # It would hold up the event loop, or run where the context means something else.
            self._guards.log_synchronous(handler_call_details.method)
            mapping = None
        check = functools.partial(self._check, mapping)
        wrap = _with_messages_async if handler.request_streaming else _with_message_async
        admitted = wrap(check)
        return rebuilt(handler, (_generating if generates else _returning)(behaviour, admitted))

    async def _check(self, mapping: Guarded | None, message: object, call: Any) -> None:
        if mapping is None:
            await _abort_async(call, Told.DENIED)
            return
        try:
            question = question_of(mapping, self._guards.subject, message, call)
        except Exception as error:  # noqa: BLE001 what cannot be asked is denied
            await _abort_async(call, refusal(error))
            return
        remaining = self._enforcer.within(call.time_remaining())
        decision = await self._enforcer.decide(question, remaining)
        if not permits(decision):
            await _abort_async(call, told(decision))


AsyncCheck = Callable[[object, Any], Awaitable[None]]
# What the behaviour gets in place of its arguments, once it may begin.
Admitted = Callable[[Any, Any], Awaitable[tuple[Any, Any]]]


async def _abort_async(call: Any, outcome: Told) -> NoReturn:
    await call.abort(STATUS[outcome], outcome.value)
    raise RuntimeError("a call that was aborted went on")


def _with_message_async(check: AsyncCheck) -> Admitted:
    async def admitted(message: object, call: Any) -> tuple[Any, Any]:
        await check(message, call)
        return message, call

    return admitted


def _with_messages_async(check: AsyncCheck) -> Admitted:
    async def admitted(messages: AsyncIterator[object], call: Any) -> tuple[Any, Any]:
        rest = aiter(messages)
        first = await anext(rest, _EOF)
        if first is _EOF:
            await _abort_async(call, Told.DENIED)
        await check(first, call)
        checked = _checked(first, rest, check, call)
        return checked, _Reading(call, checked)

    return admitted


async def _checked(
    first: object, rest: AsyncIterator[object], check: AsyncCheck, call: Any
) -> AsyncIterator[object]:
    yield first
    async for message in rest:
        await check(message, call)
        yield message


class _Reading:
    """A servicer context whose `read` gives only messages that were asked about."""

    def __init__(self, call: Any, messages: AsyncIterator[object]) -> None:
        self._call = call
        self._messages = messages

    async def read(self) -> object:
        """The next message, or `grpc.aio.EOF`."""
        async for message in self._messages:
            return message
        return _EOF

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


def _returning(behaviour: Behaviour, admitted: Admitted) -> Behaviour:
    @functools.wraps(behaviour)
    async def run(message: Any, call: Any) -> Any:
        return await behaviour(*await admitted(message, call))

    return run


def _generating(behaviour: Behaviour, admitted: Admitted) -> Behaviour:
    @functools.wraps(behaviour)
    async def run(message: Any, call: Any) -> AsyncIterator[Any]:
        async for answer in behaviour(*await admitted(message, call)):
            yield answer

    return run
