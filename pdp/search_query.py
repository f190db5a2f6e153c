"""What is searched for, and what is found."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Final

from pdp.call import Call
from pdp.errors import InvalidRequestError
from pdp.fetched import FetchOutcome
from pdp.model import Action, Cause, Decision, Properties, Request, Resource, Subject

# Stands for what is searched for while the rest of a query is judged; compared with nothing.
_ANY: Final = "*"

# Why there is no page where attributes of a candidate are missing.
UNSUPPLIED: Final = "a provider of attributes gave no answer"
# What the law answers of its own accord. Any other cause says that it was not asked.
DECIDED: Final = frozenset(
    {
        Cause.RULE,
        Cause.INDETERMINATE,
        Cause.DEFAULT,
        Cause.BUDGET,
        Cause.SCHEMA,
        Cause.CALLER,
        Cause.IDENTITY,
    }
)


class Searched(enum.Enum):
    """What is searched for. Numbers are the record's."""

    SUBJECT = 1
    RESOURCE = 2
    ACTION = 3


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """What a search may cost. Units are in the names."""

    page_items_default: int = 50  # where a caller does not say
    page_items_max: int = 200  # however many it would have
    candidates_max: int = 500  # asked about for one page
    token_life_s: float = 600.0  # from one page to the next


@dataclass(frozen=True, slots=True)
class Query:
    """A search.

    Attributes:
        kind: what is searched for.
        request: the rest; what is searched for has no name in it, and no properties.
        limit: how many the caller would have at most; None: it did not say.
        token: of the page before; empty: the first page.
    """

    kind: Searched
    request: Request
    limit: int | None = None
    token: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """The answer to a search.

    INVARIANT: `whole` is false where there are no results because nothing was decided.

    Attributes:
        results: what is permitted: each with its name and its decision.
        next_token: for what may come after; empty: nothing does.
        cause: RULE or DEFAULT for a page, with results or without; else why there is none.
        whole: whether this is a page.
        may: whether the caller may search at all.
        failure: what gave no answer, and why, of a closed set; or empty.
        invalid: what is wrong with the query.
        patterns: of permits, of which nobody can list what they permit besides.
        decision: id, bundle and record of the page.
    """

    results: tuple[tuple[str, Decision], ...] = ()
    next_token: str = ""
    cause: Cause = Cause.INTERNAL
    whole: bool = False
    may: bool = True
    failure: str = ""
    invalid: InvalidRequestError | None = None
    patterns: tuple[str, ...] = ()
    decision: Decision | None = None


def judged(query: Query) -> Request:
    """The query as a question, so that the boundary judges the rest of it."""
    request = query.request
    match query.kind:
        case Searched.SUBJECT:
            return replace(request, subject=Subject(request.subject.type, _ANY))
        case Searched.RESOURCE:
            return replace(request, resource=Resource(request.resource.type, _ANY))
        case Searched.ACTION:
            return replace(request, action=Action(_ANY))


def about(request: Request, kind: Searched, name: str, properties: Properties) -> Request:
    """The question about one candidate."""
    match kind:
        case Searched.SUBJECT:
            return replace(request, subject=Subject(request.subject.type, name, properties))
        case Searched.RESOURCE:
            return replace(request, resource=Resource(request.resource.type, name, properties))
        case Searched.ACTION:
            return replace(request, action=Action(name))


def name_of(request: Request, kind: Searched) -> str:
    """The name of the candidate that a question is about."""
    match kind:
        case Searched.SUBJECT:
            return request.subject.id
        case Searched.RESOURCE:
            return request.resource.id
        case Searched.ACTION:
            return request.action.name


def unsupplied(call: Call) -> bool:
    """Whether a provider that was asked about it gave no answer."""
    completion = None if call.admitted is None else call.admitted.completion
    fetched = () if completion is None else completion.fetched
    return any(each.outcome not in {FetchOutcome.FETCHED, FetchOutcome.UNKNOWN} for each in fetched)
