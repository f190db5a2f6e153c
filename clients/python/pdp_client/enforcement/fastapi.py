"""Enforcement as a FastAPI dependency.

```python
guard = Guards(AsyncEnforcer(client), subject=bearer_subject("user"))
reads = guard(Guarded("read", lambda request: Resource("report", request.path_params["id"])))


@app.get("/reports/{id}", dependencies=[Depends(reads)])
async def report(id: str) -> dict[str, str]: ...


assert not unguarded_routes(app)
```

Functions of a mapping take the request. The dependency's value is the decision. A dependency
protects the routes that name it; `unguarded_routes` finds those that do not, for a test or before
serving.
"""

# Annotations are evaluated here on purpose: FastAPI reads those of a dependency, and cannot resolve
# names for an object that is none of its functions.

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import fastapi
import fastapi.routing
from fastapi.requests import HTTPConnection

from pdp.model import Decision
from pdp_client.enforcement._enforcer import AsyncEnforcer, permits
from pdp_client.enforcement._outcomes import HTTP_STATUS, Told, body_of, headers_of, refusal, told
from pdp_client.enforcement._subjects import (
    Guarded,
    Mapping,
    Unguarded,
    Who,
    bearer_of,
    question_of,
    subject_of_token,
)


def bearer_subject(subject_type: str, id_claim: str = "sub") -> Callable[..., Who]:
    """Whoever the JWT in the header `Authorization` is about; the PDP verifies it."""

    def subject(request: HTTPConnection) -> Who:
        values = request.headers.getlist("authorization")
        return subject_of_token(bearer_of(values), subject_type, id_claim)

    return subject


class Guard:
    """A dependency. Made by `Guards`."""

    def __init__(
        self, enforcer: AsyncEnforcer, mapping: Mapping, subject: Callable[..., Who] | None
    ) -> None:
        self._enforcer = enforcer
        self._mapping = mapping
        self._subject = subject

    async def __call__(self, request: HTTPConnection) -> Decision | None:
        """The permit; None where the mapping is `Unguarded`.

        Raises:
            fastapi.HTTPException: the denial.
        """
        if isinstance(self._mapping, Unguarded):
            return None
        try:
            question = question_of(self._mapping, self._subject, request)
        except Exception as error:  # noqa: BLE001 what cannot be asked is denied
            raise _denial(refusal(error), None) from None
        decision = await self._enforcer.decide(question)
        if not permits(decision):
            raise _denial(told(decision), decision)
        return decision


class Guards:
    """Makes dependencies for one enforcer.

    Args:
        enforcer: decides.
        subject: who acts, where a mapping does not say.
    """

    def __init__(
        self, enforcer: AsyncEnforcer, *, subject: Callable[..., Who] | None = None
    ) -> None:
        self._enforcer = enforcer
        self._subject = subject

    def __call__(self, mapping: Mapping) -> Guard:
        """The dependency for this mapping.

        Raises:
            TypeError: it is none.
        """
        known: object = mapping
        if not isinstance(known, Guarded | Unguarded):
            raise TypeError("a route is mapped by `Guarded(...)` or `Unguarded(...)`")
        return Guard(self._enforcer, mapping, self._subject)


def unguarded_routes(application: fastapi.FastAPI) -> list[str]:
    """Paths of routes without a guard, those of the documentation among them.

    What is mounted under a path is somebody else's application: the path itself is named.
    """
    return sorted(set(_unguarded(application.routes)))


def _unguarded(routes: Sequence[Any]) -> Iterable[str]:
    # From some release on, routers that are included are seen through this only; before, copies of
    # their routes are in the list. What is of neither kind has no dependencies: it has no guard.
    each: Any = getattr(fastapi.routing, "iter_route_contexts", iter)
    for route in each(routes):
        dependant = getattr(route, "dependant", None)
        if dependant is None or not _has_guard(dependant):
            yield str(getattr(route, "path", route))


def _has_guard(dependant: Any) -> bool:
    return isinstance(dependant.call, Guard) or any(map(_has_guard, dependant.dependencies))


def _denial(outcome: Told, decision: Decision | None) -> fastapi.HTTPException:
    return fastapi.HTTPException(
        HTTP_STATUS[outcome], body_of(outcome, decision), headers_of(outcome)
    )
