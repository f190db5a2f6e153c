"""The wire contract: nothing published is removed or changed; what is written teaches.

`proto/published.json` holds every message, field, enum and method that was ever
published. `make proto` adds what is new to it and takes nothing away, so what
disappears or changes fails here, and review sees it. The rules are those of
`buf breaking` (WIRE_JSON) and `buf lint` (STANDARD and the COMMENT rules of
proto/buf.yaml), of which what this contract needs is written out below: `buf` is
no Python package, and `make test` is Python only.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from pdp.v1 import audit_pb2, authorization_pb2, bundle_pb2, checked_pb2, ext_authz_pb2
from tests.conftest import ROOT

PUBLISHED = ROOT / "proto" / "published.json"
PROTOS = sorted((ROOT / "proto").rglob("*.proto"))
MODULES = (audit_pb2, authorization_pb2, bundle_pb2, checked_pb2, ext_authz_pb2)
# Not ours: parts of cel-spec and of Envoy's API, as they are.
FOREIGN = {"checked.proto", "ext_authz.proto"}

Names = dict[str, str]


def contract() -> Names:
    """Everything that the wire depends on: a name, and what it is."""
    found: Names = {}
    for module in MODULES:
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        for message in file.message_type:
            found.update(_of_message(file.package, message))
        for enum in file.enum_type:
            found.update(_of_enum(file.package, enum))
        for service in file.service:
            for method in service.method:
                stream = f"{method.client_streaming:d}{method.server_streaming:d}"
                found[f"{file.package}.{service.name}/{method.name}"] = (
                    f"{method.input_type} {method.output_type} {stream}"
                )
    return found


def _of_message(scope: str, message: descriptor_pb2.DescriptorProto) -> Iterator[tuple[str, str]]:
    name = f"{scope}.{message.name}"
    yield name, "message"
    for field in message.field:
        oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
        kind = field.type_name or field.Type.Name(field.type)
        label = field.Label.Name(field.label)
        yield f"{name}#{field.number}", f"{field.name} {kind} {label} {oneof}".strip()
    for inner in message.nested_type:
        yield from _of_message(name, inner)
    for enum in message.enum_type:
        yield from _of_enum(name, enum)


def _of_enum(scope: str, enum: descriptor_pb2.EnumDescriptorProto) -> Iterator[tuple[str, str]]:
    yield f"{scope}.{enum.name}", "enum"
    for value in enum.value:
        yield f"{scope}.{enum.name}#{value.number}", value.name


def broken(published: Names, now: Names) -> list[str]:
    """What was published and is not there any more, or is something else."""
    return [
        f"{name}: was `{what}`, is `{now.get(name, 'gone')}`"
        for name, what in published.items()
        if now.get(name) != what
    ]


def test_nothing_published_is_removed_or_changed() -> None:
    """Every number keeps its name and type, every method its messages."""
    assert broken(json.loads(PUBLISHED.read_text()), contract()) == []


def test_everything_is_published() -> None:
    """What is new is in the list: `make proto` puts it there."""
    missing = contract().keys() - json.loads(PUBLISHED.read_text()).keys()
    assert sorted(missing) == [], "run `make proto`"


@pytest.mark.parametrize("change", ["removed", "renumbered", "retyped", "renamed", "method"])
def test_nothing_published_twin_with_a_breaking_change(change: str) -> None:
    """Each kind of breaking change is seen."""
    published = json.loads(PUBLISHED.read_text())
    now: dict[str, Any] = copy.deepcopy(published)
    field = "pdp.v1.AuthorizeResponse#3"
    match change:
        case "removed":
            del now[field]
        case "renumbered":
            now["pdp.v1.AuthorizeResponse#99"] = now.pop(field)
        case "retyped":
            now[field] = now[field].replace(".pdp.v1.Effect", "TYPE_BOOL")
        case "renamed":
            now[field] = now[field].replace("effect", "allowed")
        case "method":
            del now["pdp.v1.AuthorizationService/Authorize"]
    assert len(broken(published, now)) == 1


# -- what `buf lint` would say --------------------------------------------------------------------


def lint(text: str, module: Any) -> list[str]:
    """Rules of `buf lint` that are broken: names from descriptors, comments from the text."""
    file = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    problems = []
    folder = file.package.replace(".", "/")
    if not file.name.startswith(f"{folder}/") or not re.search(r"\.v\d+$", file.package):
        problems.append("PACKAGE_DIRECTORY_MATCH, PACKAGE_VERSION_SUFFIX")
    for message in file.message_type:
        problems += _lint_message(message)
    for enum in file.enum_type:
        problems += _lint_enum(enum)
    for service in file.service:
        problems += _lint_service(service)
    problems += [
        f"COMMENT: `{line.strip()}`"
        for before, line in _pairs(text)
        if re.match(r"\s*(message|enum|service|rpc) ", line) and not before.startswith("//")
    ]
    return problems


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    lines = text.splitlines()
    yield from ((before.strip(), line) for before, line in itertools.pairwise(lines))


def _lint_message(message: descriptor_pb2.DescriptorProto) -> Iterator[str]:
    if message.options.map_entry:
        return
    if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", message.name):
        yield f"MESSAGE_PASCAL_CASE: {message.name}"
    for field in message.field:
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", field.name):
            yield f"FIELD_LOWER_SNAKE_CASE: {message.name}.{field.name}"
    for oneof in message.oneof_decl:
        # Those of optional fields are made by the compiler.
        if not oneof.name.startswith("_") and not re.fullmatch(r"[a-z][a-z0-9_]*", oneof.name):
            yield f"ONEOF_LOWER_SNAKE_CASE: {message.name}.{oneof.name}"
    for inner in message.nested_type:
        yield from _lint_message(inner)
    for enum in message.enum_type:
        yield from _lint_enum(enum)


def _lint_enum(enum: descriptor_pb2.EnumDescriptorProto) -> Iterator[str]:
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper() + "_"
    if enum.options.allow_alias:
        yield f"ENUM_NO_ALLOW_ALIAS: {enum.name}"
    for value in enum.value:
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", value.name) or not value.name.startswith(prefix):
            yield f"ENUM_VALUE_PREFIX: {value.name}"
        if (value.number == 0) != (value.name == f"{prefix}UNSPECIFIED"):
            yield f"ENUM_ZERO_VALUE_SUFFIX: {value.name}"


def _lint_service(service: descriptor_pb2.ServiceDescriptorProto) -> Iterator[str]:
    if not service.name.endswith("Service"):
        yield f"SERVICE_SUFFIX: {service.name}"
    seen: set[str] = set()
    for method in service.method:
        for used, suffix in ((method.input_type, "Request"), (method.output_type, "Response")):
            if used.rpartition(".")[2] != f"{method.name}{suffix}":
                yield f"RPC_REQUEST_STANDARD_NAME: {method.name}: {used}"
            if used in seen:
                yield f"RPC_REQUEST_RESPONSE_UNIQUE: {used}"
            seen.add(used)


def _ours() -> list[tuple[str, Any]]:
    texts = {path.name: path.read_text() for path in PROTOS}
    modules = {module.DESCRIPTOR.name.rpartition("/")[2]: module for module in MODULES}
    assert texts.keys() == modules.keys()
    return [(texts[name], modules[name]) for name in sorted(texts.keys() - FOREIGN)]


def test_the_contract_is_written_by_the_rules() -> None:
    """Names, prefixes, zero values, request and response types, and comments that are there."""
    assert [problem for text, module in _ours() for problem in lint(text, module)] == []


def test_rules_twin_without_comments() -> None:
    """A contract without comments is seen."""
    text, module = next(pair for pair in _ours() if "service " in pair[0])
    bare = "\n".join(line for line in text.splitlines() if not line.strip().startswith("//"))
    assert len([item for item in lint(bare, module) if item.startswith("COMMENT")]) > 20


def test_rules_twin_with_bad_names() -> None:
    """Each kind of bad name is seen."""
    message = descriptor_pb2.DescriptorProto(name="bad_name")
    message.field.add(name="camelCase")
    assert len(list(_lint_message(message))) == 2
    enum = descriptor_pb2.EnumDescriptorProto(name="ColorKind")
    enum.value.add(name="RED", number=0)
    assert len(list(_lint_enum(enum))) == 2
    service = descriptor_pb2.ServiceDescriptorProto(name="Doors")
    service.method.add(name="Open", input_type=".a.Thing", output_type=".a.Thing")
    assert len(list(_lint_service(service))) == 4


if __name__ == "__main__":
    kept = json.loads(PUBLISHED.read_text()) if PUBLISHED.exists() else {}
    PUBLISHED.write_text(json.dumps(contract() | kept, indent=1, sort_keys=True) + "\n")
    sys.stdout.write(f"{PUBLISHED.relative_to(ROOT)}\n")
