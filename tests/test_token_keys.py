"""Key sets of token issuers: judged key by key, current or nothing, and fetched over real HTTPS."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st
from joserfc.errors import SecurityWarning

from pdp.authoring.throwaway import ThrowawayAuthority
from pdp.errors import ConfigurationError, KeySetError
from pdp.identity import jwk as jwk_module
from pdp.identity import keys as keys_module
from pdp.identity.issuers import ALGORITHMS_DEFAULT, REFRESH_SECONDS_MIN, check_issuers
from pdp.identity.jwk import KEYS_MAX, parse_key_set
from pdp.identity.keys import KEY_SET_BYTES_MAX, IssuerKeys
from pdp.identity.token import TokenFault, TokenRefusedError, TokenVerifier
from pdp.server.key_upkeep import KeyWatch
from pdp.telemetry import Telemetry
from pdp.values import NANOS
from tests.simulators.decision_points import NOW_NS, HandClock
from tests.simulators.repository import (
    HttpServer,
    cut_short,
    dripping,
    endless,
    honest,
    silent,
    with_status,
)
from tests.simulators.token_issuer import (
    KEY_SET,
    TokenIssuer,
    b64,
    ec_key,
    file_keys,
    https_endpoint,
    issuer_settings,
    jwk,
    key_set,
    number,
    rsa_key,
)

HONEST = TokenIssuer()


def judged(*keys: Any, algorithms: tuple[str, ...] = ALGORITHMS_DEFAULT) -> tuple[Any, Any]:
    """Algorithms by kid, and what was left out."""
    found, skipped = parse_key_set(key_set(HONEST.jwk(), *keys), algorithms)
    return {kid: key.algorithm for kid, key in found.items() if kid != "one"}, skipped


# ---- one key -----------------------------------------------------------------


def test_a_key_has_one_algorithm() -> None:
    """The one it names; without a name the only one there is for it, or it is left out."""
    plain = jwk(rsa_key(), "r")
    assert judged(plain)[0] == {"r": "RS256"}
    assert judged(plain | {"alg": "PS256"}, algorithms=("ES256", "PS256", "RS256"))[0] == {
        "r": "PS256"
    }
    found, skipped = judged(plain, algorithms=("ES256", "PS256", "RS256"))
    assert found == {}
    assert "names no `alg`" in skipped[0]
    assert judged(jwk(ec_key("x"), "e"))[0] == {"e": "ES256"}
    edwards = jwk(ed25519.Ed25519PrivateKey.generate(), "o")
    assert judged(edwards, algorithms=("ES256", "EdDSA", "Ed25519"))[0] == {"o": "EdDSA"}


def _small_modulus() -> dict[str, Any]:
    return jwk(rsa_key(), "k") | {"n": number(rsa_key().public_key().public_numbers().n >> 1_048)}


def _roca() -> dict[str, Any]:
    """A modulus as the faulty generator's: a power of 65537 modulo each small prime."""
    product = 1
    for prime in jwk_module._ROCA_PRIMES:
        product *= prime
    return jwk(rsa_key(), "k") | {"n": number(pow(65_537, 5, product) + product * (1 << 1_850))}


