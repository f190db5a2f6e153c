"""`pdp config check`: what is in force, or everything that is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pdp.config import Settings
    from pdp.config.settings import TlsSettings, WorkloadApiSettings

Row = tuple[str, str]


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(no_args_is_help=True, help="Look at the configuration of `pdp serve`.")
    group.command("check")(check)
    # With one command typer would leave its name out.
    group.callback()(_group)
    app.add_typer(group, name="config")


def _group() -> None:
    """Look at the configuration of `pdp serve`."""


def check(
    config: Annotated[
        Path,
        typer.Option(
            "--config", "-c", envvar="PDP_CONFIG", help="The configuration file, in TOML."
        ),
    ] = Path("pdp.toml"),
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say what is in force, defaults included, or everything that is wrong.

    Reads all files that `pdp serve` would read, and starts nothing. Shows paths
    of keys, never keys. Exit code 0, or 2 if `pdp serve` would not start.

    For example:

        pdp config check --config pdp.toml
    """
    from pdp.cli.terminal import err, out
    from pdp.config import load_settings
    from pdp.server.checks import check_files

    settings = load_settings(config)
    warnings = check_files(settings, str(config))
    rows = _rows(settings)
    if as_json:
        out.print_json(json.dumps({"settings": dict(rows), "warnings": warnings}))
        return
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        out.print(f"{name.ljust(width)}  {value}", markup=False)
    for warning in warnings:
        err.print(f"warning: {warning}", markup=False)


def _rows(settings: Settings) -> list[Row]:
    """Every setting by its name in the file, and its value in force."""
    tls, bundle, record, limits = settings.tls, settings.bundle, settings.record, settings.limits
    authzen = settings.authzen
    found: list[tuple[str, object]] = [
        ("instance", settings.instance),
        ("listen", settings.listen),
        ("socket", settings.socket),
        ("log_level", settings.log_level),
        ("reflection", str(settings.reflection).lower()),
        ("envoy", str(settings.envoy).lower()),
        ("workers", settings.workers),
        *_identity(tls),
        ("bundle.source", bundle.source),
        ("bundle.root", bundle.root),
        ("bundle.state_folder", bundle.state_folder),
        ("bundle.revision_floor", bundle.revision_floor),
        ("bundle.tenants", ", ".join(bundle.tenants)),
        ("bundle.default_tenant", bundle.default_tenant or None),
        ("bundle.caller_tenants", _callers(bundle.caller_tenants)),
        ("bundle.freshness_max_s", bundle.freshness_max_s),
        ("bundle.poll_interval_s", settings.poll_interval_s),
        ("bundle.poll_time_max_s", bundle.poll_time_max_s),
        ("record.folder", record.folder),
        ("record.directory_bytes_max", record.limits.directory_bytes_max * settings.workers),
        ("record.segment_bytes_max", record.limits.segment_bytes_max),
        ("record.capture", record.capture.value),
        ("limits.depth_max", limits.input.depth_max),
        ("limits.values_max", limits.input.values_max),
        ("limits.text_bytes_max", limits.input.text_bytes_max),
        ("limits.name_bytes_max", limits.input.name_bytes_max),
        ("limits.token_bytes_max", limits.input.token_bytes_max),
        ("limits.cost_units_max", limits.evaluation.cost_units_max),
        ("limits.nodes_max", limits.evaluation.nodes_max),
        ("limits.message_bytes_max", limits.message_bytes_max),
        ("limits.batch_items_max", limits.batch_items_max),
        ("limits.stream_in_flight_max", limits.stream_in_flight_max),
        ("limits.deadline_default_s", limits.deadline_default_s),
        ("limits.deadline_max_s", limits.deadline_max_s),
        ("limits.answer_reserve_s", limits.answer_reserve_s),
        ("limits.concurrent_streams_max", limits.concurrent_streams_max),
        ("limits.concurrent_calls_max", limits.concurrent_calls_max),
        ("limits.connections_max", limits.connections_max),
        ("limits.requests_in_flight_max", limits.requests_in_flight_max),
        ("limits.bytes_in_flight_max", limits.bytes_in_flight_max),
        ("limits.queue_max_s", limits.queue_max_s),
        ("limits.connection_age_max_s", limits.connection_age_max_s),
        ("limits.drain_s", limits.drain_s),
        ("limits.stop_grace_s", limits.stop_grace_s),
        ("authzen.listen", authzen and authzen.listen),
        ("authzen.base_url", authzen and authzen.base_url),
        ("authzen.capabilities", authzen and ", ".join(authzen.capabilities)),
        ("authzen.signed_metadata", authzen and authzen.signed_metadata),
    ]
    found += _search(settings)
    found += _observed(settings)
    found.append(("tokens.issuers", _issuers(settings)))
    providers = settings.providers
    found += [
        ("providers.sources", _providers(settings)),
        ("providers.reserve_s", providers.reserve_s),
        ("providers.cache_bytes_max", providers.cache_bytes_max),
        ("providers.failure_s", providers.failure_s),
    ]
    return [(name, "not set" if value is None else str(value)) for name, value in found]


