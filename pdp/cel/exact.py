"""The exact tier: closures that follow CEL to the letter, errors absorbed.

Errors are `CelError`s and travel as exceptions, so no operator can forget to
pass one on; they stop at `&&`, `||` and the quantifiers, which absorb them when
a definite value decides. Everything else, the spent budget above all, passes.

No recursion but over the plan, whose depth is limited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from pdp.cel import plan as plans
from pdp.cel.cost import Meter, charge
from pdp.cel.library.rows import Function
from pdp.cel.plan import Macro, Plan, Program
from pdp.cel.semantics import bool_of, has, select
from pdp.cel.values import CelError, Datum, keys, make_map, no_overload


class Run:
    """One evaluation: what it looks at, its budget, its loop variables."""

    __slots__ = ("attributes", "meter", "slots")

    def __init__(self, attributes: Mapping[str, Datum], meter: Meter, slots: int) -> None:
        self.attributes = attributes
        self.meter = meter
        self.slots: list[Datum] = [None] * slots


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
        """The closure of one plan."""
        made: Step
        match plan:
            case plans.Constant() | plans.Attribute() | plans.Local() | plans.Use():
                made = self._name(plan)
            case plans.Field(operand, name):
                made = _field(self.step(operand), name)
            case plans.Present(operand, name):
                made = _present(self.step(operand), name)
            case plans.Apply(function, arguments):
                made = _apply(function, [self.step(argument) for argument in arguments])
            case plans.Both(left, right):
                made = _decided(self.step(left), self.step(right), by=False, name="&&")
            case plans.Either(left, right):
                made = _decided(self.step(left), self.step(right), by=True, name="||")
            case plans.Choice(test, then, otherwise):
                made = _choice(self.step(test), self.step(then), self.step(otherwise))
            case plans.MakeList(elements):
                made = _list([self.step(element) for element in elements])
            case plans.MakeMap(entries):
                made = _mapping([(self.step(key), self.step(value)) for key, value in entries])
            case plans.Loop():
                made = self._loop(plan)
        return made

    def _name(self, plan: plans.Constant | plans.Attribute | plans.Local | plans.Use) -> Step:
        match plan:
            case plans.Constant(value):
                return lambda _run: value
            case plans.Attribute(name=name):
                return _attribute(name)
            case plans.Local(slot):
                return lambda run: run.slots[slot]
            case plans.Use(definition):
                if id(definition) not in self.definitions:
                    self.definitions[id(definition)] = self.step(definition.body)
                return self.definitions[id(definition)]

    def _loop(self, plan: plans.Loop) -> Step:
        source = self.step(plan.source)
        test = None if plan.test is None else self.step(plan.test)
        transform = None if plan.transform is None else self.step(plan.transform)
        slot, weight = plan.slot, plan.weight
        if plan.macro is Macro.MAP:
            return _map(source, test, transform, slot, weight)
        if test is None:
            message = "a quantifier without a condition"
            raise TypeError(message)
        if plan.macro is Macro.EXISTS_ONE:
            return _exists_one(source, test, slot, weight)
        return _quantifier(source, test, slot, weight, by=plan.macro is Macro.EXISTS)


def _attribute(name: str) -> Step:
    def step(run: Run) -> Datum:
        if name in run.attributes:
            return run.attributes[name]
        message = f"no such attribute: `{name}`"
        raise CelError(message)

    return step


def _field(of: Step, name: str) -> Step:
    return lambda run: select(of(run), name)


def _present(of: Step, name: str) -> Step:
    return lambda run: has(of(run), name)


def _list(steps: list[Step]) -> Step:
    return lambda run: [step(run) for step in steps]


def _mapping(pairs: list[tuple[Step, Step]]) -> Step:
    return lambda run: make_map([(key(run), value(run)) for key, value in pairs])


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


def items(source: Datum) -> list[Datum]:
    """What a loop runs over: a list's elements, or a map's keys."""
    if type(source) is list:
        return source
    if type(source) is dict:
        return keys(source)
    raise no_overload("loop", source)


def _quantifier(source: Step, test: Step, slot: int, weight: int, *, by: bool) -> Step:
    """`exists` (decided by true) or `all` (by false), over all elements or up to the first."""
    name, other = ("exists" if by else "all"), not by

    def step(run: Run) -> Datum:
        problem = ""
        for item in items(source(run)):
            charge(run.meter, weight)
            run.slots[slot] = item
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


def _exists_one(source: Step, test: Step, slot: int, weight: int) -> Step:
    """Exactly one; an error anywhere is an error of the whole."""

    def step(run: Run) -> bool:
        found = 0
        for item in items(source(run)):
            charge(run.meter, weight)
            run.slots[slot] = item
            found += bool_of(test(run))
        return found == 1

    return step


def _map(source: Step, test: Step | None, transform: Step | None, slot: int, weight: int) -> Step:
    """`map` and `filter`: an append per element, where the expansion copies the list."""

    def step(run: Run) -> list[Datum]:
        out: list[Datum] = []
        for item in items(source(run)):
            charge(run.meter, weight)
            run.slots[slot] = item
            if test is None or bool_of(test(run)):
                out.append(item if transform is None else transform(run))
        return out

    return step
