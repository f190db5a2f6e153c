"""Publishing for several tenants: each has keys of its own, and nobody signs for another."""

from __future__ import annotations

import json
import re
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pdp.archive import ArchiveLimits
from pdp.bundle import BundleKeeper, BundleSettings
from pdp.bundle.contents import read_bundle
from pdp.cel.limits import EvaluationLimits
from pdp.errors import BundleRefusedError, ConfigurationError
from pdp.publishing import tenants
from pdp.publishing.building import Release, build_folder
from pdp.publishing.keyring import Keyring
from pdp.publishing.plan import Plan, RolePlan, default_plan, load_plan, render_plan, small_plan
from pdp.publishing.releasing import Publisher
from pdp.publishing.starter import write_starter
from pdp.snapshot import Snapshot
from tests.conftest import ROOT
from tests.simulators.bundle_reader import Clock
from tests.test_cli_bundle import CALLER, POLICY, Shell, shell
from tests.test_explain_docs import write_files

__all__ = ["shell"]

PAGE = (ROOT / "docs" / "tenants.md").read_text()


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A bundle of each tenant, and of nobody in particular."""
    found = {}
    for tenant in ("acme", "globex", "default"):
        folder = tmp_path_factory.mktemp(tenant)
        write_starter(folder, f"spiffe://example.org/{tenant}", tenant)
        (folder / "documents.yaml").write_text(POLICY)
        found[tenant] = build_folder(folder, Release(1, int(time.time())))
    return found


class Office:
    """A publisher for two tenants, and a PDP that serves both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.publisher = Publisher(folder / "repository", folder / "keys", self.clock)
        self.keeper: BundleKeeper | None = None

    def start(self, *names: str) -> str:
        """A PDP that serves these; what it says."""
        self.close()
        settings = BundleSettings(
            str(self.folder / "repository"),
            self.publisher.trusted_root_path,
            self.folder / "state",
            1,
            tenants=names,
        )
        self.keeper = BundleKeeper(settings, EvaluationLimits(), self.clock)
        return self.keeper.start().detail

    def poll(self) -> str:
        """What it says."""
        assert self.keeper is not None
        return self.keeper.poll().detail

    @property
    def snapshot(self) -> Snapshot:
        """What it has."""
        assert self.keeper is not None
        found = self.keeper.current()
        assert found is not None
        return found

    def close(self) -> None:
        """End it."""
        if self.keeper is not None:
            self.keeper.close()

    def versions(self) -> dict[str, int]:
        """Of each role."""
        return {role: each.signed.version for role, each in self.publisher.read().roles().items()}

    def hide(self, pattern: str) -> None:
        """Take private keys away, as to a safe."""
        for path in (self.folder / "keys").glob(f"{pattern}.pem"):
            path.rename(self.folder / path.name)


@pytest.fixture
def office(tmp_path: Path, archives: dict[str, bytes]) -> Iterator[Office]:
    """Both tenants are published, and served."""
    made = Office(tmp_path)
    made.publisher.initialise(small_plan("acme"))
    made.publisher.publish(archives["acme"])
    made.publisher.add_tenant("globex", "1-of-2,20d")
    made.publisher.publish(archives["globex"], tenant="globex")
    made.start("acme", "globex")
    yield made
    made.close()


def revised(office: Office, archives: dict[str, bytes], tenant: str) -> bytes:
    """The tenant's next bundle."""
    folder = office.folder / tenant
    if not folder.exists():
        write_starter(folder, f"spiffe://example.org/{tenant}", tenant)
        (folder / "documents.yaml").write_text(POLICY)
    return build_folder(folder, Release(office.publisher.next_revision(tenant), int(time.time())))


def test_a_publication_is_of_one_tenant(office: Office, archives: dict[str, bytes]) -> None:
    """Its role, the snapshot and the timestamp are new; the other's keys are not even needed."""
    before = office.versions()
    office.hide("policies-globex-*")
    office.hide("targets-*")
    office.hide("root-*")
    office.publisher.publish(revised(office, archives, "acme"), tenant="acme")
    changed = {role for role, version in office.versions().items() if version != before[role]}
    assert changed == {"policies/acme", "snapshot", "timestamp"}
    theirs = office.snapshot.tenants["globex"]
    assert "tenant `" not in office.poll()
    assert office.snapshot.tenants["acme"].ref.digest != theirs.ref.digest
    assert office.snapshot.tenants["globex"].ref.digest == theirs.ref.digest


