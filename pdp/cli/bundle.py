"""`pdp bundle`: make, build, sign, publish, check and look at policy bundles."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdp.cli.bundle_reading import (
    DEFAULT_KEYS,
    DEFAULT_REPOSITORY,
    Tenant,
    read_limited,
    show,
    verify,
)
from pdp.cli.bundle_tenants import (
    Keys,
    Repository,
    add_tenant,
    check_callers,
    check_folder,
    checked_caller,
    publisher_of,
    remove_tenant,
    rotate,
    say_expired,
)

if TYPE_CHECKING:
    from pdp.authoring.compilation import Compilation
    from pdp.publishing.repository import State

HELP = """Make, build, sign, publish and check policy bundles.

A bundle is an archive of policies. It is published in a TUF repository:
a directory of signed files that any web server can serve. PDPs start from
`root.json`, verify everything, and deny once the repository's heartbeat
is more than an hour old.

\b
1. pdp bundle init --caller spiffe://example.org/web
2. pdp bundle build policies
3. pdp bundle publish bundle.tar
4. pdp bundle freshen --every 600
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    bundle = typer.Typer(help=HELP, no_args_is_help=True)
    for command in (init, build, publish, freshen, verify, show):
        bundle.command(no_args_is_help=False)(command)
    bundle.command("add-tenant", no_args_is_help=True)(add_tenant)
    bundle.command("remove-tenant", no_args_is_help=True)(remove_tenant)
    bundle.command(no_args_is_help=False)(rotate)
    app.add_typer(bundle, name="bundle")


def init(
    repository: Repository = DEFAULT_REPOSITORY,
    keys: Keys = DEFAULT_KEYS,
    *,
    policies: Annotated[
        Path, typer.Option(help="Folder of policies; gets a callers.yaml if it has none.")
    ] = Path("policies"),
    caller: Annotated[
        str, typer.Option(help="SPIFFE ID of the first workload that may ask the PDP.")
    ] = "",
    role: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=T-of-N[,EXPIRY]",
            help="Threshold, number of keys and life of a role: `root=1-of-1`, "
            "`targets=2-of-4,60d`. Repeat it for several roles.",
        ),
    ] = None,
    small_team: Annotated[
        bool,
        typer.Option("--small-team", help="One key for each role, instead of 3 of 5 and so on."),
    ] = False,
    tenant: Annotated[
        str,
        typer.Option(
            "--tenant", "-t", metavar="NAME", help="The first tenant; others: `add-tenant`."
        ),
    ] = "default",
) -> None:
    """Make a repository: keys, roles, an empty list of denials, no bundle yet.

    Roles without options: root 3-of-5 for 365d, targets 2-of-3 for 90d,
    policies/default 2-of-3 for 30d, emergency 1-of-3 for 30d,
    snapshot 1-of-1 for 30d, timestamp 1-of-1 for 1h.

    Keys are files in a folder of their own. For keys in an HSM, a KMS or
    Vault write repository.toml and the public keys into that folder first:
    see docs/bundle.md.

    Example: pdp bundle init --caller spiffe://example.org/web --small-team
    """
    from pdp.cli.terminal import out
    from pdp.publishing.plan import default_plan, small_plan, with_role_options
    from pdp.publishing.starter import has_callers, write_starter

    first = small_plan(tenant) if small_team else default_plan(tenant)
    plan = with_role_options(first, role or [])
    first_caller = None if has_callers(policies) else _first_caller(caller, policies)
    publisher = publisher_of(repository, keys)
    _, made = publisher.initialise(plan)
    out.print(f"made the repository `{repository}` and {len(made)} keys in `{keys}`")
    if first_caller is not None:
        out.print(f"wrote `{write_starter(policies, first_caller, tenant)}`: who may ask the PDP")
    elif caller:
        out.print(f"`{policies}` has a caller policy already: `--caller` was not needed")
    out.print(f"""
next:
  1. write a policy into `{policies}`, then: pdp bundle build {policies} -r {repository} -k {keys}
  2. pdp bundle publish bundle.tar -r {repository} -k {keys}
  3. keep running: pdp bundle freshen --every 600 -r {repository} -k {keys}
  4. give `{publisher.trusted_root_path}` to every PDP: it is where their trust starts
  5. move the private keys of root and targets (`{keys}/root-*.pem`, `targets-*.pem`) offline;
     keep the `.pub` files""")


