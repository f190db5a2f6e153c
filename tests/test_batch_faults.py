"""Faults between client and server while a batch is asked: denials of all of it, in time.

As tests/test_faults.py, whose peers and laws these are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pdp_client import AsyncClient, Cause, Client, Effect, Question, _batch, _core, aio, sync
from tests.conftest import Ledger
from tests.simulators.campaign import ALICE, REPORT
from tests.simulators.faults import BATCH_SPOILED, MANGLED, FiringRange, Plan, Proxy, ScriptedPdp
from tests.test_faults import (
    GENEROUS_S,
    LATE_S_MAX,
    Asked,
    Asker,
    Make,
    _left,
    cut_at,
    firing_range,
    warmed,
    without_breaker,
)

__all__ = ["firing_range", "without_breaker"]


class BatchAsker(Asker):
    """Asks three questions together, the last of them what the script goes by."""

    def ask(self, action: str = "permit", budget_s: float | None = None) -> Asked:
        """Ask once. One permit among the answers is a permit here."""
        budget_s = budget_s or self._budget_s
        questions = [Question(ALICE, name, REPORT) for name in ("permit", "permit", action)]
        before = dict(self._client.counts)
        started = time.monotonic()
        client = self._client
        if isinstance(client, Client):
            answers = client.authorize_batch(questions, timeout=budget_s)
        else:
            answers = self._runner.run(client.authorize_batch(questions, timeout=budget_s))
        took_s = time.monotonic() - started
        assert took_s <= budget_s + LATE_S_MAX
        assert len(answers) == 3
        if answers.any_permitted:
            assert answers.all_permitted
            return Asked(Effect.PERMIT, Cause.RULE, "", took_s)
        after = client.counts
        (cause,) = (cause for cause in after if after[cause] - before.get(cause, 0) == 3)
        return Asked(Effect.DENY, cause, f"all three: {cause.name}", took_s)


@pytest.fixture(params=[Client, AsyncClient], ids=["threads", "asyncio"])
def make(request: pytest.FixtureRequest, firing_range: FiringRange) -> Make:
    """`make(target, who, **arguments)`: an asker of each kind of client."""

    def made(target: str, who: str = "client", **arguments: Any) -> Asker:
        return BatchAsker(request.param, target, **firing_range.files(who), **arguments)

    return made


@pytest.fixture(scope="module", params=[Client, AsyncClient], ids=["threads", "asyncio"])
def scripted(request: pytest.FixtureRequest, firing_range: FiringRange) -> Iterator[Asker]:
    """An asker with time enough, for all faults of one kind of client."""
    with BatchAsker(
        request.param, firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S
    ) as made:
        yield made


@pytest.fixture(scope="module")
def answer_bytes(firing_range: FiringRange) -> int:
    """How many bytes an honest answer takes on a connection that works."""
    with (
        Proxy(firing_range.pdp.ports["good"]) as proxy,
        BatchAsker(
            Client, f"localhost:{proxy.port}", **firing_range.files(), budget_s=GENEROUS_S
        ) as asker,
    ):
        warmed(asker, proxy, 3)
        before = proxy.passed["client"]
        assert asker.permits()
        time.sleep(0.02)
        return proxy.passed["client"] - before


@pytest.mark.parametrize("fault", sorted(BATCH_SPOILED))
def test_a_spoilt_batch_is_denied(scripted: Asker, fault: str) -> None:
    """Wrong ids, answers too few, too many or mixed up: all is denied; the connection stays."""
    assert scripted.denied(fault).cause is Cause.UNUSABLE
    assert scripted.permits()


@pytest.mark.parametrize("fault", sorted(set(MANGLED) - {"oversize"}))
def test_a_mangled_batch_is_denied(scripted: Asker, fault: str) -> None:
    """Bytes that are no answer are denied; the connection stays good."""
    assert scripted.denied(fault).cause is Cause.UNUSABLE
    assert scripted.permits()


@pytest.mark.parametrize("status", range(1, 17))
def test_every_status_denies_a_batch(scripted: Asker, status: int) -> None:
    """Each status of gRPC is denied for its cause, with and without permits before it."""
    expected = _core.CAUSE_OF_STATUS.get(status, Cause.UNREACHABLE)
    assert scripted.denied(f"status:{status}").cause is expected
    assert scripted.denied(f"status_after_permit:{status}").cause is expected


def test_a_compressed_batch_is_refused(scripted: Asker) -> None:
    """An answer that would unpack to 4 MB is refused before it is unpacked."""
    assert scripted.denied("bomb").cause is Cause.UNREACHABLE


@pytest.mark.parametrize("fault", ["slow:400", "silence_after_permit", "permit_twice"])
def test_a_batch_that_does_not_end_in_time_is_denied(
    make: Make, firing_range: FiringRange, fault: str
) -> None:
    """Permits that come late, or whose status never comes, are denied at the deadline."""
    with make(firing_range.target()) as asker:
        assert asker.denied(fault).cause is Cause.UNREACHABLE


@pytest.mark.parametrize(
    ("kind", "module"), [(Client, sync), (AsyncClient, aio)], ids=["threads", "asyncio"]
)
def test_permits_after_the_deadline_are_denied(
    kind: type[Client | AsyncClient],
    module: Any,
    firing_range: FiringRange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even when gRPC lets late permits through, the client's own clock denies them."""
    monkeypatch.setattr(module, "time_left", lambda call: _left(call) + 1)
    with BatchAsker(kind, firing_range.target(), **firing_range.files()) as asker:
        asker.ask()  # connects
        assert asker.denied("slow:255").cause is Cause.UNREACHABLE
        monkeypatch.setattr(_core, "_check_in_time", lambda *_: None)
        assert asker.ask("slow:255").effect is Effect.PERMIT


