"""An agent with the SPIFFE Workload API, honest and otherwise: a gRPC server on a Unix socket.

It speaks the published protocol, to whoever sends the header that it asks for. What it
hands out can be changed while streams are open; they get it at once, whole, as the
specification has it.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from spiffe._proto import workload_pb2, workload_pb2_grpc

from pdp.authoring.throwaway import IssuedSvid, ThrowawayAuthority
from pdp.identity.trust import load_pem_certificates

_HEADER = ("workload.spiffe.io", "true")
_STREAMS_MAX = 32

Answer = Callable[["Agent", Any], Any]


@dataclasses.dataclass(frozen=True)
class Handed:
    """What the agent hands out. Bundles are authorities by trust domain, JWKS by trust domain.

    Attributes:
        svids: of this workload, the default first.
        bundles: of X.509 authorities; that of an SVID's own trust domain goes with the SVID.
        jwt_bundles: JWKS documents.
    """

    svids: Sequence[IssuedSvid] = ()
    bundles: Mapping[str, Sequence[ThrowawayAuthority]] = dataclasses.field(default_factory=dict)
    jwt_bundles: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


def honest(agent: Agent, _: Any) -> Any:
    """What it hands out, by the protocol."""
    handed = agent.handed
    domains = [trust_domain(svid) for svid in handed.svids]
    return workload_pb2.X509SVIDResponse(
        svids=[
            workload_pb2.X509SVID(
                spiffe_id=spiffe_id(svid),
                x509_svid=ders(svid.certificate_pem),
                x509_svid_key=load_pem_private_key(svid.key_pem, None).private_bytes(
                    Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
                ),
                bundle=b"".join(ders(each.bundle_pem) for each in handed.bundles.get(domain, ())),
            )
            for svid, domain in zip(handed.svids, domains, strict=True)
        ],
        federated_bundles={
            f"spiffe://{domain}": b"".join(ders(each.bundle_pem) for each in authorities)
            for domain, authorities in handed.bundles.items()
            if domain not in domains
        },
    )


def refuses(_: Agent, context: Any) -> Any:
    """There is no identity for this workload."""
    context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")


def empty(_: Agent, __: Any) -> Any:
    """A message with nothing in it."""
    return workload_pb2.X509SVIDResponse()


def garbage(agent: Agent, context: Any) -> Any:
    """Bytes where certificates should be."""
    found = honest(agent, context)
    for svid in found.svids:
        svid.x509_svid = b"\x30\x82\xff\xff" + b"\x00\x1b[2J" * 40
        svid.bundle = b"\x00" * 100
    return found


def huge(agent: Agent, context: Any) -> Any:
    """A message larger than gRPC takes."""
    found = honest(agent, context)
    found.crl.append(bytes(5 << 20))
    return found


def many(agent: Agent, context: Any) -> Any:
    """A trust bundle of a great many authorities, below gRPC's limit."""
    found = honest(agent, context)
    for svid in found.svids:
        svid.bundle = svid.bundle * 4_000
    return found


def silent(agent: Agent, context: Any) -> Any:
    """Takes the connection and says nothing, as a process that hangs."""
    context.add_callback(agent.wake)
    with agent.changed:
        agent.changed.wait_for(lambda: not context.is_active() or agent.gone)
    context.abort(grpc.StatusCode.UNAVAILABLE, "")


class Agent(workload_pb2_grpc.SpiffeWorkloadAPIServicer):
    """One agent, which may die and come back.

    Args:
        path: of its socket.
        handed: what it hands out first.
    """

    def __init__(self, path: Path, handed: Handed | None = None) -> None:
        self.path = path
        self.changed = threading.Condition()
        self.handed = handed or Handed()
        self.answer: Answer = honest
        self.asked = 0
        self.gone = True
        self._number = 0
        self._server: grpc.Server | None = None

    @property
    def socket(self) -> str:
        """As settings name it."""
        return f"unix:{self.path}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.die()

    def start(self) -> None:
        """Take the socket and serve."""
        self.gone = False
        self._server = grpc.server(ThreadPoolExecutor(_STREAMS_MAX))
        workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self._server.add_insecure_port(self.socket)
        self._server.start()

    def die(self) -> None:
        """End at once: streams break, and nobody is behind the socket."""
        if self._server is None:
            return
        self.gone = True
        self.wake()
        self._server.stop(0).wait(10)
        self._server = None
        self.path.unlink(missing_ok=True)

    def wake(self) -> None:
        """Have streams look."""
        with self.changed:
            self.changed.notify_all()

    def hand(self, answer: Answer | None = None, **changes: Any) -> None:
        """Hand out something else from now on, also to who is connected."""
        with self.changed:
            self.handed = dataclasses.replace(self.handed, **changes)
            self.answer = answer or self.answer
            self._number += 1
            self.changed.notify_all()

    def FetchX509SVID(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802 the protocol's
        """Our identities, now and with each change."""
        yield from self._stream(context, lambda: self.answer(self, context))

    def FetchJWTBundles(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802 the protocol's
        """Keys of JWT-SVIDs, now and with each change."""

        def found() -> Any:
            if self.answer is not honest:
                return self.answer(self, context)
            return workload_pb2.JWTBundlesResponse(
                bundles={f"spiffe://{td}": jwks for td, jwks in self.handed.jwt_bundles.items()}
            )

        yield from self._stream(context, found)

    def _is_open(self, context: Any) -> bool:
        return not self.gone and context.is_active()

    def _stream(self, context: Any, found: Callable[[], Any]) -> Iterator[Any]:
        if _HEADER not in context.invocation_metadata():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        self.asked += 1
        context.add_callback(self.wake)
        while self._is_open(context):
            number = self._number
            yield found()
            with self.changed:
                while self._number == number and self._is_open(context):
                    self.changed.wait()


def ders(pem: bytes) -> bytes:
    """Certificates one after the other, as the protocol has them."""
    return b"".join(each.public_bytes(Encoding.DER) for each in load_pem_certificates(pem))


def spiffe_id(svid: IssuedSvid) -> str:
    """Whose it is."""
    names = svid.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found: str = names.get_values_for_type(x509.UniformResourceIdentifier)[0]
    return found


def trust_domain(svid: IssuedSvid) -> str:
    """Whose authorities vouch for it."""
    return spiffe_id(svid).removeprefix("spiffe://").partition("/")[0]
