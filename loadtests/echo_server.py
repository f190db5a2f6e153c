"""The least that a gRPC server in Python can do: always the same bytes, over the same mutual TLS.

What `loadtests.cpu_ratio` compares with. The options of HTTP/2 are those of
`pdp serve`, so that nothing but the work differs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from pathlib import Path

import grpc
import uvloop

from pdp.config.settings import Limits
from pdp.server.authorization import METHOD, SERVICE
from pdp.server.listener import server_options


async def _serve(arguments: argparse.Namespace) -> None:
    answer: bytes = arguments.answer.read_bytes()

    async def echo(message: bytes, context: object) -> bytes:  # noqa: ARG001 gRPC's signature
        return answer

    server = grpc.aio.server(options=server_options(Limits(), 900.0))
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),)
    )
    credentials = grpc.ssl_server_credentials(
        [(arguments.key.read_bytes(), arguments.certificate.read_bytes())],
        arguments.trust_bundle.read_bytes(),
        require_client_auth=True,
    )
    port = server.add_secure_port("localhost:0", credentials)
    await server.start()
    print(json.dumps({"port": port}), flush=True)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    await server.stop(0)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("trust-bundle", "certificate", "key", "answer"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    uvloop.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
