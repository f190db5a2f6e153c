"""Who is asking: the rules of an X.509-SVID, checked on every call.

The TLS handshake proves that the peer holds the key of a certificate that
chains to one of our authorities. That is not enough (references: SPIFFE
X.509-SVID sections 2 to 5; SPIFFE-ID section 2): the handshake also accepts a
leaf that may sign certificates, an identity of another trust domain, and two
identities in one leaf. Numbered as they are checked:

    1  the connection has exactly one `peer_spiffe_id`
    2  the leaf has exactly one URI name, and it is the SPIFFE ID of a workload
    3  its trust domain is one that we have authorities of
    4  the path from leaf to one of those authorities is valid (RFC 5280, client), and
       no certificate on it says that it is another trust domain's
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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from cachetools import LRUCache
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from pdp.errors import IdentityError, OwnIdentityError
from pdp.identity.spiffe_id import SpiffeId, parse_spiffe_id
from pdp.identity.trust import Trust
from pdp.model import Caller

# A path of more certificates than this is nobody's deployment; OpenSSL's own
# default depth is 100, WebPKI paths have two or three.
INTERMEDIATES_MAX: Final = 8
CERTIFICATES_BYTES_MAX: Final = 65_536  # all PEM of one peer

_BOTH_USAGES: Final = frozenset({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_Kind = TypeVar("_Kind", bound=x509.ExtensionType)

# What grpc.aio's `ServicerContext.auth_context()` returns.
AuthContext = Mapping[str, Iterable[bytes]]


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
    """Checks peers against the authorities of their own trust domains.

    Not for concurrent use by threads: the server calls it on its event loop.

    Args:
        trust: whom to believe.
        ours_end_ns: the last moment of our own certificate; None: there is none to look at.
        entries_max: verified certificates kept, with their bytes, a few KiB each;
            the least recently used goes first.
    """

    def __init__(
        self, trust: Trust, ours_end_ns: int | None = None, entries_max: int = 1_024
    ) -> None:
        self._cache: LRUCache[tuple[bytes, bytes, bytes], Verified] = LRUCache(maxsize=entries_max)
        self._believe(trust, ours_end_ns)

    def use(self, trust: Trust, ours_end_ns: int | None = None) -> None:
        """Believe these authorities from the next call on; nothing verified before counts."""
        self._believe(trust, ours_end_ns)

    def _believe(self, trust: Trust, ours_end_ns: int | None) -> None:
        self._stores = {
            bundle.trust_domain: Store(list(bundle.authorities)) for bundle in trust.bundles
        }
        self._trust = trust
        self._ours_end_ns = ours_end_ns

    def caller(self, context: AuthContext, peer: str, now_ns: int) -> Caller:
        """The calling workload.

        Args:
            context: `auth_context()` of the call.
            peer: network address, for the record; it proves nothing.
            now_ns: the clock, nanoseconds since the epoch.

        Raises:
            OwnIdentityError: our own certificate has expired. Whoever renews it would also
                tell us which authorities to believe, so what we believe is as old.
            IdentityError: any of the rules above is broken.
        """
        claimed = _only(context, "peer_spiffe_id")
        leaf_pem = _only(context, "x509_pem_cert")
        # grpcio leaves it out when the peer sent no intermediates; some builds
        # of OpenSSL and BoringSSL count the leaf in, `_path` copes with both.
        chain_pem = b"".join(context.get("x509_pem_cert_chain") or ())
        # The bytes themselves: Python hashes them quicker than SHA-256 does, with a key of its own.
        key = (leaf_pem, chain_pem, self._trust.generation)
        verified = self._cache.get(key)
        if verified is None or not verified.is_within(now_ns):
            # Another path may have taken the place of one that expired.
            verified = self._verify(leaf_pem, chain_pem, now_ns)
            self._cache[key] = verified
        if claimed != verified.name:
            message = "the identity of the connection is not that of its certificate"
            raise IdentityError(message)
        if self._ours_end_ns is not None and now_ns > self._ours_end_ns:
            raise OwnIdentityError("the certificate of this server has expired")
        return Caller(verified.text, verified.serial, peer, verified.not_after_ns)

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
        # INVARIANT: a leaf is judged by the authorities of the trust domain that it names, and by
        # no others, whatever let the handshake happen.
        store = self._stores.get(spiffe_id.trust_domain)
        if store is None:
            known = ", ".join(f"`{name}`" for name in self._stores)
            message = (
                f"`{spiffe_id.trust_domain}` is a foreign trust domain: this server knows {known}"
            )
            raise IdentityError(message)
        now = _EPOCH + timedelta(microseconds=now_ns // 1_000)
        verifier = PolicyBuilder().store(store).time(now).build_client_verifier()
        try:
            path = verifier.verify(leaf, intermediates).chain
        except VerificationError as error:
            message = f"the certificate does not lead to an authority: {_one_line(error)}"
            raise IdentityError(message) from None
        _check_usages(leaf)
        for certificate in path[1:]:
            _check_authority(certificate, spiffe_id.trust_domain)
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


def _check_authority(certificate: x509.Certificate, trust_domain: str) -> None:
    """Rule 4, its end: an authority that names a trust domain signs for that one (section 3.2)."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    if names is None:
        return
    for uri in names.value.get_values_for_type(x509.UniformResourceIdentifier):
        if uri.lower().startswith("spiffe:") and uri != f"spiffe://{trust_domain}":
            message = f"an authority on the path is not one of `{trust_domain}`: it is another's"
            raise IdentityError(message)


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
