"""From verified bytes to policies: the one place where an archive becomes a `PolicySet`.

Still hostile: what a stolen key signed comes through here too. Limits, shape,
digests and decoding are checked in this order, and nothing is handed out
until all of it holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pdp
from pdp import compiled
from pdp.archive import ArchiveLimits, read_archive
from pdp.bundle.anchor import Anchor
from pdp.bundle.manifest import MANIFEST_NAME, Manifest, is_too_new, parse_manifest, render_time
from pdp.callers import CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.errors import BundleRefusedError, PdpError
from pdp.http_mapping import HttpMapping, MappingDocument
from pdp.policy import PolicyDocument, PolicySet
from pdp.provided import ProviderDocument
from pdp.schema import SchemaDocument

SOURCES = "sources/"
COMPILED = "compiled/"
COMPILED_SUFFIX = ".pb"


@dataclass(frozen=True, slots=True)
class Bundle:
    """An archive whose shape and digests hold; nothing is compiled yet.

    Attributes:
        manifest: what it says about itself.
        sources: text of the documents, by path below `sources/`. For people
            and rebuilding; the PDP never parses them.
        compiled: one message per document, by the same path.
    """

    manifest: Manifest
    sources: Mapping[str, bytes]
    compiled: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Contents:
    """What the documents of a bundle come to.

    Attributes:
        policies: compiled, with the schemas.
        callers: who may ask.
        mapping: what HTTP requests ask; None: the bundle does not say.
    """

    policies: PolicySet
    callers: CallerPolicy
    mapping: HttpMapping | None


def read_bundle(archive: bytes, limits: ArchiveLimits) -> Bundle:
    """Read an archive and compare every digest.

    Raises:
        BundleRefusedError: see the message. If it raises anything else, that
            is a bug.
    """
    members = read_archive(archive, limits)
    data = members.pop(MANIFEST_NAME, None)
    if data is None:
        raise BundleRefusedError(f"the archive has no `{MANIFEST_NAME}`")
    manifest = parse_manifest(data)
    digests = {path: hashlib.sha256(member).hexdigest() for path, member in members.items()}
    for path in sorted(digests.keys() | manifest.members.keys()):
        if digests.get(path) != manifest.members.get(path):
            raise BundleRefusedError(f"`{path}` is not what `{MANIFEST_NAME}` says")
    sources: dict[str, bytes] = {}
    documents: dict[str, bytes] = {}
    for path, member in members.items():
        if path.startswith(SOURCES):
            sources[path.removeprefix(SOURCES)] = member
        elif path.startswith(COMPILED) and path.endswith(COMPILED_SUFFIX):
            documents[path.removeprefix(COMPILED).removesuffix(COMPILED_SUFFIX)] = member
        else:
            raise BundleRefusedError(f"the archive has an unknown member `{path}`")
    # A document without its source could never be rebuilt; a source without its document would
    # be read by people and by nothing else.
    for path in sorted(sources.keys() ^ documents.keys()):
        missing = "source" if path in documents else "compiled form"
        raise BundleRefusedError(f"the archive has no {missing} of `{path}`")
    return Bundle(manifest, sources, documents)


def check_manifest(
    manifest: Manifest, custom: Mapping[str, Any], anchor: Anchor = Anchor.PRODUCTION
) -> None:
    """What a PDP asks of a manifest, beyond its form.

    Args:
        manifest: as read.
        custom: what the targets role signed beside the archive's hash.
        anchor: where the PDP's trust starts.

    Raises:
        BundleRefusedError: not for this PDP, or not what was signed.
    """
    if problem := anchor.mark_problem(marked=manifest.development):
        raise BundleRefusedError(f"the bundle is {problem}")
    if is_too_new(manifest):
        raise BundleRefusedError(
            f"the bundle needs pdp {manifest.min_pdp} or newer, this is {pdp.__version__}: upgrade"
        )
    for key, value in custom_of(manifest).items():
        if key in custom and custom[key] != value:
            raise BundleRefusedError(f"the signed `{key}` is not that of the manifest")


def custom_of(manifest: Manifest) -> dict[str, Any]:
    """What the targets role signs beside the archive's hash, for people and tools."""
    return {
        "revision": manifest.revision,
        "signed_at": render_time(manifest.signed_at_s),
        "min_pdp": manifest.min_pdp,
        "digest": manifest.digest,
    }


def compile_bundle(
    bundle: Bundle, limits: EvaluationLimits, anchor: Anchor = Anchor.PRODUCTION
) -> Contents:
    """Decode and compile every document.

    Args:
        bundle: as read.
        limits: of evaluation.
        anchor: where the PDP's trust starts.

    Raises:
        BundleRefusedError: a document does not decode or compile, there is no
            policy, not exactly one caller policy, or more than one HTTP mapping.
    """
    policies: list[PolicyDocument] = []
    callers: list[CallerPolicy] = []
    schemas: list[SchemaDocument] = []
    providers: list[ProviderDocument] = []
    mappings: list[MappingDocument] = []
    for path in sorted(bundle.compiled):
        document = _decode(path, bundle.compiled[path])
        if isinstance(document, CallerPolicy):
            callers.append(document)
        elif isinstance(document, SchemaDocument):
            schemas.append(document)
        elif isinstance(document, ProviderDocument):
            providers.append(document)
        elif isinstance(document, PolicyDocument):
            policies.append(document)
        elif isinstance(document, MappingDocument):
            mappings.append(document)
    if len(mappings) > 1:
        # Which of their routes would come first, nobody wrote.
        raise BundleRefusedError(f"the bundle has {len(mappings)} HTTP mappings: one at most")
    if len(callers) != 1:
        raise BundleRefusedError(
            f"the bundle has {len(callers)} caller policies: it must have exactly one"
        )
    for entry in callers[0].entries:
        anchor.check_caller(entry.id)
    try:
        policy_set = PolicySet(policies, limits, schemas, providers)
        mapping = HttpMapping(mappings[0], limits) if mappings else None
    except PdpError as error:
        raise BundleRefusedError(f"the policies do not compile: {error}") from error
    return Contents(policy_set, callers[0], mapping)


def refuse_other_tenants(tenant: str, callers: CallerPolicy) -> None:
    """Where several tenants share a PDP, none admits callers to another.

    Raises:
        BundleRefusedError: an entry names another tenant, or all.
    """
    for entry in callers.entries:
        if entry.tenants != (tenant,):
            raise BundleRefusedError(
                f"the bundle of tenant `{tenant}` admits `{entry.id}` to other tenants: "
                f"write `tenants: [{tenant}]`"
            )


def refuse_unknown_providers(
    tenant: str, policies: PolicySet, known: frozenset[tuple[str, str]] | None
) -> None:
    """What a bundle relies on is there, or the bundle is not taken: half of it would deny.

    Raises:
        BundleRefusedError: it names a provider that is not configured for its tenant.
    """
    if policies.provided is None or known is None:
        return
    for name in sorted(policies.provided.documents):
        if (tenant, name) not in known:
            raise BundleRefusedError(
                f"the bundle names the provider `{name}`, which is not configured for tenant "
                f"`{tenant}`: write it into `[[providers.sources]]`"
            )


def _decode(path: str, data: bytes) -> compiled.Document:
    try:
        return compiled.decode(data)
    except PdpError as error:
        raise BundleRefusedError(f"`{COMPILED}{path}{COMPILED_SUFFIX}`: {error}") from error
