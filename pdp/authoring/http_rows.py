"""Rows of tests that ask over HTTP, as Envoy would: `http` in place of a question.

    http: {method: GET, path: /documents/7, headers: {x-purpose: audit}}

The folder's HTTP mapping makes the question, by the code that does it in the PDP. What does not
become one is the denial that Envoy would be given. With `token`, `subject` says whom it proves.
"""

from __future__ import annotations

import json

from pdp.authoring.fields import NAME, Fields, value_of
from pdp.authoring.nodes import Map, Node
from pdp.authoring.problems import Problems, word
from pdp.http_request import AUTHORIZATION, HttpRequest

# Stands in the header where a row brings claims: no issuer signed any.
TOKEN = "of-the-row"  # noqa: S105 a word
_HOST = "localhost"


def read_http(node: Node, problems: Problems, *, proved: bool) -> HttpRequest | None:
    """What the proxy would say; None after a problem.

    Args:
        node: of `http`.
        problems: gets what is wrong.
        proved: whether the row brings the claims of a token.
    """
    required = {"method": "write `method: GET`", "path": "write `path: /documents/7`"}
    optional = ("host", "scheme", "headers", "body", "source", "extensions")
    before = len(problems)
    fields = Fields(node, "`http`", problems, required=required, optional=optional)
    method, path = fields.verbatim("method"), fields.verbatim("path")
    host, scheme = fields.verbatim("host"), fields.verbatim("scheme")
    source = fields.text("source", NAME)
    headers = list(_texts(fields, "headers").items())
    if proved:
        headers.append((AUTHORIZATION, f"Bearer {TOKEN}"))
    body = fields.node("body")
    data = None
    if body is not None:
        data = json.dumps(value_of(body), ensure_ascii=False).encode()
        headers.append(("content-type", "application/json"))
    if len(problems) > before or method is None or path is None:
        return None
    return HttpRequest(
        method=method,
        target=path,
        host=_HOST if host is None else host,
        scheme=scheme or "",
        headers=headers,
        body=data,
        principal=source or "",
        spiffe_id=source or "",
        extensions=_texts(fields, "extensions"),
    )


def _texts(fields: Fields, key: str) -> dict[str, str]:
    """A map of strings."""
    node = fields.node(key)
    if node is None:
        return {}
    if not isinstance(node, Map):
        fields.problems.add(node.position, f"{word(key)} must be a map", "write `x-name: value`")
        return {}
    found = {}
    for name, value in node.entries:
        if (scalar := fields.string(value, word(name.text))) is not None:
            found[name.text] = scalar.text
    return found
