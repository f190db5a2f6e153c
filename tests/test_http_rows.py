"""Rows that ask over HTTP: the mapping makes the question, by the code that does it in the PDP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pdp.authoring import trial
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import Compilation
from pdp.authoring.http_translation import translated
from pdp.authoring.policy_tests import TestDocuments, read_tests
from pdp.authoring.trial import Outcome
from pdp.cel.limits import EvaluationLimits
from tests.simulators.envoy import ANYTHING, compilation_of

HEAD = """
kind: tests
now: 2026-11-01T00:00:00Z
caller: spiffe://a/b
tests:
"""


_BODY = (
    "{subject: {id: a, properties: {}}, action: x, resource: {id: b, properties: {}}, "
    "context: {n: 1}}"
)


@pytest.fixture(scope="module")
def compilation() -> Iterator[Compilation]:
    """A folder whose policy denies everything, with a mapping."""
    with Checker() as checker:
        yield compilation_of(ANYTHING, checker)


def rows(text: str, compilation: Compilation) -> TestDocuments:
    """Rows, translated."""
    tests = read_tests({"a_test.yaml": f"{HEAD}{text}".encode()})
    return translated(tests, compilation.mapping)


def outcome(text: str, compilation: Compilation) -> Outcome:
    """The one row's."""
    tests = rows(text, compilation)
    assert tests.problems == ()
    assert compilation.callers is not None
    policies = compilation.policy_set(EvaluationLimits())
    (found,) = trial.run(policies, compilation.callers, tests.rows)
    return found


def answered(http: str, compilation: Compilation, more: str = "") -> tuple[str, str]:
    """Effect and cause of a request."""
    found = outcome(f"  - {{name: a, http: {http}, {more}expect: {{effect: DENY}}}}", compilation)
    assert found.decision is not None
    assert found.passed is (found.decision.effect.name == "DENY")
    return found.decision.effect.name, found.decision.cause.name


@pytest.mark.parametrize(
    ("http", "more", "cause"),
    [
        ("{method: GET, path: /documents/1, headers: {x-subject: alice}}", "", "RULE"),
        ("{method: GET, path: /documents/1}", "", "INVALID"),
        ("{method: GET, path: /documents/%2e%2e, headers: {x-subject: alice}}", "", "INVALID"),
        ("{method: get, path: /documents/1}", "", "INVALID"),
        ("{method: GET, path: /elsewhere}", "", "DEFAULT"),
        ("{method: GET, path: /token}", "", "IDENTITY"),
        ("{method: GET, path: /token}", "subject: {type: user, id: ana}, token: {a: b}, ", "RULE"),
        # The caller asserts users alone.
        ("{method: GET, path: /workload, source: spiffe://a/c}", "", "CALLER"),
        (
            f"{{method: POST, path: /, body: {_BODY}}}",
            "",
            "RULE",
        ),
        ("{method: POST, path: /}", "", "INVALID"),
    ],
)
def test_a_row_is_answered_as_envoy_would_be(
    http: str, more: str, cause: str, compilation: Compilation
) -> None:
    """Questions, and requests of which none comes, with their causes."""
    assert answered(http, compilation, more) == ("DENY", cause)


def test_a_denial_that_was_not_expected_fails(compilation: Compilation) -> None:
    """A row that wants a permit, or another cause, of a request that asks nothing."""
    for expect in ("{effect: PERMIT}", "{effect: DENY, cause: RULE}"):
        text = f"  - {{name: a, http: {{method: GET, path: /x}}, expect: {expect}}}"
        assert not outcome(text, compilation).passed


def test_a_row_that_was_not_translated_never_passes(compilation: Compilation) -> None:
    """Whoever forgets to translate gets no answer at all, and no silent denial."""
    text = "  - {name: a, http: {method: GET, path: /elsewhere}, expect: {effect: DENY}}"
    tests = read_tests({"a_test.yaml": f"{HEAD}{text}".encode()})
    assert compilation.callers is not None
    policies = compilation.policy_set(EvaluationLimits())
    (found,) = trial.run(policies, compilation.callers, tests.rows)
    assert not found.passed
    assert found.decision is None


def test_a_token_counts_only_where_its_route_wants_one(compilation: Compilation) -> None:
    """As in the PDP: a route that asserts looks at no token."""
    text = (
        "  - {name: a, http: {method: GET, path: /documents/1, headers: {x-subject: alice}}, "
        "subject: {type: user, id: root}, token: {}, expect: {effect: DENY}}"
    )
    (row,) = rows(text, compilation).rows
    assert row.token is None
    assert row.request.subject.id == "alice"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("http: {method: GET}", "`http` has no `path`"),
        ("http: {method: GET, path: /, pth: x}", "an unknown key `pth`"),
        ("http: {method: 1, path: /}", "`method` must be a string"),
        ("http: {method: GET, path: /, headers: [a]}", "`headers` must be a map"),
        ("http: {method: GET, path: /, headers: {a: 1}}", "`a` must be a string"),
        ("http: x", "`http` must be a map"),
        ("http: {method: GET, path: /}, action: read", "an unknown key `action`"),
        ("http: {method: GET, path: /}, subject: {type: user, id: a}", "unknown key `subject`"),
        ("http: {method: GET, path: /}, token: {}", "has no `subject`"),
    ],
)
def test_what_is_wrong_with_a_row_has_a_place(
    row: str, says: str, compilation: Compilation
) -> None:
    """One problem each."""
    found = rows(f"  - {{name: a, {row}, expect: {{effect: DENY}}}}", compilation)
    assert len(found.problems) == 1
    assert says in str(found.problems[0])


def test_a_row_that_asks_over_http_needs_a_mapping() -> None:
    """Without one it would be denied whatever it says: a problem, at the row."""
    text = "  - {name: a, http: {method: GET, path: /}, expect: {effect: DENY}}"
    tests = read_tests({"a_test.yaml": f"{HEAD}{text}".encode()})
    (problem,) = translated(tests, None).problems
    assert "there is no HTTP mapping" in problem.message
    assert problem.position is not None
