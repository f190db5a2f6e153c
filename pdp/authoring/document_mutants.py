"""Policies with one small mistake each, made from the checked documents.

What an author could have got wrong: an effect, a condition or a part of one,
an action or a role too many, a comparison, a rule forgotten, a duty, a time.
No checker runs: a mutant is a document whose tree is different in one place,
and the change of the text that an author would see for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from pdp.actions import ANY_ACTION
from pdp.authoring import yaml_edits
from pdp.authoring.cel_mutants import TextEdit, changes
from pdp.authoring.expressions import free_names
from pdp.authoring.nodes import List, Map, Node, Scalar, Source
from pdp.authoring.times import shown
from pdp.cel.syntax import Expression
from pdp.errors import Position
from pdp.model import Effect, Obligation
from pdp.policy import PolicyDocument, RoleDocument, RuleDocument
from pdp.values import NANOS

_EFFECT_NAMES = {Effect.PERMIT: "permit", Effect.DENY: "deny"}
_TIMES = (("starts", "starts_ns", -NANOS), ("expires", "expires_ns", NANOS))


@dataclass(frozen=True, slots=True, eq=False)
class Mutant:
    """One small mistake.

    Attributes:
        part: what it is in: `policy/rule`, `policy, role name`.
        kind: which sort of mistake, `conjunct`.
        what: what is different, for people.
        source: the document's text.
        edits: what is different in it.
        documents: the policies with the mistake, and with those of their rules only that
            may behave differently; several if it is in what they share, none if no rule is left.
        rules: names of those rules.
    """

    part: str
    kind: str
    what: str
    source: Source
    edits: tuple[TextEdit, ...]
    documents: tuple[PolicyDocument, ...]
    rules: frozenset[str]

    @property
    def position(self) -> Position:
        """Where the text changes."""
        return self.source.position(min(edit.start for edit in self.edits))

    def diff(self, path: str) -> str:
        """A unified diff; `path` is the document's, as the user would type it."""
        return yaml_edits.diff(path, self.source.text, self.edits, "mutant")


@dataclass(frozen=True, slots=True)
class _Changed:
    """One part of a document with one mistake."""

    kind: str
    what: str
    edits: tuple[TextEdit, ...]


def mutants(document: PolicyDocument, root: Map, actions: Iterable[str]) -> Iterator[Mutant]:
    """Every mutant of a policy.

    Args:
        document: as checked.
        root: as written.
        actions: all that rules of its resource type name.
    """
    yield from _Mutants(document, root, sorted(set(actions) - {ANY_ACTION})).all()


def definition_mutants(
    documents: Iterable[PolicyDocument], root: Map, name: str
) -> Iterator[Mutant]:
    """Every mutant of shared definitions.

    A change is one mistake in all policies that carry the definition; one that the types of
    some of them do not allow is none.

    Args:
        documents: the policies that see them, as checked.
        root: the shared document, as written.
        name: its name.
    """
    seen: dict[tuple[str, str, tuple[TextEdit, ...]], list[Mutant]] = {}
    carried: Counter[str] = Counter()
    for document in documents:
        made = list(_Mutants(document, root, [], name).definitions())
        carried.update({mutant.part for mutant in made})
        for mutant in made:
            seen.setdefault((mutant.part, mutant.what, mutant.edits), []).append(mutant)
    for (part, _, _), same in seen.items():
        if len(same) == carried[part]:
            yield replace(
                same[0],
                documents=tuple(each for mutant in same for each in mutant.documents),
                rules=frozenset().union(*(mutant.rules for mutant in same)),
            )


