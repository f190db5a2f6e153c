"""The nouns: what is written by hand about them is what would have been generated."""

from __future__ import annotations

import copy
import dataclasses

import pytest

from pdp.model import Cause, Decision, Effect, Obligation, Reason, distinct, in_order


def test_a_decision_sets_every_field() -> None:
    """Each field is what was given for it, or its default: the `__init__` drops none."""
    names = [field.name for field in dataclasses.fields(Decision)]
    given = {name: object() for name in names}
    made = Decision(**given)  # type: ignore[arg-type]
    assert all(getattr(made, name) is given[name] for name in names)
    assert made.__dict__.keys() == given.keys()
    plain = Decision(Effect.DENY, Cause.DEFAULT)
    for field in dataclasses.fields(Decision)[2:]:
        assert getattr(plain, field.name) == field.default
    assert plain.__dict__.keys() == given.keys()


def test_a_decision_cannot_be_changed() -> None:
    """No field is set after it was made, and no other one is added."""
    made = Decision(Effect.DENY, Cause.DEFAULT)
    for name in ("effect", "rules", "else"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, name, Effect.PERMIT)
    assert copy.deepcopy(made) == made == copy.copy(made)
    assert dataclasses.replace(made, cause=Cause.RULE).cause is Cause.RULE


def test_names_reasons_and_duties_are_sorted_without_duplicates() -> None:
    """One, many or none: what comes out does not depend on what came twice, or first."""
    assert in_order(["b", "a", "b"]) == ("a", "b")
    assert in_order(["b"]) == ("b",)
    assert in_order([]) == ()
    assert in_order([Reason("p/b", "x"), Reason("p/a", "y")])[0].rule == "p/a"
    duties = (Obligation("b", "t"), Obligation("a", "t", {"n": 1}), Obligation("b", "t"))
    assert [duty.id for duty in distinct(duties)] == ["a", "b"]
    assert distinct(duties) == distinct(duties[::-1])
    assert distinct(()) == ()
