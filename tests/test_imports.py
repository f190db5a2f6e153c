"""Shared definitions: what a policy sees of what it imports, and what is wrong, where."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pdp import compiled
from pdp.archive import ArchiveLimits
from pdp.authoring import imports
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import Compilation, compile_document, compile_sources
from pdp.authoring.policy_tests import read_tests
from pdp.authoring.trial import run
from pdp.bundle.contents import compile_bundle, read_bundle
from pdp.cel.limits import EvaluationLimits
from pdp.errors import BundleRefusedError, PolicyError, Position
from pdp.model import Action, Effect, Request, Resource, Subject
from pdp.publishing.building import Release, build, rebuild
from pdp.v1 import bundle_pb2 as pb
from pdp.values import Value
from tests.simulators import rule_sets

LIMITS = EvaluationLimits()
CALLERS = """\
kind: callers
callers:
  - {id: spiffe://example.org/a, resources: ["*"], actions: ["*"], subjects: {assert: [user]}}
"""
PEOPLE = """\
kind: shared
name: people
static_roles: [employee, lead, unused-static]
variables:
  is_active: subject.properties.status == "active"
  same_team: subject.properties.team == resource.properties.team && is_active
  unused: 1 + 1
roles:
  team-lead: {from: [lead], when: same_team}
  unused-role: {from: [employee]}
"""
POLICY = """\
policy: reports
resource: report
imports: [people]
static_roles: [auditor]
variables:
  is_open: resource.properties.status == "open"
rules:
  - {id: lead-reads, effect: permit, actions: [read], roles: [team-lead], when: is_open,
     justification: x}
  - {id: auditor-reads, effect: permit, actions: [read], roles: [auditor], justification: x}
  - {id: only-active, effect: deny, actions: [read], when: "!is_active"}
"""


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child process for all tests of this file."""
    with Checker() as running:
        yield running


def compiled_from(checker: Checker, **documents: str) -> Compilation:
    """What comes of these documents and a caller policy; `a_b` is the file `a/b.yaml`."""
    sources = {f"{name.replace('_', '/')}.yaml": text.encode() for name, text in documents.items()}
    return compile_sources({"callers.yaml": CALLERS.encode(), **sources}, checker)


def told(compilation: Compilation) -> list[tuple[str, str]]:
    """(path:line:column, message and suggestion) of each problem."""
    return [
        (str(item.position), f"{item.message} ({item.suggestion})") for item in compilation.problems
    ]


# -- what is imported --------------------------------------------------------------------


def test_a_policy_holds_what_it_uses_of_its_imports_and_nothing_else(checker: Checker) -> None:
    """Variables through other variables and roles, roles that rules ask for, their static roles."""
    found = compiled_from(checker, people=PEOPLE, reports=POLICY)
    assert found.problems == ()
    (policy,) = found.policies
    assert [name for name, _ in policy.variables] == ["is_active", "is_open", "same_team"]
    assert [role.name for role in policy.roles] == ["team-lead"]
    assert policy.static_roles == ("lead", "auditor")
    assert (found.shared, found.counts[-1]) == (("people",), (1, "shared document"))


def test_an_imported_definition_decides_as_if_it_were_written_in_the_policy(
    checker: Checker,
) -> None:
    """The same decision, to the last field, for a policy that has all of it written out."""
    written_out = POLICY.replace("imports: [people]\n", "").replace(
        "static_roles: [auditor]\nvariables:\n",
        "static_roles: [auditor, lead]\n"
        "roles: {team-lead: {from: [lead], when: same_team}}\n"
        "variables:\n"
        '  is_active: subject.properties.status == "active"\n'
        "  same_team: subject.properties.team == resource.properties.team && is_active\n",
    )
    one = compiled_from(checker, people=PEOPLE, reports=POLICY).policy_set(LIMITS)
    other = compiled_from(checker, reports=written_out).policy_set(LIMITS)
    permits = 0
    for status in ("active", "gone", None):
        for roles in (["lead"], ["auditor"], [], None):
            for team in ("red", "blue", None):
                given: dict[str, Value] = {
                    "status": status,
                    "roles": list(roles) if roles is not None else None,
                    "team": team,
                }
                properties: dict[str, Value] = {k: v for k, v in given.items() if v is not None}
                request = Request(
                    Subject("user", "ana", properties),
                    Action("read"),
                    Resource("report", "1", {"team": "red", "status": "open"}),
                )
                admitted = rule_sets.admitted(request)
                first, second = (each.decide(admitted, 0)[0] for each in (one, other))
                assert first == second
                permits += first.effect is Effect.PERMIT
    assert permits >= 3


def test_imports_reach_through_imports_and_meet_again(checker: Checker) -> None:
    """`a` and `b` both import `base`; a policy that imports both sees one `base`."""
    base = "kind: shared\nname: base\nvariables: {x: context.x == 1}\n"
    a = "kind: shared\nname: a\nimports: [base]\nvariables: {y: x && context.y == 1}\n"
    b = "kind: shared\nname: b\nimports: [base]\nroles: {r: {when: x}}\n"
    policy = (
        "policy: p\nresource: t\nimports: [a, b]\n"
        "rules: [{id: d, effect: deny, actions: [read], roles: [r], when: x || y}]\n"
    )
    found = compiled_from(checker, base=base, a=a, b=b, p=policy)
    assert told(found) == []
    assert [name for name, _ in found.policies[0].variables] == ["x", "y"]


def test_the_order_of_files_changes_nothing(checker: Checker) -> None:
    """The policy may come before what it imports, or behind it."""
    first = compiled_from(checker, a=POLICY, z=PEOPLE)
    second = compiled_from(checker, z=POLICY, a=PEOPLE)
    assert first.policies == second.policies


def test_rows_see_imported_definitions(checker: Checker) -> None:
    """`pdp test` runs what the PDP runs."""
    found = compiled_from(checker, people=PEOPLE, reports=POLICY)
    text = """\
kind: tests
now: 2026-09-15T10:00:00Z
caller: spiffe://example.org/a
tests:
  - name: a lead reads
    subject: {type: user, id: ana, properties: {roles: [lead], status: active, team: red}}
    action: read
    resource: {type: report, id: "1", properties: {team: red, status: open}}
    expect: {effect: PERMIT, rules: [reports/lead-reads]}
"""
    assert found.callers is not None
    rows = read_tests({"t_test.yaml": text.encode()}).rows
    assert all(each.passed for each in run(found.policy_set(LIMITS), found.callers, rows))


# -- what is wrong, and where ------------------------------------------------------------

RULES = "rules: [{id: d, effect: deny, actions: [read]}]\n"
IMPORTING = f"policy: p\nresource: t\nimports: [a]\n{RULES}"


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        (
            {"p": f"policy: p\nresource: t\nimports: [peple]\n{RULES}", "people": PEOPLE},
            [("p.yaml:3:11", "no shared definitions `peple` (did you mean `people`?)")],
        ),
        (
            {"p": f"policy: p\nresource: t\nimports: people\n{RULES}", "people": PEOPLE},
            [("p.yaml:3:10", "`imports` of the policy must be a list (write `[people]`)")],
        ),
        (
            {"p": f"policy: p\nresource: t\nimports: [people, people]\n{RULES}", "people": PEOPLE},
            [("p.yaml:3:19", "`people` is listed twice in `imports`")],
        ),
        (
            {
                "a": "kind: shared\nname: a\nimports: [b]\nvariables: {x: 'true'}\n",
                "b": "kind: shared\nname: b\nimports: [c]\nvariables: {y: 'true'}\n",
                "c": "kind: shared\nname: c\nimports: [a]\nvariables: {z: 'true'}\n",
                "p": IMPORTING,
            },
            [("a.yaml:3:11", "import each other in a circle: `a` → `b` → `c` → `a` (move what")],
        ),
        (
            {"a": "kind: shared\nname: a\nimports: [a]\nvariables: {x: 'true'}\n", "p": IMPORTING},
            [("a.yaml:3:11", "shared definitions `a` import themselves")],
        ),
        (
            {
                "a": "kind: shared\nname: a\nvariables: {x: 'true'}\n",
                "b": "kind: shared\nname: a\nvariables: {y: 'true'}\n",
                "p": IMPORTING,
            },
            [
                (
                    "b.yaml:2:7",
                    "shared definitions `a` are there twice (the others are at a.yaml:2:7",
                )
            ],
        ),
        (
            {
                "a": "kind: shared\nname: a\nvariables: {x: 'true'}\n",
                "p": f"policy: p\nresource: t\nimports: [a]\nvariables: {{x: 'false'}}\n{RULES}",
            },
            [
                (
                    "p.yaml:4:13",
                    "variable `x` is imported, and defined here too (rename one; the imp",
                )
            ],
        ),
        (
            {
                "a": "kind: shared\nname: a\nstatic_roles: [s]\nroles: {x: {from: [s]}}\n",
                "p": IMPORTING.replace("rules:", "roles: {x: {when: 'true'}}\nrules:"),
            },
            [("p.yaml:4:9", "role `x` is imported, and defined here too (rename one; the importe")],
        ),
        (
            {
                "a": "kind: shared\nname: a\nstatic_roles: [s]\n",
                "p": IMPORTING.replace("rules:", "roles: {s: {when: 'true'}}\nrules:"),
            },
            [("p.yaml:4:9", "role `s` is both static and derived (rename one of them; the static")],
        ),
        (
            {
                "a": "kind: shared\nname: a\nstatic_roles: [s]\nroles: {x: {from: [s]}}\n",
                "p": f"policy: p\nresource: t\nimports: [a]\nstatic_roles: [x]\n{RULES}",
            },
            [
                (
                    "p.yaml:4:16",
                    "role `x` is both static and derived (rename one of them; the derive",
                )
            ],
        ),
        (
            {
                "a": "kind: shared\nname: a\nvariables: {x: 'true'}\n",
                "b": "kind: shared\nname: b\nvariables: {x: 'true'}\n",
                "p": f"policy: p\nresource: t\nimports: [a, b]\n{RULES}",
            },
            [
                (
                    "p.yaml:3:14",
                    "variable `x` is imported twice, with two meanings (rename one; they",
                )
            ],
        ),
        (
            {
                "a": "kind: shared\nname: a\nstatic_roles: [r]\n",
                "b": "kind: shared\nname: b\nroles: {r: {when: 'true'}}\n",
                "p": f"policy: p\nresource: t\nimports: [a, b]\n{RULES}",
            },
            [("p.yaml:3:14", "role `r` is imported twice, with two meanings")],
        ),
        (
            {"a": "kind: shared\nname: a\n", "p": f"policy: p\nresource: t\n{RULES}"},
            [("a.yaml:1:1", "the document of shared definitions defines nothing (give it `static")],
        ),
        (
            {
                "a": "kind: shared\nvariables: {x: 'true'}\n",
                "p": f"policy: p\nresource: t\n{RULES}",
            },
            [("a.yaml:1:1", "the document of shared definitions has no `name`")],
        ),
        (
            {
                "a": "kind: shared\nname: a\nvariables: {x: 'true'}\nrules: []\n",
                "p": f"policy: p\nresource: t\n{RULES}",
            },
            [("a.yaml:4:1", "the document of shared definitions has an unknown key `rules`")],
        ),
        # What is wrong inside a shared definition is told once, where it is written.
        (
            {
                "a": 'kind: shared\nname: a\nvariables:\n  x: subject.idd == "a"\n',
                "p": IMPORTING.replace("actions: [read]", "actions: [read], when: x"),
            },
            [("a.yaml:4:13", "`subject` has no `idd` (it has `id`, `properties`, `type`)")],
        ),
        (
            {
                "a": "kind: shared\nname: a\nroles: {r: {from: [nobody]}}\n",
                "p": f"policy: p\nresource: t\n{RULES}",
            },
            [
                (
                    "a.yaml:3:20",
                    "static role `nobody` is not defined in this document of shared defin",
                )
            ],
        ),
        # Names that a policy does not import it does not see.
        (
            {
                "a": "kind: shared\nname: a\nvariables: {shared_one: 'true'}\n",
                "p": "policy: p\nresource: t\n"
                "rules: [{id: d, effect: deny, actions: [read], when: shared_one}]\n",
            },
            [("p.yaml:3:54", "`shared_one`")],
        ),
    ],
)
def test_a_mistake_about_imports_is_named_where_it_is(
    documents: dict[str, str], expected: list[tuple[str, str]], checker: Checker
) -> None:
    """Exactly these problems, each at its place, with what to do about it."""
    found = told(compiled_from(checker, **documents))
    assert [place for place, _ in found] == [place for place, _ in expected], found
    for (_, said), (_, part) in zip(found, expected, strict=True):
        assert part in said


