"""A provider behind HTTPS: one GET, one JSON object, everything bounded.

The host is the operator's and nothing that is asked can change it: ids are percent-encoded
into path and query, a segment that would climb is not asked, and no redirect is followed.
A deadline holds for the whole exchange, name resolution and TLS included, so that
a service that drips bytes is late like one that says nothing (docs/adr/0009).
"""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from tuf.api.exceptions import DownloadError, SlowRetrievalError

import pdp
from pdp.bundle.store import BoundedConnection, Deadline
from pdp.bundle.strict_json import StrictJsonError, parse_object
from pdp.errors import ConfigurationError
from pdp.fetched import FetchOutcome
from pdp.fetching import Asked
from pdp.providers.asking import ProviderError
from pdp.providers.settings import HttpSource

_CHUNK_BYTES: Final = 16_384
_TOKEN_BYTES_MAX: Final = 16_384
_JSON: Final = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
# The sender says that it will be different later, or that we are at fault; all others are wrong.
_DOWN: Final = frozenset({401, 403, 408, 425, 429})


class HttpProvider:
    """Asks one service.

    Raises:
        ConfigurationError: a file of certificates or a key cannot be used.
    """

    def __init__(self, settings: HttpSource) -> None:
        self._settings = settings
        parts = urlsplit(settings.url)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._target = parts.path + (f"?{parts.query}" if parts.query else "")
        self._tls = _context(settings)

    def ask(self, asked: Asked, seconds: float) -> Mapping[str, Any]:
        """As `pdp.providers.asking.Answering`."""
        target = self._filled(asked)
        deadline = Deadline(seconds)
        connection = BoundedConnection(self._host, self._port, deadline, self._tls)
        try:
            connection.request("GET", target, headers=self._headers())
            with connection.getresponse() as response:
                _check(response)
                data = self._body(response)
        except (TimeoutError, SlowRetrievalError):
            raise ProviderError(FetchOutcome.LATE, "no answer in time") from None
        except (OSError, DownloadError) as error:
            detail = getattr(error, "strerror", None) or type(error).__name__
            raise ProviderError(FetchOutcome.DOWN, str(detail)[:200]) from None
        except (http.client.HTTPException, ValueError) as error:
            raise ProviderError(FetchOutcome.WRONG, type(error).__name__) from None
        finally:
            connection.close()
        return answer_of(data, self._settings.answer_bytes_max)

    def close(self) -> None:
        """Nothing is kept open."""

    def _filled(self, asked: Asked) -> str:
        """Path and query.

        Raises:
            ProviderError: a segment would be `.` or `..`, which servers resolve.
        """
        places = {"id": asked.id, "type": asked.type, "tenant": asked.tenant}
        target = re.sub(r"\{(\w+)\}", lambda match: quote(places[match[1]], safe=""), self._target)
        path = target.partition("?")[0]
        if any(segment in {".", ".."} for segment in path.split("/")):
            raise ProviderError(FetchOutcome.UNKNOWN, "an id that would climb out of the path")
        return target

    def _headers(self) -> dict[str, str]:
        headers = {
            "User-Agent": f"portcullis/{pdp.__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        if self._settings.token_file is not None:
            headers["Authorization"] = f"Bearer {_token(self._settings.token_file)}"
        return headers

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        expected, found = response.length, bytearray()
        most = self._settings.answer_bytes_max
        if expected is not None and expected > most:
            raise ProviderError(FetchOutcome.WRONG, f"an answer of more than {most} bytes")
        while chunk := response.read1(_CHUNK_BYTES):
            found += chunk
            if len(found) > most:
                raise ProviderError(FetchOutcome.WRONG, f"an answer of more than {most} bytes")
        # `read1` does not tell a cut connection from an end.
        if expected is not None and len(found) != expected:
            raise ProviderError(FetchOutcome.DOWN, "the connection ended in the middle")
        return bytes(found)


def answer_of(data: bytes, bytes_max: int) -> Mapping[str, Any]:
    """The JSON object in an answer.

    Raises:
        ProviderError: it is none, or not one with one meaning.
    """
    try:
        return parse_object(data, bytes_max, fractions=True)
    except StrictJsonError as error:
        # Its words may quote a key or a number of the answer.
        raise ProviderError(FetchOutcome.WRONG, _first_words(error)) from None


def _check(response: http.client.HTTPResponse) -> None:
    status = response.status
    if status == http.client.NOT_FOUND:
        raise ProviderError(FetchOutcome.UNKNOWN, "status 404")
    if status != http.client.OK:
        down = status in _DOWN or status >= http.client.INTERNAL_SERVER_ERROR
        hint = ": redirects are not followed" if 300 <= status < 400 else ""  # noqa: PLR2004 the class of status codes
        raise ProviderError(
            FetchOutcome.DOWN if down else FetchOutcome.WRONG, f"status {status}{hint}"
        )
    # We asked for `identity`: a compressed answer could be a bomb.
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ProviderError(FetchOutcome.WRONG, "an answer that came compressed")
    if not _JSON.fullmatch(response.headers.get("Content-Type", "")):
        raise ProviderError(FetchOutcome.WRONG, "an answer that is not called JSON")


def _first_words(error: StrictJsonError) -> str:
    return "an answer that is not JSON with one meaning: it " + re.split(r"['\":`]", str(error))[0]


def _token(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(_TOKEN_BYTES_MAX + 1).decode("ascii", "replace").strip()
    except OSError as error:
        detail = f"`token_file` cannot be read: {error.strerror}"
        raise ProviderError(FetchOutcome.DOWN, detail) from None
    if len(text) > _TOKEN_BYTES_MAX or not _TOKEN.fullmatch(text):
        raise ProviderError(FetchOutcome.DOWN, "`token_file` holds no bearer token")
    return text


def _context(settings: HttpSource) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(settings.ca_bundle))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.key)
    except OSError as error:
        what = error.strerror or type(error).__name__
        raise ConfigurationError(
            f"`ca_bundle`, `certificate` or `key` cannot be used: {what}"
        ) from None
    return context
