"""`pdp bundle` as a user runs it: what it prints, what it leaves behind, how it exits."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from pdp.cli import bundle
from pdp.cli.terminal import report
from tests.simulators.repository import serve_http

CALLER = "spiffe://example.org/web"
POLICY = """\
policy: documents
resource: document
owner: owner@example.org
rules:
  - id: everybody-reads
    effect: permit
    actions: [read]
    justification: it is public
"""


class Shell:
    """Runs commands in a folder, in this process, as `pdp.cli.main` does."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capture = capture
        self.app = typer.Typer(pretty_exceptions_enable=False)
        bundle.register(self.app)
        self.output = ""

    def run(self, *arguments: str) -> int:
        """The exit code; what was printed is in `output`, on one line."""
        code = 0
        try:
            self.app(["bundle", *arguments])
        except SystemExit as done:
            code = done.code if isinstance(done.code, int) else 0
        except Exception as error:  # noqa: BLE001 as the entry point does
            code = report(error)
        seen = self.capture.readouterr()
        self.output = " ".join((seen.out + seen.err).split())
        return code

    def files(self, name: str) -> dict[str, bytes]:
        """Everything below a folder."""
        return {
            str(path.relative_to(self.folder / name)): path.read_bytes()
            for path in sorted((self.folder / name).rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """In an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, capsys)


@pytest.fixture
def published(shell: Shell) -> Shell:
    """After init, build and publish."""
    assert shell.run("init", "--caller", CALLER) == 0
    (shell.folder / "policies" / "documents.yaml").write_text(POLICY)
    assert shell.run("build") == 0
    assert shell.run("publish", "bundle.tar") == 0
    return shell


def test_a_newcomers_first_five_commands(shell: Shell) -> None:
    """init, build, publish, verify, show, each telling what to do next."""
    assert shell.run("init", "--caller", CALLER) == 0
    assert "16 keys" in shell.output
    assert "pdp bundle build policies" in shell.output
    assert CALLER in (shell.folder / "policies" / "callers.yaml").read_text()
    assert shell.run("verify") == 1
    assert "no `policies/default/bundle.tar`: publish it" in shell.output
    (shell.folder / "policies" / "documents.yaml").write_text(POLICY)
    assert shell.run("build") == 0
    assert shell.run("verify", "bundle.tar", "--rebuild") == 0
    assert "every byte is the same" in shell.output
    assert shell.run("publish", "bundle.tar") == 0
    assert shell.run("verify", "--rebuild") == 0
    assert "a PDP would load this: revision 2" in shell.output
    assert shell.run("freshen") == 0
    assert shell.run("show") == 0
    assert "root 1 5 3 of 5" in shell.output


def test_first_caller_is_required(shell: Shell) -> None:
    """Without one nobody could ask; nothing is made before it is known."""
    for arguments in ([], ["--caller", ""], ["--caller", "web"], ["--caller", "spiffe://x"]):
        assert shell.run("init", *arguments) == 2
        assert list(shell.folder.iterdir()) == []
    assert "`--caller spiffe://x`: the SPIFFE ID has no path" in shell.output


def test_first_caller_is_asked_for_on_a_terminal(tmp_path: Path) -> None:
    """A person is asked; the answer is used."""
    leader, follower = pty.openpty()
    program = "import sys; sys.argv[0] = 'pdp'; from pdp.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "bundle", "init", "--small-team"],
        cwd=tmp_path,
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    os.close(follower)
    os.write(leader, f"{CALLER}\n".encode())
    output, _ = process.communicate(timeout=60)
    os.close(leader)
    assert process.returncode == 0, output
    assert b"SPIFFE ID of the first workload" in output
    assert CALLER in (tmp_path / "policies" / "callers.yaml").read_text()


def test_existing_caller_policy_is_left_alone(shell: Shell) -> None:
    """Also when `--caller` is given; and none is needed."""
    (shell.folder / "policies").mkdir()
    path = shell.folder / "policies" / "who.yaml"
    path.write_text(f"kind: callers\ncallers: [{{id: {CALLER}}}]\n")
    assert shell.run("init", "--caller", "spiffe://example.org/other", "--small-team") == 0
    assert "a caller policy already" in shell.output
    assert [p.name for p in (shell.folder / "policies").iterdir()] == ["who.yaml"]


def test_policies_with_problems_write_nothing(published: Shell) -> None:
    """Each problem with its place; exit 1; the old archive stays."""
    before = (published.folder / "bundle.tar").read_bytes()
    bad = POLICY.replace("justification: it is public", "justificaton: x")
    (published.folder / "policies" / "documents.yaml").write_text(bad)
    assert published.run("build") == 1
    assert "documents.yaml:8:5" in published.output
    assert "did you mean `justification`?" in published.output
    assert "nothing was written" in published.output
    assert (published.folder / "bundle.tar").read_bytes() == before


def test_same_time_same_archive(published: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--signed-at` and SOURCE_DATE_EPOCH make a build repeatable."""
    when = "2026-11-23T15:44:00Z"
    build = ["build", "--revision", "9", "-o"]
    assert published.run(*build, "a.tar", "--signed-at", when) == 0
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795448640")
    assert published.run(*build, "b.tar") == 0
    archives = [(published.folder / name).read_bytes() for name in ("a.tar", "b.tar")]
    assert archives[0] == archives[1]
    assert published.run("build", "--signed-at", "yesterday") == 2
    assert "`--signed-at` has the time 'yesterday': write it like" in published.output
    for wrong in ("yesterday", "-1", "1e9", "9" * 30):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        assert published.run("build") == 2
        assert "SOURCE_DATE_EPOCH is" in published.output


def test_building_needs_no_keys(shell: Shell) -> None:
    """A build machine knows the revision, or is told how to say it."""
    (shell.folder / "policies").mkdir()
    (shell.folder / "policies" / "documents.yaml").write_text(POLICY)
    (shell.folder / "policies" / "callers.yaml").write_text(
        f"kind: callers\ncallers: [{{id: {CALLER}, resources: ['*'], actions: ['*'],"
        " subjects: {assert: [user]}}]\n"
    )
    assert shell.run("build") == 2
    assert "or say it with `--revision`" in shell.output
    assert shell.run("build", "--revision", "1") == 0, shell.output


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["publish"], 2, "nothing to publish"),
        (["publish", "absent.tar"], 2, "`absent.tar`: no such file or directory"),
        (["publish", "bundle.tar"], 1, "is published already"),
        (["publish", "policies/documents.yaml"], 1, "the archive is damaged at byte 0"),
        (["publish", "--emergency", "bundle.tar"], 1, "the list of denials"),
        (["publish", "--renew", "foo"], 2, "there is no role `foo`"),
        (["publish", "--renew", "root", "-k", "nowhere"], 2, "`nowhere/root.json` cannot be read"),
        (["publish", "--renew", "root", "-r", "nowhere"], 2, "there is no repository in `nowhere`"),
        (["freshen", "--every", "3600"], 2, "not below the timestamp's life"),
        (["freshen", "--every", "-1"], 2, "--every"),
        (["verify", "nowhere"], 1, "the directory `nowhere` cannot be read"),
        (["verify", "http://127.0.0.1:9/"], 1, "Connection refused"),
        (["verify", "gopher://x"], 2, "has the scheme `gopher`"),
        (["verify", "--root", "absent.json"], 2, "`absent.json` cannot be read"),
        (["verify", "--root", "bundle.tar"], 2, "is not a valid root"),
        (["verify", "--revision-floor", "3"], 1, "below the floor"),
        (["verify", "policies/documents.yaml"], 1, "damaged"),
        (["show", "nowhere"], 2, "there is no repository in `nowhere`"),
        (["build", "nowhere"], 2, "`nowhere` is not a folder"),
        (["init", "--role", "root=9-of-1"], 2, "9 of 1"),
        (["init", "--caller", CALLER], 2, "there is a repository in `repository` already"),
        (["freshen", "extra"], 2, "extra"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_goes_wrong_is_said_and_nothing_is_lost(
    published: Shell, arguments: list[str], code: int, said: str
) -> None:
    """The exit code, the words, and a repository that is as it was."""
    before = published.files("repository"), published.files("keys"), published.files("policies")
    assert published.run(*arguments) == code, published.output
    assert said in published.output
    assert "Traceback" not in published.output
    after = published.files("repository"), published.files("keys"), published.files("policies")
    assert after == before


def test_emergency_denials_from_the_shell(published: Shell) -> None:
    """A list that is wrong is explained; the right one is published."""
    path = published.folder / "denials.json"
    path.write_text('{"version": 1, "callers": ["*"], "serials": [], "subjects": [], "jtis": []}')
    assert published.run("publish", "--emergency", "denials.json") == 1
    assert "denials name each workload in full" in published.output
    path.write_text(path.read_text().replace("*", "spiffe://example.org/billing"))
    assert published.run("publish", "--emergency", "denials.json") == 0
    assert published.run("verify") == 0


def test_verify_over_http_as_a_pdp_would(published: Shell) -> None:
    """The same repository behind a plain web server; and a frozen one."""
    files = published.files("repository")
    with serve_http(files) as server:
        assert published.run("verify", server.url) == 0
        server.files = {**files, "metadata/timestamp.json": b"{}"}
        assert published.run("verify", server.url) == 1
        assert "does not verify at `metadata/timestamp.json`" in published.output


def test_show_for_machines(published: Shell) -> None:
    """JSON with the revision and digest that answers carry."""
    assert published.run("show", "--json", "--root", "keys/root.json") == 0
    facts = json.loads(published.output)
    assert facts["revision"] == 2
    assert len(facts["digest"]) == 64
    assert 3500 < facts["fresh_for_s"] <= 3600
    assert facts["first_to_expire"] == "timestamp"
    assert facts["roles"][0]["name"] == "root"
    assert {target["path"] for target in facts["targets"]} == {
        "policies/default/bundle.tar",
        "emergency/denials.json",
    }


def test_heartbeat_is_kept_and_stops_cleanly(published: Shell) -> None:
    """A real process: a line for each signature, SIGTERM ends it with exit code 0."""
    program = "import sys; sys.argv[0] = 'pdp'; from pdp.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "bundle", "freshen", "--every", "1"],
        cwd=published.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    output = process.stdout

    def next_line_with(word: str) -> bool:
        return any(output.readline().startswith(word) for _ in range(20))

    assert next_line_with("freshened")
    assert next_line_with("freshened")
    # A failure in between is reported and does not end it.
    timestamp = published.folder / "keys" / "timestamp-1.pem"
    timestamp.chmod(0o644)
    assert next_line_with("not freshened, next try in 1 s: the role `timestamp` needs 1")
    timestamp.chmod(0o600)
    assert next_line_with("freshened")
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    rest, _ = process.communicate(timeout=20)
    assert time.monotonic() - begun < 10
    assert process.returncode == 0
    assert "Traceback" not in rest
    assert published.run("verify") == 0
