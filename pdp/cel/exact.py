"""The exact tier: closures that follow CEL to the letter, errors absorbed.

Errors are `CelError`s and travel as exceptions, so no operator can forget to
pass one on; they stop at `&&`, `||` and the quantifiers, which absorb them when
a definite value decides. Everything else, the spent budget above all, passes.

No recursion but over the plan, whose depth is limited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from pdp.cel import partial
from pdp.cel import plan as plans
from pdp.cel.containers import insert_all, items, pairs
from pdp.cel.cost import Meter, charge
from pdp.cel.library.rows import Function
from pdp.cel.plan import Macro, Plan, Program
from pdp.cel.semantics import bool_of
from pdp.cel.values import (
    NONE,
    CelError,
    Datum,
    Optional,
    insert,
    make_map,
    make_optional_list,
    make_optional_map,
    no_overload,
)


class Run:
    """One evaluation: what it looks at, its budget, its loop variables."""

    __slots__ = ("attributes", "meter", "slots")

    def __init__(self, attributes: Mapping[str, Datum], meter: Meter, slots: int) -> None:
        self.attributes = attributes
        self.meter = meter
        self.slots: list[Datum] = [None] * slots


class Failed:
    """What `cel.bind` keeps of a value that is an error."""

    __slots__ = ("problem",)

    def __init__(self, problem: str) -> None:
        self.problem = problem


Step: TypeAlias = Callable[[Run], Datum]


class ExactProgram:
    """A condition in closures. Immutable; safe to share between threads."""

    __slots__ = ("_program", "_root")

    def __init__(self, program: Program) -> None:
        self._program = program
        self._root = Builder().step(program.root)

    def evaluate(self, attributes: Mapping[str, Datum], meter: Meter) -> Datum:
        """The value.

        Raises:
            CelError: the value is an error.
            BudgetSpentError: the meter ran out.
        """
        charge(meter, self._program.weight)
        return self._root(Run(attributes, meter, self._program.slots))


class Builder:
    """Turns plans into closures; a variable's closure is made once."""

    def __init__(self) -> None:
        self.definitions: dict[int, Step] = {}

    def step(self, plan: Plan) -> Step:
        """The closure of one plan. INVARIANT: its value is whole (`pdp.cel.partial`)."""
        made = self._made(plan)
        return _whole(made) if _may_be_partial(plan) else made

    def part(self, plan: Plan) -> Step:
        """The same for what looks into a map under a key: the map may be partial."""
        return self._made(plan)

    def _made(self, plan: Plan) -> Step:
        made: Step
        match plan:
            case plans.Constant() | plans.Attribute() | plans.Local() | plans.Bound() | plans.Use():
                made = self._name(plan)
            case plans.Bind(slot, value, body):
                made = _bind(slot, self.step(value), self.step(body))
            case plans.Otherwise(first, second, unwrap):
                made = _otherwise(self.step(first), self.step(second), unwrap=unwrap)
            case plans.Field(operand, name):
                made = _field(self.part(operand), name)
            case plans.Present(operand, name):
                made = _present(self.part(operand), name)
            case plans.Apply(function, arguments) if function in partial.LOOK_INTO:
                made = self._look(function, arguments)
            case plans.Apply(function, arguments):
                made = _apply(function, [self.step(argument) for argument in arguments])
            case plans.Both(left, right):
                made = _decided(self.step(left), self.step(right), by=False, name="&&")
            case plans.Either(left, right):
                made = _decided(self.step(left), self.step(right), by=True, name="||")
            case plans.Choice(test, then, otherwise):
                made = _choice(self.step(test), self.step(then), self.step(otherwise))
            case plans.MakeList(elements, optional):
                made = _list([self.step(element) for element in elements], optional)
            case plans.MakeMap(entries, optional):
                pairs = [(self.step(key), self.step(value)) for key, value in entries]
                made = _mapping(pairs, optional)
            case plans.Loop():
                made = self._loop(plan)
        return made

    def _name(
        self, plan: plans.Constant | plans.Attribute | plans.Local | plans.Bound | plans.Use
    ) -> Step:
        match plan:
            case plans.Constant(value):
                return lambda _run: value
            case plans.Attribute(name=name):
                return _attribute(name)
            case plans.Local(slot):
                return lambda run: run.slots[slot]
            case plans.Bound(slot):
                return _bound(slot)
            case plans.Use(definition):
                if id(definition) not in self.definitions:
                    self.definitions[id(definition)] = self.part(definition.body)
                return self.definitions[id(definition)]

    def _look(self, function: Function, arguments: tuple[Plan, ...]) -> Step:
        at, call = partial.LOOK_INTO[function]
        steps = [
            self.part(argument) if number == at else self.step(argument)
            for number, argument in enumerate(arguments)
        ]
        return _apply(replace(function, call=call), steps)

    def _loop(self, plan: plans.Loop) -> Step:
        source = self.step(plan.source)
        test = None if plan.test is None else self.step(plan.test)
        transform = None if plan.transform is None else self.step(plan.transform)
        elements = _elements(plan, source)
        if plan.macro is Macro.MAP:
            return _map(elements, test, transform, plan.slot)
        if plan.macro in {Macro.TABLE, Macro.MERGE}:
            if transform is None or plan.second is None:
                message = "a `transformMap` of nothing"
                raise TypeError(message)
            return _table(elements, test, transform, plan.slot, merge=plan.macro is Macro.MERGE)
        if test is None:
            message = "a quantifier without a condition"
            raise TypeError(message)
        if plan.macro is Macro.EXISTS_ONE:
            return _exists_one(elements, test)
        return _quantifier(elements, test, by=plan.macro is Macro.EXISTS)


