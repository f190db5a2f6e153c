"""What segments state at their beginning about those before them. Pure.

A segment is opened by statements, the first of which says how many they are.
It counts only if all of them are there: nothing is appended before that is so,
and a part of them would tell half a story.

A segment may end in bytes that were never answered for: a torn write, or a
batch whose fsync failed. The PDP says so in the next segment it opens, and
that statement, itself a record in the chain, is what makes those bytes
explicable. So the first records of all segments are read before the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pdp.audit.log import RecordError, open_record
from pdp.audit.segment import Frame, Gap, SegmentName
from pdp.v1 import audit_pb2

# The PDP writes a handful; a larger number is not believed.
_OPENING_MAX = 1_000


@dataclass(frozen=True, slots=True)
class DeadEnd:
    """From this offset on, what stands in a segment is declared not to belong to the log."""

    offset: int
    statement: str


@dataclass(slots=True)
class Opening:
    """What a segment begins with.

    Attributes:
        items: the first of what is in it, to be read before the rest.
        events: the statements that open it.
        cut_short: it never counted: not all statements are there, and nothing else is.
    """

    items: list[Frame | Gap] = field(default_factory=list)
    events: list[audit_pb2.SpoolEvent] = field(default_factory=list)
    cut_short: bool = False


def read_opening(items: Iterator[Frame | Gap]) -> Opening:
    """Take the opening off what is in a segment."""
    opening = Opening()
    expected = 1
    while len(opening.events) < expected:
        item = next(items, None)
        if item is not None:
            opening.items.append(item)
        if not isinstance(item, Frame):
            # Bytes that hold no record and are not at the end are damage: then it did count.
            opening.cut_short = bool(opening.events) and (item is None or item.torn)
            break
        event = _event(item)
        if event is None:
            break
        opening.events.append(event)
        if len(opening.events) == 1 and event.opening <= _OPENING_MAX:
            expected = event.opening
    return opening


def _event(frame: Frame) -> audit_pb2.SpoolEvent | None:
    try:
        return open_record(frame.record).event
    except RecordError:
        return None


@dataclass(slots=True)
class Statements:
    """What all segments state.

    Attributes:
        dead_ends: by segment.
    """

    dead_ends: dict[SegmentName, DeadEnd] = field(default_factory=dict)

    def take(self, by: SegmentName, items: Iterator[Frame | Gap]) -> None:
        """Take in what segment `by` states."""
        opening = read_opening(items)
        if opening.cut_short:
            return
        for event in opening.events:
            about = SegmentName.parse(event.segment)
            # INVARIANT: a statement explains only what is older than itself.
            if about is None or about >= by:
                continue
            if event.kind == audit_pb2.SpoolEvent.KIND_TORN_TAIL:
                statement = f"torn, says segment `{by}`"
            elif event.kind == audit_pb2.SpoolEvent.KIND_POISONED:
                statement = f"its write failed, says segment `{by}`"
            else:
                continue
            self.dead_ends.setdefault(about, DeadEnd(event.offset, statement))
