"""A child of the parent: how it begins, how it hears and speaks, and that it never outlives it.

    python -m pdp.server.crew.child     with an order on standard input

INVARIANT: a child ends with its parent, however that ends: the kernel kills it
(PR_SET_PDEATHSIG), and without that the end of standard input does.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Final

from pdp.errors import ConfigurationError, PdpError
from pdp.server.crew.order import Order, read_order

_PR_SET_PDEATHSIG: Final = 1


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends.

    Raises:
        ConfigurationError: this system cannot.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise ConfigurationError("`workers`: this system cannot end them with their parent: set 1")
    if os.getppid() != parent:
        # It ended before the kernel was asked.
        os._exit(1)


def main() -> None:
    """Be what the order says."""
    # Standard output is the parent's ear: what a library prints must not get there.
    output = os.dup(1)
    os.dup2(2, 1)
    order = read_order(0)
    die_with(order.parent)
    try:
        _role(order)(order, output)
    except PdpError as error:
        _last_words(output, type(error).__name__, str(error))
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
    except Exception as error:  # noqa: BLE001 the parent tells, and starts another
        traceback.print_exc(file=sys.stderr)
        _last_words(output, type(error).__name__, "see its traceback on standard error")
        sys.exit(1)


def _role(order: Order) -> Callable[[Order, int], None]:
    if order.role == "fetcher":
        from pdp.server.crew.fetcher import run_fetcher  # noqa: PLC0415 a fetcher needs no gRPC

        return run_fetcher
    from pdp.server.crew.worker import run_worker  # noqa: PLC0415

    return run_worker


def _last_words(output: int, kind: str, text: str) -> None:
    line = json.dumps({"say": "failed", "kind": kind, "text": text[:4_000]}) + "\n"
    try:
        os.write(output, line.encode())
    except OSError:
        return


if __name__ == "__main__":
    main()