class _Mutants:
    """The mutants of one policy, or of what it sees of a shared document."""

    def __init__(
        self, document: PolicyDocument, root: Map, actions: list[str], owner: str = ""
    ) -> None:
        self.document = document
        self.root = root
        self.actions = actions
        self.owner = owner or document.name
        self.uses = _uses(document)

    def definitions(self) -> Iterator[Mutant]:
        """Those of the variables and roles that the text defines."""
        yield from self._variables()
        yield from self._roles()

    def all(self) -> Iterator[Mutant]:
        """All of them, in the order of the document."""
        yield from self.definitions()
        items = _items(self.root, "rules")
        for index, (rule, node) in enumerate(zip(self.document.rules, items, strict=False)):
            if not isinstance(node, Map):
                continue
            rules = self.root.get("rules")
            if isinstance(rules, List):
                edit = yaml_edits.without_item(rules, index)
                yield self._rule(rule, None, _Changed("rule", "the rule is gone", (edit,)))
            for changed, new in _Rule(rule, node, self.actions).all():
                yield self._rule(rule, new, changed)

    def _mutant(
        self, part: str, changed: _Changed, document: PolicyDocument, rules: Iterable[RuleDocument]
    ) -> Mutant:
        kept = tuple(rules)
        name = self.document.name
        return Mutant(
            f"{self.owner}{part}",
            changed.kind,
            changed.what,
            self.root.source,
            changed.edits,
            (replace(document, rules=kept),) if kept else (),
            frozenset(f"{name}/{rule.id}" for rule in kept),
        )

    def _rule(self, rule: RuleDocument, new: RuleDocument | None, changed: _Changed) -> Mutant:
        found = self._mutant(f"/{rule.id}", changed, self.document, () if new is None else (new,))
        return replace(found, rules=frozenset({f"{self.document.name}/{rule.id}"}))

    def _variables(self) -> Iterator[Mutant]:
        node = self.root.get("variables")
        written = dict(_entries(node))
        for index, (name, expression) in enumerate(self.document.variables):
            affected = [rule for rule in self.document.rules if name in self.uses[rule.id]]
            for changed, new in _expressions(expression, written.get(name)):
                others = list(self.document.variables)
                others[index] = (name, new)
                document = replace(self.document, variables=tuple(others))
                yield self._mutant(f", variable {name}", changed, document, affected)

    def _roles(self) -> Iterator[Mutant]:
        written = dict(_entries(self.root.get("roles")))
        for index, role in enumerate(self.document.roles):
            node = written.get(role.name)
            affected = [rule for rule in self.document.rules if role.name in (rule.roles or ())]
            if not isinstance(node, Map):
                continue
            for changed, new in _role(role, node):
                others = list(self.document.roles)
                others[index] = new
                document = replace(self.document, roles=tuple(others))
                yield self._mutant(f", role {role.name}", changed, document, affected)


def _uses(document: PolicyDocument) -> Mapping[str, frozenset[str]]:
    """The variables that each rule looks at, by its roles and by other variables too."""
    variables = dict(document.variables)
    roles = {role.name: role for role in document.roles}

    def below(expression: Expression | None) -> set[str]:
        found: set[str] = set()
        waiting = [] if expression is None else [expression]
        while waiting:
            for name in (free_names(waiting.pop().root) & variables.keys()) - found:
                found.add(name)
                waiting.append(variables[name])
        return found

    return {
        rule.id: frozenset(
            below(rule.when).union(
                *(below(roles[name].when) for name in rule.roles or () if name in roles)
            )
        )
        for rule in document.rules
    }


def _items(parent: Map, name: str) -> tuple[Node, ...]:
    node = parent.get(name)
    return node.items if isinstance(node, List) else ()


def _entries(node: Node | None) -> Iterator[tuple[str, Node]]:
    if isinstance(node, Map):
        yield from ((key.text, value) for key, value in node.entries)


def _expressions(
    expression: Expression, node: Node | None
) -> Iterator[tuple[_Changed, Expression]]:
    """A condition with one mistake inside."""
    if not isinstance(node, Scalar) or node.text != expression.source:
        return
    for change in changes(expression):
        edits = yaml_edits.in_scalar(node, change.edits)
        yield (
            _Changed(change.kind, change.what, edits),
            Expression(change.root, expression.source),
        )


def _role(role: RoleDocument, node: Map) -> Iterator[tuple[_Changed, RoleDocument]]:
    if role.sources and role.when is not None:
        edit = yaml_edits.without_key(node, "from")
        yield _Changed("roles", "held by anyone", (edit,)), replace(role, sources=())
        edit = yaml_edits.without_key(node, "when")
        changed = _Changed("condition", "without its condition", (edit,))
        yield changed, replace(role, when=None)
    written = node.get("from")
    if isinstance(written, List) and len(role.sources) > 1:
        for index, source in enumerate(role.sources):
            rest = role.sources[:index] + role.sources[index + 1 :]
            edit = yaml_edits.without_item(written, index)
            yield _Changed("roles", f"not from `{source}`", (edit,)), replace(role, sources=rest)
    if role.when is not None:
        for changed, new in _expressions(role.when, node.get("when")):
            yield changed, replace(role, when=new)


