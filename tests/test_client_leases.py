"""Permits that a client gives again without asking: to the same question, and for a moment.

First the cache by itself, with times as numbers; then both clients against a real server.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.authoring.checker import Checker
from pdp.authoring.compilation import compile_document
from pdp.authoring.formatting import format_document
from pdp.authoring.problems import Problems
from pdp.callers import CallerPolicy
from pdp.model import (
    Action,
    BundleRef,
    Cause,
    Decision,
    Effect,
    Lease,
    Obligation,
    RecordRef,
    Request,
    Resource,
    Subject,
)
from pdp.policy import PolicySet
from pdp.snapshot import Snapshot
from pdp.v1 import authorization_pb2 as pb
from pdp.values import NANOS, Uint, Value, canonical
from pdp_client import AsyncClient, Client, ConfigurationError, Question, _core, _leases
from pdp_client._breaker import Evidence
from pdp_client._core import Outcome, Refusal, Status
from pdp_client._leases import Asked, Leases, asked, asker_of, encoding
from tests.conftest import ROOT
from tests.simulators.decision_points import RunningServer, now_snapshot, running_server
from tests.simulators.faults import honest_permit
from tests.test_leases import permit, policy_set

ALICE, REPORT = Subject("user", "alice"), Resource("document", "7")
REF = BundleRef(7, bytes(32))
RECORD = RecordRef("pdp/0/1", 1, bytes(32))
SECOND = Lease(5 * NANOS, 4 * NANOS)
GENEROUS_S = 5.0


def granted(bundle: BundleRef = REF, lease: Lease | None = SECOND, **changes: Any) -> Decision:
    """A permit of a PDP, for a second."""
    made = Decision(Effect.PERMIT, Cause.RULE, ("p/a",), (), "id", bundle, RECORD, lease=lease)
    return dataclasses.replace(made, **changes)


def refused(bundle: BundleRef = REF) -> Decision:
    """A denial of a PDP."""
    return Decision(Effect.DENY, Cause.DEFAULT, bundle=bundle)


def question(context: Any = None, request_id: str = "q", **changes: Any) -> Request:
    """A question."""
    made = Request(ALICE, Action("read"), REPORT, context or {}, request_id=request_id)
    return dataclasses.replace(made, **changes)


def about(request: Request | None = None, asker: bytes = b"me", at: float = 100.0) -> Asked:
    """As the endpoint asks: by the bytes that are sent."""
    return asked(_core.encoded(request or question()), asker, at)


def cache(decision: Decision | None = None, at: float = 100.0) -> Leases:
    """A cache with one permit."""
    leases = Leases(10)
    leases.keep(about(at=at), decision or granted())
    return leases


# -- the same question ------------------------------------------------------------------

scalars: Any = st.sampled_from(
    [None, False, True, 0, 1, Uint(0), Uint(1), 0.0, -0.0, 1.0, "", "1", "true", b"", b"1"]
)
values: Any = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=4,
)
maps: Any = st.dictionaries(st.sampled_from(["a", "b", ""]), values, max_size=2)
names = st.sampled_from(["a", "b", "ab", "a\x00"])
requests = st.builds(
    Request,
    st.builds(Subject, names, names, maps),
    st.builds(Action, names, maps),
    st.builds(Resource, names, names, maps),
    maps,
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["1", "2"]),
    st.sampled_from(["", "a", "b"]),
)


def whole(request: Request) -> bytes:
    """All of a question but its id, by the law's own encoding."""
    parts: list[Any] = [
        *(
            [each.type, each.id, dict(each.properties)]
            for each in (request.subject, request.resource)
        ),
        [request.action.name, dict(request.action.properties)],
        *(dict(request.context), request.tenant, request.subject_token),
    ]
    return canonical(parts)


askers = st.builds(
    asker_of,
    st.sampled_from([b"", b"\x01"]),
    st.integers(0, 1),
    st.sets(st.tuples(st.sampled_from(["", "a", "ab"]), st.sampled_from(["", "b", "bb"]))),
)
refs = st.builds(BundleRef, st.integers(0, 2), st.sampled_from([bytes(32), b"\x01" * 32]))


@settings(max_examples=400)
@given(st.tuples(requests, askers, refs), st.tuples(requests, askers, refs))
def test_different_questions_never_share_a_lease(
    one: tuple[Request, bytes, BundleRef], other: tuple[Request, bytes, BundleRef]
) -> None:
    """Equal encodings exactly where question, asker and bundle are the same to the law."""
    keys = [encoding(about(request, asker), ref) for request, asker, ref in (one, other)]
    same = (whole(one[0]), *one[1:]) == (whole(other[0]), *other[1:])
    assert (keys[0] == keys[1]) is same


