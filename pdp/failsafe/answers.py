"""Answers of a PDP with one thing wrong, made from the honest permit. None of them is a permit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from pdp.v1 import authorization_pb2 as pb

SERVICE = "pdp.v1.AuthorizationService"
# The action of a question whose resource's id says how to answer.
SCRIPTED = "scripted"
OVERSIZE_BYTES = 300_000
BATCH_OVERSIZE_BYTES = 5_000_000
BOMB_BYTES = 4_000_000
_SEVEN_BITS = 0x7F


def honest_permit(request: pb.AuthorizeRequest, received: bytes) -> pb.AuthorizeResponse:
    """The answer of a PDP that permits."""
    return pb.AuthorizeResponse(
        request_id=request.request_id,
        request_digest=hashlib.sha256(received).digest(),
        effect=pb.EFFECT_PERMIT,
        cause=pb.CAUSE_RULE,
        decision_id="0192f0c1-0000-7000-8000-000000000001",
        rules=["simulated/permits"],
        bundle=pb.BundleRef(revision=1, digest=bytes(32)),
        record=pb.RecordRef(pdp_id="simulator/0/1", seq=1, hash=bytes(32)),
    )


def _cleared(name: str) -> Callable[[pb.AuthorizeResponse], None]:
    return lambda answer: answer.ClearField(name)


def _changed(**fields: Any) -> Callable[[pb.AuthorizeResponse], None]:
    return lambda answer: answer.MergeFrom(pb.AuthorizeResponse(**fields))


def _obliged(name: str, kind: str) -> Callable[[pb.AuthorizeResponse], None]:
    return lambda answer: answer.obligations.append(pb.Obligation(id=name, type=kind))


def _meaningless_obligation(answer: pb.AuthorizeResponse) -> None:
    answer.obligations.add(id="watermark", type="custom").properties["text"].SetInParent()


def _denied(answer: pb.AuthorizeResponse) -> None:
    answer.effect = pb.EFFECT_DENY
    answer.ClearField("record")


def _lengthened(answer: pb.AuthorizeResponse) -> None:
    answer.rules.extend(f"simulated/rule-{index:05d}" for index in range(5_000))


def _overloaded(answer: pb.AuthorizeResponse) -> None:
    _denied(answer)
    answer.cause = pb.CAUSE_OVERLOADED


# Honest answers, other than the permit.
VARIED: dict[str, Callable[[pb.AuthorizeResponse], None]] = {
    "deny": _denied,
    "overloaded": _overloaded,
    "obliged": _obliged("watermark", "custom"),
    "long": _lengthened,  # several TLS records, several frames
}

# What each fault does to an honest permit. None of these is a permit.
SPOILED: dict[str, Callable[[pb.AuthorizeResponse], None]] = {
    "wrong_request_id": _changed(request_id="f" * 32),
    "no_request_id": _cleared("request_id"),
    "wrong_digest": _changed(request_digest=hashlib.sha256(b"another").digest()),
    "no_digest": _cleared("request_digest"),
    "short_digest": _changed(request_digest=b"\0"),
    "effect_zero": _cleared("effect"),
    "effect_unknown": _changed(effect=3),
    "effect_negative": _changed(effect=-1),
    "cause_zero": _cleared("cause"),
    "cause_unknown": _changed(cause=99),
    "cause_of_a_client": _changed(cause=100),
    "permit_by_default": _changed(cause=pb.CAUSE_DEFAULT),
    "permit_by_audit": _changed(cause=pb.CAUSE_AUDIT),
    "no_decision_id": _cleared("decision_id"),
    "no_rules": _cleared("rules"),
    "no_bundle": _cleared("bundle"),
    "short_bundle_digest": _changed(bundle=pb.BundleRef(revision=1, digest=b"\1")),
    "no_record": _cleared("record"),
    "record_without_number": lambda answer: answer.record.ClearField("seq"),
    "short_record_hash": _changed(record=pb.RecordRef(hash=b"\1")),
    "obligation_unknown": _obliged("burn-after-reading", "custom"),
    "obligation_of_another_type": _obliged("watermark", "step-up"),
    "obligation_without_id": _obliged("", "custom"),
    "obligation_without_type": _obliged("watermark", ""),
    "obligation_meaningless": _meaningless_obligation,
}

# Whole messages that are no answer. Each is made from the honest permit.
MANGLED: dict[str, Callable[[bytes], list[bytes]]] = {
    "no_message": lambda _: [],
    "empty_message": lambda _: [b""],
    "garbage": lambda _: [bytes(range(256))],
    "cut_in_half": lambda honest: [honest[: len(honest) // 2]],
    "bad_unicode": lambda honest: [honest + b"\x0a\x02\xff\xfe"],
    "oversize": lambda honest: [honest + b"\x32" + varint(OVERSIZE_BYTES) + b"r" * OVERSIZE_BYTES],
    "another_message": lambda _: [pb.BundleRef(revision=1).SerializeToString()],
}


def varint(number: int) -> bytes:
    """A length in protobuf's wire format."""
    out = bytearray()
    while number > _SEVEN_BITS:
        out.append(number & _SEVEN_BITS | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _without(place: int) -> Callable[[pb.AuthorizeBatchResponse], None]:
    def without(answer: pb.AuthorizeBatchResponse) -> None:
        del answer.items[place]

    return without


def _items_changed(place: int, **fields: Any) -> Callable[[pb.AuthorizeBatchResponse], None]:
    return lambda answer: answer.items[place].MergeFrom(pb.AuthorizeResponse(**fields))


def _exchanged(*fields: str) -> Callable[[pb.AuthorizeBatchResponse], None]:
    """The first two answers have each other's."""

    def exchange(answer: pb.AuthorizeBatchResponse) -> None:
        first, second = answer.items[0], answer.items[1]
        for field in fields:
            kept = getattr(first, field)
            setattr(first, field, getattr(second, field))
            setattr(second, field, kept)

    return exchange


def _again(answer: pb.AuthorizeBatchResponse) -> None:
    answer.items.append(answer.items[0])


def _again_in_place_of_another(answer: pb.AuthorizeBatchResponse) -> None:
    answer.items[1].CopyFrom(answer.items[0])


def _another_beside_them(answer: pb.AuthorizeBatchResponse) -> None:
    answer.items.add().CopyFrom(answer.items[0])
    answer.items[-1].request_id = "f" * 32


def _no_answers(answer: pb.AuthorizeBatchResponse) -> None:
    answer.ClearField("items")


def _no_id(answer: pb.AuthorizeBatchResponse) -> None:
    answer.ClearField("request_id")


def _last_spoilt(spoil: Callable[[pb.AuthorizeResponse], None]) -> Any:
    def spoilt(answer: pb.AuthorizeBatchResponse) -> None:
        spoil(answer.items[-1])

    return spoilt


# What concerns one question alone: a duty that its program has not declared.
ONE_ALONE = ("obligation_unknown", "obligation_of_another_type")

# What each fault does to the honest answer to a batch. None of it is a permit then.
BATCH_SPOILED: dict[str, Callable[[pb.AuthorizeBatchResponse], None]] = {
    "batch_id": lambda answer: answer.MergeFrom(pb.AuthorizeBatchResponse(request_id="f" * 32)),
    "batch_no_id": _no_id,
    "batch_id_of_a_question": lambda answer: answer.MergeFrom(
        pb.AuthorizeBatchResponse(request_id=answer.items[0].request_id)
    ),
    "batch_digest": lambda answer: answer.MergeFrom(
        pb.AuthorizeBatchResponse(request_digest=bytes(32))
    ),
    "missing_first": _without(0),
    "missing_middle": _without(1),
    "missing_last": _without(-1),
    "missing_all": _no_answers,
    "twice": _again,
    "twice_in_place_of_another": _again_in_place_of_another,
    "unknown_beside_them": _another_beside_them,
    "exchanged_ids": _exchanged("request_id"),
    "exchanged_digests": _exchanged("request_digest"),
    "digest_of_the_batch": lambda answer: _items_changed(0, request_digest=answer.request_digest)(
        answer
    ),
    **{
        f"last_{name}": _last_spoilt(spoil)
        for name, spoil in SPOILED.items()
        if name not in ONE_ALONE
    },
}


def told_by(question: pb.AuthorizeRequest) -> str:
    """How a question says to answer: by its action, or where that is fixed, by its resource."""
    return question.resource.id if question.action.name == SCRIPTED else question.action.name


def honest_batch(request: pb.AuthorizeBatchRequest, received: bytes) -> pb.AuthorizeBatchResponse:
    """The answer of a PDP that permits each question, but those whose action it knows."""
    answer = pb.AuthorizeBatchResponse(
        request_id=request.request_id, request_digest=hashlib.sha256(received).digest()
    )
    for item in request.items:
        one = honest_permit(item, item.SerializeToString())
        name = told_by(item)
        if name in VARIED:
            VARIED[name](one)
        elif name in ONE_ALONE:
            SPOILED[name](one)
        answer.items.append(one)
        permits = one.effect == pb.EFFECT_PERMIT
        if request.semantic != pb.BATCH_SEMANTIC_EXECUTE_ALL and permits is (
            request.semantic == pb.BATCH_SEMANTIC_PERMIT_ON_FIRST_PERMIT
        ):
            break
    return answer
