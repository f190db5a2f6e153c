"""Every policy test's conditions, evaluated once more by somebody else's interpreter.

Our evaluator decides; should it be wrong, our tests of it may be wrong the
same way. cel-python shares no line with it. Where both come to a truth value
and the values differ, outside the classes in which cel-python is known to be
wrong, the build stops. Where it cannot evaluate, that is counted: it lacks
most extensions, and an error is no opinion.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pdp.authoring.cel_text import Layout
from pdp.authoring.compilation import Compilation
from pdp.authoring.documents import read_document
from pdp.authoring.expressions import free_names
from pdp.authoring.fetched_rows import completed
from pdp.authoring.places import PolicyPlaces, by_policy
from pdp.authoring.policy_tests import TestRow
from pdp.authoring.problems import Problems
from pdp.authoring.second_interpreter import MICROSECOND_NS, SecondInterpreter, known_mistake
from pdp.authoring.times import shown
from pdp.boundary import InputLimits, admit
from pdp.cel.compile import CompiledExpression, compile_expression
from pdp.cel.limits import EvaluationLimits
from pdp.cel.partial import INCOMPLETE
from pdp.cel.syntax import Expression, Ident
from pdp.checked_expr import walk
from pdp.errors import ExpressionError, InvalidRequestError, Position
from pdp.model import Caller, Verdict
from pdp.policy import PolicyDocument, PolicySet
from pdp.provided import Provided
from pdp.values import Timestamp, Value, canonical

# What a condition sees as a whole; `subject.id` and its like are parts of these.
_ROOTS = ("subject", "action", "resource", "context", "caller", "token")
# With its variables written out: cel-python's parser is slow, and recursive.
_TEXT_CHARACTERS_MAX = 20_000
# One request to the child: small enough to be answered in time, large enough to be cheap.
_ROWS_OF_ONE_REQUEST = 64
_NO_OPINION = "not asked: no time left"


@dataclass(frozen=True, slots=True)
class Difference:
    """One condition that the two evaluate differently.

    Attributes:
        condition: what it is of: `policy/rule`, `policy, role name`.
        position: of its text.
        row: name of the test.
        ours, theirs: the two values.
    """

    condition: str
    position: Position
    row: str
    ours: bool
    theirs: bool


@dataclass(slots=True)
class Opinion:
    """What asking came to.

    Attributes:
        agreed: evaluations with two equal truth values.
        no_value: those where ours is no truth value: doubt is doubt, whatever theirs is.
        cannot: those that cel-python cannot do, by its words.
        known: those that differ in a way that is known to be cel-python's mistake, by class.
        differences: the others.
        skipped: evaluations left out, because there are too many.
    """

    agreed: int = 0
    no_value: int = 0
    cannot: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    skipped: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Condition:
    """One condition of a policy, in both forms."""

    document: PolicyDocument
    kind: str
    name: str
    expression: Expression
    ours: CompiledExpression
    text: str  # with its variables written out; empty if that cannot be done

    @property
    def label(self) -> str:
        """What it is of."""
        joint = "/" if self.kind == "rule" else f", {self.kind} "
        return f"{self.document.name}{joint}{self.name}"


def consult(
    compilation: Compilation,
    rows: Iterable[TestRow],
    *,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    interpreter: SecondInterpreter | None = None,
) -> Opinion:
    """Ask about every condition that some test's decision looks at.

    Args:
        compilation: of policies without problems.
        rows: the tests.
        progress: told how many evaluations are done, of how many.
        interpreter: a running one to use; none starts one for this call.

    Raises:
        ConfigurationError: the interpreter does not start.
        PolicyError: the policies have problems.
    """
    if interpreter is None:
        with SecondInterpreter() as own:
            return consult(compilation, rows, progress=progress, interpreter=own)
    return _Consulting(compilation, interpreter, progress).all(rows)


class _Consulting:
    """One run over a folder."""

    def __init__(
        self,
        compilation: Compilation,
        interpreter: SecondInterpreter,
        progress: Callable[[int, int], None],
    ) -> None:
        self.compilation = compilation
        self.interpreter = interpreter
        self.progress = progress
        self.limits = EvaluationLimits()
        self.policies = compilation.policy_set(self.limits)
        self.opinion = Opinion()
        self.deadline = time.monotonic() + interpreter.limits.total_s
        self.conditions = {policy.name: self._of_policy(policy) for policy in compilation.policies}

    def all(self, rows: Iterable[TestRow]) -> Opinion:
        """Ask everything, condition by condition."""
        asked: dict[int, tuple[_Condition, list[tuple[TestRow, Mapping[str, Value]]]]] = {}
        seen: set[tuple[int, tuple[bytes, ...]]] = set()
        for row in rows:
            attributes = _attributes(row, self.policies.provided)
            for condition in self._looked_at(row) if attributes is not None else ():
                # Rows that look alike to a condition are one question.
                facts = {**(attributes or {}), "now": Timestamp(row.now_ns)}
                key = (id(condition), _read_by(condition.ours, facts))
                if key not in seen:
                    seen.add(key)
                    entry = asked.setdefault(id(condition), (condition, []))
                    entry[1].append((row, attributes or {}))
        total = sum(len(questions) for _, questions in asked.values())
        step = max(1, -(-total // self.interpreter.limits.evaluations_max))
        done = 0
        for condition, questions in asked.values():
            chosen = questions[::step]
            self.opinion.skipped += len(questions) - len(chosen)
            for start in range(0, len(chosen), _ROWS_OF_ONE_REQUEST):
                self._ask(condition, chosen[start : start + _ROWS_OF_ONE_REQUEST])
            done += len(questions)
            self.progress(done, total)
        return self.opinion

    def _of_policy(self, policy: PolicyDocument) -> dict[tuple[str, str], _Condition]:
        variables = dict(policy.variables)
        named = [("role", role.name, role.when) for role in policy.roles]
        named += [("rule", rule.id, rule.when) for rule in policy.rules]
        found = {}
        for kind, name, expression in named:
            if expression is not None:
                ours = compile_expression(expression, variables, self.limits)
                text = written_out(expression, variables)
                found[kind, name] = _Condition(policy, kind, name, expression, ours, text)
        return found

    def _looked_at(self, row: TestRow) -> Iterator[_Condition]:
        """The conditions of the rules that a row's decision considers, and of their roles."""
        seen: set[tuple[str, str, str]] = set()
        for policy_name, rule in _candidates(self.policies, row):
            conditions = self.conditions.get(policy_name, {})
            (document,) = (p for p in self.compilation.policies if p.name == policy_name)
            (written,) = (r for r in document.rules if r.id == rule)
            keys = [("rule", rule), *(("role", role) for role in written.roles or ())]
            for key in keys:
                if key in conditions and (policy_name, *key) not in seen:
                    seen.add((policy_name, *key))
                    yield conditions[key]

    def _ask(
        self, condition: _Condition, questions: Sequence[tuple[TestRow, Mapping[str, Value]]]
    ) -> None:
        """Ask about one condition on some rows, and compare."""
        told: list[tuple[TestRow, Mapping[str, Value], bool]] = []
        for row, attributes in questions:
            verdict = condition.ours.verdict({**attributes, "now": Timestamp(row.now_ns)})
            if verdict in {Verdict.TRUE, Verdict.FALSE}:
                told.append((row, attributes, verdict is Verdict.TRUE))
            else:
                self.opinion.no_value += 1
        if not told:
            return
        if not condition.text:
            self.opinion.cannot["its variables cannot be written out"] += len(told)
            return
        if time.monotonic() > self.deadline:
            self.opinion.cannot[_NO_OPINION] += len(told)
            return
        values = self.interpreter.values(
            condition.text, [_given(row, attributes) for row, attributes, _ in told]
        )
        for (row, attributes, ours), theirs in zip(told, values, strict=True):
            if isinstance(theirs, str):
                self.opinion.cannot[theirs] += 1
            elif theirs is ours:
                self.opinion.agreed += 1
            else:
                self._differ(condition, row, attributes, ours=ours)

    def _differ(
        self, condition: _Condition, row: TestRow, attributes: Mapping[str, Value], *, ours: bool
    ) -> None:
        tracer = condition.ours.tracer()
        trace = tracer.trace({**attributes, "now": Timestamp(row.now_ns)})
        known = known_mistake(condition.text, tracer, trace)
        if known:
            self.opinion.known[known] += 1
            return
        position = self._position(condition)
        found = Difference(condition.label, position, row.name, ours, not ours)
        self.opinion.differences.append(found)

    def _position(self, condition: _Condition) -> Position:
        """Where the text of a condition begins in its document."""
        places = self._places().get(condition.document.name)
        scalar = None if places is None else places.when(condition.kind, condition.name)
        return Position("") if scalar is None else scalar.content_position

    def _places(self) -> Mapping[str, PolicyPlaces]:
        roots = (
            read_document(path, source, Problems())
            for path, source in self.compilation.sources.items()
        )
        return by_policy(root for root in roots if root is not None)


