"""HTTP mappings as a bundle carries them: `pdp.v1.CompiledHttpMapping` <-> documents.

Like `pdp.compiled`, of which it is a part: whatever the bytes, what comes out
has nothing absent that stands for something milder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from pdp.cel.syntax import Expression
from pdp.errors import DocumentError
from pdp.http_mapping import MappingDocument, RouteDocument, UpstreamSource
from pdp.v1 import bundle_pb2 as pb

if TYPE_CHECKING:
    from pdp.compiled import CheckedCondition

# Reads a condition; with `True` it must be able to be a truth value.
Read = Callable[[pb.CompiledCondition, bool], Expression]
Write = Callable[["CheckedCondition", pb.CompiledCondition], None]


def mapping_to_pb(
    document: MappingDocument,
    expressions: Mapping[tuple[str, str], CheckedCondition],
    write: Write,
    out: pb.CompiledHttpMapping,
) -> None:
    """Encode; equal for equal arguments.

    Args:
        document: as checked.
        expressions: their checked forms, by route and part (`pdp.http_mapping.parts`).
        write: writes one.
        out: gets it.

    Raises:
        KeyError: one is missing.
    """
    out.headers.extend(sorted(document.headers))
    out.json_body = document.json_body
    for name, source in sorted(document.upstream):
        out.set.add(name=name, source=cast("pb.UpstreamHeader.Source", source.value))
    out.remove.extend(sorted(document.remove))
    for route in document.routes:
        made = out.routes.add(id=route.id, resource_type=route.resource_type)
        places = {
            "when": (route.when, made.when),
            "action": (route.action, made.action),
            "resource.id": (route.resource_id, made.resource_id),
            "subject.properties": (route.subject_properties, made.subject_properties),
            "resource.properties": (route.resource_properties, made.resource_properties),
            "context": (route.context, made.context),
        }
        if route.subject is None:
            made.bearer.SetInParent()
        else:
            made.asserted.type = route.subject[0]
            write(expressions[route.id, "subject.id"], made.asserted.id)
        for part, (expression, place) in places.items():
            if expression is not None:
                write(expressions[route.id, part], place)


def mapping_from_pb(message: pb.CompiledHttpMapping, read: Read, items_max: int) -> MappingDocument:
    """Decode.

    Args:
        message: as it came.
        read: reads one expression.
        items_max: of one list.

    Raises:
        DocumentError: something is missing or unknown.
        ExpressionError: an expression cannot be loaded.
    """
    if max(map(len, (message.headers, message.set, message.remove, message.routes))) > items_max:
        raise DocumentError(f"a mapping has a list of more than {items_max} items")
    known = {source.value: source for source in UpstreamSource}
    upstream = []
    for header in message.set:
        if header.source not in known:
            raise DocumentError(f"header `{header.name}` of a mapping says nothing that is known")
        upstream.append((header.name, known[header.source]))
    return MappingDocument(
        headers=tuple(message.headers),
        json_body=message.json_body,
        routes=tuple(_route(each, read) for each in message.routes),
        upstream=tuple(upstream),
        remove=tuple(message.remove),
    )


def _route(message: pb.CompiledRoute, read: Read) -> RouteDocument:
    what = f"route `{message.id}`"

    def optional(name: str) -> Expression | None:
        # INVARIANT: unset means everything, or nothing; set and empty is damaged, and `read` says.
        return read(getattr(message, name), name == "when") if message.HasField(name) else None

    subject = None
    match message.WhichOneof("subject"):
        case "asserted":
            subject = message.asserted.type, read(message.asserted.id, False)  # noqa: FBT003
        case "bearer":
            pass
        case _:
            raise DocumentError(f"{what} does not say how the subject is known")
    return RouteDocument(
        id=message.id,
        when=optional("when"),
        subject=subject,
        action=read(message.action, False),  # noqa: FBT003
        resource_type=message.resource_type,
        resource_id=read(message.resource_id, False),  # noqa: FBT003
        subject_properties=optional("subject_properties"),
        resource_properties=optional("resource_properties"),
        context=optional("context"),
    )
