"""What a child is told before it begins: everything, once, by its parent.

The settings are judged once, by the parent. A child that starts again later
runs with the same ones, whatever the files say by then.
"""

from __future__ import annotations

import os
import pickle
import struct
from dataclasses import dataclass, replace
from typing import Final, Literal

from pdp.config.settings import Settings, worker_folder

Role = Literal["fetcher", "worker"]

_LENGTH: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Order:
    """What one child is to be.

    Attributes:
        role: what it does.
        settings: its own: ports that were found, a worker's spool.
        parent: process id; a child without its parent ends.
    """

    role: Role
    settings: Settings
    parent: int

    @property
    def name(self) -> str:
        """Of the process in the log."""
        return "fetcher" if self.role == "fetcher" else f"worker-{self.settings.worker}"


def worker_order(settings: Settings, worker: int) -> Order:
    """The order of one worker.

    Args:
        settings: the PDP's, with the ports that the parent holds.
        worker: its number, from 1; 0 would be a PDP that is one process.
    """
    record = replace(settings.record, folder=worker_folder(settings.record.folder, worker))
    return Order("worker", replace(settings, worker=worker, record=record), os.getpid())


def write_order(order: Order) -> bytes:
    """For the child's standard input."""
    body = pickle.dumps(order)
    return _LENGTH.pack(len(body)) + body


def read_order(descriptor: int) -> Order:
    """Read exactly an order, and not a byte more. Blocks.

    Raises:
        EOFError: the parent is gone.
    """
    (length,) = _LENGTH.unpack(_read(descriptor, _LENGTH.size))
    # Whoever can write to this pipe started this process, from code of its choice.
    order = pickle.loads(_read(descriptor, length))  # noqa: S301
    if not isinstance(order, Order):
        raise TypeError("not an order")
    return order


def _read(descriptor: int, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = os.read(descriptor, length - len(data))
        if not part:
            raise EOFError
        data += part
    return data
