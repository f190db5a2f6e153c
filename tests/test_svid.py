"""The rules of an X.509-SVID, by real handshakes and by bytes.

Rows of references/security.md section 3.2: what TLS alone lets in is stopped
by us, and each such row has a twin that shows TLS letting it in.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.authoring.throwaway import IssuedSvid, ThrowawayAuthority
from pdp.config.settings import TlsSettings
from pdp.errors import ConfigurationError, IdentityError
from pdp.identity import svid
from pdp.identity.server_svid import load_server_svid
from pdp.identity.spiffe_id import check_trust_domain, parse_spiffe_id
from pdp.identity.svid import SvidVerifier
from pdp.identity.trust import load_trust_bundle
from pdp.model import Caller
from pdp.values import NANOS
from tests.simulators.certificates import BAD, PEP, TRUST_DOMAIN, Intermediate, forge, uri
from tests.simulators.decision_points import RunningServer, message, running_server

AUTHORITY = ThrowawayAuthority(TRUST_DOMAIN)
TRUST = load_trust_bundle(TRUST_DOMAIN, AUTHORITY.bundle_pem)
GOOD = forge(AUTHORITY)
NOW_NS = int(GOOD.leaf.not_valid_before_utc.timestamp()) * NANOS + 1_800 * NANOS


def context(
    shown: IssuedSvid, claimed: bytes | None = PEP.encode(), chain: bytes = b""
) -> dict[str, list[bytes]]:
    """What gRPC says about a connection; `claimed` is what its own SPIFFE parser found."""
    found = {"x509_pem_cert": [shown.leaf.public_bytes(Encoding.PEM)]}
    if claimed is not None:
        found["peer_spiffe_id"] = [claimed]
    if chain:
        found["x509_pem_cert_chain"] = [chain]
    return found


def identify(
    shown: IssuedSvid, *, claimed: bytes | None = PEP.encode(), chain: bytes = b""
) -> Caller:
    """Whom a fresh verifier sees."""
    return SvidVerifier(TRUST).caller(context(shown, claimed, chain), "ipv4:1.2.3.4:5", NOW_NS)


# -- real handshakes ------------------------------------------------------------------------------


async def status_of(running: RunningServer, shown: IssuedSvid | None) -> tuple[str, str]:
    """Status and details of one Authorize call; `None` shows no certificate."""
    try:
        if shown is not None:
            await running.call(message(), shown)
        else:
            credentials = grpc.ssl_channel_credentials(running.authority.bundle_pem)
            async with grpc.aio.secure_channel(
                f"localhost:{running.address.port}",
                credentials,
                options=[("grpc.use_local_subchannel_pool", 1)],
            ) as channel:
                method = channel.unary_unary("/pdp.v1.AuthorizationService/Authorize", bytes, bytes)
                await method(message(), timeout=5)
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    return "OK", ""


def test_handshakes_of_bad_certificates(tmp_path: Path) -> None:
    """Each bad certificate is refused, by TLS or by us, without a decision; good ones pass."""

    async def scenario() -> None:
        async with running_server(tmp_path, authority=AUTHORITY) as running:
            for name, bad in BAD.items():
                status, details = await status_of(running, bad.make(AUTHORITY))
                expected = "UNAUTHENTICATED" if bad.passes_handshake else "UNAVAILABLE"
                assert (name, status) == (name, expected)
                assert bad.says in details, name
            assert (await status_of(running, None))[0] == "UNAVAILABLE"
            # Nobody got as far as a decision, so nothing was recorded.
            assert running.recorder.entries == []
            refused = running.telemetry.counters["refused", "unauthenticated"]
            assert refused == sum(bad.passes_handshake for bad in BAD.values())
            intermediate = Intermediate(AUTHORITY)
            for good in (GOOD, intermediate.chained(forge(intermediate))):
                assert await status_of(running, good) == ("OK", "")
            lonely = forge(intermediate)
            assert (await status_of(running, lonely))[0] == "UNAVAILABLE"

    asyncio.run(scenario())


def test_handshakes_of_bad_certificates_twin_without_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A door that believes whoever passed the handshake lets every one of those in."""

    def believing(self: SvidVerifier, found: object, peer: str, now_ns: int) -> Caller:
        return Caller(PEP, "1", peer)

    monkeypatch.setattr(SvidVerifier, "caller", believing)

    async def scenario() -> None:
        async with running_server(tmp_path, authority=AUTHORITY) as running:
            for name, bad in BAD.items():
                if bad.passes_handshake:
                    shown = bad.make(AUTHORITY)
                    assert (name, await status_of(running, shown)) == (name, ("OK", ""))

    asyncio.run(scenario())