LEFT_OUT: dict[str, tuple[dict[str, Any], str]] = {
    "for encryption": (HONEST.jwk(kid="k", use="enc"), "is not for signatures"),
    "for signing only": (HONEST.jwk(kid="k", key_ops=["sign"]), "is not for verifying"),
    "operations no list": (HONEST.jwk(kid="k", key_ops="verify"), "is not for verifying"),
    "no kid": ({k: v for k, v in HONEST.jwk().items() if k != "kid"}, "no `kid`"),
    "kid a number": (HONEST.jwk(kid=7), "no `kid`"),
    "kid too long": (HONEST.jwk(kid="k" * 257), "no `kid`"),
    "alg of another kind": (HONEST.jwk(kid="k", alg="RS256"), "not one of its kind"),
    "alg of another curve": (HONEST.jwk(kid="k", alg="ES384"), "not one of its kind"),
    "alg of a shared secret": (HONEST.jwk(kid="k", alg="HS256"), "not one of its kind"),
    "alg none": (HONEST.jwk(kid="k", alg="none"), "not one of its kind"),
    "alg a list": (HONEST.jwk(kid="k", alg=["ES256"]), "not one of its kind"),
    "alg not allowed": (jwk(rsa_key(), "k", alg="RS512"), "not among `algorithms`"),
    "unknown kind": ({"kty": "AKP", "kid": "k", "pub": "AA"}, "not supported"),
    "unknown curve": (HONEST.jwk(kid="k", crv="secp256k1"), "not supported"),
    "kind a list": (HONEST.jwk(kid="k", kty=["EC"]), "not supported"),
    "a point off the curve": (HONEST.jwk(kid="k", x=b64(bytes(32))), "not a valid public key"),
    "a point of another curve": (
        HONEST.jwk(kid="k", crv="P-384", alg="ES384"),
        "not among `algorithms`",
    ),
    "padding": (HONEST.jwk(kid="k", x=HONEST.jwk()["x"] + "="), "not base64url"),
    "a member missing": (HONEST.jwk(kid="k", x=None), "not base64url"),
    "rsa of 1024 bits": (jwk(rsa_key(1_024), "k"), "2048 to 8192 bits"),
    "rsa cut": (_small_modulus(), "2048 to 8192 bits"),
    "rsa with exponent 3": (jwk(rsa_key(2_048, 3), "k"), "exponent"),
    "rsa of a broken generator": (_roca(), "CVE-2017-15361"),
    "rsa with an even modulus": (
        jwk(rsa_key(), "k") | {"n": number(rsa_key().public_key().public_numbers().n + 1)},
        "small factor",
    ),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_a_key_that_cannot_be_used_is_left_out_and_said(case: str) -> None:
    """It verifies nothing; the keys beside it go on."""
    item, words = LEFT_OUT[case]
    found, skipped = judged(item)
    assert found == {}
    assert words in skipped[0]


def test_a_key_that_cannot_be_used_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Joserfc alone takes RSA of 1024 bits."""
    monkeypatch.setattr(jwk_module, "_check_rsa", lambda *_: None)
    with pytest.warns(SecurityWarning):
        assert judged(jwk(rsa_key(1_024), "k"))[0] == {"k": "RS256"}


REFUSED: dict[str, tuple[bytes, str]] = {
    "a shared secret": (key_set(HONEST.jwk(), {"kty": "oct", "kid": "s", "k": "AAAA"}), "secret"),
    "a private key": (key_set(HONEST.jwk(d="AAAA")), "secret"),
    "a kid twice": (key_set(HONEST.jwk(), jwk(rsa_key(), "one")), "twice"),
    "a member twice": (b'{"keys":[],"keys":[]}', "twice"),
    "no keys": (key_set(), "no key that can be used"),
    "none to use": (key_set(HONEST.jwk(use="enc")), "not for signatures"),
    "too many": (key_set(*(HONEST.jwk(kid=str(n)) for n in range(KEYS_MAX + 1))), "more than"),
    "no list": (b'{"keys":{}}', "no list"),
    "a list of texts": (b'{"keys":["a"]}', "no list"),
    "one key alone": (json.dumps(HONEST.jwk()).encode(), "no list"),
    "empty": (b"", "not JSON"),
    "html": (b"<html>login</html>", "not JSON"),
    "not utf-8": (b'{"keys":"\xff"}', "UTF-8"),
    "deep": (b"[" * 100_000, "nested"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_set_with_a_secret_or_two_meanings_is_refused_whole(case: str) -> None:
    """Also the good key in it: whoever publishes this has published something else than meant."""
    data, words = REFUSED[case]
    with pytest.raises(KeySetError, match=words):
        parse_key_set(data, ALGORITHMS_DEFAULT)


def test_a_set_with_a_secret_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the look for private members, a published private key goes on verifying."""
    monkeypatch.setattr(jwk_module, "_PRIVATE", frozenset())
    assert parse_key_set(REFUSED["a private key"][0], ALGORITHMS_DEFAULT)[0]


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kty", "crv", "kid", "alg", "x", "y", "n", "e", "use"]), inner
        )
    ),
    max_leaves=10,
)


