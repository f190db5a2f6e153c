"""What happened inside a condition: every part with its value, its error, or nothing.

The exact tier itself, listened to: each closure is wrapped in one that notes
what came out. So a trace cannot disagree with a decision, and whatever the
language learns is traced without a line here. For authors, explanations and
coverage; decisions do not use it.

    tracer = Tracer(expression, variables, limits)     # once per condition
    trace = tracer.trace(attributes)                   # once per request
    for site, seen in zip(tracer.sites, trace.seen):   # parallel
        ...

Coverage adds up `Seen` over requests with `Seen.plus`; a branch was taken when
the child that is the branch was evaluated:

    site.kind == "&&", "||"     children are (left, right)
    site.kind == "?:"           children are (test, then, otherwise)
    site.kind in LOOPS          children are (list, condition or transform, ...)
    site.kind == "variable"     child is the root of the variable's own text

`trace.seen[right].count == 0` is "the left side decided alone".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from pdp.cel import plan as plans
from pdp.cel.cost import BudgetSpentError, Meter, charge
from pdp.cel.exact import Builder, Failed, Run, Step
from pdp.cel.limits import EvaluationLimits
from pdp.cel.partial import shown
from pdp.cel.plan import Macro, Plan, children, path_of
from pdp.cel.resolve import Origin, resolve
from pdp.cel.spans import Span, Text
from pdp.cel.syntax import Call, Comprehension, Expression, Ident, Node, Select
from pdp.cel.values import CelError, Datum
from pdp.model import Verdict

# Samples kept of a part that runs many times: the first of them.
SAMPLES_MAX = 8
LOOPS = frozenset(macro.value for macro in Macro) | {"filter"}
_OPERATORS = {"@in": "in", "_[_]": "[]", "_?_:_": "?:"}


@dataclass(frozen=True, slots=True)
class Site:
    """One part of a condition, or of a variable it uses. The same for every request.

    Attributes:
        id: its index in `Tracer.sites`; the root is 0, a part comes after its whole.
        parent: id of the whole; -1 for the root. A variable's text belongs to its first use.
        children: ids of its parts, in the order of the table above. The second use of a
            variable has the same child as the first.
        kind: `&&`, `||`, `?:`, another operator, the name of a function or macro, `variable`,
            `attribute`, `loop variable`, `bound name`, `field`, `has`, `literal`, `list`, `map`.
        variable: the policy variable in whose text it stands; empty for the condition's own.
        offset: of its token in that text, in code points.
        start, end: the range it covers there, brackets around it left out.
        text: what stands in that range.
        path: the attribute path it is, if it is nothing but one.
        loop: whether it may run many times in one evaluation.
    """

    id: int
    parent: int
    children: tuple[int, ...]
    kind: str
    variable: str
    offset: int
    start: int
    end: int
    text: str
    path: tuple[str, ...] | None
    loop: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """One evaluation of a part.

    Attributes:
        value: what came out, unless there was a problem.
        problem: the error's message; empty if there was none. It names kinds, not values.
        bindings: name and value of each loop variable that the part looks at.
    """

    value: Datum
    problem: str
    bindings: tuple[tuple[str, Datum], ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one part came to, in one evaluation of the condition or in several.

    Attributes:
        count: how often it ran; 0 is "not evaluated".
        trues, falses: how often it was exactly `true`, exactly `false`.
        errors: how often it was an error.
        spent: how often the cost budget ran out inside it.
        samples: the first `SAMPLES_MAX` of them.
    """

    count: int = 0
    trues: int = 0
    falses: int = 0
    errors: int = 0
    spent: int = 0
    samples: tuple[Sample, ...] = ()

    def plus(self, other: Seen) -> Seen:
        """Both together."""
        return Seen(
            self.count + other.count,
            self.trues + other.trues,
            self.falses + other.falses,
            self.errors + other.errors,
            self.spent + other.spent,
            (self.samples + other.samples)[:SAMPLES_MAX],
        )


@dataclass(frozen=True, slots=True)
class Trace:
    """One evaluation.

    Attributes:
        verdict: what `CompiledExpression.verdict` says of the same attributes.
        value: of the whole, unless there was a problem.
        problem: why there is no value.
        units: what it cost.
        seen: by `Site.id`.
    """

    verdict: Verdict
    value: Datum
    problem: str
    units: int
    seen: tuple[Seen, ...]


