"""Records, segments and the chain: what was changed is named, whatever the bytes are."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.audit import problems, segment
from pdp.audit.chain import Chain
from pdp.audit.heads import HeadCheck
from pdp.audit.log import (
    ENTRY_BYTES_MAX,
    NO_HASH,
    RECORD_BYTES_MAX,
    RECORD_MARKER,
    TAG_DECISION,
    TAG_SPOOL_EVENT,
    Opened,
    PdpId,
    RecordError,
    Sealer,
    head_text,
    leaf_hash,
    open_record,
    parse_head,
)
from pdp.audit.problems import Place
from pdp.audit.segment import (
    HEADER_BYTES,
    Frame,
    Gap,
    SegmentName,
    encode_frame,
    encode_header,
    frames,
    read_header,
)
from pdp.audit.survey import INDEX_NAME, survey
from pdp.errors import ConfigurationError
from pdp.model import RecordRef
from pdp.v1 import audit_pb2
from pdp.values import NANOS
from pdp.wire_fields import varint
from tests.simulators.crashes import SPOOL, decision, waiting
from tests.simulators.logs import SMALL, Log

ID = PdpId("pdp-1", 0, 7)
FIRST = SegmentName(1, 1)


def sealed(count: int, filler: int = 0) -> list[bytes]:
    """A short chain."""
    sealer, last, found = Sealer(ID), NO_HASH, []
    for seq in range(1, count + 1):
        body = decision(seq, filler=filler).SerializeToString()
        found.append(sealer.seal(seq, last, seq * NANOS, TAG_DECISION, body))
        last = leaf_hash(found[-1])
    return found


def items(data: bytes) -> list[Frame | Gap]:
    """What is in a segment of these bytes."""
    return list(frames(lambda offset, size: data[offset : offset + size], len(data)))


def stored(records: list[bytes]) -> bytes:
    """A segment."""
    return encode_header(FIRST) + b"".join(map(encode_frame, records))


# Records.


@given(
    seq=st.integers(1, 2**63 - 1),
    prev_hash=st.binary(min_size=32, max_size=32),
    time_ns=st.integers(-(10**18), 10**19),
    filler=st.integers(0, 300),
)
def test_a_sealed_record_is_what_protobuf_makes_of_the_whole_message(
    seq: int, prev_hash: bytes, time_ns: int, filler: int
) -> None:
    """Appending the body to the envelope saves a copy and changes no byte."""
    entry = decision(seq, filler=filler)
    whole = audit_pb2.Record(
        format_version=1, pdp_id=str(ID), seq=seq, prev_hash=prev_hash, decision=entry
    )
    whole.time.seconds, whole.time.nanos = divmod(time_ns, NANOS)
    record = Sealer(ID).seal(seq, prev_hash, time_ns, TAG_DECISION, entry.SerializeToString())
    assert record == whole.SerializeToString(deterministic=True)
    assert record.startswith(RECORD_MARKER)
    opened = open_record(record)
    assert (opened.ref.seq, opened.prev_hash, opened.time_ns) == (seq, prev_hash, time_ns)
    assert opened.message.decision == entry


def test_the_largest_entry_fits_into_the_largest_record() -> None:
    """Whatever the envelope, a body of ENTRY_BYTES_MAX makes a record that a tlog would take."""
    longest = PdpId("i" * 128, 2**32 - 1, 2**32 - 1)
    sealer = Sealer(longest)
    body = audit_pb2.DecisionRecord(request=bytes(ENTRY_BYTES_MAX - 4)).SerializeToString()
    assert len(body) == ENTRY_BYTES_MAX
    record = sealer.seal(2**63 - 1, bytes(range(32)), 253_402_300_799 * NANOS, TAG_DECISION, body)
    assert len(body) < len(record) <= RECORD_BYTES_MAX
    assert len(record) <= len(body) + sealer.overhead
    assert open_record(record).ref.seq == 2**63 - 1


def test_the_hash_is_the_leaf_hash_of_rfc_6962() -> None:
    """SHA-256 of a zero byte and the record; the empty leaf's hash is a published constant."""
    empty = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert leaf_hash(b"").hex() == empty
    assert leaf_hash(b"abc") == hashlib.sha256(b"\x00abc").digest()


