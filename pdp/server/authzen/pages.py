"""What the door serves as it is: metadata and the OpenAPI document, made once, at the start.

Addresses come from the configuration, never from a request: whoever chooses
the `Host` header would choose where others send their questions.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from pdp import value_json
from pdp.config.settings import Address, AuthzenSettings
from pdp.errors import ConfigurationError
from pdp.server.authzen.messages import Json, render
from pdp.server.authzen.openapi import openapi

EVALUATION: Final = "/access/v1/evaluation"
EVALUATIONS: Final = "/access/v1/evaluations"
OPENAPI: Final = "/openapi.json"
METADATA: Final = "/.well-known/authzen-configuration"
# A JWT that repeats a dozen URLs and is signed with RSA is below 4 KiB.
_SIGNED_BYTES_MAX: Final = 65_536
_JWS_PARTS: Final = 3


@dataclass(frozen=True, slots=True)
class Offer:
    """What is offered, and where.

    Attributes:
        listen: address and port.
        prefix: the path of the base URL, before all paths but the metadata's.
        pages: what GET answers, by path.
        tenants: the metadata of each tenant; who may not name it finds none.
    """

    listen: Address
    prefix: str
    pages: Mapping[str, bytes]
    tenants: Mapping[str, bytes] = field(default_factory=dict)


def load_offer(settings: AuthzenSettings, tenants: Iterable[str] = ()) -> Offer:
    """Judge the settings and make the pages.

    Args:
        settings: of the door.
        tenants: that this PDP serves; each has its own endpoints, below its name.

    Raises:
        ConfigurationError: the file of the signed metadata cannot be served.
    """
    prefix = urlsplit(settings.base_url).path
    pages = {
        METADATA + prefix: render(metadata(settings)),
        prefix + OPENAPI: render(
            openapi(settings.base_url, EVALUATION, EVALUATIONS, METADATA + prefix)
        ),
    }
    of_tenants = {tenant: render(plain_metadata(settings, tenant)) for tenant in tenants}
    return Offer(settings.listen, prefix, pages, of_tenants)


def metadata(settings: AuthzenSettings) -> Json:
    """The document of AuthZEN section "Metadata", with what was signed of it.

    Raises:
        ConfigurationError: as `load_offer`.
    """
    found = plain_metadata(settings)
    if settings.signed_metadata is not None:
        found["signed_metadata"] = _signed(settings)
    return found


def plain_metadata(settings: AuthzenSettings, tenant: str = "") -> Json:
    """Without what was signed. An endpoint that is absent is not offered.

    Args:
        settings: of the door.
        tenant: whose; empty: of whoever has only one.
    """
    base = settings.base_url + (f"/{tenant}" if tenant else "")
    found: Json = {
        "policy_decision_point": base,
        "access_evaluation_endpoint": base + EVALUATION,
        "access_evaluations_endpoint": base + EVALUATIONS,
    }
    # What has no values is left out, as in all metadata documents of OAuth's kind.
    if settings.capabilities:
        found["capabilities"] = list(settings.capabilities)
    return found


def _signed(settings: AuthzenSettings) -> str:
    """The JWT of the file: signed offline, so whether the signature holds is the reader's to check.

    What can be seen without the key is checked: it is about this PDP, names its
    issuer, and holds no further one. Its values override the plain ones.
    """
    path = settings.signed_metadata
    name = f"`authzen.signed_metadata` `{path}`"
    try:
        with open(path or "", "rb") as file:  # noqa: PTH123 None is no path
            text = file.read(_SIGNED_BYTES_MAX + 1).strip().decode("ascii")
        if len(text) > _SIGNED_BYTES_MAX:
            raise ConfigurationError(f"{name} is longer than {_SIGNED_BYTES_MAX} bytes")
        header, claims = map(_part, _parts(text)[:2])
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigurationError(f"{name} is not a signed JWT in its compact form") from None
    if header.get("alg", "none") == "none":
        raise ConfigurationError(f"{name} is not signed: its `alg` is none")
    if not isinstance(claims.get("iss"), str):
        raise ConfigurationError(f"{name} does not say who signed it: it has no `iss`")
    if "signed_metadata" in claims:
        raise ConfigurationError(f"{name} must not hold `signed_metadata` again")
    if claims.get("policy_decision_point") != settings.base_url:
        raise ConfigurationError(
            f"{name} is about another PDP: its `policy_decision_point` is not `authzen.base_url`"
        )
    return text


def _parts(text: str) -> list[str]:
    parts = text.split(".")
    if len(parts) != _JWS_PARTS or not all(parts):
        raise ValueError("not three parts")
    return parts


def _part(text: str) -> dict[str, Any]:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    found = value_json.parse(data.decode())
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004 one kind for all that is wrong
    return found
