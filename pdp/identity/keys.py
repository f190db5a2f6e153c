"""Key sets of token issuers: read, judged key by key, and kept only as long as they are current.

    keys = IssuerKeys(settings, clock)
    keys.refresh()                 # blocks; in a thread, again and again
    keys.current()                 # {kid: VerificationKey}, or None: too old

What an issuer publishes now is what counts: a key that it took out is gone with
the next look, and two keys that it publishes side by side, while it rotates,
both verify. Keys that were not seen for too long prove nothing; there is no
grace. An unknown key id may be a new key, so it asks for a look, but nobody
waits for it and there is at most one a minute.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tuf.api.exceptions import DownloadError

from pdp.bundle.store import STORE_URL, Deadline, HttpStore
from pdp.errors import KeySetError
from pdp.identity.issuers import REFRESH_SECONDS_MIN, IssuerSettings
from pdp.identity.jwk import VerificationKey, parse_key_set
from pdp.identity.jwt_bundle import read_jwt_bundle
from pdp.values import NANOS

KEY_SET_BYTES_MAX: Final = 262_144
FETCH_SECONDS_MAX: Final = 5.0
# A wall clock that went back further than this says nothing about age.
_BACKWARDS_NS: Final = 60 * NANOS


class Clock(Protocol):
    """As `pdp.decision_point.Clock`."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        ...


@dataclass(frozen=True, slots=True)
class _Held:
    keys: Mapping[str, VerificationKey]
    skipped: tuple[str, ...]
    wall_ns: int
    seconds: float


class IssuerKeys:
    """The keys of one issuer. `refresh` is for one thread at a time, the rest for any.

    Args:
        settings: whose, and where they are.
        clock: time.

    Attributes:
        settings: as given.
        looks: how often the source was asked.
    """

    def __init__(self, settings: IssuerSettings, clock: Clock) -> None:
        self.settings = settings
        self.looks = 0
        self._clock = clock
        self._held: _Held | None = None
        self._looked: float | None = None
        self._failed = False
        self._wanted = threading.Event()

    @property
    def skipped(self) -> tuple[str, ...]:
        """Keys of the current set that are not used, and why; one line each."""
        return () if self._held is None else self._held.skipped

    def current(self) -> Mapping[str, VerificationKey] | None:
        """The keys by id, or None: none were ever seen, or not for too long.

        Aged by both clocks: one stops while a machine sleeps, the other may be set.
        """
        held = self._held
        if held is None:
            return None
        age_ns = self._clock.wall_ns() - held.wall_ns
        age_s = self._clock.monotonic() - held.seconds
        if max(age_s, age_ns / NANOS) >= self.settings.keys_age_max_s or age_ns < -_BACKWARDS_NS:
            return None
        return held.keys

    def want(self) -> bool:
        """Ask for a look before its time, for a key id that is not there.

        Returns:
            Whether this is news: nobody has asked since the last look.
        """
        news = not self._wanted.is_set()
        self._wanted.set()
        return news

    def due_in_s(self) -> float:
        """Seconds until the next look.

        INVARIANT: never less than a minute after the last, whoever asks.
        """
        if self._looked is None:
            return 0.0
        sooner = self._failed or self._wanted.is_set()
        wait_s = REFRESH_SECONDS_MIN if sooner else self.settings.keys_refresh_s
        return max(0.0, self._looked + wait_s - self._clock.monotonic())

    def refresh(self) -> bool:
        """Read the key set. Blocks, for `FETCH_SECONDS_MAX` at most.

        Returns:
            Whether other keys are in force than before.

        Raises:
            KeySetError: what was there stays in force until it is too old.
        """
        self.looks += 1
        # The age counts from before the reading: what is read is at least so new.
        wall_ns, seconds = self._clock.wall_ns(), self._clock.monotonic()
        self._looked, self._failed = seconds, True
        self._wanted.clear()
        # SPIFFE Trust Domain and Bundle section 4.2.2: the same document holds X.509 authorities.
        use = "jwt-svid" if self.settings.trust_domain else "sig"
        keys, skipped = parse_key_set(self._read(), self.settings.algorithms, use)
        before, self._held = self._held, _Held(keys, skipped, wall_ns, seconds)
        self._failed = False
        return before is None or {k: v.identity for k, v in before.keys.items()} != {
            k: v.identity for k, v in keys.items()
        }

    def _read(self) -> bytes:
        if self.settings.agent:
            return read_jwt_bundle(
                self.settings.keys, self.settings.trust_domain, FETCH_SECONDS_MAX
            )
        if not self.settings.remote:
            return _read_file(Path(self.settings.keys))
        place, _, name = self.settings.keys.rpartition("/")
        try:
            tls = ssl.create_default_context(cafile=str(self.settings.ca_bundle))
            store = HttpStore(place, Deadline(FETCH_SECONDS_MAX), tls)
            # Precedent for the way it is read: docs/adr/0009.
            return store.download_bytes(f"{STORE_URL}/{name}", KEY_SET_BYTES_MAX)
        except DownloadError as error:
            raise KeySetError(str(error)) from None
        except OSError as error:
            raise KeySetError(f"`ca_bundle` cannot be used: {error.strerror}") from None


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(KEY_SET_BYTES_MAX + 1)
    except OSError as error:
        raise KeySetError(f"`{path}` cannot be read: {error.strerror}") from None
    if len(data) > KEY_SET_BYTES_MAX:
        raise KeySetError(f"`{path}` is longer than {KEY_SET_BYTES_MAX} bytes")
    return data
