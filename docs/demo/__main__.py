"""`make demo`: one decision, end to end; then everything that breaks, denies.

Ends with exit code 0 only if every promise that it shows was kept.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from docs.demo.questions import CAN_MEET, FIRST, MALLORY, MANAGER_BOB, QUESTIONS, Question
from docs.demo.scene import POLICIES, ROOT, Scene, Server, StageError
from pdp_client import Cause, Client, Decision, Effect, RecordRef

BUDGET_S = 0.25  # the client's default, for the question that nobody answers
# What a loaded machine may add before the program gets its turn again; the budget itself has
# no tolerance: it is measured under load by `make prove`.
SCHEDULING_S = 0.25
WIDTH = 150


class Show:
    """Narration on the terminal, and whether every promise was kept.

    Colours only on a terminal: rich looks at the stream, NO_COLOR and TERM.
    """

    def __init__(self) -> None:
        self.out = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
        self.broken = 0

    def title(self, number: int, words: str) -> None:
        """A part begins."""
        self.out.print(f"\n[bold]{number}. {escape(words)}[/bold]")

    def say(self, words: str) -> None:
        """One line."""
        self.out.print(f"   {escape(words)}")

    def quote(self, text: str, lines_max: int = 6) -> None:
        """What a command said."""
        for line in text.strip().splitlines()[:lines_max]:
            self.out.print(f"   [dim]| {escape(line[:400])}[/dim]", soft_wrap=True)

    def promise(self, words: str, *, kept: bool) -> None:
        """A promise and whether it was kept."""
        self.broken += not kept
        mark = "[green]kept[/green]  " if kept else "[bold red]BROKEN[/bold red]"
        self.out.print(f"   {mark} {escape(words)}")


def ask(
    client: Client, question: Question, timeout_s: float | None = None
) -> tuple[Decision, float]:
    """One answer, and how many seconds it took."""
    started = time.perf_counter()
    decision = client.authorize(
        question.subject,
        question.action,
        question.resource,
        question.context,
        timeout=timeout_s,
    )
    return decision, time.perf_counter() - started


def _prepare(show: Show, scene: Scene) -> Path:
    """Certificates, keys, yesterday's edition and today's; returns yesterday's repository."""
    show.title(1, "Sign: throw-away authority and file keys, policies built and published")
    scene.issue_certificates()
    scene.publish_first()
    yesterday = scene.copy_repository("yesterday")
    scene.publish_denials(
        {
            "version": 1,
            "callers": [],
            "serials": [],
            "subjects": [{"type": MALLORY.type, "id": MALLORY.id}],
            "jtis": [],
        }
    )
    show.quote(scene.pdp("bundle", "show").stdout, 12)
    show.say(f"the policies are in {POLICIES.relative_to(ROOT)}; today's edition denies Mallory,")
    show.say("yesterday's, of which a copy was kept, did not yet")
    return yesterday


def _answer(show: Show, client: Client, questions: tuple[Question, ...]) -> list[RecordRef]:
    """Ask everything; returns the records that answers named, in order."""
    # Not in the table: it pays for the connection and both processes' first steps.
    _, first_s = ask(client, FIRST)
    show.say(f"the first answer took {first_s * 1000:.0f} ms, TLS handshake included; then:")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("question")
    table.add_column("effect", no_wrap=True)
    table.add_column("cause", no_wrap=True)
    table.add_column("rule", overflow="fold")
    table.add_column("µs", justify="right", no_wrap=True)
    records = []
    wrong = []
    for question in questions:
        decision, seconds = ask(client, question)
        style = "green" if decision else "red"
        table.add_row(
            escape(question.words),
            f"[{style}]{decision.effect.name}[/{style}]",
            decision.cause.name,
            escape("\n".join(decision.rules) or "-"),
            f"{seconds * 1_000_000:,.0f}",
        )
        expected = (question.effect, question.cause, question.rule in ("", *decision.rules))
        if expected != (decision.effect, decision.cause, True):
            wrong.append(question.words)
        if decision.record:
            records.append(decision.record)
    show.out.print(table)
    show.promise("every answer is the one that the policies' authors expect", kept=not wrong)
    show.promise("every answer names its durable record", kept=len(records) == len(questions))
    return records


