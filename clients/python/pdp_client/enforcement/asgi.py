"""Enforcement in front of an ASGI application: a table of routes, and nothing beside it.

```python
def report(call: Call) -> Resource:
    return Resource("report", call.path["id"])


application = GuardMiddleware(
    application,
    AsyncEnforcer(client),
    [
        Route("GET", "/reports/{id}", Guarded("read", report)),
        Route("GET", "/health", Unguarded("says only whether this process serves")),
    ],
    subject=bearer_subject("user"),
)
```

Functions of a mapping take a `Call`. A request that no route matches is denied, and so is one whose
path could be read in two ways: with an encoded slash, a dot segment, an empty segment, a control
character. Otherwise a router behind this one could find another resource than was asked about.
Methods match exactly: HEAD is not GET. The handshake of a WebSocket has the method `WEBSOCKET`.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from collections.abc import Mapping as Table
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from pdp.errors import ConfigurationError
from pdp.model import Decision
from pdp_client.enforcement._enforcer import AsyncEnforcer, permits
from pdp_client.enforcement._outcomes import (
    HTTP_STATUS,
    Told,
    body_of,
    headers_of,
    refusal,
    told,
)
from pdp_client.enforcement._subjects import (
    Guarded,
    Mapping,
    Unguarded,
    Who,
    bearer_of,
    question_of,
    subject_of_token,
)

_log: Final = logging.getLogger("pdp_client")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

WEBSOCKET: Final = "WEBSOCKET"
DECISION: Final = "pdp.decision"
_POLICY_VIOLATION: Final = 1008  # RFC 6455, section 7.4.1
_NAME: Final = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
# RFC 3986, section 3.3: what a segment may be made of, without percent signs.
_PLAIN: Final = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=:@]+")
_ENCODED: Final = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})+")


@dataclass(frozen=True, slots=True)
class Call:
    """What a mapping's functions see of a request.

    Attributes:
        path: what the names in the route's path matched, decoded.
        scope: ASGI's own.
    """

    path: Table[str, str]
    scope: Scope

    def headers(self, name: str) -> list[str]:
        """The values of every header of this name, in order."""
        wanted = name.lower().encode("latin-1")
        return [
            value.decode("latin-1")
            for key, value in self.scope.get("headers", ())
            if key.lower() == wanted
        ]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table.

    Attributes:
        method: as it is on the wire; `WEBSOCKET` for the handshake of one.
        path: segments, each a text or `{name}`, which matches one segment.
        mapping: what to ask.
    """

    method: str
    path: str
    mapping: Mapping


def bearer_subject(subject_type: str, id_claim: str = "sub") -> Callable[..., Who]:
    """Whoever the JWT in the header `Authorization` is about; the PDP verifies it."""

    def subject(call: Call) -> Who:
        return subject_of_token(bearer_of(call.headers("authorization")), subject_type, id_claim)

    return subject


