"""The adapter's side of the protocol of `pdp failsafe`, for adapters in Python.

An adapter gives `serve` one function that connects. Everything else, such as connections that are
shared and closed, is here. In another language it is as short: read a line, act, write a line.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Where:
    """What a client is made with."""

    target: str
    trust_bundle: str
    certificate: str
    key: str
    budget_s: float


class Connection(Protocol):
    """A client under test."""

    def ask(self, fault: str, budget_s: float) -> bool:
        """Whether the program would go on. Raises what the client raises."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Batching(Connection, Protocol):
    """A client under test that asks in batches, too."""

    def ask_batch(self, fault: str, budget_s: float) -> bool:
        """Whether any of three questions, about `permit`, `permit` and `fault`, is permitted."""
        ...


def serve(name: str, connect: Callable[[Where], Connection], *, batch: bool = False) -> None:
    """Do what the kit says until its end of the pipe is closed.

    Args:
        name: for the report.
        connect: makes a client; nothing has to be sent yet.
        batch: whether what it makes is `Batching`.
    """
    open_ones: dict[str, Connection] = {}
    for line in sys.stdin:
        message: dict[str, Any] = json.loads(line)
        if "protocol" in message:
            answer: dict[str, Any] = {"ready": True, "name": name, "batch": batch}
        elif "sleep" in message:
            time.sleep(message["ms"] / 1_000)
            answer = {"sleep": message["sleep"]}
        elif "close" in message:
            if (held := open_ones.pop(message["close"], None)) is not None:
                held.close()
            answer = {"close": message["close"]}
        else:
            answer = {"ask": message["ask"], **_asked(open_ones, connect, message)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for held in open_ones.values():
        held.close()


def _asked(
    open_ones: dict[str, Connection],
    connect: Callable[[Where], Connection],
    message: dict[str, Any],
) -> dict[str, str]:
    budget_s = message["budget_ms"] / 1_000
    try:
        held = open_ones.get(message["connection"])
        if held is None:
            where = Where(
                message["target"],
                message["trust_bundle"],
                message["certificate"],
                message["key"],
                budget_s,
            )
            held = open_ones[message["connection"]] = connect(where)
        ask: Callable[[str, float], bool] = (
            getattr(held, "ask_batch") if message.get("batch") else held.ask  # noqa: B009 not all
        )
        return {"outcome": "permit" if ask(message["fault"], budget_s) else "deny"}
    except Exception as error:  # noqa: BLE001 what a client raises is what is to be told
        return {"outcome": "error", "detail": f"{type(error).__name__}: {error}"[:200]}
