"""The schemas for editors take what the readers take, know the keys they know, and explain them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from pdp.authoring import (
    caller_document,
    editor_schemas,
    fields,
    mapping_document,
    policy_document,
    policy_tests,
    provider_document,
    schema_document,
)
from pdp.authoring.definitions import Definitions
from pdp.authoring.documents import read_document
from pdp.authoring.editor_schemas import KINDS, schema_text
from pdp.authoring.expectations import CAUSES
from pdp.authoring.fetched_rows import FAILURES
from pdp.authoring.fields import value_of
from pdp.authoring.imports import Library
from pdp.authoring.problems import Problems
from pdp.authoring.schema_keywords import FORMATS, KEYWORDS, ROOT_KEYWORDS, TYPES, VALUE_TYPES
from pdp.callers import MAY
from tests.conftest import ROOT
from tests.simulators.author_commands import real_process
from tests.test_check import cases, document, unmarked
from tests.test_policy_docs import BLOCKS
from tests.test_schema import case_text
from tests.test_type_check import policy_text, schema_documents

SCHEMAS: Mapping[str, Any] = {kind: json.loads(schema_text(kind)) for kind in KINDS}
VALIDATORS = {kind: jsonschema_rs.Draft202012Validator(SCHEMAS[kind]) for kind in KINDS}
# What an editor shows of a document that says every key there is.
FULL: Mapping[str, str] = {
    "policy": """
policy: p
resource: r
owner: o
static_roles: [a]
variables: {v: now == now}
roles: {d: {from: [a], when: v}}
rules:
  - id: a
    effect: permit
    actions: [read]
    roles: [a]
    when: v
    justification: j
    starts: 2026-01-01T00:00:00Z
    expires: 2027-01-01T00:00:00Z
    lease_s: 2
    obligations: [{id: i, type: t, properties: {}}]
    advice: [{id: k, type: t, properties: {}}]
    reason: {user: u, admin: m}
    accept: {PC107: meant}
  - {id: b, effect: deny, actions: [read]}
""",
    "shared": """
kind: shared
name: s
owner: o
static_roles: [a]
variables: {v: now == now}
roles: {d: {from: [a], when: v}}
""",
    "callers": """
kind: callers
callers:
  - id: spiffe://a/b
    tenants: [default]
    resources: [r]
    actions: [read]
    subjects: {assert: [user]}
    may: [batch]
""",
    "tests": """
kind: tests
now: 2026-01-01T00:00:00Z
caller: spiffe://a/b
fetched: {hr: DOWN}
subjects: {x: {type: user, id: x}, y: {like: x}}
resources: {d: {type: r, id: d}, e: {like: d}}
contexts: {c: {}}
matrices:
  - name: m
    fetched: {hr: {}}
    now: 2026-01-01T00:00:00Z
    caller: spiffe://a/b
    context: c
    table: |
      action resource x
      read   d        DENY
tests:
  - name: n
    subject: {like: x, type: user, id: a, properties: {}}
    action: {name: read, properties: {}}
    resource: {like: d, type: r, id: a, properties: {}}
    context: {}
    fetched: {hr: {suspended: true}}
    now: 2026-01-01T00:00:00Z
    caller: spiffe://a/b
    expect:
      effect: PERMIT
      cause: RULE
      rules: [p/a]
      obligations: [{id: i, type: t, properties: {}}]
      advice: [{id: i, type: t, properties: {}}]
      reasons: {user: [], admin: []}
  - name: h
    http: {method: GET, path: /, host: a, scheme: https, headers: {}, body: {}, source: s,
           extensions: {}}
    subject: {type: user, id: a}
    token: {}
    now: 2026-01-01T00:00:00Z
    caller: spiffe://a/b
    expect: {effect: DENY}
  - name: i
    now: 2026-01-01T00:00:00Z
    caller: spiffe://a/b
    http: {method: GET, path: /}
    expect: {effect: DENY}