class GuardMiddleware:
    """An ASGI application in front of another.

    Args:
        application: what is protected; its requests have the decision as `scope["pdp.decision"]`.
        enforcer: decides.
        routes: the table.
        subject: who acts, where a mapping does not say.

    Raises:
        ConfigurationError: a route's path is none, or two routes match the same requests.
    """

    def __init__(
        self,
        application: Application,
        enforcer: AsyncEnforcer,
        routes: Iterable[Route],
        *,
        subject: Callable[..., Who] | None = None,
    ) -> None:
        self._application = application
        self._enforcer = enforcer
        self._subject = subject
        self._routes = _Routes(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._application(scope, receive, send)
            return
        if kind not in {"http", "websocket"}:
            # A protocol that this does not know has no way to be told of a denial.
            raise RuntimeError("a connection of an unknown kind is not served")
        outcome = await self._decided(scope)
        if isinstance(outcome, Told):
            await _deny(scope, receive, send, outcome, scope.get(DECISION))
            return
        await self._application(scope, receive, send)

    async def _decided(self, scope: Scope) -> Told | None:
        """None: go on."""
        scope.pop(DECISION, None)
        method = WEBSOCKET if scope["type"] == "websocket" else scope["method"]
        found = self._routes.find(method, raw_path(scope))
        if found is None:
            _log.warning("a request that no route matches is denied")
            return Told.DENIED
        mapping, names = found
        if isinstance(mapping, Unguarded):
            return None
        try:
            question = question_of(mapping, self._subject, Call(names, scope))
        except Exception as error:  # noqa: BLE001 what cannot be asked is denied
            return refusal(error)
        decision = await self._enforcer.decide(question)
        scope[DECISION] = decision
        return None if permits(decision) else told(decision)


def raw_path(scope: Scope) -> bytes:
    """The path as it came, without the query."""
    raw: object = scope.get("raw_path")
    if isinstance(raw, bytes) and raw:
        return raw.partition(b"?")[0]
    # Servers may leave it out. Then what was encoded is gone, and a percent sign is a literal one.
    path: str = scope.get("path", "")
    return path.encode("utf-8", "replace").replace(b"%", b"%25")


class _Routes:
    """Segments to mappings; a literal segment goes before a name."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._rows: list[tuple[str, tuple[str | None, ...], tuple[str, ...], Mapping]] = []
        seen: set[tuple[str, tuple[str | None, ...]]] = set()
        for route in routes:
            mapping: object = route.mapping
            if not isinstance(mapping, Guarded | Unguarded):
                raise TypeError(f"`{route.path}` must be mapped by `Guarded` or `Unguarded`")
            shape, names = _parsed(route.path)
            if (route.method, shape) in seen:
                text = f"two routes match `{route.method} {route.path}`"
                raise ConfigurationError(text)
            seen.add((route.method, shape))
            self._rows.append((route.method, shape, names, route.mapping))
        # The same order as text before names, segment by segment.
        self._rows.sort(key=lambda row: [(part is None, part or "") for part in row[1]])

    def find(self, method: str, path: bytes) -> tuple[Mapping, dict[str, str]] | None:
        """The mapping, and what its names matched; None: no route, or a path to be doubted."""
        segments = _segments(path)
        if segments is None:
            return None
        for wanted, shape, names, mapping in self._rows:
            if wanted != method or len(shape) != len(segments):
                continue
            pairs = list(zip(shape, segments, strict=True))
            if all(part is None or part == segment for part, segment in pairs):
                values = (segment for part, segment in pairs if part is None)
                return mapping, dict(zip(names, values, strict=True))
        return None


def _parsed(path: str) -> tuple[tuple[str | None, ...], tuple[str, ...]]:
    if path == "/":
        return (), ()
    shape: list[str | None] = []
    names: list[str] = []
    for part in path.removeprefix("/").split("/"):
        found = _NAME.fullmatch(part)
        if found is not None:
            shape.append(None)
            names.append(found.group(1))
        elif _PLAIN.fullmatch(part.encode()) and part not in {".", ".."}:
            shape.append(part)
        else:
            raise ConfigurationError(f"`{path}` is no path of segments and `{{names}}`")
    if not path.startswith("/") or len(set(names)) != len(names):
        raise ConfigurationError(f"`{path}` does not begin with `/`, or has a name twice")
    return tuple(shape), tuple(names)


def _segments(path: bytes) -> list[str] | None:
    """Decoded segments; None: the path can be read in more than one way."""
    if path == b"/":
        return []
    if not path.startswith(b"/"):
        return None
    found: list[str] = []
    for raw in path[1:].split(b"/"):
        if _ENCODED.fullmatch(raw) is None:
            return None
        try:
            segment = unquote_to_bytes(raw).decode("utf-8")
        except UnicodeDecodeError:
            return None
        # What a router decodes again, or before it splits, must find nothing to split or to skip.
        if segment in {".", ".."} or any(
            character in "/\\%" or not character.isprintable() for character in segment
        ):
            return None
        found.append(segment)
    return found


async def _deny(
    scope: Scope, receive: Receive, send: Send, outcome: Told, decision: Decision | None
) -> None:
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        # Before it is accepted this is an answer of 403 to the handshake.
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": outcome.value})
        return
    body = json.dumps(body_of(outcome, decision)).encode()
    headers = {**headers_of(outcome), "Content-Type": "application/json"}
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": HTTP_STATUS[outcome], "headers": pairs})
    await send({"type": "http.response.body", "body": body})
