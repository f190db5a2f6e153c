"""Many batches and conversations, one after the other: a real `pdp serve` gives their memory back.

What is in flight at one time is bounded in tests/test_memory.py; here nothing may be kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from typing import Any

import grpc
import pytest

from pdp.callers import CallerEntry, CallerPolicy
from pdp.model import Effect
from pdp.v1 import authorization_pb2 as pb
from pdp.wire import request_to_pb
from tests import test_process
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.repository import POLICIES, archive, policy, rule
from tests.test_memory import rss_mib
from tests.test_process import BUNDLE_PATH, QUESTION, House, Process, house

__all__ = ["house"]

BATCH = "/pdp.v1.AuthorizationService/AuthorizeBatch"
STREAM = "/pdp.v1.AuthorizationService/AuthorizeStream"
QUESTIONS = 200
# What an allocator may hold on to. A round is 2 MiB of questions, decoded several times that.
GROWTH_MIB_MAX = 3.0


def one(place: int) -> pb.AuthorizeRequest:
    """A question of some 300 bytes."""
    asked = dataclasses.replace(QUESTION, request_id=f"q{place}", context={"text": "x" * 250})
    return request_to_pb(asked)


def serve(house: House) -> Process:
    """A PDP whose caller may ask in batches."""
    entry = CallerEntry(
        f"spiffe://{TRUST_DOMAIN}/pep", ("*",), ("*",), ("user",), may=frozenset({"batch"})
    )
    documents = (policy("documents", rule("everybody-reads")), CallerPolicy((entry,)))
    house.repository.put(BUNDLE_PATH, archive(3, house.repository.now_s, documents))
    house.repository.publish_targets(POLICIES)
    house.publish()
    running = house.start()
    running.until(bool)
    return running


def batches(channel: grpc.Channel, count: int) -> None:
    """So many batches, each answered in full."""
    message = pb.AuthorizeBatchRequest(
        request_id="b", semantic=pb.BATCH_SEMANTIC_EXECUTE_ALL, items=map(one, range(QUESTIONS))
    )
    method = channel.unary_unary(
        BATCH, pb.AuthorizeBatchRequest.SerializeToString, pb.AuthorizeBatchResponse.FromString
    )
    for _ in range(count):
        answer = method(message, timeout=20)
        assert len(answer.items) == QUESTIONS
        assert answer.items[-1].effect == pb.EFFECT_PERMIT


def conversations(channel: grpc.Channel, count: int) -> None:
    """So many streams: half of them ended properly, half cancelled with questions in flight."""
    method: Any = channel.stream_stream(
        STREAM, pb.AuthorizeStreamRequest.SerializeToString, pb.AuthorizeStreamResponse.FromString
    )
    asked = [pb.AuthorizeStreamRequest(request=one(place)) for place in range(60)]
    for number in range(count):
        call = method(iter(asked), timeout=20)
        if number % 2:
            next(call)
            call.cancel()
            with contextlib.suppress(grpc.RpcError):
                list(call)
        else:
            assert len(list(call)) == 60


@pytest.fixture
def keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PDP that keeps what it was asked: for the twin."""
    bent = (
        "from pdp.server.batch import BatchDoor as D\n"
        "kept, whole = [], D._decided\n"
        "def keeps(door, message, *rest):\n"
        "    kept.append(3 * message)\n"
        "    return whole(door, message, *rest)\n"
        "D._decided = keeps\n"
    )
    monkeypatch.setattr(test_process, "PROGRAM", bent + test_process.PROGRAM)


def growth_mib(running: Process) -> float:
    """How much more memory there is after some thousands of questions than after as many before."""
    pid, found = running.process.pid, []
    with running.channel() as channel:
        for _ in range(4):
            batches(channel, 30)
            conversations(channel, 6)
            found.append(rss_mib(pid))
        # The first round is what a server needs at all.
        return statistics.mean(found[2:]) - found[1]


def test_memory_of_batches_and_conversations_is_given_back(house: House) -> None:
    """24,000 questions in batches, 1,440 in conversations, some of them broken off: no growth."""
    running = serve(house)
    assert growth_mib(running) < GROWTH_MIB_MAX
    assert running.ask().effect is Effect.PERMIT
    assert running.stop() == 0


@pytest.mark.usefixtures("keeping")
def test_memory_of_batches_twin_without_guard(house: House) -> None:
    """A server that keeps what it was asked is seen to grow."""
    assert growth_mib(serve(house)) > GROWTH_MIB_MAX