def test_the_caller_of_a_real_connection_is_recorded(tmp_path: Path) -> None:
    """SPIFFE ID, serial and address of the record are those of the certificate and socket."""

    async def scenario() -> None:
        async with running_server(tmp_path, authority=AUTHORITY) as running:
            await running.call(message(), GOOD)
            (entry,) = running.recorder.entries
            assert entry.caller.spiffe_id == PEP
            assert entry.caller.serial == f"{GOOD.leaf.serial_number:x}"
            assert entry.caller.peer.startswith("ipv4:127.0.0.1:")

    asyncio.run(scenario())


# -- the same rules on bytes, with a connection that claims what it likes -------------------------


@pytest.mark.parametrize("name", BAD)
def test_our_rules_do_not_lean_on_grpc(name: str) -> None:
    """With gRPC's own findings faked in its favour, every bad certificate is still refused."""
    with pytest.raises(IdentityError):
        identify(BAD[name].make(AUTHORITY))


@pytest.mark.parametrize(
    ("name", "guard"),
    [
        ("two_identities", "_only_uri"),
        ("leaf_may_sign_revocations", "_check_usages"),
        ("no_key_usage", "_check_usages"),
        ("key_usage_not_critical", "_check_usages"),
        ("extended_usage_of_a_client_only", "_check_usages"),
    ],
)
def test_our_rules_do_not_lean_on_grpc_twin_without_guard(
    name: str, guard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Path validation alone accepts these: without our check the certificate passes."""
    monkeypatch.setattr(svid, guard, lambda leaf: PEP)
    assert identify(BAD[name].make(AUTHORITY)).spiffe_id == PEP


def test_foreign_trust_domain_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """An authority that speaks for us signs for another domain: the path alone is valid."""
    foreign = "spiffe://other.example.org/pep"
    shown = forge(AUTHORITY, (uri(foreign),))
    with pytest.raises(IdentityError, match="foreign trust domain"):
        identify(shown, claimed=foreign.encode())
    theirs = load_trust_bundle("other.example.org", AUTHORITY.bundle_pem)
    with pytest.raises(IdentityError, match="it is another's"):
        SvidVerifier(theirs).caller(context(shown, foreign.encode()), "", NOW_NS)
    monkeypatch.setattr(svid, "_check_authority", lambda *_: None)
    found = SvidVerifier(theirs).caller(context(shown, foreign.encode()), "", NOW_NS)
    assert found.spiffe_id == foreign


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"peer_spiffe_id": []},
        {"peer_spiffe_id": [PEP.encode(), PEP.encode()]},
        {"peer_spiffe_id": [b"spiffe://demo.example.org/admin"]},
        {"peer_spiffe_id": [b""]},
        {"peer_spiffe_id": [PEP.upper().encode()]},
        {"x509_pem_cert": []},
        {"x509_pem_cert": [b"a", b"b"]},
    ],
)
def test_the_connection_claims_exactly_the_identity_of_its_certificate(
    claims: dict[str, list[bytes]],
) -> None:
    """None, two, or another identity than the leaf's: refused."""
    found = context(GOOD, None) | (
        claims if "peer_spiffe_id" in claims else {"peer_spiffe_id": [PEP.encode()]} | claims
    )
    if not claims:
        del found["peer_spiffe_id"]
    with pytest.raises(IdentityError):
        SvidVerifier(TRUST).caller(found, "", NOW_NS)


def test_peer_identities_and_subject_names_mean_nothing() -> None:
    """A DNS name with the text of an identity is no identity, whatever gRPC lists."""
    shown = forge(AUTHORITY, (x509.DNSName(PEP),))
    found = context(shown, None) | {"x509_subject_alternative_name": [PEP.encode()]}
    with pytest.raises(IdentityError):
        SvidVerifier(TRUST).caller(found, "", NOW_NS)


def test_the_chain_may_repeat_the_leaf() -> None:
    """Some TLS libraries count the leaf into the chain, some leave it out."""
    intermediate = Intermediate(AUTHORITY)
    shown = forge(intermediate)
    chain = intermediate.bundle_pem
    assert identify(shown, chain=chain).spiffe_id == PEP
    assert identify(shown, chain=shown.certificate_pem + chain).spiffe_id == PEP
    with pytest.raises(IdentityError, match="does not lead to an authority"):
        identify(shown)


def test_a_long_chain_is_refused() -> None:
    """More intermediates than anybody needs are not even looked at."""
    chain = b"".join(Intermediate(AUTHORITY).bundle_pem for _ in range(9))
    with pytest.raises(IdentityError, match="more than 8"):
        identify(GOOD, chain=chain)
    with pytest.raises(IdentityError, match="longer than"):
        identify(GOOD, chain=b"\n" * 70_000)


# -- time and cache -------------------------------------------------------------------------------


def test_expiry_is_checked_on_every_call() -> None:
    """A connection outlives its certificate; the cache does not."""
    verifier = SvidVerifier(TRUST)
    found = context(GOOD)
    assert verifier.caller(found, "", NOW_NS).spiffe_id == PEP
    end_ns = int(GOOD.leaf.not_valid_after_utc.timestamp()) * NANOS
    start_ns = int(GOOD.leaf.not_valid_before_utc.timestamp()) * NANOS
    assert verifier.caller(found, "", end_ns).spiffe_id == PEP
    for wrong_ns in (end_ns + NANOS, start_ns - NANOS, 0):
        with pytest.raises(IdentityError):
            verifier.caller(found, "", wrong_ns)
    assert verifier.caller(found, "", NOW_NS).spiffe_id == PEP


def test_expiry_is_checked_on_every_call_twin_without_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cache that keeps what it saw lets an expired certificate in."""
    monkeypatch.setattr(svid.Verified, "is_within", lambda self, now_ns: True)
    verifier = SvidVerifier(TRUST)
    verifier.caller(context(GOOD), "", NOW_NS)
    assert verifier.caller(context(GOOD), "", NOW_NS + 86_400 * NANOS).spiffe_id == PEP


def test_an_expired_intermediate_ends_the_leaf_too() -> None:
    """The window is that of the whole path, not only of the leaf."""
    intermediate = Intermediate(AUTHORITY, lifetime=timedelta(minutes=50))
    shown = forge(intermediate)
    verifier = SvidVerifier(TRUST)
    found = context(shown, chain=intermediate.bundle_pem)
    assert verifier.caller(found, "", NOW_NS).spiffe_id == PEP
    end_ns = int(intermediate.certificate.not_valid_after_utc.timestamp()) * NANOS
    with pytest.raises(IdentityError):
        verifier.caller(found, "", end_ns + NANOS)


def test_another_trust_bundle_forgets_what_was_verified() -> None:
    """When the authority is gone, so is everybody it vouched for."""
    verifier = SvidVerifier(TRUST)
    verifier.caller(context(GOOD), "", NOW_NS)
    other = ThrowawayAuthority(TRUST_DOMAIN)
    verifier.use(load_trust_bundle(TRUST_DOMAIN, other.bundle_pem))
    with pytest.raises(IdentityError):
        verifier.caller(context(GOOD), "", NOW_NS)
    verifier.use(load_trust_bundle(TRUST_DOMAIN, other.bundle_pem + AUTHORITY.bundle_pem))
    assert verifier.caller(context(GOOD), "", NOW_NS).spiffe_id == PEP


def test_a_certificate_is_verified_once_and_the_cache_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A path is built once per certificate; a flood of certificates does not fill the memory."""
    calls = []
    verify = SvidVerifier._verify

    def counting(self: SvidVerifier, *args: bytes | int) -> object:
        calls.append(1)
        return verify(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(SvidVerifier, "_verify", counting)
    verifier = SvidVerifier(TRUST, entries_max=2)
    for _ in range(5):
        verifier.caller(context(GOOD), "", NOW_NS)
    assert len(calls) == 1
    for _ in range(4):
        verifier.caller(context(forge(AUTHORITY)), "", NOW_NS)
    assert len(calls) == 5
    assert len(verifier._cache) == 2


# -- text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "spiffe://td/a",
        "spiffe://td.example.org/ns/prod/sa/web-1_x.y",
        "spiffe://1-2_3.4/...",
        "spiffe://td/" + "a" * 2_036,
    ],
)
def test_good_spiffe_ids(text: str) -> None:
    """Read and written again they are the same."""
    found = parse_spiffe_id(text)
    assert str(found) == text
    assert Caller(text).trust_domain == found.trust_domain
    assert Caller(text).path == found.path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe://",
        "spiffe:///path",
        "spiffe://td",
        "spiffe://td/",
        "spiffe://td//a",
        "spiffe://td/a/",
        "spiffe://td/a//b",
        "spiffe://td/.",
        "spiffe://td/a/../b",
        "spiffe://TD/a",
        "SPIFFE://td/a",
        "spiffe://td:443/a",
        "spiffe://user@td/a",
        "spiffe://td/a?x=1",
        "spiffe://td/a#x",
        "spiffe://td/a%41",
        "spiffe://td/ä",
        "spiffe://tä/a",
        "spiffe://td/a\n",
        "spiffe://td/a\x00b",
        "spiffe://td/a b",
        " spiffe://td/a",
        "https://td/a",
        "spiffe://td/" + "a" * 2_037,
        "spiffe://" + "t" * 256 + "/a",
    ],
)
def test_bad_spiffe_ids(text: str) -> None:
    """SPIFFE-ID section 2, character by character; nothing is repaired."""
    with pytest.raises(IdentityError):
        parse_spiffe_id(text)


