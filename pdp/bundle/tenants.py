"""The verified bundles of all tenants that a PDP serves, each loaded for itself.

Which tenants there are, the operator says; what is in a bundle, that tenant's
signers. So a bundle that cannot be used is its own tenant's loss: the others
are served as if it were not there (docs/adr/0013).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pdp.admission import Denials
from pdp.bundle import freshness
from pdp.bundle.anchor import Anchor
from pdp.bundle.contents import (
    check_manifest,
    compile_bundle,
    read_bundle,
    refuse_other_tenants,
)
from pdp.bundle.denials import parse_denials
from pdp.bundle.settings import EMERGENCY_TARGET, BundleSettings, bundle_target
from pdp.bundle.trust import VerifiedSet, VerifiedTarget
from pdp.callers import CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.errors import BundleRefusedError
from pdp.policy import PolicySet

# Their code is written before the bundle is taken into use: a third of a second at most.
PREPARED_RULES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Tenant:
    """What the bundle of one tenant came to, and of which bytes."""

    sha256: str
    policies: PolicySet
    callers: CallerPolicy
    signed_at_ns: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was made of one state of the repository; the same bytes are not compiled twice.

    Attributes:
        digest: of all targets.
        tenants: those that are served.
        policies: theirs.
        callers: theirs, together; each entry is about its own tenant.
        denials: the emergency list.
        unserved: why each of the others is not.
    """

    digest: bytes
    tenants: Mapping[str, Tenant]
    policies: Mapping[str, PolicySet]
    callers: CallerPolicy
    denials: Denials
    unserved: Mapping[str, str]

    @property
    def signed_at_ns(self) -> int:
        """When the newest bundle was signed."""
        return max(tenant.signed_at_ns for tenant in self.tenants.values())


def load_tenants(  # noqa: PLR0917 what a load is made of
    verified: VerifiedSet,
    digest: bytes,
    before: Loaded | None,
    settings: BundleSettings,
    limits: EvaluationLimits,
    anchor: Anchor,
    now_ns: int,
) -> Loaded:
    """Steps 8 to 11 of `pdp.bundle.keeper`.

    Args:
        verified: the targets.
        digest: of all of them.
        before: what was loaded last.
        settings: which tenants.
        limits: of evaluation.
        anchor: where trust starts.
        now_ns: nanoseconds since the epoch.

    Raises:
        BundleRefusedError: the denials cannot be used, or no tenant's bundle can.
    """
    # (10) denials: everybody's
    denials = parse_denials(verified.targets[EMERGENCY_TARGET].data)
    served: dict[str, Tenant] = {}
    unserved: dict[str, str] = {}
    alone = len(settings.tenants) == 1
    for tenant in settings.tenants:
        target = verified.targets[bundle_target(tenant)]
        known = None if before is None else before.tenants.get(tenant)
        try:
            served[tenant] = _load(tenant, target, known, settings, limits, anchor, now_ns)
        except Exception as error:
            # INVARIANT: what one tenant's signers publish is that tenant's loss alone.
            if alone:
                raise
            unserved[tenant] = str(error)
    if not served:
        tenant, why = min(unserved.items())
        raise BundleRefusedError(f"no tenant can be served; tenant `{tenant}`: {why}")
    policies = {tenant: each.policies for tenant, each in served.items()}
    callers = CallerPolicy(tuple(e for each in served.values() for e in each.callers.entries))
    return Loaded(digest, served, policies, callers, denials, unserved)


def _load(  # noqa: PLR0917
    tenant: str,
    target: VerifiedTarget,
    known: Tenant | None,
    settings: BundleSettings,
    limits: EvaluationLimits,
    anchor: Anchor,
    now_ns: int,
) -> Tenant:
    # (8) shape and digests
    bundle = read_bundle(target.data, settings.limits.archive)
    check_manifest(bundle.manifest, target.custom, anchor)
    # (9) signed ahead
    signed_at_ns = bundle.manifest.signed_at_ns
    freshness.refuse_signed_ahead(signed_at_ns, now_ns)
    # (11) compile, unless these very bytes were compiled before
    if known is not None and known.sha256 == target.sha256:
        return known
    policies, callers = compile_bundle(bundle, limits, anchor)
    policies.prepare(PREPARED_RULES_MAX)
    if len(settings.tenants) > 1:
        refuse_other_tenants(tenant, callers)
    return Tenant(target.sha256, policies, callers, signed_at_ns)
