"""What the door serves as it is: metadata and the OpenAPI document, made once, at the start.

Addresses come from the configuration, never from a request: whoever chooses
the `Host` header would choose where others send their questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from pdp.config.settings import Address, AuthzenSettings
from pdp.server.authzen.messages import Json, render
from pdp.server.authzen.openapi import openapi
from pdp.server.authzen.signed_metadata import read_signed

EVALUATION: Final = "/access/v1/evaluation"
EVALUATIONS: Final = "/access/v1/evaluations"
# In the order of `pdp.search_query.Searched`.
SEARCHES: Final = (
    "/access/v1/search/subject",
    "/access/v1/search/resource",
    "/access/v1/search/action",
)
OPENAPI: Final = "/openapi.json"
METADATA: Final = "/.well-known/authzen-configuration"


@dataclass(frozen=True, slots=True)
class Offer:
    """What is offered, and where.

    Attributes:
        listen: address and port.
        prefix: the path of the base URL, before all paths but the metadata's.
        pages: what GET answers, by path.
        tenants: the metadata of each tenant; who may not name it finds none.
        search: whether there are searches.
    """

    listen: Address
    prefix: str
    pages: Mapping[str, bytes]
    tenants: Mapping[str, bytes] = field(default_factory=dict)
    search: bool = False


def load_offer(
    settings: AuthzenSettings, tenants: Iterable[str] = (), *, search: bool = False
) -> Offer:
    """Judge the settings and make the pages.

    Args:
        settings: of the door.
        tenants: that this PDP serves; each has its own endpoints, below its name.
        search: whether there is a directory to search in.

    Raises:
        ConfigurationError: the file of the signed metadata cannot be served.
    """
    prefix = urlsplit(settings.base_url).path
    pages = {
        METADATA + prefix: render(metadata(settings, search=search)),
        prefix + OPENAPI: render(
            openapi(
                settings.base_url,
                (EVALUATION, EVALUATIONS),
                SEARCHES if search else (),
                METADATA + prefix,
            )
        ),
    }
    of_tenants = {
        tenant: render(plain_metadata(settings, tenant, search=search)) for tenant in tenants
    }
    return Offer(settings.listen, prefix, pages, of_tenants, search)


def metadata(settings: AuthzenSettings, *, search: bool) -> Json:
    """The document of AuthZEN section "Metadata", with what was signed of it.

    Raises:
        ConfigurationError: as `load_offer`.
    """
    found = plain_metadata(settings, search=search)
    if settings.signed_metadata is not None:
        found["signed_metadata"] = read_signed(settings.signed_metadata, found)
    return found


def plain_metadata(settings: AuthzenSettings, tenant: str = "", *, search: bool) -> Json:
    """Without what was signed. An endpoint that is absent is not offered.

    Args:
        settings: of the door.
        tenant: whose; empty: of whoever has only one.
        search: whether there are searches.
    """
    base = settings.base_url + (f"/{tenant}" if tenant else "")
    found: Json = {
        "policy_decision_point": base,
        "access_evaluation_endpoint": base + EVALUATION,
        "access_evaluations_endpoint": base + EVALUATIONS,
    }
    if search:
        for path in SEARCHES:
            found[f"search_{path.rpartition('/')[2]}_endpoint"] = base + path
    # What has no values is left out, as in all metadata documents of OAuth's kind.
    if settings.capabilities:
        found["capabilities"] = list(settings.capabilities)
    return found
