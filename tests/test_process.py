"""`pdp serve` as a process: a real bundle, a real spool, real signals."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pdp import wire
from pdp.authoring.throwaway import IssuedSvid, ThrowawayAuthority
from pdp.callers import CallerEntry, CallerPolicy
from pdp.model import Action, Decision, Effect, Request, Resource, Subject
from pdp.v1 import authorization_pb2 as pb
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.configurations import Tree, changed, good_tree, toml_text, write_files
from tests.simulators.decision_points import AUTHORIZE
from tests.simulators.repository import (
    POLICIES,
    Repository,
    archive,
    callers,
    policy,
    rule,
    serve_folder,
)
from tests.simulators.token_issuer import AUDIENCE, ISSUER, TokenIssuer, https_endpoint

PROGRAM = """
import sys, typer
from pdp.cli import serve
from pdp.cli.terminal import report
app = typer.Typer(pretty_exceptions_enable=False)
serve.register(app)
try:
    app()
except Exception as error:
    sys.exit(report(error))
"""
BUNDLE_PATH = f"{POLICIES}/bundle.tar"
DOCUMENTS = (policy("documents", rule("everybody-reads")), callers(f"spiffe://{TRUST_DOMAIN}/pep"))
QUESTION = Request(
    Subject("user", "alice"), Action("read"), Resource("document", "1"), request_id="q"
)
START_S = 60.0


class Process:
    """One `pdp serve`, its log, and how to ask it."""

    def __init__(self, folder: Path, authority: ThrowawayAuthority, pep: IssuedSvid) -> None:
        self.authority = authority
        self.pep = pep
        self.events: list[dict[str, object]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "--config", str(folder / "pdp.toml")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = 0

    def _read(self) -> None:
        for line in self.process.stderr or ():
            self._lines.put(line)

    def wait_for(self, event: str, **fields: object) -> dict[str, object]:
        """The next such event of the log."""
        ends = time.monotonic() + START_S
        while True:
            found = json.loads(self._lines.get(timeout=max(0.1, ends - time.monotonic())))
            assert isinstance(found, dict)
            self.events.append(found)
            if found["event"] == event and fields.items() <= found.items():
                return found

    def listening(self) -> None:
        """The line on standard output says the port."""
        line = (self.process.stdout or sys.stdin).readline()
        assert line, self.rest()
        told = json.loads(line)
        assert told["event"] == "listening"
        self.port = told["port"]

    def rest(self) -> str:
        """What is left of the log, once the process has ended."""
        self.process.wait(START_S)
        self._reader.join(5)
        return "".join(self._lines.queue)

    def ask(self, timeout_s: float = 5.0, question: Request = QUESTION) -> Decision:
        """One question over a connection of its own."""
        with self.channel() as channel:
            method = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
            data = wire.request_to_pb(question).SerializeToString()
            return wire.decision_from_pb(method(data, timeout=timeout_s))

    def health(self) -> int:
        """What the health service says."""
        with self.channel() as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            status: int = stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status
            return status

    def channel(self) -> grpc.Channel:
        """Mutual TLS."""
        credentials = grpc.ssl_channel_credentials(
            self.authority.bundle_pem, self.pep.key_pem, self.pep.certificate_pem
        )
        return grpc.secure_channel(
            f"localhost:{self.port}", credentials, options=[("grpc.use_local_subchannel_pool", 1)]
        )

    def until(self, holds: Callable[[Decision], bool], seconds: float = 20.0) -> Decision:
        """Ask until the decision is such."""
        ends = time.monotonic() + seconds
        while not holds(decision := self.ask()):
            assert time.monotonic() < ends, decision
            time.sleep(0.1)
        return decision

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(START_S)


@dataclasses.dataclass
class House:
    """A folder with everything, and the processes started in it."""

    folder: Path
    repository: Repository
    authority: ThrowawayAuthority
    pep: IssuedSvid
    started: list[Process] = dataclasses.field(default_factory=list)

    def publish(self) -> None:
        """What the repository has now is what is served."""
        serve_folder(self.repository.files, self.folder / "repository")

    def configure(self, tree: Tree) -> None:
        """Write pdp.toml."""
        (self.folder / "pdp.toml").write_text(toml_text(tree))

    def start(self, *, listening: bool = True) -> Process:
        """Start `pdp serve`."""
        process = Process(self.folder, self.authority, self.pep)
        self.started.append(process)
        if listening:
            process.listening()
        return process


def quick_tree() -> Tree:
    """Polls five times a second; the first start needs a floor."""
    tree = changed("bundle.revision_floor", 1)
    tree["bundle"]["poll_interval_s"] = 0.2
    tree["tls"]["poll_interval_s"] = 0.1
    tree["limits"] = {"drain_s": 0.0}
    return tree


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A published bundle and a configuration; whatever was started is ended."""
    repository = Repository()
    repository.put(BUNDLE_PATH, archive(2, repository.now_s, DOCUMENTS))
    repository.publish_targets(POLICIES)
    authority = write_files(tmp_path, repository.trusted_root)
    found = House(tmp_path, repository, authority, authority.issue("pep"))
    found.publish()
    found.configure(quick_tree())
    try:
        yield found
    finally:
        for started in found.started:
            started.process.kill()
            started.process.wait()
            for stream in (started.process.stdout, started.process.stderr):
                with contextlib.suppress(OSError, ValueError):
                    if stream is not None:
                        stream.close()


