"""What the AuthZEN door takes from outside of the body: the tenant's path and the subject token."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp.callers import CallerEntry, CallerPolicy
from pdp.config.settings import Address, AuthzenSettings
from pdp.decision_point import DecisionPoint
from pdp.server.authzen import head
from pdp.server.authzen.head import Head, read_head, split_path
from pdp.server.authzen.pages import load_offer
from pdp.server.authzen.replies import RefusedError
from tests.simulators.authzen import (
    BASE_URL,
    EVALUATION,
    EVALUATIONS,
    AuthzenServer,
    alice,
    asks,
    authzen_server,
    record,
    records,
)
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.decision_points import now_snapshot, policies

GOOD = asks(alice(), "read", record(1))
METADATA = "/.well-known/authzen-configuration"
KNOWN = (EVALUATION.encode(), EVALUATIONS.encode())


def run(
    folder: Path, scenario: Callable[[AuthzenServer], Awaitable[None]], tenants: tuple[str, ...]
) -> None:
    """A PDP of two tenants, and a caller of these."""
    entry = CallerEntry(
        id=f"spiffe://{TRUST_DOMAIN}/pep",
        resources=("*",),
        actions=("*",),
        asserts=("user",),
        tenants=tenants,
        may=frozenset({"batch"}),
    )
    # Records may be read in `default`; in `acme` nothing is said of them.
    snapshot = now_snapshot(
        policies={"default": records()[0], "acme": policies()}, callers=CallerPolicy((entry,))
    )
    settings = AuthzenSettings(Address("127.0.0.1", 0), BASE_URL)

    async def play() -> None:
        offer = load_offer(settings, ("default", "acme"))
        async with authzen_server(folder, snapshot=snapshot, authzen=offer) as server:
            await scenario(server)

    asyncio.run(play())


def test_the_path_names_the_tenant(tmp_path: Path) -> None:
    """The same question is decided by the policies of the tenant below whose name it is asked."""

    async def scenario(server: AuthzenServer) -> None:
        for tenant, permitted in (("default", True), ("acme", False)):
            response = await server.post(f"/{tenant}{EVALUATION}", GOOD)
            assert response.json()["decision"] is permitted
            body = {**GOOD, "evaluations": [{}, {}]}
            many = (await server.post(f"/{tenant}{EVALUATIONS}", body)).json()["evaluations"]
            assert [item["decision"] for item in many] == [permitted, permitted]
        entries = server.running.recorder.entries
        told = [entry.batch.items[0] if entry.batch.items else entry for entry in entries]
        assert [entry.tenant for entry in told] == ["default", "default", "acme", "acme"]
        # Without a name there are two that could be meant.
        assert (await server.post(EVALUATION, GOOD)).status_code == 400

    run(tmp_path, scenario, ("default", "acme"))


def test_nothing_but_the_path_names_a_tenant(tmp_path: Path) -> None:
    """Headers, members of the body, the context and other spellings of the path do not."""

    async def scenario(server: AuthzenServer) -> None:
        smuggled = {"tenant": "default", "x-tenant": "default", "x-tenant-id": "default"}
        body = {**GOOD, "tenant": "default", "context": {"tenant": "default"}}
        response = await server.post(f"/acme{EVALUATION}?tenant=default", body, headers=smuggled)
        assert response.json()["decision"] is False
        assert [entry.tenant for entry in server.running.recorder.entries] == ["acme"]
        for path in ("/Acme", "/acme/default", "/%61cme", "/acme/", "/acme;x=1"):
            assert (await server.post(path + EVALUATION, GOOD)).status_code == 404, path

    run(tmp_path, scenario, ("default", "acme"))


def test_a_tenant_that_may_not_be_named_is_as_if_there_were_none(tmp_path: Path) -> None:
    """Neither a question nor the metadata tells whether there is such a tenant."""

    async def scenario(server: AuthzenServer) -> None:
        async with server.client() as client:
            own = await client.get(f"{METADATA}/default")
            assert own.json()["policy_decision_point"] == f"{BASE_URL}/default"
            assert own.json()["access_evaluation_endpoint"] == f"{BASE_URL}/default{EVALUATION}"
            theirs, nobody = f"/acme{EVALUATION}", f"/nobody{EVALUATION}"
            asked = [await client.post(path, json=GOOD) for path in (theirs, nobody)]
            looked = [await client.get(f"{METADATA}/{name}") for name in ("acme", "nobody")]
            for (first, second), status in ((asked, 400), (looked, 404)):
                assert first.status_code == second.status_code == status
                assert first.content == second.content

    run(tmp_path, scenario, ("default",))


def test_a_tenant_may_not_be_named_twin_without_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the look at the caller policy, metadata would tell of every tenant."""
    monkeypatch.setattr(DecisionPoint, "may_name", lambda self, caller, tenant: True)

    async def scenario(server: AuthzenServer) -> None:
        async with server.client() as client:
            assert (await client.get(f"{METADATA}/acme")).status_code == 200

    run(tmp_path, scenario, ("default",))


