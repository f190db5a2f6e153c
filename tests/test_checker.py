"""The official checker in its child process: what it gives, and what survives its death."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdp.authoring import checker as checker_module
from pdp.authoring.checker import CONDITION_VARIABLES, Checked, Checker, CheckerLimits
from pdp.authoring.checker_messages import explain
from pdp.boundary import InputLimits, admit
from pdp.cel.syntax import Call, Ident, Select
from pdp.checked_expr import decode
from pdp.errors import ConfigurationError, ExpressionError
from pdp.model import Action, Caller, Request, Resource, Subject

BROKEN = Path(__file__).parent / "simulators" / "broken_checker.py"


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[Checker]:
    """A checker whose child breaks on demand."""
    monkeypatch.setattr(checker_module, "_PROCESS", BROKEN)
    with Checker(CheckerLimits(wall_s=2.0, cpu_s=1)) as made:
        yield made


def check(checker: Checker, source: str) -> Checked:
    """Check a condition."""
    return checker.check(source, CONDITION_VARIABLES)


# -- what it gives -------------------------------------------------------------------


def test_declared_names_are_those_the_boundary_provides() -> None:
    """A condition is checked against exactly the attributes it will see."""
    request = Request(Subject("user", "ann"), Action("read"), Resource("doc", "1"))
    admitted = admit(request, Caller("spiffe://example.org/shop"), InputLimits())
    assert {*admitted.attributes, "now"} == set(CONDITION_VARIABLES)


def test_longest_declared_name_is_taken(checker: Checker) -> None:
    """`subject.id` is one name although `subject` is one too; loop variables hide both."""
    node = decode(check(checker, "subject.id == 'a'").checked_expr, "").root
    assert isinstance(node, Call)
    assert isinstance(node.args[0], Ident)
    assert node.args[0].name == "subject.id"
    deeper = decode(check(checker, "subject.properties.a.b").checked_expr, "").root
    assert isinstance(deeper, Select)
    assert (str(deeper.type), deeper.field) == ("dyn", "b")
    assert check(checker, "[{'id': 1}].all(subject, subject.id == 1)").type == "bool"


def test_same_text_gives_the_same_bytes(checker: Checker) -> None:
    """Another process, another order of declarations: the same bytes, as signing rebuilds them."""
    source = "subject.properties.roles.exists(r, r in ['a', 'b']) || now > timestamp(0)"
    turned = dict(reversed(list(CONDITION_VARIABLES.items())))
    with Checker() as other:
        assert other.check(source, turned) == check(checker, source)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("1 == 1", "bool"),
        ("subject.properties", "map(string, dyn)"),
        ("subject.properties.roles", "dyn"),
        ("['a']", "list(string)"),
        ("now - now", "google.protobuf.Duration"),
        ("type(1)", "type(int)"),
        ("null", "null_type"),
        ("[]", "list(dyn)"),
    ],
)
def test_root_type_is_reported(checker: Checker, source: str, kind: str) -> None:
    """The type a variable's users will see."""
    assert check(checker, source).type == kind


# -- what it refuses -----------------------------------------------------------------

REFUSALS = [
    ("", "is empty", 1, 1, "write"),
    ("subject.id = 'a'", "`=` was not expected", 1, 12, "`==`"),
    ("true and false", "`and` was not expected", 1, 6, "`&&`"),
    ("true &&\n nope.x", "`nope.x` is not defined", 2, 6, ""),
    ("subjct.id == ''", "`subjct.id` is not defined", 1, 7, "`subject.id`"),
    ("subject.propertis.x", "`subject` has no `propertis`", 1, 8, "`properties`"),
    ("subject.id.startswith('a')", "`startswith` is not defined", 1, 22, "`startsWith`"),
    ("len(subject.id) > 1", "`len` is not defined", 1, 4, "size"),
    ("1 + 1.0 > 1.0", "`+` cannot take `int` and `double`", 1, 3, "convert"),
    ("subject.id == 1", "`==` cannot take `string` and `int`", 1, 12, ""),
    ("now > '2026-01-01'", "`>` cannot take `google.protobuf.Timestamp`", 1, 5, "timestamp("),
    ("true ? 1 : 'a'", "different types, `int` and `string`", 1, 6, "dyn"),
    ("(true", "`)` is missing", 1, 6, ""),
    ("true &&", "stops too early", 1, 8, ""),
    ("'abc", "not closed", 1, 1, "close"),
    ("context.?a == 1", "`==` cannot take", 1, 12, ""),
    ("if", "`if` is a reserved word", 1, 1, ""),
    ("has(subject.properties)", "`has(subject.properties)`", 1, 4, ""),
    ("has(subject.id) == 'a'", "`has(subject.id)`", 1, 4, "has(subject.id."),
    ("has(subject.id) || true", "`||` cannot take", 1, 17, "`has(subject.id)` is no test"),
    ("[1].all(x, has(action.name))", "`&&` cannot take", 1, 8, "`has(action.name)` is no test"),
    ("google.protobuf.Timestamp{seconds: 1} == now", "making a message", 1, 1, ""),
    ("1" + " + 1" * 40 + " > 0", "nested too deeply", 1, 1, "variables"),
    ("(" * 300 + "1" + ")" * 300, "nested too deeply", 1, 1, "variables"),
    ("'" + "x" * 20_000 + "'", "longer than 20000", 1, 1, "split"),
    ("'\ud800' == ''", "half a character", 1, 2, ""),
    ("true\x00 && false", "not expected", 1, 5, ""),
    ("cel.bind(x.y, 1, x) == 1", "variable name", 1, 11, ""),
    ("cel.block([1], cel.index(0)) == 1", "not defined", 1, 16, ""),
]


