"""The AuthZEN door with the fixture of the certification scenario, and a client over real TLS."""

from __future__ import annotations

import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pdp.authoring.checker import Checker
from pdp.authoring.compilation import compile_sources
from pdp.authoring.throwaway import IssuedSvid, ThrowawayAuthority
from pdp.cel.limits import EvaluationLimits
from pdp.config.settings import Address, AuthzenSettings
from pdp.directory.reading import Directory, DirectoryReader
from pdp.page_token import PageTokens
from pdp.policy import PolicySet
from pdp.search import Searching
from pdp.search_query import SearchLimits
from pdp.server.authzen.pages import load_offer
from pdp.telemetry import Telemetry
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.decision_points import RunningServer, now_snapshot, running_server

BASE_URL = "https://pdp.example.org"
EVALUATION = "/access/v1/evaluation"
EVALUATIONS = "/access/v1/evaluations"

# Section "Fixture" of the scenario: who may do what to records.
POLICY = """
policy: records
resource: record
owner: tests@example.org
rules:
  - id: anyone-reads
    effect: permit
    actions: [read]
    when: '!has(resource.properties.status) || resource.properties.status != "archived"'
    justification: test
  - id: active-is-written-by-users
    effect: permit
    actions: [write]
    when: >-
      (!has(resource.properties.status) || resource.properties.status != "archived")
      && (!has(subject.properties.role) || subject.properties.role != "admin")
      && subject.id != "bob"
    justification: test
  - id: archived-is-written-by-admins
    effect: permit
    actions: [write]
    when: >-
      has(resource.properties.status) && resource.properties.status == "archived"
      && has(subject.properties.role) && subject.properties.role == "admin"
    obligations: [{id: note, type: notification, properties: {to: audit, weight: 1.0}}]
    justification: test
  - id: deletion-is-soft
    effect: permit
    actions: [delete]
    when: has(action.properties.soft) && action.properties.soft == true
    justification: test
  - id: nobody-shreds
    effect: deny
    actions: [shred]
    reason: {user: records are kept, admin: OPS-7 keeps records}
"""
CALLERS = f"""
kind: callers
callers:
  - id: spiffe://{TRUST_DOMAIN}/pep
    resources: [record]
    actions: ["*"]
    subjects: {{assert: [user]}}
    may: [batch, search]
"""


@functools.cache
def records() -> tuple[PolicySet, Any]:
    """Policies and caller policy of the scenario, compiled once."""
    with Checker() as checker:
        found = compile_sources({"p.yaml": POLICY.encode(), "c.yaml": CALLERS.encode()}, checker)
    return found.policy_set(EvaluationLimits()), found.callers


# Section "Required Fixture" of the scenario: who and what there is.
DIRECTORY: dict[str, Any] = {
    "version": 1,
    "subjects": [
        {"type": "user", "id": "alice"},
        {"type": "user", "id": "bob", "properties": {"role": "admin"}},
    ],
    "resources": [
        {"type": "record", "id": "record-1", "properties": {"status": "active"}},
        {"type": "record", "id": "record-2", "properties": {"status": "archived"}},
    ],
}


def searching(
    directory: Directory, limits: SearchLimits | None = None, secret: bytes | None = None
) -> Callable[[Telemetry], Searching]:
    """Searches in this directory."""
    chosen = limits or SearchLimits()

    def made(telemetry: Telemetry) -> Searching:
        # Patient: the machine is busy.
        reader = DirectoryReader(directory, 20.0, telemetry)
        return Searching(reader, PageTokens(secret, chosen.token_life_s), chosen)

    return made


@dataclass
class AuthzenServer:
    """A running door, and how to ask it."""

    running: RunningServer
    url: str
    folder: Path  # for files that TLS wants to read

    def tls(
        self, svid: IssuedSvid | None = None, *, authority: ThrowawayAuthority | None = None
    ) -> ssl.SSLContext:
        """A client that shows this certificate; by default a good one."""
        running = self.running
        context = ssl.create_default_context(
            cadata=(authority or running.authority).bundle_pem.decode()
        )
        path = self.folder / "shown.pem"
        shown = svid or running.pep
        path.write_bytes(shown.key_pem + shown.certificate_pem)
        context.load_cert_chain(path)
        return context

    def client(self, svid: IssuedSvid | None = None) -> httpx.AsyncClient:
        """An HTTP client of its own."""
        return httpx.AsyncClient(
            base_url=self.url, verify=self.tls(svid), trust_env=False, timeout=10.0
        )

    async def post(
        self, path: str, json: Any, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Ask once, over a connection of its own."""
        async with self.client() as client:
            return await client.post(path, json=json, headers=headers)

    async def raw(
        self, content: bytes, path: str = EVALUATION, kind: str | None = "application/json"
    ) -> httpx.Response:
        """Send these bytes."""
        headers = {} if kind is None else {"content-type": kind}
        async with self.client() as client:
            return await client.post(path, content=content, headers=headers)


@contextlib.asynccontextmanager
async def authzen_server(
    folder: Path, *, base_url: str = BASE_URL, **options: Any
) -> AsyncIterator[AuthzenServer]:
    """Both doors, over real mutual TLS, deciding about records."""
    policies, callers = records()
    snapshot = now_snapshot(policies={"default": policies}, callers=callers)
    settings = AuthzenSettings(Address("127.0.0.1", 0), base_url)
    offer = load_offer(settings, ("default",), search="searching" in options)
    options = {"snapshot": snapshot, "authzen": offer, **options}
    async with running_server(folder, **options) as running:
        listener = running.server.authzen
        assert listener is not None
        yield AuthzenServer(running, f"https://localhost:{listener.address.port}", folder)


def alice(**properties: Any) -> dict[str, Any]:
    """A subject."""
    return entity("user", "alice", properties)


def bob() -> dict[str, Any]:
    """A subject with a role."""
    return entity("user", "bob", {"role": "admin"})


def record(number: int, **properties: Any) -> dict[str, Any]:
    """A resource."""
    return entity("record", f"record-{number}", properties)


def entity(kind: str, name: str, properties: dict[str, Any]) -> dict[str, Any]:
    """A subject or resource; no properties are left out."""
    found: dict[str, Any] = {"type": kind, "id": name}
    return found | ({"properties": properties} if properties else {})


def asks(
    subject: dict[str, Any], action: str, resource: dict[str, Any], **properties: Any
) -> dict[str, Any]:
    """One evaluation; further properties are the action's."""
    found: dict[str, Any] = {"name": action}
    if properties:
        found["properties"] = properties
    return {"subject": subject, "action": found, "resource": resource}
