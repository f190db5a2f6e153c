"""Policies with one small mistake each: what an author's tests should notice.

A mutant is a set of policies in which one thing is different: a side of an `&&` gone, a
`<` that became `<=`, an action, a role, a duty or a time less. Made from checked syntax
trees, so no checker runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias, TypeVar

from pdp.cel.syntax import (
    Call,
    Comprehension,
    Expression,
    ListNode,
    Literal,
    MapEntry,
    MapNode,
    Node,
    Select,
)
from pdp.policy import PolicyDocument, RoleDocument, RuleDocument

Policies = tuple[PolicyDocument, ...]
Part = TypeVar("Part")
# What puts a part into its place in a whole; None leaves the place out.
Put: TypeAlias = Callable[[Part | None], tuple[Part, ...]]
# operator -> (its neighbour, prefix of its overloads, prefix of the neighbour's).
_NEIGHBOURS = {
    "_<_": ("_<=_", "less_", "less_equals_"),
    "_<=_": ("_<_", "less_equals_", "less_"),
    "_>_": ("_>=_", "greater_", "greater_equals_"),
    "_>=_": ("_>_", "greater_equals_", "greater_"),
}
_OPPOSITES = {"_==_": ("_!=_", "not_equals"), "_!=_": ("_==_", "equals")}
_SIDES = {"_&&_": "&&", "_||_": "||", "_?_:_": "? :"}


def mutants(policies: Policies) -> Iterator[tuple[str, Policies]]:
    """Every mutant of a folder, and what is different in it."""
    for index, policy in enumerate(policies):
        for what, changed in _policies(policy):
            yield what, (*policies[:index], changed, *policies[index + 1 :])


def _each(parts: tuple[Part, ...]) -> Iterator[tuple[Part, Put[Part]]]:
    """Each part, and what puts another in its place."""
    for index, part in enumerate(parts):

        def put(other: Part | None, at: int = index) -> tuple[Part, ...]:
            return (*parts[:at], *(() if other is None else (other,)), *parts[at + 1 :])

        yield part, put


def _policies(policy: PolicyDocument) -> Iterator[tuple[str, PolicyDocument]]:
    for (name, expression), put_variable in _each(policy.variables):
        for what, changed in _expressions(expression):
            yield (
                f"{policy.name}, variable {name}: {what}",
                replace(policy, variables=put_variable((name, changed))),
            )
    for role, put_role in _each(policy.roles):
        for what, other in _roles(role):
            yield f"{policy.name}, role {role.name}: {what}", replace(policy, roles=put_role(other))
    for rule, put_rule in _each(policy.rules):
        name = f"{policy.name}/{rule.id}"
        if len(policy.rules) > 1:
            yield f"{name}: gone", replace(policy, rules=put_rule(None))
        for what, changed_rule in _rules(rule):
            yield f"{name}: {what}", replace(policy, rules=put_rule(changed_rule))


def _roles(role: RoleDocument) -> Iterator[tuple[str, RoleDocument]]:
    if role.sources and role.when is not None:
        yield "for anyone", replace(role, sources=())
        yield "always", replace(role, when=None)
    for source, put in _each(role.sources):
        if len(role.sources) > 1:
            yield f"not from {source}", replace(role, sources=put(None))
    if role.when is not None:
        for what, changed in _expressions(role.when):
            yield what, replace(role, when=changed)


def _rules(rule: RuleDocument) -> Iterator[tuple[str, RuleDocument]]:
    for action, put_action in _each(rule.actions):
        if len(rule.actions) > 1:
            yield f"not {action}", replace(rule, actions=put_action(None))
    if rule.roles is not None:
        yield "for anyone", replace(rule, roles=None)
        for role, put_role in _each(rule.roles):
            if len(rule.roles) > 1:
                yield f"not for {role}", replace(rule, roles=put_role(None))
    if rule.when is not None:
        yield "always", replace(rule, when=None)
        for what, changed in _expressions(rule.when):
            yield what, replace(rule, when=changed)
    for duty, put_duty in _each(rule.obligations):
        yield f"without {duty.id}", replace(rule, obligations=put_duty(None))
    if rule.starts_ns is not None:
        for starts in (None, rule.starts_ns - 1, rule.starts_ns + 1):
            yield f"starts {starts}", replace(rule, starts_ns=starts)
    if rule.expires_ns is not None:
        for expires in (None, rule.expires_ns - 1, rule.expires_ns + 1):
            yield f"expires {expires}", replace(rule, expires_ns=expires)


def _expressions(expression: Expression) -> Iterator[tuple[str, Expression]]:
    for offset, what, root in _nodes(expression.root):
        line = expression.source.splitlines()[expression.source.count("\n", 0, offset)]
        yield f"`{line.strip()}` with {what}", replace(expression, root=root)


def _nodes(node: Node) -> Iterator[tuple[int, str, Node]]:
    """(where, what, tree) of every small change in a tree."""
    match node:
        case Literal(value=int() as number) if type(number) is int:
            yield node.offset, f"{number + 1}", replace(node, value=number + 1)
        case Literal(value=str() as text):
            yield node.offset, f'"{text}x"', replace(node, value=f"{text}x")
        case ListNode() if len(node.elements) > 1:
            for index, (_, put) in enumerate(_each(node.elements)):
                yield node.offset, f"no element {index}", replace(node, elements=put(None))
        case Call():
            yield from _operators(node)
        case _:
            pass
    for child, rebuild in _children(node):
        for offset, what, changed in _nodes(child):
            yield offset, what, rebuild(changed)


def _children(node: Node) -> Iterator[tuple[Node, Callable[[Node], Node]]]:
    """The parts of a node, each with what puts another in its place."""
    match node:
        case Select():
            yield node.operand, lambda other: replace(node, operand=other)
        case Call():
            if node.target is not None:
                yield node.target, lambda other: replace(node, target=other)
            yield from (_argument(node, *place) for place in _each(node.args))
        case ListNode():
            yield from (_element(node, *place) for place in _each(node.elements))
        case MapNode():
            yield from (_value(node, *place) for place in _each(node.entries))
        case Comprehension():
            # A change of what the macro itself expands to does not compile.
            yield node.iter_range, lambda other: replace(node, iter_range=other)
            yield node.loop_step, lambda other: replace(node, loop_step=other)
        case _:
            return


def _argument(node: Call, part: Node, put: Put[Node]) -> tuple[Node, Callable[[Node], Node]]:
    return part, lambda other: replace(node, args=put(other))


def _element(node: ListNode, part: Node, put: Put[Node]) -> tuple[Node, Callable[[Node], Node]]:
    return part, lambda other: replace(node, elements=put(other))


def _value(
    node: MapNode, entry: MapEntry, put: Put[MapEntry]
) -> tuple[Node, Callable[[Node], Node]]:
    return entry.value, lambda other: replace(node, entries=put(replace(entry, value=other)))


def _operators(node: Call) -> Iterator[tuple[int, str, Node]]:
    if node.function in _SIDES:
        sign, sides = _SIDES[node.function], node.args[-2:]
        yield node.offset, f"only the left of `{sign}`", sides[0]
        yield node.offset, f"only the right of `{sign}`", sides[1]
    if node.function == "!_":
        yield node.offset, "no `!`", node.args[0]
    if node.function in _NEIGHBOURS:
        function, mine, other = _NEIGHBOURS[node.function]
        overloads = tuple(other + overload.removeprefix(mine) for overload in node.overloads)
        what = function.strip("_")
        yield node.offset, f"`{what}`", replace(node, function=function, overloads=overloads)
    if node.function in _OPPOSITES:
        function, overload = _OPPOSITES[node.function]
        what = function.strip("_")
        yield node.offset, f"`{what}`", replace(node, function=function, overloads=(overload,))
