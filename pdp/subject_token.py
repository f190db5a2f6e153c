"""What a verified token proves, as the rules see it. Law ring: pure.

`pdp.identity.token` verifies; from there on a token is this value, and the
text that came is looked at no more. How it was verified is none of the law's
business; that it was, is: `pdp.boundary.with_token` puts it beside the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pdp.model import Subject
from pdp.values import Value

# The name of the claims in conditions.
TOKEN = "token"  # noqa: S105 a name
# Among the attributes: what a verified token lists as roles. No expression can name it.
TOKEN_ROLES = "roles of the token"  # noqa: S105 a name


@dataclass(frozen=True, slots=True)
class SubjectToken:
    """A token that was verified: who vouches for whom, until when.

    Attributes:
        issuer: who signed it, byte by byte as configured.
        jti: its own name; with the issuer, what the emergency list denies it by.
        subject_type, subject_id: whom it is about, in the words of requests.
        expires_ns: nanoseconds since the epoch; from this instant on it proves nothing.
        claims: all of them, judged by `pdp.boundary.admit_claims`.
        roles: path of the claim that lists static roles; None: its issuer says nothing of roles.
    """

    issuer: str
    jti: str
    subject_type: str
    subject_id: str
    expires_ns: int
    claims: Mapping[str, Value]
    roles: tuple[str, ...] | None = None

    def proves(self, subject: Subject) -> bool:
        """Whether it is about this subject. Type and id, byte by byte."""
        return (self.subject_type, self.subject_id) == (subject.type, subject.id)

    def listed_roles(self) -> Value:
        """What stands where roles are listed; None if nothing does."""
        value: Value = dict(self.claims)
        for step in self.roles or ():
            value = value.get(step) if isinstance(value, dict) else None
        return value