def test_a_type_that_is_wrong_only_where_it_is_used_points_into_the_shared_file(
    checker: Checker,
) -> None:
    """The schema of the importing policy's type decides; the text stands in the shared file."""
    shared = "kind: shared\nname: a\nvariables:\n  large: resource.properties.amount > 10\n"
    policy = IMPORTING.replace("actions: [read]", "actions: [read], when: large")
    schema = (
        "kind: schema\nresource: t\nschema:\n  type: object\n  required: [amount]\n"
        "  properties: {amount: {type: string}}\n"
    )
    assert told(compiled_from(checker, a=shared, p=policy)) == []
    ((place, _),) = told(compiled_from(checker, a=shared, p=policy, t=schema))
    assert place.startswith("a.yaml:4:")


def test_a_compiled_condition_names_the_document_that_its_text_is_in(checker: Checker) -> None:
    """So that what the PDP finds wrong with it is looked for in the right file."""
    shared = "kind: shared\nname: a\nvariables:\n  large: resource.properties.amount > 10\n"
    policy = IMPORTING.replace("actions: [read]", "actions: [read], when: large")
    compilation = compiled_from(checker, a=shared, p=policy)
    (document,) = [each for each in compilation.documents if each.source_path == "p.yaml"]
    message = pb.CompiledDocument.FromString(document.compiled)
    (variable,) = message.policy.variables
    condition = variable.expression
    assert (condition.source_path, condition.line, condition.column) == ("sources/a.yaml", 4, 10)
    assert message.policy.rules[0].when.source_path == ""
    condition.checked_expr = b"\xff"
    with pytest.raises(PolicyError) as caught:
        compiled.decode(message.SerializeToString())
    assert caught.value.position == Position("sources/a.yaml", 4, 10)


