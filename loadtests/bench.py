"""`make bench`: what conditions, decisions and loading cost, beside what else there is.

Without network and without disk, but for the archive that is loaded. Every
line is a ratio found in one run, a median of interleaved rounds, or a size;
beside it what was promised. Exit code 1: a promise is not kept here and now.
`make bench ONLY=conditions` measures one group.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Mapping

from loadtests import conditions, decisions, loading
from loadtests.rounds import Target, show

GROUPS: Mapping[str, tuple[str, Callable[[], list[Target]]]] = {
    "conditions": ("one condition", conditions.targets),
    "decisions": ("a decision: wire message in, decision out", decisions.beside_cedar),
    "scale": ("with many rules", decisions.with_many_rules),
    "loading": ("loading, in a process of its own", loading.targets),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(GROUPS), help="one group; default: all")
    only = parser.parse_args().only
    print(f"Python {platform.python_version()}, {platform.machine()}")
    kept = True
    for name, (title, targets) in GROUPS.items():
        if only in {None, name}:
            found = targets()
            show(title, found)
            kept = kept and all(target.holds for target in found)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
