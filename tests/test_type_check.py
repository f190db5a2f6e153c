"""Schemas at build time: what can never be, or may be absent, is named where it is.

And nothing else: a condition that is right is never complained about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from pdp.authoring import typed_conditions
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import Compilation, compile_sources
from pdp.errors import PolicyError
from tests.test_check import CALLERS, HEAD, cases, unmarked

RULE = "rules:\n  - id: a\n    effect: deny\n"
SCHEMAS: Mapping[str, str] = {
    "resource: r": """
type: object
additionalProperties: false
required: [status, author, amount, rate, due, lines]
properties:
  status: {enum: [draft, submitted, approved]}
  author: {type: string}
  approver: {type: string}
  amount: {type: integer}
  limit: {type: integer}
  rate: {type: number}
  due: {type: string, format: date-time}
  closed: {type: [string, "null"]}
  at: {x-type: timestamp}
  labels: {type: object, additionalProperties: {type: string}}
  lines:
    type: array
    items:
      type: object
      additionalProperties: false
      required: [category, amount]
      properties: {category: {type: string}, amount: {type: integer}, note: {type: string}}
""",
    "subject: user": """
type: object
additionalProperties: false
required: [department, groups]
properties:
  department: {type: string}
  groups: {type: array, items: {enum: [manager, clerk]}}
""",
    "subject: robot": """
type: object
additionalProperties: false
required: [level]
properties: {level: {type: integer}}
""",
    "action: approve": """
type: object
additionalProperties: false
required: [note]
properties: {note: {enum: [short, long]}}
""",
    "action: transfer": """
type: object
additionalProperties: false
required: [to]
properties: {to: {type: string}}
""",
    "context: r": """
type: object
properties:
  channel: {type: string}
  mfa: {type: boolean}
  device: {type: object, additionalProperties: true, properties: {trusted: {type: boolean}}}
required: [mfa]
""",
}


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child process for all tests of this file."""
    with Checker() as running:
        yield running


def schema_documents(unguarded: bool = False) -> dict[str, bytes]:
    """The schemas above, as documents."""
    found = {}
    for number, (head, schema) in enumerate(SCHEMAS.items()):
        body = "".join(f"  {line}\n" for line in schema.strip().splitlines())
        wish = "unguarded: in-doubt\n" if unguarded else ""
        found[f"schema-{number}.yaml"] = f"kind: schema\n{head}\n{wish}schema:\n{body}".encode()
    return found


def policy_text(case: Mapping[str, str]) -> str:
    """The policy of a case, marks included."""
    if "rule" in case:
        actions = "" if "actions:" in case["rule"] else "    actions: [read]\n"
        return HEAD + RULE + actions + "".join(f"    {x}\n" for x in case["rule"].splitlines())
    own = "\nrules:" in case["policy"]
    return HEAD + case["policy"] + ("" if own else RULE + "    actions: [read]\n")


def compile_case(
    text: str, checker: Checker, schemas: Mapping[str, bytes] | None = None
) -> Compilation:
    """The policy with the schemas."""
    known = schema_documents() if schemas is None else schemas
    return compile_sources({"p.yaml": text.encode(), "callers.yaml": CALLERS, **known}, checker)


def told(problems: tuple[PolicyError, ...]) -> list[str]:
    """What an author reads."""
    return [str(problem) for problem in problems]


@pytest.mark.parametrize("case", cases("type_mistakes.yaml"))
def test_what_schemas_show_to_be_wrong_is_named_where_it_is(
    case: Mapping[str, Any], checker: Checker
) -> None:
    """The table in tests/cases/type_mistakes.yaml: these problems, there, and no others."""
    text, places = unmarked(policy_text(case))
    found = compile_case(text, checker)
    positions = [(p.position.line, p.position.column) for p in found.problems if p.position]
    assert positions == places, told(found.problems)
    for said, expected in zip(told(found.problems), case["problems"], strict=True):
        assert expected in said
    # What has a problem is in no bundle.
    assert found.policies == ()
    assert "p.yaml" not in {document.source_path for document in found.documents}


def test_without_schemas_nothing_is_known_and_nothing_complained_about(checker: Checker) -> None:
    """The same policies: it is the schemas that show it."""
    for case in cases("type_mistakes.yaml"):
        text, _ = unmarked(policy_text(case.values[0]))
        assert compile_case(text, checker, {}).problems == ()


