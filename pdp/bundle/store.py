"""Where repository files come from: a directory, HTTP, or what was kept. Nothing here is trusted.

A store answers one question, "the bytes of this name", within a deadline and
without following anything that leads elsewhere. TUF decides what they are
worth, so plain HTTP is as good as any, and a proxy or a redirect is neither
needed nor followed.

`tuf.ngclient` bounds the gap between two bytes; a store that sends one byte
a second could so hold a poll for days. Here every single read has what is
left of the whole poll's time: `Deadline`.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
import stat
import threading
import time
from abc import abstractmethod
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    SlowRetrievalError,
)
from tuf.ngclient import FetcherInterface

import pdp
from pdp.bundle.settings import is_url

# Names inside a repository begin with this; the store puts its own place there.
STORE_URL = "store:"
_CHUNK_BYTES = 65_536
_NOT_FOUND = 404
# One poll must not spend all its time on one address of a host that has several.
_CONNECT_SECONDS_MAX = 3.0


class HostileStoreError(DownloadError):
    """The store tried to lead elsewhere: refused, not merely unreachable."""


class Deadline:
    """The end of one poll's fetching, by a clock that nobody sets."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def part(self, of: int) -> Deadline:
        """The end of one of so many parts of what is left.

        Raises:
            SlowRetrievalError: nothing is left.
        """
        return self if of == 1 else Deadline(self.left_s() / of)

    def left_s(self) -> float:
        """Seconds left.

        Raises:
            SlowRetrievalError: none.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise SlowRetrievalError(f"the store took more than {self.seconds:g} s in all")
        return left


class Store(FetcherInterface):
    """Names to bytes. Subclasses implement `chunks`.

    Args:
        deadline: of everything that is fetched from now on.

    Attributes:
        last: the name that was asked for last, for messages.
    """

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self.last = ""

    @contextmanager
    def share(self, of: int) -> Iterator[None]:
        """For a while, no more than this part of the time that is left: the rest is others'.

        Raises:
            SlowRetrievalError: nothing is left.
        """
        whole = self._deadline
        self._deadline = whole.part(of)
        try:
            yield
        finally:
            self._deadline = whole

    @abstractmethod
    def chunks(self, name: str) -> Generator[bytes]:
        """The bytes of a file.

        Args:
            name: relative, of plain segments; `metadata/1.root.json`.

        Raises:
            DownloadHTTPError: there is no such file (status 404 or 403).
            DownloadError: anything else.
        """

    def fetch(self, url: str) -> Generator[bytes]:
        """As the base class: `chunks` raises nothing but DownloadError."""
        return self._fetch(url)

    def _fetch(self, url: str) -> Generator[bytes]:
        self.last = _name_of(url)
        return self.chunks(self.last)

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """As the base class, in memory: a PDP's root file system may be read-only."""
        buffer = io.BytesIO()
        # Closed here and not by the garbage collector: a refused body's connection ends at once.
        with closing(self.fetch(url)) as chunks:
            for chunk in chunks:
                self._deadline.left_s()
                if buffer.tell() + len(chunk) > max_length:
                    raise DownloadLengthMismatchError(
                        f"`{_name_of(url)}` is longer than the {max_length} bytes that are allowed"
                    )
                buffer.write(chunk)
        buffer.seek(0)
        yield buffer


def _name_of(url: str) -> str:
    # tuf quotes a role's name once (`policies%2Fdefault`); in the store it is a path, so that
    # servers that refuse encoded slashes work.
    name = unquote(url.removeprefix(f"{STORE_URL}/"))
    segments = name.split("/")
    if any(part in {"", ".", ".."} or "\\" in part or "\0" in part for part in segments):
        raise HostileStoreError(f"the name {name[:200]!a} leads out of the repository")
    return name


class DirectoryStore(Store):
    """A repository in a directory. Links may lead around in it, not out of it."""

    def __init__(self, folder: Path, deadline: Deadline) -> None:
        super().__init__(deadline)
        self._folder = folder

    def chunks(self, name: str) -> Generator[bytes]:
        """As `Store.chunks`."""
        try:
            folder = self._folder.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise DownloadError(
                f"the directory `{self._folder}` cannot be read: {_words(error)}"
            ) from None
        path = folder / name
        try:
            real = path.resolve(strict=True)
            if not real.is_relative_to(folder):
                raise HostileStoreError(f"`{path}` is a link that leads out of the repository")
            # Not following the last link again, and not waiting for a pipe's other end.
            descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise DownloadHTTPError(f"there is no file `{path}`", _NOT_FOUND) from None
        except (OSError, RuntimeError) as error:
            raise DownloadError(f"`{path}` cannot be read: {_words(error)}") from None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise HostileStoreError(f"`{path}` is not a file")
            while chunk := os.read(descriptor, _CHUNK_BYTES):
                yield chunk
        except OSError as error:
            raise DownloadError(f"`{path}` cannot be read: {_words(error)}") from None
        finally:
            os.close(descriptor)