@given(st.binary() | st.lists(_JSON, max_size=3).map(lambda k: json.dumps({"keys": k}).encode()))
def test_any_bytes_are_a_key_set_or_refused(data: bytes) -> None:
    """Nothing else is raised, and nothing comes out of what holds no key."""
    with pytest.raises(KeySetError):
        parse_key_set(data, ALGORITHMS_DEFAULT)


@given(st.dictionaries(st.sampled_from(["kty", "crv", "kid", "alg", "x", "y", "use"]), _JSON))
def test_a_damaged_key_is_the_same_or_left_out(changes: dict[str, Any]) -> None:
    """A key of other members is unusable, or has the one algorithm of its curve."""
    good = TokenIssuer(kid="the other one").jwk()
    found, _ = parse_key_set(key_set(good, HONEST.jwk(**changes)), ALGORITHMS_DEFAULT)
    assert {key.algorithm for key in found.values()} == {"ES256"}


# ---- age, rotation, refresh ---------------------------------------------------


def accepts(keys: IssuerKeys, issuer: TokenIssuer) -> bool:
    """Whether a token of the issuer proves anything now."""
    try:
        TokenVerifier([keys]).verify(issuer.token(), NOW_NS)
    except TokenRefusedError:
        return False
    return True


def test_two_keys_overlap_while_an_issuer_rotates(tmp_path: Path) -> None:
    """Old, then both, then new: each verifies exactly while it is published."""
    old, new = HONEST, TokenIssuer(ec_key("new"), "new")
    keys = file_keys(tmp_path, old.jwk())
    path = tmp_path / "jwks.json"
    assert (accepts(keys, old), accepts(keys, new)) == (True, False)
    path.write_bytes(key_set(old.jwk(), new.jwk()))
    assert keys.refresh()
    assert (accepts(keys, old), accepts(keys, new)) == (True, True)
    assert not keys.refresh()
    path.write_bytes(key_set(new.jwk()))
    assert keys.refresh()
    assert (accepts(keys, old), accepts(keys, new)) == (False, True)


def test_a_key_exchanged_under_its_kid_is_the_new_one(tmp_path: Path) -> None:
    """A `kid` is a name, not a promise."""
    keys = file_keys(tmp_path, HONEST.jwk())
    other = TokenIssuer(ec_key("mallory"), "one")
    (tmp_path / "jwks.json").write_bytes(key_set(other.jwk()))
    assert keys.refresh()
    assert (accepts(keys, HONEST), accepts(keys, other)) == (False, True)


@pytest.mark.parametrize("field", ["seconds", "wall"])
def test_keys_that_were_not_seen_for_too_long_prove_nothing(tmp_path: Path, field: str) -> None:
    """By either clock. There is no grace: a denial, not stale keys."""
    clock = HandClock()
    keys = file_keys(tmp_path, clock=clock)
    unit = NANOS if field == "wall" else 1
    setattr(clock, field, getattr(clock, field) + 3_599 * unit)
    assert accepts(keys, HONEST)
    setattr(clock, field, getattr(clock, field) + unit)
    assert not accepts(keys, HONEST)
    with pytest.raises(TokenRefusedError) as caught:
        TokenVerifier([keys]).verify(HONEST.token(), NOW_NS)
    assert caught.value.fault is TokenFault.KEYS
    keys.refresh()
    assert accepts(keys, HONEST)


