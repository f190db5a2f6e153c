"""Everything that the README shows is so: each block of code in it is run here."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from docs.demo.scene import CALLER, POLICIES, ROOT, TRUST_DOMAIN, Scene, Server
from pdp.model import Cause

README = (ROOT / "README.md").read_text()
# What the README cannot know: where the PDP of this run is.
SHOWN_TARGET = "pdp.example.org:8443"
SHOWN_LISTEN = 'listen = "localhost:8443"'

# A permit has it as well.
CAUSES_NOT_SHOWN = {Cause.RULE}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of the README."""

    language: str
    text: str


BLOCKS = [Block(*found) for found in re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", README)]


def _only(language: str) -> str:
    (block,) = [block for block in BLOCKS if block.language == language]
    return block.text


def _commands() -> list[str]:
    """Lines of all shell blocks, in order."""
    shell = [block.text for block in BLOCKS if block.language == "shell"]
    return [line for text in shell for line in text.splitlines() if line]


def test_every_block_is_of_a_kind_that_is_run_here() -> None:
    """A block in a language that no test below runs would be an unproved promise."""
    assert {block.language for block in BLOCKS} == {"yaml", "python", "toml", "shell"}
    assert {line.split()[0] for line in _commands()} == {"make", "pdp"}


def test_make_targets_that_are_shown_exist() -> None:
    """`make demo` and `make test`, in this order, are what a newcomer is told; CI runs both."""
    shown = [line for line in _commands() if line.startswith("make ")]
    assert shown == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{line.split()[1]}: " in makefile for line in shown)


def test_extras_that_are_named_exist() -> None:
    """What the README tells people to install can be installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"pip install '\.\[([\w,]+)\]'", README)
    assert named
    assert set(",".join(named).split(",")) <= set(project["optional-dependencies"])


def test_every_page_is_named() -> None:
    """Whoever begins here finds each page of docs/ that is for users."""
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")}
    # How it is tested: for those who work on it, and tests/fuzz names it.
    assert pages - {"docs/fuzzing.md"} <= set(re.findall(r"\]\(([\w./-]+\.md)\)", README))


def test_table_of_failures_names_every_cause_of_a_denial() -> None:
    """Nobody meets a cause that the first page does not explain."""
    table = README.partition("## When things break")[2].partition("##")[0]
    shown = re.findall(r"(?m)\| (\w+) \|$", table)
    assert sorted(shown[1:]) == sorted(cause.name for cause in set(Cause) - CAUSES_NOT_SHOWN)


@pytest.fixture(scope="module")
def first_policy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scene, Server]]:
    """A PDP that serves the policy at the top of the README, and nothing else."""
    scene = Scene(tmp_path_factory.mktemp("first"))
    policies = scene.folder / "policies"
    policies.mkdir()
    (policies / "reports.yaml").write_text(_only("yaml"))
    scene.issue_certificates()
    (policies / "callers.yaml").write_text(
        f"kind: callers\ncallers:\n  - id: spiffe://{TRUST_DOMAIN}/{CALLER}\n"
        '    resources: [report]\n    actions: ["*"]\n    subjects: {assert: [user]}\n'
    )
    scene.publish_first(policies)
    # The names that the Python block uses.
    for shown, name in (("me.pem", "caller.pem"), ("me.key", "caller.key"), ("ca.pem", "ca.pem")):
        shutil.copy(scene.certificates / name, scene.folder / shown)
    with scene.serving(scene.repository) as server:
        yield scene, server


def _run_question(scene: Scene, target: str, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", text.replace(SHOWN_TARGET, target)],
        cwd=scene.folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_policy_that_is_shown_is_ten_lines_and_permits_what_is_asked(
    first_policy: tuple[Scene, Server],
) -> None:
    """The code at the top, given the policy at the top, prints what it says."""
    scene, server = first_policy
    assert len(_only("yaml").splitlines()) <= 10
    code = _only("python")
    assert len([line for line in code.splitlines() if line]) <= 6
    result = _run_question(scene, f"localhost:{server.port}", code)
    assert (result.stdout, result.stderr) == ("alice may update the report\n", "")


@pytest.mark.parametrize(
    "change",
    [
        ('"locked": False', '"locked": True'),
        ('"status": "draft"', '"status": "final"'),
        ('"user", "alice"', '"user", "bob"'),
        (', "locked": False', ""),
    ],
    ids=["locked", "not-a-draft", "another-author", "in-doubt"],
)
def test_policy_that_is_shown_denies_everything_else(
    first_policy: tuple[Scene, Server], change: tuple[str, str]
) -> None:
    """The same code about a report that the policy does not permit prints nothing."""
    scene, server = first_policy
    code = _only("python")
    assert change[0] in code
    result = _run_question(scene, f"localhost:{server.port}", code.replace(*change))
    assert (result.returncode, result.stdout) == (0, "")


def test_code_that_is_shown_denies_without_a_pdp(first_policy: tuple[Scene, Server]) -> None:
    """With nobody listening, the code at the top permits nothing and raises nothing."""
    scene, _ = first_policy
    # Port 1 is the one that nobody listens on.
    result = _run_question(scene, "localhost:1", _only("python"))
    assert (result.returncode, result.stdout) == (0, "")


def test_commands_that_are_shown_work_in_their_order(tmp_path: Path) -> None:
    """Check, test, build, sign, verify, serve, ask, audit: as shown, in an empty folder."""
    scene = Scene(tmp_path)
    shutil.copytree(POLICIES, tmp_path / "policies" / POLICIES.name)
    scene.issue_certificates()
    for name in ("ca.pem", "pdp.pem", "pdp.key"):
        shutil.copy(scene.certificates / name, tmp_path / name)
    toml = _only("toml")
    assert SHOWN_LISTEN in toml
    (tmp_path / "pdp.toml").write_text(toml.replace(SHOWN_LISTEN, 'listen = "localhost:0"'))
    commands = [line for line in _commands() if line.startswith("pdp ")]
    assert len(commands) >= 9
    server = None
    try:
        for line in commands:
            words = shlex.split(line)[1:]
            if words[-1] == "&":
                assert words[:-1] == ["serve", "--config", "pdp.toml"]
                server = scene.start(tmp_path / "pdp.toml")
            else:
                # Nothing anchors the end of a log that nobody kept an answer of.
                scene.pdp(*words, expect=3 if words[:2] == ["audit", "verify"] else 0)
    finally:
        if server:
            server.process.terminate()
            server.process.wait(timeout=20)
            if server.process.stdout:
                server.process.stdout.close()
    assert server is not None
