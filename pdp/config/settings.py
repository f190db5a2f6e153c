"""What the process runs with: frozen values with units in their names.

Made by `pdp.config.document` only, once, before anything starts. No setting
moves the clock, none skips a check, none makes a failure a permit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pdp.audit.budget import SpoolLimits
from pdp.audit.entry import Capture
from pdp.boundary import InputLimits
from pdp.bundle.settings import BundleSettings
from pdp.cel.limits import EvaluationLimits
from pdp.directory.settings import DirectorySettings
from pdp.identity.issuers import IssuerSettings
from pdp.providers.settings import ProvidersSettings
from pdp.search_query import SearchLimits

MIB: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0: any that is free, told in the log."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Who we are, and whom we believe. Files are PEM."""

    trust_domain: str
    certificate: Path
    key: Path
    trust_bundle: Path
    poll_interval_s: float = 2.0  # between two looks at the files
    federation: tuple[tuple[str, Path], ...] = ()  # other trust domains, and their trust bundles


@dataclass(frozen=True, slots=True)
class WorkloadApiSettings:
    """Who we are, and whom we believe, as an agent on this machine says (SPIFFE Workload API)."""

    trust_domain: str
    socket: str  # `unix:` and an absolute path
    spiffe_id: str | None = None  # which of our identities; None: the agent's first
    federates_with: tuple[str, ...] = ()  # other trust domains that are believed
    poll_interval_s: float = 2.0  # until what the agent said is taken into use


@dataclass(frozen=True, slots=True)
class RecordSettings:
    """Where records become durable, and what they keep."""

    folder: Path
    limits: SpoolLimits = field(default_factory=SpoolLimits)
    capture: Capture = Capture.ATTRIBUTES


@dataclass(frozen=True, slots=True)
class AuthzenSettings:
    """The AuthZEN door."""

    listen: Address
    base_url: str  # https, no slash at the end; what clients know the PDP by
    capabilities: tuple[str, ...] = ()  # URNs
    signed_metadata: Path | None = None  # a JWT


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """Searches."""

    directory: DirectorySettings
    limits: SearchLimits = field(default_factory=SearchLimits)
    token_key: Path | None = None  # shared by all that serve the same callers; None: per process


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Where spans are sent, by OTLP over HTTP."""

    endpoint: str  # https, or http on loopback
    ca_bundle: Path | None = None  # PEM; None: the machine's
    ratio: float = 0.0  # of calls whose caller does not sample


@dataclass(frozen=True, slots=True)
class Limits:
    """What callers may use at most. Units are in the names.

    Precedents: gRPC's own defaults are 4 MiB per message, no limit of streams
    and no connection age; a question is not a document, and a connection
    outlives a certificate unless it is ended. The client's budget is 0.25 s by
    default and 5 s at most.
    """

    input: InputLimits = field(default_factory=InputLimits)
    evaluation: EvaluationLimits = field(default_factory=EvaluationLimits)
    message_bytes_max: int = 524_288  # a request; what the boundary admits is smaller
    batch_items_max: int = 200  # questions of a batch: 50 resources with 4 actions each
    stream_in_flight_max: int = 64  # questions of one stream; the next is not read
    deadline_default_s: float = 1.0  # for a caller that sets none
    deadline_max_s: float = 5.0  # however long a caller would wait
    answer_reserve_s: float = 0.005  # kept back for the way of the answer
    concurrent_streams_max: int = 256  # of one connection
    concurrent_calls_max: int = 512  # of all connections; beyond: RESOURCE_EXHAUSTED
    connections_max: int = 1_000  # beyond: not accepted
    requests_in_flight_max: int = 256  # beyond: DENY(OVERLOADED)
    bytes_in_flight_max: int = 33_554_432  # of those requests; beyond: DENY(OVERLOADED)
    queue_max_s: float = 0.05  # a request that waited longer for its turn: DENY(OVERLOADED)
    connection_age_max_s: float = 900.0  # then peers prove anew who they are (references 3.2)
    drain_s: float = 5.0  # from NOT_SERVING until no new call is taken, at the end
    stop_grace_s: float = 10.0  # for calls in flight when the process is told to stop


def worker_folder(folder: Path, worker: int) -> Path:
    """Where a worker of several has its spool: below that of the PDP."""
    return folder / f"worker-{worker}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything `pdp serve` needs."""

    instance: str
    listen: Address
    tls: TlsSettings | WorkloadApiSettings
    bundle: BundleSettings
    record: RecordSettings
    poll_interval_s: float = 30.0
    limits: Limits = field(default_factory=Limits)
    log_level: str = "info"
    authzen: AuthzenSettings | None = None  # None: there is no such door
    search: SearchSettings | None = None  # None: there are no searches
    issuers: tuple[IssuerSettings, ...] = ()  # of subject tokens
    providers: ProvidersSettings = field(default_factory=ProvidersSettings)
    traces: TraceSettings | None = None  # None: no spans are made
    metrics: Address | None = None  # where Prometheus finds figures; None: nowhere
    workers: int = 1  # processes that answer; 1: this one alone
    socket: Path | None = None  # a Unix socket to listen at as well, with the same mutual TLS
    worker: int = 0  # which of them this process is; 0: there are no others
    reflection: bool = False  # whether the server tells its API to who asks
    envoy: bool = False  # whether Envoy may ask about HTTP requests