class KeptStore(Store):
    """What an earlier poll verified, served as a repository: it is verified again like any other.

    Only the timestamp is asked of it; `tuf` finds the rest in its own folder.
    """

    def __init__(self, files: Mapping[str, bytes], deadline: Deadline) -> None:
        super().__init__(deadline)
        self._files = files

    def chunks(self, name: str) -> Generator[bytes]:
        """As `Store.chunks`."""
        if name not in self._files:
            raise DownloadHTTPError(f"`{name}` was not kept", _NOT_FOUND)
        yield self._files[name]


class HttpStore(Store):
    """A repository behind HTTP or HTTPS, one connection per file.

    Args:
        url: of its folder.
        deadline: of everything that is fetched from now on.
        tls: for `https`, if other authorities count than the machine's.
    """

    def __init__(self, url: str, deadline: Deadline, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(deadline)
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._path = parts.path.rstrip("/")
        self._shown = f"{parts.scheme}://{parts.netloc}"

    def chunks(self, name: str) -> Generator[bytes]:
        """As `Store.chunks`."""
        connection = BoundedConnection(self._host, self._port, self._deadline, self._tls)
        path = f"{self._path}/{quote(name)}"
        try:
            connection.request("GET", path, headers=_HEADERS)
            with connection.getresponse() as response:
                self._check(response, path)
                yield from self._body(response)
        except TimeoutError:
            raise SlowRetrievalError(f"`{self._shown}{path}` did not answer in time") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DownloadError(f"`{self._shown}{path}` failed: {_words(error)}") from None
        finally:
            connection.close()

    def _check(self, response: http.client.HTTPResponse, path: str) -> None:
        if response.status != http.client.OK:
            hint = ": redirects are not followed" if 300 <= response.status < 400 else ""  # noqa: PLR2004 the class of status codes
            raise DownloadHTTPError(
                f"`{self._shown}{path}` answered {response.status}{hint}", response.status
            )
        # We asked for `identity`: a compressed answer could be a bomb.
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise DownloadError(f"`{self._shown}{path}` came compressed, which was not asked for")

    @staticmethod
    def _body(response: http.client.HTTPResponse) -> Generator[bytes]:
        expected, received = response.length, 0
        while chunk := response.read1(_CHUNK_BYTES):
            received += len(chunk)
            yield chunk
        # `read1` does not tell a cut connection from an end.
        if expected is not None and received != expected:
            raise DownloadError(f"the connection ended after {received} of {expected} bytes")


_HEADERS = {
    "User-Agent": f"portcullis/{pdp.__version__}",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


def open_store(source: str, deadline: Deadline) -> Store:
    """The store of a source that `check_source` has judged."""
    if is_url(source):
        return HttpStore(source, deadline)
    if source.startswith("file:"):
        return DirectoryStore(Path(unquote(urlsplit(source).path)), deadline)
    return DirectoryStore(Path(source), deadline)


class BoundedConnection(http.client.HTTPConnection):
    """HTTP whose every step, name resolution and TLS included, has only the time that is left."""

    def __init__(
        self, host: str, port: int, deadline: Deadline, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(host, port)
        self._deadline = deadline
        self._tls = tls

    def connect(self) -> None:
        """Connect to the first address that answers."""
        failure: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in _resolve(self.host, self.port, self._deadline):
            connected = socket.socket(family, kind, protocol)
            try:
                connected.settimeout(min(self._deadline.left_s(), _CONNECT_SECONDS_MAX))
                connected.connect(address)
                if self._tls is not None:
                    connected.settimeout(self._deadline.left_s())
                    connected = self._tls.wrap_socket(connected, server_hostname=self.host)
            except OSError as error:
                connected.close()
                failure = error
            except BaseException:
                connected.close()
                raise
            else:
                self.sock = _DeadlineSocket(connected, self._deadline)
                return
        raise failure


class _DeadlineSocket:
    """What `http.client` uses of a socket, each call bounded by the time that is left."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket = connected
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self._deadline.left_s())
        self._socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._socket, self._deadline))

    def close(self) -> None:
        self._socket.close()


class _DeadlineReader(io.RawIOBase):
    """The reading side of a socket."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        super().__init__()
        self._socket = connected
        self._raw = connected.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(self._deadline.left_s())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _resolve(host: str, port: int, deadline: Deadline) -> list[Any]:
    """`getaddrinfo` knows no time limit, so it runs beside us and may be left behind."""
    found: list[Any] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=look_up, name="bundle-resolver", daemon=True)
    thread.start()
    thread.join(deadline.left_s())
    if not found:
        raise TimeoutError(f"the name `{host}` was not resolved in time")
    if isinstance(found[0], UnicodeError):
        raise OSError(f"`{host}` is not a host name")
    if isinstance(found[0], OSError):
        raise found[0]
    return list(found[0])


def _words(error: Exception) -> str:
    """What went wrong, on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200]
