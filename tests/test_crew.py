"""Several processes on one port are one PDP: real processes, real signals, real crashes."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from pdp import wire
from pdp.audit.budget import SpoolLimits
from pdp.audit.disk import RealDisk
from pdp.audit.orphans import close_orphans, logs_in
from pdp.audit.spool import Spool
from pdp.audit.survey import survey
from pdp.callers import CallerEntry, CallerPolicy
from pdp.config.settings import Address
from pdp.errors import ConfigurationError
from pdp.model import Decision, Effect, RecordRef
from pdp.server.crew.port import HeldPort
from pdp.server.listener import check_free
from pdp.v1 import authorization_pb2 as pb
from tests.conftest import Ledger
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.configurations import Tree
from tests.simulators.decision_points import AUTHORIZE
from tests.simulators.repository import POLICIES, archive, policy, rule
from tests.test_process import (
    BUNDLE_PATH,
    DOCUMENTS,
    QUESTION,
    START_S,
    House,
    Process,
    house,
    outcome,
    quick_tree,
    spoil_bundles,
)

__all__ = ["house"]

CLOCKS = (time.time_ns, time.monotonic_ns)
HOSTS = ("127.0.0.1", "0.0.0.0", "::1")  # noqa: S104 the attack is on each of them


def crew_tree(workers: int = 2) -> Tree:
    """Two workers, quick polls."""
    tree = quick_tree()
    tree["workers"] = workers
    return tree


class CrewProcess(Process):
    """A PDP of several processes, and who is who among them."""

    def seen(self, event: str, **fields: object) -> dict[str, object]:
        """Such an event, whether it was read already or comes."""
        for found in self.events:
            if found["event"] == event and fields.items() <= found.items():
                return found
        return self.wait_for(event, **fields)

    def pid(self, child: str) -> int:
        """Of a child at its first start."""
        found = self.seen("process_started", child=child)["pid"]
        assert isinstance(found, int)
        return found

    def ask_both(self, workers: int = 2) -> dict[int, Decision]:
        """Over connections of their own until each worker has answered one."""
        found: dict[int, Decision] = {}
        ends = time.monotonic() + START_S
        while len(found) < workers:
            assert time.monotonic() < ends, found
            decision = self.ask()
            assert decision.record is not None
            found.setdefault(worker_of(decision.record), decision)
        return found


def worker_of(record: RecordRef) -> int:
    """The second part of `instance/worker/boot`."""
    return int(record.pdp_id.split("/")[1])


def start(house: House, tree: Tree | None = None) -> CrewProcess:
    """A PDP of several workers that answers."""
    house.configure(tree or crew_tree())
    process = CrewProcess(house.folder, house.authority, house.pep)
    house.started.append(process)
    process.listening()
    return process


def publish(
    house: House, revision: int, effect: Effect, callers: CallerPolicy | None = None
) -> None:
    """A bundle whose one rule has this effect."""
    document = policy("documents", rule("everybody-reads", effect))
    members = (document, callers or DOCUMENTS[1])
    house.repository.put(BUNDLE_PATH, archive(revision, house.repository.now_s, members))
    house.repository.publish_targets(POLICIES)
    house.publish()


def alive(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that has no event."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.05)


def is_free(address: Address) -> bool:
    """Whether a new PDP gets it. Threads of a killed process may hold it a moment longer."""
    try:
        HeldPort.take(address).close()
    except ConfigurationError:
        return False
    return True


def processes_shown(port: int) -> set[str]:
    """Whose figures a scrape shows."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return set(re.findall(r'process="([\w-]+)"', answer.read().decode()))


def verified(folder: Path, heads: list[RecordRef]) -> int:
    """How many records the logs of a PDP have, which hold and have these heads in them."""
    records = 0
    for worker, spools in logs_in([folder], RealDisk()).items():
        its = [head for head in heads if worker_of(head) == worker]
        found = survey(spools, RealDisk(), heads=its)
        assert found.problems.count == 0, found.problems.found
        assert (found.anchor is None) == (its == [])
        records += found.records
    return records


# The port, without processes.


