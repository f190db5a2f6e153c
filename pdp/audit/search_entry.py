"""The record of one page of a search: what was looked for, and all that was returned.

An item is what the record of its question alone would be, without caller and bundle,
which are said once. A page ends where its record would be full: what was returned is
always written down whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, cast

from pdp.audit.entry import Evidence, build_entry
from pdp.audit.log import ENTRY_BYTES_MAX
from pdp.model import Decision
from pdp.v1 import audit_pb2

# Of the query: seven names of at most 1 KiB, a SPIFFE ID, digests.
_HEAD_BYTES_MAX: Final = 12_288
ITEMS_BYTES_MAX: Final = ENTRY_BYTES_MAX - _HEAD_BYTES_MAX
# Tag and length of an item.
_ITEM_OVERHEAD: Final = 4


@dataclass(frozen=True, slots=True)
class SearchEvidence:
    """What is recorded of a page besides the query and what was found.

    Attributes:
        kind: what is searched for; the number is the wire's.
        continued: whether it goes on from the page before.
        more: whether the caller is told that there may be more.
        decided: how many questions were decided.
        failure: a word of a closed set, or empty.
    """

    kind: int
    continued: bool
    more: bool
    decided: int
    failure: str


def search_item(decision: Decision, evidence: Evidence) -> audit_pb2.DecisionRecord:
    """The record of one permit, as an item."""
    item = build_entry(decision, evidence, ITEMS_BYTES_MAX - _ITEM_OVERHEAD)
    item.ClearField("caller")
    item.ClearField("bundle")
    return item


def item_bytes(item: audit_pb2.DecisionRecord) -> int:
    """How many of `ITEMS_BYTES_MAX` it takes."""
    return item.ByteSize() + _ITEM_OVERHEAD


def build_search(
    decision: Decision,
    evidence: Evidence,
    search: SearchEvidence,
    items: Iterable[audit_pb2.DecisionRecord],
) -> audit_pb2.DecisionRecord:
    """The record of a page.

    Args:
        decision: effect and cause of the page as a whole.
        evidence: the query.
        search: the rest.
        items: of what was found; together at most `ITEMS_BYTES_MAX`.
    """
    entry = build_entry(decision, evidence, _HEAD_BYTES_MAX)
    entry.search.kind = cast("audit_pb2.SearchRecord.Kind", search.kind)
    entry.search.continued, entry.search.more = search.continued, search.more
    entry.search.decided, entry.search.failure = search.decided, search.failure
    entry.search.items.extend(items)
    return entry
