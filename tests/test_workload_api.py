"""Identity from the SPIFFE Workload API: an agent that is honest, away, hostile, or others'."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import re
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from pdp import workload_api
from pdp.authoring.throwaway import IssuedSvid, ThrowawayAuthority
from pdp.callers import CallerEntry, CallerPolicy
from pdp.config import load_settings
from pdp.config.settings import Address, AuthzenSettings, WorkloadApiSettings
from pdp.errors import ConfigurationError
from pdp.identity import source
from pdp.identity.agent import AgentIdentity
from pdp.identity.svid import SvidVerifier, Verified
from pdp.model import Effect
from pdp.server import process
from pdp.server.authzen.pages import load_offer
from pdp.snapshot import Denials
from pdp.v1 import authorization_pb2 as pb
from pdp.values import NANOS
from pdp.workload_api import Stream, x509_contexts
from tests.conftest import ROOT, Ledger
from tests.simulators import agent as agents
from tests.simulators.agent import Agent, Handed
from tests.simulators.authzen import BASE_URL, EVALUATION, EVALUATIONS, AuthzenServer
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.configurations import Tree, good_tree, toml_text, write_files
from tests.simulators.decision_points import AUTHORIZE, message, now_snapshot, running_server
from tests.simulators.repository import POLICIES, archive
from tests.test_batch import BATCH
from tests.test_process import BUNDLE_PATH, DOCUMENTS, House, house, quick_tree
from tests.test_rotation import Callers
from tests.test_stream import STREAM

__all__ = ["house"]

OLD, NEW = ThrowawayAuthority(TRUST_DOMAIN), ThrowawayAuthority(TRUST_DOMAIN)
PARTNER = "partner.example.org"
PARTNERS = ThrowawayAuthority(PARTNER)
WAIT_S = 20.0
PEP_ID = f"spiffe://{TRUST_DOMAIN}/pep"


def own(authority: ThrowawayAuthority, path: str = "pdp", **options: timedelta) -> IssuedSvid:
    """A certificate for the server."""
    return authority.issue(path, dns_names=["localhost"], addresses=["127.0.0.1"], **options)


FIRST, SECOND, AFTER = own(OLD), own(OLD), own(NEW)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """An honest one."""
    with Agent(tmp_path / "agent.sock", Handed([FIRST], {TRUST_DOMAIN: [OLD]})) as running:
        yield running


def settings(agent: Agent, **changes: object) -> WorkloadApiSettings:
    """Settings that the agent fits."""
    given = {"trust_domain": TRUST_DOMAIN, "socket": agent.socket} | changes
    return WorkloadApiSettings(**given)  # type: ignore[arg-type]


class Opened:
    """An identity that is kept current, and closed."""

    def __init__(self, agent: Agent, start_s: float = WAIT_S, **changes: object) -> None:
        self.source = AgentIdentity(settings(agent, **changes), time.time_ns, start_s)

    def __enter__(self) -> AgentIdentity:
        return self.source

    def __exit__(self, *error: object) -> None:
        self.source.close()


def until(kept: AgentIdentity, *changed: str) -> None:
    """Look until exactly this has changed."""
    ends = time.monotonic() + WAIT_S
    while (look := kept.look()).changed != changed:
        assert look.changed == ()
        assert time.monotonic() < ends, look
        time.sleep(0.01)


def until_problem(kept: AgentIdentity, words: str) -> None:
    """Look until something is told, and nothing has changed."""
    ends = time.monotonic() + WAIT_S
    while words not in " ".join((look := kept.look()).problems) or not look.problems:
        assert look.changed == ()
        assert time.monotonic() < ends, look
        time.sleep(0.01)


def test_identity_and_authorities_are_the_agents(agent: Agent) -> None:
    """Certificate, key and trust bundle of one message, judged as files are."""
    with Opened(agent) as kept:
        found = kept.identity
        assert found.spiffe_id == f"spiffe://{TRUST_DOMAIN}/pdp"
        assert found.certificate_pem == FIRST.certificate_pem
        assert found.trust_pem == OLD.bundle_pem
        assert "PRIVATE KEY" in found.key_pem.decode()
        assert "PRIVATE" not in repr(found)
        assert kept.look().problems == ()


def test_a_rotation_by_the_agent_is_taken_into_use(agent: Agent) -> None:
    """A new certificate, a new authority beside the old one, the old one gone."""
    with Opened(agent) as kept:
        agent.hand(svids=[SECOND])
        until(kept, "certificate")
        agent.hand(bundles={TRUST_DOMAIN: [OLD, NEW]})
        until(kept, "trust bundle")
        agent.hand(svids=[AFTER], bundles={TRUST_DOMAIN: [NEW]})
        until(kept, "trust bundle", "certificate")
        assert kept.identity.trust_pem == NEW.bundle_pem
        assert kept.identity.certificate_pem == AFTER.certificate_pem


def test_an_authority_that_the_agent_takes_out_goes_even_if_ours_is_from_it(agent: Agent) -> None:
    """As with files: our own certificate is no reason to believe a removed authority."""
    with Opened(agent) as kept:
        agent.hand(bundles={TRUST_DOMAIN: [NEW]})
        until(kept, "trust bundle")
        assert kept.identity.certificate_pem == FIRST.certificate_pem
        until_problem(kept, "does not lead to an authority")


BAD_ANSWERS = {
    "no identity": (agents.refuses, "PERMISSION_DENIED"),
    "nothing in it": (agents.empty, "cannot be empty"),
    "garbage": (agents.garbage, ""),
    "too large": (agents.huge, "RESOURCE_EXHAUSTED"),
    "too many authorities": (agents.many, ""),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_an_agent_that_lies_changes_nothing_and_is_told(name: str, agent: Agent) -> None:
    """The last word that could be used stays; when the agent is honest again, it is believed."""
    answer, words = BAD_ANSWERS[name]
    with Opened(agent) as kept:
        before = kept.identity
        agent.hand(answer, svids=[SECOND])
        # Who is connected gets it at once; who breaks off comes back for more of it.
        agent.die()
        agent.start()
        until_problem(kept, words)
        assert kept.identity is before
        assert all(problem.isprintable() and len(problem) < 500 for problem in kept.look().problems)
        agent.hand(agents.honest)
        until(kept, "certificate")
        assert kept.identity.certificate_pem == SECOND.certificate_pem
        assert kept.look().problems == ()


@pytest.mark.parametrize("name", [*BAD_ANSWERS, "silence", "nobody"])
def test_there_is_no_start_without_an_identity(name: str, agent: Agent) -> None:
    """Whatever the agent does instead of handing one out; said with the socket and why."""
    if name == "nobody":
        agent.die()
    elif name == "silence":
        agent.hand(agents.silent)
    else:
        agent.hand(BAD_ANSWERS[name][0])
    with pytest.raises(ConfigurationError, match="gave no identity within") as caught:
        Opened(agent, start_s=0.4)
    assert agent.socket in str(caught.value)


FOREIGN = own(PARTNERS)


@pytest.mark.parametrize(
    ("handed", "changes", "words"),
    [
        (Handed([FOREIGN], {PARTNER: [PARTNERS]}), {}, "no trust bundle of"),
        (Handed([FOREIGN], {PARTNER: [PARTNERS], TRUST_DOMAIN: [OLD]}), {}, "not an X.509-SVID of"),
        (Handed([FIRST], {TRUST_DOMAIN: [NEW]}), {}, "does not lead to an authority"),
        (Handed([own(OLD, lifetime=timedelta(minutes=-1))], {TRUST_DOMAIN: [OLD]}), {}, "at this"),
        (
            Handed([FIRST], {TRUST_DOMAIN: [OLD]}),
            {"spiffe_id": f"spiffe://{TRUST_DOMAIN}/other"},
            "no identity `spiffe://",
        ),
    ],
    ids=["foreign", "foreign beside ours", "no authority", "expired", "another workload's"],
)
def test_an_identity_that_is_not_ours_is_no_start(
    handed: Handed, changes: dict[str, object], words: str, agent: Agent
) -> None:
    """Of another trust domain, under no authority, over, or another workload's."""
    agent.hand(svids=handed.svids, bundles=handed.bundles)
    with pytest.raises(ConfigurationError, match=words):
        Opened(agent, start_s=0.4, **changes)


