"""Questions that are asked together, and what came of them.

A batch is no decision. So `Answers` has no truth value, and cannot be walked: `all()` of the
answers to no questions would be true. What was not decided is not a decision either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

from pdp.model import Action, Decision, Effect, Properties, Resource, Subject


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a batch: the arguments of `authorize`."""

    subject: Subject
    action: Action | str
    resource: Resource
    context: Properties | None = field(default=None, kw_only=True)
    tenant: str = field(default="", kw_only=True)
    explain: bool = field(default=False, kw_only=True)
    # Not in its repr: a token is good until it ends, for whoever reads it.
    subject_token: str = field(default="", kw_only=True, repr=False)


class Undecided:
    """In the place of a decision: the batch ended before this question.

    False in a condition, and without an effect: neither a permit nor a denial.
    """

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "<undecided: the batch ended before this question>"


UNDECIDED: Final = Undecided()


class Answers:
    """What came of each question of a batch, by the question's place in it.

    `answers[2]` is the decision of the third question, or `Undecided`: each true only for a
    permit. There are no negative places and no slices, and no truth value of the whole.
    """

    __slots__ = ("_decided",)

    # INVARIANT: nothing that Python does by itself makes a permit of several answers, or of none.
    __iter__ = None
    __contains__ = None
    __reversed__ = None

    def __init__(self, decided: Sequence[Decision | Undecided]) -> None:
        self._decided = tuple(decided)

    def __len__(self) -> int:
        return len(self._decided)

    def __getitem__(self, place: int) -> Decision | Undecided:
        # A bool is a mistaken condition, and -1 a mistaken search.
        if type(place) is not int:
            raise TypeError(f"a place in a batch is an int, not {type(place).__name__}")
        if place < 0:
            raise IndexError("a place in a batch is not below 0")
        return self._decided[place]

    def __bool__(self) -> NoReturn:
        raise TypeError("a batch is no decision: look at `answers[place]`, or at `all_permitted`")

    def __repr__(self) -> str:
        permits = sum(map(bool, self._decided))
        return f"<Answers to {len(self)} questions, {permits} of them permits>"

    @property
    def all_permitted(self) -> bool:
        """Whether every question was permitted, and there was one."""
        return bool(self._decided) and all(self._decided)

    @property
    def any_permitted(self) -> bool:
        """Whether at least one was."""
        return any(self._decided)

    def permitted(self, place: int) -> bool:
        """Whether the question at this place was permitted: `bool(answers[place])`, in a word."""
        decided = self[place]
        return isinstance(decided, Decision) and decided.effect is Effect.PERMIT
