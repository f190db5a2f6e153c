"""From policy documents to what a bundle carries, or to everything that is wrong with them.

A pure function of paths and contents: no clock, no folder names, no order of
files. `pdp bundle build` compiles a folder, signing compiles the sources
again and compares; both must get the same bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pdp import compiled
from pdp.authoring import mapping_document
from pdp.authoring.caller_document import read_callers
from pdp.authoring.checker import Checker
from pdp.authoring.conditions import check_conditions
from pdp.authoring.documents import read_document
from pdp.authoring.imports import Library, is_shared, with_needed
from pdp.authoring.nodes import Map, Scalar
from pdp.authoring.policy_document import read_policy
from pdp.authoring.problems import Problems, closest, one_of, word
from pdp.authoring.provider_document import (
    ProviderDraft,
    check_providers,
    read_provider,
    with_owned,
)
from pdp.authoring.schema_document import read_schema
from pdp.authoring.sources import check_path, is_test, read_folder
from pdp.authoring.typed_conditions import check_types
from pdp.callers import CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.errors import DocumentError, PolicyError, Position
from pdp.http_mapping import MappingDocument
from pdp.policy import PolicyDocument, PolicySet
from pdp.provided import ProviderDocument
from pdp.schema import SchemaDocument, Target, described

# Where a bundle keeps the sources; `CompiledDocument.source_path` says it so.
SOURCES_PREFIX = "sources/"
_TEST_KINDS = ("tests", "fixtures")
_KINDS = ("callers", "schema", "shared", "provider", "http_mapping", *_TEST_KINDS)


@dataclass(frozen=True, slots=True)
class CompiledFile:
    """One document: its path below the folder, its text, its compiled form."""

    source_path: str
    source: bytes
    compiled: bytes


@dataclass(frozen=True, slots=True)
class Compilation:
    """What came of a set of documents.

    Attributes:
        documents: compiled documents, sorted by path; those with problems are missing.
        problems: sorted by position; empty means that a bundle may be built.
        policies: the policies, as the PDP will load them.
        callers: the caller policy, as the PDP will load it.
        schemas: the schemas, as the PDP will load them.
        shared: the names of the documents of shared definitions.
        providers: the providers, as the PDP will load them.
        sources: the text of every document, for excerpts.
        roots: every document that is YAML, for places.
        mapping: what HTTP requests ask, as the PDP will load it; None: nothing is said.
    """

    documents: tuple[CompiledFile, ...]
    problems: tuple[PolicyError, ...]
    policies: tuple[PolicyDocument, ...]
    callers: CallerPolicy | None
    sources: Mapping[str, bytes]
    roots: Mapping[str, Map] = field(default_factory=dict)
    schemas: tuple[SchemaDocument, ...] = ()
    shared: tuple[str, ...] = ()
    providers: tuple[ProviderDocument, ...] = ()
    mapping: MappingDocument | None = None

    @property
    def rule_names(self) -> frozenset[str]:
        """`policy/rule` of every rule."""
        return frozenset(f"{p.name}/{rule.id}" for p in self.policies for rule in p.rules)

    @property
    def provider_names(self) -> frozenset[str]:
        """The name of every provider."""
        return frozenset(document.name for document in self.providers)

    @property
    def counts(self) -> tuple[tuple[int, str], ...]:
        """How many of what came out, for people."""
        kinds = (
            (len(self.schemas), "schema"),
            (len(self.shared), "shared document"),
            (len(self.providers), "provider"),
            (int(self.mapping is not None), "HTTP mapping"),
        )
        return (
            (len(self.policies), "policy"),
            (len(self.rule_names), "rule"),
            (int(self.callers is not None), "caller policy"),
            *(pair for pair in kinds if pair[0]),
        )

    def raise_if_failed(self) -> None:
        """Raise the first problem, if there is one.

        Raises:
            PolicyError: with the number of the others in its suggestion.
        """
        if not self.problems:
            return
        first, others = self.problems[0], len(self.problems) - 1
        if others:
            more = f"and {others} more: `pdp check` shows them all"
            suggestion = f"{first.suggestion}; {more}" if first.suggestion else more
            first = type(first)(first.message, first.position, suggestion)
        raise first

    def policy_set(self, limits: EvaluationLimits) -> PolicySet:
        """The policies, compiled as in the PDP.

        Raises:
            PolicyError: there are problems.
        """
        self.raise_if_failed()
        return PolicySet(self.policies, limits, self.schemas, self.providers)


def compile_directory(folder: Path, checker: Checker | None = None) -> Compilation:
    """Compile all documents of a folder; `*_test.yaml` are not among them.

    Args:
        folder: read with the folders below it.
        checker: a running one to use; none starts one for this call.

    Raises:
        ConfigurationError: it is no folder or far too large, or the checker
            cannot be run.
        OSError: something in it cannot be read.
    """
    found = read_folder(folder)
    return compile_sources(found.policies, checker, found.problems)


def compile_sources(
    sources: Mapping[str, bytes],
    checker: Checker | None = None,
    problems: tuple[PolicyError, ...] = (),
) -> Compilation:
    """Compile documents by path; the order of the mapping changes nothing.

    Args:
        sources: contents by path below the folder, with `/`.
        checker: a running one to use; none starts one for this call.
        problems: what reading the documents already found.

    Raises:
        ConfigurationError: the checker cannot be run.
    """
    if checker is None:
        with Checker() as own:
            return compile_sources(sources, own, problems)
    return _Compilation(sources, checker, problems).result()


def compile_document(path: str, source: bytes, checker: Checker) -> Compilation:
    """Compile one document by itself, as an editor would: for its problems only."""
    work = _Compilation({path: source}, checker, ())
    return work.result(whole=False)


class _Compilation:
    """One run over a set of documents."""

    def __init__(
        self, sources: Mapping[str, bytes], checker: Checker, problems: tuple[PolicyError, ...]
    ) -> None:
        self.sources = {path: sources[path] for path in sorted(sources)}
        self.checker = checker
        # The PDP may be configured with other budgets; sizes of conditions go by these.
        self.limits = EvaluationLimits()
        self.problems = Problems()
        for problem in problems:
            self.problems.note(problem)
        self.documents: list[CompiledFile] = []
        self.roots: dict[str, Map] = {}
        self.policies: list[PolicyDocument] = []
        self.callers: CallerPolicy | None = None
        self.schemas: list[SchemaDocument] = []
        # As they were read: what is for `pdp check` alone is in no bundle.
        self.read_schemas: list[SchemaDocument] = []
        # What each schema is about, and where that is said.
        self.targets: dict[tuple[Target, str], Position] = {}
        # Where a policy name, or the caller policy, was first seen.
        self.names: dict[str, Position] = {}
        self.callers_position: Position | None = None
        self.unknown = False  # a document that is neither was found
        self.library = Library({}, self.problems, whole=True)
        self.shared: list[str] = []
        self.providers: list[ProviderDraft] = []
        self.mapping: MappingDocument | None = None
        self.mapping_draft: mapping_document.MappingDraft | None = None
        self.mapping_position: Position | None = None

    def result(self, *, whole: bool = True) -> Compilation:
        """Compile everything, then look at the set as a whole."""
        bad = {path for path in self.sources if not self._read(path)}
        shared = {path: root for path, root in self.roots.items() if is_shared(root)}
        self.library = Library(shared, self.problems, whole=whole)
        for path in self.sources:
            self._document(path, bad)
        if whole:
            self._check_whole()
            check_providers(self.providers, self.read_schemas, self.problems)
            self._check_types()
        return Compilation(
            tuple(self.documents),
            self.problems.sorted(),
            tuple(self.policies),
            self.callers,
            self.sources,
            self.roots,
            tuple(self.schemas),
            tuple(self.shared),
            tuple(draft.document for draft in self.providers),
            self.mapping,
        )

    def _check_whole(self) -> None:
        if not self.names and not self.unknown:
            hint = "a document that begins with `policy: some-name`"
            self.problems.note(DocumentError("there is no policy", None, hint))
        if self.callers_position is None and not self.unknown:
            hint = "a document `kind: callers` says which workload may ask what"
            self.problems.note(DocumentError("there is no caller policy", None, hint))
        if self.mapping_draft is not None and not self.unknown:
            known = {policy.resource_type for policy in self.policies}
            mapping_document.check_resource_types(self.mapping_draft, known, self.problems)

    def _check_types(self) -> None:
        """Compare conditions with schemas; a policy that has a problem is none any more."""
        seen = with_owned(self.read_schemas, [draft.document for draft in self.providers])
        for policy in list(self.policies):
            found = Problems()
            check_types([policy], self.roots, seen, found)
            for problem in found.sorted():
                self.problems.note(problem)
            if len(found):
                path = self.names[policy.name].path
                self.documents = [each for each in self.documents if each.source_path != path]
                self.policies.remove(policy)

    def _read(self, path: str) -> bool:
        """Read a document; whether it has no problem so far."""
        before = len(self.problems)
        check_path(path, self.problems)
        if is_test(path):
            message = "a file named `…_test` holds tests, and is no part of a bundle"
            self.problems.add(Position(path), message, "rename it")
        root = read_document(path, self.sources[path], self.problems)
        if root is not None:
            self.roots[path] = root
        return len(self.problems) == before

    def _document(self, path: str, bad: Collection[str]) -> None:
        before = len(self.problems)
        root = self.roots.get(path)
        kinds = {
            "callers": self._callers,
            "schema": self._schema,
            "shared": self._shared,
            "provider": self._provider,
            "http_mapping": self._mapping,
        }
        data = b""
        if root is not None and root.get("policy") is not None:
            data = self._policy(path, root)
        elif root is not None and (read := kinds.get(self._kind(root))) is not None:
            data = read(path, root)
        else:
            # It may have been meant as any: no second problem says that there is none.
            self.unknown = True
        if not data or path in bad or len(self.problems) > before:
            return
        try:
            document = compiled.decode(data)
        except PolicyError as error:
            # What the PDP would refuse must not leave the workshop.
            self.problems.note(type(error)(error.message, Position(path, 1, 1), error.suggestion))
        else:
            self.documents.append(CompiledFile(path, self.sources[path], data))
            if isinstance(document, CallerPolicy):
                self.callers = document
            elif isinstance(document, SchemaDocument):
                self.schemas.append(document)
            elif isinstance(document, compiled.SharedMarker):
                self.shared.append(document.name)
            elif isinstance(document, MappingDocument):
                self.mapping = document
            elif isinstance(document, PolicyDocument):
                self.policies.append(document)

    def _kind(self, root: Map) -> str:
        """The kind of a document that is no policy; what is not known is a problem."""
        node = root.get("kind")
        if node is None:
            near = (closest(key.text, ["policy", "kind"]) for key, _ in root.entries)
            hint = next(filter(None, near), "begin with `policy: some-name` or `kind: callers`")
            self.problems.add(root.position, "the document does not say what it is", hint)
            return ""
        kind = node.text if isinstance(node, Scalar) else ""
        if kind in _TEST_KINDS:
            message, hint = f"{kind} in a file of policies", "name the file `…_test.yaml`"
            self.problems.add(node.position, message, hint)
        elif kind not in _KINDS:
            hint = closest(kind, _KINDS) or f"it may be {one_of(_KINDS)}; a policy has none"
            self.problems.add(node.position, f"kind {word(kind)} is unknown", hint)
        return kind

    def _policy(self, path: str, root: Map) -> bytes:
        before = len(self.problems)
        scope = self.library.scope(root)
        if scope is None:
            # What it imports has a problem; all that follows from it would be noise.
            self.unknown = True
            return b""
        draft = read_policy(root, self.problems, scope)
        first = self.names.setdefault(draft.name, draft.name_position)
        if draft.name and first != draft.name_position:
            message = f"policy {word(draft.name)} is defined twice"
            self.problems.add(draft.name_position, message, f"the other one is at {first}")
        # Conditions are checked even so: an author wants all problems at once.
        whole = with_needed(draft, scope)
        checked = check_conditions(whole, self.checker, self.limits, self.problems)
        if checked is None or len(self.problems) > before:
            return b""
        conditions = {
            key: replace(each, path="" if each.path == path else SOURCES_PREFIX + each.path)
            for key, each in checked.conditions.items()
        }
        return compiled.encode_policy(checked.document, SOURCES_PREFIX + path, conditions)

    def _shared(self, path: str, _root: Map) -> bytes:
        """Its conditions are checked here too, so that it is right before anybody imports it."""
        draft = self.library.draft(path)
        if draft is None or not check_conditions(draft, self.checker, self.limits, self.problems):
            return b""
        return compiled.encode_shared(draft.name, SOURCES_PREFIX + path)

    def _callers(self, path: str, root: Map) -> bytes:
        before = len(self.problems)
        if self.callers_position is not None:
            message = "there is a second caller policy"
            hint = f"the other one is at {self.callers_position}: put all callers into one"
            self.problems.add(root.position, message, hint)
        self.callers_position = self.callers_position or root.position
        entries = read_callers(root, self.problems)
        if len(self.problems) > before:
            return b""
        return compiled.encode_callers(CallerPolicy(entries), SOURCES_PREFIX + path)

    def _mapping(self, path: str, root: Map) -> bytes:
        before = len(self.problems)
        if self.mapping_position is not None:
            hint = f"the other one is at {self.mapping_position}: the order of routes counts"
            self.problems.add(root.position, "there is a second HTTP mapping", hint)
        self.mapping_position = self.mapping_position or root.position
        draft = self.mapping_draft = mapping_document.read_mapping(root, self.problems)
        # Expressions are checked even so: an author wants all problems at once.
        checked = mapping_document.check_mapping(draft, self.checker, self.limits, self.problems)
        if checked is None or len(self.problems) > before:
            return b""
        return compiled.encode_mapping(checked.document, SOURCES_PREFIX + path, checked.expressions)

    def _schema(self, path: str, root: Map) -> bytes:
        draft = read_schema(root, self.problems)
        if draft is None:
            return b""
        document = draft.document
        first = self.targets.setdefault((document.target, document.name), draft.position)
        if first != draft.position:
            message = f"there is a second schema of {described(document)}"
            self.problems.add(draft.position, message, f"the other one is at {first}")
            return b""
        self.read_schemas.append(document)
        return compiled.encode_schema(document, SOURCES_PREFIX + path)

    def _provider(self, path: str, root: Map) -> bytes:
        draft = read_provider(root, self.problems)
        if draft is None:
            return b""
        self.providers.append(draft)
        return compiled.encode_provider(draft.document, SOURCES_PREFIX + path)
