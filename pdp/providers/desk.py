"""Asking many providers at once, in time: what the decision point calls before it decides.

For one event loop. Each question to a provider is a flight of its own, in a thread: the
provider's timeout bounds it, not the caller that happened to start it, so that callers who
ask the same wait for one flight, and who gives up does not take the answer from the others.
A thread that does not come back holds its place in the bulkhead until it does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from pdp.boundary import InputLimits, admit_values
from pdp.clock import Clock
from pdp.errors import InvalidRequestError
from pdp.fetched import Fetched, FetchOutcome
from pdp.fetching import Asked
from pdp.providers.answers import Answers, Moment
from pdp.providers.asking import Answering, ProviderError
from pdp.providers.breaker import Breaker, Bulkhead
from pdp.providers.settings import ProviderSettings
from pdp.telemetry import Telemetry

# Outcomes after which it is asked on: it answered. What is wrong about one subject says nothing
# of others, so that nobody can have a provider left alone by asking about that one.
_ANSWERED: Final = frozenset({FetchOutcome.FETCHED, FetchOutcome.UNKNOWN, FetchOutcome.WRONG})


class Counter:
    """One provider: how it is asked, and how much.

    Args:
        settings: judged.
        answering: what is asked.
        limits: of what it says.
        clock: time.
        telemetry: counters and logs.
    """

    def __init__(
        self,
        settings: ProviderSettings,
        answering: Answering,
        limits: InputLimits,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self.settings = settings
        self._answering = answering
        self._limits = limits
        self._telemetry = telemetry
        self._bulkhead = Bulkhead(settings.concurrent_max)
        self._breaker = Breaker(settings.failures_max, settings.rest_s, clock.monotonic)
        self._failing = False

    async def fly(self, asked: Asked) -> Fetched:
        """Ask, and judge what comes. Never raises, but for cancellation."""
        fetched, detail = await self._asked(asked)
        self._telemetry.count("providers", fetched.outcome.name)
        if fetched.outcome is not FetchOutcome.BUSY:
            self._tell(fetched.outcome, detail)
        return fetched

    async def _asked(self, asked: Asked) -> tuple[Fetched, str]:
        if not self._bulkhead.enter():
            return Fetched(asked.provider, FetchOutcome.BUSY), "too many questions at once"
        if not self._breaker.admits():
            self._bulkhead.leave()
            return Fetched(asked.provider, FetchOutcome.BUSY), "it failed just now"
        outcome = FetchOutcome.DOWN
        try:
            said = await asyncio.wait_for(self._in_thread(asked), self.settings.timeout_s)
            fetched = Fetched(asked.provider, FetchOutcome.FETCHED, self._judged(asked, said))
            outcome = fetched.outcome
        except ProviderError as error:
            outcome = error.outcome
            return Fetched(asked.provider, outcome), error.detail
        except TimeoutError:
            outcome = FetchOutcome.LATE
            return Fetched(asked.provider, outcome), "no answer in time"
        except Exception as error:  # noqa: BLE001 whatever breaks is a failure of the provider
            return Fetched(asked.provider, outcome), type(error).__name__
        else:
            return fetched, ""
        finally:
            self._breaker.note(answered=outcome in _ANSWERED)

    def _judged(self, asked: Asked, said: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes that were asked for, within the limits of input, in plain copies."""
        wanted = {name: said[name] for name in asked.attributes if name in said}
        try:
            return admit_values(wanted, self._limits)
        except InvalidRequestError as error:
            # Not where: keys of what it said are what it said.
            raise ProviderError(FetchOutcome.WRONG, f"a value {error.reason}") from None

    def _in_thread(self, asked: Asked) -> asyncio.Future[Mapping[str, Any]]:
        """Ask in a thread of its own; its place is free when it has ended, not before.

        The thread is a daemon: a provider that never answers does not keep the process alive.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Mapping[str, Any]] = loop.create_future()

        def ended(said: Mapping[str, Any] | None, error: BaseException | None) -> None:
            self._bulkhead.leave()
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(said or {})

        def run() -> None:
            said: Mapping[str, Any] | None = None
            failure: BaseException | None = None
            try:
                said = self._answering.ask(asked, self.settings.timeout_s)
            except Exception as error:  # noqa: BLE001 told to whoever waits
                failure = error
            try:
                loop.call_soon_threadsafe(ended, said, failure)
            except RuntimeError:
                return  # the event loop has ended, and with it everybody who waited

        try:
            threading.Thread(target=run, name=f"provider-{asked.provider}", daemon=True).start()
        except RuntimeError as error:
            ended(None, error)
        return future

    def _tell(self, outcome: FetchOutcome, detail: str) -> None:
        """Log when it begins to fail, and when that is over."""
        failing = outcome not in {FetchOutcome.FETCHED, FetchOutcome.UNKNOWN}
        if failing and not self._failing:
            self._telemetry.log(
                "warning",
                "provider_failing",
                provider=self.settings.name,
                outcome=outcome.name,
                detail=detail,
            )
        elif self._failing and not failing:
            self._telemetry.log("info", "provider_answers", provider=self.settings.name)
        self._failing = failing

    def close(self) -> None:
        """Let go of what is open."""
        self._answering.close()


class ProviderDesk:
    """All providers of a PDP: `pdp.fetching.AttributeSource`.

    Args:
        counters: by tenant and name.
        answers: what is kept.
        reserve_s: of a deadline, kept back for the decision and its record.
        clock: the decision point's.
        telemetry: counters.
    """

    def __init__(
        self,
        counters: Mapping[tuple[str, str], Counter],
        answers: Answers,
        reserve_s: float,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._counters = dict(counters)
        self._answers = answers
        self._reserve_s = reserve_s
        self._clock = clock
        self._telemetry = telemetry
        self._flights: dict[Asked, asyncio.Task[Fetched]] = {}

    async def fetch(self, asked: Collection[Asked], deadline: float) -> Mapping[Asked, Fetched]:
        """As `pdp.fetching.AttributeSource`."""
        now = self._now()
        found: dict[Asked, Fetched] = {}
        flights: dict[Asked, asyncio.Task[Fetched]] = {}
        left_s = deadline - self._reserve_s - now.seconds
        for each in asked:
            kept = self._answers.get(each, now)
            counter = self._counters.get((each.tenant, each.provider))
            if counter is None:
                found[each] = Fetched(each.provider, FetchOutcome.UNCONFIGURED)
            elif kept is not None:
                self._telemetry.count("providers", "kept")
                found[each] = replace(kept, cached=True)
            elif left_s <= 0:
                found[each] = Fetched(each.provider, FetchOutcome.LATE)
            else:
                flights[each] = self._flight(each, counter, now)
        if flights:
            await asyncio.wait(flights.values(), timeout=left_s)
        for each, flight in flights.items():
            landed = flight.done() and not flight.cancelled() and flight.exception() is None
            late = Fetched(each.provider, FetchOutcome.LATE)
            found[each] = flight.result() if landed else late
        return found

    def _flight(self, asked: Asked, counter: Counter, now: Moment) -> asyncio.Task[Fetched]:
        """The flight that asks this; one that is under way, if its answer may be kept at all."""
        flight = self._flights.get(asked)
        if flight is None:
            flight = asyncio.get_running_loop().create_task(self._fly(asked, counter, now))
            if asked.max_age_s > 0:
                self._flights[asked] = flight
                flight.add_done_callback(lambda _: self._flights.pop(asked, None))
        return flight

    async def _fly(self, asked: Asked, counter: Counter, now: Moment) -> Fetched:
        fetched = await counter.fly(asked)
        if fetched.outcome is not FetchOutcome.BUSY:
            self._answers.keep(asked, fetched, now)
        return fetched

    def _now(self) -> Moment:
        return Moment(self._clock.monotonic(), self._clock.wall_ns())

    def close(self) -> None:
        """Let go of what is open."""
        for counter in {id(each): each for each in self._counters.values()}.values():
            counter.close()
