"""`pdp dev` as its author meets it: a real process, real saves, the program that it prints."""

from __future__ import annotations

import os
import queue
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdp.authoring.throwaway import ThrowawayAuthority
from tests.conftest import ROOT
from tests.simulators.configurations import changed, good_tree, toml_text, write_files

PDP = Path(sys.executable).with_name("pdp")
SAMPLE = ROOT / "policies" / "expense-reports"
WAIT_S = 60.0
FIRST_PERMIT_S = 30.0
POLICY = """\
policy: notes
resource: note
rules:
  - id: everybody-reads
    effect: permit
    actions: [read]
    when: resource.properties.public
    justification: notes are public
"""
FORBIDDEN = POLICY.replace("effect: permit", "effect: deny").replace(
    "    justification: notes are public\n", ""
)
BROKEN = POLICY.replace("resource.properties.public", "resource.properties.public &&& true")
CALLERS = """\
kind: callers
callers:
  - id: spiffe://example.org/web
    resources: [note]
    actions: [read]
    subjects: {assert: [user]}
"""
TESTS = """\
kind: tests
now: 2026-09-15T10:00:00Z
caller: spiffe://example.org/web
tests:
  - name: a public note is read
    subject: {type: user, id: ana}
    action: read
    resource: {type: note, id: n-1, properties: {public: true}}
    expect: {effect: PERMIT}
"""