@given(st.integers(0, 2**64 - 1))
def test_varints_are_protobufs(number: int) -> None:
    """Our few lines against protobuf's own."""
    message = audit_pb2.SpoolEvent(offset=number)
    assert message.SerializeToString() == (b"\x18" + varint(number) if number else b"")


@given(st.text(max_size=200) | st.from_regex(r"[a-z]+/[0-9]+/[0-9]+:[0-9]+:[0-9a-f]{64}"))
def test_any_text_is_a_head_or_a_clear_error(text: str) -> None:
    """What is accepted is written back as it was."""
    try:
        head = parse_head(text)
    except ConfigurationError:
        return
    assert head_text(head) == text


@pytest.mark.parametrize(
    "text",
    [
        f"pdp/0/1:0:{'0' * 64}",
        f"pdp/0/0:1:{'0' * 64}",
        f"pdp/0/1:01:{'0' * 64}",
        f"pdp/0/1:1:{'A' * 64}",
        f"pdp/0/1:1:{'0' * 63}",
        f"pdp/0/1:9999999999999999999:{'0' * 64}",
        f"pdp/0/4294967296:1:{'0' * 64}",
        f"/0/1:1:{'0' * 64}",
        f"pdp/0/1:1:{'0' * 64}\n",
        f"pdp/0/\u0661:1:{'0' * 64}",
    ],
)
def test_heads_have_one_spelling(text: str) -> None:
    """No zero, no leading zero, no capital, no other digits, no rest of a line."""
    with pytest.raises(ConfigurationError, match="is not a head"):
        parse_head(text)


@pytest.mark.parametrize("instance", ["", "a/b", "a:b", "-a", "a b", "a\n", "ä", "i" * 129])
def test_an_instance_that_would_be_ambiguous_in_a_head_is_refused(instance: str) -> None:
    """The name of a PDP stands between slashes and before a colon."""
    with pytest.raises(ConfigurationError, match="instance name"):
        PdpId(instance, 0, 1)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_a_record_error(data: bytes) -> None:
    """Nothing else is raised, whatever stands on the disk."""
    try:
        opened = open_record(data)
    except RecordError:
        return
    assert opened.ref.hash == leaf_hash(data)


@given(data=st.data())
def test_any_change_of_a_record_is_an_error_or_another_hash(data: st.DataObject) -> None:
    """There are no two byte strings for one record reference."""
    record = bytearray(sealed(1)[0])
    original = open_record(bytes(record)).ref
    at = data.draw(st.integers(0, len(record) - 1))
    record[at] ^= data.draw(st.integers(1, 255))
    try:
        changed = open_record(bytes(record)).ref
    except RecordError:
        return
    assert changed.hash != original.hash


def broken(**fields: object) -> bytes:
    """A record with some of its fields set to something else."""
    message = audit_pb2.Record.FromString(sealed(1)[0])
    for name, value in fields.items():
        setattr(message, name, value)
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "bytes"),
        (b"\x08", "not a pdp.v1.Record"),
        (bytes(RECORD_BYTES_MAX + 1), "bytes"),
        (broken(format_version=2), "format version 2"),
        (broken(pdp_id="pdp"), "pdp_id"),
        (broken(seq=0), "seq"),
        (broken(seq=2**63), "seq"),
        (broken(prev_hash=b"short"), "prev_hash"),
        (Sealer(ID).seal(1, NO_HASH, 0, b"\x7a", b"unknown body"), "body"),
    ],
)
def test_a_record_that_lacks_something_is_refused(data: bytes, why: str) -> None:
    """Each check has a case that only it catches."""
    with pytest.raises(RecordError, match=re.escape(why)):
        open_record(data)


