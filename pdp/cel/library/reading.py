"""What the libraries of opaque values share: trying to read, and taking apart."""

from __future__ import annotations

from collections.abc import Callable

from pdp.cel.cost import Meter, charge
from pdp.cel.values import CelError, Datum, no_overload


def can_be_read(
    read: Callable[[str], Datum], name: str, units: int
) -> Callable[[Datum, Meter], bool]:
    """The function `isX(text)`: whether `x(text)` would be a value.

    Args:
        read: what reads it.
        name: of the function, for its errors.
        units: what reading costs.
    """

    def call(text: Datum, meter: Meter) -> bool:
        if type(text) is not str:
            raise no_overload(name, text)
        charge(meter, units)
        try:
            read(text)
        except CelError:
            return False
        return True

    return call


def part_of(kind: type, name: str, take: Callable[[Datum], Datum]) -> Callable[[Datum], Datum]:
    """A method without arguments of one kind of opaque value."""

    def call(operand: Datum) -> Datum:
        if type(operand) is not kind:
            raise no_overload(name, operand)
        return take(operand)

    return call
