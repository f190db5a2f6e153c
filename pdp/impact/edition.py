"""Policies from wherever they are: a folder, an archive, a repository, a published revision.

All of them come down to the compiled documents that a PDP would load, decoded
the same way, so that nothing depends on where they came from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import TargetFile

from pdp import admission, compiled
from pdp.admission import Denials
from pdp.archive import ArchiveLimits
from pdp.authoring.compilation import Compilation, compile_directory
from pdp.authoring.trial import TENANT
from pdp.boundary import Admitted
from pdp.bundle.contents import check_manifest, compile_bundle, read_bundle
from pdp.bundle.settings import bundle_target
from pdp.callers import ANY, CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.compiled import Document
from pdp.errors import ConfigurationError, PolicyError
from pdp.http_mapping import MappingDocument
from pdp.impact.question import Question
from pdp.model import BundleRef, Caller, Decision
from pdp.policy import PolicyDocument, PolicySet, Rule
from pdp.provided import ProviderDocument
from pdp.publishing.inspection import inspect_state, of_tenant
from pdp.publishing.plan import ROOT
from pdp.publishing.releasing import find_tenant
from pdp.publishing.repository import RepositoryFolder
from pdp.schema import SchemaDocument

_REVISION = re.compile(r"(.+)@([1-9][0-9]{0,17})")
_ROOT_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Edition:
    """One state of all policies of a tenant.

    Attributes:
        label: what the user called it.
        policies: the policies.
        callers: the caller policy.
        schemas: the schemas.
        policy_set: compiled, as in a PDP.
        tenants: by name; the policies stand for the tenant that was chosen, or for every
            tenant that the caller policy names.
        ref: revision and digest as records name them, of what was published.
    """

    label: str
    policies: tuple[PolicyDocument, ...]
    callers: CallerPolicy
    schemas: tuple[SchemaDocument, ...]
    policy_set: PolicySet
    tenants: Mapping[str, PolicySet]
    ref: BundleRef | None = None
    tenant: str = ""  # that was chosen: of a question that names none
    mapping: MappingDocument | None = None  # what HTTP requests ask

    def decide(
        self, admitted: Admitted, caller: Caller, now_ns: int
    ) -> tuple[Decision, Sequence[Rule]]:
        """What a PDP with these policies would say, and the candidates.

        Raises:
            InvalidRequestError: about the tenant.
        """
        return admission.decide(
            self.tenants,
            self.callers,
            Denials(),
            admitted,
            caller,
            now_ns,
            home=self.tenant or None,
        )

    def answer(self, question: Question, now_ns: int) -> tuple[Decision, Sequence[Rule]]:
        """The same, to a question that says what providers say.

        Raises:
            InvalidRequestError: a PDP would refuse it.
        """
        admitted = question.admitted(self.policy_set.provided)
        return self.decide(admitted, question.caller, now_ns)


def read_edition(source: str, root: Path | None = None, tenant: str = "") -> Edition:
    """Read policies.

    Args:
        source: a folder of policies, an archive file, a repository folder
            (what is published now), or `FOLDER@REVISION` of one.
        root: the trusted root of a repository; without it, its own first one.
        tenant: whose policies; may be left out of a repository that has one. The
            policies of a folder or an archive stand for it.

    Raises:
        ConfigurationError: there is nothing of these.
        PolicyError: the folder has problems.
        BundleRefusedError: the archive, or the repository, does not verify.
    """
    path = Path(source)
    if path.is_file():
        return _archive(source, _read(path, ArchiveLimits().archive_bytes_max), tenant)
    if path.is_dir():
        if RepositoryFolder(path).exists:
            return _published(source, RepositoryFolder(path), root, None, tenant)
        return _folder(source, path, tenant)
    match = _REVISION.fullmatch(source)
    if match is not None and Path(match[1]).is_dir():
        return _published(source, RepositoryFolder(Path(match[1])), root, int(match[2]), tenant)
    raise ConfigurationError(
        f"`{source}` is no folder of policies, no archive and no repository; a published revision"
        " is `FOLDER@REVISION`"
    )


def is_published(source: str) -> bool:
    """Whether policies come from a repository, which may have those of several tenants."""
    match = _REVISION.fullmatch(source)
    return RepositoryFolder(Path(source)).exists or (
        match is not None and RepositoryFolder(Path(match[1])).exists
    )


def raise_below(compilation: Compilation, folder: Path) -> None:
    """Raise the first problem, if there is one, with its place from here.

    Raises:
        PolicyError: as `Compilation.raise_if_failed`.
    """
    try:
        compilation.raise_if_failed()
    except PolicyError as error:
        raise error.below(str(folder)) from None


def _folder(label: str, path: Path, tenant: str) -> Edition:
    compilation = compile_directory(path)
    raise_below(compilation, path)
    documents = {each.source_path: each.compiled for each in compilation.documents}
    return _edition(label, documents, tenant)


def _archive(label: str, data: bytes, tenant: str, ref: BundleRef | None = None) -> Edition:
    bundle = read_bundle(data, ArchiveLimits())
    check_manifest(bundle.manifest, {})
    # All that a PDP asks of it, with its messages.
    compile_bundle(bundle, EvaluationLimits())
    return _edition(label, bundle.compiled, tenant, ref)


def _published(
    label: str, folder: RepositoryFolder, root: Path | None, revision: int | None, tenant: str
) -> Edition:
    trusted = _read(root or folder.metadata_path(ROOT, 1), _ROOT_BYTES_MAX)
    state = folder.read(trusted) if revision is None else folder.read_revision(trusted, revision)
    tenant = find_tenant(state, tenant)
    target: TargetFile | None = state.target(bundle_target(tenant))
    if target is None:
        raise ConfigurationError(
            f"`{label}` has no bundle of `{tenant}`: nothing was published yet"
        )
    facts = of_tenant(inspect_state(state, 0), tenant)
    ref = BundleRef(state.revision, bytes.fromhex(facts.digest))
    return _archive(label, folder.read_target(target), tenant, ref)


def _edition(
    label: str, documents: Mapping[str, bytes], tenant: str, ref: BundleRef | None = None
) -> Edition:
    decoded: list[Document] = [compiled.decode(documents[path]) for path in sorted(documents)]
    policies = tuple(each for each in decoded if isinstance(each, PolicyDocument))
    schemas = tuple(each for each in decoded if isinstance(each, SchemaDocument))
    (callers,) = (each for each in decoded if isinstance(each, CallerPolicy))
    providers = tuple(each for each in decoded if isinstance(each, ProviderDocument))
    policy_set = PolicySet(policies, EvaluationLimits(), schemas, providers)
    named = {name for entry in callers.entries for name in entry.tenants} - {ANY}
    tenants = dict.fromkeys([tenant] if tenant else sorted(named) or [TENANT], policy_set)
    mapping = next((each for each in decoded if isinstance(each, MappingDocument)), None)
    return Edition(label, policies, callers, schemas, policy_set, tenants, ref, tenant, mapping)


def _read(path: Path, bytes_max: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise ConfigurationError(
            f"`{path}` is larger than {bytes_max} bytes: is it the right file?"
        )
    return data