def test_keys_that_were_not_seen_for_too_long_twin_without_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the age, keys would hold for ever after the last look that succeeded."""
    clock = HandClock()
    keys = file_keys(tmp_path, clock=clock)
    clock.seconds += 1_000_000
    monkeypatch.setattr(
        keys_module.IssuerKeys, "current", lambda self: self._held.keys if self._held else None
    )
    assert accepts(keys, HONEST)


def test_a_clock_that_went_back_makes_keys_too_old(tmp_path: Path) -> None:
    """Then nobody knows how old they are."""
    clock = HandClock()
    keys = file_keys(tmp_path, clock=clock)
    clock.wall -= 61 * NANOS
    assert not accepts(keys, HONEST)


def test_a_look_that_fails_leaves_keys_until_they_are_too_old(tmp_path: Path) -> None:
    """An issuer that is down for a minute ends nothing; one that is down for long, everything."""
    clock = HandClock()
    keys = file_keys(tmp_path, clock=clock)
    (tmp_path / "jwks.json").write_bytes(b"{")
    clock.seconds += 300
    with pytest.raises(KeySetError):
        keys.refresh()
    assert accepts(keys, HONEST)
    # The next look comes sooner than after a good one.
    assert keys.due_in_s() == REFRESH_SECONDS_MIN
    clock.seconds += 3_300
    assert not accepts(keys, HONEST)


def test_a_flood_of_unknown_kids_is_one_look_a_minute(tmp_path: Path) -> None:
    """They are free for an attacker; the issuer does not notice, and nobody waits."""
    clock = HandClock()
    keys = file_keys(tmp_path, clock=clock)
    tokens = TokenVerifier([keys])
    assert keys.due_in_s() == keys.settings.keys_refresh_s
    for second in range(180):
        for number_ in range(5):
            with pytest.raises(TokenRefusedError):
                tokens.verify(HONEST.token({"kid": f"x-{second}-{number_}"}), NOW_NS)
        if keys.due_in_s() == 0:
            keys.refresh()
        clock.seconds += 1
    assert keys.looks == 1 + 2
    assert accepts(keys, HONEST)


def test_a_flood_of_unknown_kids_twin_without_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the minute, every second of the flood would be a look."""
    monkeypatch.setattr(keys_module, "REFRESH_SECONDS_MIN", 0)
    clock = HandClock()
    keys = file_keys(tmp_path, clock=clock)
    for _ in range(180):
        keys.want()
        if keys.due_in_s() == 0:
            keys.refresh()
        clock.seconds += 1
    assert keys.looks > 100


# ---- over HTTPS ---------------------------------------------------------------


def redirect(handler: BaseHTTPRequestHandler, data: bytes | None) -> None:
    """To a place that has keys too."""
    handler.send_response(302)
    handler.send_header("Location", f"/{KEY_SET}?again")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[tuple[HttpServer, IssuerKeys]]:
    """A real HTTPS endpoint, and the keys behind it, not read yet."""
    with https_endpoint(tmp_path) as (server, settings):
        yield server, IssuerKeys(issuer_settings(**settings), HandClock())


def test_a_key_set_comes_over_https(endpoint: tuple[HttpServer, IssuerKeys]) -> None:
    """And the next one, while it serves."""
    server, keys = endpoint
    assert keys.current() is None
    keys.refresh()
    assert accepts(keys, HONEST)
    new = TokenIssuer(ec_key("new"), "new")
    server.files = {KEY_SET: key_set(HONEST.jwk(), new.jwk())}
    keys.refresh()
    assert accepts(keys, new)
    assert server.asked == [KEY_SET, KEY_SET]