def outcome(decision: Decision) -> tuple[str, str]:
    """Effect and cause."""
    return decision.effect.name, decision.cause.name


def test_serve_answers_updates_and_stops_clean(house: House) -> None:
    """Start, permit, a new bundle that denies, SIGTERM with exit 0, and again on the same spool."""
    running = house.start()
    first = running.until(bool)
    assert outcome(first) == ("PERMIT", "RULE")
    assert running.health() == health_pb2.HealthCheckResponse.SERVING
    assert first.bundle is not None
    assert first.record is not None
    assert first.record.pdp_id == "pdp-1/0/1"
    nobody = rule("nobody-reads", Effect.DENY)
    house.repository.put(
        BUNDLE_PATH,
        archive(3, house.repository.now_s, (policy("documents", nobody), DOCUMENTS[1])),
    )
    house.repository.publish_targets(POLICIES)
    house.publish()
    denied = running.until(lambda decision: not decision)
    assert outcome(denied) == ("DENY", "RULE")
    assert denied.bundle is not None
    assert denied.bundle.revision > first.bundle.revision
    assert running.stop() == 0
    again = house.start()
    decision = again.ask()
    assert outcome(decision) == ("DENY", "RULE")
    assert decision.record is not None
    assert decision.record.pdp_id == "pdp-1/0/2"
    assert again.stop() == 0
    events = [json.loads(line)["event"] for line in again.rest().splitlines()]
    assert events[-2:] == ["stopping", "stopped"]


def test_never_stale_in_a_real_process(house: House) -> None:
    """The heartbeat stops: a permit, then within the second DENY(STALE) and NOT_SERVING."""
    running = house.start()
    assert outcome(running.ask()) == ("PERMIT", "RULE")
    house.repository.freshen(datetime.now(UTC) + timedelta(seconds=3))
    house.publish()
    stale = running.until(lambda decision: not decision)
    assert outcome(stale) == ("DENY", "STALE")
    running.wait_for("health", state="stale")
    assert running.health() == health_pb2.HealthCheckResponse.NOT_SERVING
    house.repository.freshen()
    house.publish()
    assert outcome(running.until(bool)) == ("PERMIT", "RULE")


def test_an_unreachable_store_at_start_is_no_bundle_until_it_comes(house: House) -> None:
    """Nothing fetched and nothing kept: it listens, denies, says so, and recovers by itself."""
    store = house.folder / "repository"
    store.rename(house.folder / "away")
    running = house.start()
    assert outcome(running.ask()) == ("DENY", "NO_BUNDLE")
    assert running.health() == health_pb2.HealthCheckResponse.NOT_SERVING
    (house.folder / "away").rename(store)
    assert outcome(running.until(bool)) == ("PERMIT", "RULE")


