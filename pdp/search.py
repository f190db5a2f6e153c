"""Searches: which subjects, resources or actions a question is permitted for. A page at a time.

What is listed in the directory, or named in the policies, is asked about one by one, by
the steps that a question goes through which comes alone (`pdp.decision_point`). What
they permit is the page. Differences:

- the clock is read and the snapshot taken once, for all questions of a page;
- what could only be denied is not begun (`pdp.search_admission`), and costs no look into
  the directory;
- attributes are those of the directory, with what the query says of a thing instead;
- a page has one record, with all that it returns, and waits until that is durable. Empty
  pages do, too: that nobody may do something is an answer;
- where a question cannot be decided, or the directory gives no answer, there is no page.
  INVARIANT: a page that looks whole is whole.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pdp import boundary
from pdp.audit.entry import Capture, Evidence, all_attributes
from pdp.audit.search_entry import (
    ITEMS_BYTES_MAX,
    SearchEvidence,
    build_search,
    item_bytes,
    search_item,
)
from pdp.batch import BatchDecisionPoint
from pdp.boundary import Admitted
from pdp.call import Call, Moment, named, with_record
from pdp.callers import SEARCH
from pdp.directory.faults import DirectoryError, Fault
from pdp.directory.reading import DirectoryReader
from pdp.directory.records import Kind, Place
from pdp.errors import InvalidRequestError
from pdp.model import Caller, Cause, Decision, Effect, Properties, Request, Resource, Subject, deny
from pdp.page_token import PageTokens
from pdp.proof import has_ended, proved
from pdp.search_admission import Screened, actions_to_try, screen
from pdp.search_query import (
    DECIDED,
    UNSUPPLIED,
    Page,
    Query,
    Searched,
    SearchLimits,
    about,
    judged,
    name_of,
    unsupplied,
)
from pdp.v1 import audit_pb2
from pdp.values import Value, canonical

# Decided in a row, and read at a time.
_ROW: Final = 32
_CHUNK: Final = 64


@dataclass(frozen=True, slots=True)
class Searching:
    """What searches need besides a decision point."""

    directory: DirectoryReader
    tokens: PageTokens
    limits: SearchLimits


class _EndedError(Exception):
    """There will be no page. Never leaves this module."""

    def __init__(
        self,
        cause: Cause,
        *,
        may: bool = True,
        failure: str = "",
        invalid: InvalidRequestError | None = None,
    ) -> None:
        self.page = Page(cause=cause, may=may, failure=failure, invalid=invalid)
        super().__init__(cause.name)


@dataclass(slots=True)
class _Run:
    """One search on its way."""

    query: Query
    caller: Caller
    deadline: float
    moment: Moment
    call: Call  # the query as if it were a question
    screened: Screened | None = None
    after: str = ""
    results: list[tuple[str, Decision]] = field(default_factory=list)
    items: list[audit_pb2.DecisionRecord] = field(default_factory=list)
    room: int = ITEMS_BYTES_MAX
    decided: int = 0
    more: bool = False
    patterns: Sequence[str] = ()


class SearchDecisionPoint(BatchDecisionPoint):
    """A decision point that also searches.

    Args:
        searching: what that needs; None: it does not.
    """

    def __init__(self, *args: Any, searching: Searching | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.searching = searching

    async def search(self, query: Query, caller: Caller, deadline: float) -> Page:
        """Look, decide, record, answer.

        Args:
            query: what is looked for.
            caller: the workload that asks; whoever calls this has verified it.
            deadline: when the answer must be there, on the clock's `monotonic`.

        Returns:
            A page, always. What is in it was permitted, and is recorded durably.
        """
        try:
            page = await self._search(query, caller, deadline)
        except Exception as error:  # noqa: BLE001 whatever broke, there is no page
            self._failed(error)
            page = Page()
        self._telemetry.count("searches", query.kind.name, page.cause.name)
        return page

    async def _search(self, query: Query, caller: Caller, deadline: float) -> Page:
        moment = Moment(self._clock.wall_ns(), self._snapshots.current(), SEARCH)
        call = Call(judged(query), caller, deadline, None, moment.clock_ns, moment.clock_ns)
        run = _Run(query, caller, deadline, moment, call)
        try:
            if self.searching is None:
                raise _EndedError(Cause.CALLER, may=False)  # noqa: TRY301 with the others
            self._begin(run, self.searching)
            await self._collect(run, self.searching)
        except _EndedError as ended:
            return await self._without_page(run, ended.page)
        except DirectoryError as error:
            failure = f"the directory is {error.fault.value}"
            page = Page(cause=Cause.INTERNAL, failure=failure)
            return await self._without_page(run, page)
        except Exception as error:  # noqa: BLE001 recorded, too
            self._failed(error)
            return await self._without_page(run, Page())
        return await self._page(run, self.searching)

    # -- before anything is looked up ---------------------------------------------

    def _begin(self, run: _Run, searching: Searching) -> None:
        """Steps 1 to 5 of a decision, for the query; then the token of the page before."""
        call, moment = run.call, run.moment
        try:
            call.admitted = boundary.admit(call.request, run.caller, self._limits)
        except InvalidRequestError as error:
            raise _EndedError(Cause.INVALID, invalid=error) from None
        if self._clock.monotonic() >= run.deadline:
            raise _EndedError(Cause.DEADLINE)
        snapshot = call.snapshot = moment.snapshot
        if snapshot is None:
            raise _EndedError(Cause.NO_BUNDLE)
        call.tenant = call.request.tenant or snapshot.home(run.caller.spiffe_id)
        if call.tenant in snapshot.unserved:
            raise _EndedError(Cause.NO_BUNDLE)
        if snapshot.is_stale(moment.clock_ns, call.tenant):
            raise _EndedError(Cause.STALE)
        call.now_ns = snapshot.now_ns(moment.clock_ns)
        if call.request.subject_token:
            call.admitted = proved(
                call.admitted, self._tokens, call.now_ns, self._telemetry, moment.proofs
            )
        try:
            run.screened = screen(
                snapshot.policies,
                snapshot.callers,
                snapshot.denials,
                call.admitted,
                run.caller,
                subject_known=run.query.kind is not Searched.SUBJECT,
                action_known=run.query.kind is not Searched.ACTION,
                home=call.tenant,
            )
            if run.screened.cause is not None:
                raise _EndedError(run.screened.cause, may=run.screened.may)
            if run.query.token:
                purpose = _purpose(run)
                run.after = searching.tokens.open(run.query.token, purpose, moment.clock_ns)
        except InvalidRequestError as error:
            raise _EndedError(Cause.INVALID, invalid=error) from None

    # -- what is looked up, and decided -------------------------------------------

    async def _collect(self, run: _Run, searching: Searching) -> None:
        """Ask about one after the other, until the page is full or nothing is left."""
        base = await self._described(run, searching)
        if base is None:
            # Who or what the question is about is not there: nothing is found, which is no error.
            return
        limits, snapshot = searching.limits, run.moment.snapshot
        wanted = min(run.query.limit or limits.page_items_default, limits.page_items_max)
        async with aclosing(self._rows(run, searching, base)) as rows:
            async for calls in rows:
                if snapshot is not None and snapshot.has_providers:
                    await self._fetch(calls, run.moment, run.deadline)
                for call in calls:
                    # INVARIANT: where there is a candidate that is not asked about, and only
                    # there, the page says that there may be more.
                    full = len(run.results) >= wanted or run.decided >= limits.candidates_max
                    if full or not self._take(run, call):
                        run.more = True
                        return
                    run.after = name_of(call.request, run.query.kind)
                    run.decided += 1
                await asyncio.sleep(0)

    async def _rows(
        self, run: _Run, searching: Searching, base: Request
    ) -> AsyncGenerator[list[Call], None]:
        """The questions about the candidates, so many at a time."""
        row: list[Call] = []
        async with aclosing(self._candidates(run, searching)) as candidates:
            async for name, properties in candidates:
                request = about(base, run.query.kind, name, properties)
                row.append(Call(request, run.caller, run.deadline, None))
                if len(row) == _ROW:
                    yield row
                    row = []
        if row:
            yield row

    def _take(self, run: _Run, call: Call) -> bool:
        """Decide one; whether the page has room for it, which it has for every denial."""
        decision = self._decided(call, run.moment)
        if call.invalid is not None or decision.cause is Cause.INVALID:
            # The query was admitted: it is the directory's entry that no request can hold.
            raise DirectoryError(Fault.WRONG, "an entry is beyond the limits of a request")
        if decision.cause not in DECIDED:
            raise _EndedError(decision.cause)
        if decision.effect is not Effect.PERMIT:
            if decision.cause is not Cause.RULE and unsupplied(call):
                # With the attributes it might have been a permit: nobody knows.
                raise _EndedError(Cause.INTERNAL, failure=UNSUPPLIED)
            return True
        decision = named(replace(decision, reason_admin=()), call)
        item = search_item(decision, self._evidence(call))
        if item_bytes(item) > run.room:
            return False
        run.room -= item_bytes(item)
        run.items.append(item)
        run.results.append((name_of(call.request, run.query.kind), decision))
        return True

    async def _described(self, run: _Run, searching: Searching) -> Request | None:
        """The query with what the directory says about who and what is named in it."""
        request, kind = run.query.request, run.query.kind
        if kind is not Searched.SUBJECT:
            subject = request.subject
            place = Place(Kind.SUBJECT, _tenant(run), subject.type)
            entry = await searching.directory.find(place, subject.id, self._left_s(run))
            if entry is None:
                return None
            merged = {**entry.properties, **subject.properties}
            request = replace(request, subject=Subject(subject.type, subject.id, merged))
        if kind is not Searched.RESOURCE:
            resource = request.resource
            place = Place(Kind.RESOURCE, _tenant(run), resource.type)
            entry = await searching.directory.find(place, resource.id, self._left_s(run))
            if entry is None:
                return None
            merged = {**entry.properties, **resource.properties}
            request = replace(request, resource=Resource(resource.type, resource.id, merged))
        return request

    async def _candidates(
        self, run: _Run, searching: Searching
    ) -> AsyncGenerator[tuple[str, Properties], None]:
        """Names after `run.after`, in the order of their bytes."""
        request = run.query.request
        if run.query.kind is Searched.ACTION:
            snapshot, screened = run.moment.snapshot, run.screened
            if snapshot is None or screened is None:
                return
            names, run.patterns = actions_to_try(
                snapshot.policies[screened.tenant], screened.entries, request.resource.type
            )
            after = run.after
            for name in names:
                if name > after:
                    yield name, {}
            return
        place, after = Place(Kind.RESOURCE, _tenant(run), request.resource.type), run.after
        if run.query.kind is Searched.SUBJECT:
            place = Place(Kind.SUBJECT, place.tenant, request.subject.type)
        while True:
            found = await searching.directory.after(place, after, _CHUNK, self._left_s(run))
            for entry in found:
                yield entry.id, entry.properties
            if len(found) < _CHUNK:
                return
            after = found[-1].id

    def _left_s(self, run: _Run) -> float:
        left_s = run.deadline - self._clock.monotonic()
        if left_s <= 0:
            raise _EndedError(Cause.DEADLINE)
        return left_s

    # -- what is recorded, and answered -------------------------------------------

    async def _page(self, run: _Run, searching: Searching) -> Page:
        """The page, once its record is durable."""
        if self._clock.monotonic() >= run.deadline:
            return await self._without_page(run, Page(cause=Cause.DEADLINE))
        cause = Cause.RULE if run.results else Cause.DEFAULT
        effect = Effect.PERMIT if run.results else Effect.DENY
        decision = await self._recorded_page(run, Decision(effect, cause))
        if decision.record is None or self._clock.monotonic() >= run.deadline:
            return replace(Page(cause=Cause.AUDIT), decision=replace(decision, record=None))
        # INVARIANT: below this line the record of all that is returned is durable. That takes
        # time, and what it was decided by may have ended meanwhile.
        clock_ns = self._clock.wall_ns()
        snapshot = run.moment.snapshot
        if snapshot is None or run.call.is_stale(clock_ns):
            return await self._without_page(run, Page(cause=Cause.STALE))
        if has_ended(run.call.admitted, snapshot.now_ns(clock_ns)):
            return await self._without_page(run, Page(cause=Cause.IDENTITY))
        token = ""
        if run.more:
            token = searching.tokens.seal(run.after, _purpose(run), clock_ns)
        return Page(
            tuple(run.results),
            token,
            cause,
            whole=True,
            patterns=tuple(run.patterns),
            decision=decision,
        )

    async def _without_page(self, run: _Run, page: Page) -> Page:
        """Record that there is none, and why; what was found is not returned."""
        run.results, run.items, run.more = [], [], False
        decision = await self._recorded_page(run, deny(page.cause), page.failure)
        return replace(page, decision=decision)

    async def _recorded_page(self, run: _Run, decision: Decision, failure: str = "") -> Decision:
        """The decision about the page as a whole, with its record if there is one in time."""
        call, query = run.call, run.query
        admitted = call.admitted
        attributes = {}
        if admitted is not None and self._capture is Capture.FULL:
            attributes = all_attributes(admitted.attributes, call.now_ns)
        decision = named(decision, call)
        evidence = Evidence(
            replace(query.request, tenant=call.recorded.tenant),
            run.caller,
            attributes,
            b"" if admitted is None else _purpose(run),
            b"",
            admitted is not None,
            None if admitted is None else admitted.token,
        )
        search = SearchEvidence(query.kind.value, bool(query.token), run.more, run.decided, failure)
        entry = build_search(decision, evidence, search, run.items)
        record = await self._record(entry, call.clock_ns, run.deadline)
        return with_record(decision, record)


def _tenant(run: _Run) -> str:
    if run.screened is None:
        raise _EndedError(Cause.INTERNAL)
    return run.screened.tenant


def _purpose(run: _Run) -> bytes:
    """SHA-256 of the query without its page, and of who asks: the same for all its pages."""
    admitted: Admitted | None = run.call.admitted
    if admitted is None:
        raise _EndedError(Cause.INTERNAL)
    whole: dict[str, Value] = {
        "kind": run.query.kind.name,
        "caller": run.caller.spiffe_id,
        "tenant": run.screened.tenant if run.screened is not None else "",
        **{
            part: admitted.attributes[part] for part in ("subject", "action", "resource", "context")
        },
    }
    return hashlib.sha256(canonical(whole)).digest()
