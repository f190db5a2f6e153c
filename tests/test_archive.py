"""The archive: one spelling in, one spelling out, and nothing else gets through."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp import archive as archive_module
from pdp.archive import ArchiveLimits, read_archive, write_archive
from pdp.errors import BundleRefusedError

MEMBERS = {
    "manifest.json": b"{}\n",
    "compiled/a.yaml.pb": bytes(range(256)) * 3,
    "sources/a.yaml": b"policy: a\n",
    "sources/empty.yaml": b"",
    f"sources/{'long/' * 25}{'x' * 40}.yaml": b"ustar splits this name",
}
SEGMENT = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,12}", fullmatch=True)
NAMES = st.lists(SEGMENT, min_size=1, max_size=4).map("/".join)


def tar_of(*infos: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    """An archive as Python's own tar module writes it, ended as ours is."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for info, data in infos:
            info.size = len(data) if info.isfile() else 0
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue().rstrip(b"\0") + bytes(
        -len(stream.getvalue().rstrip(b"\0")) % 512 + 1024
    )


def info(name: str, **fields: object) -> tarfile.TarInfo:
    """A header; mode and times as ours."""
    made = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(made, key, value)
    return made


def test_what_is_written_is_read() -> None:
    """Reading gives back what was written, sorted by name."""
    assert list(read_archive(write_archive(MEMBERS)).items()) == sorted(MEMBERS.items())


def test_same_members_same_bytes() -> None:
    """The order in which members are given leaves no trace."""
    backwards = dict(reversed(MEMBERS.items()))
    assert write_archive(backwards) == write_archive(MEMBERS)


def test_python_tar_reads_what_is_written() -> None:
    """An independent implementation finds the same names, contents and no owner or time."""
    with tarfile.open(fileobj=io.BytesIO(write_archive(MEMBERS))) as tar:
        found = {}
        for member in tar.getmembers():
            assert member.isfile()
            assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
            file = tar.extractfile(member)
            assert file is not None
            found[member.name] = file.read()
    assert found == MEMBERS


@given(st.dictionaries(NAMES, st.binary(max_size=1200), min_size=1, max_size=6))
@settings(max_examples=60)
def test_round_trip_of_any_members(members: dict[str, bytes]) -> None:
    """Any allowed names and contents come back, and agree with Python's tar module."""
    archive = write_archive(members)
    assert read_archive(archive) == members
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert sorted(tar.getnames()) == sorted(members)


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/", "./a", ".hidden", "-rf", "a\0b", "a\\b",
     "ä", "a b", "C:x", "a\n", "con\u202e", "x" * 201],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    """Absolute, climbing, hidden, folding and over-long names are neither written nor read."""
    with pytest.raises(BundleRefusedError):
        write_archive({name: b""})
    if name and len(name) <= 100:
        with pytest.raises(BundleRefusedError):
            read_archive(tar_of((info(name), b"")))


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE,
     tarfile.DIRTYPE, tarfile.CONTTYPE, tarfile.AREGTYPE, b"g", b"x", b"L", b"S"],
)  # fmt: skip
def test_links_devices_folders_and_extensions_are_refused(kind: bytes) -> None:
    """There is one kind of member: a file."""
    link = info("a", type=kind, linkname="/etc/passwd")
    with pytest.raises(BundleRefusedError):
        read_archive(tar_of((link, b"")))


@pytest.mark.parametrize(
    "fields",
    [{"mtime": 1}, {"uid": 1}, {"gid": 1}, {"uname": "root"}, {"gname": "root"}, {"mode": 0o755},
     {"devmajor": 1}],
)  # fmt: skip
def test_a_second_spelling_is_refused(fields: dict[str, object]) -> None:
    """Owners, times and modes that our writer does not write are refused."""
    with pytest.raises(BundleRefusedError):
        read_archive(tar_of((info("a", **fields), b"x")))


