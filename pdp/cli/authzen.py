"""`pdp authzen`: the metadata that a PDP serves over HTTP, and signing it where the key is."""

from __future__ import annotations

import json
import re
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pdp.errors import ConfigurationError

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, OKPKey, RSAKey

_FILE_BYTES_MAX: Final = 65_536
_RSA_BITS_MIN: Final = 2_048
_ALGORITHMS: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_ISSUER: Final = re.compile(r"https://[^\s?#]+", re.ASCII)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="The metadata of the AuthZEN door.")
    group.command("metadata")(metadata)
    group.command("sign-metadata")(sign_metadata)
    app.add_typer(group, name="authzen")


def metadata(
    config: Annotated[
        Path,
        typer.Option(
            "--config", "-c", envvar="PDP_CONFIG", help="The configuration file, in TOML."
        ),
    ] = Path("pdp.toml"),
) -> None:
    """Print the metadata that a PDP with this configuration serves, unsigned.

    To be signed where the key is. Exit code 0, or 2 if `pdp serve` would not
    start.

    For example:

        pdp authzen metadata --config pdp.toml > metadata.json
    """
    from pdp.config import load_settings
    from pdp.server.authzen.pages import plain_metadata

    settings = load_settings(config)
    if settings.authzen is None:
        raise ConfigurationError(f"`{config}` has no section `authzen`: there is no such door")
    found = plain_metadata(settings.authzen, search=settings.search is not None)
    typer.echo(json.dumps(found, indent=2))


def sign_metadata(
    document: Annotated[Path, typer.Argument(help="Output of `pdp authzen metadata`.")],
    key: Annotated[Path, typer.Option(help="PEM file: a private key, not encrypted.")],
    issuer: Annotated[str, typer.Option(help="Who says so: an https URL, the `iss`.")],
    key_id: Annotated[
        str | None, typer.Option(help="Name of the key for who verifies: the `kid`.")
    ] = None,
) -> None:
    """Sign metadata: print the JWT that `authzen.signed_metadata` names.

    For the machine that has the key: reads these two files and nothing else.
    The key is EC (P-256, P-384, P-521), Ed25519, or RSA of 2048 bits or more.
    Exit code 0, or 2 if a file cannot be used.

    For example:

        pdp authzen sign-metadata metadata.json --key signing.pem
          --issuer https://metadata.example.org > metadata.jwt
    """
    from joserfc import jws

    claims = _claims(document)
    if not _ISSUER.fullmatch(issuer):
        raise ConfigurationError("`--issuer` must be an https URL without query and fragment")
    found, algorithm = _key(key)
    header = {"alg": algorithm, "typ": "JWT"} | ({"kid": key_id} if key_id else {})
    payload = {"iss": issuer, "iat": int(time.time()), **claims}
    text = json.dumps(payload, separators=(",", ":")).encode()
    with warnings.catch_warnings():
        # RFC 9864 prefers the name `Ed25519` to `EdDSA`; verifiers know the latter.
        warnings.simplefilter("ignore")
        typer.echo(jws.serialize_compact(header, text, found, algorithms=[algorithm]))


def _claims(path: Path) -> dict[str, Any]:
    from pdp import value_json

    try:
        found = value_json.parse(_read(path).decode())
    except ValueError:
        raise ConfigurationError(f"`{path}` is no JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("policy_decision_point"), str):
        raise ConfigurationError(
            f"`{path}` is no metadata: make it with `pdp authzen metadata` where the PDP is"
        )
    if reserved := found.keys() & {"iss", "iat", "exp", "signed_metadata"}:
        raise ConfigurationError(f"`{path}` must not have `{min(reserved)}`: it is what is signed")
    return found


def _key(path: Path) -> tuple[ECKey | OKPKey | RSAKey, str]:
    """A private key, and the algorithm that it is for."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    data = _read(path)
    try:
        private = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError(f"`{path}` holds no private key in PEM, unencrypted") from None
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return OKPKey.import_key(data), "EdDSA"
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= _RSA_BITS_MIN:
        return RSAKey.import_key(data), "PS256"
    if isinstance(private, ec.EllipticCurvePrivateKey):
        found = ECKey.import_key(data)
        if found.curve_name in _ALGORITHMS:
            return found, _ALGORITHMS[found.curve_name]
    raise ConfigurationError(
        f"the key in `{path}` is of another kind: P-256, P-384, P-521, Ed25519, RSA from 2048 bits"
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_BYTES_MAX)
    except OSError as error:
        why = (error.strerror or "an error").lower()
        raise ConfigurationError(f"`{path}` cannot be read: {why}") from None
