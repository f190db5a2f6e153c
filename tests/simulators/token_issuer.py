"""An issuer of subject tokens, honest and otherwise: keys, tokens, and a real HTTPS endpoint."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from pdp.authoring.throwaway import ThrowawayAuthority
from pdp.identity.issuers import IssuerSettings
from pdp.identity.keys import Clock, IssuerKeys
from pdp.identity.token import TokenVerifier
from pdp.values import NANOS
from tests.simulators.decision_points import NOW_NS, HandClock
from tests.simulators.repository import HttpServer

ISSUER = "https://login.example.org"
AUDIENCE = "pdp.example.org"
NOW_S = NOW_NS // NANOS
KEY_SET = "keys/jwks.json"

Sign = Callable[[bytes], bytes]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, length: int | None = None) -> str:
    """A number as JWKs write it."""
    return b64(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    """A P-256 key; the same for the same name."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def rsa_key(bits: int = 2_048, exponent: int = 65_537) -> rsa.RSAPrivateKey:
    """An RSA key."""
    return rsa.generate_private_key(exponent, bits)


def jwk(key: PrivateKey, kid: str, **more: object) -> dict[str, Any]:
    """The public key as a JWK."""
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        found = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        point, size = key.public_key().public_numbers(), (key.curve.key_size + 7) // 8
        curve = {256: "P-256", 384: "P-384", 521: "P-521"}[key.curve.key_size]
        found = {"kty": "EC", "crv": curve, "x": number(point.x, size), "y": number(point.y, size)}
    else:
        found = {"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().public_bytes_raw())}
    return {**found, "kid": kid, "use": "sig", **more}


def signer(key: PrivateKey, algorithm: str) -> Sign:
    """What signs with this key."""
    digest: hashes.HashAlgorithm = {
        "256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512(),
    }.get(algorithm[-3:], hashes.SHA256())  # fmt: skip

    def sign(data: bytes) -> bytes:
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key.sign(data)
        if isinstance(key, rsa.RSAPrivateKey):
            if algorithm.startswith("PS"):
                pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
                return key.sign(data, pss, digest)
            return key.sign(data, padding.PKCS1v15(), digest)
        size = (key.curve.key_size + 7) // 8
        parts = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        return b"".join(part.to_bytes(size, "big") for part in parts)

    return sign


def compact(header: object, claims: object, sign: Sign) -> str:
    """A token of any header and claims; text and bytes go in as they are."""
    parts = [
        b64(part if isinstance(part, bytes) else json.dumps(part).encode())
        for part in (header, claims)
    ]
    return ".".join([*parts, b64(sign(".".join(parts).encode()))])


@dataclass
class TokenIssuer:
    """An honest issuer with one key; each attack changes one thing.

    Attributes:
        key: signs.
        kid: names it.
        algorithm: of the key.
    """

    key: PrivateKey = field(default_factory=lambda: ec_key("one"))
    kid: str = "one"
    algorithm: str = "ES256"

    def claims(self, **changes: object) -> dict[str, Any]:
        """Claims about alice, valid for five minutes; None takes one out."""
        found = {
            "iss": ISSUER, "sub": "alice", "aud": AUDIENCE, "jti": "t-1",
            "iat": NOW_S - 10, "exp": NOW_S + 300, "department": "finance",
        } | changes  # fmt: skip
        return {name: value for name, value in found.items() if value is not None}

    def header(self, **changes: object) -> dict[str, Any]:
        """The header; None takes a member out."""
        found = {"alg": self.algorithm, "kid": self.kid, "typ": "at+jwt"} | changes
        return {name: value for name, value in found.items() if value is not None}

    def token(self, header: Mapping[str, object] | None = None, /, **claims: object) -> str:
        """A signed token."""
        return compact(
            self.header(**header or {}), self.claims(**claims), signer(self.key, self.algorithm)
        )

    def jwk(self, **more: object) -> dict[str, Any]:
        """The public key; None takes a member out."""
        found = jwk(self.key, self.kid) | {"alg": self.algorithm} | more
        return {name: value for name, value in found.items() if value is not None}


def key_set(*keys: Mapping[str, object]) -> bytes:
    """A JWKS document."""
    return json.dumps({"keys": list(keys)}).encode()


def issuer_settings(keys: Path | str, **changes: object) -> IssuerSettings:
    """Settings that the honest issuer fits."""
    given = {"issuer": ISSUER, "audience": AUDIENCE, "subject_type": "user", "keys": str(keys)}
    return IssuerSettings(**given | changes)  # type: ignore[arg-type]


def file_keys(
    folder: Path, *keys: Mapping[str, object], clock: Clock | None = None, **changes: Any
) -> IssuerKeys:
    """The keys of an issuer with a file, read."""
    path = folder / "jwks.json"
    path.write_bytes(key_set(*(keys or (TokenIssuer().jwk(),))))
    found = IssuerKeys(issuer_settings(path, **changes), clock or HandClock())
    found.refresh()
    return found


def verifier(folder: Path, *keys: Mapping[str, object], **changes: Any) -> TokenVerifier:
    """Verifies tokens of these keys; without any, of the honest issuer's."""
    return TokenVerifier([file_keys(folder, *keys, **changes)])


@contextmanager
def https_endpoint(folder: Path) -> Iterator[tuple[HttpServer, dict[str, Any]]]:
    """A key set behind real TLS: the server, and the settings that reach it."""
    authority = ThrowawayAuthority("example.org")
    certificate, key = authority.issue("login", dns_names=["localhost"]).write(folder, "login")
    trusted = folder / "login-ca.pem"
    trusted.write_bytes(authority.bundle_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = HttpServer({KEY_SET: key_set(TokenIssuer().jwk())})
    server.wrap(lambda plain: context.wrap_socket(plain, server_side=True))
    server.start()
    port = server.url.rpartition(":")[2]
    try:
        yield server, {"keys": f"https://localhost:{port}/{KEY_SET}", "ca_bundle": trusted}
    finally:
        server.stop()
