"""What providers said of the subject and the resource of one request. Law ring: pure.

A provider is asked before the decision (`pdp.fetching`); here is what came of it,
good or bad. `pdp.provided` makes it part of what conditions see.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pdp.values import Value


class FetchOutcome(enum.Enum):
    """What asking a provider came to. Numbers are the record's."""

    FETCHED = 1
    UNKNOWN = 2  # it knows no such subject or resource
    LATE = 3  # there was no answer in the time that was left
    DOWN = 4  # it could not be reached, or says that it cannot answer
    WRONG = 5  # what it said cannot be used: form, size, a missing or an ambiguous value
    BUSY = 6  # it was not asked: too many questions at once, or too many failures just now
    UNCONFIGURED = 7  # the operator has configured none of this name for this tenant

    __hash__ = object.__hash__


# Why an attribute has no value; completes "`subject.properties.grade` ...".
REASONS: Final[Mapping[FetchOutcome, str]] = MappingProxyType(
    {
        FetchOutcome.UNKNOWN: "is not available: provider `{}` knows nothing of whom it was asked",
        FetchOutcome.LATE: "is not available: provider `{}` did not answer in time",
        FetchOutcome.DOWN: "is not available: provider `{}` could not be asked",
        FetchOutcome.WRONG: "is not available: provider `{}` gave no answer that can be used",
        FetchOutcome.BUSY: "is not available: provider `{}` is not asked just now",
        FetchOutcome.UNCONFIGURED: "is not available: provider `{}` is not configured",
    }
)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one provider said.

    Attributes:
        provider: its name in the bundle.
        outcome: what asking it came to.
        values: by attribute, within the limits of input; empty unless FETCHED.
        cached: whether it said so earlier.
    """

    provider: str
    outcome: FetchOutcome
    values: Mapping[str, Value] = field(default_factory=dict)
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """How the attributes of a request came to be what they are.

    Attributes:
        sent: the attributes as the caller sent them.
        fetched: what providers said, sorted by name.
        unusable: for each attribute without a value, by path: why.
        values: of each attribute that a provider gave, by path.
        owners: the name of the provider of each of both, by path.
    """

    sent: Mapping[str, Value]
    fetched: tuple[Fetched, ...]
    unusable: Mapping[str, str]
    values: Mapping[str, Value]
    owners: Mapping[str, str]
