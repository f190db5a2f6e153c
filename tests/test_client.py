"""The two clients against a real server over real mutual TLS: how they behave when used.

What they make of a peer that goes wrong is in test_faults.py; what they
believe of an answer, in test_client_core.py.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

import pdp_client
from pdp.v1 import authorization_pb2 as pb
from pdp_client import (
    AccessDenied,
    Action,
    AsyncClient,
    Cause,
    Client,
    ConfigurationError,
    Decision,
    Effect,
    Obligation,
    Question,
    Resource,
    Subject,
    _channel,
    _endpoint,
    sync,
)
from pdp_client._core import CAUSE_OF_STATUS, Status, encoded
from pdp_client.testing import AsyncDenyAll, AsyncUnsafePermitAll, DenyAll, UnsafePermitAll
from tests.conftest import ROOT
from tests.simulators.faults import FiringRange, Silent, refusing

ALICE = Subject("user", "alice", {"department": "engineering", "roles": ["manager"]})
REPORT = Resource("report", "7", {"amount": 12})
WATERMARK = {("custom", "watermark")}
GENEROUS_S = 5.0  # for calls that are to succeed on a loaded machine


@pytest.fixture(scope="module")
def firing_range(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FiringRange]:
    """A scripted PDP, and the files of a client."""
    with FiringRange(tmp_path_factory.mktemp("range")) as made:
        yield made


@pytest.fixture(scope="module")
def client(firing_range: FiringRange) -> Iterator[Client]:
    """A client of the scripted PDP with a generous budget."""
    with Client(firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S) as made:
        yield made


def run(program: str, *arguments: object, timeout_s: float = 30) -> str:
    """What a program prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- what it is for ---------------------------------------------------------------------


def test_permit_and_deny_of_the_pdp_arrive(client: Client) -> None:
    """The PDP's own answers come through, and only a permit is true."""
    permit = client.authorize(ALICE, "permit", REPORT, {"ip": "10.0.0.1"})
    deny = client.authorize(ALICE, Action("deny", {"n": 1}), REPORT)
    assert (permit.effect, permit.cause, bool(permit)) == (Effect.PERMIT, Cause.RULE, True)
    assert permit.record is not None
    assert (deny.effect, deny.cause, bool(deny)) == (Effect.DENY, Cause.RULE, False)


def test_permit_and_deny_of_the_pdp_arrive_in_asyncio(firing_range: FiringRange) -> None:
    """The same through the asynchronous client."""

    async def asked() -> tuple[Decision, Decision]:
        async with AsyncClient(
            firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S
        ) as client:
            return (
                await client.authorize(ALICE, "permit", REPORT),
                await client.authorize(ALICE, "deny", REPORT),
            )

    permit, deny = asyncio.run(asked())
    assert bool(permit)
    assert not deny


def test_enforce_returns_permits_and_raises_denials(client: Client) -> None:
    """A denial through `enforce` cannot be overlooked."""
    assert client.enforce(ALICE, "permit", REPORT).effect is Effect.PERMIT
    with pytest.raises(AccessDenied) as denied:
        client.enforce(ALICE, "deny", REPORT)
    assert denied.value.decision.cause is Cause.RULE
    with pytest.raises(AccessDenied, match="another request id") as denied:
        client.enforce(ALICE, "wrong_request_id", REPORT)
    assert denied.value.decision.cause is Cause.UNUSABLE


def test_enforce_raises_denials_in_asyncio(firing_range: FiringRange) -> None:
    """The same through the asynchronous client."""

    async def asked() -> None:
        async with AsyncClient(
            firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S
        ) as client:
            assert await client.enforce(ALICE, "permit", REPORT)
            with pytest.raises(AccessDenied):
                await client.enforce(ALICE, "deny", REPORT)

    asyncio.run(asked())


