"""The commands of authors, in a process of their own; the fixture `pdp` runs them in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from tests.conftest import ROOT


@dataclass
class Done:
    """What a run of the command left."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


def real_process(*arguments: str) -> Done:
    """The same in a process of its own."""
    program = "import pdp.cli; pdp.cli.COMMANDS = ('check', 'test', 'schema'); pdp.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(ROOT)},
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
