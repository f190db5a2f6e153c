"""Tenants that come and go, and their keys: one plan from another."""

from __future__ import annotations

import itertools
from collections.abc import Collection

from pdp.bundle.settings import bundle_role, check_tenant
from pdp.errors import ConfigurationError
from pdp.publishing.plan import ROLE_OPTION, Plan, RolePlan, numbered, with_role_options


def with_tenant(plan: Plan, tenant: str, option: str = "") -> Plan:
    """The plan with another tenant.

    Args:
        plan: as it is.
        tenant: its name.
        option: `2-of-3` or `2-of-3,30d`; empty: as the first tenant's.

    Raises:
        ConfigurationError: it is there already, or something has not this form.
    """
    role = bundle_role(check_tenant(tenant))
    if role in plan.roles:
        raise ConfigurationError(f"there is a tenant `{tenant}` already ({_named(plan)})")
    first = plan.roles[bundle_role(plan.tenants[0])]
    copied = RolePlan(first.threshold, numbered(role, len(first.keys)), first.expires_s)
    roles = {**plan.roles, role: copied}
    if not option:
        return plan.changed(roles)
    match = ROLE_OPTION.fullmatch(f"{role}={option}")
    if match is None:
        raise ConfigurationError(
            f"`--signed-by {option}` is not understood: write `THRESHOLD-of-KEYS` or "
            "`THRESHOLD-of-KEYS,EXPIRY` (`2-of-3`, `2-of-3,30d`)"
        )
    return with_role_options(plan.changed(roles), [f"{role}={option}"])


def without_tenant(plan: Plan, tenant: str) -> Plan:
    """The plan without a tenant.

    Raises:
        ConfigurationError: there is no such tenant, or no other.
    """
    role = known_tenant(plan, tenant)
    if len(plan.tenants) == 1:
        raise ConfigurationError(f"`{tenant}` is the only tenant: a repository has at least one")
    return plan.changed({name: each for name, each in plan.roles.items() if name != role})


def with_new_keys(plan: Plan, tenant: str, taken: Collection[str]) -> Plan:
    """The plan with other names in place of all keys of a tenant.

    Args:
        plan: as it is.
        tenant: whose keys.
        taken: names of keys that were used before.

    Raises:
        ConfigurationError: there is no such tenant, or its keys are no files.
    """
    role = known_tenant(plan, tenant)
    old = plan.roles[role]
    for name in old.keys:
        if name in plan.uris:
            raise ConfigurationError(
                f"the key `{name}` is at `{plan.uris[name]}`: make the new one there, write its "
                f"name into `roles.{role}`, then run `pdp bundle publish --renew targets`"
            )
    unused = (name for i in itertools.count(1) if (name := numbered(role, i)[-1]) not in taken)
    keys = tuple(itertools.islice(unused, len(old.keys)))
    return plan.changed({**plan.roles, role: RolePlan(old.threshold, keys, old.expires_s)})


def known_tenant(plan: Plan, tenant: str) -> str:
    """The role of a tenant.

    Raises:
        ConfigurationError: there is no such tenant; with those that there are.
    """
    if tenant not in plan.tenants:
        raise ConfigurationError(f"there is no tenant `{tenant}` ({_named(plan)})")
    return bundle_role(tenant)


def _named(plan: Plan) -> str:
    return f"known: {', '.join(plan.tenants)}"