@pytest.mark.parametrize(
    ("source", "message", "line", "column", "hint"), REFUSALS, ids=[r[0][:30] for r in REFUSALS]
)
def test_refusal_says_what_where_and_what_to_do(
    checker: Checker, source: str, message: str, line: int, column: int, hint: str
) -> None:
    """The author's words in backticks, the place inside the text, a hint where there is one."""
    with pytest.raises(ExpressionError) as caught:
        check(checker, source)
    error = caught.value
    assert message in error.message
    assert error.position is not None
    assert (error.position.path, error.position.line, error.position.column) == ("", line, column)
    assert hint in error.suggestion
    assert "\n" not in str(error)
    assert "INVALID_ARGUMENT" not in str(error)


def test_nul_does_not_cut_a_text(checker: Checker) -> None:
    """A NUL inside a string or a comment hides nothing that follows it."""
    for source in ("'a\x00b' == 'a'", "true // \x00\n && false"):
        expression = decode(check(checker, source).checked_expr, source)
        assert isinstance(expression.root, Call)
        assert len(expression.root.args) == 2


def test_has_of_an_attribute_twin_without_guard(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without our look, the checker passes `has(subject.id)` as the string `subject.id`."""
    monkeypatch.setattr(checker_module, "_refuse_traps", lambda *_: None)
    assert check(checker, "has(subject.id)").type == "string"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=60))
def test_any_text_is_checked_or_refused(checker: Checker, source: str) -> None:
    """Whatever the text, an answer or an `ExpressionError` with a position."""
    problem: ExpressionError | None = None
    try:
        check(checker, source)
    except ExpressionError as error:
        problem = error
    assert problem is None or problem.position is not None


@given(st.text(max_size=200))
def test_any_words_of_the_checker_are_explained(words: str) -> None:
    """A new version may say anything: it becomes a message on one line."""
    for said in (words, f"INVALID_ARGUMENT: ERROR: <input>:1:2: {words}"):
        assert explain(said, "x", {}).position is not None


# -- what survives -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("crash", "crashed on this expression"),
        ("hang", "did not finish in time"),
        ("fat", "crashed on this expression"),
        ("garble", "garbled answer"),
        ("endless", "too large"),
        ("lie", "the checker failed on it"),
    ],
)
def test_failing_checker_is_an_error_about_the_expression(
    broken: Checker, word: str, message: str
) -> None:
    """Death, silence, waste and nonsense of the child: an error, in time, and life goes on."""
    assert check(broken, "1 == 1").type == "bool"
    start = time.monotonic()
    with pytest.raises(ExpressionError, match=message):
        check(broken, f"'{word}' == ''")
    assert time.monotonic() - start < 30
    assert check(broken, "2 == 2").type == "bool"


def test_busy_checker_is_ended_by_its_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that burns processor time dies of its limit long before the wall clock's."""
    monkeypatch.setattr(checker_module, "_PROCESS", BROKEN)
    limits = CheckerLimits(wall_s=120, cpu_s=1)
    with Checker(limits) as busy, pytest.raises(ExpressionError, match="crashed"):
        check(busy, "'burn' == ''")


def test_silent_checker_twin_without_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wall limit, a silent child would hold the build for ever."""
    monkeypatch.setattr(checker_module, "_PROCESS", BROKEN)
    with Checker(CheckerLimits(wall_s=3_600)) as patient:
        assert check(patient, "1 == 1").type == "bool"
        child = patient._child
        assert child is not None
        failures: list[str] = []

        def ask() -> None:
            try:
                check(patient, "'hang' == ''")
            except ExpressionError as error:
                failures.append(error.message)

        asking = threading.Thread(target=ask)
        asking.start()
        asking.join(3)
        assert asking.is_alive()
        # The second try, on a fresh child, hangs as well: end that one too.
        while asking.is_alive():
            held = patient._child
            if held is not None:
                held.kill()
            asking.join(0.5)
        assert failures


def test_child_that_died_between_requests_is_replaced(checker: Checker) -> None:
    """Killed from outside, the child is started again and nobody notices."""
    assert check(checker, "1 == 1").type == "bool"
    child = checker._child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    time.sleep(0.1)
    assert check(checker, "2 == 2").type == "bool"


def test_checker_that_is_not_installed_is_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A child that cannot even start is nobody's expression's fault."""
    (tmp_path / "empty.py").write_text("raise ImportError")
    monkeypatch.setattr(checker_module, "_PROCESS", tmp_path / "empty.py")
    with Checker() as made, pytest.raises(ConfigurationError, match="does not start: install"):
        check(made, "1 == 1")


def test_closing_ends_the_child() -> None:
    """No process is left behind."""
    with Checker() as made:
        check(made, "1 == 1")
        child = made._child
        assert child is not None
    assert child.poll() is not None


def test_threads_take_turns(checker: Checker) -> None:
    """Many threads, one child, each gets its own answer."""
    found: dict[int, str] = {}

    def ask(at: int) -> None:
        found[at] = check(checker, "1 == 1" if at % 2 else "'a'").type

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {at: "bool" if at % 2 else "string" for at in range(16)}
