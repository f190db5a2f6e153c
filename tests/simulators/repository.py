"""A real TUF repository that can lie: every role's keys are at hand, and so is every attack.

Made with `tuf.api` alone, independent of `pdp.publishing`, so that the two
sides are not wrong in the same way. Served from a directory or by a real HTTP
server on a real socket that can be endless, slow, silent or wrong.
"""

from __future__ import annotations

import hashlib
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    TOP_LEVEL_ROLE_NAMES,
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from pdp import compiled
from pdp.archive import write_archive
from pdp.bundle.denials import EMPTY_DENIALS
from pdp.bundle.manifest import Manifest
from pdp.callers import CallerEntry, CallerPolicy
from pdp.model import Effect
from pdp.policy import PolicyDocument, RuleDocument
from pdp.provided import ProviderDocument
from pdp.schema import SchemaDocument

POLICIES = "policies/default"
EMERGENCY = "emergency"
BUNDLE_PATH = "policies/default/bundle.tar"
DENIALS_PATH = "emergency/denials.json"
HOUR_S = 3600
DAY_S = 86_400
# keys, threshold, life: references/security.md section 1.5
TABLE: Mapping[str, tuple[int, int, int]] = {
    "root": (5, 3, 365 * DAY_S),
    "targets": (3, 2, 90 * DAY_S),
    POLICIES: (2, 2, 30 * DAY_S),
    EMERGENCY: (3, 1, 30 * DAY_S),
    "snapshot": (1, 1, 30 * DAY_S),
    "timestamp": (1, 1, HOUR_S),
}

Files = dict[str, bytes]


def rule(name: str, effect: Effect = Effect.PERMIT) -> RuleDocument:
    """A rule without a condition: `read` is permitted, or denied, to anyone."""
    return RuleDocument(name, effect, ("read",), None, None, None, None, "because", ())


def policy(name: str = "documents", *rules: RuleDocument) -> PolicyDocument:
    """A policy on the resource type `document`."""
    rules = rules or (rule("everybody-reads"),)
    return PolicyDocument(name, "document", "owner@example.org", (), (), (), rules)


def callers(spiffe_id: str = "spiffe://example.org/web") -> CallerPolicy:
    """A caller policy with one entry."""
    return CallerPolicy((CallerEntry(spiffe_id, ("*",), ("*",), ("user",)),))


Documents = Iterable[PolicyDocument | CallerPolicy | SchemaDocument | ProviderDocument]


def members_of(documents: Documents) -> Files:
    """`sources/` and `compiled/` of an archive; the sources say nothing here."""
    members: Files = {}
    for document in documents:
        name = "callers" if isinstance(document, CallerPolicy) else document.name
        name = f"schema-{name}" if isinstance(document, SchemaDocument) else name
        source = f"sources/{name}.yaml"
        members[source] = f"# {name}\n".encode()
        members[f"compiled/{name}.yaml.pb"] = _encoded(document, source)
    return members


def _encoded(
    document: PolicyDocument | CallerPolicy | SchemaDocument | ProviderDocument, source: str
) -> bytes:
    match document:
        case CallerPolicy():
            return compiled.encode_callers(document, source)
        case SchemaDocument():
            return compiled.encode_schema(document, source)
        case ProviderDocument():
            return compiled.encode_provider(document, source)
        case PolicyDocument():
            return compiled.encode_policy(document, source, {})


def manifest_of(members: Files, revision: int, signed_at_s: int, **changes: Any) -> Manifest:
    """The manifest of these members, true unless changed."""
    fields: dict[str, Any] = {
        "revision": revision,
        "signed_at_s": signed_at_s,
        "source_commit": "",
        "min_pdp": "0.1.0",
        "development": False,
        "members": {path: hashlib.sha256(data).hexdigest() for path, data in members.items()},
    }
    return Manifest(**{**fields, **changes})


def archive(
    revision: int = 1,
    signed_at_s: int | None = None,
    documents: Documents | None = None,
    **changes: Any,
) -> bytes:
    """A well-formed bundle, unless changed."""
    members = members_of(documents if documents is not None else (policy(), callers()))
    signed_at_s = int(time.time()) if signed_at_s is None else signed_at_s
    manifest = manifest_of(members, revision, signed_at_s, **changes)
    return write_archive({**members, "manifest.json": manifest.to_bytes()})


