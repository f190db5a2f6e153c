"""Stores that lie, stall or lead elsewhere: bounded in time and size, and never believed."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical
from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError

from pdp.authoring.throwaway import ThrowawayAuthority
from pdp.bundle import store as store_module
from pdp.bundle.store import (
    Deadline,
    DirectoryStore,
    HostileStoreError,
    HttpStore,
    Store,
    open_store,
)
from pdp.errors import BundleRefusedError
from pdp.model import Decision
from tests.conftest import Ledger
from tests.simulators import repository as simulator
from tests.simulators.bundle_reader import Reader
from tests.simulators.repository import EMERGENCY, POLICIES, HttpServer, Repository, serve_http

FILES = {"metadata/a.json": b"0123456789" * 100}


@pytest.fixture
def server() -> Iterator[HttpServer]:
    """A web server with one file."""
    with serve_http(FILES) as running:
        yield running


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A PDP and its publisher."""
    made = Reader(tmp_path)
    made.serve()
    yield made
    made.stop()


def fetch(store: Store, name: str = "metadata/a.json", bytes_max: int = 10_000) -> bytes:
    """As TUF does."""
    return store.download_bytes(f"{store_module.STORE_URL}/{name}", bytes_max)


# ---- HTTP -------------------------------------------------------------------


def test_http_fetches_a_file_and_tells_a_missing_one(server: HttpServer) -> None:
    """200 is the bytes; 404 is known as such, which is how TUF finds the newest root."""
    store = HttpStore(server.url, Deadline(5))
    assert fetch(store) == FILES["metadata/a.json"]
    with pytest.raises(DownloadHTTPError) as caught:
        fetch(store, "metadata/2.root.json")
    assert caught.value.status_code == 404


def test_role_names_with_a_slash_are_plain_paths(server: HttpServer) -> None:
    """Servers that refuse `%2F` work: the slash of a role's name is sent as a slash."""
    server.files = {"repo/metadata/1.policies/default.json": b"x"}
    store = HttpStore(f"{server.url}/repo/", Deadline(5))
    assert fetch(store, "metadata/1.policies%2Fdefault.json") == b"x"
    assert server.asked == ["repo/metadata/1.policies/default.json"]


def test_whole_life_over_http(reader: Reader) -> None:
    """Start, unchanged poll, release, outage: over a real socket."""
    with serve_http(reader.repository.files) as server:
        assert reader.start(source=server.url).outcome == "updated"
        server.asked.clear()
        assert reader.poll().outcome == "unchanged"
        assert server.asked == ["metadata/2.root.json", "metadata/timestamp.json"]
        reader.repository.release(2)
        server.files = reader.repository.saved()
        assert reader.poll().outcome == "updated"
        server.answer = simulator.with_status(503)
        assert reader.poll().outcome == "unreachable"
    assert reader.poll().outcome == "unreachable"
    assert (reader.revision, bool(reader.decide())) == (2, True)


def test_endless_data_is_refused(reader: Reader) -> None:
    """A body without an end stops at the length that is allowed."""
    with serve_http(reader.repository.files) as server:
        server.answer = simulator.endless
        with pytest.raises(BundleRefusedError, match="longer than the 16384 bytes"):
            reader.start(source=server.url)


@pytest.mark.parametrize(
    "answer",
    [
        simulator.dripping(0.02),
        simulator.dripping_header,
        simulator.always_continue,
        simulator.silent,
    ],
    ids=["drip", "header-drip", "continue", "silent"],
)
def test_slow_store_is_bounded_by_the_time_of_the_whole_poll(
    reader: Reader, answer: simulator.Answer
) -> None:
    """However it stalls, and in whatever part of the answer: the poll ends."""
    with serve_http(reader.repository.files) as server:
        server.answer = answer
        begun = time.monotonic()
        result = reader.start(source=server.url, poll_time_max_s=0.5)
        took = time.monotonic() - begun
    assert result.outcome == "unreachable"
    assert took < 0.5 + 2


