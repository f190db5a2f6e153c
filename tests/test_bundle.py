"""Attacks on the policy supply chain, run against real TUF repositories.

The table of references/security.md section 1.4, and what design section 6
adds to TUF. TUF's own guards are tested as they are; ours have twins.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import MetaFile, TargetFile

from pdp.archive import ArchiveLimits
from pdp.bundle import BundleKeeper, BundleSettings, freshness, trust
from pdp.bundle.contents import compile_bundle, read_bundle, refuse_other_tenants
from pdp.bundle.denials import EMPTY_DENIALS
from pdp.bundle.strict_json import render
from pdp.callers import CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.errors import BundleRefusedError, ConfigurationError, StateFileError
from pdp.model import Cause, Effect
from pdp.policy import PolicyDocument
from pdp.values import NANOS
from tests.simulators.bundle_reader import Reader
from tests.simulators.repository import (
    BUNDLE_PATH,
    DENIALS_PATH,
    EMERGENCY,
    POLICIES,
    Files,
    archive,
    callers,
    policy,
    rule,
)

HOUR_NS = 3600 * NANOS


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A PDP and its publisher; the first revision is served, nothing is started."""
    made = Reader(tmp_path)
    made.serve()
    yield made
    made.stop()


def disabled(*_: Any, **__: Any) -> None:
    """A guard that guards nothing."""


def refuses_to_start(reader: Reader, match: str) -> None:
    """A PDP that starts with an empty state folder refuses what is served."""
    reader.stop()
    shutil.rmtree(reader.state, ignore_errors=True)
    with pytest.raises(BundleRefusedError, match=match):
        reader.start()


# ---- the honest way ---------------------------------------------------------


def test_honest_repository_is_loaded_and_followed(reader: Reader) -> None:
    """Start loads; a poll without news changes nothing; a release is picked up."""
    assert reader.start().outcome == "updated"
    assert (reader.revision, bool(reader.decide())) == (1, True)
    assert reader.poll().outcome == "unchanged"
    denied = policy("documents", rule("nobody-reads", Effect.DENY))
    reader.repository.release(2, documents=[denied, callers()])
    reader.serve()
    assert reader.poll().outcome == "updated"
    assert (reader.revision, reader.decide().cause, bool(reader.decide())) == (2, Cause.RULE, False)


def test_freshening_extends_freshness_and_changes_nothing_else(reader: Reader) -> None:
    """A newer timestamp alone moves `fresh_until`; the same policies stay, not compiled again."""
    reader.start()
    before = reader.snapshot
    assert before is not None
    reader.repository.now_s += 600
    reader.repository.freshen()
    reader.serve()
    reader.clock.offset_s = 600
    assert reader.poll().outcome == "unchanged"
    after = reader.snapshot
    assert after is not None
    assert after.fresh_until_ns - before.fresh_until_ns == 600 * NANOS
    assert (after.ref, after.policies) == (before.ref, before.policies)
    assert after.policies is before.policies


def test_digest_is_over_the_sorted_lines_of_all_targets(reader: Reader) -> None:
    """SHA-256 over `path SP sha256-hex LF`, emergency included, as design section 6 says."""
    reader.start()
    bundle = reader.repository.role(POLICIES).targets[BUNDLE_PATH].hashes["sha256"]
    denials = hashlib.sha256(EMPTY_DENIALS).hexdigest()
    lines = f"{DENIALS_PATH} {denials}\n{BUNDLE_PATH} {bundle}\n"
    assert reader.snapshot is not None
    assert reader.snapshot.ref.digest == hashlib.sha256(lines.encode()).digest()


def test_denials_of_the_emergency_target_reach_decisions(reader: Reader) -> None:
    """A caller that is put on the list is denied after the next poll."""
    reader.start()
    assert reader.decide()
    denials = {"version": 1, "callers": ["spiffe://example.org/web"]}
    denials |= {"serials": [], "subjects": [], "jtis": []}
    reader.repository.put(DENIALS_PATH, render(denials))
    reader.repository.publish_targets(EMERGENCY)
    reader.serve()
    assert reader.poll().outcome == "updated"
    assert reader.decide().cause is Cause.CALLER


# ---- the attack table, section 1.4 ------------------------------------------


def two_editions(reader: Reader) -> tuple[Files, Files]:
    """What was served at revision 1, and at revision 2."""
    first = reader.repository.saved()
    reader.repository.release(2)
    return first, reader.repository.saved()


def test_rollback_to_older_revision_is_refused(reader: Reader) -> None:
    """Old, validly signed and unexpired files are refused by a PDP that saw newer ones."""
    first, second = two_editions(reader)
    reader.serve(second)
    reader.start()
    reader.serve(first)
    result = reader.poll()
    assert result.outcome == "refused"
    assert reader.revision == 2
    with pytest.raises(BundleRefusedError):
        reader.start()


