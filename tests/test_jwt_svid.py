"""JWT-SVIDs prove subjects: by the keys of their own trust domain, for this PDP, for minutes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_search
from hypothesis import strategies as st

from pdp.callers import CallerEntry
from pdp.errors import ConfigurationError, KeySetError
from pdp.identity.issuers import IssuerSettings
from pdp.identity.keys import IssuerKeys
from pdp.identity.token import TokenFault, TokenRefusedError, TokenVerifier
from pdp.model import Subject
from pdp.snapshot import Denials
from pdp.subject_token import SubjectToken
from tests.simulators import agent as agents
from tests.simulators.agent import Agent, Handed
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.decision_points import NOW_NS, HandClock, make_snapshot
from tests.simulators.token_issuer import (
    NOW_S,
    TokenIssuer,
    compact,
    ec_key,
    key_set,
    rsa_key,
    signer,
)
from tests.test_token_decisions import Desk, bringing

DOMAIN, PARTNER = "example.org", "partner.example.net"
AUDIENCE = "spiffe://example.org/pdp"
BATCH = f"spiffe://{DOMAIN}/batch"
AUTHORITY = TokenIssuer(ec_key("svid"), "svid")
PARTNERS = TokenIssuer(ec_key("partner"), "svid")


def bundle(*authorities: TokenIssuer, **more: object) -> bytes:
    """A SPIFFE trust bundle: X.509 authorities, which sign no tokens, and JWT authorities."""
    tls = TokenIssuer(ec_key("tls"), "tls").jwk(use="x509-svid", x5c=["MIIB"], alg=None)
    jwt = [each.jwk(use="jwt-svid", alg=None, **more) for each in authorities]
    return key_set(tls, *jwt)


def settings(keys: Path | str, domain: str = DOMAIN, **changes: Any) -> IssuerSettings:
    """Settings that the honest authority fits."""
    given: dict[str, Any] = {
        "issuer": f"spiffe://{domain}", "audience": AUDIENCE, "subject_type": "workload",
        "keys": str(keys), "lifetime_max_s": 300,
    }  # fmt: skip
    return IssuerSettings(**given | changes)


def read(folder: Path, data: bytes, domain: str = DOMAIN, **changes: Any) -> IssuerKeys:
    """The JWT authorities of a trust domain, from a file."""
    path = folder / f"{domain}.json"
    path.write_bytes(data)
    found = IssuerKeys(settings(path, domain, **changes), HandClock())
    found.refresh()
    return found


def verifier(folder: Path) -> TokenVerifier:
    """Two trust domains, each with authorities of its own."""
    return TokenVerifier([
        read(folder, bundle(AUTHORITY)), read(folder, bundle(PARTNERS), PARTNER)
    ])  # fmt: skip


def svid(
    by: TokenIssuer = AUTHORITY, header: dict[str, object] | None = None, **claims: object
) -> str:
    """A JWT-SVID; None takes a claim or a header member out."""
    head = {"alg": by.algorithm, "kid": by.kid, "typ": "JWT"} | (header or {})
    body = {"sub": BATCH, "aud": [AUDIENCE], "exp": NOW_S + 240, "iat": NOW_S - 10} | claims
    return compact(
        {name: value for name, value in head.items() if value is not None},
        {name: value for name, value in body.items() if value is not None},
        signer(by.key, by.algorithm),
    )


def proved(folder: Path, text: str) -> SubjectToken:
    """What it proves."""
    return verifier(folder).verify(text, NOW_NS)


@pytest.mark.parametrize(
    "text",
    [
        svid(),
        svid(header={"typ": None}),
        svid(header={"typ": "JOSE"}),
        svid(iat=None),
        svid(aud=AUDIENCE),
        svid(iss="https://oidc.example.org", jti="j-1"),
    ],
)
def test_a_jwt_svid_proves_the_workload_that_it_names(text: str, tmp_path: Path) -> None:
    """With what the specification requires, and without what it leaves free."""
    found = proved(tmp_path, text)
    assert (found.subject_type, found.subject_id) == ("workload", BATCH)
    assert found.issuer == f"spiffe://{DOMAIN}"
    assert found.expires_ns == (NOW_S + 240) * 10**9
    assert found.roles is None


ATTACKS: dict[str, tuple[str, TokenFault]] = {
    "access token": (svid(header={"typ": "at+jwt"}), TokenFault.TYPE),
    "other case": (svid(header={"typ": "jwt"}), TokenFault.TYPE),
    "no key id": (svid(header={"kid": None}), TokenFault.HEADER),
    "key from the header": (svid(header={"jwk": AUTHORITY.jwk()}), TokenFault.HEADER),
    "no audience": (svid(aud=None), TokenFault.AUDIENCE),
    "another audience": (svid(aud=["spiffe://example.org/other"]), TokenFault.AUDIENCE),
    "no end": (svid(exp=None), TokenFault.LIFETIME),
    "ended": (svid(exp=NOW_S), TokenFault.EXPIRED),
    "lives long": (svid(exp=NOW_S + 3_600), TokenFault.LIFETIME),
    "lives long, unsaid since when": (svid(exp=NOW_S + 3_600, iat=None), TokenFault.LIFETIME),
    "issued ahead": (svid(iat=NOW_S + 100), TokenFault.EARLY),
    "no subject": (svid(sub=None), TokenFault.ISSUER),
    "trust domain as a subject": (svid(sub=f"spiffe://{DOMAIN}"), TokenFault.ISSUER),
    "subject with dots": (svid(sub=f"spiffe://{DOMAIN}/a/../b"), TokenFault.ISSUER),
    "unknown trust domain": (svid(sub="spiffe://other.example.org/x"), TokenFault.ISSUER),
    "trust domain in other case": (svid(sub="spiffe://Example.org/x"), TokenFault.ISSUER),
    "of a partner, by us": (svid(sub=f"spiffe://{PARTNER}/x"), TokenFault.SIGNATURE),
    "of us, by a partner": (svid(PARTNERS), TokenFault.SIGNATURE),
    "by an X.509 authority": (svid(TokenIssuer(ec_key("tls"), "tls")), TokenFault.KEY),
    "without a signature": (svid(header={"alg": "none"}), TokenFault.ALGORITHM),
    "by a key as a secret": (svid(header={"alg": "HS256"}), TokenFault.ALGORITHM),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_jwt_svid_that_breaks_a_rule_proves_nothing(name: str, tmp_path: Path) -> None:
    """Types, audience, times, subjects, and keys of others; by their word."""
    text, fault = ATTACKS[name]
    with pytest.raises(TokenRefusedError) as caught:
        proved(tmp_path, text)
    assert caught.value.fault is fault


def test_of_us_by_a_partner_twin_with_one_set_of_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were any trust domain's keys looked at, a partner would be whoever it likes among us."""
    trusted = verifier(tmp_path)
    partners = trusted.issuers[f"spiffe://{PARTNER}"]
    monkeypatch.setattr(TokenVerifier, "_issuer_of", lambda *_: partners)
    assert trusted.verify(svid(PARTNERS), NOW_NS).subject_id == BATCH


