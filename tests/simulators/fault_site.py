"""A PDP as it is deployed, with everything around it that can go wrong, and clients that ask.

A real `pdp serve` with the bundle of policies/expense-reports, a bundle store
behind HTTP, a spool on a small file system where one can be mounted, and one
authority each for the PDP and for its callers. Every question has a resource
id of its own, so that a permit can be found in the record.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pdp.audit.disk import RealDisk
from pdp.audit.log import Opened, head_text
from pdp.audit.problems import Place
from pdp.audit.survey import survey
from pdp.authoring import throwaway
from pdp.authoring.compilation import Compilation, compile_directory
from pdp.authoring.throwaway import IssuedSvid, ThrowawayAuthority
from pdp.cli import audit
from pdp.model import Decision, Effect, RecordRef
from pdp.publishing.building import Release, build
from pdp.v1.authorization_pb2 import EFFECT_PERMIT
from pdp.values import NANOS
from pdp_client import Client, Resource, Subject
from tests.conftest import ROOT
from tests.simulators.bent_pdp import Controls
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.configurations import Tree, good_tree, toml_text
from tests.simulators.repository import (
    BUNDLE_PATH,
    POLICIES,
    Files,
    HttpServer,
    Repository,
    archive,
    callers,
    honest,
    policy,
    rule,
    serve_http,
)
from tests.simulators.rotation import Files as ClientFiles

POLICIES_FOLDER = ROOT / "policies" / "expense-reports"
FRONTEND = "expenses/frontend"
# Clocks are stepped by two hours: certificates are good for longer, both ways.
LONG = timedelta(hours=6)
START_S = 60.0
LANES = 8
BUDGET_S = 1.0
LATE_S_MAX = 2.0
IN_FLIGHT_MAX = 16
CONNECTION_AGE_S = 4.0
POLL_S = 0.2
SPOOL_MIB = 48
SETTLED = 50
LOG = "log.jsonl"

MANAGER = Subject("user", "ben", {"roles": ["manager"], "department": "sales"})
STRANGER = Subject("user", "eve", {"roles": [], "department": "legal"})


@dataclass(frozen=True, slots=True)
class Permit:
    """A permit that a client received, and what for."""

    resource_id: str
    decision_id: str
    record: RecordRef


@dataclass
class Seen:
    """What clients saw in one row.

    Attributes:
        row: its name; part of every resource id.
        outcomes: answers by effect and cause.
        permits: as received.
        wrong: answers that must not have been.
        told: events of the PDP's log.
        fresh_until_ns: no permit of this row may be recorded later.
    """

    row: str
    outcomes: Counter[str] = field(default_factory=Counter)
    permits: list[Permit] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    late_s: float = 0.0
    told: set[str] = field(default_factory=set)
    fresh_until_ns: int | None = None
    numbers: Iterator[int] = field(default_factory=itertools.count)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def calls(self) -> int:
        """How many were answered."""
        return sum(self.outcomes.values())

    def question(self) -> tuple[Subject, Resource]:
        """The next; every fourth is one whose honest answer is a denial."""
        number = next(self.numbers)
        stranger = number % 4 == 3
        properties = {"status": "submitted", "author": "ana", "department": "sales"}
        name = f"{self.row}-{number}{'-denied' if stranger else ''}"
        return (STRANGER if stranger else MANAGER), Resource("expense_report", name, properties)

    def keep(self, asked: Resource, decision: Decision, late_s: float, *, permits: bool) -> None:
        """Count one answer, and say at once what is wrong with it by itself."""
        with self.lock:
            self._keep(asked, decision, late_s, permits=permits)

    def _keep(self, asked: Resource, decision: Decision, late_s: float, *, permits: bool) -> None:
        self.outcomes[f"{decision.effect.name}/{decision.cause.name}"] += 1
        self.late_s = max(self.late_s, late_s)
        if late_s > LATE_S_MAX:
            self.wrong.append(f"{asked.id} was answered {late_s:.1f} s after its budget")
        if decision.effect is not Effect.PERMIT:
            return
        if decision.record is None:
            self.wrong.append(f"{asked.id} was permitted without a record")
            return
        self.permits.append(Permit(asked.id, decision.decision_id, decision.record))
        if asked.id.endswith("-denied"):
            self.wrong.append(f"{asked.id} was permitted, and no policy permits it")
        if not permits:
            self.wrong.append(f"{asked.id} was permitted while nobody could decide")


class Pdp:
    """One process, its log in a file.

    Args:
        folder: of pdp.toml.
        bent: flags of the bent entry point; None: the real one.
    """

    def __init__(self, folder: Path, bent: tuple[str, ...] | None) -> None:
        config = str(folder / "pdp.toml")
        arguments = ["-c", "from pdp.cli import main; main()", "serve", "--config", config]
        if bent is not None:
            module = "tests.simulators.bent_pdp"
            arguments = ["-m", module, config, str(folder / "controls.json"), *bent]
        log_path = folder / LOG
        with log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=log, text=True,
                cwd=ROOT,
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, log_path.read_text()[-2_000:]
        self.port: int = json.loads(line)["port"]

    def signal(self, number: signal.Signals) -> None:
        """Send it."""
        self.process.send_signal(number)

    def end(self) -> None:
        """Kill, also if it is stopped; nothing is left of it."""
        self.process.kill()
        self.process.wait(START_S)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def forbid_growth(self, *, forbid: bool) -> None:
        """No file may grow: a full disk for who may not mount one."""
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        soft = 0 if forbid else hard
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (soft, hard))


@functools.cache
def sample_policies() -> Compilation:
    """The real policies, compiled once."""
    return compile_directory(POLICIES_FOLDER)


def yesterday() -> bytes:
    """A bundle in which everybody may read every report: it was withdrawn."""
    everything = dataclasses.replace(
        policy("everything", rule("everybody-reads")), resource_type="expense_report"
    )
    return archive(2, documents=(everything, callers(f"spiffe://{TRUST_DOMAIN}/*")))


def sign_policies(repository: Repository, revision: int) -> None:
    """Publish the real policies."""
    release = Release(revision, int(time.time()))
    repository.put(BUNDLE_PATH, build(sample_policies(), release))
    repository.publish_targets(POLICIES)


def two_days() -> tuple[Repository, Files, Files]:
    """A repository, what it served yesterday, and what it serves today."""
    repository = Repository()
    repository.put(BUNDLE_PATH, yesterday())
    repository.publish_targets(POLICIES)
    old = repository.saved()
    sign_policies(repository, 3)
    return repository, old, repository.saved()


@dataclass
class Site:
    """One PDP and its surroundings. Make it with `open_site`.

    Attributes:
        old: what the store served when yesterday's bundle was good.
        mounted: whether the spool is on a file system of its own.
    """

    folder: Path
    repository: Repository
    store: HttpServer
    authority: ThrowawayAuthority
    callers: ThrowawayAuthority
    old: Files
    mounted: bool
    bent: tuple[str, ...] | None
    controls: Controls
    pdp: Pdp = field(init=False)
    own: Client | None = None
    revision: int = 4
    clients: int = 0

    @property
    def client(self) -> Client:
        """The site's own."""
        assert self.own is not None
        return self.own

    @property
    def spool(self) -> Path:
        """The folder of records."""
        return self.folder / "small" / "spool"

    def tree(self) -> Tree:
        """The configuration: quick to notice everything."""
        tree = good_tree()
        tree["bundle"] |= {
            "source": self.store.url, "revision_floor": 1, "poll_interval_s": POLL_S,
            "poll_time_max_s": 1.0,
        }  # fmt: skip
        tree["tls"]["poll_interval_s"] = 0.1
        tree["record"]["folder"] = str(self.spool)
        tree["limits"] = {
            "drain_s": 0.0,
            "requests_in_flight_max": IN_FLIGHT_MAX,
            "connection_age_max_s": CONNECTION_AGE_S,
        }
        return tree

    def start(self, port: int = 0) -> None:
        """Start the PDP; on the same port, where one is given."""
        (self.folder / "pdp.toml").write_text(
            toml_text(self.tree() | {"listen": f"127.0.0.1:{port}"})
        )
        self.pdp = Pdp(self.folder, self.bent)

    def new_client(self, svid: IssuedSvid | None = None) -> tuple[Client, ClientFiles]:
        """A client with files of its own."""
        self.clients += 1
        files = ClientFiles(self.folder / f"client-{self.clients}")
        files.trust(self.authority.bundle_pem)
        files.show(svid or self.callers.issue(FRONTEND, lifetime=LONG, started=LONG))
        target = f"localhost:{self.pdp.port}"
        return Client(target, **files.paths, budget_s=BUDGET_S), files

    def show(self, lifetime: timedelta) -> IssuedSvid:
        """Give the PDP another certificate; it looks at its files ten times a second."""
        svid = self.authority.issue("pdp", dns_names=["localhost"], lifetime=lifetime, started=LONG)
        svid.write(self.folder, "server")
        return svid

    def trust(self, *authorities: ThrowawayAuthority) -> None:
        """Whom the PDP believes from now on."""
        beside = self.folder / "trust.new"
        beside.write_bytes(b"".join(one.bundle_pem for one in authorities))
        beside.replace(self.folder / "trust.pem")

    # -- asking

    def ask(
        self,
        seen: Seen,
        calls: int,
        *,
        budget_s: float = BUDGET_S,
        permits: bool = True,
        client: Client | None = None,
        halfway: Callable[[], None] | None = None,
        lanes: int = LANES,
    ) -> None:
        """Ask so often, in several threads.

        Args:
            seen: where answers are counted.
            calls: how many.
            budget_s: of each.
            permits: whether there may be any.
            client: who asks, if not the site's own.
            halfway: called by one of the threads when half of the calls are made.
            lanes: threads.
        """
        asker = client or self.client
        numbers = iter(range(calls))

        def lane() -> None:
            # `next` of an iterator over a range is one step of the interpreter.
            for number in numbers:
                if halfway is not None and number == calls // 2:
                    halfway()
                subject, asked = seen.question()
                started = time.monotonic()
                decision = asker.authorize(subject, "read", asked, timeout=budget_s)
                late_s = time.monotonic() - started - budget_s
                seen.keep(asked, decision, late_s, permits=permits)

        with ThreadPoolExecutor(lanes) as pool:
            for asking in [pool.submit(lane) for _ in range(lanes)]:
                asking.result()

    def until(self, *, permits: bool, client: Client | None = None, seconds: float = 30.0) -> None:
        """Ask, uncounted, until the answers are such."""
        ends = time.monotonic() + seconds
        asked = Resource("expense_report", "probe", {"status": "submitted", "department": "sales"})
        while True:
            found = (client or self.client).authorize(MANAGER, "read", asked, timeout=2.0)
            if bool(found) is permits:
                return
            assert time.monotonic() < ends, f"still {found.effect.name} for {found.cause.name}"
            time.sleep(0.05)

    def settle(self) -> None:
        """Ask one by one, uncounted, until many permits in a row came in time.

        After a time in which answers were slow, a PDP believes for a while
        that questions with little time are hopeless.
        """
        asked = Resource("expense_report", "settle", {"status": "submitted", "department": "sales"})
        ends = time.monotonic() + START_S
        run = 0
        while run < SETTLED:
            run = run + 1 if self.client.authorize(MANAGER, "read", asked) else 0
            assert time.monotonic() < ends, "permits do not come back"

    # -- the store

    def publish(self) -> None:
        """Sign the real policies as the next revision; not yet served."""
        sign_policies(self.repository, self.revision)
        self.revision += 1

    def heartbeat(self, seconds: float | None = None) -> int:
        """Sign the timestamp anew, for so long, and wait until the PDP has it.

        Returns:
            When it expires, in nanoseconds since 1970.
        """
        self.store.answer = honest
        while True:
            expires = int(time.time() + (seconds or 3_600)) + 1
            self.repository.freshen(datetime.fromtimestamp(expires, UTC))
            self.store.files = self.repository.saved()
            first = len(self.store.asked)
            ends = time.monotonic() + START_S
            # When a second poll begins, the first is done.
            while self.store.asked[first:].count("metadata/timestamp.json") < 2:
                assert time.monotonic() < ends, "the PDP does not poll"
                time.sleep(0.02)
            if time.time() < expires - 1:
                return expires * NANOS

    # -- the record

    def log_bytes(self) -> int:
        """How long the log is."""
        return (self.folder / LOG).stat().st_size

    def told(self, since: int) -> set[str]:
        """Events of the log from this byte on."""
        with (self.folder / LOG).open("rb") as log:
            log.seek(since)
            # gRPC writes lines of its own there.
            lines = [line for line in log if line.startswith(b"{") and line.endswith(b"}\n")]
        return {json.loads(line)["event"] for line in lines}

    def recorded(self, seen: Seen) -> list[str]:
        """What is wrong with the record of these permits, and with the record itself."""
        found: dict[str, Opened] = {}

        def visit(_: Place, record: Opened) -> None:
            if record.body == "decision":
                found[record.message.decision.decision_id] = record

        heads = [permit.record for permit in seen.permits]
        result = survey([self.spool], RealDisk(), heads=heads[-500:], visit=visit)
        wrong = [f"verification: {problem}" for problem in result.problems.found[:5]]
        for permit in seen.permits:
            record = found.get(permit.decision_id)
            if record is None:
                wrong.append(f"{permit.resource_id} was permitted and is not in the record")
                continue
            entry = record.message.decision
            stated = (entry.effect, entry.resource_id, record.ref)
            if stated != (EFFECT_PERMIT, permit.resource_id, permit.record):
                wrong.append(f"{permit.resource_id} was permitted, and the record says otherwise")
            if seen.fresh_until_ns is not None and record.time_ns >= seen.fresh_until_ns:
                wrong.append(f"{permit.resource_id} was permitted by a stale bundle")
        return wrong + self._verified(heads[-1:])

    def _verified(self, heads: list[RecordRef]) -> list[str]:
        """What `pdp audit verify` says, given the last head: exit code 0, or 3 without a head."""
        app = typer.Typer()
        audit.register(app)
        options = [part for head in heads for part in ("--head", head_text(head))]
        done = CliRunner().invoke(app, ["audit", "verify", str(self.spool), *options])
        return [] if done.exit_code == (0 if heads else 3) else [f"audit verify: {done.output}"]

    def close(self) -> None:
        """End the process that runs now, which need not be the first."""
        if self.own is not None:
            self.own.close()
        self.pdp.end()


