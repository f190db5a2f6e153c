"""One campaign of the coverage-guided fuzzer: `python -m tests.fuzz.atheris_child TARGET CORPUS`.

Everything after that is libFuzzer's. A process of its own, because libFuzzer ends the
process that it runs in. `planted` is the twin: a fault that no blind search finds.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import atheris

from tests.fuzz.targets import TARGETS


def planted(data: bytes) -> None:
    """Fails at one of 2^48 beginnings; each byte of it is a branch of its own."""
    if len(data) < 6:
        return
    if data[0] != ord("p"):
        return
    if data[1] != ord("e"):
        return
    if data[2] != ord("r"):
        return
    if data[3] != ord("m"):
        return
    if data[4] != ord("i"):
        return
    if data[5] != ord("t"):
        return
    raise AssertionError("the planted fault")


def main() -> None:
    """Run until a promise is broken or the limits of the command line are reached."""
    name, corpus, *flags = sys.argv[1:]
    folder = Path(corpus)
    arguments = [sys.argv[0], *flags, str(folder)]
    if name == "planted":
        atheris.Setup(arguments, atheris.instrument_func(planted))
        atheris.Fuzz()
        return
    # What a target imports is instrumented as it is imported: nothing of pdp may be loaded yet.
    loaded = [module for module in sys.modules if module.startswith("pdp")]
    if loaded:
        sys.exit(f"atheris_child: `{loaded[0]}` was imported too early to be watched")
    with atheris.instrument_imports(include=["pdp", "pdp_client"]), ExitStack() as stack:
        running = stack.enter_context(TARGETS[name]())
        # It stays open, for as long as this name: libFuzzer does not come back.
        kept = stack.pop_all()
    for number, seed in enumerate(running.seeds):
        assert running.check(seed), f"seed {number} is not accepted"
        (folder / f"seed-{number}").write_bytes(seed)

    def once(data: bytes) -> None:
        running.check(data)

    atheris.Setup(arguments, once)
    with kept:
        atheris.Fuzz()


if __name__ == "__main__":
    main()
