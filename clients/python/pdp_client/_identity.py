"""Where a client's own identity is from: three files, or the agent of its machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from pdp.errors import ConfigurationError
from pdp_client._pem_files import Material, PemFiles

PathText = str | os.PathLike[str]


class Source(Protocol):
    """Certificate, key and authorities, kept current."""

    def changed(self) -> Material | None:
        """What is new since the last call; raises ConfigurationError if it cannot be used."""
        ...

    def close(self) -> None:
        """Give back what is held open."""
        ...


def opened(
    files: tuple[PathText | None, PathText | None, PathText | None],
    workload_api: str | None,
    trust_domain: str | None,
) -> tuple[Source, Material | None]:
    """The source, and what it has now.

    Args:
        files: trust bundle, certificate and key.
        workload_api: socket of an agent, in place of all three.
        trust_domain: whose authorities of the agent's count for the PDP.

    Raises:
        ConfigurationError: half of one, both, or what is there cannot be used.
    """
    if workload_api is None:
        if trust_domain is not None:
            raise ConfigurationError("`trust_domain` is for `workload_api`, which is not given")
        trust_bundle, certificate, key = files
        if trust_bundle is None or certificate is None or key is None:
            raise ConfigurationError(
                "give `trust_bundle`, `certificate` and `key`, or `workload_api` in their place"
            )
        found = PemFiles(Path(trust_bundle), Path(certificate), Path(key))
        return found, found.changed()
    if any(each is not None for each in files):
        raise ConfigurationError("give files or `workload_api`, not both")
    try:
        from pdp_client._agent import AgentMaterial  # noqa: PLC0415 of an extra
    except ImportError:
        raise ConfigurationError(
            "`workload_api` needs more than the client: install `portcullis[spiffe]`"
        ) from None
    agent = AgentMaterial(workload_api, trust_domain or "")
    return agent, agent.first()
