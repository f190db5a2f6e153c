"""Two anchors that believe nothing of each other, and who may name the second one."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import json
import time
from pathlib import Path

import pytest

from pdp.archive import ArchiveLimits
from pdp.authoring.compilation import Compilation, compile_sources
from pdp.bundle import BundleKeeper, BundleSettings
from pdp.bundle.anchor import DEVELOPMENT_TRUST_DOMAIN, Anchor, is_loopback
from pdp.bundle.contents import check_manifest, read_bundle
from pdp.cel.limits import EvaluationLimits
from pdp.config.document import variables
from pdp.config.settings import Address, RecordSettings, Settings, TlsSettings
from pdp.decision_point import SystemClock
from pdp.dev.cast import cast_of, staged
from pdp.dev.folder import DevelopmentFolder
from pdp.dev.press import FRESHEN_S, Certificates, Press
from pdp.errors import BundleRefusedError, ConfigurationError
from pdp.publishing.building import Release, build
from pdp.publishing.plan import small_plan
from pdp.publishing.releasing import Publisher
from pdp.server.process import serve
from pdp.telemetry import Telemetry
from tests.conftest import ROOT
from tests.test_architecture import modules

EVERYWHERE = "0.0.0.0"  # noqa: S104 what must be refused

POLICY = b"""\
policy: notes
resource: note
rules:
  - id: everybody-reads
    effect: permit
    actions: [read]
    justification: notes are public
"""
CALLERS = b"""\
kind: callers
callers:
  - id: spiffe://example.org/web
    resources: [note]
    actions: [read]
    subjects: {assert: [user]}
"""


@pytest.fixture(scope="module")
def compilation() -> Compilation:
    """A policy and a caller of example.org."""
    found = compile_sources({"notes.yaml": POLICY, "callers.yaml": CALLERS})
    assert not found.problems
    return found


def played(compilation: Compilation) -> Compilation:
    """The same, with its caller as `pdp dev` plays it."""
    assert compilation.callers is not None
    return staged(compilation, cast_of(compilation.callers))


@pytest.fixture
def dev(tmp_path: Path, compilation: Compilation) -> DevelopmentFolder:
    """A folder of `pdp dev`, with a bundle in its repository."""
    (tmp_path / "dev").mkdir(mode=0o700)
    folder = DevelopmentFolder(tmp_path / "dev", kept=True)
    press = Press(folder)
    press.open()
    assert press.publish(played(compilation)) == 2
    return folder


@pytest.fixture
def team(tmp_path: Path, compilation: Compilation) -> DevelopmentFolder:
    """The same policies in an ordinary repository."""
    (tmp_path / "team").mkdir()
    folder = DevelopmentFolder(tmp_path / "team", kept=True)
    publisher = Publisher(folder.repository, folder.keys, time.time_ns)
    publisher.initialise(small_plan())
    publisher.publish(archive=build(compilation, Release(1, publisher.now_s())))
    return folder


def keeper(folder: DevelopmentFolder, anchor: Anchor) -> BundleKeeper:
    """A keeper of the folder's repository, with the folder's own root."""
    root = folder.keys / "root.json"
    settings = BundleSettings(str(folder.repository), root, folder.state, revision_floor=1)
    return BundleKeeper(settings, EvaluationLimits(), time.time_ns, anchor)


def test_each_anchor_loads_its_own(dev: DevelopmentFolder, team: DevelopmentFolder) -> None:
    """The ground for all refusals below: nothing but the anchor is wrong there."""
    for folder, anchor in ((dev, Anchor.DEVELOPMENT), (team, Anchor.PRODUCTION)):
        found = keeper(folder, anchor)
        assert found.start().outcome == "updated"
        found.close()


def test_production_refuses_the_root_of_development(dev: DevelopmentFolder) -> None:
    """Whoever deploys `.pdp-dev/keys/root.json` by mistake has a PDP that does not start."""
    with pytest.raises(ConfigurationError, match="marked `development`"):
        keeper(dev, Anchor.PRODUCTION).start()


def test_root_of_development_twin_without_guard(
    dev: DevelopmentFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the mark and the trust domain looked at, it would load: every signature is right."""
    monkeypatch.setattr(Anchor, "mark_problem", lambda self, *, marked: None)
    monkeypatch.setattr(Anchor, "check_caller", lambda self, caller: None)
    found = keeper(dev, Anchor.PRODUCTION)
    assert found.start().outcome == "updated"
    found.close()


