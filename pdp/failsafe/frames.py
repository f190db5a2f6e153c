"""Peers that shake hands as the PDP would and then speak HTTP/2 wrongly, or something else.

Frames are RFC 9113's, written out: what is wrong here no library would send.
"""

from __future__ import annotations

import socket
import ssl
import struct
from pathlib import Path
from typing import Final

from pdp.failsafe.answers import varint
from pdp.failsafe.listeners import SilentAfterTls

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 0x0, 0x1, 0x3, 0x4, 0x7
_END_STREAM, _END_HEADERS = 0x1, 0x4
_CALM: Final = 0xB  # ENHANCE_YOUR_CALM
_STATUS_200: Final = b"\x88"
# Literal fields without indexing, RFC 7541, section 6.2.2; names 31 and 0 (a new name).
_CONTENT_TYPE: Final = b"\x0f\x10"


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack(">I", stream)
        + payload
    )


def _text(value: bytes) -> bytes:
    return varint(len(value)) + value


def _headers(content_type: bytes) -> bytes:
    block = _STATUS_200 + _CONTENT_TYPE + _text(content_type)
    return _frame(_HEADERS, _END_HEADERS, 1, block)


def _trailers(status: bytes) -> bytes:
    block = b"\x00" + _text(b"grpc-status") + _text(status)
    return _frame(_HEADERS, _END_HEADERS | _END_STREAM, 1, block)


_HELLO: Final = _frame(_SETTINGS, 0, 0)
_PAGE: Final = b'<html>{"effect": "PERMIT", "decision": true}</html>'

# What is said once a question came, by name.
SPEECHES: Final[dict[str, bytes]] = {
    "goaway": _frame(_GOAWAY, 0, 0, struct.pack(">II", 0, 0)),
    "goaway_calm": _frame(_GOAWAY, 0, 0, struct.pack(">II", 0, _CALM)),
    "rst_stream": _frame(_RST_STREAM, 0, 1, struct.pack(">I", 2)),
    "html_page": _headers(b"text/html") + _frame(_DATA, _END_STREAM, 1, _PAGE),
    "json_permit": _headers(b"application/json")
    + _frame(_DATA, _END_STREAM, 1, b'{"decision": true}'),
    "status_ok_without_message": _headers(b"application/grpc") + _trailers(b"0"),
    "status_that_is_no_number": _headers(b"application/grpc") + _trailers(b"permit"),
    "no_trailers": _headers(b"application/grpc") + _frame(_DATA, _END_STREAM, 1, b""),
    "frame_too_long": b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    "frame_on_stream_zero": _frame(_DATA, 0, 0, b"permit"),
    "http_1": b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n" + b'{"decision": true}',
    "noise": bytes(range(256)) * 16,
}


class Speaker(SilentAfterTls):
    """Completes the handshake, waits for a question, says one of `SPEECHES`, and is silent.

    Args:
        certificate, key, trust_bundle: of the PDP.
        speech: the name.
    """

    def __init__(self, certificate: Path, key: Path, trust_bundle: Path, speech: str) -> None:
        super().__init__(certificate, key, trust_bundle)
        self._speech = speech

    def talk(self, connection: ssl.SSLSocket) -> None:
        """Hello, wait for a question's headers, then the speech."""
        if self._speech not in {"http_1", "noise"}:
            connection.sendall(_HELLO)
        seen = 0
        while seen < _QUESTION_BYTES:
            data = connection.recv(65536)
            if not data:
                return
            seen += len(data)
        connection.sendall(SPEECHES[self._speech])
        self.hold(connection)


# The client's preface and settings are fewer; a question is more.
_QUESTION_BYTES: Final = 150


class ResetAfterTls(SilentAfterTls):
    """Completes the handshake, then resets the connection."""

    def talk(self, connection: ssl.SSLSocket) -> None:
        """No word: an RST."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
