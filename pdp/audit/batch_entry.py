"""The record of a batch: one entry, or as many as its items need.

An item is what the record of its question alone would be, without caller and
bundle, which are said once; an item about another tenant than the first names
its own bundle. An item that would not fit by itself leaves digests
behind, as it would alone; items that do not fit together go on in further parts.
So nothing is written down that says less than the records of single questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from pdp.audit.encoded import EncodedAttributes
from pdp.audit.entry import BatchEvidence, Evidence, caller_ref
from pdp.audit.item_bytes import ItemWriter
from pdp.audit.log import ENTRY_BYTES_MAX
from pdp.model import Decision, Effect
from pdp.v1 import audit_pb2
from pdp.v1 import authorization_pb2 as pb
from pdp.value_codec import bundle_to_pb
from pdp.wire_fields import length, tag

# Of all that a part says besides its items: names of at most 2 KiB, of which it has three.
_HEAD_BYTES_MAX: Final = 8_192
_ITEMS_BYTES_MAX: Final = ENTRY_BYTES_MAX - _HEAD_BYTES_MAX
# Tag and length of an item.
_ITEM_OVERHEAD: Final = 4
_ITEM: Final = tag(audit_pb2.BatchRecord.DESCRIPTOR.fields_by_name["items"].number)


def build_batch(
    batch: BatchEvidence,
    items: Sequence[tuple[Decision, Evidence]],
    encoded: EncodedAttributes | None = None,
) -> tuple[list[audit_pb2.DecisionRecord], list[int]]:
    """The parts of a batch's record, each at most `ENTRY_BYTES_MAX` bytes.

    Args:
        batch: what they share.
        items: the questions that were decided, in order; at least one.
        encoded: attributes that were written before.

    Returns:
        The parts, and for each item the index of the part that holds it.

    Raises:
        InvalidRequestError: as `pdp.audit.entry.build_entry`.
    """
    effect, cause = _outcome([decision for decision, _ in items])
    written = ItemWriter(batch, _ITEMS_BYTES_MAX - _ITEM_OVERHEAD, encoded or EncodedAttributes())
    shares: list[list[bytes]] = []
    places: list[int] = []
    left = -1
    for decision, evidence in items:
        item = written.item(decision, evidence)
        size = len(item) + _ITEM_OVERHEAD
        if size > left:
            shares.append([])
            left = _ITEMS_BYTES_MAX
        left -= size
        shares[-1] += (_ITEM, length(len(item)), item)
        places.append(len(shares) - 1)
    parts = []
    for number, share in enumerate(shares, 1):
        part = _head(batch, effect, cause)
        # Items that are appended as messages are copied one by one; read together they are not.
        part.batch.MergeFromString(b"".join(share))
        part.batch.part, part.batch.parts = number, len(shares)
        parts.append(part)
    return parts, places


def single_entries(entry: audit_pb2.DecisionRecord) -> list[audit_pb2.DecisionRecord]:
    """The record of each question: the entry itself, or those of its batch with what they share.

    Of a search, those that were permitted: the others are not written down.
    """
    if not entry.HasField("batch") and not entry.HasField("search"):
        return [entry]
    items = entry.batch.items if entry.HasField("batch") else entry.search.items
    shared = audit_pb2.DecisionRecord(caller=entry.caller, bundle=entry.bundle)
    singles = []
    for item in items:
        single = audit_pb2.DecisionRecord()
        single.CopyFrom(item)
        single.MergeFrom(shared)
        if item.HasField("bundle"):
            single.bundle.CopyFrom(item.bundle)
        singles.append(single)
    return singles


def _outcome(decisions: Sequence[Decision]) -> tuple[pb.Effect, pb.Cause]:
    """Of the batch: a permit if it has one, so that each of its parts gets the room of permits."""
    permit = next((found for found in decisions if found.effect is Effect.PERMIT), None)
    shown = permit or decisions[0]
    effect = pb.EFFECT_DENY if permit is None else pb.EFFECT_PERMIT
    return effect, cast("pb.Cause", shown.cause.value)


def _head(batch: BatchEvidence, effect: pb.Effect, cause: pb.Cause) -> audit_pb2.DecisionRecord:
    return audit_pb2.DecisionRecord(
        decision_id=batch.decision_id,
        request_id=batch.request_id,
        caller=caller_ref(batch.caller),
        request_digest=batch.digest,
        effect=effect,
        cause=cause,
        bundle=None if batch.bundle is None else bundle_to_pb(batch.bundle),
        batch=audit_pb2.BatchRecord(
            semantic=cast("pb.BatchSemantic", batch.semantic), questions=batch.questions
        ),
    )