""",
    "fixtures": """
kind: fixtures
subjects: {x: {type: user, id: x}, y: {like: x}}
resources: {d: {type: r, id: d}}
contexts: {c: {}}
""",
    "schema": """
kind: schema
resource: r
unguarded: in-doubt
schema: {type: object}
""",
    "provider": """
kind: provider
name: hr
subject: user
attributes: [suspended]
max_age_s: 30
""",
    "http_mapping": """
kind: http_mapping
headers: [x-a]
body: json
upstream: {set: {x-b: subject.id}, remove: [x-c]}
routes:
  - id: a
    when: http.method == "GET"
    subject: {type: user, id: http.host, properties: '{}'}
    action: http.method
    resource: {type: r, id: http.path, properties: '{}'}
    context: '{}'
  - id: b
    subject: {token: bearer, properties: '{}'}
    action: http.method
    resource: {type: r, id: http.path}
""",
}
# Where the schema of each part is, by what messages call the part.
PARTS: Mapping[str, tuple[str, str]] = {
    "the policy": ("policy", ""),
    "role": ("policy", "/$defs/role"),
    "rule": ("policy", "/$defs/rule"),
    "the obligation": ("policy", "/$defs/obligation"),
    "the advice": ("policy", "/$defs/advice"),
    "`reason`": ("policy", "/$defs/rule/properties/reason"),
    "the document of shared definitions": ("shared", ""),
    "the caller policy": ("callers", ""),
    "caller": ("callers", "/$defs/caller"),
    "`subjects`": ("callers", "/$defs/subjects"),
    "the document of tests": ("tests", ""),
    "test": ("tests", "/$defs/row"),
    "matrix": ("tests", "/$defs/matrix"),
    "subject": ("tests", "/$defs/entity"),
    "resource": ("fixtures", "/$defs/entity"),
    "`subject`": ("tests", "/$defs/entity"),
    "`resource`": ("tests", "/$defs/entity"),
    "the document of fixtures": ("fixtures", ""),
    "`action`": ("tests", "/$defs/action"),
    "`expect`": ("tests", "/$defs/expect"),
    "`http`": ("tests", "/$defs/http"),
    "`reasons`": ("tests", "/$defs/expect/properties/reasons"),
    "the schema document": ("schema", ""),
    "the provider document": ("provider", ""),
    "the HTTP mapping": ("http_mapping", ""),
    "`upstream`": ("http_mapping", "/$defs/upstream"),
    "route": ("http_mapping", "/$defs/route"),
    "`subject` of the route": ("http_mapping", "/$defs/subject"),
    "`resource` of the route": ("http_mapping", "/$defs/resource"),
}
# Structural mistakes that the schemas do not see, at most: what they cannot say, or what a
# message in an editor would only confuse.
UNSEEN_SHARE_MAX = 0.25


def part(kind: str, pointer: str) -> dict[str, Any]:
    """A part of a schema."""
    found: Any = SCHEMAS[kind]
    for step in pointer.split("/")[1:]:
        found = found[int(step)] if isinstance(found, list) else found[step]
    assert isinstance(found, dict)
    return found


def loaded(text: str) -> object:
    """A document as our own reader sees it: no dates, no `yes`; None if it is no YAML."""
    root = read_document("d.yaml", text.encode(), Problems())
    return None if root is None else value_of(root)


def kind_of(text: str) -> str:
    """The schema that an author would use."""
    found = re.search(r"(?m)^kind: *(\w+)", text)
    return found[1] if found and found[1] in KINDS else "policy"


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_a_json_schema_that_closes_and_explains_every_key(kind: str) -> None:
    """2020-12; no object with keys that are not closed; every key has a text to show."""
    jsonschema_rs.meta.validate(SCHEMAS[kind])
    waiting: list[Any] = [SCHEMAS[kind]]
    seen = 0
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            waiting += node.values()
            keys = node.get("properties")
            if isinstance(keys, dict) and node.get("type") == "object" and "description" in node:
                assert node["additionalProperties"] is False
                for name, item in keys.items():
                    target = item
                    if "$ref" in item and "description" not in item:
                        target = part(kind, item["$ref"].removeprefix("#"))
                    assert target.get("description") or "const" in target, name
                    seen += 1
    assert seen >= 3


def test_they_take_every_document_of_the_samples_and_of_the_pages() -> None:
    """Each file in policies/, each document in docs/policies.md, and the fullest of each kind."""
    texts = [path.read_text() for path in sorted((ROOT / "policies").rglob("*.yaml"))]
    assert len(texts) >= 30
    texts += [text for where, text in BLOCKS if where.endswith(".yaml") or where == "a schema"]
    texts += FULL.values()
    texts += [data.decode() for data in schema_documents().values()]
    for text in texts:
        found = [
            f"{error.instance_path} {error.message}"
            for error in VALIDATORS[kind_of(text)].iter_errors(loaded(text))
        ]
        assert found == [], text[:200]


def mistakes() -> Iterator[tuple[str, str, list[str]]]:
    """(kind, text, problems) of every mistake in the tables of tests/cases."""
    for name, kind in (("policy", "policy"), ("caller", "callers"), ("test", "tests")):
        for case in cases(f"{name}_mistakes.yaml"):
            value = case.values[0]
            yield kind, unmarked(document(value))[0], value["problems"]
    for case in cases("schema_mistakes.yaml"):
        value = case.values[0]
        yield "schema", unmarked(case_text(value))[0], value["problems"]


# Words of messages about keys, kinds and forms: what a schema can see.
_STRUCTURAL = re.compile(
    r"unknown key|has no `|must be a (list|map|string)|is empty|is unknown|not supported"
    r"|exactly one|must be `type|is no pattern"
)


def test_they_refuse_most_documents_with_a_structural_mistake() -> None:
    """Of the tables of mistakes, those about keys, kinds and forms: three of four, measured."""
    structural = [
        (kind, text)
        for kind, text, problems in mistakes()
        if any(_STRUCTURAL.search(problem) for problem in problems) and loaded(text) is not None
    ]
    refused = [text for kind, text in structural if not VALIDATORS[kind].is_valid(loaded(text))]
    assert len(structural) >= 40
    assert len(refused) / len(structural) >= 1 - UNSEEN_SHARE_MAX, len(refused) / len(structural)


def test_they_refuse_no_document_that_only_a_condition_is_wrong_in() -> None:
    """What schemas of attributes show to be wrong is nothing that an editor's schema sees."""
    for case in cases("type_mistakes.yaml"):
        text, _ = unmarked(policy_text(case.values[0]))
        assert VALIDATORS["policy"].is_valid(loaded(text)), text


