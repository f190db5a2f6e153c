"""Questions that people and programs write as JSON: one object, or one on each line of a file.

    {"subject": {"type": "user", "id": "ana", "properties": {...}},
     "action": "read", "resource": {"type": "note", "id": "n1"},
     "context": {}, "caller": "spiffe://...", "now": "2026-09-15T10:00:00Z",
     "token": {"department": "finance", "roles": ["manager"]}}

The keys of a row of `pdp test`. What is unknown is an error: a part that is
skipped would make it another question.

`token` are claims as if a token of the subject had been verified. They are data
for trying policies: questions on the wire have no such field, only a token
that the PDP verifies itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pdp import value_json
from pdp.authoring.fetched_rows import Said, completed, fetched_of
from pdp.authoring.problems import closest, one_of, word
from pdp.authoring.times import EXAMPLE, parse_timestamp
from pdp.authoring.trial import as_verified
from pdp.boundary import Admitted, InputLimits, admit, with_token
from pdp.errors import ConfigurationError
from pdp.model import Action, Caller, Request, Resource, Subject
from pdp.provided import Provided
from pdp.values import Value

# A line or a file of one question: requests are at most 1 MiB on the wire.
QUESTION_BYTES_MAX = 4 << 20
_KEYS = ("subject", "action", "resource", "context", "caller", "now", "tenant", "token", "fetched")


class QuestionError(ConfigurationError):
    """A question cannot be read."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, who asks it, and when.

    Attributes:
        request: what is asked.
        caller: the workload; an empty ID where nobody is named.
        now_ns: nanoseconds since 1970; None where no time is named.
        claims: as if a token of the subject had been verified; None: it brings none.
        fetched: what providers say, by name.
    """

    request: Request
    caller: Caller
    now_ns: int | None
    claims: Mapping[str, Value] | None = None
    fetched: Said = field(default_factory=dict)

    def admitted(self, provided: Provided | None = None) -> Admitted:
        """As it would be past a door, the verifier of tokens, and the providers, if there are any.

        Raises:
            InvalidRequestError: a PDP would refuse it.
        """
        found = admit(self.request, self.caller, InputLimits())
        if self.claims is not None:
            found = with_token(found, as_verified(self.claims, self.request.subject))
        return completed(provided, found, self.fetched)

    def otherwise(self, caller: str, now_ns: int) -> Question:
        """With a caller and a time where none was named."""
        named = self.caller if self.caller.spiffe_id else Caller(caller)
        return replace(self, caller=named, now_ns=now_ns if self.now_ns is None else self.now_ns)


def parse_question(text: str) -> Question:
    """Read one question.

    Raises:
        QuestionError: what is wrong with it.
    """
    try:
        found = value_json.parse(text)
    except ValueError as error:
        raise QuestionError(f"the question {error}") from None
    return question_of(found)


def question_of(found: object) -> Question:
    """A question from parsed JSON.

    Raises:
        QuestionError: what is wrong with it.
    """
    whole = _map(found, "the question", _KEYS)
    for key in ("subject", "action", "resource"):
        if key not in whole:
            raise QuestionError(f"the question has no `{key}`")
    subject = _map(whole["subject"], "`subject`", ("type", "id", "properties"))
    resource = _map(whole["resource"], "`resource`", ("type", "id", "properties"))
    action = whole["action"]
    action = {"name": action} if isinstance(action, str) else action
    if not isinstance(action, dict):
        raise QuestionError("`action` is neither a name nor an object")
    action = _map(action, "`action`", ("name", "properties"))
    request = Request(
        Subject(
            _text(subject, "subject", "type"),
            _text(subject, "subject", "id"),
            _properties(subject, "subject.properties"),
        ),
        Action(_text(action, "action", "name"), _properties(action, "action.properties")),
        Resource(
            _text(resource, "resource", "type"),
            _text(resource, "resource", "id"),
            _properties(resource, "resource.properties"),
        ),
        _properties(whole, "context", "context"),
        tenant=_text(whole, "", "tenant", required=False),
    )
    caller = Caller(_text(whole, "", "caller", required=False))
    now_ns = parse_now(_text(whole, "", "now", required=False))
    claims = _properties(whole, "token", "token") if "token" in whole else None
    return Question(request, caller, now_ns, claims, _fetched(whole))


def _fetched(whole: dict[str, Any]) -> Said:
    found = _properties(whole, "fetched", "fetched")
    try:
        return {name: fetched_of(name, said) for name, said in found.items()}
    except ValueError as error:
        raise QuestionError(f"`fetched`: what a provider says {error}") from None


def parse_now(text: str) -> int | None:
    """A time; None for nothing.

    Raises:
        QuestionError: it is none.
    """
    if not text:
        return None
    try:
        return parse_timestamp(text)
    except ValueError as error:
        raise QuestionError(f"`now` {error}: write `{EXAMPLE}`") from None


def _map(value: object, what: str, keys: Collection[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise QuestionError(f"{what} is not an object")
    for key in value:
        if key not in keys:
            hint = closest(key, keys) or f"it may have {one_of(keys)}"
            raise QuestionError(f"{what} has the unknown key {word(key)}: {hint}")
    return value


def _text(whole: dict[str, Any], where: str, key: str, *, required: bool = True) -> str:
    value = whole.get(key, "")
    path = f"{where}.{key}".removeprefix(".")
    if not isinstance(value, str) or (required and not value):
        raise QuestionError(f"`{path}` is not a text" if key in whole else f"`{path}` is missing")
    return value


def _properties(whole: dict[str, Any], path: str, key: str = "properties") -> dict[str, Any]:
    value = whole.get(key, {})
    if not isinstance(value, dict):
        raise QuestionError(f"`{path}` is not an object")
    return value
