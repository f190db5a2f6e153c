"""Workers change over together: the rules of the parent, without processes."""

from __future__ import annotations

import asyncio
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.server.crew import changeover
from pdp.server.crew.changeover import PREPARE_S, SWITCH_S, Changeover, Steps, Told
from pdp.server.crew.letters import LINE_BYTES_MAX, Letter, letters
from pdp.server.crew.restarts import ENDS_MAX, SETTLED_S, Restarts

OLD, NEW, NEWER = 1, 2, 3
LOOK_S = 0.1


def waiting(decides: int | None = OLD, prepared: int | None = NEW) -> Told:
    """A worker that has verified something newer."""
    return Told(decides, prepared, 0.0)


def crew(*told: Told) -> Changeover:
    """Workers 1 to N, and what they said."""
    made = Changeover()
    for worker, said in enumerate(told, 1):
        made.told(worker, said)
    return made


def test_nobody_switches_before_all_are_ready() -> None:
    """One has it, the other has not: both go on with the old one, until both have it."""
    made = crew(waiting(), waiting(prepared=None))
    assert made.look(0.0) == Steps()
    assert made.look(PREPARE_S - 0.1) == Steps()
    made.told(2, waiting())
    assert made.look(PREPARE_S - 0.1) == Steps({1: NEW, 2: NEW})


def test_the_slowest_does_not_hold_the_others_for_ever() -> None:
    """After `PREPARE_S` those that are ready switch; the last is ended `SWITCH_S` later."""
    made = crew(waiting(), waiting(prepared=None))
    made.look(0.0)
    assert made.look(PREPARE_S) == Steps({1: NEW})
    made.told(1, Told(NEW, None, PREPARE_S))
    assert made.look(PREPARE_S) == Steps()
    assert made.look(PREPARE_S + SWITCH_S - 0.1) == Steps()
    assert made.look(PREPARE_S + SWITCH_S) == Steps(end=(2,))


def test_a_worker_that_joins_ahead_takes_the_others_along() -> None:
    """A worker that has just started decides by the newest: the others follow at once."""
    made = crew(Told(NEW, None, 0.0), waiting(), waiting(prepared=None))
    assert made.look(0.0).switch == {2: NEW}
    made.told(3, waiting())
    assert made.look(0.5).switch == {2: NEW, 3: NEW}


def test_a_worker_without_a_bundle_is_not_waited_for_and_not_ended() -> None:
    """It permits nothing, so it is not apart from anybody."""
    made = crew(waiting(), waiting(), Told(None, None, 0.0))
    assert made.look(0.0).switch == {1: NEW, 2: NEW}
    made.told(1, Told(NEW, None, 0.0))
    made.told(2, Told(NEW, None, 0.0))
    assert made.look(0.1).done is not None
    assert made.look(60.0) == Steps()
    assert crew(Told(None, None, 0.0)).look(0.0) == Steps()


def test_something_newer_still_gives_nobody_more_time() -> None:
    """Workers that are apart are brought together, whatever else is on its way."""
    made = crew(Told(NEW, None, 0.0), waiting(prepared=None))
    assert made.look(0.0) == Steps()
    made.told(1, Told(NEW, NEWER, 0.0))
    assert made.look(1.0) == Steps()
    assert made.look(SWITCH_S).end == (2,)
    made.told(2, Told(OLD, NEWER, 0.0))
    assert crew(Told(NEW, None, 0.0), Told(OLD, NEWER, 0.0)).look(0.0).switch == {2: NEWER}


def test_the_end_of_a_changeover_says_its_skew() -> None:
    """Once, with the time between the first and the last."""
    made = crew(waiting(), waiting())
    made.look(0.0)
    made.told(1, Told(NEW, None, 0.25))
    assert made.look(0.3).done is None
    made.told(2, Told(NEW, None, 0.75))
    done = made.look(0.8).done
    assert done is not None
    assert (done.revision, done.skew_s) == (NEW, 0.5)
    assert made.look(0.9) == Steps()


