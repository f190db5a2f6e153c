"""Several trust domains: each one's authorities speak for it, and for nobody else."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import Store
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.admission import Denials
from pdp.authoring.throwaway import IssuedSvid, ThrowawayAuthority
from pdp.callers import CallerEntry
from pdp.config.settings import Address, AuthzenSettings, TlsSettings
from pdp.errors import ConfigurationError, IdentityError
from pdp.identity import svid
from pdp.identity.rotation import IdentityFiles, Look
from pdp.identity.server_svid import load_server_svid
from pdp.identity.svid import SvidVerifier
from pdp.identity.trust import Federation, Trust, TrustBundle, federate, load_trust_bundle
from pdp.model import Cause
from pdp.server.authzen.pages import load_offer
from pdp.v1 import authorization_pb2 as pb
from tests.simulators.authzen import BASE_URL, EVALUATION, AuthzenServer
from tests.simulators.certificates import TRUST_DOMAIN, Intermediate, forge, uri
from tests.simulators.decision_points import (
    RunningServer,
    make_snapshot,
    message,
    now_snapshot,
    running_server,
)
from tests.test_svid import NOW_NS, context

PARTNER = "partner.example.org"
THIRD = "third.example.org"
OURS, THEIRS = ThrowawayAuthority(TRUST_DOMAIN), ThrowawayAuthority(PARTNER)
THIRDS = ThrowawayAuthority(THIRD)
PEP, FOREIGN = f"spiffe://{TRUST_DOMAIN}/pep", f"spiffe://{PARTNER}/pep"


def bundle(*authorities: ThrowawayAuthority, of: str = "") -> TrustBundle:
    """A trust bundle."""
    pem = b"".join(authority.bundle_pem for authority in authorities)
    return load_trust_bundle(of or authorities[0].trust_domain, pem)


# A partner's, whose certificate says nothing of a trust domain: many do not.
NAMELESS = Intermediate(THEIRS)


def believed() -> Trust:
    """Our own authority, and a partner's two."""
    found, problems = federate(bundle(OURS), [bundle(THEIRS, NAMELESS)])
    assert problems == ()
    return found


def seen(trust: Trust, shown: IssuedSvid, claimed: str, chain: bytes = b"") -> str:
    """Whom a verifier sees."""
    found = SvidVerifier(trust).caller(context(shown, claimed.encode(), chain), "", NOW_NS)
    return found.spiffe_id


def test_each_trust_domain_is_believed_about_its_own() -> None:
    """A partner's workload is who its own authority says, ours is who ours says."""
    assert seen(believed(), forge(OURS), PEP) == PEP
    assert seen(believed(), forge(THEIRS, (uri(FOREIGN),)), FOREIGN) == FOREIGN
    assert seen(believed(), forge(NAMELESS, (uri(FOREIGN),)), FOREIGN) == FOREIGN


@pytest.mark.parametrize(
    ("issuer", "name"),
    [(THEIRS, PEP), (NAMELESS, PEP), (OURS, FOREIGN), (THIRDS, PEP), (THIRDS, FOREIGN)],
)
def test_an_authority_of_one_trust_domain_makes_no_identity_of_another(
    issuer: ThrowawayAuthority, name: str
) -> None:
    """A partner could make our administrators otherwise, and we theirs."""
    with pytest.raises(IdentityError, match="does not lead to an authority"):
        seen(believed(), forge(issuer, (uri(name),)), name)


def one_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every trust domain with everybody's authorities, as TLS has them."""

    def believe(self: SvidVerifier, trust: Trust, ours_end_ns: int | None) -> None:
        pool = Store(list(trust.authorities))
        self._stores = {each.trust_domain: pool for each in trust.bundles}
        self._trust, self._ours_end_ns = trust, ours_end_ns

    monkeypatch.setattr(SvidVerifier, "_believe", believe)