def test_rollback_is_refused_by_the_state_file_alone(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when TUF's cache is lost; and without our check the twin is rolled back."""
    first, second = two_editions(reader)
    reader.serve(second)
    reader.start()
    reader.stop()
    (reader.state / "last-good.tar").unlink()
    reader.serve(first)
    with pytest.raises(BundleRefusedError, match="older than 2, which was accepted before"):
        reader.start()
    # The twin without guard.
    monkeypatch.setattr(freshness, "refuse_rollback", disabled)
    assert reader.start().outcome == "updated"
    assert reader.revision == 1


def test_replay_to_an_empty_state_folder_needs_a_floor(reader: Reader) -> None:
    """The gap of TUF: without memory there is no start, and the floor refuses the replay."""
    first, _ = two_editions(reader)
    reader.serve(first)
    with pytest.raises(StateFileError, match="set `revision_floor`"):
        reader.start(revision_floor=None)
    with pytest.raises(BundleRefusedError, match="below the floor"):
        reader.start(revision_floor=2)


def test_replay_to_an_empty_state_folder_twin_without_guard(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TUF itself accepts the replay: only the floor stands in between."""
    first, _ = two_editions(reader)
    reader.serve(first)
    monkeypatch.setattr(freshness, "refuse_below_floor", disabled)
    assert reader.start(revision_floor=2).outcome == "updated"
    assert reader.revision == 1


def test_frozen_repository_is_refused_at_start(reader: Reader) -> None:
    """An expired timestamp: TUF refuses by the system clock."""
    reader.repository.freshen(expires=datetime.now(UTC) - timedelta(seconds=5))
    reader.serve()
    refuses_to_start(reader, "timestamp.json is expired")


def test_frozen_repository_goes_stale_and_stays_so(reader: Reader) -> None:
    """A store that only repeats itself is obeyed for an hour, and then denied."""
    reader.start()
    assert reader.decide()
    reader.clock.offset_s = 3601
    assert reader.decide().cause is Cause.STALE
    assert reader.poll().outcome == "refused"
    assert reader.decide().cause is Cause.STALE


def test_frozen_repository_twin_without_guard(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without our expiry checks a stale repository would load by the decision clock."""
    reader.clock.offset_s = 3601
    monkeypatch.setattr(freshness, "refuse_expired", disabled)
    monkeypatch.setattr(freshness, "refuse_spent", disabled)
    monkeypatch.setattr(freshness, "fresh_until_ns", lambda *_: 2**62)
    assert reader.start().outcome == "updated"
    assert reader.decide()


def test_tampered_bundle_of_the_same_length_is_refused(reader: Reader) -> None:
    """The hash in the targets role is of other bytes."""
    name = next(name for name in reader.repository.files if name.endswith("bundle.tar"))
    data = bytearray(reader.repository.files[name])
    data[len(data) // 2] ^= 1
    reader.serve({**reader.repository.files, name: bytes(data)})
    refuses_to_start(reader, "does not match|hash")


def test_stolen_online_keys_cannot_roll_a_tenant_back(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snapshot and timestamp keys sign a snapshot that names the tenant's old role."""
    repository = reader.repository
    old = repository.snapshot.meta[f"{POLICIES}.json"]
    two_editions(reader)
    reader.serve()
    reader.start()
    repository.snapshot.meta[f"{POLICIES}.json"] = old
    repository.publish_snapshot()
    reader.serve()
    assert reader.poll().outcome == "refused"
    assert reader.revision == 2
    # Without TUF's cache the state file still knows the role's version.
    reader.stop()
    (reader.state / "last-good.tar").unlink()
    with pytest.raises(BundleRefusedError, match="`policies/default` version 1 is older than 2"):
        reader.start()
    # The twin without guard.
    monkeypatch.setattr(freshness, "refuse_rollback", disabled)
    assert reader.start().outcome == "updated"
    assert reader.revision == 3


def test_stolen_online_keys_cannot_drop_a_tenant(reader: Reader) -> None:
    """The snapshot no longer lists the tenant's role."""
    reader.start()
    del reader.repository.snapshot.meta[f"{POLICIES}.json"]
    reader.repository.publish_snapshot()
    reader.serve()
    assert reader.poll().outcome == "refused"
    refuses_to_start(reader, "delegated but is not part of snapshot")


def test_evil_bundle_below_the_threshold_is_refused(reader: Reader) -> None:
    """One of two tenant keys and the online keys are stolen."""
    reader.repository.put(BUNDLE_PATH, archive(2))
    reader.repository.publish_targets(POLICIES, keys=1)
    reader.serve()
    refuses_to_start(reader, "policies/default was signed by 1/2 keys")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", POLICIES, EMERGENCY])
def test_unsigned_role_is_refused(reader: Reader, role: str) -> None:
    """No signature, or one by a key that the delegator does not name: refused."""
    repository = reader.repository
    signed = {"timestamp": repository.timestamp, "snapshot": repository.snapshot}
    metadata = signed.get(role) or repository.role(role)
    name = "metadata/timestamp.json" if role == "timestamp" else f"metadata/1.{role}.json"
    for signers in ([], [CryptoSigner.generate_ed25519() for _ in range(3)]):
        data = repository.sign(metadata, signers)
        files = {**repository.files, name: data}
        if role not in {"timestamp", "snapshot"}:
            # The online keys vouch for the file; only its own signatures are missing.
            repository.snapshot.meta[f"{role}.json"] = MetaFile.from_data(1, data, ["sha256"])
            repository.publish_snapshot()
            files = {**repository.files, name: data}
        reader.serve(files)
        refuses_to_start(reader, "was signed by 0/|does not match|longer than")


@pytest.mark.parametrize("role", ["targets", POLICIES, EMERGENCY])
def test_expired_role_is_refused(reader: Reader, role: str) -> None:
    """Any role that is used counts, the emergency role included."""
    reader.repository.publish_targets(role, expires=datetime.now(UTC) - timedelta(seconds=5))
    reader.serve()
    refuses_to_start(reader, "is expired")


@pytest.mark.parametrize("role", ["targets", POLICIES, EMERGENCY])
def test_freshness_ends_with_the_first_role(reader: Reader, role: str) -> None:
    """A role that expires before the timestamp ends freshness, without any poll."""
    reader.repository.publish_targets(role, expires=datetime.now(UTC) + timedelta(seconds=90))
    reader.serve()
    reader.start()
    assert reader.decide()
    reader.clock.offset_s = 91
    assert reader.decide().cause is Cause.STALE


def test_tenant_cannot_sign_another_tenants_path(reader: Reader) -> None:
    """`policies/other/...` signed by the role of `default` is no target."""
    reader.repository.put("policies/other/bundle.tar", archive(1), role=POLICIES)
    reader.repository.publish_targets(POLICIES)
    reader.serve()
    with pytest.raises(BundleRefusedError, match=r"no `policies/other/bundle.tar`"):
        reader.start(tenants=("other",))


def test_another_role_cannot_sign_a_bundle(reader: Reader) -> None:
    """A bundle that the top-level role lists itself is not the tenant's."""
    reader.repository.put(BUNDLE_PATH, archive(7), role="targets")
    reader.repository.publish_targets("targets")
    reader.serve()
    refuses_to_start(reader, "not ask the role|not signed by the role `policies/default`")


def test_another_role_cannot_sign_a_bundle_twin_without_guard(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TUF lets the top-level role answer: without our check its bundle is loaded."""
    reader.start()
    evil: list[PolicyDocument | CallerPolicy] = [
        policy("documents", rule("evil", Effect.DENY)),
        callers(),
    ]
    reader.repository.put(BUNDLE_PATH, archive(7, documents=evil), role="targets")
    reader.repository.put(DENIALS_PATH, EMPTY_DENIALS, role="targets")
    reader.repository.publish_targets("targets")
    reader.serve()
    assert reader.poll().outcome == "refused"
    assert reader.decide().rules == ("documents/everybody-reads",)
    monkeypatch.setattr(trust, "_delegated", lambda *_: reader.repository.role("targets"))
    assert reader.poll().outcome == "updated"
    assert reader.decide().rules == ("documents/evil",)


def test_stale_role_file_that_was_kept_is_not_taken_for_the_answer(reader: Reader) -> None:
    """The role is kept from before, then the top-level role lists the same bundle itself."""
    reader.start()
    info = reader.repository.role(POLICIES).targets[BUNDLE_PATH]
    reader.repository.targets.targets[BUNDLE_PATH] = info
    assert reader.repository.targets.delegations is not None
    assert reader.repository.targets.delegations.roles is not None
    del reader.repository.targets.delegations.roles[POLICIES]
    reader.repository.publish_targets("targets")
    reader.serve()
    result = reader.poll()
    assert result.outcome == "refused"
    assert "does not delegate to the role `policies/default`" in result.detail


def test_unreachable_store_keeps_the_last_good_until_it_is_stale(reader: Reader) -> None:
    """No answer says nothing: the last good snapshot stays for its own time, no longer."""
    reader.start()
    shutil.rmtree(reader.store)
    assert reader.poll().outcome == "unreachable"
    assert reader.decide()
    reader.clock.offset_s = 3601
    assert reader.poll().outcome == "unreachable"
    assert reader.decide().cause is Cause.STALE


def test_online_key_rotated_by_a_new_root_is_accepted(reader: Reader) -> None:
    """Three of five root keys replace the timestamp key; old and new PDPs follow."""
    reader.start()
    reader.repository.rotate("timestamp", reader.repository.signers["root"][:3])
    reader.repository.freshen()
    reader.serve()
    assert reader.poll().outcome == "unchanged"
    assert reader.start().outcome == "updated"
    shutil.rmtree(reader.state)
    assert reader.start().outcome == "updated"


def test_timestamp_by_the_replaced_key_is_refused(reader: Reader) -> None:
    """Once the root has replaced the key, the thief's signatures are worth nothing."""
    stolen = reader.repository.signers["timestamp"]
    reader.repository.rotate("timestamp")
    reader.repository.freshen()
    reader.serve()
    reader.start()
    reader.repository.signers["timestamp"] = stolen
    reader.repository.freshen()
    reader.serve()
    assert reader.poll().outcome == "refused"
    refuses_to_start(reader, "timestamp was signed by 0/1 keys")


def test_new_root_is_remembered_when_the_rest_fails(reader: Reader) -> None:
    """A store shows the new root once, then hides it and goes on with the stolen key."""
    reader.start()
    stolen = reader.repository.saved()
    reader.repository.rotate("timestamp")
    shown = {**stolen, "metadata/2.root.json": reader.repository.files["metadata/2.root.json"]}
    reader.serve(shown)
    assert reader.poll().outcome == "refused"
    reader.serve(stolen)
    assert reader.poll().outcome == "refused"
    with pytest.raises(BundleRefusedError):
        reader.start()


def test_new_root_is_remembered_when_the_rest_fails_twin_without_guard(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If roots were forgotten with the rest, the stolen key would work again."""
    reader.start()
    stolen = reader.repository.saved()
    reader.repository.rotate("timestamp")
    shown = {**stolen, "metadata/2.root.json": reader.repository.files["metadata/2.root.json"]}
    monkeypatch.setattr(trust, "_keep_roots", disabled)
    reader.serve(shown)
    assert reader.poll().outcome == "refused"
    reader.serve(stolen)
    assert reader.poll().outcome == "unchanged"


def test_new_root_below_the_threshold_is_refused(reader: Reader) -> None:
    """Two of five root keys are stolen."""
    reader.start()
    reader.repository.rotate("timestamp", reader.repository.signers["root"][:2])
    reader.repository.freshen()
    reader.serve()
    assert reader.poll().outcome == "refused"
    refuses_to_start(reader, "root was signed by 2/3 keys")


def test_expired_root_is_refused(reader: Reader) -> None:
    """The newest root decides; an expired one stops everything."""
    reader.repository.root.version += 1
    reader.repository.now_s -= 366 * 86_400
    reader.repository.publish_root()
    reader.serve()
    refuses_to_start(reader, r"root.json is expired")


def test_mix_and_match_of_two_editions_is_refused(reader: Reader) -> None:
    """Every file is genuine, of one edition or the other; only whole editions load."""
    first, second = two_editions(reader)
    newer = ["metadata/timestamp.json", "metadata/2.snapshot.json", f"metadata/2.{POLICIES}.json"]
    bundle = next(name for name in second if name.endswith("bundle.tar") and name not in first)
    for mask in range(1, 2 ** len(newer)):
        mixed = {name: data for name, data in second.items() if name in first or name == bundle}
        mixed["metadata/timestamp.json"] = first["metadata/timestamp.json"]
        for i, name in enumerate(newer):
            if mask >> i & 1:
                # The newer bytes under the older name too: a store names files as it likes.
                mixed[name] = mixed[name.replace("2.", "1.")] = second[name]
        reader.stop()
        shutil.rmtree(reader.state, ignore_errors=True)
        reader.serve(mixed)
        if mask == 2 ** len(newer) - 1:
            assert reader.start().outcome == "updated"
            assert reader.revision == 2
            continue
        with contextlib.suppress(BundleRefusedError):
            assert reader.start().outcome == "unreachable"
        assert reader.snapshot is None


def test_snapshot_of_another_edition_is_refused(reader: Reader) -> None:
    """The timestamp names a snapshot by hash, not by version alone."""
    repository = reader.repository
    repository.snapshot.meta["other.json"] = MetaFile(9)
    evil = repository.sign(repository.snapshot, repository.signers["snapshot"])
    reader.serve({**repository.files, "metadata/1.snapshot.json": evil})
    refuses_to_start(reader, "longer than the .* allowed|does not match")


# ---- freshness and the clock ------------------------------------------------


def test_timestamp_signed_until_2099_is_refused(reader: Reader) -> None:
    """One stolen online key must not sign a year."""
    reader.start()
    reader.repository.freshen(expires=datetime(2099, 1, 1, tzinfo=UTC))
    reader.serve()
    result = reader.poll()
    assert result.outcome == "refused"
    assert "signed for too long" in result.detail
    refuses_to_start(reader, "signed for too long")


def test_timestamp_signed_until_2099_twin_without_guard(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TUF accepts it; without our two limits it is fresh for decades."""
    reader.repository.freshen(expires=datetime(2099, 1, 1, tzinfo=UTC))
    reader.serve()
    monkeypatch.setattr(freshness, "refuse_far_expiry", disabled)
    assert reader.start().outcome == "updated"
    reader.clock.offset_s = 3601
    assert not reader.serves()
    # With the second limit gone too.
    reader.clock.offset_s = 0
    monkeypatch.setattr(freshness, "fresh_until_ns", lambda expires, *_: min(expires.values()))
    reader.start()
    reader.clock.offset_s = 20 * 86_400
    assert reader.serves()


def test_refused_timestamp_does_not_shut_out_the_honest_one(reader: Reader) -> None:
    """The thief's version number is huge; the publisher's next one still loads."""
    reader.start()
    honest = reader.repository.timestamp.version
    reader.repository.timestamp.version = 2**31
    reader.repository.freshen(expires=datetime(2099, 1, 1, tzinfo=UTC))
    reader.serve()
    assert reader.poll().outcome == "refused"
    reader.repository.timestamp.version = honest
    reader.repository.release(2)
    reader.serve()
    assert reader.poll().outcome == "updated"


def test_reading_a_timestamp_again_extends_nothing(reader: Reader) -> None:
    """Freshness counts from the first verification, across polls and restarts."""
    life = timedelta(seconds=3600 + 55)
    reader.repository.freshen(expires=datetime.now(UTC) + life)
    reader.serve()
    reader.start()
    assert reader.snapshot is not None
    until = reader.snapshot.fresh_until_ns
    for offset in (1200, 2400, 3500):
        reader.clock.offset_s = offset
        assert reader.poll().outcome == "unchanged"
        assert reader.start().outcome == "updated"
        assert reader.snapshot.fresh_until_ns == until
    # The timestamp itself has not expired yet; its time with us has.
    reader.clock.offset_s = 3610
    result = reader.poll()
    assert result.outcome == "refused"
    assert "there is no newer one" in result.detail
    assert reader.decide().cause is Cause.STALE


def test_reading_a_timestamp_again_extends_nothing_twin_without_guard(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If each reading counted as the first, freshness would follow the clock."""
    reader.repository.freshen(expires=datetime.now(UTC) + timedelta(seconds=3655))
    reader.serve()
    reader.start()
    assert reader.snapshot is not None
    until = reader.snapshot.fresh_until_ns
    monkeypatch.setattr(freshness, "first_verified_ns", lambda _version, _memory, clock: clock)
    reader.clock.offset_s = 1200
    reader.poll()
    assert reader.snapshot.fresh_until_ns > until


def test_dead_bundle_does_not_revive_when_the_clock_steps_back(reader: Reader) -> None:
    """Stale stays stale, in the process and after a restart."""
    reader.start()
    reader.clock.offset_s = 3601
    reader.poll()
    assert not reader.serves()
    reader.clock.offset_s = -3600
    assert reader.decide().cause is Cause.STALE
    assert reader.poll().outcome == "refused"
    assert reader.decide().cause is Cause.STALE
    result = reader.start()
    assert result.outcome == "refused"
    assert "set the clock" in result.detail
    assert not reader.serves()


def test_dead_bundle_does_not_revive_twin_without_guard(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the mark a step back makes the dead bundle fresh again."""
    monkeypatch.setattr(freshness, "clock_mark_ns", lambda *_: 0)
    reader.start()
    reader.clock.offset_s = 3601
    reader.poll()
    assert not reader.serves()
    reader.clock.offset_s = 0
    assert reader.serves()


def test_clock_behind_the_mark_is_stale_between_polls(reader: Reader) -> None:
    """No poll is needed to notice; a minute is tolerated."""
    reader.start()
    reader.clock.offset_s = -50
    assert reader.serves()
    reader.clock.offset_s = -120
    assert reader.decide().cause is Cause.STALE


def test_forward_glitch_does_not_deny_for_ever(reader: Reader) -> None:
    """The clock jumps ten years ahead and back: at most an hour of denials follows."""
    reader.start()
    reader.clock.offset_s = 10 * 365 * 86_400
    assert reader.poll().outcome == "refused"
    reader.clock.offset_s = 0
    assert reader.decide().cause is Cause.STALE
    assert reader.poll().outcome == "refused"
    # When real time has come as far as the old `fresh_until`, a fresh timestamp is enough.
    reader.clock.offset_s = 3600
    reader.repository.now_s += 3600
    reader.repository.freshen()
    reader.serve()
    assert reader.poll().verified
    assert reader.decide()


def test_forward_glitch_twin_without_guard(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark that follows the clock anywhere denies for ten years."""
    monkeypatch.setattr(
        freshness, "clock_mark_ns", lambda mark, signed, clock, _until: max(mark, signed, clock)
    )
    reader.start()
    reader.clock.offset_s = 10 * 365 * 86_400
    reader.poll()
    reader.clock.offset_s = 3600
    reader.repository.now_s += 3600
    reader.repository.freshen()
    reader.serve()
    assert reader.poll().outcome == "refused"
    assert reader.decide().cause is Cause.STALE


def test_bundle_signed_in_the_future_is_refused(reader: Reader) -> None:
    """Its time would become the clock mark, and everything honest would be behind it."""
    reader.start()
    ahead_s = reader.repository.now_s + 86_400
    reader.repository.put(BUNDLE_PATH, archive(2, ahead_s))
    reader.repository.publish_targets(POLICIES)
    reader.serve()
    result = reader.poll()
    assert result.outcome == "refused"
    assert "was signed" in result.detail
    assert reader.decide()


def test_bundle_signed_in_the_future_twin_without_guard(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the check the PDP denies until that time comes."""
    reader.repository.put(BUNDLE_PATH, archive(2, reader.repository.now_s + 86_400))
    reader.repository.publish_targets(POLICIES)
    reader.serve()
    monkeypatch.setattr(freshness, "refuse_signed_ahead", disabled)
    assert reader.start().outcome == "updated"
    assert reader.decide().cause is Cause.STALE


def test_conditions_never_see_a_time_before_the_mark(reader: Reader) -> None:
    """`now` is max(clock, mark): an expired rule does not return when the clock steps back."""
    reader.start()
    snapshot = reader.snapshot
    assert snapshot is not None
    reader.clock.offset_s = -50
    assert not snapshot.is_stale(reader.clock())
    assert snapshot.now_ns(reader.clock()) == snapshot.clock_mark_ns > reader.clock()


# ---- what is remembered -----------------------------------------------------


def test_corrupt_state_file_refuses_to_start(reader: Reader) -> None:
    """A damaged memory is no memory of rollbacks: not guessed at, not overwritten."""
    reader.start()
    reader.stop()
    path = reader.state / "state.json"
    good = path.read_bytes()
    for bad in (b"", b"{}", good[:-10], good.replace(b'"snapshot": 1', b'"snapshot": 0'), b"\xff"):
        path.write_bytes(bad)
        with pytest.raises(StateFileError, match=r"is damaged.*remove it and set `revision_floor`"):
            reader.start()
        assert path.read_bytes() == bad
    path.write_bytes(good)
    assert reader.start().outcome == "updated"


def test_corrupt_state_file_twin_without_guard(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a damaged file counted as none, damaging it would be a rollback."""
    first, second = two_editions(reader)
    reader.serve(second)
    reader.start()
    reader.stop()
    (reader.state / "state.json").write_bytes(b"damaged")
    (reader.state / "last-good.tar").unlink()
    reader.serve(first)
    with pytest.raises(StateFileError):
        reader.start()
    monkeypatch.setattr("pdp.bundle.memory.MemoryFolder.read", lambda _self: None)
    assert reader.start().outcome == "updated"
    assert reader.revision == 1


def test_same_revision_with_other_content_is_refused(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One revision, one digest, also for a PDP whose TUF cache is lost."""
    first = reader.repository.saved()
    reader.serve(first)
    reader.start()
    reader.stop()
    (reader.state / "last-good.tar").unlink()
    # The publisher's keys sign a second revision 1.
    repository = reader.repository
    repository.put(BUNDLE_PATH, archive(9))
    role = repository.role(POLICIES)
    data = repository.sign(role, repository.signers[POLICIES])
    repository.snapshot.meta[f"{POLICIES}.json"] = MetaFile.from_data(
        role.version, data, ["sha256"]
    )
    snapshot = repository.sign(repository.snapshot, repository.signers["snapshot"])
    repository.timestamp.snapshot_meta = MetaFile.from_data(1, snapshot, ["sha256"])
    repository.freshen()
    repository.files[f"metadata/1.{POLICIES}.json"] = data
    repository.files["metadata/1.snapshot.json"] = snapshot
    reader.serve()
    with pytest.raises(BundleRefusedError, match="one revision, two contents"):
        reader.start()
    # The twin without guard.
    monkeypatch.setattr(freshness, "refuse_changed", disabled)
    assert reader.start().outcome == "updated"


def test_start_without_the_store_uses_what_was_kept_while_it_is_fresh(reader: Reader) -> None:
    """An unreachable store at start: the kept bundle decides, verified again, for its time."""
    reader.start()
    shutil.rmtree(reader.store)
    result = reader.start()
    assert result.outcome == "unreachable"
    assert "going on with what was kept: revision 1" in result.detail
    assert reader.decide()
    reader.clock.offset_s = 3601
    assert reader.decide().cause is Cause.STALE
    result = reader.start()
    assert result.outcome == "unreachable"
    assert "cannot be used" in result.detail
    assert reader.decide().cause is Cause.NO_BUNDLE
    # And it recovers by itself.
    reader.repository.now_s += 3601
    reader.repository.freshen()
    reader.serve()
    assert reader.poll().outcome == "updated"
    assert reader.decide()


def test_start_without_store_and_memory_has_no_bundle(reader: Reader) -> None:
    """Nothing fetched, nothing kept: NO_BUNDLE, and the next poll may find it."""
    shutil.rmtree(reader.store)
    assert reader.start().outcome == "unreachable"
    assert reader.decide().cause is Cause.NO_BUNDLE
    reader.serve()
    assert reader.poll().outcome == "updated"


def test_damaged_kept_files_are_dropped_not_believed(reader: Reader) -> None:
    """What was kept is verified like anything else: damage costs a fetch, or the bundle."""
    reader.start()
    reader.stop()
    path = reader.state / "last-good.tar"
    good = path.read_bytes()
    for position in range(0, len(good), 97):
        bad = bytearray(good)
        bad[position] ^= 0x01
        path.write_bytes(bad)
        shutil.rmtree(reader.store, ignore_errors=True)
        result = reader.start()
        assert result.outcome == "unreachable"
        if reader.snapshot is not None:
            # A bit outside anything that is signed, such as a signature of a spare key.
            assert reader.snapshot.ref.revision == 1
            assert reader.decide()
        reader.stop()
    path.write_bytes(b"garbage")
    reader.serve()
    assert reader.start().outcome == "updated"


def test_partly_fetched_edition_leaves_the_last_good_usable(reader: Reader) -> None:
    """The new timestamp came through and the rest did not: a restart still has the old edition."""
    reader.start()
    first, second = two_editions(reader)
    reader.serve({**first, "metadata/timestamp.json": second["metadata/timestamp.json"]})
    assert reader.poll().outcome == "unreachable"
    assert reader.decide()
    shutil.rmtree(reader.store)
    assert reader.start().outcome == "unreachable"
    assert (reader.revision, bool(reader.decide())) == (1, True)


@pytest.mark.parametrize("version", [True, 2**60])
def test_version_that_cannot_be_remembered_is_refused(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """TUF takes any number; the state file must be able to give it back."""
    reader.repository.timestamp.version = version
    reader.repository.files["metadata/timestamp.json"] = reader.repository.sign(
        reader.repository.timestamp, reader.repository.signers["timestamp"]
    )
    reader.serve()
    refuses_to_start(reader, "a version that is no version")
    # The twin without guard: a stolen online key would end every restart.
    if version is not True:
        monkeypatch.setattr(trust, "_VERSION_MAX", 2**64)
        reader.repository.timestamp.version = 2**63
        reader.repository.files["metadata/timestamp.json"] = reader.repository.sign(
            reader.repository.timestamp, reader.repository.signers["timestamp"]
        )
        reader.serve()
        reader.start()
        with pytest.raises(StateFileError):
            reader.start()


def test_state_folder_belongs_to_one_process(reader: Reader) -> None:
    """Two PDPs on one state folder would undo each other's memory."""
    reader.start()
    with pytest.raises(ConfigurationError, match="in use by another process"):
        BundleKeeper(
            BundleSettings(str(reader.store), reader.root, reader.state, 1),
            EvaluationLimits(),
            reader.clock,
        ).start()


def test_what_a_killed_poll_left_behind_is_removed(reader: Reader) -> None:
    """Folders of polls that never ended do not pile up."""
    reader.start()
    reader.stop()
    (reader.state / "poll-killed" / "root_history").mkdir(parents=True)
    reader.start()
    found = {path.name for path in reader.state.iterdir()}
    assert found == {"state.json", "last-good.tar", "lock"}


def test_full_disk_refuses_a_poll_and_loses_nothing(reader: Reader) -> None:
    """A state file that cannot be written: no swap, the last good stays for its time."""
    reader.start()
    reader.repository.release(2)
    reader.serve()
    path = reader.state / "state.json"
    path.unlink()
    path.mkdir()
    result = reader.poll()
    assert result.outcome == "refused"
    assert "the state folder fails" in result.detail
    assert (reader.revision, bool(reader.decide())) == (1, True)
    path.rmdir()
    assert reader.poll().outcome == "updated"


def test_full_disk_twin_without_guard(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A swap that nothing remembers is a rollback after the next restart."""
    first = reader.repository.saved()
    reader.start()
    reader.repository.release(2)
    reader.serve()
    monkeypatch.setattr("pdp.bundle.memory.MemoryFolder.write", disabled)
    monkeypatch.setattr("pdp.bundle.memory.MemoryFolder.write_kept", disabled)
    assert reader.poll().outcome == "updated"
    reader.serve(first)
    assert reader.start().outcome == "updated"
    assert reader.revision == 1


# ---- who and what is not welcome --------------------------------------------


def test_missing_or_invalid_trusted_root_refuses_to_start(reader: Reader) -> None:
    """There is no start of trust but the configured file."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        reader.start(root=reader.folder / "absent.json")
    evil = [b"", b"{}", reader.repository.files["metadata/timestamp.json"], bytes(300_000)]
    root = reader.repository.root
    evil.append(reader.repository.sign(root, reader.repository.signers["root"][:2]))
    for data in evil:
        reader.root.write_bytes(data)
        with pytest.raises(ConfigurationError, match="trusted root"):
            reader.start()


def test_root_of_another_repository_is_refused(reader: Reader, tmp_path: Path) -> None:
    """A complete and valid repository by other keys is worth nothing."""
    (tmp_path / "other").mkdir()
    other = Reader(tmp_path / "other")
    reader.serve(other.repository.files)
    refuses_to_start(reader, "does not verify")


@pytest.mark.parametrize("mark", [True, "yes", 1, None])
def test_development_root_is_refused(reader: Reader, mark: object) -> None:
    """Embedded or fetched: a root with the mark of `pdp dev` is not for `pdp serve`."""
    repository = reader.repository
    repository.root.unrecognized_fields["development"] = mark
    repository.root.version += 1
    repository.publish_root()
    reader.serve()
    refuses_to_start(reader, "marked `development`")
    reader.root.write_bytes(repository.files["metadata/2.root.json"])
    with pytest.raises(ConfigurationError, match="marked `development`"):
        reader.start()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"development": True}, "marked `development`"),
        ({"min_pdp": "99.0.0"}, "needs pdp 99.0.0 or newer"),
        (
            {"documents": [policy(), callers("spiffe://dev.invalid/web")]},
            "trust domain of `pdp dev`",
        ),
        ({"documents": [policy(), callers("spiffe://dev.invalid/*")]}, "trust domain of `pdp dev`"),
        ({"documents": [policy()]}, "has 0 caller policies"),
        ({"documents": [callers()]}, "the policy set is empty"),
        ({"documents": []}, "lists no members|empty"),
    ],
)
def test_signed_bundle_that_is_not_for_us_is_refused(
    reader: Reader, changes: dict[str, Any], match: str
) -> None:
    """Signatures are fine; development, too new, callers missing, nothing in it."""
    reader.start()
    reader.repository.release(2, **changes)
    reader.serve()
    result = reader.poll()
    assert result.outcome == "refused"
    assert reader.revision == 1
    refuses_to_start(reader, match)


@pytest.mark.parametrize("key", ["revision", "signed_at", "min_pdp", "digest"])
def test_custom_that_is_not_the_manifests_is_refused(reader: Reader, key: str) -> None:
    """What the role signed beside the hash must be what the archive says."""
    reader.repository.put(BUNDLE_PATH, archive(2), custom={key: "other"})
    reader.repository.publish_targets(POLICIES)
    reader.serve()
    refuses_to_start(reader, f"the signed `{key}` is not that of the manifest")


@pytest.mark.parametrize("custom", [None, [], "text", 7, {"unknown": 1}, {"revision": None}])
def test_odd_custom_is_ignored_or_refused(reader: Reader, custom: Any) -> None:
    """`custom` is the signer's: any JSON may stand there."""
    reader.repository.put(BUNDLE_PATH, archive(2), custom=custom)
    reader.repository.publish_targets(POLICIES)
    reader.serve()
    reader.start() if custom != {"revision": None} else refuses_to_start(reader, "`revision`")


def test_missing_emergency_target_is_refused(reader: Reader) -> None:
    """It is always there, even when empty: its absence would be a list that was dropped."""
    reader.start()
    del reader.repository.role(EMERGENCY).targets[DENIALS_PATH]
    reader.repository.publish_targets(EMERGENCY)
    reader.serve()
    assert reader.poll().outcome == "refused"
    refuses_to_start(reader, "no `emergency/denials.json`")


def test_bad_denials_are_refused(reader: Reader) -> None:
    """A list that does not parse stops the whole edition; the old list goes on."""
    reader.start()
    reader.repository.put(DENIALS_PATH, EMPTY_DENIALS.replace(b"callers", b"caller"))
    reader.repository.publish_targets(EMERGENCY)
    reader.serve()
    assert reader.poll().outcome == "refused"
    assert reader.decide()
    refuses_to_start(reader, "unknown key 'caller'")


def test_target_without_sha256_or_too_large_is_refused(reader: Reader) -> None:
    """Our digest needs SHA-256; a length beyond the limit is not even fetched."""
    repository = reader.repository
    role = repository.role(POLICIES)
    honest = role.targets[BUNDLE_PATH]
    data = archive(1, repository.now_s)
    role.targets[BUNDLE_PATH] = TargetFile.from_data(BUNDLE_PATH, data, ["sha512"])
    repository.publish_targets(POLICIES)
    reader.serve()
    refuses_to_start(reader, "without its SHA-256")
    role.targets[BUNDLE_PATH] = TargetFile(2**40, honest.hashes, BUNDLE_PATH)
    repository.publish_targets(POLICIES)
    reader.serve()
    refuses_to_start(reader, "more than 67108864")


def test_tenants_do_not_admit_callers_to_each_other() -> None:
    """With two tenants loaded, an entry for another tenant, or for all, is refused."""
    contents = compile_bundle(read_bundle(archive(1), ArchiveLimits()), EvaluationLimits())
    refuse_other_tenants("default", contents.callers)
    with pytest.raises(BundleRefusedError, match=r"admits `spiffe://example.org/web` to other"):
        refuse_other_tenants("other", contents.callers)


# ---- misuse -----------------------------------------------------------------


def test_calls_in_the_wrong_order_are_the_programmers_error(reader: Reader) -> None:
    """`poll` before `start` or after `close`, and a second `start`."""
    made = BundleKeeper(
        BundleSettings(str(reader.store), reader.root, reader.state, 1),
        EvaluationLimits(),
        reader.clock,
    )
    with pytest.raises(RuntimeError):
        made.poll()
    made.start()
    with pytest.raises(RuntimeError):
        made.start()
    made.close()
    with pytest.raises(RuntimeError):
        made.poll()
    assert made.current() is not None


@pytest.mark.parametrize(
    "settings",
    [
        {"source": ""},
        {"source": "ftp://example.org/x"},
        {"source": "http://"},
        {"source": "https://user:secret@example.org/"},
        {"source": "https://example.org/?x=1"},
        {"source": "http://[::1"},
        {"source": "http://example.org:99999/"},
        {"revision_floor": 0},
        {"revision_floor": -1},
        {"freshness_max_s": 0},
        {"freshness_max_s": 86_401},
        {"poll_time_max_s": 0},
        {"poll_time_max_s": 601},
        {"tenants": ()},
        {"tenants": ("a", "a")},
        {"tenants": ("../x",)},
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Each with a message, and none that shows a password."""
    with pytest.raises(ConfigurationError) as caught:
        BundleSettings(**{"source": "x", "root": tmp_path, "state_folder": tmp_path, **settings})
    assert "secret" not in str(caught.value)
