"""Certificates, keys, authorities and bundles are exchanged while the PDP serves."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp import wire
from pdp.authoring.throwaway import IssuedSvid, ThrowawayAuthority
from pdp.config.settings import Limits, TlsSettings
from pdp.errors import ConfigurationError
from pdp.identity import rotation, trust
from pdp.identity.rotation import IdentityFiles, Look
from pdp.identity.server_svid import ServerSvid, load_server_svid
from pdp.identity.svid import SvidVerifier
from pdp.model import Effect
from pdp.server.handshake import Handshakes
from pdp.server.listener import connection_age_s
from pdp.server.upkeep import IdentityWatch
from pdp.telemetry import Telemetry
from pdp.v1 import authorization_pb2 as pb
from pdp.values import NANOS
from tests.conftest import Ledger
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.decision_points import (
    AUTHORIZE,
    HandClock,
    RunningServer,
    ShiftedClock,
    message,
    running_server,
)
from tests.simulators.repository import POLICIES, archive
from tests.test_process import BUNDLE_PATH, DOCUMENTS, QUESTION, House, house

__all__ = ["house"]

OLD, NEW = ThrowawayAuthority(TRUST_DOMAIN), ThrowawayAuthority(TRUST_DOMAIN)
BOTH_PEM = OLD.bundle_pem + NEW.bundle_pem


def own(authority: ThrowawayAuthority, **options: timedelta) -> IssuedSvid:
    """A certificate for the server."""
    return authority.issue("pdp", dns_names=["localhost"], addresses=["127.0.0.1"], **options)


FIRST, SECOND, AFTER = own(OLD), own(OLD), own(NEW)


class Files:
    """The three files, and what watches them."""

    def __init__(
        self, folder: Path, shown: IssuedSvid = FIRST, trust_pem: bytes = OLD.bundle_pem
    ) -> None:
        self.tls = TlsSettings(
            TRUST_DOMAIN, folder / "server.pem", folder / "server.key", folder / "trust.pem"
        )
        self.show(shown)
        self.tls.trust_bundle.write_bytes(trust_pem)
        self.watched = IdentityFiles(self.tls, self.load(), time.time_ns)

    def load(self) -> ServerSvid:
        """As at a start."""
        return load_server_svid(self.tls, time.time_ns())

    def show(self, shown: IssuedSvid) -> None:
        """Write certificate and key."""
        self.tls.certificate.write_bytes(shown.certificate_pem)
        self.tls.key.write_bytes(shown.key_pem)

    def settled(self) -> Look:
        """Look until nothing is new."""
        while (look := self.watched.look()).settling:
            pass
        return look


# -- files ----------------------------------------------------------------------------------------


def test_files_that_stay_are_no_change(tmp_path: Path) -> None:
    """Written again with the same content, looked at again: nothing happens."""
    files = Files(tmp_path)
    before = files.watched.identity
    files.show(FIRST)
    for _ in range(3):
        assert files.watched.look() == Look()
    assert files.watched.identity is before


def test_a_new_certificate_and_a_new_authority_are_taken(tmp_path: Path) -> None:
    """The whole of a rotation, step by step; what is in force is what a start would read."""
    files = Files(tmp_path)
    files.show(SECOND)
    assert files.settled().changed == ("certificate",)
    assert files.watched.identity == files.load()
    files.tls.trust_bundle.write_bytes(BOTH_PEM)
    assert files.settled().changed == ("trust bundle",)
    assert files.watched.identity == files.load()
    files.show(AFTER)
    files.tls.trust_bundle.write_bytes(NEW.bundle_pem)
    assert files.settled().changed == ("trust bundle", "certificate")
    assert files.watched.identity == files.load()
    assert files.settled() == Look()


def test_bytes_count_only_when_two_looks_saw_them(tmp_path: Path) -> None:
    """A trust bundle of which one half is written is whole PEM; the other half comes in time."""
    files = Files(tmp_path)
    files.tls.trust_bundle.write_bytes(NEW.bundle_pem)
    assert files.watched.look() == Look(settling=True)
    files.tls.trust_bundle.write_bytes(BOTH_PEM)
    assert files.watched.look() == Look(settling=True)
    assert files.watched.identity.trust_pem == OLD.bundle_pem
    assert files.watched.look() == Look(("trust bundle",))
    assert files.watched.identity.trust_pem == BOTH_PEM


def test_bytes_count_only_when_two_looks_saw_them_twin_without_guard(tmp_path: Path) -> None:
    """Believing the first look, half a bundle is in force."""
    files = Files(tmp_path)
    files.tls.trust_bundle.write_bytes(NEW.bundle_pem)
    files.watched._own._seen = rotation._digest(NEW.bundle_pem)
    files.watched.look()
    assert files.watched.identity.trust_pem == NEW.bundle_pem


def check_cut(folder: Path, file: str, cut: int) -> Look:
    """One file stays cut off: nothing new is in force, and it is told."""
    files = Files(folder, trust_pem=BOTH_PEM)
    before = files.watched.identity
    path: Path = getattr(files.tls, file)
    # Spaces do not make a file another one.
    whole = path.read_bytes().rstrip()
    path.write_bytes(whole[: cut % len(whole)])
    look = files.settled()
    assert files.watched.identity == before
    assert look.changed == ()
    assert len(look.problems) == 1
    assert f"tls.{file}" in look.problems[0]
    return look


@given(file=st.sampled_from(("certificate", "key", "trust_bundle")), cut=st.integers(0, 10_000))
@settings(max_examples=150, deadline=None)
def test_a_file_that_is_cut_off_changes_nothing(
    file: str, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Wherever the writer stopped: the old ones stay, whatever was wrong is told."""
    files_folder = tmp_path_factory.mktemp("cut")
    if file == "trust_bundle" and cut % len(BOTH_PEM.rstrip()) in border(OLD.bundle_pem):
        return  # whole PEM: what the second look is for
    check_cut(files_folder, file, cut)


