"""`pdp authzen`: metadata is printed where the PDP is, and signed where the key is."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey
from typer.testing import CliRunner

from pdp.cli import application
from pdp.cli.terminal import report
from pdp.errors import ConfigurationError
from pdp.server.authzen.pages import load_offer
from tests.simulators.configurations import changed
from tests.test_config import AUTHZEN, folder, load

__all__ = ["folder"]

ISSUER = "https://metadata.example.org"


def pdp(*arguments: str | Path) -> str:
    """Run the command in this process; what it prints."""
    ran = CliRunner().invoke(application(), [str(item) for item in arguments])
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def pem(path: Path, key: Any, encryption: KeySerializationEncryption | None = None) -> Path:
    """Write a private key."""
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    )
    return path


KEYS: dict[str, tuple[Any, Any, str]] = {
    "P-256": (lambda: ec.generate_private_key(ec.SECP256R1()), ECKey, "ES256"),
    "P-384": (lambda: ec.generate_private_key(ec.SECP384R1()), ECKey, "ES384"),
    "P-521": (lambda: ec.generate_private_key(ec.SECP521R1()), ECKey, "ES512"),
    "Ed25519": (ed25519.Ed25519PrivateKey.generate, OKPKey, "EdDSA"),
    "RSA": (lambda: rsa.generate_private_key(65_537, 2_048), RSAKey, "PS256"),
}


@pytest.mark.parametrize("name", KEYS)
def test_what_is_signed_offline_is_what_is_served(folder: Path, name: str) -> None:
    """Printed, signed, named in the configuration: it starts, and the signature verifies."""
    make, kind, algorithm = KEYS[name]
    wanted = {**AUTHZEN, "capabilities": ["urn:openid:authzen:capability:obligations"]}
    load(folder, changed("authzen", wanted))
    printed = pdp("authzen", "metadata", "--config", folder / "pdp.toml")
    elsewhere = folder / "offline"
    elsewhere.mkdir()
    (elsewhere / "metadata.json").write_text(printed)
    key = pem(elsewhere / "key.pem", make())
    signed = pdp(
        *("authzen", "sign-metadata", elsewhere / "metadata.json", "--key", key),
        *("--issuer", ISSUER, "--key-id", "one"),
    )
    (folder / "meta.jwt").write_text(signed)
    authzen = load(folder, changed("authzen", {**wanted, "signed_metadata": "meta.jwt"})).authzen
    assert authzen is not None
    served = json.loads(load_offer(authzen).pages["/.well-known/authzen-configuration"])
    token = served.pop("signed_metadata")
    with warnings.catch_warnings():
        # RFC 9864 has a newer name for `EdDSA`.
        warnings.simplefilter("ignore")
        found = jws.deserialize_compact(
            token, kind.import_key(key.read_bytes()), algorithms=[algorithm]
        )
    assert found.headers() == {"alg": algorithm, "typ": "JWT", "kid": "one"}
    claims = json.loads(found.payload or b"")
    assert claims.pop("iss") == ISSUER
    assert isinstance(claims.pop("iat"), int)
    assert claims == served == json.loads(printed)


@pytest.mark.parametrize(
    ("document", "key", "issuer", "says"),
    [
        ("{", "good", ISSUER, "is no JSON"),
        ("[]", "good", ISSUER, "is no metadata"),
        ('{"policy_decision_point": "x", "iss": "y"}', "good", ISSUER, "must not have `iss`"),
        ('{"policy_decision_point": "x"}', "good", "http://x", "`--issuer` must be"),
        ('{"policy_decision_point": "x"}', "none", ISSUER, "cannot be read"),
        ('{"policy_decision_point": "x"}', "text", ISSUER, "holds no private key"),
        ('{"policy_decision_point": "x"}', "locked", ISSUER, "holds no private key"),
        ('{"policy_decision_point": "x"}', "short", ISSUER, "is of another kind"),
        ('{"policy_decision_point": "x"}', "curve", ISSUER, "is of another kind"),
    ],
)
def test_what_cannot_be_signed_is_told(
    tmp_path: Path, document: str, key: str, issuer: str, says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """With what to do, and never a word of the key."""
    good = ec.generate_private_key(ec.SECP256R1())
    pem(tmp_path / "good", good)
    pem(tmp_path / "locked", good, BestAvailableEncryption(b"x"))
    pem(tmp_path / "short", rsa.generate_private_key(65_537, 1_024))  # noqa: S505 refused
    pem(tmp_path / "curve", ec.generate_private_key(ec.SECP256K1()))
    (tmp_path / "text").write_text("not a key")
    (tmp_path / "metadata.json").write_text(document)
    with pytest.raises(Exception, match=says) as caught:
        pdp(
            *("authzen", "sign-metadata", tmp_path / "metadata.json"),
            *("--key", tmp_path / key, "--issuer", issuer),
        )
    assert report(caught.value) == 2
    assert "PRIVATE" not in capsys.readouterr().err


def test_without_the_door_there_is_no_metadata(folder: Path) -> None:
    """Said in words."""
    load(folder, changed("listen", "127.0.0.1:0"))
    with pytest.raises(ConfigurationError, match="has no section `authzen`"):
        pdp("authzen", "metadata", "--config", folder / "pdp.toml")
