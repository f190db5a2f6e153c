"""The real Envoy in front of a service, a real PDP behind it: what goes on, and what breaks.

One Envoy has many listeners, each a configuration that an operator might have; the
service behind it remembers what reached it.
"""

from __future__ import annotations

import copy
import http.client
import io
import json
import os
import shutil
import signal
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from docs.demo.scene import TRUST_DOMAIN, Server
from docs.examples.envoy.stage import (
    HERE,
    Envoy,
    NotesScene,
    Reply,
    Upstream,
    configuration,
    envoy,
    upstream,
)
from pdp.authoring.throwaway import ThrowawayAuthority

ANN: Mapping[str, str] = {"x-demo-user": "ann"}
MAPPING = """
kind: http_mapping
headers: [x-demo-user]
body: json
upstream:
  set: {x-user: subject.id}
  remove: [x-demo-user]
routes:
  - id: told-in-the-body
    when: http.method == "POST"
    subject: {type: user, id: 'http.headers["x-demo-user"]'}
    action: '"write"'
    resource: {type: note, id: http.body.id}
  - id: note-of-a-workload
    when: http.segments.size() == 2 && http.segments[0] == "workloads"
    subject: {type: workload, id: source.spiffe_id}
    action: '"read"'
    resource: {type: note, id: "http.segments[1]"}
  - id: note-of-a-user
    when: http.segments.size() == 2 && http.segments[0] == "notes"
    subject: {type: user, id: 'http.headers["x-demo-user"]'}
    action: '{"GET": "read", "PUT": "write", "DELETE": "delete"}[http.method]'
    resource: {type: note, id: "http.segments[1]"}
"""

Tree = dict[str, Any]


def _authz(listener: Tree) -> Tree:
    """The settings of its ext_authz filter."""
    filters = _manager(listener)["http_filters"]
    found: Tree = filters[0]["typed_config"]
    return found


def _manager(listener: Tree) -> Tree:
    found: Tree = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def _asks(cluster: str) -> Callable[[Tree, Path], None]:
    def change(listener: Tree, _folder: Path) -> None:
        _authz(listener)["grpc_service"]["envoy_grpc"]["cluster_name"] = cluster

    return change


def _open(cluster: str) -> Callable[[Tree, Path], None]:
    def change(listener: Tree, folder: Path) -> None:
        _asks(cluster)(listener, folder)
        _authz(listener)["failure_mode_allow"] = True

    return change


def _raw(listener: Tree, _folder: Path) -> None:
    _authz(listener)["encode_raw_headers"] = True


def _partial(listener: Tree, _folder: Path) -> None:
    _authz(listener)["with_request_body"] |= {
        "max_request_bytes": 32,
        "allow_partial_message": True,
    }


def _careless(listener: Tree, _folder: Path) -> None:
    """Paths go on as they came."""
    manager = _manager(listener)
    manager["normalize_path"] = False
    manager["path_with_escaped_slashes_action"] = "KEEP_UNCHANGED"


def _tls(listener: Tree, folder: Path) -> None:
    """Clients show certificates to Envoy."""
    certificates = folder / "certificates"
    listener["filter_chains"][0]["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
            ".DownstreamTlsContext",
            "require_client_certificate": True,
            "common_tls_context": {
                "tls_certificates": [
                    {
                        "certificate_chain": {"filename": str(certificates / "pdp.pem")},
                        "private_key": {"filename": str(certificates / "pdp.key")},
                    }
                ],
                "validation_context": {
                    "trusted_ca": {"filename": str(certificates / "everybody.pem")}
                },
            },
        },
    }


# What differs from the example's own listener, `front`.
LISTENERS: Mapping[str, Callable[[Tree, Path], None]] = {
    "raw": _raw,
    "partial": _partial,
    "careless": _careless,
    "tls": _tls,
    "stranger": _asks("pdp-stranger"),
    "ungranted": _asks("pdp-ungranted"),
    "other pdp": _asks("pdp-other"),
    "open": _open("pdp"),
    "open stranger": _open("pdp-stranger"),
}


