"""The policies of one tenant of several: explained, compared, replayed, tried and developed."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest

from pdp import cli
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import compile_directory
from pdp.bundle import BundleKeeper, BundleSettings
from pdp.bundle.anchor import Anchor
from pdp.cel.limits import EvaluationLimits
from pdp.dev.cast import cast_of, staged
from pdp.dev.folder import DevelopmentFolder
from pdp.dev.press import Press
from pdp.errors import BundleRefusedError, ConfigurationError, ExpressionError
from pdp.impact.edition import read_edition
from pdp.model import BundleRef
from pdp.publishing.building import Release, build_folder
from pdp.publishing.plan import small_plan
from pdp.publishing.releasing import Publisher
from tests.simulators.author_commands import Command
from tests.test_diff import pdp

__all__ = ["pdp"]

CALLERS = """\
kind: callers
callers:
  - id: spiffe://example.org/web
    tenants: [{tenant}]
    resources: [note]
    actions: [read, write]
    subjects: {{assert: [user]}}
"""
POLICY = """\
policy: notes
resource: note
owner: notes@example.org
variables:
  of_{tenant}: subject.id == "{tenant}"
rules:
  - id: reads
    effect: {effect}
    actions: [read]
    when: of_{tenant} || true
    justification: x
"""
QUESTION = {
    "caller": "spiffe://example.org/web",
    "now": "2026-09-15T10:00:00Z",
    "subject": {"type": "user", "id": "ben"},
    "action": "read",
    "resource": {"type": "note", "id": "1"},
}


def folder(path: Path, tenant: str, effect: str) -> Path:
    """Its policies: `read` is permitted or denied."""
    path.mkdir(exist_ok=True)
    (path / "callers.yaml").write_text(CALLERS.format(tenant=tenant))
    (path / "notes.yaml").write_text(POLICY.format(tenant=tenant, effect=effect))
    return path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Acme permits, globex denies; then globex permits, too."""
    publisher = Publisher(tmp_path / "repository", tmp_path / "keys", time.time_ns)
    publisher.initialise(small_plan("acme"))
    publisher.add_tenant("globex")
    now_s = int(time.time())
    for number, (tenant, effect) in enumerate(
        (("acme", "permit"), ("globex", "deny"), ("globex", "permit")), 1
    ):
        path = folder(tmp_path / tenant, tenant, effect)
        publisher.publish(build_folder(path, Release(number, now_s)), tenant=tenant)
    return tmp_path / "repository"


