"""Who is asking: the rules of an X.509-SVID, checked on every call.

The TLS handshake proves that the peer holds the key of a certificate that
chains to one of our authorities. That is not enough (references: SPIFFE
X.509-SVID sections 2 to 5; SPIFFE-ID section 2): the handshake also accepts a
leaf that may sign certificates, an identity of another trust domain, and two
identities in one leaf. Numbered as they are checked:

    1  the connection has exactly one `peer_spiffe_id`
    2  the leaf has exactly one URI name, and it is the SPIFFE ID of a workload
    3  its trust domain is the one our authorities speak for
    4  the path from leaf to authority is valid (RFC 5280, client)
    5  the leaf is no authority: cA false, neither keyCertSign nor cRLSign
    6  key usage is critical and has digitalSignature
    7  extended key usage, if present, has clientAuth and serverAuth
    8  now is within the validity of every certificate on the path
    9  the identity of 1 is that of 2

2 to 7 depend on bytes only, so they are done once per certificate and trust
bundle and kept in a bounded cache; 1, 8 and 9 on every call. Never looked at:
`peer_identities()` and `x509_subject_alternative_name`, which hold whatever a
DNS name says. Emergency denials are the decision point's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from cachetools import LRUCache
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from pdp.errors import ConfigurationError, IdentityError
from pdp.model import Caller

SPIFFE_ID_BYTES_MAX: Final = 2_048  # SPIFFE-ID section 2.3
TRUST_DOMAIN_BYTES_MAX: Final = 255  # SPIFFE-ID section 2.3
# A path of more certificates than this is nobody's deployment; OpenSSL's own
# default depth is 100, WebPKI paths have two or three.
INTERMEDIATES_MAX: Final = 8
CERTIFICATES_BYTES_MAX: Final = 65_536  # all PEM of one peer

# SPIFFE-ID section 2.1 and 2.2. Upper case in a trust domain, percent-encoding,
# ports, queries and fragments are all outside these sets.
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]+", re.ASCII)
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_SCHEME: Final = "spiffe://"
_PEM_BEGIN: Final = b"-----BEGIN"
_BOTH_USAGES: Final = frozenset({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_Kind = TypeVar("_Kind", bound=x509.ExtensionType)

# What grpc.aio's `ServicerContext.auth_context()` returns.
AuthContext = Mapping[str, Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """A checked `spiffe://trust_domain/path`; `path` starts with a slash and is not empty."""

    trust_domain: str
    path: str

    def __str__(self) -> str:
        return f"{_SCHEME}{self.trust_domain}{self.path}"


def check_trust_domain(text: str) -> str:
    """A trust domain name, unchanged.

    Raises:
        IdentityError: it breaks a rule of SPIFFE-ID section 2.1.
    """
    if len(text) > TRUST_DOMAIN_BYTES_MAX or not _TRUST_DOMAIN.fullmatch(text):
        message = (
            f"{text[:80]!a} is not a trust domain: lower-case letters, digits, dots, dashes and "
            "underscores"
        )
        raise IdentityError(message)
    return text


def parse_spiffe_id(text: str) -> SpiffeId:
    """Read the identity of a workload. Nothing is normalised: equality is byte by byte.

    Raises:
        IdentityError: it breaks a rule of SPIFFE-ID section 2, or has no path
            (then it names a trust domain, not a workload).
    """
    if len(text) > SPIFFE_ID_BYTES_MAX:
        message = f"a SPIFFE ID is at most {SPIFFE_ID_BYTES_MAX} bytes long"
        raise IdentityError(message)
    if not text.startswith(_SCHEME):
        message = f"{text[:80]!a} is not a SPIFFE ID: it does not start with `{_SCHEME}`"
        raise IdentityError(message)
    trust_domain, slash, rest = text.removeprefix(_SCHEME).partition("/")
    check_trust_domain(trust_domain)
    segments = rest.split("/")
    if not slash or not all(map(_is_segment, segments)):
        message = f"{text[:80]!a} is not the SPIFFE ID of a workload: its path is empty or wrong"
        raise IdentityError(message)
    return SpiffeId(trust_domain, f"/{rest}")


def _is_segment(segment: str) -> bool:
    return segment not in {".", ".."} and _SEGMENT.fullmatch(segment) is not None


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """The authorities that may speak for one trust domain.

    Attributes:
        trust_domain: the only one whose identities are believed.
        authorities: at least one.
        generation: changes with the set; part of every cache key.
    """

    trust_domain: str
    authorities: tuple[x509.Certificate, ...]
    generation: bytes


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
class Verified:
    """What bytes alone say about a peer. Valid within the window, both ends included.

    Attributes:
        spiffe_id: who it is.
        serial: of the leaf, hexadecimal.
        not_before_ns: since the epoch; the latest of the path.
        not_after_ns: the earliest of the path.
    """

    spiffe_id: SpiffeId
    serial: str
    not_before_ns: int
    not_after_ns: int
    # Written out once, and not on every call.
    text: str = field(init=False)
    name: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Write the identity out."""
        object.__setattr__(self, "text", str(self.spiffe_id))
        object.__setattr__(self, "name", self.text.encode())

    def is_within(self, now_ns: int) -> bool:
        """Whether every certificate of the path is valid at this moment."""
        return self.not_before_ns <= now_ns <= self.not_after_ns


