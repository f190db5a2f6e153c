"""Our own checks around TUF's, as pure functions: how long, how far back, how far ahead.

TUF judges expiry by the system clock at one instant and forgets its cache
with the folder it is in. What is added here (design section 6): the clock is
an argument; freshness has an upper limit however long a key signs; rollback
is judged against the state file; the clock itself must not run backwards.
Times are nanoseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping

from pdp.bundle.manifest import render_time
from pdp.bundle.memory import Memory
from pdp.errors import BundleRefusedError
from pdp.snapshot import CLOCK_TOLERANCE_NS
from pdp.values import NANOS

_SECONDS_MAX = 253_402_300_799


def refuse_clock_behind(clock_ns: int, mark_ns: int) -> None:
    """The clock ran backwards: nothing can be judged fresh by it.

    Raises:
        BundleRefusedError: it is behind the mark by more than the tolerance.
    """
    if clock_ns < mark_ns - CLOCK_TOLERANCE_NS:
        raise BundleRefusedError(
            f"the clock says {shown(clock_ns)}, but it was {shown(mark_ns)} before: "
            "set the clock; nothing is judged fresh until then"
        )


def refuse_far_expiry(expires_ns: int, clock_ns: int, freshness_max_s: int) -> None:
    """One stolen online key must not sign a year.

    Raises:
        BundleRefusedError: the timestamp lives longer than a heartbeat may.
    """
    if expires_ns > clock_ns + freshness_max_s * NANOS + CLOCK_TOLERANCE_NS:
        raise BundleRefusedError(
            f"the timestamp expires {shown(expires_ns)}, more than {freshness_max_s} s after "
            f"{shown(clock_ns)}: it was signed for too long, or this clock is behind"
        )


def refuse_expired(expires_ns: Mapping[str, int], clock_ns: int) -> None:
    """As TUF's own check, by the clock that decisions use.

    Raises:
        BundleRefusedError: a role is expired.
    """
    for role, expires in sorted(expires_ns.items()):
        if clock_ns >= expires:
            raise BundleRefusedError(
                f"the role `{role}` expired {shown(expires)}: {remedy(role)}; "
                f"this clock says {shown(clock_ns)}"
            )


def refuse_below_floor(revision: int, revision_floor: int | None) -> None:
    """No revision below what the operator says.

    Raises:
        BundleRefusedError: it is.
    """
    if revision_floor is not None and revision < revision_floor:
        raise BundleRefusedError(
            f"revision {revision} is below the floor: `revision_floor` is {revision_floor}"
        )


def refuse_rollback(versions: Mapping[str, int], memory: Memory | None) -> None:
    """No role may be older than what was accepted before.

    TUF's own rollback check lives in its cache; this one survives its loss.

    Raises:
        BundleRefusedError: something is older.
    """
    for role, seen in sorted((memory.versions if memory else {}).items()):
        version = versions.get(role)
        if version is not None and version < seen:
            what = f"revision {version}" if role == "snapshot" else f"`{role}` version {version}"
            raise BundleRefusedError(
                f"{what} is older than {seen}, which was accepted before: "
                "somebody replays an old repository, or it was made anew"
            )


def refuse_changed(revision: int, targets: Mapping[str, str], memory: Memory | None) -> None:
    """One revision has one content, target by target.

    Args:
        revision: the TUF snapshot version.
        targets: SHA-256 in hexadecimal, by path.
        memory: what was seen before.

    Raises:
        BundleRefusedError: this revision was seen with other bytes.
    """
    if memory is None or revision != memory.revision:
        return
    for path, digest in sorted(targets.items()):
        seen = memory.targets.get(path, digest)
        if digest != seen:
            raise BundleRefusedError(
                f"revision {revision} has `{path}` with the SHA-256 {digest}, but it had "
                f"{seen} before: one revision, two contents"
            )


def refuse_changed_as_a_whole(revision: int, digest: bytes, memory: Memory | None) -> None:
    """As `refuse_changed`, from the state file of an older PDP, which has one digest of all.

    Raises:
        BundleRefusedError: this revision was seen with another digest.
    """
    if memory is None or not memory.digest or revision != memory.revision:
        return
    if digest != memory.digest:
        raise BundleRefusedError(
            f"revision {revision} has the digest {digest.hex()}, but it had "
            f"{memory.digest.hex()} before: one revision, two contents"
        )


def refuse_signed_ahead(signed_at_ns: int, clock_ns: int) -> None:
    """A bundle from the future would push the clock mark ahead of every honest clock.

    Raises:
        BundleRefusedError: it was signed later than now.
    """
    if signed_at_ns > clock_ns + CLOCK_TOLERANCE_NS:
        raise BundleRefusedError(
            f"the bundle was signed {shown(signed_at_ns)}, after {shown(clock_ns)}: "
            "this clock is behind, or that of the signer was ahead"
        )


def first_verified_ns(timestamp_version: int, memory: Memory | None, clock_ns: int) -> int:
    """When this timestamp version was first accepted; reading it again extends nothing."""
    if memory is not None and memory.versions["timestamp"] == timestamp_version:
        return memory.timestamp_first_verified_ns
    return clock_ns


def fresh_until_ns(
    expires_ns: Mapping[str, int], first_verified_ns: int, freshness_max_s: int
) -> int:
    """The earliest expiry of every role used, and never later than the limit."""
    return min(*expires_ns.values(), first_verified_ns + freshness_max_s * NANOS)


def refuse_spent(fresh_until_ns: int, clock_ns: int) -> None:
    """A timestamp version that has been read for its whole time.

    Raises:
        BundleRefusedError: its time is over.
    """
    if clock_ns >= fresh_until_ns:
        raise BundleRefusedError(
            f"the timestamp was good until {shown(fresh_until_ns)} and there is no newer one: "
            f"{remedy('timestamp')}"
        )


def clock_mark_ns(previous_ns: int, signed_at_ns: int, clock_ns: int, fresh_until_ns: int) -> int:
    """The mark never falls, and a clock glitch cannot push it beyond `fresh_until`."""
    return max(previous_ns, signed_at_ns, min(clock_ns, fresh_until_ns))


def remedy(role: str) -> str:
    """What the publisher does about an expired role."""
    if role == "timestamp":
        return "is `pdp bundle freshen` running?"
    if role == "snapshot":
        return "publish a revision"
    return f"run `pdp bundle publish --renew {role}`"


def shown(time_ns: int) -> str:
    """A time for people."""
    return render_time(min(max(time_ns // NANOS, 0), _SECONDS_MAX))
