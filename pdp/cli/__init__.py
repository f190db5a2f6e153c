"""`pdp`: one file per command.

Exit codes, everywhere: 0 done, 1 checked and refused, 2 usage or
configuration, 3 tail unanchored (`pdp audit verify` only).
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

# Command modules, in the order `pdp --help` shows them. Each has
# `register(app: typer.Typer) -> None`.
COMMANDS = (
    "check",
    "test",
    "fmt",
    "schema",
    "explain",
    "repl",
    "diff",
    "dev",
    "bundle",
    "serve",
    "health",
    "authorize",
    "failsafe",
    "audit",
    "config",
    "authzen",
)

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_UNANCHORED = 3


def application() -> typer.Typer:
    """The command line with all its commands."""
    import typer

    app = typer.Typer(
        name="pdp",
        help="Portcullis: a policy decision point whose every failure is a denial.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    for name in COMMANDS:
        importlib.import_module(f"pdp.cli.{name}").register(app)
    return app


def main() -> None:
    """Entry point of the `pdp` script."""
    try:
        import typer  # noqa: F401
    except ModuleNotFoundError:
        sys.stderr.write(
            "error: the command line needs more than the client: pip install 'portcullis[server]'\n"
        )
        sys.exit(EXIT_USAGE)
    from pdp.cli.terminal import report

    app = application()
    try:
        app()
    except Exception as error:  # noqa: BLE001 the outermost edge: an error becomes a message
        sys.exit(report(error))
