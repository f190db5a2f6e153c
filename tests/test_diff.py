"""`pdp diff`: documents side by side, from wherever they come, the dangerous first."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pdp import cli
from pdp.errors import BundleRefusedError, ConfigurationError
from pdp.impact.comparison import Act, Difference, compare
from pdp.impact.edition import Edition, read_edition
from pdp.publishing.building import Release, build_folder
from pdp.publishing.plan import default_plan
from pdp.publishing.releasing import Publisher
from tests.simulators.author_commands import Command, Done
from tests.test_explaining import CALLERS, POLICY


@pytest.fixture
def pdp(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`pdp` with this command."""
    monkeypatch.setattr(cli, "COMMANDS", ("diff", "repl"))
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str | Path, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "argv", ["pdp", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    return run


def folder(path: Path, policy: str = POLICY, callers: str = CALLERS) -> Path:
    """A folder of policies."""
    path.mkdir(exist_ok=True)
    (path / "p.yaml").write_text(policy)
    (path / "c.yaml").write_text(callers)
    return path


def edition(tmp_path: Path, *changes: tuple[str, str], name: str = "new") -> Edition:
    """The policy of test_explaining, with pieces of its text exchanged."""
    policy, callers = POLICY, CALLERS
    for old, new in changes:
        assert old in policy + callers
        policy, callers = policy.replace(old, new), callers.replace(old, new)
    return read_edition(str(folder(tmp_path / name, policy, callers)))


def told(found: list[Difference]) -> list[tuple[str, str, str]]:
    """Act, kind and name of each."""
    return [(each.act.value, each.kind, each.name) for each in found]


def test_the_same_policies_have_no_difference(tmp_path: Path) -> None:
    """Written twice, in other files: the same."""
    old = edition(tmp_path, name="old")
    other = folder(tmp_path / "other")
    (other / "p.yaml").rename(other / "elsewhere.yaml")
    assert compare(old, read_edition(str(other))) == []


DENY = """  - id: tags
    effect: deny
    actions: ["*"]
    when: resource.properties.tags.exists(t, t == "secret")
"""
ALL = "  - id: all\n    effect: permit\n    actions: [read]\n    justification: x\n"
NONE = "  - id: none\n    effect: deny\n    actions: [burn]\n"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ((DENY, ""), [("removed", "rule", "notes/tags")]),
        (("  - id: tags", "  - id: labels"),
         [("removed", "rule", "notes/tags"), ("added", "rule", "notes/labels")]),
        (("actions: [write]", "actions: [write, read]"), [("changed", "rule", "notes/writes")]),
        (('t == "secret"', 't == "secrets"'), [("changed", "rule", "notes/tags")]),
        (("roles: [author]", "roles: [editor]"), [("changed", "rule", "notes/writes")]),
        (("authors write", "authors write!"), [("changed", "rule", "notes/writes")]),
        (("expires: 2020", "expires: 2021"), [("changed", "rule", "notes/was")]),
        (('== "open"', '!= "shut"'), [("changed", "variable", "notes/is_open")]),
        (("from: [editor]", "from: [editor, reader]"), [("changed", "role", "notes/author")]),
        (("resource: note\n", "resource: paper\n"), [("changed", "policy", "notes")]),
        (("org/*", "org/a/*"),
         [("added", "caller", "spiffe://example.org/a/*"),
          ("removed", "caller", "spiffe://example.org/*")]),
        (('actions: ["*"], s', "actions: [read], s"),
         [("changed", "caller", "spiffe://example.org/*")]),
    ],
)  # fmt: skip
def test_each_kind_of_change_is_named(
    tmp_path: Path, change: tuple[str, str], expected: list[tuple[str, str, str]]
) -> None:
    """What happened to what; nothing else is different."""
    found = compare(edition(tmp_path, name="old"), edition(tmp_path, change))
    assert told(found) == expected
    assert all(each.changes for each in found)


def test_a_change_has_both_texts(tmp_path: Path) -> None:
    """Field by field, as it is written."""
    (found,) = compare(
        edition(tmp_path, name="old"), edition(tmp_path, ("    roles: [reader]\n", ""))
    )
    assert found.act is Act.CHANGED
    assert [(each.field, each.old, each.new) for each in found.changes] == [
        ("roles", "reader", "anyone")
    ]


