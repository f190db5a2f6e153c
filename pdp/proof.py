"""What a request's subject token proves, put beside the request; and how long it does.

The decision point's step before the law: `pdp.admission` is pure and takes
what was verified, or nothing. Nothing here waits for anything.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from pdp.boundary import Admitted, with_token
from pdp.identity.token import TokenRefusedError, TokenVerifier
from pdp.subject_token import SubjectToken
from pdp.telemetry import Telemetry
from pdp.v1 import authorization_pb2 as pb


def proved(
    admitted: Admitted,
    tokens: TokenVerifier | None,
    now_ns: int,
    telemetry: Telemetry,
    proofs: dict[str, SubjectToken | None] | None = None,
) -> Admitted:
    """The request with what its token proves at this moment.

    Args:
        admitted: past the boundary, with a token that nobody has looked at.
        tokens: verifies; None: no issuer is configured, so no token proves anything.
        now_ns: nanoseconds since the epoch.
        telemetry: counts why a token was refused; its words go nowhere.
        proofs: what tokens were found to prove at this same moment, by their whole text: many
            questions of a batch bring one token, and it is verified once.

    Returns:
        The same without proof if the token is refused: `pdp.admission` denies that.
    """
    text = admitted.request.subject_token
    if proofs is None:
        proofs = {}
    if text not in proofs:
        proofs[text] = verified(text, tokens, now_ns, telemetry)
    token = proofs[text]
    return admitted if token is None else with_token(admitted, token)


def verified(
    text: str, tokens: TokenVerifier | None, now_ns: int, telemetry: Telemetry
) -> SubjectToken | None:
    """What a token proves at this moment; None: nothing. Counted either way.

    Args:
        text: as it came.
        tokens: verifies.
        now_ns: nanoseconds since the epoch.
        telemetry: counts.
    """
    if tokens is None:
        telemetry.count("tokens", "no_issuers")
        return None
    try:
        token = tokens.verify(text, now_ns)
    except TokenRefusedError as error:
        telemetry.count("tokens", error.fault.value)
        return None
    telemetry.count("tokens", "verified")
    return token


def has_ended(admitted: Admitted | None, now_ns: int) -> bool:
    """Whether there was a proof, and it does not hold any longer."""
    token = None if admitted is None else admitted.token
    return token is not None and now_ns >= token.expires_ns


def kept(message: bytes, admitted: Admitted | None) -> bytes:
    """A request message as a record may keep it: without its token.

    That is good until it ends, for whoever reads the record. Of a message that nobody could read,
    nothing is kept: what in it is a token, nobody can say.

    Args:
        message: as received.
        admitted: what was made of it, or None.
    """
    if admitted is not None and not admitted.request.subject_token:
        return message
    try:
        copy = pb.AuthorizeRequest.FromString(message)
    except DecodeError:
        return b""
    if not copy.subject_token:
        return message
    copy.ClearField("subject_token")
    return copy.SerializeToString(deterministic=True)
