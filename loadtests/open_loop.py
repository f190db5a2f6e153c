"""An open loop: questions come when they are due, at random, whether answers came or not.

`python -m loadtests.open_loop --help`. Prints one line of JSON. Arrivals are a
Poisson process, as those of many independent callers are; a call is timed from
when it was due, so that a server or a generator that falls behind is seen to.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter

import grpc
import uvloop

from loadtests.closed_loop import METHOD, WARM_UP, add_connection, channels_to
from loadtests.scenarios import percentile
from pdp.v1 import authorization_pb2 as pb

# A call that is answered later than this is an error, and ends.
LATE_S = 2.0


async def _call(
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes],
    message: bytes,
    due: float,
    took_ms: list[float],
    outcomes: Counter[str],
) -> None:
    try:
        answer = pb.AuthorizeResponse.FromString(await method(message, timeout=LATE_S))
        outcomes[pb.Cause.Name(answer.cause).removeprefix("CAUSE_")] += 1
    except grpc.aio.AioRpcError as error:
        outcomes[error.code().name] += 1
    took_ms.append((time.monotonic() - due) * 1_000)


async def _run(arguments: argparse.Namespace) -> dict[str, object]:
    message = arguments.message.read_bytes()
    channels = channels_to(arguments)
    methods = [channel.unary_unary(METHOD, bytes, bytes) for channel in channels]
    for method in methods:
        for _ in range(WARM_UP):
            await method(message, timeout=10)
    chance = random.Random(arguments.seed)  # noqa: S311 arrivals, not secrets
    took_ms: list[float] = []
    outcomes: Counter[str] = Counter()
    calls: set[asyncio.Task[None]] = set()
    due = time.monotonic()
    ends = due + arguments.seconds
    while (due := due + chance.expovariate(arguments.rate)) < ends:
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        method = methods[len(took_ms) % len(methods)]
        call = asyncio.create_task(_call(method, message, due, took_ms, outcomes))
        calls.add(call)
        call.add_done_callback(calls.discard)
    await asyncio.gather(*calls)
    for channel in channels:
        await channel.close(None)
    ordered = sorted(took_ms)
    shares = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
    times = {name: round(percentile(ordered, share), 3) for name, share in shares.items()}
    return {"calls": len(ordered), "outcomes": dict(outcomes), **times}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_connection(parser)
    parser.add_argument("--rate", type=float, required=True, help="questions a second")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals")
    print(json.dumps(uvloop.run(_run(parser.parse_args()))), flush=True)


if __name__ == "__main__":
    main()