def test_a_start_waits_for_an_agent_that_is_late(agent: Agent) -> None:
    """Both may start at the same time: what it says first is not its last word."""
    agent.hand(svids=[FOREIGN], bundles={PARTNER: [PARTNERS]})
    late = threading.Timer(
        0.3, agent.hand, kwargs={"svids": [FIRST], "bundles": {TRUST_DOMAIN: [OLD]}}
    )
    late.start()
    with Opened(agent) as kept:
        assert kept.identity.certificate_pem == FIRST.certificate_pem
    late.join()


def test_of_several_identities_the_named_one_is_ours(agent: Agent) -> None:
    """Without a name the agent's first; with one, that one and no other."""
    admin = own(OLD, "admin")
    agent.hand(svids=[FIRST, admin])
    with Opened(agent) as kept:
        assert kept.identity.spiffe_id.endswith("/pdp")
    with Opened(agent, spiffe_id=f"spiffe://{TRUST_DOMAIN}/admin") as kept:
        assert kept.identity.spiffe_id.endswith("/admin")
        agent.hand(svids=[FIRST])
        until_problem(kept, "has no identity")
        assert kept.identity.spiffe_id.endswith("/admin")


def test_an_agent_that_dies_leaves_its_last_word(agent: Agent) -> None:
    """It is told; when another one is there, what that one says counts."""
    with Opened(agent) as kept:
        before = kept.identity
        agent.die()
        until_problem(kept, "tls.workload_api")
        assert kept.identity is before
        agent.handed = Handed([AFTER], {TRUST_DOMAIN: [NEW]})
        agent.start()
        until(kept, "trust bundle", "certificate")
        assert kept.look().problems == ()


