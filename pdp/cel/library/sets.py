"""Lists as sets: cel-go's sets extension. Order and duplicates do not count; `==` decides."""

from __future__ import annotations

from pdp.cel.cost import COMPARED_PER_UNIT, Meter, charge
from pdp.cel.library.signatures import define, make_library
from pdp.cel.semantics import equal
from pdp.cel.values import Datum, no_overload


def _begin(name: str, one: Datum, two: Datum, meter: Meter) -> bool:
    """Charge; whether both hold nothing but short strings, which Python's sets may compare."""
    if type(one) is not list or type(two) is not list:
        raise no_overload(name, one, two)
    charge(meter, len(one) + len(two))
    if all(type(item) is str and len(item) < COMPARED_PER_UNIT for item in (*one, *two)):
        return True
    # Every pair may have to be compared, by an equality that Python's is not.
    charge(meter, len(one) * len(two))
    return False


def _within(part: list[Datum], whole: list[Datum], meter: Meter) -> bool:
    return all(any(equal(item, other, meter) for other in whole) for item in part)


def contains(one: Datum, two: Datum, meter: Meter) -> bool:
    """`sets.contains(list, sublist)`: every element of the second is in the first."""
    if _begin("sets.contains", one, two, meter):
        return set(two) <= set(one)
    return _within(two, one, meter)


def equivalent(one: Datum, two: Datum, meter: Meter) -> bool:
    """`sets.equivalent(a, b)`: each contains the other."""
    if _begin("sets.equivalent", one, two, meter):
        return set(one) == set(two)
    return _within(one, two, meter) and _within(two, one, meter)


def intersects(one: Datum, two: Datum, meter: Meter) -> bool:
    """`sets.intersects(a, b)`: some element is in both."""
    if _begin("sets.intersects", one, two, meter):
        return not set(one).isdisjoint(two)
    return any(equal(item, other, meter) for item in one for other in two)


LIBRARY = make_library(
    "sets",
    *(
        define(name, {overload: "(list(T), list(T)) -> bool"}, call)
        for name, overload, call in (
            ("sets.contains", "list_sets_contains_list", contains),
            ("sets.equivalent", "list_sets_equivalent_list", equivalent),
            ("sets.intersects", "list_sets_intersects_list", intersects),
        )
    ),
)