def border(pem: bytes) -> range:
    """Lengths at which the first of two certificates is whole and the second is not begun."""
    return range(len(pem) - 1, len(pem) + len(b"-----BEGIN"))


def test_a_file_that_is_cut_off_twin_without_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library skips a certificate without an end, and an authority is gone."""
    from cryptography import x509

    lenient: Callable[[bytes], tuple[x509.Certificate, ...]] = lambda pem: tuple(  # noqa: E731
        x509.load_pem_x509_certificates(pem)
    )
    monkeypatch.setattr(trust, "load_pem_certificates", lenient)
    with pytest.raises(AssertionError):
        check_cut(tmp_path, "trust_bundle", len(OLD.bundle_pem) + 300)


def test_a_certificate_without_its_key_changes_nothing(tmp_path: Path) -> None:
    """Until the key comes, the old pair is shown; told once, in words that say which files."""
    files = Files(tmp_path)
    before = files.watched.identity
    files.tls.certificate.write_bytes(SECOND.certificate_pem)
    look = files.settled()
    assert files.watched.identity is before
    assert "is not the key of" in look.problems[0]
    assert files.watched.look() == look
    files.tls.key.write_bytes(SECOND.key_pem)
    assert files.settled() == Look(("certificate",))
    assert files.watched.identity.key_pem == SECOND.key_pem


@pytest.mark.parametrize(
    "shown",
    [own(NEW), own(OLD, lifetime=timedelta(minutes=-1)), OLD.issue_with([])],
    ids=["of_another_authority", "expired", "without_identity"],
)
def test_a_certificate_that_breaks_a_rule_changes_nothing(
    shown: IssuedSvid, tmp_path: Path
) -> None:
    """Our own certificate is held to the rules after the start as before it."""
    files = Files(tmp_path)
    files.show(shown)
    look = files.settled()
    assert (look.changed, len(look.problems)) == ((), 1)
    assert files.watched.identity.certificate_pem == FIRST.certificate_pem


def test_an_authority_that_is_removed_goes_even_if_ours_is_from_it(tmp_path: Path) -> None:
    """A removed authority may be a stolen one: our own certificate is no reason to wait."""
    files = Files(tmp_path, trust_pem=BOTH_PEM)
    files.tls.trust_bundle.write_bytes(NEW.bundle_pem)
    look = files.settled()
    assert files.watched.identity.trust_pem == NEW.bundle_pem
    assert look.changed == ("trust bundle",)
    assert "does not lead to an authority" in look.problems[0]
    assert files.watched.identity.certificate_pem == FIRST.certificate_pem
    files.show(AFTER)
    assert files.settled() == Look(("certificate",))
    assert files.watched.identity.certificate_pem == AFTER.certificate_pem


def test_a_certificate_that_came_too_early_is_taken_with_its_authority(tmp_path: Path) -> None:
    """Refused under the old authorities, judged again under the new ones."""
    files = Files(tmp_path)
    files.show(AFTER)
    assert files.settled().problems
    files.tls.trust_bundle.write_bytes(BOTH_PEM)
    assert files.settled().problems == ()
    assert files.watched.identity == files.load()


def test_files_that_are_gone_or_too_large_change_nothing(tmp_path: Path) -> None:
    """A volume that is not mounted, a link that leads nowhere, a file that never ends."""
    files = Files(tmp_path)
    before = files.watched.identity
    for path in (files.tls.certificate, files.tls.key, files.tls.trust_bundle):
        data = path.read_bytes()
        for spoil in (
            path.unlink,
            lambda path=path: path.symlink_to(tmp_path / "nowhere"),
            lambda path=path: (path.unlink(), path.mkdir()),
            lambda path=path: (path.rmdir(), path.write_bytes(bytes(2_000_000))),
        ):
            spoil()
            look = files.settled()
            assert (look.changed, len(look.problems)) == ((), 1)
        path.write_bytes(data)
        assert files.settled() == Look()
    assert files.watched.identity == before


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("certificate"), st.sampled_from((FIRST, SECOND, AFTER))),
        st.tuples(st.just("key"), st.sampled_from((FIRST, SECOND, AFTER))),
        st.tuples(st.just("trust_bundle"), st.sampled_from((OLD, NEW))),
        st.tuples(st.just("look"), st.none()),
    ),
    max_size=14,
)


@given(steps=STEPS)
@settings(max_examples=80, deadline=None)
def test_whatever_the_order_only_whole_pairs_are_in_force(
    steps: list[tuple[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Writers and looks in any order: pairs match, and in the end it is what a start would read."""
    files = Files(tmp_path_factory.mktemp("order"))
    pairs = {(one.certificate_pem, one.key_pem) for one in (FIRST, SECOND, AFTER)}
    for name, what in steps:
        if isinstance(what, ThrowawayAuthority):
            files.tls.trust_bundle.write_bytes(what.bundle_pem)
        elif isinstance(what, IssuedSvid):
            data = what.certificate_pem if name == "certificate" else what.key_pem
            getattr(files.tls, name).write_bytes(data)
        else:
            files.watched.look()
        now = files.watched.identity
        assert (now.certificate_pem, now.key_pem) in pairs
        assert now.trust_pem in (OLD.bundle_pem, NEW.bundle_pem)
    look = files.settled()
    try:
        started = files.load()
    except ConfigurationError:
        assert look.problems
    else:
        assert look.problems == ()
        assert files.watched.identity == started


