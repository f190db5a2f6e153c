"""What a run found wrong: every problem, not only the first, in reading order."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pdp.errors import DocumentError, PolicyError, Position

# More than anybody reads; it bounds what a hostile document can make us say.
PROBLEMS_MAX = 200
# An author's word is repeated up to this many characters.
WORD_CHARACTERS_MAX = 60


class Problems:
    """Collects problems; the same one at the same place only once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int, int, str], PolicyError] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, position: Position, message: str, suggestion: str = "") -> None:
        """Note a breach of a document's rules."""
        self.note(DocumentError(message, position, suggestion))

    def note(self, error: PolicyError) -> None:
        """Note an error that was raised elsewhere."""
        at = error.position or Position("")
        if len(self._found) < PROBLEMS_MAX:
            self._found.setdefault((at.path, at.line, at.column, error.message), error)

    def sorted(self) -> tuple[PolicyError, ...]:
        """By path, line, column and message."""
        return tuple(self._found[key] for key in sorted(self._found))


def word(text: object) -> str:
    """An author's word for a message: in backticks, on one line, not too long."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)
    )
    if len(shown) > WORD_CHARACTERS_MAX:
        shown = shown[:WORD_CHARACTERS_MAX] + "…"
    return f"`{shown}`"


def closest(name: str, known: Iterable[str]) -> str:
    """`did you mean …?`, or the empty string when nothing is near."""
    # Long names are no typing errors, and difflib is quadratic in length.
    found = difflib.get_close_matches(name[:WORD_CHARACTERS_MAX], sorted(set(known)), n=1)
    return f"did you mean {word(found[0])}?" if found else ""


def one_of(known: Iterable[str]) -> str:
    """`a`, `b` or `c`, for a message."""
    words = [word(name) for name in known]
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else "nothing"