def _observed(settings: Settings) -> list[tuple[str, object]]:
    """What is shown to machines, and where."""
    traces = settings.traces
    return [
        ("metrics.listen", settings.metrics),
        ("traces.endpoint", traces and traces.endpoint),
        ("traces.ca_bundle", traces and traces.ca_bundle),
        ("traces.ratio", traces and traces.ratio),
    ]


def _callers(tenants: Mapping[str, str]) -> str | None:
    """Whose requests are about which tenant, in one line; None: nobody's by name."""
    return "; ".join(f"{caller} is {tenant}" for caller, tenant in tenants.items()) or None


def _search(settings: Settings) -> list[tuple[str, object]]:
    search = settings.search
    directory, limits = (None, None) if search is None else (search.directory, search.limits)
    return [
        ("search.directory", directory),
        ("search.password_file", directory and directory.password),
        ("search.ca_bundle", directory and directory.ca_bundle),
        ("search.directory_time_max_s", directory and directory.time_max_s),
        ("search.page_items_default", limits and limits.page_items_default),
        ("search.page_items_max", limits and limits.page_items_max),
        ("search.candidates_max", limits and limits.candidates_max),
        ("search.token_key", search and search.token_key),
        ("search.token_life_s", limits and limits.token_life_s),
    ]


def _identity(tls: TlsSettings | WorkloadApiSettings) -> list[tuple[str, object]]:
    """Who this PDP is, and whom it believes: files, or an agent."""
    from pdp.config.settings import TlsSettings, WorkloadApiSettings

    files = tls if isinstance(tls, TlsSettings) else None
    agent = tls if isinstance(tls, WorkloadApiSettings) else None
    federation = files and ", ".join(f"{domain}: {path}" for domain, path in files.federation)
    return [
        ("tls.trust_domain", tls.trust_domain),
        ("tls.certificate", files and files.certificate),
        ("tls.key", files and files.key),
        ("tls.trust_bundle", files and files.trust_bundle),
        ("tls.federation", federation or None),
        ("tls.workload_api", agent and agent.socket),
        ("tls.spiffe_id", agent and agent.spiffe_id),
        ("tls.federates_with", (agent and ", ".join(agent.federates_with)) or None),
        ("tls.poll_interval_s", tls.poll_interval_s),
    ]


def _issuers(settings: Settings) -> str | None:
    """Whose tokens prove what, in one line; None: nobody's."""
    return (
        "; ".join(
            f"{each.issuer} for {each.audience} proves {each.subject_type}, keys {each.keys}"
            for each in settings.issuers
        )
        or None
    )


def _providers(settings: Settings) -> str | None:
    """Which providers whose bundles may name, in one line; None: none. A URL may hold a secret."""
    return (
        "; ".join(
            f"{each.name} of {', '.join(each.tenants)}, "
            f"{type(each.source).__name__.removesuffix('Source').lower()}"
            for each in settings.providers.sources
        )
        or None
    )
