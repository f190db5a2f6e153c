"""The least that a gRPC server in Python can do: always the same bytes, over the same mutual TLS.

What `loadtests.cpu_ratio` compares with. The options of HTTP/2 are those of
`pdp serve`, so that nothing but the work differs. With `--log` each answer also
waits until as many bytes as a record has are on stable storage, together with
those of all calls that came meanwhile (group commit): `loadtests.latency_curve`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import threading
from pathlib import Path

import grpc
import uvloop

from pdp.config.settings import Limits
from pdp.server.authorization import METHOD, SERVICE
from pdp.server.listener import server_options


class Log:
    """The plainest group commit: one thread writes and syncs for all who wait."""

    def __init__(self, path: Path, record: bytes) -> None:
        self._file = path.open("ab", buffering=0)
        self._record = record
        self._waiting: list[asyncio.Future[None]] = []
        self._some = threading.Condition()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._commit, daemon=True).start()

    def append(self) -> asyncio.Future[None]:
        """Done when the record is on stable storage."""
        done = self._loop.create_future()
        with self._some:
            self._waiting.append(done)
            self._some.notify()
        return done

    def _commit(self) -> None:
        while True:
            with self._some:
                self._some.wait_for(lambda: self._waiting)
                group, self._waiting = self._waiting, []
            self._file.write(self._record * len(group))
            os.fsync(self._file.fileno())
            self._loop.call_soon_threadsafe(self._tell, group)

    @staticmethod
    def _tell(group: list[asyncio.Future[None]]) -> None:
        for done in group:
            if not done.done():
                done.set_result(None)


async def _serve(arguments: argparse.Namespace) -> None:
    answer: bytes = arguments.answer.read_bytes()
    log = Log(arguments.log, bytes(arguments.record_bytes)) if arguments.log else None

    async def echo(message: bytes, context: object) -> bytes:  # noqa: ARG001 gRPC's signature
        if log:
            await log.append()
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
    parser.add_argument("--log", type=Path, help="wait for a record here before each answer")
    parser.add_argument("--record-bytes", type=int, default=1_024)
    uvloop.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
