"""`pdp explain`: why policies answer a question as they do."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pdp.cli.authorize import Context, Properties, entries_of, pair, properties_by_part

if TYPE_CHECKING:
    from pdp.impact.edition import Edition
    from pdp.impact.question import Question
    from pdp.model import Decision

# Short lines and no square brackets: they are shown as they stand, and brackets are markup.
HELP = """Explain an answer: every rule, every part of its condition, what was missing.

Give the policies, and the question as a JSON file (`-` is standard input) or
with options. The policies are a folder, a bundle's archive, a repository, or
`REPOSITORY@REVISION`. The caller policy applies, as in the PDP.

\b
  pdp explain policies/expense-reports question.json
  pdp explain repository question.json --tenant acme
  pdp explain policies/expense-reports \\
    --caller spiffe://demo.example.org/expenses/frontend \\
    --subject user:ben --action read --resource expense_report:r-1 \\
    -p subject.department=sales -p 'subject.roles=\\["manager"]'

question.json:

\b
  {"caller": "spiffe://demo.example.org/expenses/frontend",
   "now": "2026-09-15T10:00:00Z",
   "subject": {"type": "user", "id": "ben", "properties": {"level": 3}},
   "action": "read",
   "resource": {"type": "expense_report", "id": "r-1"}}

Below each rule stand its roles and its condition, part by part: the value,
the error, or `not evaluated` where something else had decided. Then the
attributes that were looked for and not there, and the single changes of a
rule that would turn the answer.

Exit code: 0 explained, whatever the answer, 1 the policies have problems,
2 a question that cannot be asked.
"""

QuestionFile = Annotated[
    str, typer.Argument(metavar="[QUESTION]", help="A JSON file, or `-` for standard input.")
]
Policies = Annotated[str, typer.Argument(help="Folder, archive, repository, or one's revision.")]
CallerId = Annotated[str, typer.Option("--caller", help="SPIFFE ID of the workload that asks.")]
Now = Annotated[str, typer.Option("--now", help="When it is asked; else this moment.")]
Root = Annotated[Path | None, typer.Option("--root", help="The trusted root of a repository.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain", help=HELP, no_args_is_help=True)(explain)


def explain(  # noqa: PLR0913, PLR0917 the options of a command
    policies: Policies,
    question: QuestionFile = "",
    caller: CallerId = "",
    now: Now = "",
    subject: Annotated[str, typer.Option("--subject", help="Who: `type:id`.")] = "",
    action: Annotated[str, typer.Option("--action", help="What is to be done.")] = "",
    resource: Annotated[str, typer.Option("--resource", help="To what: `type:id`.")] = "",
    properties: Properties = None,
    context: Context = None,
    tenant: Annotated[
        str, typer.Option("--tenant", "-t", help="Whose policies, where there are several.")
    ] = "",
    root: Root = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Explain the answer to one question."""
    from pdp.errors import ConfigurationError
    from pdp.impact.edition import is_published, read_edition
    from pdp.impact.question import parse_now, question_of

    given = (subject, action, resource, *(properties or ()), *(context or ()))
    if question:
        if any(given):
            raise ConfigurationError("give the question as a file or with options, not both")
        asked = read_question(question)
    else:
        if not (subject and action and resource):
            message = (
                "give the question as a JSON file, or `--subject`, `--action` and `--resource`"
            )
            raise ConfigurationError(message)
        found = properties_by_part(properties or [])
        parts: dict[str, Any] = {
            "subject": _entity(subject, "--subject", found["subject"]),
            "action": {"name": action, "properties": found["action"]},
            "resource": _entity(resource, "--resource", found["resource"]),
            "context": entries_of(context or [], "--context"),
        }
        asked = question_of(parts)
    named = asked.request.tenant if is_published(policies) else ""
    edition = read_edition(policies, root, tenant or named)
    asked = asked.otherwise(caller, parse_now(now) or time.time_ns())
    if not asked.caller.spiffe_id:
        known = ", ".join(f"`{entry.id}`" for entry in edition.callers.entries[:5])
        raise ConfigurationError(f"who asks? write `--caller`; the caller policy knows {known}")
    _answer(edition, asked, as_json=as_json)