def test_an_authority_of_one_trust_domain_twin_with_one_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one pool of roots a partner is whoever it likes among us."""
    one_pool(monkeypatch)
    assert seen(believed(), forge(NAMELESS, (uri(PEP),)), PEP) == PEP


def test_an_authority_that_names_its_trust_domain_signs_for_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the pools would let it: an intermediate under a root that two domains share."""
    one_pool(monkeypatch)
    with pytest.raises(IdentityError, match="it is another's"):
        seen(believed(), forge(THEIRS, (uri(PEP),)), PEP)
    monkeypatch.setattr(svid, "_check_authority", lambda *_: None)
    # The twin: both guards taken away.
    assert seen(believed(), forge(THEIRS, (uri(PEP),)), PEP) == PEP


def recertified(of: ThrowawayAuthority, trust_domain: str) -> ThrowawayAuthority:
    """Another certificate for the same key, in another trust domain's name."""
    again = ThrowawayAuthority(trust_domain)
    extensions = again.certificate.extensions
    again.key = of.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(again.name)
        .issuer_name(again.name)
        .public_key(of.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(again.certificate.not_valid_before_utc)
        .not_valid_after(again.certificate.not_valid_after_utc)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(of.key.public_key()), critical=False
        )
    )
    for extension in extensions:
        if not isinstance(extension.value, x509.SubjectKeyIdentifier):
            builder = builder.add_extension(extension.value, extension.critical)
    again.certificate = builder.sign(of.key, hashes.SHA256())
    return again


def test_a_key_that_two_trust_domains_share_is_believed_of_no_partner() -> None:
    """Under another name and another certificate, too: the key is what counts."""
    for partner in (bundle(OURS, of=PARTNER), bundle(THEIRS, recertified(OURS, PARTNER))):
        trust, problems = federate(bundle(OURS), [partner])
        assert [each.trust_domain for each in trust.bundles] == [TRUST_DOMAIN]
        assert "in common" in problems[0]
    trust, problems = federate(bundle(OURS), [bundle(THEIRS), bundle(THEIRS, of=THIRD)])
    assert [each.trust_domain for each in trust.bundles] == [TRUST_DOMAIN]
    assert len(problems) == 2


def test_a_shared_key_twin_without_guard() -> None:
    """Believed all the same, whoever holds the key is one of ours and one of theirs."""
    shared = recertified(OURS, PARTNER)
    ours, theirs = bundle(OURS), bundle(shared)
    trust = Federation(ours, (theirs,), b"")
    assert seen(trust, forge(shared, (uri(FOREIGN),)), FOREIGN) == FOREIGN
    assert seen(trust, forge(OURS, (uri(PEP),)), PEP) == PEP


def test_a_partner_is_named_once_and_is_not_us() -> None:
    """Two bundles for one domain are two answers to one question: neither counts."""
    fresh = ThrowawayAuthority(PARTNER)
    trust, problems = federate(bundle(OURS), [bundle(THEIRS), bundle(fresh)])
    assert isinstance(trust, TrustBundle)
    assert len(problems) == 2
    ours_again = bundle(ThrowawayAuthority(TRUST_DOMAIN))
    trust, problems = federate(bundle(OURS), [ours_again])
    assert trust == bundle(OURS)
    assert "twice" in problems[0]


@given(
    partners=st.lists(
        st.tuples(
            st.sampled_from((PARTNER, THIRD, TRUST_DOMAIN)),
            st.lists(st.sampled_from((OURS, THEIRS, NAMELESS, THIRDS)), min_size=1, max_size=3),
        ),
        max_size=4,
    )
)
@settings(max_examples=150, deadline=None)
def test_no_key_ever_speaks_for_two_trust_domains(
    partners: list[tuple[str, list[ThrowawayAuthority]]],
) -> None:
    """Whatever is put together: our own stays, and each key is one domain's."""
    found, problems = federate(
        bundle(OURS), [bundle(*authorities, of=domain) for domain, authorities in partners]
    )
    owners: dict[bytes, str] = {}
    for each in found.bundles:
        for authority in each.authorities:
            key = authority.public_key().public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            )
            assert owners.setdefault(key, each.trust_domain) == each.trust_domain
    assert found.bundles[0] == bundle(OURS)
    assert len(found.bundles) - 1 + len(problems) == len(partners)