def _candidates(policies: PolicySet, row: TestRow) -> Iterator[tuple[str, str]]:
    asked = row.request
    for rule in policies.candidates(asked.resource.type, asked.action.name, row.now_ns):
        policy, _, name = rule.name.partition("/")
        yield policy, name


def _attributes(row: TestRow, provided: Provided | None) -> Mapping[str, Value] | None:
    """What conditions see of a row; None when the PDP would refuse it as invalid.

    None as well where something could not be fetched: to cel-python it would be absent.
    """
    try:
        admitted = admit(row.request, Caller(row.caller), InputLimits())
    except InvalidRequestError:
        return None
    found = completed(provided, admitted, row.fetched).attributes
    return None if INCOMPLETE in found else found


def _read_by(condition: CompiledExpression, facts: Mapping[str, Value]) -> tuple[bytes, ...]:
    """All that a condition may look at, so that equal means that it cannot differ."""
    found = []
    for path in sorted(condition.reads):
        value: Value = dict(facts)
        for name in path:
            if not isinstance(value, dict) or name not in value:
                # What is there instead decides which error it is.
                found.append(b"-")
                break
            value = value[name]
        found.append(canonical(value))
    return tuple(found)


def _given(row: TestRow, attributes: Mapping[str, Value]) -> dict[str, Value]:
    """The same for cel-python: whole maps, whose parts it finds by itself."""
    return {**{name: attributes[name] for name in _ROOTS}, "now": _moment(row.now_ns)}


