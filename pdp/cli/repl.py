"""`pdp repl`: try expressions against a request."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pdp.cel.syntax import Expression
    from pdp.impact.workbench import Workbench
    from pdp.policy import PolicyDocument
    from pdp.provided import Provided

HELP = """Try CEL expressions against a request, as a condition would see it.

Give a question as for `pdp explain`, or load one later. With `--policies`,
the variables of a policy can be used, too.

\b
  pdp repl question.json
  pdp repl question.json --policies policies/expense-reports \\
    --policy expense-submission
  echo 'subject.id == "ben"' | pdp repl question.json

Each line is an expression; its value follows, or its error with a caret.
`:help` lists the commands. Ends with `:quit` or the end of the input.

Exit code: 0, also after errors in expressions, 2 a file that is no question.
"""

COMMANDS = """:load FILE    take another question
:vars         the names that an expression can use, and what they are now
:type EXPR    the type that the checker deduces, without evaluating
:trace EXPR   the value of every part
:help         this text
:quit         end"""
PROMPT = "cel> "
# As for any source of a condition; longer lines are refused by the checker.
_LINE_CHARACTERS_MAX = 100_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("repl", help=HELP)(repl)


def repl(
    question: Annotated[
        Path | None, typer.Argument(metavar="[QUESTION]", help="A JSON file.")
    ] = None,
    policies: Annotated[
        Path | None,
        typer.Option(help="Folder, archive, repository, or one's revision, for their variables."),
    ] = None,
    policy: Annotated[str, typer.Option(help="Whose variables; else all policies'.")] = "",
    tenant: Annotated[
        str, typer.Option("--tenant", "-t", help="Whose policies, where there are several.")
    ] = "",
) -> None:
    """Read, evaluate, print."""
    from pdp.authoring.checker import Checker
    from pdp.impact.workbench import Workbench

    with Checker() as checker:
        variables, provided = _known(policies, policy, tenant, checker)
        bench = Workbench(checker, variables, time.time_ns(), provided)
        if question is not None:
            _load(bench, str(question))
        if sys.stdin.isatty():
            # Editing of lines and a history, where Python has them.
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401
            typer.echo("expressions are evaluated; :help lists the commands")
        for line in _lines():
            if not _handle(bench, line.strip()):
                break


def _known(
    source: Path | None, name: str, tenant: str, checker: object
) -> tuple[dict[str, Expression], Provided | None]:
    """Variables of a policy, or of all that agree on them; and what providers own."""
    from pdp.authoring.checker import Checker
    from pdp.authoring.compilation import compile_directory
    from pdp.errors import ConfigurationError
    from pdp.impact.edition import is_published, raise_below, read_edition
    from pdp.provided import Provided as Compiled

    if source is None:
        if name or tenant:
            raise ConfigurationError("`--policy` and `--tenant` need `--policies`")
        return {}, None
    provided = None
    if source.is_dir() and not is_published(str(source)):
        compilation = compile_directory(source, checker if isinstance(checker, Checker) else None)
        raise_below(compilation, source)
        policies: Sequence[PolicyDocument] = compilation.policies
        if compilation.providers:
            provided = Compiled(compilation.providers, compilation.schemas)
    else:
        edition = read_edition(str(source), tenant=tenant)
        policies, provided = edition.policies, edition.policy_set.provided
    chosen = [each for each in policies if not name or each.name == name]
    if not chosen:
        known = ", ".join(f"`{each.name}`" for each in policies)
        raise ConfigurationError(f"there is no policy `{name}`; there are {known}")
    found: dict[str, Expression] = {}
    clashing: set[str] = set()
    for each in chosen:
        for variable, expression in each.variables:
            if found.setdefault(variable, expression).source != expression.source:
                clashing.add(variable)
    if clashing:
        names = ", ".join(f"`{each}`" for each in sorted(clashing))
        raise ConfigurationError(f"policies differ on {names}: choose one with `--policy`")
    return found, provided


def _lines() -> Iterator[str]:
    if not sys.stdin.isatty():
        while line := sys.stdin.readline(_LINE_CHARACTERS_MAX):
            yield line
        return
    while True:
        try:
            yield input(PROMPT)
        except EOFError:
            return
        except KeyboardInterrupt:
            typer.echo("")


def _handle(bench: Workbench, line: str) -> bool:
    """One line; False ends."""
    from pdp.cli.terminal import of_the_system
    from pdp.errors import ConfigurationError, ExpressionError

    command, _, rest = line.partition(" ")
    try:
        match command:
            case "" | "#":
                return True
            case ":quit" | ":q":
                return False
            case ":help":
                typer.echo(COMMANDS)
            case ":load":
                _load(bench, rest.strip())
            case ":vars":
                _show_vars(bench)
            case ":type":
                typer.echo(bench.type_of(rest))
            case ":trace":
                _show_trace(bench, rest)
            case _ if command.startswith(":"):
                typer.echo(f"error: no command `{_safe(command)}`; :help lists them")
            case _:
                _show_value(bench, line)
    except ExpressionError as error:
        source = rest if command in {":type", ":trace"} else line
        _show_error(source, error.message, error.position.column if error.position else 0)
        if error.suggestion:
            typer.echo(f"  = {_safe(error.suggestion)}")
    except ConfigurationError as error:
        typer.echo(f"error: {_safe(str(error))}")
    except OSError as error:
        typer.echo(f"error: {_safe(of_the_system(error))}")
    return True


def _load(bench: Workbench, path: str) -> None:
    from pdp.cli.explain import read_question
    from pdp.errors import ConfigurationError

    if not path or path == "-":
        raise ConfigurationError("name a file: `:load question.json`")
    bench.load(read_question(path))


def _show_vars(bench: Workbench) -> None:
    from pdp.explanation import brief

    for name, type_, value in bench.names():
        typer.echo(f"{name}: {type_}" + ("" if value is None else f" = {brief(value[0])}"))
    for path, what in bench.origins:
        typer.echo(_safe(f"`{path}` {what}"))


def _show_value(bench: Workbench, source: str) -> None:
    from pdp.explanation import brief

    found = bench.evaluate(source)
    if found.problem:
        _show_error(source, found.problem, found.column)
    else:
        typer.echo(brief(found.value, 4_000))


def _show_trace(bench: Workbench, source: str) -> None:
    from pdp.cli.explanation_screen import show_condition

    show_condition(bench.explain(source))


def _show_error(source: str, message: str, column: int) -> None:
    """The message, and the place below the text if it is known (columns count from 1)."""
    from rich.cells import cell_len

    typer.echo(f"error: {_safe(message)}")
    if column > 0:
        typer.echo(f"  {_safe(source)}")
        typer.echo("  " + " " * cell_len(_safe(source[: column - 1])) + "^")


def _safe(text: str) -> str:
    from pdp.audit.reading import printable

    return printable(text)
