"""Asking, and doing what the answer obliges to: what all enforcement points are made of."""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import logging
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from pdp.errors import ConfigurationError
from pdp.model import Action, Cause, Decision, Effect, Properties, Resource, Semantic, Subject, deny
from pdp_client._answers import Answers, Question
from pdp_client._core import AccessDenied
from pdp_client.enforcement._duties import Duties, UnmetError

_log: Final = logging.getLogger("pdp_client")

# As many as a PDP takes in one batch unless it is told otherwise.
CHUNK_DEFAULT: Final = 200

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Asks(Protocol):
    """What an enforcer needs of a client: `Client`, or a stand-in of `pdp_client.testing`."""

    @property
    def budget_s(self) -> float:
        """Seconds that a call may take."""
        ...

    def authorize(
        self,
        subject: Subject,
        action: Action | str,
        resource: Resource,
        context: Properties | None = None,
        *,
        timeout: float | None = None,
        tenant: str = "",
        explain: bool = False,
        subject_token: str = "",
    ) -> Decision:
        """See `Client.authorize`."""
        ...

    def authorize_batch(
        self,
        questions: Sequence[Question],
        semantic: Semantic = Semantic.EXECUTE_ALL,
        *,
        timeout: float | None = None,
    ) -> Answers:
        """See `Client.authorize_batch`."""
        ...


