"""Who signs what: the roles of a repository, their thresholds, keys and expiries.

Defaults: references/security.md section 1.5. They can be changed in
`repository.toml` beside the keys, or by `--role` when the repository is made.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdp.bundle.settings import (
    DEFAULT_TENANT,
    EMERGENCY_ROLE,
    TENANTS_MAX,
    bundle_role,
    check_tenant,
)
from pdp.errors import ConfigurationError

PLAN_NAME = "repository.toml"
ROOT, TARGETS, SNAPSHOT, TIMESTAMP = "root", "targets", "snapshot", "timestamp"
POLICIES = bundle_role(DEFAULT_TENANT)
EMERGENCY = EMERGENCY_ROLE
# Online: stolen with the machine they are on. They may say "still current" and nothing else.
ONLINE = (SNAPSHOT, TIMESTAMP)
# What all tenants share; beside them each tenant has its own `policies/NAME`.
SHARED = (ROOT, TARGETS, EMERGENCY, SNAPSHOT, TIMESTAMP)
_OF_TENANTS = bundle_role("")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])", re.ASCII)
ROLE_OPTION = re.compile(r"([a-z0-9/-]+)=([0-9]{1,2})-of-([0-9]{1,2})(?:,([0-9a-z]+))?", re.ASCII)
_KEY_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,95}", re.ASCII)
_EXPIRES_SECONDS_MIN = 60
_KEYS_MAX = 32
# A PDP accepts at most this from its operator (`freshness_max_s`), so longer would never load.
_TIMESTAMP_SECONDS_MAX = 86_400


@dataclass(frozen=True, slots=True)
class RolePlan:
    """One role: how many of which keys, and for how long a signature counts."""

    threshold: int
    keys: tuple[str, ...]
    expires_s: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All roles, and where those private keys are that are not files beside the plan.

    Attributes:
        roles: by role name: `SHARED`, and one for each tenant.
        uris: securesystemslib key URI by key name; absent means `file2:NAME.pem`.
    """

    roles: Mapping[str, RolePlan]
    uris: Mapping[str, str]

    def __post_init__(self) -> None:
        """Judge.

        Raises:
            ConfigurationError: a role is missing, or could not be signed, or
                an online key would sign what it must not.
        """
        wrong = sorted({name for name in self.roles if tenant_of(name) is None} ^ set(SHARED))
        if wrong or not self.tenants:
            raise ConfigurationError(
                f"the plan has unknown or missing roles: {', '.join(wrong or ['policies/…'])} "
                f"(it needs exactly {', '.join(SHARED)} and one `policies/NAME` for each tenant)"
            )
        if len(self.tenants) > TENANTS_MAX:
            raise ConfigurationError(
                f"the plan has {len(self.tenants)} tenants: at most {TENANTS_MAX}"
            )
        for name, role in self.roles.items():
            _check_role(name, role)
        for online in ONLINE:
            for name, role in self.roles.items():
                shared = set(self.roles[online].keys) & set(role.keys)
                if name != online and shared:
                    raise ConfigurationError(
                        f"the key `{min(shared)}` is both in `{online}` and in `{name}`: an online "
                        "key signs one role only, so that one theft is not two"
                    )
        self._keep_tenants_apart()
        if unknown := set(self.uris) - set(self.key_names):
            raise ConfigurationError(f"`[uris]` has `{min(unknown)}`, which no role uses")

    def _keep_tenants_apart(self) -> None:
        """INVARIANT: where there are several tenants, no key of one counts anywhere else."""
        if len(self.tenants) == 1:
            return
        for tenant in map(bundle_role, self.tenants):
            for name, role in self.roles.items():
                shared = set(self.roles[tenant].keys) & set(role.keys)
                if name != tenant and shared:
                    raise ConfigurationError(
                        f"the key `{min(shared)}` is both in `{tenant}` and in `{name}`: whoever "
                        "has it would sign for both; with several tenants each has keys of its own"
                    )

    @property
    def tenants(self) -> tuple[str, ...]:
        """Their names, in the order of the file."""
        return tuple(filter(None, map(tenant_of, self.roles)))

    @property
    def delegated(self) -> tuple[str, ...]:
        """Delegated by `targets`, in this order, each for the one folder of its name."""
        return (*map(bundle_role, self.tenants), EMERGENCY)

    @property
    def order(self) -> tuple[str, ...]:
        """Every role, in the order that people think of them."""
        return (ROOT, TARGETS, *self.delegated, SNAPSHOT, TIMESTAMP)

    @property
    def key_names(self) -> tuple[str, ...]:
        """Every key, each once, in the order of the roles."""
        names = [name for role in self.order for name in self.roles[role].keys]
        return tuple(dict.fromkeys(names))

    def changed(self, roles: Mapping[str, RolePlan]) -> Plan:
        """With these roles, and without the places of keys that none of them uses.

        Raises:
            ConfigurationError: as when it is made.
        """
        used = {name for role in roles.values() for name in role.keys}
        return Plan(roles, {name: uri for name, uri in self.uris.items() if name in used})


