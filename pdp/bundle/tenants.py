"""The verified bundles of all tenants that a PDP serves, each loaded for itself.

Which tenants there are, the operator says; what is in a bundle, that tenant's
signers. So where several are served, whatever is wrong with one (its role, its
target, its archive, its age) is its own loss: it keeps what it had while that
is fresh, and the others go on as if it were not there (docs/adr/0020).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tuf.api.exceptions import DownloadError

from pdp.admission import Denials
from pdp.bundle import freshness
from pdp.bundle.anchor import Anchor
from pdp.bundle.contents import (
    check_manifest,
    compile_bundle,
    read_bundle,
    refuse_other_tenants,
    refuse_unknown_providers,
)
from pdp.bundle.denials import parse_denials
from pdp.bundle.manifest import digest_of
from pdp.bundle.memory import Memory
from pdp.bundle.settings import EMERGENCY_TARGET, BundleSettings, bundle_role, bundle_target
from pdp.bundle.trust import VerifiedSet, VerifiedTarget
from pdp.callers import CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.errors import BundleRefusedError
from pdp.http_mapping import HttpMapping
from pdp.model import BundleRef
from pdp.policy import PolicySet
from pdp.snapshot import TenantState

# Their code is written before the bundle is taken into use: a third of a second at most.
PREPARED_RULES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Tenant:
    """What the bundle of one tenant came to, of which bytes, and how long that counts."""

    sha256: str
    custom: Mapping[str, Any]
    policies: PolicySet
    callers: CallerPolicy
    signed_at_ns: int
    state: TenantState
    mapping: HttpMapping | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was made of one state of the repository; the same bytes are not compiled twice.

    Attributes:
        ref: the revision; digest of all targets in use.
        tenants: those that are served.
        policies: theirs.
        callers: theirs, together; each entry is about its own tenant.
        denials: the emergency list.
        troubles: why a tenant is not served from this state.
        versions: of the roles that were accepted.
        targets: SHA-256 of the targets that were accepted, by path.
    """

    ref: BundleRef
    tenants: Mapping[str, Tenant]
    policies: Mapping[str, PolicySet]
    callers: CallerPolicy
    denials: Denials
    troubles: Mapping[str, str]
    versions: Mapping[str, int]
    targets: Mapping[str, str]

    @property
    def fresh_until_ns(self) -> int:
        """When the last of them is stale."""
        return max(tenant.state.fresh_until_ns for tenant in self.tenants.values())

    @property
    def mappings(self) -> Mapping[str, HttpMapping]:
        """What HTTP requests ask, for the tenants whose bundle says it."""
        found = {tenant: each.mapping for tenant, each in self.tenants.items()}
        return {tenant: mapping for tenant, mapping in found.items() if mapping is not None}

    @property
    def signed_at_ns(self) -> int:
        """When the bundle was signed, if there is one tenant.

        A signature may be a minute ahead of the clock, and moves its mark by as much.
        INVARIANT: of several tenants none moves the others' clock.
        """
        only, *others = self.tenants.values()
        return 0 if others else only.signed_at_ns


