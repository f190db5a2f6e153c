"""`pdp bundle verify` and `pdp bundle show`: the commands that sign nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pdp.publishing.inspection import TenantFacts

DEFAULT_REPOSITORY = Path("repository")
DEFAULT_KEYS = Path("keys")
Tenant = Annotated[
    str,
    typer.Option(
        "--tenant", "-t", metavar="NAME", help="Whose; needed where the repository has several."
    ),
]


def verify(
    source: Annotated[
        str, typer.Argument(help="Repository directory, its URL, or an archive file.")
    ] = str(DEFAULT_REPOSITORY),
    root: Annotated[Path, typer.Option(help="The trusted root.")] = DEFAULT_KEYS / "root.json",
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Also compile the sources again and compare.")
    ] = False,
    revision_floor: Annotated[int, typer.Option(min=1, help="The lowest acceptable revision.")] = 1,
    tenant: Annotated[
        str,
        typer.Option(
            "--tenant",
            "-t",
            metavar="NAME",
            help="Whose bundle; else the only one's, or default's.",
        ),
    ] = "",
) -> None:
    """Say what a PDP that starts now, with this root, would say to a repository.

    Reads the repository as a PDP does and keeps nothing. Exit code 0 if a PDP
    would load it, 1 if it would refuse it or could not reach it. An archive
    file is checked for its form and contents only: it carries no signatures.

    Example: pdp bundle verify https://policies.example.org --root root.json

    Example: pdp bundle verify bundle.tar --rebuild
    """
    from pdp.archive import ArchiveLimits
    from pdp.bundle.contents import check_manifest, compile_bundle, read_bundle
    from pdp.bundle.manifest import render_time
    from pdp.cel.limits import EvaluationLimits
    from pdp.cli.terminal import out

    if Path(source).is_file():
        archive = read_limited(Path(source), ArchiveLimits().archive_bytes_max)
        out.print("this is an archive: its form and contents are checked, it has no signatures")
    else:
        tenant = tenant or _only_tenant(Path(source), root)
        archive, detail = _verified_archive(source, root, revision_floor, tenant)
        out.print(f"a PDP would load this: {detail}", markup=False)
    read = read_bundle(archive, ArchiveLimits())
    check_manifest(read.manifest, {})
    compile_bundle(read, EvaluationLimits())
    out.print(
        f"bundle revision {read.manifest.revision}, made {render_time(read.manifest.signed_at_s)}, "
        f"{len(read.compiled)} documents, commit {read.manifest.source_commit or 'unknown'}",
        markup=False,
    )
    if rebuild:
        from pdp.publishing import building

        building.rebuild(archive)
        out.print("rebuilt from its sources: every byte is the same")


def show(
    repository: Annotated[Path, typer.Argument(help="Repository directory.")] = DEFAULT_REPOSITORY,
    root: Annotated[
        Path | None,
        typer.Option(help="The trusted root; without it, the repository's own first one."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    tenant: Annotated[
        str, typer.Option("--tenant", "-t", metavar="NAME", help="Only what concerns this one.")
    ] = "",
) -> None:
    """Show roles, keys, thresholds, expiries, targets, revision and freshness.

    Example: pdp bundle show repository --json

    Example: pdp bundle show repository --tenant acme
    """
    import dataclasses
    import json

    from pdp.cli.terminal import out
    from pdp.publishing.inspection import inspect_state, of_tenant
    from pdp.publishing.plan import ROOT
    from pdp.publishing.releasing import find_tenant
    from pdp.publishing.repository import RepositoryFolder

    folder = RepositoryFolder(repository)
    trusted = root or folder.metadata_path(ROOT, 1)
    if root is None and not folder.exists:
        folder.read(b"")
    state = folder.read(read_limited(trusted, 1 << 20))
    facts = inspect_state(state, int(time.time()))
    if tenant:
        facts = of_tenant(facts, find_tenant(state, tenant))
    if as_json:
        out.print(json.dumps(dataclasses.asdict(facts), indent=2), markup=False)
        return
    out.print(f"revision {facts.revision}, digest {facts.digest}")
    out.print(
        f"fresh for {_span(facts.fresh_for_s)}, until `{facts.first_to_expire}` expires"
        if facts.fresh_for_s > 0
        else f"STALE for {_span(-facts.fresh_for_s)}: `{facts.first_to_expire}` expired"
    )
    if len(facts.tenants) > 1 or tenant:
        _show_tenants(facts.tenants)
    if root is None:
        out.print("judged by the repository's own first root: give --root to judge by yours")
    out.print("\nrole              version  signed   keys      expires")
    for role in facts.roles:
        left = _span(role.expires_in_s) if role.expires_in_s > 0 else "EXPIRED"
        need = f"{role.threshold} of {len(role.keys)}"
        out.print(
            f"{role.name:<17} {role.version:>7}  {role.signatures:>6}   {need:<8}  "
            f"{role.expires} ({left})"
        )
    out.print("")
    for target in facts.targets:
        out.print(f"{target.path}  {target.length} bytes  sha256 {target.sha256}", markup=False)
        for key, value in sorted(target.custom.items()):
            out.print(f"    {key}: {value}", markup=False)
    if not any(each.published for each in facts.tenants):
        out.print("no bundle is published yet: pdp bundle build, then pdp bundle publish")


def _show_tenants(tenants: Sequence[TenantFacts]) -> None:
    from pdp.cli.terminal import out

    for each in tenants:
        fresh = f"fresh for {_span(each.fresh_for_s)}, until `{each.first_to_expire}` expires"
        if each.fresh_for_s <= 0:
            fresh = f"STALE for {_span(-each.fresh_for_s)}: `{each.first_to_expire}` expired"
        if not each.published:
            fresh = f"no bundle yet: pdp bundle publish bundle.tar --tenant {each.name}"
        out.print(f"tenant `{each.name}`: {fresh}, digest {each.digest}", markup=False)


def _only_tenant(repository: Path, root: Path) -> str:
    """The tenant of a repository that has one.

    Raises:
        ConfigurationError: it has several.
    """
    from pdp.bundle.settings import DEFAULT_TENANT
    from pdp.errors import BundleRefusedError
    from pdp.publishing.releasing import find_tenant
    from pdp.publishing.repository import RepositoryFolder

    folder = RepositoryFolder(repository)
    try:
        state = folder.read(read_limited(root, 1 << 20)) if folder.exists else None
    except (BundleRefusedError, OSError):
        # What is wrong with it, the PDP says.
        return DEFAULT_TENANT
    return DEFAULT_TENANT if state is None else find_tenant(state, "")


def _verified_archive(
    source: str, root: Path, revision_floor: int, tenant: str
) -> tuple[bytes, str]:
    """What a PDP would have loaded, after it said that it would."""
    import tempfile

    from pdp.bundle import BundleKeeper, BundleSettings
    from pdp.bundle.settings import bundle_target
    from pdp.cel.limits import EvaluationLimits
    from pdp.errors import BundleUnreachableError

    with tempfile.TemporaryDirectory(prefix="pdp-verify-") as folder:
        # Which providers a PDP is configured for, nobody knows here.
        settings = BundleSettings(
            source, root, Path(folder) / "state", revision_floor, tenants=(tenant,), providers=None
        )
        keeper = BundleKeeper(settings, EvaluationLimits(), time.time_ns)
        try:
            result = keeper.start()
        finally:
            keeper.close()
        if not result.verified:
            raise BundleUnreachableError(result.detail)
        return keeper.targets()[bundle_target(tenant)], result.detail


def read_limited(path: Path, bytes_max: int) -> bytes:
    """A file of at most so many bytes.

    Raises:
        ConfigurationError: it is larger.
        OSError: it cannot be read.
    """
    from pdp.errors import ConfigurationError

    with path.open("rb") as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise ConfigurationError(
            f"`{path}` is larger than {bytes_max} bytes: is it the right file?"
        )
    return data


def _span(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes = rest // 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest % 60} s"