class Dev:
    """One `pdp dev`, and what it says."""

    def __init__(self, *arguments: str | Path, **variables: str) -> None:
        self.said: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self.process = subprocess.Popen(
            [PDP, "dev", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            # As from a terminal: Ctrl-C goes to the whole group, the CEL checker included.
            start_new_session=True,
            env={**os.environ, "NO_COLOR": "1", **variables},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._lines.put(line.rstrip("\n"))

    def until(self, pattern: str) -> str:
        """The next line in which the pattern is found."""
        ends = time.monotonic() + WAIT_S
        while True:
            try:
                line = self._lines.get(timeout=max(0.05, ends - time.monotonic()))
            except queue.Empty:
                message = f"no line with {pattern!r} in:\n" + "\n".join(self.said)
                raise AssertionError(message) from None
            self.said.append(line)
            if re.search(pattern, line):
                return line

    def program(self) -> Path:
        """Wait until it listens; the path of the program that it made."""
        line = self.until("^ask it: python ")
        self.until("^decisions follow")
        return Path(line.removeprefix("ask it: python "))

    def printed(self) -> str:
        """The program as it stands on the screen, to be copied from there."""
        text = "\n".join(self.said)
        return text[text.index("from pdp_client import") : text.index("decisions follow")]

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """As Ctrl-C does, or another signal; the exit code."""
        os.killpg(self.process.pid, number)
        code = self.process.wait(WAIT_S)
        self._reader.join(10)
        while not self._lines.empty():
            self.said.append(self._lines.get())
        return code

    def end(self) -> None:
        """For a test that failed."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self._reader.join(5)
            self.process.stdout.close()


def ask(program: Path) -> str:
    """Run a program; the line that it prints."""
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder of one policy, its callers and its tests."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "notes.yaml").write_text(POLICY)
    (folder / "callers.yaml").write_text(CALLERS)
    (folder / "notes_test.yaml").write_text(TESTS)
    return folder


@pytest.fixture
def start() -> Iterator[type[Dev]]:
    """Starts processes that are gone after the test."""
    started: list[Dev] = []

    class Tracked(Dev):
        def __init__(self, *arguments: str | Path, **variables: str) -> None:
            super().__init__(*arguments, **variables)
            started.append(self)

    yield Tracked
    for process in started:
        process.end()


def test_first_permit_from_one_command(start: type[Dev], tmp_path: Path) -> None:
    """One command, then the program it prints: PERMIT, in time, recorded, private, removed."""
    began = time.monotonic()
    # What would configure `pdp serve` says nothing here.
    dev = start(SAMPLE, PDP_LISTEN="0.0.0.0:1", PDP_TLS_TRUST_DOMAIN="example.org")
    program = dev.program()
    copied = tmp_path / "copied.py"
    copied.write_text(dev.printed())
    answer = ask(copied)
    elapsed_s = time.monotonic() - began
    assert answer.startswith("PERMIT RULE expense-"), answer
    assert elapsed_s < FIRST_PERMIT_S
    assert ask(program) == answer
    assert any(re.search(r"listening on 127\.0\.0\.1:\d+$", line) for line in dev.said)
    rule = re.escape(answer.split()[2])
    dev.until(
        rf"^\d\d:\d\d:\d\d\.\d{{3}}Z  PERMIT  RULE +expenses/frontend  user:\w+  \w+  "
        rf"expense_report:[\w-]+  {rule}  \d+ µs$"
    )
    folder = program.parent
    paths = [folder, *folder.rglob("*")]
    assert len(paths) > 30
    for path in paths:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.lstat().st_mode) == wanted, path
    assert dev.stop() == 0
    assert dev.said[-1] == "stopped; removed everything that was made"
    assert not folder.exists()
    assert not any("Traceback" in line for line in dev.said)


def test_saves_are_checked_served_and_tested(start: type[Dev], notes: Path) -> None:
    """Broken: shown in place, the old one answers on. Fixed: another answer. Tests: run again."""
    dev = start(notes)
    program = dev.program()
    assert any("serving revision 2; 1 test passed, 0 failed" in line for line in dev.said)
    assert ask(program) == "PERMIT RULE notes/everybody-reads"
    dev.until("PERMIT")

    (notes / "notes.yaml").write_text(BROKEN)
    dev.until(rf"^{re.escape(str(notes))}/notes\.yaml:7:\d+: error: ")
    dev.until(r"^    7 \|     when: resource\.properties\.public &&& true$")
    dev.until(r"^      \| +\^$")
    dev.until(r"1 problem: still serving revision 2 of \d\d:\d\d:\d\dZ; no test was run$")
    assert ask(program) == "PERMIT RULE notes/everybody-reads"

    (notes / "notes.yaml").write_text(FORBIDDEN)
    dev.until(r"notes_test\.yaml:5:\d+: failed: a public note is read")
    dev.until(r"serving revision 3; 0 tests passed, 1 failed$")
    assert ask(program) == "DENY RULE notes/everybody-reads"
    dev.until(r"DENY    RULE +web  user:ana  read  note:n-1  notes/everybody-reads")

    # A new kind of document, which nobody uses: `pdp check` says so, and so does this.
    (notes / "words.yaml").write_text("kind: shared\nname: words\nvariables: {v: now == now}\n")
    dev.until(r"words\.yaml:2:7: warning\[PC204\]: no policy imports these shared definitions$")
    dev.until(r"1 shared document: serving revision 4; 0 tests passed, 1 failed$")
    (notes / "words.yaml").unlink()
    dev.until(r"serving revision 5; 0 tests passed, 1 failed$")

    (notes / "notes_test.yaml").write_text(TESTS.replace("PERMIT", "DENY"))
    dev.until(r"no change of policies, serving revision 5; 1 test passed, 0 failed$")
    (notes / "notes_test.yaml").write_text("kind: tests\n")
    dev.until(r"serving revision 5; 1 problem in tests, none was run$")
    # The sources were read, and nothing else.
    assert (notes / "callers.yaml").read_text() == CALLERS
    assert sorted(path.name for path in notes.iterdir()) == [
        "callers.yaml", "notes.yaml", "notes_test.yaml",
    ]  # fmt: skip
    assert dev.stop(signal.SIGTERM) == 0


def test_policies_that_are_broken_from_the_start_are_waited_for(
    start: type[Dev], notes: Path
) -> None:
    """Nothing is served until something compiles; then it is."""
    (notes / "notes.yaml").write_text(BROKEN)
    dev = start(notes)
    dev.until(r"1 problem: nothing is served yet; waiting for the next save")
    (notes / "notes.yaml").write_text(POLICY)
    assert ask(dev.program()).startswith("PERMIT")
    assert dev.stop(signal.SIGHUP) == 0


def test_stopped_while_it_waits_it_leaves_nothing(
    start: type[Dev], notes: Path, tmp_path: Path
) -> None:
    """SIGTERM before there is a server is a clean end too."""
    (notes / "notes.yaml").write_text(BROKEN)
    (tmp_path / "tmp").mkdir()
    dev = start(notes, TMPDIR=str(tmp_path / "tmp"))
    dev.until("waiting for the next save")
    assert list((tmp_path / "tmp").iterdir())
    assert dev.stop(signal.SIGTERM) == 0
    assert not list((tmp_path / "tmp").iterdir())


def test_kept_folder_keeps_paths_and_record(start: type[Dev], notes: Path, tmp_path: Path) -> None:
    """`--dir`: one command at a time, new keys each time, one chain of records, no guests."""
    folder = tmp_path / "kept"
    dev = start(notes, "--dir", folder)
    program = dev.program()
    assert program == folder / "ask.py"
    assert ask(program).startswith("PERMIT")
    second = start(notes, "--dir", folder)
    second.until("error: another `pdp dev` is at work")
    assert second.process.wait(WAIT_S) == 2
    assert dev.stop() == 0
    root = (folder / "keys" / "root.json").read_bytes()

    dev = start(notes, "--dir", folder)
    assert ask(dev.program()).startswith("PERMIT")
    assert dev.stop() == 0
    assert (folder / "keys" / "root.json").read_bytes() != root
    verified = subprocess.run(
        [PDP, "audit", "verify", folder / "record"], capture_output=True, text=True, check=False
    )
    # 3: all is well, and no head was given to hold the end against.
    assert verified.returncode == 3, verified.stdout + verified.stderr
    assert "dev/0/2" in verified.stdout
    assert (folder / ".gitignore").read_text() == "*\n"

    (folder / ".pdp-dev").unlink()
    third = start(notes, "--dir", folder)
    third.until("is not empty, and no `pdp dev` made it")
    assert third.process.wait(WAIT_S) == 2
    assert (folder / "keys" / "root.json").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--listen", "0.0.0.0:0"], "is not a loopback address"),
        (["--trust-domain", "other.example"], "no caller is of the trust domain `other.example`"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    arguments: list[str], says: str, start: type[Dev], notes: Path, tmp_path: Path
) -> None:
    """Above all an address that others could reach."""
    (tmp_path / "tmp").mkdir()
    dev = start(notes, *arguments, TMPDIR=str(tmp_path / "tmp"))
    dev.until(says)
    assert dev.process.wait(WAIT_S) == 2
    assert not list((tmp_path / "tmp").iterdir())


def test_pdp_serve_refuses_what_pdp_dev_makes(
    start: type[Dev], notes: Path, tmp_path: Path
) -> None:
    """Its root, its repository under another root, and its trust domain with its certificates."""
    folder = tmp_path / "kept"
    dev = start(notes, "--dir", folder)
    dev.program()
    assert dev.stop() == 0
    ours = tmp_path / "ours"
    ours.mkdir()
    write_files(ours, (folder / "keys" / "root.json").read_bytes())

    tree = good_tree()
    tree["bundle"] |= {"source": str(folder / "repository"), "revision_floor": 1}
    assert "is marked `development`" in _refused(ours, toml_text(tree), 2)

    tree = changed("tls.trust_domain", "dev.invalid")
    tree["bundle"] |= {"source": str(folder / "repository"), "revision_floor": 1}
    for key, name in (("certificate", "pdp.pem"), ("key", "pdp.key"), ("trust_bundle", "ca.pem")):
        tree["tls"][key] = str(folder / "certificates" / name)
    assert "`dev.invalid`, which is for development alone" in _refused(ours, toml_text(tree), 2)
    # A certificate of dev.invalid is nobody in another trust domain.
    tree["tls"]["trust_domain"] = ThrowawayAuthority("example.org").trust_domain
    assert "tls." in _refused(ours, toml_text(tree), 2)


def _refused(folder: Path, configuration: str, code: int) -> str:
    (folder / "pdp.toml").write_text(configuration)
    environment = {name: value for name, value in os.environ.items() if name[:4] != "PDP_"}
    done = subprocess.run(
        [PDP, "serve", "--config", folder / "pdp.toml"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert not done.stdout
    return " ".join(done.stderr.split())
