"""Who may issue subject tokens: what the operator says about each, judged before anything is read.

An issuer `spiffe://trust-domain` stands for the JWT-SVIDs of that trust domain: tokens by the
SPIFFE JWT-SVID specification, signed with the JWT authorities of its trust bundle.

INVARIANT: issuer and audience have no default. A verifier that takes tokens of
any issuer, or for any audience, takes those made for somebody else
(RFC 8725 sections 3.8 and 3.9).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pdp.errors import ConfigurationError, IdentityError
from pdp.identity.spiffe_id import check_trust_domain

# Signatures with a public key only: with a shared one, whoever verifies could also issue.
ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
     "EdDSA", "Ed25519"}
)  # fmt: skip
ALGORITHMS_DEFAULT: Final = ("ES256", "RS256")
# JWT-SVID section 2.1.
SVID_ALGORITHMS: Final = ALGORITHMS - {"EdDSA", "Ed25519"}
# JWT-SVIDs are bearer tokens of a short life: SPIRE's live for five minutes.
SVID_LIFETIME_SECONDS_MAX: Final = 3_600
# RFC 9068 section 2.1; a token for another purpose of the same issuer has another one.
TYP_DEFAULT: Final = "at+jwt"

# Between two refreshes, whatever asks for one: unknown key ids are free for an attacker.
REFRESH_SECONDS_MIN: Final = 60
_NAME_BYTES_MAX: Final = 1_024
_DAY_SECONDS: Final = 86_400
_SCHEME: Final = "https://"
_SOCKET: Final = "unix:"
_SPIFFE: Final = "spiffe://"


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """One issuer of subject tokens. Units are in the names.

    Attributes:
        issuer: the `iss` of its tokens, exactly; or `spiffe://trust-domain`, for its JWT-SVIDs.
        audience: what must be among the `aud` of a token, exactly: this PDP's name at the issuer.
        subject_type: the type of subjects that it proves.
        keys: its JWKS: `https://...`, or the path of a file; for JWT-SVIDs the trust bundle,
            or `unix:...`, the socket of an agent with the Workload API.
        ca_bundle: PEM, the authorities for `https://`; required there.
        algorithms: what its keys may sign with.
        typ: the `typ` of its tokens.
        lifetime_max_s: from `iat` to `exp`.
        id_claim: path of the claim that is the subject's id.
        roles_claim: path of the claim that lists static roles; empty: it says nothing of roles.
        keys_refresh_s: between two looks at the key set.
        keys_age_max_s: keys that were not seen for longer prove nothing.
    """

    issuer: str
    audience: str
    subject_type: str
    keys: str
    ca_bundle: Path | None = None
    algorithms: tuple[str, ...] = ALGORITHMS_DEFAULT
    typ: str = TYP_DEFAULT
    lifetime_max_s: int = 3_600
    id_claim: tuple[str, ...] = ("sub",)
    roles_claim: tuple[str, ...] = ()
    keys_refresh_s: int = 300
    keys_age_max_s: int = 3_600

    def __post_init__(self) -> None:
        """Judge.

        Raises:
            ConfigurationError: with the setting and what to write instead.
        """
        for name in ("issuer", "audience", "subject_type", "keys", "typ"):
            self._check_text(name, getattr(self, name))
        self._check_keys()
        if not self.algorithms or len(set(self.algorithms)) != len(self.algorithms):
            raise ConfigurationError("`algorithms` must name at least one, and each once")
        for name in self.algorithms:
            if name not in ALGORITHMS:
                known = ", ".join(sorted(ALGORITHMS))
                raise ConfigurationError(f"`algorithms` has {name[:32]!a}: use any of {known}")
        if not self.id_claim or not all(self.id_claim) or not all(self.roles_claim):
            raise ConfigurationError("`id_claim` and `roles_claim` must not have an empty name")
        self._check_times()
        if self.issuer.startswith(_SPIFFE):
            self._check_svids()

    @property
    def remote(self) -> bool:
        """Whether somebody has to be asked for the key set: over HTTPS, or an agent."""
        return self.keys.startswith((_SCHEME, _SOCKET))

    @property
    def agent(self) -> bool:
        """Whether the key set is from an agent with the Workload API."""
        return self.keys.startswith(_SOCKET)

    @property
    def trust_domain(self) -> str:
        """Whose JWT-SVIDs these are; empty: tokens of another kind."""
        return self.issuer.removeprefix(_SPIFFE) if self.issuer.startswith(_SPIFFE) else ""

    def _check_svids(self) -> None:
        try:
            check_trust_domain(self.trust_domain)
        except IdentityError as error:
            raise ConfigurationError(f"`issuer`: {error}") from None
        unfit = [name for name in self.algorithms if name not in SVID_ALGORITHMS]
        if unfit:
            raise ConfigurationError(
                f"`algorithms` has {unfit[0]!a}, which no JWT-SVID is signed with"
            )
        if (self.typ, self.id_claim, self.roles_claim) != (TYP_DEFAULT, ("sub",), ()):
            raise ConfigurationError(
                "`typ`, `id_claim` and `roles_claim` are given for JWT-SVIDs: leave them out"
            )
        if self.lifetime_max_s > SVID_LIFETIME_SECONDS_MAX:
            raise ConfigurationError(
                f"`lifetime_max_s` of JWT-SVIDs must be {SVID_LIFETIME_SECONDS_MAX} or less"
            )

    @staticmethod
    def _check_text(name: str, text: str) -> None:
        if not text or not text.isprintable() or len(text.encode()) > _NAME_BYTES_MAX:
            raise ConfigurationError(
                f"`{name}` must be a text of 1 to {_NAME_BYTES_MAX} bytes, without line breaks"
            )

    def _check_keys(self) -> None:
        if self.agent:
            if not self.issuer.startswith(_SPIFFE):
                raise ConfigurationError(
                    "`keys` of an agent are for JWT-SVIDs: `issuer` must be `spiffe://trust-domain`"
                )
            if not self.keys.removeprefix(_SOCKET).startswith("/"):
                raise ConfigurationError("`keys` must be `unix:` and an absolute path")
        if not self.remote or self.agent:
            # Whoever can change what comes over plain HTTP could issue tokens.
            if "://" in self.keys and not self.agent:
                raise ConfigurationError("`keys` must be the path of a file, or begin `https://`")
            if self.ca_bundle is not None:
                raise ConfigurationError("`ca_bundle` is for `keys` that begin with `https://`")
            return
        try:
            url = urlsplit(self.keys)
            host, _ = url.hostname, url.port
        except ValueError as error:
            raise ConfigurationError(f"`keys` is not a URL: {error}") from None
        if not host or not url.path.strip("/") or url.path.endswith("/"):
            raise ConfigurationError("`keys` must name a host and a file on it")
        if url.query or url.fragment or url.username is not None or url.password is not None:
            raise ConfigurationError("`keys` has a user, a query or a fragment: leave them out")
        if self.ca_bundle is None:
            raise ConfigurationError(
                "`ca_bundle` is missing: name the file of the authorities that `keys` is under"
            )

    def _check_times(self) -> None:
        for name, value, least, most in (
            ("lifetime_max_s", self.lifetime_max_s, 1, _DAY_SECONDS),
            ("keys_refresh_s", self.keys_refresh_s, REFRESH_SECONDS_MIN, _DAY_SECONDS),
            ("keys_age_max_s", self.keys_age_max_s, REFRESH_SECONDS_MIN, 7 * _DAY_SECONDS),
        ):
            if not least <= value <= most:
                raise ConfigurationError(f"`{name}` must be from {least} to {most}")
        if self.keys_age_max_s < 2 * self.keys_refresh_s:
            raise ConfigurationError(
                "`keys_age_max_s` must be twice `keys_refresh_s` or more: one look that fails "
                "would end all keys"
            )


def check_issuers(issuers: tuple[IssuerSettings, ...]) -> None:
    """Each issuer is described once: its key set is bound to its name.

    Raises:
        ConfigurationError: one is there twice.
    """
    names = [issuer.issuer for issuer in issuers]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"the issuer `{name}` is there twice")
