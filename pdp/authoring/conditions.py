"""Checking the conditions of a policy with the official CEL checker.

Variables first, each after those it uses, so that each is known by its
deduced type to what comes later; then derived roles, then rules. A problem
points to the character in the document, whatever the YAML style.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pdp import checked_expr
from pdp.authoring.checker import CONDITION_VARIABLES, Checker
from pdp.authoring.expressions import free_names, unknown_keys
from pdp.authoring.nodes import Scalar
from pdp.authoring.policy_document import PolicyDraft
from pdp.authoring.problems import Problems, closest, one_of, word
from pdp.authoring.yaml_hints import BLOCK
from pdp.cel.compile import compile_expression
from pdp.cel.limits import EvaluationLimits
from pdp.cel.syntax import Expression
from pdp.compiled import CheckedCondition, Kind
from pdp.errors import ExpressionError, Position
from pdp.policy import PolicyDocument, RoleDocument, RuleDocument

# The parts of what a condition sees that have fields of their own, `subject` and its like.
_FIELDS = {
    parent: sorted(
        name.removeprefix(f"{parent}.")
        for name in CONDITION_VARIABLES
        if name.startswith(f"{parent}.")
    )
    for parent in {name.partition(".")[0] for name in CONDITION_VARIABLES if "." in name}
}
# How `pdp.cel.compile` begins an error whose position is in the text of a variable.
_INSIDE = "in the variable "
# What YAML makes of a `#` behind a blank, in a text without quotes.
_COMMENT = re.compile(r"[ \t]+#")


@dataclass(frozen=True, slots=True)
class CheckedPolicy:
    """A policy with its conditions checked, in both forms."""

    document: PolicyDocument
    conditions: dict[tuple[Kind, str], CheckedCondition]


def check_conditions(
    draft: PolicyDraft, checker: Checker, limits: EvaluationLimits, problems: Problems
) -> CheckedPolicy | None:
    """Check every condition of a policy.

    Returns:
        The policy, or None when a condition has a problem.

    Raises:
        ConfigurationError: the checker cannot be run.
    """
    before = len(problems)
    work = _Work(draft, checker, limits, problems)
    variables = work.variables()
    roles = tuple(
        RoleDocument(role.name, role.sources, work.condition("role", role.name, role.when))
        for role in draft.definitions.roles.values()
    )
    rules = tuple(
        RuleDocument(
            id=rule.id,
            effect=rule.effect,
            actions=rule.actions,
            roles=rule.roles,
            when=work.condition("rule", rule.id, rule.when),
            starts_ns=rule.starts_ns,
            expires_ns=rule.expires_ns,
            justification=rule.justification,
            obligations=rule.obligations,
            advice=rule.advice,
            reason_user=rule.reason_user,
            reason_admin=rule.reason_admin,
            lease_s=rule.lease_s,
        )
        for rule in draft.rules
    )
    if len(problems) > before:
        return None
    document = PolicyDocument(
        name=draft.name,
        resource_type=draft.resource_type,
        owner=draft.owner,
        static_roles=tuple(draft.definitions.static_roles),
        variables=variables,
        roles=roles,
        rules=rules,
    )
    return CheckedPolicy(document, work.conditions)


class _Work:
    """The check of one policy."""

    def __init__(
        self,
        draft: PolicyDraft,
        checker: Checker,
        limits: EvaluationLimits,
        problems: Problems,
    ) -> None:
        found = draft.definitions.variables
        self.sources = {name: variable.text for name, variable in found.items()}
        self.checker = checker
        self.limits = limits
        self.problems = problems
        # A variable that is not yet, or never will be, checked is dyn to the others: one
        # mistake, one problem.
        self.types = dict(CONDITION_VARIABLES) | dict.fromkeys(self.sources, "dyn")
        self.checked: dict[str, Expression] = {}
        self.conditions: dict[tuple[Kind, str], CheckedCondition] = {}

    def variables(self) -> tuple[tuple[str, Expression], ...]:
        """All variables, in an order in which each comes after those it uses."""
        uses: dict[str, frozenset[str]] = {}
        for name, scalar in self.sources.items():
            expression = self._check(scalar, None)
            if expression is not None:
                uses[name] = free_names(expression.root) & self.sources.keys()
        for name in _in_order(uses, self.sources, self.problems):
            expression = self._check(self.sources[name], ("variable", name))
            # One that has a problem is left out: what uses it has no problem of its own.
            if expression is not None and self._compile(expression, self.sources[name]):
                self.checked[name] = expression
        return tuple(self.checked.items())

    def condition(self, kind: Kind, name: str, scalar: Scalar | None) -> Expression | None:
        """One condition of a role or a rule."""
        if scalar is None:
            return None
        expression = self._check(scalar, (kind, name))
        if expression is not None:
            self._compile(expression, scalar)
        return expression

    def _check(self, scalar: Scalar, key: tuple[Kind, str] | None) -> Expression | None:
        """Parse and type-check. Without a key it is a first look, for the names only."""
        try:
            checked = self.checker.check(scalar.text, self.types)
            expression = checked_expr.decode(
                checked.checked_expr,
                scalar.text,
                require_bool=key is not None and key[0] != "variable",
            )
        except ExpressionError as error:
            self._note(error, scalar)
            return None
        if key is None:
            return expression
        for name, field, offset in unknown_keys(expression.root, _FIELDS):
            message = f"`{name}` has no {word(field)}"
            hint = closest(field, _FIELDS[name]) or f"it has {one_of(_FIELDS[name])}"
            self.problems.note(ExpressionError(message, scalar.locate(offset), hint))
        if key[0] == "variable":
            self.types[key[1]] = checked.type
        start = scalar.content_position
        self.conditions[key] = CheckedCondition(
            scalar.text, checked.checked_expr, start.line, start.column, start.path
        )
        return expression

    def _compile(self, expression: Expression, scalar: Scalar) -> bool:
        """Compile it as the PDP will, for what only that finds; whether that went well."""
        if not free_names(expression.root) & self.sources.keys() <= self.checked.keys():
            return False  # it uses a variable that has a problem
        try:
            compile_expression(expression, self.checked, self.limits)
        except ExpressionError as error:
            if error.message.startswith(_INSIDE):
                # Too large only as a whole: the place is in a text that is well by itself.
                error = ExpressionError(error.message, None, error.suggestion)
            self._note(error, scalar)
            return False
        return True

    def _note(self, error: ExpressionError, scalar: Scalar) -> None:
        self.problems.note(located(error, scalar))


def located(error: ExpressionError, scalar: Scalar) -> ExpressionError:
    """An error about an expression, at its place in the document, with what YAML may have done."""
    position = scalar.content_position
    if error.position is not None:
        position = scalar.locate(_offset(scalar.text, error.position))
    return ExpressionError(error.message, position, _yaml_trap(scalar) or error.suggestion)


def _offset(text: str, position: Position) -> int:
    """Offset of a line and column inside a text."""
    lines = text.split("\n")
    before = sum(len(line) + 1 for line in lines[: max(position.line - 1, 0)])
    return min(before + max(position.column - 1, 0), len(text))


def _yaml_trap(scalar: Scalar) -> str:
    """What to do when the text is wrong because YAML ended it early."""
    if scalar.style != "plain" or not _is_cut(scalar.text):
        return ""
    rest = scalar.source.text[scalar.end :].partition("\n")[0]
    if _COMMENT.match(rest):
        return f"` #` begins a comment in YAML, so the text ends before it; {BLOCK}"
    if rest[:1] in {",", "]", "}"}:
        return f"in braces and brackets, `{rest[:1]}` ends an unquoted text; {BLOCK}"
    return ""


def _is_cut(text: str) -> bool:
    """Whether quotes or brackets are left open. For a hint only: quotes may hold brackets."""
    return any(text.count(quote) % 2 for quote in "'\"") or any(
        text.count(opener) > text.count(closer) for opener, closer in ("()", "[]", "{}")
    )


def _in_order(
    uses: dict[str, frozenset[str]], sources: dict[str, Scalar], problems: Problems
) -> list[str]:
    """Names, each after those it uses; the order of the document where that leaves a choice.

    Those that use each other in a circle are problems, and left out.
    """
    order: list[str] = []
    settled: set[str] = set()
    while len(settled) < len(uses):
        waiting = [name for name in uses if name not in settled]
        ready = [name for name in waiting if uses[name] & uses.keys() <= settled]
        order += ready
        # With none ready, every one waiting uses one that waits: there is a circle.
        settled.update(ready or _circle(uses, waiting, sources, problems))
    return order


def _circle(
    uses: dict[str, frozenset[str]],
    waiting: list[str],
    sources: dict[str, Scalar],
    problems: Problems,
) -> list[str]:
    """Note one circle among variables none of which can come first; its members."""
    path = [waiting[0]]
    while (following := min(uses[path[-1]] & set(waiting))) not in path:
        path.append(following)
    path = path[path.index(following) :]
    first = path.index(min(path, key=list(sources).index))
    path = path[first:] + path[:first]
    shown = " → ".join(f"`{name}`" for name in [*path, path[0]])
    message = f"variables use each other in a circle: {shown}"
    if len(path) == 1:
        message = f"variable {word(path[0])} uses itself"
    position = sources[path[0]].content_position
    problems.note(ExpressionError(message, position, "write one of them out"))
    return path