TWINS: list[tuple[Value, Value]] = [
    (1, 1.0),
    (1, True),
    (1, Uint(1)),
    (0, False),
    (0.0, -0.0),
    ("1", 1),
    ("a", b"a"),
    ([], {}),
    ([1, 2], [2, 1]),
    ([[1], 2], [1, [2]]),
    (None, ""),
    ({"a": {}}, {"a": None}),
]


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_values_that_look_alike_are_different_questions(one: Value, other: Value) -> None:
    """What Python takes for equal, CEL does not."""
    leases = Leases(10)
    leases.keep(about(question({"v": one})), granted())
    assert leases.find(about(question({"v": one})), 100.5) is not None
    assert leases.find(about(question({"v": other})), 100.5) is None
    assert leases.find(about(question({})), 100.5) is None


def test_values_that_look_alike_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """If questions were compared as Python compares, a bool would be answered as a number is."""
    pairs = [(one, other) for one, other in TWINS if one == other]
    assert len(pairs) >= 4

    def loose(asked: Asked, bundle: BundleRef) -> bytes:
        return repr(hash(asked.asker)).encode()

    monkeypatch.setattr(_leases, "encoding", loose)
    leases = Leases(10)
    leases.keep(about(question({"v": pairs[0][0]})), granted())
    assert leases.find(about(question({"v": pairs[0][1]})), 100.5) is not None


def test_the_order_of_attributes_and_the_id_do_not_matter() -> None:
    """The same question under another id, with its map in another order."""
    leases = Leases(10)
    leases.keep(about(question({"a": 1, "b": 2}, request_id="1")), granted())
    assert leases.find(about(question({"b": 2, "a": 1}, request_id="2")), 100.5) is not None


@pytest.mark.parametrize("field", ["tenant", "subject_token"])
def test_another_tenant_or_token_is_another_question(field: str) -> None:
    """A token that was changed proves something else."""
    leases = cache()
    assert leases.find(about(question(**{field: "x"})), 100.5) is None


def test_another_certificate_is_another_asker() -> None:
    """The fingerprint, how often it was renewed, and what can be met."""
    base = asker_of(b"1", 0, {("a", "b")})
    others = [
        asker_of(b"2", 0, {("a", "b")}),
        asker_of(b"1", 1, {("a", "b")}),
        asker_of(b"1", 0, ()),
    ]
    leases = Leases(10)
    leases.keep(about(asker=base), granted())
    assert leases.find(about(asker=base), 100.5) is not None
    assert [leases.find(about(asker=other), 100.5) for other in others] == [None] * 3


# -- for a moment -----------------------------------------------------------------------


def test_a_lease_ends_when_it_says_counted_from_the_asking() -> None:
    """To the millisecond, whatever the way took; and an answer is marked."""
    leases = cache()
    for now in (100.0, 100.999):
        found = leases.find(about(at=now), now)
        assert found is not None
        assert found.leased
    assert leases.find(about(at=101.0), 101.0) is None
    assert len(leases) == 0
    assert cache().find(about(), float("nan")) is None


def test_a_lease_ends_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """If its end were not counted, it would be there for ever."""
    monkeypatch.setattr(_leases, "lasts_s", lambda lease: float("inf"))
    assert cache().find(about(), 1e9) is not None


@given(st.integers(1, 2**62), st.integers(-(2**62), 2**62))
def test_no_lease_is_longer_than_five_seconds(left: int, skew: int) -> None:
    """Whatever the PDP says, and however wrong its clock is: only a difference of it counts."""
    leases = cache(granted(lease=Lease(skew + left, skew)))
    assert leases.find(about(), 105.0) is None
    found = leases.find(about(), 100.0) if left else None
    assert found is None or found.leased


NOT_KEPT = {
    "no lease": granted(lease=None),
    "an obligation": granted(obligations=(Obligation("log", "custom", {}),)),
    "a denial": dataclasses.replace(granted(), effect=Effect.DENY),
    "no bundle": granted(bundle=None),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("why", NOT_KEPT)
def test_nothing_else_is_kept(why: str) -> None:
    """Whatever a PDP says besides: a permit without duties, with a lease and a bundle."""
    leases = cache()  # the revision is known
    leases.keep(about(question({"x": 1})), NOT_KEPT[why])
    assert leases.find(about(question({"x": 1})), 100.1) is None


def test_the_oldest_go_first() -> None:
    """The cache has an end."""
    leases = Leases(3)
    for number in range(10):
        leases.keep(about(question({"n": number})), granted())
    assert len(leases) == 3


# -- of the newest policies -------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [granted(BundleRef(8, bytes(32))), refused(BundleRef(8, bytes(32)))]
)
def test_a_higher_revision_ends_every_lease(answer: Decision) -> None:
    """Seen in any answer, a denial too; and of another tenant as well."""
    leases = cache()
    leases.see("", answer)
    assert leases.find(about(), 100.1) is None
    assert len(leases) == 0


