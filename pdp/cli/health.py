"""`pdp health`: is a PDP ready? For probes, which must show a certificate like everybody else."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pdp.errors import ConfigurationError

if TYPE_CHECKING:
    import grpc

HELP = """Ask a PDP whether it is ready: grpc.health.v1 over mutual TLS.

Exit code 0 is SERVING. 1 is everything else that may come of asking:
NOT_SERVING, no answer in time, a certificate that is not believed. 2 is a
question that cannot be asked: a wrong option, a missing file.

A PDP is ready while it could permit: it has a fresh bundle and can record.
Any certificate of the trust domain will do, the PDP's own too.

\b
  pdp health --target localhost:8443 \\
    --trust-bundle /run/pdp/trust-bundle.pem \\
    --certificate /run/pdp/svid.pem --key /run/pdp/svid.key
"""

_TARGET: Final = re.compile(r"\S+:\d{1,5}", re.ASCII)
_PEM_BEGIN: Final = b"-----BEGIN "
_FILE_BYTES_MAX: Final = 1_048_576
_DETAIL_CHARACTERS_MAX: Final = 500


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=HELP, no_args_is_help=True)(health)


def health(  # noqa: PLR0917 the options of a command
    target: Annotated[str, typer.Option(help="Where the PDP is: `host:port`.")],
    trust_bundle: Annotated[Path, typer.Option(help="PEM file: authorities of its certificate.")],
    certificate: Annotated[Path, typer.Option(help="PEM file: the certificate to show.")],
    key: Annotated[Path, typer.Option(help="PEM file: its private key.")],
    server_name: Annotated[
        str | None,
        typer.Option(help="Name in the PDP's certificate, where it is not the host of the target."),
    ] = None,
    timeout_ms: Annotated[
        int, typer.Option(min=1, max=60_000, help="Time for everything, connecting included.")
    ] = 1_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Ask, print what was said, exit by it."""
    import grpc

    from pdp.cli import EXIT_REFUSED
    from pdp.cli.terminal import out

    if not _TARGET.fullmatch(target):
        raise ConfigurationError(f"`--target {target}` is not `host:port`")
    credentials = grpc.ssl_channel_credentials(
        _pem("--trust-bundle", trust_bundle),
        _pem("--key", key),
        _pem("--certificate", certificate),
    )
    options: list[tuple[str, int | str]] = [
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        # Whoever sets https_proxy must not come between a probe and its PDP.
        ("grpc.enable_http_proxy", 0),
    ]
    if server_name is not None:
        options.append(("grpc.ssl_target_name_override", server_name))
    started = time.perf_counter()
    with grpc.secure_channel(target, credentials, options=options) as channel:
        status, detail = _ask(channel, timeout_ms / 1_000)
    microseconds = round((time.perf_counter() - started) * 1_000_000)
    if as_json:
        found = {
            "target": target,
            "status": status,
            "detail": detail or None,
            "microseconds": microseconds,
        }
        out.print(json.dumps(found), markup=False)
    else:
        out.print(f"{status}: {detail}" if detail else status, markup=False)
    if status != "SERVING":
        raise typer.Exit(EXIT_REFUSED)


def _ask(channel: grpc.Channel, timeout_s: float) -> tuple[str, str]:
    """The status of the whole server, or of the call; and more about it."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=timeout_s
        )
        # A status that is not in the enum is not SERVING.
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status), ""
    except grpc.RpcError as error:
        detail = " ".join((error.details() or "").split())
        return error.code().name, detail[:_DETAIL_CHARACTERS_MAX]
    except ValueError:
        return "UNKNOWN", "the answer is none of grpc.health.v1"


def _pem(option: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MAX)
    except OSError as error:
        raise ConfigurationError(
            f"`{option}`: `{path}` cannot be read: {(error.strerror or str(error)).lower()}"
        ) from None
    if _PEM_BEGIN not in data:
        # gRPC would only say that the handshake failed.
        raise ConfigurationError(f"`{option}`: `{path}` is not PEM")
    return data
