"""What is installed was locked, what is shipped is light, and nothing names this machine."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

LOCKS = ("client", "server", "authoring", "dev", "prove", "floor")
FLOOR_PYTHON = ROOT / ".venv-floor" / "bin" / "python"

# The text as the Apache Software Foundation publishes it.
APACHE_2_0_SHA256 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"

# Which distribution an import comes from, where the names differ.
DISTRIBUTIONS = {
    # Django's own, and no Django without it.
    "asgiref": "django",
    "cel_expr_python": "cel-expr-python",
    "celpy": "cel-python",
    "google": "protobuf",
    "grpc": "grpcio",
    "grpc_reflection": "grpcio-reflection",
    "grpc_status": "grpcio-status",
    "grpc_health": "grpcio-health-checking",
    "pydantic_settings": "pydantic-settings",
    "re2": "google-re2",
    "ruamel": "ruamel-yaml",
    # A namespace of several: the SDK brings the API, the exporter is named beside it.
    "opentelemetry": "opentelemetry-sdk",
}

# Which extra, beside the base install, a part of the tree may count on. First match wins.
# A file of the law or the office runs wherever the server or the author runs: both must have it.
PARTS = (
    # A web framework is the program's own; who imports the module for it has it. Tests have all.
    ("clients/python/pdp_client/enforcement/django.py", ("dev",)),
    ("clients/python/pdp_client/enforcement/fastapi.py", ("dev",)),
    ("clients/python/pdp_client/enforcement/flask.py", ("dev",)),
    ("clients/python/pdp_client/_agent.py", ("spiffe",)),
    ("clients/python/pdp_client/", ()),
    ("pdp/v1/", ()),
    ("pdp/wire.py", ()),
    ("pdp/wire_batch.py", ()),
    ("pdp/values.py", ()),
    ("pdp/model.py", ()),
    ("pdp/errors.py", ()),
    ("pdp/explanation.py", ()),
    ("pdp/explanation_codec.py", ()),
    ("pdp/cli/check.py", ("authoring",)),
    ("pdp/cli/test.py", ("authoring",)),
    ("pdp/cli/explain.py", ("authoring",)),
    ("pdp/cli/repl.py", ("authoring",)),
    ("pdp/cli/diff.py", ("authoring",)),
    ("pdp/cli/bundle.py", ("authoring",)),
    ("pdp/cli/failsafe.py", ("authoring",)),
    ("pdp/cli/__init__.py", ("server", "authoring")),
    ("pdp/cli/terminal.py", ("server", "authoring")),
    ("pdp/cli/", ("server",)),
    ("pdp/authoring/", ("authoring",)),
    ("pdp/publishing", ("authoring",)),
    ("pdp/impact/", ("authoring",)),
    ("pdp/failsafe/", ("authoring",)),
    ("pdp/value_json.py", ()),
    ("pdp/cel/", ("server", "authoring")),
    ("pdp/", ("server",)),
)


def _project() -> dict[str, list[Requirement]]:
    """Requirements by extra; the base install is ``."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"": table["dependencies"], **table["optional-dependencies"]}
    return {extra: [Requirement(line) for line in lines] for extra, lines in groups.items()}


def _locked(name: str) -> dict[str, tuple[str, list[str]]]:
    """Version and hashes by distribution, from one lock."""
    found: dict[str, tuple[str, list[str]]] = {}
    text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(
            r"([a-z0-9.-]+)==(\S+)((?:\s+--hash=sha256:[0-9a-f]{64})+)", line.strip()
        )
        assert match, f"requirements/{name}.txt: `{line}` is not a pin with hashes"
        found[canonicalize_name(match[1])] = (match[2], match[3].split())
    return found


def _tracked() -> list[Path]:
    """Files of the project, as the next commit would have them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_version_and_hashes(name: str) -> None:
    """A lock is nothing but exact versions with hashes: no index, no host, no path."""
    assert len(_locked(name)) >= 4


@pytest.mark.parametrize("extra", ["", "server", "authoring", "dev", "prove"])
def test_every_declared_dependency_is_locked_within_its_range(extra: str) -> None:
    """The lock of an extra holds all of the base install and of that extra, as declared."""
    project, locked = _project(), _locked(extra or "client")
    for requirement in [*project[""], *project[extra]]:
        version, _ = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), str(requirement)


def test_all_locks_agree_with_the_one_that_is_tested() -> None:
    """What the tests run with, dev, is what the other locks install, hash by hash."""
    tested = _locked("dev")
    for name in ("client", "server", "authoring"):
        assert _locked(name).items() <= tested.items(), name
    # Into the same environment; what is only there is the fuzzer.
    assert {name for name, pin in _locked("prove").items() if tested.get(name) != pin} == {
        "atheris"
    }


def test_client_lock_has_no_server_or_authoring_package() -> None:
    """The base install is five packages at most: what a service has to trust to ask a question."""
    heavy = {"cryptography", "tuf", "pydantic", "typer", "cel-expr-python", "ruamel-yaml"}
    locked = set(_locked("client"))
    assert not locked & heavy
    assert len(locked) <= 5, locked


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """Top-level names that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], node.lineno


