"""`pdp diff`: what a change of policies does, to the rules and to requests of the past."""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pdp.cli import EXIT_REFUSED

if TYPE_CHECKING:
    from pdp.impact.comparison import Difference
    from pdp.impact.replay import Case, Outcome, Replay
    from pdp.model import Decision

HELP = """Compare two states of policies: documents, rules, and answers.

OLD and NEW are each a folder of policies, a bundle's archive, a repository
folder (what is published now), or `REPOSITORY@REVISION`.

\b
  pdp diff repository policies/expense-reports
  pdp diff repository@12 repository@13
  pdp diff old.tar new.tar --json

With `--replay`, requests are asked of both, and those that would be answered
otherwise are listed, a denial that becomes a permit first. Give the folders
of a PDP's record (`capture: full` keeps whole requests), or files of
questions, one JSON object a line, as for `pdp explain`.

\b
  pdp diff repository policies --replay /var/lib/pdp/record
  pdp diff repository policies --replay questions.jsonl
  pdp diff repository@12 repository --tenant acme

What cannot be asked again is counted, with the reason.

Exit code: 0 no differences, 1 differences, 2 something is wrong with what
was given.
"""

_DANGERS = {
    "OPENS": ("DENY → PERMIT", "bold red"),
    "SHEDS": ("PERMIT that lost an obligation", "red"),
    "CLOSES": ("PERMIT → DENY", "yellow"),
    "OTHERWISE": ("same effect, otherwise decided", ""),
}
_KINDS_SHOWN = 20
_LINE_BYTES_MAX = 4 << 20
_PROGRESS_LINES = 256

