"""Subjects, actions and resources as requests share them. Law ring: pure; the client loads it."""

from __future__ import annotations

from pdp.model import Action, Resource, Subject
from pdp.values import Value


class Part:
    """A subject, action or resource that was judged, and what conditions see of it.

    May be part of many requests (`pdp.interning`), so nobody changes anything in it.
    It is compared by identity; what is noted on it saves work and changes nothing.

    Attributes:
        entity: as the model has it.
        names: what conditions see, `subject`, `subject.id`, ...
        properties: those of the entity.
        judged: by whose schemas it was looked at, and what they said.
        roles: the static roles that were read from it, in a tuple of one; empty: not yet.
        size: bytes of memory that it takes.
    """

    __slots__ = ("entity", "judged", "names", "properties", "roles", "size")

    def __init__(self, entity: Subject | Action | Resource, kind: str, size: int) -> None:
        # INVARIANT: plain, judged and nobody else's; `pdp.interning` decoded it.
        properties: dict[str, Value] = entity.properties  # type: ignore[assignment]
        self.entity = entity
        self.properties = properties
        self.names = (
            names_of(kind, {"name": entity.name, "properties": properties})
            if isinstance(entity, Action)
            else names_of(kind, {"type": entity.type, "id": entity.id, "properties": properties})
        )
        self.size = size
        self.judged: tuple[object, str] | None = None
        self.roles: tuple[frozenset[str] | None, ...] = ()


def names_of(kind: str, entity: dict[str, Value]) -> dict[str, Value]:
    """What conditions see of a subject, an action or a resource: all of it, and each of its own."""
    return {kind: entity, **{f"{kind}.{name}": value for name, value in entity.items()}}


# Subject, action and resource of one request.
Parts = tuple[Part, Part, Part]
