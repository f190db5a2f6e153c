"""The same tests in several processes, for folders with thousands of rows.

Each process loads the compiled documents, as a PDP would, and answers some of
the rows. Outcomes come back in the order of the rows.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from pdp import compiled
from pdp.authoring import coverage, trial
from pdp.authoring.compilation import Compilation
from pdp.authoring.policy_tests import TestRow
from pdp.authoring.trial import Outcome
from pdp.callers import CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.errors import ConfigurationError
from pdp.policy import PolicyDocument, PolicySet
from pdp.provided import ProviderDocument
from pdp.schema import SchemaDocument

# Several pieces for each process, so that a slow one does not keep the others waiting.
_PIECES = 4
# More processes than anybody has cores; each loads all policies.
PROCESSES_MAX = 64


@dataclass(frozen=True, slots=True)
class Result:
    """What the rows came to, and what was seen on the way."""

    outcomes: tuple[Outcome, ...]
    counts: coverage.Counts


def run(
    compilation: Compilation, rows: Sequence[TestRow], *, processes: int = 1, cover: bool = False
) -> Result:
    """Run tests.

    Args:
        compilation: without problems.
        rows: the tests.
        processes: how many at once; 1 is this one.
        cover: whether to count what they reach, which takes several times as long.

    Raises:
        PolicyError: the compilation has problems.
        ConfigurationError: a process died.
    """
    compilation.raise_if_failed()
    documents = [document.compiled for document in compilation.documents]
    if processes == 1 or len(rows) <= 1:
        return _Bench(documents).run(rows, cover=cover)
    size = max(1, -(-len(rows) // (processes * _PIECES)))
    pieces = [rows[at : at + size] for at in range(0, len(rows), size)]
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(processes, context, _open, (documents,)) as pool:
            results = list(pool.map(_run, pieces, [cover] * len(pieces)))
    except BrokenProcessPool:
        message = "a process of `pdp test` died: is there enough memory? `-j 1` needs the least"
        raise ConfigurationError(message) from None
    counts = coverage.Counts()
    for result in results:
        counts.update(result.counts)
    return Result(tuple(item for result in results for item in result.outcomes), counts)


class _Bench:
    """What one process has loaded."""

    def __init__(self, documents: Sequence[bytes]) -> None:
        loaded = [compiled.decode(document) for document in documents]
        policies = [item for item in loaded if isinstance(item, PolicyDocument)]
        schemas = [item for item in loaded if isinstance(item, SchemaDocument)]
        providers = [item for item in loaded if isinstance(item, ProviderDocument)]
        (self.callers,) = (item for item in loaded if isinstance(item, CallerPolicy))
        self.policies = PolicySet(policies, EvaluationLimits(), schemas, providers)

    def run(self, rows: Sequence[TestRow], *, cover: bool) -> Result:
        """Some rows."""
        watcher = coverage.Watcher()
        outcomes = trial.run(self.policies, self.callers, rows, watcher if cover else None)
        return Result(outcomes, watcher.counts)


# The bench of a child process: loaded once, used for each piece.
_BENCH: list[_Bench] = []


def _open(documents: Sequence[bytes]) -> None:
    _BENCH.append(_Bench(documents))


def _run(rows: Sequence[TestRow], cover: bool) -> Result:  # noqa: FBT001 positional in a map
    return _BENCH[0].run(rows, cover=cover)
