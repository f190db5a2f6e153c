"""The OpenAPI document is what the door does: schemathesis asks a real server by it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pdp.config.settings import Address, AuthzenSettings, Limits
from pdp.directory.documents import DirectoryFile
from pdp.server.authzen.pages import SEARCHES, load_offer
from tests.conftest import Ledger
from tests.simulators.authzen import (
    BASE_URL,
    DIRECTORY,
    AuthzenServer,
    authzen_server,
    searching,
)

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
DIALECT = "https://json-schema.org/draft/2020-12/schema"
METADATA = "/.well-known/authzen-configuration"
PATHS = ("/access/v1/evaluation", "/access/v1/evaluations", *SEARCHES, METADATA)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthzenServer]:
    """A server in a thread of its own."""
    folder = tmp_path_factory.mktemp("openapi")
    started: Future[tuple[AuthzenServer, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        path = folder / "directory.json"
        path.write_text(json.dumps(DIRECTORY))
        made = searching(DirectoryFile(path))
        limits = Limits(deadline_default_s=20.0, deadline_max_s=20.0)
        async with authzen_server(folder, searching=made, limits=limits) as running:
            ended = asyncio.Event()
            started.set_result((running, asyncio.get_running_loop(), ended))
            await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    running, loop, ended = started.result(30)
    pep = running.running.pep
    pep.write(folder, "pep")
    (folder / "ca.pem").write_bytes(running.running.authority.bundle_pem)
    try:
        yield running
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(30)


def document(server: AuthzenServer) -> dict[str, Any]:
    """As it is served."""
    with httpx.Client(verify=server.tls(), trust_env=False) as client:
        response = client.get(f"{server.url}/openapi.json")
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    return found


def test_the_document_names_all_that_is_offered(server: AuthzenServer) -> None:
    """Each endpoint of the metadata, and the metadata itself, under the configured address."""
    found = document(server)
    assert sorted(found["paths"]) == sorted(PATHS)
    assert [place["url"] for place in found["servers"]] == [BASE_URL, f"{BASE_URL}/{{tenant}}"]
    for schema in found["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": DIALECT} | schema)


def test_with_a_path_in_the_base_url_the_document_is_right() -> None:
    """The metadata is found from the root of the host, the rest below the base URL."""
    offer = load_offer(AuthzenSettings(Address("127.0.0.1", 0), f"{BASE_URL}/pdp"))
    assert sorted(offer.pages) == ["/.well-known/authzen-configuration/pdp", "/pdp/openapi.json"]
    assert b'"/.well-known/authzen-configuration/pdp":' in offer.pages["/pdp/openapi.json"]


def fuzz(server: AuthzenServer, found: dict[str, Any], examples: int) -> int:
    """Ask so many questions of each endpoint, right and wrong ones; how many were asked."""
    schema = schemathesis.openapi.from_dict(found)
    asked = 0
    folder = server.folder
    shown = (str(folder / "pep.pem"), str(folder / "pep.key"))
    for path in PATHS:
        for operation in schema[path].values():
            strategies = [
                operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode
            ]

            @settings(
                max_examples=examples,
                phases=[Phase.generate],
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=st.one_of(strategies))
            def ask(case: Any) -> None:
                nonlocal asked
                asked += 1
                response = case.call(
                    base_url=server.url, timeout=10, verify=str(folder / "ca.pem"), cert=shown
                )
                case.validate_response(response, checks=CHECKS)
                if response.status_code == 200 and "decision" in response.text:
                    assert "INTERNAL" not in response.text

            ask()
    return asked


def test_schemathesis_finds_no_answer_that_the_document_does_not_name(
    server: AuthzenServer,
) -> None:
    """Questions made from the document, and against it: every answer is one that it names."""
    assert fuzz(server, document(server), 15) >= 20


def test_schemathesis_twin_with_a_document_that_is_wrong(server: AuthzenServer) -> None:
    """A document that leaves a status out is found to be wrong."""
    found = document(server)
    del found["paths"][PATHS[0]]["post"]["responses"]["400"]
    with pytest.raises(BaseException, match="400"):
        fuzz(server, found, 30)


@pytest.mark.prove
def test_schemathesis_finds_no_answer_at_length(server: AuthzenServer, ledger: Ledger) -> None:
    """The same, many times."""
    ledger(cases=fuzz(server, document(server), 1_000))