class _Note:
    """A `Seen` that grows."""

    __slots__ = ("count", "errors", "falses", "samples", "spent", "trues")

    def __init__(self) -> None:
        self.count = self.trues = self.falses = self.errors = self.spent = 0
        self.samples: list[Sample] = []

    def seen(self) -> Seen:
        return Seen(
            self.count, self.trues, self.falses, self.errors, self.spent, tuple(self.samples)
        )


class _TracedRun(Run):
    """One evaluation, and what was seen in it."""

    __slots__ = ("notes",)

    def __init__(
        self, attributes: Mapping[str, Datum], meter: Meter, slots: int, sites: int
    ) -> None:
        super().__init__(attributes, meter, slots)
        self.notes = [_Note() for _ in range(sites)]


class Tracer:
    """A condition that can be watched. Immutable; safe to share between threads.

    Attributes:
        sites: its parts, the root first, with those of the variables it uses.
    """

    __slots__ = ("_program", "_root", "_units_max", "sites")

    def __init__(
        self,
        expression: Expression,
        variables: Mapping[str, Expression],
        limits: EvaluationLimits,
    ) -> None:
        """Compile for watching.

        Raises:
            ExpressionError: as `pdp.cel.compile.compile_expression`.
        """
        origins: dict[int, Origin] = {}
        self._program = resolve(expression, variables, limits, origins)
        texts = {name: each.source for name, each in variables.items()} | {"": expression.source}
        survey = _Survey(origins, texts)
        survey.visit(self._program.root, -1, loop=False)
        self.sites = survey.result()
        self._units_max = limits.cost_units_max
        self._root = _TracingBuilder(survey).step(self._program.root)

    def trace(self, attributes: Mapping[str, Datum]) -> Trace:
        """Evaluate. Never raises, as `CompiledExpression.verdict`."""
        meter: Meter = [self._units_max]
        run = _TracedRun(attributes, meter, self._program.slots, len(self.sites))
        value: Datum = None
        verdict, problem = Verdict.DOUBT, ""
        try:
            charge(meter, self._program.weight)
            value = self._root(run)
        except BudgetSpentError:
            verdict, problem = Verdict.SPENT, "the cost budget ran out"
        except CelError as error:
            problem = str(error)
        except Exception:  # noqa: BLE001 - a surprise must not become an answer
            problem = _SURPRISE
        else:
            if value is True:
                verdict = Verdict.TRUE
            elif value is False:
                verdict = Verdict.FALSE
        units = self._units_max - max(meter[0], 0)
        return Trace(verdict, value, problem, units, tuple(note.seen() for note in run.notes))


_SURPRISE = "the evaluator failed"


class _Draft:
    """A `Site` in the making."""

    def __init__(self, at: int, parent: int, plan: Plan, origin: Origin, *, loop: bool) -> None:
        self.id = at
        self.parent = parent
        self.plan = plan
        self.origin = origin
        self.loop = loop
        self.children: list[int] = []
        self.span = Span(0, 0)


