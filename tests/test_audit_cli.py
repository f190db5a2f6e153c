"""`pdp audit` from the shell: exit codes, words a newcomer can act on, escapes, archiving."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from pdp.audit.archiving import archive
from pdp.audit.budget import SpoolLimits
from pdp.audit.disk import RealDisk
from pdp.audit.log import (
    TAG_DECISION,
    TAG_SUPPRESSED,
    Opened,
    PdpId,
    Sealer,
    head_text,
    open_record,
)
from pdp.audit.problems import Place
from pdp.audit.reading import Filter, as_dict, as_line, printable
from pdp.audit.segment import SegmentName
from pdp.audit.spool import Spool
from pdp.audit.survey import ARCHIVE_LOCK_NAME, INDEX_NAME, survey
from pdp.cli import audit
from pdp.cli.terminal import report
from pdp.errors import ConfigurationError, SpoolError
from pdp.model import RecordRef
from pdp.v1 import audit_pb2
from pdp.values import NANOS
from tests.conftest import ROOT
from tests.simulators.crashes import decision

SMALL = SpoolLimits(directory_bytes_max=1_000_000, segment_bytes_max=500)
# 2026-11-01T00:00:00Z
NOVEMBER_NS = 1_793_491_200 * NANOS


def pdp(*words: object) -> Result:
    """Run a command as `pdp` does, in this process."""
    app = typer.Typer(pretty_exceptions_enable=False)
    audit.register(app)
    result = CliRunner().invoke(app, ["audit", *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        assert isinstance(result.exception, Exception)
        result.exit_code = report(result.exception)
    return result


async def record(spool: Spool, entries: list[audit_pb2.DecisionRecord]) -> list[RecordRef]:
    """One after the other, a second apart."""
    return [
        await spool.append(entry, NOVEMBER_NS + number * NANOS)
        for number, entry in enumerate(entries)
    ]


def make(folder: Path, count: int = 12) -> list[RecordRef]:
    """A boot of permits and denials in small segments."""
    spool = Spool.open(folder, "pdp-1", limits=SMALL, clock_ns=lambda: NOVEMBER_NS)
    refs = asyncio.run(
        record(spool, [decision(number, permit=number % 3 != 0) for number in range(count)])
    )
    spool.close()
    return refs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A spool of one boot in several segments."""
    make(tmp_path / "spool")
    return tmp_path / "spool"


def flip(path: Path, at: int) -> None:
    """One bit."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


# verify


def test_verify_without_a_head_leaves_the_tail_unanchored(folder: Path) -> None:
    """Nothing wrong, nothing proved about the end: exit 3, and what to give."""
    result = pdp("verify", folder)
    assert result.exit_code == 3
    assert "tail unanchored" in result.output
    assert "--head" in result.output


def test_verify_with_the_last_head_holds(folder: Path) -> None:
    """The head of the last answer, and one of before: exit 0; how much is behind it is said."""
    refs = make(folder)
    result = pdp("verify", folder, "--head", head_text(refs[-1]))
    assert result.exit_code == 0
    assert f"the log holds up to the head {head_text(refs[-1])}" in result.output
    result = pdp("verify", folder, "--head", head_text(refs[4]), "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["anchored"]
    assert told["after_anchor"] == 7
    assert told["last"] == head_text(refs[-1])


def test_verify_finds_a_cut_tail_by_a_head(folder: Path) -> None:
    """The last record cut off looks like a torn write; a head finds it: exit 1."""
    refs = make(folder)
    last = max(folder.glob("*.seg"))
    os.truncate(last, last.stat().st_size - 10)
    assert pdp("verify", folder).exit_code == 3
    result = pdp("verify", folder, "--head", head_text(refs[-1]))
    assert result.exit_code == 1
    assert "its tail is cut" in result.output
    assert f"seq {refs[-1].seq}" in result.output


def test_verify_names_the_changed_record(folder: Path) -> None:
    """One bit: exit 1, with segment, offset and seq, for people and for machines."""
    name = sorted(folder.glob("*.seg"))[1]
    flip(name, 400)
    result = pdp("verify", folder)
    assert result.exit_code == 1
    assert name.name in result.output
    (problem,) = json.loads(pdp("verify", folder, "--json").stdout)["problems"]
    assert problem["kind"] == "changed"
    assert problem["segment"] == name.name
    assert problem["offset"] <= 400
    assert problem["seq"] > 1
    assert f"{problem['pdp_id']} seq {problem['seq']}" in result.output


def test_verify_works_while_the_pdp_writes(tmp_path: Path) -> None:
    """A record that is half written is neither damage nor missing; it is mentioned."""
    folder = tmp_path / "spool"
    spool = Spool.open(folder, "pdp-1")
    refs = asyncio.run(record(spool, [decision(1)]))
    segment = folder / str(SegmentName(1, 1))
    with segment.open("ab") as file:
        file.write(b"\x01\x00half a record")
    result = pdp("verify", folder, "--head", head_text(refs[0]))
    assert result.exit_code == 0
    assert "incomplete record (being written if the PDP runs" in result.output
    spool.close()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["verify", "{}/nowhere"], 2, ": no such file or directory"),
        (["verify", "{}"], 2, "no segments in"),
        (["show", "{}"], 2, "no segments in"),
        (["verify", "{}/spool", "--head", "pdp:1"], 2, "is not a head"),
        (["archive", "{}/nowhere", "{}/a"], 2, ": no such file or directory"),
        (["archive", "{}/spool", "{}/spool"], 2, "is the spool itself"),
        (["archive", "{}/spool", "{}/no/where"], 2, "does not exist: make it"),
    ],
)
def test_wrong_use_is_told_and_nothing_is_touched(
    folder: Path, words: list[str], code: int, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 and one line that says what to do."""
    before = sorted(path.name for path in folder.glob("*.seg"))
    result = pdp(*[word.format(folder.parent) for word in words])
    assert result.exit_code == code
    told = capfd.readouterr()
    assert says in result.output + told.err + told.out
    assert sorted(path.name for path in folder.glob("*.seg")) == before