def test_a_permit_obliges_only_who_can_meet_it(firing_range: FiringRange, client: Client) -> None:
    """An obligation that was not declared makes the permit a denial; a declared one comes along."""
    assert client.authorize(ALICE, "obliged", REPORT).cause is Cause.UNUSABLE
    with Client(
        firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S, can_meet=WATERMARK
    ) as able:
        permit = able.authorize(ALICE, "obliged", REPORT)
    assert permit
    assert [(duty.type, duty.id) for duty in permit.obligations] == [("custom", "watermark")]


def test_counts_say_what_came_of_it(firing_range: FiringRange) -> None:
    """Denials by cause and permits are counted, also those that were never sent."""
    with Client(firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S) as client:
        for action in ("permit", "permit", "deny", "wrong_digest", "status:13", ""):
            client.authorize(ALICE, action, REPORT)
        client.authorize(ALICE, "permit", REPORT, timeout=0)
        assert client.permits == 2
        assert client.counts == {
            Cause.RULE: 1,
            Cause.UNUSABLE: 1,
            Cause.UNREACHABLE: 2,
            Cause.INVALID: 1,
        }


def test_denials_that_the_pdp_did_not_make_are_warned_of_once_a_second(
    firing_range: FiringRange, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage shows in the log, and does not flood it; a policy's denial is no warning."""
    with Client(firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S) as client:
        client.authorize(ALICE, "deny", REPORT)
        assert caplog.records == []
        for _ in range(20):
            client.authorize(ALICE, "wrong_digest", REPORT)
    warned = [r for r in caplog.records if r.name == "pdp_client" and r.levelno == logging.WARNING]
    assert 1 <= len(warned) <= 2
    assert "other bytes than were sent" in warned[0].getMessage()


def test_invalid_data_is_denied_without_being_sent(firing_range: FiringRange) -> None:
    """What cannot be encoded is DENY(INVALID), and no connection is opened for it."""
    with Silent() as silent, Client(f"localhost:{silent.port}", **firing_range.files()) as client:
        hostile: Any = {"n": float("nan")}
        assert client.authorize(ALICE, "read", REPORT, hostile).cause is Cause.INVALID
        assert client.authorize(ALICE, "read", REPORT, timeout=-1).cause is Cause.UNREACHABLE
        assert silent.accepted == 0


def test_a_subject_token_goes_to_the_pdp_and_is_not_shown() -> None:
    """It is in the message, alone and in a batch, and in no repr of a question."""
    question = Question(Subject("user", "a"), "permit", Resource("r", "1"), subject_token="to.ke.n")
    assert "to.ke.n" not in repr(question)
    stand_in = DenyAll()
    stand_in.authorize(Subject("user", "a"), "permit", Resource("r", "1"), subject_token="to.ke.n")
    stand_in.authorize_batch([question])
    for request in stand_in.asked:
        assert pb.AuthorizeRequest.FromString(encoded(request)).subject_token == "to.ke.n"


def test_wrong_classes_are_raised(client: Client) -> None:
    """A bug in the calling program is a TypeError, before anything is sent."""
    wrong: Any = {"type": "user", "id": "alice"}
    with pytest.raises(TypeError, match="subject"):
        client.authorize(wrong, "permit", REPORT)
    token: Any = b"to.ke.n"
    with pytest.raises(TypeError, match="subject_token"):
        client.authorize(ALICE, "permit", REPORT, subject_token=token)
    late: Any = "soon"
    with pytest.raises(TypeError, match="timeout"):
        client.authorize(ALICE, "permit", REPORT, timeout=late)


# -- many at once -----------------------------------------------------------------------


def test_many_threads_share_a_client(client: Client) -> None:
    """Each thread gets the answer to its own question."""
    actions = ["permit", "deny", "obliged", "wrong_request_id"] * 40
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda action: client.authorize(ALICE, action, REPORT), actions))
    assert [bool(answer) for answer in answers] == [action == "permit" for action in actions]


def test_many_tasks_share_a_client(firing_range: FiringRange) -> None:
    """Each task gets the answer to its own question, retries included."""
    # Four retries: more at once would be throttled.
    actions = ["permit", "deny", "wrong_request_id"] * 40 + ["once:14"] * 4

    async def asked() -> list[Decision]:
        async with AsyncClient(
            firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S
        ) as client:
            calls = [client.authorize(ALICE, action, REPORT) for action in actions]
            return await asyncio.gather(*calls)

    permitted = {"permit", "once:14"}
    answers = asyncio.run(asked())
    assert [bool(answer) for answer in answers] == [action in permitted for action in actions]


