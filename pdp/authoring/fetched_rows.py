"""What providers say in tests and in questions that are tried: values, or that there are none.

    fetched:
      hr: {suspended: false, grade: senior}
      directory: DOWN

Nobody is asked. A provider that is not named is as if it were not configured, so what
it owns is in error: a test that forgets one cannot let anybody in.
"""

from __future__ import annotations

from collections.abc import Mapping

from pdp.authoring.fields import Fields, value_of
from pdp.authoring.nodes import Map, Scalar
from pdp.authoring.problems import closest, one_of, word
from pdp.boundary import Admitted, InputLimits, admit_values
from pdp.errors import InvalidRequestError
from pdp.fetched import Fetched, FetchOutcome
from pdp.provided import Provided

FAILURES = tuple(outcome.name for outcome in FetchOutcome if outcome is not FetchOutcome.FETCHED)
Said = Mapping[str, Fetched]


def read_fetched(fields: Fields, key: str = "fetched") -> dict[str, Fetched]:
    """What a row says of providers; problems are noted."""
    node = fields.node(key)
    if node is None:
        return {}
    problems = fields.problems
    if not isinstance(node, Map):
        hint = f"write `hr: {{suspended: false}}`, or `hr: {FAILURES[2]}`"
        problems.add(node.position, f"{word(key)} must be a map of providers", hint)
        return {}
    found: dict[str, Fetched] = {}
    for name, said in node.entries:
        value = value_of(said)
        try:
            found[name.text] = fetched_of(name.text, value)
        except ValueError as error:
            text = said.text if isinstance(said, Scalar) else ""
            hint = closest(text.upper(), FAILURES) or f"values, or {one_of(FAILURES)}"
            problems.add(said.position, f"what provider {word(name.text)} says {error}", hint)
    return found


def fetched_of(name: str, said: object) -> Fetched:
    """What one provider said, as somebody wrote it.

    Raises:
        ValueError: it is neither values nor a failure; completes "what it says ...".
    """
    if isinstance(said, str) and said in FAILURES:
        return Fetched(name, FetchOutcome[said])
    if not isinstance(said, dict):
        raise ValueError("is neither a map of values nor the name of a failure")  # noqa: TRY004
    try:
        values = admit_values(said, InputLimits())
    except InvalidRequestError as error:
        raise ValueError(f"is nothing that it could say: {error}") from None
    return Fetched(name, FetchOutcome.FETCHED, values)


def completed(provided: Provided | None, admitted: Admitted, said: Said) -> Admitted:
    """The request with what providers say of it; as it is, where there are none."""
    if provided is None:
        return admitted
    unsaid = {name: Fetched(name, FetchOutcome.UNCONFIGURED) for name in provided.documents}
    return provided.complete(admitted, {name: said.get(name, unsaid[name]) for name in unsaid})
