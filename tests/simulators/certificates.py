"""Certificates that an attacker, or a careless administrator, might present.

Each breaks one rule of references/security.md section 3.2 and keeps all the
others, so that a test that passes says which rule caught it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pdp.authoring.throwaway import IssuedSvid, ThrowawayAuthority

TRUST_DOMAIN = "demo.example.org"
PEP = f"spiffe://{TRUST_DOMAIN}/pep"
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def uri(text: str) -> x509.GeneralName:
    """A URI name, right or wrong."""
    return x509.UniformResourceIdentifier(text)


def forge(
    authority: ThrowawayAuthority,
    names: tuple[x509.GeneralName, ...] = (uri(PEP),),
    *,
    ca: bool = False,
    digital_signature: bool = True,
    sign_certificates: bool = False,
    sign_revocations: bool = False,
    key_usage: bool = True,
    key_usage_critical: bool = True,
    extended: tuple[x509.ObjectIdentifier, ...] | None = BOTH,
    starts: timedelta = timedelta(minutes=-5),
    ends: timedelta = timedelta(hours=1),
    self_signed: bool = False,
) -> IssuedSvid:
    """A leaf with exactly what is asked for. The default is a good one."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(issuer if self_signed else x509.Name([]))
        .issuer_name(issuer if self_signed else authority.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + starts)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
    )
    if key_usage:
        builder = builder.add_extension(
            usage(
                digital_signature=digital_signature,
                sign_certificates=sign_certificates,
                sign_revocations=sign_revocations,
            ),
            critical=key_usage_critical,
        )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    if extended is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    leaf = builder.sign(key if self_signed else authority.key, hashes.SHA256())
    return IssuedSvid(
        leaf.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        leaf,
    )


def usage(
    *, digital_signature: bool, sign_certificates: bool, sign_revocations: bool
) -> x509.KeyUsage:
    """Key usage. Key agreement stands in where nothing else is set: empty is malformed."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=not (digital_signature or sign_certificates or sign_revocations),
        key_cert_sign=sign_certificates,
        crl_sign=sign_revocations,
        encipher_only=False,
        decipher_only=False,
    )


class Intermediate(ThrowawayAuthority):
    """An authority signed by another one. What it issues carries the chain."""

    def __init__(
        self, parent: ThrowawayAuthority, lifetime: timedelta = timedelta(hours=2)
    ) -> None:
        """Make the key and have the parent sign it."""
        super().__init__(parent.trust_domain)
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "intermediate CA")])
        now = datetime.now(UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(parent.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                usage(digital_signature=False, sign_certificates=True, sign_revocations=True),
                critical=True,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(parent.key.public_key()),
                critical=False,
            )
            .sign(parent.key, hashes.SHA256())
        )

    def chained(self, svid: IssuedSvid) -> IssuedSvid:
        """The leaf with this authority's certificate after it, as a peer sends them."""
        return IssuedSvid(svid.certificate_pem + self.bundle_pem, svid.key_pem, svid.leaf)


@dataclass(frozen=True, slots=True)
class BadCertificate:
    """One attack.

    Attributes:
        make: from the authority the server trusts.
        passes_handshake: TLS alone lets it in, so only our rules stop it.
        says: words of the refusal; empty where TLS refuses.
    """

    make: Callable[[ThrowawayAuthority], IssuedSvid]
    passes_handshake: bool
    says: str = ""


_DAY = timedelta(days=1)

# References, section 3.2, and what the same section's rules add.
BAD: dict[str, BadCertificate] = {
    "wrong_authority": BadCertificate(
        lambda _: forge(ThrowawayAuthority(TRUST_DOMAIN)), passes_handshake=False
    ),
    "self_signed": BadCertificate(lambda a: forge(a, self_signed=True), passes_handshake=False),
    # Hours ago: tests look at it with a clock that stopped when the run began.
    "expired": BadCertificate(
        lambda a: forge(a, starts=-_DAY, ends=timedelta(hours=-6)), passes_handshake=False
    ),
    "not_valid_yet": BadCertificate(
        lambda a: forge(a, starts=timedelta(hours=1), ends=_DAY), passes_handshake=False
    ),
    "two_identities": BadCertificate(
        lambda a: forge(a, (uri(PEP), uri(f"spiffe://{TRUST_DOMAIN}/admin"))),
        passes_handshake=True,
        says="peer_spiffe_id",
    ),
    "identity_and_another_uri": BadCertificate(
        lambda a: forge(a, (uri(PEP), uri("https://example.org/pep"))),
        passes_handshake=True,
        says="peer_spiffe_id",
    ),
    "identity_without_path": BadCertificate(
        lambda a: forge(a, (uri(f"spiffe://{TRUST_DOMAIN}"),)),
        passes_handshake=True,
        says="peer_spiffe_id",
    ),
    "identity_with_empty_path": BadCertificate(
        lambda a: forge(a, (uri(f"spiffe://{TRUST_DOMAIN}/"),)),
        passes_handshake=True,
        says="",
    ),
    "identity_with_dots": BadCertificate(
        lambda a: forge(a, (uri(f"spiffe://{TRUST_DOMAIN}/pep/../admin"),)),
        passes_handshake=True,
        says="",
    ),
    "identity_with_query": BadCertificate(
        lambda a: forge(a, (uri(f"{PEP}?role=admin"),)), passes_handshake=True, says=""
    ),
    "leaf_is_authority": BadCertificate(
        lambda a: forge(
            a, ca=True, digital_signature=True, sign_certificates=True, sign_revocations=True
        ),
        passes_handshake=True,
        says="",
    ),
    "leaf_may_sign_certificates": BadCertificate(
        lambda a: forge(a, sign_certificates=True), passes_handshake=True, says=""
    ),
    "leaf_may_sign_revocations": BadCertificate(
        lambda a: forge(a, sign_revocations=True), passes_handshake=True, says="revocation"
    ),
    "foreign_trust_domain": BadCertificate(
        lambda a: forge(a, (uri("spiffe://other.example.org/pep"),)),
        passes_handshake=True,
        says="foreign trust domain",
    ),
    "dns_name_with_identity_text": BadCertificate(
        lambda a: forge(a, (x509.DNSName(PEP),)), passes_handshake=True, says="peer_spiffe_id"
    ),
    "no_names": BadCertificate(
        lambda a: forge(a, ()), passes_handshake=True, says="peer_spiffe_id"
    ),
    "no_key_usage": BadCertificate(
        lambda a: forge(a, key_usage=False), passes_handshake=True, says="key usage"
    ),
    "key_usage_not_critical": BadCertificate(
        lambda a: forge(a, key_usage_critical=False), passes_handshake=True, says="key usage"
    ),
    "extended_usage_of_a_client_only": BadCertificate(
        lambda a: forge(a, extended=(ExtendedKeyUsageOID.CLIENT_AUTH,)),
        passes_handshake=True,
        says="extended key usage",
    ),
}