def test_one_retry_when_unavailable(client: Client) -> None:
    """A PDP that is unavailable once is asked again, and its second answer counts."""
    assert client.authorize(ALICE, "once:14", REPORT)
    assert client.authorize(ALICE, "once:13", REPORT).cause is Cause.UNREACHABLE


# -- ends -------------------------------------------------------------------------------


def test_a_closed_client_denies(firing_range: FiringRange) -> None:
    """After `close`, before the first call or after it, every question is denied."""
    unused = Client(firing_range.target(), **firing_range.files())
    unused.close()
    used = Client(firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S)
    assert used.authorize(ALICE, "permit", REPORT)
    used.close()
    used.close()
    for client in (unused, used):
        assert client.authorize(ALICE, "permit", REPORT).cause is Cause.UNREACHABLE


def test_closing_denies_calls_in_flight(firing_range: FiringRange) -> None:
    """A call that is waiting when another thread closes the client is denied, not raised."""
    client = Client(firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.authorize, ALICE, "slow:4000", REPORT)
        time.sleep(0.3)
        client.close()
        started = time.monotonic()
        assert waiting.result().cause is Cause.UNREACHABLE
        assert time.monotonic() - started < 2


def test_closing_denies_calls_in_flight_in_asyncio(firing_range: FiringRange) -> None:
    """The same for tasks: closing must not look like the task being cancelled."""

    async def asked() -> Decision:
        client = AsyncClient(firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S)
        waiting = asyncio.create_task(client.authorize(ALICE, "slow:4000", REPORT))
        await asyncio.sleep(0.3)
        await client.close()
        return await waiting

    assert asyncio.run(asked()).cause is Cause.UNREACHABLE


def test_cancellation_passes_through(firing_range: FiringRange) -> None:
    """A cancelled task is cancelled: nothing is decided, nothing is counted, the call ends."""

    async def asked() -> None:
        async with AsyncClient(
            firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S
        ) as client:
            waiting = asyncio.create_task(client.authorize(ALICE, "slow:4000", REPORT))
            await asyncio.sleep(0.3)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert client.counts == {}
            assert client.permits == 0
            assert await client.authorize(ALICE, "permit", REPORT)

    asyncio.run(asked())


def test_cancelled_status_of_a_peer_is_not_a_cancellation(firing_range: FiringRange) -> None:
    """A peer that says CANCELLED cannot cancel our task."""

    async def asked() -> Decision:
        async with AsyncClient(
            firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S
        ) as client:
            return await client.authorize(ALICE, "status:1", REPORT)

    assert asyncio.run(asked()).cause is Cause.UNREACHABLE


def test_interrupt_passes_through(firing_range: FiringRange) -> None:
    """Ctrl-C during a call ends the program: it is not turned into a decision."""
    program = """
        import os, signal, sys, threading
        from pdp_client import Client, Resource, Subject
        target, trust, certificate, key = sys.argv[1:]
        # A run that was started in the background inherits that SIGINT is ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        client = Client(target, trust_bundle=trust, certificate=certificate, key=key, budget_s=5)
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            client.authorize(Subject("user", "alice"), "slow:4900", Resource("report", "7"))
        except KeyboardInterrupt:
            print("interrupted")
    """
    started = time.monotonic()
    out = run(program, firing_range.target(), *firing_range.files().values())
    assert out == "interrupted\n"
    assert time.monotonic() - started < 4.9