def test_an_x509_authority_twin_without_guard(tmp_path: Path) -> None:
    """Were keys taken whatever their use, an authority for certificates would sign tokens."""
    tls = TokenIssuer(ec_key("tls"), "tls")
    keys = read(tmp_path, key_set(tls.jwk(use="jwt-svid", alg=None)))
    assert TokenVerifier([keys]).verify(svid(tls), NOW_NS).subject_id == BATCH


def test_it_is_a_subject_and_never_the_caller(tmp_path: Path) -> None:
    """It satisfies `token: required` about its own workload; who asks is still the certificate."""
    entry = CallerEntry(f"spiffe://{TRUST_DOMAIN}/*", ("document",), ("*",), asserts=None)
    desk = Desk(tmp_path, make_snapshot(callers=(entry,)))
    desk.point._tokens = verifier(tmp_path)
    asked = dataclasses.replace(bringing(svid()), subject=Subject("workload", BATCH))
    assert desk.outcome(asked) == ("PERMIT", "RULE")
    (record,) = desk.recorder.entries
    assert (record.subject.issuer, record.subject.jti) == (f"spiffe://{DOMAIN}", "")
    assert record.caller.spiffe_id != BATCH
    # About another one, and of the type of people.
    for subject in (Subject("workload", BATCH + "/x"), Subject("user", BATCH)):
        other = dataclasses.replace(asked, subject=subject)
        assert desk.outcome(other) == ("DENY", "IDENTITY")


def test_a_workload_on_the_emergency_list_is_denied_with_its_jwt_svid(tmp_path: Path) -> None:
    """It has no `jti` to be withdrawn by: its subject is."""
    entry = CallerEntry(f"spiffe://{TRUST_DOMAIN}/*", ("document",), ("*",), asserts=None)
    denials = Denials(subjects=frozenset({("workload", BATCH)}))
    desk = Desk(tmp_path, make_snapshot(callers=(entry,), denials=denials))
    desk.point._tokens = verifier(tmp_path)
    asked = dataclasses.replace(bringing(svid()), subject=Subject("workload", BATCH))
    assert desk.outcome(asked) == ("DENY", "IDENTITY")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"issuer": "spiffe://Example.org"}, "trust domain"),
        ({"issuer": "spiffe://example.org/x"}, "trust domain"),
        ({"algorithms": ("EdDSA",)}, "no JWT-SVID"),
        ({"typ": "JWT"}, "leave them out"),
        ({"roles_claim": ("roles",)}, "leave them out"),
        ({"lifetime_max_s": 7_200}, "or less"),
        ({"keys": "unix:agent.sock"}, "absolute"),
        ({"keys": "unix:/agent.sock", "issuer": "https://login.example.org"}, "JWT-SVIDs"),
    ],
)
def test_a_trust_domain_that_is_not_well_described_is_refused(
    changes: dict[str, Any], words: str
) -> None:
    """What is fixed for JWT-SVIDs cannot be set, and an agent has no keys of others."""
    with pytest.raises(ConfigurationError, match=words):
        settings(changes.pop("keys", "/bundle.json"), **changes)


