"""Our certificate, key and trust bundle, read again and again while we serve.

Whoever rotates them writes three files, one after the other, and a look may
fall in between. So a file counts only once two looks in a row saw the same
bytes, and certificate and key count only together, under the authorities in
force. What does not pass changes nothing, and is told.

The trust bundle stands alone: an authority that was removed must not be
believed any longer only because our own certificate is still from it.

The content is compared, not the time stamps: three small files every few
seconds cost nothing, and a time stamp can be the same for two contents.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pdp.config.settings import TlsSettings
from pdp.errors import ConfigurationError
from pdp.identity.server_svid import ServerSvid, judge_pair, judge_trust, read_file

# Until the second look at bytes that are new.
SETTLE_S: Final = 0.2

Pair = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found.

    Attributes:
        changed: what is new and in force from now on, in words; empty: nothing.
        problems: why something new is not in force; one line each.
        settling: whether bytes were seen for the first time: look again after `SETTLE_S`.
    """

    changed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    settling: bool = False


class IdentityFiles:
    """What the three files say, as far as it can be used. Not for concurrent use.

    Args:
        tls: which files.
        identity: what they said at the start.
        clock_ns: the wall clock, nanoseconds since the epoch.

    Attributes:
        identity: what is in force. Replaced, never changed.
    """

    def __init__(self, tls: TlsSettings, identity: ServerSvid, clock_ns: Callable[[], int]) -> None:
        self.identity = identity
        self._tls = tls
        self._clock_ns = clock_ns
        # As seen by the look before; digests, so that keys are not kept about.
        self._seen_trust = _digest(identity.trust_pem)
        self._seen_pair = _digest(identity.certificate_pem, identity.key_pem)
        # What was judged last, and what came of it: nothing is judged twice.
        self._judged_trust = self._seen_trust
        self._judged_pair = (self._seen_pair, identity.trust.generation)
        self._trust_problem = self._pair_problem = ""

    def look(self) -> Look:
        """Read the files and take what is new and right. Blocks; never raises."""
        changed: list[str] = []
        problems: list[str] = []
        settling = False
        try:
            trust_pem = read_file("tls.trust_bundle", self._tls.trust_bundle)
            settling |= self._look_at_trust(trust_pem, changed)
        except ConfigurationError as error:
            problems.append(str(error))
        try:
            pair = (
                read_file("tls.certificate", self._tls.certificate),
                read_file("tls.key", self._tls.key),
            )
            settling |= self._look_at_pair(pair, changed)
        except ConfigurationError as error:
            problems.append(str(error))
        problems += filter(None, (self._trust_problem, self._pair_problem))
        return Look(tuple(changed), tuple(problems), settling)

    def _look_at_trust(self, trust_pem: bytes, changed: list[str]) -> bool:
        """Whether it is still settling."""
        digest = _digest(trust_pem)
        settled, self._seen_trust = digest == self._seen_trust, digest
        if not settled or digest == self._judged_trust:
            return not settled
        self._judged_trust = digest
        self._trust_problem = ""
        try:
            trust = judge_trust(self._tls, trust_pem)
        except ConfigurationError as error:
            self._trust_problem = str(error)
        else:
            self.identity = dataclasses.replace(self.identity, trust=trust, trust_pem=trust_pem)
            changed.append("trust bundle")
        return False

    def _look_at_pair(self, pair: Pair, changed: list[str]) -> bool:
        """Whether it is still settling."""
        digest = _digest(*pair)
        settled, self._seen_pair = digest == self._seen_pair, digest
        identity = self.identity
        # Another trust bundle may make a certificate good, or no longer good.
        judged = (digest, identity.trust.generation)
        if not settled or judged == self._judged_pair:
            return not settled
        self._judged_pair = judged
        self._pair_problem = ""
        try:
            self.identity = judge_pair(
                self._tls, pair, (identity.trust, identity.trust_pem), self._clock_ns()
            )
        except ConfigurationError as error:
            # Also where the pair in force is meant: peers that believe the same
            # authorities refuse it, but another one we do not have.
            self._pair_problem = str(error)
        else:
            if pair != (identity.certificate_pem, identity.key_pem):
                changed.append("certificate")
        return False


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()