@pytest.mark.parametrize("then", ["reset", "close", "flip", "stall", "drip"])
def test_a_batch_cut_anywhere_is_denied(
    make: Make, firing_range: FiringRange, answer_bytes: int, then: str
) -> None:
    """Permits of which any part is missing, changed or late are denied, all of them."""
    cut_at(make, firing_range, answer_bytes, then, step=449)


@pytest.mark.prove
@pytest.mark.parametrize("then", ["reset", "close", "flip"])
def test_a_batch_cut_at_every_byte_is_denied(
    make: Make, firing_range: FiringRange, answer_bytes: int, then: str, ledger: Ledger
) -> None:
    """The same at every single byte of the answer."""
    ledger(
        seed="none: every byte",
        cases=cut_at(make, firing_range, answer_bytes, then, step=1),
        permits=0,
    )


def test_a_batch_cut_after_its_end_is_permitted(
    make: Make, firing_range: FiringRange, answer_bytes: int
) -> None:
    """The control: the same cut, where the answer has ended, harms nothing."""
    with (
        Proxy(firing_range.pdp.ports["good"]) as proxy,
        make(f"localhost:{proxy.port}", budget_s=GENEROUS_S) as asker,
    ):
        warmed(asker, proxy)
        proxy.set(Plan(answer_bytes))
        assert asker.permits()


def test_a_spoilt_batch_twin_without_guard(
    scripted: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the guard, what is left of a batch gets through the whole client."""
    scripted.denied("missing_last")
    monkeypatch.setattr(_batch, "_check_complete", lambda *_: None)
    client = scripted._client
    questions = [Question(ALICE, name, REPORT) for name in ("permit", "missing_last")]
    if isinstance(client, Client):
        assert client.authorize_batch(questions).any_permitted
    else:
        assert scripted._runner.run(client.authorize_batch(questions)).any_permitted


def test_a_cancelled_batch_passes_through(firing_range: FiringRange) -> None:
    """Cancelling the task cancels the call, and no decision is made up for it."""

    async def cancelled() -> None:
        async with AsyncClient(
            firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S
        ) as client:
            asking = asyncio.create_task(
                client.authorize_batch([Question(ALICE, "slow:3000", REPORT)])
            )
            await asyncio.sleep(0.05)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert (client.permits, client.counts) == (0, {})

    asyncio.run(cancelled())


def test_a_pdp_that_is_killed_denies_its_batches(firing_range: FiringRange) -> None:
    """Killed while batches are in flight: all their questions are denied, in time."""
    good = firing_range.authority.issue("pdp", dns_names=["localhost"])
    with ScriptedPdp({"good": (good, firing_range.authority.bundle_pem)}) as pdp:
        target = f"localhost:{pdp.ports['good']}"

        async def killed() -> None:
            async with AsyncClient(target, **firing_range.files(), budget_s=1.0) as client:
                asked = [Question(ALICE, "permit", REPORT), Question(ALICE, "slow:3000", REPORT)]
                assert (await client.authorize_batch(asked[:1], timeout=GENEROUS_S)).all_permitted
                asking = [asyncio.create_task(client.authorize_batch(asked)) for _ in range(5)]
                await asyncio.sleep(0.1)
                pdp._process.kill()
                started = time.monotonic()
                for answers in await asyncio.gather(*asking):
                    assert not answers.any_permitted
                assert time.monotonic() - started <= 1.0 + LATE_S_MAX
                assert client.counts == {Cause.UNREACHABLE: 10}

        asyncio.run(killed())
