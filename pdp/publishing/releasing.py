"""What a publisher does: make a repository, publish into it, keep it fresh."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pdp.bundle.anchor import Anchor
from pdp.bundle.contents import custom_of
from pdp.bundle.denials import EMPTY_DENIALS, parse_denials
from pdp.bundle.manifest import render_time
from pdp.bundle.memory import write_durably
from pdp.bundle.settings import DEFAULT_TENANT, EMERGENCY_TARGET, bundle_target
from pdp.errors import BundleRefusedError, ConfigurationError
from pdp.publishing.building import rebuild
from pdp.publishing.edition import Edition
from pdp.publishing.keyring import Keyring
from pdp.publishing.plan import (
    EMERGENCY,
    PLAN_NAME,
    POLICIES,
    ROLES,
    SNAPSHOT,
    TIMESTAMP,
    Plan,
    load_plan,
    render_plan,
)
from pdp.publishing.repository import RepositoryFolder, State, sha256_hex
from pdp.values import NANOS

TRUSTED_ROOT_NAME = "root.json"
_TARGET = bundle_target(DEFAULT_TENANT)
# A signer's clock may be this far ahead of the publisher's; a PDP accepts as much.
_CLOCK_TOLERANCE_S = 60


class Publisher:
    """A repository directory and the keys to it.

    Args:
        repository: the directory that PDPs read.
        keys: the folder with `repository.toml`, `root.json` and the keys.
        clock_ns: nanoseconds since the epoch.
        anchor: of the PDPs that it publishes for; `pdp dev` alone says another.
    """

    def __init__(
        self,
        repository: Path,
        keys: Path,
        clock_ns: Callable[[], int],
        anchor: Anchor = Anchor.PRODUCTION,
    ) -> None:
        self.anchor = anchor
        self.folder = RepositoryFolder(repository)
        self.keys = keys
        self._clock_ns = clock_ns

    @property
    def trusted_root_path(self) -> Path:
        """The root that PDPs embed."""
        return self.keys / TRUSTED_ROOT_NAME

    def now_s(self) -> int:
        """Seconds since the epoch."""
        return self._clock_ns() // NANOS

    def initialise(self, plan: Plan) -> tuple[State, list[str]]:
        """Make the repository: roles, delegations, an empty list of denials, no bundle yet.

        Args:
            plan: used unless the folder of keys already has a `repository.toml`.

        Returns:
            The state, and the names of the keys that were made.

        Raises:
            ConfigurationError: there is a repository already, or keys are missing.
        """
        with self.folder.lock():
            if self.folder.exists:
                raise ConfigurationError(
                    f"there is a repository in `{self.folder.folder}` already; a new one beside "
                    "it would be refused by every PDP that knows this one"
                )
            if (self.keys / PLAN_NAME).exists():
                plan = load_plan(self.keys)
            keyring = Keyring(self.keys, plan)
            made = keyring.make_missing()
            if not (self.keys / PLAN_NAME).exists():
                write_durably(self.keys / PLAN_NAME, render_plan(plan).encode())
            edition = Edition(keyring, self.now_s(), None, self.anchor)
            for role in ROLES:
                if role not in {SNAPSHOT, TIMESTAMP}:
                    edition.renew(role)
            self._put_denials(edition, EMPTY_DENIALS, 1)
            state = edition.write(self.folder)
            write_durably(self.trusted_root_path, state.root.to_bytes(), 0o644)
            return state, made

    def read(self) -> State:
        """The current state, verified."""
        return self.folder.read(self.read_trusted_root())

    def read_trusted_root(self) -> bytes:
        """The trusted root beside the keys.

        Raises:
            ConfigurationError: it is not there.
        """
        try:
            return self.trusted_root_path.read_bytes()
        except OSError as error:
            raise ConfigurationError(
                f"the trusted root `{self.trusted_root_path}` cannot be read: {error.strerror}; "
                "`--keys` names the folder that `pdp bundle init` made"
            ) from None

    def next_revision(self) -> int:
        """The revision of the next bundle: one above the published one."""
        return _published_revision(self.read(), _TARGET) + 1

    def publish(
        self,
        archive: bytes | None = None,
        denials: bytes | None = None,
        renew: Sequence[str] = (),
    ) -> State:
        """Put targets, renew roles, sign, write.

        Args:
            archive: a bundle; it is rebuilt from its sources and compared first.
            denials: the whole new list, not an addition to the old one.
            renew: roles to sign anew with the plan's keys, threshold and expiry.

        Raises:
            BundleRefusedError: what was given must not be published.
            ConfigurationError: keys are missing, or nothing was given.
        """
        if archive is None and denials is None and not renew:
            raise ConfigurationError("nothing to publish: give a bundle, denials or roles to renew")
        for role in renew:
            if role not in ROLES:
                raise ConfigurationError(f"there is no role `{role}` (known: {', '.join(ROLES)})")
        bundle = rebuild(archive, self.anchor) if archive is not None else None
        if denials is not None:
            parse_denials(denials, "the list of denials")
        with self.folder.lock():
            state = self.read()
            edition = self._edition(state)
            for role in renew:
                edition.renew(role)
            if archive is not None and bundle is not None:
                manifest = bundle.manifest
                self._refuse_old(state, archive, manifest.revision)
                if manifest.signed_at_s > self.now_s() + _CLOCK_TOLERANCE_S:
                    raise BundleRefusedError(
                        f"the bundle says it was made {render_time(manifest.signed_at_s)}, "
                        "which is after now: no PDP would take it yet"
                    )
                edition.put(POLICIES, _TARGET, archive, custom_of(manifest))
            if denials is not None:
                revision = _published_revision(state, EMERGENCY_TARGET) + 1
                self._put_denials(edition, denials, revision)
            return edition.write(self.folder)

    def freshen(self) -> State:
        """Sign the timestamp anew, and nothing else.

        Raises:
            BundleRefusedError: another role has expired, so that it would be for nobody.
            ConfigurationError: the timestamp key is missing.
        """
        with self.folder.lock():
            state = self.read()
            edition = self._edition(state)
            return edition.write(self.folder)

    def _edition(self, state: State) -> Edition:
        """What follows a state."""
        keyring = Keyring(self.keys, load_plan(self.keys))
        return Edition(keyring, self.now_s(), state, self.anchor)

    def _refuse_old(self, state: State, archive: bytes, revision: int) -> None:
        published = state.target(_TARGET)
        if published is None:
            return
        current = _published_revision(state, _TARGET)
        if published.hashes.get("sha256") == sha256_hex(archive):
            raise BundleRefusedError(
                f"this bundle, revision {revision}, is published already; to extend its expiry "
                f"run `pdp bundle publish --renew {POLICIES}`"
            )
        if revision <= current:
            raise BundleRefusedError(
                f"the bundle has revision {revision}, and {current} is published: build it again, "
                "each revision is used once"
            )

    def _put_denials(self, edition: Edition, denials: bytes, revision: int) -> None:
        custom = {
            "revision": revision,
            "signed_at": render_time(self.now_s()),
            "digest": sha256_hex(denials),
        }
        edition.put(EMERGENCY, EMERGENCY_TARGET, denials, custom)


def _published_revision(state: State, path: str) -> int:
    """The manifest revision of a published target, 0 if there is none."""
    info = state.target(path)
    custom = info.custom if info is not None else {}
    revision = custom.get("revision", 0) if isinstance(custom, dict) else 0
    if type(revision) is not int or revision < 0:
        raise BundleRefusedError(f"the published `{path}` has no usable revision")
    return revision