def test_a_client_used_before_a_fork_denies_after_it(firing_range: FiringRange) -> None:
    """Channels do not survive a fork: at once denied in the child, unharmed in the parent.

    A client that was made but not used before works on the other side.
    """
    program = """
        import os, sys, time
        from pdp_client import Client, Resource, Subject
        target, trust, certificate, key = sys.argv[1:]
        def make():
            return Client(target, trust_bundle=trust, certificate=certificate, key=key, budget_s=5)
        def ask(client):
            started = time.monotonic()
            answer = client.authorize(Subject("user", "alice"), "permit", Resource("report", "7"))
            return answer.effect.name, answer.cause.name, time.monotonic() - started < 1
        made = make()
        if os.fork() == 0:
            print("unused", *ask(made), flush=True)
            os._exit(0)
        os.wait()
        used = make()
        print("before", *ask(used), flush=True)
        if os.fork() == 0:
            print("child", *ask(used), flush=True)
            used.close()
            os._exit(0)
        os.wait()
        print("parent", *ask(used), flush=True)
    """
    out = run(program, firing_range.target(), *firing_range.files().values())
    assert out.splitlines() == [
        "unused PERMIT RULE True",
        "before PERMIT RULE True",
        "child DENY UNREACHABLE True",
        "parent PERMIT RULE True",
    ]


# A thread holds the client's lock at the moment of the fork, as `_settle` may.
FORKED_WHILE_LOCKED = """
    import os, signal, sys, threading
    from pdp_client import Client, Resource, Subject, _endpoint
    target, trust, certificate, key, guard = sys.argv[1:]
    client = Client(target, trust_bundle=trust, certificate=certificate, key=key, budget_s=1)
    if guard == "without":
        _endpoint._endpoints.clear()
    locked, done = threading.Event(), threading.Event()
    def hold():
        with client._lock:
            locked.set()
            done.wait()
    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(3)
        client.authorize(Subject("user", "alice"), "permit", Resource("report", "7"))
        os._exit(0)
    print("answered" if os.waitstatus_to_exitcode(os.wait()[1]) == 0 else "hung")
    done.set()
    holder.join()
"""


def test_a_fork_while_the_client_is_locked_does_not_hang(firing_range: FiringRange) -> None:
    """In the child, nobody is left to let go of the lock: it gets a new one."""
    arguments = (firing_range.target(), *firing_range.files().values())
    assert run(FORKED_WHILE_LOCKED, *arguments, "with") == "answered\n"


def test_a_fork_while_locked_twin_without_guard(firing_range: FiringRange) -> None:
    """Without the new lock the child would wait for ever."""
    arguments = (firing_range.target(), *firing_range.files().values())
    assert run(FORKED_WHILE_LOCKED, *arguments, "without") == "hung\n"


