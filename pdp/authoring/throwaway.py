"""A certificate authority that is thrown away: for demonstrations and tests only.

Its key lives in memory and dies with the process. Nothing in the server can
import this module.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class IssuedSvid:
    """An X.509-SVID: PEM chain and PEM key, and the leaf for tests to look at."""

    certificate_pem: bytes
    key_pem: bytes
    leaf: x509.Certificate

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write `name.pem` and `name.key` (mode 0600); return both paths."""
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.certificate_pem)
        descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self.key_pem)
        return certificate, key


class ThrowawayAuthority:
    """A CA for one trust domain.

    Args:
        trust_domain: `demo.example.org`.
        lifetime: of the CA certificate.
    """

    def __init__(self, trust_domain: str, lifetime: timedelta = timedelta(days=2)) -> None:
        self.trust_domain = trust_domain
        self.key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        self.name = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, f"throw-away CA of {trust_domain}")]
        )
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(self.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(sign_certificates=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False
            )
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]
                ),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )

    @property
    def bundle_pem(self) -> bytes:
        """The trust bundle: this CA's certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        path: str,
        *,
        dns_names: Sequence[str] = (),
        addresses: Sequence[str] = (),
        lifetime: timedelta = timedelta(hours=1),
        started: timedelta = _SKEW,
    ) -> IssuedSvid:
        """Issue an X.509-SVID for `spiffe://trust-domain/path`.

        Args:
            path: without the leading slash.
            dns_names: names that a gRPC client may check, `localhost`.
            addresses: IP addresses likewise.
            lifetime: from now; negative makes an expired one.
            started: how long ago it became valid.
        """
        names: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(f"spiffe://{self.trust_domain}/{path}")
        ]
        names += [x509.DNSName(name) for name in dns_names]
        names += [x509.IPAddress(ip_address(address)) for address in addresses]
        return self.issue_with(names, lifetime=lifetime, started=started)

    def issue_with(
        self,
        names: Sequence[x509.GeneralName],
        *,
        lifetime: timedelta = timedelta(hours=1),
        started: timedelta = _SKEW,
        ca: bool = False,
        sign_certificates: bool = False,
        extended: Sequence[x509.ObjectIdentifier] | None = (
            ExtendedKeyUsageOID.SERVER_AUTH,
            ExtendedKeyUsageOID.CLIENT_AUTH,
        ),
    ) -> IssuedSvid:
        """Issue a leaf with any names and usages, right or wrong."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - max(started, started - lifetime))
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(_key_usage(sign_certificates=sign_certificates), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=True)
        if extended is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(extended)), critical=False)
        leaf = builder.sign(self.key, hashes.SHA256())
        return IssuedSvid(
            leaf.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            leaf,
        )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
