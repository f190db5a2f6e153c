"""JSON Web Keys that verify: each with the one algorithm that it is for.

A key that cannot be used is left out, and said; a set that must not be there
at all, because it holds a secret, is refused whole. Rules: references
security.md section 6; RFC 7517, 7518 and 8037; RFC 8725 sections 3.1 and 3.2.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from pdp.bundle.strict_json import StrictJsonError, parse_object
from pdp.errors import KeySetError

KEYS_MAX: Final = 64
_SET_BYTES_MAX: Final = 262_144
_KID_CHARACTERS_MAX: Final = 256
_SHOWN_CHARACTERS: Final = 64

RSA_BITS_MIN: Final = 2_048  # NIST SP 800-131A
RSA_BITS_MAX: Final = 8_192  # longer ones cost an attacker nothing, and us milliseconds each
_RSA_EXPONENT: Final = 65_537
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final = {
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    # RFC 8037 calls it EdDSA, RFC 9864 Ed25519. Which of them, the key says; without: EdDSA.
    ("OKP", "Ed25519"): ("EdDSA", "Ed25519"),
}
_MEMBERS: Final = {"RSA": ("n", "e"), "EC": ("x", "y"), "OKP": ("x",)}
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
# CVE-2017-15361 (ROCA): moduli of a faulty generator are powers of 65537 modulo small primes.
_ROCA_PRIMES: Final = tuple(p for p in range(3, 168) if all(p % q for q in range(2, p)))

JoseKey = RSAKey | ECKey | OKPKey


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key and its algorithm. There is no second one.

    Attributes:
        algorithm: what it verifies; the `alg` of a token only has to be the same.
        key: for joserfc.
        identity: algorithm and key material, to tell whether a key is the same.
    """

    algorithm: str
    key: JoseKey
    identity: tuple[str, ...]


class _UnusableError(Exception):
    """This key is left out; the message completes "key `...` ..."."""


def parse_key_set(
    data: bytes, algorithms: tuple[str, ...], use: str = "sig"
) -> tuple[Mapping[str, VerificationKey], tuple[str, ...]]:
    """Judge a JWKS document.

    Args:
        data: as read.
        algorithms: what is allowed.
        use: of its keys that count, where they say one; `jwt-svid` in a SPIFFE trust bundle.

    Returns:
        Usable keys by `kid`, at least one; and what was left out and why.

    Raises:
        KeySetError: it is no key set, holds a secret or the same `kid` twice, or no key is usable.
    """
    try:
        document = parse_object(data, _SET_BYTES_MAX, fractions=True)
    except StrictJsonError as error:
        raise KeySetError(f"the key set {error}") from None
    listed = document.get("keys")
    if type(listed) is not list or not all(type(item) is dict for item in listed):
        raise KeySetError("the key set has no list `keys` of objects")
    if len(listed) > KEYS_MAX:
        raise KeySetError(f"the key set has {len(listed)} keys, more than {KEYS_MAX}")
    # INVARIANT: judged for all keys before any is used. A shared secret beside public keys is how
    # a public key comes to be taken for a secret; a private key that is published is everybody's.
    if any(item.get("kty") == "oct" or not _PRIVATE.isdisjoint(item) for item in listed):
        raise KeySetError("the key set holds a secret: only public keys belong there")
    kids = [item["kid"] for item in listed if type(item.get("kid")) is str]
    if len(set(kids)) != len(kids):
        raise KeySetError("the key set has the same `kid` twice")
    found: dict[str, VerificationKey] = {}
    skipped: list[str] = []
    for item in listed:
        try:
            kid = _kid(item)
            found[kid] = _key(item, algorithms, use)
        except _UnusableError as error:
            skipped.append(f"key {str(item.get('kid'))[:_SHOWN_CHARACTERS]!a} {error}")
    if not found:
        why = f": {skipped[0]}" if skipped else ""
        raise KeySetError(f"the key set has no key that can be used{why}")
    return found, tuple(skipped)


def _kid(item: dict[str, Any]) -> str:
    kid = item.get("kid")
    if type(kid) is not str or not 0 < len(kid) <= _KID_CHARACTERS_MAX:
        raise _UnusableError("has no `kid`, or too long a one")
    return kid