LIES: dict[str, Any] = {
    "404": with_status(404),
    "500 with keys": with_status(500),
    "a redirect": redirect,
    "endless": endless,
    "cut short": cut_short,
    "compressed": with_status(200, **{"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_endpoint_that_lies_changes_nothing(
    endpoint: tuple[HttpServer, IssuerKeys], lie: str
) -> None:
    """What was there goes on until it is too old, and no other place is asked."""
    server, keys = endpoint
    keys.refresh()
    server.answer = LIES[lie]
    with pytest.raises(KeySetError):
        keys.refresh()
    assert accepts(keys, HONEST)
    assert server.asked == [KEY_SET, KEY_SET]
    server.answer = honest
    assert not keys.refresh()


@pytest.mark.parametrize("lie", [silent, dripping(0.01)])
def test_an_endpoint_that_is_slow_is_given_up(
    endpoint: tuple[HttpServer, IssuerKeys], lie: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it spends the time: all of a look has one limit."""
    server, keys = endpoint
    monkeypatch.setattr(keys_module, "FETCH_SECONDS_MAX", 0.5)
    server.answer = lie
    start = time.monotonic()
    with pytest.raises(KeySetError, match=r"in time|0\.5 s"):
        keys.refresh()
    assert time.monotonic() - start < 5


def test_an_oversized_key_set_is_not_read(endpoint: tuple[HttpServer, IssuerKeys]) -> None:
    """A quarter of a MiB is a thousand keys more than an issuer has."""
    server, keys = endpoint
    server.files = {KEY_SET: b" " * (KEY_SET_BYTES_MAX + 1)}
    with pytest.raises(KeySetError, match="longer than"):
        keys.refresh()


def test_an_endpoint_that_is_down_denies_only_who_needs_it(tmp_path: Path) -> None:
    """Nothing listens: an error with words, no keys, and a look soon after."""
    with https_endpoint(tmp_path) as (_, settings):
        keys = IssuerKeys(issuer_settings(**settings), HandClock())
    with pytest.raises(KeySetError):
        keys.refresh()
    assert keys.current() is None
    assert keys.due_in_s() == REFRESH_SECONDS_MIN


def test_an_endpoint_under_another_authority_is_not_believed(
    endpoint: tuple[HttpServer, IssuerKeys], tmp_path: Path
) -> None:
    """Only the authorities that the operator names count, not the machine's."""
    _, keys = endpoint
    other = tmp_path / "other-ca.pem"
    other.write_bytes(ThrowawayAuthority("example.org").bundle_pem)
    stranger = IssuerKeys(issuer_settings(keys.settings.keys, ca_bundle=other), HandClock())
    with pytest.raises(KeySetError, match=r"(?i)certificate"):
        stranger.refresh()


# ---- the watch ----------------------------------------------------------------


@contextmanager
def watched(keys: IssuerKeys) -> Iterator[tuple[KeyWatch, Telemetry, list[tuple[str, str]]]]:
    """A watch, and what it tells."""
    telemetry = Telemetry(None, HandClock().wall_ns)
    told: list[tuple[str, str]] = []
    telemetry.log = lambda level, event, **_: told.append((level, event))  # type: ignore[method-assign]
    yield KeyWatch(keys, telemetry), telemetry, told


def test_a_watch_tells_what_is_new_and_what_is_wrong_once(tmp_path: Path) -> None:
    """Not with every look."""
    keys = file_keys(tmp_path, HONEST.jwk())
    path = tmp_path / "jwks.json"
    with watched(keys) as (watch, telemetry, told):
        asyncio.run(watch.once())
        assert told == []
        path.write_bytes(key_set(HONEST.jwk(), jwk(rsa_key(1_024), "weak")))
        asyncio.run(watch.once())
        path.write_bytes(key_set(jwk(rsa_key(), "two")))
        asyncio.run(watch.once())
        path.write_bytes(b"{")
        asyncio.run(watch.once())
        asyncio.run(watch.once())
        assert told == [("info", "keys_updated"), ("error", "keys_refused")]
        assert telemetry.counters["keys", "refused"] == 2


def test_a_watch_looks_when_it_is_due(tmp_path: Path) -> None:
    """A new key is there after the look that an unknown kid asked for."""
    clock = HandClock()
    keys = file_keys(tmp_path, HONEST.jwk(), clock=clock)
    new = TokenIssuer(ec_key("new"), "new")
    (tmp_path / "jwks.json").write_bytes(key_set(HONEST.jwk(), new.jwk()))

    async def run() -> None:
        with watched(keys) as (watch, _, _):
            task = asyncio.create_task(watch.forever())
            assert not accepts(keys, new)
            clock.seconds += REFRESH_SECONDS_MIN
            async with asyncio.timeout(20):
                while keys.looks < 2:  # noqa: ASYNC110 the watch is a thread's work
                    await asyncio.sleep(0.01)
                while not accepts(keys, new):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            task.cancel()

    asyncio.run(run())


def test_a_file_of_keys_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    """It is the operator's own; an endpoint that is down does not stop it."""
    path = tmp_path / "jwks.json"
    path.write_bytes(b"{}")
    broken = IssuerKeys(issuer_settings(path), HandClock())
    with watched(broken) as (watch, _, _), pytest.raises(ConfigurationError, match="no list"):
        asyncio.run(watch.start())
    with https_endpoint(tmp_path) as (_, settings):
        keys = IssuerKeys(issuer_settings(**settings), HandClock())
    with watched(keys) as (watch, _, told):
        asyncio.run(watch.start())
        assert told == [("error", "keys_refused")]


# ---- settings -----------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no issuer": ({"issuer": ""}, "`issuer`"),
    "no audience": ({"audience": ""}, "`audience`"),
    "issuer with a line break": ({"issuer": "a\nb"}, "`issuer`"),
    "no subject type": ({"subject_type": ""}, "`subject_type`"),
    "no typ": ({"typ": ""}, "`typ`"),
    "no keys": ({"keys": ""}, "`keys`"),
    "plain http": ({"keys": "http://login.example.org/jwks.json"}, "`https://`"),
    "no authorities": ({"keys": "https://login.example.org/jwks.json"}, "`ca_bundle` is missing"),
    "authorities for a file": ({"ca_bundle": Path("ca.pem")}, "`ca_bundle`"),
    "a password": (
        {"keys": "https://a:b@login.example.org/jwks.json", "ca_bundle": Path("ca")},
        "leave them out",
    ),
    "no file on the host": (
        {"keys": "https://login.example.org/", "ca_bundle": Path("ca")},
        "a file on it",
    ),
    "a port that is none": (
        {"keys": "https://login.example.org:x/jwks", "ca_bundle": Path("ca")},
        "not a URL",
    ),
    "no algorithm": ({"algorithms": ()}, "at least one"),
    "a shared secret": ({"algorithms": ("HS256",)}, "HS256"),
    "none": ({"algorithms": ("none",)}, "none"),
    "an algorithm twice": ({"algorithms": ("ES256", "ES256")}, "once"),
    "a claim without a name": ({"id_claim": ("",)}, "empty name"),
    "roles without a name": ({"roles_claim": ("a", "")}, "empty name"),
    "a lifetime of two days": ({"lifetime_max_s": 172_800}, "`lifetime_max_s`"),
    "no lifetime": ({"lifetime_max_s": 0}, "`lifetime_max_s`"),
    "a refresh every second": ({"keys_refresh_s": 1}, "`keys_refresh_s`"),
    "an age below the refresh": ({"keys_age_max_s": 400}, "twice"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_issuer_that_is_not_well_described_is_refused(case: str) -> None:
    """Issuer and audience first of all: they have no default."""
    changes, words = WRONG[case]
    with pytest.raises(ConfigurationError, match=words):
        issuer_settings(**{"keys": "jwks.json"} | changes)


def test_an_issuer_is_described_once() -> None:
    """Its key set is bound to its name; two would be one too many."""
    one = issuer_settings("a.json")
    with pytest.raises(ConfigurationError, match="twice"):
        check_issuers((one, issuer_settings("b.json")))
