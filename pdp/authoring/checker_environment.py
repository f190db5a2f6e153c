"""What the official checker is told of our libraries, as its own configuration.

The configuration is cel-go's and cel-cpp's environment file: YAML, of which
JSON is a part. Made from the one table of functions, so that what the checker
accepts and what the evaluator knows cannot drift apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pdp.cel.functions import LIBRARIES
from pdp.cel.library import standard
from pdp.cel.library.rows import Declaration

_STANDARD = frozenset(function.name for function in standard.LIBRARY.functions)


def make_configuration(declarations: Iterable[Declaration]) -> str:
    """The configuration with our libraries' extensions and these functions.

    Args:
        declarations: overloads that no extension declares.

    Raises:
        ValueError: a signature is not one.
    """
    extensions = [library.extension for library in LIBRARIES if library.extension]
    functions: dict[str, list[dict[str, Any]]] = {}
    for each in declarations:
        functions.setdefault(each.function, []).append(_overload(each))
    return json.dumps(
        {
            # A function of the standard library that is declared again replaces it: an overload
            # cannot be added to one.
            "stdlib": {
                "exclude_functions": [{"name": name} for name in functions if name in _STANDARD]
            },
            # The names of opaque types, as in `type(x) == net.IP`.
            "variables": [
                {"name": name, "type_name": "type", "params": [{"type_name": name}]}
                for library in LIBRARIES
                for name in library.types
            ],
            "extensions": [{"name": name} for name in extensions],
            "functions": [
                {"name": name, "overloads": overloads} for name, overloads in functions.items()
            ],
        }
    )


def _overload(declaration: Declaration) -> dict[str, Any]:
    kinds = [read_signature(parameter) for parameter in declaration.parameters]
    out: dict[str, Any] = {
        "id": declaration.overload,
        "args": kinds[1:] if declaration.member else kinds,
        "return": read_signature(declaration.result),
    }
    if declaration.member:
        out["target"] = kinds[0]
    return out


def read_signature(signature: str) -> dict[str, Any]:
    """`map(string, list(dyn))` as the configuration writes types.

    Raises:
        ValueError: not a signature.
    """
    kind, rest = _read(signature.replace(" ", ""))
    if rest:
        message = f"bad type `{signature}`"
        raise ValueError(message)
    return kind


def _read(text: str) -> tuple[dict[str, Any], str]:
    stop = min((at for at in map(text.find, "(,)") if at >= 0), default=len(text))
    name, rest = text[:stop], text[stop:]
    kind: dict[str, Any] = {"type_name": name}
    if len(name) == 1 and name.isupper():
        kind["is_type_param"] = True
    parameters = []
    if rest.startswith("("):
        while rest[:1] in {"(", ","}:
            inner, rest = _read(rest[1:])
            parameters.append(inner)
        if not rest.startswith(")"):
            message = f"bad type `{text}`"
            raise ValueError(message)
        rest = rest[1:]
        kind["params"] = parameters
    if not name:
        message = f"bad type `{text}`"
        raise ValueError(message)
    return kind, rest


DECLARATIONS: tuple[Declaration, ...] = tuple(
    declaration for library in LIBRARIES for declaration in library.declarations
)
CONFIGURATION = make_configuration(DECLARATIONS)
