"""A Unix socket for a workload on the same machine, in a directory that only we may enter.

The directory is what keeps others from connecting, and from putting a socket of their own in its
place; the mutual TLS on it is what proves who connects, as on a port.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Final

import grpc

from pdp.errors import ConfigurationError
from pdp.identity.server_svid import ServerSvid
from pdp.server.handshake import Handshakes

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_PROBE_S: Final = 1.0


def bind_socket(server: grpc.aio.Server, path: Path, identity: ServerSvid) -> Handshakes:
    """Let a server listen there as well, with mutual TLS.

    Returns:
        What the socket shows. Of its own: credentials that gRPC asks for anew with each handshake
        are for one address.

    Raises:
        ConfigurationError: as `check_socket`, or it cannot be bound.
    """
    check_socket(path)
    handshakes = Handshakes(identity)
    try:
        server.add_secure_port(f"unix:{path}", handshakes.credentials)
    except RuntimeError:
        raise ConfigurationError(f"`socket`: `{path}` cannot be bound") from None
    return handshakes


def check_socket(path: Path) -> None:
    """Say why a socket cannot be made there.

    A socket of a process that is gone may be there: gRPC puts ours in its place.

    Raises:
        ConfigurationError: the directory is missing, is a link, is not ours alone; something else
            is there; or somebody listens there.
    """
    folder = path.parent
    try:
        found = os.lstat(folder)
    except OSError as error:
        raise ConfigurationError(f"`socket`: `{folder}`: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(f"`socket`: `{folder}` is no directory, but a link or a file")
    if found.st_uid != os.geteuid() or found.st_mode & _OTHERS:
        raise ConfigurationError(
            f"`socket`: `{folder}` must belong to the user of the PDP and be open to nobody else:"
            f" chmod 0700 {folder}"
        )
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"`socket`: `{path}`: {error.strerror}") from None
    if not stat.S_ISSOCK(there.st_mode):
        raise ConfigurationError(f"`socket`: `{path}` is there, and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return
        except OSError as error:
            raise ConfigurationError(f"`socket`: `{path}`: {error.strerror}") from None
    raise ConfigurationError(f"`socket`: somebody listens at `{path}`")
