"""The table of functions: what exists, and which overloads of the checker it answers for.

A call is resolved by the overload ids the official checker wrote into the
tree. A further library is one more module in `pdp.cel.library` and one more
name in `LIBRARIES`: its rows say what is computed, its `extension` and
`declarations` what the checker is told (`pdp.authoring.checker_environment`).
"""

from __future__ import annotations

from types import MappingProxyType

from pdp.cel import containers, text
from pdp.cel.library import (
    calendar,
    encoders,
    hierarchy,
    lists,
    macros,
    network,
    numbers,
    optionals,
    paths,
    semver,
    sets,
    spiffe,
    standard,
    strings,
    unicode,
)
from pdp.cel.library.rows import Function, Library

LIBRARIES: tuple[Library, ...] = (
    standard.LIBRARY,
    macros.BINDINGS,
    macros.COMPREHENSIONS,
    optionals.LIBRARY,
    strings.LIBRARY,
    lists.LIBRARY,
    numbers.LIBRARY,
    encoders.LIBRARY,
    network.LIBRARY,
    paths.LIBRARY,
    hierarchy.LIBRARY,
    semver.LIBRARY,
    spiffe.LIBRARY,
    sets.LIBRARY,
    calendar.LIBRARY,
    unicode.LIBRARY,
)
FUNCTIONS: tuple[Function, ...] = tuple(
    function for library in LIBRARIES for function in library.functions
)
BY_OVERLOAD = MappingProxyType(
    {overload: function for function in FUNCTIONS for overload in function.overloads}
)
EQUAL, NOT_EQUAL = BY_OVERLOAD["equals"], BY_OVERLOAD["not_equals"]
CONTAINED, INDEX = BY_OVERLOAD["in_list"], BY_OVERLOAD["index_list"]
MATCHES = BY_OVERLOAD["matches"]
# `in` where the list is short strings written in the policy. This and the next
# have no overloads of their own: `pdp.cel.resolve` puts them where they belong.
LISTED = Function("@in", frozenset(), 2, containers.listed, result=bool)
# `matches` with a pattern written in the policy.
MATCHES_KNOWN = Function("matches", frozenset(), 2, text.matches_known, metered=True, result=bool)