@dataclass(frozen=True, slots=True)
class Load:
    """Steps 5 to 12 of `pdp.bundle.keeper`, as far as they are one tenant's own affair.

    Attributes:
        verified: the targets, and why some are not there.
        memory: what was seen before.
        before: what was loaded last.
        settings: which tenants.
        limits: of evaluation.
        anchor: where trust starts.
        now_ns: nanoseconds since the epoch.
        first_ns: when this timestamp was first verified.
    """

    verified: VerifiedSet
    memory: Memory | None
    before: Loaded | None
    settings: BundleSettings
    limits: EvaluationLimits
    anchor: Anchor
    now_ns: int
    first_ns: int

    def run(self) -> Loaded:
        """Load every tenant, each for itself.

        Raises:
            BundleRefusedError: the denials cannot be used, or no tenant's bundle can.
            Exception: what is wrong with the only tenant.
        """
        # (10) denials: everybody's
        denials = parse_denials(self.verified.targets[EMERGENCY_TARGET].data)
        several = len(self.settings.tenants) > 1
        served: dict[str, Tenant] = {}
        troubles: dict[str, str] = {}
        failure: Exception | None = None
        for tenant in self.settings.tenants:
            try:
                served[tenant] = self._verified(tenant)
            except Exception as error:
                # INVARIANT: what one tenant's signers publish is that tenant's loss alone.
                if not several:
                    raise
                failure = error
                troubles[tenant] = str(error)
                if self.before is not None and tenant in self.before.tenants:
                    served[tenant] = self._kept(tenant, self.before.tenants[tenant])
        if not served:
            self._give_up(troubles, failure)
        return self._made(served, denials, troubles)

    def _give_up(self, troubles: Mapping[str, str], failure: Exception | None) -> None:
        """Nothing can be served: refused, or not reached if none of them could be."""
        failed = self.verified.failed.values()
        unreached = [error for error in failed if isinstance(error, DownloadError)]
        if failure is not None and len(unreached) == len(self.settings.tenants):
            raise failure
        tenant, why = min(troubles.items())
        raise BundleRefusedError(f"no tenant can be served; tenant `{tenant}`: {why}")

    def _verified(self, tenant: str) -> Tenant:
        path, role = bundle_target(tenant), bundle_role(tenant)
        verified = self.verified
        if path in verified.failed:
            raise verified.failed[path]
        target = verified.targets[path]
        # (5) expired, (6) older, (7) one revision, one content
        expires = {role: verified.expires_ns[role]}
        freshness.refuse_expired(expires, self.now_ns)
        freshness.refuse_rollback({role: verified.versions[role]}, self.memory)
        freshness.refuse_changed(verified.revision, {path: target.sha256}, self.memory)
        # (12) fresh until
        until_ns = freshness.fresh_until_ns(
            {**self._shared_expiries(), **expires}, self.first_ns, self.settings.freshness_max_s
        )
        freshness.refuse_spent(until_ns, self.now_ns)
        state = TenantState(
            BundleRef(verified.revision, self._digest(path, target.sha256)), until_ns
        )
        # (8), (9), (11) contents, unless these very bytes were compiled before
        known = None if self.before is None else self.before.tenants.get(tenant)
        if known is not None and (known.sha256, known.custom) == (target.sha256, target.custom):
            return replace(known, state=state)
        return self._read(tenant, target, state)

    def _read(self, tenant: str, target: VerifiedTarget, state: TenantState) -> Tenant:
        # (8) shape and digests
        bundle = read_bundle(target.data, self.settings.limits.archive)
        check_manifest(bundle.manifest, target.custom, self.anchor)
        # (9) signed ahead
        signed_at_ns = bundle.manifest.signed_at_ns
        freshness.refuse_signed_ahead(signed_at_ns, self.now_ns)
        # (11) compile
        contents = compile_bundle(bundle, self.limits, self.anchor)
        policies, callers = contents.policies, contents.callers
        policies.prepare(PREPARED_RULES_MAX)
        if len(self.settings.tenants) > 1:
            refuse_other_tenants(tenant, callers)
        refuse_unknown_providers(tenant, policies, self.settings.providers)
        return Tenant(
            target.sha256,
            target.custom,
            policies,
            callers,
            signed_at_ns,
            state,
            contents.mapping,
        )

    def _kept(self, tenant: str, known: Tenant) -> Tenant:
        """What a tenant had, for as long as it had it; but the newest denials hold for it too."""
        digest = self._digest(bundle_target(tenant), known.sha256)
        ref = replace(known.state.ref, digest=digest)
        return replace(known, state=replace(known.state, ref=ref))

    def _digest(self, path: str, sha256: str) -> bytes:
        emergency = self.verified.targets[EMERGENCY_TARGET].sha256
        return digest_of({path: sha256, EMERGENCY_TARGET: emergency})

    def _shared_expiries(self) -> dict[str, int]:
        return shared(self.verified.expires_ns, self.settings)

    def _made(
        self, served: Mapping[str, Tenant], denials: Denials, troubles: Mapping[str, str]
    ) -> Loaded:
        verified = self.verified
        emergency = {EMERGENCY_TARGET: verified.targets[EMERGENCY_TARGET].sha256}
        in_use = {bundle_target(name): tenant.sha256 for name, tenant in served.items()}
        accepted = [name for name in served if name not in troubles]
        callers, policies = self._together(served)
        return Loaded(
            ref=BundleRef(verified.revision, digest_of(in_use | emergency)),
            tenants=served,
            policies=policies,
            callers=callers,
            denials=denials,
            troubles=troubles,
            versions=shared(verified.versions, self.settings)
            | {bundle_role(name): verified.versions[bundle_role(name)] for name in accepted},
            targets=emergency | {bundle_target(name): served[name].sha256 for name in accepted},
        )

    def _together(
        self, served: Mapping[str, Tenant]
    ) -> tuple[CallerPolicy, Mapping[str, PolicySet]]:
        """Callers and policies of all; the same objects as before where nothing changed."""
        policies = {name: tenant.policies for name, tenant in served.items()}
        before = self.before
        if before is not None and before.policies == policies:
            return before.callers, before.policies
        entries = [entry for tenant in served.values() for entry in tenant.callers.entries]
        return CallerPolicy(tuple(entries)), policies


def shared(by_role: Mapping[str, int], settings: BundleSettings) -> dict[str, int]:
    """What is said of the roles that all tenants share."""
    own = {bundle_role(tenant) for tenant in settings.tenants}
    return {role: value for role, value in by_role.items() if role not in own}