def test_a_tenants_keys_sign_for_no_other(office: Office, archives: dict[str, bytes]) -> None:
    """Whatever the plan says beside them: the signed delegation counts, not the file."""
    office.hide("policies-acme-*")
    archive = revised(office, archives, "acme")
    with pytest.raises(ConfigurationError, match="policies-acme-1"):
        office.publisher.publish(archive, tenant="acme")
    plan = load_plan(office.publisher.keys)
    mine = plan.roles["policies/globex"].keys
    roles = dict(plan.roles)
    roles["policies/acme"] = RolePlan(1, mine[:1], 30 * 86_400)
    roles["policies/globex"] = RolePlan(1, mine[1:], 30 * 86_400)
    text = render_plan(Plan(roles, {}))
    (office.publisher.keys / "repository.toml").write_text(text)
    with pytest.raises(ConfigurationError, match="policies-acme-1"):
        office.publisher.publish(archive, tenant="acme")
    office.hide("targets-*")
    with pytest.raises(ConfigurationError, match="targets-1"):
        office.publisher.publish(renew=["targets"])


def test_a_key_of_one_tenant_is_in_no_other_role(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither another tenant's nor a shared one; without the guard the plan would be taken."""
    two = tenants.with_tenant(default_plan("acme"), "globex")
    for name in ("policies/acme", "targets", "root", "emergency"):
        role = two.roles[name]
        roles = dict(two.roles)
        roles[name] = RolePlan(1, (*role.keys, "policies-globex-1"), role.expires_s)
        with pytest.raises(ConfigurationError, match="`policies-globex-1` is both in"):
            Plan(roles, {})
        with monkeypatch.context() as patch:
            patch.setattr(Plan, "_keep_tenants_apart", lambda _: None)
            assert Plan(roles, {}).tenants == ("acme", "globex")
    # With one tenant a team may be the same people everywhere, as before.
    alone = dict(default_plan().roles)
    alone["emergency"] = RolePlan(1, alone["policies/default"].keys, 86_400)
    assert Plan(alone, {}).tenants == ("default",)


def test_each_tenant_is_delegated_its_own_folder(office: Office) -> None:
    """Terminating, its own keys and threshold."""
    delegations = office.publisher.read().targets.signed.delegations
    assert delegations is not None
    assert delegations.roles is not None
    found = {name: (each.paths, each.terminating) for name, each in delegations.roles.items()}
    assert found == {
        "policies/acme": (["policies/acme/*"], True),
        "policies/globex": (["policies/globex/*"], True),
        "emergency": (["emergency/*"], True),
    }
    keys = [set(each.keyids) for each in delegations.roles.values()]
    assert not keys[0] & keys[1]
    assert (delegations.roles["policies/globex"].threshold, len(keys[1])) == (1, 2)


def test_a_tenant_that_could_not_be_signed_is_not_added(office: Office) -> None:
    """Without the keys of `targets` repository and plan stay as they were."""
    before = office.versions(), (office.publisher.keys / "repository.toml").read_bytes()
    office.hide("targets-*")
    for change in (
        lambda: office.publisher.add_tenant("initech"),
        lambda: office.publisher.remove_tenant("globex"),
        lambda: office.publisher.rotate("globex"),
    ):
        with pytest.raises(ConfigurationError, match="targets-1"):
            change()
        found = office.versions(), (office.publisher.keys / "repository.toml").read_bytes()
        assert found == before


def test_a_tenant_leaves_and_comes_back(office: Office, archives: dict[str, bytes]) -> None:
    """The other goes on; readers that knew it take it back, since its versions go on."""
    before = office.versions()["policies/globex"]
    office.publisher.remove_tenant("globex")
    assert office.publisher.read().tenants == ("acme",)
    assert "tenant `globex` stays at revision" in office.poll()
    office.publisher.publish(revised(office, archives, "acme"))
    assert "tenant `globex` stays" in office.poll()
    assert office.snapshot.tenants["acme"].ref.revision == office.publisher.read().revision
    with pytest.raises(ConfigurationError, match="no tenant `globex` \\(known: acme\\)"):
        office.publisher.publish(archives["globex"], tenant="globex")
    office.publisher.add_tenant("globex")
    assert office.versions()["policies/globex"] == before + 1
    assert "no `policies/globex/bundle.tar`" in office.poll()
    office.publisher.publish(archives["globex"], tenant="globex")
    assert "tenant `" not in office.poll()


def test_a_tenant_comes_back_twin_without_guard(
    office: Office, archives: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Did its versions begin again, every PDP that knew it would see a rollback."""
    for _ in range(2):
        office.publisher.publish(renew=["policies/globex"])
    office.poll()
    office.publisher.remove_tenant("globex")
    monkeypatch.setattr("pdp.publishing.edition.Edition._next", first_or_next)
    office.publisher.add_tenant("globex")
    office.publisher.publish(archives["globex"], tenant="globex")
    assert "`policies/globex` version" in office.poll()


def first_or_next(edition: Any, role: str) -> Any:
    """As `_next`, but a role that is not there begins with version 1."""
    from pdp.publishing import edition as module

    known = edition.before.roles().get(role)
    if known is None:
        return module._first(role)
    new = module._copy(known).signed
    new.version += 1
    return new


def test_keys_of_one_tenant_are_replaced(office: Office, archives: dict[str, bytes]) -> None:
    """New keys, signed by `targets` alone; the other's metadata is as it was, and so are PDPs."""
    before = office.versions()
    office.hide("policies-*")
    _, made = office.publisher.rotate("globex")
    assert made == ["policies-globex-3", "policies-globex-4"]
    changed = {role for role, version in office.versions().items() if version != before[role]}
    assert changed == {"targets", "policies/globex", "snapshot", "timestamp"}
    assert "tenant `" not in office.poll()
    office.publisher.publish(revised(office, archives, "globex"), tenant="globex")
    assert "tenant `" not in office.poll()
    assert office.publisher.rotate("globex")[1] == ["policies-globex-5", "policies-globex-6"]


def test_keys_that_are_no_files_are_replaced_by_hand(office: Office) -> None:
    """Nobody can make a key in somebody's HSM: the message says what to do."""
    plan = load_plan(office.publisher.keys)
    text = render_plan(Plan(plan.roles, {"policies-globex-1": "hsm:2?label=globex"}))
    (office.publisher.keys / "repository.toml").write_text(text)
    with pytest.raises(ConfigurationError, match="make the new one there"):
        office.publisher.rotate("globex")


def test_an_expired_tenant_stops_nobody(office: Office, archives: dict[str, bytes]) -> None:
    """Signing goes on for the others; once nobody is left, it is refused as with one tenant."""
    office.clock.offset_s = 21 * 86_400
    office.publisher.freshen()
    archive = revised(office, archives, "acme")
    office.publisher.publish(archive, tenant="acme")
    office.clock.offset_s = 29 * 86_400
    office.publisher.publish(renew=["snapshot", "emergency"])
    office.clock.offset_s = 52 * 86_400
    with pytest.raises(BundleRefusedError, match="expired: `policies/acme`, `policies/globex`"):
        office.publisher.freshen()


def test_a_caller_policy_is_about_its_own_tenant(
    office: Office, archives: dict[str, bytes], tmp_path: Path
) -> None:
    """Refused before it is signed: no PDP of several tenants would take it."""
    with pytest.raises(BundleRefusedError, match=r"write `tenants: \[globex\]`"):
        office.publisher.publish(archives["acme"], tenant="globex")
    lone = Publisher(tmp_path / "r", tmp_path / "k", time.time_ns)
    lone.initialise(small_plan("initech"))
    with pytest.raises(BundleRefusedError, match=r"nobody could ask; write `tenants: \[initech\]`"):
        lone.publish(archives["default"])


def test_a_plan_that_is_changed_by_hand_counts_once_targets_says_so(
    office: Office, archives: dict[str, bytes]
) -> None:
    """Before that the role is nobody's."""
    plan = tenants.with_tenant(load_plan(office.publisher.keys), "initech", "1-of-1")
    (office.publisher.keys / "repository.toml").write_text(render_plan(plan))
    publisher = office.publisher
    with pytest.raises(ConfigurationError, match="does not delegate to `policies/initech` yet"):
        publisher.publish(renew=["policies/initech"])
    with pytest.raises(ConfigurationError, match="public key"):
        publisher.publish(renew=["targets"])
    Keyring(publisher.keys, plan).make_missing()
    publisher.publish(renew=["targets"])
    assert publisher.read().tenants == ("acme", "globex", "initech")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda p, a: p.publish(a["acme"]), r"several tenants \(acme, globex\): say which"),
        (lambda p, a: p.publish(a["acme"], tenant="acne"), r"no tenant `acne` \(known: acme, glo"),
        (lambda p, a: p.next_revision("acne"), r"add-tenant acne` adds one"),
        (lambda p, a: p.add_tenant("acme"), r"a tenant `acme` already \(known: acme, globex\)"),
        (lambda p, a: p.add_tenant("Acme"), r"'Acme' is not allowed"),
        (lambda p, a: p.add_tenant("../x"), r"'../x' is not allowed"),
        (lambda p, a: p.add_tenant("x", "3-of-2"), r"needs 3 of 2 keys"),
        (lambda p, a: p.add_tenant("x", "some"), r"`--signed-by some` is not understood"),
        (lambda p, a: p.remove_tenant("acne"), r"no tenant `acne` \(known: acme, globex\)"),
        (lambda p, a: p.rotate("acne"), r"no tenant `acne`"),
        (lambda p, a: p.rotate(), r"several tenants"),
        (lambda p, a: p.publish(renew=["policies/acne"]), r"no role `policies/acne` \(known: root"),
    ],
)
def test_mistakes_are_told_with_what_there_is(
    office: Office, archives: dict[str, bytes], call: Any, says: str
) -> None:
    """The known tenants, or what to write."""
    with pytest.raises(ConfigurationError, match=says):
        call(office.publisher, archives)