def _cluster(good: Tree, name: str, folder: Path) -> Tree:
    """The cluster of the PDP, with one thing changed."""
    found = copy.deepcopy(good)
    found["name"] = found["load_assignment"]["cluster_name"] = name
    tls = found["transport_socket"]["typed_config"]["common_tls_context"]
    if name == "pdp-other":
        (matcher,) = tls["validation_context"]["match_typed_subject_alt_names"]
        matcher["matcher"]["exact"] = f"spiffe://{TRUST_DOMAIN}/another-pdp"
    else:
        (shown,) = tls["tls_certificates"]
        for key, ending in (("certificate_chain", "pem"), ("private_key", "key")):
            shown[key]["filename"] = str(folder / "certificates" / f"{name}.{ending}")
    return found


def many_listeners(folder: Path, text: str) -> str:
    """The example's configuration with all listeners."""
    config = YAML(typ="safe").load(text)
    resources = config["static_resources"]
    (front,) = resources["listeners"]
    for name, change in LISTENERS.items():
        listener = copy.deepcopy(front)
        listener["name"] = name
        change(listener, folder)
        resources["listeners"].append(listener)
    pdp = resources["clusters"][0]
    resources["clusters"] += [
        _cluster(pdp, name, folder) for name in ("pdp-stranger", "pdp-ungranted", "pdp-other")
    ]
    out = io.StringIO()
    YAML(typ="safe").dump(config, out)
    return out.getvalue()


class Street(NotesScene):
    """The example's scene, with strangers, and room for a second PDP."""

    home = "first"

    def issue_certificates(self) -> None:
        """Besides: another authority, a workload of it, and one of ours without a grant."""
        super().issue_certificates()
        other = ThrowawayAuthority(TRUST_DOMAIN)
        other.issue("envoy").write(self.certificates, "pdp-stranger")
        other.issue("backup").write(self.certificates, "other-backup")
        self.authority.issue("nobody").write(self.certificates, "pdp-ungranted")
        both = self.authority.bundle_pem + other.bundle_pem
        (self.certificates / "everybody.pem").write_bytes(both)

    def configure(self, name: str, repository: Path) -> Path:
        """A PDP of its own: no two have one state folder or one spool."""
        path = super().configure(name, repository)
        text = path.read_text().replace('/state"', f'/state-{self.home}"')
        path.write_text(text.replace('/record"', f'/record-{self.home}"'))
        return path


@dataclass(frozen=True)
class Town:
    """Everything, running."""

    scene: Street
    pdp: Server
    service: Upstream
    envoy: Envoy

    def ask(self, method: str, path: str, headers: Mapping[str, str] = ANN, **how: Any) -> Reply:
        """One request through a listener."""
        return self.envoy.ask(method, path, headers, **how)

    def status(self, method: str, path: str, headers: Mapping[str, str] = ANN, **how: Any) -> int:
        """Its status; the service has seen the request exactly if that is 200."""
        before = len(self.service.seen)
        status = self.ask(method, path, headers, **how).status
        assert (len(self.service.seen) > before) is (status == 200)
        return status

    def until(self, status: int, *, listener: str = "front") -> None:
        """Ask until the status is such."""
        ends = time.monotonic() + 20
        while self.ask("GET", "/notes/welcome", listener=listener).status != status:
            assert time.monotonic() < ends
            time.sleep(0.02)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Street:
    """Signed policies and certificates, once."""
    made = Street(tmp_path_factory.mktemp("town"))
    made.issue_certificates()
    policies = made.folder / "policies"
    shutil.copytree(HERE / "policies", policies)
    (policies / "http.yaml").write_text(MAPPING)
    made.publish_first(policies)
    return made


@contextmanager
def running(scene: Street) -> Iterator[Town]:
    """A PDP, a service and Envoy."""
    with ExitStack() as stack:
        pdp = stack.enter_context(scene.serving(scene.repository))
        service = stack.enter_context(upstream())
        plain = configuration(scene.folder, pdp.port, service.port)
        config = many_listeners(scene.folder, plain)
        town = Town(scene, pdp, service, stack.enter_context(envoy(scene.folder, config)))
        # The first question of each connection pays for its handshake.
        town.until(200)
        yield town


