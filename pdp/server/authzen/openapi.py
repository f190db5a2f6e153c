"""The OpenAPI document: what the door takes and says, for generators and fuzzers.

It says what is accepted, not all that is refused: sums over a whole body, depth and
bytes of UTF-8 have no words in JSON Schema.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import pdp
from pdp.model import Cause
from pdp.server.authzen.evaluations import SEMANTICS
from pdp.server.authzen.messages import JSON, Json
from pdp.values import INT64_MAX, INT64_MIN

# The limit of names is in bytes; a character takes up to four.
_NAME_CHARACTERS_MAX: Final = 256
_TEXT: Final[Json] = {"type": "string"}
_ALL: Final[Json] = {"type": "object"}


def openapi(
    base_url: str, evaluations: tuple[str, str], searches: tuple[str, ...], metadata: str
) -> Json:
    """The document.

    Args:
        base_url: the server's.
        evaluations: paths, below the base URL: of one question, of many.
        searches: likewise, for subjects, resources and actions; empty: there are none.
        metadata: path, from the root of the host.
    """
    host = urlsplit(base_url)
    get = _operation("metadata", "What this PDP offers, and where", "Metadata")
    get["servers"] = [{"url": f"{host.scheme}://{host.netloc}"}]
    single, many = evaluations
    paths: Json = {
        single: {"post": _asked("evaluation", "May the subject do this?", "Evaluation")},
        many: {"post": _asked("evaluations", "Many questions at one moment", "Evaluations")},
    }
    for path in searches:
        noun = path.rpartition("/")[2]
        paths[path] = {"post": _searched(noun)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Portcullis: AuthZEN Authorization API 1.0",
            "version": pdp.__version__,
            "description": (
                "Only status 200 with `decision` exactly true permits: whatever else comes, or "
                "does not come, is a denial. Callers show an X.509-SVID in the TLS handshake."
            ),
        },
        "servers": [
            {"url": base_url},
            {
                "url": base_url + "/{tenant}",
                "description": "of one tenant, for callers that have several",
                "variables": {"tenant": {"default": "default"}},
            },
        ],
        "security": [{"svid": []}],
        "paths": {**paths, metadata: {"get": get}},
        "components": {
            "securitySchemes": {"svid": {"type": "mutualTLS"}},
            "schemas": {**_questions(), **_answers(), **_search_schemas()},
        },
    }


def _operation(name: str, summary: str, answer: str) -> Json:
    said = {
        "200": (summary, answer),
        "401": ("the certificate breaks a rule of X.509-SVIDs", "Failure"),
        "405": ("another method", "Failure"),
        "500": ("the server failed", "Failure"),
    }
    return {
        "operationId": name,
        "summary": summary,
        "responses": {status: _response(*about) for status, about in said.items()},
    }


def _asked(name: str, summary: str, kind: str) -> Json:
    found = _operation(name, summary, f"{kind}Answer")
    found["parameters"] = [
        {
            "name": "X-Request-ID",
            "in": "header",
            "description": "goes back as it came, and is kept with the record",
            "schema": {"type": "string", "maxLength": _NAME_CHARACTERS_MAX},
        },
        # No parameter of the name `Authorization`: OpenAPI would pass it over.
    ]
    found["requestBody"] = {
        "required": True,
        "content": {JSON: {"schema": _ref(f"{kind}Question")}},
    }
    found["responses"] |= {
        "400": _response("the body, its type or a header is wrong", "Failure"),
        "503": _response("more at once than fits the limits of what is in flight", "Failure"),
    }
    return found


def _searched(noun: str) -> Json:
    found = _asked(f"search_{noun}", f"Which {noun}s is this permitted for?", "Search")
    question = _ref(f"{noun.capitalize()}Search")
    found["requestBody"]["content"][JSON]["schema"] = question
    found["responses"] |= {
        "403": _response("the caller may not search", "Failure"),
        "503": _response("nothing was searched: what was needed was not there", "Failure"),
    }
    return found


def _response(description: str, schema: str) -> Json:
    return {"description": description, "content": {JSON: {"schema": _ref(schema)}}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: tuple[str, ...], **properties: Json) -> Json:
    """Open: members that AuthZEN does not know are passed over."""
    return {"type": "object", "required": list(required), "properties": properties}


def _questions() -> Json:
    name = {"type": "string", "minLength": 1, "maxLength": _NAME_CHARACTERS_MAX}
    value: Json = {
        "description": "without `.` and `e` a number is an int64",
        "anyOf": [
            {"type": ["null", "boolean", "string"]},
            {"type": "integer", "minimum": INT64_MIN, "maximum": INT64_MAX},
            {"type": "number"},
            {"type": ["array", "object"]},
        ],
    }
    properties = {"type": "object", "additionalProperties": _ref("Value")}
    entity = _object(("type", "id"), type=name, id=name, properties=_ref("Properties"))
    parts = {
        "subject": _ref("Entity"),
        "action": _ref("Action"),
        "resource": _ref("Entity"),
        "context": _ref("Properties"),
    }
    semantic = {"type": "string", "enum": list(SEMANTICS), "default": "execute_all"}
    return {
        "Value": value,
        "Properties": properties,
        "Entity": entity,
        "Action": _object(("name",), name=name, properties=_ref("Properties")),
        "EvaluationQuestion": _object(("subject", "action", "resource"), **parts),
        "EvaluationsQuestion": _object(
            (),
            **parts,
            evaluations={"type": "array", "items": _object((), **parts)},
            options=_object((), evaluations_semantic=semantic),
        ),
    }


def _answers() -> Json:
    duties = {
        "type": "array",
        "items": _object(("id", "type", "properties"), id=_TEXT, type=_TEXT, properties=_ALL),
    }
    reasons = {"type": "object", "additionalProperties": _TEXT}
    number = {"type": "integer"}
    error = _object(("status", "message"), status=number, message=_TEXT)
    context = _object(
        ("cause",),
        cause={"type": "string", "enum": [cause.name for cause in Cause]},
        rules={"type": "array", "items": _TEXT},
        obligations=duties,
        advice=duties,
        reason=_TEXT,
        unlisted_actions={"type": "array", "items": _TEXT},
        reason_user=reasons,
        reason_admin=reasons,
        schema_violation=_TEXT,
        decision_id=_TEXT,
        bundle=_object(("revision", "digest"), revision=number, digest=_TEXT),
        record=_object(("pdp_id", "seq", "hash"), pdp_id=_TEXT, seq=number, hash=_TEXT),
        error=error,
    )
    one = _object(("decision", "context"), decision={"type": "boolean"}, context=_ref("Context"))
    many = _object(("evaluations",), evaluations={"type": "array", "items": _ref("Answer")})
    return {
        "Context": context,
        "Answer": one,
        "EvaluationAnswer": _ref("Answer"),
        # Without items the body is a single question, and answered as one.
        "EvaluationsAnswer": {"anyOf": [many, _ref("Answer")]},
        "Failure": _object(("error",), error=error),
        "Metadata": _object(
            ("policy_decision_point", "access_evaluation_endpoint"),
            policy_decision_point=_TEXT,
            access_evaluation_endpoint=_TEXT,
            access_evaluations_endpoint=_TEXT,
            search_subject_endpoint=_TEXT,
            search_resource_endpoint=_TEXT,
            search_action_endpoint=_TEXT,
            capabilities={"type": "array", "items": _TEXT},
            signed_metadata=_TEXT,
        ),
    }


def _search_schemas() -> Json:
    name = {"type": "string", "minLength": 1, "maxLength": _NAME_CHARACTERS_MAX}
    # Its id is passed over, whatever it is.
    wanted = _object(("type",), type=name, properties={"type": "object", "maxProperties": 0})
    entity, context = _ref("Entity"), _ref("Properties")
    page = _object((), token=_TEXT, limit={"type": "integer", "minimum": 1, "maximum": INT64_MAX})
    rest = {"context": context, "page": page}
    duties = _ref("ResultContext")
    return {
        "SubjectSearch": _object(
            ("subject", "action", "resource"),
            subject=wanted,
            action=_ref("Action"),
            resource=entity,
            **rest,
        ),
        "ResourceSearch": _object(
            ("subject", "action", "resource"),
            subject=entity,
            action=_ref("Action"),
            resource=wanted,
            **rest,
        ),
        "ActionSearch": _object(("subject", "resource"), subject=entity, resource=entity, **rest),
        "ResultContext": _object((), obligations={"type": "array"}, advice={"type": "array"}),
        "SearchAnswer": _object(
            ("results", "page", "context"),
            results={
                "type": "array",
                "items": {
                    "anyOf": [
                        _object(("type", "id"), type=name, id=name, context=duties),
                        _object(("name",), name=name, context=duties),
                    ]
                },
            },
            page=_object(("next_token",), next_token=_TEXT, count={"type": "integer"}),
            context=_ref("Context"),
        ),
    }
