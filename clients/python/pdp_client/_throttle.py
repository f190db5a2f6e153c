"""When a retry may follow: the throttle and the pushback of gRFC A6.

As the core, this knows no clock and no threads; the endpoint calls it under
its lock.
"""

from __future__ import annotations

import re
from typing import Final

# gRFC A6, "Throttling Retry Attempts and Hedged RPCs": maxTokens 10, tokenRatio
# 0.1. In thousandths, as gRPC's own implementations count: sums are exact.
TOKENS_MAX: Final = 10_000
_PER_FAILURE: Final = 1_000
_PER_ANSWER: Final = 100

_PUSHBACK: Final = re.compile(r"0|[1-9][0-9]{0,9}")


class RetryThrottle:
    """Ends retries while too many calls fail, so that they do not make it worse.

    A bucket of ten tokens. A failed attempt takes one, and so does a denial
    that says the PDP is overloaded; any other answer gives back a tenth. There
    are retries only while more than half of the tokens are there.
    """

    def __init__(self) -> None:
        self._tokens = TOKENS_MAX

    @property
    def allows(self) -> bool:
        """Whether a retry may be made now."""
        return self._tokens * 2 > TOKENS_MAX

    def failed(self) -> None:
        """An attempt failed, or the PDP said that it has too much to do."""
        self._tokens = max(0, self._tokens - _PER_FAILURE)

    def answered(self) -> None:
        """A call was answered."""
        self._tokens = min(TOKENS_MAX, self._tokens + _PER_ANSWER)


def pause_s(pushback: tuple[str, ...]) -> float | None:
    """What the server's `grpc-retry-pushback-ms` says, in seconds.

    Args:
        pushback: the values of that header, as they came: anybody's text.

    Returns:
        The pause before a retry. None: the server asks for no retry. That is a
        negative number in gRFC A6, and there also whatever is not a number; two
        headers are not one.
    """
    if len(pushback) != 1 or not _PUSHBACK.fullmatch(pushback[0]):
        return None
    return int(pushback[0]) / 1_000
