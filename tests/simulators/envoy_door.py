"""The door for Envoy without a socket, with every part in the test's hands."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from cryptography import x509

from pdp.audit.entry import Capture
from pdp.authoring.throwaway import IssuedSvid, ThrowawayAuthority
from pdp.callers import CallerEntry
from pdp.cel.limits import EvaluationLimits
from pdp.config.settings import Limits
from pdp.decision_point import DecisionPoint
from pdp.fetching import AttributeSource
from pdp.http_mapping import HttpMapping
from pdp.identity.svid import SvidVerifier
from pdp.identity.token import TokenVerifier
from pdp.identity.trust import load_trust_bundle
from pdp.model import Effect, Obligation
from pdp.policy import PolicyDocument, PolicySet
from pdp.server.authorization import AuthorizationDoor
from pdp.server.envoy.door import EnvoyDoor
from pdp.snapshot import Denials, Snapshot
from pdp.telemetry import Telemetry
from pdp.v1 import audit_pb2
from pdp.v1 import ext_authz_pb2 as pb
from pdp.values import NANOS
from tests.simulators.certificates import PEP, TRUST_DOMAIN, forge
from tests.simulators.decision_points import (
    WATERMARK,
    HandClock,
    HeldSnapshot,
    MemoryRecorder,
    make_snapshot,
    rule,
)
from tests.simulators.envoy import check_request, mapping_of, told

AUTHORITY = ThrowawayAuthority(TRUST_DOMAIN)
ENVOY = forge(AUTHORITY)
HOUR_NS = 3_600 * NANOS
LABEL = Obligation("label", "upstream_header", {"name": "x-label", "value": "internal"})
# Who asks, for everything; subjects are asserted, workloads only where a test says so.
ENTRY = CallerEntry(id=PEP, resources=("document",), actions=("*",), asserts=("user",))


def policies() -> PolicySet:
    """Reading is permitted plainly, writing to managers, other things with an obligation."""
    document = PolicyDocument(
        name="documents",
        resource_type="document",
        owner="tests@example.org",
        static_roles=("manager",),
        variables=(),
        roles=(),
        rules=(
            rule("anyone-reads", Effect.PERMIT, ("read",)),
            rule("managers-write", Effect.PERMIT, ("write",), ("manager",)),
            rule("anyone-marks", Effect.PERMIT, ("mark",), None, (WATERMARK,)),
            rule("anyone-labels", Effect.PERMIT, ("label",), None, (LABEL,)),
            dataclasses.replace(
                rule("nobody-destroys", Effect.DENY, ("destroy",)), reason_user="Ask the archive."
            ),
        ),
    )
    return PolicySet([document], EvaluationLimits())


_POLICIES = policies()


def with_certificate(
    check: pb.EnvoyCheckRequest, svid: IssuedSvid, principal: str = ""
) -> pb.EnvoyCheckRequest:
    """As Envoy forwards the certificate of its own peer."""
    check.attributes.source.certificate = quote(svid.certificate_pem.decode(), safe="")
    check.attributes.source.principal = principal
    return check


def workload(authority: ThrowawayAuthority = AUTHORITY, name: str = "backup") -> IssuedSvid:
    """An SVID of another workload."""
    return forge(authority, (x509.UniformResourceIdentifier(f"spiffe://{TRUST_DOMAIN}/{name}"),))


@dataclasses.dataclass
class Call:
    """What gRPC would show the door. An error status is a failure of the test."""

    shown: bytes = ENVOY.certificate_pem
    remaining_s: float | None = 1.0

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """The handshake's properties."""
        return {"peer_spiffe_id": [PEP.encode()], "x509_pem_cert": [self.shown]}

    def peer(self) -> str:
        """The address."""
        return "ipv4:127.0.0.1:1"

    def time_remaining(self) -> float | None:
        """The deadline."""
        return self.remaining_s

    async def abort(self, code: Any, details: str, trailing_metadata: Any = ()) -> Any:
        """Envoy would take it for a failure of the service, and might let the request pass."""
        message = f"the call ended with {code}: {details} {trailing_metadata}"
        raise AssertionError(message)


class Bench:
    """A door and what is behind it."""

    def __init__(
        self,
        *,
        mapping: HttpMapping | None = None,
        callers: tuple[CallerEntry, ...] = (ENTRY,),
        denials: Denials | None = None,
        tokens: TokenVerifier | None = None,
        limits: Limits | None = None,
        capture: Capture = Capture.ATTRIBUTES,
        clock: HandClock | None = None,
        unmapped: bool = False,
        policies: PolicySet | None = None,
        attributes: AttributeSource | None = None,
    ) -> None:
        self.clock = clock or HandClock(wall=time.time_ns())
        made = make_snapshot(
            fresh_until_ns=self.clock.wall + HOUR_NS,
            clock_mark_ns=self.clock.wall - HOUR_NS,
            callers=callers,
            denials=denials,
            tenants={"default": policies or _POLICIES},
        )
        mappings = {} if unmapped else {"default": mapping or mapping_of()}
        self.snapshot: Snapshot = dataclasses.replace(made, mappings=mappings)
        self.snapshots = HeldSnapshot(self.snapshot)
        self.recorder = MemoryRecorder()
        self.telemetry = Telemetry(None, self.clock.wall_ns)
        limits = limits or Limits()
        self.point = DecisionPoint(
            self.snapshots,
            self.recorder,
            limits=limits.input,
            capture=capture,
            clock=self.clock,
            telemetry=self.telemetry,
            tokens=tokens,
            attributes=attributes,
        )
        self.verifier = SvidVerifier(load_trust_bundle(TRUST_DOMAIN, AUTHORITY.bundle_pem))
        self.native = AuthorizationDoor(
            self.point, self.verifier, limits, self.clock, self.telemetry
        )
        self.door = EnvoyDoor(
            self.native,
            self.point,
            self.verifier,
            limits=limits,
            clock=self.clock,
            telemetry=self.telemetry,
        )

    def send(self, message: bytes, call: Call | None = None) -> pb.EnvoyCheckResponse:
        """The answer to these bytes."""
        answer = asyncio.run(self.door.check(message, call or Call()))
        return pb.EnvoyCheckResponse.FromString(answer)

    def ask(
        self, check: pb.EnvoyCheckRequest | None = None, call: Call | None = None
    ) -> pb.EnvoyCheckResponse:
        """The answer to what Envoy says."""
        return self.send((check or check_request()).SerializeToString(), call)

    def told(self, check: pb.EnvoyCheckRequest | None = None) -> tuple[int, str]:
        """HTTP status, and cause."""
        return told(self.ask(check))

    @property
    def record(self) -> audit_pb2.DecisionRecord:
        """The last one."""
        return self.recorder.entries[-1]
