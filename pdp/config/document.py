"""`pdp.toml` and the environment, as pydantic-settings reads them: the edge.

Bounds of single settings stand here, next to their names. Limits can be set
within bounds that keep what they protect.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from pdp.audit.budget import SpoolLimits
from pdp.boundary import DEPTH_MAX, InputLimits
from pdp.cel.limits import EvaluationLimits
from pdp.config.settings import MIB, Limits
from pdp.identity.issuers import ALGORITHMS_DEFAULT, TYP_DEFAULT
from pdp.providers.settings import ProvidersSettings
from pdp.search_query import SearchLimits

ENVIRONMENT_PREFIX: Final = "PDP_"


def _no_bool(value: object) -> object:
    # To pydantic, as to Python, `true` is 1.
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 pydantic reads ValueError
    return value


_Bytes = Annotated[int, BeforeValidator(_no_bool), Field(ge=1)]
_Count = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=1_000_000)]
_Span = Annotated[float, BeforeValidator(_no_bool), Field(ge=0, allow_inf_nan=False)]
_Seconds = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, allow_inf_nan=False)]

_INPUT: Final = InputLimits()
_EVALUATION: Final = EvaluationLimits()
_LIMITS: Final = Limits()
_SPOOL: Final = SpoolLimits()
_PROVIDERS: Final = ProvidersSettings()
_SEARCH: Final = SearchLimits()


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsSection(_Section):
    """`[tls]`: who we are, and whom we believe."""

    trust_domain: str
    # Either these files ...
    certificate: Path | None = None
    key: Path | None = None
    trust_bundle: Path | None = None
    federation: dict[str, Path] | None = None
    # ... or an agent that has it all.
    workload_api: str | None = None
    spiffe_id: str | None = None
    federates_with: tuple[str, ...] = ()
    poll_interval_s: Annotated[_Seconds, Field(ge=0.1, le=60)] = 2.0


class BundleSection(_Section):
    """`[bundle]`: judged further by `BundleSettings`."""

    source: str
    root: Path
    state_folder: Path
    revision_floor: Annotated[int, BeforeValidator(_no_bool)] | None = None
    tenants: tuple[str, ...] = ("default",)
    default_tenant: str = ""
    caller_tenants: dict[str, str] = {}
    freshness_max_s: Annotated[int, BeforeValidator(_no_bool)] = 3_600
    poll_interval_s: Annotated[_Seconds, Field(le=600)] = 30.0
    poll_time_max_s: _Seconds = 10.0


class RecordSection(_Section):
    """`[record]`: where records become durable, and what they keep."""

    folder: Path
    directory_bytes_max: Annotated[_Bytes, Field(ge=MIB)] = _SPOOL.directory_bytes_max
    segment_bytes_max: Annotated[_Bytes, Field(ge=131_072)] = _SPOOL.segment_bytes_max
    capture: Literal["attributes", "full"] = "attributes"


class AuthzenSection(_Section):
    """`[authzen]`: the door for HTTP; none without `listen` and `base_url`."""

    listen: str | None = None
    base_url: str | None = None
    capabilities: tuple[str, ...] = ()
    signed_metadata: Path | None = None


class MetricsSection(_Section):
    """`[metrics]`: for Prometheus; none without `listen`."""

    listen: str | None = None


class SearchSection(_Section):
    """`[search]`: where subjects and resources are listed; without `directory`, no searches."""

    directory: str | None = None
    password_file: Path | None = None
    ca_bundle: Path | None = None
    directory_time_max_s: Annotated[_Seconds, Field(le=60)] = 0.3
    page_items_default: Annotated[_Count, Field(le=1_000)] = _SEARCH.page_items_default
    page_items_max: Annotated[_Count, Field(le=1_000)] = _SEARCH.page_items_max
    candidates_max: Annotated[_Count, Field(le=10_000)] = _SEARCH.candidates_max
    token_key: Path | None = None
    token_life_s: Annotated[_Seconds, Field(le=86_400)] = _SEARCH.token_life_s


class TracesSection(_Section):
    """`[traces]`: for an OpenTelemetry collector; none without `endpoint`."""

    endpoint: str | None = None
    ca_bundle: Path | None = None
    ratio: Annotated[_Span, Field(le=1)] = 0.0


class LimitsSection(_Section):
    """`[limits]`: what callers may use at most."""

    depth_max: Annotated[_Count, Field(le=DEPTH_MAX)] = _INPUT.depth_max
    values_max: _Count = _INPUT.values_max
    text_bytes_max: Annotated[_Bytes, Field(le=4 * MIB)] = _INPUT.text_bytes_max
    name_bytes_max: Annotated[_Bytes, Field(le=2_048)] = _INPUT.name_bytes_max
    token_bytes_max: Annotated[_Bytes, Field(le=65_536)] = _INPUT.token_bytes_max
    cost_units_max: _Count = _EVALUATION.cost_units_max
    nodes_max: _Count = _EVALUATION.nodes_max
    message_bytes_max: Annotated[_Bytes, Field(le=8 * MIB)] = _LIMITS.message_bytes_max
    batch_items_max: Annotated[_Count, Field(le=1_000)] = _LIMITS.batch_items_max
    stream_in_flight_max: Annotated[_Count, Field(le=1_000)] = _LIMITS.stream_in_flight_max
    deadline_default_s: Annotated[_Seconds, Field(le=60)] = _LIMITS.deadline_default_s
    deadline_max_s: Annotated[_Seconds, Field(le=60)] = _LIMITS.deadline_max_s
    answer_reserve_s: Annotated[_Seconds, Field(le=1)] = _LIMITS.answer_reserve_s
    concurrent_streams_max: _Count = _LIMITS.concurrent_streams_max
    concurrent_calls_max: _Count = _LIMITS.concurrent_calls_max
    connections_max: _Count = _LIMITS.connections_max
    requests_in_flight_max: _Count = _LIMITS.requests_in_flight_max
    bytes_in_flight_max: _Bytes = _LIMITS.bytes_in_flight_max
    queue_max_s: Annotated[_Seconds, Field(le=60)] = _LIMITS.queue_max_s
    connection_age_max_s: Annotated[_Seconds, Field(ge=1, le=900)] = _LIMITS.connection_age_max_s
    drain_s: Annotated[_Span, Field(le=300)] = _LIMITS.drain_s
    stop_grace_s: Annotated[_Seconds, Field(le=300)] = _LIMITS.stop_grace_s


class IssuerSection(_Section):
    """`[[tokens.issuers]]`: judged further by `IssuerSettings`."""

    issuer: str
    audience: str
    subject_type: str
    keys: str
    ca_bundle: Path | None = None
    algorithms: tuple[str, ...] = ALGORITHMS_DEFAULT
    typ: str = TYP_DEFAULT
    lifetime_max_s: Annotated[int, BeforeValidator(_no_bool)] = 3_600
    # A name, or a path of names: names may have dots and colons in them.
    id_claim: str | tuple[str, ...] = "sub"
    roles_claim: str | tuple[str, ...] | None = None
    keys_refresh_s: Annotated[int, BeforeValidator(_no_bool)] = 300
    keys_age_max_s: Annotated[int, BeforeValidator(_no_bool)] = 3_600


class TokensSection(_Section):
    """`[tokens]`: whose subject tokens prove anything; nobody's, unless it is said."""

    issuers: tuple[IssuerSection, ...] = ()