def test_a_tenant_is_chosen_by_option_or_by_the_question(
    repository: Path, tmp_path: Path, pdp: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`explain` reads its policies; without a choice it says what there is."""
    monkeypatch.setattr(cli, "COMMANDS", ("explain", "check"))
    before = f"{repository}@4"
    path = tmp_path / "question.json"
    path.write_text(json.dumps(QUESTION))
    done = pdp("explain", before, path)
    assert (done.returncode, "several tenants" in done.stderr) == (2, True)
    assert pdp("explain", before, path, "--tenant", "acme").stdout.startswith("PERMIT")
    assert pdp("explain", before, path, "--tenant", "globex").stdout.startswith("DENY (RULE)")
    done = pdp("explain", before, path, "--tenant", "acne")
    assert (done.returncode, "no tenant `acne`" in done.stderr) == (2, True)
    path.write_text(json.dumps({**QUESTION, "tenant": "globex"}))
    assert pdp("explain", before, path).stdout.startswith("DENY (RULE)")
    # Another tenant's policies do not answer it.
    done = pdp("explain", before, path, "--tenant", "acme")
    assert (done.returncode, "refuse this question as" in done.stderr) == (2, True)


def test_a_change_of_one_tenant_is_none_of_another(repository: Path, pdp: Command) -> None:
    """`diff` of two revisions, and what it does to questions."""
    questions = repository.parent / "questions.jsonl"
    named = [{**QUESTION, "tenant": tenant} for tenant in ("globex", "acme")]
    questions.write_text("\n".join(map(json.dumps, [QUESTION, *named])))
    sides = (f"{repository}@4", f"{repository}@5", "--replay", questions, "--json")
    done = pdp("diff", *sides, "--tenant", "acme")
    assert done.returncode == 0, done.stdout + done.stderr
    done = pdp("diff", *sides, "--tenant", "globex")
    told = json.loads(done.stdout)["replay"]
    assert (done.returncode, told["asked"], told["different"]) == (1, 2, {"OPENS": 2})
    (skipped,) = told["not_asked"]
    assert "tenant `acme`" in skipped["reason"]
    done = pdp("diff", *sides)
    assert (done.returncode, "say which with `--tenant`" in done.stderr) == (2, True)


def test_an_edition_is_named_as_the_tenants_answers_are(repository: Path, tmp_path: Path) -> None:
    """Revision and digest are those that a PDP of both tenants writes into its records."""
    settings = BundleSettings(
        str(repository),
        tmp_path / "keys" / "root.json",
        tmp_path / "state",
        1,
        tenants=("acme", "globex"),
    )
    keeper = BundleKeeper(settings, EvaluationLimits(), time.time_ns)
    keeper.start()
    snapshot = keeper.current()
    assert snapshot is not None
    found: list[BundleRef | None] = []
    for tenant in ("acme", "globex"):
        ref = read_edition(str(repository), tenant=tenant).ref
        assert ref == snapshot.ref_of(tenant)
        found.append(ref)
    assert found[0] != found[1]
    keeper.close()


def test_variables_of_a_tenant_are_tried(repository: Path, pdp: Command) -> None:
    """`repl` takes policies from a repository, too."""
    done = pdp("repl", "--policies", repository, "--tenant", "globex", stdin="of_globex\n")
    assert done.stdout == "false\n", done.stderr
    done = pdp("repl", "--policies", repository, stdin="of_globex\n")
    assert (done.returncode, "several tenants" in done.stderr) == (2, True)
    assert pdp("repl", "--tenant", "globex").returncode == 2


def test_policies_of_a_tenant_are_developed(tmp_path: Path) -> None:
    """`pdp dev --tenant`: signed in the tenant's own role, and served as that tenant's."""
    with Checker() as checker:
        compilation = compile_directory(folder(tmp_path / "acme", "acme", "permit"), checker)
    assert compilation.callers is not None
    played = staged(compilation, cast_of(compilation.callers))
    place = tmp_path / "dev"
    place.mkdir(mode=0o700)
    made = DevelopmentFolder(place, kept=True)
    press = Press(made, "acme")
    root = press.open()
    press.publish(played)
    settings = BundleSettings(str(made.repository), root, made.state, 1, tenants=("acme",))
    keeper = BundleKeeper(settings, EvaluationLimits(), time.time_ns, Anchor.DEVELOPMENT)
    assert keeper.start().outcome == "updated"
    keeper.close()
    (tmp_path / "other").mkdir(mode=0o700)
    default = Press(dataclasses.replace(made, path=tmp_path / "other"))
    default.open()
    with pytest.raises(BundleRefusedError, match="no entry of the caller policy is about"):
        default.publish(played)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("9223372036854775808", "`9223372036854775808` does not fit into an int"),
        ("-9223372036854775809 < 1", "`-9223372036854775809` does not fit into an int"),
        ("1u < 0x1FFFFFFFFFFFFFFFFu", "`0x1FFFFFFFFFFFFFFFFu` does not fit into a uint"),
        ("true &&\n 99999999999999999999 == 1", "write a uint, with `u` at its end"),
    ],
)
def test_a_number_that_does_not_fit_says_so(source: str, says: str) -> None:
    """Which, what would fit, and what to write instead."""
    with Checker() as checker, pytest.raises(ExpressionError) as caught:
        checker.check(source, {})
    assert says in str(caught.value)


def test_a_repository_without_a_bundle_of_the_tenant_says_so(tmp_path: Path) -> None:
    """Named, not another's."""
    publisher = Publisher(tmp_path / "repository", tmp_path / "keys", time.time_ns)
    publisher.initialise(small_plan("acme"))
    with pytest.raises(ConfigurationError, match="no bundle of `acme`"):
        read_edition(str(tmp_path / "repository"))