class _Rule:
    """The mutants of one rule, but for its absence."""

    def __init__(self, rule: RuleDocument, node: Map, actions: list[str]) -> None:
        self.rule = rule
        self.node = node
        self.siblings = [name for name in actions if name not in rule.actions]

    def all(self) -> Iterator[tuple[_Changed, RuleDocument]]:
        """All of them."""
        yield from self._effect()
        yield from self._actions()
        yield from self._roles()
        if self.rule.when is not None:
            edit = yaml_edits.without_key(self.node, "when")
            changed = _Changed("condition", "without its condition", (edit,))
            yield changed, replace(self.rule, when=None)
            for changed, new in _expressions(self.rule.when, self.node.get("when")):
                yield changed, replace(self.rule, when=new)
        yield from self._times()
        yield from self._obligations()

    def _effect(self) -> Iterator[tuple[_Changed, RuleDocument]]:
        rule, written = self.rule, self.node.get("effect")
        if not isinstance(written, Scalar):
            return
        effect = Effect.DENY if rule.effect is Effect.PERMIT else Effect.PERMIT
        name = _EFFECT_NAMES[effect]
        gone = [key for key in ("starts", "expires", "lease_s") if self.node.get(key)]
        edits = [yaml_edits.whole(written, name)]
        # A deny has no times and no lease; a permit says why it permits.
        edits += [yaml_edits.without_key(self.node, key) for key in gone]
        new = replace(
            rule,
            effect=effect,
            starts_ns=None,
            expires_ns=None,
            lease_s=0,
            justification=rule.justification or "mutant",
        )
        yield _Changed("effect", f"`{name}` instead", tuple(edits)), new

    def _actions(self) -> Iterator[tuple[_Changed, RuleDocument]]:
        rule, written = self.rule, self.node.get("actions")
        if not isinstance(written, List) or ANY_ACTION in rule.actions:
            return
        edit = yaml_edits.with_only(written, '"*"')
        changed = _Changed("actions", "any action", (edit,))
        yield changed, replace(rule, actions=(ANY_ACTION,))
        if self.siblings:
            other = self.siblings[0]
            edit = yaml_edits.with_item(written, other)
            changed = _Changed("actions", f"`{other}` too", (edit,))
            yield changed, replace(rule, actions=(*rule.actions, other))
        for index, action in enumerate(rule.actions if len(rule.actions) > 1 else ()):
            rest = rule.actions[:index] + rule.actions[index + 1 :]
            edit = yaml_edits.without_item(written, index)
            yield _Changed("actions", f"not `{action}`", (edit,)), replace(rule, actions=rest)

    def _roles(self) -> Iterator[tuple[_Changed, RuleDocument]]:
        rule, written = self.rule, self.node.get("roles")
        if rule.roles is None or not isinstance(written, List):
            return
        edit = yaml_edits.without_key(self.node, "roles")
        yield _Changed("roles", "for anyone", (edit,)), replace(rule, roles=None)
        for index, role in enumerate(rule.roles if len(rule.roles) > 1 else ()):
            rest = rule.roles[:index] + rule.roles[index + 1 :]
            edit = yaml_edits.without_item(written, index)
            yield _Changed("roles", f"not for `{role}`", (edit,)), replace(rule, roles=rest)

    def _times(self) -> Iterator[tuple[_Changed, RuleDocument]]:
        for key, name, wider_ns in _TIMES:
            given: int | None = getattr(self.rule, name)
            written = self.node.get(key)
            if given is None or not isinstance(written, Scalar):
                continue
            edit = yaml_edits.without_key(self.node, key)
            yield _Changed("time", f"without `{key}`", (edit,)), _with(self.rule, name, None)
            # Whole seconds, as it is shown.
            wider = given // NANOS * NANOS + wider_ns
            moved = shown(wider)
            edit = yaml_edits.whole(written, moved)
            changed = _Changed("time", f"`{key}: {moved}`", (edit,))
            yield changed, _with(self.rule, name, wider)

    def _obligations(self) -> Iterator[tuple[_Changed, RuleDocument]]:
        written = self.node.get("obligations")
        if not isinstance(written, List):
            return
        duties = self.rule.obligations
        for index, (duty, node) in enumerate(zip(duties, written.items, strict=False)):
            rest = duties[:index] + duties[index + 1 :]
            edit = (
                yaml_edits.without_item(written, index)
                if rest
                else yaml_edits.without_key(self.node, "obligations")
            )
            changed = _Changed("obligation", f"without `{duty.id}`", (edit,))
            yield changed, replace(self.rule, obligations=rest)
            if isinstance(node, Map) and (found := _other_duty(duty, node)) is not None:
                edit, other = found
                changed = _Changed("obligation", f"`{duty.id}` with another content", (edit,))
                new = replace(self.rule, obligations=(*duties[:index], other, *duties[index + 1 :]))
                yield changed, new


def _with(rule: RuleDocument, name: str, ns: int | None) -> RuleDocument:
    return replace(rule, starts_ns=ns) if name == "starts_ns" else replace(rule, expires_ns=ns)


def _other_duty(duty: Obligation, node: Map) -> tuple[TextEdit, Obligation] | None:
    """The duty with another text in the first of its properties that is one, else another id."""
    for key, value in _entries(node.get("properties")):
        if isinstance(value, Scalar) and isinstance(value.value, str):
            properties = {**duty.properties, key: f"{value.value}_"}
            edits = yaml_edits.in_scalar(value, [TextEdit(len(value.text), len(value.text), "_")])
            return edits[0], replace(duty, properties=properties)
    written = node.get("id")
    if not isinstance(written, Scalar):
        return None
    return yaml_edits.whole(written, f"{duty.id}_"), replace(duty, id=f"{duty.id}_")
