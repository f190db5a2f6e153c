"""What a caller brings back to have the next page: opaque, bounded, and of no use elsewhere.

A token is sealed with AES-256-GCM. It holds the name after which the search goes on, which
may be one that the caller may not know, and when it ends. What it is for, which is who
asked what, of which tenant, is not in it but authenticated with it: by somebody else, or
with another question, it does not open.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pdp.errors import ConfigurationError, InvalidRequestError
from pdp.values import NANOS

KEY_BYTES_MIN: Final = 32
_KEY_BYTES_MAX: Final = 4_096
_PURPOSE: Final = b"portcullis page token 1\0"
_NONCE_BYTES: Final = 12
_TIME_BYTES: Final = 8
_LENGTH_BYTES: Final = 2
# Names are filled up to a multiple of this, so that the length of a token tells little.
_BLOCK_BYTES: Final = 128
TOKEN_CHARACTERS_MAX: Final = 2_048
_FIELD: Final = "page.token"


class PageTokens:
    """Seals and opens them.

    Args:
        secret: what the key is made of, shared by all instances that serve the same
            callers; None: a key of this process alone, and with it end its tokens.
        life_s: how long one is good for.
    """

    def __init__(self, secret: bytes | None, life_s: float) -> None:
        secret = os.urandom(KEY_BYTES_MIN) if secret is None else secret
        self._cipher = AESGCM(hashlib.sha256(_PURPOSE + secret).digest())
        self._life_ns = int(life_s * NANOS)

    def seal(self, after: str, purpose: bytes, now_ns: int) -> str:
        """A token.

        Args:
            after: the name after which to go on.
            purpose: what it is for.
            now_ns: nanoseconds since the epoch.
        """
        name = after.encode()
        padding = -len(name) % _BLOCK_BYTES
        content = b"".join(
            [
                (now_ns + self._life_ns).to_bytes(_TIME_BYTES, "big"),
                len(name).to_bytes(_LENGTH_BYTES, "big"),
                name + bytes(padding),
            ]
        )
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, content, purpose)
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def open(self, token: str, purpose: bytes, now_ns: int) -> str:
        """The name after which to go on.

        Raises:
            InvalidRequestError: it is none of ours, is for something else, or has ended.
        """
        wrong = InvalidRequestError(_FIELD, "is not one for this question: begin again")
        if len(token) > TOKEN_CHARACTERS_MAX or not token.isascii():
            raise wrong
        try:
            sealed = base64.b64decode(
                token + "=" * (-len(token) % 4), altchars=b"-_", validate=True
            )
            content = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], purpose)
        except (binascii.Error, InvalidTag, ValueError):
            raise wrong from None
        # INVARIANT: below this line it is one that `seal` made for this purpose.
        if now_ns >= int.from_bytes(content[:_TIME_BYTES], "big"):
            raise InvalidRequestError(_FIELD, "has ended: begin again")
        start = _TIME_BYTES + _LENGTH_BYTES
        length = int.from_bytes(content[_TIME_BYTES:start], "big")
        return content[start : start + length].decode()


def read_token_secret(path: Path) -> bytes:
    """What the key is made of.

    Raises:
        ConfigurationError: it cannot be read, or is so short that it could be guessed.
    """
    try:
        with path.open("rb") as file:
            secret = file.read(_KEY_BYTES_MAX)
    except OSError as error:
        raise ConfigurationError(
            f"`search.token_key`: `{path}` cannot be read: {error.strerror}"
        ) from None
    if len(secret) < KEY_BYTES_MIN:
        raise ConfigurationError(
            f"`search.token_key`: `{path}` has less than {KEY_BYTES_MIN} bytes: make it with "
            f"`openssl rand -out {path.name} 32`"
        )
    return secret