# -- from an agent --------------------------------------------------------------------------------


def test_authorities_come_from_an_agent_and_go_with_it(tmp_path: Path) -> None:
    """Each look is what the agent has now; keys that were not seen for too long prove nothing."""
    clock = HandClock()
    rsa = TokenIssuer(rsa_key(), "rsa", "RS256")
    handed = Handed(jwt_bundles={DOMAIN: bundle(AUTHORITY, rsa), PARTNER: bundle(PARTNERS)})
    with Agent(tmp_path / "agent.sock", handed) as agent:
        keys = IssuerKeys(settings(agent.socket), clock)
        assert keys.refresh()
        trusted = TokenVerifier([keys])
        for by in (AUTHORITY, rsa):
            assert trusted.verify(svid(by), clock.wall).subject_id == BATCH
        agent.hand(jwt_bundles={DOMAIN: bundle(rsa)})
        assert keys.refresh()
        with pytest.raises(TokenRefusedError):
            trusted.verify(svid(), clock.wall)
        agent.die()
        with pytest.raises(KeySetError, match="Workload API"):
            keys.refresh()
        assert trusted.verify(svid(rsa), clock.wall).subject_id == BATCH
        clock.seconds += keys.settings.keys_age_max_s
        with pytest.raises(TokenRefusedError) as caught:
            trusted.verify(svid(rsa), clock.wall)
        assert caught.value.fault is TokenFault.KEYS


@pytest.mark.parametrize(
    ("answer", "bundles"),
    [
        (agents.honest, {}),
        (agents.honest, {PARTNER: bundle(PARTNERS)}),
        (agents.honest, {DOMAIN: b"{"}),
        (agents.honest, {DOMAIN: b"\xff" * 1_000}),
        (agents.honest, {DOMAIN: key_set({"kty": "EC", "kid": "x"})}),
        (agents.refuses, {}),
    ],
)
def test_an_agent_without_authorities_is_told(
    answer: agents.Answer, bundles: dict[str, bytes], tmp_path: Path
) -> None:
    """Nothing, another's, garbage, a refusal: no key, one printable line."""
    with Agent(tmp_path / "agent.sock", Handed(jwt_bundles=bundles)) as agent:
        agent.answer = answer
        with pytest.raises(KeySetError) as caught:
            IssuerKeys(settings(agent.socket), HandClock()).refresh()
        assert str(caught.value).isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
SUBJECTS = st.one_of(
    st.sampled_from((BATCH, f"spiffe://{PARTNER}/x", "spiffe://", "spiffe://example.org/")),
    st.text(max_size=40).map(lambda text: f"spiffe://{DOMAIN}/{text}"),
    JSON,
)


@given(
    claims=st.fixed_dictionaries(
        {},
        optional={
            "sub": SUBJECTS,
            "aud": st.sampled_from((AUDIENCE, [AUDIENCE], [AUDIENCE, 1], [])) | JSON,
            "exp": st.integers(NOW_S - 400, NOW_S + 400) | JSON,
            "iat": st.integers(NOW_S - 400, NOW_S + 400) | JSON,
            "nbf": JSON,
            "jti": JSON,
            "iss": st.just(f"spiffe://{PARTNER}") | JSON,
        },
    ),
    header=st.fixed_dictionaries({}, optional={"typ": JSON, "kid": JSON, "alg": JSON}),
)
@settings_of_search(max_examples=300, deadline=None)
def test_any_signed_jwt_svid_proves_its_own_workload_or_nothing(
    claims: dict[str, Any], header: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever our own authority signed: a workload of ours, in time, or a fault of the set."""
    trusted = verifier(tmp_path_factory.getbasetemp())
    try:
        found = trusted.verify(svid(header=header, **claims), NOW_NS)
    except TokenRefusedError:
        return
    assert found.subject_id.startswith(f"spiffe://{DOMAIN}/")
    assert found.issuer == f"spiffe://{DOMAIN}"
    assert NOW_NS < found.expires_ns <= NOW_NS + (300 + 60) * 10**9
