"""A worker's bundle: what the fetcher kept is verified again, and never milder than before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp.bundle import BundleFollower, BundleSettings, PollResult
from pdp.bundle import follower as following
from pdp.bundle.memory import Memory, MemoryFolder, merged
from pdp.cel.limits import EvaluationLimits
from pdp.errors import ConfigurationError
from pdp.model import Cause, Effect
from pdp.values import NANOS
from tests.simulators.bundle_reader import Reader
from tests.simulators.repository import callers, policy, rule

HOUR_S = 3_600
ROLES = ("root", "timestamp", "snapshot")


class Worker(Reader):
    """A second process on the same state folder, which reads what the first one kept."""

    def __init__(self, fetcher: Reader, number: int = 1) -> None:
        self.__dict__.update(fetcher.__dict__)
        self.keeper = self.follower = BundleFollower(
            BundleSettings(
                source="/nowhere/at/all",
                root=fetcher.root,
                state_folder=fetcher.state,
                revision_floor=1,
            ),
            EvaluationLimits(),
            fetcher.clock,
            number,
        )
        self.first = self.follower.start()

    def poll(self) -> PollResult:
        """One look, and its adoption."""
        result = self.follower.poll()
        self.follower.adopt()
        return result


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[Reader]:
    """A fetcher that has verified the first revision."""
    made = Reader(tmp_path)
    made.serve()
    made.start()
    yield made
    made.stop()


def deny_everybody(fetcher: Reader, revision: int = 2) -> None:
    """A second revision, which the fetcher verifies."""
    denied = policy("documents", rule("nobody-reads", Effect.DENY))
    fetcher.repository.release(revision, documents=[denied, callers()])
    fetcher.serve()
    assert fetcher.poll().outcome == "updated"


def test_worker_has_the_fetchers_snapshot_without_a_store(fetcher: Reader) -> None:
    """Same revision, digest, decision and freshness, from the kept files alone."""
    fetcher.clock.offset_s = 20
    worker = Worker(fetcher)
    assert worker.first.outcome == "updated"
    assert fetcher.snapshot is not None
    assert worker.snapshot is not None
    assert worker.snapshot.ref == fetcher.snapshot.ref
    assert worker.snapshot.fresh_until_ns == fetcher.snapshot.fresh_until_ns
    assert worker.decide()
    assert worker.poll().detail == ""
    worker.stop()


def test_newer_revision_waits_for_the_word(fetcher: Reader) -> None:
    """What was verified decides nothing until `switch`, and everything after it."""
    worker = Worker(fetcher)
    deny_everybody(fetcher)
    assert worker.poll().outcome == "updated"
    assert (worker.revision, bool(worker.decide())) == (1, True)
    assert fetcher.snapshot is not None
    assert worker.follower.prepared == fetcher.snapshot.ref.revision
    worker.follower.switch()
    assert (worker.revision, worker.decide().cause) == (2, Cause.RULE)
    assert worker.follower.prepared is None
    worker.stop()


def test_what_waits_keeps_nothing_fresh(fetcher: Reader) -> None:
    """The revision that still decides goes stale when its own freshness ends."""
    worker = Worker(fetcher)
    fetcher.repository.now_s += 600
    fetcher.clock.offset_s = 600
    deny_everybody(fetcher)
    worker.poll()
    assert worker.follower.prepared is not None
    fetcher.clock.offset_s = HOUR_S + 1
    assert worker.decide().cause is Cause.STALE
    worker.stop()


def test_freshening_reaches_workers_without_a_word(fetcher: Reader) -> None:
    """A newer timestamp decides nothing differently, so it is in force at once."""
    worker = Worker(fetcher)
    assert worker.snapshot is not None
    before_ns = worker.snapshot.fresh_until_ns
    fetcher.repository.now_s += 600
    fetcher.clock.offset_s = 600
    fetcher.repository.freshen()
    fetcher.serve()
    fetcher.poll()
    assert worker.poll().outcome == "unchanged"
    assert worker.snapshot.fresh_until_ns - before_ns == 600 * NANOS
    worker.stop()


def rewrite(fetcher: Reader, folder: Path, data: bytes) -> None:
    """Somebody who can write to the state folder puts another file there."""
    (folder / "last-good.tar").write_bytes(data)
    fetcher.clock.offset_s += 1


def test_kept_files_are_believed_by_their_signatures_alone(fetcher: Reader, tmp_path: Path) -> None:
    """Kept files of another repository, which its own keys signed, are not taken into use."""
    worker = Worker(fetcher)
    (tmp_path / "other").mkdir()
    other = Reader(tmp_path / "other")
    other.serve()
    other.start()
    other.repository.release(5)
    other.serve()
    other.poll()
    rewrite(fetcher, fetcher.state, (other.state / "last-good.tar").read_bytes())
    result = worker.poll()
    assert (result.outcome, worker.revision) == ("refused", 1)
    other.stop()
    worker.stop()


def test_kept_files_are_believed_by_their_signatures_alone_twin_without_guard(
    fetcher: Reader, tmp_path: Path
) -> None:
    """A worker that took its root from whoever keeps the files would follow them."""
    (tmp_path / "other").mkdir()
    other = Reader(tmp_path / "other")
    other.serve()
    other.start()
    other.repository.release(5)
    other.serve()
    other.poll()
    rewrite(fetcher, fetcher.state, (other.state / "last-good.tar").read_bytes())
    fetcher.root = other.root
    worker = Worker(fetcher)
    assert worker.revision is not None
    other.stop()
    worker.stop()


def roll_back(fetcher: Reader) -> tuple[bytes, bytes]:
    """State folder of revision 1, while revision 2 is in force."""
    names = ("state.json", "last-good.tar")
    old = tuple((fetcher.state / name).read_bytes() for name in names)
    deny_everybody(fetcher)
    return old[0], old[1]


def test_worker_cannot_be_rolled_back_by_the_state_folder(fetcher: Reader) -> None:
    """A worker that has seen revision 2 refuses a whole state folder of revision 1."""
    worker = Worker(fetcher)
    state, kept = roll_back(fetcher)
    worker.poll()
    worker.follower.switch()
    (fetcher.state / "state.json").write_bytes(state)
    rewrite(fetcher, fetcher.state, kept)
    result = worker.poll()
    assert result.outcome == "refused"
    assert "older" in result.detail
    assert worker.decide().cause is Cause.RULE
    worker.stop()


def test_worker_cannot_be_rolled_back_twin_without_guard(
    fetcher: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that remembered only what the state file says would go back."""
    monkeypatch.setattr(following, "merged", lambda _, theirs: theirs)
    worker = Worker(fetcher)
    state, kept = roll_back(fetcher)
    worker.poll()
    worker.follower.switch()
    (fetcher.state / "state.json").write_bytes(state)
    rewrite(fetcher, fetcher.state, kept)
    worker.poll()
    worker.follower.switch()
    assert (worker.revision, bool(worker.decide())) == (1, True)
    worker.stop()


