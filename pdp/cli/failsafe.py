"""`pdp failsafe`: does a client fail safe?"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pdp.failsafe.trial import Options
    from pdp.failsafe.verdict import Verdict

HELP = """Does a client fail safe? Drive it through everything that can go wrong.

ADAPTER is a program that asks through the client under test and says what
came of it, a JSON object a line (docs/failsafe.md). A PDP that misbehaves
on command stands at the other end: wrong answers, wrong frames, wrong
certificates, cut connections, dead processes. The client passes with no
permit, no hang, and every call within its budget and two seconds; and if
the honest PDP's permits and denials get through.

\b
  pdp failsafe -- python failsafe_adapters/ours.py threads
  pdp failsafe --only killed --only stopped -- ./adapter
  pdp failsafe --rounds 20 --step 1 -- ./adapter
  pdp failsafe --list

Exit code: 0 it passes, 1 it does not, 2 something is wrong with what was
given.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=HELP, no_args_is_help=True)(failsafe)


def failsafe(
    adapter: Annotated[
        list[str] | None, typer.Argument(help="The program and its arguments, after `--`.")
    ] = None,
    *,
    rounds: Annotated[int, typer.Option(min=1, help="Calls of each fault.")] = 3,
    step: Annotated[
        int, typer.Option(min=1, help="Bytes between two places of a cut; 1 is every byte.")
    ] = 97,
    budget_ms: Annotated[
        int, typer.Option(min=10, max=5000, help="Budget of a faulted call.")
    ] = 250,
    only: Annotated[
        list[str] | None, typer.Option(metavar="FAULT", help="This fault; may be repeated.")
    ] = None,
    transport: Annotated[
        bool,
        typer.Option(
            "--transport",
            help="Only faults below the protocol, for clients of others; without controls.",
        ),
    ] = False,
    list_faults: Annotated[bool, typer.Option("--list", help="Say what faults there are.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """See `HELP`."""
    from pdp.failsafe.catalogue import FAULTS
    from pdp.failsafe.trial import Options

    chosen = [fault for fault in FAULTS if fault.transport or not transport]
    if only:
        known = {fault.name for fault in FAULTS}
        if unknown := [name for name in only if name not in known]:
            raise typer.BadParameter(f"no fault `{unknown[0]}`: `pdp failsafe --list` has them all")
        chosen = [fault for fault in chosen if fault.name in only]
    if list_faults:
        told = [{"fault": one.name, "place": one.place, "words": one.words} for one in chosen]
        rows = (f"{one.name:28}{one.words}" for one in chosen)
        typer.echo(json.dumps(told, indent=1) if as_json else "\n".join(rows))
        return
    if not adapter:
        raise typer.BadParameter("the adapter is missing: `pdp failsafe -- PROGRAM ARGUMENT...`")
    options = Options(budget_s=budget_ms / 1_000, rounds=rounds, step=step)
    verdict = _run(adapter, chosen, options, controlled=not transport)
    typer.echo(json.dumps(verdict.told(), indent=1) if as_json else "\n".join(verdict.lines()))
    raise typer.Exit(1 if verdict.problems else 0)


def _run(command: list[str], chosen: list[Any], options: Options, *, controlled: bool) -> Verdict:
    from pdp.failsafe.adapter import Adapter
    from pdp.failsafe.firing_range import FiringRange
    from pdp.failsafe.judging import judge

    with (
        tempfile.TemporaryDirectory(prefix="pdp-failsafe-") as folder,
        FiringRange(Path(folder)) as place,
        Adapter(command) as adapter,
    ):
        return judge(adapter, place, chosen, options, _progress, controlled=controlled)


def _progress(done: int, of: int, name: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{done}/{of} {name}" if done < of else "\r\x1b[K")
        sys.stderr.flush()
