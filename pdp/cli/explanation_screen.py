"""How an explanation looks on a terminal: a tree. `pdp explain` and `pdp authorize --explain`."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from pdp.audit.reading import printable
from pdp.cli.terminal import out
from pdp.explanation import (
    ExplainedCondition,
    ExplainedRole,
    ExplainedRule,
    Explanation,
    Part,
    Sample,
    Standing,
)
from pdp.model import Effect, Verdict

_APPLIES = {
    Verdict.TRUE: ("applies", "green"),
    Verdict.FALSE: ("does not apply", "dim"),
    Verdict.DOUBT: ("in doubt", "yellow"),
    Verdict.SPENT: ("spent its budget", "red"),
}
_VALUE = {
    Verdict.TRUE: ("true", "green"),
    Verdict.FALSE: ("false", "red"),
    Verdict.DOUBT: ("in doubt", "yellow"),
    Verdict.SPENT: ("spent its budget", "red"),
    None: ("not evaluated", "dim"),
}
_HELD = {
    Verdict.TRUE: ("held", "green"),
    Verdict.FALSE: ("not held", "red"),
    Verdict.DOUBT: ("in doubt", "yellow"),
    Verdict.SPENT: ("spent its budget", "red"),
}
_STANDING = {
    Standing.CANDIDATE: "considered",
    Standing.OTHER_ACTION: "other actions",
    Standing.NOT_YET: "not yet begun",
    Standing.EXPIRED: "expired",
}
# Rules that were not considered, by name; the rest is a number.
_OTHERS_SHOWN = 20
_PIPE_WIDTH = 10_000


def show(explanation: Explanation) -> None:
    """Print an explanation."""
    # Wrapped on a terminal; where it is read by something else, a line stays a line.
    screen = out if out.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)
    for tree in _trees(explanation):
        screen.print(tree, soft_wrap=False)


def show_condition(condition: ExplainedCondition) -> None:
    """Print an expression and its parts."""
    screen = out if out.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)
    root = Tree("")
    _condition(root, "", condition)
    for branch in root.children:
        screen.print(branch, soft_wrap=False)


def _trees(explanation: Explanation) -> Iterable[Tree | Text]:
    """What there is to print, in order."""
    rules = Tree("rules considered")
    shown: set[int] = set()
    for rule in explanation.rules:
        _rule(rules, rule, explanation.roles, shown)
    yield rules if explanation.rules else Text("no rule was considered")
    if explanation.others:
        others = Tree("not considered")
        for other in explanation.others[:_OTHERS_SHOWN]:
            others.add(
                _line(f"{other.effect.name.lower()} {other.name}: ", _STANDING[other.standing])
            )
        if len(explanation.others) > _OTHERS_SHOWN:
            others.add(_line(f"and {len(explanation.others) - _OTHERS_SHOWN} more"))
        yield others
    if explanation.missing:
        missing = Tree("attributes that were missing")
        for path in explanation.missing:
            missing.add(_line("", path, "yellow"))
        yield missing
    if explanation.flips:
        flips = Tree("one change that would turn the answer")
        for flip in explanation.flips:
            would, colour = _APPLIES[flip.verdict]
            line = _line(f"{flip.rule}, if it were: ", would, colour)
            line.append(f", {flip.effect.name} ({flip.cause.name})")
            flips.add(line)
        yield flips
    if explanation.truncated:
        yield Text("the explanation was cut to its limits", "yellow")


def _line(start: str, end: str = "", style: str = "") -> Text:
    return Text.assemble(printable(start), (printable(end), style))


def _rule(
    tree: Tree, rule: ExplainedRule, roles: tuple[ExplainedRole, ...], shown: set[int]
) -> None:
    colour = "green" if rule.effect is Effect.PERMIT else "red"
    line = Text.assemble((rule.effect.name.lower(), colour), f" {printable(rule.name)}: ")
    line.append(*_APPLIES[rule.verdict])
    branch = tree.add(line)
    if rule.roles is None:
        branch.add(_line("roles: ", "anyone"))
    for at in rule.roles or ():
        _role(branch, roles[at], known=at in shown)
        shown.add(at)
    if rule.when is not None:
        _condition(branch, "when ", rule.when)


def _role(tree: Tree, role: ExplainedRole, *, known: bool) -> None:
    """A role; what it is made of is shown at its first place."""
    branch = tree.add(_line(f"role {role.name}: ", *_HELD[role.verdict]))
    if known and (role.sources or role.when):
        branch.add(Text("as above", "dim"))
        return
    if role.problem:
        branch.add(_line("", role.problem, "yellow"))
    for name, verdict in role.sources:
        branch.add(_line(f"from {name}: ", *_HELD[verdict]))
    if role.when is not None:
        _condition(branch, "when ", role.when)


def _condition(tree: Tree, start: str, condition: ExplainedCondition) -> None:
    branch = tree.add(_line(f"{start}{condition.text}: ", *_VALUE[condition.verdict]))
    if condition.problem:
        branch.add(_line("", condition.problem, "yellow"))
    branches: dict[int, Tree] = {0: branch}
    for at, part in enumerate(condition.parts):
        if at:
            branches[at] = branches[part.parent].add(_part(part))


def _part(part: Part) -> Text:
    line = _line(f"{part.text}: ")
    if not part.count:
        line.append("not evaluated", "dim")
    elif part.count == 1 and not any(sample.bindings for sample in part.samples):
        for sample in part.samples:
            line.append_text(_sample(sample))
    else:
        _append_many(line, part)
    return line


def _append_many(line: Text, part: Part) -> None:
    """A part of a loop: how often it was what, and the first of them."""
    counts = [
        (part.trues, "true"),
        (part.falses, "false"),
        (part.errors, "error" if part.errors == 1 else "errors"),
    ]
    said = ", ".join(f"{count} {what}" for count, what in counts if count)
    line.append(f"{part.count} times" + (f" ({said})" if said else ""))
    for sample in part.samples:
        line.append(f"\n  {printable(sample.bindings)} → " if sample.bindings else "\n  ")
        line.append_text(_sample(sample))
    if part.count > len(part.samples):
        line.append("\n  …", "dim")


def _sample(sample: Sample) -> Text:
    if sample.problem:
        return _line("", f"error: {sample.problem}", "yellow")
    colour = {"true": "green", "false": "red"}.get(sample.value, "")
    return _line("", sample.value, colour)
