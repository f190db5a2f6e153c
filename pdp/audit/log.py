"""Records of the audit log: how one is sealed, hashed and read back.

Pure: bytes in, values out. No file, no clock, no thread. A record is
serialised once and its bytes are never made again from a parsed message: what
is hashed, stored and shown is what was written.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from pdp.errors import ConfigurationError
from pdp.model import RecordRef
from pdp.v1 import audit_pb2
from pdp.values import NANOS, TIMESTAMP_SECONDS_MAX, TIMESTAMP_SECONDS_MIN
from pdp.wire_fields import varint

FORMAT_VERSION = 1

# An entry of a tlog-tiles log has a uint16 length (C2SP tlog-tiles, "Log Entries").
RECORD_BYTES_MAX = 65_535
# What the envelope around a body can take: names of at most 149 bytes, a hash, five numbers.
ENVELOPE_BYTES_MAX = 512
# So a serialised DecisionRecord up to this size always fits.
ENTRY_BYTES_MAX = RECORD_BYTES_MAX - ENVELOPE_BYTES_MAX

# `prev_hash` of the very first record.
NO_HASH = bytes(32)
HASH_BYTES = 32
UINT32_MAX = 2**32 - 1
SEQ_MAX = 2**63 - 1

# Every record begins with these bytes: `format_version` 1, then the tag of `pdp_id`. Reading
# resumes behind damage at the next place where they stand.
RECORD_MARKER = b"\x08\x01\x12"

_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_PDP_ID = re.compile(
    r"(?P<instance>[A-Za-z0-9][A-Za-z0-9._-]{0,127})"
    r"/(?P<worker>0|[1-9][0-9]{0,9})/(?P<boot>[1-9][0-9]{0,9})",
    re.ASCII,
)
_HEAD = re.compile(
    r"(?P<id>[^:]{1,160}):(?P<seq>[1-9][0-9]{0,18}):(?P<hash>[0-9a-f]{64})",
    re.ASCII,
)

# Field numbers of the bodies in pdp.v1.Record, as tags of wire type 2 (length-delimited).
TAG_DECISION = bytes([6 << 3 | 2])
TAG_SPOOL_EVENT = bytes([7 << 3 | 2])
TAG_SUPPRESSED = bytes([8 << 3 | 2])


class RecordError(ValueError):
    """Bytes that are no record. Never leaves `pdp.audit`: readers turn it into a finding."""


@dataclass(frozen=True, slots=True)
class PdpId:
    """Who wrote: `instance/worker/boot`.

    Args:
        instance: the PDP's configured name.
        worker: 0 while a PDP has one.
        boot: counts the starts on one spool, from 1.

    Raises:
        ConfigurationError: a part cannot be written.
    """

    instance: str
    worker: int
    boot: int

    def __post_init__(self) -> None:
        if not _INSTANCE.fullmatch(self.instance):
            raise ConfigurationError(
                f"the instance name `{self.instance[:160]}` cannot be written into records: "
                "use up to 128 letters, digits, `.`, `_` and `-`, a letter or digit first"
            )
        if not 0 <= self.worker <= UINT32_MAX:
            raise ConfigurationError(f"worker `{self.worker}` is not from 0 to {UINT32_MAX}")
        if not 1 <= self.boot <= UINT32_MAX:
            raise ConfigurationError(
                f"boot `{self.boot}` is not from 1 to {UINT32_MAX}: "
                "archive the spool and start with an empty directory"
            )

    def __str__(self) -> str:
        return f"{self.instance}/{self.worker}/{self.boot}"

    @staticmethod
    @functools.lru_cache(maxsize=256)
    def parse(text: str) -> PdpId | None:
        """The parts, or None if the text has another form."""
        found = _PDP_ID.fullmatch(text)
        if not found:
            return None
        worker, boot = int(found["worker"]), int(found["boot"])
        if worker > UINT32_MAX or boot > UINT32_MAX:
            return None
        return PdpId(found["instance"], worker, boot)


def leaf_hash(record: bytes) -> bytes:
    """SHA-256(0x00 || record): the leaf hash of RFC 6962, section 2.1."""
    return hashlib.sha256(b"\x00" + record).digest()


def head_text(ref: RecordRef) -> str:
    """`pdp_id:seq:hex`, as people and `--head` write it."""
    return f"{ref.pdp_id}:{ref.seq}:{ref.hash.hex()}"


def parse_head(text: str) -> RecordRef:
    """The record that `pdp_id:seq:hex` names.

    Raises:
        ConfigurationError: the text has another form.
    """
    found = _HEAD.fullmatch(text)
    if not found or PdpId.parse(found["id"]) is None or int(found["seq"]) > SEQ_MAX:
        raise ConfigurationError(
            f"`{text[:256]}` is not a head: write it as a response or `pdp audit verify` shows it, "
            "`instance/worker/boot:seq:` and 64 lower-case hexadecimal digits"
        )
    return RecordRef(found["id"], int(found["seq"]), bytes.fromhex(found["hash"]))


class Sealer:
    """Puts bodies into envelopes: `pdp.v1.Record` bytes, fields in order of number.

    The body is serialised already (off the writer's thread), and protobuf
    would copy and serialise it again; so the envelope is serialised by
    protobuf and the body appended as its last field. `test_audit_log.py` holds
    the result to what protobuf makes of the whole message.

    Not thread-safe: one writer.
    """

    def __init__(self, pdp_id: PdpId) -> None:
        self._prefix = audit_pb2.Record(
            format_version=FORMAT_VERSION, pdp_id=str(pdp_id)
        ).SerializeToString()
        self._envelope = audit_pb2.Record()
        # What a body gets around it, at most: the tags and the longest seq, hash, time and length.
        self.overhead = len(self._prefix) + 11 + 34 + 18 + 4

    def seal(self, seq: int, prev_hash: bytes, time_ns: int, tag: bytes, body: bytes) -> bytes:
        """The record's bytes.

        Args:
            seq: from 1, without gaps in a boot.
            prev_hash: of the record before.
            time_ns: since 1970, by the PDP's clock.
            tag: TAG_DECISION, TAG_SPOOL_EVENT or TAG_SUPPRESSED.
            body: the serialised message.
        """
        envelope = self._envelope
        envelope.seq = seq
        envelope.prev_hash = prev_hash
        envelope.time.seconds, envelope.time.nanos = divmod(time_ns, NANOS)
        return b"".join((self._prefix, envelope.SerializeToString(), tag, varint(len(body)), body))


@dataclass(slots=True)
class Opened:
    """One record that was read back. Treated as immutable.

    Attributes:
        ref: who, which, hash.
        id: `ref.pdp_id`, taken apart.
        prev_hash: hash of the record before.
        message: everything else.
        body: which field of it is the body: `decision`, `spool_event` or `suppressed_denials`.
    """

    ref: RecordRef
    id: PdpId
    prev_hash: bytes
    message: audit_pb2.Record
    body: str

    @property
    def time_ns(self) -> int:
        """Nanoseconds since 1970."""
        return self.message.time.seconds * NANOS + self.message.time.nanos

    @property
    def event(self) -> audit_pb2.SpoolEvent | None:
        """What happened to the spool, if this record says so."""
        return self.message.spool_event if self.body == "spool_event" else None


def open_record(data: bytes) -> Opened:
    """Read a record from bytes that anyone may have written.

    Fields that this version does not know are kept in the hash and otherwise
    passed over, so that a later version may add some.

    Raises:
        RecordError: it is no record, or one of another format version.
    """
    if not data or len(data) > RECORD_BYTES_MAX:
        raise RecordError(f"{len(data)} bytes, expected 1 to {RECORD_BYTES_MAX}")
    try:
        message = audit_pb2.Record.FromString(data)
    except DecodeError as error:
        raise RecordError("not a pdp.v1.Record") from error
    if message.format_version != FORMAT_VERSION:
        raise RecordError(f"format version {message.format_version}, expected {FORMAT_VERSION}")
    writer, seq, prev_hash, time = message.pdp_id, message.seq, message.prev_hash, message.time
    pdp_id = PdpId.parse(writer)
    if pdp_id is None:
        raise RecordError("`pdp_id` is not instance/worker/boot")
    if not 1 <= seq <= SEQ_MAX:
        raise RecordError(f"`seq` {seq} is out of range")
    if len(prev_hash) != HASH_BYTES:
        raise RecordError(f"`prev_hash` has {len(prev_hash)} bytes, expected {HASH_BYTES}")
    if not (
        TIMESTAMP_SECONDS_MIN <= time.seconds <= TIMESTAMP_SECONDS_MAX and 0 <= time.nanos < NANOS
    ):
        raise RecordError("`time` is out of range")
    body = message.WhichOneof("body")
    if body is None:
        raise RecordError("it has no body that this version knows")
    return Opened(RecordRef(writer, seq, leaf_hash(data)), pdp_id, prev_hash, message, body)