def test_the_last_tenant_stays(tmp_path: Path) -> None:
    """A repository without one would be nobody's."""
    publisher = Publisher(tmp_path / "r", tmp_path / "k", time.time_ns)
    publisher.initialise(small_plan())
    with pytest.raises(ConfigurationError, match="`default` is the only tenant"):
        publisher.remove_tenant("default")


# ---- as a user runs it ----------------------------------------------------------


def test_the_commands_of_the_page_do_what_it_says(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every line in order; in between a PDP serves both tenants, as configured there."""
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```$", PAGE)
    lines = [line for block in blocks for line in block.splitlines()]
    assert [line.split()[1] for line in lines] == ["bundle"] * 13 + ["explain", "diff"]
    lines = lines[:13]
    for line in lines[:8]:
        write_files(PAGE, shell.folder)
        assert shell.run(*line.split()[2:]) == 0, shell.output
    office = Office(shell.folder)
    assert "tenant `" not in office.start("acme", "globex")
    for line in lines[8:]:
        assert shell.run(*line.split()[2:]) == 0, shell.output
        if "show" in line:
            assert "policies/globex/bundle.tar" in shell.output
            assert "acme" not in shell.output
            assert office.snapshot.ref_of("globex").digest.hex() in shell.output
        if "freshen" in line:
            assert "tenant `" not in office.poll()
    assert "tenant `globex` stays at revision" in office.poll()
    office.close()
    assert shell.run("show", "--json") == 0


def test_the_configuration_of_the_page_is_one() -> None:
    """What it says of requests that name no tenant is what comes of it."""
    (text,) = re.findall(r"(?ms)^```toml\n(.*?)^```$", PAGE)
    bundle = tomllib.loads(text)["bundle"]
    bundle["tenants"] = tuple(bundle["tenants"])
    tenancy = BundleSettings("x", Path("root.json"), Path("state"), **bundle).tenancy
    assert tenancy.home("spiffe://example.org/globex/web") == "globex"
    assert tenancy.home("spiffe://example.org/globex") == "acme"
    assert tenancy.home("spiffe://example.org/acme/web") == "acme"


def test_tenants_as_json(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its digest and how long it is fresh; a tenant alone, without the others' roles."""
    assert shell.run("init", "--tenant", "acme", "--caller", CALLER, "--small-team") == 0
    assert "tenants: [acme]" in (shell.folder / "policies" / "callers.yaml").read_text()
    assert shell.run("add-tenant", "globex") == 0
    assert "each entry of a caller policy must name its tenant alone" in shell.output
    assert shell.run("show", "--json") == 0
    facts = json.loads(shell.output)
    assert [each["name"] for each in facts["tenants"]] == ["acme", "globex"]
    assert not any(each["published"] for each in facts["tenants"])
    assert shell.run("show", "--json", "--tenant", "globex") == 0
    names = [role["name"] for role in json.loads(shell.output)["roles"]]
    assert "policies/globex" in names
    assert "policies/acme" not in names
    assert shell.run("show", "--tenant", "acne") == 2
    assert "no tenant `acne` (known: acme, globex)" in shell.output


def test_build_refuses_what_publishing_would(shell: Shell) -> None:
    """Whose bundle it is, is known at build: the caller policy is judged there."""
    assert shell.run("init", "--tenant", "acme", "--caller", CALLER, "--small-team") == 0
    (shell.folder / "policies" / "documents.yaml").write_text(POLICY)
    assert shell.run("verify") == 1
    assert "no `policies/acme/bundle.tar`" in shell.output
    assert shell.run("add-tenant", "globex") == 0
    assert shell.run("build") == 2
    assert "say which with `--tenant`" in shell.output
    assert shell.run("build", "--tenant", "globex") == 1
    assert "write `tenants: [globex]`" in shell.output
    assert not (shell.folder / "bundle.tar").exists()
    assert shell.run("build", "--tenant", "acme") == 0
    read_bundle((shell.folder / "bundle.tar").read_bytes(), ArchiveLimits())
    assert shell.run("verify") == 2
    assert "several tenants (acme, globex)" in shell.output
    assert shell.run("verify", "--tenant", "acne") == 1
    assert "(emergency, policies/acme, policies/globex)" in shell.output


def test_a_missing_folder_is_named_first(shell: Shell) -> None:
    """Not the keys that would be looked for next."""
    assert shell.run("build", "nope") == 2
    assert shell.output.startswith("error: `nope` is not a folder")