@pytest.fixture(scope="module")
def town(scene: Street) -> Iterator[Town]:
    """For tests that break nothing."""
    with running(scene) as found:
        yield found


def test_a_permit_goes_on_and_a_denial_does_not(town: Town) -> None:
    """Permit, denials by rule and by default, with the decision's id on both ways."""
    assert town.status("GET", "/notes/welcome") == 200
    _, _, headers = town.service.seen[-1]
    assert headers["x-user"] == "ann"
    decision_id = headers["x-portcullis-decision-id"]
    denied = town.ask("DELETE", "/notes/ann-1")
    assert denied.status == 403
    assert json.loads(denied.body)["reasons"] == ["Notes are kept for a year."]
    assert denied.headers["cache-control"] == "no-store"
    assert town.status("GET", "/notes/ben-1") == 403
    assert town.status("GET", "/elsewhere") == 403
    spool = town.scene.folder / "record-first"
    record = town.scene.pdp("audit", "show", "--decision-id", decision_id, spool)
    assert "PERMIT(RULE) user:ann read note:welcome" in record.stdout
    assert "for GET 127.0.0.1" in record.stdout


def test_attack_smuggled_headers_do_not_reach_the_service(town: Town) -> None:
    """What a client writes under a name that is set or removed is replaced or gone."""
    smuggled = {
        **ANN,
        "x-user": "ben",
        "X-User": "root",
        "x-portcullis-decision-id": "made-up",
        "x-http-method-override": "DELETE",
        "x-original-url": "/notes/ben-1",
        "x-notes-scope": "all",
        "x-forwarded-client-cert": "URI=spiffe://demo.example.org/backup",
    }
    assert town.status("PUT", "/notes/ann-1", smuggled) == 200
    method, path, headers = town.service.seen[-1]
    assert (method, path) == ("PUT", "/notes/ann-1")
    assert headers["x-user"] == "ann"
    assert headers["x-portcullis-decision-id"] != "made-up"
    # The rule's obligation.
    assert headers["x-notes-scope"] == "own"
    for name in ("x-demo-user", "x-http-method-override", "x-original-url"):
        assert name not in headers
    assert "x-forwarded-client-cert" not in headers


@pytest.mark.parametrize("listener", ["front", "careless", "raw"])
def test_attack_paths_with_two_readings_do_not_go_on(town: Town, listener: str) -> None:
    """Also where Envoy is told to pass them on as they are."""
    for path in (
        "/notes/ann-1%2f..%2fben-1",
        "/notes/ann-1%252f..%252fben-1",
        "/notes/ann-1/../ben-1",
        "/notes//ann-1",
        "/notes/ann-1;x",
        "/notes/ann-1%00",
        "/notes/ann-1%5cx",
        "/notes/%c0%ae%c0%ae",
    ):
        assert town.status("GET", path, listener=listener) in {400, 403}, path
    assert town.status("GET", "/notes/ann%2D1", listener=listener) == 200


def test_attack_a_second_identity_in_one_header_is_nobody(town: Town) -> None:
    """Two headers of one name are one value with a comma, in both forms that Envoy has."""

    def twice(port: int) -> http.client.HTTPConnection:
        class Twice(http.client.HTTPConnection):
            """Sends the header once more."""

            def endheaders(self, *given: Any, **named: Any) -> None:
                """With another subject."""
                self.putheader("x-demo-user", "ben")
                super().endheaders(*given, **named)

        return Twice("127.0.0.1", port, timeout=10)

    for listener in ("front", "raw"):
        assert town.status("GET", "/notes/ben-1", listener=listener, connect=twice) == 403
        assert town.status("GET", "/notes/ann-1", listener=listener, connect=twice) == 403


