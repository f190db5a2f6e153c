"""The candidate rules of one resource type and action, and those that roles leave. Law ring: pure.

A rule that needs one of some static roles does not apply to a subject that
definitely holds none of them: its verdict is FALSE whatever its condition, and
what is FALSE counts for nothing (`pdp.engine`). Such rules are not looked at;
they are found, like the others, by the roles that are held. Where nobody can
say which roles are held, all rules are looked at, and each says DOUBT or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """What holds for a time, or always."""

    def is_current(self, now_ns: int) -> bool:
        """Whether it holds now."""
        ...

    @property
    def is_timed(self) -> bool:
        """Whether `is_current` can ever be false."""
        ...

    @property
    def starts_ns(self) -> int | None:
        """When it begins to hold; None: it always did."""
        ...

    @property
    def expires_ns(self) -> int | None:
        """When it no longer holds; None: it always will."""
        ...


R = TypeVar("R", bound=Timed)
# More types than any tenant has, and more actions than any type has.
_TYPES_MAX, _ACTIONS_MAX = 20_000, 256
# Sets of roles for which the rules are kept: of a type and an action few subjects differ in more.
_HELD_MAX = 64


class Candidates(Generic[R]):
    """Immutable; made once for each resource type and action.

    Args:
        rules: all that are of the type, or of every type, and name the action.
        needs: the static roles of which a rule needs one, or None: it may apply
            without any of them.
        settled: the same rule for whoever certainly holds one of these.
    """

    __slots__ = ("_by_held", "_by_role", "_open", "_rules")

    def __init__(
        self,
        rules: Iterable[R],
        needs: Callable[[R], frozenset[str] | None],
        settled: Callable[[R], R] = lambda rule: rule,
    ) -> None:
        self._rules = _Timely(rules)
        unconditional: list[R] = []
        self._by_role: dict[str, list[R]] = {}
        self._by_held: dict[frozenset[str], _Timely[R]] = {}
        for rule in self._rules.rules:
            roles = needs(rule)
            if roles is None:
                unconditional.append(rule)
            else:
                held = settled(rule)
                for role in roles:
                    self._by_role.setdefault(role, []).append(held)
        self._open = _Timely(unconditional)

    def __iter__(self) -> Iterator[R]:
        return iter(self._rules.rules)

    def __len__(self) -> int:
        return len(self._rules.rules)

    def current(self, now_ns: int) -> Sequence[R]:
        """Those within their time."""
        return self._rules.current(now_ns)

    def changes_ns(self, now_ns: int) -> int | None:
        """When the next of them begins or ends; None: never."""
        return self._rules.changes_ns(now_ns)

    def possible(self, held: frozenset[str] | None, now_ns: int) -> Sequence[R]:
        """Those within their time that may apply.

        Args:
            held: the static roles of the subject, or None: it is in doubt which.
            now_ns: nanoseconds since the epoch.

        Returns:
            INVARIANT: whatever is left out would have had the verdict FALSE.
            A rule may be there twice, which combining does not mind.
        """
        if held is None:
            return self._rules.current(now_ns)
        if not self._by_role:
            return self._open.current(now_ns)
        found = self._by_held.get(held)
        if found is None:
            found = self._held(held)
        return found.current(now_ns)

    def _held(self, held: frozenset[str]) -> _Timely[R]:
        """Those that may apply to whoever holds these roles, worked out, and kept."""
        rules, by_role = [*self._open.rules], self._by_role
        for role in held:
            if role in by_role:
                rules += by_role[role]
        found = _Timely(rules)
        if len(held) <= _HELD_MAX:
            # A caller may make up roles, so it is bounded.
            if len(self._by_held) >= _HELD_MAX:
                self._by_held.clear()
            self._by_held[held] = found
        return found


class _Timely(Generic[R]):
    """Rules, and which of them are within their time."""

    __slots__ = ("_current", "_timed", "rules")

    def __init__(self, rules: Iterable[R]) -> None:
        self.rules = tuple(rules)
        self._timed = tuple(rule for rule in self.rules if rule.is_timed)
        # By what holds of the timed ones. As time goes on, that changes twice for each at most.
        self._current: dict[tuple[bool, ...], tuple[R, ...]] = {}

    def changes_ns(self, now_ns: int) -> int | None:
        """When the next of them begins or ends."""
        times = [each for rule in self._timed for each in (rule.starts_ns, rule.expires_ns)]
        return min((each for each in times if each is not None and each > now_ns), default=None)

    def current(self, now_ns: int) -> tuple[R, ...]:
        """Those within their time."""
        timed = self._timed
        if not timed:
            return self.rules
        holding = tuple([rule.is_current(now_ns) for rule in timed])
        found = self._current.get(holding)
        if found is None:
            found = tuple(rule for rule in self.rules if rule.is_current(now_ns))
            if len(self._current) > 2 * len(timed):
                self._current.clear()  # the clock was set back
            self._current[holding] = found
        return found


class Kept(Generic[R]):
    """Candidates that were found, by type and action. It saves work and changes nothing.

    A caller may make up types and actions that a `*` is about, so it is bounded;
    those that no rule is about are not kept.
    """

    __slots__ = ("_by_type",)

    def __init__(self) -> None:
        self._by_type: dict[str, dict[str, Candidates[R]]] = {}

    def get(self, resource_type: str, action: str) -> Candidates[R] | None:
        """What was found, if it is still kept."""
        by_action = self._by_type.get(resource_type)
        return None if by_action is None else by_action.get(action)

    def keep(self, resource_type: str, action: str, found: Candidates[R]) -> Candidates[R]:
        """Keep it; the same object."""
        if len(found):
            by_action = self._by_type.get(resource_type)
            if by_action is None or len(by_action) >= _ACTIONS_MAX:
                if len(self._by_type) >= _TYPES_MAX:
                    self._by_type.clear()
                by_action = self._by_type[resource_type] = {}
            by_action[action] = found
        return found
