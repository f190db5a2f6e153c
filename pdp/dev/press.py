"""Signing for `pdp dev`: one key a role, made at the start, and the publisher of `pdp bundle`."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Final

from pdp.authoring.compilation import Compilation
from pdp.authoring.throwaway import ThrowawayAuthority
from pdp.bundle.anchor import DEVELOPMENT_TRUST_DOMAIN, Anchor
from pdp.bundle.settings import DEFAULT_TENANT
from pdp.config.settings import TlsSettings
from pdp.dev.folder import DevelopmentFolder
from pdp.publishing.building import Release, build
from pdp.publishing.plan import small_plan
from pdp.publishing.releasing import Publisher

# A third of what readers allow the timestamp: two may fail.
FRESHEN_S: Final = 600
# As long as the policies' role, which each save renews. Nothing else believes the authority.
_LIFETIME: Final = timedelta(days=30)
_SERVER: Final = "pdp"
_NAME_CHARACTERS_MAX: Final = 100


class Press:
    """Publishes into the folder's repository.

    Args:
        folder: new, or emptied.
        tenant: whose policies.
    """

    def __init__(self, folder: DevelopmentFolder, tenant: str = DEFAULT_TENANT) -> None:
        self._tenant = tenant
        self._publisher = Publisher(
            folder.repository, folder.keys, time.time_ns, Anchor.DEVELOPMENT
        )
        self._signed_s = 0.0

    def open(self) -> Path:
        """Make keys and repository; return where the trusted root is."""
        self._publisher.initialise(small_plan(self._tenant))
        self._signed_s = time.time()
        return self._publisher.trusted_root_path

    def publish(self, compilation: Compilation) -> int:
        """Build, rebuild and compare, sign, make current.

        Returns:
            The revision, as answers and records say it.

        Raises:
            BundleRefusedError, PolicyProblemsError: no PDP would take it.
            OSError: the folder cannot be written.
        """
        release = Release(
            self._publisher.next_revision(),
            self._publisher.now_s(),
            anchor=self._publisher.anchor,
        )
        state = self._publisher.publish(archive=build(compilation, release))
        self._signed_s = time.time()
        return state.revision

    def freshen_if_due(self) -> bool:
        """Sign the timestamp anew when it is time; whether it was."""
        # Wall time: a laptop that slept has a timestamp that did not.
        if abs(time.time() - self._signed_s) < FRESHEN_S:
            return False
        self._publisher.freshen()
        self._signed_s = time.time()
        return True


class Certificates:
    """The authority, and what it issued. Its key is in memory only.

    Args:
        folder: where certificates are written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = ThrowawayAuthority(DEVELOPMENT_TRUST_DOMAIN, _LIFETIME)
        self._issued: dict[str, tuple[Path, Path]] = {}
        self._names: set[str] = set()

    @property
    def trust_bundle(self) -> Path:
        """The authority's certificate."""
        return self._folder / "ca.pem"

    def issue_server(self, host: str) -> TlsSettings:
        """What the server needs to answer on this address."""
        self._folder.mkdir(mode=0o700)
        self.trust_bundle.write_bytes(self._authority.bundle_pem)
        svid = self._authority.issue(
            _SERVER, dns_names=["localhost"], addresses=[host], lifetime=_LIFETIME
        )
        certificate, key = svid.write(self._folder, self._name(_SERVER))
        return TlsSettings(DEVELOPMENT_TRUST_DOMAIN, certificate, key, self.trust_bundle)

    def of(self, path: str) -> tuple[Path, Path]:
        """Certificate and key of a caller; issued when first asked for."""
        if path not in self._issued:
            svid = self._authority.issue(path, lifetime=_LIFETIME)
            self._issued[path] = svid.write(self._folder, self._name(f"caller-{path}"))
        return self._issued[path]

    def _name(self, path: str) -> str:
        """A file name that nobody else has, in any case."""
        stem = path.replace("/", "-")[:_NAME_CHARACTERS_MAX]
        name, number = stem, 1
        while name.lower() in self._names:
            number += 1
            name = f"{stem}-{number}"
        self._names.add(name.lower())
        return name