def test_slow_store_twin_without_guard(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit for each gap only, as TUF's own, a drip goes on for as long as it likes."""
    monkeypatch.setattr(Deadline, "left_s", lambda _self: 0.5)
    with serve_http(reader.repository.files) as server:
        server.answer = simulator.dripping(0.01, step=64)
        begun = time.monotonic()
        assert reader.start(source=server.url, poll_time_max_s=0.5).outcome == "updated"
        assert time.monotonic() - begun > 1


def test_slow_name_resolution_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that hangs does not hang the poll."""
    released = threading.Event()

    def hanging(*_: Any, **__: Any) -> list[Any]:
        released.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    begun = time.monotonic()
    with pytest.raises(SlowRetrievalError):
        fetch(HttpStore("http://policies.example.org", Deadline(0.2)))
    assert time.monotonic() - begun < 2
    released.set()


def test_body_cut_short_is_unreachable_not_refused(reader: Reader) -> None:
    """A connection that ended early says nothing about what the store holds."""
    with serve_http(reader.repository.files) as server:
        server.answer = simulator.cut_short
        result = reader.start(source=server.url)
    assert result.outcome == "unreachable"
    assert "the connection ended after" in result.detail


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(server: HttpServer, status: int) -> None:
    """Not to another host, and not to this one."""
    with serve_http(FILES) as elsewhere:
        server.answer = simulator.with_status(status, Location=f"{elsewhere.url}/metadata/a.json")
        with pytest.raises(DownloadHTTPError, match="redirects are not followed"):
            fetch(HttpStore(server.url, Deadline(5)))
        assert elsewhere.asked == []


@pytest.mark.parametrize("status", [204, 206, 400, 401, 418, 500, 503])
def test_only_200_is_an_answer(server: HttpServer, status: int) -> None:
    """Part of a file, or an error page, is not the file."""
    server.answer = simulator.with_status(status)
    with pytest.raises(DownloadError):
        fetch(HttpStore(server.url, Deadline(5)))


def test_compressed_answers_are_refused(server: HttpServer) -> None:
    """Not asked for, and a way to make a kilobyte into a gigabyte."""
    server.answer = simulator.with_status(200, Content_Encoding="gzip")
    with pytest.raises(DownloadError, match="compressed"):
        fetch(HttpStore(server.url, Deadline(5)))


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\0\0\0\0", b"HTTP/9.9 200 OK\r\n\r\n", b"HTTP/1.1 99999 X\r\n\r\n", b"SSH-2.0-x\r\n",
     b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500,
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
     b"HTTP/1.1 200 " + b"A" * 70_000],
)  # fmt: skip
def test_garbage_instead_of_http_is_an_error(garbage: bytes) -> None:
    """Whatever a port answers, it is a DownloadError."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(garbage)

    thread = threading.Thread(target=answer)
    thread.start()
    with listener, pytest.raises(DownloadError):
        fetch(HttpStore(f"http://127.0.0.1:{listener.getsockname()[1]}", Deadline(2)))
    thread.join()


def test_https_checks_the_certificate(
    server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TUF needs no TLS; who asks for it gets it, name and authority checked."""
    authority = ThrowawayAuthority("example.org")
    certificate, key = authority.issue("store", dns_names=["localhost"]).write(tmp_path, "store")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.wrap(lambda plain: context.wrap_socket(plain, server_side=True))
    port = server.url.rpartition(":")[2]
    with pytest.raises(DownloadError, match=r"(?i)certificate"):
        fetch(HttpStore(f"https://localhost:{port}", Deadline(5)))
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(authority.bundle_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    assert fetch(HttpStore(f"https://localhost:{port}", Deadline(5))) == FILES["metadata/a.json"]
    with pytest.raises(DownloadError, match=r"(?i)certificate"):
        fetch(HttpStore(f"https://127.0.0.1:{port}", Deadline(5)))


# ---- directories ------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../secret", "metadata/../../secret", "/etc/passwd", "..%2Fsecret", "a//b", "a/./b", "",
     "metadata/%2e%2e/%2e%2e/secret", "a\\..\\b", "a%00b"],
)  # fmt: skip
def test_names_that_climb_are_refused_by_every_store(name: str, tmp_path: Path) -> None:
    """A role or target name chosen by a signer leads nowhere but into the repository."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "store" / "metadata").mkdir(parents=True)
    for source in (str(tmp_path / "store"), "http://127.0.0.1:9"):
        with pytest.raises(HostileStoreError):
            fetch(open_store(source, Deadline(1)), name)


def test_links_out_of_the_directory_are_refused(tmp_path: Path) -> None:
    """Links may lead around inside, as a mounted ConfigMap's do, and not outside."""
    outside, inside = tmp_path / "secret", tmp_path / "store"
    outside.write_bytes(b"secret")
    (inside / "metadata").mkdir(parents=True)
    (inside / "real.json").write_bytes(b"fine")
    (inside / "metadata" / "in.json").symlink_to("../real.json")
    (inside / "metadata" / "out.json").symlink_to(outside)
    (inside / "metadata" / "loop.json").symlink_to("loop.json")
    (inside / "up").symlink_to(tmp_path)
    store = DirectoryStore(inside, Deadline(5))
    assert fetch(store, "metadata/in.json") == b"fine"
    for name in ("metadata/out.json", "up/secret"):
        with pytest.raises(HostileStoreError, match="leads out"):
            fetch(store, name)
    with pytest.raises(DownloadError):
        fetch(store, "metadata/loop.json")
    # The directory itself may be a link: it is the operator's.
    (tmp_path / "link").symlink_to(inside)
    assert fetch(DirectoryStore(tmp_path / "link", Deadline(5)), "real.json") == b"fine"


def test_what_is_not_a_file_is_refused_without_waiting(tmp_path: Path) -> None:
    """A pipe that nobody writes to, a folder, a device."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    store = DirectoryStore(tmp_path, Deadline(5))
    for name in ("pipe", "folder"):
        with pytest.raises((HostileStoreError, DownloadError)):
            fetch(store, name)


def test_missing_directory_is_unreachable_a_missing_file_is_missing(tmp_path: Path) -> None:
    """Otherwise an unmounted volume would look like a repository without a newer root."""
    with pytest.raises(DownloadHTTPError):
        fetch(DirectoryStore(tmp_path, Deadline(5)))
    with pytest.raises(DownloadError) as caught:
        fetch(DirectoryStore(tmp_path / "absent", Deadline(5)))
    assert not isinstance(caught.value, DownloadHTTPError)


def test_file_sources(reader: Reader) -> None:
    """`file:/path` and `file:///path` are directories, escapes and all."""
    spaced = reader.folder / "a b"
    shutil.copytree(reader.store, spaced)
    for source in (
        f"file:{reader.store}",
        f"file://{reader.store}",
        f"file:{spaced}".replace(" ", "%20"),
    ):
        assert reader.start(source=source).outcome == "updated"


# ---- one flipped bit --------------------------------------------------------


def _flip(reader: Reader, name: str, position: int, bit: int) -> str:
    """Flip one bit, start a fresh PDP; what it came to."""
    data = bytearray(reader.repository.files[name])
    data[position] ^= 1 << bit
    path = reader.store / name
    path.write_bytes(bytes(data))
    reader.stop()
    shutil.rmtree(reader.state, ignore_errors=True)
    try:
        outcome = reader.start().outcome
    except BundleRefusedError:
        return "refused"
    finally:
        path.write_bytes(reader.repository.files[name])
    return outcome


def _flip_everywhere(reader: Reader, cases: int, seed: int) -> dict[str, int]:
    """Random bits of every file; each refused, or with the very same policies and decisions."""
    reader.start()
    assert reader.snapshot is not None
    reference = reader.snapshot.ref
    answers = _answers(reader)
    chance, counts = random.Random(seed), {"refused": 0, "unreachable": 0, "updated": 0}
    names = sorted(reader.repository.files)
    for case in range(cases):
        name = names[case % len(names)]
        outcome = _flip(
            reader, name, chance.randrange(len(reader.repository.files[name])), chance.randrange(8)
        )
        counts[outcome] += 1
        if outcome == "updated":
            assert reader.snapshot is not None
            assert reader.snapshot.ref == reference
            assert _answers(reader) == answers
        else:
            assert reader.snapshot is None
    return counts


def _answers(reader: Reader) -> list[Decision]:
    asked = [("read", "spiffe://example.org/web"), ("write", "spiffe://example.org/web")]
    return [reader.decide(*question) for question in [*asked, ("read", "spiffe://example.org/x")]]


def test_one_flipped_bit_in_any_file_never_changes_a_decision(reader: Reader) -> None:
    """Refused, or harmless: a spare signature, or a root that this PDP does not fetch."""
    counts = _flip_everywhere(reader, cases=120, seed=20)
    assert counts["refused"] > 60


@pytest.mark.prove
def test_one_flipped_bit_in_any_file_never_changes_a_decision_many(
    reader: Reader, ledger: Ledger
) -> None:
    """The same, on thousands of bits."""
    counts = _flip_everywhere(reader, cases=4_000, seed=2026)
    ledger(seed=2026, cases=4_000, **counts)
    assert counts["refused"] > 2_000


def test_one_flipped_bit_twin_without_guard(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without signatures and hashes, flipping a bit of the archive or of a version gets in."""
    from tuf.api.metadata import MetaFile, Root, TargetFile, Targets

    for kind in (Root, Targets):
        monkeypatch.setattr(kind, "verify_delegate", lambda *_: None)
    for other in (MetaFile, TargetFile):
        monkeypatch.setattr(other, "verify_length_and_hashes", lambda *_: None)
    chance, updated = random.Random(3), 0
    name = "metadata/timestamp.json"
    for _ in range(40):
        position = chance.randrange(len(reader.repository.files[name]))
        updated += _flip(reader, name, position, chance.randrange(8)) == "updated"
    assert updated > 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**63) | st.text(max_size=4) | st.just("../x"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from _places(item, (*path, key))


def _make_odd(signed: dict[str, Any], data: st.DataObject) -> None:
    """What nobody but us reads, what nobody reads, or anything at all."""
    what = data.draw(st.sampled_from(["custom", "unknown", "any"]))
    if what == "custom" and signed.get("targets"):
        for target in signed["targets"].values():
            keys = st.sampled_from(["revision", "signed_at", "min_pdp", "digest", "x"])
            target["custom"] = data.draw(st.dictionaries(keys, JSON) | JSON)
        return
    if what == "unknown":
        signed[data.draw(st.text(min_size=1, max_size=4))] = data.draw(JSON)
        return
    place = data.draw(st.sampled_from(sorted(_places(signed), key=str)))
    parent: Any = signed
    for key in place[:-1]:
        parent = parent[key]
    if data.draw(st.booleans()):
        parent[place[-1]] = data.draw(JSON)
    else:
        del parent[place[-1]]


@given(st.data())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fuzz_metadata_that_is_signed_and_odd(reader: Reader, data: st.DataObject) -> None:
    """Who has all the keys may sign any JSON: a bundle, or an outcome; never an exception."""
    repository = Repository()
    reader.root.write_bytes(repository.trusted_root)
    role = data.draw(st.sampled_from(["targets", POLICIES, EMERGENCY, "snapshot", "timestamp"]))
    name = "metadata/timestamp.json" if role == "timestamp" else f"metadata/1.{role}.json"
    signed = json.loads(repository.files[name])["signed"]
    _make_odd(signed, data)
    payload = str(encode_canonical(signed)).encode()
    signatures = [signer.sign(payload).to_dict() for signer in repository.signers[role]]
    odd = json.dumps({"signed": signed, "signatures": signatures}).encode()
    for listing in (
        repository.snapshot.meta.get(f"{role}.json"),
        repository.timestamp.snapshot_meta,
    ):
        if listing is not None and (role != "timestamp"):
            listing.length = listing.hashes = None
    if role not in {"snapshot", "timestamp"}:
        repository.publish_snapshot()
    elif role == "snapshot":
        repository.freshen()
    repository.files[name] = odd
    reader.serve(repository.files)
    reader.stop()
    shutil.rmtree(reader.state, ignore_errors=True)
    try:
        result = reader.start()
    except BundleRefusedError:
        return
    assert result.verified == (reader.snapshot is not None)


def test_garbage_in_any_file_is_never_a_crash(reader: Reader) -> None:
    """Any file empty, cut, doubled, of another role, or deeply nested: an outcome, no exception."""
    reader.start()
    files = reader.repository.saved()
    garbage = [b"", b"null", b"[]", b"{}", b"[" * 100_000, b'{"signed": {"_type": "root"}}',
               b'{"signatures": [], "signed": {"_type": "timestamp", "version": "x"}}',
               files["metadata/1.targets.json"], b"\xff\xfe" * 100]  # fmt: skip
    names = [name for name in files if not name.endswith("1.root.json")]
    for name in [*names, "metadata/2.root.json"]:
        for data in (*garbage, files.get(name, b"")[:-3]):
            if data == files.get(name):
                continue
            reader.stop()
            shutil.rmtree(reader.state, ignore_errors=True)
            reader.serve({**files, name: data})
            try:
                result = reader.start()
            except BundleRefusedError:
                continue
            assert result.outcome == "unreachable"