def test_a_higher_revision_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """If it were not seen, the old permit would still be given."""
    leases = cache()
    monkeypatch.setattr(Leases, "see", lambda *_: False)
    leases.keep(about(question({"x": 1})), refused(BundleRef(8, bytes(32))))
    assert leases.find(about(), 100.1) is not None


def test_a_lower_revision_is_never_kept() -> None:
    """A PDP that is behind has its permits asked for anew; those of the newer one stay."""
    leases = cache()
    leases.keep(about(question({"x": 1})), granted(BundleRef(6, bytes(32))))
    assert leases.find(about(question({"x": 1})), 100.1) is None
    assert leases.find(about(), 100.1) is not None


def test_one_revision_with_two_contents_ends_every_lease() -> None:
    """Emergency denials are part of the digest; whoever differs is not chosen between."""
    leases = cache()
    leases.keep(about(question({"x": 1})), granted(BundleRef(7, b"\x01" * 32)))
    assert len(leases) == 0


def test_made_up_tenants_fill_no_memory() -> None:
    """Of a denial nothing is learnt about a tenant that was not known; of permits, so much."""
    leases = Leases(10)
    for number in range(3_000):
        leases.see(f"made-up-{number}", refused())
        leases.keep(about(question(tenant=f"t{number}")), granted())
    assert len(leases._seen) <= _leases.TENANTS_MAX


# -- both clients -----------------------------------------------------------------------


def leasing(lease_s: int = 5, *, revision: int = 7) -> Snapshot:
    """Anyone reads documents, under a lease."""
    policies: PolicySet = policy_set(permit(lease_s=lease_s))
    fresh = now_snapshot(policies={"default": policies})
    return dataclasses.replace(fresh, ref=BundleRef(revision, bytes(32)))


def files(running: RunningServer, folder: Path) -> dict[str, Path]:
    """What a client is made with."""
    certificate, key = running.pep.write(folder, "pep")
    trust = folder / "authorities.pem"
    trust.write_bytes(running.authority.bundle_pem)
    return {"trust_bundle": trust, "certificate": certificate, "key": key}


class Asking:
    """One question, asked through either client, and how often the PDP heard it."""

    def __init__(self, client: Any, running: RunningServer) -> None:
        self.client, self.running = client, running

    async def ask(self, **changes: Any) -> Decision:
        """Once."""
        client: Any = self.client
        if isinstance(client, AsyncClient):
            return await client.authorize(ALICE, "read", REPORT, **changes)
        made: Decision = await asyncio.to_thread(client.authorize, ALICE, "read", REPORT, **changes)
        return made

    @property
    def heard(self) -> int:
        """How often the PDP answered."""
        return len(self.running.recorder.entries)


async def close(client: Any) -> None:
    """Either of them."""
    if isinstance(client, Client):
        await asyncio.to_thread(client.close)
    else:
        await client.close()


KINDS = pytest.mark.parametrize("kind", [Client, AsyncClient])


