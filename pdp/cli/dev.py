"""`pdp dev`: a PDP for one author, from one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pdp.config.settings import Address

HELP = """Serve a folder of policies while you write them.

Makes throw-away keys, certificates and a signed bundle, starts a PDP on this
machine, and prints a program that asks it. Each save is checked, tested and
served; what is wrong is shown, and the last good bundle stays. Every decision
is a line. Ctrl-C ends it and removes everything that was made.

\b
  pdp dev policies/expense-reports
  pdp dev policies/expense-reports --listen 127.0.0.1:8443 --dir .pdp-dev

Callers are played as workloads of `dev.invalid`, whatever their trust domain:
nothing but `pdp dev` believes what is made here.

Exit code: 0 ended as told, 2 wrong usage, or it could not start.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("dev", help=HELP, no_args_is_help=True)(dev)


def dev(
    policies: Annotated[Path, typer.Argument(help="Folder of policies.")],
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS:PORT", help="A loopback address; port 0 is any.")
    ] = "127.0.0.1:0",
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            help="Folder to use and keep: certificates and program have the same paths each "
            "time, and the record stays. Without it, a temporary one.",
        ),
    ] = None,
    trust_domain: Annotated[
        str, typer.Option(help="Whose callers are played; without it, the first caller's.")
    ] = "",
    tenant: Annotated[
        str, typer.Option("--tenant", "-t", help="Whose policies these are, as callers name it.")
    ] = "default",
) -> None:
    """Serve a folder of policies while they are written."""
    from pdp.cli.dev_screen import Screen
    from pdp.cli.terminal import out
    from pdp.dev.news import NewsDesk
    from pdp.dev.session import Wishes, run

    wishes = Wishes(policies, parse_address(listen), folder, trust_domain, tenant)
    with NewsDesk(Screen().show) as desk:
        run(wishes, desk)
    kept = f"kept `{folder}`" if folder else "removed everything that was made"
    out.print(f"stopped; {kept}", markup=False)


def parse_address(text: str) -> Address:
    """`127.0.0.1:8443` or `[::1]:8443`.

    Raises:
        ConfigurationError: anything else.
    """
    from pdp.config.settings import Address
    from pdp.errors import ConfigurationError

    host, colon, port = text.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or len(port) > 5:  # noqa: PLR2004 65535
        raise ConfigurationError(
            f"`--listen` is {text!a}: write `address:port`, like `127.0.0.1:8443` or `[::1]:0`"
        )
    if int(port) > 65_535:  # noqa: PLR2004 the last port
        raise ConfigurationError(f"`--listen`: there is no port {port}, the last is 65535")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))