def test_an_agent_that_hangs_is_found_out(agent: Agent) -> None:
    """It holds the connection and says nothing: the next time it is asked, it is told."""
    stream = Stream(agent.socket, x509_contexts, renew_s=0.1, first_s=0.2)
    stream.start()
    try:
        assert stream.newer_than(0, WAIT_S) is not None
        agent.hand(agents.silent)
        ends = time.monotonic() + WAIT_S
        while stream.problem != "the agent says nothing":
            assert time.monotonic() < ends
            time.sleep(0.01)
        assert stream.latest is not None
    finally:
        stream.close()


def test_partners_are_those_that_are_named_and_that_the_agent_has(agent: Agent) -> None:
    """Not all whom the agent knows; one that is missing costs its own callers only."""
    agent.hand(bundles={TRUST_DOMAIN: [OLD], PARTNER: [PARTNERS]})
    with Opened(agent) as kept:
        assert [each.trust_domain for each in kept.identity.trust.bundles] == [TRUST_DOMAIN]
    with Opened(agent, federates_with=(PARTNER, "absent.example.org")) as kept:
        domains = [each.trust_domain for each in kept.identity.trust.bundles]
        assert domains == [TRUST_DOMAIN, PARTNER]
        assert "absent.example.org" in kept.look().problems[0]
        # Each message is complete: what is not in it is gone.
        agent.hand(bundles={TRUST_DOMAIN: [OLD]})
        until(kept, "trust bundle")
        assert [each.trust_domain for each in kept.identity.trust.bundles] == [TRUST_DOMAIN]
        # A partner whose authority is ours, too, could make our identities.
        agent.hand(bundles={TRUST_DOMAIN: [OLD], PARTNER: [PARTNERS, OLD]})
        until_problem(kept, "in common")
        assert [each.trust_domain for each in kept.identity.trust.bundles] == [TRUST_DOMAIN]


def test_a_closed_stream_asks_no_more(agent: Agent) -> None:
    """Nothing is left connected, and it may be closed before anything came."""
    with Opened(agent):
        pass
    asked = agent.asked
    agent.die()
    agent.start()
    stream = Stream(agent.socket, x509_contexts)
    stream.close()
    assert agent.asked == asked


# -- a server -------------------------------------------------------------------------------------


