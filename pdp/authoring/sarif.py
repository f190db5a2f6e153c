"""Findings as SARIF 2.1.0, which code review shows beside the lines.

OASIS, Static Analysis Results Interchange Format 2.1.0 plus errata 01. What is
accepted in its document is there too, as a suppression with its justification.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import PurePath
from urllib.parse import quote

import pdp
from pdp.authoring.findings import KINDS, Finding

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
# Section 3.27.17: how a reader recognises a result when lines have moved.
_FINGERPRINT = "portcullisFinding/v1"


def render(findings: Iterable[tuple[PurePath, Finding]]) -> str:
    """A log of one run, as text.

    Args:
        findings: each with its folder; the result is relative to the same
            place as the folder is.
    """
    indices = {kind: index for index, kind in enumerate(KINDS)}
    rules = [
        {
            "id": kind.id,
            "name": kind.name,
            "shortDescription": {"text": kind.summary},
            "fullDescription": {"text": kind.help},
            "defaultConfiguration": {"level": kind.severity.value},
        }
        for kind in KINDS.values()
    ]
    driver = {"name": "pdp check", "semanticVersion": pdp.__version__, "rules": rules}
    run = {
        "tool": {"driver": driver},
        # Section 3.14.17: our columns count code points.
        "columnKind": "unicodeCodePoints",
        "results": [_result(folder, found, indices) for folder, found in findings],
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=1, ensure_ascii=False)


def _result(folder: PurePath, found: Finding, indices: dict[str, int]) -> dict[str, object]:
    at = found.position
    uri = _uri(folder / at.path if at.path else folder)
    place: dict[str, object] = {"artifactLocation": {"uri": uri}}
    if at.line:
        place["region"] = {"startLine": at.line, "startColumn": max(at.column, 1)}
    text = f"{found.message}: {found.suggestion}" if found.suggestion else found.message
    result: dict[str, object] = {
        "ruleId": found.kind.id,
        "ruleIndex": indices[found.kind.id],
        "level": found.severity.value,
        "message": {"text": _plain(text)},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {_FINGERPRINT: _fingerprint(found)},
    }
    if found.accepted:
        result["suppressions"] = [{"kind": "inSource", "justification": found.accepted}]
    return result


def _plain(text: str) -> str:
    """Section 3.11.6: brackets make links, and a document's words must make none."""
    return text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")


def _uri(path: PurePath) -> str:
    """A relative reference, or a `file:` URI for an absolute path."""
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def _fingerprint(found: Finding) -> str:
    parts = [found.kind.id, found.position.path, found.subject, found.message]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
