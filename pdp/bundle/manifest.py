"""The manifest of a bundle: what it is, and the digest of everything in it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import pdp
from pdp.bundle.strict_json import (
    StrictJsonError,
    check_keys,
    integer,
    parse_object,
    render,
    string,
)
from pdp.errors import BundleRefusedError
from pdp.values import NANOS

MANIFEST_NAME = "manifest.json"
MANIFEST_FORMAT = 1
# 24,000 members of at most 200 bytes of path and 64 of digest, and the punctuation.
_MANIFEST_BYTES_MAX = 8 << 20
_KEYS = frozenset(
    {"format", "revision", "signed_at", "source_commit", "min_pdp", "development", "members"}
)
_COMMIT = re.compile(r"[0-9A-Za-z._+/-]{0,100}", re.ASCII)
_VERSION = re.compile(r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})", re.ASCII)
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
# 2000-01-01: an earlier signature is a clock that was never set.
_SIGNED_AT_SECONDS_MIN = 946_684_800
# 9999-12-31T23:59:59Z, the last second that RFC 3339 can say.
_SIGNED_AT_SECONDS_MAX = 253_402_300_799


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says about itself.

    Attributes:
        revision: rises with each build of this target; not the TUF snapshot version.
        signed_at_s: seconds since the epoch.
        source_commit: where the sources came from, or empty.
        min_pdp: the oldest PDP version that understands the bundle.
        development: made by `pdp dev`.
        members: SHA-256 in hexadecimal of every other file, by path.
    """

    revision: int
    signed_at_s: int
    source_commit: str
    min_pdp: str
    development: bool
    members: Mapping[str, str]

    @property
    def signed_at_ns(self) -> int:
        """`signed_at` in nanoseconds since the epoch."""
        return self.signed_at_s * NANOS

    @property
    def digest(self) -> str:
        """Digest of the contents alone: equal for two builds of the same policies."""
        return digest_of(self.members).hex()

    def to_bytes(self) -> bytes:
        """The one spelling of this manifest."""
        return render(
            {
                "format": MANIFEST_FORMAT,
                "revision": self.revision,
                "signed_at": render_time(self.signed_at_s),
                "source_commit": self.source_commit,
                "min_pdp": self.min_pdp,
                "development": self.development,
                "members": dict(self.members),
            }
        )


def digest_of(members: Mapping[str, str]) -> bytes:
    """SHA-256 over the sorted lines `path SP sha256-hex LF` (design section 6)."""
    lines = sorted(f"{path} {digest}\n" for path, digest in members.items())
    return hashlib.sha256("".join(lines).encode()).digest()


def parse_manifest(data: bytes) -> Manifest:
    """Parse a manifest; only the spelling of `Manifest.to_bytes` passes.

    Raises:
        BundleRefusedError: anything else.
    """
    try:
        manifest = _parse(parse_object(data, _MANIFEST_BYTES_MAX))
    except StrictJsonError as error:
        raise BundleRefusedError(f"`{MANIFEST_NAME}` {error}") from None
    if manifest.to_bytes() != data:
        raise BundleRefusedError(
            f"`{MANIFEST_NAME}` is not in the form that `pdp bundle build` writes"
        )
    return manifest


def _parse(value: dict[str, object]) -> Manifest:
    # The format first: another format may have other keys.
    if value.get("format") != MANIFEST_FORMAT or type(value.get("format")) is not int:
        raise StrictJsonError(
            f"has another `format` than {MANIFEST_FORMAT}: this PDP is {pdp.__version__}, "
            "the bundle may need a newer one"
        )
    check_keys(value, _KEYS)
    members = value["members"]
    if type(members) is not dict or not members:
        raise StrictJsonError("lists no members")
    for path, digest in members.items():
        if type(digest) is not str or _HEX_DIGEST.fullmatch(digest) is None:
            raise StrictJsonError(f"has no SHA-256 for {path[:200]!a}")
    if type(value["development"]) is not bool:
        raise StrictJsonError("has a `development` that is neither true nor false")
    commit = string(value, "source_commit")
    if _COMMIT.fullmatch(commit) is None:
        raise StrictJsonError("has a `source_commit` that is not a commit")
    min_pdp = string(value, "min_pdp")
    version_tuple(min_pdp)
    return Manifest(
        revision=integer(value, "revision", 1),
        signed_at_s=parse_time(string(value, "signed_at")),
        source_commit=commit,
        min_pdp=min_pdp,
        development=value["development"],
        members=members,
    )


def version_tuple(version: str) -> tuple[int, int, int]:
    """`1.20.3` as numbers.

    Raises:
        StrictJsonError: it is not three numbers.
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        raise StrictJsonError(f"has {version[:32]!a} where a version such as `0.1.0` is needed")
    return int(match[1]), int(match[2]), int(match[3])


def is_too_new(manifest: Manifest) -> bool:
    """Whether the bundle needs a newer PDP than this one."""
    return version_tuple(manifest.min_pdp) > version_tuple(pdp.__version__)


def parse_time(text: str) -> int:
    """`2026-11-23T15:44:00Z` as seconds since the epoch; UTC and this form only.

    Raises:
        StrictJsonError: another form, or an impossible time.
    """
    try:
        seconds = int(datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise StrictJsonError(
            f"has the time {text[:40]!a}: write it like `2026-11-23T15:44:00Z`"
        ) from None
    if seconds < _SIGNED_AT_SECONDS_MIN or render_time(seconds) != text:
        raise StrictJsonError(f"has the time {text[:40]!a}, which cannot be")
    return seconds


def render_time(seconds: int) -> str:
    """Seconds since the epoch as RFC 3339, in UTC.

    Raises:
        BundleRefusedError: beyond the year 9999.
    """
    if not 0 <= seconds <= _SIGNED_AT_SECONDS_MAX:
        raise BundleRefusedError(f"the time {seconds} s is outside the years 1970 to 9999")
    return datetime.fromtimestamp(seconds, UTC).strftime(_TIME_FORMAT)
