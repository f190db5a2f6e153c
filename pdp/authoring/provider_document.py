"""A provider as its author wrote it: `kind: provider` documents.

    kind: provider
    name: hr
    subject: user
    attributes: [grade, suspended]
    max_age_s: 30

Who says some attributes of a subject or a resource type, and how old what was said may
be. Where the provider is and how it is asked stands in the operator's configuration alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pdp.authoring.fields import IDENTIFIER, NAME, Fields
from pdp.authoring.nodes import Map, Scalar
from pdp.authoring.problems import Problems, closest, word
from pdp.errors import Position
from pdp.provided import AGE_SECONDS_MAX, ATTRIBUTES_MAX, PROVIDERS_MAX, ProviderDocument
from pdp.schema import Schema, SchemaDocument, Target, described

TARGETS: Mapping[str, Target] = {"subject": Target.SUBJECT, "resource": Target.RESOURCE}

_NOTHING = Schema(frozenset())


@dataclass(frozen=True, slots=True)
class ProviderDraft:
    """A provider with the places of its name and its attributes."""

    document: ProviderDocument
    position: Position
    places: Mapping[str, Position]


def read_provider(root: Map, problems: Problems) -> ProviderDraft | None:
    """Read a provider; None after a problem."""
    before = len(problems)
    named = [key for key, _ in root.entries if key.text in TARGETS]
    fields = Fields(
        root,
        "the provider document",
        problems,
        required={
            "kind": "write `kind: provider`",
            "name": "write `name: hr`; the operator configures a provider of this name",
            "attributes": "list the properties that it owns, `[suspended]`",
            "max_age_s": "write how many seconds old a value may be, `max_age_s: 30`; 0 asks anew",
        },
        optional=tuple(TARGETS),
    )
    if len(named) != 1:
        message = "a provider is about exactly one of a subject or a resource type"
        at = named[1].position if named else root.position
        problems.add(at, message, "write `subject: user` or `resource: expense_report`")
        return None
    key = named[0].text
    name, kind = fields.text("name", IDENTIFIER), fields.text(key, NAME)
    if kind is not None and "*" in kind:
        problems.add(fields.at(key), f"{word(key)} {word(kind)} is no pattern", "name one type")
    attributes = fields.texts("attributes", NAME, "list at least one property")
    max_age_s = _seconds(fields, "max_age_s")
    if attributes is not None and len(attributes) > ATTRIBUTES_MAX:
        message = f"a provider owns at most {ATTRIBUTES_MAX} attributes"
        problems.add(attributes[ATTRIBUTES_MAX].position, message, "keep what rules read")
    if len(problems) > before or None in (name, kind, attributes, max_age_s):
        return None
    places = {item.text: item.position for item in attributes or ()}
    document = ProviderDocument(
        name or "", TARGETS[key], kind or "", tuple(sorted(places)), max_age_s or 0
    )
    return ProviderDraft(document, fields.at("name"), places)


def _seconds(fields: Fields, key: str) -> int | None:
    node = fields.node(key)
    if node is None:
        return None
    value = node.value if isinstance(node, Scalar) else None
    if type(value) is int and 0 <= value <= AGE_SECONDS_MAX:
        return value
    message = f"{word(key)} must be a whole number of seconds from 0 to {AGE_SECONDS_MAX}"
    fields.problems.add(node.position, message, "write `30`")
    return None


def check_providers(
    drafts: Sequence[ProviderDraft], schemas: Iterable[SchemaDocument], problems: Problems
) -> None:
    """Note what is wrong with providers as a whole: owners of the same, owners of nothing.

    Args:
        drafts: all of a folder, in the order of their paths.
        schemas: all of it.
        problems: gets what is wrong.
    """
    declared = {(schema.target, schema.name): schema for schema in schemas}
    names: dict[str, Position] = {}
    owners: dict[tuple[Target, str, str], tuple[str, Position]] = {}
    if len(drafts) > PROVIDERS_MAX:
        message = f"there are more than {PROVIDERS_MAX} providers"
        problems.add(drafts[PROVIDERS_MAX].position, message, "join those of one type")
    for draft in drafts:
        document = draft.document
        first = names.setdefault(document.name, draft.position)
        if first != draft.position:
            message = f"provider {word(document.name)} is defined twice"
            problems.add(draft.position, message, f"the other one is at {first}")
            continue
        schema = declared.get((document.target, document.type))
        known = () if schema is None else schema.schema.properties
        for name, at in draft.places.items():
            owner = owners.setdefault((document.target, document.type, name), (document.name, at))
            if owner[1] != at:
                message = f"attribute {word(name)} is owned by provider {word(owner[0])} as well"
                problems.add(at, message, f"that is at {owner[1]}: an attribute has one owner")
            if name not in {item.name for item in known}:
                about = described(SchemaDocument(document.target, document.type, _NOTHING))
                message = f"no schema of {about} declares {word(name)}"
                hint = closest(name, [item.name for item in known])
                problems.add(at, message, hint or "declare it: values are compared with it")


def with_owned(
    schemas: Iterable[SchemaDocument], providers: Iterable[ProviderDocument]
) -> tuple[SchemaDocument, ...]:
    """The schemas as conditions see them: what a provider owns is there, or an error.

    So nobody has to ask whether it is there, and who asks nevertheless learns nothing.
    """
    owned = {(each.target, each.type, name) for each in providers for name in each.attributes}
    found = []
    for document in schemas:
        properties = tuple(
            replace(item, required=True)
            if (document.target, document.name, item.name) in owned
            else item
            for item in document.schema.properties
        )
        schema = replace(document.schema, properties=properties)
        found.append(replace(document, schema=schema))
    return tuple(found)


def is_provider(root: Map) -> bool:
    """Whether a document is one of these."""
    kind = root.get("kind")
    return isinstance(kind, Scalar) and kind.text == "provider" and root.get("policy") is None