RIGHT = (
    'resource.properties.status == "draft"',
    'resource.properties.status in ["draft", "approved"]',
    'resource.properties["status"] == "draft"',
    "has(resource.properties.approver) && resource.properties.approver == subject.id",
    # CEL absorbs an error on either side.
    "resource.properties.approver == subject.id && has(resource.properties.approver)",
    "!has(resource.properties.approver) || resource.properties.approver == subject.id",
    "!(has(resource.properties.approver) && resource.properties.approver == subject.id)",
    'has(resource.properties.approver) ? resource.properties.approver == "a" : false',
    '!has(resource.properties.approver) ? false : resource.properties.approver == "a"',
    '"approver" in resource.properties && resource.properties.approver == "a"',
    '"approver" in resource.properties && resource.properties["approver"] == "a"',
    "has(resource.properties.approver) && (context.mfa || resource.properties.approver == 'a')",
    (
        "(has(resource.properties.approver) ? has(resource.properties.limit) : false) && "
        "resource.properties.approver == 'a' && resource.properties.limit > 3"
    ),
    (
        "(has(resource.properties.approver) && context.mfa || "
        "has(resource.properties.approver)) && resource.properties.approver == 'a'"
    ),
    'resource.properties.lines.all(line, has(line.note) && line.note == "x")',
    'resource.properties.lines.all(line, !has(line.note) || line.note.startsWith("x"))',
    "resource.properties.lines.filter(l, l.amount > 3).map(l, l.amount).exists(n, n * 2 > 7)",
    'resource.properties.lines.map(l, {"n": l.amount}).exists(m, m.n > 3)',
    "resource.properties.lines[0].amount > 3",
    "has(resource.properties.lines[0].note) && resource.properties.lines[0].note == 'x'",
    "size(resource.properties.lines) > 3 && size(resource.properties.author) == 2",
    "resource.properties.amount > 3 && resource.properties.amount > 3.5",
    "resource.properties.rate > 3 && resource.properties.rate >= 0.5",
    "resource.properties.rate == 3 || resource.properties.rate == 3.0",
    "double(resource.properties.rate) * 2.0 > 5.0",
    "resource.properties.amount * 2 + 1 > 5 && resource.properties.amount % 2 == 0",
    "timestamp(resource.properties.due) < now",
    'timestamp(resource.properties.due) + duration("1h") < now',
    "has(resource.properties.at) && resource.properties.at < now",
    "has(resource.properties.closed) && resource.properties.closed == null",
    "has(resource.properties.closed) && resource.properties.closed == 'x'",
    (
        "has(resource.properties.labels) && has(resource.properties.labels.a) && "
        "resource.properties.labels.a == 'x'"
    ),
    "has(resource.properties.labels) && resource.properties.labels.exists(k, k == 'x')",
    # Open: nothing is known of it, and it does not look like what is.
    "context.purpose == 5 || context.purpose == 'x'",
    "has(context.device) && context.device.serial == 5",
    # The types of subjects that there are.
    'subject.type == "user" && subject.properties.department == "x"',
    'subject.type == "robot" && subject.properties.level > 5',
    'subject.type != "robot" || subject.properties.level > 5',
    'subject.type == "robot" ? subject.properties.level > 5 : context.mfa',
    'subject.type == "visitor" && subject.properties.anything == 5',
    "has(subject.properties.level) && subject.properties.level > 3",
    'has(subject.properties.groups) && "manager" in subject.properties.groups',
    'action.name == "transfer" && action.properties.to == "ana"',
    'subject == {"type": "user"} || resource.id == "x" || caller.id == "y" || token == {}',
    '{"draft": 1, "approved": 2}[resource.properties.status] > 1',
    "[1, 'a', null].exists(x, x == resource.properties.author)",
    "[].all(x, x == 1) && ([] + [resource.properties.amount]).exists(n, n > 3)",
    "([context.purpose] + ['a']).exists(x, x == 5)",
    "dyn(resource.properties.amount) == 'x'",
    "resource.properties.lines.exists(status, status.category == 'x')",
)


@pytest.mark.parametrize("condition", RIGHT)
def test_what_is_right_is_not_complained_about(condition: str, checker: Checker) -> None:
    """Guards of every form, kinds that do fit, and what nobody can know."""
    text = f"{HEAD}{RULE}    actions: [read, transfer]\n    when: |\n      {condition}\n"
    assert told(compile_case(text, checker).problems) == []


