"""Keys: public halves from files, private halves through securesystemslib's signers.

A private key is used where it is (a file, an HSM, a KMS, Vault) and never kept:
`signer` opens it, the caller signs, and it is gone. Files are for a start and
for CI; a key that matters belongs behind one of the other URIs.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey

from pdp.bundle.memory import write_durably
from pdp.errors import ConfigurationError
from pdp.publishing.plan import Plan

FILE_SCHEME = CryptoSigner.SCHEME
_GROUP_OR_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class KeyUnavailableError(ConfigurationError):
    """A private key cannot be used here and now; others of its role may suffice."""


class Keyring:
    """The keys of a plan.

    Args:
        folder: where `NAME.pub` and, for keys in files, `NAME.pem` are.
        plan: which keys there are.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan
        self._public: dict[str, SSlibKey] = {}

    def make_missing(self) -> list[str]:
        """Make an Ed25519 key for every name that has none; return their names.

        Raises:
            ConfigurationError: the folder cannot be made or is open to others,
                or a key that is not a file has no public half here.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the folder of keys `{self.folder}` cannot be made: {error.strerror}"
            ) from None
        if stat.S_IMODE(self.folder.stat().st_mode) & _GROUP_OR_OTHERS:
            raise ConfigurationError(
                f"the folder of keys `{self.folder}` is open to others: chmod 700 {self.folder}"
            )
        made = []
        for name in self.plan.key_names:
            public, private = self._public_path(name), self.folder / f"{name}.pem"
            if public.exists():
                continue
            if name in self.plan.uris:
                raise ConfigurationError(
                    f"the key `{name}` is at `{self.plan.uris[name]}`, but there is no `{public}`: "
                    "put its public key there, in PEM"
                )
            if private.exists():
                raise ConfigurationError(
                    f"there is a private key `{private}` without its public half `{public}`: "
                    f"openssl pkey -in {private} -pubout -out {public}"
                )
            key = Ed25519PrivateKey.generate()
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            # The private half first: a public key without it could be published and never used.
            write_durably(private, pem, 0o600)
            pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            write_durably(public, pem, 0o600)
            made.append(name)
        return made

    def public(self, name: str) -> SSlibKey:
        """The public half of a key.

        Raises:
            ConfigurationError: it is absent or no public key, or another name has the same key.
        """
        if name in self._public:
            return self._public[name]
        path = self._public_path(name)
        try:
            key = SSlibKey.from_crypto(load_pem_public_key(path.read_bytes()))
        except OSError as error:
            raise ConfigurationError(
                f"the public key `{path}` cannot be read: {error.strerror}; docs/bundle.md, "
                "roles and keys, says how to make one"
            ) from None
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigurationError(f"`{path}` is not a public key in PEM: {error}") from None
        for other, known in self._public.items():
            if known.keyid == key.keyid:
                raise ConfigurationError(
                    f"the keys `{other}` and `{name}` are the same key: a threshold of two must "
                    "not be one person"
                )
        self._public[name] = key
        return key

    def by_keyid(self) -> dict[str, str]:
        """Key names by TUF key id: those of the plan, and any other `NAME.pub` in the folder.

        The others are keys that the plan no longer names; the old root's
        keys must still sign the next root.
        """
        for name in self.plan.key_names:
            self.public(name)
        for path in sorted(self.folder.glob("*.pub")):
            if path.stem not in self._public:
                self.public(path.stem)
        return {key.keyid: name for name, key in self._public.items()}

    def signer(self, name: str) -> Signer:
        """Open the private half.

        Raises:
            KeyUnavailableError: it is not there, is open to others, is not of
                the public half, or its signer is not installed or fails.
        """
        uri = self.plan.uris.get(name, f"{FILE_SCHEME}:{name}.pem")
        scheme, _, place = uri.partition(":")
        if scheme == FILE_SCHEME:
            path = self.folder / place
            _check_private_file(path)
            uri = f"{FILE_SCHEME}:{path.resolve()}"
            # securesystemslib takes the URI's path: the rest would silently name another file.
            if urlsplit(uri).path != str(path.resolve()):
                raise KeyUnavailableError(f"the path `{path}` cannot be written as a key URI")
        try:
            return Signer.from_priv_key_uri(uri, self.public(name))
        except ConfigurationError:
            raise
        except Exception as error:
            # Anything: signers reach for files, devices and networks, and say so in their docs.
            text = " ".join(str(error).split())[:200]
            raise KeyUnavailableError(f"`{uri}` cannot be used: {text}") from error

    def _public_path(self, name: str) -> Path:
        return self.folder / f"{name}.pub"


def _check_private_file(path: Path) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise KeyUnavailableError(f"`{path}`: {(error.strerror or '').lower()}") from None
    if mode & _GROUP_OR_OTHERS:
        raise KeyUnavailableError(f"`{path}` is open to others: chmod 600 {path}")
    if not os.access(path, os.R_OK):
        raise KeyUnavailableError(f"`{path}` cannot be read by this user")