class _Survey:
    """Numbers the parts of a program."""

    def __init__(self, origins: Mapping[int, Origin], texts: Mapping[str, str]) -> None:
        self.origins = origins
        self.sources = texts
        self.texts: dict[str, Text] = {}
        self.drafts: list[_Draft] = []
        self.ids: dict[int, int] = {}
        self.names: dict[int, str] = {}  # of loop variables, by slot
        self.free: dict[int, frozenset[int]] = {}  # slots that a plan looks at, by `id()`

    def visit(self, plan: Plan, parent: int, *, loop: bool) -> None:
        """Number a plan and its parts. One without an origin is its parts' whole in name only."""
        known = self.ids.get(id(plan))
        if known is not None:
            # The text of a variable, used again.
            self.drafts[parent].children.append(known)
            return
        origin = self.origins.get(id(plan))
        if origin is not None:
            draft = _Draft(len(self.drafts), parent, plan, origin, loop=loop)
            self.ids[id(plan)] = draft.id
            self.drafts.append(draft)
            if parent >= 0:
                self.drafts[parent].children.append(draft.id)
            parent = draft.id
        bound: frozenset[int] = frozenset()
        if isinstance(plan, plans.Loop):
            bound = frozenset({plan.slot} if plan.second is None else {plan.slot, plan.second})
        if isinstance(plan, plans.Bind):
            bound = frozenset({plan.slot})
        free: frozenset[int] = frozenset()
        if isinstance(plan, plans.Local | plans.Bound):
            free = frozenset({plan.slot})
            if origin is not None and isinstance(origin.node, Ident):
                self.names[plan.slot] = origin.node.name
        for at, part in enumerate(children(plan)):
            inside = loop or (isinstance(plan, plans.Loop) and at > 0)
            self.visit(part, parent, loop=inside)
            free |= self.free.get(id(part), frozenset())
        self.free[id(plan)] = free - bound
        if origin is not None:
            self._measure(self.drafts[parent])

    def _measure(self, draft: _Draft) -> None:
        """What it covers; its parts in the same text have been measured."""
        variable = draft.origin.variable
        if variable not in self.texts:
            self.texts[variable] = Text(self.sources[variable])
        parts = [
            part.span
            for part in (self.drafts[child] for child in draft.children)
            if part.origin.variable == variable and not isinstance(draft.plan, plans.Use)
        ]
        draft.span = self.texts[variable].span(draft.origin.node.offset, parts)

    def result(self) -> tuple[Site, ...]:
        """The sites."""
        return tuple(
            Site(
                id=draft.id,
                parent=draft.parent,
                children=tuple(draft.children),
                kind=_kind(draft.plan, draft.origin.node),
                variable=draft.origin.variable,
                offset=draft.origin.node.offset,
                start=draft.span.start,
                end=draft.span.end,
                text=self.sources[draft.origin.variable][draft.span.start : draft.span.end],
                path=path_of(draft.plan),
                loop=draft.loop,
            )
            for draft in self.drafts
        )


def _kind(plan: Plan, node: Node) -> str:
    """A word for what a part is. Of the syntax, so that it holds for whatever a plan is made of."""
    if isinstance(plan, plans.Loop):
        is_filter = plan.macro is Macro.MAP and plan.transform is None
        return "filter" if is_filter else plan.macro.value
    match node:
        case Call(function=function):
            return _OPERATORS.get(function, function.strip("_"))
        case Ident():
            names = {
                "Attribute": "attribute",
                "Local": "loop variable",
                "Bound": "bound name",
                "Use": "variable",
            }
            return names.get(type(plan).__name__, "literal")
        case Select(test_only=test_only):
            return "has" if test_only else "field"
        case Comprehension():
            return "macro"
        case _:
            return {"ListNode": "list", "MapNode": "map"}.get(type(node).__name__, "literal")


class _TracingBuilder(Builder):
    """The exact tier's closures, each wrapped in one that notes what came out."""

    def __init__(self, survey: _Survey) -> None:
        super().__init__()
        self._survey = survey

    def step(self, plan: Plan) -> Step:
        """The closure of one plan, listened to."""
        return self._listened(plan, super().step(plan))

    def part(self, plan: Plan) -> Step:
        """The same of one that may be partial."""
        return self._listened(plan, super().part(plan))

    def _listened(self, plan: Plan, made: Step) -> Step:
        at = self._survey.ids.get(id(plan))
        if at is None:
            return made
        slots = sorted(self._survey.free[id(plan)])
        return _listen(made, at, [(self._survey.names.get(slot, "_"), slot) for slot in slots])


def _bindings(run: Run, slots: list[tuple[str, int]]) -> tuple[tuple[str, Datum], ...]:
    """Names and values; a name bound to an error has no value to show."""
    found = ((name, run.slots[slot]) for name, slot in slots)
    return tuple((name, value) for name, value in found if type(value) is not Failed)


def _listen(made: Step, at: int, slots: list[tuple[str, int]]) -> Step:
    """A step that also notes its outcome at a site; errors go on as they came."""

    def step(run: Run) -> Datum:
        note = cast("_TracedRun", run).notes[at]
        note.count += 1
        keep = len(note.samples) < SAMPLES_MAX
        bindings = _bindings(run, slots) if keep else ()
        try:
            value = made(run)
        except BudgetSpentError:
            note.spent += 1
            if keep:
                note.samples.append(Sample(None, "the cost budget ran out", bindings))
            raise
        except Exception as error:
            note.errors += 1
            if keep:
                problem = str(error) if isinstance(error, CelError) else _SURPRISE
                note.samples.append(Sample(None, problem, bindings))
            raise
        note.trues += value is True
        note.falses += value is False
        if keep:
            note.samples.append(Sample(shown(value), "", bindings))
        return value

    return step
