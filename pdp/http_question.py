"""An HTTP request on its way to being a question: what the bundle makes of it.

The decision point calls `translate` when it has read the snapshot, so that one
version of the bundle says both what is asked and what is answered. Whatever
does not become a question is a denial with a cause, and is recorded like any
other:

    the proxy is denied, or nobody knows it          CALLER
    no mapping, or no route that matches             DEFAULT
    a route in doubt                                 INDETERMINATE
    an expression that costs too much                BUDGET
    no bearer token where the route wants one        IDENTITY
    the proxy forwards a certificate that is denied  IDENTITY
    anything that has no one meaning                 INVALID
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pdp import admission, boundary
from pdp.boundary import Admitted, InputLimits, with_token
from pdp.call import Refused
from pdp.errors import InvalidRequestError
from pdp.http_mapping import HttpMapping, NotMapped, Route, UpstreamSource
from pdp.http_request import HEADER_VALUE, HttpFacts, HttpRequest, judge
from pdp.model import Action, Caller, Cause, Request, Resource, Subject
from pdp.snapshot import Snapshot
from pdp.subject_token import SubjectToken
from pdp.v1 import audit_pb2
from pdp.value_json import parse

_JSON: Final = "application/json"
# Of hostile texts, so much is recorded.
_METHOD_CHARACTERS_MAX: Final = 64
_HOST_CHARACTERS_MAX: Final = 256
_PATH_CHARACTERS_MAX: Final = 1_024

# What a token proves now, or None.
Verify = Callable[[str], SubjectToken | None]


def _unread(tenant: str, request_id: str) -> Request:
    """What is recorded of a request that asks nothing."""
    return Request(
        Subject("", ""), Action(""), Resource("", ""), tenant=tenant, request_id=request_id
    )


@dataclass(slots=True)
class HttpQuestion:
    """One HTTP request. Filled by `translate`.

    Attributes:
        http: the request, or why nobody can read it.
        caller: the proxy.
        limits: what a question may be at most.
        tenant: as the proxy's own configuration says; empty: its only one.
        request_id: as the proxy says.
        digest: SHA-256 of the proxy's message, for the record.
        request: what is asked, as far as it is known.
        route: that made the question.
        mapping: whose route it is.
    """

    http: HttpRequest | InvalidRequestError
    caller: Caller
    limits: InputLimits
    tenant: str = ""
    request_id: str = ""
    digest: bytes = b""
    request: Request = field(init=False)
    route: str = field(default="", init=False)
    mapping: HttpMapping | None = field(default=None, init=False)
    wants_token: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Nothing is asked yet."""
        self.request = _unread(self.tenant, self.request_id)

    def translate(
        self, snapshot: Snapshot, home: str, now_ns: int, verify: Verify
    ) -> Admitted | Refused:
        """What is asked, admitted, with what its token proves.

        Args:
            snapshot: that decides.
            home: the tenant if the proxy names none, see `pdp.admission.resolve_tenant`.
            now_ns: nanoseconds since the epoch.
            verify: of the decision point.
        """
        # A question whose attributes are fetched is read twice: nothing of the first time stays.
        self.request = _unread(self.tenant, self.request_id)
        self.route, self.mapping, self.wants_token = "", None, False
        allowed = snapshot.callers.tenants(self.caller.spiffe_id)
        if snapshot.denials.denies_caller(self.caller) or not allowed:
            # As in `pdp.admission`: a stranger learns nothing of tenants and routes.
            return self._refused(Cause.CALLER, InvalidRequestError("caller", "may not ask"))
        try:
            tenant = admission.resolve_tenant(snapshot.policies, allowed, self.tenant, home)
            if self._source_is_denied(snapshot):
                error = InvalidRequestError("source.certificate", "is denied")
                return self._refused(Cause.IDENTITY, error)
            return self.mapped(snapshot.mappings.get(tenant), now_ns, verify)
        except InvalidRequestError as error:
            return self._refused(Cause.INVALID, error)

    def _source_is_denied(self, snapshot: Snapshot) -> bool:
        """Whether the emergency list denies the certificate that the proxy forwards.

        INVARIANT: whoever shows a certificate that was withdrawn gets nothing, also where the
        mapping takes the subject from elsewhere.
        """
        http = self.http
        if isinstance(http, InvalidRequestError) or not http.spiffe_id:
            return False
        return snapshot.denials.denies_caller(Caller(http.spiffe_id, http.serial))

    def mapped(
        self, mapping: HttpMapping | None, now_ns: int, verify: Verify
    ) -> Admitted | Refused:
        """What is asked by a mapping; whose it is, `translate` has found out.

        Raises:
            InvalidRequestError: the request has no one meaning.
        """
        if mapping is None:
            error = InvalidRequestError("http", "has no meaning: the bundle has no mapping")
            return self._refused(Cause.DEFAULT, error)
        if isinstance(self.http, InvalidRequestError):
            raise self.http
        facts = judge(self.http, self.caller, now_ns, mapping.readable)
        if mapping.json_body:
            facts = _with_body(facts, self.http.body)
        route = mapping.route(facts)
        if isinstance(route, NotMapped):
            return self._not_mapped(route)
        self.mapping, self.route, self.wants_token = mapping, route.id, route.bearer
        token = None
        if route.bearer:
            token = verify(facts.bearer) if facts.bearer else None
            if token is None:
                error = InvalidRequestError("authorization", "has no token that proves a subject")
                return self._refused(Cause.IDENTITY, error)
        return self._asked(route, facts, token)

    def _asked(
        self, route: Route, facts: HttpFacts, token: SubjectToken | None
    ) -> Admitted | Refused:
        named = None if token is None else (token.subject_type, token.subject_id)
        asked = route.question(facts, named)
        if isinstance(asked, NotMapped):
            return self._not_mapped(asked)
        asked = replace(
            asked,
            tenant=self.tenant,
            request_id=self.request_id,
            subject_token="" if token is None else facts.bearer,
        )
        admitted = boundary.admit(asked, self.caller, self.limits)
        self.request = asked
        self._check_upstream()
        return admitted if token is None else with_token(admitted, token)

    def _check_upstream(self) -> None:
        """What goes on as a header must be one. Before the decision: a permit could not be sent.

        Raises:
            InvalidRequestError: it cannot be written as one.
        """
        said = self.upstream_values("")
        for name, source in () if self.mapping is None else self.mapping.upstream:
            if source is not UpstreamSource.DECISION_ID and not HEADER_VALUE.fullmatch(
                said[source]
            ):
                raise InvalidRequestError(source.name.lower(), f"cannot be the header `{name}`")

    def upstream_values(self, decision_id: str) -> Mapping[UpstreamSource, str]:
        """What headers for the upstream say."""
        request = self.request
        return {
            UpstreamSource.SUBJECT_TYPE: request.subject.type,
            UpstreamSource.SUBJECT_ID: request.subject.id,
            UpstreamSource.RESOURCE_ID: request.resource.id,
            UpstreamSource.DECISION_ID: decision_id,
        }

    def _not_mapped(self, found: NotMapped) -> Refused:
        self.route = found.route or self.route
        return self._refused(found.cause, found.error)

    def _refused(self, cause: Cause, error: InvalidRequestError) -> Refused:
        return Refused(self.request, error, cause)

    def facts(self) -> audit_pb2.HttpFacts:
        """For the record: no header, no query, no body."""
        http = self.http
        if isinstance(http, InvalidRequestError):
            return audit_pb2.HttpFacts(route=self.route)
        return audit_pb2.HttpFacts(
            route=self.route,
            method=http.method[:_METHOD_CHARACTERS_MAX],
            host=http.host[:_HOST_CHARACTERS_MAX],
            path=http.path[:_PATH_CHARACTERS_MAX],
        )


def _with_body(facts: HttpFacts, body: bytes | None) -> HttpFacts:
    """With the body, if all of it is there and is JSON with one meaning; else reading it fails."""
    kind = facts.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body is None or kind != _JSON or "content-encoding" in facts.headers:
        return facts
    # Where both are said, they agree: somebody may have cut it, or put two requests into one.
    length = facts.headers.get("content-length")
    if length is not None and length != str(len(body)):
        return facts
    try:
        value = parse(body.decode("utf-8"))
    except ValueError:
        return facts
    return replace(facts, attributes={**facts.attributes, "http.body": value})
