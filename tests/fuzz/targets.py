"""What is promised about each hostile input, as one function of bytes.

A target makes valid inputs to start from and a check: the check returns whether
the bytes were accepted, and raises whenever the promise is broken: another
exception than the one that is promised, a permit where there is no reason for
one, a byte that is not accounted for. Nothing here knows who makes the bytes:
Hypothesis does in `make test`, a coverage-guided fuzzer in `make prove`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

Check = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Running:
    """A target that is set up.

    Attributes:
        seeds: valid inputs, which the check accepts.
        check: whether bytes are accepted; raises when the promise is broken.
    """

    seeds: tuple[bytes, ...]
    check: Check


def admitted_by(admit: Callable[..., Any], *arguments: object) -> tuple[object, object]:
    """What a way of reading a request makes of it, or why it refuses."""
    from pdp.errors import InvalidRequestError
    from pdp.values import canonical

    try:
        admitted = admit(*arguments)
    except InvalidRequestError as error:
        return error.field, error.reason
    return admitted.request, canonical(dict(admitted.attributes))


def _permitted_and_denied() -> Any:
    """A snapshot in which everything is permitted and everything is denied too.

    So nothing may be permitted however well it is asked, and all of the way to the last rule is
    open. The doors' own clock stands still, so it stays fresh.
    """
    from pdp.callers import CallerEntry, CallerPolicy
    from pdp.cel.limits import EvaluationLimits
    from pdp.model import Effect
    from pdp.policy import PolicyDocument, PolicySet
    from tests.simulators.certificates import TRUST_DOMAIN
    from tests.simulators.decision_points import now_snapshot, rule

    both = PolicyDocument(
        name="documents",
        resource_type="document",
        owner="tests@example.org",
        static_roles=("manager",),
        variables=(),
        roles=(),
        rules=(rule("all", Effect.PERMIT, ("*",)), rule("none", Effect.DENY, ("*",))),
    )
    entry = CallerEntry(
        id=f"spiffe://{TRUST_DOMAIN}/*",
        resources=("document",),
        actions=("*",),
        asserts=("user",),
        may=frozenset({"batch"}),
    )
    policies = {"default": PolicySet([both], EvaluationLimits())}
    return now_snapshot(policies=policies, callers=CallerPolicy((entry,)))


def _questions() -> tuple[Any, ...]:
    """Valid ones."""
    from tests.simulators.decision_points import ask

    nested: Any = {"a": [None, True, b"x"], "b": {"c": 1.5, "d": -1}}
    return (
        ask(),
        ask("destroy", roles=["manager"], n=5, f=1.5, m=nested),
        ask("é漢", **{"x" * 40: "y" * 200}),
    )


@contextmanager
def request_bytes() -> Iterator[Running]:
    """A request at the server's door: a denial or INVALID_ARGUMENT; one line; never a permit.

    Whatever came before, it is taken for what it is taken for by itself.
    """
    from pdp import wire
    from tests.simulators.decision_points import PEP, HeldSnapshot, MemoryRecorder, message
    from tests.test_server import bench_door, outcome

    recorder = MemoryRecorder()
    door = bench_door(recorder, HeldSnapshot(_permitted_and_denied()))
    loop = asyncio.new_event_loop()

    def check(data: bytes) -> bool:
        recorder.entries.clear()
        assert admitted_by(door.interner.admit, data, PEP) == admitted_by(
            wire.admit_message, data, PEP, door.limits.input
        )
        status, details = loop.run_until_complete(outcome(door, data))
        assert (status, details) == ("OK", "DENY") or status == "INVALID_ARGUMENT", details
        assert details.isprintable()
        assert door._telemetry.counters["failures", "decision_point"] == 0
        return status == "OK"

    try:
        yield Running(tuple(message(one) for one in _questions()), check)
    finally:
        loop.close()


@contextmanager
def batch_bytes() -> Iterator[Running]:
    """A batch at the server's door: a denial for each question, with its digest, or a refusal."""
    import dataclasses
    import hashlib

    from pdp.v1 import authorization_pb2 as pb
    from pdp.wire_batch import split_batch
    from tests.simulators.decision_points import MemoryRecorder
    from tests.test_batch import bench_doors, message, outcome

    recorder = MemoryRecorder()
    door, batches = bench_doors(recorder=recorder, snapshot=_permitted_and_denied())
    loop = asyncio.new_event_loop()

    def check(data: bytes) -> bool:
        recorder.entries.clear()
        status, found = loop.run_until_complete(outcome(batches, data))
        assert (door.gate.in_flight, door.gate.bytes_in_flight) == (0, 0)
        assert door._telemetry.counters["failures", "decision_point"] == 0
        if status != "OK":
            assert status == "INVALID_ARGUMENT"
            assert found.isprintable()
            return False
        asked = dict(split_batch(data, 1_000, 1 << 20).items)
        assert found.request_digest == hashlib.sha256(data).digest()
        for item in found.items:
            assert item.effect == pb.EFFECT_DENY
            assert item.request_digest == hashlib.sha256(asked.pop(item.request_id)).digest()
        assert recorder.entries
        return True

    named = [
        dataclasses.replace(one, request_id=f"q{place}") for place, one in enumerate(_questions())
    ]
    try:
        yield Running(tuple(message(named, semantic) for semantic in (1, 2, 3)), check)
    finally:
        loop.close()


