"""A word about every decision, once its record is durable or has failed to be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from pdp.audit.batch_entry import single_entries
from pdp.bundle.anchor import DEVELOPMENT_TRUST_DOMAIN
from pdp.errors import SpoolError, SpoolSuppressedError
from pdp.model import Cause, Effect, RecordRef
from pdp.server.listener import DurableRecorder
from pdp.v1 import audit_pb2

_OURS = f"spiffe://{DEVELOPMENT_TRUST_DOMAIN}/"


@dataclass(frozen=True, slots=True)
class DecisionSeen:
    """One decision, as its record says it. Texts are the caller's: not to be trusted on a screen.

    Attributes:
        time_ns: when it was made, nanoseconds since the epoch.
        caller: path of its SPIFFE ID.
        subject, resource: `type:id`.
        elapsed_us: microseconds from the decision's beginning until its record was durable.
        recorded: `yes`, `counted` in place of it, or `no`; then a PERMIT was answered as
            DENY(AUDIT).
    """

    time_ns: int
    effect: str
    cause: str
    caller: str
    subject: str
    action: str
    resource: str
    rules: tuple[str, ...]
    elapsed_us: int
    recorded: str


class TellingRecorder:
    """A recorder that passes everything on, and tells.

    Args:
        recorder: the spool.
        tell: called on the event loop; must not block.
        clock_ns: the clock that decisions use.
    """

    def __init__(
        self,
        recorder: DurableRecorder,
        tell: Callable[[DecisionSeen], None],
        clock_ns: Callable[[], int],
    ) -> None:
        self._recorder = recorder
        self._tell = tell
        self._clock_ns = clock_ns

    @property
    def healthy(self) -> bool:
        """As the recorder says."""
        return self._recorder.healthy

    def append(self, entry: audit_pb2.DecisionRecord, time_ns: int) -> asyncio.Future[RecordRef]:
        """Hand the record on.

        INVARIANT: what comes back is the recorder's own future. Nothing here
        can make a record look durable.
        """
        future = self._recorder.append(entry, time_ns)
        future.add_done_callback(lambda done: self._tell_all(entry, time_ns, done))
        return future

    def _tell_all(
        self,
        entry: audit_pb2.DecisionRecord,
        time_ns: int,
        done: asyncio.Future[RecordRef],
    ) -> None:
        for single in single_entries(entry):
            self._tell(self._seen(single, time_ns, done))

    def _seen(
        self,
        entry: audit_pb2.DecisionRecord,
        time_ns: int,
        done: asyncio.Future[RecordRef],
    ) -> DecisionSeen:
        # A cancelled future is a failed record, to the decision point too.
        failure = SpoolError() if done.cancelled() else done.exception()
        return DecisionSeen(
            time_ns=time_ns,
            effect=Effect(entry.effect).name,
            cause=Cause(entry.cause).name,
            caller=entry.caller.spiffe_id.removeprefix(_OURS),
            subject=f"{entry.subject.type}:{entry.subject.id}",
            action=entry.action,
            resource=f"{entry.resource_type}:{entry.resource_id}",
            rules=tuple(entry.rules),
            elapsed_us=max(0, self._clock_ns() - time_ns) // 1_000,
            recorded=_outcome(failure),
        )


def _outcome(failure: BaseException | None) -> str:
    if failure is None:
        return "yes"
    return "counted" if isinstance(failure, SpoolSuppressedError) else "no"