class HttpSourceSection(_Section):
    """`[providers.sources.http]`: judged further by `HttpSource`."""

    url: str
    ca_bundle: Path
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None
    answer_bytes_max: Annotated[_Bytes, Field(le=MIB)] = 65_536


class SqlSourceSection(_Section):
    """`[providers.sources.sql]`: judged further by `SqlSource`."""

    url: str
    statement: str
    password_file: Path | None = None
    ca_bundle: Path | None = None
    booleans: tuple[str, ...] = ()
    json_columns: tuple[str, ...] = ()


class PythonSourceSection(_Section):
    """`[providers.sources.python]`."""

    entry_point: str


class ProviderSection(_Section):
    """`[[providers.sources]]`: a provider that bundles may name, and one way to ask it."""

    name: str
    tenants: tuple[str, ...] = ("default",)
    http: HttpSourceSection | None = None
    sql: SqlSourceSection | None = None
    python: PythonSourceSection | None = None
    timeout_s: Annotated[_Seconds, Field(le=5)] = 0.2
    concurrent_max: Annotated[_Count, Field(le=256)] = 16
    failures_max: Annotated[_Count, Field(le=1_000)] = 5
    rest_s: Annotated[_Seconds, Field(le=60)] = 2.0


class ProvidersSection(_Section):
    """`[providers]`: who says attributes that callers do not send; nobody, unless it is said."""

    sources: tuple[ProviderSection, ...] = ()
    reserve_s: Annotated[_Seconds, Field(le=1)] = _PROVIDERS.reserve_s
    cache_bytes_max: Annotated[_Bytes, Field(le=1_024 * MIB)] = _PROVIDERS.cache_bytes_max
    failure_s: Annotated[_Span, Field(le=60)] = _PROVIDERS.failure_s


class Document(BaseSettings):
    """`pdp.toml`; the environment wins."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        # PDP_TLS_TRUST_DOMAIN: the first underscore parts section and key.
        env_nested_delimiter="_",
        env_nested_max_split=1,
        extra="forbid",
        frozen=True,
    )

    instance: str
    listen: str
    socket: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    reflection: bool = False
    envoy: bool = False
    workers: Annotated[_Count, Field(le=64)] = 1
    tls: TlsSection
    bundle: BundleSection
    record: RecordSection
    limits: LimitsSection = LimitsSection()
    authzen: AuthzenSection = AuthzenSection()
    metrics: MetricsSection = MetricsSection()
    search: SearchSection = SearchSection()
    traces: TracesSection = TracesSection()
    tokens: TokensSection = TokensSection()
    providers: ProvidersSection = ProvidersSection()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, then the file; nothing else is looked at."""
        return env_settings, init_settings


def variables() -> dict[str, str]:
    """Every variable that sets something, and the setting: PDP_TLS_KEY, `tls.key`."""
    return {
        ENVIRONMENT_PREFIX + "_".join(path).upper(): ".".join(path) for path in _paths(Document)
    }


def _paths(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    for name, about in model.model_fields.items():
        if isinstance(about.annotation, type) and issubclass(about.annotation, BaseModel):
            for rest in _paths(about.annotation):
                yield (name, *rest)
        else:
            yield (name,)