def _moment(ns: int) -> str:
    """RFC 3339 to the microsecond, which is as fine as cel-python's timestamps are."""
    return f"{shown(ns).removesuffix('Z')}.{ns // MICROSECOND_NS % 1_000_000:06}Z"


def written_out(expression: Expression, variables: Mapping[str, Expression]) -> str:
    """An expression's text with the policy's variables in place; empty if that cannot be done.

    Not if it becomes too long, or where a loop variable would take the place of a
    name that a variable means.
    """
    try:
        return _written_out(expression, variables, {})
    except ExpressionError:
        return ""


def _written_out(
    expression: Expression, variables: Mapping[str, Expression], done: dict[str, str]
) -> str:
    layout = Layout(expression.source)
    places: dict[int, tuple[int, str]] = {}
    for node, bound in walk(expression.root):
        if not isinstance(node, Ident) or node.name in bound:
            continue
        name = node.name.removeprefix(".")
        if name not in variables:
            continue
        if bound & _reached(name, variables):
            raise ExpressionError(f"`{name}` would be captured", None)
        if name not in done:
            done[name] = _written_out(variables[name], variables, done)
        first, last = layout.extent(node)
        # A comment may end the text: brackets are closed on a line of their own.
        places[layout.tokens[first].start] = (layout.tokens[last].end, f"({done[name]}\n)")
    text = expression.source
    for start in sorted(places, reverse=True):
        end, other = places[start]
        text = text[:start] + other + text[end:]
        if len(text) > _TEXT_CHARACTERS_MAX:
            raise ExpressionError("too long", None)
    return text


def _reached(name: str, variables: Mapping[str, Expression]) -> frozenset[str]:
    """First words of all names that a variable looks at, through others too."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for other in free_names(variables[waiting.pop()].root) - found:
            found.add(other)
            if other in variables:
                waiting.append(other)
    return frozenset(other.partition(".")[0] for other in found)