@given(text=st.one_of(st.text(), st.from_regex(r"spiffe://[\x00-\x7f]{0,40}", fullmatch=True)))
@settings(max_examples=300, deadline=None)
def test_spiffe_id_fuzz(text: str) -> None:
    """Any text is an identity that reads back the same, or an IdentityError of one line."""
    try:
        found = parse_spiffe_id(text)
    except IdentityError as error:
        assert str(error).isprintable()  # noqa: PT017 both ends are asserted
    else:
        assert str(found) == text
        assert found.path.startswith("/")
        check_trust_domain(found.trust_domain)


DER = GOOD.leaf.public_bytes(Encoding.DER)


def pem_of(der: bytes) -> bytes:
    """DER in PEM's clothes."""
    import base64

    body = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


@st.composite
def damaged_certificates(draw: st.DrawFn) -> bytes:
    """Our own certificate with some bytes changed, cut or repeated; or any bytes."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=300))
    data = bytearray(DER)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data) - 1))
        data[place] = draw(st.integers(0, 255))
    cut = draw(st.integers(0, 30))
    damaged = bytes(data[: len(data) - cut]) if draw(st.booleans()) else bytes(data)
    return pem_of(damaged) if draw(st.booleans()) else damaged


@given(leaf=damaged_certificates(), chain=st.one_of(st.just(b""), damaged_certificates()))
@settings(max_examples=300, deadline=None)
def test_certificate_fuzz(leaf: bytes, chain: bytes) -> None:
    """Damaged bytes are an IdentityError; what passes is the undamaged certificate."""
    found = {"peer_spiffe_id": [PEP.encode()], "x509_pem_cert": [leaf]}
    if chain:
        found["x509_pem_cert_chain"] = [chain]
    try:
        caller = SvidVerifier(TRUST).caller(found, "", NOW_NS)
    except IdentityError as error:
        assert str(error).isprintable()  # noqa: PT017 both ends are asserted
    else:
        assert caller.spiffe_id == PEP
        assert x509.load_pem_x509_certificate(leaf).tbs_certificate_bytes == (
            GOOD.leaf.tbs_certificate_bytes
        )


# -- trust bundle and our own certificate ---------------------------------------------------------


@pytest.mark.parametrize(
    "pem", [b"", b"\n", b"rubbish", GOOD.key_pem, GOOD.certificate_pem, AUTHORITY.bundle_pem[:200]]
)
def test_a_trust_bundle_holds_authorities_or_is_refused(pem: bytes) -> None:
    """Empty, not PEM, cut, or a leaf: nothing that would vouch for nobody or for itself."""
    with pytest.raises(ConfigurationError):
        load_trust_bundle(TRUST_DOMAIN, pem)


def test_the_generation_of_a_trust_bundle_is_its_set() -> None:
    """Order does not matter, members do."""
    other = ThrowawayAuthority(TRUST_DOMAIN).bundle_pem
    one = load_trust_bundle(TRUST_DOMAIN, other + AUTHORITY.bundle_pem).generation
    two = load_trust_bundle(TRUST_DOMAIN, AUTHORITY.bundle_pem + other).generation
    assert one == two
    assert one != TRUST.generation


def test_our_own_certificate_is_held_to_the_rules(tmp_path: Path) -> None:
    """A server that its clients must refuse does not start, and says why."""
    trust = tmp_path / "trust.pem"
    trust.write_bytes(AUTHORITY.bundle_pem)

    def load(shown: IssuedSvid, key: bytes | None = None) -> str:
        certificate, key_file = shown.write(tmp_path, "server")
        if key is not None:
            key_file.write_bytes(key)
        return load_server_svid(
            TlsSettings(TRUST_DOMAIN, certificate, key_file, trust), NOW_NS
        ).spiffe_id

    assert load(GOOD) == PEP
    intermediate = Intermediate(AUTHORITY)
    assert load(intermediate.chained(forge(intermediate))) == PEP
    for bad in BAD.values():
        with pytest.raises(ConfigurationError, match=r"tls\.certificate"):
            load(bad.make(AUTHORITY))
    with pytest.raises(ConfigurationError, match="is not the key of"):
        load(GOOD, forge(AUTHORITY).key_pem)
    with pytest.raises(ConfigurationError, match="no private key"):
        load(GOOD, b"secret words")
    with pytest.raises(ConfigurationError, match="no certificate"):
        load(IssuedSvid(b"nothing", GOOD.key_pem, GOOD.leaf))


def test_our_own_certificate_without_a_dns_name_is_a_warning(tmp_path: Path) -> None:
    """A client in Python checks the server by DNS name; without one it cannot."""
    trust = tmp_path / "trust.pem"
    trust.write_bytes(AUTHORITY.bundle_pem)
    certificate, key = GOOD.write(tmp_path, "server")
    key.chmod(0o644)
    found = load_server_svid(TlsSettings(TRUST_DOMAIN, certificate, key, trust), NOW_NS)
    assert ["DNS name" in found.warnings[0], "chmod" in found.warnings[1]] == [True, True]
    assert "PRIVATE" not in repr(found)