def test_a_time_that_no_calendar_has_is_refused() -> None:
    """Showing it must not fail later."""
    message = audit_pb2.Record.FromString(sealed(1)[0])
    message.time.seconds = 2**60
    with pytest.raises(RecordError, match="time"):
        open_record(message.SerializeToString())
    message.time.seconds, message.time.nanos = 0, -1
    with pytest.raises(RecordError, match="time"):
        open_record(message.SerializeToString())


# Segments.


@given(st.lists(st.binary(min_size=1, max_size=400), max_size=8))
def test_what_is_framed_is_read_back(records: list[bytes]) -> None:
    """Any records, in order, nothing else."""
    found = items(stored(records))
    assert [item.record for item in found if isinstance(item, Frame)] == records
    assert len(found) == len(records)


@st.composite
def mutated_segments(draw: st.DrawFn) -> tuple[bytes, bytes, int]:
    """A good segment; the same changed in a few places; the first byte that differs."""
    good = stored(sealed(draw(st.integers(1, 6)), filler=draw(st.integers(0, 80))))
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(HEADER_BYTES, len(data)))
        match draw(st.sampled_from(["flip", "cut", "insert", "zero"])):
            case "flip" if at < len(data):
                data[at] ^= draw(st.integers(1, 255))
            case "cut":
                del data[at : at + draw(st.integers(1, 100))]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=50))
            case _:
                data[at : at + 20] = bytes(len(data[at : at + 20]))
    first = next(
        (at for at, pair in enumerate(zip(good, data, strict=False)) if pair[0] != pair[1]),
        min(len(good), len(data)),
    )
    return good, bytes(data), first


@given(mutated_segments())
def test_records_before_the_damage_are_never_lost(case: tuple[bytes, bytes, int]) -> None:
    """Every frame that ends before the first damaged byte is read; every byte is accounted for."""
    good, data, first = case
    found = items(data)
    at = min(HEADER_BYTES, len(data))
    for item in found:
        assert item.offset == at
        at = item.end if isinstance(item, Frame) else item.offset + item.length
    assert at == len(data)
    intact = [item for item in items(good) if isinstance(item, Frame) and item.end <= first]
    assert found[: len(intact)] == intact


@given(st.binary(max_size=2_000))
def test_any_bytes_can_be_read_as_a_segment(data: bytes) -> None:
    """The reader ends, raises nothing, and leaves no byte out."""
    found = items(data)
    at = min(HEADER_BYTES, len(data))
    for item in found:
        assert item.offset == at
        at = item.end if isinstance(item, Frame) else item.offset + item.length
    assert at == len(data)


def test_the_last_record_cut_at_any_byte_is_torn() -> None:
    """Every prefix of a frame, alone and with zeros up to any length, is an incomplete record."""
    records = sealed(3)
    whole = stored(records)
    start = len(stored(records[:2]))
    for cut in range(start + 1, len(whole)):
        for zeros in (0, 1, 3, 10, len(whole) - cut, 5_000):
            data = whole[:cut] + bytes(zeros)
            if data.startswith(whole):
                # Zeros where zeros were: nothing is missing but what stands behind.
                continue
            *before, last = items(data)
            assert [item.record for item in before if isinstance(item, Frame)] == records[:2]
            assert isinstance(last, Gap)
            assert last.torn, (cut, zeros)
            assert last.offset == start


