"""Documents beside the policies that no policy has to do with, and parts of them.

What is shared and what is a schema is reviewed as if it meant something. A
schema with a misspelt name would refuse nothing, and no condition would be
compared with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from pdp.actions import action_matches
from pdp.authoring.compilation import Compilation
from pdp.authoring.findings import KINDS, Finding
from pdp.authoring.imports import is_shared
from pdp.authoring.nodes import Map, Scalar
from pdp.authoring.places import PolicyPlaces
from pdp.authoring.problems import Problems, closest, word
from pdp.authoring.provider_document import is_provider, read_provider
from pdp.authoring.schema_document import TARGETS
from pdp.callers import ANY
from pdp.cel.limits import EvaluationLimits
from pdp.policy import EVERY_RESOURCE
from pdp.provided import may_read
from pdp.schema import Target

# What there is none of, by what the schema is about.
_NOBODY = {
    Target.SUBJECT: "no caller may ask for subjects of type",
    Target.RESOURCE: "no policy governs resources of type",
    Target.ACTION: "no rule is about the action",
    Target.CONTEXT: "no policy governs resources of type",
}


def unused(compilation: Compilation, places: Mapping[str, PolicyPlaces]) -> Iterator[Finding]:
    """Shared definitions and schemas that mean nothing.

    Args:
        compilation: without problems.
        places: of each policy, by its name.
    """
    # A document by itself is used by whoever is not looked at.
    if compilation.policies:
        yield from _unused_shared(compilation, places)
        yield from _unused_schemas(compilation)
        if compilation.providers:
            yield from _unused_providers(compilation)


def _unused_shared(
    compilation: Compilation, places: Mapping[str, PolicyPlaces]
) -> Iterator[Finding]:
    """Shared documents that nobody imports, and definitions in them that nobody uses.

    A compiled policy carries what it uses of what it imports, and nothing else.
    """
    used: dict[str, set[tuple[str, str]]] = {}
    for policy in compilation.policies:
        carried = [("variables", name) for name, _ in policy.variables]
        carried += [("roles", role.name) for role in policy.roles]
        carried += [("static_roles", name) for name in policy.static_roles]
        for root in places[policy.name].imported:
            used.setdefault(root.source.path, set()).update(carried)
    for path, root in compilation.roots.items():
        if not is_shared(root):
            continue
        shared = PolicyPlaces(root)
        if path not in used:
            message, at = "no policy imports these shared definitions", shared.at("name")
            yield Finding(KINDS["PC204"], message, at, "import them, or remove them", path)
            continue
        for section, name, at in shared.definitions():
            if (section, name) not in used[path]:
                message = f"no policy uses the shared definition {word(name)}"
                yield Finding(
                    KINDS["PC204"], message, at, "use it, or remove it", f"{path}: {name}"
                )


def _unused_schemas(compilation: Compilation) -> Iterator[Finding]:
    """Schemas of what, for certain, nobody asks about."""
    known = {target: _known(compilation, target) for target in Target}
    for path, root in compilation.roots.items():
        found = _about(root)
        if found is None:
            continue
        target, name = found
        there = known[target]
        if there is None or any(action_matches(each, name.text) for each in there):
            continue
        message = f"the schema is about nothing: {_NOBODY[target]} {word(name.text)}"
        hint = closest(name.text, sorted(there)) or "correct the name, or remove the schema"
        yield Finding(KINDS["PC205"], message, name.position, hint, path)


def _about(root: Map) -> tuple[Target, Scalar] | None:
    """What a schema is about; None for any other document, and for a context of everything."""
    kind = root.get("kind")
    if not isinstance(kind, Scalar) or kind.text != "schema" or root.get("policy") is not None:
        return None
    for key, target in TARGETS.items():
        name = root.get(key)
        if isinstance(name, Scalar) and name.text != EVERY_RESOURCE:
            return target, name
    return None


def _known(compilation: Compilation, target: Target) -> Collection[str] | None:
    """All names, or patterns of actions, that may be asked about; None: it could be any."""
    if target is Target.ACTION:
        return {name for p in compilation.policies for rule in p.rules for name in rule.actions}
    if target is Target.SUBJECT:
        entries = () if compilation.callers is None else compilation.callers.entries
        found = {name for entry in entries for name in entry.asserts or (ANY,)}
    else:
        found = {policy.resource_type for policy in compilation.policies}
    return None if ANY in found else found


def _unused_providers(compilation: Compilation) -> Iterator[Finding]:
    """Attributes that are taken from callers for nothing."""
    rules = compilation.policy_set(EvaluationLimits()).rules
    paths = {path: root for path, root in compilation.roots.items() if is_provider(root)}
    for path, root in paths.items():
        draft = read_provider(root, Problems())
        if draft is None:
            continue
        document = draft.document
        for name, at in draft.places.items():
            if not any(may_read(document, name, rule.reads) for rule in rules):
                message = f"no rule reads {word(name)}, which provider {word(document.name)} owns"
                hint = "remove it, or let a rule read it"
                yield Finding(KINDS["PC206"], message, at, hint, f"{path}: {name}")
