"""Our certificate, key and trust bundle, read again and again while we serve.

Whoever rotates them writes three files, one after the other, and a look may
fall in between. So a file counts only once two looks in a row saw the same
bytes, and certificate and key count only together, under the authorities in
force. What does not pass changes nothing, and is told.

Each trust bundle stands alone: an authority that was removed must not be
believed any longer only because our own certificate is still from it. A
partner's bundle that cannot be used leaves its last one in force; one that
shares an authority with another trust domain is believed no longer.

The content is compared, not the time stamps: three small files every few
seconds cost nothing, and a time stamp can be the same for two contents.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pdp.config.settings import TlsSettings
from pdp.errors import ConfigurationError
from pdp.identity.server_svid import (
    PairNames,
    ServerSvid,
    judge_pair,
    judge_trust,
    key_warnings,
    partner_name,
    partner_setting,
    read_file,
    trust_name,
)
from pdp.identity.trust import TrustBundle, federate

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


class _BundleFile:
    """One trust bundle's file: what it says, as far as it can be used."""

    def __init__(self, setting: str, name: str, path: Path, bundle: TrustBundle) -> None:
        self.bundle = bundle
        self.pem = b""
        self.problem = ""
        self._setting, self._name, self._path = setting, name, path
        # As in `IdentityFiles`: seen by the look before, and judged.
        self._seen = self._judged = b""

    def saw(self, pem: bytes) -> None:
        """Its bytes are those of the bundle in force."""
        self.pem = pem
        self._seen = self._judged = _digest(pem)

    def look(self) -> bool:
        """Read it. Whether it is still settling.

        Raises:
            ConfigurationError: it cannot be read.
        """
        pem = read_file(self._setting, self._path)
        digest = _digest(pem)
        settled, self._seen = digest == self._seen, digest
        if not settled or digest == self._judged:
            return not settled
        self._judged = digest
        self.problem = ""
        try:
            self.bundle = judge_trust(self._name, self.bundle.trust_domain, pem)
            self.pem = pem
        except ConfigurationError as error:
            self.problem = str(error)
        return False


class IdentityFiles:
    """What the files say, as far as it can be used. Not for concurrent use.

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
        self._names = PairNames.of_files(tls)
        own, *partners = identity.trust.bundles
        self._own = _BundleFile(
            "tls.trust_bundle", trust_name(tls.trust_bundle), tls.trust_bundle, own
        )
        self._own.saw(identity.trust_pem)
        # Read again with the first look: of these, only what they come to is known.
        self._partners = [
            _BundleFile(partner_setting(domain), partner_name(domain, path), path, bundle)
            for (domain, path), bundle in zip(tls.federation, partners, strict=True)
        ]
        self._trust_problems: tuple[str, ...] = ()
        # As seen by the look before; digests, so that keys are not kept about.
        self._seen_pair = _digest(identity.certificate_pem, identity.key_pem)
        # What was judged last, and what came of it: nothing is judged twice.
        self._judged_pair = (self._seen_pair, identity.trust.generation)
        self._pair_problem = ""

    def look(self) -> Look:
        """Read the files and take what is new and right. Blocks; never raises."""
        changed: list[str] = []
        problems: list[str] = []
        settling = False
        before = self.identity.trust.generation
        for file in (self._own, *self._partners):
            try:
                settling |= file.look()
            except ConfigurationError as error:
                problems.append(str(error))
        self._take_trust()
        if self.identity.trust.generation != before:
            changed.append("trust bundle")
        try:
            pair = (
                read_file("tls.certificate", self._tls.certificate),
                read_file("tls.key", self._tls.key),
            )
            settling |= self._look_at_pair(pair, changed)
        except ConfigurationError as error:
            problems.append(str(error))
        files = (file.problem for file in (self._own, *self._partners))
        problems += filter(None, (*files, *self._trust_problems, self._pair_problem))
        return Look(tuple(changed), tuple(problems), settling)

    def close(self) -> None:
        """Nothing is held open."""

    def _take_trust(self) -> None:
        """Believe what the bundles' files came to."""
        trust, problems = federate(self._own.bundle, (partner.bundle for partner in self._partners))
        self._trust_problems = tuple(f"`tls.federation`: {problem}" for problem in problems)
        if trust.generation != self.identity.trust.generation:
            self.identity = dataclasses.replace(self.identity, trust=trust, trust_pem=self._own.pem)

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
            found = judge_pair(
                self._names, pair, (identity.trust, identity.trust_pem), self._clock_ns()
            )
            self.identity = dataclasses.replace(
                found, warnings=(*found.warnings, *key_warnings(self._tls))
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