class SvidVerifier:
    """Checks peers against one trust bundle.

    Not for concurrent use by threads: the server calls it on its event loop.

    Args:
        bundle: whom to believe.
        entries_max: verified certificates kept, with their bytes, a few KiB each;
            the least recently used goes first.
    """

    def __init__(self, bundle: TrustBundle, entries_max: int = 1_024) -> None:
        self._bundle = bundle
        self._store = Store(list(bundle.authorities))
        self._cache: LRUCache[tuple[bytes, bytes, bytes], Verified] = LRUCache(maxsize=entries_max)

    def use(self, bundle: TrustBundle) -> None:
        """Believe another bundle from the next call on; nothing verified before counts."""
        self._store = Store(list(bundle.authorities))
        self._bundle = bundle

    def caller(self, context: AuthContext, peer: str, now_ns: int) -> Caller:
        """The calling workload.

        Args:
            context: `auth_context()` of the call.
            peer: network address, for the record; it proves nothing.
            now_ns: the clock, nanoseconds since the epoch.

        Raises:
            IdentityError: any of the rules above is broken.
        """
        claimed = _only(context, "peer_spiffe_id")
        leaf_pem = _only(context, "x509_pem_cert")
        # grpcio leaves it out when the peer sent no intermediates; some builds
        # of OpenSSL and BoringSSL count the leaf in, `_path` copes with both.
        chain_pem = b"".join(context.get("x509_pem_cert_chain") or ())
        # The bytes themselves: Python hashes them quicker than SHA-256 does, with a key of its own.
        key = (leaf_pem, chain_pem, self._bundle.generation)
        verified = self._cache.get(key)
        if verified is None or not verified.is_within(now_ns):
            # Another path may have taken the place of one that expired.
            verified = self._verify(leaf_pem, chain_pem, now_ns)
            self._cache[key] = verified
        if claimed != verified.name:
            message = "the identity of the connection is not that of its certificate"
            raise IdentityError(message)
        return Caller(verified.text, verified.serial, peer)

    def identify(self, leaf_pem: bytes, chain_pem: bytes, now_ns: int) -> Verified:
        """Whose a certificate is that came without a connection: rules 2 to 8.

        Raises:
            IdentityError: any of them is broken.
        """
        return self._verify(leaf_pem, chain_pem, now_ns)

    def _verify(self, leaf_pem: bytes, chain_pem: bytes, now_ns: int) -> Verified:
        """Rules 2 to 8."""
        leaf, intermediates = _path(leaf_pem, chain_pem)
        # The identity comes before the path: which authorities may speak depends
        # on the trust domain that the leaf names (Workload API section 4.6).
        spiffe_id = parse_spiffe_id(_only_uri(leaf))
        if spiffe_id.trust_domain != self._bundle.trust_domain:
            message = (
                f"`{spiffe_id.trust_domain}` is a foreign trust domain: this server knows "
                f"`{self._bundle.trust_domain}`"
            )
            raise IdentityError(message)
        now = _EPOCH + timedelta(microseconds=now_ns // 1_000)
        verifier = PolicyBuilder().store(self._store).time(now).build_client_verifier()
        try:
            path = verifier.verify(leaf, intermediates).chain
        except VerificationError as error:
            message = f"the certificate does not lead to an authority: {_one_line(error)}"
            raise IdentityError(message) from None
        _check_usages(leaf)
        verified = Verified(
            spiffe_id,
            f"{leaf.serial_number:x}",
            max(_ns(certificate.not_valid_before_utc) for certificate in path),
            min(_ns(certificate.not_valid_after_utc) for certificate in path),
        )
        if not verified.is_within(now_ns):
            message = "the certificate, or one that signed it, has expired or is not valid yet"
            raise IdentityError(message)
        return verified


def _only(context: AuthContext, key: str) -> bytes:
    values = tuple(context.get(key) or ())
    if len(values) != 1:
        message = (
            f"the certificate does not name exactly one workload: the connection has "
            f"{len(values)} values for `{key}`"
        )
        raise IdentityError(message)
    return values[0]


def _path(leaf_pem: bytes, chain_pem: bytes) -> tuple[x509.Certificate, list[x509.Certificate]]:
    if len(leaf_pem) + len(chain_pem) > CERTIFICATES_BYTES_MAX:
        message = f"the certificates are longer than {CERTIFICATES_BYTES_MAX} bytes together"
        raise IdentityError(message)
    try:
        leaf = x509.load_pem_x509_certificate(leaf_pem)
        chain = x509.load_pem_x509_certificates(chain_pem) if chain_pem else []
    except Exception as error:  # noqa: BLE001 hostile bytes; the library has many ways to say no
        message = f"a certificate cannot be read: {_one_line(error)}"
        raise IdentityError(message) from None
    intermediates = [certificate for certificate in chain if certificate != leaf]
    if len(intermediates) > INTERMEDIATES_MAX:
        message = f"there are more than {INTERMEDIATES_MAX} intermediate certificates"
        raise IdentityError(message)
    return leaf, intermediates


def _extension(leaf: x509.Certificate, kind: type[_Kind]) -> x509.Extension[_Kind] | None:
    try:
        return leaf.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None
    except Exception as error:  # noqa: BLE001 hostile bytes: extensions are read lazily
        message = f"the extensions of the certificate cannot be read: {_one_line(error)}"
        raise IdentityError(message) from None


def _only_uri(leaf: x509.Certificate) -> str:
    """Rule 2. Names of other kinds are allowed and mean nothing here."""
    names = _extension(leaf, x509.SubjectAlternativeName)
    uris: list[str] = (
        [] if names is None else names.value.get_values_for_type(x509.UniformResourceIdentifier)
    )
    if len(uris) != 1:
        message = f"the certificate has {len(uris)} URI names where exactly one is needed"
        raise IdentityError(message)
    return uris[0]


def _check_usages(leaf: x509.Certificate) -> None:
    """Rules 5 to 7."""
    constraints = _extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.value.ca:
        message = "the certificate is an authority's (cA is true), not a workload's"
        raise IdentityError(message)
    usage = _extension(leaf, x509.KeyUsage)
    if usage is None or not usage.critical or not usage.value.digital_signature:
        message = "the key usage of the certificate is not critical with digitalSignature"
        raise IdentityError(message)
    if usage.value.key_cert_sign or usage.value.crl_sign:
        message = "the certificate may sign certificates or revocation lists: no workload's may"
        raise IdentityError(message)
    extended = _extension(leaf, x509.ExtendedKeyUsage)
    if extended is not None and not _BOTH_USAGES.issubset(extended.value):
        message = "the extended key usage lacks clientAuth or serverAuth"
        raise IdentityError(message)


def _ns(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND * 1_000


def _one_line(error: Exception) -> str:
    # The library's words may quote the certificate: no control characters.
    return ascii(" ".join(str(error).split())[:200])[1:-1]
