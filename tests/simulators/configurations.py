"""Configurations of `pdp serve`, good and bad, and the files they name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from pdp.authoring.throwaway import ThrowawayAuthority
from pdp.bundle import BundleSettings
from pdp.config.settings import Address, RecordSettings, Settings, TlsSettings
from tests.simulators.certificates import TRUST_DOMAIN

Tree = dict[str, Any]


def good_tree() -> Tree:
    """A configuration that starts, in a folder that `write_files` filled."""
    return {
        "instance": "pdp-1",
        "listen": "127.0.0.1:0",
        "tls": {
            "trust_domain": TRUST_DOMAIN,
            "certificate": "server.pem",
            "key": "server.key",
            "trust_bundle": "trust.pem",
        },
        "bundle": {"source": "repository", "root": "root.json", "state_folder": "state"},
        "record": {"folder": "spool"},
    }


def write_files(folder: Path, trusted_root: bytes = b"{}") -> ThrowawayAuthority:
    """Certificate, key, trust bundle and root, as `good_tree` names them."""
    authority = ThrowawayAuthority(TRUST_DOMAIN)
    authority.issue("pdp", dns_names=["localhost"]).write(folder, "server")
    (folder / "trust.pem").write_bytes(authority.bundle_pem)
    (folder / "root.json").write_bytes(trusted_root)
    return authority


def changed(path: str, value: Any) -> Tree:
    """The good configuration with one setting changed."""
    found = good_tree()
    *parents, last = path.split(".")
    inner = found
    for parent in parents:
        inner = inner.setdefault(parent, {})
    inner[last] = value
    return found


def without(path: str) -> Tree:
    """The good configuration with one setting or section taken out."""
    found = good_tree()
    *parents, last = path.split(".")
    inner = found
    for parent in parents:
        inner = inner[parent]
    del inner[last]
    return found


def toml_text(tree: Tree) -> str:
    """TOML of a tree, every key quoted, every table inline."""
    return "".join(f"{_text(key)} = {_value(value)}\n" for key, value in tree.items())


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return repr(value)


def _text(text: str) -> str:
    # JSON's strings are TOML's, but for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def good_settings() -> Settings:
    """Settings of files that need not be there."""
    folder = Path("/var/lib/pdp")
    return Settings(
        instance="pdp-1",
        listen=Address("127.0.0.1", 0),
        tls=TlsSettings(TRUST_DOMAIN, folder / "pem", folder / "key", folder / "trust"),
        bundle=BundleSettings("repository", folder / "root.json", folder / "state"),
        record=RecordSettings(folder / "record"),
    )
