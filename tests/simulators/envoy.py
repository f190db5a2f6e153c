"""What Envoy says, right and wrong, and mappings that say what it asks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pdp import compiled
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import Compilation, compile_sources
from pdp.cel.limits import EvaluationLimits
from pdp.http_mapping import HttpMapping, MappingDocument
from pdp.v1 import ext_authz_pb2 as pb

CHECK = "/envoy.service.auth.v3.Authorization/Check"

# Policies that a mapping needs beside it, to be compiled at all.
AROUND: Mapping[str, bytes] = {
    "documents.yaml": b"""
policy: documents
resource: document
owner: o
rules: [{id: a, effect: deny, actions: ["*"]}]
""",
    "invoices.yaml": b"""
policy: invoices
resource: invoice
owner: o
rules: [{id: a, effect: deny, actions: ["*"]}]
""",
    "callers.yaml": b"""
kind: callers
callers:
  - {id: spiffe://a/b, resources: ["*"], actions: ["*"], subjects: {assert: [user]}}
""",
}

# Every part of a question from a header, so that any question can be asked.
ANYTHING = """
kind: http_mapping
headers: [x-subject-type, x-subject, x-action, x-resource]
body: json
upstream:
  set: {x-user-id: subject.id}
  remove: [x-role]
routes:
  - id: from-the-body
    when: http.method == "POST"
    subject: {type: user, id: http.body.subject.id, properties: http.body.subject.properties}
    action: http.body.action
    resource: {type: document, id: http.body.resource.id, properties: http.body.resource.properties}
    context: http.body.context
  - id: of-a-workload
    when: http.path == "/workload"
    subject: {type: workload, id: source.spiffe_id, properties: '{"seen": source.principal}'}
    action: '"read"'
    resource: {type: document, id: '"1"'}
  - id: of-a-token
    when: http.path == "/token"
    subject: {token: bearer}
    action: '"read"'
    resource: {type: document, id: '"1"'}
  - id: read
    when: http.segments.size() == 2 && http.segments[0] == "documents"
    subject: {type: user, id: 'http.headers["x-subject"]'}
    action: >-
      {"GET": "read", "PUT": "write", "DELETE": "destroy", "MARK": "mark",
      "LABEL": "label"}[http.method]
    resource: {type: document, id: 'http.segments[1]'}
    context: '{"query": http.query}'
"""

# The body is the question, the path says what it is about and who says who the subject is.
EVERY_QUESTION = "kind: http_mapping\nbody: json\nroutes:\n" + "".join(
    f"""
  - id: {about}-{how}
    when: http.path == "/{about}/{how}"
    subject: {subject}
    action: http.body.action
    resource:
      {{type: {about}, id: http.body.resource.id, properties: http.body.resource.properties}}
    context: http.body.context
"""
    for about in ("document", "invoice")
    for how, subject in (
        (
            "asserted",
            "{type: user, id: http.body.subject.id, properties: http.body.subject.properties}",
        ),
        (
            "machine",
            "{type: machine, id: http.body.subject.id, properties: http.body.subject.properties}",
        ),
        ("bearer", "{token: bearer, properties: http.body.subject.properties}"),
    )
)


def compilation_of(text: str, checker: Checker | None = None) -> Compilation:
    """What comes of a mapping between policies."""
    return compile_sources({**AROUND, "http.yaml": text.encode()}, checker)


@cache
def document_of(text: str) -> MappingDocument:
    """A mapping, as a PDP decodes it from a bundle."""
    found = compilation_of(text)
    found.raise_if_failed()
    (document,) = (each for each in found.documents if each.source_path == "http.yaml")
    decoded = compiled.decode(document.compiled)
    assert isinstance(decoded, MappingDocument)
    return decoded


def mapping_of(text: str = ANYTHING) -> HttpMapping:
    """A mapping, compiled as in the PDP."""
    return HttpMapping(document_of(text), EvaluationLimits())


def check_request(
    method: str = "GET",
    path: str = "/documents/1",
    headers: Mapping[str, str] | None = None,
    **http: Any,
) -> pb.EnvoyCheckRequest:
    """As Envoy would ask: alice, but for what is said.

    Args:
        method: of HTTP.
        path: with its query.
        headers: besides `x-subject: alice` and what Envoy adds.
        http: other fields of the HTTP request.
    """
    out = pb.EnvoyCheckRequest()
    asked = out.attributes.request.http
    asked.method, asked.path, asked.host, asked.scheme = method, path, "docs.example.org", "https"
    asked.protocol, asked.size = "HTTP/2", -1
    said = {
        ":method": method,
        ":path": path,
        ":authority": "docs.example.org",
        ":scheme": "https",
        "x-request-id": "0b1c",
        "x-subject": "alice",
        **(headers or {}),
    }
    for name, value in said.items():
        asked.headers[name] = value
    for name, value in http.items():
        setattr(asked, name, value)
    return out


def with_body(
    body: bytes, partial: str = "false", path: str = "/ask", **headers: str
) -> pb.EnvoyCheckRequest:
    """A POST with a body, as Envoy sends it where it buffers bodies."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return check_request(
        "POST",
        path,
        {"content-type": "application/json", "x-envoy-auth-partial-body": partial, **named},
        raw_body=body,
    )


def set_headers(answer: pb.EnvoyCheckResponse) -> dict[str, str]:
    """The headers that the upstream gets."""
    return {each.header.key: each.header.value for each in answer.ok_response.headers}


def told(answer: pb.EnvoyCheckResponse) -> tuple[int, str]:
    """HTTP status, 200 if it may go on, and the cause that Envoy is told."""
    cause = str(answer.dynamic_metadata.fields["cause"].string_value)
    if answer.WhichOneof("http_response") == "ok_response":
        assert answer.status.code == 0
        return 200, cause
    # INVARIANT: whatever else it is, Envoy must read it as a denial.
    assert answer.status.code != 0
    return answer.denied_response.status.code, cause
