"""`pdp health`: what a probe asks, against a real server over mutual TLS."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pdp.authoring.throwaway import IssuedSvid, ThrowawayAuthority
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.decision_points import RunningServer, running_server
from tests.simulators.faults import Silent

PROGRAM = """
import sys, typer
from pdp.cli import health
from pdp.cli.terminal import report
app = typer.Typer(pretty_exceptions_enable=False)
health.register(app)
try:
    app()
except Exception as error:
    sys.exit(report(error))
"""


def words(folder: Path, target: str, trust_pem: bytes, shown: IssuedSvid) -> list[str]:
    """The options of the command."""
    certificate, key = shown.write(folder, "probe")
    trust = folder / "probe-trust.pem"
    trust.write_bytes(trust_pem)
    return [
        *("--target", target, "--trust-bundle", str(trust)),
        *("--certificate", str(certificate), "--key", str(key)),
    ]


async def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of the command."""

    def wait() -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return await asyncio.to_thread(wait)


def options_of(folder: Path, running: RunningServer, shown: IssuedSvid | None = None) -> list[str]:
    """For a running server."""
    target = f"localhost:{running.address.port}"
    return words(folder, target, running.authority.bundle_pem, shown or running.pep)


def test_health_says_what_the_server_says(tmp_path: Path) -> None:
    """SERVING is 0, NOT_SERVING is 1, in words and as JSON."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            options = options_of(tmp_path, running)
            assert await run(*options, "--timeout-ms", "9000") == (0, "SERVING\n", "")
            running.snapshots.snapshot = None
            await running.server.look()
            assert await run(*options, "--timeout-ms", "9000") == (1, "NOT_SERVING\n", "")
            code, out, _ = await run(*options, "--timeout-ms", "9000", "--json")
            found = json.loads(out)
            assert (code, found["status"], found["detail"]) == (1, "NOT_SERVING", None)
            assert found["microseconds"] > 0

    asyncio.run(scenario())


def test_health_is_not_told_to_strangers_nor_by_them(tmp_path: Path) -> None:
    """A probe with a certificate of another authority, one that trusts another, a wrong name."""
    stranger = ThrowawayAuthority(TRUST_DOMAIN)

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            target = f"localhost:{running.address.port}"
            folders = [tmp_path / name for name in "abc"]
            for options in (
                options_of(folders[0], running, stranger.issue("pep")),
                words(folders[1], target, stranger.bundle_pem, running.pep),
                [*options_of(folders[2], running), "--server-name", "other.example.org"],
            ):
                code, out, _ = await run(*options, "--timeout-ms", "9000")
                assert code == 1
                assert out.startswith("UNAVAILABLE: ")
            options = [*options_of(tmp_path, running), "--server-name", "localhost"]
            assert (await run(*options, "--timeout-ms", "9000"))[0] == 0

    asyncio.run(scenario())


def test_health_ends_in_time_and_at_a_closed_port(tmp_path: Path) -> None:
    """Nobody there, and somebody who says nothing: 1, within the time given."""
    pep = ThrowawayAuthority(TRUST_DOMAIN)
    with Silent() as silent:
        options = words(tmp_path, f"localhost:{silent.port}", pep.bundle_pem, pep.issue("pep"))
        code, out, _ = asyncio.run(run(*options, "--timeout-ms", "200"))
        assert (code, out.partition(":")[0]) in {
            (1, "DEADLINE_EXCEEDED\n"), (1, "DEADLINE_EXCEEDED"), (1, "UNAVAILABLE"),
        }  # fmt: skip
    options[1] = f"localhost:{silent.port}"
    code, out, _ = asyncio.run(run(*options))
    assert code == 1
    assert out.startswith("UNAVAILABLE")


@pytest.mark.parametrize("option", ["--trust-bundle", "--certificate", "--key", "--target"])
def test_health_that_cannot_be_asked_is_2(option: str, tmp_path: Path) -> None:
    """A missing file, one that is no PEM, an address without port: told as the option's."""
    pep = ThrowawayAuthority(TRUST_DOMAIN)
    options = words(tmp_path, "localhost:1", pep.bundle_pem, pep.issue("pep"))
    (tmp_path / "text").write_text("hello")
    for value in (str(tmp_path / "nothing"), str(tmp_path / "text"), str(tmp_path)):
        spoilt = [value if before == option else word for before, word in _pairs(options)]
        code, out, err = asyncio.run(run(*spoilt))
        assert (code, out) == (2, "")
        assert option in err


def _pairs(options: list[str]) -> list[tuple[str, str]]:
    return list(zip(["", *options], options, strict=False))