def check_our_end(folder: Path) -> None:
    """Our certificate ends under an open connection: not serving, and every door refuses."""
    offer = load_offer(AuthzenSettings(Address("127.0.0.1", 0), BASE_URL))

    async def scenario() -> None:
        async with running_server(folder, authzen=offer) as running, running.channel() as channel:
            unary = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
            batch = channel.unary_unary(BATCH, bytes, pb.AuthorizeBatchResponse.FromString)
            stream = channel.stream_stream(STREAM, bytes, pb.AuthorizeStreamResponse.FromString)
            assert running.server.authzen is not None
            url = f"https://localhost:{running.server.authzen.address.port}"
            conversation = stream(None, timeout=20)
            question = pb.AuthorizeStreamRequest(
                request=pb.AuthorizeRequest.FromString(message())
            ).SerializeToString()
            await conversation.write(question)
            first: Any = await conversation.read()
            assert first.answer.effect == pb.EFFECT_PERMIT
            async with AuthzenServer(running, url, folder).client(running.pep) as http:
                assert (await http.get("/.well-known/authzen-configuration")).status_code == 200
                assert (await unary(message(), timeout=5)).effect == pb.EFFECT_PERMIT
                # Past our end, and not past the caller's: another server's certificate is short.
                running.server._verifier.use(running.server.identity.trust, 1)
                running.server.identity = dataclasses.replace(running.server.identity, ends_ns=1)
                assert running.server.state() == "identity_ended"
                response = await http.get("/.well-known/authzen-configuration")
                assert response.status_code == 503
                for method, data in ((unary, message()), (batch, b"")):
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await method(data, timeout=5)
                    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await conversation.write(question)
                    await conversation.read()
                assert await conversation.code() is grpc.StatusCode.UNAVAILABLE
            refused = running.telemetry.counters["refused", "identity_ended"]
            assert refused >= 4

    asyncio.run(scenario())


def test_nobody_is_answered_after_our_own_certificate_has_ended(tmp_path: Path) -> None:
    """On connections that are open, through every door; callers are told that it is not them."""
    check_our_end(tmp_path)


def test_nobody_is_answered_twin_without_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the look, what we believe outlives whoever would tell us better."""
    real = SvidVerifier._believe
    monkeypatch.setattr(SvidVerifier, "_believe", lambda self, trust, _: real(self, trust, None))
    with pytest.raises(AssertionError):
        check_our_end(tmp_path)


def agent_tree(agent: Agent) -> Tree:
    """A configuration with an agent."""
    tree = quick_tree()
    tree["tls"] = {
        "trust_domain": TRUST_DOMAIN, "workload_api": agent.socket, "poll_interval_s": 0.1,
    }  # fmt: skip
    return tree


def test_a_process_lives_by_its_agent(house: House, tmp_path: Path) -> None:
    """It serves, follows a rotation, outlives the agent until its certificate ends, and is back."""
    authority = house.authority
    with Agent(
        tmp_path / "agent.sock", Handed([own(authority)], {TRUST_DOMAIN: [authority]})
    ) as agent:
        house.configure(agent_tree(agent))
        running = house.start()
        assert running.ask().effect is Effect.PERMIT
        # A quarter of its life is left: told.
        agent.hand(svids=[own(authority, lifetime=timedelta(seconds=6))])
        running.wait_for("tls_updated", changed="certificate")
        agent.die()
        told = running.wait_for("tls_refused")
        assert "tls.workload_api" in str(told["detail"])
        assert running.ask().effect is Effect.PERMIT
        running.wait_for("health", state="identity_ended")
        with pytest.raises(grpc.RpcError) as caught:
            running.ask()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        agent.handed = Handed([own(authority)], {TRUST_DOMAIN: [authority]})
        agent.start()
        running.wait_for("health", state="serving")
        assert running.ask().effect is Effect.PERMIT
        assert running.stop() == 0


def test_a_process_does_not_start_without_its_agent(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says which socket and why, and is gone."""
    agent = Agent(tmp_path / "agent.sock")
    house.configure(agent_tree(agent))
    settings_ = load_settings(house.folder / "pdp.toml")
    assert isinstance(settings_.tls, WorkloadApiSettings)
    monkeypatch.setattr(source, "AgentIdentity", functools.partial(AgentIdentity, start_s=0.3))
    with pytest.raises(ConfigurationError, match="gave no identity within"):
        process.run(settings_)