@pytest.mark.parametrize("prefix", [b"", b"/pdp", b"/a/b"])
@pytest.mark.parametrize("path", KNOWN)
def test_a_path_has_one_meaning(prefix: bytes, path: bytes) -> None:
    """With a tenant or without; also for tenants that are called like parts of paths."""
    assert split_path(prefix + path, prefix, KNOWN) == ("", path)
    for tenant in (b"acme", b"access", b"v1", b"pdp", b"evaluation"):
        assert split_path(prefix + b"/" + tenant + path, prefix, KNOWN) == (tenant.decode(), path)


@given(st.binary(max_size=40), st.sampled_from([b"", b"/pdp"]))
def test_any_other_path_is_nowhere(path: bytes, prefix: bytes) -> None:
    """Whatever the bytes: what is found is one of the known paths, whole."""
    tenant, found = split_path(path, prefix, KNOWN)
    assert (tenant, found) == ("", b"")
    tenant, found = split_path(prefix + path + KNOWN[0], prefix, KNOWN)
    if found:
        assert prefix + (b"/" + tenant.encode() if tenant else b"") + found == prefix + path + found


def scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    """A request with these headers."""
    return {"headers": list(headers)}


def test_the_token_is_that_of_the_one_header() -> None:
    """`Bearer` in any case, blanks around it; without the header there is none."""
    assert read_head(scope(), "acme") == Head("", "acme", "")
    for value in (b"Bearer a.b-_.c", b"bearer   a.b-_.c", b"BEARER a.b-_.c "):
        assert read_head(scope((b"authorization", value)), "").subject_token == "a.b-_.c"


@pytest.mark.parametrize(
    "values",
    [
        (b"Basic YTpi",),
        (b"Bearer",),
        (b"Bearer a b",),
        (b"Bearer a,Bearer b",),
        (b'Bearer "a"',),
        (b"Bearer \xff",),
        (b"a.b.c",),
        (b"Bearer a.b.c", b"Bearer a.b.c"),
    ],
)
def test_what_is_no_token_is_refused_and_never_passed_over(values: tuple[bytes, ...]) -> None:
    """A credential that nobody reads would leave its sender in the belief that it counted."""
    with pytest.raises(RefusedError, match="`authorization`") as caught:
        read_head(scope(*((b"authorization", value) for value in values)), "")
    assert caught.value.reply.status == 400


def test_a_refused_credential_gets_no_answer_and_no_record(tmp_path: Path) -> None:
    """Through a real connection, before the body is read."""

    async def scenario(server: AuthzenServer) -> None:
        headers = {"authorization": "Basic YTpi"}
        answer = await server.post(f"/default{EVALUATION}", GOOD, headers)
        assert answer.status_code == 400
        assert server.running.recorder.entries == []

    run(tmp_path, scenario, ("default",))


def test_a_credential_twin_without_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passed over, it would be answered as if nothing had been sent."""
    monkeypatch.setattr(head, "_token", lambda scope: "")

    async def scenario(server: AuthzenServer) -> None:
        headers = {"authorization": "Basic YTpi"}
        answer = await server.post(f"/default{EVALUATION}", GOOD, headers)
        assert answer.json()["decision"] is True

    run(tmp_path, scenario, ("default",))
