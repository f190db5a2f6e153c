"""The faults, each with its name and what it is in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from pdp.failsafe.answers import MANGLED, SPOILED
from pdp.failsafe.frames import SPEECHES

Place = Literal["answer", "batch", "peer", "speech", "cut", "certificate", "own", "process"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        name: in reports and options.
        place: where it is made; see `pdp.failsafe.trial`.
        words: what it is.
        script: what the scripted PDP, or the place, is told.
    """

    name: str
    place: Place
    words: str
    script: str

    @property
    def transport(self) -> bool:
        """Whether it is made below the protocol, so that clients of other protocols meet it too."""
        return self.place in {"peer", "speech", "certificate"}


_SPOILED_WORDS: Final = {
    "wrong_request_id": "a permit to another question's id",
    "no_request_id": "a permit without a request id",
    "wrong_digest": "a permit to other bytes than were sent",
    "no_digest": "a permit without a digest",
    "short_digest": "a permit with a digest of one byte",
    "effect_zero": "an answer without an effect",
    "effect_unknown": "an effect that is not in the enumeration",
    "effect_negative": "an effect below zero",
    "cause_zero": "a permit without a cause",
    "cause_unknown": "a permit with a cause that is not in the enumeration",
    "cause_of_a_client": "a permit with a cause that only clients have",
    "permit_by_default": "a permit that no rule made",
    "permit_by_audit": "a permit whose cause is a failure",
    "no_decision_id": "a permit without the id of its decision",
    "no_rules": "a permit that names no rule",
    "no_bundle": "a permit that names no bundle",
    "short_bundle_digest": "a permit whose bundle has a digest of one byte",
    "no_record": "a permit that nobody recorded",
    "record_without_number": "a permit whose record has no number",
    "short_record_hash": "a permit whose record has a hash of one byte",
    "obligation_unknown": "a permit with an obligation that nobody has declared",
    "obligation_of_another_type": "a permit with an obligation that is declared for another type",
    "obligation_without_id": "a permit with an obligation without an id",
    "obligation_without_type": "a permit with an obligation without a type",
    "obligation_meaningless": "a permit with an obligation whose property has no value",
}
_MANGLED_WORDS: Final = {
    "no_message": "status OK and no message",
    "empty_message": "an empty message",
    "garbage": "bytes that are no message",
    "cut_in_half": "half of a permit, with its length right",
    "bad_unicode": "a permit with text that is no UTF-8",
    "oversize": "a permit of 300 KB",
    "another_message": "another message of the protocol",
}
# Of a batch of three; adapters that ask in batches meet these too.
_BATCH_WORDS: Final = {
    "batch_id": "a batch's answer with another id",
    "batch_no_id": "a batch's answer without an id",
    "batch_id_of_a_question": "a batch's answer with the id of one of its questions",
    "batch_digest": "a batch's answer to other bytes",
    "missing_first": "the first answer of a batch is missing",
    "missing_middle": "the second answer of a batch is missing",
    "missing_last": "the last answer of a batch is missing",
    "missing_all": "a batch's answer without answers",
    "twice": "an answer of a batch comes twice",
    "twice_in_place_of_another": "an answer of a batch comes twice, another not at all",
    "unknown_beside_them": "an answer to no question of the batch, beside the others",
    "exchanged_ids": "two answers of a batch have each other's ids",
    "exchanged_digests": "two answers of a batch have each other's digests",
    "digest_of_the_batch": "an answer of a batch with the digest of all of it",
}
_SPEECH_WORDS: Final = {
    "goaway": "GOAWAY in place of an answer",
    "goaway_calm": "GOAWAY with ENHANCE_YOUR_CALM",
    "rst_stream": "the stream is reset",
    "html_page": "status 200 and a page of HTML that says permit",
    "json_permit": "status 200 and JSON that says true",
    "status_ok_without_message": "headers, no message, status OK",
    "status_that_is_no_number": "a status that is no number",
    "no_trailers": "a stream that ends without a status",
    "frame_too_long": "a frame longer than is allowed",
    "frame_on_stream_zero": "data on stream zero",
    "http_1": "HTTP/1.1 in place of HTTP/2",
    "noise": "noise after the handshake",
}
_ENDS: Final = {
    "reset": "a reset",
    "close": "a close",
    "flip": "a changed byte",
    "stall": "silence, the connection stays",
    "drip": "a byte every 5 ms",
}

FAULTS: Final[tuple[Fault, ...]] = (
    *(Fault(name, "answer", _SPOILED_WORDS[name], name) for name in SPOILED),
    *(Fault(name, "answer", _MANGLED_WORDS[name], name) for name in MANGLED),
    Fault("replayed", "answer", "the permit that another question got before", "replayed"),
    Fault("bomb", "answer", "a permit that unpacks to 4 MB", "bomb"),
    Fault("late", "answer", "a permit a millisecond after the deadline", "slow"),
    Fault("no_status", "answer", "a permit whose status never comes", "silence_after_permit"),
    Fault("permit_twice", "answer", "two permits to one question", "permit_twice"),
    Fault("pushback_far", "answer", "not now, come again in ten seconds", "pushback:10000"),
    Fault("pushback_never", "answer", "not now, and do not come again", "pushback:-1"),
    *(
        Fault(f"status_{number}", "answer", f"status {number}, no message", f"status:{number}")
        for number in range(1, 17)
    ),
    *(
        Fault(
            f"status_{number}_after_permit",
            "answer",
            f"a permit, then status {number}",
            f"status_after_permit:{number}",
        )
        for number in (2, 4, 7, 13, 14)
    ),
    *(Fault(name, "batch", words, name) for name, words in _BATCH_WORDS.items()),
    *(Fault(name, "speech", _SPEECH_WORDS[name], name) for name in SPEECHES),
    Fault("refused", "peer", "nobody listens", "refused"),
    Fault("silent", "peer", "a peer that accepts and says nothing", "silent"),
    Fault("talks_first", "peer", "a peer that talks at once, and not TLS", "garbage"),
    Fault("silent_after_tls", "peer", "a peer that shakes hands and is silent", "tls"),
    Fault("reset_after_tls", "peer", "a peer that shakes hands and resets", "tls_reset"),
    Fault("expired", "certificate", "the PDP's certificate has expired", "expired"),
    Fault("not_yet_valid", "certificate", "it is valid from an hour on", "not_yet_valid"),
    Fault("foreign", "certificate", "it is of an authority that nobody knows", "foreign"),
    Fault("wrong_name", "certificate", "it is another host's", "elsewhere"),
    Fault("nameless", "certificate", "it has no host's name", "nameless"),
    Fault("own_expired", "own", "the client's own certificate has expired", "expired"),
    Fault("own_foreign", "own", "the client's own authority is unknown to the PDP", "foreign"),
    *(
        Fault(f"{end}_in_{part}", "cut", f"{words} within the {part}", f"{end}:{towards}")
        for end, words in _ENDS.items()
        for part, towards in (("answer", "client"), ("question", "server"))
    ),
    Fault("stopped", "process", "the PDP is stopped (SIGSTOP) with connections open", "STOP"),
    Fault("killed", "process", "the PDP is killed while it answers", "KILL"),
)
