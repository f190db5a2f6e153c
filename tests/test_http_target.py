"""What an HTTP request is about is read in one way, or not at all."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pdp import http_target
from pdp.errors import InvalidRequestError
from pdp.http_target import read_host, read_target

# How others read a path: proxies, servers, frameworks.
READERS: dict[str, Callable[[str], list[str]]] = {
    "decode, then split": lambda path: unquote(path).split("/"),
    "split, then decode": lambda path: [unquote(part) for part in path.split("/")],
    "decode twice": lambda path: unquote(unquote(path)).split("/"),
    "fold dots and slashes": lambda path: posixpath.normpath(unquote(path)).split("/"),
    "fold, then decode": lambda path: unquote(posixpath.normpath(path)).split("/"),
    "merge slashes": lambda path: re.sub("/+", "/", unquote(path)).split("/"),
    "backslash is a slash": lambda path: unquote(path).replace("\\", "/").split("/"),
    "cut at semicolons": lambda path: [part.partition(";")[0] for part in unquote(path).split("/")],
    "end at NUL": lambda path: unquote(path).partition("\0")[0].split("/"),
}
_NASTY = st.sampled_from(
    ["/", "//", ".", "..", "%2e", "%2E%2e", "%2f", "%5c", "\\", ";", "%3b", "%00", "%25", "%252e",
     "%c0%ae", "%c0%af", "%e2%80%a4", "%ef%bc%8f", "%ff", "%", "%zz", "a", "b-1", "~", "%41",
     "%c3%a9", "%20", "+", ":", "?", "#", "é", "\0", "\n", "{", "..."]
)  # fmt: skip
_PATHS = st.lists(_NASTY, max_size=8).map(lambda parts: "/" + "".join(parts))


def _others(path: str, segments: tuple[str, ...]) -> list[str]:
    """Who reads something else than we do; an empty segment at the end is no difference."""
    found = []
    for name, reader in READERS.items():
        read = reader(path)[1:]
        if read and not read[-1]:
            read.pop()
        if tuple(read) != segments:
            found.append(name)
    return found


@given(_PATHS)
@example("/a/b%20c/")
def test_what_is_accepted_all_readers_read_alike(raw: str) -> None:
    """A path that is not refused has the same segments for nine kinds of readers."""
    try:
        target = read_target(raw)
    except InvalidRequestError:
        return
    assert _others(raw.partition("?")[0], target.segments) == []
    assert target.path == "/" + "/".join(target.segments)
    assert all(target.segments)


def test_what_is_accepted_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the judgement of segments, encoded dots and slashes are read in several ways."""
    monkeypatch.setattr(http_target, "_segment", unquote)
    for raw in ("/a/%2e%2e/b", "/a%2fb", "/a//b", "/a%252fb", "/a%5cb", "/a%3bb", "/a%00b"):
        assert _others(raw, read_target(raw).segments), raw


@pytest.mark.parametrize(
    "raw",
    [
        "", "*", "docs.example.org:443", "http://docs.example.org/a", "a/b", "//a", "/a//b", "/a//",
        "/./a", "/a/.", "/../a", "/a/..", "/a/%2e%2e/b", "/a/%2E./b", "/%2e", "/a%2fb", "/a%2Fb",
        "/a\\b", "/a%5cb", "/a;x=1/b", "/a%3bb", "/a%00", "/a\0", "/a%0ab", "/a%7f", "/a%c2%85",
        "/a%252fb", "/a%252e%252e/b", "/%25252e", "/a%", "/a%4", "/a%zz", "/%ff", "/%c0%ae",
        "/%c0%af", "/%e0%80%af", "/%ed%a0%80", "/%f4%90%80%80", "/é", "/a#b", "/a b", "/{a}",
        "/%ef%bc%8f", "/%ef%bc%8e%ef%bc%8e", "/%e2%80%a5", "/%ef%bc%bc", "/%ef%bc%9b",
        "/%ef%bc%8541", "/" + "a/" * 65, "/" + "a" * 9_000,
    ],
)  # fmt: skip
def test_attack_a_path_with_two_readings_is_refused(raw: str) -> None:
    """Traversal, encoded separators, double encoding, overlong UTF-8, NUL, look-alikes, length."""
    with pytest.raises(InvalidRequestError) as refused:
        read_target(raw)
    assert refused.value.field == "http.path"
    # The words hold nothing of the request.
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("raw", "segments"),
    [
        ("/", ()),
        ("/a", ("a",)),
        ("/a/", ("a",)),
        ("/a/b.c/-_~", ("a", "b.c", "-_~")),
        ("/%41%20b", ("A b",)),
        ("/caf%C3%A9/%E6%BC%A2", ("café", "漢")),
        ("/a...", ("a...",)),
        ("/100%25", ("100%",)),
        ("/a:b@c,d=e&f$g'h(i)*+!", ("a:b@c,d=e&f$g'h(i)*+!",)),
    ],
)
def test_a_plain_path_is_decoded_once(raw: str, segments: tuple[str, ...]) -> None:
    """Segments, each decoded once; letters keep their case; one slash at the end is left out."""
    assert read_target(raw).segments == segments


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {}),
        ("a=1", {"a": ("1",)}),
        ("a=1&b=&a=2&c", {"a": ("1", "2"), "b": ("",), "c": ("",)}),
        ("a%3D=%26%2B", {"a=": ("&+",)}),
        ("a=b=c", {"a": ("b=c",)}),
        ("a=1+2", None),
        ("a=1;b=2", None),
        ("a=%ff", None),
        ("a=%4", None),
        ("a=é", None),
        ("&".join(f"a{number}" for number in range(129)), None),
    ],
)
def test_a_query_is_read_in_one_way_or_is_unreadable(
    query: str, found: dict[str, tuple[str, ...]] | None
) -> None:
    """All values of a name in order; a form's blanks, other separators and floods are no query."""
    assert read_target(f"/a?{query}").query == found


@pytest.mark.parametrize(
    ("raw", "host"),
    [
        ("docs.example.org", "docs.example.org"),
        ("Docs.Example.ORG:8443", "docs.example.org"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:80", "[::1]"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("a_b", "a_b"),
    ],
)
def test_a_host_is_lower_case_without_its_port(raw: str, host: str) -> None:
    """Names and addresses."""
    assert read_host(raw) == host


@pytest.mark.parametrize(
    "raw",
    ["", ":80", "a b", "user@a", "a/b", "a:80:80", "a:", "a.", "a..b", "-a", "[::1", "é.org",
     "a\0", "a,b", "a" * 300],
)  # fmt: skip
def test_attack_a_host_that_is_none_is_refused(raw: str) -> None:
    """A user, a path, two ports, two hosts, an end dot that some cut off."""
    with pytest.raises(InvalidRequestError, match=r"http\.host"):
        read_host(raw)


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_read_or_refused(path: str, host: str) -> None:
    """Nothing else is raised."""
    for read, text in ((read_target, path), (read_target, f"/{path}"), (read_host, host)):
        try:
            read(text)
        except InvalidRequestError:
            continue