def test_a_client_belongs_to_one_event_loop(firing_range: FiringRange) -> None:
    """In a second event loop it denies at once, instead of waiting for the first."""
    client = AsyncClient(firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        assert first.run(client.authorize(ALICE, "permit", REPORT))
        assert second.run(client.authorize(ALICE, "permit", REPORT)).cause is Cause.UNREACHABLE
        first.run(client.close())


# -- made wrongly -----------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["trust_bundle", "certificate", "key"])
def test_a_missing_file_is_named(firing_range: FiringRange, missing: str) -> None:
    """A file that is not there is an error that names it."""
    nowhere: dict[str, Any] = {missing: Path("nowhere.pem")}
    files = firing_range.files(**nowhere)
    with pytest.raises(ConfigurationError, match=r"cannot read `nowhere\.pem`"):
        Client("localhost:1", **files)


@pytest.mark.parametrize("content", [b"", b"\n", b"not a certificate", b"\xff\xfe"])
def test_a_trust_bundle_without_certificates_is_refused(
    firing_range: FiringRange, tmp_path: Path, content: bytes
) -> None:
    """An empty trust bundle would make gRPC trust the authorities of the web."""
    bad = tmp_path / "trust.pem"
    bad.write_bytes(content)
    with pytest.raises(ConfigurationError, match="holds no certificates"):
        Client("localhost:1", **firing_range.files(trust_bundle=bad))


def test_a_trust_bundle_may_have_comments(firing_range: FiringRange, tmp_path: Path) -> None:
    """Published bundles name their authorities in comments, in any script."""
    bundle = tmp_path / "trust.pem"
    named = "# Zertifizierungsstelle für Prüfungen\n".encode()
    bundle.write_bytes(named + firing_range.files()["trust_bundle"].read_bytes())
    files = firing_range.files(trust_bundle=bundle)
    with Client(firing_range.target(), **files, budget_s=GENEROUS_S) as client:
        assert client.authorize(ALICE, "permit", REPORT)


def test_a_key_of_another_certificate_is_refused(firing_range: FiringRange) -> None:
    """Said when the client is made, not by denials without a reason."""
    other = firing_range.files("foreign")["key"]
    with pytest.raises(ConfigurationError, match="not a pair"):
        Client("localhost:1", **firing_range.files(key=other))


def test_an_encrypted_key_is_refused_without_asking(
    firing_range: FiringRange, tmp_path: Path
) -> None:
    """No password prompt on a terminal: an error."""
    plain = serialization.load_pem_private_key(firing_range.files()["key"].read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigurationError, match="unencrypted"):
        Client("localhost:1", **firing_range.files(key=locked))


def test_a_certificate_that_is_none_is_refused(firing_range: FiringRange, tmp_path: Path) -> None:
    """Garbage in the place of the certificate is an error that names the file."""
    bad = tmp_path / "me.pem"
    bad.write_bytes(b"garbage")
    with pytest.raises(ConfigurationError, match=r"me\.pem"):
        Client("localhost:1", **firing_range.files(certificate=bad))


@pytest.mark.parametrize(
    "target", ["", " localhost:1", "https://pdp:8443", "http://pdp", "xds:///p"]
)
def test_a_target_that_is_no_address_is_refused(firing_range: FiringRange, target: str) -> None:
    """A URL would be looked up as a host name, and every call denied."""
    with pytest.raises(ConfigurationError, match="target"):
        Client(target, **firing_range.files())


def test_an_empty_server_name_is_refused(firing_range: FiringRange) -> None:
    """Empty could be read as "any name"; it is an error."""
    with pytest.raises(ConfigurationError, match="server name"):
        Client("localhost:1", **firing_range.files(), server_name="")


# -- no way around ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_no_option_permits_on_failure(kind: type[Any]) -> None:
    """These are all the options there are. One more needs a reason here: none may fail open."""
    options = {
        "target", "trust_bundle", "certificate", "key", "server_name", "budget_s", "can_meet",
        # Another source of the same three; without an identity there is no client.
        "workload_api", "trust_domain",
        # Repeats what the PDP said may be repeated, for 5 s at most, and nothing while it fails.
        "lease_cache",
    }  # fmt: skip
    if kind is AsyncClient:
        # Over what the same questions go, not what is believed of the answers.
        options.add("micro_batching")
    # `explain` asks for more than an answer, and may get a denial in place of one. So may a token.
    asked = {
        *("self", "subject", "action", "resource", "context", "timeout", "tenant", "explain"),
        "subject_token",
    }
    assert set(inspect.signature(kind).parameters) == options
    for method in (kind.authorize, kind.enforce):
        assert set(inspect.signature(method).parameters) == asked


def test_no_plaintext() -> None:
    """Neither driver can make a channel without TLS."""
    for module in (sync, sys.modules["pdp_client.aio"], _endpoint, _channel):
        assert "insecure" not in inspect.getsource(module)


def test_proxies_of_the_environment_are_not_used(
    firing_range: FiringRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sets https_proxy does not come between a service and its PDP."""
    with refusing() as port:
        for name in ("https_proxy", "http_proxy", "grpc_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        with Client(firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S) as client:
            assert client.authorize(ALICE, "permit", REPORT)


def test_proxies_twin_without_guard(
    firing_range: FiringRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the guard the call goes to the proxy."""
    left = tuple(o for o in _channel.CHANNEL_OPTIONS if o[0] != "grpc.enable_http_proxy")
    monkeypatch.setattr(_channel, "CHANNEL_OPTIONS", left)
    with refusing() as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        with Client(firing_range.target(), **firing_range.files(), budget_s=1) as client:
            assert not client.authorize(ALICE, "permit", REPORT)


def test_importing_the_client_is_light() -> None:
    """`import pdp_client` brings no CEL, no TUF, no X.509, no server, no stand-in."""
    out = run("import sys, json, pdp_client; print(json.dumps(sorted(sys.modules)))")
    loaded = set(json.loads(out))
    heavy = {
        "celpy", "cel_expr_python", "tuf", "securesystemslib", "cryptography", "pydantic",
        "ruamel", "typer", "rich", "re2", "uvloop", "pdp.engine", "pdp.cel", "pdp.server",
        "pdp.policy", "pdp.bundle", "pdp.decision_point", "pdp.authoring", "pdp_client.testing",
    }  # fmt: skip
    assert loaded & heavy == set()
    assert "pdp.wire" in loaded


def test_the_page_has_the_table_of_statuses() -> None:
    """docs/client.md says what each status is denied for, none more and none less."""
    page = (ROOT / "docs" / "client.md").read_text()
    shown = dict(re.findall(r"(?m)^\| ([A-Z_]+) \| ([A-Z]+) \|", page))
    assert shown == {Status(s).name: c.name for s, c in CAUSE_OF_STATUS.items()}


# -- stand-ins --------------------------------------------------------------------------


def test_stand_ins_answer_as_named(caplog: pytest.LogCaptureFixture) -> None:
    """`DenyAll` denies; the one that permits is called unsafe and says so in the log."""
    denying = DenyAll(Cause.STALE)
    assert denying.authorize(ALICE, "read", REPORT).cause is Cause.STALE
    with pytest.raises(AccessDenied):
        denying.enforce(ALICE, "read", REPORT)
    assert [request.subject.id for request in denying.asked] == ["alice", "alice"]
    assert caplog.records == []
    watermark = Obligation("watermark", "custom")
    with UnsafePermitAll((watermark,)) as permitting:
        assert permitting.enforce(ALICE, "read", REPORT).obligations == (watermark,)
    assert "unsafe" in caplog.text


def test_stand_ins_answer_in_asyncio() -> None:
    """The same for the asynchronous ones."""

    async def asked() -> None:
        async with AsyncDenyAll() as denying:
            assert not await denying.authorize(ALICE, "read", REPORT)
            with pytest.raises(AccessDenied):
                await denying.enforce(ALICE, "read", REPORT)
        async with AsyncUnsafePermitAll() as permitting:
            assert await permitting.authorize(ALICE, "read", REPORT)
            assert await permitting.enforce(ALICE, "read", REPORT)

    asyncio.run(asked())


def test_stand_ins_are_as_strict_as_the_client() -> None:
    """A test with a stand-in finds what the client would refuse."""
    permitting = UnsafePermitAll()
    hostile: Any = {"n": object()}
    assert permitting.authorize(ALICE, "read", REPORT, hostile).cause is Cause.INVALID
    assert permitting.authorize(ALICE, "read", REPORT, timeout=0).cause is Cause.UNREACHABLE
    wrong: Any = "alice"
    with pytest.raises(TypeError, match="subject"):
        permitting.authorize(wrong, "read", REPORT)


@pytest.mark.parametrize(("real", "double"), [(Client, DenyAll), (AsyncClient, AsyncDenyAll)])
def test_stand_ins_have_the_clients_signatures(real: type[Any], double: type[Any]) -> None:
    """What type-checks against a stand-in does against the client."""
    for name in ("authorize", "authorize_batch", "enforce", "close"):
        assert inspect.signature(getattr(real, name)) == inspect.signature(getattr(double, name))


def test_public_names_are_the_models_own() -> None:
    """The client's `Decision` is the PDP's: nobody translates between two of them."""
    assert pdp_client.Decision.__module__ == "pdp.model"
    assert set(pdp_client.__all__) <= set(dir(pdp_client))


def test_threads_of_a_closed_client_are_gone(firing_range: FiringRange) -> None:
    """A client leaves no Python thread behind."""
    before = threading.active_count()
    with Client(firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S) as client:
        assert client.authorize(ALICE, "permit", REPORT)
    assert threading.active_count() <= before
