"""A client's certificate, key and trust bundle from the agent of its machine, in place of files.

Needs the extra `portcullis[spiffe]`: whoever has files needs nothing of it.
"""

from __future__ import annotations

import os
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from spiffe import TrustDomain
from spiffe.workloadapi.x509_context import X509Context

from pdp.errors import ConfigurationError
from pdp.workload_api import Stream, Update, x509_contexts
from pdp_client._pem_files import Material

# How long a client waits for its first identity when it is made.
START_S: Final = 10.0


class AgentMaterial:
    """What the agent said last, as far as it can be used; as `PemFiles`.

    Args:
        socket: `unix:` and an absolute path.
        trust_domain: whose authorities the PDP's certificate may come from; empty: our own's.

    Raises:
        ConfigurationError: the agent gave no identity within `START_S`.
    """

    def __init__(self, socket: str, trust_domain: str) -> None:
        if not socket.removeprefix("unix:").startswith("/") or not socket.startswith("unix:"):
            raise ConfigurationError(
                "`workload_api` is not `unix:` and an absolute path: it is the agent's socket"
            )
        self._socket, self._trust_domain = socket, trust_domain
        self._digest, self._number = b"", 0
        self._process_id = os.getpid()
        self._stream = Stream(socket, x509_contexts)
        self._stream.start()

    def first(self) -> Material:
        """The first identity. Blocks, for `START_S` at most."""
        update = self._stream.newer_than(0, START_S)
        try:
            return self._take(update)
        except ConfigurationError:
            self.close()
            raise

    def changed(self) -> Material | None:
        """What is new since the last call. Does no I/O.

        Raises:
            ConfigurationError: the agent's last word cannot be used; the one before goes on.
        """
        update = self._stream.latest
        if update is None or update.number == self._number:
            return None
        digest = self._digest
        material = self._take(update)
        return None if self._digest == digest else material

    def close(self) -> None:
        """Leave the agent."""
        # In a process that was forked, the thread that would end is the parent's.
        if os.getpid() == self._process_id:
            self._stream.close()

    def _take(self, update: Update[X509Context] | None) -> Material:
        if update is None:
            why = self._stream.problem or "it sent nothing"
            raise ConfigurationError(
                f"the Workload API at `{self._socket}` gave no identity within {START_S:g} s: {why}"
            )
        self._number = update.number
        material = _material(update.message, self._trust_domain)
        self._digest = material.digest()
        return material


def _material(context: X509Context, trust_domain: str) -> Material:
    """What a channel is made from, judged as files are.

    Raises:
        ConfigurationError: it cannot be used.
    """
    svid = context.default_svid
    domain = TrustDomain(trust_domain) if trust_domain else svid.spiffe_id.trust_domain
    bundle = context.x509_bundle_set.get_bundle_for_trust_domain(domain)
    # INVARIANT: gRPC reads an empty trust bundle as "the authorities of the web".
    if bundle is None or not bundle.x509_authorities:
        raise ConfigurationError(f"the agent has no trust bundle of `{domain}`")
    key, certified = svid.private_key, svid.leaf.public_key()
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certified.public_bytes(*form):
        raise ConfigurationError("the agent's certificate and key are not a pair")
    return Material(
        b"".join(sorted(map(_pem, bundle.x509_authorities))),
        b"".join(map(_pem, svid.cert_chain)),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