def test_a_second_spelling_is_refused_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the comparison with our own bytes, another spelling and trailing bytes get in."""
    archive = write_archive({"a": b"x"})
    spellings = [tar_of((info("a", mtime=1), b"x")), archive + b"trailing", archive[:-512]]
    for other in spellings:
        with pytest.raises(BundleRefusedError):
            read_archive(other)
        with monkeypatch.context() as patched:
            patched.setattr(archive_module, "write_archive", lambda *_, other=other: other)
            assert read_archive(other) == {"a": b"x"}


def test_duplicate_and_unordered_members_are_refused() -> None:
    """A name comes once, and in its place."""
    for names in (("a", "a"), ("b", "a")):
        with pytest.raises(BundleRefusedError, match="twice in the archive, or out of order"):
            read_archive(tar_of(*((info(name), b"") for name in names)))


def test_pax_and_gnu_forms_are_refused() -> None:
    """Extended headers, which could rename or resize a member, do not exist for us."""
    long = info("d/" * 80 + "x")
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with pytest.raises(BundleRefusedError):
            read_archive(tar_of((long, b"x"), form=form))


def test_sizes_are_bounded() -> None:
    """More files, larger files or a larger whole than allowed are refused on both sides."""
    tight = ArchiveLimits(archive_bytes_max=4096, members_max=2, member_bytes_max=600)
    for members in (
        {"a": bytes(601)},
        dict.fromkeys("abc", b""),
        {"a": bytes(600), "b": bytes(600)},
    ):
        with pytest.raises(BundleRefusedError):
            write_archive(
                members, ArchiveLimits(archive_bytes_max=2560, members_max=2, member_bytes_max=600)
            )
    for members in ({"a": bytes(601)}, dict.fromkeys("abc", b"")):
        with pytest.raises(BundleRefusedError):
            read_archive(write_archive(members), tight)
    with pytest.raises(BundleRefusedError, match="more than 4096"):
        read_archive(bytes(4097), tight)


def test_a_size_that_lies_is_refused() -> None:
    """A header that claims gigabytes allocates nothing and is refused."""
    archive = bytearray(write_archive({"a": b"x"}))
    archive[124:135] = b"7" * 11
    with pytest.raises(BundleRefusedError, match="cut short"):
        read_archive(bytes(archive))
    # GNU base-256 sizes: a second way to write a number.
    archive[124:136] = b"\x80" + struct.pack(">Q", 1).rjust(11, b"\0")
    with pytest.raises(BundleRefusedError, match="no number"):
        read_archive(bytes(archive))


@pytest.mark.parametrize("data", [b"", bytes(512), bytes(1024), b"x" * 1024, zlib.compress(b"x")])
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    """Nothing, only zeros, and other formats."""
    with pytest.raises(BundleRefusedError):
        read_archive(data)


def test_every_flipped_bit_is_seen_or_is_content() -> None:
    """One flipped bit anywhere: refused, or only the content of one member differs."""
    members = {"a/b": b"x" * 20, "c": b"y" * 600}
    archive = write_archive(members)
    refused = contents = 0
    for position in range(len(archive)):
        for bit in (0, 7):
            changed = bytearray(archive)
            changed[position] ^= 1 << bit
            try:
                found = read_archive(bytes(changed))
            except BundleRefusedError:
                refused += 1
            else:
                contents += 1
                assert found.keys() == members.keys()
                assert sum(found[name] != members[name] for name in members) == 1
    assert contents == 2 * 620
    assert refused == 2 * (len(archive) - 620)


@given(st.data())
@settings(max_examples=150)
def test_fuzz_no_bytes_crash_the_reader(data: st.DataObject) -> None:
    """Whatever the bytes: the writer's own form, or BundleRefusedError."""
    archive = bytearray(write_archive({"a": b"12345", "b/c": bytes(700)}))
    for _ in range(data.draw(st.integers(0, 4))):
        position = data.draw(st.integers(0, len(archive)))
        insert = data.draw(st.binary(max_size=600))
        removed = data.draw(st.integers(0, 600))
        archive[position : position + removed] = insert
    try:
        members = read_archive(bytes(archive))
    except BundleRefusedError:
        return
    assert write_archive(members) == bytes(archive)
