"""A log of as many decisions as wanted, written by the spool's own appender: no waiting."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from pdp.audit.appender import Appender, Body
from pdp.audit.budget import SpoolLimits
from pdp.audit.disk import RealDisk
from pdp.audit.log import TAG_DECISION, PdpId
from pdp.model import Caller, Request
from pdp.v1 import audit_pb2
from pdp.v1 import authorization_pb2 as pb
from pdp.wire import request_to_pb

_BATCH = 5_000


def write_log(
    folder: Path, requests: Sequence[Request], caller: Caller, count: int, time_ns: int
) -> None:
    """Records with `capture: full`, the requests again and again, a millisecond apart."""
    folder.mkdir(mode=0o700)
    disk = RealDisk()
    appender = Appender(
        folder,
        PdpId("pdp-1", 0, 1),
        None,
        limits=SpoolLimits(directory_bytes_max=64 << 30),
        disk=disk,
        clock_ns=lambda: time_ns,
        monotonic_ns=time.monotonic_ns,
    )
    appender.begin([audit_pb2.SpoolEvent(kind=audit_pb2.SpoolEvent.KIND_BOOT)])
    bodies = [_body(request, caller) for request in requests]
    for start in range(0, count, _BATCH):
        appender.ready()
        appender.append(
            [
                Body(TAG_DECISION, bodies[number % len(bodies)], time_ns + number * 1_000_000)
                for number in range(start, min(start + _BATCH, count))
            ]
        )
    appender.close()


def _body(request: Request, caller: Caller) -> bytes:
    message = request_to_pb(request).SerializeToString()
    entry = audit_pb2.DecisionRecord(
        decision_id="0198c0de-0000-7000-8000-000000000000",
        request_id=request.request_id,
        action=request.action.name,
        resource_type=request.resource.type,
        resource_id=request.resource.id,
        request=message,
        request_digest=hashlib.sha256(message).digest(),
        effect=pb.EFFECT_DENY,
        cause=pb.CAUSE_DEFAULT,
    )
    entry.caller.spiffe_id = caller.spiffe_id
    entry.subject.type, entry.subject.id = request.subject.type, request.subject.id
    return entry.SerializeToString()