def test_a_changed_last_record_is_damage_and_not_torn() -> None:
    """A complete frame with a wrong checksum was not cut short, so nothing may drop it."""
    records = sealed(3)
    whole = bytearray(stored(records))
    start = len(stored(records[:2]))
    for at in range(start + 2, len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 0x41
        *_, last = items(bytes(changed))
        assert isinstance(last, Gap)
        assert not last.torn, at


def test_damage_before_an_intact_record_is_never_a_torn_tail() -> None:
    """A length that points behind the end of the file hides nothing that follows it."""
    records = sealed(4)
    data = bytearray(stored(records))
    at = len(stored(records[:1]))
    data[at : at + 2] = b"\xff\xff"
    found = items(bytes(data))
    assert [type(item) for item in found] == [Frame, Gap, Frame, Frame]
    assert isinstance(found[1], Gap)
    assert not found[1].at_end
    assert not found[1].torn


def test_text_in_a_damaged_record_is_not_read_as_a_record() -> None:
    """A caller that puts a whole frame into its request forges nothing, not even beside damage."""
    forged = encode_frame(sealed(1)[0])
    entry = audit_pb2.DecisionRecord(request=forged * 3)
    outer = Sealer(ID).seal(1, NO_HASH, 0, TAG_DECISION, entry.SerializeToString())
    follower = Sealer(ID).seal(2, leaf_hash(outer), 0, TAG_DECISION, b"")
    data = bytearray(stored([outer, follower]))
    data[HEADER_BYTES + 10] ^= 1
    found = items(bytes(data))
    assert [type(item) for item in found] == [Gap, Frame]
    assert isinstance(found[1], Frame)
    assert found[1].record == follower


def test_records_across_the_edges_of_the_reading_window_are_read() -> None:
    """Three mebibytes of records of every size, with damage at the edges of the window."""
    records = [bytes([number % 251 + 1]) * (number * 7_919 % 65_000 + 1) for number in range(100)]
    data = bytearray(stored(records))
    assert len(data) > 3 * segment._WINDOW_BYTES
    found = items(bytes(data))
    assert [item.record for item in found if isinstance(item, Frame)] == records
    chained = sealed(12_000, filler=200)
    data = bytearray(stored(chained))
    for edge in range(segment._WINDOW_BYTES, len(data), segment._WINDOW_BYTES):
        data[HEADER_BYTES + edge - 10 : HEADER_BYTES + edge + 10] = bytes(20)
    found = items(bytes(data))
    kept = [item.record for item in found if isinstance(item, Frame)]
    assert len(chained) - 2 * (len(data) // segment._WINDOW_BYTES) <= len(kept) < len(chained)


def test_a_file_of_nothing_but_markers_is_read_in_bounded_work() -> None:
    """Looking for the next record has a budget; what is left is damage, never a torn tail."""
    before = time.process_time()
    data = encode_header(FIRST) + (b"\xff\xf0" + RECORD_MARKER) * 400_000
    (gap,) = items(data)
    assert isinstance(gap, Gap)
    assert not gap.torn
    assert time.process_time() - before < 20


def test_bounded_work_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the budget the same file is searched to its end, and then called torn."""
    data = encode_header(FIRST) + (b"\xff\xf0" + RECORD_MARKER) * 10_000
    monkeypatch.setattr(segment, "_RESUME_TRIES_MAX", 1_000)
    (gap,) = items(data)
    assert isinstance(gap, Gap)
    assert not gap.torn
    monkeypatch.setattr(segment._ResumeBudget, "spent", False)
    (gap,) = items(data)
    assert isinstance(gap, Gap)
    assert gap.torn


@pytest.mark.parametrize(
    ("change", "problem", "torn"),
    [
        (lambda header: header, "", False),
        (lambda header: b"", "", True),
        (lambda header: header[:13], "", True),
        (lambda header: header[:13] + bytes(100), "", True),
        (lambda header: header[:13] + bytes(100) + b"x", "damaged", False),
        (lambda header: b"X" + header[1:], "damaged", False),
        (lambda header: encode_header(SegmentName(3, 9)), "0000000003-0000000009.seg", False),
    ],
)
def test_a_header_ties_content_to_name(change: object, problem: str, torn: bool) -> None:
    """Cut short it is torn, changed it is damaged, moved it says from where."""
    assert callable(change)
    data = change(encode_header(FIRST))
    found = read_header(lambda offset, size: data[offset : offset + size], len(data), FIRST)
    assert problem in found.problem
    assert bool(found.problem) == bool(problem)
    assert found.torn == torn


@pytest.mark.parametrize(
    "name", ["1-1.seg", "0000000000-0000000001.seg", "0000000001-0000000001.seg.partial", "lock",
             "9999999999-0000000001.seg", "\u0660000000001-0000000001.seg"],
)  # fmt: skip
def test_other_files_are_no_segments(name: str) -> None:
    """One spelling of a name, and numbers in range."""
    assert SegmentName.parse(name) is None
    assert SegmentName.parse(str(FIRST)) == FIRST


# The chain, attacked.


def places(log: Log) -> Iterator[tuple[SegmentName, int]]:
    """Every record: its segment and its index there."""
    for name, records in log.records.items():
        for index in range(len(records)):
            yield name, index


@pytest.fixture(scope="module")
def log() -> Log:
    """Three boots, several segments each. Tests that change it make their own."""
    return Log(9, 7, 8)


def attacked(log: Log, name: SegmentName, records: list[bytes]) -> Log:
    """A copy of the log with one segment replaced."""
    copy = Log()
    for other, theirs in log.records.items():
        copy.store(other, records if other == name else theirs)
    copy.records = {**log.records, name: records}
    return copy


def test_a_log_as_written_holds(log: Log) -> None:
    """No finding, every head found, the tail unanchored only without one."""
    found = log.look()
    assert found.problems.found == []
    assert found.records == len(log.refs) == 3 + 9 + 7 + 8
    assert found.anchor is None
    assert log.look(*log.refs).anchor == log.refs[-1]
    assert len(log.names) > 6


def test_every_changed_record_is_named(log: Log) -> None:
    """Content, link, number or writer changed, checksum made right again: that record is named."""
    checked = 0
    for name, index in places(log):
        record = log.records[name][index]
        ref = open_record(record).ref
        for field in ("content", "link", "number", "writer"):
            message = audit_pb2.Record.FromString(record)
            match field:
                case "content" if message.HasField("decision"):
                    message.decision.action = "write"
                case "content":
                    message.spool_event.detail = "portcullis 9"
                case "link":
                    message.prev_hash = bytes(32) if any(message.prev_hash) else b"\x01" * 32
                case "number":
                    message.seq += 1_000
                case _:
                    message.pdp_id = "other/0/9"
            changed = [*log.records[name]]
            changed[index] = message.SerializeToString()
            head = log.refs[-1]
            findings = attacked(log, name, changed).findings(head)
            if ref == head:
                # It has no successor: only a head from outside tells.
                assert findings, (ref, field)
                continue
            assert any(first <= ref.seq <= last for _, _, first, last in findings), (ref, field)
            checked += field == "content" and findings == [("changed", str(name), ref.seq, ref.seq)]
    # Changed content is named exactly: nothing else, and no neighbour. But for the last record but
    # one of all, whose successor has none that would vouch for it.
    assert checked == len(log.refs) - 2


def test_a_flipped_byte_is_named_by_its_checksum(log: Log) -> None:
    """Any byte of the segments: verification fails, and names the record it is in."""
    for name, index in places(log):
        records = log.records[name]
        ref = open_record(records[index]).ref
        before = len(stored(records[:index]))
        length = len(records[index]) + 6
        for at in (before, before + 1, before + 2, before + length // 2, before + length - 1):
            copy = attacked(log, name, records)
            data = bytearray(stored(records))
            data[:HEADER_BYTES] = encode_header(name)
            data[at] ^= 0x10
            copy.disk.put(SPOOL / str(name), bytes(data))
            found = copy.look(log.refs[-1])
            assert any(
                problem.seq <= ref.seq <= problem.seq_last
                and (problem.place.segment == str(name) or problem.kind == "cut")
                for problem in found.problems.found
            ), (ref, at - before, found.problems.found)


def test_every_removed_record_is_missed(log: Log) -> None:
    """Any record taken out, frames and checksums as they should be: its number is named."""
    for name, index in places(log):
        records = log.records[name]
        ref = open_record(records[index]).ref
        findings = attacked(log, name, records[:index] + records[index + 1 :]).findings(
            log.refs[-1]
        )
        if ref == log.refs[-1]:
            assert [(kind, first) for kind, _, first, _ in findings] == [("cut", ref.seq)]
        else:
            assert [(kind, *seqs) for kind, _, *seqs in findings] == [("removed", ref.seq, ref.seq)]


def test_every_swap_of_neighbours_is_named(log: Log) -> None:
    """Two records in each other's place are reordered, not merely wrong."""
    swapped = 0
    for name, index in places(log):
        records = [*log.records[name]]
        if index + 1 >= len(records) or open_record(records[index]).ref.seq == 1:
            continue
        records[index], records[index + 1] = records[index + 1], records[index]
        findings = attacked(log, name, records).findings(log.refs[-1])
        assert "reordered" in {kind for kind, *_ in findings}
        swapped += 1
    assert swapped > 10


def test_every_repeated_record_is_named(log: Log) -> None:
    """A record put in a second time, next to itself or at the end of its segment."""
    for name, index in places(log):
        records = log.records[name]
        ref = open_record(records[index]).ref
        for at in (index + 1, len(records)):
            copy = attacked(log, name, [*records[:at], records[index], *records[at:]])
            findings = copy.findings(log.refs[-1])
            assert ("duplicated", str(name), ref.seq, ref.seq) in findings, (ref, at, findings)


def test_every_removed_segment_is_missed(log: Log) -> None:
    """Any segment but the last; the last is found missing by a head."""
    for name in log.names:
        copy = Log()
        for other, records in log.records.items():
            if other != name:
                copy.store(other, records)
        kinds = {kind for kind, *_ in copy.findings(log.refs[-1])}
        assert kinds == ({"cut"} if name == log.names[-1] else {"removed"}), name


def test_segments_under_each_others_names_are_named(log: Log) -> None:
    """The header says what it was written as; with that forged too, the chain does."""
    first, second = log.names[0], log.names[1]
    copy = attacked(log, first, log.records[first])
    for name, other in ((first, second), (second, first)):
        copy.disk.put(SPOOL / str(name), encode_header(other) + stored(log.records[other])[24:])
    assert {"segment", "reordered"} <= {kind for kind, *_ in copy.findings()}
    copy.store(first, log.records[second])
    copy.store(second, log.records[first])
    assert "reordered" in {kind for kind, *_ in copy.findings()}


def blind(*_: object, **__: object) -> None:
    """Sees nothing."""


def accept(self: Chain, place: Place, record: Opened) -> None:
    """Believes any link."""
    self._accept(place, record)


@pytest.mark.parametrize(
    ("attack", "guard", "without"),
    [
        ("change", "_unlinked", accept),
        ("remove", "_lose", blind),
        ("repeat", "_out_of_place", blind),
        ("begin", "_boot_link", blind),
    ],
)
def test_verification_twin_without_guard(
    attack: str,
    guard: str,
    without: Callable[..., None],
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each check of the chain finds an attack that no other check finds."""
    name = log.names[3 if attack == "begin" else 1]
    records = [*log.records[name]]
    match attack:
        case "change":
            message = audit_pb2.Record.FromString(records[1])
            message.decision.action = "write"
            records[1] = message.SerializeToString()
        case "remove" | "begin":
            del records[0 if attack == "begin" else 1]
        case _:
            records.append(records[1])
    copy = attacked(log, name, records)
    assert copy.findings()
    monkeypatch.setattr(Chain, guard, without)
    assert copy.findings() == []


def test_a_cut_tail_twin_without_guard(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without looking for heads that were not met, a cut tail verifies."""
    name = log.names[-1]
    copy = attacked(log, name, log.records[name][:-1])
    assert copy.findings(log.refs[-1])
    monkeypatch.setattr(HeadCheck, "_judge", blind)
    assert copy.findings(log.refs[-1]) == []


def test_a_cut_tail_is_found_by_a_head_and_by_nothing_else(log: Log) -> None:
    """Cut anywhere, at a record or inside one: it holds, unanchored; a later head finds it."""
    name = log.names[-1]
    data = stored(log.records[name])[24:]
    for cut in range(0, len(data), 7):
        copy = attacked(log, name, log.records[name])
        copy.disk.put(SPOOL / str(name), encode_header(name) + data[:cut])
        found = copy.look()
        assert found.problems.found == []
        assert found.anchor is None
        problems = copy.look(log.refs[-1]).problems.found
        assert [str(problem.kind) for problem in problems] == ["cut"], cut


def test_a_head_of_another_log_is_not_found(log: Log) -> None:
    """An invented spool has other hashes; another PDP's has other names."""
    other = RecordRef("pdp/0/2", 3, b"\x07" * 32)
    assert ("changed", 3) in [(kind, seq) for kind, _, seq, _ in log.findings(other)]
    foreign = RecordRef("pdp-9/0/2", 3, log.refs[-1].hash)
    assert log.findings(foreign)
    assert log.findings(RecordRef("pdp/0/9", 1, log.refs[-1].hash))
    assert log.findings(RecordRef("pdp/0/2", 999, log.refs[-1].hash))


def test_a_record_in_doubt_is_no_proof(log: Log) -> None:
    """A head that names a record declared never answered for is a finding, not an anchor."""
    copy = Log(2)
    name = copy.names[0]
    extra = Sealer(PdpId("pdp", 0, 1)).seal(4, copy.refs[-1].hash, 0, TAG_DECISION, waiting(9).body)
    offset = len(stored(copy.records[name]))
    event = audit_pb2.SpoolEvent
    poisoned = event(kind=event.KIND_POISONED, segment=str(name), offset=offset, opening=1)
    statement = Sealer(PdpId("pdp", 0, 1)).seal(
        4, copy.refs[-1].hash, 0, TAG_SPOOL_EVENT, poisoned.SerializeToString()
    )
    copy.store(name, [*copy.records[name], extra])
    copy.store(SegmentName(1, 2), [statement])
    found = copy.look()
    assert found.problems.found == []
    assert any("never answered for" in note for note in found.notes)
    head = RecordRef("pdp/0/1", 4, leaf_hash(extra))
    assert "cut" in {kind for kind, *_ in copy.findings(head)}
    assert copy.look(RecordRef("pdp/0/1", 4, leaf_hash(statement))).anchor


def test_an_opening_counts_whole_or_not_at_all() -> None:
    """Half of what a segment states at its beginning explains nothing and is no record."""
    copy = Log(2)
    sealer = Sealer(PdpId("pdp", 0, 1))
    event = audit_pb2.SpoolEvent
    offset = len(stored(copy.records[copy.names[0]][:2]))
    first = event(kind=event.KIND_POISONED, segment=str(copy.names[0]), offset=offset, opening=2)
    statement = sealer.seal(3, copy.refs[1].hash, 0, TAG_SPOOL_EVENT, first.SerializeToString())
    copy.store(SegmentName(1, 2), [statement])
    found = copy.look()
    assert found.problems.found == []
    assert found.records == 3
    assert found.last is not None
    assert found.last.ref == copy.refs[-1]
    assert any("never begun" in note for note in found.notes)


def test_an_opening_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken at its word, half an opening forks the log."""
    from pdp.audit import statements
    from pdp.audit import survey as module

    original = statements.read_opening

    def gullible(found: Iterator[Frame | Gap]) -> statements.Opening:
        opening = original(found)
        opening.cut_short = False
        return opening

    monkeypatch.setattr(statements, "read_opening", gullible)
    monkeypatch.setattr(module, "read_opening", gullible)
    with pytest.raises(AssertionError):
        test_an_opening_counts_whole_or_not_at_all()


def test_a_statement_explains_only_what_is_older() -> None:
    """A segment cannot declare its own records, or later ones, never answered for."""
    copy = Log(2)
    event = audit_pb2.SpoolEvent
    for about in (SegmentName(1, 2), SegmentName(1, 3)):
        claim = event(kind=event.KIND_POISONED, segment=str(about), offset=24, opening=1)
        sealer = Sealer(PdpId("pdp", 0, 1))
        record = sealer.seal(4, copy.refs[-1].hash, 0, TAG_SPOOL_EVENT, claim.SerializeToString())
        copy.store(SegmentName(1, 2), [record])
        assert copy.look().records == 4


def test_archived_segments_are_expected_and_removed_ones_are_not(log: Log) -> None:
    """The index names what the rest goes on from; another head in it explains nothing."""
    copy = Log()
    for name in log.names[2:]:
        copy.store(name, log.records[name])
    assert {kind for kind, *_ in copy.findings()} == {"removed"}
    before = open_record(log.records[log.names[1]][-1]).ref
    for head, expected in ((before, []), (log.refs[0], [("removed")])):
        copy.disk.put(SPOOL / INDEX_NAME, f"{head_text(head)}\n".encode())
        assert [kind for kind, *_ in copy.findings()] == expected
    copy.disk.put(SPOOL / INDEX_NAME, b"\xff garbage")
    assert {kind for kind, *_ in copy.findings()} == {"removed"}
    # The operator may name it too; a head that is older still cannot be judged here.
    assert copy.look(before).anchor == before
    with pytest.raises(ConfigurationError, match="older than what is here"):
        copy.look(before, log.refs[0])


def test_findings_are_bounded() -> None:
    """A log of nothing but damage has a list of a thousand findings and a true count."""
    copy = Log(1)
    record = copy.records[copy.names[0]][0]
    copy.store(copy.names[0], [record if at % 2 else b"no record" for at in range(5_000)])
    found = copy.look()
    assert len(found.problems.found) == problems.PROBLEMS_MAX
    assert found.problems.count > 2_000


@st.composite
def hostile_spools(draw: st.DrawFn) -> dict[str, bytes]:
    """Files that someone put into a spool: mutated, swapped, invented, misnamed."""
    log = Log(draw(st.integers(0, 3)), draw(st.integers(0, 3)))
    files = {str(name): bytes(log.disk.content(SPOOL / str(name))) for name in log.names}
    for _ in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from([*files, "0000000003-0000000001.seg"]))
        data = bytearray(files.get(name, b""))
        match draw(st.sampled_from(["flip", "cut", "append", "copy", "drop", "random"])):
            case "flip" if data:
                data[draw(st.integers(0, len(data) - 1))] ^= draw(st.integers(1, 255))
            case "cut":
                del data[draw(st.integers(0, len(data))) :]
            case "append":
                data += draw(st.binary(max_size=80)) + stored(sealed(2))[24:]
            case "copy":
                data = bytearray(files[draw(st.sampled_from([*files]))]) if files else data
            case "random":
                data = bytearray(draw(st.binary(max_size=300)))
            case _:
                files.pop(name, None)
                continue
        files[name] = bytes(data)
    if draw(st.booleans()):
        files[INDEX_NAME] = draw(st.binary(max_size=200))
    return files


@settings(max_examples=150, deadline=None)
@given(hostile_spools())
def test_a_hostile_spool_is_surveyed_and_served_on_without_loss(files: dict[str, bytes]) -> None:
    """Verification and recovery never fail because of content, and change none of it."""
    log = Log()
    for name, data in files.items():
        log.disk.put(SPOOL / name, data)
    before: list[Opened] = []
    found = survey([SPOOL], log.disk, visit=lambda _, record: before.append(record))
    journal = log.history.open(SMALL)
    (ref,) = journal.commit([waiting(1)])
    assert isinstance(ref, RecordRef)
    journal.close()
    for name, data in files.items():
        assert log.disk.content(SPOOL / name) == data
    after: list[Opened] = []
    again = survey([SPOOL], log.disk, heads=[ref], visit=lambda _, record: after.append(record))
    assert [r.ref.hash for r in after][: len(before)] == [r.ref.hash for r in before]
    assert again.anchor == ref
    if not found.problems.count:
        assert again.problems.found == []
