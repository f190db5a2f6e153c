"""What `pdp serve` would refuse about the files that its settings name, all at once."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

from pdp.bundle.anchor import Anchor
from pdp.bundle.settings import BundleSettings
from pdp.bundle.trust import root_problem
from pdp.config import ConfigurationProblemsError, Settings
from pdp.config.settings import SearchSettings, TlsSettings
from pdp.decision_point import SystemClock
from pdp.errors import ConfigurationError, KeySetError
from pdp.identity.issuers import IssuerSettings
from pdp.identity.keys import IssuerKeys
from pdp.identity.server_svid import load_server_svid
from pdp.providers.opening import open_providers
from pdp.server.authzen.pages import load_offer
from pdp.server.listener import check_free
from pdp.server.searching import open_searching
from pdp.telemetry import Telemetry


def check_files(settings: Settings, source: str) -> list[str]:
    """Judge certificate, key, trust bundle, trusted root and port as a start would.

    Returns:
        Warnings.

    Raises:
        ConfigurationProblemsError: with everything that is wrong.
    """
    problems: list[str] = []
    warnings: list[str] = []

    def identity() -> None:
        # An agent is not asked: it answers to the process that serves, not to this one.
        if isinstance(settings.tls, TlsSettings):
            warnings.extend(load_server_svid(settings.tls, time.time_ns()).warnings)

    checks: tuple[Callable[[], object], ...] = (
        identity,
        lambda: Anchor.PRODUCTION.check_place(settings.tls.trust_domain, settings.listen.host),
        lambda: _check_root(settings.bundle),
        lambda: check_free(settings.listen),
        lambda: _check_authzen(settings),
        lambda: _check_search(settings.search),
        *(functools.partial(_check_keys, each) for each in settings.issuers),
        lambda: _check_providers(settings),
    )
    for check in checks:
        try:
            check()
        except ConfigurationError as error:
            problems.append(str(error))
    if problems:
        raise ConfigurationProblemsError(f"`{source}`", problems)
    return warnings


def _check_authzen(settings: Settings) -> None:
    if settings.authzen is not None:
        check_free(settings.authzen.listen, "authzen.listen")
        search = settings.search is not None
        load_offer(settings.authzen, settings.bundle.tenants, search=search)


def _check_search(search: SearchSettings | None) -> None:
    """What is on this machine of it. A database elsewhere is not asked."""
    if search is not None:
        open_searching(search, Telemetry(None, time.time_ns)).directory.close()


def _check_providers(settings: Settings) -> None:
    """Files, statements and entry points; no provider is asked anything."""
    clock = SystemClock()
    telemetry = Telemetry(None, clock.wall_ns)
    desk = open_providers(settings.providers, settings.limits.input, clock, telemetry)
    if desk is not None:
        desk.close()


def _check_root(bundle: BundleSettings) -> None:
    try:
        with bundle.root.open("rb") as file:
            data = file.read(bundle.limits.root_bytes_max + 1)
    except OSError as error:
        raise ConfigurationError(
            f"`bundle.root`: `{bundle.root}` cannot be read: {error.strerror}"
        ) from None
    if problem := root_problem(data):
        raise ConfigurationError(f"`bundle.root`: the trusted root `{bundle.root}` {problem}")


def _check_keys(issuer: IssuerSettings) -> None:
    """Key sets in files. Those behind HTTPS are not asked: checking a file needs no network."""
    if issuer.remote:
        return
    try:
        IssuerKeys(issuer, SystemClock()).refresh()
    except KeySetError as error:
        raise ConfigurationError(f"`tokens`: `{issuer.issuer}`: {error}") from None
