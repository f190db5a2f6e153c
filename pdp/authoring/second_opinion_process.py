"""The child that holds cel-python's interpreter. Run as a script, not imported.

cel-python has no limits of its own, so it gets a process with some. Only its
InterpretedRunner: the compiled one mixes decisions of threads. The frames are
those of `pdp.authoring.framed_child`. Nothing of `pdp` is imported.

    ready     {"ready": true}, once, unasked
    request   {"source": text, "rows": [{"now": RFC 3339, "subject": {...}, ...}]}
    answer    {"values": [true, false or a text that says why there is none]}
"""

from __future__ import annotations

import json
import resource
import struct
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

import celpy
from celpy import celtypes
from celpy.adapter import json_to_cel

_LENGTH = struct.Struct(">I")
_REASON_CHARACTERS_MAX = 200


def answer(environment: celpy.Environment, request: dict[str, Any]) -> dict[str, list[Any]]:
    """Evaluate one expression on every row."""
    rows = request["rows"]
    try:
        program = environment.program(environment.compile(request["source"]))
    except Exception as error:  # noqa: BLE001 - whatever it is, there is no opinion
        return {"values": [_reason(error)] * len(rows)}
    return {"values": [_value(program, row) for row in rows]}


def _value(program: Any, row: Mapping[str, Any]) -> bool | str:
    try:
        given = {
            name: celtypes.TimestampType(value) if name == "now" else json_to_cel(value)
            for name, value in row.items()
        }
        found = program.evaluate(given)
    except Exception as error:  # noqa: BLE001 - raw errors of Python escape from it, too
        return _reason(error)
    if isinstance(found, bool | celtypes.BoolType):
        return bool(found)
    return f"not a truth value: {type(found).__name__}"


def _reason(error: Exception) -> str:
    words = " ".join(str(error.args[0] if error.args else error).split())
    return f"{type(error).__name__}: {words}"[:_REASON_CHARACTERS_MAX]


def _read(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise SystemExit(0)  # the parent is gone
    return data


def _write(message: Mapping[str, Any]) -> None:
    data = json.dumps(message).encode()
    sys.stdout.buffer.write(_LENGTH.pack(len(data)) + data)
    sys.stdout.buffer.flush()


def main(memory_bytes: int, cpu_s: int) -> None:
    """Answer requests until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    environment = celpy.Environment(runner_class=celpy.InterpretedRunner)
    _write({"ready": True})
    while True:
        (size,) = _LENGTH.unpack(_read(sys.stdin.buffer, _LENGTH.size))
        request = json.loads(_read(sys.stdin.buffer, size))
        # The limit counts the process's whole life, so it moves with each request.
        usage = resource.getrusage(resource.RUSAGE_SELF)
        used = int(usage.ru_utime + usage.ru_stime) + 1
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (used + cpu_s, hard))
        _write(answer(environment, request))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