@contextmanager
def conversation_bytes() -> Iterator[Running]:
    """A message in a conversation: a denial for each question; the next message is answered."""
    import dataclasses

    from google.protobuf import duration_pb2

    from pdp.errors import InvalidRequestError
    from pdp.v1 import authorization_pb2 as pb
    from pdp.wire import request_to_pb
    from pdp.wire_batch import join_together, split_together
    from tests.simulators.decision_points import HeldSnapshot, MemoryRecorder
    from tests.test_server import bench_door
    from tests.test_stream import Talk, held, question

    recorder = MemoryRecorder()
    door = bench_door(recorder, HeldSnapshot(_permitted_and_denied()))
    loop = asyncio.new_event_loop()
    after = question("after", "destroy")

    def questions(data: bytes) -> int:
        try:
            return len(split_together(data, 1_000))
        except InvalidRequestError:
            return 1

    def check(data: bytes) -> bool:
        recorder.entries.clear()
        talk = Talk(incoming=[data, after])
        assert loop.run_until_complete(held(door, talk)) == "OK"
        assert (door.gate.in_flight, door.gate.bytes_in_flight) == (0, 0)
        assert door._telemetry.counters["failures", "decision_point"] == 0
        assert {one.effect for one in talk.outgoing} == {pb.EFFECT_DENY}
        assert all(one.invalid.isprintable() for one in talk.outgoing)
        # Both may be called `after`, and be in flight at once: then one of them is invalid.
        assert len(talk.outgoing) == 1 + max(1, questions(data))
        return pb.CAUSE_INVALID not in {one.cause for one in talk.outgoing}

    named = [
        dataclasses.replace(one, request_id=f"q{place}") for place, one in enumerate(_questions())
    ]
    spans = (None, duration_pb2.Duration(nanos=500_000_000), duration_pb2.Duration(seconds=9))
    seeds = [
        pb.AuthorizeStreamRequest(request=request_to_pb(one), timeout=span).SerializeToString()
        for one, span in zip(named, spans, strict=True)
    ]
    seeds.append(join_together(seeds[1:]))
    try:
        yield Running(tuple(seeds), check)
    finally:
        loop.close()


@contextmanager
def answer_bytes() -> Iterator[Running]:
    """An answer at the client: a denial, unless all of it is as a permit must be."""
    from tests.test_client_core import CAN_MEET, asked, concluded, ended, honest, may_permit

    call = asked()

    def check(data: bytes) -> bool:
        result = ended(data)
        conclusion = concluded(call, result, CAN_MEET)
        assert bool(conclusion.decision) == may_permit(call, result, CAN_MEET)
        assert conclusion.unexpected is None
        return bool(conclusion.decision)

    permit = honest(call)
    duty = honest(call)
    duty.obligations.add(type="custom", id="watermark")
    yield Running((permit.SerializeToString(), duty.SerializeToString()), check)