def _key(item: dict[str, Any], algorithms: tuple[str, ...], use: str) -> VerificationKey:
    """One key.

    Raises:
        _UnusableError: why it is left out.
    """
    if item.get("use", use) != use:
        raise _UnusableError("is not for signatures")
    operations = item.get("key_ops", ["verify"])
    if type(operations) is not list or "verify" not in operations:
        raise _UnusableError("is not for verifying")
    kind = item.get("kty")
    algorithm = _algorithm(item, algorithms)
    material: dict[str, str | list[str]] = {"kty": str(kind)}
    if kind != "RSA":
        material["crv"] = item["crv"]
    identity = [algorithm]
    for name in _MEMBERS[str(kind)]:
        material[name] = _canonical(item.get(name), name)
        identity.append(f"{name}={material[name]}")
    key: JoseKey
    try:
        if kind == "RSA":
            _check_rsa(_integer(item["n"]), _integer(item["e"]))
            key = RSAKey.import_key(material)
        elif kind == "EC":
            key = ECKey.import_key(material)
            # Made now: a point that is not on the curve is an error here.
            key.get_op_key("verify")
        else:
            key = OKPKey.import_key(material)
            key.get_op_key("verify")
    except (JoseError, ValueError, TypeError):
        raise _UnusableError("is not a valid public key") from None
    return VerificationKey(algorithm, key, tuple(identity))


def _algorithm(item: dict[str, Any], algorithms: tuple[str, ...]) -> str:
    """The one algorithm of a key: what it says, or the only one that there is for it."""
    kind = item.get("kty")
    if kind == "RSA":
        possible: tuple[str, ...] = _RSA
    else:
        curve = item.get("crv")
        pair = (kind, curve) if type(kind) is str and type(curve) is str else ("", "")
        possible = _CURVES.get(pair, ())
    if not possible:
        raise _UnusableError("is of a kind or on a curve that is not supported")
    allowed = [name for name in possible if name in algorithms]
    if "alg" in item:
        said = item["alg"]
        if said not in possible:
            raise _UnusableError("names an `alg` that is not one of its kind")
        if said not in allowed:
            raise _UnusableError("names an `alg` that is not among `algorithms`")
        return str(said)
    if len(allowed) > 1 and kind == "OKP":
        return "EdDSA"
    if len(allowed) != 1:
        raise _UnusableError("names no `alg`, and `algorithms` leave not exactly one for it")
    return allowed[0]


def _canonical(value: object, name: str) -> str:
    if type(value) is str and decode_canonical(value):
        return value
    raise _UnusableError(f"has a `{name}` that is not base64url")


def _integer(text: str) -> int:
    return int.from_bytes(decode_canonical(text) or b"", "big")


def _check_rsa(modulus: int, exponent: int) -> None:
    if not RSA_BITS_MIN <= modulus.bit_length() <= RSA_BITS_MAX:
        raise _UnusableError(f"is RSA of not {RSA_BITS_MIN} to {RSA_BITS_MAX} bits")
    # FIPS 186-5 allows others; issuers use this one, and small ones have a history.
    if exponent != _RSA_EXPONENT:
        raise _UnusableError(f"has an exponent that is not {_RSA_EXPONENT}")
    # An even modulus, or one with a small factor, is no product of two large primes.
    if math.gcd(modulus, math.prod((2, *_ROCA_PRIMES))) != 1:
        raise _UnusableError("has a modulus with a small factor")
    if all(_is_power(modulus % prime, prime) for prime in _ROCA_PRIMES):
        raise _UnusableError("is from a generator that is known to be broken (CVE-2017-15361)")


def _is_power(residue: int, prime: int) -> bool:
    """Whether it is a power of 65537 modulo a prime."""
    power = 1
    for _ in range(prime):
        if power == residue:
            return True
        power = power * _RSA_EXPONENT % prime
    return False


def decode_canonical(text: str) -> bytes | None:
    """The bytes of base64url without padding, in its only spelling; None: another text, or none.

    Several texts decode to the same bytes; with them, a thing would have several names.
    """
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    same = base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text
    return data if same and data else None
