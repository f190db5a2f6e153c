"""A whole Portcullis in one folder: authority, keys, repository, server, record.

Everything is made by the real `pdp` command and served by a real process. The
authority and the keys are thrown away with the folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pdp.authoring.throwaway import ThrowawayAuthority
from pdp_client import Client

ROOT = Path(__file__).resolve().parent.parent.parent
POLICIES = ROOT / "policies" / "expense-reports"
# The command that was installed with the interpreter that runs this.
PDP = Path(sys.executable).with_name("pdp")
TRUST_DOMAIN = "demo.example.org"
CALLER = "expenses/frontend"
START_S_MAX = 20.0
COMMAND_S_MAX = 60.0


class StageError(Exception):
    """The demo cannot go on."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running `pdp serve`."""

    process: subprocess.Popen[str]
    port: int


class Scene:
    """The folder and what is in it.

    Args:
        folder: empty, and the caller's to remove.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificates = folder / "certificates"
        self.repository = folder / "repository"
        self.keys = folder / "keys"
        self.record = folder / "record"

    def pdp(
        self, *arguments: str | Path, expect: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run `pdp` as from a shell.

        Raises:
            StageError: it ended with another exit code than `expect`; None takes any.
        """
        words = [str(argument) for argument in arguments]
        result = subprocess.run(
            [PDP, *words],
            cwd=self.folder,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=COMMAND_S_MAX,
            check=False,
        )
        if expect is not None and result.returncode != expect:
            message = f"`pdp {' '.join(words)}` ended with {result.returncode}:\n{result.stderr}"
            raise StageError(message)
        return result

    def issue_certificates(self) -> None:
        """An authority, and certificates for the PDP and for one caller."""
        authority = ThrowawayAuthority(TRUST_DOMAIN)
        self.certificates.mkdir()
        (self.certificates / "ca.pem").write_bytes(authority.bundle_pem)
        # Clients check the DNS name: docs/adr/0006.
        pdp = authority.issue("pdp", dns_names=["localhost"], addresses=["127.0.0.1"])
        pdp.write(self.certificates, "pdp")
        authority.issue(CALLER).write(self.certificates, "caller")

    def configure(self, name: str, repository: Path) -> Path:
        """Write a `pdp.toml` that serves this repository; return its path."""
        path = self.folder / name
        path.write_text(
            f"""\
instance = "demo"
listen = "localhost:0"

[tls]
trust_domain = "{TRUST_DOMAIN}"
certificate = "{self.certificates}/pdp.pem"
key = "{self.certificates}/pdp.key"
trust_bundle = "{self.certificates}/ca.pem"

[bundle]
source = "{repository}"
root = "{self.keys}/root.json"
state_folder = "{self.folder}/state"
revision_floor = 1

[record]
folder = "{self.record}"

[limits]
drain_s = 0  # there is no load balancer to wait for
"""
        )
        return path

    def start(self, configuration: Path) -> Server:
        """Start `pdp serve` and wait until it listens.

        Raises:
            StageError: it ended instead, or said nothing in time.
        """
        with (self.folder / "serve.log").open("w") as log:
            process = subprocess.Popen(
                [PDP, "serve", "--config", configuration],
                cwd=self.folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        watchdog = threading.Timer(START_S_MAX, process.kill)
        watchdog.start()
        try:
            line = process.stdout.readline() if process.stdout else ""
        finally:
            watchdog.cancel()
        if not line:
            process.wait()
            if process.stdout:
                process.stdout.close()
            message = f"pdp serve did not start:\n{(self.folder / 'serve.log').read_text()}"
            raise StageError(message)
        return Server(process, json.loads(line)["port"])

    @contextmanager
    def serving(self, repository: Path) -> Iterator[Server]:
        """A server for a while; ended kindly unless it is already gone."""
        server = self.start(self.configure("pdp.toml", repository))
        try:
            yield server
        finally:
            server.process.terminate()
            try:
                server.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()
            if server.process.stdout:
                server.process.stdout.close()

    def client(self, server: Server, can_meet: frozenset[tuple[str, str]] = frozenset()) -> Client:
        """A client with the caller's certificate, and patience for a busy machine."""
        return Client(
            f"localhost:{server.port}",
            trust_bundle=self.certificates / "ca.pem",
            certificate=self.certificates / "caller.pem",
            key=self.certificates / "caller.key",
            budget_s=5.0,
            can_meet=can_meet,
        )

    def publish_first(self, policies: Path = POLICIES) -> None:
        """Keys, repository, and the first edition of these policies, in the default places."""
        self.pdp("bundle", "init", "--policies", policies)
        self.pdp("bundle", "build", policies)
        self.pdp("bundle", "publish", "bundle.tar")

    def publish_denials(self, denials: dict[str, object]) -> None:
        """Another edition, which differs in its list of emergency denials."""
        path = self.folder / "denials.json"
        path.write_text(json.dumps(denials))
        self.pdp("bundle", "publish", "--emergency", path)

    def copy_repository(self, name: str) -> Path:
        """The repository as it is now, for later."""
        return Path(shutil.copytree(self.repository, self.folder / name))


def _environment() -> dict[str, str]:
    """Ours, without what would configure `pdp` or colour its output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PDP_")}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "200"}