def played(
    folder: Path, kind: Any, play: Any, snapshot: Snapshot | None = None, **options: Any
) -> None:
    """A play with a server and a client."""

    async def run() -> None:
        async with running_server(folder, snapshot=snapshot or leasing()) as running:
            options.setdefault("lease_cache", 100)
            address = f"localhost:{running.address.port}"
            client = kind(address, **files(running, folder), budget_s=GENEROUS_S, **options)
            try:
                await play(Asking(client, running))
            finally:
                await close(client)

    asyncio.run(run())


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock that leases are looked up by: it stands still, and moves when it is told to."""
    moment = [0.0]
    started = time.monotonic()

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return started + moment[0]

    monkeypatch.setattr("pdp_client._leasing.time", Clock)
    return moment


@KINDS
def test_a_permit_is_given_again_without_asking(
    tmp_path: Path, kind: Any, still: list[float]
) -> None:
    """Marked, counted, with the record of the first; and asked again when the lease is over."""

    async def play(asking: Asking) -> None:
        first, second = await asking.ask(), await asking.ask()
        assert (bool(first), first.leased) == (True, False)
        assert (bool(second), second.leased) == (True, True)
        assert (second.record, second.decision_id) == (first.record, first.decision_id)
        assert (asking.heard, asking.client.leased, asking.client.permits) == (1, 1, 2)
        # A question that differs is asked; so is one that asks why.
        assert not (await asking.ask(context={"a": 1})).leased
        await asking.ask(explain=True)
        assert asking.heard == 3
        still[0] = 60.0
        assert not (await asking.ask()).leased
        assert asking.heard == 4

    played(tmp_path, kind, play)


@KINDS
def test_leases_are_off_by_default(tmp_path: Path, kind: Any, still: list[float]) -> None:
    """A client that does not want them asks, whatever the rule grants; and no rule, no lease."""

    async def play(asking: Asking) -> None:
        assert [(await asking.ask()).leased for _ in range(2)] == [False, False]
        assert asking.heard == 2

    played(tmp_path, kind, play, lease_cache=0)
    played(tmp_path, kind, play, leasing(0))


@KINDS
def test_an_open_breaker_is_not_spoken_for(tmp_path: Path, kind: Any, still: list[float]) -> None:
    """While the PDP fails too often, a lease permits nothing; when it is back, it may again."""

    async def play(asking: Asking) -> None:
        await asking.ask()
        breaker = asking.client._breaker
        for _ in range(20):
            breaker.learn(0, time.monotonic(), Evidence.FAILED)
        assert breaker.is_open
        # Not the one that is let through to try.
        breaker._try_at = time.monotonic() + 3600
        denied = await asking.ask()
        assert (denied.cause, asking.client.leased, asking.heard) == (Cause.UNREACHABLE, 0, 1)

    played(tmp_path, kind, play)


def test_an_open_breaker_twin_without_guard(
    tmp_path: Path, still: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the breaker were not looked at, the permit would be given."""

    async def play(asking: Asking) -> None:
        await asking.ask()
        breaker = asking.client._breaker
        for _ in range(20):
            breaker.learn(0, time.monotonic(), Evidence.FAILED)
        breaker._try_at = time.monotonic() + 3600
        monkeypatch.setattr(type(breaker), "is_open", False)
        assert (await asking.ask()).leased

    played(tmp_path, AsyncClient, play)


@KINDS
def test_a_client_that_is_closed_gives_nothing_again(
    tmp_path: Path, kind: Any, still: list[float]
) -> None:
    """Closing denies all later calls, under a lease or not."""

    async def play(asking: Asking) -> None:
        await asking.ask()
        await close(asking.client)
        assert (await asking.ask()).cause is Cause.UNREACHABLE

    played(tmp_path, kind, play)


@KINDS
def test_a_new_revision_ends_leases_in_a_client(
    tmp_path: Path, kind: Any, still: list[float]
) -> None:
    """An answer to any other question shows it, alone or in a batch."""

    async def play(asking: Asking) -> None:
        for revision, batch in ((8, False), (9, True)):
            await asking.ask()
            assert (await asking.ask()).leased
            asking.running.snapshots.snapshot = leasing(revision=revision)
            if batch:
                # Denied, for it may not ask in batches; a denial names the bundle all the same.
                questions = [Question(ALICE, "write", REPORT)]
                found = asking.client.authorize_batch
                if isinstance(asking.client, Client):
                    await asyncio.to_thread(found, questions)
                else:
                    await found(questions)
            else:
                await asking.ask(context={"other": revision})
            assert not (await asking.ask()).leased

    played(tmp_path, kind, play)


