"""Who we are: the server's own certificate, judged before it is shown to anybody.

A server that starts with a certificate its clients must refuse is a server
that denies everybody and does not say why; here it says why.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from pdp.config.settings import TlsSettings
from pdp.errors import ConfigurationError, IdentityError
from pdp.identity.svid import SvidVerifier
from pdp.identity.trust import (
    Trust,
    TrustBundle,
    federate,
    load_pem_certificates,
    load_trust_bundle,
)

# Certificates and keys are a few KiB, a trust bundle of a hundred authorities 200.
FILE_BYTES_MAX = 1_048_576


@dataclass(frozen=True, slots=True)
class ServerSvid:
    """What the server shows, and whom it believes.

    Attributes:
        spiffe_id: our own.
        certificate_pem: leaf and intermediates.
        key_pem: the leaf's private key. Never logged.
        trust: the authorities of our trust domain, and of others that are configured.
        trust_pem: those of our own, as they were read.
        starts_ns: when the certificate, or one above it, begins to be valid; since the epoch.
        ends_ns: the last moment at which all of them are.
        warnings: what works today and will surprise somebody; one line each.
    """

    spiffe_id: str
    certificate_pem: bytes
    key_pem: bytes
    trust: Trust
    trust_pem: bytes
    starts_ns: int
    ends_ns: int
    warnings: tuple[str, ...] = ()

    @property
    def roots_pem(self) -> bytes:
        """Everybody's authorities, for a TLS library that knows no trust domains."""
        if len(self.trust.bundles) == 1:
            return self.trust_pem
        return b"".join(found.public_bytes(Encoding.PEM) for found in self.trust.authorities)

    def __repr__(self) -> str:
        return f"ServerSvid({self.spiffe_id!r})"


def load_server_svid(tls: TlsSettings, now_ns: int) -> ServerSvid:
    """Read certificate, key and trust bundle, and hold us to the rules our peers are held to.

    Args:
        tls: which files.
        now_ns: the clock, nanoseconds since the epoch.

    Raises:
        ConfigurationError: a file cannot be read, they do not belong together,
            or the certificate breaks a rule of `pdp.identity.svid`.
    """
    trust_pem = read_file("tls.trust_bundle", tls.trust_bundle)
    certificate_pem = read_file("tls.certificate", tls.certificate)
    key_pem = read_file("tls.key", tls.key)
    own = judge_trust(trust_name(tls.trust_bundle), tls.trust_domain, trust_pem)
    partners = [
        judge_trust(partner_name(domain, path), domain, read_file(partner_setting(domain), path))
        for domain, path in tls.federation
    ]
    trust, problems = federate(own, partners)
    if problems:
        raise ConfigurationError(f"`tls.federation`: {problems[0]}")
    names = PairNames.of_files(tls)
    found = judge_pair(names, (certificate_pem, key_pem), (trust, trust_pem), now_ns)
    return dataclasses.replace(found, warnings=(*found.warnings, *key_warnings(tls)))


def trust_name(path: Path) -> str:
    """Our trust bundle's file in messages."""
    return f"`tls.trust_bundle` `{path}`"


def partner_setting(trust_domain: str) -> str:
    """The setting that names a partner's file."""
    return f"tls.federation.{trust_domain}"


def partner_name(trust_domain: str, path: Path) -> str:
    """A partner's trust bundle in messages."""
    return f"`{partner_setting(trust_domain)}` `{path}`"


def judge_trust(name: str, trust_domain: str, trust_pem: bytes) -> TrustBundle:
    """Whom a trust bundle names.

    Args:
        name: where it is from, for messages.
        trust_domain: whose it is to be.
        trust_pem: as read.

    Raises:
        ConfigurationError: it cannot be used.
    """
    try:
        return load_trust_bundle(trust_domain, trust_pem)
    except (ConfigurationError, IdentityError) as error:
        raise ConfigurationError(f"{name}: {error}") from None