def build(
    policies: Annotated[Path, typer.Argument(help="Folder of policies.")] = Path("policies"),
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The archive.")] = Path(
        "bundle.tar"
    ),
    repository: Repository = DEFAULT_REPOSITORY,
    keys: Keys = DEFAULT_KEYS,
    revision: Annotated[
        int, typer.Option(min=0, help="Of the bundle; without it, one above the published one.")
    ] = 0,
    source_commit: Annotated[
        str, typer.Option(help="Where the policies come from; without it, asked of Git.")
    ] = "",
    signed_at: Annotated[
        str,
        typer.Option(
            help="Time in the manifest, `2026-11-23T15:44:00Z`; without it, SOURCE_DATE_EPOCH or "
            "now. Equal inputs and times make equal archives."
        ),
    ] = "",
    tenant: Tenant = "",
) -> None:
    """Compile policies into an archive. Signs nothing, needs no keys.

    If the folder has tests, each condition that they look at is evaluated by
    cel-python, too: where two truth values differ, nothing is written.

    Example: pdp bundle build policies -o bundle.tar

    Example: pdp bundle build acme --tenant acme -o acme.tar
    """
    from pdp.authoring.compilation import compile_directory
    from pdp.bundle.memory import write_durably
    from pdp.cli import EXIT_REFUSED
    from pdp.cli.terminal import err, out
    from pdp.publishing.building import PolicyProblemsError, Release, commit_of
    from pdp.publishing.building import build as build_archive

    check_folder(policies)
    release = Release(
        revision=revision or _next_revision(repository, keys, tenant),
        signed_at_s=_build_time_s(signed_at),
        source_commit=source_commit or commit_of(policies),
    )
    try:
        compilation = compile_directory(policies)
        archive = build_archive(compilation, release)
        check_callers(archive, repository, keys, tenant)
        _second_opinion(policies, compilation)
    except PolicyProblemsError as error:
        for problem in error.problems:
            err.print(str(problem), markup=False)
        err.print(f"{error}: nothing was written", markup=False)
        raise typer.Exit(EXIT_REFUSED) from None
    write_durably(output, archive, 0o644)
    out.print(f"wrote `{output}`: revision {release.revision}, {len(archive)} bytes", markup=False)


def _second_opinion(policies: Path, compilation: Compilation) -> None:
    """Refuse to build what two evaluators evaluate differently; say what was asked.

    Raises:
        PolicyProblemsError: they differ, or the tests have problems.
    """
    from pdp.authoring.http_translation import translated
    from pdp.authoring.policy_tests import read_tests
    from pdp.authoring.sources import read_folder
    from pdp.cli import opinion
    from pdp.cli.problems import counted
    from pdp.cli.terminal import err, out
    from pdp.publishing.building import PolicyProblemsError

    tests = translated(read_tests(read_folder(policies).tests), compilation.mapping)
    if tests.problems:
        raise PolicyProblemsError(tests.problems)
    if not tests.rows:
        err.print(f"`{policies}` has no tests: no second opinion on its conditions", markup=False)
        return
    found = opinion.run(compilation, tests.rows)
    if found.differences:
        raise PolicyProblemsError(opinion.as_problems(found))
    without = found.cannot.total() + found.known.total()
    agreed = counted(found.agreed, "evaluation")
    out.print(f"second opinion: cel-python agrees on {agreed}, and has none on {without}")


def publish(
    bundle: Annotated[
        Path | None, typer.Argument(help="Archive that `pdp bundle build` wrote.")
    ] = None,
    emergency: Annotated[
        Path | None,
        typer.Option(help="New denials.json, replacing the old one: see docs/bundle.md."),
    ] = None,
    renew: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE",
            help="Sign a role anew, with the keys and expiry of repository.toml. Can be repeated.",
        ),
    ] = None,
    repository: Repository = DEFAULT_REPOSITORY,
    keys: Keys = DEFAULT_KEYS,
    tenant: Tenant = "",
) -> None:
    """Sign and make current: a bundle, urgent denials, or roles about to expire.

    The bundle is rebuilt from its own sources first, and every byte compared:
    nobody signs a compiled policy that is not its source's. Readers see the
    old state or the new one, never a mixture.

    Example: pdp bundle publish bundle.tar

    Example: pdp bundle publish acme.tar --tenant acme

    Example: pdp bundle publish --emergency denials.json

    Example: pdp bundle publish --renew targets
    """
    from pdp.archive import ArchiveLimits
    from pdp.bundle.denials import DENIALS_BYTES_MAX

    state = publisher_of(repository, keys).publish(
        archive=read_limited(bundle, ArchiveLimits().archive_bytes_max) if bundle else None,
        denials=read_limited(emergency, DENIALS_BYTES_MAX) if emergency else None,
        renew=renew or [],
        tenant=tenant,
    )
    _say_published("published", state)


