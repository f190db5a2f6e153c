"""A policy as its author wrote it: `policy:` documents, design section 5.

Conditions stay text with a position here; `conditions` checks them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from pdp.actions import is_action
from pdp.authoring.acceptance import check_accept
from pdp.authoring.definitions import ANYONE, ROLE, Definitions, DefinitionsReader
from pdp.authoring.fields import IDENTIFIER, NAME, PROSE, Fields, Text, value_of
from pdp.authoring.nodes import Map, Node, Scalar
from pdp.authoring.problems import Problems, word
from pdp.authoring.times import EXAMPLE, parse_timestamp
from pdp.errors import Position
from pdp.lease import LEASE_S_MAX
from pdp.model import Effect, Obligation
from pdp.policy import REASON_CHARACTERS_MAX

RESOURCE = replace(
    NAME, what='one resource type, or `"*"` for every one', pattern=re.compile(r"\*|[^\s*]+")
)
REASON = Text("a text", REASON_CHARACTERS_MAX, lines=True)
_EFFECTS = {"permit": Effect.PERMIT, "deny": Effect.DENY}
_JUSTIFY = "say why this is permitted and who decided it, with a ticket if there is one"
_ACTIONS = 'list action names or `prefix:*`, or the sole `"*"`'


@dataclass(frozen=True, slots=True)
class RuleDraft:
    """A rule."""

    id: str
    effect: Effect
    actions: tuple[str, ...]
    roles: tuple[str, ...] | None
    when: Scalar | None
    starts_ns: int | None
    expires_ns: int | None
    justification: str
    obligations: tuple[Obligation, ...]
    advice: tuple[Obligation, ...]
    reason_user: str
    reason_admin: str
    lease_s: int


@dataclass(frozen=True, slots=True)
class PolicyDraft:
    """A policy whose conditions are not yet checked."""

    name: str
    name_position: Position
    resource_type: str
    owner: str
    definitions: Definitions
    rules: tuple[RuleDraft, ...]


def read_policy(root: Map, problems: Problems, scope: Definitions) -> PolicyDraft:
    """Read a policy. After a problem, what is returned is incomplete: for messages only.

    Args:
        root: the document.
        problems: gets what is wrong.
        scope: what it imports; not part of what is returned.
    """
    return _Reader(root, problems, scope).policy()


class _Reader:
    """Reads one policy document."""

    def __init__(self, root: Map, problems: Problems, scope: Definitions) -> None:
        self.problems = problems
        self.fields = Fields(
            root,
            "the policy",
            problems,
            required={
                "policy": "write `policy: some-name`",
                "resource": "write the resource type it governs, `resource: expense_report`",
                "rules": "write at least one rule",
            },
            optional=("owner", "imports", "static_roles", "variables", "roles"),
        )
        self.names = DefinitionsReader(self.fields, problems, scope, "policy")

    def policy(self) -> PolicyDraft:
        """The document."""
        fields = self.fields
        name = fields.text("policy", IDENTIFIER) or ""
        definitions = self.names.definitions()
        return PolicyDraft(
            name=name,
            name_position=fields.at("policy"),
            resource_type=fields.text("resource", RESOURCE) or "",
            owner=fields.text("owner", PROSE) or "",
            definitions=definitions,
            rules=self._rules(),
        )

    def _rules(self) -> tuple[RuleDraft, ...]:
        found = []
        seen: dict[str, Position] = {}
        for node in self.fields.items("rules", "write at least one rule") or ():
            rule, position = self._rule(node)
            if rule.id in seen and rule.id:
                message = f"rule id {word(rule.id)} is used twice"
                self.problems.add(position, message, f"it is on line {seen[rule.id].line} already")
            seen.setdefault(rule.id, position)
            found.append(rule)
        return tuple(found)

    def _rule(self, node: Node) -> tuple[RuleDraft, Position]:
        given = node.get("id") if isinstance(node, Map) else None
        named = isinstance(given, Scalar) and type(given.value) is str
        what = f"rule {word(given.text)}" if named and isinstance(given, Scalar) else "the rule"
        effect_node = node.get("effect") if isinstance(node, Map) else None
        permits = not (isinstance(effect_node, Scalar) and effect_node.text == "deny")
        required = {
            "id": "write `id: some-name`, unique in the policy",
            "effect": "write `effect: permit` or `effect: deny`",
            "actions": _ACTIONS,
        }
        if permits:
            required["justification"] = _JUSTIFY
        optional = (
            "justification", "roles", "when", "starts", "expires",
            "obligations", "advice", "reason", "accept", "lease_s",
        )  # fmt: skip
        fields = Fields(node, what, self.problems, required=required, optional=optional)
        check_accept(fields)
        self._deny_only_denies(fields, permits=permits)
        effect = _EFFECTS.get(fields.choice("effect", _EFFECTS) or "", Effect.DENY)
        starts, expires = self._time(fields, "starts"), self._time(fields, "expires")
        if starts is not None and expires is not None and starts >= expires:
            message = f"{what} is never in force: it expires before it starts"
            self.problems.add(fields.at("expires"), message, "exchange the two, or remove one")
        user, admin = self._reasons(fields)
        rule = RuleDraft(
            id=fields.text("id", IDENTIFIER) or "",
            effect=effect,
            actions=self._actions(fields),
            roles=self._rule_roles(fields),
            when=self.names.condition(fields.node("when"), "`when`"),
            starts_ns=starts,
            expires_ns=expires,
            justification=fields.text("justification", PROSE) or "",
            obligations=self._duties(fields, "obligations"),
            advice=self._duties(fields, "advice"),
            reason_user=user,
            reason_admin=admin,
            lease_s=self._lease(fields),
        )
        self._not_both(fields, rule)
        return rule, fields.at("id")

    def _deny_only_denies(self, fields: Fields, *, permits: bool) -> None:
        if permits:
            return
        for key in ("starts", "expires"):
            if fields.node(key) is not None:
                hint = f"remove `{key}`; write the time into `when`, where a reader sees it"
                message = f"{fields.what} denies and has `{key}`: a deny that ends is a grant"
                self.problems.add(fields.at(key), message, hint)
        if fields.node("lease_s") is not None:
            message = f"{fields.what} denies and has `lease_s`: denials are never repeated"
            self.problems.add(fields.at("lease_s"), message, "remove `lease_s`")

    def _lease(self, fields: Fields) -> int:
        node = fields.node("lease_s")
        if node is None:
            return 0
        value = node.value if isinstance(node, Scalar) else None
        if type(value) is int and 0 <= value <= LEASE_S_MAX:
            return value
        message = f"`lease_s` must be a whole number of seconds from 0 to {LEASE_S_MAX}"
        self.problems.add(node.position, message, "write `1`, or leave it out")
        return 0

    def _actions(self, fields: Fields) -> tuple[str, ...]:
        items = fields.texts("actions", NAME, _ACTIONS) or ()
        for item in items:
            if not is_action(item.text):
                near = item.text.rstrip("*").rstrip(":")
                hint = (
                    f"did you mean {word(f'{near}:*')}?" if near and "*" not in near else _ACTIONS
                )
                self.problems.add(item.position, f"{word(item.text)} is no pattern", hint)
            elif item.text == "*" and len(items) > 1:
                self.problems.add(item.position, "`*` stands among other names", _ACTIONS)
        return tuple(item.text for item in items)

    def _rule_roles(self, fields: Fields) -> tuple[str, ...] | None:
        if fields.node("roles") is None:
            return None
        items = fields.texts("roles", ROLE, ANYONE) or ()
        known = self.names.roles
        for item in items:
            if item.text not in known:
                self.names.undefined(item, known, "role")
        return tuple(item.text for item in items)

    def _time(self, fields: Fields, key: str) -> int | None:
        node = fields.node(key)
        scalar = None if node is None else fields.string(node, word(key))
        if scalar is None:
            return None
        try:
            return parse_timestamp(scalar.text)
        except ValueError as error:
            message = f"{word(key)} {word(scalar.text)} {error}"
            self.problems.add(scalar.position, message, f"RFC 3339: `{EXAMPLE}`")
            return None

    def _duties(self, fields: Fields, key: str) -> tuple[Obligation, ...]:
        """Obligations or advice."""
        one = "obligation" if key == "obligations" else "advice"
        found: dict[tuple[str, str], Position] = {}
        duties = []
        for node in fields.items(key, "list `{id: …, type: …}`, or leave it out") or ():
            required = {
                "id": "clients match on type and id",
                "type": "clients match on type and id",
            }
            duty = Fields(
                node, f"the {one}", self.problems, required=required, optional=("properties",)
            )
            kind, name = duty.text("type", NAME), duty.text("id", NAME)
            properties = duty.node("properties")
            if properties is not None and not isinstance(properties, Map):
                self.problems.add(properties.position, "`properties` must be a map")
                continue
            if kind is None or name is None:
                continue
            if (kind, name) in found:
                hint = f"it is on line {found[kind, name].line} already"
                message = f"{one} {word(name)} of type {word(kind)} is given twice"
                self.problems.add(node.position, message, hint)
            found.setdefault((kind, name), node.position)
            value = {} if properties is None else value_of(properties)
            duties.append(Obligation(name, kind, value if isinstance(value, dict) else {}))
        return tuple(duties)

    def _not_both(self, fields: Fields, rule: RuleDraft) -> None:
        """What must be done is not at the same time what may be ignored."""
        must = {(duty.type, duty.id) for duty in rule.obligations}
        for item in rule.advice:
            if (item.type, item.id) in must:
                message = f"advice {word(item.id)} of type {word(item.type)} is an obligation too"
                self.problems.add(fields.at("advice"), message, "keep one of the two")

    def _reasons(self, fields: Fields) -> tuple[str, str]:
        """Texts for the user and for the administrator."""
        node = fields.node("reason")
        if node is None:
            return "", ""
        hint = "write `reason: {user: …}`, `reason: {admin: …}` or both"
        if not isinstance(node, Map) or not node.entries:
            self.problems.add(node.position, f"`reason` of {fields.what} says nothing", hint)
            return "", ""
        inner = Fields(node, "`reason`", self.problems, required={}, optional=("user", "admin"))
        return inner.text("user", REASON) or "", inner.text("admin", REASON) or ""
