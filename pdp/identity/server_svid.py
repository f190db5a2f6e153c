"""Who we are: the server's own certificate, judged before it is shown to anybody.

A server that starts with a certificate its clients must refuse is a server
that denies everybody and does not say why; here it says why.
"""

from __future__ import annotations

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
from pdp.identity.svid import (
    SvidVerifier,
    TrustBundle,
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
        trust: the authorities of our trust domain.
        trust_pem: the same, as they were read.
        starts_ns: when the certificate, or one above it, begins to be valid; since the epoch.
        ends_ns: the last moment at which all of them are.
        warnings: what works today and will surprise somebody; one line each.
    """

    spiffe_id: str
    certificate_pem: bytes
    key_pem: bytes
    trust: TrustBundle
    trust_pem: bytes
    starts_ns: int
    ends_ns: int
    warnings: tuple[str, ...] = ()

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
    trust = judge_trust(tls, trust_pem)
    return judge_pair(tls, (certificate_pem, key_pem), (trust, trust_pem), now_ns)


def judge_trust(tls: TlsSettings, trust_pem: bytes) -> TrustBundle:
    """Whom the trust bundle names.

    Raises:
        ConfigurationError: it cannot be used.
    """
    try:
        return load_trust_bundle(tls.trust_domain, trust_pem)
    except (ConfigurationError, IdentityError) as error:
        raise ConfigurationError(f"`tls.trust_bundle` `{tls.trust_bundle}`: {error}") from None


def judge_pair(
    tls: TlsSettings, pair: tuple[bytes, bytes], trust: tuple[TrustBundle, bytes], now_ns: int
) -> ServerSvid:
    """What we can show with this certificate and key to peers who believe these authorities.

    Args:
        tls: for the names of files.
        pair: certificate and key, PEM.
        trust: the authorities, and their PEM.
        now_ns: the clock, nanoseconds since the epoch.

    Raises:
        ConfigurationError: the two do not belong together, or the certificate
            breaks a rule of `pdp.identity.svid`.
    """
    certificate_pem, key_pem = pair
    leaf, chain_pem = _leaf(tls.certificate, certificate_pem)
    _check_key(tls, leaf, key_pem)
    leaf_pem = leaf.public_bytes(Encoding.PEM)
    try:
        identity = SvidVerifier(trust[0]).identify(leaf_pem, chain_pem, now_ns)
    except IdentityError as error:
        raise ConfigurationError(
            f"`tls.certificate` `{tls.certificate}` is not an X.509-SVID of "
            f"`{tls.trust_domain}` at this time: {error}"
        ) from None
    return ServerSvid(
        str(identity.spiffe_id),
        certificate_pem,
        key_pem,
        *trust,
        identity.not_before_ns,
        identity.not_after_ns,
        tuple(_warnings(tls, leaf)),
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


def _leaf(path: Path, pem: bytes) -> tuple[x509.Certificate, bytes]:
    """The leaf, which comes first, and the rest."""
    try:
        leaf, *chain = load_pem_certificates(pem)
    except Exception as error:
        raise ConfigurationError(
            f"`tls.certificate` `{path}` holds no certificate in PEM, leaf first"
        ) from error
    return leaf, b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


def _check_key(tls: TlsSettings, leaf: x509.Certificate, key_pem: bytes) -> None:
    try:
        key = load_pem_private_key(key_pem, password=None)
    except Exception:  # noqa: BLE001 the library's words might quote the key
        raise ConfigurationError(
            f"`tls.key` `{tls.key}` holds no private key in PEM without a passphrase"
        ) from None
    if _public(key.public_key()) != _public(leaf.public_key()):
        raise ConfigurationError(
            f"`tls.key` `{tls.key}` is not the key of `tls.certificate` `{tls.certificate}`"
        )


def _public(key: object) -> bytes:
    write = getattr(key, "public_bytes", None)
    if write is None:
        raise ConfigurationError("`tls.key` is of a kind that TLS does not use")
    found: bytes = write(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found


def _warnings(tls: TlsSettings, leaf: x509.Certificate) -> list[str]:
    found = []
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if not names.get_values_for_type(x509.DNSName) and not names.get_values_for_type(
        x509.IPAddress
    ):
        # grpcio's client cannot check a URI name (brief measured on 1.85).
        found.append(
            f"`{tls.certificate}` has no DNS name: clients in Python cannot tell this server "
            "from another of its trust domain"
        )
    if tls.key.stat().st_mode & 0o077:
        found.append(f"`{tls.key}` can be read by other users: `chmod 600` it")
    return found
