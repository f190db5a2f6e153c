"""Compiling conditions: variables, sizes, positions, what is read, what never escapes."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pdp.authoring.checker import CONDITION_VARIABLES, Checker
from pdp.cel import macros, resolve
from pdp.cel.compile import CompiledExpression, compile_expression
from pdp.cel.fast import describe
from pdp.cel.limits import EvaluationLimits
from pdp.cel.plan import Macro
from pdp.cel.syntax import BOOL, DYN, Call, Comprehension, Expression, Ident, Literal, Node, Type
from pdp.checked_expr import decode
from pdp.errors import ExpressionError
from pdp.model import Verdict
from tests.cel_tiers import Tiers

LIMITS = EvaluationLimits()
NAMES = {"d": "dyn", "e": "dyn", "context": "map(string, dyn)", "subject.id": "string"}


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


def parse(checker: Checker, source: str, more: Mapping[str, str] | None = None) -> Expression:
    """A checked expression over `NAMES` and more."""
    return decode(checker.check(source, {**NAMES, **(more or {})}).checked_expr, source)


def compiled(
    checker: Checker,
    source: str,
    variables: Mapping[str, str] | None = None,
    limits: EvaluationLimits = LIMITS,
) -> CompiledExpression:
    """A condition with policy variables, all of type dyn to the checker."""
    texts = dict(variables or {})
    more = dict.fromkeys(texts, "dyn")
    trees = {name: parse(checker, text, more) for name, text in texts.items()}
    return compile_expression(parse(checker, source, more), trees, limits)


# -- variables ---------------------------------------------------------------------


def test_variable_sees_the_global_scope_only(checker: Checker) -> None:
    """A loop variable around a policy variable's use does not reach into it."""
    condition = compiled(checker, "[1, 2].all(d, v) && [3].exists(d, d == 3)", {"v": "d == 7"})
    assert condition.verdict({"d": 7}) is Verdict.TRUE
    assert condition.verdict({"d": 1}) is Verdict.FALSE


