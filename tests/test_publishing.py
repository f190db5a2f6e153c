"""The publisher: keys, thresholds, rebuilds, and a repository that readers always see whole."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Key, Signature, Signer

from pdp.archive import ArchiveLimits, read_archive, write_archive
from pdp.authoring import compilation
from pdp.bundle import BundleKeeper, BundleSettings, PollResult
from pdp.bundle.contents import read_bundle
from pdp.bundle.denials import EMPTY_DENIALS
from pdp.bundle.manifest import parse_manifest
from pdp.bundle.memory import write_durably
from pdp.cel.limits import EvaluationLimits
from pdp.errors import BundleRefusedError, ConfigurationError
from pdp.publishing import building, edition, releasing
from pdp.publishing.building import PolicyProblemsError, Release, build_folder, rebuild
from pdp.publishing.inspection import inspect_state
from pdp.publishing.keyring import Keyring, KeyUnavailableError
from pdp.publishing.plan import (
    EMERGENCY,
    POLICIES,
    RolePlan,
    default_plan,
    load_plan,
    parse_duration,
    render_plan,
    small_plan,
    with_role_options,
)
from pdp.publishing.releasing import Publisher
from pdp.publishing.starter import has_callers, write_starter
from tests.simulators.bundle_reader import Clock

ROLES = default_plan().order
POLICY = """\
policy: documents
resource: document
owner: owner@example.org
rules:
  - id: alice-reads
    effect: permit
    actions: [read]
    when: subject.id == "alice"
    justification: she wrote it
"""
SIGNED_AT_S = 1_795_000_000


@pytest.fixture(scope="session")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one policy and the starter's caller policy."""
    folder = tmp_path_factory.mktemp("policies")
    write_starter(folder, "spiffe://example.org/web")
    (folder / "documents.yaml").write_text(POLICY)
    return folder


@pytest.fixture(scope="session")
def built(policies: Path) -> bytes:
    """Its archive, revision 1."""
    return build_folder(policies, Release(1, int(time.time())))


def revised(archive: bytes, revision: int, **changes: Any) -> bytes:
    """The same contents under another revision, without compiling again."""
    members = read_archive(archive)
    manifest = parse_manifest(members.pop("manifest.json"))
    manifest = dataclasses.replace(manifest, revision=revision, **changes)
    return write_archive({**members, "manifest.json": manifest.to_bytes()})


