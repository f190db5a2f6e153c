"""An endpoint with a cache of leases, off unless its program wants one.

Whatever would keep a call from being asked, keeps it from being answered by a lease: a closed
client, a fork, an open breaker, no time.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from pdp.errors import ConfigurationError
from pdp.model import Decision, Request
from pdp_client import _arguments, _leases
from pdp_client._core import Call, Conclusion
from pdp_client._endpoint import Endpoint
from pdp_client._identity import PathText
from pdp_client._leases import Asked, Leases

_OFF: Final = 0


class LeasingEndpoint(Endpoint):
    """Not used by itself, as `Endpoint`."""

    def __init__(  # noqa: PLR0913 who asks, whom, and for how long
        self,
        target: str,
        *,
        trust_bundle: PathText | None = None,
        certificate: PathText | None = None,
        key: PathText | None = None,
        workload_api: str | None = None,
        trust_domain: str | None = None,
        server_name: str | None = None,
        budget_s: float = _arguments.BUDGET_S_DEFAULT,
        can_meet: Collection[tuple[str, str]] = (),
        lease_cache: int = _OFF,
    ) -> None:
        if type(lease_cache) is not int:
            raise TypeError(
                f"lease_cache must be a number of permits, not {type(lease_cache).__name__}"
            )
        if not _OFF <= lease_cache <= _leases.ENTRIES_MAX:
            raise ConfigurationError(
                f"lease_cache is from 0 (off) to {_leases.ENTRIES_MAX:,} permits"
            )
        super().__init__(
            target,
            trust_bundle=trust_bundle,
            certificate=certificate,
            key=key,
            workload_api=workload_api,
            trust_domain=trust_domain,
            server_name=server_name,
            budget_s=budget_s,
            can_meet=can_meet,
        )
        self._leases = Leases(lease_cache) if lease_cache else None
        self._leased = 0

    @property
    def leased(self) -> int:
        """Permits so far without asking, within the lease of an earlier one.

        They are among the `permits`.
        """
        with self._lock:
            return self._leased

    def _leasable(self, call: Call, request: Request, started: float) -> Asked | None:
        """The question as leases know it; None: it is always asked."""
        if self._leases is None or request.explain:
            return None
        # A program that is answered by leases alone would not notice new certificates.
        self._look()
        with self._lock:
            asker = self._asker()
        return None if asker is None else _leases.asked(call.message, asker, started)

    def _asker(self) -> bytes | None:
        """Who asks; None while certificates are exchanged. With the lock held.

        INVARIANT: two equal answers, and all that was asked in between was asked as that.
        """
        if self._lines.is_turning or (self._material is not None and not self._lines.is_empty):
            return None
        return _leases.asker_of(self._fingerprint, self._renewals, self._can_meet)

    def _under_lease(self, asked: Asked | None) -> Decision | None:
        """The permit that answers it without asking; None: there is none.

        Raises:
            Refusal: the client cannot be used, or not here.
        """
        if asked is None:
            return None
        with self._lock:
            self._check_open()
            # INVARIANT: a PDP that fails too often is not spoken for.
            if self._leases is None or self._breaker.is_open:
                return None
            found = self._leases.find(asked, time.monotonic())
            self._leased += found is not None
            return found

    def _take_note(self, asked: Asked | None, request: Request, decision: Decision) -> None:
        """Keep a permit with a lease; and of any answer, which revision it is of."""
        with self._lock:
            if self._leases is None:
                return
            if asked is None or self._breaker.is_open or self._asker() != asked.asker:
                self._leases.see(request.tenant, decision)
            else:
                self._leases.keep(asked, decision)

    def _take_note_of_batch(
        self, requests: Sequence[Request], conclusions: Iterable[Conclusion | None]
    ) -> None:
        if self._leases is None:
            return
        for request, conclusion in zip(requests, conclusions, strict=True):
            if conclusion is not None:
                self._take_note(None, request, conclusion.decision)