def test_variable_sees_the_global_scope_only_twin_without_guard(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a variable were resolved in the scope of its use, the loop would capture it."""
    plain = resolve._Resolver._variable

    def captured(self: Any, node: Ident, name: str) -> Any:
        return resolve._Resolver(self.scope, "").part(self.scope.variables[name].root, {"d": 0}, 1)

    monkeypatch.setattr(resolve._Resolver, "_variable", captured)
    condition = compiled(checker, "[7].exists(d, v)", {"v": "d == 7"})
    assert condition.verdict({"d": 1}) is Verdict.TRUE
    monkeypatch.setattr(resolve._Resolver, "_variable", plain)
    assert compiled(checker, "[7].exists(d, v)", {"v": "d == 7"}).verdict({"d": 1}) is Verdict.FALSE


def test_loop_variable_hides_a_policy_variable_of_its_name(checker: Checker) -> None:
    """The innermost name wins; a leading dot names the global one."""
    condition = compiled(checker, "[1].all(v, v == 1) && [1].all(v, .v == 9)", {"v": "d"})
    assert condition.verdict({"d": 9}) is Verdict.TRUE


def test_variable_costs_and_fails_as_if_written_out(checker: Checker) -> None:
    """Units, errors and absorption are those of the expression in its place."""
    texts = {"v": "e.all(x, x + w > 0)", "w": "d * 2"}
    short = compiled(checker, "v && (w == 2 || v)", texts)
    long = compiled(checker, "e.all(x, x + d * 2 > 0) && (d * 2 == 2 || e.all(x, x + d * 2 > 0))")
    fine: list[dict[str, Any]] = [{"d": 1, "e": [1, 2]}, {"d": 3, "e": [4]}, {"d": 3, "e": []}]
    for attributes in fine:
        assert short.measure(attributes) == long.measure(attributes)
    broken: list[dict[str, Any]] = [{"d": "a", "e": [1]}, {"d": 1, "e": 5}, {"e": []}, {}]
    for attributes in broken:
        assert short.verdict(attributes) is long.verdict(attributes)
    absorbed = compiled(checker, "w == 1 || true", texts)
    assert absorbed.verdict({}) is Verdict.TRUE


def test_variable_is_lazy(checker: Checker) -> None:
    """A variable that fails does no harm where it is not looked at."""
    condition = compiled(checker, "d == 1 ? true : v", {"v": "1 / 0 == 1"})
    assert condition.verdict({"d": 1}) is Verdict.TRUE
    assert condition.verdict({"d": 2}) is Verdict.DOUBT


@pytest.mark.parametrize(
    "texts", [{"v": "v"}, {"v": "w", "w": "d == v"}, {"v": "[1].all(x, w)", "w": "u", "u": "w"}]
)
def test_variables_in_a_circle_are_refused(checker: Checker, texts: dict[str, str]) -> None:
    """A variable that uses itself, however far around, does not compile."""
    with pytest.raises(ExpressionError, match="uses itself: "):
        compiled(checker, "v", texts)


def test_variables_that_double_are_refused_at_once(checker: Checker) -> None:
    """Forty variables that each use the one before twice: refused without being written out."""
    texts = {"v0": "d"} | {f"v{i}": f"[v{i - 1}, v{i - 1}]" for i in range(1, 41)}
    start = time.process_time()
    with pytest.raises(ExpressionError, match="larger than 10000 nodes"):
        compiled(checker, "v40 == d", texts)
    assert time.process_time() - start < 5


def test_variables_that_nest_are_refused(checker: Checker) -> None:
    """Depth counts through variables too."""
    texts = {"v0": "d"} | {f"v{i}": f"!v{i - 1}" for i in range(1, 80)}
    with pytest.raises(ExpressionError, match="nested deeper than 64 levels"):
        compiled(checker, "v79", texts)
    assert compiled(checker, "v60", texts).verdict({"d": True}) is Verdict.TRUE


def test_variables_that_only_rename_each_other_are_refused_at_length() -> None:
    """A chain of names has no depth written out; a long one is refused all the same."""
    trees = {"v0": Expression(Ident("d", DYN, 0), "d")}
    trees |= {f"v{i}": Expression(Ident(f"v{i - 1}", DYN, 0), "v") for i in range(1, 5_000)}
    for name in ("v40", "v4999"):
        upwards: Node = Ident("v0", DYN, 0)
        for at in range(1, 40):
            upwards = call("_&&_", "logical_and", upwards, Ident(f"v{at}", DYN, 0))
        for root in (
            Ident(name, DYN, 0),
            call("_&&_", "logical_and", upwards, Ident(name, DYN, 0)),
        ):
            if name == "v40":
                assert (
                    compile_expression(Expression(root, ""), trees, LIMITS).verdict({"d": True})
                    is Verdict.TRUE
                )
            else:
                with pytest.raises(ExpressionError, match="nested deeper"):
                    compile_expression(Expression(root, ""), trees, LIMITS)


def balanced(parts: list[Node]) -> Node:
    """`&&` of many, as flat as the parser makes it."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return call("_&&_", "logical_and", balanced(parts[:half]), balanced(parts[half:]))


def test_order_of_use_does_not_lengthen_a_chain() -> None:
    """Resolved one after the other, each from the one before, a long chain is refused too."""
    trees = {"v0": Expression(Ident("d", DYN, 0), "d")}
    trees |= {f"v{i}": Expression(Ident(f"v{i - 1}", DYN, 0), "v") for i in range(1, 200)}
    root = balanced([Ident(f"v{i}", DYN, 0) for i in range(200)])
    with pytest.raises(ExpressionError, match="nested deeper"):
        compile_expression(Expression(root, ""), trees, LIMITS)


def test_variable_that_was_shallow_is_measured_where_it_is_used_again() -> None:
    """The second use of a variable may be too deep although the first was not."""

    def inverted(node: Node, times: int) -> Node:
        return inverted(call("!_", "logical_not", node), times - 1) if times else node

    trees = {"v": Expression(inverted(Ident("d", DYN, 0), 40), "")}
    use = Ident("v", DYN, 0)
    fits = call("_&&_", "logical_and", use, inverted(use, 20))
    assert (
        compile_expression(Expression(fits, ""), trees, LIMITS).verdict({"d": True}) is Verdict.TRUE
    )
    deep = call("_&&_", "logical_and", use, inverted(use, 30))
    with pytest.raises(ExpressionError, match="nested deeper"):
        compile_expression(Expression(deep, ""), trees, LIMITS)


def test_error_in_a_variable_names_it(checker: Checker) -> None:
    """A position inside another text than the condition's says which text."""
    with pytest.raises(ExpressionError, match=r":1:10: in the variable `v`: a pattern that RE2"):
        compiled(checker, "v", {"v": "'a'.matches('(')".replace("'a'", "d")})


# -- sizes -------------------------------------------------------------------------


def call(function: str, overload: str, *arguments: Node) -> Call:
    """A call without positions."""
    return Call(function, None, arguments, (overload,), BOOL, 0)


def test_largest_and_deepest_conditions_run(checker: Checker) -> None:
    """Conditions at the limits compile and evaluate in both tiers, far from Python's own."""
    chain = "&&".join(["d==1"] * 1_000)
    assert compiled(checker, chain).verdict({"d": 1}) is Verdict.TRUE
    assert compiled(checker, chain).verdict({"d": "a"}) is Verdict.FALSE
    deep: Node = Ident("d", DYN, 0)
    for _ in range(63):
        deep = call("!_", "logical_not", deep)
    tiers = Tiers(Expression(deep, ""))
    assert tiers.exact({"d": True}).value is tiers.fast({"d": True}).value is False
    equal: Node = Ident("d", DYN, 0)
    for _ in range(12):
        equal = call("_==_", "equals", equal, equal)
    # 2^13 nodes: every level doubles.
    assert compile_expression(Expression(equal, ""), {}, LIMITS).verdict({"d": 1}) is Verdict.TRUE


def test_graph_in_place_of_a_tree_is_refused_at_once() -> None:
    """Sharing nodes does not get an exponential tree past the limit."""
    node: Node = Ident("d", DYN, 0)
    for _ in range(60):
        node = call("_==_", "equals", node, node)
    with pytest.raises(ExpressionError, match="larger than"):
        compile_expression(Expression(node, ""), {}, LIMITS)


def test_condition_that_nests_too_deeply_is_refused() -> None:
    """A hand-made tree deeper than the limit is an error message, not a crash."""
    node: Node = Ident("d", DYN, 0)
    for _ in range(5_000):
        node = call("!_", "logical_not", node)
    with pytest.raises(ExpressionError, match="nested deeper"):
        compile_expression(Expression(node, ""), {}, LIMITS)


def test_weight_over_budget_is_spent(checker: Checker) -> None:
    """A condition that costs more than its budget to start is SPENT, not FALSE."""
    small = EvaluationLimits(cost_units_max=4)
    assert compiled(checker, "d == 1 || true", limits=small).verdict({"d": 1}) is Verdict.SPENT
    assert compiled(checker, "d == 1", limits=small).verdict({"d": 1}) is Verdict.TRUE


def test_map_is_linear(checker: Checker) -> None:
    """`map` over ten thousand elements costs ten times what it costs over a thousand."""
    condition = compiled(checker, "size(d.map(x, [x])) > 0")
    units = {n: condition.measure({"d": [1] * n})[1] for n in (1_000, 10_000)}
    assert units[10_000] - units[1_000] == 9_000 * 3
    start = time.process_time()
    assert condition.verdict({"d": [1] * 10_000}) is Verdict.TRUE
    assert time.process_time() - start < 1


def test_nested_loops_run_out_of_budget(checker: Checker) -> None:
    """A thousand times a thousand iterations is SPENT, quickly."""
    start = time.process_time()
    condition = compiled(checker, "d.all(x, d.all(y, x == y))")
    assert condition.verdict({"d": [1] * 1_000}) is Verdict.SPENT
    assert time.process_time() - start < 2


def test_doubling_text_runs_out_of_budget(checker: Checker) -> None:
    """Concatenation is charged by length, so loops cannot blow memory up."""
    source = "d.map(x, e + e).map(x, x + x).map(x, x + x).map(x, x + x).size() > 0"
    assert compiled(checker, source).verdict({"d": [1] * 100, "e": "x" * 10_000}) is Verdict.SPENT


# -- what a condition reads ----------------------------------------------------------


READS = [
    ("context.ip == 'x'", {("context", "ip")}),
    ("context['ip'] == subject.id", {("context", "ip"), ("subject.id",)}),
    ("has(context.a.b)", {("context", "a", "b")}),
    ("context.list[0].x == 1", {("context", "list")}),
    ("context[d].x == 1", {("context",), ("d",)}),
    ("context.roles.exists(r, r.name == d)", {("context", "roles"), ("d",)}),
    ("v || context.b", {("context", "a"), ("context", "b")}),
    ("1 == 1", set()),
]


@pytest.mark.parametrize(("source", "want"), READS, ids=[source for source, _ in READS])
def test_reads_are_the_paths_a_condition_may_look_at(
    checker: Checker, source: str, want: set[tuple[str, ...]]
) -> None:
    """Static paths, a prefix where the rest is dynamic, variables included."""
    assert compiled(checker, source, {"v": "context.a"}).reads == want


# -- refusals ------------------------------------------------------------------------


def refusal(root: Node, source: str = "") -> ExpressionError:
    """Why a hand-made tree is refused."""
    with pytest.raises(ExpressionError) as caught:
        compile_expression(Expression(root, source), {}, LIMITS)
    return caught.value


def test_refusal_names_the_function_and_its_place() -> None:
    """A function that is not there: line, column, name, and what to do."""
    source = "true &&\n  d.backward()"
    node = Call("backward", Ident("d", DYN, 10), (), ("string_backward",), DYN, 11)
    error = refusal(call("_&&_", "logical_and", Literal(True, BOOL, 0), node), source)
    assert (error.position.line, error.position.column) == (2, 4) if error.position else False
    assert "`backward`" in error.message
    assert error.suggestion


@pytest.mark.parametrize(
    "node",
    [
        Call("_+_", None, (Ident("d", DYN, 0),), ("add_int64",), DYN, 0),
        Call("_+_", None, (Ident("d", DYN, 0),) * 3, ("add_int64",), DYN, 0),
        Call("_+_", None, (Ident("d", DYN, 0),) * 2, ("add_int64", "in_list"), DYN, 0),
        Call("_+_", None, (Ident("d", DYN, 0),) * 2, ("subtract_int64",), DYN, 0),
        Call("_+_", None, (Ident("d", DYN, 0),) * 2, (), DYN, 0),
        Call("_&&_", None, (Ident("d", DYN, 0),), ("logical_and",), DYN, 0),
        Call("_&&_", Ident("d", DYN, 0), (Ident("d", DYN, 0),), ("logical_and",), DYN, 0),
        Call("@not_strictly_false", None, (Ident("d", DYN, 0),), ("not_strictly_false",), DYN, 0),
        Ident("@result", DYN, 0),
        Ident(".", DYN, 0),
    ],
)
def test_call_the_checker_would_not_make_is_refused(node: Node) -> None:
    """Arity, overloads and names are looked at again, whoever made the tree."""
    assert refusal(node).message


def quantifier(**changes: Any) -> Comprehension:
    """`d.exists(x, x)`, with changes."""
    accu, x = Ident("@result", BOOL, 0), Ident("x", DYN, 0)
    parts: dict[str, Any] = {
        "iter_var": "x",
        "iter_var2": "",
        "iter_range": Ident("d", DYN, 0),
        "accu_var": "@result",
        "accu_init": Literal(False, BOOL, 0),
        "loop_condition": call(
            "@not_strictly_false", "not_strictly_false", call("!_", "logical_not", accu)
        ),
        "loop_step": call("_||_", "logical_or", accu, x),
        "result": accu,
        "type": BOOL,
        "offset": 0,
    }
    return Comprehension(**{**parts, **changes})


def test_only_the_macros_own_shapes_are_loops() -> None:
    """The shape of `exists` is a loop; the same with any part changed is refused."""
    found = macros.recognise(quantifier())
    assert found is not None
    assert found.macro is Macro.EXISTS
    x, accu, one = Ident("x", DYN, 0), Ident("@result", BOOL, 0), Literal(1, Type("int"), 0)
    for changes in (
        {"iter_var2": "x"},
        {"iter_var2": ".y"},
        {"accu_var": "accu"},
        {"accu_init": Literal(True, BOOL, 0)},
        {"accu_init": one},
        {"accu_init": Literal(0, Type("int"), 0)},
        {"loop_condition": Literal(True, BOOL, 0)},
        {"loop_step": call("_&&_", "logical_and", accu, x)},
        {"loop_step": call("_||_", "logical_or", x, accu)},
        {"result": x},
        {"iter_var": "@result"},
        {"iter_var": ".d"},
    ):
        assert "macro" in refusal(quantifier(**changes)).message


def test_body_cannot_name_the_accumulator() -> None:
    """A hostile tree whose body looks at the accumulator is refused."""
    accu = Ident("@result", BOOL, 0)
    refused = quantifier(loop_step=call("_||_", "logical_or", accu, accu))
    assert "not a name" in refusal(refused).message


# -- nothing escapes -----------------------------------------------------------------


class Bomb(dict[str, Any]):
    """A mapping that raises whatever it is given."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def __getitem__(self, key: str) -> Any:
        raise self.error

    def __contains__(self, key: object) -> bool:
        raise self.error


@pytest.mark.parametrize(
    "error", [ValueError(), RecursionError(), MemoryError(), OverflowError(), AssertionError()]
)
def test_surprise_is_doubt(checker: Checker, error: Exception) -> None:
    """Any exception, however unexpected, is DOUBT; `|| true` does not hide it."""
    condition = compiled(checker, "context.a == 1 || true")
    assert condition.verdict(Bomb(error)) is Verdict.DOUBT


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(), asyncio.CancelledError()])
def test_interruption_is_not_a_verdict(checker: Checker, stop: BaseException) -> None:
    """Cancellation and interrupts pass through."""
    with pytest.raises(type(stop)):
        compiled(checker, "context.a == 1").verdict(Bomb(stop))


def test_value_that_is_no_value_is_doubt(checker: Checker) -> None:
    """A Python object that is not a CEL value never makes a condition true."""
    strange: dict[str, Any] = {"d": object(), "e": object()}
    for source in ("d == e", "d < e", "[d] == [e]", "type(d) == type(e)", "d ? d : d", "d.a", "!d"):
        assert compiled(checker, source).verdict(strange) is not Verdict.TRUE


def test_only_exactly_a_bool_is_a_verdict(checker: Checker) -> None:
    """1, "true", [true] and null are DOUBT."""
    condition = compiled(checker, "d")
    wrong: list[Any] = [1, 0, 1.0, "true", [True], None, {}]
    for value in wrong:
        assert condition.verdict({"d": value}) is Verdict.DOUBT
    assert condition.verdict({"d": True}) is Verdict.TRUE
    assert condition.verdict({"d": False}) is Verdict.FALSE
    assert condition.verdict({}) is Verdict.DOUBT


def test_evaluation_from_a_deep_stack_is_still_a_verdict(checker: Checker) -> None:
    """At any distance from Python's recursion limit, the verdict is the right one or DOUBT."""
    condition = compiled(checker, "d.missing || [1].all(x, [2].all(y, !!(x + y == 3 && d.ok)))")
    attributes: dict[str, Any] = {"d": {"ok": True}}
    found: list[Verdict] = []

    def dive() -> None:
        found.append(condition.verdict(attributes))
        dive()

    with pytest.raises(RecursionError):
        dive()
    assert Verdict.DOUBT in found
    assert found[0] is Verdict.TRUE
    assert set(found) == {Verdict.TRUE, Verdict.DOUBT}


def test_generated_python_is_what_the_manual_shows(checker: Checker) -> None:
    """The example in docs/cel.md is the code that runs."""
    manual = (Path(__file__).parent.parent / "docs" / "cel.md").read_text("utf-8")
    source = manual.partition("```cel\n")[2].partition("\n```")[0]
    shown = manual.partition("```python\n")[2].partition("\n```")[0]
    expression = decode(checker.check(source, CONDITION_VARIABLES).checked_expr, source)
    assert describe(resolve.resolve(expression, {}, LIMITS)) == shown


def test_code_is_written_at_first_use_and_is_the_same_in_every_thread(checker: Checker) -> None:
    """Eight threads at once get the verdict of a condition whose code was written before."""
    source = "d.all(x, x > 0) && context.a == e"
    prepared = compiled(checker, source)
    prepared.prepare()
    questions: list[dict[str, Any]] = [
        {"d": [1, at % 3], "e": at % 2, "context": {"a": 1}} for at in range(64)
    ]
    want = [prepared.verdict(question) for question in questions]
    for _ in range(20):
        fresh = compiled(checker, source)
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(fresh.verdict, questions)) == want


def test_what_cannot_be_compiled_is_refused_before_its_first_use(checker: Checker) -> None:
    """Code is written late, and refusals come early: nothing unknown waits for a request."""
    tree = parse(checker, "d + 1 == 2")
    assert isinstance(tree.root, Call)
    unknown = dataclasses.replace(tree.root, overloads=("not_an_overload",))
    with pytest.raises(ExpressionError):
        compile_expression(Expression(unknown, tree.source), {}, LIMITS)


def test_code_that_cannot_be_written_leaves_the_exact_tier(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure to write the fast tier changes no verdict, and is not kept."""

    def broken(_program: Any) -> Any:
        raise MemoryError

    condition = compiled(checker, "d == 1")
    monkeypatch.setattr("pdp.cel.compile.compile_fast", broken)
    assert condition.verdict({"d": 1}) is Verdict.TRUE
    monkeypatch.undo()
    assert condition.verdict({"d": 2}) is Verdict.FALSE
    condition.prepare()
    assert condition._fast != condition._first
