"""What the operator says about each provider, judged before anything is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from pdp.errors import ConfigurationError

# An identifier, as documents have it (`pdp.authoring.fields.IDENTIFIER`).
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[-_.][a-z0-9]+)*")
_NAME_CHARACTERS_MAX: Final = 64
# What a question is about; nothing else of it reaches a provider.
PLACES: Final = frozenset({"id", "type", "tenant"})
_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_URL_CHARACTERS: Final = re.compile(r"[!-~]+")
_SQL_SCHEMES: Final = ("sqlite", "postgresql+pg8000")


@dataclass(frozen=True, slots=True)
class HttpSource:
    """A service that answers GET with one JSON object.

    Attributes:
        url: `https://host/users/{id}`; `{id}`, `{type}` and `{tenant}` are put into path
            and query, percent-encoded.
        ca_bundle: PEM, whose certificates are believed.
        certificate, key: PEM, who we are; none: nobody.
        token_file: a bearer token, read anew for each question.
        answer_bytes_max: of an answer.
    """

    url: str
    ca_bundle: Path
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None
    answer_bytes_max: int = 65_536

    def __post_init__(self) -> None:
        """Judge.

        Raises:
            ConfigurationError: it could lead elsewhere, or asks the same for everybody.
        """
        shown = self.url[:80]
        parts = urlsplit(self.url) if _URL_CHARACTERS.fullmatch(self.url) else None
        try:
            host = None if parts is None else (parts.hostname, parts.port)
        except ValueError:
            host = None
        if parts is None or host is None or parts.scheme != "https" or not parts.hostname:
            raise ConfigurationError(f"`url` is {shown!a}: write `https://host/path/{{id}}`")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise ConfigurationError("`url` has a user or a fragment: leave them out")
        if _PLACE.search(parts.netloc):
            raise ConfigurationError("`url` has a place in its host: what is asked chooses no host")
        _check_places(_PLACE.findall(self.url), "`url`")
        if "{" in _PLACE.sub("", self.url) or "}" in _PLACE.sub("", self.url):
            raise ConfigurationError("`url` has a bracket that belongs to no place")
        if (self.certificate is None) != (self.key is None):
            raise ConfigurationError("`certificate` and `key` are set both, or neither")


@dataclass(frozen=True, slots=True)
class SqlSource:
    """A database that answers a query with one row.

    Attributes:
        url: of SQLAlchemy: `postgresql+pg8000://user@host/database`, or
            `sqlite:////absolute/path`, which is opened for reading.
        statement: a SELECT with `:id`, and `:type` and `:tenant` where they matter.
        password_file: of the user; read when the PDP starts.
        ca_bundle: PEM, whose certificates are believed; needed unless the host is this one.
        booleans: columns in which 0 and 1 are meant as false and true.
        json: columns that hold JSON as text.
    """

    url: str
    statement: str
    password_file: Path | None = None
    ca_bundle: Path | None = None
    booleans: tuple[str, ...] = ()
    json: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Judge.

        Raises:
            ConfigurationError: another database, or a statement that is no query about one.
        """
        scheme = self.url.partition(":")[0]
        if scheme not in _SQL_SCHEMES:
            # Not shown: any part of it may be a password.
            known = " and ".join(f"`{name}`" for name in _SQL_SCHEMES)
            raise ConfigurationError(f"`url` is of no database that is supported: {known}")
        if scheme != "sqlite" and self.ca_bundle is None and not _is_here(self.url):
            raise ConfigurationError(
                "`ca_bundle` is missing: over the network only with TLS, and a sender that is known"
            )
        if not re.match(r"(?i)\s*(select|with)\b", self.statement):
            raise ConfigurationError("`statement` is no query: write `SELECT … WHERE id = :id`")


@dataclass(frozen=True, slots=True)
class PythonSource:
    """A function of an installed package.

    Attributes:
        entry_point: its name in the group `portcullis.providers`.
    """

    entry_point: str

    def __post_init__(self) -> None:
        """Judge.

        Raises:
            ConfigurationError: it names nothing.
        """
        if not self.entry_point:
            raise ConfigurationError("`entry_point` names nothing")


Source: TypeAlias = HttpSource | SqlSource | PythonSource


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One provider. Units are in the names.

    Attributes:
        name: as bundles name it.
        source: where its attributes come from.
        tenants: whose bundles may name it.
        timeout_s: of one question, however long the caller would wait.
        concurrent_max: questions to it at the same time; more are not asked.
        failures_max: in a row, then it is left alone.
        rest_s: for so long; then one question tries it.
    """

    name: str
    source: Source
    tenants: tuple[str, ...] = ("default",)
    timeout_s: float = 0.2
    concurrent_max: int = 16
    failures_max: int = 5
    rest_s: float = 2.0

    def __post_init__(self) -> None:
        """Judge.

        Raises:
            ConfigurationError: no bundle could name it, or nobody may.
        """
        if len(self.name) > _NAME_CHARACTERS_MAX or not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"`name` is {self.name[:80]!a}: use lower-case letters, digits, `-`, `_` and `.`"
            )
        if not self.tenants or len(set(self.tenants)) != len(self.tenants):
            raise ConfigurationError("`tenants` names at least one tenant, and each once")


@dataclass(frozen=True, slots=True)
class ProvidersSettings:
    """All providers, and what they share.

    Attributes:
        sources: the providers; a name stands once for each tenant.
        reserve_s: of a caller's time, kept back for the decision and its record.
        cache_bytes_max: of answers that are kept.
        failure_s: for so long a failed question is not asked again; it stays a failure.
    """

    sources: tuple[ProviderSettings, ...] = ()
    reserve_s: float = 0.05
    cache_bytes_max: int = 16 << 20
    failure_s: float = 0.5

    @property
    def known(self) -> frozenset[tuple[str, str]]:
        """(tenant, provider) of all that bundles may name."""
        return frozenset((tenant, each.name) for each in self.sources for tenant in each.tenants)


def check_sources(sources: Iterable[ProviderSettings]) -> None:
    """Judge them together.

    Raises:
        ConfigurationError: a tenant has two of one name.
    """
    seen: set[tuple[str, str]] = set()
    for each in sources:
        for tenant in each.tenants:
            if (tenant, each.name) in seen:
                raise ConfigurationError(f"there are two providers `{each.name}` of `{tenant}`")
            seen.add((tenant, each.name))


def _is_here(url: str) -> bool:
    """Whether a database is on this machine."""
    try:
        return urlsplit(url).hostname in {"localhost", "127.0.0.1", "::1"}
    except ValueError:
        return False


def _check_places(names: list[str], what: str) -> None:
    for name in names:
        if name not in PLACES:
            known = ", ".join(f"`{{{place}}}`" for place in sorted(PLACES))
            raise ConfigurationError(f"{what} has the place {name[:40]!a}: there are {known}")
    if "id" not in names:
        raise ConfigurationError(f"{what} has no `{{id}}`: it would ask the same for everybody")
