"""Enforcement points: where a service lets an act happen, or not, by what the PDP decided.

One for each place where Python services need one: gRPC servers (`grpc_server`),
ASGI (`asgi`), FastAPI (`fastapi`), Flask (`flask`), Django (`django`), and code that is none of
these (`Enforcer.guard`, `Enforcer.permitting`, `Enforcer.permitted`). All of them go through
`Enforcer` or `AsyncEnforcer`, and what these promise holds for all:

- the protected code runs only after a permit to the very question, whose duties were all met;
- whatever goes wrong before that, in the client, in a function that says what to ask, or in a
  handler of a duty, is a denial;
- what has no mapping is denied. What may go without a decision says so, and why (`Unguarded`).

Frameworks are imported by their own modules only, so that none has to be installed.
"""

from pdp_client.enforcement._duties import Duties
from pdp_client.enforcement._enforcer import AsyncEnforcer, Enforcer
from pdp_client.enforcement._subjects import (
    Guarded,
    NoSubjectError,
    Proved,
    Unguarded,
    subject_of_token,
)

__all__ = [
    "AsyncEnforcer",
    "Duties",
    "Enforcer",
    "Guarded",
    "NoSubjectError",
    "Proved",
    "Unguarded",
    "subject_of_token",
]
