"""Heads from outside, held against a log: what finds a cut tail. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from pdp.audit.chain import Chain
from pdp.audit.log import Opened, PdpId, head_text
from pdp.audit.problems import Place, Problem, ProblemKind, Problems
from pdp.errors import ConfigurationError
from pdp.model import RecordRef


class HeadCheck:
    """Looks out for the records that heads name.

    Args:
        heads: what responses, or earlier verifications, said.
        problems: where findings go.
    """

    def __init__(self, heads: Iterable[RecordRef], problems: Problems) -> None:
        self._wanted: dict[tuple[str, int], list[RecordRef]] = {}
        for head in heads:
            self._wanted.setdefault((head.pdp_id, head.seq), []).append(head)
        self._problems = problems
        self._settled: set[RecordRef] = set()
        # The latest head that was found, and how many records had been seen with it.
        self.anchor: RecordRef | None = None
        self.anchor_records = 0

    def live(self, place: Place, record: Opened, count: int) -> None:
        """A record of the log, the `count`th."""
        for head in self._wanted.get((record.ref.pdp_id, record.ref.seq), ()):
            self._settled.add(head)
            if head.hash == record.ref.hash:
                self.anchor, self.anchor_records = head, count
            else:
                self._report(ProblemKind.CHANGED, place, "a head names another hash for it", head)

    def doubtful(self, place: Place, record: Opened) -> None:
        """A record in a part that was declared never answered for."""
        for head in self._wanted.get((record.ref.pdp_id, record.ref.seq), ()):
            if head.hash == record.ref.hash:
                self._settled.add(head)
                message = "a head names it, but the log declares that it was never answered for"
                self._report(ProblemKind.CUT, place, message, head)

    def finish(self, chain: Chain) -> None:
        """Judge the heads that were not met.

        Raises:
            ConfigurationError: a head is older than what is here, and what is
                here goes on from an archive: nothing can be said without that.
        """
        for head in (head for heads in self._wanted.values() for head in heads):
            if head not in self._settled:
                self._judge(head, chain)

    def _judge(self, head: RecordRef, chain: Chain) -> None:
        first, last = chain.first, chain.last
        if first is None or last is None:
            self._report(
                ProblemKind.CUT, chain.last_place, "a head names it, nothing is here", head
            )
            return
        if head.hash == chain.origin:
            # The record just before the first one here: what is here goes on from it.
            if self.anchor is None:
                self.anchor = head
            return
        order = _order(head.pdp_id, head.seq)
        if order > _order(last.ref.pdp_id, last.ref.seq):
            message = (
                f"a head names it, but the log ends with {head_text(last.ref)}: its tail is cut"
            )
            self._report(ProblemKind.CUT, chain.last_place, message, head)
        elif chain.origin is not None and order < _order(first.ref.pdp_id, first.ref.seq):
            raise ConfigurationError(
                f"`{head_text(head)}` is older than what is here, so nothing can be said about it: "
                "give the folder it was archived to as well"
            )
        else:
            message = "a head names it, but it is not here"
            self._report(ProblemKind.REMOVED, chain.last_place, message, head)

    def _report(self, kind: ProblemKind, place: Place, message: str, head: RecordRef) -> None:
        self._problems.add(Problem(kind, place, message, head.pdp_id, head.seq))


def _order(pdp_id: str, seq: int) -> tuple[int, int]:
    """Boots count the starts on one spool, so boot and seq order a log."""
    parsed = PdpId.parse(pdp_id)
    return (parsed.boot if parsed else 0, seq)
