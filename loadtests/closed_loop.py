"""A closed loop of callers: each asks, waits for the answer, and asks again.

`python -m loadtests.closed_loop --help`. Prints one line of JSON. Without our
client on purpose: what is measured is the server, and a generator should be
cheaper than what it loads. A caller that is told OVERLOADED waits one budget
before it asks again, as docs/serve.md asks of clients.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import uvloop

from pdp.v1 import authorization_pb2 as pb

METHOD = "/pdp.v1.AuthorizationService/Authorize"
# Asked with each connection first, and not counted.
WARM_UP = 20
PERMIT_OR_DENY = "RULE"


@dataclass
class Tally:
    """What came of the calls.

    Attributes:
        outcomes: causes and status codes, and how many of each.
        decided_s: how long each call took that ended with a decision of the rules.
        any_s: how long every call took.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    decided_s: list[float] = field(default_factory=list)
    any_s: list[float] = field(default_factory=list)

    def told(self, seconds: float) -> dict[str, object]:
        """For JSON."""
        ordered = sorted(self.decided_s) or [0.0]
        return {
            "calls": sum(self.outcomes.values()),
            "decided": len(self.decided_s),
            "decided_per_s": round(len(self.decided_s) / seconds, 1),
            "outcomes": dict(self.outcomes),
            "p50_ms": round(statistics.median(ordered) * 1_000, 2),
            "p99_ms": round(ordered[int(len(ordered) * 0.99) - 1] * 1_000, 2),
            "longest_ms": round(max(self.any_s or [0.0]) * 1_000, 2),
        }


async def _caller(
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes],
    message: bytes,
    budget_s: float,
    ends: float,
    tally: Tally,
) -> None:
    while (started := time.monotonic()) < ends:
        try:
            answer = pb.AuthorizeResponse.FromString(await method(message, timeout=budget_s))
            outcome = pb.Cause.Name(answer.cause).removeprefix("CAUSE_")
        except grpc.aio.AioRpcError as error:
            outcome = error.code().name
        took = time.monotonic() - started
        tally.outcomes[outcome] += 1
        tally.any_s.append(took)
        if outcome == PERMIT_OR_DENY:
            tally.decided_s.append(took)
        elif outcome == "OVERLOADED":
            await asyncio.sleep(budget_s)


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Where to connect, as whom, and what to ask."""
    parser.add_argument("--target", required=True)
    for name in ("trust-bundle", "certificate", "key", "message"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--channels", type=int, default=4)


def channels_to(arguments: argparse.Namespace) -> list[grpc.aio.Channel]:
    """Connections of their own, each over mutual TLS."""
    credentials = grpc.ssl_channel_credentials(
        arguments.trust_bundle.read_bytes(),
        arguments.key.read_bytes(),
        arguments.certificate.read_bytes(),
    )
    options = [("grpc.use_local_subchannel_pool", 1)]
    return [
        grpc.aio.secure_channel(arguments.target, credentials, options=options)
        for _ in range(arguments.channels)
    ]


async def _run(arguments: argparse.Namespace) -> dict[str, object]:
    message = arguments.message.read_bytes()
    channels = channels_to(arguments)
    methods = [channel.unary_unary(METHOD, bytes, bytes) for channel in channels]
    for method in methods:
        for _ in range(WARM_UP):
            await method(message, timeout=10)
    tally = Tally()
    started = time.monotonic()
    ends = started + arguments.seconds
    await asyncio.gather(
        *(
            _caller(methods[number % len(methods)], message, arguments.budget_s, ends, tally)
            for number in range(arguments.callers)
        )
    )
    seconds = time.monotonic() - started
    for channel in channels:
        await channel.close(None)
    return tally.told(seconds)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_connection(parser)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--budget-s", type=float, default=0.25)
    print(json.dumps(uvloop.run(_run(parser.parse_args()))), flush=True)


if __name__ == "__main__":
    main()