def _may_be_partial(plan: Plan) -> bool:
    """What else comes to a value of its own, and that is whole."""
    if isinstance(plan, plans.Apply):
        return plan.function in partial.LOOK_INTO
    return isinstance(plan, plans.Attribute | plans.Field | plans.Use)


def _whole(made: Step) -> Step:
    return lambda run: partial.whole(made(run))


def _attribute(name: str) -> Step:
    return lambda run: partial.attribute(run.attributes, name)


def _field(of: Step, name: str) -> Step:
    return lambda run: partial.select(of(run), name)


def _present(of: Step, name: str) -> Step:
    return lambda run: partial.has(of(run), name)


def _list(steps: list[Step], optional: frozenset[int]) -> Step:
    if optional:
        return lambda run: make_optional_list([step(run) for step in steps], optional)
    return lambda run: [step(run) for step in steps]


def _mapping(pairs: list[tuple[Step, Step]], optional: frozenset[int]) -> Step:
    if optional:
        return lambda run: make_optional_map(
            [(key(run), value(run)) for key, value in pairs], optional
        )
    return lambda run: make_map([(key(run), value(run)) for key, value in pairs])


def _bind(slot: int, value: Step, body: Step) -> Step:
    def step(run: Run) -> Datum:
        try:
            run.slots[slot] = value(run)
        except CelError as error:
            run.slots[slot] = Failed(str(error))
        return body(run)

    return step


def _bound(slot: int) -> Step:
    def step(run: Run) -> Datum:
        value = run.slots[slot]
        if type(value) is Failed:
            raise CelError(value.problem)
        return value

    return step


def _otherwise(first: Step, second: Step, *, unwrap: bool) -> Step:
    """`or` and `orValue`: the other side is not looked at if there is a value."""
    name = "orValue" if unwrap else "or"

    def step(run: Run) -> Datum:
        value = first(run)
        if type(value) is not Optional:
            raise no_overload(name, value)
        if value is not NONE:
            return value.value if unwrap else value
        other = second(run)
        if not unwrap and type(other) is not Optional:
            raise no_overload(name, value, other)
        return other

    return step


