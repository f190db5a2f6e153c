"""Actions as rules list them, and finding what names an action. Law ring: pure.

An action is a name whose parts, if it has any, are separated by colons. A rule
lists exact names, patterns `prefix:*`, or the sole `*`. Bytes are compared;
nothing is folded, trimmed or decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")

ANY_ACTION = "*"
# A final `:*` of an action stands for one or more further characters.
PATTERN_END = ":*"


def is_action(text: str) -> bool:
    """Whether a rule may list this: an exact name, `prefix:*`, or `*`."""
    if text.endswith(PATTERN_END):
        text = text.removesuffix(PATTERN_END)
        return bool(text) and ANY_ACTION not in text
    return text == ANY_ACTION or (bool(text) and ANY_ACTION not in text)


def action_matches(pattern: str, action: str) -> bool:
    """Whether an action that a rule lists is about this one. Byte by byte."""
    if pattern == ANY_ACTION:
        return True
    if pattern.endswith(PATTERN_END):
        prefix = pattern.removesuffix(ANY_ACTION)
        return action.startswith(prefix) and len(action) > len(prefix)
    return pattern == action


class ByAction(Generic[T]):
    """Rules of one resource type, or of every type, found by action without a scan."""

    def __init__(self) -> None:
        self.rules: list[T] = []
        self._exact: dict[str, list[T]] = {}
        self._any: list[T] = []
        # By what stands before the `*`, the `:` included.
        self._prefixes: dict[str, list[T]] = {}
        self._longest = 0

    def add(self, actions: tuple[str, ...], rule: T) -> None:
        """Put a rule in."""
        self.rules.append(rule)
        for action in dict.fromkeys(actions):
            if action == ANY_ACTION:
                self._any.append(rule)
            elif action.endswith(PATTERN_END):
                prefix = action.removesuffix(ANY_ACTION)
                self._prefixes.setdefault(prefix, []).append(rule)
                self._longest = max(self._longest, len(prefix))
            else:
                self._exact.setdefault(action, []).append(rule)

    @property
    def named(self) -> frozenset[str]:
        """Actions that a rule lists by their exact names."""
        return frozenset(self._exact)

    def patterns(self, counts: Callable[[T], bool]) -> frozenset[str]:
        """`prefix:*` and `*`, as far as a rule that counts lists them."""
        found = {prefix + ANY_ACTION: rules for prefix, rules in self._prefixes.items()}
        found[ANY_ACTION] = self._any
        return frozenset(pattern for pattern, rules in found.items() if any(map(counts, rules)))

    def exchanged(self, stays: Callable[[T], bool], coming: ByAction[T] | None) -> ByAction[T]:
        """These rules without those that do not stay, and with others."""
        made: ByAction[T] = ByAction()
        others: ByAction[T] = ByAction() if coming is None else coming
        made.rules = [*filter(stays, self.rules), *others.rules]
        made._any = [*filter(stays, self._any), *others._any]
        made._longest = max(self._longest, others._longest)
        made._exact = _merged(self._exact, others._exact, stays)
        made._prefixes = _merged(self._prefixes, others._prefixes, stays)
        return made

    def find(self, action: str) -> list[T]:
        """The rules that name the action, each once."""
        found = [*self._any, *self._exact.get(action, ())]
        # One look per `:` of the action, and none past the longest prefix of any rule.
        end = action.find(":", 0, self._longest) + 1
        if not end:
            return found
        while 0 < end < len(action):
            found += self._prefixes.get(action[:end], ())
            end = action.find(":", end, self._longest) + 1
        # A rule may list `report:read` beside `report:*`.
        return list({id(rule): rule for rule in found}.values())


def _merged(
    mine: Mapping[str, list[T]], theirs: Mapping[str, list[T]], stays: Callable[[T], bool]
) -> dict[str, list[T]]:
    made = {key: [*filter(stays, rules)] for key, rules in mine.items()}
    for key, rules in theirs.items():
        made[key] = [*made.get(key, ()), *rules]
    return made