def read_question(path: str) -> Question:
    """A question from a file, or from standard input.

    Raises:
        ConfigurationError: it is not one.
    """
    from pdp.errors import ConfigurationError
    from pdp.impact.question import QUESTION_BYTES_MAX, parse_question

    if path == "-":
        data = sys.stdin.buffer.read(QUESTION_BYTES_MAX + 1)
    else:
        with Path(path).open("rb") as file:
            data = file.read(QUESTION_BYTES_MAX + 1)
    if len(data) > QUESTION_BYTES_MAX:
        raise ConfigurationError(f"the question is larger than {QUESTION_BYTES_MAX} bytes")
    try:
        return parse_question(data.decode())
    except UnicodeDecodeError:
        raise ConfigurationError(f"`{path}` is not UTF-8") from None


def _entity(text: str, option: str, properties: dict[str, Any]) -> dict[str, Any]:
    kind, name = pair(text, option)
    return {"type": kind, "id": name, "properties": properties}


def _answer(edition: Edition, asked: Question, *, as_json: bool) -> None:
    from pdp.audit.reading import printable
    from pdp.cli.explained_answer import answer_as_json, reasons_withheld, with_the_answer
    from pdp.cli.explanation_screen import show
    from pdp.cli.terminal import out
    from pdp.errors import ConfigurationError, InvalidRequestError
    from pdp.explaining import GENEROUS
    from pdp.explaining import explain as why
    from pdp.explanation import as_plain
    from pdp.impact.workbench import origins_told

    now_ns = asked.now_ns or 0
    try:
        admitted = asked.admitted(edition.policy_set.provided)
        decision, rules = edition.decide(admitted, asked.caller, now_ns)
    except InvalidRequestError as error:
        raise ConfigurationError(f"a PDP would refuse this question as invalid: {error}") from None
    withheld = reasons_withheld(edition, admitted, now_ns, decision)
    told = why(edition.policy_set, admitted, now_ns, decision, rules, GENEROUS)
    notes = list(_before_the_rules(edition, asked, decision))
    origins = origins_told(admitted)
    if as_json:
        found = {**answer_as_json(decision, withheld), "notes": notes, **as_plain(told)}
        found |= {"origins": dict(origins)} if origins else {}
        typer.echo(json.dumps(found, indent=1, ensure_ascii=True))
        return
    colour = "green" if decision else "red"
    out.print(f"[{colour}]{decision.effect.name}[/{colour}] ({decision.cause.name})")
    for note in notes:
        out.print(f"  {note}", markup=False)
    if decision.rules:
        out.print(f"  by {', '.join(decision.rules)}", markup=False)
    for line in with_the_answer(decision, withheld):
        out.print(printable(f"  {line}"), markup=False)
    if not notes:
        for path, what in origins:
            out.print(printable(f"  `{path}` {what}"), markup=False)
        show(told)


def _before_the_rules(edition: Edition, asked: Question, decision: Decision) -> Iterator[str]:
    """Why no rule was looked at, where none was."""
    from pdp.audit.reading import printable
    from pdp.model import Cause

    if decision.cause is Cause.SCHEMA:
        yield printable(f"it does not fit the schema: {decision.schema_violation}")
    if decision.cause is Cause.IDENTITY:
        yield printable(decision.schema_violation or "the subject has to be proved by a token")
    if decision.cause is not Cause.CALLER:
        return
    entries = [each for each in edition.callers.entries if each.matches(asked.caller.spiffe_id)]
    if not entries:
        yield printable(f"the caller policy does not know `{asked.caller.spiffe_id}`")
    request = asked.request
    for entry in entries:
        asks = (
            ("resources", request.resource.type, entry.resources),
            ("actions", request.action.name, entry.actions),
            ("subjects", request.subject.type, entry.asserts or ()),
        )
        lacks = [
            f"`{wanted}` is not among its {what}"
            for what, wanted, allowed in asks
            if wanted not in allowed and allowed != ("*",)
        ]
        yield printable(f"the entry `{entry.id}` does not cover it: {', '.join(lacks)}")
