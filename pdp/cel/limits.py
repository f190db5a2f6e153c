"""What one evaluation may cost. Units are deterministic: tests assert them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EvaluationLimits:
    """The budget of one condition, and how large one may be.

    10,000 loop iterations is cel-cpp's fixed limit; cost units are charged by
    elements and bytes touched (see `pdp.cel.semantics`).
    """

    cost_units_max: int = 100_000
    nodes_max: int = 10_000  # nodes of a condition with its variables inlined
    depth_max: int = 64  # nesting of a condition with its variables inlined