# -- files ----------------------------------------------------------------------------------------


class Files:
    """Our files and those of partners, and what watches them."""

    def __init__(self, folder: Path, partners: dict[str, bytes]) -> None:
        shown = OURS.issue("pdp", dns_names=["localhost"])
        certificate, key = shown.write(folder, "server")
        trust = folder / "trust.pem"
        trust.write_bytes(OURS.bundle_pem)
        self.partners = {domain: folder / f"{domain}.pem" for domain in partners}
        for domain, pem in partners.items():
            self.partners[domain].write_bytes(pem)
        self.tls = TlsSettings(
            TRUST_DOMAIN, certificate, key, trust, federation=tuple(self.partners.items())
        )
        self.watched = IdentityFiles(
            self.tls, load_server_svid(self.tls, time.time_ns()), time.time_ns
        )

    def settled(self) -> Look:
        """Look until nothing is new."""
        while (look := self.watched.look()).settling:
            pass
        return look

    @property
    def domains(self) -> list[str]:
        """Whom we believe."""
        return [each.trust_domain for each in self.watched.identity.trust.bundles]


def test_partners_files_are_read_and_followed(tmp_path: Path) -> None:
    """Taken at the start, exchanged while it serves; the roots of TLS are everybody's."""
    files = Files(tmp_path, {PARTNER: THEIRS.bundle_pem, THIRD: THIRDS.bundle_pem})
    assert files.settled() == Look()
    assert files.domains == [TRUST_DOMAIN, PARTNER, THIRD]
    assert files.watched.identity.roots_pem.count(b"BEGIN CERTIFICATE") == 3
    fresh = ThrowawayAuthority(PARTNER)
    files.partners[PARTNER].write_bytes(fresh.bundle_pem)
    assert files.settled() == Look(("trust bundle",))
    trust = files.watched.identity.trust
    assert seen(trust, forge(fresh, (uri(FOREIGN),)), FOREIGN) == FOREIGN
    with pytest.raises(IdentityError):
        seen(trust, forge(THEIRS, (uri(FOREIGN),)), FOREIGN)
    assert files.watched.identity == load_server_svid(files.tls, time.time_ns())


def test_a_partners_file_that_is_broken_costs_nobody_else(tmp_path: Path) -> None:
    """Its last one stays; one that shares a key with us is believed no longer."""
    files = Files(tmp_path, {PARTNER: THEIRS.bundle_pem})
    path = files.partners[PARTNER]
    path.write_bytes(THEIRS.bundle_pem[:200])
    look = files.settled()
    assert (look.changed, len(look.problems), files.domains) == ((), 1, [TRUST_DOMAIN, PARTNER])
    assert f"tls.federation.{PARTNER}" in look.problems[0]
    path.unlink()
    assert "cannot be read" in files.settled().problems[0]
    path.write_bytes(OURS.bundle_pem)
    look = files.settled()
    assert look.changed == ("trust bundle",)
    assert "in common" in look.problems[0]
    assert files.domains == [TRUST_DOMAIN]
    path.write_bytes(THEIRS.bundle_pem)
    assert files.settled() == Look(("trust bundle",))
    assert files.domains == [TRUST_DOMAIN, PARTNER]


@pytest.mark.parametrize("pem", [b"garbage", OURS.bundle_pem], ids=["garbage", "ours"])
def test_a_partner_that_cannot_be_used_stops_the_start(pem: bytes, tmp_path: Path) -> None:
    """Half a federation is none: a start says so, with the setting."""
    with pytest.raises(ConfigurationError, match="federation"):
        Files(tmp_path, {PARTNER: pem})


