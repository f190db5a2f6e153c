"""`pdp audit`: verify a log, look into it, archive it.

Everything that is shown was written by someone else, so nothing of it reaches
the terminal unescaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pdp.audit.archiving import Archived
    from pdp.audit.findings import Survey
    from pdp.audit.log import Opened
    from pdp.audit.problems import Place
    from pdp.audit.survey import Progress
    from pdp.model import RecordRef

_FOLDERS = typer.Argument(
    metavar="FOLDER...", help="A spool, its archives; in any order.", show_default=False
)
_JSON = typer.Option("--json", help="For machines.")
# Problems and notes that are shown to people; `--json` has up to a thousand.
_SHOWN_MAX = 50


class Outcome(StrEnum):
    """Which records `show` shows."""

    PERMIT = "permit"
    DENY = "deny"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Verify, read and archive the audit log.")
    group.command("verify")(verify)
    group.command("show")(show)
    group.command("archive")(archive)
    app.add_typer(group, name="audit")


def verify(
    folders: Annotated[list[Path], _FOLDERS],
    head: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PDP_ID:SEQ:HEX",
            help="A record that must be there, as a response named it. May be repeated.",
        ),
    ] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Say whether the log is as it was written, or which records are not.

    Each record carries the hash of the one before it, so what was changed,
    removed, moved or repeated is named. That newer records were cut off shows
    only against a head from elsewhere: every response has one. Reads only; the
    PDP may be running. Each worker of a PDP has a log of its own, and all of
    them are verified.

    Exit code 0: it holds, and the heads are in it. 1: it does not hold. 2: it
    cannot be read. 3: it holds, but no head was given, so its tail is
    unanchored: records may be missing at its end.

    For example:

        pdp audit verify /var/lib/pdp/spool --head pdp-1/0/7:1042:9f86d081...
    """
    from pdp.audit.disk import RealDisk
    from pdp.audit.log import parse_head
    from pdp.audit.orphans import logs_in
    from pdp.audit.survey import survey
    from pdp.cli import EXIT_REFUSED, EXIT_UNANCHORED

    heads = _by_worker([parse_head(text) for text in head or ()])
    logs = logs_in(folders, RealDisk())
    surveys: dict[int, Survey] = {}
    for worker, spools in logs.items():
        with _progress("verifying") as progress:
            # A log that is alone is told all heads: also one that is not its own is then told.
            every = [head for some in heads.values() for head in some]
            its = every if len(logs) == 1 else heads.pop(worker, [])
            surveys[worker] = survey(spools, RealDisk(), heads=its, progress=progress)
        _insist_on_segments(spools, surveys[worker])
    if len(logs) > 1:
        _insist_on_logs(heads)
    _print_verdicts(surveys, as_json=as_json)
    if any(found.problems.count for found in surveys.values()):
        raise typer.Exit(EXIT_REFUSED)
    if any(found.anchor is None for found in surveys.values()):
        raise typer.Exit(EXIT_UNANCHORED)


