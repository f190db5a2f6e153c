"""Certificates, keys and trust bundles of a client change while it is used.

The files by themselves; the bookkeeping of channels by itself; and both
clients under load, against a PDP over real mutual TLS that soon ends every
connection and believes only whom it should.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.authoring.throwaway import IssuedSvid, ThrowawayAuthority
from pdp_client import (
    AccessDenied,
    AsyncClient,
    Cause,
    Client,
    ConfigurationError,
    Resource,
    Subject,
    _endpoint,
)
from pdp_client._lines import Line, Lines
from pdp_client._pem_files import PemFiles
from tests.conftest import Ledger
from tests.simulators.rotation import Files, RotatingPdp

ALICE = Subject("user", "alice")
REPORT = Resource("report", "7")
DOMAIN = "rotation.example.org"
GENEROUS_S = 4.0


def authority() -> ThrowawayAuthority:
    """A new authority for the same trust domain."""
    return ThrowawayAuthority(DOMAIN)


def server_svid(of: ThrowawayAuthority) -> IssuedSvid:
    """A PDP's."""
    return of.issue("pdp", dns_names=["localhost"])


# -- the files --------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Good files of a client."""
    made, of = Files(tmp_path / "client"), authority()
    made.trust(of.bundle_pem)
    made.show(of.issue("client"))
    return made


def watched(files: Files) -> PemFiles:
    """The files, read once."""
    made = PemFiles(**files.paths)
    assert made.changed() is not None
    return made


def test_files_that_do_not_change_are_not_read_again(files: Files) -> None:
    """Once the same was found twice, a look is `stat` alone: no file is opened."""
    pem = watched(files)
    assert pem.changed() is None
    for path in files.paths.values():
        assert isinstance(path, Path)
        path.chmod(0)
    os.utime(files.paths["key"])  # a touch is looked into
    if os.geteuid() != 0:
        with pytest.raises(ConfigurationError, match="cannot read"):
            pem.changed()


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("name", ["certificate", "trust_bundle"])
def test_a_change_of_any_file_is_found_once(files: Files, name: str, *, in_place: bool) -> None:
    """A new certificate with its key, or a new trust bundle, by renaming or in place."""
    pem, of = watched(files), authority()
    assert pem.changed() is None
    if name == "certificate":
        files.show(of.issue("client"), in_place=in_place)
    else:
        files.trust(of.bundle_pem, in_place=in_place)
    found = pem.changed()
    assert found is not None
    assert found.certificate == files.paths["certificate"].read_bytes()
    assert found.trust_bundle == files.paths["trust_bundle"].read_bytes()
    assert pem.changed() is None
    assert pem.changed() is None


def test_the_same_content_written_again_is_no_change(files: Files) -> None:
    """Some rotators write every minute, whether there is news or not."""
    pem = watched(files)
    for _ in range(3):
        for path in files.paths.values():
            assert isinstance(path, Path)
            path.write_bytes(path.read_bytes())
        assert pem.changed() is None


