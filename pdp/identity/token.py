"""Subject tokens: JWT access tokens and JWT-SVIDs, verified strictly, waiting for nothing.

joserfc computes the signature; what may get to it, and what it means, is
decided here. Steps, in this order:

    1  one compact form: three parts, canonical base64url, size       MALFORMED
    2  the header: JSON with one meaning, `alg`, `kid` and `typ` only  HEADER, TYPE
    3  the issuer, as the token claims it, chooses the key set; that of
       a JWT-SVID is the trust domain of its subject                   ISSUER
    4  its keys are current, and `kid` is one of them                  KEYS, KEY
    5  `alg` is that of the key, which has one                         ALGORITHM
    6  the signature                                                   SIGNATURE
    7  audience, times, subject                                        AUDIENCE, EXPIRED, ...
    8  all claims pass the trust boundary of input                     CLAIMS

`jku`, `x5u`, `jwk`, `x5c`, `crit`, `b64` and `zip` are refused in step 2, as is
whatever else a header could hold. Source: references security.md section 6,
RFC 8725, RFC 9068. Nothing is kept between two tokens.

INVARIANT: no error, log line or counter has a word of a token in it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel

from pdp.boundary import InputLimits, admit_claims
from pdp.bundle.strict_json import StrictJsonError, parse_object
from pdp.errors import IdentityError, InvalidRequestError
from pdp.identity.issuers import ALGORITHMS, IssuerSettings
from pdp.identity.jwk import VerificationKey, decode_canonical
from pdp.identity.keys import IssuerKeys
from pdp.identity.spiffe_id import parse_spiffe_id
from pdp.subject_token import SubjectToken
from pdp.values import NANOS, Value

TOKEN_BYTES_MAX: Final = 16_384
# How far an issuer's clock may be ahead of ours (RFC 7519 section 4.1.5). `exp` has no such grace.
SKEW_SECONDS: Final = 60
_HEADER: Final = frozenset({"alg", "kid", "typ"})
_TYP: Final = "typ"
# JWT-SVID section 2.3.
_SVID_TYPES: Final = frozenset({"", "JWT", "JOSE"})
_PARTS: Final = 3
_AUDIENCES_MAX: Final = 64
_SECONDS_MAX: Final = 253_402_300_799  # the end of the year 9999


class _OneAlgorithm(jws.JWSRegistry):
    """joserfc's registry with one algorithm, and without its warning about the name `EdDSA`.

    RFC 9864 prefers `Ed25519`; the signature is the same, and issuers say `EdDSA`.
    """

    def __init__(self, name: str) -> None:
        super().__init__(algorithms=[name])
        self._name = name

    def get_alg(self, name: str) -> JWSAlgModel:
        """The one algorithm."""
        if name != self._name:
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


_REGISTRIES: Final = {name: _OneAlgorithm(name) for name in ALGORITHMS}


class TokenFault(enum.Enum):
    """Why a token proves nothing. A closed set: these are counted."""

    MALFORMED = "malformed"
    HEADER = "header"
    TYPE = "type"
    ISSUER = "issuer"
    KEYS = "keys"
    KEY = "key"
    ALGORITHM = "algorithm"
    SIGNATURE = "signature"
    AUDIENCE = "audience"
    EXPIRED = "expired"
    EARLY = "early"
    LIFETIME = "lifetime"
    SUBJECT = "subject"
    CLAIMS = "claims"


class TokenRefusedError(IdentityError):
    """A token proves nothing.

    Attributes:
        fault: why; all that is said about it.
    """

    def __init__(self, fault: TokenFault) -> None:
        self.fault = fault
        super().__init__(f"the subject token is refused: {fault.value}")


class TokenVerifier:
    """Verifies tokens of the configured issuers against their current keys.

    Args:
        issuers: whose tokens; each issuer once.
        limits: what claims may be at most.

    Attributes:
        issuers: by the `iss` of their tokens.
    """

    def __init__(self, issuers: Iterable[IssuerKeys], limits: InputLimits | None = None) -> None:
        self.issuers = {keys.settings.issuer: keys for keys in issuers}
        self._limits = limits or InputLimits()

    def verify(self, text: str, now_ns: int) -> SubjectToken:
        """What a token proves now. Does no I/O.

        Args:
            text: as it came; trusted in nothing.
            now_ns: nanoseconds since the epoch.

        Raises:
            TokenRefusedError: it proves nothing.
        """
        header, claims = _parts(text)
        keys = self._issuer_of(claims)
        if keys is None:
            raise TokenRefusedError(TokenFault.ISSUER)
        settings = keys.settings
        _check_type(header, settings)
        _check_signature(text, header, _key_of(keys, header["kid"]))
        _check_audience(claims.get("aud"), settings.audience)
        expires_s = _check_times(claims, settings, now_ns)
        return self._meaning(claims, settings, expires_s * NANOS)

    def _issuer_of(self, claims: dict[str, Any]) -> IssuerKeys | None:
        """Step 3. A configured `iss` comes first: a JWT-SVID may have one, and needs none.

        INVARIANT: whichever it is, only its own keys are looked at, and it proves only its own.
        """
        issuer, subject = claims.get("iss"), claims.get("sub")
        found = self.issuers.get(issuer) if type(issuer) is str else None
        if found is not None and not found.settings.trust_domain:
            return found
        if type(subject) is not str:
            return None
        try:
            spiffe_id = parse_spiffe_id(subject)
        except IdentityError:
            return None
        return self.issuers.get(f"spiffe://{spiffe_id.trust_domain}")

    def _meaning(
        self, claims: dict[str, Any], settings: IssuerSettings, expires_ns: int
    ) -> SubjectToken:
        """Steps 7, its end, and 8."""
        try:
            judged = admit_claims(claims, self._limits)
        except InvalidRequestError:
            raise TokenRefusedError(TokenFault.CLAIMS) from None
        return SubjectToken(
            issuer=settings.issuer,
            # JWT-SVIDs seldom have one; they are denied by their subject.
            jti=""
            if settings.trust_domain and "jti" not in judged
            else self._name(judged, ("jti",)),
            subject_type=settings.subject_type,
            subject_id=self._name(judged, settings.id_claim),
            expires_ns=expires_ns,
            claims=judged,
            roles=settings.roles_claim or None,
        )

    def _name(self, claims: Mapping[str, Value], path: tuple[str, ...]) -> str:
        """A claim that must be there and name something."""
        value: object = claims
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        if type(value) is not str or not 0 < len(value.encode()) <= self._limits.name_bytes_max:
            raise TokenRefusedError(TokenFault.SUBJECT)
        return value


def _parts(text: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Steps 1 and 2: header and claims, nothing of it verified."""
    if type(text) is not str or len(text) > TOKEN_BYTES_MAX or not text.isascii():
        raise TokenRefusedError(TokenFault.MALFORMED)
    parts = text.split(".", _PARTS)
    if len(parts) != _PARTS:
        raise TokenRefusedError(TokenFault.MALFORMED)
    header, payload, signature = map(decode_canonical, parts)
    if header is None or payload is None or signature is None:
        raise TokenRefusedError(TokenFault.MALFORMED)
    try:
        found = parse_object(header, TOKEN_BYTES_MAX)
    except StrictJsonError:
        raise TokenRefusedError(TokenFault.HEADER) from None
    if found.keys() | {_TYP} != _HEADER or not all(type(each) is str for each in found.values()):
        raise TokenRefusedError(TokenFault.HEADER)
    try:
        return found, parse_object(payload, TOKEN_BYTES_MAX, fractions=True)
    except StrictJsonError:
        raise TokenRefusedError(TokenFault.MALFORMED) from None