@contextmanager
def batch_answer_bytes() -> Iterator[Running]:
    """An answer to a batch at the client: permits only where every part of it is as it must be."""
    from pdp.model import Semantic
    from tests.test_client_batch import begun, concluded, honest, may_permit_batch
    from tests.test_client_core import CAN_MEET, ended

    batch = begun("permit", "deny", "obliged", semantic=Semantic.PERMIT_ON_FIRST_PERMIT)
    whole = begun("permit", "deny", "obliged")

    def check(data: bytes) -> bool:
        # The first byte says which batch was asked.
        asked, rest = (whole if data[:1] == b"W" else batch), data[1:]
        result = ended(rest)
        conclusions = concluded(asked, result, CAN_MEET)
        permits = [one is not None and bool(one.decision) for one in conclusions]
        assert permits == may_permit_batch(asked, result, CAN_MEET)
        assert all(one is None or one.unexpected is None for one in conclusions)
        return any(permits)

    seeds = b"W" + honest(whole).SerializeToString(), b"P" + honest(batch).SerializeToString()
    yield Running(seeds, check)


@contextmanager
def check_request_bytes() -> Iterator[Running]:
    """What Envoy asks: always a CheckResponse that denies, and always recorded."""
    import dataclasses

    from pdp.v1 import ext_authz_pb2
    from tests.simulators.envoy import check_request, mapping_of, told, with_body
    from tests.simulators.envoy_door import Bench, Call

    bench = Bench()
    bench.snapshots.snapshot = dataclasses.replace(
        _permitted_and_denied(), mappings={"default": mapping_of()}
    )
    loop = asyncio.new_event_loop()

    def check(data: bytes) -> bool:
        bench.recorder.entries.clear()
        answer = loop.run_until_complete(bench.door.check(data, Call()))
        status, cause = told(ext_authz_pb2.EnvoyCheckResponse.FromString(answer))
        assert status in {401, 403}
        assert bench.telemetry.counters["failures", "decision_point"] == 0
        assert bench.telemetry.counters["refused", "internal"] == 0
        (entry,) = bench.recorder.entries
        assert entry.door == "ext_authz"
        return cause == "RULE"

    body = (
        b'{"subject": {"id": "bob", "properties": {"n": 1.5}}, "action": "write", '
        b'"resource": {"id": "1", "properties": {}}, "context": {"a": [null, true]}}'
    )
    seeds = (
        check_request(path="/documents/caf%C3%A9?a=1&b", headers={"x-other": "value"}),
        check_request("DELETE", headers={"authorization": "Bearer a.b.c"}, protocol="HTTP/1.1"),
        with_body(body, content_length=str(len(body))),
    )
    try:
        yield Running(tuple(seed.SerializeToString() for seed in seeds), check)
    finally:
        loop.close()


@contextmanager
def policy_text() -> Iterator[Running]:
    """A document of an author: it compiles and loads, or every problem has a place in it."""
    from pdp.authoring.checker import Checker
    from tests.fuzz.test_policy_text import compile_one, documents

    small = (
        b"policy: p\nresource: r\nrules:\n  - id: a\n    effect: deny\n    actions: [read]\n"
        b"    when: subject.id == 'x'\n"
    )
    with Checker() as checker:
        # By itself a document that imports another one is incomplete.
        whole = [found for found in documents(tests=False) if b"\nimports:" not in found]
        yield Running((small, *whole), lambda data: compile_one(data, checker))


@contextmanager
def bundle_archive() -> Iterator[Running]:
    """An archive: exactly what our own writer would write, with harmless names; or refused."""
    from pdp import archive
    from pdp.bundle.contents import compile_bundle, read_bundle
    from pdp.cel.limits import EvaluationLimits
    from pdp.errors import BundleRefusedError
    from tests.simulators import repository

    limits = archive.ArchiveLimits(archive_bytes_max=65_536, members_max=8, member_bytes_max=20_000)

    def check(data: bytes) -> bool:
        try:
            members = archive.read_archive(data, limits)
        except BundleRefusedError:
            return False
        assert archive.write_archive(members) == data
        assert len(members) <= 8
        for name, content in members.items():
            assert len(content) <= 20_000
            assert not {"", ".", ".."} & set(name.split("/")), name
            assert name.isascii()
            assert "\\" not in name
        with suppress(BundleRefusedError):
            compile_bundle(read_bundle(data, limits), EvaluationLimits())
        return True

    yield Running(
        (
            repository.archive(signed_at_s=1_780_000_000),
            archive.write_archive({"a/b": b"12345", "c": bytes(700)}),
        ),
        check,
    )