def _kill(show: Show, client: Client, server: Server) -> None:
    show.title(3, "Kill: kill -9 of the PDP, the same client, the question that was permitted")
    server.process.kill()
    server.process.wait()
    decision, seconds = ask(client, FIRST, BUDGET_S)
    show.say(
        f"{FIRST.words}: {decision.effect.name}({decision.cause.name}) "
        f"in {seconds * 1000:.1f} ms of a budget of {BUDGET_S * 1000:.0f} ms"
    )
    show.promise(
        "no PDP is a denial",
        kept=decision.effect is Effect.DENY and decision.cause is Cause.UNREACHABLE,
    )
    show.promise("inside the budget", kept=seconds <= BUDGET_S + SCHEDULING_S)


def _tamper(show: Show, scene: Scene, records: list[RecordRef]) -> None:
    show.title(4, "Falsify: one byte of the record is changed on disk")
    if len(records) < len(QUESTIONS):
        show.promise("there is a record of each answer to falsify", kept=False)
        return
    head, victim = records[-1], records[1]
    anchor = f"{head.pdp_id}:{head.seq}:{head.hash.hex()}"
    before = scene.pdp("audit", "verify", scene.record, "--head", anchor, expect=None)
    show.promise(
        "the record verifies as it was left by kill -9, up to the last answer",
        kept=before.returncode == 0,
    )
    segment = max(scene.record.rglob("*.seg"), key=lambda path: path.stat().st_size)
    content = bytearray(segment.read_bytes())
    # The approval that Bob gave: its record is the first with his name.
    at = content.index(MANAGER_BOB.id.encode())
    content[at] ^= 0x01
    segment.write_bytes(content)
    after = scene.pdp("audit", "verify", scene.record, "--head", anchor, expect=None)
    said = after.stdout + after.stderr
    show.quote(said)
    show.promise(
        f"one bit of byte {at} is enough: verification refuses, and names the record",
        kept=after.returncode == 1 and f"{victim.pdp_id} seq {victim.seq}:" in said,
    )
    content[at] ^= 0x01
    segment.write_bytes(content)


def _replay(show: Show, scene: Scene, yesterday: Path) -> None:
    show.title(5, "Replay: yesterday's repository, every signature in it genuine")
    try:
        server = scene.start(scene.configure("yesterday.toml", yesterday))
    except StageError as error:
        show.quote(str(error))
        show.promise(
            "the PDP remembers that it has seen a later one, and does not start",
            kept="did not start" in str(error),
        )
        return
    server.process.kill()
    server.process.wait()
    show.promise("the PDP refuses an older edition", kept=False)


def run(folder: Path, questions: tuple[Question, ...] = QUESTIONS) -> int:
    """The whole demo in a folder; the number of promises that were broken."""
    show, scene = Show(), Scene(folder)
    started = time.perf_counter()
    yesterday = _prepare(show, scene)
    show.title(2, "Ask: pdp serve on localhost, mutual TLS, the Python client")
    with scene.serving(scene.repository) as server, scene.client(server, CAN_MEET) as client:
        records = _answer(show, client, questions)
        _kill(show, client, server)
    _tamper(show, scene, records)
    _replay(show, scene, yesterday)
    seconds = time.perf_counter() - started
    if show.broken:
        show.out.print(
            f"\n[bold red]{show.broken} promises were broken[/bold red] ({seconds:.1f} s)"
        )
    else:
        show.out.print(f"\nAll promises were kept, in {seconds:.1f} s. Next: make test")
    return show.broken


def main() -> None:
    """Entry point."""
    # What the client would warn of is what is shown here.
    logging.getLogger("pdp_client").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="portcullis-demo-") as folder:
        try:
            broken = run(Path(folder))
        except StageError as error:
            sys.exit(f"demo: {error}")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
