"""The JWT authorities of a trust domain, from the agent of this machine (SPIFFE Workload API)."""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import ECKey, RSAKey
from spiffe import TrustDomain, WorkloadApiClient

from pdp.errors import KeySetError


def read_jwt_bundle(socket: str, trust_domain: str, timeout_s: float) -> bytes:
    """A key set as `pdp.identity.jwk` judges it. Blocks, for `timeout_s` at most.

    Args:
        socket: `unix:` and a path.
        trust_domain: whose.
        timeout_s: for the whole answer.

    Raises:
        KeySetError: the agent is not there, or does not have it.
    """
    try:
        with WorkloadApiClient(socket) as client:
            found = client.fetch_jwt_bundles(timeout=timeout_s)
        bundle = found.get_bundle_for_trust_domain(TrustDomain(trust_domain))
        keys = [] if bundle is None else [_jwk(*each) for each in bundle.jwt_authorities.items()]
    except Exception as error:  # noqa: BLE001 hostile bytes; the library has many ways to say no
        words = ascii(" ".join(str(error).split())[:200])[1:-1]
        raise KeySetError(f"the Workload API at `{socket}`: {words}") from None
    if not keys:
        raise KeySetError(
            f"the Workload API at `{socket}` has no JWT authority of `{trust_domain}`"
        )
    return json.dumps({"keys": keys}).encode()


def _jwk(kid: str, key: object) -> dict[str, Any]:
    """A key that the library has parsed, as a JWK again; of another kind: one that is left out."""
    if not isinstance(key, EllipticCurvePublicKey | RSAPublicKey):
        return {"kid": kid, "kty": type(key).__name__}
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    kind = ECKey if isinstance(key, EllipticCurvePublicKey) else RSAKey
    return {**kind.import_key(pem).as_dict(private=False), "kid": kid}
