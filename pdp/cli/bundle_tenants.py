"""`pdp bundle add-tenant`, `remove-tenant`, `rotate`; what other commands ask about tenants."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdp.cli.bundle_reading import DEFAULT_KEYS, DEFAULT_REPOSITORY, Tenant

if TYPE_CHECKING:
    from pdp.publishing.releasing import Publisher
    from pdp.publishing.repository import State

Repository = Annotated[
    Path, typer.Option("--repository", "-r", help="Directory that PDPs read, or that is served.")
]
Keys = Annotated[
    Path,
    typer.Option("--keys", "-k", help="Folder with repository.toml, root.json and the keys."),
]
Named = Annotated[str, typer.Argument(metavar="NAME", help="The tenant: a-z, 0-9 and `-`.")]


def add_tenant(
    tenant: Named,
    repository: Repository = DEFAULT_REPOSITORY,
    keys: Keys = DEFAULT_KEYS,
    policies: Annotated[
        Path | None,
        typer.Option(help="Folder of its policies; without it, one of the tenant's name."),
    ] = None,
    caller: Annotated[
        str, typer.Option(help="SPIFFE ID of the first workload that may ask about it.")
    ] = "",
    signed_by: Annotated[
        str,
        typer.Option(
            metavar="T-of-N[,EXPIRY]",
            help="Threshold, number of keys and life: `2-of-3,30d`; without it, as the first "
            "tenant's.",
        ),
    ] = "",
) -> None:
    """Let another tenant publish in this repository, with keys of its own.

    Needs the keys of `targets`, which say whose keys count for what; touches
    no other tenant. PDPs serve it once their `bundle.tenants` names it.

    Example: pdp bundle add-tenant acme --caller spiffe://example.org/acme/web
    """
    from pdp.cli.terminal import out
    from pdp.publishing.starter import has_callers, write_starter

    folder = policies or Path(tenant)
    first = checked_caller(caller) if caller and not has_callers(folder) else ""
    state, made = publisher_of(repository, keys).add_tenant(tenant, signed_by)
    out.print(f"added the tenant `{tenant}`, and {len(made)} keys in `{keys}`", markup=False)
    if first:
        out.print(f"wrote `{write_starter(folder, first, tenant)}`: who may ask", markup=False)
    _say_several(state)
    out.print(
        f"""
next:
  1. write its policies into `{folder}`, then:
     pdp bundle build {folder} --tenant {tenant} -o {tenant}.tar -r {repository} -k {keys}
  2. pdp bundle publish {tenant}.tar --tenant {tenant} -r {repository} -k {keys}
  3. name it in `bundle.tenants` of the PDPs that are to serve it""",
        markup=False,
    )
    say_expired(state)


def remove_tenant(
    tenant: Named, repository: Repository = DEFAULT_REPOSITORY, keys: Keys = DEFAULT_KEYS
) -> None:
    """Let a tenant publish no longer; its policies end with their freshness.

    Needs the keys of `targets`; touches no other tenant. A PDP that still
    names it in `bundle.tenants` answers STALE for it within the hour, and
    goes on with the others.

    Example: pdp bundle remove-tenant acme
    """
    from pdp.cli.terminal import out

    state = publisher_of(repository, keys).remove_tenant(tenant)
    out.print(
        f"removed the tenant `{tenant}`: take it out of `bundle.tenants`, and destroy its keys "
        f"`{keys}/policies-{tenant}-*.pem`; left: {', '.join(state.tenants)}",
        markup=False,
    )
    say_expired(state)


def rotate(
    tenant: Tenant = "", repository: Repository = DEFAULT_REPOSITORY, keys: Keys = DEFAULT_KEYS
) -> None:
    """Put new keys in place of all of a tenant's, and sign its role with them.

    Needs the keys of `targets`, and none of the tenant's old ones; no other
    tenant's metadata changes. The new keys are files. For keys that are not,
    and for other roles, see docs/bundle.md.

    Example: pdp bundle rotate --tenant acme
    """
    from pdp.cli.terminal import out

    state, made = publisher_of(repository, keys).rotate(tenant)
    out.print(
        f"published revision {state.revision} with new keys: {', '.join(made)}; "
        "destroy the old ones",
        markup=False,
    )
    say_expired(state)


def check_folder(policies: Path) -> None:
    """Judge the folder of policies before anything else is asked for.

    Raises:
        ConfigurationError: it is not there, or is no folder.
    """
    from pdp.errors import ConfigurationError

    if not policies.exists():
        raise ConfigurationError(f"`{policies}` is not a folder: there is none")
    if not policies.is_dir():
        raise ConfigurationError(f"`{policies}` is not a folder")


def check_callers(archive: bytes, repository: Path, keys: Path, tenant: str) -> None:
    """Say at build what publishing, or every PDP, would refuse later.

    Raises:
        BundleRefusedError: the caller policy is not about this tenant alone.
    """
    from pdp.archive import ArchiveLimits
    from pdp.bundle.contents import read_bundle
    from pdp.publishing.building import callers_of
    from pdp.publishing.releasing import find_tenant, refuse_others_callers

    publisher = publisher_of(repository, keys)
    if not publisher.folder.exists or not publisher.trusted_root_path.exists():
        return
    state = publisher.read()
    callers = callers_of(read_bundle(archive, ArchiveLimits()))
    refuse_others_callers(state.tenants, find_tenant(state, tenant), callers)


def say_expired(state: State) -> None:
    """Warn of tenants whose role has expired: nothing of theirs is fresh, and the others go on."""
    from pdp.cli.terminal import err
    from pdp.publishing.plan import tenant_of

    now = datetime.fromtimestamp(time.time(), UTC)
    for role, metadata in state.delegated.items():
        if tenant_of(role) and metadata.signed.is_expired(now):
            err.print(
                f"warning: `{role}` has expired, its tenant is denied: "
                f"pdp bundle publish --renew {role}",
                markup=False,
            )


def _say_several(state: State) -> None:
    from pdp.cli.terminal import err

    if len(state.tenants) == 2:  # noqa: PLR2004 one became two
        first = state.tenants[0]
        err.print(
            f"from now on each entry of a caller policy must name its tenant alone: in that of "
            f"`{first}` write `tenants: [{first}]`, and publish it, before a PDP serves both",
            markup=False,
        )


def checked_caller(caller: str) -> str:
    """What was given with `--caller`.

    Raises:
        ConfigurationError: it is no SPIFFE ID.
    """
    from pdp.callers import check_caller_id
    from pdp.errors import ConfigurationError, PolicyError

    try:
        return check_caller_id(caller)
    except PolicyError as error:
        raise ConfigurationError(f"`--caller {caller}`: {error}") from None


def publisher_of(repository: Path, keys: Path) -> Publisher:
    """Of these folders, by this machine's clock."""
    from pdp.publishing.releasing import Publisher

    return Publisher(repository, keys, time.time_ns)
