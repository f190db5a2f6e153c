"""What is different between two editions, document by document, most dangerous first.

Compared is what a PDP loads, field by field, so that a field which is added
to a rule is compared without a line here. Order is what an attacker would
like: denies that went, permits that came, then what changed.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pdp.authoring.expressions import free_names
from pdp.authoring.trial import render
from pdp.cel.syntax import Expression
from pdp.impact.edition import Edition
from pdp.model import Effect, Obligation
from pdp.policy import PolicyDocument, RuleDocument
from pdp.values import format_timestamp

_ABSENT = {"roles": "anyone", "when": "always", "asserts": "by token only"}
_NANOSECONDS = "_ns"


class Act(enum.Enum):
    """What happened to something."""

    REMOVED = "removed"
    ADDED = "added"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One field. Empty is absent."""

    field: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same.

    Attributes:
        kind: `rule`, `role`, `variable`, `policy`, `caller`, `schema`, `provider`, `mapping`,
            `route`.
        name: `policy/rule`, a SPIFFE ID, ...
        act: what happened to it.
        effect: of a rule, else None.
        changes: field by field; of what came or went, what it says.
        rules: those that it is a part of, where it is no rule itself.
    """

    kind: str
    name: str
    act: Act
    effect: Effect | None = None
    changes: tuple[Change, ...] = ()
    rules: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        """Smaller is more dangerous."""
        if any(change.field == "effect" for change in self.changes) and self.act is Act.CHANGED:
            return 1
        return {
            ("rule", Act.REMOVED, Effect.DENY): 0,
            ("rule", Act.ADDED, Effect.PERMIT): 1,
            ("rule", Act.CHANGED, Effect.DENY): 2,
            ("rule", Act.CHANGED, Effect.PERMIT): 2,
            ("caller", Act.ADDED, None): 2,
            ("caller", Act.CHANGED, None): 2,
            ("schema", Act.REMOVED, None): 2,
            # What a provider no longer owns, callers may say.
            ("provider", Act.REMOVED, None): 2,
            ("provider", Act.CHANGED, None): 2,
            # A route that goes leaves its requests to the next.
            ("route", Act.REMOVED, None): 2,
            ("route", Act.ADDED, None): 2,
            ("route", Act.CHANGED, None): 2,
            ("mapping", Act.CHANGED, None): 2,
            ("schema", Act.CHANGED, None): 3,
            ("role", Act.CHANGED, None): 3,
            ("variable", Act.CHANGED, None): 3,
        }.get((self.kind, self.act, self.effect), 4)


def compare(old: Edition, new: Edition) -> list[Difference]:
    """Everything that is different, the most dangerous first, then by kind and name."""
    found = [
        *_policies(old.policies, new.policies),
        *_pairs("caller", _callers(old), _callers(new)),
        *_pairs("schema", _schemas(old), _schemas(new)),
        *_pairs("provider", _providers(old), _providers(new)),
        *_pairs("mapping", _mapping(old), _mapping(new)),
        *_pairs("route", _routes(old), _routes(new)),
    ]
    return sorted(found, key=lambda each: (each.rank, each.kind, each.name))


def _callers(edition: Edition) -> dict[str, Any]:
    """Entries by SPIFFE ID; further ones for the same ID have a number."""
    found: dict[str, Any] = {}
    for entry in edition.callers.entries:
        name = entry.id
        while name in found:
            name += " (again)"
        found[name] = entry
    return found


def _schemas(edition: Edition) -> dict[str, Any]:
    return {f"{each.target.name.lower()} {each.name}": each for each in edition.schemas}


def _providers(edition: Edition) -> dict[str, Any]:
    provided = edition.policy_set.provided
    return {} if provided is None else dict(provided.documents)


@dataclass(frozen=True, slots=True)
class _Mapping:
    """What an HTTP mapping says besides its routes, and in which order they are tried."""

    headers: tuple[str, ...]
    body: str
    set: tuple[str, ...]
    remove: tuple[str, ...]
    order: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Route:
    """A route, each part by its name."""

    when: Expression | None
    subject: str
    subject_id: Expression | None
    subject_properties: Expression | None
    action: Expression
    resource_type: str
    resource_id: Expression
    resource_properties: Expression | None
    context: Expression | None


def _mapping(edition: Edition) -> dict[str, Any]:
    found = edition.mapping
    if found is None:
        return {}
    upstream = tuple(f"{name}: {source.name.lower()}" for name, source in found.upstream)
    order = tuple(route.id for route in found.routes)
    body = "json" if found.json_body else ""
    return {"http": _Mapping(found.headers, body, upstream, found.remove, order)}


def _routes(edition: Edition) -> dict[str, Any]:
    return {
        each.id: _Route(
            each.when,
            "bearer token" if each.subject is None else each.subject[0],
            None if each.subject is None else each.subject[1],
            each.subject_properties,
            each.action,
            each.resource_type,
            each.resource_id,
            each.resource_properties,
            each.context,
        )
        for each in (() if edition.mapping is None else edition.mapping.routes)
    }


def _policies(old: Sequence[PolicyDocument], new: Sequence[PolicyDocument]) -> Iterator[Difference]:
    olds, news = ({each.name: each for each in every} for every in (old, new))
    for name in sorted(olds.keys() | news.keys()):
        before, after = olds.get(name), news.get(name)
        yield from _pairs("rule", _rules(before), _rules(after))
        if before is None or after is None:
            document = after or before
            words = () if document is None else tuple(_said(document, added=before is None))
            yield Difference(
                "policy", name, Act.ADDED if before is None else Act.REMOVED, None, words
            )
            continue
        if changes := tuple(_changes(before, after)):
            yield Difference("policy", name, Act.CHANGED, None, changes)
        for kind, parts in (("role", _roles), ("variable", _variables)):
            for each in _pairs(kind, parts(before), parts(after)):
                users = sorted({*_users(before, kind, each.name), *_users(after, kind, each.name)})
                yield dataclasses.replace(each, rules=tuple(users))


def _rules(document: PolicyDocument | None) -> dict[str, Any]:
    if document is None:
        return {}
    return {f"{document.name}/{rule.id}": rule for rule in document.rules}


def _roles(document: PolicyDocument) -> dict[str, Any]:
    return {f"{document.name}/{role.name}": role for role in document.roles}


def _variables(document: PolicyDocument) -> dict[str, Any]:
    return {f"{document.name}/{name}": expression for name, expression in document.variables}


def _users(document: PolicyDocument, kind: str, name: str) -> Iterator[str]:
    """The rules that a role or a variable is a part of, through others too."""
    short = name.removeprefix(f"{document.name}/")
    variables = {short} if kind == "variable" else set()
    # In an order in which every variable comes after those it uses.
    for other, expression in document.variables:
        if variables & free_names(expression.root):
            variables.add(other)
    roles = {short} if kind == "role" else set()
    roles |= {role.name for role in document.roles if _uses(role.when, variables)}
    for rule in document.rules:
        if roles & set(rule.roles or ()) or _uses(rule.when, variables):
            yield f"{document.name}/{rule.id}"


def _uses(when: Expression | None, variables: set[str]) -> bool:
    return when is not None and bool(variables & free_names(when.root))


def _pairs(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        item = before if after is None else after
        effect = item.effect if isinstance(item, RuleDocument) else None
        if before is None:
            yield Difference(kind, name, Act.ADDED, effect, tuple(_said(after, added=True)))
        elif after is None:
            yield Difference(kind, name, Act.REMOVED, effect, tuple(_said(before, added=False)))
        elif changes := tuple(_changes(before, after)):
            # A rule that permits now is one that permits, whatever it was.
            yield Difference(kind, name, Act.CHANGED, effect, changes)


def _said(item: Any, *, added: bool) -> Iterator[Change]:
    """What something that came or went says; what is absent is left out."""
    for field, value in _fields(item):
        text = _text(field, value)
        if value not in (None, "", 0, (), frozenset()) and text:
            yield Change(_word(field), "" if added else text, text if added else "")


def _changes(old: Any, new: Any) -> Iterator[Change]:
    after = dict(_fields(new))
    for field, value in _fields(old):
        if value == after[field]:
            continue
        texts = [_text(field, value), _text(field, after[field])]
        if texts[0] == texts[1]:
            # The same words, and still not the same: another checker, or other types.
            texts[1] += "  (the same text, compiled otherwise)"
        yield Change(_word(field), *texts)


def _fields(item: Any) -> Iterator[tuple[str, Any]]:
    """Fields by name, but for the parts that are compared by themselves."""
    if isinstance(item, Expression):
        yield "text", item
        return
    own = {"rules", "variables", "roles", "name"} if isinstance(item, PolicyDocument) else {"id"}
    for field in dataclasses.fields(item):
        if field.name not in own:
            yield field.name, getattr(item, field.name)


def _word(field: str) -> str:
    return field.removesuffix(_NANOSECONDS).replace("_", " ")


def _text(field: str, value: Any) -> str:
    """A field as a person would write it."""
    if value is None:
        return _ABSENT.get(field, "")
    if isinstance(value, Expression):
        return value.source
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if field.endswith(_NANOSECONDS):
        return format_timestamp(value)
    if isinstance(value, tuple | list | frozenset):
        return _list(value)
    return value if isinstance(value, str) else repr(value)


def _list(items: Iterable[Any]) -> str:
    texts = [
        f"{each.type}:{each.id} {render(dict(each.properties))}"
        if isinstance(each, Obligation)
        else str(each)
        for each in items
    ]
    return ", ".join(sorted(texts) if isinstance(items, frozenset) else texts)


def as_plain(differences: Iterable[Difference]) -> list[dict[str, Any]]:
    """For JSON."""
    return [
        {
            "kind": each.kind,
            "name": each.name,
            "act": each.act.value,
            "effect": None if each.effect is None else each.effect.name,
            "changes": [dataclasses.asdict(change) for change in each.changes],
            "rules": list(each.rules),
        }
        for each in differences
    ]
