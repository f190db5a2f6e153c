"""Our certificate, key and trust bundles from the agent of this machine (SPIFFE Workload API).

What the agent sends is held to the same rules as files are. Each message is
complete: a partner that is not in it is believed no longer. As with files, the
trust bundle stands alone, and what does not pass changes nothing and is told.

An agent that is away leaves its last word in force until our certificate ends.
From then on nobody is believed: who would tell us that an authority was removed?
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe import TrustDomain, X509Bundle, X509Svid
from spiffe.workloadapi.x509_context import X509Context

from pdp.config.settings import WorkloadApiSettings
from pdp.errors import ConfigurationError
from pdp.identity.rotation import Look
from pdp.identity.server_svid import FILE_BYTES_MAX, PairNames, ServerSvid, judge_pair, judge_trust
from pdp.identity.trust import Trust, TrustBundle, federate
from pdp.workload_api import Stream, Update, x509_contexts

# How long a start waits for an agent, which may start at the same time.
START_S: Final = 30.0
_SOURCE: Final = "`tls.workload_api`"
_NAMES: Final = PairNames(
    f"the certificate from {_SOURCE}", f"the key from {_SOURCE}"
)  # fmt: skip


class AgentIdentity:
    """What the agent says, as far as it can be used. Not for concurrent use.

    Args:
        settings: which agent, and what of it.
        clock_ns: the wall clock, nanoseconds since the epoch.
        start_s: how long to wait for the first identity.

    Raises:
        ConfigurationError: there is none in this time that can be used.

    Attributes:
        identity: what is in force. Replaced, never changed.
    """

    identity: ServerSvid

    def __init__(
        self, settings: WorkloadApiSettings, clock_ns: Callable[[], int], start_s: float = START_S
    ) -> None:
        self._settings = settings
        self._clock_ns = clock_ns
        self._judged = 0
        self._problems: tuple[str, ...] = ()
        self._stream = Stream(settings.socket, x509_contexts)
        self._stream.start()
        try:
            self.identity = self._first(start_s)
        except BaseException:
            self._stream.close()
            raise

    def _first(self, start_s: float) -> ServerSvid:
        ends = time.monotonic() + start_s
        problem = ""
        while True:
            update = self._stream.newer_than(self._judged, ends - time.monotonic())
            if update is None:
                why = problem or self._stream.problem or "it sent nothing"
                raise ConfigurationError(
                    f"{_SOURCE} `{self._settings.socket}` gave no identity within {start_s:g} s: "
                    f"{why}"
                )
            self._judged = update.number
            try:
                trust, own_pem, self._problems = self._trust(update.message)
                pair = self._pair(update.message)
                return judge_pair(_NAMES, pair, (trust, own_pem), self._clock_ns())
            except ConfigurationError as error:
                problem = str(error)

    def look(self) -> Look:
        """Take what is new and right. Never raises."""
        update = self._stream.latest
        changed: tuple[str, ...] = ()
        if update is not None and update.number != self._judged:
            changed = self._take(update)
        problem = self._stream.problem
        away = (f"{_SOURCE} `{self._settings.socket}`: {problem}",) if problem else ()
        return Look(changed, (*away, *self._problems))

    def close(self) -> None:
        """Leave the agent."""
        self._stream.close()

    def _take(self, update: Update[X509Context]) -> tuple[str, ...]:
        self._judged = update.number
        before = self.identity
        problems: list[str] = []
        try:
            trust, own_pem, left_out = self._trust(update.message)
            problems += left_out
            if trust.generation != before.trust.generation:
                self.identity = dataclasses.replace(before, trust=trust, trust_pem=own_pem)
        except ConfigurationError as error:
            problems.append(str(error))
        now = self.identity
        try:
            pair = self._pair(update.message)
            # Other authorities may make it no longer good: then it is told.
            if pair != (before.certificate_pem, before.key_pem) or now is not before:
                self.identity = judge_pair(
                    _NAMES, pair, (now.trust, now.trust_pem), self._clock_ns()
                )
        except ConfigurationError as error:
            problems.append(str(error))
        self._problems = tuple(problems)
        new_trust = self.identity.trust.generation != before.trust.generation
        new_pair = self.identity.certificate_pem != before.certificate_pem
        names = (("trust bundle", new_trust), ("certificate", new_pair))
        return tuple(name for name, new in names if new)

    def _trust(self, context: X509Context) -> tuple[Trust, bytes, tuple[str, ...]]:
        """Whom to believe, our own authorities in PEM, and which partners are left out and why.

        Raises:
            ConfigurationError: our own authorities cannot be used.
        """
        domain = self._settings.trust_domain
        found = self._bundle(context, domain)
        if found is None:
            raise ConfigurationError(f"{_SOURCE} has no trust bundle of `{domain}`")
        own, own_pem = found
        partners: list[TrustBundle] = []
        problems: list[str] = []
        for partner in self._settings.federates_with:
            try:
                with_pem = self._bundle(context, partner)
            except ConfigurationError as error:
                problems.append(str(error))
                continue
            if with_pem is None:
                problems.append(f"{_SOURCE} has no trust bundle of `{partner}`: its callers wait")
            else:
                partners.append(with_pem[0])
        trust, clashes = federate(own, partners)
        problems += (f"`tls.federates_with`: {clash}" for clash in clashes)
        return trust, own_pem, tuple(problems)

    @staticmethod
    def _bundle(context: X509Context, domain: str) -> tuple[TrustBundle, bytes] | None:
        found: X509Bundle | None = context.x509_bundle_set.get_bundle_for_trust_domain(
            TrustDomain(domain)
        )
        if found is None or not found.x509_authorities:
            return None
        name = f"the trust bundle of `{domain}` from {_SOURCE}"
        # The library has them as a set.
        pem = b"".join(sorted(map(_pem, found.x509_authorities)))
        return judge_trust(name, domain, _bounded(name, pem)), pem

    def _pair(self, context: X509Context) -> tuple[bytes, bytes]:
        """Certificate and key of the identity that we are to have.

        Raises:
            ConfigurationError: the agent does not have it.
        """
        svid = self._svid(context.x509_svids)
        try:
            key = svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        except Exception:  # noqa: BLE001 the library's words might quote the key
            raise ConfigurationError(f"{_NAMES.key} cannot be used") from None
        return _bounded(_NAMES.certificate, b"".join(map(_pem, svid.cert_chain))), key

    def _svid(self, svids: list[X509Svid]) -> X509Svid:
        wanted = self._settings.spiffe_id
        if wanted is None:
            return svids[0]  # Workload API section 5.3: the default identity
        for svid in svids:
            if str(svid.spiffe_id) == wanted:
                return svid
        raise ConfigurationError(f"{_SOURCE} has no identity `{wanted}` for this process")


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _bounded(name: str, pem: bytes) -> bytes:
    if len(pem) > FILE_BYTES_MAX:
        raise ConfigurationError(f"{name} is larger than {FILE_BYTES_MAX} bytes")
    return pem