Edition_ = Annotated[str, typer.Argument(help="Folder, archive, repository, or one's revision.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("diff", help=HELP, no_args_is_help=True)(diff)


def diff(  # noqa: PLR0913, PLR0917 the options of a command
    old: Edition_,
    new: Edition_,
    replay: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a record, or a file of questions. May be repeated."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="Differences to list.")] = 20,
    caller: Annotated[str, typer.Option(help="Who asks, where a question does not say.")] = "",
    now: Annotated[str, typer.Option(help="When, likewise; else this moment.")] = "",
    recorded_by_old: Annotated[
        bool,
        typer.Option(
            "--recorded-by-old",
            help="OLD made the decisions that were recorded: what it looked for and is not in a"
            " record was absent. Known without it where OLD is published.",
        ),
    ] = False,
    root: Annotated[Path | None, typer.Option(help="The trusted root of a repository.")] = None,
    tenant: Annotated[
        str, typer.Option("--tenant", "-t", help="Whose policies, where there are several.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare, and replay."""
    from pdp.errors import ConfigurationError, PdpError
    from pdp.impact.comparison import compare
    from pdp.impact.edition import read_edition
    from pdp.impact.question import parse_now
    from pdp.impact.replay import Replay

    now_ns = parse_now(now) or time.time_ns()
    try:
        editions = [read_edition(each, root, tenant) for each in (old, new)]
    except PdpError as error:
        # Exit code 1 says "they differ" here, and nothing else.
        raise ConfigurationError(str(error)) from error
    differences = compare(*editions)
    played = None
    if replay:
        work = Replay(
            *editions, top=top, caller=caller, now_ns=now_ns, recorded_by_old=recorded_by_old
        )
        _play(work, replay)
        played = work.outcome
    if as_json:
        _show_json(differences, played, top)
    else:
        _show(differences, played, top)
    if differences or (played is not None and played.different):
        raise typer.Exit(EXIT_REFUSED)


def _play(work: Replay, paths: list[Path]) -> None:
    """All records and questions, with a bar on a terminal."""
    from pdp.errors import ConfigurationError

    folders = [path for path in paths if path.is_dir()]
    if folders:
        from pdp.audit.disk import RealDisk
        from pdp.audit.orphans import logs_in
        from pdp.audit.survey import survey
        from pdp.cli.terminal import err

        for spools in logs_in(folders, RealDisk()).values():
            with _bar("replaying records") as progress:
                found = survey(
                    spools,
                    RealDisk(),
                    visit=lambda _, record: work.take_record(record),
                    progress=progress,
                )
            if not found.segments:
                where = ", ".join(f"`{spool}`" for spool in spools)
                raise ConfigurationError(f"no segments in {where}: name the folder of a record")
            if found.problems.count:
                err.print(
                    f"warning: the log does not hold, {found.problems.count} findings:"
                    " `pdp audit verify` names them",
                    markup=False,
                )
    for path in paths:
        if path not in folders:
            _play_file(work, path)


def _play_file(work: Replay, path: Path) -> None:
    """A question a line. A longer line than any question is skipped in bounded memory."""
    with path.open("rb") as file, _bar(f"replaying {path.name}") as progress:
        size, done, number = path.stat().st_size, 0, 0
        while line := file.readline(_LINE_BYTES_MAX):
            number += 1
            done += len(line)
            whole = line.endswith(b"\n") or len(line) < _LINE_BYTES_MAX
            while not whole and (rest := file.readline(_LINE_BYTES_MAX)):
                done += len(rest)
                whole = rest.endswith(b"\n")
                line = b"{"  # no question: it says so
            if line.strip():
                work.take_line(line, f"{path}:{number}")
            if number % _PROGRESS_LINES == 0:
                progress(done, size)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal; nothing elsewhere."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    from pdp.cli.terminal import err

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), Remaining())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


# -- for people ------------------------------------------------------------------------------------


def _show(differences: list[Difference], played: Outcome | None, top: int) -> None:
    from pdp.cli.terminal import out

    for each in differences:
        _show_difference(each)
    if not differences:
        out.print("no difference between the documents")
    if played is not None:
        _show_outcome(played, top)


def _show_difference(each: Difference) -> None:
    from rich.text import Text

    from pdp.audit.reading import printable
    from pdp.cli.terminal import out

    colour = {"added": "green", "removed": "red"}.get(each.act.value, "yellow")
    effect = f"{each.effect.name.lower()} " if each.effect is not None else ""
    line = Text.assemble((each.act.value, colour), f" {effect}{each.kind} {printable(each.name)}")
    out.print(line)
    for change in each.changes:
        _show_change(change.field, change.old, change.new)
    if each.rules:
        out.print(Text(f"    a part of: {printable(', '.join(each.rules))}", "dim"))


def _show_change(field: str, old: str, new: str) -> None:
    from rich.text import Text

    from pdp.audit.reading import printable
    from pdp.cli.terminal import out

    out.print(Text(f"    {field}:"))
    for line in difflib.ndiff(old.splitlines(), new.splitlines()):
        if line[:1] == "?":
            continue
        colour = {"-": "red", "+": "green"}.get(line[:1], "")
        out.print(Text(f"      {printable(line)}", colour))


def _show_outcome(played: Outcome, top: int) -> None:
    from rich.text import Text

    from pdp.audit.reading import printable
    from pdp.cli.problems import counted
    from pdp.cli.terminal import out

    asked = counted(played.asked, "request")
    out.print(f"\n{asked} asked of both, {played.different} answered otherwise")
    for danger, count in sorted(played.counts.items()):
        words, colour = _DANGERS[danger.name]
        out.print(Text.assemble((f"  {count}: {words}", colour)))
        kinds = [(n, said) for (kind, said), n in played.kinds.items() if kind is danger]
        for number, said in sorted(kinds, key=lambda pair: (-pair[0], pair[1]))[:_KINDS_SHOWN]:
            out.print(Text(f"      {number}: {said}", "dim"))
    for case in played.worst(top):
        words, colour = _DANGERS[case.danger.name]
        line = Text.assemble((words, colour), f": {case.said} at {case.time} ({case.place})")
        out.print(line)
        for name, answer in (("old", case.old), ("new", case.new)):
            out.print(Text(f"    {name}: {printable(_said(answer))}"))
    if skipped := sum(played.skipped.values()):
        out.print(f"{skipped} could not be asked again:")
        for reason, count in played.skipped.most_common(_KINDS_SHOWN):
            places = played.skipped_at[reason]
            more = ", …" if count > len(places) else ""
            out.print(f"  {count}: {reason} ({', '.join(places)}{more})", markup=False)
    if played.drifted:
        out.print(f"{played.drifted} were recorded with another answer than OLD gives now")


def _said(answer: Decision) -> str:
    rules = f" by {', '.join(answer.rules)}" if answer.rules else ""
    duties = ", ".join(f"{duty.type}:{duty.id}" for duty in answer.obligations)
    return f"{answer.effect.name} ({answer.cause.name}){rules}" + (f"; {duties}" if duties else "")


# -- for machines ----------------------------------------------------------------------------------


def _show_json(differences: list[Difference], played: Outcome | None, top: int) -> None:
    from pdp.impact.comparison import as_plain

    found: dict[str, Any] = {"documents": as_plain(differences), "replay": None}
    if played is not None:
        found["replay"] = {
            "asked": played.asked,
            "different": {danger.name: count for danger, count in sorted(played.counts.items())},
            "kinds": [
                {"danger": danger.name, "what": said, "count": count}
                for (danger, said), count in played.kinds.most_common()
            ],
            "cases": [_case(case) for case in played.worst(top)],
            "not_asked": [
                {"reason": reason, "count": count, "first": played.skipped_at[reason]}
                for reason, count in played.skipped.most_common()
            ],
            "recorded_otherwise": played.drifted,
        }
    typer.echo(json.dumps(found, indent=1, ensure_ascii=True))


def _case(case: Case) -> dict[str, Any]:
    return {
        "danger": case.danger.name,
        "place": case.place,
        "time": case.time,
        "request": case.said,
        "old": _answer(case.old),
        "new": _answer(case.new),
    }


def _answer(answer: Decision) -> dict[str, Any]:
    from pdp.value_json import plain

    return {
        "effect": answer.effect.name,
        "cause": answer.cause.name,
        "rules": list(answer.rules),
        "obligations": [
            {"type": duty.type, "id": duty.id, "properties": plain(duty.properties)}
            for duty in answer.obligations
        ],
    }
