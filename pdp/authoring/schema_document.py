"""A schema as its author wrote it: `kind: schema` documents.

What part of a request it is about, and the JSON Schema, which
`pdp.authoring.json_schema` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pdp.authoring.fields import NAME, Fields
from pdp.authoring.json_schema import read_json_schema
from pdp.authoring.nodes import Map
from pdp.authoring.problems import Problems, word
from pdp.errors import Position
from pdp.schema import ANY, Kind, SchemaDocument, Target

TARGETS: Mapping[str, Target] = {
    "subject": Target.SUBJECT,
    "resource": Target.RESOURCE,
    "action": Target.ACTION,
    "context": Target.CONTEXT,
}
# What `unguarded` may say.
UNGUARDED = "in-doubt"


@dataclass(frozen=True, slots=True)
class SchemaDraft:
    """A schema with the place of its name."""

    document: SchemaDocument
    position: Position


def read_schema(root: Map, problems: Problems) -> SchemaDraft | None:
    """Read a schema; None after a problem."""
    before = len(problems)
    named = [key for key, _ in root.entries if key.text in TARGETS]
    hint = "write `resource: expense_report`, `subject: user`, `action: approve` or `context: …`"
    fields = Fields(
        root,
        "the schema document",
        problems,
        required={"kind": "write `kind: schema`", "schema": "write `schema: {type: object, …}`"},
        optional=("unguarded", *TARGETS),
    )
    if len(named) != 1:
        message = "a schema is about exactly one of a resource, a subject, an action or a context"
        problems.add(named[1].position if named else root.position, message, hint)
        return None
    key = named[0].text
    name = fields.text(key, NAME)
    if name is not None and "*" in name and (key, name) != ("context", ANY):
        message = f"{word(key)} {word(name)} is no pattern"
        hint = 'name one; only `context: "*"` is about all resource types'
        problems.add(fields.at(key), message, hint)
    unguarded = fields.choice("unguarded", (UNGUARDED,)) is not None
    node = fields.node("schema")
    schema = None if node is None else read_json_schema(node, problems)
    if len(problems) > before or schema is None or name is None:
        return None
    if schema.kinds != {Kind.MAP}:
        message = f"the schema of {word(key)} must be `type: object`"
        problems.add(node.position if node else root.position, message, "properties are a map")
        return None
    return SchemaDraft(SchemaDocument(TARGETS[key], name, schema, unguarded), fields.at(key))