# -- what is told ---------------------------------------------------------------------------------


class Kept:
    """A server that only keeps what it is told to use."""

    def __init__(self) -> None:
        self.used: list[ServerSvid] = []

    def use(self, identity: ServerSvid) -> None:
        """As `Server.use`."""
        self.used.append(identity)


def test_what_is_wrong_is_told_once_and_counted_every_time(tmp_path: Path) -> None:
    """One line for a mistake, however long it lasts; another one when it is mended."""
    files = Files(tmp_path)
    clock = HandClock(wall=time.time_ns())
    log = io.StringIO()
    telemetry = Telemetry(log, clock.wall_ns)
    kept = Kept()
    watch = IdentityWatch(files.watched, kept, clock, telemetry)  # type: ignore[arg-type]

    async def looks(count: int) -> None:
        for _ in range(count):
            await watch.once()

    files.show(dataclasses.replace(SECOND, key_pem=FIRST.key_pem))
    asyncio.run(looks(5))
    assert kept.used == []
    files.show(SECOND)
    asyncio.run(looks(3))
    # From its end, since it was issued when this file was read, which may be long ago.
    ends = int(SECOND.leaf.not_valid_after_utc.timestamp()) * NANOS
    clock.wall = ends - 600 * NANOS
    asyncio.run(looks(2))
    clock.wall = ends + 1 * NANOS
    asyncio.run(looks(2))
    telemetry.close()
    events = [json.loads(line)["event"] for line in log.getvalue().splitlines()]
    assert [event for event in events if event != "tls"] == [
        "tls_refused", "tls_updated", "tls_expiring", "tls_expired",
    ]  # fmt: skip
    # The first look of the five only saw it, and so did the first of the three.
    assert telemetry.counters["tls", "refused"] == 5
    assert telemetry.counters["tls", "updated"] == 1
    assert [one.certificate_pem for one in kept.used] == [SECOND.certificate_pem]
    for line in FIRST.key_pem.decode().splitlines()[1:-1]:
        assert line not in log.getvalue()


