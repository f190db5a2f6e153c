"""What Envoy is answered: let it go on, or not.

INVARIANT: there is one way to say yes, `allowed`, and it needs a permit. All
else is `denied_response`, never `error_response` and never an error status of
gRPC: Envoy lets requests pass on those where it is configured to
(`failure_mode_allow`), and a denial must not depend on that.

A denial tells the client no cause and no attribute: causes go to Envoy as
dynamic metadata, for its access log.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

from google.protobuf.wrappers_pb2 import BoolValue

from pdp.http_mapping import DECISION_HEADER, OVERRIDES, HttpMapping, UpstreamSource, header_problem
from pdp.http_request import HEADER_VALUE
from pdp.model import Cause, Decision, Effect, Obligation
from pdp.v1 import ext_authz_pb2 as pb

OK: Final = 200
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
# google.rpc.Code
_PERMISSION_DENIED: Final = 7
_UNAUTHENTICATED: Final = 16
_WORDS: Final = {UNAUTHORIZED: "unauthorized", FORBIDDEN: "forbidden"}
# Of the texts that authors wrote for whoever is denied.
_REASONS_MAX: Final = 8
_OVERWRITE: Final = pb.EnvoyHeaderOption.APPEND_ACTION_OVERWRITE_IF_EXISTS_OR_ADD

# The one kind of obligation that this door meets: a header of the request that goes on.
HEADER_OBLIGATION: Final = "upstream_header"


def obliged(obligations: Iterable[Obligation]) -> Mapping[str, str] | None:
    """The headers that obligations ask for; None: one of them cannot be met here.

    An obligation of type `upstream_header` has the properties `name` and `value`.
    """
    found: dict[str, str] = {}
    for duty in obligations:
        name, value = duty.properties.get("name"), duty.properties.get("value")
        if duty.type != HEADER_OBLIGATION or duty.properties.keys() != {"name", "value"}:
            return None
        if type(name) is not str or type(value) is not str:
            return None
        if header_problem(name, written=True) or not HEADER_VALUE.fullmatch(value):
            return None
        # Two that differ: neither is met by sending the other.
        if found.setdefault(name, value) != value:
            return None
    return found


def allowed(
    decision: Decision, mapping: HttpMapping, values: Mapping[UpstreamSource, str]
) -> pb.EnvoyCheckResponse | None:
    """Let it go on; None: that must not be said.

    Args:
        decision: that permits.
        mapping: that asked.
        values: of the headers that it sets.
    """
    if decision.effect is not Effect.PERMIT or not decision.decision_id:
        return None
    duties = obliged(decision.obligations)
    if duties is None:
        return None
    headers = {name: values[source] for name, source in mapping.upstream}
    if duties.keys() & headers.keys():
        # One name, two authors.
        return None
    headers |= duties
    headers[DECISION_HEADER] = decision.decision_id
    out = pb.EnvoyCheckResponse()
    out.status.SetInParent()
    answer = out.ok_response
    for name, value in headers.items():
        _set(answer.headers.add(), name, value)
    # Envoy removes before it adds; what is set is not among them even so.
    answer.headers_to_remove.extend(sorted({*mapping.remove, *OVERRIDES} - headers.keys()))
    _tell(out, decision, decision.cause)
    return out


def denied(
    decision: Decision, *, wants_token: bool = False, unusable: bool = False
) -> pb.EnvoyCheckResponse:
    """Do not let it go on, whatever the decision says.

    Args:
        decision: why; one that permits is denied too.
        wants_token: whether another token might be answered otherwise.
        unusable: whether this door could not do what a permit asked of it.
    """
    unproven = wants_token and decision.cause is Cause.IDENTITY
    code = UNAUTHORIZED if unproven else FORBIDDEN
    out = pb.EnvoyCheckResponse()
    out.status.code = _UNAUTHENTICATED if unproven else _PERMISSION_DENIED
    out.status.message = "denied"
    answer = out.denied_response
    answer.status.code = code
    body: dict[str, object] = {"error": _WORDS[code]}
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    if decision.decision_id:
        headers[DECISION_HEADER] = body["decision_id"] = decision.decision_id
    texts = [reason.text for reason in decision.reason_user[:_REASONS_MAX]]
    if texts and decision.effect is Effect.DENY:
        body["reasons"] = texts
    if unproven:
        headers["www-authenticate"] = "Bearer"
    for name, value in headers.items():
        _set(answer.headers.add(), name, value)
    answer.body = json.dumps(body, ensure_ascii=True) + "\n"
    _tell(out, decision, Cause.UNUSABLE if unusable else decision.cause)
    return out


def last_resort() -> bytes:
    """A denial that needs nothing to be in order. Made once."""
    out = pb.EnvoyCheckResponse()
    out.status.code = _PERMISSION_DENIED
    out.denied_response.status.code = FORBIDDEN
    out.denied_response.body = '{"error": "forbidden"}\n'
    return out.SerializeToString()


def _set(option: pb.EnvoyHeaderOption, name: str, value: str) -> None:
    """A header that takes the place of all of its name.

    INVARIANT: said in both ways that Envoy has: `append` is the older one and its default is
    to append, which would leave what the client sent in front.
    """
    option.header.key, option.header.value = name, value
    option.append.CopyFrom(BoolValue(value=False))
    option.append_action = _OVERWRITE


def _tell(out: pb.EnvoyCheckResponse, decision: Decision, cause: Cause) -> None:
    """For Envoy's access log."""
    out.dynamic_metadata.update({"decision_id": decision.decision_id, "cause": cause.name})
