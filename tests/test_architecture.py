"""The rings, as a test: who may import what, and how long things may be.

Read from the source, not from running modules, so that an import inside a
function counts like one at the top.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Module prefixes of each ring, innermost first. The longest prefix wins.
RINGS: dict[str, tuple[str, ...]] = {
    "law": (
        "pdp",
        "pdp.values",
        "pdp.model",
        "pdp.errors",
        "pdp.engine",
        "pdp.actions",
        "pdp.candidates",
        "pdp.roles",
        "pdp.lease",
        "pdp.subject_token",
        "pdp.fetched",
        "pdp.parts",
        "pdp.boundary",
        "pdp.callers",
        "pdp.tenancy",
        "pdp.policy",
        "pdp.schema",
        "pdp.schema_check",
        "pdp.provided",
        "pdp.admission",
        "pdp.search_admission",
        "pdp.explanation",
        "pdp.explaining",
        "pdp.http_target",
        "pdp.http_request",
        "pdp.http_mapping",
        "pdp.cel",
    ),
    "wire format": (
        "pdp.v1",
        "pdp.value_codec",
        "pdp.value_json",
        "pdp.explanation_codec",
        "pdp.wire_fields",
    ),
    "agent": ("pdp.workload_api",),
    "office": (
        "pdp.config",
        "pdp.identity",
        "pdp.snapshot",
        "pdp.compiled",
        "pdp.compiled_schema",
        "pdp.compiled_mapping",
        "pdp.checked_expr",
        "pdp.archive",
        "pdp.bundle",
        "pdp.proof",
        "pdp.decision_point",
        "pdp.call",
        "pdp.clock",
        "pdp.fetching",
        "pdp.providers",
        "pdp.http_question",
        "pdp.batch",
        "pdp.search",
        "pdp.search_query",
        "pdp.page_token",
        "pdp.directory",
        "pdp.audit",
        "pdp.telemetry",
    ),
    "wire": ("pdp.wire", "pdp.wire_batch", "pdp.wire_answers", "pdp.interning"),
    "client": ("pdp_client",),
    "server": ("pdp.server",),
    "authoring": ("pdp.authoring",),
    "publishing": ("pdp.publishing",),
    "impact": ("pdp.impact",),
    "dev": ("pdp.dev",),
    "failsafe": ("pdp.failsafe",),
    "cli": ("pdp.cli",),
}

# The import table: a ring may import itself and these.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "law": frozenset(),
    "wire format": frozenset({"law"}),
    "agent": frozenset(),
    "office": frozenset({"law", "wire format", "agent"}),
    "wire": frozenset({"law", "wire format"}),
    "client": frozenset({"law", "wire format", "wire", "agent"}),
    "server": frozenset({"law", "wire format", "office", "wire"}),
    "authoring": frozenset({"law", "wire format", "office", "wire"}),
    "publishing": frozenset({"law", "wire format", "office", "authoring"}),
    "impact": frozenset({"law", "wire format", "office", "wire", "authoring", "publishing"}),
    "dev": frozenset({"law", "wire format", "office", "server", "authoring", "publishing"}),
    "failsafe": frozenset({"law", "wire format", "wire", "authoring"}),
    "cli": frozenset(
        {
            "agent",
            "law",
            "wire format",
            "office",
            "wire",
            "client",
            "server",
            "authoring",
            "publishing",
            "impact",
            "dev",
            "failsafe",
        }
    ),
}

# What the law may use of the world: the language, and RE2 because CEL's `matches` is RE2.
LAW_LIBRARIES = frozenset(
    {"__future__", "ast", "base64", "bisect", "collections", "dataclasses", "datetime", "decimal",
     "enum", "functools", "ipaddress", "itertools", "math", "operator", "re", "re2", "string",
     "struct", "types", "typing", "unicodedata", "zoneinfo"}
)  # fmt: skip
# Words that would bring a clock, a source of chance or a log into the law.
LAW_NAMES = frozenset({"now", "utcnow", "today", "time", "open", "print", "random", "getenv"})

# One exception, by name: the time zone rules are constants that ship as package data (`tzdata`),
# so that a decision does not depend on the machine's own files.
LAW_EXCEPTIONS = {"pdp.cel.moments": frozenset({"importlib", "open"})}

# What `import pdp_client` may load of ours (the client is in every service).
CLIENT_MODULES = frozenset(
    {
        "pdp",
        "pdp.values",
        "pdp.model",
        "pdp.errors",
        "pdp.subject_token",
        "pdp.fetched",
        "pdp.parts",
        "pdp.boundary",
        "pdp.value_codec",
        "pdp.wire",
        "pdp.wire_batch",
        "pdp.explanation",
        "pdp.explanation_codec",
    }
)

FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 400
ENGINE_LINES_MAX = 150
FORBIDDEN_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "base", "manager"})


def modules() -> Iterator[tuple[str, Path]]:
    """(module name, file) of everything we wrote, generated code aside."""
    for root, package in ((ROOT, "pdp"), (ROOT / "clients" / "python", "pdp_client")):
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            if not name.startswith("pdp.v1."):
                yield name.removesuffix(".__init__"), path


def ring_of(module: str) -> str:
    """The ring of a module of ours."""
    best = ("", "")
    for ring, prefixes in RINGS.items():
        for prefix in prefixes:
            # `pdp` alone is the package's own `__init__`, not everything below it.
            inside = module == prefix or (prefix != "pdp" and module.startswith(f"{prefix}."))
            if inside and len(prefix) > len(best[0]):
                best = (prefix, ring)
    if not best[1]:
        message = f"{module} belongs to no ring: put it into the table above"
        raise AssertionError(message)
    return best[1]


def imports(tree: ast.Module, module: str, *, package: bool) -> Iterator[tuple[str, int]]:
    """(imported module, line), wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".") if package else module.split(".")[:-1]
                parts = parts[: len(parts) - node.level + 1]
                base = ".".join([*parts, base] if base else parts)
            for alias in node.names:
                # `from pdp import engine` imports pdp.engine.
                yield f"{base}.{alias.name}" if base in {"pdp", "pdp.v1"} else base, node.lineno


