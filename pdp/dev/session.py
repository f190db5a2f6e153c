"""One `pdp dev`, from the first look at the policies to the last word.

1  the address is a loopback address and free      else nothing is made
2  a folder, keys, a repository, an authority
3  the policies compile and are published          until they do, wait for a save
4  the server of `pdp serve`, with the anchor of development
5  looks at the folder, a few a second; the timestamp is kept fresh
6  the server ends as on SIGTERM, the folder is removed
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from pdp.audit.spool import Spool
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import Compilation
from pdp.authoring.watching import Watch
from pdp.bundle import BundleKeeper, BundleSettings
from pdp.bundle.anchor import DEVELOPMENT_TRUST_DOMAIN, Anchor
from pdp.bundle.settings import DEFAULT_TENANT, check_tenant
from pdp.config.settings import Address, RecordSettings, Settings, TlsSettings
from pdp.decision_point import SystemClock
from pdp.dev.decisions import TellingRecorder
from pdp.dev.folder import DevelopmentFolder, development_folder
from pdp.dev.news import NewsDesk, Started, Trouble
from pdp.dev.press import Certificates, Press
from pdp.dev.question import first_question, program
from pdp.dev.workbench import Edition, Workbench, check_folder
from pdp.errors import BundleRefusedError
from pdp.server.listener import DurableRecorder, check_free
from pdp.server.process import serve
from pdp.telemetry import Telemetry

# Two looks see the same before a save counts: half a second at most, and little work.
LOOK_S: Final = 0.2
_INSTANCE: Final = "dev"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line says.

    Attributes:
        policies: the folder.
        listen: a loopback address.
        folder: to keep, or None: a temporary one.
        trust_domain: whose callers are played; empty means the first one's.
        tenant: whose policies these are.
    """

    policies: Path
    listen: Address
    folder: Path | None = None
    trust_domain: str = ""
    tenant: str = DEFAULT_TENANT


def run(wishes: Wishes, desk: NewsDesk) -> None:
    """Everything, until SIGINT, SIGTERM or SIGHUP.

    Raises:
        ConfigurationError: nothing was started.
        BundleError, SpoolError: as `pdp serve`; a bug, since all of it was made here.
    """
    Anchor.DEVELOPMENT.check_place(DEVELOPMENT_TRUST_DOMAIN, wishes.listen.host)
    check_folder(wishes.policies)
    check_tenant(wishes.tenant)
    check_free(wishes.listen)
    with contextlib.suppress(KeyboardInterrupt), _ended_by_signals(), _private():  # noqa: SIM117 in this order
        with development_folder(wishes.folder) as folder, Checker() as checker:
            Session(wishes, folder, checker, desk).run()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """All ways of being told to end are Ctrl-C, until the server has its own."""
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _private() -> Iterator[None]:
    """What is made here is its owner's alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


class Session:
    """What one command has in its hands.

    Args:
        wishes: judged.
        folder: prepared.
        checker: running.
        desk: where news go.
    """

    def __init__(
        self, wishes: Wishes, folder: DevelopmentFolder, checker: Checker, desk: NewsDesk
    ) -> None:
        self._wishes = wishes
        self._folder = folder
        self._desk = desk
        self._press = Press(folder, wishes.tenant)
        self._certificates = Certificates(folder.certificates)
        self._workbench = Workbench(wishes.policies, checker, self._publish, wishes.trust_domain)
        self._watch = Watch(wishes.policies)
        self._clock = SystemClock()
        # None until there is something to serve.
        self._keeper: BundleKeeper | None = None
        self._watching: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Steps 2 to 6."""
        tls = self._certificates.issue_server(self._wishes.listen.host)
        root = self._press.open()
        self._look()
        while self._workbench.served is None:
            time.sleep(LOOK_S)
            if self._watch.changed():
                self._look()
            self._press.freshen_if_due()
        settings = self._settings(tls, root)
        keeper = BundleKeeper(
            settings.bundle, settings.limits.evaluation, self._clock.wall_ns, Anchor.DEVELOPMENT
        )
        with self._folder.log.open("a", encoding="utf-8") as log:
            telemetry = Telemetry(log, self._clock.wall_ns)
            telemetry.capture_logging()
            try:
                self._keeper = keeper
                uvloop.run(
                    serve(
                        settings,
                        keeper,
                        self._clock,
                        telemetry,
                        self._listening,
                        recorder_of=self._recorder,
                    )
                )
            finally:
                telemetry.close()

    def _settings(self, tls: TlsSettings, root: Path) -> Settings:
        """As a `pdp.toml` would say; defaults are those of `pdp serve`."""
        folder = self._folder
        return Settings(
            instance=_INSTANCE,
            listen=self._wishes.listen,
            tls=tls,
            bundle=BundleSettings(
                str(folder.repository),
                root,
                folder.state,
                revision_floor=1,
                tenants=(self._wishes.tenant,),
                providers=None,
            ),
            record=RecordSettings(folder.record),
        )

    def _recorder(self, spool: Spool) -> DurableRecorder:
        return TellingRecorder(spool, self._desk.tell, self._clock.wall_ns)

    def _publish(self, compilation: Compilation) -> int:
        """Into the repository, and from there into the server, verified on the way."""
        revision = self._press.publish(compilation)
        if self._keeper is not None:
            result = self._keeper.poll()
            if not result.verified:
                raise BundleRefusedError(f"the server does not take it: {result.detail}")
        return revision

    def _look(self) -> None:
        report = self._workbench.look()
        if report.is_new and report.served is not None:
            for role in report.served.cast.roles:
                self._certificates.of(role.path)
        self._desk.tell(report)

    def _listening(self, address: Address) -> None:
        """On the event loop, once."""
        loop = asyncio.get_running_loop()
        # A closed terminal ends us as SIGTERM does.
        loop.add_signal_handler(signal.SIGHUP, signal.raise_signal, signal.SIGTERM)
        if self._workbench.served is not None:
            self._desk.tell(self._started(address, self._workbench.served))
        self._watching = loop.create_task(self._watch_forever(), name="watch")

    def _started(self, address: Address, edition: Edition) -> Started:
        question = first_question(
            edition.compilation, edition.policies, edition.cast, edition.rows, time.time_ns()
        )
        certificate, key = self._certificates.of(question.path)
        text = program(question, address, self._certificates.trust_bundle, certificate, key)
        self._folder.program.write_text(text, encoding="utf-8")
        return Started(
            address=address,
            folder=self._folder.path,
            kept=self._folder.kept,
            cast=edition.cast,
            certificates=tuple(self._certificates.of(role.path)[0] for role in edition.cast.roles),
            program_path=self._folder.program,
            program=text,
        )

    async def _watch_forever(self) -> None:
        """Ends with the event loop; what goes wrong is told, and the next look may fare better."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await asyncio.to_thread(self._turn)
            except Exception as error:  # noqa: BLE001 the server goes on, and so do we
                self._desk.tell(Trouble(f"{type(error).__name__}: {error}"))
                await asyncio.sleep(10 * LOOK_S)

    def _turn(self) -> None:
        """One look, off the event loop: decisions go on meanwhile."""
        if self._watch.changed():
            self._look()
        if self._press.freshen_if_due() and self._keeper is not None:
            self._keeper.poll()