@contextmanager
def compiled_document() -> Iterator[Running]:
    """A compiled document: it loads, or it is refused with a PolicyError."""
    from pdp.authoring.checker import Checker
    from pdp.authoring.compilation import compile_document
    from tests.fuzz.test_policy_text import documents
    from tests.test_compiled import load

    with Checker() as checker:
        seeds = tuple(
            document.compiled
            for text in documents(tests=False)
            for document in compile_document("p.yaml", text, checker).documents
        )
    yield Running(seeds, lambda data: load(data) is not None)


@contextmanager
def checked_expr() -> Iterator[Running]:
    """A checked expression: a condition with a verdict, or an ExpressionError."""
    from pdp.authoring.checker import CONDITION_VARIABLES, Checker
    from pdp.cel.compile import compile_expression
    from pdp.cel.limits import EvaluationLimits
    from pdp.checked_expr import decode
    from pdp.errors import ExpressionError
    from pdp.model import Verdict
    from tests.test_cel_decode import SAMPLES

    attributes: dict[str, Any] = {
        "subject.id": "a",
        "context": {"a": {"b": {"c": "x"}}},
        "subject.properties": {},
    }
    limits = EvaluationLimits(cost_units_max=5_000)

    def check(data: bytes) -> bool:
        try:
            compiled = compile_expression(decode(data, "source"), {}, limits)
        except ExpressionError:
            return False
        assert type(compiled.verdict(attributes)) is Verdict
        return True

    with Checker() as checker:
        seeds = tuple(
            checker.check(source.replace("2u", "2"), CONDITION_VARIABLES).checked_expr
            for source in SAMPLES
        )
    yield Running(seeds, check)


@contextmanager
def spool_bytes() -> Iterator[Running]:
    """A segment of the spool: every byte is a record or in a gap, and a survey says which.

    The first byte says whether the rest is a segment, or a record at the end of one, in a frame
    whose checksum is right: no search gets past a checksum by itself.
    """
    from pdp.audit.log import RecordError, open_record
    from pdp.audit.reading import as_line
    from pdp.audit.segment import HEADER_BYTES, Frame, encode_frame
    from pdp.audit.survey import survey
    from tests.simulators.crashes import SPOOL
    from tests.simulators.disk import SimulatedDisk
    from tests.simulators.logs import Log
    from tests.test_audit_log import items

    logs = Log(3), Log(1)
    (name,) = logs[0].names
    segments = [bytes(log.disk.content(SPOOL / str(name))) for log in logs]
    last = logs[0].records[name][-1]
    first_frames = segments[0][: len(segments[0]) - len(encode_frame(last))]

    def check(data: bytes) -> bool:
        data = first_frames + encode_frame(data[1:]) if data[:1] == b"R" else data[1:]
        at = min(HEADER_BYTES, len(data))
        for item in items(data):
            assert item.offset == at
            at = item.end if isinstance(item, Frame) else item.offset + item.length
            if isinstance(item, Frame):
                try:
                    line = as_line(open_record(item.record))
                except RecordError:
                    continue
                assert line.isprintable()
        assert at == len(data)
        disk = SimulatedDisk(0)
        disk.make_directory(SPOOL)
        disk.put(SPOOL / str(name), data)
        return not survey([SPOOL], disk).problems.count

    yield Running((*(b"S" + segment for segment in segments), b"R" + last), check)