def _mount(place: Path) -> bool:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SPOOL_MIB}m,mode=0700", "none", str(place)],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


@contextlib.contextmanager
def open_site(folder: Path, bent: tuple[str, ...] | None = None) -> Iterator[Site]:
    """A site that permits; whatever was started or mounted is gone afterwards.

    Args:
        folder: to be made.
        bent: flags of the bent entry point; None: the real `pdp serve`, whose
            spool is on a file system of its own if one can be mounted.
    """
    folder.mkdir()
    with contextlib.ExitStack() as opened:
        # The authorities, too, are older than the step of the clock.
        patch = opened.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(throwaway, "_SKEW", LONG)
        authority, callers_authority = (ThrowawayAuthority(TRUST_DOMAIN) for _ in range(2))
        repository, old, new = two_days()
        store = opened.enter_context(serve_http(old))
        (folder / "root.json").write_bytes(repository.trusted_root)
        controls = Controls(folder / "controls.json")
        controls.write()
        (folder / "small").mkdir(mode=0o700)
        mounted = bent is None and _mount(folder / "small")
        if mounted:
            opened.callback(subprocess.run, ["umount", "-l", str(folder / "small")], check=True)
        site = Site(
            folder, repository, store, authority, callers_authority, old, mounted, bent, controls
        )
        site.show(LONG)
        site.trust(authority, callers_authority)
        store.files = new
        site.start()
        opened.callback(site.close)
        site.own, _ = site.new_client()
        site.until(permits=True)
        yield site