class Desk:
    """A publisher at work, and a PDP that reads what it publishes."""

    def __init__(self, folder: Path, plan: Any = None) -> None:
        self.folder = folder
        self.clock = Clock()
        self.publisher = Publisher(folder / "repository", folder / "keys", self.clock)
        self.publisher.initialise(plan or default_plan())
        self.keeper: BundleKeeper | None = None

    @property
    def repository(self) -> Path:
        """The directory that is served."""
        return self.folder / "repository"

    @property
    def keys(self) -> Path:
        """The folder of keys."""
        return self.folder / "keys"

    def files(self) -> dict[str, bytes]:
        """Everything in the directory."""
        return {
            str(path.relative_to(self.repository)): path.read_bytes()
            for path in sorted(self.repository.rglob("*"))
            if path.is_file()
        }

    def read(self) -> PollResult:
        """What a PDP says: at its first start, or polling."""
        if self.keeper is None:
            keeper = BundleKeeper(
                BundleSettings(str(self.repository), self.keys / "root.json", self.folder / "s", 1),
                EvaluationLimits(),
                self.clock,
            )
            result = keeper.start()
            self.keeper = keeper
            return result
        return self.keeper.poll()

    @property
    def revision(self) -> int | None:
        """What the PDP has."""
        assert self.keeper is not None
        snapshot = self.keeper.current()
        return snapshot.ref.revision if snapshot else None

    def close(self) -> None:
        """End the PDP."""
        if self.keeper is not None:
            self.keeper.close()

    def hide(self, *names: str) -> None:
        """Take private keys away, as to a safe."""
        for name in names:
            (self.keys / f"{name}.pem").rename(self.folder / f"{name}.pem")

    def bring(self, *names: str) -> None:
        """Bring them back."""
        for name in names:
            (self.folder / f"{name}.pem").rename(self.keys / f"{name}.pem")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A new repository by the table of references/security.md section 1.5."""
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.fixture
def published(desk: Desk, built: bytes) -> Desk:
    """With a bundle in it, and a PDP that has loaded it."""
    desk.publisher.publish(built)
    assert desk.read().outcome == "updated"
    return desk


# ---- init -------------------------------------------------------------------


def test_new_repository_follows_the_table(desk: Desk) -> None:
    """Roles, thresholds, numbers of keys and expiries of references/security.md 1.5."""
    facts = inspect_state(desk.publisher.read(), desk.publisher.now_s())
    found = {r.name: (r.threshold, len(r.keys), r.signatures, r.expires_in_s) for r in facts.roles}
    day = 86_400
    expected = {
        "root": (3, 5, 5, 365 * day),
        "targets": (2, 3, 3, 90 * day),
        POLICIES: (2, 3, 3, 30 * day),
        EMERGENCY: (1, 3, 3, 30 * day),
        "snapshot": (1, 1, 1, 30 * day),
        "timestamp": (1, 1, 1, 3600),
    }
    assert found.keys() == expected.keys()
    for name, (threshold, keys, signatures, life) in expected.items():
        assert found[name][:3] == (threshold, keys, signatures)
        assert 0 <= life - found[name][3] <= 5
    root = desk.publisher.read().root.signed
    assert root.consistent_snapshot is True
    assert not set(root.roles["snapshot"].keyids) & set(root.roles["timestamp"].keyids)
    delegations = desk.publisher.read().targets.signed.delegations
    assert delegations is not None
    assert delegations.roles is not None
    assert [(r.name, r.paths, r.terminating) for r in delegations.roles.values()] == [
        (POLICIES, ["policies/default/*"], True),
        (EMERGENCY, ["emergency/*"], True),
    ]


def test_private_keys_are_private_and_nowhere_else(desk: Desk) -> None:
    """Folder 0700, files 0600, and nothing of them in what is served."""
    assert stat.S_IMODE(desk.keys.stat().st_mode) == 0o700
    private = list(desk.keys.glob("*.pem"))
    assert len(private) == 16
    for path in private:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY")
    served = b"".join(desk.files().values())
    assert b"PRIVATE" not in served
    for path in private:
        assert path.read_bytes().splitlines()[1] not in served


def test_new_repository_has_denials_and_no_bundle(desk: Desk) -> None:
    """The emergency list is there from the start; a PDP says what is missing."""
    assert desk.publisher.read().target("emergency/denials.json") is not None
    with pytest.raises(BundleRefusedError, match=r"no `policies/default/bundle.tar`"):
        desk.read()


def test_second_init_is_refused(desk: Desk) -> None:
    """It would be a repository that no PDP trusts, in the place of one that they do."""
    before = desk.files()
    with pytest.raises(ConfigurationError, match="there is a repository"):
        desk.publisher.initialise(default_plan())
    assert desk.files() == before


def test_init_reuses_a_plan_and_keys_that_are_there(tmp_path: Path) -> None:
    """Whoever prepared the folder of keys is not overruled by defaults or options."""
    keys = tmp_path / "keys"
    plan = with_role_options(small_plan(), ["root=1-of-2"])
    assert len(Keyring(keys, plan).make_missing()) == 7
    (keys / "repository.toml").write_text(render_plan(plan))
    state, made = Publisher(tmp_path / "r", keys, time.time_ns).initialise(default_plan())
    assert made == []
    assert len(state.root.signed.roles["root"].keyids) == 2


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701])
def test_folder_of_keys_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """Keys are not made where others can read them."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys").chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 700"):
        Keyring(tmp_path / "keys", small_plan()).make_missing()


def test_starter_caller_policy_compiles(policies: Path, built: bytes) -> None:
    """What init writes is a caller policy, found again by the next init."""
    assert has_callers(policies)
    assert "callers.yaml" in read_bundle(built, ArchiveLimits()).compiled
    with pytest.raises(ConfigurationError):
        write_starter(policies, "spiffe://example.org/other")


# ---- plan -------------------------------------------------------------------


def test_plan_round_trip(tmp_path: Path) -> None:
    """What is written is read, URIs included."""
    plan = with_role_options(small_plan(), ["targets=2-of-4,60d", "timestamp=1-of-1,30m"])
    plan = dataclasses.replace(plan, uris={"root-1": 'hsm:2?label="root"'})
    (tmp_path / "repository.toml").write_text(render_plan(plan))
    assert load_plan(tmp_path) == plan
    assert plan.roles["timestamp"].expires_s == 1800


