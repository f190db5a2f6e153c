"""What it is to ask a provider: one blocking question, and the ways in which it can fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pdp.errors import PdpError
from pdp.fetched import FetchOutcome
from pdp.fetching import Asked


class ProviderError(PdpError):
    """A provider did not say what it was asked.

    Attributes:
        outcome: what that comes to.
        detail: for the operator's log: nothing that it said, and nothing that it was asked.
    """

    def __init__(self, outcome: FetchOutcome, detail: str) -> None:
        self.outcome = outcome
        self.detail = detail
        super().__init__(detail)


class Answering(Protocol):
    """Something that can be asked. Blocks; called in a thread of its own."""

    def ask(self, asked: Asked, seconds: float) -> Mapping[str, Any]:
        """What it says, by attribute; more than was asked for is left out by who called.

        Args:
            asked: what about.
            seconds: after which nobody waits any more.

        Raises:
            ProviderError: it does not say.
        """
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...
