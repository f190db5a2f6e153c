"""When questions are decided: alone at once, in a crowd together, and nobody waits for long."""

from __future__ import annotations

import asyncio
import contextlib

from pdp.server import pace
from pdp.server.pace import GATHER_S, Pace


def test_a_question_that_comes_alone_does_not_wait() -> None:
    """Where the next one is not to be expected soon, a question is decided in its own turn."""

    async def scenario() -> None:
        paced = Pace()
        for _ in range(10):
            turn = paced.turn()
            # A coroutine that waits for nothing ends with its first step.
            with contextlib.suppress(StopIteration):
                turn.send(None)
                message = "it waited"
                raise AssertionError(message)
            await asyncio.sleep(GATHER_S)

    asyncio.run(scenario())


def test_a_crowd_is_decided_in_a_row() -> None:
    """Many questions at once: after the first few they go on together, in the order they came."""

    async def scenario() -> list[tuple[int, int]]:
        paced, turns, went = Pace(), 0, []

        async def ask(number: int) -> None:
            await paced.turn()
            went.append((number, turns))

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        for number in range(16 + 20):
            # One after the other, as they come from a network.
            asking.append(asyncio.create_task(ask(number)))
            await asyncio.sleep(0)
        await asyncio.gather(*asking)
        counting.cancel()
        return went

    asking: list[asyncio.Task[None]] = []
    went = asyncio.run(scenario())
    assert [number for number, _ in went] == list(range(36))
    gathered = {turn for _, turn in went[-20:]}
    assert len(gathered) == 1, went


def test_nobody_waits_longer_than_is_said() -> None:
    """The last of a crowd goes on by itself; and a full one goes on at once."""

    async def scenario() -> tuple[float, int]:
        loop = asyncio.get_running_loop()
        paced = Pace()
        first = [asyncio.create_task(paced.turn()) for _ in range(17)]
        started = loop.time()
        await asyncio.gather(*first)
        took_s = loop.time() - started
        full = [asyncio.create_task(paced.turn()) for _ in range(pace._GATHERED_MAX)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return took_s, sum(task.done() for task in full)

    took_s, done = asyncio.run(scenario())
    # Timers of a loaded machine fire late, never for ever.
    assert took_s < GATHER_S + 1.0
    assert done == pace._GATHERED_MAX


def test_one_that_gives_up_takes_nobody_with_it() -> None:
    """A cancelled question leaves; those that waited with it go on."""

    async def scenario() -> list[object]:
        paced = Pace()
        tasks = [asyncio.create_task(paced.turn()) for _ in range(20)]
        await asyncio.sleep(0)
        tasks[17].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    ended = asyncio.run(scenario())
    assert isinstance(ended[17], asyncio.CancelledError)
    assert [end for number, end in enumerate(ended) if number != 17] == [None] * 19