@pytest.mark.parametrize(
    "option",
    ["root", "root=1", "root=0-of-1", "root=2-of-1", "rot=1-of-1", "root=1-of-1,", "root=1-of-1,5",
     "root=1-of-1,0d", "root=1-of-1,1s", "timestamp=1-of-1,2d", "root=33-of-40", "root=-1-of-1"],
)  # fmt: skip
def test_role_options_that_cannot_be_signed_are_refused(option: str) -> None:
    """With the option, and how to write it."""
    with pytest.raises(ConfigurationError):
        with_role_options(default_plan(), [option])


def test_online_keys_sign_nothing_else() -> None:
    """A key on the timestamp's machine must not count for snapshot, targets or root."""
    for online in ("timestamp", "snapshot"):
        for other in ROLES:
            if other == online:
                continue
            roles = dict(default_plan().roles)
            role = roles[other]
            roles[other] = RolePlan(1, (*role.keys, f"{online}-1"), role.expires_s)
            with pytest.raises(ConfigurationError, match="signs one role only"):
                dataclasses.replace(default_plan(), roles=roles)


@pytest.mark.parametrize(
    "text",
    ["", "[roles]\n", "x = 1\n", "roles = 1\n", "[[roles]]\n", "not toml", "\0",
     "[roles.root]\nthreshold = 1\n", "[uris]\nroot-1 = 1\n",
     "[roles.root]\nthreshold = true\nkeys = ['a']\nexpires = '1d'\n",
     "[roles.root]\nthreshold = 1\nkeys = 'a'\nexpires = '1d'\n",
     "[roles.root]\nthreshold = 1\nkeys = ['../a']\nexpires = '1d'\n",
     "[roles.root]\nthreshold = 1\nkeys = ['a', 'a']\nexpires = '1d'\n"],
)  # fmt: skip
def test_plans_that_make_no_sense_are_refused(tmp_path: Path, text: str) -> None:
    """A message that names the file."""
    (tmp_path / "repository.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"repository\.toml"):
        load_plan(tmp_path)


def test_durations() -> None:
    """Days, hours, minutes, seconds; one unit."""
    assert [parse_duration(t) for t in ("2d", "1h", "30m", "90s")] == [172_800, 3600, 1800, 90]
    for text in ("", "1", "d", "0d", "-1d", "1.5h", "1h30m", "1 d", "01d", "9999999d"):
        with pytest.raises(ConfigurationError):
            parse_duration(text)


# ---- keys -------------------------------------------------------------------


def test_threshold_is_met_with_some_keys_missing(desk: Desk, built: bytes) -> None:
    """Two of three tenant keys are enough."""
    desk.hide("policies-default-2")
    desk.publisher.publish(built)
    assert desk.read().outcome == "updated"


def test_threshold_that_is_not_met_writes_nothing(desk: Desk, built: bytes) -> None:
    """The message says which keys are missing and why; readers see the old state."""
    desk.hide("policies-default-1", "policies-default-3")
    before = desk.files()
    with pytest.raises(ConfigurationError) as caught:
        desk.publisher.publish(built)
    message = str(caught.value)
    assert "`policies/default` needs 2 signatures and has 1" in message
    assert "policies-default-1.pem`: no such file" in message
    assert desk.files() == before


def test_key_that_others_can_read_is_not_used(desk: Desk) -> None:
    """As ssh does it."""
    (desk.keys / "timestamp-1.pem").chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        desk.publisher.freshen()


def test_private_key_of_another_public_half_is_not_used(desk: Desk) -> None:
    """A mixed-up file is noticed before anything is signed with it."""
    shutil.copy(desk.keys / "snapshot-1.pem", desk.keys / "timestamp-1.pem")
    with pytest.raises(ConfigurationError, match="does not match public key"):
        desk.publisher.freshen()


def test_one_key_under_two_names_is_refused(tmp_path: Path) -> None:
    """A threshold of two must not be one person with two files."""
    keyring = Keyring(tmp_path / "keys", default_plan())
    keyring.make_missing()
    for suffix in ("pub", "pem"):
        shutil.copy(tmp_path / "keys" / f"root-1.{suffix}", tmp_path / "keys" / f"root-2.{suffix}")
    (tmp_path / "keys" / "repository.toml").write_text(render_plan(default_plan()))
    with pytest.raises(ConfigurationError, match="`root-1` and `root-2` are the same key"):
        Publisher(tmp_path / "r", tmp_path / "keys", time.time_ns).initialise(default_plan())


class RackSigner(Signer):
    """A key that is not a file: what an HSM or a KMS is to securesystemslib."""

    RACK: dict[str, CryptoSigner] = {}  # noqa: RUF012 the rack
    BROKEN: set[str] = set()  # noqa: RUF012

    def __init__(self, signer: CryptoSigner) -> None:
        self._signer = signer

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: Any = None
    ) -> RackSigner:
        """`rack:NAME`."""
        name = priv_key_uri.removeprefix("rack:")
        if name in cls.BROKEN:
            raise TimeoutError("no route to\nthe rack")
        return cls(cls.RACK[name])

    @property
    def public_key(self) -> Key:
        """The public half."""
        return self._signer.public_key

    def sign(self, payload: bytes) -> Signature:
        """Sign in the rack."""
        return self._signer.sign(payload)