@pytest.mark.parametrize("host", HOSTS)
def test_a_port_that_is_held_is_nobody_elses(host: str) -> None:
    """Neither a PDP of one process nor one of several gets it; its own workers do."""
    held = HeldPort.take(Address(host, 0))
    try:
        with contextlib.ExitStack() as opened:
            for _ in range(2):
                for take in (HeldPort.take, check_free):
                    with pytest.raises(ConfigurationError, match="choose another port"):
                        take(held.address)
                # The second time while a worker listens.
                opened.enter_context(listener(held.address))
                opened.enter_context(listener(held.address))
    finally:
        held.close()
    HeldPort.take(held.address).close()


def test_a_port_that_is_held_twin_without_guard() -> None:
    """With SO_REUSEADDR left on the held socket, a second PDP would get the port beside it."""
    held = HeldPort.take(Address("127.0.0.1", 0))
    try:
        held._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        HeldPort.take(held.address).close()
    finally:
        held.close()


def listener(address: Address) -> socket.socket:
    """As a worker's."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((address.host, address.port))
    made.listen()
    return made


def test_a_port_of_somebody_else_is_refused() -> None:
    """Taken by a program that shares nothing, or no address of this machine."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigurationError, match="in use"):
            HeldPort.take(Address("127.0.0.1", other.getsockname()[1]))
    with pytest.raises(ConfigurationError, match="no address"):
        HeldPort.take(Address("no.such.host.invalid", 1))


# Spools that are left over, without processes.


def leave_spools(folder: Path) -> dict[int, bytes]:
    """Three spools with a torn end each, as after a crash of everything."""
    folder.mkdir(mode=0o700)
    ends: dict[int, bytes] = {}
    for worker in range(3):
        place = folder if worker == 0 else folder / f"worker-{worker}"
        Spool.open(place, "pdp-1", worker).close()
        segment = max(place.glob("*.seg"))
        ends[worker] = segment.read_bytes()
        with segment.open("ab") as file:
            file.write(b"torn")
    return ends


def close(folder: Path, in_use: set[int]) -> list[int]:
    """Which orphans were recovered."""
    found = close_orphans(
        folder, "pdp-1", in_use, limits=SpoolLimits(), disk=RealDisk(), clocks=CLOCKS
    )
    return [worker_of(RecordRef(orphan.pdp_id, 1, b"")) for orphan in found]


def test_orphan_spools_are_recovered_once_and_verify(tmp_path: Path) -> None:
    """Those that no worker opens get a last boot that states their end, and only one."""
    folder = tmp_path / "record"
    leave_spools(folder)
    assert close(folder, {1}) == [0, 2]
    assert close(folder, {1}) == []
    assert close(folder, set()) == [1]
    assert verified(folder, []) > 3


def test_orphan_spools_of_another_process_are_refused(tmp_path: Path) -> None:
    """A spool that is in use is no orphan: two PDPs were given one folder."""
    folder = tmp_path / "record"
    leave_spools(folder)
    other = Spool.open(folder / "worker-2", "pdp-1", 2)
    try:
        with max((folder / "worker-2").glob("*.seg")).open("ab") as file:
            file.write(b"torn")
        with pytest.raises(ConfigurationError, match="in use"):
            close(folder, {0, 1})
    finally:
        other.close()


# Real processes.


def test_two_workers_are_one_pdp(house: House) -> None:
    """Both answer and record; they change over together; a killed one comes back; all verifies."""
    running = start(house, crew_tree() | {"metrics": {"listen": "127.0.0.1:0"}})
    heads = [decision.record for decision in running.ask_both().values() if decision.record]
    assert {head.pdp_id for head in heads} == {"pdp-1/1/1", "pdp-1/2/1"}

    tree = crew_tree()
    tree["listen"] = f"127.0.0.1:{running.port}"
    for workers in (1, 3):
        tree["workers"] = workers
        house.configure(tree)
        second = house.start(listening=False)
        assert "choose another port" in second.rest()
        assert second.process.returncode == 2

    publish(house, 3, Effect.DENY)
    done = running.wait_for("changed_over")
    assert isinstance(done["skew_s"], float)
    assert done["skew_s"] <= 2.0
    assert {outcome(each) for each in running.ask_both().values()} == {("DENY", "RULE")}

    # Whichever worker is scraped shows all processes, once they have written what they have.
    scraped = int(str(running.seen("metrics_listening")["port"]))
    until(lambda: processes_shown(scraped) == {"parent", "fetcher", "worker-1", "worker-2"})

    os.kill(running.pid("worker-1"), signal.SIGKILL)
    assert running.wait_for("process_ended", child="worker-1")["code"] == -signal.SIGKILL
    # The other one answers whatever comes meanwhile.
    assert outcome(running.ask()) == ("DENY", "RULE")
    running.wait_for("listening", process="worker-1")
    again = running.ask_both()[1].record
    assert again is not None
    assert again.pdp_id == "pdp-1/1/2"
    heads.append(again)

    assert running.stop() == 0
    assert verified(house.folder / "spool", heads) > len(heads)