def test_a_variable_names_the_rules_it_is_a_part_of(tmp_path: Path) -> None:
    """Through roles and other variables, too."""
    old = edition(tmp_path, name="old")
    (variable,) = compare(old, edition(tmp_path, ('== "open"', '== "opened"')))
    assert variable.rules == ("notes/reads",)
    (role,) = compare(
        old, edition(tmp_path, ("resource.properties.author", "resource.id"), name="n")
    )
    assert (role.kind, role.rules) == ("role", ("notes/writes",))


def test_the_dangerous_comes_first(tmp_path: Path) -> None:
    """A deny that went, a permit that came, a deny that came last."""
    new = edition(
        tmp_path,
        (DENY, ALL + NONE),
        ("authors write", "they write"),
    )
    found = compare(edition(tmp_path, name="old"), new)
    assert told(found) == [
        ("removed", "rule", "notes/tags"),
        ("added", "rule", "notes/all"),
        ("changed", "rule", "notes/writes"),
        ("added", "rule", "notes/none"),
    ]
    turned = edition(tmp_path, ("effect: deny", "effect: permit\n    justification: x"), name="t")
    (found_turned,) = compare(edition(tmp_path, name="old"), turned)
    assert found_turned.rank == 1


def test_folders_archives_and_revisions_are_the_same_policies(tmp_path: Path, pdp: Command) -> None:
    """Each source of the same text has no difference to the others; an older revision has."""
    path = folder(tmp_path / "policies")
    now = int(time.time())
    archive = tmp_path / "bundle.tar"
    archive.write_bytes(build_folder(path, Release(1, now)))
    repository, keys = tmp_path / "repository", tmp_path / "keys"
    publisher = Publisher(repository, keys, time.time_ns)
    publisher.initialise(default_plan())
    publisher.publish(archive.read_bytes())
    first = publisher.read().revision
    folder(path, POLICY.replace("authors write", "they write"))
    publisher.publish(build_folder(path, Release(2, now)))
    second = publisher.read().revision
    root = ("--root", keys / "root.json")
    assert pdp("diff", archive, f"{repository}@{first}", *root).returncode == 0
    assert pdp("diff", path, repository, *root).returncode == 0
    done = pdp("diff", f"{repository}@{first}", f"{repository}@{second}", *root, "--json")
    assert done.returncode == 1
    (change,) = json.loads(done.stdout)["documents"]
    assert (change["act"], change["name"]) == ("changed", "notes/writes")
    for missing in (f"{repository}@{second + 1}", f"{repository}@1", tmp_path / "nothing"):
        assert pdp("diff", archive, missing, *root).returncode == 2
    published = read_edition(str(repository), keys / "root.json")
    assert published.ref is not None
    assert published.ref.revision == second


def test_a_changed_repository_or_archive_is_refused(tmp_path: Path) -> None:
    """What does not verify is not compared."""
    archive = build_folder(folder(tmp_path / "policies"), Release(1, int(time.time())))
    publisher = Publisher(tmp_path / "repository", tmp_path / "keys", time.time_ns)
    publisher.initialise(default_plan())
    publisher.publish(archive)
    revision = publisher.read().revision
    (tmp_path / "bad.tar").write_bytes(archive.replace(b"authors write", b"Authors write"))
    with pytest.raises(BundleRefusedError):
        read_edition(str(tmp_path / "bad.tar"))
    snapshot = tmp_path / "repository" / "metadata" / f"{revision}.snapshot.json"
    snapshot.write_bytes(snapshot.read_bytes().replace(b'"version"', b'"Version"', 1))
    with pytest.raises(BundleRefusedError):
        read_edition(f"{tmp_path / 'repository'}@{revision}")
    (tmp_path / "large.tar").write_bytes(b"")
    with pytest.raises((BundleRefusedError, ConfigurationError)):
        read_edition(str(tmp_path / "large.tar"))