def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[set[str], set[str]]]]:
    """(required, all) keys that the readers ask for, by part, for the fullest documents."""
    found: dict[str, list[tuple[set[str], set[str]]]] = {}
    init = fields.Fields.__init__

    def spy(self: fields.Fields, node: Any, what: str, problems: Any, **keys: Any) -> None:
        name = re.sub(r"^(role|rule|caller|test|matrix|subject|resource|route) `.*`$", r"\1", what)
        required, every = set(keys["required"]), {*keys["required"], *keys.get("optional", ())}
        found.setdefault(name, []).append((required, every))
        init(self, node, what, problems, **keys)

    monkeypatch.setattr(fields.Fields, "__init__", spy)
    problems = Problems()
    for kind, read in (
        ("policy", lambda root, noted: policy_document.read_policy(root, noted, Definitions())),
        ("shared", lambda root, noted: Library({"d.yaml": root}, noted, whole=True)),
        ("callers", caller_document.read_callers),
        ("schema", schema_document.read_schema),
        ("provider", provider_document.read_provider),
        ("http_mapping", mapping_document.read_mapping),
    ):
        root = read_document("d.yaml", FULL[kind].encode(), problems)
        assert root is not None
        read(root, problems)
    tests = policy_tests.read_tests({"d_test.yaml": FULL["tests"].encode()})
    policy_tests.read_tests({"f_test.yaml": FULL["fixtures"].encode()})
    assert [str(p) for p in (*problems.sorted(), *tests.problems)] == []
    return found


