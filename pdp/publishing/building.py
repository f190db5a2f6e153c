"""From sources to an archive, and back: whoever signs an archive has rebuilt it.

The compiled form is what a PDP runs, and the source is what people review. If
they could differ, a review would mean nothing; so signing compiles the
sources again and compares every byte.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pdp import compiled
from pdp.archive import ArchiveLimits, write_archive
from pdp.authoring.compilation import Compilation, compile_directory, compile_sources
from pdp.bundle.anchor import Anchor
from pdp.bundle.contents import (
    COMPILED,
    COMPILED_SUFFIX,
    SOURCES,
    Bundle,
    check_manifest,
    compile_bundle,
    read_bundle,
)
from pdp.bundle.manifest import MANIFEST_NAME, Manifest
from pdp.callers import CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.errors import BundleRefusedError, PolicyError

# The first version that reads format 1 of manifest and documents. Raise it with them.
MIN_PDP = "0.1.0"
_GIT_SECONDS_MAX = 10
_COMMIT = re.compile(r"[0-9a-f]{40,64}", re.ASCII)


class PolicyProblemsError(PolicyError):
    """The policies do not compile.

    Attributes:
        problems: all of them, in the order of files and lines.
    """

    def __init__(self, problems: Sequence[PolicyError]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} in the policies")


@dataclass(frozen=True, slots=True)
class Release:
    """What a manifest says beyond the contents.

    Attributes:
        revision: above that of the bundle it will replace.
        signed_at_s: seconds since the epoch.
        source_commit: or empty.
        anchor: for which PDPs; only `pdp dev` says another than the default.
    """

    revision: int
    signed_at_s: int
    source_commit: str = ""
    anchor: Anchor = Anchor.PRODUCTION


def build_folder(folder: Path, release: Release) -> bytes:
    """Compile the policies in a folder into an archive.

    Raises:
        PolicyProblemsError: with every problem found.
        BundleRefusedError: the archive would not be accepted by a PDP.
    """
    return build(compile_directory(folder), release)


def build(compilation: Compilation, release: Release) -> bytes:
    """Pack what was compiled into an archive.

    Raises:
        PolicyProblemsError: with every problem found.
        BundleRefusedError: the archive would not be accepted by a PDP.
    """
    archive = _pack(compilation, release)
    _load_as_a_pdp_would(archive, release.anchor)
    return archive


def rebuild(archive: bytes, anchor: Anchor = Anchor.PRODUCTION) -> Bundle:
    """Compile an archive's own sources and compare every byte.

    Revision, time, commit and minimum version come from its manifest;
    everything else must follow from the sources.

    Args:
        archive: what `build` made.
        anchor: of the PDPs that it is for.

    Returns:
        The bundle.

    Raises:
        BundleRefusedError: it is malformed, a PDP would not load it, or it is
            not what its sources make.
    """
    bundle = _load_as_a_pdp_would(archive, anchor)
    manifest = bundle.manifest
    release = Release(manifest.revision, manifest.signed_at_s, manifest.source_commit, anchor)
    try:
        again = _pack(compile_sources(bundle.sources), release, manifest.min_pdp)
    except PolicyProblemsError as error:
        raise BundleRefusedError(f"its sources do not compile: {error.problems[0]}") from error
    if again == archive:
        return bundle
    members = read_bundle(again, ArchiveLimits())
    for path in sorted(bundle.compiled):
        if members.compiled.get(path) != bundle.compiled[path]:
            raise BundleRefusedError(
                f"the compiled form of `{path}` is not what its source compiles to: "
                "somebody changed it, or it was built with other versions of the tools"
            )
    raise BundleRefusedError("the archive is not what its sources make")


def _pack(compilation: Compilation, release: Release, min_pdp: str = MIN_PDP) -> bytes:
    if compilation.problems:
        raise PolicyProblemsError(compilation.problems)
    members: dict[str, bytes] = {}
    for document in compilation.documents:
        members[f"{SOURCES}{document.source_path}"] = document.source
        members[f"{COMPILED}{document.source_path}{COMPILED_SUFFIX}"] = document.compiled
    manifest = Manifest(
        revision=release.revision,
        signed_at_s=release.signed_at_s,
        source_commit=release.source_commit,
        min_pdp=min_pdp,
        development=release.anchor.marked,
        members={path: hashlib.sha256(data).hexdigest() for path, data in members.items()},
    )
    return write_archive({**members, MANIFEST_NAME: manifest.to_bytes()})


def _load_as_a_pdp_would(archive: bytes, anchor: Anchor) -> Bundle:
    bundle = read_bundle(archive, ArchiveLimits())
    check_manifest(bundle.manifest, {}, anchor)
    compile_bundle(bundle, EvaluationLimits(), anchor)
    return bundle


def callers_of(bundle: Bundle) -> CallerPolicy:
    """The caller policy of a bundle that was rebuilt: it has exactly one."""
    documents = (compiled.decode(data) for data in bundle.compiled.values())
    return next(document for document in documents if isinstance(document, CallerPolicy))


def commit_of(folder: Path) -> str:
    """The Git commit of a folder, `-dirty` if it has other changes; empty without Git."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        if _COMMIT.fullmatch(head) is None:
            return ""
        changed = _git(folder, "status", "--porcelain", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{head}-dirty" if changed else head


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 fixed arguments, no shell
        ["git", "-C", str(folder), *arguments],  # noqa: S607 the Git of whoever builds
        capture_output=True,
        text=True,
        check=True,
        timeout=_GIT_SECONDS_MAX,
    )
    return done.stdout.strip()
