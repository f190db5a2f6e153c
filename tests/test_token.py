"""Subject tokens that prove something, and every kind that must not."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from pdp.bundle import strict_json
from pdp.identity import token as token_module
from pdp.identity.jwk import VerificationKey, parse_key_set
from pdp.identity.token import (
    SKEW_SECONDS,
    TOKEN_BYTES_MAX,
    TokenFault,
    TokenRefusedError,
    TokenVerifier,
)
from pdp.telemetry import Telemetry
from pdp.values import NANOS
from tests.simulators.decision_points import NOW_NS, HandClock, ask
from tests.simulators.token_issuer import (
    AUDIENCE,
    ISSUER,
    NOW_S,
    TokenIssuer,
    b64,
    compact,
    ec_key,
    file_keys,
    issuer_settings,
    key_set,
    rsa_key,
    signer,
    verifier,
)

HONEST = TokenIssuer()
RSA = TokenIssuer(rsa_key(), "two", "RS256")


def fault(tokens: TokenVerifier, text: object, now_ns: int = NOW_NS) -> TokenFault | None:
    """Why a token is refused, or None: it is not."""
    try:
        tokens.verify(text, now_ns)  # type: ignore[arg-type]
    except TokenRefusedError as error:
        return error.fault
    return None


@pytest.fixture
def tokens(tmp_path: Path) -> TokenVerifier:
    """Verifies tokens of two honest keys."""
    return verifier(tmp_path, HONEST.jwk(), RSA.jwk())


def test_an_honest_token_proves_its_subject(tokens: TokenVerifier) -> None:
    """The permit that every refusal below is compared with."""
    found = tokens.verify(HONEST.token(act={"sub": "robot"}), NOW_NS)
    assert (found.issuer, found.jti) == (ISSUER, "t-1")
    assert (found.subject_type, found.subject_id) == ("user", "alice")
    assert found.expires_ns == (NOW_S + 300) * NANOS
    assert found.claims["department"] == "finance"
    assert found.claims["act"] == {"sub": "robot"}
    assert fault(tokens, RSA.token(aud=["other", AUDIENCE])) is None


@pytest.mark.parametrize(
    "algorithm",
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
     "EdDSA", "Ed25519"],
)  # fmt: skip
def test_every_algorithm_that_can_be_configured_verifies(tmp_path: Path, algorithm: str) -> None:
    """And one bit of the signature changed does not."""
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    key: Any = ed25519.Ed25519PrivateKey.generate()
    if algorithm in curves:
        key = ec.generate_private_key(curves[algorithm])
    elif algorithm[1:] in {"S256", "S384", "S512"}:
        key = rsa_key()
    issuer = TokenIssuer(key, "k", algorithm)
    found = verifier(tmp_path, issuer.jwk(), algorithms=(algorithm,))
    text = issuer.token()
    assert fault(found, text) is None
    head, payload, signature = text.split(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[-1] ^= 1
    assert fault(found, f"{head}.{payload}.{b64(bytes(raw))}") is TokenFault.SIGNATURE


# ---- the signature -----------------------------------------------------------


def _hs256(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda data: hmac.digest(secret, data, hashlib.sha256)


def _public_pem() -> bytes:
    return RSA.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def hs256_with_the_public_key() -> str:
    """The classic: the public key is the secret."""
    return compact(RSA.header(alg="HS256"), RSA.claims(), _hs256(_public_pem()))


SIGNATURES: dict[str, tuple[Callable[[], str], TokenFault]] = {
    "alg none": (
        lambda: compact(HONEST.header(alg="none"), HONEST.claims(), lambda _: b"x"),
        TokenFault.ALGORITHM,
    ),
    "alg None": (
        lambda: compact(HONEST.header(alg="None"), HONEST.claims(), lambda _: b"x"),
        TokenFault.ALGORITHM,
    ),
    "alg none, no signature": (
        lambda: compact(HONEST.header(alg="none"), HONEST.claims(), lambda _: b""),
        TokenFault.MALFORMED,
    ),
    "hs256 with the public key": (hs256_with_the_public_key, TokenFault.ALGORITHM),
    "hs256 with an empty secret": (
        lambda: compact(RSA.header(alg="HS256"), RSA.claims(), _hs256(b"")),
        TokenFault.ALGORITHM,
    ),
    "another algorithm of the same key": (
        lambda: TokenIssuer(RSA.key, "two", "PS256").token(),
        TokenFault.ALGORITHM,
    ),
    "the same in lower case": (
        lambda: compact(HONEST.header(alg="es256"), HONEST.claims(), signer(HONEST.key, "ES256")),
        TokenFault.ALGORITHM,
    ),
    "another key under this kid": (
        lambda: TokenIssuer(ec_key("mallory"), "one").token(),
        TokenFault.SIGNATURE,
    ),
    "the other key's kid": (lambda: TokenIssuer(HONEST.key, "two").token(), TokenFault.ALGORITHM),
    "wrong curve": (
        lambda: compact(
            HONEST.header(),
            HONEST.claims(),
            signer(ec.generate_private_key(ec.SECP384R1()), "ES384"),
        ),
        TokenFault.SIGNATURE,
    ),
    "a signature of zeros (CVE-2022-21449)": (
        lambda: compact(HONEST.header(), HONEST.claims(), lambda _: bytes(64)),
        TokenFault.SIGNATURE,
    ),
    "a signature in der": (
        lambda: compact(
            HONEST.header(),
            HONEST.claims(),
            lambda data: ec_key("one").sign(data, ec.ECDSA(token_hash())),
        ),
        TokenFault.SIGNATURE,
    ),
    "kid unknown": (lambda: TokenIssuer(HONEST.key, "three").token(), TokenFault.KEY),
    "kid a path": (lambda: HONEST.token({"kid": "../../../dev/null"}), TokenFault.KEY),
    "kid a query": (lambda: HONEST.token({"kid": "x' UNION SELECT 'a"}), TokenFault.KEY),
    "kid in another case": (lambda: HONEST.token({"kid": "ONE"}), TokenFault.KEY),
    "kid empty": (lambda: HONEST.token({"kid": ""}), TokenFault.KEY),
}


def token_hash() -> Any:
    """SHA-256, as ES256 takes it."""
    from cryptography.hazmat.primitives import hashes

    return hashes.SHA256()


@pytest.mark.parametrize("attack", SIGNATURES)
def test_a_signature_that_is_not_the_keys_is_refused(tokens: TokenVerifier, attack: str) -> None:
    """Algorithm, key and key id are the key set's, whatever the token says of itself."""
    make, expected = SIGNATURES[attack]
    assert fault(tokens, make()) is expected


