"""The folder of one `pdp dev`: keys, certificates, repository, state, record.

All that is in it is for its owner alone, mode 0700 and 0600. What is made anew
at each start is removed by name; a folder that is not ours is never touched.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pdp.errors import ConfigurationError

_MARKER: Final = ".pdp-dev"
# Version control must never see the keys.
_IGNORE: Final = ".gitignore"
_MADE_ANEW: Final = ("certificates", "keys", "repository", "state")
_GROUP_OR_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class DevelopmentFolder:
    """Where things are.

    Attributes:
        path: absolute.
        kept: whether it stays when the command ends.
    """

    path: Path
    kept: bool

    @property
    def certificates(self) -> Path:
        """Authority, server and callers, in PEM."""
        return self.path / "certificates"

    @property
    def keys(self) -> Path:
        """What the bundle is signed with, and the root."""
        return self.path / "keys"

    @property
    def repository(self) -> Path:
        """What the server reads."""
        return self.path / "repository"

    @property
    def state(self) -> Path:
        """What the server remembers."""
        return self.path / "state"

    @property
    def record(self) -> Path:
        """The spool; the one thing that a kept folder keeps."""
        return self.path / "record"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.path / "serve.log"

    @property
    def program(self) -> Path:
        """The first question, to be run."""
        return self.path / "ask.py"


@contextmanager
def development_folder(chosen: Path | None) -> Iterator[DevelopmentFolder]:
    """A folder for as long as the command runs.

    Args:
        chosen: a folder to keep, new, empty or of an earlier `pdp dev`; None
            means a temporary one, which is removed in the end.

    Raises:
        ConfigurationError: the folder is somebody else's, open to others, or in use.
    """
    if chosen is None:
        with tempfile.TemporaryDirectory(prefix="pdp-dev-") as name:
            yield DevelopmentFolder(Path(name).resolve(), kept=False)
        return
    folder = DevelopmentFolder(Path(os.path.abspath(chosen)), kept=True)  # noqa: PTH100 a link stays one
    _prepare(folder.path)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(folder.path / _MARKER, flags, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigurationError(
                f"another `pdp dev` is at work in `{chosen}`: stop it, or give another `--dir`"
            ) from None
        (folder.path / _IGNORE).write_text("*\n")
        for name in _MADE_ANEW:
            if (folder.path / name).exists():
                shutil.rmtree(folder.path / name)
        yield folder
    finally:
        os.close(lock)


def _prepare(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = path.lstat()
        names = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise ConfigurationError(f"`--dir {path}` cannot be used: {error.strerror}") from None
    if not stat.S_ISDIR(about.st_mode):
        raise ConfigurationError(f"`--dir {path}` is a link: name the folder itself")
    if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & _GROUP_OR_OTHERS:
        raise ConfigurationError(
            f"`--dir {path}` holds private keys and is open to others: chmod 700 {path}"
        )
    if names and _MARKER not in names:
        raise ConfigurationError(
            f"`--dir {path}` is not empty, and no `pdp dev` made it: name a new folder"
        )