class Repository:
    """The publisher's side, honest until told otherwise.

    Args:
        now_s: the publisher's clock, seconds since the epoch.

    Attributes:
        signers: keys by role, all of them.
        files: what is served, by name below the repository.
    """

    def __init__(self, now_s: int | None = None) -> None:
        self.now_s = int(time.time()) if now_s is None else now_s
        self.signers = {
            role: [CryptoSigner.generate_ed25519() for _ in range(keys)]
            for role, (keys, _, _) in TABLE.items()
        }
        self.files: Files = {}
        self.root = Root(consistent_snapshot=True)
        self.targets = Targets()
        self.delegated = {POLICIES: Targets(), EMERGENCY: Targets()}
        self.snapshot = Snapshot()
        self.timestamp = Timestamp()
        for role in TOP_LEVEL_ROLE_NAMES:
            self.root.roles[role] = Role([], TABLE[role][1])
            for signer in self.signers[role]:
                self.root.add_key(signer.public_key, role)
        self._delegate()
        self.put(BUNDLE_PATH, archive(1, self.now_s))
        self.put(DENIALS_PATH, EMPTY_DENIALS)
        self.publish_root()
        self.trusted_root = self.files["metadata/1.root.json"]
        self.publish_targets("targets", POLICIES, EMERGENCY)

    def _delegate(self) -> None:
        keys, roles = {}, {}
        for role in self.delegated:
            public = [signer.public_key for signer in self.signers[role]]
            keys.update({key.keyid: key for key in public})
            roles[role] = DelegatedRole(
                role, [key.keyid for key in public], TABLE[role][1], True, [f"{role}/*"]
            )
        self.targets.delegations = Delegations(keys, roles)  # type: ignore[arg-type]

    def expires(self, role: str) -> datetime:
        """When the role expires if it is signed now."""
        return datetime.fromtimestamp(self.now_s + TABLE[role][2], UTC)

    def role(self, name: str) -> Targets:
        """A role of targets."""
        return self.targets if name == "targets" else self.delegated[name]

    def put(self, path: str, data: bytes, role: str = "", custom: Any = None) -> None:
        """Put a target into its role, not yet signed."""
        info = TargetFile.from_data(path, data, ["sha256"])
        if custom is not None:
            info.unrecognized_fields["custom"] = custom
        self.role(role or path.rpartition("/")[0]).targets[path] = info
        folder, _, name = path.rpartition("/")
        self.files[f"targets/{folder}/{info.hashes['sha256']}.{name}"] = data

    def sign(self, signed: Any, signers: Iterable[CryptoSigner]) -> bytes:
        """Metadata signed by these keys and no others."""
        metadata: Metadata[Any] = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        return metadata.to_bytes()

    def publish_root(self, signers: Iterable[CryptoSigner] | None = None) -> None:
        """The root as it is now, by its own keys unless others are given."""
        self.root.expires = self.expires("root")
        data = self.sign(self.root, signers or self.signers["root"])
        self.files[f"metadata/{self.root.version}.root.json"] = data

    def publish_targets(
        self, *roles: str, keys: int | None = None, expires: datetime | None = None
    ) -> None:
        """Sign these roles, by that many keys, then snapshot and timestamp.

        A role that was published before gets the next version.
        """
        for name in roles:
            role = self.role(name)
            if f"metadata/{role.version}.{name}.json" in self.files:
                role.version += 1
            role.expires = expires or self.expires(name)
            data = self.sign(role, self.signers[name][:keys])
            self.files[f"metadata/{role.version}.{name}.json"] = data
            self.snapshot.meta[f"{name}.json"] = MetaFile.from_data(role.version, data, ["sha256"])
        self.publish_snapshot()

    def publish_snapshot(self) -> None:
        """Sign the snapshot and the timestamp, as who has only the online keys can."""
        if f"metadata/{self.snapshot.version}.snapshot.json" in self.files:
            self.snapshot.version += 1
        self.snapshot.expires = self.expires("snapshot")
        data = self.sign(self.snapshot, self.signers["snapshot"])
        self.files[f"metadata/{self.snapshot.version}.snapshot.json"] = data
        self.timestamp.snapshot_meta = MetaFile.from_data(self.snapshot.version, data, ["sha256"])
        self.freshen()

    def freshen(self, expires: datetime | None = None) -> None:
        """Sign the timestamp anew."""
        if "metadata/timestamp.json" in self.files:
            self.timestamp.version += 1
        self.timestamp.expires = expires or self.expires("timestamp")
        self.files["metadata/timestamp.json"] = self.sign(self.timestamp, self.signers["timestamp"])

    def release(self, revision: int, **changes: Any) -> None:
        """Publish the next bundle."""
        self.put(BUNDLE_PATH, archive(revision, self.now_s, **changes))
        self.publish_targets(POLICIES)

    def rotate(self, role: str, signers: Iterable[CryptoSigner] | None = None) -> None:
        """Replace a role's online key by a new root.

        Args:
            role: `snapshot` or `timestamp`.
            signers: who signs the new root; by default as many as needed.
        """
        for signer in self.signers[role]:
            self.root.revoke_key(signer.public_key.keyid, role)
        self.signers[role] = [CryptoSigner.generate_ed25519()]
        self.root.add_key(self.signers[role][0].public_key, role)
        self.root.version += 1
        self.publish_root(signers)

    def saved(self) -> Files:
        """What is served now, to be replayed later."""
        return dict(self.files)


