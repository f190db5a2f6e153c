"""Batches and streams as they come over the wire, taken apart without looking into questions.

A nested message and a field of bytes look alike on the wire. So a batch is read
here as a message whose questions are bytes: each keeps the digest of what was
sent, goes through the same door as a question that comes alone, and one that is
damaged damages no other. A test compares these field numbers with the
published ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    message_factory,
    wrappers_pb2,
)
from google.protobuf.message import DecodeError

from pdp.errors import InvalidRequestError
from pdp.v1 import authorization_pb2 as pb
from pdp.values import NANOS

# A message whose only field is a text with number 1, which is where `AuthorizeRequest` has its
# `request_id`. All other fields are unknown to it, and are skipped and not decoded.
_RequestId: Final = wrappers_pb2.StringValue
_SEMANTICS: Final = frozenset(pb.BatchSemantic.values()) - {pb.BATCH_SEMANTIC_UNSPECIFIED}


@dataclass(frozen=True, slots=True)
class BatchMessage:
    """A batch whose questions have not been looked at, but for their ids.

    Attributes:
        request_id: of the batch.
        semantic: a known one, not UNSPECIFIED.
        items: (id, bytes) of each question; at least one, no two with one id.
    """

    request_id: str
    semantic: int
    items: Sequence[tuple[str, bytes]]


_Field = descriptor_pb2.FieldDescriptorProto
_Kind = tuple[str, int, "_Field.Type.ValueType", "_Field.Label.ValueType"]


def _mirror(*fields: _Kind) -> Any:
    """A message of these fields, its questions as bytes. In a pool of its own."""
    described = descriptor_pb2.DescriptorProto(name="Mirror")
    for name, number, kind, label in fields:
        described.field.add(name=name, number=number, type=kind, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(
        descriptor_pb2.FileDescriptorProto(
            name="mirror.proto", package="mirror", syntax="proto3", message_type=[described]
        )
    )
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("mirror.Mirror"))


_Batch: Final = _mirror(
    ("request_id", 1, _Field.TYPE_STRING, _Field.LABEL_OPTIONAL),
    # An enum, as a number: so one that is unknown is seen.
    ("semantic", 2, _Field.TYPE_INT32, _Field.LABEL_OPTIONAL),
    ("items", 3, _Field.TYPE_BYTES, _Field.LABEL_REPEATED),
)
_Question: Final = _mirror(
    ("request", 1, _Field.TYPE_BYTES, _Field.LABEL_OPTIONAL),
    # A duration, as bytes: absent is not the same as none.
    ("timeout", 2, _Field.TYPE_BYTES, _Field.LABEL_REPEATED),
    ("together", 3, _Field.TYPE_BYTES, _Field.LABEL_REPEATED),
)
_Answers: Final = _mirror(
    ("answer", 1, _Field.TYPE_BYTES, _Field.LABEL_OPTIONAL),
    ("together", 2, _Field.TYPE_BYTES, _Field.LABEL_REPEATED),
)


def read_id(message: bytes) -> str:
    """The `request_id` of a question that is not looked at otherwise; empty if it has none.

    Raises:
        InvalidRequestError: not a protobuf message.
    """
    try:
        return _RequestId.FromString(message).value
    except (DecodeError, UnicodeDecodeError):
        raise InvalidRequestError("request", "is not a protobuf message") from None


def read_name(message: bytes, bytes_max: int) -> str:
    """The `request_id` of a question, judged.

    Raises:
        InvalidRequestError: not a protobuf message, no id, or one that is too long.
    """
    request_id = read_id(message)
    _check_id(request_id, "request_id", bytes_max)
    return request_id


def split_together(message: bytes, count_max: int) -> list[bytes]:
    """The messages of questions that were sent together, not looked at; none: it is one question.

    Args:
        message: an `AuthorizeStreamRequest` as received; trusted in nothing.
        count_max: questions, at most.

    Raises:
        InvalidRequestError: there is more in it than them, or there are more of them.
    """
    try:
        parsed = _Question.FromString(message)
    except (DecodeError, UnicodeDecodeError):
        return []  # whoever reads it as one question says what it is
    if not parsed.together:
        return []
    found = list(parsed.together)
    parsed.DiscardUnknownFields()
    if parsed.ByteSize() != len(message) or parsed.request or parsed.timeout:
        raise InvalidRequestError("together", "is all that a message has that has it")
    if len(found) > count_max:
        raise InvalidRequestError("together", f"are more than {count_max}")
    return found


def join_question(question: bytes, timeout_s: float) -> bytes:
    """The message of one question of a stream."""
    nanos = max(0, round(timeout_s * NANOS))
    span = duration_pb2.Duration(seconds=nanos // NANOS, nanos=nanos % NANOS)
    joined: bytes = _Question(
        request=question, timeout=[span.SerializeToString()]
    ).SerializeToString()
    return joined


def join_together(messages: Sequence[bytes]) -> bytes:
    """One message of several questions, each as `join_question` makes it."""
    joined: bytes = _Question(together=messages).SerializeToString()
    return joined


def join_answers(answers: Sequence[bytes]) -> bytes:
    """A message of a stream with these answers: of one, as it was before there could be more."""
    made = _Answers(answer=answers[0]) if len(answers) == 1 else _Answers(together=answers)
    joined: bytes = made.SerializeToString()
    return joined


def split_answers(message: bytes) -> list[bytes]:
    """The answers of a stream's message, not looked at.

    Raises:
        InvalidRequestError: not an `AuthorizeStreamResponse`.
    """
    try:
        parsed = _Answers.FromString(message)
    except (DecodeError, UnicodeDecodeError):
        raise InvalidRequestError("answer", "is not a message of this protocol") from None
    # One that is empty is there all the same, and is no answer.
    return [*parsed.together, *([parsed.answer] if parsed.answer or not parsed.together else [])]


def split_question(message: bytes) -> tuple[bytes, float | None]:
    """The question of a stream's message, not looked at, and the seconds its answer may take.

    Raises:
        InvalidRequestError: not an `AuthorizeStreamRequest`, unknown fields, or no time.
    """
    try:
        parsed = _Question.FromString(message)
        parsed.DiscardUnknownFields()
        spans = [duration_pb2.Duration.FromString(item) for item in parsed.timeout]
    except (DecodeError, UnicodeDecodeError):
        raise InvalidRequestError(
            "request", "is not a `pdp.v1.AuthorizeStreamRequest` message"
        ) from None
    if parsed.together:
        raise InvalidRequestError("together", "has questions that have others with them")
    # As for batches: twice is neither.
    if parsed.ByteSize() != len(message) or len(spans) > 1:
        raise InvalidRequestError(
            "request", "has fields that this version of the decision point does not know, or twice"
        )
    if not spans:
        return parsed.request, None
    (span,) = spans
    if span.seconds < 0 or not 0 <= span.nanos < NANOS:
        raise InvalidRequestError("timeout", "is no time that an answer can take")
    return parsed.request, span.seconds + span.nanos / NANOS


def join_batch(request_id: str, semantic: int, items: Sequence[bytes]) -> bytes:
    """A batch of questions that are encoded already: each is sent as the bytes that it is."""
    joined: bytes = _Batch(
        request_id=request_id, semantic=semantic, items=items
    ).SerializeToString()
    return joined


def split_batch(message: bytes, items_max: int, name_bytes_max: int) -> BatchMessage:
    """Take a batch apart.

    Args:
        message: as received; trusted in nothing.
        items_max: questions, at most.
        name_bytes_max: of each id.

    Raises:
        InvalidRequestError: about the batch, or about an id in it: without one of its own a
            question cannot be answered. Whatever else is wrong with a question is its own affair.
    """
    try:
        parsed = _Batch.FromString(message)
    except (DecodeError, UnicodeDecodeError):
        raise InvalidRequestError(
            "request", "is not a `pdp.v1.AuthorizeBatchRequest` message"
        ) from None
    parsed.DiscardUnknownFields()
    # A field that comes twice counts once. Others might go by the other one, so neither counts.
    if parsed.ByteSize() != len(message):
        raise InvalidRequestError(
            "request", "has fields that this version of the decision point does not know, or twice"
        )
    _check_id(parsed.request_id, "request_id", name_bytes_max)
    if parsed.semantic not in _SEMANTICS:
        raise InvalidRequestError("semantic", "is required, and is one of three")
    if not parsed.items:
        raise InvalidRequestError("items", "is required: a batch has at least one question")
    if len(parsed.items) > items_max:
        raise InvalidRequestError("items", f"are more than {items_max}")
    found: dict[str, bytes] = {}
    for index, item in enumerate(parsed.items):
        path = f"items[{index}]"
        try:
            request_id = read_id(item)
        except InvalidRequestError:
            raise InvalidRequestError(path, "is not a protobuf message") from None
        _check_id(request_id, f"{path}.request_id", name_bytes_max)
        if request_id in found:
            raise InvalidRequestError(f"{path}.request_id", "is that of another question too")
        found[request_id] = item
    return BatchMessage(parsed.request_id, parsed.semantic, tuple(found.items()))


def _check_id(text: str, path: str, bytes_max: int) -> None:
    if not text:
        raise InvalidRequestError(path, "is required")
    if len(text.encode()) > bytes_max:
        raise InvalidRequestError(path, f"is longer than {bytes_max} bytes")