@pytest.fixture
def rack(monkeypatch: pytest.MonkeyPatch) -> type[RackSigner]:
    """Signers of `rack:` URIs, as plug-ins of securesystemslib are registered."""
    monkeypatch.setitem(SIGNER_FOR_URI_SCHEME, "rack", RackSigner)
    monkeypatch.setattr(RackSigner, "RACK", {})
    monkeypatch.setattr(RackSigner, "BROKEN", set())
    return RackSigner


@pytest.mark.parametrize("kind", ["ecdsa", "ed25519", "rsa"])
def test_keys_behind_other_uris(
    tmp_path: Path, built: bytes, rack: type[RackSigner], kind: str
) -> None:
    """Every key elsewhere: the folder has public halves only, and all commands work."""
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    plan = small_plan()
    plan = dataclasses.replace(plan, uris={name: f"rack:{name}" for name in plan.key_names})
    (keys / "repository.toml").write_text(render_plan(plan))
    publisher = Publisher(tmp_path / "repository", keys, time.time_ns)
    with pytest.raises(ConfigurationError, match="put its public key there, in PEM"):
        publisher.initialise(default_plan())
    for name in plan.key_names:
        signer: CryptoSigner = getattr(CryptoSigner, f"generate_{kind}")()
        rack.RACK[name] = signer
        (keys / f"{name}.pub").write_bytes(_public_pem(signer))
    publisher.initialise(default_plan())
    publisher.publish(built)
    publisher.freshen()
    assert list(keys.glob("*.pem")) == []
    keeper = BundleKeeper(
        BundleSettings(str(tmp_path / "repository"), keys / "root.json", tmp_path / "s", 1),
        EvaluationLimits(),
        time.time_ns,
    )
    assert keeper.start().outcome == "updated"
    keeper.close()
    rack.BROKEN.add("timestamp-1")
    with pytest.raises(ConfigurationError, match="`rack:timestamp-1` cannot be used: no route to"):
        publisher.freshen()


def _public_pem(signer: CryptoSigner) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = signer._private_key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_unknown_key_scheme_is_an_error_that_names_it(tmp_path: Path) -> None:
    """`vault:` is not `hv:`."""
    Keyring(tmp_path / "keys", small_plan()).make_missing()
    plan = dataclasses.replace(small_plan(), uris={"root-1": "vault:x"})
    with pytest.raises(KeyUnavailableError, match=r"`vault:x` cannot be used: .*scheme vault"):
        Keyring(tmp_path / "keys", plan).signer("root-1")


# ---- build and rebuild ------------------------------------------------------