def serve_folder(files: Files, folder: Path) -> Path:
    """Write files as a repository directory, replacing what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


Answer = Callable[[BaseHTTPRequestHandler, bytes | None], None]


def honest(handler: BaseHTTPRequestHandler, data: bytes | None) -> None:
    """200 with the file, or 404."""
    handler.send_response(404 if data is None else 200)
    handler.send_header("Content-Length", str(len(data or b"")))
    handler.end_headers()
    handler.wfile.write(data or b"")


def endless(handler: BaseHTTPRequestHandler, data: bytes | None) -> None:
    """Data without an end, as fast as it goes; the root lookup is answered."""
    if data is None:
        honest(handler, data)
        return
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 65_536)


def dripping(pause_s: float, step: int = 1) -> Answer:
    """A few bytes at a time: no gap is long, and it takes for ever."""

    def answer(handler: BaseHTTPRequestHandler, data: bytes | None) -> None:
        if data is None:
            honest(handler, data)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for i in range(0, len(data), step):
            handler.wfile.write(data[i : i + step])
            handler.wfile.flush()
            time.sleep(pause_s)

    return answer


def dripping_header(handler: BaseHTTPRequestHandler, data: bytes | None) -> None:
    """A status line that never ends."""
    for byte in b"HTTP/1.1 200 " + b"O" * 60_000:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.01)


def always_continue(handler: BaseHTTPRequestHandler, data: bytes | None) -> None:
    """`100 Continue`, for ever."""
    while True:
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.005)


def silent(handler: BaseHTTPRequestHandler, data: bytes | None) -> None:
    """Accepts and says nothing until the other side hangs up."""
    handler.connection.settimeout(30)
    handler.connection.recv(1)


def cut_short(handler: BaseHTTPRequestHandler, data: bytes | None) -> None:
    """Says how long the file is, and hangs up half-way."""
    if data is None:
        honest(handler, data)
        return
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])


def with_status(status: int, **headers: str) -> Answer:
    """A status and headers, and the file."""

    def answer(handler: BaseHTTPRequestHandler, data: bytes | None) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data or b"")))
        handler.end_headers()
        handler.wfile.write(data or b"")

    return answer


class HttpServer:
    """A web server on localhost.

    Attributes:
        files: what is served; may be replaced while it runs.
        answer: how; may be replaced too.
        asked: the names that were asked for.
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self.answer: Answer = honest
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = unquote(self.path).lstrip("/")
                outer.asked.append(name)
                try:
                    outer.answer(self, outer.files.get(name))
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            # The interpreter must not wait at exit for an answer that never ends.
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def wrap(self, wrapped: Callable[[socket.socket], socket.socket]) -> None:
        """Put TLS around the listening socket."""
        self._server.socket = wrapped(self._server.socket)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stop and release the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def serve_http(files: Files) -> Iterator[HttpServer]:
    """A running server."""
    server = HttpServer(files)
    server.start()
    try:
        yield server
    finally:
        server.stop()
