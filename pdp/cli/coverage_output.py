"""How `pdp test` shows what its tests reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from pdp.authoring.compilation import Compilation
from pdp.authoring.coverage import Counts, Coverage, everything
from pdp.authoring.coverage_page import render
from pdp.authoring.coverage_report import Located, Minimum, as_plain, below, gaps, located
from pdp.cel.limits import EvaluationLimits
from pdp.cli.problems import where
from pdp.cli.terminal import out


@dataclass(frozen=True, slots=True)
class CoverageOutput:
    """Coverage of one folder, ready to be shown."""

    folder: Path
    coverage: Coverage
    spots: tuple[Located, ...]
    too_little: tuple[str, ...]

    @property
    def enough(self) -> bool:
        """Whether nothing is covered less than it must be."""
        return not self.too_little

    def show(self) -> None:
        """Print what is missing, and the shares."""
        for gap in gaps(self.coverage, self.spots):
            at = gap.where.begin
            place = f"{where(self.folder, at.path)}:{at.line}:{at.column}: "
            out.print(Text.assemble((place, "bold"), ("not covered: ", "yellow"), gap.message))
        for what, share in (
            ("rules that decided", self.coverage.rules),
            ("outcomes of conditions", self.coverage.conditions),
            ("branches", self.coverage.branches),
        ):
            said = f"{what:23}{share.covered:6} of {share.total:<6}{share.percent:4} %"
            out.print(said, markup=False)
        for said in self.too_little:
            out.print(Text(said, "red"))

    def as_plain(self) -> Mapping[str, object]:
        """For JSON."""
        folder = where(self.folder, "")
        plain = as_plain(self.coverage, self.spots, "" if folder == "." else f"{folder}/")
        return {"ok": self.enough, **plain}

    def write_page(self, path: Path, sources: Mapping[str, bytes]) -> None:
        """Write the HTML report."""
        page = render(str(self.folder), self.coverage, self.spots, sources)
        path.write_text(page, encoding="utf-8")


def coverage_of(
    compilation: Compilation, counts: Counts, folder: Path, minimum: Minimum
) -> CoverageOutput:
    """What was covered of the policies of a folder."""
    kinds = sorted({policy.resource_type for policy in compilation.policies})
    coverage = Coverage(everything(compilation.policy_set(EvaluationLimits()), kinds), counts)
    return CoverageOutput(
        folder, coverage, located(coverage, compilation), below(coverage, minimum)
    )
