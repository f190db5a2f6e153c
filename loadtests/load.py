"""`make load`: the scenarios of budgets.toml against a real `pdp serve` on localhost.

Each scenario runs in a Locust process of its own, against the same server. Exit
code 0: all budgets were kept; 1: one was not; 2: wrong use. `--report` is one HTML
file with plots, readable without a network.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from docs.demo.scene import POLICIES, ROOT, Scene, Server, StageError
from loadtests import report, scenarios
from loadtests.cpu_ratio import cpu_s
from loadtests.scenarios import Outcome, Scenario, ScenarioError
from loadtests.tally import from_json

LOCUSTFILE = ROOT / "loadtests" / "locustfile.py"
EXIT_REFUSED = 1
EXIT_USAGE = 2
# A client starts, connects, and says what came of it.
AROUND_S_MAX = 60.0


def parse(arguments: list[str], known: dict[str, Scenario]) -> argparse.Namespace:
    """What to run."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.load",
        description=__doc__.partition("\n")[0],
        epilog="scenarios: " + "; ".join(f"{name}: {its.words}" for name, its in known.items()),
    )
    parser.add_argument(
        "scenario", nargs="*", metavar="SCENARIO", help="which, in turn; without any: all"
    )
    parser.add_argument("--seconds", type=float, help="of all scenarios together")
    parser.add_argument("--budgets", type=Path, default=scenarios.FILE, help="another file of them")
    parser.add_argument("--report", type=Path, help="write an HTML report with plots")
    parser.add_argument("--json", action="store_true", help="outcomes as JSON on standard output")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.scenario if name not in known]:
        parser.error(f"no scenario `{unknown[0]}`; known: {', '.join(known)}")
    if options.seconds is not None and not options.seconds > 0:
        parser.error("`--seconds` must be above 0")
    return options


class Range:
    """One server, and scenarios against it.

    Args:
        folder: empty, and the caller's to remove.
        budgets: the file of scenarios.
        tenants: who publishes there, each for itself; none: one that needs no name.
    """

    def __init__(self, folder: Path, budgets: Path, tenants: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.budgets = budgets
        self.tenants = tenants
        self.scene = Scene(folder)
        self.scene.issue_certificates()
        if tenants:
            self._publish_for_each()
        else:
            self.scene.publish_first()

    def _publish_for_each(self) -> None:
        for number, tenant in enumerate(self.tenants):
            policies = shutil.copytree(POLICIES, self.folder / tenant)
            callers = policies / "callers.yaml"
            entries = re.sub(
                r"^  - id: .*$",
                rf"\g<0>\n    tenants: [{tenant}]",
                callers.read_text(),
                flags=re.MULTILINE,
            )
            callers.write_text(entries)
            if number == 0:
                self.scene.pdp("bundle", "init", "--tenant", tenant, "--policies", policies)
            else:
                self.scene.pdp("bundle", "add-tenant", tenant, "--policies", policies)
        for tenant in self.tenants:
            archive = f"{tenant}.tar"
            self.scene.pdp("bundle", "build", tenant, "--tenant", tenant, "-o", archive)
            self.scene.pdp("bundle", "publish", archive, "--tenant", tenant)

    @contextlib.contextmanager
    def serving(self) -> Iterator[Server]:
        """`pdp serve`, which looks for a new edition every second."""
        path = self.scene.configure("pdp.toml", self.scene.repository)
        bundle = "[bundle]\npoll_interval_s = 1"
        if self.tenants:
            bundle += f"\ntenants = {json.dumps(self.tenants)}"
        path.write_text(path.read_text().replace("[bundle]", bundle, 1))
        server = self.scene.start(path)
        try:
            yield server
        finally:
            server.process.terminate()
            server.process.communicate(timeout=30)

    def run(self, server: Server, scenario: Scenario) -> Outcome:
        """One scenario.

        Raises:
            StageError: Locust did not come so far as to say what it found.
        """
        told = self.folder / f"{scenario.name}.json"
        certificates = self.scene.certificates
        with self.publishing(scenario.reload_s):
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "locust", "-f", LOCUSTFILE, "--headless"),
                    *("--only-summary", "--pdp-target", f"localhost:{server.port}"),
                    *("--pdp-trust-bundle", certificates / "ca.pem"),
                    *("--pdp-certificate", certificates / "caller.pem"),
                    *("--pdp-key", certificates / "caller.key"),
                    *("--scenario", scenario.name, "--budgets", self.budgets, "--outcome", told),
                    *("-t", f"{max(1, round(scenario.seconds))}s"),
                ],
                cwd=ROOT,
                env={**os.environ, "NO_COLOR": "1"},
                capture_output=True,
                text=True,
                timeout=scenario.seconds + AROUND_S_MAX,
                check=False,
            )
        if not told.exists():
            raise StageError(f"locust ended with {done.returncode}:\n{done.stderr[-2_000:]}")
        return from_json(told.read_text())

    @contextlib.contextmanager
    def publishing(self, every_s: float) -> Iterator[None]:
        """New editions of the bundle meanwhile; none if that is 0."""
        if not every_s:
            yield
            return
        over = threading.Event()
        failed: list[Exception] = []

        def publish() -> None:
            try:
                while not over.wait(every_s):
                    self.scene.pdp("bundle", "build", POLICIES)
                    self.scene.pdp("bundle", "publish", "bundle.tar")
            except (StageError, subprocess.TimeoutExpired) as error:
                failed.append(error)

        publisher = threading.Thread(target=publish)
        publisher.start()
        try:
            yield
        finally:
            over.set()
            publisher.join()
        if failed:
            raise StageError(str(failed[0]))