def test_same_sources_same_bytes(policies: Path, tmp_path: Path) -> None:
    """Across folders, file times and hash seeds of real processes."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(policies, copy)
    for path in copy.iterdir():
        os.utime(path, (1, 1))
    program = (
        "import sys, hashlib; from pathlib import Path;"
        "from pdp.publishing.building import *;"
        f"data = build_folder(Path(sys.argv[1]), Release(3, {SIGNED_AT_S}, 'abc'));"
        "print(hashlib.sha256(data).hexdigest())"
    )
    found = {hashlib.sha256(build_folder(policies, Release(3, SIGNED_AT_S, "abc"))).hexdigest()}
    for seed, folder in (("1", policies), ("2", copy)):
        done = subprocess.run(
            [sys.executable, "-c", program, str(folder)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout.strip())
    assert len(found) == 1


def test_policies_with_problems_build_nothing(policies: Path, tmp_path: Path) -> None:
    """All problems at once, each with its place."""
    folder = tmp_path / "policies"
    shutil.copytree(policies, folder)
    (folder / "documents.yaml").write_text(POLICY.replace("effect: permit", "effect: perhaps"))
    (folder / "more.yaml").write_text("policy: more\n")
    with pytest.raises(PolicyProblemsError) as caught:
        build_folder(folder, Release(1, SIGNED_AT_S))
    places = {p.position.path for p in caught.value.problems if p.position is not None}
    assert places == {"documents.yaml", "more.yaml"}


def test_commit_is_asked_of_git(tmp_path: Path) -> None:
    """The commit of the folder, marked when something in it is not committed."""
    assert building.commit_of(tmp_path) == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    commit = building.commit_of(tmp_path)
    assert len(commit) == 40
    (tmp_path / "new").write_text("x")
    assert building.commit_of(tmp_path) == f"{commit}-dirty"


def with_evil_ast(archive: bytes) -> bytes:
    """A consistent archive whose compiled policy is not its source's: alice becomes anyone."""
    source = POLICY.replace('    when: subject.id == "alice"\n', "").encode()
    members = read_archive(archive)
    evil = compilation.compile_sources(
        {"documents.yaml": source, "callers.yaml": members["sources/callers.yaml"]}
    )
    compiled = {d.source_path: d.compiled for d in evil.documents}["documents.yaml"]
    manifest = parse_manifest(members.pop("manifest.json"))
    members["compiled/documents.yaml.pb"] = compiled
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in members.items()}
    manifest = dataclasses.replace(manifest, members=digests)
    return write_archive({**members, "manifest.json": manifest.to_bytes()})


def test_honest_archive_rebuilds(built: bytes) -> None:
    """Every byte follows from the sources and the manifest's own facts."""
    assert rebuild(built).manifest.revision == 1
    assert rebuild(revised(built, 9)).manifest.revision == 9


def test_ast_that_is_not_its_sources_is_never_signed(desk: Desk, built: bytes) -> None:
    """Reviewers read the source; the PDP runs the AST. Signing compares them."""
    evil = with_evil_ast(built)
    read_bundle(evil, ArchiveLimits())  # consistent in itself
    with pytest.raises(BundleRefusedError, match=r"`documents.yaml` is not what its source"):
        rebuild(evil)
    before = desk.files()
    with pytest.raises(BundleRefusedError, match="is not what its source compiles to"):
        desk.publisher.publish(evil)
    assert desk.files() == before


