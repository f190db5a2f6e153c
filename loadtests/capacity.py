"""`python -m loadtests.capacity`: how many PDPs, how much memory and disk a load takes.

Arithmetic only, from what was measured elsewhere: see docs/capacity.md. Nothing here looks at
this machine.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from typing import Final

DAY_S: Final = 86_400
MIB: Final = 1 << 20
# What a process may be busy at most, so that a queue stays short and a pause is caught up with.
UTILISATION_MAX: Final = 0.5
# docs/operations.md: pdp_spool_bytes / pdp_spool_bytes_max.
SPOOL_ALERT: Final = 0.7


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a deployment.

    Attributes:
        decisions_per_s: at the busiest time.
        cpu_us: of a decision in one process, from `python -m loadtests.cpu_ratio`.
        record_bytes: of a decision on disk.
        spare: PDPs that may be away without the others having too much to do.
    """

    decisions_per_s: float
    cpu_us: float
    record_bytes: int
    spare: int = 1

    def __post_init__(self) -> None:
        if not all(
            0 < each < math.inf for each in (self.decisions_per_s, self.cpu_us, self.record_bytes)
        ):
            raise ValueError("rate, CPU and size of a record must be above 0")
        if self.spare < 0:
            raise ValueError("spare PDPs must not be below 0")


def processes(load: Load, utilisation: float = UTILISATION_MAX) -> int:
    """Processes that answer, a core each: rate x CPU / utilisation, rounded up.

    Raises:
        ValueError: a utilisation that is none, or leaves nothing for a pause.
    """
    return max(1, math.ceil(load.decisions_per_s * load.cpu_us / 1e6 / _share(utilisation)))


def machines(load: Load, workers: int, utilisation: float = UTILISATION_MAX) -> int:
    """PDPs with so many workers each, spare ones included.

    Raises:
        ValueError: fewer than one worker; a utilisation as `processes` refuses.
    """
    if workers < 1:
        raise ValueError("a PDP has at least one process that answers")
    return math.ceil(processes(load, utilisation) / workers) + load.spare


def wait_us(cpu_us: float, utilisation: float) -> float:
    """Mean wait for the core before a decision: M/D/1, CPU x u / (2 (1 - u)).

    Raises:
        ValueError: a utilisation as `processes` refuses.
    """
    share = _share(utilisation)
    return cpu_us * share / (2 * (1 - share))


def catching_up_s(pause_s: float, utilisation: float) -> float:
    """How long after a pause the questions that came in it are worked off: pause x u / (1 - u).

    A pause is whatever keeps a process from answering: a slow fsync, a bundle that is taken in.

    Raises:
        ValueError: a utilisation as `processes` refuses.
    """
    share = _share(utilisation)
    return pause_s * share / (1 - share)


def record_bytes_per_day(load: Load) -> int:
    """What the records of a day take on all disks together, if the rate holds all day."""
    return math.ceil(load.decisions_per_s * load.record_bytes * DAY_S)


def spool_bytes(load: Load, pdps: int, archive_s: float) -> int:
    """`record.directory_bytes_max` of each PDP: what comes between two archivings, twice.

    Twice, because one archiving may fail; and then still below the share at which
    docs/operations.md has an alert.

    Raises:
        ValueError: no PDP, or no time between two archivings.
    """
    if pdps < 1 or not 0 < archive_s < math.inf:
        raise ValueError("there must be a PDP, and time between two archivings")
    between = load.decisions_per_s / pdps * load.record_bytes * archive_s
    return math.ceil(2 * between / SPOOL_ALERT)


def memory_mib(
    workers: int = 1, connections: int = 1_000, calls: int = 512, message_bytes: int = 524_288,
    bytes_in_flight: int = 32 * MIB, bundle_mib: float = 0.0,
) -> float:  # fmt: skip
    """The bound of docs/serve.md for a PDP, in MiB.

    Args:
        workers: processes that answer; from two on, a parent and a fetcher beside them.
        connections: `limits.connections_max`.
        calls: `limits.concurrent_calls_max`.
        message_bytes: `limits.message_bytes_max`.
        bytes_in_flight: `limits.bytes_in_flight_max`.
        bundle_mib: what a large bundle takes in memory; it is there twice while it is replaced.
    """
    each = (
        185 + 0.25 * connections + calls * message_bytes / MIB + 8 * bytes_in_flight / MIB
        + 2 * bundle_mib
    )  # fmt: skip
    beside = 150 + 2 * bundle_mib if workers > 1 else 0
    return workers * each + beside


def plan(load: Load, workers: int, archive_s: float) -> str:
    """What a deployment takes, in lines for people."""
    pdps = machines(load, workers)
    serving = pdps - load.spare
    daily = record_bytes_per_day(load)
    spool = spool_bytes(load, serving, archive_s)
    return "\n".join(
        (
            f"{processes(load)} processes that answer, at {UTILISATION_MAX:.0%} of a core each",
            f"{pdps} PDPs with workers = {workers}, {load.spare} of them spare",
            f"{memory_mib(workers):,.0f} MiB of memory each, at most, with the default limits",
            f"{wait_us(load.cpu_us, UTILISATION_MAX):.0f} us wait for the core, on average",
            f"{daily / 1e9:,.0f} GB of records a day, all PDPs together",
            f"record.directory_bytes_max = {spool}, archived every {archive_s:,.0f} s",
        )
    )


def _share(utilisation: float) -> float:
    if not 0 < utilisation < 1:
        raise ValueError("a utilisation is above 0 and below 1")
    return utilisation


def main() -> None:
    """Print the plan."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.capacity", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--decisions-per-s", type=float, required=True, help="at the busiest time")
    parser.add_argument("--cpu-us", type=float, required=True, help="of loadtests.cpu_ratio")
    parser.add_argument("--record-bytes", type=int, required=True, help="of one decision")
    parser.add_argument("--workers", type=int, default=1, help="of each PDP; one core each")
    parser.add_argument("--spare", type=int, default=1, help="PDPs that may be away")
    parser.add_argument("--archive-s", type=float, default=3_600.0, help="between two archivings")
    options = parser.parse_args()
    try:
        load = Load(options.decisions_per_s, options.cpu_us, options.record_bytes, options.spare)
        print(plan(load, options.workers, options.archive_s))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