def test_people_see_the_texts(tmp_path: Path, pdp: Command) -> None:
    """Removed and added lines of a condition; exit code 1; 0 without a difference."""
    old = folder(tmp_path / "old")
    new = folder(tmp_path / "new", POLICY.replace('t == "secret"', 't == "s\u200d"').replace(
        "\u200d", "ecrets"))  # fmt: skip
    done = pdp("diff", old, new)
    assert done.returncode == 1
    assert "changed deny rule notes/tags" in done.stdout
    assert '- resource.properties.tags.exists(t, t == "secret")' in done.stdout
    assert '+ resource.properties.tags.exists(t, t == "secrets")' in done.stdout
    done = pdp("diff", old, old)
    assert (done.returncode, done.stdout) == (0, "no difference between the documents\n")


def test_policies_with_problems_are_exit_code_2(tmp_path: Path, pdp: Command) -> None:
    """1 says "they differ", so what cannot be compared is not 1."""
    bad = folder(tmp_path / "bad", "policy: p\nresource: r\nrules: []\n")
    done = pdp("diff", folder(tmp_path / "old"), bad)
    assert (done.returncode, done.stdout) == (2, "")


def test_every_field_of_a_rule_is_compared(tmp_path: Path) -> None:
    """A field that is added to rules some day is compared without being named here."""
    import dataclasses

    from pdp.policy import RuleDocument

    old = edition(tmp_path, name="old")
    rule = old.policies[0].rules[0]
    others: dict[str, Any] = {
        "effect": old.policies[0].rules[-1].effect,
        "when": old.policies[0].rules[-1].when,
        "starts_ns": 5,
        "expires_ns": 5,
        "obligations": (),
    }
    for field in dataclasses.fields(RuleDocument):
        if field.name == "id":
            continue
        value = others.get(field.name, ("x",) if field.name in {"actions", "roles"} else "x")
        if getattr(rule, field.name) == value:
            continue
        changed = dataclasses.replace(rule, **{field.name: value})
        document = dataclasses.replace(old.policies[0], rules=(changed, *old.policies[0].rules[1:]))
        (found,) = compare(old, dataclasses.replace(old, policies=(document,)))
        assert len(found.changes) == 1, field.name


_MAPPING = """
kind: http_mapping
headers: [x-a]
upstream: {set: {x-user: subject.id}}
routes:
  - id: first
    when: http.method == "GET"
    subject: {type: user, id: 'http.headers["x-a"]'}
    action: '"read"'
    resource: {type: TYPE, id: '"1"'}
  - id: second
    subject: {token: bearer}
    action: http.method
    resource: {type: TYPE, id: http.path}
"""
_SECOND = _MAPPING[_MAPPING.index("  - id: second") :]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("http.method ==", "http.method !=", [("changed", "route", "first")]),
        (_SECOND, "", [("changed", "mapping", "http"), ("removed", "route", "second")]),
        ("headers: [x-a]", "headers: [x-a, x-b]", [("changed", "mapping", "http")]),
        ("subject.id}", "subject.type}", [("changed", "mapping", "http")]),
        ("{token: bearer}", "{type: user, id: http.host}", [("changed", "route", "second")]),
        (
            _SECOND,
            _SECOND + _SECOND.replace("second", "third"),
            [("changed", "mapping", "http"), ("added", "route", "third")],
        ),
    ],
)
def test_what_http_requests_ask_is_compared(
    old: str, new: str, expected: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    """Routes by their parts, their order, and what becomes of headers."""
    kind = POLICY.partition("resource: ")[2].partition("\n")[0]
    editions = []
    for name, text in (("old", _MAPPING), ("new", _MAPPING.replace(old, new))):
        made = folder(tmp_path / name)
        (made / "http.yaml").write_text(text.replace("TYPE", kind))
        editions.append(read_edition(str(made)))
    assert sorted(told(compare(*editions))) == sorted(expected)
    without = read_edition(str(folder(tmp_path / "without")))
    came = told(compare(without, editions[0]))
    assert came == [
        ("added", "route", "first"), ("added", "route", "second"), ("added", "mapping", "http"),
    ]  # fmt: skip
