"""What every command shares at the edge: errors become a message and an exit code."""

from __future__ import annotations

import sys

from rich.console import Console

from pdp.cli import EXIT_REFUSED, EXIT_USAGE
from pdp.errors import ConfigurationError, PdpError

# Colours only on a terminal: rich looks at the stream, NO_COLOR and TERM.
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def report(error: Exception) -> int:
    """Print an error a newcomer can act on; return the exit code.

    An error that is none of ours is a bug: its traceback is printed, for the
    report that we ask for.
    """
    if isinstance(error, ConfigurationError):
        err.print(f"[red]error:[/red] {_plain(error)}")
        return EXIT_USAGE
    if isinstance(error, PdpError):
        err.print(f"[red]error:[/red] {_plain(error)}")
        return EXIT_REFUSED
    if isinstance(error, OSError):
        err.print(f"[red]error:[/red] {_plain(of_the_system(error))}")
        return EXIT_USAGE
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("pdp"):
        err.print(f"[red]error:[/red] this command needs `{error.name}`, which is not installed")
        err.print(
            "to serve: pip install 'portcullis\\[server]'; for policies: 'portcullis\\[authoring]'"
        )
        return EXIT_USAGE
    import traceback

    traceback.print_exception(error, file=sys.stderr)
    err.print("[red]error:[/red] this is a bug in pdp: please report it with the lines above")
    return EXIT_USAGE


def of_the_system(error: OSError) -> str:
    """The words for what the operating system refused: the file first, as in all messages."""
    said = error.strerror or str(error)
    said = said[:1].lower() + said[1:]
    return f"`{error.filename}`: {said}" if error.filename else said


def _plain(error: object) -> str:
    return str(error).replace("[", r"\[")
