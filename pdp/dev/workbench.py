"""From what was saved to a bundle and test outcomes, or to everything that is wrong.

The order is that of a release: check, build, rebuild and compare, sign. Tests
do not stop it, as they stop no `pdp bundle build`: an author wants to try.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pdp.authoring import trial
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import Compilation, compile_sources
from pdp.authoring.findings import Finding
from pdp.authoring.http_translation import translated
from pdp.authoring.policy_tests import TestRow, read_tests, unknown_names
from pdp.authoring.review import HORIZON_NS, Clock, review
from pdp.authoring.sources import Sources, read_folder
from pdp.authoring.trial import Outcome
from pdp.cel.limits import EvaluationLimits
from pdp.dev.cast import Cast, cast_of, staged, telling_rules
from pdp.errors import ConfigurationError, PdpError, PolicyError
from pdp.policy import PolicySet


@dataclass(frozen=True, slots=True)
class Edition:
    """What is served, and what it was made of.

    Attributes:
        sources: policies and callers by path, as saved.
        rows: tests that were saved with it.
    """

    revision: int
    time_ns: int
    sources: Mapping[str, bytes]
    compilation: Compilation
    policies: PolicySet
    cast: Cast
    rows: tuple[TestRow, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What came of one reading.

    Attributes:
        folder: of the policies.
        time_ns: nanoseconds since the epoch.
        sources: everything that was read, by path, for excerpts.
        counts: how many of what.
        problems: of policies and callers; with any, nothing is published.
        refused: why nothing was published though there are no problems, or empty.
        served: what is served now, or None: nothing ever was.
        is_new: whether this reading made it.
        test_problems: of tests, which then are not run.
        outcomes: of the tests.
        telling: rules that could notice the trust domain of development.
        findings: what `pdp check` finds in policies without problems, but for what is accepted.
    """

    folder: Path
    time_ns: int
    sources: Mapping[str, bytes] = field(default_factory=dict)
    counts: tuple[tuple[int, str], ...] = ()
    problems: tuple[PolicyError, ...] = ()
    refused: str = ""
    served: Edition | None = None
    is_new: bool = False
    test_problems: tuple[PolicyError, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    telling: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def published(self) -> bool:
        """Whether what was read is what is served."""
        return self.served is not None and not self.problems and not self.refused


class Workbench:
    """Reads a folder again and again. For one thread at a time.

    Args:
        folder: of policies.
        checker: running.
        publish: makes a compilation current and says its revision.
        trust_domain: whose callers are played; empty means the first one's.
    """

    def __init__(
        self,
        folder: Path,
        checker: Checker,
        publish: Callable[[Compilation], int],
        trust_domain: str = "",
    ) -> None:
        self._folder = folder
        self._checker = checker
        self._publish = publish
        self._trust_domain = trust_domain
        self.served: Edition | None = None

    def look(self) -> Report:
        """Read, check, publish what changed, run the tests. Does not raise for what was saved.

        Raises:
            ConfigurationError: before anything was served: the command line is wrong.
        """
        now_ns = time.time_ns()
        try:
            return self._look(read_folder(self._folder), now_ns)
        except (PdpError, OSError) as error:
            if self.served is None and isinstance(error, ConfigurationError):
                raise
            # No folder any more, a file that cannot be read, callers of no such trust domain.
            return Report(self._folder, now_ns, refused=_words(error), served=self.served)

    def _look(self, found: Sources, now_ns: int) -> Report:
        compilation = compile_sources(found.policies, self._checker, found.problems)
        tests = read_tests(found.tests)
        if not compilation.problems:
            tests = translated(tests, compilation.mapping)
        test_problems = tests.problems
        if not compilation.problems:
            test_problems += unknown_names(
                tests.rows, compilation.rule_names, compilation.provider_names
            )
        sources = {**found.policies, **found.tests}
        counts = (*compilation.counts, (len(tests.rows), "test"))
        callers = compilation.callers
        if compilation.problems or callers is None:
            return Report(
                self._folder, now_ns, sources, counts, compilation.problems, served=self.served,
                test_problems=test_problems,
            )  # fmt: skip
        policies = compilation.policy_set(EvaluationLimits())
        cast = cast_of(callers, self._trust_domain, (row.caller for row in tests.rows))
        outcomes = () if test_problems else trial.run(policies, callers, tests.rows)
        is_new = self.served is None or self.served.sources != found.policies
        refused = ""
        if is_new:
            try:
                revision = self._publish(staged(compilation, cast))
            except (PdpError, OSError) as error:
                refused, is_new = _words(error), False
            else:
                self.served = Edition(
                    revision, now_ns, found.policies, compilation, policies, cast, tests.rows
                )
        return Report(
            self._folder,
            now_ns,
            sources,
            counts,
            refused=refused,
            served=self.served,
            is_new=is_new,
            test_problems=test_problems,
            outcomes=outcomes,
            telling=telling_rules(policies, compilation, now_ns),
            findings=_findings(compilation, now_ns),
        )


def _findings(compilation: Compilation, now_ns: int) -> tuple[Finding, ...]:
    found = review(compilation, Clock(now_ns, HORIZON_NS))
    return tuple(finding for finding in found if not finding.accepted)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, PdpError):
        said = (error.strerror or str(error)).lower()
        return f"`{error.filename}`: {said}" if error.filename else said
    return str(error)


def check_folder(folder: Path) -> None:
    """Judge what the command line names.

    Raises:
        ConfigurationError: it is no folder.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"`{folder}` is not a folder: give the one with the policies")
