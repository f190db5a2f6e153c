"""What an HTTP request is about, read in one way or not at all. Law ring: pure.

Between the client and the code that does the work stand several programs that
read a path: a proxy, this one, a server, a framework. Where two of them may
read it differently, one authorizes what the other does not do (references:
opa-envoy CVE-2026-26205). We cannot change what the upstream reads, so what
has two readings is refused, never normalised:

    empty segments, `.` and `..`, also percent-encoded       some fold them, some do not
    `/`, backslash, `;` and control characters, encoded      some decode before they split
    a percent sign that still encodes something, decoded     some decode twice
    what is not UTF-8, overlong forms included               some substitute, some fold
    letters that Unicode folds into any of these (NFKC)      some fold

What is left is decoded once. One slash at the end is left out: servers take it
as no difference, or as another page of the same thing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from pdp.errors import InvalidRequestError

TARGET_BYTES_MAX: Final = 8_192  # what servers take for a line by default
SEGMENTS_MAX: Final = 64
QUERY_ITEMS_MAX: Final = 128

# RFC 3986 section 3.3 without `;`, which some servers cut a segment at, and with `%`.
_PATH: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,=:@%/-]+")
_QUERY: Final = re.compile(r"[A-Za-z0-9._~!$'()*+,=:@%/?&\[\]|{}^`\"<>-]*")
_ENCODED: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*")
_ADDRESS: Final = re.compile(r"\[[0-9a-f:.]{2,45}\]")
_HOST_CHARACTERS_MAX: Final = 255
_SEPARATORS: Final = frozenset("/\\;")
_DOTS: Final = frozenset({".", ".."})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Target:
    """What `:path` says.

    Attributes:
        path: `/` and the segments with `/` between them.
        segments: each decoded once; none is empty, none holds a `/`.
        query: values by name, each decoded once; None: it cannot be read in one way.
    """

    path: str
    segments: tuple[str, ...]
    query: Mapping[str, tuple[str, ...]] | None


def read_target(text: str) -> Target:
    """Read path and query.

    Raises:
        InvalidRequestError: the path has more than one reading. A query that has is
            no error until somebody reads it.
    """
    if len(text) > TARGET_BYTES_MAX:
        _refuse(f"is longer than {TARGET_BYTES_MAX} bytes")
    path, _, query = text.partition("?")
    if not path.startswith("/"):
        # `*`, `host:port` of CONNECT, and `http://host/path`.
        _refuse("does not begin with a slash")
    if not _PATH.fullmatch(path):
        _refuse("has a character that must be percent-encoded, or a `;`")
    if path == "/":
        return Target("/", (), _read_query(query))
    parts = path.removeprefix("/").removesuffix("/").split("/")
    if len(parts) > SEGMENTS_MAX:
        _refuse(f"has more than {SEGMENTS_MAX} segments")
    segments = tuple(map(_segment, parts))
    return Target("/" + "/".join(segments), segments, _read_query(query))


def read_host(text: str) -> str:
    """A host, lower-case and without its port.

    Raises:
        InvalidRequestError: it is none.
    """
    host = text.lower() if text.isascii() else ""
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit():
        host = name
    known = _ADDRESS.fullmatch(host) or _HOST.fullmatch(host)
    if not known or len(host) > _HOST_CHARACTERS_MAX:
        raise InvalidRequestError("http.host", "is not a host")
    return host


def _segment(raw: str) -> str:
    """One segment, decoded once."""
    text = _decoded(raw)
    if text is None:
        _refuse("has a percent sign that encodes no UTF-8")
    if not text:
        _refuse("has an empty segment")
    for seen in {text, unicodedata.normalize("NFKC", text)}:
        if seen in _DOTS or not _SEPARATORS.isdisjoint(seen):
            _refuse("has a segment that is read as several, or as none, by some")
        if _ENCODED.search(seen):
            _refuse("is percent-encoded twice")
        if _CONTROL.search(seen):
            _refuse("has a control character")
    return text


def _decoded(raw: str) -> str | None:
    """Percent-decoded once; None: what comes is not UTF-8, or a `%` encodes nothing."""
    if "%" not in raw:
        return raw
    if raw.count("%") != len(_ENCODED.findall(raw)):
        return None
    data = _ENCODED.sub(lambda found: chr(int(found[0][1:], 16)), raw).encode("latin-1")
    try:
        # Strict: overlong forms and halves of surrogate pairs are errors.
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _read_query(text: str) -> Mapping[str, tuple[str, ...]] | None:
    """Values by name, in order; `a` and `a=` are the same. None: not readable in one way."""
    if not text:
        return {}
    # `;` separates for some; anything that is not ASCII, each decodes as it likes.
    if not _QUERY.fullmatch(text):
        return None
    items = text.split("&")
    if len(items) > QUERY_ITEMS_MAX:
        return None
    found: dict[str, tuple[str, ...]] = {}
    for item in items:
        name, _, value = item.partition("=")
        # In a form a `+` is a blank; elsewhere it is itself: two readings.
        read = None if "+" in item else (_decoded(name), _decoded(value))
        if read is None or read[0] is None or read[1] is None:
            return None
        found[read[0]] = (*found.get(read[0], ()), read[1])
    return found


def _refuse(reason: str) -> NoReturn:
    raise InvalidRequestError("http.path", reason)
