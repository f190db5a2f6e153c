"""Duties: what an enforcement point does because a decision obliges it to.

An obligation is met by the handler that was registered for its very type and
id. Nobody who handles one `custom` is taken to handle another.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from pdp.errors import ConfigurationError
from pdp.model import Decision, Effect, Obligation
from pdp_client._answers import Question

_log: Final = logging.getLogger("pdp_client")

Handler = Callable[[Obligation, Question], object]


class UnmetError(Exception):
    """An obligation of a permit was not met. The text names it, and no property of it."""


class Duties:
    """Handlers of obligations, by type and id.

    ```python
    duties = Duties()


    @duties.meets("document", "watermark")
    def watermark(obligation: Obligation, question: Question) -> None: ...


    client = Client(..., can_meet=duties.declared)
    ```

    A handler has met its obligation when it returns; what it returns is ignored. If it raises, a
    permit becomes a denial. It runs before the protected code does.
    """

    def __init__(self) -> None:
        self._handlers: dict[tuple[str, str], Handler] = {}

    @property
    def declared(self) -> frozenset[tuple[str, str]]:
        """Type and id of each: the `can_meet` of a client."""
        return frozenset(self._handlers)

    @property
    def needs_event_loop(self) -> bool:
        """Whether a handler is a coroutine function, so that only `AsyncEnforcer` can run it."""
        return any(inspect.iscoroutinefunction(handler) for handler in self._handlers.values())

    def meets(self, kind: str, name: str) -> Callable[[Handler], Handler]:
        """Register the decorated function, or coroutine function, for one obligation.

        Raises:
            TypeError: not two strings.
            ConfigurationError: it has a handler already; which one counts must not be a matter of
                the order of imports.
        """
        words: tuple[object, object] = (kind, name)
        if not all(isinstance(word, str) and word for word in words):
            raise TypeError("an obligation is named by two strings, its type and its id")
        if (kind, name) in self._handlers:
            raise ConfigurationError(f"the obligation `{kind}`, `{name}` has a handler already")

        def register(handler: Handler) -> Handler:
            self._handlers[kind, name] = handler
            return handler

        return register

    def meet(self, decision: Decision, question: Question) -> None:
        """Run the handlers of a decision's obligations, in order.

        Raises:
            UnmetError: of a permit, one has no handler, or its handler failed. A denial stays one
                whatever becomes of its duties.
        """
        for obligation, handler in self._handlers_of(decision):
            try:
                _check_ended(handler(obligation, question))
            except Exception as error:  # noqa: BLE001 whatever a handler raises, the duty is unmet
                _failed(decision, obligation, error)

    async def meet_async(self, decision: Decision, question: Question) -> None:
        """As `meet`; coroutine functions are awaited.

        Raises:
            UnmetError: as `meet`.
        """
        for obligation, handler in self._handlers_of(decision):
            try:
                result = handler(obligation, question)
                if isinstance(result, Awaitable):
                    await result
            except Exception as error:  # noqa: BLE001 as `meet`
                _failed(decision, obligation, error)

    def _handlers_of(self, decision: Decision) -> list[tuple[Obligation, Handler]]:
        # All are looked up before one is run: a permit that is none after all should not have had
        # effects that could be avoided.
        found = []
        for obligation in decision.obligations:
            handler = self._handlers.get((obligation.type, obligation.id))
            if handler is not None:
                found.append((obligation, handler))
            elif decision.effect is Effect.PERMIT:
                raise UnmetError(f"nobody meets the obligation `{obligation.type}`")
        return found


def _check_ended(result: object) -> None:
    if inspect.isawaitable(result):
        raise TypeError("the handler is for an event loop")


def _failed(decision: Decision, obligation: Obligation, error: Exception) -> None:
    # The class only: a message may hold what the obligation is about.
    kind = type(error).__name__
    if decision.effect is Effect.PERMIT:
        text = f"the obligation `{obligation.type}` was not met: {kind}"
        raise UnmetError(text) from error
    _log.warning("a duty of a denial, `%s`, was not met: %s", obligation.type, kind)
