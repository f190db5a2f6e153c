"""Keeps the keys of token issuers current: a look at the start, then at intervals.

Decisions never wait for a look. One that fails is told once, and leaves what
is there in force until it is too old (`pdp.identity.keys`).
"""

from __future__ import annotations

import asyncio
from typing import Final

from pdp.errors import ConfigurationError, KeySetError
from pdp.identity.keys import IssuerKeys
from pdp.telemetry import Telemetry

# How soon a wish for a look is seen; the look itself comes when it is due.
_TICK_SECONDS: Final = 1.0


class KeyWatch:
    """Looks at the key set of one issuer, and tells what changed.

    Args:
        keys: whose.
        telemetry: counters and logs.
    """

    def __init__(self, keys: IssuerKeys, telemetry: Telemetry) -> None:
        self._keys = keys
        self._telemetry = telemetry
        self._told = ""

    async def start(self) -> None:
        """The first look.

        Raises:
            ConfigurationError: a file cannot be used. An endpoint that cannot is no reason not
                to start: whoever needs no token is answered, the others are denied.
        """
        problem = await self.once()
        if problem and not self._keys.settings.remote:
            raise ConfigurationError(f"`tokens`: `{self._keys.settings.issuer}`: {problem}")

    async def forever(self) -> None:
        """Look whenever it is due, each time in a thread."""
        while True:
            await asyncio.sleep(min(_TICK_SECONDS, self._keys.due_in_s()))
            if self._keys.due_in_s() > 0:
                continue
            try:
                await self.once()
            except Exception as error:  # noqa: BLE001 the next look may fare better
                self._telemetry.log("error", "keys_failed", error=type(error).__name__)

    async def once(self) -> str:
        """Look, and tell what is new or wrong.

        Returns:
            What is wrong, or nothing.
        """
        issuer = self._keys.settings.issuer
        try:
            changed = await asyncio.to_thread(self._keys.refresh)
        except KeySetError as error:
            problem = str(error)
            self._telemetry.count("keys", "refused")
            if problem != self._told:
                self._telemetry.log("error", "keys_refused", issuer=issuer, detail=problem)
            self._told = problem
            return problem
        self._told = ""
        self._telemetry.count("keys", "read")
        if changed:
            count = len(self._keys.current() or ())
            self._telemetry.log("info", "keys_updated", issuer=issuer, usable=count)
            for skipped in self._keys.skipped:
                self._telemetry.log("warning", "key_skipped", issuer=issuer, detail=skipped)
        return ""
