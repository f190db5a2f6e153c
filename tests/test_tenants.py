"""Several tenants in one PDP, from a real repository: one tenant's bundle is its own affair."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Targets

from pdp.callers import CallerEntry, CallerPolicy
from pdp.decision_point import DecisionPoint
from pdp.errors import BundleRefusedError
from pdp.model import Action, Caller, Cause, Decision, Effect, Request, Resource, Subject
from tests.simulators import repository as simulator
from tests.simulators.bundle_reader import Reader
from tests.simulators.decision_points import MemoryRecorder
from tests.simulators.repository import BUNDLE_PATH, POLICIES, archive, callers, policy


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


def asked_of(reader: Reader, tenant: str) -> Decision:
    """The decision on reading a document, as the decision point makes it."""
    point = DecisionPoint(KeeperSource(reader), MemoryRecorder(), clock=KeeperClock(reader))
    request = Request(
        Subject("user", "alice"), Action("read"), Resource("document", "1"), tenant=tenant
    )
    caller = Caller("spiffe://example.org/web")
    return asyncio.run(point.authorize(request, caller, float("inf")))


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


BROKEN_BUNDLES: dict[str, Callable[[], bytes]] = {
    "no archive": lambda: b"not an archive",
    "signed ahead": lambda: acme_archive(2, signed_at_s=int(time.time()) + 86_400),
    "for a newer PDP": lambda: acme_archive(2, min_pdp="99.0.0"),
    "admits to another tenant": lambda: acme_archive(2, "default"),
    "admits to all": lambda: acme_archive(2, "*"),
    "no caller policy": lambda: archive(2, documents=(policy("acme"),)),
    "no policy": lambda: archive(2, documents=(callers(),)),
}


@pytest.mark.parametrize("broken", BROKEN_BUNDLES)
def test_a_tenants_broken_bundle_is_its_own_loss(two: Reader, broken: str) -> None:
    """At a poll and at a start: the other tenant's answers stay, its own are DENY(NO_BUNDLE)."""
    two.start()
    before = asked_of(two, "default")
    assert before
    assert asked_of(two, "acme").cause is Cause.RULE
    two.repository.put(ACME_PATH, BROKEN_BUNDLES[broken]())
    two.repository.publish_targets(ACME)
    two.serve()
    for load in (two.poll, two.start):
        result = load()
        assert result.verified
        assert "tenant `acme` is not served: " in result.detail
        after = asked_of(two, "default")
        assert (after.effect, after.rules) == (before.effect, before.rules)
        denied = asked_of(two, "acme")
        assert (denied.effect, denied.cause) == (Effect.DENY, Cause.NO_BUNDLE)
    two.repository.put(ACME_PATH, acme_archive(3))
    two.repository.publish_targets(ACME)
    two.serve()
    assert two.poll().verified
    assert asked_of(two, "acme").cause is Cause.RULE


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
