"""Whom we believe: authorities, each for one trust domain.

A partner's authorities speak for the partner, and for nobody else (SPIFFE Trust
Domain and Bundle section 4; Workload API section 4.6). TLS is handed one pool of
roots and would believe any of them about anybody, so the pool only lets a
handshake happen; whose identity it is, `pdp.identity.svid` finds with the
authorities of the trust domain that the leaf names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pdp.errors import ConfigurationError
from pdp.identity.spiffe_id import check_trust_domain

_PEM_BEGIN: Final = b"-----BEGIN"


class Trust(Protocol):
    """Whom we believe about whom: our own trust domain, and partners if there are any."""

    @property
    def trust_domain(self) -> str:
        """Our own."""
        ...

    @property
    def bundles(self) -> tuple[TrustBundle, ...]:
        """One for each trust domain that is believed, our own first."""
        ...

    @property
    def authorities(self) -> tuple[x509.Certificate, ...]:
        """All of them, for a TLS library that knows no trust domains."""
        ...

    @property
    def generation(self) -> bytes:
        """Changes with any of them; part of every cache key."""
        ...


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """The authorities that may speak for one trust domain.

    Attributes:
        trust_domain: about whose identities they are believed.
        authorities: at least one.
        generation: changes with the set; part of every cache key.
    """

    trust_domain: str
    authorities: tuple[x509.Certificate, ...]
    generation: bytes

    @property
    def bundles(self) -> tuple[TrustBundle, ...]:
        """This one alone: no partners."""
        return (self,)


def load_trust_bundle(trust_domain: str, pem: bytes) -> TrustBundle:
    """Read the authorities of a trust domain from PEM.

    Raises:
        ConfigurationError: no certificate, not PEM, or one that is no authority.
    """
    try:
        authorities = load_pem_certificates(pem)
        # Fields are read when they are asked for: whatever cannot be read shows here, not later.
        names = [ascii(authority.subject.rfc4514_string())[1:-1] for authority in authorities]
        authorized = [_is_authority(authority) for authority in authorities]
        for authority in authorities:
            _public(authority)
    except Exception:  # noqa: BLE001 damaged bytes; the library has many ways to say no
        message = "the trust bundle holds no certificate, or one that cannot be read: it is PEM"
        raise ConfigurationError(message) from None
    for authority, name, good in zip(authorities, names, authorized, strict=True):
        if not good:
            message = (
                f"the trust bundle holds a certificate that is no authority: "
                f"`{name}` serial {authority.serial_number:x}"
            )
            raise ConfigurationError(message)
    ders = sorted(authority.public_bytes(Encoding.DER) for authority in authorities)
    generation = hashlib.sha256(b"".join(hashlib.sha256(der).digest() for der in ders)).digest()
    return TrustBundle(check_trust_domain(trust_domain), authorities, generation)


def load_pem_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """All certificates of a PEM file.

    Raises:
        ValueError: there is none, or one cannot be read. The library skips what
            has a beginning and no end; a file of which the rest is still being
            written would be taken for a whole one.
    """
    found = tuple(x509.load_pem_x509_certificates(pem))
    if pem.count(_PEM_BEGIN) != len(found):
        raise ValueError("a certificate is cut off")
    return found


def _is_authority(certificate: x509.Certificate) -> bool:
    """Whether it says so; raises what the library raises for extensions that cannot be read."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return constraints.value.ca


@dataclass(frozen=True, slots=True)
class Federation:
    """Our own authorities and those of partners. Made by `federate` only.

    Attributes:
        own: ours.
        partners: each of another trust domain.
        generation: changes with any of them.
    """

    own: TrustBundle
    partners: tuple[TrustBundle, ...]
    generation: bytes

    @property
    def trust_domain(self) -> str:
        """Our own."""
        return self.own.trust_domain

    @property
    def bundles(self) -> tuple[TrustBundle, ...]:
        """Ours first."""
        return (self.own, *self.partners)

    @property
    def authorities(self) -> tuple[x509.Certificate, ...]:
        """All of them."""
        return tuple(found for bundle in self.bundles for found in bundle.authorities)


def federate(own: TrustBundle, partners: Iterable[TrustBundle]) -> tuple[Trust, tuple[str, ...]]:
    """Believe partners about their own trust domains.

    Args:
        own: ours; it stays, whatever is wrong with partners.
        partners: others'.

    Returns:
        Whom to believe, and why a partner is left out; one line each.
    """
    partners = tuple(partners)
    held: dict[bytes, list[str]] = {}
    for bundle in (own, *partners):
        for key in {_public(authority) for authority in bundle.authorities}:
            held.setdefault(key, []).append(bundle.trust_domain)
    names = [own.trust_domain, *(bundle.trust_domain for bundle in partners)]
    kept: list[TrustBundle] = []
    problems: list[str] = []
    for bundle in partners:
        name = bundle.trust_domain
        if names.count(name) > 1:
            problems.append(f"the trust domain `{name}` is there twice")
            continue
        # INVARIANT: no key speaks for two trust domains: whoever holds it would make identities
        # of either, and no check of paths could tell.
        shared = [each for domains in held.values() if name in domains for each in domains]
        others = sorted(set(shared) - {name})
        if others:
            problems.append(
                f"the trust domain `{name}` has an authority in common with `{others[0]}`: "
                "each needs its own"
            )
            continue
        kept.append(bundle)
    if not kept:
        return own, tuple(problems)
    parts = sorted(
        bundle.trust_domain.encode() + b"\0" + bundle.generation for bundle in (own, *kept)
    )
    generation = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()
    return Federation(own, tuple(kept), generation), tuple(problems)


def _public(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