def freshen(
    repository: Repository = DEFAULT_REPOSITORY,
    keys: Keys = DEFAULT_KEYS,
    every: Annotated[
        int, typer.Option(min=0, help="Again and again, after this many seconds; 0 means once.")
    ] = 0,
) -> None:
    """Sign the timestamp anew: the heartbeat that tells PDPs what still holds.

    It lives an hour; sign it every ten minutes, and a signer may be out for
    fifty before PDPs deny. Needs the timestamp key only. Stops cleanly on
    SIGTERM and Ctrl-C.

    Example: pdp bundle freshen --every 600
    """
    from pdp.cli.terminal import err
    from pdp.errors import ConfigurationError, PdpError
    from pdp.publishing.plan import TIMESTAMP, load_plan

    publisher = publisher_of(repository, keys)
    life_s = load_plan(keys).roles[TIMESTAMP].expires_s
    if every >= life_s:
        raise ConfigurationError(
            f"`--every {every}` is not below the timestamp's life of {life_s} s: PDPs would deny "
            "in between"
        )
    # The first failure is the user's to see; later ones must not end the heartbeat.
    _say_published("freshened", publisher.freshen())
    if not every:
        return
    with _until_told_to_stop() as stopped:
        wait_s = every
        while not stopped.wait(wait_s):
            wait_s = every
            try:
                _say_published("freshened", publisher.freshen())
            except (PdpError, OSError) as error:
                wait_s = min(every, 30)
                err.print(f"not freshened, next try in {wait_s} s: {error}", markup=False)


def _next_revision(repository: Path, keys: Path, tenant: str) -> int:
    from pdp.errors import ConfigurationError

    try:
        return publisher_of(repository, keys).next_revision(tenant)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"the next revision is not known: {error}; or say it with `--revision`"
        ) from None


def _build_time_s(signed_at: str) -> int:
    """The option, else what reproducible-builds.org defines, else now."""
    from pdp.bundle.manifest import parse_time, render_time
    from pdp.bundle.strict_json import StrictJsonError
    from pdp.errors import BundleRefusedError, ConfigurationError

    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    try:
        if signed_at:
            return parse_time(signed_at)
        return parse_time(render_time(int(epoch))) if epoch else int(time.time())
    except StrictJsonError as error:
        raise ConfigurationError(f"`--signed-at` {error}") from None
    except (ValueError, BundleRefusedError):
        raise ConfigurationError(
            f"SOURCE_DATE_EPOCH is `{epoch}`: it must be seconds since 1970"
        ) from None


def _say_published(what: str, state: State) -> None:
    from pdp.cli.terminal import out

    expires = state.timestamp.signed.expires
    out.print(
        f"{what} revision {state.revision}: timestamp {state.timestamp.signed.version}, "
        f"good until {expires:%Y-%m-%dT%H:%M:%SZ}"
    )
    say_expired(state)
    sys.stdout.flush()


def _first_caller(caller: str, policies: Path) -> str:
    from pdp.errors import ConfigurationError

    if not caller and sys.stdin.isatty():
        caller = typer.prompt(
            "SPIFFE ID of the first workload that may ask (spiffe://example.org/web)"
        )
    if not caller:
        raise ConfigurationError(
            f"`{policies}` has no caller policy, and without one nobody may ask the PDP: "
            "give the first caller with `--caller spiffe://example.org/web`"
        )
    return checked_caller(caller)


@contextmanager
def _until_told_to_stop() -> Iterator[threading.Event]:
    stopped = threading.Event()
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: stopped.set()) for number in signals]
    try:
        yield stopped
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