def test_ast_that_is_not_its_sources_twin_without_guard(
    desk: Desk, built: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the rebuild it is signed, and a PDP runs what nobody reviewed."""
    monkeypatch.setattr(
        releasing, "rebuild", lambda data, anchor: read_bundle(data, ArchiveLimits())
    )
    desk.publisher.publish(with_evil_ast(built))
    assert desk.read().outcome == "updated"
    assert desk.keeper is not None
    snapshot = desk.keeper.current()
    assert snapshot is not None
    (found,) = snapshot.policies["default"].candidates("document", "read", 0)
    assert found.when is None


def with_source(archive: bytes, source: bytes) -> bytes:
    """A consistent archive with another source beside the same AST."""
    members = read_archive(archive)
    manifest = parse_manifest(members.pop("manifest.json"))
    members["sources/documents.yaml"] = source
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in members.items()}
    manifest = dataclasses.replace(manifest, members=digests)
    return write_archive({**members, "manifest.json": manifest.to_bytes()})


@pytest.mark.parametrize(
    "source",
    [
        b"policy: [",
        b"",
        POLICY.replace("alice", "mallory").encode(),
        POLICY.replace("alice-reads", "bob-reads").encode(),
        b"# moved down\n" + POLICY.encode(),
    ],
)
def test_source_that_is_not_its_asts_is_never_signed(built: bytes, source: bytes) -> None:
    """Broken, harmless-looking, or with other positions: the two forms go together."""
    with pytest.raises(BundleRefusedError):
        rebuild(with_source(built, source))


def test_a_comment_at_the_end_makes_no_other_ast(built: bytes) -> None:
    """What compiles to the same bytes is the same policy."""
    rebuild(with_source(built, POLICY.encode() + b"# reviewed\n"))


# ---- publish ----------------------------------------------------------------


def test_published_bundles_reach_a_pdp(published: Desk, built: bytes) -> None:
    """Release after release; each is the next revision."""
    for revision in (2, 3):
        published.publisher.publish(revised(built, revision))
        assert published.read().outcome == "updated"
    assert published.revision == 4


def test_next_revision_is_above_the_published_one(desk: Desk, built: bytes) -> None:
    """`build` asks the repository."""
    assert desk.publisher.next_revision() == 1
    desk.publisher.publish(revised(built, 5))
    assert desk.publisher.next_revision() == 6


def test_unchanged_and_older_bundles_are_refused(published: Desk, built: bytes) -> None:
    """The same archive, the same revision with other contents, a lower one."""
    published.publisher.publish(revised(built, 5))
    before = published.files()
    for archive, match in (
        (revised(built, 5), "is published already"),
        (revised(built, 5, source_commit="other"), "each revision is used once"),
        (revised(built, 4), "each revision is used once"),
    ):
        with pytest.raises(BundleRefusedError, match=match):
            published.publisher.publish(archive)
    assert published.files() == before


def test_bundle_from_the_future_is_refused(desk: Desk, built: bytes) -> None:
    """No PDP would take it."""
    future = revised(built, 1, signed_at_s=int(time.time()) + 3600)
    with pytest.raises(BundleRefusedError, match="is after now"):
        desk.publisher.publish(future)


def test_emergency_needs_only_its_own_and_the_online_keys(published: Desk) -> None:
    """One on-call engineer can tighten, with everything else in the safe."""
    others = [p.stem for p in published.keys.glob("*.pem")]
    needed = {"emergency-2", "snapshot-1", "timestamp-1"}
    published.hide(*(name for name in others if name not in needed))
    denials = EMPTY_DENIALS.replace(b'"callers": []', b'"callers": ["spiffe://example.org/web"]')
    published.publisher.publish(denials=denials)
    assert published.read().outcome == "updated"
    assert published.keeper is not None
    snapshot = published.keeper.current()
    assert snapshot is not None
    assert snapshot.denials.callers == {"spiffe://example.org/web"}
    custom = published.publisher.read().target("emergency/denials.json")
    assert custom is not None
    assert custom.custom["revision"] == 2


def test_wrong_denials_are_never_published(published: Desk) -> None:
    """Judged by the PDP's own parser before anything is signed."""
    before = published.files()
    for wrong in (b"", b"{}", EMPTY_DENIALS.replace(b"callers", b"caller")):
        with pytest.raises(BundleRefusedError, match="the list of denials"):
            published.publisher.publish(denials=wrong)
    assert published.files() == before


def test_freshen_changes_the_timestamp_and_nothing_else(published: Desk) -> None:
    """With the timestamp key alone."""
    published.hide(*(p.stem for p in published.keys.glob("*.pem") if p.stem != "timestamp-1"))
    before = published.files()
    published.clock.offset_s = 600
    published.publisher.freshen()
    after = published.files()
    assert {name for name in after if after[name] != before.get(name)} == {
        "metadata/timestamp.json"
    }
    assert published.read().outcome == "unchanged"
    assert published.keeper is not None
    snapshot = published.keeper.current()
    assert snapshot is not None
    assert snapshot.fresh_until_ns > before_ns(before) + 590 * 10**9


def before_ns(files: dict[str, bytes]) -> int:
    """When a saved timestamp expired."""
    from datetime import datetime

    expires = json.loads(files["metadata/timestamp.json"])["signed"]["expires"]
    return int(datetime.fromisoformat(expires).timestamp() * 10**9)


def test_expired_roles_are_named_with_their_remedy(published: Desk, built: bytes) -> None:
    """After a month without a release nothing is signed over expired roles; renewing heals."""
    published.clock.offset_s = 31 * 86_400
    with pytest.raises(BundleRefusedError, match="--renew policies/default"):
        published.publisher.publish(denials=EMPTY_DENIALS)
    with pytest.raises(BundleRefusedError) as caught:
        published.publisher.freshen()
    remedy = "--renew policies/default --renew emergency --renew snapshot"
    assert remedy in str(caught.value)
    state = published.publisher.publish(renew=[POLICIES, EMERGENCY, "snapshot"])
    facts = inspect_state(state, published.publisher.now_s())
    assert facts.first_to_expire == "timestamp"
    assert facts.fresh_for_s == 3600


@pytest.mark.parametrize("role", ROLES)
def test_every_role_can_be_renewed(published: Desk, role: str) -> None:
    """A new version of the role; a PDP follows."""
    before = {r.name: r.version for r in _facts(published)}
    published.publisher.publish(renew=[role])
    after = {r.name: r.version for r in _facts(published)}
    assert after[role] == before[role] + 1
    assert published.read().verified


def _facts(desk: Desk) -> tuple[Any, ...]:
    return inspect_state(desk.publisher.read(), desk.publisher.now_s()).roles


def change_plan(desk: Desk, role: str, keys: tuple[str, ...], threshold: int = 1) -> None:
    """Edit repository.toml and make the new keys, as an operator does."""
    plan = load_plan(desk.keys)
    roles = {**plan.roles, role: RolePlan(threshold, keys, plan.roles[role].expires_s)}
    plan = dataclasses.replace(plan, roles=roles)
    (desk.keys / "repository.toml").write_text(render_plan(plan))
    Keyring(desk.keys, plan).make_missing()


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_key_rotation_by_a_new_root(published: Desk, built: bytes, role: str) -> None:
    """A new plan, a new root, whatever it changed signed anew; old PDPs and new ones follow."""
    change_plan(published, role, (f"{role}-new",))
    published.publisher.publish(renew=["root"])
    assert published.read().verified
    published.hide(*(p.stem for p in published.keys.glob(f"{role}-?.pem")))
    published.publisher.publish(revised(built, 2))
    published.publisher.publish(renew=["targets"])
    assert published.read().outcome == "updated"


def test_rotation_cut_short_before_the_timestamp_is_finished_by_the_next(
    published: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new root is there and the timestamp is still by the old key: refused, then healed."""

    def failing(path: Path, data: bytes, mode: int) -> None:
        if path.name == "timestamp.json":
            raise OSError(28, "No space left on device", str(path))
        write_durably(path, data, mode)

    change_plan(published, "timestamp", ("timestamp-new",))
    with monkeypatch.context() as patched:
        patched.setattr(edition, "write_durably", failing)
        with pytest.raises(OSError, match="No space"):
            published.publisher.publish(renew=["root"])
    assert published.read().outcome == "refused"
    published.publisher.freshen()
    assert published.read().verified


def test_rotation_of_root_keys_needs_old_and_new(published: Desk) -> None:
    """The next root is signed by the old root's keys and by its own."""
    change_plan(published, "root", ("next-1", "next-2", "root-1"), threshold=2)
    published.hide("root-2", "root-3", "root-4")
    with pytest.raises(ConfigurationError, match="`root` needs 3 signatures"):
        published.publisher.publish(renew=["root"])
    published.bring("root-2", "root-3", "root-4")
    published.publisher.publish(renew=["root"])
    assert published.read().verified
    state = published.publisher.read()
    assert [len(root.signed.roles["root"].keyids) for root in state.roots] == [5, 3]


def test_rotation_of_tenant_keys(published: Desk, built: bytes) -> None:
    """`--renew targets` delegates to the new keys and signs the tenant's role with them."""
    change_plan(published, POLICIES, ("reviewer-1", "reviewer-2"), threshold=2)
    published.publisher.publish(renew=["targets"])
    assert published.read().verified
    published.hide("policies-default-1", "policies-default-2", "policies-default-3")
    published.publisher.publish(revised(built, 2))
    assert published.read().outcome == "updated"


@pytest.mark.parametrize("name", ["timestamp.json", "1.targets.json", f"2.{POLICIES}.json"])
def test_changed_repository_is_not_signed(published: Desk, built: bytes, name: str) -> None:
    """Who can write the directory cannot have it signed."""
    path = published.repository / "metadata" / name
    data = json.loads(path.read_bytes())
    data["signed"]["expires"] = "2099-01-01T00:00:00Z"
    path.write_text(json.dumps(data))
    for attempt in (
        published.publisher.freshen,
        lambda: published.publisher.publish(revised(built, 2)),
    ):
        with pytest.raises(BundleRefusedError, match="does not verify"):
            attempt()


def test_repository_of_other_keys_is_not_signed(published: Desk, tmp_path: Path) -> None:
    """A directory that was swapped as a whole: the publisher has its own trusted root."""
    (tmp_path / "other").mkdir()
    other = Desk(tmp_path / "other", small_plan())
    shutil.rmtree(published.repository)
    shutil.copytree(other.repository, published.repository)
    with pytest.raises(BundleRefusedError, match="does not verify"):
        published.publisher.freshen()


# ---- readers, crashes, other publishers -------------------------------------


@pytest.mark.parametrize("persisted", [False, True], ids=["not-written", "written-then-failed"])
def test_publication_cut_short_anywhere_leaves_a_whole_repository(
    published: Desk, built: bytes, monkeypatch: pytest.MonkeyPatch, persisted: bool
) -> None:
    """At every write: a new PDP loads the old edition or the new one; publishing again works."""
    original, crashes = write_durably, 0
    for point in range(1, 100):
        writes = 0

        def failing(path: Path, data: bytes, mode: int, point: int = point) -> None:
            nonlocal writes
            writes += 1
            if writes == point:
                if persisted:
                    original(path, data, mode)
                raise OSError(28, "No space left on device", str(path))
            original(path, data, mode)

        archive = revised(built, 1 + point)
        with monkeypatch.context() as patched:
            patched.setattr(edition, "write_durably", failing)
            try:
                published.publisher.publish(archive, EMPTY_DENIALS, renew=["root", "targets"])
            except OSError:
                crashes += 1
        result = published.read()
        assert result.verified, result
        if writes < point:
            break
    # A bundle, denials, four roles and a snapshot, a root, a timestamp.
    assert crashes == 8
    published.publisher.publish(revised(built, 1000))
    assert published.read().outcome == "updated"


def test_publication_cut_short_twin_without_guard(
    published: Desk, built: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the timestamp were written first, a crash after it would leave nothing to load."""
    original, writes = write_durably, []

    def reordered(path: Path, data: bytes, mode: int) -> None:
        writes.append((path, data, mode))
        if path.name == "timestamp.json":
            original(path, data, mode)
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(edition, "write_durably", reordered)
    with pytest.raises(OSError, match="No space"):
        published.publisher.publish(revised(built, 2))
    assert not published.read().verified


def test_readers_never_see_a_mixture(published: Desk, built: bytes) -> None:
    """A PDP that polls without pause while twenty editions are published refuses none."""
    stop, outcomes = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            outcomes.append(published.read())

    thread = threading.Thread(target=read)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patched:
            # Compiling is not what this is about.
            patched.setattr(
                releasing, "rebuild", lambda data, anchor: read_bundle(data, ArchiveLimits())
            )
            for revision in range(2, 22):
                published.publisher.publish(revised(built, revision))
    finally:
        stop.set()
        thread.join()
    assert [result for result in outcomes if not result.verified] == []
    assert sum(result.outcome == "updated" for result in outcomes) > 1
    assert published.read().verified
    assert published.revision == 22


def test_two_publishers_take_turns(published: Desk, built: bytes) -> None:
    """Publishing and freshening at once lose nothing: every version is used once."""
    errors: list[Exception] = []

    def freshen() -> None:
        try:
            for _ in range(10):
                published.publisher.freshen()
        except Exception as error:  # noqa: BLE001 shown below
            errors.append(error)

    before = published.publisher.read().timestamp.signed.version
    threads = [threading.Thread(target=freshen) for _ in range(2)]
    for thread in threads:
        thread.start()
    published.publisher.publish(revised(built, 2))
    for thread in threads:
        thread.join()
    assert errors == []
    assert published.publisher.read().timestamp.signed.version == before + 21
    assert published.read().outcome == "updated"


def test_publisher_that_does_not_let_go_is_an_error(published: Desk) -> None:
    """After a while the other is told, and nothing is changed."""
    with (
        published.publisher.folder.lock(),
        pytest.raises(ConfigurationError, match="another publisher is at work"),
        published.publisher.folder.lock(wait_s=0.1),
    ):
        pytest.fail("the lock was given twice")


def test_the_pdps_side_never_loads_the_publishers() -> None:
    """`import pdp.bundle` brings no module that signs or compiles."""
    program = "import sys, pdp.bundle; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    assert "pdp.bundle.keeper" in loaded
    assert [m for m in loaded if m.startswith(("pdp.publishing", "pdp.authoring"))] == []
