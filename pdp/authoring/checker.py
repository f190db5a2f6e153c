"""Parses and type-checks CEL with the official checker, in a child process.

What comes back is not taken on trust: it is decoded like the bytes of any
bundle before it is handed out. Every failure, the child's death and silence
included, is an `ExpressionError` about the expression.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError

from pdp import checked_expr
from pdp.authoring.checker_environment import CONFIGURATION
from pdp.authoring.checker_messages import explain
from pdp.authoring.framed_child import ChildFailedError, FramedChild
from pdp.cel.syntax import Expression, Ident, Select, position_of
from pdp.errors import ExpressionError, Position
from pdp.v1 import checked_pb2

# What a condition sees (design, section 5). The whole maps are declared beside
# their parts; the checker resolves `subject.id` to the longest name it knows.
CONDITION_VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "subject": "map(string, dyn)",
        "subject.type": "string",
        "subject.id": "string",
        "subject.properties": "map(string, dyn)",
        "action": "map(string, dyn)",
        "action.name": "string",
        "action.properties": "map(string, dyn)",
        "resource": "map(string, dyn)",
        "resource.type": "string",
        "resource.id": "string",
        "resource.properties": "map(string, dyn)",
        "context": "map(string, dyn)",
        "caller": "map(string, string)",
        "caller.id": "string",
        "caller.trust_domain": "string",
        "caller.path": "string",
        "token": "map(string, dyn)",
        "now": "google.protobuf.Timestamp",
    }
)
_TYPE_URL = "type.googleapis.com/cel.expr.CheckedExpr"
_PROCESS = Path(__file__).with_name("checker_process.py")


@dataclass(frozen=True, slots=True)
class CheckerLimits:
    """What checking one expression may take."""

    source_code_points_max: int = 20_000  # cel-cpp's own limit is 100,000
    wall_s: float = 10.0
    start_s: float = 30.0  # of the child, on a loaded machine
    cpu_s: int = 10
    memory_bytes: int = 2 << 30  # address space; the library alone maps 200 MB


@dataclass(frozen=True, slots=True)
class Checked:
    """A checked expression.

    Attributes:
        checked_expr: a `pdp.v1.CheckedExpr`, serialised deterministically.
        type: the type of its value, `bool` or `list(string)`.
    """

    checked_expr: bytes
    type: str


class Checker(FramedChild):
    """The checker's child process, started when needed and again after a failure.

    Use as a context manager. Calls from several threads take turns.
    """

    def __init__(self, limits: CheckerLimits | None = None) -> None:
        self.limits = limits or CheckerLimits()
        super().__init__(
            _PROCESS,
            (str(self.limits.memory_bytes), str(self.limits.cpu_s)),
            wall_s=self.limits.wall_s,
            start_s=self.limits.start_s,
        )

    @property
    def does_not_start(self) -> str:
        """What to say when it does not even start."""
        return (
            "the CEL checker does not start: install `portcullis[authoring]`, "
            "which brings cel-expr-python"
        )

    def check(
        self,
        source: str,
        variables: Mapping[str, str],
        *,
        configuration: str = CONFIGURATION,
        container: str = "",
    ) -> Checked:
        """Parse and type-check an expression.

        Args:
            source: the text.
            variables: type signatures by name, `{"now": "google.protobuf.Timestamp"}`.
            configuration: the functions it may use (`pdp.authoring.checker_environment`).
            container: the namespace in which names are looked up first.

        Raises:
            ExpressionError: it does not check, is too large, or the checker
                failed on it. The position counts inside the text.
            ConfigurationError: the checker does not start at all.
        """
        _refuse_text(source, self.limits.source_code_points_max)
        request = json.dumps(
            {
                "source": source,
                "variables": dict(variables),
                "configuration": configuration,
                "container": container,
            }
        ).encode()
        try:
            answer = self.ask(request)
        except ChildFailedError as error:
            message = f"the checker {error} on this expression"
            raise ExpressionError(
                message, Position("", 1, 1), "make it shorter, or report it with its text"
            ) from None
        if "checked" not in answer:
            raise explain(str(answer.get("error", "")), source, variables)
        return _accept(answer["checked"], source, variables)


# -- before and after ----------------------------------------------------------


def _refuse_text(source: str, code_points_max: int) -> None:
    """What must not reach the checker: too much, and what is not Unicode."""
    if len(source) > code_points_max:
        message = f"longer than {code_points_max} characters"
        raise ExpressionError(message, Position("", 1, 1), "split it into rules or variables")
    for at, character in enumerate(source):
        if "\ud800" <= character <= "\udfff":
            message = f"half a character, U+{ord(character):04X}, is not text"
            raise ExpressionError(message, position_of(source, at), "write it whole")


def _accept(encoded: object, source: str, variables: Mapping[str, str]) -> Checked:
    """The child's answer, decoded and looked through."""
    wrapper, message = AnyMessage(), checked_pb2.CheckedExpr()
    try:
        wrapper.ParseFromString(base64.b64decode(str(encoded), validate=True))
        if wrapper.type_url == _TYPE_URL:
            message.ParseFromString(wrapper.value)
    except (DecodeError, binascii.Error):
        _refuse_answer("nested too deeply, or the checker failed on it")
    if not message.HasField("expr"):
        _refuse_answer("the checker gave no checked expression")
    # Macro calls and extensions are for debuggers; unknown fields anywhere
    # else stay, and `decode` refuses them.
    message.source_info.DiscardUnknownFields()
    data = message.SerializeToString(deterministic=True)
    expression = checked_expr.decode(data, source)
    _refuse_traps(expression, variables)
    return Checked(data, str(expression.root.type))


def _refuse_answer(reason: str) -> NoReturn:
    raise ExpressionError(reason, Position("", 1, 1), "make it simpler")


def _refuse_traps(expression: Expression, variables: Mapping[str, str]) -> None:
    """Two things the checker lets through that never mean what they say."""
    source = expression.source
    for node, bound in checked_expr.walk(expression.root):
        at = position_of(source, node.offset)
        match node:
            case Ident(name) if "." in name[1:] and source[node.offset : node.offset + 1] == "(":
                # The checker turns `has(subject.id)` into plain `subject.id`;
                # the position is still that of the macro.
                message = f"`has({name})`: the attribute `{name}` is always there"
                raise ExpressionError(message, at, f"write `has({name}.field)`, or compare it")
            case Select(Ident(name), field) if name not in bound:
                parent = f"{name.removeprefix('.')}."
                known = [f"`{v.removeprefix(parent)}`" for v in variables if v.startswith(parent)]
                if known:
                    message = f"`{parent[:-1]}` has no `{field}`"
                    raise ExpressionError(message, at, f"it has {', '.join(sorted(known))}")
            case _:
                continue