@contextmanager
def certificates() -> Iterator[Running]:
    """A certificate, a chain or a trust bundle: what passes is what was issued, or an error.

    The first byte says which, and whether the rest is PEM, DER that is dressed as PEM, or the
    part of a certificate that is signed: the authority signs whatever it is, as one would that
    issues bad certificates, for no search gets past a signature by itself.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    from pdp.errors import ConfigurationError, IdentityError
    from pdp.identity.svid import SvidVerifier
    from pdp.identity.trust import load_trust_bundle
    from tests.simulators.certificates import PEP, TRUST_DOMAIN
    from tests.test_svid import AUTHORITY, GOOD, NOW_NS, TRUST, pem_of

    issued = GOOD.leaf.tbs_certificate_bytes
    ecdsa_with_sha256 = bytes.fromhex("300a06082a8648ce3d040302")

    def part(tag: int, content: bytes) -> bytes:
        """One value in DER, of less than 64 KiB."""
        size = len(content)
        if size < 128:
            return bytes([tag, size]) + content
        if size < 256:
            return bytes([tag, 0x81, size]) + content
        return bytes([tag, 0x82]) + size.to_bytes(2, "big") + content

    def signed(tbs: bytes) -> bytes:
        signature = AUTHORITY.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
        return part(0x30, tbs + ecdsa_with_sha256 + part(3, b"\0" + signature))

    good_pem = GOOD.leaf.public_bytes(Encoding.PEM)

    def check(data: bytes) -> bool:
        kind, rest = data[:1], data[1:]
        if kind == b"S":
            rest = signed(rest)
        pem = pem_of(rest) if kind in b"DEFS" else rest
        if kind in (b"T", b"F"):
            try:
                load_trust_bundle(TRUST_DOMAIN, pem)
            except ConfigurationError as error:
                assert str(error).isprintable()  # noqa: PT017 both ends are asserted
                return False
            return True
        chained = kind in (b"C", b"E")
        found = {"peer_spiffe_id": [PEP.encode()], "x509_pem_cert": [good_pem if chained else pem]}
        if chained:
            found["x509_pem_cert_chain"] = [pem]
        try:
            caller = SvidVerifier(TRUST).caller(found, "", NOW_NS)
        except IdentityError as error:
            assert str(error).isprintable()  # noqa: PT017 both ends are asserted
            return False
        assert caller.spiffe_id == PEP
        leaf = GOOD.leaf if chained else x509.load_pem_x509_certificate(pem)
        if kind == b"S":
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert names.get_values_for_type(x509.UniformResourceIdentifier) == [PEP]
        else:
            assert leaf.tbs_certificate_bytes == issued
        return True

    der = GOOD.leaf.public_bytes(Encoding.DER)
    root = x509.load_pem_x509_certificate(AUTHORITY.bundle_pem).public_bytes(Encoding.DER)
    yield Running(
        (
            *(b"P" + good_pem, b"D" + der, b"E" + der, b"S" + issued),
            *(b"T" + AUTHORITY.bundle_pem, b"F" + root),
        ),
        check,
    )


Target = Callable[[], AbstractContextManager[Running]]

# The inputs of docs/fuzzing.md, in its order.
TARGETS: dict[str, Target] = {
    "request": request_bytes,
    "batch": batch_bytes,
    "conversation": conversation_bytes,
    "check_request": check_request_bytes,
    "policy": policy_text,
    "archive": bundle_archive,
    "compiled": compiled_document,
    "checked": checked_expr,
    "spool": spool_bytes,
    "certificate": certificates,
    "answer": answer_bytes,
    "batch_answer": batch_answer_bytes,
}


def damage(data: bytes, chance: random.Random) -> bytes:
    """The bytes with one to four changes: flipped, cut out, said twice, cut off, or put in."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(out) + 1)
        length = chance.choice((1, 1, 2, 8, 60))
        match chance.randrange(6):
            case 0 | 1 if at < len(out):
                out[at] ^= 1 << chance.randrange(8)
            case 2:
                del out[at : at + length]
            case 3:
                out[at:at] = out[max(at - length, 0) : at]
            case 4 if not chance.randrange(4):
                del out[at:]
            case _:
                out[at : at + 1] = chance.randbytes(chance.choice((1, 1, 4)))
    return bytes(out)