def test_workers_end_with_their_parent(house: House) -> None:
    """The parent is killed: nobody answers any more, the port is free, a new PDP has it."""
    running = start(house)
    heads = [decision.record for decision in running.ask_both().values() if decision.record]
    children = [running.pid(name) for name in ("fetcher", "worker-1", "worker-2")]
    running.process.kill()
    running.process.wait(START_S)
    until(lambda: not any(alive(pid) for pid in children))
    until(lambda: is_free(Address("127.0.0.1", running.port)))
    # One process from now on: the workers' spools are orphans, and lose nothing.
    house.configure(quick_tree())
    single = house.start()
    assert single.ask()
    assert single.stop() == 0
    assert single.rest().count('"spool_recovered"') == 2
    assert verified(house.folder / "spool", heads) > len(heads)


ENDS = """
import os, subprocess, sys, time
program = "import os, sys, time; from pdp.server.crew.child import die_with; "
program += "%s print(os.getpid(), flush=True); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", program % sys.argv[1]], stdin=subprocess.PIPE)
time.sleep(60)
"""


def orphaned(guard: str) -> int:
    """A process whose parent was killed, and which guarded against that so; its process id."""
    command = [sys.executable, "-c", ENDS, guard]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    return child


def test_a_child_is_killed_with_its_parent() -> None:
    """By the kernel, whatever the child is doing."""
    child = orphaned("die_with(os.getppid());")
    until(lambda: not alive(child))


def test_a_child_is_killed_with_its_parent_twin_without_guard() -> None:
    """Without it a child that is busy elsewhere goes on answering for a PDP that is no more."""
    child = orphaned("")
    try:
        assert alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_what_is_wrong_at_the_start_of_several_ends_it_with_a_line_to_act_on(
    house: House,
) -> None:
    """The fetcher refuses the bundle: exit code 1, its words, no port, no worker."""
    spoil_bundles(house)
    house.configure(crew_tree())
    process = house.start(listening=False)
    told = process.rest()
    assert process.process.returncode == 1, told
    assert "error:" in told
    assert "Traceback" not in told
    assert "worker-1" not in told


# Long proofs.


