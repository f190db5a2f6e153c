"""Signed metadata: a JWT that was signed elsewhere, compared with what is served beside it.

To a client that looks at both, the signed values win. So a file that says something
else, because the configuration has changed since, or is another PDP's, is refused at the
start: clients would be sent where nobody answers, or be told of what is not offered.
Whether the signature holds is the reader's to check: the key is not here.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pdp import value_json
from pdp.errors import ConfigurationError
from pdp.server.authzen.messages import Json

# A JWT that repeats a dozen URLs and is signed with RSA is below 4 KiB.
_BYTES_MAX: Final = 65_536
_PARTS: Final = 3
# What is about the token, not about the PDP: RFC 7519 section 4.1.
_OF_TOKENS: Final = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti"})


def read_signed(path: Path, plain: Mapping[str, Any]) -> str:
    """The JWT of the file.

    Args:
        path: of the file.
        plain: the metadata that it is served with.

    Raises:
        ConfigurationError: it is no signed JWT with an issuer, or says something else.
    """
    name = f"`authzen.signed_metadata` `{path}`"
    text, header, claims = _read(path, name)
    if header.get("alg", "none") == "none":
        raise ConfigurationError(f"{name} is not signed: its `alg` is none")
    if not isinstance(claims.get("iss"), str):
        raise ConfigurationError(f"{name} does not say who signed it: it has no `iss`")
    if "signed_metadata" in claims:
        raise ConfigurationError(f"{name} must not hold `signed_metadata` again")
    parameter = "policy_decision_point"
    if claims.get(parameter) != plain[parameter]:
        raise ConfigurationError(
            f"{name} is about another PDP: its `{parameter}` is not `authzen.base_url`"
        )
    said = {key: value for key, value in claims.items() if key not in _OF_TOKENS}
    for key in sorted(said.keys() | plain.keys()):
        if said.get(key) != plain.get(key):
            raise ConfigurationError(
                f"{name} says something else about `{key[:64]}` than this configuration: sign the "
                "output of `pdp authzen metadata` anew"
            )
    return text


def _read(path: Path, name: str) -> tuple[str, Json, Json]:
    try:
        with path.open("rb") as file:
            text = file.read(_BYTES_MAX + 1).strip().decode("ascii")
        if len(text) > _BYTES_MAX:
            raise ConfigurationError(f"{name} is longer than {_BYTES_MAX} bytes")
        parts = text.split(".")
        if len(parts) != _PARTS or not all(parts):
            raise ValueError("not three parts")  # noqa: TRY301 with the others
        return text, _part(parts[0]), _part(parts[1])
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigurationError(f"{name} is not a signed JWT in its compact form") from None


def _part(text: str) -> Json:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    found = value_json.parse(data.decode())
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004 one kind for all that is wrong
    return found
