"""Logs to be attacked: written by the real journal, taken apart and put together again."""

from __future__ import annotations

from pathlib import Path

from pdp.audit.budget import SpoolLimits
from pdp.audit.findings import Survey
from pdp.audit.log import Opened, open_record
from pdp.audit.segment import Frame, SegmentName, encode_frame, encode_header, frames
from pdp.audit.survey import segment_names, survey
from pdp.model import RecordRef
from tests.simulators.crashes import SPOOL, History, waiting
from tests.simulators.disk import SimulatedDisk

SMALL = SpoolLimits(directory_bytes_max=1_000_000, segment_bytes_max=500)


class Log:
    """One spool on a simulated disk, as lists of records by segment.

    Args:
        boots: decisions of each boot.
        limits: of the spool; small segments by default.
    """

    def __init__(self, *boots: int, limits: SpoolLimits = SMALL) -> None:
        self.history = History(SimulatedDisk(0))
        self.disk = self.history.disk
        self.disk.make_directory(SPOOL)
        for decisions in boots:
            journal = self.history.open(limits)
            for number in range(decisions):
                (ref,) = journal.commit([waiting(number)])
                assert isinstance(ref, RecordRef)
            journal.close()
        self.records = {name: self._read(name) for name in segment_names(self.disk, SPOOL)}

    @property
    def names(self) -> list[SegmentName]:
        """By age."""
        return list(self.records)

    @property
    def refs(self) -> list[RecordRef]:
        """All records, by age."""
        return [opened.ref for opened in self.opened]

    @property
    def opened(self) -> list[Opened]:
        """All records, by age."""
        return [open_record(record) for records in self.records.values() for record in records]

    def _read(self, name: SegmentName) -> list[bytes]:
        data = bytes(self.disk.content(SPOOL / str(name)))
        items = list(frames(lambda offset, size: data[offset : offset + size], len(data)))
        assert all(isinstance(item, Frame) for item in items)
        return [item.record for item in items if isinstance(item, Frame)]

    def store(self, name: SegmentName, records: list[bytes]) -> None:
        """Replace a segment by these records, framed as the PDP would."""
        data = encode_header(name) + b"".join(map(encode_frame, records))
        self.disk.put(SPOOL / str(name), data)

    def remove(self, name: SegmentName) -> None:
        """A whole segment."""
        self.disk.remove(SPOOL / str(name))

    def look(self, *heads: RecordRef, folders: tuple[Path, ...] = (SPOOL,)) -> Survey:
        """Verify it."""
        return survey(folders, self.disk, heads=heads)

    def findings(self, *heads: RecordRef) -> list[tuple[str, str, int, int]]:
        """What verification names: kind, segment, first and last seq."""
        return [
            (str(problem.kind), problem.place.segment, problem.seq, problem.seq_last)
            for problem in self.look(*heads).problems.found
        ]