def test_a_file_by_itself_says_that_it_cannot_see_its_imports(checker: Checker) -> None:
    """Not that there are none: `pdp check FILE` has read no other."""
    (problem,) = compile_document("p.yaml", IMPORTING.encode(), checker).problems
    assert problem.suggestion == "a file by itself imports nothing: check the folder"


def test_more_names_than_anybody_reads_are_refused(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chain of imports does not add up without end."""
    monkeypatch.setattr(imports, "VARIABLES_MAX", 3)
    many = ", ".join(f"v{i}: 'true'" for i in range(4))
    found = compiled_from(checker, a=f"kind: shared\nname: a\nvariables: {{{many}}}\n", p=IMPORTING)
    assert told(found)[0][0] == "p.yaml:3:11"
    assert "more than 3 names" in told(found)[0][1]


def test_a_long_chain_of_imports_is_no_recursion(checker: Checker) -> None:
    """899 documents, each importing the one before: an answer, not a crash."""
    documents = {
        f"s{i}": f"kind: shared\nname: s{i}\n"
        + (f"imports: [s{i - 1}]\n" if i else "")
        + "static_roles: [r]\n"
        for i in range(898)
    }
    policy = f"policy: p\nresource: t\nimports: [s897]\n{RULES}"
    assert told(compiled_from(checker, p=policy, **documents)) == []


# -- in a bundle -------------------------------------------------------------------------


def test_a_bundle_with_shared_definitions_loads_and_rebuilds(checker: Checker) -> None:
    """Each source has a compiled form; the PDP loads policies that need no other document."""
    archive = build(
        compiled_from(checker, people=PEOPLE, reports=POLICY), Release(1, 1_790_000_000)
    )
    bundle = rebuild(archive)
    assert set(bundle.sources) == {"callers.yaml", "people.yaml", "reports.yaml"}
    marker = compiled.decode(bundle.compiled["people.yaml"])
    assert marker == compiled.SharedMarker("people")
    contents = compile_bundle(read_bundle(archive, ArchiveLimits()), LIMITS)
    assert contents.policies.names == {"reports"}


def test_a_shared_definition_that_was_changed_in_one_policy_is_never_signed(
    checker: Checker,
) -> None:
    """Attack: the policy's copy of a shared variable says something else than the shared source."""
    compilation = compiled_from(checker, people=PEOPLE, reports=POLICY)
    evil = compiled_from(checker, people=PEOPLE.replace('"active"', '"gone"'), reports=POLICY)
    mixed = {item.source_path: item for item in compilation.documents}
    other = {item.source_path: item for item in evil.documents}
    mixed["reports.yaml"] = other["reports.yaml"]
    forged = Compilation(tuple(mixed.values()), (), (), None, {})
    with pytest.raises(BundleRefusedError, match="the compiled form of `reports"):
        rebuild(build(forged, Release(1, 1_790_000_000)))
