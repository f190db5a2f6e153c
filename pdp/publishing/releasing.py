"""What a publisher does: make a repository, publish into it, keep it fresh."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pdp.bundle.anchor import Anchor
from pdp.bundle.contents import Bundle, custom_of, refuse_other_tenants
from pdp.bundle.denials import EMPTY_DENIALS, parse_denials
from pdp.bundle.manifest import render_time
from pdp.bundle.memory import write_durably
from pdp.bundle.settings import EMERGENCY_TARGET, bundle_role, bundle_target
from pdp.callers import ANY, CallerPolicy
from pdp.errors import BundleRefusedError, ConfigurationError
from pdp.publishing.building import callers_of, rebuild
from pdp.publishing.edition import Edition
from pdp.publishing.keyring import Keyring
from pdp.publishing.plan import (
    EMERGENCY,
    PLAN_NAME,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Plan,
    load_plan,
    render_plan,
)
from pdp.publishing.repository import RepositoryFolder, State, sha256_hex
from pdp.publishing.tenants import with_new_keys, with_tenant, without_tenant
from pdp.values import NANOS

TRUSTED_ROOT_NAME = "root.json"
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
            for role in plan.order:
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

    def next_revision(self, tenant: str = "") -> int:
        """The revision of a tenant's next bundle: one above the published one.

        Args:
            tenant: whose; may be left out where there is one.

        Raises:
            ConfigurationError: there is no such tenant, or several and none is named.
        """
        state = self.read()
        return _published_revision(state, bundle_target(find_tenant(state, tenant))) + 1

    def add_tenant(self, tenant: str, option: str = "") -> tuple[State, list[str]]:
        """Delegate to another tenant: new keys, a role, no bundle yet. Needs the keys of `targets`.

        Args:
            tenant: its name.
            option: `2-of-3` or `2-of-3,30d`; empty: as the first tenant's.

        Returns:
            The state, and the names of the keys that were made.

        Raises:
            ConfigurationError: there is such a tenant already, or keys are missing.
        """
        return self._replan(lambda plan: with_tenant(plan, tenant, option))

    def remove_tenant(self, tenant: str) -> State:
        """Delegate to a tenant no longer. Needs the keys of `targets`.

        Raises:
            ConfigurationError: there is no such tenant, or no other, or keys are missing.
        """
        return self._replan(lambda plan: without_tenant(plan, tenant))[0]

    def rotate(self, tenant: str = "") -> tuple[State, list[str]]:
        """New keys in place of all of a tenant's. Needs the keys of `targets`, none of the old.

        Args:
            tenant: whose; may be left out where there is one.

        Returns:
            The state, and the names of the keys that were made.

        Raises:
            ConfigurationError: there is no such tenant, or keys are missing, or are no files.
        """
        tenant = find_tenant(self.read(), tenant)
        taken = {path.stem for path in self.keys.glob("*.p[eu][mb]")}
        return self._replan(lambda plan: with_new_keys(plan, tenant, taken))

    def _replan(self, change: Callable[[Plan], Plan]) -> tuple[State, list[str]]:
        """Publish what another plan says about the delegated roles, then keep that plan."""
        with self.folder.lock():
            state = self.read()
            plan = change(load_plan(self.keys))
            keyring = Keyring(self.keys, plan)
            made = keyring.make_missing()
            edition = Edition(keyring, self.now_s(), state, self.anchor)
            edition.renew(TARGETS)
            state = edition.write(self.folder)
            # Not before: a plan that could not be signed is none.
            write_durably(self.keys / PLAN_NAME, render_plan(plan).encode())
            return state, made

    def publish(
        self,
        archive: bytes | None = None,
        denials: bytes | None = None,
        renew: Sequence[str] = (),
        tenant: str = "",
    ) -> State:
        """Put targets, renew roles, sign, write.

        Args:
            archive: a bundle; it is rebuilt from its sources and compared first.
            denials: the whole new list, not an addition to the old one.
            renew: roles to sign anew with the plan's keys, threshold and expiry.
            tenant: whose bundle it is; may be left out where there is one.

        Raises:
            BundleRefusedError: what was given must not be published.
            ConfigurationError: keys are missing, or nothing was given.
        """
        if archive is None and denials is None and not renew:
            raise ConfigurationError("nothing to publish: give a bundle, denials or roles to renew")
        bundle = rebuild(archive, self.anchor) if archive is not None else None
        if denials is not None:
            parse_denials(denials, "the list of denials")
        with self.folder.lock():
            state = self.read()
            edition = self._edition(state)
            known = edition.keyring.plan.order
            if unknown := [role for role in renew if role not in known]:
                raise ConfigurationError(
                    f"there is no role `{unknown[0]}` (known: {', '.join(known)})"
                )
            for role in renew:
                edition.renew(role)
            if archive is not None and bundle is not None:
                self._put_bundle(edition, state, find_tenant(state, tenant), archive, bundle)
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

    def _put_bundle(
        self, edition: Edition, state: State, tenant: str, archive: bytes, bundle: Bundle
    ) -> None:
        manifest = bundle.manifest
        refuse_others_callers(state.tenants, tenant, callers_of(bundle))
        self._refuse_old(state, tenant, archive, manifest.revision)
        if manifest.signed_at_s > self.now_s() + _CLOCK_TOLERANCE_S:
            raise BundleRefusedError(
                f"the bundle says it was made {render_time(manifest.signed_at_s)}, "
                "which is after now: no PDP would take it yet"
            )
        edition.put(bundle_role(tenant), bundle_target(tenant), archive, custom_of(manifest))

    def _refuse_old(self, state: State, tenant: str, archive: bytes, revision: int) -> None:
        path = bundle_target(tenant)
        published = state.target(path)
        if published is None:
            return
        current = _published_revision(state, path)
        if published.hashes.get("sha256") == sha256_hex(archive):
            raise BundleRefusedError(
                f"this bundle, revision {revision}, is published already; to extend its expiry "
                f"run `pdp bundle publish --renew {bundle_role(tenant)}`"
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


def find_tenant(state: State, tenant: str) -> str:
    """The tenant that is meant: the named one, or the only one.

    Raises:
        ConfigurationError: there is no such tenant, or several and none is named.
    """
    known = ", ".join(state.tenants)
    if not tenant and len(state.tenants) == 1:
        return state.tenants[0]
    if not tenant:
        raise ConfigurationError(
            f"the repository has several tenants ({known}): say which with `--tenant`"
        )
    if tenant not in state.tenants:
        raise ConfigurationError(
            f"the repository has no tenant `{tenant}` (known: {known}); "
            f"`pdp bundle add-tenant {tenant}` adds one"
        )
    return tenant


def refuse_others_callers(tenants: Sequence[str], tenant: str, callers: CallerPolicy) -> None:
    """What no PDP of these tenants would take, or what would let nobody ask.

    Args:
        tenants: of the repository.
        tenant: whose bundle it is.
        callers: its caller policy.

    Raises:
        BundleRefusedError: an entry names another tenant, or none names this one.
    """
    if len(tenants) > 1:
        refuse_other_tenants(tenant, callers)
    if not any(tenant in entry.tenants or ANY in entry.tenants for entry in callers.entries):
        raise BundleRefusedError(
            f"no entry of the caller policy is about the tenant `{tenant}`: nobody could ask; "
            f"write `tenants: [{tenant}]`"
        )


def _published_revision(state: State, path: str) -> int:
    """The manifest revision of a published target, 0 if there is none."""
    info = state.target(path)
    custom = info.custom if info is not None else {}
    revision = custom.get("revision", 0) if isinstance(custom, dict) else 0
    if type(revision) is not int or revision < 0:
        raise BundleRefusedError(f"the published `{path}` has no usable revision")
    return revision