@dataclass(frozen=True, slots=True)
class PairNames:
    """Where certificate and key are from, for messages."""

    certificate: str
    key: str

    @staticmethod
    def of_files(tls: TlsSettings) -> PairNames:
        """The settings and their files."""
        return PairNames(f"`tls.certificate` `{tls.certificate}`", f"`tls.key` `{tls.key}`")


def judge_pair(
    names: PairNames, pair: tuple[bytes, bytes], trust: tuple[Trust, bytes], now_ns: int
) -> ServerSvid:
    """What we can show with this certificate and key to peers who believe these authorities.

    Args:
        names: for messages.
        pair: certificate and key, PEM.
        trust: the authorities, and the PEM of our own.
        now_ns: the clock, nanoseconds since the epoch.

    Raises:
        ConfigurationError: the two do not belong together, or the certificate
            breaks a rule of `pdp.identity.svid`.
    """
    certificate_pem, key_pem = pair
    leaf, chain_pem = _leaf(names, certificate_pem)
    _check_key(names, leaf, key_pem)
    leaf_pem = leaf.public_bytes(Encoding.PEM)
    own = trust[0].bundles[0]
    try:
        # A partner cannot vouch for us.
        identity = SvidVerifier(own).identify(leaf_pem, chain_pem, now_ns)
    except IdentityError as error:
        raise ConfigurationError(
            f"{names.certificate} is not an X.509-SVID of "
            f"`{own.trust_domain}` at this time: {error}"
        ) from None
    return ServerSvid(
        str(identity.spiffe_id),
        certificate_pem,
        key_pem,
        *trust,
        identity.not_before_ns,
        identity.not_after_ns,
        tuple(_warnings(names, leaf)),
    )


def read_file(name: str, path: Path) -> bytes:
    """The bytes of a file that a setting names, at most `FILE_BYTES_MAX`.

    Raises:
        ConfigurationError: it cannot be read, or is larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"`{name}`: `{path}` cannot be read: {error.strerror}") from None
    if len(data) > FILE_BYTES_MAX:
        raise ConfigurationError(f"`{name}`: `{path}` is larger than {FILE_BYTES_MAX} bytes")
    return data


def _leaf(names: PairNames, pem: bytes) -> tuple[x509.Certificate, bytes]:
    """The leaf, which comes first, and the rest."""
    try:
        leaf, *chain = load_pem_certificates(pem)
    except Exception as error:
        raise ConfigurationError(
            f"{names.certificate} holds no certificate in PEM, leaf first"
        ) from error
    return leaf, b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


def _check_key(names: PairNames, leaf: x509.Certificate, key_pem: bytes) -> None:
    try:
        key = load_pem_private_key(key_pem, password=None)
    except Exception:  # noqa: BLE001 the library's words might quote the key
        raise ConfigurationError(
            f"{names.key} holds no private key in PEM without a passphrase"
        ) from None
    if _public(key.public_key()) != _public(leaf.public_key()):
        raise ConfigurationError(f"{names.key} is not the key of {names.certificate}")


def _public(key: object) -> bytes:
    write = getattr(key, "public_bytes", None)
    if write is None:
        raise ConfigurationError("`tls.key` is of a kind that TLS does not use")
    found: bytes = write(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found


def key_warnings(tls: TlsSettings) -> tuple[str, ...]:
    """What is wrong with the key's file and does not keep us from starting."""
    if tls.key.stat().st_mode & 0o077:
        return (f"`{tls.key}` can be read by other users: `chmod 600` it",)
    return ()


def _warnings(names: PairNames, leaf: x509.Certificate) -> list[str]:
    found = []
    alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if not alternatives.get_values_for_type(x509.DNSName) and not alternatives.get_values_for_type(
        x509.IPAddress
    ):
        # grpcio's client cannot check a URI name (measured with 1.85).
        found.append(
            f"{names.certificate} has no DNS name: clients in Python cannot tell this server "
            "from another of its trust domain"
        )
    return found