def test_a_guard_around_a_variable_guards_what_it_stands_for(checker: Checker) -> None:
    """Variables are evaluated where they are used; a role that is held guards its rule."""
    text = HEAD + (
        "variables:\n"
        "  is_approver: resource.properties.approver == subject.id\n"
        "  is_known: has(resource.properties.approver)\n"
        "  line: resource.properties.lines\n"
        "roles:\n"
        "  known: {when: is_known}\n"
        "rules:\n"
        "  - {id: a, effect: deny, actions: [read], when: is_known && is_approver}\n"
        "  - {id: b, effect: deny, actions: [read], roles: [known], when: is_approver}\n"
        '  - {id: c, effect: deny, actions: [read], when: "line.exists(line, line.amount > 1)"}\n'
    )
    assert told(compile_case(text, checker).problems) == []


def test_a_schema_may_say_that_what_is_absent_is_in_doubt(checker: Checker) -> None:
    """`unguarded: in-doubt`: no complaint about what may be absent; about all else, the same."""
    schemas = schema_documents(unguarded=True)
    text = (
        f"{HEAD}{RULE}    actions: [read]\n    when: resource.properties.approver == subject.id\n"
    )
    assert compile_case(text, checker, schemas).problems == ()
    text = text.replace("approver", "aprover")
    assert "has no `aprover`" in told(compile_case(text, checker, schemas).problems)[0]


def test_types_that_differ_between_schemas_are_any_of_them(checker: Checker) -> None:
    """`level` of a robot is an integer and of a device a text: neither comparison is wrong."""
    schemas = schema_documents()
    schemas["device.yaml"] = (
        b"kind: schema\nsubject: device\nschema:\n  type: object\n"
        b"  properties: {level: {type: string}}\n"
    )
    for value, wrong in (("5", False), ("'x'", False), ("true", True)):
        condition = f"has(subject.properties.level) && subject.properties.level == {value}"
        text = f'{HEAD}{RULE}    actions: [read]\n    when: "{condition}"\n'
        assert bool(compile_case(text, checker, schemas).problems) is wrong


def test_narrower_and_wider_schemas_of_the_context_hold_together(checker: Checker) -> None:
    """What the schema for all requires is there; what it does not have, no schema adds."""
    schemas = schema_documents()
    schemas["all.yaml"] = (
        b'kind: schema\ncontext: "*"\nschema:\n  type: object\n  additionalProperties: false\n'
        b"  required: [channel]\n  properties: {channel: {enum: [web, phone]}, mfa: true}\n"
    )
    right = f"{HEAD}{RULE}    actions: [read]\n    when: context.channel == 'web' && context.mfa\n"
    assert told(compile_case(right, checker, schemas).problems) == []
    for wrong in ("context.channel == 'fax'", "has(context.device) && true"):
        text = f"{HEAD}{RULE}    actions: [read]\n    when: {wrong}\n"
        assert len(compile_case(text, checker, schemas).problems) == 1


def test_what_schemas_show_to_be_wrong_twin_without_guard(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the comparison, a misspelt attribute would be in a bundle."""
    monkeypatch.setattr(typed_conditions._Policy, "check", lambda _: None)
    text, _ = unmarked(policy_text({"rule": "when: resource.properties.stauts == 'draft'\n"}))
    assert compile_case(text, checker).problems == ()


def test_what_is_wrong_in_shared_definitions_is_named_there(checker: Checker) -> None:
    """The place is in the document that is imported, once, whoever imports it."""
    shared = (
        b"kind: shared\nname: words\nvariables:\n  is_draft: resource.properties.stauts == 'a'\n"
    )
    policies = {
        f"{name}.yaml": (
            f"policy: {name}\nresource: r\nimports: [words]\nrules:\n"
            "  - {id: a, effect: deny, actions: [read], when: is_draft}\n"
        ).encode()
        for name in ("one", "two")
    }
    found = compile_sources(
        {"callers.yaml": CALLERS, "words.yaml": shared, **policies, **schema_documents()}, checker
    )
    (problem,) = found.problems
    assert str(problem).startswith("words.yaml:4:33: `resource.properties` has no `stauts`")
    assert found.policies == ()
