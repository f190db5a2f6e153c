"""Several processes on one port are one PDP: real processes, real signals, real crashes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.test_process import House, Process, house, quick_tree

__all__ = ["house"]


def crew_tree(workers: int = 2):
    tree = quick_tree()
    tree["workers"] = workers
    return tree


def test_try(house: House) -> None:
    """Try."""
    house.configure(crew_tree())
    t=time.monotonic()
    p = house.start()
    print("up", time.monotonic()-t)
    for _ in range(4):
        d = p.ask()
        print(d.effect, d.record)
    print(p.stop())
    print(p.rest())