def test_a_change_in_the_same_tick_of_the_clock_is_found(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write right after a read may leave all of `stat` as it was: it is read twice at least."""
    monkeypatch.setattr(PemFiles, "_stamp_now", lambda _: ((1, 2, 3, 4, 5),) * 3)
    pem = watched(files)
    files.trust(authority().bundle_pem)
    assert pem.changed() is not None
    assert pem.changed() is None
    files.trust(authority().bundle_pem)
    assert pem.changed() is None  # the twin: once the stamp is believed, it is not found


def test_a_folder_swapped_by_a_link_is_found(tmp_path: Path) -> None:
    """As Kubernetes does it: the paths lead through a link that is replaced."""
    for name in ("first", "second"):
        made, of = Files(tmp_path / name), authority()
        made.trust(of.bundle_pem)
        made.show(of.issue("client"))
    link = tmp_path / "data"
    link.symlink_to("first")
    pem = PemFiles(link / "trust.pem", link / "me.pem", link / "me.key")
    assert pem.changed() is not None
    assert pem.changed() is None
    beside = tmp_path / "beside"
    beside.symlink_to("second")
    beside.replace(link)
    found = pem.changed()
    assert found is not None
    assert found.key == (tmp_path / "second" / "me.key").read_bytes()


@settings(max_examples=40)
@given(
    name=st.sampled_from(["trust_bundle", "certificate", "key"]),
    share=st.floats(0, 1),
    noise=st.none() | st.binary(max_size=100),
)
def test_half_written_files_are_refused_and_whole_ones_found(
    name: str, share: float, noise: bytes | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Cut at any byte, or noise in the place of any file: refused, then the whole file is found."""
    made, of = Files(tmp_path_factory.mktemp("client")), authority()
    made.trust(of.bundle_pem)
    made.show(of.issue("client"))
    pem = watched(made)
    path: Path = made.paths[name]  # type: ignore[literal-required]
    # Not its last line: a PEM block without the line's end is whole.
    whole = path.read_bytes()
    cut = whole[: int(share * (len(whole) - 12))]
    path.write_bytes(cut if noise is None else noise)
    for _ in range(2):
        with pytest.raises(ConfigurationError):
            pem.changed()
    path.write_bytes(whole)
    assert pem.changed() is None  # what it was before
    made.show(of.issue("client"))
    assert pem.changed() is not None


def test_a_key_of_another_certificate_is_not_used(files: Files) -> None:
    """Between the writing of the certificate and of its key, neither is used."""
    pem, svid = watched(files), authority().issue("client")
    files.paths["certificate"].write_bytes(svid.certificate_pem)
    with pytest.raises(ConfigurationError, match="not a pair"):
        pem.changed()
    files.paths["key"].write_bytes(svid.key_pem)
    found = pem.changed()
    assert found is not None
    assert (found.certificate, found.key) == (svid.certificate_pem, svid.key_pem)


def test_files_written_while_they_are_judged_are_not_mixed(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is used is what was judged: a write in between means reading all of it again."""
    pem, judge = watched(files), PemFiles._judge
    writes = [authority().issue("client") for _ in range(4)]
    files.show(writes[0])

    def meddled(self: PemFiles) -> None:
        judge(self)
        if writes:
            files.show(writes.pop())

    monkeypatch.setattr(PemFiles, "_judge", meddled)
    with pytest.raises(ConfigurationError, match="being written"):
        pem.changed()
    found = pem.changed()
    assert found is not None
    assert found.certificate == files.paths["certificate"].read_bytes()
    assert found.key == files.paths["key"].read_bytes()


# -- the lines --------------------------------------------------------------------------


class _Channel:
    """Keeps what was done to it."""

    def __init__(self) -> None:
        self.connected = False
        self.closed = 0


def new_line() -> Line:
    """A line over nothing."""
    channel = _Channel()
    return Line(channel, None, lambda: channel.connected)


@given(st.lists(st.sampled_from(["add", "lease", "lease", "release", "connect", "wait"])))
def test_every_line_is_closed_once_and_never_under_a_call(script: list[str]) -> None:
    """Whatever the order of rotations and calls: no call loses its channel, none is left open."""
    lines, now = Lines(), 0.0
    made = [new_line()]
    lines.add(made[0], now)
    leased: list[Line] = []

    def close(line: Line) -> None:
        assert line.users == 0
        assert line.channel.closed == 0
        line.channel.closed += 1

    for step in script:
        if step == "add" and not lines.is_turning:
            made.append(new_line())
            lines.add(made[-1], now + 2)
        elif step == "connect":
            made[-1].channel.connected = True
        elif step == "wait":
            now += 1
        elif step == "release" and leased:
            line = leased.pop(0)
            if lines.release(line):
                close(line)
        elif step == "lease":
            line, over = lines.lease(now)
            leased.append(line)
            if over is not None:
                close(over)
            assert not line.channel.closed
    for line in leased:
        if lines.release(line):
            close(line)
    left = lines.clear()
    assert len(left) <= 2
    assert {line.channel.closed for line in left} == {0}
    assert all(line.channel.closed == 1 for line in made if line not in left)


def test_a_successor_takes_over_when_connected_or_when_its_time_is_up() -> None:
    """Not before, and not never: what the files say holds soon, whatever the network does."""
    for connected, now, takes_over in ((False, 1.9, False), (True, 1.9, True), (False, 2.0, True)):
        lines, old, new = Lines(), new_line(), new_line()
        lines.add(old, 0.0)
        lines.add(new, 2.0)
        new.channel.connected = connected
        line, over = lines.lease(now)
        assert line is (new if takes_over else old)
        assert over is (old if takes_over else None)


# -- the clients ------------------------------------------------------------------------


class Load:
    """Both clients asking all the time, and what was denied.

    Args:
        clients: one of each kind.
        lanes: threads, and tasks.
    """

    def __init__(self, client: Client, make: Callable[[], AsyncClient], lanes: int = 3) -> None:
        self.client = client
        self._make = make
        self.denied: list[str] = []
        self.permits = 0
        self.last = 0.0  # when the last permit came
        self._ended = threading.Event()
        self._ready = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(lanes)]
        self._threads.append(threading.Thread(target=lambda: asyncio.run(self._ask_all(lanes))))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(20)

    def clients(self) -> list[Client | AsyncClient]:
        """Both."""
        return [self.client, self.async_client]

    def settled(self, renewals: int) -> bool:
        """Whether both clients took so many changes into use, and none is under way."""
        return all(
            c.renewals >= renewals and c._material is None and not c._lines.is_turning
            for c in self.clients()
        )

    def settle(self, renewals: int) -> None:
        """Wait until both clients use what is in the files."""
        deadline = time.monotonic() + 20
        while not self.settled(renewals):
            assert time.monotonic() < deadline, "the files were not taken into use"
            time.sleep(0.005)

    def _ask(self) -> None:
        while not self._ended.is_set():
            try:
                self.client.enforce(ALICE, "slow:5", REPORT)
                self.permits += 1
            except AccessDenied as denied:
                self.denied.append(f"threads: {denied.reason}")
            time.sleep(0.005)

    async def _ask_all(self, lanes: int) -> None:
        async with self._make() as self.async_client:
            self._ready.set()

            async def ask() -> None:
                while not self._ended.is_set():
                    try:
                        await self.async_client.enforce(ALICE, "slow:5", REPORT)
                        self.permits += 1
                    except AccessDenied as denied:
                        self.denied.append(f"asyncio: {denied.reason}")
                    await asyncio.sleep(0.005)

            await asyncio.gather(*[ask() for _ in range(lanes)])


def rotated(tmp_path: Path, rotations: int, wait: Callable[[Load, int], None]) -> Load:
    """Rotate certificate, key and authority on both sides under load, as an operator would.

    Each rotation: both sides believe both authorities; both show certificates
    of the new one; both believe only the new one.
    """
    files, old = Files(tmp_path / "client"), authority()
    files.trust(old.bundle_pem)
    files.show(old.issue("client"))
    shown = server_svid(old)
    with RotatingPdp(shown, old.bundle_pem) as pdp:

        def make() -> AsyncClient:
            return AsyncClient(pdp.target, **files.paths, budget_s=GENEROUS_S)

        with (
            Client(pdp.target, **files.paths, budget_s=GENEROUS_S) as client,
            Load(client, make) as load,
        ):
            while load.permits < 10:
                time.sleep(0.01)
            for number in range(rotations):
                new, in_place = authority(), number % 2 == 1
                both = old.bundle_pem + new.bundle_pem
                pdp.serve(shown, both)
                files.trust(both, in_place=in_place)
                wait(load, 3 * number + 1)
                shown = server_svid(new)
                pdp.serve(shown, both)
                files.show(new.issue("client"), in_place=in_place)
                wait(load, 3 * number + 2)
                pdp.serve(shown, new.bundle_pem)
                files.trust(new.bundle_pem, in_place=in_place)
                wait(load, 3 * number + 3)
                old = new
            # Whatever connection is left from before ends now.
            time.sleep(0.5)
    return load


@pytest.mark.timeout(180)
def test_rotations_under_load_fail_no_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty rotations of certificate, key and authority on both sides: not one call denied."""
    monkeypatch.setattr(_endpoint, "LOOK_INTERVAL_S", 0.02)
    load = rotated(tmp_path, 20, Load.settle)
    assert load.denied == []
    assert load.permits > 500
    assert [client.renewals for client in load.clients()] == [60, 60]


@pytest.mark.prove
@pytest.mark.timeout(1800)
def test_two_hundred_rotations_under_load_fail_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    """The same, 200 times."""
    monkeypatch.setattr(_endpoint, "LOOK_INTERVAL_S", 0.02)
    started = time.monotonic()
    load = rotated(tmp_path, 200, Load.settle)
    ledger(
        seed="none: keys are new each time",
        rotations=200,
        cases=load.permits,
        denied=len(load.denied),
        seconds=round(time.monotonic() - started, 1),
    )
    assert load.denied == []


def test_rotations_twin_without_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a look at the files, the first rotation ends in denials for both clients."""
    monkeypatch.setattr(_endpoint, "LOOK_INTERVAL_S", float("inf"))

    def wait(_: Load, __: int) -> None:
        time.sleep(0.5)

    denied = rotated(tmp_path, 1, wait).denied
    assert {reason.partition(":")[0] for reason in denied} == {"threads", "asyncio"}


def test_an_expired_certificate_is_replaced_in_time(tmp_path: Path) -> None:
    """A certificate that expires in 4 s, replaced before: the calling program does not notice.

    The twin beside it does not look at its files, and is denied once it has expired.
    """
    of = authority()
    files = Files(tmp_path / "client")
    files.trust(of.bundle_pem)
    with RotatingPdp(server_svid(of), of.bundle_pem) as pdp:
        # Now: starting a process takes its time.
        files.show(of.issue("client", lifetime=timedelta(seconds=4)))
        expires = time.monotonic() + 4
        with (
            Client(pdp.target, **files.paths, budget_s=GENEROUS_S) as client,
            Client(pdp.target, **files.paths, budget_s=GENEROUS_S) as twin,
        ):
            twin._looking = True  # somebody else looks, and never comes back
            assert twin.authorize(ALICE, "permit", REPORT)
            assert client.authorize(ALICE, "permit", REPORT)
            files.show(of.issue("client"))
            while time.monotonic() < expires + 1:
                assert client.authorize(ALICE, "permit", REPORT)
                time.sleep(0.05)
            assert client.renewals == 1
            assert client.counts == {}
            assert twin.authorize(ALICE, "permit", REPORT).cause is Cause.UNREACHABLE


def test_after_a_long_pause_the_first_call_uses_the_new_certificate(tmp_path: Path) -> None:
    """Nobody asked while the certificate was replaced, and the old one is refused by now."""
    old, new = authority(), authority()
    files = Files(tmp_path / "client")
    files.trust(old.bundle_pem, new.bundle_pem)
    files.show(old.issue("client"))
    with (
        RotatingPdp(server_svid(old), old.bundle_pem) as pdp,
        Client(pdp.target, **files.paths, budget_s=GENEROUS_S) as client,
    ):
        assert client.authorize(ALICE, "permit", REPORT)
        files.show(new.issue("client"))
        pdp.serve(server_svid(new), new.bundle_pem)
        time.sleep(_endpoint.OVERLAP_S_MAX + 0.2)
        assert client.authorize(ALICE, "permit", REPORT)
        assert client.counts == {}


def in_flight_while_rotated(files: Files, pdp: RotatingPdp, of: ThrowawayAuthority) -> bool:
    """Whether a call that was in flight during a rotation is permitted."""
    with Client(pdp.target, **files.paths, budget_s=GENEROUS_S) as client:
        assert client.authorize(ALICE, "permit", REPORT)
        answers: list[bool] = []
        waiting = threading.Thread(
            target=lambda: answers.append(bool(client.authorize(ALICE, "slow:900", REPORT)))
        )
        waiting.start()
        time.sleep(0.2)
        old = client._lines._current
        assert old is not None
        files.show(of.issue("client"))
        while client._lines._current is old:
            assert client.authorize(ALICE, "permit", REPORT)
            time.sleep(0.02)
        waiting.join()
        assert client._lines._retired == set()
        assert client.authorize(ALICE, "permit", REPORT)
        return answers[0]


@pytest.fixture
def served(tmp_path: Path) -> Any:
    """A client's files, a PDP, and the authority of both."""
    of, files = authority(), Files(tmp_path / "client")
    files.trust(of.bundle_pem)
    files.show(of.issue("client"))
    with RotatingPdp(server_svid(of), of.bundle_pem) as pdp:
        yield files, pdp, of


def test_calls_in_flight_end_on_the_old_channel(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that was made before a rotation is answered after it."""
    monkeypatch.setattr(_endpoint, "LOOK_INTERVAL_S", 0.02)
    assert in_flight_while_rotated(*served)


def test_calls_in_flight_twin_without_guard(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the old channel were closed at once, the call in flight would be denied."""

    def hasty(self: Lines, now: float) -> tuple[Line, Line | None]:
        for line in (self._current, self._successor):
            if line is not None:
                line.users = 0
        return lease(self, now)

    lease = Lines.lease
    monkeypatch.setattr(_endpoint, "LOOK_INTERVAL_S", 0.02)
    monkeypatch.setattr(Lines, "lease", hasty)
    assert not in_flight_while_rotated(*served)


@pytest.mark.parametrize("harm", ["cut", "mismatched", "removed", "empty bundle"])
def test_bad_files_change_nothing_and_are_warned_of(
    served: Any, harm: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a certificate, a key without its certificate, no file: the old ones go on, and a log."""
    monkeypatch.setattr(_endpoint, "LOOK_INTERVAL_S", 0.02)
    files, pdp, of = served
    with Client(pdp.target, **files.paths, budget_s=GENEROUS_S) as client:
        assert client.authorize(ALICE, "permit", REPORT)
        line = client._lines._current
        certificate, key, bundle = (
            files.paths[name] for name in ("certificate", "key", "trust_bundle")
        )
        whole = certificate.read_bytes(), key.read_bytes(), bundle.read_bytes()
        if harm == "cut":
            certificate.write_bytes(whole[0][:200])
        elif harm == "mismatched":
            key.write_bytes(of.issue("client").key_pem)
        elif harm == "removed":
            key.unlink()
        else:
            bundle.write_bytes(b"")
        time.sleep(0.05)
        for _ in range(5):
            assert client.authorize(ALICE, "permit", REPORT)
        assert client._lines._current is line
        warned = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert warned
        assert "are not used" in warned[0].getMessage()
        for path, content in zip((certificate, key, bundle), whole, strict=True):
            path.write_bytes(content)
        time.sleep(0.05)
        assert client.authorize(ALICE, "permit", REPORT)
        assert client._lines._current is line
        assert client.renewals == 0


def test_files_are_looked_at_once_a_second(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred calls look once, if at all; and a look that hangs holds up nobody else."""
    files, pdp, _ = served
    looks, held, let_go = [], threading.Event(), threading.Event()

    def changed(_: PemFiles) -> None:
        looks.append(time.monotonic())
        held.set()
        let_go.wait(10)

    with Client(pdp.target, **files.paths, budget_s=GENEROUS_S) as client:
        assert client.authorize(ALICE, "permit", REPORT)
        monkeypatch.setattr(PemFiles, "changed", changed)
        monkeypatch.setattr(_endpoint, "LOOK_INTERVAL_S", 0.1)
        time.sleep(0.1)
        hanging = threading.Thread(target=lambda: client.authorize(ALICE, "permit", REPORT))
        hanging.start()
        assert held.wait(5)
        for _ in range(100):
            assert client.authorize(ALICE, "permit", REPORT)
        assert len(looks) == 1
        let_go.set()
        hanging.join()


def test_closing_while_a_successor_connects_leaves_nothing_behind(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client closed in the middle of a rotation is closed: no thread, no call."""
    monkeypatch.setattr(_endpoint, "LOOK_INTERVAL_S", 0.0)
    files, pdp, of = served
    before = threading.active_count()
    with Client(pdp.target, **files.paths, budget_s=GENEROUS_S) as client:
        assert client.authorize(ALICE, "permit", REPORT)
        files.show(of.issue("client"))
        with pdp.frozen():
            assert not client.authorize(ALICE, "permit", REPORT, timeout=0.2)
            assert client._lines.is_turning
            client.close()
            assert client.authorize(ALICE, "permit", REPORT).cause is Cause.UNREACHABLE
    deadline = time.monotonic() + 5
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