def test_every_third_party_import_is_declared_by_the_extras_of_its_part() -> None:
    """Nothing works by accident of what another package or another extra pulled in."""
    project = _project()
    declared = {
        extra: {canonicalize_name(item.name) for item in [*project[""], *project[extra]]}
        for extra in project
    }
    missing = []
    for path in _tracked():
        name = path.relative_to(ROOT).as_posix()
        extras = next((extras for prefix, extras in PARTS if name.startswith(prefix)), None)
        if path.suffix != ".py" or extras is None:
            continue
        for module, line in _imports(path):
            if module in sys.stdlib_module_names or module in {"pdp", "pdp_client"}:
                continue
            distribution = canonicalize_name(DISTRIBUTIONS.get(module, module))
            missing += [
                f"{name}:{line} imports `{module}`, which `{extra or 'the base install'}` lacks"
                for extra in extras or ("",)
                if distribution not in declared[extra]
            ]
    assert missing == []


def test_licence_is_apache_2_0_to_the_letter() -> None:
    """LICENSE is the published text, and the metadata says the same."""
    text = (ROOT / "LICENSE").read_bytes()
    assert hashlib.sha256(text).hexdigest() == APACHE_2_0_SHA256
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"


def _licences(allowed: str) -> subprocess.CompletedProcess[str]:
    makefile = (ROOT / "Makefile").read_text()
    read = re.search(r"(?m)^LICENCES_READ := (.*)$", makefile)
    assert read
    ignored = ["portcullis", *read[1].split()]
    return subprocess.run(
        [
            *(sys.executable, "-m", "piplicenses", "--with-system", "--allow-only", allowed),
            *("--ignore-packages", *ignored, "--packages", *_locked("dev")),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _allowed_licences() -> str:
    """The list in the Makefile, as make expands it."""
    shown = subprocess.run(
        ["make", "-s", "--eval", "show-licences:\n\t@echo '$(LICENCES_ALLOWED)'", "show-licences"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if "MAKE" not in name},
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout.strip()


def test_every_installed_package_has_an_allowed_licence() -> None:
    """No dependency, of the workshop either, has a licence that was not read and listed."""
    allowed = _allowed_licences()
    assert "GPL" not in allowed.replace("MPL", "")
    result = _licences(allowed)
    assert result.returncode == 0, result.stderr


def test_every_installed_package_has_an_allowed_licence_twin_without_mit() -> None:
    """With `MIT` off the list the same check refuses: it does look."""
    kept = [name for name in _allowed_licences().split(";") if name.strip() != "MIT"]
    result = _licences(";".join(kept))
    assert result.returncode != 0
    assert "MIT" in result.stderr


def test_no_file_names_a_machine_or_a_registry() -> None:
    """The project builds anywhere: no home folder, no work tree, no package index in any file."""
    hosts = r"pypi\.org|pythonhosted\.org|registry\.npmjs|crates\.io|--index-url[ =]"
    paths = r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/[\w.]"
    pattern = re.compile(f"{hosts}|{paths}")
    found = []
    for path in _tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy of the tracked files alone."""
    source = tmp_path_factory.mktemp("source")
    for path in _tracked():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    out = tmp_path_factory.mktemp("wheel")
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(out)),
            str(source),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    (built,) = out.glob("*.whl")
    return built


def test_wheel_is_typed_licensed_and_holds_no_tests(wheel: Path) -> None:
    """The wheel has both packages, their type markers, the licence, and nothing of the workshop."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata_name = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(metadata_name).decode())
    packages = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert packages == {"pdp", "pdp_client"}
    assert {"pdp/py.typed", "pdp_client/py.typed", "pdp/v1/authorization_pb2.pyi"} <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("Provides-Extra") == ["server", "spiffe", "authoring", "dev", "prove"]


def test_base_install_imports_the_client_and_nothing_heavy(wheel: Path, tmp_path: Path) -> None:
    """The wheel with the three base dependencies, at their floors, is enough for `pdp_client`."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        "import sys, pdp_client, pdp; print(pdp_client.__file__);"
        "tops = {name.partition('.')[0] for name in sys.modules};"
        "print(sorted(tops & {'cel_expr_python', 'celpy', 'cryptography', 'pydantic', 're2',"
        "'ruamel', 'securesystemslib', 'tuf', 'typer', 'uvloop'}))"
    )
    result = subprocess.run(
        [FLOOR_PYTHON, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [str(tmp_path / "pdp_client" / "__init__.py"), "[]"]


def test_pdp_command_without_its_extra_says_what_to_install(wheel: Path, tmp_path: Path) -> None:
    """In a base install `pdp` is one line about what is missing, not a traceback."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    result = subprocess.run(
        [FLOOR_PYTHON, "-c", "from pdp.cli import main; main()"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert "portcullis[server]" in result.stderr
    assert "Traceback" not in result.stderr


def test_changelog_has_an_unreleased_part() -> None:
    """What changed since the last release is written down before there is one."""
    text = (ROOT / "CHANGELOG.md").read_text()
    unreleased = re.search(r"(?ms)^## Unreleased\n(.*?)(?:^## |\Z)", text)
    assert unreleased
    assert re.search(r"(?m)^- \S", unreleased[1])


def test_every_make_target_is_explained_by_help() -> None:
    """`make` alone names every target that can be asked for."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?m)^\.PHONY: (\w+)$", makefile))
    shown = subprocess.run(
        ["make"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if "MAKE" not in name},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert targets == set(re.findall(r"(?m)^  make (\w+) ", shown))


def test_ci_runs_the_demo_and_the_tests() -> None:
    """`.ci/run` can be executed, stops at the first failure, and runs what the README promises."""
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert [line for line in lines if line.startswith("make ")] == ["make demo", "make test"]