def tenant_of(role: str) -> str | None:
    """The tenant whose role this is; None: it is everybody's, or none at all."""
    tenant = role.removeprefix(_OF_TENANTS)
    try:
        return check_tenant(tenant) if role.startswith(_OF_TENANTS) else None
    except ConfigurationError:
        return None


def _check_role(name: str, role: RolePlan) -> None:
    if len(set(role.keys)) != len(role.keys):
        raise ConfigurationError(f"the role `{name}` lists a key twice")
    if not 1 <= role.threshold <= len(role.keys) <= _KEYS_MAX:
        raise ConfigurationError(
            f"the role `{name}` needs {role.threshold} of {len(role.keys)} keys: "
            f"the threshold must be from 1 to the number of keys, at most {_KEYS_MAX}"
        )
    for key in role.keys:
        if _KEY_NAME.fullmatch(key) is None:
            raise ConfigurationError(
                f"the key name {key[:80]!a} of the role `{name}` is not allowed: "
                "use a-z, 0-9, `_` and `-`"
            )
    if role.expires_s < _EXPIRES_SECONDS_MIN:
        raise ConfigurationError(f"the role `{name}` expires in less than {_EXPIRES_SECONDS_MIN} s")
    if name == TIMESTAMP and role.expires_s > _TIMESTAMP_SECONDS_MAX:
        raise ConfigurationError(
            "the role `timestamp` lives longer than a day: no PDP would accept it"
        )


def numbered(role: str, count: int) -> tuple[str, ...]:
    """Names for so many keys of a role."""
    stem = role.replace("/", "-")
    return tuple(f"{stem}-{i}" for i in range(1, count + 1))


def _role(name: str, threshold: int, count: int, expires: str) -> RolePlan:
    return RolePlan(threshold, numbered(name, count), parse_duration(expires))


def default_plan(tenant: str = DEFAULT_TENANT) -> Plan:
    """The table of references/security.md section 1.5, for one tenant.

    Raises:
        ConfigurationError: its name is not allowed.
    """
    policies = bundle_role(check_tenant(tenant))
    return Plan(
        {
            ROOT: _role(ROOT, 3, 5, "365d"),
            TARGETS: _role(TARGETS, 2, 3, "90d"),
            policies: _role(policies, 2, 3, "30d"),
            EMERGENCY: _role(EMERGENCY, 1, 3, "30d"),
            SNAPSHOT: _role(SNAPSHOT, 1, 1, "30d"),
            TIMESTAMP: _role(TIMESTAMP, 1, 1, "1h"),
        },
        {},
    )


def small_plan(tenant: str = DEFAULT_TENANT) -> Plan:
    """One key a role: for a trial or a team of one. Expiries as by default."""
    roles = default_plan(tenant).roles
    return Plan(
        {name: RolePlan(1, role.keys[:1], role.expires_s) for name, role in roles.items()}, {}
    )