@KINDS
def test_a_renewed_certificate_ends_leases(
    tmp_path: Path, kind: Any, still: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was granted to the old certificate is not given to the new one."""
    monkeypatch.setattr("pdp_client._endpoint.LOOK_INTERVAL_S", 0.0)

    async def play(asking: Asking) -> None:
        await asking.ask()
        assert (await asking.ask()).leased
        asking.running.authority.issue("pep").write(tmp_path, "pep")
        assert not (await asking.ask()).leased
        assert asking.heard == 2

    played(tmp_path, kind, play)


def test_a_renewed_certificate_twin_without_guard(
    tmp_path: Path, still: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If who asks were no part of it, the new certificate would get the permit of the old."""
    monkeypatch.setattr("pdp_client._endpoint.LOOK_INTERVAL_S", 0.0)
    monkeypatch.setattr("pdp_client._leasing.LeasingEndpoint._asker", lambda self: b"anyone")

    async def play(asking: Asking) -> None:
        await asking.ask()
        asking.running.authority.issue("pep").write(tmp_path, "pep")
        assert (await asking.ask()).leased

    played(tmp_path, AsyncClient, play)


def test_answers_of_batches_and_streams_carry_leases(tmp_path: Path) -> None:
    """As a question alone; a client keeps only those of questions alone."""

    async def run() -> None:
        (given_entry,) = now_snapshot().callers.entries
        entry = dataclasses.replace(given_entry, may=frozenset({"batch"}))
        snapshot = dataclasses.replace(leasing(), callers=CallerPolicy((entry,)))
        async with running_server(tmp_path, snapshot=snapshot) as running:
            target, made = f"localhost:{running.address.port}", files(running, tmp_path)
            async with AsyncClient(target, **made, budget_s=GENEROUS_S, micro_batching=True) as one:  # type: ignore[arg-type]
                alone = await one.authorize(ALICE, "read", REPORT)
                answers = await one.authorize_batch([Question(ALICE, "read", REPORT)])
        batched = answers[0]
        assert isinstance(batched, Decision)
        assert alone.lease is not None
        assert batched.lease is not None
        for entry_of in (running.recorder.entries[0], running.recorder.entries[1].batch.items[0]):
            assert entry_of.HasField("lease_until")

    asyncio.run(run())


def test_a_lease_cache_is_a_number_of_permits(tmp_path: Path) -> None:
    """Anything else is refused before files are read; so is one beside micro-batching."""
    nowhere: dict[str, Any] = dict.fromkeys(("trust_bundle", "certificate", "key"), tmp_path / "x")
    for wrong in (True, "10", 1.0, None):
        with pytest.raises(TypeError, match="lease_cache"):
            Client("localhost:1", **nowhere, lease_cache=wrong)  # type: ignore[arg-type]
    for wrong in (-1, 100_001):
        with pytest.raises(ConfigurationError, match="lease_cache"):
            Client("localhost:1", **nowhere, lease_cache=wrong)
    with pytest.raises(ConfigurationError, match="micro_batching"):
        AsyncClient("localhost:1", **nowhere, lease_cache=1, micro_batching=True)


# -- what an attacker keeps -------------------------------------------------------------


def leased_answer(call: _core.Call) -> bytes:
    """The PDP's permit for this call, with a lease."""
    answer = honest_permit(pb.AuthorizeRequest.FromString(call.message), call.message)
    answer.lease_until.seconds, answer.decided_at.seconds = 105, 100
    return answer.SerializeToString()


def test_a_leased_answer_is_no_answer_to_another_question() -> None:
    """Replayed to the same question under its next id, or to another, it is not believed."""
    first = _core.begin(question(), 0.0, 1.0)
    honest = Outcome(Status.OK, leased_answer(first), "", 0.5)
    assert _core.conclude(first, honest, ()).lease == Lease(105 * NANOS, 100 * NANOS)
    for other in (question(request_id="next"), question({"a": 1})):
        with pytest.raises(Refusal):
            _core.conclude(_core.begin(other, 0.0, 1.0), honest, ())


@given(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1)))
def test_a_lease_that_makes_no_sense_is_none(until: tuple[int, int]) -> None:
    """The permit stands, and is asked for again; no arithmetic of it fails."""
    first = _core.begin(question(), 0.0, 1.0)
    answer = pb.AuthorizeResponse.FromString(leased_answer(first))
    answer.lease_until.seconds, answer.lease_until.nanos = until
    outcome = Outcome(Status.OK, answer.SerializeToString(), "", 0.5)
    decision = _core.conclude(first, outcome, ())
    sensible = 0 <= until[1] < NANOS and until[0] * NANOS + until[1] > 100 * NANOS
    assert (decision.lease is not None) is sensible
    leases = Leases(1)
    leases.keep(about(), decision)
    assert leases.find(about(), 105.0) is None


# -- the page ---------------------------------------------------------------------------


def test_the_rule_that_the_page_shows_grants_a_lease() -> None:
    """The document compiles, and is laid out as `pdp fmt` would."""
    (text,) = re.findall(r"(?ms)^```yaml\n(.*?)^```$", (ROOT / "docs" / "client.md").read_text())
    with Checker() as checker:
        found = compile_document("reports.yaml", text.encode(), checker)
    assert not found.problems
    assert found.policies[0].rules[0].lease_s == 2
    assert format_document("reports.yaml", text.encode(), Problems()) == text
