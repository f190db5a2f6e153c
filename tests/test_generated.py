"""The generated code is what `make proto` writes, and runs on the oldest supported runtime."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

GENERATED = ROOT / "pdp" / "v1"
FLOOR_PYTHON = ROOT / ".venv-floor" / "bin" / "python"


def _make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run make as a person would, not as a part of the make that runs the tests."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    }
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def _texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*_pb2*.py*")}


@pytest.fixture(scope="module")
def regenerated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which `make proto` has just written."""
    folder = tmp_path_factory.mktemp("generated")
    result = _make("proto", f"OUT={folder}")
    assert result.returncode == 0, result.stderr
    return folder


def test_regenerating_changes_nothing(regenerated: Path) -> None:
    """What is checked in is, byte for byte, what the generator writes; no file more or less."""
    fresh, kept = _texts(regenerated / "pdp" / "v1"), _texts(GENERATED)
    assert set(fresh) == set(kept)
    assert {name for name in fresh if fresh[name] != kept[name]} == set()


def test_regenerating_changes_nothing_twin_with_an_edited_proto(tmp_path: Path) -> None:
    """The comparison above would see a field that was added without regenerating."""
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    edited = tmp_path / "proto" / "pdp" / "v1" / "audit.proto"
    edited.write_text(edited.read_text() + "\n// Added.\nmessage Added {}\n")
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    (tmp_path / ".venv-floor").symlink_to(ROOT / ".venv-floor")
    out = tmp_path / "out"
    out.mkdir()
    result = _make("proto", f"OUT={out}", "-o", ".venv-floor/.installed", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    fresh, kept = _texts(out / "pdp" / "v1"), _texts(GENERATED)
    assert {name for name in fresh if fresh[name] != kept[name]} >= {"audit_pb2.py"}


def test_only_a_file_with_a_service_has_a_stub() -> None:
    """An empty `_grpc` file would make every importer of a message pay for grpc."""
    assert [path.name for path in GENERATED.glob("*_grpc.py")] == ["authorization_pb2_grpc.py"]


def test_generated_code_is_made_with_the_oldest_supported_release(regenerated: Path) -> None:
    """The floors of pyproject.toml, of floor.in and of the generated code are the same."""
    floors = dict(re.findall(r"(?m)^([a-z-]+)==([0-9.]+)$", _read("requirements/floor.in")))
    project = dict(re.findall(r'"([a-z-]+)>=([0-9.]+)"', _read("pyproject.toml")))
    for name in ("grpcio", "protobuf", "tenacity"):
        assert floors[name] == project[name], name
    assert floors["grpcio-tools"] == floors["grpcio"]
    stub = (GENERATED / "authorization_pb2_grpc.py").read_text()
    assert f"GRPC_GENERATED_VERSION = '{floors['grpcio']}'" in stub
    message = (GENERATED / "authorization_pb2.py").read_text()
    assert f"# Protobuf Python Version: {floors['protobuf']}\n" in message


def test_client_imports_on_the_oldest_supported_release(regenerated: Path) -> None:
    """The base install at its floors imports the client, the stub and every message."""
    program = (
        "import sys; sys.path[:0] = ['.', 'clients/python'];"
        "import pdp_client, pdp.wire, pdp.v1.authorization_pb2_grpc, pdp.v1.audit_pb2,"
        "pdp.v1.bundle_pb2, pdp.v1.checked_pb2; import grpc; print(grpc.__version__)"
    )
    result = subprocess.run(
        [FLOOR_PYTHON, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert f"grpcio=={result.stdout.strip()}" in _read("requirements/floor.in").split()


def _read(path: str) -> str:
    return (ROOT / path).read_text()