def with_role_options(plan: Plan, options: list[str]) -> Plan:
    """The plan changed by options such as `root=1-of-1` or `targets=2-of-4,60d`.

    Raises:
        ConfigurationError: an option is not of this form.
    """
    roles = dict(plan.roles)
    for option in options:
        match = ROLE_OPTION.fullmatch(option)
        if match is None or match[1] not in roles:
            raise ConfigurationError(
                f"`--role {option}` is not understood: write `ROLE=THRESHOLD-of-KEYS` or "
                f"`ROLE=THRESHOLD-of-KEYS,EXPIRY` (`root=1-of-1`, `targets=2-of-4,60d`) "
                f"with a role of {', '.join(plan.order)}"
            )
        name = match[1]
        expires_s = parse_duration(match[4]) if match[4] else roles[name].expires_s
        roles[name] = RolePlan(int(match[2]), numbered(name, int(match[3])), expires_s)
    return Plan(roles, plan.uris)


def parse_duration(text: str) -> int:
    """`90d`, `1h`, `30m` or `90s` in seconds.

    Raises:
        ConfigurationError: anything else.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"`{text}` is not a duration: write it like `90d`, `1h` or `30m`")
    return int(match[1]) * _UNITS[match[2]]


def _render_duration(seconds: int) -> str:
    unit = next(u for u in ("d", "h", "m", "s") if seconds % _UNITS[u] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def load_plan(folder: Path) -> Plan:
    """Read `repository.toml` from the folder of keys.

    Raises:
        ConfigurationError: it is absent or wrong.
    """
    path = folder / PLAN_NAME
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no `{path}`: `pdp bundle init` makes it; `--keys` names the folder it is in"
        ) from None
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"`{path}` cannot be read: {error}") from None
    try:
        return _plan_of(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"`{path}`: {error}") from None


def _plan_of(value: dict[str, Any]) -> Plan:
    if unknown := set(value) - {"roles", "uris"}:
        raise ConfigurationError(f"unknown key `{min(unknown)}` (known: `roles`, `uris`)")
    roles, uris = value.get("roles", {}), value.get("uris", {})
    if type(roles) is not dict or type(uris) is not dict:
        raise ConfigurationError("`roles` and `uris` must be tables")
    for name, uri in uris.items():
        if type(uri) is not str or ":" not in uri:
            raise ConfigurationError(f"`uris.{name}` is not a key URI such as `awskms:...`")
    return Plan({name: _role_of(name, role) for name, role in roles.items()}, uris)


def _role_of(name: str, value: Any) -> RolePlan:
    if type(value) is not dict or set(value) != {"threshold", "keys", "expires"}:
        raise ConfigurationError(f"`roles.{name}` must have exactly `threshold`, `keys`, `expires`")
    threshold, keys, expires = value["threshold"], value["keys"], value["expires"]
    if type(threshold) is not int or type(expires) is not str:
        raise ConfigurationError(
            f'`roles.{name}` needs a number as `threshold` and a text such as "90d" as `expires`'
        )
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise ConfigurationError(f"`roles.{name}.keys` must be a list of names")
    return RolePlan(threshold, tuple(keys), parse_duration(expires))


def render_plan(plan: Plan) -> str:
    """The text of a `repository.toml`."""
    lines = [
        "# Who signs what. Written by `pdp bundle`. After a change of keys, thresholds or",
        "# expiries run `pdp bundle publish --renew root` (or `--renew targets` for the roles",
        "# with a `/` and `emergency`). Public keys are beside this file, `NAME.pub`.",
        "",
    ]
    for name in plan.order:
        role = plan.roles[name]
        shown = json.dumps(name) if "/" in name else name
        lines += [
            f"[roles.{shown}]",
            f"threshold = {role.threshold}",
            f"keys = {json.dumps(list(role.keys))}",
            f"expires = {json.dumps(_render_duration(role.expires_s))}",
            "",
        ]
    lines += [
        "# Private keys that are not in a file `NAME.pem` beside this one, as securesystemslib",
        "# key URIs; their public keys (PEM) must be here as `NAME.pub` before `pdp bundle init`:",
        '#   root-1 = "hsm:2?label=root-1"        timestamp-1 = "awskms:alias/pdp-timestamp"',
        "[uris]",
    ]
    lines += [f"{name} = {json.dumps(uri)}" for name, uri in plan.uris.items()]
    return "\n".join(lines) + "\n"