# -- handshakes and open connections --------------------------------------------------------------


def test_the_fetcher_hands_out_each_configuration_until_the_last(tmp_path: Path) -> None:
    """New ones once, then None; when it is overtaken, the next handshake puts it right."""
    files = Files(tmp_path)
    shown = Handshakes(files.watched.identity)
    assert shown._fetch() is None
    files.show(SECOND)
    shown.use(files.load())
    second = shown._fetch()
    assert second is not None
    assert shown._fetch() is None
    shown.use(files.load())
    shown._handed = second  # the thread that was overtaken writes last
    assert shown._fetch() is shown._current
    assert shown._fetch() is None


def replaced(running: RunningServer, folder: Path, shown: IssuedSvid, trust_pem: bytes) -> None:
    """The server uses these from now on."""
    running.server.use(Files(folder, shown, trust_pem).load())


def check_removed_authority(folder: Path) -> None:
    """Open connection, authority removed: refused with the next call, and in new handshakes."""

    async def scenario() -> None:
        async with running_server(folder, authority=OLD) as running, running.channel() as channel:
            method = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
            replaced(running, folder, own(OLD), BOTH_PEM)
            assert (await method(message(), timeout=5)).effect == pb.EFFECT_PERMIT
            replaced(running, folder, own(NEW), NEW.bundle_pem)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await method(message(), timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            # It believes both, so it is not it that ends the handshake.
            running.authority = type("Both", (), {"bundle_pem": BOTH_PEM})()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.call(message())
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            answer = await running.call(message(), NEW.issue("pep"))
            assert answer.effect == pb.EFFECT_PERMIT

    asyncio.run(scenario())


def test_a_removed_authority_is_refused_with_the_next_call(tmp_path: Path) -> None:
    """Of a connection that is open as of one that is new."""
    check_removed_authority(tmp_path)


def test_a_removed_authority_twin_without_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With new handshakes alone, whoever is connected stays."""
    monkeypatch.setattr(SvidVerifier, "use", lambda *_: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check_removed_authority(tmp_path)


def test_open_connections_outlive_a_new_certificate(tmp_path: Path) -> None:
    """A call in flight, the connection it is on, and a new connection: nothing is dropped."""

    async def scenario() -> None:
        async with running_server(tmp_path, authority=OLD) as running:
            running.recorder.mode, running.recorder.delay_s = "later", 0.3
            async with running.channel() as channel:
                method = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
                call = asyncio.ensure_future(method(message(), timeout=5))
                await asyncio.sleep(0.1)
                replaced(running, tmp_path, SECOND, BOTH_PEM)
                fresh = await running.call(message())
                answers = [await call, fresh, await method(message(), timeout=5)]
            assert {answer.effect for answer in answers} == {pb.EFFECT_PERMIT}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("life", "setting_s", "age_s"),
    [(timedelta(hours=1), 900, 900), (timedelta(minutes=15), 900, 450), (timedelta(hours=9), 5, 5)],
)
def test_connections_get_no_older_than_half_a_certificate(
    life: timedelta, setting_s: float, age_s: float, tmp_path: Path
) -> None:
    """The setting, or half of the life of our certificate; gRPC adds a tenth at most."""
    # Issued certificates began five minutes ago.
    files = Files(tmp_path, own(OLD, lifetime=life - timedelta(minutes=5)))
    found = connection_age_s(Limits(connection_age_max_s=setting_s), files.load())
    assert found * 1.1 == pytest.approx(age_s, abs=0.01)


def test_connections_that_are_too_old_end_without_harm(tmp_path: Path) -> None:
    """Three seconds of calls over connections that live one: several, and no call fails."""

    async def scenario() -> None:
        limits = Limits(connection_age_max_s=1)
        async with running_server(tmp_path, limits=limits) as running, running.channel() as channel:
            method = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
            ends = time.monotonic() + 3
            while time.monotonic() < ends:
                assert (await method(message(), timeout=5)).effect == pb.EFFECT_PERMIT
                await asyncio.sleep(0.01)
            assert len({entry.caller.peer for entry in running.recorder.entries}) >= 3

    asyncio.run(scenario())


# -- rotations under load -------------------------------------------------------------------------


class Callers:
    """Two callers that never pause: one connects anew for each call, one when there is a reason."""

    def __init__(self, port: int, shown: IssuedSvid, trust_pem: bytes) -> None:
        self._port = port
        self.shown = (shown, trust_pem)
        self.calls = 0
        self.failures: list[str] = []
        self._busy = [shown, shown]
        self._ends = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True) for number in (0, 1)
        ]
        for thread in self._threads:
            thread.start()

    def use(self, shown: IssuedSvid, trust_pem: bytes) -> None:
        """Show this, and return when nothing else is shown any more."""
        self.shown = (shown, trust_pem)
        ends = time.monotonic() + 10
        while any(one is not shown for one in self._busy):
            assert time.monotonic() < ends
            time.sleep(0.005)

    def _connect(self, shown: IssuedSvid, trust_pem: bytes) -> grpc.Channel:
        credentials = grpc.ssl_channel_credentials(trust_pem, shown.key_pem, shown.certificate_pem)
        return grpc.secure_channel(
            f"localhost:{self._port}", credentials, options=[("grpc.use_local_subchannel_pool", 1)]
        )

    def _run(self, number: int) -> None:
        data = wire.request_to_pb(QUESTION).SerializeToString()
        while not self._ends.is_set():
            connected = self.shown
            self._busy[number] = connected[0]
            with self._connect(*connected) as channel:
                method = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
                again = True
                while again and not self._ends.is_set():
                    try:
                        decision = wire.decision_from_pb(method(data, timeout=10))
                        if decision.effect is not Effect.PERMIT:
                            self.failures.append(str(decision))
                    except grpc.RpcError as error:
                        self.failures.append(str(error))
                    self.calls += 1
                    again = number == 1 and self.shown is connected
                    time.sleep(0.002)

    def stop(self) -> None:
        """End, and wait for it."""
        self._ends.set()
        for thread in self._threads:
            thread.join(15)


def scribble(path: Path, data: bytes, chance: random.Random) -> None:
    """Write as a bad tool does: in place, in two pieces, with a pause."""
    cut = chance.randrange(len(data))
    with path.open("wb") as file:
        file.write(data[:cut])
        file.flush()
        time.sleep(chance.random() * 0.04)
        file.write(data[cut:])


def rotate_under_load(house: House, rotations: int, seed: int) -> dict[str, int]:
    """Certificate, authority and bundle in turn, while callers call; nobody fails."""
    chance = random.Random(seed)
    running = house.start()
    authority = house.authority
    callers = Callers(running.port, house.pep, authority.bundle_pem)
    revision = 2

    def trust(pem: bytes) -> None:
        scribble(house.folder / "trust.pem", pem, chance)
        running.wait_for("tls_updated", changed="trust bundle")

    def show(issuer: ThrowawayAuthority) -> None:
        shown = issuer.issue("pdp", dns_names=["localhost"])
        parts = [("server.pem", shown.certificate_pem), ("server.key", shown.key_pem)]
        chance.shuffle(parts)
        for name, data in parts:
            scribble(house.folder / name, data, chance)
        running.wait_for("tls_updated", changed="certificate")

    for number in range(rotations):
        if number % 3 == 0:
            show(authority)
        elif number % 3 == 1:
            # The order that SPIFFE asks for: believe both, show the new one, forget the old one.
            before, authority = authority, ThrowawayAuthority(TRUST_DOMAIN)
            both = before.bundle_pem + authority.bundle_pem
            trust(both)
            callers.use(callers.shown[0], both)
            show(authority)
            callers.use(authority.issue("pep"), authority.bundle_pem)
            trust(authority.bundle_pem)
        else:
            revision += 1
            house.repository.put(BUNDLE_PATH, archive(revision, house.repository.now_s, DOCUMENTS))
            house.repository.publish_targets(POLICIES)
            house.publish()
            running.wait_for("bundle_updated")
    callers.stop()
    assert callers.failures == []
    assert callers.calls > 10 * rotations
    running.authority, running.pep = authority, callers.shown[0]
    assert running.ask().bundle is not None
    assert running.stop() == 0
    return {"rotations": rotations, "calls": callers.calls, "failures": len(callers.failures)}


def test_rotations_under_load(house: House) -> None:
    """Ten of them, with files written in pieces: no call fails."""
    rotate_under_load(house, 10, 20_261_124)


@pytest.mark.prove
def test_rotations_under_load_proof(house: House, ledger: Ledger) -> None:
    """Two hundred of them."""
    seed = 20_261_125
    ledger(seed=seed, **rotate_under_load(house, 200, seed))


def test_rotations_under_load_twin_without_guard(house: House) -> None:
    """The callers do notice: an authority that is forgotten too early fails their calls."""
    running = house.start()
    callers = Callers(running.port, house.pep, house.authority.bundle_pem)
    after = ThrowawayAuthority(TRUST_DOMAIN)
    (house.folder / "trust.pem").write_bytes(after.bundle_pem)
    running.wait_for("tls_updated", changed="trust bundle")
    time.sleep(0.2)
    callers.stop()
    assert callers.failures


def test_a_removed_authority_is_refused_by_a_real_process(house: House) -> None:
    """On the connection that was open all the while, within the interval of looks."""
    running = house.start()
    data = wire.request_to_pb(QUESTION).SerializeToString()
    with running.channel() as channel:
        method = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
        assert method(data, timeout=5).effect == pb.EFFECT_PERMIT
        (house.folder / "trust.pem").write_bytes(ThrowawayAuthority(TRUST_DOMAIN).bundle_pem)
        running.wait_for("tls_updated", changed="trust bundle")
        with pytest.raises(grpc.RpcError) as caught:
            method(data, timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    told = running.wait_for("tls_refused")
    assert "tls.certificate" in str(told["detail"])


def test_the_clock_of_the_watch_is_the_servers(tmp_path: Path) -> None:
    """A certificate is judged by the clock that decisions are made by."""
    files = Files(tmp_path)
    clock = ShiftedClock(shift_ns=7_200 * NANOS)
    watched = IdentityFiles(files.tls, files.watched.identity, clock.wall_ns)
    files.show(SECOND)
    watched.look()
    assert watched.look().problems
