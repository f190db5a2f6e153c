"""`[tls]`: files, or an agent that has it all; half of either refuses to start."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pdp.config.document import TlsSection
from pdp.config.settings import TlsSettings, WorkloadApiSettings
from pdp.errors import IdentityError
from pdp.identity.spiffe_id import check_trust_domain, parse_spiffe_id

_FILES: Final = ("certificate", "key", "trust_bundle")
# Only this machine's agent, and only over its socket: what it hands out are private keys.
_SOCKET: Final = re.compile(r"unix:(//)?/[A-Za-z0-9._@+=,:-][A-Za-z0-9._@+=,:/-]*", re.ASCII)

# An absolute path to a file that a setting names; what is wrong with it is kept.
File = Callable[[str, Path], Path]


def judge_tls(
    tls: TlsSection, file: File, problems: list[str]
) -> TlsSettings | WorkloadApiSettings | None:
    """The settings; None: there are not enough of them.

    Args:
        tls: as written.
        file: judges a file.
        problems: what is wrong goes there, one line each.
    """
    return _Judge(file, problems).judge(tls)


class _Judge:
    """Keeps every problem."""

    def __init__(self, file: File, problems: list[str]) -> None:
        self._file = file
        self.problems = problems

    def judge(self, tls: TlsSection) -> TlsSettings | WorkloadApiSettings | None:
        self._check_trust_domain("tls.trust_domain", tls.trust_domain)
        if tls.workload_api is not None:
            return self._workload_api(tls, tls.workload_api)
        for name in ("spiffe_id", "federates_with"):
            if name in tls.model_fields_set:
                self.problems.append(f"`tls.{name}` is for `tls.workload_api`, which is not set")
        files: list[Path] = []
        for name in _FILES:
            path = getattr(tls, name)
            if path is None:
                self.problems.append(
                    f"`tls.{name}` is missing: set it in the file, or as PDP_TLS_{name.upper()}"
                )
            else:
                files.append(self._file(f"tls.{name}", path))
        partners = []
        for domain, path in sorted((tls.federation or {}).items()):
            self._check_partner("tls.federation", domain, tls.trust_domain)
            partners.append((domain, self._file(f"tls.federation.{domain}", path)))
        if len(files) < len(_FILES):
            return None
        certificate, key, trust_bundle = files
        return TlsSettings(
            tls.trust_domain, certificate, key, trust_bundle, tls.poll_interval_s, tuple(partners)
        )

    def _workload_api(self, tls: TlsSection, socket: str) -> WorkloadApiSettings:
        """An agent has it all, so a file beside it would be half of something else."""
        for name in (*_FILES, "federation"):
            if name in tls.model_fields_set:
                self.problems.append(
                    f"`tls.{name}` and `tls.workload_api` are both set: leave one of them out"
                )
        if not _SOCKET.fullmatch(socket):
            self.problems.append(
                f"`tls.workload_api` is {socket[:80]!a}: write `unix:` and an absolute path, like "
                "`unix:/run/spire/agent.sock`"
            )
        if tls.spiffe_id is not None:
            try:
                found = parse_spiffe_id(tls.spiffe_id)
            except IdentityError as error:
                self.problems.append(f"`tls.spiffe_id`: {error}")
            else:
                if found.trust_domain != tls.trust_domain:
                    self.problems.append("`tls.spiffe_id` is not of `tls.trust_domain`")
        for domain in tls.federates_with:
            self._check_partner("tls.federates_with", domain, tls.trust_domain)
            if tls.federates_with.count(domain) > 1:
                self.problems.append(f"`tls.federates_with` has `{domain[:80]}` twice")
        return WorkloadApiSettings(
            tls.trust_domain, socket, tls.spiffe_id, tls.federates_with, tls.poll_interval_s
        )

    def _check_trust_domain(self, name: str, text: str) -> None:
        try:
            check_trust_domain(text)
        except IdentityError as error:
            self.problems.append(f"`{name}`: {error}")

    def _check_partner(self, name: str, domain: str, own: str) -> None:
        self._check_trust_domain(name, domain)
        if domain == own:
            self.problems.append(f"`{name}` has `{own}`, which is our own trust domain")