def test_the_environment_names_no_other_agent(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's own variable counts for nothing: the socket is the configuration's."""
    path = tmp_path / "other.sock"
    with Agent(path, Handed([own(NEW)], {TRUST_DOMAIN: [NEW]})) as other:
        monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", other.socket)
        with Opened(agent) as kept:
            assert kept.identity.certificate_pem == FIRST.certificate_pem
        assert other.asked == 0


def test_a_message_of_a_given_up_connection_is_dropped(agent: Agent) -> None:
    """It may be older than what came over the next one: only the connection in use counts."""
    given_up: list[Any] = []
    real = workload_api._Connection

    class Kept(real):  # type: ignore[misc,valid-type]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            given_up.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workload_api, "_Connection", Kept)
        stream = Stream(agent.socket, x509_contexts, renew_s=0.05)
        stream.start()
        try:
            second = stream.newer_than(1, WAIT_S)
            assert second is not None
            given_up[0].take("an old message")
            latest = stream.latest
            assert latest is not None
            assert not isinstance(latest.message, str)
        finally:
            stream.close()
    # The twin: over the connection in use, it would have been believed.
    stream = Stream(agent.socket, x509_contexts)
    connection: Any = real(stream)
    stream._connection = connection
    connection.take("an old message")
    assert stream.latest is not None
    assert str(stream.latest.message) == "an old message"


def test_the_configurations_of_the_page_are_read(tmp_path: Path) -> None:
    """Each `[tls]` of docs/workload-identity.md is one that `pdp serve` takes."""
    page = (ROOT / "docs" / "workload-identity.md").read_text()
    shown = re.findall(r"(?s)```toml\n(.*?)```", page)
    *shown, tokens = shown
    assert len(shown) == 2
    write_files(tmp_path)
    rest = {name: part for name, part in good_tree().items() if name != "tls"}
    kinds = []
    for text in shown:
        here = text.replace('= "/', f'= "{tmp_path}/')
        for name in re.findall(r'= "(/[^"]+)"', here):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes((tmp_path / "trust.pem").read_bytes())
        path = tmp_path / "pdp.toml"
        path.write_text(toml_text(rest) + here + tokens)
        assert load_settings(path).issuers[0].trust_domain == "example.org"
        kinds.append(type(load_settings(path).tls).__name__)
    assert kinds == ["TlsSettings", "WorkloadApiSettings"]


# -- what is withdrawn, and what is exchanged -----------------------------------------------------


def check_withdrawn(folder: Path) -> None:
    """Open connections, a withdrawal, and then an end: each door, with its next answer."""
    offer = load_offer(AuthzenSettings(Address("127.0.0.1", 0), BASE_URL))
    body = {
        "subject": {"type": "user", "id": "alice"},
        "action": {"name": "read"},
        "resource": {"type": "document", "id": "1"},
    }

    async def scenario() -> None:
        entry = CallerEntry(PEP_ID, ("document",), ("*",), ("user",), may=frozenset({"batch"}))
        fresh = now_snapshot(callers=CallerPolicy((entry,)))
        async with (
            running_server(folder, authzen=offer, snapshot=fresh) as running,
            running.channel() as channel,
        ):
            unary = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
            batch = channel.unary_unary(BATCH, bytes, pb.AuthorizeBatchResponse.FromString)
            stream = channel.stream_stream(STREAM, bytes, pb.AuthorizeStreamResponse.FromString)
            talk = stream(None, timeout=60)
            question = pb.AuthorizeRequest.FromString(message())
            many = pb.AuthorizeBatchRequest(
                request_id="b", semantic=pb.BATCH_SEMANTIC_EXECUTE_ALL, items=[question]
            ).SerializeToString()
            one = pb.AuthorizeStreamRequest(request=question).SerializeToString()
            assert running.server.authzen is not None
            url = f"https://localhost:{running.server.authzen.address.port}"
            async with AuthzenServer(running, url, folder).client(running.pep) as http:

                async def answers() -> set[str]:
                    await talk.write(one)
                    said: Any = await talk.read()
                    found = [await unary(message(), timeout=5), said.answer]
                    found += (await batch(many, timeout=5)).items
                    causes = {pb.Cause.Name(each.cause).removeprefix("CAUSE_") for each in found}
                    for path, asked in ((EVALUATION, body), (EVALUATIONS, {"evaluations": [body]})):
                        reply = (await http.post(path, json=asked)).json()
                        each = reply.get("evaluations", [reply])[0]
                        causes.add(each["context"]["cause"])
                    return causes

                assert await answers() == {"RULE"}
                serial = f"{running.pep.leaf.serial_number:x}"
                for denials in (
                    Denials(callers=frozenset({PEP_ID})),
                    Denials(serials=frozenset({(TRUST_DOMAIN, serial)})),
                ):
                    running.snapshots.snapshot = dataclasses.replace(fresh, denials=denials)
                    assert await answers() == {"CALLER"}
                running.snapshots.snapshot = fresh
                assert await answers() == {"RULE"}
                # The caller's certificate ends; ours does not.
                running.server._verifier.use(running.server.identity.trust)
                running.clock.shift_ns = 3 * 3_600 * NANOS
                for method, data in ((unary, message()), (batch, many)):
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await method(data, timeout=5)
                    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
                for path in (EVALUATION, EVALUATIONS):
                    assert (await http.post(path, json=body)).status_code == 401
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await talk.write(one)
                    await talk.read()
                assert await talk.code() is grpc.StatusCode.UNAUTHENTICATED

    asyncio.run(scenario())


def test_withdrawn_and_ended_callers_are_refused_on_open_connections_of_every_door(
    tmp_path: Path,
) -> None:
    """By SPIFFE ID, by serial, by the end of the certificate: with the very next answer."""
    check_withdrawn(tmp_path)


@pytest.mark.parametrize(("owner", "guard"), [(Denials, "denies_caller"), (Verified, "is_within")])
def test_withdrawn_and_ended_callers_twin_without_guard(
    owner: type, guard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at in the handshake only, either of them would go on being answered."""
    monkeypatch.setattr(owner, guard, lambda _, __: guard == "is_within")
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_withdrawn(tmp_path)


def rotate_by_agent(house: House, agent: Agent, rotations: int) -> dict[str, int]:
    """Certificate, authority and policy bundle in turn, all by their own ways; nobody fails."""
    house.configure(agent_tree(agent))
    running = house.start()
    authority = house.authority
    callers = Callers(running.port, house.pep, authority.bundle_pem)
    revision = 2
    for number in range(rotations):
        if number % 3 == 0:
            agent.hand(svids=[own(authority)])
            running.wait_for("tls_updated", changed="certificate")
        elif number % 3 == 1:
            before, authority = authority, ThrowawayAuthority(TRUST_DOMAIN)
            agent.hand(bundles={TRUST_DOMAIN: [before, authority]})
            running.wait_for("tls_updated", changed="trust bundle")
            callers.use(callers.shown[0], before.bundle_pem + authority.bundle_pem)
            agent.hand(svids=[own(authority)])
            running.wait_for("tls_updated", changed="certificate")
            callers.use(authority.issue("pep"), authority.bundle_pem)
            agent.hand(bundles={TRUST_DOMAIN: [authority]})
            running.wait_for("tls_updated", changed="trust bundle")
        else:
            revision += 1
            house.repository.put(BUNDLE_PATH, archive(revision, house.repository.now_s, DOCUMENTS))
            house.repository.publish_targets(POLICIES)
            house.publish()
            running.wait_for("bundle_updated")
    callers.stop()
    assert callers.failures == []
    assert callers.calls > rotations
    assert running.stop() == 0
    return {"rotations": rotations, "calls": callers.calls, "failures": len(callers.failures)}


@pytest.fixture
def agent_of_house(house: House, tmp_path: Path) -> Iterator[Agent]:
    """An agent for the house."""
    handed = Handed([own(house.authority)], {TRUST_DOMAIN: [house.authority]})
    with Agent(tmp_path / "agent.sock", handed) as agent:
        yield agent


def test_rotations_by_an_agent_under_load(house: House, agent_of_house: Agent) -> None:
    """Six of them: no call fails."""
    rotate_by_agent(house, agent_of_house, 6)


@pytest.mark.prove
@pytest.mark.timeout(3_600)
def test_rotations_by_an_agent_under_load_proof(
    house: House, agent_of_house: Agent, ledger: Ledger
) -> None:
    """A thousand of them."""
    ledger(**rotate_by_agent(house, agent_of_house, 1_000))
