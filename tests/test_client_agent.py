"""The Python client with its identity from an agent: rotation, death, lies, forks; always DENY."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pdp.authoring.throwaway import ThrowawayAuthority
from pdp.errors import ConfigurationError
from pdp.model import Cause, Decision, Resource, Subject
from pdp_client import AsyncClient, Client, _agent
from tests.conftest import ROOT
from tests.simulators import agent as agents
from tests.simulators.agent import Agent, Handed
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.decision_points import RunningServer, running_server

ALICE, DOCUMENT = Subject("user", "alice"), Resource("document", "1")
DUTY = {("watermark", "mark")}
WAIT_S = 20.0


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[RunningServer, Agent]]:
    """A PDP, and an agent that hands out an identity that it believes."""
    async with running_server(folder) as running:
        handed = Handed([running.authority.issue("pep")], {TRUST_DOMAIN: [running.authority]})
        with Agent(folder / "agent.sock", handed) as agent:
            yield running, agent


def target(running: RunningServer) -> str:
    """Where it is."""
    return f"localhost:{running.address.port}"


async def until(client: AsyncClient, holds: Callable[[Decision], bool]) -> Decision:
    """Ask until the decision is such."""
    ends = time.monotonic() + WAIT_S
    while not holds(decision := await client.authorize(ALICE, "read", DOCUMENT, timeout=2)):
        assert time.monotonic() < ends, decision
        await asyncio.sleep(0.05)
    return decision


def test_both_clients_ask_as_whom_the_agent_says(tmp_path: Path) -> None:
    """And follow its rotation to another identity, over another connection."""

    async def scenario() -> None:
        async with served(tmp_path) as (running, agent):

            def sync() -> Decision:
                with Client(target(running), workload_api=agent.socket, can_meet=DUTY) as pdp:
                    return pdp.authorize(ALICE, "read", DOCUMENT, timeout=5)

            assert await asyncio.to_thread(sync)
            async with AsyncClient(
                target(running), workload_api=agent.socket, can_meet=DUTY
            ) as pdp:
                await until(pdp, bool)
                other = running.authority.issue("other")
                agent.hand(svids=[other])
                serial = f"{other.leaf.serial_number:x}"
                await until(pdp, lambda _: running.recorder.entries[-1].caller.serial == serial)
                assert pdp.renewals == 1

    asyncio.run(scenario())


def test_an_agent_that_dies_leaves_its_last_word_until_its_end(tmp_path: Path) -> None:
    """Permits until the certificate ends, then denials; and permits again with a new agent."""

    async def scenario() -> None:
        async with served(tmp_path) as (running, agent):
            agent.hand(svids=[running.authority.issue("pep", lifetime=timedelta(seconds=5))])
            async with AsyncClient(
                target(running), workload_api=agent.socket, can_meet=DUTY
            ) as pdp:
                await until(pdp, bool)
                agent.die()
                assert (await until(pdp, lambda found: not found)).cause in {
                    Cause.CALLER, Cause.UNREACHABLE,
                }  # fmt: skip
                agent.handed = dataclasses.replace(
                    agent.handed, svids=[running.authority.issue("pep")]
                )
                agent.start()
                await until(pdp, bool)

    asyncio.run(scenario())


@pytest.mark.parametrize("answer", [agents.refuses, agents.empty, agents.garbage, agents.huge])
def test_no_client_without_an_identity(
    answer: agents.Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be made: said with the socket and why."""
    monkeypatch.setattr(_agent, "START_S", 0.4)
    authority = ThrowawayAuthority(TRUST_DOMAIN)
    handed = Handed([authority.issue("pep")], {TRUST_DOMAIN: [authority]})
    with Agent(tmp_path / "agent.sock", handed) as agent:
        agent.hand(answer)
        with pytest.raises(ConfigurationError, match="gave no identity within"):
            Client("localhost:1", workload_api=agent.socket)


def test_authorities_are_those_of_the_named_trust_domain(tmp_path: Path) -> None:
    """Not those of the web, where there are none; not ours, where another one is named."""
    authority, partner = ThrowawayAuthority(TRUST_DOMAIN), ThrowawayAuthority("partner.example.org")
    handed = Handed([authority.issue("pep")], {TRUST_DOMAIN: [authority]})
    with Agent(tmp_path / "agent.sock", handed) as agent:
        with pytest.raises(ConfigurationError, match="no trust bundle of `partner"):
            Client("localhost:1", workload_api=agent.socket, trust_domain="partner.example.org")
        agent.hand(bundles={TRUST_DOMAIN: [authority], "partner.example.org": [partner]})
        source = _agent.AgentMaterial(agent.socket, "partner.example.org")
        assert source.first().trust_bundle == partner.bundle_pem
        assert source.changed() is None
        source.close()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "in their place"),
        ({"key": "k"}, "in their place"),
        ({"key": "k", "workload_api": "unix:/a"}, "not both"),
        ({"trust_domain": "example.org"}, "not given"),
        ({"workload_api": "/run/agent.sock"}, "unix:"),
        ({"workload_api": "tcp://127.0.0.1:1"}, "unix:"),
    ],
)
def test_half_an_identity_is_no_client(given: dict[str, str], words: str) -> None:
    """Neither, both, a part of either, another kind of place."""
    with pytest.raises(ConfigurationError, match=words):
        Client("localhost:1", **given)  # type: ignore[arg-type]


def test_a_client_with_an_agent_denies_after_a_fork(tmp_path: Path) -> None:
    """The thread that listens to the agent is the parent's: the child denies at once."""
    authority = ThrowawayAuthority(TRUST_DOMAIN)
    handed = Handed([authority.issue("pep")], {TRUST_DOMAIN: [authority]})
    with Agent(tmp_path / "agent.sock", handed) as agent:
        program = (
            "import os, sys\n"
            "from pdp_client import Client, Resource, Subject\n"
            "pdp = Client('localhost:1', workload_api=sys.argv[1])\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    found = pdp.authorize(Subject('u', '1'), 'read', Resource('d', '1'))\n"
            "    os._exit(7 if found.cause.name == 'UNREACHABLE' and not found else 1)\n"
            "ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
            "pdp.close()\n"
            "sys.exit(ended)\n"
        )
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program, agent.socket],
            cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 7, done.stderr


def test_the_client_without_an_agent_loads_nothing_of_it() -> None:
    """Whoever has files needs neither the library nor the extra."""
    program = "import sys, pdp_client; sys.exit(any(m.startswith('spiffe') for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0
