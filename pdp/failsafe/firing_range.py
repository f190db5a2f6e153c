"""A trust domain with a client, and the scripted PDP behind good and bad certificates."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Self, TypedDict

from pdp.authoring.throwaway import IssuedSvid, ThrowawayAuthority
from pdp.failsafe.scripted_pdp import ScriptedPdp


class ClientFiles(TypedDict):
    """The files among a client's arguments."""

    trust_bundle: Path
    certificate: Path
    key: Path


class FiringRange:
    """A trust domain with a client, the scripted PDP behind good and bad certificates.

    Args:
        folder: for the PEM files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = ThrowawayAuthority("range.example.org")
        self.foreign = ThrowawayAuthority("range.example.org")
        past = timedelta(minutes=-1)
        self._issue("client", self.authority.issue("client"))
        self._issue("expired", self.authority.issue("client", lifetime=past))
        self._issue("foreign", self.foreign.issue("client"))
        self._issue("pdp", good := self.authority.issue("pdp", dns_names=["localhost"]))
        (folder / "trust.pem").write_bytes(self.authority.bundle_pem)
        served = {
            "good": good,
            "expired": self.authority.issue("pdp", dns_names=["localhost"], lifetime=past),
            "foreign": self.foreign.issue("pdp", dns_names=["localhost"]),
            "elsewhere": self.authority.issue("pdp", dns_names=["elsewhere.example.org"]),
            "nameless": self.authority.issue("pdp"),
            # As a client sees a PDP whose clock is an hour ahead of its own.
            "not_yet_valid": self.authority.issue(
                "pdp",
                dns_names=["localhost"],
                lifetime=timedelta(hours=2),
                started=timedelta(hours=-1),
            ),
        }
        self._good = good
        self.pdp = ScriptedPdp(
            {name: (svid, self.authority.bundle_pem) for name, svid in served.items()}
        )

    def another(self, socket: str = "") -> ScriptedPdp:
        """A PDP of its own process, to be stopped or killed; at a Unix socket, if one is named."""
        return ScriptedPdp({"good": (self._good, self.authority.bundle_pem)}, socket=socket)

    def _issue(self, name: str, svid: IssuedSvid) -> None:
        svid.write(self.folder, name)

    def files(
        self,
        name: str = "client",
        *,
        trust_bundle: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> ClientFiles:
        """What a client is made with; any of it may be replaced."""
        return {
            "trust_bundle": trust_bundle or self.folder / "trust.pem",
            "certificate": certificate or self.folder / f"{name}.pem",
            "key": key or self.folder / f"{name}.key",
        }

    def target(self, name: str = "good") -> str:
        """Where the scripted PDP listens with this certificate."""
        return f"localhost:{self.pdp.ports[name]}"

    def __enter__(self) -> Self:
        self.pdp.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.pdp.__exit__(*error)
