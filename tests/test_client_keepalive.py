"""A peer that dies without a word is found dead, and asked again when it is there again.

The times are a tenth of the client's own, where what is tested is not the times.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from pdp.config.settings import Limits
from pdp.server.listener import server_options
from pdp.v1 import authorization_pb2 as pb
from pdp_client import Cause, Client, Resource, Subject, _channel
from tests.conftest import Ledger
from tests.simulators.faults import SERVICE, FiringRange, Plan, Proxy, ScriptedPdp, honest_permit

ALICE = Subject("user", "alice")
REPORT = Resource("report", "7")
GENEROUS_S = 4.0
TIME_MS, TIMEOUT_MS = 1_000, 300
FOUND_DEAD_S = (TIME_MS + TIMEOUT_MS) / 1_000


@pytest.fixture(scope="module")
def firing_range(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FiringRange]:
    """A scripted PDP, and the files of a client."""
    with FiringRange(tmp_path_factory.mktemp("range")) as made:
        yield made


def options(patch: pytest.MonkeyPatch, **changes: int | None) -> None:
    """Change options of channels made from now on; None leaves one out."""
    found = dict(_channel.CHANNEL_OPTIONS)
    for name, value in changes.items():
        full = f"grpc.{name}"
        assert full in found
        if value is None:
            del found[full]
        else:
            found[full] = value
    patch.setattr(_channel, "CHANNEL_OPTIONS", tuple(found.items()))


def quick(patch: pytest.MonkeyPatch) -> None:
    """A tenth of the client's own times."""
    timeouts = {"keepalive_timeout_ms": TIMEOUT_MS, "http2.ping_timeout_ms": TIMEOUT_MS}
    options(patch, keepalive_time_ms=TIME_MS, **timeouts)


def permitted_after_blackhole(firing_range: FiringRange, idle_s: float) -> bool:
    """Lose the peer behind an open connection, ask nothing for a while, then ask once."""
    with Proxy(firing_range.pdp.ports["good"]) as proxy:
        with Client(
            f"localhost:{proxy.port}", **firing_range.files(), budget_s=GENEROUS_S
        ) as client:
            assert client.authorize(ALICE, "permit", REPORT)
            time.sleep(0.02)
            proxy.set(Plan(0, "stall"))
            assert not client.authorize(ALICE, "permit", REPORT, timeout=0.1)
            # Reachable again, by a new connection only.
            proxy.set(Plan())
            time.sleep(idle_s)
            permitted = client.authorize(ALICE, "permit", REPORT, timeout=0.5)
        assert proxy.accepted == 1 + bool(permitted)
        return bool(permitted)


def test_a_dead_peer_is_found_without_calls(
    firing_range: FiringRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection died while nobody asked: the next question goes over a new one."""
    quick(monkeypatch)
    assert permitted_after_blackhole(firing_range, 2 * FOUND_DEAD_S)


@pytest.mark.parametrize(
    "left_out", ["keepalive_time_ms", "keepalive_permit_without_calls", "http2.ping_timeout_ms"]
)
def test_a_dead_peer_twin_without_guard(
    firing_range: FiringRange, monkeypatch: pytest.MonkeyPatch, left_out: str
) -> None:
    """Without pings, without them between calls, or with a minute to answer: the dead is asked."""
    quick(monkeypatch)
    options(monkeypatch, **{left_out: None})
    assert not permitted_after_blackhole(firing_range, 2 * FOUND_DEAD_S)


@pytest.mark.prove
def test_a_dead_peer_is_found_in_thirteen_seconds(
    firing_range: FiringRange, ledger: Ledger
) -> None:
    """The client's own times: 10 s and 3 s, and a second for a busy machine."""
    assert permitted_after_blackhole(firing_range, 14.0)
    ledger(seed="none", cases=1, waited_s=14)


def test_a_frozen_peer_is_denied_in_time_and_asked_again_when_it_wakes(
    firing_range: FiringRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP: its sockets stay open, nobody answers. It is found dead, and found again."""
    quick(monkeypatch)
    good = firing_range.authority.issue("pdp", dns_names=["localhost"])
    with (
        ScriptedPdp({"good": (good, firing_range.authority.bundle_pem)}) as pdp,
        Proxy(pdp.ports["good"]) as proxy,
        Client(f"localhost:{proxy.port}", **firing_range.files(), budget_s=GENEROUS_S) as client,
    ):
        assert client.authorize(ALICE, "permit", REPORT)
        assert proxy.accepted == 1
        pdp.kill(signal.SIGSTOP)
        try:
            frozen = time.monotonic()
            while time.monotonic() - frozen < 2 * FOUND_DEAD_S:
                started = time.monotonic()
                decision = client.authorize(ALICE, "permit", REPORT, timeout=0.25)
                assert decision.cause is Cause.UNREACHABLE
                assert time.monotonic() - started < 0.25 + 2
            assert proxy.accepted > 1  # found dead: another connection was tried
        finally:
            pdp.kill(signal.SIGCONT)
        awake = time.monotonic()
        while not client.authorize(ALICE, "permit", REPORT):
            assert time.monotonic() - awake < 10
            time.sleep(0.05)


# -- what the PDP makes of pings --------------------------------------------------------


def test_the_pdp_allows_the_clients_pings() -> None:
    """Pings come half as often as the PDP would take them, and it takes them without calls."""
    ours, theirs = (
        dict(_channel.CHANNEL_OPTIONS),
        dict(server_options(Limits(), Limits().connection_age_max_s)),
    )
    allowed_ms = theirs["grpc.http2.min_ping_interval_without_data_ms"]
    assert int(ours["grpc.keepalive_time_ms"]) >= 2 * allowed_ms
    assert theirs["grpc.keepalive_permit_without_calls"] == 1


def connections_after_idling(firing_range: FiringRange, folder: Path, idle_s: float) -> int:
    """How many connections a client needs for two questions with a pause in between.

    The server has the PDP's own options, connection age aside.
    """

    def answer(received: bytes, _: grpc.ServicerContext) -> bytes:
        request = pb.AuthorizeRequest.FromString(received)
        return honest_permit(request, received).SerializeToString()

    svid = firing_range.authority.issue("pdp", dns_names=["localhost"])
    svid.write(folder, "pdp")
    kept = [o for o in server_options(Limits(), 3_600.0) if "connection_age" not in o[0]]
    server = grpc.server(ThreadPoolExecutor(2), options=kept)
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Authorize": handler}),)
    )
    credentials = grpc.ssl_server_credentials(
        [(svid.key_pem, svid.certificate_pem)],
        firing_range.authority.bundle_pem,
        require_client_auth=True,
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        with (
            Proxy(port) as proxy,
            Client(
                f"localhost:{proxy.port}", **firing_range.files(), budget_s=GENEROUS_S
            ) as client,
        ):
            assert client.authorize(ALICE, "permit", REPORT)
            time.sleep(idle_s)
            assert client.authorize(ALICE, "permit", REPORT)
            return proxy.accepted
    finally:
        server.stop(0)


@pytest.mark.prove
def test_the_pdp_does_not_send_a_pinging_client_away(
    firing_range: FiringRange, tmp_path: Path, ledger: Ledger
) -> None:
    """Forty-five seconds without a question, four pings: still the same connection."""
    assert connections_after_idling(firing_range, tmp_path, 45) == 1
    ledger(seed="none", cases=1, waited_s=45)


def test_pings_twin_without_guard(
    firing_range: FiringRange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that pings every second is sent away: the PDP does hold to its limit."""
    options(monkeypatch, keepalive_time_ms=TIME_MS)
    assert connections_after_idling(firing_range, tmp_path, 6) > 1