@dataclass
class Load:
    """Callers that ask over and over, each on a connection of its own.

    Attributes:
        answers: what came back, by moment.
        errors: what did not.
    """

    process: Process
    callers: int = 4
    answers: list[tuple[float, int, str, int]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    ends: threading.Event = field(default_factory=threading.Event)

    def busy(self) -> bool:
        """Whether many were answered."""
        return len(self.answers) > 50

    def _ask(self) -> None:
        data = wire.request_to_pb(QUESTION).SerializeToString()
        while not self.ends.is_set():
            with self.process.channel() as channel:
                method = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
                for _ in range(20):
                    try:
                        answer = method(data, timeout=5, wait_for_ready=True)
                    except grpc.RpcError as error:
                        self.errors.append(str(error.code()))
                        return
                    decision = wire.decision_from_pb(answer)
                    assert decision.bundle is not None
                    assert decision.record is not None
                    revision = decision.bundle.revision
                    which = worker_of(decision.record)
                    found = (time.monotonic(), revision, decision.effect.name, which)
                    self.answers.append(found)

    @contextlib.contextmanager
    def going(self) -> Iterator[Load]:
        """While this is entered, they ask."""
        threads = [threading.Thread(target=self._ask) for _ in range(self.callers)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.ends.set()
            for thread in threads:
                thread.join(START_S)


def skews(answers: list[tuple[float, int, str, int]]) -> list[float]:
    """For each revision: from its first answer until the last answer by an older one."""
    found = []
    for revision in sorted({each[1] for each in answers})[1:]:
        first = min(at for at, its, _, _ in answers if its >= revision)
        older = [at for at, its, _, _ in answers if its < revision]
        found.append(max(0.0, max(older) - first))
    return found


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_hot_reload_under_load_has_no_error_and_bounded_skew(house: House, ledger: Ledger) -> None:
    """Twenty revisions while callers ask: no error, each answer by its own version, skew ≤ 2 s."""
    running = start(house, crew_tree(3))
    effects = {2: "PERMIT"}
    with Load(running).going() as load:
        for revision in range(3, 23):
            effect = Effect.DENY if revision % 2 else Effect.PERMIT
            effects[revision] = effect.name
            publish(house, revision, effect)
            running.wait_for("changed_over")
    assert load.errors == []
    assert all(effects[revision] == effect for _, revision, effect, _ in load.answers)
    assert {worker for _, _, _, worker in load.answers} == {1, 2, 3}
    measured = skews(load.answers)
    assert len(measured) == 20
    assert max(measured) <= 2.0
    assert running.stop() == 0
    assert verified(house.folder / "spool", []) > len(load.answers)
    ledger(answers=len(load.answers), revisions=20, skew_max_s=round(max(measured), 3))


def many(number: int) -> bytes:
    """A batch of questions that all have one answer, which depends on the version."""
    batch = pb.AuthorizeBatchRequest(
        request_id=f"b-{number}", semantic=pb.BATCH_SEMANTIC_EXECUTE_ALL
    )
    for each in range(100):
        question = dataclasses.replace(QUESTION, request_id=f"q-{each}")
        batch.items.append(wire.request_to_pb(question))
    return batch.SerializeToString()


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_no_batch_mixes_versions_while_workers_change_over(house: House, ledger: Ledger) -> None:
    """Batches of 100 during twenty changeovers: each is all PERMIT or all DENY, of one revision."""
    pep = f"spiffe://{TRUST_DOMAIN}/pep"
    may_batch = CallerEntry(pep, ("*",), ("*",), ("user",), may=frozenset({"batch"}))
    callers = CallerPolicy((may_batch,))
    publish(house, 3, Effect.PERMIT, callers)
    running = start(house, crew_tree(3))
    ends = threading.Event()
    mixed: list[object] = []
    kinds: Counter[str] = Counter()

    def ask() -> None:
        number = 0
        while not ends.is_set():
            with running.channel() as channel:
                method = channel.unary_unary(
                    AUTHORIZE + "Batch", bytes, pb.AuthorizeBatchResponse.FromString
                )
                for number in range(number, number + 10):  # noqa: B020
                    answer = method(many(number), timeout=10, wait_for_ready=True)
                    seen = {(item.effect, item.bundle.revision) for item in answer.items}
                    kinds[str(sorted(effect for effect, _ in seen))] += 1
                    if len(seen) != 1 or len(answer.items) != 100:
                        mixed.append(seen)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for revision in range(4, 24):
            publish(house, revision, Effect.DENY if revision % 2 else Effect.PERMIT, callers)
            running.wait_for("changed_over")
    finally:
        ends.set()
        for thread in threads:
            thread.join(START_S)
    assert mixed == []
    assert len(kinds) == 2
    ledger(batches=kinds.total(), changeovers=20)


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_kill_9_of_workers_loses_no_record_that_was_answered(house: House, ledger: Ledger) -> None:
    """Workers are killed under load, again and again: what was answered is in the logs."""
    running = start(house)
    heads: list[RecordRef] = []
    pids: dict[str, object] = {name: running.pid(name) for name in ("worker-1", "worker-2")}
    kills = 0
    for number in range(6):
        child = f"worker-{number % 2 + 1}"
        heads += [each.record for each in running.ask_both().values() if each.record]
        with Load(running, callers=3).going() as load:
            until(functools.partial(Load.busy, load))
            os.kill(int(str(pids[child])), signal.SIGKILL)
            running.wait_for("process_ended", child=child)
            pids[child] = running.wait_for("process_started", child=child)["pid"]
            running.wait_for("listening", process=child)
        kills += 1
        # It settles, or this would rightly end the PDP.
        assert set(load.errors) <= {"StatusCode.UNAVAILABLE"}
    assert running.stop() == 0
    records = verified(house.folder / "spool", heads)
    ledger(kills=kills, heads=len(heads), records=records)


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_without_a_fetcher_workers_go_on_until_they_are_stale(house: House) -> None:
    """The fetcher is stopped and never polls: permits until freshness ends, then STALE."""
    running = start(house)
    os.kill(running.pid("fetcher"), signal.SIGSTOP)
    publish(house, 3, Effect.DENY)
    house.repository.freshen()
    house.publish()
    assert {outcome(each) for each in running.ask_both().values()} == {("PERMIT", "RULE")}
    # A fetcher that says nothing is replaced, and the new one finds what was published.
    assert running.wait_for("process_silent", child="fetcher")
    running.wait_for("changed_over")
    assert {outcome(each) for each in running.ask_both().values()} == {("DENY", "RULE")}


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_a_dead_fetcher_is_stale_in_time(house: House) -> None:
    """Killed at each start, it brings no freshness: every worker is STALE to the second."""
    running = start(house)
    ends_s = time.time() + 6
    house.repository.freshen(datetime.fromtimestamp(int(ends_s), UTC))
    house.publish()
    time.sleep(2)
    os.kill(running.pid("fetcher"), signal.SIGSTOP)
    until(lambda: time.time() > int(ends_s))
    stale = {outcome(each) for each in running.ask_both().values()}
    assert stale == {("DENY", "STALE")}
    os.kill(running.pid("fetcher"), signal.SIGKILL)
    running.wait_for("process_started", child="fetcher")
    house.repository.freshen()
    house.publish()
    assert outcome(running.until(bool)) == ("PERMIT", "RULE")


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_a_worker_that_sleeps_through_a_changeover_never_answers_by_the_old(
    house: House,
) -> None:
    """Stopped, it is ended when the others have switched; when it could wake, it is no more."""
    running = start(house)
    pid = running.pid("worker-1")
    os.kill(pid, signal.SIGSTOP)
    publish(house, 3, Effect.DENY)
    running.wait_for("worker_behind", child="worker-1")
    until(lambda: not alive(pid))
    running.wait_for("listening", process="worker-1")
    assert {outcome(each) for each in running.ask_both().values()} == {("DENY", "RULE")}


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_a_worker_that_never_stays_alive_ends_the_pdp(house: House) -> None:
    """Its spool is taken away: it ends again and again, and then the PDP does, with exit code 1."""
    running = start(house)
    spool = house.folder / "spool" / "worker-1"
    os.kill(running.pid("worker-1"), signal.SIGKILL)
    spool.rename(house.folder / "spool-away")
    spool.write_text("not a folder")
    assert running.process.wait(START_S) == 1
    told = running.rest()
    assert "again and again" in told
    assert not alive(running.pid("worker-2"))


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_verify_reads_the_logs_of_all_workers(house: House) -> None:
    """`pdp audit verify` of the PDP's folder: each log by its heads; a head of none is refused."""
    running = start(house)
    heads = [each.record for each in running.ask_both().values() if each.record]
    assert running.stop() == 0

    def verify(*texts: str) -> subprocess.CompletedProcess[str]:
        options = [word for text in texts for word in ("--head", text)]
        program = "from pdp.cli import main; main()"
        command = [sys.executable, "-c", program, "audit", "verify", str(house.folder / "spool")]
        return subprocess.run([*command, *options], capture_output=True, text=True, check=False)

    named = [f"{head.pdp_id}:{head.seq}:{head.hash.hex()}" for head in heads]
    found = verify(*named)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("the log holds") == 2
    assert verify(named[0]).returncode == 3
    assert verify(*named, f"pdp-1/7/1:1:{'0' * 64}").returncode == 2
