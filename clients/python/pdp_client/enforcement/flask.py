"""Enforcement as a Flask decorator.

```python
guard = Guards(Enforcer(client), subject=bearer_subject("user"))
guard.protect(app)


@app.get("/reports/<id>")
@guard(Guarded("read", lambda request, id: Resource("report", id)))
def report(id: str) -> str: ...
```

Functions of a mapping take the request and what the view takes. `protect` denies whatever has no
mapping, the folder of static files too. The decision is `flask.g.pdp_decision`.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, Final

import flask

from pdp.model import Decision
from pdp_client.enforcement._enforcer import Enforcer, permits
from pdp_client.enforcement._outcomes import HTTP_STATUS, Told, body_of, headers_of, refusal, told
from pdp_client.enforcement._subjects import (
    MARK,
    Guarded,
    Mapping,
    Unguarded,
    Who,
    bearer_of,
    question_of,
    subject_of_token,
)

_log: Final = logging.getLogger("pdp_client")

View = Callable[..., Any]


def bearer_subject(subject_type: str, id_claim: str = "sub") -> Callable[..., Who]:
    """Whoever the JWT in the header `Authorization` is about; the PDP verifies it."""

    def subject(request: flask.Request, **_: object) -> Who:
        values = request.headers.getlist("Authorization")
        return subject_of_token(bearer_of(values), subject_type, id_claim)

    return subject


class Guards:
    """Makes decorators for one enforcer.

    Args:
        enforcer: decides.
        subject: who acts, where a mapping does not say.
    """

    def __init__(self, enforcer: Enforcer, *, subject: Callable[..., Who] | None = None) -> None:
        self._enforcer = enforcer
        self._subject = subject

    def __call__(self, mapping: Mapping) -> Callable[[View], View]:
        """The decorator for this mapping; under `@app.route`, so that it is nearer to the view.

        Raises:
            TypeError: it is no mapping, or the view is asynchronous.
        """
        known: object = mapping
        if not isinstance(known, Guarded | Unguarded):
            raise TypeError("a view is mapped by `Guarded(...)` or `Unguarded(...)`")

        def decorate(view: View) -> View:
            if inspect.iscoroutinefunction(view):
                raise TypeError(f"`{view.__name__}` is asynchronous, and Flask's guard is not")

            @functools.wraps(view)
            def guarded(**arguments: Any) -> Any:
                denied = self._denied(mapping, arguments)
                return view(**arguments) if denied is None else denied

            setattr(guarded, MARK, mapping)
            return guarded

        return decorate

    def protect(self, application: flask.Flask) -> None:
        """Deny every request to what has no mapping, before anything of it runs."""

        def deny_unmapped() -> flask.Response | None:
            view = application.view_functions.get(flask.request.endpoint or "")
            if view is None or hasattr(view, MARK):
                # Nothing there is Flask's own answer of 404 or 405.
                return None
            _log.warning("a view without a mapping is denied: %s", flask.request.endpoint)
            return _denial(Told.DENIED, None)

        application.before_request(deny_unmapped)

    def _denied(self, mapping: Mapping, arguments: dict[str, Any]) -> flask.Response | None:
        flask.g.pop("pdp_decision", None)
        if isinstance(mapping, Unguarded):
            return None
        try:
            question = question_of(mapping, self._subject, flask.request, **arguments)
        except Exception as error:  # noqa: BLE001 what cannot be asked is denied
            return _denial(refusal(error), None)
        decision = self._enforcer.decide(question)
        if not permits(decision):
            return _denial(told(decision), decision)
        flask.g.pdp_decision = decision
        return None


def _denial(outcome: Told, decision: Decision | None) -> flask.Response:
    response = flask.jsonify(body_of(outcome, decision))
    response.status_code = HTTP_STATUS[outcome]
    response.headers.update(headers_of(outcome))
    return response
