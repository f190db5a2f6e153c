"""Outcomes of tests as JUnit XML, which build servers show.

There is no one schema. This is what Jenkins, GitLab and GitHub's actions read
alike: `testsuites`, a `testsuite` a file, a `testcase` a test, `failure`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from pdp.authoring.trial import Outcome

# XML 1.0, section 2.2: what may not even be escaped.
_REFUSED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(outcomes: Iterable[Outcome], folder: PurePath) -> bytes:
    """The report, in UTF-8.

    Args:
        outcomes: in any order; a suite keeps theirs.
        folder: that paths are below.
    """
    by_path: dict[str, list[Outcome]] = {}
    everything = list(outcomes)
    for outcome in everything:
        by_path.setdefault(outcome.row.position.path, []).append(outcome)
    root = Element("testsuites", {"name": "pdp test", **_counts(everything)})
    for path, found in sorted(by_path.items()):
        name = _clean(str(folder / path))
        suite = SubElement(root, "testsuite", {"name": name, "file": name, **_counts(found)})
        for outcome in found:
            _case(suite, name, outcome)
    indent(root)
    text: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _counts(outcomes: Sequence[Outcome]) -> dict[str, str]:
    failed = sum(not outcome.passed for outcome in outcomes)
    return {"tests": str(len(outcomes)), "failures": str(failed), "errors": "0", "skipped": "0"}


def _case(suite: Element, name: str, outcome: Outcome) -> None:
    row = outcome.row
    case = SubElement(
        suite,
        "testcase",
        name=_clean(row.name),
        classname=name,
        file=name,
        line=str(row.position.line),
    )
    if outcome.passed:
        return
    lines = [
        f"{item.key}: expected {item.expected}, got {item.actual}" for item in outcome.differences
    ]
    if outcome.refused:
        lines.append(f"the PDP would refuse this request as invalid: {outcome.refused}")
    # `is not None`: a denial is false, that is what its truth value is for.
    if outcome.decision is not None:
        rules = ", ".join(outcome.decision.rules) or "no rule"
        lines.append(f"{outcome.decision.cause.name} by {rules}")
    failure = SubElement(case, "failure", message=_clean(lines[0]), type="difference")
    failure.text = _clean("\n".join([f"{name}:{row.position.line}:{row.position.column}", *lines]))


def _clean(text: str) -> str:
    return _REFUSED.sub("\N{REPLACEMENT CHARACTER}", text)