class AsksAsync(Protocol):
    """What an asynchronous enforcer needs of a client: `AsyncClient`, or a stand-in."""

    @property
    def budget_s(self) -> float:
        """Seconds that a call may take."""
        ...

    async def authorize(
        self,
        subject: Subject,
        action: Action | str,
        resource: Resource,
        context: Properties | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 the client's signature
        tenant: str = "",
        explain: bool = False,
        subject_token: str = "",
    ) -> Decision:
        """See `AsyncClient.authorize`."""
        ...

    async def authorize_batch(
        self,
        questions: Sequence[Question],
        semantic: Semantic = Semantic.EXECUTE_ALL,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Answers:
        """See `AsyncClient.authorize_batch`."""
        ...


def _within(client: Asks | AsksAsync, remaining: float | None) -> float | None:
    return None if remaining is None else min(remaining, client.budget_s)


def _arguments(question: Question, timeout: float | None) -> dict[str, Any]:
    return {
        "context": question.context,
        "timeout": timeout,
        "tenant": question.tenant,
        "explain": question.explain,
        "subject_token": question.subject_token,
    }


def unmet(error: Exception) -> Decision:
    """The denial for a duty that was not met, or for a point that could not ask; logged."""
    reason = str(error) if isinstance(error, UnmetError) else type(error).__name__
    _log.warning("denied at the enforcement point: %s", reason)
    return deny(Cause.UNUSABLE)


def permits(decision: object) -> bool:
    """Whether this is a permit, and not merely something that is true."""
    return isinstance(decision, Decision) and decision.effect is Effect.PERMIT


class Enforcer:
    """Decides at an enforcement point, for threads.

    Args:
        client: asks the PDP.
        duties: what is done because a decision obliges to; without any, a permit that obliges
            to something is a denial.

    Raises:
        ConfigurationError: a handler of a duty needs an event loop.
    """

    def __init__(self, client: Asks, duties: Duties | None = None) -> None:
        self._client = client
        self._duties = duties or Duties()
        if self._duties.needs_event_loop:
            raise ConfigurationError("a handler is a coroutine function: use `AsyncEnforcer`")

    def decide(self, question: Question, timeout: float | None = None) -> Decision:
        """Ask, and meet what a permit obliges to.

        Args:
            question: what to ask.
            timeout: seconds; as `Client.authorize`.

        Returns:
            The decision: true in a condition only for a permit whose obligations were all met.
            Whatever goes wrong is a denial.
        """
        try:
            decision = self._client.authorize(
                question.subject,
                question.action,
                question.resource,
                **_arguments(question, timeout),
            )
            self._duties.meet(decision, question)
        except Exception as error:  # noqa: BLE001 the outermost edge: every failure is a denial
            return unmet(error)
        return decision

    def guard(
        self, question: Callable[P, Question], *, timeout: float | None = None
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Let the decorated function run only after a permit to what `question` makes of its call.

        Args:
            question: takes the function's own arguments.
            timeout: seconds; as `Client.authorize`.

        Returns:
            A decorator. What it makes raises `AccessDenied` in place of running the function.

        Raises:
            TypeError: the function is a coroutine function or an asynchronous generator.
        """

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
                raise TypeError(f"`{function.__name__}` is asynchronous: use `AsyncEnforcer`")

            @functools.wraps(function)
            def guarded(*arguments: P.args, **named: P.kwargs) -> R:
                self._enforce(lambda: question(*arguments, **named), timeout)
                return function(*arguments, **named)

            return guarded

        return decorate

    def within(self, remaining: float | None) -> float | None:
        """The time for a question of an act that has so much left: never more than the client's."""
        return _within(self._client, remaining)

    @contextlib.contextmanager
    def permitting(self, question: Question, timeout: float | None = None) -> Iterator[Decision]:
        """`with enforcer.permitting(question) as decision:`, whose body runs only on a permit.

        Raises:
            AccessDenied: before the body.
        """
        yield self._enforce(lambda: question, timeout)

    def permitted(
        self,
        items: Iterable[T],
        question: Callable[[T], Question],
        *,
        timeout: float | None = None,
        chunk: int = CHUNK_DEFAULT,
    ) -> list[T]:
        """Those of the items that are permitted, in their order.

        Asked in batches, so the workload's entry in the caller policy needs `may: [batch]`.

        Args:
            items: anything.
            question: what to ask about one.
            timeout: seconds for each batch.
            chunk: items of one batch; the PDP has a limit.

        Returns:
            Items whose own question was permitted, and whose duties were met. An item that cannot
            be asked about is left out, and so is all of a batch that failed.
        """
        found: list[T] = []
        for part in _chunks(items, chunk):
            asked = _askable(part, question)
            try:
                answers = self._client.authorize_batch([one for _, one in asked], timeout=timeout)
                decided = list(_paired(asked, answers))
            except Exception as error:  # noqa: BLE001 the outermost edge
                unmet(error)
                continue
            for item, one, decision in decided:
                try:
                    self._duties.meet(decision, one)
                except Exception as error:  # noqa: BLE001 this item alone
                    unmet(error)
                    continue
                if permits(decision):
                    found.append(item)
        return found

    def _enforce(self, question: Callable[[], Question], timeout: float | None) -> Decision:
        try:
            asked = question()
        except Exception as error:
            raise AccessDenied(unmet(error), "it could not be said what to ask") from error
        decision = self.decide(asked, timeout)
        if not permits(decision):
            raise AccessDenied(decision)
        return decision


class AsyncEnforcer:
    """`Enforcer` for asyncio. Handlers of duties may be coroutine functions."""

    def __init__(self, client: AsksAsync, duties: Duties | None = None) -> None:
        self._client = client
        self._duties = duties or Duties()

    async def decide(
        self,
        question: Question,
        timeout: float | None = None,  # noqa: ASYNC109 the client's word
    ) -> Decision:
        """As `Enforcer.decide`."""
        try:
            decision = await self._client.authorize(
                question.subject,
                question.action,
                question.resource,
                **_arguments(question, timeout),
            )
            await self._duties.meet_async(decision, question)
        except Exception as error:  # noqa: BLE001 the outermost edge: every failure is a denial
            return unmet(error)
        return decision

    def guard(
        self, question: Callable[P, Question], *, timeout: float | None = None
    ) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R]]]:
        """As `Enforcer.guard`, for coroutine functions.

        Raises:
            TypeError: the function is not a coroutine function.
        """

        def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
            if not inspect.iscoroutinefunction(function):
                name = getattr(function, "__name__", repr(function))
                raise TypeError(f"`{name}` is not a coroutine function: use `Enforcer`")

            @functools.wraps(function)
            async def guarded(*arguments: P.args, **named: P.kwargs) -> R:
                await self._enforce(lambda: question(*arguments, **named), timeout)
                return await function(*arguments, **named)

            return guarded

        return decorate

    def within(self, remaining: float | None) -> float | None:
        """As `Enforcer.within`."""
        return _within(self._client, remaining)

    @contextlib.asynccontextmanager
    async def permitting(
        self,
        question: Question,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> AsyncIterator[Decision]:
        """As `Enforcer.permitting`, with `async with`."""
        yield await self._enforce(lambda: question, timeout)

    async def permitted(
        self,
        items: Iterable[T],
        question: Callable[[T], Question],
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        chunk: int = CHUNK_DEFAULT,
    ) -> list[T]:
        """As `Enforcer.permitted`."""
        found: list[T] = []
        for part in _chunks(items, chunk):
            asked = _askable(part, question)
            try:
                answers = await self._client.authorize_batch(
                    [one for _, one in asked], timeout=timeout
                )
                decided = list(_paired(asked, answers))
            except Exception as error:  # noqa: BLE001 the outermost edge
                unmet(error)
                continue
            for item, one, decision in decided:
                try:
                    await self._duties.meet_async(decision, one)
                except Exception as error:  # noqa: BLE001 this item alone
                    unmet(error)
                    continue
                if permits(decision):
                    found.append(item)
        return found

    async def _enforce(
        self,
        question: Callable[[], Question],
        timeout: float | None,  # noqa: ASYNC109
    ) -> Decision:
        try:
            asked = question()
        except Exception as error:
            raise AccessDenied(unmet(error), "it could not be said what to ask") from error
        decision = await self.decide(asked, timeout)
        if not permits(decision):
            raise AccessDenied(decision)
        return decision


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    if size < 1:
        raise ValueError("the items of a batch are a number above 0")
    rest = iter(items)
    while part := list(itertools.islice(rest, size)):
        yield part


def _askable(items: Sequence[T], question: Callable[[T], Question]) -> list[tuple[T, Question]]:
    found: list[tuple[T, Question]] = []
    for item in items:
        try:
            one: object = question(item)
        except Exception as error:  # noqa: BLE001 an item that cannot be asked about is left out
            unmet(error)
            continue
        if isinstance(one, Question):
            found.append((item, one))
    return found


def _paired(
    asked: Sequence[tuple[T, Question]], answers: Answers
) -> Iterator[tuple[T, Question, Decision]]:
    """Each item with the decision of its own question; nothing where there is none."""
    for place, (item, one) in enumerate(asked):
        decision = answers[place] if place < len(answers) else None
        if isinstance(decision, Decision):
            yield item, one, decision
