"""Adapters of `pdp failsafe --transport` for the Python clients of other engines, as they come.

    python -m venv others && others/bin/pip install cerbos openfga-sdk
    pdp failsafe --transport -- others/bin/python clients/python/failsafe_adapters/theirs.py cerbos

Nothing is set but where to ask and whom to believe: what is seen is what a program gets that says
no more. There is no honest server of their protocols here, so nothing could be permitted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from protocol import Connection, Where, serve


class Cerbos:
    """`cerbos.sdk.grpc.client.CerbosClient`."""

    def __init__(self, where: Where) -> None:
        from cerbos.engine.v1 import engine_pb2
        from cerbos.sdk.grpc.client import CerbosClient

        self.client: Any = CerbosClient(where.target, tls_verify=where.trust_bundle)
        self.principal = engine_pb2.Principal(id="alice", roles=["user"])
        self.resource = engine_pb2.Resource(id="document", kind="document")

    def ask(self, fault: str, budget_s: float) -> bool:
        """`is_allowed`."""
        return bool(self.client.is_allowed("read", self.principal, self.resource))

    def close(self) -> None:
        """Close the client."""
        self.client.close()


class OpenFga:
    """`openfga_sdk.sync.OpenFgaClient`."""

    def __init__(self, where: Where) -> None:
        from openfga_sdk import ClientConfiguration
        from openfga_sdk.client.models import ClientCheckRequest
        from openfga_sdk.sync import OpenFgaClient

        store = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
        configuration = ClientConfiguration(api_url=f"https://{where.target}", store_id=store)
        configuration.ssl_ca_cert = where.trust_bundle
        self.client: Any = OpenFgaClient(configuration)
        self.request: Any = ClientCheckRequest(
            user="user:alice", relation="reader", object="document:document"
        )

    def ask(self, fault: str, budget_s: float) -> bool:
        """`check`."""
        return bool(self.client.check(self.request).allowed)

    def close(self) -> None:
        """Close the client."""
        self.client.close()


FLAVOURS: dict[str, Callable[[Where], Connection]] = {"cerbos": Cerbos, "openfga": OpenFga}


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in FLAVOURS:  # noqa: PLR2004 the program and one word
        sys.exit(f"say which: {', '.join(FLAVOURS)}")
    serve(sys.argv[1], FLAVOURS[sys.argv[1]])