def test_their_keys_are_those_of_the_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """For every part of every kind of document: the same keys, and the same ones required."""
    found = recorded(monkeypatch)
    assert found.keys() == PARTS.keys()
    for what, asked in found.items():
        keys = part(*PARTS[what])
        required = set.intersection(*(needed for needed, _ in asked))
        assert set(keys["properties"]) == set.union(*(every for _, every in asked)), what
        assert set(keys.get("required", ())) == required, what


def test_their_keys_are_those_of_the_readers_twin_without_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A key that a reader learns and a schema does not would be noticed."""
    found = recorded(monkeypatch)
    found["rule"].append(({"id"}, {"id", "new"}))
    keys = part(*PARTS["rule"])["properties"]
    assert set(keys) != set.union(*(every for _, every in found["rule"]))


def test_their_closed_sets_are_those_of_the_readers() -> None:
    """Causes, permissions of callers, words and types of JSON Schema."""
    assert part("tests", "/$defs/expect/properties/cause")["enum"] == list(CAUSES)
    assert set(part("callers", "/$defs/caller/properties/may/items")["enum"]) == MAY
    words = part("schema", "/$defs/root")["properties"]
    assert set(words) == {*KEYWORDS, *ROOT_KEYWORDS}
    assert set(part("schema", "/$defs/schema/anyOf/1")["properties"]) == set(KEYWORDS)
    assert words["type"]["anyOf"][0]["enum"] == list(TYPES)
    assert words["x-type"]["anyOf"][0]["enum"] == list(VALUE_TYPES)
    assert words["format"]["enum"] == list(FORMATS)
    targets = [one["required"][0] for one in part("schema", "")["oneOf"]]
    assert set(targets) == set(schema_document.TARGETS)
    targets = [one["required"][0] for one in part("provider", "")["oneOf"]]
    assert set(targets) == set(provider_document.TARGETS)
    assert part("tests", "/$defs/said/anyOf/1")["enum"] == list(FAILURES)
    said = part("http_mapping", "/$defs/upstream/properties/set")["additionalProperties"]
    assert said["enum"] == list(mapping_document.SOURCES)


def test_they_are_package_data() -> None:
    """Every kind is a file beside the module, and no file is anything else."""
    folder = Path(editor_schemas.__file__).parent / "editor"
    assert {path.name for path in folder.iterdir()} == {f"{kind}.schema.json" for kind in KINDS}
    data = re.search(r"(?ms)^\[tool.setuptools.package-data\]\n(.*?)^\[", (
        ROOT / "pyproject.toml").read_text())  # fmt: skip
    assert data is not None
    assert "authoring/editor/*.json" in data[1]


def test_the_command_prints_them_and_writes_them(tmp_path: Path) -> None:
    """`pdp schema`, `pdp schema KIND`, `pdp schema --to FOLDER`, and a kind that there is not."""
    listed = real_process("schema")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(KINDS)
    assert real_process("schema", "policy").stdout == schema_text("policy")
    done = real_process("schema", "--to", str(tmp_path / "new"))
    assert done.returncode == 0
    for kind in KINDS:
        assert (tmp_path / "new" / f"{kind}.schema.json").read_text() == schema_text(kind)
    wrong = real_process("schema", "polcy")
    assert wrong.returncode == 2
    assert "there is no kind `polcy`" in wrong.stderr
    shown = real_process("schema", "--help").stdout
    assert "# yaml-language-server: $schema=.pdp/policy.schema.json" in shown
