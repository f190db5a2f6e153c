"""Enforcement as a Django decorator.

```python
guard = Guards(Enforcer(client), subject=bearer_subject("user"))


@guard(Guarded("read", lambda request, id: Resource("report", id)))
def report(request: HttpRequest, id: str) -> HttpResponse: ...


urlpatterns = [path("reports/<id>", report)]
MIDDLEWARE = ["pdp_client.enforcement.django.DenyUnmapped", ...]
```

Functions of a mapping take what the view takes: the request, and what the URL named. With an
`AsyncEnforcer` it decorates asynchronous views. Of a class the view is decorated that `as_view()`
makes. `DenyUnmapped` denies whatever has no mapping. The decision is `request.pdp_decision`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse, JsonResponse

from pdp.model import Decision
from pdp_client.enforcement._enforcer import AsyncEnforcer, Enforcer, permits
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

    def subject(request: HttpRequest, *_: object, **__: object) -> Who:
        # A server gateway joins several headers of a name with commas: that is no bearer token.
        value = request.META.get("HTTP_AUTHORIZATION")
        return subject_of_token(bearer_of([] if value is None else [value]), subject_type, id_claim)

    return subject


class Guards:
    """Makes decorators for one enforcer.

    Args:
        enforcer: decides: an `Enforcer` for views that are functions, an `AsyncEnforcer` for
            coroutine functions.
        subject: who acts, where a mapping does not say.
    """

    def __init__(
        self, enforcer: Enforcer | AsyncEnforcer, *, subject: Callable[..., Who] | None = None
    ) -> None:
        self._enforcer = enforcer
        self._subject = subject

    def __call__(self, mapping: Mapping) -> Callable[[View], View]:
        """The decorator for this mapping.

        Raises:
            TypeError: it is no mapping, or the view and the enforcer do not go together.
        """
        known: object = mapping
        if not isinstance(known, Guarded | Unguarded):
            raise TypeError("a view is mapped by `Guarded(...)` or `Unguarded(...)`")

        def decorate(view: View) -> View:
            enforcer = self._enforcer
            if iscoroutinefunction(view):
                if not isinstance(enforcer, AsyncEnforcer):
                    raise TypeError(f"`{view.__name__}` is asynchronous: use `AsyncEnforcer`")
                made = self._asynchronous(enforcer, mapping, view)
            else:
                if not isinstance(enforcer, Enforcer):
                    raise TypeError(f"`{view.__name__}` is not asynchronous: use `Enforcer`")
                made = self._synchronous(enforcer, mapping, view)
            setattr(made, MARK, mapping)
            return made

        return decorate

    def _synchronous(self, enforcer: Enforcer, mapping: Mapping, view: View) -> View:
        @functools.wraps(view)
        def guarded(request: HttpRequest, *arguments: Any, **named: Any) -> Any:
            question = self._question(mapping, request, arguments, named)
            if isinstance(question, Told):
                return _denial(question, None)
            if question is not None:
                decision = enforcer.decide(question)
                if not permits(decision):
                    return _denial(told(decision), decision)
                request.pdp_decision = decision
            return view(request, *arguments, **named)

        return guarded

    def _asynchronous(self, enforcer: AsyncEnforcer, mapping: Mapping, view: View) -> View:
        @functools.wraps(view)
        async def guarded(request: HttpRequest, *arguments: Any, **named: Any) -> Any:
            question = self._question(mapping, request, arguments, named)
            if isinstance(question, Told):
                return _denial(question, None)
            if question is not None:
                decision = await enforcer.decide(question)
                if not permits(decision):
                    return _denial(told(decision), decision)
                request.pdp_decision = decision
            return await view(request, *arguments, **named)

        return guarded

    def _question(
        self,
        mapping: Mapping,
        request: HttpRequest,
        arguments: tuple[Any, ...],
        named: dict[str, Any],
    ) -> Any:
        """The question; None where none is needed; what is told where it cannot be asked."""
        if isinstance(mapping, Unguarded):
            return None
        try:
            return question_of(mapping, self._subject, request, *arguments, **named)
        except Exception as error:  # noqa: BLE001 what cannot be asked is denied
            return refusal(error)


class DenyUnmapped:
    """Middleware that denies every request to a view without a mapping."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: View) -> None:
        self._get_response = get_response
        if iscoroutinefunction(get_response):
            # Django's word for middleware that is awaited.
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Django's: what comes after this one. `process_view` is what denies."""
        return self._get_response(request)

    def process_view(
        self, request: HttpRequest, view: View, arguments: object, named: object
    ) -> HttpResponse | None:
        """Django's: called just before the view."""
        del request, arguments, named
        if hasattr(view, MARK):
            return None
        _log.warning("a view without a mapping is denied: %s", getattr(view, "__name__", "?"))
        return _denial(Told.DENIED, None)


def _denial(outcome: Told, decision: Decision | None) -> HttpResponse:
    return JsonResponse(
        body_of(outcome, decision), status=HTTP_STATUS[outcome], headers=headers_of(outcome)
    )
