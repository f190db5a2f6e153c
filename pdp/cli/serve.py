"""`pdp serve`: answer questions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    config: Annotated[
        Path,
        typer.Option(
            "--config", "-c", envvar="PDP_CONFIG", help="The configuration file, in TOML."
        ),
    ] = Path("pdp.toml"),
) -> None:
    """Serve decisions over gRPC with mutual TLS, until SIGTERM or SIGINT.

    Refuses to start on anything that is wrong, and says what. `pdp config check`
    says it without starting.

    Logs are JSON, a line per event, on standard error. When the port is open,
    one line on standard output says which:

        {"event": "listening", "address": "127.0.0.1:8443", "port": 8443}

    For example:

        pdp serve --config pdp.toml
    """
    # gRPC's core has lines of its own, about an agent that hangs up for one; not JSON, and nothing
    # that is not told as an event as well. It looks at this when it is first imported.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from pdp.config import load_settings

    settings = load_settings(config)
    if settings.workers > 1:
        from pdp.server.crew.parent import run_crew

        run_crew(settings)
        return
    from pdp.server.process import run

    run(settings)
