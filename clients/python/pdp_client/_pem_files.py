"""The three PEM files that a client is made from, read as one, and read again when they change.

Whoever rotates them writes them one after the other, over the old ones or
beside them, and is never asked to say so. So what is read is judged, and used
only if all three are one: the key is the certificate's, the trust bundle holds
certificates, and nobody wrote while they were judged.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from pdp.errors import ConfigurationError

_TRIES: Final = 3

_Stamp = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, repr=False)
class Material:
    """What the files held at one moment. Not kept: it holds the private key."""

    trust_bundle: bytes
    certificate: bytes
    key: bytes

    def digest(self) -> bytes:
        """SHA-256 over all three."""
        parts = (self.trust_bundle, self.certificate, self.key)
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()

    def credentials(self) -> grpc.ChannelCredentials:
        """For mutual TLS."""
        return grpc.ssl_channel_credentials(
            root_certificates=self.trust_bundle,
            private_key=self.key,
            certificate_chain=self.certificate,
        )


class PemFiles:
    """Where the files are, and what they held last.

    Args:
        trust_bundle: authorities.
        certificate: the leaf and what it needs below the authority.
        key: of the leaf.
    """

    def __init__(self, trust_bundle: Path, certificate: Path, key: Path) -> None:
        self._paths = (trust_bundle, certificate, key)
        self._digest = b""
        # Set once the same content was found twice, at two looks: a write in
        # the same tick of the file system's clock would not change the stamp.
        self._stamp: _Stamp | None = None

    def changed(self) -> Material | None:
        """What is in the files, if it is not what was in them at the last call.

        Where nothing has changed, this is three calls of `stat`.

        Raises:
            ConfigurationError: the files cannot be used as they are now. The
                next call looks again.
        """
        stamp = self._stamp_now()
        if stamp is not None and stamp == self._stamp:
            return None
        material = self._read()
        digest = material.digest()
        if digest == self._digest:
            self._stamp = stamp
            return None
        self._digest, self._stamp = digest, None
        return material

    def close(self) -> None:
        """Nothing is held open."""

    def _stamp_now(self) -> _Stamp | None:
        try:
            # Links are followed: Kubernetes swaps one for a whole folder.
            stats = [path.stat() for path in self._paths]
        except OSError:
            return None
        return tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats)

    def _read(self) -> Material:
        """All three, judged.

        Python's TLS judges files, not bytes: so they are read before and after,
        and what is used is what was judged.
        """
        for _ in range(_TRIES):
            before = self._read_once()
            self._judge()
            if self._read_once() == before:
                return before
        paths = ", ".join(f"`{path}`" for path in self._paths)
        raise ConfigurationError(f"the files {paths} are being written: none of them is used yet")

    def _read_once(self) -> Material:
        return Material(*(_read(path) for path in self._paths))

    def _judge(self) -> None:
        """Refuse what gRPC would take, and then fail every call without saying why.

        And gRPC reads an empty trust bundle as "the authorities of the web".
        """
        trust_bundle, certificate, key = self._paths
        judge = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            judge.load_verify_locations(trust_bundle)
        except ssl.SSLError:
            raise ConfigurationError(
                f"the trust bundle `{trust_bundle}` holds no certificates in PEM form"
            ) from None
        except OSError as error:
            raise _unreadable(trust_bundle, error) from None
        try:
            # An encrypted key must not ask for its password on a terminal.
            judge.load_cert_chain(certificate, key, password=lambda: b"")
        except ssl.SSLError as error:
            problem = (
                "are not a pair"
                if error.reason == "KEY_VALUES_MISMATCH"
                else "are not a certificate and its unencrypted private key in PEM form"
            )
            raise ConfigurationError(
                f"the certificate `{certificate}` and the key `{key}` {problem}"
            ) from None
        except OSError as error:
            raise _unreadable(certificate, error) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"cannot read `{path}`: {error.strerror}")