def violations(module: str, source: str, *, package: bool = False) -> list[str]:
    """Imports of this module that the table does not allow."""
    ring = ring_of(module)
    found = []
    for name, line in imports(ast.parse(source), module, package=package):
        top = name.partition(".")[0]
        if top in {"pdp", "pdp_client"}:
            target = ring_of(name)
            if target != ring and target not in MAY_IMPORT[ring]:
                found.append(f"{module}:{line}: {ring} imports {target} ({name})")
        elif ring == "law" and top not in LAW_LIBRARIES | LAW_EXCEPTIONS.get(module, frozenset()):
            found.append(f"{module}:{line}: the law imports {name}")
    return found


def test_inner_rings_never_import_outer_ones() -> None:
    """Every import in the tree is allowed by the table."""
    found = [
        text
        for module, path in modules()
        for text in violations(module, path.read_text(), package=path.name == "__init__.py")
    ]
    assert found == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pdp.engine", "import logging"),
        ("pdp.engine", "def f():\n    from pdp.wire import request_from_pb"),
        ("pdp.policy", "from pdp import bundle"),
        ("pdp.server.process", "from pdp.publishing import publish"),
        ("pdp.server.process", "import pdp.authoring.checker"),
        ("pdp.bundle", "from pdp.wire import value_from_pb"),
        ("pdp_client.sync", "from pdp.decision_point import DecisionPoint"),
        ("pdp.cel.compile", "from google.protobuf import message"),
    ],
)
def test_import_table_twin_without_guard(module: str, source: str) -> None:
    """A module that breaks the table is caught."""
    assert violations(module, source)


def test_the_law_has_no_clock_no_chance_and_no_log() -> None:
    """No function of the law names a clock, a file, a random source or a printer."""
    found = []
    for module, path in modules():
        if ring_of(module) != "law":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in LAW_NAMES - LAW_EXCEPTIONS.get(module, frozenset()):
                found.append(f"{module}:{node.lineno}: calls {name}")
    assert found == []


def test_functions_are_under_70_lines() -> None:
    """A function fits on a screen."""
    found = []
    for module, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines >= FUNCTION_LINES_MAX:
                    found.append(f"{module}.{node.name}: {lines} lines")
    assert found == []


def test_modules_are_at_most_400_lines_and_the_law_150() -> None:
    """A module can be read in one sitting; the engine, twice."""
    sizes = {module: len(path.read_text().splitlines()) for module, path in modules()}
    assert {m: n for m, n in sizes.items() if n > MODULE_LINES_MAX} == {}
    assert sizes["pdp.engine"] < ENGINE_LINES_MAX


def test_no_module_is_a_grab_bag() -> None:
    """No module is called utils, helpers, common, base or manager."""
    assert [m for m, _ in modules() if FORBIDDEN_NAMES & set(m.split("."))] == []


def test_nothing_is_guarded_by_an_assert() -> None:
    """`python -O` removes asserts, so none may stand in what we ship."""
    found = [
        f"{module}:{node.lineno}"
        for module, path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert found == []


def test_nothing_evaluates_text() -> None:
    """No `eval` at all; `exec` and `compile` only where CEL becomes Python, on `ast` nodes."""
    found = []
    for module, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                allowed = module.startswith("pdp.cel.") and node.func.id in {"exec", "compile"}
                if node.func.id in {"eval", "exec", "compile"} and not allowed:
                    found.append(f"{module}:{node.lineno}: {node.func.id}")
    assert found == []


def test_importing_the_client_loads_no_server_code() -> None:
    """`import pdp_client` brings the wire and the client, and nothing else of ours."""
    program = "import sys, pdp_client; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {name for name in done.stdout.split() if name.partition(".")[0] == "pdp"}
    assert {m for m in loaded if not m.startswith("pdp.v1")} <= CLIENT_MODULES
