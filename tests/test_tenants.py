"""Several tenants in one PDP, from a real repository: one tenant's bundle is its own affair."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import TargetFile, Targets

from pdp.audit.batch_entry import single_entries
from pdp.batch import Batch, BatchDecisionPoint, Semantic
from pdp.bundle import BundleFollower, BundleSettings, freshness, tenants, trust
from pdp.bundle.store import Store
from pdp.call import Answer
from pdp.callers import CallerEntry, CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.decision_point import DecisionPoint
from pdp.errors import BundleRefusedError
from pdp.model import Action, Caller, Cause, Decision, Effect, Request, Resource, Subject
from pdp.server.poll_log import PollLog
from pdp.snapshot import Snapshot
from pdp.telemetry import Telemetry
from tests.simulators import repository as simulator
from tests.simulators.bundle_reader import Reader
from tests.simulators.decision_points import MemoryRecorder
from tests.simulators.repository import BUNDLE_PATH, EMERGENCY, POLICIES, archive, callers, policy


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A PDP and its publisher."""
    made = Reader(tmp_path)
    yield made
    made.stop()


ACME, ACME_PATH = "policies/acme", "policies/acme/bundle.tar"


@pytest.fixture
def two(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A repository with a second tenant `acme`, served together with `default`."""
    monkeypatch.setitem(simulator.TABLE, ACME, (2, 2, 30 * simulator.DAY_S))
    repository = reader.repository
    repository.signers[ACME] = [CryptoSigner.generate_ed25519() for _ in range(2)]
    repository.delegated[ACME] = Targets()
    repository._delegate()
    repository.put(ACME_PATH, acme_archive(1))
    repository.publish_targets("targets", ACME)
    reader.serve()
    reader.settings["tenants"] = ("default", "acme")
    return reader


def acme_archive(revision: int, *tenants: str, **changes: Any) -> bytes:
    """A bundle that denies reading, with callers of the tenants given, or of its own."""
    entry = CallerEntry(
        "spiffe://example.org/web", ("*",), ("*",), ("user",), tenants=tenants or ("acme",)
    )
    documents = (policy("acme", simulator.rule("nobody", Effect.DENY)), CallerPolicy((entry,)))
    return archive(revision, documents=documents, **changes)


def question(tenant: str) -> Request:
    """May alice read a document?"""
    return Request(
        Subject("user", "alice"), Action("read"), Resource("document", "1"), tenant=tenant
    )


def answered(
    reader: Reader,
    tenant: str,
    caller: str = "spiffe://example.org/web",
    recorder: MemoryRecorder | None = None,
) -> Answer:
    """The answer about reading a document, as the decision point makes it."""
    source, clock = KeeperSource(reader), KeeperClock(reader)
    point = DecisionPoint(source, recorder or MemoryRecorder(), clock=clock)
    return asyncio.run(point.answer(question(tenant), Caller(caller), float("inf")))


def asked_of(reader: Reader, tenant: str) -> Decision:
    """The decision of it."""
    return answered(reader, tenant).decision


class KeeperSource:
    """The keeper's snapshot, for a decision point."""

    def __init__(self, reader: Reader) -> None:
        self.current = lambda: reader.snapshot


class KeeperClock:
    """The reader's clock."""

    def __init__(self, reader: Reader) -> None:
        self.wall_ns = reader.clock

    def monotonic(self) -> float:
        """Never moves."""
        return 0.0


def published(two: Reader, data: bytes) -> None:
    """Acme's signers publish these bytes."""
    two.repository.put(ACME_PATH, data)
    two.repository.publish_targets(ACME)


def with_acme(two: Reader, change: Callable[[Targets], None]) -> None:
    """Acme's signers publish a role that says something else."""
    published(two, acme_archive(2))
    change(two.repository.role(ACME))
    two.repository.publish_targets(ACME)


def too_large(role: Targets) -> None:
    """It lists an archive of a terabyte."""
    role.targets[ACME_PATH] = TargetFile(2**40, role.targets[ACME_PATH].hashes, ACME_PATH)


def withheld(two: Reader, part: str) -> None:
    """The store has no longer this part of what acme's signers published."""
    published(two, acme_archive(2))
    repository = two.repository
    if part == "target":
        digest = repository.role(ACME).targets[ACME_PATH].hashes["sha256"]
        del repository.files[f"targets/policies/acme/{digest}.bundle.tar"]
    else:
        del repository.files[f"metadata/{repository.role(ACME).version}.{ACME}.json"]


def changed(two: Reader) -> None:
    """The store serves other bytes of the same length."""
    published(two, acme_archive(2))
    name = next(name for name in two.repository.files if "policies/acme/" in name)
    for name in [name for name in two.repository.files if "targets/policies/acme/" in name]:
        two.repository.files[name] = bytes(len(two.repository.files[name]))


def rolled_back(two: Reader) -> None:
    """Who has the online keys lists acme's role of before."""
    old = two.repository.snapshot.meta[f"{ACME}.json"]
    published(two, acme_archive(2))
    two.serve()
    assert two.poll().outcome == "updated"
    two.repository.snapshot.meta[f"{ACME}.json"] = old
    two.repository.publish_snapshot()


def dropped(two: Reader) -> None:
    """Who has the online keys no longer lists acme's role."""
    del two.repository.snapshot.meta[f"{ACME}.json"]
    two.repository.publish_snapshot()


def removed(two: Reader) -> None:
    """The targets role no longer delegates to acme, and its files are gone."""
    repository = two.repository
    gone = repository.delegated.pop(ACME)
    repository._delegate()
    repository.delegated[ACME] = gone
    for name in [name for name in repository.files if "acme" in name]:
        del repository.files[name]
    repository.publish_targets("targets")


def rekeyed(two: Reader) -> None:
    """The targets role names other keys for acme, which signed nothing yet."""
    repository = two.repository
    old = repository.signers[ACME]
    repository.signers[ACME] = [CryptoSigner.generate_ed25519() for _ in range(2)]
    repository._delegate()
    repository.signers[ACME] = old
    repository.publish_targets("targets")


def foreign(two: Reader) -> None:
    """Acme's keys sign a bundle of the other tenant, and none of their own."""
    del two.repository.role(ACME).targets[ACME_PATH]
    two.repository.put(BUNDLE_PATH, acme_archive(9), role=ACME)
    two.repository.publish_targets(ACME)


YESTERDAY = datetime.now(UTC) - timedelta(days=1)
TROUBLES: dict[str, Callable[[Reader], None]] = {
    "no archive": lambda two: published(two, b"not an archive"),
    "signed ahead": lambda two: published(
        two, acme_archive(2, signed_at_s=int(time.time()) + 86_400)
    ),
    "for a newer PDP": lambda two: published(two, acme_archive(2, min_pdp="99.0.0")),
    "admits to another tenant": lambda two: published(two, acme_archive(2, "default")),
    "admits to all": lambda two: published(two, acme_archive(2, "*")),
    "no caller policy": lambda two: published(two, archive(2, documents=(policy("acme"),))),
    "no policy": lambda two: published(two, archive(2, documents=(callers(),))),
    "role expired": lambda two: two.repository.publish_targets(ACME, expires=YESTERDAY),
    "below its threshold": lambda two: two.repository.publish_targets(ACME, keys=1),
    "archive too large": lambda two: with_acme(two, too_large),
    "no target in its role": lambda two: with_acme(two, lambda role: role.targets.clear()),
    "target withheld": lambda two: withheld(two, "target"),
    "role withheld": lambda two: withheld(two, "role"),
    "target changed by the store": changed,
    "rolled back with online keys": rolled_back,
    "dropped with online keys": dropped,
    "removed by the targets role": removed,
    "other keys delegated": rekeyed,
    "signs for another tenant": foreign,
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_tenants_trouble_is_its_own(two: Reader, trouble: str) -> None:
    """The other reloads; it keeps what it had until that is stale; a new process has no bundle."""
    two.start()
    assert asked_of(two, "default")
    TROUBLES[trouble](two)
    before = asked_of(two, "acme")
    assert before.cause is Cause.RULE
    assert two.snapshot is not None
    until_ns = two.snapshot.tenants["acme"].fresh_until_ns
    documents = (policy("newer", simulator.rule("nobody", Effect.DENY)), callers())
    two.repository.release(2, documents=documents)
    two.serve()
    result = two.poll()
    assert result.outcome == "updated"
    assert "; tenant `acme` stays at revision " in result.detail
    # The other tenant's new bundle decides, under its revision; acme's answers are as before.
    assert_reloaded(two)
    kept = asked_of(two, "acme")
    assert (kept.rules, kept.bundle) == (before.rules, before.bundle)
    assert two.snapshot.tenants["acme"].fresh_until_ns == until_ns
    # A heartbeat of the others is none of acme's.
    two.repository.now_s += 3_601
    two.repository.freshen()
    two.serve()
    two.clock.offset_s = 3_601
    assert two.poll().verified
    assert_reloaded(two)
    denied = asked_of(two, "acme")
    assert (denied.effect, denied.cause) == (Effect.DENY, Cause.STALE)
    result = two.start()
    assert result.verified
    assert "tenant `acme` is not served: " in result.detail
    assert_reloaded(two)
    denied = asked_of(two, "acme")
    assert (denied.effect, denied.cause) == (Effect.DENY, Cause.NO_BUNDLE)


def assert_reloaded(two: Reader) -> None:
    """The other tenant's newest bundle decides, named by the newest revision."""
    found = asked_of(two, "default")
    assert found.rules == ("newer/nobody",)
    assert found.bundle is not None
    assert found.bundle.revision == two.repository.snapshot.version


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_tenants_trouble_twin_without_guard(
    two: Reader, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were roles verified and bundles read as one, acme would stop what the other publishes."""
    two.start()
    TROUBLES[trouble](two)
    before = asked_of(two, "default")
    two.repository.release(2)
    two.serve()
    alone = tenants.Load._verified

    def together(load: tenants.Load, tenant: str) -> tenants.Tenant:
        try:
            return alone(load, tenant)
        except Exception as error:
            raise KeyboardInterrupt from error  # no handler of one tenant's troubles sees it

    monkeypatch.setattr(tenants.Load, "_verified", together)
    with pytest.raises(KeyboardInterrupt):
        two.poll()
    assert asked_of(two, "default").bundle == before.bundle


def test_a_tenant_comes_back(two: Reader) -> None:
    """Once its signers have mended it, the next poll serves it."""
    two.start()
    published(two, b"not an archive")
    two.serve()
    two.start()
    assert asked_of(two, "acme").cause is Cause.NO_BUNDLE
    published(two, acme_archive(3))
    two.serve()
    assert two.poll().verified
    assert asked_of(two, "acme").cause is Cause.RULE


def test_one_tenant_is_not_rolled_back(two: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TUF's cache the state file still knows the role; without our check it goes back."""
    two.start()
    rolled_back(two)
    two.serve()
    two.stop()
    (two.state / "last-good.tar").unlink()
    result = two.start()
    assert "`policies/acme` version 1 is older than 2" in result.detail
    assert asked_of(two, "acme").cause is Cause.NO_BUNDLE
    monkeypatch.setattr(freshness, "refuse_rollback", lambda *_: None)
    two.start()
    assert asked_of(two, "acme").cause is Cause.RULE


@pytest.mark.parametrize("role", ["targets", EMERGENCY])
def test_what_all_share_is_not_rolled_back_for_one(
    two: Reader, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second look without the last snapshot forgives the roles of tenants only."""
    old = two.repository.snapshot.meta[f"{role}.json"]
    two.repository.publish_targets(role)
    two.serve()
    two.start()
    two.repository.snapshot.meta[f"{role}.json"] = old
    two.repository.publish_snapshot()
    two.serve()
    result = two.poll()
    assert result.outcome == "refused"
    assert f"`{role}` version {old.version} is older than {old.version + 1}" in result.detail
    monkeypatch.setattr(freshness, "refuse_rollback", lambda *_: None)
    assert two.poll().outcome == "updated"


def test_a_frozen_tenant_twin_without_guard(two: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were freshness not each tenant's own, the others' heartbeat would keep acme's bundle."""
    two.start()
    withheld(two, "role")
    two.repository.now_s += 3_601
    two.repository.freshen()
    two.serve()
    two.clock.offset_s = 3_601
    assert two.poll().verified
    assert asked_of(two, "acme").cause is Cause.STALE
    whole = Snapshot.is_stale
    monkeypatch.setattr(Snapshot, "is_stale", lambda self, ns, _="": whole(self, ns))
    assert asked_of(two, "acme").cause is Cause.RULE


def test_a_tenants_keys_do_not_sign_for_another_even_if_told_so(
    two: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The targets role delegates all bundles to acme: the other's must be its own role's."""
    two.start()
    repository = two.repository
    wide = repository.targets.delegations
    assert wide is not None
    assert wide.roles is not None
    wide.roles = {ACME: wide.roles[ACME], **wide.roles}
    wide.roles[ACME].paths = ["policies/*/*"]
    evil = CallerEntry("spiffe://example.org/web", ("*",), ("*",), ("user",))
    rules = policy("evil", simulator.rule("nobody", Effect.DENY))
    repository.put(BUNDLE_PATH, archive(9, documents=(rules, CallerPolicy((evil,)))), role=ACME)
    repository.publish_targets("targets", ACME)
    two.serve()
    result = two.poll()
    assert "tenant `default` stays at revision 2" in result.detail
    assert "not ask the role" in result.detail or "not signed by the role" in result.detail
    assert asked_of(two, "default")
    # The twin without guard: whoever TUF lets answer is believed.
    real = trust._delegated
    answering = {POLICIES: ACME, EMERGENCY: EMERGENCY}
    monkeypatch.setattr(trust, "_delegated", lambda work, role: real(work, answering[role]))
    two.poll()
    assert asked_of(two, "default").rules == ("evil/nobody",)


def test_a_tenant_does_not_move_the_others_clock(
    two: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle signed a little ahead moves `now` for nobody else; without the guard it would."""
    two.start()
    published(two, acme_archive(2, signed_at_s=int(time.time()) + 50))
    two.serve()
    two.poll()
    assert two.snapshot is not None
    assert asked_of(two, "acme").cause is Cause.RULE
    assert two.snapshot.clock_mark_ns <= two.clock()
    newest = property(lambda loaded: max(t.signed_at_ns for t in loaded.tenants.values()))
    monkeypatch.setattr(tenants.Loaded, "signed_at_ns", newest)
    two.poll()
    assert two.snapshot.clock_mark_ns > two.clock()


def test_a_tenants_slow_target_takes_its_own_time_only(
    two: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that never sends acme's files, asked for them first, leaves time for the other's."""
    files = dict(two.repository.files)

    def answer(handler: BaseHTTPRequestHandler, data: bytes | None) -> None:
        drip = simulator.silent if "acme/" in handler.path else simulator.honest
        drip(handler, data)

    with simulator.serve_http(files) as server:
        server.answer = answer
        two.settings |= {
            "source": server.url,
            "poll_time_max_s": 3.0,
            "tenants": ("acme", "default"),
        }
        result = two.start()
        assert "tenant `acme` is not served: " in result.detail
        assert asked_of(two, "default")
        # The twin without guard: acme's part is all that is left.
        monkeypatch.setattr(Store, "share", lambda *_: nullcontext())
        two.state = two.folder / "another"
        result = two.start()
        assert not result.verified


def test_a_tenant_that_falls_behind_is_told_once(two: Reader) -> None:
    """Its role expires without any new revision: one warning, and one line when it is back."""
    two.repository.publish_targets(ACME, expires=datetime.now(UTC) + timedelta(seconds=90))
    two.serve()
    two.start()
    out = io.StringIO()
    telemetry = Telemetry(out, two.clock)
    log = PollLog(telemetry)
    log.take(two.poll())
    two.clock.offset_s = 91
    for _ in range(3):
        result = two.poll()
        assert result.outcome == "unchanged"
        log.take(result)
    assert asked_of(two, "default")
    assert asked_of(two, "acme").cause is Cause.STALE
    two.repository.publish_targets(ACME)
    two.serve()
    log.take(two.poll())
    assert asked_of(two, "acme").cause is Cause.RULE
    # Lines are written by a thread of its own.
    telemetry.close()
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    told = [each["event"] for each in events]
    assert told == ["bundle_unchanged", "bundle_unchanged", "tenant_behind", "bundle_updated"]
    assert events[2]["tenant"] == "acme"
    assert "the role `policies/acme` expired" in events[2]["detail"]


def test_workers_keep_tenants_apart_too(two: Reader) -> None:
    """What a worker verifies again: one that runs keeps the tenant's bundle, a new one has none."""
    two.start()
    settings = BundleSettings(str(two.store), two.root, two.state, 1, tenants=("default", "acme"))
    runs = BundleFollower(settings, EvaluationLimits(), two.clock, 1)
    runs.start()
    published(two, b"not an archive")
    two.repository.release(2)
    two.serve()
    assert two.poll().outcome == "updated"
    starts = BundleFollower(settings, EvaluationLimits(), two.clock, 2)
    starts.start()
    assert list(runs.poll().troubles) == ["acme"]
    runs.switch()
    revision = two.repository.snapshot.version
    for worker, acme in ((runs, revision - 2), (starts, None)):
        snapshot = worker.current()
        assert snapshot is not None
        assert snapshot.ref_of("default").revision == revision
        kept = snapshot.tenants.get("acme")
        assert (kept.ref.revision if kept else None) == acme
        assert snapshot.unserved == (frozenset() if acme else {"acme"})
        worker.close()


def test_denials_reach_a_tenant_that_is_left_behind(two: Reader) -> None:
    """The emergency list is everybody's: also of a tenant whose bundle stays as it was."""
    two.start()
    before = asked_of(two, "acme")
    published(two, b"not an archive")
    denials = {"version": 1, "callers": ["spiffe://example.org/web"], "serials": []}
    data = json.dumps({**denials, "subjects": [], "jtis": []}).encode()
    two.repository.put(simulator.DENIALS_PATH, data)
    two.repository.publish_targets(EMERGENCY)
    two.serve()
    assert two.poll().outcome == "updated"
    denied = asked_of(two, "acme")
    assert denied.cause is Cause.CALLER
    # Named by exactly the bytes that decided.
    assert denied.bundle is not None
    assert before.bundle is not None
    assert denied.bundle.revision == before.bundle.revision
    assert denied.bundle.digest != before.bundle.digest


# ---- requests that name no tenant ---------------------------------------------


@pytest.mark.parametrize(
    ("settings", "rules"),
    [
        ({"default_tenant": "default"}, ("documents/everybody-reads",)),
        ({"default_tenant": "acme"}, ("acme/nobody",)),
        ({"caller_tenants": {"spiffe://example.org/web": "acme"}}, ("acme/nobody",)),
        ({"caller_tenants": {"spiffe://example.org/*": "acme"}}, ("acme/nobody",)),
        (
            {"default_tenant": "default", "caller_tenants": {"spiffe://example.org/*": "acme"}},
            ("acme/nobody",),
        ),
        (
            {
                "caller_tenants": {
                    "spiffe://example.org/*": "default",
                    "spiffe://example.org/web": "acme",
                }
            },
            ("acme/nobody",),
        ),
        (
            {
                "default_tenant": "acme",
                "caller_tenants": {"spiffe://example.org/other/*": "default"},
            },
            ("acme/nobody",),
        ),
    ],
)
def test_the_operator_says_whose_request_it_is(
    two: Reader, settings: dict[str, Any], rules: tuple[str, ...]
) -> None:
    """Two tenants know the caller; the configuration decides, the longest match first."""
    two.start(**settings)
    found = asked_of(two, "")
    assert found.rules == rules
    assert two.snapshot is not None
    assert found.bundle == two.snapshot.ref_of(
        rules[0].split("/")[0].replace("documents", "default")
    )
    # And a request that names its tenant is asked of that.
    assert asked_of(two, "acme").rules == ("acme/nobody",)
    assert asked_of(two, "default").rules == ("documents/everybody-reads",)


def test_nothing_said_is_a_denial_that_says_what_to_send(two: Reader) -> None:
    """DENY(INVALID), about `tenant`, whichever caller policies list the caller."""
    two.start()
    answer = answered(two, "")
    assert answer.decision.cause is Cause.INVALID
    assert answer.invalid is not None
    assert answer.invalid.field == "tenant"
    assert "send `tenant`" in str(answer.invalid)


def test_no_bundle_makes_anothers_request_ambiguous(
    two: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acme lists the other's caller: its requests without a tenant are answered as before."""
    theirs = CallerEntry("spiffe://example.org/acme", ("*",), ("*",), ("user",), tenants=("acme",))
    apart = archive(1, documents=(policy("acme"), CallerPolicy((theirs,))))
    published(two, apart)
    two.serve()
    two.start(default_tenant="default")
    before = asked_of(two, "")
    assert before
    published(two, acme_archive(2))
    two.serve()
    two.poll()
    assert asked_of(two, "").rules == before.rules
    # The twin: were the caller policies asked which tenant is meant, it would be refused.
    monkeypatch.setattr(Snapshot, "home", lambda *_: None)
    assert asked_of(two, "").cause is Cause.INVALID


def test_the_operators_tenant_lets_nobody_in(two: Reader) -> None:
    """A caller that the tenant's caller policy does not list is denied, whatever is configured."""
    two.start(caller_tenants={"spiffe://example.org/stranger": "acme"}, default_tenant="default")
    for tenant in ("", "acme", "default"):
        found = answered(two, tenant, "spiffe://example.org/stranger").decision
        assert (found.effect, found.cause) == (Effect.DENY, Cause.CALLER)
    only = CallerEntry("spiffe://example.org/acme", ("*",), ("*",), ("user",), tenants=("acme",))
    published(two, archive(2, documents=(policy("acme"), CallerPolicy((only,)))))
    two.serve()
    two.poll()
    # Acme's caller, whom the operator gives to the default tenant, which does not list it.
    found = answered(two, "", only.id).decision
    assert (found.effect, found.cause) == (Effect.DENY, Cause.CALLER)
    assert answered(two, "acme", only.id).decision


def test_a_default_tenant_without_a_bundle_is_no_bundle(two: Reader) -> None:
    """Nobody's request goes to another tenant because its own cannot be served."""
    published(two, b"not an archive")
    two.serve()
    two.start(default_tenant="acme")
    assert asked_of(two, "").cause is Cause.NO_BUNDLE
    assert asked_of(two, "default")


def test_the_record_names_the_tenant_that_was_meant(two: Reader) -> None:
    """So that a question without one can be asked again as it was answered."""
    two.start(default_tenant="acme")
    recorder = MemoryRecorder()
    decision = answered(two, "", recorder=recorder).decision
    assert decision.bundle is not None
    entry = recorder.entries[-1]
    assert entry.tenant == "acme"
    assert entry.bundle.digest == decision.bundle.digest


def test_a_batch_over_tenants_names_each_bundle(two: Reader) -> None:
    """One record; each of its questions is found with the bundle that decided it."""
    two.start(default_tenant="acme")
    recorder = MemoryRecorder()
    point = BatchDecisionPoint(KeeperSource(two), recorder, clock=KeeperClock(two))
    named = ["default", "acme", ""]
    questions = [replace(question(tenant), request_id=f"q-{i}") for i, tenant in enumerate(named)]
    batch = Batch("b", Semantic.EXECUTE_ALL, questions)
    answers = asyncio.run(point.answer_batch(batch, Caller("spiffe://example.org/web"), 1e9))
    assert two.snapshot is not None
    refs = [two.snapshot.ref_of(name or "acme") for name in named]
    assert [answer.decision.bundle for answer in answers] == refs
    singles = single_entries(recorder.entries[-1])
    assert [each.tenant for each in singles] == ["default", "acme", "acme"]
    assert [each.bundle.digest for each in singles] == [ref.digest for ref in refs]


def test_a_tenants_broken_bundle_twin_without_guard(
    two: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were entries for other tenants taken, acme's signers would let callers in elsewhere."""
    stranger = CallerEntry("spiffe://example.org/acme", ("*",), ("*",), ("user",))
    evil = archive(2, documents=(policy("acme"), CallerPolicy((stranger,))))
    two.repository.put(ACME_PATH, evil)
    two.repository.publish_targets(ACME)
    two.serve()
    two.start()
    assert two.decide(caller=stranger.id).cause is Cause.CALLER
    monkeypatch.setattr("pdp.bundle.tenants.refuse_other_tenants", lambda *_: None)
    two.start()
    assert two.snapshot is not None
    assert two.snapshot.callers.tenants(stranger.id) == {"default"}


def test_no_tenant_that_can_be_served_is_no_bundle(two: Reader) -> None:
    """Then the load is refused as with one tenant."""
    for path in (BUNDLE_PATH, ACME_PATH):
        two.repository.put(path, b"not an archive")
    two.repository.publish_targets(POLICIES, ACME)
    two.serve()
    with pytest.raises(BundleRefusedError, match="no tenant can be served"):
        two.start()