def test_development_refuses_what_is_not_marked(team: DevelopmentFolder) -> None:
    """A real bundle is not served by throw-away certificates either."""
    with pytest.raises(ConfigurationError, match="not marked `development`"):
        keeper(team, Anchor.DEVELOPMENT).start()


def test_manifest_and_callers_are_judged_by_the_anchor(compilation: Compilation) -> None:
    """The mark of the manifest and the trust domain of callers, one by one, both ways."""
    now_s = int(time.time())
    theirs = build(compilation, Release(1, now_s))
    ours = build(played(compilation), Release(1, now_s, anchor=Anchor.DEVELOPMENT))
    for archive, good, bad in (
        (theirs, Anchor.PRODUCTION, Anchor.DEVELOPMENT),
        (ours, Anchor.DEVELOPMENT, Anchor.PRODUCTION),
    ):
        manifest = read_bundle(archive, ArchiveLimits()).manifest
        check_manifest(manifest, {}, good)
        with pytest.raises(BundleRefusedError, match="marked `development`"):
            check_manifest(manifest, {}, bad)
    with pytest.raises(BundleRefusedError, match="is of the trust domain of `pdp dev`"):
        build(played(compilation), Release(1, now_s))
    with pytest.raises(BundleRefusedError, match=r"is not of `dev\.invalid`"):
        build(compilation, Release(1, now_s, anchor=Anchor.DEVELOPMENT))


def test_production_publisher_does_not_sign_a_bundle_of_development(
    team: DevelopmentFolder, compilation: Compilation
) -> None:
    """Not even the archive alone gets into an ordinary repository."""
    publisher = Publisher(team.repository, team.keys, time.time_ns)
    release = Release(9, publisher.now_s(), anchor=Anchor.DEVELOPMENT)
    with pytest.raises(BundleRefusedError, match="marked `development`"):
        publisher.publish(archive=build(played(compilation), release))


@pytest.mark.parametrize("place", ["metadata/timestamp.json", "metadata/2.snapshot.json"])
def test_development_verifies_signatures(dev: DevelopmentFolder, place: str) -> None:
    """Development is another trust anchor, not a check left out: one digit is enough."""
    path = dev.repository / place
    document = json.loads(path.read_bytes())
    document["signed"]["expires"] = "2098" + document["signed"]["expires"][4:]
    path.write_text(json.dumps(document))
    with pytest.raises(BundleRefusedError):
        keeper(dev, Anchor.DEVELOPMENT).start()


def test_development_refuses_a_changed_bundle(dev: DevelopmentFolder) -> None:
    """The hash of the archive is compared as in production."""
    path = next(dev.repository.rglob("*.bundle.tar"))
    path.write_bytes(path.read_bytes().replace(b"everybody-reads", b"everybody-wrote"))
    with pytest.raises(BundleRefusedError):
        keeper(dev, Anchor.DEVELOPMENT).start()


