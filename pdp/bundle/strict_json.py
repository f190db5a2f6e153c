"""JSON with one meaning: what two readers could read differently is refused.

RFC 8259 leaves duplicate keys, huge numbers and lone surrogates to each
reader. Manifest, denials and state file decide who is let in, so here these
are errors.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn


class StrictJsonError(ValueError):
    """The text is not JSON, or not JSON with one meaning. Becomes the caller's own error."""


def parse_object(data: bytes, bytes_max: int, *, fractions: bool = False) -> dict[str, Any]:
    """Parse one JSON object.

    Args:
        data: UTF-8 without a byte order mark.
        bytes_max: what is accepted at most.
        fractions: whether numbers may have one; for documents that are not ours.

    Returns:
        The object; its numbers are integers, if fractions are not allowed.

    Raises:
        StrictJsonError: with a message that completes "`name` ...".
    """
    if len(data) > bytes_max:
        raise StrictJsonError(f"is {len(data)} bytes, more than {bytes_max}")
    try:
        text = data.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_float=float if fractions else _no_fraction,
            parse_constant=_no_constant,
        )
        # A lone surrogate is text that no file, log or wire can carry.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        raise StrictJsonError("is not valid UTF-8") from None
    except RecursionError:
        raise StrictJsonError("is nested too deep") from None
    except StrictJsonError:
        raise
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise StrictJsonError(f"is not JSON: {error.msg.lower()} at {where}") from None
    except ValueError as error:
        # Python refuses integers of more than 4,300 digits.
        raise StrictJsonError(f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise StrictJsonError("is not a JSON object")
    return value


def check_keys(value: dict[str, Any], expected: frozenset[str], where: str = "") -> None:
    """Exactly these keys.

    Raises:
        StrictJsonError: a key is missing or unknown.
    """
    place = f" in {where}" if where else ""
    # Unknown first: a misspelt key is also a missing one, and this names both.
    for key in sorted(value.keys() - expected):
        known = ", ".join(f"`{name}`" for name in sorted(expected))
        raise StrictJsonError(f"has an unknown key {key[:64]!a}{place} (known: {known})")
    for key in sorted(expected - value.keys()):
        raise StrictJsonError(f"has no key `{key}`{place}")


def integer(value: dict[str, Any], key: str, minimum: int, maximum: int = 2**63 - 1) -> int:
    """An integer in a range; true is not 1.

    Raises:
        StrictJsonError: it is something else.
    """
    number = value[key]
    if type(number) is not int or not minimum <= number <= maximum:
        raise StrictJsonError(f"has a `{key}` that is not an integer of {minimum} or more")
    return number


def string(value: dict[str, Any], key: str) -> str:
    """A string.

    Raises:
        StrictJsonError: it is something else.
    """
    text = value[key]
    if type(text) is not str:
        raise StrictJsonError(f"has a `{key}` that is not a string")
    return text


def render(value: dict[str, Any]) -> bytes:
    """The one spelling in which we write: sorted keys, two spaces, a final line feed."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=True) + "\n").encode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise StrictJsonError(f"has the key {key[:64]!a} twice")
        found[key] = value
    return found


def _no_fraction(text: str) -> NoReturn:
    raise StrictJsonError(f"has the number {text[:64]!a}: only integers are used here")


def _no_constant(text: str) -> NoReturn:
    raise StrictJsonError(f"has `{text}`, which is not JSON")
