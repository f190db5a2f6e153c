"""Attributes that callers do not send: which provider owns which. Law ring: pure.

A provider owns named attributes of one subject type or one resource type. Of
these a condition sees what the provider said, or an error: never nothing, and never what
a caller said. So `!has(subject.properties.suspended)` does not permit while the
provider is down, and nobody is let in by what nobody knows (`pdp.cel.partial`).

The order, in `pdp.policy.PolicySet.decide`: a caller that sends an owned attribute is
denied; what it sent is compared with the schemas, owned attributes aside; those that the
candidate rules may read have been fetched, or nothing is decided. A fetched value
that does not fit its schema is an error like one that could not be fetched: the
request is not to blame for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from pdp.boundary import Admitted
from pdp.cel.partial import INCOMPLETE, Partial
from pdp.errors import PolicyError, member
from pdp.fetched import REASONS, Completion, Fetched, FetchOutcome
from pdp.model import Cause, deny
from pdp.schema import Schema, SchemaDocument, Target, described
from pdp.schema_check import Check, check_of
from pdp.values import Value

# What one bundle may name: each is asked for some request, and each is configured by hand.
PROVIDERS_MAX: Final = 32
ATTRIBUTES_MAX: Final = 64
# How old a value may be: an hour, as a bundle that nobody confirms.
AGE_SECONDS_MAX: Final = 3_600

# Of a question whose providers have to be asked first: a denial, should nobody look.
UNASKED: Final = deny(Cause.INDETERMINATE)

Path = tuple[str, ...]
_PARTS: Final = ((Target.SUBJECT, "subject"), (Target.RESOURCE, "resource"))
_NOT_FETCHED: Final = "is not available: no rule was known to read it"
_UNSAID: Final = "is not available: provider `{}` did not say it"


@dataclass(frozen=True, slots=True)
class ProviderDocument:
    """A provider as a bundle names it. Where it is and how it is asked, the operator says.

    Attributes:
        name: of the provider.
        target: subject or resource.
        type: which type of them.
        attributes: the properties that it owns, sorted.
        max_age_s: how old a value may be when it is used; 0: fetched for this request.
    """

    name: str
    target: Target
    type: str
    attributes: tuple[str, ...]
    max_age_s: int


class Reading(Protocol):
    """A rule, as far as it concerns this: the attribute paths that it may look at."""

    @property
    def reads(self) -> frozenset[Path]:
        """A prefix where what follows is dynamic."""


@dataclass(frozen=True, slots=True)
class _Owned:
    """One attribute."""

    provider: str
    check: Check


class Provided:
    """The providers of a tenant, compiled against its schemas."""

    def __init__(
        self, documents: Iterable[ProviderDocument], schemas: Iterable[SchemaDocument]
    ) -> None:
        """Compile.

        Raises:
            PolicyError: an attribute has two owners or no schema, or a document breaks a rule.
        """
        declared = {(each.target, each.name): each for each in schemas}
        self.documents: dict[str, ProviderDocument] = {}
        self._owned: dict[tuple[Target, str], dict[str, _Owned]] = {}
        # Who is asked for what a rule reads of a type that is owned: worked out once for each.
        self._readers: dict[tuple[Target, str, frozenset[Path]], tuple[str, ...]] = {}
        for document in documents:
            _check(document)
            if document.name in self.documents:
                raise PolicyError(f"provider `{document.name}` is defined twice")
            self.documents[document.name] = document
            owned = self._owned.setdefault((document.target, document.type), {})
            for name in document.attributes:
                schema = _declared(document, name, declared)
                if (other := owned.get(name)) is not None:
                    raise PolicyError(
                        f"attribute `{name}` is owned by provider `{other.provider}` "
                        f"and by provider `{document.name}`"
                    )
                owned[name] = _Owned(document.name, check_of(schema))
        if len(self.documents) > PROVIDERS_MAX:
            raise PolicyError(f"a bundle names at most {PROVIDERS_MAX} providers")

    def unowned(self, schemas: Iterable[SchemaDocument]) -> tuple[SchemaDocument, ...]:
        """The schemas of what callers send: without what providers own."""
        found = []
        for document in schemas:
            owned = self._owned.get((document.target, document.name))
            if owned:
                left = tuple(p for p in document.schema.properties if p.name not in owned)
                document = replace(document, schema=replace(document.schema, properties=left))  # noqa: PLW2901 its own self
            found.append(document)
        return tuple(found)

    def violation(self, attributes: Mapping[str, Any]) -> str:
        """What a caller sent and may not send, as a path and a reason; or the empty string."""
        for target, root in _PARTS:
            owned = self._owned.get((target, attributes[f"{root}.type"]))
            if not owned:
                continue
            for name in sorted(owned.keys() & attributes[f"{root}.properties"].keys()):
                path = f"{root}.properties{member(name)}"
                return f"{path} is what provider `{owned[name].provider}` says, and nobody else"
        return ""

    def wanted(
        self, attributes: Mapping[str, Any], rules: Sequence[Reading]
    ) -> tuple[ProviderDocument, ...]:
        """The providers that own something which one of the rules may look at."""
        found: dict[str, None] = {}
        for target, root in _PARTS:
            kind = attributes[f"{root}.type"]
            if owned := self._owned.get((target, kind)):
                for rule in rules:
                    key = (target, kind, rule.reads)
                    if (readers := self._readers.get(key)) is None:
                        readers = self._readers[key] = tuple(_read(owned, root, rule.reads))
                    found.update(dict.fromkeys(readers))
        return tuple(self.documents[name] for name in sorted(found))

    def complete(self, admitted: Admitted, said: Mapping[str, Fetched]) -> Admitted:
        """The request with what providers said of it.

        INVARIANT: afterwards each owned attribute of the request's subject and
        resource is what its provider said, or an error; none is absent.

        Args:
            admitted: the request.
            said: by provider.
        """
        found: dict[str, Any] = dict(admitted.attributes)
        incomplete: dict[str, Partial] = {}
        unusable: dict[str, str] = {}
        values: dict[str, Value] = {}
        owners: dict[str, str] = {}
        for target, root in _PARTS:
            owned = self._owned.get((target, found[f"{root}.type"]))
            if not owned:
                continue
            part = f"{root}.properties"
            known = {k: v for k, v in found[part].items() if k not in owned}
            missing: dict[str, str] = {}
            for name, each in owned.items():
                fetched, path = said.get(each.provider), part + member(name)
                owners[path] = each.provider
                if why := _fault(each, name, fetched):
                    missing[name] = unusable[path] = why
                elif fetched is not None:
                    known[name] = values[path] = fetched.values[name]
            _put(found, incomplete, root, known, missing)
        if incomplete:
            found[INCOMPLETE] = incomplete
        fetched_all = tuple(said[name] for name in sorted(said))
        completion = Completion(admitted.attributes, fetched_all, unusable, values, owners)
        return Admitted(admitted.request, found, admitted.token, completion, admitted.parts)


def _put(
    found: dict[str, Any],
    incomplete: dict[str, Partial],
    root: str,
    known: dict[str, Value],
    missing: Mapping[str, str],
) -> None:
    """Put the properties where conditions look for them: by themselves, and in what they are of."""
    part = f"{root}.properties"
    if not missing:
        found[part] = known
        found[root] = {**found[root], "properties": known}
        return
    del found[part]
    incomplete[part] = Partial(part, known, missing)
    outer = {**found.pop(root), "properties": incomplete[part]}
    incomplete[root] = Partial(root, outer, {})


def _fault(owned: _Owned, name: str, fetched: Fetched | None) -> str:
    """Why an attribute has no value, or the empty string. Never a value."""
    if fetched is None:
        return _NOT_FETCHED
    if fetched.outcome is not FetchOutcome.FETCHED:
        return REASONS[fetched.outcome].format(owned.provider)
    if name not in fetched.values:
        return _UNSAID.format(owned.provider)
    if (found := owned.check(fetched.values[name])) is not None:
        where = f" at `{found[0]}`" if found[0] else ""
        return f"is not available: what provider `{owned.provider}` said{where} {found[1]}"
    return ""


def _read(owned: Mapping[str, _Owned], root: str, reads: Iterable[Path]) -> Iterable[str]:
    """The providers of those attributes that a path leads to, or may lead to."""
    for path in reads:
        if path[0] == root:
            # `subject` as a whole, `subject["properties"]["grade"]`; not `subject["id"]`.
            rest = path[1:]
            if rest and rest[0] != "properties":
                continue
            rest = rest[1:]
        elif path[0] == f"{root}.properties":
            rest = path[1:]
        else:
            continue
        if not rest:
            yield from (each.provider for each in owned.values())
        elif rest[0] in owned:
            yield owned[rest[0]].provider


def may_read(document: ProviderDocument, attribute: str, reads: Iterable[Path]) -> bool:
    """Whether one of the paths leads, or may lead, to an attribute of a provider."""
    owned = {attribute: _Owned(document.name, lambda _: None)}
    return any(True for _ in _read(owned, document.target.name.lower(), reads))


def _check(document: ProviderDocument) -> None:
    what = f"provider `{document.name}`"
    if not document.name or not document.type or "*" in document.type:
        raise PolicyError(f"{what} has no name, or is not about one type")
    if document.target not in {Target.SUBJECT, Target.RESOURCE}:
        raise PolicyError(f"{what} is about neither a subject nor a resource")
    names = document.attributes
    if not names or not all(names) or list(names) != sorted(set(names)):
        raise PolicyError(f"{what} owns no attribute, or its attributes are not sorted")
    if len(names) > ATTRIBUTES_MAX:
        raise PolicyError(f"{what} owns more than {ATTRIBUTES_MAX} attributes")
    if not 0 <= document.max_age_s <= AGE_SECONDS_MAX:
        raise PolicyError(f"the values of {what} may be at most {AGE_SECONDS_MAX} s old")


def _declared(
    document: ProviderDocument, name: str, schemas: Mapping[tuple[Target, str], SchemaDocument]
) -> Schema:
    about = schemas.get((document.target, document.type))
    for declared in () if about is None else about.schema.properties:
        if declared.name == name:
            return declared.schema
    kind = described(SchemaDocument(document.target, document.type, Schema(frozenset())))
    raise PolicyError(
        f"provider `{document.name}` owns `{name}`, which no schema of {kind} declares",
        suggestion="declare it: what a provider says is compared with its schema",
    )
