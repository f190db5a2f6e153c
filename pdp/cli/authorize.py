"""`pdp authorize`: ask a PDP from the shell."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pdp import value_json
from pdp.errors import ConfigurationError
from pdp.values import Value

if TYPE_CHECKING:
    from pdp.model import Decision, Obligation

HELP = """Ask a PDP: may this subject do this action on this resource?

Exit code 0 is PERMIT, 1 is DENY, and whatever goes wrong on the way is DENY.
2 is a question that cannot be asked: a wrong option, a missing file.

\b
  pdp authorize --target localhost:8443 \\
    --trust-bundle ca.pem --certificate me.pem --key me.key \\
    --subject user:ben --action read --resource expense_report:r-1 \\
    -p subject.department=sales -p 'subject.roles=["manager"]' \\
    -p resource.department=sales -p resource.status=submitted
"""

PARTS: Final = ("subject", "action", "resource")
# A value that begins like one of these has to be JSON. Anything else that is
# not JSON is a word: `department=engineering` needs no quotes in a shell.
JSON_BEGINNINGS: Final = frozenset('{["-0123456789')
NO_WORDS: Final = frozenset({"", "NaN", "Infinity"})


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=HELP, no_args_is_help=True)(authorize)


Target = Annotated[str, typer.Option(help="Where the PDP is: `host:port`.")]
SubjectName = Annotated[str, typer.Option("--subject", help="Who wants to act: `type:id`.")]
ActionName = Annotated[str, typer.Option("--action", help="What is to be done.")]
ResourceName = Annotated[str, typer.Option("--resource", help="What it is done to: `type:id`.")]
TrustBundle = Annotated[Path, typer.Option(help="PEM file: authorities of the PDP's certificate.")]
Certificate = Annotated[Path, typer.Option(help="PEM file: the certificate to show.")]
Key = Annotated[Path, typer.Option(help="PEM file: its private key.")]
Properties = Annotated[
    list[str] | None,
    typer.Option(
        "--property",
        "-p",
        metavar="PART.NAME=VALUE",
        help="Property of the `subject`, the `action` or the `resource`; the value is JSON or"
        " a plain word. Repeat it for several.",
    ),
]
Context = Annotated[
    list[str] | None,
    typer.Option("--context", "-c", metavar="NAME=VALUE", help="Entry of the context, likewise."),
]
Tenant = Annotated[str, typer.Option(help="Needed where the caller has several.")]
ServerName = Annotated[
    str | None,
    typer.Option(help="Name in the PDP's certificate, where it is not the host of the target."),
]
CanMeet = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TYPE:ID",
        help="An obligation that you will meet. A permit with any other is a denial.",
    ),
]
TimeoutMs = Annotated[
    int, typer.Option(min=1, max=5000, help="Time for everything, connecting included.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="Ask why, too. Denied unless this caller's entry in the caller policy says"
        " `may: \\[explain]`.",
    ),
]


def authorize(  # noqa: PLR0913, PLR0917 the options of a command
    target: Target,
    subject: SubjectName,
    action: ActionName,
    resource: ResourceName,
    trust_bundle: TrustBundle,
    certificate: Certificate,
    key: Key,
    properties: Properties = None,
    context: Context = None,
    tenant: Tenant = "",
    server_name: ServerName = None,
    can_meet: CanMeet = None,
    timeout_ms: TimeoutMs = 1000,
    explain: Explain = False,
    as_json: AsJson = False,
) -> None:
    """Ask, print the answer, exit by it."""
    from pdp.cli import EXIT_REFUSED
    from pdp.model import Action, Resource, Subject
    from pdp_client import AccessDenied, Client

    found = properties_by_part(properties or [])
    question = (
        Subject(*pair(subject, "--subject"), found["subject"]),
        Action(_filled(action, "--action"), found["action"]),
        Resource(*pair(resource, "--resource"), found["resource"]),
        entries_of(context or [], "--context"),
    )
    # The reason is printed below; the client's warning would say it twice.
    logging.getLogger("pdp_client").setLevel(logging.ERROR)
    with Client(
        target,
        trust_bundle=trust_bundle,
        certificate=certificate,
        key=key,
        server_name=server_name,
        budget_s=timeout_ms / 1000,
        can_meet={pair(duty, "--can-meet") for duty in can_meet or []},
    ) as client:
        started = time.perf_counter()
        try:
            decision, reason = client.enforce(*question, tenant=tenant, explain=explain), ""
        except AccessDenied as denied:
            decision, reason = denied.decision, denied.reason
        microseconds = round((time.perf_counter() - started) * 1_000_000)
    _show(decision, reason, microseconds, as_json=as_json)
    if not decision:
        raise typer.Exit(EXIT_REFUSED)


def _filled(text: str, option: str) -> str:
    if not text:
        raise ConfigurationError(f"`{option}` is empty")
    return text


def pair(text: str, option: str) -> tuple[str, str]:
    """`type:id`. The id may hold colons, the type may not."""
    kind, _, name = text.partition(":")
    if not kind or not name:
        raise ConfigurationError(f"`{option} {text}` is not `type:id`, such as `user:alice`")
    return kind, name


def properties_by_part(assignments: list[str]) -> dict[str, dict[str, Value]]:
    """Properties by part. A name may hold dots: what is nested is written as JSON."""
    by_part: dict[str, list[str]] = {part: [] for part in PARTS}
    for assignment in assignments:
        part, dot, rest = assignment.partition(".")
        if part not in PARTS or not dot:
            raise ConfigurationError(
                f"`--property {assignment}` does not begin with `subject.`, `action.` or"
                " `resource.`"
            )
        by_part[part].append(rest)
    return {part: entries_of(rest, f"--property {part}.") for part, rest in by_part.items()}


def entries_of(assignments: list[str], option: str) -> dict[str, Value]:
    """Values by name, from `name=value`."""
    entries: dict[str, Value] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not name or not equals:
            raise ConfigurationError(f"`{option}{assignment}` is not `name=value`")
        if name in entries:
            raise ConfigurationError(f"`{option}{name}` is given twice")
        try:
            entries[name] = parse_value(text)
        except ValueError as error:
            raise ConfigurationError(f"the value of `{option}{name}` {error}") from None
    return entries


def parse_value(text: str) -> Value:
    """A value from the command line: JSON, or a plain word.

    Numbers without `.` and `e` are int64, as everywhere (JSON itself has only
    one kind of number). A date begins with a digit, so it has to be quoted:
    guessing here would make `2026` a number and `2026-11` a string.

    Raises:
        ValueError: a predicate that fits after "the value of ...".
    """
    try:
        return value_json.parse(text)
    except value_json.NotJsonError as error:
        if text[:1] in JSON_BEGINNINGS or text in NO_WORDS or text != text.strip():
            literal = json.dumps(text, ensure_ascii=False)
            raise ValueError(f"{error}; for a string, write '{literal}'") from None
    # A word, unless it has half a character.
    return value_json.parse(json.dumps(text))


def _show(decision: Decision, reason: str, microseconds: int, *, as_json: bool) -> None:
    from pdp.cli.terminal import out

    if as_json:
        found = _as_json(decision, reason, microseconds)
        out.print(json.dumps(found, indent=2), markup=False)
        return
    colour = "green" if decision else "red"
    out.print(f"[{colour}]{decision.effect.name}[/{colour}] ({decision.cause.name})")
    rows = [
        ("reason", reason),
        ("violation", decision.schema_violation),
        ("rules", ", ".join(decision.rules)),
        *(
            ("obligation", f"{duty.type}:{duty.id} {json.dumps(value_json.plain(duty.properties))}")
            for duty in decision.obligations
        ),
        *(
            ("advice", f"{item.type}:{item.id} {json.dumps(value_json.plain(item.properties))}")
            for item in decision.advice
        ),
        *(("for user", f"{said.text} [{said.rule}]") for said in decision.reason_user),
        *(("for admin", f"{said.text} [{said.rule}]") for said in decision.reason_admin),
        ("decision", decision.decision_id),
        ("bundle", f"revision {decision.bundle.revision}" if decision.bundle else ""),
        ("record", f"{decision.record.pdp_id}:{decision.record.seq}" if decision.record else ""),
        ("time", f"{microseconds} µs"),
    ]
    for name, text in rows:
        if text:
            out.print(f"  {name:<11}{text}", markup=False)
    if decision.explanation is not None:
        from pdp.cli.explanation_screen import show

        show(decision.explanation)


def _as_json(decision: Decision, reason: str, microseconds: int) -> dict[str, object]:
    from pdp.explanation import as_plain

    bundle, record = decision.bundle, decision.record
    return {
        "effect": decision.effect.name,
        "cause": decision.cause.name,
        "reason": reason or None,
        "schema_violation": decision.schema_violation or None,
        "rules": list(decision.rules),
        "obligations": _duties(decision.obligations),
        "advice": _duties(decision.advice),
        "reason_user": {said.rule: said.text for said in decision.reason_user},
        "reason_admin": {said.rule: said.text for said in decision.reason_admin},
        "decision_id": decision.decision_id or None,
        "bundle": bundle and {"revision": bundle.revision, "digest": bundle.digest.hex()},
        "record": record
        and {"pdp_id": record.pdp_id, "seq": record.seq, "hash": record.hash.hex()},
        "microseconds": microseconds,
        "explanation": None if decision.explanation is None else as_plain(decision.explanation),
    }


def _duties(duties: Iterable[Obligation]) -> list[dict[str, object]]:
    return [
        {"type": duty.type, "id": duty.id, "properties": value_json.plain(duty.properties)}
        for duty in duties
    ]
