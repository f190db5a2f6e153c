"""The extensions, function by function: what each gives, and where each is an error.

Sources: the specification's extension cases, and the documentation of cel-go's
and cel-cpp's extensions. Every row runs in both tiers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pdp.authoring.checker import Checker
from pdp.cel.compile import compile_expression
from pdp.cel.limits import EvaluationLimits
from pdp.checked_expr import decode
from tests.cel_tiers import Tiers

VARIABLES = {"c": "map(string, dyn)", "x": "dyn"}
ATTRIBUTES: dict[str, Any] = {
    "c": {"a": 1, "s": "text", "none": None, "m": {"k": "v"}, "xs": [3, 1, 2]},
    "x": 5,
}

TRUE = (
    # strings
    "'abc'.charAt(1) == 'b' && 'abc'.charAt(3) == '' && '©éT'.charAt(1) == 'é'",
    "'abc'.indexOf('') == 0 && 'abc'.indexOf('c', 3) == -1 && 'abc'.indexOf('', 3) == 3",
    "'abcabc'.lastIndexOf('bc') == 4 && 'abcabc'.lastIndexOf('bc', 3) == 1",
    "'abc'.lastIndexOf('') == 3 && 'abc'.lastIndexOf('abcd') == -1 && ''.lastIndexOf('a') == -1",
    "'abc'.lastIndexOf('c', 2) == 2 && 'abc'.lastIndexOf('c', 1) == -1",
    "'abc'.substring(1) == 'bc' && 'abc'.substring(1, 3) == 'bc' && 'abc'.substring(3, 3) == ''",
    "'aaa'.replace('a', 'b') == 'bbb' && 'aaa'.replace('a', 'b', 2) == 'bba'",
    "'aaa'.replace('a', 'b', 0) == 'aaa' && 'aaa'.replace('a', 'b', -1) == 'bbb'",
    "'é1'.replace('', '-') == '-é-1-' && 'ab'.replace('', '-', 2) == '-a-b'",
    "'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c']",
    "'a,b'.split(',', 0) == [] && 'a,b'.split(',', -1) == ['a', 'b'] && ''.split(',') == ['']",
    "'abc'.split('') == ['a', 'b', 'c'] && 'abc'.split('', 2) == ['a', 'bc']",
    "''.split('') == ['']",
    "['a', 'b'].join() == 'ab' && ['a', 'b'].join('-') == 'a-b' && [].join('-') == ''",
    "'\\u00a0\\u1680 a\\t'.trim() == 'a' && '\\u200ba'.trim() == '\\u200ba'",
    "'\\x1ca'.trim() == '\\x1ca'",
    "'TacoCÆt'.lowerAscii() == 'tacocÆt' && 'tacoCét'.upperAscii() == 'TACOCéT'",
    "'é☺a'.reverse() == 'a☺é'",
    "strings.quote('a\"b\\n\\\\') == '\"a\\\\\"b\\\\n\\\\\\\\\"'",
    # format
    "'%s %s %%'.format(['a', 1]) == 'a 1 %' && 'é'.format([1]) == 'é'",
    "'%d %d'.format([-5, 7u]) == '-5 7' && '%d'.format([double('Infinity')]) == 'Infinity'",
    "'%.2f %.0f %f'.format([1.255, 2.5, 1]) == '1.25 2 1.000000'",
    "'%e %.1e'.format([1052.03, 3u]) == '1.052030e+03 3.0e+00'",
    "'%b %b %o %x %X'.format([5, true, -8, 255, 255u]) == '101 1 -10 ff FF'",
    "'%x %X'.format(['é', b'\\xff']) == 'c3a9 FF'",
    "'%s'.format([[1, 'a', null, 1.5, true]]) == '[1, a, null, 1.5, true]'",
    "'%s'.format([{'b': 1, 'a': [2u]}]) == '{a: [2], b: 1}'",
    "'%s %s'.format([type(1), b'é']) == 'int é'",
    "'%s'.format([timestamp('2023-02-03T23:31:20.1Z')]) == '2023-02-03T23:31:20.1Z'",
    "'%s'.format([duration('1h')]) == '3600s' && '%f'.format(['NaN']) == 'NaN'",
    # lists
    "[1, 2, 3].slice(1, 3) == [2, 3] && [1].slice(1, 1) == []",
    "[1, [2, [3]]].flatten() == [1, 2, [3]] && [1, [2, [3]]].flatten(2) == [1, 2, 3]",
    "[1, [2]].flatten(0) == [1, [2]] && [[]].flatten() == []",
    "[3, 1, 2].sort() == [1, 2, 3] && ['b', 'a'].sort() == ['a', 'b'] && [].sort() == []",
    "[duration('2s'), duration('1s')].sort() == [duration('1s'), duration('2s')]",
    "[{'n': 2}, {'n': 1}].sortBy(e, e.n) == [{'n': 1}, {'n': 2}]",
    "lists.range(5).sortBy(e, e % 2) == [0, 2, 4, 1, 3]",
    "['a', 'b', 'a'].distinct() == ['a', 'b'] && [dyn(1), 1.0, 1u, true].distinct().size() == 2",
    "[[1], [1]].distinct() == [[1]] && [null, null].distinct().size() == 1",
    "[0.0 / 0.0, 0.0 / 0.0].distinct().size() == 2",
    "[1, 2].reverse() == [2, 1] && lists.range(3) == [0, 1, 2] && lists.range(-1) == []",
    "[1, 2].first().value() == 1 && [1, 2].last().value() == 2 && ![].first().hasValue()",
    "c.xs.sort() == [1, 2, 3]",
    # numbers
    "math.greatest(1, 2, 3) == 3 && math.least([2.5, 1.5]) == 1.5 && math.greatest(1) == 1",
    "type(math.greatest(1, 1.0)) == int && type(math.greatest(1.0, 1)) == double",
    "math.greatest(-1, 18446744073709551615u) == 18446744073709551615u",
    "math.ceil(1.2) == 2.0 && math.floor(-1.2) == -2.0 && math.trunc(-1.7) == -1.0",
    "math.round(2.5) == 3.0 && math.round(-1.5) == -2.0 && math.round(0.49999999999999994) == 0.0",
    "math.round(4503599627370497.0) == 4503599627370497.0",
    "string(math.ceil(-0.5)) == '-0' && math.isNaN(math.round(0.0 / 0.0))",
    "math.abs(-5) == 5 && math.abs(-1.5) == 1.5 && math.abs(3u) == 3u",
    "math.sign(-5) == -1 && math.sign(0.5) == 1.0 && math.sign(0u) == 0u",
    "math.sqrt(4) == 2.0 && math.isNaN(math.sqrt(-1)) && math.isInf(1.0 / 0.0)",
    "math.isFinite(1.0) && !math.isFinite(1.0 / 0.0)",
    "math.bitAnd(-1, 5) == 5 && math.bitOr(1u, 2u) == 3u && math.bitXor(5, 3) == 6",
    "math.bitNot(0) == -1 && math.bitNot(0u) == 18446744073709551615u",
    "math.bitShiftLeft(1, 63) == -9223372036854775808 && math.bitShiftLeft(1, 64) == 0",
    "math.bitShiftRight(-1, 1) == 9223372036854775807 && math.bitShiftRight(1024, 3) == 128",
    # encoders
    "base64.encode(b'hello') == 'aGVsbG8=' && base64.decode('aGVsbG8') == b'hello'",
    "base64.decode('') == b'' && base64.decode('+/+/') == b'\\xfb\\xff\\xbf'",
    # cel.bind
    "cel.bind(a, x + 1, a * a) == 36 && cel.bind(x, x + 1, x) == 6",
    "cel.bind(a, 1 / 0, true) && cel.bind(a, 1 / 0 == 1, a || true)",
    "[1, 2].map(y, cel.bind(z, y, z * z + x)) == [6, 9]",
    "cel.bind(a, [1, 2], [2, 3].exists(e, e in a))",
    # two variables
    "[3, 4].all(i, v, v == i + 3) && {'a': 1}.exists(k, v, k == 'a' && v == 1)",
    "[5, 7, 8].existsOne(i, v, v % 5 == i) && ![1, 2].existsOne(i, v, v > 0)",
    "[3].transformList(i, v, v * v + i) == [9] && [3].transformList(i, v, i > 0, v) == []",
    "{'a': 1, 'b': 2}.transformMap(k, v, v > 1, k + 'x') == {'b': 'bx'}",
    "[7].transformMap(i, v, v) == {0: 7} && {}.transformMap(k, v, k) == {}",
    "{'a': 1}.transformMapEntry(k, v, {v: k}) == {1: 'a'}",
    "[1, 2].transformMapEntry(i, v, v > 1, {string(v): i}) == {'2': 1}",
    "[1, 0].exists(i, v, 1 / v == 1) && ![0, 1].all(i, v, 1 / v == 2)",
    # optionals
    "c.?a.orValue(2) == 1 && c.?zz.orValue(2) == 2 && c[?'a'].value() == 1",
    "c.?m.?k.orValue('') == 'v' && c.?m.k.orValue('') == 'v' && c.?zz.k.orValue('w') == 'w'",
    "c.?m['k'].value() == 'v' && c.?m[?'z'].orValue('w') == 'w'",
    "has(c.?m.k) && !has(c.?m.z) && !has(c.?zz.k)",
    "c.?none.hasValue() && !optional.ofNonZeroValue(c.none).hasValue()",
    "c.?a.optMap(y, y + 1).value() == 2 && !c.?zz.optMap(y, y + 1).hasValue()",
    "c.?m.optFlatMap(y, y.?k).value() == 'v' && !c.?m.optFlatMap(y, y.?z).hasValue()",
    "c.?zz.or(c.?a).value() == 1 && !c.?zz.or(optional.none()).hasValue()",
    "optional.of(1).orValue(1 / 0) == 1 && optional.of(1).or(optional.of(1 / 0)).value() == 1",
    "[?c.?a, ?c.?zz, 3] == [1, 3] && {?'a': c.?a, ?'z': c.?zz} == {'a': 1}",
    "[1][?0].value() == 1 && ![1][?1].hasValue() && ![1][?-1].hasValue()",
    "optional.of([1])[0].value() == 1 && !optional.of([1])[5].hasValue()",
    "optional.none() == optional.none() && optional.of(1) == optional.of(1)",
    "optional.of(1) != optional.none() && dyn(optional.of(1)) != 1 && dyn(optional.none()) != null",
    "type(optional.none()) == optional_type && optional.of(optional.none()).hasValue()",
    "dyn(optional.of({'a': 1})).a.value() == 1 && dyn(c.?a).orValue(2) == 1",
    "(x == 5 ? c.?a : c.?zz).value() == 1 && cel.bind(o, c.?a, o.orValue(2)) == 1",
    "!optional.ofNonZeroValue(0u).hasValue() && !optional.ofNonZeroValue({}).hasValue()",
    "!optional.ofNonZeroValue(duration('0s')).hasValue() && optional.ofNonZeroValue(1).hasValue()",
    "[true, false].all(b, !optional.ofNonZeroValue(b).hasValue() || b)",
)

ERRORS = (
    "'abc'.charAt(4) == ''", "'abc'.charAt(-1) == ''", "dyn(1).charAt(0) == ''",
    "'abc'.indexOf('c', 4) == 0", "'abc'.indexOf('c', -1) == 0",
    "'abc'.lastIndexOf('c', 4) == 0", "'abc'.lastIndexOf('c', -1) == 0",
    "'abc'.substring(4) == ''", "'abc'.substring(2, 1) == ''", "'abc'.substring(-1, 1) == ''",
    "'abc'.substring(0, 4) == ''", "'abc'.substring(dyn(1u)) == ''",
    "'a'.replace('a', dyn(1)) == ''", "'a'.split(dyn(1)) == []", "[dyn('a'), 1].join() == ''",
    "'%s'.format([]) == ''", "'%q'.format([1]) == ''", "'%'.format([]) == ''",
    "'%.f'.format([1.5]) == ''", "'%.1001f'.format([1.5]) == ''", "'%5d'.format([1]) == ''",
    "'%.99999999999f'.format([1.5]) == ''", "'%d'.format(['1']) == ''", "'%f'.format([true]) == ''",
    "'%o'.format([true]) == ''", "'%x'.format([1.0]) == ''", "'%b'.format([1.0]) == ''",
    "'%s'.format([optional.of(1)]) == ''", "'%s'.format([b'\\xff']) == ''",
    "[1].slice(0, 2) == []", "[1].slice(1, 0) == []", "[1].slice(-1, 1) == []",
    "[1].flatten(-1) == []", "[dyn(1), 'a'].sort() == []", "[dyn(1), 2.0].sort() == []",
    "[null].sort() == []", "[dyn([1])].sort() == []", "[0.0 / 0.0, 1.0].sort() == []",
    "[{'n': 1}, {'n': 'a'}].sortBy(e, dyn(e.n)) == []", "dyn('a').distinct() == []",
    "math.greatest(dyn([])) == 1", "math.greatest(dyn('a'), 1) == 1",
    "math.greatest(dyn([1, 'a'])) == 1", "math.abs(-9223372036854775808) == 1",
    "math.bitShiftLeft(1, -1) == 0", "math.bitXor(dyn(1), 2u) == 0u", "math.ceil(dyn(1)) == 1.0",
    "base64.decode('a') == b''", "base64.decode('aa=') == b''", "base64.decode('aGVs bG8=') == b''",
    "base64.decode('aGVsbG8==') == b''", "base64.decode('-_-_') == b''",
    "base64.decode('é') == b''", "base64.decode('=') == b''",
    "cel.bind(a, 1 / 0, a == 1)", "dyn(1).exists(i, v, true)", "[3, 0].all(i, v, 6 / v == 2)",
    "[3, 2, 0].existsOne(i, v, 6 / v == 2)", "[1, 2].transformMapEntry(i, v, {'a': v}) == {}",
    "[1].transformMapEntry(i, v, dyn(v)) == {}", "[0].transformList(i, v, 1 / v) == []",
    "optional.none().value() == 1", "dyn(1).orValue(2) == 1", "dyn(1).hasValue()",
    "x.?a.hasValue()", "c.none.?a.hasValue()", "dyn('abc')[?0].hasValue()",
    "[1][?dyn('a')].hasValue()", "optional.none().or(dyn(1)).hasValue()",
    "optional.none().orValue(1 / 0) == 1", "c.?a.b.hasValue()", "has(c.?a.b)",
    "{'a': 1, ?'a': optional.of(2)} == {}", "{?dyn(1.5): optional.none()} == {}",
)  # fmt: skip


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


def tiers_of(checker: Checker, source: str) -> Tiers:
    """Both tiers of a condition."""
    return Tiers(decode(checker.check(source, VARIABLES).checked_expr, source))


@pytest.mark.parametrize("source", TRUE)
def test_an_extension_gives_what_it_says(source: str, checker: Checker) -> None:
    """Each condition is true, in both tiers, at the same cost."""
    tiers = tiers_of(checker, source)
    exact = tiers.exact(ATTRIBUTES)
    assert (exact.kind, exact.value) == ("value", True)
    for fold in (True, False):
        fast = tiers.fast(ATTRIBUTES, fold=fold)
        assert fast.kind == "left" or (fast.value, fast.units) == (True, exact.units)


@pytest.mark.parametrize("source", ERRORS)
def test_an_extension_is_an_error_where_it_has_no_answer(source: str, checker: Checker) -> None:
    """Each condition is an error: the exact tier says so, the fast one leaves it."""
    tiers = tiers_of(checker, source)
    assert tiers.exact(ATTRIBUTES).kind == "error"
    assert {tiers.fast(ATTRIBUTES, fold=fold).kind for fold in (True, False)} == {"left"}


@pytest.mark.parametrize(
    "source",
    [
        "c.?a.orValue(0) == 1",
        "c.?zz.orValue(0) == 0",
        "c[?'m'].hasValue()",
        "c.?m.?k.or(c.?s).value() == 'v'",
        "has(c.?m.k)",
        "c.?a.optMap(y, y + 1).orValue(0) == 2",
        "cel.bind(m, c.m, m.k == 'v')",
        "c.xs.all(i, v, v > i - 3)",
    ],
)
def test_common_forms_stay_in_the_fast_tier(source: str, checker: Checker) -> None:
    """Look-ups of optionals, bindings and loops of two variables do not need the exact tier."""
    assert tiers_of(checker, source).fast(ATTRIBUTES).value is True


def test_an_optional_look_up_is_read_as_the_attribute_it_is(checker: Checker) -> None:
    """What a record keeps of a condition with optionals is the path, not the whole map."""
    source = "c.?m.?k.orValue('') == 'v' && c[?'a'].hasValue()"
    expression = decode(checker.check(source, VARIABLES).checked_expr, source)
    compiled = compile_expression(expression, {}, EvaluationLimits())
    assert compiled.reads == {("c", "m", "k"), ("c", "a")}
