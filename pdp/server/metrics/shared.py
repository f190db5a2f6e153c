"""Figures of several processes of one PDP: each writes its own, whoever is asked shows all.

They lie in the state folder, in a folder of their own. They decide nothing, so
they are neither synced nor believed beyond their shape.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from pathlib import Path
from typing import Final

from pdp.server.metrics.figures import FIGURES_BYTES_MAX, Figures, counted, from_json, to_json
from pdp.telemetry import Telemetry

# Between two writings of one process.
WRITE_S: Final = 1.0
# A process that has written nothing for so long is no more, or does not get its turn.
_GONE_S: Final = 10.0
_PROCESSES_MAX: Final = 128
_FILE: Final = re.compile(r"(parent|fetcher|worker-[1-9][0-9]{0,3})\.json", re.ASCII)


class SharedFigures:
    """The folder.

    Args:
        state_folder: of the PDP.
    """

    def __init__(self, state_folder: Path) -> None:
        self._folder = state_folder / "figures"

    def clear(self) -> None:
        """Make it, and forget what an earlier start left."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                path.unlink()

    def write(self, figures: Figures) -> None:
        """Replace this process's figures. What cannot be written is written the next time."""
        path = self._folder / f"{figures.process}.json"
        temporary = path.with_suffix(".new")
        with contextlib.suppress(OSError):
            temporary.write_bytes(to_json(figures))
            temporary.replace(path)

    async def keep(self, process: str, telemetry: Telemetry) -> None:
        """Write the counters of a process that has nothing else to show, until cancelled."""
        while True:
            await asyncio.to_thread(self.write, Figures(process, counted(telemetry)))
            await asyncio.sleep(WRITE_S)

    def others(self, process: str) -> list[Figures]:
        """What the other processes that are alive have written."""
        found: list[Figures] = []
        try:
            names = sorted(entry.name for entry in os.scandir(self._folder))
        except OSError:
            return found
        for name in names[:_PROCESSES_MAX]:
            match = _FILE.fullmatch(name)
            if match is None or match[1] == process:
                continue
            with contextlib.suppress(OSError):
                path = self._folder / name
                if time.time() - path.stat().st_mtime > _GONE_S:
                    continue
                with path.open("rb") as file:
                    figures = from_json(match[1], file.read(FIGURES_BYTES_MAX + 1))
                if figures is not None:
                    found.append(figures)
        return found
