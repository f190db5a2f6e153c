"""The child that holds the official CEL checker. Run as a script, not imported.

cel-expr-python is C++ and meets text that people wrote, so it gets a process
of its own with limits, and the parent survives whatever happens here. The
protocol on standard input and output is one frame each way: four bytes of
length, then JSON. Nothing of `pdp` is imported.

    ready     {"ready": true}, once, unasked
    request   {"source": text, "variables": {name: signature}, "configuration": YAML,
               "container": name}
    answer    {"checked": base64 of the Any} or {"error": the checker's words}
"""

from __future__ import annotations

import base64
import functools
import json
import resource
import struct
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

from cel_expr_python import cel

_LENGTH = struct.Struct(">I")


def read_type(signature: str) -> Any:
    """`map(string, list(dyn))` as the checker's type.

    Raises:
        ValueError: not a signature.
    """
    kind, rest = _read_type(signature.replace(" ", ""))
    if rest:
        message = f"bad type `{signature}`"
        raise ValueError(message)
    return kind


def _read_type(text: str) -> tuple[Any, str]:
    stop = min((at for at in map(text.find, "(,)") if at >= 0), default=len(text))
    name, rest = text[:stop], text[stop:]
    parameters: list[Any] = []
    if rest.startswith("("):
        while rest[:1] in {"(", ","}:
            inner, rest = _read_type(rest[1:])
            parameters.append(inner)
        if not rest.startswith(")"):
            message = f"bad type `{text}`"
            raise ValueError(message)
        rest = rest[1:]
    return _make_type(name, parameters), rest


def _make_type(name: str, parameters: list[Any]) -> Any:
    plain = {
        "dyn": cel.Type.DYN,
        "null_type": cel.Type.NULL,
        "bool": cel.Type.BOOL,
        "int": cel.Type.INT,
        "uint": cel.Type.UINT,
        "double": cel.Type.DOUBLE,
        "string": cel.Type.STRING,
        "bytes": cel.Type.BYTES,
        "google.protobuf.Timestamp": cel.Type.TIMESTAMP,
        "google.protobuf.Duration": cel.Type.DURATION,
        "type": cel.Type.TYPE,
    }
    makers = {("list", 1): cel.Type.List, ("map", 2): cel.Type.Map, ("type", 1): cel.Type.Type}
    # A type of our own has a namespace, so that a misspelt `strng` is still an error.
    if name == "optional_type" or ("." in name and not name.startswith("google.")):
        return cel.Type.AbstractType(name, parameters)
    if not parameters and name in plain:
        return plain[name]
    if (name, len(parameters)) in makers:
        return makers[name, len(parameters)](*parameters)
    message = f"bad type `{name}`"
    raise ValueError(message)


@functools.lru_cache(maxsize=8)
def _read_configuration(text: str) -> Any:
    # Two thirds of the time an environment takes, and the same for every policy.
    return cel.NewEnvConfigFromYaml(text)


@functools.lru_cache(maxsize=32)
def _environment(configuration: str, container: str, variables: tuple[tuple[str, str], ...]) -> Any:
    return cel.NewEnv(
        config=_read_configuration(configuration),
        container=container,
        variables={name: read_type(kind) for name, kind in variables},
    )


def answer(request: dict[str, Any]) -> dict[str, str]:
    """Check one expression."""
    try:
        environment = _environment(
            request["configuration"],
            request["container"],
            tuple(sorted(request["variables"].items())),
        )
        checked = environment.compile(request["source"]).serialize()
    except (RuntimeError, ValueError, SystemError) as error:
        return {"error": str(error)}
    return {"checked": base64.b64encode(checked).decode("ascii")}


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
    _write({"ready": True})
    while True:
        (size,) = _LENGTH.unpack(_read(sys.stdin.buffer, _LENGTH.size))
        request = json.loads(_read(sys.stdin.buffer, size))
        # The limit counts the process's whole life, so it moves with each request.
        usage = resource.getrusage(resource.RUSAGE_SELF)
        used = int(usage.ru_utime + usage.ru_stime) + 1
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (used + cpu_s, hard))
        _write(answer(request))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
