"""Coverage for people and machines: where in the documents it is, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pdp.authoring.compilation import Compilation
from pdp.authoring.coverage import BRANCH, CONDITION, RULE, Coverage, Spot
from pdp.authoring.nodes import Scalar
from pdp.authoring.places import PolicyPlaces, by_policy
from pdp.authoring.problems import word
from pdp.errors import Position


@dataclass(frozen=True, slots=True)
class Located:
    """A spot in its document.

    Attributes:
        spot: what it is.
        begin: its first character.
        last: its last character.
        text: what stands there.
    """

    spot: Spot
    begin: Position
    last: Position
    text: str


@dataclass(frozen=True, slots=True)
class Gap:
    """What no test has reached.

    Attributes:
        where: the spot.
        never: what it never came to.
        message: in words.
    """

    where: Located
    never: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Minimum:
    """The least that must be covered, in percent; 0 asks for nothing."""

    rules: int = 0
    conditions: int = 0
    branches: int = 0


def located(coverage: Coverage, compilation: Compilation) -> tuple[Located, ...]:
    """Every spot that is written in a document, sorted by place, the larger first."""
    places = by_policy(compilation.roots.values())
    found = [
        item
        for spot in coverage.spots
        if (item := _locate(spot, places.get(spot.policy))) is not None
    ]
    return tuple(sorted(found, key=_order))


def _order(item: Located) -> tuple[str, int, int, int, int, Spot]:
    begin, last = item.begin, item.last
    return (begin.path, begin.line, begin.column, -last.line, -last.column, item.spot)


def _locate(spot: Spot, places: PolicyPlaces | None) -> Located | None:
    if places is None:
        return None
    if spot.what == RULE:
        rule = places.rule(spot.name)
        node = None if rule is None else rule.get("id")
        if not isinstance(node, Scalar):
            return None
        return Located(spot, node.content_position, node.locate(len(node.text) - 1), node.text)
    scalar = places.text(spot.owner, spot.name)
    if scalar is None or spot.end <= spot.start:
        return None
    text = scalar.text[spot.start : spot.end]
    # White space at an end has no place of its own in every style.
    last = spot.start + len(text.rstrip()) - 1
    return Located(spot, scalar.locate(spot.start), scalar.locate(max(last, spot.start)), text)


def gaps(coverage: Coverage, spots: tuple[Located, ...]) -> Iterator[Gap]:
    """What is missing, in the order of the documents."""
    for item in spots:
        if never := coverage.missing(item.spot):
            yield Gap(item, never, _message(item, never))


def _message(item: Located, never: tuple[str, ...]) -> str:
    spot = item.spot
    if spot.what == RULE:
        return f"rule {word(spot.name)} never decided"
    text = " ".join(item.text.split())
    if spot.what == BRANCH:
        return f"{word(text)} was never evaluated"
    whole = f"the condition of {spot.owner} {word(spot.name)}"
    what = whole if spot.what == CONDITION else word(text)
    return f"{what} was never {' and never '.join(never)}"


def below(coverage: Coverage, minimum: Minimum) -> tuple[str, ...]:
    """What is covered less than it must be, in words; empty is good."""
    asked = (
        ("rules", coverage.rules, minimum.rules),
        ("conditions", coverage.conditions, minimum.conditions),
        ("branches", coverage.branches, minimum.branches),
    )
    return tuple(
        f"{share.percent} % of {what} covered, {least} % wanted"
        for what, share, least in asked
        if share.percent < least
    )


def as_plain(coverage: Coverage, spots: tuple[Located, ...], folder: str) -> Mapping[str, object]:
    """For JSON.

    Args:
        coverage: what was seen.
        spots: where.
        folder: put before paths, with its `/`; may be empty.
    """
    shares = {
        what: {"covered": share.covered, "total": share.total, "percent": share.percent}
        for what, share in (
            ("rules", coverage.rules),
            ("conditions", coverage.conditions),
            ("branches", coverage.branches),
        )
    }
    missing = [
        {
            "path": folder + gap.where.begin.path,
            "line": gap.where.begin.line,
            "column": gap.where.begin.column,
            "policy": gap.where.spot.policy,
            "kind": gap.where.spot.what,
            "owner": gap.where.spot.owner,
            "name": gap.where.spot.name,
            "never": list(gap.never),
            "message": gap.message,
        }
        for gap in gaps(coverage, spots)
    ]
    return {**shares, "missing": missing}
