"""The section `[providers]`, judged: each has one way to be asked, and tenants that there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pdp.config.document import Document, ProviderSection
from pdp.errors import ConfigurationError
from pdp.providers.settings import (
    HttpSource,
    ProviderSettings,
    ProvidersSettings,
    PythonSource,
    Source,
    SqlSource,
    check_sources,
)

# Name of a setting and a path in; the absolute path of a file that can be read.
FileOf = Callable[[str, Path], Path]


def providers_of(document: Document, file_of: FileOf, problems: list[str]) -> ProvidersSettings:
    """The settings; what is wrong is added to the problems.

    Args:
        document: as read.
        file_of: judges files.
        problems: one line each.
    """
    section, tenants = document.providers, document.bundle.tenants
    found: list[ProviderSettings] = []
    for number, each in enumerate(section.sources):
        name = f"providers.sources[{number}]"
        try:
            made = ProviderSettings(
                name=each.name,
                source=_source(each, name, file_of),
                tenants=each.tenants,
                timeout_s=each.timeout_s,
                concurrent_max=each.concurrent_max,
                failures_max=each.failures_max,
                rest_s=each.rest_s,
            )
            check_sources([*found, made])
        except ConfigurationError as error:
            problems.append(f"`{name}`: {error}")
            continue
        found.append(made)
        problems += [
            f"`{name}.tenants` names {tenant[:80]!a}, which is none of `bundle.tenants`"
            for tenant in made.tenants
            if tenant not in tenants
        ]
    return ProvidersSettings(
        tuple(found), section.reserve_s, section.cache_bytes_max, section.failure_s
    )


def _source(section: ProviderSection, name: str, file_of: FileOf) -> Source:
    """The one way to ask it.

    Raises:
        ConfigurationError: there is none, or several, or it breaks a rule of its kind.
    """

    def file(key: str, path: Path | None) -> Path | None:
        return None if path is None else file_of(f"{name}.{key}", path)

    ways = [each for each in (section.http, section.sql, section.python) if each is not None]
    if len(ways) != 1:
        raise ConfigurationError("write exactly one of `http`, `sql` and `python`")
    if (http := section.http) is not None:
        return HttpSource(
            url=http.url,
            ca_bundle=file_of(f"{name}.http.ca_bundle", http.ca_bundle),
            certificate=file("http.certificate", http.certificate),
            key=file("http.key", http.key),
            token_file=file("http.token_file", http.token_file),
            answer_bytes_max=http.answer_bytes_max,
        )
    if (sql := section.sql) is not None:
        return SqlSource(
            url=sql.url,
            statement=sql.statement,
            password_file=file("sql.password_file", sql.password_file),
            ca_bundle=file("sql.ca_bundle", sql.ca_bundle),
            booleans=sql.booleans,
            json=sql.json_columns,
        )
    return PythonSource("" if section.python is None else section.python.entry_point)