def spoil_bundles(house: House) -> None:
    """One bit of every bundle that is served."""
    for bundle in (house.folder / "repository" / "targets" / POLICIES).glob("*.bundle.tar"):
        data = bytearray(bundle.read_bytes())
        data[len(data) // 2] ^= 1
        bundle.write_bytes(data)


def other_root(house: House) -> None:
    """A root of somebody else."""
    (house.folder / "root.json").write_bytes(Repository().trusted_root)


def other_authority(house: House) -> None:
    """A trust bundle that does not vouch for our own certificate."""
    (house.folder / "trust.pem").write_bytes(ThrowawayAuthority(TRUST_DOMAIN).bundle_pem)


def spoil_state(house: House) -> None:
    """A state file that is none."""
    (house.folder / "state").mkdir(mode=0o700)
    (house.folder / "state" / "state.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "code", "says"),
    [
        (spoil_bundles, 1, ""),
        (other_root, 1, "signed by 0/1 keys"),
        (other_authority, 2, "tls.certificate"),
        (spoil_state, 1, "state"),
        (lambda house: house.configure(good_tree()), 1, "revision_floor"),
        (lambda house: (house.folder / "server.key").unlink(), 2, "there is no file"),
        (
            lambda house: house.configure(changed("tls.trust_domain", "dev.invalid")),
            2,
            "dev.invalid",
        ),
    ],
)
def test_what_is_wrong_at_start_ends_it_with_a_line_to_act_on(
    spoil: Callable[[House], object], code: int, says: str, house: House
) -> None:
    """Exit code, one error, no traceback, nothing listening, no record lost."""
    spoil(house)
    process = house.start(listening=False)
    told = process.rest()
    assert process.process.returncode == code, told
    last = told.strip().splitlines()[-1]
    assert "error:" in told
    assert says in told
    assert "Traceback" not in told
    assert "bug" not in last
    assert (process.process.stdout or sys.stdin).read() == ""


def test_two_processes_do_not_share_port_spool_or_state(house: House) -> None:
    """The second one ends with exit 2 and says what is taken; the first one goes on."""
    running = house.start()
    tree = quick_tree()
    tree["listen"] = f"127.0.0.1:{running.port}"
    tree["bundle"]["state_folder"] = "state-2"
    tree["record"]["folder"] = "spool-2"
    house.configure(tree)
    second = house.start(listening=False)
    assert "choose another port" in second.rest()
    assert second.process.returncode == 2
    tree = quick_tree()
    tree["bundle"]["state_folder"] = "state-2"
    house.configure(tree)
    third = house.start(listening=False)
    told = third.rest()
    assert third.process.returncode == 2, told
    assert "spool" in told
    assert outcome(running.ask()) == ("PERMIT", "RULE")


def test_kill_9_loses_no_permit_that_was_given(house: House) -> None:
    """The spool of a killed process holds every permit its caller received."""
    from pdp.audit.spool import Spool

    running = house.start()
    records = [running.ask().record for _ in range(5)]
    running.process.kill()
    running.process.wait(START_S)
    spool = Spool.open(house.folder / "spool", "pdp-1")
    spool.close()
    data = b"".join(path.read_bytes() for path in sorted((house.folder / "spool").glob("*.seg")))
    assert all(record is not None for record in records)
    # Each record but the last is named by the one after it.
    assert all(record is not None and record.hash in data for record in records[:-1])


# -- the end --------------------------------------------------------------------------------------


def draining(house: House, drain_s: float) -> Process:
    """A process with time to drain."""
    tree = quick_tree()
    tree["limits"]["drain_s"] = drain_s
    house.configure(tree)
    running = house.start()
    running.until(bool)
    return running


def test_sigterm_says_not_serving_and_goes_on_answering(house: House) -> None:
    """Who looks at health four times a second leaves in time: no call fails, the spool is last."""
    running = draining(house, 1.5)
    running.process.send_signal(signal.SIGTERM)
    told = running.wait_for("stopping")
    assert told["drain_s"] == 1.5
    started = time.monotonic()
    answered = 0
    while time.monotonic() - started < 1.0:
        assert running.health() == health_pb2.HealthCheckResponse.NOT_SERVING
        assert outcome(running.ask()) == ("PERMIT", "RULE")
        answered += 1
        time.sleep(0.1)
    assert answered >= 3
    assert running.process.wait(START_S) == 0
    assert time.monotonic() - started >= 1.3
    assert json.loads(running.rest().splitlines()[-1])["event"] == "stopped"


def permits_recorded(spool: Path) -> int:
    """How many permits the spool holds, as `pdp audit show` tells them."""
    shown = subprocess.run(
        [sys.executable, "-c", "from pdp.cli import main; main()", "audit", "show", str(spool),
         "--effect", "permit", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    return len(shown.stdout.splitlines())


def test_a_call_in_flight_at_the_end_gets_its_answer(house: House) -> None:
    """Asked over and over until the port closes: every call that the door took was answered.

    A call that arrives while the library closes was not taken: gRPC ends it
    with CANCELLED, or it meets a closed port. Taken is what has a record.
    """
    running = draining(house, 0.3)
    before = permits_recorded(house.folder / "spool")
    ends = threading.Event()
    found: list[object] = []

    def caller() -> None:
        data = wire.request_to_pb(QUESTION).SerializeToString()
        with running.channel() as channel:
            method = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
            while not ends.is_set():
                try:
                    found.append(method(data, timeout=5).effect)
                except grpc.RpcError as error:
                    found.append(error.code().name)
                    return

    threads = [threading.Thread(target=caller) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    assert running.stop() == 0
    ends.set()
    for thread in threads:
        thread.join(10)
    answered = [one for one in found if one == pb.EFFECT_PERMIT]
    refused = [one for one in found if one != pb.EFFECT_PERMIT]
    assert len(answered) > 20
    # Each caller's last call came too late.
    assert len(refused) <= 4
    assert set(refused) <= {"UNAVAILABLE", "CANCELLED"}
    assert permits_recorded(house.folder / "spool") - before == len(answered)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_hurries(second: signal.Signals, house: House) -> None:
    """Nobody waits a minute because a setting says so; the end is still clean."""
    running = draining(house, 60)
    running.process.send_signal(signal.SIGTERM)
    running.wait_for("stopping")
    started = time.monotonic()
    running.process.send_signal(second)
    assert running.process.wait(START_S) == 0
    assert time.monotonic() - started < 10
    assert json.loads(running.rest().splitlines()[-1])["event"] == "stopped"


def test_sigint_does_not_drain(house: House) -> None:
    """Ctrl-C comes from a person, who does not wait for a load balancer."""
    running = draining(house, 60)
    started = time.monotonic()
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(START_S) == 0
    assert time.monotonic() - started < 10


def test_a_subject_token_in_a_real_process(house: House, tmp_path: Path) -> None:
    """Keys over HTTPS, a token over gRPC: a permit; whatever else comes, IDENTITY."""
    issuer = TokenIssuer()
    required = CallerEntry(f"spiffe://{TRUST_DOMAIN}/pep", ("*",), ("*",), None)
    house.repository.put(
        BUNDLE_PATH,
        archive(3, house.repository.now_s, (DOCUMENTS[0], CallerPolicy((required,)))),
    )
    house.repository.publish_targets(POLICIES)
    house.publish()
    now_s = int(time.time())
    times = {"iat": now_s, "exp": now_s + 600}
    with https_endpoint(tmp_path) as (_, where):
        tree = quick_tree()
        tree["tokens"] = {
            "issuers": [
                {"issuer": ISSUER, "audience": AUDIENCE, "subject_type": "user",
                 "keys": where["keys"], "ca_bundle": str(where["ca_bundle"])}
            ]
        }  # fmt: skip
        house.configure(tree)
        running = house.start()
    running.wait_for("keys_updated", issuer=ISSUER, usable=1)

    def ask(token: str) -> tuple[str, str]:
        return outcome(running.ask(question=dataclasses.replace(QUESTION, subject_token=token)))

    # The endpoint is gone by now: nothing waits for it.
    text = issuer.token(**times)
    assert ask(text) == ("PERMIT", "RULE")
    assert ask("") == ("DENY", "IDENTITY")
    assert ask(issuer.token({"alg": "none"}, **times)) == ("DENY", "IDENTITY")
    assert ask(issuer.token(**times | {"sub": "mallory"})) == ("DENY", "IDENTITY")
    assert ask(TokenIssuer(issuer.key, "new").token(**times)) == ("DENY", "IDENTITY")
    assert running.stop() == 0
    log = running.rest() + json.dumps(running.events)
    spool = b"".join(
        path.read_bytes() for path in (tmp_path / "spool").rglob("*") if path.is_file()
    )
    assert ISSUER.encode() in spool
    for part in text.split("."):
        assert part.encode() not in spool
        assert part not in log
