"""`pdp authorize`: the exit code is the decision; a question that cannot be asked is an error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from pdp.cli import authorize as command
from pdp.cli.authorize import parse_value
from pdp.cli.terminal import report
from pdp.values import INT64_MAX, INT64_MIN
from tests.conftest import ROOT
from tests.simulators.faults import FiringRange, refusing

# The command by itself, run as `pdp` would run it.
PROGRAM = "import sys; from tests.test_authorize_command import main; sys.exit(main(sys.argv[1:]))"


def main(arguments: list[str]) -> int:
    """`pdp authorize ...` without the other commands."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    command.register(app)
    try:
        app(["authorize", *arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    except Exception as error:  # noqa: BLE001 as `pdp` does
        return report(error)
    return 0


@pytest.fixture(scope="module")
def firing_range(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FiringRange]:
    """A scripted PDP, and the files of a client."""
    with FiringRange(tmp_path_factory.mktemp("range")) as made:
        yield made


def arguments(
    firing_range: FiringRange, action: str, *options: str, target: str | None = None
) -> list[str]:
    """Ask about alice and report 7."""
    files = firing_range.files()
    return [
        *("--target", target or firing_range.target(), "--timeout-ms", "5000"),
        *("--trust-bundle", str(files["trust_bundle"])),
        *("--certificate", str(files["certificate"]), "--key", str(files["key"])),
        *("--subject", "user:alice", "--action", action, "--resource", "report:urn:7"),
        *options,
    ]


def authorize(*question: Any, **where: Any) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments(*question, **where)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"TERM": "dumb"},
    )


def test_permit_is_exit_code_0(firing_range: FiringRange) -> None:
    """A permit: 0, and what a reader wants to know."""
    done = authorize(
        firing_range,
        "permit",
        "-p",
        "subject.department=eng",
        "-p",
        "resource.amount=12",
        "-c",
        "n=1",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("PERMIT (RULE)\n")
    for shown in ("simulated/permits", "simulator/0/1:1", "revision 1", "µs"):
        assert shown in done.stdout


def test_deny_is_exit_code_1(firing_range: FiringRange) -> None:
    """A denial of the PDP: 1."""
    done = authorize(firing_range, "deny")
    assert (done.returncode, done.stdout.split("\n")[0]) == (1, "DENY (RULE)")


def test_failure_is_a_denial_with_its_reason(firing_range: FiringRange) -> None:
    """No PDP: 1, and the reason in one line, once."""
    with refusing() as port:
        done = authorize(firing_range, "permit", target=f"localhost:{port}")
    assert (done.returncode, done.stdout.split("\n")[0]) == (1, "DENY (UNREACHABLE)")
    assert "Connection refused" in done.stdout
    assert "denied" not in done.stderr


def test_json_is_one_object(firing_range: FiringRange) -> None:
    """For machines: everything, with null for what is not there."""
    done = authorize(firing_range, "obliged", "--json", "--can-meet", "custom:watermark")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["effect"] == "PERMIT"
    assert found["obligations"] == [{"type": "custom", "id": "watermark", "properties": {}}]
    assert found["record"]["seq"] == 1
    assert found["reason"] is None
    assert found["microseconds"] > 0
    done = authorize(firing_range, "obliged", "--json")
    assert done.returncode == 1
    assert "can_meet" in json.loads(done.stdout)["reason"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-p", "subject.n=9223372036854775808"], "out of the range of int64"),
        (["-p", 'subject.n={"a": 1, "a": 2}'], "the key `a` twice"),
        (["-p", "subject.n=1", "-p", "subject.n=2"], "given twice"),
        (["-p", "caller.n=1"], "does not begin with"),
        (["-p", "subject"], "does not begin with"),
        (["-p", "subject.n"], "is not `name=value`"),
        (["-c", "=1"], "is not `name=value`"),
        (["-c", "when=2026-11-23"], "for a string, write '\"2026-11-23\"'"),
        (["-c", "n=1e999"], "out of the range of a double"),
        (["-c", 'n="\\ud800"'], "not valid Unicode"),
        (["-c", "n="], "is not JSON"),
        (["--can-meet", "watermark"], "is not `type:id`"),
        (["--subject", "alice"], "is not `type:id`"),
        (["--action", ""], "is empty"),
        (["--key", "nowhere.key"], "cannot read `nowhere.key`"),
        (["--target", "https://pdp"], "is a URL"),
        (["--timeout-ms", "0"], "timeout-ms"),
    ],
)
def test_a_question_that_cannot_be_asked_is_exit_code_2(
    firing_range: FiringRange, options: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Wrong use: 2, nothing on standard output, and a message that says what to do."""
    assert main(arguments(firing_range, "permit", *options)) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    assert message in " ".join(shown.err.split())
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("eng", "eng"),
        ("R&D team", "R&D team"),
        ("true", True),
        ("null", None),
        ("NaNo", "NaNo"),
        ("Infinitely", "Infinitely"),
        ("truest", "truest"),
        ("5", 5),
        ("-0", 0),
        ("5.0", 5.0),
        ("1e3", 1000.0),
        (str(INT64_MAX), INT64_MAX),
        (str(INT64_MIN), INT64_MIN),
        ('"5"', "5"),
        ('["a", {"b": [1, 2.5]}]', ["a", {"b": [1, 2.5]}]),
        ("é", "é"),
    ],
)
def test_values_are_json_or_a_word(text: str, value: object) -> None:
    """What is JSON is read as JSON, integers as int64; a plain word is a string."""
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    ["", " ", "007", "1_000", "0x10", "-", "-x", '"open', "[1,", "{", "NaN", "Infinity",
     "-Infinity", "[NaN]", "1" * 5000, "[" * 100_000, '{"a": {"b": 1, "b": 1}}', " word"],
)  # fmt: skip
def test_values_that_are_neither_are_refused(text: str) -> None:
    """Nothing is guessed at."""
    with pytest.raises(ValueError, match=r"is |has "):
        parse_value(text)


@given(st.text() | st.from_regex(r'[-\[\]{}",:0-9a-zA-Z.\\]*', fullmatch=True))
def test_any_text_is_a_value_or_refused(text: str) -> None:
    """Fuzz: a value that can be sent, or a ValueError, and nothing else."""
    try:
        value = parse_value(text)
    except ValueError:
        return
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
