"""From settings to providers that can be asked: everything that can be refused is refused here."""

from __future__ import annotations

from typing import assert_never

from pdp.boundary import InputLimits
from pdp.clock import Clock
from pdp.errors import ConfigurationError
from pdp.providers.answers import Answers
from pdp.providers.asking import Answering
from pdp.providers.desk import Counter, ProviderDesk
from pdp.providers.settings import (
    HttpSource,
    ProviderSettings,
    ProvidersSettings,
    PythonSource,
    SqlSource,
)
from pdp.telemetry import Telemetry


def open_providers(
    settings: ProvidersSettings, limits: InputLimits, clock: Clock, telemetry: Telemetry
) -> ProviderDesk | None:
    """Open what is configured; nobody is asked yet. None: nothing is.

    Raises:
        ConfigurationError: a file, a statement or an entry point cannot be used.
    """
    counters = {}
    for each in settings.sources:
        try:
            answering = _open(each)
        except ConfigurationError as error:
            raise ConfigurationError(f"provider `{each.name}`: {error}") from error
        counter = Counter(each, answering, limits, clock, telemetry)
        counters.update(dict.fromkeys(((tenant, each.name) for tenant in each.tenants), counter))
    if not counters:
        return None
    answers = Answers(settings.cache_bytes_max, settings.failure_s, clock.monotonic)
    return ProviderDesk(counters, answers, settings.reserve_s, clock, telemetry)


def _open(settings: ProviderSettings) -> Answering:
    """Libraries are imported for what is configured: nobody pays for another one's."""
    match settings.source:
        case HttpSource() as source:
            from pdp.providers.over_http import HttpProvider  # noqa: PLC0415

            return HttpProvider(source)
        case SqlSource() as source:
            from pdp.providers.over_sql import SqlProvider  # noqa: PLC0415

            return SqlProvider(source, settings.concurrent_max, settings.timeout_s)
        case PythonSource() as source:
            from pdp.providers.in_python import PythonProvider  # noqa: PLC0415

            return PythonProvider(source)
        case other:
            assert_never(other)
