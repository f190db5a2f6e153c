"""A checker process that breaks on demand: the real one, but for some words. Run as a script."""

from __future__ import annotations

import os
import runpy
import sys
import time
from pathlib import Path

# Run by path, as its parent does: no `pdp` is imported.
checker = runpy.run_path(
    str(Path(__file__).parents[2] / "pdp" / "authoring" / "checker_process.py")
)

real_answer = checker["answer"]


def answer(request: dict[str, object]) -> dict[str, str]:
    """The real answer, unless the expression says otherwise."""
    source = str(request["source"])
    if "crash" in source:
        os.abort()
    if "hang" in source:
        time.sleep(3_600)
    if "burn" in source:
        while True:
            pass
    if "fat" in source:
        return {"error": str(len(bytearray(1 << 40)))}
    if "garble" in source:
        sys.stdout.buffer.write(b"\x00\x00\x00\x05{nope")
        sys.stdout.buffer.flush()
    if "endless" in source:
        sys.stdout.buffer.write(b"\xff\xff\xff\xff")
        sys.stdout.buffer.flush()
    if "lie" in source:
        return {"checked": "AAAA"}
    found: dict[str, str] = real_answer(request)
    return found


checker["main"].__globals__["answer"] = answer
checker["main"](int(sys.argv[1]), int(sys.argv[2]))