def run_all(place: Range, chosen: list[Scenario]) -> list[report.Run]:
    """These scenarios in turn, with a line about each on standard error.

    Raises:
        StageError: the server or a scenario did not come to an end.
    """
    runs: list[report.Run] = []
    with place.serving() as server:
        for scenario in chosen:
            sys.stderr.write(f"{scenario.name}: {scenario.seconds:.0f} s ... ")
            sys.stderr.flush()
            before = cpu_s(server.process.pid)
            outcome = place.run(server, scenario)
            spent = cpu_s(server.process.pid) - before
            runs.append(report.Run(scenario, outcome, spent))
            sys.stderr.write(f"{report.verdict(runs[-1])}\n")
    return runs


def main() -> None:
    """Entry point."""
    try:
        known = scenarios.read(_budgets_file(sys.argv[1:]))
        options = parse(sys.argv[1:], known)
    except ScenarioError as error:
        sys.stderr.write(f"load: {error}\n")
        sys.exit(EXIT_USAGE)
    chosen = [known[name] for name in options.scenario or known]
    if options.seconds is not None:
        share = options.seconds / sum(scenario.seconds for scenario in chosen)
        chosen = [scenario.lasting(scenario.seconds * share) for scenario in chosen]
    runs: list[report.Run] = []
    try:
        # Those of the same tenants one after the other, at one server.
        for tenants, same in itertools.groupby(chosen, key=lambda scenario: scenario.tenants):
            with tempfile.TemporaryDirectory(prefix="portcullis-load-") as folder:
                runs += run_all(Range(Path(folder), options.budgets, tenants), list(same))
    except StageError as error:
        sys.stderr.write(f"load: {error}\n")
        sys.exit(EXIT_REFUSED)
    if options.report:
        options.report.write_text(report.page(runs))
        sys.stderr.write(f"report: {options.report}\n")
    print(json.dumps([report.told(run) for run in runs], indent=1) if options.json else "", end="")
    sys.exit(EXIT_REFUSED if any(run.problems for run in runs) else 0)


def _budgets_file(arguments: list[str]) -> Path:
    # Before the real parser, whose help names what the file has.
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--budgets", type=Path, default=scenarios.FILE)
    return Path(parser.parse_known_args(arguments)[0].budgets)


if __name__ == "__main__":
    main()
