"""Maps of which a part is not known: a touch of that part, or of the whole, is an error.

An attribute that a provider owns and that could not be fetched is neither there
nor absent. Conditions meet it as the error that it is: `has()`, `?.`, `==`, `size`,
`in`, a loop, a copy of the map that it is in. What is beside it in the same map
can be looked up as ever.

A `Partial` is no value of CEL. It stands in the attributes under `INCOMPLETE`, apart
from the others: the fast tier finds nothing where it looks, and leaves the condition to
the exact one (`pdp.cel.exact`), where only what looks into a map under a key is given it.
Everything else is given whole values, or an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pdp.cel import containers
from pdp.cel.cost import Meter
from pdp.cel.functions import CONTAINED, INDEX
from pdp.cel.library.optionals import OPTIONAL_FIELD, OPTIONAL_INDEX
from pdp.cel.values import CelError, Datum, Optional

# Where attributes keep what is not whole, by name. No name of a condition has a blank.
INCOMPLETE: Final = "not whole"


@dataclass(frozen=True, slots=True, eq=False)
class Partial:
    """A map with string keys, of some of which there is no value to be had.

    Attributes:
        path: what it is, `subject.properties`.
        known: the entries that are there; one of them may be partial too.
        missing: for each of the others, why; completes "`path.key` ...".
    """

    path: str
    known: dict[str, Datum]
    missing: Mapping[str, str]

    def refuse(self, key: Datum) -> None:
        """Raise if there may be an entry under this key.

        Raises:
            CelError: there is one, or none; nobody knows.
        """
        if type(key) is str and key in self.missing:
            raise CelError(f"`{self.path}.{key}` {self.missing[key]}")

    def not_whole(self) -> CelError:
        """The error of whoever looks at all of it."""
        for key, why in self.missing.items():
            return CelError(f"`{self.path}` is not whole: `{key}` {why}")
        inner = next(value for value in self.known.values() if type(value) is Partial)
        return inner.not_whole()


def attribute(attributes: Mapping[str, Any], name: str) -> Datum:
    """The value of a name of the global scope; it may be partial.

    Raises:
        CelError: there is none.
    """
    if name in attributes:
        return attributes[name]
    if INCOMPLETE in attributes and name in attributes[INCOMPLETE]:
        return attributes[INCOMPLETE][name]
    raise CelError(f"no such attribute: `{name}`")


def whole(value: Datum) -> Datum:
    """The value, if all of it is known.

    Raises:
        CelError: it is not.
    """
    if type(value) is Partial:
        raise value.not_whole()
    return value


def select(operand: Datum, field: str) -> Datum:
    """`operand.field`, where the operand may be partial, and then the result too."""
    if type(operand) is Partial:
        operand.refuse(field)
        operand = operand.known
    return containers.select(operand, field)


def has(operand: Datum, field: str) -> bool:
    """`has(operand.field)`, where the operand may be partial."""
    if type(operand) is Partial:
        operand.refuse(field)
        operand = operand.known
    return containers.has(operand, field)


def _index(operand: Datum, key: Datum) -> Datum:
    if type(operand) is Partial:
        operand.refuse(key)
        operand = operand.known
    return containers.index(operand, key)


def _optional_index(operand: Datum, key: Datum) -> Optional:
    if type(operand) is Partial:
        operand.refuse(key)
        operand = operand.known
    return _held(containers.optional_index(operand, key))


def _optional_select(operand: Datum, field: Datum) -> Optional:
    if type(operand) is Partial:
        operand.refuse(field)
        operand = operand.known
    return _held(containers.optional_select(operand, field))


def _held(found: Optional) -> Optional:
    """An optional goes anywhere, so what it holds is whole."""
    whole(found.value)
    return found


def _contained(item: Datum, container: Datum, meter: Meter) -> bool:
    if type(container) is Partial:
        container.refuse(item)
        container = container.known
    return containers.contained(item, container, meter)


# Functions that look into a map under a key: which argument the map is, and what they compute.
LOOK_INTO: Final[Mapping[object, tuple[int, Callable[..., Datum]]]] = {
    INDEX: (0, _index),
    OPTIONAL_INDEX: (0, _optional_index),
    OPTIONAL_FIELD: (0, _optional_select),
    CONTAINED: (1, _contained),
}


def known(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The attributes with what is known of those that are not whole: to be shown, not to decide."""
    incomplete = attributes.get(INCOMPLETE)
    if incomplete is None:
        return attributes
    found = {name: value for name, value in attributes.items() if name != INCOMPLETE}
    return found | {name: shown(value) for name, value in incomplete.items()}


def shown(value: Datum) -> Datum:
    """What is known of a value: to be shown, not to decide."""
    if type(value) is not Partial:
        return value
    return {key: shown(inner) for key, inner in value.known.items()}