# show


def test_show_filters_by_time_caller_effect_and_decision(folder: Path) -> None:
    """Each filter alone; a filter leaves the spool's own statements out."""
    lines = pdp("show", folder).output.splitlines()
    assert len(lines) == 13
    assert "spool boot" in lines[0]
    assert len(pdp("show", folder, "--effect", "deny").output.splitlines()) == 4
    assert len(pdp("show", folder, "--effect", "permit").output.splitlines()) == 8
    (line,) = pdp("show", folder, "--decision-id", "decision-5").output.splitlines()
    assert "PERMIT(RULE)" in line
    assert "decision-5" in line
    assert pdp("show", folder, "--caller", "spiffe://demo.example.org/other").output == ""
    since = "2026-11-01T00:00:10"
    assert len(pdp("show", folder, "--since", since).output.splitlines()) == 2
    assert pdp("show", folder, "--since", "2027-01-01").output == ""


def test_show_json_has_everything(folder: Path) -> None:
    """One object a line; hashes are the ones that heads name."""
    rows = [json.loads(line) for line in pdp("show", folder, "--json").stdout.splitlines()]
    assert [row["seq"] for row in rows] == list(range(1, 14))
    assert all(b["prev_hash"] == a["hash"] for a, b in itertools.pairwise(rows))
    assert rows[0]["spool_event"]["kind"] == "KIND_BOOT"
    assert rows[2]["decision"]["effect"] == "EFFECT_PERMIT"
    assert rows[2]["time"] == "2026-11-01T00:00:01Z"


def test_show_of_a_damaged_log_shows_the_rest_and_says_so(folder: Path) -> None:
    """What can be read is shown; that it is not all is a warning."""
    flip(sorted(folder.glob("*.seg"))[1], 400)
    result = pdp("show", folder)
    assert result.exit_code == 0
    assert "`pdp audit verify` names them" in result.output


def hostile(text: str) -> audit_pb2.DecisionRecord:
    """A record whose every text is that."""
    entry = decision(1)
    entry.decision_id = entry.action = entry.resource_type = entry.resource_id = text
    entry.subject.id = entry.caller.spiffe_id = text
    entry.rules.append(text)
    return entry


def opened(entry: audit_pb2.DecisionRecord) -> Opened:
    """As read back."""
    body = entry.SerializeToString()
    return open_record(Sealer(PdpId("pdp", 0, 1)).seal(1, bytes(32), 0, TAG_DECISION, body))


@given(st.text(max_size=60).filter(lambda text: text.isascii() or text.isprintable() or text))
def test_no_text_of_a_record_reaches_a_terminal_raw(text: str) -> None:
    """No escape sequence, no line break, no change of direction: one printable line."""
    try:
        entry = hostile(text)
    except (ValueError, UnicodeError):
        # protobuf refuses lone surrogates.
        return
    line = as_line(opened(entry))
    assert line.isprintable()
    for character in "\x1b\n\r\x9b\u202e\u2028\x07":
        assert character not in line
    told = json.dumps(as_dict(Place("x", 0), opened(entry)), ensure_ascii=True)
    assert told.isprintable()
    assert told.isascii()


