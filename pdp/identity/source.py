"""Where our own identity is from: files, or the agent of this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pdp.config.settings import TlsSettings, WorkloadApiSettings
from pdp.identity.agent import AgentIdentity
from pdp.identity.rotation import IdentityFiles, Look
from pdp.identity.server_svid import ServerSvid, load_server_svid


class IdentitySource(Protocol):
    """Certificate, key and authorities, kept current."""

    @property
    def identity(self) -> ServerSvid:
        """What is in force."""
        ...

    def look(self) -> Look:
        """Take what is new and right. Blocks, so it is called in a thread; never raises."""
        ...

    def close(self) -> None:
        """Give back what is held open."""
        ...


def open_identity(
    settings: TlsSettings | WorkloadApiSettings, clock_ns: Callable[[], int]
) -> IdentitySource:
    """Who we are, judged as our peers are. Blocks.

    Args:
        settings: files, or an agent.
        clock_ns: the wall clock, nanoseconds since the epoch.

    Raises:
        ConfigurationError: there is no identity that can be used.
    """
    if isinstance(settings, WorkloadApiSettings):
        return AgentIdentity(settings, clock_ns)
    return IdentityFiles(settings, load_server_svid(settings, clock_ns()), clock_ns)