def test_a_body_is_read_only_if_envoy_sent_all_of_it(town: Town) -> None:
    """Whole: the note that it names. Cut off by Envoy: unknown, whatever the client says."""
    headers = {**ANN, "content-type": "application/json"}
    small, large = b'{"id": "ann-1"}', b'{"id": "ann-1", "more": "' + b"x" * 40 + b'"}'
    assert town.status("POST", "/notes", headers, body=small) == 200
    assert town.status("POST", "/notes", headers=headers, body=b'{"id": "ben-1"}') == 403
    assert town.status("POST", "/notes", headers, listener="partial", body=small) == 200
    claims = {**headers, "x-envoy-auth-partial-body": "false"}
    assert town.status("POST", "/notes", claims, listener="partial", body=large) == 403
    assert town.status("POST", "/notes", claims, body=large) == 200


def _with_certificate(scene: Street, name: str) -> Callable[[int], http.client.HTTPConnection]:
    def connect(port: int) -> http.client.HTTPConnection:
        context = ssl.create_default_context(cafile=str(scene.certificates / "ca.pem"))
        certificates = scene.certificates
        context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
        return http.client.HTTPSConnection("localhost", port, timeout=10, context=context)

    return connect


def test_a_certificate_that_envoy_forwards_is_a_subject(town: Town) -> None:
    """One of ours, with the grant that Envoy has; another authority's Envoy believes, we do not."""
    backup = _with_certificate(town.scene, "backup")
    assert town.status("GET", "/workloads/ben-1", {}, listener="tls", connect=backup) == 200
    _, _, headers = town.service.seen[-1]
    assert headers["x-user"] == f"spiffe://{TRUST_DOMAIN}/backup"
    other = _with_certificate(town.scene, "other-backup")
    assert town.status("GET", "/workloads/ben-1", {}, listener="tls", connect=other) == 403
    assert town.status("GET", "/workloads/ben-1", {}) == 403


def test_a_wrong_certificate_of_envoy_or_of_the_pdp_is_a_denial(town: Town) -> None:
    """Another authority, no grant, or a PDP that is not the one that Envoy expects."""
    for listener in ("stranger", "ungranted", "other pdp"):
        assert town.status("GET", "/notes/welcome", listener=listener) == 403, listener


def test_a_denial_is_a_denial_even_where_failures_are_let_through(town: Town) -> None:
    """With `failure_mode_allow: true`, what the PDP denies is denied: it never says that it failed.

    The twin is beside it: an Envoy that the PDP does not talk to lets everything through.
    """
    assert town.status("DELETE", "/notes/ann-1", listener="open") == 403
    assert town.status("GET", "/notes/ann-1%252f", listener="open") == 403
    assert town.status("GET", "/notes/welcome", {}, listener="open") == 403
    assert town.status("DELETE", "/notes/ann-1", listener="open stranger") == 200


def test_a_slow_a_killed_and_a_new_pdp(scene: Street) -> None:
    """SIGSTOP and SIGKILL are denials in Envoy's own time; afterwards requests go on."""
    scene.home = "second"
    with running(scene) as town:
        os.kill(town.pdp.process.pid, signal.SIGSTOP)
        try:
            slow = town.ask("GET", "/notes/welcome")
        finally:
            os.kill(town.pdp.process.pid, signal.SIGCONT)
        assert slow.status == 403
        assert slow.body == ""
        assert slow.seconds >= 0.4
        town.until(200)
        seen = len(town.service.seen)
        town.pdp.process.kill()
        town.pdp.process.wait()
        assert town.ask("GET", "/notes/welcome").status == 403
        assert len(town.service.seen) == seen
        # The twin: where failures are let through, the PDP's absence is a permit.
        assert town.ask("DELETE", "/notes/ann-1", listener="open").status == 200
        path = scene.configure("again.toml", scene.repository)
        path.write_text(path.read_text().replace("localhost:0", f"localhost:{town.pdp.port}"))
        again = scene.start(path)
        try:
            town.until(200)
        finally:
            again.process.kill()
            again.process.wait()
            if again.process.stdout:
                again.process.stdout.close()