def test_state_file_cannot_extend_freshness(fetcher: Reader) -> None:
    """A later first verification of the same timestamp in the state file adds no second."""
    worker = Worker(fetcher)
    assert worker.snapshot is not None
    until_ns = worker.snapshot.fresh_until_ns
    folder = fetcher.keeper._folder if fetcher.keeper else None
    assert folder is not None
    memory = folder.read()
    assert memory is not None
    fetcher.clock.offset_s = 300
    later_ns = memory.timestamp_first_verified_ns + 300 * NANOS
    folder.write(Memory(memory.versions, memory.targets, memory.clock_mark_ns, later_ns))
    worker.poll()
    assert worker.snapshot.fresh_until_ns <= until_ns
    worker.stop()


def test_clock_set_back_is_noticed_though_nothing_is_fetched(fetcher: Reader) -> None:
    """The fetcher is gone, the clock goes on and is then set back: STALE."""
    worker = Worker(fetcher)
    fetcher.stop()
    fetcher.clock.offset_s = 1_800
    assert worker.poll().outcome == "unchanged"
    assert worker.decide()
    fetcher.clock.offset_s = 0
    assert worker.decide().cause is Cause.STALE
    worker.stop()


def test_clock_set_back_twin_without_guard(
    fetcher: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that looked at the clock only with news would be milder for it."""
    monkeypatch.setattr(BundleFollower, "_remember_failure", lambda *_: None)
    worker = Worker(fetcher)
    fetcher.stop()
    fetcher.clock.offset_s = 1_800
    worker.poll()
    fetcher.clock.offset_s = 0
    assert worker.decide()
    worker.stop()


@pytest.mark.parametrize("name", ["state.json", "last-good.tar"])
def test_damaged_state_folder_keeps_the_last_good(fetcher: Reader, name: str) -> None:
    """Damage is refused, the snapshot goes on, and mending it is noticed."""
    worker = Worker(fetcher)
    path = fetcher.state / name
    whole = path.read_bytes()
    path.write_bytes(b"damage")
    assert worker.poll().outcome != "updated"
    assert worker.decide()
    path.write_bytes(whole)
    assert worker.poll().verified
    worker.stop()


def test_expired_files_do_not_keep_a_worker_from_starting(fetcher: Reader) -> None:
    """A worker that starts while all is stale denies, and follows once there is news."""
    fetcher.clock.offset_s = HOUR_S + 100
    worker = Worker(fetcher)
    assert worker.decide().cause is Cause.NO_BUNDLE
    fetcher.clock.offset_s = 0
    assert worker.poll().verified
    worker.follower.switch()
    assert worker.decide()
    worker.stop()


def test_worker_leaves_the_state_folder_to_the_fetcher(fetcher: Reader) -> None:
    """Looking changes no file of the fetcher, and two workers of one number are refused."""
    before = {p.name: p.read_bytes() for p in fetcher.state.iterdir() if p.is_file()}
    worker = Worker(fetcher)
    worker.poll()
    with pytest.raises(ConfigurationError, match="in use"):
        Worker(fetcher)
    Worker(fetcher, 2).stop()
    assert {p.name: p.read_bytes() for p in fetcher.state.iterdir() if p.is_file()} == before
    worker.stop()


def memories() -> st.SearchStrategy[Memory]:
    """Any memory of few versions, so that they coincide."""
    versions = st.fixed_dictionaries({role: st.integers(1, 3) for role in ROLES})
    times: Any = st.integers(0, 3)
    targets = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"))
    return st.builds(Memory, versions, targets, times, times)


@given(own=memories(), theirs=memories())
def test_two_memories_together_are_never_milder_than_either(own: Memory, theirs: Memory) -> None:
    """No version falls, the mark does not fall, one timestamp gets no later first time."""
    both = merged(own, theirs)
    assert both is not None
    for one in (own, theirs):
        assert all(both.versions[role] >= version for role, version in one.versions.items())
        assert both.clock_mark_ns >= one.clock_mark_ns
        if both.versions["timestamp"] == one.versions["timestamp"]:
            assert both.timestamp_first_verified_ns <= one.timestamp_first_verified_ns
    if own.revision >= theirs.revision:
        assert own.targets.items() <= both.targets.items()
    if own.revision == theirs.revision:
        assert theirs.targets.keys() <= both.targets.keys()


def test_fetcher_that_starts_again_clears_nothing_of_the_workers(fetcher: Reader) -> None:
    """Folders in which a worker verifies are not those that the fetcher cleans up."""
    worker = Worker(fetcher)
    used = fetcher.state / "worker-1" / "poll-x"
    used.mkdir()
    fetcher.start()
    assert used.is_dir()
    assert isinstance(fetcher.keeper._folder if fetcher.keeper else None, MemoryFolder)
    worker.stop()
