"""What the code can say to an operator, read from its source text: log events and counters.

Nothing is listed by hand, so nothing can be forgotten: whoever adds an event finds
`tests/test_operations.py` asking what it means.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from pdp.bundle import PollOutcome

ROOT: Final = Path(__file__).resolve().parent.parent.parent
SOURCES: Final = ("pdp", "clients/python/pdp_client")
_LEVELS: Final = (
    "debug",
    "info",
    "warning",
    "error",
    "critical",
)  # the bridge writes the last as error
# What stands in braces in the name of an event, and what it can be.
_CLOSED_SETS: Final[dict[str, tuple[str, ...]]] = {"result.outcome": get_args(PollOutcome)}


class UnreadableError(Exception):
    """An event or counter whose name the source text does not tell."""


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """One line of the log.

    Attributes:
        name: the field `event`; for Python's `logging`, the name of the logger.
        message: for `logging`, the message with its placeholders; else empty.
        levels: at which it is written.
        fields: what else the line has.
    """

    name: str
    message: str
    levels: tuple[str, ...]
    fields: tuple[str, ...]

    @property
    def key(self) -> str:
        """By which its meaning is found."""
        return f"{self.name}: {self.message}" if self.message else self.name


@dataclass(frozen=True, slots=True, order=True)
class Counter:
    """One counter and its labels, each a word or, in angle brackets, what fills it."""

    name: str
    labels: tuple[str, ...]

    @property
    def key(self) -> str:
        """By which its meaning is found, if its labels have one of their own."""
        return " ".join([self.name, *self.labels])


def events() -> list[Event]:
    """Every event of the PDP and of the client, sorted; levels and fields of one name joined.

    Raises:
        UnreadableError: an event's name is not in the source text.
    """
    joined: dict[tuple[str, str], Event] = {}
    for event in (event for path, tree in _trees() for event in _events_of(path, tree)):
        key = (event.name, event.message)
        other = joined.get(key, event)
        levels = {*other.levels, *event.levels}
        joined[key] = Event(
            *key,
            tuple(level for level in _LEVELS if level in levels),
            tuple(dict.fromkeys([*other.fields, *event.fields])),
        )
    return sorted(joined.values())


def counters() -> list[Counter]:
    """Every counter of the PDP, sorted."""
    return sorted({counter for _, tree in _trees() for counter in _counters_of(tree)})


def _trees() -> Iterator[tuple[Path, ast.Module]]:
    for source in SOURCES:
        for path in sorted((ROOT / source).rglob("*.py")):
            if not path.stem.endswith(("_pb2", "_pb2_grpc")):
                yield path.relative_to(ROOT), ast.parse(path.read_text())


def _events_of(path: Path, tree: ast.Module) -> Iterator[Event]:
    logger = _logger_of(path, tree)
    for scope, call in _calls(tree):
        base, method = _target(call)
        if base.endswith("telemetry") and method == "log" and path.name != "telemetry.py":
            level, event = call.args
            fields = tuple(word.arg for word in call.keywords if word.arg)
            for name in _texts(event, scope, path):
                yield Event(name, "", tuple(_texts(level, scope, path)), fields)
        elif logger and base == "_log" and method in {*_LEVELS, "critical"}:
            (message,) = _texts(call.args[0], scope, path)
            # The bridge writes what is said through `logging` as `detail`, and `critical` as error.
            yield Event(logger, message, (method.replace("critical", "error"),), ("detail",))


def _counters_of(tree: ast.Module) -> Iterator[Counter]:
    for _, call in _calls(tree):
        base, method = _target(call)
        if base.endswith("telemetry") and method == "count":
            name, *labels = (_label(argument) for argument in call.args)
            yield Counter(name, tuple(labels))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Attribute)
            and node.value.attr == "counters"
            and isinstance(node.slice, ast.Tuple)
            and all(isinstance(item, ast.Constant) for item in node.slice.elts)
        ):
            name, *labels = (_label(item) for item in node.slice.elts)
            yield Counter(name, tuple(labels))


def _calls(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.Call]]:
    """Every call, with the innermost function around it."""

    def visit(node: ast.AST, scope: ast.AST) -> Iterator[tuple[ast.AST, ast.Call]]:
        if isinstance(node, ast.Call):
            yield scope, node
        inner = node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else scope
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inner)

    yield from visit(tree, tree)


def _target(call: ast.Call) -> tuple[str, str]:
    """What is called: the last name before the dot, and the one behind it."""
    if not isinstance(call.func, ast.Attribute):
        return "", ""
    base = call.func.value
    name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
    return name, call.func.attr


def _logger_of(path: Path, tree: ast.Module) -> str:
    for scope, call in _calls(tree):
        if _target(call) == ("logging", "getLogger") and scope is tree and call.args:
            argument = call.args[0]
            if isinstance(argument, ast.Constant):
                return str(argument.value)
            return ".".join(path.with_suffix("").parts)
    return ""


def _texts(node: ast.expr, scope: ast.AST, path: Path) -> list[str]:
    """The texts that an expression can be.

    Raises:
        UnreadableError: the source text does not tell.
    """
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.IfExp(body=first, orelse=second):
            return [*_texts(first, scope, path), *_texts(second, scope, path)]
        case ast.Name(id=name):
            found = [
                text for value in _assigned(name, scope) for text in _texts(value, scope, path)
            ]
            if found:
                return found
        case ast.JoinedStr(values=parts):
            texts = [""]
            for part in parts:
                texts = [text + more for text in texts for more in _part(part, path)]
            return texts
        case _:
            pass
    raise UnreadableError(
        f"{path}:{node.lineno}: `{ast.unparse(node)}` names an event: write its name as text, or "
        "add what it can be to docs/operations/found.py"
    )


def _part(part: ast.expr, path: Path) -> Iterable[str]:
    if isinstance(part, ast.Constant):
        return [str(part.value)]
    if isinstance(part, ast.FormattedValue) and ast.unparse(part.value) in _CLOSED_SETS:
        return _CLOSED_SETS[ast.unparse(part.value)]
    raise UnreadableError(f"{path}:{part.lineno}: `{ast.unparse(part)}` is no closed set")


def _assigned(name: str, scope: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in node.targets
        ):
            yield node.value


def _label(node: ast.expr) -> str:
    """`Cause.AUDIT.name` is AUDIT, `decision.cause.name` is <cause>, a text is itself."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    words = ast.unparse(node).removesuffix(".name").removesuffix(".value").split(".")
    return words[-1] if words[-1].isupper() else f"<{words[-1]}>"