def _apply(function: Function, steps: list[Step]) -> Step:
    call = function.call
    if len(steps) == 1:
        (only,) = steps
        if function.metered:
            return lambda run: call(only(run), run.meter)
        return lambda run: call(only(run))
    if len(steps) == 2:  # noqa: PLR2004
        first, second = steps
        if function.metered:
            return lambda run: call(first(run), second(run), run.meter)
        return lambda run: call(first(run), second(run))
    if function.metered:
        return lambda run: call(*[step(run) for step in steps], run.meter)
    return lambda run: call(*[step(run) for step in steps])


def _decided(left: Step, right: Step, *, by: bool, name: str) -> Step:
    """`&&` (decided by false) or `||` (by true): either side may decide alone.

    An error or a non-bool on one side is absorbed if the other side decides.
    """
    other = not by

    def step(run: Run) -> Datum:
        problem = ""
        try:
            value = left(run)
        except CelError as error:
            problem = str(error)
        else:
            if value is by:
                return by
            if value is not other:
                problem = str(no_overload(name, value))
        value = right(run)
        if value is by:
            return by
        if problem:
            raise CelError(problem)
        if value is not other:
            raise no_overload(name, value)
        return other

    return step


def _choice(test: Step, then: Step, otherwise: Step) -> Step:
    return lambda run: then(run) if bool_of(test(run)) else otherwise(run)


def _elements(plan: plans.Loop, source: Step) -> Callable[[Run], Iterator[None]]:
    """Puts one element after the other into the loop's variables, and charges for each."""
    slot, second, weight = plan.slot, plan.second, plan.weight

    def one(run: Run) -> Iterator[None]:
        for item in items(source(run)):
            charge(run.meter, weight)
            run.slots[slot] = item
            yield

    if second is None:
        return one
    other: int = second

    def two(run: Run) -> Iterator[None]:
        for key, item in pairs(source(run)):
            charge(run.meter, weight)
            run.slots[slot] = key
            run.slots[other] = item
            yield

    return two


def _quantifier(elements: Callable[[Run], Iterator[None]], test: Step, *, by: bool) -> Step:
    """`exists` (decided by true) or `all` (by false), over all elements or up to the first."""
    name, other = ("exists" if by else "all"), not by

    def step(run: Run) -> Datum:
        problem = ""
        for _ in elements(run):
            try:
                value = test(run)
            except CelError as error:
                problem = str(error)
                continue
            if value is by:
                return by
            if value is not other:
                problem = str(no_overload(name, value))
        if problem:
            raise CelError(problem)
        return other

    return step


def _exists_one(elements: Callable[[Run], Iterator[None]], test: Step) -> Step:
    """Exactly one; an error anywhere is an error of the whole."""

    def step(run: Run) -> bool:
        found = 0
        for _ in elements(run):
            found += bool_of(test(run))
        return found == 1

    return step


def _map(
    elements: Callable[[Run], Iterator[None]], test: Step | None, transform: Step | None, slot: int
) -> Step:
    """`map` and `filter`: an append per element, where the expansion copies the list."""

    def step(run: Run) -> list[Datum]:
        return [
            run.slots[slot] if transform is None else transform(run)
            for _ in elements(run)
            if test is None or bool_of(test(run))
        ]

    return step


def _table(
    elements: Callable[[Run], Iterator[None]],
    test: Step | None,
    transform: Step,
    slot: int,
    *,
    merge: bool,
) -> Step:
    """`transformMap`, and with `merge` `transformMapEntry`: no key twice."""

    def step(run: Run) -> dict[Any, Datum]:
        out: dict[Any, Datum] = {}
        for _ in elements(run):
            if test is None or bool_of(test(run)):
                key = run.slots[slot]
                made = transform(run)
                if merge:
                    insert_all(out, made, run.meter)
                else:
                    insert(out, key, made)
        return out

    return step
