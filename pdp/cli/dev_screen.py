"""What `pdp dev` shows: one line per decision, and what came of each save."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from rich.text import Text

from pdp.audit.reading import printable
from pdp.bundle.anchor import DEVELOPMENT_TRUST_DOMAIN
from pdp.cli import problems
from pdp.cli.outcomes import show_failed, summary
from pdp.cli.terminal import out
from pdp.dev.decisions import DecisionSeen
from pdp.dev.news import Dropped, News, Started, Trouble
from pdp.dev.workbench import Report
from pdp.values import NANOS

# A caller may send a kilobyte as a name; a line is for reading.
_NAME_CHARACTERS_MAX: Final = 80
_STYLES: Final = {"PERMIT": "bold green", "DENY": "bold red"}


class Screen:
    """Prints news, in the thread that calls it. Colours only on a terminal."""

    def __init__(self) -> None:
        self._told: tuple[str, ...] = ()

    def show(self, news: News) -> None:
        """Print one."""
        match news:
            case DecisionSeen():
                _decision(news)
            case Report():
                self._report(news)
            case Started():
                _started(news)
            case Trouble():
                out.print(Text.assemble(("trouble: ", "bold red"), printable(news.words)))
            case Dropped():
                out.print(Text(f"{news.count} decisions are not shown", "yellow"))

    def _report(self, report: Report) -> None:
        for problem in (*report.problems, *report.test_problems):
            problems.show(problem, report.folder, report.sources)
        if report.refused:
            out.print(Text.assemble(("error: ", "bold red"), printable(report.refused)))
        # Once for each change of policies: a save of tests changes none of them.
        for finding in report.findings if report.is_new else ():
            problems.show_finding(finding, report.folder, report.sources)
        show_failed(report.outcomes, report.folder)
        out.print(Text.assemble((_time(report.time_ns), "dim"), "  ", _verdict(report)))
        if report.telling and report.telling != self._told:
            out.print(
                Text(
                    f"          these rules read the caller's trust domain, which is "
                    f"`{DEVELOPMENT_TRUST_DOMAIN}` here: {', '.join(report.telling)}; `pdp test` "
                    "asks them as the real caller",
                    "yellow",
                )
            )
        self._told = report.telling


def _verdict(report: Report) -> Text:
    """The line that ends a report: what is served now, and what the tests say."""
    said = Text()
    count = len(report.problems)
    if report.published and report.served is not None:
        how = "serving" if report.is_new else "no change of policies, serving"
        counts = problems.summary(item for item in report.counts if item[1] != "test")
        said.append(f"{counts}: {how} revision {report.served.revision}", "green")
    else:
        what = problems.counted(count, "problem") if count else "not served"
        said.append(f"{what}: ", "red")
        if report.served is None:
            said.append("nothing is served yet; waiting for the next save", "red")
        else:
            since = _time(report.served.time_ns)
            said.append(f"still serving revision {report.served.revision} of {since}", "red")
    said.append("; ")
    if report.test_problems:
        count = len(report.test_problems)
        return said.append(f"{problems.counted(count, 'problem')} in tests, none was run", "red")
    if report.problems or (report.refused and not report.outcomes):
        return said.append("no test was run")
    if not report.outcomes:
        return said.append("no tests")
    return said.append_text(summary(report.outcomes))


def _started(news: Started) -> None:
    kept = "" if news.kept else ", removed at the end"
    out.print()
    out.print(Text.assemble("listening on ", (str(news.address), "bold")))
    out.print(Text(f"keys, certificates, record: {news.folder}{kept}"))
    cast = news.cast
    out.print(Text(f"callers of {cast.trust_domain} are played as {DEVELOPMENT_TRUST_DOMAIN}:"))
    for role, certificate in zip(cast.roles, news.certificates, strict=True):
        by = f", as {role.path}" if role.is_pattern else ""
        token = ", needs a subject token" if role.entry.asserts is None else ""
        out.print(Text(f"  {role.entry.id}{by}{token}"))
        out.print(Text(f"    {certificate}", "dim"))
    for caller in cast.left_out:
        out.print(Text(f"  {caller} is of another trust domain: not played", "yellow"))
    out.print(Text.assemble("ask it: ", (f"python {news.program_path}", "bold")))
    out.print()
    out.print(Text(news.program))
    out.print(Text("decisions follow, with the time until each was on disk; Ctrl-C ends", "dim"))


def _decision(seen: DecisionSeen) -> None:
    rules = ", ".join(seen.rules) or "-"
    line = Text.assemble(
        (_time(seen.time_ns, milliseconds=True), "dim"),
        "  ",
        (seen.effect.ljust(6), _STYLES.get(seen.effect, "")),
        f"  {seen.cause.ljust(9)}",
        f"  {_cut(seen.caller)}  {_cut(seen.subject)}  {_cut(seen.action)}  {_cut(seen.resource)}",
        (f"  {printable(rules)}", "cyan"),
        f"  {seen.elapsed_us} µs",
    )
    if seen.recorded == "counted":
        line.append("  counted, not recorded", "yellow")
    elif seen.recorded != "yes":
        answered = ", so answered DENY(AUDIT)" if seen.effect == "PERMIT" else ""
        line.append(f"  NOT RECORDED{answered}", "bold red")
    out.print(line)


def _cut(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= _NAME_CHARACTERS_MAX else shown[:_NAME_CHARACTERS_MAX] + "…"


def _time(time_ns: int, *, milliseconds: bool = False) -> str:
    """Time of day in UTC, as records have it."""
    seconds, rest = divmod(time_ns, NANOS)
    shown = datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")
    return f"{shown}.{rest // 1_000_000:03}Z" if milliseconds else f"{shown}Z"
