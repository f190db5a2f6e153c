"""What a load test found, for people: a line each, or one HTML page with plots.

The page is one file without scripts: plots are SVG. Every text in it is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from loadtests import scenarios
from loadtests.scenarios import Outcome, Scenario, Second

WIDTH, HEIGHT, MARGIN = 640, 200, 48
Series = tuple[str, str, Callable[[Second], float]]
LATENCIES: tuple[Series, ...] = (
    ("p50", "#2b7a3f", lambda second: second.p50_ms),
    ("p95", "#b8860b", lambda second: second.p95_ms),
    ("p99", "#b22222", lambda second: second.p99_ms),
)
RATES: tuple[Series, ...] = (
    ("decided", "#2b7a3f", lambda second: second.decided),
    ("turned away", "#b8860b", lambda second: second.shed),
    ("undecided", "#b22222", lambda second: second.errors),
    ("users", "#5a6a80", lambda second: second.users),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One scenario that was run, and the processor's seconds of the PDP meanwhile."""

    scenario: Scenario
    outcome: Outcome
    pdp_cpu_s: float

    @property
    def problems(self) -> list[str]:
        """Why the budget is not kept."""
        return scenarios.problems(self.scenario, self.outcome)

    @property
    def cpu_us(self) -> float:
        """The PDP's processor time per call, in microseconds."""
        return self.pdp_cpu_s / max(1, self.outcome.calls) * 1e6


def verdict(run: Run) -> str:
    """One line."""
    outcome = run.outcome
    words = (
        f"{outcome.calls} calls, p50 {outcome.p50_ms:.1f}, p95 {outcome.p95_ms:.1f}, "
        f"p99 {outcome.p99_ms:.1f} ms, {outcome.errors:.2%} undecided, "
        f"{outcome.shed:.2%} turned away, {run.cpu_us:.0f} us CPU of the PDP a call"
    )
    if run.scenario.finds_saturation and outcome.calls:
        users, rate = scenarios.saturation(run.scenario, outcome)
        words += f"; saturates at {rate:.0f}/s with {users} users"
    if run.scenario.batch:
        rate = scenarios.questions_per_s(run.scenario, outcome)
        words += f"; {rate:.0f} questions/s in batches of {run.scenario.questions}"
    if run.scenario.tenants:
        shares = (f"{tenant} {outcome.tenants.get(tenant, 0)}" for tenant in run.scenario.tenants)
        words += f"; decided about {', '.join(shares)}"
    if run.scenario.reload_s:
        words += f"; {len(outcome.revisions)} editions"
    return f"{words}: {'; '.join(run.problems) or 'within the budget'}"


def told(run: Run) -> dict[str, Any]:
    """For machines."""
    found: dict[str, Any] = {"scenario": run.scenario.name, "problems": run.problems}
    found |= {"cpu_us_per_call": round(run.cpu_us, 1), "calls": run.outcome.calls}
    found |= {name: value for name, value, _ in scenarios.rows(run.scenario, run.outcome)}
    found["questions_per_s"] = round(scenarios.questions_per_s(run.scenario, run.outcome), 1)
    if run.scenario.finds_saturation and run.outcome.calls:
        users, rate = scenarios.saturation(run.scenario, run.outcome)
        found["saturation"] = {"users": users, "decided_per_s": round(rate, 1)}
    return found | {"outcome": asdict(run.outcome)}


def page(runs: Sequence[Run]) -> str:
    """The report, one HTML document."""
    body = "\n".join(map(_section, runs))
    kept = sum(not run.problems for run in runs)
    return f"""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Load test</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 90ch; margin: 2em auto; color: #222 }}
table {{ border-collapse: collapse }} td, th {{ padding: .2em .8em; text-align: right }}
td:first-child, th:first-child {{ text-align: left }}
.over {{ color: #b22222; font-weight: bold }} svg {{ margin: .6em 0; max-width: 100% }}
</style>
<h1>Load test: {kept} of {len(runs)} scenarios within their budget</h1>
<p>Times count from when a question was due, so that a slow answer is not hidden by the question
that had to wait for it. The client is the real one, over mutual TLS; every record is durable.</p>
{body}
</html>
"""


def _section(run: Run) -> str:
    table = "".join(
        f"<tr{' class=over' if value > allowed else ''}><td>{escape(name)}"
        f"<td>{value:.4g}<td>{allowed:g}</tr>"
        for name, value, allowed in scenarios.rows(run.scenario, run.outcome)
    )
    causes = ", ".join(f"{name} {count}" for name, count in run.outcome.causes.items())
    steps = ", ".join(f"{users} for {seconds:g} s" for seconds, users in run.scenario.steps)
    asked = f"calls of {run.scenario.questions} questions" if run.scenario.batch else "questions"
    return f"""\
<h2>{escape(run.scenario.name)}</h2>
<p>{escape(run.scenario.words)}. Users: {steps}, {run.scenario.rate:g} {asked} a second each.</p>
<p>{escape(verdict(run))}</p>
<table><tr><th><th>found<th>budget</tr>{table}</table>
<p>{escape(f"Undecided or turned away: {causes}." if causes else "")}</p>
{_plot("milliseconds", run.outcome.seconds, LATENCIES)}
{_plot("in each second", run.outcome.seconds, RATES)}
"""


def _plot(title: str, seconds: Sequence[Second], series: Sequence[Series]) -> str:
    top = _round_up(max((pick(second) for second in seconds for _, _, pick in series), default=1))
    lines = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{title}">',
        f'<text x="{MARGIN}" y="14" font-size="12">{title}</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        y = _y(share)
        lines.append(
            f'<path d="M{MARGIN} {y:.1f}H{WIDTH - 8}" stroke="#ddd"/><text x="{MARGIN - 6}" '
            f'y="{y + 4:.1f}" font-size="11" text-anchor="end">{top * share:g}</text>'
        )
    for place, (name, colour, pick) in enumerate(series):
        points = " ".join(
            f"{_x(number, len(seconds)):.1f},{_y(pick(second) / top):.1f}"
            for number, second in enumerate(seconds)
        )
        lines.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
            f'<text x="{MARGIN + 130 + place * 110}" y="14" font-size="12" fill="{colour}">'
            f"{name}</text>"
        )
    lines.append(
        f'<text x="{WIDTH - 8}" y="{HEIGHT - 6}" font-size="11" text-anchor="end">'
        f"{len(seconds)} s</text></svg>"
    )
    return "\n".join(lines)


def _x(number: int, count: int) -> float:
    return MARGIN + number * (WIDTH - MARGIN - 8) / max(1, count - 1)


def _y(share: float) -> float:
    return HEIGHT - 24 - share * (HEIGHT - 48)


def _round_up(value: float) -> float:
    # To 1, 2 or 5 times a power of ten.
    power: float = 10.0 ** math.floor(math.log10(max(value, 1e-3)))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)