def test_escapes_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without escaping, a subject's name clears the auditor's screen."""
    monkeypatch.setattr("pdp.audit.reading.printable", lambda text: text)
    assert "\x1b[2J" in as_line(opened(hostile("\x1b[2J")))
    assert printable("\x1b[2J") == "\\x1b[2J"


def test_rich_markup_in_a_record_is_text(tmp_path: Path) -> None:
    """Square brackets are shown, not obeyed."""
    spool = Spool.open(tmp_path / "spool", "pdp-1")
    asyncio.run(record(spool, [hostile("[red]x[/red] [link=http://example.org]y[/link]")]))
    spool.close()
    assert "[red]x[/red]" in pdp("show", tmp_path / "spool").output


def test_a_body_that_json_cannot_say_is_shown_as_bytes() -> None:
    """A time that no calendar has, in a record that someone made: no crash, the bytes."""
    body = audit_pb2.SuppressedDenials()
    body.since.seconds = 2**62
    record_bytes = Sealer(PdpId("pdp", 0, 1)).seal(
        1, bytes(32), 0, TAG_SUPPRESSED, body.SerializeToString()
    )
    shown = as_dict(Place("x", 0), open_record(record_bytes))["suppressed_denials"]
    assert set(shown) == {"unreadable", "base64"}
    assert "denials" in as_line(open_record(record_bytes))


@given(st.binary(max_size=200))
def test_any_decision_that_can_be_read_can_be_shown(data: bytes) -> None:
    """Whatever protobuf takes for a decision becomes a line and JSON."""
    sealed = Sealer(PdpId("pdp", 0, 1)).seal(1, bytes(32), 0, TAG_DECISION, data)
    try:
        found = open_record(sealed)
    except ValueError:
        return
    assert as_line(found).isprintable()
    json.dumps(as_dict(Place("x", 0), found))
    assert Filter(permit=True).takes(found) in {True, False}


def test_show_into_a_pipe_that_is_closed_ends_quietly(folder: Path) -> None:
    """`pdp audit show … | head -1` is no finding and no traceback."""
    program = "import sys; sys.argv[0] = 'pdp'; from pdp.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, "audit", "show", str(folder), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        told = process.stderr.read().decode()
    assert "Traceback" not in told
    assert "findings" not in told


# archive


def test_archive_moves_sealed_segments_and_the_log_goes_on(folder: Path, tmp_path: Path) -> None:
    """Copied, removed, chained: archive and spool verify together, the spool by itself too."""
    shelf = tmp_path / "archive"
    before = sorted(path.name for path in folder.glob("*.seg"))
    result = pdp("archive", folder, shelf, "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["segments"] == before[:-1]
    assert sorted(path.name for path in shelf.iterdir()) == before[:-1]
    assert [path.name for path in folder.glob("*.seg")] == before[-1:]
    refs = make(folder)
    head = head_text(refs[-1])
    assert pdp("verify", folder, shelf, "--head", head).exit_code == 0
    assert pdp("verify", shelf, folder, "--head", told["head"], "--head", head).exit_code == 0
    alone = pdp("verify", folder, "--head", head)
    assert alone.exit_code == 0
    assert f"begins behind {told['head']}" in alone.output
    assert pdp("archive", folder, shelf).exit_code == 0
    assert pdp("verify", folder, "--head", head).exit_code == 0
    whole = json.loads(pdp("verify", folder, shelf, "--head", head, "--json").stdout)
    assert whole["records"] == 26
    assert pdp("archive", folder, shelf).output.startswith("nothing to move")


def test_removed_is_not_archived(folder: Path, tmp_path: Path) -> None:
    """A segment that vanished from spool or archive is missed, index or not."""
    shelf = tmp_path / "archive"
    names = sorted(folder.glob("*.seg"))
    names[0].unlink()
    assert pdp("verify", folder).exit_code == 1
    assert pdp("archive", folder, shelf).exit_code == 1
    assert sorted(folder.glob("*.seg")) == names[1:]
    make(tmp_path / "other")
    assert pdp("archive", tmp_path / "other", shelf).exit_code == 0
    min(shelf.glob("*.seg")).unlink()
    assert pdp("verify", shelf, tmp_path / "other").exit_code == 1


def test_archive_twin_without_index(folder: Path, tmp_path: Path) -> None:
    """Without the index, archived and removed look the same: removed."""
    assert pdp("archive", folder, tmp_path / "archive").exit_code == 0
    assert pdp("verify", folder).exit_code == 3
    (folder / INDEX_NAME).unlink()
    assert pdp("verify", folder).exit_code == 1


def test_archive_refuses_damage_unless_told(folder: Path, tmp_path: Path) -> None:
    """Damage stops it before anything is removed; `--damaged` moves the evidence as it is."""
    shelf = tmp_path / "archive"
    name = sorted(folder.glob("*.seg"))[1]
    flip(name, 400)
    data = name.read_bytes()
    before = sorted(folder.glob("*.seg"))
    with pytest.raises(SpoolError, match="nothing was moved"):
        archive(folder, shelf, RealDisk())
    assert sorted(folder.glob("*.seg")) == before
    result = pdp("archive", folder, shelf, "--damaged")
    assert result.exit_code == 0
    assert "were moved as they are" in result.output
    assert (shelf / name.name).read_bytes() == data
    assert pdp("verify", folder, shelf).exit_code == 1


def test_archive_never_overwrites_another_log(folder: Path, tmp_path: Path) -> None:
    """Two PDPs and one archive folder: the second is refused, and nothing of it is removed."""
    shelf = tmp_path / "archive"
    spool = Spool.open(tmp_path / "other", "pdp-2", limits=SMALL)
    asyncio.run(record(spool, [decision(number) for number in range(20)]))
    spool.close()
    assert pdp("archive", tmp_path / "other", shelf).exit_code == 0
    kept = {path.name: path.read_bytes() for path in shelf.iterdir()}
    before = sorted(folder.glob("*.seg"))
    with pytest.raises(SpoolError, match="archive each PDP to a folder of its own"):
        archive(folder, shelf, RealDisk())
    assert {path.name: path.read_bytes() for path in shelf.iterdir()} == kept
    assert sorted(folder.glob("*.seg")) == before


def test_archive_goes_on_where_it_was_interrupted(folder: Path, tmp_path: Path) -> None:
    """A copy that is there already is compared, a half one is made again."""
    shelf = tmp_path / "archive"
    shelf.mkdir(mode=0o700)
    first, second, *_ = sorted(folder.glob("*.seg"))
    (shelf / first.name).write_bytes(first.read_bytes())
    (shelf / f"{second.name}.partial").write_bytes(b"half")
    assert pdp("archive", folder, shelf).exit_code == 0
    assert not list(shelf.glob("*.partial"))
    assert survey([folder, shelf], RealDisk()).problems.found == []


def test_archive_does_not_take_the_segment_in_use(tmp_path: Path) -> None:
    """With the PDP running it takes the sealed ones; the PDP records on."""
    folder, shelf = tmp_path / "spool", tmp_path / "archive"
    spool = Spool.open(folder, "pdp-1", limits=SMALL)

    async def story() -> list[RecordRef]:
        refs = await record(spool, [decision(number) for number in range(30)])
        done = await asyncio.to_thread(archive, folder, shelf, RealDisk())
        assert done.segments
        return refs + await record(spool, [decision(number) for number in range(30)])

    refs = asyncio.run(story())
    spool.close()
    found = survey([folder, shelf], RealDisk(), heads=refs)
    assert found.problems.found == []
    assert found.records == 61


def test_two_archivings_do_not_run_at_once(folder: Path, tmp_path: Path) -> None:
    """The second is told to wait."""
    lock = RealDisk().lock(folder / ARCHIVE_LOCK_NAME)
    assert lock is not None
    with pytest.raises(ConfigurationError, match="is being archived by another process"):
        archive(folder, tmp_path / "archive", RealDisk())
    lock.release()
    archive(folder, tmp_path / "archive", RealDisk())


def test_help_teaches_with_examples() -> None:
    """Each command shows one that works as it stands."""
    for command in ("verify", "show", "archive"):
        assert f"pdp audit {command} /var/lib/pdp/spool" in pdp(command, "--help").output


def test_verifying_a_long_log_reports_progress(tmp_path: Path) -> None:
    """Bytes done and in all, rising, up to the end."""
    folder = tmp_path / "spool"
    spool = Spool.open(folder, "pdp-1")

    async def many() -> None:
        await asyncio.gather(*(spool.append(decision(n), time.time_ns()) for n in range(3_000)))

    asyncio.run(many())
    spool.close()
    seen: list[tuple[int, int]] = []
    found = survey([folder], RealDisk(), progress=lambda done, total: seen.append((done, total)))
    assert len(seen) >= 3
    assert seen == sorted(seen)
    assert seen[-1] == (found.size, found.size)
