"""The channel: which methods are called over it, its options, and the addresses that it takes."""

from __future__ import annotations

import json
import re
from typing import Final

from pdp.errors import ConfigurationError
from pdp_client import _batch, _core

METHOD: Final = "/pdp.v1.AuthorizationService/Authorize"
BATCH_METHOD: Final = "/pdp.v1.AuthorizationService/AuthorizeBatch"
STREAM_METHOD: Final = "/pdp.v1.AuthorizationService/AuthorizeStream"

_SCHEMES: Final = ("dns:", "ipv4:", "ipv6:", "unix:")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

# The answer to one question is short, that to a batch is not.
_SERVICE_CONFIG: Final = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{"service": "pdp.v1.AuthorizationService", "method": "Authorize"}],
                "maxResponseMessageBytes": _core.RESPONSE_BYTES_MAX,
            }
        ]
    }
)

CHANNEL_OPTIONS: Final[tuple[tuple[str, int | str], ...]] = (
    # The retry policy is ours (`_core`), whole and in one place: not gRPC's
    # own, not one that a DNS TXT record brings.
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    # Whoever sets https_proxy must not come between a service and its PDP.
    ("grpc.enable_http_proxy", 0),
    # Two clients never share a connection: closing one closes its own.
    ("grpc.use_local_subchannel_pool", 1),
    # C-core's own would be 1 s growing to 2 min. While it waits, calls are
    # denied at once, so what follows a restart of the PDP is short.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # The time to connect, too (C-core's default: 20 s). A peer that accepts
    # and stays silent is given up for another attempt.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    # A peer that died without a word is noticed within 13 s, calls or none: or
    # the first question after a pause would be lost. The PDP allows a ping
    # every 5 s, calls or none (`pdp.server.listener`).
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    # Without this, C-core 1.85 waits a minute for the answer to a ping, whatever
    # the line above says, as long as the peer's kernel acknowledges the bytes.
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # C-core's own is 2, and then silence until there is data.
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_send_message_length", _core.REQUEST_BYTES_MAX),
    ("grpc.max_receive_message_length", _batch.RESPONSE_BYTES_MAX),
    ("grpc.service_config", _SERVICE_CONFIG),
    # Identity only (bit 0). A compressed answer is refused rather than
    # inflated: 1 MiB of gzip can become 1 GiB.
    ("grpc.compression_enabled_algorithms_bitset", 1),
)


def check_target(target: str) -> str:
    """A target that gRPC will take as it was meant.

    Raises:
        ConfigurationError: empty, or a URL. gRPC would look for a host of that
            name, and every call would be denied.
    """
    if not target or target != target.strip():
        raise ConfigurationError(f"the target `{target}` is no address: write `host:port`")
    if _URL.match(target) and not target.startswith(_SCHEMES):
        raise ConfigurationError(
            f"the target `{target}` is a URL: write `host:port`; TLS is always used"
        )
    return target
