"""JSON Schemas of documents, for editors: completion, hover text, and a first look for mistakes.

They are package data beside this module and say in JSON Schema what the
readers say in Python; tests compare the two, key by key. They are no check:
`pdp check` reads documents with the readers alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType

# Kinds of documents, and what each holds.
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "policy": "who may do what to one type of resource",
        "shared": "roles and variables that several policies import",
        "callers": "which workload may ask what",
        "tests": "questions, and what they should be answered",
        "fixtures": "subjects, resources and contexts that tests name",
        "schema": "which attributes there are, and what they may be",
        "provider": "who says attributes that callers do not send",
        "http_mapping": "what an HTTP request asks, where a proxy asks about it",
    }
)


def schema_text(kind: str) -> str:
    """The JSON Schema of a kind of document, as it is shipped.

    Raises:
        KeyError: there is no such kind.
    """
    if kind not in KINDS:
        raise KeyError(kind)
    folder = resources.files("pdp.authoring") / "editor"
    return (folder / f"{kind}.schema.json").read_text(encoding="utf-8")