def show(
    folders: Annotated[list[Path], _FOLDERS],
    since: Annotated[
        datetime | None, typer.Option(help="Records from this time on (UTC).", show_default=False)
    ] = None,
    caller: Annotated[
        str | None, typer.Option(help="Of this SPIFFE ID.", show_default=False)
    ] = None,
    effect: Annotated[Outcome | None, typer.Option(help="Only these.", show_default=False)] = None,
    decision_id: Annotated[
        str | None, typer.Option(help="Only this decision.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show records, oldest first; of several workers, one after the other.

    With a filter only decisions are shown, without one the spool's own
    statements too. Shows what can be read; whether it is what was written, says
    `pdp audit verify`.

    For example:

        pdp audit show /var/lib/pdp/spool --effect permit --since 2026-11-01
    """
    from pdp.audit.disk import RealDisk
    from pdp.audit.orphans import logs_in
    from pdp.audit.reading import Filter, as_dict, as_line
    from pdp.audit.survey import survey
    from pdp.cli.terminal import err, out

    wanted = Filter(since=since, caller=caller, permit=_permit(effect), decision_id=decision_id)
    out_line = out.file.write

    def visit(place: Place, record: Opened) -> None:
        if not wanted.takes(record):
            return
        if as_json:
            out_line(json.dumps(as_dict(place, record), ensure_ascii=True) + "\n")
        else:
            out_line(as_line(record) + "\n")

    for spools in logs_in(folders, RealDisk()).values():
        found = survey(spools, RealDisk(), visit=visit)
        _insist_on_segments(spools, found)
        if found.problems.count:
            err.print(
                f"warning: {found.problems.count} findings: `pdp audit verify` names them",
                markup=False,
            )


def archive(
    spool: Annotated[Path, typer.Argument(help="The folder of a PDP, running or not.")],
    destination: Annotated[
        Path, typer.Argument(help="Where to move sealed segments; made if need be.")
    ],
    damaged: Annotated[
        bool, typer.Option("--damaged", help="Move damaged segments too, as they are.")
    ] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Verify the spool, copy its sealed segments, sync, compare, then remove them.

    The segment in use stays. Logs of several workers go to folders of the same
    names below the destination. It may be interrupted at any point and run again.
    The log goes on to verify as a whole, archive and spool together:

        pdp audit archive /var/lib/pdp/spool /mnt/archive/pdp-1

        pdp audit verify /mnt/archive/pdp-1 /var/lib/pdp/spool --head ...

    Exit code 0: moved, or nothing to move. 1: the spool is damaged, or a copy is
    not what it should be; nothing was removed. 2: the disk refused.
    """
    from pdp.audit.archiving import archive as move
    from pdp.audit.disk import RealDisk
    from pdp.audit.log import head_text
    from pdp.audit.orphans import logs_in
    from pdp.cli.terminal import out
    from pdp.config.settings import worker_folder

    logs = logs_in([spool], RealDisk())
    if len(logs) > 1 or 0 not in logs:
        RealDisk().make_directory(destination)
    results: dict[str, dict[str, Any]] = {}
    for worker, (folder,) in logs.items():
        place = destination if worker == 0 else worker_folder(destination, worker)
        with _progress("verifying") as progress:
            done = move(folder, place, RealDisk(), damaged_too=damaged, progress=progress)
        results[f"worker-{worker}"] = {
            "segments": done.segments,
            "bytes": done.size,
            "head": head_text(done.head) if done.head else None,
            "damage": done.damage,
        }
        if not as_json:
            if len(logs) > 1:
                out.print(f"worker {worker}:", markup=False)
            _print_archived(done)
    if as_json:
        _print_json(results if len(results) > 1 else next(iter(results.values())))


def _print_archived(done: Archived) -> None:
    from pdp.audit.log import head_text
    from pdp.cli.terminal import err, out

    if not done.segments:
        out.print("nothing to move: only the segment in use is there")
        return
    out.print(f"moved {len(done.segments)} segments, {done.size} bytes", markup=False)
    if done.head:
        out.print(f"head of the archive: {head_text(done.head)}", markup=False)
    if done.damage:
        err.print(f"warning: {done.damage} findings were moved as they are", markup=False)


def _by_worker(heads: list[RecordRef]) -> dict[int, list[RecordRef]]:
    """Heads, by the worker whose log they are of."""
    from pdp.audit.log import PdpId

    found: dict[int, list[RecordRef]] = {}
    for head in heads:
        writer = PdpId.parse(head.pdp_id)
        found.setdefault(writer.worker if writer else 0, []).append(head)
    return found


def _insist_on_logs(heads: dict[int, list[RecordRef]]) -> None:
    """A head of a log that is not here proves nothing about those that are."""
    from pdp.errors import ConfigurationError

    for left in heads.values():
        raise ConfigurationError(
            f"there is no log of `{left[0].pdp_id}` in these folders: name the one it is in"
        )


def _print_verdicts(surveys: dict[int, Survey], *, as_json: bool) -> None:
    """One as it always was; of several, each by its worker."""
    from pdp.cli.terminal import out

    if as_json:
        verdicts = {f"worker-{worker}": _verdict(found) for worker, found in surveys.items()}
        _print_json(verdicts if len(verdicts) > 1 else next(iter(verdicts.values())))
        return
    for worker, found in surveys.items():
        if len(surveys) > 1:
            out.print(f"worker {worker}:", markup=False)
        _print_verdict(found)


def _insist_on_segments(folders: list[Path], found: Survey) -> None:
    """An empty folder holds no log, so nothing was verified."""
    from pdp.errors import ConfigurationError

    if not found.segments:
        where = ", ".join(f"`{folder}`" for folder in folders)
        raise ConfigurationError(f"no segments in {where}: name the folder of a spool")


def _permit(effect: Outcome | None) -> bool | None:
    return None if effect is None else effect is Outcome.PERMIT


def _verdict(found: Survey) -> dict[str, Any]:
    from pdp.audit.log import head_text

    return {
        "holds": not found.problems.count,
        "anchored": found.anchor is not None,
        "records": found.records,
        "bytes": found.size,
        "segments": len(found.segments),
        "first": head_text(found.first.ref) if found.first else None,
        "last": head_text(found.last.ref) if found.last else None,
        "anchor": head_text(found.anchor) if found.anchor else None,
        "after_anchor": found.after_anchor if found.anchor else None,
        "problem_count": found.problems.count,
        "problems": [
            {
                "kind": str(problem.kind),
                "segment": problem.place.segment,
                "offset": problem.place.offset,
                "pdp_id": problem.pdp_id,
                "seq": problem.seq,
                "seq_last": problem.seq_last,
                "message": problem.message,
            }
            for problem in found.problems.found
        ],
        "tails": [
            {"segment": str(tail.segment), "offset": tail.offset, "bytes": tail.length}
            for tail in found.tails
        ],
        "notes": found.notes,
    }


def _print_verdict(found: Survey) -> None:
    from pdp.audit.log import head_text
    from pdp.audit.reading import printable
    from pdp.cli.terminal import err, out

    for problem in found.problems.found[:_SHOWN_MAX]:
        err.print(printable(str(problem)), markup=False)
    if found.problems.count > _SHOWN_MAX:
        err.print(f"and {found.problems.count - _SHOWN_MAX} more", markup=False)
    for note in found.notes[:_SHOWN_MAX]:
        out.print(f"note: {printable(note)}", markup=False)
    for tail in found.tails:
        out.print(
            f"note: segment `{tail.segment}` ends in {tail.length} bytes of an incomplete record "
            "(being written if the PDP runs, torn if it died)",
            markup=False,
        )
    last = head_text(found.last.ref) if found.last else "none"
    out.print(
        f"{found.records} records in {len(found.segments)} segments, {found.size} bytes; "
        f"last {last}",
        markup=False,
    )
    if found.problems.count:
        err.print(f"[red]the log does not hold:[/red] {found.problems.count} findings")
    elif found.anchor is None:
        err.print("tail unanchored: nothing is wrong with what is here, but newer records may have")
        err.print("been cut off; give a head that a response carried: --head pdp_id:seq:hex")
    else:
        out.print(f"[green]the log holds[/green] up to the head {head_text(found.anchor)}")
        if found.after_anchor:
            out.print(
                f"{found.after_anchor} records behind it hold together; only a later head shows "
                "whether any are missing",
                markup=False,
            )


def _print_json(value: object) -> None:
    from pdp.cli.terminal import out

    # Not rich's: it would colour and wrap.
    out.file.write(json.dumps(value, indent=2, ensure_ascii=True) + "\n")


@contextmanager
def _progress(what: str) -> Iterator[Progress]:
    """A bar on a terminal, for long logs; nothing elsewhere."""
    from rich.progress import Progress as Bar

    from pdp.cli.terminal import err

    with Bar(console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
