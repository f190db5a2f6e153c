"""The port of a PDP of several processes: taken once, then shared by its own workers only.

SO_REUSEPORT lets sockets of one user share a port, and the kernel spreads
connections over those that listen. So whoever runs a second PDP by mistake would
get a part of the callers, silently. The parent therefore first listens alone,
which the kernel grants to one process only, and only then opens the port to
sharing; its own socket never listens after that, and while it is open nobody
who asks for the port alone gets it.
"""

from __future__ import annotations

import socket
import sys
from dataclasses import replace
from typing import Any

from pdp.config.settings import Address
from pdp.errors import ConfigurationError


class HeldPort:
    """A port that this process holds and its children share. Use `take`.

    Attributes:
        address: with the port that was found, where 0 was asked for.
    """

    def __init__(self, held: socket.socket, address: Address) -> None:
        self._held = held
        self.address = address

    @classmethod
    def take(cls, address: Address, name: str = "listen") -> HeldPort:
        """Take a port alone, then open it to sharing.

        Args:
            address: where. Port 0 takes a free one.
            name: of the setting.

        Raises:
            ConfigurationError: somebody else has it, there is no such address,
                or this system cannot share ports so.
        """
        if not sys.platform.startswith("linux"):
            raise ConfigurationError("`workers`: more than one needs Linux: set 1")
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        try:
            found = socket.getaddrinfo(address.host, address.port, family, socket.SOCK_STREAM)
        except OSError as error:
            raise ConfigurationError(
                f"`{name}`: `{address.host}` is no address of this machine: {error.strerror}"
            ) from None
        try:
            return cls._take(found[0][4], family, address)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise ConfigurationError(
                f"`{name}`: cannot listen on `{address}`: {why}; stop what listens there, or "
                "choose another port"
            ) from None

    @classmethod
    def _take(cls, place: tuple[Any, ...], family: int, address: Address) -> HeldPort:
        with socket.socket(family, socket.SOCK_STREAM) as alone:
            # What a dead process left in TIME_WAIT is no reason to wait.
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(place)
            # The kernel lets one socket listen that does not share.
            alone.listen(1)
            address = replace(address, port=alone.getsockname()[1])
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held = socket.socket(family, socket.SOCK_STREAM)
            try:
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                held.bind((place[0], address.port, *place[2:]))
                # INVARIANT: from here on no bind without SO_REUSEPORT succeeds, also while no
                # worker listens: with SO_REUSEADDR on both sides one would.
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            except BaseException:
                held.close()
                raise
        return cls(held, address)

    def close(self) -> None:
        """Let others have it."""
        self._held.close()
