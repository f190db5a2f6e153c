"""AuthZEN's three searches in JSON: a query out of a body, and a page into one."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from pdp.errors import InvalidRequestError
from pdp.model import Action, Cause, Decision, Request, Resource, Subject
from pdp.search_query import Page, Query, Searched
from pdp.server.authzen.head import Head
from pdp.server.authzen.messages import Json, answer, entity, render
from pdp.server.authzen.pages import SEARCHES
from pdp.server.authzen.replies import RefusedError, Reply

KINDS: Final = dict(zip(SEARCHES, Searched, strict=True))
# Of a decision's context, what belongs to one result; and to the page.
_OF_RESULT: Final = ("obligations", "advice")
_OF_PAGE: Final = ("cause", "decision_id", "bundle", "record")


def query(kind: Searched, message: Json, head: Head) -> Query:
    """A body's query. Names and values are judged by the boundary, after this.

    Raises:
        InvalidRequestError: an entity is missing, a page is none, or what is searched for
            is described.
    """
    subject, resource = entity(message, "subject"), entity(message, "resource")
    action = {} if kind is Searched.ACTION else entity(message, "action")
    # INVARIANT: the id of what is searched for is passed over, as AuthZEN demands.
    request = Request(
        Subject(
            subject.get("type", ""),
            "" if kind is Searched.SUBJECT else subject.get("id", ""),
            _properties(subject, "subject", searched=kind is Searched.SUBJECT),
        ),
        Action(action.get("name", ""), action.get("properties", {})),
        Resource(
            resource.get("type", ""),
            "" if kind is Searched.RESOURCE else resource.get("id", ""),
            _properties(resource, "resource", searched=kind is Searched.RESOURCE),
        ),
        message.get("context", {}),
        tenant=head.tenant,
        request_id=head.request_id,
        subject_token=head.subject_token,
    )
    limit, token = _page(message.get("page", {}))
    return Query(kind, request, limit, token)


def _properties(found: Json, name: str, *, searched: bool) -> Any:
    properties = found.get("properties", {})
    if searched and properties != {}:
        # Nobody could say whether they narrow what is listed, or are to be believed of all of it.
        raise InvalidRequestError(
            f"{name}.properties", f"must be left out: the {name} is what is searched for"
        )
    return properties


def _page(page: Any) -> tuple[int | None, str]:
    if type(page) is not dict:
        raise InvalidRequestError("page", "must be an object")
    limit, token = page.get("limit"), page.get("token", "")
    if "limit" in page and (type(limit) is not int or limit < 1):
        raise InvalidRequestError("page.limit", "must be a whole number above 0")
    if type(token) is not str:
        raise InvalidRequestError("page.token", "must be a string")
    return limit, token


def reply(found: Page, asked: Query) -> Reply:
    """A page as an answer.

    Where the caller may search and this could only be denied, that is an answer, too:
    nothing is permitted, and the cause says why.

    Raises:
        InvalidRequestError: the query is wrong.
        RefusedError: there is no page.
    """
    if found.invalid is not None:
        raise found.invalid
    if not found.whole and not (found.may and found.cause in {Cause.CALLER, Cause.IDENTITY}):
        raise _refused(found)
    context = {} if found.decision is None else answer(found.decision)["context"]
    told = {name: context[name] for name in _OF_PAGE if name in context}
    if found.patterns:
        told["unlisted_actions"] = list(found.patterns)
    results = [_result(asked, *one) for one in found.results]
    page = {"next_token": found.next_token, "count": len(results)}
    return Reply(HTTPStatus.OK, render({"results": results, "page": page, "context": told}))


def _refused(found: Page) -> RefusedError:
    if found.cause is Cause.CALLER:
        return RefusedError(HTTPStatus.FORBIDDEN, "search", "this caller may not search here")
    if found.failure:
        message = f"nothing was searched: {found.failure}"
    elif found.cause is Cause.INTERNAL:
        return RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "the server failed")
    else:
        message = f"nothing was searched: {found.cause.name}"
    return RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "search", message)


def _result(asked: Query, name: str, decision: Decision) -> Json:
    request = asked.request
    found: Json = {"name": name}
    if asked.kind is not Searched.ACTION:
        thing = request.subject if asked.kind is Searched.SUBJECT else request.resource
        found = {"type": thing.type, "id": name}
    context = answer(decision)["context"]
    # As AuthZEN's obligations profile has it: whoever cannot meet them leaves this result out.
    duties = {part: context[part] for part in _OF_RESULT if part in context}
    return found | ({"context": duties} if duties else {})