def _check_type(header: dict[str, str], settings: IssuerSettings) -> None:
    """Step 2, its end: what the token is for."""
    if settings.trust_domain:
        if header.get(_TYP, "") not in _SVID_TYPES:
            raise TokenRefusedError(TokenFault.TYPE)
        return
    if _TYP not in header:
        raise TokenRefusedError(TokenFault.HEADER)
    if _media_type(header[_TYP]) != _media_type(settings.typ):
        raise TokenRefusedError(TokenFault.TYPE)


def _media_type(typ: str) -> str:
    """RFC 7515 section 4.1.9: case does not count, and `application/` may be left out."""
    return typ.lower().removeprefix("application/")


def _key_of(keys: IssuerKeys, kid: str) -> VerificationKey:
    """Steps 3 to 4: a dictionary, so that a `kid` is never a path, a query or a URL."""
    current = keys.current()
    if current is None:
        raise TokenRefusedError(TokenFault.KEYS)
    key = current.get(kid)
    if key is None:
        keys.want()
        raise TokenRefusedError(TokenFault.KEY)
    return key


def _check_signature(text: str, header: dict[str, str], key: VerificationKey) -> None:
    """Steps 5 and 6."""
    # INVARIANT: the algorithm is the key's; what the token says is only compared with it.
    if header["alg"] != key.algorithm:
        raise TokenRefusedError(TokenFault.ALGORITHM)
    try:
        jws.deserialize_compact(text, key.key, registry=_REGISTRIES[key.algorithm])
    except (JoseError, ValueError, TypeError):
        raise TokenRefusedError(TokenFault.SIGNATURE) from None


def _check_audience(found: object, audience: str) -> None:
    """RFC 7519 section 4.1.3: a string or a list of strings; ours is among them, exactly."""
    listed = [found] if type(found) is str else found
    if (
        type(listed) is not list
        or len(listed) > _AUDIENCES_MAX
        or not all(type(item) is str for item in listed)
        or audience not in listed
    ):
        raise TokenRefusedError(TokenFault.AUDIENCE)


def _check_times(claims: dict[str, Any], settings: IssuerSettings, now_ns: int) -> int:
    """The end of the token, seconds since the epoch; `exp` and `iat` are required (RFC 9068).

    A JWT-SVID needs no `iat`: then it lives from now, which `lifetime_max_s` bounds all the same.
    """
    expires = _seconds(claims.get("exp"))
    if settings.trust_domain and "iat" not in claims:
        issued = min(now_ns // NANOS, max(0, expires - 1))
    else:
        issued = _seconds(claims.get("iat"))
    begins = _seconds(claims.get("nbf", issued))
    if now_ns >= expires * NANOS:
        raise TokenRefusedError(TokenFault.EXPIRED)
    if max(issued, begins) * NANOS > now_ns + SKEW_SECONDS * NANOS:
        raise TokenRefusedError(TokenFault.EARLY)
    lives_s = expires - issued
    left_ns = expires * NANOS - now_ns
    most_s = settings.lifetime_max_s
    if not 0 < lives_s <= most_s or left_ns > (most_s + SKEW_SECONDS) * NANOS or begins >= expires:
        raise TokenRefusedError(TokenFault.LIFETIME)
    return expires


def _seconds(value: object) -> int:
    """A NumericDate. Whole seconds: a fraction would have to be rounded to somebody's favour."""
    if type(value) is not int or not 0 <= value <= _SECONDS_MAX:
        raise TokenRefusedError(TokenFault.LIFETIME)
    return value