def test_timestamp_is_freshened_when_due(
    dev: DevelopmentFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left alone for longer than ten minutes, also asleep: by the wall clock, either way."""
    press = Press(DevelopmentFolder(dev.path / "again", kept=True))
    (dev.path / "again").mkdir()
    press.open()
    assert not press.freshen_if_due()
    real = time.time
    for step in (FRESHEN_S + 1, -FRESHEN_S):
        monkeypatch.setattr(time, "time", lambda step=step: real() + step)
        assert press.freshen_if_due()
        assert not press.freshen_if_due()


# -- where a server may be ------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1"])
def test_loopback_addresses(host: str) -> None:
    """Literal addresses of this machine's own network."""
    assert is_loopback(host)
    Anchor.DEVELOPMENT.check_place(DEVELOPMENT_TRUST_DOMAIN, host)


@pytest.mark.parametrize(
    "host",
    [EVERYWHERE, "::", "10.0.0.1", "::ffff:10.0.0.1", "localhost", "127.0.0.1.example.org", "",
     "2130706433", "0", "127.1"],
)  # fmt: skip
def test_development_listens_on_loopback_only(host: str) -> None:
    """A name may mean anything tomorrow, and short forms mean it to some resolvers only."""
    with pytest.raises(ConfigurationError, match="not a loopback address"):
        Anchor.DEVELOPMENT.check_place(DEVELOPMENT_TRUST_DOMAIN, host)


def test_loopback_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it every address is fine."""
    monkeypatch.setattr("pdp.bundle.anchor.is_loopback", lambda host: True)
    Anchor.DEVELOPMENT.check_place(DEVELOPMENT_TRUST_DOMAIN, EVERYWHERE)


@pytest.mark.parametrize(
    ("anchor", "domain", "host", "match"),
    [
        (Anchor.PRODUCTION, DEVELOPMENT_TRUST_DOMAIN, "127.0.0.1", "for development alone"),
        (Anchor.DEVELOPMENT, "example.org", "127.0.0.1", "callers of `dev.invalid` alone"),
        (Anchor.DEVELOPMENT, DEVELOPMENT_TRUST_DOMAIN, EVERYWHERE, "not a loopback address"),
    ],
)
def test_server_asks_the_anchor_before_anything_else(
    dev: DevelopmentFolder, anchor: Anchor, domain: str, host: str, match: str
) -> None:
    """A keeper of development serves neither another trust domain nor another network."""
    certificates = Certificates(dev.certificates)
    tls = dataclasses.replace(certificates.issue_server("127.0.0.1"), trust_domain=domain)
    found = keeper(dev, anchor)
    settings = _settings(dev, tls, host)
    told: list[Address] = []
    clock = SystemClock()
    serving = serve(settings, found, clock, Telemetry(None, clock.wall_ns), told.append)
    with pytest.raises(ConfigurationError, match=match):
        asyncio.run(serving)
    assert not told
    assert not dev.state.exists()


def _settings(folder: DevelopmentFolder, tls: TlsSettings, host: str) -> Settings:
    root = folder.keys / "root.json"
    bundle = BundleSettings(str(folder.repository), root, folder.state, revision_floor=1)
    return Settings("pdp-1", Address(host, 0), tls, bundle, RecordSettings(folder.record))


# -- who may name the anchor of development -------------------------------------------------------

MAY_NAME_IT = ("pdp.dev.", "pdp.bundle.anchor")


def namings(module: str, source: str) -> list[str]:
    """Places where a module says `DEVELOPMENT`, or makes an anchor from a value."""
    found = []
    for node in ast.walk(ast.parse(source)):
        name = getattr(node, "attr", getattr(node, "id", ""))
        named = name == "DEVELOPMENT" or (
            isinstance(node, ast.Constant)
            and node.value in {"DEVELOPMENT", "development"}
            and module.startswith(("pdp.server", "pdp.config", "pdp.cli"))
        )
        made = (
            isinstance(node, ast.Call | ast.Subscript)
            and "Anchor" in ast.dump(node.func if isinstance(node, ast.Call) else node.value)
            and not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
        )
        if named or made:
            found.append(f"{module}:{getattr(node, 'lineno', 0)}")
    return found


def test_nothing_but_pdp_dev_names_the_anchor_of_development() -> None:
    """Neither the server nor the configuration can ask for it, by name or by value."""
    found = [
        place
        for module, path in modules()
        if not module.startswith(MAY_NAME_IT)
        for place in namings(module, path.read_text())
    ]
    assert found == []
    assert any(
        namings(module, path.read_text()) for module, path in modules() if "pdp.dev." in module
    )


@pytest.mark.parametrize(
    "source",
    [
        "keeper = BundleKeeper(a, b, c, Anchor.DEVELOPMENT)",
        "from pdp.bundle.anchor import Anchor as A\nx = A.DEVELOPMENT",
        "x = Anchor(settings.anchor)",
        "x = Anchor['DEVELOPMENT']",
        "x = Anchor[name.upper()]",
        "x = getattr(Anchor, 'DEVELOPMENT')",
    ],
)
def test_naming_twin_without_guard(source: str) -> None:
    """A server that asked for it would be found."""
    assert namings("pdp.server.process", source)


def test_no_setting_is_about_the_anchor() -> None:
    """No key of `pdp.toml` and no variable; the settings have no place for it."""
    assert not [name for name in variables() if "DEV" in name or "ANCHOR" in name]
    for kind in (Settings, BundleSettings, TlsSettings):
        types = {str(field.type) for field in dataclasses.fields(kind)}
        assert not [name for name in types if "Anchor" in name]


def test_only_the_command_starts_it() -> None:
    """`pdp.dev` is imported by itself and by the two files of the command."""
    importers = {
        module
        for module, path in modules()
        if "pdp.dev" in path.read_text() and not module.startswith("pdp.dev")
    }
    importers -= {"pdp.bundle.anchor"}  # says so in words
    assert importers == {"pdp.cli.dev", "pdp.cli.dev_screen"}
    assert (ROOT / "pdp" / "dev").is_dir()