@pytest.mark.parametrize("attack", ["alg none", "hs256 with the public key"])
def test_a_signature_twin_that_believes_the_header(
    tokens: TokenVerifier, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verifier that takes the algorithm from the token lets both classics in."""

    def believing(text: str, header: dict[str, str], key: object) -> None:
        signed, _, signature = text.rpartition(".")
        if header["alg"] == "HS256" and b64(_hs256(_public_pem())(signed.encode())) != signature:
            raise TokenRefusedError(TokenFault.SIGNATURE)

    monkeypatch.setattr(token_module, "_check_signature", believing)
    assert fault(tokens, SIGNATURES[attack][0]()) is None


# ---- the header --------------------------------------------------------------

HEADERS: dict[str, dict[str, object]] = {
    "jwk": {"jwk": TokenIssuer(ec_key("mallory"), "one").jwk()},
    "jku": {"jku": "https://mallory.example.com/jwks.json"},
    "x5u": {"x5u": "https://mallory.example.com/x5u.pem"},
    "x5c": {"x5c": ["MIIB"]},
    "x5t": {"x5t": "AA"},
    "crit": {"crit": ["exp"], "exp": 1},
    "crit empty": {"crit": []},
    "b64": {"b64": False, "crit": ["b64"]},
    "zip": {"zip": "DEF"},
    "cty": {"cty": "JWT"},
    "anything": {"x-tenant": "a"},
    "no kid": {"kid": None},
    "no typ": {"typ": None},
    "no alg": {"alg": None},
    "kid no string": {"kid": 1},
    "alg a list": {"alg": ["ES256"]},
    "typ an object": {"typ": {"at+jwt": True}},
}


@pytest.mark.parametrize("attack", HEADERS)
def test_a_header_with_anything_but_alg_kid_and_typ_is_refused(
    tokens: TokenVerifier, attack: str
) -> None:
    """On sight: what is in it is not looked at, nothing is fetched and nothing is believed."""
    assert fault(tokens, HONEST.token(HEADERS[attack])) is TokenFault.HEADER


def test_a_header_twin_that_passes_over_what_it_does_not_know(
    tokens: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verifier without the look at names would go on with a token that says `jku`."""
    real = strict_json.parse_object

    def careless(data: bytes, bytes_max: int, **options: bool) -> dict[str, Any]:
        found = real(data, bytes_max, **options)
        found.pop("jku", None)
        return found

    monkeypatch.setattr(token_module, "parse_object", careless)
    assert fault(tokens, HONEST.token(HEADERS["jku"])) is None


@pytest.mark.parametrize("typ", ["JWT", "dpop+jwt", "id_token", "", "at+jwt ", "logout+jwt"])
def test_a_token_for_another_purpose_is_refused(tokens: TokenVerifier, typ: str) -> None:
    """An ID token or a logout token of the same issuer is no access token (RFC 8725, 3.11)."""
    assert fault(tokens, HONEST.token({"typ": typ})) is TokenFault.TYPE


def test_typ_is_a_media_type(tokens: TokenVerifier) -> None:
    """RFC 7515 section 4.1.9: `application/` may be left out, and case does not count."""
    assert fault(tokens, HONEST.token({"typ": "application/AT+jwt"})) is None


# ---- the form ----------------------------------------------------------------


def _alias(text: str) -> str:
    """Another spelling of the same signature: the unused bits of its last character."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) | 1]


def _as_object(text: str) -> str:
    head, payload, signature = text.split(".")
    return json.dumps({"protected": head, "payload": payload, "signature": signature})


FORMS: dict[str, Callable[[], object]] = {
    "empty": lambda: "",
    "dots": lambda: "..",
    "two parts": lambda: HONEST.token().rpartition(".")[0],
    "four parts": lambda: HONEST.token() + ".e30",
    "five parts, as of JWE": lambda: HONEST.token() + ".e30.e30",
    "json serialisation": lambda: _as_object(HONEST.token()),
    "padding": lambda: HONEST.token() + "==",
    "another spelling of the last byte": lambda: _alias(HONEST.token()),
    "a line break at the end": lambda: HONEST.token() + "\n",
    "a blank before": lambda: " " + HONEST.token(),
    "a scheme before": lambda: "Bearer " + HONEST.token(),
    "plus and slash": lambda: HONEST.token().replace("-", "+").replace("_", "/") + "+",
    "a NUL inside": lambda: HONEST.token()[:40] + "\0" + HONEST.token()[40:],
    "not ascii": lambda: HONEST.token()[:-1] + "é",
    "half a character": lambda: "\ud800",
    "bytes": lambda: HONEST.token().encode(),
    "oversized": lambda: HONEST.token(filler="x" * TOKEN_BYTES_MAX),
    "no text": lambda: None,
    "a payload that is no object": lambda: compact(
        HONEST.header(), [1], signer(HONEST.key, "ES256")
    ),
    "a payload that is deep": lambda: compact(
        HONEST.header(), b"[" * 6_000, signer(HONEST.key, "ES256")
    ),
    "a payload that is not utf-8": lambda: compact(
        HONEST.header(), b'{"iss":"\xff"}', signer(HONEST.key, "ES256")
    ),
    "NaN": lambda: compact(
        HONEST.header(),
        json.dumps(HONEST.claims())[:-1].encode() + b',"n":NaN}',
        signer(HONEST.key, "ES256"),
    ),
    "a claim twice": lambda: _twice(b"sub", b"mallory"),
}


def _twice(name: bytes, value: bytes) -> str:
    """A signed token in which a claim is there twice."""
    claims = json.dumps(HONEST.claims()).encode()
    return compact(
        HONEST.header(), b'{"%s":"%s",%s' % (name, value, claims[1:]), signer(HONEST.key, "ES256")
    )


@pytest.mark.parametrize("attack", FORMS)
def test_anything_but_one_compact_form_is_refused(tokens: TokenVerifier, attack: str) -> None:
    """So a token has one spelling: nothing that goes by it can be passed by with another."""
    assert fault(tokens, FORMS[attack]()) is TokenFault.MALFORMED


def test_a_header_member_that_is_there_twice_is_refused(tokens: TokenVerifier) -> None:
    """Two readers could take two different ones."""
    header = b'{"alg":"ES256","alg":"ES256","kid":"one","typ":"at+jwt"}'
    text = compact(header, HONEST.claims(), signer(HONEST.key, "ES256"))
    assert fault(tokens, text) is TokenFault.HEADER


def test_another_spelling_twin_without_guard(
    tokens: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lenient decoder accepts the alias: the same token under another text."""
    assert fault(tokens, _alias(HONEST.token())) is TokenFault.MALFORMED

    def lenient(text: str) -> bytes | None:
        try:
            return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (binascii.Error, ValueError):
            return None

    real = token_module._check_signature

    def normalising(text: str, header: dict[str, str], key: VerificationKey) -> None:
        parts = [b64(lenient(part) or b"") for part in text.split(".")]
        real(".".join(parts), header, key)

    monkeypatch.setattr(token_module, "decode_canonical", lenient)
    # joserfc does not take the alias either; a library that decodes as Python does would.
    monkeypatch.setattr(token_module, "_check_signature", normalising)
    assert fault(tokens, _alias(HONEST.token())) is None


def test_a_claim_twice_twin_without_guard(
    tokens: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own reader takes the last, and another reader the first."""
    monkeypatch.setattr(token_module, "parse_object", lambda data, *_, **__: json.loads(data))
    assert fault(tokens, _twice(b"sub", b"mallory")) is None


# ---- the claims --------------------------------------------------------------

CLAIMS: dict[str, tuple[dict[str, object], TokenFault]] = {
    "no issuer": ({"iss": None}, TokenFault.ISSUER),
    "another issuer": ({"iss": "https://mallory.example.com"}, TokenFault.ISSUER),
    "issuer with a slash": ({"iss": ISSUER + "/"}, TokenFault.ISSUER),
    "issuer a list": ({"iss": [ISSUER]}, TokenFault.ISSUER),
    "no audience": ({"aud": None}, TokenFault.AUDIENCE),
    "another audience": ({"aud": "shop.example.org"}, TokenFault.AUDIENCE),
    "audience that begins alike": ({"aud": AUDIENCE + ".evil.com"}, TokenFault.AUDIENCE),
    "audience in another case": ({"aud": AUDIENCE.upper()}, TokenFault.AUDIENCE),
    "audience an empty list": ({"aud": []}, TokenFault.AUDIENCE),
    "audience with a number": ({"aud": [AUDIENCE, 1]}, TokenFault.AUDIENCE),
    "audience an object": ({"aud": {AUDIENCE: 1}}, TokenFault.AUDIENCE),
    "too many audiences": ({"aud": [AUDIENCE] * 65}, TokenFault.AUDIENCE),
    "expired": ({"exp": NOW_S - 1}, TokenFault.EXPIRED),
    "expired this instant": ({"exp": NOW_S}, TokenFault.EXPIRED),
    "no exp": ({"exp": None}, TokenFault.LIFETIME),
    "exp a text": ({"exp": str(NOW_S + 60)}, TokenFault.LIFETIME),
    "exp true": ({"exp": True}, TokenFault.LIFETIME),
    "exp a fraction": ({"exp": NOW_S + 60.5}, TokenFault.LIFETIME),
    "exp huge": ({"exp": 10**30}, TokenFault.LIFETIME),
    "exp far in the future": ({"exp": NOW_S + 86_400 * 365}, TokenFault.LIFETIME),
    "exp a little too far": ({"exp": NOW_S - 10 + 3_601}, TokenFault.LIFETIME),
    "issued long ago": ({"iat": NOW_S - 3_400}, TokenFault.LIFETIME),
    "exp before iat": ({"iat": NOW_S + 50, "exp": NOW_S + 40}, TokenFault.LIFETIME),
    "no iat": ({"iat": None}, TokenFault.LIFETIME),
    "iat negative": ({"iat": -1}, TokenFault.LIFETIME),
    "issued in the future": ({"iat": NOW_S + SKEW_SECONDS + 1}, TokenFault.EARLY),
    "not yet valid": ({"nbf": NOW_S + SKEW_SECONDS + 1}, TokenFault.EARLY),
    "nbf null": ({"nbf": "soon"}, TokenFault.LIFETIME),
    "nbf after exp": ({"nbf": NOW_S + 30, "exp": NOW_S + 30}, TokenFault.LIFETIME),
    "no subject": ({"sub": None}, TokenFault.SUBJECT),
    "subject empty": ({"sub": ""}, TokenFault.SUBJECT),
    "subject a number": ({"sub": 7}, TokenFault.SUBJECT),
    "subject too long": ({"sub": "x" * 1_025}, TokenFault.SUBJECT),
    "no jti": ({"jti": None}, TokenFault.SUBJECT),
    "jti empty": ({"jti": ""}, TokenFault.SUBJECT),
    "a number out of range": ({"n": 2**63}, TokenFault.CLAIMS),
    "a number that is infinite": ({"n": [1e308 * 10]}, TokenFault.MALFORMED),
    "claims nested deep": ({"n": json.loads("[" * 31 + "]" * 31)}, TokenFault.CLAIMS),
}


@pytest.mark.parametrize("attack", CLAIMS)
def test_claims_that_do_not_hold_are_refused(tokens: TokenVerifier, attack: str) -> None:
    """Signed by the issuer, and still not for us, not now, or about nobody."""
    changes, expected = CLAIMS[attack]
    assert fault(tokens, HONEST.token(**changes)) is expected


@pytest.mark.parametrize(
    ("guard", "attack"),
    [("_check_audience", "another audience"), ("_check_times", "expired"),
     ("_check_times", "exp far in the future"), ("_check_times", "not yet valid")],
)  # fmt: skip
def test_claims_twin_without_guard(
    tokens: TokenVerifier, guard: str, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the one look, a token with a good signature is accepted."""
    monkeypatch.setattr(token_module, guard, lambda *_: 1)
    assert fault(tokens, HONEST.token(**CLAIMS[attack][0])) is None


def test_a_clock_that_is_a_little_behind_is_no_reason(tokens: TokenVerifier) -> None:
    """`iat` and `nbf` may be a minute ahead; the end of a token has no grace."""
    assert fault(tokens, HONEST.token(iat=NOW_S + SKEW_SECONDS, nbf=NOW_S + SKEW_SECONDS)) is None
    text = HONEST.token()
    assert fault(tokens, text, (NOW_S + 300) * NANOS - 1) is None
    assert fault(tokens, text, (NOW_S + 300) * NANOS) is TokenFault.EXPIRED


def test_an_issuers_keys_prove_nothing_for_another(tmp_path: Path) -> None:
    """Each issuer is bound to its key set: one that is configured too cannot speak for ours."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    other = TokenIssuer(ec_key("other"), "other")
    issuers = [
        file_keys(ours, HONEST.jwk()),
        file_keys(theirs, other.jwk(), issuer="https://other.example.org", subject_type="partner"),
    ]
    tokens = TokenVerifier(issuers)
    assert fault(tokens, other.token()) is TokenFault.KEY
    assert fault(tokens, HONEST.token(iss="https://other.example.org")) is TokenFault.KEY
    found = tokens.verify(other.token(iss="https://other.example.org"), NOW_NS)
    assert found.subject_type == "partner"


def test_an_issuers_keys_twin_with_one_set_for_all(tmp_path: Path) -> None:
    """With the keys of all issuers in one set, either speaks for the other."""
    other = TokenIssuer(ec_key("other"), "other")
    tokens = verifier(tmp_path, HONEST.jwk(), other.jwk())
    assert fault(tokens, other.token()) is None


def test_claims_are_mapped_as_the_operator_says(tmp_path: Path) -> None:
    """The id and the roles may be anywhere, also below names with dots."""
    tokens = verifier(
        tmp_path, id_claim=("https://example.org/id",), roles_claim=("realm_access", "roles")
    )
    text = HONEST.token(**{"https://example.org/id": "a-1", "realm_access": {"roles": ["manager"]}})
    found = tokens.verify(text, NOW_NS)
    assert (found.subject_id, found.listed_roles()) == ("a-1", ["manager"])
    assert (
        tokens.verify(
            HONEST.token(**{"https://example.org/id": "a-1", "realm_access": 3}),
            NOW_NS,
        ).listed_roles()
        is None
    )


# ---- whatever comes ----------------------------------------------------------

_SEED = HONEST.token()


@given(st.one_of(st.text(), st.binary().map(lambda data: data.decode("latin-1")), st.characters()))
def test_any_text_is_refused_without_a_crash(text: str) -> None:
    """No text that nobody signed proves anything, and none raises anything else."""
    assert fault(_FUZZED, text) is not None


@given(
    at=st.integers(0, len(_SEED) - 1),
    put=st.text(alphabet="AZaz09-_.=+/ \n\x00{}é", max_size=4),
    cut=st.integers(0, 4),
)
def test_a_damaged_token_is_refused_without_a_crash(at: int, put: str, cut: int) -> None:
    """Any change to a good token, wherever it is, ends what it proves."""
    text = _SEED[:at] + put + _SEED[at + cut :]
    assert (fault(_FUZZED, text) is None) is (text == _SEED)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_NAMES = st.sampled_from(["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "act", "x"])


@given(header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit"]), _JSON, max_size=2))
def test_any_header_is_refused_without_a_crash(header: dict[str, object]) -> None:
    """Signed or not, a header of other values ends in a word of the closed set."""
    text = HONEST.token(header)
    changed = HONEST.header(**header) != HONEST.header()
    assert (fault(_FUZZED, text) is not None) is changed


@given(claims=st.dictionaries(_NAMES, _JSON, min_size=1, max_size=4))
def test_any_signed_claims_are_judged_without_a_crash(claims: dict[str, object]) -> None:
    """An issuer that signs anything gets a refusal at worst; what is accepted is about somebody."""
    try:
        found = _FUZZED.verify(HONEST.token(**claims), NOW_NS)
    except TokenRefusedError:
        return
    assert found.subject_id
    assert found.jti
    assert found.expires_ns > NOW_NS


class _Fixed:
    """Keys that need no file, for tests that run many examples."""

    def __init__(self) -> None:
        self.settings = issuer_settings("unused")
        self.keys = parse_key_set(key_set(HONEST.jwk()), self.settings.algorithms)[0]

    def current(self) -> object:
        return self.keys

    def want(self) -> bool:
        return False


_FUZZED = TokenVerifier([_Fixed()])  # type: ignore[list-item]


def test_no_word_of_a_token_is_in_errors_logs_or_counters(tmp_path: Path) -> None:
    """Whatever is wrong with it: the error says one word of a closed set, nothing is chained."""
    from pdp.boundary import InputLimits, admit
    from pdp.proof import proved
    from tests.simulators.decision_points import PEP

    secret = "s3cret-value"
    lines = io.StringIO()
    telemetry = Telemetry(lines, HandClock().wall_ns, "debug")
    tokens = verifier(tmp_path)
    texts = [make() for make, _ in SIGNATURES.values()]
    texts += [HONEST.token(**changes, note=secret) for changes, _ in CLAIMS.values()]
    texts += [HONEST.token({"kid": secret}), HONEST.token({"typ": secret}), secret]
    for text in texts:
        with pytest.raises(TokenRefusedError) as caught:
            tokens.verify(text, NOW_NS)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        assert str(caught.value) == f"the subject token is refused: {caught.value.fault.value}"
        request = ask()
        object.__setattr__(request, "subject_token", text)
        assert proved(admit(request, PEP, InputLimits()), tokens, NOW_NS, telemetry).token is None
    telemetry.close()
    assert secret not in lines.getvalue()
    words = {fault.value for fault in TokenFault}
    assert {name for name in telemetry.counters if name[0] == "tokens"} <= {
        ("tokens", word) for word in words
    }