def test_a_partner_cannot_vouch_for_us(tmp_path: Path) -> None:
    """Our own certificate is judged by our own authorities alone."""
    files = Files(tmp_path, {PARTNER: THEIRS.bundle_pem + NAMELESS.bundle_pem})
    own_name = uri(f"spiffe://{TRUST_DOMAIN}/pdp")
    forged = forge(NAMELESS, (own_name, x509.DNSName("localhost")))
    files.tls.certificate.write_bytes(forged.certificate_pem)
    files.tls.key.write_bytes(forged.key_pem)
    look = files.settled()
    assert look.changed == ()
    assert "does not lead to an authority" in look.problems[0]


# -- real connections -----------------------------------------------------------------------------


def entries(*names: str) -> tuple[CallerEntry, ...]:
    """These callers may ask everything about documents."""
    return tuple(
        CallerEntry(name, ("document",), ("*",), ("user",), may=frozenset({"batch"}))
        for name in names
    )


async def through_both_doors(running: RunningServer, http: AuthzenServer, shown: IssuedSvid) -> str:
    """What a caller gets: its answer, or the status; the same through both."""
    try:
        answer = await running.call(message(), shown)
        by_grpc = pb.Effect.Name(answer.effect) + " " + pb.Cause.Name(answer.cause)
    except grpc.aio.AioRpcError as error:
        by_grpc = error.code().name
    body = {
        "subject": {"type": "user", "id": "alice"},
        "action": {"name": "read"},
        "resource": {"type": "document", "id": "1"},
    }
    async with http.client(shown) as client:
        response = await client.post(EVALUATION, json=body)
    if by_grpc == "UNAUTHENTICATED":
        assert response.status_code == 401
    else:
        assert response.json()["decision"] is (by_grpc == "EFFECT_PERMIT CAUSE_RULE")
    return by_grpc


def test_partners_are_who_their_own_authorities_say_on_every_door(tmp_path: Path) -> None:
    """TLS lets all of them in: on each call, the authorities of the caller's own domain decide."""
    made = make_snapshot(callers=entries(PEP, FOREIGN))
    serial = forge(THEIRS, (uri(FOREIGN),))
    denied = Denials(serials=frozenset({(PARTNER, f"{serial.leaf.serial_number:x}")}))
    snapshot = now_snapshot(callers=made.callers, denials=denied)
    offer = load_offer(AuthzenSettings(Address("127.0.0.1", 0), BASE_URL))

    async def scenario() -> None:
        async with running_server(
            tmp_path, authority=OURS, snapshot=snapshot, authzen=offer
        ) as running:
            files = tmp_path / "federated"
            files.mkdir()
            own = Files(files, {PARTNER: THEIRS.bundle_pem + NAMELESS.bundle_pem})
            running.server.use(own.watched.identity)
            assert running.server.authzen is not None
            url = f"https://localhost:{running.server.authzen.address.port}"
            http = AuthzenServer(running, url, tmp_path)

            async def gets(issuer: ThrowawayAuthority, name: str) -> str:
                return await through_both_doors(running, http, forge(issuer, (uri(name),)))

            permitted = "EFFECT_PERMIT CAUSE_RULE"
            assert await gets(OURS, PEP) == permitted
            assert await gets(THEIRS, FOREIGN) == permitted
            assert await gets(NAMELESS, PEP) == "UNAUTHENTICATED"
            assert await gets(OURS, FOREIGN) == "UNAUTHENTICATED"
            # Who it is, is one thing; the caller policy knows nobody else of the partner's.
            stranger = f"spiffe://{PARTNER}/stranger"
            assert await gets(THEIRS, stranger) == "EFFECT_DENY CAUSE_CALLER"
            # A serial is denied in its own trust domain.
            found = await through_both_doors(running, http, serial)
            assert found == "EFFECT_DENY " + pb.Cause.Name(Cause.CALLER.value)

    asyncio.run(scenario())