class Play:
    """Workers that do as they are told after delays of their own; some never do.

    Args:
        delays: of each worker, until it has verified what is new, and until it
            does as it is told; None: never.
        newer_s: when something newer still comes.
    """

    def __init__(
        self, delays: list[tuple[float | None, float | None]], newer_s: float = 1e9
    ) -> None:
        self.delays = delays
        self.newer_s = newer_s
        self.parent = crew(*(waiting(prepared=None) for _ in delays))
        self.decides = dict.fromkeys(range(1, len(delays) + 1), OLD)
        self.told: dict[int, tuple[float, int]] = {}
        self.apart_s = 0.0
        self.apart_longest_s = 0.0

    def run(self, seconds: float) -> None:
        """The parent looks ten times a second."""
        for step in range(int(seconds / LOOK_S)):
            now_s = step * LOOK_S
            for worker in tuple(self.decides):
                self._act(worker, now_s)
            self.apart_s = self.apart_s + LOOK_S if len(set(self.decides.values())) > 1 else 0.0
            self.apart_longest_s = max(self.apart_longest_s, self.apart_s)
            steps = self.parent.look(now_s)
            for worker, revision in steps.switch.items():
                if self.told.get(worker, (0.0, OLD))[1] != revision:
                    self.told[worker] = (now_s, revision)
            for worker in steps.end:
                self.parent.gone(worker)
                del self.decides[worker]

    def _act(self, worker: int, now_s: float) -> None:
        prepare_s, switch_s = self.delays[worker - 1]
        told_s, revision = self.told.get(worker, (0.0, OLD))
        if switch_s is not None and now_s >= told_s + switch_s:
            self.decides[worker] = max(revision, self.decides[worker])
        prepared = OLD
        if prepare_s is not None and now_s >= prepare_s:
            prepared = NEW
        if prepare_s is not None and now_s >= prepare_s + self.newer_s:
            prepared = NEWER
        decides = self.decides[worker]
        self.parent.told(worker, Told(decides, prepared if prepared > decides else None, now_s))


delays = st.one_of(st.none(), st.floats(0, 20))


@given(
    workers=st.lists(st.tuples(delays, delays), min_size=2, max_size=5),
    newer_s=st.floats(0, 20),
)
@settings(deadline=None)
def test_skew_is_bounded_whatever_workers_do(
    workers: list[tuple[float | None, float | None]], newer_s: float
) -> None:
    """Workers that decide by different revisions do so for two seconds at most."""
    play = Play(workers, newer_s)
    play.run(80.0)
    assert play.apart_longest_s <= 2.0
    assert len(set(play.decides.values())) <= 1


def test_skew_is_bounded_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an end for those who do not follow, one that sleeps decides by the old one."""
    monkeypatch.setattr(changeover, "SWITCH_S", 1e9)
    play = Play([(0.0, 0.0), (0.0, None)])
    play.run(60.0)
    assert play.apart_longest_s > 50


def test_changing_over_together_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waiting for each other, workers of different speed are apart for longer."""
    together = Play([(0.0, 0.0), (1.0, 0.0)])
    together.run(10.0)
    monkeypatch.setattr(changeover, "PREPARE_S", 0.0)
    apart = Play([(0.0, 0.0), (1.0, 0.0)])
    apart.run(10.0)
    assert together.apart_longest_s < 0.2
    assert apart.apart_longest_s > 0.5


def test_pauses_grow_and_begin_anew_once_settled() -> None:
    """0.2 s, then twice as long each time, until a process has lived for half a minute."""
    ends = Restarts()
    pauses = [ends.ended(1.0) for _ in range(ENDS_MAX - 1)]
    assert pauses == [0.2, 0.4, 0.8, 1.6]
    assert not ends.hopeless
    assert ends.ended(SETTLED_S) == 0.2
    for _ in range(ENDS_MAX - 1):
        ends.ended(1.0)
    assert ends.hopeless
    assert max(ends.ended(1.0) for _ in range(50)) == 10.0


async def read(data: bytes) -> list[Letter]:
    """What one side of the pipe hears."""
    reader = asyncio.StreamReader(LINE_BYTES_MAX)
    reader.feed_data(data)
    reader.feed_eof()
    return [letter async for letter in letters(reader)]


@given(data=st.binary(max_size=200))
def test_whatever_a_child_says_is_letters_or_nothing(data: bytes) -> None:
    """Bytes of any kind end the conversation or are left out; nothing raises."""
    good = json.dumps({"say": "state"}).encode() + b"\n"
    found = asyncio.run(read(good + data))
    assert found[0] == {"say": "state"}
    assert all(isinstance(letter, dict) for letter in found)


def test_a_letter_without_an_end_is_not_kept() -> None:
    """A child that writes one endless line takes no memory of its parent."""
    assert asyncio.run(read(b"x" * 4 * LINE_BYTES_MAX + b"\n{}\n")) == []


def test_an_order_is_read_to_its_end_and_no_further() -> None:
    """What comes behind the order is for the one that reads letters."""
    from pdp.server.crew.order import Order, read_order, write_order
    from tests.simulators.configurations import good_settings

    order = Order("fetcher", good_settings(), 7)
    inlet, outlet = os.pipe()
    try:
        os.write(outlet, write_order(order) + b"{}\n")
        assert read_order(inlet) == order
        assert os.read(inlet, 10) == b"{}\n"
        os.close(outlet)
        with pytest.raises(EOFError):
            read_order(inlet)
    finally:
        os.close(inlet)
