"""Where trust starts: with a team's root, or with the throw-away one of `pdp dev`.

INVARIANT: the two are disjoint. What one anchor believes the other refuses, in
the root, in the manifest, in the caller policy and in the place of the server.
Neither leaves out a check: signatures, thresholds, expiries, versions and
digests are verified by the same code before anything here is asked.

`Anchor.DEVELOPMENT` is named by `pdp.dev` alone, which no setting and no
variable can start; `tests/test_dev_anchor.py` holds that.
"""

from __future__ import annotations

import enum
from ipaddress import ip_address
from typing import Final

from pdp.errors import BundleRefusedError, ConfigurationError

# RFC 2606 keeps `.invalid` from ever being real.
DEVELOPMENT_TRUST_DOMAIN: Final = "dev.invalid"


class Anchor(enum.Enum):
    """Which of the two a PDP, or a publisher, starts from."""

    PRODUCTION = "production"
    DEVELOPMENT = "development"  # made by `pdp dev`, for `pdp dev` alone (design section 6)

    @property
    def marked(self) -> bool:
        """Whether its root and its manifests carry `development: true`."""
        # Identity, and not truth: whatever else stands here is production.
        return self is Anchor.DEVELOPMENT

    def mark_problem(self, *, marked: bool) -> str | None:
        """Why something with or without the mark is not believed, or None; follows "it is"."""
        if marked == self.marked:
            return None
        if marked:
            return "marked `development`: it was made by `pdp dev`, for `pdp dev` alone"
        return "not marked `development`: `pdp dev` believes nothing else"

    def check_caller(self, caller: str) -> None:
        """Judge an entry of a caller policy by its trust domain.

        Args:
            caller: its SPIFFE ID, or a pattern of them.

        Raises:
            BundleRefusedError: it is of the other anchor's.
        """
        domain = caller.removeprefix("spiffe://").partition("/")[0]
        if (domain == DEVELOPMENT_TRUST_DOMAIN) == self.marked:
            return
        if self.marked:
            raise BundleRefusedError(
                f"the caller `{caller}` is not of `{DEVELOPMENT_TRUST_DOMAIN}`: not allowed here"
            )
        raise BundleRefusedError(
            f"the caller `{caller}` is of the trust domain of `pdp dev`: not allowed here"
        )

    def check_place(self, trust_domain: str, host: str) -> None:
        """Judge where a server would answer, and for whom.

        Args:
            trust_domain: of its callers.
            host: where it would listen.

        Raises:
            ConfigurationError: not with this anchor.
        """
        if not self.marked:
            if trust_domain == DEVELOPMENT_TRUST_DOMAIN:
                raise ConfigurationError(
                    f"`tls.trust_domain` is `{DEVELOPMENT_TRUST_DOMAIN}`, which is for "
                    "development alone: give this server a trust domain of yours"
                )
            return
        if trust_domain != DEVELOPMENT_TRUST_DOMAIN:
            raise ConfigurationError(
                f"`pdp dev` answers callers of `{DEVELOPMENT_TRUST_DOMAIN}` alone, "
                f"not of `{trust_domain}`"
            )
        if not is_loopback(host):
            raise ConfigurationError(
                f"`{host}` is not a loopback address, and `pdp dev` listens on no other: its keys "
                "are thrown away, not kept from anybody; write `127.0.0.1` or `[::1]`"
            )


def is_loopback(host: str) -> bool:
    """Whether this is a literal address of 127.0.0.0/8 or ::1; a name never is."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
